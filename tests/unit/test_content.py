"""What counts as a complete photo."""

from __future__ import annotations

import io
import itertools
import time
from contextlib import suppress
from random import Random
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from ninepic_mirror.archive.content import SNIFF, Content, ContentCheck, content_of, plain_jpeg
from ninepic_mirror.errors import MirrorError, PassingError, PhotoError
from tests.shelf import jpeg

if TYPE_CHECKING:
    from ninepic_mirror.model import Variant


def drawn(kind: str, **options: object) -> bytes:
    """Return a picture of 37 by 23 pixels as Pillow writes it."""
    picture = Image.radial_gradient("L").resize((37, 23)).convert("RGB")
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


def box(name: bytes, body: bytes, *, large: bool = False) -> bytes:
    """Return a box of ISO/IEC 14496-12 §4.2."""
    if large:
        return b"\0\0\0\1" + name + (len(body) + 16).to_bytes(8) + body
    return (len(body) + 8).to_bytes(4) + name + body


HEAD = box(b"ftyp", b"heic\0\0\0\0mif1heic")
HEIC = HEAD + box(b"meta", b"m" * 50) + box(b"mdat", b"d" * 700)
WHOLE = {
    "baseline": drawn("JPEG"),
    "progressive": drawn("JPEG", progressive=True, quality=90),
    "restarts": drawn("JPEG", restart_marker_blocks=1),
    "comment": jpeg("with a comment"),
    "png": drawn("PNG"),
    "webp": drawn("WEBP"),
    "heic": HEIC,
    "heic with a long box": HEAD + box(b"mdat", b"d" * 9, large=True) + box(b"meta", b"m"),
}
EXTENSIONS = {"png": ".png", "webp": ".webp", "heic": ".heic"}
kinds = st.sampled_from(sorted(WHOLE))


def check(body: bytes, cuts: list[int] | None = None, variant: Variant = "large") -> Content:
    """Feed a body in pieces cut at these places."""
    watch = ContentCheck(variant)
    edges = [0, *sorted(cuts or []), len(body)]
    for start, end in itertools.pairwise(edges):
        watch.feed(memoryview(body)[start:end])
    return watch.finish()


@pytest.mark.parametrize("kind", WHOLE)
def test_whole_pictures_pass(kind: str) -> None:
    """Each of the four types passes, with the extension of its content."""
    assert check(WHOLE[kind]).ext == EXTENSIONS.get(kind[:4], ".jpg")


def test_pixels_are_read() -> None:
    """JPEG and PNG tell their width and height, in any position of the frame header."""
    for kind in ("baseline", "progressive", "restarts", "png"):
        content = check(WHOLE[kind])
        assert (content.width, content.height) == (37, 23)


@given(kinds, st.data())
def test_cuts_change_nothing(kind: str, data: st.DataObject) -> None:
    """A body that arrives in any pieces is judged as in one."""
    body = WHOLE[kind]
    cuts = data.draw(st.lists(st.integers(0, len(body)), max_size=12))
    assert check(body, cuts) == check(body)


@pytest.mark.parametrize("kind", WHOLE)
def test_bytes_alone_pass(kind: str) -> None:
    """Nor does it matter when every byte comes alone."""
    body = WHOLE[kind]
    assert check(body, list(range(len(body)))) == check(body)


