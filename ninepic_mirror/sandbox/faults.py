"""Faults on demand: what goes wrong, for which requests, how often. Decides only; `origin` and `listing` carry it out.

Chance is a hash of the seed, the fault, the address and how often that address was asked before. So the same requests
meet the same faults in every run, in whatever order connections deliver them; a shared random stream was rejected for
that reason.
"""

from __future__ import annotations

import re
import time
from dataclasses import dataclass, field
from email.utils import formatdate
from hashlib import blake2b
from typing import TYPE_CHECKING, Final

import trio

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

# kind → the origin it happens on unless the fault says otherwise; None: both
ANSWERS: Final[dict[str, str | None]] = {
    "429": None,
    "rate": None,
    "500": None,
    "502": None,
    "503": None,
    "404": None,
    "403": None,
    "html": None,
    "json": "api",
    "empty": None,
    "redirect": None,
    "gzip": None,
    "truncated": "photos",
    "swap": "photos",
    "expire": "photos",
    "timeline_403": "api",
    "reset": None,
    "short": None,
    "stall": None,
    "length": None,
    "endless": None,
}
LISTINGS: Final = (
    "count_lag",
    "count_lie",
    "total_lie",
    "move",
    "duplicate_rows",
    "shuffle",
    "failed",
    "missing",
)
KINDS: Final = (*ANSWERS, *LISTINGS)

# kind → the varieties that `how` may name, the usual one first
HOW: Final[dict[str, tuple[str, ...]]] = {
    "reset": ("rst", "close"),
    "length": ("long", "short", "none"),
    "move": ("remove", "add", "retime", "swap"),
}
# kinds that are about the body, so a HEAD cannot meet them
_BODIES: Final = frozenset(
    {"short", "stall", "length", "endless", "reset", "truncated", "gzip", "empty"}
)
_PLACES: Final = ("middle", "before")
_REMEMBERED = 200_000  # addresses whose number of visits a fault remembers, about 40 MB


@dataclass(frozen=True, slots=True)
class Ask:
    """One request, as far as faults look at it."""

    origin: str
    method: str
    path: str
    query: str = ""
    event_id: int | None = None
    image_id: str | None = None
    variant: str | None = None


@dataclass(frozen=True, kw_only=True)
class Fault:
    """One thing that goes wrong.

    Args:
        kind: One of `KINDS`.
        origin: `api` or `photos`; None: where the kind makes sense.
        path: A regular expression searched in the path and query.
        event_id: Only requests of this event.
        image_id: Only requests of this photo; for `failed` and `missing` the photo that is left out.
        variant: Only requests of this variant.
        probability: Share of the requests that meet it.
        count: It happens this often and no more; None: always (`move`: once).
        after: Matching requests that go well first.
        retry_after: For `429`, `503` and `rate`: seconds, `date:30` for an HTTP date 30 s ahead, or any other text as it is.
        seconds: For `stall`: how long, None until the client leaves.
        limit: For `rate`: requests a second.
        burst: For `rate`: requests at once, None for one second's worth.
        amount: Bytes (`length`), MB (`gzip`), photos (`count_lag`, `move`, `duplicate_rows`, `failed`, `missing`), what is
            added to a count or total (`count_lie`, `total_lie`).
        value: For `count_lie` and `total_lie`: what stands there instead, whatever it is.
        at: For `reset` and `stall`: in the `middle` of the body or `before` it.
        how: The variety, see `HOW`.
        to: For `redirect`: the address.
        content_type: For `html`: what the page calls itself.
    """

    kind: str
    origin: str | None = None
    path: str | None = None
    event_id: int | None = None
    image_id: str | None = None
    variant: str | None = None
    probability: float = 1.0
    count: int | None = None
    after: int = 0
    retry_after: float | str | None = None
    seconds: float | None = None
    limit: float = 0.0
    burst: float | None = None
    amount: int | None = None
    value: object = None
    at: str = "middle"
    how: str = ""
    to: str = ""
    content_type: str = "text/html"

    def __post_init__(self) -> None:
        self._check_types()
        if self.kind not in KINDS:
            raise ValueError(f"no fault is called {self.kind}; there are {', '.join(KINDS)}")
        if self.how not in ("", *HOW.get(self.kind, ())):
            raise ValueError(
                f"{self.kind} has no variety {self.how}; it has {HOW.get(self.kind, ())}"
            )
        if self.at not in _PLACES or self.origin not in (None, "api", "photos"):
            raise ValueError(f"a fault happens at {_PLACES}, on the origin api or photos")
        if self.kind == "rate" and self.limit <= 0:
            raise ValueError("rate needs a limit above 0, in requests a second")
        if self.path is not None:
            re.compile(self.path)

    def _check_types(self) -> None:
        """Faults also come from outside as JSON, where no type checker looks."""
        texts = (self.kind, self.origin, self.path, self.image_id, self.variant, self.how, self.to)
        wholes = (self.event_id, self.count, self.after, self.amount)
        numbers = (self.probability, self.seconds, self.limit, self.burst)
        if not all(text is None or isinstance(text, str) for text in texts):
            raise ValueError("kind, origin, path, image_id, variant, how and to are texts")
        if not all(whole is None or isinstance(whole, int) for whole in wholes):
            raise ValueError("event_id, count, after and amount are whole numbers")
        if not all(number is None or isinstance(number, (int, float)) for number in numbers):
            raise ValueError("probability, seconds, limit and burst are numbers")

    @property
    def variety(self) -> str:
        """What `how` says, or the kind's usual variety."""
        return self.how or HOW.get(self.kind, ("",))[0]

    def retry_after_header(self) -> str | None:
        """Return the text of `Retry-After`, None for an answer without it."""
        if isinstance(self.retry_after, str) and self.retry_after.startswith("date:"):
            return formatdate(time.time() + float(self.retry_after[5:]), usegmt=True)
        return None if self.retry_after is None else str(self.retry_after)


