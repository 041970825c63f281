"""Reads files again and judges them by their rows: is what was recorded still what stands on the disk?

The decisions (`blame`, `is_misplaced`, `match`, `share`) are plain functions; `look` asks the disk for what they need. A file
is judged by its SHA-256: the cheaper hash would save nothing where two cores hash faster than the disk reads. That one is
computed too, for next to nothing, to see whether the row has it right: equal photos are found by it.

Nothing here writes, and nothing follows a link. All of it blocks: callers run it in a thread.
"""

from __future__ import annotations

import hashlib
import math
import os
import re
import threading
import time
from collections import Counter
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Final, Literal, Protocol

import xxhash
from msgspec import Struct

from ninepic_mirror.archive.faults import ABSENT, UNREADABLE, translated
from ninepic_mirror.archive.files import release, split

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from zoneinfo import ZoneInfo

    from ninepic_mirror.archive.files import Found, Tree
    from ninepic_mirror.archive.placement import Layout
    from ninepic_mirror.errors import StorageError
    from ninepic_mirror.model import Variant

Fault = Literal["missing", "size", "content", "type", "stray", "misplaced"]
Key = tuple[str, str]  # `image_id` and variant

_BUFFER: Final = (
    1 << 20
)  # bytes of one read; a larger one is no faster, and four of them stay in the cache
_SUFFIX: Final = re.compile(r"(\.[^./]+)?", re.DOTALL)  # what may follow the stem of a path
_TRIES: Final = 5  # looks at a row that changes each time; a pass changes it twice


class Entry(Struct, frozen=True, gc=False):
    """A file that ought to be there, as its row has it.

    Args:
        path: Where it stands, None where no place is known any more.
        taken: Start of the smallest window that named its photo.
        state: `present`; `gone` where its photo has left and the file is kept; or, of a file that was had once and is
            to be had again, `pending` or `failed`.
        moving_to: Where a move under way takes it.
        unsettled: Its photo is known to belong elsewhere; the next pass moves it.
        error: Why it could not be had again.
        xxh3_128: Its other hash, None where none was recorded.
    """

    image_id: str
    variant: Variant
    path: str | None
    size: int | None
    sha256: str | None
    taken: int | None
    state: str
    moving_to: str | None = None
    unsettled: int = 0
    error: str | None = None
    xxh3_128: str | None = None

    @property
    def key(self) -> Key:
        """Which file."""
        return self.image_id, self.variant

    @property
    def is_gone(self) -> bool:
        """Whether its photo has left the event: nobody can fetch it again."""
        return self.state == "gone"


class Look(Struct, frozen=True, gc=False):
    """What was found where a file ought to be.

    Args:
        fault: None where it is what its row says.
        read: Bytes that were read.
        note: What else is worth telling.
        error: Why nothing can be told of it.
    """

    fault: Fault | None = None
    read: int = 0
    note: str | None = None
    error: StorageError | None = None


class Where(Struct, frozen=True):
    """How paths are made, by the pass that made them: not by a configuration that may have changed since."""

    layout: Layout
    zone: ZoneInfo


class Damage(Struct):
    """A file that is not what its row says.

    Args:
        entry: The row.
        fault: What is wrong.
        found: Where its whole bytes stand instead, None where nobody knows.
        repaired: It is what its row says again.
    """

    entry: Entry
    fault: Fault
    found: str | None = None
    repaired: bool = False


# --- decisions ---------------------------------------------------------------------------------------------------


def blame(found: Found | None, size: int | None, *, blocked: bool) -> Fault | None:
    """Judge a file by what can be seen without reading it.

    Args:
        found: What stands at its place, links not followed; None for nothing.
        size: What its row says.
        blocked: A link or file stands in the place of a folder above it.
    """
    if found is None:
        return "type" if blocked else "missing"
    if not found.is_file:
        return "type"
    return None if found.size == size else "size"


def is_misplaced(entry: Entry, where: Where | None) -> bool:
    """Say whether a file stands at another place than its photo's hour and the layout say, and no pass knows of it."""
    if where is None or entry.path is None or entry.state != "present":
        return False
    if entry.unsettled or entry.moving_to is not None:
        return False
    stem = where.layout.stem(entry.taken, where.zone, entry.variant, entry.image_id)
    return not (entry.path.startswith(stem) and _SUFFIX.fullmatch(entry.path, len(stem)))


