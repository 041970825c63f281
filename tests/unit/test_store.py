"""Whole files get their names durably, one copy of equal bytes, and nothing good is replaced by worse."""

from __future__ import annotations

import errno
import os
from contextlib import suppress
from dataclasses import replace
from typing import Literal

import pytest
from msgspec import structs

from ninepic_mirror.archive.files import Tree
from ninepic_mirror.archive.records import Job, Listing
from ninepic_mirror.archive.survey import survey
from ninepic_mirror.errors import StorageError
from ninepic_mirror.model import Known
from tests.shelf import (
    DAY,
    SIX,
    Shelf,
    in_memory,
    jobs_of,
    jpeg,
    photo,
    sha256,
    trash,
    window,
)


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
    shelf.manifest.change(
        "UPDATE files SET path = ? WHERE (image_id, variant) = ('a', 'large')", [former]
    )
    survey(shelf.tree, shelf.holdings, sizes=False, everywhere=False)
    assert shelf.store.find(job, shelf.holdings.strays.of(f"{DAY}/large/a", "large", "a")) is None
    shelf.holdings.lines.expect([(f"{DAY}/large/a.jpg", sha256(new))])
    found = shelf.store.find(job, shelf.holdings.strays.of(f"{DAY}/large/a", "large", "a"))
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
    found = shelf.store.find(structs.replace(jobs["b"], held=place))
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
