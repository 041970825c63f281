"""The nursery of one pass by itself: bounds, batches, and that a stage's end is every stage's end."""

from __future__ import annotations

import sqlite3
import threading
from typing import TYPE_CHECKING, TypeVar

import pytest
import trio
import trio.testing

from ninepic_mirror.archive.content import Content
from ninepic_mirror.archive.holdings import Holdings
from ninepic_mirror.archive.store import Fetched
from ninepic_mirror.config import Bandwidth
from ninepic_mirror.errors import StorageError, UnreachableError
from ninepic_mirror.progress import Silent
from ninepic_mirror.sync import pipeline
from ninepic_mirror.sync.bandwidth import Allowance
from ninepic_mirror.sync.download import Downloader
from ninepic_mirror.sync.rooms import MOST, SMALL, Rooms
from ninepic_mirror.sync.session import unwrapped
from tests.remote import AtSteps, Remote, cancel_at, jpeg, wait_until, wanted, workshop

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, Sequence
    from pathlib import Path

    from ninepic_mirror.archive.records import Job
    from ninepic_mirror.archive.store import Ready
    from ninepic_mirror.sync.context import Context
    from ninepic_mirror.sync.download import Outcome


T = TypeVar("T")


class Line:
    """A pipeline over an empty mirror, with one job for each file of the remote."""

    def __init__(self, context: Context, remote: Remote) -> None:
        self.context, self.remote = context, remote
        self.jobs: list[Job] = wanted(context, remote)
        self.holdings = Holdings(context.manifest, context.number)
        self.downloader = Downloader(context, self.holdings, Allowance(Bandwidth.parse("0")))
        self.sent = 0

    async def run(self) -> None:
        """Send every job through."""

        async def produce(send: pipeline.Send) -> None:
            for job in self.jobs:
                await send(job)
                self.sent += 1

        with trio.fail_after(60), unwrapped():
            await pipeline.run(self.context, self.holdings, self.downloader, produce)

    def states(self) -> dict[str, int]:
        """Count the rows by state."""
        found = self.context.manifest.rows("SELECT state, count(*) FROM files GROUP BY state")
        return {str(state): int(count or 0) for state, count in found}


@pytest.fixture
def line(tmp_path: Path) -> Iterator[Line]:
    """Return a pipeline for twelve files."""
    remote = Remote().fill(6)
    with workshop(remote, tmp_path) as context:
        yield Line(context, remote)


async def test_every_job_is_committed(line: Line) -> None:
    """All files are present, equal ones as links, and the counters say so."""
    await line.run()
    assert line.states() == {"present": 12}
    assert (line.context.tally.downloaded, line.context.tally.linked) == (12, 2)


async def test_what_fails_is_committed_too(line: Line) -> None:
    """A photo that cannot be had is recorded with its reason beside those that can."""
    line.remote.missing = {"photo-001"}
    await line.run()
    assert line.states() == {"present": 10, "failed": 2}
    assert line.context.tally.downloaded == 10


async def test_no_jobs_are_soon_done(line: Line) -> None:
    """Without a job every stage ends."""
    line.jobs = []
    await line.run()
    assert line.states() == {"pending": 12}


async def test_the_producer_waits_when_the_channel_is_full(tmp_path: Path) -> None:
    """While no download ends, the producer stops after what channel and workers hold: memory is bounded."""
    remote = Remote().fill(200)
    remote.gate = gate = trio.Event()
    with workshop(remote, tmp_path) as context:
        line = Line(context, remote)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(line.run)
            await wait_until(lambda: remote.started >= 4)
            await trio.testing.wait_all_tasks_blocked(0.01)
            assert line.sent <= pipeline._WAITING + context.settings.connections
            gate.set()
        assert line.states() == {"present": 400}


class Width:
    """A pace that has room for four at first, from the 80th attempt on for two, from the 160th on for four again."""

    def __init__(self, remote: Remote) -> None:
        self._remote = remote
        self._begun = self._under_way = 0
        self.seen: list[int] = []  # attempts under way when each began

    @property
    def useful(self) -> int:
        """Answer as `Pacer.useful`."""
        return 2 if 80 <= self._begun < 160 else 4

    async def run(
        self,
        attempt: Callable[[], Awaitable[T]],
        _probe: Callable[[], Awaitable[object]] | None = None,
    ) -> T:
        """Answer as `Pacer.run`."""
        self._begun += 1
        self._under_way += 1
        self.seen.append(self._under_way)
        try:
            await trio.lowlevel.checkpoint()
            return await self._remote.run(attempt)
        finally:
            self._under_way -= 1


