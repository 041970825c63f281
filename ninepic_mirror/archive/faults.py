"""What the system says of a disk, in words and with a cure."""

from __future__ import annotations

import errno
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from ninepic_mirror.errors import StorageError

if TYPE_CHECKING:
    from collections.abc import Iterator

_CURES: Final = {
    errno.ENOSPC: ("the disk is full", "make room or lower [mirror] min_free, then run sync again"),
    errno.EDQUOT: ("the disk quota is used up", "raise the quota, then run sync again"),
    errno.EROFS: (
        "the file system is read-only",
        "mount it writable; look at the kernel log for disk errors",
    ),
    errno.EIO: (
        "the disk reports an I/O error",
        "look at the kernel log and the disk's health before going on",
    ),
    errno.EACCES: (
        "permission denied",
        "run as the user who owns the mirror, or change the folder's owner",
    ),
    errno.EPERM: (
        "operation not permitted",
        "run as the user who owns the mirror, or change the folder's owner",
    ),
    errno.ELOOP: (
        "a symbolic link stands where a folder or file is due",
        "remove the link, then run sync again",
    ),
    errno.ENOTDIR: (
        "a link or file stands where a folder is due",
        "move it away, then run sync again",
    ),
    errno.EISDIR: (
        "a folder stands where a file is due",
        "move it away, then run sync again",
    ),
    errno.EEXIST: (
        "something else stands where a new file or folder is due",
        "move it away, then run sync again",
    ),
    errno.EMFILE: (
        "too many open files",
        "raise the limit (ulimit -n) or lower [mirror] connections",
    ),
    errno.ESTALE: (
        "the network file system lost the folder",
        "mount it again, then run sync again",
    ),
}
NO_FILE: Final = "is no regular file"  # what `Tree.opened` says of a named pipe, a device, a folder
# What a disk says that cannot read a file, or a file system whose checksum of it is wrong (btrfs, ZFS: EIO; ext4:
# EBADMSG, EUCLEAN). Anything else, a missing permission above all, says nothing about the file, and ends the run.
UNREADABLE: Final = frozenset({errno.EIO, errno.EBADMSG, getattr(errno, "EUCLEAN", errno.EIO)})
# What it says where a file is none, or none of ours
ABSENT: Final = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.EINVAL, errno.ENXIO})


def storage_error(error: OSError, path: str) -> StorageError:
    """Translate what the system said into an error with a cure.

    Args:
        error: Where it says by its absolute path what stands in the way (`Tree.folder`), that is named: "move it away"
            must not be said of the folder above.
        path: What was touched otherwise.
    """
    if error.errno in {errno.ENOTDIR, errno.ELOOP} and str(error.filename).startswith("/"):
        path = str(error.filename)
    unknown = "see the system's documentation of this error"
    if error.strerror == NO_FILE:
        unknown = "move it away, then run sync again"
    text, cure = _CURES.get(error.errno or 0, (error.strerror or str(error), unknown))
    return StorageError(path, text, cure)


@contextmanager
def translated(path: str) -> Iterator[None]:
    """Turn an OSError of the block into a StorageError that names `path`."""
    try:
        yield
    except OSError as error:
        raise storage_error(error, path) from error
