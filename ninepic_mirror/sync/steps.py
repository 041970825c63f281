"""The steps of one pass, from what a crash left to the balance sheet (DESIGN §6).

finish or undo what a crash left; look at what is on disk
counts; where nothing differs and nothing is wanted, that was all
list and download at once (`pipeline`)
whole listing: mark what left, rename what moved, empty into the trash
SHA256SUMS, event.json; look at the folders that changed
balance
"""

from __future__ import annotations

import functools
import threading
from typing import TYPE_CHECKING, Final, Self

import trio
from msgspec import Struct, structs

from ninepic_mirror.archive import (
    about,
    forgotten,
    inventory,
    partial,
    reconcile,
    sums,
    survey,
    trash,
)
from ninepic_mirror.archive.balance import (
    Balance,
    balance,
    counted,
    failures,
    note_count,
    still_to_come,
)
from ninepic_mirror.archive.holdings import Holdings
from ninepic_mirror.archive.listings import Listings, is_addressed, missed_photos
from ninepic_mirror.archive.lock import RESTORED
from ninepic_mirror.archive.strays import known_layouts
from ninepic_mirror.archive.verify import Pace
from ninepic_mirror.model import VARIANTS
from ninepic_mirror.sync import pipeline, recheck, repair
from ninepic_mirror.sync.download import Downloader
from ninepic_mirror.sync.enumerator import Enumerator, Findings
from ninepic_mirror.sync.report import Failure, PassReport
from ninepic_mirror.sync.session import Session, StoppedError

if TYPE_CHECKING:
    from ninepic_mirror.archive.records import Job
    from ninepic_mirror.archive.verify import Key
    from ninepic_mirror.model import Details
    from ninepic_mirror.sync.context import Context
    from ninepic_mirror.sync.planner import Remote

# In which order files come that are wanted: what failed by itself comes after all others.
_ALL: Final = (False, True)


class Counters(Struct):
    """The counters of the run at one moment; passes that overlap count each other's requests."""

    time: float
    api: int
    photos: int
    retries: int

    @classmethod
    def of(cls, session: Session) -> Self:
        """Read them."""
        api, photos = session.client.pacer.statistics(), session.pacer.statistics()
        requests = session.photos.statistics().requests
        return cls(trio.current_time(), api.requests, requests, api.retries + photos.retries)

    def tell(self, report: PassReport, session: Session) -> None:
        """Write into a report what was asked since, and how long it took."""
        after = Counters.of(session)
        report.seconds = after.time - self.time
        report.api_requests = after.api - self.api
        report.photo_requests = after.photos - self.photos
        report.retries = after.retries - self.retries


