"""Whole files get their names durably, one copy of equal bytes, and nothing good is replaced by worse."""

from __future__ import annotations

import errno
import itertools
import os
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import pytest
from msgspec import structs

from ninepic_mirror.archive import files, flush
from ninepic_mirror.archive.content import content_of
from ninepic_mirror.archive.files import Tree
from ninepic_mirror.archive.moves import Move
from ninepic_mirror.archive.partial import FOLDER, Partial, sweep
from ninepic_mirror.archive.records import Job, Listing, Stray
from ninepic_mirror.archive.store import Fetched
from ninepic_mirror.archive.sums import write_stale
from ninepic_mirror.archive.survey import survey
from ninepic_mirror.errors import StorageError
from ninepic_mirror.model import Known
from tests.shelf import SIX, Shelf, jpeg, photo, sha256, window

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ninepic_mirror.archive.store import Ready

DAY = "2026-01-19/06"


def jobs_of(shelf: Shelf, *ids: str) -> dict[str, Job]:
    """List photos and return the jobs of their large files."""
    jobs = shelf.read(window(SIX), [photo(image_id) for image_id in ids])
    return {job.image_id: job for job in jobs if job.variant == "large"}


def trash(shelf: Shelf) -> list[bytes]:
    """Return what every file in the trash holds."""
    place = shelf.folder / ".ninepic-mirror/trash"
    return sorted(path.read_bytes() for path in place.rglob("*") if path.is_file())


# --- placing ----------------------------------------------------------------------------------------------------


def test_files_get_the_names_of_their_hours(shelf: Shelf) -> None:
    """A batch stands at its places, nothing is left in `partial/`, and the rows are true."""
    paths = shelf.have(window(SIX), "a", "../x")
    assert f"{DAY}/large/a.jpg" in paths
    assert shelf.files() == set(paths)
    assert list((shelf.folder / ".ninepic-mirror/partial").iterdir()) == []
    assert shelf.have(Listing(), "u") == ["undated/thumbnail/u.jpg", "undated/large/u.jpg"]
    shelf.check()


