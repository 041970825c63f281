"""Originals against the sandbox on loopback: links are leased, matched, leased again, and written nowhere."""

from __future__ import annotations

import json
import logging
import shutil
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import pytest
import trio
from msgspec import structs

from ninepic_mirror.config import Mirror
from ninepic_mirror.errors import PassingError
from ninepic_mirror.ninepic.backoff import Backoff
from ninepic_mirror.ninepic.limits import Limits
from ninepic_mirror.sandbox import Fault
from ninepic_mirror.sync import pipeline
from ninepic_mirror.sync.leases import FAILURES, FIRST
from ninepic_mirror.sync.mirror import sync_event
from tests.conftest import EVENT
from tests.remote import Remote, session_of, wait_until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence
    from pathlib import Path

    from trio.testing import MockClock

    from ninepic_mirror.model import Originals, Variant
    from ninepic_mirror.sandbox.world import Seen
    from ninepic_mirror.sync.report import PassReport
    from tests.conftest import Bench, OpenBench

HOUR = 1768777200  # the first of the sandbox's events


@asynccontextmanager
async def originals(
    open_bench: OpenBench, *variants: Variant, **spec: object
) -> AsyncIterator[Bench]:
    """Open a bench with small originals, which mirrors them and these variants."""
    small = {"photos": 30, "original_mb": (0.05, 0.06), "large_kb": 2}
    async with open_bench(**(small | spec)) as bench:  # type: ignore[arg-type]  # handed on
        bench.settings = replace(bench.settings, variants=(*variants, "original"))
        yield bench


def asked(bench: Bench, path: str, image_id: str = "") -> list[Seen]:
    """Return the requests whose path has these parts, oldest first."""
    return [seen for seen in bench.sandbox.requests if path in seen.path and image_id in seen.path]


def leases(bench: Bench) -> int:
    """Return how often links were asked for."""
    return len(asked(bench, "/original-photos"))


def names(bench: Bench) -> list[str]:
    """Return the ids of the event's photos."""
    return [photo.image_id for photo in bench.sandbox.event(EVENT).photos]


@pytest.mark.parametrize("bare", [False, True])
async def test_every_original_comes_with_its_own_bytes(open_bench: OpenBench, bare: bool) -> None:
    """Links in any order, in both documented shapes of the answer, are matched to their photos; some serve many."""
    async with originals(open_bench, "thumbnail", undated=3, trailing=4) as bench:
        bench.sandbox.event(EVENT).set(bare_originals=bare)
        bench.sandbox.faults.add(Fault(kind="shuffle"))

        report = await bench.sync()

        assert report.whole, report.failures
        assert bench.check_content() == 60
        assert bench.sandbox.faults.fired("shuffle") == leases(bench) <= 6


async def test_an_unchanged_event_with_originals_costs_three_requests(
    open_bench: OpenBench,
) -> None:
    """Nothing is listed, leased or fetched for originals that are there, though their addresses are not stored."""
    async with originals(open_bench, "large") as bench:
        await bench.sync()
        bench.sandbox.clear_requests()

        report = await bench.sync()

        assert report.whole
        assert (bench.sandbox.count("api"), bench.sandbox.count("photos")) == (3, 0)


async def test_originals_of_an_earlier_run_are_had_without_a_listing(
    open_bench: OpenBench,
) -> None:
    """What an earlier run did not have costs the counts and a lease, and no page of any hour."""
    async with originals(open_bench, hours=4) as bench:
        bench.sandbox.faults.add(Fault(kind="404", variant="original", count=10))
        first = await bench.sync()
        assert (first.whole, first.failed, first.present) == (False, 10, 20)
        assert {one.error for one in first.failures} == {"404 from the photo origin"}
        bench.sandbox.clear_requests()

        second = await bench.sync()

        assert (second.whole, second.downloaded) == (True, 10)
        assert not asked(bench, "/timeline/images")
        assert bench.sandbox.count("api") <= 3 + 2
        assert bench.check_content() == 30


async def test_a_link_that_lacks_is_asked_for_alone(open_bench: OpenBench) -> None:
    """What a batch does not name is asked for alone."""
    async with originals(open_bench) as bench:
        late = names(bench)[4]
        bench.sandbox.faults.add(Fault(kind="missing", image_id=late, count=1))
        assert (await bench.sync()).whole
        bench.check_content()


async def test_a_link_that_never_comes(open_bench: OpenBench) -> None:
    """A photo that no answer names, not even when it is asked for alone, fails, and nothing else does."""
    async with originals(open_bench) as bench:
        lost = names(bench)[3]
        bench.sandbox.faults.add(Fault(kind="missing", image_id=lost))

        report = await bench.sync()

        assert (report.whole, report.present) == (False, 29)
        assert [(one.image_id, one.variant) for one in report.failures] == [(lost, "original")]
        assert report.failures[0].error == "the service gives no original, and no reason"
        assert not asked(bench, "/originals/", lost)


