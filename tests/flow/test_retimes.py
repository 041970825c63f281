"""Photos that get another capture time while a pass reads: each ends in the hour that the service says (DESIGN §6.7)."""

from __future__ import annotations

import sqlite3
from contextlib import closing, suppress
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import pytest
import trio

from ninepic_mirror.config import Mirror
from ninepic_mirror.errors import PassingError
from ninepic_mirror.model import Page, Timeline
from ninepic_mirror.progress import Silent
from ninepic_mirror.sandbox import Fault
from ninepic_mirror.sync.context import Options
from ninepic_mirror.sync.enumerator import AGAIN
from ninepic_mirror.sync.mirror import sync_event
from tests.oracle import hours_left_short
from tests.remote import EVENT, FIRST, HOUR, Picture, Remote, session_of

if TYPE_CHECKING:
    from pathlib import Path

    from ninepic_mirror.model import Window
    from ninepic_mirror.sync.report import PassReport
    from tests.conftest import OpenBench

SECOND = FIRST + HOUR


@pytest.mark.parametrize("count", [1, 25])
async def test_photos_re_timed_during_a_pass_stand_right_after_the_next(
    open_bench: OpenBench, count: int
) -> None:
    """However often photos change their hour while they are listed, the next quiet pass has each where it belongs."""
    async with open_bench(photos=700, hours=3, thumb_kb=1) as bench:
        bench.settings = replace(bench.settings, variants=("thumbnail",), durability="none")
        bench.sandbox.faults.add(Fault(kind="move", how="retime", probability=0.3, count=count))
        await bench.sync()
        bench.sandbox.faults.clear()

        report = await bench.sync()

        assert report.whole, report.failures
        says = {photo.image_id: photo.hour for photo in bench.sandbox.event(456).photos}
        assert hours_of(bench.folder) == says
        assert (await bench.sync()).api_requests == 3


class Noting(Silent):
    """Keeps what is told to people."""

    def __init__(self, notes: list[str]) -> None:
        self._notes = notes

    def note(self, text: str) -> None:
        """See `Progress`."""
        self._notes.append(text)


@dataclass
class Case:
    """A remote and its mirror; one variant, pages of `page` rows."""

    settings: Mirror
    remote: Remote = field(default_factory=Remote)
    notes: list[str] = field(default_factory=list)
    page: int = 2

    async def sync(self, *, patient: bool = False) -> PassReport:
        """Make a pass; `notes` has what it tells people."""
        session = session_of(self.remote, self.settings, self.page)
        self.notes.clear()
        session.progress = Noting(self.notes)
        return await sync_event(session, EVENT, Options(patient=patient))

    @property
    def folder(self) -> Path:
        """The event folder."""
        (found,) = self.settings.root.glob(f"{EVENT}*")
        return found

    def change(self, statement: str) -> None:
        """Change the manifest behind the back of the program."""
        with (
            closing(sqlite3.connect(self.folder / ".ninepic-mirror/manifest.sqlite3")) as manifest,
            manifest,
        ):
            manifest.execute(statement)


@pytest.fixture
def case(tmp_path: Path) -> Case:
    """Return a remote of five photos in the first hour and one in the second, and its mirror."""
    made = Case(
        Mirror(tmp_path / "mirror", ("thumbnail",), min_free=0, durability="none", connections=2)
    )
    for number in range(5):
        made.remote.add(f"p{number}", FIRST + number)
    made.remote.add("q", SECOND)
    return made


def hours_of(folder: Path) -> dict[str, int | None]:
    """Return the hour of every listed photo, by the manifest and by where its file stands."""
    with closing(sqlite3.connect(folder / ".ninepic-mirror/manifest.sqlite3")) as manifest:
        found = manifest.execute(
            "SELECT image_id, photos.hour, path FROM photos JOIN files USING (image_id) WHERE gone_since IS NULL"
        ).fetchall()
    for _, hour, path in found:
        clock = "undated" if hour is None else f"/{hour // HOUR % 24:02}/"
        assert clock in path
        assert (folder / path).is_file()
    return {image_id: hour for image_id, hour, _ in found}


async def test_a_manifest_that_contradicts_itself_is_put_right(case: Case) -> None:
    """An hour that does not hold what its listing named, as older versions left it, is listed again by a plain sync."""
    await case.sync()
    case.change(f"UPDATE photos SET hour = {FIRST}, taken = {FIRST} WHERE image_id = 'q'")
    case.change("DELETE FROM meta WHERE key = 'agreed'")
    case.remote.calls = 0

    report = await case.sync()

    assert report.whole, report.failures
    assert hours_of(case.folder)["q"] == SECOND
    assert case.remote.calls > 3
    case.remote.calls = 0
    assert (await case.sync()).whole
    assert case.remote.calls == 3


