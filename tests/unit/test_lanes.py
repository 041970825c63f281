"""Both lanes as one: each answer is asked for once where that is possible, and judged alike by both."""

from __future__ import annotations

import ssl
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest
import trio
import trustme

from ninepic_mirror.config import Api
from ninepic_mirror.errors import CertificateError, MirrorError, PassingError, PhotoError
from ninepic_mirror.ninepic.lanes import open_lanes
from ninepic_mirror.ninepic.pacing import Pacer, photos_pace
from ninepic_mirror.ninepic.photos import open_photos
from ninepic_mirror.ninepic.session import Trust
from ninepic_mirror.ninepic.transport import FastBody

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from ninepic_mirror.ninepic.lanes import Lanes
    from ninepic_mirror.ninepic.photos import PhotoClient

OK = b"HTTP/1.1 200 OK\r\n"
PLAIN = OK + b'Content-Length: 5\r\nETag: "v"\r\n\r\nphoto'
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n5\r\nphoto\r\n0\r\n\r\n"


class Origin:
    """Gives the same answer to every request.

    Args:
        answer: The raw bytes; the connection ends after them.
        context: For TLS.
    """

    def __init__(self, answer: bytes, context: ssl.SSLContext | None = None) -> None:
        self.answer, self.context = answer, context
        self.requests: list[str] = []
        self.url = ""

    async def handle(self, raw: trio.SocketStream) -> None:
        """Serve one connection."""
        stream: trio.abc.Stream = raw
        if self.context is not None:
            stream = trio.SSLStream(raw, self.context, server_side=True, https_compatible=True)
        try:
            request = b""
            while b"\r\n\r\n" not in request:
                some = await stream.receive_some()
                if not some:
                    return
                request += some
            self.requests.append(request.decode())
            await stream.send_all(self.answer)
        except trio.BrokenResourceError:
            return
        finally:
            await trio.aclose_forcefully(stream)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Serve on loopback."""
        async with trio.open_nursery() as nursery:
            listeners = await nursery.start(trio.serve_tcp, self.handle, 0)
            port = listeners[0].socket.getsockname()[1]
            self.url = f"{'https' if self.context else 'http'}://127.0.0.1:{port}"
            yield
            nursery.cancel_scope.cancel()


async def fetch(client: Lanes | PhotoClient, url: str) -> bytes | tuple[type[MirrorError], str]:
    """Fetch a photo; return it, or the error."""
    try:
        async with client.stream(url, cap=1000) as body:
            return b"".join([chunk async for chunk in body.chunks()])
    except MirrorError as error:
        return type(error), str(error)


async def test_fast_lane_is_taken() -> None:
    """A plain answer comes by the fast lane, which alone is counted."""
    origin = Origin(PLAIN)
    async with origin.running():
        pacer = Pacer(photos_pace("x"))
        async with open_lanes(Api(1, origin.url), pacer) as lanes:
            async with lanes.stream(f"{origin.url}/a", cap=5) as body:
                assert isinstance(body, FastBody)
                assert bytes(await body.read()) == b"photo"
            assert (lanes.statistics().requests, lanes.statistics().bytes) == (1, 5)
            assert lanes.slow.statistics().requests == 0
            assert lanes.pacer is pacer
            assert pacer._alive > 0
            assert await lanes.head(f"{origin.url}/a") == 5
    assert len(origin.requests) == 2


async def test_slow_lane_follows() -> None:
    """An answer that only the slow lane understands is asked for again, and comes; the caller need not know."""
    origin = Origin(CHUNKED)
    async with (
        origin.running(),
        open_lanes(Api(1, origin.url), Pacer(photos_pace("x"))) as lanes,
    ):
        assert await fetch(lanes, f"{origin.url}/a") == b"photo"
        assert lanes.statistics().requests == 2


@pytest.mark.parametrize(
    ("answer", "requests"),
    [
        (PLAIN, 1),
        (CHUNKED, 2),
        (b"HTTP/1.1 404 Not Found\r\nContent-Length: 1\r\n\r\nx", 1),
        (b"HTTP/1.1 403 Forbidden\r\n\r\n", 1),
        (b"HTTP/1.1 429 Slow\r\nRetry-After: 3\r\nContent-Length: 0\r\n\r\n", 1),
        (b"HTTP/1.1 503 Busy\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 1),
        (OK + b"Content-Length: 1001\r\n\r\n", 1),
        (OK + b"\r\nphoto", 2),
        (OK + b"Content-Length: 5\r\nContent-Encoding: gzip\r\n\r\nphoto", 2),
        (b"HTTP/1.1 206 Part\r\nContent-Length: 5\r\n\r\nphoto", 1),
        (b"HTTP/1.1 302 Found\r\nLocation: ftp://x/\r\nContent-Length: 0\r\n\r\n", 2),
        (b"HTTP/1.1 302 Found\r\nContent-Length: 0\r\n\r\n", 1),
        (b"junk", 2),
    ],
)
async def test_both_judge_alike(answer: bytes, requests: int) -> None:
    """Whichever lane an answer takes, the outcome is that of the slow lane alone."""
    origin = Origin(answer)
    async with origin.running():
        api = Api(1, origin.url)
        async with open_lanes(api, Pacer(photos_pace("x"))) as lanes:
            by_both = await fetch(lanes, f"{origin.url}/a")
        assert len(origin.requests) == requests
        async with open_photos(api, Pacer(photos_pace("x"))) as slow:
            assert await fetch(slow, f"{origin.url}/a") == by_both


@pytest.mark.parametrize(("status", "lives"), [("404 N", True), ("403 N", True), ("500 E", False)])
async def test_sign_of_life(status: str, lives: bool) -> None:
    """A definite refusal is a sign of life of the origin; a fault is none."""
    origin = Origin(f"HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n".encode())
    async with origin.running():
        pacer = Pacer(photos_pace("x"))
        async with open_lanes(Api(1, origin.url), pacer) as lanes:
            assert isinstance(await fetch(lanes, f"{origin.url}/a"), tuple)
    assert (pacer._alive > 0) is lives


@pytest.mark.parametrize(
    ("answer", "statuses"),
    [
        (PLAIN, {200: 1}),
        (CHUNKED, {200: 2}),  # by the slow lane for the second time
        (b"HTTP/1.1 404 Not Found\r\nContent-Length: 1\r\n\r\nx", {404: 1}),
        (b"HTTP/1.1 503 Busy\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", {503: 1}),
        (b"", {0: 1}),
    ],
)
async def test_statuses(answer: bytes, statuses: dict[int, int]) -> None:
    """Answers of both lanes are counted by their status, requests without one as 0."""
    origin = Origin(answer)
    async with origin.running():
        api = Api(1, origin.url)
        async with open_lanes(api, Pacer(photos_pace("x"))) as lanes:
            await fetch(lanes, f"{origin.url}/a")
            assert lanes.statuses == statuses
    async with open_lanes(Api(1, origin.url), Pacer(photos_pace("x"))) as lanes:
        await fetch(lanes, f"{origin.url}/a")  # nobody listens any more
        assert lanes.statuses == {0: 1}
        assert lanes.slow.statuses == {}


async def test_proxy_takes_the_slow_lane() -> None:
    """A configured proxy is not gone around."""
    origin = Origin(b"HTTP/1.1 403 No\r\n\r\n")
    async with origin.running():
        api = Api(1, "https://api.9pic.ai", proxy=origin.url)
        async with open_lanes(api, Pacer(photos_pace("x"))) as lanes:
            outcome = await fetch(lanes, "https://photos.9pic.ai/a")
            assert isinstance(outcome, tuple)
            assert outcome[0] is PassingError
            assert lanes.statistics().requests == 1
            assert lanes.statuses == {0: 1}
    assert origin.requests[0].startswith("CONNECT ")


async def test_certificates(tmp_path: Path) -> None:
    """`ca_file` is believed by the fast lane; once it was, the slow lane's distrust concerns one photo only."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    good, bad = (ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER) for _ in range(2))
    authority.issue_cert("127.0.0.1").configure_cert(good)
    trustme.CA().issue_cert("127.0.0.1").configure_cert(bad)
    trusted, stranger = Origin(PLAIN, good), Origin(PLAIN, bad)
    async with trusted.running(), stranger.running():
        api = Api(1, trusted.url, ca_file=tmp_path / "ca.pem")
        async with open_lanes(api, Pacer(photos_pace("x"))) as lanes:
            for address in (f"{stranger.url}/a", f"{stranger.url}/é"):
                outcome = await fetch(lanes, address)
                assert isinstance(outcome, tuple)
                assert outcome[0] is CertificateError
            assert await fetch(lanes, f"{trusted.url}/a") == b"photo"
            for address in (f"{stranger.url}/a", f"{stranger.url}/é"):
                outcome = await fetch(lanes, address)
                assert isinstance(outcome, tuple)
                assert outcome[0] is PhotoError
        # another client that shares the context has met a good one
        async with open_lanes(api, Pacer(photos_pace("x")), trust=Trust(True)) as lanes:
            for address in (f"{stranger.url}/a", f"{stranger.url}/é"):
                outcome = await fetch(lanes, address)
                assert isinstance(outcome, tuple)
                assert outcome[0] is PhotoError


async def test_errors_leave_as_they_are() -> None:
    """What the block raises is not wrapped in a group, and a cancellation passes through."""
    with pytest.raises(KeyError):
        async with open_lanes(Api(1, "http://x"), Pacer(photos_pace("x"))):
            raise KeyError
    with trio.CancelScope() as scope:
        async with open_lanes(Api(1, "http://x"), Pacer(photos_pace("x"))):
            scope.cancel()
            await trio.sleep_forever()
    assert scope.cancelled_caught


async def test_slow_lane_sees_the_error_of_the_block() -> None:
    """A body of the slow lane that is left by an exception is closed as well."""
    origin = Origin(CHUNKED)
    async with (
        origin.running(),
        open_lanes(Api(1, origin.url), Pacer(photos_pace("x"))) as lanes,
    ):
        with pytest.raises(KeyError):
            async with lanes.stream(f"{origin.url}/a", cap=9):
                raise KeyError
