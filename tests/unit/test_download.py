"""One file over the network: what is tried again, continued, begun anew, and given up."""

from __future__ import annotations

import re
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from types import SimpleNamespace
from typing import TYPE_CHECKING, Protocol, Unpack, cast

import pytest
import trio
import trio.testing
from msgspec import structs

from ninepic_mirror.archive.holdings import Holdings
from ninepic_mirror.archive.partial import FOLDER, RESUMABLE, Partial, sweep
from ninepic_mirror.archive.records import Job
from ninepic_mirror.archive.store import Fetched, Ready
from ninepic_mirror.config import Bandwidth
from ninepic_mirror.errors import PassingError, PhotoError, StorageError, UnreachableError
from ninepic_mirror.model import Originals
from ninepic_mirror.ninepic.limits import Limits
from ninepic_mirror.progress import Silent
from ninepic_mirror.sync import rooms
from ninepic_mirror.sync.bandwidth import Allowance
from ninepic_mirror.sync.download import Downloader, Failed, Outcome, _epoch, _validator
from tests.rawserver import IMPATIENT, Reply, Server, answer
from tests.remote import AtSteps, Remote, Wanted, jpeg, wait_until, workshop

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator, Sequence
    from pathlib import Path

    from ninepic_mirror.ninepic.photos import Body, PhotoClient
    from ninepic_mirror.sync.context import Api, Context

    class Make(Protocol):
        """Makes a downloader over an origin with these answers."""

        def __call__(self, *answers: Answer) -> tuple[Downloader, Origin]:
            """Make one; the last answer is given for ever."""
            ...


@dataclass
class Answer:
    """One answer of the origin: bytes, and how they end.

    Attributes:
        content: The whole file.
        sent: Bytes of the file up to which the connection holds; None: all.
        error: Raised instead of an answer, or after the last byte.
        ranges: Whether the origin continues where it is asked to.
    """

    content: bytes = b""
    sent: int | None = None
    error: Exception | None = None
    etag: str | None = '"one"'
    last_modified: str | None = None
    ranges: bool = True
    offset: int = 0

    @property
    def length(self) -> int:
        """Bytes that are promised."""
        return len(self.content) - self.offset

    @property
    def total(self) -> int:
        """Bytes of the whole."""
        return len(self.content)

    async def chunks(self) -> AsyncIterator[bytes]:
        """Yield the bytes in pieces, as a socket does."""
        end = len(self.content) if self.sent is None else self.sent
        for start in range(self.offset, end, 60_000):
            await trio.lowlevel.checkpoint()
            yield self.content[start : min(end, start + 60_000)]
        if self.error is not None:
            raise self.error


@dataclass
class Origin:
    """Gives one answer after the other; remembers from where each was asked for."""

    answers: list[Answer]
    offsets: list[int] = field(default_factory=list)

    @asynccontextmanager
    async def stream(self, url: str, **wanted: Unpack[Wanted]) -> AsyncIterator[Body]:
        """Answer as `PhotoClient.stream`."""
        assert wanted.get("known") is None
        assert url.startswith("https://user@photos.invalid/")
        assert wanted["cap"] >= 5 << 20
        offset = wanted.get("offset", 0)
        self.offsets.append(offset)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if answer.error is not None and not answer.content:
            raise answer.error
        continues = answer.ranges and wanted.get("validator") == answer.etag
        yield cast("Body", replace(answer, offset=offset if continues else 0))


@pytest.fixture
def context(tmp_path: Path) -> Iterator[Context]:
    """Return what a pass works with."""
    with workshop(Remote(), tmp_path) as opened:
        yield opened


@pytest.fixture
def make(context: Context) -> Make:
    """Return what makes a downloader over an origin with these answers."""

    def made(*answers: Answer) -> tuple[Downloader, Origin]:
        origin = Origin(list(answers))
        context.photos = cast("PhotoClient", origin)
        holdings = Holdings(context.manifest, context.number)
        return Downloader(context, holdings, Allowance(Bandwidth.parse("0"))), origin

    return made


