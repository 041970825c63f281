"""What readers see of a manifest that is behind: brought back from a backup, it names photos that were forgotten since.

A pass finishes forgetting before anything else. Until then whoever only reads gets views in place of the tables, in
which the rows of these photos are what `forget` leaves of them. Reading takes longer meanwhile.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ninepic_mirror.archive.files import Tree
from ninepic_mirror.archive.forgotten import LEAVING, SINCE, Veil, remembered
from ninepic_mirror.errors import StorageError

if TYPE_CHECKING:
    from pathlib import Path

    from ninepic_mirror.archive.manifest import Manifest

# Columns that `forget` leaves as they are. All others but these two are NULL for a forgotten photo.
_KEPT: Final = frozenset({
    "hour", "taken", "position", "first_seen", "last_seen", "gone_since", "reading", "window_reading", "missed",
    "misplaced", "variant", "attempts", "queued", "doubted",
})  # fmt: skip
_CHANGED: Final = {
    "image_id": "pseudonym(image_id)",
    "state": "iif(pseudonym(image_id) = image_id, state, 'forgotten')",
}
# A view with a limit is not merged into the statements that join it: it is indexed for them, though its ids are computed.
_VIEWS: Final = {"files": "", "photos": " LIMIT -1"}


def is_behind(manifest: Manifest, folder: Path) -> bool:
    """Whether a manifest has yet to forget photos, or to remove files of theirs.

    Raises:
        StorageError: The list of them cannot be read.
    """
    return bool(_new(manifest, folder).digests) or manifest.meta(LEAVING) is not None


def _new(manifest: Manifest, folder: Path) -> Veil:
    with Tree(folder) as tree:
        veil = remembered(manifest, tree)
    return Veil(veil.salt, veil.digests - Veil.of(manifest).digests)


def veil(manifest: Manifest, folder: Path) -> None:
    """Put views in place of the tables of a manifest that is behind.

    Args:
        manifest: Open to be read only.
        folder: The event's.
    """
    try:
        new = _new(manifest, folder)
    except StorageError:
        return  # a pass says what is wrong with the list
    if not new.digests or not any(
        new.hides(str(row[0])) for row in manifest.each("SELECT image_id FROM photos")
    ):
        return
    manifest.define(
        "pseudonym", lambda image_id: new.pseudonym(image_id) if new.hides(image_id) else image_id
    )
    manifest.change("PRAGMA query_only = OFF")
    for table, limit in _VIEWS.items():
        columns = [str(row[1]) for row in manifest.rows(f"PRAGMA main.table_info({table})")]
        shown = ", ".join(f"{_shown(column)} AS {column}" for column in columns)
        manifest.change(f"CREATE TEMP VIEW {table} AS SELECT {shown} FROM main.{table}{limit}")
    manifest.change(
        # what the last pass counted is not what there is any more
        "CREATE TEMP VIEW meta AS SELECT key, value FROM main.meta WHERE key <> 'balance'"
    )
    if manifest.version() >= SINCE:
        more = ", ".join(f"('{digest}', 0, 0)" for digest in sorted(new.digests))
        manifest.change(
            f"CREATE TEMP VIEW forgotten AS SELECT * FROM main.forgotten UNION ALL VALUES {more}"
        )
    manifest.change("PRAGMA query_only = ON")


def _shown(column: str) -> str:
    if column in _KEPT:
        return column
    return _CHANGED.get(column, f"iif(pseudonym(image_id) = image_id, {column}, NULL)")
