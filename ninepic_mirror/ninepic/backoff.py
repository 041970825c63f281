"""How long to wait after a fault. Plain functions, no I/O (DESIGN §8)."""

from __future__ import annotations

from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Final

from msgspec import Struct

if TYPE_CHECKING:
    from random import Random

BASE: Final = 0.2  # seconds, DESIGN §8
CAP: Final = 15.0  # seconds, DESIGN §8
LONGEST: Final = 15 * 60.0  # seconds; what a `Retry-After` may ask for, DESIGN §8

ATTEMPTS: Final = 12
"""Attempts of one request in a pass. DESIGN §8 wants 10 or more; with 12, the longest that all the backoffs together
can take is 85 s (0.2 + 0.4 + … + 12.8 + four times 15), still under the 120 s after which an origin is given up: one photo
that the service cannot deliver fails as that photo, and not as an origin that is down."""


class Backoff(Struct, frozen=True):
    """The bounds of the waits, in seconds: after the first failure, and the most."""

    base: float = BASE
    cap: float = CAP


_USUAL: Final = Backoff()


def backoff(failures: int, source: Random, bounds: Backoff = _USUAL) -> float:
    """Return the seconds to wait after the `failures`-th failure in a row (1, 2, …).

    Full jitter: anything between nothing and the exponential bound, so that requests that failed together do not
    come back together (AWS Architecture Blog, "Exponential Backoff And Jitter", 2015).
    """
    # 30: far above the cap, far below an overflow
    bound = min(bounds.cap, bounds.base * 2 ** min(failures - 1, 30))
    return source.uniform(0.0, bound)


def read_retry_after(value: str | None, now: float, date: str | None = None) -> float | None:
    """Read a `Retry-After` header (RFC 9110 §10.2.3): seconds, or a date.

    Args:
        value: The header; None when there was none.
        now: Our wall clock, epoch seconds; used for a date when the answer carries no `Date` of its own.
        date: The answer's `Date` header. The difference of the two is right however wrong our clock is.

    Returns:
        Seconds from now, 0 to 15 minutes (`LONGEST`); None for no header and for what is neither of the two.
    """
    text = (value or "").strip()
    if text.isascii() and text.isdigit():
        return min(
            float(text[:20]), LONGEST
        )  # 20 digits say "for ever" as well as 400 do, which float() refuses
    moment = read_date(text)
    if moment is None:
        return None
    sent = read_date(date or "")
    return min(max(moment - (now if sent is None else sent), 0.0), LONGEST)


def read_date(text: str) -> float | None:
    """Read a date of HTTP (RFC 9110 §5.6.7); return epoch seconds, None for what is none."""
    try:
        moment = parsedate_to_datetime(text)
        # A date without a zone is UTC by RFC 9110 §5.6.7; Python would take our own.
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    except (
        ValueError,
        OverflowError,
        TypeError,
        IndexError,
    ):  # what the parser raises, by version and by input
        return None