class Pass:
    """The steps of one pass, in order."""

    def __init__(
        self, session: Session, context: Context, details: Details, before: Counters
    ) -> None:
        self._session, self._context, self._details = session, context, details
        self._manifest, self._store = context.manifest, context.store
        patient = context.options.patient
        self._holdings = Holdings(context.manifest, context.number, patient=patient)
        self._listings = Listings(
            context.manifest,
            context.number,
            context.variants,
            patient=patient,
            recheck=context.options.recheck,
        )
        self._downloader = Downloader(context, self._holdings, session.allowance)
        self._send: pipeline.Send = _nowhere
        self._before = before
        self._others: list[
            object
        ] = []  # variants of which every photo had a row, and that are not asked for now
        self._changed = False  # something was listed, fetched, moved or found missing
        self._total: int | None = None  # photos that the service reports
        self._only: frozenset[Key] | None = None  # the only files to be fetched, None for all
        self._lost: list[tuple[str, str]] = []
        self._last: list[str] = []  # those of which the manifest is still to be told

    async def run(self) -> PassReport:
        """Make the pass; what the operator stopped is reported as not whole.

        Raises:
            StopProgramError: Nothing else of the run can succeed.
            StopEventError: The event cannot be listed.
        """
        context = self._context
        everything = await context.in_manifest(self._prepare)
        enumerator = Enumerator(
            context, self._listings, self._forward, timeline=self._details.timeline_search
        )
        findings, stopped_removal = None, 0
        try:
            remote = await self._session.unless_stopped(enumerator.counts)
            self._total = remote.total
            total: dict[str, object] = {"total": remote.total}
            await context.in_manifest(self._manifest.set_meta, total)
            if context.options.patient:
                await context.in_manifest(self._require_room, remote)
            findings = await self._fetch(enumerator, remote, everything=everything)
            if findings is not None:
                await self._give_back()
                stopped_removal = await context.in_manifest(self._reconcile, findings)
                if context.options.recheck:
                    await self._recheck()
                await self._conclude()
        except StoppedError:
            pass  # the report says what there is
        report = await context.in_manifest(self._report, findings, stopped_removal)
        self._before.tell(report, self._session)
        await context.in_manifest(self._close, report, findings)
        return report

    async def _forward(self, job: Job) -> None:
        if self._only is not None and (job.image_id, job.variant) not in self._only:
            return  # it stays pending in the manifest, and the next pass has it
        self._changed = True
        if self._downloader.should_come_last(job):
            self._last.append(job.image_id)
            if len(self._last) >= pipeline.BATCH:
                await self._put_back()
            return
        await self._send(job)

    async def _put_back(self) -> None:
        """Let the originals that are to come last be wanted again."""
        last, self._last = [*self._last, *self._downloader.take_early()], []
        if last:
            self._context.progress.expect(-len(last))
            await self._context.in_manifest(self._holdings.put_back, last)

    # --- before the listing --------------------------------------------------------------------------------------

    def _prepare(self) -> bool:
        """Bring the folder and the manifest in line; return whether everything is to be listed."""
        context, manifest, holdings = self._context, self._manifest, self._holdings
        if context.restored:
            configured = context.options.configured or context.variants
            context.note(repair.compare(manifest, holdings, self._store.tree, configured))
        trash.strike_off(manifest, self._store.day)
        # First of all what a crash left of photos that are to be forgotten.
        left = forgotten.Oblivion(manifest, self._store.tree, context.settings.layout).finish()
        for warning in left.warnings:
            context.note(warning)
        recovered = reconcile.recover(holdings, self._store)
        adopted = manifest.meta("adopted") is not None
        # a manifest that never saw a whole listing may not know yet what a kept part is for
        wanted = holdings.wanted() if adopted else None
        self._downloader.resumable = partial.sweep(self._store.tree, wanted)
        added = self._note_variants()
        # `everywhere` until every file that stood here before its row has had its chance to be adopted
        adopt = added or context.options.adopt
        everywhere = adopt or not adopted
        if everywhere:
            layouts = known_layouts(manifest, self._store.tree, context.settings.layout)
            holdings.strays.look_elsewhere(*layouts)
        missing = survey.survey(
            self._store.tree,
            holdings,
            sizes=context.options.full,
            everywhere=everywhere,
            records=context.options.records or context.restored,
        )
        self._downloader.look_for_strays = holdings.has_strays()
        moved = self._follow_settings()
        if context.options.repair or context.options.records:
            # A new or restored manifest knows too little yet to tell what is to be left for another pass.
            self._repair(alone=adopted and not (adopt or context.restored))
        # hours that were listed while the timeline was off say nothing of the photos that came meanwhile
        switched_on = manifest.meta("timeline") is False and self._details.timeline_search
        self._changed |= any(
            (left.photos, left.files, recovered, added, missing, moved, context.restored)
        )
        # nor do they give the addresses of files whose addresses are not stored
        unaddressed = context.options.recheck and not is_addressed(manifest, context.variants)
        return context.options.full or adopt or switched_on or context.restored or unaddressed

    def _repair(self, *, alone: bool) -> None:
        """Mend what `verify` found damaged; `alone`: this pass fetches nothing else."""
        options = self._context.options
        pace = options.reading or Pace(None, threading.Event())
        only = repair.mend(self._manifest, self._holdings, self._store, options.repair, pace)
        self._only = only if alone else None
        self._changed = True

    def _note_variants(self) -> bool:
        """Keep account of the variants; return whether one is wanted of which not every photo has a row."""
        manifest, variants = self._manifest, self._context.variants
        had = manifest.meta("variants")
        if not isinstance(had, list):  # a first pass that is cut off has made rows for these only
            had = list(variants)
        self._others = [variant for variant in had if variant not in variants]
        # photos that come in this pass get rows for its variants only; `_close` adds the others once all have theirs
        manifest.set_meta({"variants": [variant for variant in had if variant in variants]})
        options = self._context.options
        if manifest.meta("wanted") is None or not options.narrowed:
            wanted = options.configured if options.narrowed else variants
            manifest.set_meta({"wanted": list(wanted or variants)})
        return not set(variants) <= set(had)

    def _follow_settings(self) -> bool:
        """See whether layout or zone are others than last time; return whether files have to move."""
        manifest, settings = self._manifest, self._context.settings
        layout, timezone = manifest.meta("layout"), manifest.meta("timezone")
        same = layout in {None, settings.layout} and timezone in {None, settings.timezone}
        if not same:
            self._holdings.misplace_all()
        # Only now: cut off before, the next pass sees the same difference.
        manifest.set_meta({"layout": settings.layout, "timezone": settings.timezone})
        if layout not in {None, settings.layout}:
            # before anything is fetched: in another layout its place may be where an old file still stands
            self._context.tally.moved = reconcile.relocate(self._holdings, self._store)
        return not same

    def _require_room(self, remote: Remote) -> None:
        """See, before anything is begun, that the disk has room for all that is to come.

        Raises:
            StorageError: It has not.
        """
        needed = still_to_come(self._manifest, self._context.variants, remote.total)
        if needed:
            self._store.check_room(needed)

    # --- listing and fetching ------------------------------------------------------------------------------------

    async def _fetch(
        self, enumerator: Enumerator, remote: Remote, *, everything: bool
    ) -> Findings | None:
        """List and download; None when the operator stopped it.

        Where links to originals are long in coming, or cannot be judged before all photos are known, those that nobody
        waits for yet come when all else is sent.
        """
        findings: Findings | None = None

        async def produce(send: pipeline.Send) -> None:
            nonlocal findings
            self._send = send
            if (
                not self._context.restored
            ):  # else its rows may name hours that have long been others
                await self._send_wanted((False,))
            findings = await enumerator.run(remote, everything=everything)
            self._downloader.end_listing(complete=findings.complete)
            await self._put_back()
            await self._send_wanted()

        await pipeline.run(self._context, self._holdings, self._downloader, produce)
        return None if self._context.stopping.is_set() else findings

    async def _send_wanted(self, kinds: tuple[bool, ...] = _ALL) -> None:
        """Send the files that earlier passes did not have, of each kind in turn (`holdings.want`)."""
        first, last = self._context.options.day or (None, None)
        for tried in kinds:
            want = functools.partial(
                self._holdings.want, self._context.variants, first, last, tried=tried
            )
            while jobs := await self._context.in_manifest(want):
                self._context.progress.expect(len(jobs))
                for job in jobs:
                    await self._forward(job)

    async def _give_back(self) -> None:
        """Give photos that came back their files of the variants of which nothing is fetched any more."""
        context, holdings = self._context, self._holdings
        others = [variant for variant in VARIANTS if variant not in context.variants]
        while self._listings.returned and (
            jobs := await context.in_manifest(holdings.to_give_back, others)
        ):
            found = await trio.to_thread.run_sync(
                lambda jobs: [context.store.find(job) for job in jobs], jobs
            )
            await pipeline.commit(context, holdings, [one for one in found if one is not None])
            self._changed = True

    async def _recheck(self) -> None:
        """Ask of every file that is here whether its photo was replaced."""
        context, found = self._context, self._context.tally.recheck
        await pipeline.run(
            context,
            self._holdings,
            self._downloader,
            lambda send: recheck.produce(context, self._holdings, send),
        )
        found.ended = not context.stopping.is_set()
        self._changed = self._changed or found.replaced > 0

    # --- after the listing ---------------------------------------------------------------------------------------

    def _reconcile(self, findings: Findings) -> int:
        """Mark what left, rename what moved; return how many photos' removal was stopped."""
        context, holdings, store = self._context, self._holdings, self._store
        self._changed = self._changed or findings.listed
        stopped = 0
        is_whole_listing = (
            not (findings.faults or findings.rejected) and context.options.day is None
        )
        if is_whole_listing:
            if missed_photos(self._manifest):
                self._manifest.set_meta({about.NOTE: None})
            accept = context.options.accept_removals
            context.tally.gone, stopped = reconcile.remove_missed(
                self._manifest, holdings, accept=accept
            )
        context.tally.moved += reconcile.relocate(holdings, store)
        if context.options.full and is_whole_listing:
            if context.settings.on_remote_removal == "trash":
                started = self._manifest.count(
                    "SELECT started_at FROM passes WHERE id = ?", [context.number]
                )
                reconcile.empty_into_trash(holdings, store, started)
            moment = trash.Moment.now(self._session.client.time())
            ages = trash.Ages(self._manifest, store.day, moment)
            settings = context.settings
            terms = reconcile.Terms(
                settings.trash_keep,
                settings.on_remote_removal == "trash",
                known_layouts(self._manifest, store.tree, settings.layout),
            )
            reconcile.purge_trash(holdings, store, terms, ages, context.note)
            ages.record()
        self._changed = self._changed or bool(context.tally.gone or context.tally.moved)
        return stopped

    async def _conclude(self) -> None:
        """Write what people read; have back what somebody took away meanwhile, once."""
        if await self._context.in_manifest(self._tidy):
            # also where nothing can be sent for them, because their addresses are not known
            self._changed = True

            async def produce(send: pipeline.Send) -> None:
                self._send = send
                await self._send_wanted()

            await pipeline.run(self._context, self._holdings, self._downloader, produce)
            await self._context.in_manifest(self._tidy)

    def _tidy(self) -> int:
        tree, manifest = self._store.tree, self._manifest
        dropped: list[tuple[str, str]] = []
        sums.write_stale(tree, manifest, dropped)
        if lost := inventory.lost(manifest, dropped):
            self._lost += lost
            self._context.note(inventory.told(lost))
        # only when the counts, or what stands beside them, may have changed
        subject = self._subject()
        if (
            self._changed
            or self._context.options.full
            or manifest.meta(about.NOTE) != subject
            or tree.stat(about.NAME) is None
        ):
            said = about.describe(self._details, self._context.settings, manifest)
            manifest.set_meta({about.NOTE: None, about.HASH: None})  # while either may be
            about.write(tree, said)
            manifest.set_meta({about.NOTE: subject, about.HASH: about.hash_of(said)})
        return survey.conclude(tree, self._holdings)

    def _subject(self) -> list[object]:
        event, settings = self._details.event, self._context.settings
        return [
            *structs.asdict(event).values(),
            settings.timezone,
            settings.layout,
            about.wanted(self._manifest, settings),
        ]

    # --- the end -------------------------------------------------------------------------------------------------

    def _report(self, findings: Findings | None, stopped_removal: int) -> PassReport:
        context, tally = self._context, self._context.tally
        # one that was stopped may have recorded pages of which it sent no job
        self._changed = self._changed or findings is None
        there = self._balance()
        day = context.options.day
        lacking = [] if findings is None else [*findings.faults, *findings.rejected]
        stopped = findings is None
        if stopped:
            lacking.append("stopped before everything was listed; sync again, it goes on from here")
        if stopped_removal:
            lacking.append(
                f"{stopped_removal} photos left the event at once; they are kept here."
                " If that is right: sync --accept-removals"
            )
        missed = missed_photos(self._manifest, day) if day is not None else 0
        if missed:
            lacking.append(
                f"{missed} photos of this day are not listed any more; a sync of the whole event decides"
            )
        missing = there.missing
        if stopped and self._total is not None and day is None:
            missing = max(missing, self._total * len(context.variants) - there.present)
        elif missing > there.failed:
            lacking.append(f"{missing - there.failed} files are still to be had; sync again")
        failed = [Failure(*one) for one in failures(self._manifest, context.variants, day)]
        return PassReport(
            event_id=context.event_id,
            name=self._details.event.name,
            folder=str(self._store.tree.root),
            whole=not lacking and missing == 0,
            scope=context.options.scope(context.variants),
            photos=there.photos,
            undated=there.undated,
            downloaded=tally.downloaded,
            present=there.present,
            linked=tally.linked,
            moved=tally.moved,
            gone=tally.gone,
            failed=there.failed,
            missing=missing,
            total=self._total,
            nameless=len(findings.rejected) if findings else 0,
            stopped=stopped,
            stopped_removal=stopped_removal,
            bytes_downloaded=tally.bytes_downloaded,
            resized=tally.resized,
            forgotten=forgotten.counted(self._manifest),
            repeated=findings.repeated if findings else 0,
            recheck=tally.recheck if context.options.recheck else None,
            failures=[*(Failure(None, None, text) for text in lacking), *failed],
            lost=self._lost,
        )

    def _balance(self) -> Balance:
        """Count what is there; an unchanged mirror is not counted again, because a million photos take seconds."""
        context, manifest = self._context, self._manifest
        variants, day, there = context.variants, context.options.day, None
        if not self._changed and day is None:
            there = counted(manifest, variants, context.number - 1)
        if there is None:
            there = balance(manifest, variants, day)
        note_count(manifest, variants, context.number, None if day is not None else there)
        return there

    def _close(self, report: PassReport, findings: Findings | None) -> None:
        event, options = self._details.event, self._context.options
        self._manifest.set_meta(
            {"event_id": event.event_id, "name": event.name, "slug": event.slug}
        )
        if findings is not None and findings.complete and options.day is None:
            # every photo has its rows, and what stood here had its chance, though the counts may go on to disagree
            self._manifest.set_meta({"adopted": True, RESTORED: None})
        if findings is not None and not findings.faults and options.day is None:
            # where nothing was listed no photo came, and the others have all their rows as before
            others = [] if findings.listed else self._others
            self._manifest.set_meta(
                {
                    "variants": [*self._context.variants, *others],
                    "timeline": self._details.timeline_search,
                }
            )
        kind = "full" if options.full else "partial" if self._changed else "quick"
        if options.day is not None or options.narrowed:
            kind = "variant" if options.day is None else "day"
        self._manifest.end_pass(self._context.number, kind, report.as_kept(), whole=report.whole)
        self._manifest.checkpoint()


async def _nowhere(_job: Job) -> None:
    raise AssertionError("a job before the pipeline ran")