def large(size: int) -> bytes:
    """A whole JPEG of about this size: bytes behind its end are allowed."""
    head = jpeg("a large one")
    return head[:-2] + b"\x00" * (size - len(head)) + head[-2:]


def job(number: int = 0, **values: object) -> Job:
    """A wanted file."""
    made = Job(f"p{number}", "large", None, f"https://user@photos.invalid/{number}.jpg")
    return structs.replace(made, **values)


def content(context: Context, ready: object) -> bytes:
    """The bytes of a file that waits for its name."""
    assert isinstance(ready, Ready)
    return (context.store.tree.root / ready.source).read_bytes()


async def test_a_whole_body_is_ready(context: Context, make: Make) -> None:
    """What came whole waits in partial/ with its time, its hash and the origin's validator."""
    downloader, _ = make(Answer(jpeg("x"), last_modified="Mon, 19 Jan 2026 00:00:00 GMT"))
    ready = await downloader.have(job())
    assert content(context, ready) == jpeg("x")
    assert isinstance(ready, Ready)
    assert (ready.etag, ready.digest.size, ready.was_fetched) == ('"one"', len(jpeg("x")), True)
    assert (context.store.tree.root / ready.source).stat().st_mtime == 1768780800
    assert context.tally.bytes_downloaded == len(jpeg("x"))


async def test_a_cut_body_is_continued(context: Context, make: Make) -> None:
    """A body of which 64 KiB came is asked for from there on, and put together right."""
    whole = large(700_000)
    cut = PassingError("the connection broke")
    downloader, origin = make(Answer(whole, sent=600_000, error=cut), Answer(whole))
    assert content(context, await downloader.have(job())) == whole
    assert origin.offsets == [0, 600_000]


async def test_a_cut_body_is_continued_by_the_next_run(context: Context, make: Make) -> None:
    """What a run leaves behind is continued by the next one, from the disk alone."""
    whole, cut = large(300_000), PassingError("the connection broke")
    first, _ = make(Answer(whole, sent=200_000, error=cut), Answer(error=cut))
    assert isinstance(await first.have(job()), Failed)
    second, origin = make(Answer(whole))
    second.resumable = sweep(context.store.tree)
    assert content(context, await second.have(job())) == whole
    assert origin.offsets == [200_000]


@pytest.mark.parametrize(
    ("sent", "etag"), [(RESUMABLE - 1, '"one"'), (200_000, None), (200_000, 'W/"weak"')]
)
async def test_what_cannot_be_continued_begins_anew(
    context: Context, make: Make, sent: int, etag: str | None
) -> None:
    """Too little to be worth it, or nothing to tell the bodies apart by: the next attempt starts at byte 0."""
    whole, cut = large(300_000), PassingError("the connection broke")
    downloader, origin = make(Answer(whole, sent, cut, etag), Answer(whole, etag=etag))
    assert content(context, await downloader.have(job())) == whole
    assert origin.offsets == [0, 0]


async def test_another_body_is_not_put_behind_the_first(context: Context, make: Make) -> None:
    """An origin that sends the whole file instead of its rest gets a new beginning on disk."""
    whole, other = large(300_000), large(310_000)
    cut = PassingError("the connection broke")
    downloader, origin = make(
        Answer(whole, 200_000, cut), Answer(other, etag='"two"', ranges=False)
    )
    assert content(context, await downloader.have(job())) == other
    assert origin.offsets == [0, 200_000]


async def test_a_refused_rest_begins_anew(context: Context, make: Make) -> None:
    """When the origin says that the part here is of no use, the next attempt starts at byte 0."""
    whole, cut = large(300_000), PassingError("the connection broke")
    useless = PassingError("416", restart=True)
    downloader, origin = make(Answer(whole, 200_000, cut), Answer(error=useless), Answer(whole))
    assert content(context, await downloader.have(job())) == whole
    assert origin.offsets == [0, 200_000, 0]


