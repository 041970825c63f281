"""What cameras wrote, and thumbnails that are made."""

from __future__ import annotations

import io
import os
import struct
import threading
from typing import TYPE_CHECKING

import pytest
from PIL import Image

from ninepic_mirror.archive.files import Tree
from ninepic_mirror.archive.verify import Entry
from ninepic_mirror.delivery import artists, thumbnails
from ninepic_mirror.delivery.catalogue import Camera, File
from ninepic_mirror.delivery.plan import MADE_THUMBNAIL
from ninepic_mirror.delivery.source import Source
from ninepic_mirror.errors import DamagedError
from tests.shelf import sha256

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PHOTO = "1" * 64  # a hash
ARTIST, BODY, TAKEN, TURNED = 0x013B, 0xA431, 0x9003, 0x0112


@pytest.mark.parametrize(
    ("top", "inner", "camera"),
    [
        ({}, {}, Camera()),
        ({ARTIST: b" Asha  Patil \0junk"}, {BODY: b"123"}, Camera("Asha Patil")),
        ({ARTIST: b"   "}, {BODY: b"123"}, Camera("123")),
        ({ARTIST: b""}, {BODY: b"\0"}, Camera()),
        ({ARTIST: "Zoë".encode()}, {}, Camera("Zoë")),
        ({ARTIST: b"Zo\xeb"}, {}, Camera("Zoë")),
        ({ARTIST: b"x" * 500}, {}, Camera("x" * 200)),
        ({}, {TAKEN: b"2026:01:19 06:12:13"}, Camera(None, "2026-01-19T06:12:13")),
        ({}, {TAKEN: b"2026:13:19 06:12:13"}, Camera()),
        ({}, {TAKEN: b"    :  :     :  :  "}, Camera()),
    ],
)
def test_what_exif_says(top: dict[int, bytes], inner: dict[int, bytes], camera: Camera) -> None:
    """The artist, else the body; a time that is one; in any of the ways in which programs write them."""
    assert artists.told(top, inner) == camera


def saved(
    path: Path, size: tuple[int, int], turned: int = 1, mode: str = "RGB", **texts: object
) -> int:
    """Save a picture and open it."""
    exif = Image.Exif()
    exif[TURNED] = turned
    if "artist" in texts:
        exif[ARTIST] = texts["artist"]
    Image.new(mode, size, 90).save(path, exif=exif)
    return os.open(path, os.O_RDONLY)


@pytest.mark.parametrize("length", [0, 40, 1 << 20])
@pytest.mark.parametrize("ending", ["jpg", "png", "webp", "tif"])
def test_pictures_are_read(tmp_path: Path, ending: str, length: int) -> None:
    """Whatever their type, and however much of them is at hand."""
    path = tmp_path / f"a.{ending}"
    descriptor = saved(path, (8, 6), artist="Asha")
    assert artists.read(descriptor, path.read_bytes()[:length]) == Camera("Asha")
    os.close(descriptor)


def test_what_is_no_picture(tmp_path: Path) -> None:
    """Nothing is known of it, and nothing is made of it."""
    (tmp_path / "a").write_bytes(b"\xff\xd8junk")
    descriptor = os.open(tmp_path / "a", os.O_RDONLY)
    with pytest.raises(ValueError, match="no marker"):
        artists.read(descriptor, b"")
    assert thumbnails.make(descriptor, PHOTO) is None
    os.close(descriptor)


@pytest.mark.parametrize(("turned", "size"), [(1, (360, 240)), (6, (240, 360))])
def test_thumbnails_are_upright(tmp_path: Path, turned: int, size: tuple[int, int]) -> None:
    """They are small and turned as the camera was held."""
    thumbnails.prepare()
    descriptor = saved(tmp_path / "a.jpg", (1500, 1000), turned)
    data = thumbnails.make(descriptor, PHOTO)
    os.close(descriptor)
    assert data is not None
    with Image.open(io.BytesIO(data)) as made:
        assert (made.size, made.format) == (size, "JPEG")


