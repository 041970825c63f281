"""`sync` as a person or a script runs it: what it prints, how it ends."""

from __future__ import annotations

import json
import sqlite3
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

    from tests.system.conftest import Commands, Running, Serve, Service


def test_whole(commands: Commands, service: Service, tmp_path: Path) -> None:
    """A pass that has everything says so, with the numbers and the folder, and ends with 0."""
    done = commands.run("sync", 456, *service.flags, "--root", "mirror")
    assert (done.code, "Traceback" in done.err) == (0, False)
    assert "whole: everything is here: 60 photos" in done.out
    assert "120 files (thumbnail and large)" in done.out
    assert str(tmp_path / "mirror" / "456-mumbai-marathon-2026") in done.out
    assert len(list((tmp_path / "mirror").glob("456-*/*/*/large/*.jpg"))) == 59  # 1 is undated


def test_json_is_one_object(commands: Commands, service: Service) -> None:
    """`--json` prints one object with every field of DESIGN §3 and the README, and a second pass costs three requests."""
    first = commands.run("sync", 456, *service.flags, "--root", "mirror", "--json")
    second = commands.run("sync", 456, *service.flags, "--root", "mirror", "--json")
    entry = second.entry
    assert (first.code, second.code, second.document["exit_code"]) == (0, 0, 0)
    assert entry["files"] == {
        "downloaded": 0, "present": 120, "linked": 0, "moved": 0, "gone": 0, "failed": 0,
    }  # fmt: skip
    assert entry["whole"] is True
    assert entry["requests"] == {"api": 3, "photos": 0}
    assert set(entry) == {
        "event_id", "name", "whole", "photos", "undated", "files", "bytes_downloaded", "requests", "retries",
        "seconds", "failures", "scope", "forgotten", "recheck",
    }  # fmt: skip


def test_failed_photo(commands: Commands, service: Service) -> None:
    """One photo that is 404 for good ends with 4, is listed with its reason, and holds up nothing else."""
    service.fault(kind="404", origin="photos", path="large", count=1)
    done = commands.run("sync", 456, *service.flags, "--root", "mirror")
    assert done.code == 4
    assert "NOT whole: 1 file is missing:" in done.out
    assert "large: 404 from the photo origin" in done.out
    assert "119 files of 60 photos are safe" in done.out
    assert "next: run the same command again" in done.out
    again = commands.run("sync", 456, *service.flags, "--root", "mirror")
    assert (again.code, "1 file fetched" in again.out) == (0, True)


def test_quiet(commands: Commands, service: Service) -> None:
    """Under -q a pass that is whole says nothing at all."""
    done = commands.run("-q", "sync", 456, *service.flags, "--root", "mirror")
    assert (done.code, done.out, done.err) == (0, "", "")


def test_several_events(commands: Commands, serve: Serve) -> None:
    """An unknown event does not keep the others from being mirrored; its code is the run's."""
    service = serve("--photos", 5, "--events", 2)
    done = commands.run("sync", 456, 999, 457, *service.flags, "--root", "mirror", "--json")
    entries = done.document["events"]
    assert [(entry["event_id"], entry["whole"]) for entry in entries] == [
        (456, True), (999, False), (457, True),
    ]  # fmt: skip
    assert (done.code, done.document["exit_code"]) == (9, 9)
    assert "999" in entries[1]["failures"][0]["error"]


def test_all_events(commands: Commands, serve: Serve) -> None:
    """`--all` without [events] takes every event of the organisation."""
    service = serve("--photos", 5, "--events", 3)
    done = commands.run("sync", "--all", *service.flags, "--root", "mirror", "--json")
    entries = done.document["events"]
    assert [entry["event_id"] for entry in entries] == [456, 457, 458]
    assert done.code == 0


