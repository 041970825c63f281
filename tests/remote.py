"""A service in memory, behind the protocols of `sync.context`: real files and a real manifest, no sockets.

It is for the tests that make hundreds of passes. What it must agree with is the sandbox, which tests/flow/test_pass.py
runs against with the real clients.
"""

from __future__ import annotations

import struct
import zlib
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NotRequired, TypedDict, TypeVar, Unpack, cast
from zoneinfo import ZoneInfo

import trio
import trio.testing

from ninepic_mirror.archive.files import Tree
from ninepic_mirror.archive.listings import Listings
from ninepic_mirror.archive.manifest import Manifest
from ninepic_mirror.archive.partial import sweep
from ninepic_mirror.archive.placement import Layout
from ninepic_mirror.archive.records import Listing
from ninepic_mirror.archive.root import Root
from ninepic_mirror.archive.store import Store
from ninepic_mirror.config import Api, Config, Mirror
from ninepic_mirror.errors import PassingError, PhotoError
from ninepic_mirror.model import Details, Event, Originals, Page, Photo, Timeline
from ninepic_mirror.ninepic.limits import Limits
from ninepic_mirror.ninepic.pacing import PaceStatistics
from ninepic_mirror.ninepic.photos import PhotoStatistics
from ninepic_mirror.ninepic.transport import FastBody
from ninepic_mirror.progress import Silent
from ninepic_mirror.sync.bandwidth import Allowance
from ninepic_mirror.sync.context import Context, Options
from ninepic_mirror.sync.rooms import SMALL
from ninepic_mirror.sync.session import Session

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
    from pathlib import Path

    from ninepic_mirror.archive.records import Job
    from ninepic_mirror.model import Known, Variant, Window
    from ninepic_mirror.ninepic.client import Client
    from ninepic_mirror.ninepic.pacing import Pacer
    from ninepic_mirror.ninepic.photos import Body, PhotoClient

T = TypeVar("T")

EVENT = 456
FIRST = 1768777200  # 2026-01-18 23:00 UTC
HOUR = 3600


class Wanted(TypedDict):
    """What `PhotoClient.stream` is told beside the address."""

    cap: int
    offset: NotRequired[int]
    validator: NotRequired[str | None]
    known: NotRequired[Known | None]


def jpeg(text: str) -> bytes:
    """Return the smallest JPEG that counts as whole: a comment, a frame, a scan (T.81 annex B)."""
    comment = text.encode().ljust(64)
    return b"".join(
        (
            b"\xff\xd8",
            b"\xff\xfe" + struct.pack(">H", len(comment) + 2) + comment,
            b"\xff\xc0" + struct.pack(">HBHHB3B", 11, 8, 1, 1, 1, 1, 0x11, 0),
            b"\xff\xda" + struct.pack(">HB2B3B", 8, 1, 1, 0, 0, 63, 0) + b"\x00\x00",
            b"\xff\xd9",
        )
    )


@dataclass
class Picture:
    """One photo of the service: the second it was taken in, None for an undated one, and what its bytes say."""

    image_id: str
    taken: int | None
    text: str

    def body(self, variant: Variant) -> bytes:
        """Return the bytes of a variant; photos of equal text have equal bytes. Some need a room (`sync.rooms`)."""
        text = f"{variant} {self.text}"
        small = jpeg(text)
        return (
            small[:-2] + bytes(SMALL) + small[-2:] if zlib.crc32(text.encode()) % 4 == 0 else small
        )