def match(
    damages: Iterable[Damage],
    candidates: Iterable[tuple[str, int]],
    hash_of: Callable[[str], str | None],
) -> dict[Key, str]:
    """Find the whole bytes of damaged files among other files.

    Args:
        damages: The damaged files.
        candidates: Path and size of each such file; only one whose size is looked for is read, none once all are found.
        hash_of: Path → SHA-256, None for what cannot be read.

    Returns:
        Where the bytes of which file stand; one place for all files of the same bytes.
    """
    sought: dict[tuple[int | None, str | None], list[Entry]] = {}
    for damage in damages:
        # a file that can be read and stands at a wrong place has its bytes, unless it is called so for where they were found
        is_there = damage.fault == "misplaced" and damage.found is None
        if not is_there and damage.entry.path is not None:
            row = damage.entry
            sought.setdefault((row.size, row.sha256), []).append(row)
    sizes = Counter(size for size, _ in sought)
    found: dict[Key, str] = {}
    for path, size in candidates if sought else ():
        if sizes[size]:
            waiting = sought.pop((size, hash_of(path)), [])
            sizes[size] -= bool(waiting)
            # not its own: then it is the row that is damaged
            found |= {one.key: path for one in waiting if one.path != path}
            if not sought:
                break
    return found


def share(files: int, fraction: float) -> int:
    """Return how many of so many files a sample holds: at least one."""
    return math.ceil(files * fraction)


# --- looking -----------------------------------------------------------------------------------------------------


class Stopped(Exception):  # noqa: N818  no error: the operator, or the time that was given, ends the run
    """The run ends while a file is read; nothing is known of that one."""


class _Account:
    """What several paces have spent together."""

    def __init__(self) -> None:
        self.free_at = -math.inf  # when all bytes so far will have been paid for
        self.lock = threading.Lock()


