"""`sync --recheck` against the sandbox on loopback: what was replaced under its id comes in, the rest costs a 304."""

from __future__ import annotations

import hashlib
import sqlite3
from contextlib import closing
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from msgspec import structs

from ninepic_mirror.ninepic.backoff import Backoff
from ninepic_mirror.sandbox import Fault
from tests.conftest import EVENT
from tests.oracle import check_truth

if TYPE_CHECKING:
    from pathlib import Path

    from ninepic_mirror.model import Variant
    from tests.conftest import Bench, OpenBench


def sha256(path: Path) -> str:
    """Return the hash of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def statuses(bench: Bench) -> dict[int, int]:
    """Return how often the photo origin gave each status."""
    found: dict[int, int] = {}
    for seen in bench.sandbox.requests:
        if seen.origin == "photos":
            found[seen.status] = found.get(seen.status, 0) + 1
    return found


def trash(bench: Bench) -> list[Path]:
    """Return the files in the trash."""
    return [path for path in (bench.folder / ".ninepic-mirror/trash").rglob("*") if path.is_file()]


def forget_validators(bench: Bench, change: str) -> None:
    """Change what the manifest knows of the origin's validators."""
    with closing(sqlite3.connect(bench.folder / ".ninepic-mirror/manifest.sqlite3")) as opened:
        opened.execute(f"UPDATE files SET {change}")
        opened.commit()


async def test_an_unchanged_event_costs_one_304_a_file(open_bench: OpenBench) -> None:
    """Every file is asked for once, by its ETag, and no byte comes; a pass without --recheck asks for none."""
    async with open_bench() as bench:
        await bench.sync()
        bench.sandbox.clear_requests()

        report = await bench.sync(recheck=True)

        assert report.recheck is not None
        assert (report.recheck.unchanged, report.recheck.complete, report.is_good) == (
            120,
            True,
            True,
        )
        assert statuses(bench) == {304: 120}
        assert (report.downloaded, report.bytes_downloaded) == (0, 0)
        bench.sandbox.clear_requests()
        assert (await bench.sync()).recheck is None
        assert bench.sandbox.count("photos") == 0


async def test_a_replaced_photo_comes_in_and_the_old_file_goes_to_the_trash(
    open_bench: OpenBench,
) -> None:
    """Both hashes are reported, SHA256SUMS follows, and a second recheck costs only 304s."""
    async with open_bench() as bench:
        await bench.sync()
        name = bench.sandbox.event(EVENT).photos[7].image_id
        old = {
            variant: sha256(bench.photos()[f"{variant}/{name}"])
            for variant in ("thumbnail", "large")
        }
        bench.sandbox.event(EVENT).replace(name)

        report = await bench.sync(recheck=True)

        assert report.recheck is not None
        assert (report.recheck.replaced, report.recheck.unchanged, report.downloaded) == (2, 118, 2)
        assert bench.check_content() == 120
        new = {
            variant: sha256(bench.photos()[f"{variant}/{name}"])
            for variant in ("thumbnail", "large")
        }
        assert {
            (one.image_id, one.variant, one.before, one.after)
            for one in report.recheck.replacements
        } == {(name, variant, old[variant], new[variant]) for variant in old}
        assert {sha256(path) for path in trash(bench)} == set(old.values())
        sums = "".join(path.read_text() for path in bench.folder.glob("*/SHA256SUMS"))
        assert all(new[one] in sums and old[one] not in sums for one in old)
        bench.sandbox.clear_requests()
        assert (await bench.sync(recheck=True)).is_good
        assert statuses(bench) == {304: 120}


@pytest.mark.parametrize("kept", [0, 1])
async def test_hard_links_are_kept_right(open_bench: OpenBench, kept: int) -> None:
    """Of two photos with equal bytes one is replaced: the other's file, the same inode, stays what it was."""
    async with open_bench(duplicates=1) as bench:
        await bench.sync()
        event = bench.sandbox.event(EVENT)
        inodes: dict[int, list[str]] = {}
        for name, path in bench.photos().items():
            if name.startswith("large/"):
                inodes.setdefault(path.stat().st_ino, []).append(name.partition("/")[2])
        (pair,) = [sorted(names) for names in inodes.values() if len(names) == 2]
        # The sandbox makes a copy from the photo before it, so that replacing that one replaces both.
        event.replace(pair[kept])

        report = await bench.sync(recheck=True)

        assert report.recheck is not None
        assert report.recheck.replaced in {2, 4}
        assert bench.check_content() == 120
        check_truth(bench.folder, event.body)


async def test_without_validators_bytes_are_compared(open_bench: OpenBench) -> None:
    """A row with neither ETag nor date: the photo is fetched, found equal, and only its validators are recorded."""
    async with open_bench() as bench:
        await bench.sync()
        before = {name: path.stat().st_ino for name, path in bench.photos().items()}
        forget_validators(bench, "etag = NULL, last_modified = NULL")
        bench.sandbox.clear_requests()

        report = await bench.sync(recheck=True)

        assert report.recheck is not None
        assert (report.recheck.same, report.recheck.replaced, report.downloaded) == (120, 0, 0)
        assert statuses(bench) == {200: 120}
        assert {name: path.stat().st_ino for name, path in bench.photos().items()} == before
        assert not trash(bench)
        assert not list((bench.folder / ".ninepic-mirror/partial").iterdir())
        bench.sandbox.clear_requests()
        await bench.sync(recheck=True)
        assert statuses(bench) == {304: 120}


