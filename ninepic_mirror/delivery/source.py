"""Reads the mirror's files and hashes them on the way: what is delivered is what was recorded, or nothing is.

A pass may be at work beside us. A file that is not what its row said is looked up again: where it was moved or
replaced, it is read by its row as it is by then. All of it blocks.
"""

from __future__ import annotations

import errno
import hashlib
import os
import stat
import sys
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from ninepic_mirror.archive.faults import storage_error
from ninepic_mirror.archive.files import release, split
from ninepic_mirror.archive.verify import Stopped
from ninepic_mirror.delivery import artists
from ninepic_mirror.delivery.catalogue import Camera, File
from ninepic_mirror.errors import ChangedError, DamagedError

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterator, Sequence

    from ninepic_mirror.archive import verify
    from ninepic_mirror.archive.files import Tree
    from ninepic_mirror.delivery.plan import Entry

# Bytes. Threads that copy small files wait for each other's turn at the interpreter more than for the disk: two take
# twice as long as one (measured, files of 15 kB).
LARGE: Final = 128 << 10
_AHEAD: Final = 16  # files; a third less time for small ones that are not in memory (measured)
_BUFFER: Final = 1 << 20  # bytes of one read; a larger one leaves the processor's cache
# O_NONBLOCK: a named pipe put in a photo's place must not hang us
_READ: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_TRIES: Final = 5  # a pass changes a row twice
# What a disk says of a file that it cannot read, or that is not there; anything else ends the run.
_UNREADABLE: Final = {
    errno.EIO: "cannot be read: the disk reports an I/O error",
    errno.EBADMSG: "cannot be read: the disk reports a wrong checksum",
    errno.ENOENT: "is not there",
    errno.ENOTDIR: "is not there",
    errno.ELOOP: "is a link",
    errno.EINVAL: "is no file",
    errno.ENXIO: "is no file",
}


class Photo:
    """An open file of the mirror. Use it in a `with` block.

    Not a generator with `contextmanager`: for small files that costs as much as to open them.
    """

    __slots__ = ("descriptor", "modified", "size")

    def __init__(self, descriptor: int, seen: os.stat_result) -> None:
        self.descriptor = descriptor
        self.size, self.modified = seen.st_size, seen.st_mtime_ns

    def __enter__(self) -> Photo:
        return self

    def __exit__(self, *_: object) -> None:
        release(self.descriptor)

    def fault(self, file: File) -> str | None:
        """Return what is wrong with a file that can be seen without reading it."""
        if self.size == file.size:
            return None
        return f"has {self.size:,} bytes instead of {file.size:,}"


