"""What was deleted leaves nothing behind: neither in a manifest's free pages and log, nor in folders and reports."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Final

from ninepic_mirror.archive.faults import translated
from ninepic_mirror.archive.sqlite_errors import ManifestError
from ninepic_mirror.errors import StorageError
from ninepic_mirror.progress import format_size

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from ninepic_mirror.archive.manifest import Manifest

# Folders below which neither a row nor a SHA256SUMS has a file; '0' is the character behind '/'.
_EMPTY: Final = """
instr(sums.folder, ?)
AND NOT EXISTS (SELECT 1 FROM files WHERE folder = sums.folder)
AND NOT EXISTS (SELECT 1 FROM files WHERE folder > sums.folder || '/' AND folder < sums.folder || '0')
AND NOT EXISTS (SELECT 1 FROM named WHERE path > sums.folder || '/' AND path < sums.folder || '0')
"""


def wipe(manifest: Manifest) -> str | None:
    """Leave nothing of what was deleted in the manifest's file or log, and note that in the table `forgotten`.

    Returns:
        What keeps us from it, in words; None: nothing is left.

    Raises:
        ManifestError: It is damaged.
    """
    folder = manifest.path.parent
    pages = manifest.count("PRAGMA page_count") - manifest.count("PRAGMA freelist_count")
    used = pages * manifest.count("PRAGMA page_size")
    short = None
    try:
        # VACUUM writes a copy for itself and the log: where not even one fits it is not begun, lest it fill the disk.
        if _free(folder) < used:
            short = "the disk has no room"
        else:
            manifest.rows("VACUUM")
    except ManifestError:
        raise
    except StorageError as error:
        short = error.text
    busy = manifest.rows("PRAGMA wal_checkpoint(TRUNCATE)")[0][0]
    if short is not None:
        free, needed = format_size(_free(folder)), format_size(2 * used)
        return f"{short} to write the manifest anew, which needs up to {needed}; {free} are free"
    if busy:
        return "somebody reads the manifest"
    manifest.change("UPDATE forgotten SET erased = 1")
    manifest.checkpoint()
    return None


def _free(folder: Path) -> int:
    with translated(str(folder)):
        state = os.statvfs(folder)
    return state.f_bavail * state.f_frsize


def drop_folders(manifest: Manifest, names: Iterable[str]) -> list[str]:
    """Leave out, within a transaction, every folder whose path has one of these names and that has no file of a row.

    Returns:
        The top-level folders whose SHA256SUMS, if one stands, names nothing any more, and that nobody writes anew.
    """
    tops: list[str] = []
    for name in names:
        manifest.change(
            "DELETE FROM folders WHERE instr(path, ?)"
            " AND NOT EXISTS (SELECT 1 FROM files WHERE folder = folders.path)",
            [name],
        )
        found = manifest.rows(f"SELECT folder FROM sums WHERE {_EMPTY}", [name])
        tops += [str(row[0]) for row in found]
        manifest.change_each("DELETE FROM sums WHERE folder = ?", found)
    return tops


def veil_reports(manifest: Manifest, instead: Mapping[str, str]) -> None:
    """Take photos out of what earlier passes reported: each entry stays, and says nothing but the variant.

    Args:
        manifest: Open; the caller holds a transaction.
        instead: What stands for each of their ids.
    """
    numbers = {
        int(row[0] or 0)
        for image_id in instead
        for row in manifest.rows(
            "SELECT id FROM passes WHERE instr(report, ?)", [json.dumps(image_id)]
        )
    }
    for number in sorted(numbers):
        ((text,),) = manifest.rows("SELECT report FROM passes WHERE id = ?", [number])
        manifest.change(
            "UPDATE passes SET report = ? WHERE id = ?",
            [json.dumps(blanked(manifest.parsed(str(text)), instead)), number],
        )


def blanked(report: object, instead: Mapping[str, str]) -> object:
    """Return what a pass reported, without anything of some photos but the variant: every entry still counts.

    Args:
        report: From JSON.
        instead: What stands for each of their ids.
    """
    if isinstance(report, list):
        return [blanked(one, instead) for one in report]
    if not isinstance(report, dict):
        return report
    image_id = report.get("image_id")
    if not isinstance(image_id, str) or image_id not in instead:
        return {key: blanked(value, instead) for key, value in report.items()}
    kept = {"image_id": instead[image_id], "variant": report.get("variant")}
    return dict.fromkeys(report) | kept
