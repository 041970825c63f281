"""Keeps events fresh until told to stop (DESIGN §1, the second user).

    until stopped:
        open a session: two clients, the mirror root; hold the root, so that no other daemon does
        ask the service one thing: does it answer, is the key good?
        keep the events (`keeper`) until
            the operator stops us                               → downloads under way end, all is committed
            settings changed that the session was opened with   → the same, then anew
            a fault that all events share: key, disk, certificate → the same, told once, anew after a growing pause
    beside it, every second: outages, events that have not been whole for too long, free space, the line for systemd

Whether a fault passes is never decided here: every one is tried again. Only a second daemon, and a credential that is
refused for REFUSALS seconds, end the program: systemd then starts it anew, and reads the credential anew.
"""

from __future__ import annotations

import logging
import time
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from random import Random
from typing import TYPE_CHECKING, Final, TypeVar

import trio
from msgspec import structs

from ninepic_mirror.errors import (
    ConfigError,
    KeyRefusedError,
    MirrorError,
    PassingError,
    RootBusyError,
    StopEventError,
    StopProgramError,
    StorageError,
    UnreachableError,
    UsageError,
)
from ninepic_mirror.ninepic.limits import Limits
from ninepic_mirror.progress import Silent
from ninepic_mirror.service.board import Board
from ninepic_mirror.service.keeper import Keeper
from ninepic_mirror.service.pulse import Sample
from ninepic_mirror.service.schedule import Rhythm
from ninepic_mirror.service.teller import Teller
from ninepic_mirror.service.traffic import Meter
from ninepic_mirror.sync.session import Session, StoppedError, open_session, unwrapped

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

    from ninepic_mirror.config import Config
    from ninepic_mirror.model import Key
    from ninepic_mirror.service.hooks import HookRunner
    from ninepic_mirror.service.journal import LogProgress
    from ninepic_mirror.service.notify import Notifier

_LOG: Final = logging.getLogger(__name__)
T = TypeVar("T")

PAUSES: Final = (
    5.0,
    300.0,
)  # seconds between two sessions that a fault ends: the first, and the longest
GIVE_UP: Final = (
    30.0  # seconds without a good answer after which a pass fails; others may have better luck
)
DOUBT: Final = 3.0  # ... after which the service is asked something simple
REFUSALS: Final = 900.0  # seconds of refusals after which a credential is given up
_TICK: Final = 1.0  # seconds
_LONGEST_START: Final = (
    60.0  # seconds; a root on a network file system that hangs must not fail the start
)
_FREE: Final = (
    30  # ticks between two looks at the free space: on a network file system it may take a while
)


@dataclass(slots=True)
class Tools:
    """What the command gives the daemon.

    Args:
        read: Reads the configuration again. Raises ConfigError or UsageError.
        read_key: Finds the key that a configuration names. Raises ConfigError. It may block.
        explain: Puts an error and its cure into one line.
        progress: Makes what one pass reports to, from the event's number and name.
        notifier: Tells systemd.
        hooks: Runs the operator's commands.
        random: For the jitter.
        limits: Of the remote side.
    """

    read: Callable[[], Config]
    read_key: Callable[[Config], Key]
    explain: Callable[[Exception], str]
    progress: Callable[[int, str | None], LogProgress]
    notifier: Notifier
    hooks: HookRunner
    random: Random = field(default_factory=Random)
    limits: Limits = field(default_factory=Limits)


