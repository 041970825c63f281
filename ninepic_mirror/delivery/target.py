"""The place where a package comes to stand: looked at, built beside under a temporary name, renamed when it is whole.

    <parent>/.NAME.partial/.ninepic-delivery    whose it is; locked while somebody works on it
    <parent>/.NAME.partial/NAME                 the package as far as it is written
    <parent>/NAME                               the package; it appears by one rename

All is done relative to a descriptor of the parent, and before the rename it is made sure that the parent's path still
leads there: a disk that was unmounted meanwhile must not seem to hold a package.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self

from ninepic_mirror.archive.files import FILE_MODE, FOLDER_MODE, Tree
from ninepic_mirror.delivery.limits import Ground
from ninepic_mirror.errors import StorageError, UsageError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

MARKER: Final = ".ninepic-delivery"
FICLONE: Final = 0x40049409  # linux/fs.h: share the source's blocks (btrfs, XFS, bcachefs)
_AGAIN: Final = "then run the same command again: it goes on where it stopped"
_CURES: Final = {
    errno.ENOSPC: ("the destination is full", f"make room on it, {_AGAIN}"),
    errno.EDQUOT: ("the quota of the destination is used up", f"raise it, {_AGAIN}"),
    errno.EROFS: ("the destination is read-only", f"mount it writable, {_AGAIN}"),
    errno.EACCES: ("permission denied", "choose a place that you may write to"),
    errno.EPERM: ("operation not permitted", "choose a place that you may write to"),
    errno.ENAMETOOLONG: ("its name is too long for the destination", "choose a shorter one"),
    errno.EFBIG: ("the file gets too large for the destination", "cut it: --volume-size 4GB"),
    errno.EMLINK: ("a photo has as many hard links as the disk allows", "deliver without --link"),
}
_VANISHED: Final = frozenset(
    {
        errno.ENOENT,
        errno.ENOTDIR,
        errno.ESTALE,
        errno.ENODEV,
        errno.ENXIO,
        errno.EIO,
        errno.ENOTCONN,
    }
)
_SYNCERS: Final = 8  # a disk merges the syncs that wait together


def target_error(error: OSError, place: str) -> StorageError:
    """Say what the destination's disk said, and what to do about it."""
    if error.errno in _VANISHED:
        return StorageError(
            place, f"the destination vanished ({error.strerror})", f"bring it back, {_AGAIN}"
        )
    text, cure = _CURES.get(
        error.errno or 0, (error.strerror or str(error), f"mend that, {_AGAIN}")
    )
    return StorageError(place, text, cure)


@contextmanager
def writing(place: str) -> Iterator[None]:
    """Turn an OSError of the block into a StorageError of the destination."""
    try:
        yield
    except OSError as error:
        raise target_error(error, place) from error


