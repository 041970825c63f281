"""`verify` as a person or a script runs it: what it finds, what it repairs, and what it leaves alone."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import random
import re
import shlex
import shutil
import signal
import sqlite3
import subprocess
import time
from contextlib import closing
from typing import TYPE_CHECKING

import pytest
import xxhash

from tests.mirrored import Mirror, entry, faults, mirrored, photo_requests
from tests.oracle import check_settled
from tests.system.conftest import PROGRAM, Outcome
from tests.torture.bit_rot import flip

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from tests.system.conftest import Commands, Serve, Service


def started(mirror: Mirror, words: Sequence[str]) -> Outcome:
    """Run another program, which runs a command, in the folder of the mirror's commands."""
    done = subprocess.run(
        words,
        cwd=mirror.commands.folder,
        env=mirror.commands.environ,
        capture_output=True,
        text=True,
        check=False,
    )
    return Outcome(done.returncode, done.stdout, done.stderr)


def test_nothing_is_wrong(mirror: Mirror) -> None:
    """All files are read, and no request is made; quickly, sizes are compared and nothing is read."""
    before = mirror.service.requests()
    sizes = sum(row.size for row in mirror.rows())
    done = mirror.verify()
    found = entry(done)
    assert (done.code, found["checked"], found["bytes"], found["damaged"]) == (0, 120, sizes, [])
    assert json.loads(done.out)["exit_code"] == 0
    quick = mirror.verify("--quick", 456)
    assert (quick.code, entry(quick)["checked"], entry(quick)["bytes"]) == (0, 120, 0)
    assert mirror.service.requests() == before
    text = mirror.commands.run("verify", "--root", "m")
    assert "no damage: 120 files as they were" in text.out
    assert mirror.commands.run("-q", "verify", "--root", "m").out == ""


def test_damage_for_people(mirror: Mirror) -> None:
    """The text names each damaged file with what is wrong, and a command that repairs; after it, all is as it was."""
    victim, other = (row.path for row in mirror.rows()[:2])
    (mirror.folder / victim).unlink()
    flip(mirror.folder / other, random.Random(1))
    done = mirror.commands.run("verify", 456, "--root", "m")
    assert done.code == 8
    assert "DAMAGED: 2 files:" in done.out
    assert f"  {victim}: missing\n" in done.out
    assert f"  {other}: altered, or unreadable\n" in done.out
    assert "verify 456 --repair --root m --org NUMBER" in done.out
    told = mirror.commands.run("verify", 456, *mirror.service.flags, "--root", "m").out
    words = shlex.split(told.partition("  next: ")[2])
    repaired = mirror.commands.run(*words[words.index("verify") :])  # as it is printed
    assert repaired.code == 0
    assert "2 damaged files repaired; all is as it was" in repaired.out
    assert "2 files fetched" in repaired.out
    assert list((mirror.folder / ".ninepic-mirror/trash").rglob(other.rpartition("/")[2]))


def test_what_cannot_be_repaired(mirror: Mirror) -> None:
    """A photo that the service does not give stays damaged, in this run and in the next, with the reason."""
    victim = next(row for row in mirror.rows() if row.variant == "large")
    (mirror.folder / victim.path).unlink()
    mirror.service.fault(kind="404", origin="photos", path=f"large/{victim.image_id}", count=99)
    mirror.service.fault(kind="404", origin="photos", path="large", count=99)
    done = mirror.commands.run("verify", 456, *mirror.service.flags, "--root", "m", "--repair")
    assert done.code == 8
    assert f"  {victim.path}: missing; 404" in done.out
    assert "could not be had" in done.out
    again = mirror.verify()
    assert (again.code, faults(again)) == (8, {victim.path: "missing"})


def test_only_what_is_damaged_is_fetched(mirror: Mirror) -> None:
    """New photos of the event are left to `sync`: a repair fetches nothing else."""
    mirror.service.order("POST", "456/add", {"count": 5})
    victim = mirror.rows()[0].path
    (mirror.folder / victim).unlink()
    asked = photo_requests(mirror.service)
    done = mirror.repair()
    assert (done.code, faults(done)) == (0, {victim: "missing"})
    assert photo_requests(mirror.service) - asked == 1
    synced = mirror.commands.run("sync", 456, *mirror.service.flags, "--root", "m", "--json")
    assert (synced.code, synced.entry["files"]["downloaded"]) == (0, 10)
    check_settled(mirror.folder)


