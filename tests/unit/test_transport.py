"""The fast lane over real sockets: whatever a server sends, what is accepted is exactly what was sent.

After each odd answer the same lane asks once more and must get the next photo whole: no byte of one answer may ever
be taken for the next.
"""

from __future__ import annotations

import random
import socket
import ssl
import struct
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest
import trio
import trustme
from trio.testing import wait_all_tasks_blocked

from ninepic_mirror.errors import CertificateError, MirrorError, PassingError, PhotoError
from ninepic_mirror.ninepic.connection import READ
from ninepic_mirror.ninepic.lanes import _watched
from ninepic_mirror.ninepic.limits import Limits
from ninepic_mirror.ninepic.pacing import Pacer, photos_pace
from ninepic_mirror.ninepic.pool import Pool
from ninepic_mirror.ninepic.transport import ODD, REST, FastLane, SlowLane

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

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
    """

    pieces: list[bytes]
    then: str = "keep"


@dataclass
class Server:
    """Answers each request, over whatever connection it comes, with the next of its replies."""

    replies: list[Reply]
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
        reply = self.replies.pop(0)
        for piece in reply.pieces:
            await stream.send_all(piece)
            await wait_all_tasks_blocked()
        if reply.then == "hold":
            await trio.sleep_forever()
        if reply.then == "reset":
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        if reply.then in {"reset", "cut"}:
            raw.socket.close()
        if reply.then == "close":
            await stream.aclose()
        self.replied.set()
        return reply.then == "keep"

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
            async with _watched(pool):
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


async def outcome(lane: FastLane, url: str, *, offset: int = 0) -> bytes | type[Exception]:
    """Fetch one photo; return it, or the kind of error."""
    try:
        return await fetch(lane, url, cap=1_000_000, offset=offset)
    except (MirrorError, SlowLane) as error:
        assert "sig" not in str(error)
        return type(error)


# --- what is accepted

ACCEPTED = {
    "plain": answer(PHOTO),
    "no reason": answer(PHOTO, status="200"),
    "another reason": answer(PHOTO, status="200 Fine, thanks"),
    "names in lower case": OK + b"content-length:3000\r\n\r\n" + PHOTO,
    "white space": OK + b"Content-Length: \t 3000 \t\r\n\r\n" + PHOTO,
    "leading zeros": OK + b"Content-Length: 003000\r\n\r\n" + PHOTO,
    "many fields": answer(PHOTO, *[f"X-{number}: {number}" for number in range(500)]),
    "empty field": answer(PHOTO, "X:"),
    "keep-alive": answer(PHOTO, "Connection: Keep-Alive", "Keep-Alive: timeout=5"),
    "type that lies": answer(PHOTO, "Content-Type: text/html"),
}


@pytest.mark.parametrize("name", ACCEPTED)
async def test_accepted_answers(name: str) -> None:
    """A plain answer is taken as it was sent, and its connection carries the next request."""
    server = Server([Reply([ACCEPTED[name]]), Reply([answer(NEXT)])])
    async with server.running() as lane:
        assert await fetch(lane, server.url) == PHOTO
        assert await fetch(lane, server.url) == NEXT
        assert lane.statistics().bytes == len(PHOTO) + len(NEXT)
    assert server.connections == 1


ENDS = {
    "close announced": Reply([answer(PHOTO, "Connection: close")]),
    "other option": Reply([answer(PHOTO, "Connection: keep-alive, x")]),
    "close after the body": Reply([answer(PHOTO)], "close"),
    "reset after the body": Reply([answer(PHOTO)], "reset"),
    "bytes after the body": Reply([answer(PHOTO) + b"x"]),
    "an answer after the body": Reply([answer(PHOTO) + answer(b"evil")]),
    "an answer a little later": Reply([answer(PHOTO), answer(b"evil")]),
    "a line end after the body": Reply([answer(PHOTO) + b"\r\n"]),
}


@pytest.mark.parametrize("whole", [True, False])
@pytest.mark.parametrize("name", ENDS)
async def test_connection_is_not_used_again(name: str, whole: bool) -> None:
    """What follows a body is never taken for the next answer; the connection ends, the photo is good."""
    server = Server([ENDS[name], Reply([answer(NEXT)])])
    async with server.running() as lane:
        assert await fetch(lane, server.url, whole=whole) == PHOTO
        await server.replied.wait()
        assert await fetch(lane, server.url, whole=whole) == NEXT
    assert server.connections == 2
    assert len(server.requests) == 2


@pytest.mark.parametrize("whole", [True, False])
async def test_head_split_everywhere(whole: bool) -> None:
    """Wherever an answer is cut into packets, it is the same answer."""
    raw = answer(PHOTO[:20], "ETag: x")
    replies = [Reply([raw[:cut], raw[cut:]]) for cut in range(1, len(raw))]
    server = Server([*replies, Reply([raw[i : i + 1] for i in range(len(raw))])])
    async with server.running() as lane:
        for _ in range(len(replies) + 1):
            assert await fetch(lane, server.url, whole=whole) == PHOTO[:20]
    assert server.connections == 1


@pytest.mark.parametrize("whole", [True, False])
@pytest.mark.parametrize("size", [0, 1, READ - 100, READ - 1, READ, READ + 1, len(LARGE)])
async def test_sizes(size: int, whole: bool) -> None:
    """A body of any size comes whole, at once or in chunks of at most the size of a read."""
    server = Server([Reply([answer(LARGE[:size])]), Reply([answer(NEXT)])])
    async with server.running() as lane:
        assert await fetch(lane, server.url, whole=whole) == LARGE[:size]
        assert await fetch(lane, server.url, whole=whole) == NEXT
    assert server.connections == 1


async def test_attributes() -> None:
    """A body says what came with it; the request asks for no encoding and carries neither key nor cookie."""
    server = Server([Reply([answer(PHOTO, 'ETag: "e"', "Last-Modified: L", "Content-Type: T")])])
    async with server.running() as lane:
        room = bytearray(10_000)
        with await lane.open(server.url + "?sig=1", cap=3_000) as body:
            assert await body.read(room) == PHOTO
        assert (body.status, body.offset, body.length, body.total) == (200, 0, 3_000, 3_000)
        assert (body.etag, body.last_modified, body.content_type) == ('"e"', "L", "T")
    (request,) = server.requests
    assert request.startswith("GET /a.jpg?sig=1 HTTP/1.1\r\nHost: 127.0.0.1:")
    assert "Accept-Encoding: identity\r\n" in request
    assert not any(name in request.lower() for name in ("x-api-key", "cookie", "range"))


# --- what is not: each time the next photo comes whole over a new connection

REFUSED: dict[str, tuple[Reply, type[Exception]]] = {
    "two equal lengths": (Reply([OK + b"Content-Length: 1\r\n" * 2 + b"\r\nx"]), SlowLane),
    "two lengths": (
        Reply([OK + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\nxy"]),
        SlowLane,
    ),
    "list of lengths": (Reply([OK + b"Content-Length: 5,5\r\n\r\nphoto"]), SlowLane),
    "signed length": (Reply([OK + b"Content-Length: +5\r\n\r\nphoto"]), SlowLane),
    "negative length": (Reply([OK + b"Content-Length: -5\r\n\r\nphoto"]), SlowLane),
    "length beyond numbers": (
        Reply([OK + b"Content-Length: 99999999999999999999\r\n\r\n"]),
        SlowLane,
    ),
    "hexadecimal length": (Reply([OK + b"Content-Length: 0x5\r\n\r\nphoto"]), SlowLane),
    "empty length": (Reply([OK + b"Content-Length:\r\n\r\nphoto"]), SlowLane),
    "no length": (Reply([OK + b"\r\nphoto"], "close"), SlowLane),
    "length in two lines": (Reply([OK + b"Content-Length: 5\r\n 0\r\n\r\nphoto"]), SlowLane),
    "space before the colon": (Reply([OK + b"Content-Length : 5\r\n\r\nphoto"]), SlowLane),
    "chunked": (
        Reply([OK + b"Transfer-Encoding: chunked\r\n\r\n5\r\nphoto\r\n0\r\n\r\n"]),
        SlowLane,
    ),
    "chunked with a length": (Reply([answer(b"5\r\n", "Transfer-Encoding: chunked")]), SlowLane),
    "odd transfer coding": (Reply([answer(b"photo", "Transfer-Encoding: xchunked")]), SlowLane),
    "encoded": (Reply([answer(b"photo", "Content-Encoding: gzip")]), SlowLane),
    "HTTP/1.0": (Reply([b"HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\nphoto"]), SlowLane),
    "HTTP/2": (
        Reply([b"\x00\x00\x06\x04\x00\x00\x00\x00\x00\x00\x03\x00\x00\x00d"], "hold"),
        SlowLane,
    ),
    "HTTP/2 preface": (Reply([b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"], "hold"), SlowLane),
    "TLS alert": (Reply([b"\x15\x03\x03\x00\x02\x02\x28"], "hold"), SlowLane),
    "garbage": (Reply([b"\xff\xd8\xff\xe0 a photo without a head"], "hold"), SlowLane),
    "HTML": (Reply([b"<html>Welcome to our wireless network</html>"], "close"), SlowLane),
    "shoutcast": (Reply([b"ICY 200 OK\r\nContent-Length: 5\r\n\r\nphoto"]), SlowLane),
    "bare line feeds": (Reply([b"HTTP/1.1 200 OK\nContent-Length: 5\n\nphoto"], "hold"), SlowLane),
    "one bare line feed": (Reply([OK + b"Content-Length: 5\n\r\n\r\nphoto"]), SlowLane),
    "bare carriage return": (Reply([OK + b"Content-Length: 5\rX: y\r\n\r\nphoto"]), SlowLane),
    "line end first": (Reply([b"\r\n" + answer(b"photo")]), SlowLane),
    "NUL": (Reply([answer(b"photo", "X: a\0b")]), SlowLane),
    "control character": (Reply([answer(b"photo", "X: a\x08b")]), SlowLane),
    "beyond ASCII": (Reply([answer(b"photo", "X: é")]), SlowLane),
    "folded field": (Reply([answer(b"photo", "X: a", "\tb")]), SlowLane),
    "no colon": (Reply([answer(b"photo", "X")]), SlowLane),
    "short status": (Reply([answer(b"photo", status="20 OK")]), SlowLane),
    "long status": (Reply([answer(b"photo", status="2000 OK")]), SlowLane),
    "two validators": (Reply([answer(b"photo", "ETag: a", "ETag: b")]), SlowLane),
    "many small fields": (Reply([OK + b"a:\r\n" * 20_000], "hold"), SlowLane),
    "long field": (Reply([OK + b"a: " + b"b" * 70_000], "hold"), SlowLane),
    "long head that ends": (Reply([answer(b"", "X: " + "y" * 65_500)]), SlowLane),
    "100": (Reply([b"HTTP/1.1 100 Continue\r\n\r\n" + answer(b"photo")]), SlowLane),
    "100 for ever": (Reply([b"HTTP/1.1 100 Continue\r\n\r\n" * 2_000], "hold"), SlowLane),
    "103": (Reply([b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" + answer(b"photo")]), SlowLane),
    "101": (Reply([b"HTTP/1.1 101 Switching\r\nUpgrade: x\r\n\r\n"]), SlowLane),
    "redirect": (Reply([answer(b"", "Location: http://x/", status="302 Found")]), SlowLane),
    "close at once": (Reply([], "close"), PassingError),
    "reset at once": (Reply([], "reset"), PassingError),
    "close in the head": (Reply([OK], "close"), PassingError),
    "reset in the head": (Reply([OK], "reset"), PassingError),
    "no body": (Reply([OK + b"Content-Length: 5\r\n\r\n"], "close"), PassingError),
    "short body": (Reply([OK + b"Content-Length: 5\r\n\r\nphot"], "close"), PassingError),
    "reset in the body": (Reply([OK + b"Content-Length: 5\r\n\r\nphot"], "reset"), PassingError),
    "short large body": (Reply([answer(LARGE)[:-1]], "close"), PassingError),
    "too large": (Reply([OK + b"Content-Length: 1000001\r\n\r\nphoto"], "hold"), PhotoError),
    "not modified": (
        Reply([OK.replace(b"200", b"304") + b"Content-Length: 9\r\n\r\n"]),
        PhotoError,
    ),
    "no content": (Reply([OK.replace(b"200", b"204") + b"\r\n"]), PhotoError),
    "part that nobody asked for": (
        Reply([answer(PHOTO, "Content-Range: bytes 0-2999/3000", status="206 P")]),
        PhotoError,
    ),
}


@pytest.mark.parametrize("name", REFUSED)
async def test_refused_answers(name: str) -> None:
    """An odd answer gives nothing, neither then nor to the next request."""
    reply, expected = REFUSED[name]
    server = Server([reply, Reply([answer(NEXT)])])
    async with server.running() as lane:
        assert await outcome(lane, server.url + "?sig=1") is expected
        assert await outcome(lane, server.url) == NEXT
        assert lane.statistics().requests == 2
    assert server.connections == 2


@pytest.mark.parametrize(
    "pieces",
    [[], [OK], [OK + b"Content-Length: 5\r\n\r\n"], [OK + b"Content-Length: 5\r\n\r\np", b"hot"]],
)
@pytest.mark.parametrize("whole", [True, False])
async def test_stall(pieces: list[bytes], whole: bool) -> None:
    """Who stops in the middle is left after the time that he has; the cause is said."""
    server = Server([Reply(pieces, "hold"), Reply([answer(NEXT)])])
    async with server.running(IMPATIENT) as lane:
        with pytest.raises(PassingError, match=r"no answer in 0 s|then nothing for"):
            await fetch(lane, server.url, whole=whole)
        assert await fetch(lane, server.url) == NEXT


REFUSALS = [
    ("429 Slow", ["Retry-After: 7"], PassingError("429", refused=True, retry_after=7.0)),
    ("429 Slow", [], PassingError("429", refused=True)),
    ("503 Busy", ["Retry-After: 2"], PassingError("503", refused=True, retry_after=2.0)),
    ("503 Busy", [], PassingError("503")),
    ("500 Fault", ["Retry-After: 2"], PassingError("500")),
    ("408 Late", [], PassingError("408")),
    ("404 Gone", [], PhotoError("404")),
    ("403 No", ["Location: http://x/"], PhotoError("403")),
]


@pytest.mark.parametrize(("status", "lines", "expected"), REFUSALS)
async def test_refusals(status: str, lines: list[str], expected: PassingError | PhotoError) -> None:
    """A definite refusal is understood without a second request, and its connection goes on."""
    refusal = answer(b"<p>no</p>", *lines, status=status)
    server = Server([Reply([refusal]), Reply([answer(NEXT)])])
    async with server.running() as lane:
        with pytest.raises(type(expected), match=expected.reason) as caught:
            await fetch(lane, server.url)
        assert await fetch(lane, server.url) == NEXT
    if isinstance(expected, PassingError):
        assert isinstance(caught.value, PassingError)
        assert caught.value.refused is expected.refused
        assert caught.value.retry_after == expected.retry_after
    assert server.connections == 1


@pytest.mark.parametrize(
    "rest",
    [
        b"\r\n",
        b"Content-Length: 16385\r\n\r\n" + b"x" * 16_385,
        b"Content-Length: 9\r\n\r\nshort",
        b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ],
)
async def test_refusal_with_an_odd_body(rest: bytes) -> None:
    """A refusal is believed whatever its body is like; only its connection is not used again."""
    server = Server([Reply([b"HTTP/1.1 503 X\r\n" + rest], "close"), Reply([answer(NEXT)])])
    async with server.running() as lane:
        with pytest.raises(PassingError, match="503"):
            await fetch(lane, server.url)
        assert await fetch(lane, server.url) == NEXT
    assert server.connections == 2


# --- parts


PART = answer(PHOTO[10:], "Content-Range: bytes 10-2999/3000", 'ETag: "v"', status="206 P")


async def test_part() -> None:
    """With a strong validator the rest is asked for, and taken from where it begins."""
    server = Server([Reply([PART]), Reply([answer(PHOTO)])])
    async with server.running() as lane:
        with await lane.open(server.url, cap=3_000, offset=10, validator='"v"') as body:
            assert await body.read() == PHOTO[10:]
            assert (body.status, body.offset, body.length, body.total) == (206, 10, 2_990, 3_000)
        with await lane.open(server.url, cap=3_000, offset=10, validator='"v"') as body:
            assert (body.status, body.offset, await body.read()) == (200, 0, PHOTO)
    assert all('Range: bytes=10-\r\nIf-Range: "v"\r\n' in text for text in server.requests)


@pytest.mark.parametrize(
    "validator", [None, 'W/"v"', "Sat, 01 Jan 2000 00:00:00 GMT", '"v"\r\nX: "']
)
async def test_weak_validator(validator: str | None) -> None:
    """Without a strong validator the file is asked for from its start."""
    server = Server([Reply([answer(PHOTO)])])
    async with server.running() as lane:
        assert await fetch(lane, server.url, offset=10, validator=validator) == PHOTO
    assert "Range" not in server.requests[0]


@pytest.mark.parametrize(
    "wrong",
    [
        PART.replace(b"bytes 10-", b"bytes 11-"),
        PART.replace(b"/3000", b"/3001"),
        PART.replace(b"2999/", b"2998/"),
        PART.replace(b"/3000", b"/*"),
        PART.replace(b'"v"', b'"w"'),
        PART.replace(b"Content-Range", b"X-Range"),
        answer(b"", status="416 Not so"),
    ],
)
async def test_wrong_part(wrong: bytes) -> None:
    """A part that is not the exact rest of the same file is never appended: start again."""
    server = Server([Reply([wrong], "close"), Reply([answer(NEXT)])])
    async with server.running() as lane:
        with pytest.raises(PassingError) as caught:
            await fetch(lane, server.url, offset=10)
        assert caught.value.restart
        assert await fetch(lane, server.url) == NEXT


async def test_part_over_the_cap() -> None:
    """The cap is for the whole file, not for its rest."""
    server = Server([Reply([PART], "close")])
    async with server.running() as lane:
        with pytest.raises(PhotoError, match="3000 bytes, more than the 2999"):
            await fetch(lane, server.url, offset=10, cap=2_999)


# --- connections


@pytest.mark.parametrize("then", ["close", "reset"])
async def test_stale_connection(then: str) -> None:
    """A kept connection that ends without a byte of an answer is no fault: once more, over a new one."""
    server = Server([Reply([answer(PHOTO)]), Reply([], then), Reply([answer(NEXT)])])
    async with server.running() as lane:
        assert await fetch(lane, server.url) == PHOTO
        assert await fetch(lane, server.url) == NEXT
    assert (server.connections, len(server.requests)) == (2, 3)


async def test_stale_twice() -> None:
    """A new connection that ends so as well is a fault: nothing is asked for ever."""
    server = Server([Reply([answer(PHOTO)]), Reply([], "close"), Reply([], "close")])
    async with server.running() as lane:
        assert await fetch(lane, server.url) == PHOTO
        with pytest.raises(PassingError):
            await fetch(lane, server.url)
    assert (server.connections, len(server.requests)) == (2, 3)


async def test_kept_connection_that_breaks_off() -> None:
    """With a byte of an answer it is a fault, also on a kept connection."""
    server = Server([Reply([answer(PHOTO)]), Reply([b"H"], "close")])
    async with server.running() as lane:
        assert await fetch(lane, server.url) == PHOTO
        with pytest.raises(PassingError):
            await fetch(lane, server.url)
    assert len(server.requests) == 2


@pytest.mark.parametrize("whole", [True, False])
async def test_cancelled_body(whole: bool) -> None:
    """A body that is cancelled in the middle ends its connection; what came of it can be kept."""
    server = Server([Reply([answer(PHOTO)[:-1]], "hold"), Reply([answer(NEXT)])])
    async with server.running() as lane:
        body = await lane.open(server.url, cap=10**9)
        with trio.CancelScope() as scope, body:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(body.read if whole else body.chunks().__anext__)
                await wait_all_tasks_blocked()
                if not whole:
                    nursery.start_soon(body.chunks().__anext__)
                    await wait_all_tasks_blocked()
                scope.cancel()
        assert scope.cancelled_caught
        assert body.received == len(PHOTO) - 1
        if whole:
            assert body.partial() == PHOTO[:-1]
        else:
            with pytest.raises(PassingError, match="left after 2999 of 3000"):
                await anext(body.chunks())
        assert await fetch(lane, server.url) == NEXT
    assert server.connections == 2


async def test_cancelled_request() -> None:
    """A request that is cancelled before its answer ends its connection: the answer would be the next one's."""
    server = Server([Reply([answer(PHOTO)]), Reply([], "hold"), Reply([answer(NEXT)])])
    async with server.running() as lane:
        assert await fetch(lane, server.url) == PHOTO
        async with trio.open_nursery() as nursery:
            nursery.start_soon(fetch, lane, server.url)
            while len(server.requests) < 2:
                await wait_all_tasks_blocked()
            nursery.cancel_scope.cancel()
        assert await fetch(lane, server.url) == NEXT
    assert server.connections == 2


