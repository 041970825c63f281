"""Which files go with a forgotten photo, which are another's, and what is left and told because nothing tells."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from ninepic_mirror.archive.belongings import Undecided
from ninepic_mirror.archive.forgotten import LEAVING, Gone, Oblivion
from ninepic_mirror.archive.placement import safe_name
from tests.shelf import DAY, SIX, Shelf, jpeg, sha256, window

if TYPE_CHECKING:
    from pathlib import Path

NAME = "victim-of-fame"
TRASH = ".ninepic-mirror/trash/2026-01-01"


def put(shelf: Shelf, path: str, data: bytes = b"x") -> Path:
    """Write a file that no row knows."""
    there = shelf.folder / path
    there.parent.mkdir(parents=True, exist_ok=True)
    there.write_bytes(data)
    return there


def forget(shelf: Shelf, *ids: str) -> Gone:
    """Forget photos."""
    oblivion = Oblivion(shelf.manifest, shelf.tree, shelf.layout)
    oblivion.remember(ids)
    return oblivion.finish(ids)


def forget_in_part(shelf: Shelf, image_id: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Forget a photo, but die before anything is removed."""

    class Killed(BaseException):
        pass

    with monkeypatch.context() as patch:
        patch.setattr(Oblivion, "_unlink", lambda *_: (_ for _ in ()).throw(Killed))
        with pytest.raises(Killed):
            forget(shelf, image_id)


def left(gone: Gone) -> list[str]:
    """Return the paths of what was left and told."""
    assert bool(gone.undecided) == ("nothing tells whose" in "".join(gone.warnings))
    return [one.path for one in gone.undecided]


@pytest.mark.parametrize(
    ("image_id", "path"),
    [
        ("2026", "2026-01-18/23/large/3041.jpg"),
        ("2026", "alpha/2026-01-18/large/3041.jpg"),
        ("01-18", "alpha/2026-01-18/large/known.jpg"),
        ("06", "2026-01-18/06/large/known.jpg"),
        ("06", "2026-01-18/06/large/a-photo-that-no-row-knows.jpg"),
        ("06", "alpha/06/large-known.jpg"),
        ("race", f"2026-01-18/23/large/{safe_name('Race day')}.jpg"),
        ("race", f"alpha/large/{safe_name('Race day')}.jpg.2"),
        ("known-2", "alpha/large/a-known-2.jpg"),
        (NAME, f"2026-01-18/23/large/{NAME}-of-a-photo-that-no-row-knows.jpg"),
    ],
)
def test_what_is_another_photos_stays(shelf: Shelf, image_id: str, path: str) -> None:
    """A day holds a year, a hashed name an id, a longer id a shorter one: the name of the photo is another."""
    shelf.have(window(SIX), image_id, "known", "a-known-2")
    there = put(shelf, f"{TRASH}/{path}")
    gone = forget(shelf, image_id)
    assert (gone.files, left(gone), there.exists()) == (2, [], True)


@pytest.mark.parametrize(
    ("image_id", "path"),
    [
        ("42", "all/large/42.jpg"),
        ("3041", "all/3041/large.jpg"),
        ("2026-01-18", "all/2026-01-18/large.jpg"),
        ("06", "2026-01-18/06/large/11.jpg"),
        ("alpha", "alpha/2026-01-18/large/a-photo-that-no-row-knows.jpg"),
        ("alpha", "alpha/2026-01-18/large/known.jpg"),
        (NAME, f"all/large/{NAME}-07.jpg"),
        (NAME, f"all/large/IMG{NAME}.jpg"),
        (NAME, f"all/large/{NAME}-\udcff.jpg"),
    ],
)
def test_what_cannot_be_told_is_told(shelf: Shelf, image_id: str, path: str) -> None:
    """It stays, because it may be another's only copy, and people are told; with the bytes of the photo it goes."""
    shelf.have(window(SIX), image_id, "known")
    mine = next(shelf.folder.rglob(f"large/{image_id}.jpg")).read_bytes()
    there = put(shelf, f"{TRASH}/{path}")
    also = put(shelf, f"{TRASH}/more/{path}", mine)
    gone = forget(shelf, image_id)
    assert (gone.files, left(gone)) == (3, [f"{TRASH}/{path}"])
    assert (there.exists(), also.exists()) == (True, False)
    assert left(forget(shelf, image_id)) == [f"{TRASH}/{path}"]
    there.unlink()
    assert left(forget(shelf, image_id)) == []


