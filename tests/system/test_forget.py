"""`forget` as people run it: nothing of the photo is left, and nothing brings it back."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import pty
import random
import sqlite3
import subprocess
import sys
from contextlib import closing
from datetime import datetime
from typing import TYPE_CHECKING, TypedDict, cast

import pytest

from ninepic_mirror.archive.manifest import Manifest
from tests.oracle import check_settled, rows

if TYPE_CHECKING:
    from pathlib import Path

    from tests.forking import Forking
    from tests.system.conftest import Commands, Outcome, Serve, Service


class Erased(TypedDict):
    """What `forget --json` prints of one event."""

    event_id: int
    forgotten: list[str]
    before: list[str]
    ahead: list[str]
    files: int
    bytes: int
    erased: bool
    manifest_copies: list[str]
    same_bytes: list[dict[str, str]]
    other_names: int
    packages: list[dict[str, str]]
    error: str | None


def erased(done: Outcome) -> Erased:
    """Return the only entry of `forget --json`."""
    return cast("Erased", done.entry)


@pytest.fixture
def commands(forking: Forking) -> Commands:
    """Commands in forks: there are dozens of them here."""
    return forking


def sync(commands: Commands, service: Service, *more: object) -> Outcome:
    """Make a pass over the event."""
    return commands.run("sync", 456, *service.flags, "--root", "m", "--json", *more)


def folder_of(commands: Commands) -> Path:
    """Return the event's folder."""
    (found,) = (commands.folder / "m").glob("456*")
    return found


def victim(commands: Commands) -> str:
    """Return a photo's id."""
    return sorted(path.stem for path in folder_of(commands).rglob("*/large/*.jpg"))[5]


def traces(commands: Commands, image_id: str) -> list[str]:
    """Return every file of the root that names a photo or is named by it."""
    return [
        str(path)
        for path in (commands.folder / "m").rglob("*")
        if image_id in path.name or (path.is_file() and image_id.encode() in path.read_bytes())
    ]


def forget(commands: Commands, *words: object) -> Outcome:
    """Forget photos without a question."""
    return commands.run("forget", *words, "--root", "m", "--yes", "--json")


def test_nothing_is_left_and_nothing_comes_back(commands: Commands, service: Service) -> None:
    """Files, trash, sums and manifest know it no more; a sync, a repair and a rebuild leave it out and are whole."""
    service.fault(kind="404", variant="large", count=1)  # so that a report names a photo
    first = sync(commands, service)
    name = first.entry["failures"][0]["image_id"]
    service.order("POST", "456/replace", {"image_id": name})
    assert sync(commands, service, "--recheck").code == 0
    assert len(traces(commands, name)) >= 5

    done = forget(commands, name)

    assert done.code == 0, done.err
    entry = erased(done)
    assert (entry["event_id"], entry["forgotten"], entry["ahead"]) == (456, [name], [])
    assert (entry["files"], entry["erased"], entry["packages"]) == (3, True, [])
    assert entry["bytes"] > 0
    assert traces(commands, name) == []
    for _ in range(2):
        again = sync(commands, service, "--full")
        assert again.code == 0, again.err
        assert (again.entry["photos"], again.entry["files"]["present"]) == (60, 118)
        assert again.entry["forgotten"] == 1
        assert traces(commands, name) == []
    status = commands.run("status", "--root", "m", "--json")
    assert (status.code, status.entry["forgotten"]) == (0, 1)
    assert "1 photo forgotten" in commands.run("status", "--root", "m").out
    assert commands.run("verify", "--root", "m").code == 0

    for path in (folder_of(commands) / ".ninepic-mirror").glob("manifest.sqlite3*"):
        path.unlink()
    repair = commands.run("verify", 456, *service.flags, "--root", "m", "--repair", "--json")
    assert repair.code == 0, repair.err
    assert traces(commands, name) == []
    assert sync(commands, service).entry["files"]["present"] == 118


def test_a_file_that_somebody_puts_back_is_left_and_listed(
    commands: Commands, service: Service
) -> None:
    """A stray of a forgotten photo is not adopted, not even by a repair."""
    sync(commands, service)
    name = victim(commands)
    path = next(folder_of(commands).rglob(f"large/{name}.jpg"))
    content = path.read_bytes()
    forget(commands, name)
    path.write_bytes(content)

    repair = commands.run("verify", 456, *service.flags, "--root", "m", "--repair", "--json")

    damaged = repair.entry["damaged"]
    assert [(one["fault"], one["repaired"]) for one in damaged] == [("stray", False)]
    assert sync(commands, service, "--full").entry["files"]["present"] == 118
    assert path.read_bytes() == content
    again = forget(commands, name)
    assert erased(again)["files"] == 1
    assert traces(commands, name) == []