async def test_unread_body() -> None:
    """A body that is left unread ends its connection, also when an exception leaves it."""
    server = Server([Reply([answer(LARGE)]), Reply([answer(LARGE)]), Reply([answer(NEXT)])])
    async with server.running() as lane:
        with await lane.open(server.url, cap=10**9):
            pass
        with pytest.raises(KeyError):
            with await lane.open(server.url, cap=10**9):
                raise KeyError
        assert await fetch(lane, server.url) == NEXT
    assert server.connections == 3


async def test_partial_body() -> None:
    """What came before a cut is there to be continued."""
    server = Server([Reply([answer(LARGE)[:-9]], "close")])
    async with server.running() as lane:
        with await lane.open(server.url, cap=10**9) as body:
            with pytest.raises(PassingError, match=f"{len(LARGE) - 9} of {len(LARGE)} bytes"):
                await body.read()
            assert body.partial() == LARGE[:-9]
        assert lane.statistics().bytes == len(LARGE) - 9


async def test_many_at_once() -> None:
    """Workers that share the lane never get each other's bytes, and use as many connections as there are workers."""
    photos = [random.Random(n).randbytes(2 * READ + n) for n in range(40)]
    server = Server([])

    async def serve(stream: trio.abc.Stream, raw: trio.SocketStream) -> bool:
        request = await stream.receive_some()
        if request:
            await stream.send_all(answer(photos[int(request.split()[1].rpartition(b"=")[2])]))
        return bool(request)

    server.serve = serve  # type: ignore[method-assign]  this server answers what it is asked
    waiting = list(range(len(photos)))
    async with server.running() as lane, trio.open_nursery() as nursery:

        async def work(whole: bool) -> None:
            while waiting:
                number = waiting.pop()
                got = await fetch(lane, f"{server.url}?n={number}", whole=whole)
                assert got == photos[number]

        for number in range(6):
            nursery.start_soon(work, number % 2 == 0)
    assert server.connections == 6


