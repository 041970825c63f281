"""What goes wrong with one event ends that event; the others are mirrored, listed and shown (DESIGN §3)."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from ninepic_mirror import __version__
from ninepic_mirror.cli.summary import WATERMARK

if TYPE_CHECKING:
    from pathlib import Path

    from tests.forking import Forking
    from tests.system.conftest import Commands, Document, Serve


@pytest.fixture
def commands(forking: Forking) -> Commands:
    """Commands in forks: there are dozens of them here."""
    return forking


def wholes(document: Document) -> dict[int, bool]:
    """Return which events a document calls whole."""
    return {entry["event_id"]: entry["whole"] for entry in document["events"]}


def times(root: Path) -> dict[Path, int]:
    """Return the modification times of all that SQLite does not touch when it is read."""
    return {
        path: path.stat().st_mtime_ns
        for path in root.rglob("*")
        if ".ninepic-mirror" not in path.parts
    }


def give_newer_schema(root: Path, event_id: int) -> None:
    """Let a manifest look as if a newer version of the program had written it."""
    (path,) = root.glob(f"{event_id}-*/.ninepic-mirror/manifest.sqlite3")
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA user_version = 99")
    connection.close()


def test_key_refused_for_one_event(commands: Commands, serve: Serve) -> None:
    """A 403 for one event ends that event with 3; the events after it are mirrored, and `--flags` shows them."""
    service = serve("--photos", 3, "--events", 3)
    service.fault(kind="403", origin="api", event_id=457)
    flags = [*service.flags, "--root", "m"]
    done = commands.run("sync", 456, 457, 458, *flags, "--json")
    assert (done.code, done.says_one_line_and_cure()) == (3, True)
    assert wholes(done.document) == {456: True, 457: False, 458: True}
    forecast = commands.run("sync", 457, 458, *flags, "--dry-run", "--json")
    assert (forecast.code, [entry["event_id"] for entry in forecast.document["events"]]) == (
        3,
        [458],
    )
    shown = commands.run("events", "--flags", *flags, "--json")
    assert (shown.code, [bool(entry["flags"]) for entry in shown.document["events"]]) == (
        3,
        [True, False, True],
    )


def test_storage_fault_of_one_event(commands: Commands, serve: Serve, tmp_path: Path) -> None:
    """A manifest of a newer version ends that event with 6 and keeps no other from being mirrored."""
    service = serve("--photos", 3, "--events", 2)
    flags = [*service.flags, "--root", "m"]
    commands.run("sync", 456, *flags)
    give_newer_schema(tmp_path / "m", 456)
    done = commands.run("sync", 456, 457, *flags, "--json")
    assert (done.code, done.says_one_line_and_cure()) == (6, True)
    assert wholes(done.document) == {456: False, 457: True}
    forecast = commands.run("sync", 456, 457, *flags, "--dry-run", "--json")
    assert (forecast.code, [entry["event_id"] for entry in forecast.document["events"]]) == (
        6,
        [457],
    )


def test_full_disk_ends_the_run(commands: Commands, serve: Serve, tmp_path: Path) -> None:
    """A disk that is full for one event is full for all: the run ends at once, with one error."""
    service = serve("--photos", 3, "--events", 2)
    flags = [*service.flags, "--root", "m", "--min-free", "900TB"]
    done = commands.run("sync", 456, 457, *flags, "--json")
    assert (done.code, done.says_one_line_and_cure()) == (6, True)
    assert wholes(done.document) == {456: False, 457: False}


def test_status_of_no_root(commands: Commands) -> None:
    """Of a root that is not there nothing can be said: 6 with an event's number too, and an entry for it."""
    for words in (("status", 456), ("manifest", 456)):
        done = commands.run(*words, "--root", "unmounted")
        assert (done.code, done.says_one_line_and_cure()) == (6, True)
    found = commands.run("status", 456, "--root", "unmounted", "--json")
    assert (found.code, found.document["exit_code"], wholes(found.document)) == (6, 6, {456: False})


def change(root: Path, statement: str) -> None:
    """Change the manifest of event 456 as a pass would have left it."""
    (path,) = root.glob("456-*/.ninepic-mirror/manifest.sqlite3")
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(statement)


def test_doubt_is_shown(commands: Commands, serve: Serve, tmp_path: Path) -> None:
    """Where the last pass was not sure of everything, `status` and `events` say how many photos were not listed."""
    service = serve("--photos", 3)
    flags = [*service.flags, "--root", "m"]
    commands.run("sync", 456, *flags)
    change(tmp_path / "m", "UPDATE meta SET value = '10' WHERE key = 'total'")
    # A whole pass may have counted rows twice: nothing is said then.
    assert "not listed" not in commands.run("status", "--root", "m").out
    change(tmp_path / "m", "UPDATE passes SET whole = 0")
    assert (
        "the service reports 7 photos more, not listed yet"
        in commands.run("status", "--root", "m").out
    )
    assert "mirrored in part, 3 of 10 photos listed" in commands.run("events", *flags).out
    change(tmp_path / "m", "UPDATE meta SET value = '3' WHERE key = 'total'")
    assert "3 photos mirrored, not certain to be all" in commands.run("events", *flags).out


