"""Serving a sandbox: two origins on loopback, http or https, inside the caller's trio run."""

from __future__ import annotations

from contextlib import ExitStack, asynccontextmanager
from functools import partial
from math import inf
from pathlib import Path
from ssl import PROTOCOL_TLS_SERVER, SSLContext
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Final

import trio
import trustme
from hypercorn.app_wrappers import ASGIWrapper
from hypercorn.config import Config
from hypercorn.trio.tcp_server import TCPServer
from hypercorn.trio.worker_context import WorkerContext
from hypercorn.typing import AppWrapper, ConnectionState

from ninepic_mirror.sandbox import api, control, photos
from ninepic_mirror.sandbox.origin import Origin
from ninepic_mirror.sandbox.wire import Connection
from ninepic_mirror.sandbox.world import World

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable

    from starlette.types import Scope

    from ninepic_mirror.sandbox.specs import EventSpec

HOST: Final = "127.0.0.1"
Stream = trio.SSLStream[trio.SocketStream] | trio.SocketStream


class Sandbox(World):
    """A synthetic 9Pic: an API origin and a photo origin on this machine.

    Args:
        specs: The events.
        org_id: The organisation that owns them and the keys.
        keys: API keys that are accepted.
        tls: Serve https with a certificate authority of its own, found at `ca_file`.
        seed: Decides which requests meet faults.
        link_lifetime: Seconds that a presigned link lives.
    """

    def __init__(
        self,
        specs: Iterable[EventSpec] = (),
        *,
        org_id: int = 903,
        keys: Iterable[str] = ("test-key",),
        tls: bool = False,
        seed: int = 1,
        link_lifetime: float = 3600,
    ) -> None:
        super().__init__(specs, org_id=org_id, keys=keys, seed=seed, link_lifetime=link_lifetime)
        self.tls = tls
        self.ca_file: Path | None = None
        """The authority's certificate as PEM while an https sandbox runs, else None."""

    @asynccontextmanager
    async def running(self, *, api_port: int = 0, photos_port: int = 0) -> AsyncIterator[Sandbox]:
        """Serve both origins until the block ends; every connection is closed then.

        Args:
            api_port: Port of the API, 0 for a free one.
            photos_port: Port of the photo origin, 0 for a free one.

        Raises:
            OSError: A port is taken.
            ExceptionGroup: A handler of the sandbox itself was broken.
        """
        error: BaseException | None = None
        with ExitStack() as stack:
            context = self._certificates(stack) if self.tls else None
            try:
                async with trio.open_nursery() as nursery:
                    lines: list[Line] = []
                    try:
                        lines += await self._start(nursery, context, (api_port, photos_port))
                        yield self
                    except BaseException as raised:
                        error = raised
                        raise
                    finally:
                        for line in lines:
                            line.close()
                        nursery.cancel_scope.cancel()
            except BaseExceptionGroup as group:
                # the block's own error leaves as it came, so that `pytest.raises` and `skip` see it
                if group.exceptions != (error,):
                    raise
            if error is not None:
                raise error
        if self.crashes:
            raise ExceptionGroup("the sandbox is broken", self.crashes)

    async def _start(
        self, nursery: trio.Nursery, context: SSLContext | None, ports: tuple[int, int]
    ) -> list[Line]:
        scheme = "http" if context is None else "https"
        urls, lines = [], []
        for port in ports:
            line = Line(context)
            listeners = await trio.open_tcp_listeners(port, host=HOST)
            urls.append(f"{scheme}://{HOST}:{listeners[0].socket.getsockname()[1]}")
            lines.append(line)
            nursery.start_soon(partial(trio.serve_listeners, line.handle, listeners))
        self.api_url, self.photos_url = urls
        lines[0].serve(
            Origin("api", self, api.application(self, control.routes(self)), lines[0].find)
        )
        lines[1].serve(Origin("photos", self, photos.application(self), lines[1].find))
        return lines

    def _certificates(self, stack: ExitStack) -> SSLContext:
        authority = trustme.CA(organization_name="9Pic sandbox")
        folder = Path(stack.enter_context(TemporaryDirectory(prefix="ninepic-sandbox-")))
        self.ca_file = folder / "ca.pem"
        stack.callback(setattr, self, "ca_file", None)
        authority.cert_pem.write_to_path(str(self.ca_file))
        context = SSLContext(PROTOCOL_TLS_SERVER)
        context.set_alpn_protocols(["http/1.1"])
        authority.issue_cert(HOST, "localhost").configure_cert(context)
        return context


