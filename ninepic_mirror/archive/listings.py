"""The listing side of a manifest: photos, their hours, and what each reading of a window named.

A *reading* is one run through all pages of one listing; readings are numbered on and on in one manifest. A photo row
keeps the last reading that named it, so that repeated rows, photos that moved and photos that left are told apart in
constant memory, however long the listing is.
"""

from __future__ import annotations

import re
from functools import cached_property
from typing import TYPE_CHECKING, Final, NamedTuple
from urllib.parse import urlsplit

import xxhash
from msgspec import Struct

from ninepic_mirror.archive.claims import Claims, Place
from ninepic_mirror.archive.forgotten import Veil, is_pseudonym
from ninepic_mirror.archive.manifest import Manifest, Row, now
from ninepic_mirror.archive.patience import IS_RESTING, clock
from ninepic_mirror.archive.records import Hour, Job
from ninepic_mirror.model import VARIANTS, Known

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from ninepic_mirror.archive.records import Listing
    from ninepic_mirror.model import Photo, Variant, Window

_DIGEST_MODULUS: Final = 1 << 128
# An address of which the careful way keeps every character: no query, no fragment, no user, nothing to be normalised.
_PLAIN: Final = re.compile(r"https?://[a-z0-9.:-]+/[A-Za-z0-9._~%/+,=-]*")


class Recorded(Struct, frozen=True):
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


class _Known(Struct, gc=False):
    """A photo row as it was before a page, with the last reading of any listing that named it."""

    place: Place
    reading: int


class _File(NamedTuple):
    """A file's row, as far as a listing may change it."""

    state: str | None = None
    path: str | None = None
    url: str | None = None
    sha256: str | None = None
    queued: int | None = None
    rests: int | None = None
    etag: str | None = None
    last_modified: str | None = None
    doubted: int = 0


_NEW: Final = _File()


