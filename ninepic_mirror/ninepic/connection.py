"""One connection of the fast lane: a non-blocking socket, TLS in memory, and not a call more than needed.

trio's own streams are not used on the way of the bytes: `SSLStream` reads 16 to 32 kB at a time, hands out new `bytes`
and passes six layers of Python for each read. Here a read takes up to `READ` bytes off the socket at once and decrypts
them to where they belong. An `ssl.SSLSocket` costs the same (two system calls for each record against two copies), but
its read goes on for as long as a peer sends records that carry nothing, and nobody could end it.
"""

from __future__ import annotations

import socket
import ssl
from typing import TYPE_CHECKING, Final, cast

import trio

from ninepic_mirror.ninepic.head import LONGEST, Head, OddAnswerError, read_head
from ninepic_mirror.ninepic.watch import Watch

if TYPE_CHECKING:
    from collections.abc import Callable

    from ninepic_mirror.ninepic.limits import Limits
    from ninepic_mirror.ninepic.pool import Origin

READ: Final = 64 * 1024
"""Bytes read off a socket at once. Of 32 to 512 KiB this took the least time: it stays in the processor's cache."""

_START: Final = b"HTTP/1.1 "
_END: Final = b"\r\n\r\n"


class CutOffError(Exception):
    """The other side ended or broke the connection within an answer."""


BROKEN: Final = (CutOffError, OSError, trio.ClosedResourceError)
"""What a connection raises when it ends too early; `Connection.fault` says whether the watch ended it."""


class PlainWire:
    """A socket without TLS."""

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock

    def encode(self, data: bytes) -> bytes:
        """Return the data."""
        return data

    def take(self, view: memoryview) -> int:
        """Fill `view` with what has come, as far as it goes; return how many bytes, 0 when there are none now.

        Raises:
            CutOffError: There will be no more.
            OSError: The connection broke.
        """
        try:
            count = self._socket.recv_into(view)
        except BlockingIOError:
            return 0
        if not count:
            raise CutOffError
        return count

    def is_clean(self) -> bool:
        """Nothing is kept here; what the socket holds is looked at by `Connection.is_reusable`."""
        return True


class TlsWire:
    """TLS over a socket, after the handshake.

    Args:
        sock: Connected.
        tls: Made by `wrap_bio` with the two that follow.
        incoming: What came and is not decrypted yet.
        outgoing: What is encrypted and not sent yet.
        scratch: Where encrypted bytes are read to; may be shared, as it is never used across a wait.
    """

    def __init__(
        self,
        sock: socket.socket,
        tls: ssl.SSLObject,
        incoming: ssl.MemoryBIO,
        outgoing: ssl.MemoryBIO,
        scratch: memoryview,
    ) -> None:
        self._socket, self._scratch = sock, scratch
        self._tls, self._incoming, self._outgoing = tls, incoming, outgoing
        # typeshed knows only `bytes` as a result and `bytearray` as a buffer
        self._read = cast("Callable[[int, memoryview], int]", tls.read)
        self._is_starved = True  # the last decryption ended for want of bytes

    def encode(self, data: bytes) -> bytes:
        """Return the records; before them what TLS itself has to say, such as the answer to a change of keys."""
        self._tls.write(data)
        return self._outgoing.read()

    def take(self, view: memoryview) -> int:
        """As `PlainWire`; reads off the socket once at most, so that a flood of empty records cannot hold us here."""
        if not self._is_starved:
            filled = self._decrypt(view)
            if filled:
                return filled
        try:
            count = self._socket.recv_into(self._scratch)
        except BlockingIOError:
            return 0
        if not count:
            raise CutOffError  # with or without close_notify: it is the length that says where an answer ends
        self._incoming.write(self._scratch[:count])
        return self._decrypt(view)

    def _decrypt(self, view: memoryview) -> int:
        filled, size, read = 0, len(view), self._read
        self._is_starved = False
        try:
            while filled < size:  # `read` hands out one record, at most 16 KiB, at a time
                count = read(size - filled, view[filled:])
                if not count:  # close_notify
                    break
                filled += count
        except ssl.SSLWantReadError:
            self._is_starved = True
            return filled
        except ssl.SSLError:
            if not filled:
                raise
            return filled  # what was whole counts; the next read meets the fault again
        if not filled:
            raise CutOffError
        return filled

    def is_clean(self) -> bool:
        """Say whether no record is left over."""
        return not self._incoming.pending and not self._tls.pending()


