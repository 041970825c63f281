"""When the daemon may say that it is alive."""

from __future__ import annotations

from ninepic_mirror.service.pulse import PATIENCE, Pulse, Sample


def test_idle_is_alive() -> None:
    """A daemon without a pass under way waits, however long."""
    pulse = Pulse(10)
    assert [pulse.stuck(Sample(now)) for now in (0.0, 1e3, 1e6)] == [[], [], []]


def test_progress_is_alive() -> None:
    """A pass whose token changes is never stuck, whatever the token is."""
    pulse = Pulse(10)
    for now in range(0, 1000, 9):
        assert not pulse.stuck(Sample(float(now), {456: (now, "requests")}))


def test_a_pass_that_stands_still_is_stuck() -> None:
    """Only after all of the patience, and alive again as soon as it moves."""
    pulse = Pulse(10)
    found = [pulse.stuck(Sample(now, {456: 1})) for now in (5.0, 14.0, 15.0, 15.1, 99.0)]
    assert found == [[], [], [], [456], [456]]
    assert not pulse.stuck(Sample(100.0, {456: 2}))


def test_one_stuck_pass_is_not_hidden_by_others() -> None:
    """The pass that hangs is named though another one moves."""
    pulse = Pulse(10)
    stuck = [pulse.stuck(Sample(now, {1: "same", 2: now})) for now in (0.0, 5.0, 11.0)]
    assert stuck[-1] == [1]


def test_the_next_pass_begins_anew() -> None:
    """A pass that ended leaves nothing behind; the next one over the event has all the patience."""
    pulse = Pulse(10)
    assert not pulse.stuck(Sample(0.0, {456: 0}))
    assert not pulse.stuck(Sample(9.0))
    assert not pulse.stuck(Sample(12.0, {456: 0}))
    assert pulse.stuck(Sample(23.0, {456: 0})) == [456]


def test_a_wait_that_was_asked_for_is_legitimate() -> None:
    """Nothing is stuck until an origin may be asked again, and patience begins there."""
    pulse = Pulse(10)
    for now in (0.0, 50.0, 899.0):
        assert not pulse.stuck(Sample(now, {456: 0}, waits_until=900.0))
    assert not pulse.stuck(Sample(905.0, {456: 0}, waits_until=900.0))
    assert pulse.stuck(Sample(909.5, {456: 0}, waits_until=900.0)) == [456]


def test_patience_outlasts_every_wait_we_obey() -> None:
    """The usual patience is no shorter than the longest Retry-After that is obeyed (DESIGN §8)."""
    assert PATIENCE >= 15 * 60
