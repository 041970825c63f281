"""One origin as an ASGI application: notes every request, lets its fault happen, else passes it to the routes."""

from __future__ import annotations

import gzip
import re
from collections.abc import Awaitable, Callable
from functools import cache
from typing import Final
from urllib.parse import unquote

import trio
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ninepic_mirror.sandbox import wire
from ninepic_mirror.sandbox.faults import Ask, Fault
from ninepic_mirror.sandbox.wire import Connection, Reply
from ninepic_mirror.sandbox.world import Seen, World, header_map

CONTROL: Final = "/sandbox/"  # what steers the sandbox is neither counted nor broken
VARIANT_FOLDERS: Final = {"large": "large", "small": "thumbnail"}
_PHOTO = re.compile(
    r"/(?:imgs/(?P<event>\d+)/(?P<size>large|small)|originals/(?P<original>\d+))/(?P<id>.*)\.jpg",
    re.DOTALL,
)
_EVENT = re.compile(r"/event/(\d+)/")

_PAGE: Final = b"<!doctype html><html><head><title>Sign in</title></head><body><h1>Welcome to the network</h1></body></html>"
_GATEWAY: Final = (
    b"<html><head><title>502 Bad Gateway</title></head><body><center>nginx</center></body></html>"
)
_NOT_JSON: Final = b'{"responseType": "success", "message": "Records for all images", "data": {"images": [{"img_url": "https'
_EXPIRED: Final = b'<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>AccessDenied</Code><Message>Request has expired</Message></Error>'
_DENIED: Final = b'<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>'

Find = Callable[[Scope], Connection | None]


