"""What is on disk is looked at: what was deleted comes back, what lies there whole is adopted."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from ninepic_mirror.archive.strays import Stray
from ninepic_mirror.archive.sums import write_stale
from ninepic_mirror.archive.survey import conclude, survey
from ninepic_mirror.errors import StorageError
from ninepic_mirror.model import HOUR
from tests.shelf import SIX, jpeg, window

if TYPE_CHECKING:
    from pathlib import Path

    from tests.shelf import Shelf

DAY = "2026-01-19/06"
OLD = 1_000_000_000_000_000_000  # ns: long ago, so that a folder's time can be trusted


def look(shelf: Shelf, *, sizes: bool = False, everywhere: bool = False) -> int:
    """Survey the folder as a new pass does."""
    shelf.next_pass()
    return survey(shelf.tree, shelf.holdings, sizes=sizes, everywhere=everywhere)


def age(shelf: Shelf) -> None:
    """Let every folder have changed long ago."""
    for place in shelf.folder.rglob("*"):
        if place.is_dir():
            os.utime(place, ns=(OLD, OLD))


def mirrored(shelf: Shelf) -> Path:
    """Mirror two photos, look at all, and return the folder of the large ones."""
    shelf.have(window(SIX), "a", "b")
    age(shelf)
    assert conclude(shelf.tree, shelf.holdings) == 0
    return shelf.folder / DAY / "large"


def lost(shelf: Shelf) -> set[tuple[str, str]]:
    """Return the files that are wanted."""
    return {key for key, (state, _) in shelf.rows().items() if state == "pending"}


def test_an_unchanged_mirror_is_not_read(shelf: Shelf) -> None:
    """Where no folder changed no names are compared, not even a file that changed in place."""
    place = mirrored(shelf)
    (place / "a.jpg").write_bytes(b"damaged")
    assert look(shelf) == 0
    assert all(mtime == OLD for _, mtime in shelf.holdings.folders())


def test_a_deleted_file_is_wanted(shelf: Shelf) -> None:
    """A name that went changes its folder's time, and is to be had again."""
    (mirrored(shelf) / "a.jpg").unlink()
    assert look(shelf) == 1
    assert lost(shelf) == {("a", "large")}


def test_a_deleted_folder_is_wanted_whole(shelf: Shelf) -> None:
    """After `rm -r` of a day exactly its files are wanted."""
    shelf.have(window(SIX + 24 * HOUR), "c")
    import shutil

    mirrored(shelf)
    shutil.rmtree(shelf.folder / "2026-01-19")
    assert look(shelf) == 4
    assert lost(shelf) == {(name, kind) for name in "ab" for kind in ("large", "thumbnail")}
    assert look(shelf) == 0


@pytest.mark.parametrize("kind", ["link", "folder", "pipe"])
def test_only_a_file_is_a_file(shelf: Shelf, kind: str) -> None:
    """A link, folder or pipe under a photo's name is not the photo (RELIABILITY L8)."""
    place = mirrored(shelf) / "a.jpg"
    place.rename(shelf.folder / "x.jpg")
    match kind:
        case "link":
            place.symlink_to(shelf.folder / "x.jpg")
        case "folder":
            place.mkdir()
        case _:
            os.mkfifo(place)
    assert look(shelf) == 1
    assert lost(shelf) == {("a", "large")}


def test_a_folder_replaced_by_a_link_is_gone(shelf: Shelf, tmp_path: Path) -> None:
    """What stands behind a planted link is not ours, equal names or not (RELIABILITY L17)."""
    place = mirrored(shelf)
    place.rename(tmp_path / "moved")
    place.symlink_to(tmp_path / "moved")
    assert look(shelf) == 2
    assert lost(shelf) == {("a", "large"), ("b", "large")}


def test_sizes_are_looked_at_in_a_full_pass(shelf: Shelf) -> None:
    """A full pass finds every file of another size, and says so to the sums."""
    place = mirrored(shelf)
    shelf.manifest.change("UPDATE sums SET stale = 0")
    (place / "a.jpg").write_bytes(jpeg("large b") + b"!")
    (shelf.folder / DAY / "thumbnail/b.jpg").write_bytes(b"")
    (shelf.folder / "2026-01-19/SHA256SUMS").touch()
    assert look(shelf) == 0
    assert shelf.holdings.tops() == ["2026-01-19"]
    assert look(shelf, sizes=True) == 2
    assert lost(shelf) == {("a", "large"), ("b", "thumbnail")}
    assert shelf.holdings.tops() == []


def test_a_full_pass_over_a_good_mirror_writes_nothing(shelf: Shelf) -> None:
    """When every size fits, and the sums say what is recorded, they are not written anew; else they are."""
    mirrored(shelf)
    write_stale(shelf.tree, shelf.manifest)
    assert look(shelf, sizes=True) == 0
    assert shelf.holdings.tops() == ["2026-01-19"]
    (shelf.folder / "2026-01-19/SHA256SUMS").write_text("")
    assert look(shelf) == 0
    assert shelf.holdings.tops() == ["2026-01-19"]
    assert look(shelf, sizes=True) == 0
    assert shelf.holdings.tops() == []


