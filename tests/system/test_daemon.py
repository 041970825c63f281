"""The daemon against the sandbox: what it fetches, what it bears, what it tells."""

from __future__ import annotations

import logging
import os
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import pytest
import trio

from ninepic_mirror.archive import lock
from ninepic_mirror.cli.daemon import explain
from ninepic_mirror.config import Bandwidth, Config, Events, Hooks
from ninepic_mirror.config import Daemon as Settings
from ninepic_mirror.errors import ConfigError, KeyRefusedError, Problem, RootBusyError
from ninepic_mirror.model import Key
from ninepic_mirror.ninepic.limits import Limits
from ninepic_mirror.sandbox import EventSpec, Fault
from ninepic_mirror.service import daemon, keeper, teller
from ninepic_mirror.service.daemon import Daemon, Tools
from ninepic_mirror.service.hooks import Happening, HookRunner
from ninepic_mirror.service.journal import LogProgress
from ninepic_mirror.service.notify import Notifier
from ninepic_mirror.sync import mirror

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from ninepic_mirror.service.board import Watched
    from tests.conftest import Bench, OpenBench

EVENT = 456
KEY = Key("test-key", "the test")
QUICK = Settings(min_interval=1, max_interval=1)


class Told(HookRunner):
    """Keeps what hooks would be run for."""

    def __init__(self) -> None:
        super().__init__(Hooks())
        self.happened: list[Happening] = []

    def tell(self, happening: Happening) -> None:
        """Keep it."""
        self.happened.append(happening)

    def names(self) -> list[str]:
        """Return the hooks' names in order."""
        return [one.hook for one in self.happened]


@dataclass
class Run:
    """A daemon that runs.

    Attributes:
        config: What it reads when it is told to reload; None: a file with faults.
        key: The key that it finds.
    """

    bench: Bench
    config: Config | None
    key: Key = KEY
    hooks: Told = field(default_factory=Told)
    stopping: trio.Event = field(default_factory=trio.Event)
    ended: Exception | None = None
    bug: int = 0

    def __post_init__(self) -> None:
        tools = Tools(
            self._read, lambda _: self.key, explain, self._progress, Notifier(), self.hooks,
            limits=self.bench.limits,
        )  # fmt: skip
        self.daemon = Daemon(tools, self._read(), self.key)

    def _read(self) -> Config:
        if self.config is None:
            raise ConfigError((Problem("c.toml", "mirror.root", "is missing", "write it"),))
        return self.config

    def _progress(self, event_id: int, name: str | None) -> LogProgress:
        if event_id == self.bug:
            raise RuntimeError("a bug")
        return LogProgress(event_id, name)

    @property
    def shown(self) -> Watched:
        """The event on the board."""
        return self.daemon.board.events[EVENT]

    async def until(self, condition: Callable[[], object], seconds: float = 20) -> None:
        """Wait for a condition."""
        with trio.fail_after(seconds):
            while not condition():  # noqa: ASYNC110  the board is a value, it sends no event
                await trio.sleep(0.02)

    async def is_whole(self) -> None:
        """Wait until the event was mirrored whole by this daemon."""
        await self.until(
            lambda: EVENT in self.daemon.board.events and self.shown.passes.get("whole")
        )

    async def passes(self, more: int = 1) -> None:
        """Wait until so many more passes over the event have ended."""
        before = sum(self.shown.passes.values())
        await self.until(lambda: sum(self.shown.passes.values()) >= before + more)


