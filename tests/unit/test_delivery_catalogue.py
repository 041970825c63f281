"""What the manifest knows for deliveries."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from ninepic_mirror.archive.manifest import Manifest
from ninepic_mirror.archive.schema import MIGRATIONS
from ninepic_mirror.delivery import catalogue
from ninepic_mirror.delivery.catalogue import Camera
from ninepic_mirror.errors import UsageError
from tests.parcels import KOLKATA, delivery, file
from tests.shelf import SIX, open_shelf, photo, window

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.shelf import Shelf


@pytest.fixture
def shelf(tmp_path: Path) -> Iterator[Shelf]:
    """An event with three photos: here, here in part, undated and pending."""
    with open_shelf(tmp_path / "m") as made:
        made.have(window(SIX), "b", "a")
        made.manifest.change(
            "UPDATE files SET state = 'failed', error = '404' WHERE image_id = 'a' AND variant = 'large'"
        )
        made.read(window(SIX + 3600), [photo("c")])
        made.manifest.change("UPDATE photos SET taken = NULL, hour = NULL WHERE image_id = 'c'")
        yield made


def test_photos_in_their_order(shelf: Shelf) -> None:
    """Each with its local day and hour, the files that are here, and why others are not."""
    found = catalogue.shots(shelf.manifest, KOLKATA)
    assert [(one.image_id, one.day, one.hour) for one in found] == [
        ("b", "2026-01-19", "11"), ("a", "2026-01-19", "11"), ("c", None, None),
    ]  # fmt: skip
    b, a, c = found
    assert {one.variant for one in b.files} == {"thumbnail", "large"}
    assert (b.lacking, a.lacking) == ({}, {"large": "404"})
    assert c.lacking == {"large": "not fetched yet", "thumbnail": "not fetched yet"}
    assert (c.files, c.best, a.file("large")) == ((), None, None)
    assert (b.width, b.height) == (4, 3)
    large = b.file("large")
    assert large is not None
    assert b.best == large
    assert (shelf.folder / large.path).stat().st_size == large.size


def test_photos_that_left_or_are_forgotten(shelf: Shelf) -> None:
    """They are no photos to deliver; what became of them is told."""
    shelf.manifest.change("UPDATE photos SET gone_since = 5 WHERE image_id = 'a'")
    shelf.manifest.change("UPDATE files SET state = 'forgotten' WHERE image_id = 'b'")
    assert [one.image_id for one in catalogue.shots(shelf.manifest, KOLKATA)] == ["c"]
    assert catalogue.fates(shelf.manifest, ["a", "b", "x"]) == {
        "a": "it left the event", "b": catalogue.FORGOTTEN, "x": "not in the mirror",
    }  # fmt: skip


def test_cameras_are_kept_for_their_file(shelf: Shelf) -> None:
    """With another file they are read anew."""
    first = catalogue.shots(shelf.manifest, KOLKATA)[0]
    assert first.camera is None
    assert first.best is not None
    camera = Camera("Asha", "2026-01-19T11:30:00")
    catalogue.note_cameras(shelf.manifest, [(first.best, camera)])
    assert catalogue.shots(shelf.manifest, KOLKATA)[0].camera == camera
    shelf.manifest.change(
        "UPDATE files SET sha256 = 'other' WHERE image_id = 'b' AND variant = 'large'"
    )
    again = catalogue.shots(shelf.manifest, KOLKATA)
    assert again[0].camera is None
    assert catalogue.with_camera(again[0], camera).camera == camera


def test_cameras_of_what_was_lost(shelf: Shelf) -> None:
    """A photo that was here tells still whose it is, as long as the same file is to be had again."""
    first = catalogue.shots(shelf.manifest, KOLKATA)[0]
    assert first.best is not None
    catalogue.note_cameras(shelf.manifest, [(first.best, Camera("Asha"))])
    change = "UPDATE files SET state = 'failed', error = '404', path = NULL WHERE image_id = 'b'"
    shelf.manifest.change(f"{change} AND variant = 'large'")
    assert catalogue.shots(shelf.manifest, KOLKATA)[0].camera == Camera("Asha")
    shelf.manifest.change(change)
    lost = catalogue.shots(shelf.manifest, KOLKATA)[0]
    assert (lost.files, lost.camera) == ((), Camera("Asha"))
    shelf.manifest.change("UPDATE files SET sha256 = NULL WHERE image_id = 'b'")
    assert catalogue.shots(shelf.manifest, KOLKATA)[0].camera is None


def test_packages_are_recorded(shelf: Shelf) -> None:
    """With all that went in, the oldest first."""
    first, second = delivery("one"), delivery("two", "one", "zero", label="Asha")
    catalogue.record(shelf.manifest, first, [file("a"), file("a", "thumbnail")])
    catalogue.record(shelf.manifest, second, [file("b")], [(file("b"), Camera("Asha"))])
    assert shelf.manifest.rows("SELECT * FROM cameras") == [("b", file("b").sha256, "Asha", None)]
    assert catalogue.deliveries(shelf.manifest) == [first, second]
    assert catalogue.delivered(shelf.manifest, ["one"]) == {
        ("a", "large"): {file("a").sha256}, ("a", "thumbnail"): {file("a", "thumbnail").sha256},
    }  # fmt: skip
    assert set(catalogue.delivered(shelf.manifest, ["one", "two"])) >= {
        ("a", "large"),
        ("b", "large"),
    }


def test_an_older_manifest_that_is_only_read(tmp_path: Path) -> None:
    """It knows neither cameras nor packages, and its photos can be read."""
    path = tmp_path / "manifest.sqlite3"
    with Manifest.open(path, migrations=MIGRATIONS[:2]) as manifest:
        manifest.change(
            "INSERT INTO photos (image_id, first_seen, last_seen, reading, window_reading) VALUES ('a', 0, 0, 1, 1)"
        )
        manifest.change(
            "INSERT INTO files (image_id, variant, state, path, size, sha256) VALUES ('a', 'large', 'present', 'a.jpg', 5, 'x')"
        )
        assert catalogue.deliveries(manifest) == []
        (shot,) = catalogue.shots(manifest, KOLKATA)
        assert (shot.camera, len(shot.files), shot.width) == (None, 1, None)


def test_what_was_forgotten_meanwhile_does_not_come_back(shelf: Shelf) -> None:
    """Neither a package with such a photo nor what its camera wrote is recorded: both would name the photo again."""
    shelf.manifest.change("UPDATE files SET image_id = 'forgotten~1' WHERE image_id = 'b'")
    shelf.manifest.change("UPDATE photos SET image_id = 'forgotten~1' WHERE image_id = 'b'")
    lost = catalogue.forgotten(shelf.manifest, [file("a"), file("b")])
    assert lost == file("b")
    assert catalogue.forgotten(shelf.manifest, [file("a")]) is None
    with pytest.raises(UsageError, match="forgotten meanwhile"):
        catalogue.record(shelf.manifest, delivery("one"), [file("a"), file("b")])
    catalogue.note_cameras(shelf.manifest, [(file("b"), Camera("Asha", None))])
    assert catalogue.deliveries(shelf.manifest) == []
    for table in ("delivered", "cameras"):
        assert shelf.manifest.count(f"SELECT count(*) FROM {table}") == 0
