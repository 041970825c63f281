"""Says whether a manifest makes sense, as far as SQLite's own checks do not see: its tables, its values, whose rows are whose.

Reads every row a few times; a million photos take some seconds, as `integrity_check` does.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING, Final

from ninepic_mirror.archive.root import OWN_FOLDER
from ninepic_mirror.archive.schema import MIGRATIONS
from ninepic_mirror.archive.store import TRASH

if TYPE_CHECKING:
    from ninepic_mirror.archive.manifest import Manifest

_CONTRADICTION: Final = "a file's row contradicts itself"
_COLUMNS: Final = (
    "SELECT tables.name, columns.name, columns.type FROM sqlite_master AS tables, pragma_table_info(tables.name) AS columns"
    " WHERE tables.type = 'table'"
)
# Values of another type than their column's, by the order of SQLite's types (NULL, numbers, texts, blobs) and its
# arithmetic; the sign keeps a number's text from being compared as the number. `typeof` takes thrice as long.
_STRANGE: Final = {
    "INTEGER": "+{0} <> {0} | 0",  # what is no number, or has a fraction
    "TEXT": "+{0} NOT BETWEEN '' AND x''",
}
# Moments that no calendar has: outside the years 1 to 9999, in epoch seconds.
_NEVER: Final = "{0} NOT BETWEEN -62135596800 AND 253402300799"
_MOMENTS: Final = {("photos", "taken"), ("photos", "hour"), ("hours", "start")}
_ORPHAN: Final = "SELECT 1 FROM files WHERE image_id NOT IN (SELECT image_id FROM photos) LIMIT 1"

# Rows that contradict themselves: present without a place or hash, or at a place that is not in the folder that the row
# names.
_SENSELESS: Final = """
SELECT 1 FROM (
    SELECT *, CASE folder WHEN '' THEN '' ELSE folder || '/' END AS above FROM files
) WHERE state = 'present' AND (path IS NULL OR size IS NULL OR sha256 IS NULL)
    OR path IS NOT NULL AND (
        folder IS NULL
        OR substr(path, 1, length(above)) <> above
        OR instr(substr(path, length(above) + 1), '/') > 0
    )
LIMIT 1
"""

# Rows whose file stands, or is on its way, where none of a photo's may: not below the event's folder, or in our own, in
# which a repair or a removal would take the manifest itself. In the trash may lie what is gone, or was and is wanted
# again; and what is present only while it makes room for another (`reconcile.relocate`).
_ASTRAY: Final = f"""
SELECT 1 FROM (
    SELECT image_id, state, path AS place FROM files WHERE path IS NOT NULL
    UNION ALL SELECT image_id, state, moving_to FROM files WHERE moving_to IS NOT NULL
) AS standing WHERE substr(place, 1, 1) = '/'
    OR instr('/' || place || '/', '/../') > 0
    -- in capitals, too: some file systems do not tell them apart
    OR instr(lower('/' || place || '/'), '/{OWN_FOLDER}/') > 0 AND NOT (
        substr(place, 1, {len(TRASH)}) = '{TRASH}' AND (
            state IN ('pending', 'failed', 'gone')
            OR state = 'present' AND EXISTS (
                SELECT 1 FROM photos WHERE image_id = standing.image_id AND misplaced
            )
        )
    )
LIMIT 1
"""


def complaint(manifest: Manifest, *, thorough: bool) -> str | None:
    """Return what is wrong with a manifest, None where nothing is.

    Args:
        manifest: Open for reading, also one of an older version.
        thorough: Also decode every text, and look for files of photos that are not known.

    Raises:
        ManifestError: SQLite itself cannot read it, or a text is none.
    """
    damage = manifest.damage(quick=not thorough)
    if damage is not None:
        return f"the manifest is damaged: {damage}"
    version, found = manifest.version(), {row[:2] for row in manifest.rows(_COLUMNS)}
    expected = _expected(version)
    lacking = sorted({*expected} - found)
    if lacking:
        return f"the manifest is damaged: it has no {'.'.join(lacking[0])}"
    # a migration is one transaction: what a later version makes is there with its number, or not at all
    if early := sorted(({*_expected(len(MIGRATIONS))} - {*expected}) & found):
        return f"the manifest is damaged: it has more than schema version {version}: {'.'.join(early[0])}"
    for table in sorted({table for table, _ in expected}):
        tests = [
            _STRANGE[kind].format(name) for (of, name), kind in expected.items() if of == table
        ]
        tests += [_NEVER.format(name) for of, name in sorted(_MOMENTS) if of == table]
        if manifest.rows(f"SELECT 1 FROM {table} WHERE {' OR '.join(tests)} LIMIT 1"):
            return f"the manifest is damaged: a value in {table} is none that can be there"
        if thorough:
            for _ in manifest.each(f"SELECT * FROM {table}"):
                pass  # each text is decoded
    if thorough and manifest.rows(_ORPHAN):
        return "the manifest is damaged: it has files of photos that it does not know"
    return contradiction(manifest)


def contradiction(manifest: Manifest) -> str | None:
    """Return what a manifest says that cannot be, so that nothing may be removed by it; None where nothing is.

    A file's row contradicts itself, or says a place that none may have; or `meta` makes no sense.

    Raises:
        ManifestError: SQLite itself cannot read it, or a text is none.
    """
    text = manifest.nonsense()
    if text is None and (manifest.rows(_SENSELESS) or manifest.rows(_ASTRAY)):
        text = _CONTRADICTION
    return None if text is None else f"the manifest is damaged: {text}"


def _expected(version: int) -> dict[tuple[str, str], str]:
    """Return the type of every column of a version, by table and name."""
    with closing(sqlite3.connect(":memory:")) as made:
        for script in MIGRATIONS[:version]:
            made.executescript(script)
        return {(table, name): kind for table, name, kind in made.execute(_COLUMNS)}
