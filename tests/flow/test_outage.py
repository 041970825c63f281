"""One request that keeps failing is no outage (DESIGN §7, "One bad photo holds up nothing"): real sockets and pacers, on a fast clock."""

from __future__ import annotations

import json
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from random import Random
from typing import TYPE_CHECKING

import pytest
import trio

from ninepic_mirror.cli.console import Console
from ninepic_mirror.cli.sweep import Sweep
from ninepic_mirror.cli.wishes import Wishes
from ninepic_mirror.config import Api, Config, Mirror
from ninepic_mirror.errors import PassingError, PhotoError, UnreachableError
from ninepic_mirror.model import Key
from ninepic_mirror.ninepic.client import open_client
from ninepic_mirror.ninepic.pacing import GIVE_UP, Pacer, api_pace
from ninepic_mirror.sandbox import EventSpec, Fault, Sandbox
from ninepic_mirror.sync.leases import Leases

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Collection
    from pathlib import Path

    from ninepic_mirror.ninepic.client import Client

RATE = 40  # virtual seconds a second: a probe has a quarter of a second on the machine's clock
KEY = Key("test-key", "the test")


@dataclass
class Service:
    """Gives links, and fails on every batch that holds a certain photo.

    Args:
        bad: That photo.
        pause: How long it takes to fail on such a batch, in seconds.
        down: Fail on everything.
        broken: Fail on addresses that hold one of these.
        seconds: How long it takes to fail there.
    """

    bad: str = ""
    pause: float = 0.0
    down: bool = False
    broken: tuple[str, ...] = ()
    seconds: float = 0.0
    batches: list[list[str]] = field(default_factory=list)
    probes: int = 0

    def answer(self, head: str, body: bytes) -> tuple[int, object]:
        """Return status and data."""
        if head.startswith("POST"):
            ids = json.loads(body)["identifier"]
            self.batches.append(ids)
            links = [{"url": f"https://s/{one}.jpg", "filename": f"{one}.jpg"} for one in ids]
            return (500 if self.down or self.bad in ids else 200), {"presigned_urls": links}
        self.probes += 1
        found = {"event_id": 456, "timeline_search": True, "events": [], "days": []}
        return (503 if self.down or self.is_broken(head) else 200), found

    def is_broken(self, head: str) -> bool:
        """Say whether it always fails there."""
        return any(part in head.partition("\r\n")[0] for part in self.broken)

    async def handle(self, stream: trio.SocketStream) -> None:
        """Serve one connection, which carries one request."""
        async with stream:
            data = b""
            while b"\r\n\r\n" not in data:
                data += await stream.receive_some()
            head, _, body = data.partition(b"\r\n\r\n")
            length = int((head.lower().partition(b"content-length:")[2] or b"0").split()[0])
            while len(body) < length:
                body += await stream.receive_some()
            if self.is_broken(head.decode()):
                await trio.sleep(self.seconds)
            status, found = self.answer(head.decode(), body)
            if status == 500:
                await trio.sleep(self.pause)
            told = json.dumps({"responseType": "success", "message": "", "data": found}).encode()
            line = (
                f"HTTP/1.1 {status} X\r\nConnection: close\r\nContent-Length: {len(told)}\r\n\r\n"
            )
            await stream.send_all(line.encode() + told)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Client]:
        """Serve on loopback; give a client with the pacer of a one-shot."""
        async with trio.open_nursery() as nursery:
            listeners = await nursery.start(trio.serve_tcp, self.handle, 0)
            url = f"http://127.0.0.1:{listeners[0].socket.getsockname()[1]}"
            async with open_client(
                Api(1, url), KEY, Pacer(api_pace(url), source=Random(1))
            ) as client:
                yield client
            nursery.cancel_scope.cancel()


async def nothing_known(_names: Collection[str]) -> set[str]:
    """Know no photo."""
    await trio.lowlevel.checkpoint()
    return set()


