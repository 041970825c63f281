"""Storms of refusals over a run of 10,000 photos, on a virtual clock (RELIABILITY T14)."""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from random import Random
from typing import TYPE_CHECKING, Final, Unpack

import trio
import trio.testing
from msgspec import structs

from ninepic_mirror.config import Mirror
from ninepic_mirror.errors import PassingError
from ninepic_mirror.ninepic.pacing import Pacer, photos_pace
from ninepic_mirror.sync.mirror import sync_event
from tests.oracle import check_settled, check_truth
from tests.remote import EVENT, Remote, Wanted, session_of
from tests.torture.experiment import Experiment

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from ninepic_mirror.ninepic.photos import Body
    from ninepic_mirror.sync.report import PassReport

PHOTOS: Final = 10_000
LATENCY: Final = 0.05  # seconds an answer
MOST: Final = 1.2  # requests for each photo
LATE: Final = 1.0  # seconds after a `Retry-After` is over
GRAIN: Final = 1e-6  # of a clock that adds floating numbers up


@dataclass
class Storm:
    """All photo requests are refused for a while.

    Args:
        after: It begins with the request of this number.
        seconds: How long it lasts.
        retry_after: What the refusals say; None: nothing.
        refusal: They ask for patience; else they are plain faults.
    """

    after: int
    seconds: float
    retry_after: float | None
    refusal: bool
    began: float | None = None


@dataclass
class Weather(Remote):
    """A service over which storms come, one after the other.

    Attributes:
        starts: How many photo requests there were.
        quiet: Until when nobody may ask, and `gaps` how long after that it took until somebody did.
        early: Requests that came before.
    """

    storms: list[Storm] = field(default_factory=list)
    starts: int = 0
    quiet: float | None = None
    gaps: list[float] = field(default_factory=list)
    early: list[float] = field(default_factory=list)

    @asynccontextmanager
    async def stream(self, url: str, **wanted: Unpack[Wanted]) -> AsyncIterator[Body]:
        """Answer as `PhotoClient.stream`, unless there is a storm."""
        now = trio.current_time()
        self.starts += 1
        if self.quiet is not None:
            if now < self.quiet - GRAIN:
                self.early.append(self.quiet - now)
            else:
                self.gaps.append(now - self.quiet)
                self.quiet = None
        storm = self._storm(now)
        await trio.sleep(LATENCY)
        if storm is not None:
            if storm.retry_after is not None:
                self.quiet = max(self.quiet or 0.0, trio.current_time() + storm.retry_after)
            raise PassingError("refused", storm.refusal, storm.retry_after)
        async with super().stream(url, **wanted) as body:
            yield body

    def _storm(self, now: float) -> Storm | None:
        if self.storms and self.starts >= self.storms[0].after:
            storm = self.storms[0]
            if storm.began is None:
                storm.began = now
            if now < storm.began + storm.seconds:
                return storm
            del self.storms[0]
        return None


def play(seed: int, folder: Path) -> dict[str, int]:
    """Let some storms come over a first run."""
    random = Random(seed)
    remote = Weather().fill(PHOTOS)
    assert isinstance(remote, Weather)
    for number in range(random.randrange(1, 5)):
        kind = random.choice(("asks", "asks", "refuses", "fails"))
        wait = random.uniform(0.5, 60) if kind == "asks" else None
        remote.storms.append(
            Storm(1 + number * 2_500 + random.randrange(2_000), random.uniform(0, 60), wait, kind != "fails")
        )  # fmt: skip
    storms = len(remote.storms)
    settings = Mirror(
        folder / "mirror", min_free=0, durability="none", connections=64, variants=("thumbnail",)
    )
    reports: list[PassReport] = []

    async def main() -> None:
        session = session_of(remote, settings)
        session = structs.replace(session, pacer=Pacer(photos_pace("https://photos"), None, random))
        reports.append(await sync_event(session, EVENT))

    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0.001))
    (report,) = reports
    assert report.whole, report.failures[:3]
    (mirror,) = settings.root.glob(f"{EVENT}*")
    assert (
        check_truth(mirror, lambda image_id, _: remote.pictures[image_id].body("thumbnail"))
        == PHOTOS
    )
    check_settled(mirror)
    assert remote.starts <= MOST * PHOTOS, f"{remote.starts} requests for {PHOTOS} photos"
    # those that were under way when the first refusal came are no news
    assert not remote.early, (
        f"{len(remote.early)} requests up to {max(remote.early):.1f} s too early"
    )
    assert all(gap <= LATE for gap in remote.gaps), f"quiet for {max(remote.gaps):.1f} s too long"
    return {"storms": storms, "photos": PHOTOS, "requests": remote.starts}


EXPERIMENT = Experiment(
    "storms",
    "Up to four storms of 429, 503 or 500 answers, of up to a minute, come over a run of 10,000 photos on a virtual clock: at"
    " most 1.2 requests a photo, nobody asks before a `Retry-After` is over, somebody within a second after it, and the run"
    " ends whole.",
    rounds=50,
    small=1,
    play=play,
)
