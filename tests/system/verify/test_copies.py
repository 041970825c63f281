"""Whole bytes that stand anywhere on the disk: `verify` finds them, a repair brings them, no purge takes the last ones."""

from __future__ import annotations

import hashlib
import random
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from tests.mirrored import Mirror, entry, faults, photo_requests
from tests.oracle import check_settled
from tests.torture.bit_rot import flip, swap

if TYPE_CHECKING:
    from pathlib import Path

    from tests.oracle import Row

COPIES = ("--duplicates", "copy")
# The program, killed where a file that has stepped aside is about to go to its place.
KILLED = """
import os, signal, sys
from ninepic_mirror.archive.files import Tree
from ninepic_mirror.cli import main
move = Tree.move
def moved(tree, source, target):
    if source.startswith(".ninepic-mirror/trash/"):
        os.kill(os.getpid(), signal.SIGKILL)
    move(tree, source, target)
Tree.move = moved
sys.exit(main())
"""


def larges(mirror: Mirror) -> list[Row]:
    """Return the large files."""
    return [row for row in mirror.rows() if row.variant == "large"]


def is_whole(mirror: Mirror, *rows: Row) -> bool:
    """Say whether these files are what they were."""
    return all(
        hashlib.sha256((mirror.folder / row.path).read_bytes()).hexdigest() == row.sha256
        for row in rows
    )


def trash(mirror: Mirror) -> list[Path]:
    """Return what lies in the trash."""
    place = mirror.folder / ".ninepic-mirror/trash"
    return sorted(path for path in place.rglob("*") if path.is_file())


def age(mirror: Mirror) -> None:
    """Let everything in the trash have lain there for years, since a full pass saw it."""
    (day,) = (mirror.folder / ".ninepic-mirror/trash").iterdir()
    day.rename(day.with_name("2020-02-29"))
    sync(mirror, "--full")
    uptime = "'$.moment.uptime'"
    ask(
        mirror,
        f"UPDATE meta SET value = json_set(value, {uptime}, json_extract(value, {uptime}) - 1e8)"
        " WHERE key = 'trash'",
    )


def sync(mirror: Mirror, *options: object) -> int:
    """Make a pass; return how it ended."""
    return mirror.commands.run("sync", 456, *mirror.service.flags, "--root", "m", *options).code


def leave(mirror: Mirror, *rows: Row) -> None:
    """Let photos leave the event; their files are kept."""
    for row in rows:
        mirror.service.order("POST", "456/remove", {"image_id": row.image_id, "keep_file": True})
    assert sync(mirror) == 0


def lost_at_the_origin(mirror: Mirror, *rows: Row) -> None:
    """Let the origin of photos know nothing of them any more."""
    for row in rows:
        mirror.service.fault(kind="404", origin="photos", image_id=row.image_id)


def ask(mirror: Mirror, statement: str, *values: str) -> dict[str, str]:
    """Ask or change the manifest."""
    path = mirror.folder / ".ninepic-mirror/manifest.sqlite3"
    with closing(sqlite3.connect(path)) as manifest, manifest:
        return dict(manifest.execute(statement, values).fetchall())


def doubled(mirror: Mirror, row: Row, *options: object) -> Path:
    """Let another photo come that has the very bytes; return its large file."""
    urls = ask(mirror, "SELECT variant, url FROM files WHERE image_id = ?", row.image_id)
    item = {"img_url": urls["large"], "thumbnail_url": urls["thumbnail"]}
    order = {"image_id": "the-twin", "hour": None, "item": item}
    mirror.service.order("POST", "456/add_raw", order)
    assert sync(mirror, *options) == 0
    (twin,) = (mirror.folder / one.path for one in larges(mirror) if one.image_id == "the-twin")
    assert twin.read_bytes() == (mirror.folder / row.path).read_bytes()
    return twin


def killed_amid_a_repair(mirror: Mirror) -> tuple[Row, Row]:
    """Swap two files and kill the repair of it between its two steps; return their rows."""
    one, other, *_ = larges(mirror)
    swap(mirror.folder / one.path, mirror.folder / other.path)
    words = ["verify", "456", *mirror.service.flags, "--root", "m", "--repair"]
    done = subprocess.run(
        [sys.executable, "-c", KILLED, *words],
        cwd=mirror.commands.folder,
        env=mirror.commands.environ,
        capture_output=True,
        check=False,
    )
    assert done.returncode == -9, done.stderr
    assert len(trash(mirror)) == 2
    return one, other


