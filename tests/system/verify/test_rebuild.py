"""`verify --repair` of a manifest that is lost or damaged: what the old one told is not given up for nothing."""

from __future__ import annotations

import fcntl
import json
import random
import re
import sqlite3
from contextlib import closing, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from ninepic_mirror.archive.manifest import Manifest
from ninepic_mirror.archive.schema import MIGRATIONS
from tests.mirrored import Mirror, entry, mirrored, photo_requests
from tests.oracle import check_settled

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.system.conftest import Commands, Outcome, Service

OWN = ".ninepic-mirror"
MANIFEST = f"{OWN}/manifest.sqlite3"
MADE = ("--layout", "{variant}/{date}/{hour}-{image_id}{ext}", "--timezone", "Asia/Kathmandu")


def ruin(path: Path, name: str = "files_verified") -> None:
    """Fill the first page of a table or index with noise; nearly nothing needs the index that is taken here."""
    with closing(sqlite3.connect(path)) as manifest:
        manifest.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        ((page, size),) = manifest.execute(
            "SELECT rootpage, page_size FROM sqlite_master, pragma_page_size WHERE name = ?", [name]
        )
    with path.open("r+b") as file:
        file.seek((page - 1) * size)
        file.write(random.Random(1).randbytes(size))


def asides(mirror: Mirror) -> list[Path]:
    """Return the manifests that were set aside."""
    return sorted((mirror.folder / OWN).glob("*.corrupt-*"))


def listed(mirror: Mirror) -> Outcome:
    """Return what `manifest` prints."""
    return mirror.commands.run("manifest", 456, "--root", "m")


# --- before it is set aside ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(("way", "code"), [("deleted", 9), ("down", 5)])
def test_the_damaged_manifest_stays_until_it_can_be_rebuilt(
    mirror: Mirror, way: str, code: int
) -> None:
    """Where the service is down or knows the event no more, what can be read of the manifest is still read."""
    ruin(mirror.folder / MANIFEST)
    before = listed(mirror)
    assert (before.code, len(before.out.splitlines())) == (0, 121)
    if way == "deleted":
        mirror.service.order("DELETE", "456")
    else:
        mirror.service.fault(kind="503", origin="api", retry_after=3600)
    for _ in range(2):
        done = mirror.repair()
        assert (done.code, entry(done)["rebuilt"]) == (code, False)
        assert "it could not be rebuilt, and stays as it is" in done.err
        assert asides(mirror) == []
        assert listed(mirror) == before
        assert mirror.commands.run("status", "--root", "m").code == 0


@pytest.mark.parametrize("way", ["repair", "sync"])
def test_a_version_that_is_lower_than_the_tables(mirror: Mirror, way: str) -> None:
    """It is a damaged manifest like any other, though SQLite finds nothing wrong, and is not met again in each run."""
    with (mirror.folder / MANIFEST).open("r+b") as file:
        file.seek(60)  # user_version (fileformat2.html §1.3)
        file.write((len(MIGRATIONS) - 1).to_bytes(4, "big"))
    asked = photo_requests(mirror.service)
    found = mirror.verify()
    assert (found.code, "it has more than schema version" in found.err) == (6, True)
    done = has_again(mirror, way)
    assert (done.code, len(asides(mirror))) == (0, 1), done.err
    assert (mirror.verify().code, photo_requests(mirror.service)) == (0, asked)
    check_settled(mirror.folder)


@pytest.mark.parametrize("row", ["files SET size", "photos SET taken"])
@pytest.mark.parametrize("how", [(), ("--quick",)])
def test_a_value_of_another_type(mirror: Mirror, row: str, how: tuple[str, ...]) -> None:
    """It is a damaged manifest, not a bug of whoever reckons with the value."""
    with closing(sqlite3.connect(mirror.folder / MANIFEST)) as manifest, manifest:
        manifest.execute(f"UPDATE {row} = 'abc'")
    asked = photo_requests(mirror.service)
    found = mirror.verify(*how)
    assert (found.code, "is none that can be there" in found.err) == (6, True)
    done = mirror.repair(*how)
    assert (done.code, entry(done)["rebuilt"], len(asides(mirror))) == (0, True, 1), done.err
    assert (mirror.verify().code, photo_requests(mirror.service)) == (0, asked)
    check_settled(mirror.folder)


