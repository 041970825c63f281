"""Runs the operator's commands when something happens (`[hooks]`), and tells a monitor that we live.

No pass ever waits for a hook: `tell` puts what happened into a bounded queue. A few run at once; those of one event run one
after the other, in the order in which things happened. A command that cannot be started, fails or takes too long costs a line in
the log and a count, nothing else.
"""

from __future__ import annotations

import json
import logging
import math
import os
from collections import Counter, deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Literal

import trio

from ninepic_mirror.errors import MirrorError
from ninepic_mirror.ninepic.heartbeat import send_heartbeat
from ninepic_mirror.service.command import run_command, surroundings

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ninepic_mirror.config import Hooks

Hook = Literal["new_photos", "pass_whole", "pass_failed", "stale", "recovered"]
Result = Literal["done", "failed", "overdue", "unstartable", "dropped", "stopped"]

AT_ONCE: Final = 4  # commands; they are short, and the machine has photos to write
WAITING: Final = 512  # happenings in the queue: two for each of 200 events, which start together
EACH: Final = 8  # ... of one kind for one event: what is older is no news any more
DRAIN: Final = 5.0  # seconds for what waits and runs when the daemon stops
GRACE: Final = 5.0  # seconds between SIGTERM and SIGKILL
PING_EVERY: Final = 60.0  # seconds; monitors count in minutes

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Happening:
    """Something that a hook may be told.

    Args:
        hook: Which.
        event_id: The event.
        name: As last heard.
        folder: The event's folder, a whole path.
        facts: What else there is to tell, by names in lower case: `photos`, `new`, `missing`, `reason`, `since`, … as single
            values, which are also variables (`NINEPIC_PHOTOS`), and `report`, `PassReport.as_json()`. Never a secret.
    """

    hook: Hook
    event_id: int
    name: str | None
    folder: str
    facts: Mapping[str, object] = field(default_factory=dict)

    def variables(self) -> dict[str, object]:
        """Return what goes into the environment; facts cannot take the place of what every hook is told."""
        return {
            **self.facts,
            "hook": self.hook,
            "event_id": self.event_id,
            "event_name": self.name,
            "folder": self.folder,
        }

    def document(self) -> bytes:
        """Return what goes to standard input: one JSON object, one line."""
        told = {"hook": self.hook, "event_id": self.event_id, "name": self.name}
        whole = {**self.facts, **told, "folder": self.folder}
        return json.dumps(whole, default=str).encode() + b"\n"

    def __str__(self) -> str:
        return f"hook {self.hook} of event {self.event_id}"


