"""A `Retry-After` of any text is a wait within 15 minutes, or none."""

from __future__ import annotations

from typing import Final

from ninepic_mirror.ninepic.backoff import LONGEST, read_retry_after
from tests.torture.fuzzers.spelling import spell

NOW: Final = 1_768_802_400.0  # 2026-01-19T06:00:00Z
FRAGMENTS: Final = (
    b"Mon, 19 Jan 2026 06:00:30 GMT", b"Mon, ", b"19", b" Jan ", b"2026", b" 06:00:30", b" GMT", b" +0530", b" -2400",
    b"0", b"9", b"99999999999999999999999", b"-", b"+", b".", b":", b" ", b"1e9", b"NaN", b"inf", b",", b"(", b")",
    b"Feb 30", b"31 Feb", b"24:61:61", b"0000", b"10000",
)  # fmt: skip


def check(data: bytes) -> None:
    """Read it, with and without the answer's own date."""
    value, _, date = spell(data, FRAGMENTS).decode("utf-8", "surrogateescape").partition("\n")
    for sent in (None, date):
        wait = read_retry_after(value, NOW, sent)
        assert wait is None or 0 <= wait <= LONGEST, wait
