"""What the daemon says, and that it says it once."""

from __future__ import annotations

import logging
from random import Random
from typing import TYPE_CHECKING

import pytest
import trio
import trio.testing

from ninepic_mirror.errors import (
    CertificateError,
    ConfigError,
    EventBusyError,
    KeyRefusedError,
    PassingError,
    Problem,
    RedirectedError,
    StorageError,
    UsageError,
)
from ninepic_mirror.ninepic.pacing import Pacer, api_pace
from ninepic_mirror.service.board import Board, Watched
from ninepic_mirror.service.rounds import Ended, failed, post
from ninepic_mirror.service.schedule import Outcome
from ninepic_mirror.service.teller import SILENCE, Teller
from ninepic_mirror.sync.report import Failure, PassReport
from tests.virtual import Told, explain

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

DAY = 86_400.0


class Scene:
    """A teller, what it tells, and one event.

    Args:
        caplog: The log.
    """

    def __init__(self, caplog: pytest.LogCaptureFixture) -> None:
        caplog.set_level(logging.INFO)
        self._caplog = caplog
        self.board, self.hooks = Board(0.0), Told()
        self.one = Watched(456, "Mumbai Marathon")
        self.board.events[456] = self.one
        self.teller = Teller(self.board, self.hooks, explain)

    def said(self) -> list[tuple[str, str]]:
        """Return level and text of what the log got since the last time."""
        found = [(record.levelname, record.getMessage()) for record in self._caplog.records]
        self._caplog.clear()
        return found

    def told(self) -> list[str]:
        """Return the hooks since the last time."""
        names = self.hooks.names()
        self.hooks.happened.clear()
        return names

    def end(self, ended: Ended) -> None:
        """Let a pass end."""
        if ended.report is not None:
            post(self.one, ended.report)
        self.teller.ended(self.one, ended, "/srv/456")


@pytest.fixture
def scene(caplog: pytest.LogCaptureFixture) -> Scene:
    """Return a fresh one."""
    return Scene(caplog)


def whole(downloaded: int = 0) -> Ended:
    """Return a pass that ended whole."""
    report = PassReport(456, "x", whole=True, photos=7, present=14, downloaded=downloaded)
    return Ended(Outcome(changed=downloaded > 0, is_today=False, full=False), report)


def lacking(*errors: str, downloaded: int = 0) -> Ended:
    """Return a pass that could not have some files, one for each error."""
    failures = [Failure(f"p{place}", "large", error) for place, error in enumerate(errors)]
    report = PassReport(
        456, "x", photos=7, missing=len(errors), failures=failures, downloaded=downloaded
    )
    return Ended(Outcome(changed=downloaded > 0, is_today=False, full=False), report)


# --- of everything ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "kind", "recovery"),
    [
        (KeyRefusedError(403, 903), "key", "the key is accepted"),
        (StorageError("/srv", "full"), "storage", "the mirror root can be written to again"),
        (ConfigError((Problem("c", "k", "t", "c"),)), "config", "the settings can be used"),
        (UsageError("no such event"), "config", "the settings can be used"),
        (CertificateError("https://x", "expired"), "service", "the service answers again"),
    ],
)
def test_a_common_trouble_is_told_once(
    scene: Scene, error: Exception, kind: str, recovery: str
) -> None:
    """As an error when it comes, as a warning when it is over; the board shows the latest words for it."""
    scene.teller.trouble(error)
    assert scene.said() == [("ERROR", str(error))]
    assert scene.board.troubles == {kind: str(error)}
    scene.teller.trouble(error)
    assert scene.said() == []
    assert not scene.teller.over("unheard of")
    assert scene.teller.over("service", "key", "config", "storage")
    assert scene.said() == [("WARNING", recovery)]
    assert scene.board.troubles == {}
    assert not scene.teller.over(kind)
    assert scene.said() == []


