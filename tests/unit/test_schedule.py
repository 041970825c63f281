"""When events are looked at: properties of each decision, and weeks and months on a clock made of plain numbers."""

from __future__ import annotations

import heapq
from collections import defaultdict
from dataclasses import dataclass, field, replace
from itertools import pairwise
from random import Random
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ninepic_mirror.config import Daemon
from ninepic_mirror.service.schedule import (
    AT_ONCE,
    FULL_JITTER,
    JITTER,
    LEAST,
    Outcome,
    Rhythm,
    Turn,
    adapt,
    after,
    first,
    is_full,
    recover,
)

if TYPE_CHECKING:
    from collections.abc import Callable

HOUR, DAY = 3600.0, 86_400.0
USUAL = Rhythm.of(Daemon())
QUIET = Outcome(changed=False, is_today=False, full=False)
LIVE = Outcome(changed=True, is_today=False, full=False)
FAULT = Outcome(changed=False, is_today=False, full=False, failed=True)
OUTAGE = replace(FAULT, outage=True)
CENTURY = 36_525 * DAY  # the longest that the configuration takes


def plain(interval: float = 60.0) -> Turn:
    """Return a turn that is due at 0, its full pass in a day."""
    return Turn(due=0.0, interval=interval, full_due=DAY, full_interval=DAY)


chances = st.floats(0, 1, exclude_max=True)
moments = st.floats(0, 1e9)
spans = st.integers(1, int(CENTURY))
outcomes = st.builds(
    Outcome,
    st.booleans(),
    st.booleans(),
    st.booleans(),
    st.booleans(),
    st.booleans(),
    st.booleans(),
)


@st.composite
def rhythms(draw: st.DrawFn) -> Rhythm:
    """Return any rhythm that a configuration can ask for."""
    shortest, longest = sorted((draw(spans), draw(spans)))
    return Rhythm.of(Daemon(min_interval=shortest, max_interval=longest, full_interval=draw(spans)))


@st.composite
def turns(draw: st.DrawFn) -> Turn:
    """Return any turn, fit for the rhythm or not."""
    return Turn(
        draw(moments),
        draw(st.floats(1, CENTURY)),
        draw(moments),
        draw(st.floats(1, CENTURY)),
        draw(st.integers(0, 5000)),
    )


def test_settings_are_made_fit_to_count_with() -> None:
    """Nothing is below a second, and the longest interval is not the shorter one."""
    assert Rhythm.of(Daemon(0, 0, 0)) == Rhythm(LEAST, LEAST, LEAST)
    assert Rhythm.of(Daemon(60, 30, 10)) == Rhythm(60, 60, 10)
    assert Rhythm(1, 2, 3).full_most == 30 * DAY
    assert Rhythm(30, 6 * HOUR, DAY) == USUAL


@given(turns(), moments, rhythms(), outcomes, chances)
def test_every_wait_is_within_its_bounds(
    turn: Turn, now: float, rhythm: Rhythm, outcome: Outcome, chance: float
) -> None:
    """A second at least, the longest interval at most, whatever came before: an event is never forgotten."""
    then = after(turn, now, rhythm, outcome, chance=chance)
    shortest = max(LEAST, rhythm.min_interval * (1 - JITTER))
    assert now + shortest - 1e-3 <= then.due <= now + rhythm.max_interval + 1e-3
    if not outcome.failed:
        assert rhythm.min_interval <= then.interval <= rhythm.max_interval
        assert then.full_interval >= rhythm.full_interval
        assert then.faults == 0
        # the full pass is begun when it is due, as far as min_interval allows
        assert then.due <= max(then.full_due, now + rhythm.min_interval) + 1e-3
    if outcome.full and not outcome.failed:
        assert now < then.full_due <= now + then.full_interval + 1e-3


@given(turns(), moments, rhythms(), outcomes, chances, chances)
def test_chance_only_shortens(
    turn: Turn, now: float, rhythm: Rhythm, outcome: Outcome, low: float, high: float
) -> None:
    """The greater the number, the sooner; nothing else depends on it."""
    low, high = sorted((low, high))
    late = after(turn, now, rhythm, outcome, chance=low)
    soon = after(turn, now, rhythm, outcome, chance=high)
    assert soon.due <= late.due
    assert soon.full_due <= late.full_due
    assert replace(soon, due=late.due, full_due=late.full_due) == late


