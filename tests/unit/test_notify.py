"""What systemd hears, on a real datagram socket."""

from __future__ import annotations

import os
import secrets
import socket
import sys
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest
import trio
import trio.testing

from ninepic_mirror.service.notify import Notifier, beat, one_line
from ninepic_mirror.service.pulse import Pulse, Sample

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from trio.testing import MockClock


class Manager:
    """The other end of the socket."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(f"\0{name[1:]}" if name.startswith("@") else name)
        self.socket.setblocking(False)

    def heard(self) -> list[str]:
        """Return the messages that came since the last time."""
        found = []
        try:
            while True:
                found.append(self.socket.recv(4096).decode())
        except BlockingIOError:
            return found


@contextmanager
def managing(name: str) -> Iterator[Manager]:
    """Listen for the length of the block."""
    manager = Manager(name)
    try:
        yield manager
    finally:
        manager.socket.close()


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[Manager]:
    """A service manager that listens at a path."""
    with managing(str(tmp_path / "notify")) as found:
        yield found


@pytest.fixture
def notifier(manager: Manager) -> Iterator[Notifier]:
    """What tells it."""
    found = Notifier(manager.name, 3.0)
    yield found
    found.close()


def test_life_of_a_service(manager: Manager, notifier: Notifier) -> None:
    """Each call is one message of the lines that sd_notify(3) names."""
    before = time.monotonic_ns() // 1000
    notifier.ready("2 of 2 events whole")
    notifier.watchdog()
    notifier.reloading()
    notifier.ready()
    notifier.extend(2.5)
    notifier.stopping("committing")
    first, alive, reloading, again, more, last = manager.heard()
    assert (first, alive) == ("READY=1\nSTATUS=2 of 2 events whole", "WATCHDOG=1")
    line, _, moment = reloading.partition("\nMONOTONIC_USEC=")
    assert line == "RELOADING=1"
    assert before <= int(moment) <= time.monotonic_ns() // 1000
    assert (again, more) == ("READY=1", "EXTEND_TIMEOUT_USEC=2500000")
    assert last == "STOPPING=1\nSTATUS=committing"


def test_only_a_new_status_is_sent(manager: Manager, notifier: Notifier) -> None:
    """The same line twice is one message; an empty one is none."""
    for text in ("a", "a", "", "b", "a"):
        notifier.status(text)
    assert manager.heard() == ["STATUS=a", "STATUS=b", "STATUS=a"]


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("a\nREADY=1", "a READY=1"),
        ("\x1b[31mred\x00 \u202etxt", "[31mred txt"),
        ("  Ünïcode \t 写真 ", "Ünïcode 写真"),
        ("x" * 1000, "x" * 399 + "…"),
        ("\n\n", ""),
    ],
)
def test_a_status_is_one_line(text: str, line: str) -> None:
    """Names come from outside: nothing in them is a line of the protocol, or too long for it."""
    assert one_line(text) == line


def test_no_status_is_too_long_for_a_message(manager: Manager, notifier: Notifier) -> None:
    """The longest status in the widest characters, and one with what is no character at all, arrive."""
    notifier.status("\U0001f4f7" * 5000)
    notifier.status("half of a pair: \ud83d")
    wide, half = manager.heard()
    assert len(wide.encode()) < 2048
    assert half.startswith("STATUS=half of a pair:")


@pytest.mark.skipif(sys.platform != "linux", reason="abstract sockets are Linux's")
def test_abstract_socket() -> None:
    """A name that begins with @ has no file."""
    with managing(f"@ninepic-mirror-test-{secrets.token_hex(8)}") as manager:
        notifier = Notifier(manager.name)
        notifier.ready()
        notifier.close()
        assert manager.heard() == ["READY=1"]


@pytest.mark.parametrize("name", [None, "", "@", "relative", "vsock:2:1234"])
def test_nobody_listens(name: str | None) -> None:
    """Without a socket, or with one of a kind that we do not speak, every call does nothing."""
    notifier = Notifier(name)
    assert not notifier.listens
    notifier.ready("x")
    notifier.watchdog()
    notifier.close()


def test_a_manager_that_vanishes(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A socket that is gone raises nothing, and one that is back is told again."""
    name = str(tmp_path / "notify")
    notifier = Notifier(name)
    notifier.ready("nobody is there")
    with managing(name) as manager:
        notifier.watchdog()
        assert manager.heard() == ["WATCHDOG=1"]
    notifier.watchdog()  # refused: the file is there, nobody has it open
    os.unlink(name)  # noqa: PTH108  it is no regular file
    with managing(name) as manager:
        notifier.watchdog()
        assert manager.heard() == ["WATCHDOG=1"]
    notifier.close()
    assert not [record for record in caplog.records if record.levelname == "ERROR"]