class Pace:
    """Keeps what is read below a rate; shared by all readers.

    Args:
        rate: Bytes a second, None for as fast as it goes.
        stop: Set to end every wait.
        clock: Seconds, from any start.

    Attributes:
        advanced: Set when a file has been looked at.
    """

    def __init__(
        self,
        rate: float | None,
        stop: threading.Event,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._rate, self._clock, self.stop = rate, clock, stop
        self._account = _Account()
        self.advanced = threading.Event()

    def until(self, stop: threading.Event) -> Pace:
        """Return one that ends with another event, and keeps below the same rate together with this one."""
        other = Pace(self._rate, stop, self._clock)
        other._account = self._account
        return other

    def spend(self, count: int) -> None:
        """Account for bytes that were read, and wait until they are within the rate.

        Raises:
            Stopped: The run is to end.
        """
        wait = 0.0
        if self._rate is not None:
            account = self._account
            with account.lock:
                now = self._clock()
                account.free_at = max(account.free_at, now) + count / self._rate
                wait = account.free_at - now
        if self.stop.wait(wait) if wait > 0 else self.stop.is_set():
            raise Stopped


class Decode(Protocol):
    """Decodes a picture, see `pictures.complaint`."""

    def __call__(self, descriptor: int) -> str | None:
        """Return what is wrong with the picture that is open there."""
        ...


class Eye(Struct, frozen=True):
    """How to look at files.

    Args:
        pace: How fast, and whether to go on.
        quick: Compare sizes only.
        decode: Decodes each picture whose bytes are right; None: pictures are not decoded.
    """

    pace: Pace
    quick: bool = False
    decode: Decode | None = None


def look(
    tree: Tree, entry: Entry, eye: Eye, where: Where | None = None, ahead: Ahead | None = None
) -> Look:
    """Look at one file.

    Args:
        tree: The event folder.
        entry: Its row.
        eye: How.
        where: To see whether its place is right; None: any place is.
        ahead: What `ahead` has opened of it; whoever did gives it back.

    Raises:
        StorageError: It cannot be told what stands there.
        Stopped: The run is to end.
    """
    if entry.path is None:
        return Look("missing")
    with translated(tree.name(entry.path)):
        seen = _look_at(tree, entry.path, entry, eye, ahead)
        if seen.fault == "missing" and entry.moving_to is not None:
            seen = _look_at(tree, entry.moving_to, entry, eye)  # the move was made meanwhile
    if seen.fault is None and is_misplaced(entry, where):
        return Look("misplaced", seen.read, seen.note)
    return seen


def _look_at(tree: Tree, path: str, entry: Entry, eye: Eye, ahead: Ahead | None = None) -> Look:
    read = 0
    try:
        if eye.quick:
            return Look(_glance(tree, path, entry.size))
        with nullcontext(ahead) if ahead is not None else _opened(tree, path) as (descriptor, size):
            if size != entry.size:
                return Look("size")
            digest, other = hashlib.sha256(), xxhash.xxh3_128()
            for chunk in _chunks(descriptor, size):
                digest.update(chunk)
                other.update(chunk)
                read += len(chunk)
                eye.pace.spend(len(chunk))
            is_right = digest.hexdigest() == entry.sha256 and (
                entry.xxh3_128 is None or other.hexdigest() == entry.xxh3_128
            )
            note = eye.decode(descriptor) if is_right and eye.decode is not None else None
            _forget(descriptor)
            return Look(None if is_right else "content", read, note)
    except OSError as error:
        if error.errno in UNREADABLE:
            return Look("content", read)
        if error.errno in ABSENT:
            # what it is that keeps it from being opened; if that has just changed, the second look sees it
            return Look(_glance(tree, path, entry.size) or "missing")
        raise


def _glance(tree: Tree, path: str, size: int | None) -> Fault | None:
    found = tree.stat(path)
    return blame(found, size, blocked=found is None and barrier(tree, path) is not None)


def barrier(tree: Tree, path: str) -> str | None:
    """Return what stands in the place of a folder above `path`: a link, a file; None for nothing. Raises OSError."""
    parts = split(path)[0].split("/")
    for number in range(1, len(parts) + 1):
        above = "/".join(parts[:number])
        if above and tree.folder_mtime(above) is None:
            return above if tree.stat(above) is not None else None
    return None


Ahead = tuple[int, int]  # the descriptor of an open file, and its size


def ahead(tree: Tree, path: str) -> Ahead | None:
    """Open a file that is to be read soon, and let the disk begin with it; None where it cannot be opened.

    A small file that is read at once costs a wait for the disk, and that a thread gives the processor and the
    interpreter lock away and has to get both back: together three times as much as to hash it (15 kB, measured). Of a dozen that
    are asked for before the first is read, most are there by then.
    """
    try:
        descriptor, size = tree.open(path)
    except OSError:
        return None  # whoever looks at it says why
    _forget(descriptor)  # what the memory holds of it says nothing about the disk
    _advise(descriptor, _FETCH, min(size, _BUFFER))
    return descriptor, size


@contextmanager
def _opened(tree: Tree, path: str) -> Iterator[Ahead]:
    descriptor, size = tree.open(path)
    try:
        _forget(descriptor)
        yield descriptor, size
    finally:
        release(descriptor)


_own = threading.local()
# macOS has neither
_DROP: Final = getattr(os, "POSIX_FADV_DONTNEED", 0)
_FETCH: Final = getattr(os, "POSIX_FADV_WILLNEED", 0)


def _chunks(descriptor: int, size: int | None = None) -> Iterator[memoryview]:
    """Yield a file's bytes, at least as many as it is said to hold; each chunk is good until the next is asked for."""
    buffer: bytearray | None = getattr(_own, "buffer", None)
    if buffer is None:
        buffer = _own.buffer = bytearray(_BUFFER)
    view = memoryview(buffer)
    read = 0
    while (size is None or read < size) and (count := os.readv(descriptor, [buffer])):
        read += count
        yield view[:count]


def _forget(descriptor: int) -> None:
    """Give the memory back that holds a file: a mirror read through must not drive out what others need."""
    _advise(descriptor, _DROP)


def _advise(descriptor: int, advice: int, length: int = 0) -> None:
    try:  # not `suppress`: three times a file
        os.posix_fadvise(descriptor, 0, length, advice)
    except (OSError, AttributeError):  # a file system that knows none; macOS has none
        return


def hash_of(tree: Tree, path: str, pace: Pace) -> str | None:
    """Return the SHA-256 of any file, None for what cannot be read.

    Raises:
        Stopped: The run is to end.
    """
    digest = hashlib.sha256()
    return digest.hexdigest() if feed(tree, path, pace, digest.update) else None


def feed(tree: Tree, path: str, pace: Pace, *updates: Callable[[memoryview], object]) -> bool:
    """Read any file into digests; return whether it can be read.

    Raises:
        Stopped: The run is to end.
    """
    try:
        with _opened(tree, path) as (descriptor, _):
            for chunk in _chunks(descriptor):
                for update in updates:
                    update(chunk)
                pace.spend(len(chunk))
            _forget(descriptor)
    except OSError:
        return False
    return True


def confirm(
    entry: Entry, again: Callable[[Key], Entry | None], look: Callable[[Entry], Look]
) -> Damage | None:
    """Look a second time at a file that seems damaged, by its row as it is now: a pass may have moved or replaced it.

    Args:
        entry: Its row as it was.
        again: Reads the row; None where nobody promises the file any more.
        look: Looks at the file.

    Returns:
        What is wrong; None where nothing is.
    """
    found: Damage | None = None
    for _ in range(_TRIES):
        now = again(entry.key)
        if now is None:
            return None
        seen = look(now)
        if seen.fault is None:
            return None
        found = Damage(now, seen.fault)
        if now == entry:
            break
        entry = now
    return found
