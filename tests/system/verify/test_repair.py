"""`verify --repair` without a config file: the mirror itself says how it was made, and stays so."""

from __future__ import annotations

import json
import random
import shutil
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from tests.mirrored import Mirror, entry, mirrored, photo_requests, typed
from tests.oracle import check_settled
from tests.torture.bit_rot import flip

if TYPE_CHECKING:
    from pathlib import Path

    from tests.system.conftest import Commands, Service

LAYOUT = "{variant}/{date}/{hour}-{image_id}{ext}"
MADE = ("--layout", LAYOUT, "--timezone", "Asia/Kathmandu", "--variant", "large")
MANIFEST = ".ninepic-mirror/manifest.sqlite3"


@pytest.fixture
def mirror(commands: Commands, service: Service) -> Mirror:
    """A mirror that was made with flags: its layout, zone and variant are none of the defaults."""
    return mirrored(commands, service, *MADE)


def described(mirror: Mirror) -> tuple[object, object, object]:
    """Return what `event.json` says of the settings."""
    said = json.loads((mirror.folder / "event.json").read_text())
    return said["layout"], said["timezone"], said["variants"]


def test_a_repair_leaves_the_settings(mirror: Mirror) -> None:
    """A damaged file is fetched, and no other file is moved or fetched."""
    before, said = mirror.hashes(), described(mirror)
    flip(mirror.folder / mirror.rows()[0].path, random.Random(1))
    asked = photo_requests(mirror.service)
    done = mirror.repair()
    assert (done.code, entry(done)["fetched"], entry(done)["moved"]) == (0, 1, 0)
    assert photo_requests(mirror.service) - asked == 1
    assert (mirror.hashes(), described(mirror)) == (before, said)
    check_settled(mirror.folder)


@pytest.mark.parametrize("way", ["lost", "damaged"])
def test_a_rebuild_leaves_the_settings(mirror: Mirror, way: str) -> None:
    """`event.json` says layout and zone, SHA256SUMS what was mirrored: no photo is asked for, no file left over."""
    before, said, path = mirror.hashes(), described(mirror), mirror.folder / MANIFEST
    if way == "lost":
        path.unlink()
    else:
        path.write_bytes(b"nothing")
    asked = photo_requests(mirror.service)
    done = mirror.repair()
    assert (done.code, entry(done)["rebuilt"], entry(done)["damaged"]) == (4, True, [])
    assert "thumbnail files are wanted and were not asked for" in done.err
    assert photo_requests(mirror.service) == asked
    assert (mirror.hashes(), described(mirror)) == (before, said)
    check_settled(mirror.folder)


def test_a_rebuild_without_event_json(commands: Commands, service: Service) -> None:
    """The default layout is tried, and what SHA256SUMS name is all that was mirrored."""
    mirror = mirrored(commands, service, "--variant", "large")
    before = mirror.hashes()
    (mirror.folder / MANIFEST).unlink()
    (mirror.folder / "event.json").unlink()
    asked = photo_requests(service)
    assert mirror.repair().code == 4, "thumbnails are wanted, as `status` says"
    assert photo_requests(service) == asked
    assert mirror.hashes() == before


def test_a_variant_that_is_lost_as_a_whole(commands: Commands, service: Service) -> None:
    """No SHA256SUMS is left that names it: the rebuilt mirror is not called whole."""
    mirror = mirrored(commands, service, "--layout", LAYOUT)
    shutil.rmtree(mirror.folder / "large")
    (mirror.folder / MANIFEST).unlink()
    done = mirror.repair()
    assert (done.code, "large files are wanted and were not asked for" in done.err) == (4, True)
    assert commands.run("status", "--root", "m").code == 4


def test_a_variant_that_no_record_names(commands: Commands, service: Service) -> None:
    """Its files stand whole, and the printed sync takes them in: it fetches nothing and moves nothing."""
    mirror = mirrored(commands, service, *MADE[:4])
    before, path = mirror.hashes(), mirror.folder / MANIFEST
    path.unlink()
    (mirror.folder / "large/SHA256SUMS").unlink()
    done = mirror.repair()
    assert (done.code, "large files are wanted and were not asked for" in done.err) == (4, True)
    asked, times = photo_requests(service), {mirror.folder / one: 0 for one in before}
    for one in times:
        times[one] = one.stat().st_ctime_ns
    synced = typed(commands, service, done.err)
    assert (synced.code, "nothing was fetched" in synced.out) == (0, True), synced.err
    assert (photo_requests(service), mirror.hashes()) == (asked, before)
    assert {one: one.stat().st_ctime_ns for one in times} == times, "nor renamed there and back"
    check_settled(mirror.folder)