@dataclass
class Remote:
    """What the service holds, and what goes wrong when it is asked.

    Attributes:
        asked: Photo requests: `image_id` and variant, in order.
        calls: API requests.
        signed: Addresses need a query, and so are stored nowhere.
        missing: Photos whose files answer 404.
        breaks: So many photo requests break off in the middle from now on.
        expires: So many requests for originals find that their link has expired.
        refuses: So many API requests end with a fault that retries did not cure.
        failure: Raised by every photo request instead of an answer.
        meanwhile: What happens before each API request's answer from now on, in order; None: nothing.
        gate: Photo requests wait for it in the middle of their body.
        lags: What the timeline answers from now on, in order, instead of the truth.
        by_memory: Bodies go by memory (the fast lane's way) or by the disk as they come; None: some so, some so.
    """

    pictures: dict[str, Picture] = field(default_factory=dict)
    timeline: bool = True
    asked: list[tuple[str, Variant]] = field(default_factory=list)
    calls: int = 0
    signed: bool = False
    missing: set[str] = field(default_factory=set)
    breaks: int = 0
    expires: int = 0
    refuses: int = 0
    failure: BaseException | None = None
    meanwhile: list[Callable[[], object] | None] = field(default_factory=list)
    gate: trio.Event | None = None
    started: int = 0
    lags: list[Timeline] = field(default_factory=list)
    by_memory: bool | None = None

    def add(self, image_id: str, taken: int | None, text: str | None = None) -> Picture:
        """Let a photo arrive."""
        self.pictures[image_id] = Picture(image_id, taken, text or image_id)
        return self.pictures[image_id]

    def fill(self, count: int) -> Remote:
        """Let photos arrive: spread over three hours, every seventh undated, every fifth equal to the one before."""
        for number in range(count):
            taken = None if number % 7 == 6 else FIRST + number % 3 * HOUR + number * 61 % HOUR
            same = number - 1 if number % 5 == 4 else number
            self.add(f"photo-{number:03}", taken, f"text {same}")
        return self

    # --- the API ---------------------------------------------------------------------------------------------------

    async def details(self, event_id: int) -> Details:
        """Answer as `Client.details`."""
        self._call()
        return Details(Event(event_id, "Mumbai Marathon", "mumbai-marathon"), self.timeline)

    async def images(self, _event_id: int, page: int, page_size: int = 100) -> Page:
        """Answer as `Client.images`."""
        self._call()
        return self._page(self._ordered(), page, page_size)

    async def timeline_days(self, _event_id: int) -> Timeline:
        """Answer as `Client.timeline_days`."""
        self._call()
        return self.lags.pop(0) if self.lags else self.counted()

    def counted(self) -> Timeline:
        """Return the photos of each hour."""
        hours: dict[int, int] = {}
        for picture in self._ordered():
            if picture.taken is not None:
                start = picture.taken // HOUR * HOUR
                hours[start] = hours.get(start, 0) + 1
        return Timeline(hours)

    async def timeline_images(
        self, _event_id: int, window: Window, page: int, page_size: int = 100
    ) -> Page:
        """Answer as `Client.timeline_images`."""
        self._call()
        inside = [
            picture
            for picture in self._ordered()
            if picture.taken is not None and window.start <= picture.taken < window.end
        ]
        return self._page(inside, page, page_size)

    async def original_photos(self, _event_id: int, ids: Sequence[str]) -> Originals:
        """Answer as `Client.original_photos`."""
        self._call()
        known = [one for one in ids if one in self.pictures]
        urls = {one: f"https://photos/original/{one}?signature=1" for one in reversed(known)}
        return Originals(urls, {one: "Image not found" for one in ids if one not in known})

    def _call(self) -> None:
        self.calls += 1
        happens = self.meanwhile.pop(0) if self.meanwhile else None
        if happens is not None:
            happens()
        if self.refuses:
            self.refuses -= 1
            raise PassingError("500 from the service")

    def _ordered(self) -> list[Picture]:
        return sorted(
            self.pictures.values(),
            key=lambda one: (one.taken is None, one.taken or 0, one.image_id),
        )

    def _page(self, pictures: list[Picture], page: int, page_size: int) -> Page:
        first = (page - 1) * page_size
        query = "?signature=1" if self.signed else ""
        rows = tuple(
            Photo(
                one.image_id,
                f"https://photos/large/{one.image_id}{query}",
                f"https://photos/thumbnail/{one.image_id}{query}",
            )
            for one in pictures[first : first + page_size]
        )
        return Page(rows, len(pictures), has_next=first + page_size < len(pictures))

    # --- the photos ------------------------------------------------------------------------------------------------

    @asynccontextmanager
    async def stream(self, url: str, **wanted: Unpack[Wanted]) -> AsyncIterator[Body]:
        """Answer as `PhotoClient.stream`."""
        assert wanted["cap"] > 0
        for name in ("offset", "validator", "known"):  # nothing here is worth continuing
            assert wanted.get(name) in {0, None}
        _, _, variant, image_id = url.partition("?")[0].rsplit("/", 3)
        self.asked.append((image_id, cast("Variant", variant)))
        await trio.lowlevel.checkpoint()
        if self.failure is not None:
            raise self.failure
        if variant == "original" and self.expires:
            self.expires -= 1
            raise PhotoError("the link has expired", 403, expired=True)
        picture = self.pictures.get(image_id)
        if picture is None or image_id in self.missing:
            raise PhotoError("404 from the photo origin")
        body = picture.body(cast("Variant", variant))
        by_memory = self.by_memory
        if by_memory is None:
            by_memory = zlib.crc32(url.encode()) % 2 == 0
        answer = _FastAnswer(self, body) if by_memory else _Answer(self, body)
        yield cast("Body", answer)

    # --- pace ------------------------------------------------------------------------------------------------------

    @property
    def useful(self) -> int:
        """Answer as `Pacer.useful`: always more."""
        return 1_000

    async def run(
        self,
        attempt: Callable[[], Awaitable[T]],
        _probe: Callable[[], Awaitable[object]] | None = None,
    ) -> T:
        """Answer as `Pacer.run`, with three attempts and no waits."""
        for _ in range(2):
            try:
                return await attempt()
            except PassingError:
                await trio.lowlevel.checkpoint()
        return await attempt()

    def statistics(self) -> PaceStatistics:
        """Answer as `Pacer.statistics`."""
        return PaceStatistics(self.calls, 0, 0, 0, 64, None, 0.0)