async def test_a_pass_that_was_cut_off_while_listing_is_not_trusted(case: Case) -> None:
    """A photo that a window of a cut-off pass named is looked at again, though no count tells of it."""
    await case.sync()
    case.remote.pictures["q"].taken = FIRST + 9
    case.remote.add("r", SECOND)
    # the counts, then one page that shows the move, and no more
    case.remote.meanwhile = [None] * 5 + [lambda: setattr(case.remote, "refuses", 10_000)]
    with suppress(PassingError):
        await case.sync()
    case.remote.refuses, case.remote.meanwhile = 0, []
    case.remote.pictures["q"].taken = SECOND
    del case.remote.pictures["r"]

    report = await case.sync()

    assert report.whole, report.failures
    assert hours_of(case.folder) == dict.fromkeys(("p0", "p1", "p2", "p3", "p4"), FIRST) | {
        "q": SECOND
    }


@dataclass
class Lagging(Remote):
    """A service whose first hour still names photos that have left it."""

    ghosts: list[Picture] = field(default_factory=list)

    async def timeline_images(
        self, _event_id: int, window: Window, page: int, page_size: int = 100
    ) -> Page:
        """Answer as `Client.timeline_images`."""
        self._call()
        inside = [
            *(ghost for ghost in self.ghosts if window.start == FIRST),
            *(
                picture
                for picture in self._ordered()
                if picture.taken is not None and window.start <= picture.taken < window.end
            ),
        ]
        return self._page(inside, page, page_size)


async def test_a_photo_that_two_hours_name_is_no_endless_work(case: Case) -> None:
    """It stands in the earlier hour; the first pass is not whole and says so, the next takes it as the service's word."""
    lagging = Lagging(case.remote.pictures)
    lagging.ghosts.append(Picture("q", FIRST, "q"))
    case.remote = lagging

    first = await case.sync()
    calls = lagging.calls
    second = await case.sync()
    lagging.calls = 0
    third = await case.sync()

    assert not first.whole
    assert any("named by two hours" in one.error for one in first.failures)
    assert calls < 12 * (AGAIN + 1)
    assert (second.whole, third.whole) == (True, True)
    assert lagging.calls == 3
    assert hours_of(case.folder)["q"] == FIRST

    lagging.add(
        "z", FIRST + 2 * HOUR
    )  # another hour is listed: the two are looked at again, and stay as they were
    assert (await case.sync()).whole
    assert hours_of(case.folder)["q"] == FIRST

    lagging.ghosts.clear()
    lagging.add("y", FIRST + 2 * HOUR)
    assert (await case.sync()).whole
    assert hours_of(case.folder)["q"] == SECOND


async def test_a_lag_that_ends_is_noticed_by_the_next_pass(case: Case) -> None:
    """A photo that its old hour named a while longer stands in the new one after the next pass, though no count changed."""
    lagging = Lagging(case.remote.pictures)
    lagging.ghosts.append(Picture("q", FIRST, "q"))
    case.remote = lagging
    await case.sync()
    lagging.ghosts.clear()

    report = await case.sync()

    assert report.whole
    assert hours_of(case.folder)["q"] == SECOND


async def test_a_photo_that_lost_its_time_keeps_its_hour_in_peace(case: Case) -> None:
    """The hour that a photo is kept in holds one more than its listing names: no contradiction, no further request."""
    await case.sync()
    case.remote.pictures["q"].taken = None

    report = await case.sync()
    case.remote.calls = 0
    again = await case.sync()

    assert (report.whole, again.whole, case.remote.calls) == (True, True, 3)
    assert hours_of(case.folder)["q"] == SECOND
    case.remote.add("r", SECOND)  # nor is the kept one looked for in vain
    case.remote.calls = 0
    assert (await case.sync()).whole
    assert case.remote.calls == 3 + 1 + 2  # the counts, the hour, the counts again


class Shifting(Remote):
    """A service that moves a photo away before each listing of the first hour, and back afterwards."""

    async def timeline_images(
        self, event_id: int, window: Window, page: int, page_size: int = 100
    ) -> Page:
        """Answer as `Client.timeline_images`."""
        if page == 1:
            self.pictures["q"].taken = window.start
        return await super().timeline_images(event_id, window, page, page_size)


async def test_what_never_rests_is_not_whole(case: Case) -> None:
    """A photo that is re-timed by every request ends the pass after a few rounds, not whole, and with every photo here."""
    case.remote = Shifting(case.remote.pictures)

    report = await case.sync()

    assert not report.whole
    assert report.present == 6
    assert case.remote.calls < 100


async def test_an_hour_that_the_last_word_takes_a_photo_from_is_listed_again(case: Case) -> None:
    """Where counts lag and all of `/images` tells that a photo left, its hour may hold another one by now."""
    for number in range(20):  # so that the one that leaves is no tenth of the event
        case.remote.add(f"k{number:02}", FIRST + 2 * HOUR)
    await case.sync()
    case.remote.lags = [case.remote.counted()]
    del case.remote.pictures["p0"]
    case.remote.pictures["q"].taken = FIRST + 9

    report = await case.sync()

    assert report.whole, report.failures
    assert hours_left_short(case.folder) == []
    assert hours_of(case.folder)["q"] == FIRST