class HookRunner:
    """Runs hooks and pings. Use it from one trio thread; `tell` and `pulse` may be called before `run`.

    Args:
        settings: `[hooks]`; `.settings` may be replaced at any time, what waits is then run by the new ones.
        proxy: `[api] proxy`, for `ping_url`; `.proxy` may be replaced, too.
        drain: Seconds for what waits and runs when `run` is cancelled.
        grace: Seconds between SIGTERM and SIGKILL.
    """

    def __init__(
        self, settings: Hooks, *, proxy: str = "", drain: float = DRAIN, grace: float = GRACE
    ) -> None:
        self.settings, self.proxy = settings, proxy
        self._drain, self._grace = drain, grace
        self._waiting: deque[Happening] = deque()
        self._busy: set[int] = set()  # events for which a hook runs
        self._idle = trio.lowlevel.ParkingLot()
        self._is_closing = False
        self._counts: Counter[tuple[str, str]] = Counter()
        self._pulse = trio.Event()
        self._pinged_at = -math.inf

    def tell(self, happening: Happening) -> None:
        """Have a hook run, if one is configured. Never blocks; when too much waits, the oldest of its kind is left out."""
        if not getattr(self.settings, happening.hook):
            return
        alike = [
            one
            for one in self._waiting
            if (one.hook, one.event_id) == (happening.hook, happening.event_id)
        ]
        if len(alike) >= EACH or len(self._waiting) >= WAITING:
            self._drop((alike or self._waiting)[0])
        self._waiting.append(happening)
        self._idle.unpark_all()

    def pulse(self) -> None:
        """Have `ping_url` asked, if there is one: a pass ended whole. Never blocks; at most one a minute is sent."""
        if self.settings.ping_url:
            self._pulse.set()

    def statistics(self) -> dict[tuple[str, str], int]:
        """Return how often what happened: (hook or "ping", `Result`) → count."""
        return dict(self._counts)

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Run what is told, until cancelled.

        Then what waits and runs has `drain` seconds; what is not done by then is ended and left out. So it takes up to
        `drain` + `grace` seconds, and a second where a command does not even die of SIGKILL.
        """
        # Goes on whatever is cancelled outside, until its deadline.
        commands = trio.CancelScope(shield=True)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._run_commands, commands)
            nursery.start_soon(self._run_pings)
            task_status.started()
            try:
                await trio.sleep_forever()
            finally:
                self._is_closing = True
                self._idle.unpark_all()
                commands.deadline = trio.current_time() + self._drain

    async def _run_commands(self, scope: trio.CancelScope) -> None:
        with scope:
            async with trio.open_nursery() as nursery:
                for _ in range(AT_ONCE):
                    nursery.start_soon(self._fill_slot)
        while self._waiting:
            self._drop(self._waiting[0])

    async def _fill_slot(self) -> None:
        """Run one hook after the other."""
        while True:
            happening = self._next()
            if happening is not None:
                self._busy.add(happening.event_id)
                try:
                    await self._run_one(happening)
                finally:
                    self._busy.remove(happening.event_id)
                    self._idle.unpark_all()  # another of this event may run now
            elif self._is_closing and not self._waiting:
                return
            else:
                await self._idle.park()

    def _next(self) -> Happening | None:
        """Take the one that waits longest, of an event for which none runs."""
        for happening in self._waiting:
            if happening.event_id not in self._busy:
                self._waiting.remove(happening)
                return happening
        return None

    async def _run_one(self, happening: Happening) -> None:
        words: tuple[str, ...] = getattr(self.settings, happening.hook)
        if not words:  # taken out of the settings since
            return

        def say(line: str) -> None:
            _log.info("%s: %s", happening, line)

        result: Result = "stopped"
        limit = max(1.0, self.settings.timeout)
        try:
            code = await run_command(
                words,
                environment=surroundings(happening.variables(), os.environ),
                document=happening.document(),
                say=say,
                limit=limit,
                grace=self._grace,
            )
        except (OSError, ValueError) as error:
            result = "unstartable"
            _log.warning(
                "%s: %s cannot be started: %s; %s", happening, words[0], error, _cure(error)
            )
        else:
            result = "overdue" if code is None else "failed" if code else "done"
            if code is None:
                cure = "make it faster, or raise hooks.timeout"
                _log.warning("%s: ended after %g s; %s", happening, limit, cure)
            elif code:
                how = f"exit code {code}" if code > 0 else f"signal {-code}"
                cure = "what it said stands before this line; run it by hand as the same user"
                _log.warning("%s: %s ended with %s; %s", happening, words[0], how, cure)
        finally:
            if result == "stopped":
                _log.warning("%s: ended, because the daemon stops", happening)
            self._counts[happening.hook, result] += 1

    def _drop(self, happening: Happening) -> None:
        self._waiting.remove(happening)
        self._counts[happening.hook, "dropped"] += 1
        why = "the daemon stops" if self._is_closing else "too many wait; make the command faster"
        _log.warning("%s is left out: %s", happening, why)

    async def _run_pings(self) -> None:
        while True:
            await self._pulse.wait()
            self._pulse = trio.Event()
            url = self.settings.ping_url
            if not url or trio.current_time() < self._pinged_at + PING_EVERY:
                continue
            self._pinged_at = trio.current_time()
            is_heard = await ping(url, proxy=self.proxy)
            self._counts["ping", "done" if is_heard else "failed"] += 1


def _cure(error: OSError | ValueError) -> str:
    """Return what to do about a command that cannot be started."""
    if isinstance(error, FileNotFoundError):
        return "write its full path; a script's first line must name a program that exists"
    if isinstance(error, PermissionError):
        return "make it executable for this user; the unit's sandbox may forbid it"
    return "a script needs a first line such as #!/bin/sh"


async def ping(url: str, *, proxy: str = "") -> bool:
    """Ask for `ping_url` once; a failure is logged with its host only, since the path is a secret. Never raises.

    Args:
        url: The address.
        proxy: `[api] proxy`, empty for none.

    Returns:
        Whether the monitor took it.
    """
    try:
        await send_heartbeat(url, proxy=proxy)
    except MirrorError as error:
        _log.warning("hooks.ping_url: %s; see whether the monitor expects another address", error)
        return False
    return True
