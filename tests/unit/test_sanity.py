"""Whether a manifest makes sense, beyond what SQLite sees."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from ninepic_mirror.archive.manifest import Manifest
from ninepic_mirror.archive.sanity import complaint
from ninepic_mirror.archive.schema import MIGRATIONS
from ninepic_mirror.archive.sqlite_errors import ManifestError
from tests.shelf import SIX, Shelf, open_shelf, window

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def shelf(tmp_path: Path) -> Iterator[Shelf]:
    """An event with two photos."""
    with open_shelf(tmp_path) as shelf:
        shelf.have(window(SIX), "a", "b")
        yield shelf


@pytest.mark.parametrize("thorough", [True, False])
def test_a_whole_one(shelf: Shelf, thorough: bool) -> None:
    """Nothing is wrong with one that a pass has written."""
    assert complaint(shelf.manifest, thorough=thorough) is None


def test_one_of_an_older_version(tmp_path: Path) -> None:
    """It need not have what came later."""
    path = tmp_path / "manifest.sqlite3"
    with closing(sqlite3.connect(path)) as made:
        made.executescript(MIGRATIONS[0] + "PRAGMA user_version = 1;")
        assert complaint(Manifest(path, made), thorough=True) is None


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        ("DROP TABLE deliveries", "no deliveries.bag_id"),
        ("ALTER TABLE named RENAME COLUMN sha256 TO sha257", "no named.sha256"),
    ],
)
def test_tables(shelf: Shelf, damage: str, says: str) -> None:
    """A table or column that is not there is missed, also where nothing has asked for it yet."""
    shelf.manifest.change(damage)
    assert says in str(complaint(shelf.manifest, thorough=False))


@pytest.mark.parametrize("version", range(1, len(MIGRATIONS)))
@pytest.mark.parametrize("thorough", [True, False])
def test_a_version_that_is_lower_than_the_tables(
    shelf: Shelf, version: int, thorough: bool
) -> None:
    """What no pass could bring forward is damaged, though all that the version should have is there."""
    shelf.manifest.change(f"PRAGMA user_version = {version}")
    said = str(complaint(shelf.manifest, thorough=thorough))
    assert f"it has more than schema version {version}: " in said


def test_whose_rows(shelf: Shelf) -> None:
    """Files of photos that are not known would be read by nobody."""
    shelf.manifest.change("UPDATE photos SET image_id = 'c' WHERE image_id = 'a'")
    assert "does not know" in str(complaint(shelf.manifest, thorough=True))


@pytest.mark.parametrize(
    "change",
    [
        "path = NULL, folder = NULL",
        "sha256 = NULL",
        "folder = NULL",
        "folder = 'other'",
        "folder = '2026-01-19'",
        "path = '/etc/passwd', folder = '/etc'",
        "path = '../passwd', folder = '..'",
        "path = 'a/../passwd', folder = 'a/..'",
        "path = '.ninepic-mirror/manifest.sqlite3', folder = '.ninepic-mirror'",
        "path = './.Ninepic-Mirror/lock', folder = './.Ninepic-Mirror'",
        "path = '.ninepic-mirror', folder = ''",
        "path = '.ninepic-mirror/trash/a.jpg', folder = '.ninepic-mirror/trash'",
        "state = 'gone', path = '.ninepic-mirror/forgotten', folder = '.ninepic-mirror'",
        "state = 'forgotten', path = '.ninepic-mirror/trash/a', folder = '.ninepic-mirror/trash'",
        "moving_to = '.ninepic-mirror/manifest.sqlite3'",
        "state = 'gone', moving_to = '.ninepic-mirror/trash/../lock'",
        "moving_to = '/etc/passwd'",
    ],
)
@pytest.mark.parametrize("thorough", [True, False])
def test_rows_that_contradict_themselves(shelf: Shelf, change: str, thorough: bool) -> None:
    """A file without a place is looked at by nobody, one outside the folder or among what is ours must not be."""
    shelf.manifest.change(f"UPDATE files SET {change} WHERE image_id = 'a'")
    assert "contradicts itself" in str(complaint(shelf.manifest, thorough=thorough))


@pytest.mark.parametrize(
    "change",
    [
        "state = 'pending', path = NULL, folder = NULL, sha256 = NULL",
        "path = 'a.jpg', folder = ''",
        "state = 'gone', path = '.ninepic-mirror/trash/a.jpg', folder = '.ninepic-mirror/trash'",
        "state = 'pending', path = '.ninepic-mirror/trash/a.jpg', folder = '.ninepic-mirror/trash'",
        "state = 'gone', moving_to = '.ninepic-mirror/trash/2026-01-19/a.jpg'",
    ],
)
def test_rows_that_are_right(shelf: Shelf, change: str) -> None:
    """What is to be had, what stands in the event's folder itself, what lies in the trash."""
    shelf.manifest.change(f"UPDATE files SET {change} WHERE image_id = 'a'")
    assert complaint(shelf.manifest, thorough=True) is None


