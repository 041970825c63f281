"""Ctrl-C and SIGTERM, once and twice, in the middle of a pass (DESIGN §7, Stopping)."""

from __future__ import annotations

import json
import signal
import time
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable
    from pathlib import Path

    from tests.system.conftest import Commands, Running, Serve, Service


@pytest.fixture
def slow(serve: Serve) -> Service:
    """A sandbox whose photos take long to fetch in a pass with `--bandwidth`."""
    return serve("--photos", 60)


def start(commands: Commands, service: Service, *words: object) -> subprocess.Popen[str]:
    """Start a pass that takes about 20 s."""
    limit = ("--bandwidth", "400kB/s")
    return commands.start("sync", 456, *service.flags, "--root", "m", *limit, *words)


def has_photos(folder: Path) -> bool:
    """Whether the pass has begun to place files."""
    return any((folder / "m").glob("456-*/*/*/*/*.jpg"))


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_once(
    commands: Commands,
    slow: Service,
    wait: Callable[[Callable[[], object]], None],
    number: signal.Signals,
    code: int,
) -> None:
    """The first signal ends the pass gently with its code; the next run fetches only what is missing."""
    process = start(commands, slow, "--json")
    wait(lambda: has_photos(commands.folder))
    process.send_signal(number)
    began = time.monotonic()
    out, err = process.communicate(timeout=30)
    assert time.monotonic() - began < 10  # RELIABILITY L12
    assert (process.returncode, json.loads(out)["exit_code"]) == (code, code)
    (entry,) = json.loads(out)["events"]
    assert entry["whole"] is False
    assert "stopping; what is under way is finished" in err
    assert "Traceback" not in err
    rest = commands.run("sync", 456, *slow.flags, "--root", "m", "--json").entry
    assert rest["whole"] is True
    assert rest["files"]["downloaded"] + entry["files"]["present"] == 120


def test_twice(
    commands: Commands, slow: Service, wait: Callable[[Callable[[], object]], None]
) -> None:
    """The second signal ends the process at once, still with one JSON object; the next run goes on."""
    process = start(commands, slow, "--json")
    wait(lambda: has_photos(commands.folder))
    process.send_signal(signal.SIGINT)
    assert process.stderr is not None
    assert "once more to stop at once" in process.stderr.readline()
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=10)
    assert (process.returncode, json.loads(out)["exit_code"]) == (130, 130)
    assert "Traceback" not in err
    assert commands.run("sync", 456, *slow.flags, "--root", "m").code == 0


def test_text_says_what_there_is(
    commands: Commands, slow: Service, wait: Callable[[Callable[[], object]], None]
) -> None:
    """A pass that was stopped never says that it is whole, and says how much is safe."""
    process = start(commands, slow)
    wait(lambda: has_photos(commands.folder))
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=30)
    assert "NOT whole" in out
    assert "are safe in" in out
    assert commands.run("status", "--root", "m").code == 4


def test_while_nothing_answers(
    commands: Commands, service: Service, wait: Callable[[Callable[[], object]], None]
) -> None:
    """A pass that waits for a silent service stops at the first signal, and lists the event as not whole."""
    service.fault(kind="stall", origin="api", at="before")
    process = commands.start("sync", 456, *service.flags, "--root", "m", "--json")
    wait(lambda: service.requests()["api"])
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=10)
    assert (process.returncode, json.loads(out)["exit_code"]) == (130, 130)
    assert json.loads(out)["events"][0]["whole"] is False
    assert "Traceback" not in err


@pytest.mark.parametrize("words", [("events",), ("check",)])
def test_other_commands(
    commands: Commands,
    service: Service,
    wait: Callable[[Callable[[], object]], None],
    words: tuple[str, ...],
) -> None:
    """A command that only asks is cancelled by the first signal: 130 and no traceback."""
    service.fault(kind="stall", origin="api", at="before")
    process = commands.start(*words, *service.flags, "--root", "m")
    wait(lambda: service.requests()["api"])
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=10)
    assert (process.returncode, "Traceback" in err) == (130, False)


def test_sandbox_stops(service: Running) -> None:
    """The sandbox ends with the code of its signal."""
    service.process.send_signal(signal.SIGINT)
    assert service.process.wait(10) == 130
