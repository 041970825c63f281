"""The listing side of a manifest: photos, their hours, and what each reading of a window named.

A *reading* is one run through all pages of one listing; readings are numbered on and on in one manifest. A photo row
keeps the last reading that named it, so that repeated rows, photos that moved and photos that left are told apart in
constant memory, however long the listing is.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

import xxhash

from ninepic_mirror.archive.manifest import Manifest, Row, now
from ninepic_mirror.archive.records import Hour, Job
from ninepic_mirror.model import VARIANTS

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from ninepic_mirror.archive.records import Listing
    from ninepic_mirror.model import Photo, Variant

_DIGEST_MODULUS: Final = 1 << 128
# An address of which the careful way keeps every character: no query, no fragment, no user, nothing to be normalised.
_PLAIN: Final = re.compile(r"https?://[a-z0-9.:-]+/[A-Za-z0-9._~%/+,=-]*")


@dataclass(frozen=True, slots=True)
class Recorded:
    """What one page added.

    Args:
        distinct: Photos that this reading had not named before.
        repeated: Rows that named a photo of this reading again.
        digest: Sum of the distinct ids' hashes modulo 2^128: equal sets have equal sums in any order.
        jobs: Files to be had.
    """

    distinct: int
    repeated: int
    digest: int
    jobs: tuple[Job, ...]


@dataclass(slots=True)
class _Known:
    """A photo row as it was before a page."""

    hour: int | None
    taken: int | None
    reading: int
    window_reading: int


class Listings:
    """Records pages and proven listings for one pass.

    Args:
        manifest: Open; every method runs in transactions of its own.
        number: The pass.
        variants: The configured ones, in order.
    """

    def __init__(self, manifest: Manifest, number: int, variants: tuple[Variant, ...]) -> None:
        self._manifest, self._pass, self._variants = manifest, number, variants
        self._readings = 0  # begun in this pass

    @cached_property
    def _first(self) -> int:
        """The number of this pass's first reading. Looked up when it is needed: all photos are read for it."""
        return self._manifest.count("SELECT max(reading) FROM photos") + 1

    def next_reading(self) -> int:
        """Return the number of a reading that begins now.

        Raises:
            StorageError: The manifest cannot be read.
        """
        self._readings += 1
        return self._first + self._readings - 1

    def record(
        self, listing: Listing, reading: int, position: int, photos: Sequence[Photo]
    ) -> Recorded:
        """Record one page of a reading.

        Args:
            listing: What is read.
            reading: Its number.
            position: Order of the page's first row within the listing.
            photos: The page's rows.

        Raises:
            StorageError: The manifest cannot be written.
        """
        with self._manifest.transaction():
            known = self._known([photo.image_id for photo in photos])
            taken = {image_id: before.taken for image_id, before in known.items()}
            digest = distinct = 0
            rows: list[Row] = []
            for order, photo in enumerate(photos, position):
                before = known.get(photo.image_id)
                if before is not None and before.reading == reading:
                    continue  # a repeated row
                distinct += 1
                digest += xxhash.xxh3_128_intdigest(photo.image_id.encode())
                row = self._place(listing, reading, order, photo, before)
                rows.append(row)
                taken[photo.image_id] = _int(row[2])
                known[photo.image_id] = _Known(None, None, reading, reading)
            self._manifest.change_each(_UPSERT, rows)
            jobs = tuple(self._jobs({photo.image_id: photo for photo in photos}, taken))
        return Recorded(distinct, len(photos) - distinct, digest % _DIGEST_MODULUS, jobs)

    def _known(self, ids: Sequence[str]) -> dict[str, _Known]:
        found = self._manifest.rows(
            "SELECT image_id, hour, taken, reading, window_reading FROM photos"
            f" WHERE image_id IN ({_marks(ids)})",
            ids,
        )
        return {
            str(row[0]): _Known(_int(row[1]), _int(row[2]), _int0(row[3]), _int0(row[4]))
            for row in found
        }

    def _place(
        self, listing: Listing, reading: int, order: int, photo: Photo, before: _Known | None
    ) -> Row:
        """Decide the hour of one row, and return the values of its upsert."""
        hour, taken = listing.hour, listing.window.start if listing.window is not None else None
        window_reading = reading if listing.window is not None else 0
        position: int | None = order
        if before is not None:
            window_reading = window_reading or before.window_reading
            if self._stays(before, taken):
                position = order if before.taken == taken else None
                hour, taken = before.hour, before.taken
            elif before.hour is not None and before.hour != hour:
                self._left(before.hour)
        moved = before is not None and before.taken != taken
        return (
            photo.image_id, hour, taken, position, photo.width, photo.height, now(), now(), reading, window_reading,
            int(moved),
        )  # fmt: skip

    def _stays(self, before: _Known, taken: int | None) -> bool:
        """Whether a photo keeps the hour that it has, although a listing names it at `taken`.

        An hour once known is kept unless another window names the photo (DESIGN §6.7). When two windows of one pass
        name it, the earlier keeps it, so that the order in which they are read does not matter.
        """
        if taken is None:
            return True
        named_in_this_pass = before.window_reading >= self._first and before.taken is not None
        return named_in_this_pass and before.taken is not None and before.taken <= taken

    def _left(self, hour: int) -> None:
        """A photo counted for `hour` turned up elsewhere: the hour now lists fewer, so it will be looked at."""
        self._manifest.change(
            "UPDATE hours SET listed = listed - 1 WHERE start = ? AND pass < ?", [hour, self._pass]
        )

    def _jobs(self, photos: dict[str, Photo], taken: Mapping[str, int | None]) -> Iterator[Job]:
        """Make sure that every photo has its file rows; yield those that are to be fetched in this pass."""
        ids = list(photos)
        found = self._manifest.rows(
            "SELECT image_id, variant, state, path, url, sha256, queued FROM files"
            f" WHERE image_id IN ({_marks(ids)})",
            ids,
        )
        rows = {(row[0], row[1]): row[2:] for row in found}
        changes: list[Row] = []
        for image_id, photo in photos.items():
            for variant in self._variants:
                url = photo.url(variant)
                state, path, old_url, sha256, queued = rows.get((image_id, variant), (None,) * 5)
                kept = storable(url)
                if state in {"present", "forgotten"}:
                    if old_url != kept:
                        changes.append((image_id, variant, kept, state, queued))
                    continue
                if state is not None and queued == self._pass and state != "gone":
                    continue  # already on its way
                changes.append((image_id, variant, kept, "pending", self._pass))
                yield Job(
                    image_id, variant, taken[image_id], url, photo.width, photo.height,
                    None if path is None else str(path), None if sha256 is None else str(sha256),
                )  # fmt: skip
        self._manifest.change_each(
            "INSERT INTO files (image_id, variant, url, state, queued) VALUES (?, ?, ?, ?, ?)"
            " ON CONFLICT DO UPDATE SET url = excluded.url, state = excluded.state, queued = excluded.queued",
            changes,
        )

    def prove(self, listing: Listing, reading: int) -> None:
        """A reading of `listing` was whole: mark the photos that belong to it and that it does not name any more.

        A photo that another listing of this pass has named is not missed; when in doubt, it is kept.
        """
        if listing.window is not None:
            missed = (
                "taken = ? AND window_reading < ? AND (reading < ? OR reading = window_reading)"
            )
            values = [listing.window.start, reading, self._first]
        elif listing.offset:
            missed, values = "taken IS NULL AND reading < ?", [reading]
        else:
            missed, values = "reading < ? AND window_reading < ?", [reading, self._first]
        with self._manifest.transaction():
            self._manifest.change(
                f"UPDATE photos SET missed = 1 WHERE gone_since IS NULL AND missed = 0 AND {missed}",
                values,
            )

    def note_hour(self, start: int, hour: Hour) -> None:
        """Record that an hour was listed whole in this pass."""
        with self._manifest.transaction():
            self._manifest.change(
                "INSERT OR REPLACE INTO hours VALUES (?, ?, ?, ?, ?, ?, ?)",
                [start, hour.reported, hour.listed, now(), hour.repeated, hour.cut, self._pass],
            )