def config_of(
    bench: Bench, *, settings: Settings = QUICK, ids: tuple[int, ...] = (EVENT,)
) -> Config:
    """Return the bench's settings for a daemon."""
    return replace(bench.config, daemon=settings, events=Events(ids=ids))


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Short pauses after a fault that all events share."""
    monkeypatch.setattr(daemon, "PAUSES", (0.05, 0.2))
    monkeypatch.setattr(mirror, "LOCK_WAIT", 0.1)


@asynccontextmanager
async def running(
    bench: Bench, config: Config | None = None, key: Key = KEY, bug: int = 0
) -> AsyncIterator[Run]:
    """Run a daemon for the length of the block; over the event `bug` every pass meets a bug."""
    run = Run(bench, config or config_of(bench), key, bug=bug)

    async def main() -> None:
        try:
            await run.daemon.run(run.stopping)
        except Exception as error:  # noqa: BLE001  the test looks at it
            run.ended = error
            run.stopping.set()

    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(main)
            yield run
            run.stopping.set()


async def test_an_event_is_mirrored_and_kept_fresh(open_bench: OpenBench) -> None:
    """What arrives is on disk soon after; a look at an unchanged event costs two requests."""
    async with open_bench(photos=20) as bench, running(bench) as run:
        await run.is_whole()
        await run.passes(1)
        before = bench.sandbox.count("api")
        await run.passes(2)
        assert bench.sandbox.count("api") - before <= 2 * 3
        bench.sandbox.event(EVENT).add(3)
        await run.until(lambda: run.shown.photos == 23 and run.shown.began_at is None)
        assert bench.check_content() == 46
        assert run.hooks.names().count("new_photos") == 2
        assert sum(run.shown.hours.values()) + run.shown.undated == 23
    assert run.ended is None
    assert run.daemon.board.phase == "stopping"


async def test_originals_are_kept_fresh(
    open_bench: OpenBench, caplog: pytest.LogCaptureFixture
) -> None:
    """Links are leased for what is new only, and expired ones once more; no hook and no log line holds one."""
    caplog.set_level(logging.DEBUG)
    async with open_bench(photos=8, original_mb=(0.05, 0.06)) as bench:
        bench.settings = replace(bench.settings, variants=("thumbnail", "original"))
        bench.sandbox.faults.add(Fault(kind="expire", variant="original", count=3))
        async with running(bench) as run:
            await run.is_whole()
            await run.passes(2)
            before = [seen for seen in bench.sandbox.requests if "original-photos" in seen.path]
            bench.sandbox.event(EVENT).add(2)
            await run.until(lambda: run.shown.photos == 10 and run.shown.began_at is None)
            assert bench.check_content() == 20
            leased = [seen for seen in bench.sandbox.requests if "original-photos" in seen.path]
            assert len(leased) == len(before) + 1
            links = [seen.query for seen in bench.sandbox.requests if "X-Amz" in seen.query]
            assert len(links) >= 13
            told = caplog.text + repr(run.hooks.happened)
            assert not [link for link in ("X-Amz", *links) if link in told]


async def test_an_outage_ends_nothing(
    open_bench: OpenBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While the service is down it is asked patiently, and that is told once; when it is back all is fresh again."""
    monkeypatch.setattr(teller, "SILENCE", 0.2)
    async with open_bench(photos=6) as bench, running(bench) as run:
        await run.is_whole()
        bench.sandbox.faults.add(Fault(kind="503", origin="api"))
        await run.until(lambda: "service" in run.daemon.board.troubles)
        before = bench.sandbox.count("api")
        await trio.sleep(0.5)
        assert bench.sandbox.count("api") - before < 40
        bench.sandbox.event(EVENT).add(1)
        bench.sandbox.faults.clear()
        await run.until(lambda: run.shown.photos == 7 and run.shown.whole)
        await run.until(lambda: not run.daemon.board.troubles)
    assert run.ended is None


async def test_a_key_that_is_replaced_is_taken(quick: None, open_bench: OpenBench) -> None:
    """A refused key stops everything and is told once; the next one that is found there goes on."""
    async with open_bench(photos=6) as bench, running(bench) as run:
        await run.is_whole()
        bench.sandbox.revoke("test-key")
        await run.until(lambda: "key" in run.daemon.board.troubles)
        bench.sandbox.event(EVENT).add(1)
        bench.sandbox.keys.add("new-key")
        run.key = Key("new-key", "the test")
        await run.until(lambda: run.shown.photos == 7 and run.shown.whole)
        assert run.daemon.board.troubles == {}
    assert run.ended is None


