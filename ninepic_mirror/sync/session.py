"""What all passes of one run share: the two clients, their pacers, the mirror root, the wish to stop."""

from __future__ import annotations

import errno
import logging
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Final, TypeVar
from urllib.parse import urlsplit

import trio
from msgspec import Struct, field, structs

from ninepic_mirror.archive.root import Root
from ninepic_mirror.errors import (
    MirrorError,
    PassingError,
    StopEventError,
    StopProgramError,
    StorageError,
    UnreachableError,
)
from ninepic_mirror.ninepic.client import Client, open_client
from ninepic_mirror.ninepic.lanes import open_lanes
from ninepic_mirror.ninepic.limits import Limits
from ninepic_mirror.ninepic.pacing import GIVE_UP, Pacer, api_pace, photos_pace
from ninepic_mirror.ninepic.session import Trust, tls_context
from ninepic_mirror.sync.bandwidth import Allowance
from ninepic_mirror.sync.openfiles import affordable
from ninepic_mirror.sync.rooms import Rooms
from ninepic_mirror.sync.witness import Witness

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

    from ninepic_mirror.config import Config
    from ninepic_mirror.model import Key
    from ninepic_mirror.progress import Progress
    from ninepic_mirror.sync.context import Photos

T = TypeVar("T")

_log = logging.getLogger(__name__)
_FULL: Final = {errno.ENOSPC, errno.EDQUOT, "SQLITE_FULL"}


class StoppedError(Exception):
    """The run ends because the operator wants it to."""


class Session(Struct):
    """One run of the program.

    Args:
        config: The settings.
        client: Of the API, with the key.
        photos: Of the photo origin, without it.
        pacer: The photo origin's.
        root: The mirror root, prepared.
        progress: Where to say what happens.
        limits: Of the remote side.
        allowance: The bandwidth, shared by all passes.
        rooms: Where bodies stand until they are written, shared by all passes.
        witness: A photo that came in this run, shared by all passes.
        stopping: Set it to end: downloads under way get a few seconds, then what is there is committed.
    """

    config: Config
    client: Client
    photos: Photos
    pacer: Pacer
    root: Root
    progress: Progress
    limits: Limits
    allowance: Allowance
    rooms: Rooms = field(default_factory=Rooms)
    witness: Witness = field(default_factory=Witness)
    stopping: trio.Event = field(default_factory=trio.Event)

    async def unless_stopped(self, work: Callable[[], Awaitable[T]]) -> T:
        """Run something that may be thrown away when the operator wants to end.

        Raises:
            StoppedError: It was.
        """

        async def watch() -> None:
            await self.stopping.wait()
            nursery.cancel_scope.cancel()

        with unwrapped():
            async with trio.open_nursery() as nursery:
                nursery.start_soon(watch)
                result = await work()
                nursery.cancel_scope.cancel()
                return result
        raise StoppedError


@asynccontextmanager
async def open_session(
    config: Config,
    key: Key,
    progress: Progress,
    *,
    make_root: bool = True,
    give_up: float | None = GIVE_UP,
    limits: Limits | None = None,
) -> AsyncIterator[Session]:
    """Open everything that passes need; it is closed, and what the pacers learned is kept, when the block ends.

    Args:
        config: The settings.
        key: Of the API.
        progress: Where to say what happens.
        make_root: A typed command: an empty folder may become a mirror root.
        give_up: Seconds without one good answer of an origin after which to end; None: never.
        limits: Other limits of the remote side than the usual ones.

    Raises:
        StorageError: The mirror root cannot be used.
        UsageError: The key or a setting cannot be used.
    """
    limits = limits or Limits()
    connections = affordable(config.mirror.connections)
    if connections < config.mirror.connections:
        progress.note(f"the limit on open files (ulimit -n) allows {connections} connections")
        config = replace(config, mirror=replace(config.mirror, connections=connections))
    settings, api = config.mirror, config.api
    root = Root(settings.root, settings.state_dir, require_mount=settings.require_mount)
    await trio.to_thread.run_sync(lambda: root.prepare(make=make_root))
    learned = root.learned()
    origin = _origin(api.base_url)
    api_pacer = Pacer(
        structs.replace(
            api_pace(origin, requests_per_second=api.requests_per_second, give_up=give_up),
            waits=limits.waits,
            backoff=limits.backoff,
            connections=connections,
        ),
        _part(learned, "api"),
    )
    pacer = Pacer(
        structs.replace(
            photos_pace("the photo origin", connections=settings.connections, give_up=give_up),
            waits=limits.waits,
            backoff=limits.backoff,
        ),
        _part(learned, "photos"),
    )
    context, trust = tls_context(api), Trust()
    async with (
        open_client(api, key, api_pacer, limits, context, trust) as client,
        open_lanes(api, pacer, limits, settings.connections, context, trust) as photos,
    ):
        yield Session(
            config, client, photos, pacer, root, progress, limits, Allowance(settings.bandwidth)
        )
    if pacer.statistics().requests:  # an unchanged mirror is not written to
        now_learned: dict[str, object] = {"api": api_pacer.learned(), "photos": pacer.learned()}
        fault = await trio.to_thread.run_sync(root.remember, now_learned)
        if fault is not None:
            # no more than that: it only costs the next pass a slower start, and a full disk has been told by then
            _log.info("what the pacers learned could not be kept: %s", fault)


def _part(learned: dict[str, object], name: str) -> dict[str, object]:
    part = learned.get(name)
    return part if isinstance(part, dict) else {}


def _origin(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"


async def require_key(session: Session) -> None:
    """See, after a refusal for one event, that the key is still good: a revoked one is refused event by event too.

    Raises:
        KeyRefusedError: It is not.
    """
    with suppress(PassingError, UnreachableError, StopEventError):  # says nothing about the key
        await session.unless_stopped(lambda: session.client.events_page(1, 1))


def require_storage(session: Session, error: StorageError) -> None:
    """See, after a storage error in one event, that others can still be stored.

    Raises:
        StorageError: The root vanished, or the disk is full.
    """
    session.root.check()
    cause = error.__cause__
    code = cause.errno if isinstance(cause, OSError) else getattr(cause, "sqlite_errorname", None)
    if code in _FULL or session.root.free() < session.config.mirror.min_free:
        raise error


@contextmanager
def unwrapped() -> Iterator[None]:
    """Raise the one error that matters instead of a nursery's group (STYLE, Traps).

    When several tasks failed at once: what ends the program before what ends the event before all else of ours,
    unless something unexpected is among them, which is a bug and comes first.
    """
    try:
        yield
    except BaseExceptionGroup as group:
        raise min(_leaves(group), key=_rank) from group


def _leaves(group: BaseExceptionGroup[BaseException]) -> Iterator[BaseException]:
    for error in group.exceptions:
        if isinstance(error, BaseExceptionGroup):
            yield from _leaves(error)
        else:
            yield error


def _rank(error: BaseException) -> int:
    order = (StopProgramError, StopEventError, MirrorError, trio.Cancelled)
    for place, kind in enumerate(order):
        if isinstance(error, kind):
            return place
    return -1  # a bug, or a KeyboardInterrupt: neither may hide behind a Cancelled