def test_hard_links_of_other_photos_stay(commands: Commands, serve: Serve) -> None:
    """Another photo with the very same bytes keeps its file, and is named."""
    service = serve("--photos", 40)
    sync(commands, service)
    files = sorted(folder_of(commands).rglob("large/*.jpg"))
    one, other = files[0], files[1]
    other.unlink()
    os.link(one, other)
    digest = hashlib.sha256(one.read_bytes()).hexdigest()
    with closing(
        sqlite3.connect(folder_of(commands) / ".ninepic-mirror/manifest.sqlite3")
    ) as opened:
        row = opened.execute(
            "SELECT xxh3_128, size FROM files WHERE image_id = ? AND variant = 'large'", [one.stem]
        ).fetchone()
        opened.execute(
            "UPDATE files SET xxh3_128 = ?, size = ?, sha256 = ? WHERE image_id = ? AND variant = 'large'",
            [*row, digest, other.stem],
        )
        opened.commit()

    done = forget(commands, one.stem)

    (twin,) = erased(done)["same_bytes"]
    assert (twin["image_id"], twin["variant"]) == (other.stem, "large")
    assert other.is_file()
    assert not one.exists()
    assert commands.run("verify", "--root", "m").code == 0


def test_a_hard_link_of_somebody_else(commands: Commands, service: Service) -> None:
    """It is none of ours and stays, but it is told: the bytes stand there still. What a kill left of the photo goes."""
    sync(commands, service)
    name = victim(commands)
    large = next(folder_of(commands).rglob(f"large/{name}.jpg"))
    left = folder_of(commands) / f".ninepic-mirror/partial/large-{name}.twin"
    left.hardlink_to(large)
    thumbnail = next(folder_of(commands).rglob(f"thumbnail/{name}.jpg"))
    (commands.folder / "mine.jpg").hardlink_to(large)
    (commands.folder / "small.jpg").hardlink_to(thumbnail)
    said = commands.run("forget", name, "--yes", "--root", "m")
    assert said.code == 0
    assert "has 2 other names still" in said.out
    assert not left.exists()
    assert erased(forget(commands, name, "--event", 456))["other_names"] == 0


def test_a_row_that_points_at_the_manifest(commands: Commands, service: Service) -> None:
    """Nothing is removed by it; a repair sets the manifest aside, which keeps it, and then the photo is forgotten."""
    sync(commands, service)
    name = victim(commands)
    manifest = folder_of(commands) / ".ninepic-mirror/manifest.sqlite3"
    with closing(sqlite3.connect(manifest)) as opened:
        opened.execute(
            "UPDATE files SET path = '.ninepic-mirror/manifest.sqlite3', folder = '.ninepic-mirror'"
            " WHERE image_id = ? AND variant = 'large'",
            [name],
        )
        opened.commit()
    refused = forget(commands, name)
    assert refused.code == 6
    assert "contradicts itself" in refused.err
    assert "verify 456 --repair --root m --org NUMBER; then run forget again" in refused.err
    assert manifest.is_file()
    assert list(folder_of(commands).rglob(f"{name}*"))
    repaired = commands.run("verify", 456, *service.flags, "--root", "m", "--repair", "--json")
    assert (repaired.code, repaired.err.count("is kept as")) == (0, 1)
    assert '"fetched": 0' in repaired.out
    assert forget(commands, name).code == 0
    assert traces(commands, name) == []


def test_an_unknown_id(commands: Commands, service: Service) -> None:
    """A mistyped id ends with 2 and touches nothing; with --event it is kept from coming."""
    sync(commands, service)
    name = victim(commands)
    refused = forget(commands, name, "no-such-photo")
    assert refused.code == 2
    assert "456" in refused.err
    assert "no-such-photo" in refused.err
    assert next(folder_of(commands).rglob(f"large/{name}.jpg")).is_file()
    assert not (folder_of(commands) / ".ninepic-mirror/forgotten").exists()

    ahead = forget(commands, "comes-later", "--event", 456)
    assert ahead.code == 0
    assert erased(ahead)["ahead"] == ["comes-later"]
    service.order("POST", "456/add_raw", {"image_id": "comes-later", "hour": 1768777200})
    later = sync(commands, service)
    assert (later.code, later.entry["photos"], later.entry["files"]["present"]) == (0, 61, 120)
    assert traces(commands, "comes-later") == []
    assert forget(commands, name, "--event", 457).code == 9


