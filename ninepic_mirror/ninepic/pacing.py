"""Retry, rate and concurrency of one origin (DESIGN §8).

Why not stamina, tenacity or a retrying transport: they retry one call by itself. Here a `Retry-After` stops every
worker of the origin, the wait after a fault is full jitter (stamina adds a little jitter to a fixed wait), the time
after which to give up belongs to the origin and not to a call, and a call that waits must not hold a place that
another could use. All four need one object that sees every request.

What `Pacer.run` does for one request:

1. wait its turn: first come, first served
2. wait until the gate (`Retry-After`), the width and the rate let one more start
3. attempt
4. good or definite answer: the origin lives; return it or let it through
5. passing fault: free the place, note it; if nothing else was answered for some seconds, ask something simple (the
   probe); back off, go to 1, until the attempts are used up or the origin is given up
"""

from __future__ import annotations

import math
import time
from random import Random
from typing import TYPE_CHECKING, Final, TypeVar

import trio
from msgspec import Struct, field

from ninepic_mirror.errors import MirrorError, PassingError, UnreachableError
from ninepic_mirror.ninepic.backoff import ATTEMPTS, LONGEST, Backoff, backoff
from ninepic_mirror.ninepic.throttle import Throttle, Ticket

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

T = TypeVar("T")

GIVE_UP: Final = 120.0  # seconds without one good answer, DESIGN §8
DOUBT: Final = 5.0  # seconds without one after which a probe is made
AGAIN: Final = (
    15.0  # seconds after one in vain, before the next: an outage is not to be asked all the more
)
PROBE: Final = 10.0  # seconds in which a probe is answered, or not at all
# Failures of a request's own, of its `ATTEMPTS`, that are enough where probes tell them from an outage. More than one,
# because an outage may end between an attempt and its probe, or end flickering.
SURE: Final = 4
API_FLOOR: Final = 1.0  # requests per second, DESIGN §8
PHOTOS_FLOOR: Final = 10.0  # requests per second, DESIGN §8
CROWD: Final = (
    8  # as many photos failing at once, and none succeeding, are the origin's fault and not theirs
)


class Pace(Struct, frozen=True, kw_only=True):
    """How to treat one origin; `api_pace` and `photos_pace` make the two that there are.

    Args:
        origin: Scheme, host and port, for error texts.
        floor: The lowest rate that may be learned, requests per second.
        crowd: When so many different requests have failed since the last good answer, the origin is taken to be
            down: requests are then tried on until `give_up`, instead of failing one by one after `ATTEMPTS`.
        connections: The most requests under way.
        give_up: Seconds without one good answer; None never gives up.
        waits: Whatever a `Retry-After` asks for (15 min at the most) is waited for (the daemon), and where that is more
            than `give_up`, it is no silence until then, for 15 min in all. Else such an origin is given up at once.
        requests_per_second: A configured rate; 0 finds it by itself.
        backoff: How long to wait between the attempts of one request.
    """

    origin: str
    floor: float
    crowd: int
    connections: int = 64
    give_up: float | None = GIVE_UP
    waits: bool = False
    requests_per_second: float = 0.0
    backoff: Backoff = field(default_factory=Backoff)


def api_pace(
    origin: str, *, requests_per_second: float = 0.0, give_up: float | None = GIVE_UP
) -> Pace:
    """Return the pace of the API, where one failing call already holds up everything (`crowd` is 1)."""
    return Pace(
        origin=origin,
        floor=API_FLOOR,
        crowd=1,
        give_up=give_up,
        requests_per_second=requests_per_second,
    )


def photos_pace(origin: str, *, connections: int = 64, give_up: float | None = GIVE_UP) -> Pace:
    """Return the pace of the photos, where one that fails for ever must not look like an outage."""
    return Pace(
        origin=origin, floor=PHOTOS_FLOOR, crowd=CROWD, connections=connections, give_up=give_up
    )


class PaceStatistics(Struct, frozen=True):
    """What a pacer did so far.

    Args:
        requests: Attempts made.
        refused: Attempts that the origin refused (429, or 503 with `Retry-After`).
        retries: Attempts after the first of a request.
        under_way: Attempts now under way.
        concurrency: The most attempts that may be under way now.
        rate: The learned or configured rate, starts per second; None while there is none.
        waits_until: On trio's clock, until when a `Retry-After` holds everything; in the past when nothing does.
    """

    requests: int
    refused: int
    retries: int
    under_way: int
    concurrency: int
    rate: float | None
    waits_until: float


