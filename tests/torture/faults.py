"""The classes of faults that `http_faults` plays: what a service may answer that is not right (RELIABILITY 2a).

A fault makes of a request another reply than the right one. Where it says `passing`, the program has to get over it when it
strikes only a few times; where not, the photo that it strikes fails, or the run ends, with one of `codes`.
"""

from __future__ import annotations

import gzip
import json
from dataclasses import dataclass
from email.utils import formatdate
from itertools import chain, cycle, repeat
from typing import TYPE_CHECKING, Final, cast

from ninepic_mirror.sandbox.specs import HOUR
from tests.rawserver import Reply, answer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from tests.torture.service import Asked

    Act = Callable[[Asked], Reply | None]
    Fields = dict[str, object]

PAGE: Final = b"<!doctype html><html><title>Sign in</title><h1>Welcome to the network</h1></html>"
PHOTOS: Final = r"/imgs/\d+/(large|small)/"
LARGE: Final = r"/imgs/\d+/large/"
API: Final = r"/event/"
LISTINGS: Final = r"/images\?"
DAYS: Final = "/timeline/days"
ORIGINALS: Final = "/original-photos"
MISSING, UNREACHABLE = 4, 5  # exit codes
REJECTED: Final = frozenset({1})  # the API says that our request is wrong: a person has to look
MOVES: Final = 8  # how often a listing moves at the most


@dataclass(frozen=True)
class Fault:
    """One class of faults.

    Args:
        name: A word or some with hyphens.
        where: A regular expression that finds the requests that may meet it, in origin and target.
        act: Makes the reply; None: the right one.
        lasting: The exit codes of a run in which every request for some photos, or to the API, meets it.
        passing: The exit codes of a run in which only the first few requests meet it.
        certificate: Of which origin the certificate is wrong, and how.
        kilobytes: Of a large photo.
        cure: Options of a run before the one that has to be whole: an address that was stored is asked again until a
            full pass lists another.
    """

    name: str
    where: str
    act: Act
    lasting: frozenset[int]
    passing: frozenset[int]
    certificate: tuple[str, str] | None = None
    kilobytes: float = 6
    cure: tuple[str, ...] = ()


def bytes_of(*pieces: bytes, then: str = "close", pause: float = 0.0) -> Act:
    """Reply with the same bytes, whatever is asked."""
    return lambda _: Reply(pieces, then, pause)


def status(line: str, content: bytes = b"", *lines: str) -> Act:
    """Reply with a status line and a body."""
    return lambda _: Reply([answer(content, *lines, status=line)])


# --- framing, of photos and listings alike ---------------------------------------------------------------------------


def _chunk(content: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(content), content)


