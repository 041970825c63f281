"""Every fault of the sandbox as it looks on the wire, over http and https."""

from __future__ import annotations

import gzip
import json
import ssl
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import pytest
import trio

from ninepic_mirror.sandbox import EventSpec, Fault, Sandbox

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

LISTING: Final = "/api/v1/ext/903/event/456/images"


@dataclass(frozen=True)
class Answer:
    """What arrived on a connection until it ended.

    Args:
        raw: Every byte.
        broken: It ended by a reset, or over TLS without a goodbye.
    """

    raw: bytes
    broken: bool

    @property
    def status(self) -> int:
        """The status code, 0 without an answer."""
        return int(self.raw.split()[1]) if self.raw else 0

    @property
    def headers(self) -> dict[str, str]:
        """Headers by lower-case name."""
        lines = self.raw.partition(b"\r\n\r\n")[0].decode().split("\r\n")[1:]
        return {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}

    @property
    def body(self) -> bytes:
        """Everything after the head."""
        return self.raw.partition(b"\r\n\r\n")[2]


class Wire:
    """A sandbox and the bytes that it sends."""

    def __init__(self, sandbox: Sandbox) -> None:
        self.sandbox = sandbox
        event = sandbox.event(456)
        self.name = event.photos[3].image_id
        self.other = event.photos[0].image_id
        self.body = event.body(self.name, "large")
        self.path = f"/imgs/456/large/{self.name}.jpg"

    async def open(self, origin: str = "photos") -> trio.abc.Stream:
        """Connect to an origin."""
        url = self.sandbox.photos_url if origin == "photos" else self.sandbox.api_url
        stream = await trio.open_tcp_stream("127.0.0.1", int(url.rpartition(":")[2]))
        if not self.sandbox.tls:
            return stream
        context = ssl.create_default_context(cafile=self.sandbox.ca_file)
        # Some builds of Python take an end without a goodbye for a good one; here the two are to be told apart.
        context.options &= ~ssl.OP_IGNORE_UNEXPECTED_EOF
        return trio.SSLStream(stream, context, server_hostname="127.0.0.1")

    async def ask(
        self, path: str | None = None, origin: str = "photos", most: int = 10_000_000
    ) -> Answer:
        """GET a path on a connection of its own and read until it ends, or `most` bytes came."""
        stream = await self.open(origin)
        raw, broken = b"", False
        async with stream:
            target = self.path if path is None else path
            head = f"GET {target} HTTP/1.1\r\nHost: x\r\nX-API-Key: test-key\r\nConnection: close\r\n\r\n"
            await stream.send_all(head.encode())
            try:
                while len(raw) < most and (data := await stream.receive_some(65536)):
                    raw += data
            except trio.BrokenResourceError:
                broken = True
        return Answer(raw, broken)

    async def met(self, fault: Fault, path: str | None = None, origin: str = "photos") -> Answer:
        """GET a path while a fault is on duty."""
        self.sandbox.faults.add(fault)
        with trio.fail_after(5):
            return await self.ask(path, origin)


@pytest.fixture(params=["http", "https"])
async def wire(request: pytest.FixtureRequest) -> AsyncIterator[Wire]:
    """Serve a small cheap event."""
    spec = EventSpec(photos=8, look="cheap", thumb_kb=1, large_kb=30, original_mb=(0.05, 0.06))
    async with Sandbox([spec], tls=request.param == "https").running() as sandbox:
        yield Wire(sandbox)


async def test_without_a_fault(wire: Wire) -> None:
    """A photo arrives whole and its connection ends in good order."""
    answer = await wire.ask()
    assert (answer.status, answer.body, answer.broken) == (200, wire.body, False)


@pytest.mark.parametrize(
    ("kind", "status"),
    [("429", 429), ("500", 500), ("502", 502), ("503", 503), ("404", 404), ("403", 403)],
)
async def test_statuses(wire: Wire, kind: str, status: int) -> None:
    """A fault named after a status has it, on either origin, and no Retry-After unless asked."""
    for origin, path in (("photos", wire.path), ("api", LISTING)):
        answer = await wire.met(Fault(kind=kind, count=1), path, origin)
        assert answer.status == status
        assert "retry-after" not in answer.headers
    assert [seen.status for seen in wire.sandbox.requests] == [status, status]


@pytest.mark.parametrize("kind", ["429", "503", "rate"])
async def test_retry_after(wire: Wire, kind: str) -> None:
    """A refusal can say when to come again."""
    fault = Fault(kind=kind, retry_after=7, limit=0.001, burst=0.5)
    assert (await wire.met(fault)).headers["retry-after"] == "7"


