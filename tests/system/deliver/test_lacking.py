"""`deliver` from a mirror that is not whole, and names that are hostile."""

from __future__ import annotations

import hashlib
import io
import json
import re
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from tests.delivered import (
    PHOTOS,
    Mirror,
    check,
    info,
    listed_as_missing,
    nothing_looks_whole,
    put,
    table,
)

if TYPE_CHECKING:
    from pathlib import Path


def test_a_mirror_that_is_not_whole(mirror: Mirror) -> None:
    """It is refused with the list, or delivered with the list in it; a forgotten photo is not missed."""
    lost, forgotten = (
        row.image_id for row in [one for one in mirror.rows() if one.variant == "large"][:2]
    )
    mirror.change(
        "UPDATE files SET state = 'failed', error = 'gone =away' WHERE image_id = ? AND variant = 'large'",
        lost,
    )
    mirror.change("UPDATE files SET state = 'forgotten' WHERE image_id = ?", forgotten)
    done = mirror.deliver("out")
    assert done.code == 4
    assert f"{lost} large: gone =away" in done.out
    assert "--allow-incomplete" in done.err
    assert nothing_looks_whole(mirror.place("out"))
    told = mirror.deliver("told", "--allow-incomplete")
    assert (told.code, "  1 of what was asked for is missing" in told.out) == (0, True), told.out
    new = mirror.deliver("new", "--allow-incomplete", "--since", "last")
    assert (new.code, f"{lost} large: gone =away" in new.out) == (2, True), new.out
    assert "; 1 of what was asked for is missing" in new.err
    entry = mirror.entry("out", "--allow-incomplete")
    assert [one["image_id"] for one in entry["missing"]] == [lost]
    out = mirror.place("out")
    check(out)
    assert (out / "missing.csv").read_text().splitlines()[1:] == [f"{lost},large,gone =away"]
    delivered = {line["image_id"] for line in table(out)}
    assert lost in delivered
    assert forgotten not in delivered


def test_photos_that_were_never_listed(mirror: Mirror) -> None:
    """The gallery says in words how many there are, and does not count them as one photo."""
    mirror.change("UPDATE meta SET value = ? WHERE key = 'total'", PHOTOS + 30)
    mirror.change("UPDATE passes SET whole = 0")
    mirror.entry("out", "--allow-incomplete")
    check(mirror.place("out"))
    page = (mirror.place("out") / "index.html").read_text()
    assert "not in this package" not in page
    assert "30 photos of the service&#39;s were never listed" in page
    assert "30 photos" in (mirror.place("out") / "missing.csv").read_text()


def test_a_variant_that_was_never_mirrored(mirror: Mirror) -> None:
    """The command that brings it names it, with the others that were asked for."""
    done = mirror.deliver("out", "--variant", "original", "--variant", "large")
    assert done.code == 4
    named = "--timezone Asia/Kolkata --variant large --variant original"
    assert f"sync 456 {named} --root {mirror.root} --org NUMBER;" in done.err


def test_a_pass_that_did_not_see_everything(mirror: Mirror) -> None:
    """It is doubted that all photos are known, also where something else is missing that was not asked for."""
    mirror.change(
        "UPDATE files SET state = 'failed' WHERE variant = 'large' AND image_id = ?",
        mirror.rows()[0].image_id,
    )
    mirror.change("DELETE FROM meta WHERE key = 'balance'")
    words = ("out", "--variant", "thumbnail")
    for missing, code in ((0, 4), (1, 0)):
        report = json.dumps({"missing": missing, "failures": []})
        mirror.change("UPDATE passes SET whole = 0, report = ?", report)
        done = mirror.deliver(*words)
        assert (done.code, "did not see everything" in done.out) == (code, code == 4), done.out