class Source:
    """The mirror of one event, to be read from. Threads may share it.

    Args:
        event_id: The event.
        tree: Its folder.
        again: Reads a file's row as it is now; None where nobody promises the file any more.
        stop: Set when the run is to end.
        unseen: Photos of which what their cameras wrote is to be noted, while their files are read for something else.
    """

    def __init__(
        self,
        event_id: int,
        tree: Tree,
        again: Callable[[tuple[str, str]], verify.Entry | None],
        stop: threading.Event,
        unseen: Container[str] = (),
    ) -> None:
        self.event_id, self.tree, self.stop = event_id, tree, stop
        self.cameras: dict[File, Camera] = {}  # of those that were read and are what was recorded
        self._again, self._unseen = again, unseen
        self._lock = threading.Lock()

    def follow(self, file: File, attempt: Callable[[File], str | None]) -> File:
        """Do something with a file, and, where it is not what its row said, once more by its row as it is by then.

        Args:
            file: By its row as it was.
            attempt: Does it; returns what is wrong with the file.

        Returns:
            The file with which it was done.

        Raises:
            DamagedError: It is not what its row says.
            ChangedError: Its row says no more that it is here.
        """
        fault: str | None = None
        for _ in range(_TRIES):
            fault = attempt(file)
            if fault is None:
                return file
            now = self._look_up(file)
            if now is None:
                raise ChangedError(self.event_id, file.path)
            if now == file:
                break
            file = now
        raise DamagedError(self.event_id, file.path, fault or "changes all the time")

    def _look_up(self, file: File) -> File | None:
        with self._lock:  # the manifest belongs to one thread at a time
            row = self._again((file.image_id, file.variant))
        if row is None or row.state != "present" or row.path is None:
            return None
        path = row.moving_to if row.moving_to is not None and row.path == file.path else row.path
        return File(file.image_id, file.variant, path, row.size or 0, row.sha256 or "")

    def opened(self, tree: Tree, file: File) -> Photo:
        """Open a file; links and devices are refused.

        Args:
            tree: The mirror's, or one that holds its folders open.
            file: By its row.

        Raises:
            OSError: As the system says; ELOOP for a link, EINVAL for what is no regular file.
        """
        folder, name = split(file.path)
        with tree.folder(folder) as above:
            descriptor = os.open(name, _READ, dir_fd=above)
        seen = os.fstat(descriptor)
        if not stat.S_ISREG(seen.st_mode):
            release(descriptor)
            raise OSError(errno.EINVAL, "is no regular file", tree.name(file.path))
        return Photo(descriptor, seen)

    def foretold(self, tree: Tree, entries: Sequence[Entry]) -> Iterator[Entry]:
        """Yield files in their order; the disk is asked for small ones before their turn, to fetch several at once.

        Args:
            tree: The mirror's, or one that holds its folders open.
            entries: Files of a package.
        """
        for number, entry in enumerate(entries):
            if number % _AHEAD == 0 and sys.platform == "linux":
                for one in entries[number : number + _AHEAD]:
                    if one.file.size < LARGE:
                        with suppress(OSError), self.opened(tree, one.file) as photo:
                            os.posix_fadvise(photo.descriptor, 0, 0, os.POSIX_FADV_WILLNEED)
            yield entry

    def read(self, tree: Tree, file: File, sink: Callable[[memoryview], object]) -> str | None:
        """Hand a file's bytes on; return what is wrong with it, which is known only after the last of them.

        Args:
            tree: The mirror's, or one that holds its folders open.
            file: By its row.
            sink: Takes each chunk, which is good until it returns; its errors are no `OSError`.

        Raises:
            StorageError: The mirror's disk said something that is no fault of this file's.
            Stopped: The run is to end.
        """
        try:
            with self.opened(tree, file) as photo:
                return self.pour(photo, file, sink)
        except OSError as error:
            return self.fault(error, file)

    def pour(self, photo: Photo, file: File, sink: Callable[[memoryview], object]) -> str | None:
        """Hand on the bytes of a file that is open; as `read`, but an `OSError` of the mirror's is the caller's."""
        fault = photo.fault(file)
        if fault is not None:
            return fault
        digest = hashlib.sha256()
        camera: Camera | None = None
        asked = file.image_id in self._unseen
        for chunk in chunks(photo.descriptor, photo.size, self.stop):
            digest.update(chunk)
            if asked and camera is None:
                camera = artists.glimpse(photo.descriptor, chunk)
            sink(chunk)
        if digest.hexdigest() != file.sha256:
            return "is not what was recorded: its hash differs"
        if camera is not None:
            self.cameras[file] = camera
        return None

    def fault(self, error: OSError, file: File) -> str:
        """Return what an error says of a file.

        Raises:
            StorageError: It says nothing of the file.
        """
        text = _UNREADABLE.get(error.errno or 0)
        if text is None:
            raise storage_error(error, self.tree.name(file.path)) from error
        return text


_own = threading.local()


def chunks(descriptor: int, size: int, stop: threading.Event) -> Iterator[memoryview]:
    """Yield a file's bytes; each chunk is good until the next is asked for.

    Args:
        descriptor: The open file.
        size: Its bytes; what came to stand behind them is not read.
        stop: Set when the run is to end.

    Raises:
        Stopped: The run is to end.
        OSError: As the system says.
    """
    buffer: bytearray | None = getattr(_own, "buffer", None)
    if buffer is None:
        buffer = _own.buffer = bytearray(_BUFFER)
    view = memoryview(buffer)
    while size > 0 and (count := os.readv(descriptor, [buffer])):
        if stop.is_set():
            raise Stopped
        yield view[:count]
        size -= count
