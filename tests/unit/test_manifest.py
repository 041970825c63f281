"""The manifest: all or nothing, brought forward, read without permission, never believed when damaged."""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from ninepic_mirror.archive.manifest import (
    MOST_PASSES,
    NAME,
    Manifest,
    now,
    reading,
)
from ninepic_mirror.archive.schema import MIGRATIONS
from ninepic_mirror.archive.sqlite_errors import ManifestError, UnreadableError
from ninepic_mirror.errors import StorageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from ninepic_mirror.archive.manifest import Value

needs_mount = pytest.mark.skipif(os.geteuid() != 0, reason="mounting a tmpfs needs root")
NEXT = (*MIGRATIONS, "ALTER TABLE hours ADD COLUMN note TEXT")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return where a manifest may be."""
    return tmp_path / NAME


@pytest.fixture
def manifest(path: Path) -> Iterator[Manifest]:
    """Return an open manifest."""
    with Manifest.open(path) as manifest:
        yield manifest


# --- opening ----------------------------------------------------------------------------------------------------


def test_a_new_manifest_is_durable(manifest: Manifest) -> None:
    """A new file has the schema's version, a write-ahead log and full syncs (DESIGN §6.6)."""
    assert manifest.version() == len(MIGRATIONS)
    assert manifest.rows("PRAGMA journal_mode") == [("wal",)]
    assert manifest.count("PRAGMA synchronous") == 2  # FULL


def test_durability_can_be_off(path: Path) -> None:
    """With `durability = "none"` SQLite does not sync either."""
    with Manifest.open(path, durable=False) as manifest:
        assert manifest.count("PRAGMA synchronous") == 0


def test_what_was_committed_is_there_again(path: Path) -> None:
    """Rows outlive closing and opening."""
    with Manifest.open(path) as manifest:
        manifest.set_meta({"a": [1, "ü\0'"], "b": None})
        manifest.set_meta({"a": [2]})
    with Manifest.open(path) as manifest:
        assert manifest.meta("a") == [2]
        assert manifest.meta("b") is None
        assert manifest.meta("never") is None


def test_an_older_schema_is_brought_forward_with_a_backup(path: Path) -> None:
    """A migration keeps what was there, and a copy of the file as it was (RELIABILITY L15)."""
    with Manifest.open(path) as manifest:
        manifest.set_meta({"a": 1})
    with Manifest.open(path, migrations=NEXT) as manifest:
        assert manifest.version() == len(NEXT)
        assert manifest.rows("SELECT note FROM hours") == []
        assert manifest.meta("a") == 1
    with Manifest.open(path.with_name(f"{NAME}.version-{len(MIGRATIONS)}")) as backup:
        assert backup.version() == len(MIGRATIONS)
        assert backup.meta("a") == 1


def test_a_migration_that_fails_changes_nothing(path: Path) -> None:
    """Half a migration is none: the next try finds the old version."""
    Manifest.open(path).close()
    broken = (*MIGRATIONS, "CREATE TABLE extra (a); CREATE TABLE extra (a)")
    with pytest.raises(StorageError, match="already exists"):
        Manifest.open(path, migrations=broken)
    with Manifest.open(path) as manifest:
        assert manifest.version() == len(MIGRATIONS)
        assert manifest.rows("SELECT 1 FROM sqlite_master WHERE name = 'extra'") == []


@pytest.mark.parametrize("version", range(1, len(MIGRATIONS)))
def test_a_version_that_is_lower_than_its_tables(path: Path, version: int) -> None:
    """It is damaged: no migration from there can ever succeed."""
    with Manifest.open(path) as manifest:
        manifest.change(f"PRAGMA user_version = {version}")
    with pytest.raises(ManifestError, match=r"already exists|duplicate column") as raised:
        Manifest.open(path)
    assert "run sync again" in raised.value.cure