class Daemon:
    """Keeps the configured events fresh.

    Args:
        tools: What it works with.
        config: The settings.
        key: Of the API.

    Attributes:
        board: What it knows at this moment.
    """

    def __init__(self, tools: Tools, config: Config, key: Key) -> None:
        self._tools, self._config, self._key = tools, config, key
        self.board = Board(time.time(), stale_after=config.daemon.stale_after)
        self._teller = Teller(self.board, tools.hooks, tools.explain)
        self._keeper = Keeper(config, self.board, self._teller, tools.progress, tools.random)
        self._meter = Meter()
        self._session: Session | None = None
        self._stopping = trio.Event()
        self._ending = trio.Event()  # the session is to end
        self._probing = False
        self._faults = 0  # sessions in a row that a fault ended
        self._refused_at: float | None = None  # since when the key is refused

    @property
    def session(self) -> Session | None:
        """The session that is open, None between two."""
        return self._session

    def sample(self) -> Sample:
        """Return what tells whether work goes on, for the watchdog."""
        retries = (
            self._meter.retries
        )  # while the service is down nothing else moves, and nothing hangs
        steps: dict[Hashable, Hashable] = {
            event_id: (step, retries) for event_id, step in self._keeper.steps().items()
        }
        return Sample(trio.current_time(), steps, self._meter.waits_until)

    async def run(self, stopping: trio.Event) -> None:
        """Keep events fresh until `stopping` is set.

        Raises:
            StopProgramError: Nothing can be done about it here.
        """
        self._stopping = stopping
        with unwrapped():
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._watch_stop)
                nursery.start_soon(self._tick)
                while not stopping.is_set():
                    self._ending = trio.Event()
                    try:
                        await self._keep()
                    except StoppedError:
                        continue
                    except RootBusyError:
                        raise
                    except StopProgramError as error:
                        with suppress(StoppedError):
                            await self._bear(error)
                nursery.cancel_scope.cancel()

    async def _watch_stop(self) -> None:
        await self._stopping.wait()
        self.board.phase = "stopping"
        self._tools.notifier.stopping()
        self._ending.set()

    # --- one session ---------------------------------------------------------------------------------------------

    async def _keep(self) -> None:
        """Keep events fresh within one session.

        Raises:
            StopProgramError: What ended it.
            StoppedError: It was ended before it had begun.
        """
        async with open_session(
            self._config,
            self._key,
            Silent(),
            make_root=False,
            give_up=GIVE_UP,
            limits=self._limits(),
        ) as session:
            session.stopping = self._ending
            await trio.to_thread.run_sync(session.root.hold)
            _LOG.info(
                "%s is kept fresh, by what %s says", session.root.path, self._config.api.base_url
            )
            self._session = session
            self._meter.begin(session)
            try:
                await self._contact(session)
                await self._keeper.run(session)
            finally:
                self._meter.end()
                self._session = None
                session.root.release()

    def _limits(self) -> Limits:
        """Return the limits with retries no further apart than looks: the end of an outage is noticed within one."""
        limits = self._tools.limits
        cap = min(limits.backoff.cap, Rhythm.of(self._config.daemon).min_interval)
        backoff = structs.replace(limits.backoff, cap=cap)
        # the probes are `_tick`'s
        return structs.replace(limits, backoff=backoff, probes=False, waits=True)

    async def _contact(self, session: Session) -> None:
        """See that there is room, that the service answers and that the key is good.

        Raises:
            StopProgramError: One of it is not so.
            StoppedError: The session is to end.
        """
        self.board.free = await trio.to_thread.run_sync(session.root.free)
        await trio.to_thread.run_sync(_require_room, session)
        # A fault says nothing against the key; `_tick` looks on.
        with suppress(PassingError, UnreachableError):
            try:
                await session.unless_stopped(lambda: session.client.events_page(1, 1))
            except StopEventError as error:  # a 404, or a redirect: events may be had all the same
                self._teller.trouble(error)
                return
            if self._teller.over("service", "key", "config"):
                self._keeper.recover()
            _LOG.info("%s answers", self._config.api.base_url)
            self._ready()

    def _ready(self) -> None:
        """Tell systemd that the start, or a reload, is over: there was a contact, or it is clear that there is none."""
        if self.board.phase in {"starting", "reloading"}:
            self.board.phase = "running"
            self._tools.notifier.ready(self.board.headline(time.time()))

    async def _bear(self, error: StopProgramError) -> None:
        """Wait, after a fault that all events share, before the next session.

        Raises:
            KeyRefusedError: A credential was refused for too long.
        """
        if "key" not in self.board.troubles:
            self._refused_at = None  # what was refused before was accepted since
        self._teller.trouble(error)
        self._ready()
        if not self._stopping.is_set():
            self._ending = trio.Event()  # the one that was may be set: by the fault
        shortest, longest = PAUSES
        with trio.move_on_after(min(longest, shortest * 2.0 ** min(self._faults, 16))):
            await self._ending.wait()
        self._faults += 1
        if isinstance(error, KeyRefusedError):
            await self._renew_key(error)

    async def _renew_key(self, error: KeyRefusedError) -> None:
        """Read the key again: it may have been replaced.

        Raises:
            KeyRefusedError: It cannot have been, being a credential (systemd.exec(5)), and was refused for too long.
        """
        now = trio.current_time()
        self._refused_at = now if self._refused_at is None else self._refused_at
        if self._key.is_credential and now - self._refused_at >= REFUSALS:
            raise error
        try:
            self._key = await self._unless_stopped(partial(self._tools.read_key, self._config))
        except ConfigError as fault:
            self._teller.trouble(fault)

    # --- beside it -----------------------------------------------------------------------------------------------

    async def _tick(self) -> None:
        async with trio.open_nursery() as nursery:
            await self._tick_in(nursery)

    async def _tick_in(self, nursery: trio.Nursery) -> None:
        ticks = 0
        while True:
            session = self._session
            if session is not None:
                if self._teller.outage(session.client.pacer):
                    self._keeper.recover()
                if session.client.pacer.silence > DOUBT or "service" in self.board.troubles:
                    self._probe(session, nursery)
                self.board.traffic = self._meter.read()
                if ticks % _FREE == 0:
                    with suppress(StorageError):
                        self.board.free = await trio.to_thread.run_sync(session.root.free)
            if not self.board.troubles:
                self._faults = 0
            if self.board.troubles or ticks * _TICK >= _LONGEST_START:
                self._ready()
            now = time.time()
            self._teller.staleness(now)
            self._tools.notifier.status(self.board.headline(now))
            ticks += 1
            await trio.sleep(_TICK)

    def _probe(self, session: Session, nursery: trio.Nursery) -> None:
        """Ask the service something that it has answered: is it down, or are only some events in trouble?

        Its answer is a sign of life, by which the requests of those events fail one by one, instead of being held for
        victims of an outage; and in an outage, somebody notices the end of it.
        """

        async def ask() -> None:
            try:
                with suppress(MirrorError, StoppedError):
                    await session.unless_stopped(session.client.probe)
                    self._teller.answered()
            finally:
                self._probing = False

        if not self._probing:
            self._probing = True
            nursery.start_soon(ask)

    async def reload(self) -> None:
        """Read the settings and the key again; those that have faults are refused, and the old ones stay."""
        self.board.phase = "reloading"
        self._tools.notifier.reloading()
        try:
            config = await self._unless_stopped(self._tools.read)
            key = await self._unless_stopped(partial(self._tools.read_key, config))
        except StoppedError:
            return
        except (ConfigError, UsageError) as error:
            _LOG.error(
                "the new settings are refused, the old ones stay: %s", self._tools.explain(error)
            )
        else:
            self._take(config, key)
            _LOG.warning("the settings were read again")
        self._ready()

    async def _unless_stopped(self, work: Callable[[], T]) -> T:
        """Run in a thread what may block for long, and leave it there when the operator stops us.

        Raises:
            StoppedError: The operator did.
        """
        with unwrapped():
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._cancel_when_stopping, nursery.cancel_scope)
                result = await trio.to_thread.run_sync(work, abandon_on_cancel=True)
                nursery.cancel_scope.cancel()
                return result
        raise StoppedError

    async def _cancel_when_stopping(self, scope: trio.CancelScope) -> None:
        await self._stopping.wait()
        scope.cancel()

    def _take(self, config: Config, key: Key) -> None:
        old, old_key, self._config, self._key = self._config, self._key, config, key
        self.board.stale_after = config.daemon.stale_after
        self._tools.hooks.settings, self._tools.hooks.proxy = config.hooks, config.api.proxy
        if config.daemon.listen != old.daemon.listen:
            _LOG.warning("[daemon] listen: the new place holds from the next start on")
        self._keeper.change(config)
        if self._session is None or key.reveal() != old_key.reveal() or _needs_opening(old, config):
            self._ending.set()  # downloads under way get a few seconds, and go on in the next session
        else:
            self._session.allowance.change(config.mirror.bandwidth)


def _needs_opening(old: Config, new: Config) -> bool:
    """Whether settings differ that a session is opened with."""

    def opened(config: Config) -> tuple[object, ...]:
        it = config.mirror
        return (config.api, it.root, it.state_dir, it.connections, it.require_mount)

    return opened(old) != opened(new)


def _require_room(session: Session) -> None:
    """See that the disk is not fuller than `min_free` allows.

    Raises:
        StorageError: It is.
    """
    free, wanted = session.root.free(), session.config.mirror.min_free
    if free < wanted:
        raise StorageError(
            str(session.root.path),
            f"the disk is nearly full: {free} bytes are free, {wanted} are to stay free",
            "make room, or lower [mirror] min_free",
        )
