"""Hooks: real commands, in order, a few at once, never in the way; pings of a real server."""

from __future__ import annotations

import json
import logging
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from ninepic_mirror.config import Hooks
from ninepic_mirror.service.hooks import (
    AT_ONCE,
    EACH,
    PING_EVERY,
    WAITING,
    Happening,
    HookRunner,
    ping,
)
from tests.rawserver import Reply, Server, answer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from ninepic_mirror.service.hooks import Hook


class Log(logging.Handler):
    """The lines of the log; a test can wait for one."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []
        self._news = trio.Event()

    def emit(self, record: logging.LogRecord) -> None:
        """Take a line."""
        self.lines.append(record.getMessage())
        self._news.set()
        self._news = trio.Event()

    async def wait_for(self, text: str, times: int = 1) -> None:
        """Wait until a text stood in as many lines."""
        while sum(text in line for line in self.lines) < times:
            await self._news.wait()


@pytest.fixture
async def log() -> AsyncIterator[Log]:
    """Return what the module logs."""
    handler, logger = Log(), logging.getLogger("ninepic_mirror.service.hooks")
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    yield handler
    logger.removeHandler(handler)
    logger.setLevel(logging.NOTSET)


def sh(script: str) -> tuple[str, ...]:
    """Return the words that run a shell script."""
    return ("sh", "-c", script)


def happening(hook: Hook = "pass_whole", event_id: int = 456, **facts: object) -> Happening:
    """Return one with facts."""
    return Happening(hook, event_id, "Marathon", "/m/456-marathon", facts)


@asynccontextmanager
async def running(runner: HookRunner) -> AsyncIterator[trio.CancelScope]:
    """Run hooks for the length of the block; then stop, and wait until that is done."""
    async with trio.open_nursery() as nursery:
        await nursery.start(runner.run)
        yield nursery.cancel_scope
        nursery.cancel_scope.cancel()


async def test_a_hook_is_told_the_facts(
    log: Log, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In variables and as one JSON object; nothing secret of ours is in its environment."""
    monkeypatch.setenv("NINEPIC_API_KEY", "5ecret")
    monkeypatch.setenv("NOTIFY_SOCKET", "@socket")
    seen = tmp_path / "seen"
    script = tmp_path / "hook"
    script.write_text(f"#!/bin/sh\ncat >{seen}.json\nenv >{seen}.env\necho all is well\n")
    script.chmod(0o755)
    runner = HookRunner(Hooks(new_photos=(str(script),)))
    runner.tell(happening("new_photos", new=3, photos=60, report={"whole": True}, folder="/else"))
    async with running(runner):
        await log.wait_for("hook new_photos of event 456: all is well")
    assert json.loads((tmp_path / "seen.json").read_text()) == {
        "hook": "new_photos",
        "event_id": 456,
        "name": "Marathon",
        "folder": "/m/456-marathon",
        "new": 3,
        "photos": 60,
        "report": {"whole": True},
    }
    lines = (tmp_path / "seen.env").read_text().splitlines()
    assert sorted(line for line in lines if line.startswith("NINEPIC_")) == [
        "NINEPIC_EVENT_ID=456",
        "NINEPIC_EVENT_NAME=Marathon",
        "NINEPIC_FOLDER=/m/456-marathon",
        "NINEPIC_HOOK=new_photos",
        "NINEPIC_NEW=3",
        "NINEPIC_PHOTOS=60",
    ]
    assert not any("5ecret" in line or "NOTIFY" in line for line in lines)
    assert runner.statistics() == {("new_photos", "done"): 1}


async def test_what_is_not_configured_is_not_run(log: Log) -> None:
    """Neither at first nor when it is taken out of the settings while it waits."""
    runner = HookRunner(Hooks(stale=sh("echo ran")))
    runner.tell(happening("recovered"))
    runner.tell(happening("stale"))
    runner.settings = Hooks()
    async with running(runner):
        await wait_all_tasks_blocked()
    assert (log.lines, runner.statistics()) == ([], {})


@pytest.mark.parametrize(
    ("words", "result", "said"),
    [
        (sh("exit 3"), "failed", "sh ended with exit code 3; what it said stands before this line"),
        (sh("kill -9 $$"), "failed", "sh ended with signal 9"),
        (("/nonexistent/hook",), "unstartable", "cannot be started: [Errno 2] No such file"),
        (("/",), "unstartable", "make it executable for this user"),
        (("a\0b",), "unstartable", "a script needs a first line"),
    ],
)
async def test_faults_are_logged_with_their_cure(
    log: Log, words: tuple[str, ...], result: str, said: str
) -> None:
    """And counted; the runner goes on."""
    runner = HookRunner(Hooks(pass_failed=words, stale=sh("echo fine")))
    async with running(runner):
        runner.tell(happening("pass_failed"))
        runner.tell(happening("stale"))
        await log.wait_for("fine")
    assert any(said in line for line in log.lines), log.lines
    assert runner.statistics() == {("pass_failed", result): 1, ("stale", "done"): 1}


async def test_a_hook_that_takes_too_long_is_ended(
    log: Log, mock_clock: trio.testing.MockClock
) -> None:
    """At hooks.timeout, of at least a second."""
    runner = HookRunner(Hooks(stale=sh("echo begins; exec sleep 30"), timeout=0))
    async with running(runner):
        runner.tell(happening("stale"))
        await log.wait_for("begins")
        mock_clock.jump(1)
        await log.wait_for("hook stale of event 456: ended after 1 s; make it faster")
    assert runner.statistics() == {("stale", "overdue"): 1}


