"""Cancellation at every step of the scheduler (RELIABILITY T8): no lie, no open file, and the next pass is whole."""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING, Final

import trio

from ninepic_mirror.sync.mirror import sync_event
from tests.case import Case, verify
from tests.remote import EVENT, cancel_at
from tests.torture.experiment import Experiment

if TYPE_CHECKING:
    from pathlib import Path

    from ninepic_mirror.sync.session import Session

STRIDE: Final = 24  # the steps are shared out to so many rounds of each work
WORKS: Final = ("sync", "originals", "repair")
IDLE: Final = 4  # threads that trio keeps for a while


class _Damaged(Case):
    """A whole mirror in which one file is lost, one cut, one altered, and one stands elsewhere."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.sync()
        # photos whose bytes are nobody else's
        lost, cut, altered, moved = (self._large(number) for number in (0, 1, 2, 5))
        lost.unlink()
        os.truncate(cut, 30)
        altered.write_bytes(altered.read_bytes()[:-3] + b"\x01\xff\xd9")
        moved.rename(moved.with_name("elsewhere.jpg"))

    def _large(self, number: int) -> Path:
        (found,) = self.folder.rglob(f"large/photo-{number:03}.jpg")
        return found

    def repair(self) -> None:
        """Assert that a repair that runs to its end leaves nothing damaged, and the next pass nothing to do."""
        codes: list[list[int]] = []

        async def work(session: Session) -> None:
            codes.append((await verify(session, repair=True)).codes)

        self.run(work)
        assert codes == [[0]]
        # a file that was brought home and whose row waits for it is no damage: the pass adopts it
        self.check_next()
        assert not self.remote.asked


def play(seed: int, folder: Path) -> dict[str, int]:
    """Cancel one work at every twenty-fourth step."""
    work, first = WORKS[seed % len(WORKS)], 1 + seed // len(WORKS)
    Case(folder / "warm").sync()
    threads, files = threading.active_count(), _open_files()
    steps, number, count = 10**9, first, 0
    while number < steps:
        place = folder / f"at-{number}"
        case = _Damaged(place) if work == "repair" else _whole(work, place)
        steps = _cancel(case, number, steps)
        assert _open_files() == files, f"{work} cancelled at {number} leaves open files"
        assert threading.active_count() <= threads + IDLE
        try:
            if isinstance(case, _Damaged):
                case.repair()
            else:
                case.check_next()
        except AssertionError as error:
            raise AssertionError(f"{work} cancelled at step {number}") from error
        number += STRIDE
        count += 1
    return {"cancellations": count}


def _whole(work: str, place: Path) -> Case:
    return Case(place, "thumbnail", "original") if work == "originals" else Case(place)


def _cancel(case: Case, number: int, steps: int) -> int:
    """Cancel the work at a step; return how many steps it has, as soon as that is known."""
    scope = trio.CancelScope()
    watcher = cancel_at(scope, number)

    async def work(session: Session) -> None:
        with scope:
            if isinstance(case, _Damaged):
                await verify(session, repair=True)
            else:
                await sync_event(session, EVENT)

    case.run(work, watcher)
    return steps if scope.cancel_called else watcher.steps


def _open_files() -> int:
    return len(os.listdir("/proc/self/fd"))


EXPERIMENT = Experiment(
    "cancel-steps",
    "A sync of six photos, one with originals, and a `verify --repair` of four damaged files are cancelled at every step of"
    " the scheduler: no row lies, no file or thread is left open, and the next run ends whole and fetches nothing twice.",
    rounds=STRIDE * len(WORKS),
    small=len(WORKS),
    play=play,
)