def test_a_busy_manager_is_told_later(manager: Manager, notifier: Notifier) -> None:
    """A full queue does not make us wait; what matters comes after it, in order."""
    for number in range(2000):
        notifier.status(str(number))
    notifier.reloading()
    notifier.ready("all read")
    assert "READY=1" not in "".join(manager.heard())
    late: list[str] = []
    for _ in range(20):  # the system's queue is short: what is owed comes in several turns
        notifier.watchdog()
        late += [one.partition("\n")[0] for one in manager.heard()]
    kept = late[: late.index("WATCHDOG=1")]
    assert kept[-2:] == ["RELOADING=1", "READY=1"]
    assert len(kept) <= 16


def test_environment(manager: Manager) -> None:
    """What the manager asks for is taken out of the environment, so that no hook speaks for us."""
    environ = {
        "NOTIFY_SOCKET": manager.name,
        "WATCHDOG_USEC": "1500000",
        "WATCHDOG_PID": str(os.getpid()),
        "PATH": "/usr/bin",
    }
    notifier = Notifier.from_environ(environ)
    assert environ == {"PATH": "/usr/bin"}
    assert notifier.watchdog_seconds == 1.5
    notifier.ready()
    assert manager.heard() == ["READY=1"]
    notifier.close()


@pytest.mark.parametrize(
    ("environ", "seconds"),
    [
        ({}, None),
        ({"WATCHDOG_USEC": "2000000"}, 2.0),
        ({"WATCHDOG_USEC": "2000000", "WATCHDOG_PID": "1"}, None),  # another process is meant
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
        ({"WATCHDOG_USEC": "-5"}, None),
        ({"WATCHDOG_USEC": "²"}, None),
    ],
)
def test_watchdog_interval(environ: dict[str, str], seconds: float | None) -> None:
    """It is ours where it names us or nobody, and a number."""
    assert Notifier.from_environ(environ).watchdog_seconds == seconds


async def hear(notifier: Notifier, manager: Manager, samples: list[Sample]) -> list[int]:
    """Let the task beat once for each sample; return which of them were told."""
    told: list[int] = []
    number = 0

    def sample() -> Sample:
        nonlocal number
        told.extend([number - 1] * len(manager.heard()))
        if number == len(samples):
            scope.cancel()
            return samples[-1]
        number += 1
        return samples[number - 1]

    with trio.CancelScope() as scope:
        await beat(notifier, sample, Pulse(10))
    return told


async def test_beat(autojump_clock: MockClock, manager: Manager, notifier: Notifier) -> None:
    """Three times in each interval, for as long as the passes get somewhere."""
    samples = [Sample(float(now), {456: now // 12}) for now in range(0, 60, 4)]
    began = trio.current_time()
    told = await hear(notifier, manager, samples)
    assert trio.current_time() - began == pytest.approx(len(samples) * 1.0)
    assert told == list(range(len(samples)))


async def test_no_beat_for_a_stuck_pass(
    autojump_clock: MockClock,
    manager: Manager,
    notifier: Notifier,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """It falls silent when a pass hangs, says why once, and speaks again when the pass moves."""
    progress = [0, 0, 0, 0, 0, 1, 1]
    samples = [Sample(5.0 * place, {456: token}) for place, token in enumerate(progress)]
    assert await hear(notifier, manager, samples) == [0, 1, 2, 5, 6]
    (record,) = caplog.records
    assert "456" in record.getMessage()


async def test_a_stuck_event_loop_beats_for_nobody(
    autojump_clock: MockClock, manager: Manager, notifier: Notifier
) -> None:
    """The beat is a task like any other: what holds up the loop holds it up."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(beat, notifier, lambda: Sample(trio.current_time()))
        await trio.testing.wait_all_tasks_blocked()
        assert manager.heard() == ["WATCHDOG=1"]
        time.sleep(0.01)  # noqa: ASYNC251  this is the fault
        assert not manager.heard()
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("seconds", [None, 3.0])
async def test_no_watchdog(seconds: float | None) -> None:
    """Where no watchdog waits, or nobody listens, the task ends at once and asks for nothing."""
    await beat(Notifier(None, seconds), lambda: pytest.fail("nobody asked"))
    await beat(Notifier("/nowhere"), lambda: pytest.fail("nobody asked"))
