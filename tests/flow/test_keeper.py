"""The keeper on a virtual clock, over a service in memory: which events are looked at, when, and what faults end."""

from __future__ import annotations

import logging
import shutil
import sqlite3
from contextlib import closing
from dataclasses import replace
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest
import trio

from ninepic_mirror.archive.root import MARKER, Root
from ninepic_mirror.config import Daemon, Events
from ninepic_mirror.errors import (
    CertificateError,
    EventNotFoundError,
    KeyRefusedError,
    PassingError,
    StorageError,
)
from ninepic_mirror.service.keeper import DISCOVERY, PASSES, RETRY
from ninepic_mirror.service.schedule import JITTER
from tests.remote import EVENT
from tests.virtual import Watch, keep, on_virtual_clock, organisation

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from ninepic_mirror.config import Config

HOUR, DAY = 3600.0, 86_400.0
QUICK = Daemon(min_interval=60, max_interval=60)


def running(watch: Watch, seconds: float, meanwhile: Callable[[], Awaitable[None]]) -> None:
    """Keep events for so long on a virtual clock, and do something beside it."""

    async def work() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(keep, watch, seconds)
            await meanwhile()

    on_virtual_clock(work)


def test_days_go_by_as_the_schedule_says(tmp_path: Path) -> None:
    """Five events for a day: four passes at a time, waits that double from a minute to six hours, one full look."""
    service = organisation(*[3] * 5)
    watch = Watch(service, tmp_path / "m", Daemon(min_interval=60))

    async def work() -> None:
        await keep(watch, 1.1 * DAY)

    on_virtual_clock(work)
    assert watch.most == PASSES
    assert watch.shown == dict.fromkeys(service.remotes, (True, None))
    for looks in service.looks.values():
        allowed, early = 60.0, 0
        for before, now in pairwise(looks):
            assert now - before <= allowed + 1
            early += now - before < allowed * (1 - JITTER) - 1
            allowed = min(6 * HOUR, 2 * allowed)
        assert early <= 1, "the full pass does not wait for the next quick one"
        assert len(looks) == pytest.approx(10 + (1.1 * DAY - 60 * 2**9) / (6 * HOUR), abs=3)
    assert sorted(watch.hooks.names()) == ["new_photos"] * 5 + ["pass_whole"] * 5, "each once"
    assert watch.hooks.pulses == sum(len(looks) for looks in service.looks.values())


def test_what_arrives_is_there_within_an_interval(tmp_path: Path) -> None:
    """An event to which photos come is looked at every minute, however long it has been quiet."""
    service = organisation(4)
    watch = Watch(service, tmp_path / "m", Daemon(min_interval=60, max_interval=600))

    async def meanwhile() -> None:
        await trio.sleep(2 * HOUR)
        service.remotes[EVENT].add("late", None)
        await trio.sleep(600)
        assert watch.board.events[EVENT].photos == 5
        assert watch.board.events[EVENT].fetched == 10
        found, again, *_ = (moment for moment in service.looks[EVENT] if moment > 2 * HOUR)
        assert again - found <= 61

    running(watch, 2.3 * HOUR, meanwhile)


def test_a_restart_costs_no_new_run_up(tmp_path: Path) -> None:
    """Another keeper over the same mirror knows from the manifest what was whole and for how long it was quiet."""
    service = organisation(4, 3)
    settings = Daemon(min_interval=60, max_interval=7200)

    async def work() -> None:
        await keep(Watch(service, tmp_path / "m", settings), 12 * HOUR)
        await trio.sleep(60)
        service.looks.clear()
        again = Watch(service, tmp_path / "m", settings)
        await keep(again, 60)
        assert [len(looks) for looks in service.looks.values()] == [1, 1]
        shown = again.board.events[EVENT]
        assert shown.due_at is not None
        assert shown.whole_at is not None
        assert shown.due_at - shown.whole_at > 0.8 * 7200
        assert (shown.photos, shown.present, sum(shown.hours.values()) + shown.undated) == (4, 8, 4)

    on_virtual_clock(work)