def test_a_repair_that_was_killed_amid(mirror: Mirror) -> None:
    """Both files lie in the trash, the only whole copies: the next repair brings them, and asks for no photo."""
    before, asked = mirror.hashes(), photo_requests(mirror.service)
    rows = killed_amid_a_repair(mirror)
    lost_at_the_origin(mirror, *rows)
    text = mirror.commands.run("verify", "--root", "m").out
    assert text.count("missing: its bytes stand at .ninepic-mirror/trash/") == 2
    done = mirror.repair()
    assert (done.code, faults(done)) == (0, dict.fromkeys((row.path for row in rows), "missing"))
    assert (mirror.hashes(), photo_requests(mirror.service)) == (before, asked)
    assert trash(mirror) == []
    check_settled(mirror.folder)
    assert mirror.verify().code == 0


def test_the_trash_keeps_what_is_wanted(mirror: Mirror) -> None:
    """A full pass deletes of old trash only what nobody wants: not the last whole copies of photos that are missing."""
    before = mirror.hashes()
    rows = killed_amid_a_repair(mirror)
    lost_at_the_origin(mirror, *rows)
    trash(mirror)[0].with_name("of-nobody.jpg").write_bytes(b"no photo")
    age(mirror)
    wanted = {path for path in trash(mirror) if path.name != "of-nobody.jpg"}
    assert len(wanted) == 2
    assert sync(mirror, "--full") == 4
    assert {*trash(mirror)} == wanted
    assert mirror.repair().code == 0
    assert mirror.hashes() == before
    assert sync(mirror, "--full") == 0


def test_the_trash_keeps_what_a_photo_that_left_needs(mirror: Mirror) -> None:
    """Its damaged file has its only whole copy there; a copy of what is whole goes."""
    row, other = larges(mirror)[:2]
    leave(mirror, row, other)
    day = mirror.folder / ".ninepic-mirror/trash/2020-02-29"
    day.mkdir(parents=True)
    for one in (row, other):
        shutil.copy(mirror.folder / one.path, day / one.image_id)
    flip(mirror.folder / row.path, random.Random(1))
    age(mirror)
    assert len(trash(mirror)) == 2
    assert sync(mirror, "--full") == 0
    assert trash(mirror) == [day / row.image_id]
    assert mirror.repair().code == 0
    assert is_whole(mirror, row, other)


def test_a_photo_that_was_never_had_by_its_row(mirror: Mirror) -> None:
    """The manifest was lost, the origin has the photo no more: what lies there under its name stays, and is told."""
    row = larges(mirror)[0]
    lies = mirror.folder / ".ninepic-mirror/trash/2020-02-29" / row.path
    lies.parent.mkdir(parents=True)
    (mirror.folder / row.path).rename(lies)
    for sums in mirror.folder.glob("*/SHA256SUMS"):
        lines = sums.read_text().splitlines(keepends=True)
        sums.write_text("".join(line for line in lines if lies.name not in line))
    (mirror.folder / ".ninepic-mirror/manifest.sqlite3").unlink()
    lost_at_the_origin(mirror, row)
    assert sync(mirror) == 4
    age(mirror)
    full = ("sync", 456, *mirror.service.flags, "--root", "m", "--full")
    done = mirror.commands.run(*full)
    told = f"2020-02-29/{row.path}: in the trash, under the name of a photo that could not be had"
    assert (done.code, told in done.err, trash(mirror)) == (4, True, [lies])
    seen = mirror.verify()
    ((note),) = entry(seen)["notes"]
    assert (seen.code, note["path"]) == (0, lies.relative_to(mirror.folder).as_posix())
    assert "copy it to its place: the next sync takes it in" in note["text"]
    shutil.copy(lies, mirror.folder / row.path)
    assert sync(mirror) == 0
    assert is_whole(mirror, row)
    assert entry(mirror.verify())["notes"] == []
    assert (mirror.commands.run(*full).code, trash(mirror)) == (0, [])


def test_photos_that_left_are_kept_again(mirror: Mirror) -> None:
    """Those that went to the trash before the setting was `keep` are deleted only where it is `trash`."""
    leave(mirror, larges(mirror)[0])
    ask(mirror, "UPDATE photos SET gone_since = gone_since - 60")
    assert sync(mirror, "--full", "--on-remote-removal", "trash") == 0
    (day,) = {path.relative_to(mirror.folder).parts[2] for path in trash(mirror)}
    for column in ("path", "folder"):
        ask(mirror, f"UPDATE files SET {column} = replace({column}, ?, '2020-02-29')", day)
    age(mirror)
    assert sync(mirror, "--full") == 0
    assert len(trash(mirror)) == 2
    assert sync(mirror, "--full", "--on-remote-removal", "trash") == 0
    assert trash(mirror) == []


