"""Page, metrics and health over real sockets; who is answered, and that nobody holds the daemon up."""

from __future__ import annotations

import logging
import socket
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import httpx
import pytest
import trio

from ninepic_mirror.errors import UsageError
from ninepic_mirror.service import web
from ninepic_mirror.service.board import Board, Watched
from ninepic_mirror.service.health import GRACE, reasons
from ninepic_mirror.service.page import policy
from tests.boards import NOW, board, calm

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

LOOPBACK = ("127.0.0.1", 0)


class Clock:
    """Epoch seconds that pass when a test says so."""

    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> float:
        """Return the time."""
        return self.now


@asynccontextmanager
async def served(
    some: Board, listen: tuple[str, int] = LOOPBACK, clock: Clock | None = None
) -> AsyncIterator[httpx.AsyncClient]:
    """Serve a board; yield a client of it."""
    async with trio.open_nursery() as nursery:

        async def start(task_status: trio.TaskStatus[str]) -> None:
            await web.serve(some, listen, clock=clock or Clock(), task_status=task_status)

        url = await nursery.start(start)
        with trio.fail_after(10):
            async with httpx.AsyncClient(base_url=url, trust_env=False, timeout=5) as client:
                yield client
        nursery.cancel_scope.cancel()


# --- what is answered


async def test_the_page() -> None:
    """The page comes with headers that let nothing of others' run in it, or it in others'."""
    async with served(board()) as client:
        answer = await client.get("/")
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert answer.headers["content-security-policy"] == policy()
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["content-encoding"] == "gzip"
    assert "server" not in answer.headers
    assert "Mumbai Marathon 2026" in answer.text


async def test_metrics() -> None:
    """Metrics come in the type that Prometheus expects."""
    async with served(board()) as client:
        answer = await client.get("/metrics")
    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert 'ninepic_photos{event_id="455"} 2300.0' in answer.text


async def test_an_answer_is_kept_for_a_second() -> None:
    """Scrapes in the same second cost one; the next second tells what is so then, and so does a clock set back."""
    some, clock = calm(), Clock()
    async with served(some, clock=clock) as client:

        async def events() -> str:
            return (await client.get("/metrics")).text.partition("\nninepic_events ")[2][:1]

        assert await events() == "3"
        del some.events[101]
        assert await events() == "3"
        clock.now += 1
        assert await events() == "2"
        del some.events[102]
        clock.now -= 3600
        assert await events() == "1"


async def test_reading_only() -> None:
    """HEAD is a GET without its body; nothing else is done, and nothing else is there."""
    async with served(board()) as client:
        head = await client.head("/")
        assert (head.status_code, head.content) == (200, b"")
        for method in ("POST", "PUT", "DELETE", "OPTIONS", "TRACE"):
            assert (await client.request(method, "/")).status_code == 405
        for path in ("/metrics/", "/templates/status.js", "/favicon.ico", "/%2e%2e/x"):
            assert (await client.get(path)).status_code == 404


# --- health


async def test_healthy() -> None:
    """A mirror that is up to date is ok."""
    async with served(calm()) as client:
        answer = await client.get("/healthz")
        assert (answer.status_code, answer.text) == (200, "ok\n")
        answer = await client.get("/healthz", headers={"Accept": "application/json"})
        assert answer.json() == {"status": "ok", "phase": "running", "reasons": []}


async def test_stale() -> None:
    """An event that was not whole for longer than stale_after makes it unhealthy, and is named with its trouble."""
    async with served(board()) as client:
        answer = await client.get("/healthz")
        assert answer.status_code == 503
        (line,) = answer.text.splitlines()
        assert line.startswith("event 455 <script>")
        assert line.endswith(
            ": not whole for 2 days: the service answers 403: this key may not see the event"
        )
        assert answer.headers["content-type"].startswith("text/plain")
        answer = await client.get("/healthz", headers={"Accept": "application/json"})
        assert answer.status_code == 503
        (reason,) = answer.json()["reasons"]
        assert (reason["kind"], reason["event_id"], reason["seconds"]) == ("stale", 455, 172_900)


def test_a_trouble_has_a_while_to_pass() -> None:
    """What keeps everything from being mirrored is unhealthy after a quarter of an hour, or stale_after if shorter."""
    some = calm()
    some.note_trouble("service", "no answer from https://api.example/x?sig=secret", NOW)
    assert reasons(some, NOW + GRACE) == []
    (reason,) = reasons(some, NOW + GRACE + 1)
    assert reason.text == "service: no answer from https://api.example/x?… (for 15 min)"
    some.stale_after = 60
    assert reasons(some, NOW + 61)
    some.clear_trouble("service")
    assert reasons(some, NOW + 61) == []


def test_a_trouble_of_unknown_age_is_old() -> None:
    """A trouble that was put on the board without its time counts from the daemon's start."""
    some = calm()
    some.troubles["key"] = "refused"
    assert reasons(some, NOW)
    some.started_at = NOW - 5
    assert not reasons(some, NOW)


def test_an_event_without_a_name() -> None:
    """An event that was never heard of is named by its number."""
    (reason,) = reasons(Board(NOW, events={7: Watched(7)}), NOW)
    assert reason.text.startswith("event 7: not whole for")