async def test_an_outage_is_told_once(scene: Scene, autojump_clock: trio.testing.MockClock) -> None:
    """Ten seconds without a good answer to somebody who waits for one; its end is told, and is a recovery."""
    pacer = Pacer(api_pace("https://api", give_up=None), None, Random(1))
    down = True

    async def attempt() -> None:
        await trio.sleep(0.01)
        if down:
            raise PassingError("503")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(pacer.run, attempt)
        await trio.sleep(SILENCE)
        assert not scene.teller.outage(pacer)
        assert scene.said() == []
        for _ in range(5):
            await trio.sleep(1)
            assert not scene.teller.outage(pacer)
        what = "https://api gives no good answer"
        assert scene.said() == [("ERROR", f"{what}; it is asked again and again")]
        assert scene.board.troubles == {"service": what}
        down = False
    assert scene.teller.outage(pacer)
    assert scene.said() == [("WARNING", "the service answers again")]
    assert not scene.teller.outage(pacer)
    assert scene.board.troubles == {}


async def test_what_is_of_no_use_is_no_answer(
    scene: Scene, autojump_clock: trio.testing.MockClock
) -> None:
    """A service that sends elsewhere is in trouble until it answers what it was asked, an outage in between or not."""
    pacer = Pacer(api_pace("https://api", give_up=None), None, Random(1))
    answers: list[Exception] = []

    async def attempt() -> None:
        await trio.sleep(1)
        if answers:
            raise answers.pop(0)

    scene.teller.trouble(RedirectedError("/events", 302))
    answers += [RedirectedError("/events", 302)]
    with pytest.raises(RedirectedError):
        await pacer.run(attempt)
    assert not scene.teller.outage(pacer)
    answers += [PassingError("503", refused=True, retry_after=600.0), RedirectedError("/e", 302)]
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_redirected, pacer, attempt)
        await trio.sleep(5)
        assert not scene.teller.outage(pacer)
    assert not scene.teller.outage(pacer)
    assert list(scene.board.troubles) == ["service"]
    await pacer.run(attempt)
    scene.teller.answered()
    assert scene.teller.outage(pacer)
    assert scene.board.troubles == {}


async def _redirected(pacer: Pacer, attempt: Callable[[], Awaitable[None]]) -> None:
    with pytest.raises(RedirectedError):
        await pacer.run(attempt)


async def test_a_service_that_wants_to_be_left_alone_is_down(
    scene: Scene, autojump_clock: trio.testing.MockClock
) -> None:
    """At once, where it asks for longer than ten seconds; for how long is shown."""
    pacer = Pacer(api_pace("https://api", give_up=None), None, Random(1))
    answers = iter([PassingError("503", refused=True, retry_after=600.0)])

    async def attempt() -> None:
        if (fault := next(answers, None)) is not None:
            raise fault

    async with trio.open_nursery() as nursery:
        nursery.start_soon(pacer.run, attempt)
        await trio.sleep(0.5)
        scene.teller.outage(pacer)
        text = "https://api asks to be left alone for"
        assert scene.said() == [("ERROR", f"{text} 600 s; it is asked again and again")]
        await trio.sleep(300)
        scene.teller.outage(pacer)
        assert scene.board.troubles == {"service": f"{text} 300 s"}
    assert scene.teller.outage(pacer)
    assert scene.told() == []


# --- of one event -----------------------------------------------------------------------------------------------


def test_what_stays_the_same_is_told_once(scene: Scene) -> None:
    """A quiet whole event says nothing after its first pass; a monitor of the pulse hears every one."""
    scene.end(whole(14))
    assert scene.said() == [("INFO", "Mumbai Marathon (event 456): 14 new files, 7 photos in all")]
    assert scene.told() == ["new_photos", "pass_whole"]
    for _ in range(3):
        scene.end(whole())
    assert (scene.said(), scene.told(), scene.hooks.pulses) == ([], [], 4)
    scene.end(whole(2))
    assert scene.told() == ["new_photos", "pass_whole"]
    assert scene.one.passes == {"whole": 5}


def test_the_first_pass_of_a_whole_event_is_told(scene: Scene) -> None:
    """Also where nothing was new: since the daemon's start nobody has said so."""
    scene.end(whole())
    assert (scene.said(), scene.told()) == ([], ["pass_whole"])