def test_all_matches_nothing(commands: Commands, service: Service, tmp_path: Path) -> None:
    """`--all` whose filters fit no event ends with 2 and says so."""
    (tmp_path / "ninepic-mirror.toml").write_text(
        f'[api]\norg_id = 903\nbase_url = "{service.api_url}"\n[mirror]\nroot = "m"\n'
        '[events]\nall = true\nname = "*Triathlon*"\n'
    )
    done = commands.run("sync", "--all")
    assert (done.code, done.says_one_line_and_cure()) == (2, True)


def test_day(commands: Commands, service: Service, tmp_path: Path) -> None:
    """`--day` fetches the photos of that day in the event's zone and no other."""
    done = commands.run(
        "sync", 456, *service.flags, "--root", "m", "--day", "2026-01-18", "--timezone", "UTC"
    )
    folders = {path.name for path in (tmp_path / "m" / "456-mumbai-marathon-2026").iterdir()}
    assert (done.code, "2026-01-18 only" in done.out) == (0, True)
    assert "2026-01-18" in folders
    assert not folders & {"2026-01-19", "undated"}
    again = commands.run(
        "sync", 456, *service.flags, "--root", "m", "--day", "2026-01-18", "--json"
    )
    assert again.entry["requests"] == {"api": 3, "photos": 0}


def test_day_without_photos(commands: Commands, service: Service) -> None:
    """A day that has no photo ends with 2 and names the days that there are."""
    done = commands.run("sync", 456, *service.flags, "--root", "m", "--day", "2026-03-01")
    assert (done.code, done.says_one_line_and_cure()) == (2, True)
    assert "2026-01-18, 2026-01-19" in done.err


def test_dry_run_changes_nothing(commands: Commands, service: Service, tmp_path: Path) -> None:
    """A dry run says what would be fetched and estimates its size, and leaves nothing behind."""
    done = commands.run("sync", 456, *service.flags, "--root", "m", "--dry-run")
    assert (done.code, (tmp_path / "m").exists()) == (0, False)
    assert "new: 60" in done.out
    assert "to be fetched: 120 files" in done.out
    assert "from the sizes of 40 sampled files" in done.out


def test_dry_run_json(commands: Commands, service: Service, tmp_path: Path) -> None:
    """A dry run beside a mirror plans from its manifest, and leaves every byte of it as it is."""
    commands.run("sync", 456, *service.flags, "--root", "m")
    added = service.order("POST", "456/add", {"count": 3, "hour": 1768784400})
    before = {path: path.read_bytes() for path in (tmp_path / "m").rglob("*") if path.is_file()}
    done = commands.run("sync", 456, *service.flags, "--root", "m", "--dry-run", "--json")
    entry = done.entry
    assert (entry["known"], entry["new"], entry["hours_to_list"]) == (60, 3, 1)
    assert (entry["files_to_fetch"], done.document["exit_code"]) == (6, 0)
    assert entry["estimated_bytes"] > 0
    assert len(added["image_ids"]) == 3  # type: ignore[arg-type]  # a list, by the sandbox
    assert before == {
        path: path.read_bytes() for path in (tmp_path / "m").rglob("*") if path.is_file()
    }


def test_originals(commands: Commands, serve: Serve, tmp_path: Path) -> None:
    """Originals come for the asking; one that the service refuses is listed, with its reason: 4. No link is told."""
    service = serve("--photos", 3)
    service.fault(kind="failed", count=1)
    words = ("sync", 456, *service.flags, "--root", "m", "--variant", "original")
    done = commands.run("-v", "-v", *words)
    assert (done.code, len(list((tmp_path / "m").rglob("original/*.jpg")))) == (4, 2)
    assert "original: the service gives no original: Image not found" in done.out
    service.order("DELETE", "faults")
    again = commands.run("-v", "-v", *words, "--json")
    assert (again.code, again.entry["whole"]) == (0, True)
    assert again.entry["files"]["downloaded"] == 1
    last = commands.run(*words, "--json")
    assert last.entry["requests"] == {"api": 3, "photos": 0}
    said = done.out + done.err + again.out + again.err
    assert ("X-Amz" in said, "watermark" in said) == (False, False)
    for path in (tmp_path / "m").rglob("*"):
        assert path.suffix == ".jpg" or not path.is_file() or b"X-Amz" not in path.read_bytes()