async def test_an_id_that_breaks_each_of_its_batches_stands_alone(
    mock_clock: trio.testing.MockClock,
) -> None:
    """A one-shot goes on to part a batch that always fails, well beyond 120 s: the bad photo alone has no link."""
    mock_clock.rate = RATE
    service, ids = Service("p1", pause=5), [f"p{number}" for number in range(20)]
    async with service.running() as client:
        desk = Leases(client, 456, nothing_known)
        for one in ids:
            desk.ledger.announce(one)
        began = trio.current_time()
        for one in ids:
            with desk.at_work(one):
                if one == service.bad:
                    with pytest.raises(PhotoError, match="no link to the original could be had"):
                        await desk.link(one, lambda: None)
                else:
                    await desk.link(one, lambda: None)
        took = trio.current_time() - began
    assert took > GIVE_UP
    assert ["p1"] in service.batches
    assert 0 < service.probes <= took / 5


async def test_a_service_that_is_down_is_given_up(mock_clock: trio.testing.MockClock) -> None:
    """Where nothing at all is answered, that is said after 120 s, and no batch is parted for it."""
    mock_clock.rate = RATE
    service = Service(down=True)
    async with service.running() as client:
        with pytest.raises(UnreachableError) as caught:
            await client.original_photos(456, ["p1", "p2"])
    assert GIVE_UP <= caught.value.seconds < GIVE_UP + 40
    assert service.probes > 0


@pytest.mark.parametrize(
    ("broken", "seconds"),
    [(("/events",), 0.0), (("/events",), 25.0), (("/events", "/timeline"), 0.0)],
)
async def test_another_call_that_fails_makes_no_outage_of_a_bad_photo(
    mock_clock: trio.testing.MockClock, broken: tuple[str, ...], seconds: float
) -> None:
    """What tells an outage is what the service answered before, not a call that it never answers, or not any more."""
    mock_clock.rate = RATE
    service = Service("p1")
    async with service.running() as client:
        await client.details(456)
        await client.timeline_days(456)
        service.broken, service.seconds = broken, seconds
        with pytest.raises(PassingError, match="500"):
            await client.original_photos(456, ["p1"])
        assert (await client.original_photos(456, ["p2"])).urls


async def test_a_daemon_asks_for_what_was_answered(mock_clock: trio.testing.MockClock) -> None:
    """Its look for a sign of life ends, too, where the list of events fails, and only where something is answered."""
    mock_clock.rate = RATE
    service = Service(broken=("/events",))
    async with service.running() as client:
        with pytest.raises(UnreachableError):
            await client.probe()
        await client.details(456)
        service.broken = ("/events", "/details")
        await client.timeline_days(456)
        await client.probe()
        service.down = True
        with pytest.raises(UnreachableError):
            await client.probe()


async def test_an_event_that_always_fails_keeps_no_other_from_its_pass(
    mock_clock: trio.testing.MockClock, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One event's endpoint that is broken is that event's fault, with its code (5); the others are mirrored (DESIGN §3)."""
    mock_clock.rate = RATE
    specs = [
        EventSpec(number, photos=3, look="cheap", thumb_kb=2, large_kb=6) for number in (455, 456)
    ]
    sandbox = Sandbox(specs, org_id=903, keys=["test-key"], tls=False, seed=1)
    sandbox.faults.add(Fault(kind="500", origin="api", event_id=455, path="timeline/days"))
    async with sandbox.running():
        mirror = Mirror(tmp_path / "mirror", min_free=0, durability="none")
        config = Config(Api(903, sandbox.api_url, allow_private=True), mirror)
        wishes = Wishes((455, 456), False, False, None, False, {})
        sweep = Sweep(Console(), config, wishes, json=True)
        code = await sweep.run(KEY, trio.Event())
    assert code == 5
    entries = json.loads(json.dumps(sweep.entries))
    assert [(one["event_id"], one["whole"]) for one in entries] == [(455, False), (456, True)]
    assert "error: event 455: 500 from" in capsys.readouterr().err
