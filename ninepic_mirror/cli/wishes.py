"""What `sync` was asked for, and which events and hours that means. Asks the service only where it has to."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from msgspec import Struct

from ninepic_mirror.cli import mirrors
from ninepic_mirror.errors import UsageError
from ninepic_mirror.sync.selection import days_of, needs_list, select, span

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ninepic_mirror.config import Config
    from ninepic_mirror.model import Variant
    from ninepic_mirror.ninepic.client import Client


class Wishes(Struct, frozen=True):
    """What was asked for on the command line, beside settings.

    Args:
        ids: The events named.
        everything: `--all`.
        full: List every hour anew and look at every file's size.
        day: Only this day, in each event's zone.
        accept_removals: Mark photos gone even when more than a tenth of the event would go.
        flags: Of the settings, as click gives them.
        recheck: Ask whether photos were replaced.
        usual: The settings without `--variant`, None where it is not given.
    """

    ids: tuple[int, ...]
    everything: bool
    full: bool
    day: date | None
    accept_removals: bool
    flags: dict[str, object]
    usual: Config | None = None
    recheck: bool = False

    def configured(self, config: Config, event_id: int) -> tuple[Variant, ...]:
        """Return the configured variants where `--variant` leaves out some of them, else nothing.

        Without a config file the defaults are the configuration: what is asked for once is not what is wanted for ever.
        """
        if self.usual is None:
            return ()
        variants = self.usual.mirror_for(event_id).variants
        return variants if not set(variants) <= set(config.mirror_for(event_id).variants) else ()


async def chosen(client: Client, config: Config, wishes: Wishes) -> list[int]:
    """Return the events of a run.

    Raises:
        UsageError: None fits.
    """
    if wishes.ids:
        return list(wishes.ids)
    if not wishes.everything or not needs_list(config.events):
        return list(config.events.ids)
    listed = [event async for event in client.events()]
    found = select(config.events, listed, datetime.now(UTC))
    if not found:
        raise UsageError(
            f"none of the organisation's {len(listed)} events fits",
            "look at [events]: status, name, newer_than; `ninepic-mirror events` lists what there is",
        )
    return found


def known_span(config: Config, event_id: int, day: date) -> tuple[int, int] | None:
    """Return `[from, to)` of a day of which the manifest knows photos, None where it knows none."""
    zone = ZoneInfo(config.mirror_for(event_id).timezone)
    return span(day, zone) if day in days_of(mirrors.known_hours(config, event_id), zone) else None


def day_span(config: Config, event_id: int, day: date, reported: Iterable[int]) -> tuple[int, int]:
    """Return `[from, to)` of a day in the event's zone, in epoch seconds.

    Args:
        config: The settings.
        event_id: The event.
        day: As asked for.
        reported: Starts of the UTC hours that the service reports; those of the manifest count too.

    Raises:
        UsageError: The event has no photo on that day.
    """
    zone = ZoneInfo(config.mirror_for(event_id).timezone)
    days = days_of({*reported, *mirrors.known_hours(config, event_id)}, zone)
    if day not in days:
        there = ", ".join(map(str, sorted(days))) or "none: no photo has a capture time"
        text = f"event {event_id} has no photo on {day} in {zone.key}"
        raise UsageError(text, f"choose one of the days that there are: {there}")
    return span(day, zone)
