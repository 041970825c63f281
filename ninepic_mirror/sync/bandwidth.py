"""Keeps the photos' bytes within `[mirror] bandwidth` and its timetable."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING, Final

import trio

if TYPE_CHECKING:
    from collections.abc import Callable

    from ninepic_mirror.config import Bandwidth

_BURST: Final = (
    0.25  # seconds' worth of bytes that may come at once: small enough that a line stays usable
)


def minute_of_day() -> int:
    """Return the minute of the machine's local day, which the timetable is written in."""
    local = time.localtime()
    return local.tm_hour * 60 + local.tm_min


class Allowance:
    """A budget of bytes that fills at the rate of the hour; shared by all downloads of a run.

    Args:
        bandwidth: The setting.
        minute: Tells the minute of the day.
    """

    def __init__(self, bandwidth: Bandwidth, minute: Callable[[], int] = minute_of_day) -> None:
        self._minute = minute
        self._changed = trio.Event()
        self._take(bandwidth)

    def change(self, bandwidth: Bandwidth) -> None:
        """Let another setting hold from now on, also for downloads that wait: what has come by then is paid for.

        A slow rate may have made them wait for hours, and another one is not to begin with that.
        """
        if bandwidth != self._bandwidth:
            self._take(bandwidth)
            self._changed.set()
            self._changed = trio.Event()

    def _take(self, bandwidth: Bandwidth) -> None:
        self._bandwidth = bandwidth
        self._never = all(rate == 0 for _, rate in bandwidth.steps)  # needs no clock
        self._free_at = -math.inf  # when all bytes so far will have been paid for

    @property
    def is_limited(self) -> bool:
        """Whether bytes have to wait at this hour."""
        return not self._never and self._bandwidth.at(self._minute()) is not None

    async def spend(self, count: int) -> None:
        """Account for bytes that came, and wait until they are within the rate."""
        rate = None if self._never else self._bandwidth.at(self._minute())
        if rate is None:
            return
        now = trio.current_time()
        self._free_at = max(self._free_at, now - _BURST) + count / rate
        if self._free_at > now:
            with trio.move_on_at(self._free_at):
                await self._changed.wait()
