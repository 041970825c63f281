"""What a pass of the daemon leaves on the board, and what the board knows before the first."""

from __future__ import annotations

import time
from dataclasses import replace
from datetime import date
from typing import TYPE_CHECKING

import pytest
import trio
import trio.testing

from ninepic_mirror.archive.manifest import NAME
from ninepic_mirror.archive.root import OWN_FOLDER, Root
from ninepic_mirror.config import Api, Config, Mirror
from ninepic_mirror.errors import EventBusyError, PassingError, UnreachableError
from ninepic_mirror.progress import Silent
from ninepic_mirror.service import rounds
from ninepic_mirror.service.board import FAILURES, Watched
from ninepic_mirror.service.rounds import (
    Flags,
    Past,
    failed,
    make_pass,
    post,
    read_board,
    short,
    takes_place,
)
from ninepic_mirror.sync.context import Options
from ninepic_mirror.sync.mirror import sync_event
from ninepic_mirror.sync.report import Failure, PassReport
from tests.remote import EVENT, FIRST, HOUR, Remote, session_of
from tests.shelf import open_shelf

if TYPE_CHECKING:
    from pathlib import Path

    from ninepic_mirror.sync.session import Session

TODAY = date(2026, 1, 19)


@pytest.mark.parametrize(
    ("text", "about_now"),
    [
        ("2026-01-19", True),
        ("2026-01-18T23:30:00", True),
        ("2026-01-20T00:00:00+05:30", True),
        ("2026-01-17", False),
        ("2026-01-21", False),
        ("next Sunday", False),
        ("", False),
        (None, False),
    ],
)
def test_an_event_takes_place_on_its_day_and_beside_it(text: str | None, about_now: bool) -> None:
    """A date has no zone, so that it is a day earlier or later somewhere; what is no date says nothing."""
    assert takes_place(text, TODAY) == about_now


@pytest.mark.parametrize(
    ("reason", "kind"),
    [
        ("404 from the photo origin", "404 from the photo origin"),
        ("cut off: 5 of 9 bytes", "cut off"),
        ("no JPEG; it begins with 3c68746d", "no JPEG"),
        ("503 after 12345 bytes of photo-0042", "503 after N bytes of photo-N"),
        ("12345", "N"),
        ("", "unknown"),
        ("x" * 200, "x" * 80),
    ],
)
def test_reasons_are_counted_without_what_differs(reason: str, kind: str) -> None:
    """Numbers and ids go, a status stays: else every photo would have a reason, and a metric, of its own."""
    assert short(reason) == kind


def test_a_report_goes_on_the_board() -> None:
    """What is there is replaced, what was fetched adds up, of the failures some are kept and all are counted."""
    one = Watched(456, whole_at=5.0, fetched=10, fetched_bytes=100, reasons={"old": 1})
    failures = [Failure(f"p{number}", "large", "404 from there") for number in range(FAILURES + 7)]
    report = PassReport(
        456, "x", photos=900, undated=3, present=1500, missing=300, failed=107,
        failures=failures, downloaded=5, bytes_downloaded=50,
    )  # fmt: skip
    before = time.time()
    post(one, report)
    assert (one.whole, one.whole_at) == (False, 5.0)
    assert one.ended_at is not None
    assert one.ended_at >= before
    assert (one.photos, one.undated, one.present, one.missing, one.failed) == (
        900, 3, 1500, 300, 107,
    )  # fmt: skip
    assert len(one.failures) == FAILURES
    assert one.reasons == {"404 from there": FAILURES + 7}
    assert (one.fetched, one.fetched_bytes) == (15, 150)
    post(one, PassReport(456, "x", whole=True))
    assert (one.whole, one.whole_at) == (True, one.ended_at)
    assert (one.failures, one.reasons) == ([], {})


def test_a_fault_of_the_service_is_an_outage() -> None:
    """The schedule then grows its pauses no longer than the event's own; another's fault is none."""
    assert failed(PassingError("503"), full=False).outcome.outage
    assert failed(UnreachableError("https://x", 1, "y"), full=True).outcome.outage
    busy = failed(EventBusyError(456, 1), full=True)
    assert (busy.outcome.outage, busy.outcome.failed, busy.outcome.full) == (False, True, True)
    assert busy.report is None


# --- one pass ---------------------------------------------------------------------------------------------------


@pytest.fixture
def remote() -> Remote:
    """Return a service with seven photos."""
    return Remote().fill(7)


@pytest.fixture
def settings(tmp_path: Path) -> Mirror:
    """Return settings for a mirror that survives no power cut."""
    return Mirror(tmp_path / "mirror", min_free=0, durability="none", connections=4)


async def one_pass(
    session: Session, one: Watched, flags: Flags, *, full: bool = False
) -> rounds.Ended:
    """Make a pass."""
    return await make_pass(session, one, flags, Silent(), full=full)