def test_thumbnails_say_what_they_are_of(tmp_path: Path) -> None:
    """Whole, and of this photo: else it is none; what the camera wrote as a comment does not get into it."""
    Image.new("RGB", (900, 600), 90).save(tmp_path / "a.jpg", comment=b"call 98200 12345")
    descriptor = os.open(tmp_path / "a.jpg", os.O_RDONLY)
    data = thumbnails.make(descriptor, PHOTO)
    os.close(descriptor)
    assert data is not None
    assert thumbnails.is_of(data, PHOTO)
    assert not thumbnails.is_of(data[:-1], PHOTO)
    assert not thumbnails.is_of(data, "2" * 64)
    assert b"98200" not in data


def test_noise_fits_too(tmp_path: Path) -> None:
    """A picture that can hardly be compressed becomes coarse rather than large; one of another mode is taken."""
    Image.effect_noise((720, 720), 200).save(tmp_path / "a.png")
    descriptor = os.open(tmp_path / "a.png", os.O_RDONLY)
    data = thumbnails.make(descriptor, PHOTO)
    os.close(descriptor)
    assert data is not None
    assert len(data) <= MADE_THUMBNAIL


def test_huge_pictures_are_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file of a few kB may claim to have billions of pixels."""
    monkeypatch.setattr(thumbnails, "_MOST_PIXELS", 40)
    descriptor = saved(tmp_path / "a.png", (8, 6))
    assert thumbnails.make(descriptor, PHOTO) is None
    os.close(descriptor)


class Mirror:
    """A photo of the mirror, and its row."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.tree = folder, Tree(folder, durable=False)
        os.close(saved(folder / "a.jpg", (8, 8), artist="Asha"))
        data = (folder / "a.jpg").read_bytes()
        self.file = File("a", "large", "a.jpg", len(data), sha256(data))
        self.row = Entry("a", "large", "a.jpg", len(data), sha256(data), 0, "present", None)
        self.source = Source(456, self.tree, lambda _: self.row, threading.Event())

    def find(self) -> tuple[File, Camera]:
        """Read it."""
        return artists.find([self.file], self.source, self.tree)


@pytest.fixture
def mirror(tmp_path: Path) -> Iterator[Mirror]:
    """A mirror of one photo."""
    made = Mirror(tmp_path)
    yield made
    made.tree.close()


def test_a_photo_is_read_where_it_is_now(mirror: Mirror) -> None:
    """A file that a pass has moved or replaced is looked up again, and told as it is by then."""
    assert mirror.find() == (mirror.file, Camera("Asha"))
    os.close(saved(mirror.folder / "b.jpg", (8, 8), artist="Dev"))
    data = (mirror.folder / "b.jpg").read_bytes()
    (mirror.folder / "a.jpg").unlink()
    mirror.row = Entry("a", "large", "b.jpg", len(data), sha256(data), 0, "present", None)
    assert mirror.find() == (File("a", "large", "b.jpg", len(data), sha256(data)), Camera("Dev"))


@pytest.mark.parametrize("fault", ["gone", "flipped", "short", "blank"])
def test_nothing_is_told_of_other_bytes(mirror: Mirror, fault: str) -> None:
    """A file that is not what was recorded stops with its name, where its head shows it."""
    place = mirror.folder / "a.jpg"
    data = place.read_bytes()
    place.unlink()
    if fault == "flipped":
        place.write_bytes(data.replace(b"Exif", b"exif"))
    elif fault == "short":
        place.write_bytes(data[:-1])
    elif fault == "blank":
        place.write_bytes(bytes(len(data)))
    with pytest.raises(DamagedError) as raised:
        mirror.find()
    assert raised.value.path == "a.jpg"


