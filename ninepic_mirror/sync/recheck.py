"""What comes of asking whether photos were replaced under their ids (`sync --recheck`, RELIABILITY N12).

What is here is good until something else stands in its place: whatever goes wrong with a request is listed, and the
row stays `present`. Changed bytes take the way of every other file. Before the old one gets a name in the trash and is
replaced in one step, its row leaves `present` in a transaction of its own; cut off from there on, the next pass finds
the old file by its hash where it stood, or fetches the new one again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

from ninepic_mirror.model import Known
from ninepic_mirror.sync.download import Failed, Unchanged
from ninepic_mirror.sync.report import Failure, Replaced

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from ninepic_mirror.archive.holdings import Holdings, Placed
    from ninepic_mirror.archive.store import Ready
    from ninepic_mirror.sync.context import Context
    from ninepic_mirror.sync.pipeline import Send

    Done = Ready | Failed | Unchanged


async def produce(context: Context, holdings: Holdings, send: Send) -> None:
    """Send a job for every file that is here; one whose address nobody knows is a failure of the recheck."""
    last = None
    variants, day = context.variants, context.options.day
    while jobs := await context.in_manifest(holdings.to_recheck, variants, last, day):
        context.progress.expect(len(jobs))
        last = jobs[-1]
        for job in jobs:
            if job.url is None and job.variant != "original":
                context.tally.recheck.note_unasked(job.image_id, job.variant)
                context.progress.failed(1)
            else:
                await send(job)


async def sift(context: Context, holdings: Holdings, batch: Sequence[Done]) -> list[Ready | Failed]:
    """Record of a batch what leaves files as they are; return what is to be placed or recorded as usual.

    Raises:
        StorageError: The disk said no.
    """
    found = context.tally.recheck
    usual: list[Ready | Failed] = []
    same: list[Ready] = []
    replaced: list[Ready] = []
    for one in batch:
        job = one.job
        if isinstance(one, Unchanged):
            found.unchanged += 1
            context.progress.done(1, 0)
        elif job.known is None:
            usual.append(one)
        elif isinstance(one, Failed):
            text = f"recheck: {one.reason}; the file here is kept"
            found.note_failed(Failure(job.image_id, job.variant, text))
            context.progress.failed(1)
        else:
            (same if one.digest.sha256 == job.sha256 else replaced).append(one)
    if same:
        await trio.to_thread.run_sync(context.store.discard, same)
        news = [(one.job, Known(one.etag, one.last_modified)) for one in same]
        await context.in_manifest(holdings.revalidate, news)
        found.same += len(same)
        context.progress.done(len(same), sum(one.digest.size - one.told for one in same))
    if replaced:
        await context.in_manifest(holdings.renounce, [one.job for one in replaced])
    return [*usual, *replaced]


def tell(context: Context, ready: Iterable[Ready], placed: Iterable[Placed]) -> None:
    """Report the replaced photos of a batch that was committed, with both hashes."""
    before = {(one.job.image_id, one.job.variant): one.job.sha256 for one in ready if one.job.known}
    for one in placed:
        old = before.get((one.image_id, one.variant))
        if old is not None:
            found = Replaced(one.image_id, one.variant, old, one.sha256)
            context.tally.recheck.note_replaced(found)
            context.note(
                f"{one.image_id} {one.variant} was replaced: SHA-256 {old} became {one.sha256};"
                " the old file is in the trash"
            )