def test_events_are_found_and_left(tmp_path: Path) -> None:
    """The list is asked for every hour; one that two in a row do not name is let be, and its mirror stays."""
    service = organisation(2, 2)
    service.names = {EVENT: "First"}
    settings = Daemon(min_interval=60, max_interval=1800)
    watch = Watch(service, tmp_path / "m", settings, Events(all=True))

    async def meanwhile() -> None:
        await trio.sleep(90)
        assert sorted(watch.board.events) == [EVENT, EVENT + 1]
        assert watch.board.events[EVENT].name == "Mumbai Marathon", (
            "the event's own details are newer"
        )
        service.remotes[EVENT + 2] = service.remotes.pop(EVENT + 1)
        service.faults[EVENT + 1] = EventNotFoundError(EVENT + 1)
        await trio.sleep(DISCOVERY)
        assert sorted(watch.board.events) in ([*range(EVENT, EVENT + 3)], [EVENT, EVENT + 2])
        await trio.sleep(RETRY)
        assert sorted(watch.board.events) == [EVENT, EVENT + 2]
        assert service.listed == 3

    running(watch, 1.2 * HOUR, meanwhile)
    assert len(list((tmp_path / "m").glob(f"{EVENT + 1}*"))) == 1


def test_a_list_that_is_not_to_be_had_is_asked_for_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A minute later; events that are named need not wait for it. An empty choice is told."""
    service = organisation(2, 2)
    service.fault = PassingError("503")
    watch = Watch(service, tmp_path / "m", QUICK, Events(ids=(EVENT,), all=True, name="Nothing*"))

    async def meanwhile() -> None:
        await trio.sleep(RETRY / 2)
        assert list(watch.board.events) == [EVENT]
        assert watch.board.events[EVENT].trouble == "503"
        service.fault = None
        await trio.sleep(RETRY * 2)
        assert watch.shown == {EVENT: (True, None)}

    running(watch, 300, meanwhile)
    assert service.listed == 2
    assert "which events there are: 503" in caplog.text
    service = organisation()
    running(Watch(service, tmp_path / "n", QUICK, Events(all=True)), 60, trio.lowlevel.checkpoint)
    assert "none of the organisation's 0 events fits" in caplog.text


def test_a_list_that_is_empty_or_short_once_takes_no_event_away(tmp_path: Path) -> None:
    """An empty list after others is none; of a short one, only what the next, a minute later, lacks as well is let be."""
    service = organisation(1, 1, 1)
    watch = Watch(service, tmp_path / "m", QUICK, Events(all=True))
    every = [EVENT, EVENT + 1, EVENT + 2]

    async def lists(*shown: int) -> list[int]:
        service.shown = shown
        watch.keeper.change(watch.config)  # asks now
        await trio.sleep(1)
        return sorted(watch.board.events)

    async def meanwhile() -> None:
        await trio.sleep(90)
        for _ in range(3):
            assert await lists() == every
        assert await lists(EVENT) == every
        assert await lists(*every) == every
        assert await lists(EVENT) == every, "not twice in a row"
        assert await lists() == every, "no list at all"
        for event_id in every:
            service.remotes[event_id].add(f"{event_id}-late", None)
        await trio.sleep(RETRY / 2)
        assert service.listed == 8
        assert [one.photos for one in watch.board.events.values()] == [2, 2, 2]
        service.shown = (EVENT,)
        await trio.sleep(RETRY)
        assert sorted(watch.board.events) == [EVENT], "twice in a row, but for what was none"
        assert service.listed == 9
        assert watch.board.troubles == {}

    running(watch, 300, meanwhile)


def test_what_does_not_fit_any_more_is_let_be_at_once(tmp_path: Path) -> None:
    """It is listed, so that nothing is doubtful; that nothing fits is no trouble."""
    service = organisation(1, 1)
    service.names = {EVENT: "Run", EVENT + 1: "Walk"}
    watch = Watch(service, tmp_path / "m", QUICK, Events(all=True, name="Run"))

    async def meanwhile() -> None:
        await trio.sleep(90)
        assert list(watch.board.events) == [EVENT]
        service.names[EVENT] = "Gone"
        await trio.sleep(DISCOVERY)
        assert watch.board.events == {}
        assert watch.board.troubles == {}

    running(watch, 1.1 * HOUR, meanwhile)
    assert service.listed == 2


def test_no_event_is_a_trouble_where_some_are_mirrored(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """After a restart nothing but the mirror root tells that there were some; an organisation that begins is healthy."""
    service = organisation()
    root = tmp_path / "m"
    watch = Watch(service, root, QUICK, Events(all=True))
    running(watch, 120, trio.lowlevel.checkpoint)
    assert watch.board.troubles == {}
    service = organisation(2)
    running(Watch(service, root, QUICK), 90, trio.lowlevel.checkpoint)
    service.shown, service.looks = (), {}
    watch = Watch(service, root, QUICK, Events(all=True))

    async def meanwhile() -> None:
        await trio.sleep(3 * RETRY)
        assert list(watch.board.troubles) == ["events"]
        assert "though there were some" in watch.board.troubles["events"]
        service.shown = None
        await trio.sleep(RETRY * 1.5)
        assert watch.shown == {EVENT: (True, None)}
        assert watch.board.troubles == {}

    running(watch, 400, meanwhile)
    said = [line.getMessage() for line in caplog.records if line.levelno >= logging.WARNING]
    assert len([text for text in said if "though there were some" in text]) == 1
    assert "it is known which events there are" in said


def test_a_root_that_cannot_be_looked_into_is_not_taken_for_an_empty_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether events were mirrored here cannot be told then, so an empty list is not believed."""

    def closed(root: Root) -> list[tuple[int, Path]]:
        raise StorageError(str(root.path), "Permission denied")

    monkeypatch.setattr(Root, "events", closed)
    watch = Watch(organisation(), tmp_path / "m", QUICK, Events(all=True))
    running(watch, 60, trio.lowlevel.checkpoint)
    assert list(watch.board.troubles) == ["events"]


