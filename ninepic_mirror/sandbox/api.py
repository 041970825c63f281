"""The routes of the API origin, written by hand from API.md.

Where API.md says *unknown*, the sandbox answers in one of the possible ways: a page past the end is empty and keeps the
total; page numbers below 1 and sizes above the limit are 422, as FastAPI services have it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from json import JSONDecodeError
from random import Random
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from ninepic_mirror.sandbox import listing
from ninepic_mirror.sandbox.listing import PageAsk, Refusal, envelope, pagination
from ninepic_mirror.sandbox.origin import describe, reporter

if TYPE_CHECKING:
    from ninepic_mirror.sandbox.events import Event
    from ninepic_mirror.sandbox.world import World

PREFIX: Final = "/api/v1/ext/{org}"
METHODS: Final = ("image_ids", "image_id", "bib", "selfie")

Endpoint = Callable[[Request], Awaitable[Response]]


def application(world: World, control: Sequence[BaseRoute]) -> Starlette:
    """Return the API's routes.

    Args:
        world: What is served.
        control: Routes that steer the sandbox.
    """
    api = Api(world)
    event = PREFIX + "/event/{event}"
    routes: list[BaseRoute] = [
        Route(PREFIX + "/events", api.events),
        Route(event + "/ping", api.ping),
        Route(event + "/details", api.details),
        Route(event + "/images", api.images),
        Route(event + "/timeline/days", api.days),
        Route(event + "/timeline/images", api.window),
        Route(event + "/bibs/{bib}", api.bibs),
        Route(event + "/original-photos", api.originals, methods=["POST"]),
        *control,
    ]
    handlers = {Refusal: _refused, HTTPException: _not_routed, Exception: reporter(world)}
    return Starlette(routes=routes, exception_handlers=handlers)


class Api:
    """The calls of API.md, one method each."""

    def __init__(self, world: World) -> None:
        self._world = world

    async def events(self, request: Request) -> Response:
        """GET /events."""
        self._authorise(request)
        page = _page(request, 10, 100)
        rows = [_summary(event) for event in self._world.events.values()]
        start = (page.page - 1) * page.size
        data = {
            "events": rows[start : start + page.size],
            "pagination": pagination(len(rows), page),
        }
        return envelope("Events", data)

    async def ping(self, request: Request) -> Response:
        """GET /event/{id}/ping, the one answer without the envelope."""
        event = self._event(request)
        return listing.json_answer(
            {"status": "ok", "org_id": self._world.org_id, "event_id": event.event_id}
        )

    async def details(self, request: Request) -> Response:
        """GET /event/{id}/details."""
        event = self._event(request)
        return envelope("Event details", _summary(event) | event.flags)

    async def images(self, request: Request) -> Response:
        """GET /event/{id}/images."""
        event = self._event(request)
        page = _page(request, 32, 100)
        data = listing.photo_page(self._world, event, describe("api", request.scope), page)
        return envelope("Records for all images" if data["images"] else "No images found", data)

    async def days(self, request: Request) -> Response:
        """GET /event/{id}/timeline/days."""
        event = self._event(request, "timeline_search")
        data = listing.timeline_days(self._world, event, describe("api", request.scope))
        return envelope("Timeline buckets" if data["days"] else "No timeline data", data)

    async def window(self, request: Request) -> Response:
        """GET /event/{id}/timeline/images."""
        event = self._event(request, "timeline_search")
        start, end = _number(request, "from"), _number(request, "to")
        page = _page(request, 32, 100)
        if end <= start:
            raise Refusal(400, "to must be greater than from")
        ask = describe("api", request.scope)
        data = listing.photo_page(self._world, event, ask, page, (start, end))
        found = "Records for timeline window" if data["images"] else "No images found"
        return envelope(found, data)

    async def bibs(self, request: Request) -> Response:
        """GET /event/{id}/bibs/{bib}."""
        event = self._event(request, "bib_search")
        page = _page(request, 32, 100)
        ask = describe("api", request.scope)
        bib = unquote(request.path_params["bib"])
        data = listing.bib_page(self._world, event, ask, page, bib)
        return envelope("Records for bib" if data["images"] else "No images found", data)

    async def originals(self, request: Request) -> Response:
        """POST /event/{id}/original-photos."""
        event = self._event(request)
        page = _page(request, 30, 60)
        method, identifier = await _search(request)
        # the flag of a method counts before its result: 403, then 400
        names = self._names(event, method, identifier)
        known = [name for name in names if event.serial(name) is not None]
        if not known:
            raise Refusal(400, "No valid image ids")
        # all ids invalid is 400, some invalid are listed one by one (API.md, Errors)
        start = (page.page - 1) * page.size
        data = self._links(request, event, names[start : start + page.size])
        data |= {
            "total_images": len(names),
            "identifier": None if method == "image_ids" else identifier,
            "message": None,
            "pagination": pagination(len(names), page),
        }
        if (
            event.bare_originals
        ):  # older pages of the documentation show it so (API.md, original-photos)
            return listing.json_answer(data)
        return envelope("Original photos", data)

    def _names(self, event: Event, method: str, identifier: object) -> list[str]:
        if method == "image_ids":
            if not isinstance(identifier, list) or not identifier:
                raise Refusal(422, "identifier: a list of image ids is required")
            return [str(name) for name in identifier]
        if not isinstance(identifier, str) or not identifier:
            raise Refusal(422, "identifier: a text is required")
        if method == "image_id":
            return [identifier]
        if not event.flags["bib_search" if method == "bib" else "selfie_search"]:
            raise Refusal(403, f"{method} search is disabled for this event")
        if method == "selfie":
            raise Refusal(400, "No face found in the selfie")  # faces are beyond a sandbox
        return [event.image_id(serial) for serial in event.bib_serials(identifier)]

    def _links(self, request: Request, event: Event, names: Sequence[str]) -> dict[str, object]:
        """Return links and refused ids of one page, shuffled, refused or dropped as faults have it."""
        ask = describe("api", request.scope)
        dropped = self._chosen(request, "missing", names)
        refused = self._chosen(request, "failed", names) - dropped
        links, failed = [], []
        for name in names:
            if name in dropped:
                continue
            if name in refused or event.serial(name) is None:
                failed.append({"image_id": name, "error": "Image not found", "path": None})
            else:
                url = self._world.presign(event.event_id, name)
                links.append({"url": url, "filename": f"{name}.jpg"})
        if self._world.faults.listing("shuffle", ask) is not None:
            Random(len(links)).shuffle(links)  # noqa: S311  disorder, no secret
        return {
            "presigned_urls": links,
            "failed_urls": failed,
            "successful_count": len(links),
            "failed_count": len(failed),
        }

    def _chosen(self, request: Request, kind: str, names: Sequence[str]) -> set[str]:
        fault = self._world.faults.listing(kind, describe("api", request.scope))
        if fault is None:
            return set()
        return {fault.image_id} if fault.image_id is not None else set(names[: fault.amount or 1])

    def _authorise(self, request: Request) -> None:
        key = request.headers.get("x-api-key")
        if not key:
            raise Refusal(401, "API key is missing")
        # which of the two it is, the service does not say either
        if key not in self._world.keys or request.path_params["org"] != str(self._world.org_id):
            raise Refusal(403, "API key is invalid or inactive")

    def _event(self, request: Request, feature: str | None = None) -> Event:
        self._authorise(request)
        # the key comes first: a stranger does not learn which events exist
        try:
            number = int(request.path_params["event"])
        except ValueError:
            raise Refusal(422, "event_id: not an integer") from None
        event = self._world.events.get(number)
        if event is None:
            raise Refusal(404, "Event not found")
        if feature is not None and not event.flags[feature]:
            raise Refusal(403, f"{feature} is disabled for this event")
        return event


def _summary(event: Event) -> dict[str, object]:
    fields = {f"event_{name}": event.fields[name] for name in ("name", "slug", "date")}
    status = event.fields["status"]
    return {"event_id": event.event_id, **fields, "status": status, "cover_image": None}


def _number(request: Request, name: str, default: int | None = None) -> int:
    text = request.query_params.get(name)
    if text is None and default is not None:
        return default
    try:
        return int(text or "")
    except ValueError:
        raise Refusal(422, f"query.{name}: a valid integer is required") from None


def _page(request: Request, size: int, most: int) -> PageAsk:
    ask = PageAsk(_number(request, "page", 1), _number(request, "page_size", size))
    if ask.page < 1 or not 1 <= ask.size <= most:
        raise Refusal(422, f"query: page starts at 1, page_size is 1 to {most}")
    return ask


async def _search(request: Request) -> tuple[str, object]:
    try:
        body: object = await request.json()
    except (JSONDecodeError, UnicodeDecodeError):
        raise Refusal(422, "body: JSON is required") from None
    if not isinstance(body, dict) or body.get("method") not in METHODS:
        raise Refusal(422, f"body.method: one of {', '.join(METHODS)}")
    return body["method"], body.get("identifier")


async def _refused(_request: Request, error: Exception) -> Response:
    if not isinstance(error, Refusal):
        raise TypeError(error)
    return listing.refusal(error.status, error.message)


async def _not_routed(_request: Request, error: Exception) -> Response:
    if not isinstance(error, HTTPException):
        raise TypeError(error)
    return listing.refusal(error.status_code, str(error.detail))
