"""The fast lane for photos: GET over HTTP/1.1 keep-alive, strict, and cheap (PERFORMANCE, What follows).

What it does not understand, the slow lane (`photos.PhotoClient`) asks for again and judges; `lanes` has both as one. A
definite refusal (404, 429, 5xx) is understood here, so that a throttled origin is not asked twice.

One attempt:

1. take the URL apart; anything but the plainest spelling → slow lane
2. an idle connection of that origin, else a new one (address checked, certificate verified)
3. send the request, wait for the head; an idle connection that was dead already → once more on a new one
4. head: malformed, other framing than one length, 1xx, redirect → close, slow lane
5. refusal: read its body where it is short, raise what it means
6. body: `read()` at once into one buffer, or `chunks()`; the connection is idle again after its last byte,
   and closed when anything follows it, or when the reader left before
"""

from __future__ import annotations

import time
from collections import Counter
from contextlib import suppress
from typing import TYPE_CHECKING, Final

import httpx

from ninepic_mirror.errors import PassingError, PhotoError, UnchangedError
from ninepic_mirror.ninepic.address import split_url
from ninepic_mirror.ninepic.condition import condition, is_confirmed
from ninepic_mirror.ninepic.connection import BROKEN, READ
from ninepic_mirror.ninepic.head import OddAnswerError, body_length, is_rest
from ninepic_mirror.ninepic.photos import (
    EXPIRING,
    REDIRECTS,
    STRONG,
    PhotoStatistics,
    check_url,
    refusal,
)
from ninepic_mirror.ninepic.session import passing_status

if TYPE_CHECKING:
    from types import TracebackType

    from ninepic_mirror.errors import MirrorError
    from ninepic_mirror.model import Known
    from ninepic_mirror.ninepic.connection import Connection
    from ninepic_mirror.ninepic.head import Head
    from ninepic_mirror.ninepic.limits import Limits
    from ninepic_mirror.ninepic.pacing import Pacer
    from ninepic_mirror.ninepic.pool import Origin, Pool

ODD: Final = 3  # answers in a row after which an origin is left to the slow lane,
REST: Final = 200  # for as many requests: so at most 1.5 % of all requests are made twice


class SlowLane(Exception):  # noqa: N818  no error: it says who is to do it
    """The slow lane is to make this very request; the text says why."""


class FastBody:
    """An answer that carries a photo, or the rest of one; a context manager that lets the connection go.

    The attributes and `chunks` are those of `photos.Body`; `read` is what it is quick for.

    Attributes:
        status: 200 or 206.
        offset: The byte of the file that the body starts at.
        length: The bytes that this body carries.
        received: Those of them that came.
    """

    def __init__(
        self,
        pool: Pool,
        connection: Connection,
        head: Head,
        offset: int,
        length: int,
        first: bytes,
    ) -> None:
        self.status = head.status
        self.offset = offset
        self.length = length
        self._pool, self._head = pool, head
        self._connection: Connection | None = connection
        # Bytes beyond the length belong to no answer that we asked for: they end the connection.
        self._can_continue = head.can_continue and len(first) <= length
        self._first = first[:length]
        self._buffer = memoryview(self._first)
        self.received = len(self._first)
        connection.watch.begin_body(length, self.received)
        if self.received == length:
            self._release()

    @property
    def total(self) -> int:
        """The length of the whole file."""
        return self.offset + self.length

    @property
    def etag(self) -> str | None:
        """The `ETag` as sent, None without."""
        return self._head.fields.get(b"etag")

    @property
    def last_modified(self) -> str | None:
        """The `Last-Modified` as sent, None without."""
        return self._head.fields.get(b"last-modified")

    @property
    def content_type(self) -> str | None:
        """The `Content-Type` as sent, None without. Not to be believed: the first bytes decide."""
        return self._head.fields.get(b"content-type")

    async def read(self, room: bytearray | None = None) -> memoryview:
        """Return the whole body; for one that may stand in memory, and instead of `chunks`.

        Args:
            room: Where it may be put, at least `length` bytes; the caller leaves it alone until it is done with the
                result. For a large body, room that is used again saves an eighth of all the work.

        Raises:
            PassingError: Silence, too slow, cut off, or broken; `partial` has what came.
            ValueError: The room is too small.
        """
        connection = self._connection
        if connection is not None:
            room = bytearray(self.length) if room is None else room
            if len(room) < self.length:
                raise ValueError(f"{len(room)} bytes of room for {self.length}")
            self._buffer = memoryview(room)[: self.length]
            self._buffer[: self.received] = self._first
            try:
                await connection.fill(self._buffer)
            except BROKEN as error:
                raise self._broken(connection) from error
            self._release()
        self._check_whole()
        return self._buffer

    def partial(self) -> memoryview:
        """Return what came of the body before `read` failed or was cancelled, so that it can be kept and continued."""
        self.close()
        return self._buffer[: self.received]

    def chunks(self) -> FastBody:
        """Return the bytes: `async for chunk in body.chunks()`; it ends without an error only for a whole body."""
        return self

    def __aiter__(self) -> FastBody:
        return self

    async def __anext__(self) -> bytes:
        """Return the next bytes, `READ` of them at most.

        Raises:
            PassingError: Silence, too slow, cut off, or broken.
        """
        if self._first:
            first, self._first = self._first, b""
            return first
        connection = self._connection
        if connection is None:
            self._check_whole()
            raise StopAsyncIteration
        try:
            chunk = await connection.receive(min(self.length - self.received, READ))
        except BROKEN as error:
            raise self._broken(connection) from error
        self.received += len(chunk)
        if self.received == self.length:
            self._release()
        return chunk

    def _broken(self, connection: Connection) -> PassingError:
        self.close()
        at = f"{self.received} of {self.length} bytes from {connection.origin.name}"
        return PassingError(f"{at}: {connection.fault or 'cut off'}")

    def _check_whole(self) -> None:
        # Whoever closed it and reads on comes here. It stands before every end as well, because a short file taken for a
        # whole one is the one fault that nobody would notice for years.
        if self.received != self.length:
            raise PassingError(f"left after {self.received} of {self.length} bytes")

    def _release(self) -> None:
        """Let the connection carry the next request, where the whole body came and nothing else."""
        connection, self._connection = self._connection, None
        if connection is not None:
            self.received = connection.watch.received
            if self._can_continue and self.received == self.length and connection.is_clean():
                self._pool.keep(connection)
            else:
                self._pool.drop(connection)

    def close(self) -> None:
        """Let the connection go; it is closed unless the whole body was read."""
        self._release()

    def __enter__(self) -> FastBody:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


