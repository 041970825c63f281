"""The whole daemon against the sandbox, on a virtual clock: hours of faults in moments.

What it does on a clock that nobody moves: tests/system/test_daemon.py.
"""

from __future__ import annotations

import time
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import pytest
import trio
import trio.testing

from ninepic_mirror.archive.root import MARKER, Root
from ninepic_mirror.config import Bandwidth, Config, Events, Hooks
from ninepic_mirror.config import Daemon as Settings
from ninepic_mirror.errors import ConfigError, KeyRefusedError, Problem, RootBusyError
from ninepic_mirror.model import Key
from ninepic_mirror.sandbox import Fault
from ninepic_mirror.service.daemon import REFUSALS, Daemon, Tools
from ninepic_mirror.service.journal import LogProgress
from ninepic_mirror.service.notify import Notifier
from ninepic_mirror.service.pulse import Pulse
from ninepic_mirror.sync.pipeline import GRACE
from tests.virtual import Told, explain, move, wall_clock

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.conftest import Bench, OpenBench

EVENT = 456
OFTEN = Settings(min_interval=60, max_interval=60)
FAULTY = ConfigError((Problem("c.toml", "mirror.root", "is missing", "write it"),))


class Manager(Notifier):
    """Keeps what systemd would be told."""

    def __init__(self) -> None:
        super().__init__()
        self.told: list[str] = []

    def ready(self, status: str = "") -> None:  # noqa: ARG002  the manager's interface
        """Keep it."""
        self.told.append("ready")

    def reloading(self) -> None:
        """Keep it."""
        self.told.append("reloading")

    def stopping(self, status: str = "") -> None:  # noqa: ARG002  the manager's interface
        """Keep it."""
        self.told.append("stopping")


@dataclass
class Scene:
    """A daemon that runs.

    Attributes:
        config: What it reads when it is told to.
        key: The key that it finds, or why it finds none.
        ended: What ended it.
    """

    config: Config | ConfigError
    key: Key | ConfigError
    manager: Manager = field(default_factory=Manager)
    hooks: Told = field(default_factory=Told)
    stopping: trio.Event = field(default_factory=trio.Event)
    ended: Exception | None = None

    def open(self, bench: Bench) -> None:
        """Make the daemon."""
        tools = Tools(
            self.read,
            self.find,
            explain,
            LogProgress,
            self.manager,
            self.hooks,
            limits=bench.limits,
        )
        self.daemon = Daemon(tools, self.read(), self.find(self.read()))

    def read(self) -> Config:
        """Read the settings."""
        if isinstance(self.config, ConfigError):
            raise self.config
        return self.config

    def find(self, _config: Config) -> Key:
        """Find the key."""
        if isinstance(self.key, ConfigError):
            raise self.key
        return self.key

    async def run(self) -> None:
        """Run it."""
        try:
            await self.daemon.run(self.stopping)
        except Exception as error:  # noqa: BLE001  the test looks at it
            self.ended = error

    @property
    def troubles(self) -> list[str]:
        """What keeps all events from being mirrored."""
        return list(self.daemon.board.troubles)

    @property
    def photos(self) -> int:
        """The photos that the event is known to have; 0 while it is not whole."""
        one = self.daemon.board.events.get(EVENT)
        return one.photos if one is not None and one.whole and one.trouble is None else 0


@asynccontextmanager
async def running(
    bench: Bench, clock: trio.testing.MockClock, key: Key | None = None, **mirror: object
) -> AsyncIterator[Scene]:
    """Run a daemon over the bench for the length of the block; `mirror` are fields of `[mirror]`."""
    config = replace(bench.config, daemon=OFTEN, events=Events(ids=(EVENT,)))
    config = replace(config, mirror=replace(config.mirror, durability="none", **mirror))  # type: ignore[arg-type]  # handed on
    scene = Scene(config, key or Key("test-key", "the test"))
    scene.open(bench)
    with wall_clock(clock):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(move, clock)
            async with trio.open_nursery() as daemon:
                daemon.start_soon(scene.run)
                yield scene
                scene.stopping.set()
            nursery.cancel_scope.cancel()


