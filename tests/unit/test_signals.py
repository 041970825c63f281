"""Which exit code a stop signal asks for; what signals do to real processes: tests/system/test_signals.py."""

from __future__ import annotations

import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from ninepic_mirror.cli import program
from ninepic_mirror.cli.console import Console
from ninepic_mirror.cli.signals import Signals

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_asks_for_its_code(number: signal.Signals, code: int) -> None:
    """None before it came; 128 and its number after (DESIGN §3)."""
    signals = Signals(Console())
    assert signals.code is None
    with pytest.raises(KeyboardInterrupt):
        signals._handle(number, None)
    assert signals.code == code


def test_a_signal_that_was_obeyed_is_forgiven() -> None:
    """The daemon that was asked to end, and has, exits with 0: before or after it came, and no other signal."""
    for early in (True, False):
        signals = Signals(Console())
        if early:
            signals.forgive(signal.SIGTERM)
        with pytest.raises(KeyboardInterrupt):
            signals._handle(signal.SIGTERM, None)
        signals.forgive(signal.SIGTERM)
        assert (signals.code, signals.code_or(130)) == (0, 0)
    signals = Signals(Console())
    signals.forgive(signal.SIGTERM)
    with pytest.raises(KeyboardInterrupt):
        signals._handle(signal.SIGINT, None)
    assert (signals.code, signals.code_or(2)) == (130, 130)
    assert Signals(Console()).code_or(2) == 2


IMPORTING = """
import os, signal, sys
from ninepic_mirror.cli.console import Console
from ninepic_mirror.cli.signals import Signals
signals = Signals(Console())
signals.install()
try:
    exec("os.kill(os.getpid(), signal.SIGTERM)\\nwhile True: pass")
except KeyboardInterrupt:
    sys.exit(signals.code)
"""


def test_a_signal_amid_an_import_ends_with_its_code(tmp_path: Path) -> None:
    """Every dataclass that is imported is made by an `exec`; only `python -m` looks at what an `exec` ended with."""
    (tmp_path / "importing.py").write_text(IMPORTING)
    words = [sys.executable, "-m", "importing"]
    done = subprocess.run(words, check=False, timeout=30, cwd=tmp_path)
    assert done.returncode == 143


def test_a_signal_that_python_wraps_is_no_bug(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """One that comes amid a `__set_name__` leaves the import as a RuntimeError."""

    class Field:
        def __set_name__(self, _owner: type, _name: str) -> None:
            signal.raise_signal(signal.SIGTERM)

    def interrupted(*_: object, **_named: object) -> None:
        type("Owner", (), {"field": Field()})

    monkeypatch.setattr(program.program, "main", interrupted)
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    try:
        assert program.start(["status"]) == 143
    finally:
        for number, handler in zip((signal.SIGINT, signal.SIGTERM), before, strict=True):
            signal.signal(number, handler)
    assert "bug" not in capfd.readouterr().err
