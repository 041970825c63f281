"""A real ext4 whose power is cut: what a pass called present is there and whole, though no file was synced by itself.

Here the cut comes at certain moments; at random ones, and again and again, it comes in `tests/torture/power.py`.
"""

from __future__ import annotations

import json
import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import trio

from ninepic_mirror.archive.content import content_of
from ninepic_mirror.archive.files import Tree
from ninepic_mirror.archive.flush import can_sync_all
from ninepic_mirror.archive.store import Fetched
from ninepic_mirror.errors import StorageError
from tests.oracle import Row, check_settled, check_truth
from tests.shelf import SIX, jpeg, open_shelf, photo, window
from tests.torture import disks

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ninepic_mirror.archive.records import Job
    from tests.conftest import Bench, OpenBench
    from tests.torture.disks import Disk

# Makes a pass, says after each commit which files have rows, and cuts the power at a given moment.
PASS = """
import fcntl, json, os, struct, sys
from pathlib import Path
import trio
from ninepic_mirror.archive import files
from ninepic_mirror.config import Api, Config, Mirror
from ninepic_mirror.model import Key
from ninepic_mirror.progress import Silent
from ninepic_mirror.sync.mirror import sync_event
from ninepic_mirror.sync.session import open_session
from tests.oracle import rows

url, root, durability, moment, number = sys.argv[1:]
root, number = Path(root), int(number)
assert os.path.ismount(root.parent)  # what is cut is the test's own disk
counts = {"synced": 0, "named": 0, "committed": 0}

def reached(what):
    counts[what] += 1
    if what == moment and counts[what] == number:
        descriptor = os.open(root.parent, os.O_RDONLY)
        fcntl.ioctl(descriptor, 0x8004587D, struct.pack("I", 2))  # FS_IOC_SHUTDOWN, the journal is not flushed
        os.close(descriptor)

syncfs, place = files.syncfs, files.Tree.place

def synced(descriptor):
    syncfs(descriptor)
    reached("synced")

def named(tree, source, target):
    place(tree, source, target)
    reached("named")

files.syncfs, files.Tree.place = synced, named

class Telling(Silent):
    def done(self, files, size):
        (folder,) = root.glob("456*")
        print(json.dumps(["present", rows(folder)]), flush=True)
        reached("committed")

async def make_pass():
    settings = Mirror(root, min_free=0, durability=durability, connections=8)
    config = Config(Api(903, url, allow_private=True), settings)
    async with open_session(config, Key("test-key", "the test"), Telling()) as session:
        await sync_event(session, 456)

error = None
try:
    trio.run(make_pass)
except BaseException as caught:
    error = type(caught).__name__
print(json.dumps(["ended", error, counts]), flush=True)
os._exit(0)  # nothing more to that disk
"""


@pytest.fixture
def disk() -> Iterator[Disk]:
    """Return an ext4 whose power can be cut; skipped where there is none to be had."""
    why = disks.lacks("ext4")
    if why:
        print(why)
        pytest.skip(why)
    with disks.disk("ext4") as made:
        yield made


async def _cut(
    bench: Bench, disk: Disk, durability: str, moment: str, number: int
) -> tuple[list[Row], str | None, dict[str, int]]:
    """Make a pass on a disk that is cut in the middle; return what had rows before, the pass's error, and counts."""
    root = disk.place / "mirror"
    bench.root, bench.settings = root, replace(bench.settings, root=root)
    words = [
        sys.executable,
        "-c",
        PASS,
        bench.sandbox.api_url,
        str(root),
        durability,
        moment,
        str(number),
    ]
    source = str(Path(__file__).parents[2])
    done = await trio.run_process(
        words, capture_stdout=True, cwd=source, env=os.environ | {"PYTHONPATH": source}
    )
    *told, (_, error, counts) = map(json.loads, done.stdout.decode().splitlines())
    present = [Row(*row) for row in told[-1][1]] if told else []
    disk.restart()
    return present, error, counts


def _lost(bench: Bench, present: list[Row]) -> list[Row]:
    """Return which of these files are not there with the very bytes of the service."""
    event, lost = bench.sandbox.event(456), []
    for row in present:
        path = bench.folder / row.path
        variant = "large" if row.variant == "large" else "thumbnail"
        if not path.is_file() or path.read_bytes() != event.body(row.image_id, variant):
            lost.append(row)
    return lost