def test_what_replaced_files_were_is_known(shelf: Shelf) -> None:
    """Reports of `sync --recheck` have the hashes of both files, and deliveries those of what went into them."""
    shelf.have(window(SIX), "42", "43")
    entries = [
        {
            "image_id": one,
            "variant": "large",
            "before": sha256(f"old {one}".encode()),
            "after": None,
        }
        for one in ("42", "43")
    ]
    number = shelf.manifest.begin_pass("full")
    report: dict[str, object] = {"recheck": {"replacements": entries}}
    shelf.manifest.end_pass(number, "full", report, whole=True)
    shelf.manifest.change(
        "INSERT INTO delivered VALUES (1, '42', 'large', ?)", [sha256(b"delivered")]
    )
    mine = [
        put(shelf, f"{TRASH}/all/large/42.jpg", b"old 42"),
        put(shelf, f"{TRASH}/all/large/42.jpg.1", b"delivered"),
    ]
    others = [
        put(shelf, f"{TRASH}/all/large/43.jpg", b"old 43"),
        put(shelf, f"{TRASH}/all/large/42.jpg.2", b"old 43"),
    ]
    gone = forget(shelf, "42")
    assert [one.exists() for one in (*mine, *others)] == [False, False, True, True]
    assert left(gone) == [f"{TRASH}/all/large/42.jpg.2"]


@pytest.mark.parametrize(
    ("first", "one", "other", "place"),
    [
        ("all/{variant}/{image_id}{ext}", "42", "43", "all/large/{}.jpg"),
        # of the later one below, too, if a photo were called like this
        ("{variant}/{date}_{image_id}{ext}", NAME, f"{NAME}-2", "large/2026-01-19_{}.jpg.1"),
    ],
)
def test_a_former_layout_is_remembered(
    shelf: Shelf, first: str, one: str, other: str, place: str
) -> None:
    """By it the trash tells whose a file is, however short the name."""
    shelf.layout = first
    shelf.manifest.set_meta({"layout": shelf.layout})
    shelf.have(window(SIX), one, other)
    trash = [put(shelf, f"{TRASH}/{place.format(name)}") for name in (one, other)]
    for layout in ("{variant}/{image_id}{ext}", "{image_id}/{variant}{ext}"):
        shelf.layout = layout
        Oblivion(
            shelf.manifest, shelf.tree, shelf.layout
        ).finish()  # as each pass does, before it follows
        shelf.manifest.set_meta({"layout": shelf.layout})
    assert shelf.manifest.meta("former_layouts") == sorted([first, "{variant}/{image_id}{ext}"])
    gone = forget(shelf, one)
    assert (gone.files, left(gone)) == (3, [])
    assert [path.exists() for path in trash] == [False, True]


@pytest.mark.parametrize("is_equal", [True, False])
def test_two_layouts_that_give_one_place(shelf: Shelf, *, is_equal: bool) -> None:
    """A place may be this photo's by one layout and another's by the next: the bytes tell, or nothing does."""
    shelf.have(window(SIX), "large", "other")
    mine = next(shelf.folder.rglob("large/large.jpg")).read_bytes()
    shelf.layout = "{date}/{hour}/{image_id}/{variant}{ext}"
    there = put(shelf, "2026-01-20/06/large/thumbnail.jpg", mine if is_equal else b"x")
    gone = forget(shelf, "large")
    assert there.exists() != is_equal
    assert left(gone) == ([] if is_equal else ["2026-01-20/06/large/thumbnail.jpg"])