def test_dry_run_of_originals(commands: Commands, serve: Serve, tmp_path: Path) -> None:
    """A dry run leases a few links for its sample, each variant by its own size, and says where it cannot tell."""
    service = serve("--photos", 12)
    words = ("sync", 456, *service.flags, "--root", "m", "--dry-run")
    variants = ("--variant", "thumbnail", "--variant", "original")
    entry = commands.run(*words, *variants, "--json").entry
    assert entry["files_to_fetch"] == 24
    # the sandbox's originals have 5 to 20 MB, its thumbnails 18 kB
    assert 12 * 5e6 < entry["estimated_bytes"] < 12 * 20.1e6
    for fault in ("failed", "403"):
        service.fault(kind=fault, origin="api", path="/original-photos", amount=60)
        done = commands.run(*words, *variants)
        assert (done.code, "no sample could be had of original" in done.out) == (0, True)
    assert not (tmp_path / "m").exists()


def test_variant_flag(commands: Commands, service: Service, tmp_path: Path) -> None:
    """`--variant` fetches that variant alone, and says so; `status`, with or without a file, counts all that are wanted."""
    done = commands.run("sync", 456, *service.flags, "--root", "m", "--variant", "thumbnail")
    assert (done.code, "60 files (thumbnail)" in done.out) == (0, True)
    assert not list((tmp_path / "m").rglob("large"))
    assert "thumbnail only: whole" in done.out
    found = commands.run("status", "--root", "m", "--json")
    assert (found.code, found.entry["whole"], found.entry["last_whole"]) == (4, False, None)
    (about,) = (tmp_path / "m").glob("456-*/event.json")
    assert json.loads(about.read_text())["variants"] == ["thumbnail", "large"]
    done = commands.run("sync", 456, *service.flags, "--root", "m")
    whole = commands.run("status", "--root", "m", "--json").entry
    assert (done.code, whole["whole"]) == (0, True)
    commands.run("sync", 456, *service.flags, "--root", "m", "--variant", "large")
    assert commands.run("status", "--root", "m", "--json").entry["whole"] is True
    assert (
        commands.run("status", "--root", "m", "--json").entry["last_whole"] == whole["last_whole"]
    )


def test_json_says_what_was_asked_for(commands: Commands, service: Service) -> None:
    """`scope` tells a pass over a part, of which `whole` then speaks, from one over the event; also where it failed."""
    day, variant = ["--day", "2026-01-18"], ["--variant", "large"]
    said = [
        (done.code, done.entry["whole"], done.entry["scope"])
        for words in ([456, *day], [456, *day, *variant], [456, *variant], [999, *variant], [456])
        for done in [commands.run("sync", *words, *service.flags, "--root", "m", "--json")]
    ]
    assert said == [
        (0, True, {"day": "2026-01-18", "variants": None}),
        (0, True, {"day": "2026-01-18", "variants": ["large"]}),
        (0, True, {"day": None, "variants": ["large"]}),
        (9, False, {"day": None, "variants": ["large"]}),
        (0, True, None),
    ]  # fmt: skip


def test_layout_and_zone_flags(commands: Commands, service: Service, tmp_path: Path) -> None:
    """Settings given as flags are those of the pass."""
    done = commands.run(
        "sync", 456, *service.flags, "--root", "m", "--timezone", "Asia/Kolkata",
        "--layout", "{date}/{variant}/{image_id}{ext}", "--durability", "none", "--connections", 4,
    )  # fmt: skip
    days = {path.name for path in (tmp_path / "m").glob("456-*/2026-*")}
    assert (done.code, days) == (0, {"2026-01-19"})