class Line:
    """The connections of one origin.

    They are accepted here and not by `hypercorn.trio.serve`, because wire faults need the connection of a request, and
    because stopping has to close connections whose client does not read: Hypercorn shields what it sends.

    Args:
        context: TLS, or None without.
    """

    def __init__(self, context: SSLContext | None) -> None:
        self._context = context
        self._app: AppWrapper | None = None
        self._connections: dict[tuple[object, ...], Connection] = {}
        self._config = Config()
        self._config.errorlog = None  # nobody reads it; what breaks is raised when the sandbox ends
        self._config.accesslog = None
        self._config.include_server_header = False
        # no deadlines: a test's virtual clock jumps to the next one whenever all tasks wait for a socket
        self._config.keep_alive_timeout = inf
        self._config.ssl_handshake_timeout = inf
        self._config.keep_alive_max_requests = 10**9
        self._config.h11_max_incomplete_size = 256 * 1024  # addresses of hostile ids are long
        self._worker = WorkerContext(None)

    def serve(self, origin: Origin) -> None:
        """Set what answers; connections wait until then."""
        # Starlette annotates ASGI more loosely than Hypercorn
        self._app = ASGIWrapper(origin)  # type: ignore[arg-type]  # see above

    def find(self, scope: Scope) -> Connection | None:
        """Return the connection of a request, None when it is closed already."""
        return self._connections.get(tuple(scope["client"]))

    def close(self) -> None:
        """Close every connection at once."""
        for connection in list(self._connections.values()):
            connection.abort()

    async def handle(self, stream: trio.SocketStream) -> None:
        """Serve one connection until either side ends it."""
        try:
            peer = tuple(stream.socket.getpeername()[:2])
        except OSError:
            return  # gone before we looked
        wrapped = stream if self._context is None else self._secured(stream)
        self._connections[peer] = Connection(wrapped, stream.socket)
        try:
            await self._converse(wrapped)
        except* (trio.BrokenResourceError, trio.ClosedResourceError, OSError):
            pass  # Hypercorn lets some of them out when a client leaves at an odd moment
        finally:
            self._connections.pop(peer, None)
            stream.socket.close()

    async def _converse(self, stream: Stream) -> None:
        if self._app is None:
            return
        # TCPServer is annotated for TLS only and tells the two apart itself
        await TCPServer(self._app, self._config, self._worker, ConnectionState({}), stream)  # type: ignore[arg-type]  # see above

    def _secured(self, stream: trio.SocketStream) -> trio.SSLStream[trio.SocketStream]:
        if self._context is None:
            raise TypeError("no certificate")
        # not https_compatible: a good end says goodbye, so that an abrupt one can be told from it
        return trio.SSLStream(stream, self._context, server_side=True)


async def serve(
    sandbox: Sandbox, *, api_port: int, photos_port: int, announce: Callable[[str], None]
) -> None:
    """Serve a sandbox until cancelled.

    Args:
        sandbox: What to serve.
        api_port: Port of the API, 0 for a free one.
        photos_port: Port of the photo origin, 0 for a free one.
        announce: Gets one line for people at a time: the addresses, the key, what is served.

    Raises:
        OSError: A port is taken.
    """
    async with sandbox.running(api_port=api_port, photos_port=photos_port):
        announce(f"API     {sandbox.api_url}")
        announce(f"photos  {sandbox.photos_url}")
        announce(f"org     {sandbox.org_id}")
        announce(f"key     {', '.join(sorted(sandbox.keys))}")
        if sandbox.ca_file is not None:
            announce(f"CA      {sandbox.ca_file}")
        for event in sandbox.events.values():
            announce(
                f"event   {event.event_id}  {event.fields['name']}  {len(event.photos)} photos"
            )
        await trio.sleep_forever()
