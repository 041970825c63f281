"""Counts what is there of what should be (DESIGN §6.8)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ninepic_mirror.archive.listings import known_photos, undated_photos

if TYPE_CHECKING:
    from ninepic_mirror.archive.manifest import Manifest, Value
    from ninepic_mirror.model import Variant


@dataclass(frozen=True, slots=True)
class Balance:
    """What is there of what should be, by the manifest.

    Args:
        photos: That the service lists.
        undated: Of them, in no window.
        present: Files in place.
        failed: Files that the last try could not have.
        missing: Files that are not in place, failed ones included.
    """

    photos: int
    undated: int
    present: int
    failed: int
    missing: int


def balance(
    manifest: Manifest, variants: tuple[Variant, ...], day: tuple[int, int] | None = None
) -> Balance:
    """Count photos and files, for all of the event or one span of it."""
    marks = ",".join("?" * len(variants))
    values: list[Value] = [*variants]
    if day is None:
        photos, undated = known_photos(manifest), undated_photos(manifest)
        source = "files"
    else:
        photos = manifest.count(
            "SELECT count(*) FROM photos WHERE taken >= ? AND taken < ? AND gone_since IS NULL AND missed = 0",
            day,
        )
        undated = 0
        source = "photos JOIN files USING (image_id)"
        values = [*variants, *day]
    span = "" if day is None else " AND taken >= ? AND taken < ?"
    counted = {
        str(state): int(count or 0)
        for state, count in manifest.rows(
            f"SELECT state, count(*) FROM {source} WHERE variant IN ({marks}){span} GROUP BY state",
            values,
        )
    }
    present, failed = counted.get("present", 0), counted.get("failed", 0)
    # Of photos that are not listed any more: they must not make up for what is lacking of those that are.
    unlisted = manifest.count(
        "SELECT count(*) FROM photos JOIN files USING (image_id) WHERE (missed OR gone_since IS NOT NULL)"
        f" AND state IN ('present', 'forgotten') AND variant IN ({marks}){span}",
        values,
    )
    missing = photos * len(variants) - (present + counted.get("forgotten", 0) - unlisted)
    return Balance(photos, undated, present, failed, missing)


def failures(
    manifest: Manifest, variants: tuple[Variant, ...], day: tuple[int, int] | None = None
) -> list[tuple[str, str, str]]:
    """Return `image_id`, variant and reason of every file that the last try could not have, of all or one span."""
    marks = ",".join("?" * len(variants))
    source = "files" if day is None else "files JOIN photos USING (image_id)"
    span = "" if day is None else " AND taken >= ? AND taken < ?"
    found = manifest.rows(
        f"SELECT image_id, variant, error FROM {source} WHERE state = 'failed' AND variant IN ({marks}){span}"
        " ORDER BY image_id, variant",
        [*variants, *(day or ())],
    )
    return [(str(image_id), str(variant), str(error or "")) for image_id, variant, error in found]
