"""Reading files again: what is judged, what is looked at, and what a second look clears."""

from __future__ import annotations

import errno
import os
import threading
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

import pytest
import xxhash
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from ninepic_mirror.archive.files import Found
from ninepic_mirror.archive.placement import Layout
from ninepic_mirror.archive.readers import Readers, handfuls, width
from ninepic_mirror.archive.verify import (
    Damage,
    Entry,
    Eye,
    Look,
    Pace,
    Stopped,
    Where,
    barrier,
    blame,
    confirm,
    hash_of,
    is_misplaced,
    look,
    match,
    share,
)
from ninepic_mirror.errors import StorageError
from tests.shelf import SIX, Shelf, jpeg, open_shelf, sha256, window

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from ninepic_mirror.archive.verify import Fault

BODY = jpeg("large a")
PATH = "2026-01-19/06/large/a.jpg"
ROW = Entry("a", "large", PATH, len(BODY), sha256(BODY), SIX, "present")
WHERE = Where(Layout.parse("{date}/{hour}/{variant}/{image_id}{ext}"), ZoneInfo("UTC"))


@pytest.fixture
def shelf(tmp_path: Path) -> Iterator[Shelf]:
    """An event with the two files of one photo."""
    with open_shelf(tmp_path) as shelf:
        shelf.have(window(SIX), "a")
        yield shelf


def eye(*, quick: bool = False) -> Eye:
    """Return how to look, without a limit."""
    return Eye(Pace(None, threading.Event()), quick)


# --- decisions ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("found", "blocked", "fault"),
    [
        (None, False, "missing"),
        (None, True, "type"),
        (Found(5, 0, 1, is_file=False, links=1), False, "type"),
        (Found(5, 0, 1, is_file=True, links=1), False, None),
        (Found(6, 0, 1, is_file=True, links=1), False, "size"),
    ],
)
def test_blame(found: Found | None, blocked: bool, fault: Fault | None) -> None:
    """What stands at a place is judged without reading it."""
    assert blame(found, 5, blocked=blocked) == fault


@pytest.mark.parametrize(
    ("change", "misplaced"),
    [
        ({}, False),
        ({"path": "2026-01-19/07/large/a.jpg"}, True),
        ({"path": "2026-01-19/07/large/a.jpg", "unsettled": 1}, False),
        ({"path": "2026-01-19/07/large/a.jpg", "moving_to": PATH}, False),
        ({"path": "2026-01-19/07/large/a.jpg", "state": "pending"}, False),
        ({"path": "2026-01-19/06/large/a.png"}, False),
        ({"path": None}, False),
    ],
)
def test_misplaced(change: dict[str, object], misplaced: bool) -> None:
    """A file stands wrong where neither the layout nor a move that is known puts it."""
    row = structs.replace(ROW, **change)
    assert is_misplaced(row, WHERE) == misplaced
    assert not is_misplaced(row, None)


@given(files=st.integers(0, 10**7), hundredths=st.integers(1, 10_000))
def test_samples(files: int, hundredths: int) -> None:
    """A sample is never empty and never more than all, and enough of them see every file."""
    size = share(files, hundredths / 10_000)
    assert min(files, 1) <= size <= files
    assert size * 10_000 >= files * hundredths


def test_match() -> None:
    """Whole bytes are found once for each file, and only candidates of a size that is sought are read."""
    read: list[str] = []
    hashes = {"x": "1", "y": "1", "z": "2", "broken": None}

    def digest(path: str) -> str | None:
        read.append(path)
        return hashes[path]

    def row(image_id: str, size: int, sha: str, path: str | None = "p") -> Entry:
        return Entry(image_id, "large", path, size, sha, None, "present")

    damages = [
        Damage(row("z", 5, "2", "z"), "content"),  # only its row is wrong
        Damage(row("a", 5, "1"), "missing"),
        Damage(row("b", 5, "2"), "content"),
        Damage(row("c", 5, "3"), "size"),
        Damage(row("d", 7, "4"), "misplaced"),
        Damage(row("e", 7, "5", None), "missing"),
    ]
    candidates = [("other", 6), ("d", 7), ("x", 5), ("broken", 5), ("y", 5), ("z", 5)]
    found = match(damages, candidates, digest)
    assert found == {("a", "large"): "x", ("b", "large"): "z"}
    assert read == ["x", "broken", "y", "z"]