def test_strays_are_taken_only_with_the_hash_of_their_line(shelf: Shelf) -> None:
    """Also where the manifest is no new one: what the SHA256SUMS above them say is read, and of nothing else."""
    place = mirrored(shelf)
    (place / "c.jpg").write_bytes(jpeg("c"))
    (place / "d.jpg").write_bytes(jpeg("d"))
    (shelf.folder / "f.jpg").write_bytes(jpeg("f"))
    line = "{0:064x}  {1}\n".format
    text = line(1, "06/large/c.jpg") + line(2, "06/large/e.jpg")
    (shelf.folder / "2026-01-19/SHA256SUMS").write_text(text)
    (shelf.folder / "SHA256SUMS").write_text(line(3, "f.jpg"))
    shelf.manifest.change("INSERT INTO folders VALUES ('', NULL)")
    assert look(shelf) == 0
    found = shelf.manifest.rows("SELECT path, sha256 FROM named ORDER BY path")
    assert found == [(f"{DAY}/large/c.jpg", f"{1:064x}"), ("f.jpg", f"{3:064x}")]
    strays = shelf.holdings.strays
    assert strays.of(f"{DAY}/large/c", "large", "c").here == (
        Stray(f"{DAY}/large/c.jpg", f"{1:064x}"),
    )
    assert strays.of(f"{DAY}/large/d", "large", "d").here == (Stray(f"{DAY}/large/d.jpg"),)


def test_missing_sums_are_written_again(shelf: Shelf) -> None:
    """A SHA256SUMS that somebody took away is stale."""
    mirrored(shelf)
    shelf.manifest.change("UPDATE sums SET stale = 0")
    look(shelf)
    assert shelf.holdings.tops() == []


def test_a_new_manifest_finds_what_lies_there(shelf: Shelf) -> None:
    """Over an old mirror every folder is looked into, however deep, except our own and what is no text."""
    deep = shelf.folder / "/".join("d" * 40)
    for place in (shelf.folder / "x", shelf.folder / "y/z", deep):
        place.mkdir(parents=True)
        (place / "a.jpg").write_bytes(jpeg("a"))
    odd = os.fsencode(shelf.folder) + b"/caf\xe9"
    os.mkdir(odd)  # noqa: PTH102  a path that is no text
    for name in (odd + b"/a.jpg", os.fsencode(shelf.folder) + b"/x/\xff.jpg"):
        os.close(os.open(name, os.O_CREAT | os.O_WRONLY))
    (shelf.folder / ".ninepic-mirror/trash").mkdir()
    (shelf.folder / ".ninepic-mirror/trash/a.jpg").write_bytes(jpeg("a"))
    assert look(shelf, everywhere=True) == 0
    assert shelf.holdings.strays.of("x/a", "large", "a").here == (Stray("x/a.jpg"),)
    assert shelf.holdings.strays.of("y/z/a", "large", "a").here == (Stray("y/z/a.jpg"),)
    assert shelf.holdings.strays.of("/".join("d" * 40) + "/a", "large", "a").here
    assert {folder for folder, _ in shelf.holdings.folders()} == {"x", "y/z", "/".join("d" * 40)}


def test_a_new_manifest_learns_what_the_sums_say(shelf: Shelf) -> None:
    """Only a survey of everything reads the SHA256SUMS; they are remembered before anything writes them anew."""
    for place in (shelf.folder / "x", shelf.folder / "y"):
        place.mkdir()
        (place / "a.jpg").write_bytes(jpeg("a"))
        (place / "SHA256SUMS").write_text(f"{'a' * 64}  a.jpg\n")
    assert look(shelf) == 0
    assert shelf.manifest.rows("SELECT * FROM named") == []
    assert look(shelf, everywhere=True) == 0
    assert shelf.holdings.strays.of("x/a", "large", "a").here == (Stray("x/a.jpg", "a" * 64),)
    shelf.next_pass()
    assert shelf.manifest.count("SELECT count(*) FROM named") == 2


def test_known_folders_are_not_looked_into_twice(shelf: Shelf) -> None:
    """A survey of everything also finds what changed in the folders that it knows."""
    (mirrored(shelf) / "a.jpg").unlink()
    (shelf.folder / DAY / "large/stray.jpg").touch()
    age(shelf)
    assert look(shelf, everywhere=True) == 1
    assert shelf.holdings.has_strays()


def test_a_folder_that_just_changed_is_looked_at_again(shelf: Shelf) -> None:
    """Within a file system's grain of time a second change shows no other time: it is not trusted yet."""
    shelf.have(window(SIX), "a")
    conclude(shelf.tree, shelf.holdings)
    assert {mtime for _, mtime in shelf.holdings.folders()} == {None}
    before = (shelf.folder / DAY / "large").stat().st_mtime_ns
    (shelf.folder / DAY / "large/a.jpg").unlink()
    os.utime(shelf.folder / DAY / "large", ns=(before, before))
    assert look(shelf) == 1


def test_a_pass_concludes_with_what_it_changed(shelf: Shelf) -> None:
    """What somebody takes away during the pass is found at its end."""
    shelf.have(window(SIX), "a", "b")
    (shelf.folder / DAY / "large/b.jpg").unlink()
    assert conclude(shelf.tree, shelf.holdings) == 1
    assert lost(shelf) == {("b", "large")}


def test_an_emptied_folder_is_forgotten(shelf: Shelf) -> None:
    """A folder that holds nothing of ours any more is not looked at for ever."""
    (shelf.folder / "x").mkdir()
    (shelf.folder / "x/y.jpg").touch()
    look(shelf, everywhere=True)
    (shelf.folder / "x/y.jpg").unlink()
    (shelf.folder / "x").rmdir()
    look(shelf)
    assert shelf.holdings.folders() == []


def test_faults_of_the_disk_are_told(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    """What cannot be looked at ends the pass: it is not taken for missing. No disk here fails on demand."""
    mirrored(shelf)

    def fail(*_: object, **__: object) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "scandir", fail)
    with pytest.raises(StorageError, match="I/O"):
        look(shelf, everywhere=True)
    shelf.manifest.change("UPDATE folders SET mtime_ns = NULL")
    with pytest.raises(StorageError, match="I/O"):
        conclude(shelf.tree, shelf.holdings)
    assert lost(shelf) == set()