@pytest.mark.parametrize("size", [100_000, 600_000, 1_300_000])
async def test_the_tail_of_a_broken_picture_is_not_the_next_beginning(
    context: Context, make: Make, size: int
) -> None:
    """A body of the right length that is no whole picture leaves nothing behind that another could be put to."""
    whole = large(size)
    broken = whole[:-2] + b"\x00\x00"  # without its end marker
    downloader, origin = make(Answer(broken), Answer(whole))
    ready = await downloader.have(job(variant="original"))
    assert content(context, ready) == whole
    assert isinstance(ready, Ready)
    assert (ready.digest.content.ext, origin.offsets) == (".jpg", [0, 0])


@dataclass
class Desk:
    """Leases links, each with a number of its own."""

    leased: int = 0

    async def original_photos(self, _event_id: int, ids: Sequence[str]) -> Originals:
        """Answer as `Client.original_photos`."""
        self.leased += 1
        await trio.lowlevel.checkpoint()
        return Originals(
            {one: f"https://user@photos.invalid/{one}?sig={self.leased}" for one in ids}, {}
        )


@dataclass
class Camera(Desk):
    """Leases links that are named after the camera's files."""

    async def original_photos(self, event_id: int, ids: Sequence[str]) -> Originals:
        """Answer as `Client.original_photos`."""
        found = await super().original_photos(event_id, ids)
        aliases = {one: frozenset({f"IMG_{one}"}) for one in ids}
        return structs.replace(found, aliases=aliases, foreign=frozenset(ids))


@dataclass
class Told(Silent):
    """Notes what progress is told of files that are under way."""

    came: list[int] = field(default_factory=list)

    def coming(self, size: int) -> None:
        """See `Progress`."""
        self.came.append(size)


GONE = PhotoError("403 from the photo origin", 403, expired=True)


async def test_a_large_original_outlives_its_links(context: Context, make: Make) -> None:
    """Each link that brought bytes may be followed by another; people see the bytes come, and none twice."""
    whole, cut = large(3_000_000), PassingError("the connection broke")
    context.api, context.progress = cast("Api", desk := Desk()), (told := Told())
    downloader, origin = make(
        Answer(whole, 1_000_000, cut), Answer(error=GONE), Answer(whole, 2_000_000, cut),
        Answer(error=GONE), Answer(whole),
    )  # fmt: skip
    ready = await downloader.have(job(variant="original", url=None))
    assert content(context, ready) == whole
    assert (desk.leased, origin.offsets) == (3, [0, 1_000_000, 1_000_000, 2_000_000, 2_000_000])
    assert isinstance(ready, Ready)
    assert sum(told.came) == ready.told
    assert 2_000_000 < ready.told <= len(whole)
    assert len(told.came) >= 3


async def test_an_original_that_comes_too_early_comes_again(context: Context, make: Make) -> None:
    """What had come of it by the address of the listing is kept, and taken back from what people saw."""
    whole, cut = large(3_000_000), PassingError("the connection broke")
    context.api, context.progress = cast("Api", desk := Camera()), (told := Told())
    downloader, origin = make(Answer(whole, 1_000_000, cut), Answer(error=GONE), Answer(whole))
    given, leased = job(variant="original"), job(variant="original", url=None)
    assert not downloader.should_come_last(leased)
    assert await downloader.have(given) is None
    assert (len(told.came) > 1, sum(told.came)) == (True, 0)
    assert [downloader.should_come_last(one) for one in (leased, given, job())] == [
        True,
        False,
        False,
    ]
    downloader.end_listing(complete=True)
    assert not downloader.should_come_last(leased)
    assert (downloader.take_early(), downloader.take_early()) == ([given.image_id], [])
    assert content(context, await downloader.have(leased)) == whole
    assert (desk.leased, origin.offsets) == (2, [0, 1_000_000, 1_000_000])


async def test_a_link_that_brings_nothing_ends_it(context: Context, make: Make) -> None:
    """A new link that is refused like the one before is the photo's failure; what people saw come is taken back."""
    whole, cut = large(3_000_000), PassingError("the connection broke")
    context.api, context.progress = cast("Api", desk := Desk()), (told := Told())
    downloader, origin = make(Answer(whole, 1_000_000, cut), Answer(error=GONE))
    failed = await downloader.have(job(variant="original", url=None))
    assert isinstance(failed, Failed)
    assert failed.reason == "403 from the photo origin, with a new link, too"
    assert (desk.leased, len(origin.offsets)) == (2, 3)
    assert (len(told.came) > 1, sum(told.came)) == (True, 0)


