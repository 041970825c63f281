"""The fast lane's connections over TLS: who is believed, and what a broken record does."""

from __future__ import annotations

import datetime
import random
import ssl
import struct
from collections import Counter
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final

import pytest
import trio
import trio.testing
import trustme

from ninepic_mirror.errors import CertificateError, PassingError, PhotoError
from ninepic_mirror.ninepic.lanes import watched
from ninepic_mirror.ninepic.limits import Limits
from ninepic_mirror.ninepic.pacing import Pacer, photos_pace
from ninepic_mirror.ninepic.pool import Pool
from ninepic_mirror.ninepic.transport import FastLane, SlowLane

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from ninepic_mirror.ninepic.transport import FastBody

    Talk = Callable[["Peer"], Awaitable[None]]

AUTHORITY: Final = trustme.CA()
PHOTO: Final = random.Random(1).randbytes(400_000)
GOOD: Final = b"HTTP/1.1 200 OK\r\nContent-Length: 400000\r\n\r\n" + PHOTO


def server_context(cert: trustme.LeafCert) -> ssl.SSLContext:
    """Return what a server needs to present a certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    cert.configure_cert(context)
    return context


def client_context() -> ssl.SSLContext:
    """Return what a client needs that trusts the test's authority beside the system's."""
    context = ssl.create_default_context()
    AUTHORITY.configure_trust(context)
    return context


LOCAL: Final = server_context(AUTHORITY.issue_cert("127.0.0.1", "::1", "localhost"))


class Peer:
    """The server's end of one connection: TLS in memory, so that a test can send records of its own."""

    def __init__(self, stream: trio.SocketStream, context: ssl.SSLContext) -> None:
        self.stream = stream
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(self.incoming, self.outgoing, server_side=True)

    async def step(self, action: Callable[[], object]) -> object:
        """Do one thing in TLS, with whatever has to be sent and received for it."""
        while True:
            try:
                result = action()
            except ssl.SSLWantReadError:
                await self.flush()
                some = await self.stream.receive_some()
                if not some:
                    raise trio.BrokenResourceError from None
                self.incoming.write(some)
            else:
                await self.flush()
                return result

    async def flush(self) -> None:
        """Send what TLS has to send."""
        await self.stream.send_all(self.outgoing.read())

    async def request(self) -> None:
        """Wait for a request."""
        text = b""
        while not text.endswith(b"\r\n\r\n"):
            text += bytes(await self.step(lambda: self.tls.read(65_536)))  # type: ignore[call-overload]  # it is bytes

    def records(self, data: bytes) -> bytes:
        """Encrypt, without sending."""
        self.tls.write(data)
        return self.outgoing.read()


@asynccontextmanager
async def serving(
    *talks: Talk,
    context: ssl.SSLContext = LOCAL,
    host: str = "127.0.0.1",
    limits: Limits | None = None,
) -> AsyncIterator[tuple[FastLane, str]]:
    """Serve connections over TLS, each by the next of the talks, which begins after a request; give a lane."""
    waiting = list(talks)

    async def handle(stream: trio.SocketStream) -> None:
        async with stream:
            peer = Peer(stream, context)
            try:
                await peer.step(peer.tls.do_handshake)
                talk = waiting.pop(0)
                await peer.request()
                await talk(peer)
                await trio.sleep_forever()
            except (ssl.SSLError, trio.BrokenResourceError, trio.ClosedResourceError):
                return

    limits = limits or Limits()
    async with trio.open_nursery() as nursery:
        listen = await trio.open_tcp_listeners(0, host=host)
        nursery.start_soon(trio.serve_listeners, handle, listen)
        port = listen[0].socket.getsockname()[1]
        pool = Pool(client_context(), limits, allow_private=True)
        async with watched(pool):
            lane = FastLane(pool, Pacer(photos_pace("x")), limits, relaxed=True)
            yield lane, f"https://{f'[{host}]' if ':' in host else host}:{port}/a.jpg"
        nursery.cancel_scope.cancel()


