"""What the daemon knows at this moment, for all who tell it: the status page, health, metrics, systemd, hooks.

Values only. The daemon's one event loop writes them; whoever reads them does so between two of its turns.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Literal

if TYPE_CHECKING:
    from ninepic_mirror.sync.report import Failure

Phase = Literal["starting", "running", "reloading", "stopping"]

LONG: Final = 60.0  # seconds after which a pass is no mere look
FAILURES: Final = 100  # of an event that are kept to be shown; `failed` counts all


@dataclass(slots=True)
class Watched:
    """One event that is kept fresh. Moments are epoch seconds.

    Args:
        event_id: The event.
        name: As last heard.
        watched_since: When the daemon began to watch it: what was never whole is stale from here on.
        due_at: When the next pass begins, None while one is under way.
        began_at: When the pass under way began, None while none is.
        ended_at: When the last pass ended.
        whole: Whether the last pass that compared all of it ended whole; None: there was none.
        whole_at: When the last whole pass ended, by the manifest.
        trouble: Why the last pass failed or what it waits for, one line; None: all is well.
        photos: That the service lists.
        undated: Of them, in no window.
        present: Files in place.
        missing: Files that are not, failed ones included.
        failed: Files that the last try could not have.
        failures: The first of them, and what was doubtful.
        hours: UTC hour → photos listed.
        passes: Passes since the daemon started, by how they ended: "whole", "incomplete" or "failed".
        fetched: Files fetched since then.
        fetched_bytes: Their bytes.
        reasons: Failed files of the last pass, by a short reason.
    """

    event_id: int
    name: str | None = None
    watched_since: float = 0.0
    due_at: float | None = None
    began_at: float | None = None
    ended_at: float | None = None
    whole: bool | None = None
    whole_at: float | None = None
    trouble: str | None = None
    photos: int = 0
    undated: int = 0
    present: int = 0
    missing: int = 0
    failed: int = 0
    failures: list[Failure] = field(default_factory=list)
    hours: dict[int, int] = field(default_factory=dict)
    passes: dict[str, int] = field(default_factory=dict)
    fetched: int = 0
    fetched_bytes: int = 0
    reasons: dict[str, int] = field(default_factory=dict)

    def stale_for(self, now: float) -> float:
        """Return the seconds since it was last whole; 0 while it is.

        A pass that takes long has something to do, whatever the last one found.
        """
        is_busy = self.began_at is not None and now - self.began_at > LONG
        if self.whole and self.trouble is None and not is_busy:
            return 0.0
        return max(0.0, now - (self.whole_at or self.watched_since))


@dataclass(frozen=True, slots=True)
class Traffic:
    """What was asked of one origin since the daemon started.

    Args:
        statuses: Answers by their status; 0: no answer.
        refused: Answers that asked us to slow down.
        concurrency: Requests that may be under way now.
        rate: Requests a second that may begin now; None: no limit.
        waits: Seconds for which the origin wants to be left alone.
    """

    statuses: dict[int, int] = field(default_factory=dict)
    refused: int = 0
    concurrency: int = 0
    rate: float | None = None
    waits: float = 0.0


@dataclass(slots=True)
class Board:
    """Everything.

    Args:
        started_at: When the daemon started, epoch seconds.
        phase: What it does.
        events: By their number.
        troubles: What keeps all events from being mirrored, by its name ("service", "key", "storage", "config",
            "events": which there are is not known): one line each, with the cure.
        traffic: By origin, "api" and "photos".
        free: Bytes that may still be used of the mirror root's disk, None: not known.
        stale_after: `[daemon] stale_after`, seconds.
        troubled_since: When each of `troubles` came; `note_trouble` and `clear_trouble` keep both.
    """

    started_at: float
    phase: Phase = "starting"
    events: dict[int, Watched] = field(default_factory=dict)
    troubles: dict[str, str] = field(default_factory=dict)
    traffic: dict[str, Traffic] = field(default_factory=dict)
    free: int | None = None
    stale_after: float = 86_400.0
    troubled_since: dict[str, float] = field(default_factory=dict)

    def note_trouble(self, kind: str, text: str, now: float) -> None:
        """Set a trouble's text; one that was there already keeps its age."""
        self.troubles[kind] = text
        self.troubled_since.setdefault(kind, now)

    def clear_trouble(self, kind: str) -> None:
        """Take a trouble away, if it is there."""
        self.troubles.pop(kind, None)
        self.troubled_since.pop(kind, None)

    def troubled_for(self, kind: str, now: float) -> float:
        """Return the seconds that a trouble has lasted; since the start where nobody said when it came."""
        return max(0.0, now - self.troubled_since.get(kind, self.started_at))

    def stale(self, now: float) -> list[Watched]:
        """Return the events that have not been whole for longer than `stale_after`, the worst first."""
        found = [one for one in self.events.values() if one.stale_for(now) > self.stale_after]
        return sorted(found, key=lambda one: -one.stale_for(now))

    def headline(self, now: float) -> str:
        """Return one line for `systemctl status`: what is done now, and what is wrong."""
        if self.troubles:
            return "; ".join(self.troubles.values())
        busy = [one for one in self.events.values() if one.began_at is not None]
        whole = sum(bool(one.whole) and one.trouble is None for one in self.events.values())
        text = f"{whole} of {len(self.events)} events whole"
        if ill := [one for one in self.events.values() if one.trouble is not None]:
            text += f"; {len(ill)} in trouble, event {ill[0].event_id}: {ill[0].trouble}"
        for origin, one in self.traffic.items():
            if one.waits >= 1:
                text += f"; {origin}: asks to be left alone for {one.waits:.0f} s"
        if busy:
            names = ", ".join(str(one.event_id) for one in busy[:3]) + (
                ", …" if len(busy) > 3 else ""
            )
            return f"{text}; at work on {names}"
        due = min(
            (one.due_at for one in self.events.values() if one.due_at is not None), default=None
        )
        return text if due is None else f"{text}; next look in {max(0.0, due - now):.0f} s"
