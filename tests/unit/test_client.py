"""The API client over real sockets: what each answer means, and that the key stays where it belongs."""

from __future__ import annotations

import json
import logging
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, TypeVar

import pytest
import trio

from ninepic_mirror.config import Api
from ninepic_mirror.errors import (
    EventNotFoundError,
    FeatureOffError,
    KeyRefusedError,
    MirrorError,
    PassingError,
    RedirectedError,
    RejectedError,
    UsageError,
)
from ninepic_mirror.model import Key, Window
from ninepic_mirror.ninepic.client import Client, open_client
from ninepic_mirror.ninepic.limits import Limits
from ninepic_mirror.ninepic.pacing import Pacer, photos_pace

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

KEY = Key("k-secret", "a test")


T = TypeVar("T")


class Once(Pacer):
    """Lets every attempt be the last."""

    async def run(
        self,
        attempt: Callable[[], Awaitable[T]],
        probe: Callable[[], Awaitable[object]] | None = None,  # noqa: ARG002  never in doubt
    ) -> T:
        """Make one attempt."""
        return await attempt()


class Service:
    """Answers `(method, target, body)` by a function that returns `(status, headers, body)`."""

    def __init__(self, answer: Callable[[str, str, bytes], tuple[int, str, bytes]]) -> None:
        self.answer = answer
        self.heads: list[str] = []
        self.limits = Limits(json=10_000)

    async def handle(self, stream: trio.SocketStream) -> None:
        """Serve one connection, which carries one request."""
        async with stream:
            try:
                data = b""
                while b"\r\n\r\n" not in data:
                    data += await stream.receive_some()
                head, _, body = data.partition(b"\r\n\r\n")
                self.heads.append(head.decode())
                length = int(
                    (head.lower() + b"\r\n").partition(b"content-length: ")[2].split(b"\r")[0] or 0
                )
                while len(body) < length:
                    body += await stream.receive_some()
                method, target = head.decode().split(" ")[:2]
                status, headers, content = self.answer(method, target, body)
                await stream.send_all(
                    f"HTTP/1.1 {status} X\r\nConnection: close\r\n{headers}".encode()
                    + f"Content-Length: {len(content)}\r\n\r\n".encode()
                    + content
                )
            except trio.BrokenResourceError:
                return  # the client had enough

    @asynccontextmanager
    async def running(self, pacer: Pacer | None = None) -> AsyncIterator[Client]:
        """Serve on loopback, and give a client of it."""
        async with trio.open_nursery() as nursery:
            listeners = await nursery.start(trio.serve_tcp, self.handle, 0)
            url = f"http://127.0.0.1:{listeners[0].socket.getsockname()[1]}/"
            async with open_client(
                Api(org_id=9, base_url=url),
                KEY,
                pacer or Pacer(photos_pace(url)),
                self.limits,
            ) as client:
                yield client
            nursery.cancel_scope.cancel()


def envelope(data: object) -> bytes:
    """Write the documented envelope."""
    return json.dumps({"responseType": "success", "message": "", "data": data}).encode()


def always(status: int, body: bytes = b"", headers: str = "") -> Service:
    """Answer everything alike."""
    return Service(lambda *_: (status, headers, body))


async def failure(service: Service, call: Callable[[Client], Awaitable[object]]) -> MirrorError:
    """Return the error of the first attempt at a call: a passing fault is not waited for."""
    fault: MirrorError | None = None
    async with service.running(Once(photos_pace("x"))) as client:
        try:
            await call(client)
        except MirrorError as error:
            fault = error
    assert fault is not None
    assert "secret" not in str(fault)
    return fault


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, RejectedError),
        (401, KeyRefusedError),
        (403, KeyRefusedError),
        (404, EventNotFoundError),
        (405, RejectedError),
        (408, PassingError),
        (422, RejectedError),
        (425, PassingError),
        (429, PassingError),
        (500, PassingError),
        (502, PassingError),
        (503, PassingError),
        (504, PassingError),
        (204, RejectedError),
        (302, RedirectedError),
        (304, RedirectedError),
    ],
)
@pytest.mark.parametrize(
    "body", [b"", b"<html>gateway", b'{"message": "Too Many Requests"}', envelope({})]
)
async def test_statuses(status: int, kind: type[MirrorError], body: bytes) -> None:
    """The status decides (API.md, Errors), whoever wrote the body; the message decides nothing."""
    fault = await failure(always(status, body), lambda client: client.details(4))
    assert type(fault) is kind
    assert getattr(fault, "refused", False) == (status == 429)