async def fetch(lane: FastLane, url: str, *, whole: bool = True) -> bytes:
    """Fetch one photo."""
    with await lane.open(url, cap=10**6) as body:
        if whole:
            return bytes(await body.read())
        return b"".join([chunk async for chunk in body.chunks()])


async def good(peer: Peer) -> None:
    """Answer as one should, for ever."""
    while True:
        await peer.step(lambda: peer.tls.write(GOOD))
        await peer.request()


async def in_small_pieces(peer: Peer) -> None:
    """Answer in packets that end anywhere in a record."""
    raw = peer.records(GOOD)
    for at in range(0, len(raw), 1_009):
        await peer.stream.send_all(raw[at : at + 1_009])
    await peer.request()
    await good(peer)


async def in_small_records(peer: Peer) -> None:
    """Answer in records that end anywhere in the answer."""
    raw = b"".join(peer.records(GOOD[at : at + 101]) for at in range(0, len(GOOD), 101))
    await peer.stream.send_all(raw)
    await peer.request()
    await good(peer)


async def with_more(peer: Peer) -> None:
    """Send more than was announced, in a record of its own."""
    await peer.stream.send_all(peer.records(GOOD) + peer.records(GOOD))


async def with_goodbye(peer: Peer) -> None:
    """Answer, then say goodbye as TLS has it."""
    raw = peer.records(GOOD)
    try:
        peer.tls.unwrap()
    except ssl.SSLWantReadError:
        raw += peer.outgoing.read()
    await peer.stream.send_all(raw)


async def without_goodbye(peer: Peer) -> None:
    """Answer, then leave without a word, as many servers do."""
    await peer.stream.send_all(peer.records(GOOD))
    await peer.stream.aclose()


@pytest.mark.parametrize("whole", [True, False])
@pytest.mark.parametrize(
    "talk", [good, in_small_pieces, in_small_records, with_more, with_goodbye, without_goodbye]
)
async def test_good_answers(talk: Talk, whole: bool) -> None:
    """However TLS cuts an answer, and whatever follows it, the photo is exactly what was sent, twice."""
    async with serving(talk, good) as (lane, url):
        assert await fetch(lane, url, whole=whole) == PHOTO
        assert await fetch(lane, url, whole=whole) == PHOTO


async def cut_in_a_record(peer: Peer) -> None:
    """Leave in the middle of a record."""
    await peer.stream.send_all(peer.records(GOOD)[:-5_000])
    await peer.stream.aclose()


async def cut_between_records(peer: Peer) -> None:
    """Leave after a whole record, without a goodbye: the attack that TLS's goodbye is against."""
    await peer.stream.send_all(peer.records(GOOD[:50_000]))
    await peer.stream.aclose()


async def goodbye_in_the_middle(peer: Peer) -> None:
    """Say goodbye before the body's end."""
    raw = peer.records(GOOD[:50_000])
    try:
        peer.tls.unwrap()
    except ssl.SSLWantReadError:
        raw += peer.outgoing.read()
    await peer.stream.send_all(raw)


async def flipped_bit(peer: Peer) -> None:
    """Damage one bit on the way."""
    raw = bytearray(peer.records(GOOD))
    raw[60_000] ^= 1
    await peer.stream.send_all(raw)


async def repeated_record(peer: Peer) -> None:
    """Send a record twice."""
    first, second = peer.records(GOOD[:50_000]), peer.records(GOOD[50_000:])
    await peer.stream.send_all(first + first + second)


async def plain_bytes(peer: Peer) -> None:
    """Send what is no record in the middle."""
    await peer.stream.send_all(peer.records(GOOD[:50_000]) + GOOD[50_000:])


async def handshake_record(peer: Peer) -> None:
    """Send a bare request for a new handshake in the middle."""
    await peer.stream.send_all(
        peer.records(GOOD[:50_000]) + b"\x16\x03\x03\x00\x04\x00\x00\x00\x00" + peer.records(b"x")
    )


