"""The daemon's keeper on a virtual clock: days go by in seconds, over services in memory with real files.

trio's own autojump looks only whether the loop is idle for so many milliseconds of real time, so on a slow machine the
clock leaps while a thread is at work: a pass that takes a hundredth of a second then lasts hours. Here the clock is
moved by a task that sees who waits for a thread.
"""

from __future__ import annotations

import time
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from random import Random
from typing import TYPE_CHECKING, Unpack

import trio
import trio.testing

from ninepic_mirror.config import Api, Config, Daemon, Events, Hooks, Mirror
from ninepic_mirror.model import Event
from ninepic_mirror.service.board import Board
from ninepic_mirror.service.hooks import Happening, HookRunner
from ninepic_mirror.service.journal import LogProgress
from ninepic_mirror.service.keeper import Keeper
from ninepic_mirror.service.teller import Teller
from tests.remote import EVENT, Remote, Wanted, session_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
    from pathlib import Path

    from ninepic_mirror.model import Details, Page, Timeline, Window
    from ninepic_mirror.ninepic.photos import Body
    from ninepic_mirror.sync.session import Session


class Told(HookRunner):
    """Keeps what hooks would be run for.

    Attributes:
        pulses: How often a pass ended whole.
    """

    def __init__(self) -> None:
        super().__init__(Hooks())
        self.happened: list[Happening] = []
        self.pulses = 0

    def tell(self, happening: Happening) -> None:
        """Keep it."""
        self.happened.append(happening)

    def pulse(self) -> None:
        """Count it."""
        self.pulses += 1

    def names(self) -> list[str]:
        """Return the hooks' names in order."""
        return [one.hook for one in self.happened]


@dataclass
class Organisation(Remote):
    """Several events of one service; the photos' ids say whose they are, so no two events may share one.

    Attributes:
        remotes: By the event's number.
        names: What the list of events says of them; the others have no name there.
        looks: When each event was asked about, on trio's clock: one moment a pass.
        listed: How often the list of events was asked for.
        shown: What the list of events names, None for all.
        broken_list: Raised by the list of events alone.
        fault: Raised by the list of events and by `details` instead of an answer.
        faults: Raised by one event's requests instead of an answer.
    """

    remotes: dict[int, Remote] = field(default_factory=dict)
    names: dict[int, str] = field(default_factory=dict)
    looks: dict[int, list[float]] = field(default_factory=dict)
    listed: int = 0
    shown: tuple[int, ...] | None = None
    broken_list: Exception | None = None
    fault: Exception | None = None
    faults: dict[int, Exception] = field(default_factory=dict)

    async def events(self) -> AsyncIterator[Event]:
        """Answer as `Client.events`."""
        self.listed += 1
        if (fault := self.broken_list or self.fault) is not None:
            raise fault
        for event_id in list(self.remotes) if self.shown is None else self.shown:
            yield Event(event_id, self.names.get(event_id), None)

    async def events_page(self, _page: int, _page_size: int) -> None:
        """Answer as `Client.events_page`, as far as anybody looks at it."""
        if self.fault is not None:
            raise self.fault

    async def details(self, event_id: int) -> Details:
        """Answer as `Client.details`."""
        return await self._of(event_id).details(event_id)

    async def images(self, event_id: int, page: int, page_size: int = 100) -> Page:
        """Answer as `Client.images`. Every pass asks for a page of one row, one that lists something does so twice."""
        looks, now = self.looks.setdefault(event_id, []), trio.current_time()
        if page_size == 1 and now not in looks[-1:]:
            looks.append(now)
        return await self._of(event_id).images(event_id, page, page_size)

    async def timeline_days(self, event_id: int) -> Timeline:
        """Answer as `Client.timeline_days`."""
        return await self._of(event_id).timeline_days(event_id)

    async def timeline_images(
        self, event_id: int, window: Window, page: int, page_size: int = 100
    ) -> Page:
        """Answer as `Client.timeline_images`."""
        return await self._of(event_id).timeline_images(event_id, window, page, page_size)

    @asynccontextmanager
    async def stream(self, url: str, **wanted: Unpack[Wanted]) -> AsyncIterator[Body]:
        """Answer as `PhotoClient.stream`."""
        image_id = url.partition("?")[0].rpartition("/")[2]
        having = [one for one in self.remotes.values() if image_id in one.pictures]
        source = having[0] if having else next(iter(self.remotes.values()))
        async with source.stream(url, **wanted) as body:
            yield body

    def _of(self, event_id: int) -> Remote:
        if (fault := self.faults.get(event_id) or self.fault) is not None:
            raise fault
        return self.remotes[event_id]