def test_a_lost_marker(mirror: Mirror) -> None:
    """A root whose marker is lost is known by its manifests, also where they are damaged."""
    ruin(mirror.folder / MANIFEST)
    (mirror.folder.parent / ".ninepic-mirror-root").unlink()
    done = mirror.repair()
    assert (done.code, entry(done)["rebuilt"], len(asides(mirror))) == (0, True, 1)


def test_a_root_that_is_none(commands: Commands, service: Service) -> None:
    """Where the manifests are kept elsewhere, a root without its marker is refused, and they stay as they are."""
    place = ("--state-dir", "state")
    mirror = mirrored(commands, service, *place)
    (path,) = (commands.folder / "state").glob("456-*/manifest.sqlite3")
    ruin(path)
    (mirror.folder.parent / ".ninepic-mirror-root").unlink()
    done = mirror.repair(*place)
    assert (done.code, path.is_file(), list(path.parent.glob("*.corrupt-*"))) == (6, True, [])


@pytest.mark.parametrize(
    ("then", "rebuilt", "kept"), [("sound", False, 1), ("damaged", True, 2), ("gone", True, 1)]
)
def test_another_run_was_faster(
    mirror: Mirror,
    wait: Callable[[Callable[[], object]], None],
    then: str,
    rebuilt: bool,
    kept: int,
) -> None:
    """Once the event is free it is looked at again: a manifest that has been rebuilt by then stays."""
    path, lock = mirror.folder / MANIFEST, mirror.folder / OWN / "lock"
    sound = path.read_bytes()
    ruin(path)
    with lock.open("r+") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        words = ("verify", *mirror.service.flags, "--root", "m", "--json", "--repair")
        process = mirror.commands.start(*words)
        wait(lambda: str(lock) in opened(process.pid))
        path.rename(f"{path}.corrupt-20260101T000000Z")
        if then != "gone":
            path.write_bytes(sound)
        if then == "damaged":
            ruin(path)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    (found,) = json.loads(out)["events"]
    assert (found["rebuilt"], found["checked"], len(asides(mirror))) == (rebuilt, 120, kept)


def opened(process: int) -> set[str]:
    """Return the files that a process has open."""
    found = set()
    for link in Path(f"/proc/{process}/fd").iterdir():
        with suppress(FileNotFoundError):  # it may close it meanwhile
            found.add(str(link.readlink()))
    return found


# --- what the old one told ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("far", ["set aside", "begun"])
def test_a_rebuild_that_was_cut_off(commands: Commands, service: Service, far: str) -> None:
    """What was set aside tells layout and zone also to the next run, when nothing else does."""
    mirror = mirrored(commands, service, *MADE)
    before, asked, path = mirror.hashes(), photo_requests(service), mirror.folder / MANIFEST
    (mirror.folder / "event.json").unlink()
    path.with_name(f"{path.name}.corrupt-20250101T000000Z").write_bytes(b"older, and of no use")
    path.rename(f"{path}.corrupt-20260101T000000Z")
    if far == "begun":
        with Manifest.open(path) as manifest:
            manifest.begin_pass("quick")
    done = mirror.repair()
    assert (done.code, entry(done)["moved"], entry(done)["fetched"]) == (0, 0, 0), done.err
    assert photo_requests(service) == asked
    assert mirror.hashes() == before
    check_settled(mirror.folder)


def test_damage_that_shows_only_when_a_row_is_read(mirror: Mirror) -> None:
    """It is the same file still when the event is free: it is set aside, though no check finds anything wrong."""
    change(mirror.folder / MANIFEST, "UPDATE files SET error = CAST(x'ff' AS TEXT)")
    done = mirror.repair("--quick")
    assert (done.code, entry(done)["rebuilt"], len(asides(mirror))) == (0, True, 1), done.err
    check_settled(mirror.folder)