@given(turns(), moments, rhythms(), chances)
def test_waits_grow_while_nothing_changes(
    turn: Turn, now: float, rhythm: Rhythm, chance: float
) -> None:
    """Quiet passes and faults lengthen the wait, never shorten it; news ends that at once."""
    turn = replace(turn, interval=rhythm.fit(turn.interval), full_due=1e18)
    quiet = after(turn, now, rhythm, QUIET, chance=chance)
    assert turn.interval <= quiet.interval <= 2 * turn.interval
    assert after(quiet, now, rhythm, QUIET, chance=chance).due >= quiet.due
    assert after(quiet, now, rhythm, LIVE, chance=chance).interval == rhythm.min_interval
    fault = after(turn, now, rhythm, FAULT, chance=chance)
    assert after(fault, now, rhythm, FAULT, chance=chance).due >= fault.due
    assert (fault.interval, fault.full_due) == (turn.interval, turn.full_due)


@given(turns(), moments, rhythms())
def test_new_settings_hold_at_once(turn: Turn, now: float, rhythm: Rhythm) -> None:
    """Nothing is due later than they allow, and nothing later than it was."""
    then = adapt(turn, now, rhythm)
    assert then.due <= min(turn.due, now + rhythm.max_interval) + 1e-3
    assert then.full_due <= min(turn.full_due, now + rhythm.full_interval) + 1e-3
    assert rhythm.min_interval <= then.interval <= rhythm.max_interval
    assert then.faults == turn.faults


@given(
    moments,
    rhythms(),
    chances,
    st.none() | st.floats(-1e6, CENTURY),
    st.integers(0, 1000),
    st.none() | st.floats(0, CENTURY),
)
def test_the_start_is_within_its_bounds(
    now: float, rhythm: Rhythm, chance: float, age: float | None, place: int, past: float | None
) -> None:
    """Every event begins within the longest interval, and its full pass within that of full passes."""
    turn = first(
        now, rhythm, chance=chance, full_age=age, place=place, of=1001, quiet=past, full_gap=past
    )
    assert now <= turn.due <= now + rhythm.max_interval + 1e-3
    assert now <= turn.full_due <= now + turn.full_interval + 1e-3
    assert rhythm.min_interval <= turn.interval <= rhythm.max_interval
    assert turn.faults == 0
    if age is None:
        assert turn.due == now
        assert is_full(turn, now)


def test_the_start_is_spread() -> None:
    """A few events begin at once, the others one after the other, half a second apart."""
    due = [
        first(0, USUAL, chance=0.5, full_age=HOUR, place=place, of=200).due for place in range(200)
    ]
    assert due == sorted(due)
    assert due[:AT_ONCE] == [0] * AT_ONCE
    assert due[-1] == pytest.approx(98, abs=1)
    # closer, where the settings leave no time
    hasty = Rhythm(1, 10, DAY)
    assert first(0, hasty, chance=0.9, full_age=HOUR, place=199, of=200).due < 10


def test_overdue_full_passes_are_spread() -> None:
    """After a week without power, 200 full passes do not begin together, but within hours."""
    due = sorted(
        first(0, USUAL, chance=place / 200, full_age=7 * DAY, place=place, of=200).full_due
        for place in range(200)
    )
    assert due[-1] <= DAY * FULL_JITTER
    assert all(late - soon < 200 for soon, late in pairwise(due))
    assert sum(moment < 60 for moment in due) <= 1
    # one that is not overdue waits for what is left
    turn = first(0, USUAL, chance=0.0, full_age=20 * HOUR, place=0, of=1)
    assert turn.full_due == pytest.approx(4 * HOUR)


def test_a_restart_takes_up_what_the_manifest_tells() -> None:
    """An event that was quiet for a day is not run up to again from half a minute."""
    turn = first(0, USUAL, chance=0, full_age=0, place=0, of=1, quiet=DAY, full_gap=4 * DAY)
    assert (turn.interval, turn.full_interval) == (6 * HOUR, 4 * DAY)
    turn = first(0, USUAL, chance=0, full_age=0, place=0, of=1, quiet=600)
    assert (turn.interval, turn.full_interval) == (300, DAY)
    assert first(0, USUAL, chance=0, full_age=0, place=0, of=1).interval == 30


