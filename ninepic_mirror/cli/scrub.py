"""One run of `verify` over its events: their order, the passes that repair, and what is said of them.

What is read of one event, and how it is judged: `inspection`. A manifest that cannot be used: `rebuild`. The repair is
a pass like that of `sync`; as what it finds the mirror: `course`.
"""

from __future__ import annotations

import sys
import threading
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import TYPE_CHECKING, Final

import trio
from msgspec import Struct, field, structs

from ninepic_mirror.archive import lock
from ninepic_mirror.archive.files import Tree
from ninepic_mirror.archive.manifest import Manifest
from ninepic_mirror.archive.veiled import is_behind
from ninepic_mirror.archive.verify import Pace
from ninepic_mirror.cli import cures, mirrors, named
from ninepic_mirror.cli.console import command
from ninepic_mirror.cli.course import plan
from ninepic_mirror.cli.erasure import erase
from ninepic_mirror.cli.inspection import Inspection
from ninepic_mirror.cli.options import PLACE, again, repairs
from ninepic_mirror.cli.outcome import Code, code_of, fail, is_of_one_event, worst
from ninepic_mirror.cli.rebuild import Examination, is_damage
from ninepic_mirror.cli.summary import count
from ninepic_mirror.cli.verdict import Verdict, describe, lacking
from ninepic_mirror.errors import (
    LostError,
    MirrorError,
    StorageError,
    UsageError,
)
from ninepic_mirror.progress import choose

if TYPE_CHECKING:
    from pathlib import Path

    from ninepic_mirror.cli.console import Console
    from ninepic_mirror.cli.inspection import Asked
    from ninepic_mirror.config import Config
    from ninepic_mirror.model import Details, Variant
    from ninepic_mirror.progress import Progress
    from ninepic_mirror.sync.context import Options
    from ninepic_mirror.sync.report import PassReport
    from ninepic_mirror.sync.session import Session

_GRACE: Final = 0.05  # seconds between two looks whether a run whose time is over has read one file


