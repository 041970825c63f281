"""One pass over one event, from the lock to the balance sheet (DESIGN §6).

details → the event's folder → its lock → its manifest
finish or undo what a crash left; look at what is on disk
counts; where nothing differs and nothing is wanted, that was all
list and download at once (`pipeline`)
whole listing: mark what left, rename what moved, empty into the trash
SHA256SUMS, event.json; look at the folders that changed
balance
"""

from __future__ import annotations

from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial as partial_of
from typing import TYPE_CHECKING, Final, Self
from zoneinfo import ZoneInfo

import trio

from ninepic_mirror.archive import about, lock, partial, reconcile, sums, survey
from ninepic_mirror.archive.balance import balance, failures
from ninepic_mirror.archive.files import Tree
from ninepic_mirror.archive.holdings import Holdings
from ninepic_mirror.archive.listings import Listings
from ninepic_mirror.archive.manifest import Manifest, ManifestError, set_aside
from ninepic_mirror.archive.placement import Layout
from ninepic_mirror.archive.store import Store
from ninepic_mirror.errors import EventBusyError
from ninepic_mirror.sync import pipeline
from ninepic_mirror.sync.context import Context, Options
from ninepic_mirror.sync.download import Downloader
from ninepic_mirror.sync.enumerator import Enumerator, Findings
from ninepic_mirror.sync.report import Failure, PassReport
from ninepic_mirror.sync.session import Session, StoppedError, unwrapped

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from ninepic_mirror.archive.records import Job
    from ninepic_mirror.model import Details
    from ninepic_mirror.sync.planner import Remote

LOCK_WAIT: Final = 10.0  # seconds (DESIGN §3, exit code 7)
_LOCK_POLL: Final = 0.1


async def sync_event(session: Session, event_id: int, options: Options | None = None) -> PassReport:
    """Make one pass over an event.

    Args:
        session: The run.
        event_id: The event.
        options: How the pass was asked for.

    Returns:
        How it ended. When the operator stopped it, it is not whole.

    Raises:
        StopProgramError: Nothing else of the run can succeed.
        StopEventError: This event cannot be mirrored now.
        PassingError: The service answers nothing but faults for this event.
        StoppedError: The operator ended the run before there was anything to report.
    """
    before = _Counters.of(session)
    details = await session.unless_stopped(lambda: session.client.details(event_id))
    session.progress.start(details.event.name or f"event {event_id}")
    try:
        async with _opened(session, details, options or Options()) as context:
            with unwrapped():
                report = await _Pass(session, context, details, before).run()
    finally:
        session.progress.finish()
    return report


@asynccontextmanager
async def _opened(session: Session, details: Details, options: Options) -> AsyncIterator[Context]:
    """Lock the event and open everything of it that is on disk."""
    event_id = details.event.event_id
    settings = session.config.mirror_for(event_id)
    durable = settings.durability == "batch"
    folder = await trio.to_thread.run_sync(session.root.make_folder, event_id, details.event.slug)
    with ExitStack() as stack:
        held = stack.enter_context(lock.opened(folder / lock.PATH))
        await session.unless_stopped(lambda: _wait_for_lock(held, event_id))
        tree = stack.enter_context(Tree(folder, durable=durable))
        path = session.root.manifest_path(folder)
        manifest = await trio.to_thread.run_sync(
            partial_of(_open_manifest, path, session, durable=durable)
        )
        stack.enter_context(manifest)
        zone = ZoneInfo(settings.timezone)
        layout = Layout.parse(settings.layout)
        number = await trio.to_thread.run_sync(manifest.begin_pass, "quick")
        yield Context(
            event_id=event_id,
            settings=settings,
            zone=zone,
            api=session.client,
            photos=session.photos,
            pace=session.pacer,
            manifest=manifest,
            store=Store(tree, session.root, layout, zone, settings.duplicates, settings.min_free),
            progress=session.progress,
            options=options,
            number=number,
            limits=session.limits,
            stopping=session.stopping,
        )


async def _wait_for_lock(held: lock.Lock, event_id: int) -> None:
    with trio.move_on_after(LOCK_WAIT):
        while not held.try_lock():  # noqa: ASYNC110  another process sends us no event
            await trio.sleep(_LOCK_POLL)
        return
    raise EventBusyError(event_id, held.holder())