def test_the_rhythm_of_an_event() -> None:
    """Short while photos come, doubling up to the longest when they do not, short again at once."""
    turn, found = replace(plain(30), full_due=1e9), []
    for _ in range(11):
        turn = after(turn, 0, USUAL, QUIET, chance=0)
        found.append(turn.due)
    assert found == [60, 120, 240, 480, 960, 1920, 3840, 7680, 15360, 21600, 21600]
    assert after(turn, 0, USUAL, replace(QUIET, is_today=True), chance=0).due == 30
    turn = after(turn, 0, USUAL, LIVE, chance=0)
    assert turn.due == 30
    assert after(turn, 0, USUAL, QUIET, chance=0).due == 60


def test_full_passes_double_while_they_find_nothing() -> None:
    """From a day to thirty, and back to one when something was found."""
    turn, found = plain(), []
    nothing = replace(QUIET, full=True)
    for _ in range(6):
        turn = after(turn, 0, USUAL, nothing, chance=0)
        found.append(turn.full_due / DAY)
    assert found == [2, 4, 8, 16, 30, 30]
    assert after(turn, 0, USUAL, replace(nothing, found=True), chance=0).full_due == DAY
    # one that failed is still due, and a quick one says nothing of it
    assert after(turn, 9, USUAL, replace(nothing, failed=True), chance=0).full_due == turn.full_due
    assert after(turn, 9, USUAL, QUIET, chance=0).full_due == turn.full_due
    # what is configured holds, also beyond thirty days
    rare = Rhythm(30, 6 * HOUR, 60 * DAY)
    assert after(turn, 0, rare, nothing, chance=0).full_due == 60 * DAY


def test_a_full_pass_waits_for_no_quick_one() -> None:
    """A quiet event is looked at when its full pass is due, but not sooner than min_interval allows."""
    turn = replace(plain(6 * HOUR), full_due=HOUR)
    assert after(turn, 0, USUAL, QUIET, chance=0).due == HOUR
    assert after(turn, HOUR - 1, USUAL, QUIET, chance=0).due == HOUR + 29


def test_fault_pauses_grow_and_recover() -> None:
    """From the shortest interval to the longest; a good pass takes the rhythm up where it was."""
    turn, found = plain(960), []
    for _ in range(12):
        turn = after(turn, 0, USUAL, FAULT, chance=0)
        found.append(turn.due)
    assert found == [30, 60, 120, 240, 480, 960, 1920, 3840, 7680, 15360, 21600, 21600]
    assert turn.faults == 12
    good = after(turn, 0, USUAL, QUIET, chance=0)
    assert (good.due, good.faults) == (1920, 0)
    assert after(good, 0, USUAL, FAULT, chance=0).due == 30
    assert after(replace(turn, faults=10**9), 0, USUAL, FAULT, chance=0).due == 6 * HOUR


def test_an_outage_pauses_no_longer_than_the_events_own_interval() -> None:
    """A live event is fresh again within half a minute of the service's return, a quiet one within its interval."""
    live, quiet = plain(30), plain(300)
    for _ in range(8):
        live = after(live, 0, USUAL, OUTAGE, chance=0)
        quiet = after(quiet, 0, USUAL, OUTAGE, chance=0)
    assert (live.due, quiet.due) == (30, 300)


def test_when_a_common_trouble_is_over_what_failed_is_due_soon() -> None:
    """Within the shortest interval, spread by chance; what did not fail, or is due sooner, stays."""
    failed = replace(plain(), due=9000, faults=9)
    assert recover(failed, 100, USUAL, chance=0.5).due == 115
    assert recover(replace(failed, due=101), 100, USUAL, chance=0.5).due == 101
    assert recover(replace(failed, faults=0), 100, USUAL, chance=0.5).due == 9000


def test_a_pass_that_began_early_or_late_counts_from_its_end() -> None:
    """One asked for by hand, and one after a suspended machine woke: nothing is made up for."""
    turn = Turn(due=1000, interval=60, full_due=1e9, full_interval=DAY)
    assert after(turn, 5, USUAL, QUIET, chance=0).due == 125
    assert after(turn, 1e8, USUAL, QUIET, chance=0).due == 1e8 + 120