@pytest.mark.parametrize("kind", WHOLE)
def test_truncation_never_passes(kind: str) -> None:
    """A whole file cut at any byte is refused."""
    body = WHOLE[kind]
    for end in range(len(body)):
        with pytest.raises(MirrorError):
            check(body[:end], [end // 2])


@given(kinds, st.binary(max_size=200), st.data())
def test_bytes_behind_the_end_are_allowed(kind: str, tail: bytes, data: st.DataObject) -> None:
    """Cameras write more behind the end; where the cut falls does not matter (DESIGN §7)."""
    body = WHOLE[kind] + tail
    cut = data.draw(st.integers(0, len(body)))
    assert check(body, [cut]) == check(WHOLE[kind])


@given(
    st.binary(max_size=300),
    st.sampled_from([b"", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", HEAD, b"RIFF"]),
)
def test_any_bytes_end_in_an_answer(tail: bytes, head: bytes) -> None:
    """Whatever comes, it is a picture or a failure of ours, never another error."""
    with suppress(PassingError, PhotoError):
        assert check(head + tail, [3]).ext
    with suppress(PassingError, PhotoError):
        assert check(head + tail, [3], "original").ext


def test_a_box_to_the_end_is_the_last() -> None:
    """A HEIC's last box may leave out its length: the transfer's length vouches for it."""
    assert check(HEAD + box(b"meta", b"m") + b"\0\0\0\0mdat" + b"d" * 20).ext == ".heic"


@pytest.mark.parametrize(
    "body",
    [
        b"\xff\xd8\xff\xd9",
        b"\xff\xd8\xff\xfe\x00\x02\xff\xd9",
        b"\xff\xd8\xff\xc0\x00\x0b\x08\x00\x03\x00\x04\x01\x01\x11\x00\xff\xd9",
        b"\xff\xd8\xff\xda\x00\x02\x11\xff\xd9",
        b"\xff\xd8\xff\xfe\x00\x02\xff\x00\x00\x02\xff\xd9",
        b"\xff\xd8\xff\xd8\x00\x02" + jpeg()[2:],
        b"\xff\xd8\xff\xfe\x00\x01\xff\xd9",
        b"\xff\xd8\xff\xfe\x00\x02no marker",
        b"\x89PNG\r\n\x1a\n\0\0\0\0IEND\xae\x42\x60\x82",
        b"RIFF\0\0\0\0WEBP",
        HEAD + b"\0\0\0\7meta" + b"m" * 20,
        HEAD + b"\0\0\0\0mdat" + b"d" * 20,
        HEAD + b"\0\0\0\1mdat\0\0\0\0\0\0\0\x0f" + b"d" * 20,
    ],
)
def test_empty_frames_are_damaged(body: bytes) -> None:
    """What has the beginning and the end of a picture and no picture between is refused."""
    with pytest.raises(PassingError, match="damaged"):
        check(body)


def test_fill_bytes_and_lone_markers_are_walked_over() -> None:
    """0xFF may be repeated before a marker (T.81 B.1.1.2), and TEM has no length (table B.1)."""
    body = jpeg()
    assert check(b"\xff\xd8\xff\xff\xff\x01\xff\xff" + body[3:]).ext == ".jpg"
    assert check(body[:-2] + b"\xff\xff\xff\xd9").ext == ".jpg"


def test_a_scan_of_fill_bytes_costs_no_time() -> None:
    """A hostile body of nothing but 0xFF is passed over in linear time."""
    body = jpeg()[:-2] + b"\xff" * 2_000_000
    before = time.process_time()
    with pytest.raises(PassingError, match="breaks off"):
        check(body, list(range(0, len(body), 500_000)))
    assert time.process_time() - before < 0.5


@pytest.mark.parametrize(
    "page",
    [
        b"<html>",
        b"\xef\xbb\xbf<!DOCTYPE html>",
        b"\n" * 400 + b"<html><body>Please log in</body></html>",
        "<html>".encode("utf-16"),
        b"\xfe\xff" + "  <html>".encode("utf-16-be"),
    ],
)
@pytest.mark.parametrize("variant", ["thumbnail", "large", "original"])
def test_web_pages_are_passing_faults(page: bytes, variant: Variant) -> None:
    """A page instead of a photo is told apart, since captive portals do that (RELIABILITY N10)."""
    with pytest.raises(PassingError) as raised:
        check(page, [1], variant)
    assert raised.value.html


@pytest.mark.parametrize(
    "body",
    [
        *(b'{"error": 1}', b" [1]", b"<?xml version='1.0'?>", b" " * 900),
        *(b'"Access denied"', b"null\n", b" -1.5e3 ", b"\xef\xbb\xbffalse"),
        *('{"error": 1}'.encode("utf-16"), b"\xfe\xff" + '"no"'.encode("utf-16-be")),
    ],
)
@pytest.mark.parametrize("variant", ["large", "original"])
def test_data_is_no_photo(body: bytes, variant: Variant) -> None:
    """JSON, XML and blanks are no photo, and no retry will change that."""
    with pytest.raises(PhotoError):
        check(body, None, variant)


def test_nothing_is_a_passing_fault() -> None:
    """An empty body may be a photo next time."""
    with pytest.raises(PassingError, match="empty"):
        check(b"")


@pytest.mark.parametrize("body", [b"nullable" * 9, b"12 \0\1\2", b"II*\0\x10\0\0\0CR\2\0"])
def test_what_only_begins_like_data_may_be_an_original(body: bytes) -> None:
    """A raw file may begin with any bytes."""
    assert check(body, None, "original").ext == ".bin"


def test_originals_may_be_of_any_type() -> None:
    """An original of an unknown type is kept as it is, a watermarked file of one is refused."""
    raw = b"II*\0" + bytes(range(256)) * 4
    assert check(raw, [1, SNIFF], "original") == Content(".bin")
    assert check(b"\0\0\0\x3cftypcrx " + b"x" * 99, None, "original") == Content(".bin")
    with pytest.raises(PhotoError, match="no picture"):
        check(raw)


# --- whole bodies -----------------------------------------------------------------------------------------------

VARIANT: st.SearchStrategy[Variant] = st.sampled_from(["thumbnail", "large", "original"])
PAGES = [
    b"<html>",
    b"\n" * 400 + b"<html>",
    "<html>".encode("utf-16"),
    b'{"error": 1}',
    b"<?xml?>",
    b" " * 900,
]
RAW = b"II*\0" + bytes(range(256)) * 4
BODIES = st.sampled_from(
    [*WHOLE.values(), *PAGES, RAW, b"", jpeg("x", 3_000), drawn("PNG") + b"tail"]
)


def judged(body: bytes, cuts: list[int] | None, variant: Variant) -> Content | tuple[object, ...]:
    """Return what is said of a body, or of what kind and text the error is; at once for no cuts.

    Where the quick look says anything, it must be what the careful one says.
    """
    try:
        if cuts is None:
            whole = memoryview(bytearray(body))
            content = content_of(whole, variant)
            assert plain_jpeg(whole) in {None, content}
            return content
        return check(body, cuts, variant)
    except PassingError as error:
        assert cuts is not None or plain_jpeg(body) is None
        return PassingError, str(error), error.html
    except PhotoError as error:
        return PhotoError, str(error)


@given(BODIES, VARIANT, st.data())
def test_at_once_is_as_in_pieces(body: bytes, variant: Variant, data: st.DataObject) -> None:
    """A body that is all there is judged like one that arrives in any pieces: whole, cut short, damaged, or no photo."""
    if body:
        match data.draw(st.sampled_from(["whole", "cut", "damaged", "longer"])):
            case "cut":
                body = body[: data.draw(st.integers(0, len(body)))]
            case "damaged":
                at = data.draw(st.integers(0, len(body) - 1))
                some = data.draw(st.binary(min_size=1, max_size=4))
                body = body[:at] + some + body[at + len(some) :]
            case "longer":
                body += data.draw(st.binary(max_size=40))
            case _:
                pass
    cuts = data.draw(st.lists(st.integers(0, len(body)), max_size=8))
    assert judged(body, None, variant) == judged(body, cuts, variant)


@given(
    st.binary(max_size=300),
    st.sampled_from(
        [b"", b"\xff\xd8", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", HEAD, b"RIFF\x20\0\0\0WEBP"]
    ),
    VARIANT,
)
def test_of_any_bytes_both_say_the_same(tail: bytes, head: bytes, variant: Variant) -> None:
    """Whatever comes, both give one answer, and it is a picture or a failure of ours."""
    assert judged(head + tail, None, variant) == judged(head + tail, [3, 20], variant)


@given(
    st.lists(
        st.sampled_from([b"\xff", b"\x00", b"\xd0", b"\xd9", b"\xda", b"\x01", b"\x00\x02"]),
        max_size=30,
    )
)
def test_of_any_markers_both_say_the_same(parts: list[bytes]) -> None:
    """Fill bytes, stuffing, restarts and ends in any order, where a scan goes on or a segment is due."""
    start = jpeg()[:-9]
    for head in (start, b"\xff\xd8\xff\xfe\x00\x02"):
        body = head + b"".join(parts)
        every = list(range(len(head), len(body)))
        assert judged(body, None, "large") == judged(body, every, "large")


@pytest.mark.parametrize("kind", WHOLE)
def test_a_whole_body_cut_anywhere_is_refused_alike(kind: str) -> None:
    """At every byte, a body cut short gets the same refusal at once as in pieces; whole, the same answer."""
    body = WHOLE[kind]
    assert content_of(body, "large") == check(body)
    for end in range(len(body)):
        said = judged(body[:end], None, "large")
        assert not isinstance(said, Content)
        assert said == judged(body[:end], [end // 2], "large")


def test_a_room_larger_than_the_body_is_not_looked_into() -> None:
    """What an earlier body left behind in a room does not complete a later one that was cut short."""
    body = WHOLE["baseline"]
    room = bytearray(body)
    assert content_of(memoryview(room), "large").ext == ".jpg"
    assert plain_jpeg(memoryview(room)) == content_of(memoryview(room), "large")
    assert plain_jpeg(memoryview(room)[:-1]) is None
    with pytest.raises(PassingError, match="breaks off"):
        content_of(memoryview(room)[:-1], "large")


def photographed(width: int, height: int, quality: int, seed: int, **options: object) -> bytes:
    """Return a noisy JPEG with an EXIF thumbnail, a JPEG of its own: end marker and all."""
    picture = Image.frombytes("L", (width, height), Random(seed).randbytes(width * height))
    picture = picture.convert("RGB")
    thumbnail = b"Exif\0\0" + b"MM\0*" + drawn("JPEG")
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=quality, exif=thumbnail, **options)
    return buffer.getvalue()


@given(
    st.integers(8, 120),
    st.integers(8, 120),
    st.integers(5, 98),
    st.integers(0, 2**32),
    st.booleans(),
    st.integers(0, 3),
    st.data(),
)
def test_the_quick_look_refuses_every_truncation(
    width: int, height: int, quality: int, seed: int, progressive: bool, restarts: int, data: st.DataObject
) -> None:  # fmt: skip
    """Of real JPEGs, in one scan or in many, none that was cut passes for whole: a scan has no end marker inside."""
    whole = photographed(
        width, height, quality, seed, progressive=progressive, restart_marker_blocks=restarts
    )
    assert plain_jpeg(whole) == Content(".jpg", width, height) == check(whole)
    some = data.draw(st.lists(st.integers(0, len(whole) - 1), max_size=40))
    # every place where 0xFF stands before the cut, or the byte of an end marker
    telling = [at + 1 for at in range(len(whole) - 1) if whole[at] in {0xD9, 0xFF}]
    for end in {*some, *telling}:
        assert plain_jpeg(whole[:end]) is None


def test_the_end_of_a_thumbnail_is_no_end() -> None:
    """A photo that breaks off right behind the end marker of its EXIF thumbnail is not whole."""
    whole = photographed(40, 30, 80, 50)
    end = whole.index(b"\xff\xd9") + 2
    assert end < len(whole)
    assert plain_jpeg(whole[:end]) is None
    with pytest.raises(PassingError, match="breaks off"):
        content_of(whole[:end], "large")


def test_scans_that_end_well_are_not_walked() -> None:
    """A stray marker within a scan is found by nobody where the very end is the end marker, and by all elsewhere."""
    whole = WHOLE["baseline"]
    scan = whole.index(b"\xff\xda") + 2
    scan += int.from_bytes(whole[scan : scan + 2])
    damaged = whole[:scan] + b"\x5a\xff\x03\x5a" * 9 + b"\x12\xff\x00\xff\xd9"
    assert plain_jpeg(damaged) == content_of(damaged, "large") == check(damaged) == check(whole)
    assert check(damaged, [7, scan + 3, scan + 4, len(damaged) - 1]) == check(whole)
    for body in (damaged + b"\0", damaged[:-1]):
        assert plain_jpeg(body) is None
        for look in (lambda body: content_of(body, "large"), check):
            with pytest.raises(PassingError):
                look(body)


def test_the_quick_look_takes_plain_pictures_and_leaves_the_rest() -> None:
    """JPEGs of one scan and of several are recognised at once; other types, and what would take long, are left."""
    assert plain_jpeg(WHOLE["baseline"]) == check(WHOLE["baseline"])
    assert plain_jpeg(WHOLE["progressive"]) == check(WHOLE["progressive"])
    assert [plain_jpeg(WHOLE[kind]) for kind in WHOLE if kind in {"png", "webp", "heic"}] == [
        None
    ] * 3
    comment = b"\xff\xfe\x00\x02"
    many = jpeg()[:2] + comment * 300 + jpeg()[2:]
    assert plain_jpeg(many) is None
    assert content_of(many, "large") == check(jpeg())