async def test_idle_connections_expire(autojump_clock: trio.testing.MockClock) -> None:
    """A connection is not kept longer than servers keep theirs; nothing wakes up when there is none."""
    server = Server([Reply([answer(PHOTO)]), Reply([answer(PHOTO)]), Reply([answer(NEXT)])])
    async with server.running(Limits(head=10_000, silence=10_000)) as lane:
        assert await fetch(lane, server.url) == PHOTO
        await trio.sleep(20)
        assert await fetch(lane, server.url) == PHOTO
        await trio.sleep(40)
        assert await fetch(lane, server.url) == NEXT
        assert server.connections == 2
        await trio.sleep(40)
        assert not lane._pool._is_needed.is_set()


async def test_origin_that_is_odd() -> None:
    """An origin whose answers are odd one after the other is left to the slow lane for a while, then tried again."""
    odd = Reply([b"HTTP/1.0 200 OK\r\n\r\n"], "close")
    server = Server([odd] * ODD + [Reply([answer(PHOTO)])])
    async with server.running() as lane:
        for _ in range(ODD + REST):
            with pytest.raises(SlowLane):
                await fetch(lane, server.url)
        assert len(server.requests) == ODD
        assert await fetch(lane, server.url) == PHOTO


# --- addresses


@pytest.mark.parametrize("url", ["http://127.1/", "http://a/../b", "http://xn--/a", "http://Ä/a"])
async def test_odd_addresses(url: str) -> None:
    """What is not spelled plainly is never connected to by this lane."""
    server = Server([])
    async with server.running() as lane:
        with pytest.raises((SlowLane, PhotoError, PassingError)):
            await fetch(lane, url)