def test_a_variant_that_is_not_configured_is_repaired_too(commands: Commands, serve: Serve) -> None:
    """It was mirrored once, so it is promised; the repair has it again, and changes nothing of what is wanted."""
    mirror = mirrored(commands, serve("--photos", 6))  # an original has some 10 MB
    flags = [*mirror.service.flags, "--root", "m"]
    assert mirror.commands.run("sync", 456, *flags, "--variant", "original").code == 0
    row = next(row for row in mirror.rows() if row.variant == "original")
    (mirror.folder / row.path).unlink()
    assert faults(mirror.verify()) == {row.path: "missing"}
    done = mirror.repair()
    assert (done.code, [one["repaired"] for one in entry(done)["damaged"]]) == (0, [True])
    assert (mirror.verify().code, entry(mirror.verify())["checked"]) == (0, 18)
    about = json.loads((mirror.folder / "event.json").read_text())
    assert about["variants"] == ["thumbnail", "large"]
    assert mirror.commands.run("status", "--root", "m").code == 0


def test_what_is_lost_of_a_variant_that_is_not_wanted(mirror: Mirror) -> None:
    """A pass knows that it is not there, and that nobody wants it: it is no damage then, but told, with the way back."""
    (mirror.commands.folder / "ninepic-mirror.toml").write_text(
        '[api]\norg_id = 903\n[mirror]\nroot = "m"\nvariants = ["thumbnail"]\n'
    )
    large = next(row for row in mirror.rows() if row.variant == "large")
    (mirror.folder / large.path).unlink()
    assert faults(mirror.verify()) == {large.path: "missing"}
    sync = ("sync", 456, *mirror.service.flags)
    assert mirror.commands.run(*sync).code == 0
    done = mirror.verify()
    assert (done.code, entry(done)["unwanted"], faults(done)) == (0, {"large": 1}, {})
    text = mirror.commands.run("verify", 456, *mirror.service.flags).out
    assert "1 large missed by an earlier sync, not wanted" in text
    assert mirror.commands.run(*sync, "--variant", "large").code == 0
    assert entry(mirror.verify())["unwanted"] == {}
    check_settled(mirror.folder)


def test_a_variant_that_was_never_mirrored_is_not_fetched(
    commands: Commands, service: Service
) -> None:
    """A mirror made of one variant is repaired in that one: the others are left to `sync`."""
    mirror = mirrored(commands, service, "--variant", "large")
    folder = mirror.folder
    victim, sums = mirror.rows()[0].path, folder / "2026-01-19/SHA256SUMS"
    (folder / victim).unlink()
    asked = photo_requests(service)
    done = mirror.repair()
    assert (done.code, faults(done), entry(done)["fetched"]) == (0, {victim: "missing"}, 1)
    assert photo_requests(service) - asked == 1
    sums.unlink()
    assert mirror.repair().code == 0
    assert sums.is_file()
    assert photo_requests(service) - asked == 1
    synced = commands.run("sync", 456, *service.flags, "--root", "m", "--json")
    assert (synced.code, synced.entry["files"]["downloaded"]) == (0, 60)
    check_settled(folder)


def test_an_address_that_is_not_stored(mirror: Mirror) -> None:
    """Where an address is not stored, because it may be signed, the hour is listed for it."""
    victim = mirror.rows()[0].path
    (mirror.folder / victim).write_bytes(b"")
    with closing(sqlite3.connect(mirror.folder / ".ninepic-mirror/manifest.sqlite3")) as manifest:
        manifest.execute("UPDATE files SET url = NULL")
        manifest.commit()
    asked = photo_requests(mirror.service)
    done = mirror.repair()
    assert (done.code, faults(done)) == (0, {victim: "size"})
    assert photo_requests(mirror.service) - asked == 1


def damage_a_row(path: Path) -> None:
    """Damage a row in a way that only the comparison with its indexes shows."""
    with closing(sqlite3.connect(path)) as manifest:
        (xxh3,) = manifest.execute("SELECT xxh3_128 FROM files LIMIT 1").fetchone()
    data = bytearray(path.read_bytes())
    places = [at.start() for at in re.finditer(xxh3.encode(), data)]
    assert len(places) >= 2  # the row, and its entry in the index
    data[places[0]] ^= 1
    path.write_bytes(data)


def test_damaged_manifest(mirror: Mirror) -> None:
    """A damaged manifest ends with 6; with --repair it is rebuilt without a single photo request."""
    before = mirror.hashes()
    damage_a_row(mirror.folder / ".ninepic-mirror/manifest.sqlite3")
    found = mirror.commands.run("verify", "--root", "m")
    assert found.code == 6
    assert "--repair" in found.err
    asked = photo_requests(mirror.service)
    done = mirror.repair()
    assert (done.code, entry(done)["checked"], entry(done)["damaged"]) == (0, 120, [])
    assert photo_requests(mirror.service) == asked
    assert mirror.hashes() == before
    check_settled(mirror.folder)


