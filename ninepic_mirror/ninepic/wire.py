"""Bytes of the API → values of `model`. No I/O, and nothing in here trusts what it reads.

Two ways through a listing: the fast one decodes the whole page into types at once (msgspec); when that fails, the
slow one goes row by row, so that one bad row never loses its page, and one bad field not its row (RELIABILITY N16). The slow one uses the standard
library's parser: msgspec refuses a document that holds a lone surrogate anywhere, while `json` lets us reject just
the row that does. Everything rarer than a listing takes the slow way only.

What is not the documented envelope with status 200 is a `PassingError`: a gateway's page, a cut body and a captive
portal all look like that, and all of them pass. That includes `responseType` `"error"` with status 200, which the
service does not document: read as an empty listing it would lose photos, and as permanent it would end a pass for a
hiccup. `message` is never branched on (API.md, Basics).
"""

from __future__ import annotations

import json
import re
from datetime import date
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Final, TypeGuard
from urllib.parse import unquote, urlsplit

import msgspec
from msgspec import Struct

from ninepic_mirror.errors import PassingError
from ninepic_mirror.model import HOUR, Details, Event, Originals, Page, Photo, Timeline
from ninepic_mirror.ninepic.redaction import plain_reason, unsigned

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

SLACK: Final = 10  # rows beyond page_size that are still taken for a page: a service may count a little differently
LARGEST: Final = 2**53  # the largest integer that every JSON writer can say exactly (RFC 8259 §6)
LARGEST_SIDE: Final = (
    1_000_000  # pixels; the largest JPEG side is 65,535, a stitched panorama may be more
)
_ADDRESSES: Final = ("img_url", "thumbnail_url", "original_url")
_TRACE: Final = 80  # characters
EPOCH_DAY: Final = date(1970, 1, 1).toordinal()
DATE: Final = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)


class _Row(msgspec.Struct, frozen=True, gc=False):
    """An ImageItem (API.md), as strict as the fast way needs it."""

    image_id: str
    img_url: str | None = None
    thumbnail_url: str | None = None
    original_url: str | None = None
    width: int | None = None
    height: int | None = None


class _Pagination(msgspec.Struct, frozen=True, gc=False):
    """PaginationInfo (API.md); fields may be added, so that unknown ones are left alone."""

    total: int
    has_next: bool | None = msgspec.field(default=None, name="hasNextPage")


class _Listing(msgspec.Struct, frozen=True):
    images: list[_Row]
    pagination: _Pagination


class _Envelope(msgspec.Struct, frozen=True):
    data: _Listing
    kind: str = msgspec.field(name="responseType")


_LISTING: Final = msgspec.json.Decoder(_Envelope)


class EventsPage(Struct, frozen=True):
    """One page of the organisation's events.

    Args:
        events: In the order of the service.
        has_next: Whether another page follows.
        rejected: Rows that were no event, one line each, for people.
    """

    events: tuple[Event, ...]
    has_next: bool
    rejected: tuple[str, ...] = ()


def is_markup(body: bytes) -> bool:
    """Say whether the body begins like HTML or XML, which no JSON and no photo does."""
    return body[:512].lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"<")


def read_page(body: bytes, page_size: int) -> Page:
    """Read one page of `/images`, `/timeline/images` or `/bibs`.

    Args:
        body: The answer's body, already capped in size.
        page_size: How many rows were asked for; many more make the page malformed.

    Raises:
        PassingError: The body is not the documented envelope.
    """
    try:
        envelope = _LISTING.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return _read_page_by_row(body, page_size)
    if envelope.kind != "success":
        raise _malformed("an error with status 200")
    rows, pagination = envelope.data.images, envelope.data.pagination
    _check_rows(len(rows), page_size)
    total = _total(pagination.total)
    return Page(
        tuple(map(_photo, rows)), total, _has_next(pagination.has_next, len(rows), page_size)
    )


