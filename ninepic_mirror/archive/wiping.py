"""What was deleted leaves nothing behind: neither in a manifest's free pages and log, nor in what passes reported."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from ninepic_mirror.archive.faults import translated
from ninepic_mirror.archive.manifest import ManifestError
from ninepic_mirror.errors import StorageError
from ninepic_mirror.progress import format_size

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from ninepic_mirror.archive.manifest import Manifest


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