async def test_minutes_without_the_service(
    open_bench: OpenBench, mock_clock: trio.testing.MockClock
) -> None:
    """It is asked a few times a minute, told once, and a minute after its return all is fresh (issue: it must hold)."""
    async with open_bench(photos=3, tls=False) as bench, running(bench, mock_clock) as scene:
        await trio.sleep(30)
        assert scene.photos == 3
        assert scene.manager.told == ["ready"]
        bench.sandbox.faults.add(Fault(kind="503", origin="api"))
        await trio.sleep(90)
        assert scene.troubles == ["service"]
        assert scene.daemon.board.events[EVENT].passes["failed"] >= 1  # others may have better luck
        before = bench.sandbox.count("api")
        await trio.sleep(300)
        assert 15 < bench.sandbox.count("api") - before < 150
        bench.sandbox.event(EVENT).add(1)
        bench.sandbox.faults.clear()
        await trio.sleep(76)  # the longest pause between two attempts, and `min_interval`
        assert (scene.photos, scene.troubles) == (4, [])
        assert scene.daemon.board.traffic["api"].statuses[503] > 15
        assert scene.daemon.board.free
    assert scene.ended is None
    assert scene.manager.told == ["ready", "stopping"]


@pytest.mark.parametrize("origin", ["api", "photos"])
async def test_an_origin_that_asks_for_a_long_wait(
    open_bench: OpenBench, mock_clock: trio.testing.MockClock, origin: str
) -> None:
    """It is waited for within the pass, however often it asks (RELIABILITY N19), and the status says so."""
    async with open_bench(photos=30, tls=False) as bench:
        path = "page=" if origin == "api" else None
        bench.sandbox.faults.add(
            Fault(kind="429", origin=origin, path=path, after=1, count=2, retry_after=45)
        )
        async with running(bench, mock_clock) as scene:
            await trio.sleep(20)
            assert scene.photos == 0
            assert "asks to be left alone for" in scene.daemon.board.headline(time.time())
            await trio.sleep(200)
            assert (scene.photos, scene.troubles) == (30, [])
            assert "failed" not in scene.daemon.board.events[EVENT].passes
            assert bench.sandbox.count("photos") <= 60 + 2
    assert scene.ended is None


@pytest.mark.parametrize("origin", ["api", "photos"])
async def test_a_wait_is_ended_by_a_stop(
    open_bench: OpenBench, mock_clock: trio.testing.MockClock, origin: str
) -> None:
    """The watchdog is fed for as long as an origin is left alone; told to stop meanwhile, it stops within the grace."""
    async with open_bench(photos=30, tls=False) as bench:
        path = "page=" if origin == "api" else None
        bench.sandbox.faults.add(
            Fault(kind="429", origin=origin, path=path, after=4, retry_after=800)
        )
        async with running(bench, mock_clock) as scene:
            pulse = Pulse()
            for _ in range(300):
                await trio.sleep(10)
                assert pulse.stuck(scene.daemon.sample()) == []
            assert scene.daemon.session is not None
            kept = len(bench.photos())
            before = trio.current_time()
        assert trio.current_time() - before < GRACE + 1
        assert scene.ended is None
        assert kept == 4 or (origin == "api" and kept < 60)


async def test_a_service_that_is_down_at_the_start(
    open_bench: OpenBench, mock_clock: trio.testing.MockClock
) -> None:
    """The start is over when it is clear that nothing answers; told to stop meanwhile, it stops at once."""
    async with open_bench(photos=3, tls=False) as bench:
        bench.sandbox.faults.add(Fault(kind="503", origin="api"))
        async with running(bench, mock_clock) as scene:
            await trio.sleep(30)
            assert scene.troubles == ["service"]
            assert scene.manager.told == ["ready"]
            before = trio.current_time()
        assert trio.current_time() - before < 1
        assert scene.ended is None


