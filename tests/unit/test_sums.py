"""SHA256SUMS for `sha256sum -c`, and their use when a manifest is lost."""

from __future__ import annotations

import hashlib
import os
import subprocess
from typing import TYPE_CHECKING

import pytest

from ninepic_mirror.archive.records import Listing
from ninepic_mirror.archive.sums import (
    are_anothers,
    blame,
    forget_notes,
    named_lines,
    sums_path,
    tops,
    write_stale,
)
from ninepic_mirror.errors import StorageError
from ninepic_mirror.model import HOUR
from tests.shelf import SIX, jpeg, photo, sha256, window

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.shelf import Shelf


def check(folder: Path) -> int:
    """Run `sha256sum -c` in a folder; return how many files it found right."""
    ran = subprocess.run(
        ["sha256sum", "-c", "--strict", "SHA256SUMS"], cwd=folder, capture_output=True, check=True
    )
    return ran.stdout.count(b": OK\n")


def test_standard_tools_can_check_each_day(shelf: Shelf) -> None:
    """Every top-level folder has its sums, of its own files only, by paths within it."""
    shelf.have(window(SIX), "a", "b")
    shelf.have(window(SIX + HOUR), "c")
    shelf.have(window(SIX + 24 * HOUR), "d")
    shelf.have(Listing(), "u")
    assert write_stale(shelf.tree, shelf.manifest) == 3
    assert check(shelf.folder / "2026-01-19") == 6
    assert check(shelf.folder / "2026-01-20") == 2
    assert check(shelf.folder / "undated") == 2


def test_only_what_changed_is_written(shelf: Shelf) -> None:
    """An unchanged day is not written again (DESIGN §5)."""
    shelf.have(window(SIX), "a")
    write_stale(shelf.tree, shelf.manifest)
    assert write_stale(shelf.tree, shelf.manifest) == 0
    shelf.have(window(SIX), "b")
    assert write_stale(shelf.tree, shelf.manifest) == 1
    assert check(shelf.folder / "2026-01-19") == 4


def test_names_that_look_like_neighbours_are_not_mixed(shelf: Shelf) -> None:
    """A day's sums hold nothing of folders whose names begin alike, whatever characters they hold."""
    for layout in ("a/{variant}/{image_id}", "a%/{variant}/{image_id}", "a_/x/{variant}{image_id}"):
        shelf.layout = layout
        shelf.have(window(SIX), f"p{len(layout)}")
    write_stale(shelf.tree, shelf.manifest)
    for top in ("a", "a%", "a_"):
        assert check(shelf.folder / top) == 2


def test_a_layout_without_folders_has_sums_at_the_top(shelf: Shelf) -> None:
    """Files that stand in the event folder itself are summed there."""
    shelf.layout = "{variant}-{image_id}{ext}"
    shelf.have(window(SIX), *(f"p{number}" for number in range(3)))
    write_stale(shelf.tree, shelf.manifest)
    assert check(shelf.folder) == 6
    assert sums_path("") == "SHA256SUMS"


def test_many_lines_are_written_in_chunks(shelf: Shelf) -> None:
    """A day of more files than a chunk of lines is written whole and in order."""
    shelf.read(window(SIX), [photo("a")])
    with shelf.manifest.transaction():
        shelf.manifest.change_each(
            "INSERT INTO files (image_id, variant, path, folder, sha256, state)"
            " VALUES (?, 'large', 'd/' || ?, 'd', ?, 'present')",
            [(f"{number:05}", f"{number:05}", "0" * 64) for number in range(5000)],
        )
        shelf.manifest.change("INSERT INTO sums (folder, stale, filled) VALUES ('d', 1, 1)")
    write_stale(shelf.tree, shelf.manifest)
    lines = (shelf.folder / "d/SHA256SUMS").read_text().splitlines()
    assert lines == [f"{'0' * 64}  {number:05}" for number in range(5000)]


def test_a_day_without_photos_has_no_sums(shelf: Shelf) -> None:
    """When the last file left, the sums and the empty folder go, and nothing asks for them again."""
    shelf.have(window(SIX), "a")
    write_stale(shelf.tree, shelf.manifest)
    shelf.read(window(SIX + 24 * HOUR), [photo("a")])
    shelf.next_pass()
    shelf.read(window(SIX + 24 * HOUR), [photo("a")])
    from ninepic_mirror.archive.reconcile import relocate

    relocate(shelf.holdings, shelf.store)
    assert write_stale(shelf.tree, shelf.manifest) == 2
    assert not (shelf.folder / "2026-01-19").exists()
    assert shelf.holdings.tops() == ["2026-01-20"]


