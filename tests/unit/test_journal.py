"""The log under systemd: priorities line by line, JSON with the pass's event, and who gets neither."""

from __future__ import annotations

import io
import json
import logging
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from ninepic_mirror.cli.console import Console
from ninepic_mirror.service.journal import LogProgress, install, is_journal, prefixed

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ninepic_mirror.progress import Progress

LOG = logging.getLogger("ninepic_mirror.service.test")


def fail() -> None:
    """Fail with an address that must not be told."""
    raise ValueError("https://x.example/a?sig=secret")


def stream_of(descriptor: int) -> dict[str, str]:
    """Return the variable that systemd sets for a descriptor."""
    status = os.fstat(descriptor)
    return {"JOURNAL_STREAM": f"{status.st_dev}:{status.st_ino}"}


@pytest.fixture
def output() -> Iterator[io.StringIO]:
    """A log as `Console.settle` sets it up, into a text; loggers are put back afterwards."""
    root, ours = logging.getLogger(), logging.getLogger("ninepic_mirror")
    handlers, levels = root.handlers[:], (root.level, ours.level)
    stream = io.StringIO()
    root.handlers[:] = [logging.StreamHandler(stream)]
    ours.setLevel(logging.WARNING)
    yield stream
    root.handlers[:] = handlers
    root.setLevel(levels[0])
    ours.setLevel(levels[1])


def test_whose_stream_it_is() -> None:
    """The variable counts only when it names the very socket that standard error is."""
    ours, other = socket.socketpair()
    with ours, other:
        environ = stream_of(ours.fileno())
        assert is_journal(environ, ours.fileno())
        assert not is_journal(environ, other.fileno())
        assert not is_journal({}, ours.fileno())
        assert not is_journal({"JOURNAL_STREAM": "rubbish"}, ours.fileno())
        gone = ours.fileno()
    assert not is_journal(environ, gone)


def test_the_process_own_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without another environment the process's own is asked."""
    monkeypatch.setenv("JOURNAL_STREAM", stream_of(2)["JOURNAL_STREAM"])
    assert is_journal()
    monkeypatch.delenv("JOURNAL_STREAM")
    assert not is_journal()


@pytest.mark.parametrize(
    ("level", "number"),
    [("critical", 2), ("error", 3), ("warning", 4), ("info", 6), ("debug", 7), ("odd", 6)],
)
def test_priorities(level: str, number: int) -> None:
    """Each line gets the level's number, empty ones too."""
    assert prefixed("a\n\nb", level) == f"<{number}>a\n<{number}>\n<{number}>b"


def test_text_in_the_journal(output: io.StringIO) -> None:
    """Messages of several lines and tracebacks carry their priority on every line, and no signature."""
    assert install(json_log=False, environ=stream_of(2))
    LOG.info("photos arrived")
    LOG.warning("two\n<0>lines")  # what looks like a priority is text
    LOG.debug("not said")
    try:
        fail()
    except ValueError:
        LOG.exception("broken")
    lines = output.getvalue().splitlines()
    assert lines[:4] == ["<6>photos arrived", "<4>two", "<4><0>lines", "<3>broken"]
    assert lines[4] == "<3>Traceback (most recent call last):"
    assert lines[-1] == "<3>ValueError: https://x.example/a?…"
    assert all(line.startswith("<3>") for line in lines[4:])


def test_text_elsewhere(output: io.StringIO) -> None:
    """On a terminal or in a file lines are as they always were."""
    assert not install(json_log=False, environ={})
    LOG.info("photos arrived")
    assert output.getvalue() == "photos arrived\n"


@pytest.mark.parametrize("journal", [False, True])
def test_json(output: io.StringIO, journal: bool) -> None:
    """A JSON line has level and priority, and the event of a pass; in the journal its prefix too."""
    assert install(json_log=True, environ=stream_of(2) if journal else {}) is journal
    LOG.error("two\nlines")
    LogProgress(456, "Run").note("12 photos are new")
    try:
        fail()
    except ValueError:
        LOG.critical("broken", exc_info=True)
    lines = output.getvalue().splitlines()
    if journal:
        assert [line[:3] for line in lines] == ["<3>", "<6>", "<2>"]
        lines = [line[3:] for line in lines]
    first, second, third = map(json.loads, lines)
    assert first == {"level": "error", "priority": 3, "logger": LOG.name, "message": "two\nlines"}
    assert (second["event_id"], second["event"], second["priority"]) == (456, "Run", 6)
    assert second["message"] == "event 456 (Run): 12 photos are new"
    assert third["traceback"].endswith("ValueError: https://x.example/a?…")


@pytest.mark.parametrize("level", [logging.ERROR, logging.DEBUG])
def test_what_the_operator_chose_stays(output: io.StringIO, level: int) -> None:
    """-q and -v are not undone by the daemon's wish to tell what it does."""
    ours = logging.getLogger("ninepic_mirror")
    ours.setLevel(level)
    install(json_log=True, environ={})
    assert ours.level == level
    LOG.debug("details")
    assert ('"priority": 7' in output.getvalue()) == (level == logging.DEBUG)


def test_the_console_in_the_journal(capfd: pytest.CaptureFixture[str]) -> None:
    """What the command itself says has priorities too, from a signal handler as well."""
    console = Console()
    console.journal = True
    console.error("the disk is full", "make room")
    console.say("hello")
    console.shout("stopping")
    assert capfd.readouterr().err.splitlines() == [
        "<3>error: the disk is full",
        "<3>  next: make room",
        "<6>hello",
        "<4>stopping",
    ]
    console.json_log = True
    console.shout("stopping")
    assert capfd.readouterr().err == '<4>{"level": "warning", "message": "stopping"}\n'


def test_together_with_the_console(tmp_path: Path) -> None:
    """Under a socket that is the journal's, the log that `Console.settle` set up gets its priorities."""
    ours, theirs = socket.socketpair()
    code = (
        "import logging; from ninepic_mirror.cli.console import Console\n"
        "from ninepic_mirror.service.journal import install\n"
        "console = Console(); console.settle(None, 0, json_log=False)\n"
        "console.journal = install(json_log=console.json_log)\n"
        "logging.getLogger('ninepic_mirror.x').info('up'); console.warn('slow')\n"
    )
    with ours, theirs:
        environ = os.environ | stream_of(theirs.fileno())
        done = subprocess.run(
            [sys.executable, "-c", code],
            env=environ,
            stderr=theirs.fileno(),
            check=True,
            cwd=Path(__file__).parents[2],
        )
        assert done.returncode == 0
        assert ours.recv(4096).decode() == "<6>up\n<4>warning: slow\n"


def test_progress_of_a_pass(output: io.StringIO) -> None:
    """A pass's notes carry its event; counting is silent, and every call is a sign of life."""
    install(json_log=False, environ={})
    one, other = LogProgress(1), LogProgress(2, "Other")
    progress: Progress = one
    progress.note("before the name is known")
    progress.start("Ru\nn")
    progress.expect(5)
    progress.done(3, 300)
    progress.failed(1)
    progress.note("odd\nrow")
    other.note("fine")
    progress.finish()
    progress.finish()
    assert (one.expected, one.fetched, one.size, one.lost, one.signs) == (5, 3, 300, 1, 8)
    progress.start("Run")
    assert (one.expected, one.fetched, one.size, one.lost, one.signs) == (0, 0, 0, 0, 9)
    assert output.getvalue().splitlines() == [
        "event 1: before the name is known",
        "event 1 (Ru\\u000an): odd\\u000arow",
        "event 2 (Other): fine",
    ]
