"""What ought to be on disk, by the manifest: the order of the list, one row again, what is nobody's."""

from __future__ import annotations

import errno
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from ninepic_mirror.archive import inventory
from ninepic_mirror.archive.inventory import List
from ninepic_mirror.archive.manifest import Manifest
from ninepic_mirror.archive.schema import MIGRATIONS
from ninepic_mirror.archive.store import TRASH
from tests.shelf import SIX, Shelf, open_shelf, window

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from ninepic_mirror.archive.files import Kind
    from ninepic_mirror.archive.verify import Entry


@pytest.fixture
def shelf(tmp_path: Path) -> Iterator[Shelf]:
    """An event with three photos in two hours."""
    with open_shelf(tmp_path) as shelf:
        shelf.have(window(SIX), "a", "b")
        shelf.have(window(SIX - 3600), "c")
        yield shelf


def listed(manifest: Manifest, stamp: int, *, quick: bool = False) -> list[Entry]:
    """Return the whole list."""
    found: list[Entry] = []
    files = List(stamp, quick=quick)
    while some := files.next(manifest):
        found += some
    assert files.next(manifest) == []
    assert files.count(manifest) >= len(found)
    return found


def names(entries: list[Entry]) -> str:
    """Return which large files are there, in their order."""
    return "".join(one.image_id for one in entries if one.variant == "large")


@pytest.mark.parametrize("chunk", [1, 2, 500])
def test_longest_ago_first(shelf: Shelf, monkeypatch: pytest.MonkeyPatch, chunk: int) -> None:
    """First what was lost, then what was never verified, by folder, then the oldest; nothing twice in one run."""
    monkeypatch.setattr(inventory, "_LIST", chunk)
    manifest = shelf.manifest
    assert names(listed(manifest, 10)) == "cab"
    everything = listed(manifest, 10)
    inventory.record(manifest, [one for one in everything if one.image_id == "b"], 5)
    inventory.record(manifest, [one for one in everything if one.image_id == "c"], 4)
    assert names(listed(manifest, 10)) == "acb"
    assert names(listed(manifest, 5)) == "ac"  # what this run has verified does not come again
    assert names(listed(manifest, 5, quick=True)) == "cab"
    shelf.holdings.lost("2026-01-19/06/large", [("b", "large")])
    assert names(listed(manifest, 10)) == "bac"


def test_what_was_lost_before(shelf: Shelf) -> None:
    """It stays on the list, also while its photo is missed; not when it left the event, nor what was never had."""
    shelf.holdings.lost("2026-01-19/06/large", [("a", "large"), ("a", "thumbnail")])
    shelf.manifest.change("UPDATE photos SET missed = 1 WHERE image_id = 'a'")
    shelf.manifest.change(
        "UPDATE files SET sha256 = NULL WHERE image_id = 'a' AND variant = 'thumbnail'"
    )
    lost = [one for one in listed(shelf.manifest, 10) if one.state == "pending"]
    assert [one.key for one in lost] == [("a", "large")]
    assert inventory.again(shelf.manifest, ("a", "thumbnail")) is None
    assert inventory.again(shelf.manifest, ("a", "large")) == lost[0]
    shelf.manifest.change("UPDATE photos SET gone_since = 1 WHERE image_id = 'a'")
    assert inventory.again(shelf.manifest, ("a", "large")) is None


def test_what_is_wanted(shelf: Shelf) -> None:
    """As the last pass noted it; before there was one, everything."""
    assert inventory.wanted(shelf.manifest) == ["thumbnail", "large", "original"]
    shelf.manifest.set_meta({"wanted": ["large"]})
    assert inventory.wanted(shelf.manifest) == ["large"]


def test_what_a_new_manifest_read_of_the_sums(shelf: Shelf) -> None:
    """Until a pass has ended, nobody knows whether what it could not place is all that is left over."""
    shelf.holdings.lines.name([("a/old.jpg", "z")])
    assert inventory.named(shelf.manifest, ["a/old.jpg", "a/other.jpg"]) == {"a/old.jpg": "z"}
    assert inventory.is_unfinished(shelf.manifest)
    shelf.manifest.set_meta({"adopted": True})
    assert not inventory.is_unfinished(shelf.manifest)


