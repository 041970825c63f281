"""The manifest's tables: a public format."""

from __future__ import annotations

import sqlite3
from contextlib import closing

import pytest

from ninepic_mirror.archive.schema import MIGRATIONS

# DESIGN §5 promises these to whoever reads the file.
PROMISED = {
    "photos": "image_id hour position width height first_seen last_seen gone_since",
    "files": (
        "image_id variant path url size xxh3_128 sha256 etag last_modified state attempts error fetched_at"
    ),
    "hours": "start reported listed listed_at",
    "passes": "id",
    "deliveries": "id",
    "meta": "key value",
}


@pytest.mark.parametrize("table", PROMISED)
def test_promised_columns_are_there(table: str) -> None:
    """Every column that the design names exists."""
    with closing(sqlite3.connect(":memory:")) as made:
        for script in MIGRATIONS:
            made.executescript(script)
        columns = {row[1] for row in made.execute(f"PRAGMA table_info({table})")}
    assert columns >= set(PROMISED[table].split())


@pytest.mark.parametrize("state", ["pending", "present", "failed", "gone", "forgotten", "lost"])
def test_only_known_states_are_taken(state: str) -> None:
    """A file is in one of the five states of DESIGN §5, or not in the table."""
    with closing(sqlite3.connect(":memory:")) as made:
        made.executescript(MIGRATIONS[0])
        insert = "INSERT INTO files (image_id, variant, state) VALUES ('a', 'large', ?)"
        if state == "lost":
            with pytest.raises(sqlite3.IntegrityError):
                made.execute(insert, [state])
        else:
            assert made.execute(insert, [state]).rowcount == 1


@pytest.mark.parametrize(
    ("query", "index"),
    [
        (
            "SELECT 1 FROM files WHERE state IN ('pending', 'failed')"  # noqa: ISC004  one statement
            " AND (image_id, variant) > ('', '') ORDER BY image_id, variant LIMIT 500",
            "files_wanted",
        ),
        ("SELECT path FROM files WHERE xxh3_128 = 'a' AND state = 'present'", "files_by_hash"),
        ("SELECT 1 FROM files WHERE folder = 'a'", "files_by_folder"),
        ("SELECT 1 FROM files WHERE moving_to IS NOT NULL", "files_moving"),
        ("SELECT image_id FROM photos WHERE misplaced LIMIT 500", "photos_misplaced"),
        ("SELECT count(*) FROM photos WHERE missed", "photos_missed"),
        ("UPDATE photos SET missed = 1 WHERE taken = 5 AND window_reading < 3", "photos_by_taken"),
    ],
)
def test_frequent_questions_use_an_index(query: str, index: str) -> None:
    """With a million photos none of these may look at every row, or sort."""
    with closing(sqlite3.connect(":memory:")) as made:
        made.executescript(MIGRATIONS[0])
        plan = " ".join(str(row[3]) for row in made.execute(f"EXPLAIN QUERY PLAN {query}"))
    assert index in plan
    assert "TEMP B-TREE" not in plan
