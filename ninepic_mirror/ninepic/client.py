"""The typed API client (API.md): one method per endpoint, each through the pacer, each answer checked."""

from __future__ import annotations

import logging
import time
from collections import Counter
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final, TypeVar
from urllib.parse import quote

import httpx
import msgspec
import trio

from ninepic_mirror.errors import (
    EventNotFoundError,
    FeatureOffError,
    KeyRefusedError,
    MirrorError,
    PassingError,
    RedirectedError,
    RejectedError,
    UnreachableError,
    UsageError,
)
from ninepic_mirror.model import Event, Originals
from ninepic_mirror.ninepic import wire
from ninepic_mirror.ninepic.backoff import read_date
from ninepic_mirror.ninepic.body import drain, read_capped
from ninepic_mirror.ninepic.limits import Limits
from ninepic_mirror.ninepic.session import (
    Trust,
    answers_plainly,
    open_http,
    origin_of,
    passing_status,
    translate,
)

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

    from ninepic_mirror.config import Api
    from ninepic_mirror.model import Details, Key, Page, Timeline, Window
    from ninepic_mirror.ninepic.pacing import Pacer

T = TypeVar("T")

PAGE_SIZE: Final = 100  # the most that the service gives, API.md
BATCH: Final = 60  # the most ids of one original-photos request, API.md
PAGES: Final = 10_000  # a million events: beyond this a listing of events does not end by itself

_log = logging.getLogger(__name__)


@asynccontextmanager
async def open_client(
    api: Api,
    key: Key,
    pacer: Pacer,
    limits: Limits | None = None,
    context: ssl.SSLContext | None = None,
    trust: Trust | None = None,
) -> AsyncIterator[Client]:
    """Open the client of the API origin, the only one that holds the key.

    Args:
        api: The `[api]` section.
        key: Sent in `X-API-Key`, to `api.base_url` only.
        pacer: The API origin's; may outlive the client.
        limits: Other limits than the usual ones.
        context: As `session.tls_context` returns it, where there is one already.
        trust: In that context, where other clients share it.

    Raises:
        UsageError: The key, `ca_file` or `proxy` cannot be used.
    """
    limits = limits or Limits()
    # Any address: the operator wrote this host into the configuration, and an on-premise service has a private one.
    async with open_http(
        api, limits, connections=None, allow_private=True, context=context
    ) as http:
        yield Client(http, api, key, pacer, limits, trust or Trust())


