"""The status page for people: what is wrong first, then what is at work, then the events that are whole.

`view` decides what is said, templates/status.html how it stands there. One document without anything beside it: style
and script are in it, allowed by their hashes; names and errors come from elsewhere and are escaped by the template.
"""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Final, Literal

from jinja2 import DictLoader, Environment, StrictUndefined
from markupsafe import Markup

from ninepic_mirror import __version__
from ninepic_mirror.progress import format_size
from ninepic_mirror.service.histogram import HEIGHT, Histogram, draw
from ninepic_mirror.service.wording import clean, clock, span, stamp

if TYPE_CHECKING:
    from collections.abc import Mapping

    from jinja2 import Template

    from ninepic_mirror.service.board import Board, Watched
    from ninepic_mirror.sync.report import Failure

State = Literal["stale", "trouble", "busy", "waiting", "whole"]
ORDER: Final[tuple[State, ...]] = ("stale", "trouble", "busy", "waiting", "whole")

REFRESH: Final = 15  # seconds
SHOWN: Final = 5  # failures of one event; the command `status` lists all
REASONS: Final = 5
ICONS: Final = {"bad": "%23c5392f", "attention": "%23c98a1b", "good": "%232f8a57"}


@dataclass(frozen=True, slots=True)
class Moment:
    """A time: for people, for the browser, and how far away it is.

    Args:
        text: In UTC, until the reader's browser knows better.
        machine: As `<time datetime>` wants it.
        distance: `4 min ago`, `in 2 h`.
    """

    text: str
    machine: str
    distance: str


@dataclass(frozen=True, slots=True)
class Row:
    """One event as it stands on the page.

    Args:
        state: Decides where it stands and how it looks.
        words: The state in words.
        detail: What is wrong, empty when nothing is.
        present: Files in place.
        expected: Files that should be.
        share: Of the files that are in place, percent; 100 only when all are.
        lost: Share of the files that failed, percent.
        more: Failures that are not listed.
    """

    event_id: int
    name: str
    state: State
    words: str
    detail: str
    photos: int
    undated: int
    present: int
    expected: int
    share: float
    lost: float
    last: Moment | None
    due: Moment | None
    whole: Moment | None
    fetched: int
    fetched_size: str
    passes: str
    reasons: list[tuple[str, int]]
    failures: list[Failure]
    more: int
    histogram: Histogram | None
    first: Moment | None
    peak: Moment | None
    end: Moment | None


@dataclass(frozen=True, slots=True)
class Origin:
    """One origin's traffic, in words."""

    name: str
    requests: int
    answers: str
    refused: int
    limit: str


@dataclass(frozen=True, slots=True)
class View:
    """The whole page.

    Args:
        mood: "bad", "attention" or "good": the colour of the icon and the headline.
        troubles: What keeps all events from being mirrored: kind, text and for how long.
        rows: Every event by state; a state without events is there too.
    """

    headline: str
    mood: Literal["bad", "attention", "good"]
    phase: str
    now: Moment
    started: Moment
    troubles: list[tuple[str, str, str]]
    rows: dict[State, list[Row]]
    origins: list[Origin]
    free: str | None
    version: str


def view(board: Board, now: float) -> View:
    """Return what the page says.

    Args:
        board: What to tell.
        now: Epoch seconds.
    """
    stale = {one.event_id for one in board.stale(now)}
    rows: dict[State, list[Row]] = {state: [] for state in ORDER}
    for one in sorted(board.events.values(), key=lambda one: _rank(one, now)):
        state = _state(one, is_stale=one.event_id in stale)
        rows[state].append(_row(one, state, now))
    headline, mood = _headline(board, rows)
    return View(
        headline=headline,
        mood=mood,
        phase=board.phase,
        now=_moment(now, now),
        started=_moment(board.started_at, now),
        troubles=[
            (clean(kind), clean(text), span(board.troubled_for(kind, now)))
            for kind, text in board.troubles.items()
        ],
        rows=rows,
        origins=[_origin(name, board) for name in board.traffic],
        free=None if board.free is None else format_size(board.free),
        version=__version__,
    )


def render(board: Board, now: float) -> str:
    """Return the page as HTML."""
    seen = view(board, now)
    return _template().render(
        view=seen, icon=ICONS[seen.mood], refresh=REFRESH, height=HEIGHT,
        style=Markup(_part("status.css")), script=Markup(_part("status.js")),  # noqa: S704  ours, and allowed by hash
    )  # fmt: skip


def policy() -> str:
    """Return the page's Content-Security-Policy: what stands in it, and asking where it came from again."""
    return "; ".join(
        (
            "default-src 'none'",
            f"style-src '{_hash(_part('status.css'))}'",
            f"script-src '{_hash(_part('status.js'))}'",
            "img-src data:",
            "connect-src 'self'",
            "base-uri 'none'",
            "form-action 'none'",
            "frame-ancestors 'none'",
        )
    )


def _state(one: Watched, *, is_stale: bool) -> State:
    if is_stale:
        return "stale"
    if one.trouble is not None or one.failed or (one.whole is False and one.began_at is None):
        return "trouble"
    # A whole event that is looked at again is no news: it stays where it was until there is something to fetch.
    if one.whole and not one.missing:
        return "whole"
    return "busy" if one.began_at is not None else "waiting"


