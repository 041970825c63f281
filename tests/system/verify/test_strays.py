"""Files that are nobody's beside the mirror's: what somebody keeps there is never taken for a photo."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import pytest
from PIL import Image

from tests.mirrored import Mirror, faults, photo_requests
from tests.oracle import check_settled

if TYPE_CHECKING:
    from pathlib import Path

MANIFEST = ".ninepic-mirror/manifest.sqlite3"


def edited(photo: Path, name: str) -> Path:
    """Put somebody's own picture beside a photo, named after it."""
    copy = photo.with_name(photo.stem + name)
    Image.new("RGB", (40, 40), "red").save(copy)
    return copy


def lose(mirror: Mirror) -> None:
    """Lose the manifest."""
    (mirror.folder / MANIFEST).unlink()


@pytest.mark.parametrize(
    ("way", "name"),
    [
        ("rebuilt", ".edit.jpg"),
        ("deleted", ".edit.jpg"),
        ("altered", ".0.jpg"),
        ("synced", ".edit.jpg"),
        ("synced", ".png"),
    ],
)
def test_an_edited_copy_is_not_the_photo(mirror: Mirror, way: str, name: str) -> None:
    """Whatever becomes of the manifest or the photo, the copy stays what and where it is, and the photo comes again."""
    row = next(row for row in mirror.rows() if row.variant == "large")
    photo, before = mirror.folder / row.path, mirror.hashes()
    copy = edited(photo, name)
    kept, asked = copy.read_bytes(), photo_requests(mirror.service)
    if way == "rebuilt":
        lose(mirror)
    elif way == "altered":
        photo.write_bytes(photo.read_bytes()[:-2] + b"\x00\xff\xd9")
    else:
        photo.unlink()
    if way == "synced":
        done = mirror.commands.run("sync", 456, *mirror.service.flags, "--root", "m", "--json")
    else:
        done = mirror.repair()
    assert done.code == 0, done.out + done.err
    assert mirror.hashes() == before
    assert hashlib.sha256(photo.read_bytes()).hexdigest() == row.sha256
    assert copy.read_bytes() == kept
    assert photo_requests(mirror.service) - asked == (way != "rebuilt")
    done = mirror.verify()
    assert (done.code, faults(done)) == (0, {str(copy.relative_to(mirror.folder)): "stray"})


CONFIG = """
[api]
org_id = 903
base_url = "{url}"
[mirror]
root = "m"
layout = "{layout}"
timezone = "{zone}"
[events]
ids = [456]
"""


@pytest.mark.parametrize("way", ["timeline", "layout", "zone", "retimed"])
def test_a_rebuild_fetches_nothing_when_places_changed(mirror: Mirror, way: str) -> None:
    """What stands whole by its line is moved to where it belongs by now; nothing is left over, fetched or listed."""
    service = mirror.service
    layout, zone = "{date}/{hour}/{variant}/{image_id}{ext}", "UTC"
    before, options = mirror.hashes(), list[object]()
    if way == "timeline":
        service.order("POST", "456/set", {"timeline_search": False})
    elif way == "retimed":
        for row in mirror.rows()[:9]:
            order = {"image_id": row.image_id, "hour": 1768777200 + 9 * 3600}
            service.order("POST", "456/retime", order)
    else:
        layout = "{variant}/{date}/{image_id}{ext}" if way == "layout" else layout
        zone = "Asia/Kolkata" if way == "zone" else zone
        config = mirror.commands.folder / "c.toml"
        config.write_text(
            CONFIG.replace("{url}", service.api_url)
            .replace("{layout}", layout)
            .replace("{zone}", zone)
        )
        options = ["--config", config.name]
    lose(mirror)
    asked = photo_requests(service)
    words = ["verify", "--repair", "--json"]
    flags = [] if options else [*service.flags, "--root", "m"]
    done = mirror.commands.run(*options, *words, *flags)
    assert (done.code, faults(done)) == (0, {}), done.err
    assert photo_requests(service) == asked
    assert sorted(mirror.hashes().values()) == sorted(before.values())
    assert mirror.hashes() != before
    done = mirror.verify()
    assert (done.code, faults(done)) == (0, {})
    check_settled(mirror.folder)
    folders = [one for one in mirror.folder.rglob("*") if one.is_dir()]
    assert all(any(one.iterdir()) for one in folders if ".ninepic-mirror" not in one.parts)
    tops = {path.partition("/")[0] for path in mirror.hashes()}
    assert {one.parent.name for one in mirror.folder.glob("*/SHA256SUMS")} == tops


@pytest.mark.parametrize("told", [True, False])
def test_a_rebuild_knows_a_layout_that_looks_like_the_usual_one(
    mirror: Mirror, *, told: bool
) -> None:
    """`ID-large.jpg` in its own layout is the photo ID, although the usual one could have it of a photo `ID-large`."""
    config = mirror.commands.folder / "c.toml"
    layout = "{date}/{hour}/{variant}/{image_id}-{variant}{ext}"
    text = CONFIG.replace("{url}", mirror.service.api_url).replace("{zone}", "UTC")
    config.write_text(text.replace("{layout}", layout))
    assert mirror.commands.run("--config", config.name, "sync", 456).code == 0
    (mirror.folder / MANIFEST).unlink()
    before = {path: path.read_bytes() for path in mirror.folder.rglob("*.jpg")}
    if not told:
        (mirror.folder / "event.json").unlink()
    asked = photo_requests(mirror.service)
    assert mirror.commands.run("--config", config.name, "sync", 456).code == 0
    assert photo_requests(mirror.service) == asked
    assert {path: path.read_bytes() for path in mirror.folder.rglob("*.jpg")} == before


def test_a_rebuild_fetches_what_is_not_as_its_line_says(mirror: Mirror) -> None:
    """A damaged file of a photo that changed its hour stays where it is, is told, and the photo is fetched."""
    row = next(row for row in mirror.rows() if row.variant == "large")
    mirror.service.order(
        "POST", "456/retime", {"image_id": row.image_id, "hour": 1768777200 + 32400}
    )
    place = mirror.folder / row.path
    Image.new("RGB", (40, 40), "red").save(place)
    lose(mirror)
    asked = photo_requests(mirror.service)
    done = mirror.repair()
    assert photo_requests(mirror.service) - asked == 1
    assert [one.sha256 for one in mirror.rows() if one[:2] == row[:2]] == [row.sha256]
    assert place.exists()
    assert row.path in faults(done)
