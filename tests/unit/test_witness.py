"""Which answers show that the photo origin is itself, and for what it is asked."""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Unpack, cast

import pytest
import trio
import trio.testing

from ninepic_mirror.archive.content import SNIFF
from ninepic_mirror.archive.holdings import Holdings
from ninepic_mirror.config import Bandwidth
from ninepic_mirror.errors import CertificateError, MirrorError, PassingError, PhotoError
from ninepic_mirror.ninepic.pacing import AGAIN, PROBE
from ninepic_mirror.sync.bandwidth import Allowance
from ninepic_mirror.sync.download import Downloader, Failed
from ninepic_mirror.sync.witness import Witness
from tests.remote import Remote, Wanted, jpeg, wanted, workshop

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from ninepic_mirror.archive.records import Job
    from ninepic_mirror.ninepic.photos import Body, PhotoClient
    from ninepic_mirror.sync.context import Context

HERE = "https://photos/new.jpg"


@dataclass
class Origin:
    """Answers every request alike.

    Attributes:
        answer: The bytes, or what is raised instead; None: never.
        asked: The addresses.
        read: The bytes that were taken.
    """

    answer: bytes | MirrorError | None = None
    asked: list[str] = field(default_factory=list)
    read: int = 0

    @asynccontextmanager
    async def stream(self, url: str, **wanted: Unpack[Wanted]) -> AsyncIterator[Body]:
        """Answer as `PhotoClient.stream`."""
        assert wanted["cap"] > 0
        self.asked.append(url)
        self.read = 0
        await trio.lowlevel.checkpoint()
        if self.answer is None:
            await trio.sleep_forever()
        elif isinstance(self.answer, MirrorError):
            raise self.answer
        yield cast("Body", self)

    def chunks(self) -> Origin:
        """Return the bytes, a hundred at a time; no generator, because nobody would close it."""
        return self

    def __aiter__(self) -> Origin:
        return self

    async def __anext__(self) -> bytes:
        assert isinstance(self.answer, bytes)
        await trio.lowlevel.checkpoint()
        if self.read >= len(self.answer):
            raise StopAsyncIteration
        self.read += 100
        return self.answer[self.read - 100 : self.read]


@pytest.fixture
def origin() -> Origin:
    """Return one that sends a photo."""
    return Origin(jpeg("x"))


@pytest.fixture
def context(tmp_path: Path, origin: Origin) -> Iterator[Context]:
    """Return what a pass works with; two photos are listed, nothing is present."""
    with workshop(Remote().fill(2), tmp_path) as opened:
        wanted(opened, Remote().fill(2))
        opened.photos = cast("PhotoClient", origin)
        yield opened


def downloader(context: Context) -> Downloader:
    """Make one."""
    holdings = Holdings(context.manifest, context.number)
    return Downloader(context, holdings, Allowance(Bandwidth.parse("0")))


def job(context: Context) -> Job:
    """Take up a file."""
    return Holdings(context.manifest, context.number + 1).want(("thumbnail",))[0]


def have(context: Context, *files: tuple[str, str]) -> None:
    """Let files be present: `image_id` and variant."""
    for file in files:
        context.manifest.change(
            "UPDATE files SET state = 'present' WHERE image_id = ? AND variant = ?", file
        )


@pytest.mark.parametrize(
    ("answer", "is_good"),
    [
        (jpeg("x"), True),
        (b"some raw format", True),
        (PhotoError("404", 404), True),
        (PhotoError("403", 403), True),
        (PhotoError("the photo's address is not https"), False),
        (PhotoError("not trusted", distrust=CertificateError("https://x", "why")), False),
        (CertificateError("https://x", "why"), False),
        (b"<html>Sign in</html>", False),
        (b"<html>" + b" " * SNIFF, False),
        (b'{"error": 1}', False),
        (b"", False),
        (PassingError("500"), False),
    ],
)
async def test_what_shows_that_the_origin_is_itself(
    context: Context, origin: Origin, answer: bytes | MirrorError, is_good: bool
) -> None:
    """A photo does, and a refusal of one; no web page, no redirect to somewhere else, no strange certificate."""
    have(context, ("photo-000", "thumbnail"))
    origin.answer = answer
    assert await Witness().answers(context, HERE) is is_good
    assert origin.asked == ["https://photos/thumbnail/photo-000"]


async def test_no_more_is_read_than_tells(context: Context, origin: Origin) -> None:
    """Of a large file some hundred bytes are taken."""
    have(context, ("photo-000", "large"))
    origin.answer = jpeg("x") + bytes(100_000)
    assert await Witness().answers(context, HERE)
    assert origin.read < SNIFF + 100


