"""A pass against the sandbox on loopback: real sockets, real files, the promises of DESIGN §6 and §7."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import sqlite3
from contextlib import closing
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

import pytest

from ninepic_mirror.archive.files import Tree
from ninepic_mirror.archive.sqlite_errors import UnreadableError
from ninepic_mirror.config import Mirror
from ninepic_mirror.errors import EventNotFoundError, KeyRefusedError, RejectedError, StorageError
from ninepic_mirror.sandbox import Fault
from ninepic_mirror.sync.context import Options
from ninepic_mirror.sync.mirror import sync_event
from tests.oracle import check_count, final_files
from tests.remote import EVENT, Remote, session_of

if TYPE_CHECKING:
    from pathlib import Path

    from ninepic_mirror.model import Page, Timeline
    from tests.conftest import OpenBench

MANIFEST = ".ninepic-mirror/manifest.sqlite3"  # below an event folder
FIRST_HOUR = 1768777200  # of the sandbox's events
HOUR = 3600


async def test_a_first_pass_brings_every_photo(open_bench: OpenBench) -> None:
    """Every photo of the event is on disk with the very bytes, in both variants, over TLS."""
    async with open_bench(tls=True, undated=5, wrong_clock=3, trailing=2) as bench:
        report = await bench.sync()

        assert report.whole
        assert (report.photos, report.undated) == (60, 5)
        assert (report.downloaded, report.present, report.failed) == (120, 120, 0)
        assert bench.check_content() == 120
        assert len(list((bench.folder / "undated/large").iterdir())) == 5
        assert len(list((bench.folder / "1970-01-01/00/large").iterdir())) == 3


async def test_an_unchanged_event_costs_three_requests(open_bench: OpenBench) -> None:
    """A second pass of an unchanged event asks three times and fetches nothing."""
    async with open_bench(undated=5, duplicates=4) as bench:
        await bench.sync()
        bench.sandbox.clear_requests()

        report = await bench.sync()

        assert report.whole
        assert report.present == 120
        assert (bench.sandbox.count("api"), bench.sandbox.count("photos")) == (3, 0)
        assert report.api_requests == 3


async def test_without_a_timeline_two_requests_are_enough(open_bench: OpenBench) -> None:
    """An event whose timeline is off is mirrored to undated/, and its second pass asks twice."""
    async with open_bench(timeline=False) as bench:
        first = await bench.sync()
        bench.sandbox.clear_requests()

        second = await bench.sync()

        assert first.whole
        assert second.whole
        assert len(list((bench.folder / "undated/large").iterdir())) == 60
        assert (bench.sandbox.count("api"), bench.sandbox.count("photos")) == (2, 0)


async def test_late_photos_of_an_old_hour_are_found(open_bench: OpenBench) -> None:
    """Three photos added to an old hour cost at most six API requests, and only their files are fetched."""
    async with open_bench(photos=90, hours=24) as bench:
        await bench.sync()
        new = bench.sandbox.event(456).add(3, hour=FIRST_HOUR + HOUR)
        bench.sandbox.clear_requests()

        report = await bench.sync()

        assert report.whole
        assert report.downloaded == 6
        assert bench.sandbox.count("api") <= 6
        assert bench.sandbox.count("photos") == 6
        assert {
            seen.path.rpartition("/")[2].removesuffix(".jpg")
            for seen in bench.sandbox.requests
            if seen.origin == "photos"
        } == set(new)
        bench.check_content()


async def test_a_photo_whose_hour_changed_is_renamed(open_bench: OpenBench) -> None:
    """A photo that moves to another hour moves on disk, without a request for photos."""
    async with open_bench() as bench:
        await bench.sync()
        event = bench.sandbox.event(456)
        moved = event.photos[0].image_id
        event.retime(moved, FIRST_HOUR + 3 * HOUR)
        bench.sandbox.clear_requests()

        report = await bench.sync()

        assert report.whole
        assert (report.moved, report.downloaded) == (2, 0)
        assert bench.sandbox.count("photos") == 0
        assert bench.photos()[f"large/{moved}"].parent.parent.name == "02"
        assert bench.check_content() == 120


async def test_what_was_deleted_locally_comes_back(open_bench: OpenBench) -> None:
    """After `rm -r` of an hour's folder a pass fetches that hour's files and nothing else."""
    async with open_bench() as bench:
        await bench.sync()
        hour = next(path for path in sorted(bench.folder.glob("2026-*/*")) if path.is_dir())
        lost = len(list((hour / "large").iterdir())) * 2
        shutil.rmtree(hour)
        bench.sandbox.clear_requests()

        report = await bench.sync()

        assert report.whole
        assert report.downloaded == lost == bench.sandbox.count("photos")
        assert bench.check_content() == 120


async def test_equal_bytes_are_linked(open_bench: OpenBench) -> None:
    """Photos with equal bytes are one file on disk, under two names, and each is recorded."""
    async with open_bench(duplicates=6) as bench:
        report = await bench.sync()

        assert report.whole
        assert report.linked == 12
        inodes = {path.stat().st_ino for path in bench.photos().values()}
        assert len(inodes) == 120 - 12
        assert bench.check_content() == 120


async def test_copies_stay_copies_where_asked(open_bench: OpenBench) -> None:
    """With `duplicates = "copy"` every photo is a file of its own."""
    async with open_bench(duplicates=6) as bench:
        bench.settings = replace(bench.settings, duplicates="copy")
        report = await bench.sync()

        assert report.whole
        assert report.linked == 0
        assert len({path.stat().st_ino for path in bench.photos().values()}) == 120


async def test_a_lost_manifest_is_rebuilt_without_fetching(open_bench: OpenBench) -> None:
    """Files that stand whole at their right place are adopted: no photo is fetched twice."""
    async with open_bench(undated=4, duplicates=3) as bench:
        await bench.sync()
        for path in (bench.folder / ".ninepic-mirror").glob("manifest.sqlite3*"):
            path.unlink()
        bench.sandbox.clear_requests()

        report = await bench.sync()

        assert report.whole
        assert bench.sandbox.count("photos") == 0
        assert bench.check_content() == 120


async def test_a_manifest_that_makes_no_sense_is_rebuilt_by_the_next_pass(
    open_bench: OpenBench,
) -> None:
    """SQLite finds nothing wrong with it, so the pass that meets it sets it aside: the next one must not end so, too."""
    async with open_bench() as bench:
        await bench.sync()
        own = bench.folder / ".ninepic-mirror"
        with closing(sqlite3.connect(own / "manifest.sqlite3")) as manifest:
            manifest.execute("ALTER TABLE hours RENAME COLUMN listed TO lasted")
            manifest.commit()
        with pytest.raises(UnreadableError, match="no such column"):
            await bench.sync()
        assert list(own.glob("manifest.sqlite3.corrupt-*"))
        report = await bench.sync()
        assert (report.whole, report.downloaded) == (True, 0)


async def test_a_damaged_file_is_not_adopted(open_bench: OpenBench) -> None:
    """A file that SHA256SUMS names with another hash is fetched anew, and the damaged one is kept in the trash."""
    async with open_bench() as bench:
        await bench.sync()
        for path in (bench.folder / ".ninepic-mirror").glob("manifest.sqlite3*"):
            path.unlink()
        name, damaged = sorted(bench.photos().items())[7]
        content = bytearray(damaged.read_bytes())
        content[-20] ^= 1
        damaged.write_bytes(content)

        report = await bench.sync()

        assert report.whole
        assert report.downloaded == 1
        assert bench.check_content() == 120
        (kept,) = (
            path for path in (bench.folder / ".ninepic-mirror/trash").rglob("*") if path.is_file()
        )
        assert kept.name.startswith(name.partition("/")[2])


async def test_a_full_pass_notices_a_changed_size(open_bench: OpenBench) -> None:
    """A file that was cut short in place is fetched again by a full pass."""
    async with open_bench() as bench:
        await bench.sync()
        path = sorted(bench.photos().values())[3]
        with path.open("r+b") as file:
            file.truncate(100)

        quick = await bench.sync()
        full = await bench.sync(full=True)

        assert quick.downloaded == 0
        assert (full.whole, full.downloaded) == (True, 1)
        assert bench.check_content() == 120


@pytest.mark.parametrize("kind", ["link", "file"])
async def test_what_stands_in_a_day_folders_place_is_named(
    open_bench: OpenBench, tmp_path: Path, kind: str
) -> None:
    """Nobody is told to move the whole mirror away."""
    async with open_bench(photos=10, hours=1) as bench:
        await bench.sync()
        day = next(bench.folder.glob("2026-*"))
        shutil.rmtree(day)
        (tmp_path / "elsewhere").mkdir()
        day.symlink_to(tmp_path / "elsewhere") if kind == "link" else day.write_text("a note")

        with pytest.raises(StorageError) as raised:
            await bench.sync()

        assert raised.value.path == str(day)
        assert "move it away" in raised.value.cure
        assert not list((tmp_path / "elsewhere").iterdir())


async def test_half_written_files_are_cleared_before_the_manifest_is_opened(
    open_bench: OpenBench,
) -> None:
    """What cannot be continued may be what fills the disk, so that not even the manifest could be written."""
    async with open_bench(photos=10) as bench:
        await bench.sync()
        own = bench.folder / ".ninepic-mirror"
        with closing(sqlite3.connect(own / "manifest.sqlite3")) as manifest:
            manifest.execute("PRAGMA user_version = 99")  # it cannot be opened
        (own / "partial/large-x").write_bytes(b"half")
        (own / "partial/large-y").write_bytes(b"most")
        (own / "partial/large-y.resume").write_text("{}")

        with pytest.raises(StorageError, match="schema version 99"):
            await bench.sync()

        assert {path.name for path in (own / "partial").iterdir()} == {
            "large-y",
            "large-y.resume",
        }


async def test_a_disk_that_fails_right_after_the_manifest_was_opened_is_told(
    open_bench: OpenBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first sync of a pass is that of the manifest's own name: it may fail as any other."""
    async with open_bench(photos=10) as bench:
        await bench.sync()

        def fail(_tree: Tree, _path: str) -> None:
            raise OSError(errno.EIO, "I/O error")

        monkeypatch.setattr(Tree, "sync_folder", fail)
        with pytest.raises(StorageError, match="I/O error"):
            await bench.sync()