def hours(manifest: Manifest) -> dict[int, Hour]:
    """Return what is known of each hour, by its start."""
    found = manifest.each("SELECT start, reported, listed, repeated, cut FROM hours")
    return {_int0(start): Hour(*map(_int0, rest)) for start, *rest in found}


def repeated_in_hours(manifest: Manifest) -> int:
    """Count the rows of the hours' last listings that named a photo again."""
    return manifest.count("SELECT sum(repeated) FROM hours")


def unaddressed(
    manifest: Manifest, variants: Sequence[Variant] = VARIANTS
) -> frozenset[int | None]:
    """Return the hours (None: undated) of wanted files whose address must be asked for again.

    An address that needs its query is not stored (DESIGN §5), so a later pass knows it only from the listing.

    Args:
        manifest: The manifest.
        variants: The configured ones: what is wanted of another is left alone, and must not be asked for for ever.
    """
    found = manifest.rows(
        "SELECT DISTINCT photos.hour FROM files JOIN photos USING (image_id)"
        " WHERE state IN ('pending', 'failed') AND files.url IS NULL AND photos.gone_since IS NULL"
        f" AND variant IN ({_marks(variants)})",
        variants,
    )
    return frozenset(_int(row[0]) for row in found)


def known_photos(manifest: Manifest) -> int:
    """Count the photos that the service lists, as far as we know."""
    # All less those that are not listed any more: each of the three is counted in an index, no row is read.
    return manifest.count(
        "SELECT (SELECT count(*) FROM photos)"
        " - (SELECT count(*) FROM photos WHERE gone_since IS NOT NULL)"
        " - (SELECT count(*) FROM photos WHERE missed AND gone_since IS NULL)"
    )


