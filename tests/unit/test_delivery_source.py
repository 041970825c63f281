"""Files are hashed on their way, and looked up again where a pass was at work."""

from __future__ import annotations

import errno
import os
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from ninepic_mirror.archive.files import Tree
from ninepic_mirror.archive.verify import Entry, Stopped
from ninepic_mirror.delivery.catalogue import File
from ninepic_mirror.delivery.plan import Entry as parcel  # noqa: N813  a row is called so, too
from ninepic_mirror.delivery.source import LARGE, Source
from ninepic_mirror.errors import ChangedError, DamagedError, StorageError
from tests.parcels import file
from tests.shelf import sha256

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

DATA = b"photo" * 1000


class Mirror:
    """One file and its row."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.row: Entry | None = self.entry("a.jpg", DATA)
        (folder / "a.jpg").write_bytes(DATA)
        self.tree = Tree(folder, durable=False)
        self.stop = threading.Event()
        self.source = Source(456, self.tree, lambda _: self.row, self.stop)
        self.got = bytearray()

    def entry(
        self, path: str | None, data: bytes, state: str = "present", to: str | None = None
    ) -> Entry:
        """Return a row."""
        return Entry("a", "large", path, len(data), sha256(data), 0, state, to)

    def file(self) -> File:
        """Return the file as the row had it at first."""
        return File("a", "large", "a.jpg", len(DATA), sha256(DATA))

    def attempt(self, file: File) -> str | None:
        """Read it."""
        self.got.clear()
        return self.source.read(self.tree, file, self.got.extend)

    def follow(self) -> File:
        """Read it, looking it up again."""
        return self.source.follow(self.file(), self.attempt)


@pytest.fixture
def mirror(tmp_path: Path) -> Iterator[Mirror]:
    """A mirror of one file."""
    made = Mirror(tmp_path)
    yield made
    made.tree.close()


def test_what_is_right_is_handed_on(mirror: Mirror) -> None:
    """Every byte, once."""
    assert mirror.follow() == mirror.file()
    assert mirror.got == DATA


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (DATA[:-1], "has 4,999 bytes instead of 5,000"),
        (DATA[:-1] + b"x", "hash differs"),
        (None, "is not there"),
    ],
)
def test_damage_is_told(mirror: Mirror, data: bytes | None, words: str) -> None:
    """With the name of the file."""
    (mirror.folder / "a.jpg").unlink()
    if data is not None:
        (mirror.folder / "a.jpg").write_bytes(data)
    with pytest.raises(DamagedError, match=words) as raised:
        mirror.follow()
    assert raised.value.path == "a.jpg"


def test_what_is_no_file(mirror: Mirror) -> None:
    """A named pipe in its place neither hangs nor is read."""
    (mirror.folder / "a.jpg").unlink()
    os.mkfifo(mirror.folder / "a.jpg")
    with pytest.raises(DamagedError, match="is no file"):
        mirror.follow()


def test_files_are_foretold(mirror: Mirror) -> None:
    """All of them come, in their order, whether the disk can be asked for them or not."""
    gone, large = file("gone"), file("large", size=LARGE)
    entries = [parcel(mirror.file(), "a"), parcel(gone, "b"), parcel(large, "c")] * 10
    assert list(mirror.source.foretold(mirror.tree, entries)) == entries
    assert mirror.source.cameras == {}


def test_a_moved_file_is_followed(mirror: Mirror) -> None:
    """To where its row says it is by then, or to where a move under way takes it."""
    (mirror.folder / "a.jpg").rename(mirror.folder / "b.jpg")
    mirror.row = mirror.entry("b.jpg", DATA)
    assert mirror.follow().path == "b.jpg"
    mirror.row = mirror.entry("a.jpg", DATA, to="b.jpg")
    assert mirror.follow().path == "b.jpg"


def test_a_replaced_file_is_taken_as_it_is_now(mirror: Mirror) -> None:
    """With its new size and hash."""
    (mirror.folder / "a.jpg").write_bytes(b"new")
    mirror.row = mirror.entry("a.jpg", b"new")
    assert mirror.follow().sha256 == sha256(b"new")
    assert mirror.got == b"new"


@pytest.mark.parametrize("state", [None, "pending", "nowhere"])
def test_a_file_that_left(mirror: Mirror, state: str | None) -> None:
    """It is told apart from damage."""
    (mirror.folder / "a.jpg").unlink()
    place = None if state == "nowhere" else "a.jpg"
    mirror.row = (
        None
        if state is None
        else mirror.entry(place, DATA, "pending" if state == "pending" else "present")
    )
    with pytest.raises(ChangedError):
        mirror.follow()


def test_a_row_that_changes_all_the_time(mirror: Mirror) -> None:
    """It ends."""
    counter = iter(range(100))
    mirror.source = Source(
        456, mirror.tree, lambda _: mirror.entry(f"{next(counter)}.jpg", DATA), mirror.stop
    )
    (mirror.folder / "a.jpg").unlink()
    with pytest.raises(DamagedError):
        mirror.follow()


def test_a_stop_is_heard_while_a_file_is_read(mirror: Mirror) -> None:
    """Nothing is known of it then."""
    mirror.stop.set()
    with pytest.raises(Stopped):
        mirror.follow()


def test_what_says_nothing_of_a_file(mirror: Mirror, monkeypatch: pytest.MonkeyPatch) -> None:
    """A missing permission ends the run; an I/O error is the file's."""
    code = errno.EACCES

    @contextmanager
    def refuse(_path: str) -> Iterator[int]:
        raise OSError(code, "no")
        yield 0

    monkeypatch.setattr(mirror.tree, "folder", refuse)
    with pytest.raises(StorageError, match="permission denied"):
        mirror.follow()
    code = errno.EIO
    with pytest.raises(DamagedError, match="I/O error"):
        mirror.follow()
