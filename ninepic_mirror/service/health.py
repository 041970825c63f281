"""Whether the mirror is healthy, for whoever asks `/healthz`: a decision on the board's values.

Not whole for longer than `stale_after` is what the operator configured as unhealthy. A trouble that keeps *all* events
from being mirrored is unhealthy before that, but not at once: a service that restarts, or a disk on which room is being
made, passes by itself, and a monitor that wakes a person for it is soon ignored. Fifteen minutes is also how long a
refused key is tried again (issue: life cycle); a shorter `stale_after` shortens it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from ninepic_mirror.service.wording import clean, span

if TYPE_CHECKING:
    from ninepic_mirror.service.board import Board

GRACE: Final = 900.0  # seconds


@dataclass(frozen=True, slots=True)
class Reason:
    """One reason why the mirror is not healthy.

    Args:
        kind: A trouble's name, or "stale".
        event_id: The event; None: all of them.
        seconds: For how long.
        text: One line for people.
    """

    kind: str
    event_id: int | None
    seconds: float
    text: str


def reasons(board: Board, now: float) -> list[Reason]:
    """Return why the mirror is not healthy, the worst first; empty while it is."""
    grace = min(GRACE, board.stale_after)
    found = []
    for kind, text in board.troubles.items():
        lasted = board.troubled_for(kind, now)
        if lasted > grace:
            line = f"{clean(kind)}: {clean(text)} (for {span(lasted)})"
            found.append(Reason(clean(kind), None, lasted, line))
    for one in board.stale(now):
        lasted = one.stale_for(now)
        name = f" {clean(one.name)}" if one.name else ""
        line = f"event {one.event_id}{name}: not whole for {span(lasted)}"
        if one.trouble:
            line += f": {clean(one.trouble)}"
        found.append(Reason("stale", one.event_id, lasted, line))
    return found