class Listings:
    """Records pages and proven listings for one pass.

    Args:
        manifest: Open; every method runs in transactions of its own.
        number: The pass.
        variants: The configured ones, in order.
        patient: Leave files alone that could not be had lately (`patience`).
        recheck: Also yield present files whose address is not stored, to ask whether their photo was replaced.

    Attributes:
        claims: Which windows of the pass name photos that another one has.
        left: Hours that lost a photo to another one, or to the list of all photos, and were not listed since: they may
            still name it, and what the service reports for them may lag.
        returned: Whether photos came back of which files of other variants may lie somewhere.
    """

    def __init__(
        self,
        manifest: Manifest,
        number: int,
        variants: tuple[Variant, ...],
        *,
        patient: bool = False,
        recheck: bool = False,
    ) -> None:
        self._manifest, self._pass, self._variants = manifest, number, variants
        self._recheck = recheck
        self._clock = clock(patient=patient)
        self._readings = 0  # begun in this pass
        self._dateless: set[int] = set()  # readings of this pass that are of no window
        self.claims = Claims(manifest)
        self.left: set[int] = set()
        self.returned = False

    @cached_property
    def _veil(self) -> Veil:
        """Which photos are to be forgotten. Looked up when it is needed: by then the pass has read it from the disk."""
        return Veil.of(self._manifest)

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
            photos = self._veil.over(photos)
            ids = [photo.image_id for photo in photos]
            known = self._known(ids)
            named = self._named(listing, reading, ids, known)
            taken = {image_id: one.place.taken for image_id, one in known.items()}
            digest = distinct = 0
            rows: list[Row] = []
            for order, photo in enumerate(photos, position):
                if photo.image_id in named:
                    continue  # a repeated row
                named.add(photo.image_id)
                distinct += 1
                digest += xxhash.xxh3_128_intdigest(photo.image_id.encode())
                row = self._row(listing, reading, order, photo, known.get(photo.image_id))
                rows.append(row)
                taken[photo.image_id] = _int(row[2])
            self._manifest.change_each(_UPSERT, rows)
            jobs = tuple(self._jobs({photo.image_id: photo for photo in photos}, taken))
        return Recorded(distinct, len(photos) - distinct, digest % _DIGEST_MODULUS, jobs)

    def _known(self, ids: Sequence[str]) -> dict[str, _Known]:
        found = self._manifest.rows(
            "SELECT image_id, hour, taken, position, window_reading, reading FROM photos"
            f" WHERE image_id IN ({_marks(ids)})",
            ids,
        )
        return {
            str(row[0]): _Known(
                Place(_int(row[1]), _int(row[2]), _int(row[3]), _int0(row[4])), _int0(row[5])
            )
            for row in found
        }

    def _named(
        self, listing: Listing, reading: int, ids: Sequence[str], known: Mapping[str, _Known]
    ) -> set[str]:
        """Return the photos that earlier pages of this reading have named."""
        window = listing.window
        if window is None:
            self._dateless.add(reading)
            return {image_id for image_id, one in known.items() if one.reading == reading}
        # Not by `reading`: the window of another hour, read at the same time, may have named it since.
        own = {
            image_id
            for image_id, one in known.items()
            if one.place.reading == reading and _is_in(one.place.taken, window)
        }
        return own | self.claims.named(ids, window, reading)

    def _row(
        self, listing: Listing, reading: int, order: int, photo: Photo, before: _Known | None
    ) -> Row:
        """Decide the place of one row, and return the values of its upsert."""
        was = None if before is None else before.place
        place = self._place(listing, reading, order, photo.image_id, was)
        moved = was is not None and was.taken != place.taken
        return (
            photo.image_id, place.hour, place.taken, place.position, photo.width, photo.height, now(), now(), reading,
            place.reading, int(moved),
        )  # fmt: skip

    def _place(
        self, listing: Listing, reading: int, order: int, image_id: str, was: Place | None
    ) -> Place:
        """Decide where a photo belongs that a listing names.

        An hour once known is kept unless another window names the photo (DESIGN §6.7). Where two windows of one pass
        name it, the earlier has it as long as it names it; `claims` remembers the other.
        """
        if listing.window is None:
            if was is None or was.taken is None:
                return Place(None, None, order, 0)
            return was
        here = Place(listing.hour, listing.window.start, order, reading)
        if was is None or was.taken is None or _is_in(was.taken, listing.window):
            return here
        if was.position is not None and was.reading >= self._first:
            has, claims = sorted((was, here), key=lambda place: place.taken or 0)
            self.claims.add(image_id, claims)
            return has
        if was.position is not None and was.hour is not None and was.hour != here.hour:
            self._lost(was.hour)
        return here

    def _lost(self, hour: int, photos: int = 1) -> None:
        """Photos counted for `hour` are not there: the hour now lists fewer, so it will be looked at."""
        self.left.add(hour)
        self._manifest.change(
            "UPDATE hours SET listed = listed - ? WHERE start = ? AND pass < ?",
            [photos, hour, self._pass],
        )

    def _jobs(self, photos: dict[str, Photo], taken: Mapping[str, int | None]) -> Iterator[Job]:
        """Make sure that every photo has its file rows; yield those that are to be fetched in this pass."""
        ids = list(photos)
        found = self._manifest.rows(
            f"SELECT image_id, variant, state, path, url, sha256, queued, {IS_RESTING}, etag, last_modified, doubted FROM files"
            f" WHERE image_id IN ({_marks(ids)})",
            [self._clock, *ids],
        )
        rows = {(row[0], row[1]): _File(*row[2:]) for row in found}  # type: ignore[arg-type]  # by the schema
        # What came back of other variants is had again if it still lies somewhere, but not fetched (`to_give_back`).
        returned = [
            key
            for key, old in rows.items()
            if key[1] not in self._variants and old.state == "gone" and old.path is not None
        ]
        self.returned = self.returned or bool(returned)
        self._manifest.change_each(
            "UPDATE files SET state = 'pending', queued = 0 WHERE image_id = ? AND variant = ?",
            returned,
        )
        changes: list[Row] = []
        for image_id, photo in photos.items():
            for variant in self._variants:
                old = rows.get((image_id, variant), _NEW)
                url = photo.url(variant)
                kept = storable(url)
                state, queued, is_wanted = self._decide(
                    image_id, old, can_ask=bool(url) and not kept
                )
                if is_wanted or (state, kept) != (old.state, old.url):
                    changes.append((image_id, variant, kept, state, queued))
                if is_wanted:
                    known = Known(old.etag, old.last_modified) if state == "present" else None
                    yield Job(
                        image_id, variant, taken[image_id], url, photo.width, photo.height, old.path, old.sha256, known, bool(old.doubted)
                    )  # fmt: skip
        self._manifest.change_each(
            "INSERT INTO files (image_id, variant, url, state, queued) VALUES (?, ?, ?, ?, ?)"
            " ON CONFLICT DO UPDATE SET url = excluded.url, state = excluded.state, queued = excluded.queued",
            changes,
        )

    def _decide(
        self, image_id: str, old: _File, *, can_ask: bool
    ) -> tuple[str | None, int | None, bool]:
        """Return what a file's row is to say: its state, the last pass that asks for it, and whether this one does.

        Args:
            image_id: Its photo.
            old: The row.
            can_ask: The listing gives an address that is not stored: a recheck knows it from here only.
        """
        if is_pseudonym(image_id):
            return "forgotten", self._pass, False
        if old.state == "present" and self._recheck and can_ask and old.queued != self._pass:
            return "present", self._pass, True
        # Already on its way, perhaps by an older address: the next pass has the new one.
        is_under_way = old.state not in {None, "gone"} and old.queued == self._pass
        if old.state in {"present", "forgotten"} or old.rests or is_under_way:
            return old.state, old.queued, False
        return "pending", self._pass, True

    def prove(self, listing: Listing, reading: int) -> None:
        """A reading of `listing` was whole: mark the photos that belong to it and that it does not name any more.

        A photo that another listing of this pass has named is not missed; when in doubt, it is kept.
        """
        with self._manifest.transaction():
            if listing.window is not None:
                self._give_up(listing.window, reading)
            elif listing.offset:
                self._manifest.change(
                    f"{_MISS} AND missed = 0 AND taken IS NULL AND reading < ?", [reading]
                )
            else:
                unnamed = "reading < ? AND window_reading < ?"
                values = [reading, self._first]
                for hour, photos in self._manifest.rows(
                    "SELECT hour, count(position) FROM photos WHERE gone_since IS NULL AND missed = 0"
                    f" AND hour IS NOT NULL AND {unnamed} GROUP BY hour HAVING count(position) > 0",
                    values,
                ):
                    self._lost(_int0(hour), _int0(photos))
                self._manifest.change(f"{_MISS} AND missed = 0 AND {unnamed}", values)

    def _give_up(self, window: Window, reading: int) -> None:
        """What a window does not name any more belongs to another one that does, or is missed."""
        self.claims.give_up(window, reading)
        lists = sorted(self._dateless)
        self._manifest.change(
            # No position: the hour is only kept. What was only kept before is not the window's to miss.
            "UPDATE photos SET position = NULL,"
            f" missed = missed OR (position IS NOT NULL AND reading NOT IN ({_marks(lists)}))"
            " WHERE gone_since IS NULL AND taken >= ? AND taken < ? AND window_reading < ?",
            [*lists, window.start, window.end, reading],
        )

    def note_hour(self, start: int, hour: Hour) -> None:
        """Record that an hour was listed whole in this pass."""
        with self._manifest.transaction():
            self._manifest.change(
                "INSERT OR REPLACE INTO hours VALUES (?, ?, ?, ?, ?, ?, ?)",
                [start, hour.reported, hour.listed, now(), hour.repeated, hour.cut, self._pass],
            )
        self.left.discard(start)


