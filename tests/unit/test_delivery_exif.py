"""EXIF is found in files of all types, and damage in it is seen. Pillow writes it, and says what is right."""

from __future__ import annotations

import io
import struct
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from ninepic_mirror.delivery import exif

if TYPE_CHECKING:
    from ninepic_mirror.delivery.exif import Pull

ARTIST, BODY, TAKEN, INNER = 0x013B, 0xA431, 0x9003, 0x8769
WANTED = frozenset({ARTIST, BODY, TAKEN})
ASCII = st.text(st.characters(min_codepoint=32, max_codepoint=126), min_size=1, max_size=40)


def pull(data: bytes) -> Pull:
    """Return what gives a file's bytes."""
    return lambda place, count: data[place : place + count]


def tables(
    data: bytes, *, strict: bool = True
) -> tuple[dict[int, str | bytes], dict[int, str | bytes]]:
    """Read a file."""
    return exif.tables(pull(data), WANTED, strict=strict)


def picture(kind: str = "JPEG", **more: object) -> bytes:
    """Return a small picture."""
    place = io.BytesIO()
    Image.new("RGB", (8, 6), 90).save(place, kind, **more)
    return place.getvalue()


def written(top: dict[int, object], inner: dict[int, object]) -> Image.Exif:
    """Return EXIF as Pillow writes it."""
    made = Image.Exif()
    made.update({0x0112: 1} | top)  # of some types it leaves out what is empty
    if inner:
        made.get_ifd(INNER).update(inner)
    return made


@given(
    st.dictionaries(st.sampled_from([ARTIST, 0x010F, 0x0110]), ASCII),
    st.dictionaries(st.sampled_from([BODY, TAKEN, 0x9004]), ASCII),
    st.sampled_from(["JPEG", "PNG", "WEBP", "TIFF"]),
)
def test_what_pillow_writes_is_read(
    top: dict[int, object], inner: dict[int, object], kind: str
) -> None:
    """Every text that is wanted, and no other, from a picture of any type, as Pillow itself reads it."""
    data = picture(kind, exif=written(top, inner))
    with Image.open(io.BytesIO(data)) as opened:
        said = opened.getexif()
        for table, right in zip(tables(data), (said, said.get_ifd(INNER)), strict=True):
            assert table == {tag: text for tag, text in right.items() if tag in WANTED}
        assert (said.get(ARTIST) == top.get(ARTIST)) or kind == "TIFF"


def tiff(order: str, *entries: tuple[int, int, int, bytes], rest: bytes = b"") -> bytes:
    """Return a TIFF of one table, the last; `rest` stands behind it."""
    head = {"<": b"II*\0", ">": b"MM\0*"}[order] + struct.pack(order + "LH", 8, len(entries))
    return head + b"".join(struct.pack(order + "HHL4s", *one) for one in entries) + bytes(4) + rest


def jpeg(*segments: tuple[int, bytes], scan: bytes = b"\xff\xda") -> bytes:
    """Return the head of a JPEG."""
    made = (struct.pack(">BBH", 0xFF, kind, 2 + len(data)) + data for kind, data in segments)
    return b"\xff\xd8" + b"".join(made) + scan + bytes(4)


@pytest.mark.parametrize("order", ["<", ">"])
def test_both_byte_orders(order: str) -> None:
    """A text of up to four bytes stands in its entry."""
    data = tiff(order, (ARTIST, 2, 4, b"Asa\0"), (TAKEN, 7, 2, b"Zo\0\0"))
    assert tables(data) == ({ARTIST: "Asa", TAKEN: b"Zo"}, {})


def test_exif_may_stand_behind_other_segments() -> None:
    """Such as XMP and what fills up."""
    body = b"Exif\0\0" + tiff("<", (ARTIST, 2, 4, b"Asa\0"))
    data = jpeg((0xE0, b"JFIF"), (0xE1, b"http://ns.adobe.com/xap/1.0/\0..."), (0xE1, body))
    assert tables(data)[0] == {ARTIST: "Asa"}
    assert tables(data[:2] + b"\xff\xff" + data[2:])[0] == {ARTIST: "Asa"}


def test_the_mark_of_a_jpeg_in_others() -> None:
    """Programs write it into PNG and WebP, too."""
    body = tiff("<", (ARTIST, 2, 4, b"Asa\0"))
    for found in (body, b"Exif\0\0" + body):
        png = b"\x89PNG\r\n\x1a\n" + struct.pack(">L4s", len(found), b"eXIf") + found
        odd = struct.pack("<4sL", b"XMP ", 3) + b"abc\0"
        webp = b"RIFF\0\0\0\0WEBP" + odd + struct.pack("<4sL", b"EXIF", len(found)) + found
        assert tables(png)[0] == tables(webp)[0] == {ARTIST: "Asa"}


@pytest.mark.parametrize(
    "data",
    [
        picture(),
        picture("PNG"),
        picture("WEBP"),
        jpeg(scan=b"\xff\xd9"),
        jpeg(*[(0xFE, b"")] * 1500),
        b"\x89PNG\r\n\x1a\n" + struct.pack(">L4sL", 0, b"IDAT", 0) * 1500,
        b"RIFF\0\0\0\0WEBP" + struct.pack("<4sL", b"odd ", 0) * 1500,
    ],
)
def test_pictures_without_exif(data: bytes) -> None:
    """Nothing is said; what has no end is not followed to it."""
    assert tables(data) == ({}, {})


