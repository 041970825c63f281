"""The sandbox's life: start, stop, ports, certificates, and steering it from outside."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING, Final

import httpx
import pytest
import trio

from ninepic_mirror.sandbox import EventSpec, Fault, Sandbox, serve

if TYPE_CHECKING:
    from pathlib import Path

    from ninepic_mirror.sandbox import Event

CHEAP: Final = EventSpec(photos=6, hours=2, look="cheap", thumb_kb=1, large_kb=1)
KEY: Final = {"X-API-Key": "test-key"}


class UnexpectedError(Exception):
    """What a handler or a test may raise."""


async def test_stops_with_clients_that_do_not_read() -> None:
    """Leaving the block ends at once, whatever clients are doing."""
    big = EventSpec(photos=2, look="cheap", large_kb=8000)
    sandbox = Sandbox([big])
    with trio.fail_after(5):
        async with sandbox.running():
            sandbox.faults.add(Fault(kind="stall", count=1))
            path = f"/imgs/456/large/{sandbox.event(456).photos[0].image_id}.jpg"
            streams = []
            for _ in range(3):  # one stalled, one not reading, one idle
                stream = await trio.open_tcp_stream(
                    "127.0.0.1", int(sandbox.photos_url.rpartition(":")[2])
                )
                streams.append(stream)
            for stream in streams[:2]:
                await stream.send_all(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
                await stream.receive_some(100)
        for stream in streams:
            await stream.aclose()


async def test_the_blocks_own_error_leaves_as_it_came() -> None:
    """An exception in the block is not wrapped in a group."""
    with pytest.raises(UnexpectedError):
        async with Sandbox([CHEAP]).running():
            raise UnexpectedError


async def test_cancelled_from_outside() -> None:
    """Cancelling the block stops the sandbox."""
    with trio.move_on_after(5) as limit:
        async with Sandbox([CHEAP]).running():
            limit.cancel()
            await trio.sleep_forever()
    assert limit.cancelled_caught


async def test_a_port_that_is_taken() -> None:
    """A port can be chosen, and only once."""
    async with Sandbox([CHEAP]).running() as first:
        port = int(first.api_url.rpartition(":")[2])
        with pytest.raises(OSError, match=r"[Aa]ddress already in use"):
            async with Sandbox([CHEAP]).running(api_port=port):
                pass


async def test_a_broken_sandbox_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """A handler that fails is a 500 to the client and an error to whoever runs the sandbox."""

    def fail(_event: Event, _serial: int, _url: str) -> dict[str, object]:
        raise UnexpectedError

    monkeypatch.setattr("ninepic_mirror.sandbox.events.Event.item", fail)
    with pytest.RaisesGroup(UnexpectedError):
        async with (
            Sandbox([CHEAP]).running() as sandbox,
            httpx.AsyncClient(trust_env=False) as client,
        ):
            url = f"{sandbox.api_url}/api/v1/ext/903/event/456/images"
            assert (await client.get(url, headers=KEY)).status_code == 500


async def test_certificate_lives_as_long_as_the_sandbox() -> None:
    """An https sandbox has an authority of its own, on disk while it runs, and nobody else trusts it."""
    sandbox = Sandbox([CHEAP], tls=True)
    async with sandbox.running():
        ca_file: Path | None = sandbox.ca_file
        assert ca_file is not None
        assert (await trio.Path(ca_file).read_text()).startswith("-----BEGIN CERTIFICATE")
        assert sandbox.api_url.startswith("https://127.0.0.1:")
        context = ssl.create_default_context()
        async with httpx.AsyncClient(verify=context, trust_env=False) as client:
            with pytest.raises(httpx.ConnectError):
                await client.get(sandbox.api_url)
    assert not await trio.Path(ca_file).exists()
    assert sandbox.ca_file is None


async def test_a_client_that_speaks_no_tls() -> None:
    """A failed handshake costs its own connection only."""
    sandbox = Sandbox([CHEAP], tls=True)
    async with sandbox.running():
        async with await trio.open_tcp_stream(
            "127.0.0.1", int(sandbox.api_url.rpartition(":")[2])
        ) as stream:
            await stream.send_all(b"GET / HTTP/1.1\r\n\r\n")
            with trio.fail_after(5):
                while await stream.receive_some(100):
                    pass
        context = ssl.create_default_context(cafile=sandbox.ca_file)
        async with httpx.AsyncClient(verify=context, trust_env=False) as client:
            assert (await client.get(sandbox.api_url)).status_code == 404


@pytest.mark.parametrize("tls", [False, True])
async def test_serve_announces_and_runs(tls: bool) -> None:
    """`serve` says where it is and runs until it is cancelled."""
    lines: list[str] = []
    sandbox = Sandbox([CHEAP], tls=tls)
    async with trio.open_nursery() as nursery:

        async def run() -> None:
            await serve(sandbox, api_port=0, photos_port=0, announce=lines.append)

        nursery.start_soon(run)
        with trio.fail_after(5):
            while not any(line.startswith("event") for line in lines):
                await trio.lowlevel.checkpoint()
        nursery.cancel_scope.cancel()
    assert [line.split()[0] for line in lines] == [
        "API",
        "photos",
        "org",
        "key",
        *(["CA"] * tls),
        "event",
    ]
    assert lines[-1] == "event   456  Mumbai Marathon 2026  6 photos"


class Control:
    """Steers a sandbox by HTTP."""

    def __init__(self, sandbox: Sandbox, client: httpx.AsyncClient) -> None:
        self.sandbox = sandbox
        self.client = client

    async def call(
        self, method: str, path: str, body: object = None, key: str = "test-key"
    ) -> tuple[int, object]:
        """Call the control endpoint; return status and answer."""
        url = f"{self.sandbox.api_url}/sandbox/{path}"
        answer = await self.client.request(method, url, json=body, headers={"X-API-Key": key})
        return answer.status_code, answer.json()


async def test_photos_are_steered() -> None:
    """Photos come, move, change and go by HTTP as by Python, and none of it counts as a request."""
    async with Sandbox([CHEAP]).running() as sandbox, httpx.AsyncClient(trust_env=False) as client:
        control, event = Control(sandbox, client), sandbox.event(456)
        status, answer = await control.call(
            "POST", "456/add", {"count": 2, "hour": CHEAP.first_hour}
        )
        assert status == 200
        assert isinstance(answer, dict)
        one, other = answer["image_ids"]
        body = event.body(one, "large")
        assert len(event.photos) == 8
        await control.call("POST", "456/retime", {"image_id": one, "hour": None})
        assert event.photos[-1].image_id == one
        await control.call("POST", "456/replace", {"image_id": one})
        assert event.body(one, "large") != body
        await control.call("POST", "456/remove", {"image_id": other, "keep_file": True})
        assert (event.serial(other), event.serial(other, served=True)) == (None, 7)
        await control.call("POST", "456/add_raw", {"image_id": "../../x", "item": {"width": -1}})
        assert event.photos[-1].image_id == "../../x"
        await control.call("POST", "456/set", {"slug": "other", "timeline_search": False})
        assert (event.fields["slug"], event.flags["timeline_search"]) == ("other", False)
        assert sandbox.requests == []


async def test_faults_and_keys_are_steered() -> None:
    """Faults are set and cleared by HTTP, requests are counted, keys revoked, events removed."""
    async with Sandbox([CHEAP]).running() as sandbox, httpx.AsyncClient(trust_env=False) as client:
        control = Control(sandbox, client)
        ping = f"{sandbox.api_url}/api/v1/ext/903/event/456/ping"
        faults = [{"kind": "500", "count": 1}, {"kind": "429", "retry_after": 3}]
        assert await control.call("POST", "faults", faults) == (200, {"faults": 2})
        seen = [(await client.get(ping, headers=KEY)).status_code for _ in range(2)]
        assert seen == [500, 429]
        assert await control.call("DELETE", "faults") == (200, {"faults": 0})
        assert await control.call("GET", "requests") == (200, {"api": 2, "photos": 0})
        assert await control.call("DELETE", "requests") == (200, {"api": 0, "photos": 0})
        await control.call("POST", "revoke", {"key": "test-key"})
        assert (await client.get(ping, headers=KEY)).status_code == 403
        assert await control.call("DELETE", "456") == (200, {"events": []})


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("POST", "faults", {"kind": "bad luck"}, 422),
        ("POST", "faults", [{"kind": "500"}, {"kind": "500", "colour": 1}], 422),
        ("POST", "faults", ["500"], 422),
        ("POST", "456/add", {"count": "many"}, 422),
        ("POST", "456/remove", {"image_id": "unknown"}, 422),
        ("POST", "456/set", {"colour": "red"}, 422),
        ("POST", "456/dance", {}, 404),
        ("POST", "999/add", {}, 404),
    ],
)
async def test_orders_that_make_no_sense(method: str, path: str, body: object, status: int) -> None:
    """A wrong order is refused and changes nothing; without the key every order is."""
    async with Sandbox([CHEAP]).running() as sandbox, httpx.AsyncClient(trust_env=False) as client:
        control = Control(sandbox, client)
        assert (await control.call(method, path, body))[0] == status
        assert (await control.call(method, path, body, key="wrong"))[0] == 403
        assert (len(sandbox.faults), len(sandbox.event(456).photos)) == (0, 6)
