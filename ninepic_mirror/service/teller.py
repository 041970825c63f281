"""What the daemon says of its work: on the board, in the log and to hooks, and only what is new."""

from __future__ import annotations

import logging
import math
import time
from typing import TYPE_CHECKING, Final

import trio

from ninepic_mirror.errors import (
    ConfigError,
    KeyRefusedError,
    StopEventError,
    StorageError,
    UsageError,
)
from ninepic_mirror.service.hooks import Happening, Hook
from ninepic_mirror.service.notify import one_line
from ninepic_mirror.service.wording import clean, span

if TYPE_CHECKING:
    from collections.abc import Callable

    from ninepic_mirror.ninepic.pacing import Pacer
    from ninepic_mirror.service.board import Board, Watched
    from ninepic_mirror.service.hooks import HookRunner
    from ninepic_mirror.service.rounds import Ended
    from ninepic_mirror.sync.report import PassReport

_LOG: Final = logging.getLogger(__name__)

_NAME: Final = 80  # characters of an event's name in a line of the log
SILENCE: Final = 10.0  # seconds without a good answer after which the service is called down
_RECOVERED: Final = {
    "service": "the service answers again",
    "key": "the key is accepted",
    "storage": "the mirror root can be written to again",
    "config": "the settings can be used",
    "events": "it is known which events there are",
}


class Teller:
    """Says what happens.

    Args:
        board: Where it is shown.
        hooks: Run the operator's commands.
        explain: Puts an error and its cure into one line.
    """

    def __init__(
        self, board: Board, hooks: HookRunner, explain: Callable[[Exception], str]
    ) -> None:
        self._board, self._hooks, self.explain = board, hooks, explain
        self._told: dict[int, str] = {}  # what was last said of an event
        # When the service was last seen to be down, on trio's clock; inf: what it answers is of no use.
        self._down_at = -math.inf
        self._stale: set[int] = set()

    # --- of everything -------------------------------------------------------------------------------------------

    def trouble(self, error: Exception) -> None:
        """Say, once until it is over, what keeps all events from being mirrored."""
        kind = _kind(error)
        self._note(kind, self.explain(error))
        if kind == "service" and isinstance(error, StopEventError):
            self._down_at = math.inf

    def unlisted(self, error: Exception) -> None:
        """Say likewise why it is not known which events there are."""
        self._note("events", f"which events there are: {self.explain(error)}")

    def _note(self, kind: str, text: str) -> None:
        if kind not in self._board.troubles:
            _LOG.error("%s", text)
        self._board.note_trouble(kind, text, time.time())

    def answered(self) -> None:
        """Take note that the service answered something of use."""
        self._down_at = -math.inf

    def over(self, *kinds: str) -> bool:
        """Say that such troubles are over; return whether there were any."""
        found = [kind for kind in kinds if kind in self._board.troubles]
        for kind in found:
            self._board.clear_trouble(kind)
            _LOG.warning("%s", _RECOVERED[kind])
        return bool(found)

    def outage(self, pacer: Pacer) -> bool:
        """Look whether the service answers, and say so when that changed; return whether it answers again."""
        wait = pacer.statistics().waits_until - trio.current_time()
        is_down = pacer.silence > SILENCE or wait > SILENCE
        if "service" in self._board.troubles and not is_down:
            # Not merely that nobody asks now: somebody was answered.
            return pacer.answered_at > self._down_at and self.over("service")
        if not is_down:
            return False
        what = f"asks to be left alone for {wait:.0f} s" if wait > 1 else "gives no good answer"
        if "service" not in self._board.troubles:
            _LOG.error("%s %s; it is asked again and again", pacer.pace.origin, what)
        self._down_at = max(self._down_at, trio.current_time())
        self._board.note_trouble("service", f"{pacer.pace.origin} {what}", time.time())
        return False

    # --- of one event --------------------------------------------------------------------------------------------

    def ended(self, one: Watched, ended: Ended, folder: str) -> None:
        """Say what a pass came to.

        Args:
            one: The event.
            ended: How the pass ended.
            folder: The event folder; empty where there is none.
        """
        report = ended.report
        one.trouble = None if ended.error is None else self.explain(ended.error)
        if ended.error is not None:
            result, now = "failed", f"failed {type(ended.error).__name__}"
        elif report is not None and report.whole:
            result = now = "whole"
        else:
            result, now = "incomplete", f"incomplete {one.missing} {sorted(one.reasons)}"
        one.passes[result] = one.passes.get(result, 0) + 1
        before, self._told[one.event_id] = self._told.get(one.event_id), now
        if report is not None and report.downloaded:
            _say(logging.INFO, one, f"{report.downloaded} new files, {one.photos} photos in all")
            self._happen("new_photos", one, folder, report)
        if result == "whole":
            self._hooks.pulse()
            if before not in {None, now}:
                _say(logging.WARNING, one, f"whole again: all {one.photos} photos")
            if before != now or ended.outcome.changed:
                self._happen("pass_whole", one, folder, report)
        elif now != before:
            # of an outage that all share one line was said
            level = logging.INFO if "service" in self._board.troubles else logging.WARNING
            _say(level, one, _reason(one))
            self._happen("pass_failed", one, folder, report)

    def staleness(self, now: float) -> None:
        """Look which events have not been whole for too long, and say where that changed.

        Args:
            now: Epoch seconds.
        """
        stale = {one.event_id for one in self._board.stale(now)}
        for event_id in sorted(stale ^ self._stale):
            one = self._board.events.get(event_id)
            if one is None:
                continue  # not watched any more
            if event_id in stale:
                since = span(one.stale_for(now))
                _say(logging.ERROR, one, f"not whole for {since}: {_reason(one)}")
                self._happen("stale", one)
            else:
                self._happen("recovered", one)
        self._stale = stale

    def forget(self, event_id: int) -> None:
        """An event is not watched any more."""
        self._told.pop(event_id, None)

    def _happen(
        self, hook: Hook, one: Watched, folder: str = "", report: PassReport | None = None
    ) -> None:
        facts: dict[str, object] = {
            "photos": one.photos,
            "new": report.downloaded if report is not None else 0,
            "missing": one.missing,
            "whole_at": one.whole_at,
            "reason": "" if one.whole and one.trouble is None else _reason(one),
            "report": None if report is None else report.as_json(),
        }
        self._hooks.tell(Happening(hook, one.event_id, one.name, folder, facts))


def _kind(error: Exception) -> str:
    """Return the name that a fault has on the board."""
    if isinstance(error, KeyRefusedError):
        return "key"
    if isinstance(error, StorageError):
        return "storage"
    return "config" if isinstance(error, ConfigError | UsageError) else "service"


def _say(level: int, one: Watched, text: str) -> None:
    """Log a line about an event. Its name is the service's: one line of it, and no sign that a terminal obeys."""
    who = f"event {one.event_id}"
    who = f"{one_line(one.name)[:_NAME]} ({who})" if one.name else who
    extra = {"event_id": one.event_id, "event": one.name}
    _LOG.log(level, "%s: %s", who, clean(text), extra=extra)


def _reason(one: Watched) -> str:
    """Return why an event is not whole, in one line."""
    if one.trouble is not None:
        return one.trouble
    if not one.reasons:
        return (
            "it was not looked at yet" if one.whole is None else f"{one.missing} files are missing"
        )
    most = sorted(one.reasons.items(), key=lambda item: -item[1])[:3]
    return f"{one.missing} files are missing: " + ", ".join(f"{n} x {text}" for text, n in most)
