"""Both lanes agree on what is the rest of a file (RELIABILITY N22), and never append anything else."""

from __future__ import annotations

from typing import Final

import httpx

from ninepic_mirror.errors import PassingError
from ninepic_mirror.ninepic.head import OddAnswerError, body_length, is_rest, read_head
from ninepic_mirror.ninepic.photos import _check_range
from tests.torture.fuzzers.spelling import Bytes, spell

FRAGMENTS: Final = (
    b"bytes ", b"bytes 5-9/10", b"5-9/10", b"5", b"9", b"10", b"-", b"/", b"*", b" ", b"0", b"\t", b",", b"+",
    b"99999999999999999999", b"bytes=", b"Bytes ", b"_",
)  # fmt: skip
VALIDATOR: Final = '"v"'


def check(data: bytes) -> None:
    """Judge a 206 by both lanes."""
    source = Bytes(data)
    offset, length = source.number() % 16, source.number() % 16
    etag = ("", 'ETag: "v"\r\n', 'ETag: "w"\r\n')[source.number() % 3]
    said = spell(source.left, FRAGMENTS)
    raw = b"HTTP/1.1 206 x\r\nContent-Length: %d\r\n%bContent-Range: %b\r\n\r\n" % (
        length, etag.encode(), said,
    )  # fmt: skip
    try:
        head = read_head(raw)
        fast = is_rest(head, body_length(head), offset, VALIDATOR)
    except OddAnswerError:
        return
    fields = {name.decode(): value for name, value in head.fields.items()}
    try:
        _check_range(httpx.Response(206, headers=fields), offset, VALIDATOR)
    except PassingError:
        slow = False
    else:
        slow = True
    assert slow == fast or length == 0, raw  # nothing at all is no rest to the fast lane
    if fast:
        text = fields["content-range"]
        assert text == f"bytes {offset}-{offset + length - 1}/{offset + length}" or "0" in text
        assert '"v"' in etag
