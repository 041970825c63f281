"""Names and volumes of a package."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from ninepic_mirror.delivery.plan import (
    MADE_THUMBNAIL,
    is_safe,
    items,
    part_names,
    stem_of,
    volume_name,
    volumes,
)
from ninepic_mirror.errors import UsageError
from ninepic_mirror.model import HOUR
from tests.parcels import file, shot
from tests.shelf import SIX

if TYPE_CHECKING:
    from ninepic_mirror.delivery.catalogue import File, Shot


def picked(*shots: Shot) -> list[tuple[Shot, list[File]]]:
    """Return photos with all their files."""
    return [(one, list(one.files)) for one in shots]


def test_names_by_id() -> None:
    """Files keep the mirror's folders and names; the thumbnail among them is the gallery's."""
    (item,) = items(picked(shot("a", file("a", "thumbnail"), file("a"))))
    assert [entry.target for entry in item.entries] == [
        "data/2026-01-19/06/thumbnail/a.jpg", "data/2026-01-19/06/large/a.jpg",
    ]  # fmt: skip
    assert item.thumbnail == item.entries[0].target
    assert not item.is_thumbnail_made


def test_a_layout_with_a_percent_sign() -> None:
    """It is an underscore in a package: a manifest encodes it, and the usual tools do not decode that."""
    place = structs.replace(file("a"), path="100%/large/a.jpg")
    (item,) = items(picked(shot("a", place)))
    assert [entry.target for entry in item.entries] == ["data/100_/large/a.jpg"]


def test_names_by_time() -> None:
    """The camera's clock, else the hour, else undated, and a number in the order of capture."""
    found = items(
        picked(
            shot("u", taken=None),
            shot("b", at="2026-01-19T06:00:02"),
            shot("a", at="2026-01-19T06:00:01"),
            shot("h", taken=SIX + HOUR),
        ),
        "time",
        first=9,
    )
    assert [item.stem for item in found] == [
        "20260119-060001-0009", "20260119-060002-0010", "20260119-07-0011", "undated-0012",
    ]  # fmt: skip
    assert found[0].entries[0].target == "data/2026-01-19/06/large/20260119-060001-0009.jpg"


def test_variants_in_one_folder_keep_apart() -> None:
    """A layout may put the variants of a photo together: then their names tell them apart."""
    crowded = [
        structs.replace(file("a", v), path=f"2026/a-{v}.jpg") for v in ("thumbnail", "large")
    ]
    (item,) = items(picked(shot("a", *crowded)), "time")
    names = [PurePosixPath(entry.target).name for entry in item.entries]
    assert names == ["20260119-06-0001-thumbnail.jpg", "20260119-06-0001-large.jpg"]


def test_variants_whose_folders_become_one() -> None:
    """Where a pass that takes a `%` out of the layout was stopped half way, no file takes the other's place."""
    places = [
        structs.replace(file("a", "thumbnail"), path="2026%/a-thumbnail.jpg"),
        structs.replace(file("a", "large"), path="2026_/a-large.jpg"),
    ]
    (item,) = items(picked(shot("a", *places)), "time")
    assert len({entry.target for entry in item.entries}) == 2


def test_where_thumbnails_come_from() -> None:
    """From the entries, else from the mirror, else one is made; what no browser shows is none."""
    one = shot("a", file("a", "thumbnail", 7), file("a"))
    (copied,) = items([(one, [one.files[1]])])
    assert (copied.source, copied.thumbnail) == (one.files[0], "gallery/thumbnails/a.jpg")
    assert copied.room > copied.size + 7
    (made,) = items(picked(shot("a", file("a"))))
    assert (made.is_thumbnail_made, made.source) == (True, None)
    assert made.room > made.size + MADE_THUMBNAIL
    heic = shot("a", file("a", "thumbnail", ending="heic"), file("a"))
    (made,) = items(picked(heic))
    assert (made.is_thumbnail_made, made.thumbnail) == (True, "gallery/thumbnails/a.jpg")


@given(st.lists(st.integers(1, 1_000_000), max_size=30), st.integers(1_100_000, 4_000_000))
def test_volumes(sizes: list[int], most: int) -> None:
    """No volume is too large, none is empty, and photos keep their order, each in one of them."""
    photos = items(
        picked(*(shot(f"p{n}", file(f"p{n}", "thumbnail", size)) for n, size in enumerate(sizes)))
    )
    found = volumes(photos, most, 50_000)
    assert all(volume and sum(item.room for item in volume) <= most - 50_000 for volume in found)
    assert [item for volume in found for item in volume] == photos


def test_one_volume() -> None:
    """Without a size all is one."""
    photos = items(picked(shot("a"), shot("b")))
    assert volumes(photos, None, 0) == [photos]


def test_a_photo_larger_than_a_volume() -> None:
    """It is named."""
    with pytest.raises(UsageError, match="photo a "):
        volumes(items(picked(shot("a", file("a", size=10**7)))), 10**6, 0)


def test_names_of_volumes_and_parts() -> None:
    """Volumes sort in their order; parts are called readably where that is unique, and safely else."""
    assert volume_name(3, 12, "out") == "out-03-of-12"
    names = part_names(["Joseph D'Souza", "Zoë", "ASHA", "asha", "שלום", "con", "2026-01-19"])
    assert names["Joseph D'Souza"] == "joseph-d-souza"
    assert (names["Zoë"], names["2026-01-19"]) == ("zoe", "2026-01-19")
    assert all("~" in names[label] for label in ("ASHA", "שלום", "con"))
    assert len({name.casefold() for name in names.values()}) == len(names)


@pytest.mark.parametrize(
    ("name", "stem", "safe"),
    [
        ("marathon.zip", "marathon", True),
        ("मैराथन 2026.ZIP", "मैराथन 2026", True),
        ("a.zip.zip", "a.zip", True),
        ("plain", "plain", True),
        (".hidden", ".hidden", True),
        ("...zip", "..", False),
        (".zip", "", False),
        (".. .zip", ".. ", False),
        ("a\\..\\b.zip", "a\\..\\b", False),
        ("C:.zip", "C:", False),
        ("a\n.zip", "a\n", False),
    ],
)
def test_what_a_zip_unpacks_into(name: str, stem: str, safe: bool) -> None:
    """Its name without the suffix; it is safe if that is the name of a folder everywhere."""
    assert (stem_of(name), is_safe(stem)) == (stem, safe)