async def test_a_refused_credential_ends_the_daemon_in_the_end(
    quick: None, open_bench: OpenBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Systemd gives a new one only to a service that starts."""
    monkeypatch.setattr(daemon, "REFUSALS", 0.3)
    async with open_bench(photos=6) as bench:
        bench.sandbox.revoke("test-key")
        async with running(bench, key=Key("test-key", "systemd", is_credential=True)) as run:
            await run.stopping.wait()
        assert isinstance(run.ended, KeyRefusedError)


async def test_a_root_that_vanishes_is_waited_for(quick: None, open_bench: OpenBench) -> None:
    """Nothing is written where the marker is missing; when it is back the mirror goes on."""
    async with open_bench(photos=6) as bench, running(bench) as run:
        await run.is_whole()
        elsewhere = bench.root.with_name("elsewhere")
        bench.root.rename(elsewhere)
        bench.root.mkdir()
        bench.sandbox.event(EVENT).add(1)
        await run.until(lambda: "storage" in run.daemon.board.troubles)
        await trio.sleep(0.3)
        assert list(bench.root.iterdir()) == []
        bench.root.rmdir()
        elsewhere.rename(bench.root)
        await run.until(lambda: run.shown.photos == 7 and run.shown.whole)
        await run.until(lambda: not run.daemon.board.troubles)
    assert run.ended is None


async def test_a_full_disk_pauses_until_there_is_room(quick: None, open_bench: OpenBench) -> None:
    """Below `min_free` nothing is begun; new settings, or room, let it go on."""
    async with open_bench(photos=6) as bench:
        config = config_of(bench)
        full = replace(config, mirror=replace(config.mirror, min_free=1 << 60))
        async with running(bench, full) as run:
            await run.until(lambda: "storage" in run.daemon.board.troubles)
            assert "nearly full" in run.daemon.board.troubles["storage"]
            run.config = config
            await run.daemon.reload()
            await run.is_whole()
            assert run.daemon.board.troubles == {}


async def test_what_has_no_room_is_not_begun(quick: None, open_bench: OpenBench) -> None:
    """Room is needed for all that is pending, by the mean size so far: the event waits, and says how much."""
    # half a gigabyte each way, so that it does not matter what others write to this disk meanwhile
    async with open_bench(photos=20, large_kb=500) as bench, running(bench) as run:
        await run.is_whole()
        needed = 2000 * 500_000
        free = run.daemon.session.root.free() if run.daemon.session is not None else 0
        assert free > needed
        run.config = replace(
            config_of(bench), mirror=replace(bench.settings, min_free=free - needed // 2)
        )
        await run.daemon.reload()
        bench.sandbox.event(EVENT).add(2000)
        await run.until(lambda: run.shown.trouble is not None)
        assert run.shown.trouble is not None
        assert "nearly full" in run.shown.trouble
        assert run.shown.present == 40


async def test_a_second_daemon_is_told_who_holds_the_root(open_bench: OpenBench) -> None:
    """It ends; the first goes on, and so does a third once the first has ended."""
    async with open_bench(photos=6) as bench:
        async with running(bench) as run:
            await run.is_whole()
            async with running(bench) as second:
                await second.stopping.wait()
            assert isinstance(second.ended, RootBusyError)
            assert second.ended.holder == os.getpid()
            assert (await bench.sync()).whole  # a typed pass beside it
            await run.passes(1)
        async with running(bench) as third:
            await third.is_whole()
        assert third.ended is None


async def test_trouble_of_one_event_is_its_own(quick: None, open_bench: OpenBench) -> None:
    """A lock that another instance holds and an endpoint that is broken hold up no other event."""
    async with open_bench(photos=6) as bench:
        bench.sandbox.add_event(EventSpec(457, photos=4, look="cheap", thumb_kb=2, large_kb=6))
        bench.sandbox.add_event(EventSpec(458, photos=4, look="cheap", thumb_kb=2, large_kb=6))
        assert (await bench.sync()).whole
        bench.sandbox.faults.add(Fault(kind="404", origin="api", event_id=458))
        with lock.opened(bench.folder / lock.PATH) as held:
            assert held.try_lock()
            async with running(bench, config_of(bench, ids=(456, 457, 458))) as run:
                events = run.daemon.board.events
                await run.until(lambda: 457 in events and events[457].whole)
                await run.until(lambda: events[458].trouble is not None)
                await run.until(lambda: run.shown.trouble is not None, 30)
                assert "held by process" in str(run.shown.trouble)
                held.close()
                bench.sandbox.faults.clear()
                await run.until(lambda: run.shown.trouble is None and run.shown.whole)
                await run.until(lambda: events[458].trouble is None and events[458].whole)
                assert run.daemon.board.troubles == {}
        told = [one.event_id for one in run.hooks.happened if one.hook == "pass_failed"]
        assert sorted(told) == [456, 458]  # once each


async def test_settings_with_faults_are_refused(quick: None, open_bench: OpenBench) -> None:
    """The old ones stay, and everything goes on."""
    async with open_bench(photos=6) as bench, running(bench) as run:
        await run.is_whole()
        run.config = None
        await run.daemon.reload()
        bench.sandbox.event(EVENT).add(1)
        await run.until(lambda: run.shown.photos == 7)
        assert run.daemon.board.phase == "running"


async def test_new_settings_lose_no_download(quick: None, open_bench: OpenBench) -> None:
    """A bandwidth holds at once, in the middle of a pass; other connections open a new session that goes on."""
    async with open_bench(photos=40, large_kb=60) as bench:
        slow = replace(bench.settings, bandwidth=Bandwidth.parse("200kB/s"))
        bench.settings = slow
        async with running(bench) as run:
            await run.until(
                lambda: EVENT in run.daemon.board.events and bench.sandbox.count("photos") > 4
            )
            session = run.daemon.session
            bench.settings = replace(slow, bandwidth=Bandwidth())
            run.config = config_of(bench)
            await run.daemon.reload()
            assert run.daemon.session is session
            bench.settings = replace(bench.settings, connections=9)
            run.config = config_of(bench)
            await run.daemon.reload()
            await run.is_whole()
            assert run.daemon.session is not session
            assert bench.check_content() == 80
            assert (
                bench.sandbox.count("photos") <= 80 + 9
            )  # downloads under way were finished or went on


async def test_events_come_and_go_with_the_settings(quick: None, open_bench: OpenBench) -> None:
    """Those that the settings name are kept from then on; a new one of the service's is found by asking."""
    async with open_bench(photos=6) as bench, running(bench) as run:
        await run.is_whole()
        bench.sandbox.add_event(EventSpec(457, photos=4, look="cheap", thumb_kb=2, large_kb=6))
        run.config = replace(config_of(bench), events=Events(all=True))
        await run.daemon.reload()
        await run.until(lambda: 457 in run.daemon.board.events)
        await run.until(lambda: run.daemon.board.events[457].whole)
        run.config = config_of(bench, ids=(457,))
        await run.daemon.reload()
        await run.until(lambda: EVENT not in run.daemon.board.events)


async def test_a_photo_that_is_not_to_be_had_is_asked_for_less_and_less(
    open_bench: OpenBench,
) -> None:
    """It is tried once and then left alone for a minute; the event is not whole, which is told once."""
    async with open_bench(photos=6) as bench:
        bad = bench.sandbox.event(EVENT).photos[0].image_id
        bench.sandbox.faults.add(Fault(kind="404", origin="photos", image_id=bad))
        async with running(bench) as run:
            await run.until(lambda: EVENT in run.daemon.board.events and run.shown.ended_at)
            before = bench.sandbox.count("photos")
            bench.sandbox.event(EVENT).add(1, hour=0)
            await run.until(lambda: run.shown.photos == 7)
            await run.passes(2)
            assert bench.sandbox.count("photos") - before == 2
            assert (run.shown.whole, run.shown.failed, run.shown.missing) == (False, 2, 2)
        assert run.hooks.names().count("pass_failed") == 1


async def test_an_event_that_is_not_whole_for_long_is_stale(open_bench: OpenBench) -> None:
    """That is told once, and its recovery."""
    async with open_bench(photos=6) as bench:
        fault = Fault(kind="404", origin="api", event_id=EVENT)
        bench.sandbox.faults.add(fault)
        settings = replace(QUICK, stale_after=1)
        async with running(bench, config_of(bench, settings=settings)) as run:
            await run.until(lambda: "stale" in run.hooks.names())
            bench.sandbox.faults.clear()
            await run.until(lambda: "recovered" in run.hooks.names())
            assert run.hooks.names().count("stale") == 1


async def test_a_bug_in_one_event_ends_nothing(open_bench: OpenBench) -> None:
    """It is logged whole, and tried again."""
    async with open_bench(photos=6) as bench:
        bench.sandbox.add_event(EventSpec(457, photos=4, look="cheap", thumb_kb=2, large_kb=6))
        async with running(bench, config_of(bench, ids=(456, 457)), bug=456) as run:
            events = run.daemon.board.events
            await run.until(lambda: 457 in events and events[457].whole)
            await run.until(lambda: run.shown.trouble == "a bug")
        assert run.ended is None


async def test_a_long_pass_holds_up_no_other(
    open_bench: OpenBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A pass that takes long does not count among those at a time any more."""
    monkeypatch.setattr(keeper, "PASSES", 1)
    monkeypatch.setattr(keeper, "LONG", 0.3)
    async with open_bench(photos=6) as bench:
        bench.sandbox.add_event(EventSpec(457, photos=4, look="cheap", thumb_kb=2, large_kb=6))
        bench.limits = Limits(head=60.0)
        bench.sandbox.faults.add(
            Fault(kind="stall", origin="api", event_id=456, path="timeline/days", at="before")
        )
        async with running(bench, config_of(bench, ids=(456, 457))) as run:
            events = run.daemon.board.events
            await run.until(lambda: 457 in events and events[457].whole)
            assert run.shown.began_at is not None
            bench.sandbox.faults.clear()