async def test_no_event_no_event_error() -> None:
    """A 404 without an event is a request of ours that is wrong."""
    fault = await failure(always(404), lambda client: client.events_page(1))
    assert isinstance(fault, RejectedError)


async def test_feature_off() -> None:
    """A 403 of the timeline or bibs is the feature's once the key is known to be good, before that the key's."""
    calls: list[Callable[[Client], Awaitable[object]]] = [
        lambda client: client.timeline_days(4),
        lambda client: client.timeline_images(4, Window(0, 3600), 1),
        lambda client: client.bib_images(4, "7", 1),
    ]
    for call in calls:
        assert isinstance(await failure(always(403), call), KeyRefusedError)

        async def later(client: Client, call: Callable[[Client], Awaitable[object]] = call) -> None:
            await client.details(4)
            await call(client)

        good = Service(
            lambda _, target, __: (200, "", envelope({})) if "details" in target else (403, "", b"")
        )
        assert isinstance(await failure(good, later), FeatureOffError)


@pytest.mark.parametrize(
    ("body", "headers", "reason"),
    [
        (b"<html>", "", "web page"),
        (b'{"cut', "", "malformed"),
        (envelope({})[:-1] + b" " * 20_000 + b"}", "", "malformed answer: more than"),
        (envelope({}), "Content-Encoding: gzip\r\n", "encoded"),
    ],
)
async def test_malformed_answers(body: bytes, headers: str, reason: str) -> None:
    """A web page, broken, huge and encoded answers with status 200 may pass (N7, N16)."""
    fault = await failure(always(200, body, headers), lambda client: client.details(4))
    assert isinstance(fault, PassingError)
    assert reason in str(fault)


async def test_retried_by_the_pacer() -> None:
    """A passing fault is asked again, and the answer that follows is the call's."""
    left = [500, 429]
    service = Service(lambda *_: (left.pop(), "", b"") if left else (200, "", envelope({})))
    async with service.running() as client:
        assert (await client.details(4)).timeline_search
        assert client.pacer.statistics().requests == 3
        assert client.statuses == {429: 1, 500: 1, 200: 1}


async def test_the_time_of_the_service(monkeypatch: pytest.MonkeyPatch) -> None:
    """By the `Date` of its last good answer and the steady clock; what is no date is no time."""
    steady = 100.0
    monkeypatch.setattr("time.monotonic", lambda: steady)
    dates = ["Sat, 28 Nov 2026 00:00:00 GMT", "never", None]
    left = iter(dates)

    def answer(_method: str, target: str, _body: bytes) -> tuple[int, str, bytes]:
        if "456" in target:
            return 404, "Date: Fri, 01 Jan 2100 00:00:00 GMT\r\n", b""
        date = next(left)
        return 200, "" if date is None else f"Date: {date}\r\n", envelope({})

    async with Service(answer).running() as client:
        assert client.time() is None
        await client.details(4)
        with pytest.raises(EventNotFoundError):
            await client.details(456)
        steady += 7
        assert client.time() == 1_795_824_007
        for _ in dates[1:]:
            await client.details(4)
            assert client.time() is None


async def test_no_answer_and_no_connection() -> None:
    """A service that does not answer, or is not there, is a passing fault."""

    class Silent(Service):
        async def handle(self, stream: trio.SocketStream) -> None:
            async with stream:
                await trio.sleep_forever()

    silent = Silent(lambda *_: (200, "", b""))
    silent.limits = Limits(head=0.1)
    async with silent.running() as client:
        with pytest.raises(PassingError, match="did not answer"):
            await client._send(client._http.build_request("GET", client._base))
        nowhere = client._http.build_request("GET", "http://127.0.0.1:1/")
        with pytest.raises(PassingError, match="no connection"):
            await client._send(nowhere)
        assert client.statuses == {0: 2}


@pytest.mark.parametrize("target", ["http://127.0.0.1:1/", "http://xn--/", "http://x:y/"])
async def test_redirects_are_not_followed(target: str) -> None:
    """A redirect is never followed, because the key would go with it (N5); the error says so, whatever the address is."""
    service = always(302, b"", f"Location: {target}\r\n")
    fault = await failure(service, lambda client: client.details(4))
    assert type(fault) is RedirectedError
    assert "127.0.0.1" not in str(fault)
    assert len(service.heads) == 1


