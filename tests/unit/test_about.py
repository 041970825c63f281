"""`event.json`: what an event is, readable without this program."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from ninepic_mirror.archive.about import (
    HASH,
    NAME,
    blame,
    describe,
    described,
    hash_of,
    named_variants,
    settled,
    write,
)
from ninepic_mirror.archive.records import Listing
from ninepic_mirror.config import DEFAULT_LAYOUT, EventSettings, Mirror
from ninepic_mirror.errors import StorageError
from ninepic_mirror.model import HOUR, Details, Event
from tests.shelf import SIX, photo, window

if TYPE_CHECKING:
    from tests.shelf import Shelf

DETAILS = Details(
    Event(456, "Mumbai \U0001f3c3 \ud800", "m", "2026-01-19", "active"), timeline_search=True
)
LAST = 253_402_297_200  # 9999-12-31T23:00:00Z


def test_days_and_hours_are_local(shelf: Shelf) -> None:
    """Photos are counted by the days and hours of the configured zone, undated ones apart."""
    shelf.read(window(SIX), [photo("a"), photo("b")])
    shelf.read(window(SIX + HOUR), [photo("c")])
    shelf.read(window(SIX + 18 * HOUR), [photo("d")])
    shelf.read(Listing(offset=100), [photo("u")])
    shelf.manifest.change("UPDATE photos SET gone_since = 1 WHERE image_id = 'b'")
    said = describe(DETAILS, Mirror(shelf.folder, timezone="Asia/Kolkata"), shelf.manifest)
    assert (said["event_id"], said["photos"], said["undated"]) == (456, 4, 1)
    assert said["days"] == [
        {"date": "2026-01-19", "photos": 2, "hours": {"11": 1, "12": 1}},
        {"date": "2026-01-20", "photos": 1, "hours": {"05": 1}},
    ]


def test_two_halves_of_a_local_hour_are_one(shelf: Shelf) -> None:
    """Where a zone cuts UTC hours, what falls into one local hour is counted together."""
    from ninepic_mirror.model import Window

    shelf.read(Listing(SIX, Window(SIX + 1800, SIX + HOUR)), [photo("a")])
    shelf.read(Listing(SIX + HOUR, Window(SIX + HOUR, SIX + HOUR + 1800)), [photo("b")])
    said = describe(DETAILS, Mirror(shelf.folder, timezone="Asia/Kolkata"), shelf.manifest)
    assert said["days"] == [{"date": "2026-01-19", "photos": 2, "hours": {"12": 2}}]


def test_the_last_hour_of_all_is_no_fault(shelf: Shelf) -> None:
    """A camera in the year 9999 has no local time in some zones, and an event.json all the same."""
    shelf.read(window(LAST), [photo("a")])
    said = describe(DETAILS, Mirror(shelf.folder, timezone="Asia/Kolkata"), shelf.manifest)
    assert said["photos"] == 1


def test_it_is_written_when_it_says_something_new(shelf: Shelf) -> None:
    """The same description is not written again; a damaged file is."""
    said = describe(DETAILS, Mirror(shelf.folder), shelf.manifest)
    assert write(shelf.tree, said)
    assert not write(shelf.tree, said)
    place = shelf.folder / NAME
    assert json.loads(place.read_text("utf-8"))["name"] == "Mumbai \U0001f3c3 ?"
    place.write_text("{")
    assert write(shelf.tree, said)
    assert write(shelf.tree, said | {"name": "other"})


def test_a_folder_in_its_place_is_told(shelf: Shelf) -> None:
    """What cannot be replaced is a storage fault with a cure."""
    (shelf.folder / NAME).mkdir()
    with pytest.raises(StorageError, match="file is due"):
        write(shelf.tree, {})


def test_what_is_wrong(shelf: Shelf) -> None:
    """It is what was written; where that is not known, nothing is wrong with it."""
    assert blame(shelf.tree, shelf.manifest, thorough=True) is None
    write(shelf.tree, {"name": "Marathon"})
    shelf.manifest.set_meta({HASH: hash_of({"name": "Marathon"})})
    assert blame(shelf.tree, shelf.manifest, thorough=True) is None
    place = shelf.folder / NAME
    place.write_text("{}")
    assert blame(shelf.tree, shelf.manifest, thorough=True) == "content"
    assert blame(shelf.tree, shelf.manifest, thorough=False) is None
    place.unlink()
    assert blame(shelf.tree, shelf.manifest, thorough=False) == "missing"
    place.mkdir()
    assert blame(shelf.tree, shelf.manifest, thorough=True) == "type"


def test_what_a_mirror_was_made_with(shelf: Shelf) -> None:
    """The manifest says it, without one `event.json`; what neither says, or says unsoundly, is not known."""
    layout, zone = "{variant}/{image_id}{ext}", "Asia/Kolkata"
    assert described(shelf.tree) == EventSettings()
    settings = Mirror(shelf.folder, layout=layout, timezone=zone, variants=("large",))
    write(shelf.tree, describe(DETAILS, settings, shelf.manifest))
    assert described(shelf.tree) == EventSettings(("large",), layout, zone)
    assert settled(shelf.manifest) == EventSettings()
    shelf.manifest.set_meta({"layout": DEFAULT_LAYOUT, "timezone": "UTC", "wanted": ["original"]})
    known = EventSettings(("original",), DEFAULT_LAYOUT, "UTC")
    assert settled(shelf.manifest) == known
    place = shelf.folder / NAME
    place.write_text(json.dumps({"layout": "../{image_id}", "timezone": zone, "variants": ["x"]}))
    assert described(shelf.tree) == EventSettings(timezone=zone)
    for text in ("[1]", "{", "[" * 100_000):
        place.write_text(text)
        assert described(shelf.tree) == EventSettings()


def test_which_variants_were_mirrored(shelf: Shelf) -> None:
    """SHA256SUMS name their files; what a layout cannot have named does not count."""
    assert named_variants(shelf.tree, DEFAULT_LAYOUT) == set()
    (shelf.folder / "undated").mkdir()
    lines = ("large/original.jpg", "notes/original/a.jpg", "thumbnail", "thumbnail/a.b.jpg")
    text = "".join(f"{'0' * 64}  {line}\n" for line in lines)
    (shelf.folder / "undated/SHA256SUMS").write_text(text)
    assert named_variants(shelf.tree, DEFAULT_LAYOUT) == {"large", "thumbnail"}
    assert named_variants(shelf.tree, "{date}/notes/{variant}/{image_id}") == {"original"}