def test_syncs_come_before_names_and_folders_after(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Files, then names, then folders up to the event's: the order that a power cut asks for (DESIGN §6.6).

    What was synced when cannot be read from the files afterwards, so the calls are watched here.
    """
    jobs = jobs_of(shelf, "a", "b")
    ready = [shelf.fetched(job, jpeg(job.image_id)) for job in jobs.values()]
    calls: list[str] = []
    fsync, rename = os.fsync, os.rename

    def watched_fsync(descriptor: int) -> None:
        calls.append("sync " + os.readlink(f"/proc/self/fd/{descriptor}"))  # noqa: PTH115  a descriptor's path
        fsync(descriptor)

    def watched_rename(old: str, new: str, **folders: int) -> None:
        calls.append(f"rename {new}")
        rename(old, new, **folders)

    monkeypatch.setattr(os, "fsync", watched_fsync)
    monkeypatch.setattr(os, "rename", watched_rename)
    with Tree(shelf.folder) as tree:
        shelf.tree = tree
        shelf.store.settle(ready, {})
    names = [place for place, call in enumerate(calls) if call.startswith("rename")]
    synced = {f"sync {shelf.folder}/{one.source}" for one in ready}
    assert synced <= set(calls[: names[0]])
    places = [shelf.folder / part for part in (f"{DAY}/large", DAY, "2026-01-19", "")]
    assert {f"sync {place}" for place in places} <= set(calls[names[-1] :])


def test_equal_bytes_of_a_batch_are_one_file(shelf: Shelf) -> None:
    """Equal photos are links to one file, of which the first is synced."""
    shelf.have(window(SIX), "a", "b", "c", body=jpeg("same"))
    inodes = {path.stat().st_ino for path in shelf.folder.rglob("large/*.jpg")}
    assert len(inodes) == 1
    assert (shelf.folder / DAY / "large/a.jpg").stat().st_nlink == 6
    shelf.check()


def test_equal_bytes_of_an_earlier_batch_are_linked(shelf: Shelf) -> None:
    """A photo whose bytes stand elsewhere becomes a link to them; other bytes under the same hash do not."""
    shelf.have(window(SIX), "a", body=jpeg("same"))
    body = jpeg("same")
    job = jobs_of(shelf, "b")["b"]
    ready = shelf.fetched(job, body)
    (placed,) = shelf.store.settle([ready], {sha256(body): ["gone.jpg", f"{DAY}/large/a.jpg"]})
    assert placed.is_link
    assert (shelf.folder / placed.path).samefile(shelf.folder / DAY / "large/a.jpg")

    (shelf.folder / DAY / "large/a.jpg").write_bytes(jpeg("bit rot"))
    job = jobs_of(shelf, "c")["c"]
    ready = shelf.fetched(job, body)
    (placed,) = shelf.store.settle([ready], {sha256(body): [f"{DAY}/large/a.jpg"]})
    assert not placed.is_link
    assert (shelf.folder / placed.path).read_bytes() == body


def test_copies_are_files_of_their_own(shelf: Shelf) -> None:
    """With `duplicates = "copy"` every photo has its own file, sharing blocks where it can."""
    shelf.duplicates = "copy"
    shelf.have(window(SIX), "a", "b", body=jpeg("same"))
    assert {path.stat().st_nlink for path in shelf.folder.rglob("large/*.jpg")} == {1}
    shelf.check()


def came(job: Job, body: bytes, modified: float | None = None) -> Fetched:
    """Return a body as a download hands it on that came whole."""
    content = content_of(body, job.variant)
    return Fetched(job, memoryview(body), content, '"one"', "a date", modified)


def in_memory(shelf: Shelf, job: Job, body: bytes, modified: float | None = None) -> Ready:
    """Write a body that came whole, as the pipeline does."""
    (ready,) = shelf.store.write([came(job, body, modified)])
    return ready


def test_bodies_in_memory_are_written_and_synced_before_their_names(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is only in memory so far becomes a file like any other: bytes, time and sync, then its name."""
    jobs = jobs_of(shelf, "a", "b")
    calls: list[str] = []
    fsync, rename = os.fsync, os.rename

    def watched_fsync(descriptor: int) -> None:
        found = os.fstat(descriptor)
        calls.append(f"sync {found.st_size} {found.st_mtime:.0f}")
        fsync(descriptor)

    def watched_rename(old: str, new: str, **folders: int) -> None:
        calls.append("rename")
        rename(old, new, **folders)

    monkeypatch.setattr(os, "fsync", watched_fsync)
    monkeypatch.setattr(os, "rename", watched_rename)
    with Tree(shelf.folder) as tree:
        shelf.tree = tree
        ready = [
            in_memory(shelf, jobs["a"], jpeg("a"), 86_400.0),
            in_memory(shelf, jobs["b"], jpeg("b", 9)),
        ]
        shelf.settle(ready)
    before = calls[: calls.index("rename")]
    assert f"sync {len(jpeg('a'))} 86400" in before
    assert any(call.startswith(f"sync {len(jpeg('b', 9))} ") for call in before)
    assert (shelf.folder / DAY / "large/a.jpg").stat().st_mtime == 86_400
    assert list((shelf.folder / ".ninepic-mirror/partial").iterdir()) == []
    shelf.check()


@pytest.mark.parametrize("duplicates", ["hardlink", "copy"])
@pytest.mark.parametrize("kinds", ["mm", "md", "dm", "dd"])
@pytest.mark.parametrize("stands", [True, False], ids=["stands", "new"])
def test_equal_bytes_are_shared_wherever_they_are(
    shelf: Shelf, duplicates: Literal["hardlink", "copy"], kinds: str, stands: bool
) -> None:
    """In memory or on disk, in this batch or before it: equal photos are links, or files of their own, as configured."""
    body = jpeg("same")
    if stands:
        shelf.have(window(SIX), "z", body=body)
    shelf.duplicates = duplicates
    jobs = jobs_of(shelf, "a", "b", "c")
    ready = [
        in_memory(shelf, jobs[name], body) if kind == "m" else shelf.fetched(jobs[name], body)
        for kind, name in zip(kinds, "ab", strict=True)
    ]
    shelf.settle([*ready, in_memory(shelf, jobs["c"], jpeg("c"))])
    places = [shelf.folder / DAY / f"large/{name}.jpg" for name in "ab"]
    assert places[0].samefile(places[1]) == (duplicates == "hardlink")
    if stands:
        assert places[0].samefile(shelf.folder / DAY / "large/z.jpg") == (duplicates == "hardlink")
    assert list((shelf.folder / ".ninepic-mirror/partial").iterdir()) == []
    shelf.check()


@pytest.mark.parametrize("fetched", [True, False])
def test_other_bytes_under_one_hash_are_not_shared(shelf: Shelf, fetched: bool) -> None:
    """Bytes are compared, not hashes: with the hash of another, a body in memory is still a photo of its own."""
    jobs = jobs_of(shelf, "a", "b")
    first = in_memory(shelf, jobs["a"], jpeg("a"))
    if fetched:
        first = shelf.fetched(jobs["a"], jpeg("a"))
    second = structs.replace(in_memory(shelf, jobs["b"], jpeg("b")), digest=first.digest)
    shelf.store.settle([first, second], {})
    assert (shelf.folder / DAY / "large/b.jpg").read_bytes() == jpeg("b")


def test_blocks_are_shared_only_with_whole_files(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Equal bodies share the blocks of a file that is all there, never of one that is still being written."""
    body = jpeg("same")
    shelf.have(window(SIX), "z", body=body)
    shelf.duplicates = "copy"
    jobs = jobs_of(shelf, *"abcdef")
    models: list[str] = []

    def watched(tree: Tree, source: str, target: str) -> bool:
        models.append(source)
        assert tree.read(source, 2 * len(body)) == tree.read(target, 2 * len(body)) == body
        return False

    monkeypatch.setattr(Tree, "clone", watched)
    shelf.settle([in_memory(shelf, job, body) for job in jobs.values()])
    assert len(models) == 6
    assert models[0] in {f"{DAY}/thumbnail/z.jpg", f"{DAY}/large/z.jpg"}
    shelf.check()


def test_room_is_asked_for_bodies_in_memory(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is yet to be written counts: a batch for which there is no room is not begun."""
    job = jobs_of(shelf, "a")["a"]
    monkeypatch.setattr(shelf.root, "free", lambda: len(jpeg("a")) - 1)
    with pytest.raises(StorageError, match="nearly full"):
        in_memory(shelf, job, jpeg("a"))
    assert list((shelf.folder / ".ninepic-mirror/partial").iterdir()) == []


@pytest.mark.parametrize("number", [errno.EMLINK, errno.EPERM, errno.EXDEV])
@pytest.mark.parametrize("kind", ["memory", "disk"])
def test_where_no_link_is_to_be_had_it_is_a_copy(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch, number: int, kind: str
) -> None:
    """Too many links, or none on this file system: the fetched bytes are synced and named after all.

    ext4 takes 65,000 links, too many for a test: the call is answered here.
    """

    def refuse(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    synced: set[int] = set()
    monkeypatch.setattr(os, "link", refuse)
    monkeypatch.setattr(os, "fsync", lambda descriptor: synced.add(os.fstat(descriptor).st_ino))
    with Tree(shelf.folder) as tree:
        shelf.tree = tree
        jobs, body = shelf.read(window(SIX), [photo(name) for name in "abc"]), jpeg("same")
        in_files = kind == "disk"
        shelf.settle(
            [shelf.fetched(job, body) if in_files else in_memory(shelf, job, body) for job in jobs]
        )
    assert {path.stat().st_ino for path in shelf.folder.rglob("large/*.jpg")} <= synced
    assert {path.stat().st_nlink for path in shelf.folder.rglob("large/*.jpg")} == {1}
    shelf.check()


@pytest.mark.parametrize("kind", ["file", "folder", "link", "pipe"])
def test_what_stands_in_the_way_goes_to_the_trash(shelf: Shelf, kind: str) -> None:
    """Whatever somebody put at a photo's place is kept, never deleted or written through."""
    place = shelf.folder / DAY / "large/a.jpg"
    place.parent.mkdir(parents=True)
    canary = shelf.folder / "canary"
    canary.write_bytes(b"canary")
    match kind:
        case "file":
            place.write_bytes(b"mine")
        case "folder":
            place.mkdir()
            (place / "inside").write_bytes(b"mine")
        case "link":
            place.symlink_to(canary)
        case _:
            os.mkfifo(place)
    shelf.have(window(SIX), "a")
    shelf.check()
    assert canary.read_bytes() == b"canary"
    kept = list((shelf.folder / ".ninepic-mirror/trash").rglob("*.jpg"))
    assert len(kept) == 1
    assert trash(shelf) == {"file": [b"mine"], "folder": [b"mine"], "link": [b"canary"]}.get(
        kind, []
    )


def test_a_file_where_a_folder_is_due_is_told(shelf: Shelf) -> None:
    """A file named like a day stops the pass with a cure, before anything is recorded."""
    (shelf.folder / "2026-01-19").write_bytes(b"mine")
    with pytest.raises(StorageError, match="folder is due"):
        shelf.have(window(SIX), "a")
    assert {state for state, _ in shelf.rows().values()} == {"pending"}
    assert (shelf.folder / "2026-01-19").read_bytes() == b"mine"


def test_the_trash_never_takes_a_taken_name(shelf: Shelf) -> None:
    """Two files of one name and day both stay."""
    for body in (b"1", b"2", b"3"):
        place = shelf.folder / "x.jpg"
        place.write_bytes(body)
        shelf.tree.move("x.jpg", shelf.store.trash_place("x.jpg"))
    assert trash(shelf) == [b"1", b"2", b"3"]


@pytest.mark.parametrize("step", range(40))
def test_a_fault_at_any_call_loses_nothing(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    """Whichever call fails, no row lies, nothing half stands under a final name, and a new try succeeds.

    The n-th of the calls that change the disk fails once with EIO, which no real disk here does on demand.
    """
    shelf.have(window(SIX), "a", body=jpeg("same"))
    old = shelf.folder / DAY / "large/b.jpg"
    old.write_bytes(b"in the way")
    jobs = jobs_of(shelf, "b", "c")
    ready = [shelf.fetched(jobs["b"], jpeg("same")), shelf.fetched(jobs["c"], jpeg("c"))]
    left = [step]

    def failing(name: str) -> None:
        real = getattr(os, name)

        def call(*args: object, **keywords: object) -> object:
            left[0] -= 1
            if left[0] == -1:
                raise OSError(errno.EIO, "I/O error")
            return real(*args, **keywords)

        monkeypatch.setattr(os, name, call)

    for name in ("fsync", "rename", "link", "unlink", "mkdir", "statvfs"):
        failing(name)
    with Tree(shelf.folder) as tree:
        shelf.tree = tree
        try:
            shelf.settle(ready)
        except StorageError:
            assert shelf.rows()["c", "large"][0] == "pending"
        monkeypatch.undo()
        shelf.check()
        for name, body in (("b", jpeg("same")), ("c", jpeg("c"))):
            place = shelf.folder / DAY / f"large/{name}.jpg"
            assert not place.exists() or place.read_bytes() in {body, b"in the way"}
        shelf.settle([shelf.fetched(jobs["b"], jpeg("same")), shelf.fetched(jobs["c"], jpeg("c"))])
    shelf.check()
    assert shelf.rows()["b", "large"] == ("present", f"{DAY}/large/b.jpg")
    assert b"in the way" in trash(shelf)


@pytest.mark.parametrize("way", ["as it was", "equal to another", "elsewhere now", "without links"])
@pytest.mark.parametrize("step", range(14))
def test_a_file_is_replaced_in_one_step(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch, step: int, way: str
) -> None:
    """Whichever call is the last one before a crash: the old file or the new one has its name, the old is not lost."""
    old, new = jpeg("old"), jpeg("new")
    shelf.have(window(SIX), "b", body=new)
    shelf.have(window(SIX), "a", body=old)
    target = shelf.folder / DAY / "large/a.jpg"
    held = shelf.folder / DAY / "large/former.jpg" if way == "elsewhere now" else target
    target.rename(held)
    body = new if way == "equal to another" else jpeg("newer")
    job = Job(
        *("a", "large", SIX, None, None, None),
        *(str(held.relative_to(shelf.folder)), sha256(old), Known()),
    )
    shelf.holdings.renounce([job])
    ready = shelf.fetched(job, body)
    left = [step]

    def failing(name: str) -> None:
        real = getattr(os, name)

        def call(*args: object, **keywords: object) -> object:
            if name == "link" and way == "without links":
                raise OSError(errno.EPERM, "no links here")
            left[0] -= 1
            if left[0] < 0:
                raise OSError(errno.EIO, "dead")
            return real(*args, **keywords)

        monkeypatch.setattr(os, name, call)

    for name in ("fsync", "rename", "link", "unlink", "mkdir"):
        failing(name)
    with suppress(StorageError):
        shelf.settle([ready])
    monkeypatch.undo()
    standing = [place.read_bytes() for place in (held, target) if place.exists()]
    assert old in standing or old in trash(shelf)
    assert way == "without links" or standing
    assert all(content in {old, body} for content in standing)
    shelf.next_pass()
    shelf.settle([shelf.fetched(job, body)])
    shelf.check()
    assert target.read_bytes() == body
    assert old in trash(shelf)
    assert held == target or not held.exists()


def test_a_former_file_is_given_up_by_the_run_after_a_crash(shelf: Shelf) -> None:
    """A file that got its name and no row is found there; what stands at the photo's former place goes, as it would have."""
    new = jpeg("new")
    shelf.have(window(SIX), "a")
    target, held = (shelf.folder / DAY / f"large/{name}.jpg" for name in ("a", "former"))
    target.rename(held)
    held.write_bytes(b"damaged")
    target.write_bytes(new)
    former = str(held.relative_to(shelf.folder))
    job = Job(*("a", "large", SIX, None, None, None), *(former, sha256(jpeg("a")), Known()))
    shelf.holdings.renounce([job])
    found = shelf.store.find(job, Stray(f"{DAY}/large/a.jpg"))
    assert found is not None
    assert shelf.settle([found]) == [f"{DAY}/large/a.jpg"]
    shelf.check()
    assert (target.read_bytes(), held.exists(), trash(shelf)) == (new, False, [b"damaged"])


def test_room_is_asked_for_first(shelf: Shelf) -> None:
    """Below `min_free` nothing is placed, and the error names both figures (RELIABILITY L3)."""
    job = jobs_of(shelf, "a")["a"]
    ready = shelf.fetched(job, jpeg("a"))
    shelf.min_free = 1 << 60
    with pytest.raises(StorageError, match=str(1 << 60)):
        shelf.store.settle([ready], {})
    with pytest.raises(StorageError, match="nearly full"):
        replace_free(shelf).store.check_room(1 << 60)
    assert shelf.files() == set()


def replace_free(shelf: Shelf) -> Shelf:
    """Return the shelf without a limit of its own."""
    return replace(shelf, min_free=0)


def test_a_root_that_vanished_is_not_written_to(shelf: Shelf) -> None:
    """Without its marker the root may be an empty mount point: nothing is placed or moved (RELIABILITY L5)."""
    job = jobs_of(shelf, "a")["a"]
    ready = shelf.fetched(job, jpeg("a"))
    (shelf.root.path / ".ninepic-mirror-root").unlink()
    with pytest.raises(StorageError, match="vanished"):
        shelf.store.settle([ready], {})
    with pytest.raises(StorageError, match="vanished"):
        shelf.store.carry([])


def test_a_place_that_is_another_files_by_now_is_left_alone(shelf: Shelf) -> None:
    """A damaged file's old place is cleared, unless a change of layout has brought another file there."""
    shelf.have(window(SIX), "a")
    place = f"{DAY}/large/a.jpg"
    job = structs.replace(jobs_of(shelf, "b")["b"], held=place)
    assert shelf.holdings.others([(place, job)]) == {place}
    own = structs.replace(job, image_id="a", variant="large")
    assert shelf.holdings.others([(place, own), (f"{DAY}/large/c.jpg", job)]) == set()

    ready = shelf.fetched(job, jpeg("b"))
    shelf.store.settle([ready], {}, {place})
    assert (shelf.folder / place).read_bytes() == jpeg("large a")
    ready = shelf.fetched(job, jpeg("b"))
    shelf.store.settle([ready], {})
    assert not (shelf.folder / place).exists()


def test_a_file_found_where_another_stands_or_will_is_left_wanted(shelf: Shelf) -> None:
    """What was found at an old place is not taken away from the file that has it by now, or gets it in this batch."""
    shelf.have(window(SIX), "a")
    place = f"{DAY}/large/a.jpg"
    jobs = jobs_of(shelf, "b", "c")
    found = shelf.store.find(structs.replace(jobs["b"], held=place), None)
    assert found is not None
    assert shelf.store.settle([found], {}, {place}) == []
    assert (shelf.folder / place).read_bytes() == jpeg("large a")

    shelf.manifest.change("UPDATE files SET state = 'pending' WHERE image_id = 'a'")
    (own,) = [structs.replace(jobs["b"], image_id="a", held=place)]
    (placed,) = shelf.store.settle([shelf.fetched(own, jpeg("new a")), found], {})
    assert placed.image_id == "a"
    assert (shelf.folder / place).read_bytes() == jpeg("new a")

    (placed,) = shelf.store.settle(
        [structs.replace(found, job=structs.replace(jobs["c"], held=place))], {}
    )
    assert placed.path == f"{DAY}/large/c.jpg"
    assert not (shelf.folder / place).exists()


# --- writing ----------------------------------------------------------------------------------------------------


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


# --- finding ----------------------------------------------------------------------------------------------------


def wanted(shelf: Shelf) -> Job:
    """Return the job of a photo whose large file is wanted again."""
    shelf.have(window(SIX), "a")
    shelf.holdings.lost(f"{DAY}/large", [("a", "large")])
    shelf.next_pass()
    (job,) = shelf.holdings.want(["large"])
    return job


def test_what_lies_there_whole_is_not_fetched(shelf: Shelf) -> None:
    """A file at its recorded place with its recorded hash is taken as it is."""
    job = wanted(shelf)
    found = shelf.store.find(job, None)
    assert found is not None
    assert not found.was_fetched
    assert shelf.settle([found]) == [f"{DAY}/large/a.jpg"]
    shelf.check()


@pytest.mark.parametrize("body", [b"", b"junk", jpeg("another photo"), jpeg("large a")[:-1], None])
def test_what_is_not_the_photo_is_fetched(shelf: Shelf, body: bytes | None) -> None:
    """A file that is gone, damaged, short or another's is not taken for the photo."""
    job = wanted(shelf)
    place = shelf.folder / DAY / "large/a.jpg"
    if body is None:
        place.unlink()
    else:
        place.write_bytes(body)
    assert shelf.store.find(job, None) is None
    shelf.settle([shelf.fetched(job, jpeg("large a"))])
    shelf.check()
    assert trash(shelf) == ([] if body is None else [body])


def test_what_cannot_be_looked_at_is_fetched(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that the disk does not give back is one photo's misfortune, no bug. No disk here fails on demand."""
    job = wanted(shelf)

    def fail(*_: object, **__: object) -> None:
        raise OSError(errno.EIO, "I/O error")

    monkeypatch.setattr(os, "stat", fail)
    monkeypatch.setattr(os, "open", fail)
    assert shelf.store.find(job, Stray(f"{DAY}/large/a.jpg")) is None


@pytest.mark.parametrize("number", [errno.EACCES, errno.EMFILE, errno.ESTALE])
def test_what_may_not_be_looked_at_is_not_fetched(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """A fault that says nothing about the file ends the pass; otherwise a whole event would be fetched again."""
    job = wanted(shelf)

    def fail(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "open", fail)
    with pytest.raises(StorageError, match=r"large/a\.jpg"):
        shelf.store.find(job, None)


def test_a_link_in_a_photos_place_is_not_read(shelf: Shelf) -> None:
    """A link, even to the right bytes, is no photo (RELIABILITY L8)."""
    job = wanted(shelf)
    place = shelf.folder / DAY / "large/a.jpg"
    place.rename(shelf.folder / "elsewhere.jpg")
    place.symlink_to(shelf.folder / "elsewhere.jpg")
    assert shelf.store.find(job, None) is None


def test_strays_are_checked_against_the_sums(shelf: Shelf) -> None:
    """A lost manifest is rebuilt from files that are whole and, where a SHA256SUMS names them, have that hash."""
    shelf.have(window(SIX), "a", "b")
    write_stale(shelf.tree, shelf.manifest)
    (shelf.folder / DAY / "large/b.jpg").write_bytes(jpeg("whole, but not what the sums say"))
    (shelf.folder / DAY / "large/c.jpg").write_bytes(jpeg("whole, and in no sums"))
    job = structs.replace(wanted(shelf), held=None, sha256=None)
    shelf.manifest.change("DELETE FROM files")
    survey(shelf.tree, shelf.holdings, sizes=False, everywhere=True)
    store = shelf.store
    found = {
        name: store.find(
            structs.replace(job, image_id=name), shelf.holdings.stray(f"{DAY}/large/{name}")
        )
        for name in "abcd"
    }
    assert [name for name, ready in found.items() if ready is not None] == ["a", "c"]


def test_a_stray_is_brought_to_its_place(shelf: Shelf) -> None:
    """A file found under another extension gets the one of its content."""
    job = jobs_of(shelf, "a")["a"]
    place = shelf.folder / DAY / "large/a.png"
    place.parent.mkdir(parents=True)
    place.write_bytes(jpeg("a"))
    found = shelf.store.find(job, Stray(f"{DAY}/large/a.png"))
    assert found is not None
    assert shelf.settle([found]) == [f"{DAY}/large/a.jpg"]
    assert shelf.files() == {f"{DAY}/large/a.jpg"}


# --- carrying ---------------------------------------------------------------------------------------------------


def move(body: bytes = b"") -> Move:
    """Return a move from `old/a.jpg` to `new/a.jpg` of a file with these bytes."""
    return Move("a", "large", "old/a.jpg", "new/a.jpg", sha256(body))


def put(shelf: Shelf, path: str, body: bytes) -> None:
    """Write a file below the event folder."""
    place = shelf.folder / path
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_bytes(body)


def test_a_move_can_be_repeated(shelf: Shelf) -> None:
    """Made once or twice, the file stands at its new place."""
    body = jpeg("a")
    put(shelf, "old/a.jpg", body)
    for _ in range(2):
        assert shelf.store.carry([move(body)]) == ["new/a.jpg"]
    assert shelf.files() == {"new/a.jpg"}


def test_a_move_over_something_else_keeps_both(shelf: Shelf) -> None:
    """What stands at the target goes to the trash; a second name of the same file just goes."""
    body = jpeg("a")
    put(shelf, "old/a.jpg", body)
    put(shelf, "new/a.jpg", b"other")
    shelf.store.carry([move(body)])
    assert trash(shelf) == [b"other"]
    shelf.tree.link("new/a.jpg", "old/a.jpg")
    shelf.store.carry([move(body)])
    assert shelf.files() == {"new/a.jpg"}
    assert trash(shelf) == [b"other"]


@pytest.mark.parametrize("there", [None, b"not a photo", jpeg("another photo")])
def test_a_target_is_believed_only_with_the_right_hash(shelf: Shelf, there: bytes | None) -> None:
    """Where the source is gone, something else at the target must not become a present row."""
    if there is not None:
        put(shelf, "new/a.jpg", there)
    assert shelf.store.carry([move(jpeg("a"))]) == [None]


def test_a_target_that_may_not_be_read_is_told(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is known of it, so the journal keeps the move."""
    put(shelf, "new/a.jpg", jpeg("a"))

    def refuse(*_: object) -> bytes:
        raise PermissionError(errno.EACCES, "no")

    monkeypatch.setattr(os, "read", refuse)
    with pytest.raises(StorageError):
        shelf.store.carry([move(jpeg("a"))])


def test_a_link_at_the_source_is_not_moved(shelf: Shelf) -> None:
    """A link planted where the file was is not taken for it."""
    put(shelf, "elsewhere.jpg", jpeg("a"))
    (shelf.folder / "old").mkdir()
    (shelf.folder / "old/a.jpg").symlink_to("../elsewhere.jpg")
    assert shelf.store.carry([move(jpeg("a"))]) == [None]
    assert (shelf.folder / "old/a.jpg").is_symlink()


def test_the_disks_refusal_is_told(shelf: Shelf, tmp_path: Path) -> None:
    """A move that the disk refuses ends with a StorageError; the file stands where it stood."""
    put(shelf, "old/a.jpg", jpeg("a"))
    put(shelf, "new", b"a file where a folder is due")
    with pytest.raises(StorageError, match="folder is due"):
        shelf.store.carry([move(jpeg("a"))])
    assert (shelf.folder / "old/a.jpg").exists()