class Origin:
    """An origin of the sandbox.

    Args:
        name: `api` or `photos`.
        world: What is served.
        routes: The answers when nothing goes wrong.
        find: Finds the connection of a request.
    """

    def __init__(self, name: str, world: World, routes: ASGIApp, find: Find) -> None:
        self._name = name
        self._world = world
        self._routes = routes
        self._find = find

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request (ASGI)."""
        if scope["type"] != "http":
            return
        try:
            await self._answer({**scope, "path": _decoded(scope["raw_path"])}, receive, send)
        except ClientDisconnect:
            pass  # the client's choice
        except Exception as error:
            if error not in self._world.crashes:
                self._world.crashes.append(error)
            raise

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = str(scope["path"])
        if path.startswith(CONTROL):
            await self._routes(scope, receive, send)
            return
        ask = describe(self._name, scope)
        seen = Seen(self._name, ask.method, path, ask.query, header_map(tuple(scope["headers"])))
        self._world.note(seen)

        async def noted(message: Message) -> None:
            if message["type"] == "http.response.start":
                seen.status = int(message["status"])
            seen.sent += len(message.get("body", b""))
            await send(message)

        # without faults not even the look-up: most runs have none
        fault = self._world.faults.answer(ask) if len(self._world.faults) else None
        if fault is None:
            await self._routes(scope, receive, noted)
        elif fault.kind in wire.KINDS:
            await self._misbehave(fault, seen, scope, receive)
        else:
            await _send(await self._wrong(fault, ask, scope, receive), noted)

    async def _misbehave(self, fault: Fault, seen: Seen, scope: Scope, receive: Receive) -> None:
        connection = self._find(scope)
        if connection is None:
            return  # closed while its request was on the way
        reply = await self._right(scope, receive)
        seen.status = 0 if fault.kind == "reset" and fault.at == "before" else reply.status
        gone = trio.Event()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_watch, receive, gone)
            await wire.misbehave(fault, reply, connection, gone)
            # also where the act was cut short: nothing may follow on this connection
            connection.abort()
            nursery.cancel_scope.cancel()

    async def _right(self, scope: Scope, receive: Receive) -> Reply:
        """Return what the routes answer, without sending it."""
        # originals are up to 20 MB, held only while a fault breaks them
        messages: list[Message] = []

        async def keep(message: Message) -> None:
            messages.append(message)

        await self._routes(scope, receive, keep)
        body = b"".join(message.get("body", b"") for message in messages[1:])
        return Reply(int(messages[0]["status"]), list(messages[0]["headers"]), body)

    async def _wrong(self, fault: Fault, ask: Ask, scope: Scope, receive: Receive) -> Reply:
        """Return an answer that keeps HTTP's rules and is wrong all the same."""
        if fault.kind == "swap":
            return await self._right(self._elsewhere(ask, scope), receive)
        if fault.kind == "truncated":
            right = await self._right(scope, receive)
            return Reply(right.status, right.headers, right.body[: len(right.body) // 2])
        if fault.kind == "gzip":
            right = await self._right(scope, receive)
            bomb = _bomb(fault.amount or 50, right.body[:4])
            return Reply(right.status, [*right.headers, (b"content-encoding", b"gzip")], bomb)
        return _PLAIN[fault.kind](fault)

    def _elsewhere(self, ask: Ask, scope: Scope) -> Scope:
        """Return the request for another photo of the same event."""
        event = self._world.events.get(ask.event_id or -1)
        names = [photo.image_id for photo in event.photos[:2]] if event is not None else []
        other = next((name for name in names if name != ask.image_id), None)
        if other is None or ask.image_id is None or event is None:
            return scope
        if ask.variant == "original":  # a presigned link holds for one photo only
            link = self._world.presign(event.event_id, other).partition("?")
            path, query = f"/originals/{event.event_id}/{other}.jpg", link[2].encode()
        else:
            path, query = scope["path"].replace(ask.image_id, other), b""
        return {**scope, "path": path, "raw_path": path.encode(), "query_string": query}


def describe(origin: str, scope: Scope) -> Ask:
    """Return what faults look at in a request."""
    path, query = str(scope["path"]), scope["query_string"].decode("latin-1")
    photo = _PHOTO.fullmatch(path) if origin == "photos" else None
    if photo is not None:
        event_id = int(photo["event"] or photo["original"])
        variant = VARIANT_FOLDERS[photo["size"]] if photo["size"] else "original"
        return Ask(origin, scope["method"], path, query, event_id, photo["id"], variant)
    event = _EVENT.search(path)
    return Ask(origin, scope["method"], path, query, int(event[1]) if event else None)


def reporter(world: World) -> Callable[[Request, Exception], Awaitable[Response]]:
    """Return a handler of the sandbox's own faults: the client sees a 500, `running` raises them at its end."""

    async def report(_request: Request, error: Exception) -> Response:
        if not isinstance(error, ClientDisconnect):  # amid its request: the client's choice
            world.crashes.append(error)
        return Response(_envelope(b"The sandbox is broken"), 500, media_type="application/json")

    return report


def _decoded(raw: bytes) -> str:
    # Hypercorn's own decoding loses lone surrogates, which JSON can carry into an id
    try:
        return unquote(raw.decode("latin-1"), errors="surrogatepass")
    except UnicodeDecodeError:
        return unquote(raw.decode("latin-1"))


async def _watch(receive: Receive, gone: trio.Event) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    gone.set()


async def _send(reply: Reply, send: Send) -> None:
    headers = [pair for pair in reply.headers if pair[0].lower() != b"content-length"]
    headers.append((b"content-length", b"%d" % len(reply.body)))
    await send({"type": "http.response.start", "status": reply.status, "headers": headers})
    await send({"type": "http.response.body", "body": reply.body})


def _page(status: int, body: bytes, content_type: str) -> Reply:
    return Reply(status, [(b"content-type", content_type.encode())], body)


def _refusal(status: int, fault: Fault) -> Reply:
    # a gateway's own words, not the envelope (API.md, Basics)
    text = (
        b'{"message": "Too Many Requests"}'
        if status == 429
        else b'{"message": "Service Unavailable"}'
    )
    reply = _page(status, text, "application/json")
    retry_after = fault.retry_after_header()
    if retry_after is not None:
        reply.headers.append((b"retry-after", retry_after.encode()))
    return reply


def _redirect(fault: Fault) -> Reply:
    return Reply(302, [(b"location", fault.to.encode())], b"")


def _envelope(message: bytes) -> bytes:
    return b'{"responseType": "error", "message": "%s", "data": null}' % message


_PLAIN: Final[dict[str, Callable[[Fault], Reply]]] = {
    "429": lambda fault: _refusal(429, fault),
    "rate": lambda fault: _refusal(429, fault),
    "500": lambda _: _page(500, _envelope(b"Internal failure"), "application/json"),
    "502": lambda _: _page(502, _GATEWAY, "text/html"),
    "503": lambda fault: _refusal(503, fault),
    "404": lambda _: _page(404, _envelope(b"Not found"), "application/json"),
    "403": lambda _: _page(403, _DENIED, "application/xml"),
    "timeline_403": lambda _: _page(
        403, _envelope(b"Photo timeline is disabled"), "application/json"
    ),
    "html": lambda fault: _page(200, _PAGE, fault.content_type),
    "json": lambda _: _page(200, _NOT_JSON, "application/json"),
    "empty": lambda _: _page(200, b"", "application/octet-stream"),
    "expire": lambda _: _page(403, _EXPIRED, "application/xml"),
    "redirect": _redirect,
}


@cache
def _bomb(megabytes: int, start: bytes) -> bytes:
    return gzip.compress(start + bytes(megabytes * 1_000_000), mtime=0)
