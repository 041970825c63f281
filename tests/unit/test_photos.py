"""Photos over real sockets: every odd answer that an origin can give, and what becomes of it."""

from __future__ import annotations

import contextlib
import gzip
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import httpx
import pytest
import trio

from ninepic_mirror.config import Api
from ninepic_mirror.errors import MirrorError, PassingError, PhotoError, UnchangedError, UsageError
from ninepic_mirror.model import Known
from ninepic_mirror.ninepic.lanes import Lanes, watched
from ninepic_mirror.ninepic.limits import Limits
from ninepic_mirror.ninepic.pacing import Pacer, photos_pace
from ninepic_mirror.ninepic.photos import PhotoClient, check_url, open_photos
from ninepic_mirror.ninepic.pool import Pool
from ninepic_mirror.ninepic.session import tls_context
from ninepic_mirror.ninepic.transport import FastLane

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

OK = b"HTTP/1.1 200 OK\r\n"
VALIDATOR = '"v"'
TAG = f"ETag: {VALIDATOR}"
IMPATIENT = Limits(
    silence=0.1, head=0.2
)  # only where nothing more will come: a busy machine is slow, too


class Origin:
    """Answers each request with the next of its raw answers; the last one for ever.

    Args:
        answers: Raw bytes. One that ends in `HOLD` is followed by silence, every other by the connection's end.
    """

    HOLD = b"<hold>"

    def __init__(self, *answers: bytes) -> None:
        self.answers = list(answers)
        self.requests: list[str] = []
        self.url = ""
        self.limits = IMPATIENT if answers[0].endswith(self.HOLD) else Limits()

    async def handle(self, stream: trio.SocketStream) -> None:
        """Serve one connection, which carries one request."""
        async with stream:
            try:
                head = b""
                while b"\r\n\r\n" not in head:
                    head += await stream.receive_some()
                self.requests.append(head.decode().lower())
                answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
                await stream.send_all(answer.removesuffix(self.HOLD))
                if answer.endswith(self.HOLD):
                    await trio.sleep_forever()
                await stream.send_eof()
                while await stream.receive_some():
                    pass
            except trio.BrokenResourceError:
                return  # the client had enough

    @asynccontextmanager
    async def running(self) -> AsyncIterator[PhotoClient]:
        """Serve on loopback; give a client whose API is plain http, so that loopback is allowed."""
        async with trio.open_nursery() as nursery:
            listeners = await nursery.start(trio.serve_tcp, self.handle, 0)
            port = listeners[0].socket.getsockname()[1]
            self.url = f"http://127.0.0.1:{port}"
            pacer = Pacer(photos_pace(self.url))
            async with open_photos(Api(org_id=1, base_url=self.url), pacer, self.limits) as client:
                yield client
            nursery.cancel_scope.cancel()


@asynccontextmanager
async def lanes_to(origin: Origin, *, quick: bool) -> AsyncIterator[Lanes]:
    """Serve on loopback; give both lanes, or the slow one alone."""
    async with origin.running() as client:
        pool = Pool(tls_context(Api(1, origin.url)), client._limits, allow_private=True)
        async with watched(pool):
            fast = FastLane(pool, client.pacer, client._limits, relaxed=True) if quick else None
            yield Lanes(fast, client)


def body(content: bytes, *headers: str, status: str = "200 OK") -> bytes:
    """Write an answer with a length."""
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(content)}", *headers, "", ""]
    return "\r\n".join(lines).encode() + content


async def fetch(
    origin: Origin, *, cap: int = 1000, offset: int = 0, validator: str | None = None
) -> tuple[int, bytes]:
    """Fetch one photo; return the offset of the body, and the body."""
    async with origin.running() as client:
        try:
            async with client.stream(
                f"{origin.url}/a.jpg?sig=secret", cap=cap, offset=offset, validator=validator
            ) as answer:
                return answer.offset, b"".join([chunk async for chunk in answer.chunks()])
        except MirrorError as error:
            fault = error
    raise fault  # outside the nursery, which would wrap it


async def failure(*answers: bytes, offset: int = 0) -> MirrorError:
    """Return the error that the fetch ends with, after a look at its text."""
    with pytest.raises(MirrorError) as caught:
        await fetch(Origin(*answers), offset=offset, validator='"v"')
    assert "secret" not in str(caught.value)
    return caught.value


