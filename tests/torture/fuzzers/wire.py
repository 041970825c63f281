"""Whatever the service answers is understood or refused, and the quick way of reading a page says what the careful one says."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from ninepic_mirror.errors import PassingError
from ninepic_mirror.ninepic import wire
from tests.torture.fuzzers.spelling import Bytes, spell

if TYPE_CHECKING:
    from ninepic_mirror.model import Page

IDS: Final = ("a", "b", "c-1")
FRAGMENTS: Final = (
    b'{"responseType":"success","message":"","data":', b'"images":[', b'"pagination":{"total":1,"hasNextPage":false}',
    b'{"image_id":"a","img_url":"https://x/456/a/large.jpg?s=1","width":4,"height":3}', b'"image_id":"a"', b'"events":[',
    b'{"event_id":456,"event_name":"x","event_slug":"x"}', b'"days":[', b'{"date":"2026-01-19","total":3,"hours":[',
    b'{"hour":6,"count":3}', b'"presigned_urls":[', b'"failed_urls":[', b'{"url":"https://x/a.jpg","filename":"b.jpg"}',
    b'{"image_id":"a","error":"no"}', b'"status":"ok"', b'"event_id":456', b'"timeline_search":true', b'"message":"',
    b'"responseType":"error"', b'"data":', b'"total":', b"null", b"true", b"-1", b"NaN", b"1e999", b"1.0", b"0", b"9" * 30,
    b"[", b"]", b"{", b"}", b",", b":", b'"', b"\\ud800", b"\\u0000", b"[" * 500, b"}" * 3, b"\xff", b"\xef\xbb\xbf",
    b"<html>", b" ", b'"hours":[', b"]}",
)  # fmt: skip


def check(data: bytes) -> None:
    """Read an answer as each of the endpoints gives it; nothing is raised but PassingError."""
    source = Bytes(data)
    which = source.number() % 7
    body = spell(source.left, FRAGMENTS)
    try:
        if which == 0:
            page = wire.read_page(body, 100)
            assert len(page.photos) + len(page.rejected) <= 100 + wire.SLACK
            assert 0 <= page.total <= wire.LARGEST
            for photo in page.photos:
                photo.image_id.encode()
                assert photo.width is None or 0 < photo.width <= wire.LARGEST_SIDE
            assert not any("?s=1" in trace for trace in page.traces), page.traces
            _compare(body, page)
        elif which == 1:
            for event in wire.read_events(body, 100).events:
                assert 0 <= event.event_id <= wire.LARGEST
        elif which == 2:
            assert wire.read_details(body, 456).event.event_id == 456
        elif which == 3:
            wire.read_ping(body, 456)
        elif which == 4:
            hours = wire.read_timeline(body).hours
            assert all(start % 3600 == 0 and count > 0 for start, count in hours.items())
        elif which == 5:
            found = wire.read_originals(body, IDS)
            named = [*found.urls, *found.failed, *found.unmatched]
            assert sorted(named) == sorted(IDS), named
        else:
            text = wire.read_message(body)
            assert text.isprintable(), text
            assert len(text) <= 200
    except PassingError:
        pass


def _compare(body: bytes, page: Page) -> None:
    """Assert that, where the quick way took the page, the careful one reads the same photos."""
    try:
        wire._LISTING.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return
    careful = wire._read_page_by_row(body, 100)
    assert (careful.photos, careful.total, careful.has_next) == (
        page.photos,
        page.total,
        page.has_next,
    )