def _photo(row: _Row) -> Photo:
    return Photo(
        image_id=row.image_id,
        large_url=row.img_url,
        thumbnail_url=row.thumbnail_url,
        original_url=row.original_url,
        width=_side(row.width),
        height=_side(row.height),
    )


def _read_page_by_row(body: bytes, page_size: int) -> Page:
    data = _data(body)
    rows, pagination = _list(data, "images"), _mapping(data.get("pagination"), "pagination")
    _check_rows(len(rows), page_size)
    photos: list[Photo] = []
    rejected: list[str] = []
    traces: list[str] = []
    for number, row in enumerate(rows, 1):
        photo = _read_row(row)
        if isinstance(photo, str):
            rejected.append(f"row {number}: {photo}")
            traces.append(f"{photo}: {_trace(row)}")
        else:
            photos.append(photo)
    has_next = _has_next(pagination.get("hasNextPage"), len(rows), page_size)
    total = _total(pagination.get("total"))
    return Page(tuple(photos), total, has_next, tuple(rejected), tuple(traces))


def _read_row(row: object) -> Photo | str:
    """Return a row's photo, or why it is none: only the id makes one, any other field that is bad is unknown."""
    if not isinstance(row, dict):
        return "not an object"
    image_id = row.get("image_id")
    if not isinstance(image_id, str):
        return "image_id is not text"
    if not _is_text(image_id):
        return "image_id is not valid Unicode"
    width, height = row.get("width"), row.get("height")
    return Photo(
        image_id,
        _text(row.get("img_url")),
        _text(row.get("thumbnail_url")),
        _text(row.get("original_url")),
        _side(width if _is_count(width) else None),
        _side(height if _is_count(height) else None),
    )


def _trace(row: object) -> str:
    """Return what is known of a row without a usable id, for people: never a query, which may be a signature."""
    if not isinstance(row, dict):
        return unsigned(json.dumps(row))[:_TRACE]
    words = [f"image_id {unsigned(json.dumps(row.get('image_id')))[:_TRACE]}"]
    for name in _ADDRESSES:
        path = PurePosixPath(_path(_text(row.get(name)) or ""))
        if path.name:
            words.append(f"{name} …/{'/'.join(path.parts[-2:])[-_TRACE:]}")
            break
    return ", ".join(words)


def _path(url: str) -> str:
    try:
        return urlsplit(url).path
    except ValueError:  # an address that is none, for example http://[
        return ""


def _check_rows(count: int, page_size: int) -> None:
    if count > page_size + SLACK:
        raise _malformed(f"{count} rows on a page of {page_size}")


def _side(value: int | None) -> int | None:
    return value if value is not None and 0 < value <= LARGEST_SIDE else None


def _total(value: object) -> int:
    # A total that no listing can have is a broken answer, not an empty event: nothing may be concluded from it.
    if not _is_count(value):
        raise _malformed("total is no count")
    return value


def _has_next(value: object, rows: int, page_size: int) -> bool:
    """Take the service's word; where it gives none, a full page may have a successor."""
    return value if isinstance(value, bool) else rows >= page_size


def read_events(body: bytes, page_size: int) -> EventsPage:
    """Read one page of `/events`.

    Raises:
        PassingError: The body is not the documented envelope.
    """
    data = _data(body)
    rows = _list(data, "events")
    _check_rows(len(rows), page_size)
    events: list[Event] = []
    rejected: list[str] = []
    for number, row in enumerate(rows, 1):
        if isinstance(row, dict) and _is_count(row.get("event_id")):
            events.append(_event(row, row["event_id"]))
        else:
            rejected.append(f"row {number}: event_id is no number")
    pagination = data.get("pagination")
    has_next = pagination.get("hasNextPage") if isinstance(pagination, dict) else None
    return EventsPage(tuple(events), _has_next(has_next, len(rows), page_size), tuple(rejected))


def _event(row: Mapping[str, object], event_id: int) -> Event:
    return Event(
        event_id=event_id,
        name=_label(row.get("event_name")),
        slug=_label(row.get("event_slug")),
        date=_label(row.get("event_date")),
        status=_label(row.get("status")),
    )


