"""Memory for bodies on their way from the network to the disk: bounded, and used again.

Whoever wants room waits while none is free, which holds the network back when the disk is slower. Room that is used
again saves the kernel from clearing its pages for every photo, an eighth of all the work on a large one.
"""

from __future__ import annotations

from typing import Final

import trio

SIZE: Final = 1 << 20  # bytes of the largest body that is taken whole: nearly all but originals
SMALL: Final = 64 * 1024  # bytes up to which a body needs no room: the channels bound their number
MOST: Final = 48  # rooms; of each only what bodies filled so far takes memory


class Rooms:
    """Rooms of `SIZE` bytes.

    Args:
        most: How many at the most.
    """

    def __init__(self, most: int = MOST) -> None:
        self._free: list[bytearray] = []
        self._unmade = most
        self._waiting = trio.lowlevel.ParkingLot()

    async def take(self) -> bytearray:
        """Return room for one body; `give` it back. Waits until there is some."""
        while not self._free and not self._unmade:
            await self._waiting.park()
        if self._free:
            return self._free.pop()
        self._unmade -= 1
        return bytearray(SIZE)

    def trim(self) -> None:
        """Give memory back that nobody uses now."""
        self._unmade += len(self._free)
        self._free.clear()

    def give(self, room: bytearray | None) -> None:
        """Take room back that nobody reads any more. In trio's thread."""
        if room is not None:
            self._free.append(room)
            self._waiting.unpark()