def test_shorter_settings_keep_what_was_spread() -> None:
    """What waited up to six hours waits up to a minute, in the same order; longer settings hasten nothing."""
    hasty = Rhythm(10, 60, HOUR)
    waiting = [
        Turn(HOUR * hours, 6 * HOUR, full_due=DAY * hours, full_interval=8 * DAY)
        for hours in range(1, 7)
    ]
    then = [adapt(turn, 0, hasty) for turn in waiting]
    assert [turn.due for turn in then] == [10, 20, 30, 40, 50, 60]
    assert [turn.full_due for turn in then] == [450 * hours for hours in range(1, 7)]
    assert adapt(waiting[0], 0, Rhythm(DAY, DAY, 30 * DAY)).due == HOUR
    assert adapt(replace(plain(10), due=5 * HOUR, faults=9), 0, hasty).due == 60
    assert adapt(replace(plain(), due=-5), 0, hasty).due == -5


@given(turns(), moments, rhythms())
def test_the_same_settings_change_nothing(turn: Turn, now: float, rhythm: Rhythm) -> None:
    """However often they are read again: no full pass comes sooner for it."""
    once = adapt(turn, now, rhythm)
    assert adapt(once, now, rhythm) == once
    quiet = Turn(
        due=5 * HOUR, interval=6 * HOUR, full_due=9 * DAY, full_interval=16 * DAY, full_basis=DAY
    )
    assert adapt(quiet, 0, USUAL) == quiet


@dataclass
class World:
    """Events under one daemon that runs up to `side` passes at a time, on a clock that jumps from pass to pass.

    Args:
        rhythm: The settings.
        outcome: Event and moment → how its pass ends.
        events: How many.
        side: Passes side by side.
        quick: Seconds that a quick pass takes.
        slow: ... that a full one takes.
    """

    rhythm: Rhythm
    outcome: Callable[[int, float], Outcome]
    events: int = 200
    side: int = 4
    quick: float = 0.3
    slow: float = 5.0
    random: Random = field(default_factory=lambda: Random(1))
    turns: dict[int, Turn] = field(default_factory=dict)
    began: dict[int, list[float]] = field(default_factory=lambda: defaultdict(list))
    full: dict[int, list[float]] = field(default_factory=lambda: defaultdict(list))

    def start(self, now: float = 0.0, full_age: float | None = HOUR) -> World:
        """Start the daemon."""
        for event in range(self.events):
            self.turns[event] = first(
                now,
                self.rhythm,
                chance=self.random.random(),
                full_age=full_age,
                place=event,
                of=self.events,
            )
        return self

    def run(self, since: float, until: float) -> World:
        """Make the passes that are due, the one that waits longest first."""
        waiting = [(turn.due, event) for event, turn in self.turns.items()]
        heapq.heapify(waiting)
        slots = [since] * self.side
        while waiting[0][0] < until:
            due, event = heapq.heappop(waiting)
            now = max(due, heapq.heappop(slots))
            turn = self.turns[event]
            full = is_full(turn, now)
            self.began[event].append(now)
            if full:
                self.full[event].append(now)
            end = now + (self.slow if full else self.quick)
            heapq.heappush(slots, end)
            outcome = self.outcome(event, now)
            if full:
                outcome = replace(outcome, full=True)
            turn = after(turn, end, self.rhythm, outcome, chance=self.random.random())
            self.turns[event] = turn
            heapq.heappush(waiting, (turn.due, event))
        return self

    def busiest(self, window: float, since: float = 0.0) -> int:
        """Return how many passes began within any `window` seconds, at most."""
        return busiest(self.began, window, since)


def busiest(began: dict[int, list[float]], window: float, since: float = 0.0) -> int:
    """Return how many of these moments lie within any `window` seconds, at most."""
    moments = sorted(moment for some in began.values() for moment in some if moment >= since)
    most, low = 0, 0
    for high, moment in enumerate(moments):
        while moments[low] <= moment - window:
            low += 1
        most = max(most, high - low + 1)
    return most


def gaps(moments: list[float]) -> list[float]:
    """Return the times between moments."""
    return [late - soon for soon, late in pairwise(moments)]


