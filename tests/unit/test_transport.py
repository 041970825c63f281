"""The fast lane over real sockets: whatever a server sends, what is accepted is exactly what was sent.

After each odd answer the same lane asks once more and must get the next photo whole: no byte of one answer may ever
be taken for the next.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from ninepic_mirror.errors import MirrorError, PassingError, PhotoError, UnchangedError
from ninepic_mirror.model import Known
from ninepic_mirror.ninepic.connection import READ
from ninepic_mirror.ninepic.transport import SlowLane
from tests.rawserver import IMPATIENT, LARGE, NEXT, OK, PHOTO, Reply, Server, answer, fetch

if TYPE_CHECKING:
    from ninepic_mirror.ninepic.transport import FastLane


async def outcome(lane: FastLane, url: str, *, offset: int = 0) -> bytes | type[Exception]:
    """Fetch one photo; return it, or the kind of error."""
    try:
        return await fetch(lane, url, cap=1_000_000, offset=offset)
    except (MirrorError, SlowLane) as error:
        assert "sig" not in str(error)  # noqa: PT017  whichever error it is
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


NOT_MODIFIED = {
    "plain": (b'HTTP/1.1 304 Not Modified\r\nETag: "a"\r\n\r\n', UnchangedError),
    "weak": (b'HTTP/1.1 304 x\r\nETag: W/"a"\r\n\r\n', UnchangedError),
    "another tag": (b'HTTP/1.1 304 x\r\nETag: "b"\r\n\r\n', SlowLane),
    "no length": (b"HTTP/1.1 304 x\r\nContent-Length: 0\r\n\r\n", UnchangedError),
    "a length": (b"HTTP/1.1 304 x\r\nContent-Length: 3000\r\n\r\n", SlowLane),
    "chunks": (b"HTTP/1.1 304 x\r\nTransfer-Encoding: chunked\r\n\r\n", SlowLane),
    "a body": (b"HTTP/1.1 304 x\r\n\r\n" + PHOTO, SlowLane),
    "two tags": (b'HTTP/1.1 304 x\r\nETag: "a"\r\nETag: "b"\r\n\r\n', SlowLane),
}


@pytest.mark.parametrize("name", NOT_MODIFIED)
async def test_not_modified(name: str) -> None:
    """A 304 that was asked for is taken where it says nothing of a body; what follows is never the next answer."""
    reply, kind = NOT_MODIFIED[name]
    server = Server([Reply([reply]), Reply([answer(NEXT)])])
    async with server.running() as lane:
        with pytest.raises(kind):
            await lane.open(server.url, cap=10_000, known=Known('"a"'))
        assert await fetch(lane, server.url) == NEXT
    assert 'If-None-Match: "a"' in server.requests[0]
    assert "If-None-Match" not in server.requests[1]
    assert server.connections == (1 if kind is UnchangedError else 2)


async def test_a_304_that_nobody_asked_for() -> None:
    """It is a refusal like any other."""
    server = Server([Reply([b"HTTP/1.1 304 x\r\n\r\n"]), Reply([answer(NEXT)])])
    async with server.running() as lane:
        assert await outcome(lane, server.url) is PhotoError
        assert await fetch(lane, server.url) == NEXT


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
    "long head in two pieces": (
        Reply([OK + b"X: " + b"y" * 60_000, b"y" * 9_000 + b"\r\nContent-Length: 0\r\n\r\n"]),
        SlowLane,
    ),
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