def change(path: Path, statement: str, *values: str) -> None:
    """Change a manifest behind its back."""
    with closing(sqlite3.connect(path)) as manifest, manifest:
        manifest.execute(statement, values)


def note(path: Path, key: str, value: object) -> None:
    """Let `meta` say something."""
    change(path, "INSERT OR REPLACE INTO meta VALUES (?, ?)", key, json.dumps(value))


@pytest.mark.parametrize("way", ["repair", "sync"])
@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("layout", "{date}/{hoer}/{variant}/{image_id}{ext}"),
        ("former_layouts", ["{dote}/{image_id}"]),
        ("leaving", {"files": 7}),
        ("timezone", ["UTC"]),
        ("last_whole", 10**20),
    ],
)
def test_notes_that_cannot_be(mirror: Mirror, key: str, value: object, way: str) -> None:
    """One letter in `meta` is damage as any other: told by all, led out of by a repair or a sync, without a fetch."""
    before, asked = mirror.hashes(), photo_requests(mirror.service)
    note(mirror.folder / MANIFEST, key, value)
    seen = mirror.verify("--quick")
    assert (seen.code, "meta makes no sense" in seen.err) == (6, True)
    assert mirror.commands.run("status", "--root", "m").code == 0, "what can be read is still read"
    name = next(iter(mirror.rows())).image_id
    refused = mirror.commands.run("forget", name, "--root", "m", "--yes")
    assert (refused.code, refused.err.count("meta makes no sense")) == (6, 1), refused.err
    assert "then run forget again" in refused.err
    assert list(mirror.folder.rglob(f"{name}*"))
    done = has_again(mirror, way)
    assert (done.code, len(asides(mirror))) == (0, 1), done.err
    assert (photo_requests(mirror.service), mirror.hashes()) == (asked, before)
    check_settled(mirror.folder)


def test_notes_that_can_be_done_without(mirror: Mirror) -> None:
    """Nothing is rebuilt for the sake of those: a pass looks again where they do not tell."""
    asked = photo_requests(mirror.service)
    for key in ("undated", "event", "contradictions", "balance", "trash", "described"):
        note(mirror.folder / MANIFEST, key, {"a": 1})
    assert mirror.verify().code == 0
    for words in ((), ("--full",)):
        done = mirror.commands.run("sync", 456, *mirror.service.flags, "--root", "m", *words)
        assert (done.code, asides(mirror)) == (0, []), done.err
    assert photo_requests(mirror.service) == asked
    check_settled(mirror.folder)


# --- what could not be had ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", ["rebuilt", "older"])
def test_what_could_not_be_had(mirror: Mirror, way: str) -> None:
    """Exit code 4 is explained where a pass takes in what stands here: each file, with why, and what tries again."""
    path, here = mirror.folder / MANIFEST, {row.image_id for row in mirror.rows()}
    old = path.read_bytes()
    mirror.service.order("POST", "456/add", {"count": 1})
    assert mirror.commands.run("sync", 456, *mirror.service.flags, "--root", "m").code == 0
    mirror.service.order("POST", "456/add", {"count": 1})
    mirror.service.fault(kind="404", origin="photos", variant="large")
    path.unlink()
    if way == "older":
        path.write_bytes(old)
    done = mirror.repair()
    assert (done.code, entry(done)["rebuilt"]) == (4, way == "rebuilt"), done.out
    (failure,) = entry(done)["failures"]
    assert (failure["variant"], failure["image_id"] in here) == ("large", False)
    path.unlink()
    if way == "older":
        path.write_bytes(old)
    told = mirror.commands.run("-q", "verify", *mirror.service.flags, "--root", "m", "--repair")
    assert told.code == 4
    first, file, last = told.out.splitlines()[-3:]
    assert first.endswith("NOT whole: not everything could be had:")
    assert re.fullmatch(f"  {failure['image_id']} large: 404.*", file)
    assert re.match("  next: .* sync 456 ", last)
    assert entry(mirror.verify())["failures"] == []


# --- what was to be forgotten -------------------------------------------------------------------------------------


