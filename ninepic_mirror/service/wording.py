"""How the daemon's pages say times and texts of others; nothing here knows what is told."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

from ninepic_mirror.ninepic.redaction import unsigned
from ninepic_mirror.progress import plain

_DAY: Final = 86_400


def clean(text: str) -> str:
    """Return text of the service's as one printable line, without the queries of addresses, which may be signed."""
    # Errors carry no queries (`errors`); this is the second lock on that door, because pages are seen by anybody.
    return plain(unsigned(text))


def span(seconds: float) -> str:
    """Return a time for people, as exact as they need it: `40 s`, `4 min`, `3 h`, `5 days`."""
    seconds = max(0.0, seconds)
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 90 * 60:
        return f"{seconds / 60:.0f} min"
    if seconds < 2 * _DAY:
        return f"{seconds / 3600:.0f} h"
    return f"{seconds / _DAY:,.0f} days"


def stamp(moment: float) -> str:
    """Return a moment as `<time datetime>` wants it."""
    return datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def clock(moment: float) -> str:
    """Return a moment for people where their own zone is not known."""
    return datetime.fromtimestamp(moment, UTC).strftime("%d %b %Y, %H:%M UTC").lstrip("0")
