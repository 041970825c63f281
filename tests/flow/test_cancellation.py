"""A pass that ends early, by the operator's wish, or because a stage failed: nothing lies afterwards.

At any step of the scheduler: `tests/torture/cancel_steps`.
"""

from __future__ import annotations

import json
import os
import sqlite3
from contextlib import closing, suppress
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
import trio
import trio.testing

from ninepic_mirror.errors import (
    EventBusyError,
    KeyRefusedError,
    PassingError,
    StorageError,
    UnreachableError,
)
from ninepic_mirror.sync.context import Options
from ninepic_mirror.sync.mirror import LOCK_WAIT, sync_event
from ninepic_mirror.sync.pipeline import GRACE
from ninepic_mirror.sync.session import StoppedError
from tests.case import Case
from tests.oracle import check_settled, check_truth, final_files, rows
from tests.remote import EVENT, AtSteps, session_of, wait_until

if TYPE_CHECKING:
    from pathlib import Path

    from ninepic_mirror.sync.report import PassReport
    from ninepic_mirror.sync.session import Session


@pytest.fixture
def case(tmp_path: Path) -> Case:
    """Return six photos and an empty root."""
    return Case(tmp_path / "mirror")


@pytest.mark.parametrize("begun", [1, 2, 3, 5, 7])
def test_a_stop_gives_downloads_their_grace(case: Case, begun: int) -> None:
    """When the operator ends the run, downloads under way get five seconds, and what came whole is committed."""

    async def work(session: Session) -> None:
        case.remote.gate = gate = trio.Event()

        async def stop() -> None:
            await wait_until(lambda: case.remote.started >= min(begun, 3))
            session.stopping.set()
            await trio.testing.wait_all_tasks_blocked()
            gate.set()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(stop)
            report = await sync_event(session, EVENT)
        assert not report.whole
        assert report.downloaded == min(begun, 3)

    if begun > 3:  # later stops: with some photos here already
        for image_id in list(case.remote.pictures)[begun // 2 :]:
            case.remote.missing.add(image_id)
        case.sync()
        case.remote.missing.clear()
        case.remote.started = 0
    case.settings = replace(case.settings, connections=min(begun, 3))
    case.run(work)
    case.remote.gate = None
    case.check_next()


def test_a_stop_ends_downloads_that_hang(case: Case) -> None:
    """A download that does not end within the grace is cut off; the pass ends and says that it is not whole."""
    times: list[float] = []

    async def work(session: Session) -> None:
        case.remote.gate = trio.Event()

        async def stop() -> None:
            await wait_until(lambda: case.remote.started >= 3)
            times.append(trio.current_time())
            session.stopping.set()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(stop)
            report = await sync_event(session, EVENT)
        times.append(trio.current_time())
        assert (report.whole, report.downloaded) == (False, 0)

    case.run(work)
    assert times[1] - times[0] >= GRACE
    case.remote.gate = None
    case.check_next()


@pytest.mark.parametrize("calls", range(1, 8))
def test_a_stop_at_any_request_is_no_lie(case: Case, calls: int) -> None:
    """Wherever in the listing the operator ends the run, the report is not whole unless everything is here."""

    async def work(session: Session) -> None:
        def stop(_step: int) -> None:
            if case.remote.calls >= calls:
                session.stopping.set()

        trio.lowlevel.add_instrument(AtSteps(stop))
        try:
            report = await sync_event(session, EVENT)
        except StoppedError:
            return
        # all may be here before it is sure that this is all: the counts are asked for once more at the end
        assert report.whole == (report.present == 12 and not report.stopped)

    case.run(work)
    case.check_next()


class UnexpectedError(Exception):
    """Something that nobody expects."""


@pytest.mark.parametrize(
    "error",
    [
        UnexpectedError("in a download"),
        UnreachableError("https://photos", 120, "no answer"),
        KeyRefusedError(403, 903),
    ],
    ids=lambda error: type(error).__name__,
)
def test_what_ends_a_download_for_good_ends_the_pass(case: Case, error: Exception) -> None:
    """An error of the download stage leaves the pass as it is, not as a Cancelled of another stage."""
    case.remote.failure = error
    with pytest.raises(type(error)) as caught:
        case.sync()
    assert caught.value is error
    case.remote.failure = None
    case.check_next()


@pytest.mark.parametrize("call", range(1, 5))
def test_what_ends_the_listing_for_good_ends_the_pass(
    case: Case, monkeypatch: pytest.MonkeyPatch, call: int
) -> None:
    """An error of the listing stage, in any of its requests, leaves the pass as it is."""
    error = KeyRefusedError(401, 903)
    plain = case.remote._call

    def refuse() -> None:
        plain()
        if case.remote.calls >= call:
            raise error

    with monkeypatch.context() as patch:
        patch.setattr(case.remote, "_call", refuse)
        with pytest.raises(KeyRefusedError) as caught:
            case.sync()
    assert caught.value is error
    case.check_next()


def test_what_ends_a_commit_ends_the_pass(case: Case) -> None:
    """A disk that says no in the commit stage ends the pass with that error, while downloads wait for the stage."""

    async def work(session: Session) -> None:
        case.remote.gate = gate = trio.Event()

        async def vanish() -> None:
            await wait_until(lambda: case.remote.started >= 2)
            (case.settings.root / ".ninepic-mirror-root").unlink()
            gate.set()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(vanish)
            with pytest.raises(StorageError):
                await sync_event(session, EVENT)

    case.run(work)
    case.remote.gate = None
    assert not final_files(case.folder)
    (case.settings.root / ".ninepic-mirror-root").touch()
    case.check_next()


def test_two_passes_of_one_event_exclude_each_other(case: Case) -> None:
    """The second pass waits ten seconds for the first, then says which process holds the event."""

    async def work(session: Session) -> None:
        case.remote.gate = gate = trio.Event()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(sync_event, session, EVENT)
            await wait_until(lambda: case.remote.started > 0)
            before = trio.current_time()
            with pytest.raises(EventBusyError) as caught:
                await sync_event(session, EVENT)
            assert caught.value.holder == os.getpid()
            assert trio.current_time() - before >= LOCK_WAIT
            gate.set()

    case.run(work)
    case.remote.gate = None
    case.check_next()


def test_a_pass_that_waits_for_another_goes_on_after_it(case: Case) -> None:
    """A pass that gets the event within ten seconds is made, and finds everything done."""

    async def work(session: Session) -> None:
        case.remote.gate = gate = trio.Event()

        async def end_soon() -> None:
            await trio.sleep(1)
            gate.set()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(sync_event, session, EVENT)
            await wait_until(lambda: case.remote.started > 0)
            nursery.start_soon(end_soon)
            report = await sync_event(session, EVENT)
        assert (report.whole, report.downloaded) == (True, 0)

    case.run(work)


def test_two_events_are_mirrored_at_the_same_time(case: Case) -> None:
    """Passes over two events run beside each other in one process, each whole in a folder of its own."""
    reports: list[PassReport] = []

    async def work(session: Session) -> None:
        async def one(event_id: int) -> None:
            reports.append(await sync_event(session, event_id))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(one, EVENT)
            nursery.start_soon(one, 457)

    case.run(work)
    assert [report.whole for report in reports] == [True, True]
    for folder in case.settings.root.glob("45*"):
        assert check_truth(folder, case.body) == 12
        check_settled(folder)


def test_what_is_deleted_during_a_pass_comes_back_in_it(case: Case) -> None:
    """A file that somebody takes away while its folder is worked on is missed at the end, and fetched again."""
    case.sync()
    first = case.remote.pictures["photo-000"]
    case.remote.add("photo-100", first.taken)
    (lost,) = case.folder.rglob("large/photo-000.jpg")
    case.remote.started = 0

    async def work(session: Session) -> None:
        case.remote.gate = gate = trio.Event()

        async def delete() -> None:
            await wait_until(lambda: case.remote.started > 0)
            lost.unlink()
            gate.set()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(delete)
            report = await sync_event(session, EVENT)
        assert (report.whole, report.downloaded, report.present) == (True, 3, 14)

    case.run(work)
    assert check_truth(case.folder, case.body) == 14
    check_settled(case.folder)


def test_event_json_is_right_after_a_pass_that_was_cut_off(tmp_path: Path) -> None:
    """A pass that ends when all was listed and fetched has told nobody; the next one finds no change, and tells."""
    case = Case(tmp_path / "mirror")
    case.remote.timeline = False  # one listing, and nothing that is looked at after it
    case.sync()
    case.remote.add("late", None)
    scope = trio.CancelScope()

    async def work(session: Session) -> None:
        with scope:
            await sync_event(session, EVENT)

    case.run(
        work, AtSteps(lambda _: scope.cancel() if len(final_files(case.folder)) == 14 else None)
    )
    assert scope.cancelled_caught
    assert json.loads((case.folder / "event.json").read_text())["photos"] == 6

    report = case.sync()

    assert report.downloaded == 0
    check_settled(case.folder)
    assert json.loads((case.folder / "event.json").read_text())["photos"] == 7


async def test_new_settings_whose_moves_could_not_be_noted_are_followed_later(
    tmp_path: Path,
) -> None:
    """A pass that dies before the files of a new layout are noted leaves that to the next one."""
    case = Case(tmp_path / "mirror")
    assert (await sync_event(session_of(case.remote, case.settings), EVENT)).whole
    with closing(sqlite3.connect(case.folder / ".ninepic-mirror/manifest.sqlite3")) as manifest:
        manifest.execute(
            "CREATE TRIGGER dies BEFORE UPDATE OF misplaced ON photos BEGIN SELECT raise(ABORT, 'dies'); END"
        )
        manifest.commit()
        case.settings = replace(case.settings, layout="{variant}/{image_id}{ext}")
        with pytest.raises(sqlite3.IntegrityError, match="dies"):
            await sync_event(session_of(case.remote, case.settings), EVENT)
        manifest.execute("DROP TRIGGER dies")
        manifest.commit()

    report = await sync_event(session_of(case.remote, case.settings), EVENT)

    assert (report.whole, report.moved, report.downloaded) == (True, 12, 0)
    assert {name.count("/") for name in final_files(case.folder)} == {1}


@pytest.mark.parametrize("refused_at", [0, 1, 2, 5])
async def test_a_restored_manifest_is_known_for_one_until_all_was_listed(
    tmp_path: Path, refused_at: int
) -> None:
    """A pass over an older copy that the service cuts off does not make the next one trust it."""
    case = Case(tmp_path / "mirror")
    await sync_event(session_of(case.remote, case.settings), EVENT)
    manifest = case.folder / ".ninepic-mirror/manifest.sqlite3"
    backup = manifest.read_bytes()
    dated = next(one for one in case.remote.pictures.values() if one.taken is not None)
    del case.remote.pictures[dated.image_id]
    case.remote.add("new", dated.taken)  # no count tells of it
    assert (
        await sync_event(
            session_of(case.remote, case.settings), EVENT, Options(full=True, accept_removals=True)
        )
    ).whole
    manifest.write_bytes(backup)
    case.remote.meanwhile = [None] * refused_at + [lambda: setattr(case.remote, "refuses", 10_000)]
    with suppress(PassingError):
        await sync_event(session_of(case.remote, case.settings), EVENT)
    case.remote.refuses = 0
    case.remote.meanwhile.clear()

    report = await sync_event(
        session_of(case.remote, case.settings), EVENT, Options(accept_removals=True)
    )

    assert report.whole, report.failures
    assert {row.image_id for row in rows(case.folder)} == case.remote.pictures.keys()