def test_who_vouches_for_a_place_or_for_bytes(shelf: Shelf) -> None:
    """Only what is present does."""
    row = next(one for one in listed(shelf.manifest, 10) if one.key == ("a", "large"))
    assert row.path is not None
    assert inventory.at(shelf.manifest, row.path) == row
    assert inventory.unheld(shelf.manifest, [str(row.sha256), "other"]) == {"other"}
    shelf.manifest.change("UPDATE files SET state = 'failed', sha256 = 'z' WHERE image_id = 'a'")
    assert inventory.at(shelf.manifest, row.path) is None
    assert inventory.unheld(shelf.manifest, ["z"]) == {"z"}


def test_what_left_is_read_like_any_other(shelf: Shelf) -> None:
    """The file of a photo that left the event is promised at its place; in the trash, or never had, it is not."""
    shelf.manifest.change("UPDATE files SET state = 'gone' WHERE image_id IN ('a', 'b')")
    shelf.manifest.change(
        "UPDATE files SET path = '.ninepic-mirror/trash/2026-01-19/' || path WHERE image_id = 'b'"
    )
    everything = listed(shelf.manifest, 10)
    assert names(everything) == "ca"
    inventory.record(shelf.manifest, everything, 10)
    assert names(listed(shelf.manifest, 10)) == ""
    assert names(listed(shelf.manifest, 11)) == "ca"
    kept = inventory.again(shelf.manifest, ("a", "large"))
    assert kept is not None
    assert kept.is_gone
    assert inventory.again(shelf.manifest, ("b", "large")) is None
    shelf.manifest.change("UPDATE files SET sha256 = NULL WHERE image_id = 'a'")
    assert inventory.again(shelf.manifest, ("a", "large")) is None


def test_twins(shelf: Shelf) -> None:
    """Equal bytes, wherever they stand and whatever became of their photos."""
    shelf.manifest.change("UPDATE files SET sha256 = variant WHERE image_id IN ('a', 'c')")
    shelf.manifest.change("UPDATE files SET state = 'gone' WHERE image_id = 'a'")
    shelf.manifest.change("UPDATE files SET path = NULL WHERE variant = 'thumbnail'")
    found = inventory.twins(shelf.manifest, ["large", "thumbnail", None])
    assert sorted(found) == ["2026-01-19/05/large/c.jpg", "2026-01-19/06/large/a.jpg"]
    assert inventory.twins(shelf.manifest, ["other"]) == []


def test_what_looks_like_ours_in_the_trash(shelf: Shelf) -> None:
    """A file that came from there is found there; nowhere else is it looked for in a folder of that name."""
    deep = shelf.folder / f"{TRASH}2026-01-19/.ninepic-mirror/trash/2026-01-19"
    deep.mkdir(parents=True)
    (deep / "a.jpg").touch()
    found = [names for _, names in inventory.walk(shelf.tree, TRASH.rstrip("/"))]
    assert found == [["a.jpg"]]
    assert all(".ninepic-mirror" not in folder for folder, _ in inventory.walk(shelf.tree))


def test_only_what_is_still_so_is_recorded(shelf: Shelf) -> None:
    """A file that was replaced while it was read was not verified, and a new file never was."""
    before = listed(shelf.manifest, 10)
    shelf.manifest.change("UPDATE files SET sha256 = 'other' WHERE image_id = 'a'")
    inventory.record(shelf.manifest, before, 9)
    times = shelf.manifest.rows("SELECT DISTINCT image_id, verified_at FROM files ORDER BY 1")
    assert times == [("a", None), ("b", 9), ("c", 9)]
    shelf.have(window(SIX), "d")
    assert shelf.manifest.count("SELECT max(verified_at) FROM files WHERE image_id = 'd'") == 0


def test_stamps_grow(shelf: Shelf) -> None:
    """A run's stamp is later than every earlier one's, also when the clock went back."""
    first = inventory.stamp(shelf.manifest)
    inventory.record(shelf.manifest, listed(shelf.manifest, first), first + 10**6)
    assert inventory.stamp(shelf.manifest) == first + 10**6 + 1


def test_an_older_manifest(tmp_path: Path) -> None:
    """One that knows no times is read all the same, by whoever may not bring it forward."""
    path = tmp_path / "manifest.sqlite3"
    with closing(sqlite3.connect(path)) as made:
        made.executescript(MIGRATIONS[0])
        made.executescript(
            "PRAGMA user_version = 1; INSERT INTO photos (image_id, first_seen, last_seen, reading, window_reading)"
            " VALUES ('a', 1, 1, 1, 1);"
            "INSERT INTO files (image_id, variant, path, folder, size, sha256, state)"
            " VALUES ('a', 'large', 'a.jpg', '', 1, 'b', 'present');"
        )
        manifest = Manifest(path, made)
        assert names(listed(manifest, inventory.stamp(manifest))) == "a"
        assert inventory.where(manifest) is None


