"""A small picture of when an event's photos were taken: one bar an hour, wider steps where hours are too many.

Nights and the days between two weekends would leave most of it empty, so a longer pause becomes a narrow gap.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

HOUR: Final = 3600
DAY: Final = 24 * HOUR
# The step becomes wider until the bars are few enough to be told apart on a phone (3 px each at 360 px).
STEPS: Final = ((HOUR, "hour"), (DAY, "day"), (7 * DAY, "week"), (28 * DAY, "four weeks"))
SLOTS: Final = 120
PAUSE: Final = 4  # steps without a photo that are drawn as they are; more become a gap,
GAP: Final = 2  # as wide as so many bars
WIDTH, HEIGHT = 10, 100  # of a bar's place in the picture, in its own units


@dataclass(frozen=True, slots=True)
class Histogram:
    """What there is to draw.

    Args:
        unit: What a bar stands for: "hour", "day", "week", "four weeks".
        step: Its seconds.
        width: Of the picture, in its own units; it is `HEIGHT` high.
        path: The bars, as the `d` of one SVG path: a node for each would make pages of many events slow.
        first: Where the first bar begins, epoch seconds.
        last: Where the last one begins.
        peak: Photos of the highest bar.
        peak_at: Where that one begins.
        hidden: Photos before the first bar: of more bars than there is room for the latest are drawn.
    """

    unit: str
    step: int
    width: int
    path: str
    first: int
    last: int
    peak: int
    peak_at: int
    hidden: int


def draw(hours: Mapping[int, int]) -> Histogram | None:
    """Return the picture of the hours, None where there is nothing to draw.

    Args:
        hours: Start of a UTC hour in epoch seconds → photos.
    """
    if not any(photos > 0 for photos in hours.values()):
        return None
    chosen = 0
    counts = _binned(hours, HOUR)
    slots = _placed(counts, HOUR)
    while slots[-1][0] >= SLOTS and chosen < len(STEPS) - 1:
        chosen += 1
        counts = _binned(counts, STEPS[chosen][0])
        slots = _placed(counts, STEPS[chosen][0])
    step, unit = STEPS[chosen]
    begin = max(0, slots[-1][0] - SLOTS + 1)
    drawn = [(place - begin, start) for place, start in slots if place >= begin]
    peak_at = max((start for _, start in drawn), key=lambda start: (counts[start], -start))
    return Histogram(
        unit=unit,
        step=step,
        width=(drawn[-1][0] + 1) * WIDTH,
        path="".join(_bar(place, counts[start], counts[peak_at]) for place, start in drawn),
        first=drawn[0][1],
        last=drawn[-1][1],
        peak=counts[peak_at],
        peak_at=peak_at,
        hidden=sum(counts.values()) - sum(counts[start] for _, start in drawn),
    )


def _binned(hours: Mapping[int, int], step: int) -> dict[int, int]:
    counts: dict[int, int] = {}
    for hour, photos in hours.items():
        if photos > 0:
            start = hour - hour % step
            counts[start] = counts.get(start, 0) + photos
    return dict(sorted(counts.items()))


def _placed(counts: Mapping[int, int], step: int) -> list[tuple[int, int]]:
    """Return the place of each bar from the left, and where it begins."""
    slots: list[tuple[int, int]] = []
    for start in counts:
        if not slots:
            slots.append((0, start))
            continue
        place, before = slots[-1]
        pause = (start - before) // step - 1
        slots.append((place + 1 + (pause if pause <= PAUSE else GAP), start))
    return slots


def _bar(place: int, photos: int, peak: int) -> str:
    # Never lower than what can be seen: one photo is not none.
    height = max(3, round(HEIGHT * photos / peak))
    return f"M{place * WIDTH + 1} {HEIGHT}v-{height}h{WIDTH - 2}v{height}z"