def test_a_mistyped_id_is_not_taken_for_one_forgotten_before(
    commands: Commands, service: Service
) -> None:
    """What the event never had is told apart, also where it is asked; one with too much at its ends is refused."""
    sync(commands, service)
    name = victim(commands)
    for odd in (f" {name}", f"{name}\n", f"{name}\r", f"\ufeff{name}", f"{name}\u200b", " ", ""):
        refused = forget(commands, odd, "--event", 456)
        assert (refused.code, refused.says_one_line_and_cure()) == (2, True)
        assert ascii(odd) in refused.err
    assert not (folder_of(commands) / ".ninepic-mirror/forgotten").exists()

    words = ("forget", name, f"{name}x", "--event", 456, "--root", "m", "--yes")
    first = commands.run(*words)
    assert (first.code, "forgotten before" in first.out) == (0, False)
    assert f"1 photo that this mirror never had, look at the id: {name}x" in first.out
    second = commands.run(*words)
    assert "2 photos forgotten before" in second.out
    assert "never had" not in second.out
    third = erased(forget(commands, name, f"{name}y", "--event", 456))
    assert (third["forgotten"], third["before"], third["ahead"]) == ([], [name], [f"{name}y"])


@pytest.mark.parametrize("damage", ["lost", "state", "corrupt", "new"])
def test_another_event_that_cannot_tell(commands: Commands, serve: Serve, damage: str) -> None:
    """What a manifest cannot tell is not taken for "holds nothing": nothing is removed, or the files go by name."""
    service = serve("--photos", 4, "--events", 2)
    place: tuple[object, ...] = (
        "--root",
        "m",
        *(("--state-dir", "s") if damage == "state" else ()),
    )
    for event in (456, 457):
        service.order("POST", f"{event}/add_raw", {"image_id": "both", "hour": 1768777200})
        commands.run("sync", event, *service.flags, *place)
    root = commands.folder / "m"
    assert len(list(root.rglob("both.jpg"))) == 4
    (manifest,) = commands.folder.glob(
        "s/457*/manifest.sqlite3"
        if damage == "state"
        else "m/457*/.ninepic-mirror/manifest.sqlite3"
    )
    if damage == "corrupt":
        manifest.write_bytes(b"nonsense" * 1000)
    else:
        for path in manifest.parent.glob("manifest.sqlite3*"):
            path.unlink()
    if damage == "new":  # as a rebuild that was cut off
        Manifest.open(manifest).close()

    done = commands.run("forget", "both", *place, "--yes")

    if damage == "new":
        assert (done.code, list(root.rglob("both.jpg"))) == (0, []), done.err
        assert len(list(root.rglob(".ninepic-mirror/forgotten"))) == 2
        return
    assert (done.code, len(list(root.rglob("both.jpg")))) == (6, 4)
    assert "nothing was removed" in done.err
    assert "verify 457 --repair --root m" in done.err
    assert "with --event EVENT_ID" in done.err
    alone = commands.run("forget", "both", "--event", 457, *place, "--yes")
    assert (alone.code, "with --event" in alone.err) == (6, False), alone.err
    assert not list(root.rglob("forgotten"))
    assert commands.run("sync", 457, *service.flags, *place).code == 0
    assert commands.run("forget", "both", *place, "--yes").code == 0
    assert list(root.rglob("both.jpg")) == []


def test_a_manifest_from_before_state_dir(commands: Commands, service: Service) -> None:
    """It stays beside the photos when `state_dir` is set, and names photos like any copy."""
    sync(commands, service)
    sync(commands, service, "--state-dir", "s")
    name = victim(commands)
    own = folder_of(commands) / ".ninepic-mirror"
    (own / "manifest.sqlite3-wal").touch()
    done = forget(commands, name, "--state-dir", "s")
    assert done.code == 0, done.err
    assert erased(done)["manifest_copies"] == ["manifest.sqlite3"]
    assert traces(commands, name) == []
    assert not list(own.glob("manifest*"))
    assert commands.run("verify", "--root", "m", "--state-dir", "s").code == 0


