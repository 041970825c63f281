"""Listings: the envelope, pages and their numbers, and everything that makes a listing lie or move."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import groupby
from json import dumps
from typing import TYPE_CHECKING

from starlette.responses import Response

from ninepic_mirror.sandbox.specs import HOUR

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ninepic_mirror.sandbox.events import Event
    from ninepic_mirror.sandbox.faults import Ask, Fault
    from ninepic_mirror.sandbox.world import World


class Refusal(Exception):  # noqa: N818  an answer of the service, no fault of the sandbox
    """An answer with `responseType` error.

    Args:
        status: The status code.
        message: For people.
    """

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


@dataclass(frozen=True, slots=True)
class PageAsk:
    """Which page is asked for, counted from 1, and how long pages are."""

    page: int
    size: int


def json_answer(content: object, status: int = 200) -> Response:
    """Return a JSON answer; text stays ASCII, so ids with lone surrogates survive."""
    return Response(dumps(content, separators=(",", ":")), status, media_type="application/json")


def envelope(message: str, data: object) -> Response:
    """Return a good answer in the envelope (API.md, Basics)."""
    return json_answer({"responseType": "success", "message": message, "data": data})


def refusal(status: int, message: str) -> Response:
    """Return a bad answer in the envelope."""
    return json_answer({"responseType": "error", "message": message, "data": None}, status)


def pagination(total: object, ask: PageAsk) -> dict[str, object]:
    """Return PaginationInfo; an empty set answers 0 for `total`, `currentPage` and `totalPages` (API.md, Endpoints).

    Args:
        total: How many there are, or what a fault says instead.
        ask: The page asked for.
    """
    count = total if isinstance(total, int) else 0
    # a lie that is no number still has to give page numbers: those of an empty set
    pages = -(-count // ask.size) if count > 0 else 0
    return {
        "total": total,
        "currentPage": ask.page if pages else 0,
        "totalPages": pages,
        "hasNextPage": ask.page < pages,
        "hasPreviousPage": pages > 0 and ask.page > 1,
        "page_size": ask.size,
    }


def photo_page(
    world: World, event: Event, ask: Ask, page: PageAsk, window: tuple[int, int] | None = None
) -> dict[str, object]:
    """Return one page of photos as it stands now, with the faults that it meets.

    Args:
        world: Where the faults are.
        event: Whose photos.
        ask: The request, for the faults.
        page: Which page.
        window: `[from, to)` in epoch seconds; None for every photo, undated ones included.
    """
    move = world.faults.listing("move", ask)
    if move is not None:
        _move(event, move, window)
    # after the move, so that this page is the first to show it
    low, high = event.bounds(*window) if window is not None else event.bounds()
    positions: Sequence[int] = range(low, high)
    twice = world.faults.listing("duplicate_rows", ask)
    if twice is not None:
        positions = _with_repeats(positions, twice.amount or 1)
    return _page(
        world,
        event,
        ask,
        page,
        [event.serial_at(place) for place in _cut(positions, page)],
        len(positions),
    )


def bib_page(world: World, event: Event, ask: Ask, page: PageAsk, bib: str) -> dict[str, object]:
    """Return one page of the photos of a bib number."""
    serials = event.bib_serials(bib)
    return _page(world, event, ask, page, list(_cut(serials, page)), len(serials))


def timeline_days(world: World, event: Event, ask: Ask) -> dict[str, object]:
    """Return the counts by UTC day and hour, ascending (API.md, /timeline/days)."""
    lag = world.faults.listing("count_lag", ask)
    known = event.hour_counts(behind=0 if lag is None else lag.amount or 1)
    lie = world.faults.listing("count_lie", ask)
    counts = {hour: count if lie is None else _lied(lie, count) for hour, count in known.items()}
    days = []
    for date, hours in groupby(counts, key=lambda hour: _utc(hour).date()):
        buckets = [{"hour": _utc(hour).hour, "count": counts[hour]} for hour in hours]
        numbers = [count for bucket in buckets if isinstance(count := bucket["count"], int)]
        days.append({"date": date.isoformat(), "total": sum(numbers), "hours": buckets})
    return {"days": days}


def _page(
    world: World, event: Event, ask: Ask, page: PageAsk, serials: Sequence[int], count: int
) -> dict[str, object]:
    lie = world.faults.listing("total_lie", ask)
    total = count if lie is None else _lied(lie, count)
    images = [event.item(serial, world.photos_url) for serial in serials]
    return {"images": images, "pagination": pagination(total, page)}


def _cut(rows: Sequence[int], page: PageAsk) -> Sequence[int]:
    start = (page.page - 1) * page.size
    return rows[start : start + page.size]


def _with_repeats(positions: Sequence[int], amount: int) -> list[int]:
    """Let the first rows stand twice, as a joined table does; the total counts them twice too."""
    first = positions[:amount]
    return sorted((*first, *positions))


def _move(event: Event, fault: Fault, window: tuple[int, int] | None) -> None:
    """Change the event while its listing is read, where it hurts most: before the pages already read.

    `swap` takes the window's first photo away and lets another arrive at its end, so that every total stays the same.
    """
    for _ in range(fault.amount or 1):
        low, high = event.bounds(*window) if window is not None else event.bounds()
        if low == high:
            return
        first, last = (event.photo(event.serial_at(place)) for place in (low, high - 1))
        if fault.variety in ("remove", "swap"):
            # a mapping was deleted, the picture stays in the photo store
            event.remove(first.image_id, keep_file=True)
        if fault.variety in ("add", "swap"):
            event.add(1, first.hour if fault.variety == "add" else last.hour)
        if fault.variety == "retime":
            # behind everything: the photo leaves a window already listed for one not yet known
            latest = max(event.hour_counts(), default=0)
            event.retime(first.image_id, latest + HOUR)


def _lied(lie: Fault, count: int) -> object:
    return count + (lie.amount or 0) if lie.value is None else lie.value


def _utc(second: int) -> datetime:
    return datetime.fromtimestamp(second, UTC)
