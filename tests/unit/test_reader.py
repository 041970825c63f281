"""When a listing counts as read: every page of one total, that many ids, and two readings where anything moved."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, cast
from zoneinfo import ZoneInfo

import pytest
import trio

from ninepic_mirror.archive.files import Tree
from ninepic_mirror.archive.listings import Listings, known_photos
from ninepic_mirror.archive.manifest import Manifest
from ninepic_mirror.archive.placement import Layout
from ninepic_mirror.archive.records import Listing
from ninepic_mirror.archive.root import Root
from ninepic_mirror.archive.store import Store
from ninepic_mirror.config import Mirror
from ninepic_mirror.errors import (
    EventNotFoundError,
    FeatureOffError,
    MirrorError,
    PassingError,
    RejectedError,
)
from ninepic_mirror.model import Originals, Page, Photo, Timeline, Window
from ninepic_mirror.ninepic.limits import Limits
from ninepic_mirror.progress import Silent
from ninepic_mirror.sync.context import Context, Options
from ninepic_mirror.sync.reader import READINGS, Reader

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from ninepic_mirror.archive.records import Job
    from ninepic_mirror.ninepic.pacing import Pacer
    from ninepic_mirror.ninepic.photos import PhotoClient

HOUR = 1768777200
Script = Callable[[int, int], Page | MirrorError]


def page(first: int, last: int, total: int, *, more: bool = False) -> Page:
    """A page with the photos of these numbers."""
    rows = tuple(Photo(f"p{number}", f"https://x/{number}", None) for number in range(first, last))
    return Page(rows, total, more)


class Scripted:
    """A service that answers each page as the script says: its number, and how often it was asked for before."""

    def __init__(self, script: Script) -> None:
        self._script = script
        self.asked: list[int] = []

    async def images(self, _event_id: int, page: int, _page_size: int = 100) -> Page:
        """Answer as the script says."""
        answer = self._script(page, self.asked.count(page))
        self.asked.append(page)
        await trio.lowlevel.checkpoint()
        if isinstance(answer, MirrorError):
            raise answer
        return answer

    async def timeline_images(
        self, event_id: int, _window: Window, page: int, page_size: int = 100
    ) -> Page:
        """Answer as the script says."""
        return await self.images(event_id, page, page_size)

    async def timeline_days(self, _event_id: int) -> Timeline:
        """Not asked for here."""
        raise NotImplementedError

    async def original_photos(self, _event_id: int, _ids: Sequence[str]) -> Originals:
        """Not asked for here."""
        raise NotImplementedError


class Case:
    """A reader over an empty manifest."""

    def __init__(self, root: Path) -> None:
        self.settings = Mirror(root / "mirror", durability="none", variants=("large",))
        holder = Root(self.settings.root)
        holder.prepare(make=True)
        self.manifest = Manifest.open(root / "manifest.sqlite3", durable=False)
        self.tree = Tree(self.settings.root)
        zone = ZoneInfo("UTC")
        self.store = Store(self.tree, holder, Layout.parse(self.settings.layout), zone)
        self.jobs: list[Job] = []
        self.api = Scripted(lambda _page, _before: page(0, 0, 0))

    def reader(self, script: Script, rows: int = 100) -> Reader:
        """Return a reader of a service that follows a script, with so many rows on a page."""
        self.api = Scripted(script)
        number = self.manifest.begin_pass("quick")
        context = Context(
            456, self.settings, ZoneInfo("UTC"), self.api, cast("PhotoClient", None), cast("Pacer", None),
            self.manifest, self.store, Silent(), Options(), number, Limits(page=rows),
        )  # fmt: skip

        async def send(job: Job) -> None:
            self.jobs.append(job)

        return Reader(context, Listings(self.manifest, number, ("large",)), send)


@pytest.fixture
def case(tmp_path: Path) -> Iterator[Case]:
    """Return a reader's surroundings."""
    made = Case(tmp_path)
    yield made
    made.manifest.close()
    made.tree.close()


WINDOW = Listing(HOUR, Window(HOUR, HOUR + 3600))


async def test_one_steady_page_is_proof(case: Case) -> None:
    """A listing of one page is read once, also where totals move elsewhere."""
    reader = case.reader(lambda _page, _before: page(0, 3, 3))
    reader.moved = True
    reading = await reader.prove(WINDOW, "the hour")
    assert reading is not None
    assert (reading.distinct, case.api.asked, len(case.jobs)) == (3, [1], 3)
    assert not reader.several


async def test_several_steady_pages_are_read_once(case: Case) -> None:
    """Pages of one total that name as many photos prove a listing, and are remembered as read once."""
    reader = case.reader(lambda number, _: page(100 * number - 100, min(100 * number, 250), 250))
    assert await reader.prove(WINDOW, "the hour") is not None
    assert sorted(case.api.asked) == [1, 2, 3]
    assert list(reader.once) == [WINDOW]


