"""The fast lane's connections over real sockets: parts, reuse, staleness, cancellation, expiry."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from ninepic_mirror.errors import PassingError, PhotoError
from ninepic_mirror.ninepic.connection import READ
from ninepic_mirror.ninepic.limits import Limits
from ninepic_mirror.ninepic.transport import ODD, REST, SlowLane
from tests.rawserver import IMPATIENT, LARGE, NEXT, PHOTO, Reply, Server, answer, fetch

if TYPE_CHECKING:
    from trio.testing import MockClock

# --- parts


PART = answer(PHOTO[10:], "Content-Range: bytes 10-2999/3000", 'ETag: "v"', status="206 P")


async def test_part() -> None:
    """With a strong validator the rest is asked for, and taken from where it begins."""
    server = Server([Reply([PART]), Reply([answer(PHOTO)])])
    async with server.running() as lane:
        with await lane.open(server.url, cap=3_000, offset=10, validator='"v"') as body:
            assert await body.read() == PHOTO[10:]
            assert (body.status, body.offset, body.length, body.total) == (206, 10, 2_990, 3_000)
        with await lane.open(server.url, cap=3_000, offset=10, validator='"v"') as body:
            assert (body.status, body.offset, bytes(await body.read())) == (200, 0, PHOTO)
    assert all('Range: bytes=10-\r\nIf-Range: "v"\r\n' in text for text in server.requests)


@pytest.mark.parametrize(
    "validator", [None, 'W/"v"', "Sat, 01 Jan 2000 00:00:00 GMT", '"v"\r\nX: "']
)
async def test_weak_validator(validator: str | None) -> None:
    """Without a strong validator the file is asked for from its start."""
    server = Server([Reply([answer(PHOTO)])])
    async with server.running() as lane:
        assert await fetch(lane, server.url, offset=10, validator=validator) == PHOTO
    assert "Range" not in server.requests[0]


@pytest.mark.parametrize(
    "wrong",
    [
        PART.replace(b"bytes 10-", b"bytes 11-"),
        PART.replace(b"/3000", b"/3001"),
        PART.replace(b"2999/", b"2998/"),
        PART.replace(b"/3000", b"/*"),
        PART.replace(b'"v"', b'"w"'),
        PART.replace(b"ETag", b"X-Tag"),
        PART.replace(b"Content-Range", b"X-Range"),
        answer(b"", status="416 Not so"),
    ],
)
async def test_wrong_part(wrong: bytes) -> None:
    """A part that is not the exact rest of the same file is never appended: start again."""
    server = Server([Reply([wrong], "close"), Reply([answer(NEXT)])])
    async with server.running() as lane:
        with pytest.raises(PassingError) as caught:
            await fetch(lane, server.url, offset=10)
        assert caught.value.restart
        assert await fetch(lane, server.url) == NEXT


async def test_part_over_the_cap() -> None:
    """The cap is for the whole file, not for its rest."""
    server = Server([Reply([PART], "close")])
    async with server.running() as lane:
        with pytest.raises(PhotoError, match="3000 bytes, more than the 2999"):
            await fetch(lane, server.url, offset=10, cap=2_999)


# --- connections


@pytest.mark.parametrize("then", ["close", "reset"])
async def test_stale_connection(then: str) -> None:
    """A kept connection that ends without a byte of an answer is no fault: once more, over a new one."""
    server = Server([Reply([answer(PHOTO)]), Reply([], then), Reply([answer(NEXT)])])
    async with server.running() as lane:
        assert await fetch(lane, server.url) == PHOTO
        assert await fetch(lane, server.url) == NEXT
    assert (server.connections, len(server.requests)) == (2, 3)


async def test_stale_twice() -> None:
    """A new connection that ends so as well is a fault: nothing is asked for ever."""
    server = Server([Reply([answer(PHOTO)]), Reply([], "close"), Reply([], "close")])
    async with server.running() as lane:
        assert await fetch(lane, server.url) == PHOTO
        with pytest.raises(PassingError):
            await fetch(lane, server.url)
    assert (server.connections, len(server.requests)) == (2, 3)


async def test_kept_connection_that_breaks_off() -> None:
    """With a byte of an answer it is a fault, also on a kept connection."""
    server = Server([Reply([answer(PHOTO)]), Reply([b"H"], "close")])
    async with server.running() as lane:
        assert await fetch(lane, server.url) == PHOTO
        with pytest.raises(PassingError):
            await fetch(lane, server.url)
    assert len(server.requests) == 2


async def test_kept_connection_that_stalls() -> None:
    """Silence is a fault, not staleness: a request is not made twice because nobody answers it."""
    server = Server([Reply([answer(PHOTO)]), Reply([], "hold")])
    async with server.running(IMPATIENT) as lane:
        assert await fetch(lane, server.url) == PHOTO
        with pytest.raises(PassingError, match="no answer in"):
            await fetch(lane, server.url)
    assert len(server.requests) == 2


@pytest.mark.parametrize("whole", [True, False])
async def test_cancelled_body(whole: bool) -> None:
    """A body that is cancelled in the middle ends its connection; what came of it can be kept."""
    server = Server([Reply([answer(PHOTO)[:-1]], "hold"), Reply([answer(NEXT)])])
    async with server.running() as lane:
        body = await lane.open(server.url, cap=10**9)
        with trio.CancelScope() as scope, body:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(body.read if whole else body.chunks().__anext__)
                await wait_all_tasks_blocked()
                if not whole:
                    nursery.start_soon(body.chunks().__anext__)
                    await wait_all_tasks_blocked()
                scope.cancel()
        assert scope.cancelled_caught
        assert body.received == len(PHOTO) - 1
        if whole:
            assert body.partial() == PHOTO[:-1]
        else:
            with pytest.raises(PassingError, match="left after 2999 of 3000"):
                await anext(body.chunks())
        assert await fetch(lane, server.url) == NEXT
    assert server.connections == 2


async def test_cancelled_request() -> None:
    """A request that is cancelled before its answer ends its connection: the answer would be the next one's."""
    server = Server([Reply([answer(PHOTO)]), Reply([], "hold"), Reply([answer(NEXT)])])
    async with server.running() as lane:
        assert await fetch(lane, server.url) == PHOTO
        async with trio.open_nursery() as nursery:
            nursery.start_soon(fetch, lane, server.url)
            while len(server.requests) < 2:
                await wait_all_tasks_blocked()
            nursery.cancel_scope.cancel()
        assert not lane._pool._busy
        assert await fetch(lane, server.url) == NEXT
    assert server.connections == 2


