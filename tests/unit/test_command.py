"""One command of the operator's: real processes; time limits on a clock that the test moves when the script says so."""

from __future__ import annotations

import os
import shutil
import subprocess
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from ninepic_mirror.service.command import (
    KEPT,
    LINE,
    Output,
    _end,
    clean,
    run_command,
    surroundings,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

PATH = {"PATH": os.environ["PATH"]}


@dataclass
class Heard:
    """The lines of a command; a test can wait for one."""

    lines: list[str] = field(default_factory=list)
    _news: trio.Event = field(default_factory=trio.Event)

    def __call__(self, line: str) -> None:
        """Take a line."""
        self.lines.append(line)
        self._news.set()
        self._news = trio.Event()

    async def wait_for(self, line: str) -> None:
        """Wait until it was said."""
        while line not in self.lines:
            await self._news.wait()


async def run(
    script: str | Sequence[str], heard: Heard, *, document: bytes = b"{}", grace: float = 5.0
) -> int | None:
    """Run a shell script, or words, for at most a minute."""
    words = ["sh", "-c", script] if isinstance(script, str) else script
    return await run_command(
        words, environment=PATH, document=document, say=heard, limit=60, grace=grace
    )


async def test_a_command_is_told_and_heard() -> None:
    """The document comes in, lines of both outputs go out, the exit code is returned."""
    heard = Heard()
    script = "echo begins; cat; echo; echo wrong >&2; printf 'no end'; exit 3"
    assert await run(script, heard, document=b'{"a":1}') == 3
    assert heard.lines == ["begins", '{"a":1}', "wrong", "no end"]


async def test_a_signal_is_a_negative_exit_code() -> None:
    """As Python has it."""
    assert await run("kill -9 $$", Heard()) == -9


async def test_it_has_its_own_session_and_no_shell() -> None:
    """Words are passed as they are; nothing of ours is its group."""
    heard = Heard()
    assert await run(["echo", "$HOME; ls"], heard) == 0
    assert heard.lines == ["$HOME; ls"]
    assert await run("ps -o pgid= -p $$; echo $$", heard) == 0
    assert heard.lines[1] == heard.lines[2] != str(os.getpgrp())


async def test_a_command_need_not_read() -> None:
    """A document longer than a pipe holds up nothing."""
    assert await run("true", Heard(), document=b"x" * 1_000_000) == 0
    assert await run("exec <&-; echo done", Heard(), document=b"x" * 1_000_000) == 0


async def test_a_flood_is_read_and_left_out() -> None:
    """What is over the limit is not passed on, but the command is not blocked by it."""
    heard = Heard()
    assert await run("yes | head -c 300000; echo never heard", heard) == 0
    assert sum(len(line) + 1 for line in heard.lines[:-1]) == KEPT
    assert heard.lines[-1] == f"… and {300_000 + 12 - KEPT} bytes more"


@pytest.mark.parametrize("words", [["/nonexistent/command"], ["echo", "a\0b"], ["/"]])
async def test_what_cannot_be_started_says_so(words: list[str]) -> None:
    """By Python's own errors, which the caller knows."""
    with pytest.raises((OSError, ValueError)):
        await run(words, Heard())


async def test_the_time_limit_ends_the_whole_group(mock_clock: trio.testing.MockClock) -> None:
    """SIGTERM to the command and what it started; both can still say something."""
    heard, codes = Heard(), []

    async def start() -> None:
        codes.append(
            await run(
                "sh -c 'trap \"echo child; exit\" TERM; echo ready; while :; do sleep 0.01; done' & "
                "trap 'wait; echo parent; exit 1' TERM; wait",
                heard,
            )
        )

    async with trio.open_nursery() as nursery:
        nursery.start_soon(start)
        await heard.wait_for("ready")
        mock_clock.jump(60)
        await heard.wait_for("parent")
        mock_clock.rate = (
            1000  # in case the child waits as a zombie for an init that takes its time
        )
    assert codes == [None]
    assert "child" in heard.lines


async def test_what_ignores_the_end_is_killed(mock_clock: trio.testing.MockClock) -> None:
    """SIGKILL after the grace, also for a child that outlived its parent."""
    heard, codes = Heard(), []

    async def start() -> None:
        codes.append(
            await run(
                "echo $$; sh -c 'trap \"echo no\" TERM; echo ready; while :; do sleep 0.01; done' & wait",
                heard,
            )
        )

    async with trio.open_nursery() as nursery:
        nursery.start_soon(start)
        await heard.wait_for("ready")
        mock_clock.jump(60)
        await heard.wait_for("no")
        # the parent, which does not ignore it
        await trio.to_thread.run_sync(_wait_until_reaped, int(heard.lines[0]))
        assert not codes
        mock_clock.jump(5)
        mock_clock.rate = 1
    assert codes == [None]


@pytest.mark.skipif(shutil.which("setsid") is None, reason="needs setsid, of util-linux")
async def test_output_held_open_counts_as_running(mock_clock: trio.testing.MockClock) -> None:
    """A child left behind in another session is not ours to end, but is waited for no longer than the limit."""
    heard, codes = Heard(), []

    async def start() -> None:
        codes.append(
            await run("echo $$; setsid sh -c 'echo $$; exec sleep 30' & sleep 0.02", heard)
        )

    async with trio.open_nursery() as nursery:
        nursery.start_soon(start)
        while len(heard.lines) < 2:
            await trio.testing.wait_all_tasks_blocked(0.001)
        await trio.to_thread.run_sync(_wait_until_reaped, int(heard.lines[0]))
        mock_clock.jump(60)
        mock_clock.rate = 100
    os.kill(int(heard.lines[1]), 9)
    assert codes == [None]


async def test_what_is_gone_is_not_waited_for() -> None:
    """A group may end by itself in the moment in which it is to be ended."""
    process = await trio.lowlevel.open_process(["true"], stdin=subprocess.DEVNULL)
    await process.wait()
    await _end(process, 60)


def _wait_until_reaped(child: int) -> None:
    """Wait, in a thread, until a child of ours has ended and its end was asked for."""
    with suppress(ChildProcessError):
        while True:
            os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            os.sched_yield()


async def test_being_stopped_ends_the_command() -> None:
    """A cancelled task leaves no process behind."""
    heard = Heard()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(
            run,
            "trap 'wait; echo stopped; exit' TERM; sh -c 'echo ready; exec sleep 30' & wait",
            heard,
        )
        await heard.wait_for("ready")
        nursery.cancel_scope.cancel()
    assert heard.lines == ["ready", "stopped"]


def test_the_environment_is_scrubbed() -> None:
    """No key, no way to speak to systemd in our name; what programs need is there."""
    ours = {
        "PATH": "/bin",
        "HOME": "/h",
        "LANG": "C.UTF-8",
        "LC_TIME": "C",
        "TZ": "UTC",
        "USER": "u",
        "LOGNAME": "u",
        "TMPDIR": "/t",
    }
    secrets = {
        "NINEPIC_API_KEY": "s",
        "CREDENTIALS_DIRECTORY": "/run/c",
        "NOTIFY_SOCKET": "@n",
        "WATCHDOG_USEC": "1",
        "WATCHDOG_PID": "1",
        "LISTEN_FDS": "1",
        "LD_PRELOAD": "x",
        "PATHX": "x",
        "LC_": "x",
    }
    assert surroundings({}, ours | secrets) == ours
    assert surroundings({}, secrets) == {"PATH": os.defpath}


def test_facts_become_variables() -> None:
    """Single values, clean and short; a report is for standard input only."""
    facts = {
        "name": "a\0b\nc\x1b[1m\u2028d\ud800é",
        "new": 3,
        "rate": 1.5,
        "whole": True,
        "reason": None,
        "report": {"a": 1},
        "long": "x" * 200_000,
        "folder": "/m/\udcff",
    }
    theirs = surroundings(facts, {"PATH": "/bin"})
    assert len(theirs.pop("NINEPIC_LONG")) == 8192
    assert theirs == {
        "PATH": "/bin",
        "NINEPIC_NAME": "a b c [1m d é",
        "NINEPIC_NEW": "3",
        "NINEPIC_RATE": "1.5",
        "NINEPIC_WHOLE": "1",
        "NINEPIC_REASON": "",
        "NINEPIC_FOLDER": "/m/\udcff",
    }


@given(st.text())
def test_every_value_can_be_given_to_a_program(text: str) -> None:
    """No NUL, no control character, nothing that cannot be encoded."""
    value = surroundings({"name": text}, {})["NINEPIC_NAME"]
    assert b"\0" not in os.fsencode(value)
    assert clean(value) == value


@given(st.lists(st.binary(max_size=50)), st.integers(0, 200))
def test_lines_do_not_depend_on_how_they_come(pieces: list[bytes], kept: int) -> None:
    """Cut anywhere, the same lines are passed on, and the rest is counted."""
    said, told = Heard(), Heard()
    whole, parts = Output(said, kept), Output(told, kept)
    whole.take(b"".join(pieces))
    for piece in pieces:
        parts.take(piece)
    whole.finish()
    parts.finish()
    assert said.lines == told.lines
    assert whole.dropped == parts.dropped == max(0, len(b"".join(pieces)) - kept)
    assert all(line == clean(line) for line in said.lines)


def test_a_line_without_end_is_cut() -> None:
    """So that no log line is longer than a journal takes."""
    heard = Heard()
    output = Output(heard)
    output.take(b"x" * (2 * LINE + 5) + b"\n" + b"y" * (LINE + 1))
    assert [len(line) for line in heard.lines] == [LINE, LINE, 5, LINE]
    output.finish()
    assert heard.lines[-1] == "y"
