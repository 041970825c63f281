"""The synthetic service over sockets of our own: the sandbox's answers, but every byte may be another one.

Its three origins have public addresses, in a network that has nothing else: so the rules for addresses are tried as they
are used, and whoever asks a private address, or a public one without TLS, is seen (`network`).
"""

from __future__ import annotations

import ctypes
import re
import ssl
import subprocess
from collections import Counter
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

import trio

from ninepic_mirror.sandbox import api, photos
from ninepic_mirror.sandbox.world import World
from tests.rawserver import Reply

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence

    import trustme
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from ninepic_mirror.sandbox import EventSpec
    from ninepic_mirror.sandbox.events import Event

PUBLIC: Final = "8.8"  # addresses below it are ours, for as long as nothing else is reached
FORBIDDEN: Final = ("127.0.0.1", "10.1.2.3", "192.168.1.1", "169.254.169.254", "::1")
KEY: Final = "canary-key-4711-do-not-tell"
_HEAD: Final = re.compile(rb"(\S+) (\S+) HTTP/1\.1\r\n(.*)\r\n\r\n", re.DOTALL)


@dataclass
class Asked:
    """One request, and what would be the right answer to it.

    Args:
        origin: `api`, `photos` or `other`.
        method: As sent.
        target: Path and query.
        headers: By names in lower case.
        status: Of the right answer.
        fields: Its header lines, without the length.
        body: Its body.
        number: How many requests that met the fault came before.
        event: Whose photos are asked for.
    """

    origin: str
    method: str
    target: str
    headers: dict[str, str]
    status: int = 0
    fields: tuple[str, ...] = ()
    body: bytes = b""
    number: int = 0
    event: Event | None = None

    @property
    def path(self) -> str:
        """The target without its query."""
        return self.target.partition("?")[0]

    @property
    def image_id(self) -> str:
        """Of a request for a photo."""
        return self.path.rpartition("/")[2].removesuffix(".jpg")

    def head(self, *lines: str, status: str | None = None) -> bytes:
        """Write the head of the right answer with these lines instead of its length."""
        first = f"HTTP/1.1 {status or f'{self.status} {HTTPStatus(self.status).phrase}'}"
        return "\r\n".join([first, *self.fields, *lines, "", ""]).encode()

    def right(self) -> Reply:
        """Return the right answer."""
        length = () if self.status in {204, 304} else (f"Content-Length: {len(self.body)}",)
        return Reply([self.head(*length) + self.body])