async def oversized_record(peer: Peer) -> None:
    """Announce a record that is longer than TLS allows."""
    await peer.stream.send_all(peer.records(GOOD[:50_000]) + b"\x17\x03\x03\xff\xff" + b"x" * 999)


async def alert(peer: Peer) -> None:
    """Send a fatal alert that nobody encrypted."""
    await peer.stream.send_all(peer.records(GOOD[:50_000]) + b"\x15\x03\x03\x00\x02\x02\x28")


@pytest.mark.parametrize("whole", [True, False])
@pytest.mark.parametrize(
    "talk",
    [
        cut_in_a_record,
        cut_between_records,
        goodbye_in_the_middle,
        flipped_bit,
        repeated_record,
        plain_bytes,
        handshake_record,
        oversized_record,
        alert,
    ],
)
async def test_broken_answers(talk: Talk, whole: bool) -> None:
    """Nothing that was cut or changed on the way is taken for a photo; the next one comes over a new connection."""
    async with serving(talk, good) as (lane, url):
        with pytest.raises(PassingError, match=r"of 400000 bytes from https://127\.0\.0\.1"):
            await fetch(lane, url, whole=whole)
        assert await fetch(lane, url, whole=whole) == PHOTO


async def flood_of_empty_records(peer: Peer) -> None:
    """Send records that carry nothing, as fast as they are taken."""
    await peer.stream.send_all(peer.records(GOOD[:50_000]))
    header = struct.pack(">BHH", 0x17, 0x0303, 0)
    while True:
        await peer.stream.send_all(header * 10_000)


async def test_flood_of_empty_records() -> None:
    """Records without content neither hold the program nor keep a body alive."""
    async with serving(flood_of_empty_records, good) as (lane, url):
        with pytest.raises(PassingError):
            await fetch(lane, url)
        assert await fetch(lane, url) == PHOTO


async def test_resumption() -> None:
    """A second connection to an origin resumes the TLS session of the first."""
    resumed: list[bool] = []

    async def talk(peer: Peer) -> None:
        resumed.append(bool(peer.tls.session_reused))
        await peer.stream.send_all(peer.records(GOOD))
        await peer.stream.aclose()

    async with serving(talk, talk) as (lane, url):
        assert await fetch(lane, url) == PHOTO
        assert await fetch(lane, url) == PHOTO
    assert resumed == [False, True]


# --- who is believed

YESTERDAY: Final = datetime.datetime.now(datetime.UTC) - datetime.timedelta(days=1)
STRANGER: Final = trustme.CA()
UNTRUSTED = {
    "another host": AUTHORITY.issue_cert("photos.9pic.ai"),
    "another address": AUTHORITY.issue_cert("127.0.0.2"),
    "expired": AUTHORITY.issue_cert("127.0.0.1", not_after=YESTERDAY),
    "not yet valid": AUTHORITY.issue_cert(
        "127.0.0.1", not_before=YESTERDAY + datetime.timedelta(days=9)
    ),
    "an unknown authority": STRANGER.issue_cert("127.0.0.1"),
    "no name at all": AUTHORITY.issue_cert("x@y.z"),
}


@pytest.mark.parametrize("name", UNTRUSTED)
async def test_untrusted_certificate(name: str) -> None:
    """No request is sent to a peer whose certificate is not right: at first that ends the program."""
    sent: list[Peer] = []

    async def talk(peer: Peer) -> None:
        sent.append(peer)

    async with serving(talk, context=server_context(UNTRUSTED[name])) as (lane, url):
        with pytest.raises(CertificateError, match=r"https://127\.0\.0\.1"):
            await fetch(lane, url)
        assert lane.statistics().requests == 0
    assert not sent