class FastLane:
    """Fetches photos from origins that answer plainly.

    Args:
        pool: The connections.
        pacer: Only told that the origin lives.
        limits: The times and sizes.
        relaxed: Also http, and private addresses.
    """

    def __init__(self, pool: Pool, pacer: Pacer, limits: Limits, *, relaxed: bool) -> None:
        self._pool, self._pacer, self._limits = pool, pacer, limits
        self._relaxed = relaxed
        self._requests = 0
        self._statuses: Counter[int] = Counter()

    def statistics(self) -> PhotoStatistics:
        """Return what was done so far."""
        return PhotoStatistics(self._requests, self._pool.received)

    @property
    def statuses(self) -> dict[int, int]:
        """Answers so far by their status, what the slow lane asks for again excepted; 0: without an answer."""
        return dict(self._statuses)

    async def open(
        self,
        url: str,
        *,
        cap: int,
        offset: int = 0,
        validator: str | None = None,
        known: Known | None = None,
    ) -> FastBody:
        """Make one attempt at a photo.

        Args:
            url: As the listing gives it.
            cap: The most bytes that the whole file may have.
            offset: Bytes that are on disk already.
            validator: The `ETag` that came with them; without a strong one the file is asked for from its start.
            known: The whole photo is here, and only another one is wanted; not together with `offset`.

        Returns:
            The body. Use it as a context manager.

        Raises:
            SlowLane: This is not for us. No answer was accepted.
            UnchangedError: It is the one that is `known`.
            PhotoError: Address, status or size rule the photo out for this pass.
            PassingError: Try again; with `restart` set, from byte 0.
            CertificateError: The certificate could not be verified, and none was yet.
        """
        origin, target = self._locate(url)
        part = ""
        field = condition(known)
        unless = "" if field is None else f"{field[0]}: {field[1]}\r\n"
        # A weak tag or a date does not promise equal bytes (RFC 9110 §13.1.5).
        if offset and validator and STRONG.fullmatch(validator):
            part = f"Range: bytes={offset}-\r\nIf-Range: {validator}\r\n"
        try:
            connection, head, first = await self._ask(origin, origin.request(target, part + unless))
        except PassingError:
            self._statuses[0] += 1
            raise
        self._statuses[head.status] += 1
        if field is not None and head.status == 304:
            raise self._unchanged(connection, head, first, field)
        if head.status != 200 and not (part and head.status == 206):
            signed = "?" in target
            raise await self._refusal(connection, head, first, is_part=bool(part), signed=signed)
        # The origin has answered this request definitely; what comes after concerns this photo alone.
        self._pacer.note_life()
        try:
            start = offset if head.status == 206 else 0
            length = _check(head, start, validator, cap)
        except OddAnswerError as error:
            raise self._leave(connection, str(error)) from error
        except (PassingError, PhotoError):
            self._pool.drop(connection)
            raise
        origin.odd = 0
        return FastBody(self._pool, connection, head, start, length, first)

    def _locate(self, url: str) -> tuple[Origin, str]:
        """Find the origin of a URL; the rules for addresses are looked at when an origin occurs first."""
        address = split_url(url)
        if address is None:
            raise SlowLane("the spelling of the address")
        origin = self._pool.origin(address)
        if origin is None:
            check_url(address.origin, relaxed=self._relaxed)
            origin = self._pool.add(address)
        if origin.rest:
            origin.rest -= 1
            raise SlowLane("the origin's last answers")
        return origin, address.target

    async def _ask(self, origin: Origin, request: bytes) -> tuple[Connection, Head, bytes]:
        """Send the request over an idle connection, or a new one; once more where the idle one had ended."""
        connection = self._pool.reuse(origin)
        if connection is not None:
            try:
                return connection, *await self._send(connection, request)
            except PassingError:
                # The other side closes idle connections when it likes. Nothing of an answer had come and a GET does
                # no harm twice (RFC 9110 §9.2.2), so this is no fault.
                if connection.is_answering or connection.fault is not None:
                    raise
        connection = await self._pool.open(origin)
        return connection, *await self._send(connection, request)

    async def _send(self, connection: Connection, request: bytes) -> tuple[Head, bytes]:
        self._requests += 1
        try:
            return await connection.ask(request)
        except OddAnswerError as error:
            raise self._leave(connection, str(error)) from error
        except BROKEN as error:
            self._pool.drop(connection)
            fault = connection.fault or f"the connection broke ({type(error).__name__})"
            raise PassingError(f"{connection.origin.name}: {fault}") from error
        except BaseException:  # cancelled: half a request may be on its way
            self._pool.drop(connection)
            raise

    def _leave(self, connection: Connection, why: str) -> SlowLane:
        """Leave an answer to the slow lane, and after some of them the whole origin for a while."""
        self._pool.drop(connection)
        origin = connection.origin
        origin.odd += 1
        if origin.odd >= ODD:
            origin.odd, origin.rest = 0, REST
        return SlowLane(why)

    def _unchanged(
        self, connection: Connection, head: Head, first: bytes, field: tuple[str, str]
    ) -> MirrorError | SlowLane:
        """Return what a 304 means that was asked for by this field; let the connection go.

        It has no body whatever its fields say (RFC 9112 §6.3), and one whose fields speak of one, or of another photo,
        is not ours to judge.
        """
        fields = head.fields
        if not is_confirmed(field, fields.get(b"etag")):
            return self._leave(connection, "a 304 for another photo")
        if first or b"transfer-encoding" in fields or fields.get(b"content-length", "0") != "0":
            return self._leave(connection, "a 304 that speaks of a body")
        FastBody(self._pool, connection, head, 0, 0, first).close()
        self._pacer.note_life()
        connection.origin.odd = 0
        return UnchangedError("304 from the photo origin")

    async def _refusal(
        self, connection: Connection, head: Head, first: bytes, *, is_part: bool, signed: bool
    ) -> MirrorError | SlowLane:
        """Return what a status other than the wanted means; let the connection go."""
        status = head.status
        if status < 200 or (status in REDIRECTS and b"location" in head.fields):
            return self._leave(connection, f"status {status}")
        if signed and status in EXPIRING and b"transfer-encoding" in head.fields:
            self._pool.drop(connection)
            return SlowLane("a refusal whose text, in chunks, may say that the address has expired")
        body = await self._drain(connection, head, first)
        fault = passing_status(_as_httpx(head, connection.origin), time.time())
        if fault is not None:
            return fault
        self._pacer.note_life()
        if status == 416 and is_part:
            return PassingError("416 from the photo origin: start again", restart=True)
        return refusal(status, body)

    async def _drain(self, connection: Connection, head: Head, first: bytes) -> bytes:
        """Read a refusal's body where it is short, so that its connection can be used again, and return it."""
        try:
            # Below 400 are statuses that have no body whatever their length says (RFC 9112 §6.3).
            length = body_length(head) if head.status >= 400 else None
        except OddAnswerError:
            length = None
        if length is None or length > self._limits.drain:
            self._pool.drop(connection)
            return b""
        with (
            FastBody(self._pool, connection, head, 0, length, first) as body,
            suppress(PassingError),
        ):
            return bytes(await body.read())
        return b""


def _check(head: Head, start: int, validator: str | None, cap: int) -> int:
    """Check that a body is all that is still wanted of a file, and not too much; return its length.

    Raises:
        OddAnswerError: Its length is not known.
        PassingError, PhotoError: It is not.
    """
    length = body_length(head)
    if start and not is_rest(head, length, start, validator):
        raise PassingError(
            "the part sent is not the rest of what is on disk: start again", restart=True
        )
    if start + length > cap:
        raise PhotoError(f"{start + length} bytes, more than the {cap} that are accepted")
    return length


def _as_httpx(head: Head, origin: Origin) -> httpx.Response:
    """Return a head as the slow lane's rules read it."""
    names = (b"retry-after", b"date")
    fields = {name.decode(): head.fields[name] for name in names if name in head.fields}
    request = httpx.Request("GET", origin.name)
    return httpx.Response(head.status, headers=fields, request=request)
