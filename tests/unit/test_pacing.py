"""Pace, retry and giving up, on the virtual clock (DESIGN §8)."""

from __future__ import annotations

import math
from email.utils import formatdate
from random import Random
from typing import TYPE_CHECKING

import pytest
import trio
import trio.testing
from hypothesis import given
from hypothesis import strategies as st

from ninepic_mirror.errors import (
    EventNotFoundError,
    PassingError,
    UnreachableError,
)
from ninepic_mirror.ninepic.backoff import ATTEMPTS, BASE, CAP, LONGEST, backoff, read_retry_after
from ninepic_mirror.ninepic.pacing import (
    API_FLOOR,
    CROWD,
    GIVE_UP,
    PHOTOS_FLOOR,
    Pace,
    Pacer,
    api_pace,
    photos_pace,
)
from ninepic_mirror.ninepic.throttle import START, WINDOW, Rate, Throttle, Width

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

NOW = 1_700_000_000.0


class Server:
    """An origin on the virtual clock: a token bucket, random refusals, a time when it is down.

    Args:
        rate: Requests per second that it lets through; None for all.
        burst: Requests that it lets through at once.
        refusals: The share of requests that it refuses at random.
        latency: Seconds for an answer.
    """

    def __init__(
        self,
        *,
        rate: float | None = None,
        burst: float = 1,
        refusals: float = 0,
        latency: float = 0.05,
    ) -> None:
        self.rate, self.burst, self.refusals, self.latency = rate, burst, refusals, latency
        self.tokens = burst
        self.filled = trio.current_time()
        self.random = Random(7)
        self.asked: list[float] = []
        self.good: list[float] = []

    async def attempt(self) -> None:
        """Answer one request."""
        now = trio.current_time()
        self.asked.append(now)
        refused = self.random.random() < self.refusals
        if self.rate is not None:
            self.tokens = min(self.burst, self.tokens + (now - self.filled) * self.rate)
            self.filled = now
            refused = refused or self.tokens < 1
            self.tokens -= not refused
        await trio.sleep(self.latency * self.random.uniform(0.7, 1.3))
        if refused:
            raise PassingError("429", refused=True)
        self.good.append(trio.current_time())


def pacer(pace: Pace | None = None, learned: dict[str, object] | None = None) -> Pacer:
    """Make a pacer whose jitter is the same in every run."""
    return Pacer(pace or api_pace("https://x"), learned, Random(1))


async def run_all(
    subject: Pacer, attempt: Callable[[], Awaitable[object]], count: int, workers: int = 80
) -> float:
    """Run `count` requests by several workers, more of them than places; return how long it took."""
    began = trio.current_time()
    numbers = iter(range(count))

    async def work() -> None:
        for _ in numbers:
            await subject.run(attempt)

    async with trio.open_nursery() as nursery:
        for _ in range(workers):
            nursery.start_soon(work)
    return trio.current_time() - began


async def end_of(subject: Pacer, attempt: Callable[[], Awaitable[object]]) -> Exception | None:
    """Run one request; return the error that ended it."""
    try:
        await subject.run(attempt)
    except (PassingError, UnreachableError) as error:
        return error
    return None


# --- waits


def test_backoff_is_full_jitter() -> None:
    """The wait is anything from nothing to the exponential bound, and the bound ends at the cap."""
    for failures, bound in ((1, BASE), (2, 2 * BASE), (5, 16 * BASE), (9, CAP), (5000, CAP)):
        waits = [backoff(failures, Random(seed)) for seed in range(300)]
        assert 0 <= min(waits) < 0.05 * bound
        assert 0.95 * bound < max(waits) <= bound


def test_attempts_end_before_the_origin_is_given_up() -> None:
    """Even the longest waits of one request's attempts are over before `GIVE_UP`, the reason for their number."""
    longest = sum(min(CAP, BASE * 2**n) for n in range(ATTEMPTS - 1))
    assert ATTEMPTS >= 10
    assert longest < GIVE_UP


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (None, None),
        ("", None),
        ("soon", None),
        ("-1", None),
        ("1.5", None),
        ("1e9", None),
        ("٣", None),
        ("0", 0.0),
        (" 7 ", 7.0),
        ("1000000000", LONGEST),
        ("9" * 5000, LONGEST),
        (formatdate(NOW + 30, usegmt=True), 30.0),
        (formatdate(NOW - 30, usegmt=True), 0.0),
        (formatdate(NOW + 10**7, usegmt=True), LONGEST),
        ("Tue, 14 Nov 2023 22:13:50 -0000", 30.0),
        ("Tue, 99 Nov 2023 22:13:50 GMT", None),
        ("Mon, 01 Jan 0001 00:00:00 +2300", 0.0),
    ],
)
def test_retry_after(value: str | None, seconds: float | None) -> None:
    """Seconds and dates are read and clamped to 15 minutes; anything else is as good as no header."""
    assert read_retry_after(value, NOW) == seconds