async def test_whole_photo() -> None:
    """A photo comes with what describes it, and the request says neither key nor cookie and asks for no encoding."""
    origin = Origin(body(b"photo", 'ETag: "v"', "Last-Modified: L", "Content-Type: T"))
    async with origin.running() as client:
        async with client.stream(f"{origin.url}/a.jpg", cap=5) as answer:
            assert b"".join([chunk async for chunk in answer.chunks()]) == b"photo"
        assert (answer.status, answer.offset, answer.length, answer.total) == (200, 0, 5, 5)
        assert (answer.etag, answer.last_modified, answer.content_type) == ('"v"', "L", "T")
        assert (client.statistics().requests, client.statistics().bytes) == (1, 5)
    (request,) = origin.requests
    assert "accept-encoding: identity" in request
    assert "user-agent: ninepic-mirror/" in request
    assert not any(name in request for name in ("x-api-key", "cookie", "range", "authorization"))


async def test_chunked_photo() -> None:
    """A chunked body without a length is fine when it ends as it should."""
    coded = b"Transfer-Encoding: chunked\r\n\r\n5\r\nphoto\r\n0\r\n\r\n"
    assert await fetch(Origin(OK + coded)) == (0, b"photo")


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(OK + b"\r\nphoto", id="close-delimited"),
        pytest.param(b"HTTP/1.0 200 OK\r\n\r\nphoto", id="http-1.0"),
        pytest.param(OK + b"Content-Length: 9\r\n\r\nphoto", id="short"),
        pytest.param(OK + b"Transfer-Encoding: chunked\r\n\r\n9\r\nphoto", id="short-chunk"),
        pytest.param(OK + b"Transfer-Encoding: chunked\r\n\r\n5\r\nphoto\r\n", id="no-last-chunk"),
        pytest.param(
            OK + b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n5\r\nphoto\r\n0\r\n\r\n",
            id="chunked-and-length",
        ),
        pytest.param(
            OK + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nphoto!", id="two-lengths"
        ),
        pytest.param(OK + b"Content-Length: -5\r\n\r\nphoto", id="negative-length"),
        pytest.param(OK + b"Content-Length: 5\r\n\r\nph" + Origin.HOLD, id="stall"),
        pytest.param(Origin.HOLD, id="no-head"),
        pytest.param(b"HTTP/1.1 100 Continue\r\n\r\n" * 2000 + Origin.HOLD, id="1xx-flood"),
        pytest.param(b"", id="closed"),
        pytest.param(b"SSH-2.0-OpenSSH\r\n", id="not-http"),
        pytest.param(OK + b"X: " + b"x" * 200_000, id="header-flood"),
        pytest.param(body(b"", status="500 E"), id="500"),
        pytest.param(body(b"", status="408 T"), id="408"),
        pytest.param(body(b"x" * 100_000, status="502 G"), id="502-long"),
        pytest.param(b"HTTP/1.1 503 G\r\nContent-Length: 9\r\n\r\nx", id="503-short"),
        pytest.param(body(b"p", "Content-Range: bytes 0-0/1", status="206 P") + b"", id="206"),
    ],
)
async def test_passing_faults(answer: bytes) -> None:
    """Broken, stalled and unending answers, and 5xx, may pass; none of them is taken for a photo (N9, N11)."""
    fault = await failure(answer)
    if answer.startswith(b"HTTP/1.1 206"):  # a part that nobody asked for is no photo
        assert isinstance(fault, PhotoError)
    else:
        assert isinstance(fault, PassingError)
        assert not fault.refused


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (body(b"", status="404 N"), "404 from the photo origin"),
        (body(b"", status="403 F"), "403 from the photo origin"),
        (body(b"", status="401 U"), "401 from the photo origin"),
        (body(b"", status="204 N"), "204 from the photo origin"),
        (body(b"", status="302 F"), "302 from the photo origin"),
        (body(b"", status="416 R"), "416 from the photo origin"),
        (body(gzip.compress(b"x" * 10**6), "Content-Encoding: gzip"), "encoded"),
        (body(b"x" * 1001), "1001 bytes, more than the 1000"),
        (OK + b"Content-Length: 10000000000000\r\n\r\n", "more than the 1000"),
        (
            OK + b"Transfer-Encoding: chunked\r\n\r\n3e9\r\n" + b"x" * 1001 + b"\r\n",
            "more than the 1000",
        ),
    ],
)
async def test_permanent_faults(answer: bytes, reason: str) -> None:
    """Other statuses, encodings and sizes rule a photo out for this pass, and only the photo (N7, N8)."""
    fault = await failure(answer)
    assert isinstance(fault, PhotoError)
    assert reason in str(fault)


