"""Writes a bag as a folder: each byte of the mirror is read once, and hashed on its way."""

from __future__ import annotations

import fcntl
import hashlib
import os
import stat
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Final, Self

from msgspec import structs

from ninepic_mirror.archive.files import FILE_MODE, split, write_all
from ninepic_mirror.delivery import thumbnails
from ninepic_mirror.delivery.plan import MADE_THUMBNAIL
from ninepic_mirror.delivery.source import LARGE, chunks
from ninepic_mirror.delivery.target import FICLONE, target_error, uncache, writing

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from ninepic_mirror.archive.files import Tree
    from ninepic_mirror.delivery.catalogue import File
    from ninepic_mirror.delivery.plan import Entry
    from ninepic_mirror.delivery.source import Source
    from ninepic_mirror.errors import StorageError

# One hashes while another writes; more do not make a disk faster.
_THREADS: Final = max(2, min(4, os.cpu_count() or 1))
_NEW: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


class Folder:
    """A bag under way. Use it in a `with` block.

    Args:
        source: The mirror.
        tree: What it is built in.
        top: Its folder there.
        link: Files become hard links of the mirror's.
    """

    def __init__(self, source: Source, tree: Tree, top: str, *, link: bool = False) -> None:
        self._source, self._tree, self._top, self._link = source, tree, top, link
        self._clones = True  # until it is seen that the file system cannot
        self._pool = ThreadPoolExecutor(_THREADS, "deliver")

    def __enter__(self) -> Folder:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(cancel_futures=True)

    def put(self, entries: Sequence[Entry]) -> list[File]:
        """Write some files, those that stand there whole excepted; return them as they were delivered, in their order.

        Raises:
            DamagedError: One is not what the mirror recorded.
            ChangedError: One left the mirror meanwhile.
            StorageError: A disk said no.
            Stopped: The run is to end.
        """
        with self._source.tree.holding() as mirror, self._tree.holding() as tree:

            def work(entry: Entry) -> File:
                place = f"{self._top}/{entry.target}"
                return self._source.follow(
                    entry.file, lambda file: self._put(mirror, tree, file, place)
                )

            large = {
                entry.target: self._pool.submit(work, entry)
                for entry in entries
                if entry.file.size >= LARGE
            }
            small = {
                entry.target: work(entry)
                for entry in self._source.foretold(mirror, entries)
                if entry.target not in large
            }
            return [
                large[entry.target].result() if entry.target in large else small[entry.target]
                for entry in entries
            ]

    def each(self, work: Callable[[int], object], count: int) -> None:
        """Call something with each number below `count`, several at once."""
        for _ in self._pool.map(work, range(count)):
            pass  # the iteration is what raises a thread's error here

    def write(self, path: str, data: bytes, modified: float | None = None) -> None:
        """Write a file of our own.

        Raises:
            StorageError: The disk said no.
        """
        place = f"{self._top}/{path}"
        with writing(self._tree.name(place)):
            with self._tree.folder(split(place)[0], make=True):
                pass
            self._tree.create(place, data, modified)

    def kept(self, path: str, sha256: str) -> bytes | None:
        """Return a thumbnail that an interrupted run has made and written whole, None where it has not.

        Args:
            path: Where it would stand.
            sha256: Of the photo that it is made of; what was made of another one stands under this name, too, where
                the order was another one.
        """
        place = f"{self._top}/{path}"
        with writing(self._tree.name(place)):
            found = self._tree.stat(place)
            if found is None or not found.is_file:
                return None
            data = self._tree.read(place, MADE_THUMBNAIL)
        return data if thumbnails.is_of(data, sha256) else None

    def close(self) -> None:
        """Finish the bag; nothing is left to do for a folder."""

    def _put(self, mirror: Tree, tree: Tree, file: File, place: str) -> str | None:
        """Write one file; return what is wrong with the mirror's."""
        how = self._linked if self._link else self._copied
        try:
            fault = how(mirror, tree, file, place)
        except FileExistsError:  # an interrupted delivery has written it, whole or not
            with writing(tree.name(place)):
                if self._is_whole(tree, file, place):
                    return None
                tree.remove(place)
            fault = how(mirror, tree, file, place)
        if fault is not None:
            with suppress(OSError):
                tree.remove(place)
        return fault

    def _is_whole(self, tree: Tree, file: File, place: str) -> bool:
        """Whether an interrupted delivery has written this file whole; its bytes are read, nothing else is believed."""
        found = tree.stat(place)
        # what is linked to the mirror must not get into a package that was asked for without
        if (
            found is None
            or not found.is_file
            or found.size != file.size
            or (found.links > 1) != self._link
        ):
            return False
        digest = hashlib.sha256()
        with tree.opened(place) as descriptor:
            uncache(descriptor)
            for chunk in chunks(descriptor, found.size, self._source.stop):
                digest.update(chunk)
        return digest.hexdigest() == file.sha256

    def _linked(self, mirror: Tree, tree: Tree, file: File, place: str) -> str | None:
        (below, old), (above, new) = split(file.path), split(place)
        try:
            with mirror.folder(below) as from_:
                found = os.stat(old, dir_fd=from_, follow_symlinks=False)
        except OSError as error:
            return self._source.fault(error, file)
        if not stat.S_ISREG(found.st_mode):
            return "is a link" if stat.S_ISLNK(found.st_mode) else "is no file"
        with (
            _making(tree.name(place)),
            mirror.folder(below) as from_,
            tree.folder(above, make=True) as to,
        ):
            os.link(old, new, src_dir_fd=from_, dst_dir_fd=to, follow_symlinks=False)
        # the link, not what has its name in the mirror by now: a repair may have replaced that
        with writing(tree.name(place)):
            photo = self._source.opened(tree, structs.replace(file, path=place))
        try:
            with photo:
                return self._source.pour(photo, file, len)
        except OSError as error:
            return self._source.fault(error, file)

    def _copied(self, mirror: Tree, tree: Tree, file: File, place: str) -> str | None:
        try:
            with self._source.opened(mirror, file) as photo, _New(tree, place) as new:
                sink = len if self._shared(photo.descriptor, new.descriptor) else new.write
                fault = self._source.pour(photo, file, sink)
                if fault is None:
                    new.date(photo.modified)
                return fault
        except FileExistsError:
            raise
        except OSError as error:  # only of the mirror's: `_New` translates its own
            return self._source.fault(error, file)

    def _shared(self, source: int, target: int) -> bool:
        """Let a new file share the blocks of the mirror's; False where the file system cannot."""
        if self._clones:
            try:
                fcntl.ioctl(target, FICLONE, source)
            except OSError:
                self._clones = False  # every errno means the same here: it is copied
        return self._clones