def test_named_events_end_the_trouble_of_the_list(tmp_path: Path) -> None:
    """Where the list stays away, those that the settings name by now are mirrored, so that not all are held up."""
    service = organisation(1)
    service.broken_list = PassingError("503")
    watch = Watch(service, tmp_path / "m", QUICK, Events(all=True))

    async def meanwhile() -> None:
        await trio.sleep(30)
        assert watch.board.troubles == {"events": "which events there are: 503"}
        watch.keeper.change(replace(watch.config, events=Events(ids=(EVENT,), all=True)))
        await trio.sleep(60)
        assert watch.board.troubles == {}
        assert watch.shown == {EVENT: (True, None)}

    running(watch, 120, meanwhile)


def test_a_fault_of_one_event_is_its_own(tmp_path: Path) -> None:
    """It is tried again after growing pauses, and the others go on; a bug is logged whole."""
    service = organisation(2, 2, 2)
    watch = Watch(service, tmp_path / "m", Daemon(min_interval=60, max_interval=7200))
    service.faults[EVENT] = EventNotFoundError(EVENT)
    watch.bug = EVENT + 1

    async def meanwhile() -> None:
        await trio.sleep(2 * HOUR)
        one, two, three = watch.board.events.values()
        assert "not known" in str(one.trouble)
        assert two.trouble == "a bug"
        assert three.whole
        # after 1, 2, 4, … minutes, not every minute
        assert 6 <= one.passes["failed"] <= 11
        service.faults.clear()
        watch.bug = 0
        watch.keeper.recover()
        await trio.sleep(61)
        assert watch.shown == dict.fromkeys(service.remotes, (True, None))

    running(watch, 2.1 * HOUR, meanwhile)
    assert watch.hooks.names().count("pass_failed") == 2


