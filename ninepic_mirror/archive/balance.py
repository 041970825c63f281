"""Counts what is there of what should be (DESIGN §6.8)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec
from msgspec import Struct, structs

from ninepic_mirror.archive.listings import known_photos, undated_photos

if TYPE_CHECKING:
    from ninepic_mirror.archive.manifest import Manifest, Value
    from ninepic_mirror.model import Variant

_KEY: Final = "balance"  # in `meta`
_SAMPLE: Final = 1000  # files whose mean size is taken for that of all


class Balance(Struct, frozen=True):
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
    states = ", ".join(
        f"sum(state = '{state}')" for state in ("present", "forgotten", "failed")
    )  # grouped they would be sorted
    ((*counts,),) = manifest.rows(
        f"SELECT {states} FROM {source} WHERE variant IN ({marks}){span}", values
    )
    present, forgotten, failed = (count if isinstance(count, int) else 0 for count in counts)
    missing = photos * len(variants) - (present + forgotten - _unlisted(manifest, variants, day))
    return Balance(photos, undated, present, failed, missing)


def _unlisted(
    manifest: Manifest, variants: tuple[Variant, ...], day: tuple[int, int] | None
) -> int:
    """Count the files of photos that are not listed any more.

    They must not make up for what is lacking of those that are.
    """
    marks = ",".join("?" * len(variants))
    # The sign keeps SQLite from looking through all photos of the span for the few that left.
    span = "" if day is None else " AND +taken >= ? AND +taken < ?"
    return manifest.count(
        "SELECT count(*) FROM (SELECT image_id, taken FROM photos WHERE missed"
        " UNION ALL SELECT image_id, taken FROM photos WHERE gone_since IS NOT NULL AND NOT missed)"
        " JOIN files USING (image_id)"
        f" WHERE state IN ('present', 'forgotten') AND variant IN ({marks}){span}",
        [*variants, *(day or ())],
    )


def counted(
    manifest: Manifest, variants: tuple[Variant, ...], number: int | None = None
) -> Balance | None:
    """Return what a pass counted at its end, None where that may not hold any more: then count.

    Rows change only within a pass, and a pass begins with its own row in `passes`. So what the last pass counted is
    what there is, once that pass has ended: one that was cut off anywhere has no end, and one by another version of
    this program has another number.

    Args:
        manifest: The manifest.
        variants: Of which to speak.
        number: The pass to be believed, None: the last.
    """
    one = "(SELECT max(id) FROM passes)" if number is None else "?"
    # One statement: a pass that runs beside us must not begin between two.
    found = manifest.rows(
        f"SELECT id, value FROM passes, meta WHERE id = {one} AND ended_at IS NOT NULL AND key = ?",
        [*(() if number is None else (number,)), _KEY],
    )
    known = manifest.parsed(str(found[0][1])) if found else None
    if not isinstance(known, list) or known[:2] != [found[0][0], sorted(variants)]:
        return None
    try:
        return Balance(*msgspec.convert(known[2:], tuple[int, int, int, int, int]))
    except msgspec.ValidationError:  # by another version of this program, or damaged
        return None


def note_count(
    manifest: Manifest, variants: tuple[Variant, ...], number: int, there: Balance | None
) -> None:
    """Keep what a pass counted for `counted`, once nothing but the pass's end is to be written.

    Args:
        manifest: The manifest.
        variants: What was counted.
        number: The pass.
        there: The count; None: it counted only a part.
    """
    kept = None if there is None else [number, sorted(variants), *structs.astuple(there)]
    manifest.set_meta({_KEY: kept})


def still_to_come(manifest: Manifest, variants: tuple[Variant, ...], total: int) -> int:
    """Estimate the bytes of all files that no pass has tried yet, by the mean size of those that are here.

    Args:
        manifest: The manifest.
        variants: The configured ones.
        total: Photos that the service reports.

    Returns:
        Bytes; 0 while nothing is here to judge by.
    """
    new = max(0, total - known_photos(manifest))
    expected = 0
    for variant in variants:
        pending = manifest.count(
            # both states, as the index has them
            "SELECT count(*) FROM files WHERE state IN ('pending', 'failed') AND state = 'pending' AND variant = ?",
            [variant],
        )
        if new or pending:
            mean = manifest.count(
                "SELECT CAST(avg(size) AS INTEGER) FROM"
                f" (SELECT size FROM files WHERE variant = ? AND state = 'present' LIMIT {_SAMPLE})",
                [variant],
            )
            expected += mean * (new + pending)
    return expected


def failures(
    manifest: Manifest, variants: tuple[Variant, ...], day: tuple[int, int] | None = None
) -> list[tuple[str, str, str]]:
    """Return `image_id`, variant and reason of every file that the last try could not have, of all or one span."""
    marks = ",".join("?" * len(variants))
    source = "files" if day is None else "files JOIN photos USING (image_id)"
    span = "" if day is None else " AND taken >= ? AND taken < ?"
    found = manifest.rows(
        # both states first, as the index has them: by one of them alone SQLite would look through all files
        f"SELECT image_id, variant, error FROM {source} WHERE state IN ('pending', 'failed')"
        f" AND state = 'failed' AND variant IN ({marks}){span}"
        " ORDER BY image_id, variant",
        [*variants, *(day or ())],
    )
    return [(str(image_id), str(variant), str(error or "")) for image_id, variant, error in found]
