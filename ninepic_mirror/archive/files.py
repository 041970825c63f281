"""Durable file work below one folder: nothing here follows a link, and nothing half-written gets a final name.

`Tree` holds a descriptor of the event folder and walks every path from it component by component with `O_NOFOLLOW`,
so a link planted in the mirror leads nowhere (RELIABILITY L17) and a file system mounted over the folder later is not
taken for it. All of it blocks: callers run it in a thread.
"""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import stat
import threading
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Final, Literal, Self

from msgspec import Struct

from ninepic_mirror.archive.faults import NO_FILE, translated
from ninepic_mirror.archive.syncfs import syncfs

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from contextlib import AbstractContextManager
    from pathlib import Path

FILE_MODE: Final = 0o666  # lessened by the umask, so that the service's UMask=0027 decides
FOLDER_MODE: Final = 0o777
_FICLONE: Final = 0x40049409  # linux/fs.h: share the source's blocks (btrfs, XFS, bcachefs)
_COPY_CHUNK: Final = 1 << 20
_MOST_HELD: Final = (
    16  # folders that a batch keeps open: a layout may give each photo one of its own
)


def write_all(descriptor: int, data: bytes | memoryview) -> None:
    """Write every byte: a single write may take only some of them (RELIABILITY, measured)."""
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def open_regular(
    path: Path | str, flags: int = os.O_RDONLY, *, above: int | None = None
) -> tuple[int, int]:
    """Open a regular file, and nothing else: a link is not followed, and a named pipe does not hold us up.

    Args:
        path: Where it is due.
        flags: As for open(2).
        above: The descriptor of the folder that `path` is relative to.

    Returns:
        The descriptor, which the caller gives back, and the file's size.

    Raises:
        OSError: As the system says; ELOOP for a link, EINVAL for what is no regular file.
    """
    # O_NONBLOCK: opening a named pipe would wait for somebody to write into it
    extra = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    descriptor = os.open(path, flags | extra, FILE_MODE, dir_fd=above)
    try:
        return descriptor, _size_of_file(descriptor, path)
    except OSError:
        release(descriptor)
        raise


def _size_of_file(descriptor: int, path: Path | str) -> int:
    seen = os.fstat(descriptor)
    if not stat.S_ISREG(seen.st_mode):
        raise OSError(errno.EINVAL, NO_FILE, str(path))
    return seen.st_size


def release(descriptor: int) -> None:
    """Give back a descriptor of a folder, a lock or a file that was synced or only read.

    What close(2) says of such a one is no news: nothing is lost, and it is closed all the same.
    """
    with suppress(OSError):
        os.close(descriptor)


class Found(Struct, frozen=True):
    """One entry of a folder as `Tree.stat` saw it."""

    size: int
    mtime_ns: int
    inode: int
    is_file: bool
    links: int


# opening a link with O_NOFOLLOW and O_DIRECTORY is ENOTDIR on Linux, ELOOP on macOS
_NOT_THERE: Final = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP})


@contextmanager
def _where_it_is_there() -> Iterator[None]:
    """Leave the block quietly when there is no such folder, or a link or file in its place."""
    try:
        yield
    except OSError as error:
        if error.errno not in _NOT_THERE:
            raise


Kind = Literal["file", "folder", "other"]


def _kind(entry: os.DirEntry[str]) -> Kind:
    if entry.is_file(follow_symlinks=False):
        return "file"
    return "folder" if entry.is_dir(follow_symlinks=False) else "other"


