"""Two instances race for one event (RELIABILITY T20): one works, the other waits and names it; a kill leaves no stale lock."""

from __future__ import annotations

import os
import signal
from random import Random
from typing import TYPE_CHECKING, Final

import trio

from ninepic_mirror.sandbox import EventSpec, Fault, Sandbox
from tests.oracle import check_settled, check_truth
from tests.torture.experiment import Experiment
from tests.torture.program import open_program

if TYPE_CHECKING:
    from pathlib import Path

    from tests.torture.program import Ended, Program

EVENT: Final = 456
KEY: Final = "test-key"
RACES: Final = 2  # of a round
WAIT: Final = 1.0  # seconds instead of ten: the wait is one constant, and its real length is a test's (`test_cancellation`)
LIMITS: Final = {
    "silence": 60.0,
    "patience": 120.0,
}  # whoever holds the event is kept waiting by the service


def play(seed: int, folder: Path) -> dict[str, int]:
    """Let two instances race, several times; kill one and let another come at once."""
    return trio.run(_races, seed, folder)


async def _races(seed: int, folder: Path) -> dict[str, int]:
    random = Random(seed)
    spec = EventSpec(EVENT, photos=10, hours=2, look="cheap", thumb_kb=2, large_kb=4)
    sandbox = Sandbox([spec], keys=[KEY])
    async with sandbox.running(), open_program(LIMITS) as one, open_program(LIMITS) as two:
        one.lock_wait = two.lock_wait = WAIT
        for number in range(RACES):
            place = folder / f"race-{number}"
            await _race(sandbox, place, (one, two), random)
            await _killed(sandbox, folder / f"kill-{number}", (one, two), random)
    return {"races": RACES, "kills": RACES}


def _words(sandbox: Sandbox) -> list[object]:
    return [
        "sync", EVENT, "--org", 903, "--base-url", sandbox.api_url, "--root", "../mirror", "--min-free", "0",
    ]  # fmt: skip


async def _run(program: Program, sandbox: Sandbox, folder: Path) -> Ended:
    folder.mkdir(parents=True)  # noqa: ASYNC240  a moment
    return await program.run(folder, _words(sandbox), {"NINEPIC_API_KEY": KEY})


async def _race(
    sandbox: Sandbox, folder: Path, programs: tuple[Program, Program], random: Random
) -> None:
    ended: dict[int, Ended] = {}
    delays = [random.uniform(0, 0.1), random.uniform(0, 0.1)]
    first_end = trio.Event()
    pids: dict[int, int] = {}

    async def run(number: int) -> None:
        await trio.sleep(delays[number])
        ended[number] = await _run(programs[number], sandbox, folder / f"{number}")
        pids[number] = programs[number].child
        first_end.set()

    # the service keeps one photo back until somebody has given up
    sandbox.faults.add(Fault(kind="stall", origin="photos", at="before", count=1))
    async with trio.open_nursery() as nursery:
        for number in range(2):
            nursery.start_soon(run, number)
        with trio.fail_after(30):
            await first_end.wait()
        (loser,) = ended
        # the one that works is told to end: it has a photo less, and says so by its own code
        os.kill(programs[1 - loser].child, signal.SIGTERM)
    sandbox.faults.clear()
    holder = pids[1 - loser]
    assert ended[loser].code == 7, ended[loser]
    assert f"process {holder}" in ended[loser].err, (holder, ended[loser].err)
    assert ended[1 - loser].code == 143, ended[1 - loser]
    await _finish(sandbox, folder, programs[loser])


async def _killed(
    sandbox: Sandbox, folder: Path, programs: tuple[Program, Program], random: Random
) -> None:
    sandbox.faults.add(Fault(kind="stall", origin="photos", at="before", count=1))
    before = sandbox.faults.fired("stall")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_run, programs[0], sandbox, folder / "killed")
        with trio.fail_after(30):
            while sandbox.faults.fired("stall") == before:  # noqa: ASYNC110  the sandbox sends us no event
                await trio.sleep(0.005)
        await trio.sleep(random.uniform(0, 0.2))
        os.kill(programs[0].child, signal.SIGKILL)
        began = trio.current_time()
        await _finish(sandbox, folder, programs[1])
    sandbox.faults.clear()
    assert trio.current_time() - began < WAIT + 20


async def _finish(sandbox: Sandbox, folder: Path, program: Program) -> None:
    """Assert that another instance gets the event at once, and that everything is here then."""
    ended = await _run(program, sandbox, folder / "finish")
    assert ended.code == 0, ended
    (mirror,) = (folder / "mirror").glob(f"{EVENT}*")
    assert check_truth(mirror, sandbox.event(EVENT).body) == 20
    check_settled(mirror)


EXPERIMENT = Experiment(
    "races",
    "Two instances are started for one event at nearly the same time: exactly one works, the other waits, then ends with 7"
    " and names the other's process. One that works is killed: the next has the event at once, and ends whole.",
    rounds=100,
    small=1,
    play=play,
)
