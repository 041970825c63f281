"""Which events `sync --all` takes, and what a day is where the clocks change."""

from __future__ import annotations

from datetime import UTC, date, datetime
from zoneinfo import ZoneInfo

import pytest

from ninepic_mirror.config import Events
from ninepic_mirror.model import Event
from ninepic_mirror.sync.selection import days_of, needs_list, select, span

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
LISTED = (
    Event(1, "Mumbai Marathon 2026", date="2026-01-18T00:00:00", status="active"),
    Event(2, "Delhi Half", date="2025-01-18T00:00:00", status="active"),
    Event(3, None, date=None, status="draft"),
    Event(4, "Pune MARATHON", date="some day", status="draft"),
)


@pytest.mark.parametrize(
    ("events", "taken"),
    [
        (Events(), [1, 2, 3, 4]),
        (Events(all=True), [1, 2, 3, 4]),
        (Events(ids=(9, 2), all=True), [9, 2, 1, 3, 4]),
        (Events(status=("active",)), [1, 2]),
        (Events(name="*marathon*"), [1, 4]),
        (Events(newer_than=90 * 86400), [1, 3, 4]),
        (Events(name="*Triathlon*"), []),
    ],
)
def test_filters(events: Events, taken: list[int]) -> None:
    """Numbers come first, filters narrow the rest, names without regard to case, unknown dates pass."""
    assert select(events, LISTED, NOW) == taken


def test_numbers_alone_need_no_list() -> None:
    """The service is asked for its events only where the answer matters."""
    assert not needs_list(Events(ids=(456,)))
    assert needs_list(Events(ids=(456,), all=True))
    assert needs_list(Events())


@pytest.mark.parametrize(
    ("zone", "day", "hours"),
    [
        ("UTC", date(2026, 1, 18), 24),
        ("Asia/Kolkata", date(2026, 1, 18), 24),
        ("Europe/Berlin", date(2026, 3, 29), 23),
        ("Europe/Berlin", date(2026, 10, 25), 25),
        ("Australia/Lord_Howe", date(2026, 10, 4), 23.5),
        ("America/Havana", date(2026, 3, 8), 23),  # midnight itself is skipped
        ("America/Havana", date(2026, 11, 1), 25),  # midnight comes twice
    ],
)
def test_days_have_their_own_length(zone: str, day: date, hours: float) -> None:
    """A day runs from midnight to midnight of its zone, whatever the clocks do in between."""
    first, last = span(day, ZoneInfo(zone))
    assert last - first == hours * 3600


@pytest.mark.parametrize("zone", ["Europe/Berlin", "America/Havana", "Australia/Lord_Howe"])
def test_days_meet(zone: str) -> None:
    """Every second of a year is in exactly one day."""
    days = [date.fromordinal(date(2026, 1, 1).toordinal() + place) for place in range(365)]
    spans = [span(day, ZoneInfo(zone)) for day in days]
    assert all(spans[place][1] == spans[place + 1][0] for place in range(364))


def test_an_hour_can_be_in_two_days() -> None:
    """An hour that midnight cuts, as in Kolkata, may hold photos of both days."""
    start = int(datetime(2026, 1, 18, 18, tzinfo=UTC).timestamp())  # 23:30 in Kolkata
    assert days_of([start], ZoneInfo("Asia/Kolkata")) == {date(2026, 1, 18), date(2026, 1, 19)}
    assert days_of([start], ZoneInfo("Asia/Tokyo")) == {date(2026, 1, 19)}


@pytest.mark.parametrize("zone", ["UTC", "Asia/Kolkata", "America/New_York"])
@pytest.mark.parametrize("day", [date.min, date.max])
def test_the_ends_of_time(zone: str, day: date) -> None:
    """The first and the last day that there are can be chosen, in every zone, and hold all of their hours."""
    there = ZoneInfo(zone)
    first = int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp())
    hours = range(first, first + 24 * 3600, 3600)
    assert day in days_of(hours, there)
    start, end = span(day, there)
    outermost = hours[0] if day == date.min else hours[-1]
    assert days_of([outermost], there) == {day}
    assert start <= outermost < end
