"""Measure what an event of a million photos costs: peak memory, requests, time.

    python -m benchmarks.million [--photos 1000000] [--root DIR [--again]] [--runs 5]

The first pass: the listing, the manifest, the files and their syncs are real, over http to a sandbox in a process of
its own. Only the photos' bytes come from memory: every photo is the same small picture, placed as a link, because a
million downloads would measure the sandbox. So the figures are those of a listing-only pass, with the placing added.

Then, over that mirror and as whole commands, each some times: a second `sync`, `status`, `--version`. With `--again`
the first pass is left out: DIR holds the mirror of an earlier run of as many photos.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import asynccontextmanager
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

import trio
from msgspec import structs
from PIL import Image

from ninepic_mirror.config import Api, Config, Mirror
from ninepic_mirror.model import Key
from ninepic_mirror.ninepic.transport import FastBody
from ninepic_mirror.progress import Silent
from ninepic_mirror.sandbox import EventSpec, Sandbox
from ninepic_mirror.sync.mirror import sync_event
from ninepic_mirror.sync.session import open_session

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from multiprocessing.connection import Connection

KEY = "benchmark-key"
EVENT = 456
# The command itself, which tells at its end how much memory it had: what the system tells of a child's peak includes
# that of the process which it was forked from.
COMMAND = """
import sys
from ninepic_mirror.cli import main
try:
    main()
finally:
    with open("/proc/self/status") as status:
        print(*(line.split()[1] for line in status if line.startswith("VmHWM")), file=sys.stderr)
"""


class InstantBody(FastBody):
    """A small body that is there at once, as the fast lane brings it."""

    etag = last_modified = content_type = None

    def __init__(self, picture: bytes) -> None:
        self.status, self.offset, self.length = 200, 0, len(picture)
        self._picture = memoryview(picture)

    async def read(self, _room: bytearray | None = None) -> memoryview:
        """Return the picture."""
        return self._picture


class InstantPhotos:
    """A photo origin without a network; it stands in for `ninepic.lanes.Lanes`."""

    def __init__(self) -> None:
        picture = BytesIO()
        Image.new("RGB", (16, 16), "orange").save(picture, "JPEG")
        self._picture = picture.getvalue()
        self.requests = 0

    @asynccontextmanager
    async def stream(self, _url: str, **_limits: object) -> AsyncIterator[InstantBody]:
        """Answer at once."""
        self.requests += 1
        yield InstantBody(self._picture)

    def statistics(self) -> InstantPhotos:
        """Return the counter."""
        return self


def serve(photos: int, pipe: Connection[object, object]) -> None:
    """Run a sandbox until the parent ends us."""

    async def run() -> None:
        spec = EventSpec(
            event_id=EVENT, photos=photos, look="cheap", hours=30, undated=photos // 100
        )
        sandbox = Sandbox([spec], org_id=903, keys=[KEY])
        async with sandbox.running():
            pipe.send(sandbox.api_url)
            await trio.sleep_forever()

    trio.run(run)


def measure(api_url: str, root: Path, pipe: Connection[object, object]) -> None:
    """Make the first pass in a process of its own and send what it cost."""

    async def run() -> dict[str, object]:
        config = Config(Api(903, api_url), Mirror(root, variants=("thumbnail",), min_free=0))
        async with open_session(config, Key(KEY, "the benchmark"), Silent()) as session:
            instant = structs.replace(session, photos=InstantPhotos())
            return (await sync_event(instant, EVENT)).as_json()

    began = time.perf_counter()
    report = trio.run(run)
    usage = resource.getrusage(resource.RUSAGE_SELF)
    pipe.send(
        {
            "wall s": round(time.perf_counter() - began, 1),
            "user s": round(usage.ru_utime, 1),
            "sys s": round(usage.ru_stime, 1),
            "peak MB": round(usage.ru_maxrss / 1000, 1),
            "report": report,
        }
    )


def first_pass(
    context: multiprocessing.context.SpawnContext, api_url: str, root: Path
) -> dict[str, object]:
    """Run `measure` in a fresh process, so that its memory is nobody else's."""
    receive, send = context.Pipe(duplex=False)
    process = context.Process(target=measure, args=(api_url, root, send))
    process.start()
    result: dict[str, object] = receive.recv()
    process.join()
    return result


def run_command(folder: Path, words: list[str]) -> tuple[float, float, float, str]:
    """Run one command to its end; return wall and processor seconds, peak in MB, and what it printed."""
    environ = {"HOME": str(folder), "NINEPIC_API_KEY": KEY, "PYTHONPATH": str(Path.cwd())}
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    began = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", COMMAND, *words], capture_output=True, text=True, check=True,
        cwd=folder, env=os.environ | environ,
    )  # fmt: skip
    wall = time.perf_counter() - began
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return wall, cpu, int(done.stderr.split()[-1]) / 1000, done.stdout


def print_command(folder: Path, runs: int, name: str, *words: str) -> None:
    """Run a command some times and print its medians, and what it printed last."""
    results = [run_command(folder, [name, *words]) for _ in range(runs)]
    wall, cpu, peak = (statistics.median(column) for column in list(zip(*results, strict=True))[:3])
    print(
        f"{' '.join([name, *words[:2]])}: wall {wall:.2f} s, processor {cpu:.2f} s, peak {peak:.1f} MB:",
        results[-1][3].strip(),
        flush=True,
    )


def main() -> None:
    """Make a first pass, then run the commands over its mirror, and print what each cost."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--photos", type=int, default=1_000_000)
    parser.add_argument(
        "--root", type=Path, default=None, help="where to mirror to; a temporary folder otherwise"
    )
    parser.add_argument("--again", action="store_true", help="the mirror is in --root already")
    parser.add_argument("--runs", type=int, default=5, help="of each command")
    options = parser.parse_args()
    context = multiprocessing.get_context("spawn")
    receive, send = context.Pipe(duplex=False)
    server = context.Process(target=serve, args=(options.photos, send), daemon=True)
    server.start()
    api_url = receive.recv()
    folder = options.root or Path(tempfile.mkdtemp(prefix="million-"))
    folder.mkdir(exist_ok=True)
    (
        folder / "ninepic-mirror.toml"
    ).write_text(  # where a command finds it: it is run in this folder
        f'[api]\norg_id = 903\nbase_url = "{api_url}"\n'
        f'[mirror]\nroot = "{folder / "mirror"}"\nvariants = ["thumbnail"]\nmin_free = "0"\n'
    )
    try:
        if not options.again:
            print("first pass", json.dumps(first_pass(context, api_url, folder / "mirror")))
        print_command(folder, options.runs, "sync", str(EVENT), "--json")
        print_command(folder, options.runs, "status")
        print_command(folder, options.runs, "status", str(EVENT), "--json")
        print_command(folder, options.runs, "--version")
    finally:
        server.terminate()
        if options.root is None:
            shutil.rmtree(folder)


if __name__ == "__main__":
    main()