async def test_untrusted_certificate_later() -> None:
    """Once an origin was believed, another one that cannot be is the failure of its photos alone."""
    wrong = server_context(UNTRUSTED["an unknown authority"])
    async with serving(good) as (lane, url):
        assert await fetch(lane, url) == PHOTO
        async with serving(good, context=wrong) as (_, other):
            with pytest.raises(PhotoError, match="is not trusted"):
                await fetch(lane, other)


async def test_old_protocol() -> None:
    """A peer that speaks only what is broken is not spoken to."""
    context = server_context(AUTHORITY.issue_cert("127.0.0.1"))
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers("NULL:aNULL:@SECLEVEL=0")
    async with serving(good, context=context) as (lane, url):
        with pytest.raises(PassingError, match="TLS handshake"):
            await fetch(lane, url)


@pytest.mark.parametrize("host", ["::1", "localhost"])
async def test_other_hosts(host: str) -> None:
    """An IPv6 address and a name do as well."""
    async with serving(good, good, host=host) as (lane, url):
        assert await fetch(lane, url) == PHOTO


async def test_peer_without_tls() -> None:
    """A peer that answers the handshake with something else, closes, or says nothing, may do better later."""
    for reply, limits in ((b"HTTP/1.1 400 Bad\r\n\r\n", None), (b"", Limits(connect=0.05))):

        async def handle(stream: trio.SocketStream, reply: bytes = reply) -> None:
            await stream.send_all(reply)
            while await stream.receive_some():
                pass

        async with trio.open_nursery() as nursery:
            listen = await trio.open_tcp_listeners(0, host="127.0.0.1")
            nursery.start_soon(trio.serve_listeners, handle, listen)
            pool = Pool(client_context(), limits or Limits(), allow_private=True)
            lane = FastLane(pool, Pacer(photos_pace("x")), limits or Limits(), relaxed=True)
            port = listen[0].socket.getsockname()[1]
            with pytest.raises(PassingError, match="no connection to https"):
                await fetch(lane, f"https://127.0.0.1:{port}/")
            pool.close()
            nursery.cancel_scope.cancel()


async def test_private_address() -> None:
    """An address that is not public is not connected to, whatever its name."""
    pool = Pool(client_context(), Limits(), allow_private=False)
    lane = FastLane(pool, Pacer(photos_pace("x")), Limits(), relaxed=False)
    for host in ("127.0.0.1", "localhost", "[::1]", "[::ffff:127.0.0.1]", "169.254.169.254"):
        with pytest.raises(PhotoError, match="no public address"):
            await fetch(lane, f"https://{host}/")
    with pytest.raises(PhotoError, match="not https"):
        await fetch(lane, "http://photos.9pic.ai/")
    with pytest.raises(SlowLane):
        await fetch(lane, "https://127.1./")


async def test_nobody_listens() -> None:
    """A refused connection may pass."""
    async with serving() as (lane, url):
        pass
    with pytest.raises(PassingError, match="no connection to https"):
        await fetch(lane, url)