def read_details(body: bytes, event_id: int) -> Details:
    """Read `/event/{id}/details`.

    An answer without `timeline_search` counts as "on": asking then costs at most one 403, which is no harm, while
    taking it for "off" would put photos that have an hour into `undated/`.

    Raises:
        PassingError: The body is not the documented envelope, or speaks of another event.
    """
    data = _data(body)
    if data.get("event_id", event_id) != event_id:
        raise _malformed("details of another event")
    flags = {unsigned(name): value for name, value in data.items() if isinstance(value, bool)}
    flags.setdefault("timeline_search", True)
    return Details(_event(data, event_id), flags["timeline_search"], flags)


def read_ping(body: bytes, event_id: int) -> None:
    """Check the answer of `ping`, which alone comes without the envelope (API.md, Basics).

    Raises:
        PassingError: It does not say `ok`, or speaks of another event.
    """
    answer = _object(body)
    if answer.get("status") != "ok" or answer.get("event_id", event_id) != event_id:
        raise _malformed("ping without ok")


def read_timeline(body: bytes) -> Timeline:
    """Read `/event/{id}/timeline/days` into UTC hours. Any year from 1 to 9999 is taken as it is (RELIABILITY N25).

    Raises:
        PassingError: The body is not the documented envelope.
    """
    hours: dict[int, int] = {}
    rejected: list[str] = []
    notes: list[str] = []
    for number, day in enumerate(_list(_data(body), "days"), 1):
        start = _day_start(day)
        if start is None or not isinstance(day, dict) or not isinstance(day.get("hours"), list):
            rejected.append(f"day {number}: not a date with hours")
            continue
        reported = _add_hours(hours, start, day["hours"], rejected, f"day {day['date']}")
        if day.get("total") != reported:
            notes.append(f"day {day['date']}: the total is not the sum of its hours, {reported}")
    return Timeline(hours, tuple(rejected), tuple(notes))


def _day_start(day: object) -> int | None:
    """Return the epoch second of the day's first UTC moment, None for what is no date."""
    text = day.get("date") if isinstance(day, dict) else None
    if not isinstance(text, str) or not DATE.fullmatch(text):
        return None
    try:
        # By day numbers: datetime.timestamp() fails for year 1 on some platforms.
        return (date.fromisoformat(text).toordinal() - EPOCH_DAY) * 24 * HOUR
    except ValueError:
        return None


def _add_hours(
    hours: dict[int, int], start: int, rows: list[object], rejected: list[str], day: str
) -> int:
    """Add a day's rows to `hours`; return the sum of the counts."""
    reported = 0
    for row in rows:
        hour = row.get("hour") if isinstance(row, dict) else None
        count = row.get("count") if isinstance(row, dict) else None
        if not _is_count(hour) or hour > 23 or not _is_integer(count):
            rejected.append(f"{day}: not an hour from 0 to 23 with a count")
        elif count > 0:
            moment = start + hour * HOUR
            hours[moment] = hours.get(moment, 0) + count
            reported += count
    return reported


def read_originals(body: bytes, ids: tuple[str, ...]) -> Originals:
    """Read `original-photos`, with the envelope or without it (API.md, Endpoints).

    A link carries no `image_id`: it is matched by the stem of its `filename`, else by the stem of its URL's path,
    never by position, because answers come shuffled and with gaps. One that names two photos of the batch is nobody's.
    Only where one photo alone was asked for, and one link came, that link needs no name.

    Args:
        body: The answer's body.
        ids: The batch that was asked for; nothing else comes back.

    Raises:
        PassingError: The body is neither of the two documented shapes.
    """
    answer = _object(body)
    data = _unwrap(answer) if "responseType" in answer else answer
    urls: dict[str, str] = {}
    aliases: dict[str, frozenset[str]] = {}
    foreign: set[str] = set()
    strangers: list[tuple[str, frozenset[str]]] = []
    for url, suggested, path in _links(data):
        names = suggested | path
        meant = names.intersection(ids)
        if len(meant) != 1:
            strangers.append((url, names))
        elif not meant <= urls.keys():
            (image_id,) = meant
            urls[image_id], aliases[image_id] = url, names - meant
            if any(name and image_id not in name for name in (suggested, path)):
                foreign.add(image_id)
    failed = {one: reason for one, reason in _failures(data) if one in ids and one not in urls}
    if len(ids) == len(strangers) == 1 and not (urls or failed):
        urls[ids[0]], aliases[ids[0]] = strangers.pop()
        foreign.update(ids if aliases[ids[0]] else ())
    unmatched = tuple(i for i in ids if i not in urls and i not in failed)
    return Originals(urls, failed, unmatched, len(strangers), aliases, frozenset(foreign))


