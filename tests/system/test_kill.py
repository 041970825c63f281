"""kill -9 at random moments (DESIGN §7): no row lies, no short file stands under a final name, the next run finishes.

A server process has everything imported; for each pass it forks, and kills the child when its time is up. A start of
the interpreter for each pass would cost ten times as much.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import sys
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import count
from typing import TYPE_CHECKING

import trio

from tests.oracle import check_settled, check_truth, final_files, rows

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.conftest import Bench, OpenBench


SEED = int(os.environ.get("NINEPIC_KILL_SEED", "20260119"))
FACTOR = int(os.environ.get("NINEPIC_KILL_FACTOR", "1"))  # so many times as many kills
HOUR = 3600

SERVER = """
import json, os, select, signal, sys
from pathlib import Path
import trio, httpx, httpcore, h11, hypercorn, msgspec, sqlite3
from ninepic_mirror.config import Api, Config, Mirror
from ninepic_mirror.model import Key
from ninepic_mirror.progress import Silent
from ninepic_mirror.sync.context import Options
from ninepic_mirror.sync.mirror import sync_event
from ninepic_mirror.sync.session import open_session

async def make_pass(order):
    settings = Mirror(Path(order["root"]), **order["settings"])
    config = Config(Api(903, order["url"], allow_private=True), settings)
    async with open_session(config, Key("test-key", "the test"), Silent()) as session:
        return await sync_event(session, 456, Options(**order["options"]))

for line in sys.stdin:
    order = json.loads(line)
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reader)
        report = trio.run(make_pass, order)
        os.write(writer, json.dumps([report.whole, report.downloaded, report.as_json()["failures"]]).encode()[:60000])
        os._exit(0)
    os.close(writer)
    watch = os.pidfd_open(child)
    if not select.select([watch], [], [], order["seconds"])[0]:
        os.kill(child, signal.SIGKILL)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    answer = os.read(reader, 65536).decode()
    os.close(watch), os.close(reader)
    print(json.dumps([status, json.loads(answer) if answer else None]), flush=True)