def test_retry_after_by_the_origins_own_clock() -> None:
    """A date is compared with the answer's own Date, so that our clock may be wrong by years."""
    sent, due = formatdate(NOW, usegmt=True), formatdate(NOW + 30, usegmt=True)
    assert read_retry_after(due, 0.0, sent) == 30.0
    assert read_retry_after(due, NOW, "junk") == 30.0


@given(st.text(max_size=40))
def test_retry_after_any_text(text: str) -> None:
    """Whatever the header holds, the wait is none or within the clamp."""
    wait = read_retry_after(text, NOW)
    assert wait is None or 0 <= wait <= LONGEST


# --- learning, without a clock


def answers(
    subject: Throttle, count: int, *, refused: int = 0, begin: float = 0.0, step: float = 0.1
) -> float:
    """Let `count` requests be answered one after the other, the last `refused` of them refused."""
    now = begin
    for number in range(count):
        ticket = subject.start(now)
        now += step
        (subject.refused if number >= count - refused else subject.answered)(now, ticket)
        subject.under_way -= 1
    return now


def throttle(floor: float = 1.0, ceiling: float = math.inf, **learned: object) -> Throttle:
    """Make a throttle of 64 connections."""
    return Throttle(64, floor, ceiling, learned)


def test_rate_is_learned_only_beyond_a_tenth() -> None:
    """Five of the last 50 refused leave the rate alone; six make it learned from what was let through."""
    subject = throttle()
    answers(subject, WINDOW, refused=5)
    assert subject.rate.value == math.inf
    subject = throttle()
    answers(subject, WINDOW, refused=6)
    assert subject.rate.value == pytest.approx(44 / 5.0 / 0.95, rel=0.01)
    assert subject.width.limit == START // 2


@pytest.mark.parametrize("floor", [API_FLOOR, PHOTOS_FLOOR])
def test_rate_never_below_the_floor(floor: float) -> None:
    """However much is refused, the rate stops falling at the floor."""
    subject = throttle(floor)
    now = 0.0
    for _ in range(30):
        now = answers(subject, WINDOW, refused=WINDOW, begin=now)
    assert subject.rate.value == floor


def test_rate_is_halved_at_most_once_a_second() -> None:
    """A cut is a half at most, and the next one comes a second later at the earliest."""
    subject = throttle(rate=100.0)
    now = answers(subject, 40, refused=40, step=0.001)
    assert subject.rate.value == 50.0
    now = answers(subject, 400, refused=400, begin=now, step=0.002)
    assert subject.rate.value == 50.0
    answers(subject, 100, refused=100, begin=now, step=0.002)
    assert subject.rate.value == 25.0


def test_refusals_of_an_old_pace_do_not_count() -> None:
    """What was under way when the rate was cut says nothing about the rate after the cut."""
    subject = throttle()
    old = [subject.start(0.0) for _ in range(8)]
    answers(subject, 6, refused=6, step=0.001)
    cut = subject.rate.value
    assert cut < math.inf
    for ticket in old:
        subject.refused(1.5, ticket)
    assert subject.rate.value == cut
    answers(subject, 6, refused=6, begin=1.6)
    assert subject.rate.value <= cut


def test_scattered_refusals_do_not_cut_a_rate() -> None:
    """Six refusals in a row among a second of good answers are chance: neither rate nor width falls."""
    subject = throttle(rate=400.0, concurrency=32.0)
    answers(subject, 300, refused=6, step=0.002)
    assert subject.rate.value >= 400.0
    subject = throttle()
    answers(subject, 300, refused=6, step=0.002)
    assert subject.rate.value < math.inf
    assert subject.width.limit >= START