def missed_photos(manifest: Manifest, day: tuple[int, int] | None = None) -> int:
    """Count the photos that are to be marked gone.

    Args:
        manifest: The manifest.
        day: Only those taken in this span, `[from, to)` in epoch seconds; None: all.
    """
    span = "" if day is None else " AND taken >= ? AND taken < ?"
    return manifest.count(f"SELECT count(*) FROM photos WHERE missed{span}", day or ())


def undated_photos(manifest: Manifest) -> int:
    """Count the listed photos that are in no window."""
    # As above; the sign keeps SQLite from looking through all undated photos for the few that are gone.
    return manifest.count(
        "SELECT (SELECT count(*) FROM photos WHERE taken IS NULL)"
        " - (SELECT count(*) FROM photos WHERE +taken IS NULL AND gone_since IS NOT NULL)"
        " - (SELECT count(*) FROM photos WHERE +taken IS NULL AND missed AND gone_since IS NULL)"
    )


def storable(url: str | None) -> str | None:
    """Return an address that may be kept, None for one with a query: it may be signed (DESIGN §5)."""
    if url is None:
        return None
    if _PLAIN.fullmatch(url):
        return (
            url  # as nearly all are: taking apart two addresses a photo was half the work of a page
        )
    try:
        parts = urlsplit(url)
    except ValueError:
        return None
    return None if parts.query or "@" in parts.netloc else parts._replace(fragment="").geturl()


def _marks(values: Sequence[object]) -> str:
    return ",".join("?" * len(values))


def _int(value: object) -> int | None:
    return value if isinstance(value, int) else None


def _int0(value: object) -> int:
    return value if isinstance(value, int) else 0


_UPSERT: Final = """
INSERT INTO photos
    (image_id, hour, taken, position, width, height, first_seen, last_seen, reading, window_reading, misplaced)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT DO UPDATE SET
    hour = excluded.hour, taken = excluded.taken, position = coalesce(excluded.position, position),
    width = coalesce(excluded.width, width), height = coalesce(excluded.height, height),
    last_seen = excluded.last_seen, gone_since = NULL, missed = 0,
    reading = excluded.reading, window_reading = excluded.window_reading,
    misplaced = max(misplaced, excluded.misplaced)
"""
