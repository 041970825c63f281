"""Page, metrics and health over HTTP, for this machine and whoever the operator lets in.

Reading only: GET and HEAD. There is no log-in, so `listen` is on loopback unless the operator says otherwise, and there
a page of somebody else's, opened in a browser on this machine, must not read the mirror's state by a name that it lets
point to 127.0.0.1 (DNS rebinding): only names of this machine are answered. On another address the names that lead to
it are not known here, so all are answered.
"""

from __future__ import annotations

import ipaddress
import json
import logging
import time
from functools import partial
from typing import TYPE_CHECKING, Final

import trio
from hypercorn.app_wrappers import ASGIWrapper
from hypercorn.config import Config
from hypercorn.trio.tcp_server import TCPServer
from hypercorn.trio.worker_context import WorkerContext
from hypercorn.typing import ConnectionState
from starlette.applications import Starlette
from starlette.datastructures import Headers
from starlette.middleware.gzip import GZipMiddleware
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from ninepic_mirror.errors import UsageError
from ninepic_mirror.service.health import reasons
from ninepic_mirror.service.metrics import CONTENT_TYPE, exposition
from ninepic_mirror.service.page import policy, render

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from starlette.requests import Request
    from starlette.types import ASGIApp, Receive, Scope, Send

    from ninepic_mirror.service.board import Board

FRESH: Final = 1.0  # seconds for which an answer is given again, so that a flood of scrapes costs no more than one
CONNECTIONS: Final = (
    32  # at once; who comes later waits, and no file that a pass needs is taken away from it
)
# Long enough for a browser that comes again every 15 s, short enough that idle ones give their place to others.
KEEPALIVE: Final = 5.0
SILENCE: Final = 30  # seconds for which a client may say nothing
HEADERS: Final = {
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
}

_LOG: Final = logging.getLogger(__name__)


def application(board: Board, clock: Callable[[], float] = time.time) -> ASGIApp:
    """Return the three pages as an ASGI application.

    Args:
        board: What they tell; read anew for every answer that is not a second old.
        clock: Epoch seconds.
    """
    metrics = _Kept(lambda now: exposition(board, now))
    page = _Kept(lambda now: render(board, now))
    page_headers = HEADERS | {"Content-Security-Policy": policy()}

    async def show(_request: Request) -> Response:
        return Response(page.at(clock()), media_type="text/html", headers=page_headers)

    async def scrape(_request: Request) -> Response:
        return Response(metrics.at(clock()), headers=HEADERS | {"Content-Type": CONTENT_TYPE})

    async def health(request: Request) -> Response:
        return _health(board, clock(), as_json="json" in request.headers.get("accept", ""))

    # Starlette adds HEAD to GET and answers 405 to the rest.
    app = Starlette(routes=[Route("/", show), Route("/metrics", scrape), Route("/healthz", health)])
    # 200 events are half a megabyte of page, over a tunnel to a phone every 15 s; compressed a twentieth of it.
    app.add_middleware(GZipMiddleware, compresslevel=4)
    app.router.redirect_slashes = False  # a redirect would repeat whatever Host was sent
    return app


