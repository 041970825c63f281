"""What pace an origin bears, learned from its answers. Decisions only: no clock, no waiting (DESIGN §8).

Two limits. `Width` is how many requests may be under way; it is the one that matters while nobody refuses. `Rate` is
how many may start in a second; it exists only once an origin refuses more than a tenth, because an origin that
counts requests per second cannot be satisfied by any number of connections: the faster it refuses, the faster we
would come back. `Throttle` holds both and the outcomes that they are learned from.
"""

from __future__ import annotations

from collections import deque
from math import ceil, inf
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping

WINDOW: Final = 50  # the last requests that are looked at, DESIGN §8
SHARE: Final = 0.1  # more refused than this, and the rate is learned, DESIGN §8
SPAN: Final = 1.0  # seconds between two cuts, DESIGN §8, and the least time over which "let through" is measured

TOLERATED: Final = 0.05
"""The share of refusals that a learned rate aims at. Not 0: where refusals are scattered and have nothing to do with
our pace, what is let through is less than what we send, and a rate of just that would fall for ever. Half of `SHARE`
leaves the learned rate where it is in that case, and a steady throttle well under the 15 % of DESIGN §8."""

# How fast a learned rate rises: as a factor per answered request, and at most so much in a second. The first search
# doubles in a second. Once a rate was found too high, the way back to it is short and what lies beyond is tried
# gently (as TCP does, RFC 9438 §4). Per request as well as per second, because at 2 requests a second the last 50
# take 25 s to tell that the rate is too high.
SEARCH: Final = (0.05, 1.0)
RETURN: Final = (0.01, 0.1)
CLIMB: Final = (0.001, 0.02)
NEAR: Final = 0.9  # of the rate that was too high: from here on, gently

LATE: Final = 0.05  # seconds of lost starts that are made good, so that a busy event loop does not lower the rate
PAUSE: Final = (
    5.0  # seconds without a request after which what was let through before says nothing any more
)

START: Final = 8  # requests under way at first, DESIGN §8
EPOCH: Final = 0.5  # seconds; the shortest time over which two widths are compared
SPRINT: Final = 0.1  # seconds; the same as long as every widening brought more: on a long line from 8 to 64 in a second
GAIN: Final = (
    0.2  # of what a wider epoch could bring at best, it must bring this share; less is noise
)
REST: Final = 10  # epochs after a widening that brought nothing, before the next is tried