async def test_there_are_as_many_workers_as_the_pace_has_room_for(tmp_path: Path) -> None:
    """They come while it widens, leave when it narrows, and come again; every file is had."""
    remote = Remote().fill(120)
    with workshop(remote, tmp_path) as context:
        context.pace = width = Width(remote)
        line = Line(context, remote)
        await line.run()
        assert line.states() == {"present": 240}
    assert max(width.seen[:80]) == 4
    assert max(width.seen[90:160]) == 2
    assert max(width.seen[160:]) == 4


async def test_a_batch_has_a_size(tmp_path: Path) -> None:
    """No transaction commits more than 256 files, however quickly they come."""
    remote = Remote().fill(300)
    sizes: list[int] = []

    class Watching(Silent):
        """Hears of every commit."""

        def done(self, files: int, size: int) -> None:  # noqa: ARG002  as its base
            sizes.append(files)

    with workshop(remote, tmp_path) as context:
        line = Line(context, remote)
        context.progress = Watching()
        await line.run()
    assert sum(sizes) == 600
    assert max(sizes) <= pipeline.BATCH


async def test_a_disk_that_says_no_ends_all_stages(line: Line) -> None:
    """When the marker vanishes the committer's error leaves, no file is recorded, and nobody waits for it."""
    line.jobs = line.jobs[-4:]  # one for each worker: none of them looks at the marker again
    line.remote.by_memory = False  # nor does the writer
    line.remote.gate = gate = trio.Event()
    async with trio.open_nursery() as nursery:

        async def vanish() -> None:
            await wait_until(lambda: line.remote.started >= 4)
            (line.context.settings.root / ".ninepic-mirror-root").unlink()
            gate.set()

        nursery.start_soon(vanish)
        with pytest.raises(StorageError):
            await line.run()
    assert line.states() == {"pending": 12}
    # Their folders are: had we been killed instead, between names and rows, the next pass would look into them.
    assert "undated/large" in {folder for folder, _ in line.holdings.folders()}


async def test_a_manifest_that_says_no_ends_all_stages(line: Line) -> None:
    """An error of SQLite itself is not swallowed by the stages either."""
    line.context.manifest.change("DROP TABLE sums")
    with pytest.raises((sqlite3.Error, StorageError)):
        await line.run()
    assert line.states() == {"pending": 12}


async def test_a_bug_of_the_producer_ends_all_stages(line: Line) -> None:
    """What the producer raises leaves as it is, while downloads are under way."""
    line.remote.gate = trio.Event()  # never set

    async def produce(send: pipeline.Send) -> None:
        await send(line.jobs[0])
        await wait_until(lambda: line.remote.started >= 1)
        raise ZeroDivisionError

    with trio.fail_after(60), pytest.raises(ZeroDivisionError), unwrapped():
        await pipeline.run(line.context, line.holdings, line.downloader, produce)


async def test_a_commit_that_has_begun_is_finished(line: Line) -> None:
    """A cancelled pass does not end between a file's name and its row."""
    begun = False

    with trio.CancelScope() as scope:

        def stop(_step: int) -> None:
            nonlocal begun
            if line.context.announced and not begun:
                begun = True
                scope.cancel()

        watcher = AtSteps(stop)
        trio.lowlevel.add_instrument(watcher)
        await line.run()
    trio.lowlevel.remove_instrument(watcher)
    files = [
        path for path in line.context.settings.root.rglob("*.jpg") if "partial" not in path.parts
    ]
    assert begun
    assert len(files) == line.states().get("present", 0) > 0


# --- a fault that ends the pass -----------------------------------------------------------------------------------