def test_only_the_head_is_read(mirror: Mirror) -> None:
    """Of a photo that is not copied; what stands behind is looked at when it is."""
    place = mirror.folder / "a.jpg"
    data = bytearray(place.read_bytes())
    data[-1] ^= 1
    place.write_bytes(data)
    assert mirror.find() == (mirror.file, Camera("Asha"))


def test_what_was_seen_is_not_read_again(mirror: Mirror) -> None:
    """A photo that was copied told it on its way, once its hash was right; others are not looked at."""
    mirror.source = Source(456, mirror.tree, lambda _: mirror.row, threading.Event(), {"a"})
    assert mirror.source.read(mirror.tree, mirror.file, len) is None
    (mirror.folder / "a.jpg").unlink()
    assert mirror.find() == (mirror.file, Camera("Asha"))
    other = File("b", "large", "b.jpg", 4, sha256(b"junk"))
    (mirror.folder / "b.jpg").write_bytes(b"junk")
    assert mirror.source.read(mirror.tree, other, len) is None
    assert set(mirror.source.cameras) == {mirror.file}


@pytest.mark.parametrize(
    ("data", "camera"),
    [(b"\xff\xd8\xff\xe1\0\x10FLIR\0\0\0\0\0\0\0\0\0\0", Camera()), (b"", Camera())],
)
def test_an_odd_photo_that_is_whole(tmp_path: Path, data: bytes, camera: Camera) -> None:
    """It is hashed, and nothing is known of it."""
    (tmp_path / "a.jpg").write_bytes(data)
    with Tree(tmp_path, durable=False) as tree:
        source = Source(456, tree, lambda _: None, threading.Event(), {"a"})
        file = File("a", "large", "a.jpg", len(data), sha256(data))
        assert artists.find([file], source, tree) == (file, camera)


def test_a_whole_photo_with_damaged_exif(mirror: Mirror) -> None:
    """Once its bytes are known to be right, what a program did to its EXIF hides no name, whether it is copied or not."""
    artist = struct.pack("<HHL4s", ARTIST, 2, 4, b"Dev\0")
    beyond = struct.pack("<HHLL", 0x8769, 4, 1, 9999)
    body = b"Exif\0\0II*\0" + struct.pack("<LH", 8, 2) + artist + beyond + bytes(4)
    data = struct.pack(">HHH", 0xFFD8, 0xFFE1, 2 + len(body)) + body + b"\xff\xda\0\0"
    (mirror.folder / "a.jpg").unlink()
    (mirror.folder / "a.jpg").write_bytes(data)
    file = File("a", "large", "a.jpg", len(data), sha256(data))
    assert artists.find([file], mirror.source, mirror.tree) == (file, Camera("Dev"))
    copied = Source(456, mirror.tree, lambda _: None, threading.Event(), {"a"})
    assert copied.read(mirror.tree, file, len) is None
    assert copied.cameras == {file: Camera("Dev")}


def test_the_first_file_that_names_somebody(tmp_path: Path) -> None:
    """Where the best file tells nothing, the next one is asked; the clock is that of the first that has one."""
    with Tree(tmp_path, durable=False) as tree:
        (tmp_path / "a.heic").write_bytes(b"\0\0\0\x18ftypheic")
        os.close(saved(tmp_path / "b.jpg", (8, 8)))
        os.close(saved(tmp_path / "c.jpg", (8, 8), artist="Asha"))
        files = []
        for variant, name in (("original", "a.heic"), ("large", "b.jpg"), ("thumbnail", "c.jpg")):
            data = (tmp_path / name).read_bytes()
            files.append(File("a", variant, name, len(data), sha256(data)))  # type: ignore[arg-type]  # they are
        source = Source(456, tree, lambda _: None, threading.Event())
        assert artists.find(files, source, tree) == (files[0], Camera("Asha"))
        assert artists.find(files[:2], source, tree) == (files[0], Camera())
        assert artists.find(files[::-1], source, tree) == (files[2], Camera("Asha"))