async def test_unread_body() -> None:
    """A body that is left unread ends its connection, also when an exception leaves it."""
    server = Server([Reply([answer(LARGE)]), Reply([answer(LARGE)]), Reply([answer(NEXT)])])
    async with server.running() as lane:
        with await lane.open(server.url, cap=10**9):
            pass
        with pytest.raises(KeyError), await lane.open(server.url, cap=10**9):
            raise KeyError
        assert await fetch(lane, server.url) == NEXT
    assert server.connections == 3


async def test_read_after_the_end() -> None:
    """A body that was let go before its end is never taken for a whole one; one that was whole stays so."""
    server = Server([Reply([answer(PHOTO)[:-1]], "hold"), Reply([answer(NEXT)])])
    async with server.running() as lane:
        with await lane.open(server.url, cap=10_000) as body:
            pass
        with pytest.raises(PassingError, match="left after 2999 of 3000"):
            await body.read()
        with await lane.open(server.url, cap=10_000) as body:
            pass
        assert await body.read() == NEXT


async def test_small_room() -> None:
    """A body is never cut to the room that it is given."""
    server = Server([Reply([answer(LARGE)])])
    async with server.running() as lane:
        with (
            await lane.open(server.url, cap=10**9) as body,
            pytest.raises(ValueError, match="room"),
        ):
            await body.read(bytearray(len(LARGE) - 1))


