"""The order of the system calls of a pass (DESIGN §6.6), seen by strace: what a power cut would find is decided here."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import trio

from ninepic_mirror.archive.flush import can_sync_all
from tests.oracle import rows

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.conftest import Bench, OpenBench


CALLS = (
    "fsync,fdatasync,syncfs,?rename,renameat,renameat2,?link,linkat,?mkdir,mkdirat,write,pwrite64,"
    "utimensat,close"
)
BY_DESCRIPTOR = {"fsync", "fdatasync", "syncfs", "write", "pwrite64", "utimensat", "close"}
CHANGING = {"write", "pwrite64", "utimensat"}
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
        if self.name in BY_DESCRIPTOR:
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

    def is_whole_on_disk(self, path: Path, end: int) -> bool:
        """Whether all of a file was brought to the disk before a line, by a sync of its own or of the file system.

        The sync must have begun after the last change to the file, and one of the whole file system, of which we have
        to believe that it knows of the file, after the file was closed.
        """
        before = [one for one in self.calls if one.begun < end and str(path) in one.paths()]
        changed = max((one.ended for one in before if one.name in CHANGING), default=None)
        if changed is None:
            return False  # nothing of it was seen: then nothing is known of it either
        if self.is_synced_between(path, changed, end):
            return True
        closed = [one.ended for one in before if one.name == "close" and one.begun > changed]
        return any(
            one.begun > min(closed, default=end) and one.ended < end
            for one in self.calls
            if one.name == "syncfs" and one.paths() == [str(self.folder)]
        )

    def is_changed_after(self, path: Path, begin: int) -> bool:
        """Whether a file was changed under this name after a line."""
        return any(
            one.ended > begin and one.name in CHANGING and str(path) in one.paths()
            for one in self.calls
        )


async def _trace(bench: Bench, trace: Path, durability: str = "batch") -> Trace:
    settings = bench.settings
    command = [
        "strace", "-f", "-y", "-s", "5000", "--signal=none", "-e", f"trace={CALLS}", "-o", str(trace),
        sys.executable, "-c", PASS, bench.sandbox.api_url, str(settings.root), durability, settings.layout,
    ]  # fmt: skip
    await trio.run_process(command)
    return Trace(bench.folder, list(_calls(trace)))


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    """Return an empty folder on a disk: other tests have theirs in memory (`tests/conftest.py`), which is synced otherwise."""
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder)


@pytest.fixture(params=["disk", "memory"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    """Return an empty folder on a disk, and on one in memory, which is synced file by file."""
    if request.param == "disk":
        yield tmp_path / "place"
        return
    memory = Path("/dev/shm")
    if not os.access(memory, os.W_OK):
        pytest.skip("there is no disk in memory here")
    with tempfile.TemporaryDirectory(dir=memory) as folder:
        yield Path(folder) / "place"


@pytest.mark.parametrize("large_kb", [6, 100, 1100], ids=["small", "in a room", "as it comes"])
async def test_files_then_names_then_folders_then_rows(
    open_bench: OpenBench, tmp_path: Path, place: Path, large_kb: int
) -> None:
    """Each file is synced before its rename, its folder and new parents after it, and all before its row is written."""
    event = {"photos": 12, "hours": 2, "undated": 2, "duplicates": 3, "large_kb": large_kb}
    async with open_bench(tls=False, **event) as bench:
        bench.root = place
        bench.settings = replace(bench.settings, root=place)
        seen = await _trace(bench, tmp_path / "trace")

        at_once = can_sync_all(bench.folder.stat().st_dev)
        print("synced at once:", at_once)
        assert at_once == any(one.name == "syncfs" for one in seen.calls)

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
                assert seen.is_whole_on_disk(bench.folder / source, call.begun), row.path
            assert not seen.is_changed_after(bench.folder / row.path, -1), row.path
            above = (bench.folder / row.path).parent
            assert seen.is_synced_between(above, call.ended, recorded.begun), row.path
            made = {
                path: one
                for one in seen.calls
                if one.name.startswith("mkdir")
                for path in one.paths()
            }
            for folder in (above, *above.parents):
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
        for call, source, target in seen.names():
            if source.startswith(".ninepic-mirror/partial/"):
                assert not seen.is_whole_on_disk(bench.folder / source, call.begun), target
        assert not [one for one in seen.calls if one.name == "syncfs"]
        synced = {
            path for one in seen.calls if one.name in {"fsync", "fdatasync"} for path in one.paths()
        }
        below = {
            path.removeprefix(f"{bench.folder}/") for path in synced if f"{bench.folder}/" in path
        }
        own = {path for path in below if path.startswith(".ninepic-mirror")}
        assert below == own  # the folders of the photos, and what stands in them
        assert not {path for path in own if "/partial/" in path or path.endswith("-wal")}


WRITTEN = '1 write(5</m/e/p/a>, "x", 1) = 1'
DATED = "1 utimensat(5</m/e/p/a>, NULL, [], 0) = 0"
CLOSED = "1 close(5</m/e/p/a>) = 0"
NAMED = '1 renameat(6</m/e/p>, "a", 7</m/e/d>, "a.jpg") = 0'
ALL = "2 syncfs(3</m/e>) = 0"
OWN = "2 fsync(9</m/e/p/a>) = 0"


@pytest.mark.parametrize(
    ("lines", "answer"),
    [
        ([WRITTEN, CLOSED, ALL, NAMED], True),
        ([WRITTEN, CLOSED, OWN, NAMED], True),
        ([WRITTEN, DATED, CLOSED, ALL, NAMED], True),
        ([WRITTEN, OWN, CLOSED, NAMED], True),
        ([WRITTEN, CLOSED, NAMED], False),
        ([WRITTEN, CLOSED, NAMED, ALL], False),
        ([WRITTEN, CLOSED, NAMED, OWN], False),
        ([ALL, WRITTEN, CLOSED, NAMED], False),
        ([WRITTEN, ALL, CLOSED, NAMED], False),
        ([WRITTEN, ALL, WRITTEN, CLOSED, NAMED], False),
        ([WRITTEN, CLOSED, ALL, WRITTEN, CLOSED, NAMED], False),
        ([WRITTEN, ALL, DATED, CLOSED, NAMED], False),
        ([WRITTEN, OWN, DATED, CLOSED, NAMED], False),
        ([WRITTEN, ALL, NAMED], False),
        ([ALL, NAMED], False),
        ([WRITTEN, CLOSED, "2 syncfs(3</other>) = 0", NAMED], False),
        ([WRITTEN, CLOSED, "2 syncfs(3</m/e>) = -1 EIO (Input/output error)", NAMED], False),
        ([WRITTEN, CLOSED, "2 fsync(9</m/e/p/b>) = 0", NAMED], False),
        # begun before the file was closed, or ended after it got its name
        (
            [
                WRITTEN,
                "2 syncfs(3</m/e> <unfinished ...>",
                CLOSED,
                "2 <... syncfs resumed>) = 0",
                NAMED,
            ],
            False,
        ),
        (
            [
                WRITTEN,
                CLOSED,
                "2 syncfs(3</m/e> <unfinished ...>",
                NAMED,
                "2 <... syncfs resumed>) = 0",
            ],
            False,
        ),
        (
            [
                WRITTEN,
                CLOSED,
                "2 syncfs(3</m/e> <unfinished ...>",
                "2 <... syncfs resumed>) = 0",
                NAMED,
            ],
            True,
        ),
    ],
)
def test_only_a_sync_between_the_bytes_and_the_name_counts(
    tmp_path: Path, lines: list[str], answer: bool
) -> None:
    """What these tests go by: one sync of either kind, after the file was written and closed and before its name."""
    path = tmp_path / "trace"
    path.write_text("\n".join(lines))
    seen = Trace(Path("/m/e"), list(_calls(path)))
    ((call, source, _),) = seen.names()
    assert seen.is_whole_on_disk(seen.folder / source, call.begun) is answer
