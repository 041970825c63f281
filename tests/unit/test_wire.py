"""Bytes of the API into values: documented shapes, odd ones, and hostile ones."""

from __future__ import annotations

import contextlib
import json
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ninepic_mirror.errors import PassingError
from ninepic_mirror.model import Photo
from ninepic_mirror.ninepic import wire

if TYPE_CHECKING:
    from collections.abc import Callable

LISTS: tuple[Callable[[bytes], object], ...] = (
    lambda body: wire.read_page(body, 100),
    lambda body: wire.read_events(body, 100),
    lambda body: wire.read_originals(body, ("a",)),
    wire.read_timeline,
)
HOUR_TEN = 1704103200  # 2024-01-01 10:00 UTC, the vendor's own example


def envelope(data: object) -> bytes:
    """Write the documented envelope."""
    return json.dumps({"responseType": "success", "message": "…", "data": data}).encode()


def listing(*rows: object, total: object = 7, **pagination: object) -> bytes:
    """Write a page of a listing."""
    return envelope({"images": list(rows), "pagination": pagination | {"total": total}})


def row(image_id: object = "a", **fields: object) -> dict[str, object]:
    """Write an ImageItem."""
    return {
        "image_id": image_id,
        "img_url": "https://p/l",
        "thumbnail_url": "https://p/t",
        **fields,
    }


def test_page() -> None:
    """A documented page is read whole, in order, repeated rows included."""
    body = listing(row("a", width=3, height=4), row("b"), row("a"), hasNextPage=True, added="later")
    page = wire.read_page(body, 100)
    assert [p.image_id for p in page.photos] == ["a", "b", "a"]
    assert page.photos[0] == Photo("a", "https://p/l", "https://p/t", None, 3, 4)
    assert (page.total, page.has_next, page.rejected) == (7, True, ())


def test_page_empty_listing() -> None:
    """An empty listing answers zeros (API.md, PaginationInfo) and is no fault."""
    page = wire.read_page(listing(total=0, currentPage=0, totalPages=0, hasNextPage=False), 100)
    assert (page.photos, page.total, page.has_next) == ((), 0, False)


@pytest.mark.parametrize(
    ("bad", "why"),
    [
        ("text", "not an object"),
        (row(7), "image_id is not text"),
        (row(None), "image_id is not text"),
        ({"img_url": "x"}, "image_id is not text"),
        (row("x\ud800"), "image_id is not valid Unicode"),
    ],
)
def test_page_bad_row(bad: object, why: str) -> None:
    """A row without a usable id is rejected with its number, and its page is kept (RELIABILITY N1, N16)."""
    page = wire.read_page(listing(row("a"), bad, row("", img_url=None, width=5)), 100)
    assert [p.image_id for p in page.photos] == ["a", ""]
    assert page.photos[1].width == 5
    assert page.rejected == (f"row 2: {why}",)


@pytest.mark.parametrize("bad", [7, True, [], {}, "\udfff", None])
@pytest.mark.parametrize("name", ["img_url", "thumbnail_url", "original_url"])
def test_page_bad_field(name: str, bad: object) -> None:
    """A row with a usable id is a photo: a field that is bad or missing is unknown."""
    whole = row("x", original_url="https://p/o", width=4)
    page = wire.read_page(listing(row("a"), whole | {name: bad}), 100)
    photo = page.photos[1]
    assert (photo.image_id, photo.width, page.rejected) == ("x", 4, ())
    known = {
        "img_url": photo.large_url,
        "thumbnail_url": photo.thumbnail_url,
        "original_url": photo.original_url,
    }
    assert [key for key, value in known.items() if value is None] == [name]
    assert wire.read_page(listing(row(7), {"image_id": "x"}), 100).photos == (
        Photo("x", None, None),
    )