class Broken(Downloader):
    """Has all files but the last, which ends the pass once all others are on their way to their rows.

    Args:
        line: The pipeline, whose downloader it is from now on.
        fault: What it ends with.
    """

    def __init__(self, line: Line, fault: Exception) -> None:
        super().__init__(line.context, line.holdings, Allowance(Bandwidth.parse("0")))
        self._last, self._left, self.fault = line.jobs[-1], len(line.jobs) - 1, fault
        line.downloader = self

    async def have(self, job: Job, struggling: Callable[[], None] = lambda: None) -> Outcome | None:
        """Have a file."""
        if job is self._last:
            await wait_until(lambda: not self._left)
            raise self.fault
        result = await super().have(job, struggling)
        self._left -= 1
        return result


UNREACHABLE = UnreachableError("https://photos", 120, "no answer")


@pytest.mark.parametrize("by_memory", [True, False])
async def test_what_came_whole_is_kept_when_a_download_ends_the_pass(
    line: Line, by_memory: bool, mock_clock: trio.testing.MockClock
) -> None:
    """A batch that has begun is committed, with the failures in it; the fault leaves as it is."""
    line.remote.by_memory = by_memory
    line.remote.missing = {line.jobs[0].image_id}
    Broken(line, UNREACHABLE)
    with pytest.raises(UnreachableError) as caught:
        await line.run()
    assert caught.value is UNREACHABLE
    states = line.states()
    assert states == {"present": 9, "failed": 2, "pending": 1}
    files = line.context.settings.root.rglob("*.jpg")
    assert len([path for path in files if "partial" not in path.parts]) == 9


async def test_what_came_whole_is_kept_when_the_producer_ends_the_pass(
    line: Line, mock_clock: trio.testing.MockClock
) -> None:
    """So it is when the listing, or a bug in it, is what ends it."""

    async def produce(send: pipeline.Send) -> None:
        for job in line.jobs:
            await send(job)
        await wait_until(lambda: line.remote.started == len(line.jobs))
        await trio.testing.wait_all_tasks_blocked(0.05)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError), unwrapped():
        await pipeline.run(line.context, line.holdings, line.downloader, produce)
    assert line.states() == {"present": 12}


@pytest.mark.parametrize(
    "fault", [StorageError("x", "full"), OSError(5, "I/O"), sqlite3.OperationalError("disk I/O")]
)
async def test_nothing_is_written_after_a_fault_of_the_disk(
    line: Line, fault: Exception, mock_clock: trio.testing.MockClock
) -> None:
    """What waits for its batch stays without a name and a row."""
    line.remote.by_memory = False
    Broken(line, fault)
    with pytest.raises(type(fault)) as caught:
        await line.run()
    assert caught.value is fault
    assert line.states() == {"pending": 12}
    files = line.context.settings.root.rglob("*.jpg")
    assert not [path for path in files if "partial" not in path.parts]


async def test_a_commit_that_fails_is_told_before_the_fault_before_it(
    line: Line, mock_clock: trio.testing.MockClock
) -> None:
    """Where what came whole cannot be kept either, that is what the operator has to mend, and what ends the pass."""
    Broken(line, UNREACHABLE)
    line.context.manifest.change("DROP TABLE sums")
    with pytest.raises(StorageError, match="no such table") as caught:
        await line.run()
    assert isinstance(caught.value.__cause__, BaseExceptionGroup)
    assert caught.value.__cause__.subgroup(UnreachableError)
    assert line.states() == {"pending": 12}