async def test_a_download_that_is_cut_off_keeps_what_came(context: Context, make: Make) -> None:
    """A cancelled download leaves what can be continued."""
    whole = large(300_000)
    first, _ = make(Answer(whole))
    with trio.CancelScope() as scope:

        def stop(_step: int) -> None:
            if context.tally.bytes_downloaded > 200_000:
                scope.cancel()

        watcher = AtSteps(stop)
        trio.lowlevel.add_instrument(watcher)
        await first.have(job())
    trio.lowlevel.remove_instrument(watcher)
    assert scope.cancelled_caught
    second, origin = make(Answer(whole))
    second.resumable = sweep(context.store.tree)
    assert content(context, await second.have(job())) == whole
    assert origin.offsets[0] > 200_000


async def test_a_photo_without_an_address_fails(
    make: Make,
) -> None:
    """A listing without an address is that file's failure; nobody is asked."""
    downloader, origin = make(Answer(jpeg("x")))
    failed = await downloader.have(job(url=None))
    assert isinstance(failed, Failed)
    assert "no address" in failed.reason
    assert not origin.offsets


@pytest.mark.parametrize("error", [PhotoError("404"), PassingError("500")])
async def test_what_cannot_be_had_fails_with_its_reason(make: Make, error: Exception) -> None:
    """Permanent faults, and passing ones that did not pass, are the file's failure."""
    downloader, _ = make(Answer(error=error))
    assert await downloader.have(job()) == Failed(job(), str(error))


async def test_a_file_that_stands_is_not_fetched(context: Context, make: Make) -> None:
    """A file where a row last knew it, with the row's hash, is taken; one with another hash is fetched anew."""
    downloader, origin = make(Answer(jpeg("x")))
    ready = await downloader.have(job())
    assert isinstance(ready, Ready)
    (context.store.tree.root / "held.jpg").write_bytes(jpeg("x"))
    found = await downloader.have(job(held="held.jpg", sha256=ready.digest.sha256))
    assert isinstance(found, Ready)
    assert (found.source, found.was_fetched) == ("held.jpg", False)
    assert isinstance(await downloader.have(job(held="held.jpg", sha256="0" * 64)), Ready)
    assert len(origin.offsets) == 2


async def test_web_pages_for_one_photo_after_the_other_end_the_run(
    make: Make,
) -> None:
    """Five photos that come as web pages are a captive portal; a user's name in an address is not repeated."""
    page = PassingError("a web page came", html=True)
    downloader, _ = make(Answer(error=page))
    for number in range(4):
        assert isinstance(await downloader.have(job(number)), Failed)
    with pytest.raises(UnreachableError, match="captive portal") as caught:
        await downloader.have(job(4))
    assert caught.value.origin == "photos.invalid"


async def test_web_pages_now_and_then_are_no_portal(
    make: Make,
) -> None:
    """A photo in between shows that the origin is itself."""
    page = Answer(error=PassingError("a web page came", html=True))
    answers = [page, page, page, Answer(jpeg("x"))] * 3
    downloader, _ = make(*answers, Answer(jpeg("x")))
    for number in range(6):
        assert isinstance(await downloader.have(job(number)), Ready | Failed)


async def test_a_vanished_root_ends_the_run(context: Context, make: Make) -> None:
    """Before a body worth a look is taken the marker is looked at: nothing is written where the mirror is not."""
    downloader, _ = make(Answer(large(1_200_000)))
    (context.store.tree.root / ".ninepic-mirror-root").unlink()
    with pytest.raises(StorageError):
        await downloader.have(job())


