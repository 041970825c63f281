"""Every limit of the remote side in one value, so that tests can shrink them (DESIGN §7)."""

from __future__ import annotations

from typing import Final

from msgspec import Struct, field

from ninepic_mirror.ninepic.backoff import Backoff

MEBIBYTE: Final = 1024 * 1024


class Limits(Struct, frozen=True):
    """What an answer may cost us. Times are seconds, sizes bytes, rates bytes a second.

    Args:
        connect: One TCP connection, and one TLS handshake (RELIABILITY N24).
        head: Everything up to the end of the answer's headers: name, connection, redirect headers, 1xx answers
            (100,000 lines of `100 Continue` are otherwise accepted, RELIABILITY, Facts).
        silence: Without a single byte of a body.
        rate: The least a body may bring over each `rate_window`, counted only while we waited for it (N9).
        rate_window: See `rate`.
        patience: What a body may take whatever its length, and
        pace: the rate at which its deadline grows with the length (N9). Twice `rate`: a body that only just
            keeps the minimum rate must end too.
        json: The largest JSON answer. A full page of 100 photos is about 60 kB (N7, N16).
        thumbnail: The largest thumbnail (N8).
        photo: The largest other photo; originals of 5 to 20 MB are usual (N8).
        redirects: How often a photo's address may point elsewhere (DESIGN §7).
        drain: A refusal's body of at most this length is read, so that its connection can be used again:
            a new TLS handshake for each 429 would make a throttled origin's day worse.
        page: Rows of a listing asked for at a time; 100 is the most that the service gives (API.md, Endpoints).
        backoff: How long to wait between the attempts of one request (DESIGN §8).
        probes: Whether requests that fail may have something simple asked (`pacing`); not where somebody does so anyway.
        waits: Whether whatever a `Retry-After` asks for is waited for (`pacing.Pace`).
    """

    connect: float = 10.0
    head: float = 30.0
    silence: float = 15.0
    rate: float = 1_000.0
    rate_window: float = 30.0
    patience: float = 60.0
    pace: float = 2_000.0
    json: int = 8 * MEBIBYTE
    thumbnail: int = 5 * MEBIBYTE
    photo: int = 200 * MEBIBYTE
    redirects: int = 3
    drain: int = 16 * 1024
    page: int = 100
    backoff: Backoff = field(default_factory=Backoff)
    probes: bool = True
    waits: bool = False

    def deadline(self, length: int) -> float:
        """Return how long a body of `length` bytes may keep us waiting, in seconds."""
        return self.patience + length / self.pace
