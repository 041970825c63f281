"""The order of the system calls of a pass (DESIGN §6.6), seen by strace: what a power cut would find is decided here."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import trio

from tests.oracle import rows

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.conftest import Bench, OpenBench


CALLS = "fsync,fdatasync,?rename,renameat,renameat2,?link,linkat,?mkdir,mkdirat,write,pwrite64"
PASS = """
import sys
from pathlib import Path
import trio
from ninepic_mirror.config import Api, Config, Mirror
from ninepic_mirror.model import Key
from ninepic_mirror.progress import Silent
from ninepic_mirror.sync.context import Options
from ninepic_mirror.sync.mirror import sync_event
from ninepic_mirror.sync.session import open_session

url, root, durability, layout = sys.argv[1:]
settings = Mirror(Path(root), min_free=0, durability=durability, layout=layout, connections=8)

async def make_pass():
    config = Config(Api(903, url, allow_private=True), settings)
    async with open_session(config, Key("test-key", "the test"), Silent()) as session:
        report = await sync_event(session, 456, Options())
        assert report.whole, report

trio.run(make_pass)
"""


def _why_not() -> str:
    """Say why strace cannot be used here, empty when it can."""
    if shutil.which("strace") is None:
        return "strace is not installed"
    tried = subprocess.run(
        ["strace", "-f", "-o", "/dev/null", "true"], capture_output=True, text=True, check=False
    )
    return (
        "" if tried.returncode == 0 else f"strace cannot trace here: {tried.stderr.strip()[:200]}"
    )


pytestmark = pytest.mark.skipif(bool(_why_not()), reason=_why_not())


@dataclass
class Call:
    """One system call; `begun` and `ended` are lines of the trace."""

    begun: int
    ended: int
    name: str
    arguments: str

    def paths(self) -> list[str]:
        """Return the paths that the call is about: a descriptor's, or those of folder and name put together."""
        text = self.arguments
        pairs = re.findall(r'(?:\d+|AT_FDCWD)<([^>]*)>, "([^"]*)"', text)
        if self.name in {"fsync", "fdatasync", "write", "pwrite64"}:
            return re.findall(r"^\d+<([^>]*)>", text)
        return [str(Path(folder) / name) for folder, name in pairs]


def _calls(trace: Path) -> Iterator[Call]:
    """Read a trace; calls that others interrupted stand on two lines."""
    open_: dict[str, Call] = {}
    for number, line in enumerate(trace.read_text(errors="replace").splitlines()):
        thread, _, text = line.partition(" ")
        text = text.strip()
        if found := re.match(r"<\.\.\. \w+ resumed>(.*)", text):
            call = open_.pop(thread, None)
            if call is not None and not re.search(r"= -1 E", text):
                call.arguments += found[1]
                call.ended = number
                yield call
        elif found := re.match(r"(\w+)\((.*)", text):
            call = Call(number, number, found[1], found[2])
            if text.endswith("<unfinished ...>"):
                open_[thread] = call
            elif not re.search(r"= -1 E", text):
                yield call


class Trace:
    """What a traced pass did in the event folder.

    Args:
        folder: The event folder.
        calls: Its calls, in the order in which they ended.
    """

    def __init__(self, folder: Path, calls: list[Call]) -> None:
        self.folder, self.calls = folder, calls

    def syncs(self, path: Path | str) -> list[Call]:
        """Return the syncs of a file or folder."""
        wanted = str(path)
        return [
            one
            for one in self.calls
            if one.name in {"fsync", "fdatasync"} and wanted in one.paths()
        ]

    def names(self) -> list[tuple[Call, str, str]]:
        """Return every rename and link with source and target, relative to the event folder where below it."""
        found = []
        for call in self.calls:
            # those without folder descriptors are Python's, which writes its bytecode at the first import
            if call.name.startswith(("rename", "link")) and len(paths := call.paths()) == 2:
                source, target = (path.removeprefix(f"{self.folder}/") for path in paths)
                found.append((call, source, target))
        return found

    def recorded(self, path: str, after: int = -1) -> Call:
        """Return the first write to the manifest's log, from a line on, that holds a path."""
        return next(
            call
            for call in self.calls
            if call.begun > after
            and call.name in {"write", "pwrite64"}
            and call.paths() == [f"{self.folder}/.ninepic-mirror/manifest.sqlite3-wal"]
            and path in call.arguments
        )

    def log_syncs(self) -> list[Call]:
        """Return the syncs of the manifest's log: each commits what was written before it."""
        return self.syncs(f"{self.folder}/.ninepic-mirror/manifest.sqlite3-wal")

    def is_synced_between(self, path: Path, begin: int, end: int) -> bool:
        """Whether a sync of a file or folder began and ended within two lines."""
        return any(begin < one.begun and one.ended < end for one in self.syncs(path))