async def test_gateway_answers_are_no_envelope(wire: Wire) -> None:
    """A throttle and a 502 come from the gateway: another JSON, or HTML."""
    throttled = await wire.met(Fault(kind="429", count=1), LISTING, "api")
    assert json.loads(throttled.body) == {"message": "Too Many Requests"}
    assert (await wire.met(Fault(kind="502"), LISTING, "api")).headers[
        "content-type"
    ] == "text/html"


async def test_rate(wire: Wire) -> None:
    """Requests above the limit are refused, on the origin that has the limit only."""
    wire.sandbox.faults.add(Fault(kind="rate", origin="photos", limit=0.001, burst=2))
    assert [(await wire.ask()).status for _ in range(4)] == [200, 200, 429, 429]
    assert (await wire.ask(LISTING, "api")).status == 200


@pytest.mark.parametrize("content_type", ["text/html", "image/jpeg"])
async def test_html(wire: Wire, content_type: str) -> None:
    """A web page with status 200, whatever it calls itself."""
    answer = await wire.met(Fault(kind="html", content_type=content_type))
    assert (answer.status, answer.headers["content-type"]) == (200, content_type)
    assert answer.body.startswith(b"<!doctype html>")


async def test_malformed_json(wire: Wire) -> None:
    """JSON that ends in the middle, with status 200."""
    answer = await wire.met(Fault(kind="json"), LISTING, "api")
    assert answer.status == 200
    with pytest.raises(json.JSONDecodeError):
        json.loads(answer.body)


async def test_empty(wire: Wire) -> None:
    """A good answer with no bytes."""
    answer = await wire.met(Fault(kind="empty"))
    assert (answer.status, answer.headers["content-length"], answer.body) == (200, "0", b"")


async def test_redirect(wire: Wire) -> None:
    """A redirect leads where the fault says."""
    answer = await wire.met(Fault(kind="redirect", to="http://elsewhere/x"))
    assert (answer.status, answer.headers["location"]) == (302, "http://elsewhere/x")


