"""Which events `sync --all` takes, and what `--day` means. Decisions only."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Final

from ninepic_mirror.archive.placement import local_time, parts

if TYPE_CHECKING:
    from collections.abc import Iterable
    from zoneinfo import ZoneInfo

    from ninepic_mirror.config import Events
    from ninepic_mirror.model import Event

# The first and last moments that datetime knows, in epoch seconds: 0001-01-01 and the end of 9999-12-31.
_FIRST: Final = int(datetime(1, 1, 1, tzinfo=UTC).timestamp())
_END: Final = int(datetime(9999, 12, 31, tzinfo=UTC).timestamp()) + 86400


def needs_list(events: Events) -> bool:
    """Say whether the service has to be asked which events there are: numbers alone need no question."""
    # `--all` without any [events] means what it says; with numbers alone it means those.
    return events.all or not events.ids


def select(events: Events, listed: Iterable[Event], now: datetime) -> list[int]:
    """Return the numbers of the events that `[events]` takes: those named, and those listed that fit.

    Args:
        events: The section; without numbers and without `all` it means every event.
        listed: What the service lists; empty where `needs_list` says no.
        now: With a zone.
    """
    fitting = [event.event_id for event in listed if fits(events, event, now)]
    return list(dict.fromkeys([*events.ids, *fitting]))


def fits(events: Events, event: Event, now: datetime) -> bool:
    """Say whether a listed event passes the filters.

    An event whose date is missing or cannot be read passes `newer_than`: a mirror too many costs disk, one too few
    costs photos.
    """
    if events.status and event.status not in events.status:
        return False
    if events.name and not fnmatchcase((event.name or "").casefold(), events.name.casefold()):
        return False
    if events.newer_than is None or event.date is None:
        return True
    try:
        day = datetime.fromisoformat(event.date).date()
    except ValueError:
        return True
    # A date has no zone (API.md): the widest reading of it counts.
    return day >= (now - timedelta(seconds=events.newer_than)).date() - timedelta(days=1)


def span(day: date, zone: ZoneInfo) -> tuple[int, int]:
    """Return `[from, to)` of a day in its zone, in epoch seconds: 23 or 25 hours where the clocks change."""
    # Cameras and services do say such years (API.md). What lies beyond has no local time, and counts by its UTC day
    # as its folder does (`placement.local_time`).
    if day == date.max:
        return _midnight(day, zone), _END
    # Where midnight is skipped, fold=0 reads it with the old offset, which is the very moment of the change; where
    # it comes twice, the first (PEP 495). Wall-clock arithmetic on the date, not 24 hours.
    first = _midnight(day, zone) if day > date.min else min(_FIRST, _midnight(day, zone))
    return first, _midnight(day + timedelta(days=1), zone)


def _midnight(day: date, zone: ZoneInfo) -> int:
    return int(datetime(day.year, day.month, day.day, tzinfo=zone).timestamp())


def days_of(starts: Iterable[int], zone: ZoneInfo) -> set[date]:
    """Return the days in the zone that may hold photos of these UTC hours."""
    # Both parts of an hour that midnight cuts: what is in which is known only after listing.
    return {
        local_time(zone, window.start).date() for start in starts for window in parts(zone, start)
    }
