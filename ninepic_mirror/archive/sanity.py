"""Says whether a manifest makes sense, as far as SQLite's own checks do not see: its tables, its texts, whose rows are whose.

Reads every row once; a million photos take some seconds, as `integrity_check` does.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING, Final

from ninepic_mirror.archive.schema import MIGRATIONS

if TYPE_CHECKING:
    from ninepic_mirror.archive.manifest import Manifest

_COLUMNS: Final = (
    "SELECT tables.name, columns.name FROM sqlite_master AS tables, pragma_table_info(tables.name) AS columns"
    " WHERE tables.type = 'table'"
)
_ORPHAN: Final = "SELECT 1 FROM files WHERE image_id NOT IN (SELECT image_id FROM photos) LIMIT 1"

# Rows that contradict themselves: present without a place or hash, or at a place that is not in the folder that the row
# names, or not below the event's.
_SENSELESS: Final = """
SELECT 1 FROM (
    SELECT *, CASE folder WHEN '' THEN '' ELSE folder || '/' END AS above FROM files
) WHERE state = 'present' AND (path IS NULL OR size IS NULL OR sha256 IS NULL)
    OR path IS NOT NULL AND (
        folder IS NULL
        OR substr(path, 1, length(above)) <> above
        OR instr(substr(path, length(above) + 1), '/') > 0
        OR instr('/' || path, '/../') > 0
        OR substr(path, 1, 1) = '/'
    )
LIMIT 1
"""


def complaint(manifest: Manifest, *, thorough: bool) -> str | None:
    """Return what is wrong with a manifest, None where nothing is.

    Args:
        manifest: Open for reading, also one of an older version.
        thorough: Look at every row.

    Raises:
        ManifestError: SQLite itself cannot read it, or a text is none.
    """
    damage = manifest.damage(quick=not thorough)
    if damage is not None:
        return f"the manifest is damaged: {damage}"
    expected = _expected(manifest.version())
    lacking = sorted({*expected} - {*manifest.rows(_COLUMNS)})
    if lacking:
        return f"the manifest is damaged: it has no {'.'.join(lacking[0])}"
    if thorough:
        for table in sorted({table for table, _ in expected}):
            for _ in manifest.each(f"SELECT * FROM {table}"):
                pass  # each text is decoded
        if manifest.rows(_ORPHAN):
            return "the manifest is damaged: it has files of photos that it does not know"
        if manifest.rows(_SENSELESS):
            return "the manifest is damaged: a file's row contradicts itself"
    return None


def _expected(version: int) -> list[tuple[str, str]]:
    """Return table and name of every column of a version."""
    with closing(sqlite3.connect(":memory:")) as made:
        for script in MIGRATIONS[:version]:
            made.executescript(script)
        return made.execute(_COLUMNS).fetchall()
