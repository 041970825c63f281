"""Connecting for the fast lane: the guard decides where to, this module makes the sockets."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

import httpcore
import trio

from ninepic_mirror.ninepic.guard import Guard

if TYPE_CHECKING:
    from collections.abc import Iterable


class Plug(httpcore.AsyncNetworkStream):
    """A connected, non-blocking socket on its way from the guard to a connection."""

    def __init__(self, sock: socket.socket) -> None:
        self.socket = sock

    async def aclose(self) -> None:
        """Close it: the guard had another address answer first."""
        self.socket.close()


class Plugs(httpcore.AsyncNetworkBackend):
    """Connects to a numeric address, without a stream on top."""

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ARG002, ASYNC109  the signature is httpcore's; the guard keeps the time
        local_address: str | None = None,  # noqa: ARG002  the same
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,  # noqa: ARG002  the same
    ) -> Plug:
        """Connect.

        Raises:
            httpcore.ConnectError: Nobody answers there.
        """
        try:
            found = await trio.socket.getaddrinfo(
                host, port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST
            )
            family, kind, protocol, _, target = found[0]
            connecting = trio.socket.socket(family, kind, protocol)
        except OSError as error:
            raise httpcore.ConnectError(str(error)) from error
        with connecting:
            try:
                await connecting.connect(target)
            except OSError as error:
                raise httpcore.ConnectError(str(error)) from error
            connected = socket.socket(family, kind, protocol, fileno=connecting.detach())
        connected.settimeout(0)
        connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return Plug(connected)


async def connect(host: str, port: int, seconds: float, *, allow_private: bool) -> socket.socket:
    """Connect to an allowed address of the host.

    Returns:
        The socket, non-blocking; the caller closes it.

    Raises:
        PhotoError: The host has only addresses that are not allowed.
        httpcore.ConnectError: No address answered.
        httpcore.ConnectTimeout: Not within `seconds`.
    """
    guard = Guard(allow_private=allow_private, backend=Plugs())
    plug = await guard.connect_tcp(host, port, seconds)
    assert isinstance(plug, Plug)  # noqa: S101  the backend above makes nothing else
    return plug.socket
