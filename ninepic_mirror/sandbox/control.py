"""Steering a sandbox that runs as a process of its own: the Python methods as HTTP calls on the API origin.

Every call needs an API key of the sandbox in `X-API-Key` and takes and answers plain JSON:

    POST   /sandbox/{event_id}/add       {"count": 3, "hour": 1768777200}      → {"image_ids": […]}
    POST   /sandbox/{event_id}/add_raw   {"image_id": "../../x", "hour": …, "item": {…}}
    POST   /sandbox/{event_id}/remove    {"image_id": "…", "keep_file": false}
    POST   /sandbox/{event_id}/retime    {"image_id": "…", "hour": 1768780800}
    POST   /sandbox/{event_id}/replace   {"image_id": "…"}
    POST   /sandbox/{event_id}/set       {"slug": "…", "timeline_search": false}
    DELETE /sandbox/{event_id}
    POST   /sandbox/revoke               {"key": "…"}
    POST   /sandbox/faults               {"kind": "429", "probability": 0.1}, or a list of them
    DELETE /sandbox/faults
    GET    /sandbox/requests             → {"api": 12, "photos": 300}
    DELETE /sandbox/requests
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from json import JSONDecodeError
from typing import TYPE_CHECKING, Final

from starlette.routing import BaseRoute, Route

from ninepic_mirror.sandbox.faults import Fault
from ninepic_mirror.sandbox.listing import Refusal, json_answer

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

    from ninepic_mirror.sandbox.events import Event
    from ninepic_mirror.sandbox.world import World

Fields = Mapping[str, object]


def routes(world: World) -> list[BaseRoute]:
    """Return the routes that steer a sandbox."""
    control = Control(world)
    return [
        Route("/sandbox/faults", control.add_faults, methods=["POST"]),
        Route("/sandbox/faults", control.clear_faults, methods=["DELETE"]),
        Route("/sandbox/requests", control.counts, methods=["GET"]),
        Route("/sandbox/requests", control.clear_requests, methods=["DELETE"]),
        Route("/sandbox/revoke", control.revoke, methods=["POST"]),
        Route("/sandbox/{event:int}/{action}", control.change, methods=["POST"]),
        Route("/sandbox/{event:int}", control.remove_event, methods=["DELETE"]),
    ]


class Control:
    """The calls listed at the head of this module, one method each."""

    def __init__(self, world: World) -> None:
        self._world = world

    async def add_faults(self, request: Request) -> Response:
        """POST /sandbox/faults."""
        body = await self._body(request)
        given = body if isinstance(body, list) else [body]
        try:
            # every one is made before the first is added: all of them or none
            self._world.faults.add(*[_fault(_fields(one)) for one in given])
        except (TypeError, ValueError) as error:
            raise Refusal(422, str(error)) from error
        return json_answer({"faults": len(self._world.faults)})

    async def clear_faults(self, request: Request) -> Response:
        """DELETE /sandbox/faults."""
        self._authorise(request)
        self._world.faults.clear()
        return json_answer({"faults": 0})

    async def counts(self, request: Request) -> Response:
        """GET /sandbox/requests."""
        self._authorise(request)
        return json_answer({origin: self._world.count(origin) for origin in ("api", "photos")})

    async def clear_requests(self, request: Request) -> Response:
        """DELETE /sandbox/requests."""
        self._authorise(request)
        self._world.clear_requests()
        return json_answer({"api": 0, "photos": 0})

    async def revoke(self, request: Request) -> Response:
        """POST /sandbox/revoke."""
        fields = _fields(await self._body(request))
        self._world.revoke(str(fields.get("key")))
        return json_answer({"keys": len(self._world.keys)})

    async def remove_event(self, request: Request) -> Response:
        """DELETE /sandbox/{event_id}."""
        self._authorise(request)
        self._world.remove_event(self._event(request).event_id)
        return json_answer({"events": sorted(self._world.events)})

    async def change(self, request: Request) -> Response:
        """POST /sandbox/{event_id}/{action}."""
        fields = _fields(await self._body(request))
        act = _ACTIONS.get(request.path_params["action"])
        if act is None:
            raise Refusal(404, f"the actions are {', '.join(_ACTIONS)}")
        try:
            answer = act(self._event(request), fields)
        except (TypeError, ValueError, KeyError) as error:
            raise Refusal(422, f"{type(error).__name__}: {error}") from error
        return json_answer(answer)

    def _authorise(self, request: Request) -> None:
        if request.headers.get("x-api-key") not in self._world.control_keys:
            raise Refusal(403, "the sandbox takes orders only with its key")

    async def _body(self, request: Request) -> object:
        self._authorise(request)
        try:
            body: object = await request.json()
        except (JSONDecodeError, UnicodeDecodeError):
            raise Refusal(422, "body: JSON is required") from None
        return body

    def _event(self, request: Request) -> Event:
        event = self._world.events.get(request.path_params["event"])
        if event is None:
            raise Refusal(404, "Event not found")
        return event


def _fields(body: object) -> Fields:
    if not isinstance(body, dict):
        raise Refusal(422, "body: a JSON object is required")
    return body


def _fault(fields: Fields) -> Fault:
    return Fault(**fields)  # type: ignore[arg-type]  # a Fault looks at its types itself


def _whole(fields: Fields, name: str, default: int | None = None) -> int | None:
    value = fields.get(name, default)
    if value is not None and not isinstance(value, int):
        raise TypeError(f"{name} is a whole number")
    return value


def _add(event: Event, fields: Fields) -> object:
    count = _whole(fields, "count", _whole(fields, "n", 1))
    return {"image_ids": event.add(1 if count is None else count, _whole(fields, "hour"))}


def _add_raw(event: Event, fields: Fields) -> object:
    item = fields.get("item")
    event.add_raw(
        image_id=fields["image_id"],
        img_url=fields.get("img_url", ...),
        thumbnail_url=fields.get("thumbnail_url", ...),
        hour=_whole(fields, "hour"),
        item=item if isinstance(item, dict) else None,
    )
    return {"photos": len(event.photos)}


def _remove(event: Event, fields: Fields) -> object:
    event.remove(str(fields["image_id"]), keep_file=fields.get("keep_file") is True)
    return {"photos": len(event.photos)}


def _retime(event: Event, fields: Fields) -> object:
    event.retime(str(fields["image_id"]), _whole(fields, "hour"))
    return {"photos": len(event.photos)}


def _replace(event: Event, fields: Fields) -> object:
    event.replace(str(fields["image_id"]))
    return {"photos": len(event.photos)}


def _set(event: Event, fields: Fields) -> object:
    event.set(**fields)
    return {**event.fields, **event.flags}


_ACTIONS: Final[dict[str, Callable[[Event, Fields], object]]] = {
    "add": _add,
    "add_raw": _add_raw,
    "remove": _remove,
    "retime": _retime,
    "replace": _replace,
    "set": _set,
}
