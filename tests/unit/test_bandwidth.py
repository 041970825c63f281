"""The budget of bytes: on a virtual clock, to the hundredth of a second."""

from __future__ import annotations

import pytest
import trio

from ninepic_mirror.config import Bandwidth
from ninepic_mirror.sync.bandwidth import Allowance, minute_of_day


async def test_without_a_limit_nothing_waits(autojump_clock: trio.testing.MockClock) -> None:
    """A bandwidth of 0 is none at all."""
    allowance = Allowance(Bandwidth.parse("0"))
    for _ in range(100):
        await allowance.spend(10**9)
    assert trio.current_time() == pytest.approx(0)


async def test_bytes_come_at_the_rate(autojump_clock: trio.testing.MockClock) -> None:
    """Ten seconds' worth of bytes takes ten seconds, less what may come at once."""
    allowance = Allowance(Bandwidth.parse("1MB/s"))
    for _ in range(100):
        await allowance.spend(100_000)
    assert trio.current_time() == pytest.approx(10, abs=0.3)


async def test_all_downloads_share_the_rate(autojump_clock: trio.testing.MockClock) -> None:
    """Five tasks together are as fast as one."""
    allowance = Allowance(Bandwidth.parse("1MB/s"))

    async def spend() -> None:
        for _ in range(20):
            await allowance.spend(100_000)

    async with trio.open_nursery() as nursery:
        for _ in range(5):
            nursery.start_soon(spend)
    assert trio.current_time() == pytest.approx(10, abs=0.3)


async def test_a_pause_saves_up_a_moment_only(autojump_clock: trio.testing.MockClock) -> None:
    """After an hour without bytes, no more than a quarter of a second's worth comes at once."""
    allowance = Allowance(Bandwidth.parse("1MB/s"))
    await allowance.spend(1)
    await trio.sleep(3600)
    began = trio.current_time()
    await allowance.spend(1_250_000)
    assert trio.current_time() - began == pytest.approx(1.0)


async def test_the_timetable_decides(autojump_clock: trio.testing.MockClock) -> None:
    """The rate is that of the minute: slow by day, unlimited by night."""
    minute = 9 * 60
    allowance = Allowance(Bandwidth.parse("08:00 1MB/s, 23:00 0"), lambda: minute)
    await allowance.spend(2_250_000)
    assert trio.current_time() == pytest.approx(2.0)
    minute = 23 * 60
    await allowance.spend(10**9)
    assert trio.current_time() == pytest.approx(2.0)


async def test_another_setting_holds_at_once(autojump_clock: trio.testing.MockClock) -> None:
    """Bytes that come after the change go by the new rate; reading the same setting again changes nothing."""
    allowance = Allowance(Bandwidth.parse("1MB/s"))
    assert allowance.is_limited
    await allowance.spend(1_250_000)
    assert trio.current_time() == pytest.approx(1.0)
    allowance.change(Bandwidth.parse("1MB/s"))
    await allowance.spend(500_000)
    assert trio.current_time() == pytest.approx(1.5)
    allowance.change(Bandwidth.parse("2MB/s"))
    await allowance.spend(1_500_000)
    assert trio.current_time() == pytest.approx(2.0)
    allowance.change(Bandwidth())
    assert not allowance.is_limited
    await allowance.spend(10**9)
    assert trio.current_time() == pytest.approx(2.0)
    allowance.change(Bandwidth.parse("1MB/s"))
    await allowance.spend(1_250_000)
    assert trio.current_time() == pytest.approx(3.0)


@pytest.mark.parametrize("new", ["0", "10MB/s", "2kB/s"])
async def test_a_download_that_waits_is_let_go(
    autojump_clock: trio.testing.MockClock, new: str
) -> None:
    """One that waits for an hour by the old, slow rate goes on as soon as another holds (issue: bandwidth by SIGHUP)."""
    allowance = Allowance(Bandwidth.parse("1kB/s"))
    ended: list[float] = []

    async def download() -> None:
        await allowance.spend(3_600_000)
        ended.append(trio.current_time())

    async with trio.open_nursery() as nursery:
        nursery.start_soon(download)
        await trio.sleep(2)
        allowance.change(Bandwidth.parse(new))
    assert ended == [pytest.approx(2.0)]


async def test_a_download_that_waits_goes_by_no_more_than_the_new_rate(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """Several that wait are let go together; what comes then is paid for by the new rate."""
    allowance = Allowance(Bandwidth.parse("1kB/s"))
    ended: list[float] = []

    async def download() -> None:
        await allowance.spend(1_000_000)
        await allowance.spend(1_000_000)
        ended.append(trio.current_time())

    async with trio.open_nursery() as nursery:
        for _ in range(3):
            nursery.start_soon(download)
        await trio.sleep(1)
        allowance.change(Bandwidth.parse("1MB/s"))
    assert max(ended) == pytest.approx(1 + 3, abs=0.3)


def test_the_minute_is_one_of_the_day() -> None:
    """The timetable is read by the minute of the local day."""
    assert 0 <= minute_of_day() < 24 * 60
