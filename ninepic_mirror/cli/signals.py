"""What Ctrl-C and SIGTERM do (DESIGN §7, Stopping): the first ends gently, the second at once.

Handlers of our own instead of trio's `open_signal_receiver`: the second signal has to work even when the loop is
stuck, and a command that reads manifests has no loop at all.
"""

from __future__ import annotations

import os
import signal
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from types import FrameType

    import trio

    from ninepic_mirror.cli.console import Console

T = TypeVar("T")


class Interrupted(KeyboardInterrupt):
    """A stop signal came while nothing was under way: out of here, to where the exit code is told.

    A class of its own, because CPython remembers a plain KeyboardInterrupt that leaves an `exec`, as every dataclass
    that is being imported makes one, and then ends the process by SIGINT whatever exit code is asked for
    (`unhandled_keyboard_interrupt` in its pythonrun.c).
    """


class Signals:
    """The stop signals of one process.

    Args:
        console: Prints what is left to be printed when the second signal comes.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._soften: Callable[[], None] | None = None
        self._number: int | None = None
        self._forgiven: set[int] = set()

    @property
    def code(self) -> int | None:
        """The exit code that the first signal asks for, None when there was none (DESIGN §3)."""
        if self._number is None:
            return None
        return 0 if self._number in self._forgiven else 128 + self._number

    def code_or(self, usual: int) -> int:
        """Return the exit code that the first signal asks for, `usual` when there was none."""
        code = self.code
        return usual if code is None else code

    def forgive(self, number: int) -> None:
        """Let a signal be the usual way to end, with 0."""
        self._forgiven.add(number)

    def install(self) -> None:
        """Handle SIGINT and SIGTERM from now on."""
        for number in (signal.SIGINT, signal.SIGTERM):
            # A shell starts background jobs with SIGINT ignored; that is to stay so.
            if signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, self._handle)

    def _handle(self, number: int, _frame: FrameType | None) -> None:
        if self._number is not None:
            self._console.shout("stopped at once; the next run goes on from here")
            self._console.end_at_once(128 + self._number)
            os._exit(128 + self._number)
        self._number = number
        # Outside of trio there is nothing under way but reading: Python's own way out of it.
        if self._soften is None:
            raise Interrupted
        self._soften()

    def run(self, work: Callable[[trio.Event], Awaitable[T]], *, gentle: bool = False) -> T:
        """Run a command on trio.

        Args:
            work: Gets an event that is set by the first signal.
            gentle: It ends by itself then, and what is under way is finished; else it is cancelled.

        Raises:
            Interrupted: It was cancelled.
        """
        import trio  # noqa: PLC0415  commands without a network start without it

        tell: Callable[[], None] | None = None

        def soften() -> None:
            if gentle:
                self._console.shout(
                    "stopping; what is under way is finished, once more to stop at once"
                )
            if tell is not None:
                tell()

        async def main() -> list[T]:
            nonlocal tell
            stopping, token, results = trio.Event(), trio.lowlevel.current_trio_token(), []
            tell = partial(token.run_sync_soon, stopping.set)
            if self._number is not None:  # it came while trio was starting
                stopping.set()
            with trio.CancelScope() as scope:
                async with trio.open_nursery() as nursery:
                    if not gentle:
                        nursery.start_soon(_cancel_when, stopping, scope)
                    results.append(await work(stopping))
                    nursery.cancel_scope.cancel()
            return results

        # From before trio starts: an exception out of a handler would break its loop.
        self._soften = soften
        try:
            results = trio.run(main)
        except BaseExceptionGroup:
            from ninepic_mirror.sync.session import unwrapped  # noqa: PLC0415  as above

            with unwrapped():
                raise
        finally:
            self._soften = None
        if not results:
            raise Interrupted
        return results[0]


async def _cancel_when(stopping: trio.Event, scope: trio.CancelScope) -> None:
    await stopping.wait()
    scope.cancel()


@dataclass(frozen=True)  # no msgspec structure: `--version` starts without it
class Run:
    """What every command gets.

    Args:
        console: Where to say things.
        signals: How to run on trio so that it can be stopped.
    """

    console: Console
    signals: Signals
