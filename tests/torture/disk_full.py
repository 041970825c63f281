"""Disks without room, or without a place for one more file, until there is room again (RELIABILITY, T6)."""

from __future__ import annotations

import os
import signal
import time
from typing import TYPE_CHECKING, Final

from tests.torture import disks
from tests.torture.experiment import Experiment
from tests.torture.mirrored import EVENT, Mirrored, mirrored

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

RECOVERS: Final = 60.0  # seconds after there is room again (RELIABILITY, T6)
FULL: Final = ("the disk is full", "nearly full")
ROOM: Final = "size=64m,nr_inodes=10000"


def play(seed: int, folder: Path) -> Mapping[str, int]:
    """Fill a disk by a typed sync, then by a daemon, which goes on by itself when there is room."""
    with (
        disks.memory(ROOM) as disk,
        mirrored(
            seed, folder, root=disk / "mirror", min_free="100kB" if seed % 4 == 3 else "0"
        ) as case,
    ):
        disks.resize(disk, narrow(case, seed))
        for _ in range(2):
            fork = case.start("sync", EVENT)
            assert fork.ended() == 6, fork.err[-3000:]
            assert any(text in fork.err for text in FULL), fork.err[-3000:]
            assert "Traceback" not in fork.err, fork.err[-3000:]
            case.check(fork)
        if seed % 2:
            disks.resize(disk, ROOM)
            case.run("sync", EVENT)
        else:
            recover(case, disk)
        case.finish()
    return {"full disks": 1, "recovered daemons" if seed % 2 == 0 else "typed again": 1}


def narrow(case: Mirrored, seed: int) -> str:
    """Return a size of the disk in which the event has no room: too few bytes, or too few files."""
    if seed // 2 % 2:
        return f"size=64m,nr_inodes={case.draw.randint(20, 100)}"
    return f"size={case.draw.randint(300, 1800)}k,nr_inodes=10000"


def recover(case: Mirrored, disk: Path) -> None:
    """Run a daemon on the full disk; it goes on when there is room."""
    fork = case.start("daemon")
    assert fork.wait(4) is None, fork.err[-3000:]
    disks.resize(disk, ROOM)
    began = time.monotonic()
    while not case.wanted() <= case.have():
        assert time.monotonic() - began < RECOVERS, fork.err[-3000:]
        assert fork.wait(0.2) is None, fork.err[-3000:]
    os.kill(fork.pid, signal.SIGTERM)
    assert fork.ended(15) == 0, fork.err[-3000:]
    assert "Traceback" not in fork.err, fork.err[-3000:]
    case.check(fork)


EXPERIMENT = Experiment(
    "disk-full",
    "A disk (tmpfs) with too few bytes or inodes for the event: a typed `sync` ends with 6 and says so, nothing lies; when"
    " there is room again the next one makes it whole, and a daemon does so by itself within 60 s.",
    rounds=50,
    small=1,
    play=play,
    lacks=disks.lacks,
)