def hours(manifest: Manifest) -> dict[int, Hour]:
    """Return what is known of each hour, by its start."""
    found = manifest.each("SELECT start, reported, listed, repeated, cut FROM hours")
    return {_int0(start): Hour(*map(_int0, rest)) for start, *rest in found}


def repeated_in_hours(manifest: Manifest) -> int:
    """Count the rows of the hours' last listings that named a photo again."""
    return manifest.count("SELECT sum(repeated) FROM hours")


def unaddressed(
    manifest: Manifest, variants: Sequence[Variant] = VARIANTS, *, patient: bool = False
) -> frozenset[int | None]:
    """Return the hours (None: undated) of wanted files whose address must be asked for again.

    An address that needs its query is not stored (DESIGN §5), so a later pass knows it only from the listing; and one
    by which a file could not be had may have been changed by the service. But an original's is leased, whatever the
    listing says.

    Args:
        manifest: The manifest.
        variants: The configured ones: what is wanted of another is left alone, and must not be asked for for ever.
        patient: Not of files that could not be had lately.
    """
    found = manifest.rows(
        "SELECT DISTINCT photos.hour FROM files JOIN photos USING (image_id)"
        " WHERE state IN ('pending', 'failed') AND (state = 'failed' OR files.url IS NULL) AND photos.gone_since IS NULL"
        f" AND variant IN ({_marks(variants)}) AND variant <> 'original' AND NOT {IS_RESTING}",
        [*variants, clock(patient=patient)],
    )
    return frozenset(_int(row[0]) for row in found)