async def _trace(bench: Bench, trace: Path, durability: str = "batch") -> Trace:
    settings = bench.settings
    command = [
        "strace", "-f", "-y", "-s", "5000", "--signal=none", "-e", f"trace={CALLS}", "-o", str(trace),
        sys.executable, "-c", PASS, bench.sandbox.api_url, str(settings.root), durability, settings.layout,
    ]  # fmt: skip
    await trio.run_process(command)
    return Trace(bench.folder, list(_calls(trace)))


async def test_files_then_names_then_folders_then_rows(
    open_bench: OpenBench, tmp_path: Path
) -> None:
    """Each file is synced before its rename, its folder and new parents after it, and all before its row is written."""
    async with open_bench(tls=False, photos=12, hours=2, undated=2, duplicates=3) as bench:
        seen = await _trace(bench, tmp_path / "trace")

        assert len(rows(bench.folder)) == 24
        named = {target: (call, source) for call, source, target in seen.names()}
        linked = 0
        for row in rows(bench.folder):
            call, source = named[row.path]
            recorded = seen.recorded(row.path)
            if call.name.startswith("link"):
                linked += 1
                assert named[source][0].ended < call.begun
            else:
                assert seen.is_synced_between(bench.folder / source, -1, call.begun), row.path
            place = (bench.folder / row.path).parent
            assert seen.is_synced_between(place, call.ended, recorded.begun), row.path
            made = {
                path: one
                for one in seen.calls
                if one.name.startswith("mkdir")
                for path in one.paths()
            }
            for folder in (place, *place.parents):
                if folder.is_relative_to(bench.root) and str(folder) in made:
                    new = made[str(folder)]
                    assert seen.is_synced_between(folder.parent, new.ended, recorded.begun), folder
            assert any(sync.begun > recorded.ended for sync in seen.log_syncs())
        assert linked == 6


async def test_a_move_is_journalled_before_it_is_made(
    open_bench: OpenBench, tmp_path: Path
) -> None:
    """A move is committed to the journal before the rename, and both folders are synced before the row names the place."""
    async with open_bench(tls=False, photos=10, hours=2) as bench:
        await bench.sync()
        before = {(row.image_id, row.variant): row.path for row in rows(bench.folder)}
        bench.settings = replace(bench.settings, layout="{variant}/{date}/{image_id}{ext}")

        seen = await _trace(bench, tmp_path / "trace")

        named = {target: (call, source) for call, source, target in seen.names()}
        for row in rows(bench.folder):
            call, source = named[row.path]
            assert source == before[row.image_id, row.variant]
            journalled = seen.recorded(row.path)
            assert any(
                journalled.ended < sync.begun and sync.ended < call.begun
                for sync in seen.log_syncs()
            )
            recorded = seen.recorded(row.path, after=call.ended)
            for folder in {(bench.folder / row.path).parent, (bench.folder / source).parent}:
                assert seen.is_synced_between(folder, call.ended, recorded.begun), folder


async def test_without_durability_no_photo_is_synced(open_bench: OpenBench, tmp_path: Path) -> None:
    """With `durability = "none"` neither photos nor their folders nor their rows are waited for."""
    async with open_bench(tls=False, photos=10, hours=2) as bench:
        seen = await _trace(bench, tmp_path / "trace", durability="none")

        assert len(rows(bench.folder)) == 20
        synced = {
            path for one in seen.calls if one.name in {"fsync", "fdatasync"} for path in one.paths()
        }
        below = {
            path.removeprefix(f"{bench.folder}/") for path in synced if f"{bench.folder}/" in path
        }
        own = {path for path in below if path.startswith(".ninepic-mirror")}
        assert below == own  # the folders of the photos, and what stands in them
        assert not {path for path in own if "/partial/" in path or path.endswith("-wal")}