def test_match_ends() -> None:
    """Equal files have one place; when all are found, or nothing is sought, no candidate is read or even named."""

    def candidates() -> Iterator[tuple[str, int]]:
        yield "x", 5
        raise AssertionError("nobody needs another")

    rows = [Entry(image_id, "large", "p", 5, "1", None, "present") for image_id in "ab"]
    damages = [Damage(rows[0], "missing"), Damage(rows[1], "misplaced", found="gone by now")]
    assert match(damages, candidates(), {"x": "1"}.get) == {
        ("a", "large"): "x",
        ("b", "large"): "x",
    }
    assert match([Damage(rows[0], "misplaced")], candidates(), {"x": "1"}.get) == {}


# --- pace --------------------------------------------------------------------------------------------------------


class _Waits(threading.Event):
    """An event that notes how long it was waited for, instead of letting it be waited for."""

    def __init__(self) -> None:
        super().__init__()
        self.waits: list[float] = []

    def wait(self, timeout: float | None = None) -> bool:
        self.waits.append(timeout or 0.0)
        return self.is_set()


def test_pace() -> None:
    """Bytes are paid for before the next are read; idle time is not saved up."""
    stop, times = _Waits(), iter([0.0, 0.0, 100.0])
    pace = Pace(10, stop, lambda: next(times))
    for _ in range(3):
        pace.spend(20)
    assert stop.waits == [2.0, 4.0, 2.0]


def test_two_ends_and_one_rate() -> None:
    """What is read until another event keeps below the same rate, together with the first."""
    stop, other = threading.Event(), threading.Event()
    pace = Pace(10, stop, lambda: 0.0)
    second = pace.until(other)
    stop.set()
    with pytest.raises(Stopped):
        pace.spend(10**6)
    threading.Timer(0.01, other.set).start()
    with pytest.raises(Stopped):  # it has to wait, for what the first has spent
        second.spend(1)


@pytest.mark.parametrize("rate", [None, 10.0])
def test_pace_stops(rate: float | None) -> None:
    """A run that is to end waits for nothing more."""
    stop = threading.Event()
    stop.set()
    with pytest.raises(Stopped):
        Pace(rate, stop).spend(10**9)


# --- looking -----------------------------------------------------------------------------------------------------


def test_a_whole_file(shelf: Shelf) -> None:
    """A file that is what its row says is read once, to its end."""
    assert look(shelf.tree, ROW, eye(), WHERE) == Look(read=len(BODY))
    assert look(shelf.tree, ROW, eye(quick=True), WHERE) == Look()


@pytest.mark.parametrize("quick", [False, True])
def test_damaged_files(shelf: Shelf, quick: bool) -> None:
    """Every kind of damage is seen; a link is never followed, not even to the right bytes."""
    path, tree = shelf.folder / PATH, shelf.tree

    def fault() -> Fault | None:
        return look(tree, ROW, eye(quick=quick), WHERE).fault

    path.write_bytes(BODY[:-1] + b"\x00")
    assert fault() == (None if quick else "content")
    path.write_bytes(BODY[:-1])
    assert fault() == "size"
    path.rename(path.with_name("b.jpg"))
    assert fault() == "missing"
    path.symlink_to("b.jpg")
    assert fault() == "type"
    path.unlink()
    path.mkdir()
    assert fault() == "type"
    path.rmdir()
    os.mkfifo(path)
    assert fault() == "type"
    path.unlink()
    above = path.parent
    above.rename(above.with_name("aside"))
    assert fault() == "missing"
    above.symlink_to("aside")
    assert fault() == "type"
    assert barrier(tree, PATH) == "2026-01-19/06/large"
    assert barrier(tree, "x.jpg") is None


def test_a_row_without_a_place(shelf: Shelf) -> None:
    """A file of which no place is known is missing."""
    assert look(shelf.tree, structs.replace(ROW, path=None), eye()) == Look("missing")


def test_a_file_on_its_way(shelf: Shelf) -> None:
    """A file that a move has just taken elsewhere is found there."""
    moving = structs.replace(ROW, path="2026-01-19/05/large/a.jpg", moving_to=PATH)
    assert look(shelf.tree, moving, eye(), WHERE).fault is None
    nowhere = structs.replace(moving, moving_to="2026-01-19/04/large/a.jpg")
    assert look(shelf.tree, nowhere, eye(), WHERE).fault == "missing"


