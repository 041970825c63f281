"""One event's manifest, asked and written to by `deliver` beside whatever pass is at work on it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, TypeVar

import trio
from msgspec import Struct

from ninepic_mirror.archive import inventory, lock
from ninepic_mirror.archive.manifest import Manifest
from ninepic_mirror.archive.schema import MIGRATIONS
from ninepic_mirror.archive.sqlite_errors import ManifestError
from ninepic_mirror.cli import mirrors
from ninepic_mirror.errors import EventBusyError, StorageError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from ninepic_mirror.archive.verify import Entry
    from ninepic_mirror.config import Config
    from ninepic_mirror.progress import Progress

T = TypeVar("T")


class Ledger(Struct, frozen=True):
    """The manifest of one event; it is opened for each question only, so that no pass is kept waiting."""

    config: Config
    event_id: int
    progress: Progress

    def folder(self) -> Path:
        """Return the event's folder.

        Raises:
            NotMirroredError: There is none.
            StorageError: The root cannot be read.
        """
        root = mirrors.root_of(self.config)
        mirrors.require_root(root)
        with mirrors.opened(root, self.event_id):
            return root.folder_of(self.event_id) or root.path

    def ask_now(self, work: Callable[[Manifest], T]) -> T:
        """Ask something. Raises as `mirrors.opened` does."""
        with mirrors.opened(mirrors.root_of(self.config), self.event_id) as (manifest, unread):
            if unread:
                text = "without permission to write, the newest changes of a pass cannot be seen"
                self.progress.note(text)
            return work(manifest)

    async def ask(self, work: Callable[[Manifest], T]) -> T:
        """Ask something, in a thread."""
        return await trio.to_thread.run_sync(self.ask_now, work)

    def require_writable(self) -> None:
        """Make sure that something can be recorded, as far as that can be seen without doing it.

        Raises:
            StorageError: The manifest may not be written to.
        """
        path = mirrors.root_of(self.config).manifest_path(self.folder())
        for place in (path.parent, path):
            if not os.access(place, os.W_OK):
                text = "cannot be written to, so that the delivery could not be recorded"
                cure = "mount the mirror writable, or deliver as the user whose mirror it is"
                raise StorageError(str(place), text, cure)

    def again(self, key: tuple[str, str]) -> Entry | None:
        """Return a file's row as it is now, None where nobody promises the file any more."""
        return self.ask_now(lambda manifest: inventory.again(manifest, key))

    async def record(self, work: Callable[[Manifest], object]) -> None:
        """Change the manifest, in one transaction and only in tables that no pass touches.

        Raises:
            EventBusyError: It has to be brought forward first, and somebody holds the event.
            StorageError: It cannot be written to.
        """
        folder = await trio.to_thread.run_sync(self.folder)
        path = mirrors.root_of(self.config).manifest_path(folder)
        if await self.ask(lambda manifest: manifest.version()) == len(MIGRATIONS):
            await trio.to_thread.run_sync(_change, path, work)
            return
        # 0.2 s that other deliveries need not wait for
        from ninepic_mirror.cli.inspection import locked  # noqa: PLC0415
        from ninepic_mirror.sync.mirror import LOCK_WAIT  # noqa: PLC0415

        with lock.opened(folder / lock.PATH) as held:
            if not await locked(held, trio.current_time() + LOCK_WAIT):
                raise EventBusyError(self.event_id, held.holder())
            await trio.to_thread.run_sync(_change, path, work)


def _change(path: Path, work: Callable[[Manifest], object]) -> None:
    if not path.is_file():  # opened, it would be made anew, and empty
        cure = "run sync: it rebuilds it from the photos"
        raise ManifestError(str(path), "the manifest is gone", cure)
    with Manifest.open(path) as manifest:
        work(manifest)
