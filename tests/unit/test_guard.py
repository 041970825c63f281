"""Which addresses may be connected to, and how a connection is made."""

# ruff: noqa: ARG002  the interfaces name more than these fakes look at
from __future__ import annotations

import math
import socket
from typing import TYPE_CHECKING

import httpcore
import pytest
import trio
import trio.testing

from ninepic_mirror.errors import PhotoError
from ninepic_mirror.ninepic.guard import STAGGER, Guard, is_private_host, is_public, numeric

if TYPE_CHECKING:
    from collections.abc import Iterable

PRIVATE = [
    "127.0.0.1",
    "0.0.0.0",
    "10.1.2.3",
    "172.16.0.1",
    "192.168.1.1",
    "169.254.169.254",
    "100.64.0.1",
    "224.0.0.1",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::127.0.0.1",
    "::ffff:127.0.0.1",
    "::ffff:10.0.0.1",
    "64:ff9b::7f00:1",
    "64:ff9b:1::5db8:d822",
    "2002:7f00:1::",
    "2001:0:4136:e378:8000:63bf:80ff:fffe",
    "fe80::1%eth0",
    "fec0::1",
    "fc00::1",
    "ff02::1",
    "2001:db8::1",
]
PUBLIC = ["93.184.216.34", "2606:2800:220:1::1", "::ffff:93.184.216.34", "64:ff9b::5db8:d822"]
SPELLINGS = ["127.1", "0x7f.1", "2130706433", "0", "017700000001", "::ffff:127.0.0.1", "[::1]"]


class Network(httpcore.AsyncNetworkBackend):
    """Connects in memory: each address answers after so many seconds, or refuses.

    Args:
        answers: Address → seconds until it answers; negative: until it refuses; `inf`: once `together` is set.
    """

    def __init__(self, **answers: float) -> None:
        self.answers = {name.replace("_", "."): after for name, after in answers.items()}
        self.together = trio.Event()
        self.asked: list[tuple[str, float]] = []
        self.streams: list[httpcore.AsyncMockStream] = []

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109  httpcore's signature
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """Answer as it was told."""
        self.asked.append((host, trio.current_time()))
        after = self.answers["a" + host]
        if after == math.inf:
            await self.together.wait()
        else:
            await trio.sleep(abs(after))
        if after < 0:
            raise httpcore.ConnectError(f"{host} refused")
        self.streams.append(httpcore.AsyncMockStream([host.encode()]))
        return self.streams[-1]


class Names(trio.abc.HostnameResolver):
    """Resolves every name to the same addresses, and later to others (DNS rebinding)."""

    def __init__(self, *answers: list[str]) -> None:
        self.answers = list(answers)

    async def getaddrinfo(  # type: ignore[override]  # a simpler type than trio's union of literals
        self,
        host: bytes | None,
        port: bytes | str | int | None,
        family: int = 0,
        type: int = 0,  # noqa: A002  the interface's name
        proto: int = 0,
        flags: int = 0,
    ) -> list[
        tuple[
            socket.AddressFamily,
            socket.SocketKind,
            int,
            str,
            tuple[str, int] | tuple[str, int, int, int],
        ]
    ]:
        """Resolve a name."""
        addresses = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if not addresses:
            raise socket.gaierror(socket.EAI_NONAME, "no such name")
        kind = socket.SOCK_STREAM
        return [
            (socket.AF_INET6, kind, 6, "", (a, 443, 0, 0))
            if ":" in a
            else (socket.AF_INET, kind, 6, "", (a, 443))
            for a in addresses
        ]

    async def getnameinfo(
        self, sockaddr: tuple[str, int] | tuple[str, int, int, int], flags: int
    ) -> tuple[str, str]:
        """Not used."""
        raise NotImplementedError


@pytest.mark.parametrize("address", PRIVATE)
def test_private(address: str) -> None:
    """Loopback, private, link-local, shared, multicast, reserved and wrapped addresses are not public."""
    assert not is_public(address)


@pytest.mark.parametrize("address", PUBLIC)
def test_public(address: str) -> None:
    """Public addresses are, also behind a mapping or NAT64."""
    assert is_public(address)


@pytest.mark.parametrize("host", [*SPELLINGS, "localhost", "LOCALHOST.", "a.localhost", "10.0.0.9"])
def test_private_host(host: str) -> None:
    """A configured host is private in every spelling that a connection would read as private."""
    assert is_private_host(host)


def test_public_host() -> None:
    """Names and public addresses are not private by their spelling."""
    assert not any(map(is_private_host, ["api.9pic.ai", "93.184.216.34", "x\udcff"]))
    assert numeric("api.9pic.ai") == []


@pytest.mark.parametrize("host", SPELLINGS)
async def test_spellings_are_refused(host: str) -> None:
    """Whatever the spelling, the address behind it is checked before any connection (RELIABILITY N4)."""
    network = Network()
    with pytest.raises(PhotoError, match="no public address"):
        await Guard(allow_private=False, backend=network).connect_tcp(host.strip("[]"), 443)
    assert not network.asked


