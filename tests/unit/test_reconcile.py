"""Moves, removals and the trash: no crash at any point loses a file or leaves a row that lies."""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ninepic_mirror.archive import reconcile
from ninepic_mirror.archive.files import Tree
from ninepic_mirror.archive.listings import missed_photos
from ninepic_mirror.archive.placement import safe_name
from ninepic_mirror.archive.records import Listing
from ninepic_mirror.archive.store import TRASH
from ninepic_mirror.model import HOUR
from tests.shelf import DAY, SIX, VARIANTS, jpeg, open_shelf, photo, sha256, window

if TYPE_CHECKING:
    from tests.shelf import Shelf

SEVEN = SIX + HOUR
LATER = 1 << 40


class Crash(BaseException):
    """The process dies here."""


def crash_at(monkeypatch: pytest.MonkeyPatch, step: int) -> None:
    """Die before the n-th call that changes names. A real kill at each call is a test of the whole command."""
    left = [step]
    for name in ("rename", "unlink", "rmdir", "mkdir"):
        real = getattr(os, name)

        def call(*args: object, real: object = real, **keywords: object) -> object:
            left[0] -= 1
            if left[0] == -1:
                raise Crash
            assert callable(real)
            return real(*args, **keywords)

        monkeypatch.setattr(os, name, call)


def relocate(shelf: Shelf) -> int:
    """Bring everything to where it belongs."""
    return reconcile.relocate(shelf.holdings, shelf.store)


# --- moves ------------------------------------------------------------------------------------------------------


def test_a_photo_of_another_hour_is_renamed(shelf: Shelf) -> None:
    """Both variants go to the new hour, the empty old folders go, and nothing is wanted (DESIGN §6.7)."""
    shelf.have(window(SIX), "a", "b")
    shelf.next_pass()
    shelf.read(window(SEVEN), [photo("a")])
    assert relocate(shelf) == 2
    assert shelf.files() == {
        f"2026-01-19/{place}.jpg"
        for place in ("07/large/a", "07/thumbnail/a", "06/large/b", "06/thumbnail/b")
    }
    shelf.check()
    assert relocate(shelf) == 0
    assert shelf.holdings.want(("thumbnail", "large")) == []
    shelf.read(window(SEVEN), [photo("b")])
    relocate(shelf)
    assert not (shelf.folder / "2026-01-19/06").exists()


@pytest.mark.parametrize("layout", ["{variant}-{image_id}{ext}", "{image_id}/{variant}{ext}"])
def test_a_new_layout_moves_everything(shelf: Shelf, layout: str) -> None:
    """A changed layout renames every file, more than one chunk of them too, there and back."""
    ids = [f"p{number:03}" for number in range(30)]
    before = set(shelf.have(window(SIX), *ids))
    usual, shelf.layout = shelf.layout, layout
    shelf.holdings.misplace_all()
    assert relocate(shelf) == 60
    shelf.check()
    assert shelf.files().isdisjoint(before)
    shelf.layout = usual
    shelf.holdings.misplace_all()
    relocate(shelf)
    assert shelf.files() == before


def test_linked_files_move_alone(shelf: Shelf) -> None:
    """Of several names of one file only the one that moves goes (RELIABILITY 2c)."""
    shelf.have(window(SIX), "a", "b", body=jpeg("same"))
    shelf.read(window(SEVEN), [photo("a")])
    shelf.next_pass()
    shelf.read(window(SEVEN), [photo("a")])
    relocate(shelf)
    shelf.check()
    assert (shelf.folder / "2026-01-19/07/large/a.jpg").stat().st_nlink == 4


def test_a_variant_may_take_the_place_of_another(shelf: Shelf) -> None:
    """Where the new place of one is the old place of the other, they move in the right order."""
    shelf.layout = "{variant}/large/{image_id}{ext}"
    shelf.have(window(SIX), "a", "b")
    shelf.layout = "thumbnail/{variant}/{image_id}{ext}"
    shelf.holdings.misplace_all()
    assert relocate(shelf) == 4
    shelf.check()
    for variant in ("large", "thumbnail"):
        place = shelf.folder / f"thumbnail/{variant}/a.jpg"
        assert place.read_bytes() == jpeg(f"{variant} a")
    assert not (shelf.folder / TRASH).exists()


