"""An older manifest, out of a backup or another place, is noticed by whatever way it comes, and nothing right is undone by it."""

from __future__ import annotations

import hashlib
import os
import shutil
import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from ninepic_mirror.archive.lock import RESTORED
from ninepic_mirror.errors import StorageError
from ninepic_mirror.sandbox import Fault
from tests.conftest import EVENT, Bench, OpenBench

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from ninepic_mirror.model import Variant

    Route = Callable[[Bench, Path], Awaitable[Callable[[], None]]]

OWN = ".ninepic-mirror"
MANIFEST = f"{OWN}/manifest.sqlite3"


async def lose(bench: Bench, tmp_path: Path) -> Callable[[], None]:
    """The manifest is backed up, lost and rebuilt; the backup comes back."""
    copy = tmp_path / "copy"
    shutil.copy(bench.folder / MANIFEST, copy)
    (bench.folder / MANIFEST).unlink()
    assert (await bench.sync()).whole
    return lambda: replace_with(bench, copy)


async def damage(bench: Bench, tmp_path: Path) -> Callable[[], None]:
    """The manifest is backed up, damaged and set aside; the backup comes back."""
    copy = tmp_path / "copy"
    shutil.copy(bench.folder / MANIFEST, copy)
    (bench.folder / MANIFEST).write_bytes(b"damaged")
    assert (await bench.sync()).whole
    return lambda: replace_with(bench, copy)


async def set_state_dir(bench: Bench, tmp_path: Path) -> Callable[[], None]:
    """`state_dir` is set for some passes, and taken out again."""
    plain = bench.settings
    bench.settings = replace(plain, state_dir=tmp_path / "state")
    assert (await bench.sync()).whole

    def take_out() -> None:
        bench.settings = plain

    return take_out


async def unmount_state_dir(bench: Bench, tmp_path: Path) -> Callable[[], None]:
    """`state_dir` is not mounted for some passes."""
    state, away = tmp_path / "state", tmp_path / "away"
    bench.settings = replace(bench.settings, state_dir=state)
    for _ in range(4):
        assert (await bench.sync()).whole
    state.rename(away)
    state.mkdir()
    assert (await bench.sync()).whole

    def mount() -> None:
        shutil.rmtree(state)
        away.rename(state)

    return mount


async def restore_own_folder(bench: Bench, tmp_path: Path) -> Callable[[], None]:
    """Manifest and lock come out of a backup together."""
    own = bench.folder / OWN
    shutil.copytree(own, tmp_path / "own")

    def put_back() -> None:
        shutil.rmtree(own)
        shutil.copytree(tmp_path / "own", own)

    return put_back


ROUTES = [lose, damage, restore_own_folder, set_state_dir, unmount_state_dir]


def replace_with(bench: Bench, copy: Path) -> None:
    """Put a manifest in the place of the one that is there."""
    for path in bench.folder.glob(f"{MANIFEST}*"):
        path.unlink()
    shutil.copy(copy, bench.folder / MANIFEST)