def test_rate_rises_again() -> None:
    """A learned rate returns quickly to near where it was too high, then climbs gently."""
    rate = Rate(1.0, value=100.0)
    rate.learn(50.0, 0.0)
    begin = rate.value
    for _ in range(1000):
        rate.grow()
    assert 90 < rate.value < 110
    assert begin == pytest.approx(50 / 0.95)


def test_first_search_is_fast() -> None:
    """A first guess from little evidence is corrected within seconds: it triples in one."""
    rate = Rate(10.0)
    rate.learn(10.0, 0.0)
    for _ in range(60):
        rate.grow()
    assert rate.value > 60


def test_configured_rate_is_kept() -> None:
    """A configured rate is the ceiling: it may be undercut by learning, never exceeded, and is not remembered."""
    subject = throttle(ceiling=20.0)
    now = 0.0
    for _ in range(100):
        assert subject.rate.next <= now
        subject.answered(now + 0.01, subject.start(now))
        subject.under_way -= 1
        now = max(now, subject.rate.next)
    assert 4.8 <= now <= 5.0
    assert subject.learned()["rate"] == 0.0
    answers(subject, WINDOW, refused=WINDOW, begin=now)
    assert 1.0 <= subject.rate.value < 20.0
    assert throttle(floor=10.0, ceiling=2.0, rate=5.0).rate.value == 2.0


def test_a_pause_is_forgotten() -> None:
    """What was let through before a pause does not lower the rate that is learned after it."""
    subject = throttle()
    answers(subject, 3)
    answers(subject, WINDOW, refused=6, begin=10_000.0)
    assert subject.rate.value == pytest.approx(44 / 5.0 / 0.95, rel=0.01)


def limits(
    width: Width, count: int, answered: Callable[[int], float], *, full: bool = True
) -> list[int]:
    """Let `answered(limit)` requests a second be answered, for `count` seconds; return the limit after each."""
    now, found = 0.0, list[int]()
    while len(found) < count:
        now += 1 / answered(width.limit)
        width.answered(now, full=full)
        if now >= len(found) + 1:
            found.append(width.limit)
    return found


def test_width_grows_while_throughput_grows() -> None:
    """More connections are used as long as they bring more, up to the configured number."""
    assert limits(Width(64), 8, lambda limit: 10.0 * limit)[-1] == 64


def test_width_grows_within_seconds_on_a_long_line() -> None:
    """At 40 ms a round, all 64 connections are in use after little more than a second."""
    assert limits(Width(64), 2, lambda limit: limit / 0.04)[-1] == 64


def test_width_stops_where_it_brings_nothing() -> None:
    """Where a wider epoch brought no more, the width goes back, rests, and tries again later."""
    found = limits(Width(64), 40, lambda limit: min(100.0, 10.0 * limit))
    assert max(found) <= 27
    assert found.count(12) > 25


def test_width_stays_where_it_is_not_what_holds_back() -> None:
    """Requests that found a free place say nothing for a wider width."""
    assert limits(Width(64), 8, lambda limit: 10.0 * limit, full=False)[-1] == START


def test_width_halves_and_never_ends_below_one() -> None:
    """Refusals halve the width; one place is always left; it then grows again."""
    width = Width(64, 40)
    width.halve()
    assert width.limit == 20
    for _ in range(9):
        width.halve()
    assert width.limit == 1
    assert limits(width, 20, lambda limit: 10.0 * limit)[-1] == 64
    assert Width(0, 40).limit == 1


@pytest.mark.parametrize(
    "learned", [{}, {"rate": "x", "concurrency": None}, {"rate": math.nan, "concurrency": -3}]
)
def test_odd_memories_are_ignored(learned: dict[str, object]) -> None:
    """What was remembered comes from a file: anything odd in it begins anew."""
    assert Throttle(64, 1.0, math.inf, learned).learned() == {"rate": 0.0, "concurrency": START}


def test_memories_are_used() -> None:
    """A remembered rate and width are where the next pass begins, within what is configured."""
    assert throttle(rate=33.0, concurrency=24.0).learned() == {"rate": 33.0, "concurrency": 24}
    assert throttle(rate=1e99, concurrency=1e99).learned() == {"rate": 100_000.0, "concurrency": 64}


# --- one request