@pytest.mark.parametrize("way", ["older", "emptied", "rows"])
def test_what_the_manifest_does_not_know(mirror: Mirror, way: str) -> None:
    """An older copy of the manifest, or one without some rows, is noticed, and its files read; a repair takes them in."""
    path = mirror.folder / ".ninepic-mirror/manifest.sqlite3"
    old = path.read_bytes()
    mirror.service.order("POST", "456/add", {"count": 5})
    flags = [*mirror.service.flags, "--root", "m"]
    assert mirror.commands.run("sync", 456, *flags).code == 0
    before = mirror.hashes()
    if way == "older":
        path.write_bytes(old)
    else:
        where = "" if way == "emptied" else f" WHERE image_id = '{mirror.rows()[0].image_id}'"
        with closing(sqlite3.connect(path)) as manifest:
            manifest.executescript(f"DELETE FROM files{where}; DELETE FROM photos{where};")
    lacking = {"older": 10, "emptied": 130, "rows": 2}[way]
    found = mirror.verify()
    document = entry(found)
    assert (found.code, document["older"], document["unknown"]) == (4, way == "older", lacking)
    assert (document["checked"], document["files"]) == (130, 130)
    text = mirror.commands.run("verify", 456, "--root", "m").out
    assert ("older than the files" in text) == (way == "older")
    assert "take them in: " in text
    asked = photo_requests(mirror.service)
    done = mirror.repair()
    assert done.code == 0
    document = entry(done)
    assert (document["adopted"], document["fetched"], document["damaged"]) == (lacking, 0, [])
    assert (document["older"], document["unknown"]) == (False, 0)
    assert photo_requests(mirror.service) == asked
    assert mirror.hashes() == before
    assert entry(mirror.verify())["checked"] == 130
    check_settled(mirror.folder)


@pytest.mark.parametrize("way", ["lost", "own folder"])
def test_an_older_manifest_undoes_no_replacement(mirror: Mirror, way: str) -> None:
    """Put back after a rebuild, or together with its lock, it does not make a repair bring the former picture back."""
    own = mirror.folder / ".ninepic-mirror"
    path, backup = own / "manifest.sqlite3", mirror.commands.folder / "backup"
    flags = [*mirror.service.flags, "--root", "m"]
    for _ in range(2):
        assert mirror.commands.run("sync", 456, *flags).code == 0
    shutil.copytree(own, backup)
    if way == "lost":
        path.unlink()
        assert mirror.commands.run("sync", 456, *flags).code == 0
    mirror.service.order("POST", "456/replace", {"image_id": mirror.rows()[0].image_id})
    assert mirror.commands.run("sync", 456, "--recheck", *flags).code == 0
    after = mirror.hashes()
    if way == "lost":
        path.write_bytes((backup / path.name).read_bytes())
    else:
        shutil.rmtree(own)
        shutil.copytree(backup, own)
    assert mirror.verify().code == 8  # by its rows what was replaced is damage
    asked = photo_requests(mirror.service)
    done = mirror.repair()
    # where the lock came back, too, nothing tells whether row or line is the newer: the origin is asked
    fetched = 2 if way == "own folder" else 0
    assert (done.code, entry(done)["fetched"]) == (0, fetched), done
    assert "is compared with both; 2 files are not what was recorded" in done.err
    assert photo_requests(mirror.service) == asked + fetched
    assert mirror.hashes() == after
    assert {one.path: one.sha256 for one in mirror.rows()} == after
    assert mirror.verify().code == 0
    check_settled(mirror.folder)


@pytest.mark.parametrize("column", ["sha256", "xxh3_128"])
def test_a_row_that_lies_about_a_hash(mirror: Mirror, column: str) -> None:
    """Where the file has the row's SHA-256, or that of SHA256SUMS, the row is corrected, and nothing is fetched."""
    row, sums = mirror.rows()[0], mirror.hashes()
    with closing(sqlite3.connect(mirror.folder / ".ninepic-mirror/manifest.sqlite3")) as manifest:
        before = [*manifest.execute("SELECT path, xxh3_128 FROM files")]
        manifest.execute(f"UPDATE files SET {column} = ? WHERE path = ?", ["0" * 64, row.path])
        manifest.commit()
    assert faults(mirror.verify())[row.path] == "content"
    asked = photo_requests(mirror.service)
    done = mirror.repair()
    assert (done.code, {one["repaired"] for one in entry(done)["damaged"]}) == (0, {True})
    with closing(sqlite3.connect(mirror.folder / ".ninepic-mirror/manifest.sqlite3")) as manifest:
        assert [*manifest.execute("SELECT path, xxh3_128 FROM files")] == before
    assert photo_requests(mirror.service) == asked
    assert {one.path: one.sha256 for one in mirror.rows()} == sums
    check_settled(mirror.folder)


