"""One instance at a time works on an event: an flock that dies with its process (RELIABILITY L6).

The process id in the file is a courtesy to people; only the lock itself counts, so a killed process leaves nothing
stale behind.
"""

from __future__ import annotations

import errno
import fcntl
import os
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Final

from ninepic_mirror.archive import sums
from ninepic_mirror.archive.faults import translated
from ninepic_mirror.archive.files import open_regular, release
from ninepic_mirror.archive.manifest import MOST_PASSES

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from ninepic_mirror.archive.files import Tree
    from ninepic_mirror.archive.manifest import Manifest

PATH: Final = ".ninepic-mirror/lock"
WAIT: Final = 10.0  # seconds (DESIGN §3, exit code 7)
# In `meta`: true: the manifest is an older copy, and no pass has listed everything since; `ALTERED`: it is, or SHA256SUMS
# were altered.
RESTORED: Final = "restored"
ALTERED: Final = "altered"


class Lock:
    """A lock file, opened but not held. Close it, or use `holding`.

    Args:
        path: The lock file; it is made when it is not there.

    Attributes:
        last_pass: The number of the last pass that held the lock, once it is held; 0: none.

    Raises:
        StorageError: It cannot be opened, or what stands there is no file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.last_pass = 0
        with translated(str(path)):
            self._descriptor, _ = open_regular(path, os.O_RDWR | os.O_CREAT)

    def try_lock(self) -> bool:
        """Take the lock if it is free, and write who holds it; never waits.

        Raises:
            StorageError: The file system knows no locks.
        """
        with translated(str(self.path)):
            try:
                fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                if error.errno in {errno.EWOULDBLOCK, errno.EACCES}:
                    return False
                raise
            self.last_pass = noted(self._descriptor)
            self.note(self.last_pass)
        return True

    def note(self, number: int) -> None:
        """Write down the pass that holds the lock; the next one sees by it whether its manifest is an older copy.

        Raises:
            StorageError: The disk said no.
        """
        with translated(str(self.path)):
            text = f"{os.getpid()}\n{number}\n".encode()
            os.pwrite(self._descriptor, text, 0)
            os.ftruncate(self._descriptor, len(text))

    def holder(self) -> int | None:
        """Return the process that wrote itself down last, None when that cannot be read."""
        try:
            return int(os.pread(self._descriptor, 64, 0).partition(b"\n")[0])
        except (OSError, ValueError):
            return None

    def close(self) -> None:
        """Give the lock and the file back. Idempotent."""
        if self._descriptor >= 0:
            release(self._descriptor)
            self._descriptor = -1


def noted(descriptor: int) -> int:
    """Return the last pass that held a lock file, 0 where none is known; it need not be held. Raises OSError."""
    _, _, last = os.pread(descriptor, 64, 0).partition(b"\n")
    number = int(last) if last.strip().isdigit() else 0
    return number if number < MOST_PASSES else 0


def is_older(tree: Tree, manifest: Manifest) -> bool:
    """Whether a manifest is an older copy: passes were made that it does not know. Raises OSError."""
    last = 0  # nothing is known of earlier passes
    with suppress(FileNotFoundError), tree.opened(PATH) as descriptor:
        last = noted(descriptor)
    return _knows_less(manifest, last)


def suspected(tree: Tree, manifest: Manifest, last_pass: int) -> object:
    """Return what is to be noted as `RESTORED` before anything is written by a manifest, None where it is to be trusted.

    A backup may have brought the lock back, too: then the SHA256SUMS beside the photos tell, but not whether it is not
    they that were altered. `verify` reads those anyway, and calls them damaged. A manifest without any pass is new.

    Args:
        tree: The event folder.
        manifest: Open.
        last_pass: The last pass that the lock knows of; 0: the lock was lost, and nothing tells what was made.

    Raises:
        OSError: As the system says.
    """
    if not manifest.last_pass():
        return None
    if not last_pass or _knows_less(manifest, last_pass):
        return True
    is_altered = manifest.meta(RESTORED) == ALTERED or sums.are_anothers(tree, manifest)
    return ALTERED if is_altered else None


def _knows_less(manifest: Manifest, last_pass: int) -> bool:
    return last_pass > manifest.last_pass() or manifest.meta(RESTORED) is True


@contextmanager
def opened(path: Path) -> Iterator[Lock]:
    """Open a lock file for the length of the block; the lock, if taken, ends with it."""
    lock = Lock(path)
    try:
        yield lock
    finally:
        lock.close()
