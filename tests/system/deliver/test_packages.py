"""`deliver`: what a package is, in each of its forms, and its own checker."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import threading
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from ninepic_mirror.archive.files import Tree
from ninepic_mirror.delivery.source import Source
from ninepic_mirror.delivery.zipped import Zip
from tests.delivered import (
    LITTER,
    PHOTOS,
    Mirror,
    check,
    info,
    nothing_looks_whole,
    replace,
    table,
    verified,
)
from tests.system.conftest import KEY, mounted

if TYPE_CHECKING:
    from collections.abc import Callable


# --- what a package is -------------------------------------------------------------------------------------------


def test_a_folder_holds_everything(mirror: Mirror) -> None:
    """It is a valid bag with the mirror's files in the mirror's folders, a gallery, lists and a checker."""
    done = mirror.deliver("out")
    assert done.code == 0
    out = mirror.place("out")
    check(out)
    assert {line["path"] for line in table(out)} == {f"data/{row.path}" for row in mirror.rows()}
    said = info(out)
    assert (said["Event"], said["Bag-Count"]) == ("Mumbai Marathon 2026", "1 of 1")
    assert said["Bag-Group-Identifier"] == said["External-Identifier"]
    described = json.loads((out / "event.json").read_text())
    assert (described["event_id"], described["photos"], described["timezone"]) == (
        456,
        PHOTOS,
        "Asia/Kolkata",
    )
    assert {line["photographer"] for line in table(out)} >= {"Asha Patil", "Joseph D'Souza"}
    assert (out / "index.html").is_file()
    assert [path.name for path in mirror.commands.folder.glob(".*.partial")] == []


def test_nothing_private_is_in_it(mirror: Mirror) -> None:
    """Neither the key nor a signature nor the mirror's place is anywhere in a package."""
    mirror.change(
        "UPDATE files SET url = 'https://photos.example/a?X-Amz-Signature=beef' WHERE variant = 'large'"
    )
    mirror.entry("out")
    for path in mirror.place("out").rglob("*"):
        if path.is_file():
            data = path.read_bytes()
            for secret in (KEY.encode(), b"X-Amz", b"Signature=", os.fsencode(mirror.root)):
                assert secret not in data, (path, secret)


def test_a_zip_is_the_same_package(mirror: Mirror) -> None:
    """It is read by unzip and Python, stored, and unpacks into a valid bag."""
    mirror.entry("out.zip", "--format", "zip")
    place = mirror.place("out.zip")
    subprocess.run(["unzip", "-tqq", place], check=True)
    with zipfile.ZipFile(place) as opened:
        assert opened.testzip() is None
        members = opened.infolist()
        opened.extractall(mirror.place("unpacked"))
    assert {member.compress_type for member in members} == {zipfile.ZIP_STORED}
    names = [member.filename.casefold() for member in members]
    assert len(set(names)) == len(names)
    check(mirror.place("unpacked") / "out")


@pytest.mark.parametrize("form", ["folder", "zip"])
def test_each_volume_is_a_bag(mirror: Mirror, form: str) -> None:
    """No volume is too large, the variants of a photo are together, no photo is in two, nothing is lacking."""
    entry = mirror.entry("out", "--volume-size", "4MB", "--format", form)
    out = mirror.place("out")
    if form == "zip":
        for place in sorted(out.iterdir()):
            assert place.stat().st_size <= 4_000_000
            with zipfile.ZipFile(place) as opened:
                opened.extractall(out)
            place.unlink()
    bags = sorted(out.iterdir())
    assert len(bags) == entry["packages"][0]["volumes"] > 1
    seen: list[str] = []
    for number, bag in enumerate(bags, 1):
        check(bag)
        assert info(bag)["Bag-Count"] == f"{number} of {len(bags)}"
        assert info(bag)["Bag-Group-Identifier"] == entry["packages"][0]["bag_id"]
        assert sum(path.stat().st_size for path in bag.rglob("*") if path.is_file()) <= 4_000_000
        seen += {line["image_id"] for line in table(bag)}
        assert len(table(bag)) == 2 * len({line["image_id"] for line in table(bag)})
    assert len(seen) == len(set(seen)) == PHOTOS


