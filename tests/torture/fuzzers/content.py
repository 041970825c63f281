"""A body is judged the same in whatever cut it comes, at once, and by the quick look at plain JPEGs."""

from __future__ import annotations

from typing import Final

from ninepic_mirror.archive.content import Content, ContentCheck, content_of, plain_jpeg
from ninepic_mirror.errors import PassingError, PhotoError
from tests.torture.fuzzers.spelling import Bytes, spell

FRAGMENTS: Final = (
    b"\xff\xd8\xff\xe0\x00\x04ab", b"\xff\xd8\xff", b"\xff\xd9", b"\xff\xc0\x00\x0b\x08\x00\x03\x00\x04\x01\x01\x11\x00",
    b"\xff\xda\x00\x08\x01\x01\x00\x00\x3f\x00", b"\xff\xfe\x00\x06abcd", b"\xff\x00", b"\xff\xd0", b"\xff\xff", b"\xff",
    b"\xff\xc2\x00\x07\x08\x00\x03\x00\x04", b"\xff\xc4\x00\x02", b"\x89PNG\r\n\x1a\n", b"\0\0\0\rIHDR\0\0\0\4\0\0\0\3\x08\0\0\0\0....",
    b"\0\0\0\1IDATx....", b"\0\0\0\0IEND....", b"RIFF", b"\x10\0\0\0WEBP", b"VP8 ", b"\0\0\0\x18ftypheic\0\0\0\0mif1heic",
    b"\0\0\0\x08meta", b"\0\0\0\x08mdat", b"\0\0\0\1mdat\0\0\0\0\0\0\0\x10", b"\0\0\0\0mdat", b"<html>", b"<?xml", b"{", b"[",
    b"\xef\xbb\xbf", b" ", b"\0", b"\x01", b"\x7f", b"\x80", b"\xd9", b"\xd8",
)  # fmt: skip


def check(data: bytes) -> None:
    """Judge a body three times; nothing is raised but PassingError and PhotoError."""
    source = Bytes(data)
    original, cut = source.number() % 2, source.number() % 64 + 1
    variant = ("large", "original")[original]
    body = spell(source.left, FRAGMENTS)
    whole: Content | type[Exception]
    try:
        whole = content_of(body, variant)  # type: ignore[arg-type]  # one of the two
    except (PassingError, PhotoError) as error:
        whole = type(error)
    fed: Content | type[Exception]
    watch = ContentCheck(variant)  # type: ignore[arg-type]  # one of the two
    try:
        for start in range(0, len(body), cut):
            watch.feed(body[start : start + cut])
        fed = watch.finish()
    except (PassingError, PhotoError) as error:
        fed = type(error)
    assert fed == whole, (fed, whole, body)
    plain = plain_jpeg(body)
    assert plain is None or plain == whole, (plain, whole, body)
    if isinstance(whole, Content) and whole.ext == ".jpg":
        assert body.startswith(b"\xff\xd8\xff")
        assert b"\xff\xd9" in body
        assert b"\xff\xda" in body