@dataclass(slots=True)
class _Armed:
    """A fault on duty, with what it has seen."""

    fault: Fault
    number: int
    pattern: re.Pattern[str] | None
    seen: int = 0
    fired: int = 0
    visits: dict[str, int] = field(default_factory=dict)
    tokens: float = 0.0
    filled_at: float | None = None

    def fires(self, ask: Ask, seed: int) -> bool:
        """Say whether this request meets the fault, and count it."""
        if not self._matches(ask):
            return False
        # counted before the dice: `after` means requests, not luck
        self.seen += 1
        count = 1 if self.fault.count is None and self.fault.kind == "move" else self.fault.count
        if self.seen <= self.fault.after or (count is not None and self.fired >= count):
            return False
        if not self._by_chance(ask, seed) or (self.fault.kind == "rate" and self._admits()):
            return False
        self.fired += 1
        return True

    def _matches(self, ask: Ask) -> bool:
        fault = self.fault
        origin = fault.origin or ANSWERS.get(fault.kind, "api")
        photo = None if fault.kind in LISTINGS else fault.image_id
        wanted = (
            (origin, ask.origin),
            (fault.event_id, ask.event_id),
            (photo, ask.image_id),
            (fault.variant, ask.variant),
        )
        if any(want is not None and want != is_ for want, is_ in wanted) or not _concerns(
            fault.kind, ask
        ):
            return False
        return self.pattern is None or self.pattern.search(f"{ask.path}?{ask.query}") is not None

    def _by_chance(self, ask: Ask, seed: int) -> bool:
        if self.fault.probability >= 1:
            return True
        # a photo's query is a signature that differs each time, an API's is the page
        address = f"{ask.method} {ask.path}" + (f"?{ask.query}" if ask.origin == "api" else "")
        if len(self.visits) >= _REMEMBERED:
            self.visits.clear()
        visit = self.visits[address] = self.visits.get(address, 0) + 1
        text = f"{seed} {self.number} {visit} {address}".encode(errors="surrogatepass")
        return (
            int.from_bytes(blake2b(text, digest_size=7).digest(), "big")
            < self.fault.probability * 2**56
        )

    def _admits(self) -> bool:
        # trio's clock: real seconds in use, virtual ones under a test clock
        now = trio.current_time()
        burst = self.fault.burst or max(1.0, self.fault.limit)
        passed = burst if self.filled_at is None else (now - self.filled_at) * self.fault.limit
        self.filled_at = now
        self.tokens = min(burst, self.tokens + passed)
        if self.tokens < 1:
            return False
        self.tokens -= 1
        return True


class Faults:
    """The faults of a sandbox, in the order in which they were added; the first that happens wins.

    Args:
        seed: Another seed, other requests that meet them.
    """

    def __init__(self, seed: int = 1) -> None:
        self._seed = seed
        self._armed: list[_Armed] = []

    def __len__(self) -> int:
        return len(self._armed)

    def add(self, *faults: Fault) -> None:
        """Let faults happen from now on."""
        for fault in faults:
            pattern = None if fault.path is None else re.compile(fault.path)
            self._armed.append(_Armed(fault, len(self._armed), pattern))

    def clear(self) -> None:
        """Let nothing go wrong any more."""
        self._armed.clear()

    def answer(self, ask: Ask) -> Fault | None:
        """Return the fault that this request meets instead of its answer."""
        return next(self._firing(ask, lambda kind: kind in ANSWERS), None)

    def listing(self, kind: str, ask: Ask) -> Fault | None:
        """Return the fault of a kind that changes what this listing says."""
        return next(self._firing(ask, lambda other: other == kind), None)

    def fired(self, kind: str) -> int:
        """Return how often faults of a kind happened; those cleared no longer count."""
        return sum(armed.fired for armed in self._armed if armed.fault.kind == kind)

    def _firing(self, ask: Ask, wanted: Callable[[str], bool]) -> Iterator[Fault]:
        return (
            armed.fault
            for armed in self._armed
            if wanted(armed.fault.kind) and armed.fires(ask, self._seed)
        )


def _concerns(kind: str, ask: Ask) -> bool:
    """Say whether a kind has a meaning for a request, beyond what the fault's own fields ask for."""
    if ask.method == "HEAD" and kind in _BODIES:
        return False
    if kind == "expire":
        return ask.variant == "original"
    if kind == "timeline_403":
        return "/timeline/" in ask.path
    return kind not in ("swap", "truncated") or ask.variant is not None