def test_photos_that_cannot_be_had_rest(tmp_path: Path) -> None:
    """A photo whose file is missing for six hours is asked for nine times, and its event is called incomplete once."""
    service = organisation(3)
    remote = service.remotes[EVENT]
    bad = next(iter(remote.pictures))
    remote.missing.add(bad)
    watch = Watch(service, tmp_path / "m", Daemon(min_interval=60, max_interval=1800))

    async def work() -> None:
        await keep(watch, 6 * HOUR)

    on_virtual_clock(work)
    assert 6 <= remote.asked.count((bad, "large")) <= 9
    assert watch.shown == {EVENT: (False, None)}
    assert watch.board.events[EVENT].reasons == {"404 from the photo origin": 2}
    (path,) = (tmp_path / "m").glob("*/.ninepic-mirror/manifest.sqlite3")
    with closing(sqlite3.connect(path)) as manifest:
        kinds = [row[0] for row in manifest.execute("SELECT kind FROM passes ORDER BY id")]
        ((looks,),) = manifest.execute("SELECT max(id) FROM passes")
    assert "quick" not in kinds[:-1], "what lies between them found nothing"
    assert len(kinds) < looks
    assert watch.hooks.names().count("pass_failed") == 1


@pytest.mark.parametrize(
    "fault", [KeyRefusedError(403, 903), CertificateError("https://api", "expired")]
)
@pytest.mark.parametrize("listing", [True, False])
def test_a_fault_that_all_share_ends_the_session(
    tmp_path: Path, fault: Exception, listing: bool
) -> None:
    """Whoever meets it first, the list of events or a pass; the next session goes on where this one was."""
    service = organisation(2, 2)
    watch = Watch(service, tmp_path / "m", QUICK, Events(all=True) if listing else None)

    async def work() -> None:
        session = watch.session()
        service.fault = fault
        with pytest.raises(type(fault)):
            await watch.keeper.run(session)
        assert session.stopping.is_set()
        assert all(one.passes == {} for one in watch.board.events.values())
        service.fault = None
        await keep(watch, 120)
        assert watch.shown == dict.fromkeys(service.remotes, (True, None))

    on_virtual_clock(work)


def test_a_refusal_of_one_event_is_its_own(tmp_path: Path) -> None:
    """While the key is good for the list of events, a 403 of one of them is that event's."""
    service = organisation(2, 2)
    service.faults[EVENT] = KeyRefusedError(403, 903, EVENT)
    watch = Watch(service, tmp_path / "m", QUICK)

    async def work() -> None:
        await keep(watch, 300)

    on_virtual_clock(work)
    assert watch.shown[EVENT + 1] == (True, None)
    assert "refused" in str(watch.board.events[EVENT].trouble)


def test_a_root_that_vanishes_ends_the_session(tmp_path: Path) -> None:
    """It is no event's fault; when it is back, what is written says that the trouble is over."""
    service = organisation(2)
    watch = Watch(service, tmp_path / "m", QUICK)
    marker = tmp_path / "m" / MARKER

    async def work() -> None:
        await keep(watch, 90)
        session = watch.session()
        marker.rename(tmp_path / "marker")
        service.remotes[EVENT].add("late", None)
        with pytest.raises(StorageError) as raised:
            await watch.keeper.run(session)
        watch.teller.trouble(raised.value)
        (tmp_path / "marker").rename(marker)
        await keep(watch, 90)
        assert watch.board.troubles == {}
        assert watch.board.events[EVENT].photos == 3

    on_virtual_clock(work)


def test_a_damaged_folder_of_one_event_is_its_own(tmp_path: Path) -> None:
    """Where the root is there and has room, the other events go on."""
    service = organisation(2, 2)
    watch = Watch(service, tmp_path / "m", QUICK)

    async def work() -> None:
        watch.session()
        (tmp_path / "m" / f"{EVENT}-mumbai-marathon").write_text("a file, where the folder is due")
        await keep(watch, 120)

    on_virtual_clock(work)
    assert watch.shown[EVENT + 1] == (True, None)
    assert "folder" in str(watch.board.events[EVENT].trouble)