def test_removals_wait_for_a_word(commands: Commands, service: Service) -> None:
    """When more than a tenth of an event goes at once the pass ends with 4, until --accept-removals."""
    commands.run("sync", 456, *service.flags, "--root", "m")
    listed = commands.run("manifest", 456, "--root", "m", "--format", "jsonl").out.splitlines()
    for image_id in sorted({str(json.loads(line)["image_id"]) for line in listed})[:10]:
        service.order("POST", "456/remove", {"image_id": image_id})
    stopped = commands.run("sync", 456, *service.flags, "--root", "m")
    assert (stopped.code, "--accept-removals" in stopped.out) == (4, True)
    assert commands.run("status", 456, "--root", "m").code == 4
    accepted = commands.run("sync", 456, *service.flags, "--root", "m", "--accept-removals")
    assert (accepted.code, "20 gone from the event" in accepted.out) == (0, True)


def test_full_pass_sees_a_short_file(commands: Commands, service: Service, tmp_path: Path) -> None:
    """`--full` looks at every file's size and brings back one that was cut short."""
    commands.run("sync", 456, *service.flags, "--root", "m")
    photo = sorted((tmp_path / "m").glob("456-*/*/*/large/*.jpg"))[0]
    whole = photo.read_bytes()
    with photo.open("r+b") as file:
        file.truncate(100)
    done = commands.run("sync", 456, *service.flags, "--root", "m", "--full")
    assert (done.code, photo.read_bytes() == whole) == (0, True)


def test_tls(commands: Commands, serve: Serve) -> None:
    """With its authority named, a service with a certificate of its own is mirrored."""
    service = serve("--photos", 5, "--tls")
    assert service.ca_file is not None
    done = commands.run("sync", 456, *service.flags, "--ca-file", service.ca_file, "--root", "m")
    assert done.code == 0


def test_key_is_nowhere(commands: Commands, service: Service, tmp_path: Path) -> None:
    """The key stands in no output, not with -vv either, and in no file of the mirror."""
    done = commands.run("-vv", "sync", 456, *service.flags, "--root", "m")
    assert "test-key" not in done.out + done.err
    assert not [
        path
        for path in (tmp_path / "m").rglob("*")
        if path.is_file() and b"test-key" in path.read_bytes()
    ]


def test_progress_lines_as_json(commands: Commands, service: Service) -> None:
    """With --log-format json every line on standard error is an object."""
    done = commands.run("--log-format", "json", "sync", 999, *service.flags, "--root", "m")
    (line,) = map(json.loads, done.err.splitlines())
    assert (done.code, line["level"]) == (9, "error")
    assert line["next"]


@pytest.mark.parametrize("shape", ["csv", "jsonl"])
def test_manifest_names_every_file(
    commands: Commands, service: Service, tmp_path: Path, shape: str
) -> None:
    """`manifest` prints each file with the size that it has on disk, in both formats."""
    import csv

    commands.run("sync", 456, *service.flags, "--root", "m")
    done = commands.run("manifest", 456, "--root", "m", "--format", shape)
    lines = done.out.splitlines()
    rows = list(csv.DictReader(lines)) if shape == "csv" else [json.loads(line) for line in lines]
    folder = tmp_path / "m" / "456-mumbai-marathon-2026"
    assert len(rows) == 120
    assert all((folder / row["path"]).stat().st_size == int(row["size"]) for row in rows)
    assert {row["state"] for row in rows} == {"present"}
    assert all(len(row["sha256"]) == 64 for row in rows)


def test_events_show_how_far(commands: Commands, serve: Serve) -> None:
    """`events` lists every event with how far it is mirrored, with one request unless flags are wanted."""
    service = serve("--photos", 5, "--events", 2)
    commands.run("sync", 456, *service.flags, "--root", "m")
    service.order("DELETE", "requests")
    text = commands.run("events", *service.flags, "--root", "m")
    assert (text.code, service.requests()["api"]) == (0, 1)
    assert "mirrored, 5 photos" in text.out
    assert "not mirrored" in text.out
    found = commands.run("events", "--flags", *service.flags, "--root", "m", "--json").document
    first, second = found["events"]
    assert first["mirror"] is not None
    assert first["mirror"]["whole"] is True
    assert second["mirror"] is None
    assert second["flags"]["timeline_search"] is True