def test_a_newer_schema_is_refused_untouched(path: Path) -> None:
    """What a newer program wrote is not changed by a single byte (RELIABILITY L7)."""
    with closing(sqlite3.connect(path)) as other:
        other.execute(f"PRAGMA user_version = {len(MIGRATIONS) + 1}")
        other.execute("CREATE TABLE future (a)")
    before = path.read_bytes()
    with pytest.raises(StorageError, match=f"schema version {len(MIGRATIONS) + 1}") as raised:
        Manifest.open(path)
    assert not isinstance(raised.value, ManifestError)
    assert "newer" in raised.value.cure
    assert path.read_bytes() == before


def test_a_folder_that_is_not_there_is_told(tmp_path: Path) -> None:
    """A manifest that cannot be opened is a storage fault with a cure."""
    with pytest.raises(StorageError, match="unable to open") as raised:
        Manifest.open(tmp_path / "none" / NAME)
    assert "permissions" in raised.value.cure


# --- damage -----------------------------------------------------------------------------------------------------


def plant(what: str, place: Path) -> None:
    """Put something that is no file in a file's place."""
    if what == "a folder":
        place.mkdir()
    elif what == "a named pipe":
        os.mkfifo(place)
    else:
        place.with_name("canary").write_text("canary")
        place.symlink_to("canary")


@pytest.mark.parametrize("what", ["a folder", "a named pipe", "a symbolic link"])
def test_what_is_no_file_is_to_be_moved_away(path: Path, what: str) -> None:
    """It is left as it is, and told apart from a manifest that is lost."""
    plant(what, path)
    for opening in (Manifest.open, lambda path: reading(path, path.with_name("lock")).__enter__()):
        with pytest.raises(StorageError, match=f"{what}.* stands where the manifest is due") as got:
            opening(path)
        # who put it on another disk by a link has a good one, and another way to do so
        words = ("put the file itself", "state_dir") if "link" in what else ("move it", "rebuilds")
        assert all(word in got.value.cure for word in words)
    assert {one.name for one in path.parent.iterdir()} <= {path.name, "canary"}


@pytest.mark.parametrize("what", ["a folder", "a named pipe", "a symbolic link"])
@pytest.mark.parametrize("suffix", ["-journal", "-wal", "-shm"])
def test_a_log_that_is_no_file_is_to_be_moved_away(path: Path, what: str, suffix: str) -> None:
    """SQLite would wait for a pipe for ever, and write its log wherever a link leads."""
    Manifest.open(path).close()
    before = path.read_bytes()
    plant(what, Path(f"{path}{suffix}"))
    with pytest.raises(StorageError, match=f"{what}.* stands where a log of the man") as caught:
        Manifest.open(path)
    assert caught.value.path == f"{path}{suffix}"
    assert path.read_bytes() == before


def test_a_backup_is_not_written_through_a_link(path: Path) -> None:
    """What stands where the copy of an older manifest is due stays as it is, and the manifest is not brought forward."""
    Manifest.open(path, migrations=MIGRATIONS[:1]).close()
    place = Path(f"{path}.version-1")
    plant("a symbolic link", place)
    with pytest.raises(StorageError, match="a symbolic link stands") as caught:
        Manifest.open(path)
    assert caught.value.path == str(place)
    assert place.read_text() == "canary"