def test_a_whole_file_in_a_wrong_place(shelf: Shelf) -> None:
    """It is told only where the bytes are right: else that comes first."""
    late = structs.replace(ROW, taken=SIX + 3600)
    assert look(shelf.tree, late, eye(), WHERE).fault == "misplaced"
    assert look(shelf.tree, late, eye()).fault is None
    (shelf.folder / PATH).write_bytes(b"")
    assert look(shelf.tree, late, eye(), WHERE).fault == "size"


@pytest.mark.parametrize(
    ("number", "fault"), [(errno.EIO, "content"), (errno.EUCLEAN, "content"), (errno.EACCES, None)]
)
def test_unreadable(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch, number: int, fault: Fault | None
) -> None:
    """What the disk cannot read is damage; what we may not read says nothing, and ends the run."""

    def fail(*_: object) -> int:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "readv", fail)
    if fault is None:
        with pytest.raises(StorageError):
            look(shelf.tree, ROW, eye())
    else:
        assert look(shelf.tree, ROW, eye()).fault == fault
    assert hash_of(shelf.tree, PATH, Pace(None, threading.Event())) is None


def test_gone_between_two_calls(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is there again when it is asked why it was not is called missing; the second look clears it."""

    def fail(*_: object) -> int:
        raise FileNotFoundError(errno.ENOENT, "gone")

    monkeypatch.setattr(os, "readv", fail)
    assert look(shelf.tree, ROW, eye()).fault == "missing"


@pytest.mark.parametrize("right", [True, False])
def test_only_right_bytes_are_decoded(shelf: Shelf, right: bool) -> None:
    """A picture is decoded from the very file that was read, unless its bytes are wrong anyway."""
    seen: list[int] = []

    def decode(descriptor: int) -> str | None:
        seen.append(os.fstat(descriptor).st_size)
        return "odd"

    how = structs.replace(eye(), decode=decode)
    row = ROW if right else structs.replace(ROW, sha256="0")
    assert look(shelf.tree, row, how).note == ("odd" if right else None)
    assert seen == ([len(BODY)] if right else [])


@pytest.mark.parametrize(
    ("sha", "xxh3", "fault"),
    [
        ("right", "right", None),
        ("right", None, None),
        ("right", "0", "content"),
        ("0", "right", "content"),
    ],
)
def test_both_hashes(shelf: Shelf, sha: str, xxh3: str | None, fault: Fault | None) -> None:
    """A row that has either hash wrong is damage; an old one may lack the cheaper."""
    (row,) = (one for one in entries(shelf) if one.path == PATH)
    assert row.xxh3_128 == xxhash.xxh3_128_hexdigest(BODY)
    row = structs.replace(
        row,
        sha256=row.sha256 if sha == "right" else sha,
        xxh3_128=row.xxh3_128 if xxh3 == "right" else xxh3,
    )
    assert look(shelf.tree, row, eye()).fault == fault


def test_hash_of(shelf: Shelf) -> None:
    """Any file can be hashed."""
    assert hash_of(shelf.tree, PATH, Pace(None, threading.Event())) == ROW.sha256
    assert hash_of(shelf.tree, "nothing", Pace(None, threading.Event())) is None


# --- a second look -----------------------------------------------------------------------------------------------


def test_confirm() -> None:
    """What a row that did not change says twice is damage; what nobody promises any more is not."""
    bad = Look("missing")
    assert confirm(ROW, lambda _: ROW, lambda _: bad) == Damage(ROW, "missing")
    assert confirm(ROW, lambda _: None, lambda _: bad) is None
    assert confirm(ROW, lambda _: ROW, lambda _: Look()) is None


def test_confirm_follows_a_row() -> None:
    """A row that a pass changes meanwhile is judged as it is in the end, however often it changes."""
    rows = [structs.replace(ROW, path=f"{number}.jpg") for number in range(9)]

    def ask(until: int) -> tuple[list[str | None], Damage | None]:
        asked: list[str | None] = []
        left = iter(rows)

        def see(row: Entry) -> Look:
            asked.append(row.path)
            return Look(None if len(asked) == until else "size")

        return asked, confirm(ROW, lambda _: next(left), see)

    assert ask(2) == (["0.jpg", "1.jpg"], None)
    asked, found = ask(9)
    assert len(asked) == 5
    assert found == Damage(rows[4], "size")


# --- readers -----------------------------------------------------------------------------------------------------


def entries(shelf: Shelf) -> Sequence[Entry]:
    """Return rows of all files."""
    found = shelf.manifest.rows(
        "SELECT image_id, variant, path, size, sha256, taken, state, NULL, 0, NULL, xxh3_128"
        " FROM files JOIN photos USING (image_id)"
    )
    return [Entry(*row) for row in found]  # type: ignore[arg-type]  # the columns are the fields, in order


def test_readers(shelf: Shelf) -> None:
    """Every file is looked at once, by however many threads."""
    shelf.have(window(SIX), *(f"p{number}" for number in range(20)))
    rows = entries(shelf)
    with Readers(shelf.tree, eye()) as readers:
        seen = readers.look(rows, WHERE)
    assert len(seen) == len(rows) == 42
    assert {one.fault for one in seen.values()} == {None}


@pytest.mark.parametrize(
    ("size", "processors", "files"),
    [(20_000, 1, 4), (20_000, 64, 4), (10**6, 2, 2), (10**6, 64, 4)],
)
def test_width(size: int, processors: int, files: int) -> None:
    """Small files wait for the disk, large ones for a processor; many large ones at once make a disk seek."""
    row = Entry("a", "large", "a.jpg", size, None, None, "present")
    assert width([row, structs.replace(row, size=None)], processors) == files


@pytest.mark.parametrize(
    ("sizes", "cut"),
    [
        ([], []),
        ([10] * 40, [16, 16, 8]),
        ([300_000] * 4, [3, 1]),
        ([10, 10**8, 10**8, 10], [1, 1, 1, 1]),
        ([None], [1]),
    ],
)
def test_handfuls(sizes: list[int | None], cut: list[int]) -> None:
    """The disk is asked for a few small files at once, or for one large: each is an open file, and paid for later."""
    rows = [
        Entry(f"{number}", "large", "a.jpg", size, None, None, "present")
        for number, size in enumerate(sizes)
    ]
    found = [*handfuls(rows)]
    assert [len(some) for some in found] == cut
    assert [row for some in found for row in some] == rows


def test_what_was_opened_ahead_is_given_back(shelf: Shelf) -> None:
    """Whether it was looked at or not, also where some cannot be opened or have no place."""
    rows = [*entries(shelf), structs.replace(ROW, path="none.jpg"), structs.replace(ROW, path=None)]
    stop = threading.Event()
    stop.set()
    before = len(os.listdir("/proc/self/fd"))
    for pace in (Pace(None, threading.Event()), Pace(None, stop)):
        with Readers(shelf.tree, Eye(pace)) as readers:
            readers.look(rows, WHERE)
        assert len(os.listdir("/proc/self/fd")) == before


def test_what_the_memory_holds_is_dropped_before_it_is_read(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By either way to look at a file, and once more behind it."""
    said: list[tuple[int, int]] = []
    monkeypatch.setattr(os, "posix_fadvise", lambda *call: said.append((call[3], call[2])))
    drop, fetch = (os.POSIX_FADV_DONTNEED, 0), (os.POSIX_FADV_WILLNEED, len(BODY))
    look(shelf.tree, ROW, eye())
    assert said == [drop, drop]
    said.clear()
    with Readers(shelf.tree, eye()) as readers:
        readers.look([ROW], WHERE)
    assert said == [drop, fetch, drop]


@pytest.mark.parametrize("fault", [OSError(errno.EINVAL, "no"), AttributeError("macOS")])
def test_a_system_that_takes_no_advice(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch, fault: Exception
) -> None:
    """What is read is no less true."""

    def fail(*_: object) -> None:
        raise fault

    monkeypatch.setattr(os, "posix_fadvise", fail)
    with Readers(shelf.tree, eye()) as readers:
        assert {one.fault for one in readers.look(entries(shelf), WHERE).values()} == {None}


def test_readers_stop(shelf: Shelf) -> None:
    """When the run is to end, nothing is said of what was not read."""
    stop = threading.Event()
    stop.set()
    with Readers(shelf.tree, Eye(Pace(None, stop))) as readers:
        assert readers.look(entries(shelf), WHERE) == {}


def test_readers_tell_a_fault_of_the_disk(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    """What cannot be told of one file is told with it; the others are looked at."""

    def fail(*_: object) -> int:
        raise PermissionError(errno.EACCES, "no")

    monkeypatch.setattr(os, "readv", fail)
    with Readers(shelf.tree, eye()) as readers:
        seen = readers.look(entries(shelf), WHERE)
    assert len(seen) == len(entries(shelf))
    assert {type(one.error) for one in seen.values()} == {StorageError}