def test_a_day_that_is_gone_already_is_no_fault(shelf: Shelf) -> None:
    """Sums of a folder that somebody removed are simply not there."""
    shelf.manifest.change("INSERT INTO sums (folder, stale, filled) VALUES ('gone', 1, 1)")
    (shelf.folder / "file").touch()
    shelf.manifest.change("INSERT INTO sums (folder, stale, filled) VALUES ('file', 1, 1)")
    assert write_stale(shelf.tree, shelf.manifest) == 2
    assert (shelf.folder / "file").exists()


def test_what_could_not_be_written_stays_stale(shelf: Shelf) -> None:
    """A folder in the place of SHA256SUMS is told, kept, and tried again."""
    shelf.have(window(SIX), "a")
    (shelf.folder / "2026-01-19/SHA256SUMS").mkdir()
    for _ in range(2):
        with pytest.raises(StorageError, match="file is due"):
            write_stale(shelf.tree, shelf.manifest)


def lines_of(shelf: Shelf, top: str) -> dict[str, str]:
    """Return what a SHA256SUMS says: path → hash."""
    lines = (shelf.folder / sums_path(top)).read_text().splitlines()
    assert lines == sorted(lines, key=lambda line: line[66:])
    return {line[66:]: line[:64] for line in lines}


def test_no_line_of_a_file_without_a_row_is_lost(shelf: Shelf) -> None:
    """After a lost manifest, sums written from the first few rows still name the files that have none yet."""
    shelf.have(window(SIX), "a", "b")
    write_stale(shelf.tree, shelf.manifest)
    before = lines_of(shelf, "2026-01-19")
    shelf.manifest.change("DELETE FROM files")
    shelf.manifest.change("DELETE FROM photos")
    shelf.holdings.lines.name(named_lines(shelf.tree))
    shelf.have(window(SIX), "a", body=jpeg("new bytes"))
    (shelf.folder / "2026-01-19/06/thumbnail/b.jpg").unlink()
    dropped: list[tuple[str, str]] = []
    write_stale(shelf.tree, shelf.manifest, dropped)
    assert dropped == [("2026-01-19/06/thumbnail/b.jpg", before["06/thumbnail/b.jpg"])]
    after = lines_of(shelf, "2026-01-19")
    assert after == {
        "06/large/a.jpg": sha256(jpeg("new bytes")),
        "06/thumbnail/a.jpg": sha256(jpeg("new bytes")),
        "06/large/b.jpg": before["06/large/b.jpg"],
    }
    shelf.have(window(SIX), "b", body=jpeg("b"))
    write_stale(shelf.tree, shelf.manifest)
    assert set(lines_of(shelf, "2026-01-19").values()) == {
        sha256(jpeg("b")), sha256(jpeg("new bytes")),
    }  # fmt: skip
    assert shelf.manifest.rows("SELECT * FROM named") == []


@pytest.mark.parametrize("state", ["pending", "failed", "gone"])
def test_files_that_still_stand_keep_their_lines(shelf: Shelf, state: str) -> None:
    """A damaged file to be had anew, or one of a photo that left, is still named with the hash that it had."""
    shelf.have(window(SIX), "a", "b")
    shelf.manifest.change("UPDATE files SET state = ?", [state])
    (shelf.folder / "2026-01-19/06/large/a.jpg").write_bytes(b"damaged")
    (shelf.folder / "2026-01-19/06/large/b.jpg").unlink()
    write_stale(shelf.tree, shelf.manifest)
    lines = lines_of(shelf, "2026-01-19")
    assert lines["06/large/a.jpg"] == sha256(jpeg("large a"))
    assert set(lines) == {"06/large/a.jpg", "06/thumbnail/a.jpg", "06/thumbnail/b.jpg"}


def test_a_place_is_named_once(shelf: Shelf) -> None:
    """Where several records name one place, that of the present row counts, then a row's, then an old line's."""
    for name in ("a.jpg", "b.jpg"):
        (shelf.folder / name).touch()
    shelf.manifest.change_each(
        "INSERT INTO files (image_id, variant, path, folder, sha256, state) VALUES (?, 'large', ?, '', ?, ?)",
        [
            ("1", "a.jpg", "old", "failed"), ("2", "a.jpg", "right", "present"), ("3", "b.jpg", "row", "gone"),
            ("4", "a.jpg", None, "pending"),
        ],
    )  # fmt: skip
    shelf.manifest.change_each(
        "INSERT INTO named VALUES (?, 'line')", [("a.jpg",), ("b.jpg",), ("x/a.jpg",)]
    )
    shelf.manifest.change("INSERT INTO sums (folder, stale, filled) VALUES ('', 1, 1)")
    write_stale(shelf.tree, shelf.manifest)
    assert (shelf.folder / "SHA256SUMS").read_text() == "right  a.jpg\nrow  b.jpg\n"
    assert shelf.manifest.count("SELECT count(*) FROM named") == 3


