"""The sandbox's photo origin: files, validators, ranges, presigned links; http and https."""

from __future__ import annotations

import ssl
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Final

import httpx
import pytest

from ninepic_mirror.sandbox import Event, EventSpec, Sandbox

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

SIZE: Final = 20_000


class Photos:
    """The photo origin and one photo of its event."""

    def __init__(self, sandbox: Sandbox, client: httpx.AsyncClient) -> None:
        self.sandbox = sandbox
        self.client = client
        self.event: Event = sandbox.event(456)
        self.name = self.event.photos[4].image_id
        self.url = f"{sandbox.photos_url}/imgs/456/large/{self.name}.jpg"
        self.body = self.event.body(self.name, "large")

    async def get(self, **headers: str) -> httpx.Response:
        """GET the photo with headers, underscores standing for dashes."""
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        return await self.client.get(self.url, headers=given)


@pytest.fixture(params=["http", "https"])
async def photos(request: pytest.FixtureRequest) -> AsyncIterator[Photos]:
    """Serve a small cheap event."""
    spec = EventSpec(
        photos=10, look="cheap", thumb_kb=1, large_kb=SIZE / 1000, original_mb=(0.05, 0.06)
    )
    sandbox = Sandbox([spec], tls=request.param == "https")
    async with sandbox.running():
        verify = ssl.create_default_context(cafile=sandbox.ca_file) if sandbox.tls else True
        async with httpx.AsyncClient(verify=verify, trust_env=False) as client:
            yield Photos(sandbox, client)


async def test_files_are_what_body_says(photos: Photos) -> None:
    """Every variant is served byte for byte, without a key."""
    for folder, variant in (("large", "large"), ("small", "thumbnail")):
        answer = await photos.client.get(
            f"{photos.sandbox.photos_url}/imgs/456/{folder}/{photos.name}.jpg"
        )
        assert answer.content == photos.event.body(photos.name, variant)
        assert answer.headers["content-type"] == "image/jpeg"
        assert answer.headers["content-length"] == str(len(answer.content))


async def test_drawn_files_are_what_body_says(photos: Photos) -> None:
    """A picture that has to be drawn first is served like any other."""
    event = photos.sandbox.add_event(EventSpec(event_id=9, photos=2))
    name = event.photos[0].image_id
    answer = await photos.client.get(f"{photos.sandbox.photos_url}/imgs/9/small/{name}.jpg")
    assert answer.content == event.body(name, "thumbnail")


async def test_head(photos: Photos) -> None:
    """HEAD answers the headers of a GET without a body."""
    answer, whole = await photos.client.head(photos.url), await photos.get()
    names = ("content-length", "etag", "last-modified", "accept-ranges", "content-type")
    assert answer.content == b""
    assert [answer.headers[name] for name in names] == [whole.headers[name] for name in names]
    assert answer.headers["accept-ranges"] == "bytes"
    assert answer.headers["etag"].startswith('"')


@pytest.mark.parametrize(
    ("given", "start", "end"),
    [
        ("bytes=0-0", 0, 1),
        ("bytes=5-9", 5, 10),
        ("bytes=100-", 100, None),
        ("bytes=-7", -7, None),
        ("bytes=10-9999999", 10, None),
    ],
)
async def test_ranges(photos: Photos, given: str, start: int, end: int | None) -> None:
    """A range is answered with 206, its bytes and where they stand."""
    answer = await photos.get(range=given)
    expected = photos.body[start:end]
    first = start if start >= 0 else len(photos.body) + start
    span = f"bytes {first}-{first + len(expected) - 1}/{len(photos.body)}"
    assert (answer.status_code, answer.headers["content-range"]) == (206, span)
    assert answer.headers["etag"] == (await photos.get()).headers["etag"]
    assert answer.content == expected


@pytest.mark.parametrize(
    "given", ["bytes=5-2", "bytes=-", "bytes=0-1,3-4", "lines=1-2", "bytes=x-"]
)
async def test_ranges_that_are_ignored(photos: Photos, given: str) -> None:
    """Malformed and multiple ranges are answered with everything."""
    answer = await photos.get(range=given)
    assert (answer.status_code, answer.content) == (200, photos.body)