GONE = b"<Error><Code>AccessDenied</Code><Message>Request has expired</Message></Error>"
CHUNKED = b"Transfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n"
REFUSED = {
    "said": (body(GONE, status="403 F"), True),
    "said by 400": (body(b"<Code>ExpiredToken</Code>", status="400 B"), True),
    "in chunks": (b"HTTP/1.1 403 F\r\n" + CHUNKED % (len(GONE), GONE), True),
    "another text": (body(b"<Code>AccessDenied</Code>", status="403 F"), False),
    "another status": (body(GONE, status="404 N"), False),
    "too long": (body(GONE * 1000, status="403 F"), False),
    "never ends": (b"HTTP/1.1 403 F\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nexp", False),
}


@pytest.mark.parametrize("name", REFUSED)
@pytest.mark.parametrize("quick", [False, True])
async def test_a_refusal_that_says_that_the_address_has_expired(name: str, quick: bool) -> None:
    """Both lanes read what a refusal of a signed address says, and neither repeats any of it."""
    answer, expired = REFUSED[name]
    origin = Origin(answer, answer)
    async with lanes_to(origin, quick=quick) as lanes:
        with pytest.raises(PhotoError) as caught:
            async with lanes.stream(f"{origin.url}/a.jpg?sig=secret", cap=1000):
                pass
    assert caught.value.expired == expired
    assert caught.value.status == int(answer.split(b" ")[1])
    assert str(caught.value) == f"{caught.value.status} from the photo origin"


async def test_refusals() -> None:
    """429, and 503 with `Retry-After`, ask us to slow down; the wait is read."""
    for status, headers, refused, wait in (
        ("429 T", (), True, None),
        ("429 T", ("Retry-After: 7",), True, 7.0),
        ("503 U", ("Retry-After: junk",), True, None),
        ("503 U", (), False, None),
        ("500 U", ("Retry-After: 7",), False, None),
    ):
        fault = await failure(body(b"", *headers, status=status))
        assert isinstance(fault, PassingError)
        assert (fault.refused, fault.retry_after) == (refused, wait)


# --- conditions

NOT_MODIFIED = b'HTTP/1.1 304 N\r\nETag: "%s"\r\n\r\n'


@pytest.mark.parametrize("quick", [False, True])
async def test_a_304_for_another_photo(quick: bool) -> None:
    """A 304 whose tag is not the one that was asked with tells nothing: the photo comes without a condition."""
    other = NOT_MODIFIED % b"w"
    origin = Origin(*[other] * (1 + quick), body(b"photo"))
    async with lanes_to(origin, quick=quick) as lanes:
        async with lanes.stream(f"{origin.url}/a.jpg", cap=1000, known=Known(VALIDATOR)) as answer:
            assert b"".join([chunk async for chunk in answer.chunks()]) == b"photo"
        assert lanes.pacer._alive > 0
    conditions = ['if-none-match: "v"' in request for request in origin.requests]
    assert conditions == [*[True] * (1 + quick), False]


@pytest.mark.parametrize("quick", [False, True])
async def test_a_304_for_the_photo(quick: bool) -> None:
    """One with the same tag is believed by both lanes; one that nobody asked for is not, though it comes instead."""
    origin = Origin(NOT_MODIFIED % b"v")
    async with lanes_to(origin, quick=quick) as lanes:
        for known, kind in ((Known(VALIDATOR), UnchangedError), (Known('"u"'), PhotoError)):
            with pytest.raises(kind, match="304 from the photo origin"):
                async with lanes.stream(f"{origin.url}/a.jpg", cap=1000, known=known):
                    pass


# --- ranges


def part(content: bytes, span: str, *headers: str) -> bytes:
    """Write a 206."""
    return body(content, f"Content-Range: {span}", *headers, status="206 Partial Content")


async def test_rest_of_a_photo() -> None:
    """With a strong tag the rest is asked for, on the condition that the file is still the same."""
    origin = Origin(part(b"to", "bytes 3-4/5", TAG))
    assert await fetch(origin, offset=3, validator='"v"') == (3, b"to")
    assert "range: bytes=3-" in origin.requests[0]
    assert 'if-range: "v"' in origin.requests[0]


