"""Which exit code a stop signal asks for; what signals do to real processes: tests/system/test_signals.py."""

from __future__ import annotations

import signal

import pytest

from ninepic_mirror.cli.console import Console
from ninepic_mirror.cli.signals import Signals


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