async def test_a_quiet_look_costs_two_requests(
    remote: Remote, settings: Mirror, autojump_clock: trio.testing.MockClock
) -> None:
    """The flags are kept for an hour, and asked for anew after a fault or a pass that was not whole."""
    autojump_clock.autojump_threshold = 0.01
    one, flags, session = Watched(EVENT), Flags(), session_of(remote, settings)
    ended = await one_pass(session, one, flags)
    assert (ended.outcome.changed, ended.outcome.found, ended.outcome.failed) == (
        True,
        False,
        False,
    )
    assert (one.name, one.whole, one.photos, one.undated) == ("Mumbai Marathon", True, 7, 1)
    assert one.hours == remote.counted().hours

    async def costs() -> int:
        before = remote.calls
        await one_pass(session, one, flags)
        return remote.calls - before

    assert [await costs(), await costs()] == [2, 2]
    await trio.sleep(3601)
    assert await costs() == 3
    remote.refuses = 5
    ended = await one_pass(session, one, flags)
    assert isinstance(ended.error, PassingError)
    remote.refuses = 0
    assert await costs() == 3
    remote.add("gone wrong", FIRST)
    remote.missing.add("gone wrong")
    ended = await one_pass(session, one, flags)
    assert ended.report is not None
    assert (ended.report.whole, ended.outcome.changed, one.missing) == (False, False, 2)
    assert await costs() == 3


async def test_a_full_pass_that_finds_something_says_so(
    remote: Remote, settings: Mirror, autojump_clock: trio.testing.MockClock
) -> None:
    """What quick passes had not seen: the next full pass comes soon then."""
    autojump_clock.autojump_threshold = 0.01
    one, session = Watched(EVENT), session_of(remote, settings)
    assert (await one_pass(session, one, Flags(), full=True)).outcome.found
    outcome = (await one_pass(session, one, Flags(), full=True)).outcome
    assert (outcome.full, outcome.found, outcome.changed) == (True, False, False)
    # a swap within an hour changes no count
    gone = next(key for key, one in remote.pictures.items() if one.taken is not None)
    remote.add("came", remote.pictures.pop(gone).taken)
    assert not (await one_pass(session, one, Flags())).outcome.changed
    assert (await one_pass(session, one, Flags(), full=True)).outcome.found


# --- before the first pass --------------------------------------------------------------------------------------


async def test_the_board_knows_what_the_manifest_says(
    remote: Remote,
    settings: Mirror,
    monkeypatch: pytest.MonkeyPatch,
    autojump_clock: trio.testing.MockClock,
) -> None:
    """Name, counts, hours, when last whole, and how long it has been quiet; passes over a part of it count not."""
    autojump_clock.autojump_threshold = 0.01
    now = time.time()
    session = session_of(remote, settings)
    for moment, full in ((0, False), (1000, True), (1500, False)):
        monkeypatch.setattr(time, "time", lambda moment=moment: now + moment)
        await sync_event(session, EVENT, Options(full=full))
    monkeypatch.setattr(time, "time", lambda: now + 1700)
    remote.missing.add("late")
    remote.add("late", FIRST)
    await sync_event(session, EVENT, Options(day=(FIRST, FIRST + HOUR), date="2026-01-18"))
    monkeypatch.setattr(time, "time", lambda: now + 2000)
    one = Watched(EVENT)
    past = read_board(session.root, session.config, one)
    assert past.full_age == pytest.approx(1000, abs=1)
    assert past.full_gap == pytest.approx(1000, abs=1)
    assert past.quiet == pytest.approx(300, abs=1)
    assert one.whole
    assert one.whole_at == one.ended_at == pytest.approx(now + 1500, abs=1)
    assert (one.name, one.photos, one.undated, one.present) == ("Mumbai Marathon", 8, 1, 14)
    assert (one.missing, one.failed) == (2, 2)
    assert one.hours == remote.counted().hours


def test_an_event_without_a_mirror_has_no_past(settings: Mirror) -> None:
    """Neither without a folder nor with one that has no manifest."""
    root, config = Root(settings.root), Config(Api(1), settings)
    root.prepare(make=True)
    assert read_board(root, config, Watched(EVENT)) == Past()
    root.make_folder(EVENT, "x")
    one = Watched(EVENT)
    assert read_board(root, config, one) == Past()
    assert one == Watched(EVENT)


def test_a_broken_manifest_is_no_past(settings: Mirror) -> None:
    """The first pass will say what is wrong, and rebuild it; the board shows nothing of it."""
    root, config = Root(settings.root), Config(Api(1), settings)
    root.prepare(make=True)
    path = root.manifest_path(root.make_folder(EVENT, "x"))
    path.write_bytes(b"no manifest" * 1000)
    one = Watched(EVENT)
    assert read_board(root, config, one) == Past()
    assert one == Watched(EVENT)
    path.with_name("second").touch()
    (settings.root / f"{EVENT}-y" / OWN_FOLDER).mkdir(parents=True)
    (settings.root / f"{EVENT}-y" / OWN_FOLDER / NAME).touch()
    assert read_board(root, config, one) == Past(), "two folders of one event"


def test_a_manifest_without_a_whole_pass_has_no_ages(settings: Mirror) -> None:
    """A first pass that was cut off lists nothing whole: the next one is to list everything."""
    with open_shelf(settings.root) as shelf:
        shelf.manifest.begin_pass("quick")
        one = Watched(EVENT)
        assert read_board(shelf.root, Config(Api(1), settings), one) == Past()
        assert (one.whole, one.ended_at, one.whole_at, one.name) == (None, None, None, None)


async def test_a_folder_that_left_has_no_hours(
    remote: Remote, settings: Mirror, autojump_clock: trio.testing.MockClock
) -> None:
    """Taken away just after its pass: nothing is shown, and nothing fails."""
    autojump_clock.autojump_threshold = 0.01
    session = session_of(remote, replace(settings))
    assert rounds._hours(session.root, EVENT) == {}
