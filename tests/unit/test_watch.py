"""Times and rates of an exchange, beat by beat."""

from __future__ import annotations

import pytest

from ninepic_mirror.ninepic.limits import Limits
from ninepic_mirror.ninepic.watch import BEAT, Watch, beat_of

LIMITS = Limits(head=3, silence=4, rate=100, rate_window=5, patience=10, pace=1_000)


def beats(watch: Watch, per_beat: int, most: int = 1_000) -> tuple[int, str]:
    """Look every second while so many bytes come in each; return when it ended and why."""
    for beat in range(1, most):
        watch.received += per_beat
        fault = watch.look(1.0)
        if fault is not None:
            return beat, fault
    return most, ""


def body(length: int, received: int = 0) -> Watch:
    """Return a watch whose reader waits for a body."""
    watch = Watch(LIMITS)
    watch.begin_body(length, received)
    watch.waiting = True
    return watch


def test_late_head() -> None:
    """A head has its time, whether we wait for it or cannot even send."""
    beat, fault = beats(Watch(LIMITS), 0)
    assert (beat, fault) == (4, "no answer in 3 s")


def test_silence() -> None:
    """A body that stops coming ends after the silence, not before."""
    beat, fault = beats(body(10_000), 0)
    assert beat == 5
    assert "0 bytes, then nothing for 5 s" in fault


def test_broken_silence() -> None:
    """Each byte ends a silence."""
    watch = body(10_000)
    assert beats(watch, 0, 4) == (4, "")
    assert beats(watch, 1_000, 2) == (2, "")
    assert beats(watch, 0, 4) == (4, "")


def test_slow_drip() -> None:
    """A byte now and then is no progress: the rate over each window decides."""
    beat, fault = beats(body(1_000_000), 99)
    assert beat == 5
    assert "slower than 100 bytes a second" in fault


def test_slow_later() -> None:
    """A body that was fast at first must not become slow either."""
    watch = body(1_000_000)
    assert beats(watch, 50_000, 6) == (6, "")
    beat, fault = beats(watch, 99)
    assert beat == 5
    assert "slower" in fault


def test_deadline() -> None:
    """A body that only just keeps the rate ends too, the later the longer it is."""
    assert beats(body(2_000), 100)[0] == 13
    assert beats(body(9_000), 100) == (20, "2000 bytes in 20 s, which is too slow")


def test_time_of_our_disk() -> None:
    """What we do with the bytes takes nothing from the sender's time."""
    watch = body(1_000)
    watch.waiting = False
    assert beats(watch, 0, 100) == (100, "")


def test_bytes_with_the_head() -> None:
    """What came along with the head is no progress of the body."""
    watch = body(1_000_000, received=60_000)
    assert beats(watch, 99)[0] == 5


def test_next_exchange() -> None:
    """A new request begins anew."""
    watch = body(1_000)
    beats(watch, 0, 4)
    watch.begin_head()
    assert (watch.received, watch.waiting) == (0, False)
    assert beats(watch, 0)[0] == 4


@pytest.mark.parametrize(("limits", "beat"), [(Limits(), BEAT), (Limits(silence=0.2), 0.05)])
def test_beat(limits: Limits, beat: float) -> None:
    """The beat is steady, and finer where a limit is short."""
    assert beat_of(limits) == beat
