"""A line of some length: relays connections on loopback with a delay and a rate, since netem is not everywhere.

    python -m benchmarks.line TARGET_PORT [--delay 0.02] [--rate 62500000]

Prints the port that it listens on. Every byte leaves `delay` seconds after it came, in both directions, and all
connections share the rate. What TCP itself does on a long line (slow start, loss) is not imitated.
"""

from __future__ import annotations

import argparse
import asyncio
import time
from collections import deque
from contextlib import suppress

CHUNK = 64 * 1024
AHEAD = 8 * 1024 * 1024  # bytes under way on one connection in one direction


class Rate:
    """Bytes a second, shared by all that send in one direction."""

    def __init__(self, rate: float) -> None:
        self._rate, self._free = rate, 0.0

    def due(self, size: int, delay: float) -> float:
        """Return when so many bytes, sent now, have arrived."""
        self._free = max(self._free, time.monotonic()) + size / self._rate
        return self._free + delay


async def carry(
    source: asyncio.StreamReader, sink: asyncio.StreamWriter, rate: Rate, delay: float
) -> None:
    """Carry one direction of one connection to its end."""
    under_way: deque[tuple[float, bytes]] = deque()
    held = 0
    came, left = asyncio.Event(), asyncio.Event()

    async def deliver() -> None:
        nonlocal held
        while True:
            while not under_way:
                came.clear()
                await came.wait()
            due, data = under_way.popleft()
            await asyncio.sleep(due - time.monotonic())
            if not data:
                break
            sink.write(data)
            await sink.drain()
            held -= len(data)
            left.set()
        sink.close()

    delivery = asyncio.create_task(deliver())
    try:
        while data := await source.read(CHUNK):
            under_way.append((rate.due(len(data), delay), data))
            held += len(data)
            came.set()
            while held > AHEAD:
                left.clear()
                await left.wait()
    except OSError:
        pass  # the other side broke it: the end is what we pass on
    under_way.append((time.monotonic() + delay, b""))
    came.set()
    with suppress(OSError):
        await delivery


async def relay(target: int, delay: float, rate: float) -> None:
    """Serve until we are ended."""
    up, down = Rate(rate), Rate(rate)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection("127.0.0.1", target, limit=AHEAD)
        await asyncio.gather(
            carry(reader, back, up, delay),
            carry(there, writer, down, delay),
            return_exceptions=True,
        )

    server = await asyncio.start_server(serve, "127.0.0.1", 0, limit=AHEAD, backlog=1024)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


def main() -> None:
    """Relay."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("target", type=int)
    parser.add_argument("--delay", type=float, default=0.02, help="seconds, one way")
    parser.add_argument("--rate", type=float, default=62.5e6, help="bytes a second")
    options = parser.parse_args()
    asyncio.run(relay(options.target, options.delay, options.rate))


if __name__ == "__main__":
    main()