class Width:
    """How many requests may be under way: grows while that brings more answers, halves on refusals.

    Args:
        most: The configured number of connections.
        start: Where to begin.
    """

    def __init__(self, most: int, start: int = START) -> None:
        self._most = max(1, most)
        self.limit = max(1, min(start, self._most))
        self._before = self.limit
        self._best = 0.0
        self._rest = 0
        self._epoch = SPRINT
        self._begin(0.0)

    def _begin(self, now: float) -> None:
        self._since, self._done, self._full = now, 0, 0

    def idle(self, now: float) -> None:
        """Begin anew: time in which nothing was asked for says nothing about the origin."""
        self._begin(now)

    def answered(self, now: float, *, full: bool) -> None:
        """Count a good answer.

        Args:
            now: Seconds on the monotonic clock.
            full: Whether its request took the last free place, so that width is what held us back.
        """
        self._done += 1
        self._full += full
        elapsed = now - self._since
        if self._done < 2 * self.limit or elapsed < self._epoch:
            return
        # Full once in a round is enough: places that fall free together are taken one by one.
        throughput, held_back = self._done / elapsed, self._full * self.limit >= self._done
        self._begin(now)
        if held_back:
            self._compare(throughput)

    def _compare(self, throughput: float) -> None:
        widened = (
            self.limit / self._before - 1 or 0.5
        )  # not widened: no less than a usual widening counts
        if throughput > self._best * (1 + GAIN * widened):
            self._best = throughput
            self._widen()
        elif self.limit > self._before:
            self.limit, self._rest, self._epoch = self._before, REST, EPOCH
        elif self._rest > 0:
            self._rest -= 1
        else:
            self._best = throughput  # the network may have changed: compare with what it does now
            self._widen()

    def _widen(self) -> None:
        self._before = self.limit
        self.limit = min(self._most, ceil(self.limit * 1.5))

    def halve(self) -> None:
        """Make room: the origin refuses."""
        self.limit = self._before = max(1, self.limit // 2)
        self._best, self._rest, self._epoch = 0.0, 0, EPOCH


class Rate:
    """How many requests may start in a second; unlimited until something is learned.

    Args:
        floor: Requests per second that are never undercut.
        ceiling: Requests per second that are never exceeded; `inf` for none.
        value: A rate remembered from an earlier pass; 0 for none.
    """

    def __init__(self, floor: float, ceiling: float = inf, value: float = 0.0) -> None:
        self._floor, self._ceiling = min(floor, ceiling), ceiling
        self.value = min(max(value, self._floor), ceiling) if value > 0 else ceiling
        self._too_high = self.value if value > 0 else inf
        self.next = -inf
        """When the next request may start, on the monotonic clock."""

    @property
    def learned(self) -> float:
        """The rate, 0 while there is none or only the configured one."""
        return self.value if self.value < self._ceiling else 0.0

    def take(self, now: float) -> bool:
        """Take the next start; return whether the rate is what held it back."""
        if self.value == inf:
            return False
        paced = now - self.next < max(1 / self.value, LATE / 2)
        self.next = max(self.next, now - LATE) + 1 / self.value
        return paced

    def learn(self, let_through: float, now: float) -> None:
        """Take what the origin let through, in requests per second, for what it bears."""
        aim = let_through / (1 - TOLERATED)
        if self.value < self._ceiling:  # not the first guess any more
            aim = max(aim, self.value / 2)
            self._too_high = self.value
        self.value = min(self.value, max(aim, self._floor))
        # Nothing is made good across a cut: that would be a burst, and with it the next cut.
        self.next = now + 1 / self.value

    def grow(self) -> None:
        """Rise a little after a good answer that the rate had held back."""
        if self._too_high == inf:
            each, in_a_second = SEARCH
        else:
            each, in_a_second = RETURN if self.value < NEAR * self._too_high else CLIMB
        self.value = min(self._ceiling, self.value * (1 + min(each, in_a_second / self.value)))


class Ticket(NamedTuple):
    """What was so when a request started."""

    started: float
    paced: bool
    full: bool


class Throttle:
    """Both limits of one origin.

    Args:
        most: The configured number of connections.
        floor: The lowest rate that may be learned, requests per second.
        ceiling: A configured rate; `inf` for none.
        learned: What `learned` returned in an earlier pass; anything odd in it is ignored.
    """

    def __init__(
        self, most: int, floor: float, ceiling: float, learned: Mapping[str, object]
    ) -> None:
        self.width = Width(most, int(_remembered(learned, "concurrency", 1_000)) or START)
        self.rate = Rate(floor, ceiling, _remembered(learned, "rate", 100_000.0))
        self.under_way = 0
        self._last_ones: deque[bool] = deque(maxlen=WINDOW)  # True: refused
        self._history: deque[tuple[float, bool]] = (
            deque()
        )  # since the last cut, but no more than is needed
        self._begun = self._last = self._cut = -inf

    @property
    def is_full(self) -> bool:
        """Whether no more requests may be under way."""
        return self.under_way >= self.width.limit

    def start(self, now: float) -> Ticket:
        """Count a request that starts now."""
        if self.under_way == 0 and now - self._last > PAUSE:
            self.width.idle(now)
            self._begin(now)
        self._last = now
        self.under_way += 1
        return Ticket(now, self.rate.take(now), self.is_full)

    def answered(self, now: float, ticket: Ticket) -> None:
        """Count a request that the origin let through."""
        self.width.answered(now, full=ticket.full)
        self._count(now, ticket, refused=False)
        if ticket.paced:
            self.rate.grow()

    def refused(self, now: float, ticket: Ticket) -> None:
        """Count a request that the origin refused, and slow down when they are too many."""
        self._count(now, ticket, refused=True)
        if sum(self._last_ones) > SHARE * WINDOW and now - self._cut >= SPAN:
            self._slow_down(now)

    def _begin(self, now: float) -> None:
        self._begun = now
        self._last_ones.clear()
        self._history.clear()

    def _count(self, now: float, ticket: Ticket, *, refused: bool) -> None:
        if ticket.started < self._cut:
            return  # it tells of a pace that is already given up
        self._last_ones.append(refused)
        self._history.append((now, refused))
        while len(self._history) > WINDOW and self._history[0][0] < now - SPAN:
            self._begun = self._history.popleft()[0]

    def _slow_down(self, now: float) -> None:
        # Fifty requests can be a twentieth of a second. Where the last whole second had few refusals they are
        # scattered: the rate that we have is the one let through, and cutting it would gain nothing.
        refused = sum(refused for _, refused in self._history)
        let_through = (len(self._history) - refused) / max(now - self._begun, SPAN)
        many = refused > SHARE * len(self._history)
        if self.rate.value == inf:
            # The width is halved only while no rate is known: once requests are paced, how many of them are
            # under way says nothing any more, and halving again would only cost throughput.
            if many:
                self.width.halve()
            self.rate.learn(let_through, now)
        elif many:
            self.rate.learn(let_through, now)
        self._cut = now
        self._begin(now)

    def learned(self) -> dict[str, float]:
        """Return what is worth remembering for the next pass, ready for JSON."""
        return {"rate": self.rate.learned, "concurrency": self.width.limit}


def _remembered(learned: Mapping[str, object], name: str, most: float) -> float:
    """Return a remembered number, 0 for what is missing or odd: it comes from a file that anyone may edit."""
    value = learned.get(name)
    return min(value, most) if isinstance(value, int | float) and value > 0 else 0.0