async def test_a_photo_that_is_gone_for_good_is_listed(open_bench: OpenBench) -> None:
    """A 404 of the photo origin fails that file only; the rest is whole, and the next pass tries again."""
    async with open_bench() as bench:
        missing = bench.sandbox.event(456).photos[9].image_id
        bench.sandbox.faults.add(
            Fault(kind="404", origin="photos", image_id=missing, variant="large")
        )

        report = await bench.sync()
        bench.sandbox.faults.clear()
        again = await bench.sync()

        assert not report.whole
        assert [(one.image_id, one.variant) for one in report.failures] == [(missing, "large")]
        assert "404" in report.failures[0].error
        assert report.present == 119
        assert (again.whole, again.downloaded) == (True, 1)


async def test_removed_photos_are_kept_and_marked(open_bench: OpenBench) -> None:
    """A photo that left the event is gone in the manifest and still on disk, and the pass is whole."""
    async with open_bench() as bench:
        await bench.sync()
        event = bench.sandbox.event(456)
        left = event.photos[4].image_id
        event.remove(left)

        report = await bench.sync()

        assert (report.whole, report.gone, report.photos) == (True, 2, 59)
        assert f"large/{left}" in bench.photos()


async def test_a_mass_removal_is_stopped_until_accepted(open_bench: OpenBench) -> None:
    """More than a tenth of the event at once is not believed without a word of the operator."""
    async with open_bench() as bench:
        await bench.sync()
        event = bench.sandbox.event(456)
        for photo in list(event.photos)[:10]:
            event.remove(photo.image_id)

        stopped = await bench.sync()
        still = await bench.sync()
        accepted = await bench.sync(accept_removals=True)
        after = await bench.sync()

        assert (stopped.whole, stopped.stopped_removal, stopped.gone) == (False, 10, 0)
        assert (still.whole, still.stopped_removal) == (False, 10)
        assert (accepted.whole, accepted.gone) == (True, 20)
        assert (after.whole, after.photos, after.api_requests) == (True, 50, 3)