async def serve(
    board: Board,
    listen: tuple[str, int],
    *,
    clock: Callable[[], float] = time.time,
    task_status: trio.TaskStatus[str] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve page, metrics and health until cancelled; connections end at once then.

    Args:
        board: What is told.
        listen: Host and port; port 0 takes a free one.
        clock: Epoch seconds.
        task_status: Told the page's address once the port is open.

    Raises:
        UsageError: Nothing can listen there; the cure says what to do.
    """
    host, port = listen
    listeners = await _listen(host, port)
    bound = [listener.socket.getsockname() for listener in listeners]
    app = application(board, clock)
    if all(ipaddress.ip_address(address[0]).is_loopback for address in bound):
        app = OwnNames(app, host)
    async with trio.open_nursery() as nursery:
        server = _Server(app)
        nursery.start_soon(partial(trio.serve_listeners, server.handle, listeners))
        try:
            task_status.started(f"http://{_bracketed(host)}:{bound[0][1]}/")
            await trio.sleep_forever()
        finally:
            server.close()


async def _listen(host: str, port: int) -> list[trio.SocketListener]:
    try:
        return list(await trio.open_tcp_listeners(port, host=host))
    except OSError as error:  # gaierror is one
        where = f"{_bracketed(host)}:{port}"
        cure = (
            "look at [daemon] listen: a free port (`ss -ltnp` shows the taken ones), 1024 or above, "
            'and an address of this machine; "" for none'
        )
        why = error.strerror or str(error)
        raise UsageError(f"cannot listen on {where}: {why}", cure) from error


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _health(board: Board, now: float, *, as_json: bool) -> Response:
    found = reasons(board, now)
    status = 503 if found else 200
    if not as_json:
        text = "\n".join(reason.text for reason in found) or "ok"
        return PlainTextResponse(f"{text}\n", status, headers=HEADERS)
    document = {
        "status": "unhealthy" if found else "ok",
        "phase": board.phase,
        "reasons": [
            {
                "kind": reason.kind,
                "event_id": reason.event_id,
                "seconds": round(reason.seconds),
                "text": reason.text,
            }
            for reason in found
        ],
    }
    return Response(json.dumps(document), status, media_type="application/json", headers=HEADERS)


class _Kept:
    """An answer that is made at most once a second."""

    def __init__(self, make: Callable[[float], bytes | str]) -> None:
        self._make = make
        self._made: bytes | str = b""
        self._at: float | None = None

    def at(self, now: float) -> bytes | str:
        # A clock that was set back must not keep an old answer alive.
        if self._at is None or not 0 <= now - self._at < FRESH:
            self._made, self._at = self._make(now), now
        return self._made


class OwnNames:
    """Answers requests for names of this machine only.

    Any address in numbers will do, because rebinding needs a name; so will a request without `Host`, which no browser
    sends. Ports are not looked at: a tunnel has another one.

    Args:
        app: What answers.
        host: A name that is ours besides `localhost`: the configured one.
    """

    def __init__(self, app: ASGIApp, host: str) -> None:
        self._app, self._names = app, {"localhost", "", host.lower()}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] == "http" and not self._is_ours(Headers(scope=scope).getlist("host")):
            text = "this name is not known here: use localhost, or let your proxy send Host: localhost\n"
            await PlainTextResponse(text, 421, headers=HEADERS)(scope, receive, send)
            return
        await self._app(scope, receive, send)

    def _is_ours(self, hosts: Iterable[str]) -> bool:
        return all(self._is_own(host) for host in hosts)

    def _is_own(self, host: str) -> bool:
        name = host.strip().lower()
        if not name.endswith("]"):  # an address of version 6 without a port
            name = name.rpartition(":")[0] or name
        if name.rstrip(".") in self._names:
            return True
        try:
            ipaddress.ip_address(name.strip("[]"))
        except ValueError:
            return False
        return True


class _Server:
    """The connections.

    `hypercorn.trio.serve` is not used, because stopping has to end connections whose client does not read (Hypercorn
    shields what it sends), and because signals are the daemon's.
    """

    def __init__(self, app: ASGIApp) -> None:
        # Starlette annotates ASGI more loosely than Hypercorn
        self._app = ASGIWrapper(_Guarded(app))  # type: ignore[arg-type]  # see above
        self._config = Config()
        self._config.errorlog = None
        self._config.accesslog = None
        self._config.include_server_header = False
        self._config.keep_alive_timeout = KEEPALIVE
        self._config.read_timeout = SILENCE
        self._worker = WorkerContext(None)
        self._room = trio.CapacityLimiter(CONNECTIONS)
        self._streams: set[trio.SocketStream] = set()

    async def handle(self, stream: trio.SocketStream) -> None:
        """Serve one connection until either side ends it."""
        self._streams.add(stream)
        try:
            async with self._room:
                with trio.CancelScope() as scope:
                    await _Connection(
                        self._app,
                        self._config,
                        self._worker,
                        ConnectionState({}),
                        # TCPServer is annotated for TLS only and tells the two apart itself
                        stream,  # type: ignore[arg-type]  # see above
                        scope,
                    )
        except* (trio.BrokenResourceError, trio.ClosedResourceError, OSError):
            pass  # Hypercorn lets some of them out when a client leaves at an odd moment
        except* Exception as group:  # noqa: BLE001  a client's oddity must not end the daemon
            _LOG.warning("a request to the status page broke off: %r", group.exceptions[0])
        finally:
            self._streams.discard(stream)
            stream.socket.close()

    def close(self) -> None:
        """Close every connection at once."""
        for stream in list(self._streams):
            stream.socket.close()


class _Connection(TCPServer):
    """Ends when its client has gone; by itself it would keep the place until `KEEPALIVE` is over.

    Args:
        scope: All that is done for the connection.
        others: Those of `TCPServer`.
    """

    def __init__(
        self,
        app: ASGIWrapper,
        config: Config,
        context: WorkerContext,
        state: ConnectionState,
        stream: trio.SSLStream[trio.SocketStream],
        scope: trio.CancelScope,
    ) -> None:
        super().__init__(app, config, context, state, stream)
        self._scope = scope

    async def _read_data(self) -> None:
        await super()._read_data()
        self._scope.cancel()


class _Guarded:
    """Logs what breaks in a page; the client has its 500 already, and the daemon goes on."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await self._app(scope, receive, send)
        except Exception:  # noqa: BLE001  whatever it is
            _LOG.exception("%s cannot be shown", scope.get("path"))