def test_what_is_damaged_comes_from_the_trash(mirror: Mirror) -> None:
    """Instead of over the network, and one copy there serves all files of its bytes, whether their photos left."""
    row, other = larges(mirror)[:2]
    twin, rows = doubled(mirror, row), larges(mirror)
    leave(mirror, row)
    place = mirror.folder / ".ninepic-mirror/trash/2026-01-20/any.jpg"
    place.parent.mkdir(parents=True)
    shutil.copy(twin, place)
    shutil.copy(mirror.folder / other.path, place.with_name("other.jpg"))
    assert twin.stat().st_ino == (mirror.folder / row.path).stat().st_ino
    flip(twin, random.Random(1))
    (mirror.folder / other.path).unlink()
    asked = photo_requests(mirror.service)
    done = mirror.repair()
    assert (done.code, entry(done)["fetched"], photo_requests(mirror.service)) == (0, 0, asked)
    assert is_whole(mirror, *rows)
    check_settled(mirror.folder)


def test_a_file_in_the_trash_that_has_a_row(mirror: Mirror) -> None:
    """A photo that left and lies there keeps its file: another of equal bytes gets a copy of it."""
    row = larges(mirror)[0]
    twin = doubled(mirror, row)
    leave(mirror, row)
    ask(mirror, "UPDATE photos SET gone_since = gone_since - 60")
    assert sync(mirror, "--full", "--on-remote-removal", "trash") == 0
    (lies,) = [path for path in trash(mirror) if "large" in path.parts]
    twin.unlink()
    asked = photo_requests(mirror.service)
    done = mirror.repair()
    assert (done.code, photo_requests(mirror.service)) == (0, asked)
    assert lies.read_bytes() == twin.read_bytes()
    assert lies.stat().st_ino != twin.stat().st_ino


def test_names_of_one_inode_that_rots(mirror: Mirror) -> None:
    """What the repair fetches for the photo that is here also mends the one that left, in the same run."""
    row = larges(mirror)[0]
    doubled(mirror, row)
    rows = larges(mirror)
    leave(mirror, row)
    flip(mirror.folder / row.path, random.Random(1))
    done = mirror.repair()
    assert (done.code, len(entry(done)["damaged"]), entry(done)["fetched"]) == (0, 2, 1), done.out
    assert is_whole(mirror, *rows)
    check_settled(mirror.folder)


@pytest.mark.parametrize("has_left", [False, True])
def test_a_twin_of_what_cannot_be_fetched(mirror: Mirror, *, has_left: bool) -> None:
    """The origin has a missing photo no more: it is repaired from a file of the same bytes, whose photo may have left."""
    row = larges(mirror)[0]
    twin = doubled(mirror, row, *COPIES)
    rows = larges(mirror)
    if has_left:
        mirror.service.order("POST", "456/remove", {"image_id": "the-twin", "keep_file": True})
        assert sync(mirror) == 0
    (mirror.folder / row.path).unlink()
    lost_at_the_origin(mirror, row)
    done = mirror.repair()
    assert (done.code, entry(done)["fetched"]) == (0, 0), done.out + done.err
    assert twin.is_file()
    assert is_whole(mirror, *rows)
    check_settled(mirror.folder)
    assert (mirror.verify().code, sync(mirror)) == (0, 0)


def test_what_is_nowhere_is_looked_for_twice_only(mirror: Mirror) -> None:
    """Without a whole copy the repair ends, and asks the service no more than it has to."""
    row = larges(mirror)[0]
    flip(mirror.folder / row.path, random.Random(1))
    lost_at_the_origin(mirror, row)
    mirror.service.order("DELETE", "requests")
    done = mirror.repair()
    assert (done.code, faults(done)) == (8, {row.path: "content"})
    assert mirror.service.requests() == {"api": 3, "photos": 1}


def test_the_time_is_over(mirror: Mirror) -> None:
    """A search that the given time cut off does not say that no copy is here; the repair makes it, and brings it."""
    row = larges(mirror)[0]
    leave(mirror, row)
    place = mirror.folder / ".ninepic-mirror/trash/2026-01-20/any.jpg"
    place.parent.mkdir(parents=True)
    (mirror.folder / row.path).rename(place)
    limits = ("--max-duration", "1s", "--max-rate", "400kB/s")
    done = mirror.commands.run("verify", "--root", "m", *limits)
    assert (done.code, "no whole copy is here" in done.out) == (8, False), done.out
    assert mirror.repair(*limits).code == 0
    assert is_whole(mirror, row)
