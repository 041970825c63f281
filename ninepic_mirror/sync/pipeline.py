"""The nursery of one pass (DESIGN §9). Everything that runs at the same time runs here.

1. produce: wanted files of earlier passes first, then what the enumerator finds, then what failed by itself before
   → jobs (bounded: it waits)
2. download (N times): take a job, find or fetch its file → bodies, or, where there is none to be written, outcomes
   (bounded: they wait)
3. write, alone: take what bodies are there; in a thread: hash them, write them below `partial/` → outcomes
4. commit, alone: gather up to 256 outcomes or half a second's, then, for the batch:
     in the manifest's thread    look for equal bytes
     in a thread                 sync, name, sync folders         (`store.settle`)
     in the manifest's thread    one transaction                  (`holdings.commit`)
End: the producer's end closes the jobs, the last worker's end the bodies, with the writer's the outcomes; commit
     empties them and ends.
Stop: the producer is cancelled at once; downloads get GRACE seconds, then they are cancelled and keep what can be
      continued; write and commit always run to their end, so that nothing fetched is lost.
Fault: of the disk, all is cancelled at once, and nothing more is written; of anything else, producer and downloads are,
      while write and commit run to their end likewise: what came whole is kept, what failed is recorded.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Final, TypeVar

import trio
from msgspec import Struct

from ninepic_mirror.archive.files import split
from ninepic_mirror.archive.moves import touch
from ninepic_mirror.archive.patience import EARLY, UNASKED, note_unasked
from ninepic_mirror.archive.records import Job
from ninepic_mirror.archive.store import Fetched, Ready
from ninepic_mirror.errors import MirrorError, StorageError
from ninepic_mirror.sync import recheck
from ninepic_mirror.sync.download import Downloader, Failed, Unchanged

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ninepic_mirror.archive.holdings import Holdings, Placed
    from ninepic_mirror.sync.context import Context
    from ninepic_mirror.sync.download import Outcome

Send = Callable[[Job], Awaitable[None]]
Done = Ready | Failed | Unchanged
T = TypeVar("T")

BATCH: Final = 256  # files in one commit (DESIGN §6.6)
LINGER: Final = 0.5  # seconds to wait for a batch to fill (DESIGN §6.6)
GRACE: Final = 5.0  # seconds for downloads under way when the operator stops the run (DESIGN §7)
_WAITING: Final = 256  # jobs, and outcomes, between the stages
_BODIES: Final = 64  # bodies between download and write, and as many in one go: a thread hop costs as much as a thumbnail
# Bytes in one go of the writer: rooms come back when it is done, so that some are filled while others are written.
_BYTES: Final = 4 << 20


async def run(
    context: Context,
    holdings: Holdings,
    downloader: Downloader,
    produce: Callable[[Send], Awaitable[None]],
) -> None:
    """Run the stages until all is done or the operator stops them.

    Args:
        context: The pass.
        holdings: The manifest's file side.
        downloader: Has the files.
        produce: Sends every job; its end is the end of the work.

    Raises:
        BaseExceptionGroup: Whatever a stage raised first. What had come whole by then is kept, where the disk and the
            committer are none of it, and nobody cancels us.
    """
    job_in, job_out = trio.open_memory_channel[Job](_WAITING)
    body_in, body_out = trio.open_memory_channel[Fetched](_BODIES)
    outcome_in, outcome_out = trio.open_memory_channel[Done](_WAITING)
    downloads_in = outcome_in.clone()
    producing, downloading = trio.CancelScope(), trio.CancelScope()

    async def produce_jobs() -> None:
        # plain `with`: `async with` in a cancelled task would put Cancelled in the place of the real error
        with job_in, producing:
            await produce(send)

    async def send(job: Job) -> None:
        downloader.announce(job)
        try:
            try:
                job_in.send_nowait(job)
            except trio.WouldBlock:
                await job_in.send(job)
        except trio.BrokenResourceError:
            # no worker is left: we are about to be cancelled, for a reason of theirs
            await trio.sleep_forever()

    async def download() -> None:
        with downloading:
            async with trio.open_nursery() as workers:
                crew = _Crew(context, downloader, workers)
                crew.hire(job_out, _Sinks(body_in, downloads_in).clone())

    async def have() -> None:
        with body_in, downloads_in:
            async with trio.open_nursery() as having:
                having.start_soon(produce_jobs)
                having.start_soon(download)

    async def watch() -> None:
        await context.stopping.wait()
        producing.cancel()
        downloading.deadline = trio.current_time() + GRACE

    async with trio.open_nursery() as watching:
        watching.start_soon(watch)
        await _keep_what_came(
            have,
            partial(_write_all, context, body_out, outcome_in),
            partial(_commit_all, context, holdings, outcome_out),
        )
        watching.cancel_scope.cancel()


async def _keep_what_came(
    have: Callable[[], Awaitable[None]], *keep: Callable[[], Awaitable[None]]
) -> None:
    """Run stages, of which those of `keep` end by themselves after `have`, however that ends.

    Args:
        have: Its fault, where it is not one of the disk, is raised only when those of `keep` have ended.
        keep: A fault of one of them cancels all.

    Raises:
        BaseExceptionGroup: The first fault; beside it what cancels us, since nobody else would know of it.
    """
    fault: ExceptionGroup[Exception] | None = None
    try:
        async with trio.open_nursery() as stages:
            for stage in keep:
                stages.start_soon(stage)
            try:
                await have()
            except ExceptionGroup as group:  # with a Cancelled or KeyboardInterrupt in it: at once
                # No turn of the scheduler from the end of `have` to here, nor to where `keep` is cancelled.
                if stages.cancel_scope.cancel_called or _is_of_disk(group):
                    raise
                fault = group
    except BaseExceptionGroup as later:
        if fault is None:
            raise
        # what came of keeping: an end that nobody else would know of, and a fault of the disk or of ours, hides nothing
        worse = later.subgroup(
            lambda error: (
                not isinstance(error, MirrorError | BaseExceptionGroup)
                or isinstance(error, StorageError)
            )
        )
        raise (
            fault
            if worse is None
            else BaseExceptionGroup("while what came whole was kept", [worse, fault])
        ) from None
    if fault is not None:
        raise fault


def _is_of_disk(group: ExceptionGroup[Exception]) -> bool:
    """Whether the disk is among what failed: nothing more may be written there."""
    return group.subgroup((StorageError, OSError, sqlite3.Error)) is not None


class _Sinks(Struct, frozen=True):
    """Where a worker's results go."""

    bodies: trio.MemorySendChannel[Fetched]
    outcomes: trio.MemorySendChannel[Done]

    def clone(self) -> _Sinks:
        return _Sinks(self.bodies.clone(), self.outcomes.clone())

    async def send(self, result: Outcome) -> None:
        """Hand a result on, also when we are to end: what is whole is not thrown away.

        Raises:
            trio.BrokenResourceError: The next stage failed; we are about to be cancelled.
        """
        if isinstance(result, Fetched):
            await _pass_on(self.bodies, result)
        else:
            await _pass_on(self.outcomes, result)


