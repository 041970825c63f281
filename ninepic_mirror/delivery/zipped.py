"""Writes a bag as a zip: stored, with 64-bit lengths where they are needed, the same bytes for the same package."""

from __future__ import annotations

import hashlib
import os
import time
import zipfile
import zlib
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from msgspec import Struct

from ninepic_mirror.archive.verify import Stopped
from ninepic_mirror.delivery.source import LARGE
from ninepic_mirror.delivery.target import uncache, writing
from ninepic_mirror.errors import ChangedError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ninepic_mirror.archive.files import Tree
    from ninepic_mirror.delivery.catalogue import File
    from ninepic_mirror.delivery.plan import Entry
    from ninepic_mirror.delivery.source import Source

_AHEAD: Final = 8  # files that are read before their turn
_CHUNK: Final = 1 << 20  # bytes that are read at once of what was written before
_SMALL: Final = (
    4 << 20
)  # bytes of a file that is held in memory; larger ones are written as they are read
_FILE: Final = 0o100644 << 16  # a plain file, for those who unpack it under Unix
# What MS-DOS knows as the first and the last moment, in epoch seconds: 1980 begins, 2107 ends.
_FIRST: Final = 315_532_800
_LAST: Final = 4_354_819_198
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


def _is_long(size: int) -> bool:
    """Whether a member's lengths have 64 bits, as zipfile decides it."""
    return size * 1.05 > zipfile.ZIP64_LIMIT


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
        place: Its file there. Of what an interrupted run has written, whole photos at its beginning are kept.
        top: The folder that it unpacks into.

    Raises:
        StorageError: The disk said no.
    """

    def __init__(self, source: Source, tree: Tree, place: str, top: str) -> None:
        self._source, self._tree, self._top = source, tree, top
        self._name = tree.name(place)
        with writing(self._name):
            above, _, _ = place.rpartition("/")
            with (
                tree.folder(above, make=True),
                tree.opened(place, os.O_RDWR | os.O_CREAT) as descriptor,
            ):
                self._left = os.fstat(
                    descriptor
                ).st_size  # bytes of an earlier run's, 0 once they are behind us
                uncache(descriptor)
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
        kept = self._keep(entries)
        done = [entry.file for entry in kept]
        entries = entries[len(kept) :]
        waiting: deque[Future[_Read] | None] = deque()
        ahead = iter(entries)
        with self._source.tree.holding() as mirror:

            def fill() -> None:
                for entry in ahead:
                    ahead_of_turn = LARGE <= entry.file.size <= _SMALL
                    waiting.append(
                        self._pool.submit(self._read, mirror, entry.file) if ahead_of_turn else None
                    )
                    if len(waiting) >= _AHEAD:
                        return

            fill()
            for entry in self._source.foretold(mirror, entries):
                turn = waiting.popleft()
                if turn is None and entry.file.size > _SMALL:
                    done.append(self._stream(mirror, entry))
                else:
                    read = self._read(mirror, entry.file) if turn is None else turn.result()
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
        self._write_on()
        self._add(path, data, 0 if modified is None else int(modified))

    def kept(self, path: str, sha256: str) -> bytes | None:  # noqa: ARG002  the interface of a sink
        """Return nothing: what is not a photo is written anew."""
        return None

    # --- going on ------------------------------------------------------------------------------------------------

    def _keep(self, entries: Sequence[Entry]) -> Sequence[Entry]:
        """Return those of the next files that an interrupted run has written whole, one after the other, right here."""
        number = 0
        with writing(self._name):
            while self._left and number < len(entries) and self._has(entries[number]):
                number += 1
            if number < len(entries):
                self._write_on()
        return entries[:number]

    def _has(self, entry: Entry) -> bool:
        """Whether the next member stands there already; its bytes are read, nothing else is believed."""
        found = self._source.tree.stat(entry.file.path)
        if found is None:
            return False
        member = self._member(entry.target, found.mtime_ns // 1_000_000_000)
        start, size = self._zip.start_dir, entry.file.size
        member.file_size = member.compress_size = size
        member.CRC = 0
        is_long = _is_long(size)
        begin = start + len(member.FileHeader(is_long))
        if begin + size > self._left:
            return False
        digest, check = hashlib.sha256(), 0
        for position in range(begin, begin + size, _CHUNK):
            if self._source.stop.is_set():
                raise Stopped
            data = os.pread(self._file.fileno(), min(_CHUNK, begin + size - position), position)
            digest.update(data)
            check = zlib.crc32(data, check)
        member.CRC, member.header_offset = check, start
        header = member.FileHeader(is_long)
        if (
            digest.hexdigest() != entry.file.sha256
            or os.pread(self._file.fileno(), len(header), start) != header
        ):
            return False
        self._list(member, len(header))
        return True

    def _write_on(self) -> None:
        """Write from here on; what an interrupted run has left behind this place is cut off."""
        if self._left:
            self._left = 0
            with writing(self._name):
                self._file.truncate(self._zip.start_dir)

    # --- writing -------------------------------------------------------------------------------------------------

    def _read(self, mirror: Tree, file: File) -> _Read:
        read = _Read(file, bytearray(), 0)

        def attempt(now: File) -> str | None:
            read.data.clear()
            try:
                with self._source.opened(mirror, now) as photo:
                    read.modified = photo.modified // 1_000_000_000
                    return self._source.pour(photo, now, read.data.extend)
            except OSError as error:
                return self._source.fault(error, now)

        read.file = self._source.follow(file, attempt)
        return read

    def _add(self, path: str, data: bytes | bytearray, modified: int) -> None:
        """Write a member as `ZipFile.writestr` does, but from front to back, without going back to its header."""
        member = self._member(path, modified)
        member.file_size = member.compress_size = len(data)
        member.CRC = zlib.crc32(data)
        member.header_offset = self._zip.start_dir
        header = member.FileHeader(_is_long(len(data)))
        with writing(self._name):
            self._write_at(member.header_offset, header)
            self._write_at(member.header_offset + len(header), data)
        self._list(member, len(header))

    def _write_at(self, place: int, data: bytes | bytearray) -> None:
        # past the buffer of `_file`, which goes to its own place before it writes
        view = memoryview(data)
        while view:
            count = os.pwrite(self._file.fileno(), view, place)
            view, place = view[count:], place + count

    def _list(self, member: zipfile.ZipInfo, header: int) -> None:
        """Note a member that stands in the zip; the next one comes behind it."""
        self._zip.filelist.append(member)
        self._zip.NameToInfo[member.filename] = member
        self._zip.start_dir = member.header_offset + header + member.file_size

    def _stream(self, mirror: Tree, entry: Entry) -> File:
        """Write a large file as it is read. A fault in it ends the run, so that its member need not be taken back."""
        begun = False

        def attempt(now: File) -> str | None:
            nonlocal begun
            if begun:
                raise ChangedError(self._source.event_id, now.path)
            found = mirror.stat(now.path)
            if found is None or found.size != now.size:
                return "is not there, or has another length"
            member = self._member(entry.target, found.mtime_ns // 1_000_000_000)
            member.file_size = now.size
            begun = True
            with writing(self._name), self._zip.open(member, "w") as out:

                def write(chunk: memoryview) -> None:
                    with writing(self._name):
                        out.write(chunk)

                return self._source.read(mirror, now, write)

        return self._source.follow(entry.file, attempt)

    def _member(self, path: str, modified: int) -> zipfile.ZipInfo:
        # the time in UTC: MS-DOS's has no zone, and the same package is to have the same bytes everywhere
        moment = time.gmtime(min(max(modified, _FIRST), _LAST))[:6]
        member = zipfile.ZipInfo(f"{self._top}/{path}", moment)
        member.external_attr = _FILE
        member.create_system = 3  # Unix, on every system
        return member