@pytest.mark.parametrize("what", ["a folder", "a named pipe", "a symbolic link"])
def test_no_reader_waits_for_what_stands_in_the_place_of_the_lock(
    path: Path, what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without permission to write a manifest is read under the lock, which must be a file."""
    Manifest.open(path).close()
    plant(what, path.with_name("lock"))
    monkeypatch.setattr(os, "access", lambda *_: False)
    with (
        pytest.raises(StorageError, match=r"is no regular file|a symbolic link stands"),
        reading(path, path.with_name("lock")),
    ):
        pytest.fail("it was read")


def filled(path: Path) -> None:
    """Make a manifest of many pages, whose last pass ended."""
    with Manifest.open(path) as manifest:
        number = manifest.begin_pass("quick")
        with manifest.transaction():
            manifest.change_each(
                "INSERT INTO meta VALUES (?, '1')", [(f"{n:05}" * 20,) for n in range(3000)]
            )
        manifest.end_pass(number, "quick", {}, whole=True)


@pytest.mark.parametrize(
    "content",
    [b"no database at all" * 100, b"SQLite format 3\0" + b"\xff" * 5000],
    ids=["text", "header"],
)
def test_what_is_no_database_is_damage(path: Path, content: bytes) -> None:
    """A file that SQLite does not know is to be set aside."""
    path.write_bytes(content)
    with pytest.raises(ManifestError) as raised:
        Manifest.open(path)
    assert raised.value.cure


@pytest.mark.parametrize("version", [0, -7])
def test_a_foreign_database_is_damage(path: Path, version: int) -> None:
    """Tables without our version number are no manifest: nothing is migrated over them."""
    with closing(sqlite3.connect(path)) as other:
        other.execute("CREATE TABLE meta (a)")
        other.execute(f"PRAGMA user_version = {version}")
    with pytest.raises(ManifestError, match="schema version"):
        Manifest.open(path)


def test_an_empty_file_is_a_new_manifest(path: Path) -> None:
    """A file emptied by a power cut is filled anew."""
    path.touch()
    with Manifest.open(path) as manifest:
        assert manifest.version() == len(MIGRATIONS)


def damage(path: Path, page: int) -> None:
    """Overwrite a page with nonsense."""
    with path.open("r+b") as file:
        file.seek(page * 4096)
        file.write(b"\xaa" * 4096)


def test_damage_is_looked_for_after_a_pass_that_did_not_end(path: Path) -> None:
    """A pass cut off, also by the damage itself, has the next start check the file: no crash loop (L7)."""
    filled(path)
    with Manifest.open(path) as manifest:
        manifest.begin_pass("quick")
    damage(path, path.stat().st_size // 4096 - 40)
    with pytest.raises(ManifestError, match="quick_check"):
        Manifest.open(path)


def test_a_log_left_behind_has_the_file_checked(path: Path) -> None:
    """A write-ahead log that is not empty means a kill or a power cut: the file is checked."""
    filled(path)
    damage(path, path.stat().st_size // 4096 - 40)
    path.with_name(f"{NAME}-wal").write_bytes(b"x" * 100)
    with pytest.raises(ManifestError, match="quick_check"):
        Manifest.open(path)


@pytest.mark.parametrize(
    ("code", "error"),
    [(266, StorageError), (10, StorageError), (11, ManifestError), (523, ManifestError)],
)
def test_a_page_that_cannot_be_read_is_no_damage(
    path: Path, monkeypatch: pytest.MonkeyPatch, code: int, error: type[StorageError]
) -> None:
    """SQLite tells a read error among the damage; the manifest must not be given up for it."""
    with Manifest.open(path) as manifest:
        manifest.begin_pass("quick")  # and is not ended
    plain = Manifest.rows

    def rows(
        manifest: Manifest, query: str, values: Iterable[Value] = ()
    ) -> list[tuple[Value, ...]]:
        if "quick_check" not in query:
            return plain(manifest, query, values)
        return [(f"Tree 2 page 2: unable to get the page. error code={code}",)]

    monkeypatch.setattr(Manifest, "rows", rows)
    with pytest.raises(StorageError) as raised:
        Manifest.open(path)
    assert type(raised.value) is error


def test_damage_met_later_is_named(path: Path) -> None:
    """A page that turns out to be damaged in the middle of a pass is told as damage, not as a bug."""
    filled(path)
    with Manifest.open(path) as manifest:
        damage(path, path.stat().st_size // 4096 - 40)
        with pytest.raises(ManifestError, match="malformed") as raised:
            list(manifest.each("SELECT * FROM meta"))
    assert "run sync" in raised.value.cure


@pytest.mark.parametrize(
    ("value", "says"), [('"{variant}/{image_ib}"', "layout"), ("7", "layout"), ("{", "no JSON")]
)
def test_one_that_says_what_cannot_be_is_not_opened(path: Path, value: str, says: str) -> None:
    """Whatever works by it would end in every run; only readers may still see what the rest says."""
    with Manifest.open(path) as manifest:
        manifest.change("INSERT INTO meta VALUES ('layout', ?)", [value])
        with pytest.raises(ManifestError, match=says) as raised:
            Manifest.open(path)
        assert "run sync" in raised.value.cure
        manifest.change("UPDATE meta SET key = 'of a newer version'")
        Manifest.open(path).close()


def test_what_can_be_done_without(manifest: Manifest) -> None:
    """It is taken for unknown where it is another thing."""
    assert manifest.noted("never", dict[str, int]) is None
    for found in ({"a": 1}, {"a": "1"}, [1], "a", None):
        manifest.set_meta({"a": found})
        assert manifest.noted("a", dict[str, int]) == ({"a": 1} if found == {"a": 1} else None)


@pytest.mark.parametrize(
    ("statement", "says"),
    [
        ("UPDATE meta SET value = CAST(x'22ff22' AS TEXT)", "UTF-8"),
        ("UPDATE meta SET value = '{'", "JSON"),
        (f"UPDATE meta SET value = '{'[' * 9999}'", "JSON"),
        ("ALTER TABLE meta RENAME TO mets", "no such table"),
        ("ALTER TABLE meta RENAME COLUMN value TO valse", "no such column"),
    ],
)
def test_what_makes_no_sense_is_damage(path: Path, statement: str, says: str) -> None:
    """A changed text or name is sound to SQLite's checks, and no bug of ours."""
    with Manifest.open(path) as manifest:
        manifest.set_meta({"a": 1})
        manifest.change(statement)
        assert manifest.rows("PRAGMA integrity_check(1)") == [("ok",)]
        with pytest.raises(UnreadableError, match=says) as raised:
            manifest.meta("a")
    assert "run sync" in raised.value.cure


def test_a_schema_that_is_no_text_is_damage(path: Path) -> None:
    """Python cannot even read what SQLite has to say of it."""
    Manifest.open(path).close()
    with closing(sqlite3.connect(path)) as other:
        other.execute("PRAGMA writable_schema = ON")
        other.execute(
            "UPDATE sqlite_master SET name = CAST(x'ff' AS TEXT), sql = 'CREATE' WHERE name = 'meta'"
        )
        other.commit()
    with pytest.raises(UnreadableError, match="schema"):
        Manifest.open(path)


def test_a_format_that_nobody_writes_is_damage(path: Path) -> None:
    """A head that allows reading only is no matter of permissions."""
    filled(path)
    data = bytearray(path.read_bytes())
    data[18] = 66
    path.write_bytes(data)
    with Manifest.open(path) as manifest, pytest.raises(UnreadableError, match="readonly"):
        manifest.begin_pass("quick")


# --- transactions -----------------------------------------------------------------------------------------------


def test_a_transaction_is_all_or_nothing(manifest: Manifest) -> None:
    """What fails in the middle leaves nothing, and the next one works."""
    with pytest.raises(sqlite3.IntegrityError), manifest.transaction():
        manifest.change_each("INSERT INTO meta VALUES (?, '1')", [("a",), ("b",), ("a",)])
    assert manifest.meta("a") is None
    with manifest.transaction():
        manifest.set_meta({"a": 2})
    assert manifest.meta("a") == 2


def test_mistakes_of_ours_are_not_storage_faults(manifest: Manifest) -> None:
    """A row that breaks a rule of the schema is a bug here, and shows as one."""
    with pytest.raises(sqlite3.IntegrityError), manifest.transaction():
        manifest.change(
            "INSERT INTO files (image_id, variant, state) VALUES ('a', 'large', 'lost')"
        )


def test_unknown_faults_have_a_cure_too(manifest: Manifest) -> None:
    """Whatever SQLite cannot do is told with the next step."""
    with pytest.raises(StorageError, match="no such table") as raised:
        manifest.rows("SELECT * FROM missing")
    assert raised.value.cure


def test_another_writer_is_told(manifest: Manifest, path: Path) -> None:
    """A file held by another program is a fault with a cure, and nothing is half done."""
    manifest.change("PRAGMA busy_timeout = 1")
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StorageError, match="locked") as raised, manifest.transaction():
            raise AssertionError
    assert "close it" in raised.value.cure