NAMED = (ARTIST, 2, 4, b"Asa\0")
NAME: dict[int, str | bytes] = {ARTIST: "Asa"}


def exif_of(order: str, *entries: tuple[int, int, int, bytes]) -> tuple[int, bytes]:
    """Return a segment with EXIF of one table."""
    return 0xE1, b"Exif\0\0" + tiff(order, *entries)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize(
    "entry",
    [
        (0x927C, 7, 60_000, struct.pack("=L", 40)),  # what a maker keeps, and a program moved
        (0x9286, 129, 4, b"call"),
        (0x0110, 99, 1 << 31, b"    "),
        (INNER, 3, 2, b"\1\0\2\0"),
        (INNER, 2, 4, b"here"),
        (INNER, 4, 1, bytes(4)),
        (BODY, 3, 2, b"\1\0\2\0"),
        (ARTIST, 2, 4, b"Two\0"),
    ],
)
def test_what_is_not_wanted_is_in_nobodys_way(
    order: str, entry: tuple[int, int, int, bytes]
) -> None:
    """What is odd in another value hides no name; in a number, where the bytes are known to be right."""
    data = jpeg(exif_of(order, NAMED, entry))
    assert tables(data, strict=False) == (NAME, {})
    if entry[0] not in {INNER, BODY}:
        assert tables(data) == (NAME, {})
    assert tables(jpeg((0xE1, b"FLIR\0" + bytes(40)), exif_of(order, NAMED)))[0] == NAME
    # what stands behind the last entry, in some files nothing, is not looked at
    assert tables(tiff(order, NAMED)[:-4])[0] == NAME


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (tiff("<", NAMED, (INNER, 4, 1, b"\xff\xff\0\0")), (NAME, {})),
        (tiff(">", NAMED, (INNER, 4, 1, b"\0\0\xff\xff")), (NAME, {})),
        (tiff("<", NAMED)[:-4].replace(b"\1\0", b"\7\0", 1), (NAME, {})),
        (tiff("<", (ARTIST, 2, 99, b"\xff\xff\0\0"), (BODY, 2, 3, b"123\0")), ({BODY: "123"}, {})),
        (b"\xff\xd8junk", ({}, {})),
        (b"junk", ({}, {})),
        (b"", ({}, {})),
        (jpeg((0xE1, b"Exif\0\0")), ({}, {})),
    ],
)
def test_damage_that_is_forgiven(
    data: bytes, told: tuple[dict[int, str | bytes], dict[int, str | bytes]]
) -> None:
    """What can be read in spite of it is, where the bytes are known to be right."""
    assert tables(data, strict=False) == told
    with pytest.raises(ValueError):  # noqa: PT011  whatever it says
        tables(data)


def test_huge_values_are_not_fetched() -> None:
    """Tables of thousands of values, which all claim to be long, take no memory; nor is much of a file read."""
    many = [(0x1000 + n, 7, 1 << 18, struct.pack("<L", 8)) for n in range(2000)]
    data = tiff("<", NAMED, *many, rest=bytes(1 << 20))
    asked = 0

    def pull(place: int, count: int) -> bytes:
        nonlocal asked
        asked += count
        return data[place : place + count]

    assert exif.tables(pull, WANTED) == (NAME, {})
    assert asked < 300_000


BEYOND = (ARTIST, 2, 40, struct.pack("<L", 26))
LOOP = tiff("<", (INNER, 4, 1, struct.pack("<L", 8)), (ARTIST, 2, 4, b"Asa\0"))


def test_a_table_that_names_itself() -> None:
    """It is read twice, and no more."""
    assert tables(LOOP) == ({ARTIST: "Asa"}, {ARTIST: "Asa"})


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"junk",
        bytes(1000),
        b"\xff\xd8",
        b"\xff\xd8junk",
        b"\xff\xd8\xff\xfe",
        jpeg((0xE1, b"exif\0\0")),
        # a text that would end behind its segment, and one behind the file
        jpeg((0xE1, b"Exif\0\0" + tiff("<", BEYOND, rest=b"Asha")), (0xFE, bytes(99))),
        tiff("<", BEYOND, rest=b"Asha"),
        # a name of numbers, of which Pillow warns that they stand beyond the end
        tiff("<", (ARTIST, 3, 9_999, struct.pack("<L", 8))),
        jpeg((0xE1, b"Exif\0\0")),
        jpeg((0xE1, b"Exif\0\0" + tiff("<").replace(b"*", b"+"))),
        b"\x89PNG\r\n\x1a\n" + b"\0\0",
        b"RIFF\0\0\0\0WEBP" + b"EX",
        tiff("<")[:8] + b"\xff\xff",
        tiff("<")[:8] + b"\x01\0" + b"short",
        b"II*\0\xff\xff\xff\xff",
    ],
)
def test_what_is_not_well_formed(data: bytes) -> None:
    """It is told, so that somebody may look closer."""
    with pytest.raises(ValueError):  # noqa: PT011  whatever it says
        tables(data)


@given(st.binary(max_size=60), st.sampled_from([picture(exif=written({ARTIST: "Asha"}, {})), LOOP]))
def test_anything_ends(noise: bytes, data: bytes) -> None:
    """Damage anywhere is told or does no harm."""
    for place in (2, 8, 20, 30):
        broken = data[:place] + noise + data[place + len(noise) :]
        try:
            tables(broken)
        except ValueError:
            tables(broken, strict=False)