@pytest.mark.parametrize("removal", ["keep", "trash"])
@pytest.mark.parametrize("damaged", [False, True])
async def test_a_photo_that_returns_has_its_other_variants_back(
    open_bench: OpenBench, removal: Literal["keep", "trash"], *, damaged: bool
) -> None:
    """A variant taken out of the configuration is left alone: it comes back with its photo, but is not fetched."""
    async with open_bench() as bench:
        bench.settings = replace(bench.settings, on_remote_removal=removal, trash_keep=0)
        await bench.sync()
        event = bench.sandbox.event(456)
        left = event.photos[4]
        event.remove(left.image_id)
        await bench.sync()
        # a full pass takes what was gone before the second in which it began
        with closing(sqlite3.connect(bench.folder / MANIFEST)) as manifest, manifest:
            manifest.execute("UPDATE photos SET gone_since = gone_since - 5")
        full = await bench.sync(full=True)
        assert (full.whole, full.missing) == (True, 0)
        (large,) = bench.folder.rglob(f"large/{left.image_id}.jpg")
        assert (".ninepic-mirror/trash" in str(large)) == (removal == "trash")
        before = large.read_bytes()
        if damaged:
            large.write_bytes(b"damaged")
        bench.settings = replace(bench.settings, variants=("thumbnail",))
        event.add_raw(image_id=left.image_id, hour=left.captured)
        bench.sandbox.clear_requests()

        report = await bench.sync()

        assert report.whole
        assert bench.sandbox.count("photos") == 0
        assert f"thumbnail/{left.image_id}" in bench.photos()
        with closing(sqlite3.connect(bench.folder / MANIFEST)) as manifest:
            (row,) = manifest.execute(
                "SELECT state, path FROM files WHERE image_id = ? AND variant = 'large'",
                [left.image_id],
            )
        if damaged:
            assert row == ("pending", str(large.relative_to(bench.folder)))
        else:
            place = bench.photos()[f"large/{left.image_id}"]
            assert row == ("present", str(place.relative_to(bench.folder)))
            assert place.read_bytes() == before