@needs_mount
def test_a_full_disk_leaves_the_manifest_whole(tmp_path: Path) -> None:
    """ENOSPC rolls back; what was committed is there, and with room it goes on (RELIABILITY L3)."""
    small = tmp_path / "small"
    small.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=512k", "none", small], check=True)
    try:
        with Manifest.open(small / NAME) as manifest:
            manifest.set_meta({"a": 1})
            with pytest.raises(StorageError, match="full") as raised, manifest.transaction():
                manifest.set_meta({f"k{n}": "x" * 1000 for n in range(2000)})
            assert "room" in raised.value.cure
            subprocess.run(["mount", "-o", "remount,size=4m", small], check=True)
            manifest.set_meta({"b": 2})
        with Manifest.open(small / NAME) as manifest:
            assert (manifest.meta("a"), manifest.meta("b")) == (1, 2)
            assert manifest.rows("PRAGMA integrity_check") == [("ok",)]
    finally:
        subprocess.run(["umount", small], check=True)


def test_a_killed_process_loses_no_commit(path: Path) -> None:
    """What a process had committed before kill -9 is there; what it had not is not."""
    script = (
        "import os, signal, sys; from pathlib import Path;"
        "from ninepic_mirror.archive.manifest import Manifest;"
        "m = Manifest.open(Path(sys.argv[1])); m.set_meta({'a': 1});"
        "m._connection.execute('BEGIN'); m.set_meta({'b': 2}); os.kill(os.getpid(), signal.SIGKILL)"
    )
    ended = subprocess.run([sys.executable, "-c", script, str(path)], check=False)
    assert ended.returncode == -9
    with Manifest.open(path) as manifest:
        assert (manifest.meta("a"), manifest.meta("b")) == (1, None)


