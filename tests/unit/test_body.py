"""The limits on a body, on the virtual clock: a sender in memory, our clock at will."""

from __future__ import annotations

from typing import TYPE_CHECKING

import httpx
import pytest
import trio
import trio.testing

from ninepic_mirror.errors import PassingError, PhotoError
from ninepic_mirror.ninepic.body import Chunks, read_capped
from ninepic_mirror.ninepic.limits import Limits

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable

LIMITS = Limits()


def response(
    steps: Iterable[tuple[float, bytes]], length: int | None = None, fault: Exception | None = None
) -> httpx.Response:
    """Make an answer whose body comes as `(seconds to wait, bytes)`, and then breaks with `fault`."""

    async def body() -> AsyncIterator[bytes]:
        for seconds, chunk in steps:
            await trio.sleep(seconds)
            yield chunk
        if fault is not None:
            raise fault

    headers = {} if length is None else {"Content-Length": str(length)}
    request = httpx.Request("GET", "https://photos.test/a.jpg?signature=secret")
    return httpx.Response(200, headers=headers, content=body(), request=request)


async def read(chunks: Chunks, work: float = 0.0) -> int:
    """Read everything, working for so long on each chunk."""
    async for _ in chunks:
        await trio.sleep(work)
    return chunks.received


async def test_whole_body(autojump_clock: trio.testing.MockClock) -> None:
    """A whole body is read whole, in the chunks in which it comes."""
    chunks = Chunks(response([(0.1, b"ab"), (0.1, b"c")], 3), 3, LIMITS)
    assert [chunk async for chunk in chunks] == [b"ab", b"c"]
    await chunks.abandon()


async def test_short_body(autojump_clock: trio.testing.MockClock) -> None:
    """A body that ends before its length is cut off, however it ends."""
    with pytest.raises(PassingError, match=r"cut off: 2 of 3 bytes"):
        await read(Chunks(response([(0, b"ab")], 3), 9, LIMITS))
    broken = httpx.RemoteProtocolError("peer closed")
    with pytest.raises(PassingError, match=r"cut off: 2 bytes from https://photos\.test") as caught:
        await read(Chunks(response([(0, b"ab")], fault=broken), 9, LIMITS))
    assert caught.value.__cause__ is broken
    assert "secret" not in str(caught.value)


async def test_other_faults_are_translated(autojump_clock: trio.testing.MockClock) -> None:
    """A fault of the connection in the middle of a body passes."""
    with pytest.raises(PassingError, match="broke"):
        await read(Chunks(response([], fault=httpx.WriteError("x")), 9, LIMITS))


async def test_cap(autojump_clock: trio.testing.MockClock) -> None:
    """More bytes than the cap rule the photo out, even when no length announced them."""
    chunks = Chunks(response([(0, b"x" * 10)] * 1000), 25, LIMITS)
    with pytest.raises(PhotoError, match="more than the 25 bytes"):
        await read(chunks)
    await chunks.abandon()
    with pytest.raises(PassingError, match="malformed answer"):
        await read_capped(response([(0, b"x" * 10)]), 9, LIMITS)


async def test_silence(autojump_clock: trio.testing.MockClock) -> None:
    """Without a byte for 15 s the body is given up."""
    begin = trio.current_time()
    with pytest.raises(PassingError, match="then nothing for 15 s"):
        await read(Chunks(response([(0, b"a"), (99, b"b")], 2), 9, LIMITS))
    assert trio.current_time() - begin == LIMITS.silence


async def test_slow_drip(autojump_clock: trio.testing.MockClock) -> None:
    """A byte every ten seconds keeps no worker for longer than the window of the minimum rate (N9)."""
    begin = trio.current_time()
    chunks = Chunks(response([(10, b"a")] * 999, 999), 999, LIMITS)
    with pytest.raises(PassingError, match="slower than 1000 bytes a second"):
        await read(chunks)
    await chunks.abandon()
    assert trio.current_time() - begin <= LIMITS.rate_window + LIMITS.silence


async def test_our_own_slowness_does_not_count(autojump_clock: trio.testing.MockClock) -> None:
    """A slow disk is no slow sender: only the waiting for bytes counts."""
    chunks = Chunks(response([(0.1, b"a")] * 99, 99), 99, LIMITS)
    assert await read(chunks, work=60) == 99


async def test_deadline_grows_with_the_length(autojump_clock: trio.testing.MockClock) -> None:
    """A body just above the minimum rate ends at its deadline; a long one may take longer than a short one."""
    for length, known in ((10**6, True), (10**5, True), (10**6, False)):
        begin = trio.current_time()
        steps = ((1, b"x" * 1100) for _ in range(length))
        chunks = Chunks(response(steps, length if known else None), 10**9, LIMITS)
        with pytest.raises(PassingError, match="too slow"):
            await read(chunks)
        await chunks.abandon()
        taken = trio.current_time() - begin
        expected = LIMITS.deadline(length if known else chunks.received)
        assert taken == pytest.approx(expected, abs=2)


async def test_abandoned_body_is_unwound(autojump_clock: trio.testing.MockClock) -> None:
    """A body that nobody wants any more is ended from the inside; a second time does nothing."""
    ended = []

    async def body() -> AsyncIterator[bytes]:
        try:
            for _ in range(5):
                yield b"x"
            await trio.sleep_forever()
        finally:
            ended.append(trio.current_effective_deadline())

    request = httpx.Request("GET", "https://photos.test/")
    chunks = Chunks(httpx.Response(200, content=body(), request=request), 99, LIMITS)
    assert await anext(chunks) == b"x"
    await chunks.abandon()
    await chunks.abandon()
    assert len(ended) == 1
    broken = Chunks(response([(0, b"a")], fault=httpx.ReadError("x")), 9, LIMITS)
    assert await anext(broken) == b"a"
    await broken.abandon()


async def test_cancelled_in_the_middle(autojump_clock: trio.testing.MockClock) -> None:
    """A cancelled reader leaves at once, and abandoning afterwards is no trouble."""
    chunks = Chunks(response([(0, b"a"), (9, b"b")], 2), 9, LIMITS)
    with trio.move_on_after(1) as scope:
        await read(chunks)
    assert scope.cancelled_caught
    await chunks.abandon()