async def test_result_and_permanent_errors_pass_straight_through(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """A result is returned, a permanent error raised, each after one attempt; a 404 is a sign of life."""
    subject = pacer()

    async def good() -> str:
        return "yes"

    async def gone() -> None:
        raise EventNotFoundError(4)

    async def broken() -> None:
        raise OSError("disk")

    assert await subject.run(good) == "yes"
    with pytest.raises(EventNotFoundError):
        await subject.run(gone)
    with pytest.raises(OSError, match="disk"):
        await subject.run(broken)
    assert (subject.statistics().requests, subject.statistics().retries) == (3, 0)
    assert subject.statistics().under_way == 0


async def test_passing_fault_is_retried(autojump_clock: trio.testing.MockClock) -> None:
    """A request that fails a few times succeeds in the end, and is counted."""
    subject, left = pacer(), [True, False, True]

    async def attempt() -> int:
        if left:
            raise PassingError("500", refused=left.pop())
        return 1

    assert await subject.run(attempt) == 1
    found = subject.statistics()
    assert (found.requests, found.retries, found.refused) == (4, 3, 2)


async def test_lone_bad_photo_fails_as_itself(autojump_clock: trio.testing.MockClock) -> None:
    """One photo that fails for ever uses up its attempts and does not look like an origin that is down."""
    subject, tries = pacer(photos_pace("https://p")), []

    async def attempt() -> None:
        tries.append(trio.current_time())
        raise PassingError("500 for ever")

    with pytest.raises(PassingError, match="500 for ever"):
        await subject.run(attempt)
    assert len(tries) == ATTEMPTS


async def test_bad_api_page_fails_while_others_succeed(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """A request that fails while others succeed is at fault itself, whatever the origin's crowd."""
    subject, tries = pacer(), []

    async def bad() -> None:
        tries.append(1)
        raise PassingError("500")

    async def good() -> None:
        await trio.sleep(0.05)

    async def others() -> None:
        while True:
            await subject.run(good)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(others)
        with pytest.raises(PassingError):
            await subject.run(bad)
        nursery.cancel_scope.cancel()
    assert ATTEMPTS <= len(tries) <= ATTEMPTS + 3


@pytest.mark.parametrize("make", [api_pace, photos_pace])
async def test_dead_origin_is_given_up(
    make: Callable[[str], Pace], autojump_clock: trio.testing.MockClock
) -> None:
    """After 120 s without one good answer the origin is given up, not earlier and not much later."""
    subject = pacer(make("https://x"))

    async def attempt() -> None:
        raise PassingError("no connection")

    ends: list[Exception | None] = []

    async def one() -> None:
        ends.append(await end_of(subject, attempt))

    async with trio.open_nursery() as nursery:
        for _ in range(CROWD):
            nursery.start_soon(one)
    fault = ends[0]
    assert isinstance(fault, UnreachableError)
    assert GIVE_UP <= fault.seconds <= GIVE_UP + CAP
    assert "no connection" in str(fault)


async def test_outage_costs_no_photo(autojump_clock: trio.testing.MockClock) -> None:
    """An origin that is down for 100 s fails no request: they all wait for it, with few requests in vain."""
    subject = pacer(photos_pace("https://p"))
    began = trio.current_time()

    async def attempt() -> None:
        await trio.sleep(0.02)
        if 1 < trio.current_time() - began < 101:
            raise PassingError("503")

    await run_all(subject, attempt, 2000, workers=16)
    assert subject.statistics().requests <= 1.2 * 2000


async def test_daemon_never_gives_up(autojump_clock: trio.testing.MockClock) -> None:
    """With `give_up=None` an origin that is down for an hour is waited for, whatever it says."""
    subject = pacer(api_pace("https://x", give_up=None))
    began = trio.current_time()

    async def attempt() -> str:
        if trio.current_time() - began < 3600:
            raise PassingError("503", refused=True, retry_after=600.0)
        return "back"

    assert await subject.run(attempt) == "back"


async def test_silence_lasts_while_somebody_waits_for_an_answer(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """It is counted from the last good answer, and only while a request that got none is tried."""
    subject = pacer(api_pace("https://x", give_up=None))
    assert subject.silence == 0
    down = True

    async def attempt() -> None:
        await trio.sleep(0.1)
        if down:
            raise PassingError("503")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(subject.run, attempt)
        await trio.sleep(0.05)
        assert subject.silence == 0, "nothing has failed yet"
        await trio.sleep(49.95)
        assert subject.silence == 50
        down = False
    assert subject.silence == 0
    await trio.sleep(1000)
    await subject.run(attempt)
    assert subject.silence == 0


@pytest.mark.parametrize("cancel", [True, False])
async def test_a_request_that_was_given_up_is_no_silence(
    autojump_clock: trio.testing.MockClock, cancel: bool
) -> None:
    """An event whose endpoint is broken makes no outage of the hours in which nothing is asked any more."""
    subject = pacer(api_pace("https://x", give_up=None))

    async def succeed() -> None:
        await trio.sleep(0.01)

    async def fail() -> None:
        await trio.sleep(0.01)
        await subject.run(succeed)  # another's, meanwhile
        raise PassingError("500")

    with trio.move_on_after(2 if cancel else 3600) as scope:
        with pytest.raises(PassingError):
            await subject.run(fail)
    assert scope.cancelled_caught == cancel
    await trio.sleep(600)
    assert subject.silence == 0


async def test_photos_that_began_before_the_silence_fail_alone(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """Photos that fail long after others succeeded are listed one by one; only a later one ends the program."""
    subject = pacer(photos_pace("https://p"), {"concurrency": 64})
    good = trio.Event()

    async def succeed() -> None:
        await trio.sleep(0.001)

    async def fail() -> None:
        await good.wait()
        raise PassingError("500")

    ends: list[Exception | None] = []

    async def one() -> None:
        ends.append(await end_of(subject, fail))

    async with trio.open_nursery() as nursery:
        for _ in range(2 * CROWD):
            nursery.start_soon(one)
        await trio.sleep(0.1)
        await subject.run(succeed)
        good.set()
    assert [type(end) for end in ends] == [PassingError] * 2 * CROWD
    assert isinstance(await end_of(subject, fail), UnreachableError)


async def test_life_noted_in_the_middle(autojump_clock: trio.testing.MockClock) -> None:
    """An attempt that got its headers shows that the origin lives, though its bodies take for ever."""
    subject, tries = pacer(photos_pace("https://p")), []

    async def attempt() -> None:
        await trio.sleep(1)
        subject.note_life()
        tries.append(1)
        await trio.sleep(GIVE_UP - 1)
        raise PassingError("stalled")

    assert isinstance(await end_of(subject, attempt), PassingError)
    assert len(tries) == ATTEMPTS


# --- Retry-After


async def test_retry_after_holds_every_worker(autojump_clock: trio.testing.MockClock) -> None:
    """One refusal with `Retry-After` keeps the whole origin quiet for that long, and not for much longer."""
    subject = pacer()
    asked: list[float] = []
    begun = trio.current_time()

    async def attempt() -> None:
        now = trio.current_time() - begun
        asked.append(now)
        await trio.sleep(0.01)
        if 0.2 <= now < 1.2:
            raise PassingError("429", refused=True, retry_after=30.0)

    await run_all(subject, attempt, 3000, workers=64)
    first = min(t for t in asked if t >= 0.2)
    quiet = [t for t in asked if first + 0.02 < t < first + 30]
    after = min(t for t in asked if t >= first + 30)
    assert not quiet
    assert after - (first + 0.01 + 30) < 1.0
    assert len(asked) <= 1.2 * 3000


async def test_retry_after_beyond_our_patience(autojump_clock: trio.testing.MockClock) -> None:
    """A one-shot that is told to wait for longer than its 120 s gives up at once and says until when."""
    subject = pacer()

    async def attempt() -> None:
        raise PassingError("429", refused=True, retry_after=GIVE_UP + 1)

    began = trio.current_time()
    with pytest.raises(UnreachableError) as caught:
        await subject.run(attempt)
    assert trio.current_time() == began
    assert caught.value.until is not None


# --- figures of DESIGN §8


@pytest.mark.parametrize(("rate", "burst", "count"), [(5, 5, 400), (20, 3, 800), (100, 100, 2000)])
async def test_steady_throttle(
    rate: float, burst: float, count: int, autojump_clock: trio.testing.MockClock
) -> None:
    """At a steady throttle at most 15 % of the requests are refused, and at least 85 % of it is used."""
    server, subject = Server(rate=rate, burst=burst), pacer()
    seconds = await run_all(subject, server.attempt, count)
    assert len(server.asked) - count <= 0.15 * len(server.asked)
    warm = trio.current_time() - 0.8 * seconds
    assert sum(t > warm for t in server.good) >= 0.85 * rate * 0.8 * seconds


async def test_lifted_throttle_is_noticed(autojump_clock: trio.testing.MockClock) -> None:
    """A rate learned under a throttle rises again when the throttle is gone."""
    server, subject = Server(rate=20, burst=20), pacer()
    await run_all(subject, server.attempt, 400)
    learned = subject.statistics().rate
    server.rate = None
    await run_all(subject, server.attempt, 2000)
    assert learned is not None
    assert (subject.statistics().rate or math.inf) > 1.8 * learned


async def test_scattered_refusals(autojump_clock: trio.testing.MockClock) -> None:
    """At 5 % random refusals throughput is at least 90 % of what it is without, once it is warm."""
    good = []
    for refusals in (0.0, 0.05):
        server = Server(refusals=refusals, latency=0.3)
        subject = pacer(photos_pace("https://p", connections=32))
        with trio.move_on_after(24):
            await run_all(subject, server.attempt, 1_000_000, workers=48)
        good.append(sum(t > trio.current_time() - 12 for t in server.good))
    assert good[1] >= 0.9 * good[0]


# --- places


async def test_concurrency_is_kept(autojump_clock: trio.testing.MockClock) -> None:
    """Never more attempts are under way than the configured connections, and all of these come to be used."""
    subject = pacer(photos_pace("https://p", connections=12))
    under_way = most = 0

    async def attempt() -> None:
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        await trio.sleep(0.05)
        under_way -= 1

    await run_all(subject, attempt, 1000)
    assert most == 12


async def test_first_come_first_served(autojump_clock: trio.testing.MockClock) -> None:
    """Requests start in the order in which they came."""
    subject, order = pacer(photos_pace("https://p", connections=1)), []

    async def ask(number: int) -> None:
        async def attempt() -> None:
            order.append(number)
            await trio.sleep(1)

        await subject.run(attempt)

    async with trio.open_nursery() as nursery:
        for number in range(9):
            nursery.start_soon(ask, number)
            await trio.testing.wait_all_tasks_blocked()
    assert order == list(range(9))


async def test_backing_off_holds_no_place(autojump_clock: trio.testing.MockClock) -> None:
    """While a request waits for its next attempt, its place serves another."""
    subject = pacer(photos_pace("https://p", connections=1))

    async def bad() -> None:
        raise PassingError("500")

    async def good() -> None:
        await trio.sleep(0.001)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(end_of, subject, bad)
        for _ in range(1000):
            await subject.run(good)
        assert trio.current_time() < 100


async def test_cancelled_requests_give_their_place_back(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """A cancelled request, waiting or under way, leaves nothing behind that holds up the others."""
    subject = pacer(api_pace("https://x", requests_per_second=2.0))

    async def attempt() -> None:
        await trio.sleep(3)

    for wait in (0.0, 0.3, 0.6, 1.0, 2.9):
        with trio.move_on_after(wait):
            async with trio.open_nursery() as nursery:
                for _ in range(12):
                    nursery.start_soon(subject.run, attempt)
    assert subject.statistics().under_way == 0
    await subject.run(attempt)


async def test_configured_rate(autojump_clock: trio.testing.MockClock) -> None:
    """`requests_per_second` is kept from the first request on."""
    server, subject = Server(latency=0.001), pacer(api_pace("https://x", requests_per_second=4.0))
    await run_all(subject, server.attempt, 41)
    assert server.asked[-1] - server.asked[0] == pytest.approx(10, abs=0.5)
    assert subject.statistics().rate == 4.0


async def test_learned_is_remembered(autojump_clock: trio.testing.MockClock) -> None:
    """What one pass learned is where the next begins: its refusals are few from the start."""
    server, subject = Server(rate=20, burst=20), pacer()
    await run_all(subject, server.attempt, 400)
    again = pacer(learned=dict(subject.learned()))
    assert again.statistics().rate == subject.statistics().rate
    await run_all(again, server.attempt, 200)
    assert again.statistics().refused <= 0.15 * again.statistics().requests
