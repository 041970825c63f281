"""Which window has a photo, and whether every hour holds the photos that its last listing named (DESIGN §6.7).

A photo belongs to the window whose last reading named it. While photos are re-timed, or while the service lags, two
windows of one pass name a photo: the earlier has it, the other's *claim* is kept until the pass ends. A window that is
read again and names the photo no more gives it up, to the earliest window that still claims it. So neither the order of
the readings nor how often a window is read makes a difference.

Claims are rare, so they lie in a temporary table: nothing is looked up in it before the first.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import xxhash
from msgspec import Struct

from ninepic_mirror.model import HOUR

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from ninepic_mirror.archive.manifest import Manifest, Row
    from ninepic_mirror.model import Window

_DIGEST_MODULUS: Final = 1 << 128

# Photos that the window at `taken` named last: they have a position in it. Each part is counted in an index, and only
# the few photos that left are looked up (the sign keeps SQLite from looking through all others for them).
_NAMED: Final = """
SELECT taken, sum(number) FROM (
    SELECT taken, count(position) AS number FROM photos WHERE taken IS NOT NULL GROUP BY taken
    UNION ALL
    SELECT taken, -count(position) FROM photos WHERE gone_since IS NOT NULL AND +taken IS NOT NULL GROUP BY +taken
    UNION ALL
    SELECT taken, -count(position) FROM photos WHERE missed AND gone_since IS NULL AND +taken IS NOT NULL GROUP BY +taken
) GROUP BY taken
"""


class Place(Struct, frozen=True, gc=False):
    """Where a window has a photo.

    Args:
        hour: Start of the UTC hour, None: undated.
        taken: Start of the window, None likewise.
        position: Order within the window; None: the last listing of the window did not name it, it is kept there.
        reading: The window's reading that named it last.
    """

    hour: int | None
    taken: int | None
    position: int | None
    reading: int


class Claims:
    """What windows of one pass claim of photos that an earlier window has.

    Args:
        manifest: Open; the caller holds the transactions.
    """

    def __init__(self, manifest: Manifest) -> None:
        self._manifest = manifest
        self._any = False  # whether there ever was one
        manifest.change(
            "CREATE TEMP TABLE IF NOT EXISTS claims (image_id TEXT, taken INTEGER, hour INTEGER, position INTEGER,"
            " reading INTEGER, PRIMARY KEY (image_id, taken)) WITHOUT ROWID"
        )
        manifest.change("DELETE FROM claims")

    def add(self, image_id: str, place: Place) -> None:
        """Keep that a window names a photo which an earlier one has."""
        self._any = True
        self._manifest.change(
            "INSERT OR REPLACE INTO claims VALUES (?, ?, ?, ?, ?)",
            [image_id, place.taken, place.hour, place.position, place.reading],
        )

    def named(self, ids: Sequence[str], window: Window, reading: int) -> set[str]:
        """Return those of some photos that a window claims by this very reading."""
        if not self._any:
            return set()
        found = self._manifest.rows(
            "SELECT image_id FROM claims WHERE taken >= ? AND taken < ? AND reading = ?"
            f" AND image_id IN ({','.join('?' * len(ids))})",
            [window.start, window.end, reading, *ids],
        )
        return {str(row[0]) for row in found}

    def give_up(self, window: Window, reading: int) -> None:
        """A reading of a window was whole: what it does not name goes to the earliest other window that claims it."""
        if not self._any:
            return
        span = [window.start, window.end, reading]
        self._manifest.change(
            "DELETE FROM claims WHERE taken >= ? AND taken < ? AND reading < ?", span
        )
        self._manifest.change(
            "UPDATE photos SET misplaced = 1, (hour, taken, position, window_reading) ="
            " (SELECT hour, taken, position, reading FROM claims WHERE claims.image_id = photos.image_id"
            " ORDER BY taken LIMIT 1) WHERE taken >= ? AND taken < ? AND window_reading < ?"
            " AND image_id IN (SELECT image_id FROM claims)",
            span,
        )
        self._manifest.change(
            "DELETE FROM claims WHERE taken = (SELECT taken FROM photos WHERE photos.image_id = claims.image_id)"
        )

    def disagreeing(self) -> frozenset[int]:
        """Return the hours that do not hold the photos which their last listing named."""
        found = self._manifest.rows("SELECT taken, count(*) FROM claims GROUP BY taken")
        return disagreeing(self._manifest, {int(taken or 0): int(n or 0) for taken, n in found})

    def contested(self) -> tuple[frozenset[int], int, str]:
        """Return the hours that name a photo of another one too, how many photos those are, and a hash of which."""
        found = self._manifest.rows(
            "SELECT image_id, claims.hour, photos.hour FROM claims JOIN photos USING (image_id)"
        )
        digest = sum(xxhash.xxh3_128_intdigest(repr(row).encode()) for row in found)
        hours = frozenset(hour for _, *two in found for hour in two if isinstance(hour, int))
        return hours, len({row[0] for row in found}), f"{digest % _DIGEST_MODULUS:032x}"


def disagreeing(manifest: Manifest, claimed: Mapping[int, int] | None = None) -> frozenset[int]:
    """Return the hours that do not hold the photos which their last listing named.

    Such an hour was left by a pass that was cut off or could not read it, or photos were re-timed while it was read.
    It reads an index from end to end: a tenth of a second for a million photos.

    Args:
        manifest: The manifest.
        claimed: Start of a window → photos that it names and an earlier window has.
    """
    named = _by_hour(manifest.each(_NAMED))
    for start, count in _by_hour((claimed or {}).items()).items():
        named[start] = named.get(start, 0) + count
    listed = {
        start: count
        for start, count in manifest.each("SELECT start, listed FROM hours")
        if isinstance(start, int)
    }
    return frozenset(
        start for start in {*named, *listed} if named.get(start, 0) != listed.get(start, 0)
    )


def _by_hour(windows: Iterable[Row]) -> dict[int, int]:
    """Add up the windows of each hour: a zone off by half an hour has two."""
    counts: dict[int, int] = {}
    for taken, count in windows:
        moment = int(taken or 0)  # never NULL, by the queries
        start = moment - moment % HOUR
        counts[start] = counts.get(start, 0) + int(count or 0)
    return counts
