"""When each event is looked at again: a plain decision on the clock's numbers.

An event has a `Turn`: when its next pass begins, and from when on that pass is a full one. `first` gives it at the start,
`after` gives the next one when a pass has ended, `adapt` when the settings have changed, `recover` when a common trouble is over.

Jitter only ever makes a wait shorter: `min_interval`, `max_interval` and `full_interval` are what an operator may count on,
and events that were due together drift apart all the same. Moments are those of any steady clock, in seconds; random numbers
are the caller's.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from ninepic_mirror.config import Daemon

LEAST: Final = 1.0  # seconds; no wait is shorter, whatever is configured
JITTER: Final = 0.1  # the part of a wait that chance may take off
# Of the wait for a full pass: events configured together all had their first one together, and a full pass costs as many
# requests as the event has hundreds of photos. A quarter of a day holds 200 of them with two minutes for each.
FULL_JITTER: Final = 0.25
AT_ONCE: Final = 4  # events whose passes begin with the daemon
SPACING: Final = 0.5  # seconds between the others: three requests each stay below the pace that any service takes


@dataclass(frozen=True, slots=True)
class Rhythm:
    """How often to look, in seconds.

    Args:
        min_interval: Between two passes over an event to which photos come.
        max_interval: ... in which nothing changes any more; not less than `min_interval`.
        full_interval: Between two full passes that find something.
        full_most: ... that find nothing.
    """

    min_interval: float
    max_interval: float
    full_interval: float
    full_most: float = 30 * 86_400.0

    @classmethod
    def of(cls, settings: Daemon) -> Rhythm:
        """Return what the settings say, made fit to count with: at least a second each, the longest not the shorter."""
        shortest = max(LEAST, float(settings.min_interval))
        return cls(
            min_interval=shortest,
            max_interval=max(shortest, float(settings.max_interval)),
            full_interval=max(LEAST, float(settings.full_interval)),
        )

    def fit(self, interval: float) -> float:
        """Return the nearest allowed interval."""
        return min(max(interval, self.min_interval), self.max_interval)

    def fit_full(self, interval: float) -> float:
        """Return the nearest allowed interval between full passes; what is configured always is."""
        return max(self.full_interval, min(interval, self.full_most))


@dataclass(frozen=True, slots=True)
class Turn:
    """When an event is looked at. Moments and durations in seconds.

    Args:
        due: When the next pass begins.
        interval: Between the last pass and it, before jitter; failed passes leave it alone.
        full_due: From when on a pass is a full one.
        full_interval: Between the last full pass and that, before jitter.
        faults: Passes in a row that failed.
        full_basis: The configured interval that `full_interval` grew from; 0: not known.
    """

    due: float
    interval: float
    full_due: float
    full_interval: float
    faults: int = 0
    full_basis: float = 0.0


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a pass ended, as far as it says when to look again.

    Args:
        changed: Photos came, left or moved, or files were fetched.
        is_today: The event takes place about now.
        full: It was a full pass.
        found: ... that found what quick passes had not.
        failed: It ended by a fault: service, disk, lock. Single photos that could not be had are none.
        outage: The fault was the service's: pauses grow no longer than the event's own interval, so that the event
            is fresh again within one of them after the service's return.
    """

    changed: bool
    is_today: bool
    full: bool
    found: bool = False
    failed: bool = False
    outage: bool = False


def first(  # noqa: PLR0913  all that is known of an event before its first pass
    now: float,
    rhythm: Rhythm,
    *,
    chance: float,
    full_age: float | None,
    place: int,
    of: int,
    quiet: float | None = None,
    full_gap: float | None = None,
) -> Turn:
    """Give an event its turn at the start of the daemon, or when it is first seen.

    The first four events begin at once, the others half a second apart, closer where they would otherwise not all have
    begun within `max_interval`. An event that was never fully listed begins at once, with a full pass: it has to list
    everything anyway. Overdue full passes are spread over a quarter of their interval.

    Args:
        now: This moment.
        rhythm: The settings.
        chance: A random number in [0, 1).
        full_age: Seconds since the last full pass, by the manifest; None: there was none.
        place: The event's place among those that start together, from 0; those that may be live go first.
        of: How many start together.
        quiet: Seconds since photos last came, by the manifest; the interval is then about what doubling would have
            made of it, so that a restart costs no new run-up. None: not known, it starts from the shortest.
        full_gap: Seconds between the last two full passes, by the manifest, likewise.
    """
    interval = rhythm.fit(0.0 if quiet is None else quiet / 2)
    full_interval = rhythm.fit_full(0.0 if full_gap is None else full_gap)
    if full_age is None:
        return Turn(now, interval, now, full_interval, full_basis=rhythm.full_interval)
    spacing = min(SPACING, rhythm.max_interval / max(1, of))
    waits = (place - AT_ONCE + chance) * spacing if place >= AT_ONCE else 0.0
    due_in = _shorten(full_interval, chance, FULL_JITTER) - max(0.0, full_age)
    if due_in <= 0:
        due_in = full_interval * FULL_JITTER * chance
    return Turn(now + waits, interval, now + due_in, full_interval, full_basis=rhythm.full_interval)