async def test_rebinding(autojump_clock: trio.testing.MockClock) -> None:
    """A name that points elsewhere the second time is checked the second time too."""
    trio.socket.set_custom_hostname_resolver(Names(["93.184.216.34"], ["127.0.0.1"]))
    network = Network(a93_184_216_34=0)
    guard = Guard(allow_private=False, backend=network)
    await guard.connect_tcp("photos.test", 443)
    with pytest.raises(PhotoError, match=r"photos\.test is at 127\.0\.0\.1"):
        await guard.connect_tcp("photos.test", 443)
    assert [host for host, _ in network.asked] == ["93.184.216.34"]


async def test_only_allowed_addresses_are_tried(autojump_clock: trio.testing.MockClock) -> None:
    """Of a name with public and private addresses only the public ones are tried, unless all are allowed."""
    trio.socket.set_custom_hostname_resolver(Names(["10.0.0.1", "93.184.216.34"]))
    network = Network(a10_0_0_1=-0.1, a93_184_216_34=0)
    await Guard(allow_private=False, backend=network).connect_tcp("x.test", 443)
    assert [host for host, _ in network.asked] == ["93.184.216.34"]
    await Guard(allow_private=True, backend=network).connect_tcp("x.test", 443)
    assert [host for host, _ in network.asked[1:]] == ["10.0.0.1", "93.184.216.34"]


async def test_dead_address_costs_a_quarter_of_a_second(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """An address that is silent holds the next one up for 0.25 s; one that refuses does not (RFC 8305)."""
    trio.socket.set_custom_hostname_resolver(Names(["1.1.1.1", "1.1.1.2", "1.1.1.3"]))
    network = Network(a1_1_1_1=60, a1_1_1_2=-0.01, a1_1_1_3=0.1)
    begin = trio.current_time()
    stream = await Guard(allow_private=False, backend=network).connect_tcp("x.test", 443)
    assert trio.current_time() - begin == pytest.approx(STAGGER + 0.11)
    assert await stream.read(100) == b"1.1.1.3"


async def test_families_take_turns(autojump_clock: trio.testing.MockClock) -> None:
    """A dead family does not go first with all of its addresses (RFC 8305 §4)."""
    trio.socket.set_custom_hostname_resolver(Names(["2606::1", "2606::2", "1.1.1.1"]))
    network = Network(**{"a2606::1": 60, "a2606::2": 60, "a1_1_1_1": 0})
    await Guard(allow_private=False, backend=network).connect_tcp("x.test", 443)
    assert [host for host, _ in network.asked] == ["2606::1", "1.1.1.1"]


async def test_surplus_connection_is_closed(autojump_clock: trio.testing.MockClock) -> None:
    """When two addresses answer in the same instant one connection is kept and the other is closed."""
    trio.socket.set_custom_hostname_resolver(Names(["1.1.1.1", "1.1.1.2"]))
    network = Network(a1_1_1_1=math.inf, a1_1_1_2=math.inf)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(Guard(allow_private=False, backend=network).connect_tcp, "x.test", 443)
        await trio.sleep(1)
        network.together.set()
    assert sorted(stream._closed for stream in network.streams) == [False, True]


async def test_what_came_as_we_left_is_closed(autojump_clock: trio.testing.MockClock) -> None:
    """A connection that is made in the very step in which its caller is cancelled does not stay open."""
    trio.socket.set_custom_hostname_resolver(Names(["1.1.1.1"]))
    network = Network(a1_1_1_1=math.inf)
    with trio.CancelScope() as scope:
        async with trio.open_nursery() as nursery:
            guard = Guard(allow_private=False, backend=network)
            nursery.start_soon(guard.connect_tcp, "x.test", 443)
            await trio.sleep(STAGGER / 2)
            network.together.set()
            scope.cancel()
    assert [stream._closed for stream in network.streams] == [True]


async def test_nothing_answers(autojump_clock: trio.testing.MockClock) -> None:
    """Refused everywhere, unknown, and too slow are connection errors, which may pass."""
    guard = Guard(allow_private=False, backend=Network(a1_1_1_1=-0.1, a1_1_1_2=-0.1))
    trio.socket.set_custom_hostname_resolver(Names(["1.1.1.1", "1.1.1.2"], []))
    with pytest.raises(httpcore.ConnectError, match="refused"):
        await guard.connect_tcp("x.test", 443)
    with pytest.raises(httpcore.ConnectError, match="resolved"):
        await guard.connect_tcp("x.test", 443)
    trio.socket.set_custom_hostname_resolver(Names(["1.1.1.1"]))
    slow = Guard(allow_private=False, backend=Network(a1_1_1_1=60))
    begin = trio.current_time()
    with pytest.raises(httpcore.ConnectTimeout):
        await slow.connect_tcp("x.test", 443, timeout=10.0)
    assert trio.current_time() - begin == 10.0
    await slow.sleep(1)
    assert trio.current_time() - begin == 11.0