def test_a_checkpoint_empties_the_log(manifest: Manifest, path: Path) -> None:
    """At the end of a pass everything stands in the one file."""
    manifest.set_meta({"a": 1})
    log = path.with_name(f"{NAME}-wal")
    assert log.stat().st_size > 0
    manifest.checkpoint()
    assert log.stat().st_size == 0


# --- passes -----------------------------------------------------------------------------------------------------


def test_no_number_of_a_pass_comes_twice(manifest: Manifest) -> None:
    """A new manifest begins behind the last pass that the lock knows of; a number that cannot be is damage."""
    assert manifest.last_pass() == 0
    assert manifest.begin_pass("quick", 7) == 8
    assert manifest.begin_pass("quick", 8) == 9
    manifest.change("UPDATE passes SET id = ? WHERE id = 9", [MOST_PASSES])
    with pytest.raises(UnreadableError, match="no pass has the number"):
        manifest.begin_pass("quick", 9)
    assert manifest.last_pass() == MOST_PASSES


def test_passes_are_numbered_and_remembered(manifest: Manifest) -> None:
    """A pass counts as whole only when it ended so, and one of a single day never."""
    assert manifest.begin_pass("quick") == 1
    assert manifest.begin_pass("quick") == 2
    assert abs(now() - manifest.count("SELECT started_at FROM passes WHERE id = 1")) < 60
    assert manifest.begin_pass("quick", 1) == 3
    manifest.end_pass(1, "quick", {"whole": False}, whole=False)
    assert manifest.meta("last_whole") is None
    manifest.end_pass(2, "day", {}, whole=True)
    assert manifest.meta("last_whole") is None
    manifest.end_pass(2, "full", {"whole": True}, whole=True)
    assert manifest.meta("last_whole") == manifest.count("SELECT ended_at FROM passes WHERE id = 2")
    assert manifest.rows("SELECT kind, whole, report FROM passes WHERE id = 2") == [
        ("full", 1, '{"whole": true}')
    ]


