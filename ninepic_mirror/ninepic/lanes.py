"""Both lanes as one client of the photo origin: fast where the origin answers plainly, careful where it does not."""

from __future__ import annotations

from collections import Counter
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import httpx
import trio

from ninepic_mirror.ninepic.guard import is_private_host
from ninepic_mirror.ninepic.limits import Limits
from ninepic_mirror.ninepic.photos import PhotoStatistics, open_photos
from ninepic_mirror.ninepic.pool import Pool
from ninepic_mirror.ninepic.session import Trust, tls_context
from ninepic_mirror.ninepic.transport import FastLane, SlowLane

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterator
    from contextlib import AbstractAsyncContextManager
    from types import TracebackType

    from ninepic_mirror.config import Api
    from ninepic_mirror.model import Known
    from ninepic_mirror.ninepic.pacing import Pacer
    from ninepic_mirror.ninepic.photos import Body, PhotoClient
    from ninepic_mirror.ninepic.transport import FastBody


@asynccontextmanager
async def open_lanes(
    api: Api,
    pacer: Pacer,
    limits: Limits | None = None,
    connections: int = 64,
    context: ssl.SSLContext | None = None,
    trust: Trust | None = None,
) -> AsyncIterator[Lanes]:
    """Open the client of the photo origin; the arguments and errors are those of `photos.open_photos`.

    With a proxy everything takes the slow lane.
    """
    limits, context, trust = limits or Limits(), context or tls_context(api), trust or Trust()
    async with open_photos(api, pacer, limits, connections, context, trust) as slow:
        if api.proxy:
            yield Lanes(None, slow)
            return
        base = httpx.URL(api.base_url)
        relaxed = api.allow_private or base.scheme == "http" or is_private_host(base.host)
        pool = Pool(context, limits, connections, allow_private=relaxed, trust=trust)
        async with watched(pool):
            yield Lanes(FastLane(pool, pacer, limits, relaxed=relaxed), slow)


@asynccontextmanager
async def watched(pool: Pool) -> AsyncIterator[None]:
    """Watch a pool while the block runs; close it afterwards.

    The nursery is nobody's business: what the block raises leaves as it is, not in a group.
    """
    fault: BaseException | None = None
    async with trio.open_nursery() as nursery:
        nursery.start_soon(pool.watch)
        try:
            yield
        except BaseException as error:  # noqa: BLE001  raised again below, Cancelled too
            fault = error
        finally:
            pool.close()
            nursery.cancel_scope.cancel()
    if fault is not None:
        raise fault


class Attempt:
    """One attempt at a photo: `async with lanes.stream(…) as body`.

    Written out, because a generator made into a context manager takes five times as long.
    """

    def __init__(
        self,
        lanes: Lanes,
        url: str,
        cap: int,
        offset: int,
        validator: str | None,
        known: Known | None,
    ) -> None:
        self._lanes = lanes
        self._url, self._cap, self._offset, self._validator = url, cap, offset, validator
        self._known = known
        self._fast: FastBody | None = None
        self._slow: AbstractAsyncContextManager[Body, bool | None] | None = None

    async def __aenter__(self) -> FastBody | Body:
        """Ask; see `Lanes.stream`."""
        fast = self._lanes.fast
        if fast is not None:
            try:
                self._fast = await fast.open(
                    self._url,
                    cap=self._cap,
                    offset=self._offset,
                    validator=self._validator,
                    known=self._known,
                )
            except SlowLane:
                pass
            else:
                return self._fast
        slow = self._lanes.slow.stream(
            self._url,
            cap=self._cap,
            offset=self._offset,
            validator=self._validator,
            known=self._known,
        )
        body = await slow.__aenter__()
        self._slow = slow
        return body

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> bool | None:
        if self._fast is not None:
            self._fast.close()
        elif self._slow is not None:
            return await self._slow.__aexit__(kind, error, trace)
        return None


class Lanes:
    """The face of `photos.PhotoClient`, over both lanes.

    Args:
        fast: None where there is none, with a proxy.
        slow: For everything else.
    """

    def __init__(self, fast: FastLane | None, slow: PhotoClient) -> None:
        self.fast, self.slow = fast, slow
        self.pacer = slow.pacer

    def statistics(self) -> PhotoStatistics:
        """Return what both did so far."""
        slow = self.slow.statistics()
        if self.fast is None:
            return slow
        fast = self.fast.statistics()
        return PhotoStatistics(slow.requests + fast.requests, slow.bytes + fast.bytes)

    @property
    def statuses(self) -> dict[int, int]:
        """Answers to both so far by their status; 0: requests without an answer."""
        statuses = Counter(self.slow.statuses)
        if self.fast is not None:
            statuses.update(self.fast.statuses)
        return dict(statuses)

    def stream(
        self,
        url: str,
        *,
        cap: int,
        offset: int = 0,
        validator: str | None = None,
        known: Known | None = None,
    ) -> Attempt:
        """Make one attempt at a photo; arguments, body and errors are those of `PhotoClient.stream`.

        A body that came by the fast lane is a `FastBody`, which has `read()` as well.
        """
        return Attempt(self, url, cap, offset, validator, known)

    async def head(self, url: str) -> int | None:
        """Ask for a photo's length; see `PhotoClient.head`."""
        return await self.slow.head(url)
