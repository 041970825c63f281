"""What has to be listed anew: a plain decision from what the service reports and what the manifest knows.

Counts are cheap to ask for and say for each hour whether something changed; only what differs is listed (DESIGN §6.3).
That counts alone cannot show every change (API.md, end) is what full passes are for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct, field

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from ninepic_mirror.archive.records import Hour


class Remote(Struct, frozen=True):
    """What the service reports.

    Args:
        hours: Start of a UTC hour → photos, None while the timeline is switched off.
        total: All photos of the event.
    """

    hours: Mapping[int, int] | None
    total: int

    @property
    def undated(self) -> int:
        """Photos in no window; never negative, whatever the counts say."""
        return max(0, self.total - self.dated)

    @property
    def dated(self) -> int:
        """Photos in the timeline."""
        return sum(self.hours.values()) if self.hours is not None else 0


class Tail(Struct, frozen=True):
    """How a listing by `/images` went: the undated tail, or the whole event."""

    reported: int
    listed: int
    repeated: int


class Known(Struct, frozen=True):
    """What the manifest knows.

    Args:
        hours: By their start.
        undated: The last listing of the undated tail, None when there was none.
        event: The last listing of the whole event, likewise.
        unaddressed: Hours (None: undated) that hold wanted files without a stored address.
        doubtful: Hours that do not hold the photos which their last listing named.
        resting: Hours that list less than the service reports, and need not be listed for that yet → what it reported.
    """

    hours: Mapping[int, Hour] = field(default_factory=dict)
    undated: Tail | None = None
    event: Tail | None = None
    unaddressed: frozenset[int | None] = frozenset()
    doubtful: frozenset[int] = frozenset()
    resting: Mapping[int, int] = field(default_factory=dict)


class Plan(Struct, frozen=True):
    """What to list.

    Args:
        hours: Starts of UTC hours, ascending.
        undated: The tail of `/images` behind the dated photos.
        event: All of `/images`.
    """

    hours: tuple[int, ...] = ()
    undated: bool = False
    event: bool = False

    def __bool__(self) -> bool:
        return bool(self.hours or self.undated or self.event)


def make_plan(
    known: Known,
    remote: Remote,
    cut: Callable[[int], int],
    *,
    everything: bool = False,
    done: Mapping[int | None, int] | None = None,
) -> Plan:
    """Decide what to list.

    Args:
        known: What the manifest knows.
        remote: What the service reports.
        cut: UTC hour → seconds after its start at which the local hour changes (`placement.cut`).
        everything: A full pass, or one in which all addresses are needed.
        done: What this pass has listed whole already: hour, or None for the listing by `/images` → the reported
            count that it was listed for. It is listed again only when the report has changed since, or when it is
            doubtful.
    """
    done = done or {}
    if remote.hours is None:
        due = everything or bool(known.unaddressed) or differs(known.event, remote.total)
        return Plan(event=due and done.get(None) != remote.total)
    once = (start for start, hour in known.hours.items() if hour.reported)
    reported = dict.fromkeys((*known.doubtful, *once), 0) | dict(remote.hours)
    hours = tuple(
        start
        for start, count in sorted(reported.items())
        if start in known.doubtful
        or (
            done.get(start) != count
            and (
                everything
                or start in known.unaddressed
                or _is_due(
                    known.hours.get(start),
                    count,
                    cut(start),
                    rests=known.resting.get(start) == count,
                )
            )
        )
    )
    # A photo may keep an hour that no longer names it (DESIGN §6.7): then its address stands in the undated tail.
    sought = None in known.unaddressed or (bool(known.unaddressed) and remote.undated > 0)
    undated = everything or sought or differs(known.undated, remote.undated)
    return Plan(hours, undated=undated and done.get(None) != remote.undated)


def _is_due(hour: Hour | None, reported: int, cut: int, *, rests: bool) -> bool:
    if hour is None:
        return reported > 0
    cut_elsewhere = cut not in {0, hour.cut} and hour.listed > 0
    is_short = hour.listed + hour.repeated < reported and not rests
    return hour.reported != reported or is_short or cut_elsewhere


def differs(tail: Tail | None, reported: int) -> bool:
    """Whether the last listing by `/images`, if there was one, is not of what the service reports now."""
    if tail is None:
        return reported > 0
    return tail.reported != reported or tail.listed + tail.repeated < reported
