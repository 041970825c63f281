"""What must be true of an event folder whatever happened to it (DESIGN §7), in one place for all crash tests."""

from __future__ import annotations

import hashlib
import json
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Collection
    from pathlib import Path

    Body = Callable[[str, str], bytes]

OWN = ".ninepic-mirror"
WRITTEN = {"SHA256SUMS", "event.json"}  # ours, and no photo
VARIANTS = ("thumbnail", "large", "original")


class Row(NamedTuple):
    """A row of `files` in state `present`."""

    image_id: str
    variant: str
    path: str
    size: int
    sha256: str


def rows(folder: Path, state: str = "present") -> list[Row]:
    """Return the rows of a state; none where no manifest stands yet."""
    path = folder / OWN / "manifest.sqlite3"
    if not path.exists():
        return []
    with closing(sqlite3.connect(path)) as connection:
        if not connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'files'").fetchall():
            return []  # killed before the first transaction
        found = connection.execute(
            "SELECT image_id, variant, path, size, sha256 FROM files WHERE state = ?", [state]
        )
        return [Row(*row) for row in found]


def hours_left_short(folder: Path) -> list[int]:
    """Return the hours that list fewer photos than reported, and that the last pass did not list, by their start."""
    with closing(sqlite3.connect(folder / OWN / "manifest.sqlite3")) as connection:
        found = connection.execute(
            "SELECT start FROM hours WHERE listed + repeated < reported AND pass < (SELECT max(id) FROM passes)"
        )
        return [start for (start,) in found]


def final_files(folder: Path) -> dict[str, Path]:
    """Return every file under a final name by its relative path."""
    return {
        str(path.relative_to(folder)): path
        for path in folder.rglob("*")
        if path.is_file() and OWN not in path.relative_to(folder).parts and path.name not in WRITTEN
    }


def named(path: str) -> tuple[str, str]:
    """Return the photo and variant of a file under a final name, in any layout that names them."""
    variant = next((one for one in ("thumbnail", "original") if one in path), "large")
    stem = path.rpartition("/")[2].rpartition(".")[0]
    return stem.removesuffix(f"_{variant}"), variant


def check_truth(
    folder: Path, body: Body, damaged: Collection[int] = (), deleted: Collection[str] = ()
) -> int:
    """Assert that no row lies and that every file under a final name is whole and right.

    Args:
        folder: The event folder.
        body: `image_id` and variant → the bytes of the service.
        damaged: Inodes of files that the test itself has cut short.
        deleted: Files that the test has taken away and no pass had a chance to notice.

    Returns:
        How many rows are present.
    """
    check_count(folder)
    present = rows(folder)
    moving = {row.path: row for row in moves(folder)}
    for row in present:
        path = folder / row.path
        if not path.exists() and row.path in moving:
            path = folder / moving[row.path].target
        if not path.exists() and row.path in deleted:
            continue
        assert path.is_file(), f"a row lies: {row}"
        if path.stat().st_ino in damaged:
            continue
        content = path.read_bytes()
        assert len(content) == row.size, row
        assert hashlib.sha256(content).hexdigest() == row.sha256, row
        assert content == body(row.image_id, row.variant), row
    for name, path in final_files(folder).items():
        if path.stat().st_ino in damaged:
            continue
        image_id, variant = named(name)
        assert path.read_bytes() == body(image_id, variant), f"under a final name: {name}"
    return len(present)


def check_count(folder: Path) -> bool:
    """Assert that what the last pass counted, where it may be believed, is what there is; return whether it may."""
    path = folder / OWN / "manifest.sqlite3"
    if not path.exists():
        return False
    with closing(sqlite3.connect(path)) as connection:
        if not connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'files'").fetchall():
            return False
        found = connection.execute("SELECT value FROM meta WHERE key = 'balance'").fetchone()
        kept = json.loads(found[0]) if found else None
        last = connection.execute("SELECT id, ended_at FROM passes ORDER BY id DESC").fetchone()
        if kept is None or last is None or last[1] is None or kept[0] != last[0]:
            return False
        _, variants, *counts = kept
        marks = ",".join("?" * len(variants))
        listed = "gone_since IS NULL AND missed = 0"
        photos, undated = connection.execute(
            f"SELECT count(*), count(*) - count(taken) FROM photos WHERE {listed}"
        ).fetchone()
        present, failed, had = connection.execute(
            "SELECT count(*) FILTER (WHERE state = 'present'), count(*) FILTER (WHERE state = 'failed'),"
            f" count(*) FILTER (WHERE state IN ('present', 'forgotten') AND {listed})"
            f" FROM files JOIN photos USING (image_id) WHERE variant IN ({marks})",
            variants,
        ).fetchone()
    assert counts == [photos, undated, present, failed, photos * len(variants) - had]
    return True


class Move(NamedTuple):
    """A move that the journal names."""

    path: str
    target: str


def moves(folder: Path) -> list[Move]:
    """Return the moves that the journal names, of files that are under way to another place."""
    path = folder / OWN / "manifest.sqlite3"
    if not path.exists():
        return []
    with closing(sqlite3.connect(path)) as connection:
        if not connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'files'").fetchall():
            return []
        found = connection.execute("SELECT path, moving_to FROM files WHERE moving_to IS NOT NULL")
        return [Move(*row) for row in found]


def _unvouched(folder: Path) -> set[str]:
    """Return the files that may have a line in SHA256SUMS although no row calls them present."""
    with closing(sqlite3.connect(folder / OWN / "manifest.sqlite3")) as connection:
        found = connection.execute(
            "SELECT path FROM named UNION SELECT path FROM files WHERE state <> 'present' AND path IS NOT NULL"
        )
        return {str(row[0]) for row in found}


def check_settled(folder: Path, damaged: Collection[int] = ()) -> None:
    """Assert what a pass that ran to its end leaves: no journal, nothing partial, true SHA256SUMS and event.json."""
    assert check_count(folder)
    assert not moves(folder)
    assert not [path for path in (folder / OWN / "partial").rglob("*") if path.is_file()]
    present = {row.path: row.sha256 for row in rows(folder)}
    for top in {path.rpartition("/")[0].partition("/")[0] for path in present}:
        named = {}
        for line in (folder / top / "SHA256SUMS").read_text().splitlines():
            sha256, _, name = line.partition("  ")
            named[f"{top}/{name}" if top else name] = sha256
        here = {
            path: sha256
            for path, sha256 in present.items()
            if path.startswith(f"{top}/" * bool(top))
        }
        assert {path: named.get(path) for path in here} == here
        # a line that no row vouches for is kept as long as its file stands: it is all that tells what that was
        extra = named.keys() - here.keys()
        assert extra <= _unvouched(folder)
        for path in extra:
            if (folder / path).stat().st_ino in damaged:
                continue  # cut short by the test, and could not be had anew
            assert hashlib.sha256((folder / path).read_bytes()).hexdigest() == named[path]
    for path, sha256 in present.items():
        if (folder / path).stat().st_ino not in damaged:
            assert hashlib.sha256((folder / path).read_bytes()).hexdigest() == sha256
    about = json.loads((folder / "event.json").read_text())
    with closing(sqlite3.connect(folder / OWN / "manifest.sqlite3")) as connection:
        query = "SELECT count(*), count(*) - count(taken) FROM photos WHERE gone_since IS NULL"
        assert (about["photos"], about["undated"]) == connection.execute(query).fetchone()
    assert sum(day["photos"] for day in about["days"]) == about["photos"] - about["undated"]