@pytest.mark.parametrize(
    ("told", "count"), [((1, 1), 0), ((4860, 3240), 1), ((None, None), 0), ((4860, None), 0)]
)
async def test_other_pixels_than_told_are_counted(
    context: Context,
    make: Make,
    told: tuple[int | None, int | None],
    count: int,
) -> None:
    """Width and height that differ from the API's are counted, and are no failure."""
    downloader, _ = make(Answer(jpeg("x")))
    assert isinstance(await downloader.have(job(width=told[0], height=told[1])), Ready)
    assert context.tally.resized == count


@pytest.mark.parametrize(
    ("header", "epoch"),
    [
        ("Mon, 19 Jan 2026 00:00:00 GMT", 1768780800.0),
        ("Mon, 19 Jan 2026 00:00:00", 1768780800.0),
        ("yesterday", None),
        ("Mon, 99 Jan 2026 00:00:00 GMT", None),
        (None, None),
    ],
)
def test_last_modified_is_read_with_care(header: str | None, epoch: float | None) -> None:
    """A date is UTC where it says nothing else; one that is none is left out."""
    assert _epoch(header) == epoch


def test_only_a_strong_tag_vouches_for_bytes() -> None:
    """A weak entity tag does not promise equal bytes, a date only down to the second (RFC 9110 §13.1.5)."""
    assert _validator(cast("Body", Answer(etag='"x"'))) == '"x"'
    assert _validator(cast("Body", Answer(etag='W/"x"'))) is None
    assert _validator(cast("Body", Answer(etag=None, last_modified="a date"))) is None


# --- the fast lane ----------------------------------------------------------------------------------------------

WHOLE = large(300_000)
TAG = 'ETag: "one"'


class Fast:
    """A downloader over the fast lane and a real socket, whose answers are given byte by byte.

    Args:
        context: What a pass works with.
        server: Gives the answers.
    """

    def __init__(self, context: Context, server: Server) -> None:
        self.context, self.server = context, server
        self.downloader = self.again()

    def again(self) -> Downloader:
        """Return the downloader of a later pass: it knows what stands in `partial/`."""
        holdings = Holdings(self.context.manifest, self.context.number)
        made = Downloader(self.context, holdings, Allowance(Bandwidth.parse("0")))
        made.resumable = sweep(self.context.store.tree)
        return made

    async def have(self, downloader: Downloader | None = None) -> Outcome | None:
        """Have the file."""
        wanted = job(url=self.server.url)
        with trio.fail_after(30):
            return await (downloader or self.downloader).have(wanted)

    def bytes_of(self, result: object) -> bytes:
        """Return what came, be it in memory or on disk; where it is in memory, on its way to the disk."""
        if isinstance(result, Fetched):
            (ready,) = self.context.store.write([result])
            self.context.rooms.give(result.room)
            return content(self.context, ready)
        return content(self.context, result)

    def asked_from(self) -> list[int | None]:
        """Return the first byte that each request asked for, None for the whole file."""
        found = [re.search(r"\r\nRange: bytes=(\d+)-\r\n", one) for one in self.server.requests]
        return [None if one is None else int(one[1]) for one in found]

    def left(self) -> set[str]:
        """Return what stands in `partial/`."""
        return {path.name for path in (self.context.store.tree.root / FOLDER).iterdir()}

    def has_all_rooms(self) -> bool:
        """Whether every room was given back."""
        return free(self.context) == rooms.MOST


def free(context: Context) -> int:
    """Return how many rooms nobody has."""
    return len(context.rooms._free) + context.rooms._unmade


@asynccontextmanager
async def fast(
    context: Context, *replies: Reply | Callable[[str], Reply], limits: Limits = IMPATIENT
) -> AsyncIterator[Fast]:
    """Serve these replies; the origin falls silent soon, and is asked again at once."""
    server = Server(list(replies))
    async with server.running(limits) as lane:

        @asynccontextmanager
        async def stream(url: str, **wanted: Unpack[Wanted]) -> AsyncIterator[object]:
            with await lane.open(url, **wanted) as body:
                yield body

        context.photos = cast("PhotoClient", SimpleNamespace(stream=stream))
        yield Fast(context, server)


