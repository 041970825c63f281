"""How long the trash has lain: whatever the clocks show, never longer than it has, and in the end long enough."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ninepic_mirror.archive import trash
from ninepic_mirror.archive.manifest import Manifest
from ninepic_mirror.archive.trash import KEY, Ages, Moment, forget_days, strike_off

if TYPE_CHECKING:
    from collections.abc import Iterator

YEAR = 31_557_600.0
DAY = 86_400.0
WRONG = st.sampled_from([0.0, -10 * YEAR, 10 * YEAR, -DAY, DAY, 2 * YEAR])


@pytest.fixture
def manifest(tmp_path: Path) -> Iterator[Manifest]:
    """A new one."""
    with Manifest.open(tmp_path / "manifest.sqlite3", durable=False) as opened:
        yield opened


def full(
    manifest: Manifest, moment: Moment, keep: float, *days: str, today: str = "today"
) -> list[str]:
    """Ask as a full pass does; return the days that may go."""
    ages = Ages(manifest, today, moment)
    found = [day for day in days if ages.has_lain(day, keep)]
    ages.record()
    return found


def at(seconds: float, boot: str = "one", here: float = 0, service: float | None = 0) -> Moment:
    """Return a moment at which the machine runs for `seconds`; the others are what clocks are wrong by."""
    return Moment(boot, seconds, seconds + here, None if service is None else seconds + service)


@pytest.mark.parametrize(
    ("before", "now", "passed"),
    [
        (at(5), at(8), 3),
        (at(5), at(8, here=10 * YEAR, service=10 * YEAR), 3),  # the machine itself knows
        (at(8), at(5), 0),  # the state of a virtual machine was restored
        (at(5), at(8, "two"), 3),
        (at(5), at(8, "two", here=10 * YEAR), 3),
        (at(5), at(8, "two", service=10 * YEAR), 3),
        (at(5), at(8, "two", here=-10 * YEAR), 0),
        (at(5, here=-YEAR), at(8, "two"), 3),
        (at(5, here=YEAR), at(8, "two"), 0),
        (at(5, service=None), at(8, "two"), 0),
        (at(5), at(8, "two", service=None), 0),
        (at(5, ""), at(8, ""), 3),
        (at(5, "", service=None), at(8, "", service=None), 0),
    ],
)
def test_what_has_passed_for_certain(before: Moment, now: Moment, passed: float) -> None:
    """The uptime of one start; over a restart what our clock and the service's agree on."""
    assert now.since(before) == passed


def test_the_clocks_of_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """On Linux a start has a name and a clock that nobody sets; elsewhere there is none."""
    moment = Moment.now(7.0)
    assert moment.boot
    assert moment.service == 7.0
    assert 0 <= Moment.now(None).since(moment) < 60
    monkeypatch.setattr(trash, "_BOOT", Path("/nowhere"))
    assert Moment.now(None).boot == ""
    monkeypatch.undo()
    monkeypatch.setattr(trash, "_CLOCK", Path("/nowhere"))
    assert Moment.now(None).boot, "an older Linux"
    assert Moment.now(None).boot != moment.boot, "a container counts from another moment"
    monkeypatch.undo()
    monkeypatch.delattr(time, "CLOCK_BOOTTIME")
    assert Moment.now(None).boot == ""


def test_a_day_goes_when_it_has_lain(manifest: Manifest) -> None:
    """Counted from the first full pass that finds it complete; today's waits for that."""
    assert full(manifest, at(0), DAY, "today") == []
    assert full(manifest, at(5 * DAY), DAY, "a") == []
    assert full(manifest, at(6 * DAY - 1), DAY, "a", "b") == []
    assert full(manifest, at(6 * DAY), DAY, "a", "b") == ["a"]
    assert full(manifest, at(9 * DAY), DAY, "b", "today") == ["b"]
    assert full(manifest, at(9 * DAY), DAY) == []
    assert manifest.meta(KEY) is None


def test_what_comes_to_an_old_day_is_kept_as_long(manifest: Manifest) -> None:
    """A clock that shows a day of long ago again puts files there: it begins anew, before the first one."""
    strike_off(manifest, "a")
    full(manifest, at(0), DAY, "a", "b")
    strike_off(manifest, "a")
    assert full(manifest, at(5 * DAY), DAY, "a", "b", today="a") == ["b"]
    assert full(manifest, at(5 * DAY), DAY, "a") == []
    assert full(manifest, at(6 * DAY), DAY, "a") == ["a"]


def test_a_restored_manifest_begins_anew(manifest: Manifest) -> None:
    """So does one in which something else stands there."""
    full(manifest, at(0), DAY, "a")
    forget_days(manifest)
    assert full(manifest, at(2 * DAY), DAY, "a") == []
    manifest.set_meta({KEY: {"moment": 5}})
    strike_off(manifest, "a")
    assert full(manifest, at(9 * DAY), DAY, "a") == []
    assert full(manifest, at(10 * DAY), DAY, "a") == ["a"]


@given(
    passes=st.lists(
        st.tuples(
            st.floats(0, 40 * DAY),
            st.sampled_from(["one", "two", "three"]),
            WRONG,
            st.sampled_from([0.0, None]),
        ),
        max_size=12,
    )
)
def test_no_clock_of_ours_makes_a_day_older(
    passes: list[tuple[float, str, float, float | None]],
) -> None:
    """However it jumps, over whatever restarts; and when it is right again, the day goes in the end."""
    keep, now, boots, starts = 30 * DAY, 0.0, 0, {"": 0.0}
    with Manifest.open(Path(":memory:"), durable=False) as manifest:
        for pause, boot, here, service in passes:
            now += pause
            boots += boot != "one"  # one: the machine was not started again
            started = starts.setdefault(str(boots), now)
            told = None if service is None else now
            moment = Moment(str(boots), now - started, now + here, told)
            gone = full(manifest, moment, keep, "a")
            assert not gone or now >= keep
            if gone:
                return
        right = [
            full(manifest, Moment(f"right {n}", 0, now + n * keep, now + n * keep), keep, "a")
            for n in (1, 2)
        ]
        assert right[-1] == ["a"]