async def test_hooks_of_one_event_keep_their_order(log: Log, tmp_path: Path) -> None:
    """One after the other, while those of other events pass them by."""
    gate = tmp_path / "gate"
    slow = sh(f"echo in; until test -e {gate}; do sleep 0.01; done; echo out $NINEPIC_NUMBER")
    runner = HookRunner(Hooks(pass_whole=slow, recovered=sh("echo passed by")))
    async with running(runner):
        for number in range(3):
            runner.tell(happening("pass_whole", number=number))
        for event in range(AT_ONCE):
            runner.tell(happening("recovered", event))
        await log.wait_for(": in")
        await log.wait_for("passed by", AT_ONCE)
        assert sum(line.endswith(": in") for line in log.lines) == 1
        gate.touch()
        await log.wait_for("out 2")
    told = [line.rpartition(": ")[2] for line in log.lines if "456" in line]
    assert told == ["in", "out 0", "in", "out 1", "in", "out 2"]


async def test_a_few_run_at_once(log: Log, tmp_path: Path) -> None:
    """Of ten events, four."""
    gate = tmp_path / "gate"
    runner = HookRunner(Hooks(stale=sh(f"echo in; until test -e {gate}; do sleep 0.01; done")))
    async with running(runner):
        for event in range(10):
            runner.tell(happening("stale", event))
        await log.wait_for("in", AT_ONCE)
        await wait_all_tasks_blocked()
        assert len(log.lines) == AT_ONCE
        gate.touch()
        await log.wait_for("in", 10)
    assert runner.statistics() == {("stale", "done"): 10}


async def test_the_queue_is_bounded(log: Log) -> None:
    """The oldest of the same kind and event goes first, else the oldest; each with a line."""
    runner = HookRunner(Hooks(stale=("true",), recovered=("true",)))
    for number in range(EACH + 1):
        runner.tell(happening("stale", 1, number=number))
    assert [one.facts["number"] for one in runner._waiting] == list(range(1, EACH + 1))
    for event in range(WAITING):
        runner.tell(happening("recovered", 100 + event))
    assert len(runner._waiting) == WAITING
    assert all(one.hook == "recovered" for one in runner._waiting)
    assert runner.statistics() == {("stale", "dropped"): EACH + 1}
    assert log.lines[0] == (
        "hook stale of event 1 is left out: too many wait; make the command faster"
    )
    assert len(log.lines) == EACH + 1


async def test_what_waits_is_done_before_the_end(log: Log) -> None:
    """Stopping gives hooks a moment: these need less."""
    runner = HookRunner(Hooks(stale=sh("echo done")))
    async with running(runner):
        for number in range(3):
            runner.tell(happening("stale", number=number))
    assert runner.statistics() == {("stale", "done"): 3}


async def test_what_is_not_done_by_then_is_ended(
    log: Log, mock_clock: trio.testing.MockClock
) -> None:
    """The one that runs is ended, those that wait are left out, and all of it is said."""
    runner = HookRunner(Hooks(stale=sh("echo begins; exec sleep 30")))
    async with trio.open_nursery() as nursery:
        await nursery.start(runner.run)
        runner.tell(happening("stale"))
        runner.tell(happening("stale"))
        await log.wait_for("begins")
        nursery.cancel_scope.cancel()
        with trio.CancelScope(shield=True):
            await wait_all_tasks_blocked()
            mock_clock.jump(5)
    assert runner.statistics() == {("stale", "stopped"): 1, ("stale", "dropped"): 1}
    assert log.lines[1:] == [
        "hook stale of event 456: ended, because the daemon stops",
        "hook stale of event 456 is left out: the daemon stops",
    ]


async def test_pings_are_at_most_one_a_minute(mock_clock: trio.testing.MockClock) -> None:
    """Whatever the number of passes; a new address is used from the next one on."""
    server = Server([Reply([answer(b"")]) for _ in range(3)])
    async with server.running():
        runner = HookRunner(Hooks(ping_url=server.url))
        async with running(runner):
            for _ in range(5):
                runner.pulse()
                await wait_for_requests(server, 1)
            mock_clock.jump(PING_EVERY)
            runner.settings = replace(runner.settings, ping_url=server.url + "?2")
            runner.pulse()
            await wait_for_requests(server, 2)
            mock_clock.jump(PING_EVERY)
            runner.pulse()
            runner.settings = Hooks()
            runner.pulse()
            await wait_all_tasks_blocked()
    assert [request.split()[1] for request in server.requests] == ["/a.jpg", "/a.jpg?2"]
    assert runner.statistics()["ping", "done"] == 2


async def wait_for_requests(server: Server, count: int) -> None:
    """Wait until a server was asked, and the answer was taken."""
    while len(server.requests) < count:
        await wait_all_tasks_blocked(0.001)
    await server.replied.wait()
    await wait_all_tasks_blocked(0.001)


async def test_a_monitor_that_refuses_is_logged_by_its_host(log: Log) -> None:
    """The rest of the address is a secret; the daemon goes on."""
    server = Server([Reply([answer(b"", status="404 Not Found")])])
    async with server.running():
        runner = HookRunner(Hooks(ping_url=server.url))
        async with running(runner):
            runner.pulse()
            await log.wait_for("hooks.ping_url: 404 from http://127.0.0.1:")
    assert "a.jpg" not in log.lines[0]
    assert runner.statistics() == {("ping", "failed"): 1}


async def test_one_ping_by_itself() -> None:
    """It says whether it was heard."""
    server = Server([Reply([answer(b"")])])
    async with server.running():
        assert await ping(server.url)
