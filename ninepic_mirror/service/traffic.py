"""What was asked of the two origins, added up over all sessions of a daemon."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Final

import trio

from ninepic_mirror.service.board import Traffic

if TYPE_CHECKING:
    from ninepic_mirror.ninepic.pacing import Pacer
    from ninepic_mirror.sync.session import Session

ORIGINS: Final = ("api", "photos")


class Meter:
    """Reads the counters of the session that is open, and keeps those of the ones before."""

    def __init__(self) -> None:
        self._session: Session | None = None
        self._statuses: dict[str, Counter[int]] = {origin: Counter() for origin in ORIGINS}
        self._refused = dict.fromkeys(ORIGINS, 0)
        self._retries = 0

    def begin(self, session: Session) -> None:
        """Read a session's counters from now on."""
        self._session = session

    def end(self) -> None:
        """Keep what the session counted."""
        for origin, pacer in self._pacers().items():
            self._statuses[origin] += self._answers(origin)
            self._refused[origin] += pacer.statistics().refused
            self._retries += pacer.statistics().retries
        self._session = None

    @property
    def retries(self) -> int:
        """Attempts after the first of a request, of both origins: they tell that somebody still tries."""
        return self._retries + sum(pacer.statistics().retries for pacer in self._pacers().values())

    @property
    def waits_until(self) -> float | None:
        """Until when an origin wants to be left alone, on trio's clock; None where none does."""
        until = [pacer.statistics().waits_until for pacer in self._pacers().values()]
        return max(until, default=None)

    def read(self) -> dict[str, Traffic]:
        """Return what there is to be shown of each origin."""
        found: dict[str, Traffic] = {}
        for origin, pacer in self._pacers().items():
            now = pacer.statistics()
            found[origin] = Traffic(
                dict(self._statuses[origin] + self._answers(origin)),
                self._refused[origin] + now.refused,
                now.concurrency,
                now.rate,
                max(0.0, now.waits_until - trio.current_time()),
            )
        return found

    def _pacers(self) -> dict[str, Pacer]:
        if self._session is None:
            return {}
        return {"api": self._session.client.pacer, "photos": self._session.pacer}

    def _answers(self, origin: str) -> Counter[int]:
        if self._session is None:
            return Counter()
        source = self._session.client if origin == "api" else self._session.photos
        return Counter(source.statuses)
