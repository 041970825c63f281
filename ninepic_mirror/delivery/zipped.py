"""Writes a bag as a zip: stored, with 64-bit lengths where they are needed, the same bytes for the same package."""

from __future__ import annotations

import os
import time
import zipfile
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from msgspec import Struct

from ninepic_mirror.delivery.target import writing

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ninepic_mirror.archive.files import Tree
    from ninepic_mirror.delivery.catalogue import File
    from ninepic_mirror.delivery.plan import Entry
    from ninepic_mirror.delivery.source import Source

_AHEAD: Final = 8  # files that are read before their turn
_SMALL: Final = 4 << 20  # bytes of a file that may be; larger ones are read in their turn
_FILE: Final = 0o100644 << 16  # a plain file, for those who unpack it under Unix
_FIRST: Final = (1980, 1, 1, 0, 0, 0)  # what MS-DOS knows as the first moment
_RECORD: Final = (
    30 + 46 + 2 * 28 + 22
)  # bytes of a member's two headers with 64-bit lengths, and a share of the end


def room(entries: dict[str, int], top: str) -> int:
    """Return the most bytes of a zip with these files.

    Args:
        entries: Path → bytes.
        top: The folder that it unpacks into.
    """
    names = sum(2 * (len(top) + 1 + len(path.encode("utf-8", "replace"))) for path in entries)
    return sum(entries.values()) + names + (len(entries) + 2) * _RECORD


class _Read(Struct):
    """A file that was read before its turn."""

    file: File
    data: bytearray
    modified: int


class Zip:
    """A bag under way, as one zip. Use it in a `with` block, and `close` it when it is whole.

    Args:
        source: The mirror.
        tree: What it is built in.
        place: Its file there; what stands there is written anew.
        top: The folder that it unpacks into.

    Raises:
        StorageError: The disk said no.
    """

    def __init__(self, source: Source, tree: Tree, place: str, top: str) -> None:
        self._source, self._tree, self._top = source, tree, top
        self._name = tree.name(place)
        with writing(self._name):
            above, _, _ = place.rpartition("/")
            tree.remove(place)
            with (
                tree.folder(above, make=True),
                tree.opened(place, os.O_RDWR | os.O_CREAT | os.O_EXCL) as descriptor,
            ):
                self._file = os.fdopen(os.dup(descriptor), "w+b", buffering=1 << 20)
            self._zip = zipfile.ZipFile(self._file, "w", zipfile.ZIP_STORED, allowZip64=True)
        self._pool = ThreadPoolExecutor(2, "deliver")

    def __enter__(self) -> Zip:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(cancel_futures=True)
        # after `close` there is nothing left to do; of a zip that did not come to that nothing is expected any more
        with suppress(OSError, ValueError):
            self._zip.close()
        with suppress(OSError):
            self._file.close()

    def close(self) -> None:
        """Finish the zip: its directory is written last.

        Raises:
            StorageError: The disk said no.
        """
        with writing(self._name):
            self._zip.close()
            self._file.flush()

    def put(self, entries: Sequence[Entry]) -> list[File]:
        """Write some files; return them as they were delivered. Raises as `Folder.put` does."""
        done: list[File] = []
        waiting: deque[Future[_Read] | None] = deque()
        ahead = iter(entries)
        with self._source.tree.holding() as mirror:

            def fill() -> None:
                for entry in ahead:
                    small = entry.file.size <= _SMALL
                    waiting.append(
                        self._pool.submit(self._read, mirror, entry.file) if small else None
                    )
                    if len(waiting) >= _AHEAD:
                        return

            fill()
            for entry in entries:
                turn = waiting.popleft()
                if turn is None:
                    done.append(self._stream(mirror, entry))
                else:
                    read = turn.result()
                    self._add(entry.target, read.data, read.modified)
                    done.append(read.file)
                fill()
        return done

    def each(self, work: Callable[[int], object], count: int) -> None:
        """Call something with each number below `count`, in their order: a zip is written from front to back."""
        for number in range(count):
            work(number)

    def write(self, path: str, data: bytes, modified: float | None = None) -> None:
        """Write a file of our own.

        Raises:
            StorageError: The disk said no.
        """
        self._add(path, data, 0 if modified is None else int(modified))

    def _read(self, mirror: Tree, file: File) -> _Read:
        read = _Read(file, bytearray(), 0)

        def attempt(now: File) -> str | None:
            read.data.clear()
            found = mirror.stat(now.path)
            read.modified = found.mtime_ns // 1_000_000_000 if found is not None else 0
            return self._source.read(mirror, now, read.data.extend)

        read.file = self._source.follow(file, attempt)
        return read

    def _add(self, path: str, data: bytes | bytearray, modified: int) -> None:
        with writing(self._name):
            self._zip.writestr(self._member(path, modified), bytes(data))

    def _stream(self, mirror: Tree, entry: Entry) -> File:
        """Write a large file as it is read. A fault in it ends the run, so that its member need not be taken back."""

        def attempt(now: File) -> str | None:
            found = mirror.stat(now.path)
            if found is None or found.size != now.size:
                return "is not there, or has another length"
            member = self._member(entry.target, found.mtime_ns // 1_000_000_000)
            member.file_size = now.size
            with writing(self._name), self._zip.open(member, "w") as out:

                def write(chunk: memoryview) -> None:
                    with writing(self._name):
                        out.write(chunk)

                return self._source.read(mirror, now, write)

        return self._source.follow(entry.file, attempt)

    def _member(self, path: str, modified: int) -> zipfile.ZipInfo:
        # the time in UTC: MS-DOS's has no zone, and the same package is to have the same bytes everywhere
        moment = max(_FIRST, time.gmtime(modified)[:6])
        member = zipfile.ZipInfo(f"{self._top}/{path}", moment)
        member.external_attr = _FILE
        member.create_system = 3  # Unix, on every system
        return member