@pytest.mark.parametrize("repair", [False, True])
def test_an_older_manifest_is_brought_back(
    commands: Commands, service: Service, *, repair: bool
) -> None:
    """Readers do not say of a forgotten photo that it is here; `verify` forgets it again."""
    sync(commands, service)
    name = victim(commands)
    manifest = folder_of(commands) / ".ninepic-mirror/manifest.sqlite3"
    older = manifest.read_bytes()
    files = {path: path.read_bytes() for path in folder_of(commands).rglob(f"{name}.jpg")}
    forget(commands, name)
    manifest.write_bytes(older)
    for path, content in files.items():
        path.write_bytes(content)

    status = commands.run("status", "--root", "m", "--json")
    assert (status.entry["forgotten"], status.entry["files"]["present"]) == (1, 118)
    listed = commands.run("manifest", 456, "--root", "m").out
    assert name not in listed
    assert listed.count(",forgotten,") == 2
    quick = commands.run("verify", "--root", "m", "--quick", "--json")
    assert {one["fault"] for one in quick.entry["damaged"]} <= {"stray"}
    assert all(path.exists() for path in files)

    more = ("--repair", *service.flags) if repair else ()
    done = commands.run("verify", 456, "--root", "m", *more)
    assert done.code == 0, done.err
    assert "1 photo forgotten, 2 files removed" in done.err
    assert traces(commands, name) == []
    assert sync(commands, service).entry["files"]["present"] == 118
    again = forget(commands, name)
    assert (again.code, erased(again)["before"], erased(again)["ahead"]) == (0, [name], [])


@pytest.mark.parametrize("has_lock", [True, False], ids=["lock", "no lock"])
@pytest.mark.parametrize("way", ["forget", "verify", "sync"])
def test_an_older_manifest_keeps_what_the_sums_say_of_newer_files(
    commands: Commands, service: Service, way: str, *, has_lock: bool
) -> None:
    """SHA256SUMS is written anew without the photo, and with the lines of files that the manifest does not know."""
    sync(commands, service)
    manifest = folder_of(commands) / ".ninepic-mirror/manifest.sqlite3"
    older, name = manifest.read_bytes(), victim(commands)
    before = {*folder_of(commands).rglob("large/*.jpg")}
    (place,) = (path for path in before if path.stem == name)
    day, hour = place.relative_to(folder_of(commands)).parts[:2]
    taken = int(datetime.fromisoformat(f"{day}T{hour}:00:00+00:00").timestamp())
    service.order("POST", "456/add", {"count": 1, "hour": taken})
    assert sync(commands, service).code == 0
    (newer,) = {*folder_of(commands).rglob("large/*.jpg")} - before
    content = newer.read_bytes()
    if way != "forget":
        forget(commands, name)
    manifest.write_bytes(older)
    if not has_lock:  # then nothing tells which passes were made
        manifest.with_name("lock").unlink()
    # in the middle of a scan, where a JPEG that is damaged looks like a whole one
    newer.write_bytes(content[:-50] + bytes([content[-50] ^ 1]) + content[-49:])

    if way == "forget":
        assert forget(commands, name).code == 0
    elif way == "sync":
        assert sync(commands, service).code == 0
        assert newer.read_bytes() == content
        newer.write_bytes(content[::-1])
    else:
        assert commands.run("verify", 456, "--root", "m").code == 8, "the newer file is damaged"
    assert traces(commands, name) == []
    assert newer.name in (folder_of(commands) / day / "SHA256SUMS").read_text()
    done = commands.run("verify", 456, *service.flags, "--root", "m", "--repair", "--json")
    assert (done.code, cast("dict[str, int]", done.entry)["fetched"]) == (0, 1)
    assert newer.read_bytes() == content
    check_settled(folder_of(commands))


