"""One file over the network: what is tried again, continued, begun anew, and given up."""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Protocol, cast

import pytest
import trio

from ninepic_mirror.archive.holdings import Holdings
from ninepic_mirror.archive.partial import RESUMABLE, sweep
from ninepic_mirror.archive.records import Job
from ninepic_mirror.archive.store import Ready
from ninepic_mirror.config import Bandwidth
from ninepic_mirror.errors import PassingError, PhotoError, StorageError, UnreachableError
from ninepic_mirror.sync.bandwidth import Allowance
from ninepic_mirror.sync.download import Downloader, Failed, _epoch, _validator
from tests.remote import AtSteps, Remote, jpeg, workshop

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from ninepic_mirror.ninepic.photos import Body, PhotoClient
    from ninepic_mirror.sync.context import Context

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
    async def stream(
        self, url: str, *, cap: int, offset: int = 0, validator: str | None = None
    ) -> AsyncIterator[Body]:
        """Answer as `PhotoClient.stream`."""
        assert url.startswith("https://user@photos.invalid/")
        assert cap >= 5 << 20
        self.offsets.append(offset)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if answer.error is not None and not answer.content:
            raise answer.error
        continues = answer.ranges and validator == answer.etag
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
    return replace(made, **values)  # type: ignore[arg-type]  # handed on


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