def test_a_ring_of_places_is_opened(shelf: Shelf) -> None:
    """Should two files stand in each other's place, one steps aside first and none is lost."""
    shelf.have(window(SIX), "a")
    large, small = (f"2026-01-19/06/{variant}/a.jpg" for variant in ("large", "thumbnail"))
    shelf.tree.move(large, "x")
    shelf.tree.move(small, large)
    shelf.tree.move("x", small)
    for variant, place in (("large", small), ("thumbnail", large)):
        shelf.manifest.change("UPDATE files SET path = ? WHERE variant = ?", [place, variant])
    shelf.check()
    shelf.holdings.misplace_all()
    assert relocate(shelf) == 3
    shelf.check()
    assert shelf.rows() == {
        ("a", "large"): ("present", large),
        ("a", "thumbnail"): ("present", small),
    }


def test_a_file_that_is_gone_is_wanted_again(shelf: Shelf) -> None:
    """A move that finds its file at neither place has it fetched, and does not count as moved."""
    shelf.have(window(SIX), "a")
    shelf.next_pass()
    shelf.read(window(SEVEN), [photo("a")])
    (shelf.folder / "2026-01-19/06/large/a.jpg").unlink()
    assert relocate(shelf) == 1
    assert shelf.rows()["a", "large"] == ("pending", None)
    assert [job.variant for job in shelf.holdings.want(("thumbnail", "large"))] == ["large"]


@pytest.mark.parametrize("kind", ["layout", "hour", "trash", "swap"])
@settings(max_examples=18)
@given(first=st.integers(0, 40), second=st.integers(0, 40))
def test_moves_cut_off_anywhere_are_finished(kind: str, first: int, second: int) -> None:
    """Whatever the journal holds when a run dies, and dies again while it recovers, nothing is lost."""
    with (
        tempfile.TemporaryDirectory() as folder,
        pytest.MonkeyPatch.context() as patch,
        open_shelf(Path(folder) / "m") as shelf,
    ):
        shelf.layout = "{variant}/large/{image_id}{ext}" if kind == "swap" else shelf.layout
        shelf.have(window(SIX), "a", "b", body=jpeg("same"))
        shelf.have(window(SIX), "c", "d")
        hashes = sorted(sha256(path.read_bytes()) for path in shelf.folder.rglob("*.jpg"))
        shelf.next_pass()
        prepare(shelf, kind)
        for step in (first, second):
            crash_at(patch, step)
            with suppress(Crash):
                reconcile.recover(shelf.holdings, shelf.store)
                finish(shelf, kind)
            patch.undo()
        reconcile.recover(shelf.holdings, shelf.store)
        assert shelf.holdings.moves.under_way() == []
        finish(shelf, kind)
        shelf.check()
        found = sorted(sha256(path.read_bytes()) for path in shelf.folder.rglob("*.jpg"))
        assert found == hashes
        states = {state for state, _ in shelf.rows().values()}
        assert states == ({"gone"} if kind == "trash" else {"present"})
        for _, path in shelf.rows().values():
            assert path is not None
            assert path.startswith(TRASH) == (kind == "trash")
            assert (shelf.folder / path).is_file()


def prepare(shelf: Shelf, kind: str) -> None:
    """Change what has the files moved."""
    if kind == "hour":
        shelf.read(window(SEVEN), [photo(image_id) for image_id in "abcd"])
    elif kind == "trash":
        shelf.read(window(SIX), [])
        shelf.holdings.moves.mark_gone()
    else:
        shelf.layout = (
            "thumbnail/{variant}/{image_id}{ext}" if kind == "swap" else "{image_id}/{variant}{ext}"
        )
        shelf.holdings.misplace_all()


def finish(shelf: Shelf, kind: str) -> None:
    """Make the moves."""
    if kind == "trash":
        reconcile.empty_into_trash(shelf.holdings, shelf.store, LATER)
    else:
        relocate(shelf)


# --- removals ---------------------------------------------------------------------------------------------------


def emptied(shelf: Shelf, listed: int, left: int) -> None:
    """List so many photos, then let so many of them leave."""
    ids = [f"p{number:02}" for number in range(listed)]
    shelf.have(window(SIX), *ids)
    shelf.next_pass()
    shelf.read(window(SIX), [photo(image_id) for image_id in ids[left:]])