async def test_a_refused_original_is_listed_with_its_reason(open_bench: OpenBench) -> None:
    """A photo that has no original fails by itself, with what the service says; its other files are there."""
    async with originals(open_bench, "large") as bench:
        bad = names(bench)[0]
        bench.sandbox.faults.add(Fault(kind="failed", image_id=bad))

        report = await bench.sync()

        assert (report.whole, report.present, report.failed) == (False, 59, 1)
        (failure,) = report.failures
        assert (failure.image_id, failure.variant) == (bad, "original")
        assert failure.error == "the service gives no original: Image not found"
        bench.sandbox.faults.clear()
        assert (await bench.sync()).whole


async def test_an_expired_link_is_leased_again_once(open_bench: OpenBench) -> None:
    """A link that has expired is leased again; a photo whose new link is refused, too, fails and holds up nothing."""
    async with originals(open_bench, photos=12) as bench:
        late, bad = names(bench)[1], names(bench)[2]
        bench.sandbox.faults.add(
            Fault(kind="expire", image_id=late, count=1), Fault(kind="expire", image_id=bad)
        )

        report = await bench.sync()

        assert (report.present, report.failed) == (11, 1)
        assert [(one.image_id, one.error) for one in report.failures] == [
            (bad, "403 from the photo origin, with a new link, too")
        ]
        assert (len(asked(bench, "/originals/", late)), len(asked(bench, "/originals/", bad))) == (
            2,
            2,
        )


async def test_links_that_never_work_are_no_endless_work(open_bench: OpenBench) -> None:
    """Where every link has expired when it comes, each photo costs two requests and fails."""
    async with originals(open_bench, "thumbnail", photos=10) as bench:
        bench.sandbox.link_lifetime = -10

        report = await bench.sync()

        assert (report.failed, report.present) == (10, 10)
        assert len(asked(bench, "/originals/")) == 20


async def test_a_refusal_of_a_young_link_is_the_photos_failure(open_bench: OpenBench) -> None:
    """A 403 that is not for the link's age is not asked about again."""
    async with originals(open_bench, photos=5) as bench:
        bad = names(bench)[2]
        bench.sandbox.faults.add(Fault(kind="403", origin="photos", image_id=bad))

        report = await bench.sync()

        assert [(one.image_id, one.error) for one in report.failures] == [
            (bad, "403 from the photo origin")
        ]
        assert len(asked(bench, "/originals/", bad)) == 1


async def test_originals_that_are_switched_off(open_bench: OpenBench) -> None:
    """A 403 of the call fails the originals and nothing else, and is asked about once; the key is seen to be good."""
    async with originals(open_bench, "large", photos=20) as bench:
        bench.sandbox.faults.add(Fault(kind="403", origin="api", path="/original-photos"))

        report = await bench.sync()

        assert (report.present, report.failed, leases(bench)) == (20, 20, 1)
        assert {one.error for one in report.failures} == {
            "event 456: original-photos is switched off for this event (403)"
        }


async def test_an_address_that_is_given_is_used(open_bench: OpenBench) -> None:
    """An `original_url` of the listing needs no lease; one with a query serves this pass and is stored nowhere."""
    async with originals(open_bench, photos=0) as bench:
        event, large = bench.sandbox.event(EVENT), f"{bench.sandbox.photos_url}/imgs/456/large"
        for name, query in (("plain", ""), ("signed", "?signature=canary")):
            url = f"{large}/{name}.jpg{query}"
            event.add_raw(image_id=name, hour=HOUR, item={"original_url": url})

        report = await bench.sync()

        assert report.whole, report.failures
        assert leases(bench) == 0
        for name in ("plain", "signed"):
            assert bench.photos()[f"original/{name}"].read_bytes() == event.body(name, "large")
        assert not holding(bench, b"canary")
        bench.sandbox.clear_requests()
        assert (await bench.sync()).whole
        assert bench.sandbox.count("api") == 3


async def test_a_given_address_that_is_refused_is_leased(open_bench: OpenBench) -> None:
    """How old an address of the listing is nobody knows: where it is refused, a link is leased instead."""
    async with originals(open_bench, photos=1) as bench:
        event, name = bench.sandbox.event(EVENT), "raw"
        url = f"{bench.sandbox.photos_url}/originals/456/raw.jpg?X-Amz-Signature=old"
        event.add_raw(image_id=name, hour=HOUR, item={"original_url": url})

        report = await bench.sync()

        assert report.whole, report.failures
        assert bench.check_content() == 2