class Client:
    """Calls of the API.

    Every one may raise, beside what it names:
    `KeyRefusedError` (401, 403), `EventNotFoundError` (404), `RejectedError` (other 4xx), `RedirectedError` (3xx),
    `CertificateError`, `UnreachableError` and, when a request keeps failing while others succeed, the last `PassingError`.
    """

    def __init__(
        self,
        http: httpx.AsyncClient,
        api: Api,
        key: Key,
        pacer: Pacer,
        limits: Limits,
        trust: Trust,
    ) -> None:
        self._http = http
        self._base = f"{api.base_url.rstrip('/')}/api/v1/ext/{api.org_id}"
        self._org_id = api.org_id
        self._headers = {"X-API-Key": _header_value(key), "Accept": "application/json"}
        self._limits, self._trust = limits, trust
        self._key_is_good = False
        self._statuses: Counter[int] = Counter()
        self._date, self._dated = "", 0.0  # of the last good answer, and when by the steady clock
        # What is simple to answer, by its call: what was answered last comes last.
        self._simple: dict[str, Callable[[], Awaitable[object]]] = {"events": self._ask_events}
        self.pacer = pacer

    @property
    def statuses(self) -> dict[int, int]:
        """Answers so far by their status; 0: requests without an answer."""
        return dict(self._statuses)

    def time(self) -> float | None:
        """Return what the service's clock shows now, in epoch seconds, by its last answer; None where it does not tell."""
        date = read_date(self._date)
        return None if date is None else date + time.monotonic() - self._dated

    def events(self) -> Events:
        """Iterate over every event of the organisation: `async for event in client.events()`."""
        return Events(self)

    async def events_page(self, page: int, page_size: int = PAGE_SIZE) -> wire.EventsPage:
        """Return one page of `/events`; pages count from 1."""
        return await self._get(
            "events", None, "/events", lambda body: wire.read_events(body, page_size),
            page=page, page_size=page_size,
        )  # fmt: skip

    async def probe(self) -> None:
        """Return when something simple, that the service has answered before, is answered."""
        await self.pacer.run(self._probe)

    async def ping(self, event_id: int) -> None:
        """Return when the key is good for the event."""
        await self._get(
            "ping", event_id, f"/event/{event_id}/ping", lambda body: wire.read_ping(body, event_id)
        )

    async def details(self, event_id: int) -> Details:
        """Return the event and its flags."""
        return await self._get(
            "details", event_id, f"/event/{event_id}/details",
            lambda body: wire.read_details(body, event_id),
        )  # fmt: skip

    async def images(self, event_id: int, page: int, page_size: int = PAGE_SIZE) -> Page:
        """Return one page of every photo of the event, by capture time, those without one last."""
        return await self._page("images", event_id, "images", page=page, page_size=page_size)

    async def timeline_days(self, event_id: int) -> Timeline:
        """Return the UTC hours that hold photos.

        Raises:
            FeatureOffError: 403, though the key is known to be good.
        """
        return await self._get(
            "timeline", event_id, f"/event/{event_id}/timeline/days", wire.read_timeline
        )

    async def timeline_images(
        self, event_id: int, window: Window, page: int, page_size: int = PAGE_SIZE
    ) -> Page:
        """Return one page of the photos captured in the window.

        Raises:
            FeatureOffError: 403, though the key is known to be good.
        """
        bounds = {"from": window.start, "to": window.end}
        return await self._page(
            "timeline", event_id, "timeline/images", **bounds, page=page, page_size=page_size
        )

    async def bib_images(
        self, event_id: int, bib: str, page: int, page_size: int = PAGE_SIZE
    ) -> Page:
        """Return one page of the photos of a bib number.

        Raises:
            FeatureOffError: 403, though the key is known to be good.
        """
        path = f"bibs/{quote(bib, safe='')}"
        return await self._page("bibs", event_id, path, page=page, page_size=page_size)

    async def original_photos(self, event_id: int, ids: Sequence[str]) -> Originals:
        """Return addresses of the originals, which live for about an hour.

        A batch that is rejected as a whole (400) is halved until the ids that it does not like stand alone.

        Args:
            event_id: The event.
            ids: 1 to 60 ids.

        Raises:
            FeatureOffError: 403, though the key is known to be good.
        """
        batch = tuple(ids)
        if not 0 < len(batch) <= BATCH:
            raise ValueError(f"{len(batch)} ids; 1 to {BATCH} are possible")
        try:
            return await self._originals(event_id, batch)
        except RejectedError as error:
            if error.status != 400:
                raise
        if len(batch) == 1:
            return Originals({}, {batch[0]: "rejected by the service (400)"})
        middle = len(batch) // 2
        first = await self.original_photos(event_id, batch[:middle])
        second = await self.original_photos(event_id, batch[middle:])
        return Originals(
            first.urls | second.urls,
            first.failed | second.failed,
            first.unmatched + second.unmatched,
            first.strangers + second.strangers,
            first.aliases | second.aliases,
            first.foreign | second.foreign,
        )

    async def _originals(self, event_id: int, ids: tuple[str, ...]) -> Originals:
        request = self._http.build_request(
            "POST",
            f"{self._base}/event/{event_id}/original-photos",
            params={"page": 1, "page_size": BATCH},
            content=msgspec.json.encode({"method": "image_ids", "identifier": ids}),
            headers=self._headers | {"Content-Type": "application/json"},
        )
        return await self._run(
            "original-photos", event_id, request, lambda body: wire.read_originals(body, ids)
        )

    async def _page(self, call: str, event_id: int, path: str, **query: int) -> Page:
        size = query["page_size"]
        return await self._get(
            call, event_id, f"/event/{event_id}/{path}",
            lambda body: wire.read_page(body, size), **query,
        )  # fmt: skip

    async def _get(
        self, call: str, event_id: int | None, path: str, read: Callable[[bytes], T], **query: int
    ) -> T:
        request = self._request(path, **query)
        answer = await self._run(call, event_id, request, read)
        if query.get("page_size", 1) == 1:
            self._simple.pop(call, None)
            self._simple[call] = lambda: self._attempt(call, event_id, request, read)
        return answer

    def _request(self, path: str, **query: int) -> httpx.Request:
        return self._http.build_request(
            "GET", self._base + path, params=query, headers=self._headers
        )

    async def _run(
        self, call: str, event_id: int | None, request: httpx.Request, read: Callable[[bytes], T]
    ) -> T:
        """Send the request as often as the pacer says and read the answer, a malformed one being a passing fault."""
        return await self.pacer.run(
            lambda: self._attempt(call, event_id, request, read),
            self._probe if self._limits.probes else None,
        )

    async def _probe(self) -> None:
        """Ask, once, for what was simple to answer: does the service answer at all, or do only some requests fail?

        For what was answered last; the next time for something else, where that is not answered any more. A single call
        that is broken, whichever it is, is no outage.
        """
        call, ask = self._simple.popitem()
        self._simple = {call: ask} | self._simple
        await ask()
        self._simple[call] = self._simple.pop(call)

    async def _ask_events(self) -> None:
        request = self._request("/events", page=1, page_size=1)
        await self._attempt("events", None, request, lambda body: wire.read_events(body, 1))

    async def _attempt(
        self, call: str, event_id: int | None, request: httpx.Request, read: Callable[[bytes], T]
    ) -> T:
        response, body = await self._send(request)
        if response.status_code != 200:
            raise self._refusal(call, event_id, response, body)
        if response.headers.get("content-encoding", "identity").lower() != "identity":
            raise PassingError("malformed answer: encoded, though identity was asked for")
        answer = read(body)
        self._key_is_good = True
        self._date, self._dated = response.headers.get("date", ""), time.monotonic()
        return answer

    async def _send(self, request: httpx.Request) -> tuple[httpx.Response, bytes]:
        origin = origin_of(request.url)
        try:
            with trio.fail_after(self._limits.head):
                response = await self._http.send(request, stream=True)
        except trio.TooSlowError as error:
            self._statuses[0] += 1
            raise PassingError(f"{origin} did not answer in {self._limits.head:.0f} s") from error
        except httpx.HTTPError as error:
            self._statuses[0] += 1
            broken = translate(error, origin)
            # no photo's address but the configured one: waiting changes nothing
            if answers_plainly(error):
                raise UnreachableError(origin, 0, str(broken)) from error
            raise broken from error
        self._statuses[response.status_code] += 1
        self._trust.has_verified |= request.url.scheme == "https"
        try:
            fault = passing_status(response, time.time())
            if fault is not None:
                await drain(response, self._limits)
                raise fault
            return response, await self._read(response)
        finally:
            with trio.CancelScope(shield=True):
                await response.aclose()

    async def _read(self, response: httpx.Response) -> bytes:
        try:
            return await read_capped(response, self._limits.json, self._limits)
        except PassingError:
            if response.status_code == 200:
                raise
            return b""  # a refusal is one, however broken its body: a bad key must not be tried twelve times

    def _refusal(
        self, call: str, event_id: int | None, response: httpx.Response, body: bytes
    ) -> MirrorError:
        """Return the error of a definite status (API.md, Errors). The message is for the log only."""
        status = response.status_code
        _log.debug("%s: %d: %s", call, status, wire.read_message(body))
        if (
            status == 403
            and event_id is not None
            and call in {"timeline", "bibs", "original-photos"}
            and self._key_is_good
        ):
            return FeatureOffError(event_id, call)
        if status in {401, 403}:
            return KeyRefusedError(status, self._org_id, event_id)
        if status == 404 and event_id is not None:
            return EventNotFoundError(event_id)
        if response.is_redirect:  # with an address or without: never followed
            return RedirectedError(call, status)
        return RejectedError(call, status)


class Events:
    """Every event of the organisation, page after page. An iterator, so that a caller may stop at any time."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._ready: list[Event] = []
        self._seen: set[int] = set()
        self._page = 0
        self._has_next = True

    def __aiter__(self) -> Events:
        return self

    async def __anext__(self) -> Event:
        while not self._ready:
            if not self._has_next or self._page >= PAGES:
                raise StopAsyncIteration
            await self._read()
        return self._ready.pop(0)

    async def _read(self) -> None:
        self._page += 1
        page = await self._client.events_page(self._page)
        for line in page.rejected:
            _log.warning("events, page %d: %s", self._page, line)
        self._ready = [e for e in page.events if e.event_id not in self._seen]
        self._seen.update(e.event_id for e in self._ready)
        # A page that brings nothing new ends it, whatever it says of a next one (RELIABILITY N15).
        self._has_next = page.has_next and bool(self._ready)


def _header_value(key: Key) -> str:
    """Return the key, once it is sure that no library has to complain about it, because complaints quote it."""
    secret = key.reveal()
    if not secret or not secret.isascii() or not secret.isprintable() or " " in secret:
        raise UsageError(
            f"the API key from {key.source} is not one line of plain characters", "copy it again"
        )
    return secret
