"""Reads one listing page by page until it is proven, recording every page on the way (DESIGN §6.4).

A listing is proven when every page of a reading told the same total and that many distinct ids were seen. Where the
totals moved in this pass that is not enough: one photo may have left and another come between two pages, with equal
totals and distinct ids; then two readings in a row must name the same ids. Two equal readings are also taken as they
are when the total never fits (API.md, What follows for a mirror), but only when they are equal row by row: where a
photo changes its place between two pages one row stands twice and another nowhere, and that may happen to both.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Final

import trio
import xxhash
from msgspec import Struct, field

from ninepic_mirror.errors import (
    EventNotFoundError,
    FeatureOffError,
    PassingError,
    RejectedError,
)
from ninepic_mirror.model import Page
from ninepic_mirror.sync.session import unwrapped

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from ninepic_mirror.archive.listings import Listings
    from ninepic_mirror.archive.records import Job, Listing
    from ninepic_mirror.sync.context import Context

READINGS: Final = 5  # of one listing, before it is called inconsistent (RELIABILITY N14)
_AHEAD: Final = 4  # pages of one listing asked for at a time: bounds the memory of a reading
_MOST_PAGES: Final = 100_000  # ten million photos: where a total that lies is no longer followed
_NO_PAGE: Final = Page((), -1, has_next=False)


class Reading(Struct):
    """One run through all pages of a listing.

    Args:
        number: In the manifest.
        due: Rows from the listing's first page on, by the total of that page.
        steady: Every page reported the same total.
        rows: A hash of all rows in their order, repeated ones too.
    """

    number: int
    due: int = 0
    steady: bool = True
    pages: int = 0
    distinct: int = 0
    repeated: int = 0
    digest: int = 0
    rejected: list[str] = field(default_factory=list)
    traces: Counter[str] = field(default_factory=Counter)
    rows: xxhash.xxh3_128 = field(default_factory=xxhash.xxh3_128)

    @property
    def is_exact(self) -> bool:
        """Every page told the same total, and that many distinct ids were seen."""
        return self.steady and self.distinct == self.due

    def agrees_with(self, other: Reading | None) -> bool:
        """Whether two readings name the same ids; where the total does not fit, also in the same rows."""
        return (
            other is not None
            and (self.distinct, self.digest) == (other.distinct, other.digest)
            and (self.is_exact or self.rows.digest() == other.rows.digest())
        )


class Reader:
    """Reads the listings of one pass.

    Args:
        context: The pass.
        listings: The manifest's listing side.
        send: Takes each job; it may wait.

    Attributes:
        moved: A total or count moved in this pass.
        several: A listing of several pages was read in this pass.
        once: Listings of several pages that rest on a single reading.
        faults: What could not be read or proven, one line each, for people, by listing; a later reading may cure it.
        rejected: Rows without a usable id, one line each, by listing.
        traces: What is known of each of those rows, by listing.
    """

    def __init__(
        self, context: Context, listings: Listings, send: Callable[[Job], Awaitable[None]]
    ) -> None:
        self._context, self._listings, self._send = context, listings, send
        self._size = context.limits.page
        self.moved = self.several = False
        self.once: dict[Listing, Reading] = {}
        self.faults: dict[Listing, str] = {}
        self.rejected: dict[Listing, list[str]] = {}
        self.traces: dict[Listing, Counter[str]] = {}

    async def prove(self, listing: Listing, name: str) -> Reading | None:
        """Read a listing until it is proven, and mark what it no longer names.

        Args:
            listing: What to read.
            name: The same for people.

        Returns:
            The reading that proved it, None when it could not be read or proven: then `faults` says why.
        """
        previous = self.once.pop(listing, None)
        try:
            for _ in range(READINGS):
                reading = await self._read(listing)
                agreed = reading.agrees_with(previous)
                if agreed or (reading.is_exact and (reading.pages == 1 or not self.moved)):
                    return await self._accept(listing, reading, agreed=agreed)
                self.moved = self.moved or not reading.steady
                previous = reading
        except (PassingError, RejectedError, FeatureOffError, EventNotFoundError) as error:
            # The event itself was found a moment ago, so a 404 is this listing's. A timeline that is switched off meanwhile keeps every known hour, too (RELIABILITY N18).
            self.faults[listing] = f"{name} could not be listed: {error}"
        else:
            self.faults[listing] = (
                f"{name} is not consistent: {READINGS} readings named different photos"
            )
        return None

    def nameless(self) -> list[str]:
        """Return the rows without a usable id, each once however many listings name it."""
        rows: Counter[str] = Counter()
        for found in self.traces.values():
            rows |= found  # two that look alike are two where one listing names both
        return [f"a photo of the listing has no usable id: {row}" for row in rows.elements()]

    async def take_as_empty(self, listing: Listing) -> Reading:
        """Take a listing as read that the counts say is empty, and mark what it named before."""
        reading = Reading(await self._context.in_manifest(self._listings.next_reading))
        return await self._accept(listing, reading, agreed=True)

    async def _accept(self, listing: Listing, reading: Reading, *, agreed: bool) -> Reading:
        await self._context.in_manifest(self._listings.prove, listing, reading.number)
        self.rejected[listing], self.traces[listing] = reading.rejected, reading.traces
        self.faults.pop(listing, None)
        if reading.pages > 1:
            self.several = True
            if not agreed:
                self.once[listing] = reading
        return reading

    async def _read(self, listing: Listing) -> Reading:
        reading = Reading(await self._context.in_manifest(self._listings.next_reading))
        number = listing.offset // self._size + 1
        page = await self._page(listing, number)
        total, stop = page.total, number + _MOST_PAGES
        reading.due = max(0, total - listing.offset)
        await self._take(listing, reading, number, page)
        last = -(-total // self._size)
        barren = 0
        number += 1
        while barren < 2 and number < stop and (number <= last or (page.has_next and not barren)):
            group = range(number, min(number + _AHEAD, max(last, number) + 1))
            for number, page in zip(group, await self._pages(listing, group), strict=True):
                reading.steady &= page.total == total
                fresh = await self._take(listing, reading, number, page)
                barren = 0 if fresh else barren + 1
            number += 1
        return reading

    async def _pages(self, listing: Listing, numbers: range) -> list[Page]:
        pages = dict.fromkeys(numbers, _NO_PAGE)

        async def fetch(number: int) -> None:
            pages[number] = await self._page(listing, number)

        with unwrapped():  # `prove` looks at the error itself
            async with trio.open_nursery() as nursery:
                for number in numbers:
                    nursery.start_soon(fetch, number)
        return list(pages.values())

    async def _page(self, listing: Listing, number: int) -> Page:
        api, event_id = self._context.api, self._context.event_id
        try:
            if listing.window is None:
                return await api.images(event_id, number, self._size)
            return await api.timeline_images(event_id, listing.window, number, self._size)
        except (EventNotFoundError, RejectedError):
            # What a page past the end answers is unknown (API.md); the listing may have shrunk meanwhile.
            if number == listing.offset // self._size + 1:
                raise
            return _NO_PAGE

    async def _take(self, listing: Listing, reading: Reading, number: int, page: Page) -> int:
        """Record a page and send its jobs on; return how many photos were new to the reading."""
        position = (number - 1) * self._size
        recorded = await self._context.in_manifest(
            self._listings.record, listing, reading.number, position, page.photos
        )
        reading.rows.update(repr([photo.image_id for photo in page.photos]).encode())
        reading.pages += 1
        reading.distinct += recorded.distinct
        reading.repeated += recorded.repeated
        reading.digest = (reading.digest + recorded.digest) % (1 << 128)
        reading.rejected += page.rejected
        reading.traces.update(page.traces)
        jobs = [job for job in recorded.jobs if self._context.wants(job.taken)]
        self._context.progress.expect(len(jobs))
        for job in jobs:
            await self._send(job)
        return recorded.distinct