@pytest.mark.parametrize("record", ["whole", "lost"])
def test_a_file_that_has_only_the_other_hash(mirror: Mirror, record: str) -> None:
    """XXH3 is forged in no time: what has it, but no SHA-256 that was recorded, is fetched."""
    row, before = mirror.rows()[0], mirror.hashes()
    flip(mirror.folder / row.path, random.Random(1))
    forged = xxhash.xxh3_128_hexdigest((mirror.folder / row.path).read_bytes())
    with closing(sqlite3.connect(mirror.folder / ".ninepic-mirror/manifest.sqlite3")) as manifest:
        manifest.execute("UPDATE files SET xxh3_128 = ? WHERE path = ?", [forged, row.path])
        manifest.commit()
    if record == "lost":
        (mirror.folder / row.path.partition("/")[0] / "SHA256SUMS").unlink()
    done = mirror.repair()
    assert (done.code, entry(done)["fetched"]) == (0, 1)
    assert mirror.hashes() == before
    assert {one.path: one.sha256 for one in mirror.rows()} == before
    check_settled(mirror.folder)


def test_what_left_before_the_manifest_was_lost(mirror: Mirror) -> None:
    """A rebuilt manifest cannot know it: it is listed, and no repair after the first looks for its photo again."""
    row = next(row for row in mirror.rows() if row.variant == "large")
    mirror.service.order("POST", "456/remove", {"image_id": row.image_id})
    flags = [*mirror.service.flags, "--root", "m"]
    assert mirror.commands.run("sync", 456, *flags).code == 0
    (mirror.folder / ".ninepic-mirror/manifest.sqlite3").unlink()
    done = mirror.repair()
    assert (done.code, entry(done)["rebuilt"], entry(done)["unknown"]) == (0, True, 0)
    assert faults(done)[row.path] == "stray"
    before = mirror.service.requests()
    again = mirror.repair()
    assert (again.code, entry(again)["unknown"], len(faults(again))) == (0, 0, 2)
    assert mirror.service.requests() == before


def test_foreign_files_need_no_pass(mirror: Mirror) -> None:
    """What is nobody's is listed and left alone; a repair asks the service nothing for it."""
    (mirror.folder / "2026-01-19").mkdir(exist_ok=True)
    (mirror.folder / "2026-01-19/notes.jpg").write_bytes(b"x")
    before = mirror.service.requests()
    done = mirror.repair()
    assert (done.code, faults(done)) == (0, {"2026-01-19/notes.jpg": "stray"})
    assert mirror.service.requests() == before


@pytest.mark.parametrize("way", ["repair", "full"])
def test_what_stands_beside_the_photos(mirror: Mirror, way: str) -> None:
    """SHA256SUMS and event.json, which a rebuild and people read, are compared and made anew, without a photo request."""
    first, *others = sorted(mirror.folder.glob("*/SHA256SUMS"))
    about = mirror.folder / "event.json"
    kept = {path: path.read_bytes() for path in (about, first, *others)}
    first.write_bytes(kept[first].replace(b"a", b"b", 1))
    about.write_text("{}")
    wrong = {str(first.relative_to(mirror.folder)): "content", "event.json": "content"}
    if others:
        others[0].unlink()
        wrong[str(others[0].relative_to(mirror.folder))] = "missing"
    found = mirror.verify()
    assert (found.code, faults(found)) == (8, wrong)
    text = mirror.commands.run("verify", 456, "--root", "m").out
    assert "event.json: it does not say what was recorded" in text
    asked = photo_requests(mirror.service)
    if way == "repair":
        done = mirror.repair()
        assert (done.code, faults(done)) == (0, wrong)
        assert all(one["repaired"] for one in entry(done)["damaged"])
    else:
        flags = [*mirror.service.flags, "--root", "m"]
        assert mirror.commands.run("sync", 456, *flags, "--full").code == 0
    assert photo_requests(mirror.service) == asked
    assert {path: path.read_bytes() for path in kept} == kept
    assert mirror.verify().code == 0