def cut(size: int, *lines: str, then: str = "cut", whole: bytes = WHOLE) -> Reply:
    """Return an answer that ends after so many bytes of its body."""
    data = answer(whole, *(lines or (TAG,)))
    return Reply([data[: len(data) - len(whole) + size]], then)


def rest(request: str) -> Reply:
    """Answer a request for the rest with just that."""
    found = re.search(r"Range: bytes=(\d+)-\r\nIf-Range: \"one\"", request)
    assert found is not None
    part = f"Content-Range: bytes {found[1]}-{len(WHOLE) - 1}/{len(WHOLE)}"
    return Reply([answer(WHOLE[int(found[1]) :], TAG, part, status="206 Partial Content")])


@pytest.mark.parametrize("size", [900, rooms.SMALL, rooms.SMALL + 1, 300_000, rooms.SIZE])
async def test_a_body_that_fits_is_handed_on_in_memory(context: Context, size: int) -> None:
    """Up to 1 MiB a body is checked in memory and nothing is written here; only a large one takes a room."""
    whole, date = large(size), "Last-Modified: Mon, 19 Jan 2026 00:00:00 GMT"
    async with fast(context, Reply([answer(whole, TAG, date)])) as case:
        result = await case.have()
        assert isinstance(result, Fetched)
        assert (bytes(result.data), result.content.ext) == (whole, ".jpg")
        assert (result.etag, result.modified) == ('"one"', 1768780800)
        assert (result.room is None) == (size <= rooms.SMALL)
        assert case.left() == set()
        assert context.tally.bytes_downloaded == size
        assert free(context) == rooms.MOST - (result.room is not None)
        assert case.bytes_of(result) == whole
        assert case.has_all_rooms()


async def test_a_longer_body_goes_to_the_disk_as_it_comes(context: Context) -> None:
    """One byte more than a room has is never held in memory whole."""
    whole = large(rooms.SIZE + 1)
    async with fast(context, Reply([answer(whole, TAG)])) as case:
        result = await case.have()
        assert isinstance(result, Ready)
        assert case.bytes_of(result) == whole
        assert case.has_all_rooms()


async def test_with_a_limited_bandwidth_bodies_go_to_the_disk(context: Context) -> None:
    """The allowance is spent chunk by chunk, for which a body must not be read at once."""
    async with fast(context, Reply([answer(WHOLE, TAG)])) as case:
        holdings = Holdings(context.manifest, context.number)
        limited = Downloader(context, holdings, Allowance(Bandwidth.parse("1GB")))
        result = await case.have(limited)
        assert isinstance(result, Ready)
        assert case.bytes_of(result) == WHOLE


@pytest.mark.parametrize("then", ["cut", "reset", "close", "hold"])
async def test_a_body_cut_in_memory_is_continued(context: Context, then: str) -> None:
    """However the connection ends: what came is kept, and only the rest of it is asked for."""
    async with fast(context, cut(200_000, then=then), rest) as case:
        result = await case.have()
        assert isinstance(result, Ready)
        assert case.bytes_of(result) == WHOLE
        assert case.left() == {"large-p0"}  # without a note
        first, second = case.asked_from()
        assert first is None
        assert second is not None
        assert RESUMABLE <= second <= 200_000  # a reset takes along what was not read yet
        assert then == "reset" or second == 200_000
        assert context.tally.bytes_downloaded == len(WHOLE)
        assert case.has_all_rooms()


async def test_a_body_cut_twice_is_continued_from_where_it_is(context: Context) -> None:
    """The rest of a body goes to the disk as it comes: cut again, it is continued again."""

    def cut_rest(request: str) -> Reply:
        (data,) = rest(request).pieces
        return Reply([data[:-50_000]], "cut")

    async with fast(context, cut(200_000), cut_rest, rest) as case:
        assert case.bytes_of(await case.have()) == WHOLE
        assert case.asked_from() == [None, 200_000, 250_000]


