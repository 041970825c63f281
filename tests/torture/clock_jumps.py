"""The wall clock jumps each second (RELIABILITY T15): no wait is off by more than a twentieth, and nothing is lost."""

from __future__ import annotations

import shutil
import sqlite3
import subprocess
import time
from contextlib import closing
from random import Random
from typing import TYPE_CHECKING, Final

import trio

from ninepic_mirror.sandbox import EventSpec, Fault, Sandbox
from tests.oracle import check_settled, check_truth
from tests.torture.experiment import Experiment
from tests.torture.program import open_program

if TYPE_CHECKING:
    from pathlib import Path

    from ninepic_mirror.sandbox.world import Seen
    from tests.torture.program import Ended, Program

EVENT: Final = 456
KEY: Final = "test-key"
ASKED: Final = 4  # seconds of a `Retry-After`
LOCK_WAIT: Final = 5.0  # seconds, half the usual ones
OFF: Final = 0.05  # of a wait
BESIDE: Final = 1.0  # seconds for whatever is done beside the wait on a busy machine
HOUR, DAY, YEAR = 3600, 86_400, 31_557_600
JUMPS: Final = tuple(sign * size for size in (2 * HOUR, DAY, 10 * YEAR) for sign in (1, -1))
SHIM: Final = r"""
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>
static long offset(void) {
    char text[32] = {0};
    const char *path = getenv("CLOCK_OFFSET");
    int file = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    if (file < 0) return 0;
    if (read(file, text, sizeof text - 1) < 0) text[0] = 0;
    close(file);
    return atol(text);
}
int clock_gettime(clockid_t clock, struct timespec *now) {
    int result = syscall(SYS_clock_gettime, clock, now);
    if (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE) now->tv_sec += offset();
    return result;
}
int gettimeofday(struct timeval *now, void *zone) {
    struct timespec exact;
    clock_gettime(CLOCK_REALTIME, &exact);
    now->tv_sec = exact.tv_sec;
    now->tv_usec = exact.tv_nsec / 1000;
    return 0;
}
time_t time(time_t *result) {
    struct timespec exact;
    clock_gettime(CLOCK_REALTIME, &exact);
    if (result) *result = exact.tv_sec;
    return exact.tv_sec;
}
"""


class Timed(Sandbox):
    """A sandbox that knows when it was asked, on a clock that nobody sets.

    Attributes:
        times: When photos were asked for.
        looks: When runs asked for the event; then they take its lock.
    """

    def note(self, seen: Seen) -> None:
        """Remember a request, and its time."""
        super().note(seen)
        if seen.origin == "photos":
            self.times.append(trio.current_time())
        elif seen.path.endswith("/details"):
            self.looks.append(trio.current_time())

    times: list[float]
    looks: list[float]


def play(seed: int, folder: Path) -> dict[str, int]:
    """Let the clock jump under a first run that is told to wait, and under one that waits for it."""
    return trio.run(_play, seed, folder, shifted(folder))


def shifted(folder: Path) -> dict[str, str]:
    """Return the environment of a program whose wall clock is off by what stands in the folder's `offset`, in seconds."""
    shim = folder / "clock.so"
    command = ["gcc", "-shared", "-fPIC", "-O1", "-o", str(shim), "-xc", "-"]
    subprocess.run(command, input=SHIM, text=True, check=True)
    return {"LD_PRELOAD": str(shim), "CLOCK_OFFSET": str(folder / "offset")}


async def _play(seed: int, folder: Path, environ: dict[str, str]) -> dict[str, int]:
    random, offset = Random(seed), folder / "offset"
    spec = EventSpec(EVENT, photos=30, hours=3, look="cheap", thumb_kb=2, large_kb=4)
    sandbox = Timed([spec], keys=[KEY], seed=seed)
    sandbox.times, sandbox.looks = [], []
    # in seconds, or as a date: the answer's own says what time it is there
    says = random.choice((ASKED, f"date:{ASKED}"))
    sandbox.faults.add(
        Fault(kind=random.choice(("429", "503")), origin="photos", count=1, retry_after=says),
        Fault(kind="stall", origin="photos", at="before", after=20, count=1, seconds=2 * LOCK_WAIT),
    )
    limits = {"silence": 60.0, "head": 60.0}
    jumps = 0

    async def jump() -> None:
        nonlocal jumps
        while True:
            offset.write_text(str(random.choice(JUMPS)))
            jumps += 1
            await trio.sleep(1.0)

    offset.write_text("0")
    results: dict[str, Ended] = {}
    async with (
        sandbox.running(),
        open_program(limits, environ) as one,
        open_program(limits, environ) as two,
        trio.open_nursery() as nursery,
    ):
        one.lock_wait = two.lock_wait = LOCK_WAIT
        nursery.start_soon(jump)
        async with trio.open_nursery() as runs:
            runs.start_soon(_run, one, sandbox, folder / "first", results)
            while sandbox.faults.fired("stall") == 0:  # noqa: ASYNC110  the sandbox sends us no event
                await trio.sleep(0.01)
            await _run(two, sandbox, folder / "second", results)
            waited = trio.current_time() - sandbox.looks[-1]
        nursery.cancel_scope.cancel()
    assert results["second"].code == 7, results["second"]
    assert LOCK_WAIT <= waited <= LOCK_WAIT * (1 + OFF) + BESIDE, f"{waited:.2f} s for the lock"
    gap = max(
        later - sooner for sooner, later in zip(sandbox.times, sandbox.times[1:], strict=False)
    )
    slack = 1.0 if says != ASKED else 0.0  # a date knows whole seconds only
    assert ASKED * (1 - OFF) - slack <= gap <= ASKED * (1 + OFF) + BESIDE, f"{gap:.2f} s of quiet"
    assert results["first"].code == 0, results["first"]
    (mirror,) = folder.glob(f"mirror/{EVENT}*")  # noqa: ASYNC240  a moment
    with closing(sqlite3.connect(mirror / ".ninepic-mirror/manifest.sqlite3")) as manifest:
        ((told,),) = manifest.execute("SELECT max(started_at) FROM passes")
    assert abs(told - time.time()) > HOUR, "the clock did not jump"
    assert check_truth(mirror, sandbox.event(EVENT).body) == 60
    check_settled(mirror)
    return {"jumps": jumps}


async def _run(program: Program, sandbox: Sandbox, folder: Path, results: dict[str, Ended]) -> None:
    folder.mkdir()  # noqa: ASYNC240  a moment
    words = [
        "sync", EVENT, "--org", 903, "--base-url", sandbox.api_url, "--root", "../mirror", "--min-free", "0",
    ]  # fmt: skip
    results[folder.name] = await program.run(folder, words, {"NINEPIC_API_KEY": KEY})


def lacks() -> str | None:
    """Say what is lacking."""
    return None if shutil.which("gcc") else "gcc is not here (Debian: apt install gcc)"


EXPERIMENT = Experiment(
    "clock-jumps",
    "While the wall clock jumps each second by two hours, a day or ten years, back or forth, a run is told to wait and another"
    " waits for it to end: both waits are right to a twentieth, and nothing is lost.",
    rounds=12,
    small=1,
    play=play,
    lacks=lacks,
    alone=True,
)