async def test_an_hour_that_reports_too_many_is_named(case: Case) -> None:
    """An hour that lists fewer photos than reported is told of, and listed by every sync; nothing lacks, so it is whole."""
    await case.sync()
    hours = case.remote.counted().hours
    case.remote.lags = [Timeline({**hours, SECOND: 3})] * 4
    case.remote.calls = 0

    report = await case.sync()

    assert report.whole, report.failures
    (note,) = case.notes
    assert "2026-01-19 00:00 UTC: the service reports 3 photos and lists 1" in note
    assert (await case.sync()).whole
    assert case.remote.calls == 2 * (3 + 1 + 2)


class Slow(Remote):
    """A service of which the other hours answer only once the first was read, and that changes in between."""

    def __init__(self) -> None:
        super().__init__()
        self.first_was_read = trio.Event()

    async def timeline_images(
        self, event_id: int, window: Window, page: int, page_size: int = 100
    ) -> Page:
        """Answer as `Client.timeline_images`."""
        if window.start != FIRST:
            await self.first_was_read.wait()
        answer = await super().timeline_images(event_id, window, page, page_size)
        if window.start == FIRST and not self.first_was_read.is_set():
            self.pictures["q"].taken = FIRST + 61
            self.add("new", FIRST + 2 * HOUR + 9)
            self.first_was_read.set()
        return answer


async def test_a_photo_that_slips_behind_the_reading_is_not_lost(case: Case) -> None:
    """Re-timed into an hour that was read, out of one that was not, while another photo makes up for it in the total."""
    slow = Slow()
    slow.pictures = case.remote.pictures
    slow.add("k", SECOND + 5)
    slow.add("z", FIRST + 2 * HOUR)
    case.remote, case.page = slow, 100

    report = await case.sync()

    assert report.whole, report.failures
    assert hours_of(case.folder).keys() == slow.pictures.keys()
    assert hours_of(case.folder)["q"] == FIRST


async def test_an_upload_that_the_counts_do_not_show_yet_is_not_lost(case: Case) -> None:
    """The timeline lags by one upload, and another one makes up for it in the total while the pass reads."""
    case.page = 100
    await case.sync()
    case.remote.lags = [case.remote.counted()]
    case.remote.add("late", FIRST + 50)
    case.remote.meanwhile = [None, None, None, lambda: case.remote.add("new", SECOND + 200)]

    report = await case.sync()

    assert report.whole, report.failures
    assert hours_of(case.folder).keys() == case.remote.pictures.keys()


async def calls_of(case: Case, *, patient: bool) -> int:
    """Return how many API requests a pass costs."""
    case.remote.calls = 0
    await case.sync(patient=patient)
    return case.remote.calls


async def test_what_contradicts_itself_for_good_is_listed_ever_less_by_the_daemon(
    case: Case,
) -> None:
    """An hour and a total that report too many are listed by every typed pass, by a patient one after a growing pause."""
    await case.sync()
    right = case.remote.counted().hours
    wrong = Timeline({**right, SECOND: right[SECOND] + 1})
    case.remote.lags = [wrong] * 100
    listing = 3 + 1 + 2  # the counts, the hour, the counts again
    await case.sync(patient=True)
    assert await calls_of(case, patient=True) == 3
    assert await calls_of(case, patient=False) == listing
    assert await calls_of(case, patient=True) == 3
    case.change(
        f"UPDATE meta SET value = json_replace(value, '$.\"{SECOND}\"[2]', 0) WHERE key = 'contradictions'"
    )
    assert await calls_of(case, patient=True) == listing  # the pause is over
    case.remote.lags = [Timeline({**right, SECOND: right[SECOND] + 2})] * 100
    assert await calls_of(case, patient=True) == listing  # it reports something else
    case.remote.lags.clear()
    report = await case.sync(patient=True)
    assert report.whole, report.failures
    assert await calls_of(case, patient=True) == 3


@dataclass
class Boasting(Remote):
    """A service whose total is too high for good."""

    async def images(self, event_id: int, page: int, page_size: int = 100) -> Page:
        """Answer as `Client.images`."""
        answer = await super().images(event_id, page, page_size)
        return Page(answer.photos, answer.total + 3, has_next=answer.has_next)


async def test_a_total_that_is_wrong_for_good_is_listed_ever_less_by_the_daemon(case: Case) -> None:
    """Such an event is never whole, and says so each time; all of it is listed by a patient pass after a pause only."""
    case.remote = Boasting(case.remote.pictures)
    first = await case.sync(patient=True)
    costs = await calls_of(case, patient=False)
    assert costs > 6
    assert await calls_of(case, patient=True) < costs
    again = await case.sync(patient=True)
    assert (first.whole, again.whole) == (False, False)
    assert "3 more photos" in again.failures[-1].error