def forget(mirror: Mirror) -> tuple[str, Path]:
    """Forget a photo; return its id, and the list beside the photos."""
    name = next(row.image_id for row in mirror.rows() if row.variant == "large")
    done = mirror.commands.run("forget", name, "--root", "m", "--yes")
    assert done.code == 0, done.err
    return name, mirror.folder / OWN / "forgotten"


def cut_off(path: Path) -> None:
    """Let the last pass be one that was cut off, so that the next one has SQLite check the manifest."""
    with closing(sqlite3.connect(path)) as manifest, manifest:
        manifest.execute("UPDATE passes SET ended_at = NULL")


def has_again(mirror: Mirror, way: str) -> Outcome:
    """Rebuild the manifest."""
    if way == "repair":
        return mirror.repair()
    return mirror.commands.run("sync", 456, *mirror.service.flags, "--root", "m", "--json")


@pytest.mark.parametrize("way", ["repair", "sync"])
def test_the_manifest_alone_remembers_what_was_forgotten(mirror: Mirror, way: str) -> None:
    """It is written down beside the photos before the manifest is set aside: the photo does not come back."""
    name, path = forget(mirror)
    before = path.read_bytes()
    path.unlink()
    cut_off(mirror.folder / MANIFEST)
    ruin(mirror.folder / MANIFEST)
    done = has_again(mirror, way)
    assert (done.code, len(asides(mirror))) == (0, 1), done.err
    assert list(mirror.folder.rglob(f"{name}*")) == []
    assert path.read_bytes() == before
    assert entry(mirror.verify())["checked"] == 118


@pytest.mark.parametrize("way", ["repair", "sync"])
def test_nothing_tells_any_more_what_was_forgotten(mirror: Mirror, way: str) -> None:
    """That something was is known still: the manifest stays, with the cure, until the list is brought back."""
    name, path = forget(mirror)
    kept = path.rename(path.with_name("kept"))
    cut_off(mirror.folder / MANIFEST)
    ruin(mirror.folder / MANIFEST, "forgotten")
    done = has_again(mirror, way)
    assert (done.code, asides(mirror)) == (6, [])
    assert "photos were to be forgotten, but which cannot be read any more" in done.err
    assert "bring that file back from a backup" in done.err
    kept.rename(path)
    done = has_again(mirror, way)
    assert (done.code, len(asides(mirror))) == (0, 1), done.err
    assert list(mirror.folder.rglob(f"{name}*")) == []


@pytest.mark.parametrize("way", ["repair", "sync"])
def test_it_is_told_where_nobody_can_know_what_was_forgotten(mirror: Mirror, way: str) -> None:
    """No list was ever written, as before the first `forget`, and the manifest cannot tell: it is rebuilt."""
    cut_off(mirror.folder / MANIFEST)
    ruin(mirror.folder / MANIFEST, "forgotten")
    done = has_again(mirror, way)
    assert (done.code, len(asides(mirror))) == (0, 1), done.err
    assert "cannot tell any more whether photos were to be forgotten" in done.err
    assert mirror.verify().code == 0


@pytest.mark.parametrize("forgot", [True, False])
def test_a_pass_that_meets_damage(mirror: Mirror, forgot: bool) -> None:
    """What it sets aside at its end has told what was to be forgotten, or it is said that it cannot."""
    name, path = forget(mirror) if forgot else ("nobody", mirror.folder / OWN / "forgotten")
    before = path.read_bytes() if forgot else None
    path.unlink(missing_ok=True)
    (mirror.folder / OWN / "lock").unlink()  # so that what SHA256SUMS says comes first of all
    change(mirror.folder / MANIFEST, "ALTER TABLE named RENAME COLUMN path TO place")
    if not forgot:
        ruin(mirror.folder / MANIFEST, "forgotten")
    done = has_again(mirror, "sync")
    assert (done.code, len(asides(mirror))) == (6, 1)
    assert ("cannot tell any more whether photos were" in done.err) == (not forgot)
    assert (path.read_bytes() if path.exists() else None) == before
    assert has_again(mirror, "sync").code == 0
    assert list(mirror.folder.rglob(f"{name}*")) == []