async def test_partial_body() -> None:
    """What came before a cut is there to be continued."""
    server = Server([Reply([answer(LARGE)[:-9]], "close")])
    async with server.running() as lane:
        with await lane.open(server.url, cap=10**9) as body:
            with pytest.raises(PassingError, match=f"{len(LARGE) - 9} of {len(LARGE)} bytes"):
                await body.read()
            assert body.partial() == LARGE[:-9]
        assert lane.statistics().bytes == len(LARGE) - 9


class Library(Server):
    """Answers each request with the photo that it names by a number."""

    photos = tuple(random.Random(n).randbytes(2 * READ + n) for n in range(40))

    async def serve(self, stream: trio.abc.Stream, raw: trio.SocketStream) -> bool:  # noqa: ARG002  the base's
        """Serve one request."""
        request = await stream.receive_some()
        if request:
            number = int(request.split()[1].rpartition(b"=")[2])
            await stream.send_all(answer(self.photos[number]))
        return bool(request)


async def test_many_at_once() -> None:
    """Workers that share the lane never get each other's bytes, and use as many connections as there are workers."""
    server = Library([])
    waiting = list(range(len(server.photos)))
    async with server.running() as lane, trio.open_nursery() as nursery:

        async def work(whole: bool) -> None:
            while waiting:
                number = waiting.pop()
                got = await fetch(lane, f"{server.url}?n={number}", whole=whole)
                assert got == server.photos[number]

        for number in range(6):
            nursery.start_soon(work, number % 2 == 0)
    assert server.connections == 6


async def test_request_that_is_taken_slowly() -> None:
    """A request that the socket does not take at once is sent in pieces."""
    server = Server([Reply([answer(PHOTO)])])
    async with server.running() as lane:
        url = f"{server.url}?{'x' * 8_000_000}"
        assert await fetch(lane, url) == PHOTO
    assert len(server.requests[0]) > 8_000_000


async def test_close_with_a_body_under_way() -> None:
    """The end of the run closes what is still under way; its reader meets an error, never an end."""
    server = Server([Reply([answer(PHOTO)[:-1]], "hold")])
    async with server.running() as lane:
        body = await lane.open(server.url, cap=10_000)
    with pytest.raises(PassingError, match="2999 of 3000"):
        await body.read()


async def test_idle_connections_expire(autojump_clock: MockClock) -> None:
    """A connection is not kept longer than servers keep theirs; nothing wakes up when there is none."""
    server = Server([Reply([answer(PHOTO)]), Reply([answer(PHOTO)]), Reply([answer(NEXT)])])
    async with server.running(Limits(head=10_000, silence=10_000)) as lane:
        assert await fetch(lane, server.url) == PHOTO
        await trio.sleep(20)
        assert await fetch(lane, server.url) == PHOTO
        await trio.sleep(40)
        assert await fetch(lane, server.url) == NEXT
        assert server.connections == 2
        await trio.sleep(40)
        assert not lane._pool._is_needed.is_set()


async def test_origin_that_is_odd() -> None:
    """An origin whose answers are odd one after the other is left to the slow lane for a while, then tried again."""
    odd = Reply([b"HTTP/1.0 200 OK\r\n\r\n"], "close")
    server = Server([odd] * ODD + [Reply([answer(PHOTO)])])
    async with server.running() as lane:
        for _ in range(ODD + REST):
            with pytest.raises(SlowLane):
                await fetch(lane, server.url)
        assert len(server.requests) == ODD
        assert await fetch(lane, server.url) == PHOTO


# --- addresses


@pytest.mark.parametrize("host", ["a", "127.1", "xn--", "[1::2::3]", "a..b", "[0:0::1]"])
async def test_odd_addresses(host: str) -> None:
    """A host that is spelled oddly is connected to only where it is allowed, and judged by the slow lane in doubt."""
    server = Server([])
    async with server.running() as lane:
        with pytest.raises((SlowLane, PhotoError, PassingError)):
            await fetch(lane, f"http://{host}:1/a")
        with pytest.raises(SlowLane):
            await fetch(lane, f"http://{host}/../a")