def test_looks_that_find_nothing_are_one_row(manifest: Manifest) -> None:
    """The next over the whole event takes the place of one; what did something, was cut off or asked for less stays."""

    def make(*kinds: str) -> list[tuple[object, object]]:
        for kind in kinds:
            number = manifest.begin_pass("quick")
            if kind != "cut off":
                manifest.end_pass(number, kind, {}, whole=True)
        return [(row[0], row[1]) for row in manifest.rows("SELECT id, kind FROM passes")]

    assert make("full", "partial", *["quick"] * 50) == [(1, "full"), (2, "partial"), (52, "quick")]
    kept = [(1, "full"), (2, "partial"), (53, "partial")]
    assert make("partial", "quick", "day", "variant") == [
        *kept, (54, "quick"), (55, "day"), (56, "variant")
    ]  # fmt: skip
    assert make("quick", "cut off", "quick", "full")[3:] == [
        (54, "quick"), (55, "day"), (56, "variant"), (57, "quick"), (58, "quick"), (60, "full")
    ]  # fmt: skip


def test_null_counts_as_zero(manifest: Manifest) -> None:
    """The maximum of nothing is 0."""
    assert manifest.count("SELECT max(id) FROM passes") == 0


# --- reading ----------------------------------------------------------------------------------------------------


@pytest.fixture
def no_write(monkeypatch: pytest.MonkeyPatch) -> None:
    """Be a user without write permission; root has it everywhere, so the question itself is answered here."""
    monkeypatch.setattr(os, "access", lambda *_: False)


def test_readers_see_a_running_pass(manifest: Manifest, path: Path, tmp_path: Path) -> None:
    """With permission, the log of a running pass is read too, and nothing can be changed."""
    manifest.set_meta({"a": 1})
    with reading(path, tmp_path / "lock") as (reader, unread):
        assert reader.meta("a") == 1
        assert not unread
        with pytest.raises(StorageError, match="readonly"):
            reader.set_meta({"a": 2})


@pytest.mark.usefixtures("no_write")
def test_readers_without_permission_say_what_they_do_not_see(
    manifest: Manifest, path: Path, tmp_path: Path
) -> None:
    """Without permission the file alone is read, and a log that is not empty is told (DESIGN §10)."""
    (tmp_path / "lock").touch()
    manifest.set_meta({"a": 1})
    manifest.checkpoint()
    with reading(path, tmp_path / "lock") as (reader, unread):
        assert (reader.meta("a"), unread) == (1, False)
    manifest.set_meta({"a": 2})
    with reading(path, tmp_path / "lock") as (reader, unread):
        assert (reader.meta("a"), unread) == (1, True)


@pytest.mark.usefixtures("no_write")
def test_readers_do_not_call_a_manifest_damaged_whose_log_they_cannot_read(
    manifest: Manifest, path: Path, tmp_path: Path
) -> None:
    """Killed early, all of it is in the log still: the error says so, and not that the disk is failing."""
    (tmp_path / "lock").touch()
    manifest.set_meta({"a": 1})
    early = tmp_path / "early.sqlite3"
    early.touch()  # the file itself had nothing yet
    log = path.with_name(f"{path.name}-wal").read_bytes()
    (tmp_path / "early.sqlite3-wal").write_bytes(log)
    with (
        pytest.raises(StorageError, match="without its log") as caught,
        reading(early, tmp_path / "lock") as (reader, _),
    ):
        reader.meta("a")
    assert "owner" in caught.value.cure


@pytest.mark.usefixtures("no_write")
def test_readers_call_a_manifest_damaged_that_is(tmp_path: Path) -> None:
    """Without a log there is nothing else to blame."""
    (tmp_path / "lock").touch()
    bad = tmp_path / "bad.sqlite3"
    bad.write_bytes(b"no manifest" * 1000)
    with (
        pytest.raises(ManifestError, match="not a database"),
        reading(bad, tmp_path / "lock") as (reader, _),
    ):
        reader.meta("a")