@pytest.mark.parametrize(("left", "gone"), [(0, True), (2, True), (3, False), (20, False)])
def test_a_mass_removal_is_stopped(shelf: Shelf, left: int, gone: bool) -> None:
    """A tenth may go, more is kept until a person says so (DESIGN §6.7)."""
    emptied(shelf, 20, left)
    files, stopped = reconcile.remove_missed(shelf.manifest, shelf.holdings, accept=False)
    assert (files, stopped) == ((2 * left, 0) if gone else (0, left))
    states = [state for state, _ in shelf.rows().values()]
    assert states.count("gone") == files
    shelf.check()
    assert len(shelf.files()) == 40, "a mark takes no file"


def test_an_accepted_removal_goes_on(shelf: Shelf) -> None:
    """With `--accept-removals` all that left is marked, once."""
    emptied(shelf, 5, 5)
    assert reconcile.remove_missed(shelf.manifest, shelf.holdings, accept=True) == (10, 0)
    assert missed_photos(shelf.manifest) == 0
    assert shelf.manifest.count("SELECT count(*) FROM photos WHERE gone_since > 0") == 5
    assert reconcile.remove_missed(shelf.manifest, shelf.holdings, accept=True) == (0, 0)


def test_forgotten_files_stay_forgotten(shelf: Shelf) -> None:
    """What was to be forgotten is not made anything else by leaving."""
    emptied(shelf, 1, 1)
    shelf.manifest.change("UPDATE files SET state = 'forgotten' WHERE variant = 'large'")
    reconcile.remove_missed(shelf.manifest, shelf.holdings, accept=True)
    assert {row[0] for row in shelf.rows().values()} == {"forgotten", "gone"}


def test_gone_photos_go_to_the_trash_at_the_next_full_pass(shelf: Shelf) -> None:
    """Only what was gone before the pass began is moved; the rest waits (DESIGN §6.7)."""
    emptied(shelf, 1, 1)
    reconcile.remove_missed(shelf.manifest, shelf.holdings, accept=True)
    assert reconcile.empty_into_trash(shelf.holdings, shelf.store, 1000) == 0
    assert reconcile.empty_into_trash(shelf.holdings, shelf.store, LATER) == 2
    assert shelf.files() == set()
    assert len(shelf.files(TRASH)) == 2
    assert reconcile.empty_into_trash(shelf.holdings, shelf.store, LATER) == 0


def test_a_gone_file_that_somebody_deleted_ends_the_search(shelf: Shelf) -> None:
    """A gone file at no place is done with; it is not asked for the trash for ever."""
    emptied(shelf, 1, 1)
    reconcile.remove_missed(shelf.manifest, shelf.holdings, accept=True)
    (shelf.folder / "2026-01-19/06/large/p00.jpg").unlink()
    assert reconcile.empty_into_trash(shelf.holdings, shelf.store, LATER) == 1
    assert shelf.rows()["p00", "large"] == ("gone", None)


def test_a_photo_that_returns_is_restored_from_the_trash(shelf: Shelf) -> None:
    """It is not fetched again: its bytes are found where they lie, and checked (DESIGN §6.7)."""
    emptied(shelf, 1, 1)
    reconcile.remove_missed(shelf.manifest, shelf.holdings, accept=True)
    reconcile.empty_into_trash(shelf.holdings, shelf.store, LATER)
    shelf.next_pass()
    ready = []
    for job in shelf.read(window(SEVEN), [photo("p00")]):
        found = shelf.store.find(job)
        assert found is not None
        ready.append(found)
    assert set(shelf.settle(ready)) == shelf.files()
    assert {state for state, _ in shelf.rows().values()} == {"present"}
    shelf.check()
    assert shelf.files(TRASH) == set()


def test_the_trash_is_emptied_by_its_days(shelf: Shelf) -> None:
    """Days that have lain for `trash_keep` go with their rows' places; today's, and what is not ours, stay."""
    emptied(shelf, 1, 1)
    reconcile.remove_missed(shelf.manifest, shelf.holdings, accept=True)
    reconcile.empty_into_trash(shelf.holdings, shelf.store, LATER)
    place = shelf.folder / TRASH
    (today,) = place.iterdir()
    (place / "notes").mkdir()
    (place / "2001-01-01").write_text("a file")
    assert shelf.purge(0, seen_before=86_400) == 0
    today.rename(place / "2020-02-29")
    shelf.manifest.change("UPDATE files SET path = replace(path, ?, '2020-02-29')", [today.name])
    assert shelf.purge((1 << 63) - 1) == 0
    assert shelf.purge(86_400, seen_before=86_399) == 0
    assert shelf.purge(86_400, seen_before=1) == 1
    assert {path.name for path in place.iterdir()} == {"notes", "2001-01-01"}
    assert {path for _, path in shelf.rows().values()} == {None}
    shelf.next_pass()
    assert all(job.held is None for job in shelf.read(Listing(), [photo("p00")]))