def test_fewer_variants_this_once(commands: Commands, serve: Serve, tmp_path: Path) -> None:
    """With `--variant` a pass that leaves out what the config file wants does not make the mirror whole."""
    service = serve("--photos", 3)
    (tmp_path / "ninepic-mirror.toml").write_text(
        f'[api]\norg_id = 903\nbase_url = "{service.api_url}"\n[mirror]\nroot = "m"\n'
    )
    assert commands.run("sync", 456, "--variant", "thumbnail").code == 0
    for words in (("status", "--json"), ("status", "--root", "m", "--json")):
        found = commands.run(*words)
        assert (found.code, found.entry["whole"], found.entry["last_whole"]) == (4, False, None)
    assert commands.run("sync", 456).code == 0
    assert commands.run("status", "--json").entry["whole"] is True


def test_dry_run_sees_what_was_deleted(commands: Commands, serve: Serve, tmp_path: Path) -> None:
    """A dry run counts deleted files, and with --full those of another size, into what would be fetched."""
    service = serve("--photos", 20)
    flags = [*service.flags, "--root", "m"]
    commands.run("sync", 456, *flags)
    photos = sorted((tmp_path / "m").glob("456-*/*/*/large/*.jpg"))
    photos[0].unlink()
    with photos[-1].open("r+b") as file:
        file.truncate(100)
    before = times(tmp_path / "m")
    seen = [
        commands.run("sync", 456, *flags, "--dry-run", "--json", *words).entry["files_to_fetch"]
        for words in ((), ("--full",))
    ]
    assert seen == [1, 2]
    assert before == times(tmp_path / "m")
    assert "1 missing from the disk" in commands.run("sync", 456, *flags, "--dry-run").out
    estimated = commands.run("sync", 456, *flags, "--dry-run", "--json").entry["estimated_bytes"]
    assert 0.2 < estimated / photos[-2].stat().st_size < 5  # sampled by the addresses that are kept


def test_dry_run_refuses_what_sync_refuses(
    commands: Commands, serve: Serve, tmp_path: Path
) -> None:
    """A root that is no mirror root, or not mounted, is refused by a dry run too, and nothing is made."""
    service = serve("--photos", 1)
    (tmp_path / "m").mkdir()
    flags = [*service.flags, "--root", "m", "--dry-run"]
    assert commands.run("sync", 456, *flags).code == 0
    mounted = commands.run("sync", 456, *flags, "--require-mount")
    (tmp_path / "m" / "thesis.odt").write_text("years of work")
    foreign = commands.run("sync", 456, *flags)
    assert [done.code for done in (mounted, foreign)] == [6, 6]
    assert all(done.says_one_line_and_cure() for done in (mounted, foreign))
    assert [path.name for path in (tmp_path / "m").iterdir()] == ["thesis.odt"]


@pytest.mark.parametrize("kind", ["file", "loop"])
@pytest.mark.parametrize("command", ["sync", "init"])
def test_root_that_is_no_folder(
    commands: Commands, serve: Serve, tmp_path: Path, command: str, kind: str
) -> None:
    """A file or a circle of links where the root should be is named as what it is: 6, and `check` agrees."""
    service = serve("--photos", 1)
    if kind == "file":
        (tmp_path / "m").write_text("x")
    else:
        (tmp_path / "m").symlink_to("m")
    words = (456,) if command == "sync" else ("mine.toml",)
    done = commands.run(command, *words, *service.flags, "--root", "m")
    assert (done.code, done.says_one_line_and_cure()) == (6, True)
    assert ("a file stands" if kind == "file" else "symbolic link") in done.err
    assert not (tmp_path / "mine.toml").exists()
    checked = commands.run("check", *service.flags, "--root", "m")
    assert (checked.code, "FAIL  mirror root" in checked.out) == (6, True)


def test_talkative(commands: Commands, serve: Serve) -> None:
    """With -v a pass says which config, root, key and events it takes; without it says nothing of them."""
    service = serve("--photos", 1)
    flags = [*service.flags, "--root", "m"]
    told = commands.run("-v", "sync", 456, *flags).err
    assert "config: flags alone" in told
    assert "API key: from $NINEPIC_API_KEY" in told
    assert "events of this run: [456]" in told
    assert (
        f"ninepic-mirror {__version__}, Python" in commands.run("-vv", "status", "--root", "m").err
    )
    assert "holds the events [456]" in commands.run("-v", "status", "--root", "m").err
    assert commands.run("sync", 456, *flags).err == f"{WATERMARK}\n"
    assert commands.run("-q", "sync", 456, *flags).err == ""


@pytest.mark.parametrize("number", ["456x", "0", "-1", "1" * 30])
def test_no_event_number(commands: Commands, number: str) -> None:
    """What is no event's number is said in words, with the way to find the right one: 2."""
    done = commands.run("sync", "--", number)
    assert (done.code, done.says_one_line_and_cure()) == (2, True)
    assert f"{number} is no event number" in done.err