def _rank(one: Watched, now: float) -> tuple[float, str, int]:
    """Order events of one state: the longest not whole first, then by name."""
    return -one.stale_for(now), (one.name or "").casefold(), one.event_id


def _words(one: Watched, state: State, now: float) -> str:
    if state == "stale":
        # Nobody knows a time at which an event that was never whole was whole.
        return (
            f"not whole for {span(one.stale_for(now))}"
            if one.whole_at
            else f"never whole in {span(one.stale_for(now))}"
        )
    if state == "trouble":
        if one.failed:
            return f"{_count(one.failed, 'file')} failed"
        return "needs a look" if one.trouble is not None else "not whole"
    if state == "busy":
        began = now if one.began_at is None else one.began_at
        return f"at work for {span(now - began)}"
    if state == "waiting":
        return "waits for its first pass" if one.ended_at is None else "waits for its next pass"
    return "whole"


def _row(one: Watched, state: State, now: float) -> Row:
    expected = one.present + one.missing
    picture = draw(one.hours)
    passes = ", ".join(f"{count:,} {result}" for result, count in one.passes.items() if count)
    return Row(
        event_id=one.event_id,
        name=clean(one.name or f"Event {one.event_id}"),
        state=state,
        words=_words(one, state, now),
        detail=clean(one.trouble or ""),
        photos=one.photos,
        undated=one.undated,
        present=one.present,
        expected=expected,
        share=_share(one.present, expected),
        lost=_share(one.failed, expected),
        last=_known(one.ended_at, now),
        due=_known(one.due_at, now),
        whole=_known(one.whole_at, now),
        fetched=one.fetched,
        fetched_size=format_size(one.fetched_bytes),
        passes=passes,
        reasons=[(clean(reason), count) for reason, count in _ranked(one.reasons)[:REASONS]],
        failures=[_printable(failure) for failure in one.failures[:SHOWN]],
        more=max(len(one.failures), one.failed) - min(len(one.failures), SHOWN),
        histogram=picture,
        first=None if picture is None else _moment(picture.first, now),
        peak=None if picture is None else _moment(picture.peak_at, now),
        end=None if picture is None else _moment(picture.last + picture.step, now),
    )


def _share(part: int, whole: int) -> float:
    """Return percent, cut off and not rounded: 100 is said of what is whole only."""
    return 0.0 if not whole else int(1000 * part / whole) / 10


def _ranked(counts: Mapping[str, int]) -> list[tuple[str, int]]:
    return sorted(counts.items(), key=lambda item: (-item[1], item[0]))


def _printable(failure: Failure) -> Failure:
    image_id, variant = failure.image_id, failure.variant
    return type(failure)(
        None if image_id is None else clean(image_id),
        None if variant is None else clean(variant),
        clean(failure.error),
    )


def _headline(
    board: Board, rows: Mapping[State, list[Row]]
) -> tuple[str, Literal["bad", "attention", "good"]]:
    events, whole = len(board.events), len(rows["whole"])
    stale, trouble = len(rows["stale"]), len(rows["trouble"])
    if board.troubles:
        return "Mirroring is held up", "bad"
    if stale:
        return f"{_of(stale, events, 'is', 'are')} not up to date", "bad"
    if trouble:
        return f"{_of(trouble, events, 'needs', 'need')} a look", "attention"
    if not events:
        return "No event is watched yet", "attention"
    if whole == events:
        return ("The event is whole" if events == 1 else f"All {events} events are whole"), "good"
    return f"{_of(whole, events, 'is', 'are')} whole", "good"


def _of(some: int, events: int, singular: str, plural: str) -> str:
    return f"{some} of {_count(events, 'event')} {singular if some == 1 else plural}"


def _count(number: int, word: str) -> str:
    return f"{number:,} {word}" if number == 1 else f"{number:,} {word}s"


def _origin(name: str, board: Board) -> Origin:
    one = board.traffic[name]
    answers = [
        f"{count:,} with {status}" if status else f"{count:,} without an answer"
        for status, count in sorted(one.statuses.items())
    ]
    limit = f"{one.concurrency} at once"
    if one.rate is not None:
        limit += f", {one.rate:.1f} a second"
    if one.waits > 0:
        limit += f", paused for {span(one.waits)} at its request"
    return Origin(
        name=clean(name),
        requests=sum(one.statuses.values()),
        answers=", ".join(answers),
        refused=one.refused,
        limit=limit,
    )


def _known(moment: float | None, now: float) -> Moment | None:
    return None if moment is None else _moment(moment, now)


def _moment(moment: float, now: float) -> Moment:
    away = now - moment
    distance = f"{span(away)} ago" if away > 0 else f"in {span(-away)}"
    if abs(away) < 1:
        distance = "now"
    return Moment(clock(moment), stamp(moment), distance)


@cache
def _part(name: str) -> str:
    return files("ninepic_mirror.service").joinpath("templates", name).read_text("utf-8")


@cache
def _template() -> Template:
    environment = Environment(
        loader=DictLoader({"status.html": _part("status.html")}),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["count"] = _count
    return environment.get_template("status.html")


def _hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