async def test_truncated(wire: Wire) -> None:
    """Half a JPEG whose Content-Length matches."""
    answer = await wire.met(Fault(kind="truncated"))
    assert answer.body == wire.body[: len(wire.body) // 2]
    assert answer.headers["content-length"] == str(len(answer.body))


async def test_swap(wire: Wire) -> None:
    """Another photo's bytes under this photo's address, also behind a presigned link."""
    event = wire.sandbox.event(456)
    answer = await wire.met(Fault(kind="swap"))
    assert answer.body == event.body(wire.other, "large")
    link = wire.sandbox.presign(456, wire.name).removeprefix(wire.sandbox.photos_url)
    assert (await wire.ask(link)).body == event.body(wire.other, "original")


async def test_gzip(wire: Wire) -> None:
    """An encoded body that nobody asked for and that grows a hundred times and more."""
    answer = await wire.met(Fault(kind="gzip", amount=3))
    assert answer.headers["content-encoding"] == "gzip"
    assert len(answer.body) == int(answer.headers["content-length"]) < 30_000
    assert len(gzip.decompress(answer.body)) > 3_000_000


async def test_expire(wire: Wire) -> None:
    """A presigned link that expired answers as S3 does; other addresses do not."""
    link = wire.sandbox.presign(456, wire.name).removeprefix(wire.sandbox.photos_url)
    answer = await wire.met(Fault(kind="expire"), link)
    assert answer.status == 403
    assert b"<Message>Request has expired</Message>" in answer.body
    assert (await wire.ask()).status == 200


async def test_timeline_off_without_notice(wire: Wire) -> None:
    """Timeline calls answer 403 although the flag is on; other calls do not."""
    path = LISTING.replace("/images", "/timeline/days")
    assert (await wire.met(Fault(kind="timeline_403"), path, "api")).status == 403
    assert (await wire.ask(LISTING, "api")).status == 200


async def test_reset_before_the_answer(wire: Wire) -> None:
    """The connection is reset before a byte came."""
    answer = await wire.met(Fault(kind="reset", at="before"))
    assert (answer.raw, answer.broken) == (b"", True)
    assert wire.sandbox.requests[-1].status == 0


async def test_reset_in_the_middle(wire: Wire) -> None:
    """The connection is reset after half of the body."""
    answer = await wire.met(Fault(kind="reset"))
    assert (answer.body, answer.broken) == (wire.body[: len(wire.body) // 2], True)


async def test_abrupt_close(wire: Wire) -> None:
    """The connection is closed in the middle, over TLS without a goodbye."""
    answer = await wire.met(Fault(kind="reset", how="close"))
    assert (answer.body, answer.broken) == (wire.body[: len(wire.body) // 2], wire.sandbox.tls)


async def test_short(wire: Wire) -> None:
    """A right Content-Length, half the body, and an end in good order; on the API too."""
    answer = await wire.met(Fault(kind="short"))
    assert answer.headers["content-length"] == str(len(wire.body))
    assert (answer.body, answer.broken) == (wire.body[: len(wire.body) // 2], False)
    listing = await wire.ask(LISTING, "api")
    assert len(listing.body) == int(listing.headers["content-length"]) // 2


@pytest.mark.parametrize(("how", "amount"), [("long", 100), ("short", -100), ("none", None)])
async def test_wrong_lengths(wire: Wire, how: str, amount: int | None) -> None:
    """A Content-Length that is too long, too short, or missing while the body ends early."""
    answer = await wire.met(Fault(kind="length", how=how, amount=100))
    length = answer.headers.get("content-length")
    assert length == (None if amount is None else str(len(wire.body) + amount))
    assert answer.body == (wire.body[: len(wire.body) // 2] if amount is None else wire.body)


@pytest.mark.parametrize(("at", "share"), [("before", 0), ("middle", 0.5)])
async def test_stall_until_the_client_leaves(wire: Wire, at: str, share: float) -> None:
    """After the head, or half of the body, nothing comes while the client waits."""
    wire.sandbox.faults.add(Fault(kind="stall", at=at))
    stream, raw = await wire.open(), b""
    async with stream:
        await stream.send_all(f"GET {wire.path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        with trio.move_on_after(0.2) as waiting:
            while data := await stream.receive_some(65536):
                raw += data
    assert waiting.cancelled_caught
    assert len(Answer(raw, broken=False).body) == int(len(wire.body) * share)


async def test_stall_for_a_while(wire: Wire) -> None:
    """A stall with a time ends by sending the rest."""
    answer = await wire.met(Fault(kind="stall", seconds=0.05))
    assert (answer.body, answer.broken) == (wire.body, False)


async def test_endless(wire: Wire) -> None:
    """A body without length and without end, as long as somebody reads."""
    wire.sandbox.faults.add(Fault(kind="endless"))
    with trio.fail_after(5):
        answer = await wire.ask(most=2_000_000)
    assert len(answer.raw) >= 2_000_000
    assert "content-length" not in answer.headers


async def test_post_meets_faults_too(wire: Wire) -> None:
    """A request with a body of its own can meet a wire fault."""
    wire.sandbox.faults.add(Fault(kind="short"))
    body = json.dumps({"method": "image_id", "identifier": wire.name}).encode()
    path = LISTING.replace("images", "original-photos")
    head = f"POST {path} HTTP/1.1\r\nHost: x\r\nX-API-Key: test-key\r\nContent-Length: {len(body)}\r\n\r\n"
    raw, stream = b"", await wire.open("api")
    async with stream:
        await stream.send_all(head.encode() + body)
        with trio.fail_after(5):
            while data := await stream.receive_some(65536):
                raw += data
    answer = Answer(raw, broken=False)
    assert len(answer.body) == int(answer.headers["content-length"]) // 2


async def test_a_client_may_go_amid_its_request(wire: Wire) -> None:
    """A request whose body never comes whole is the client's affair, and no fault of the sandbox."""
    for _ in range(3):
        stream = await wire.open("api")
        head = "POST /api/v1/ext/903/event/456/original-photos HTTP/1.1\r\nHost: x\r\nX-API-Key: test-key\r\n"
        await stream.send_all(f"{head}Content-Length: 100\r\n\r\n{{".encode())
        with trio.fail_after(5):
            while not wire.sandbox.count("api"):  # noqa: ASYNC110  it sends no event
                await trio.sleep(0.01)
        await trio.aclose_forcefully(stream)
        assert (await wire.ask()).body == wire.body
        wire.sandbox.clear_requests()
    assert not wire.sandbox.crashes


async def test_a_connection_goes_on_after_an_honest_fault(wire: Wire) -> None:
    """A refusal leaves the connection open for the next request."""
    wire.sandbox.faults.add(Fault(kind="429", count=1))
    raw, stream = b"", await wire.open()
    async with stream:
        for _ in range(2):
            await stream.send_all(f"GET {wire.path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        with trio.fail_after(5):
            while not raw.endswith(wire.body):
                raw += await stream.receive_some(65536)
    assert raw.startswith(b"HTTP/1.1 429")
    assert b"HTTP/1.1 200" in raw
