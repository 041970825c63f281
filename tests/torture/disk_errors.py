"""Disks that fail at once: read-only by an error, no room behind a sync, unmounted (RELIABILITY, T7)."""

from __future__ import annotations

import time
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Final

from tests.torture import disks
from tests.torture.disks import Disk
from tests.torture.experiment import Experiment
from tests.torture.mirrored import EVENT, Mirrored, mirrored
from tests.torture.power import SPEC

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from tests.torture.forks import Fork

STOPS: Final = 10.0  # seconds after the fault (RELIABILITY, T7)


def play(seed: int, folder: Path) -> Mapping[str, int]:
    """Let a disk fail amid a pass, and have it mended."""
    way = WAYS[seed % len(WAYS)]
    with ExitStack() as stack:
        below = stack.enter_context(disks.memory("size=200m") if way is syncs else disks.place())
        (below / "inner").mkdir()
        disk = Disk(below / "inner", "ext4")
        stack.enter_context(disk.mounted())
        case = stack.enter_context(
            mirrored(seed, folder, root=disk.place, spec=SPEC, require_mount=True)
        )
        way(case, disk, below)
        case.finish()
    return {way.__name__.replace("_", " "): 1}


def read_only(case: Mirrored, disk: Disk, _below: Path) -> None:
    """The kernel finds an error and makes the file system read-only."""
    with stopped(case, amid=True) as fork:
        fork.wait(case.draw.uniform(0, 1.5))
        disk.break_down()
    with stopped(case):
        pass
    disk.mend()
    case.check()
    is_true(case, fork)


def syncs(case: Mirrored, disk: Disk, below: Path) -> None:
    """Writes are taken, and only a sync tells that there is no room behind the disk."""
    case.run("sync", EVENT)
    case.event.add(150, hour=case.event.spec.first_hour)
    used = disk.image.stat().st_blocks * 512 // 1024
    disks.resize(below, f"size={used + case.draw.randint(16, 2000)}k")
    with stopped(case):
        pass
    disks.resize(below, "size=200m")
    disk.mend()
    case.check()


def unmounted(case: Mirrored, disk: Disk, _below: Path) -> None:
    """Somebody takes the disk away; nothing is written into the folder that it stood on."""
    with stopped(case, amid=True) as fork:
        fork.wait(case.draw.uniform(0, 1.5))
        disk.unmount("-l")
    assert not list(disk.place.iterdir())
    with stopped(case):
        pass
    assert not list(disk.place.iterdir())
    disk.mount()
    case.check()
    is_true(case, fork)


def is_true(case: Mirrored, fork: Fork) -> None:
    """A pass that ended with 0 as its disk went had everything on it, without another pass."""
    if fork.code == 0:
        assert case.wanted() <= case.have(), case.wanted() - case.have()


WAYS: Final = (read_only, syncs, unmounted)


@contextmanager
def stopped(case: Mirrored, *, amid: bool = False) -> Iterator[Fork]:
    """Have a pass under way in the block; the disk fails in it, and the pass has to end with 6 soon after it.

    Args:
        case: The mirror.
        amid: The pass may have been whole just before, and have nothing more to write: `is_true` is to be asked.
    """
    fork = case.start("sync", EVENT)
    yield fork
    began = time.monotonic()
    code = fork.ended(60)
    assert code == 6 or (amid and code == 0), f"ended with {code}: {fork.err[-3000:]}"
    assert time.monotonic() - began < STOPS, fork.err[-3000:]
    assert "Traceback" not in fork.err, fork.err[-3000:]


EXPERIMENT = Experiment(
    "disk-errors",
    "An ext4 that the kernel makes read-only after an error, one whose syncs fail because there is no room behind it, and"
    " one that is unmounted, each amid a pass: it ends with 6 within 10 s, nothing is written below the mount point, nothing"
    " lies, and after the repair all is made whole.",
    rounds=60,
    small=3,
    play=play,
    lacks=lambda: disks.lacks("ext4"),
)
