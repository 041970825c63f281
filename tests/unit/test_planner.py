"""What is listed anew, decided from counts: every branch by table, the rules by hypothesis."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ninepic_mirror.archive.records import Hour
from ninepic_mirror.sync.planner import Known, Plan, Remote, Tail, make_plan

if TYPE_CHECKING:
    from collections.abc import Mapping

A, B, C = 1768777200, 1768780800, 1768784400  # three hours


def uncut(_hour: int) -> int:
    """A zone of whole hours."""
    return 0


def half(_hour: int) -> int:
    """A zone of half hours."""
    return 1800


def hour(reported: int, listed: int | None = None, repeated: int = 0, cut: int = 0) -> Hour:
    """An hour that was listed as it was reported, unless said otherwise."""
    return Hour(reported, reported if listed is None else listed, repeated, cut)


TABLE = {
    "nothing known, nothing there": (Known(), Remote({}, 0), Plan()),
    "a new event": (Known(), Remote({A: 2, B: 1}, 4), Plan((A, B), undated=True)),
    "an hour without photos is not asked for": (Known(), Remote({A: 0}, 0), Plan()),
    "nothing changed": (Known({A: hour(2)}, Tail(1, 1, 0)), Remote({A: 2}, 3), Plan()),
    "an old hour grew": (Known({A: hour(2), B: hour(1)}), Remote({A: 3, B: 1}, 4), Plan((A,))),
    "an hour shrank": (Known({A: hour(2)}), Remote({A: 1}, 1), Plan((A,))),
    "an hour is reported no more": (Known({A: hour(2), B: hour(1)}), Remote({B: 1}, 1), Plan((A,))),
    "an hour that was empty stays so": (Known({A: hour(0)}), Remote({}, 0), Plan()),
    "an empty hour is filled again": (Known({A: hour(0)}), Remote({A: 1}, 1), Plan((A,))),
    "fewer listed than reported": (Known({A: hour(3, 2)}), Remote({A: 3}, 3), Plan((A,))),
    "repeated rows explain it": (Known({A: hour(3, 2, 1)}), Remote({A: 3}, 3), Plan()),
    "more listed than reported": (Known({A: hour(2, 3)}), Remote({A: 2}, 2), Plan()),
    "an undated photo came": (Known({A: hour(2)}, Tail(0, 0, 0)), Remote({A: 2}, 3), Plan(undated=True)),
    "the undated tail was never listed": (Known({A: hour(2)}), Remote({A: 2}, 3), Plan(undated=True)),
    "fewer undated listed than reported": (Known({}, Tail(2, 1, 0)), Remote({}, 2), Plan(undated=True)),
    "the undated left": (Known({}, Tail(2, 2, 0)), Remote({}, 0), Plan(undated=True)),
    "more dated than there are": (Known({A: hour(5)}), Remote({A: 5}, 3), Plan()),
    "an address is wanted": (Known({A: hour(2), B: hour(1)}, unaddressed=frozenset({A})), Remote({A: 2, B: 1}, 3), Plan((A,))),
    "an undated address is wanted": (Known({}, Tail(1, 1, 0), unaddressed=frozenset({None})), Remote({}, 1), Plan(undated=True)),
    "an address of an hour that names it no more": (
        Known({A: hour(0)}, Tail(1, 1, 0), unaddressed=frozenset({A})), Remote({}, 1), Plan(undated=True),
    ),
    "an hour does not hold what it listed": (Known({A: hour(2), B: hour(1)}, doubtful=frozenset({B})), Remote({A: 2, B: 1}, 3), Plan((B,))),
    "an hour that is reported no more holds photos": (Known({A: hour(0)}, doubtful=frozenset({A, B})), Remote({}, 0), Plan((A, B))),
    "no timeline, no hours to list": (Known({}, event=Tail(3, 3, 0), doubtful=frozenset({B})), Remote(None, 3), Plan()),
    "no timeline, new": (Known(), Remote(None, 3), Plan(event=True)),
    "no timeline, empty": (Known(), Remote(None, 0), Plan()),
    "no timeline, unchanged": (Known(event=Tail(3, 3, 0)), Remote(None, 3), Plan()),
    "no timeline, changed": (Known(event=Tail(3, 3, 0)), Remote(None, 4), Plan(event=True)),
    "no timeline, an address is wanted": (
        Known(event=Tail(3, 3, 0), unaddressed=frozenset({A})), Remote(None, 3), Plan(event=True),
    ),
}  # fmt: skip


@pytest.mark.parametrize(("known", "remote", "plan"), TABLE.values(), ids=TABLE)
def test_only_what_differs_is_listed(known: Known, remote: Remote, plan: Plan) -> None:
    """The plan holds what the counts show to differ from the manifest, and nothing else."""
    assert make_plan(known, remote, uncut) == plan
    assert bool(plan) == (plan != Plan())


def test_everything_is_every_hour_and_the_undated() -> None:
    """A full pass lists every hour and the undated tail, or, without a timeline, the whole event."""
    known = Known({A: hour(2)}, Tail(1, 1, 0), Tail(3, 3, 0))
    assert make_plan(known, Remote({A: 2}, 3), uncut, everything=True) == Plan((A,), undated=True)
    assert make_plan(known, Remote(None, 3), uncut, everything=True) == Plan(event=True)


def test_an_hour_is_cut_when_the_zone_asks_for_it() -> None:
    """An hour that was listed uncut is listed again in its halves; an empty one and one cut there already are not."""
    known = Known({A: hour(2), B: hour(2, cut=1800), C: hour(0)})
    assert make_plan(known, Remote({A: 2, B: 2}, 4), half) == Plan((A,))
    assert make_plan(known, Remote({A: 2, B: 2}, 4), uncut) == Plan()


def test_what_this_pass_has_listed_is_not_listed_again() -> None:
    """An hour, a tail or an event is listed once for each count that is reported, also in a full pass."""
    known, remote = Known(), Remote({A: 2, B: 1}, 4)
    done: Mapping[int | None, int] = {A: 2, B: 1, None: 1}
    assert make_plan(known, remote, uncut, everything=True, done=done) == Plan()
    assert make_plan(known, Remote({A: 3, B: 1}, 5), uncut, done=done) == Plan((A,))
    assert make_plan(known, Remote(None, 4), uncut, done={None: 4}) == Plan()
    doubtful = Known(doubtful=frozenset({B}))
    assert make_plan(doubtful, remote, uncut, done=done) == Plan((B,)), "unless it is in doubt"


COUNTS = st.dictionaries(st.sampled_from((A, B, C)), st.integers(0, 4))


@given(hours=COUNTS, undated=st.integers(0, 3))
def test_a_plan_that_is_carried_out_is_the_last(hours: dict[int, int], undated: int) -> None:
    """When everything of a plan was listed as reported, nothing more is planned."""
    remote = Remote(hours, sum(hours.values()) + undated)
    plan = make_plan(Known(), remote, uncut)
    known = Known({start: hour(hours[start]) for start in plan.hours}, Tail(undated, undated, 0))
    assert make_plan(known, remote, uncut) == Plan()


@given(before=COUNTS, after=COUNTS, undated=st.integers(0, 3))
def test_every_change_of_a_count_is_looked_at(
    before: dict[int, int], after: dict[int, int], undated: int
) -> None:
    """Exactly the hours whose count changed are planned, in order of time."""
    known = Known(
        {start: hour(count) for start, count in before.items()}, Tail(undated, undated, 0)
    )
    plan = make_plan(known, Remote(after, sum(after.values()) + undated), uncut)
    changed = {start for start in (A, B, C) if before.get(start, 0) != after.get(start, 0)}
    assert plan == Plan(tuple(sorted(changed)))


@given(hours=COUNTS, total=st.integers(0, 20))
def test_counts_that_contradict_each_other_are_no_negative_photos(
    hours: dict[int, int], total: int
) -> None:
    """However the total and the hours' counts disagree, there are never fewer than no undated photos."""
    remote = Remote(hours, total)
    assert remote.undated == max(0, total - sum(hours.values()))
    assert Remote(None, total).undated == total