async def _pass_on(channel: trio.MemorySendChannel[T], item: T) -> None:
    """Send, also when we are to end; at once where there is room, a turn of the scheduler less for every photo."""
    try:
        channel.send_nowait(item)
    except trio.WouldBlock:
        with trio.CancelScope(shield=True):
            await channel.send(item)


class _Crew:
    """The workers: as many as the origin's pace has room for, and the configured connections allow.

    Any more of them would only wait for each other, which costs as much as the rest of a thumbnail: whoever is too many
    because the pace has become narrower leaves. Each fault of a
    photo calls for another: who waits before the next try is of no use meanwhile, and bad photos, however many come
    first, must not keep the good ones from being tried (DESIGN §7). Who waits for a link that is long in coming counts
    for nothing at all: it neither makes a request of a photo nor holds a connection.

    Args:
        context: The pass.
        downloader: Has the files.
        nursery: Where they work.
    """

    def __init__(self, context: Context, downloader: Downloader, nursery: trio.Nursery) -> None:
        self._context, self._downloader, self._nursery = context, downloader, nursery
        self._hired = 0

    def hire(self, jobs: trio.MemoryReceiveChannel[Job], sinks: _Sinks) -> None:
        """Start one more; it closes what it is given."""
        self._hired += 1
        self._nursery.start_soon(self._work, jobs, sinks)

    @property
    def _useful(self) -> int:
        return self._context.pace.useful + self._downloader.waiting

    def _keeps(self) -> bool:
        """Say whether one who is done with a job is still of use; if not, it leaves."""
        if self._hired <= self._useful:
            return True
        self._hired -= 1
        return False

    async def _work(self, jobs: trio.MemoryReceiveChannel[Job], sinks: _Sinks) -> None:
        context = self._context

        def replace() -> None:
            if self._hired < context.settings.connections + self._downloader.waiting:
                self.hire(jobs.clone(), sinks.clone())

        with jobs, sinks.bodies, sinks.outcomes:
            while self._keeps() and (job := await _next(jobs)) is not None:
                if context.stopping.is_set():
                    return  # it stays pending in the manifest
                if self._hired < self._useful:
                    replace()
                result = await self._downloader.have(job, replace)
                if result is None:
                    continue  # the producer sends it again
                try:
                    await sinks.send(result)
                except trio.BrokenResourceError:
                    if isinstance(result, Fetched):
                        context.rooms.give(result.room)


async def _next(channel: trio.MemoryReceiveChannel[T]) -> T | None:
    """Receive, at once where something is there; None at the end."""
    try:
        return channel.receive_nowait()
    except trio.WouldBlock:
        pass
    except trio.EndOfChannel:
        return None
    try:
        return await channel.receive()
    except trio.EndOfChannel:
        return None