def test_folders_in_the_place_of_what_stands_beside_the_photos(mirror: Mirror) -> None:
    """They stop every pass, and are damage until a repair has moved them to the trash."""
    wrong = ["2026-01-19/SHA256SUMS", "event.json"]
    for path in wrong:
        (mirror.folder / path).unlink()
        (mirror.folder / path).mkdir()
        (mirror.folder / path / "inside").write_text("kept")
    flags = [*mirror.service.flags, "--root", "m"]
    assert mirror.commands.run("sync", 456, *flags, "--full").code == 6
    named = {"2026-01-19/SHA256SUMS/inside": "stray", "event.json/inside": "stray"}
    for _ in range(2):
        found = mirror.verify()
        assert (found.code, faults(found)) == (8, dict.fromkeys(wrong, "type") | named)
    done = mirror.repair()
    assert (done.code, faults(done)) == (0, dict.fromkeys(wrong, "type"))
    assert all(one["repaired"] for one in entry(done)["damaged"])
    trash = mirror.folder / ".ninepic-mirror/trash"
    assert len(list(trash.glob("*/2026-01-19/SHA256SUMS/inside"))) == 1
    assert len(list(trash.glob("*/event.json/inside"))) == 1
    assert (mirror.verify().code, faults(mirror.verify())) == (0, {})
    check_settled(mirror.folder)


@pytest.mark.parametrize("named", [True, False])
def test_a_copy_without_hidden_names(mirror: Mirror, named: bool) -> None:
    """It is named, with what makes a mirror of it again; then nothing that stands whole is fetched."""
    before = mirror.hashes()
    shutil.rmtree(mirror.folder / ".ninepic-mirror")
    if not named:
        (mirror.folder / "event.json").unlink()
    found = mirror.commands.run("verify", "--root", "m")
    assert (found.code, "456-" in found.err, "the manifest is lost" in found.err) == (6, True, True)
    assert "verify 456 --repair --root m --org NUMBER" in found.err
    asked = photo_requests(mirror.service)
    done = mirror.repair(456)
    assert (done.code, entry(done)["rebuilt"], entry(done)["damaged"]) == (0, True, [])
    assert photo_requests(mirror.service) == asked
    assert mirror.hashes() == before
    check_settled(mirror.folder)


def test_oldest_first(mirror: Mirror) -> None:
    """Samples take their turn: ten runs over a tenth have seen every file once."""
    path = mirror.folder / ".ninepic-mirror/manifest.sqlite3"
    for number in range(1, 12):
        done = mirror.verify("--sample", "10%")
        assert entry(done)["checked"] == 12
        with closing(sqlite3.connect(path)) as connection:
            (verified,) = connection.execute(
                "SELECT count(*) FROM files WHERE verified_at IS NOT NULL"
            ).fetchone()
        assert verified == min(120, 12 * number)


def test_time_is_over(mirror: Mirror) -> None:
    """A run that has no more time says how far it came; the next one goes on there."""
    done = mirror.commands.run(
        "verify", "--root", "m", "--max-duration", "1s", "--max-rate", "1MB/s"
    )
    assert done.code == 0
    assert "the time was over before" in done.out
    assert "; the next run begins with them" in done.out


def test_one_file_is_read_however_little_time_there_is(mirror: Mirror) -> None:
    """A file for which rate and time do not suffice is read once, so that runs do not stand still before it."""
    few = ("--max-duration", "1s", "--max-rate", "5kB/s")
    checked = [entry(mirror.verify(*few))["checked"] for _ in range(2)]
    assert min(checked) >= 1
    path = mirror.folder / ".ninepic-mirror/manifest.sqlite3"
    with closing(sqlite3.connect(path)) as manifest:
        looked = "SELECT count(*) FROM files WHERE verified_at IS NOT NULL"
        assert manifest.execute(looked).fetchone() == (sum(checked),)


def test_time_is_over_amid_damage(mirror: Mirror) -> None:
    """Damaged files are looked at twice, within the same rate and time; what was seen by then is told."""
    for row in mirror.rows():
        flip(mirror.folder / row.path, random.Random(1))
    began = time.monotonic()
    done = mirror.verify("--max-duration", "3s", "--max-rate", "500kB/s")
    assert (
        time.monotonic() - began < 6.5
    )  # twice the bytes would take 6 s, beside the program's start
    assert done.code == 8
    assert 0 < len(entry(done)["damaged"]) == entry(done)["checked"] < 120


def test_a_file_that_may_not_be_read(mirror: Mirror) -> None:
    """It ends with 6, and does not hide what is damaged."""
    closed, victim = (row.path for row in mirror.rows()[:2])
    (mirror.folder / victim).unlink()
    if shutil.which("strace") is None:
        pytest.skip("strace is not here (Debian: apt install strace)")
    inject = ["strace", "-f", "-qq", "-o", "log", "-e", "trace=readv"]
    inject += ["-e", "inject=readv:error=EACCES", "-P", str(mirror.folder / closed)]
    found = started(mirror, [*inject, *PROGRAM, "verify", "--root", "m", "--json"])
    assert (found.code, faults(found)) == (6, {victim: "missing"})
    assert [one["path"] for one in entry(found)["unreadable"]] == [str(mirror.folder / closed)]
    assert "ermission denied" in found.err
    assert entry(mirror.verify())["checked"] == 120