@dataclass
class Service:
    """Three origins of one number: an API, its photos, and another host.

    Args:
        number: No two that run at the same time share one.
        spec: The event.
        authority: Signs the certificates.

    Attributes:
        meet: Which requests meet the fault, and `act` what is done to them; no answer: the right one.
        signatures: Of all the links that were given.
        leaked: Requests that carried the key and should not have.
        asked: Photos that were asked for, and answered well.
    """

    number: int
    spec: EventSpec
    authority: trustme.CA
    meet: Callable[[Asked], bool] = lambda _: False
    act: Callable[[Asked], Reply | None] = lambda _: None
    contexts: dict[str, ssl.SSLContext] = field(default_factory=dict)
    signatures: set[str] = field(default_factory=set)
    leaked: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    met: int = 0

    def __post_init__(self) -> None:
        self.world = World([self.spec], keys=[KEY])
        self.hosts = {
            name: f"{PUBLIC}.{self.number}.{place}"
            for place, name in enumerate(("api", "photos", "other"), start=1)
        }
        self.world.api_url = f"https://{self.hosts['api']}"
        self.world.photos_url = f"https://{self.hosts['photos']}"
        self._routes: dict[str, ASGIApp] = {
            "api": api.application(self.world, []),
            "photos": photos.application(self.world),
        }
        self._routes["other"] = self._routes["photos"]
        self.trust()

    def trust(self) -> None:
        """Give all origins good certificates."""
        for name, host in self.hosts.items():
            self.contexts[name] = context_of(self.authority.issue_cert(host))

    def forgive(self) -> None:
        """Let nothing go wrong any more."""
        self.meet, self.act = lambda _: False, lambda _: None
        self.trust()

    def body(self, image_id: str, variant: str) -> bytes:
        """Return the bytes of a photo."""
        return self.world.event(self.spec.event_id).body(image_id, variant)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Serve until the block ends."""
        async with trio.open_nursery() as nursery:
            for name, host in self.hosts.items():
                listeners = await trio.open_tcp_listeners(443, host=host)
                handle = partial(self._handle, name)
                nursery.start_soon(partial(trio.serve_listeners, handle, listeners))
            yield
            nursery.cancel_scope.cancel()

    async def _handle(self, origin: str, raw: trio.SocketStream) -> None:
        stream = trio.SSLStream(raw, self.contexts[origin], server_side=True)
        # the client may have had enough at any byte
        with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
            unread = b""
            while (found := await _read(stream, unread)) is not None:
                asked, content, unread = found
                asked.origin = origin
                await self._answer(asked, content)
                if not await self._reply(asked).serve(stream, raw):
                    break
        raw.socket.close()

    def _reply(self, asked: Asked) -> Reply:
        if ("x-api-key" in asked.headers) != (asked.origin == "api"):
            self.leaked.append(f"{asked.origin} {asked.path}")
        if self.meet(asked):
            asked.number, asked.event = self.met, self.world.event(self.spec.event_id)
            reply = self.act(asked)
            if reply is not None:
                self.met += 1
                return reply
        if asked.origin == "photos":
            self.asked.append(asked.path)
        return asked.right()

    async def _answer(self, asked: Asked, content: bytes) -> None:
        """Note what the sandbox's routes would answer."""
        path, _, query = asked.target.partition("?")
        scope = {
            "type": "http", "http_version": "1.1", "method": asked.method, "scheme": "https",
            "path": path, "raw_path": path.encode(), "query_string": query.encode(), "root_path": "",
            "headers": [(name.encode(), value.encode()) for name, value in asked.headers.items()],
        }  # fmt: skip
        sent: list[Message] = []

        async def receive() -> Message:
            return {"type": "http.request", "body": content, "more_body": False}

        async def send(message: Message) -> None:
            sent.append(message)

        await self._call(self._routes[asked.origin], scope, receive, send)
        asked.status = int(sent[0]["status"])
        asked.fields = tuple(
            f"{name.decode()}: {value.decode()}"
            for name, value in sent[0]["headers"]
            if name != b"content-length"
        )
        asked.body = b"".join(message.get("body", b"") for message in sent[1:])
        self.signatures |= set(re.findall(r"X-Amz-Signature=(\w+)", asked.body.decode("latin-1")))

    async def _call(self, routes: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
        await routes(scope, receive, send)
        if self.world.crashes:
            raise self.world.crashes[0]


async def _read(stream: trio.abc.Stream, unread: bytes) -> tuple[Asked, bytes, bytes] | None:
    """Read one request; return it with its body and what came after it."""
    while (end := unread.find(b"\r\n\r\n") + 4) < 4:
        some = await stream.receive_some()
        if not some:
            return None
        unread += some
    match = _HEAD.fullmatch(unread[:end])
    assert match is not None, unread
    pairs = (line.split(": ", 1) for line in match[3].decode().split("\r\n"))
    headers = {name.lower(): value for name, value in pairs}
    size = end + int(headers.get("content-length", "0"))
    while len(unread) < size:
        unread += await stream.receive_some()
    asked = Asked("", match[1].decode(), match[2].decode(), headers)
    return asked, unread[end:size], unread[size:]


def context_of(certificate: trustme.LeafCert) -> ssl.SSLContext:
    """Return a server's context with this certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificate.configure_cert(context)
    return context


# --- a network of one's own ------------------------------------------------------------------------------------------


def lacks() -> str | None:
    """Say what is lacking for a network of one's own."""
    try:
        words = ["unshare", "--map-root-user", "--net", "ip", "link", "set", "lo", "up"]
        done = subprocess.run(words, capture_output=True, text=True, check=False)
    except OSError as error:
        return f"{error} (Debian: apt install util-linux iproute2)"
    return None if done.returncode == 0 else f"no network of its own: {done.stderr.strip()}"


def alone(words: Sequence[object]) -> list[str]:
    """Return a command that runs with a network of its own, and ends with this process."""
    return ["unshare", "--map-root-user", "--net", "--kill-child", *map(str, words)]


def set_up_network() -> None:
    """Give the new network a loopback with the addresses of `PUBLIC` and `FORBIDDEN`."""
    ctypes.CDLL(None).prctl(1, 9)  # PR_SET_PDEATHSIG: nothing outlives the test
    own = [host for host in FORBIDDEN if host not in {"127.0.0.1", "::1"}]
    for address in (f"{PUBLIC}.0.0/16", *(f"{host}/32" for host in own)):
        subprocess.run(["ip", "address", "add", address, "dev", "lo"], check=True)
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)


@asynccontextmanager
async def watching() -> AsyncIterator[Counter[str]]:
    """Count connections to addresses that nobody must ask: private ones, and public ones without TLS."""
    seen = Counter[str]()

    async def note(stream: trio.SocketStream) -> None:
        host, port, *_ = stream.socket.getsockname()
        seen[f"{host}:{port}"] += 1
        await stream.aclose()

    places = [("0.0.0.0", 80), ("::1", 80), *((host, 443) for host in FORBIDDEN)]
    async with trio.open_nursery() as nursery:
        for host, port in places:
            listeners = await trio.open_tcp_listeners(port, host=host)
            nursery.start_soon(partial(trio.serve_listeners, note, listeners))
        yield seen
        nursery.cancel_scope.cancel()