@pytest.mark.parametrize("status", [400, 403, 404, 422])
async def test_a_message_is_logged_without_signatures(
    status: int, caplog: pytest.LogCaptureFixture
) -> None:
    """What the service says of an error is logged, but nothing of an address that it quotes."""
    text = "no presigned link for https://s/a?X-Amz-Credential=CANARY"
    for said in (text, "at https://s/a?x=CANARY", "The signature is CANARY"):
        with caplog.at_level(logging.DEBUG):
            await failure(
                always(status, json.dumps({"message": said}).encode()),
                lambda client: client.bib_images(4, "7", 1),
            )
    assert f"bibs: {status}: at …" in caplog.text
    assert "CANARY" not in caplog.text


async def test_requests() -> None:
    """Requests are as documented: path, query, key; bibs are quoted; no cookie comes back."""
    page = envelope({"images": [], "pagination": {"total": 0}})
    service = always(200, page, "Set-Cookie: a=b; Path=/\r\n")
    async with service.running() as client:
        await client.images(4, 2)
        await client.timeline_images(4, Window(-3600, 0), 1, page_size=7)
        await client.bib_images(4, "a/b?c", 1)
    targets = [head.split(" ")[1] for head in service.heads]
    assert targets == [
        "/api/v1/ext/9/event/4/images?page=2&page_size=100",
        "/api/v1/ext/9/event/4/timeline/images?from=-3600&to=0&page=1&page_size=7",
        "/api/v1/ext/9/event/4/bibs/a%2Fb%3Fc?page=1&page_size=100",
    ]
    for head in service.heads:
        assert "X-API-Key: k-secret" in head
        assert "cookie" not in head.lower()


async def test_originals_are_halved() -> None:
    """A rejected batch is halved until the bad ids stand alone; the good ones get their links."""

    def answer(method: str, target: str, body: bytes) -> tuple[int, str, bytes]:
        asked = json.loads(body)["identifier"]
        if "bad" in asked:
            return 400, "", b""
        names = {"d": "IMG_4.jpg"}
        links = [{"url": f"https://s/{i}.jpg", "filename": names.get(i, f"{i}.jpg")} for i in asked]
        return 200, "", envelope({"presigned_urls": links, "failed_urls": []})

    service = Service(answer)
    async with service.running() as client:
        found = await client.original_photos(4, ["a", "bad", "c", "d", "e"])
        for wrong in ([], ["x"] * 61):
            with pytest.raises(ValueError, match="ids"):
                await client.original_photos(4, wrong)
    assert sorted(found.urls) == ["a", "c", "d", "e"]
    assert list(found.failed) == ["bad"]
    assert found.aliases == {
        "a": {"a.jpg"},
        "c": {"c.jpg"},
        "d": {"d.jpg", "IMG_4", "IMG_4.jpg"},
        "e": {"e.jpg"},
    }
    assert found.foreign == {"d"}
    assert service.heads[0].startswith(
        "POST /api/v1/ext/9/event/4/original-photos?page=1&page_size=60 "
    )
    fault = await failure(always(422), lambda client: client.original_photos(4, ["a", "b"]))
    assert isinstance(fault, RejectedError)


async def test_events_end() -> None:
    """Events end with the last page, and with a page that brings nothing new, whatever it says (N15)."""

    def answer(method: str, target: str, body: bytes) -> tuple[int, str, bytes]:
        first = "page=1&" in target
        rows = (
            [{"event_id": 1}, {"event_id": 2}, {"event_id": None}] if first else [{"event_id": 2}]
        )
        return 200, "", envelope({"events": rows, "pagination": {"hasNextPage": True}})

    service = Service(answer)
    async with service.running() as client:
        assert [event.event_id async for event in client.events()] == [1, 2]
    assert len(service.heads) == 2


@pytest.mark.parametrize("secret", ["", "a b", "ключ", "line\nbreak", "tab\t"])
async def test_unusable_key(secret: str) -> None:
    """A key that no header can carry is refused before a library quotes it in an error."""
    api = Api(org_id=9, base_url="http://127.0.0.1:1")
    with pytest.raises(UsageError) as caught:
        async with open_client(api, Key(secret, "a test"), Pacer(photos_pace("x"))):
            pass
    assert not secret or secret not in str(caught.value)


async def test_nothing_is_logged_that_is_secret(caplog: pytest.LogCaptureFixture) -> None:
    """Neither the key nor a query reaches the log, at any level of ours or of the libraries'."""
    caplog.set_level(logging.DEBUG)
    async with always(
        200, envelope({"images": [], "pagination": {"total": 0}})
    ).running() as client:
        await client.images(4, 1)
    assert "secret" not in caplog.text
    assert "page_size" not in caplog.text