@pytest.mark.parametrize("kind", ["404", "redirect"])
async def test_a_list_of_events_that_is_not_to_be_had_at_the_start(
    open_bench: OpenBench, mock_clock: trio.testing.MockClock, kind: str
) -> None:
    """It ends nothing: events that are named are mirrored, and what is answered to them ends the trouble."""
    async with open_bench(photos=3, tls=False) as bench:
        bench.sandbox.faults.add(
            Fault(kind=kind, origin="api", path="/events", to="https://login.test/")
        )
        async with running(bench, mock_clock) as scene:
            await trio.sleep(60)
            assert scene.ended is None
            assert (scene.photos, scene.troubles) == (3, [])
            assert scene.manager.told == ["ready"]
            scene.key = Key("new-key", "the test")  # another session
            bench.sandbox.keys.add("new-key")
            bench.sandbox.event(EVENT).add(1)
            await scene.daemon.reload()
            await trio.sleep(120)
            assert (scene.photos, scene.troubles) == (4, [])
    assert scene.ended is None


async def test_a_service_that_sends_elsewhere(
    open_bench: OpenBench, mock_clock: trio.testing.MockClock
) -> None:
    """A page for the time of repairs, or a login: a trouble, told once, until something is answered to a question."""
    async with open_bench(photos=3, tls=False) as bench:
        bench.sandbox.faults.add(Fault(kind="redirect", origin="api", to="https://login.test/"))
        async with running(bench, mock_clock) as scene:
            for _ in range(10):
                await trio.sleep(100)
                assert scene.troubles == ["service"]
            assert "redirect" in scene.daemon.board.troubles["service"]
            bench.sandbox.faults.clear()
            await trio.sleep(62)
            assert (scene.photos, scene.troubles) == (3, [])
    assert scene.ended is None


async def test_a_key_that_is_taken_again_is_no_trouble_without_the_list_of_events(
    open_bench: OpenBench, mock_clock: trio.testing.MockClock
) -> None:
    """What a pass was answered shows that it is taken; a credential that is refused anew has its quarter of an hour."""
    async with open_bench(photos=3, tls=False) as bench:
        bench.sandbox.revoke("test-key")
        key = Key("test-key", "systemd", is_credential=True)
        async with running(bench, mock_clock, key) as scene:
            await trio.sleep(100)
            assert scene.troubles == ["key"]
            bench.sandbox.faults.add(Fault(kind="404", origin="api", path="/events"))
            bench.sandbox.keys.add("test-key")
            await trio.sleep(400)
            assert (scene.photos, scene.troubles) == (3, [])
            await trio.sleep(REFUSALS)
            bench.sandbox.revoke("test-key")
            bench.sandbox.faults.clear()
            await trio.sleep(REFUSALS - 120)
            assert scene.troubles == ["key"]
            assert scene.ended is None


async def test_a_refused_key_is_read_again(
    open_bench: OpenBench, mock_clock: trio.testing.MockClock
) -> None:
    """After growing pauses, for as long as it takes; no key at all is a trouble of the settings."""
    async with open_bench(photos=3, tls=False) as bench, running(bench, mock_clock) as scene:
        await trio.sleep(30)
        bench.sandbox.revoke("test-key")
        await trio.sleep(90)
        assert scene.troubles == ["key"]
        scene.key = FAULTY
        before = bench.sandbox.count("api")
        await trio.sleep(240)
        assert bench.sandbox.count("api") - before <= 4, "up to five minutes between two"
        assert sorted(scene.troubles) == ["config", "key"]
        bench.sandbox.keys.add("new-key")
        bench.sandbox.event(EVENT).add(1)
        scene.key = Key("new-key", "the test")
        await trio.sleep(301 + 60)
        assert (scene.photos, scene.troubles) == (4, [])
    assert scene.ended is None


async def test_a_refused_credential_ends_it(
    open_bench: OpenBench, mock_clock: trio.testing.MockClock
) -> None:
    """After a quarter of an hour, because only systemd can bring another; not before (issue: life cycle)."""
    async with open_bench(photos=3, tls=False) as bench:
        bench.sandbox.revoke("test-key")
        key = Key("test-key", "systemd", is_credential=True)
        async with running(bench, mock_clock, key) as scene:
            await trio.sleep(REFUSALS - 1)
            assert scene.ended is None
            await trio.sleep(301)
            assert isinstance(scene.ended, KeyRefusedError)