@pytest.mark.parametrize("column", ["path", "moving_to"])
def test_a_place_that_was_this_photos_once(shelf: Shelf, column: str) -> None:
    """Its row may name a place still at which another photo's file stands by now, or is about to."""
    shelf.have(window(SIX), NAME, "other")
    place = f"{DAY}/large/other.jpg"
    if column == "moving_to":
        place = f"{DAY}/large/moved.jpg"
        put(shelf, place)
        shelf.manifest.change(
            "UPDATE files SET moving_to = ? WHERE image_id = 'other' AND variant = 'large'", [place]
        )
    shelf.manifest.change(
        "UPDATE files SET state = 'pending', path = ? WHERE image_id = ? AND variant = 'large'",
        [place, NAME],
    )
    gone = forget(shelf, NAME)
    assert (gone.files, left(gone)) == (2, [])
    assert (shelf.folder / place).exists()
    shelf.check()


@pytest.mark.parametrize("is_equal", [True, False])
def test_a_place_that_two_rows_name(shelf: Shelf, *, is_equal: bool) -> None:
    """Where neither calls its file present, the bytes tell, or nothing does."""
    shelf.have(window(SIX), NAME, "other")
    mine = shelf.folder / f"{DAY}/large/{NAME}.jpg"
    if not is_equal:
        mine.write_bytes(jpeg("something else"))
    shelf.manifest.change(
        "UPDATE files SET state = 'pending', path = ? WHERE variant = 'large'",
        [f"{DAY}/large/{NAME}.jpg"],
    )
    gone = forget(shelf, NAME)
    assert mine.exists() != is_equal
    assert left(gone) == ([] if is_equal else [f"{DAY}/large/{NAME}.jpg"])


def test_copies_that_somebody_made(shelf: Shelf) -> None:
    """Elsewhere in the folder one of the name and the bytes goes, one of the name alone is told."""
    shelf.have(window(SIX), NAME)
    mine = (shelf.folder / f"{DAY}/large/{NAME}.jpg").read_bytes()
    best, edited = put(shelf, f"best/{NAME}.jpg", mine), put(shelf, f"edited/{NAME}.jpg")
    shelf.manifest.change("INSERT INTO named VALUES (?, 'x')", [f"best/{NAME}.jpg"])
    shelf.manifest.change("INSERT INTO named VALUES (?, 'x')", [f"edited/{NAME}.jpg"])
    shelf.manifest.change("INSERT INTO named VALUES (?, 'x')", [f"lost/{NAME}.jpg"])
    gone = forget(shelf, NAME)
    assert (best.exists(), edited.exists(), left(gone)) == (False, True, [f"edited/{NAME}.jpg"])
    assert shelf.manifest.rows("SELECT path FROM named") == [(f"edited/{NAME}.jpg",)]


def test_a_folder_in_the_place_of_a_file(shelf: Shelf) -> None:
    """It holds nobody knows what: it stays and is told, as long as it stands; all else goes, also where it is empty."""
    shelf.have(window(SIX), NAME, "other")
    large, thumbnail = (shelf.folder / f"{DAY}/{one}/{NAME}.jpg" for one in ("large", "thumbnail"))
    for path in (large, thumbnail):
        path.unlink()
        path.mkdir()
    (large / "deep").mkdir()
    (large / "deep/inside.txt").write_text("x")
    trashed = put(shelf, f"{TRASH}/{DAY}/large/{NAME}.jpg.1/inside.txt")
    put(shelf, f"undated/large/{NAME}.jpg")
    places = [f"{TRASH}/{DAY}/large/{NAME}.jpg.1", f"{DAY}/large/{NAME}.jpg"]
    for files in (1, 0):
        gone = forget(shelf, NAME)
        assert gone.undecided == [Undecided(path, "folder") for path in places]
        assert "(folder)" in "".join(gone.warnings)
        assert (gone.files, thumbnail.exists(), gone.erased) == (files, False, True)
    assert Oblivion(shelf.manifest, shelf.tree, shelf.layout).finish().undecided == []
    assert (large / "deep/inside.txt").exists()
    assert trashed.exists()
    shelf.check()