class Scrub(Struct):
    """One run over all its events.

    Args:
        console: Where to say things.
        config: The settings.
        asked: What was asked for.
        stop: Set when reading is to end.
        stopping: Set when the operator wants to end.
        stopped: Set in the same moment as `stopping`, for threads.
        pace: How fast to read, and until when.
        is_late: The time that was given is over.
        codes: How each event ended.
        entries: What `--json` prints of each.
        session: The run against the service, opened for the first repair.
        hopeless: Nothing can be repaired any more in this run.
    """

    console: Console
    config: Config
    asked: Asked
    progress: Progress
    stack: AsyncExitStack = field(default_factory=AsyncExitStack)
    stop: threading.Event = field(default_factory=threading.Event)
    stopping: trio.Event = field(default_factory=trio.Event)
    stopped: threading.Event = field(default_factory=threading.Event)
    is_late: bool = False
    codes: list[int] = field(default_factory=list)
    entries: list[object] = field(default_factory=list)
    session: Session | None = None
    hopeless: bool = False
    pace: Pace = field(default_factory=lambda: Pace(None, threading.Event()))

    @classmethod
    async def run(cls, console: Console, config: Config, asked: Asked, stopping: trio.Event) -> int:
        """Verify; return the exit code."""
        progress = choose(quiet=console.quiet, stream=sys.stderr, json=console.json_log)
        self = cls(console, config, asked, progress, stopping=stopping)
        self.pace = Pace(asked.rate, self.stop)
        if asked.json:
            console.document = {"events": self.entries}
        try:
            events = await trio.to_thread.run_sync(self._events)
        except MirrorError as error:
            ids = asked.ids or config.events.ids
            self.entries += [Verdict(number, error=str(error)).as_json() for number in ids]
            return fail(console, error)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._watch)
            nursery.start_soon(self._time)
            async with (
                self.stack
            ):  # within: what is opened for a repair ends before the nursery that it began in
                for event_id in events:
                    await self._event(event_id)
            nursery.cancel_scope.cancel()
        return worst(self.codes)

    async def _watch(self) -> None:
        await self.stopping.wait()
        self.stopped.set()
        self.stop.set()

    async def _time(self) -> None:
        if self.asked.seconds is not None:
            await trio.sleep(self.asked.seconds)
            # A file larger than rate and time allow would otherwise be begun in vain by every run.
            while not self.pace.advanced.is_set():  # noqa: ASYNC110  set by a thread that is not trio's
                await trio.sleep(_GRACE)
            self.is_late = True
            self.stop.set()

    # --- which events --------------------------------------------------------------------------------------------

    def _events(self) -> list[int]:
        root = mirrors.root_of(self.config)
        there = mirrors.require_root(root)
        # An event that ought to be here and is not must not go unnoticed.
        events = self.asked.ids or {*there, *self.config.events.ids}
        if not events:
            raise UsageError(f"no event is mirrored in {root.path} yet", "run sync first")
        # Who was verified longest ago comes first, so that in a limited time every event has its turn.
        return sorted(events, key=lambda number: (self._last_time(number), number))

    def _last_time(self, event_id: int) -> int:
        try:
            with mirrors.opened(mirrors.root_of(self.config), event_id) as (manifest, _):
                if manifest.version() < 2:
                    return 0
                query = "SELECT max(verified_at) FROM files WHERE verified_at IS NOT NULL"
                return manifest.count(query)
        except MirrorError:
            return 0  # whoever reads it says what is wrong

    # --- one event -----------------------------------------------------------------------------------------------

    async def _event(self, event_id: int) -> None:
        verdict = Verdict(event_id)
        try:
            if self.stop.is_set():
                verdict.error = "the run ended before this event was looked at"
            else:
                await self._verify(event_id, verdict)
        except Exception as error:  # noqa: BLE001  one event must not keep the others from being verified
            from ninepic_mirror.sync.session import StoppedError  # noqa: PLC0415  as in `_pass`

            if not isinstance(error, StoppedError):  # else the signal's own code is what counts
                verdict.error = str(error)
                self.codes.append(fail(self.console, error))
        self.progress.finish()
        self.codes.append(Code.DAMAGED if verdict.is_damaged else Code.WHOLE)
        if verdict.is_behind:
            self.codes.append(Code.NOT_WHOLE)
        self.entries.append(verdict.as_json())
        is_well = not (verdict.is_damaged or verdict.is_behind)
        if not self.asked.json and not (self.console.quiet and is_well):
            words = ("verify", str(event_id), *again(self.asked.flags, PLACE), "--json")
            for line in describe(
                verdict,
                repair=repairs(self.console, self.config, self.asked.flags, event_id),
                everything=command(*words, console=self.console),
                repairing=self.asked.key is not None,
            ):
                self.console.print(line)
        if verdict.failures and not self.asked.json:
            words = ("status", str(event_id), *again(self.asked.flags, PLACE))
            for line in lacking(
                verdict,
                everything=command(*words, console=self.console),
                sync=cures.syncs(self.console, self.config, self.asked.flags, event_id),
            ):
                self.console.print(line)

    async def _verify(self, event_id: int, verdict: Verdict) -> None:
        began = trio.current_time()
        try:
            folder = await trio.to_thread.run_sync(self._folder, event_id)
        except LostError as gone:
            folder = await self._make_folder(event_id, gone)
        root = mirrors.root_of(self.config)
        path = root.manifest_path(folder)
        manifest = Examination(root, event_id, path, not self.asked.quick, self.stop.is_set)
        fault = await trio.to_thread.run_sync(manifest.fault)
        if fault is not None:
            await self._rebuild(manifest, fault, verdict)
        elif not self.asked.quick:
            await trio.to_thread.run_sync(self._forget, event_id, folder, path)
        try:
            await self._inspect(event_id, folder, path, verdict)
        except StorageError as error:
            # damage that only shows when a row is read
            if verdict.rebuilt or not is_damage(error):
                raise
            await self._rebuild(manifest, error.text, verdict)
            await self._inspect(event_id, folder, path, verdict)
        verdict.seconds = trio.current_time() - began
        verdict.late, verdict.stopped = self.is_late, self.stopping.is_set()

    def _forget(self, event_id: int, folder: Path, path: Path) -> None:
        """Finish what `forget` began and the manifest does not know of, or not any more: readers hide it meanwhile.

        Where we may not write, or a pass is at work, which does it first of all, it is left.
        """
        try:
            with mirrors.opened(mirrors.root_of(self.config), event_id, veiled=False) as found:
                if not is_behind(found[0], folder):
                    return
            settings = self.config.mirror_for(event_id)
            durable = settings.durability == "batch"
            with lock.opened(folder / lock.PATH) as held:
                if not held.try_lock():
                    return
                with (
                    Tree(folder, durable=durable) as tree,
                    Manifest.open(path, durable=durable) as manifest,
                ):
                    gone = erase(tree, manifest, held.last_pass, settings.layout)
        except StorageError as error:  # a full disk, a damaged list: what is read is no less true
            self.progress.note(
                f"what was to be forgotten is not finished: {error}; next: {error.cure}"
            )
        else:
            self.progress.note(
                "the manifest is an older copy, or forget was cut off:"
                f" {count(gone.photos, 'photo')} forgotten, {count(gone.files, 'file')} removed"
            )
            for warning in gone.warnings:
                self.progress.note(warning)

    async def _inspect(self, event_id: int, folder: Path, path: Path, verdict: Verdict) -> None:
        verdict.forget()
        with Tree(folder) as tree:
            event = Inspection(
                self.config, self.asked, self.progress, self.pace, event_id, tree, path, verdict
            )
            await event.read()
            if not self.stop.is_set():
                await event.find_strays()
                await event.find_namesakes()
                await event.read_records()
            await event.settle()
            if unreadable := [*verdict.closed, *verdict.errors]:
                self.codes.append(fail(self.console, unreadable[0]))
            if verdict.needs_pass and self.asked.key is not None and not self.stopping.is_set():
                await self._repair(event, verdict)

    def _folder(self, event_id: int) -> Path:
        with cures.told(self.console, self.config, self.asked.flags, event_id):
            return mirrors.folder_of(mirrors.root_of(self.config), event_id)

    async def _make_folder(self, event_id: int, gone: LostError) -> Path:
        """Make an event's folder again, where that was asked for: all that its manifest tells of is missing then.

        Not before the service has answered: until then it is told that the folder is gone.

        Raises:
            LostError: Nothing is to be repaired, or nothing can be any more.
        """
        if self.asked.key is None or self.hopeless:
            raise gone
        self.progress.note(f"{gone}; it is had again")
        session = await self._open_session()
        try:
            details = await session.unless_stopped(lambda: session.client.details(event_id))
        except MirrorError as error:
            self.hopeless = not is_of_one_event(error)
            raise
        return await trio.to_thread.run_sync(session.root.make_folder, event_id, details.event.slug)

    async def _rebuild(self, manifest: Examination, fault: str, verdict: Verdict) -> None:
        """Rebuild a lost or damaged manifest from the files, where that was asked for.

        The old one stays until the service has said that it knows the event: it may still tell more than nothing.

        Raises:
            StorageError: Nothing is to be repaired.
            MirrorError: Nothing can be rebuilt now.
        """
        event_id, path = manifest.event_id, manifest.path
        if self.asked.key is None:
            repair = repairs(self.console, self.config, self.asked.flags, event_id)
            raise StorageError(str(path), fault, f"rebuild it from the files: {repair}")
        try:
            session = await self._open_session()
            details = await session.unless_stopped(lambda: session.client.details(event_id))
            folder = await trio.to_thread.run_sync(
                session.root.make_folder, event_id, details.event.slug
            )
            durable = self.config.mirror_for(event_id).durability == "batch"
            told = await manifest.make_way(folder, fault, durable=durable)
        except MirrorError:
            stays = "" if manifest.seen is None else ", and stays as it is"
            self.console.warn(f"{path}: {fault}; it could not be rebuilt{stays}")
            raise
        if told is None:
            return  # another run has rebuilt it meanwhile
        self.progress.note(told)
        report, left = await self._pass(event_id, folder, details=details)
        if left:
            self.codes.append(Code.NOT_WHOLE)
            words = cures.syncs(self.console, self.config, self.asked.flags, event_id)
            self.console.warn(
                f"event {event_id}: {' and '.join(left)} files are wanted and were not asked for, because no SHA256SUMS"
                f" names any; all of them come with: {words}"
            )
        verdict.rebuilt = True
        named.note_lost(verdict, report.lost)
        verdict.fetched += report.downloaded
        verdict.moved += report.moved
        verdict.failures = report.failures
        if not report.whole:
            self.codes.append(Code.NOT_WHOLE)

    async def _pass(
        self,
        event_id: int,
        folder: Path,
        verdict: Verdict | None = None,
        details: Details | None = None,
    ) -> tuple[PassReport, list[Variant]]:
        """Make a pass that has again what is damaged, or, without a verdict, one that rebuilds the manifest.

        Args:
            event_id: Of the event.
            folder: Its folder.
            verdict: What is damaged.
            details: What the service said of the event a moment ago; None: ask.

        Returns:
            How it ended, and the variants that are wanted and were not asked for.
        """
        # half of what the command needs to start, and most of its runs repair nothing
        from ninepic_mirror.sync.context import Options  # noqa: PLC0415
        from ninepic_mirror.sync.mirror import sync_event  # noqa: PLC0415

        session = await self._open_session()
        course = await trio.to_thread.run_sync(plan, self.config, event_id, folder, verdict)
        config = replace(session.config, event={**self.config.event, event_id: course.settings})
        options = Options(narrowed=course.narrowed, configured=course.usual)
        if verdict is not None:
            options = self._asking(verdict, options)
        session = structs.replace(session, config=config)
        report = await sync_event(session, event_id, options, details=details)
        return report, course.left

    def _asking(self, verdict: Verdict, options: Options) -> Options:
        """Return how to ask for what is damaged."""
        return replace(
            options,
            repair=tuple(verdict.damages),
            records=bool(verdict.records),
            adopt=verdict.is_behind or verdict.has_wrong_lines,
            reading=self.pace.until(self.stopped),
        )

    async def _open_session(self) -> Session:
        from ninepic_mirror.sync.session import open_session  # noqa: PLC0415  as in `_pass`

        if self.session is None:
            assert self.asked.key is not None  # noqa: S101  only a repair asks for it
            opened = open_session(self.config, self.asked.key, self.progress)
            self.session = await self.stack.enter_async_context(opened)
            self.session.stopping = self.stopping
        return self.session

    async def _repair(self, event: Inspection, verdict: Verdict) -> None:
        """Have again what is damaged, and look whether it is right then.

        What could not be had is searched for once more, among what is here by then, and brought by another pass.
        """
        if self.hopeless or not await self._try(event, verdict, verdict):
            return
        if left := await event.search_again(self.pace.until(self.stopped)):
            await self._try(event, verdict, structs.replace(verdict, damages=left))

    async def _try(self, event: Inspection, verdict: Verdict, asked: Verdict) -> bool:
        """Make a pass for what is asked, all or a part of a verdict; return whether it came to its end."""
        try:
            report, _ = await self._pass(event.event_id, event.tree.root, asked)
        except MirrorError as error:
            fail(self.console, error)
            self.codes.append(code_of(error))
            self.hopeless = not is_of_one_event(error)
            is_done = False
        else:
            verdict.fetched += report.downloaded
            verdict.moved += report.moved
            verdict.tried = is_done = True
            named.note_lost(verdict, report.lost)
            if verdict.is_behind and not report.whole:
                self.codes.append(Code.NOT_WHOLE)
                verdict.failures = report.failures
        await event.see_repaired(self.pace.until(self.stopped))
        return is_done