@dataclass
class _Answer:
    """A body, as `Body`."""

    remote: Remote
    content: bytes
    offset: int = 0
    etag: str | None = None
    last_modified: str | None = "Mon, 19 Jan 2026 00:00:00 GMT"

    @property
    def length(self) -> int:
        return len(self.content)

    @property
    def total(self) -> int:
        return len(self.content)

    async def chunks(self) -> AsyncIterator[bytes]:
        remote, half = self.remote, len(self.content) // 2
        yield self.content[:half]
        remote.started += 1
        if remote.gate is not None:
            await remote.gate.wait()
        await trio.lowlevel.checkpoint()
        if remote.breaks:
            remote.breaks -= 1
            raise PassingError("the connection broke")
        yield self.content[half:]


class _FastAnswer(FastBody):
    """A body as the fast lane has it, without a connection."""

    def __init__(self, remote: Remote, content: bytes) -> None:
        self._remote, self._content = remote, content
        self.offset, self.length, self.received = 0, len(content), 0
        self._buffer = memoryview(b"")

    @property
    def etag(self) -> str | None:
        return None

    @property
    def last_modified(self) -> str | None:
        return "Mon, 19 Jan 2026 00:00:00 GMT"

    async def read(self, room: bytearray | None = None) -> memoryview:
        assert (room is not None) == (self.length > SMALL)
        self._buffer = memoryview(room or bytearray(self.length))[: self.length]
        async for chunk in _Answer(self._remote, self._content).chunks():
            self._buffer[self.received : self.received + len(chunk)] = chunk
            self.received += len(chunk)
        return self._buffer

    def close(self) -> None:
        """Nothing is open."""


@dataclass
class _Photos:
    """The photo client's place: `stream` of the remote, and its own counter."""

    remote: Remote

    @property
    def stream(self) -> object:
        return self.remote.stream

    def statistics(self) -> PhotoStatistics:
        return PhotoStatistics(len(self.remote.asked), 0)


@dataclass
class _Service:
    """The API client's place."""

    remote: Remote

    def __getattr__(self, name: str) -> object:
        return getattr(self.remote, name)

    @property
    def pacer(self) -> Remote:
        return self.remote

    def time(self) -> None:
        """It sends no `Date`."""


def session_of(remote: Remote, settings: Mirror, page: int = 100) -> Session:
    """Open a run against a remote, with so many rows on a page; nothing of it has to be closed."""
    root = Root(settings.root)
    root.prepare(make=True)
    return Session(
        Config(Api(903, "https://api"), settings),
        cast("Client", _Service(remote)),
        cast("PhotoClient", _Photos(remote)),
        cast("Pacer", remote),
        root,
        Silent(),
        Limits(page=page),
        Allowance(settings.bandwidth),
    )


class AtSteps(trio.abc.Instrument):
    """Calls something at every step of the scheduler.

    Args:
        call: What to call, with the number of the step, from 1.
    """

    def __init__(self, call: Callable[[int], object]) -> None:
        self._call = call
        self.steps = 0

    def before_task_step(self, task: trio.lowlevel.Task) -> None:  # noqa: ARG002  trio's interface
        """Count a step."""
        self.steps += 1
        self._call(self.steps)


def cancel_at(scope: trio.CancelScope, number: int) -> AtSteps:
    """Return what cancels a scope at the n-th step of the scheduler; 0 only counts them."""
    return AtSteps(lambda step: scope.cancel() if step == number else None)


async def wait_until(condition: Callable[[], bool]) -> None:
    """Wait until something holds, while threads are at work that no event tells of."""
    while not condition():
        # A cushion of real time: without it the loop spins, and keeps the interpreter lock from the threads it
        # waits for (a pass of a second was seen to take more than sixty).
        await trio.testing.wait_all_tasks_blocked(0.001)


@contextmanager
def workshop(remote: Remote, root: Path) -> Iterator[Context]:
    """Open what a pass works with over an empty mirror, without the pass; `files` rows are made by `wanted`."""
    settings = Mirror(root / "mirror", min_free=0, durability="none", connections=4)
    holder = Root(settings.root)
    holder.prepare(make=True)
    zone = ZoneInfo("UTC")
    with (
        Tree(settings.root, durable=False) as tree,
        Manifest.open(root / "manifest.sqlite3", durable=False) as manifest,
    ):
        sweep(tree)
        layout = Layout.parse(settings.layout)
        yield Context(
            EVENT, settings, zone, remote, cast("PhotoClient", remote), cast("Pacer", remote),
            manifest, Store(tree, holder, layout, zone), Silent(), Options(), manifest.begin_pass("quick"),
        )  # fmt: skip


def wanted(context: Context, remote: Remote) -> list[Job]:
    """List the remote's photos into the manifest, all as undated; return the jobs."""
    listings = Listings(context.manifest, context.number, context.variants)
    ordered = remote._ordered()
    rows = remote._page(ordered, 1, len(ordered) or 1).photos
    return list(listings.record(Listing(), listings.next_reading(), 0, rows).jobs)
