"""Measure what an event of a million photos costs: peak memory, requests, time.

    python -m benchmarks.million [--photos 1000000] [--root DIR]

The listing, the manifest, the files and their syncs are real, over http to a sandbox in a process of its own. Only
the photos' bytes come from memory: every photo is the same small picture, placed as a link, because a million
downloads would measure the sandbox. So the figures are those of a listing-only pass, with the placing added.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import resource
import shutil
import tempfile
import time
from contextlib import asynccontextmanager
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

import trio
from PIL import Image

from ninepic_mirror.config import Api, Config, Mirror
from ninepic_mirror.model import Key
from ninepic_mirror.progress import Silent
from ninepic_mirror.sandbox import EventSpec, Sandbox
from ninepic_mirror.sync.mirror import sync_event
from ninepic_mirror.sync.session import open_session

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from multiprocessing.connection import Connection

KEY = "benchmark-key"
EVENT = 456


class InstantBody:
    """A body that is there at once."""

    def __init__(self, picture: bytes) -> None:
        self._picture = picture
        self.status, self.offset, self.length = 200, 0, len(picture)
        self.etag = self.last_modified = self.content_type = None

    async def chunks(self) -> AsyncIterator[bytes]:
        """Yield the picture."""
        yield self._picture


class InstantPhotos:
    """A photo origin without a network; it stands in for `ninepic.photos.PhotoClient`."""

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
    """Make one pass in a process of its own and send what it cost."""

    async def run() -> dict[str, object]:
        config = Config(Api(903, api_url), Mirror(root, variants=("thumbnail",), min_free=0))
        async with open_session(config, Key(KEY, "the benchmark"), Silent()) as session:
            instant = replace(session, photos=InstantPhotos())  # type: ignore[arg-type]  # the part of it that a pass uses
            return (await sync_event(instant, EVENT)).as_json()

    began = time.perf_counter()
    report = trio.run(run)
    usage = resource.getrusage(resource.RUSAGE_SELF)
    pipe.send(
        {
            "wall s": round(time.perf_counter() - began, 1),
            "cpu s": round(usage.ru_utime + usage.ru_stime, 1),
            "peak MB": round(usage.ru_maxrss / 1000, 1),
            "report": report,
        }
    )


def one_pass(
    context: multiprocessing.context.SpawnContext, api_url: str, root: Path
) -> dict[str, object]:
    """Run `measure` in a fresh process, so that its memory is nobody else's."""
    receive, send = context.Pipe(duplex=False)
    process = context.Process(target=measure, args=(api_url, root, send))
    process.start()
    result: dict[str, object] = receive.recv()
    process.join()
    return result


def main() -> None:
    """Make a first and a second pass and print what each cost."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--photos", type=int, default=1_000_000)
    parser.add_argument(
        "--root", type=Path, default=None, help="where to mirror to; a temporary folder otherwise"
    )
    options = parser.parse_args()
    context = multiprocessing.get_context("spawn")
    receive, send = context.Pipe(duplex=False)
    server = context.Process(target=serve, args=(options.photos, send), daemon=True)
    server.start()
    api_url = receive.recv()
    folder = options.root or Path(tempfile.mkdtemp(prefix="million-"))
    try:
        for name in ("first pass", "second pass"):
            print(name, json.dumps(one_pass(context, api_url, folder / "mirror")), flush=True)
    finally:
        server.terminate()
        if options.root is None:
            shutil.rmtree(folder)


if __name__ == "__main__":
    main()