def test_page_rows_are_told_apart() -> None:
    """Of a row without a usable id is said what it holds, never a query, which may be a signature."""
    page = wire.read_page(
        listing(
            row(7, img_url="https://p/456/large/x.jpg?signature=secret"),
            row("\ud800", img_url="http://[", thumbnail_url="https://p/small/y.jpg"),
            {"image_id": "z" * 500 + "\ud800"},
            ["odd"],
        ),
        100,
    )
    assert page.traces[0] == "image_id is not text: image_id 7, img_url …/large/x.jpg"
    assert 'image_id "\\ud800", thumbnail_url …/small/y.jpg' in page.traces[1]
    assert len(page.traces[2]) < 200
    assert page.traces[3] == 'not an object: ["odd"]'


def test_page_bytes_that_are_no_text() -> None:
    """Bytes that are no UTF-8 cost the row that holds them, not its page."""
    page = wire.read_page(listing(row("a"), row("bXc")).replace(b"X", b"\xff"), 100)
    assert [p.image_id for p in page.photos] == ["a"]
    assert page.rejected == ("row 2: image_id is not valid Unicode",)


@pytest.mark.parametrize("side", [0, -3, 10**9, 10**30, 2.5, "3", True, [1]])
def test_page_odd_sides(side: object) -> None:
    """A width that no picture has is unknown; the photo is kept."""
    page = wire.read_page(listing(row(width=side, height=9)), 100)
    assert page.photos[0].width is None
    assert page.photos[0].height == 9


def test_page_number_of_many_digits() -> None:
    """A number with more digits than Python converts costs nothing but itself."""
    body = listing(row(width="W")).replace(b'"W"', b"9" * 5000)
    assert wire.read_page(body, 100).photos[0].width is None


@pytest.mark.parametrize("extra", [{}, {"hasNextPage": None}, {"hasNextPage": "yes"}])
def test_page_without_next(extra: dict[str, object]) -> None:
    """Where the service does not say whether a page follows, a full one may have a successor."""
    assert wire.read_page(listing(row("a"), row("b"), **extra), 2).has_next
    assert not wire.read_page(listing(row("a"), **extra), 2).has_next


@pytest.mark.parametrize("total", [-1, 2**60, 10**30, "7", None, 1.5, True])
@pytest.mark.parametrize("first", [row("a"), row(7)])
def test_page_impossible_total(first: object, total: object) -> None:
    """A total that no listing has makes the answer malformed, whichever way it is read (RELIABILITY N15)."""
    with pytest.raises(PassingError, match="total"):
        wire.read_page(listing(first, total=total), 100)


@pytest.mark.parametrize("first", [row("a"), row(7)])
def test_page_too_many_rows(first: object) -> None:
    """Many more rows than were asked for are malformed; a few are not."""
    rows = [first] + [row(str(n)) for n in range(1 + wire.SLACK)]
    assert wire.read_page(listing(*rows[:-1]), 1).total == 7
    with pytest.raises(PassingError, match="rows on a page of 1"):
        wire.read_page(listing(*rows), 1)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"[]",
        b"{}",
        b'{"responseType": "success", "message": "", "data": null}',
        b'{"responseType": "success", "message": "", "data": []}',
        b'{"message": "Too Many Requests"}',
        listing(row()).replace(b"success", b"error"),
        listing(row(7)).replace(b"success", b"error"),
        listing(row())[:-5],
        envelope({"images": {}, "pagination": {"total": 1}}),
        envelope({"images": [], "pagination": None}),
        envelope({"images": [], "pagination": {}}),
        envelope({"pagination": {"total": 0}}),
        b'{"a":' * 100_000,
        b"[" * 100_000 + b"]" * 100_000,
        b'{"data": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b"\xff\xfe\x00",
    ],
)
def test_malformed_answers_pass(body: bytes) -> None:
    """What is not the envelope with data is a passing fault for every list, never an empty result (N16, N17)."""
    for read in LISTS:
        with pytest.raises(PassingError) as caught:
            read(body)
        assert not caught.value.html


@pytest.mark.parametrize("body", [b"", b"[]", b"7", envelope(None), envelope([]), b"[" * 100_000])
def test_malformed_objects_pass(body: bytes) -> None:
    """Details and ping, too, are passing faults when their object is missing."""
    with pytest.raises(PassingError):
        wire.read_details(body, 1)
    with pytest.raises(PassingError):
        wire.read_ping(body, 1)


