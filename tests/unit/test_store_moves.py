"""What is on the disk already is found, brought to its place, and believed only with its hash."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING

import pytest
from msgspec import structs

from ninepic_mirror.archive.moves import Move
from ninepic_mirror.archive.strays import Candidates, Stray
from ninepic_mirror.archive.sums import write_stale
from ninepic_mirror.archive.survey import survey
from ninepic_mirror.errors import StorageError
from tests.shelf import (
    DAY,
    SIX,
    Shelf,
    jobs_of,
    jpeg,
    sha256,
    trash,
    window,
)

if TYPE_CHECKING:
    from pathlib import Path

    from ninepic_mirror.archive.records import Job


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
    found = shelf.store.find(job)
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
    assert shelf.store.find(job) is None
    shelf.settle([shelf.fetched(job, jpeg("large a"))])
    shelf.check()
    assert trash(shelf) == ([] if body is None else [body])


@pytest.mark.parametrize("said", ["row", "line", "other"])
def test_a_file_in_its_place_is_believed_by_row_or_line(shelf: Shelf, said: str) -> None:
    """Of a row that does not call it present; what neither says it is, it is not."""
    job = wanted(shelf)
    put(shelf, f"{DAY}/large/a.jpg", jpeg("it"))
    right, wrong = sha256(jpeg("it")), "0" * 64
    row, line = {"row": (right, wrong), "line": (wrong, right), "other": (wrong, wrong)}[said]
    held = structs.replace(job, held=f"{DAY}/large/a.jpg", sha256=row)
    found = shelf.store.find(held, Candidates(held=line))
    assert (found is not None) == (said != "other")
    assert shelf.store.find(structs.replace(held, held=None), Candidates(held=line)) is None


def test_what_cannot_be_looked_at_is_fetched(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that the disk does not give back is one photo's misfortune, no bug. No disk here fails on demand."""
    job = wanted(shelf)

    def fail(*_: object, **__: object) -> None:
        raise OSError(errno.EIO, "I/O error")

    monkeypatch.setattr(os, "stat", fail)
    monkeypatch.setattr(os, "open", fail)
    assert shelf.store.find(job, Candidates((Stray(f"{DAY}/large/a.jpg"),))) is None


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
        shelf.store.find(job)


def test_a_link_in_a_photos_place_is_not_read(shelf: Shelf) -> None:
    """A link, even to the right bytes, is no photo (RELIABILITY L8)."""
    job = wanted(shelf)
    place = shelf.folder / DAY / "large/a.jpg"
    place.rename(shelf.folder / "elsewhere.jpg")
    place.symlink_to(shelf.folder / "elsewhere.jpg")
    assert shelf.store.find(job) is None


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
            structs.replace(job, image_id=name),
            shelf.holdings.strays.of(f"{DAY}/large/{name}", "large", "a"),
        )
        for name in "abcd"
    }
    assert [name for name, ready in found.items() if ready is not None] == ["a", "c"]


def test_a_stray_is_brought_to_its_place(shelf: Shelf) -> None:
    """A file found under another extension gets the one of its content, if its line vouches for it; else it is not ours."""
    job = jobs_of(shelf, "a")["a"]
    place = shelf.folder / DAY / "large/a.png"
    place.parent.mkdir(parents=True)
    place.write_bytes(jpeg("a"))
    unnamed = Stray(f"{DAY}/large/a.png")
    assert shelf.store.find(job, Candidates((unnamed,))) is None
    named = structs.replace(unnamed, sha256=sha256(jpeg("a")))
    found = shelf.store.find(job, Candidates((named,), frozenset({sha256(jpeg("a"))})))
    assert found is not None
    assert shelf.settle([found]) == [f"{DAY}/large/a.jpg"]
    assert shelf.files() == {f"{DAY}/large/a.jpg"}


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


def test_a_move_that_was_made_is_not_made_again(shelf: Shelf) -> None:
    """Where the file of the move stands at its target, what has come to its old place since goes to the trash."""
    put(shelf, "old/a.jpg", jpeg("out of a backup"))
    put(shelf, "new/a.jpg", jpeg("a"))
    assert shelf.store.carry([move(jpeg("a"))]) == ["new/a.jpg"]
    assert (shelf.folder / "new/a.jpg").read_bytes() == jpeg("a")
    assert not (shelf.folder / "old/a.jpg").exists()
    assert trash(shelf) == [jpeg("out of a backup")]


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