def test_old_trash_that_is_wanted_stays(shelf: Shelf) -> None:
    """By its bytes or by the place it came from; not for what is present, whole or forgotten, or only in the trash."""
    shelf.have(window(SIX), "present", "pending", "failed", "whole", "rotten", "left", "forgotten")
    states = {"pending": "pending", "failed": "failed", "forgotten": "forgotten"}
    states |= dict.fromkeys(("whole", "rotten", "left"), "gone")
    for image_id, state in states.items():
        shelf.manifest.change("UPDATE files SET state = ? WHERE image_id = ?", [state, image_id])
    shelf.manifest.change(
        "UPDATE photos SET gone_since = 1 WHERE image_id IN ('whole', 'rotten', 'left')"
    )
    day, hour = shelf.folder / TRASH / "2020-02-29", shelf.folder / DAY / "large"
    (day / "of").mkdir(parents=True)
    for image_id in ("present", *states):
        shutil.copy(hour / f"{image_id}.jpg", day / "of" / image_id)
    (hour / "rotten.jpg").write_bytes(jpeg("other"))
    (hour / "left.jpg").unlink()
    shelf.manifest.change(
        "UPDATE files SET path = ? WHERE image_id = 'left' AND variant = 'large'",
        [f"{TRASH}2020-02-29/of/left"],
    )
    (day / DAY / "large").mkdir(parents=True)
    for name in (
        "pending.jpg",
        "failed.jpg.2",
        "rotten.jpg",
        "whole.jpg",
        "present.jpg",
        "new.jpg",
    ):
        (day / DAY / "large" / name).write_bytes(b"damaged")
    (day / "link").symlink_to("of/pending")
    assert shelf.purge(0) == 0
    assert {path.relative_to(day).as_posix() for path in day.rglob("*") if not path.is_dir()} == {
        "of/pending",
        "of/failed",
        "of/rotten",
        f"{DAY}/large/pending.jpg",
        f"{DAY}/large/failed.jpg.2",
        f"{DAY}/large/rotten.jpg",
    }
    shelf.manifest.change("UPDATE files SET state = 'present'")
    assert shelf.purge(0) == 1
    assert not day.exists()


@pytest.mark.parametrize("image_id", ["a5", "IMG 5"])
def test_what_may_be_all_that_is_left_of_a_photo_stays(shelf: Shelf, image_id: str) -> None:
    """It was never had by its rows, and nothing but the name tells of its copies: they stay, by any layout, and are told."""
    shelf.read(window(SIX), [photo(image_id), photo("b7"), photo("nowhere")])
    shelf.manifest.change("UPDATE files SET state = 'failed' WHERE variant = 'large'")
    shelf.manifest.change("UPDATE files SET state = 'present' WHERE image_id = 'b7'")
    shelf.manifest.set_meta({"former_layouts": ["{variant}/{date}/{image_id}"]})
    name, day = safe_name(image_id), shelf.folder / TRASH / "2020-02-29"
    kept = {
        f"{DAY}/large/{name}.jpg",
        f"{DAY}/large/{name}.jpg.1",
        f"{DAY}/thumbnail/{name}.png",
        f"large/2025-01-01/{name}.jpg",
    }
    others = {
        f"{DAY}/large/{name}.edit.jpg",
        f"{DAY}/large/{name}.tif",
        f"{DAY}/original/{name}.jpg",
        f"{DAY}/large/b7.jpg",
        f"{DAY}/large/c{name}.jpg",
        f"of/{name}.jpg",
    }
    for path in kept | others:
        (day / path).parent.mkdir(parents=True, exist_ok=True)
        (day / path).write_bytes(jpeg(path))
    assert shelf.purge(0) == 0
    assert {path.relative_to(day).as_posix() for path in day.rglob("*") if path.is_file()} == kept
    (note,) = shelf.notes
    assert f"2020-02-29/{DAY}/large/{name}.jpg and 3 more: in the trash, under the name" in note
    shelf.manifest.change("UPDATE files SET sha256 = '00' WHERE variant = 'large'")
    assert shelf.purge(0) == 0
    assert f"{DAY}/thumbnail/{name}.png: in the trash" in shelf.notes[1]
    shelf.manifest.change("UPDATE files SET state = 'present'")
    assert shelf.purge(0) == 1
    assert len(shelf.notes) == 2


