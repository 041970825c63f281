"""One command of the operator's: what it is told, what it says, and its end.

1. Its own session, so that it and all it starts are one process group; no shell; an environment of few, named values.
2. It is given the facts on standard input, and everything that it writes is passed on line by line.
3. It has ended when its process has, and its output is closed by all that it started. (A child that closed it, too, is a
   daemon that somebody meant to start.)
4. At the time limit, or when we are told to stop, the group gets SIGTERM, then SIGKILL; what it says last is still heard.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
from contextlib import suppress
from typing import TYPE_CHECKING, Final, cast

import trio

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

KEPT: Final = (
    64 * 1024
)  # bytes of output that are passed on; far above what a person reads of a hook
LINE: Final = 4096  # bytes; a longer one is cut in two, as the journal would at 48 KiB
VALUE: Final = 8192  # characters; Linux refuses to start a program with a value of 128 KiB
POLL: Final = 0.05  # seconds between two looks at whether a group is gone: the system tells of single processes only
LAST_WORDS: Final = 1.0  # seconds for the output of a command that was killed

# Never the key, nor what would let a command speak to systemd in our name (NOTIFY_SOCKET, WATCHDOG_*, LISTEN_*).
_OURS: Final = re.compile(r"PATH|HOME|LANG|LC_[A-Z]+|TZ|USER|LOGNAME|TMPDIR", re.ASCII)
# Control characters, the two line ends of Unicode, and halves of characters that no encoding takes.
_UNFIT: Final = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udc7f\udd00-\udfff]")


def clean(text: str) -> str:
    """Return text fit for one line and one variable: a space for every control character."""
    return _UNFIT.sub(" ", text)


def surroundings(facts: Mapping[str, object], ours: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of a command.

    Args:
        facts: What it is told, as `NINEPIC_<NAME>`: texts, numbers, true and false as 1 and 0, None as nothing. Others,
            such as a whole report, are left out; standard input has them.
        ours: Our own environment.
    """
    theirs = {name: value for name, value in ours.items() if _OURS.fullmatch(name)}
    theirs.setdefault("PATH", os.defpath)
    for name, value in facts.items():
        if value is None or isinstance(value, str | int | float):
            text = "" if value is None else str(int(value) if isinstance(value, bool) else value)
            # Through UTF-8, so that a locale which lacks a character refuses nothing.
            raw = clean(text)[:VALUE].encode("utf-8", "surrogateescape")
            theirs[f"NINEPIC_{name.upper()}"] = os.fsdecode(raw)
    return theirs


class Output:
    """Cuts what a command writes into lines, up to a limit.

    Args:
        say: Takes each line, without its end and without control characters.
        kept: Bytes that are passed on.
    """

    def __init__(self, say: Callable[[str], None], kept: int = KEPT) -> None:
        self._say, self._left, self._rest = say, kept, b""
        self.dropped = 0

    def take(self, data: bytes | bytearray) -> None:
        """Take what came, in pieces of any size."""
        self.dropped += max(0, len(data) - self._left)
        data = data[: self._left]
        self._left -= len(data)
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            self._pass_on(line)
        while len(self._rest) > LINE:
            self._pass_on(self._rest[:LINE])
            self._rest = self._rest[LINE:]

    def finish(self) -> None:
        """Pass on a last line without an end, and say how much was left out."""
        self._pass_on(self._rest)
        self._rest = b""
        if self.dropped:
            self._say(f"… and {self.dropped} bytes more")

    def _pass_on(self, line: bytes) -> None:
        for piece in _pieces(line):
            text = clean(piece.decode("utf-8", "replace")).strip()
            if text:
                self._say(text)


def _pieces(line: bytes) -> Iterator[bytes]:
    for start in range(0, len(line), LINE):
        yield line[start : start + LINE]


async def run_command(
    words: Sequence[str],
    *,
    environment: Mapping[str, str],
    document: bytes,
    say: Callable[[str], None],
    limit: float,
    grace: float,
) -> int | None:
    """Run a command to its end.

    Args:
        words: The program and its arguments.
        environment: All of it (see `surroundings`).
        document: What it reads from standard input.
        say: Takes each line that it writes.
        limit: Seconds that it may take.
        grace: Seconds between SIGTERM and SIGKILL. Also when we are cancelled, so that takes up to so long.

    Returns:
        Its exit code, negative for a signal; None: it took too long, and was ended.

    Raises:
        OSError: It cannot be started.
        ValueError: Likewise: a word holds a NUL.
    """
    process = await trio.lowlevel.open_process(
        list(words),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,  # one pipe, so that lines keep their order
        env=dict(environment),
        start_new_session=True,
    )
    # both are pipes, as asked for above
    stdin = cast("trio.abc.SendStream", process.stdin)
    stdout = cast("trio.abc.ReceiveStream", process.stdout)
    listening, heard = trio.CancelScope(shield=True), trio.Event()
    has_ended, is_gone = False, False
    async with stdin, stdout, trio.open_nursery() as nursery:
        nursery.start_soon(_listen, stdout, Output(say), listening, heard)
        nursery.start_soon(_feed, stdin, document)
        try:
            with trio.move_on_after(limit):
                await process.wait()
                # Its number may be given anew from now on, unless some of the group are left.
                is_gone = not _signal(process.pid, 0)
                await heard.wait()
                has_ended = True
        finally:
            if not has_ended:
                with trio.CancelScope(shield=True):
                    if not is_gone:
                        await _end(process, grace)
                    with trio.move_on_after(LAST_WORDS):
                        await heard.wait()
            listening.cancel()
            nursery.cancel_scope.cancel()
    return process.returncode if has_ended else None


async def _listen(
    stdout: trio.abc.ReceiveStream, output: Output, scope: trio.CancelScope, heard: trio.Event
) -> None:
    """Pass on all output, also while the command is being ended; what is over the limit is read all the same."""
    with scope:
        async for data in stdout:
            output.take(data)
    output.finish()
    heard.set()


async def _feed(stdin: trio.abc.SendStream, document: bytes) -> None:
    """Write the facts; a command need not read them."""
    with suppress(trio.BrokenResourceError):
        await stdin.send_all(document)
    await stdin.aclose()


async def _end(process: trio.Process, grace: float) -> None:
    """End the process and all of its group."""
    # The number of a group cannot be given anew while anyone is in it, so it is asked for until it is gone.
    if _signal(process.pid, signal.SIGTERM):
        with trio.move_on_after(grace):
            await process.wait()
            while _signal(process.pid, 0):  # noqa: ASYNC110  the end of a grandchild sets no event
                await trio.sleep(POLL)
            return
        _signal(process.pid, signal.SIGKILL)
    # One that hangs in the kernel, on a dead network disk, is left to init.
    with trio.move_on_after(LAST_WORDS):
        await process.wait()


def _signal(group: int, number: int) -> bool:
    """Send a signal to a group; say whether anyone was there that we may signal."""
    try:
        os.killpg(group, number)
    except (ProcessLookupError, PermissionError):  # macOS: PermissionError where only zombies are
        return False
    return True
