"""What was asked of the two origins adds up over all sessions of a daemon."""

from __future__ import annotations

from dataclasses import dataclass, field
from random import Random
from typing import TYPE_CHECKING, cast

import pytest
import trio
import trio.testing

from ninepic_mirror.errors import PassingError
from ninepic_mirror.ninepic.pacing import Pacer, api_pace, photos_pace
from ninepic_mirror.service.traffic import Meter

if TYPE_CHECKING:
    from ninepic_mirror.sync.session import Session


@dataclass
class Client:
    """What counts its answers."""

    pacer: Pacer
    statuses: dict[int, int] = field(default_factory=dict)


class Run:
    """The part of a session that a meter reads: real pacers, and counters that a test fills."""

    def __init__(self) -> None:
        self.client = Client(Pacer(api_pace("https://api", give_up=None), None, Random(1)))
        self.pacer = Pacer(photos_pace("https://photos", give_up=None), None, Random(2))
        self.photos = Client(self.pacer)

    @property
    def session(self) -> Session:
        """Itself."""
        return cast("Session", self)

    async def ask(self, *answers: Exception | None) -> None:
        """Make one request of the API that gets these answers, the last of them a good one."""
        faults = iter(answers)

        async def attempt() -> None:
            fault = next(faults)
            if fault is not None:
                self._count(503)
                raise fault
            self._count(200)

        await self.client.pacer.run(attempt)

    def _count(self, status: int) -> None:
        self.client.statuses[status] = self.client.statuses.get(status, 0) + 1


def test_without_a_session_there_is_nothing_to_read() -> None:
    """Neither before the first nor between two; ending none is fine."""
    meter = Meter()
    assert (meter.read(), meter.retries, meter.waits_until) == ({}, 0, None)
    meter.end()
    assert (meter.read(), meter.retries, meter.waits_until) == ({}, 0, None)


async def test_counts_add_up_over_sessions(autojump_clock: trio.testing.MockClock) -> None:
    """Each session has counters of its own that begin at nothing; the board's only grow."""
    meter = Meter()
    first = Run()
    meter.begin(first.session)
    await first.ask(PassingError("503", refused=True), PassingError("500"), None)
    first.photos.statuses |= {200: 7, 0: 1}
    shown = meter.read()
    assert shown["api"].statuses == {503: 2, 200: 1}
    assert shown["photos"].statuses == {200: 7, 0: 1}
    assert (shown["api"].refused, shown["photos"].refused) == (1, 0)
    assert meter.retries == 2
    meter.end()
    assert meter.retries == 2

    second = Run()
    meter.begin(second.session)
    assert meter.read()["api"].statuses == {503: 2, 200: 1}
    await second.ask(PassingError("503", refused=True), None)
    second.photos.statuses |= {200: 1, 404: 3}
    shown = meter.read()
    assert shown["api"].statuses == {503: 3, 200: 2}
    assert shown["photos"].statuses == {200: 8, 0: 1, 404: 3}
    assert shown["api"].refused == 2
    assert meter.retries == 3
    assert meter.read() == shown, "reading counts nothing twice"


async def test_limits_are_those_of_now(autojump_clock: trio.testing.MockClock) -> None:
    """Of the session that is open: width, rate, and for how long an origin wants to be left alone."""
    meter, run = Meter(), Run()
    meter.begin(run.session)
    assert meter.waits_until == -float("inf")
    assert meter.read()["photos"].waits == 0
    with trio.move_on_after(1):
        await run.ask(PassingError("503", refused=True, retry_after=100.0), None)
    shown = meter.read()
    assert shown["api"].waits == pytest.approx(99)
    assert meter.waits_until == pytest.approx(trio.current_time() + 99)
    assert shown["photos"].waits == 0
    assert shown["api"].concurrency == run.client.pacer.statistics().concurrency > 0
    assert shown["photos"].rate is None
    await trio.sleep(200)
    assert meter.read()["api"].waits == 0