@pytest.mark.parametrize("state", ["damaged", "lost", "older"])
def test_the_sync_that_status_prints(commands: Commands, service: Service, state: str) -> None:
    """It leaves layout, zone and variants as they are, as far as the newest of what is left tells them."""
    every = [word for one in ("thumbnail", "large", "original") for word in ("--variant", one)]
    mirror = mirrored(commands, service)
    old = (mirror.folder / MANIFEST).read_bytes()
    words = (*MADE[:4], *every)
    assert commands.run("sync", 456, *service.flags, "--root", "m", *words).code == 0
    before, said = mirror.hashes(), described(mirror)
    row = mirror.rows()[0]
    if state == "older":  # of before the settings were changed
        (mirror.folder / MANIFEST).write_bytes(old)
    with closing(sqlite3.connect(mirror.folder / MANIFEST)) as manifest, manifest:
        manifest.execute("UPDATE files SET state = 'pending' WHERE image_id = ?", [row.image_id])
        manifest.execute("UPDATE passes SET whole = 0")
        manifest.execute("DELETE FROM meta WHERE key = 'balance'")
        if state == "lost":  # what a pass that was cut off had not written yet
            manifest.execute("DELETE FROM meta WHERE key IN ('layout', 'timezone', 'wanted')")
    told = commands.run("status", "--root", "m")
    assert (told.code, told.out.count("next: ")) == (4, 1), told.out
    asked = photo_requests(service)
    done = typed(commands, service, told.out)
    assert done.code == 0, done.err
    assert photo_requests(service) == asked
    assert (mirror.hashes(), described(mirror)) == (before, said)
    (commands.folder / "ninepic-mirror.toml").write_text(
        '[api]\norg_id = 903\n[mirror]\nroot = "m"\n'
    )
    with closing(sqlite3.connect(mirror.folder / MANIFEST)) as manifest, manifest:
        manifest.execute("UPDATE passes SET whole = 0")
    (line,) = [line for line in commands.run("status").out.splitlines() if "next: " in line]
    assert line.endswith(" sync 456"), "a config file decides"


@pytest.mark.parametrize(("state", "code"), [("contradictory", 4), ("older", 0)])
def test_what_a_manifest_says_counts_where_nothing_else_does(
    mirror: Mirror, state: str, code: int
) -> None:
    """One that is damaged or an older copy knows the layout still, when there is no `event.json`."""
    path = mirror.folder / MANIFEST
    old = path.read_bytes()
    if state == "older":
        again = mirror.commands.run(
            "sync", 456, *mirror.service.flags, "--root", "m", "--full", *MADE
        )
        assert again.code == 0
        path.write_bytes(old)
    else:
        with closing(sqlite3.connect(path)) as manifest, manifest:
            manifest.execute(
                "UPDATE files SET folder = 'elsewhere' WHERE path = ?", [mirror.rows()[0].path]
            )
    (mirror.folder / "event.json").unlink()
    before, asked = mirror.hashes(), photo_requests(mirror.service)
    done = mirror.repair()
    assert (done.code, entry(done)["moved"], entry(done)["fetched"]) == (code, 0, 0), done.err
    assert photo_requests(mirror.service) == asked
    assert mirror.hashes() == before


def test_an_older_manifest_knows_older_settings(commands: Commands, service: Service) -> None:
    """Where it was put back from a backup, `event.json` knows better."""
    mirror = mirrored(commands, service)
    old = (mirror.folder / MANIFEST).read_bytes()
    relaid = commands.run("sync", 456, *service.flags, "--root", "m", *MADE[:4])
    assert relaid.code == 0
    before = mirror.hashes()
    (mirror.folder / MANIFEST).write_bytes(old)
    asked = photo_requests(service)
    done = mirror.repair()
    assert (done.code, entry(done)["older"]) == (0, False)
    assert photo_requests(service) == asked
    assert mirror.hashes() == before
    check_settled(mirror.folder)


def test_a_config_file_decides(mirror: Mirror, tmp_path: Path) -> None:
    """What it says is followed by a repair, too, which tells how many files it moved."""
    (tmp_path / "ninepic-mirror.toml").write_text(
        '[api]\norg_id = 903\n[mirror]\nroot = "m"\nvariants = ["large"]\n'
    )
    number = len(mirror.rows())
    (mirror.folder / mirror.rows()[0].path).unlink()
    done = mirror.repair()
    assert (done.code, entry(done)["fetched"], entry(done)["moved"]) == (0, 1, number - 1)
    assert described(mirror) == ("{date}/{hour}/{variant}/{image_id}{ext}", "UTC", ["large"])
    check_settled(mirror.folder)