async def test_the_layout_changes_by_renaming(open_bench: OpenBench) -> None:
    """Another layout or zone moves files on disk without a request for photos."""
    async with open_bench(undated=3) as bench:
        await bench.sync()
        bench.sandbox.clear_requests()
        bench.settings = replace(bench.settings, layout="{variant}/{date}/{image_id}{ext}")

        report = await bench.sync()

        assert (report.whole, report.moved) == (True, 120)
        assert bench.sandbox.count("photos") == 0
        assert {path.name for path in bench.folder.iterdir()} == {
            ".ninepic-mirror", "event.json", "large", "thumbnail",
        }  # fmt: skip
        assert (bench.folder / "large/SHA256SUMS").is_file()


async def test_half_hour_zones_put_photos_into_local_hours(open_bench: OpenBench) -> None:
    """In Kolkata each UTC hour is cut at half past, and every photo stands in the folder of its own local hour."""
    async with open_bench(hours=3) as bench:
        bench.settings = replace(bench.settings, timezone="Asia/Kolkata")
        report = await bench.sync()

        assert report.whole
        for photo in bench.sandbox.event(456).photos:
            path = bench.photos()[f"large/{photo.image_id}"]
            local = (photo.captured or 0) + 19_800
            assert path.parent.parent.name == f"{local // 3600 % 24:02}"


async def test_a_new_zone_moves_files_into_its_hours(open_bench: OpenBench) -> None:
    """Going from UTC to a half-hour zone asks the API, never for photos, and moves what has to move."""
    async with open_bench(hours=3) as bench:
        await bench.sync()
        bench.sandbox.clear_requests()
        bench.settings = replace(bench.settings, timezone="Asia/Kolkata")

        report = await bench.sync()
        again = await bench.sync()

        assert report.whole
        assert bench.sandbox.count("photos") == 0
        assert report.moved == 120
        assert (again.whole, again.api_requests, again.moved) == (True, 3, 0)
        for photo in bench.sandbox.event(456).photos:
            path = bench.photos()[f"large/{photo.image_id}"]
            assert path.parent.parent.name == f"{((photo.captured or 0) + 19_800) // 3600 % 24:02}"


