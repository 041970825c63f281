"""The client against the synthetic service, over https: both were written from API.md alone."""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING

import pytest

from ninepic_mirror.config import Api
from ninepic_mirror.errors import (
    CertificateError,
    EventNotFoundError,
    FeatureOffError,
    KeyRefusedError,
    PhotoError,
)
from ninepic_mirror.model import HOUR, Key, Window
from ninepic_mirror.ninepic.client import Client, open_client
from ninepic_mirror.ninepic.pacing import Pacer, api_pace, photos_pace
from ninepic_mirror.ninepic.photos import PhotoClient, open_photos
from ninepic_mirror.sandbox import EventSpec, Fault, Sandbox

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

EVENT = 456
CAP = 50_000_000


class AtOnce(Random):
    """Backs off for no time: the waits have tests of their own, on the virtual clock."""

    def uniform(self, a: float, b: float) -> float:
        """Return the shortest wait."""
        return min(a, b)


@dataclass(frozen=True)
class World:
    """A running sandbox with both clients."""

    sandbox: Sandbox
    client: Client
    photos: PhotoClient

    async def fetch(self, url: str | None) -> bytes:
        """Fetch a photo through the pacer, as the pass does."""
        assert url is not None

        async def attempt() -> bytes:
            async with self.photos.stream(url, cap=CAP) as body:
                return b"".join([chunk async for chunk in body.chunks()])

        return await self.photos.pacer.run(attempt)


@asynccontextmanager
async def world(key: str = "test-key") -> AsyncIterator[World]:
    """Run a sandbox of 230 photos over https, and open both clients on it."""
    sandbox = Sandbox(
        [EventSpec(event_id=EVENT, photos=230)], org_id=903, keys=["test-key"], tls=True
    )
    async with sandbox.running():
        api = Api(org_id=903, base_url=sandbox.api_url, ca_file=sandbox.ca_file)
        async with (
            open_client(
                api, Key(key, "a test"), Pacer(api_pace(sandbox.api_url), source=AtOnce())
            ) as client,
            open_photos(api, Pacer(photos_pace(sandbox.photos_url), source=AtOnce())) as photos,
        ):
            yield World(sandbox, client, photos)


async def test_listing_adds_up() -> None:
    """Events, details, hours, windows and pages tell of the same photos."""
    async with world() as it:
        (event,) = [event async for event in it.client.events()]
        assert event.event_id == EVENT
        await it.client.ping(EVENT)
        assert (await it.client.details(EVENT)).timeline_search
        timeline = await it.client.timeline_days(EVENT)
        assert (timeline.rejected, timeline.notes) == ((), ())
        pages = [await it.client.images(EVENT, page) for page in (1, 2, 3)]
        assert [page.has_next for page in pages] == [True, True, False]
        ids = {photo.image_id for page in pages for photo in page.photos}
        assert len(ids) == pages[0].total == 230
        for hour, count in timeline.hours.items():
            page = await it.client.timeline_images(EVENT, Window(hour, hour + HOUR), 1)
            assert page.total == count
            assert {photo.image_id for photo in page.photos} <= ids


async def test_photos_and_originals() -> None:
    """Each variant of a photo arrives whole, with the length that a HEAD announced; the rest of one continues."""
    async with world() as it:
        photo = (await it.client.images(EVENT, 1)).photos[0]
        large = await it.fetch(photo.large_url)
        assert large.startswith(b"\xff\xd8")
        assert await it.photos.head(photo.large_url or "") == len(large)
        assert (await it.fetch(photo.thumbnail_url)).startswith(b"\xff\xd8")
        found = await it.client.original_photos(EVENT, [photo.image_id, "unknown"])
        assert list(found.failed) + list(found.unmatched) == ["unknown"]
        assert await it.fetch(found.urls[photo.image_id])
        async with it.photos.stream(photo.large_url or "", cap=CAP) as body:
            tag = body.etag
        async with it.photos.stream(
            photo.large_url or "", cap=CAP, offset=1000, validator=tag
        ) as body:
            rest = b"".join([chunk async for chunk in body.chunks()])
            assert large[body.offset :] == rest