class Tree:
    """A folder and what lies below it. Close it, or use it in a `with` block.

    Args:
        root: The folder, which must exist.
        durable: False leaves out every sync (`durability = "none"`).
    """

    def __init__(self, root: Path, *, durable: bool = True) -> None:
        self.root = root
        self._durable = durable
        self._anchored: set[str] = set()  # folders whose own names are known to be on the disk
        with translated(str(root)):
            self._descriptor = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Give the descriptor back. Idempotent."""
        if self._descriptor >= 0:
            release(self._descriptor)
            self._descriptor = -1

    @property
    def is_durable(self) -> bool:
        """Whether anything is synced at all."""
        return self._durable

    def sync_file_system(self) -> None:
        """Bring all of the file system to the disk that the tree stands on (`flush` says where that is enough).

        Raises:
            OSError: Something of it could not be written since the tree was opened.
        """
        syncfs(self._descriptor)

    def holding(self) -> HoldingTree:
        """Return a view of this tree that keeps folders open, for a batch of work; use it in a `with` block."""
        return HoldingTree(self)

    def name(self, path: str) -> str:
        """Return a path as people know it, for messages."""
        # Asked for every file, and to make a Path of it would cost 8 µs.
        return f"{self.root}/{path}" if path else str(self.root)

    def folder(self, path: str, *, make: bool = False) -> AbstractContextManager[int]:
        """Open the folder `path` ("" is the root) for the length of the block.

        Folders made on the way are made durable before the block begins: each new name is synced in its parent.

        Raises:
            OSError: As the system says; ELOOP or ENOTDIR for a link.
        """
        return self._opened_folder(path, make=make)

    @contextmanager
    def _opened_folder(self, path: str, *, make: bool) -> Iterator[int]:
        current = os.dup(self._descriptor)
        try:
            parts = path.split("/") if path else []
            for number, part in enumerate(parts, 1):
                try:
                    below = self._step(current, part, make=make)
                except OSError as error:
                    error.filename = self.name("/".join(parts[:number]))
                    raise
                release(current)
                current = below
            yield current
        finally:
            release(current)

    def _step(self, above: int, part: str, *, make: bool) -> int:
        flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW
        try:
            return os.open(part, flags, dir_fd=above)
        except FileNotFoundError:
            if not make:
                raise
        with suppress(FileExistsError):  # another process of ours was quicker
            os.mkdir(part, FOLDER_MODE, dir_fd=above)
        self.sync(above)
        return os.open(part, flags, dir_fd=above)

    def sync(self, descriptor: int) -> None:
        """Bring what a descriptor stands for to the disk, unless durability is off.

        Never call it again on a descriptor for which it failed: the kernel may already have dropped the pages.
        """
        if self._durable:
            os.fsync(descriptor)

    def sync_file(self, path: str) -> None:
        """Bring a file's bytes and metadata to the disk. Raises OSError."""
        with self.opened(path) as descriptor:
            self.sync(descriptor)

    def sync_folder(self, path: str) -> None:
        """Bring a folder's names to the disk, and, the first time, its own name and those above it.

        The latter because a run that was killed between making a folder and syncing its parent, or a person who
        copied it here, leaves a folder that a power cut may still take away. Raises OSError.
        """
        with self.folder(path) as descriptor:
            self.sync(descriptor)
        while path and path not in self._anchored:
            above, _ = split(path)
            with self.folder(above) as descriptor:
                self.sync(descriptor)
            self._anchored.add(path)
            path = above

    @contextmanager
    def opened(self, path: str, flags: int = os.O_RDONLY) -> Iterator[int]:
        """Open a regular file below the root for the length of the block; links and devices are refused.

        Raises:
            OSError: As the system says; ELOOP for a link, EINVAL for what is no regular file.
        """
        descriptor, _ = self.open(path, flags)
        try:
            yield descriptor
        finally:
            if flags & (os.O_WRONLY | os.O_RDWR):
                os.close(descriptor)  # a network file system may say only now that there is no room
            else:
                release(descriptor)

    def open(self, path: str, flags: int = os.O_RDONLY) -> tuple[int, int]:
        """As `opened`, but it is the caller who gives the descriptor back; return it, and the file's size."""
        parent, name = split(path)
        with self.folder(parent) as above:
            return open_regular(name, flags, above=above)

    def stat(self, path: str) -> Found | None:
        """Look at an entry without following a link; None when nothing is there. Raises OSError."""
        parent, name = split(path)
        try:  # not `_where_it_is_there`: for every file of a batch nothing is there
            with self.folder(parent) as above:
                seen = os.stat(name, dir_fd=above, follow_symlinks=False)
        except OSError as error:
            if error.errno not in _NOT_THERE:
                raise
            return None
        is_file = stat.S_ISREG(seen.st_mode)
        return Found(seen.st_size, seen.st_mtime_ns, seen.st_ino, is_file, seen.st_nlink)

    def folder_mtime(self, path: str) -> int | None:
        """Return a folder's modification time in nanoseconds, None when there is no such folder."""
        with _where_it_is_there(), self.folder(path) as descriptor:
            return os.fstat(descriptor).st_mtime_ns
        return None

    def entries(self, path: str) -> Iterator[tuple[str, Kind]]:
        """Yield each name in a folder with what it is, nothing for a folder that is not there. Raises OSError."""
        with (
            _where_it_is_there(),
            self.folder(path) as descriptor,
            os.scandir(descriptor) as found,
        ):
            for entry in found:
                yield entry.name, _kind(entry)

    def move(self, source: str, target: str) -> None:
        """Rename within the tree; the caller has made sure that nothing of worth stands at `target`.

        A rename between two links of one file does nothing (rename(2)): then the old name is taken away instead. But
        not where both are one name, to a file system without regard to case: that would take the file.
        The caller syncs the folders. Raises OSError.
        """
        (below, old), (above, new) = split(source), split(target)
        with self.folder(below) as source_folder, self.folder(above, make=True) as target_folder:
            one_name = old.lower() == new.lower() and os.path.sameopenfile(
                source_folder, target_folder
            )
            if not one_name and _is_same(source_folder, old, target_folder, new):
                os.unlink(old, dir_fd=source_folder)
            else:
                os.rename(old, new, src_dir_fd=source_folder, dst_dir_fd=target_folder)

    def link(self, source: str, target: str) -> None:
        """Give a file a second name. Raises OSError (EMLINK, EPERM, EXDEV where links are not to be had)."""
        (below, old), (above, new) = split(source), split(target)
        with self.folder(below) as source_folder, self.folder(above, make=True) as target_folder:
            os.link(
                old, new, src_dir_fd=source_folder, dst_dir_fd=target_folder, follow_symlinks=False
            )

    def clone(self, source: str, target: str) -> bool:
        """Let `target` share the blocks of `source`, an equal file; False where the file system cannot.

        `target` keeps its modification time. Raises OSError when one of them cannot be opened.
        """
        with self.opened(source) as from_, self.opened(target, os.O_WRONLY) as to:
            before = os.fstat(to)
            try:
                fcntl.ioctl(to, _FICLONE, from_)
            except OSError:
                return False  # every errno means the same here: `target` keeps its own copy
            os.utime(to, ns=(before.st_atime_ns, before.st_mtime_ns))
        return True

    def remove_folder(self, path: str) -> None:
        """Remove a folder with all that is in it, without following a link. Raises OSError."""
        parent, name = split(path)
        with self.folder(parent) as above:
            shutil.rmtree(name, dir_fd=above)

    def prune(self, path: str) -> None:
        """Remove a folder and those above it as far as they are empty."""
        with suppress(OSError):  # not empty, most of the time
            while path:
                parent, name = split(path)
                with self.folder(parent) as above:
                    os.rmdir(name, dir_fd=above)
                path = parent

    def remove(self, path: str) -> None:
        """Take a name away; nothing happens when it is not there. Raises OSError."""
        parent, name = split(path)
        with suppress(FileNotFoundError), self.folder(parent) as above:
            os.unlink(name, dir_fd=above)

    def create(self, path: str, data: bytes | memoryview, modified: float | None) -> None:
        """Write a new file. Somebody else has to sync it.

        Few system calls: each gives the interpreter lock away and has to get it back from a busy event loop.

        Args:
            path: Where nothing of worth stands: what is there is taken away.
            data: All of it.
            modified: Its modification time in epoch seconds, None for now.

        Raises:
            OSError: As the system says.
        """
        parent, name = split(path)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        with self.folder(parent) as above:
            try:
                descriptor = os.open(name, flags, FILE_MODE, dir_fd=above)
            except FileExistsError:
                os.unlink(name, dir_fd=above)
                descriptor = os.open(name, flags, FILE_MODE, dir_fd=above)
        try:
            write_all(descriptor, data)
            if modified is not None:
                os.utime(descriptor, (modified, modified))
        finally:
            os.close(descriptor)

    def place(self, source: str, target: str) -> None:
        """Rename a file that has only this one name; otherwise as `move`, with fewer system calls. Raises OSError."""
        (below, old), (above, new) = split(source), split(target)
        with self.folder(below) as source_folder, self.folder(above, make=True) as target_folder:
            os.rename(old, new, src_dir_fd=source_folder, dst_dir_fd=target_folder)

    def same_bytes(self, one: str, other: str) -> bool:
        """Compare two files byte by byte; False too when one of them is gone or no file."""
        try:
            with self.opened(one) as first, self.opened(other) as second:
                if os.fstat(first).st_size != os.fstat(second).st_size:
                    return False
                while chunk := os.read(first, _COPY_CHUNK):
                    if _read_exactly(second, len(chunk)) != chunk:
                        return False
        except OSError:
            return False
        return True

    def write_whole(self, path: str, chunks: Iterable[bytes], temporary: str) -> None:
        """Replace a small file of ours so that a crash leaves the old or the new one (write, sync, rename, sync).

        Args:
            path: The final place.
            chunks: The new content.
            temporary: A place below the root for the unfinished file.

        Raises:
            OSError: As the system says; the old file then stands as it was.
        """
        self.remove(temporary)
        with self.folder(split(temporary)[0], make=True):
            pass
        with self.opened(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL) as descriptor:
            for chunk in chunks:
                write_all(descriptor, chunk)
            self.sync(descriptor)
        self.move(temporary, path)
        self.sync_folder(split(path)[0])

    def read(self, path: str, limit: int) -> bytes:
        """Return at most `limit` bytes of a file. Raises OSError."""
        with self.opened(path) as descriptor:
            return _read_exactly(descriptor, limit)