@pytest.mark.parametrize("body", [b"<html>", b"\n <!doctype html>", b"\xef\xbb\xbf<?xml?>"])
def test_web_page(body: bytes) -> None:
    """A web page with status 200 is told apart, because a captive portal answers so."""
    with pytest.raises(PassingError) as caught:
        wire.read_page(body, 100)
    assert caught.value.html


def test_events() -> None:
    """Events keep their fields; odd fields are unknown; rows without an id are rejected."""
    rows = [
        {
            "event_id": 4,
            "event_name": "N",
            "event_slug": "s",
            "event_date": "d",
            "status": "active",
        },
        {"event_id": 5, "event_name": 7, "event_slug": "\ud800"},
        {"event_id": "6"},
        {"event_id": True},
        None,
    ]
    page = wire.read_events(envelope({"events": rows, "pagination": {"hasNextPage": True}}), 100)
    assert [(e.event_id, e.name, e.slug) for e in page.events] == [(4, "N", "s"), (5, None, None)]
    assert len(page.rejected) == 3
    assert page.has_next
    assert not wire.read_events(envelope({"events": rows}), 100).has_next


def test_details() -> None:
    """Every boolean is a flag, by its own name."""
    body = envelope(
        {"event_id": 4, "event_name": "N", "timeline_search": False, "new": True, "x": 1}
    )
    details = wire.read_details(body, 4)
    assert (details.event.event_id, details.event.name, details.timeline_search) == (4, "N", False)
    assert details.flags == {"timeline_search": False, "new": True}


def test_details_without_the_flag() -> None:
    """An answer that does not mention the timeline leaves it on: asking costs one 403 at most."""
    assert wire.read_details(envelope({}), 4).timeline_search


def test_details_of_another_event() -> None:
    """Details of another event are not taken for this one's."""
    with pytest.raises(PassingError, match="another event"):
        wire.read_details(envelope({"event_id": 5}), 4)


def test_ping() -> None:
    """Ping is flat, and says ok for the event that was asked for."""
    wire.read_ping(b'{"status": "ok", "org_id": 1, "event_id": 4}', 4)
    for body in (b'{"status": "ok", "event_id": 5}', b'{"status": "down"}'):
        with pytest.raises(PassingError, match="ping"):
            wire.read_ping(body, 4)


def day(date: object = "2024-01-01", total: object = 98, **hours: object) -> dict[str, object]:
    """Write a day of the timeline; `h10=98` is ten o'clock with 98 photos."""
    return {
        "date": date,
        "total": total,
        "hours": [{"hour": int(name[1:]), "count": count} for name, count in hours.items()],
    }


def test_timeline() -> None:
    """Hours are epoch seconds of the UTC hour; hours named twice add up; hours without photos are left out."""
    days = [day(h10=98), day(total=3, h10=2, h11=1, h12=0, h13=-4)]
    timeline = wire.read_timeline(envelope({"days": days}))
    assert timeline.hours == {HOUR_TEN: 100, HOUR_TEN + 3600: 1}
    assert (timeline.rejected, timeline.notes) == ((), ())


@pytest.mark.parametrize(
    ("date", "hour"),
    [("1970-01-01", 0), ("0001-01-01", -62135596800), ("9999-12-31", 253402214400)],
)
def test_timeline_any_year(date: str, hour: int) -> None:
    """Camera clocks are wrong in practice: any year from 1 to 9999 is an hour like others (N25)."""
    assert wire.read_timeline(envelope({"days": [day(date, 1, h0=1)]})).hours == {hour: 1}


@pytest.mark.parametrize(
    "bad",
    [
        None,
        day("0000-01-01", h1=1),
        day("2024-02-30", h1=1),
        day("20240101", h1=1),
        day("\u0662024-01-01", h1=1),
        day(None, h1=1),
        {"date": "2024-01-01", "hours": None},
        day(total=0, h24=1),
        day(total=0, h1="1"),
        day(total=0, h1=True),
        {"date": "2024-01-01", "total": 0, "hours": [None]},
        {"date": "2024-01-01", "total": 0, "hours": [{"hour": -1, "count": 1}]},
        {"date": "2024-01-01", "total": 0, "hours": [{"hour": 1.5, "count": 1}]},
    ],
)
def test_timeline_bad_day(bad: object) -> None:
    """What does not parse is listed, and the other days are kept."""
    timeline = wire.read_timeline(envelope({"days": [bad, day(h10=98)]}))
    assert timeline.hours == {HOUR_TEN: 98}
    assert len(timeline.rejected) == 1


