"""The nursery of one pass by itself: bounds, batches, and that a stage's end is every stage's end."""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING

import pytest
import trio
import trio.testing

from ninepic_mirror.archive.holdings import Holdings
from ninepic_mirror.config import Bandwidth
from ninepic_mirror.errors import StorageError
from ninepic_mirror.progress import Silent
from ninepic_mirror.sync import pipeline
from ninepic_mirror.sync.bandwidth import Allowance
from ninepic_mirror.sync.download import Downloader
from ninepic_mirror.sync.session import unwrapped
from tests.remote import AtSteps, Remote, wait_until, wanted, workshop

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from ninepic_mirror.archive.records import Job
    from ninepic_mirror.sync.context import Context


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