def test_what_cannot_be_recorded(mirror: Mirror) -> None:
    """While somebody holds the event a run that is out of time waits no longer, and does not promise more than is so."""
    with (mirror.folder / ".ninepic-mirror/lock").open("r+") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        words = ("--max-duration", "1s", "--max-rate", "500kB/s")
        began = time.monotonic()
        done = mirror.commands.run("verify", "--root", "m", *words)
        assert time.monotonic() - began < 5
    assert "could not be recorded" in done.out
    assert "the next run begins with them" not in done.out


def test_stopped(mirror: Mirror, wait: Callable[[Callable[[], object]], None]) -> None:
    """Ctrl-C ends it at once with what is known by then, and 130."""
    words = ("verify", "--root", "m", "--json", "--max-rate", "100kB/s")
    process = mirror.commands.start(*words)
    wait(lambda: len(os.listdir(f"/proc/{process.pid}/task")) > 2)  # it reads
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=20)
    assert (process.returncode, "Traceback" in err) == (130, False)
    document = json.loads(out)
    assert document["exit_code"] == 130
    assert document["events"][0]["damaged"] == []
    assert document["events"][0]["checked"] < 120


def test_decode(mirror: Mirror) -> None:
    """Pictures that cannot be decoded are told; they are no damage, because the service gave them so."""
    done = mirror.verify("--decode")
    assert (done.code, entry(done)["damaged"]) == (0, [])
    notes = entry(done)["notes"]
    text = mirror.commands.run("verify", "--root", "m", "--decode").out
    assert all(note["text"] in text for note in notes[:20])


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make a mount for itself alone")
def test_without_permission_to_write(mirror: Mirror) -> None:
    """On a disk that is mounted read-only everything is verified; that nothing is recorded is said with -v."""
    script = 'mount --bind "$1" "$1" && mount -o remount,ro,bind "$1" && shift && exec "$@"'
    words = [*PROGRAM, "-v", "verify", "--root", "m", "--json"]
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-c", script, "sh", mirror.folder.parent, *words],
        cwd=mirror.commands.folder,
        env=mirror.commands.environ,
        capture_output=True,
        text=True,
        check=False,
    )
    if "mount" in done.stderr and not done.stdout:
        pytest.skip(f"no mount can be made here: {done.stderr.strip()}")
    assert done.returncode == 0, done.stderr
    found = entry(Outcome(0, done.stdout, ""))
    assert found["unrecorded"] == 120
    found["unrecorded"] = 0
    assert found == entry(mirror.verify())
    assert "is not recorded" in done.stderr


def test_a_folder_in_the_way(mirror: Mirror) -> None:
    """A link or file in the place of a folder is named for every file below it, and goes to the trash."""
    hour = next(row.path for row in mirror.rows() if row.variant == "large").rpartition("/")[0]
    below = [row.path for row in mirror.rows() if row.path.startswith(f"{hour}/")]
    before = mirror.hashes()
    shutil.rmtree(mirror.folder / hour)
    (mirror.folder / hour).symlink_to("/etc")
    assert faults(mirror.verify()) == dict.fromkeys(below, "type")
    done = mirror.repair()
    assert (done.code, faults(done)) == (0, dict.fromkeys(below, "type"))
    assert mirror.hashes() == before
    assert (mirror.folder / ".ninepic-mirror/trash").is_dir()
    check_settled(mirror.folder)


def test_a_folder_in_the_place_of_a_file(mirror: Mirror) -> None:
    """It goes to the trash with what is in it, which is not called taken in."""
    row = mirror.rows()[0]
    (mirror.folder / row.path).unlink()
    (mirror.folder / row.path).mkdir()
    (mirror.folder / row.path / "mine.txt").write_text("mine")
    assert faults(mirror.verify()) == {row.path: "type", f"{row.path}/mine.txt": "stray"}
    done = mirror.repair()
    assert (done.code, faults(done), entry(done)["adopted"]) == (0, {row.path: "type"}, 0)
    assert [*(mirror.folder / ".ninepic-mirror/trash").rglob("mine.txt")]
    check_settled(mirror.folder)


def test_a_copy_of_a_persons_own(mirror: Mirror) -> None:
    """It is moved to where its photo is missing, instead of a fetch; the folder that the person made stays."""
    row, before = mirror.rows()[0], mirror.hashes()
    (mirror.folder / "best").mkdir()
    (mirror.folder / row.path).rename(mirror.folder / "best/winner.jpg")
    asked = photo_requests(mirror.service)
    done = mirror.repair()
    assert (done.code, entry(done)["fetched"], photo_requests(mirror.service)) == (0, 0, asked)
    assert mirror.hashes() == before
    assert [*(mirror.folder / "best").iterdir()] == []