def test_timeline_total_differs() -> None:
    """A day whose total is not its hours' sum is noted, no more: the hours are what counts."""
    timeline = wire.read_timeline(envelope({"days": [day(total=99, h10=98)]}))
    assert timeline.hours == {HOUR_TEN: 98}
    assert len(timeline.notes) == 1


def link(url: object, filename: object = None) -> dict[str, object]:
    """Write a presigned link."""
    return {"url": url, "filename": filename}


@pytest.mark.parametrize("flat", [True, False])
def test_originals(flat: bool) -> None:
    """Links find their photo by the filename's stem, else by the URL's, in both documented shapes."""
    data = {
        "presigned_urls": [
            link("https://s/x/zzz.jpg?sig=1", "b.jpg"),
            link("https://s/x/a.jpeg?sig=2", "IMG_1.JPG"),
            link("https://s/x/c%20d.jpg"),
            link("https://s/again/b.jpg", "b.jpg"),
        ],
        "failed_urls": [{"image_id": "e", "error": "gone"}, {"image_id": "f", "error": None}],
    }
    body = json.dumps(data).encode() if flat else envelope(data)
    found = wire.read_originals(body, ("a", "b", "c d", "e", "f", "g"))
    assert found.urls == {
        "a": "https://s/x/a.jpeg?sig=2",
        "b": "https://s/x/zzz.jpg?sig=1",
        "c d": "https://s/x/c%20d.jpg",
    }
    assert found.failed == {"e": "gone", "f": "no reason given"}
    assert found.unmatched == ("g",)


def test_originals_odd_rows() -> None:
    """Links that name nothing of the batch, and rows that are none, leave their photos unmatched."""
    data = {
        "presigned_urls": [
            None,
            link(7),
            link(""),
            link("http://[", "y.jpg"),
            link("https://s/", ""),
        ],
        "failed_urls": [None, {"image_id": "other"}, {"image_id": 3}],
    }
    found = wire.read_originals(envelope(data), ("x", ""))
    assert (found.urls, found.failed, found.unmatched) == ({}, {}, ("x", ""))
    data = {"presigned_urls": [link("https://s/x.jpg")], "failed_urls": [{"image_id": "x"}]}
    assert not wire.read_originals(envelope(data), ("x",)).failed
    assert wire.read_originals(envelope({"presigned_urls": []}), ("x",)).unmatched == ("x",)


def test_originals_that_name_two_photos() -> None:
    """A link whose names are those of two photos of the batch is nobody's; one that names another is told with that."""
    mixed, right = link("https://s/b.jpg?sig=1", "a.jpg"), link("https://s/a.jpg?sig=2", "a.jpg")
    found = wire.read_originals(envelope({"presigned_urls": [mixed, right]}), ("a", "b"))
    assert (found.urls, found.strangers) == ({"a": "https://s/a.jpg?sig=2"}, 1)
    assert found.aliases["a"] == {"a.jpg"}
    found = wire.read_originals(
        envelope({"presigned_urls": [link("https://s/c.x.jpg", "d")]}), ("a",)
    )
    assert found.aliases["a"] == {"c.x", "c.x.jpg", "d"}


@pytest.mark.parametrize(
    ("url", "name", "foreign"),
    [
        ("https://s/a.jpg?sig=1", "a.jpg", False),
        ("https://s/a.jpg?sig=1", None, False),
        ("https://s/?sig=1", "a", False),
        ("https://s/a.jpg", "IMG_1.jpg", True),
        ("https://s/IMG_1.jpg", "a.jpg", True),
        ("https://s/IMG_1.jpg", None, True),
        ("https://s/?sig=1", None, False),  # asked for alone it needs no name (API.md)
    ],
)
def test_a_link_that_has_another_name_beside_the_photos_own(
    url: str, name: str | None, foreign: bool
) -> None:
    """It is told, wherever that stands: the name may be another photo's; with and without its ending a name is one."""
    found = wire.read_originals(envelope({"presigned_urls": [link(url, name)]}), ("a",))
    assert (found.urls, found.foreign) == ({"a": url}, frozenset({"a"} if foreign else ()))