@pytest.mark.parametrize(
    "validator", [None, 'W/"v"', "Mon, 01 Jan 2024 00:00:00 GMT", '"a\r\nX: y"']
)
async def test_no_range_without_a_strong_tag(validator: str | None) -> None:
    """Without a strong tag the file is asked for from its start: nothing else promises equal bytes."""
    origin = Origin(body(b"photo"))
    assert await fetch(origin, offset=3, validator=validator) == (0, b"photo")
    assert "range" not in origin.requests[0]


async def test_whole_photo_for_a_range() -> None:
    """A 200 for a range is the file from its start."""
    assert await fetch(Origin(body(b"photo")), offset=3, validator='"v"') == (0, b"photo")


@pytest.mark.parametrize(
    "answer",
    [
        part(b"ot", "bytes 2-3/5", TAG),
        part(b"t", "bytes 3-3/5", TAG),
        part(b"to", "bytes 3-4/*", TAG),
        part(b"to", "junk", TAG),
        part(b"to", "bytes 3-4/5"),
        part(b"to", "bytes 3-4/5", 'ETag: "w"'),
        part(b"too", "bytes 3-4/5", TAG),
        body(b"to", TAG, status="206 Partial Content"),
        body(b"", status="416 Range Not Satisfiable"),
    ],
)
async def test_wrong_part(answer: bytes) -> None:
    """A part that is not the rest of this very file is never appended: begin again (N22)."""
    fault = await failure(answer, offset=3)
    assert isinstance(fault, PassingError)
    assert fault.restart


async def test_rest_beyond_the_cap() -> None:
    """The cap counts the whole file, not the part."""
    with pytest.raises(PhotoError, match="more than the 4"):
        await fetch(Origin(part(b"to", "bytes 3-4/5", TAG)), cap=4, offset=3, validator='"v"')


# --- addresses


def redirect(to: str, status: int = 302) -> bytes:
    """Write a redirect."""
    return body(b"", f"Location: {to}", status=f"{status} R")


async def test_redirects() -> None:
    """Three redirects are followed, relative ones too, and no more; their addresses are checked like any other."""
    origin = Origin(
        redirect("/b", 301), redirect("c?sig=1", 307), redirect("/d", 308), body(b"photo")
    )
    assert await fetch(origin) == (0, b"photo")
    assert [r.split()[1] for r in origin.requests] == ["/a.jpg?sig=secret", "/b", "/c?sig=1", "/d"]
    assert "more than 3 redirects" in str(await failure(redirect("/a?sig=secret")))
    odd = (
        "http://x:y/",
        "http://xn--/",
        "//xn--a-/b",
        "http://a..b/",
        "http://[::1",
        "http://a\\b\x7f/",
    )
    for target in ("file:///etc/passwd", "//user:pw@127.0.0.1/", "ftp://127.0.0.1/x", *odd):
        assert isinstance(await failure(redirect(target)), PhotoError)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "photo.jpg",
        "file:///etc/passwd",
        "ftp://photos.9pic.ai/a",
        "javascript:alert(1)",
        "data:image/jpeg;base64,AAAA",
        "http://photos.9pic.ai/a",
        "https://good@photos.9pic.ai/a",
        "https://user:pw@photos.9pic.ai/a",
        "https:///a",
        "https://[::1/a",
        "https://[2600::1%25eth0] [2600::1]/a",
        "https://photos.9pic.ai:99999/a",
        "https://127.0.0.1/a",
        "https://127.1/a",
        "https://0x7f.1/a",
        "https://2130706433/a",
        "https://[::ffff:127.0.0.1]/a",
        "https://127。0。0。1/a",
        "https://169.254.169.254/latest",
        "https://a\ud800/",
        "https://x/\x00",
        "https://xn--/a",
        "https://photos..9pic.ai/a",
        f"https://{'x' * 64}.9pic.ai/a",
    ],
)
def test_forbidden_addresses(url: str) -> None:
    """Only https, only public, no user's name: anything else is refused before a connection (N3, N4)."""
    with pytest.raises(PhotoError) as caught:
        check_url(url, relaxed=False)
    assert "pw" not in str(caught.value)


def test_allowed_addresses() -> None:
    """Any public host is allowed; http and private ones where the API itself is plain or private."""
    assert check_url("https://elsewhere.example/a?b", relaxed=False) == httpx.URL(
        "https://elsewhere.example/a?b"
    )
    assert check_url("http://127.0.0.1:1/a", relaxed=True).port == 1
    with pytest.raises(PhotoError):
        check_url("ftp://127.0.0.1/", relaxed=True)


