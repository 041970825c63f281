"""What an event is made from, and how its photos are spread over the race."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise
from math import exp
from typing import TYPE_CHECKING, Final, Literal

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

HOUR: Final = 3600
UNDATED: Final = 2**62  # sorts after every capture time, as the service lists photos without one
FLAGS: Final = (
    "event_enabled",
    "bib_search",
    "selfie_search",
    "name_search",
    "video_search",
    "video_selfie_search",
)
ON = frozenset({"event_enabled", "bib_search", "selfie_search"})


@dataclass(frozen=True, slots=True)
class EventSpec:
    """What an event is made from; equal specs give equal events, byte for byte.

    Args:
        event_id: The number in the addresses.
        name: The event's name, None as the service allows.
        slug: The event's slug, None as the service allows.
        date: ISO 8601 without a zone.
        status: `active`, `draft` or what the service may say.
        photos: How many photos there are at the start.
        seed: Another seed, another event.
        hours: Consecutive UTC hours over which the race is spread: start wave, bulk, tail.
        first_hour: Start of the first hour, epoch seconds.
        undated: Photos without a capture time: a count, or a share of `photos` when it is a float.
        duplicates: Photos whose bytes equal another's.
        wrong_clock: Photos of a camera that thinks it is the first hour of 1970.
        trailing: Photos with bytes after the JPEG's end marker, in every variant.
        timeline: The flag `timeline_search`.
        look: `drawn` for pictures worth looking at, `cheap` for huge events.
        thumb_kb: Size of a cheap thumbnail in kB.
        large_kb: Size of a cheap large in kB.
        original_mb: Smallest and largest original in MB.
        utc_offset: Hours from UTC to the place of the race, for the light and the cameras' clocks.
        flags: Flags of the event that differ from the usual ones.
    """

    event_id: int = 456
    name: str | None = "Mumbai Marathon 2026"
    slug: str | None = "mumbai-marathon-2026"
    date: str | None = "2026-01-18T00:00:00"
    status: str | None = "active"
    photos: int = 300
    seed: int = 1
    hours: int = 8
    first_hour: int = 1768777200  # 2026-01-18 23:00 UTC, 04:30 in Mumbai
    undated: int | float = 0
    duplicates: int = 0
    wrong_clock: int = 0
    trailing: int = 0
    timeline: bool = True
    look: Literal["drawn", "cheap"] = "drawn"
    thumb_kb: float = 18
    large_kb: float = 120
    original_mb: tuple[float, float] = (5, 20)
    utc_offset: float = 5.5
    flags: Mapping[str, bool] = field(default_factory=dict)

    def undated_count(self) -> int:
        """Return how many photos have no capture time."""
        share = isinstance(self.undated, float)
        return round(self.undated * self.photos) if share else int(self.undated)


def spread(count: int, total: int) -> frozenset[int]:
    """Choose `count` of `total` serial numbers evenly, never the first."""
    count = max(0, min(count, total - 1))
    return frozenset((place + 1) * total // (count + 1) for place in range(count))


def capture_times(spec: EventSpec) -> Iterator[int]:
    """Yield the capture time of every photo in listing order, `UNDATED` for those without one."""
    undated = min(spec.undated_count(), spec.photos)
    wrong = min(spec.wrong_clock, spec.photos - undated)
    yield from (place * HOUR // wrong for place in range(wrong))
    for index, count in enumerate(_hour_shares(spec.photos - undated - wrong, spec.hours)):
        start = spec.first_hour + index * HOUR
        yield from (start + place * HOUR // count for place in range(count))
    yield from (UNDATED for _ in range(undated))


def _hour_shares(photos: int, hours: int) -> list[int]:
    """Divide photos over hours as a race does: a start wave, a bulk, a long tail; one in each while they last."""
    # rises while the field arrives, then thins out: the shape of finish times, x·exp(-x)
    weights = [(place + 0.6) * exp(-2.5 * place / hours) for place in range(hours)]
    each = 1 if photos >= hours else 0
    rest = photos - each * hours
    edges = [0.0]
    for weight in weights:
        edges.append(edges[-1] + weight)
    # rounding the running sum and not the parts, so that they add up
    marks = [round(rest * edge / edges[-1]) for edge in edges]
    return [each + high - low for low, high in pairwise(marks)]