async def test_the_timeline_may_be_switched_on_later(open_bench: OpenBench) -> None:
    """Photos in undated/ move to their hours when the timeline comes, and stay there when it goes."""
    async with open_bench(timeline=False) as bench:
        event = bench.sandbox.event(456)
        await bench.sync()
        event.set(timeline_search=True)
        bench.sandbox.clear_requests()
        on = await bench.sync()
        event.set(timeline_search=False)
        off = await bench.sync()

        assert (on.whole, on.moved, bench.sandbox.count("photos")) == (True, 120, 0)
        assert (off.whole, off.moved) == (True, 0)
        assert not (bench.folder / "undated").exists()


async def test_a_refused_timeline_keeps_every_hour(open_bench: OpenBench) -> None:
    """A 403 of the timeline although its flag is on makes no photo undated."""
    async with open_bench() as bench:
        await bench.sync()
        bench.sandbox.faults.add(Fault(kind="timeline_403"))

        report = await bench.sync()

        assert (report.whole, report.moved, report.undated) == (True, 0, 0)


async def test_sums_and_event_are_readable_without_us(open_bench: OpenBench) -> None:
    """SHA256SUMS names every file of its day with its hash, and event.json says what there is."""
    async with open_bench(undated=2, wrong_clock=2) as bench:
        await bench.sync()

        named = {}
        for sums in bench.folder.glob("*/SHA256SUMS"):
            for line in sums.read_text().splitlines():
                sha256, _, name = line.partition("  ")
                named[sums.parent / name] = sha256
        assert named == {
            path: hashlib.sha256(path.read_bytes()).hexdigest() for path in bench.photos().values()
        }
        about = json.loads((bench.folder / "event.json").read_text())
        assert (about["event_id"], about["photos"], about["undated"]) == (456, 60, 2)
        assert sum(day["photos"] for day in about["days"]) == 58


async def test_a_new_variant_is_fetched_for_known_photos(open_bench: OpenBench) -> None:
    """A variant added to the configuration comes for every photo; one taken out is left alone."""
    async with open_bench() as bench:
        bench.settings = replace(bench.settings, variants=("thumbnail",))
        first = await bench.sync()
        bench.settings = replace(bench.settings, variants=("large",))
        second = await bench.sync()

        assert (first.whole, first.present) == (True, 60)
        assert (second.whole, second.downloaded) == (True, 60)
        assert len(bench.photos()) == 120


async def test_one_day_only(open_bench: OpenBench) -> None:
    """A pass over one day fetches that day's photos and calls the rest neither whole nor gone."""
    midnight = 1768780800  # 2026-01-19 00:00 UTC
    async with open_bench() as bench:
        report = await bench.sync(day=(midnight, midnight + 24 * HOUR))
        on_that_day = [
            one for one in bench.sandbox.event(456).photos if midnight <= (one.captured or 0)
        ]
        everything = await bench.sync()

        assert report.whole
        assert report.downloaded == 2 * len(on_that_day)
        assert everything.whole
        assert everything.downloaded == 120 - report.downloaded


async def test_a_foreign_event_and_a_refused_key_are_told_apart(open_bench: OpenBench) -> None:
    """An unknown event is that event's end; a refused key is the program's."""
    async with open_bench() as bench:
        with pytest.raises(EventNotFoundError):
            await bench.sync(999)
        bench.sandbox.revoke("test-key")
        with pytest.raises(KeyRefusedError):
            await bench.sync()


async def test_no_marker_no_writing(open_bench: OpenBench) -> None:
    """A root that holds foreign files and no marker is refused."""
    async with open_bench() as bench:
        bench.root.mkdir()
        (bench.root / "holiday.jpg").write_bytes(b"x")

        with pytest.raises(StorageError, match="no mirror root"):
            await bench.sync()

        assert [path.name for path in bench.root.iterdir()] == ["holiday.jpg"]


