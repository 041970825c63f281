"""A manifest that is lost or damaged: what is wrong with it, and how it makes way for one that is built from the files."""

from __future__ import annotations

import sqlite3
import stat
from typing import TYPE_CHECKING, Final

import trio
from msgspec import Struct

from ninepic_mirror.archive import lock
from ninepic_mirror.archive.aside import set_aside
from ninepic_mirror.archive.faults import translated
from ninepic_mirror.archive.files import Tree
from ninepic_mirror.archive.manifest import refuse_other
from ninepic_mirror.archive.sanity import complaint
from ninepic_mirror.archive.sqlite_errors import ManifestError
from ninepic_mirror.cli import mirrors
from ninepic_mirror.cli.inspection import locked
from ninepic_mirror.errors import EventBusyError, StorageError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from ninepic_mirror.archive.root import Root

_LOST: Final = "the manifest is lost"


class Examination(Struct):
    """One event's manifest, as long as it may have to make way. Its methods block, all but `make_way`.

    Args:
        root: The mirror root.
        event_id: The event.
        path: Its manifest.
        thorough: Read every row.
        is_over: The run is to end.
        seen: Device and inode of the file that was looked at; None: none stood there.
    """

    root: Root
    event_id: int
    path: Path
    thorough: bool
    is_over: Callable[[], bool]
    seen: tuple[int, int] | None = None

    def fault(self) -> str | None:
        """Return what is wrong with the manifest itself; None where nothing is, or the run ends before it is known.

        Raises:
            StorageError: It cannot be looked at.
        """
        self.seen = self._which()
        if self.seen is None:
            return _LOST
        try:
            with mirrors.opened(self.root, self.event_id) as (manifest, _):
                manifest.end_when(self.is_over)
                return complaint(manifest, thorough=self.thorough)
        except StorageError as error:
            if self.is_over():
                return None
            if not is_damage(error):
                raise
            return error.text

    async def make_way(self, folder: Path, fault: str, *, durable: bool) -> str | None:
        """Set the manifest aside, unless another run has rebuilt it since it was looked at.

        Args:
            folder: The event's, with our own folder in it.
            fault: What was found.
            durable: Sync what is written.

        Returns:
            What was wrong and what becomes of it, for people; None: nothing is wrong any more.

        Raises:
            EventBusyError: Another run holds the event.
            StorageError: The disk said no, or what `forget` remembers would be lost. It stays as it is.
        """
        with lock.opened(folder / lock.PATH) as held:
            if not await locked(held, trio.current_time() + lock.WAIT):
                raise EventBusyError(self.event_id, held.holder())
            with Tree(folder, durable=durable) as tree:
                return await trio.to_thread.run_sync(self._make_way, tree, fault)

    def _make_way(self, tree: Tree, fault: str) -> str | None:
        if self._which() != self.seen:
            now = self.fault()
            if now is None:
                return None
            fault = now
        fate = "it is rebuilt from the files"
        if self.seen is not None:
            fate = set_aside(self.path, tree).fate
        return f"{self.path}: {fault}; {fate}"

    def _which(self) -> tuple[int, int] | None:
        refuse_other(self.path)
        with translated(str(self.path)):
            try:
                found = self.path.lstat()
            except (FileNotFoundError, NotADirectoryError):
                return None
        return (found.st_dev, found.st_ino) if stat.S_ISREG(found.st_mode) else None


def is_damage(error: StorageError) -> bool:
    """Whether an error says that a manifest is damaged, not that it cannot be reached."""
    cause = error.__cause__
    is_foreign = isinstance(cause, sqlite3.DatabaseError)
    return isinstance(error, ManifestError) or (
        is_foreign and not isinstance(cause, sqlite3.OperationalError)
    )