class _Request(Struct, eq=False):
    """One call of `run`: when it began, its failures, and those of them that were its `own`.

    A failure is its own when another request succeeded since the one before: the origin lives, this request fails.
    """

    began: float
    failures: int = 0
    own: int = 0
    failed: float = -math.inf


class Pacer:
    """Runs the requests of one origin, each as soon as the origin bears it.

    Args:
        pace: How to treat the origin.
        learned: What `learned()` returned in an earlier pass.
        source: The random numbers of the backoff; tests give a seeded one.
    """

    def __init__(
        self, pace: Pace, learned: Mapping[str, object] | None = None, source: Random | None = None
    ) -> None:
        self.pace = pace
        self._random = source or Random()  # noqa: S311  jitter is no secret
        ceiling = pace.requests_per_second or math.inf
        self._throttle = Throttle(pace.connections, pace.floor, ceiling, learned or {})
        self._turn = trio.StrictFIFOLock()
        self._room = trio.lowlevel.ParkingLot()
        self._gate = -math.inf
        self._long_gate = (
            -math.inf
        )  # up to where a wait was asked for that is longer than we are patient
        self._alive = -math.inf  # the last sign of life, or the start of the first request
        self.answered_at = -math.inf  # the last definite answer, on trio's clock
        self._doubt = trio.Lock()
        self._probed = -math.inf  # when the last probe in vain ended
        self._failing: set[_Request] = set()  # the requests that failed since then
        self._trying: set[_Request] = set()  # ... and are not given up
        self._requests = self._refused = self._retries = self._backing_off = 0

    def statistics(self) -> PaceStatistics:
        """Return what was done so far, and the limits as they are now."""
        rate = self._throttle.rate.value
        return PaceStatistics(
            requests=self._requests,
            refused=self._refused,
            retries=self._retries,
            under_way=self._throttle.under_way,
            concurrency=self._throttle.width.limit,
            rate=None if rate == math.inf else rate,
            waits_until=self._gate,
        )

    def learned(self) -> dict[str, float]:
        """Return what is worth remembering for the next pass, ready for JSON."""
        return self._throttle.learned()

    @property
    def silence(self) -> float:
        """For how many seconds the origin has given no good answer to requests under way; 0 while it gives some.

        Since when they ask in vain, not since the last answer: an origin that nobody asks for an hour is not down. A
        request that was given up says nothing any more.
        """
        if not self._trying:
            return 0.0
        began = min(request.began for request in self._trying)
        return trio.current_time() - max(self._alive, began)

    def note_life(self) -> None:
        """Take note that the origin answered definitely, though the attempt goes on and may yet fail.

        For the head of a photo: a body that stalls is that photo's trouble, not a sign that the origin is down.
        """
        self._alive = self.answered_at = trio.current_time()
        if self._failing:
            self._failing.clear()
            self._trying.clear()

    @property
    def useful(self) -> int:
        """How many callers are of use now: as many as may be under way, and those that wait before they try again."""
        return self._throttle.width.limit + self._backing_off

    async def run(
        self,
        attempt: Callable[[], Awaitable[T]],
        probe: Callable[[], Awaitable[object]] | None = None,
    ) -> T:
        """Run one request, as often as it takes.

        Args:
            attempt: Makes one attempt. It is called again after a `PassingError`, never after anything else.
            probe: Asks the origin, once, something simple that has nothing to do with the request: is the origin down, or
                does this request alone fail? None where only other requests tell.

        Returns:
            What the attempt returned.

        Raises:
            PassingError: The last one, after `ATTEMPTS` failures; while nothing at all succeeds, probes neither, and
                `crowd` requests fail, the origin is at fault and attempts go on.
            UnreachableError: The origin gave no good answer for `give_up` seconds, or said that it will not.
        """
        began = now = trio.current_time()
        request: _Request | None = None
        if self._alive == -math.inf:
            self._alive = began
        try:
            while True:
                # Nobody waits and there is room: at once, without the two turns of the scheduler that the lock costs.
                ticket = None if self._turn.locked() else self._start(now)
                ticket = ticket or await self._wait_for_start()
                self._requests += 1
                try:
                    result = await attempt()
                except PassingError as error:
                    fault, request = error, request or _Request(began)
                    self._note_fault(fault, ticket)
                except MirrorError:
                    self._note_answer(ticket)  # a 404 is an answer too
                    raise
                else:
                    self._note_answer(ticket)
                    return result
                finally:
                    self._give_place_back()
                if probe is not None:
                    await self._ask_in_doubt(probe, request)
                self._judge(fault, request, ATTEMPTS if probe is None else SURE)
                self._retries += 1
                self._backing_off += 1
                try:
                    await trio.sleep(backoff(request.failures, self._random, self.pace.backoff))
                finally:
                    self._backing_off -= 1
                now = trio.current_time()
        finally:
            if request is not None:
                self._trying.discard(request)

    async def _wait_for_start(self) -> Ticket:
        """Wait until one more request may start, and count it as started."""
        async with self._turn:
            while True:
                ticket = self._start(trio.current_time())
                if ticket is not None:
                    return ticket
                if self._throttle.is_full:
                    await self._room.park()
                else:
                    await trio.sleep_until(self._opening)

    @property
    def _opening(self) -> float:
        """When gate and rate let one more start."""
        return max(self._gate, self._throttle.rate.next)

    def _start(self, now: float) -> Ticket | None:
        """Count one more as started, if there is room for it now."""
        if self._throttle.is_full or now < self._opening:
            return None
        return self._throttle.start(now)

    def _give_place_back(self) -> None:
        self._throttle.under_way -= 1
        if self._room:
            self._room.unpark_all()

    def _note_answer(self, ticket: Ticket) -> None:
        self.note_life()
        self._throttle.answered(self._alive, ticket)  # that is now

    def _note_fault(self, fault: PassingError, ticket: Ticket) -> None:
        """Learn from a fault; raise where the origin wants to be left alone for longer than we may wait."""
        now = trio.current_time()
        if fault.refused:
            self._refused += 1
            self._throttle.refused(now, ticket)
        if fault.retry_after is None:
            return
        self._gate = max(self._gate, now + fault.retry_after)
        if fault.retry_after > self._patience:
            self._long_gate = self._gate
        if fault.retry_after > self._patience and not self.pace.waits:
            until = time.time() + fault.retry_after
            raise UnreachableError(self.pace.origin, self.silence, fault.reason, until) from fault

    @property
    def _patience(self) -> float:
        return math.inf if self.pace.give_up is None else self.pace.give_up

    async def _ask_in_doubt(
        self, probe: Callable[[], Awaitable[object]], request: _Request
    ) -> None:
        """Make the probe where nothing was answered for a while; an answer is a sign of life like any other."""
        async with self._doubt:  # who comes while one is under way goes by its answer
            now = trio.current_time()
            # Photos that fail for a while are nothing unusual, and their probe is no less than they are.
            doubt = DOUBT if self.pace.crowd == 1 else AGAIN
            if now - max(self._alive, request.began) < doubt or now - self._probed < AGAIN:
                return
            ticket = await self._wait_for_start()
            self._requests += 1
            try:
                with trio.move_on_after(PROBE):
                    await probe()
                    self._note_answer(ticket)
            except PassingError as fault:
                self._note_fault(fault, ticket)
            except MirrorError:
                self._note_answer(ticket)
            finally:
                self._give_place_back()
            self._probed = trio.current_time() if self._alive < now else -math.inf

    def _judge(self, fault: PassingError, request: _Request, sure: int) -> None:
        """Decide whether the request goes on: return, or raise what ends it.

        Args:
            fault: Its last.
            request: The request.
            sure: So many failures of its own, of `ATTEMPTS`, say that it fails by itself.
        """
        now = trio.current_time()
        request.failures += 1
        request.own += self._alive > request.failed
        request.failed = now
        self._failing.add(request)
        self._trying.add(request)
        silence = self.silence
        if self.pace.waits and silence < LONGEST:
            # a long wait that it asked for is none, until it may be asked again by its own word
            silence = min(silence, now - self._long_gate)
        # A photo that failed while others succeeded does not end the program; the next one to begin will.
        if silence >= self._patience and (self.pace.crowd == 1 or request.began >= self._alive):
            raise UnreachableError(self.pace.origin, silence, fault.reason) from fault
        is_outage = len(self._failing) >= self.pace.crowd and silence < self._patience
        if request.failures >= ATTEMPTS and (request.own >= sure or not is_outage):
            raise fault