class Connection:
    """One connection: asks, and receives. Whoever meets an exception from it closes it.

    Args:
        sock: Connected, non-blocking.
        origin: Where to.
        limits: For the watch.
        scratch: Room to read into, at least `READ` bytes; shared by all connections, as nothing stays in it across a
            wait.

    Attributes:
        watch: Of the exchange under way.
        fault: Why the watch ended it.
        idle_since: On trio's clock, when the last exchange ended.
        is_answering: Whether a byte of the answer to the last request came.
        tls: Once it is secure.
        has_given_session: Whether its TLS session was taken for later ones.
    """

    def __init__(
        self, sock: socket.socket, origin: Origin, limits: Limits, scratch: memoryview
    ) -> None:
        self._socket, self._scratch = sock, scratch
        self.origin = origin
        self._wire: PlainWire | TlsWire = PlainWire(sock)
        self.watch = Watch(limits)
        self.fault: str | None = None
        self.idle_since = 0.0
        self.is_answering = self.has_given_session = False
        self.tls: ssl.SSLObject | None = None

    async def secure(
        self, context: ssl.SSLContext, host: str, session: ssl.SSLSession | None
    ) -> None:
        """Make the TLS handshake, which verifies certificate and name.

        Raises:
            CutOffError: The other side left.
            OSError: It failed, or the connection broke (`ssl.SSLError` is one).
        """
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        tls = context.wrap_bio(incoming, outgoing, server_hostname=host, session=session)
        wire = PlainWire(self._socket)
        while True:
            try:
                tls.do_handshake()
                break
            except ssl.SSLWantReadError:
                await self._send(outgoing.read())
                await trio.lowlevel.wait_readable(self._socket)
                incoming.write(self._scratch[: wire.take(self._scratch)])
        await self._send(outgoing.read())
        self.tls = tls
        self._wire = TlsWire(self._socket, tls, incoming, outgoing, self._scratch)

    async def ask(self, request: bytes) -> tuple[Head, bytes]:
        """Send a request and wait for the head of its answer.

        Returns:
            The head, and the bytes of the body that came along with it.

        Raises:
            OddAnswerError: The answer is none that we understand.
            CutOffError, OSError, trio.ClosedResourceError: It broke, or the watch ended it.
        """
        self.watch.begin_head()
        self.is_answering = False
        await self._send(self._wire.encode(request))
        await self._wait()  # an answer cannot be there yet
        raw = await self._take_some()
        while (end := raw.find(_END)) < 0:
            _check_beginning(raw)
            raw += await self._take_some()
        if end > LONGEST:
            raise OddAnswerError("the head is too long")
        end += len(_END)
        # What came along is copied twice. Reading the head alone first would take one more read for every photo, which
        # costs far more than 64 KiB of copying.
        return read_head(raw[:end]), raw[end:]

    async def _take_some(self) -> bytes:
        view = self._scratch
        while not (count := self._wire.take(view)):
            await self._wait()
        self.is_answering = True
        return bytes(view[:count])

    async def receive(self, size: int) -> bytes:
        """Return the bytes of a body that come next, `size` of them at most, at least one.

        Raises:
            CutOffError, OSError, trio.ClosedResourceError: As `ask`.
        """
        await trio.lowlevel.checkpoint()  # so that a fast sender leaves the others their turn
        view = self._scratch[:size]
        while not (count := self._wire.take(view)):
            await self._wait()
        self.watch.received += count
        return bytes(view[:count])

    async def fill(self, view: memoryview) -> None:
        """Receive the rest of a body.

        Args:
            view: Room for the whole body, of which `watch.received` bytes are there.

        Raises:
            CutOffError, OSError, trio.ClosedResourceError: As `ask`; `watch.received` says how far it came.
        """
        watch, take, size = self.watch, self._wire.take, len(view)
        while watch.received < size:
            # Not waiting first: of a large body there is usually more already, and a wait costs 20 µs.
            count = take(view[watch.received :])
            if count:
                watch.received += count
            else:
                await self._wait()

    async def _wait(self) -> None:
        watch = self.watch
        watch.waiting = True
        try:
            await trio.lowlevel.wait_readable(self._socket)
        finally:
            watch.waiting = False

    async def _send(self, data: bytes) -> None:
        """Send all of it. A checkpoint only where the socket takes no more: every sender waits for an answer next."""
        while data:
            try:
                data = data[self._socket.send(data) :]
            except BlockingIOError:
                await trio.lowlevel.wait_writable(self._socket)

    def is_clean(self) -> bool:
        """Say whether nothing that came is left over."""
        return self._wire.is_clean()

    def is_reusable(self) -> bool:
        """Say whether nothing came after the last answer: neither its end nor bytes that nobody asked for."""
        # One system call, so that an answer nobody asked for is never read as the next one's head. TLS may send a ticket
        # late, which ends a good connection here: rare, and the price of not asking what it is.
        try:
            self._socket.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            return True
        except OSError:
            return False
        return False

    def expire(self, fault: str) -> None:
        """End the exchange under way from another task; it meets `ClosedResourceError` or `OSError`."""
        self.fault = fault
        self.close()

    def close(self) -> None:
        """Close it at once. No close_notify: the length said where the answer ended, and nothing follows."""
        if self._socket.fileno() >= 0:
            trio.lowlevel.notify_closing(self._socket)
            self._socket.close()


def _check_beginning(raw: bytes) -> None:
    """Look at a head that is not whole yet, so that nobody waits for the end of what is no head.

    Raises:
        OddAnswerError: It will never become one that we understand.
    """
    if len(raw) >= LONGEST:
        raise OddAnswerError("the head is too long")
    if not raw.startswith(_START[: len(raw)]) or raw.count(b"\n") != raw.count(b"\r\n"):
        raise OddAnswerError("the answer is not HTTP/1.1")