def test_a_folder_that_an_earlier_version_stumbled_over(shelf: Shelf) -> None:
    """What it wrote down to be removed is finished, and told."""
    shelf.have(window(SIX), NAME)
    Oblivion(shelf.manifest, shelf.tree, shelf.layout).remember([NAME])
    put(shelf, "a/b.jpg/inside.txt")
    shelf.manifest.set_meta({LEAVING: {"files": ["a/b.jpg", "a/gone.jpg"], "copies": []}})
    gone = Oblivion(shelf.manifest, shelf.tree, shelf.layout).finish()
    assert gone.undecided == [Undecided("a/b.jpg", "folder")]
    assert shelf.manifest.meta(LEAVING) is None


def test_links_and_pipes(shelf: Shelf, tmp_path: Path) -> None:
    """A link is told, because the photo may be where it leads; a pipe holds nothing and goes."""
    shelf.have(window(SIX), NAME)
    large, thumbnail = (shelf.folder / f"{DAY}/{one}/{NAME}.jpg" for one in ("large", "thumbnail"))
    large.rename(tmp_path / "moved.jpg")
    large.symlink_to(tmp_path / "moved.jpg")
    thumbnail.unlink()
    os.mkfifo(thumbnail)
    (shelf.folder / TRASH).mkdir(parents=True)
    doubtful = shelf.folder / TRASH / f"all-{NAME}.jpg"
    doubtful.symlink_to("nowhere")
    places = [f"{TRASH}/all-{NAME}.jpg", f"{DAY}/large/{NAME}.jpg"]
    assert forget(shelf, NAME).undecided == [Undecided(path, "link") for path in places]
    assert (tmp_path / "moved.jpg").exists()
    assert not os.path.lexists(thumbnail)


def test_what_is_left_is_told_by_who_finishes(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A kill before it was said leaves it to the next pass; many paths are not all said."""
    shelf.have(window(SIX), "42")
    paths = [f"{TRASH}/all/large/42.jpg.{number}" for number in range(10, 22)]
    for path in paths:
        put(shelf, path)

    forget_in_part(shelf, "42", monkeypatch)
    gone = Oblivion(shelf.manifest, shelf.tree, shelf.layout).finish()
    assert left(gone) == paths
    (text,) = gone.warnings
    assert (paths[9] in text, paths[10] in text, "… and 2 more" in text) == (True, False, True)


@pytest.mark.parametrize("is_killed", [False, True])
def test_folders_that_carry_its_name(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch, *, is_killed: bool
) -> None:
    """Neither they nor their SHA256SUMS stay, nor anything of them in the manifest; another's folder does."""
    shelf.layout = "{image_id}/{variant}{ext}"
    shelf.have(window(SIX), NAME, f"{NAME}-2", "other")
    for top in (NAME, f"{NAME}-2", "other"):
        put(shelf, f"{top}/SHA256SUMS")
    shelf.manifest.change(
        "INSERT INTO sums (folder, stale, filled) VALUES (?, 0, 0)", [f"{NAME}-of-a-former-layout"]
    )
    (shelf.folder / f"{NAME}-of-a-former-layout/SHA256SUMS").mkdir(parents=True)
    if is_killed:
        forget_in_part(shelf, NAME, monkeypatch)
    gone = (
        Oblivion(shelf.manifest, shelf.tree, shelf.layout).finish()
        if is_killed
        else forget(shelf, NAME)
    )
    assert (gone.files, left(gone)) == (2, [])
    tops = [("other",), (f"{NAME}-2",)]
    assert shelf.manifest.rows("SELECT path FROM folders ORDER BY path") == tops
    assert shelf.manifest.rows("SELECT folder FROM sums ORDER BY folder") == tops
    assert not (shelf.folder / NAME).exists()
    assert (shelf.folder / f"{NAME}-of-a-former-layout/SHA256SUMS").is_dir()
    data = shelf.manifest.path.read_bytes().replace(f"{NAME}-2".encode(), b"")
    assert NAME.encode() not in data
    shelf.check()
