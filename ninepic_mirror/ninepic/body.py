"""Reading an answer's body under limits (DESIGN §7, Bodies; RELIABILITY N7 to N9, N11)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import httpx
import trio

from ninepic_mirror.errors import MirrorError, PassingError, PhotoError
from ninepic_mirror.ninepic.session import content_length, origin_of, translate

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from ninepic_mirror.ninepic.limits import Limits


class Chunks:
    """The body's bytes as they come, none of them decoded; each limit that is broken ends it with an error.

    An iterator and not an async generator: a caller that stops in the middle leaves no generator behind for the
    garbage collector, about which trio would rightly warn.

    Args:
        response: Opened for streaming; whoever opened it closes it, after `abandon`.
        cap: The most bytes to accept.
        limits: The times and rates.
    """

    def __init__(self, response: httpx.Response, cap: int, limits: Limits) -> None:
        self._chunks: AsyncIterator[bytes] = response.aiter_raw()
        self._origin = origin_of(response.request.url)
        self._length = content_length(response.headers)
        self._cap = cap
        self._limits = limits
        self._waited = 0.0  # for bytes, in all
        self._window_waited = 0.0
        self._window_bytes = 0
        self._ended = False
        self.received = 0
        """Bytes so far."""

    def __aiter__(self) -> Chunks:
        return self

    async def __anext__(self) -> bytes:
        """Return the next bytes.

        Raises:
            PassingError: Silence, too slow, cut off, or broken.
            PhotoError: More bytes than the cap.
        """
        chunk = await self._next()
        if chunk is None:
            self._check_whole()
            raise StopAsyncIteration
        self.received += len(chunk)
        if self.received > self._cap:
            raise PhotoError(f"more than the {self._cap} bytes that are accepted")
        return chunk

    async def _next(self) -> bytes | None:
        """Wait for bytes; only this waiting counts against the sender, not the time that our disk takes."""
        deadline = self._limits.deadline(self.received if self._length is None else self._length)
        patience = min(self._limits.silence, max(deadline - self._waited, 0.0))
        began = trio.current_time()
        chunk: bytes | None = None
        with trio.move_on_after(patience) as scope:
            try:
                chunk = await anext(self._chunks, None)
            except (httpx.HTTPError, httpx.StreamError) as error:
                self._ended = True
                raise self._broken(error) from error
        waited = trio.current_time() - began
        if scope.cancelled_caught:
            self._ended = True
            if patience < self._limits.silence:
                raise PassingError(
                    f"{self._at()} in {self._waited + waited:.0f} s, which is too slow"
                )
            raise PassingError(f"{self._at()}, then nothing for {waited:.0f} s")
        self._ended = chunk is None
        if chunk is not None:
            self._measure(waited, len(chunk))
        return chunk

    def _measure(self, waited: float, count: int) -> None:
        """Keep the minimum rate over each window of waiting."""
        self._waited += waited
        self._window_waited += waited
        self._window_bytes += count
        if self._window_waited >= self._limits.rate_window:
            if self._window_bytes < self._limits.rate * self._window_waited:
                raise PassingError(
                    f"{self._at()}, slower than {self._limits.rate:.0f} bytes a second"
                )
            self._window_waited, self._window_bytes = 0.0, 0

    def _broken(self, error: Exception) -> MirrorError:
        if isinstance(error, httpx.RemoteProtocolError | httpx.ReadError):
            return PassingError(f"cut off: {self._at()}")
        return translate(error, self._origin)

    def _check_whole(self) -> None:
        # h11 has checked this; it stands here as well because a short file taken for a whole one is the one fault
        # that nobody would notice for years.
        if self._length is not None and self.received != self._length:
            raise PassingError(f"cut off: {self._at()}")

    def _at(self) -> str:
        of = f" of {self._length}" if self._length is not None else ""
        return f"{self.received}{of} bytes from {self._origin}"

    async def abandon(self) -> None:
        """End an unread body: its connection is closed.

        httpx and httpcore stack five async generators over a body; closing the outermost leaves the others to the
        garbage collector. Asking for the next bytes in a cancelled scope unwinds them all from the inside: what was
        already received comes without waiting, and the first real wait is cancelled.
        """
        if self._ended:
            return
        with trio.CancelScope() as scope:
            scope.cancel()
            try:
                while await anext(self._chunks, None) is not None:
                    pass
            except (httpx.HTTPError, httpx.StreamError):
                pass  # it broke while we were leaving: nobody wants it any more


async def read_capped(response: httpx.Response, cap: int, limits: Limits) -> bytes:
    """Read a whole body into memory.

    Raises:
        PassingError: Broken, too slow, or more than `cap` bytes: nothing that is documented is so large.
    """
    chunks = Chunks(response, cap, limits)
    try:
        return b"".join([chunk async for chunk in chunks])
    except PhotoError as error:
        raise PassingError(f"malformed answer: {error}") from error
    finally:
        await chunks.abandon()


async def drain(response: httpx.Response, limits: Limits, *, unknown: bool = False) -> bytes:
    """Read a refusal's body where it is short, so that its connection can be used again, and return it.

    Args:
        response: The refusal.
        limits: How much, and how long.
        unknown: Also one without a length, because it is of interest.
    """
    length = content_length(response.headers)
    if unknown if length is None else length <= limits.drain:
        try:
            return await read_capped(response, limits.drain, limits)
        except PassingError:
            pass  # the connection is closed then, which is all that is lost
    return b""