@pytest.mark.parametrize(
    ("moment", "number"),
    [
        ("committed", 1),
        ("committed", 2),
        ("synced", 1),
        ("synced", 2),
        ("named", 1),
        ("named", 300),
    ],
)
async def test_what_was_acknowledged_outlives_a_power_cut(
    open_bench: OpenBench, disk: Disk, moment: str, number: int
) -> None:
    """Cut after a commit, a sync or a name: every row told before is there, every file named is whole."""
    async with open_bench(tls=False, photos=330, hours=3, undated=20, duplicates=9) as bench:
        present, error, counts = await _cut(bench, disk, "batch", moment, number)

        print(f"{len(present)} files had rows, then {error}; {counts}")
        assert can_sync_all(disk.place.stat().st_dev)
        assert counts["synced"] >= 1
        assert error == "StorageError"
        assert (len(present) > 0) == (counts["committed"] > 0)
        assert not _lost(bench, present)

        def body(image_id: str, variant: str) -> bytes:
            return bench.sandbox.event(456).body(
                image_id, "large" if variant == "large" else "thumbnail"
            )

        if list(bench.root.glob("456*")):
            assert check_truth(bench.folder, body) >= len(present)
        report = await bench.sync()
        assert report.whole
        assert report.downloaded <= 660 - len(present)
        assert check_truth(bench.folder, body) == 660
        check_settled(bench.folder)


async def test_without_syncs_the_same_cut_loses_files(open_bench: OpenBench, disk: Disk) -> None:
    """What these tests go by: with `durability = "none"` the cut takes away what was told to be present."""
    async with open_bench(tls=False, photos=330, hours=3) as bench:
        present, _, counts = await _cut(bench, disk, "none", "committed", 1)
        assert present
        assert counts["synced"] == 0
        assert not list(bench.root.glob("456*")) or _lost(bench, present)


def test_a_sync_that_fails_is_told_and_records_nothing(disk: Disk) -> None:
    """On a disk that is gone syncfs says so: a StorageError, and not one row of the batch."""
    with open_shelf(disk.place / "mirror") as shelf, Tree(shelf.folder) as tree:
        shelf.tree = tree
        jobs = [
            job
            for job in shelf.read(window(SIX), [photo(name) for name in "abcdef"])
            if job.variant == "large"
        ]
        ready = shelf.store.write([_came(job) for job in jobs])
        assert can_sync_all(shelf.folder.stat().st_dev)
        store = shelf.store
        disk.cut()
        with pytest.raises(OSError, match="Input/output error"):
            tree.sync_file_system()
        with pytest.raises(StorageError):
            store.settle(ready, {})
        assert {state for state, _ in shelf.rows().values()} == {"pending"}


def _came(job: Job) -> Fetched:
    body = jpeg(job.image_id)
    return Fetched(job, body, content_of(body, job.variant))


def test_a_disk_without_a_place_for_one_more_file_is_told(
    small_disk: Callable[[str], Path],
) -> None:
    """A real disk that takes no more files: a StorageError that says so, no row; with room again all is written."""
    place = small_disk("size=4m,nr_inodes=24")
    with open_shelf(place / "mirror") as shelf:
        jobs = shelf.read(window(SIX), [photo(f"p{number}") for number in range(20)])
        bodies = [_came(job) for job in jobs]
        with pytest.raises(StorageError, match="the disk is full"):
            shelf.store.write(bodies)
        assert {state for state, _ in shelf.rows().values()} == {"pending"}
        assert shelf.files() == set()
        small_disk("size=4m,nr_inodes=200")
        shelf.settle(shelf.store.write(bodies))
        assert {state for state, _ in shelf.rows().values()} == {"present"}
        shelf.check()


def test_a_disk_that_is_too_small_for_the_bodies_is_told(
    small_disk: Callable[[str], Path],
) -> None:
    """A real disk with less room than the bodies need: nothing of them is begun; with room again all is written."""
    place = small_disk("size=1m")
    with open_shelf(place / "mirror") as shelf:
        (job, _) = shelf.read(window(SIX), [photo("p")])
        body = jpeg("large", 1_000_000)
        fetched = Fetched(job, body, content_of(body, job.variant))
        with pytest.raises(StorageError, match="nearly full"):
            shelf.store.write([fetched])
        assert shelf.files(".ninepic-mirror/partial") == set()
        small_disk("size=4m")
        shelf.settle(shelf.store.write([fetched]))
        shelf.check()
