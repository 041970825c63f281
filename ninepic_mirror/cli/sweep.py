"""One run of `sync` over all its events: what each pass said, and an entry for every event whatever happens."""

from __future__ import annotations

import logging
import sys
from typing import TYPE_CHECKING, Final

import trio
from msgspec import Struct, field

from ninepic_mirror.cli import mirrors
from ninepic_mirror.cli.console import command
from ninepic_mirror.cli.options import PLACE, again
from ninepic_mirror.cli.outcome import Code, code_of, fail, is_of_one_event, worst
from ninepic_mirror.cli.summary import summarize, watermark
from ninepic_mirror.cli.wishes import chosen, day_span, known_span
from ninepic_mirror.errors import (
    KeyRefusedError,
    PassingError,
    StopProgramError,
    StorageError,
)
from ninepic_mirror.progress import choose
from ninepic_mirror.sync.context import Options
from ninepic_mirror.sync.mirror import sync_event
from ninepic_mirror.sync.report import Failure, PassReport
from ninepic_mirror.sync.session import (
    Session,
    StoppedError,
    open_session,
    require_key,
    require_storage,
    unwrapped,
)
from ninepic_mirror.sync.steps import Counters

if TYPE_CHECKING:
    from ninepic_mirror.cli.console import Console
    from ninepic_mirror.cli.wishes import Wishes
    from ninepic_mirror.config import Config
    from ninepic_mirror.model import Key, Variant

_LOG: Final = logging.getLogger(__name__)
_SILENCE: Final = (
    10.0  # seconds in which nothing but faults came, after which a person wants to know
)