def rot(path: Path) -> None:
    """Change one bit of a photo's picture, so that nothing but its hash tells."""
    before, data = path.stat(), bytearray(path.read_bytes())
    at = len(data) * 3 // 4
    while data[at] in {0x00, 0xFE, 0xFF} or data[at - 1] == 0xFF:
        at -= 1
    data[at] ^= 1
    path.write_bytes(data)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def sha256(path: Path) -> str:
    """Return the hash of what stands on the disk."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def check(bench: Bench) -> None:
    """Every photo is what the service has, every row and every line is true."""
    bench.check_content()
    state = bench.settings.state_dir
    manifest = bench.folder / MANIFEST if state is None else next(state.rglob(Path(MANIFEST).name))
    with closing(sqlite3.connect(manifest)) as rows:
        found = rows.execute("SELECT path, sha256 FROM files WHERE state = 'present'").fetchall()
        marked = rows.execute("SELECT value FROM meta WHERE key = ?", [RESTORED]).fetchall()
    assert found
    assert marked in ([], [("null",)])
    assert [path for path, known in found if sha256(bench.folder / path) != known] == []
    lines = {}
    for sums in bench.folder.glob("*/SHA256SUMS"):
        for line in sums.read_text().splitlines():
            known, _, name = line.partition("  ")
            lines[f"{sums.parent.name}/{name}"] = known
    assert lines == dict(found)


@pytest.mark.parametrize("route", ROUTES)
async def test_rot_is_not_blessed_by_an_older_manifest(
    open_bench: OpenBench, tmp_path: Path, route: Route
) -> None:
    """A file that rotted after the backup is not what its line says, so it is fetched again, and nothing else is."""
    async with open_bench(photos=12, hours=2) as bench:
        for _ in range(4):
            assert (await bench.sync()).whole
        restore = await route(bench, tmp_path)
        event = bench.sandbox.event(EVENT)
        (new,) = event.add(1, hour=event.photos[0].hour)
        assert (await bench.sync()).whole
        rot(bench.photos()[f"large/{new}"])
        restore()

        report = await bench.sync()

        assert (report.whole, report.downloaded) == (True, 1), report.failures
        check(bench)


@pytest.mark.parametrize("route", ROUTES)
async def test_a_replaced_photo_is_not_undone_by_an_older_manifest(
    open_bench: OpenBench, tmp_path: Path, route: Route
) -> None:
    """A picture that was replaced after the backup stays as it is; rows and lines say what it is.

    Where the lock came out of the backup, too, nothing tells which of row and line is the newer: the origin is asked.
    """
    async with open_bench(photos=12, hours=2) as bench:
        for _ in range(4):
            assert (await bench.sync()).whole
        restore = await route(bench, tmp_path)
        event = bench.sandbox.event(EVENT)
        event.replace(event.photos[3].image_id)
        report = await bench.sync(recheck=True)
        assert report.recheck is not None
        assert (report.whole, report.recheck.replaced) == (True, 2)
        restore()

        report = await bench.sync(full=True)

        asked = 2 if route is restore_own_folder else 0
        assert (report.whole, report.downloaded) == (True, asked), report.failures
        check(bench)
        assert not any(bench.folder.glob(f"{OWN}/trash/*/*/*/large/*.2"))


@pytest.mark.parametrize("change", ["order", "wrong", "emptied", "touched", "another's"])
async def test_altered_sums_cost_no_photo(open_bench: OpenBench, change: str) -> None:
    """Where it was no older manifest but a SHA256SUMS that was altered, nothing is fetched or moved, and it is made right."""
    async with open_bench(photos=12, hours=2) as bench:
        assert (await bench.sync()).whole
        before = {path: path.stat() for path in bench.photos().values()}
        sums = next(bench.folder.glob("*/SHA256SUMS"))
        said, more = sums.read_text(), bench.folder / "copies/SHA256SUMS"
        match change:
            case "order":
                sums.write_text("".join(reversed(said.splitlines(keepends=True))))
            case "wrong":
                sums.write_text("".join(f"{'0' * 64}{line[64:]}\n" for line in said.splitlines()))
            case "emptied":
                sums.write_text("")
            case "touched":
                os.utime(sums, (1, 1))
            case _:
                more.parent.mkdir()
                more.write_text(said)
        bench.sandbox.clear_requests()

        report = await bench.sync()

        assert (report.whole, report.downloaded) == (True, 0), report.failures
        assert bench.sandbox.count("photos") == 0
        assert sums.read_text() == said
        after = {path: path.stat() for path in bench.photos().values()}
        assert {path: one.st_ino for path, one in after.items()} == {
            path: one.st_ino for path, one in before.items()
        }
        if change == "another's":
            assert len(bench.sandbox.requests) == 3
            assert more.read_text() == said  # a person's own copy of a day
            shutil.rmtree(more.parent)
        check(bench)
        bench.sandbox.clear_requests()
        assert (await bench.sync()).whole
        assert len(bench.sandbox.requests) == 3


def sum_again(bench: Bench) -> None:
    """Do as a person or a script: make the SHA256SUMS of each day anew, of what stands there."""
    for sums in bench.folder.glob("*/SHA256SUMS"):
        lines = [
            f"{sha256(sums.parent / line[66:])}  {line[66:]}"
            for line in sums.read_text().splitlines()
        ]
        sums.write_text("\n".join([*lines, ""]))


@pytest.mark.parametrize("refused", [False, True])
async def test_sums_that_were_made_anew_bless_no_rot(
    open_bench: OpenBench, *, refused: bool
) -> None:
    """The photo is had again; where its origin has it no more, what stands there stays, and is never called whole."""
    async with open_bench(photos=12, hours=2) as bench:
        assert (await bench.sync()).whole
        event = bench.sandbox.event(EVENT)
        name = event.photos[3].image_id
        rot(bench.photos()[f"large/{name}"])
        sum_again(bench)
        if refused:
            bench.sandbox.faults.add(Fault(kind="404", image_id=name, variant="large"))
            rotten = bench.photos()[f"large/{name}"].read_bytes()
            for _ in range(2):
                report = await bench.sync()
                assert (report.whole, report.failed, report.downloaded) == (False, 1, 0)
                assert bench.photos()[f"large/{name}"].read_bytes() == rotten
            bench.sandbox.faults.clear()

        report = await bench.sync()

        assert (report.whole, report.downloaded) == (True, 1), report.failures
        check(bench)


@pytest.mark.parametrize("variants", [("thumbnail", "large"), ("thumbnail",)])
async def test_a_day_that_comes_back_from_a_backup_undoes_nothing(
    open_bench: OpenBench, tmp_path: Path, variants: tuple[Variant, ...]
) -> None:
    """A picture that was replaced since, and its line, are older now: the photo is had again, if it is fetched at all."""
    async with open_bench(photos=12, hours=2) as bench:
        assert (await bench.sync()).whole
        days = [sums.parent for sums in bench.folder.glob("*/SHA256SUMS")]
        for day in days:
            shutil.copytree(day, tmp_path / day.name)
        event = bench.sandbox.event(EVENT)
        event.replace(event.photos[3].image_id)
        assert (await bench.sync(recheck=True)).whole
        for day in days:
            shutil.rmtree(day)
            shutil.copytree(tmp_path / day.name, day)
        plain, bench.settings = bench.settings, replace(bench.settings, variants=variants)

        report = await bench.sync()

        assert (report.whole, report.downloaded) == (True, len(variants)), report.failures
        bench.settings = plain
        with closing(sqlite3.connect(bench.folder / MANIFEST)) as manifest:
            found = manifest.execute("SELECT variant, path, sha256, state FROM files").fetchall()
        assert {one[3] for one in found} == {"present"}
        untrue = {one[0] for one in found if sha256(bench.folder / one[1]) != one[2]}
        assert untrue == {"thumbnail", "large"} - {*variants}  # which `verify` finds
        if not untrue:
            check(bench)


async def test_altered_sums_are_done_with_though_the_total_lies(open_bench: OpenBench) -> None:
    """Once two passes have listed everything for it in vain, the next looks cost what they cost before."""
    async with open_bench(photos=12, hours=2) as bench:
        bench.sandbox.faults.add(Fault(kind="total_lie", amount=5))
        for _ in range(3):
            await bench.sync(patient=True)
        sums = next(bench.folder.glob("*/SHA256SUMS"))
        sums.write_text(sums.read_text() + "\n")
        counts = []
        for _ in range(3):
            bench.sandbox.clear_requests()
            report = await bench.sync(patient=True)
            assert (report.failed, report.downloaded) == (0, 0)
            counts.append(len(bench.sandbox.requests))
        assert counts[0] > counts[1] == counts[2]


async def test_a_folder_of_somebody_else_stops_no_pass(open_bench: OpenBench) -> None:
    """One in the event folder that may not be read, as `lost+found`, is no business of an unchanged mirror."""
    async with open_bench(photos=12, hours=2) as bench:
        assert (await bench.sync()).whole
        closed = bench.folder / "lost+found"
        closed.mkdir(mode=0)
        (bench.folder / "mine").mkdir()
        (bench.folder / "mine/SHA256SUMS").mkdir()
        bench.sandbox.clear_requests()
        assert (await bench.sync()).whole
        assert len(bench.sandbox.requests) == 3


async def test_a_photo_that_left_and_came_back_is_not_fetched_again(
    open_bench: OpenBench, tmp_path: Path
) -> None:
    """To the older manifest it is gone; its file is believed by the line that it has since."""
    async with open_bench(photos=12, hours=2) as bench:
        await bench.sync()
        event = bench.sandbox.event(EVENT)
        photo = event.photos[3]
        event.remove(photo.image_id, keep_file=True)
        assert (await bench.sync(full=True)).gone == 2
        copy = tmp_path / "copy"
        shutil.copy(bench.folder / MANIFEST, copy)
        del event._gone[photo.serial]
        event._put_in(photo.serial, event.photos[0].hour or 0)
        event.replace(photo.image_id)
        assert (await bench.sync()).whole
        assert (await bench.sync(recheck=True)).whole
        replace_with(bench, copy)

        report = await bench.sync()

        assert (report.whole, report.downloaded) == (True, 0), report.failures
        check(bench)


@pytest.mark.parametrize("sums", [False, True])
async def test_a_cut_off_move_does_not_bring_back_an_older_file(
    open_bench: OpenBench, tmp_path: Path, *, sums: bool
) -> None:
    """What a person puts at the old places, while moves are cut off before their rows, goes to the trash.

    Where its lines come with it, the origin is asked.
    """
    async with open_bench(photos=12, hours=2) as bench:
        await bench.sync()
        backup = tmp_path / "backup"
        shutil.copytree(
            bench.folder,
            backup,
            ignore=shutil.ignore_patterns(OWN, *([] if sums else ["SHA256SUMS"])),
        )
        event = bench.sandbox.event(EVENT)
        event.replace(event.photos[3].image_id)
        assert (await bench.sync(recheck=True)).whole
        bench.settings = replace(bench.settings, layout="{variant}/{date}/{image_id}{ext}")
        with closing(sqlite3.connect(bench.folder / MANIFEST)) as manifest:
            manifest.execute(
                "CREATE TRIGGER cut_off BEFORE UPDATE OF path ON files WHEN old.moving_to IS NOT NULL"
                " AND new.moving_to IS NULL BEGIN SELECT RAISE(ABORT, 'cut off'); END"
            )
            with pytest.raises(sqlite3.IntegrityError):
                await bench.sync()
            manifest.execute("DROP TRIGGER cut_off")
        shutil.copytree(backup, bench.folder, dirs_exist_ok=True)

        report = await bench.sync()

        assert (report.whole, report.downloaded) == (True, 2 * sums), report.failures
        with closing(sqlite3.connect(bench.folder / MANIFEST)) as manifest:
            found = manifest.execute("SELECT path, sha256 FROM files").fetchall()
        assert {path.partition("/")[0] for path, _ in found} == {"large", "thumbnail"}
        assert [path for path, known in found if sha256(bench.folder / path) != known] == []


async def test_a_manifest_that_is_damaged_where_it_is_looked_at_first(
    open_bench: OpenBench,
) -> None:
    """It is set aside by the pass that meets it: none has begun by which the next one would see that it is damaged."""
    async with open_bench(photos=12, hours=2) as bench:
        assert (await bench.sync()).whole
        path = bench.folder / MANIFEST
        with closing(sqlite3.connect(path)) as manifest:
            (page,) = manifest.execute(
                "SELECT rootpage FROM sqlite_master WHERE name = 'sums'"
            ).fetchone()
            (size,) = manifest.execute("PRAGMA page_size").fetchone()
        with path.open("r+b") as file:
            file.seek((page - 1) * size)
            file.write(bytes(size))
        with pytest.raises(StorageError, match="malformed"):
            await bench.sync()

        report = await bench.sync()

        assert (report.whole, report.downloaded) == (True, 0), report.failures
        check(bench)
