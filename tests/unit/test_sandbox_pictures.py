"""Pictures of the sandbox: real JPEGs, each different, with EXIF, of the sizes that were asked for."""

from __future__ import annotations

from dataclasses import replace
from io import BytesIO
from typing import Literal

import pytest
from PIL import ExifTags, Image

from ninepic_mirror.sandbox import pictures
from ninepic_mirror.sandbox.pictures import Gallery, Shot, Sizes

SHOT = Shot(
    name="a4402318",
    seed=7,
    captured=1768800000,
    bibs=("M1001", "M1002"),
    portrait=False,
    trailing=False,
    version=0,
    sizes=Sizes(18, 120, (1, 2)),
    drawn=True,
    title="Mumbai Marathon 2026",
)


def opened(body: bytes) -> Image.Image:
    """Return a picture that was decoded to its end."""
    picture = Image.open(BytesIO(body))
    picture.load()
    return picture


@pytest.mark.parametrize(
    ("variant", "edge", "least", "most"), [("thumbnail", 300, 8, 30), ("large", 1200, 100, 350)]
)
def test_drawn_sizes(variant: str, edge: int, least: int, most: int) -> None:
    """Drawn pictures have the pixels and about the bytes of real ones."""
    body = Gallery().body(SHOT, variant)
    assert opened(body).size == (edge, edge * 2 // 3)
    assert least < len(body) / 1000 < most


def test_drawn_pictures_differ() -> None:
    """Another seed, another version or another hour is another picture."""
    others = [
        SHOT,
        replace(SHOT, seed=8),
        replace(SHOT, version=1),
        replace(SHOT, captured=1768760000),
    ]
    pixels = {opened(Gallery().body(shot, "thumbnail")).tobytes() for shot in others}
    assert len(pixels) == 4


def test_drawn_again_is_equal() -> None:
    """The same shot has the same bytes in every run, from the cache or not."""
    gallery = Gallery()
    first = gallery.body(SHOT, "thumbnail")
    assert gallery.cheap_body(SHOT, "thumbnail") == first
    assert Gallery().body(SHOT, "thumbnail") == first


def test_exif_names_the_photographer() -> None:
    """A drawn picture tells artist, camera, its serial number and the local time."""
    exif = opened(Gallery().body(SHOT, "large")).getexif()
    inner = exif.get_ifd(ExifTags.IFD.Exif)
    assert exif[ExifTags.Base.Artist] == "Farah Khan"
    assert exif[ExifTags.Base.Model] == "ILCE-7M4"
    assert inner[ExifTags.Base.BodySerialNumber] == "05412207"
    assert inner[ExifTags.Base.DateTimeOriginal] == "2026:01:19 05:20:00"


def test_a_camera_without_a_clock() -> None:
    """An undated photo has no time in its EXIF."""
    exif = opened(Gallery().body(replace(SHOT, captured=None), "thumbnail")).getexif()
    assert ExifTags.Base.DateTimeOriginal not in exif.get_ifd(ExifTags.IFD.Exif)


@pytest.mark.parametrize("drawn", [True, False])
def test_originals_are_big(drawn: bool) -> None:
    """An original has a size between the two that were asked for, and is a whole JPEG."""
    body = Gallery().body(replace(SHOT, drawn=drawn), "original")
    assert 1_000_000 <= len(body) <= 2_001_000
    assert body.endswith(b"\xff\xd9")
    opened(body)


@pytest.mark.parametrize("variant", ["thumbnail", "large"])
@pytest.mark.parametrize("kilobytes", [0.6, 18, 500])
def test_cheap_sizes(variant: Literal["thumbnail", "large"], kilobytes: float) -> None:
    """Cheap pictures have the size that was asked for, within a label's length, down to tiny ones."""
    shot = replace(SHOT, drawn=False, sizes=Sizes(kilobytes, kilobytes, (1, 2)))
    body = Gallery().body(shot, variant)
    assert abs(len(body) - kilobytes * 1000) < 200
    opened(body)


def test_cheap_pictures_differ_by_name() -> None:
    """Two cheap photos never have equal bytes by chance."""
    shots = [replace(SHOT, drawn=False, name=name) for name in ("one", "two")]
    assert len({Gallery().body(shot, "large") for shot in shots}) == 2


def test_trailing_bytes_follow_the_end_marker() -> None:
    """A picture with bytes after its end marker still opens."""
    body = Gallery().body(replace(SHOT, trailing=True), "thumbnail")
    assert body.endswith(b"\xff\xd9" + pictures.TRAILER)
    opened(body)


def test_cache_forgets_the_oldest(monkeypatch: pytest.MonkeyPatch) -> None:
    """The cache holds no more bytes than its limit and lets go what was not asked for."""
    monkeypatch.setattr(pictures, "_CACHE", 50_000)
    gallery = Gallery()
    for seed in range(5):
        gallery.body(replace(SHOT, seed=seed), "thumbnail")
    assert gallery.cheap_body(replace(SHOT, seed=0), "thumbnail") is None
    assert gallery.cheap_body(replace(SHOT, seed=4), "thumbnail") is not None


@pytest.mark.parametrize("hour", range(0, 24, 3))
def test_every_hour_has_light(hour: int) -> None:
    """A picture can be drawn for any time of day, held upright too."""
    shot = replace(SHOT, captured=hour * 3600, portrait=True, bibs=())
    assert opened(Gallery().body(shot, "thumbnail")).size == (200, 300)
