"""Connecting to checked addresses only (DESIGN §7, Addresses; RELIABILITY N4, N24).

The check is made on the address that is about to be connected to, not on the host's name: `127.1`, `0x7f.1`,
`2130706433`, a name that points at 10.0.0.1, and a name that points elsewhere the second time it is asked for
(DNS rebinding) then are all the same case. A list of forbidden spellings would never be complete.
"""

from __future__ import annotations

import socket
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from itertools import chain, zip_longest
from typing import TYPE_CHECKING, Final

import httpcore
import trio

from ninepic_mirror.errors import PhotoError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

STAGGER: Final = 0.25  # seconds before the next address is tried as well, RFC 8305 §5
NAT64: Final = IPv6Network(
    "64:ff9b::/96"
)  # RFC 6052: the last 32 bits are the IPv4 address that is reached
LOCAL_NAT64: Final = IPv6Network(
    "64:ff9b:1::/48"
)  # RFC 8215: reaches whatever the local network decides


def is_public(text: str) -> bool:
    """Say whether a numeric address is on the public Internet, seen through every IPv6 form that wraps an IPv4 one."""
    address = ip_address(text.partition("%")[0])
    if isinstance(address, IPv4Address):
        return _is_public_four(address)
    if address in LOCAL_NAT64:
        return False
    inner = _wrapped(address)
    if inner:
        return all(map(_is_public_four, inner))
    # is_reserved holds ::/8, and with it the old IPv4-compatible ::127.0.0.1 that is_global lets pass.
    return address.is_global and not (
        address.is_multicast or address.is_reserved or address.is_site_local
    )


def _is_public_four(address: IPv4Address) -> bool:
    return address.is_global and not address.is_multicast


def _wrapped(address: IPv6Address) -> tuple[IPv4Address, ...]:
    """Return the IPv4 addresses that traffic to this address may end at."""
    if address in NAT64:
        return (IPv4Address(int(address) & 0xFFFF_FFFF),)
    if address.teredo:
        return address.teredo
    four = address.ipv4_mapped or address.sixtofour
    return (four,) if four else ()


def is_private_host(host: str) -> bool:
    """Say whether a host of the configuration is private by its spelling: `localhost`, or a numeric address that is.

    A name is not resolved here: what it points at may change, and the question is what the operator meant.
    """
    name = host.lower().rstrip(".")
    return (
        name == "localhost"
        or name.endswith(".localhost")
        or any(not is_public(a) for a in numeric(host))
    )


def numeric(host: str) -> list[str]:
    """Return the address that a host spells in numbers, in whatever way; nothing for a name. Asks no network."""
    try:
        # AI_NUMERICHOST: the very parser that a connection would use, so that both read 0x7f.1 alike.
        found = socket.getaddrinfo(
            host.strip("[]"), None, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST
        )
    except (OSError, UnicodeError):
        return []
    return [str(sockaddr[0]) for *_, sockaddr in found]


class Guard(httpcore.AsyncNetworkBackend):
    """Resolves, checks, and connects to the first allowed address that answers.

    Args:
        allow_private: Connect to any address (sandbox, on-premise storage, a proxy).
        backend: What connects to a numeric address; tests give their own.
    """

    def __init__(
        self, *, allow_private: bool, backend: httpcore.AsyncNetworkBackend | None = None
    ) -> None:
        self._allow_private = allow_private
        self._backend = backend or httpcore.TrioBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109  the signature is httpcore's
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """Connect to the host, whatever it is called, at an allowed address.

        Raises:
            PhotoError: It has only addresses that are not allowed. No retry helps, and no other photo is concerned.
            httpcore.ConnectError: No address answered, or the name is not known.
            httpcore.ConnectTimeout: That took longer than `timeout` seconds.
        """
        try:
            with trio.fail_after(float("inf") if timeout is None else timeout):
                addresses = self._allowed(host, await _resolve(host, port))
                return await self._race(addresses, port, local_address, socket_options)
        except trio.TooSlowError as error:
            raise httpcore.ConnectTimeout(f"no connection to {host} within {timeout} s") from error

    def _allowed(self, host: str, addresses: Sequence[str]) -> list[str]:
        allowed = [a for a in addresses if self._allow_private or is_public(a)]
        if not allowed:
            raise PhotoError(
                f"{host} is at {', '.join(addresses)}, which is no public address (allow_private)"
            )
        return allowed

    async def _race(
        self,
        addresses: Sequence[str],
        port: int,
        local_address: str | None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None,
    ) -> httpcore.AsyncNetworkStream:
        """Try the addresses one after the other, each a little later or when the one before failed (RFC 8305 §5)."""
        streams: list[httpcore.AsyncNetworkStream] = []
        faults: list[Exception] = []

        async def try_one(address: str, failed: trio.Event) -> None:
            try:
                stream = await self._backend.connect_tcp(
                    address, port, None, local_address, socket_options
                )
            except (httpcore.NetworkError, httpcore.TimeoutException) as fault:
                faults.append(fault)
                failed.set()
            else:
                # No checkpoint between the connection and here, so a cancelled loser leaves nothing open; a second
                # winner in the same step is closed below.
                streams.append(stream)
                nursery.cancel_scope.cancel()

        try:
            async with trio.open_nursery() as nursery:
                for address in addresses:
                    failed = trio.Event()
                    nursery.start_soon(try_one, address, failed)
                    with trio.move_on_after(STAGGER):
                        await failed.wait()
            if not streams:
                raise httpcore.ConnectError(f"no address answered: {faults[-1]}") from faults[-1]
            return streams.pop(0)
        finally:  # those that came second, and the first where we were cancelled in the very step in which it came
            with trio.CancelScope(shield=True):
                for surplus in streams:
                    await surplus.aclose()

    async def sleep(self, seconds: float) -> None:
        """Sleep, for httpcore's own retries, of which none are configured."""
        await trio.sleep(seconds)


async def _resolve(host: str, port: int) -> list[str]:
    """Return the host's addresses in the system's order (RFC 6724), the families taking turns (RFC 8305 §4)."""
    try:
        found = await trio.socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise httpcore.ConnectError(f"{host} cannot be resolved: {error}") from error
    families: dict[int, list[str]] = {}
    for family, *_, sockaddr in found:
        families.setdefault(family, []).append(str(sockaddr[0]))
    return [a for a in chain.from_iterable(zip_longest(*families.values())) if a is not None]