async def test_a_body_cut_in_memory_is_continued_by_the_next_run(context: Context) -> None:
    """What is kept is durable with a note of how much: a later pass goes on from the disk alone."""
    gone = Reply([answer(b"", status="404 Not Found")])
    async with fast(context, cut(200_000), gone, rest) as case:
        assert isinstance(await case.have(), Failed)
        assert case.left() == {"large-p0", "large-p0.resume"}
        assert case.has_all_rooms()
        later = case.again()
        assert later.resumable == {f"{FOLDER}/large-p0"}
        assert case.bytes_of(await case.have(later)) == WHOLE
        assert case.asked_from() == [None, 200_000, 200_000]
        assert case.left() == {"large-p0"}


@pytest.mark.parametrize(
    ("size", "lines"),
    [
        (rooms.SMALL - 1, (TAG,)),
        (200_000, ("X-No: tag",)),
        (200_000, ('ETag: W/"weak"',)),
    ],
)
async def test_what_cannot_be_continued_leaves_nothing(
    context: Context, size: int, lines: tuple[str, ...]
) -> None:
    """Too little to be worth it, or nothing to tell bodies apart by: the next attempt begins anew, in memory again."""
    async with fast(context, cut(size, *lines), Reply([answer(WHOLE, *lines)])) as case:
        result = await case.have()
        assert isinstance(result, Fetched)
        assert case.left() == set()
        assert case.asked_from() == [None, None]
        assert case.bytes_of(result) == WHOLE
        assert case.has_all_rooms()


async def test_another_body_takes_the_place_of_the_part(context: Context) -> None:
    """An origin that sends another body whole instead of the rest: nothing of the first stays, nor its note."""
    other = large(250_000)
    async with fast(context, cut(200_000), Reply([answer(other, 'ETag: "two"')])) as case:
        assert case.bytes_of(await case.have()) == other
        assert case.asked_from() == [None, 200_000]
        assert case.left() == {"large-p0"}
        assert case.has_all_rooms()


@pytest.mark.parametrize("later", [False, True])
@pytest.mark.parametrize(
    "lines",
    [
        ("Content-Range: bytes 200000-349999/350000",),
        ("Content-Range: bytes 200000-349999/350000", 'ETag: "two"'),
        ("Content-Range: bytes 200000-349999/350000", TAG),
        ("Content-Range: bytes 190000-339999/340000", TAG),
    ],
    ids=["no tag", "another tag", "another length", "another place"],
)
async def test_a_part_that_does_not_fit_is_never_appended(
    context: Context, lines: tuple[str, ...], later: bool
) -> None:
    """In the same process, and by the note that an earlier one left: the whole is asked for at once, as no failure."""
    other = large(350_000)
    part = Reply([answer(other[200_000:], *lines, status="206 Partial Content")])
    whole = Reply([answer(other, 'ETag: "two"')])
    gone = [Reply([answer(b"", status="404 Not Found")])] if later else []
    async with fast(context, cut(200_000), *gone, part, whole) as case:
        if later:
            assert isinstance(await case.have(), Failed)
        failures: list[None] = []
        downloader = case.again()
        result = await downloader.have(job(url=case.server.url), lambda: failures.append(None))
        assert len(failures) == (not later)  # the cut itself
        assert case.bytes_of(result) == other
        assert case.asked_from() == [None, *[200_000] * (1 + later), None]
        assert not {name for name in case.left() if name.endswith(".resume")}
        assert case.has_all_rooms()


async def test_a_body_in_chunks_is_continued(context: Context) -> None:
    """Where the first answer did not tell the length, the tag alone vouches; then the length of the rest is known."""
    begun = Partial(context.store.tree, "p0", "large")
    begun.write(WHOLE[:100_000])
    begun.keep('"one"', None)

    def cut_rest(request: str) -> Reply:
        (data,) = rest(request).pieces
        return Reply([data[:-50_000]], "cut")

    longer = "Content-Range: bytes 250000-300000/300001"
    part = Reply([answer(WHOLE[250_000:] + b"x", TAG, longer, status="206 P")])
    async with fast(context, cut_rest, part, Reply([answer(WHOLE, TAG)])) as case:
        assert case.bytes_of(await case.have()) == WHOLE
        assert case.asked_from() == [100_000, 250_000, None]