async def test_a_fault_of_a_download_hides_none_of_the_commit_before_it(
    line: Line, mock_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the commit ended the pass with stays its end, whatever a download says of being cut off."""
    line.jobs = line.jobs[:1]
    full = StorageError("x", "full")

    async def have(*_: object) -> Outcome:
        (ready,) = line.context.store.write([Fetched(line.jobs[0], jpeg("x"), Content(".jpg"))])
        monkeypatch.setattr(line.downloader, "have", cut_off)
        return ready

    async def cut_off(*_: object) -> Outcome:
        try:
            await trio.sleep_forever()
        except trio.Cancelled:
            raise UNREACHABLE from None
        raise AssertionError

    async def fail(*_: object) -> None:
        raise full

    async def produce(send: pipeline.Send) -> None:
        await send(line.jobs[0])
        await send(line.jobs[0])
        mock_clock.rate = 10

    monkeypatch.setattr(line.downloader, "have", have)
    monkeypatch.setattr(pipeline, "commit", fail)
    with pytest.raises(StorageError) as caught, unwrapped():
        await pipeline.run(line.context, line.holdings, line.downloader, produce)
    assert caught.value is full


async def test_who_is_cancelled_while_keeping_ends_at_once(
    line: Line, mock_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The write under way is finished, no batch is begun, and the fault is told all the same."""
    line.remote.by_memory = True
    Broken(line, UNREACHABLE)
    disk, scope = SlowDisk(line.context, monkeypatch), trio.CancelScope()

    async def cancel() -> None:
        await wait_until(lambda: disk.begun > 0)
        await trio.testing.wait_all_tasks_blocked(0.05)
        scope.cancel()
        await trio.testing.wait_all_tasks_blocked(0.05)
        disk.go_on()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(cancel)
        with scope, pytest.raises(UnreachableError) as caught:
            await line.run()
    assert caught.value is UNREACHABLE
    assert line.states() == {"pending": 12}
    assert free(line.context) == MOST


# --- bodies in memory -------------------------------------------------------------------------------------------


def free(context: Context) -> int:
    """Return how many rooms nobody has."""
    return len(context.rooms._free) + context.rooms._unmade


class SlowDisk:
    """Holds up what the writer writes, in its thread, until the test lets it go on.

    Args:
        context: The pass, whose store is slow from now on.
    """

    def __init__(self, context: Context, monkeypatch: pytest.MonkeyPatch) -> None:
        self._write, self._go = context.store.write, threading.Event()
        self.begun = 0
        monkeypatch.setattr(context.store, "write", self.write)

    def write(self, bodies: Sequence[Fetched]) -> list[Ready]:
        """Write, when it may be."""
        self.begun += 1
        assert self._go.wait(30)
        return self._write(bodies)

    def go_on(self) -> None:
        """Let it write from now on."""
        self._go.set()


def large_jobs(line: Line) -> list[Job]:
    """Return the jobs whose bodies need a room."""
    remote = line.remote
    return [
        job for job in line.jobs if len(remote.pictures[job.image_id].body(job.variant)) > SMALL
    ]


@pytest.mark.parametrize("rooms", [1, 2, MOST])
async def test_rooms_are_all_there_in_the_end(tmp_path: Path, rooms: int) -> None:
    """However few they are: with bodies that break off, are missing or come whole, every room comes back."""
    remote = Remote(by_memory=True).fill(40)
    with workshop(remote, tmp_path) as context:
        context.rooms = Rooms(rooms)
        line = Line(context, remote)
        assert len(large_jobs(line)) > 10
        remote.missing, remote.breaks = {"photo-003", "photo-004"}, 25
        await line.run()
        states = line.states()
        assert states["failed"] >= 4
        assert states["present"] + states["failed"] == 80
        assert free(context) == rooms


async def test_a_slow_disk_holds_the_network_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While nothing is written, no more large bodies are begun than there are rooms, nor small ones than stages hold."""
    remote = Remote(by_memory=True).fill(200)
    with workshop(remote, tmp_path) as context:
        context.rooms = Rooms(3)
        line, disk = Line(context, remote), SlowDisk(context, monkeypatch)
        every, large = line.jobs, large_jobs(line)
        line.jobs = large
        async with trio.open_nursery() as nursery:
            nursery.start_soon(line.run)
            await wait_until(lambda: disk.begun > 0)
            await trio.testing.wait_all_tasks_blocked(0.01)
            assert remote.started == 3
            assert free(context) == 0
            disk.go_on()
        assert free(context) == 3
        assert line.states()["present"] == len(large) > 50

        disk = SlowDisk(context, monkeypatch)
        remote.started = 0
        line.jobs = [job for job in every if job not in large]
        async with trio.open_nursery() as nursery:
            nursery.start_soon(line.run)
            await wait_until(lambda: disk.begun > 0)
            await trio.testing.wait_all_tasks_blocked(0.01)
            # with the writer, in the channel, and one in each worker's hand
            assert remote.started <= 2 * pipeline._BODIES + context.settings.connections
            disk.go_on()
        assert line.states() == {"present": 400}


@pytest.mark.parametrize("rooms", [1, 3])
async def test_a_full_disk_ends_all_stages_while_rooms_are_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rooms: int
) -> None:
    """When the writer fails, workers that wait for a room or to hand on a body do not wait for ever; no row lies."""
    remote = Remote(by_memory=True).fill(60)
    with workshop(remote, tmp_path) as context:
        context.rooms = Rooms(rooms)
        line, disk = Line(context, remote), SlowDisk(context, monkeypatch)
        line.jobs = large_jobs(line)

        async def vanish() -> None:
            await wait_until(lambda: disk.begun > 0)
            await wait_until(lambda: context.rooms._waiting.statistics().tasks_waiting > 0)
            (context.settings.root / ".ninepic-mirror-root").unlink()
            disk.go_on()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(vanish)
            with pytest.raises(StorageError, match="vanished"):
                await line.run()
        assert line.states() == {"pending": 120}
        assert free(context) == rooms


async def test_a_full_disk_ends_all_stages_while_bodies_are_handed_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same with bodies in every place: with the writer, in the channel, in the hands of workers that wait."""
    remote = Remote(by_memory=True).fill(200)
    with workshop(remote, tmp_path) as context:
        line, disk = Line(context, remote), SlowDisk(context, monkeypatch)
        large = large_jobs(line)
        line.jobs = [job for job in line.jobs if job not in large][:100] + large[:20]

        async def vanish() -> None:
            await wait_until(lambda: disk.begun > 0)
            await trio.testing.wait_all_tasks_blocked(0.01)
            assert remote.started > pipeline._BODIES + 1  # the channel is full
            (context.settings.root / ".ninepic-mirror-root").unlink()
            disk.go_on()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(vanish)
            with pytest.raises(StorageError, match="vanished"):
                await line.run()
        assert line.states() == {"pending": 400}
        assert free(context) == MOST


async def test_a_commit_that_fails_leaves_no_room_behind(tmp_path: Path) -> None:
    """An error of the last stage ends the writer and the workers; the rooms are free again."""
    remote = Remote(by_memory=True).fill(60)
    with workshop(remote, tmp_path) as context:
        line = Line(context, remote)
        context.manifest.change("DROP TABLE sums")
        with pytest.raises((sqlite3.Error, StorageError)):
            await line.run()
        assert free(context) == MOST


@pytest.mark.parametrize("offset", range(4))
async def test_no_room_is_lost_wherever_a_pass_is_cancelled(tmp_path: Path, offset: int) -> None:
    """Cancelled at any step, every room is free again, and every file under a final name has its row."""
    number, steps = 1 + 7 * offset, 10**9
    while number < steps:
        remote = Remote(by_memory=True).fill(4)
        root = tmp_path / str(number)
        root.mkdir()
        with workshop(remote, root) as context:
            context.rooms = Rooms(2)
            line = Line(context, remote)
            with trio.CancelScope() as scope:
                watcher = cancel_at(scope, number)
                trio.lowlevel.add_instrument(watcher)
                try:
                    await line.run()
                finally:
                    trio.lowlevel.remove_instrument(watcher)
            steps = steps if scope.cancelled_caught else watcher.steps
            assert free(context) == 2
            files = [path for path in root.rglob("*.jpg") if "partial" not in path.parts]
            assert len(files) == line.states().get("present", 0)
        number += 4 * 7
    assert steps > 40  # there was something to cancel


async def test_what_came_whole_is_committed_when_the_operator_stops(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bodies in memory when the operator stops the run reach their rows, however long the disk takes."""
    remote = Remote(by_memory=True).fill(60)
    monkeypatch.setattr(pipeline, "GRACE", 0.0)
    with workshop(remote, tmp_path) as context:
        line, disk = Line(context, remote), SlowDisk(context, monkeypatch)

        async def stop() -> None:
            await wait_until(lambda: disk.begun > 0)
            await trio.testing.wait_all_tasks_blocked(0.01)
            context.stopping.set()
            await trio.testing.wait_all_tasks_blocked(0.01)
            disk.go_on()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(stop)
            await line.run()
        assert line.states()["present"] == remote.started > pipeline._BODIES
        assert free(context) == MOST
