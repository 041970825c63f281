"""A server that sends raw bytes, for the tests of the fast lane.

Not the sandbox: that one speaks HTTP as it should, or wrongly in ways that Starlette can still say. Here every byte is the
test's own.
"""

from __future__ import annotations

import random
import socket
import ssl
import struct
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import trio
from trio.testing import wait_all_tasks_blocked

from ninepic_mirror.ninepic.connection import READ
from ninepic_mirror.ninepic.lanes import watched
from ninepic_mirror.ninepic.limits import Limits
from ninepic_mirror.ninepic.pacing import Pacer, photos_pace
from ninepic_mirror.ninepic.pool import Pool
from ninepic_mirror.ninepic.transport import FastLane

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterable

OK: Final = b"HTTP/1.1 200 OK\r\n"
PHOTO: Final = random.Random(1).randbytes(3_000)
NEXT: Final = random.Random(2).randbytes(2_000)
LARGE: Final = random.Random(3).randbytes(5 * READ + 17)
IMPATIENT: Final = Limits(silence=0.08, head=0.08)  # only where nothing more will come


def answer(content: bytes, *lines: str, status: str = "200 OK") -> bytes:
    """Write an answer with a length."""
    head = [f"HTTP/1.1 {status}", f"Content-Length: {len(content)}", *lines, "", ""]
    return "\r\n".join(head).encode() + content


@dataclass
class Reply:
    """What the server does after one request.

    Args:
        pieces: Sent one after the other, each when the client has taken what came before.
        then: `keep` the connection; `close` it properly, `cut` it without TLS's goodbye, `reset` it, or `hold` it.
        pause: Seconds between two pieces, where `serve` is not told otherwise.
    """

    pieces: Iterable[bytes]
    then: str = "keep"
    pause: float = 0.0

    async def serve(
        self,
        stream: trio.abc.Stream,
        raw: trio.SocketStream,
        breathe: Callable[[], Awaitable[None]] | None = None,
    ) -> bool:
        """Do it; say whether another request may follow.

        Args:
            stream: The connection.
            raw: What is under it, where it is TLS.
            breathe: Waits between two pieces.
        """
        for piece in self.pieces:
            await stream.send_all(piece)
            if breathe is None:
                await trio.sleep(self.pause)
            else:
                await breathe()
        if self.then == "hold":
            await trio.sleep_forever()
        if self.then == "reset":
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        if self.then in {"reset", "cut"}:
            raw.socket.close()
        if self.then == "close":
            await stream.aclose()
        return self.then == "keep"


@dataclass
class Server:
    """Answers each request, over whatever connection it comes, with the next of its replies, or what that makes of it."""

    replies: list[Reply] | list[Reply | Callable[[str], Reply]]
    context: ssl.SSLContext | None = None
    requests: list[str] = field(default_factory=list)
    connections: int = 0
    url: str = ""
    replied: trio.Event = field(default_factory=trio.Event)  # once, after the first reply

    async def handle(self, raw: trio.SocketStream) -> None:
        """Serve one connection."""
        self.connections += 1
        stream: trio.SocketStream | trio.SSLStream[trio.SocketStream] = raw
        if self.context is not None:
            stream = trio.SSLStream(raw, self.context, server_side=True)
        try:
            while await self.serve(stream, raw):
                pass
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            return  # the client had enough
        finally:
            raw.socket.close()

    async def serve(self, stream: trio.abc.Stream, raw: trio.SocketStream) -> bool:
        """Serve one request; say whether another may follow."""
        request = b""
        while not request.endswith(b"\r\n\r\n"):
            some = await stream.receive_some()
            if not some:
                return False
            request += some
        self.requests.append(request.decode())
        found = self.replies.pop(0)
        reply = found if isinstance(found, Reply) else found(self.requests[-1])
        goes_on = await reply.serve(stream, raw, wait_all_tasks_blocked)
        self.replied.set()
        return goes_on

    @asynccontextmanager
    async def running(
        self,
        limits: Limits | None = None,
        client: ssl.SSLContext | None = None,
        *,
        host: str = "127.0.0.1",
    ) -> AsyncIterator[FastLane]:
        """Serve on loopback; give a lane."""
        limits = limits or Limits()
        async with trio.open_nursery() as nursery:
            listen = await trio.open_tcp_listeners(0, host=host)
            nursery.start_soon(trio.serve_listeners, self.handle, listen)
            port = listen[0].socket.getsockname()[1]
            scheme = "http" if self.context is None else "https"
            self.url = f"{scheme}://{f'[{host}]' if ':' in host else host}:{port}/a.jpg"
            pool = Pool(client or ssl.create_default_context(), limits, allow_private=True)
            async with watched(pool):
                yield FastLane(pool, Pacer(photos_pace(self.url)), limits, relaxed=True)
            nursery.cancel_scope.cancel()


async def fetch(
    lane: FastLane,
    url: str,
    *,
    whole: bool = True,
    cap: int = 10_000_000,
    offset: int = 0,
    validator: str | None = '"v"',
) -> bytes:
    """Fetch one photo, at once or in chunks."""
    with await lane.open(url, cap=cap, offset=offset, validator=validator) as body:
        if whole:
            return bytes(await body.read())
        return b"".join([chunk async for chunk in body.chunks()])
