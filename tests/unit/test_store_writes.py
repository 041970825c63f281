"""Bodies become files in `partial/`, within the room that the disk has, synced before they have their names."""

from __future__ import annotations

import errno
import itertools
import os
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import pytest

from ninepic_mirror.archive import files, flush
from ninepic_mirror.archive.files import Tree
from ninepic_mirror.archive.partial import FOLDER, Partial, sweep
from ninepic_mirror.errors import StorageError
from tests.shelf import (
    DAY,
    Shelf,
    came,
    in_memory,
    jobs_of,
    jpeg,
    sha256,
)

if TYPE_CHECKING:
    from collections.abc import Iterator


def part(shelf: Shelf, name: str = "a") -> Path:
    """Return where the large file of a photo stands while it is under way."""
    return shelf.folder / FOLDER / f"large-{name}"


def test_bodies_are_written_in_order_with_what_is_known_of_them(shelf: Shelf) -> None:
    """Each body becomes a file of its bytes and time; hashes, type and the origin's validators go on with it."""
    jobs = jobs_of(shelf, "a", "b")
    bodies = {"a": jpeg("a"), "b": jpeg("b", 200_000)}
    ready = shelf.store.write([came(jobs[name], body, 86_400.0) for name, body in bodies.items()])
    assert [one.job for one in ready] == list(jobs.values())
    for one, (name, body) in zip(ready, bodies.items(), strict=True):
        assert one.was_fetched
        assert part(shelf, name).read_bytes() == body
        assert part(shelf, name).stat().st_mtime == 86_400
        assert (one.digest.size, one.digest.sha256) == (len(body), sha256(body))
        assert (one.digest.content.ext, one.etag, one.last_modified) == (".jpg", '"one"', "a date")
    assert set(shelf.settle(ready)) == {f"{DAY}/large/a.jpg", f"{DAY}/large/b.jpg"}
    shelf.check()