def explain(error: Exception) -> str:
    """Put an error into one line."""
    return str(error)


class Watch:
    """A keeper over an organisation, and what is needed to look at it.

    Args:
        organisation: The service.
        root: The mirror root.
        settings: `[daemon]`.
        events: `[events]`; None: all that the organisation has, by number.
        random: For the jitter.

    Attributes:
        config: The settings it began with.
        most: The most passes that were under way at once.
        bug: An event over which every pass meets a bug.
    """

    def __init__(
        self,
        organisation: Organisation,
        root: Path,
        settings: Daemon,
        events: Events | None = None,
        random: Random | None = None,
    ) -> None:
        self.organisation, self.most, self.bug = organisation, 0, 0
        events = Events(ids=tuple(organisation.remotes)) if events is None else events
        # durability: none, because no power is cut here
        mirror = Mirror(root, min_free=0, durability="none", connections=4)
        self.config = Config(Api(903, "https://api"), mirror, events, daemon=settings)
        self.board = Board(time.time())
        self.hooks = Told()
        self.teller = Teller(self.board, self.hooks, explain)
        self.keeper = Keeper(
            self.config, self.board, self.teller, self._progress, random or Random(7)
        )

    def session(self) -> Session:
        """Return another session over the same service."""
        session = session_of(self.organisation, self.config.mirror)
        session.config = self.config
        return session

    def _progress(self, event_id: int, name: str | None) -> LogProgress:
        busy = sum(one.began_at is not None for one in self.board.events.values())
        self.most = max(self.most, busy)
        if event_id == self.bug:
            raise RuntimeError("a bug")
        return LogProgress(event_id, name)

    @property
    def shown(self) -> dict[int, object]:
        """What the board says of each event: whether it is whole, and its trouble."""
        return {key: (one.whole, one.trouble) for key, one in self.board.events.items()}


def organisation(*photos: int) -> Organisation:
    """Return a service with events numbered from 456 on, each with so many photos."""
    found = Organisation()
    for place, count in enumerate(photos):
        remote = found.remotes[EVENT + place] = Remote()
        for number, one in enumerate(Remote().fill(count).pictures.values()):
            remote.add(f"e{EVENT + place}-{number:03}", one.taken, f"{place} {one.text}")
    return found


@contextmanager
def wall_clock(clock: trio.testing.MockClock) -> Iterator[None]:
    """Let the time of day go with a virtual clock, for the length of the block."""
    real, start = time.time, time.time()

    def virtual() -> float:
        return start + clock.current_time()

    time.time = virtual
    try:
        yield
    finally:
        time.time = real


async def move(clock: trio.testing.MockClock) -> None:
    """Move a clock on, for ever, whenever nothing but time is waited for."""
    while True:
        await trio.testing.wait_all_tasks_blocked()
        while _waits_for_a_thread():
            # real time, in which the thread may have the interpreter
            await trio.testing.wait_all_tasks_blocked(0.001)
        ahead = trio.lowlevel.current_statistics().seconds_to_next_deadline
        if ahead == float("inf"):
            raise AssertionError("everybody waits, and nothing will ever happen")
        clock.jump(max(0.0, ahead))
        await trio.lowlevel.checkpoint()


def _waits_for_a_thread() -> bool:
    root = trio.lowlevel.current_root_task()
    waiting = [] if root is None else [root]
    while waiting:
        task = waiting.pop()
        if any(
            frame.f_code.co_name == "to_thread_run_sync" for frame, _ in task.iter_await_frames()
        ):
            return True
        waiting += [child for nursery in task.child_nurseries for child in nursery.child_tasks]
    return False


def on_virtual_clock(work: Callable[[], Awaitable[None]]) -> None:
    """Run something to its end on a virtual clock, the time of day included."""
    clock = trio.testing.MockClock()

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(move, clock)
            await work()
            nursery.cancel_scope.cancel()

    with wall_clock(clock):
        trio.run(main, clock=clock)


async def keep(watch: Watch, seconds: float, meanwhile: Callable[[], None] | None = None) -> None:
    """Keep events for so many seconds in one session, then end it gently.

    Args:
        watch: The keeper.
        seconds: For how long.
        meanwhile: Called at the start of every hour.
    """
    session = watch.session()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(watch.keeper.run, session)
        end = trio.current_time() + seconds
        while (now := trio.current_time()) < end:
            if meanwhile is not None:
                meanwhile()
            await trio.sleep(min(3600.0, end - now))
        session.stopping.set()