def test_a_row_that_names_a_wrong_place(mirror: Mirror) -> None:
    """A whole file whose row and place agree, but not with its photo's hour, is moved where it belongs."""
    row = next(row for row in mirror.rows() if row.variant == "large")
    wrong = f"2026-01-01/00/large/{row.path.rpartition('/')[2]}"
    (mirror.folder / wrong).parent.mkdir(parents=True)
    (mirror.folder / row.path).rename(mirror.folder / wrong)
    with closing(sqlite3.connect(mirror.folder / ".ninepic-mirror/manifest.sqlite3")) as manifest:
        manifest.execute(
            "UPDATE files SET path = ?, folder = '2026-01-01/00/large' WHERE path = ?",
            [wrong, row.path],
        )
        manifest.commit()
    # the sums name it where it was
    damaged = {wrong: "misplaced", f"{row.path.partition('/')[0]}/SHA256SUMS": "content"}
    assert faults(mirror.verify()) == damaged
    asked = photo_requests(mirror.service)
    done = mirror.repair()
    assert (done.code, faults(done)) == (0, damaged)
    assert photo_requests(mirror.service) == asked
    assert (mirror.folder / row.path).is_file()
    check_settled(mirror.folder)


def test_another_layout_is_no_damage(mirror: Mirror, tmp_path: Path) -> None:
    """A layout that no pass has followed yet says nothing about where files stand."""
    (tmp_path / "ninepic-mirror.toml").write_text(
        '[api]\norg_id = 903\n[mirror]\nroot = "m"\ntimezone = "Asia/Kolkata"\nlayout = "{variant}/{image_id}"\n'
    )
    done = mirror.commands.run("verify", "--json")
    assert (done.code, entry(done)["damaged"]) == (0, [])


def test_an_unreadable_file(mirror: Mirror) -> None:
    """A read error of one file is that file's damage; the others are read."""
    victim = mirror.rows()[3].path
    inject = [
        "strace",
        "-f",
        "-qq",
        "-o",
        "log",
        "-e",
        "trace=readv",
        "-e",
        "inject=readv:error=EIO",
    ]
    if shutil.which("strace") is None:
        pytest.skip("strace is not here (Debian: apt install strace)")
    words = [
        *inject,
        "-P",
        str(mirror.folder / victim),
        *PROGRAM,
        "verify",
        "--root",
        "m",
        "--json",
    ]
    found = started(mirror, words)
    assert found.code == 8, found.err
    assert (faults(found), entry(found)["checked"]) == ({victim: "content"}, 120)


def test_a_photo_that_left(mirror: Mirror) -> None:
    """Its copy cannot be had again: that is said, then and whenever it is verified."""
    row = next(row for row in mirror.rows() if row.variant == "large")
    (mirror.folder / row.path).unlink()
    mirror.service.order("POST", "456/remove", {"image_id": row.image_id})
    done = mirror.commands.run("verify", 456, *mirror.service.flags, "--root", "m", "--repair")
    assert done.code == 8
    assert f"  {row.path}: missing; its photo has left the event, so" in done.out
    assert "put these files back from a backup" in done.out
    for again in (mirror.verify(), mirror.repair(), mirror.verify()):
        assert (again.code, faults(again)) == (8, {row.path: "missing"})


def test_what_is_kept_of_photos_that_left(mirror: Mirror, tmp_path: Path) -> None:
    """Kept files are read like all others; damaged, they come back from the trash or a file of equal bytes."""
    first, second, third, *_ = (row for row in mirror.rows() if row.variant == "large")
    hashes = mirror.hashes()
    for row in (first, second):
        mirror.service.order("POST", "456/remove", {"image_id": row.image_id})
    flags = [*mirror.service.flags, "--root", "m"]
    assert mirror.commands.run("sync", 456, *flags).code == 0
    assert (mirror.verify().code, entry(mirror.verify())["checked"]) == (0, 120)
    trash = mirror.folder / ".ninepic-mirror/trash/2026-01-20"
    trash.mkdir(parents=True)
    shutil.copy(mirror.folder / first.path, trash / "any")
    twin = mirror.folder / third.path
    twin.write_bytes((mirror.folder / second.path).read_bytes())
    with closing(sqlite3.connect(mirror.folder / ".ninepic-mirror/manifest.sqlite3")) as manifest:
        manifest.execute(
            "UPDATE files SET (size, sha256, xxh3_128) ="
            " (SELECT size, sha256, xxh3_128 FROM files WHERE path = ?) WHERE path = ?",
            [second.path, third.path],
        )
        manifest.execute("UPDATE sums SET stale = 1")
        manifest.commit()
    for row in (first, second):
        flip(mirror.folder / row.path, random.Random(1))
    asked = photo_requests(mirror.service)
    for _ in range(2):
        done = mirror.verify()
        assert (done.code, faults(done)) == (8, {first.path: "content", second.path: "content"})
    done = mirror.repair()
    assert (done.code, [one["repaired"] for one in entry(done)["damaged"]]) == (0, [True, True])
    assert photo_requests(mirror.service) == asked
    for row in (first, second):
        data = (mirror.folder / row.path).read_bytes()
        assert hashlib.sha256(data).hexdigest() == hashes[row.path]
    assert mirror.verify().code == 0
    assert mirror.commands.run("sync", 456, *flags, "--full").code == 0
    assert twin.is_file()