def test_a_file_that_makes_room_for_another(shelf: Shelf) -> None:
    """Of files in a ring one steps aside into the trash, and is present there until the others have moved."""
    change = "path = '.ninepic-mirror/trash/a.jpg', folder = '.ninepic-mirror/trash'"
    shelf.manifest.change("UPDATE photos SET misplaced = 1 WHERE image_id = 'a'")
    shelf.manifest.change(f"UPDATE files SET {change} WHERE image_id = 'a'")
    assert complaint(shelf.manifest, thorough=True) is None


@pytest.mark.parametrize("thorough", [True, False])
def test_notes(shelf: Shelf, thorough: bool) -> None:
    """What `meta` says must be what can be."""
    shelf.manifest.set_meta({"layout": "{variant}/{image_ib}"})
    assert "meta makes no sense" in str(complaint(shelf.manifest, thorough=thorough))


@pytest.mark.parametrize(
    ("table", "column", "value"),
    [
        ("files", "size", "'abc'"),
        ("files", "size", "x'616263'"),
        ("files", "verified_at", "''"),
        ("files", "attempts", "0.5"),
        ("files", "etag", "x'616263'"),
        ("photos", "taken", "'abc'"),
        ("photos", "taken", "1e999"),
        ("photos", "taken", "9223372036854775807"),
        ("photos", "hour", "253402300800"),
        ("hours", "start", "-62135596801"),
        ("hours", "reported", "'x'"),
        ("meta", "value", "x'7b7d'"),
        ("passes", "report", "x'7b7d'"),
    ],
)
@pytest.mark.parametrize("thorough", [True, False])
def test_values_that_cannot_be(
    shelf: Shelf, table: str, column: str, value: str, thorough: bool
) -> None:
    """What SQLite keeps in a column, of whatever type and size, would end the first who reckons with it."""
    shelf.manifest.set_meta({"a": 1})
    shelf.manifest.begin_pass("quick")
    shelf.manifest.change("INSERT OR IGNORE INTO hours VALUES (0, 1, 1, 1, 0, 0, 1)")
    assert complaint(shelf.manifest, thorough=thorough) is None
    assert shelf.manifest.change(f"UPDATE {table} SET {column} = {value}")
    said = str(complaint(shelf.manifest, thorough=thorough))
    assert f"a value in {table} is none that can be there" in said


def test_a_text_of_digits_is_no_number(tmp_path: Path) -> None:
    """Nor a number a text: one bit of a row's head makes one of the other, which no column converts then."""
    path = tmp_path / "manifest.sqlite3"
    for script, row in (
        ("CREATE TABLE named (path, sha256 TEXT NOT NULL, PRIMARY KEY (path)) WITHOUT ROWID", (5, "a")),
        ("CREATE TABLE sums (folder TEXT PRIMARY KEY, stale, filled, sha256, size, mtime_ns) WITHOUT ROWID", ("a", "1", 0, "x", 1, 1)),
    ):  # fmt: skip
        path.unlink(missing_ok=True)
        with closing(sqlite3.connect(path)) as made:
            table = script.split()[2]
            made.executescript(";".join(MIGRATIONS))
            made.executescript(
                f"DROP TABLE {table}; {script}; PRAGMA user_version = {len(MIGRATIONS)}"
            )
            with made:
                made.execute(f"INSERT INTO {table} VALUES ({','.join('?' * len(row))})", row)
            said = str(complaint(Manifest(path, made), thorough=False))
        assert f"a value in {table} is none that can be there" in said


@pytest.mark.parametrize("column", ["error", "etag", "url"])
def test_texts(shelf: Shelf, column: str) -> None:
    """A text that is no UTF-8 is found in whatever column."""
    shelf.manifest.change(f"UPDATE files SET {column} = CAST(x'a0a1ff' AS TEXT)")
    assert complaint(shelf.manifest, thorough=False) is None
    with pytest.raises(ManifestError):
        complaint(shelf.manifest, thorough=True)
