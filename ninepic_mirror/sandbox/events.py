"""Events made from a seed: which photos there are, when they were taken, and what happens to them later.

A listing is two arrays, twelve bytes a photo: the capture time of every serial number, and the serial numbers in the
order of the listing. Everything else about a photo is computed from its serial number when somebody asks. A table of
records was rejected: a million of them take seconds to make and a gigabyte to keep.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import overload
from urllib.parse import quote

from ninepic_mirror.sandbox.identifiers import image_id, serial_number
from ninepic_mirror.sandbox.pictures import Gallery, Shot, Sizes
from ninepic_mirror.sandbox.specs import FLAGS, HOUR, ON, UNDATED, EventSpec, capture_times, spread


@dataclass(frozen=True, slots=True)
class Photo:
    """One photo as the listing has it.

    Args:
        serial: Its number in the event, never used twice.
        image_id: Its id; for a hostile row whatever stands there, as text.
        captured: Capture time in epoch seconds, None for an undated photo.
        width: Pixels of the original.
        height: Pixels of the original.
    """

    serial: int
    image_id: str
    captured: int | None
    width: int
    height: int

    @property
    def hour(self) -> int | None:
        """Start of the UTC hour that the timeline names for it."""
        return None if self.captured is None else self.captured // HOUR * HOUR


@dataclass(frozen=True, slots=True)
class RawRow:
    """A row of the listing that is given instead of made.

    Args:
        image_id: Anything JSON can hold.
        item: Fields that stand in the answer as they are, instead of the made ones.
    """

    image_id: object
    item: Mapping[str, object]


class Photos(Sequence[Photo]):
    """The photos of an event in listing order, as they were when this was asked for."""

    def __init__(self, event: Event, order: array[int], times: array[int]) -> None:
        self._event = event
        self._order = order
        self._times = times

    def __len__(self) -> int:
        return len(self._order)

    @overload
    def __getitem__(self, index: int) -> Photo: ...
    @overload
    def __getitem__(self, index: slice[int | None, int | None, int | None]) -> list[Photo]: ...
    def __getitem__(
        self, index: int | slice[int | None, int | None, int | None]
    ) -> Photo | list[Photo]:
        if isinstance(index, slice):
            return [self._photo(serial) for serial in self._order[index]]
        return self._photo(self._order[index])

    def _photo(self, serial: int) -> Photo:
        return self._event.photo(serial, self._times[serial])


class Event:
    """One event that lives: photos arrive, leave and change their hour while it is served.

    Args:
        spec: What it is made from.
        gallery: What makes the pictures.
    """

    def __init__(self, spec: EventSpec, gallery: Gallery) -> None:
        self.spec = spec
        self.event_id = spec.event_id
        self.fields: dict[str, str | None] = {
            "name": spec.name,
            "slug": spec.slug,
            "date": spec.date,
            "status": spec.status,
        }
        self.flags = {flag: flag in ON for flag in FLAGS} | {"timeline_search": spec.timeline}
        self.flags |= spec.flags
        self.bare_originals = False  # older pages of the documentation show no envelope (API.md)
        self.added: list[int] = []  # serial numbers in the order of arrival, for counts that lag
        self._gallery = gallery
        self._key = blake2b(f"{spec.event_id}/{spec.seed}".encode(), digest_size=16).digest()
        # q: capture times before 1970 and after 2106 happen; I: four bytes hold every serial number
        self._times = array("q", capture_times(spec))
        self._order = array("I", range(len(self._times)))
        self._taken: dict[
            int, int
        ] = {}  # what the camera wrote, where the service now says otherwise
        self._gone: dict[int, bool] = {}  # removed serial → whether its files are still served
        self._versions: Counter[int] = Counter()
        self._raw: dict[int, RawRow] = {}
        self._raw_serials: dict[str, int] = {}
        self._copies = spread(spec.duplicates, spec.photos)
        self._trailing = spread(spec.trailing, spec.photos)
        self._hours = Counter(time // HOUR * HOUR for time in self._times if time != UNDATED)
        self._runners = max(7, spec.photos // 12)  # a runner is in about a dozen photos

    @property
    def photos(self) -> Photos:
        """Every photo in listing order: capture time ascending, undated last."""
        return Photos(self, self._order[:], self._times[:])

    def set(self, **changes: object) -> None:
        """Change fields (`name`, `slug`, `date`, `status`), flags or `bare_originals`.

        Raises:
            ValueError: For a name that the event does not have.
        """
        for name, value in changes.items():
            if name in self.fields:
                self.fields[name] = None if value is None else str(value)
            elif name in self.flags:
                self.flags[name] = bool(value)
            elif name == "bare_originals":
                self.bare_originals = bool(value)
            else:
                raise ValueError(f"an event has no {name}")

    def add(self, count: int = 1, hour: int | None = None) -> list[str]:
        """Let photos arrive; they are listed at their capture time, not at the end.

        Args:
            count: How many.
            hour: Any second of the UTC hour that they were taken in, None for undated ones.

        Returns:
            Their ids.
        """
        ids = []
        for _ in range(count):
            serial = len(self._times)
            self._insert(serial, self._second(serial, hour))
            ids.append(self.image_id(serial))
        return ids

    def add_raw(
        self,
        *,
        image_id: object,
        img_url: object = ...,
        thumbnail_url: object = ...,
        hour: int | None = None,
        item: Mapping[str, object] | None = None,
    ) -> None:
        """Add a row that the service should never send.

        Its photo is served under its id where that is a string; an address left out is made as for other photos.

        Args:
            image_id: Anything JSON can hold: `../../x`, None, a number.
            img_url: What stands in the row instead of the made address.
            thumbnail_url: Likewise.
            hour: Any second of the hour that lists it, None for an undated one.
            item: Fields of the row, over all others.
        """
        given = {"image_id": image_id, "img_url": img_url, "thumbnail_url": thumbnail_url}
        fields = {name: value for name, value in given.items() if value is not ...}
        serial = len(self._times)
        self._raw[serial] = RawRow(image_id, fields | dict(item or {}))
        if isinstance(image_id, str):
            self._raw_serials[image_id] = serial
        self._insert(serial, self._second(serial, hour))

    def remove(self, image_id: str, *, keep_file: bool = False) -> None:
        """Take a photo out of every listing.

        Args:
            image_id: The photo.
            keep_file: Its addresses go on answering, as a photo store does that nobody cleared.

        Raises:
            KeyError: The event has no such photo.
        """
        serial = self._known(image_id)
        self._take_out(serial)
        self._gone[serial] = keep_file

    def retime(self, image_id: str, hour: int | None) -> None:
        """Give a photo another capture time, or none; its bytes stay what they are.

        Raises:
            KeyError: The event has no such photo.
        """
        serial = self._known(image_id)
        self._taken.setdefault(serial, self._times[serial])
        self._take_out(serial)
        self._put_in(serial, self._second(serial, hour))

    def replace(self, image_id: str) -> None:
        """Put another picture under the same id, with another ETag and Last-Modified.

        Raises:
            KeyError: The event has no such photo.
        """
        self._versions[self._known(image_id)] += 1

    def body(self, image_id: str, variant: str) -> bytes:
        """Return the bytes exactly as they are served.

        Raises:
            KeyError: The event has no such photo.
        """
        return self._gallery.body(self.shot(self._served(image_id)), variant)

    def cached(self, serial: int, variant: str) -> bytes | None:
        """Return the bytes if they cost next to nothing, None where they have to be drawn."""
        return self._gallery.cheap_body(self.shot(serial), variant)

    def image_id(self, serial: int) -> str:
        """Return the id of a photo as text."""
        row = self._raw.get(serial)
        return image_id(self._key, serial) if row is None else str(row.image_id)

    def serial(self, image_id: str, *, served: bool = False) -> int | None:
        """Return the serial number behind an id, None for an unknown or removed photo.

        Args:
            image_id: The id as text.
            served: Count a removed photo whose files were kept.
        """
        serial = self._raw_serials.get(image_id)
        if serial is None:
            serial = serial_number(self._key, image_id)
        if serial is None or serial >= len(self._times):
            return None
        if serial in self._raw and self.image_id(serial) != image_id:
            return None
        gone = self._gone.get(serial)
        return serial if gone is None or (served and gone) else None

    def photo(self, serial: int, time: int | None = None) -> Photo:
        """Return what the listing knows of a photo."""
        time = self._times[serial] if time is None else time
        captured = None if time == UNDATED else time
        return Photo(serial, self.image_id(serial), captured, *self._pixels(serial))

    def item(self, serial: int, photos_url: str) -> dict[str, object]:
        """Return a photo as the service lists it (API.md, ImageItem)."""
        name = self.image_id(serial)
        path = quote(
            name, safe="", errors="surrogatepass"
        )  # an id is opaque, so it may hold anything
        width, height = self._pixels(serial)
        item: dict[str, object] = {
            "img_url": f"{photos_url}/imgs/{self.event_id}/large/{path}.jpg",
            "height": height,
            "width": width,
            "image_id": name,
            "thumbnail_url": f"{photos_url}/imgs/{self.event_id}/small/{path}.jpg",
            "original_url": None,
        }
        row = self._raw.get(serial)
        return item if row is None else item | dict(row.item)

    def bounds(self, start: int | None = None, end: int | None = None) -> tuple[int, int]:
        """Return the positions of a window in the listing; without a window, those of everything."""
        if start is None or end is None:
            return 0, len(self._order)
        # min: the window of a careless caller must not reach the undated photos
        edges = (min(start, UNDATED), min(end, UNDATED))
        low, high = (bisect_left(self._order, edge, key=self._times.__getitem__) for edge in edges)
        return low, max(low, high)

    def serial_at(self, position: int) -> int:
        """Return the serial number at a position of the listing."""
        return self._order[position]

    def hour_counts(self, *, behind: int = 0) -> dict[int, int]:
        """Return the start of every hour with photos and how many it holds, ascending.

        Args:
            behind: How many of the latest arrivals the counts do not know yet.
        """
        counts = self._hours.copy()
        # a service that counts from time to time is behind by what came last, wherever that is listed
        for serial in self._latest(behind):
            if self._times[serial] != UNDATED:
                counts[self._times[serial] // HOUR * HOUR] -= 1
        return {hour: counts[hour] for hour in sorted(counts) if counts[hour] > 0}

    def bib_serials(self, bib: str) -> list[int]:
        """Return the photos that show a bib number, in listing order; upper and lower case are one."""
        number = bib.upper().removeprefix("M")
        runner = int(number) - 1000 if number.isascii() and number.isdigit() else -1
        if not 0 <= runner < self._runners:
            return []
        # `bibs` turned round, so that no search has to look at every photo
        first = range(runner, len(self._times), self._runners)
        beside = range(2 * ((runner - 1) % self._runners), len(self._times), 2 * self._runners)
        seen = {serial for serial in (*first, *beside) if bib.upper() in self.bibs(serial)}
        return sorted(seen - set(self._gone), key=lambda serial: (self._times[serial], serial))

    def bibs(self, serial: int) -> tuple[str, ...]:
        """Return the bib numbers on a photo: one runner, on every second photo one beside."""
        runners = [serial % self._runners]
        if serial % 2 == 0:
            runners.append((serial // 2 + 1) % self._runners)
        return tuple(dict.fromkeys(f"M{1000 + runner}" for runner in runners))

    def shot(self, serial: int) -> Shot:
        """Return what a picture is made from; photos with equal bytes give equal shots."""
        # a copy is made from the photo before it, until one of them is replaced
        source = serial
        while source in self._copies and not self._versions[source]:
            source -= 1
        time = self._taken.get(source, self._times[source])
        width, height = self._pixels(source)
        return Shot(
            name=self.image_id(source),
            seed=source * 7919 + self.spec.seed * 104729 + self.event_id,
            captured=None if time == UNDATED else time + round(self.spec.utc_offset * HOUR),
            bibs=self.bibs(source),
            portrait=height > width,
            trailing=source in self._trailing,
            version=self._versions[source],
            sizes=Sizes(self.spec.thumb_kb, self.spec.large_kb, self.spec.original_mb),
            drawn=self.spec.look == "drawn",
            title=self.spec.name or f"Event {self.event_id}",
        )

    def uploaded(self, serial: int) -> int:
        """Return when a photo reached the photo store, epoch seconds: its Last-Modified."""
        shot = self.shot(serial)
        return self.spec.first_hour + 86_400 + shot.seed % 3600 + 60 * shot.version

    def _pixels(self, serial: int) -> tuple[int, int]:
        while serial in self._copies and not self._versions[serial]:
            serial -= 1
        # 3240 x 4860 are the vendor's example; one photo in three is held upright
        return (3240, 4860) if serial % 3 == 0 else (4860, 3240)

    def _latest(self, count: int) -> Iterator[int]:
        serials = range(len(self._times) - 1, -1, -1)
        living = (serial for serial in serials if serial not in self._gone)
        return (serial for _, serial in zip(range(count), living, strict=False))

    def _second(self, serial: int, hour: int | None) -> int:
        # 1201 is coprime to 3600: photos of one hour spread over its seconds
        return UNDATED if hour is None else hour // HOUR * HOUR + serial * 1201 % HOUR

    def _insert(self, serial: int, time: int) -> None:
        self._times.append(UNDATED)
        self._put_in(serial, time)
        self.added.append(serial)

    def _put_in(self, serial: int, time: int) -> None:
        self._times[serial] = time
        self._order.insert(bisect_right(self._order, time, key=self._times.__getitem__), serial)
        if time != UNDATED:
            self._hours[time // HOUR * HOUR] += 1

    def _take_out(self, serial: int) -> None:
        # equal times stand together; index then looks from the first of them on
        time = self._times[serial]
        first = bisect_left(self._order, time, key=self._times.__getitem__)
        del self._order[self._order.index(serial, first)]
        if time != UNDATED:
            self._hours[time // HOUR * HOUR] -= 1

    def _known(self, image_id: str) -> int:
        serial = self.serial(image_id)
        if serial is None:
            raise KeyError(image_id)
        return serial

    def _served(self, image_id: str) -> int:
        serial = self.serial(image_id, served=True)
        if serial is None:
            raise KeyError(image_id)
        return serial
