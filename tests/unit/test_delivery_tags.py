"""Lists and gallery of a package."""

from __future__ import annotations

import csv
import io
import json

import pytest

from ninepic_mirror.delivery import tags
from ninepic_mirror.delivery.plan import items
from ninepic_mirror.delivery.selection import Lack
from ninepic_mirror.delivery.tags import COLUMNS, About, Facts
from ninepic_mirror.model import HOUR
from tests.parcels import file, shot
from tests.shelf import SIX

FACTS = Facts(456, "Marathon", "marathon", "2026-01-19", None, "UTC")
ITEMS = items(
    [
        (one, list(one.files))
        for one in (
            shot("a", file("a", "thumbnail"), file("a"), by='=Asha, "Z"'),
            shot("b", taken=SIX + HOUR),
            shot("c", taken=None, at="2026-01-19T06:00:00"),
        )
    ]
)


def test_photos_are_listed() -> None:
    """A line for each file, in the order of capture; nothing is a formula."""
    lines = list(csv.DictReader(io.StringIO(tags.photos(ITEMS).decode())))
    assert tuple(lines[0]) == COLUMNS
    assert [(line["image_id"], line["variant"], line["position"], line["hour"]) for line in lines] == [
        ("a", "thumbnail", "1", "06"), ("a", "large", "1", "06"), ("b", "large", "2", "07"), ("c", "large", "3", ""),
    ]  # fmt: skip
    assert [line["photographer"] for line in lines] == ['\'=Asha, "Z"', '\'=Asha, "Z"', "", ""]
    assert (lines[0]["width"], lines[0]["height"], lines[0]["sha256"]) == (
        "4",
        "3",
        ITEMS[0].entries[0].file.sha256,
    )


def test_positions_go_on_in_the_next_volume() -> None:
    """They are places in the package."""
    lines = list(csv.DictReader(io.StringIO(tags.photos(ITEMS[1:], 41).decode())))
    assert [line["position"] for line in lines] == ["41", "42"]


def test_what_is_missing_is_listed() -> None:
    """With its reason; a doubt names no photo."""
    text = tags.missing([Lack("a", "large", "-404"), Lack("", None, "3 photos")]).decode()
    assert text.splitlines() == ["image_id,variant,reason", "a,large,'-404", ",,3 photos"]


@pytest.mark.parametrize(
    ("said", "kept"),
    [
        ("503 from https://photos.example.com:8443", "503 from [address]"),
        ("http://[::1]:80/a?b=c did not answer in 30 s", "[address] did not answer in 30 s"),
        ("5 of 10 bytes from photos.example.com: cut off", "5 of 10 bytes from [address]: cut off"),
        ("no connection to nas:8080: refused", "no connection to [address]: refused"),
        ("localhost is at 127.0.0.1, fe80::1", "[address] is at [address], [address]"),
        ("no connection to [fe80::1]:443", "no connection to [address]"),
        ("/srv/photos/a.jpg cannot be read", "[address] cannot be read"),
        ("may be by J.Smith: 404 from the photo origin", "may be by J.Smith: 404 from the photo origin"),
        ("slower than 1.5 bytes a second: 12 of 30", "slower than 1.5 bytes a second: 12 of 30"),
    ],
)  # fmt: skip
def test_reasons_name_no_host(said: str, kept: str) -> None:
    """Who gets a package need not know where the mirror is and whom it asks."""
    assert tags.missing([Lack("a", "large", said)]).decode().splitlines()[1] in (
        f"a,large,{kept}",
        f'a,large,"{kept}"',
    )


def test_ids_are_no_formulas() -> None:
    """Neither in the list of photos nor in that of what is missing."""
    odd = shot("-2+3")
    lines = list(csv.DictReader(io.StringIO(tags.photos(items([(odd, list(odd.files))])).decode())))
    assert [line["image_id"] for line in lines] == ["'-2+3"]
    assert tags.missing([Lack("=1", None, "404")]).decode().splitlines()[1] == "'=1,,404"


def test_the_event_is_described() -> None:
    """Days and hours are those of the package."""
    said = json.loads(tags.event(FACTS, "id-1", ITEMS))
    assert (said["name"], said["package"], said["photos"], said["undated"]) == (
        "Marathon",
        "id-1",
        3,
        1,
    )
    assert said["days"] == [{"date": "2026-01-19", "photos": 2, "hours": {"06": 1, "07": 1}}]


def test_the_gallery_shows_every_photo() -> None:
    """It is text; what has no thumbnail is shown without."""
    shown = tags.gallery(FACTS, ITEMS, {ITEMS[1].thumbnail}, About("2026-01-20", "a note", 2))
    assert {"index.html", "gallery/data.js"} <= set(shown)
    assert b"Marathon" in shown["index.html"]
    without = tags.gallery(FACTS, ITEMS, set(), About("2026-01-20"))
    assert shown["gallery/data.js"] != without["gallery/data.js"]


def test_the_gallery_shows_a_few_doubts() -> None:
    """As text, beside what is counted; the list has them all."""
    doubts = tuple(f"<{number}> failed" for number in range(9))
    page = tags.gallery(FACTS, ITEMS, set(), About("2026-01-20", None, 2, doubts))["index.html"]
    assert b"2 photos are not in this package, or not in every size." in page
    assert b"&lt;0&gt; failed" in page
    assert page.count(b"Photos may be missing") == 3


def test_the_days_of_a_package() -> None:
    """First and last; nothing where all is undated."""
    assert tags.dates(ITEMS) == ("2026-01-19", "2026-01-19")
    assert tags.dates(ITEMS[2:]) is None


@pytest.mark.parametrize(
    ("name", "title"), [("Marathon", "Marathon"), (None, "event 456"), ("", "event 456")]
)
def test_the_title(name: str | None, title: str) -> None:
    """An event without a name has its number."""
    assert Facts(456, name, None, None, None, "UTC").title == title


def test_the_checker_is_shipped() -> None:
    """It is the file beside the module."""
    assert tags.checker().startswith(b"#!/usr/bin/env python3\n")
