"""The clients alone, for commands that ask the service and write nothing."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from ninepic_mirror.ninepic.client import Client, open_client
from ninepic_mirror.ninepic.pacing import GIVE_UP, Pacer, api_pace, photos_pace
from ninepic_mirror.ninepic.photos import PhotoClient, open_photos

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from ninepic_mirror.config import Api
    from ninepic_mirror.model import Key


@asynccontextmanager
async def open_api(api: Api, key: Key, *, give_up: float | None = GIVE_UP) -> AsyncIterator[Client]:
    """Open the client of the API for the length of the block.

    Args:
        api: The `[api]` section.
        key: Of the API.
        give_up: Seconds without one good answer after which to end.

    Raises:
        UsageError: The key or a setting cannot be used.
    """
    parts = urlsplit(api.base_url)
    origin = f"{parts.scheme}://{parts.netloc}"  # the rule of base_url admits no user's name
    pacer = Pacer(api_pace(origin, requests_per_second=api.requests_per_second, give_up=give_up))
    async with open_client(api, key, pacer) as client:
        yield client


@asynccontextmanager
async def open_origin(api: Api, connections: int) -> AsyncIterator[PhotoClient]:
    """Open the client of the photo origin for the length of the block.

    Raises:
        UsageError: A setting cannot be used.
    """
    pacer = Pacer(photos_pace("the photo origin", connections=connections))
    async with open_photos(api, pacer, None, connections) as photos:
        yield photos
