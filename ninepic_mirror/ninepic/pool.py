"""The fast lane's connections: which are idle at which origin, and the beat that watches all of them."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING, Final

import httpcore
import trio

from ninepic_mirror.errors import CertificateError, PassingError, PhotoError
from ninepic_mirror.ninepic.connection import BROKEN, READ, Connection
from ninepic_mirror.ninepic.dialer import connect
from ninepic_mirror.ninepic.session import KEEPALIVE, USER_AGENT, Trust
from ninepic_mirror.ninepic.watch import beat_of

if TYPE_CHECKING:
    from ninepic_mirror.ninepic.address import Address
    from ninepic_mirror.ninepic.limits import Limits

ORIGINS: Final = 256  # of which something is kept: each some kilobytes, a TLS session among them


class Origin:
    """Scheme, host and port, and what is kept for them.

    Args:
        address: Of any photo there.

    Attributes:
        idle: Connections that wait, the last used last.
        session: For TLS resumption.
        odd: Answers in a row that the fast lane did not understand.
        rest: Requests that are left to the slow lane before the fast lane is tried again.
    """

    def __init__(self, address: Address) -> None:
        self.name = address.origin
        self.is_secure = address.scheme == "https"
        self.host, self.port = address.host, address.port
        self.idle: list[Connection] = []
        self.session: ssl.SSLSession | None = None
        self.odd = self.rest = 0
        host = f"[{self.host}]" if ":" in self.host else self.host
        if self.port != (443 if self.is_secure else 80):
            host += f":{self.port}"
        self._fields = (
            f" HTTP/1.1\r\nHost: {host}\r\nUser-Agent: {USER_AGENT}\r\nAccept: */*\r\n"
            "Accept-Encoding: identity\r\nConnection: keep-alive\r\n"
        )

    def request(self, target: str, part: str = "") -> bytes:
        """Return a request; `part` are the fields that ask for a part, each with its line end."""
        return f"GET {target}{self._fields}{part}\r\n".encode("ascii")


class Pool:
    """Opens, keeps and watches connections.

    Args:
        context: Verifies; no other HTTP version is offered in it than 1.1.
        limits: The times and rates.
        connections: The most that are busy, which the caller sees to; as many more may be idle, of all origins together.
        allow_private: Connect to any address.
        trust: In that context, where other clients share it.

    Attributes:
        received: Bytes of bodies.
    """

    def __init__(
        self,
        context: ssl.SSLContext,
        limits: Limits,
        connections: int = 64,
        *,
        allow_private: bool,
        trust: Trust | None = None,
    ) -> None:
        # A peer that asks for a new handshake in the middle gets none (only TLS 1.2 has it).
        context.options |= ssl.OP_NO_RENEGOTIATION
        context.set_alpn_protocols(["http/1.1"])
        self._context, self._limits, self._allow_private = context, limits, allow_private
        self._scratch = memoryview(bytearray(READ))
        self._connections = connections
        self._busy: set[Connection] = set()
        self._dialing = 0  # connections that are being made
        self._origins: dict[str, Origin] = {}
        self._is_needed = trio.Event()
        self._trust = trust or Trust()
        self.received = 0

    def origin(self, address: Address) -> Origin | None:
        """Return what is kept for the origin of an address, None where nothing is yet."""
        return self._origins.get(address.origin)

    def add(self, address: Address) -> Origin:
        """Begin to keep an origin; where there are too many, those without idle connections are forgotten."""
        if len(self._origins) >= ORIGINS:
            self._origins = {name: one for name, one in self._origins.items() if one.idle}
        return self._origins.setdefault(address.origin, Origin(address))

    def reuse(self, origin: Origin) -> Connection | None:
        """Return an idle connection that still stands, None when there is none. It is busy from now on."""
        while origin.idle:
            # The last used first: what is too many becomes idle and expires.
            connection = origin.idle.pop()
            if connection.is_reusable():
                self._busy.add(connection)
                return connection
            connection.close()
        return None

    async def open(self, origin: Origin) -> Connection:
        """Return a new connection. It is busy from now on.

        Raises:
            PassingError: No connection, or no TLS, for now.
            PhotoError: The address is not allowed, or the certificate is not right though others were.
            CertificateError: The certificate is not right, and none was yet.
        """
        self._dialing += 1
        self._make_room()
        try:
            sock = await connect(
                origin.host, origin.port, self._limits.connect, allow_private=self._allow_private
            )
        except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
            raise PassingError(f"no connection to {origin.name}: {error}") from error
        finally:
            self._dialing -= 1
        connection = Connection(sock, origin, self._limits, self._scratch)
        self._busy.add(connection)
        self._is_needed.set()
        try:
            if origin.is_secure:
                await self._secure(connection, origin)
        except BaseException:
            self.drop(connection)
            raise
        return connection

    def _make_room(self) -> None:
        """Close what has been idle for longest, at whatever origin, where there are twice as many as may be busy.

        Once as many, where photos come from two hosts in turn, would be a new connection for every third (measured).
        """
        idle = [connection for origin in self._origins.values() for connection in origin.idle]
        surplus = len(self._busy) + self._dialing + len(idle) - 2 * self._connections
        if surplus > 0:
            for connection in sorted(idle, key=lambda one: one.idle_since)[:surplus]:
                connection.origin.idle.remove(connection)
                connection.close()

    async def _secure(self, connection: Connection, origin: Origin) -> None:
        try:
            with trio.fail_after(self._limits.connect):
                await connection.secure(self._context, origin.host, origin.session)
        except ssl.SSLCertVerificationError as error:
            fault = CertificateError(origin.name, error.verify_message or "verification failed")
            if self._trust.has_verified:
                raise PhotoError(str(fault), distrust=fault) from error
            raise fault from error
        except (*BROKEN, trio.TooSlowError) as error:
            origin.session = None  # should it be what the other side stumbled over
            detail = f"{type(error).__name__} in the TLS handshake"
            raise PassingError(f"no connection to {origin.name}: {detail}") from error
        self._trust.has_verified = True

    def keep(self, connection: Connection) -> None:
        """Make a connection idle. Its answer must have been read to its very end."""
        self._busy.discard(connection)
        self.received += connection.watch.received
        connection.idle_since = trio.current_time()
        # one that was forgotten meanwhile is kept again, with its connection
        origin = self._origins.setdefault(connection.origin.name, connection.origin)
        connection.origin = origin
        origin.idle.append(connection)
        # A ticket comes with or after the first answer (TLS 1.3), so here is the place to look for it.
        if connection.tls is not None and not connection.has_given_session:
            connection.has_given_session = True
            origin.session = connection.tls.session

    def drop(self, connection: Connection) -> None:
        """Close a connection; once more does no harm."""
        if connection in self._busy:
            self._busy.discard(connection)
            self.received += connection.watch.received
        connection.close()

    async def watch(self) -> None:
        """Look at every connection at a steady beat, for ever; only while there are any."""
        beat = beat_of(self._limits)
        while True:
            await self._is_needed.wait()
            await trio.sleep(beat)
            for connection in tuple(self._busy):
                fault = connection.watch.look(beat)
                if fault is not None:
                    connection.expire(fault)  # whoever uses it drops it
            self._expire_idle()

    def _expire_idle(self) -> None:
        # Without connections the beat stops, so that a daemon between two passes sleeps.
        oldest = trio.current_time() - KEEPALIVE
        are_left = bool(self._busy)
        for origin in self._origins.values():
            while origin.idle and origin.idle[0].idle_since < oldest:
                origin.idle.pop(0).close()
            are_left = are_left or bool(origin.idle)
        if not are_left:
            self._is_needed = trio.Event()

    def close(self) -> None:
        """Close every connection."""
        for origin in self._origins.values():
            while origin.idle:
                origin.idle.pop().close()
        for connection in tuple(self._busy):
            self.drop(connection)
