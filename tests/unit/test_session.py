"""What all passes of a run share: which error counts, what is remembered, how a stop is heard."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import trio
from msgspec import structs

from ninepic_mirror.config import Api, Config, Mirror
from ninepic_mirror.errors import (
    EventBusyError,
    KeyRefusedError,
    PassingError,
    StorageError,
)
from ninepic_mirror.model import Key
from ninepic_mirror.ninepic.backoff import Backoff
from ninepic_mirror.ninepic.limits import Limits
from ninepic_mirror.progress import Silent
from ninepic_mirror.sync.session import StoppedError, open_session, unwrapped
from tests.remote import Remote, session_of

if TYPE_CHECKING:
    from pathlib import Path

PROGRAM, EVENT, PASSING = KeyRefusedError(403, 1), EventBusyError(1, None), PassingError("a fault")


@pytest.mark.parametrize(
    ("errors", "first"),
    [
        ([EVENT, PROGRAM], PROGRAM),
        ([PASSING, EVENT], EVENT),
        ([PROGRAM, ValueError("a bug")], "a bug"),
        ([PASSING, ExceptionGroup("", [EVENT, PASSING])], EVENT),
        ([PROGRAM, KeyboardInterrupt("a bug")], "a bug"),
    ],
)
def test_the_error_that_matters_most_leaves(errors: list[BaseException], first: object) -> None:
    """Of several errors a bug comes first, then what ends the program, the event, and the rest; however deep."""
    with (
        pytest.raises((KeyRefusedError, EventBusyError, ValueError, KeyboardInterrupt)) as caught,
        unwrapped(),
    ):
        raise BaseExceptionGroup("", errors)
    assert caught.value is first or str(caught.value) == first
    assert isinstance(caught.value.__cause__, BaseExceptionGroup)


async def test_a_real_error_is_not_hidden_by_a_cancelled() -> None:
    """Where a task was cancelled and another failed, the failure leaves."""

    async def fail_late(scope: trio.CancelScope) -> None:
        with unwrapped():
            async with trio.open_nursery() as nursery:
                nursery.start_soon(trio.sleep_forever)
                scope.cancel()
                raise PROGRAM

    with trio.CancelScope() as scope, pytest.raises(KeyRefusedError):
        await fail_late(scope)


async def test_a_stop_throws_away_what_is_under_way(tmp_path: Path) -> None:
    """Work that the operator does not wait for ends in StoppedError; what was quicker is returned."""
    session = session_of(Remote(), Mirror(tmp_path / "mirror"))

    async def quick() -> int:
        return 7

    assert await session.unless_stopped(quick) == 7
    session.stopping.set()
    with pytest.raises(StoppedError):
        await session.unless_stopped(trio.sleep_forever)


async def test_an_error_of_the_work_leaves_as_it_is(tmp_path: Path) -> None:
    """`unless_stopped` raises what the work raised, and no group."""
    session = session_of(Remote(), Mirror(tmp_path / "mirror"))

    async def fail() -> None:
        raise EVENT

    with pytest.raises(EventBusyError) as caught:
        await session.unless_stopped(fail)
    assert caught.value is EVENT


async def test_a_session_takes_its_limits_along(tmp_path: Path) -> None:
    """Rate, waits and the time after which to give up reach both pacers; without requests the marker is left alone."""
    api = Api(903, "https://user:secret@api.invalid/x", requests_per_second=3)
    config = Config(api, Mirror(tmp_path / "mirror", connections=5))
    limits = Limits(backoff=Backoff(0.1, 0.2), waits=True)
    opened = open_session(config, Key("k", "the test"), Silent(), give_up=7.0, limits=limits)
    async with opened as session:
        assert session.client.pacer.pace == structs.replace(
            session.client.pacer.pace,
            origin="https://api.invalid",
            requests_per_second=3,
            give_up=7.0,
            waits=True,
            backoff=Backoff(0.1, 0.2),
        )
        assert (session.pacer.pace.give_up, session.pacer.pace.waits) == (7.0, True)
        assert (session.pacer.pace.connections, session.pacer.pace.backoff) == (
            5,
            Backoff(0.1, 0.2),
        )
        marker = (tmp_path / "mirror/.ninepic-mirror-root").read_bytes()
    assert (tmp_path / "mirror/.ninepic-mirror-root").read_bytes() == marker


async def test_what_pacers_learned_must_have_a_form(tmp_path: Path) -> None:
    """A marker that somebody edited costs what was learned, never the run."""
    root = tmp_path / "mirror"
    root.mkdir()
    (root / ".ninepic-mirror-root").write_text('{"pacers": {"api": 7, "photos": {"rate": "x"}}}')
    config = Config(Api(903, "https://api.invalid"), Mirror(root))
    async with open_session(config, Key("k", "the test"), Silent()) as session:
        assert session.pacer.statistics().requests == 0


async def test_a_root_that_is_none_ends_the_run(tmp_path: Path) -> None:
    """A folder of somebody else's files is no mirror root."""
    (tmp_path / "holiday.jpg").touch()
    config = Config(Api(903, "https://api.invalid"), Mirror(tmp_path))
    with pytest.raises(StorageError):
        async with open_session(config, Key("k", "the test"), Silent()):
            pass
