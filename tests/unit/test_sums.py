"""SHA256SUMS for `sha256sum -c`, and their use when a manifest is lost."""

from __future__ import annotations

import subprocess
import threading
from typing import TYPE_CHECKING

import pytest

from ninepic_mirror.archive.files import Tree
from ninepic_mirror.archive.records import Listing
from ninepic_mirror.archive.sums import NamedHashes, sums_path, write_stale
from ninepic_mirror.errors import StorageError
from ninepic_mirror.model import HOUR
from tests.shelf import SIX, jpeg, photo, sha256, window

if TYPE_CHECKING:
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
        shelf.manifest.change("INSERT INTO sums VALUES ('d', 1, 1)")
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
    shelf.manifest.change("INSERT INTO sums VALUES ('gone', 1, 1)")
    (shelf.folder / "file").touch()
    shelf.manifest.change("INSERT INTO sums VALUES ('file', 1, 1)")
    assert write_stale(shelf.tree, shelf.manifest) == 2
    assert (shelf.folder / "file").exists()


def test_what_could_not_be_written_stays_stale(shelf: Shelf) -> None:
    """A folder in the place of SHA256SUMS is told, kept, and tried again."""
    shelf.have(window(SIX), "a")
    (shelf.folder / "2026-01-19/SHA256SUMS").mkdir()
    for _ in range(2):
        with pytest.raises(StorageError, match="file is due"):
            write_stale(shelf.tree, shelf.manifest)


def test_hashes_are_found_by_path(shelf: Shelf) -> None:
    """The hash that the sums above a file name is returned; damaged lines and other files have none."""
    shelf.have(window(SIX), "a")
    write_stale(shelf.tree, shelf.manifest)
    with (shelf.folder / "2026-01-19/SHA256SUMS").open("ab") as file:
        file.write(b"x" + b"0" * 64 + b"  06/large/b.jpg\n\xff\xfe\n" + b"1" * 64 + b" *06/c.jpg\n")
    named = NamedHashes(shelf.tree)
    assert named.get("2026-01-19/06/large/a.jpg") == sha256(jpeg("large a"))
    assert named.get("2026-01-19/06/large/b.jpg") is None
    assert named.get("2026-01-19/06/c.jpg") == "1" * 64
    assert named.get("2026-01-20/06/large/a.jpg") is None
    assert named.get("top.jpg") is None


class SlowTree(Tree):
    """A tree whose first read waits: the moment in which another worker asks."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.reading, self.go_on = threading.Event(), threading.Event()

    def read(self, path: str, limit: int) -> bytes:
        """Read; the first time, only when `go_on` is set."""
        if not self.reading.is_set():
            self.reading.set()
            assert self.go_on.wait(10)
        return super().read(path, limit)


def test_workers_do_not_disturb_each_other(shelf: Shelf) -> None:
    """Asked while another worker still reads a folder's sums, the hash is there all the same."""
    for top in "ab":
        (shelf.folder / top).mkdir()
        (shelf.folder / top / "SHA256SUMS").write_text(f"{top * 64}  x.jpg\n")
    with SlowTree(shelf.folder) as tree:
        named = NamedHashes(tree)
        found: list[str | None] = []
        other = threading.Thread(target=lambda: found.append(named.get("a/x.jpg")))
        other.start()
        assert tree.reading.wait(10)
        assert named.get("a/x.jpg") == "a" * 64
        assert named.get("b/x.jpg") == "b" * 64
        tree.go_on.set()
        other.join()
    assert found == ["a" * 64]