async def test_an_older_manifest_over_a_newer_tree_is_noticed(open_bench: OpenBench) -> None:
    """A manifest restored from a backup fetches nothing that stands there whole, and believes no stale row."""
    async with open_bench() as bench:
        event = bench.sandbox.event(456)
        await bench.sync()
        manifest = bench.folder / ".ninepic-mirror/manifest.sqlite3"
        backup = manifest.read_bytes()
        replaced = event.photos[5].image_id
        event.replace(replaced)
        bench.photos()[f"large/{replaced}"].unlink()
        event.retime(event.photos[8].image_id, FIRST_HOUR + 3 * HOUR)
        event.add(10, hour=FIRST_HOUR + 30 * HOUR)
        await bench.sync()
        manifest.write_bytes(backup)
        bench.sandbox.clear_requests()

        report = await bench.sync()

        assert report.whole, report.failures
        assert bench.sandbox.count("photos") == 0
        for line in (bench.folder / "2026-01-19/SHA256SUMS").read_text().splitlines():
            sha256, _, name = line.partition("  ")
            path = bench.folder / "2026-01-19" / name
            assert hashlib.sha256(path.read_bytes()).hexdigest() == sha256


async def test_a_listing_of_one_hour_that_is_not_found_is_no_missing_event(
    open_bench: OpenBench,
) -> None:
    """A 404 of one window is a fault of that listing; the other hours are mirrored, and the pass is not whole."""
    async with open_bench() as bench:
        window = rf"timeline/images\?from={FIRST_HOUR}"
        bench.sandbox.faults.add(Fault(kind="404", origin="api", path=window))

        report = await bench.sync()

        assert not report.whole
        assert 0 < report.present < 120
        assert "404" in report.failures[0].error


async def test_one_day_that_lists_less_than_reported_is_not_whole(open_bench: OpenBench) -> None:
    """A day of which the service reports more photos than it names is not called whole."""
    midnight = 1768780800  # 2026-01-19 00:00 UTC
    async with open_bench() as bench:
        bench.sandbox.faults.add(Fault(kind="count_lie", amount=3))

        report = await bench.sync(day=(midnight, midnight + 24 * HOUR))

        assert not report.whole
        assert "the service reports" in report.failures[0].error


async def test_one_day_that_vanished_is_not_whole(open_bench: OpenBench) -> None:
    """Photos of a day that are not listed any more are for a pass over the whole event to judge."""
    midnight = 1768780800  # 2026-01-19 00:00 UTC
    async with open_bench() as bench:
        await bench.sync()
        event = bench.sandbox.event(456)
        for photo in [one for one in event.photos if (one.captured or 0) >= midnight]:
            event.remove(photo.image_id)

        report = await bench.sync(day=(midnight, midnight + 24 * HOUR))

        assert not report.whole
        assert "not listed any more" in report.failures[0].error


async def test_a_variant_left_out_once_comes_later(open_bench: OpenBench) -> None:
    """Photos that came in a pass for one variant get the others in the next, and the pass for one says nothing of whole."""
    async with open_bench() as bench:
        both = bench.settings
        await bench.sync()
        bench.sandbox.event(456).add(3, hour=FIRST_HOUR)
        bench.settings = replace(both, variants=("thumbnail",))
        narrow = await bench.sync(narrowed=True, day=(FIRST_HOUR, FIRST_HOUR + HOUR))
        bench.settings = both

        report = await bench.sync()

        assert (narrow.whole, narrow.downloaded) == (True, 3)
        assert (report.whole, report.downloaded) == (True, 3)


async def test_a_pass_for_one_variant_costs_the_next_nothing(open_bench: OpenBench) -> None:
    """Where nothing changed, a pass for fewer variants leaves all that is known of the others as it was."""
    async with open_bench(photos=60) as bench:
        assert (await bench.sync()).whole
        both = bench.settings
        bench.settings = replace(both, variants=("thumbnail",))
        assert (await bench.sync(narrowed=True, configured=both.variants)).api_requests == 3
        bench.settings = both
        report = await bench.sync()
        assert (report.whole, report.api_requests, report.photo_requests) == (True, 3, 0)


async def test_rows_that_are_no_photo_remove_nothing(open_bench: OpenBench) -> None:
    """A listing with a row that cannot be read is not whole: what it does not name is not gone."""
    async with open_bench() as bench:
        await bench.sync()
        event = bench.sandbox.event(456)
        event.remove(event.photos[0].image_id)
        event.add_raw(image_id=None, hour=FIRST_HOUR)
        event.add(1, hour=FIRST_HOUR)

        report = await bench.sync()

        assert (report.whole, report.gone) == (False, 0)