@dataclass
class Picky(Remote):
    """Fails on every batch that holds a bad original; `batches` are those that it was asked for."""

    bad: set[str] = field(default_factory=set)
    batches: list[tuple[str, ...]] = field(default_factory=list)

    async def original_photos(self, event_id: int, ids: Sequence[str]) -> Originals:
        """Answer as `Client.original_photos`."""
        self.batches.append(tuple(ids))
        if not self.bad.isdisjoint(ids):
            await trio.lowlevel.checkpoint()
            raise PassingError("500 from the service")
        return await super().original_photos(event_id, ids)

    def arrive(self, *ids: str, hour: int = HOUR) -> None:
        """Let photos arrive."""
        for number, image_id in enumerate(ids):
            self.add(image_id, hour + number)

    async def sync(self, root: Path) -> PassReport:
        """Make a pass over thumbnails and originals."""
        self.batches.clear()
        settings = Mirror(
            root, variants=("thumbnail", "original"), min_free=0, durability="none", connections=4
        )
        return await sync_event(session_of(self, settings), EVENT)


def ids_of(name: str, count: int) -> list[str]:
    """Return so many ids that begin alike."""
    return [f"{name}{number:03}" for number in range(count)]


@pytest.mark.parametrize("bad", [1, 14, 40, 70])
async def test_good_originals_do_not_stand_behind_bad_ones(tmp_path: Path, bad: int) -> None:
    """However many sort before them: they come in the first or the second pass, and so do those that arrive later."""
    remote, root = Picky(bad=set(ids_of("a", bad))), tmp_path / "m"
    remote.arrive(*ids_of("a", bad), *ids_of("b", 6))
    report = await remote.sync(root)
    if bad > FAILURES * FIRST:
        assert report.failed > bad
        report = await remote.sync(root)
    assert (report.whole, report.failed) == (False, bad)
    assert {one.image_id for one in report.failures} == remote.bad
    remote.arrive(*ids_of("c", 6), hour=HOUR + 3600)
    report = await remote.sync(root)
    assert (report.downloaded, report.failed) == (12, bad)
    assert remote.bad.isdisjoint(remote.batches[0]), "what failed before comes last"
    for _ in range(2):
        assert (await remote.sync(root)).failed == bad
    remote.bad.clear()
    assert (await remote.sync(root)).whole


async def test_originals_that_all_fail_get_their_turns(tmp_path: Path) -> None:
    """A few batches a pass, of others in each, until every photo was asked for; and one that is good again is found."""
    every = ids_of("a", 200)
    remote, root, asked = Picky(bad=set(every)), tmp_path / "m", set[str]()
    remote.arrive(*every)
    report = await remote.sync(root)
    for _ in range(4):  # of 64 each
        assert (report.failed, report.present) == (200, 200)
        assert len(remote.batches) <= FAILURES * (FIRST + 1)
        asked |= {one for batch in remote.batches for one in batch}
        report = await remote.sync(root)
    assert asked == set(every)
    remote.bad.remove("a199")
    passes = 0
    while report.failed == 200 and passes < 60:  # chance decides where each begins
        report, passes = await remote.sync(root), passes + 1
    assert report.failed == 199


def holding(bench: Bench, what: bytes) -> list[str]:
    """Return the files below the mirror root, photos left out, that hold some bytes."""
    return [
        str(path)
        for path in bench.root.rglob("*")
        if path.is_file() and path.suffix != ".jpg" and what in path.read_bytes()
    ]


def has_begun(partial: Path) -> bool:
    """Whether a megabyte of some file stands there."""
    return any(path.stat().st_size > 10**6 for path in partial.iterdir())


async def stopped_in_the_middle(
    bench: Bench, *, when: Callable[[Path], bool] = has_begun, before: Callable[[], object] = list
) -> None:
    """Make a pass in which every original stalls in its middle; stop it when `partial/` is so, after calling `before`."""
    bench.limits = structs.replace(bench.limits, silence=60.0)
    bench.sandbox.faults.add(Fault(kind="stall", variant="original"))
    async with bench.session() as session, trio.open_nursery() as nursery:

        async def sync() -> None:
            await sync_event(session, EVENT)

        nursery.start_soon(sync)
        partial = bench.root / "456-mumbai-marathon-2026/.ninepic-mirror/partial"
        await wait_until(lambda: partial.is_dir() and when(partial))
        before()
        session.stopping.set()
    bench.sandbox.faults.clear()