@contextmanager
def _making(place: str) -> Iterator[None]:
    """Turn an OSError of the destination's into a StorageError, but for what says that the file is there already."""
    try:
        yield
    except FileExistsError:
        raise
    except OSError as error:
        raise target_error(error, place) from error


class _New:
    """A new file of the destination, whose errors must not be taken for the mirror's. Use it in a `with` block.

    Few calls and no generators: for small files those are what takes the time.

    Raises:
        FileExistsError: It is there already.
        StorageError: The disk said no.
    """

    __slots__ = ("_place", "_tree", "descriptor")

    def __init__(self, tree: Tree, place: str) -> None:
        self._tree, self._place = tree, place
        above, name = split(place)
        try:
            with tree.folder(above, make=True) as folder:
                self.descriptor = os.open(name, _NEW, FILE_MODE, dir_fd=folder)
        except FileExistsError:
            raise
        except OSError as error:
            raise self._error(error) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        try:
            os.close(
                self.descriptor
            )  # a network file system may say only now that there is no room
        except OSError as error:
            raise self._error(error) from error

    def write(self, chunk: memoryview) -> None:
        """Write all of a chunk."""
        try:
            write_all(self.descriptor, chunk)
        except OSError as error:
            raise self._error(error) from error

    def date(self, modified: int) -> None:
        """Set the modification time, in nanoseconds."""
        try:
            os.utime(self.descriptor, ns=(modified, modified))
        except OSError as error:
            raise self._error(error) from error

    def _error(self, error: OSError) -> StorageError:
        return target_error(error, self._tree.name(self._place))
