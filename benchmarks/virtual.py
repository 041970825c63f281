"""Measure whether the daemon's memory grows: days of it on a virtual clock, over events in memory and real files.

    python -m benchmarks.virtual [--days 10] [--warm-up 3] [--events 4] [--trace]

Photos drip in, leave, fail for a while and come back; now and then the service gives only faults for some hours. What is
told of the process: resident memory after a collection (VmRSS), threads and open files, after the warm-up and at the end.
Exits with 1 when resident memory grew by more than half a megabyte in ten days.
"""

from __future__ import annotations

import argparse
import gc
import logging
import os
import sys
import tempfile
import threading
import time
import tracemalloc
from pathlib import Path
from random import Random

from ninepic_mirror.config import Daemon
from ninepic_mirror.errors import PassingError
from ninepic_mirror.service.memory import be_frugal
from tests.remote import FIRST, HOUR
from tests.virtual import Organisation, Told, Watch, keep, on_virtual_clock, organisation

DAY = 86_400.0  # seconds
ALLOWED = 512.0  # kB in ten days
PHOTOS = 150  # of an event, about: more than a page
HOURS = 6  # that an event lasts, so that what the service holds does not grow
FAULTS = 40  # of them, one hour in so many begins an outage


class Life:
    """What happens to the events, hour by hour; the number of photos stays about the same.

    Args:
        service: That holds them.
        told: What hooks would be run for.
        random: Decides.
    """

    def __init__(self, service: Organisation, told: Told, random: Random) -> None:
        self._service, self._told, self._random, self._number = service, told, random, 0

    def hour(self) -> None:
        """Let an hour's worth happen."""
        chance = self._random.random
        # what the stand-ins keep for tests
        for one in (self._service, *self._service.remotes.values()):
            one.asked.clear()
        self._service.looks.clear()
        self._told.happened.clear()
        self._service.fault = (
            PassingError("503 from the service") if chance() < 1 / FAULTS else None
        )
        for event_id, remote in self._service.remotes.items():
            if chance() < 0.3:
                for _ in range(self._random.randrange(1, 4)):
                    self._number += 1
                    taken = FIRST + self._random.randrange(HOURS * HOUR)
                    remote.add(f"e{event_id}-new-{self._number:06}", taken)
            while len(remote.pictures) > PHOTOS and chance() < 0.9:
                gone = self._random.choice(sorted(remote.pictures))
                remote.missing.discard(gone)
                del remote.pictures[gone]
            if chance() < 0.1:
                remote.missing ^= {self._random.choice(sorted(remote.pictures))}
            # a few requests break off in the middle
            remote.breaks = self._random.randrange(4) if chance() < 0.2 else 0


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--days", type=float, default=10)
    parser.add_argument(
        "--warm-up", type=float, default=3, help="days before the first measurement"
    )
    parser.add_argument("--events", type=int, default=4)
    parser.add_argument(
        "--trace", action="store_true", help="say which lines hold more than before"
    )
    options = parser.parse_args()
    be_frugal()
    logging.disable()  # a log line costs nothing that stays
    service = organisation(*[PHOTOS] * options.events)
    grown = 0.0

    async def work() -> None:
        nonlocal grown
        with tempfile.TemporaryDirectory() as folder:
            watch = Watch(service, Path(folder) / "mirror", Daemon())
            life = Life(service, watch.hooks, Random(1))
            print(
                f"{'day':>5} {'kB resident':>12} {'passes':>7} {'threads':>8} {'files':>6} {'s':>5}"
            )
            settle()
            await keep(watch, options.warm_up * DAY, life.hour)
            if options.trace:
                tracemalloc.start(8)
            first = memory()
            tell(watch, options.warm_up, first)
            before = tracemalloc.take_snapshot() if options.trace else None
            days = 0.0
            while days < options.days:
                step = min(1.0, options.days - days)
                days += step
                await keep(watch, step * DAY, life.hour)
                tell(watch, options.warm_up + days, memory())
            grown = memory() - first
            if before is not None:
                compare(before)

    on_virtual_clock(work)
    print(f"grown by {grown:.0f} kB in {options.days:g} days")
    sys.exit(grown > ALLOWED * max(1.0, options.days / 10))


def settle() -> None:
    """Let Python's table of interned strings have its last size.

    pathlib interns every part of a path, and the table doubles once, by 0.9 MB, when so many have come and gone as it
    has places: after days or weeks, and then never again. That is no growth, and not to be hit by chance.
    """
    for number in range(1 << 16):
        sys.intern(f"a name that comes and goes {number}")


def tell(watch: Watch, day: float, resident: float) -> None:
    """Print one line of the table."""
    passes = sum(sum(one.passes.values()) for one in watch.board.events.values())
    threads, files = threading.active_count(), len(os.listdir("/proc/self/fd"))
    spent = time.process_time()
    print(f"{day:5.1f} {resident:12.0f} {passes:7} {threads:8} {files:6} {spent:5.0f}", flush=True)


def memory() -> float:
    """Return this process's resident memory in kB, after a collection."""
    gc.collect()
    status = Path("/proc/self/status").read_text()
    (line,) = (line for line in status.splitlines() if line.startswith("VmRSS"))
    return float(line.split()[1])


def compare(before: tracemalloc.Snapshot) -> None:
    """Print the lines that hold more than they did."""
    gc.collect()
    for one in tracemalloc.take_snapshot().compare_to(before, "lineno")[:15]:
        print(one)


if __name__ == "__main__":
    main()