@pytest.mark.usefixtures("no_write")
def test_readers_without_permission_keep_off_a_pass(path: Path, tmp_path: Path) -> None:
    """The file may change under an immutable reader: it waits for no pass, and no pass starts meanwhile."""
    Manifest.open(path).close()
    lock = tmp_path / "lock"
    with lock.open("w") as holder:
        fcntl.flock(holder, fcntl.LOCK_EX)
        with pytest.raises(StorageError, match="a pass is at work"), reading(path, lock):
            raise AssertionError
        fcntl.flock(holder, fcntl.LOCK_UN)
        with reading(path, lock), pytest.raises(BlockingIOError):
            fcntl.flock(holder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        fcntl.flock(holder, fcntl.LOCK_EX | fcntl.LOCK_NB)


@pytest.mark.usefixtures("no_write")
def test_readers_need_the_lock_file(path: Path, tmp_path: Path) -> None:
    """Without a lock file nothing says that no pass is at work."""
    with pytest.raises(StorageError, match="No such file"), reading(path, tmp_path / "lock"):
        raise AssertionError


def test_a_manifest_that_is_not_there_is_not_made(path: Path, tmp_path: Path) -> None:
    """A reader never leaves an empty manifest behind."""
    with pytest.raises(StorageError), reading(path, tmp_path / "lock"):
        raise AssertionError
    assert not path.exists()


def fill(folder: Path) -> None:
    """Fill a file system to its last byte."""
    descriptor = os.open(folder / "fill", os.O_CREAT | os.O_WRONLY)
    try:
        while True:
            os.write(descriptor, bytes(4096))
    except OSError as error:
        assert error.errno == errno.ENOSPC  # noqa: PT017  it ends the loop, and must be this one
    finally:
        os.close(descriptor)


@needs_mount
@pytest.mark.parametrize("options", ["size=512k", "size=4m,nr_inodes=3"])
def test_a_disk_full_to_the_last_byte_is_called_full(tmp_path: Path, options: str) -> None:
    """SQLite calls it an I/O error; people are told to make room, and can still read what there is."""
    place = tmp_path / "small"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "none", place], check=True)
    lock = tmp_path / "lock"
    lock.touch()
    try:
        with Manifest.open(tmp_path / NAME) as manifest:
            manifest.set_meta({"a": 1})
        shutil.copy(tmp_path / NAME, place / NAME)
        fill(place)
        with pytest.raises(StorageError, match="the disk is full") as raised:
            Manifest.open(place / NAME)
        assert "room" in raised.value.cure
        with reading(place / NAME, lock) as (reader, unread):
            assert (reader.meta("a"), unread) == (1, False)
    finally:
        subprocess.run(["umount", place], check=True)


def test_a_reader_that_meets_damage_says_so(path: Path, tmp_path: Path) -> None:
    """Only what a read-only reader does better is tried again: damage is told, and needs no lock."""
    path.write_bytes(b"no database at all" * 100)
    with pytest.raises(ManifestError), reading(path, tmp_path / "lock"):
        raise AssertionError


@needs_mount
def test_a_read_only_mirror_can_be_read(tmp_path: Path) -> None:
    """On a file system mounted read-only the manifest is read as it is."""
    place = tmp_path / "ro"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "none", place], check=True)
    try:
        with Manifest.open(place / NAME) as manifest:
            manifest.set_meta({"a": 1})
        (place / "lock").touch()
        subprocess.run(["mount", "-o", "remount,ro", place], check=True)
        with reading(place / NAME, place / "lock") as (reader, unread):
            assert (reader.meta("a"), unread) == (1, False)
        with pytest.raises(StorageError, match="cannot be used"):
            Manifest.open(place / NAME)
    finally:
        subprocess.run(["umount", place], check=True)


def test_a_long_question_ends(tmp_path: Path) -> None:
    """A statement over a large manifest does not outlive the run that asked."""
    endless = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT max(i) FROM n"
    with Manifest.open(tmp_path / "manifest.sqlite3") as manifest:
        manifest.end_when(lambda: True)
        with pytest.raises(StorageError, match="interrupted"):
            manifest.rows(endless)