class Target:
    """Where one package comes to stand. Use it in a `with` block.

    Args:
        place: Its final path; the folder above it must exist.
        event_id: Whose package it is.

    Raises:
        UsageError: There is no folder to put it in.
    """

    def __init__(self, place: Path, event_id: int) -> None:
        self.place = Path(os.path.abspath(place))  # noqa: PTH100  resolve() would follow a link at its end
        self._event_id = event_id
        self._partial = -1
        self._marker = -1
        try:
            self._parent = os.open(self.place.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            text = f"there is no folder {self.place.parent} to put the package in: {error.strerror}"
            raise UsageError(text, "mount the disk, or make the folder") from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for descriptor in (self._marker, self._partial, self._parent):
            if descriptor >= 0:
                os.close(descriptor)
        self._parent = self._partial = self._marker = -1

    @property
    def partial(self) -> Path:
        """The folder beside it in which it is built."""
        return self.place.with_name(f".{self.place.name}.partial")

    @property
    def device(self) -> int:
        """The number of the file system, as stat(2) gives it."""
        return os.fstat(self._parent).st_dev

    def exists(self) -> bool:
        """Whether something stands at its final place, whatever it is."""
        try:
            os.stat(self.place.name, dir_fd=self._parent, follow_symlinks=False)
        except FileNotFoundError:
            return False
        return True

    def ground(self) -> Ground:
        """Look at the file system."""
        with writing(str(self.place)):
            seen = os.fstatvfs(self._parent)
        return Ground(
            kind=kind_of(self._parent), free=seen.f_bavail * seen.f_frsize, block=seen.f_frsize or 4096,
            longest_name=seen.f_namemax or 255, inodes=seen.f_favail if seen.f_files else None,
        )  # fmt: skip

    def can_share(self, mirror: Tree, path: str) -> bool:
        """Whether files of the mirror can come here as reflinks, so that they take no room; tried with a nameless file.

        Args:
            mirror: The event's folder.
            path: One of its files.
        """
        try:
            file = os.open(".", os.O_TMPFILE | os.O_RDWR, FILE_MODE, dir_fd=self._parent)
        except (OSError, AttributeError):  # a file system, or a system, without such files
            return False
        try:
            with mirror.opened(path) as source:
                fcntl.ioctl(file, FICLONE, source)
        except OSError:
            return False
        finally:
            os.close(file)
        return True

    def already(self) -> tuple[int, int]:
        """Return how many bytes an interrupted delivery has written, and how many files."""
        total = count = 0
        for folder, _, names in os.walk(self.partial):
            for name in names:
                with suppress(OSError):
                    total += (Path(folder) / name).lstat().st_size
                    count += 1
        return total, count

    @contextmanager
    def building(self) -> Iterator[Tree]:
        """Open the folder in which the package is built, and keep others out of it, for the length of the block.

        Raises:
            StorageError: It is not ours, somebody else is at work on it, or the disk said no.
        """
        with writing(str(self.partial)):
            self._open_partial()
        with Tree(self.partial, durable=False) as tree:
            yield tree

    def _open_partial(self) -> None:
        name = self.partial.name
        text = "stands where the package is to be built, and is none that was interrupted"
        foreigner = StorageError(str(self.partial), text, "move it away, or choose another name")
        with suppress(FileExistsError):
            os.mkdir(name, FOLDER_MODE, dir_fd=self._parent)
        try:
            flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW
            self._partial = os.open(name, flags, dir_fd=self._parent)
        except NotADirectoryError as error:  # a file or a link
            raise foreigner from error
        foreign = set(os.listdir(self._partial)) - {MARKER}
        try:
            flags = os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC | (0 if foreign else os.O_CREAT)
            self._marker = os.open(MARKER, flags, FILE_MODE, dir_fd=self._partial)
        except FileNotFoundError as error:
            raise foreigner from error
        try:
            fcntl.flock(self._marker, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            text = "another delivery is being written here"
            raise StorageError(str(self.partial), text, "wait until it has ended") from error
        except OSError:
            pass  # a file system that knows no locks: two at once are then the operator's to avoid
        self._claim(foreign=bool(foreign))

    def _claim(self, *, foreign: bool) -> None:
        """Write down whose the folder is; what was begun for another event is left alone."""
        try:
            found: object = json.loads(os.pread(self._marker, 256, 0) or b"{}")
        except ValueError:
            found = {}
        owner = found.get("event_id", self._event_id) if isinstance(found, dict) else None
        if foreign and owner != self._event_id:
            text = f"an interrupted delivery of event {owner} stands here"
            raise StorageError(str(self.partial), text, "remove it, or choose another name")
        text_ = json.dumps({"event_id": self._event_id}).encode()
        os.pwrite(self._marker, text_, 0)
        if os.fstat(self._marker).st_size != len(text_):
            os.ftruncate(self._marker, len(text_))

    def check(self) -> None:
        """Make sure that the path still leads to where the package is built.

        Raises:
            StorageError: It was unmounted, removed, or something was mounted over it.
        """
        with writing(str(self.place.parent)):
            same = os.path.samestat(os.stat(self.place.parent), os.fstat(self._parent))  # noqa: PTH116  the path itself
            same = same and os.path.samestat(os.stat(self.partial), os.fstat(self._partial))  # noqa: PTH116  as above
            if not same:
                raise FileNotFoundError(errno.ENOENT, "another file system is there now")

    def settle(self, tree: Tree) -> None:
        """Bring all that was written to the disk.

        Where the disk did not take it, all of it is removed: the kernel goes on showing bytes that it could not write,
        and the next sync would not complain of them again (Rebello et al., "Can Applications Recover from fsync
        Failures?", 2020).

        Raises:
            StorageError: The disk did not take it.
        """
        try:
            if _reaches_the_disk(kind_of(self._parent)):
                tree.sync_file_system()
            else:
                _sync_each(self.partial)
        except OSError as error:
            with suppress(OSError):
                for name, _ in list(tree.entries("")):
                    if name != MARKER:
                        keep_only(tree, name, ())
            text = f"the disk did not take what was written ({error.strerror}), so that none of it can be trusted"
            cure = "look at the disk and its free space, or choose another one, then run the same command again: it begins anew"
            raise StorageError(str(self.place), text, cure) from error

    def finish(self) -> None:
        """Give the package its name, and take away what it was built in.

        Raises:
            UsageError: Something stands there by now.
            StorageError: The destination vanished, or its disk said no.
        """
        self.check()
        if self.exists():
            raise UsageError(f"{self.place} came to be meanwhile", "choose another name")
        with writing(str(self.place)):
            there = self._within(self._partial)
            os.rename(
                self.place.name, self.place.name, src_dir_fd=self._partial, dst_dir_fd=self._parent
            )
            os.fsync(self._parent)
            self.check()
            lost = there - self._within(self._parent)
        if lost:  # fusefat 0.1 empties a folder that is renamed
            text = "the file system lost what is in it when it got its name"
            raise StorageError(
                str(self.place),
                text,
                "remove it, and choose another disk, or another driver for it",
            )
        self.clean()

    def _within(self, above: int) -> set[str]:
        """Return what is in the package, of a zip nothing."""
        try:
            folder = os.open(self.place.name, os.O_RDONLY | os.O_DIRECTORY, dir_fd=above)
        except NotADirectoryError:
            return set()
        try:
            return set(os.listdir(folder))
        finally:
            os.close(folder)

    def clean(self) -> None:
        """Take away what a package was built in, if nothing of it is left there."""
        if self._marker >= 0:
            os.close(self._marker)  # FUSE keeps a file that is open under another name
            self._marker = -1
        with suppress(OSError):
            if set(os.listdir(self.partial)) <= {MARKER}:
                (self.partial / MARKER).unlink(missing_ok=True)
                self.partial.rmdir()
                os.fsync(self._parent)


def keep_only(tree: Tree, top: str, wanted: Collection[str]) -> None:
    """Remove from an unfinished package what does not belong into it (any more). Raises OSError.

    Args:
        tree: The folder in which it is built.
        top: The package in it.
        wanted: Paths of its files, in the tree.
    """
    found = tree.stat(top)
    if found is not None and found.is_file:
        if top not in wanted:
            tree.remove(top)
        return
    waiting = [top]
    while waiting:
        folder = waiting.pop()
        for name, kind in list(tree.entries(folder)):
            path = f"{folder}/{name}"
            if kind == "folder":
                waiting.append(path)
            elif path not in wanted:
                tree.remove(path)
        tree.prune(folder)


def uncache(descriptor: int) -> None:
    """Have a file's bytes read from the disk, as far as they got there: the kernel may show some that did not."""
    if hasattr(os, "posix_fadvise"):  # macOS has none
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)


def kind_of(descriptor: int, proc: Path = Path("/proc/self")) -> str:
    """Return the type of a file system, as the kernel calls it; empty where that is not known.

    By the mount and not by stat(2)'s number of the device: subvolumes of Btrfs have numbers that no mount has.

    Args:
        descriptor: Of something that is open there.
        proc: What the kernel says of this process (proc_pid_fdinfo(5), proc_pid_mountinfo(5)).
    """
    try:
        opened = (proc / f"fdinfo/{descriptor}").read_bytes().split(b"\n")
        mounts = (proc / "mountinfo").read_bytes().split(b"\n")
    except OSError:
        return ""
    number = next((line.split()[-1] for line in opened if line.startswith(b"mnt_id:")), None)
    for line in mounts:
        fields = line.split(b" ")
        if fields[0] == number and b"-" in fields:
            return fields[fields.index(b"-") + 1].decode("ascii", "replace")
    return ""


def _reaches_the_disk(kind: str) -> bool:
    """Whether syncing the whole file system brings everything to the disk; by FUSE it does nothing (`flush`)."""
    return bool(kind) and not kind.startswith("fuse") and os.uname().sysname == "Linux"


def _sync_each(top: Path) -> None:
    places = [Path(folder) / name for folder, _, names in os.walk(top) for name in ("", *names)]
    with ThreadPoolExecutor(_SYNCERS, "sync") as pool:
        for _ in pool.map(_sync, places):
            pass  # the iteration is what raises a thread's error here


def _sync(place: Path) -> None:
    descriptor = os.open(place, os.O_RDONLY | os.O_NOFOLLOW)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
