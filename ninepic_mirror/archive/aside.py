"""Sets a damaged manifest aside, but not before what `forget` remembers in it stands beside the photos, and finds it again.

The list beside the photos (`forgotten.FILE`) is written before the table, and every pass makes it whole, so that it
alone is enough. Where it is lost or damaged, the manifest is the only record, and that would be lost with it:

    list            table           then
    whole           any             what the table has more is added to the list
    lost            readable        the list is written from it
    damaged         readable        the list is made whole by it (`forgotten.united`)
    lost, damaged   not, or partly  where anything says that there was something to forget, the manifest stays where it
                                    is: photos must not come back without a word; else it is told
"""

from __future__ import annotations

import re
import sqlite3
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

from msgspec import Struct

from ninepic_mirror.archive.faults import translated
from ninepic_mirror.archive.forgotten import FILE, SALT, SINCE, Veil, listed, united, write
from ninepic_mirror.archive.manifest import LOGS, reading
from ninepic_mirror.archive.sqlite_errors import ManifestError
from ninepic_mirror.errors import StorageError

if TYPE_CHECKING:
    from ninepic_mirror.archive.files import Tree
    from ninepic_mirror.archive.manifest import Manifest

_MARK: Final = ".corrupt-"
_TIME: Final = re.compile(r"\d{8}T\d{6}Z", re.ASCII)
_DIGEST: Final = re.compile("[0-9a-f]{64}")
_SALT: Final = re.compile('"([0-9a-f]{32})"')  # as JSON
_UNKNOWN: Final = (
    "it cannot tell any more whether photos were to be forgotten, and no list of them stands beside the photos;"
    " if forget was ever run for this event, run it again"
)


class Aside(Struct, frozen=True):
    """A manifest that was set aside.

    Args:
        path: Where it is kept.
        warning: What cannot be known any more, in words; None: nothing that matters.
    """

    path: Path
    warning: str | None

    @property
    def fate(self) -> str:
        """What becomes of it, for people."""
        lost = "" if self.warning is None else f"; {self.warning}"
        return f"it is kept as {self.path.name} and rebuilt from the files{lost}"


def set_aside(path: Path, tree: Tree) -> Aside:
    """Move a damaged manifest and its log out of the way (RELIABILITY L7); the caller holds the event's lock.

    Args:
        path: The manifest; nobody has it open.
        tree: The event's folder.

    Raises:
        StorageError: The disk said no; or what was to be forgotten would be lost. The manifest stays as it is.
    """
    is_known = _rescue(path, tree)
    place = path.with_name(f"{path.name}{_MARK}{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}")
    with translated(str(path)):
        # the log first: left alone, SQLite would replay it into the new file of this name
        for suffix in (*LOGS, ""):
            with suppress(FileNotFoundError):
                Path(f"{path}{suffix}").rename(f"{place}{suffix}")
    return Aside(place, None if is_known else _UNKNOWN)


def newest(path: Path) -> Path | None:
    """Return the copy of a manifest that was set aside last, None where there is none."""
    start = f"{path.name}{_MARK}"
    with translated(str(path.parent)):
        copies = [
            place
            for place in path.parent.glob(f"{start}*")
            if _TIME.fullmatch(place.name.removeprefix(start)) and not place.is_symlink()
        ]
    return max(copies, default=None)


def _rescue(path: Path, tree: Tree) -> bool:
    """Write to the list what only the manifest remembers; return whether it is known all that was to be forgotten."""
    (table, is_readable), (file, is_whole) = _told(path), listed(tree)
    is_listed = is_whole and bool(file.salt)
    if not (is_listed or is_readable) and (table.salt or table.digests or not is_whole):
        raise StorageError(
            str(path),
            f"photos were to be forgotten, but which cannot be read any more, neither here nor in {tree.name(FILE)}",
            "bring that file back from a backup; without one, move both away: then these photos come back, until they"
            " are forgotten again",
        )
    if not (is_listed and table.digests <= file.digests):
        veil = united(tree, table)
        if veil.digests:
            write(tree, veil)
    return is_listed or is_readable


def _told(path: Path) -> tuple[Veil, bool]:
    """Return what a damaged manifest says that was to be forgotten, and whether that is all."""
    with suppress(ManifestError, sqlite3.DatabaseError), reading(path, None) as (manifest, unread):
        version = manifest.version()
        if version < SINCE:
            return Veil(), version > 0
        kept, has_salt = _read(manifest, "SELECT value FROM meta WHERE key = ?", SALT)
        rows, has_rows = _read(manifest, "SELECT digest FROM forgotten")
        salt = next((found[1] for found in map(_SALT.fullmatch, kept) if found), "")
        digests = frozenset(filter(_DIGEST.fullmatch, rows))
        is_sound = len(digests) == len(rows) and bool(salt) == bool(kept) == bool(rows)
        return Veil(salt, digests), has_salt and has_rows and is_sound and not unread
    return Veil(), False


def _read(manifest: Manifest, statement: str, *values: str) -> tuple[list[str], bool]:
    """Return the texts that a statement yields until it meets damage, and whether it met none."""
    found: list[str] = []
    with suppress(ManifestError, sqlite3.DatabaseError):
        for row in manifest.each(statement, values):
            found.append(str(row[0]))  # noqa: PERF401  what came before the damage counts
        return found, True
    return found, False