async def test_private_addresses_by_configuration() -> None:
    """A public https API makes loopback forbidden; `allow_private` and a private API allow it."""
    origin = Origin(body(b"photo"))
    async with origin.running():
        for api, allowed in (
            (Api(org_id=1, base_url="https://api.9pic.ai"), False),
            (Api(org_id=1, base_url="https://api.9pic.ai", allow_private=True), True),
            (Api(org_id=1, base_url="https://127.0.0.1"), True),
            (Api(org_id=1, base_url="http://api.test"), True),
        ):
            async with open_photos(api, Pacer(photos_pace("x"))) as client:
                try:
                    assert await client.head(f"{origin.url}/a") == 5
                except PhotoError:
                    assert not allowed
                else:
                    assert allowed


async def test_head() -> None:
    """A HEAD gives the length without the photo, None where there is none, and fails like a GET."""
    for answer, length in ((OK + b"Content-Length: 5\r\n\r\n", 5), (OK + b"\r\n", None)):
        async with Origin(answer).running() as client:
            assert await client.head(str(client.pacer.pace.origin)) == length
    async with Origin(body(b"", status="404 N")).running() as client:
        with pytest.raises(PhotoError):
            await client.head(client.pacer.pace.origin)


# --- the rest


async def test_reader_that_stops_in_the_middle() -> None:
    """A caller may leave a body unread: the connection goes, no generator is left to warn about, bytes are counted."""
    origin = Origin(OK + b"Content-Length: 500\r\n\r\nphoto" + Origin.HOLD)
    origin.limits = Limits()
    async with origin.running() as client:
        async with client.stream(f"{origin.url}/a", cap=500) as answer:
            assert await anext(answer.chunks()) == b"photo"
        with pytest.raises(KeyError):
            async with client.stream(f"{origin.url}/a", cap=500) as answer:
                raise KeyError
        assert client.statistics().bytes == 5


async def test_sign_of_life() -> None:
    """A definite head counts for the origin, even when the body then fails; a 5xx does not."""
    for answer, alive in (
        (OK + b"Content-Length: 9\r\n\r\nx", True),
        (body(b"", status="500 E"), False),
    ):
        origin = Origin(answer)
        async with origin.running() as client:
            with contextlib.suppress(PassingError):
                async with client.stream(f"{origin.url}/a", cap=99) as photo:
                    await anext(photo.chunks())
            assert (client.pacer._alive > 0) == alive


async def test_unreachable() -> None:
    """A port where nobody listens may pass, and the error says where without saying what."""
    origin = Origin(b"")
    async with origin.running():
        pass
    async with open_photos(Api(org_id=1, base_url=origin.url), Pacer(photos_pace("x"))) as client:
        with pytest.raises(PassingError, match=r"no connection to http://127\.0\.0\.1") as caught:
            await client.head(f"{origin.url}/a?sig=secret")
    assert "secret" not in str(caught.value)


async def test_proxy() -> None:
    """A configured proxy is asked for the connection; a kind that we do not speak is a usage error."""
    origin = Origin(b"HTTP/1.1 403 No\r\n\r\n")
    async with origin.running():
        api = Api(
            org_id=1, base_url="https://api.9pic.ai", proxy=origin.url.replace("//", "//me:pw@")
        )
        async with open_photos(api, Pacer(photos_pace("x"))) as client:
            with pytest.raises(PassingError, match="proxy"):
                await client.head("https://photos.9pic.ai/a")
            with pytest.raises(PhotoError, match="no public address"):
                await client.head("https://127.1/a")
    assert origin.requests[0].startswith("connect photos.9pic.ai:443 ")
    assert "proxy-authorization: basic" in origin.requests[0]
    with pytest.raises(UsageError, match="proxy"):
        async with open_photos(
            Api(org_id=1, base_url="https://x", proxy="socks5://x"), Pacer(photos_pace("x"))
        ):
            pass


async def test_unusable_authority(tmp_path: Path) -> None:
    """A `ca_file` that is missing or holds no certificate is a usage error that says so."""
    junk = tmp_path / "ca.pem"
    junk.write_text("junk")
    for path in (junk, tmp_path / "none"):
        with pytest.raises(UsageError, match="ca_file"):
            async with open_photos(
                Api(org_id=1, base_url="https://x", ca_file=path), Pacer(photos_pace("x"))
            ):
                pass