async def test_a_date_is_a_condition_too(open_bench: OpenBench) -> None:
    """Without an ETag, `If-Modified-Since`."""
    async with open_bench(photos=10) as bench:
        await bench.sync()
        forget_validators(bench, "etag = NULL")
        bench.sandbox.clear_requests()

        await bench.sync(recheck=True)

        assert statuses(bench) == {304: 20}
        asked = [seen.headers for seen in bench.sandbox.requests if seen.origin == "photos"]
        assert all("if-modified-since" in one and "if-none-match" not in one for one in asked)


async def test_equal_bytes_under_a_new_etag(open_bench: OpenBench) -> None:
    """Only the row's ETag follows."""
    async with open_bench(photos=10) as bench:
        await bench.sync()
        forget_validators(bench, "etag = '\"another\"'")

        report = await bench.sync(recheck=True)

        assert report.recheck is not None
        assert (report.recheck.same, report.recheck.replaced) == (20, 0)
        bench.sandbox.clear_requests()
        await bench.sync(recheck=True)
        assert statuses(bench) == {304: 20}


@pytest.mark.parametrize("kind", ["404", "403", "html", "truncated", "empty", "short"])
async def test_a_recheck_that_fails_harms_nothing(open_bench: OpenBench, kind: str) -> None:
    """Refused, or answered with rubbish: the failure is listed, the file stays, and so does its row."""
    async with open_bench(photos=10) as bench:
        await bench.sync()
        event = bench.sandbox.event(EVENT)
        name = event.photos[3].image_id
        before = bench.photos()[f"large/{name}"].read_bytes()
        event.replace(name)
        bench.limits = structs.replace(bench.limits, backoff=Backoff(0.001, 0.005))
        bench.sandbox.faults.add(Fault(kind=kind, image_id=name, variant="large"))

        report = await bench.sync(recheck=True)

        assert report.recheck is not None
        assert (report.whole, report.is_good, report.present) == (True, False, 20)
        (failure,) = report.recheck.failures
        assert (failure.image_id, failure.variant) == (name, "large")
        assert "the file here is kept" in failure.error
        assert report.as_json()["failures"] == [failure.as_json()]
        assert bench.photos()[f"large/{name}"].read_bytes() == before
        bench.sandbox.faults.clear()
        again = await bench.sync(recheck=True)
        assert again.recheck is not None
        assert (again.recheck.replaced, again.is_good) == (1, True)
        assert bench.check_content() == 20


@pytest.mark.parametrize("variants", [("original",), ("thumbnail", "large", "original")])
async def test_originals_are_rechecked_by_new_links(
    open_bench: OpenBench, variants: tuple[Variant, ...]
) -> None:
    """Links are leased again; what was replaced comes in."""
    async with open_bench(photos=12, original_mb=(0.05, 0.06)) as bench:
        bench.settings = replace(bench.settings, variants=variants)
        await bench.sync()
        event = bench.sandbox.event(EVENT)
        event.replace(event.photos[4].image_id)
        bench.sandbox.clear_requests()

        report = await bench.sync(recheck=True)

        assert report.recheck is not None
        assert (report.recheck.replaced, report.is_good) == (len(variants), True)
        assert bench.check_content() == 12 * len(variants)
        assert statuses(bench) == {304: 11 * len(variants), 200: len(variants)}
        manifest = (bench.folder / ".ninepic-mirror/manifest.sqlite3").read_bytes()
        assert b"Signature" not in manifest


async def test_addresses_that_are_not_stored_are_listed_again(open_bench: OpenBench) -> None:
    """A photo whose address needs its query is rechecked by the listing's address."""
    async with open_bench(photos=4) as bench:
        event = bench.sandbox.event(EVENT)
        made = event.item(0, bench.sandbox.photos_url)
        event.add_raw(
            image_id="queried",
            img_url=f"{made['img_url']}?token=1",
            thumbnail_url=f"{made['thumbnail_url']}?token=1",
            hour=1768777200,
        )
        assert (await bench.sync()).whole
        event.add(20, hour=1768777200)
        bench.sandbox.clear_requests()

        report = await bench.sync(recheck=True)

        assert report.recheck is not None
        assert (report.recheck.unchanged, report.downloaded, report.is_good) == (10, 40, True)
        assert statuses(bench) == {304: 10, 200: 40}


async def test_a_day_and_a_variant_are_enough(open_bench: OpenBench) -> None:
    """`--day` and `--variant` narrow what is asked."""
    async with open_bench(photos=40, hours=4) as bench:
        await bench.sync()
        bench.settings = replace(bench.settings, variants=("large",))
        first = 1768777200
        bench.sandbox.clear_requests()

        report = await bench.sync(
            recheck=True, day=(first, first + 3600), date="2026-01-18", narrowed=True
        )

        assert report.recheck is not None
        assert 0 < report.recheck.unchanged == bench.sandbox.count("photos") < 40
