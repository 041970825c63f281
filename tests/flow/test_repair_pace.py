"""What a repair of `verify` reads is paid for like all else that the run reads."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest

from ninepic_mirror.archive.verify import Pace, Stopped
from ninepic_mirror.cli.verdict import Verdict
from ninepic_mirror.sync.context import Options
from tests.case import Case, verify
from tests.remote import EVENT

if TYPE_CHECKING:
    from pathlib import Path

    from ninepic_mirror.sync.session import Session


class _Waits(threading.Event):
    """An event that notes how long it was waited for, instead of letting it be waited for."""

    waited = 0.0

    def wait(self, timeout: float | None = None) -> bool:
        self.waited += timeout or 0.0
        return self.is_set()


def test_a_repair_keeps_to_the_rate(tmp_path: Path) -> None:
    """It reads from the run's own account, until the operator ends the run; that the time is over does not end it."""
    case = Case(tmp_path / "mirror")
    case.sync()

    async def work(session: Session) -> None:
        scrub = await verify(session, repair=True)
        scrub.pace = Pace(1000, scrub.stop, lambda: 0.0)
        scrub.stop.set()  # the time is over
        scrub.stopped = waits = _Waits()
        reading = scrub._asking(Verdict(EVENT), Options()).reading
        assert reading is not None
        reading.spend(500)
        assert waits.waited == 0.5
        waits.set()
        with pytest.raises(Stopped):
            reading.spend(0)
        others = _Waits()
        scrub.pace.until(others).spend(250)
        assert others.waited == 0.75

    case.run(work)