async def test_ranges_past_the_end(photos: Photos) -> None:
    """A range past the end is 416 and tells the length."""
    answer = await photos.get(range=f"bytes={len(photos.body)}-")
    assert (answer.status_code, answer.headers["content-range"]) == (
        416,
        f"bytes */{len(photos.body)}",
    )


async def test_if_range(photos: Photos) -> None:
    """A range holds only while the validator does; a replaced photo is sent whole."""
    whole = await photos.get()
    for condition in (whole.headers["etag"], whole.headers["last-modified"]):
        assert (await photos.get(range="bytes=3-5", if_range=condition)).status_code == 206
    photos.event.replace(photos.name)
    for condition in (whole.headers["etag"], whole.headers["last-modified"], "junk"):
        answer = await photos.get(range="bytes=3-5", if_range=condition)
        assert answer.status_code == 200
        assert answer.content == photos.event.body(photos.name, "large") != photos.body


async def test_conditional_requests(photos: Photos) -> None:
    """What did not change is 304 by ETag or date; the ETag comes first; a replaced photo is sent."""
    etag, date = (await photos.get()).headers["etag"], (await photos.get()).headers["last-modified"]
    conditions: list[tuple[dict[str, str], int]] = [
        ({"if_none_match": etag}, 304),
        ({"if_none_match": f'"other", W/{etag}'}, 304),
        ({"if_none_match": "*"}, 304),
        ({"if_modified_since": date}, 304),
        ({"if_modified_since": "yesterday"}, 200),
        ({"if_none_match": '"other"', "if_modified_since": date}, 200),
    ]
    for headers, status in conditions:
        answer = await photos.get(**headers)
        assert (headers, answer.status_code) == (headers, status)
        assert answer.content == (photos.body if status == 200 else b"")
    photos.event.replace(photos.name)
    assert (await photos.get(if_none_match=etag)).status_code == 200
    answer = await photos.get(if_modified_since=date)
    assert answer.status_code == 200
    assert parsedate_to_datetime(answer.headers["last-modified"]) > parsedate_to_datetime(date)


@pytest.mark.parametrize(
    "path",
    [
        "/imgs/456/large/x.jpg",
        "/imgs/456/middle/{}.jpg",
        "/imgs/9/large/{}.jpg",
        "/imgs/456/large/{}.png",
        "/",
    ],
)
async def test_unknown_addresses(photos: Photos, path: str) -> None:
    """An address that leads nowhere is 404."""
    answer = await photos.client.get(photos.sandbox.photos_url + path.format(photos.name))
    assert answer.status_code == 404


@pytest.mark.parametrize("name", ["../../x", "a/b", "CON", "x" * 300, "ü ?#%", "\ud800", ""])
async def test_hostile_ids_are_served(photos: Photos, name: str) -> None:
    """A photo is found at its percent-encoded address whatever its id is."""
    photos.event.add_raw(image_id=name)
    row = photos.event.item(photos.event.photos[-1].serial, photos.sandbox.photos_url)
    answer = await photos.client.get(str(row["img_url"]))
    assert (answer.status_code, answer.content) == (200, photos.event.body(name, "large"))


async def test_presigned_links(photos: Photos) -> None:
    """A link gives the original, also in ranges, until its lifetime is over."""
    url = photos.sandbox.presign(456, photos.name)
    original = photos.event.body(photos.name, "original")
    answer = await photos.client.get(url)
    assert (answer.status_code, answer.content) == (200, original)
    part = await photos.client.get(url, headers={"Range": "bytes=7-"})
    assert (part.status_code, part.content) == (206, original[7:])
    photos.sandbox.link_lifetime = -1
    answer = await photos.client.get(photos.sandbox.presign(456, photos.name))
    assert (answer.status_code, answer.headers["content-type"]) == (403, "application/xml")
    assert "<Message>Request has expired</Message>" in answer.text


async def test_forged_links(photos: Photos) -> None:
    """A link holds for its own photo and time, and no other."""
    url, other = photos.sandbox.presign(456, photos.name), photos.event.photos[0].image_id
    later = url.replace("X-Amz-Expires=", "X-Amz-Expires=9")
    for forged in (url.replace(photos.name, other), later, url.partition("?")[0]):
        assert (await photos.client.get(forged)).status_code == 403
