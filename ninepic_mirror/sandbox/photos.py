"""The routes of the photo origin: files with validators and ranges (RFC 9110), no key, no envelope."""

from __future__ import annotations

import re
from email.utils import formatdate, parsedate_to_datetime
from hashlib import blake2b
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

import anyio.to_thread
from starlette.applications import Starlette
from starlette.responses import Response
from starlette.routing import Route

from ninepic_mirror.sandbox.origin import VARIANT_FOLDERS, reporter

if TYPE_CHECKING:
    from starlette.requests import Request

    from ninepic_mirror.sandbox.events import Event
    from ninepic_mirror.sandbox.world import World

_RANGE = re.compile(r"bytes=(\d*)-(\d*)")
_XML: Final = (
    '<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>{}</Code><Message>{}</Message></Error>'
)


def application(world: World) -> Starlette:
    """Return the photo origin's routes."""
    files = Files(world)
    return Starlette(
        routes=[
            Route("/imgs/{event:int}/{folder}/{name:path}", files.image),
            Route("/originals/{event:int}/{name:path}", files.original),
        ],
        exception_handlers={Exception: reporter(world)},
    )


class Files:
    """The photos of every event, as a photo store serves them."""

    def __init__(self, world: World) -> None:
        self._world = world

    async def image(self, request: Request) -> Response:
        """GET or HEAD of a thumbnail or a large."""
        variant = VARIANT_FOLDERS.get(request.path_params["folder"])
        return await self._file(request, variant)

    async def original(self, request: Request) -> Response:
        """GET or HEAD of an original, with the signature that `original-photos` gave."""
        expires = request.query_params.get("X-Amz-Expires", "")
        given = request.query_params.get("X-Amz-Signature", "")
        name = request.path_params["name"].removesuffix(".jpg")
        # the signature covers the time, so a link cannot be made to live longer
        if given != self._world.signature(request.path_params["event"], name, expires):
            return _error(403, "SignatureDoesNotMatch", "The signature does not match")
        if self._world.clock() >= int(expires):
            return _error(403, "AccessDenied", "Request has expired")
        return await self._file(request, "original")

    async def _file(self, request: Request, variant: str | None) -> Response:
        event = self._world.events.get(request.path_params["event"])
        name = str(request.path_params["name"])
        if event is None or variant is None or not name.endswith(".jpg"):
            return _error(404, "NoSuchKey", "The specified key does not exist")
        # a photo that left the listing may still be in the store
        serial = event.serial(name.removesuffix(".jpg"), served=True)
        if serial is None:
            return _error(404, "NoSuchKey", "The specified key does not exist")
        return await _answer(request, event, serial, variant)


async def _answer(request: Request, event: Event, serial: int, variant: str) -> Response:
    headers = {
        "etag": _etag(event, serial, variant),
        "last-modified": formatdate(event.uploaded(serial), usegmt=True),
        "accept-ranges": "bytes",
    }
    if _unchanged(request, headers["etag"], event.uploaded(serial)):
        return Response(None, HTTPStatus.NOT_MODIFIED, headers)
    body = event.cached(serial, variant)
    # drawing takes tens of milliseconds; in a thread it holds up no other connection
    if body is None:
        name = event.image_id(serial)
        body = await anyio.to_thread.run_sync(event.body, name, variant)
    span = _span(request, headers, event.uploaded(serial), len(body))
    if span is None:
        return Response(body, 200, headers, "image/jpeg")
    start, end = span
    if start >= end:
        wrong = headers | {"content-range": f"bytes */{len(body)}"}
        return Response(None, HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE, wrong)
    headers["content-range"] = f"bytes {start}-{end - 1}/{len(body)}"
    return Response(body[start:end], HTTPStatus.PARTIAL_CONTENT, headers, "image/jpeg")


def _etag(event: Event, serial: int, variant: str) -> str:
    # of what the picture is made from: a HEAD should not have to draw it
    shot = f"{event.shot(serial)} {variant}".encode(errors="surrogatepass")
    return f'"{blake2b(shot, digest_size=16).hexdigest()}"'


def _unchanged(request: Request, etag: str, modified: int) -> bool:
    """Weigh If-None-Match, which comes first, and If-Modified-Since (RFC 9110, 13.2.2)."""
    tags = request.headers.get("if-none-match")
    if tags is not None:
        return tags.strip() == "*" or etag in (
            tag.strip().removeprefix("W/") for tag in tags.split(",")
        )
    since = _seconds(request.headers.get("if-modified-since"))
    return since is not None and modified <= since


def _span(
    request: Request, headers: dict[str, str], modified: int, size: int
) -> tuple[int, int] | None:
    """Return the bytes asked for as `[start, end)`, None for all of them (RFC 9110, 14.2).

    Several ranges at once and a range that no longer fits its If-Range are answered with everything, as allowed.
    """
    match = _RANGE.fullmatch(request.headers.get("range", "").strip())
    if request.method != "GET" or match is None or match[0] == "bytes=-":
        return None
    condition = request.headers.get("if-range")
    if condition is not None and condition != headers["etag"] and _seconds(condition) != modified:
        return None
    first, last = match[1], match[2]
    if not first:
        return max(0, size - int(last)), size
    if last and int(last) < int(first):
        return None
    return int(first), min(size, int(last) + 1) if last else size


def _seconds(text: str | None) -> int | None:
    try:
        return None if text is None else int(parsedate_to_datetime(text).timestamp())
    except ValueError:
        return None


def _error(status: int, code: str, message: str) -> Response:
    return Response(_XML.format(code, message), status, media_type="application/xml")