def lose(mirror: Mirror, image_id: str) -> None:
    """Let the mirror lack all of a photo."""
    for row in mirror.rows():
        if row.image_id == image_id:
            (mirror.folder / row.path).unlink()
    mirror.change(
        "UPDATE files SET state = 'failed', error = '404', path = NULL WHERE image_id = ?", image_id
    )


def test_ids_that_are_not_mirrored_are_listed(mirror: Mirror) -> None:
    """They are missing, also in the package."""
    mirror.place("ids.txt").write_text(f"{mirror.rows()[0].image_id}\nno-such-photo\n")
    entry = mirror.entry("out", "--ids", "ids.txt", "--allow-incomplete")
    assert [one["image_id"] for one in entry["missing"]] == ["no-such-photo"]
    assert listed_as_missing(mirror.place("out")) == {"no-such-photo"}
    check(mirror.place("out"))


@pytest.mark.parametrize("by", ["day", "photographer"])
def test_a_part_of_which_nothing_is_here(mirror: Mirror, by: str) -> None:
    """What it lacks is listed in every package that is made."""
    lost = mirror.rows()[0].image_id
    lose(mirror, lost)
    mirror.change("UPDATE photos SET taken = taken + 864000 WHERE image_id = ?", lost)
    assert mirror.deliver("out", "--split-by", by).code == 4
    entry = mirror.entry("out", "--split-by", by, "--allow-incomplete")
    assert {one["image_id"] for one in entry["missing"]} == {lost}
    bags = list(mirror.place("out").iterdir())
    assert bags
    assert all(listed_as_missing(bag) == {lost} for bag in bags)


def test_photos_that_may_be_a_photographers(mirror: Mirror) -> None:
    """A photo of which nothing is here may be anybody's: it is missing, also in the package."""
    lost = mirror.rows()[0].image_id
    lose(mirror, lost)
    assert mirror.deliver("out", "--photographer", "Asha Patil").code == 4
    mirror.entry("out", "--photographer", "Asha Patil", "--allow-incomplete")
    assert listed_as_missing(mirror.place("out")) == {lost}


def test_a_photographer_whose_photos_are_all_missing(mirror: Mirror) -> None:
    """The mirror is not whole, whether it is known whose they were or not; the others' can be delivered."""
    mirror.entry("all", "--split-by", "photographer")
    hers = {line["image_id"] for line in table(mirror.place("all") / "asha-patil")}
    for image_id in hers:
        lose(mirror, image_id)
    done = mirror.deliver("out", "--photographer", "Asha Patil", "--json")
    assert done.code == 4, done.err
    (entry,) = json.loads(done.out)["events"]
    assert {one["image_id"] for one in entry["missing"]} == hers
    mirror.entry("his", "--photographer", "Joseph D'Souza")
    mirror.change("DELETE FROM cameras")
    done = mirror.deliver("out", "--photographer", "Asha Patil")
    assert (done.code, "choose from the photographers" in done.err) == (4, True), done.err
    assert f"{min(hers)} large: may be by Asha Patil" in done.out
    done = mirror.deliver("out", "--photographer", "Asha Patil", "--allow-incomplete")
    assert (done.code, "none of the photos asked for" in done.err) == (2, True), done.err


def without_exif(path: Path) -> bytes:
    """Return a picture without what its camera wrote."""
    from PIL import Image

    with Image.open(path) as picture, io.BytesIO() as buffer:
        picture.save(buffer, "JPEG")
        return buffer.getvalue()