def _links(data: dict[str, object]) -> Iterator[tuple[str, frozenset[str], frozenset[str]]]:
    """Yield the address of each link, and the ids that its suggested name and its path's may stand for."""
    for link in _objects(_list(data, "presigned_urls")):
        url = _text(link.get("url"))
        if url:
            yield url, _names(_text(link.get("filename")) or ""), _names(unquote(_path(url)))


def _failures(data: dict[str, object]) -> Iterator[tuple[str | None, str]]:
    """Yield the photos that the service has no link for, with its reasons."""
    for row in _objects(_list(data, "failed_urls") if data.get("failed_urls") is not None else []):
        yield _text(row.get("image_id")), plain_reason(_text(row.get("error")) or "no reason given")


def _names(path: str) -> frozenset[str]:
    """Return the ids that a file's name may stand for: with and without what follows its last dot."""
    name = PurePosixPath(path)
    return frozenset({name.stem, name.name} - {""})


def read_message(body: bytes) -> str:
    """Return the `message` of an error's body for the log, "" where there is none. Never branch on it."""
    try:
        message = _object(body).get("message")
    except PassingError:
        return ""
    return plain_reason(message) if isinstance(message, str) else ""


def _data(body: bytes) -> dict[str, object]:
    return _unwrap(_object(body))


def _unwrap(answer: dict[str, object]) -> dict[str, object]:
    if answer.get("responseType") != "success":
        raise _malformed("no envelope, or an error with status 200")
    return _mapping(answer.get("data"), "data")


def _object(body: bytes) -> dict[str, object]:
    """Parse a JSON object, letting through what a single row can be blamed for."""
    if is_markup(body):
        raise PassingError("a web page where JSON was due", html=True)
    try:
        # surrogateescape: bytes that are no UTF-8 become lone surrogates, and so the fault of their row.
        text = body.decode("utf-8-sig", "surrogateescape")
        answer: object = json.loads(text, parse_int=_parse_integer)
    except (ValueError, RecursionError) as error:
        raise _malformed("it does not parse") from error
    return _mapping(answer, "answer")


def _parse_integer(text: str) -> int | None:
    # Longer ones are no count of ours, and int() refuses more than 4,300 digits with an error for the whole page.
    return int(text) if len(text) <= 20 else None


def _mapping(value: object, name: str) -> dict[str, object]:
    if not isinstance(value, dict):
        raise _malformed(f"{name} is no object")
    return value


def _list(data: dict[str, object], name: str) -> list[object]:
    value = data.get(name)
    if not isinstance(value, list):
        raise _malformed(f"{name} is no list")
    return value


def _objects(rows: list[object]) -> list[dict[str, object]]:
    return [row for row in rows if isinstance(row, dict)]


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and _is_text(value) else None


def _label(value: object) -> str | None:
    """Return a name or the like, which is shown and stored: without the query of an address, should there be one in it."""
    text = _text(value)
    return None if text is None else unsigned(text)


def _is_text(value: str) -> bool:
    """Say whether the text can be written anywhere: a lone surrogate cannot."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def _is_integer(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_count(value: object) -> TypeGuard[int]:
    return _is_integer(value) and 0 <= value <= LARGEST


def _malformed(what: str) -> PassingError:
    return PassingError(f"malformed JSON: {what}")