async def test_key_goes_to_the_api_only() -> None:
    """Every request to the API carries the key; none to the photo origin does (DESIGN §7)."""
    async with world() as it:
        photo = (await it.client.images(EVENT, 1)).photos[0]
        await it.fetch(photo.thumbnail_url)
        for seen in it.sandbox.requests:
            assert ("x-api-key" in seen.headers) == (seen.origin == "api")
            assert "test-key" not in seen.path + seen.query
        assert {seen.origin for seen in it.sandbox.requests} == {"api", "photos"}


@pytest.mark.parametrize(
    "kind", ["429", "500", "502", "503", "html", "json", "short", "reset", "truncated"]
)
async def test_passing_faults_end_well(kind: str) -> None:
    """Each passing fault is retried, on both origins, and the answer that comes in the end is the right one."""
    async with world() as it:
        clean = await it.client.images(EVENT, 1)
        photo = await it.fetch(clean.photos[0].thumbnail_url)
        if kind not in {"html", "json", "truncated"}:  # there, the type check of the pass tells
            it.sandbox.faults.add(Fault(kind=kind, origin="photos", count=2))
            assert await it.fetch(clean.photos[0].thumbnail_url) == photo
        if kind != "truncated":
            it.sandbox.faults.add(Fault(kind=kind, origin="api", count=2))
            assert await it.client.images(EVENT, 1) == clean
            assert it.client.pacer.statistics().retries >= 2


@pytest.mark.parametrize(
    ("key", "event_id", "expected"),
    [("wrong", EVENT, KeyRefusedError), ("test-key", 7, EventNotFoundError)],
)
async def test_refusals(key: str, event_id: int, expected: type[Exception]) -> None:
    """A wrong key and an unknown event are told apart, after one request."""
    async with world(key) as it:
        caught = None
        try:
            await it.client.details(event_id)
        except (KeyRefusedError, EventNotFoundError) as error:
            caught = error
        assert isinstance(caught, expected)
        assert it.client.pacer.statistics().requests == 1


async def test_feature_off() -> None:
    """A 403 of the timeline with a good key is the feature, not the key."""
    async with world() as it:
        await it.client.details(EVENT)
        it.sandbox.faults.add(Fault(kind="timeline_403"))
        with pytest.raises(FeatureOffError):
            await it.client.timeline_days(EVENT)


@pytest.mark.parametrize("kind", ["404", "403", "gzip"])
async def test_bad_photo(kind: str) -> None:
    """A photo that is gone, forbidden or encoded fails as a photo, at once."""
    async with world() as it:
        photo = (await it.client.images(EVENT, 1)).photos[0]
        it.sandbox.faults.add(Fault(kind=kind, origin="photos"))
        with pytest.raises(PhotoError):
            await it.fetch(photo.large_url)
        assert it.photos.pacer.statistics().requests == 1


async def test_untrusted_certificate() -> None:
    """Without the sandbox's authority nothing is sent, on either origin, and nothing is retried (N23)."""
    async with world() as it:
        url = (await it.client.images(EVENT, 1)).photos[0].large_url or ""
        api = Api(org_id=903, base_url=it.sandbox.api_url)
        before = len(it.sandbox.requests)
        async with open_client(api, Key("test-key", "t"), Pacer(api_pace("x"))) as client:
            with pytest.raises(CertificateError):
                await client.details(EVENT)
        async with open_photos(api, Pacer(photos_pace("x"))) as photos:
            with pytest.raises(CertificateError):
                await photos.head(url)
            photos._trust.has_verified = True
            with pytest.raises(PhotoError, match="certificate"):
                await photos.head(url)
        assert len(it.sandbox.requests) == before
