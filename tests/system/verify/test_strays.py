"""Files that are nobody's beside the mirror's: what somebody keeps there is never taken for a photo."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import pytest
from PIL import Image

from tests.mirrored import Mirror, faults, photo_requests

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
