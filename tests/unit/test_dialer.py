"""The sockets that the guard has made."""

from __future__ import annotations

import socket

import httpcore
import pytest
import trio

from ninepic_mirror.errors import PhotoError
from ninepic_mirror.ninepic.dialer import Plug, Plugs, connect


async def test_connected_socket() -> None:
    """The socket is connected, never blocks, and sends small requests at once."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with await connect("localhost", port, 5, allow_private=True) as sock:
            assert sock.getpeername() == ("127.0.0.1", port)
            assert sock.gettimeout() == 0
            assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


async def test_guard_decides() -> None:
    """Where the guard says no, nothing is connected."""
    with pytest.raises(PhotoError, match="no public address"):
        await connect("127.0.0.1", 1, 5, allow_private=False)


async def test_only_numbers() -> None:
    """A name is never resolved a second time behind the guard's back."""
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        pytest.raises(httpcore.ConnectError),
    ):
        await Plugs().connect_tcp("localhost", server.getsockname()[1])


async def test_nobody_there() -> None:
    """A refused connection is an error of the guard's kind, and leaves no socket open."""
    with pytest.raises(httpcore.ConnectError, match="refused"):
        await Plugs().connect_tcp("127.0.0.1", 1)


async def test_surplus_connection() -> None:
    """A connection that lost the race is closed."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        plug = await Plugs().connect_tcp("127.0.0.1", server.getsockname()[1])
        assert isinstance(plug, Plug)
        await plug.aclose()
        assert plug.socket.fileno() == -1


async def test_cancelled_connection() -> None:
    """A connection that is cancelled under way leaves no socket open (a warning would fail the test)."""
    with trio.move_on_after(0) as scope:
        await Plugs().connect_tcp("127.0.0.1", 1)
    assert scope.cancelled_caught
