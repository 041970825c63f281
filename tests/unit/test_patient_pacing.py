"""How the daemon bears what an origin asks for: it waits, but not for one that never answers (DESIGN §8)."""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING

import pytest
import trio
import trio.testing
from msgspec import structs

from ninepic_mirror.errors import PassingError, UnreachableError
from ninepic_mirror.ninepic.backoff import ATTEMPTS, CAP, LONGEST
from ninepic_mirror.ninepic.pacing import CROWD, Pace, Pacer, api_pace, photos_pace

if TYPE_CHECKING:
    from collections.abc import Callable


def daemons(make: Callable[[str], Pace]) -> Pacer:
    """Make a pacer as the daemon has one, whose jitter is the same in every run."""
    return Pacer(structs.replace(make("https://x"), give_up=30.0, waits=True), None, Random(1))


@pytest.mark.parametrize("make", [api_pace, photos_pace])
async def test_a_patient_one_waits_as_long_as_it_is_asked_to(
    make: Callable[[str], Pace], autojump_clock: trio.testing.MockClock
) -> None:
    """However often an origin asks to be left alone for long: it is not given up for a quarter of an hour, and no more is asked."""
    subject, tries = daemons(make), []
    began = trio.current_time()

    async def attempt() -> str:
        tries.append(trio.current_time())
        await trio.sleep(0.01)
        if trio.current_time() - began < LONGEST - 50:
            raise PassingError("429", refused=True, retry_after=45.0)
        return "back"

    ends: list[str] = []

    async def one() -> None:
        ends.append(await subject.run(attempt))

    async with trio.open_nursery() as nursery:
        for _ in range(CROWD):
            nursery.start_soon(one)
        await trio.sleep(100)
        assert subject.silence == pytest.approx(100), "which is told all the same"
    assert ends == ["back"] * CROWD
    assert len({round(moment) // 45 for moment in tries}) >= 18
    assert subject.statistics().requests <= 20 * CROWD


@pytest.mark.parametrize(("asks", "given_up"), [(5.0, 30.0), (45.0, LONGEST)])
async def test_a_patient_one_gives_up_who_never_answers(
    autojump_clock: trio.testing.MockClock, asks: float, given_up: float
) -> None:
    """Short waits are no reason to wait on for ever, nor are long ones: then the pass ends, and that is told."""
    subject, ends = daemons(photos_pace), list[float]()

    async def attempt() -> None:
        await trio.sleep(0.01)
        raise PassingError("503", refused=True, retry_after=asks)

    async def one() -> None:
        with pytest.raises(UnreachableError):
            await subject.run(attempt)
        ends.append(trio.current_time())

    async with trio.open_nursery() as nursery:
        for _ in range(2 * CROWD):
            nursery.start_soon(one)
    assert given_up <= min(ends) < given_up + 2 * asks + 30


async def test_a_patient_one_gives_up_who_says_nothing_more(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """Silence counts from the end of the wait that was asked for."""
    subject = daemons(api_pace)
    began = trio.current_time()

    async def attempt() -> None:
        first = trio.current_time() == began
        raise PassingError("503", refused=first, retry_after=600.0 if first else None)

    with pytest.raises(UnreachableError) as caught:
        await subject.run(attempt)
    assert caught.value.until is None
    assert 630 <= trio.current_time() - began <= 630 + CAP


async def test_a_photo_that_asks_for_a_wait_fails_by_itself(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """One that answers each time with `Retry-After`: others come between its attempts, and it uses these up."""
    subject, good = daemons(photos_pace), []

    async def bad() -> None:
        await trio.sleep(0.02)
        raise PassingError("503", refused=True, retry_after=40.0)

    async def fine() -> None:
        await trio.sleep(0.01)
        good.append(trio.current_time())

    async def many() -> None:
        for _ in range(25):
            await subject.run(fine)

    async with trio.open_nursery() as nursery:
        for _ in range(8):
            nursery.start_soon(many)
        with pytest.raises(PassingError, match="503"):
            await subject.run(bad)
    assert len(good) == 200
    assert trio.current_time() <= 40 * ATTEMPTS + 60