class _Held:
    """A descriptor that stays open; `nullcontext` for a batch of 256 files, without what it does besides."""

    __slots__ = ("_descriptor",)

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def __enter__(self) -> int:
        return self._descriptor

    def __exit__(self, *_: object) -> None:
        pass


class HoldingTree(Tree):
    """A tree that opens each folder once and keeps it open until it is closed.

    A batch of 256 files goes to a handful of folders. It is short-lived: a folder that somebody moves away meanwhile
    is still written to where it went, which the comparison at the end of the pass notices. Threads may share it.
    """

    def __init__(self, tree: Tree) -> None:
        # not by its path, as `Tree` does: something else may stand there by now
        self.root, self._durable, self._anchored = tree.root, tree._durable, tree._anchored
        with translated(str(tree.root)):
            self._descriptor = os.dup(tree._descriptor)
        self._held: dict[str, int] = {}
        self._lock = threading.Lock()

    def folder(self, path: str, *, make: bool = False) -> AbstractContextManager[int]:
        """See `Tree.folder`."""
        held = self._held.get(path)
        if held is not None:
            return _Held(held)
        with self._lock:
            if path not in self._held and len(self._held) < _MOST_HELD:
                with super().folder(path, make=make) as descriptor:
                    self._held[path] = os.dup(descriptor)
            held = self._held.get(path)
        return super().folder(path, make=make) if held is None else _Held(held)

    def close(self) -> None:
        """Give every descriptor back. Idempotent."""
        while self._held:
            release(self._held.popitem()[1])
        super().close()


def _is_same(source_folder: int, old: str, target_folder: int, new: str) -> bool:
    """Whether two names stand for one file."""
    try:
        return os.path.samestat(
            os.stat(old, dir_fd=source_folder, follow_symlinks=False),
            os.stat(new, dir_fd=target_folder, follow_symlinks=False),
        )
    except FileNotFoundError:
        return False


def _read_exactly(descriptor: int, count: int) -> bytes:
    parts = []
    while count and (part := os.read(descriptor, count)):
        parts.append(part)
        count -= len(part)
    return b"".join(parts)


def split(path: str) -> tuple[str, str]:
    """Split a path of ours into its folder ("" at the top) and its name."""
    folder, _, name = path.rpartition("/")
    return folder, name
