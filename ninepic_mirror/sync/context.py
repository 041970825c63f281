"""What the parts of one pass share: the two sides, the settings, the counters."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, TypeVar, TypeVarTuple

import trio
from msgspec import Struct, field

from ninepic_mirror.ninepic.limits import Limits
from ninepic_mirror.sync.report import Recheck
from ninepic_mirror.sync.rooms import Rooms
from ninepic_mirror.sync.witness import Witness

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
    from contextlib import AbstractAsyncContextManager
    from zoneinfo import ZoneInfo

    from ninepic_mirror.archive.manifest import Manifest
    from ninepic_mirror.archive.store import Store
    from ninepic_mirror.archive.verify import Damage
    from ninepic_mirror.archive.verify import Pace as ReadingPace
    from ninepic_mirror.config import Mirror
    from ninepic_mirror.model import Known, Originals, Page, Timeline, Variant, Window
    from ninepic_mirror.progress import Progress

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


class Api(Protocol):
    """The part of `ninepic.client.Client` that a pass needs."""

    async def images(self, event_id: int, page: int, page_size: int = ...) -> Page:
        """List all photos."""
        ...

    async def timeline_days(self, event_id: int) -> Timeline:
        """List the hours."""
        ...

    async def timeline_images(
        self, event_id: int, window: Window, page: int, page_size: int = ...
    ) -> Page:
        """List the photos of a window."""
        ...

    async def original_photos(self, event_id: int, ids: Sequence[str]) -> Originals:
        """Lease links to originals, at most 60 at a time."""
        ...


class PhotoBody(Protocol):
    """The part of an answer, by either lane, that a pass needs."""

    @property
    def offset(self) -> int:
        """The byte of the file that the body starts at."""
        ...

    @property
    def length(self) -> int | None:
        """The bytes that the body carries, None when only its end tells."""
        ...

    @property
    def total(self) -> int | None:
        """The length of the whole file, None when only its end tells."""
        ...

    @property
    def etag(self) -> str | None:
        """As sent."""
        ...

    @property
    def last_modified(self) -> str | None:
        """As sent."""
        ...

    def chunks(self) -> AsyncIterator[bytes]:
        """Return the bytes; they end without an error only for a whole body."""
        ...


class Counted(Protocol):
    """What an origin's client did so far."""

    @property
    def requests(self) -> int:
        """Requests sent, redirects included."""
        ...


class Photos(Protocol):
    """The part of `ninepic.lanes.Lanes` that a pass needs."""

    def stream(
        self,
        url: str,
        *,
        cap: int,
        offset: int = ...,
        validator: str | None = ...,
        known: Known | None = ...,
    ) -> AbstractAsyncContextManager[PhotoBody]:
        """Make one attempt at a body."""
        ...

    def statistics(self) -> Counted:
        """Return what was done so far."""
        ...

    @property
    def statuses(self) -> Mapping[int, int]:
        """Answers so far by their status."""
        ...


class Pace(Protocol):
    """The part of `ninepic.pacing.Pacer` that a pass needs."""

    async def run(
        self,
        attempt: Callable[[], Awaitable[T]],
        probe: Callable[[], Awaitable[object]] | None = ...,
    ) -> T:
        """Run an attempt at the origin's pace, with retries."""
        ...

    @property
    def useful(self) -> int:
        """How many callers are of use now."""
        ...


@dataclass(frozen=True, slots=True)
class Options:
    """How a pass was asked for.

    Args:
        full: List every hour anew and look at every file's size.
        day: Only photos of this span, `[from, to)` in epoch seconds; None: all.
        accept_removals: Mark photos gone even when more than a tenth of the event would go.
        narrowed: Fewer variants than the configuration has were asked for, this once: such a pass says nothing about
            when the mirror was whole.
        configured: Then those of the configuration; empty: they are not known.
        date: The day as it was asked for, for the report.
        patient: The daemon's: files that could not be had lately are left alone for a growing while, and nothing is
            begun that the disk has no room for.
        repair: What `verify` found damaged: only these files are fetched, whatever else is wanted.
        recheck: Ask of every file that is here whether its photo was replaced (`recheck`).
        reading: How fast to read what is to be repaired.
        records: Also SHA256SUMS and event.json are to be right again.
        adopt: Files may stand here that the manifest does not know: list everything, look into every folder, and take
            in what is whole. Then whatever is wanted is fetched.
    """

    full: bool = False
    day: tuple[int, int] | None = None
    accept_removals: bool = False
    narrowed: bool = False
    configured: tuple[Variant, ...] = ()
    date: str | None = None
    patient: bool = False
    repair: tuple[Damage, ...] = ()
    recheck: bool = False
    reading: ReadingPace | None = None
    records: bool = False
    adopt: bool = False

    def scope(self, variants: Sequence[Variant]) -> dict[str, object] | None:
        """Return what a pass over these variants was asked for, None for the whole event (`sync --json`)."""
        if self.day is None and self.date is None and not self.narrowed:
            return None
        return {"day": self.date, "variants": list(variants) if self.narrowed else None}


class Tally(Struct):
    """What happened in a pass, counted as it happens; files unless said otherwise."""

    downloaded: int = 0
    linked: int = 0
    found: int = 0
    moved: int = 0
    gone: int = 0
    bytes_downloaded: int = 0
    resized: int = 0  # large files whose pixels differ from what the API says; never a failure
    recheck: Recheck = field(default_factory=Recheck)


class Context(Struct):
    """One pass.

    Args:
        event_id: The event.
        settings: `[mirror]` as it holds for this event.
        zone: The zone of its folders.
        api: The service.
        photos: The photo origin.
        pace: The photo origin's pacer.
        manifest: Open; only `in_manifest` touches it.
        store: Over the event folder.
        progress: Where to say what happens.
        options: How the pass was asked for.
        number: Of the pass.
        limits: Of the remote side.
        tally: What has happened so far.
        stopping: Set when the operator wants to end.
        announced: Folders that the manifest knows to be at work in this pass.
        rooms: Where bodies stand until they are written.
        witness: A photo that is known to be had.
    """

    event_id: int
    settings: Mirror
    zone: ZoneInfo
    api: Api
    photos: Photos
    pace: Pace
    manifest: Manifest
    store: Store
    progress: Progress
    options: Options
    number: int
    limits: Limits = field(default_factory=Limits)
    tally: Tally = field(default_factory=Tally)
    stopping: trio.Event = field(default_factory=trio.Event)
    restored: bool = False
    announced: set[str] = field(default_factory=set)
    rooms: Rooms = field(default_factory=Rooms)
    witness: Witness = field(default_factory=Witness)
    _one: trio.CapacityLimiter = field(default_factory=lambda: trio.CapacityLimiter(1))

    @property
    def variants(self) -> tuple[Variant, ...]:
        """The configured variants."""
        return self.settings.variants

    async def in_manifest(self, work: Callable[[*Ts], T], *args: *Ts) -> T:
        """Run what touches the manifest in a thread, one at a time."""
        return await trio.to_thread.run_sync(work, *args, limiter=self._one)

    def note(self, text: str) -> None:
        """Say one line to people."""
        self.progress.note(text)

    def wants(self, taken: int | None) -> bool:
        """Whether a photo is inside what was asked for."""
        day = self.options.day
        return day is None or (day[0] <= (-math.inf if taken is None else taken) < day[1])