async def test_it_is_asked_once_in_a_while(
    context: Context, origin: Origin, mock_clock: trio.testing.MockClock
) -> None:
    """Who doubts soon after it was asked goes by that answer, whatever it was."""
    have(context, ("photo-000", "large"))
    witness, answers = Witness(), []

    async def doubt() -> None:
        answers.append(await witness.answers(context, HERE))

    async with trio.open_nursery() as nursery:
        for _ in range(3):
            nursery.start_soon(doubt)
    origin.answer = PassingError("500")
    await doubt()
    mock_clock.jump(AGAIN)
    await doubt()
    origin.answer = jpeg("x")
    await doubt()
    assert (answers, len(origin.asked)) == ([True] * 4 + [False] * 2, 2)


async def test_an_origin_that_hangs_is_not_waited_for(
    context: Context, origin: Origin, mock_clock: trio.testing.MockClock
) -> None:
    """The answer is to be had within `PROBE`."""
    have(context, ("photo-000", "large"))
    origin.answer, mock_clock.rate = None, 100
    began = trio.current_time()
    assert not await Witness().answers(context, HERE)
    assert trio.current_time() - began >= PROBE


async def test_what_is_asked_for(
    context: Context, origin: Origin, mock_clock: trio.testing.MockClock
) -> None:
    """What came last, where its origin is the failing photo's; else what is present there; else whatever is known."""
    witness = Witness()

    async def ask(url: str) -> None:
        mock_clock.jump(AGAIN)
        await witness.ask(context, url)

    with pytest.raises(PassingError, match="no photo is known"):
        await ask(HERE)
    witness.url = "https://elsewhere/a.jpg"
    await ask(HERE)
    have(context, ("photo-000", "large"), ("photo-001", "thumbnail"))
    context.manifest.change("UPDATE files SET url = 'https://old/1' WHERE variant = 'thumbnail'")
    await ask(HERE)
    await ask("https://old/2")
    witness.url = "https://photos/b.jpg?signature=1"
    await ask(HERE)
    assert witness.url == "https://photos/b.jpg?signature=1"
    origin.answer = PassingError("500")
    for _ in range(2):  # what came last is not answered any more: the next time another
        with pytest.raises(PassingError, match="500"):
            await ask(HERE)
    # not what fails itself
    with pytest.raises(PassingError, match="500"):
        await ask("https://photos/large/photo-000")
    assert origin.asked == [
        "https://elsewhere/a.jpg",
        "https://photos/large/photo-000",
        "https://old/1",
        "https://photos/b.jpg?signature=1",
        "https://photos/b.jpg?signature=1",
        "https://photos/large/photo-000",
        "https://old/1",
    ]


async def test_who_asks_while_it_is_asked_goes_by_that_answer(
    context: Context, origin: Origin, mock_clock: trio.testing.MockClock
) -> None:
    """A question that is under way is no answer yet, and none in vain is asked again at once."""
    have(context, ("photo-000", "large"))
    witness, answers = Witness(), list[bool]()
    good, origin.answer = origin.answer, None

    async def answer() -> None:
        answers.append(await witness.answers(context, HERE))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(witness.ask, context, HERE)
        await trio.testing.wait_all_tasks_blocked(0.05)
        nursery.start_soon(answer)
        await trio.testing.wait_all_tasks_blocked(0.05)
        assert answers == []
        nursery.cancel_scope.cancel()
    origin.answer = good
    assert not await witness.answers(context, HERE), "it was in vain a moment ago"
    mock_clock.jump(AGAIN)
    assert await witness.answers(context, HERE)
    origin.answer = PassingError("500")
    assert await witness.answers(context, HERE), "it was answered a moment ago"
    assert len(origin.asked) == 2


async def test_a_first_certificate_that_is_bad(context: Context, origin: Origin) -> None:
    """It ends the run at once, and is recorded."""
    origin.answer = CertificateError("https://stranger", "why")
    with pytest.raises(CertificateError):
        await downloader(context).have(job(context))
    statement = "SELECT image_id, variant, error FROM files WHERE state = 'failed'"
    assert context.manifest.rows(statement) == [("photo-000", "thumbnail", str(origin.answer))]


async def test_a_first_certificate_beside_a_good_one(context: Context, origin: Origin) -> None:
    """Where a photo comes that was had, it is that photo's fault."""
    have(context, ("photo-000", "large"))
    good = origin.answer

    class Mixed(Origin):
        """Answers for what is present only."""

        @asynccontextmanager
        async def stream(self, url: str, **wanted: Unpack[Wanted]) -> AsyncIterator[Body]:
            self.answer = good if "/large/" in url else CertificateError("https://stranger", "why")
            async with super().stream(url, **wanted) as body:
                yield body

    context.photos = cast("PhotoClient", Mixed())
    failed = await downloader(context).have(job(context))
    assert isinstance(failed, Failed)
    assert "not trusted" in failed.reason