def test_a_zip_of_more_files_than_fit_without_64_bits(tmp_path: Path) -> None:
    """More than 65,535 of them: the numbers of the old format end there."""
    with Tree(tmp_path, durable=False) as tree:
        source = Source(456, tree, lambda _: None, threading.Event())
        with Zip(source, tree, "out.zip", "out") as sink:
            for number in range(66_000):
                sink.write(f"data/{number}.jpg", b"photo")
            sink.close()
    with zipfile.ZipFile(tmp_path / "out.zip") as opened:
        assert len(opened.namelist()) == 66_000
        assert opened.read("out/data/65999.jpg") == b"photo"
    if unzip := shutil.which("unzip"):
        subprocess.run([unzip, "-tqq", tmp_path / "out.zip"], check=True)


def test_large_photos_in_a_zip(mirror: Mirror) -> None:
    """What is too large to be held in memory is written as it is read; damage in it is seen all the same."""
    row = next(row for row in mirror.rows() if row.variant == "large")
    replace(mirror, row, more=6_000_000)
    mirror.entry("out.zip", "--format", "zip")
    with zipfile.ZipFile(mirror.place("out.zip")) as opened:
        assert opened.testzip() is None
        opened.extractall(mirror.place("unpacked"))
    check(mirror.place("unpacked") / "out")
    path = mirror.folder / row.path
    data = bytearray(path.read_bytes())
    data[5_500_000] ^= 1
    path.write_bytes(data)
    assert mirror.deliver("bad.zip", "--format", "zip").code == 8
    path.unlink()
    assert mirror.deliver("bad.zip", "--format", "zip").code == 8
    assert nothing_looks_whole(mirror.place("bad.zip"))


def test_a_photo_larger_than_a_volume(mirror: Mirror) -> None:
    """It is told before anything is written."""
    row = max(mirror.rows(), key=lambda row: row.size)
    replace(mirror, row, more=5_000_000)
    done = mirror.deliver("out", "--volume-size", "4MB")
    assert (done.code, done.says_one_line_and_cure()) == (2, True)
    assert row.image_id in done.err
    assert nothing_looks_whole(mirror.place("out"))


def test_links_are_the_mirrors_own_files(mirror: Mirror) -> None:
    """With `--link` no byte is copied, it is warned of, and the bag is valid all the same."""
    done = mirror.deliver("out", "--link")
    assert done.code == 0
    assert "warning: --link" in done.err
    out = mirror.place("out")
    check(out)
    row = mirror.rows()[0]
    assert (out / "data" / row.path).samefile(mirror.folder / row.path)


def fill(disk: Path) -> None:
    """Leave one or two MiB free, told by what the disk gives: Btrfs says that it has more than it gives."""
    step = 1 << 20
    with (disk / "rest").open("wb") as file:
        is_settled = False  # before, Btrfs also refuses what it has
        while True:
            end = os.fstat(file.fileno()).st_size
            try:
                os.posix_fallocate(file.fileno(), end, step)
            except OSError:
                if is_settled:
                    break
                os.sync()
            is_settled = os.fstat(file.fileno()).st_size == end
        file.truncate(end - step)
    os.sync()


@pytest.mark.parametrize("make", [("mkfs.btrfs", "-q"), ("mkfs.xfs", "-q")])
def test_photos_are_reflinks(mirror: Mirror, tmp_path: Path, make: tuple[str, ...]) -> None:
    """Where the file system can, they take no room, so that there need be none; also in another subvolume of Btrfs."""
    with mounted(tmp_path / "image", 300 << 20, *make) as disk:
        places = [disk / "one", disk / "two"]
        for place in places:
            is_btrfs = "btrfs" in make[0]
            way = ["btrfs", "-q", "subvolume", "create"] if is_btrfs else ["mkdir"]
            subprocess.run([*way, place], check=True)
        shutil.copytree(mirror.root, places[0] / "m")
        size = sum(path.stat().st_size for path in mirror.folder.rglob("*.jpg"))
        assert size > 2 << 20
        fill(disk)
        moved = Mirror(mirror.commands, mirror.service, places[0] / "m" / mirror.folder.name)
        assert moved.entry(places[1] / "out")["packages"][0]["photos"] == PHOTOS
        check(places[1] / "out")
        for path in (places[1] / "out/data").rglob("*.jpg"):
            told = subprocess.run(
                ["filefrag", "-v", path], capture_output=True, text=True, check=True
            )
            assert "shared" in told.stdout