def test_an_event_with_two_folders_is_its_own_trouble(tmp_path: Path) -> None:
    """Which of them is the mirror cannot be told; the others go on, and the session with them."""
    service = organisation(2, 2)
    watch = Watch(service, tmp_path / "m", QUICK)

    async def work() -> None:
        await keep(watch, 90)
        (folder,) = (tmp_path / "m").glob(f"{EVENT}-*")
        shutil.copytree(folder, tmp_path / "m" / f"{EVENT}-copy")
        service.remotes[EVENT + 1].add("late", None)
        await keep(watch, 90)

    on_virtual_clock(work)
    assert watch.shown[EVENT + 1] == (True, None)
    assert watch.board.events[EVENT + 1].photos == 3
    assert "two folders" in str(watch.board.events[EVENT].trouble)


def test_a_full_disk_is_judged_by_the_settings_of_now(tmp_path: Path) -> None:
    """A fault of one event's folder ends the session where the new `min_free`, not the old, says that all lack room."""
    watch = Watch(organisation(2), tmp_path / "m", QUICK)

    async def work() -> None:
        session = watch.session()
        (tmp_path / "m" / f"{EVENT}-mumbai-marathon").touch()
        mirror = replace(watch.config.mirror, min_free=1 << 60)
        watch.keeper.change(replace(watch.config, mirror=mirror))
        with pytest.raises(StorageError):
            await watch.keeper.run(session)

    on_virtual_clock(work)


def test_the_end_is_gentle(tmp_path: Path) -> None:
    """A pass under way when the session ends is no failure, and is due in the next one at once."""
    service = organisation(6)
    remote = service.remotes[EVENT]
    watch = Watch(service, tmp_path / "m", QUICK)

    async def work() -> None:
        session = watch.session()
        remote.gate = trio.Event()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(watch.keeper.run, session)
            await trio.sleep(1)
            assert watch.keeper.steps()[EVENT] > 0
            assert watch.board.headline(0).endswith(f"at work on {EVENT}")
            session.stopping.set()
        assert watch.board.events[EVENT].passes == {}
        assert watch.keeper.steps() == {}
        remote.gate = None
        session = watch.session()
        remote.meanwhile.append(session.stopping.set)  # before the first answer
        await watch.keeper.run(session)
        await keep(watch, 30)
        assert watch.shown == {EVENT: (True, None)}

    on_virtual_clock(work)


def test_other_settings_hold_from_the_next_pass_on(tmp_path: Path) -> None:
    """Shorter intervals bring what is due nearer; events that are left out go, also one that is being mirrored."""
    service = organisation(2, 2, 2)
    watch = Watch(service, tmp_path / "m", Daemon(min_interval=3600, max_interval=3600))
    remote = service.remotes[EVENT + 1]

    def change(settings: Daemon, *ids: int) -> None:
        config: Config = watch.config
        watch.keeper.change(
            type(config)(config.api, config.mirror, Events(ids=ids), daemon=settings)
        )

    async def meanwhile() -> None:
        await trio.sleep(10)
        change(QUICK, *service.remotes)
        before = len(service.looks[EVENT])
        await trio.sleep(241)
        assert len(service.looks[EVENT]) >= before + 4
        remote.gate = trio.Event()
        remote.add("held up", None)
        await trio.sleep(60)
        assert watch.board.events[EVENT + 1].began_at is not None
        change(QUICK, EVENT)
        await trio.sleep(1)
        assert sorted(watch.board.events) == [EVENT, EVENT + 1], "it is finished first"
        remote.gate.set()
        await trio.sleep(1)
        assert list(watch.board.events) == [EVENT]

    running(watch, 400, meanwhile)
    assert remote.asked[-1][0] == "held up"


def test_a_pass_says_how_it_goes(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """What is new is in the log by the event's name."""
    caplog.set_level(logging.INFO)
    watch = Watch(organisation(2), tmp_path / "m", QUICK)
    running(watch, 30, trio.lowlevel.checkpoint)
    assert "Mumbai Marathon (event 456): 4 new files, 2 photos in all" in caplog.text
