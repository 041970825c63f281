"""Every passing fault at once, for long enough that each of them strikes: these take some seconds each."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

from ninepic_mirror.ninepic.backoff import Backoff
from ninepic_mirror.ninepic.limits import Limits
from ninepic_mirror.sandbox import Fault

if TYPE_CHECKING:
    from tests.conftest import OpenBench

FIRST_HOUR = 1768777200  # of the sandbox's events
HOUR = 3600
PASSING = (
    Fault(kind="429", probability=0.04, retry_after=0),
    Fault(kind="500", probability=0.04),
    Fault(kind="502", probability=0.03),
    Fault(kind="reset", probability=0.04),
    Fault(kind="reset", how="close", at="before", probability=0.03),
    Fault(kind="short", probability=0.04),
    Fault(kind="html", probability=0.03),
    Fault(kind="html", probability=0.03, content_type="image/jpeg"),
    Fault(kind="json", probability=0.04),
    Fault(kind="empty", probability=0.03),
    Fault(kind="truncated", probability=0.03),
    Fault(kind="length", how="none", probability=0.03),
    Fault(kind="length", how="long", probability=0.03),
)


async def test_every_passing_fault_at_once_ends_whole(open_bench: OpenBench) -> None:
    """With all passing faults at once the pass ends whole, and every byte is right."""
    async with open_bench(photos=40, undated=4) as bench:
        bench.sandbox.faults.add(*PASSING)

        report = await bench.sync()

        assert report.whole, report.failures
        assert report.retries > 10
        bench.check_content()


async def test_random_faults_never_leave_a_lie(open_bench: OpenBench) -> None:
    """Whatever faults come together, what is on disk is right, and a pass after them is whole."""
    draw = random.Random(4)
    async with open_bench(photos=15, undated=2, duplicates=2) as bench:
        for _ in range(6):
            bench.sandbox.faults.add(*draw.sample(PASSING, 4))
            event = bench.sandbox.event(456)
            event.add(1, hour=FIRST_HOUR + draw.randrange(4) * HOUR)
            await bench.sync()
        bench.sandbox.faults.clear()

        report = await bench.sync()

        assert report.whole
        bench.check_content()


async def test_a_body_without_end_fails_that_photo(open_bench: OpenBench) -> None:
    """An endless body and one that stalls are tried often enough, then listed; the others are whole."""
    async with open_bench(photos=10) as bench:
        # the same twelve attempts, without the minutes between them
        bench.limits = Limits(head=1.0, silence=0.05, photo=1 << 20, backoff=Backoff(0.01, 0.05))
        first, second = (photo.image_id for photo in list(bench.sandbox.event(456).photos)[:2])
        bench.sandbox.faults.add(
            Fault(kind="endless", variant="large", image_id=first),
            Fault(kind="stall", variant="large", image_id=second),
        )

        report = await bench.sync()

        assert {one.image_id for one in report.failures} == {first, second}
        assert all(one.error for one in report.failures)
        assert report.present == 18