# --- who is answered


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost", 200),
        ("LOCALHOST:9129", 200),
        ("localhost.", 200),
        ("127.0.0.1:80", 200),
        ("[::1]", 200),
        ("[::1]:9129", 200),
        ("192.0.2.7:9129", 200),
        ("", 200),
        ("evil.example", 421),
        ("evil.example:9129", 421),
        ("localhost.evil.example", 421),
        ("127.0.0.1.evil.example", 421),
        (":9129", 421),
    ],
)
async def test_names_on_loopback(host: str, status: int) -> None:
    """On loopback only names of this machine are answered, so that no web page can read it by a name of its own."""
    async with served(board()) as client:
        for path in ("/", "/metrics", "/healthz?x"):
            answer = await client.get(path, headers={"Host": host})
            expected = 503 if status == 200 and "healthz" in path else status
            assert answer.status_code == expected
            assert (expected == 421) == ("not known here" in answer.text)


async def test_the_configured_name_is_ours() -> None:
    """The name in `listen` is answered."""
    app = web.OwnNames(web.application(calm(), Clock()), "Mirror.lan")
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://mirror.lan:9129") as client:
        assert (await client.get("/healthz")).text == "ok\n"


async def test_any_name_elsewhere() -> None:
    """On an address that is not loopback the operator's names are not known, so every one is answered."""
    async with served(calm(), ("0.0.0.0", 0)) as client:
        port = client.base_url.port
        url = f"http://127.0.0.1:{port}/healthz"
        answer = await client.get(url, headers={"Host": "mirror.example"})
        assert answer.status_code == 200


async def test_version_six() -> None:
    """An address of version 6 is served, and written with its brackets."""
    if not socket.has_ipv6:
        pytest.skip("this machine has no IPv6")
    try:
        async with served(calm(), ("::1", 0)) as client:
            assert str(client.base_url).startswith("http://[::1]:")
            assert (await client.get("/healthz")).status_code == 200
    except* UsageError:
        pytest.skip("this machine has no IPv6 loopback")


# --- the port


async def test_a_port_in_use() -> None:
    """A taken port is said at the start, with what to do."""
    with socket.create_server(LOOPBACK) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(UsageError, match=f"127.0.0.1:{port}: Address already in use") as caught:
            await web.serve(calm(), ("127.0.0.1", port))
    assert "[daemon] listen" in caught.value.cure


@pytest.mark.parametrize("host", ["192.0.2.1", "no-such-host.invalid"])
async def test_an_address_that_is_not_ours(host: str) -> None:
    """An address of another machine, or none at all, is the same kind of error."""
    with pytest.raises(UsageError, match="cannot listen on"):
        await web.serve(calm(), (host, 9129))


async def test_ends_whatever_clients_do() -> None:
    """Cancelling ends at once, with clients that are silent, half through a request, or not reading."""
    async with served(board()) as client:
        streams = []
        for text in ("", "GET / HT", "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n" * 50):
            stream = await trio.open_tcp_stream("127.0.0.1", client.base_url.port or 0)
            await stream.send_all(text.encode())
            streams.append(stream)
        assert (await client.get("/healthz")).status_code == 503
    for stream in streams:
        await stream.aclose()


async def test_clients_that_leave_hold_nothing_up() -> None:
    """Clients that send rubbish or leave in the middle do no harm to the next one."""
    async with served(calm()) as client:
        for text in (
            b"\x16\x03\x01\x02\x00rubbish\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
            b"\0",
        ):
            stream = await trio.open_tcp_stream("127.0.0.1", client.base_url.port or 0)
            await stream.send_all(text)
            stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            await stream.aclose()
        assert (await client.get("/healthz")).status_code == 200


@pytest.mark.parametrize(
    ("fault", "said"),
    [(trio.BrokenResourceError(), ""), (ValueError("odd"), "broke off: ValueError('odd')")],
)
async def test_a_fault_of_the_library(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, fault: Exception, said: str
) -> None:
    """What the HTTP library does not catch ends the connection, not the daemon."""

    async def fail(_self: object) -> None:
        raise fault

    async with served(calm()) as client:
        with monkeypatch.context() as patch:
            patch.setattr("hypercorn.trio.tcp_server.TCPServer._read_data", fail)
            with pytest.raises(httpx.HTTPError):
                await client.get("/")
        assert (await client.get("/healthz")).status_code == 200
    assert said in caplog.text
    assert bool(said) == bool(caplog.text)


async def test_more_clients_than_places(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who comes when all places are taken waits until one is free."""
    monkeypatch.setattr(web, "CONNECTIONS", 1)
    async with served(calm()) as client:
        idle = await trio.open_tcp_stream("127.0.0.1", client.base_url.port or 0)
        await trio.testing.wait_all_tasks_blocked(0.01)
        answers: list[int] = []

        async def ask() -> None:
            answers.append((await client.get("/healthz")).status_code)

        with trio.fail_after(web.KEEPALIVE / 5):  # it is free at once, not after KEEPALIVE
            async with trio.open_nursery() as nursery:
                nursery.start_soon(ask)
                await trio.testing.wait_all_tasks_blocked(0.01)
                assert answers == []
                await idle.aclose()
        assert answers == [200]


async def test_a_broken_page_is_logged(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A fault in a page is a 500 and a line in the log; the daemon and the other pages go on."""
    some = calm()
    some.events[101].hours = {"no hour": 1}  # type: ignore[dict-item]  # what must never be
    async with served(some) as client:
        with caplog.at_level(logging.ERROR):
            assert (await client.get("/")).status_code == 500
            assert (await client.get("/healthz")).status_code == 200
        assert "/ cannot be shown" in caplog.text