def test_events_before_there_is_a_mirror(commands: Commands, service: Service) -> None:
    """`events` needs no mirror root: whoever looks for an event's number may have none yet."""
    done = commands.run("events", *service.flags)
    assert (done.code, done.err) == (0, "")
    assert "456  2026-01-18  active  Mumbai Marathon 2026: not mirrored" in done.out


def test_status_lists_failures(commands: Commands, service: Running) -> None:
    """`status` of a mirror that is not whole ends with 4 and lists every failed file with its reason, offline."""
    service.fault(kind="404", origin="photos", path="large")
    commands.run("sync", 456, *service.flags, "--root", "m")
    service.process.terminate()
    done = commands.run("status", "--root", "m")
    assert (done.code, "NOT whole" in done.out) == (4, True)
    assert done.out.count("large: 404 from the photo origin") == 60
    found = commands.run("status", 456, "--root", "m", "--json")
    entry = found.entry
    assert (found.code, found.document["exit_code"], entry["whole"]) == (4, 4, False)
    assert entry["files"] == {"present": 60, "pending": 0, "failed": 60}
    assert entry["last_whole"] is None


def test_status_misses_what_the_config_names(
    commands: Commands, service: Service, tmp_path: Path
) -> None:
    """An event that the config names and that is not mirrored makes `status` end with 9."""
    commands.run("sync", 456, *service.flags, "--root", "m")
    (tmp_path / "ninepic-mirror.toml").write_text(
        '[mirror]\nroot = "m"\n[events]\nids = [456, 457]\n'
    )
    done = commands.run("status")
    assert (done.code, done.says_one_line_and_cure()) == (9, True)
    assert "456" in done.out
    assert "event 457 is not mirrored" in done.err


def test_status_of_a_manifest_that_is_none(
    commands: Commands, service: Service, tmp_path: Path
) -> None:
    """A damaged manifest is a storage fault with a cure, not a traceback, and `sync` heals it."""
    commands.run("sync", 456, *service.flags, "--root", "m")
    (manifest,) = (tmp_path / "m").glob("456-*/.ninepic-mirror/manifest.sqlite3")
    manifest.write_bytes(b"no database" * 1000)
    with pytest.raises(sqlite3.DatabaseError):
        sqlite3.connect(manifest).execute("SELECT * FROM files")
    done = commands.run("status", 456, "--root", "m")
    assert (done.code, done.says_one_line_and_cure()) == (6, True)
    assert "verify 456 --repair --root m --org NUMBER" in done.err
    service.order("DELETE", "requests")
    assert commands.run("sync", 456, *service.flags, "--root", "m").code == 0
    assert service.requests()["photos"] == 0


def test_a_dry_run_without_the_manifest(commands: Commands, service: Service) -> None:
    """It says that the manifest is lost and that files on the disk are taken in, as the pass then does."""
    words = ("sync", 456, *service.flags, "--root", "m")
    first = commands.run(*words, "--dry-run")
    assert "manifest is lost" not in first.out
    assert commands.run(*words).code == 0
    for path in (commands.folder / "m").rglob("manifest.sqlite3*"):
        path.unlink()
    told = commands.run(*words, "--dry-run")
    assert told.code == 0
    assert "the manifest is lost" in told.out
    assert "taken in, not fetched" in told.out
    assert "to be fetched: at most 120 files" in told.out
    assert commands.run(*words, "--dry-run", "--json").entry["manifest_lost"] is True
    done = commands.run(*words, "--json")
    assert (done.code, done.entry["files"]["downloaded"]) == (0, 0)