class Sweep(Struct):
    """One run over all its events.

    Args:
        console: Where to say things.
        config: The settings.
        wishes: What was asked for.
        json: Print one object instead of text.
        codes: How each event ended.
        entries: What `--json` prints of each.
        told: Variants of the passes that were made and reported.
        session: The run, once it is open.
        before: The counters when the event that is under way was begun; before the first, when the run was.
    """

    console: Console
    config: Config
    wishes: Wishes
    json: bool
    codes: list[int] = field(default_factory=list)
    entries: list[object] = field(default_factory=list)
    told: set[Variant] = field(default_factory=set)
    session: Session | None = None
    before: Counters | None = None

    async def run(self, key: Key, stopping: trio.Event) -> int:
        """Make the passes; return the exit code."""
        if self.json:
            self.console.document = {"events": self.entries}
        progress = choose(quiet=self.console.quiet, stream=sys.stderr, json=self.console.json_log)
        left = list(self.wishes.ids or self.config.events.ids)
        try:
            async with open_session(self.config, key, progress) as session:
                session.stopping = stopping
                self.session, self.before = session, Counters.of(session)
                if _LOG.isEnabledFor(logging.INFO):
                    found = await trio.to_thread.run_sync(mirrors.here, session.root)
                    _LOG.info("%s holds the events %s", session.root.path, found)
                with unwrapped():
                    async with trio.open_nursery() as nursery:
                        nursery.start_soon(_tell_of_silence, session)
                        left = await session.unless_stopped(
                            lambda: chosen(session.client, self.config, self.wishes)
                        )
                        _LOG.info("events of this run: %s", left)
                        while left and not stopping.is_set():
                            await self._pass(session, left[0])
                            del left[0]
                        nursery.cancel_scope.cancel()
        # Order matters: what was done is told before and beside what went wrong, and every event gets its entry.
        except StoppedError:
            pass  # the signal's own code is what counts
        except Exception as error:  # noqa: BLE001  whatever ended it, what was done is reported first
            self.codes.append(fail(self.console, error))
            if left:
                self._note(left.pop(0), str(error))
                self.before = None
        for event_id in left:
            self._note(event_id, "the run ended before this event was compared")
            self.before = None  # of the others nothing was asked
        self._hint()
        return worst(self.codes)

    async def _pass(self, session: Session, event_id: int) -> None:
        """Make one pass and report it; what ends the program leaves as it came."""
        self.before = Counters.of(session)
        try:
            span = await session.unless_stopped(lambda: self._span(session, event_id))
            options = self._options(event_id, span)
            report = await sync_event(session, event_id, options, self.before)
        except StoppedError:
            raise
        except StopProgramError as error:
            if not is_of_one_event(error):
                raise
            if isinstance(error, KeyRefusedError):
                await require_key(session)
            if isinstance(error, StorageError):
                await trio.to_thread.run_sync(require_storage, session, error)
            self._failed(event_id, error)
        except Exception as error:  # noqa: BLE001  a bug in one event must not keep the others from being mirrored
            self._failed(event_id, error)
        else:
            self.codes.append(Code.WHOLE if report.is_good else Code.NOT_WHOLE)
            self._tell(report)

    def _options(self, event_id: int, span: tuple[int, int] | None = None) -> Options:
        wishes = self.wishes
        configured = wishes.configured(self.config, event_id)
        date = None if wishes.day is None else wishes.day.isoformat()
        return Options(
            wishes.full, span, wishes.accept_removals, bool(configured), configured, date,
            recheck=wishes.recheck,
        )  # fmt: skip

    def _failed(self, event_id: int, error: Exception) -> None:
        if isinstance(error, PassingError):  # it knows only what was answered
            error = PassingError(f"event {event_id}: {error.reason}")
        fail(self.console, error)
        self.codes.append(code_of(error))
        self._note(event_id, str(error))

    def _tell(self, report: PassReport) -> None:
        self.entries.append(report.as_json())
        self.told.update(self.config.mirror_for(report.event_id).variants)
        if self.json or (self.console.quiet and report.is_good):
            return
        words = again(self.wishes.flags, PLACE)
        lines = summarize(
            report,
            self.config.mirror_for(report.event_id).variants,
            next_command=command("status", str(report.event_id), *words, console=self.console),
        )
        for line in lines:
            self.console.print(line)

    def _note(self, event_id: int, text: str) -> None:
        """Give an event that has no report an entry: what is there by its manifest, and why there is no more."""
        report = PassReport(event_id, None, failures=[Failure(None, None, text)])
        report.scope = self._options(event_id).scope(self.config.mirror_for(event_id).variants)
        # What earlier passes made safe is still safe: the numbers come from the manifest, not from this run.
        mirrors.fill(report, self.config)
        if self.session is not None and self.before is not None:
            self.before.tell(report, self.session)
        self.entries.append(report.as_json())

    def _hint(self) -> None:
        # Beside a result only: after nothing but errors there are no files to speak of.
        note = watermark(self.told) if self.told and not self.json else None
        if note is not None:
            self.console.flush()  # the result first; where nobody reads it, nobody is told of what it carries
            if not self.console.gone:
                self.console.say(note)

    async def _span(self, session: Session, event_id: int) -> tuple[int, int] | None:
        """Return the span of `--day` for one event, None for all of it."""
        if self.wishes.day is None:
            return None
        known = await trio.to_thread.run_sync(known_span, self.config, event_id, self.wishes.day)
        if known is not None:
            return known  # nothing has to be asked for it
        details = await session.client.details(event_id)
        # Asked only when it is on: off, it would be a 403 (API.md, Errors).
        on = details.timeline_search
        reported = (await session.client.timeline_days(event_id)).hours if on else ()
        return day_span(self.config, event_id, self.wishes.day, reported)


async def _tell_of_silence(session: Session) -> None:
    """Say every 10 s that the API gives no good answer, while it gives none: 120 s are long without a word."""
    # Looked at from outside: the pacer belongs to every command and knows no console.
    pacer = session.client.pacer
    before = pacer.statistics()
    while True:
        await trio.sleep(_SILENCE)
        now = pacer.statistics()
        failed, before = now.retries - before.retries, now
        wait = now.waits_until - trio.current_time()
        if wait > 1:
            session.progress.note(f"{pacer.pace.origin} asks us to wait; going on in {wait:.0f} s")
        elif failed and trio.current_time() - pacer.answered_at >= _SILENCE:
            session.progress.note(f"no good answer from {pacer.pace.origin}; trying on")