def _half(asked: Asked) -> bytes:
    return asked.body[: len(asked.body) // 2]


def _length(asked: Asked) -> str:
    return f"Content-Length: {len(asked.body)}"


def _chunked(asked: Asked, *chunks: bytes, then: str = "close") -> Reply:
    return Reply([asked.head("Transfer-Encoding: chunked"), *chunks], then)


def _endless(asked: Asked) -> Reply:
    noise = bytes(256 * 1024)
    return Reply(
        chain([asked.head("Transfer-Encoding: chunked"), asked.body[:0]], repeat(_chunk(noise)))
    )


def _gzip(asked: Asked) -> Reply:
    content = gzip.compress(asked.body)
    return Reply([asked.head("Content-Encoding: gzip", f"Content-Length: {len(content)}"), content])


def _bomb(asked: Asked) -> Reply:
    content = gzip.compress(bytes(30_000_000))
    return Reply([asked.head("Content-Encoding: gzip", f"Content-Length: {len(content)}"), content])


FRAMES: Final[Mapping[str, Act]] = {
    "cut": lambda asked: Reply([asked.head(_length(asked)) + _half(asked)], "close"),
    "cut-without-goodbye": lambda asked: Reply([asked.head(_length(asked)) + _half(asked)], "cut"),
    "cut-without-length": lambda asked: Reply(
        [asked.head("Connection: close") + _half(asked)], "close"
    ),
    "cut-http-1.0": lambda asked: Reply([b"HTTP/1.0 200 OK\r\n\r\n" + _half(asked)], "close"),
    "cut-chunked": lambda asked: _chunked(asked, _chunk(_half(asked))),
    "bad-chunk-size": lambda asked: _chunked(asked, _chunk(_half(asked)), b"-5\r\nabc\r\n0\r\n\r\n"),
    "longer-body": lambda asked: Reply(
        [asked.head(f"Content-Length: {len(asked.body) * 2 // 3}") + asked.body], "close"
    ),
    "longer-than-said": lambda asked: Reply(
        [asked.head(f"Content-Length: {len(asked.body) + 500}") + asked.body], "close"
    ),
    "length-negative": lambda asked: Reply([asked.head("Content-Length: -1") + asked.body], "close"),
    "length-junk": lambda asked: Reply([asked.head("Content-Length: 12abc") + asked.body], "close"),
    "lengths-conflict": lambda asked: Reply(
        [asked.head(_length(asked), "Content-Length: 17") + asked.body], "close"
    ),
    "length-and-chunks-cut": lambda asked: Reply(
        [asked.head(_length(asked), "Transfer-Encoding: chunked"), _chunk(_half(asked))], "close"
    ),
    "garbage": bytes_of(b"\x00\x01\x02garbage\r\n\r\n"),
    "another-protocol": bytes_of(b"SSH-2.0-OpenSSH_9.2p1\r\n"),
    "header-flood": lambda _: Reply(
        chain([b"HTTP/1.1 200 OK\r\n"], (b"X-%d: %s\r\n" % (n, b"y" * 8000) for n in range(200))),
        "close",
    ),
    "header-without-end": lambda _: Reply(chain([b"HTTP/1.1 200 OK\r\nX: "], repeat(b"y" * 16000))),
    "header-with-nul": lambda asked: Reply(
        [asked.head("X: a\0b", _length(asked)) + asked.body], "close"
    ),
    "1xx-flood": lambda _: Reply(repeat(b"HTTP/1.1 100 Continue\r\n\r\n" * 500)),
    "stalled-head": bytes_of(b"HTTP/1.1 200", then="hold"),
    "stalled-body": lambda asked: Reply([asked.head(_length(asked)) + _half(asked)], "hold"),
    "dripping-body": lambda asked: Reply(
        chain([asked.head("Content-Length: 400000")], cycle([b"\xff"])), pause=0.05
    ),
    "dripping-head": lambda _: Reply(chain([b"HTTP/1.1 200 OK\r\nX: "], repeat(b"y")), pause=0.05),
    "reset-at-once": bytes_of(then="reset"),
    "reset-in-head": bytes_of(b"HTTP/1.1 200 OK\r\nContent-", then="reset"),
    "reset-in-body": lambda asked: Reply([asked.head(_length(asked)) + _half(asked)], "reset"),
    "reset-while-kept": lambda asked: Reply(asked.right().pieces, "reset"),
    "closed-while-kept": lambda asked: Reply(asked.right().pieces, "close"),
    "empty": status("200 OK"),
    "html": status("200 OK", PAGE, "Content-Type: text/html"),
    "redirect-loop": lambda asked: Reply([answer(b"", f"Location: {asked.target}", status="302 Found")]),
    "408": status("408 Request Timeout"),
    "425": status("425 Too Early"),
    "500": status("500 Internal Server Error", b"oops"),
    "502": status("502 Bad Gateway", PAGE, "Content-Type: text/html"),
    "503": status("503 Service Unavailable"),
    "504": status("504 Gateway Timeout"),
    "429": status("429 Too Many Requests"),
    "429-seconds": status("429 Too Many Requests", b"", "Retry-After: 0"),
    "429-date": lambda _: Reply(
        [answer(b"", f"Retry-After: {formatdate(usegmt=True)}", status="429 Too Many Requests")]
    ),
    "429-junk": status("429 Too Many Requests", b"", "Retry-After: soon"),
    "429-negative": status("429 Too Many Requests", b"", "Retry-After: -1"),
    "503-seconds": status("503 Service Unavailable", b"", "Retry-After: 0"),
}  # fmt: skip
WEB_PAGES: Final = frozenset({"html", "html-as-jpeg"})
# what is right for a listing all the same: nothing in it is wrong, or only what need not be believed
HARMLESS: Final = frozenset({"reset-while-kept", "closed-while-kept"})


# --- photos ----------------------------------------------------------------------------------------------------------


def _redirect(to: str) -> Act:
    return lambda asked: Reply(
        [
            answer(
                b"", f"Location: {to}{asked.target if to.endswith('/') else ''}", status="302 Found"
            )
        ]
    )


def _elsewhere(asked: Asked) -> Reply:
    host = asked.headers["host"].rpartition(".")[0]
    return Reply([answer(b"", f"Location: https://{host}.3{asked.target}", status="302 Found")])


def _downgraded(asked: Asked) -> Reply:
    place = f"Location: http://{asked.headers['host']}{asked.target}"
    return Reply([answer(b"", place, status="301 Moved Permanently")])


def _ranged(later: Act) -> Act:
    """Cut the first answer off where it is worth going on, and do something to the request that goes on."""

    def act(asked: Asked) -> Reply | None:
        if "range" in asked.headers:
            return later(asked)
        return Reply([asked.head(_length(asked)) + asked.body[:100_000]], "close")

    return act


PRIVATE: Final = {
    "loopback": "https://127.0.0.1/",
    "loopback-short": "https://127.1/",
    "loopback-decimal": "https://2130706433/",
    "loopback-hex": "https://0x7f.1/",
    "loopback-mapped": "https://[::ffff:127.0.0.1]/",
    "loopback-six": "https://[::1]/",
    "loopback-with-user": "https://photos@127.0.0.1/",
    "private": "https://10.1.2.3/",
    "link-local": "https://169.254.169.254/latest/meta-data",
    "home": "https://192.168.1.1/",
    "file": "file:///etc/passwd",
    "no-scheme": "//127.0.0.1/",
}
_JPEG_TYPE: Final = "Content-Type: image/jpeg"
PHOTO_ACTS: Final[Mapping[str, Act]] = {
    "half-picture": lambda asked: Reply(
        [asked.head(f"Content-Length: {len(_half(asked))}") + _half(asked)]
    ),
    "html-as-jpeg": status("200 OK", PAGE, _JPEG_TYPE),
}
FINAL_ACTS: Final[Mapping[str, Act]] = {
    "json-as-jpeg": status("200 OK", b'{"message": "hello"}', _JPEG_TYPE),
    "text-as-jpeg": status("200 OK", b"not a picture at all", _JPEG_TYPE),
    "gzip": _gzip,
    "bomb": _bomb,
    "brotli": lambda asked: Reply(
        [asked.head("Content-Encoding: br", _length(asked)) + asked.body]
    ),
    "length-10-terabytes": lambda asked: Reply(
        [asked.head("Content-Length: 10000000000000") + asked.body], "hold"
    ),
    "endless": _endless,
    "redirect-http": _downgraded,
    "redirect-nowhere": status("302 Found"),
    "400": status("400 Bad Request"),
    "401": status("401 Unauthorized"),
    "403": status("403 Forbidden", b"<Error><Code>AccessDenied</Code></Error>"),
    "404": status("404 Not Found"),
    "410": status("410 Gone"),
    **{f"redirect-{name}": _redirect(to) for name, to in PRIVATE.items()},
}


def _longer(asked: Asked) -> Reply:
    """The rest of another version, whose tag a cache has not noticed."""
    (line,) = (line for line in asked.fields if line.lower().startswith("content-range:"))
    start, content = int(line.partition("bytes ")[2].partition("-")[0]), asked.body + b"longer"
    end = start + len(content)
    span = f"Content-Range: bytes {start}-{end - 1}/{end}"
    head = _without(asked, "content-range").head(span, f"Content-Length: {len(content)}")
    return Reply([head + content])


RANGES: Final[Mapping[str, Act]] = {
    "range-right": lambda _: None,
    "range-answered-200": lambda asked: Reply(
        [asked.head(status="200 OK") + b""], "close"
    ),
    "range-wrong-start": lambda asked: Reply(
        [_without(asked, "content-range").head("Content-Range: bytes 5-99999/100000", _length(asked)) + asked.body]
    ),
    "range-changed-etag": lambda asked: Reply(
        [_without(asked, "etag").head('ETag: "another"', _length(asked)) + asked.body]
    ),
    "range-without-etag": lambda asked: Reply(
        [_without(asked, "etag").head(_length(asked)) + asked.body]
    ),
    "range-of-a-longer-one": _longer,
    "range-416": status("416 Range Not Satisfiable"),
    "range-cut-again": lambda asked: Reply([asked.head(_length(asked)) + _half(asked)], "close"),
}  # fmt: skip


def _without(asked: Asked, name: str) -> Asked:
    asked.fields = tuple(line for line in asked.fields if not line.lower().startswith(f"{name}:"))
    return asked


# --- the API ---------------------------------------------------------------------------------------------------------


def edited(change: Callable[[Fields], object]) -> Act:
    """Reply with the right answer after a change to its `data`."""

    def act(asked: Asked) -> Reply:
        document = json.loads(asked.body)
        data = document["data"]
        replaced = change(data)
        document["data"] = data if replaced is None else replaced
        # NaN and 1e999 are written as Python and some services write them
        return Reply([answer(json.dumps(document).encode(), "Content-Type: application/json")])

    return act


def _pages(**fields: object) -> Act:
    return edited(lambda data: cast("Fields", data["pagination"]).update(fields))


def _rows(change: Callable[[list[Fields]], object]) -> Act:
    return edited(lambda data: change(cast("list[Fields]", data["images"])))


def _text(content: bytes) -> Act:
    return status("200 OK", content, "Content-Type: application/json")


def _doubled(asked: Asked) -> Reply:
    """Give every key of the envelope twice, first a wrong one."""
    return Reply([answer(b'{"data": null, "responseType": "error", ' + asked.body[1:])])


def _key_thief(asked: Asked) -> Reply:
    host = asked.headers["host"].rpartition(".")[0]
    return Reply([answer(b"", f"Location: https://{host}.3{asked.target}", status="307 Moved")])


BAD_ROW: Final[Fields] = {"image_id": None, "img_url": "https://8.8.8.8/x", "thumbnail_url": None}
API_ACTS: Final[Mapping[str, Act]] = {
    "gzip-bomb": _bomb,
    "huge-json": lambda asked: Reply([answer(asked.body + b" " * 9_000_000)]),
    "endless-json": _endless,
    "deep-json": _text(b"[" * 100_000),
    "deep-object": _text(b'{"a":' * 50_000 + b"1" + b"}" * 50_000),
    "half-json": lambda asked: Reply([answer(_half(asked))]),
    "no-text": _text(b'{"data": "\xff\xfe"}'),
    "long-number": _text(b'{"data": ' + b"9" * 5_000 + b"}"),
    "data-null": edited(lambda _: []),
    "list-for-object": _text(b"[]"),
    "number": _text(b"7"),
    "error-with-200": _text(b'{"responseType": "error", "message": "no", "data": null}'),
    "redirect-elsewhere": _key_thief,
}
TOTALS: Final[Mapping[str, Act]] = {
    "total-nan": _pages(total=float("nan")),
    "total-infinite": _pages(total=float("inf")),
    "total-negative": _pages(total=-1),
    "total-absurd": _pages(total=10**18),
    "total-text": _pages(total="many"),
}
LIES: Final[Mapping[str, Act]] = {
    "total-too-high": edited(
        lambda data: cast("Fields", data["pagination"]).update(
            total=cast("int", cast("Fields", data["pagination"])["total"]) + 5
        )
    ),
    "row-without-id": _rows(lambda rows: rows.append(BAD_ROW)),
    "row-of-number": _rows(lambda rows: rows.append({"image_id": 7})),
    "row-no-object": _rows(lambda rows: rows.append(cast("Fields", [1, 2]))),
    "photo-nowhere": _rows(
        lambda rows: [row.update(img_url="https://nowhere.invalid/x.jpg") for row in rows[:1]] and None
    ),
    "photo-refused": _rows(
        lambda rows: [row.update(img_url="https://8.8.255.255/x.jpg") for row in rows[:1]] and None
    ),
    "photo-private": _rows(
        lambda rows: [row.update(img_url="https://10.1.2.3/x.jpg") for row in rows[:1]] and None
    ),
    "photo-file": _rows(
        lambda rows: [row.update(img_url="file:///etc/passwd") for row in rows[:1]] and None
    ),
    "photo-without-tls": _rows(
        lambda rows: [
            row.update(img_url=str(row["img_url"]).replace("https", "http")) for row in rows[:1]
        ] and None
    ),
}  # fmt: skip
# wrong, and yet nothing that keeps a pass from having everything
MEANINGLESS: Final[Mapping[str, Act]] = {
    "pages-without-end": _pages(hasNextPage=True, totalPages=10**9),
    "rows-repeated": _rows(lambda rows: rows.extend(rows[:2])),
    "unknown-fields": edited(lambda data: data.update(surprise={"a": [1e308] * 9})),
    "doubled-keys": _doubled,
}


def _moving(asked: Asked) -> Reply:
    """Let photos come and change their hour between this answer and the next."""
    assert asked.event is not None
    first = asked.event.spec.first_hour
    if asked.number < MOVES:
        asked.event.add(1, hour=first + asked.number % 3 * HOUR)
        some = asked.event.photos[asked.number % len(asked.event.photos)]
        asked.event.retime(some.image_id, first + (asked.number + 1) % 3 * HOUR)
    return asked.right()


DATES: Final[Mapping[str, Act]] = {
    "day-that-is-none": edited(
        lambda data: cast("list[Fields]", data["days"]).append(
            {"date": "2026-02-31", "total": 1, "hours": [{"hour": 3, "count": 1}]}
        )
    ),
    "hour-24": edited(
        lambda data: cast("list[Fields]", data["days"]).append(
            {"date": "2026-02-21", "total": 1, "hours": [{"hour": 24, "count": 1}]}
        )
    ),
    "count-negative": edited(
        lambda data: cast("list[Fields]", data["days"]).append(
            {"date": "2026-02-21", "total": 1, "hours": [{"hour": 2, "count": -4}]}
        )
    ),
    "counts-without-photos": edited(
        lambda data: cast("list[Fields]", data["days"]).append(
            {"date": "0999-02-21", "total": 3, "hours": [{"hour": 2, "count": 3}]}
        )
    ),
}
LINKS: Final[Mapping[str, Act]] = {
    "links-shuffled": edited(lambda data: cast("list[Fields]", data["presigned_urls"]).reverse()),
    "links-without-envelope": lambda asked: Reply(
        [answer(json.dumps(json.loads(asked.body)["data"]).encode())]
    ),
    "links-missing": edited(lambda data: cast("list[Fields]", data["presigned_urls"]).clear()),
}


def _expired(asked: Asked) -> Reply:
    text = b"<Error><Code>AccessDenied</Code><Message>Request has expired</Message></Error>"
    return Reply([answer(text, status="403 Forbidden")])


# --- all of them -----------------------------------------------------------------------------------------------------


def _codes(*codes: int) -> frozenset[int]:
    return frozenset(codes)


WHOLE: Final = _codes(0)
FAILED: Final = _codes(MISSING)
ENDED: Final = _codes(UNREACHABLE)
OPEN: Final = _codes(0, MISSING)  # by which requests it strikes


def all_faults() -> list[Fault]:
    """Return every class there is."""
    return [*_photo_faults(), *_frames_of_api(), *_listing_faults(), *_link_faults()]


def _photo_faults() -> Iterable[Fault]:
    for name, act in {**FRAMES, **PHOTO_ACTS}.items():
        lasting, passing = FAILED, WHOLE
        if name in HARMLESS:
            lasting = WHOLE
        elif name in WEB_PAGES:  # several in a row are a captive portal's, which ends the run
            lasting, passing = FAILED | ENDED, WHOLE | ENDED
        elif name == "redirect-loop":
            passing = OPEN
        yield Fault(f"photo-{name}", PHOTOS, act, lasting, passing)
    for name, act in FINAL_ACTS.items():
        yield Fault(f"photo-{name}", PHOTOS, act, FAILED, OPEN)
    yield Fault("photo-redirect-elsewhere", PHOTOS, _elsewhere, WHOLE, WHOLE)
    for name, act in RANGES.items():
        lasting = WHOLE if name == "range-right" else FAILED
        yield Fault(f"photo-{name}", LARGE, _ranged(act), lasting, WHOLE, kilobytes=300)


def _frames_of_api() -> Iterable[Fault]:
    for name, act in {**FRAMES, **API_ACTS}.items():
        if "redirect" in name:  # never followed, and no fault that passes
            yield Fault(f"api-{name}", API, act, ENDED, ENDED)
        else:
            yield Fault(f"api-{name}", API, act, WHOLE if name in HARMLESS else ENDED, WHOLE)
    for line, code in (("401 Unauthorized", 3), ("403 Forbidden", 3), ("404 Not Found", 9)):
        yield Fault(f"api-{line[:3]}", "/details", status(line), _codes(code), _codes(code))
    for line in ("400 Bad Request", "422 Unprocessable Content"):
        yield Fault(f"api-{line[:3]}", LISTINGS, status(line), REJECTED, REJECTED)
    yield Fault("api-403-timeline", "/timeline/", status("403 Forbidden"), OPEN, OPEN)
    for origin in ("api", "photos"):
        for how in ("another-host", "self-signed", "expired"):
            wrong = (origin, how)
            name = f"{origin}-certificate-{how}"
            yield Fault(name, API, lambda _: None, ENDED, ENDED, certificate=wrong)


def _listing_faults() -> Iterable[Fault]:
    for name, act in TOTALS.items():
        yield Fault(f"api-{name}", LISTINGS, act, ENDED, WHOLE)
    for name, act in LIES.items():
        yield Fault(f"api-{name}", LISTINGS, act, FAILED, OPEN, cure=("--full",))
    for name, act in MEANINGLESS.items():
        yield Fault(f"api-{name}", LISTINGS, act, OPEN | ENDED, OPEN)
    yield Fault("api-moving", LISTINGS, _moving, OPEN, OPEN)
    for name, act in DATES.items():
        yield Fault(f"api-{name}", DAYS, act, OPEN, OPEN)


def _link_faults() -> Iterable[Fault]:
    for name, act in LINKS.items():
        lacks = name == "links-missing"
        yield Fault(
            f"originals-{name}",
            ORIGINALS,
            act,
            FAILED if lacks else WHOLE,
            OPEN if lacks else WHOLE,
        )
    yield Fault("originals-expired", "/originals/", _expired, FAILED, OPEN)