@pytest.mark.parametrize("replaced", [False, True])
async def test_a_cut_original_is_continued_with_a_new_link(
    open_bench: OpenBench, monkeypatch: pytest.MonkeyPatch, replaced: bool
) -> None:
    """After a restart the rest comes by a link of its own, on a 206 with the same ETag; another body comes whole."""
    async with originals(open_bench, photos=1, original_mb=(3, 3)) as bench:
        (name,) = names(bench)
        monkeypatch.setattr(pipeline, "GRACE", 0.1)  # real sockets know no virtual clock
        await stopped_in_the_middle(bench)
        (first,) = asked(bench, "/originals/")
        partial = bench.folder / ".ninepic-mirror/partial"
        (note,) = partial.glob("*.resume")
        kept = json.loads(note.read_text())["size"]
        assert not holding(bench, b"X-Amz")
        bench.sandbox.clear_requests()
        bench.sandbox.link_lifetime = 1800
        event = bench.sandbox.event(EVENT)
        if replaced:
            event.replace(name)

        report = await bench.sync()

        assert report.whole, report.failures
        bench.check_content()
        (second,) = asked(bench, "/originals/")
        size = len(event.body(name, "original"))
        assert second.query != first.query
        assert second.headers["range"] == f"bytes={kept}-"
        assert (second.status, second.sent) == ((200, size) if replaced else (206, size - kept))
        assert not list(partial.iterdir())
        assert not asked(bench, "/timeline/images")


async def test_a_large_original_is_continued_after_a_kill(
    open_bench: OpenBench, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A note is written every 8 MiB, not only at an orderly end: kill -9 leaves what the copy has."""
    async with originals(open_bench, photos=1, original_mb=(20, 20)) as bench:
        monkeypatch.setattr(pipeline, "GRACE", 0.1)  # real sockets know no virtual clock
        copy = tmp_path / "copy"

        await stopped_in_the_middle(
            bench,
            when=lambda partial: any(partial.glob("*.resume")),
            before=lambda: shutil.copytree(bench.root, copy),
        )
        shutil.rmtree(bench.root)
        copy.rename(bench.root)
        bench.sandbox.clear_requests()

        report = await bench.sync()

        assert report.whole, report.failures
        bench.check_content()
        (rest,) = asked(bench, "/originals/")
        assert rest.status == 206
        assert int(rest.headers["range"].removeprefix("bytes=").rstrip("-")) >= 8 << 20


async def test_signatures_are_nowhere(
    open_bench: OpenBench, caplog: pytest.LogCaptureFixture
) -> None:
    """Whatever goes wrong: no link is in a log, a report, or a file."""
    caplog.set_level(logging.DEBUG)
    async with originals(open_bench, "thumbnail", photos=20) as bench:
        bench.limits = structs.replace(bench.limits, backoff=Backoff(0.01, 0.05))
        for kind in ("expire", "reset", "truncated", "404", "html", "502", "empty"):
            bench.sandbox.faults.add(Fault(kind=kind, variant="original", probability=0.3))

        reports = [await bench.sync() for _ in range(2)]

        links = {seen.query.rpartition("=")[2] for seen in asked(bench, "/originals/")}
        assert len(links) > 1
        told = caplog.text + json.dumps([report.as_json() for report in reports])
        for secret in ("X-Amz", *links):
            assert secret not in told
            assert not holding(bench, secret.encode())


@pytest.mark.parametrize("found", [False, True])
async def test_other_variants_go_on_while_links_are_long_in_coming(
    open_bench: OpenBench, mock_clock: MockClock, found: bool
) -> None:
    """However many originals stand among them, and few connections there are: all others come before the first of them."""
    mock_clock.rate = 30
    async with originals(open_bench, "thumbnail", "large", photos=80, tls=False) as bench:
        bench.settings = replace(bench.settings, connections=4, durability="none")
        bench.limits = Limits(head=300.0, silence=300.0)
        if found:  # as wanted files of an earlier run, not by a listing
            gone = Fault(kind="404", origin="photos")
            bench.sandbox.faults.add(gone)
            await bench.sync()
            bench.sandbox.faults.clear()
            bench.sandbox.clear_requests()
        bench.sandbox.faults.add(
            Fault(
                kind="stall",
                origin="api",
                path="original-photos",
                at="before",
                seconds=280,  # longer than it takes to have the 160 others
                count=1,
            ),
        )

        report = await bench.sync()

        assert report.whole, report.failures
        assert bench.check_content() == 240
        paths = [seen.path for seen in bench.sandbox.requests if seen.origin == "photos"]
        assert len(paths) == 240
        first = next(number for number, path in enumerate(paths) if "/originals/" in path)
        assert first == 160