def after(turn: Turn, now: float, rhythm: Rhythm, outcome: Outcome, *, chance: float) -> Turn:
    """Return the next turn of an event whose pass has just ended.

    Args:
        turn: The one that the pass was made in, early or late.
        now: When it ended.
        rhythm: The settings.
        outcome: How it ended.
        chance: A random number in [0, 1).
    """
    if outcome.failed:
        return _after_fault(turn, now, rhythm, outcome, chance)
    live = outcome.changed or outcome.is_today
    interval = rhythm.min_interval if live else rhythm.fit(turn.interval * 2)
    full_due, full_interval = turn.full_due, rhythm.fit_full(turn.full_interval)
    if outcome.full:
        full_interval = (
            rhythm.full_interval if outcome.found else rhythm.fit_full(full_interval * 2)
        )
        full_due = now + _shorten(full_interval, chance, FULL_JITTER)
    due = now + _shorten(interval, chance, JITTER)
    # A full pass does not wait for a quiet event's next quick one, or `full_interval` would be exceeded by it.
    soonest = now + _shorten(rhythm.min_interval, chance, JITTER)
    due = min(due, max(full_due, soonest))
    return Turn(due, interval, full_due, full_interval, full_basis=rhythm.full_interval)


def _after_fault(turn: Turn, now: float, rhythm: Rhythm, outcome: Outcome, chance: float) -> Turn:
    """Pause longer with each fault; what was due stays due, and the interval is taken up again where it was."""
    # 64 doublings of a second are longer than any interval; a float overflows at 1024.
    pause = rhythm.min_interval * 2.0 ** min(turn.faults, 64)
    pause = min(pause, rhythm.fit(turn.interval) if outcome.outage else rhythm.max_interval)
    return replace(turn, due=now + _shorten(pause, chance, JITTER), faults=turn.faults + 1)


def is_full(turn: Turn, now: float) -> bool:
    """Say whether a pass that begins now is a full one."""
    return now >= turn.full_due


def adapt(turn: Turn, now: float, rhythm: Rhythm) -> Turn:
    """Return the turn under new settings: nothing is due later than the new longest interval allows, nor than before.

    What remains of a wait shrinks with its interval, so that what was spread stays spread. Under another `full_interval` full
    passes begin anew from that one. Settings that are the same change nothing.

    Args:
        turn: Given under the old settings.
        now: This moment.
        rhythm: The new settings.
    """
    interval, full_interval = rhythm.fit(turn.interval), rhythm.fit_full(turn.full_interval)
    if turn.full_basis != rhythm.full_interval:
        full_interval = rhythm.full_interval
    longest = rhythm.max_interval if turn.faults else interval
    full_due = _bring_nearer(
        turn.full_due, now, turn.full_interval, full_interval, longest=full_interval
    )
    return Turn(
        due=_bring_nearer(turn.due, now, turn.interval, interval, longest=longest),
        interval=interval,
        full_due=full_due,
        full_interval=full_interval,
        faults=turn.faults,
        full_basis=rhythm.full_interval,
    )


def recover(turn: Turn, now: float, rhythm: Rhythm, *, chance: float) -> Turn:
    """Return the turn of an event when what kept it from being mirrored has passed, such as an outage of the service.

    It is due within `min_interval`, at a moment of chance, so that not all events begin together. One that has not
    failed is left alone.

    Args:
        turn: As it was.
        now: This moment.
        rhythm: The settings.
        chance: A random number in [0, 1).
    """
    if not turn.faults:
        return turn
    return replace(turn, due=min(turn.due, now + rhythm.min_interval * chance))


def _shorten(wait: float, chance: float, part: float) -> float:
    """Take off up to `part` of a wait; a second remains."""
    return max(LEAST, wait * (1 - part * chance))


def _bring_nearer(moment: float, now: float, old: float, new: float, *, longest: float) -> float:
    """Bring a moment nearer by as much as its interval became shorter; never push it back."""
    remains = moment - now
    if remains <= 0 or (new >= old and remains <= longest):
        return moment  # as it is, to the last bit
    return now + min(remains * min(1.0, new / old), longest)