@pytest.mark.parametrize("damage", ["note", "part"])
async def test_a_part_that_is_of_no_use_leaves_no_note(context: Context, damage: str) -> None:
    """An earlier run's part that cannot be continued is gone, note and all, before the body comes whole in memory."""
    kept = Partial(context.store.tree, "p0", "large")
    kept.write(WHOLE[:100_000])
    kept.keep('"one"')
    place = context.store.tree.root / FOLDER
    async with fast(context, Reply([answer(WHOLE, 'ETag: "two"')])) as case:
        if damage == "note":
            (place / "large-p0.resume").write_bytes(b"{")
        else:
            (place / "large-p0").write_bytes(b"x" * 100_000)
        result = await case.have()
        assert isinstance(result, Fetched)
        assert case.left() == set()
        assert case.bytes_of(result) == WHOLE
        assert sweep(context.store.tree) == set()
        assert case.left() == set()


@pytest.mark.parametrize("begin", [b"<html>", b"\xff\xd8\xff\xfe\0\1", b"GIF89a"])
async def test_a_cut_body_that_is_no_photo_is_not_kept(context: Context, begin: bytes) -> None:
    """Of what breaks off and is no photo so far nothing is left to put a rest to; the cut is what is told."""
    bad = begin + WHOLE
    async with fast(context, cut(200_000, whole=bad), Reply([answer(WHOLE, TAG)])) as case:
        result = await case.have()
        assert isinstance(result, Fetched)
        assert case.left() == set()
        assert case.asked_from() == [None, None]
        assert case.bytes_of(result) == WHOLE
        assert case.has_all_rooms()


async def test_a_cancelled_body_is_kept(context: Context) -> None:
    """Whoever stops the run in the middle of a body keeps what came of it, and the room is free again."""
    async with fast(context, cut(200_000, then="hold"), rest, limits=Limits()) as case:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(case.have)
            await wait_until(lambda: free(context) < rooms.MOST)
            await trio.testing.wait_all_tasks_blocked(0.02)
            nursery.cancel_scope.cancel()
        assert case.has_all_rooms()
        assert case.bytes_of(await case.have(case.again())) == WHOLE
        _, second = case.asked_from()
        assert second is not None
        assert RESUMABLE <= second <= 200_000


async def test_who_waits_for_a_room_may_be_cancelled(context: Context) -> None:
    """While all rooms are taken a download waits, with its connection; cancelled there, it takes none along."""
    context.rooms = rooms.Rooms(1)
    room = await context.rooms.take()
    async with fast(context, *[Reply([answer(WHOLE, TAG)])] * 2) as case:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(case.have)
            await wait_until(lambda: context.rooms._waiting.statistics().tasks_waiting == 1)
            nursery.cancel_scope.cancel()
        context.rooms.give(room)
        assert free(context) == 1
        assert case.bytes_of(await case.have()) == WHOLE
        assert free(context) == 1


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (WHOLE[:-2] + b"\0\0", "breaks off"),
        (b"<html>" + WHOLE, "web page"),
        (b"?" + WHOLE, "no picture"),
    ],
)
async def test_a_body_that_is_no_photo_gives_its_room_back(
    context: Context, bad: bytes, reason: str
) -> None:
    """What comes whole and is no whole photo leaves nothing, neither on disk nor of the rooms."""
    async with fast(context, *[Reply([answer(bad, TAG)])] * 3) as case:
        failed = await case.have()
        assert isinstance(failed, Failed)
        assert reason in failed.reason
        assert case.left() == set()
        assert set(case.asked_from()) == {None}
        assert case.has_all_rooms()


async def test_a_disk_that_is_full_while_a_part_is_kept_is_told(context: Context) -> None:
    """The room is free again also when what came cannot be kept."""
    async with fast(context, cut(200_000)) as case:
        place = context.store.tree.root / FOLDER
        place.rmdir()
        place.write_bytes(b"in the way")
        with pytest.raises(StorageError):
            await case.have()
        assert case.has_all_rooms()
