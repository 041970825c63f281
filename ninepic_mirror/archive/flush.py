"""Brings a batch of files to the disk: by one call for the whole file system where that is safe, else file by file.

syncfs(2) costs one journal commit for 256 files, an fsync of each costs as many waits and three times the processor.
It is as safe where two things hold: the kernel reports to it all that failed, and the file system's own sync reaches
the disk (ext4 and XFS here; FUSE does nothing). But it also writes what the neighbours have not yet written, so when it
takes long, the files are synced one by one for a while.
"""

from __future__ import annotations

import os
import re
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

from ninepic_mirror.archive.faults import translated

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ninepic_mirror.archive.files import Tree

_SAFE: Final = {b"ext4", b"xfs"}
# The Linux version from which on syncfs tells all that failed: writes of data since 5.8 (syncfs(2), Versions), the
# journal's commit and the disk's cache only since 5.17 (5679897eb104, "make sync_filesystem return errors").
_REPORTS: Final = (5, 17)
_FEW: Final = 4  # files: not worth the neighbours' data
_LONG: Final = 1.0  # seconds, beyond those that a slow disk takes for our own bytes
_SLOW: Final = 10e6  # bytes a second of a slow disk
_REST: Final = 50  # batches after one that took long
# A disk merges the journal commits of syncs that wait together (PERFORMANCE, durability).
_THREADS: Final = 8


class Flush:
    """Syncs the files of one tree.

    Args:
        tree: The event folder. Opened before anything was written: what it reports begins there.

    Raises:
        StorageError: It cannot be looked at.
    """

    def __init__(self, tree: Tree) -> None:
        self._tree = tree
        self._rest = 0
        with translated(tree.name("")), tree.folder("") as descriptor:
            self._can_sync_all = can_sync_all(os.fstat(descriptor).st_dev)

    def files(self, tree: Tree, paths: Sequence[str], size: int) -> None:
        """Bring files to the disk.

        Args:
            tree: The same tree, or one that holds its folders open.
            paths: Of files that were closed.
            size: Their bytes.

        Raises:
            OSError: The disk said no. Nothing of the batch may be believed, and nothing is tried again: the kernel may
                already have dropped the pages.
        """
        if not tree.is_durable:
            return
        if self._can_sync_all and len(paths) > _FEW and not self._rest:
            began = time.monotonic()
            self._tree.sync_file_system()
            if time.monotonic() - began > _LONG + size / _SLOW:
                self._rest = _REST
            return
        self._rest = max(0, self._rest - 1)
        if len(paths) <= 1:
            for path in paths:
                tree.sync_file(path)
            return
        shares = [paths[start::_THREADS] for start in range(min(_THREADS, len(paths)))]
        with ThreadPoolExecutor(_THREADS, "sync") as pool:
            for _ in pool.map(partial(_sync_each, tree), shares):
                pass  # the iteration is what raises a thread's error here


def _sync_each(tree: Tree, paths: Sequence[str]) -> None:
    for path in paths:
        tree.sync_file(path)


def can_sync_all(device: int, mounts: Path = Path("/proc/self/mountinfo")) -> bool:
    """Say whether syncing a whole file system is as safe as syncing its files.

    Asked anew by each pass: under the number of a disk that was ext4 another may stand tomorrow, by FUSE.

    Args:
        device: As stat(2) gives it.
        mounts: What is mounted (proc_pid_mountinfo(5)).
    """
    version = re.match(r"(\d+)\.(\d+)", os.uname().release)
    if os.uname().sysname != "Linux" or version is None:
        return False
    if (int(version[1]), int(version[2])) < _REPORTS:
        return False
    try:
        lines = mounts.read_bytes().split(b"\n")
    except OSError:
        return False
    number = b"%d:%d" % (os.major(device), os.minor(device))
    # By bytes: in a name the kernel escapes the blank and the line feed, not what else Unicode takes for such.
    kinds = {
        fields[fields.index(b"-") + 1]
        for fields in (line.split(b" ") for line in lines if line)
        if fields[2] == number
    }
    return bool(kinds) and kinds <= _SAFE