def test_a_photo_that_cannot_tell_whose_it_is(mirror: Mirror) -> None:
    """Its next variant is asked; where none tells and one is missing, the photo counts as missing, until it comes."""
    mirror.entry("all", "--photographer", "Asha Patil")
    hers = table(mirror.place("all"))
    (thumbnail, row), *_ = (
        [each for each in mirror.rows() if each.image_id == line["image_id"]] for line in hers
    )
    if row.variant == "thumbnail":
        thumbnail, row = row, thumbnail
    put(mirror, thumbnail, without_exif(mirror.folder / thumbnail.path))
    mirror.change("DELETE FROM cameras")
    mirror.change("UPDATE files SET state = 'failed' WHERE path = ?", row.path)
    words = ("--photographer", "Asha Patil", "--variant", "thumbnail")
    done = mirror.deliver("out", *words)
    assert done.code == 4, done.out
    assert f"{row.image_id} large: may be by Asha Patil" in done.out
    mirror.entry("out", *words, "--allow-incomplete")
    assert listed_as_missing(mirror.place("out")) == {row.image_id}
    mirror.change("UPDATE files SET state = 'present' WHERE path = ?", row.path)
    mirror.entry("whole", *words)
    assert len(table(mirror.place("whole"))) == len(hers) // 2
    # a type that Pillow cannot read, which stands for an original
    original = (mirror.folder / thumbnail.path).with_name("photo.heic")
    original.write_bytes(b"\0\0\0\x18ftypheic")
    mirror.change(
        "INSERT INTO files (image_id, variant, state, path, size, sha256)"
        " VALUES (?, 'original', 'present', ?, ?, ?)",
        row.image_id, str(original.relative_to(mirror.folder)), original.stat().st_size,
        hashlib.sha256(original.read_bytes()).hexdigest(),
    )  # fmt: skip
    mirror.entry("again", *words)
    assert len(table(mirror.place("again"))) == len(hers) // 2


def test_a_dry_run_writes_nothing(mirror: Mirror) -> None:
    """It says what would go in; neither a package nor a row is made."""
    before = {path for path in mirror.commands.folder.rglob("*") if "sqlite3" not in path.name}
    done = mirror.deliver("out", "--dry-run", "--photographer", "Asha Patil")
    assert done.code == 0
    assert re.search(r"would deliver \d+ photos", done.out)
    assert {
        path for path in mirror.commands.folder.rglob("*") if "sqlite3" not in path.name
    } == before
    with closing(sqlite3.connect(mirror.folder / ".ninepic-mirror/manifest.sqlite3")) as manifest:
        assert manifest.execute("SELECT count(*) FROM cameras").fetchone() == (0,)


# --- hostile names -----------------------------------------------------------------------------------------------


def test_hostile_names_are_text(mirror: Mirror) -> None:
    """A name of the service's or a camera's makes no element, no line and no formula of its own."""
    evil = "</script><script>alert(1)</script>\"'\nBag-Count: 9 of 9 \u202e שלום"
    mirror.entry("first", "--dry-run")
    mirror.entry("warm")
    mirror.change("UPDATE meta SET value = ? WHERE key = 'name'", json.dumps(evil))
    mirror.change("UPDATE cameras SET photographer = ?", '=HYPERLINK("http://a")<script>')
    mirror.entry("out", "--names", "time", "--split-by", "photographer")
    (out,) = mirror.place("out").iterdir()
    check(out)
    assert info(out)["Bag-Count"] == "1 of 1"
    assert "<script>alert(1)" not in (out / "index.html").read_text()
    assert "<script>" not in (out / "gallery/data.js").read_text()
    assert all(line["photographer"].startswith("'=") for line in table(out))
    assert out.name.isascii()


def test_names_do_not_steer_a_terminal(mirror: Mirror) -> None:
    """Whatever is said of an event or of a photographer is said without control characters."""
    mirror.entry("warm", "--names", "time")
    mirror.change("UPDATE meta SET value = ? WHERE key = 'name'", json.dumps("\x1b[31mred\u202e"))
    mirror.change("UPDATE cameras SET photographer = ?", "\x1b]0;title\x07")
    for words in (
        ("a", "--dry-run"),
        ("a", "--dry-run", "--split-by", "photographer"),
        ("a", "--photographer", "nobody"),
        ("a", "--variant", "original"),
        ("a",),
        ("--list",),
    ):
        done = mirror.deliver(*words)
        assert set("\x1b\x07\u202e").isdisjoint(done.out + done.err), words
