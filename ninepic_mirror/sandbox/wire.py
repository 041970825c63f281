"""What no framework sends: cut bodies, wrong lengths, resets, silence. Written straight to the connection.

Hypercorn keeps HTTP's rules, so such an answer goes past it: the handler finds the connection that its request came on,
writes bytes of its own and closes. This works the same over TLS. A second server in front of Hypercorn was rejected:
it would have to parse every request again to know which one to break.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from http import HTTPStatus
from socket import SO_LINGER, SOL_SOCKET
from struct import pack
from typing import TYPE_CHECKING

import trio

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ninepic_mirror.sandbox.faults import Fault

Headers = list[tuple[bytes, bytes]]
_CHUNK = bytes(64 * 1024)


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer that was made but not sent."""

    status: int
    headers: Headers
    body: bytes

    def head(self, length: int | None) -> bytes:
        """Return status line and headers with a Content-Length, true or not; None leaves it out."""
        lines = [b"HTTP/1.1 %d %s" % (self.status, HTTPStatus(self.status).phrase.encode())]
        lines += [b"%s: %s" % pair for pair in self.headers if pair[0].lower() != b"content-length"]
        if length is not None:
            lines.append(b"content-length: %d" % length)
        return b"\r\n".join((*lines, b"connection: close", b"", b""))


class Connection:
    """One client's connection, with the means to end it badly.

    Args:
        stream: What carries the bytes, TLS or not.
        socket: The socket under it.
    """

    def __init__(self, stream: trio.abc.Stream, socket: trio.socket.SocketType) -> None:
        self._stream = stream
        self._socket = socket

    async def send(self, *parts: bytes) -> None:
        """Send bytes as they are."""
        await self._stream.send_all(b"".join(parts))

    async def close(self) -> None:
        """End the connection in good order, with TLS's goodbye where there is TLS."""
        await self._stream.aclose()

    def abort(self) -> None:
        """End the connection at once; over TLS without a goodbye. Needs no waiting, so it works while stopping."""
        self._socket.close()

    def reset(self) -> None:
        """End the connection with a TCP reset (RFC 9293, 3.5.2: what close does after a linger of 0)."""
        with suppress(OSError):  # the client may be gone already
            self._socket.setsockopt(SOL_SOCKET, SO_LINGER, pack("ii", 1, 0))
        self.abort()


async def misbehave(fault: Fault, reply: Reply, connection: Connection, gone: trio.Event) -> None:
    """Send an answer the way a wire fault has it, and end the connection.

    Args:
        fault: One of the kinds `reset`, `short`, `stall`, `length` and `endless`.
        reply: The answer that would have been right.
        connection: Where to.
        gone: Set when the client has left.
    """
    # the client may leave first, which is what faults make clients do
    with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
        await _ACTS[fault.kind](fault, reply, connection, gone)


async def _reset(fault: Fault, reply: Reply, connection: Connection, _gone: trio.Event) -> None:
    if fault.at == "middle":
        await connection.send(reply.head(len(reply.body)), _half(reply.body))
        # the kernel throws away what it has not delivered when a reset follows at once
        await trio.sleep(0.02)
    if fault.variety == "rst":
        connection.reset()
    else:
        connection.abort()


async def _short(_fault: Fault, reply: Reply, connection: Connection, _gone: trio.Event) -> None:
    await connection.send(reply.head(len(reply.body)), _half(reply.body))
    await connection.close()


async def _stall(fault: Fault, reply: Reply, connection: Connection, gone: trio.Event) -> None:
    sent = b"" if fault.at == "before" else _half(reply.body)
    await connection.send(reply.head(len(reply.body)), sent)
    with trio.move_on_after(float("inf") if fault.seconds is None else fault.seconds):
        await gone.wait()
        return
    await connection.send(reply.body[len(sent) :])
    await connection.close()


async def _length(fault: Fault, reply: Reply, connection: Connection, _gone: trio.Event) -> None:
    wrong = fault.amount or max(1, len(reply.body) // 10)
    if fault.variety == "long":
        await connection.send(reply.head(len(reply.body) + wrong), reply.body)
    elif fault.variety == "short":
        await connection.send(reply.head(max(0, len(reply.body) - wrong)), reply.body)
    else:
        await connection.send(reply.head(None), _half(reply.body))
    await connection.close()


async def _endless(_fault: Fault, reply: Reply, connection: Connection, gone: trio.Event) -> None:
    await connection.send(reply.head(None), _half(reply.body))
    while not gone.is_set():
        await connection.send(_CHUNK)


_ACTS = {"reset": _reset, "short": _short, "stall": _stall, "length": _length, "endless": _endless}
KINDS: Iterable[str] = frozenset(_ACTS)


def _half(body: bytes) -> bytes:
    return body[: len(body) // 2]