def test_the_disk_must_keep_what_is_left_free(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`min_free` counts on top of all the bodies that wait to be written; at exactly that much they are."""
    jobs = jobs_of(shelf, "a", "b")
    bodies = [came(jobs["a"], jpeg("a")), came(jobs["b"], jpeg("b", 5_000))]
    needed = 10_000 + sum(len(body.data) for body in bodies)
    shelf.min_free = 10_000
    monkeypatch.setattr(shelf.root, "free", lambda: needed - 1)
    with pytest.raises(StorageError, match=f"{needed - 1} bytes are free, {needed} are needed"):
        shelf.store.write(bodies)
    assert list((shelf.folder / FOLDER).iterdir()) == []
    monkeypatch.setattr(shelf.root, "free", lambda: needed)
    assert len(shelf.store.write(bodies)) == 2


def test_a_disk_that_fills_up_is_told(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    """A body that did not fit is no file of anybody's; tests/system fills a real disk."""

    def full(descriptor: int, data: memoryview) -> int:
        del descriptor, data
        raise OSError(errno.ENOSPC, "No space left on device")

    job = jobs_of(shelf, "a")["a"]
    with monkeypatch.context() as patch:
        patch.setattr(os, "write", full)
        with pytest.raises(StorageError, match="the disk is full"):
            in_memory(shelf, job, jpeg("a"))
    assert part(shelf).read_bytes() == b""
    assert sweep(shelf.tree) == set()
    assert list((shelf.folder / FOLDER).iterdir()) == []
    shelf.settle([in_memory(shelf, job, jpeg("a"))])
    shelf.check()


@pytest.mark.parametrize("most", [1, 7, 1000])
def test_short_writes_are_gone_on_with(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch, most: int
) -> None:
    """A disk that takes a few bytes at a time gets all of them (RELIABILITY, measured)."""
    write, body = os.write, jpeg("a", 2_000)
    monkeypatch.setattr(
        os, "write", lambda descriptor, data: write(descriptor, memoryview(data)[:most])
    )
    ready = in_memory(shelf, jobs_of(shelf, "a")["a"], body)
    assert part(shelf).read_bytes() == body
    assert ready.digest.sha256 == sha256(body)


@pytest.mark.parametrize("kind", ["longer", "link", "hard link", "dangling", "pipe"])
def test_what_lies_in_partial_is_replaced_not_written_to(shelf: Shelf, kind: str) -> None:
    """A killed run's longer leftover, or what somebody planted, is taken away; nothing is written through it."""
    canary = shelf.folder / "canary"
    canary.write_bytes(b"canary" * 1000)
    match kind:
        case "longer":
            part(shelf).write_bytes(b"x" * 10_000)
        case "link":
            part(shelf).symlink_to(canary)
        case "hard link":
            part(shelf).hardlink_to(canary)
        case "dangling":
            part(shelf).symlink_to(shelf.folder / "nowhere")
        case _:
            os.mkfifo(part(shelf))
    ready = in_memory(shelf, jobs_of(shelf, "a")["a"], jpeg("a"))
    assert part(shelf).read_bytes() == jpeg("a")
    assert not part(shelf).is_symlink()
    assert canary.read_bytes() == b"canary" * 1000
    assert not (shelf.folder / "nowhere").exists()
    shelf.settle([ready])
    shelf.check()


def test_a_folder_or_link_in_the_place_of_partial_is_told(shelf: Shelf, tmp_path: Path) -> None:
    """Where `partial/` itself leads elsewhere nothing is written; a folder in a body's place is told."""
    job, elsewhere = jobs_of(shelf, "a")["a"], tmp_path / "elsewhere"
    part(shelf).mkdir()
    with pytest.raises(StorageError, match="folder stands where a file is due"):
        in_memory(shelf, job, jpeg("a"))
    part(shelf).rmdir()
    (shelf.folder / FOLDER).rename(elsewhere)
    (shelf.folder / FOLDER).symlink_to(elsewhere)
    with pytest.raises(StorageError, match="link"):
        in_memory(shelf, job, jpeg("a"))
    assert list(elsewhere.iterdir()) == []


def test_the_root_is_looked_at_before_bodies_are_written(shelf: Shelf) -> None:
    """Without its marker the root may be an empty mount point: nothing is written below it (RELIABILITY L5)."""
    (shelf.root.path / ".ninepic-mirror-root").unlink()
    with pytest.raises(StorageError, match="vanished"):
        in_memory(shelf, jobs_of(shelf, "a")["a"], jpeg("a"))
    assert list((shelf.folder / FOLDER).iterdir()) == []


def test_a_note_does_not_outlive_its_bytes(shelf: Shelf) -> None:
    """Where a body came whole although a part of it was kept: once it has its name, the next pass clears the note."""
    job, body = jobs_of(shelf, "a")["a"], jpeg("a", 100_000)
    kept = Partial(shelf.tree, job.image_id, job.variant)
    kept.restart()
    kept.write(body[:70_000])
    kept.keep('"one"')
    shelf.settle([in_memory(shelf, job, body)])
    assert sweep(shelf.tree, [(job.image_id, job.variant)]) == set()
    assert list((shelf.folder / FOLDER).iterdir()) == []
    shelf.check()


@pytest.fixture
def watched(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Let the shelf be durable on a disk that can be synced at once; return the syncs and names in order.

    What was synced when cannot be read from the files afterwards, so the calls are watched here. The real calls are
    in tests/system/test_order.py.
    """
    calls: list[str] = []
    rename, link = os.rename, os.link

    def sync(descriptor: int) -> None:
        name = Path(os.readlink(f"/proc/self/fd/{descriptor}"))  # noqa: PTH115  a descriptor's path
        calls.append(f"fsync {name.relative_to(shelf.folder)}")

    def sync_all(descriptor: int) -> None:
        assert os.fstat(descriptor).st_dev == shelf.folder.stat().st_dev
        calls.append("syncfs")

    def renamed(old: str, new: str, **folders: int) -> None:
        calls.append(f"name {new}")
        rename(old, new, **folders)

    def linked(old: str, new: str, **others: object) -> None:
        calls.append(f"name {new}")
        link(old, new, **others)  # type: ignore[arg-type]  # handed on

    monkeypatch.setattr(os, "fsync", sync)
    monkeypatch.setattr(os, "rename", renamed)
    monkeypatch.setattr(os, "link", linked)
    monkeypatch.setattr(files, "syncfs", sync_all)
    monkeypatch.setattr(flush, "can_sync_all", lambda _: True)
    with Tree(shelf.folder) as tree:
        shelf.tree = tree
        yield calls


@pytest.mark.parametrize("duplicates", ["hardlink", "copy"])
def test_a_batch_is_synced_at_once(
    shelf: Shelf, watched: list[str], duplicates: Literal["hardlink", "copy"]
) -> None:
    """One sync of the file system, then every name, then every folder; no file is synced by itself."""
    shelf.duplicates = duplicates
    jobs = jobs_of(shelf, *"abcdefgh")
    ready = [
        in_memory(shelf, job, jpeg("h" if name in "gh" else name)) for name, job in jobs.items()
    ]
    assert watched == []
    shelf.settle(ready)
    names = [call for call in watched if call.startswith("name ")]
    assert names == [f"name {name}.jpg" for name in jobs]
    assert watched[0] == "syncfs"
    assert watched[watched.index(names[-1]) + 1] == f"fsync {DAY}/large"
    synced = [call for call in watched if call.startswith("fsync ")]
    assert not [call for call in synced if FOLDER in call or call.endswith(".jpg")]
    assert watched.count("syncfs") == 1
    places = [shelf.folder / f"{DAY}/large/{name}.jpg" for name in "gh"]
    assert places[0].samefile(places[1]) == (duplicates == "hardlink")
    shelf.check()


def test_what_takes_no_link_is_synced_once_more(
    shelf: Shelf, watched: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file that was to be a link was left out of the batch's sync: it gets its own before its name."""

    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.EMLINK, "Too many links")

    monkeypatch.setattr(os, "link", refuse)
    jobs = jobs_of(shelf, *"abcdef")
    shelf.settle(
        [in_memory(shelf, job, jpeg("e" if name == "f" else name)) for name, job in jobs.items()]
    )
    assert watched.index(f"fsync {FOLDER}/large-f") == watched.index("name f.jpg") - 1
    shelf.check()


def test_a_sync_of_everything_that_fails_records_nothing(
    shelf: Shelf, watched: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """When the file system cannot be synced no file of the batch gets its name or its row, and nothing is retried."""

    def fail(_: int) -> None:
        watched.append("syncfs")
        raise OSError(errno.EIO, "Input/output error")

    jobs = jobs_of(shelf, *"abcdef")
    ready = [in_memory(shelf, job, jpeg(name)) for name, job in jobs.items()]
    with monkeypatch.context() as patch:
        patch.setattr(files, "syncfs", fail)
        with pytest.raises(StorageError, match="I/O error"):
            shelf.settle(ready)
    assert watched == ["syncfs"]
    assert {state for state, _ in shelf.rows().values()} == {"pending"}
    assert shelf.files() == set()


@pytest.mark.parametrize("at_once", [True, False], ids=["syncfs", "fsync"])
def test_a_fault_at_any_call_of_a_write_loses_nothing(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch, at_once: bool
) -> None:
    """Whichever call fails while bodies are written and settled, no row lies and a new try succeeds.

    The n-th of the calls that touch the disk fails once with EIO, which no real disk here does on demand.
    """
    jobs = jobs_of(shelf, *"abcdef")
    bodies = {name: jpeg("e" if name == "f" else name, 99) for name in jobs}
    left = [-2]

    def write_and_settle() -> None:
        shelf.settle(shelf.store.write([came(jobs[name], bodies[name], 9.0) for name in jobs]))

    def failing(place: object, name: str, real: object = None) -> None:
        real = real or getattr(place, name)
        assert callable(real)

        def call(*args: object, **keywords: object) -> object:
            left[0] -= 1
            if left[0] == -1:
                raise OSError(errno.EIO, "I/O error")
            return real(*args, **keywords)

        monkeypatch.setattr(place, name, call)

    monkeypatch.setattr(flush, "can_sync_all", lambda _: at_once)
    with Tree(shelf.folder) as tree:
        shelf.tree = tree
        for name in ("open", "write", "utime", "rename", "link", "unlink", "mkdir", "statvfs"):
            failing(os, name)
        failing(os, "fsync", lambda _: None)
        failing(files, "syncfs", lambda _: None)
        faults = 0
        for step in itertools.count():
            shelf.manifest.change("UPDATE files SET state = 'pending', path = NULL, folder = NULL")
            for path in shelf.files():
                (shelf.folder / path).unlink()
            left[0] = step
            try:
                write_and_settle()
            except StorageError:
                faults += 1
                assert {state for state, _ in shelf.rows().values()} == {"pending"}
            was_reached, left[0] = left[0] < 0, -2
            shelf.check()
            for path in shelf.files():
                assert (shelf.folder / path).read_bytes() == bodies[Path(path).stem]
            write_and_settle()
            shelf.check()
            if not was_reached:
                break
    assert faults > 30