def test_links_reach_no_other_disk(mirror: Mirror, small_disk: Callable[[str], Path]) -> None:
    """It is told before anything is written."""
    done = mirror.deliver(small_disk("size=64m") / "out", "--link")
    assert (done.code, done.says_one_line_and_cure()) == (2, True)


def test_a_mirror_of_an_older_version(mirror: Mirror) -> None:
    """Its manifest is brought forward, and a copy of it is kept."""
    mirror.change("DROP TABLE cameras")
    mirror.change("DROP TABLE delivered")
    for column in ("run", "label", "form", "photos", "volumes"):
        mirror.change(f"ALTER TABLE deliveries DROP COLUMN {column}")
    for column in ("sha256", "size", "mtime_ns"):
        mirror.change(f"ALTER TABLE sums DROP COLUMN {column}")
    mirror.change("ALTER TABLE files DROP COLUMN doubted")
    mirror.change("PRAGMA user_version = 3")
    assert mirror.entry("--list")["packages"] == []
    mirror.entry("out")
    assert len(mirror.entry("--list")["packages"]) == 1
    assert (mirror.folder / ".ninepic-mirror/manifest.sqlite3.version-3").is_file()


def test_thumbnails_that_are_lacking_are_made(mirror: Mirror) -> None:
    """A mirror without thumbnails delivers a gallery with small upright ones all the same."""
    from PIL import Image

    for row in mirror.rows():
        if row.variant == "thumbnail":
            (mirror.folder / row.path).unlink()
    mirror.change("DELETE FROM files WHERE variant = 'thumbnail'")
    mirror.entry("out", "--variant", "large")
    out = mirror.place("out")
    check(out)
    found = sorted((out / "gallery/thumbnails").iterdir())
    assert len(found) == PHOTOS
    with Image.open(found[0]) as picture:
        assert max(picture.size) <= 360
        assert found[0].stat().st_size < 64 << 10


def test_mirrored_thumbnails_serve_the_gallery(mirror: Mirror) -> None:
    """Where only larges are delivered, the gallery has the mirror's thumbnails."""
    mirror.entry("out", "--variant", "large")
    out = mirror.place("out")
    check(out)
    assert {line["variant"] for line in table(out)} == {"large"}
    for row in mirror.rows():
        if row.variant == "thumbnail":
            copy = out / "gallery/thumbnails" / Path(row.path).name
            assert copy.read_bytes() == (mirror.folder / row.path).read_bytes()


# --- its own checker ---------------------------------------------------------------------------------------------


def test_the_checker_finds_what_is_wrong(mirror: Mirror) -> None:
    """A flipped bit, a missing and an extra file are named; what desktops leave is named and forgiven."""
    mirror.entry("out", "--day", "2026-01-19")
    out = mirror.place("out")
    for name in LITTER:
        (out / name).write_bytes(b"x")
    (out / ".Spotlight-V100").mkdir()
    (out / ".Spotlight-V100/store.db").write_bytes(b"x")
    code, said = verified(out)
    assert (code, all(name in said for name in LITTER)) == (0, True)
    flipped, missing = (out / line["path"] for line in table(out)[:2])
    data = bytearray(flipped.read_bytes())
    data[len(data) // 2] ^= 1
    flipped.write_bytes(data)
    missing.unlink()
    (out / "data/extra.jpg").write_bytes(b"x")
    (out / "index.html").write_text("hacked")
    code, said = verified(out)
    assert code == 1
    for word, path in (
        ("DAMAGED", flipped), ("MISSING", missing), ("EXTRA", out / "data/extra.jpg"), ("DAMAGED", out / "index.html"),
    ):  # fmt: skip
        assert re.search(
            rf"^{word} +{re.escape(str(path.relative_to(out)))}", said, re.MULTILINE
        ), said


def test_the_checker_needs_an_old_python_only(mirror: Mirror) -> None:
    """It is written in what Python 3.8 understands, and imports nothing but the standard library."""
    import ast

    mirror.entry("out")
    tree = ast.parse((mirror.place("out") / "verify.py").read_text(), feature_version=(3, 8))
    imported = {
        alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.Import)
        for alias in node.names
    }
    assert imported <= sys.stdlib_module_names
    called = {
        node.func.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)
    }
    assert not called & {"removeprefix", "removesuffix", "is_relative_to"}  # of 3.9