def test_another_instance(mirror: Mirror) -> None:
    """While somebody holds the event files are read all the same; a repair waits for 10 s, and ends with 7."""
    (mirror.folder / mirror.rows()[0].path).unlink()
    with (mirror.folder / ".ninepic-mirror/lock").open("r+") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        done = mirror.repair()
        assert (done.code, len(entry(done)["damaged"])) == (7, 1)
        assert "is held by" in done.err


def test_a_key_is_needed_to_repair_only(mirror: Mirror) -> None:
    """Without a key nothing is read for hours before that is said."""
    del mirror.commands.environ["NINEPIC_API_KEY"]
    assert mirror.verify().code == 0
    assert mirror.repair().code == 2


def test_several_events(commands: Commands, serve: Serve, tmp_path: Path) -> None:
    """What is wrong with one event does not keep the others from being verified; the longest verified comes first."""
    service = serve("--photos", 5, "--events", 3)
    assert commands.run("sync", "--all", *service.flags, "--root", "m").code == 0
    assert commands.run("verify", 456, "--root", "m").code == 0
    root = tmp_path / "m"
    next(root.glob("458-*/.ninepic-mirror/manifest.sqlite3")).unlink()
    next(root.glob("457-*/2026-*/*/large/*")).unlink()
    done = commands.run("verify", "--root", "m", "--json")
    found = {one["event_id"]: one for one in json.loads(done.out)["events"]}
    assert list(found) == [457, 458, 456]
    assert [len(one["damaged"]) for one in found.values()] == [1, 0, 0]
    assert "the manifest is lost" in found[458]["error"]
    assert (done.code, json.loads(done.out)["exit_code"]) == (6, 6)


def test_named_events_take_their_turn(commands: Commands, serve: Serve) -> None:
    """Also when named the longest verified comes first: runs that end too early for all of them reach each in turn."""
    service = serve("--photos", 20, "--events", 2)
    assert commands.run("sync", "--all", *service.flags, "--root", "m").code == 0
    for first in (456, 457, 456):
        done = commands.run(
            "verify", 456, 457, 456, "--root", "m", "--json", "--max-rate", "300kB/s", "--max-duration", "1s"
        )  # fmt: skip
        found = [(one["event_id"], one["checked"] > 0) for one in json.loads(done.out)["events"]]
        assert (done.code, found) == (0, [(first, True), (913 - first, False)])


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--sample", "12"], "is no percentage"),
        (["--sample", "0%"], "is too little"),
        (["--max-rate", "fast"], "is no size"),
        (["--max-duration", "2 hours"], "is no duration"),
        (["--quick", "--decode"], "reads no file"),
        (["--quick", "--sample", "10%"], "keeps no account"),
    ],
)
def test_usage(mirror: Mirror, options: list[str], says: str) -> None:
    """What cannot be understood ends with 2 and says what to write."""
    done = mirror.commands.run("verify", "--root", "m", *options)
    assert (done.code, done.says_one_line_and_cure()) == (2, True)
    assert says in done.err


def test_no_such_event(mirror: Mirror, tmp_path: Path) -> None:
    """An event that is not mirrored is 9, an empty place no mirror root."""
    assert mirror.verify(999).code == 9
    assert mirror.commands.run("verify", "--root", tmp_path / "nothing").code == 6


def test_beside_a_sync(mirror: Mirror) -> None:
    """While passes add, move and remove photos, no file is called damaged, and neither is kept from its work."""
    for number in range(6):
        mirror.service.order("POST", "456/add", {"count": 40})
        zone = "Asia/Kolkata" if number % 2 else "UTC"
        sync = mirror.commands.start(
            "sync",
            456,
            *mirror.service.flags,
            "--root",
            "m",
            "--timezone",
            zone,
            "--full",
            "--json",
        )
        while sync.poll() is None:
            done = mirror.verify()
            assert (done.code, entry(done)["damaged"]) == (0, []), done.err
        out, err = sync.communicate()
        assert sync.returncode == 0, out + err
    assert mirror.verify().code == 0