def _open_manifest(path: Path, session: Session, *, durable: bool) -> Manifest:
    """Open the manifest; a damaged one is moved aside, and the files are adopted anew (RELIABILITY L7)."""
    try:
        manifest = Manifest.open(path, durable=durable)
    except ManifestError as error:
        aside = set_aside(path)
        trio.from_thread.run_sync(
            session.progress.note,
            f"{path} was damaged ({error}); it is kept as {aside.name} and rebuilt from the files",
        )
        manifest = Manifest.open(path, durable=durable)
    with Tree(path.parent, durable=durable) as folder:
        folder.sync_folder("")  # the file's own name, before anything is recorded in it
    return manifest


@dataclass(slots=True)
class _Counters:
    """The counters of the run at one moment; passes that overlap count each other's requests."""

    time: float
    api: int
    photos: int
    retries: int

    @classmethod
    def of(cls, session: Session) -> Self:
        api, photos = session.client.pacer.statistics(), session.pacer.statistics()
        requests = session.photos.statistics().requests
        return cls(trio.current_time(), api.requests, requests, api.retries + photos.retries)


class _Pass:
    """The steps of one pass, in order."""

    def __init__(
        self, session: Session, context: Context, details: Details, before: _Counters
    ) -> None:
        self._session, self._context, self._details = session, context, details
        self._manifest, self._store = context.manifest, context.store
        self._holdings = Holdings(context.manifest, context.number)
        self._listings = Listings(context.manifest, context.number, context.variants)
        self._downloader = Downloader(context, self._holdings, session.allowance)
        self._send: pipeline.Send = _nowhere
        self._before = before
        self._changed = False  # something was listed, fetched, moved or found missing

    async def run(self) -> PassReport:
        context = self._context
        everything = await context.in_manifest(self._prepare)
        enumerator = Enumerator(
            context, self._listings, self._forward, timeline=self._details.timeline_search
        )
        findings, stopped_removal = None, 0
        try:
            remote = await self._session.unless_stopped(enumerator.counts)
            findings = await self._fetch(enumerator, remote, everything=everything)
            if findings is not None:
                stopped_removal = await context.in_manifest(self._reconcile, findings)
                await self._conclude()
        except StoppedError:
            pass  # the report says what there is
        report = await context.in_manifest(self._report, findings, stopped_removal)
        after = _Counters.of(self._session)
        report.seconds = after.time - self._before.time
        report.api_requests = after.api - self._before.api
        report.photo_requests = after.photos - self._before.photos
        report.retries = after.retries - self._before.retries
        await context.in_manifest(self._close, report, findings)
        return report

    async def _forward(self, job: Job) -> None:
        self._changed = True
        await self._send(job)

    # --- before the listing --------------------------------------------------------------------------------------

    def _prepare(self) -> bool:
        """Bring the folder and the manifest in line; return whether everything is to be listed."""
        manifest, holdings, options = self._manifest, self._holdings, self._context.options
        reconcile.recover(holdings, self._store)
        partial.sweep(self._store.tree)
        everywhere = manifest.meta("last_whole") is None
        missing = survey.survey(
            self._store.tree, holdings, sizes=options.full, everywhere=everywhere
        )
        self._downloader.look_for_strays = holdings.has_strays()
        settings = self._context.settings
        placing: dict[str, object] = {"layout": settings.layout, "timezone": settings.timezone}
        if any(manifest.meta(key) not in {None, value} for key, value in placing.items()):
            holdings.misplace_all()
            self._changed = True
        manifest.set_meta(placing)
        had = manifest.meta("variants")
        if not isinstance(had, list):  # a first pass that is cut off has made rows for these only
            manifest.set_meta({"variants": list(settings.variants)})
            had = settings.variants
        added = not set(settings.variants) <= set(had)
        self._changed = self._changed or bool(missing) or added
        return options.full or added

    # --- listing and fetching ------------------------------------------------------------------------------------

    async def _fetch(
        self, enumerator: Enumerator, remote: Remote, *, everything: bool
    ) -> Findings | None:
        """List and download; None when the operator stopped it."""
        findings: Findings | None = None

        async def produce(send: pipeline.Send) -> None:
            nonlocal findings
            self._send = send
            await self._send_wanted()
            findings = await enumerator.run(remote, everything=everything)

        await pipeline.run(self._context, self._holdings, self._downloader, produce)
        return None if self._context.stopping.is_set() else findings

    async def _send_wanted(self) -> None:
        """Send the files that earlier passes did not have."""
        day = self._context.options.day or (None, None)
        while jobs := await self._context.in_manifest(
            self._holdings.want, self._context.variants, *day
        ):
            self._context.progress.expect(len(jobs))
            for job in jobs:
                await self._forward(job)

    # --- after the listing ---------------------------------------------------------------------------------------

    def _reconcile(self, findings: Findings) -> int:
        """Mark what left, rename what moved; return how many photos' removal was stopped."""
        context, holdings, store = self._context, self._holdings, self._store
        self._changed = self._changed or findings.listed
        stopped = 0
        if not findings.faults and context.options.day is None:
            accept = context.options.accept_removals
            context.tally.gone, stopped = reconcile.remove_missed(
                self._manifest, holdings, accept=accept
            )
        context.tally.moved = reconcile.relocate(holdings, store)
        if context.options.full and context.settings.on_remote_removal == "trash":
            started = self._manifest.count(
                "SELECT started_at FROM passes WHERE id = ?", [context.number]
            )
            reconcile.empty_into_trash(holdings, store, started)
        if context.options.full:
            reconcile.purge_trash(holdings, store, context.settings.trash_keep)
        self._changed = self._changed or bool(context.tally.gone or context.tally.moved)
        return stopped

    async def _conclude(self) -> None:
        """Write what people read; have back what somebody took away meanwhile, once."""
        if await self._context.in_manifest(self._tidy):

            async def produce(send: pipeline.Send) -> None:
                self._send = send
                await self._send_wanted()

            await pipeline.run(self._context, self._holdings, self._downloader, produce)
            await self._context.in_manifest(self._tidy)

    def _tidy(self) -> int:
        tree = self._store.tree
        sums.write_stale(tree, self._manifest)
        about.write(tree, about.describe(self._details, self._context.settings, self._manifest))
        return survey.conclude(tree, self._holdings)

    # --- the end -------------------------------------------------------------------------------------------------

    def _report(self, findings: Findings | None, stopped_removal: int) -> PassReport:
        context, tally = self._context, self._context.tally
        there = balance(self._manifest, context.variants, context.options.day)
        lacking = (
            [Failure(None, None, text) for text in (*findings.faults, *findings.rejected)]
            if findings
            else []
        )
        if stopped_removal:
            text = (
                f"{stopped_removal} photos left the event at once; they are kept here."
                " If that is right: sync --accept-removals"
            )
            lacking.append(Failure(None, None, text))
        failed = [Failure(*one) for one in failures(self._manifest, context.variants)]
        if there.missing > there.failed and findings is not None:
            text = f"{there.missing - there.failed} files are still to be had; sync again"
            lacking.append(Failure(None, None, text))
        return PassReport(
            event_id=context.event_id,
            name=self._details.event.name,
            folder=str(self._store.tree.root),
            whole=findings is not None and not lacking and there.missing == 0,
            photos=there.photos,
            undated=there.undated,
            downloaded=tally.downloaded,
            present=there.present,
            linked=tally.linked,
            moved=tally.moved,
            gone=tally.gone,
            failed=there.failed,
            missing=there.missing,
            stopped_removal=stopped_removal,
            bytes_downloaded=tally.bytes_downloaded,
            resized=tally.resized,
            repeated=findings.repeated if findings else 0,
            failures=[*lacking, *failed],
        )

    def _close(self, report: PassReport, findings: Findings | None) -> None:
        event, options = self._details.event, self._context.options
        self._manifest.set_meta(
            {"event_id": event.event_id, "name": event.name, "slug": event.slug}
        )
        if findings is not None and not findings.faults and options.day is None:
            self._manifest.set_meta(
                {"variants": list(self._context.variants), "total": findings.remote.total}
            )
        kind = "full" if options.full else "partial" if self._changed else "quick"
        if options.day is not None:
            kind = "day"
        self._manifest.end_pass(self._context.number, kind, report.as_json(), whole=report.whole)
        self._manifest.checkpoint()


async def _nowhere(_job: Job) -> None:
    raise AssertionError("a job before the pipeline ran")