async def test_photos_that_came_while_the_timeline_was_off_move_to_their_hours(
    open_bench: OpenBench,
) -> None:
    """When the timeline comes back every hour is listed, although no count of an hour changed."""
    async with open_bench() as bench:
        event = bench.sandbox.event(456)
        await bench.sync()
        event.set(timeline_search=False)
        event.remove(event.photos[0].image_id)
        (new,) = event.add(1, hour=FIRST_HOUR)
        await bench.sync()
        event.set(timeline_search=True)

        report = await bench.sync()

        assert report.whole
        assert bench.photos()[f"large/{new}"].parent.parent.name == "23"
        assert not (bench.folder / "undated").exists()


async def test_a_rebuild_in_parts_keeps_the_only_record_of_the_hashes(
    open_bench: OpenBench,
) -> None:
    """A damaged file is not adopted by a later pass because an earlier one rewrote SHA256SUMS without its line."""
    async with open_bench() as bench:
        await bench.sync()
        for path in (bench.folder / ".ninepic-mirror").glob("manifest.sqlite3*"):
            path.unlink()
        damaged = sorted(
            path for name, path in bench.photos().items() if name.startswith("large/")
        )[9]
        content = bytearray(damaged.read_bytes())
        content[-20] ^= 1
        damaged.write_bytes(content)
        for folder in [path for path in bench.folder.rglob("*") if path.is_dir()]:
            os.utime(folder, (1_700_000_000, 1_700_000_000))  # long ago, as it is after a disaster
        both = bench.settings
        bench.settings = replace(both, variants=("thumbnail",))
        await bench.sync()
        bench.settings = both

        report = await bench.sync()

        assert (report.whole, report.downloaded) == (True, 1)
        assert bench.check_content() == 120


async def test_a_file_taken_away_meanwhile_is_counted(tmp_path: Path) -> None:
    """One that vanishes within a pass, and whose address is not stored, is missing: no kept count says otherwise."""
    remote = TakesAway(signed=True)
    remote.fill(7)
    settings = Mirror(tmp_path / "mirror", min_free=0, durability="none", connections=4)
    assert (await sync_event(session_of(remote, settings), EVENT)).whole
    (folder,) = settings.root.glob(f"{EVENT}*")
    victim = next(iter(final_files(folder).values()))

    remote.victim = victim
    report = await sync_event(session_of(remote, settings), EVENT)

    assert not victim.exists()
    assert (report.whole, report.missing) == (False, 1)
    assert check_count(folder)
    remote.victim = None
    assert (await sync_event(session_of(remote, settings), EVENT)).whole


@dataclass
class TakesAway(Remote):
    """A service; while it is asked for its hours, somebody takes a file away."""

    victim: Path | None = None

    async def timeline_days(self, event_id: int) -> Timeline:
        """Answer as ever."""
        if self.victim is not None:
            self.victim.unlink()
        return await super().timeline_days(event_id)


async def test_no_page_behind_the_last_is_asked_for(tmp_path: Path) -> None:
    """An event that fills its pages is whole where the service refuses the page behind the last (API.md: unknown)."""

    @dataclass
    class Strict(Remote):
        """A service that knows no page behind the last."""

        async def images(self, event_id: int, page: int, page_size: int = 100) -> Page:
            """Refuse it."""
            if page > 1 and (page - 1) * page_size >= len(self.pictures):
                raise RejectedError("images", 400)
            return await super().images(event_id, page, page_size)

    remote = Strict()
    for number in range(6):
        remote.add(f"photo-{number}", FIRST_HOUR if number else None)
    settings = Mirror(tmp_path / "mirror", min_free=0, durability="none")
    assert (await sync_event(session_of(remote, settings, 3), EVENT)).undated == 1
    remote.pictures["photo-0"].taken = (
        FIRST_HOUR + 7200
    )  # the tail is empty from now on, and was not
    report = await sync_event(session_of(remote, settings, 3), EVENT)
    assert (report.whole, report.undated, report.moved) == (True, 0, 2)
    del remote.pictures["photo-5"], remote.pictures["photo-4"], remote.pictures["photo-3"]
    report = await sync_event(session_of(remote, settings, 3), EVENT, Options(accept_removals=True))
    assert (report.whole, report.photos) == (True, 3)