def test_a_rebuild_that_was_cut_off_keeps_what_the_sums_say(
    commands: Commands, service: Service
) -> None:
    """Killed before it had read SHA256SUMS it knows no file, and what other files were must not be lost."""
    sync(commands, service)
    place, rotten, *_ = sorted(folder_of(commands).rglob("large/*.jpg"))
    sums = folder_of(commands) / place.relative_to(folder_of(commands)).parts[0] / "SHA256SUMS"
    content, before = rotten.read_bytes(), sums.read_text()
    for path in (folder_of(commands) / ".ninepic-mirror").glob("manifest.sqlite3*"):
        path.unlink()
    with Manifest.open(folder_of(commands) / ".ninepic-mirror/manifest.sqlite3") as manifest:
        manifest.begin_pass("quick")
    # in the middle of a scan, where a JPEG that is damaged looks like a whole one
    rotten.write_bytes(content[:-50] + bytes([content[-50] ^ 1]) + content[-49:])

    done = forget(commands, place.stem, "--event", 456)
    assert done.code == 0, done.err
    assert traces(commands, place.stem) == []
    kept = [line for line in before.splitlines() if place.stem not in line]
    assert len(kept) == len(before.splitlines()) - 2
    assert sums.read_text().splitlines() == kept
    again = sync(commands, service)
    assert (again.code, again.entry["files"]["downloaded"]) == (0, 1), again.err
    assert rotten.read_bytes() == content
    assert commands.run("verify", 456, "--root", "m").code == 0
    check_settled(folder_of(commands))


def test_packages_are_named(commands: Commands, service: Service) -> None:
    """Who has a package that holds the photo is to be told; none can be made with it from then on."""
    sync(commands, service)
    name = victim(commands)
    place = commands.folder / "ids"
    for number, kept in enumerate((False, True)):
        names = [one.stem for one in folder_of(commands).rglob("large/*.jpg")]
        place.write_text("\n".join(one for one in names if (one == name) is kept))
        made = commands.run("deliver", 456, f"package-{number}", "--root", "m", "--ids", place)
        assert made.code == 0, made.err

    done = commands.run("forget", name, "--root", "m", "--yes")

    assert done.code == 0
    for said in (done, commands.run("forget", name, "--root", "m", "--yes")):
        assert said.code == 0
        assert "package-1" in said.out
        assert "package-0" not in said.out
    place.write_text(name)
    assert commands.run("deliver", 456, "again", "--root", "m", "--ids", place).code == 2
    assert traces(commands, name) == []


def test_what_the_disk_refuses_is_no_reason_for_a_sync(
    commands: Commands, service: Service
) -> None:
    """A sync alone would not forget: the advice is to forget again."""
    sync(commands, service)
    name = victim(commands)
    (folder_of(commands) / ".ninepic-mirror/forgotten").symlink_to("elsewhere")
    done = forget(commands, name)
    assert done.code == 6
    assert "run forget again" in done.err
    assert "run sync again" not in done.err
    assert len(traces(commands, name)) > 2


def test_another_holds_the_event(commands: Commands, service: Service) -> None:
    """It waits for a pass, 10 s at most, then ends with 7 and has done nothing."""
    sync(commands, service)
    name = victim(commands)
    with (folder_of(commands) / ".ninepic-mirror/lock").open() as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        done = forget(commands, name)
    assert done.code == 7
    assert erased(done)["error"]
    assert len(traces(commands, name)) > 2


@pytest.mark.parametrize(("answer", "code"), [("y", 0), ("n", 2)])
def test_a_person_is_asked(commands: Commands, service: Service, answer: str, code: int) -> None:
    """At a terminal it asks; without one, and without --yes, it refuses."""
    sync(commands, service)
    name = victim(commands)
    refused = commands.run("forget", name, "--root", "m")
    assert refused.code == 2
    assert refused.says_one_line_and_cure()
    keyboard, terminal = pty.openpty()
    process = commands.start("forget", name, "--root", "m", stdin=terminal)
    os.write(keyboard, f"{answer}\n".encode())
    _, told = process.communicate(timeout=60)
    os.close(keyboard)
    os.close(terminal)
    assert process.returncode == code
    assert "1 photo, 2 files" in told
    assert bool(list(folder_of(commands).rglob(f"{name}.jpg"))) == (code != 0)


def test_the_list_is_documented(commands: Commands, service: Service) -> None:
    """The hash is what `printf %s%s SALT ID | sha256sum` says; a damaged list is never taken for an empty one."""
    sync(commands, service)
    name = victim(commands)
    forget(commands, name)
    path = folder_of(commands) / ".ninepic-mirror/forgotten"
    head, salt, digest = path.read_text().splitlines()
    assert head.startswith("#")
    assert hashlib.sha256((salt.removeprefix("salt ") + name).encode()).hexdigest() == digest
    for damage in (lambda: path.write_text("nonsense\n"), path.unlink):
        damage()
        assert sync(commands, service).code == 0
        assert path.read_text().splitlines() == [head, salt, digest]
    path.write_text("nonsense\n")
    for manifest in path.parent.glob("manifest.sqlite3*"):
        manifest.unlink()
    broken = sync(commands, service)
    assert broken.code == 6
    assert "forgotten" in json.dumps(broken.document)