def test_two_weeks_of_200_events_of_which_one_is_live() -> None:
    """Each event has the passes of its rhythm, the live one is never kept waiting, and nothing bursts."""
    world = World(USUAL, lambda event, _: LIVE if event == 7 else QUIET).start().run(0, 14 * DAY)
    live = world.began.pop(7)
    # 30 s and a pass of 0.3 s; up to a tenth less by jitter, more where it was a full one or waited for a slot
    assert 14 * DAY / 31 <= len(live) <= 14 * DAY / 27.3
    assert max(gaps(live)) <= 30 + 2 * world.slow
    run_up, full = 10, 5  # doublings from 30 s to six hours; full passes of two weeks
    for moments in world.began.values():
        steady = 14 * DAY / (6 * HOUR)
        assert steady <= len(moments) <= steady / 0.9 + run_up + full
    # Four slots could begin 800 passes a minute. When it has settled, 199 quiet events need one in two minutes.
    assert world.busiest(60, since=2 * DAY) <= 20
    assert world.busiest(1) <= 4 * world.side


def test_months_of_full_passes() -> None:
    """Every event is fully listed as often as the schedule says: after 1, 2, 4, 8, 16 and then every 30 days."""
    world = World(USUAL, lambda *_: QUIET, events=60).start().run(0, 150 * DAY)
    most = [1, 2, 4, 8, 16, *[30] * 9]
    for moments in world.full.values():
        for gap, days in zip(gaps([-HOUR, *moments]), most, strict=False):
            # on time to the pass before it and those that were due together with it
            assert days * DAY * (1 - FULL_JITTER) - HOUR <= gap <= days * DAY + 60
        assert len(moments) >= 8
    assert busiest(world.full, 60) <= 4


def test_full_passes_that_find_something_stay_daily() -> None:
    """Nothing doubles, and nothing is ever more than a day without a full listing."""
    found = replace(QUIET, found=True)
    world = World(USUAL, lambda *_: found, events=40).start().run(0, 60 * DAY)
    for moments in world.full.values():
        assert max(gaps(moments)) <= DAY + 60
        assert 60 <= len(moments) <= 60 / (1 - FULL_JITTER) + 1


def test_new_events_all_begin_at_once_and_drift_apart() -> None:
    """200 events that were never listed: the daemon takes them a few at a time; a month later no two minutes are busy."""
    world = World(USUAL, lambda *_: QUIET).start(full_age=None).run(0, 30 * DAY)
    assert all(moments[0] <= 200 * world.slow for moments in world.full.values())
    assert busiest(world.full, 60, since=HOUR) <= 12
    assert world.busiest(60, since=10 * DAY) <= 20


def test_events_that_are_due_together_do_not_stay_together() -> None:
    """A machine that slept for a week: all are overdue, each has its pass, and then they spread again."""
    world = World(USUAL, lambda *_: QUIET).start().run(0, 5 * DAY)
    woke = 12 * DAY
    world.run(woke, woke + 10 * DAY)
    for moments in world.began.values():
        assert any(woke <= moment <= woke + 200 * world.slow for moment in moments)
    assert world.busiest(60, since=woke + HOUR) <= 20


def test_one_shortest_interval_for_all() -> None:
    """Every event live at a second's interval: all have their share, however few go side by side."""
    world = World(Rhythm(1, 1, DAY), lambda *_: LIVE).start().run(0, 600)
    shares = [len(moments) for moments in world.began.values()]
    assert min(shares) >= 0.8 * max(shares) > 10
    assert world.busiest(1) <= 4 * world.side


def test_an_hour_without_the_service() -> None:
    """No event spins meanwhile, and each is fresh within one of its own intervals of the return."""
    down, back = DAY, DAY + HOUR
    world = World(
        USUAL,
        lambda event, now: OUTAGE if down <= now < back else LIVE if event == 7 else QUIET,
    )
    world.start().run(0, down)
    before = {event: turn.interval for event, turn in world.turns.items()}
    world.run(down, 2 * DAY)
    for event, moments in world.began.items():
        assert sum(down <= moment < back for moment in moments) <= HOUR / 27
        fresh = next(moment for moment in moments if moment >= back)
        assert fresh <= back + before[event] + 60


def test_a_full_disk_for_a_day() -> None:
    """Tries become rare, and a good pass ends that."""
    world = World(USUAL, lambda _, now: FAULT if now < DAY else LIVE, events=10)
    world.start().run(0, 1.5 * DAY)
    for moments in world.began.values():
        tries = [moment for moment in moments if moment < DAY]
        assert 10 <= len(tries) <= 15
        again = [moment for moment in moments if moment >= DAY]
        assert again[0] <= DAY + 6 * HOUR
        assert max(gaps(again)) <= 30 + 2 * world.slow
