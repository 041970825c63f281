"""A pass that dies between a file's name and its row: the next one knows the file, and fetches it not again."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from ninepic_mirror.archive.manifest import Manifest
from tests.oracle import check_truth
from tests.remote import EVENT

if TYPE_CHECKING:
    from tests.conftest import Bench, OpenBench

MANIFEST = ".ninepic-mirror/manifest.sqlite3"  # below an event folder


async def cut_off(bench: Bench) -> None:
    """Make a pass that dies before it records its first files."""
    with closing(sqlite3.connect(bench.folder / MANIFEST)) as opened:
        opened.execute(
            "CREATE TRIGGER cut_off BEFORE UPDATE OF fetched_at ON files"
            " BEGIN SELECT RAISE(ABORT, 'cut off'); END"
        )
        with pytest.raises(sqlite3.IntegrityError, match="cut off"):
            await bench.sync()
        opened.execute("DROP TRIGGER cut_off")


async def test_a_rebuild_by_another_layout_that_was_cut_off_goes_on(open_bench: OpenBench) -> None:
    """What has its new name and no row yet is known by its line at the old place; nothing is fetched."""
    async with open_bench() as bench:
        await bench.sync()
        manifest = bench.folder / MANIFEST
        manifest.unlink()
        bench.settings = replace(bench.settings, layout="{variant}/{date}/{image_id}{ext}")
        Manifest.open(manifest).close()
        await cut_off(bench)
        assert [*bench.folder.glob("large/*/*.jpg")]
        bench.sandbox.clear_requests()

        report = await bench.sync()

        assert report.whole
        assert (report.downloaded, bench.sandbox.count("photos")) == (0, 0)
        assert len([*bench.folder.glob("*/*/*.jpg")]) == 120
        assert {one.parent.name for one in bench.folder.glob("*/SHA256SUMS")} == {
            "large",
            "thumbnail",
        }


async def test_a_replaced_photo_that_got_its_name_and_no_row_is_not_fetched_again(
    open_bench: OpenBench,
) -> None:
    """Its row has the old hash, and nothing but what was written down before tells it from somebody's picture."""
    async with open_bench() as bench:
        await bench.sync()
        name = bench.sandbox.event(EVENT).photos[7].image_id
        for variant in ("thumbnail", "large"):
            bench.photos()[f"{variant}/{name}"].unlink()
        bench.sandbox.event(EVENT).replace(name)
        bench.settings = replace(bench.settings, layout="{date}/{variant}/{image_id}{ext}")
        await cut_off(bench)
        place = bench.photos()[f"large/{name}"]
        assert place.read_bytes() == bench.sandbox.event(EVENT).body(name, "large")
        bench.sandbox.clear_requests()

        assert (await bench.sync()).is_good

        assert bench.sandbox.count("photos") == 0
        check_truth(bench.folder, bench.sandbox.event(EVENT).body)