def test_how_paths_are_made(shelf: Shelf) -> None:
    """As the last pass made them."""
    assert inventory.where(shelf.manifest) is None
    shelf.manifest.set_meta({"layout": "{variant}/{image_id}{ext}", "timezone": "Asia/Kolkata"})
    where = inventory.where(shelf.manifest)
    assert where is not None
    assert where.layout.stem(SIX, where.zone, "large", "a") == "large/a"


@pytest.mark.parametrize(
    "damage", [{"layout": "{variant}"}, {"timezone": "Asia/Kolk"}, {"timezone": "Asia"}]
)
def test_a_damaged_note_of_how_paths_are_made(shelf: Shelf, damage: dict[str, object]) -> None:
    """Then nothing is known of places, and none is judged; the next pass notes it anew."""
    shelf.manifest.set_meta({"layout": "{variant}/{image_id}{ext}", "timezone": "UTC"} | damage)
    assert inventory.where(shelf.manifest) is None


def test_strays(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    """What no row names is nobody's, whatever it is called; our own files are not."""
    monkeypatch.setattr(inventory, "_NAMES", 2)
    folder = shelf.folder
    deep = folder / "2026-01-19/notes"
    deep.mkdir()
    (folder / "event.json").write_text("{}")
    (folder / "2026-01-19/SHA256SUMS").write_text("")
    (deep / "SHA256SUMS").write_text("")
    (folder / "2026-01-19/06/large/a.png").write_text("")
    (folder / "märz.txt").write_text("")
    (folder / "link").symlink_to("event.json")
    odd = folder / "märz"
    odd.mkdir()
    (odd / "x").write_text("")
    shelf.manifest.change("UPDATE files SET moving_to = 'moved.jpg' WHERE image_id = 'a'")
    (folder / "moved.jpg").write_text("")
    shelf.manifest.change("UPDATE files SET state = 'gone' WHERE image_id = 'b'")
    found = [
        path
        for some, kept in inventory.walk(shelf.tree)
        for path in inventory.strays(shelf.manifest, some, kept)
    ]
    assert sorted(found) == sorted(
        ["2026-01-19/06/large/a.png", "2026-01-19/notes/SHA256SUMS", "link", "märz.txt", "märz/x"]
    )


def test_a_folder_that_cannot_be_looked_into(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    """It ends a walk, or is told and the other folders are walked."""
    for path in ("2026-01-18/closed.jpg", "2026-01-19/open.jpg"):
        (shelf.tree.root / path).parent.mkdir(parents=True, exist_ok=True)
        (shelf.tree.root / path).touch()
    entries = shelf.tree.entries

    def refusing(path: str) -> Iterator[tuple[str, Kind]]:
        if path == "2026-01-18":
            raise PermissionError(errno.EACCES, "no", path)
        yield from entries(path)

    monkeypatch.setattr(shelf.tree, "entries", refusing)
    with pytest.raises(PermissionError):
        list(inventory.walk(shelf.tree))
    told: list[str] = []
    found = list(inventory.walk(shelf.tree, closed=lambda path, _: told.append(path)))
    assert told == ["2026-01-18"]
    assert ("2026-01-19", ["open.jpg"]) in found


def test_what_nothing_but_a_line_tells_of(shelf: Shelf) -> None:
    """Not what a row knows, in whatever state, nor what a present file has the bytes of."""
    rows = {
        str(path): str(sha) for path, sha in shelf.manifest.rows("SELECT path, sha256 FROM files")
    }
    known, other = sorted(rows)[:2]
    folder = known.rpartition("/")[0]
    shelf.manifest.change("UPDATE files SET state = 'gone' WHERE path = ?", [known])
    gone = [
        (f"{folder}/moved.jpg", rows[other]),
        (f"{folder}/x.jpg", "0" * 64),
        (known, rows[known]),
    ]
    assert inventory.lost(shelf.manifest, gone) == [gone[1]]
    assert inventory.lost(shelf.manifest, [*gone[:1], gone[2]]) == []
    shelf.manifest.change_each("INSERT INTO named VALUES (?, ?)", gone[:2])
    assert [*inventory.all_named(shelf.manifest)] == gone[:2]
    assert inventory.told(gone[1:2]).startswith(f"LOST: {folder}/x.jpg: ")
    assert inventory.told(gone[1:]).startswith(f"LOST: {folder}/x.jpg and 1 more: ")