def test_photos_that_left_stay_where_they_are_to_be_kept(shelf: Shelf) -> None:
    """Also those that went to the trash while they were not; a replaced picture beside them goes."""
    emptied(shelf, 1, 1)
    reconcile.remove_missed(shelf.manifest, shelf.holdings, accept=True)
    reconcile.empty_into_trash(shelf.holdings, shelf.store, LATER)
    (today,) = (shelf.folder / TRASH).iterdir()
    old = today.rename(today.with_name("2020-02-29"))
    for column in ("path", "folder"):
        shelf.manifest.change(
            f"UPDATE files SET {column} = replace({column}, ?, '2020-02-29')", [today.name]
        )
    left = {path for path in old.rglob("*") if path.is_file()}
    (old / DAY / "large/replaced.jpg").write_bytes(jpeg("before"))
    assert shelf.purge(0, left=False) == 0
    assert {path for path in old.rglob("*") if path.is_file()} == left
    assert all(path is not None for _, path in shelf.rows().values())
    assert shelf.purge(0) == 1
    assert {path for _, path in shelf.rows().values()} == {None}


def test_old_trash_that_cannot_be_read_stays(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    """It may be what is wanted, where it has the size: it is not deleted unseen."""
    shelf.have(window(SIX), "a")
    shelf.manifest.change("UPDATE files SET state = 'failed'")
    day = shelf.folder / TRASH / "2020-02-29"
    day.mkdir(parents=True)
    shutil.copy(shelf.folder / DAY / "large/a.jpg", day / "any")
    (day / "other").write_bytes(b"another size")

    def broken(*_: object) -> int:
        raise OSError(errno.EIO, "the disk")

    monkeypatch.setattr(os, "readv", broken)
    assert shelf.purge(0) == 0
    assert {path.name for path in day.iterdir()} == {"any"}


def test_the_only_whole_copy_of_a_present_file_stays_in_the_trash(shelf: Shelf) -> None:
    """Its photo left, but another has the same bytes, which rotted since: a repair finds them here."""
    shelf.have(window(SIX), "left", "twin", body=jpeg("the same"))
    shelf.manifest.change("UPDATE files SET state = 'gone' WHERE image_id = 'left'")
    shelf.manifest.change("UPDATE photos SET gone_since = 1 WHERE image_id = 'left'")
    day = f"{TRASH}2020-02-29"
    (shelf.folder / day).mkdir(parents=True)
    for variant in VARIANTS:
        (shelf.folder / DAY / variant / "left.jpg").rename(shelf.folder / day / f"{variant}.jpg")
        shelf.manifest.change(
            "UPDATE files SET folder = ?, path = ? WHERE image_id = 'left' AND variant = ?",
            [day, f"{day}/{variant}.jpg", variant],
        )
    twin = shelf.folder / DAY / "large/twin.jpg"
    whole = twin.read_bytes()
    twin.unlink()
    twin.write_bytes(whole[:-3] + b"\0" + whole[-2:])
    assert shelf.purge(0) == 0
    assert shelf.files(day) == {f"{day}/large.jpg", f"{day}/thumbnail.jpg"}
    assert shelf.rows()["left", "large"] == ("gone", f"{day}/large.jpg")
    twin.write_bytes(whole)
    assert shelf.purge(0) == 1
    assert shelf.rows()["left", "large"] == ("gone", None)


def test_trash_that_may_not_be_deleted_is_told(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A pass does not end for it: whose the files are is for a person to see."""
    for name in ("2020-02-28", "2020-02-29"):
        (shelf.folder / TRASH / name).mkdir(parents=True)
    remove = Tree.remove_folder

    def refuse(tree: Tree, path: str) -> None:
        if path.endswith("28"):
            raise PermissionError(errno.EACCES, "Permission denied")
        remove(tree, path)

    monkeypatch.setattr(Tree, "remove_folder", refuse)
    assert shelf.purge(0) == 1
    (note,) = shelf.notes
    assert note.endswith(
        "trash/2020-02-28 may not be deleted (Permission denied): see whose files lie there"
    )


def test_an_empty_mirror_has_no_trash(shelf: Shelf) -> None:
    """Nothing to empty is no fault."""
    assert shelf.purge(0, seen_before=86_400) == 0
    assert reconcile.recover(shelf.holdings, shelf.store) == 0