def test_a_single_link_needs_no_name() -> None:
    """Where one photo alone was asked for, one link alone is its own; of a batch, or among others, it is a stranger."""
    one, other = link("https://s/1?sig=1", "IMG_1.JPG"), link("https://s/2?sig=2")
    read = wire.read_originals
    found = read(envelope({"presigned_urls": [one]}), ("x",))
    assert (found.urls, found.unmatched, found.strangers) == ({"x": "https://s/1?sig=1"}, (), 0)
    for links, ids in (([one, other], ("x",)), ([one], ("x", "y"))):
        found = read(envelope({"presigned_urls": links}), ids)
        assert (found.urls, found.unmatched, found.strangers) == ({}, ids, len(links))
    refused = {"presigned_urls": [one], "failed_urls": [{"image_id": "x", "error": "no"}]}
    found = read(envelope(refused), ("x",))
    assert (found.urls, found.failed) == ({}, {"x": "no"})


def test_message() -> None:
    """An error's message is made fit for a log line, and missing ones are no trouble."""
    assert wire.read_message(b'{"message": "Too\\nMany"}') == "Too Many"
    assert "abc" not in wire.read_message(b'{"message": "at https://s/a?X-Amz-Signature=abc"}')
    assert wire.read_message(b'{"message": "at https://s/a?x=abc now"}') == "at … now"
    assert wire.read_message(b'{"message": 7}') == ""
    assert wire.read_message(b"<html>") == ""


SIGNED = "https://s/a?X-Amz-Signature=abc"


@pytest.mark.parametrize("row", [SIGNED, {"image_id": {"at": SIGNED}}, {"image_id": [SIGNED]}])
def test_no_text_of_a_listing_carries_a_signature(row: object) -> None:
    """What is told of a row that is no photo has no query of an address in it."""
    page = wire.read_page(listing(row), 100)
    assert len(page.traces) == 1
    assert "abc" not in page.traces[0]


def test_no_text_of_an_event_carries_a_signature() -> None:
    """Nor have its names, which are shown, logged and stored."""
    row = {"event_id": 456, SIGNED: True} | dict.fromkeys(
        ("event_name", "event_slug", "event_date", "status"), f"x {SIGNED}"
    )
    details = wire.read_details(envelope(row), 456)
    (event,) = wire.read_events(envelope({"events": [row]}), 100).events
    assert "abc" not in repr((details, event))
    assert event.name == "x https://s/a?…"


def test_no_reason_for_a_missing_original_carries_a_signature() -> None:
    """Nor has the reason that the service gives for it."""
    failed = {"presigned_urls": [], "failed_urls": [{"image_id": "a", "error": f"no {SIGNED}"}]}
    assert "abc" not in wire.read_originals(envelope(failed), ("a",)).failed["a"]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4)
    ),
    max_leaves=12,
)


@settings(max_examples=60, deadline=None)
@given(st.lists(JSON | st.fixed_dictionaries({"image_id": JSON, "img_url": JSON}), max_size=5))
def test_rows_are_read_or_rejected(rows: list[object]) -> None:
    """Whatever the rows are, each is either a photo or a rejected line."""
    page = wire.read_page(listing(*rows), 100)
    assert len(page.photos) + len(page.rejected) == len(rows)
    for photo in page.photos:
        assert photo.image_id.encode() is not None


@settings(max_examples=60, deadline=None)
@given(JSON)
def test_any_data_is_read_or_passes(data: object) -> None:
    """Whatever the data is, a reader returns or raises a passing fault, and nothing else."""
    for read in LISTS:
        with contextlib.suppress(PassingError):
            read(envelope(data))
