"""A manifest that is behind the list of what was to be forgotten: readers see what `forget` would leave."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from ninepic_mirror.archive import lock
from ninepic_mirror.archive.balance import balance, counted
from ninepic_mirror.archive.forgotten import FILE, Oblivion
from ninepic_mirror.archive.manifest import Manifest, reading
from ninepic_mirror.archive.veiled import is_behind, veil
from tests.shelf import SIX, VARIANTS, Shelf, open_shelf, window

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

TABLES = ("photos", "files", "forgotten")


@pytest.fixture
def shelf(tmp_path: Path) -> Iterator[Shelf]:
    """An event folder."""
    with open_shelf(tmp_path) as found:
        (found.folder / lock.PATH).touch()
        yield found


def dump(manifest: Manifest) -> dict[str, list[str]]:
    """Return what the tables say, but when something was forgotten, and whether it is erased."""
    found: dict[str, list[str]] = {}
    for table in TABLES:
        columns = [str(row[1]) for row in manifest.rows(f"PRAGMA main.table_info({table})")]
        shown = ", ".join(one for one in columns if one not in {"forgotten_at", "erased"})
        found[table] = sorted(map(str, manifest.rows(f"SELECT {shown} FROM {table}")))
    return found


def test_it_reads_as_if_it_had_forgotten(shelf: Shelf) -> None:
    """Row for row, though the photo is in it with all that was known."""
    shelf.have(window(SIX), "victim", "other")
    shelf.manifest.set_meta({"balance": {"pass": 1}})
    older = shelf.folder / "older"
    with closing(sqlite3.connect(older)) as copy:
        shelf.manifest._connection.backup(copy)
    forget = Oblivion(shelf.manifest, shelf.tree, shelf.layout)
    forget.remember(["victim", "never-seen"])
    assert is_behind(shelf.manifest, shelf.folder)
    forget.finish(["victim"])
    assert not is_behind(shelf.manifest, shelf.folder)
    with reading(older, shelf.folder / lock.PATH) as (manifest, _):
        assert "victim" in str(dump(manifest))
        assert is_behind(manifest, shelf.folder)
        veil(manifest, shelf.folder)
        assert dump(manifest) == dump(shelf.manifest)
        assert balance(manifest, VARIANTS) == balance(shelf.manifest, VARIANTS)
        assert counted(manifest, VARIANTS) is None
        assert manifest.count("PRAGMA query_only") == 1
    assert older.read_bytes().count(b"victim") > 0


@pytest.mark.parametrize("text", [None, "nonsense\n"])
def test_nothing_to_hide(shelf: Shelf, text: str | None) -> None:
    """Without a list, or with one that only a pass may judge, tables are tables."""
    shelf.have(window(SIX), "victim")
    if text is not None:
        (shelf.folder / FILE).write_text(text)
    with reading(shelf.manifest.path, shelf.folder / lock.PATH) as (manifest, _):
        veil(manifest, shelf.folder)
        assert manifest.rows("SELECT count(*) FROM temp.sqlite_master") == [(0,)]
        assert manifest.rows("SELECT DISTINCT image_id FROM files") == [("victim",)]
