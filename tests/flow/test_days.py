"""A pass over one day says that the day is whole only where the counts do not speak against it."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from ninepic_mirror.archive.files import Tree
from ninepic_mirror.archive.forgotten import Oblivion
from ninepic_mirror.archive.manifest import Manifest
from ninepic_mirror.progress import Silent
from ninepic_mirror.sandbox import Fault
from tests.remote import EVENT

if TYPE_CHECKING:
    from collections.abc import Callable

    from ninepic_mirror.sync.report import PassReport
    from tests.conftest import Bench, OpenBench

FIRST_HOUR = 1768777200  # 2026-01-18 23:00 UTC, the sandbox's first
MIDNIGHT = 1768780800
DAY = (MIDNIGHT - 86_400, MIDNIGHT)
NEXT = (MIDNIGHT, MIDNIGHT + 86_400)
MANIFEST = ".ninepic-mirror/manifest.sqlite3"


def told(report: PassReport) -> str:
    """Return what such a pass says is uncertain, empty where it calls the day whole."""
    assert report.whole == (not report.failures)
    return " ".join(one.error for one in report.failures)


def _add(bench: Bench) -> None:
    bench.sandbox.event(EVENT).add(3, hour=FIRST_HOUR)


def _switch_off(bench: Bench) -> None:
    bench.sandbox.event(EVENT).set(timeline_search=False)


def _lag(bench: Bench) -> None:
    bench.sandbox.faults.add(Fault(kind="count_lag", amount=3))


@pytest.mark.parametrize(
    ("hide", "undated", "says"),
    [
        (_switch_off, 5, "the timeline off: the service counts 63, and 60 are accounted for"),
        (_lag, 5, "in no hour: the service counts 8, and 5 are accounted for"),
        (_lag, 0, "in no hour: the service counts 3, and 0 are accounted for"),
    ],
)
async def test_new_photos_that_no_hour_lists(
    open_bench: OpenBench, hide: Callable[[Bench], None], undated: int, says: str
) -> None:
    """Whether they are of the day cannot be told: the pass says so, and costs no more; one over the event brings them."""
    async with open_bench(undated=undated) as bench:
        assert (await bench.sync()).whole
        _add(bench)
        hide(bench)
        bench.sandbox.clear_requests()
        first = await bench.sync(day=DAY)
        asked = bench.sandbox.count("api")
        second = await bench.sync(day=DAY)
        everything = await bench.sync()
        after = await bench.sync(day=DAY)

        assert says in told(first)
        assert "a sync of the whole event decides" in told(first)
        assert told(second) == told(first)
        assert asked <= 3
        assert (everything.whole, everything.downloaded) == (True, 6)
        assert (told(after), after.downloaded) == ("", 0)


async def test_a_mirror_of_one_day(open_bench: OpenBench, monkeypatch: pytest.MonkeyPatch) -> None:
    """The undated photos that were there at first keep no pass over a day from being whole; more of them do."""
    async with open_bench(undated=5) as bench:
        event = bench.sandbox.event(EVENT)
        notes: list[str] = []
        monkeypatch.setattr(Silent, "note", lambda _, text: notes.append(text))
        first = await bench.sync(day=DAY)
        event.add(2, hour=MIDNIGHT)
        event.remove(next(one.image_id for one in event.photos if one.captured is None))
        second = await bench.sync(day=DAY)
        _add(bench)
        _lag(bench)
        third = await bench.sync(day=DAY)
        bench.sandbox.faults.clear()
        fourth = await bench.sync(day=DAY)

        assert [told(first), told(second), told(fourth)] == ["", "", ""]
        assert "the service counts 7, and 4 are accounted for" in told(third)
        assert first.downloaded > 0
        assert fourth.downloaded == 6
        assert "photos in no hour: 5; a pass over a day does not look at them" in notes


async def test_a_mirror_of_one_day_whose_timeline_is_off(open_bench: OpenBench) -> None:
    """Nothing can be listed of the day then, and most of the event is unknown: no pass over a day is whole."""
    async with open_bench() as bench:
        first = await bench.sync(day=DAY)
        _switch_off(bench)
        second = await bench.sync(day=DAY)
        everything = await bench.sync()
        third = await bench.sync(day=DAY)

        assert (told(first), everything.whole, told(third)) == ("", True, "")
        assert f"the service counts 60, and {first.photos} are accounted for" in told(second)


@pytest.mark.parametrize("is_off", [False, True])
async def test_what_is_no_reason(open_bench: OpenBench, *, is_off: bool) -> None:
    """Undated photos that are known, photos that left, that are to be forgotten, and new ones of other days."""
    async with open_bench(undated=5) as bench:
        event = bench.sandbox.event(EVENT)
        undated = [one.image_id for one in event.photos if one.captured is None]
        of_day = [one.image_id for one in event.photos if (one.captured or MIDNIGHT) < MIDNIGHT]
        assert (await bench.sync()).whole
        if is_off:
            _switch_off(bench)
        known = await bench.sync(day=DAY)
        for name in (of_day[0], undated[0]):
            event.remove(name)
        left = await bench.sync(day=DAY)
        assert (await bench.sync()).whole
        gone = await bench.sync(day=DAY)
        with Tree(bench.folder) as tree, Manifest.open(bench.folder / MANIFEST) as manifest:
            oblivion = Oblivion(manifest, tree, bench.settings.layout)
            oblivion.remember([of_day[1], undated[1]])
            oblivion.finish([of_day[1], undated[1]])
        forgotten = await bench.sync(day=DAY)
        if not is_off:
            event.add(4, hour=MIDNIGHT)
        others = await bench.sync(day=DAY)

        assert "decides" in told(left)
        assert [told(one) for one in (known, gone, forgotten, others)] == [""] * 4
        assert forgotten.forgotten == 2


async def test_photos_that_got_their_hours(open_bench: OpenBench) -> None:
    """What lagged is of the day now, and one pass over the event has the last word on what is in no hour."""
    async with open_bench() as bench:
        _lag(bench)
        assert (await bench.sync()).whole
        bench.sandbox.faults.clear()
        first = await bench.sync(day=NEXT)
        everything = await bench.sync()
        second = await bench.sync(day=NEXT)

        assert "the service counts 0, and 3 are accounted for" in told(first)
        assert (everything.whole, told(second)) == (True, "")


async def test_a_tail_that_is_short(open_bench: OpenBench) -> None:
    """Photos of which no listing tells may be of the day: it is no more certain than the event is."""
    async with open_bench() as bench:
        bench.sandbox.faults.add(Fault(kind="total_lie", amount=5))
        everything = await bench.sync()
        first = await bench.sync(day=DAY)
        bench.sandbox.faults.clear()
        second = await bench.sync(day=DAY)

        assert not everything.whole
        assert "the service counts 5, and 0 are accounted for" in told(first)
        assert "decides" in told(second)
        assert (await bench.sync()).whole
        assert told(await bench.sync(day=DAY)) == ""


async def test_a_note_that_makes_no_sense(open_bench: OpenBench) -> None:
    """What the manifest says of earlier passes over a day is done without where it is damaged."""
    async with open_bench(undated=5) as bench:
        await bench.sync(day=DAY)
        with closing(sqlite3.connect(bench.folder / MANIFEST)) as opened, opened:
            opened.execute("UPDATE meta SET value = '[]' WHERE key = 'hourless'")

        assert told(await bench.sync(day=DAY)) == ""