"""


@dataclass
class Passes:
    """Makes passes in processes that can be killed.

    Attributes:
        seconds: How long an undisturbed pass took last.
        kills: How many passes were killed.
    """

    bench: Bench
    server: trio.Process
    draw: random.Random = field(default_factory=lambda: random.Random(SEED))
    seconds: float = 60.0
    kills: int = 0
    _unread: bytes = b""

    async def make(self, seconds: float, **options: bool) -> tuple[int, list[object] | None]:
        """Make a pass that may last so many seconds; return the exit status and what it reported."""
        settings = self.bench.settings
        order = {
            "root": str(settings.root),
            "url": self.bench.sandbox.api_url,
            "seconds": seconds,
            "options": options,
            "settings": {
                "min_free": 0,
                "connections": 8,
                "layout": settings.layout,
                "timezone": settings.timezone,
                "on_remote_removal": settings.on_remote_removal,
            },
        }
        assert self.server.stdin is not None
        assert self.server.stdout is not None
        await self.server.stdin.send_all(json.dumps(order).encode() + b"\n")
        while b"\n" not in self._unread:
            received = await self.server.stdout.receive_some()
            assert received, "the server of passes broke"
            self._unread += received
        line, _, self._unread = self._unread.partition(b"\n")
        status, report = json.loads(line)
        return status, report

    async def kill(self, **options: bool) -> bool:
        """Kill a pass at a random moment, and assert that nothing lies; return whether it ended before."""
        status, _ = await self.make(self.draw.uniform(0.0, self.seconds), **options)
        assert status in {-9, 0}
        self.kills += status == -9
        self.check()
        return status == 0

    def check(self) -> None:
        """Assert that nothing lies."""
        for folder in self.bench.root.glob("456*"):
            check_truth(folder, self.body)

    def body(self, image_id: str, variant: str) -> bytes:
        """Return the bytes of the service."""
        return self.bench.sandbox.event(456).body(image_id, variant)

    async def finish(self, **options: bool) -> list[object]:
        """Make an undisturbed pass: it ends whole, and asks for nothing that stood in its place."""
        here = set()
        for folder in self.bench.root.glob("456*"):
            here = {(row.image_id, row.variant) for row in rows(folder)}
        self.bench.sandbox.clear_requests()
        started = trio.current_time()
        status, report = await self.make(60.0, **options)
        self.seconds = trio.current_time() - started
        assert status == 0
        assert report is not None
        assert report[0] is True, report
        asked = {
            (
                seen.path.rpartition("/")[2].removesuffix(".jpg"),
                "large" if "/large/" in seen.path else "thumbnail",
            )
            for seen in self.bench.sandbox.requests
            if seen.origin == "photos"
        }
        assert not asked & here
        self.check()
        check_settled(self.bench.folder)
        wanted = {
            (photo.image_id, variant)
            for photo in self.bench.sandbox.event(456).photos
            for variant in ("thumbnail", "large")
        }
        assert {(row.image_id, row.variant) for row in rows(self.bench.folder)} == wanted
        return report


@asynccontextmanager
async def serving(bench: Bench) -> AsyncIterator[Passes]:
    """Start the server of passes."""
    print(f"NINEPIC_KILL_SEED={SEED}")
    # without the coverage of subprocesses: a killed one would leave half a data file
    environment = {name: value for name, value in os.environ.items() if "COV" not in name}
    async with trio.open_nursery() as nursery:
        run = partial(
            trio.run_process, [sys.executable, "-c", SERVER], stdin=-1, stdout=-1, env=environment
        )
        server: trio.Process = await nursery.start(run)
        yield Passes(bench, server)
        assert server.stdin is not None
        await server.stdin.aclose()


async def test_first_passes_may_be_killed_again_and_again(open_bench: OpenBench) -> None:
    """Killed many times, a first pass loses nothing that it has recorded, and the next run finishes it."""
    async with (
        open_bench(tls=False, photos=60, undated=5, duplicates=6, wrong_clock=3) as bench,
        serving(bench) as passes,
    ):
        await passes.finish()  # warms the sandbox: the next one tells how long a pass takes
        full = 0.0
        for number in count():
            bench.root = bench.root.with_name(f"mirror-{number}")
            bench.settings = replace(bench.settings, root=bench.root)
            passes.seconds = full
            while full and not await passes.kill():
                pass  # each goes on where the one before was killed
            await passes.finish()
            full = full or passes.seconds
            if passes.kills >= 16 * FACTOR:
                break


async def test_passes_over_what_moves_may_be_killed(open_bench: OpenBench) -> None:
    """Killed while photos move, leave, come and are trashed, a pass loses nothing, and the next run finishes it."""
    layouts = ("{variant}/{date}/{image_id}{ext}", "{date}/{hour}/{variant}/{image_id}{ext}")
    async with (
        open_bench(tls=False, photos=40, undated=4, duplicates=4) as bench,
        serving(bench) as passes,
    ):
        bench.settings = replace(bench.settings, on_remote_removal="trash")
        await passes.finish()
        event, first = bench.sandbox.event(456), bench.sandbox.event(456).spec.first_hour
        for number in range(8 * FACTOR):
            photos = list(event.photos)
            for photo in passes.draw.sample(photos, 6):
                event.retime(photo.image_id, first + passes.draw.randrange(30) * HOUR)
            event.remove(passes.draw.choice(list(event.photos)).image_id, keep_file=True)
            event.add(2, hour=first + passes.draw.randrange(30) * HOUR)
            bench.settings = replace(bench.settings, layout=layouts[number // 2 % 2])
            for _ in range(2):
                await passes.kill(full=True, accept_removals=True)
            await passes.finish(full=True, accept_removals=True)
        assert passes.kills >= 5 * FACTOR


async def test_rebuilds_may_be_killed(open_bench: OpenBench) -> None:
    """Killed while a lost manifest is rebuilt, a pass loses nothing, and no photo is fetched in the end."""
    async with (
        open_bench(tls=False, photos=40, undated=4, duplicates=4) as bench,
        serving(bench) as passes,
    ):
        await passes.finish()
        for _ in range(4 * FACTOR):
            for path in (bench.folder / ".ninepic-mirror").glob("manifest.sqlite3*"):
                path.unlink()
            before = len(final_files(bench.folder))
            for _ in range(3):
                await passes.kill()
            report = await passes.finish()
            assert bench.sandbox.count("photos") == 0, report
            assert len(final_files(bench.folder)) == before
        assert passes.kills >= 5 * FACTOR


async def test_rechecks_may_be_killed(open_bench: OpenBench) -> None:
    """Killed while replaced photos come in, a recheck leaves every row true, and is simply made again."""
    async with (
        open_bench(tls=False, photos=40, duplicates=4) as bench,
        serving(bench) as passes,
    ):
        await passes.finish()
        event = bench.sandbox.event(456)
        passes.seconds *= 0.7
        for _ in range(4 * FACTOR):
            for photo in passes.draw.sample(list(event.photos), 15):
                event.replace(photo.image_id)
            for _ in range(3):
                status, _ = await passes.make(
                    passes.draw.uniform(0.0, passes.seconds), recheck=True
                )
                assert status in {-9, 0}
                passes.kills += status == -9
                for row in rows(bench.folder):
                    content = (bench.folder / row.path).read_bytes()
                    assert hashlib.sha256(content).hexdigest() == row.sha256, row
            status, report = await passes.make(60.0, recheck=True)
            assert (status, report and report[0]) == (0, True)
            passes.check()
            check_settled(bench.folder)
            assert len(rows(bench.folder)) == 80
        assert passes.kills >= 5 * FACTOR