def is_addressed(manifest: Manifest, variants: Sequence[Variant]) -> bool:
    """Whether the address of every file that is here is stored, or leased; if not, a listing must give it anew."""
    return not manifest.rows(
        "SELECT 1 FROM files JOIN photos USING (image_id) WHERE state = 'present' AND url IS NULL"
        f" AND gone_since IS NULL AND variant IN ({_marks(variants)}) AND variant <> 'original' LIMIT 1",
        variants,
    )


def any_present(manifest: Manifest, origin: str, but: str) -> str | None:
    """Return the address of any file that is here, another one each time; None where none is known.

    Not an original's: those do not live long. Of a thousand only, because a whole event takes a while to look at.

    Args:
        manifest: The manifest.
        origin: How the address begins, if there is one that does.
        but: Not this address.
    """
    found = manifest.rows(
        "SELECT url FROM (SELECT url FROM files WHERE state = 'present' AND variant <> 'original'"
        " AND url IS NOT NULL AND url <> ? LIMIT 1000)"
        " ORDER BY substr(url, 1, length(?)) = ? DESC, random() LIMIT 1",
        [but, origin, origin],
    )
    return str(found[0][0]) if found else None


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


def _is_in(taken: int | None, window: Window) -> bool:
    return taken is not None and window.start <= taken < window.end


def _marks(values: Sequence[object]) -> str:
    return ",".join("?" * len(values))


def _int(value: object) -> int | None:
    return value if isinstance(value, int) else None


def _int0(value: object) -> int:
    return value if isinstance(value, int) else 0


_MISS: Final = """
UPDATE photos SET missed = 1, position = CASE WHEN taken IS NULL THEN position END WHERE gone_since IS NULL
"""
_UPSERT: Final = """
INSERT INTO photos
    (image_id, hour, taken, position, width, height, first_seen, last_seen, reading, window_reading, misplaced)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT DO UPDATE SET
    hour = excluded.hour, taken = excluded.taken, position = excluded.position,
    width = coalesce(excluded.width, width), height = coalesce(excluded.height, height),
    last_seen = excluded.last_seen, gone_since = NULL, missed = 0,
    reading = excluded.reading, window_reading = excluded.window_reading,
    misplaced = max(misplaced, excluded.misplaced)
"""