async def test_what_moves_is_read_until_two_readings_agree(case: Case) -> None:
    """A total that differs between pages is no proof; two equal readings are."""

    def script(number: int, before: int) -> Page:
        total = 150 if before == 0 and number == 2 else 151
        return page(0, 100, total) if number == 1 else page(100, total, total)

    reader = case.reader(script)
    reading = await reader.prove(WINDOW, "the hour")
    assert reading is not None
    assert reading.distinct == 151
    assert reader.moved
    assert case.api.asked.count(1) == 3  # one that moved, and two that agree
    assert not reader.once


async def test_two_equal_readings_are_taken_although_the_total_lies(case: Case) -> None:
    """A total that never fits is told by the counts, and holds up no photo."""
    reader = case.reader(lambda _page, _before: page(0, 3, 5))
    assert await reader.prove(WINDOW, "the hour") is not None
    assert known_photos(case.manifest) == 3


async def test_equal_ids_in_other_rows_are_no_proof(case: Case) -> None:
    """A photo that changes its place between two pages hides another: not even twice in a row is that taken for all."""
    # p0 wanders while p2 stands on the page that is not being read, in the first two readings
    rows = [["p0", "p1"], ["p0", "p3"], ["p1", "p0"], ["p0", "p3"], ["p0", "p1"], ["p2", "p3"]]

    def script(number: int, before: int) -> Page:
        names = rows[2 * before + number - 1]
        return Page(tuple(Photo(name, None, None) for name in names), 4, has_next=number == 1)

    reader = case.reader(script, rows=2)
    reading = await reader.prove(WINDOW, "the hour")
    assert reading is not None
    assert (reading.distinct, case.api.asked.count(1)) == (4, 3)


async def test_a_listing_that_never_rests_is_a_fault(case: Case) -> None:
    """After five readings that all differ the listing is called inconsistent; every photo seen is kept."""
    reader = case.reader(lambda _page, before: page(before, before + 2, 5))
    assert await reader.prove(WINDOW, "the hour") is None
    assert "not consistent" in reader.faults[WINDOW]
    assert len(case.api.asked) == READINGS
    assert known_photos(case.manifest) == READINGS + 1


@pytest.mark.parametrize("number", [1, 2, 4])
@pytest.mark.parametrize(
    "error",
    [PassingError("500"), FeatureOffError(456, "timeline/images")],
    ids=lambda one: type(one).__name__,
)
async def test_a_page_that_cannot_be_had_is_a_fault_of_its_listing(
    case: Case, error: MirrorError, number: int
) -> None:
    """Whichever page fails for good, first or later, it is this listing's fault and not the end of the pass."""
    reader = case.reader(
        lambda one, _: error if one == number else page(100 * one - 100, 100 * one, 400)
    )
    assert await reader.prove(WINDOW, "the hour") is None
    assert str(error) in reader.faults[WINDOW]


async def test_a_later_reading_cures_a_fault(case: Case) -> None:
    """A listing that is proven in the end is no fault of the pass."""
    failing = iter([PassingError("500")])
    reader = case.reader(lambda _page, _before: next(failing, None) or page(0, 2, 2))
    assert await reader.prove(WINDOW, "the hour") is None
    assert await reader.prove(WINDOW, "the hour") is not None
    assert not reader.faults


async def test_a_listing_that_is_not_found_is_a_fault_of_its_own(case: Case) -> None:
    """A 404 of the first page is that listing's fault: the event itself was found a moment before."""
    reader = case.reader(lambda _page, _before: EventNotFoundError(456))

    assert await reader.prove(Listing(), "the list") is None
    assert "404" in reader.faults[Listing()]


async def test_a_page_past_the_end_may_be_refused(case: Case) -> None:
    """What a page past the end answers is unknown: a refusal there is an end, and the reading is repeated."""

    def script(number: int, before: int) -> Page | MirrorError:
        if number == 1:
            return page(0, 100, 150 if before == 0 else 100)
        return RejectedError("images", 400)

    reader = case.reader(script)
    reading = await reader.prove(Listing(), "the list")
    assert reading is not None
    assert (reading.distinct, reader.moved) == (100, True)


async def test_a_next_page_for_ever_ends(case: Case) -> None:
    """A service that always promises a next page is followed only while it names new photos."""
    reader = case.reader(lambda _page, _before: page(0, 2, 2, more=True))
    assert await reader.prove(WINDOW, "the hour") is not None
    assert case.api.asked == [1, 2] * (len(case.api.asked) // 2)


async def test_rows_that_are_no_photos_are_named(case: Case) -> None:
    """Rejected rows of the proven reading are kept for the report."""
    rows = Page(page(0, 1, 1).photos, 1, has_next=False, rejected=("row 2 has no id",))
    reader = case.reader(lambda _page, _before: rows)
    await reader.prove(WINDOW, "the hour")
    assert reader.rejected[WINDOW] == ["row 2 has no id"]