def test_named_files_that_are_gone_are_forgotten(shelf: Shelf) -> None:
    """However many there are, and whatever stands in their places, only files keep their lines."""
    (shelf.folder / "d/folder.jpg").mkdir(parents=True)
    (shelf.folder / "d/stays.jpg").touch()
    paths = [f"d/{number:05}.jpg" for number in range(1200)]
    shelf.holdings.lines.name((path, "0" * 64) for path in [*paths, "d/folder.jpg", "d/stays.jpg"])
    shelf.holdings.lines.name([("d0.jpg", "1" * 64)])
    shelf.manifest.change("INSERT INTO sums (folder, stale, filled) VALUES ('d', 1, 1)")
    write_stale(shelf.tree, shelf.manifest)
    assert lines_of(shelf, "d") == {"stays.jpg": "0" * 64}
    assert shelf.manifest.rows("SELECT path FROM named") == [("d/stays.jpg",), ("d0.jpg",)]


def test_lines_are_read_as_far_as_they_can_be_ours(shelf: Shelf) -> None:
    """Damaged lines, other people's names and paths that lead elsewhere are passed over; the rest is read."""
    for top in ("d", ".ninepic-mirror", "caf\xe9"):
        (shelf.folder / top).mkdir(exist_ok=True)
        (shelf.folder / top / "SHA256SUMS").write_bytes(b"")
    one, two = b"1" * 64, b"2" * 64
    (shelf.folder / "d/SHA256SUMS").write_bytes(
        one + b"  06/large/a.jpg\n" + two + b" *06/b.jpg\nx" + one + b"  c.jpg\n\xff\xfe\n" + one + b"  \xff.jpg\n"
        + one + b"  ../up.jpg\n" + one + b"  /top.jpg\n" + one + b"  a/./b\n" + one + b"  nul\0.jpg\n"
        + one + b"  " + b"n" * 256 + b"\n" + b"z" * 100_000 + b"\n" + two + b"  last.jpg"
    )  # fmt: skip
    (shelf.folder / "SHA256SUMS").write_bytes(one + b"  top.jpg\n" + one + b"  d/other.jpg\n")
    (shelf.folder / "e/SHA256SUMS").mkdir(parents=True)
    for top in (".ninepic-mirror", "caf\xe9"):
        (shelf.folder / top / "SHA256SUMS").write_bytes(one + b"  no.jpg\n")
    assert dict(named_lines(shelf.tree)) == {
        "d/06/large/a.jpg": "1" * 64, "d/06/b.jpg": "2" * 64, "d/last.jpg": "2" * 64, "top.jpg": "1" * 64,
    }  # fmt: skip


def test_sums_that_cannot_be_read_are_told(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    """They would be written anew without what they say: the pass ends instead. No disk here fails on demand."""
    (shelf.folder / "SHA256SUMS").write_bytes(b"1" * 64 + b"  top.jpg\n")

    def fail(_: int) -> int:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "dup", fail)
    with pytest.raises(OSError, match="output error"):
        shelf.holdings.lines.name(named_lines(shelf.tree))
    assert shelf.manifest.rows("SELECT * FROM named") == []


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (lambda text: text, None),
        (lambda text: text[:-2], "content"),
        (lambda text: text + "no line\n", "content"),
        (lambda text: text[:10] + "g" + text[11:], "content"),
        (lambda text: ("0" if text[0] != "0" else "1") + text[1:], "content"),
        (lambda text: text.partition("\n")[2], "content"),
        (lambda text: text.replace("a.jpg", "x.jpg"), "content"),
        (lambda text: text + f"{'0' * 64}  zoo.jpg\n", "content"),
        (lambda text: text + f"{'0' * 64}  zebra.jpg\n", None),  # it stands, and no row knows it
        (lambda text: f"{'0' * 64}  00.jpg\n" + text, None),
    ],
)
def test_what_is_wrong(shelf: Shelf, change: Callable[[str], str], fault: str | None) -> None:
    """Each line says what its row says, and no present file lacks one."""
    shelf.have(window(SIX), "a", "b")
    write_stale(shelf.tree, shelf.manifest)
    for stray in ("zebra.jpg", "00.jpg"):
        (shelf.folder / "2026-01-19" / stray).write_text("")
    place = shelf.folder / "2026-01-19/SHA256SUMS"
    place.write_text(change(place.read_text()))
    assert blame(shelf.tree, shelf.manifest, "2026-01-19", thorough=True) == fault
    assert blame(shelf.tree, shelf.manifest, "2026-01-19", thorough=False) is None
    shelf.manifest.change("UPDATE sums SET stale = 1")
    assert blame(shelf.tree, shelf.manifest, "2026-01-19", thorough=True) is None