def test_any_id_that_is_here(commands: Commands, service: Service) -> None:
    """The service's ids are any text; what the manifest holds can be forgotten."""
    odd = ["", "a\nb", "a\x1bb", "tab\t", "\u202eleft", "\u200b", "-rf", "x" * 3000, "Läufer ß"]
    for image_id in odd:
        service.order("POST", "456/add_raw", {"image_id": image_id, "hour": 1768777200})
    sync(commands, service)
    copy = folder_of(commands) / ".ninepic-mirror/manifest.sqlite3.corrupt-20260101T000000Z"
    copy.write_bytes((folder_of(commands) / ".ninepic-mirror/manifest.sqlite3").read_bytes())
    done = commands.run("forget", "--root", "m", "--yes", "--json", "--", *odd)
    assert done.code == 0, done.err
    assert len(erased(done)["forgotten"]) == len(odd)
    assert erased(done)["files"] == 2 * (len(odd) - 1)  # the service has no photo without a name
    assert erased(done)["manifest_copies"] == [copy.name]
    assert traces(commands, "x" * 500) == []
    assert sync(commands, service, "--full").entry["files"]["present"] == 120


def test_what_is_no_id(commands: Commands, service: Service) -> None:
    """What no service can have sent, and what stands for a photo that is forgotten; a long id is cut."""
    sync(commands, service)
    name = victim(commands)
    forget(commands, name)
    (stands,) = {one.image_id for one in rows(folder_of(commands), "forgotten")}
    for odd in ("\udcff", stands, "y" * 10_000):
        done = forget(commands, odd, *(["--event", 456] if odd == stands else []))
        assert done.code == 2
        assert len(done.err) < 1000
    text = (folder_of(commands) / ".ninepic-mirror/forgotten").read_text()
    assert text.count("\n") == 3


KILLED = """
import os, select, signal, sys, time
import trio, click, msgspec, sqlite3, xxhash
from ninepic_mirror.cli import erasure, forget, program

for line in sys.stdin:
    seconds, image_id = line.split()
    child = os.fork()
    if child == 0:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        os._exit(program.start(["forget", image_id, "--root", "m", "--yes", "--json"]))
    watch, began = os.pidfd_open(child), time.monotonic()
    if not select.select([watch], [], [], float(seconds))[0]:
        os.kill(child, signal.SIGKILL)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    os.close(watch)
    print(status, time.monotonic() - began, flush=True)
"""


def test_it_may_be_killed(commands: Commands, service: Service) -> None:
    """Killed at random moments it leaves true rows; what was begun is finished by the next sync."""
    sync(commands, service)
    names = sorted(path.stem for path in folder_of(commands).rglob("*/large/*.jpg"))
    draw, kills, begun, spans = random.Random(20260119), 0, 0, list[float]()
    environment = {name: value for name, value in commands.environ.items() if "COV" not in name}
    with subprocess.Popen(
        [sys.executable, "-c", KILLED],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=commands.folder,
        env=environment,
    ) as server:
        assert server.stdin is not None
        assert server.stdout is not None
        done = 0
        for name in names[:18]:
            # the first three run to their end: how long that takes differs on a busy machine
            limit = 60.0 if len(spans) < 3 else draw.uniform(0.0, min(spans))
            print(limit, name, file=server.stdin, flush=True)
            status, seconds = server.stdout.readline().split()
            assert status in {"-9", "0"}
            if limit == 60.0:
                spans.append(float(seconds))
            kills += status == "-9"
            for row in rows(folder_of(commands)):
                path = folder_of(commands) / row.path
                assert hashlib.sha256(path.read_bytes()).hexdigest() == row.sha256
            remembered = (folder_of(commands) / ".ninepic-mirror/forgotten").read_text().count(
                "\n"
            ) - 2
            begun += remembered > done and limit < 60.0
            after = sync(commands, service)
            assert after.code == 0, after.err
            assert bool(traces(commands, name)) == (remembered == done)
            assert after.entry["files"]["present"] == 120 - 2 * remembered
            done = remembered
        server.stdin.close()
    print(f"{kills} killed, {begun} begun")
    assert kills >= 5
    assert begun >= 5
    assert commands.run("verify", "--root", "m").code == 0
