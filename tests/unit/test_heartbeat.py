"""The sign of life: a real server on loopback; no word of the secret address in any text."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import pytest
import trio

from ninepic_mirror.errors import PassingError
from ninepic_mirror.ninepic.heartbeat import send_heartbeat
from tests.rawserver import Reply, Server, answer

if TYPE_CHECKING:
    from collections.abc import Callable

SECRET = "5up3r-s3cr3t"


async def pulse(server: Server, *, patience: float = 5.0) -> str:
    """Send one to a server; return what went wrong, empty for nothing."""
    async with server.running():
        url = server.url.replace("a.jpg", f"{SECRET}?token={SECRET}")
        try:
            await send_heartbeat(url, patience=patience)
        except PassingError as error:
            return str(error)
    return ""


async def test_a_monitor_is_asked_and_that_is_all(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One GET with the address as it was written; the environment's proxy is not used, nothing is logged."""
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    caplog.set_level(logging.DEBUG)
    server = Server([Reply([answer(b"OK")])])
    assert await pulse(server) == ""
    assert server.requests[0].startswith(f"GET /{SECRET}?token={SECRET} HTTP/1.1\r\n")
    assert SECRET not in caplog.text


@pytest.mark.parametrize("status", ["301 Moved", "404 Not Found", "500 Oh"])
async def test_any_other_answer_is_a_failure(status: str) -> None:
    """A redirect is not followed: the address would leave with it."""
    server = Server([Reply([answer(b"", "Location: /elsewhere", status=status)])])
    text = await pulse(server)
    assert text.startswith(f"{status[:3]} from http://127.0.0.1:")
    assert SECRET not in text
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("reply", "word"),
    [
        (Reply([], "reset"), "broke"),
        (Reply([b"nonsense\r\n\r\n"], "close"), "broke"),
        (Reply([], "hold"), "did not answer within 0.05 s"),
    ],
)
async def test_broken_answers_are_failures(reply: Reply, word: str) -> None:
    """With the origin in the text, and nothing more of the address."""
    text = await pulse(Server([reply]), patience=0.05 if reply.then == "hold" else 5)
    assert word in text
    assert "http://127.0.0.1:" in text
    assert SECRET not in text


async def free_port() -> int:
    """Return a port at which nothing listens."""
    with trio.socket.socket() as one:
        await one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
        return port


@pytest.mark.parametrize(
    ("address", "word"),
    [
        (lambda port: f"http://127.0.0.1:{port}/{SECRET}", "no connection to http://127.0.0.1:"),
        (lambda _: f"http://a..b/{SECRET}", "http://a..b"),
        (lambda _: f"http://host:port/{SECRET}", "hooks.ping_url cannot be asked"),
    ],
)
async def test_addresses_that_lead_nowhere(address: Callable[[int], str], word: str) -> None:
    """Nobody there, no such name, no address at all: one kind of error, without the secret."""
    with pytest.raises(PassingError) as caught:
        await send_heartbeat(address(await free_port()))
    assert word in str(caught.value)
    assert SECRET not in str(caught.value)


async def test_the_configured_proxy_is_used() -> None:
    """Where only a proxy leads outside, the monitor is reached by it."""
    server = Server([Reply([answer(b"")])])
    async with server.running():
        proxy = server.url.removesuffix("/a.jpg")
        await send_heartbeat("http://monitor.invalid/beat", proxy=proxy)
    assert server.requests[0].startswith("GET http://monitor.invalid/beat ")