def test_what_is_kept_may_be_named_or_not(shelf: Shelf) -> None:
    """The line of a file that is to be had again, or of a photo that left, is no fault, nor is it missed."""
    shelf.have(window(SIX), "a", "b")
    write_stale(shelf.tree, shelf.manifest)
    shelf.manifest.change("UPDATE files SET state = 'gone' WHERE image_id = 'a'")
    place = shelf.folder / "2026-01-19/SHA256SUMS"
    for text in (place.read_text(), place.read_text().partition("\n")[2]):
        place.write_text(text)
        assert blame(shelf.tree, shelf.manifest, "2026-01-19", thorough=True) is None
    place.unlink()
    assert blame(shelf.tree, shelf.manifest, "2026-01-19", thorough=False) == "missing"
    place.mkdir()
    assert blame(shelf.tree, shelf.manifest, "2026-01-19", thorough=False) == "type"
    shelf.manifest.change("UPDATE sums SET stale = 1")
    assert tops(shelf.manifest) == []
    assert tops(shelf.manifest, stale=True) == ["2026-01-19"]
    # a pass that met it has ended, and left it marked
    assert blame(shelf.tree, shelf.manifest, "2026-01-19", thorough=False) == "type"


def put(shelf: Shelf, path: str, text: bytes = b"") -> None:
    """Write a file below the event folder."""
    (shelf.folder / path).parent.mkdir(exist_ok=True)
    (shelf.folder / path).write_bytes(text)


# --- another's --------------------------------------------------------------------------------------------------


def settled(shelf: Shelf) -> Path:
    """Mirror a photo and write its SHA256SUMS, by a pass that has ended; return them."""
    shelf.have(window(SIX), "a")
    write_stale(shelf.tree, shelf.manifest)
    shelf.manifest.set_meta({"adopted": True})
    return shelf.folder / sums_path("2026-01-19")


def is_noticed(shelf: Shelf) -> bool:
    """Whether a SHA256SUMS is taken for another's, now and when it is asked again."""
    found = are_anothers(shelf.tree, shelf.manifest)
    assert are_anothers(shelf.tree, shelf.manifest) == found
    return found


def test_sums_as_they_were_written_cost_a_look(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another time is looked into once; the same bytes are as good as ever."""
    path = settled(shelf)
    assert not is_noticed(shelf)
    os.utime(path, (1, 1))
    assert not is_noticed(shelf)

    def refuse(*_: object) -> None:
        raise AssertionError

    monkeypatch.setattr(hashlib, "file_digest", refuse)
    assert not is_noticed(shelf)


def test_sums_of_another_are_noticed_until_they_are_looked_into(shelf: Shelf) -> None:
    """Of other bytes; where none is due it may be a person's own."""
    path = settled(shelf)
    before = path.read_text()
    path.write_text(before + before.replace("a.jpg", "b.jpg"))
    assert is_noticed(shelf)
    forget_notes(shelf.manifest)
    assert not is_noticed(shelf)
    path.write_text(before)
    assert is_noticed(shelf)
    path.write_text(before + before.replace("a.jpg", "b.jpg"))
    put(shelf, "other/SHA256SUMS", before.encode())
    assert not is_noticed(shelf)


@pytest.mark.parametrize("why", ["stale", "gone", "folder", "unnoted", "not due"])
def test_what_says_nothing_of_an_older_manifest(shelf: Shelf, why: str) -> None:
    """A pass that was cut off, one by an earlier version of this program, and one that is missing, or not due."""
    path = settled(shelf)
    path.write_text("another")
    match why:
        case "stale":
            shelf.manifest.change("UPDATE sums SET stale = 1")
        case "gone":
            path.unlink()
        case "folder":
            path.unlink()
            path.mkdir()
        case "unnoted":
            shelf.manifest.change("UPDATE sums SET sha256 = NULL, size = NULL, mtime_ns = NULL")
        case _:
            shelf.manifest.change("UPDATE sums SET filled = 0")
    assert not is_noticed(shelf)
    if why == "unnoted":  # from now on it is known
        path.write_text("yet another")
        assert is_noticed(shelf)


def test_the_note_goes_with_the_sums(shelf: Shelf) -> None:
    """Where the last photo of a folder is gone, no SHA256SUMS is due there."""
    settled(shelf)
    for file in (shelf.folder / "2026-01-19/06").rglob("*.jpg"):
        file.unlink()
    shelf.manifest.change("UPDATE sums SET stale = 1")
    shelf.manifest.change("DELETE FROM files")
    assert write_stale(shelf.tree, shelf.manifest) == 1
    assert shelf.manifest.rows("SELECT * FROM sums") == [("2026-01-19", 0, 0, None, None, None)]
