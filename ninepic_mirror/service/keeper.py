"""Which events are kept, and a pass over each that is due, within one open session.

    at the same time:
        find out which events there are, every DISCOVERY seconds
        start a pass over each event that is due, PASSES at a time and besides those that take long, the longest due first

A fault of one event is that event's: told once, tried again after a growing pause. One that all share ends the session.
"""

from __future__ import annotations

import logging
import math
import time
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

import trio
from msgspec import structs

from ninepic_mirror.errors import (
    CertificateError,
    KeyRefusedError,
    MirrorError,
    PassingError,
    StopProgramError,
    StorageError,
)
from ninepic_mirror.service.board import Board, Watched
from ninepic_mirror.service.rounds import Ended, Flags, failed, make_pass, read_board
from ninepic_mirror.service.schedule import Rhythm, Turn, adapt, after, first, is_full, recover
from ninepic_mirror.sync.selection import needs_list, select
from ninepic_mirror.sync.session import (
    Session,
    StoppedError,
    require_key,
    require_storage,
    unwrapped,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from random import Random

    from ninepic_mirror.archive.root import Root
    from ninepic_mirror.config import Config
    from ninepic_mirror.service.journal import LogProgress
    from ninepic_mirror.service.teller import Teller

_LOG: Final = logging.getLogger(__name__)

PASSES: Final = (
    4  # at a time: all share the origins' pace, so that more of them would only wait for each other
)
LONG: Final = 60.0  # seconds after which a pass counts no more: four first mirrors must not hold up all looks for hours
MOST: Final = 32  # passes at a time, long ones too: each holds a manifest open
DISCOVERY: Final = 3600.0  # seconds between two questions which events there are
RETRY: Final = 60.0  # ... after one that got no answer, or one that is not believed yet


@dataclass(slots=True)
class Kept:
    """What is known of one event, from one session to the next.

    Args:
        shown: On the board.
        turn: When it is due.
        flags: As the service last said.
        running: A pass is under way.
        began: When the last pass began, on trio's clock.
        progress: What the pass under way reports to; None before the first.
    """

    shown: Watched
    turn: Turn
    flags: Flags = field(default_factory=Flags)
    running: bool = False
    began: float = 0.0
    progress: LogProgress | None = None


class Keeper:
    """Keeps the events that the settings select.

    Args:
        config: The settings; `change` takes new ones.
        board: Where it is shown.
        teller: Says what is new.
        progress: Makes what one pass reports to, from the event's number and name.
        random: For the jitter.

    """

    def __init__(
        self,
        config: Config,
        board: Board,
        teller: Teller,
        progress: Callable[[int, str | None], LogProgress],
        random: Random,
    ) -> None:
        self._config, self._board, self._teller = config, board, teller
        self._progress, self._random = progress, random
        self._kept: dict[int, Kept] = {}
        self._listed: tuple[int, ...] = ()  # as last found
        self._lacking: frozenset[int] = frozenset()  # of those before, what the last list lacked
        self._wanted: frozenset[int] = frozenset()
        self._woken, self._ask = trio.Event(), trio.Event()
        self._fault: StopProgramError | None = None

    def steps(self) -> dict[int, int]:
        """Return, for each event over which a pass is under way, a number that grows while it gets somewhere."""
        return {
            event_id: kept.progress.signs
            for event_id, kept in self._kept.items()
            if kept.running and kept.progress is not None
        }

    def change(self, config: Config) -> None:
        """Let other settings hold from the next pass on."""
        self._config = config
        rhythm, now = Rhythm.of(config.daemon), trio.current_time()
        for kept in self._kept.values():
            kept.turn = adapt(kept.turn, now, rhythm)
            self._show(kept)
        self._ask.set()
        self.wake()

    def recover(self) -> None:
        """What kept all events from being mirrored is over: those that failed are looked at soon."""
        rhythm, now = Rhythm.of(self._config.daemon), trio.current_time()
        for kept in self._kept.values():
            kept.turn = recover(kept.turn, now, rhythm, chance=self._random.random())
            self._show(kept)
        self.wake()

    def wake(self) -> None:
        """Look again what is due."""
        self._woken.set()

    async def run(self, session: Session) -> None:
        """Keep the events until the session is to end.

        Args:
            session: Its `stopping` is set by whoever wants it to end; then passes under way end gently.

        Raises:
            StopProgramError: A fault that all events share; passes under way were ended gently before.
        """
        self._fault = None
        with unwrapped():
            async with trio.open_nursery() as helpers:
                helpers.start_soon(self._discover_for_ever, session)
                helpers.start_soon(self._wake_when, session.stopping)
                async with trio.open_nursery() as passes:
                    await self._start_passes(session, passes)
                helpers.cancel_scope.cancel()
        if self._fault is not None:
            raise self._fault

    async def _wake_when(self, event: trio.Event) -> None:
        await event.wait()
        self.wake()

    # --- which events --------------------------------------------------------------------------------------------

    async def _discover_for_ever(self, session: Session) -> None:
        while True:
            self._ask, pause = trio.Event(), RETRY
            try:
                pause = await self._discover(session)
                self._teller.over("events")
            except StopProgramError as error:
                self._end(session, error)
            except MirrorError as error:
                if self._kept:
                    _LOG.warning("which events there are: %s", self._teller.explain(error))
                    self._teller.over("events")
                else:
                    self._teller.unlisted(error)
            with trio.move_on_after(pause):
                await self._ask.wait()

    async def _discover(self, session: Session) -> float:
        """Find out which events there are; return after how many seconds to ask again.

        One list takes no event away: what it lacks is let be only when the next one lacks it, too, and an empty one
        after others is none (RELIABILITY N17). What is listed, but does not fit any more, is let be at once.
        """
        events = self._config.events
        known = [*dict.fromkeys([*events.ids, *(self._listed if needs_list(events) else ())])]
        await self._watch(session, known)  # they need not wait for the list
        if not needs_list(events):
            return DISCOVERY
        listed = [event async for event in session.client.events()]
        if not listed and (self._listed or await trio.to_thread.run_sync(_has_some, session.root)):
            raise PassingError("the service lists no event at all, though there were some")
        lacking = frozenset(self._listed) - {event.event_id for event in listed} - {*events.ids}
        doubtful, self._lacking = lacking - self._lacking, lacking
        found = [*select(events, listed, datetime.now(UTC)), *doubtful]
        self._listed = tuple(found)
        if not found:
            _LOG.warning("none of the organisation's %d events fits [events]", len(listed))
        await self._watch(session, found)
        for event in listed:
            if (kept := self._kept.get(event.event_id)) is not None:
                kept.shown.name = event.name or kept.shown.name
        return RETRY if doubtful else DISCOVERY

    async def _watch(self, session: Session, wanted: list[int]) -> None:
        """Begin with events that are new; let those be that are not wanted any more."""
        self._wanted = frozenset(wanted)
        for event_id, kept in list(self._kept.items()):
            if not kept.running:  # else when its pass has ended
                self._leave_unwanted(event_id)
        new = [event_id for event_id in wanted if event_id not in self._kept]
        rhythm = Rhythm.of(self._config.daemon)
        for place, event_id in enumerate(new):
            shown = Watched(event_id, watched_since=time.time())
            past = await trio.to_thread.run_sync(read_board, session.root, self._config, shown)
            turn = first(
                trio.current_time(), rhythm, chance=self._random.random(), full_age=past.full_age,
                place=place, of=len(new), quiet=past.quiet, full_gap=past.full_gap,
            )  # fmt: skip
            self._kept[event_id] = kept = Kept(shown, turn)
            self._board.events[event_id] = shown
            self._show(kept)
            self.wake()

    def _leave_unwanted(self, event_id: int) -> None:
        if event_id not in self._wanted:
            del self._kept[event_id]
            self._board.events.pop(event_id, None)
            self._teller.forget(event_id)

    def _show(self, kept: Kept) -> None:
        if not kept.running:
            kept.shown.due_at = time.time() + kept.turn.due - trio.current_time()

    # --- passes --------------------------------------------------------------------------------------------------

    async def _start_passes(self, session: Session, passes: trio.Nursery) -> None:
        while not session.stopping.is_set():
            self._woken = trio.Event()
            now = trio.current_time()
            waiting = sorted(
                (kept for kept in self._kept.values() if not kept.running),
                key=lambda kept: kept.turn.due,
            )
            for kept in waiting[: self._room(now)]:
                if kept.turn.due <= now:
                    kept.running, kept.began = True, now
                    passes.start_soon(self._pass, session, kept)
            if self._room(now):
                moments = [kept.turn.due for kept in waiting if not kept.running]
            else:  # until the first of them counts no more
                moments = [one.began + LONG for one in self._running() if now - one.began < LONG]
            with trio.move_on_at(max(now, min(moments, default=math.inf))):
                await self._woken.wait()

    def _running(self) -> list[Kept]:
        return [kept for kept in self._kept.values() if kept.running]

    def _room(self, now: float) -> int:
        """Return how many passes may begin now."""
        running = self._running()
        young = sum(now - kept.began < LONG for kept in running)
        return max(0, min(PASSES - young, MOST - len(running)))

    async def _pass(self, session: Session, kept: Kept) -> None:
        """Make one pass over an event, and decide when the next is due."""
        shown = kept.shown
        shown.began_at, shown.due_at = time.time(), None
        try:
            ended = await self._ended(session, kept)
            if ended is not None:
                rhythm, chance = Rhythm.of(self._config.daemon), self._random.random()
                # not the turn of the pass's start: the settings may have changed meanwhile
                kept.turn = after(
                    kept.turn, trio.current_time(), rhythm, ended.outcome, chance=chance
                )
        finally:
            shown.began_at, kept.running = None, False
            if not self._running():
                session.rooms.trim()
            self._show(kept)
            self._leave_unwanted(shown.event_id)
            self.wake()

    async def _ended(self, session: Session, kept: Kept) -> Ended | None:
        """Make the pass and tell of it; None where it came to nothing, so that it is due as before."""
        shown = kept.shown
        mirror = replace(self._config.mirror, connections=session.config.mirror.connections)
        view = structs.replace(session, config=replace(self._config, mirror=mirror))
        full = is_full(kept.turn, trio.current_time())
        try:
            kept.progress = self._progress(shown.event_id, shown.name)
            ended = await make_pass(view, shown, kept.flags, kept.progress, full=full)
        except StoppedError:
            return None
        except Exception as error:  # noqa: BLE001  a bug in one event must not keep the others from being mirrored
            _LOG.exception("event %s: a fault of this program", shown.event_id)
            ended = failed(error, full=full)
        if ended.report is not None and ended.report.stopped:
            return None
        if ended.error is not None and await self._is_everybodys(view, ended.error):
            return None
        folder = None
        with suppress(
            MirrorError
        ):  # one that cannot be told is this event's fault, and has been met
            folder = await trio.to_thread.run_sync(session.root.folder_of, shown.event_id)
        self._teller.ended(shown, ended, "" if folder is None else str(folder))
        if ended.report is not None:
            # what it wrote is on the disk, and by this key it was had
            self._teller.over("storage", "key", "config")
        return ended

    async def _is_everybodys(self, session: Session, error: Exception) -> bool:
        """Whether what ended a pass keeps all events from being mirrored; then the session ends."""
        try:
            if isinstance(error, KeyRefusedError):
                await require_key(session)
            elif isinstance(error, StorageError):
                await trio.to_thread.run_sync(require_storage, session, error)
            elif isinstance(error, CertificateError):
                raise error
        except StoppedError:
            return True
        except StopProgramError as fault:
            self._end(session, fault)
            return True
        return False

    def _end(self, session: Session, fault: StopProgramError) -> None:
        self._fault = self._fault or fault
        session.stopping.set()


def _has_some(root: Root) -> bool:
    """Whether events are mirrored in a root; also where that cannot be told of one. Blocks."""
    try:
        return bool(root.events())
    except StorageError:
        return True