async def _write_all(
    context: Context,
    bodies: trio.MemoryReceiveChannel[Fetched],
    outcomes: trio.MemorySendChannel[Done],
) -> None:
    some: list[Fetched] = []
    with bodies, outcomes:
        try:
            async for body in bodies:
                some = _some(body, bodies)
                # Shielded like the commit: what came whole reaches its row when the operator stops the run.
                with trio.CancelScope(shield=True), suppress(trio.BrokenResourceError):
                    for ready in await trio.to_thread.run_sync(context.store.write, some):
                        await _pass_on(outcomes, ready)
                while some:
                    context.rooms.give(some.pop().room)
        finally:  # of those that nobody will write any more, when this stage or the pass failed
            for one in (*some, *_waiting(bodies)):
                context.rooms.give(one.room)


def _waiting(bodies: trio.MemoryReceiveChannel[Fetched]) -> Iterator[Fetched]:
    """Take what bodies are there, without waiting for more."""
    with suppress(trio.WouldBlock, trio.EndOfChannel):
        while True:
            yield bodies.receive_nowait()


def _some(first: Fetched, bodies: trio.MemoryReceiveChannel[Fetched]) -> list[Fetched]:
    """Take what bodies are there for one go of the writer."""
    some, size = [first], len(first.data)
    with suppress(trio.WouldBlock, trio.EndOfChannel):
        while len(some) < _BODIES and size < _BYTES:
            some.append(bodies.receive_nowait())
            size += len(some[-1].data)
    return some


async def _commit_all(
    context: Context, holdings: Holdings, outcomes: trio.MemoryReceiveChannel[Done]
) -> None:
    with outcomes:
        async for outcome in outcomes:
            batch = [outcome]
            with trio.move_on_after(LINGER):
                while len(batch) < BATCH and (another := await _next(outcomes)) is not None:
                    batch.append(another)
            # Shielded: between a file's name and its row there is no place to end.
            with trio.CancelScope(shield=True):
                await commit(context, holdings, batch)


async def commit(context: Context, holdings: Holdings, batch: Sequence[Done]) -> None:
    """Bring a batch of outcomes to the disk and into the manifest.

    Raises:
        StorageError: The disk said no; no row of the batch was changed.
    """
    if any(one.job.known is not None for one in batch):
        batch = await recheck.sift(context, holdings, batch)
        if not batch:
            return
    ready = [outcome for outcome in batch if isinstance(outcome, Ready)]
    failed = [outcome for outcome in batch if isinstance(outcome, Failed)]
    placed: list[Placed] = []
    if ready:
        equal, others = await context.in_manifest(_look_up, context, holdings, ready)
        placed = await trio.to_thread.run_sync(context.store.settle, ready, equal, others)
    reasons = [(one.job.image_id, one.job.variant, one.reason) for one in failed]
    tried = [one for one in reasons if not one[2].startswith((UNASKED, EARLY))]
    await context.in_manifest(holdings.commit, placed, tried)
    if len(tried) < len(reasons):
        left = [one for one in reasons if one[2].startswith((UNASKED, EARLY))]
        await context.in_manifest(note_unasked, context.manifest, left)
    tally = context.tally
    tally.downloaded += sum(one.was_fetched for one in ready)
    tally.found += len(placed) - sum(one.was_fetched for one in ready)
    tally.linked += sum(one.is_link for one in placed)
    told = sum(one.told for one in ready)
    context.progress.done(len(placed), sum(one.size for one in placed) - told)
    if failed:
        context.progress.failed(len(failed))
    recheck.tell(context, ready, placed)


def _look_up(
    context: Context, holdings: Holdings, ready: Sequence[Ready]
) -> tuple[dict[str, list[str]], set[str]]:
    """Look up where the bytes of fetched files stand already, by their hashes, and what is another file's by now.

    A folder is recorded before it gets its first file: should we be killed before the rows are committed, the next
    pass looks into it and adopts what stands there, instead of fetching it again. So is the hash of a file whose row has
    another one: it came in the place of a lost or replaced one, and would not be believed.
    """
    stems = [context.store.stem(one.job.taken, one.job.variant, one.job.image_id) for one in ready]
    left = [one.source for one in ready if not one.was_fetched]  # its SHA256SUMS changes, too
    folders = {split(path)[0] for path in (*stems, *left)} - context.announced
    elsewhere = [
        (old, one.job)
        for one, stem in zip(ready, stems, strict=True)
        if (old := one.job.elsewhere(stem)) is not None
    ]
    others_than_known = [
        (stem + one.digest.content.ext, one.digest.sha256)
        for one, stem in zip(ready, stems, strict=True)
        if one.was_fetched and one.job.sha256 not in {None, one.digest.sha256}
    ]
    # One for all: outside of it every look locks and unlocks the file.
    with context.manifest.transaction():
        if folders:
            touch(context.manifest, (f"{folder}/-" if folder else "-" for folder in folders))
        holdings.lines.expect(others_than_known)
        equal = {
            digest.sha256: holdings.equal(digest.xxh3_128, digest.size, digest.sha256)
            for digest in (one.digest for one in ready if one.was_fetched)
        }
        others = holdings.others(elsewhere)
    context.announced |= folders
    return equal, others