def test_a_fault_is_told_once_and_so_is_its_end(scene: Scene) -> None:
    """Until it is another one."""
    scene.end(whole())
    scene.told()
    for holder in (11, 12, 13):
        scene.end(failed(EventBusyError(456, holder), full=False))
    assert scene.said() == [
        ("WARNING", "Mumbai Marathon (event 456): event 456 is held by process 11")
    ]
    assert scene.told() == ["pass_failed"]
    assert scene.one.trouble == "event 456 is held by process 13"
    scene.end(failed(PassingError("500"), full=False))
    assert len(scene.said()) == 1
    assert scene.told() == ["pass_failed"]
    scene.end(whole())
    assert scene.said() == [("WARNING", "Mumbai Marathon (event 456): whole again: all 7 photos")]
    assert scene.told() == ["pass_whole"]
    assert scene.one.trouble is None
    assert scene.one.passes == {"whole": 2, "failed": 4}


def test_files_that_cannot_be_had_are_told_by_reason(scene: Scene) -> None:
    """The commonest three, and again only when their number or their reasons change."""
    errors = (
        ["404 from the photo origin"] * 3 + ["cut off: 5 of 9"] * 2 + ["no photo", "an odd one"]
    )
    scene.end(lacking(*errors, downloaded=3))
    text = "7 files are missing: 3 x 404 from the photo origin, 2 x cut off, 1 x no photo"
    assert scene.said() == [
        ("INFO", "Mumbai Marathon (event 456): 3 new files, 7 photos in all"),
        ("WARNING", f"Mumbai Marathon (event 456): {text}"),
    ]
    assert scene.hooks.happened[-1].facts["reason"] == text
    assert scene.told() == ["new_photos", "pass_failed"]
    scene.end(lacking(*errors))
    assert (scene.said(), scene.told()) == ([], [])
    scene.end(lacking(*errors[:6]))
    assert scene.told() == ["pass_failed"]
    assert scene.hooks.pulses == 0
    assert scene.one.passes == {"incomplete": 3}


def test_a_hook_gets_the_facts(scene: Scene) -> None:
    """What is new, what is missing, why, and the balance sheet; of a fault there is none."""
    scene.end(whole(14))
    first = scene.hooks.happened[0]
    assert (first.event_id, first.name, first.folder) == (456, "Mumbai Marathon", "/srv/456")
    assert first.facts["new"] == 14
    assert first.facts["reason"] == ""
    assert isinstance(first.facts["report"], dict)
    scene.end(failed(PassingError("500"), full=False))
    last = scene.hooks.happened[-1]
    assert (last.facts["new"], last.facts["report"], last.facts["reason"]) == (0, None, "500")


def test_an_event_that_is_watched_anew_is_new(scene: Scene) -> None:
    """What was said of it before it was left out counts no more; forgetting one that is not there is fine."""
    scene.end(whole())
    scene.teller.forget(456)
    scene.teller.forget(457)
    scene.told()
    scene.end(whole())
    assert (scene.said(), scene.told()) == ([], ["pass_whole"])


@pytest.mark.parametrize(
    ("state", "reason"),
    [
        ({}, "it was not looked at yet"),
        ({"trouble": "locked"}, "locked"),
        ({"whole": False, "missing": 3}, "3 files are missing"),
        ({"missing": 2, "reasons": {"404": 2}}, "2 files are missing: 2 x 404"),
    ],
)
def test_a_stale_event_is_told_once(scene: Scene, state: dict[str, object], reason: str) -> None:
    """For how long and why; its recovery goes to a hook, and the log has it from the pass."""
    scene.one.name = None
    for name, value in state.items():
        setattr(scene.one, name, value)
    for now in (DAY, DAY + 1, DAY + 2, DAY + 3600):
        scene.teller.staleness(now)
    text = f"event 456: not whole for 24 h: {reason}"
    assert (scene.said(), scene.told()) == ([("ERROR", text)], ["stale"])
    scene.one.whole, scene.one.trouble, scene.one.whole_at = True, None, DAY + 3600
    scene.teller.staleness(DAY + 3601)
    scene.teller.staleness(DAY + 3602)
    assert (scene.said(), scene.told()) == ([], ["recovered"])


def test_a_stale_event_that_is_not_watched_any_more_recovers_not(scene: Scene) -> None:
    """Nothing is known of it; nobody is told that all is well."""
    scene.teller.staleness(2 * DAY)
    scene.told()
    del scene.board.events[456]
    scene.teller.staleness(2 * DAY + 1)
    assert scene.told() == []
