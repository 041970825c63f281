"""A soak over real sockets (RELIABILITY T17): 500,000 jobs, a twentieth of the answers wrong, kill -9 each minute.

A round is 100,000 jobs. One process lives through all of it and makes first passes one after the other; its memory, files,
threads and tasks are watched. Beside it passes over another event are killed and go on.
"""

from __future__ import annotations

import json
import os
import shutil
import statistics
import sys
import threading
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Final

import trio

from ninepic_mirror.config import Api, Config, Mirror
from ninepic_mirror.model import Key
from ninepic_mirror.progress import Silent
from ninepic_mirror.sandbox import EventSpec, Fault, Sandbox
from ninepic_mirror.service.memory import be_frugal
from ninepic_mirror.sync.mirror import sync_event
from ninepic_mirror.sync.session import open_session
from tests.oracle import check_settled, check_truth
from tests.torture.experiment import Experiment
from tests.torture.program import SOURCE, open_program

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

LIVES, DIES = 456, 457  # the events of the long-lived process and of the killed ones
KEY: Final = "test-key"
PHOTOS: Final = 2_000  # of each event; two jobs each
PASSES: Final = 22  # of the long-lived process
KILLS: Final = 60.0  # seconds between two, in the mean
MOST: Final = 150 << 20  # bytes of memory
GROWS: Final = 1.02  # the last third against the first
SAMPLE: Final = 0.25  # seconds
KINDS: Final = ("500", "502", "reset", "short", "html", "empty", "truncated", "503")
SHARE: Final = 0.05  # of the answers
IDLE: Final = 11.0  # seconds
PAGE: Final = os.sysconf("SC_PAGE_SIZE")


def play(seed: int, folder: Path) -> dict[str, int]:
    """Play 100,000 jobs."""
    return trio.run(_play, seed, folder)


async def _play(seed: int, folder: Path) -> dict[str, int]:
    specs = [
        EventSpec(
            number, photos=PHOTOS, seed=seed + number, hours=5, look="cheap", thumb_kb=2, large_kb=4
        )
        for number in (LIVES, DIES)
    ]
    counts = {"jobs": 0, "kills": 0}
    async with _served(specs, seed) as sandbox, trio.open_nursery() as nursery:
        until = trio.CancelScope()
        nursery.start_soon(_die, sandbox, folder / "dies", Random(seed), counts, until)
        words = [
            sys.executable,
            "-m",
            "tests.torture.soak",
            sandbox.api_url,
            str(folder / "lives"),
            str(PASSES),
        ]
        done = await trio.run_process(words, cwd=SOURCE, capture_stdout=True)
        until.cancel()
    told: dict[str, list[int]] = json.loads(done.stdout)
    counts["jobs"] += sum(told["jobs"])
    memory = told["memory"]
    third = len(memory) // 3
    first, last = statistics.fmean(memory[:third]), statistics.fmean(memory[-third:])
    assert max(memory) <= MOST, f"{max(memory) >> 20} MiB of memory"
    assert last <= first * GROWS, f"memory grew from {first / 2**20:.2f} to {last / 2**20:.2f} MiB"
    assert told["files"][0] >= told["files"][1], f"files {told['files']}"
    assert told["threads"][0] >= told["threads"][1], f"threads {told['threads']}"
    assert told["tasks"][0] >= told["tasks"][1], f"tasks {told['tasks']}"
    return counts


@asynccontextmanager
async def _served(specs: list[EventSpec], seed: int) -> AsyncIterator[Sandbox]:
    sandbox = Sandbox(specs, keys=[KEY], seed=seed)
    share = SHARE / len(KINDS)
    sandbox.faults.add(*(Fault(kind=kind, origin="photos", probability=share) for kind in KINDS))
    async with sandbox.running():
        yield sandbox


async def _die(
    sandbox: Sandbox, folder: Path, random: Random, counts: dict[str, int], until: trio.CancelScope
) -> None:
    """Make passes over one event; kill one about each minute, and let the next go on."""
    body = sandbox.event(DIES).body
    words = [
        "sync", DIES, "--org", 903, "--base-url", sandbox.api_url, "--root", "mirror", "--min-free", "0",
    ]  # fmt: skip
    async with open_program() as program:
        # within: the program's process ends after what it runs
        with until:
            due = trio.current_time() + random.uniform(0, 1) * KILLS
            while True:
                await trio.to_thread.run_sync(partial(folder.mkdir, exist_ok=True))
                with trio.move_on_at(due) as scope:
                    ended = await program.run(folder, words, {"NINEPIC_API_KEY": KEY})
                mirrors = await trio.to_thread.run_sync(_mirrors, folder, DIES)
                if scope.cancelled_caught:  # which kills it
                    counts["kills"] += 1
                    due = trio.current_time() + random.uniform(0.5, 1.5) * KILLS
                    for mirror in mirrors:
                        await trio.to_thread.run_sync(check_truth, mirror, body)
                    continue
                assert ended.code == 0, ended
                counts["jobs"] += await trio.to_thread.run_sync(check_truth, mirrors[0], body)
                await trio.to_thread.run_sync(check_settled, mirrors[0])
                await trio.to_thread.run_sync(shutil.rmtree, folder)


def _mirrors(folder: Path, event_id: int) -> list[Path]:
    return list(folder.glob(f"mirror/{event_id}*"))


# --- the process that lives through it -------------------------------------------------------------------------------


async def _live(url: str, folder: Path, passes: int) -> None:
    """Make passes in one session; print what was had, and the memory, files, threads and tasks."""
    memory: list[int] = []
    jobs: list[int] = []

    async def sample() -> None:
        while True:
            memory.append(_resident())
            await trio.sleep(SAMPLE)

    # warm: everything is imported, and grown to what it needs
    await _mirror(url, folder, jobs, 1)
    before = await _counted()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(sample)
        await _mirror(url, folder, jobs, passes)
        nursery.cancel_scope.cancel()
    left = zip(before, await _counted(), strict=True)
    names = ("files", "threads", "tasks")
    print(json.dumps({"jobs": jobs, "memory": memory, **dict(zip(names, left, strict=True))}))


async def _mirror(url: str, folder: Path, jobs: list[int], passes: int) -> None:
    """Make first passes, one after the other, in one session."""
    config = Config(Api(903, url), Mirror(folder, min_free=0))
    async with open_session(config, Key(KEY, "the test"), Silent()) as session:
        for _ in range(passes):
            report = await sync_event(session, LIVES)
            assert report.whole, report.failures
            jobs.append(report.present)
            await trio.to_thread.run_sync(_remove, folder)


def _remove(folder: Path) -> None:
    for path in folder.glob(f"{LIVES}*"):
        shutil.rmtree(path)


def _resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * PAGE


async def _counted() -> tuple[int, int, int]:
    """Count open files, threads and tasks, when threads without work have gone (trio keeps them for 10 s)."""
    await trio.sleep(IDLE)
    tasks = trio.lowlevel.current_statistics().tasks_living
    return len(os.listdir("/proc/self/fd")), threading.active_count(), tasks


EXPERIMENT = Experiment(
    "soak",
    f"{PASSES} first passes over {PHOTOS:,} photos, one after the other in one process, over sockets at full speed, with a"
    " twentieth of the answers wrong; beside them passes over another event are killed about each minute and go on. Memory"
    " stays below 150 MiB and in its last third within 2 % of the first; no file, thread or task is left; nothing lies.",
    rounds=5,
    small=0,
    play=play,
    alone=True,
)

if __name__ == "__main__":
    be_frugal()  # as the daemon does, the only process of ours that lives long
    trio.run(_live, sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]))