async def test_a_disk_that_is_too_full(
    open_bench: OpenBench, mock_clock: trio.testing.MockClock
) -> None:
    """Nothing is begun; a look every few minutes, or other settings, go on as soon as there is room."""
    async with (
        open_bench(photos=3, tls=False) as bench,
        running(bench, mock_clock, min_free=1 << 60) as scene,
    ):
        await trio.sleep(10)
        assert scene.troubles == ["storage"]
        assert scene.manager.told == ["ready"]
        assert bench.sandbox.count("api") == 0
        config = scene.read()
        scene.config = replace(config, mirror=replace(config.mirror, min_free=0))
        await scene.daemon.reload()
        await trio.sleep(10)
        assert (scene.photos, scene.troubles) == (3, [])


async def test_a_root_that_is_not_there(
    open_bench: OpenBench, mock_clock: trio.testing.MockClock
) -> None:
    """An empty folder may be a disk that is not mounted yet: it is waited for, and nothing is written there."""
    async with open_bench(photos=3, tls=False) as bench:
        bench.root.mkdir()
        async with running(bench, mock_clock) as scene:
            await trio.sleep(600)
            assert scene.troubles == ["storage"]
            assert list(bench.root.iterdir()) == []
            (bench.root / MARKER).touch()
            await trio.sleep(301)
            assert (scene.photos, scene.troubles) == (3, [])


async def test_a_root_that_another_daemon_keeps(
    open_bench: OpenBench, mock_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second ends, and says whose it is."""
    monkeypatch.setattr(time, "sleep", lambda _: None)  # in a thread, of the real clock
    async with open_bench(photos=3, tls=False) as bench:
        root = Root(bench.root)
        root.prepare(make=True)
        root.hold()
        async with running(bench, mock_clock) as scene:
            await trio.sleep(2)
        root.release()
        assert isinstance(scene.ended, RootBusyError)


async def test_settings_are_read_again(
    open_bench: OpenBench, mock_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    """Faulty ones are refused; what a session can take over holds at once, for the rest a new one is opened."""
    async with open_bench(photos=3, tls=False) as bench, running(bench, mock_clock) as scene:
        await trio.sleep(30)
        config, session = scene.read(), scene.daemon.session
        scene.config = FAULTY
        await scene.daemon.reload()
        assert "the new settings are refused, the old ones stay: c.toml" in caplog.text
        assert scene.daemon.session is session

        scene.config = replace(
            config,
            mirror=replace(config.mirror, bandwidth=Bandwidth.parse("5MB/s")),
            daemon=replace(OFTEN, stale_after=7, listen=("127.0.0.1", 1)),
            hooks=Hooks(stale=("true",)),
        )
        await scene.daemon.reload()
        assert session is not None
        assert scene.daemon.session is session
        assert session.allowance.is_limited
        assert scene.daemon.board.stale_after == 7
        assert scene.hooks.settings.stale == ("true",)
        assert "listen: the new place holds from the next start on" in caplog.text

        for one in (replace(config, mirror=replace(config.mirror, connections=9)), config):
            scene.config, before = one, scene.daemon.session
            await scene.daemon.reload()
            await trio.sleep(30)
            assert scene.daemon.session is not before
            assert scene.daemon.session is not None
        bench.sandbox.keys.add("new-key")
        scene.key, before = Key("new-key", "the test"), scene.daemon.session
        await scene.daemon.reload()
        await trio.sleep(30)
        assert scene.daemon.session is not before
        assert scene.daemon.session is not None
        assert scene.photos == 3
        assert scene.manager.told == ["ready", *["reloading", "ready"] * 5]
    assert scene.ended is None


async def test_an_event_that_is_not_whole_for_long(
    open_bench: OpenBench, mock_clock: trio.testing.MockClock
) -> None:
    """It is stale then, which is told once, and so is its recovery."""
    async with open_bench(photos=3, tls=False) as bench:
        bench.sandbox.faults.add(Fault(kind="404", origin="api", event_id=EVENT))
        async with running(bench, mock_clock) as scene:
            config = scene.read()
            scene.config = replace(config, daemon=replace(OFTEN, stale_after=300))
            await scene.daemon.reload()
            await trio.sleep(290)
            assert "stale" not in scene.hooks.names()
            await trio.sleep(20)
            assert scene.hooks.names().count("stale") == 1
            bench.sandbox.faults.clear()
            await trio.sleep(70)
            assert scene.hooks.names().count("recovered") == 1
            assert scene.photos == 3
