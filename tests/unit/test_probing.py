"""Is it the origin that fails, or one request? What is simple is asked, on the virtual clock (DESIGN §8)."""

from __future__ import annotations

from itertools import pairwise
from random import Random

import pytest
import trio
import trio.testing

from ninepic_mirror.errors import EventNotFoundError, PassingError, UnreachableError
from ninepic_mirror.ninepic.backoff import ATTEMPTS, CAP
from ninepic_mirror.ninepic.pacing import (
    AGAIN,
    CROWD,
    DOUBT,
    GIVE_UP,
    PROBE,
    Pace,
    Pacer,
    api_pace,
    photos_pace,
)


def pacer(pace: Pace | None = None) -> Pacer:
    """Make one, for the API if nothing else is said, whose jitter is the same in every run."""
    return Pacer(pace or api_pace("https://x"), None, Random(1))


async def fail() -> None:
    """Fail in a passing way, for ever."""
    await trio.sleep(0.01)
    raise PassingError("500")


@pytest.mark.parametrize("answer", [None, EventNotFoundError(456)])
async def test_a_request_that_fails_alone_fails_as_itself(
    autojump_clock: trio.testing.MockClock, answer: Exception | None
) -> None:
    """Where something simple is answered, in whatever definite way, the one that fails is no outage, however long it takes."""
    subject, asked = pacer(), []

    async def probe() -> None:
        asked.append(trio.current_time())
        await trio.sleep(0.01)
        if answer is not None:
            raise answer

    for _ in range(4):
        with pytest.raises(PassingError, match="500"):
            await subject.run(fail, probe)
        assert trio.current_time() > 10
    assert trio.current_time() > GIVE_UP
    assert min(after - before for before, after in pairwise(asked)) >= DOUBT
    tries = subject.statistics().requests - len(asked)
    assert 4 * ATTEMPTS <= tries <= 4 * (ATTEMPTS + 4)


@pytest.mark.parametrize("pace", [api_pace("https://x"), photos_pace("https://x")])
async def test_a_request_of_slow_failures_is_no_outage(
    autojump_clock: trio.testing.MockClock, pace: Pace
) -> None:
    """One whose attempts time out has not had all of them after 120 s; what is simple is asked before the origin is given up."""
    subject, tries = pacer(pace), []

    async def hang() -> None:
        tries.append(trio.current_time())
        await trio.sleep(GIVE_UP / 2 + 1)
        raise PassingError("no answer")

    async def probe() -> None:
        await trio.sleep(0.01)

    with pytest.raises(PassingError, match="no answer"):
        await subject.run(hang, probe)
    assert len(tries) == ATTEMPTS


@pytest.mark.parametrize("hangs", [True, False])
async def test_an_origin_that_answers_nothing_is_given_up(
    autojump_clock: trio.testing.MockClock, hangs: bool
) -> None:
    """Where the simple thing is not answered either, it is an outage, which ends after 120 s and not much later."""
    subject, asked = pacer(), []

    async def probe() -> None:
        asked.append(1)
        await trio.sleep(3600 if hangs else 0.01)
        raise PassingError("429", refused=True)

    ends: list[Exception | None] = []

    async def one() -> None:
        try:
            await subject.run(fail, probe)
        except (PassingError, UnreachableError) as error:
            ends.append(error)

    async with trio.open_nursery() as nursery:
        for _ in range(4):
            nursery.start_soon(one)
    assert [type(end) for end in ends] == [UnreachableError] * 4
    assert GIVE_UP <= trio.current_time() <= GIVE_UP + 2 * CAP + PROBE
    assert len(asked) <= trio.current_time() / AGAIN
    assert subject.statistics().under_way == 0


@pytest.mark.parametrize("lives", [True, False])
async def test_many_photos_that_fail_are_no_outage_where_one_comes_that_was_had(
    autojump_clock: trio.testing.MockClock, lives: bool
) -> None:
    """They fail as themselves; where it does not come either, the origin is given up. It is asked for every 15 s at most."""
    subject, asked, ends = pacer(photos_pace("https://x")), [], list[Exception]()

    async def probe() -> None:
        asked.append(trio.current_time())
        await trio.sleep(0.01)
        if not lives:
            raise PassingError("500")

    async def one() -> None:
        try:
            await subject.run(fail, probe)
        except (PassingError, UnreachableError) as error:
            ends.append(error)

    async with trio.open_nursery() as nursery:
        for _ in range(2 * CROWD):
            nursery.start_soon(one)
    assert {type(end) for end in ends} == {PassingError if lives else UnreachableError}
    assert (trio.current_time() < GIVE_UP) is lives
    assert min(after - before for before, after in pairwise([0, *asked])) >= AGAIN


async def test_an_outage_that_ends_flickering_fails_nothing(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """A request that failed for 100 s is not given up because the first sign of life is that of a probe."""
    subject, left = pacer(), [True] * 2

    async def attempt() -> int:
        await trio.sleep(0.01)
        if trio.current_time() < 100 or (left and left.pop()):
            raise PassingError("503")
        return 1

    async def probe() -> None:
        await trio.sleep(0.01)
        if trio.current_time() < 90:
            raise PassingError("503")

    assert await subject.run(attempt, probe) == 1


async def test_a_probe_is_made_only_in_doubt(autojump_clock: trio.testing.MockClock) -> None:
    """While others are answered, nothing is asked beside them."""
    subject = pacer()

    async def good() -> None:
        await trio.sleep(0.05)

    async def others() -> None:
        while True:
            await subject.run(good)

    async def probe() -> None:
        raise AssertionError

    async with trio.open_nursery() as nursery:
        nursery.start_soon(others)
        with pytest.raises(PassingError):
            await subject.run(fail, probe)
        nursery.cancel_scope.cancel()