class Hosts:
    """Many hosts of one service: it answers on every address of this machine, and keeps connections open.

    Attributes:
        standing: Connections that stand now.
        accepted: ... that ever came, by the host that was asked for.
        goes_on: Until then no body comes of `/slow`.
    """

    def __init__(self) -> None:
        self.standing = 0
        self.accepted: Counter[str] = Counter()
        self.goes_on = trio.Event()

    async def handle(self, stream: trio.SocketStream) -> None:
        """Serve one connection."""
        self.standing += 1
        self.accepted[stream.socket.getsockname()[0]] += 1
        try:
            async with stream:
                while request := await stream.receive_some():
                    await stream.send_all(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n")
                    if request.startswith(b"GET /slow"):
                        await self.goes_on.wait()
                    await stream.send_all(b"photo")
        except trio.BrokenResourceError:
            return
        finally:
            self.standing -= 1

    @asynccontextmanager
    async def running(self, connections: int) -> AsyncIterator[tuple[Pool, FastLane, int]]:
        """Serve; give a pool that may have so many busy connections, its lane and the port."""
        async with trio.open_nursery() as nursery:
            listen = await trio.open_tcp_listeners(0, host="0.0.0.0")
            nursery.start_soon(trio.serve_listeners, self.handle, listen)
            pool = Pool(client_context(), Limits(), connections, allow_private=True)
            async with watched(pool):
                lane = FastLane(pool, Pacer(photos_pace("x")), Limits(), relaxed=True)
                yield pool, lane, listen[0].socket.getsockname()[1]
            nursery.cancel_scope.cancel()


async def test_many_hosts_share_the_connections() -> None:
    """As many may be idle as may be busy, at all hosts together; the one that waits longest is closed for another."""
    hosts = Hosts()
    async with hosts.running(2) as (_, lane, port):
        for number in range(1, 30):
            assert await fetch(lane, f"http://127.0.1.{number}:{port}/") == b"photo"
            await trio.testing.wait_all_tasks_blocked(0.005)
            assert hosts.standing <= 4
        for number in (29, 26, 27, 28, 29, 26):
            await fetch(lane, f"http://127.0.1.{number}:{port}/")
        assert max(hosts.accepted.values()) == 1, "the last four are kept"
        await fetch(lane, f"http://127.0.1.1:{port}/")
        await fetch(lane, f"http://127.0.1.27:{port}/")
    assert {host for host, count in hosts.accepted.items() if count > 1} == {
        "127.0.1.1",
        "127.0.1.27",
    }


async def test_who_is_busy_or_connecting_counts() -> None:
    """Three that fetch at once, where two may, leave room for one that is idle; none that is busy is closed."""
    hosts = Hosts()
    async with hosts.running(2) as (_, lane, port):
        for number in range(1, 5):
            await fetch(lane, f"http://127.0.1.{number}:{port}/")
        opened: list[FastBody] = []

        async def ask(number: int) -> None:
            opened.append(
                await lane.open(f"http://127.0.2.{number}:{port}/slow", cap=10, validator=None)
            )

        await ask(1)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask, 2)
            nursery.start_soon(ask, 3)
        await trio.testing.wait_all_tasks_blocked(0.005)
        assert hosts.standing == 4
        hosts.goes_on.set()
        for body in opened:
            with body:
                assert bytes(await body.read()) == b"photo"
        await fetch(lane, f"http://127.0.1.4:{port}/")
    assert max(hosts.accepted.values()) == 1


async def test_hosts_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there are many, those without idle connections; one that is busy comes back with its connection."""
    monkeypatch.setattr("ninepic_mirror.ninepic.pool.ORIGINS", 8)
    hosts = Hosts()
    async with hosts.running(2) as (pool, lane, port):
        busy = await lane.open(f"http://127.0.2.1:{port}/slow", cap=10, validator=None)
        for number in range(1, 60):
            await fetch(lane, f"http://127.0.1.{number}:{port}/")
            assert len(pool._origins) <= 8
        assert f"http://127.0.2.1:{port}" not in pool._origins
        hosts.goes_on.set()
        with busy:
            assert bytes(await busy.read()) == b"photo"
        await fetch(lane, f"http://127.0.2.1:{port}/")
    assert hosts.accepted["127.0.2.1"] == 1
    assert hosts.standing == 0


async def test_two_hosts_in_turn_need_no_new_connections() -> None:
    """Thumbnails of one host and larges of another: four workers have four connections each to both, at the most."""
    hosts = Hosts()
    async with hosts.running(4) as (_, lane, port):

        async def work(seed: int) -> None:
            source = random.Random(seed)
            for _ in range(50):
                await fetch(lane, f"http://127.0.1.{source.choice((1, 2))}:{port}/")

        async with trio.open_nursery() as nursery:
            for seed in range(4):
                nursery.start_soon(work, seed)
    assert hosts.accepted.total() <= 8
