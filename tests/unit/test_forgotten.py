"""Photos that are to be forgotten: nothing of them is left, whatever interrupts it, and nothing else is touched."""

from __future__ import annotations

import hashlib
import json
import os
import sqlite3
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

import pytest

from ninepic_mirror.archive import forgotten, inventory
from ninepic_mirror.archive.balance import balance, counted
from ninepic_mirror.archive.files import Tree
from ninepic_mirror.archive.forgotten import FILE, Oblivion, Veil
from ninepic_mirror.archive.manifest import Manifest
from ninepic_mirror.archive.partial import place
from ninepic_mirror.archive.placement import Layout
from ninepic_mirror.archive.schema import VERSION_1, VERSION_2
from ninepic_mirror.archive.traces import Signs, holds
from ninepic_mirror.config import DEFAULT_LAYOUT
from ninepic_mirror.errors import StorageError
from ninepic_mirror.model import Photo
from tests.shelf import SIX, VARIANTS, Shelf, jpeg, open_shelf, photo, window

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from ninepic_mirror.archive.manifest import Row, Value

NAME = "victim-of-fame"
TRASH = ".ninepic-mirror/trash/2026-01-01"


def fill(shelf: Shelf) -> None:
    """Have three photos, one of them in every corner of the folder."""
    shelf.have(window(SIX), NAME, f"{NAME}-2", "other")
    tree, folder = shelf.tree, shelf.folder
    for path in (
        place(NAME, "large"),
        f"{place(NAME, 'large')}.resume",
        f".ninepic-mirror/trash/2026-01-01/2026-01-18/05/large/{NAME}.jpg",
        f".ninepic-mirror/trash/2026-01-01/2026-01-18/05/large/{NAME}.jpg.1",
        f"undated/large/{NAME}.png",
    ):
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(b"x")
    (folder / ".ninepic-mirror/manifest.sqlite3.version-1").write_bytes(
        b"x" * 2_000_000 + NAME.encode()
    )
    (folder / ".ninepic-mirror/manifest.sqlite3.corrupt-1").write_bytes(b"innocent")
    shelf.manifest.change("INSERT INTO named VALUES (?, 'x')", [f"undated/large/{NAME}.png"])
    number = shelf.manifest.begin_pass("quick")
    report: dict[str, object] = {"failures": [{"image_id": NAME}, {"image_id": "other"}]}
    shelf.manifest.end_pass(number, "quick", report, whole=False)
    assert tree.stat(f"undated/large/{NAME}.png") is not None


def oblivion(shelf: Shelf) -> Oblivion:
    """Return what forgets."""
    return Oblivion(shelf.manifest, shelf.tree, shelf.layout)


def traces(shelf: Shelf, image_id: str = NAME) -> list[str]:
    """Return what still names the photo, and not another whose name begins with its."""
    exact = image_id.encode()
    found = []
    for path in shelf.folder.rglob("*"):
        name = path.name.replace(f"{image_id}-2", "")
        content = path.read_bytes().replace(exact + b"-2", b"") if path.is_file() else b""
        if image_id in name or exact in content:
            found.append(path.relative_to(shelf.folder).as_posix())
    return found


def check(shelf: Shelf) -> None:
    """Assert that the photo is gone in every respect, and nothing else is."""
    assert traces(shelf) == []
    assert counted_rows(shelf) == {"forgotten": 2, "present": 4}
    shelf.check()
    assert len([path for path in shelf.files() if path.endswith(".jpg")]) == 4
    assert (shelf.folder / ".ninepic-mirror/manifest.sqlite3.corrupt-1").exists()
    there = balance(shelf.manifest, VARIANTS)
    assert (there.photos, there.present, there.missing) == (3, 4, 0)
    assert shelf.manifest.rows("SELECT erased FROM forgotten") == [(1,)]
    assert shelf.manifest.meta("leaving") is None
    assert shelf.manifest.rows("PRAGMA integrity_check") == [("ok",)]


def counted_rows(shelf: Shelf) -> dict[object, object]:
    """Return how many file rows there are of each state."""
    return dict(shelf.manifest.rows("SELECT state, count(*) FROM files GROUP BY state"))  # type: ignore[arg-type]  # pairs


def test_a_link_in_the_place_of_an_older_manifest_is_not_followed(shelf: Shelf) -> None:
    """What it leads to is somebody else's: it is neither read nor told as a copy that was removed."""
    shelf.have(window(SIX), NAME)
    (shelf.folder.parent / "canary").write_text(NAME)
    link = shelf.folder / ".ninepic-mirror/manifest.sqlite3.bak"
    link.symlink_to(shelf.folder.parent / "canary")
    forget = oblivion(shelf)
    forget.remember([NAME])
    assert forget.finish([NAME]).copies == []
    assert link.is_symlink()


def test_every_trace_goes(shelf: Shelf) -> None:
    """Places, parts, trash, sums, older manifests, reports, rows; a photo with a longer name keeps everything."""
    fill(shelf)
    forget = oblivion(shelf)
    forget.remember([NAME])
    gone = forget.finish([NAME])
    assert (gone.photos, gone.files, gone.erased) == (1, 7, True)
    assert gone.copies == ["manifest.sqlite3.version-1"]
    assert (gone.twins, gone.packages) == ([], [])
    assert counted(shelf.manifest, VARIANTS) is None
    check(shelf)
    again = oblivion(shelf).finish([NAME])
    assert (again.photos, again.files) == (0, 0)


class Killed(BaseException):
    """The end of the process."""


@contextmanager
def killed_at(step: int, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Let the program die at the so many-th thing that it does to disk or manifest."""
    done: list[str] = []

    def dying(kind: type, name: str) -> None:
        real = getattr(kind, name)

        def die(*words: object, **more: object) -> object:
            done.append(name)
            if len(done) == step:
                raise Killed
            return real(*words, **more)

        patched.setattr(kind, name, die)

    with monkeypatch.context() as patched:
        for name in ("remove", "move", "sync_folder", "prune"):
            dying(Tree, name)
        for name in ("change", "change_each", "rows"):
            dying(Manifest, name)
        yield done


def test_a_crash_anywhere_is_finished_by_the_next_pass(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Cut off at any step, the photo is either all there and unforgotten, or the next `finish` forgets it."""
    steps = undone = 0
    while True:
        steps += 1
        with open_shelf(tmp_path / str(steps)) as shelf:
            fill(shelf)
            forget = oblivion(shelf)
            died = True
            with killed_at(steps, monkeypatch):
                try:
                    forget.remember([NAME])
                    forget.finish([NAME])
                    died = False
                except Killed:
                    pass
            for state, path in shelf.rows().values():
                assert state != "present" or (shelf.folder / str(path)).is_file()
            gone = oblivion(shelf).finish()
            if (shelf.folder / FILE).exists():
                check(shelf)
            else:
                assert gone.photos == 0
                assert counted_rows(shelf) == {"present": 6}
                undone += 1
            if not died:
                break
    assert steps > 40
    assert undone < 10


def test_a_listing_is_veiled(shelf: Shelf) -> None:
    """The service goes on naming it: it is counted, in its hour, and nothing is fetched or recorded of it."""
    forget = oblivion(shelf)
    forget.remember([NAME])
    assert forget.finish([NAME]).photos == 0
    shelf.have(window(SIX), "other")
    for _ in range(2):
        shelf.next_pass()
        assert shelf.read(window(SIX), [photo(NAME), photo("other")]) == []
    assert counted_rows(shelf) == {"forgotten": 2, "present": 2}
    assert shelf.manifest.rows(
        "SELECT count(*), count(url) FROM files WHERE state = 'forgotten'"
    ) == [(2, 0)]
    assert shelf.manifest.rows("SELECT count(*), count(width), max(hour) FROM photos") == [
        (2, 1, SIX)
    ]
    assert traces(shelf) == []
    there = balance(shelf.manifest, VARIANTS)
    assert (there.photos, there.missing) == (2, 0)


def test_equal_bytes_of_another_photo_stay(shelf: Shelf) -> None:
    """The name of the forgotten one goes, the other name of the same inode stays and is told."""
    shelf.have(window(SIX), NAME, "other", body=jpeg("equal"))
    forget = oblivion(shelf)
    forget.remember([NAME])
    gone = forget.finish([NAME])
    assert {(twin.image_id, twin.variant) for twin in gone.twins} == {
        ("other", "large"),
        ("other", "thumbnail"),
    }
    assert (gone.files, gone.bytes) == (2, len(jpeg("equal")))
    shelf.check()
    assert counted_rows(shelf) == {"forgotten": 2, "present": 2}


def test_nothing_of_it_is_left_in_partial(shelf: Shelf) -> None:
    """A kill leaves a second name there between link and rename, and a repair a copy: they go, and are no other names."""
    shelf.have(window(SIX), NAME, "other")
    partial = shelf.folder / ".ninepic-mirror/partial"
    large = next(shelf.folder.rglob(f"large/{NAME}.jpg"))
    for name in (f"large-{NAME}.twin", "copy"):
        (partial / name).hardlink_to(large)
    (partial / f"large-{NAME}.resume.new").write_bytes(b"x")
    kept = [partial / "large-other", partial / "large-other.resume"]
    for one in kept:
        one.write_bytes(b"x")
    forget = oblivion(shelf)
    forget.remember([NAME])
    gone = forget.finish([NAME])
    assert sorted(partial.iterdir()) == kept
    assert (gone.files, gone.other_names) == (2, 0)


def test_names_of_somebody_else_are_counted(shelf: Shelf, tmp_path: Path) -> None:
    """A hard link that nobody of us made keeps the bytes: each such name is told, those of other photos apart."""
    shelf.have(window(SIX), NAME, "other", body=jpeg("equal"))
    large = next(shelf.folder.rglob(f"large/{NAME}.jpg"))
    (tmp_path / "mine.jpg").hardlink_to(large)
    large.with_name("best.jpg").hardlink_to(large)
    forget = oblivion(shelf)
    forget.remember([NAME])
    gone = forget.finish([NAME])
    assert (gone.files, len(gone.twins), gone.other_names) == (2, 2, 2)
    assert (tmp_path / "mine.jpg").read_bytes() == jpeg("equal")


def test_names_are_not_counted_by_who_finishes(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a kill nothing tells any more which names are those of other photos: none is called somebody else's."""
    shelf.have(window(SIX), NAME, "other", body=jpeg("equal"))
    forget = oblivion(shelf)
    forget.remember([NAME])
    with monkeypatch.context() as patch:
        patch.setattr(Oblivion, "_unlink", lambda *_: (_ for _ in ()).throw(Killed))
        with pytest.raises(Killed):
            forget.finish([NAME])
    gone = oblivion(shelf).finish([NAME])
    assert (gone.files, gone.other_names) == (2, 0)
    shelf.check()


def test_equal_bytes_out_of_sight(shelf: Shelf) -> None:
    """A photo that is gone may have them, and the trash, under whatever name: they stay, and are told."""
    shelf.have(window(SIX), NAME, "left", body=jpeg("equal"))
    shelf.manifest.change("UPDATE files SET state = 'gone' WHERE image_id = 'left'")
    trash = shelf.folder / TRASH / "2026-01-18/large"
    trash.mkdir(parents=True)
    (trash / "other.jpg").write_bytes(jpeg("equal"))
    (trash / "third.jpg").write_bytes(jpeg("equil"))
    (trash / f"{NAME}.jpg").write_bytes(jpeg("equal"))
    forget = oblivion(shelf)
    forget.remember([NAME])
    gone = forget.finish([NAME])
    assert gone.files == 3
    assert sorted(str(twin.image_id) for twin in gone.twins) == ["None", "left", "left"]
    assert {twin.path for twin in gone.twins} >= {f"{TRASH}/2026-01-18/large/other.jpg"}
    assert all((shelf.folder / twin.path).is_file() for twin in gone.twins)


def test_a_place_of_another_row_stays(shelf: Shelf) -> None:
    """Whatever a name looks like: what another photo's row has as its place is that photo's."""
    shelf.have(window(SIX), "other")
    (path,) = shelf.files("2026-01-19/06/large")
    named = path.replace("other", NAME)
    (shelf.folder / path).rename(shelf.folder / named)
    shelf.manifest.change("UPDATE files SET path = ? WHERE variant = 'large'", [named])
    forget = oblivion(shelf)
    forget.remember([NAME])
    assert forget.finish([NAME]).files == 0
    shelf.check()


@pytest.mark.parametrize(
    ("path", "is_ours"),
    [
        (f"alpha/large/{NAME}.jpg", True),
        (f"{NAME}/of-an-old-layout/large.jpg.3", True),
        (f"b/2026-01-18_{NAME}-large.png", True),
        (f"b/large{NAME}thumbnail", True),
        (f"alpha/large/{NAME}-2.jpg", False),  # a photo that the manifest knows
        (f"alpha/large/{NAME}~0123.jpg", False),
        (f"alpha/large/{NAME}s.jpg", False),
        (f"alpha/large/a{NAME}.jpg", False),
    ],
)
def test_the_trash_of_an_earlier_layout(shelf: Shelf, path: str, *, is_ours: bool) -> None:
    """No one knows the layouts of long ago: in the trash a whole name in any component tells."""
    shelf.have(window(SIX), NAME, f"{NAME}-2", "a")
    there = shelf.folder / TRASH / path
    there.parent.mkdir(parents=True)
    there.write_bytes(b"x")
    forget = oblivion(shelf)
    forget.remember([NAME])
    forget.finish([NAME])
    assert there.exists() != is_ours
    there.parent.mkdir(parents=True, exist_ok=True)
    there.write_bytes(b"x")
    assert forget.finish([NAME]).files == is_ours


@pytest.mark.parametrize("image_id", ["06", "large", "2026-01-18", "18"])
def test_a_name_like_a_date_takes_nothing_along(shelf: Shelf, image_id: str) -> None:
    """A photo may be called as an hour, a day or a variant is."""
    shelf.have(window(SIX), image_id)
    there = shelf.folder / TRASH / "alpha/2026-01-18/06/large/unknown.jpg"
    there.parent.mkdir(parents=True)
    there.write_bytes(b"x")
    forget = oblivion(shelf)
    forget.remember([image_id])
    assert forget.finish([image_id]).files == 2
    assert there.exists()


@pytest.mark.parametrize("length", [4, 600, 5000])
def test_a_copy_is_known_by_a_long_id(shelf: Shelf, tmp_path: Path, length: int) -> None:
    """SQLite cuts long texts into pages; JSON writes other characters than the id has."""
    copy = tmp_path / "copy"
    image_id = "".join(hashlib.sha256(b"%d" % at).hexdigest() for at in range(99))[:length]
    with closing(sqlite3.connect(copy)) as made:
        made.execute("CREATE TABLE t (a PRIMARY KEY, b) WITHOUT ROWID")
        made.executemany(
            "INSERT INTO t VALUES (?, ?)", [(f"{n}{'-' * 300 * n}", image_id) for n in range(9)]
        )
        made.commit()
    assert holds(copy, [image_id])
    assert not holds(copy, ["y" * length])
    copy.write_text(json.dumps("Läufer"))
    assert holds(copy, ["Läufer"])
    assert not holds(tmp_path / "none", [image_id])


def test_packages_that_hold_it(shelf: Shelf) -> None:
    """They are named, also when it is asked again, and the manifest no longer says what of it they hold."""
    shelf.have(window(SIX), NAME, "other")
    manifest = shelf.manifest
    manifest.change("INSERT INTO cameras VALUES (?, 'hash', 'Asha', NULL)", [NAME])
    for number, held in enumerate((NAME, "other")):
        manifest.change(
            "INSERT INTO deliveries (id, bag_id, destination, made_at, files, bytes) VALUES (?, ?, '/disk', 1, 1, 1)",
            [number, f"bag {number}"],
        )
        manifest.change("INSERT INTO delivered VALUES (?, ?, 'large', 'hash')", [number, held])
    forget = oblivion(shelf)
    forget.remember([NAME])
    for _ in range(2):
        assert [one.bag_id for one in forget.finish([NAME]).packages] == ["bag 0"]
    assert not manifest.rows("SELECT * FROM cameras")
    assert {row[-1] for row in manifest.rows("SELECT * FROM delivered")} == {"", "hash"}
    assert not manifest.rows("SELECT * FROM delivered WHERE image_id = ?", [NAME])


def test_reports_say_nothing_of_it(shelf: Shelf) -> None:
    """Neither hashes nor reasons: entries stay, so that what they were counted in adds up."""
    name = 'Läu"fer'
    shelf.have(window(SIX), name, "other")
    number = shelf.manifest.begin_pass("quick")
    entries = [
        {"image_id": one, "variant": "large", "before": f"hash of {one}", "after": "x"}
        for one in (name, "other")
    ]
    before: dict[str, object] = {"recheck": {"replaced": 2, "replacements": entries}}
    shelf.manifest.end_pass(number, "quick", before, whole=True)
    forget = oblivion(shelf)
    forget.remember([name])
    forget.finish([name])
    ((text,),) = shelf.manifest.rows("SELECT report FROM passes")
    assert json.loads(str(text)) == {
        "recheck": {
            "replaced": 2,
            "replacements": [
                {
                    "image_id": Veil.of(shelf.manifest).pseudonym(name),
                    "variant": "large",
                    "before": None,
                    "after": None,
                },
                entries[1],
            ],
        }
    }


def test_a_new_manifest_reads_the_list(tmp_path: Path) -> None:
    """The list beside the photos outlives the manifest, and the manifest the list."""
    with open_shelf(tmp_path) as shelf:
        oblivion(shelf).remember([NAME])
        for path in (shelf.folder / ".ninepic-mirror").glob("manifest*"):
            path.unlink()
    with (
        Tree(shelf.folder, durable=False) as tree,
        Manifest.open(shelf.root.manifest_path(shelf.folder), durable=False) as manifest,
    ):
        text = (shelf.folder / FILE).read_text()
        assert Oblivion(manifest, tree, DEFAULT_LAYOUT).finish().erased
        assert Veil.of(manifest).hides(NAME)
        assert forgotten.counted(manifest) == 1
        (shelf.folder / FILE).unlink()
        Oblivion(manifest, tree, DEFAULT_LAYOUT).finish()
        assert (shelf.folder / FILE).read_text() == text
        manifest.set_meta({"forgotten_salt": "0" * 32})
        with pytest.raises(StorageError, match="its salt"):
            Oblivion(manifest, tree, DEFAULT_LAYOUT).finish()


@pytest.mark.parametrize(
    "text", ["", "nonsense\n", f"{'0' * 64}\n", f"salt {'0' * 32}\nsalt {'1' * 32}\n"]
)
def test_a_damaged_list_is_not_taken_for_an_empty_one(shelf: Shelf, text: str) -> None:
    """Forgotten photos would come back."""
    (shelf.folder / FILE).write_text(text)
    with pytest.raises(StorageError, match="cannot be understood"):
        oblivion(shelf).finish()


@pytest.mark.parametrize(
    "damage",
    ["", "nonsense\n", "{digests}", "{all}nonsense\n", f"salt {'0' * 32}\n{'1' * 64}\n\x00\n", "{all}{all}salt " + "2" * 32],
)  # fmt: skip
def test_a_damaged_list_is_written_anew(shelf: Shelf, damage: str) -> None:
    """As long as the manifest knows what is to be forgotten; what can be read of the list counts, too."""
    forget = oblivion(shelf)
    forget.remember([NAME])
    forget.finish()
    whole = (shelf.folder / FILE).read_text()
    digests = whole.splitlines(keepends=True)[2]
    (shelf.folder / FILE).write_text(damage.format(all=whole, digests=digests))
    assert oblivion(shelf).finish().erased
    assert (shelf.folder / FILE).read_text() == whole
    (shelf.folder / FILE).write_text(damage.format(all=whole, digests=digests))
    forget.remember(["another"])
    text = (shelf.folder / FILE).read_text()
    assert text.count("\n") == 4
    assert digests in text


def test_a_reader_keeps_the_log(shelf: Shelf) -> None:
    """While somebody reads, the log cannot be emptied: it says so, and the next pass does it."""
    fill(shelf)
    with Manifest.open(shelf.manifest.path, durable=False) as reader:
        reader.rows("BEGIN")
        reader.rows("SELECT count(*) FROM files")
        shelf.manifest.rows("PRAGMA busy_timeout = 50")
        forget = oblivion(shelf)
        forget.remember([NAME])
        assert not forget.finish([NAME]).erased
        reader.rows("ROLLBACK")
    assert oblivion(shelf).finish().erased
    check(shelf)


@pytest.mark.parametrize("when", ["before", "halfway"])
def test_no_room_to_erase(shelf: Shelf, monkeypatch: pytest.MonkeyPatch, when: str) -> None:
    """The photo is forgotten all the same; what is unfinished is told, and done when there is room."""
    fill(shelf)
    forget = oblivion(shelf)
    forget.remember([NAME])
    with monkeypatch.context() as full:
        real, rows = os.statvfs, Manifest.rows
        if when == "before":
            state = os.statvfs_result((*real("/")[:4], 0, *real("/")[5:]))
            full.setattr(os, "statvfs", lambda _: state)
        else:

            def refuse(
                manifest: Manifest, statement: str, values: Iterable[Value] = ()
            ) -> list[Row]:
                if statement == "VACUUM":
                    raise StorageError("manifest", "the disk is full")
                return rows(manifest, statement, values)

            full.setattr(Manifest, "rows", refuse)
        gone = forget.finish([NAME])
        assert (gone.photos, gone.files, gone.erased) == (1, 7, False)
        assert "needs up to" in "".join(gone.warnings)
        assert not oblivion(shelf).finish().erased
    assert shelf.manifest.rows("SELECT erased FROM forgotten") == [(0,)]
    assert traces(shelf) == []
    assert oblivion(shelf).finish().erased
    check(shelf)


def test_an_older_schema_knows_nothing(tmp_path: Path) -> None:
    """A manifest that is only read may be of an older version."""
    with Manifest.open(tmp_path / "m", migrations=(VERSION_1, VERSION_2)) as manifest:
        assert (Veil.of(manifest), forgotten.counted(manifest)) == (Veil(), 0)


def test_the_hash_is_the_documented_one() -> None:
    """SHA-256 of the salt and the id."""
    assert Veil("ab").digest("c") == hashlib.sha256(b"abc").hexdigest()


@pytest.mark.parametrize(
    "layout",
    [DEFAULT_LAYOUT, "{image_id}/{variant}/{hour}{ext}", "{date}_{image_id}-{variant}{ext}"],
)
@pytest.mark.parametrize("image_id", ["06", "large", "a-b", "A b"])
def test_names_are_told_exactly(layout: str, image_id: str) -> None:
    """By its layout a path tells whose it is, though the id be an hour's number or a variant's name."""
    made = Layout.parse(layout)
    signs = Signs([image_id], [made])
    others = ["07", "thumbnail", f"{image_id}b", f"b{image_id}"]

    def is_ours(path: str) -> bool | None:
        return signs.whose(path, {*others}.intersection, in_trash=True)

    for taken in (None, SIX):
        for variant in VARIANTS:
            own = made.stem(taken, ZoneInfo("UTC"), variant, image_id)
            assert is_ours(f"{own}.jpg")
            assert is_ours(f"{own}.jpg.3")
            for other in others:
                stem = made.stem(taken, ZoneInfo("UTC"), variant, other)
                assert is_ours(f"{stem}.jpg") is False


def test_only_below_a_folder(shelf: Shelf) -> None:
    """`walk` may begin anywhere."""
    (shelf.folder / "a/b").mkdir(parents=True)
    (shelf.folder / "a/b/c").write_bytes(b"")
    (shelf.folder / "d").write_bytes(b"")
    assert list(inventory.walk(shelf.tree, "a")) == [("a/b", ["c"])]


def test_an_id_that_looks_like_a_pseudonym_is_no_photo() -> None:
    """A listing that holds one does not add up; one that only begins so is a photo like any other."""
    veil = Veil()
    false, usual = Photo(veil.pseudonym("a"), "u", "u"), Photo("forgotten~x", "u", "u")
    assert veil.over([false, usual]) == [usual]
    assert Veil("ab", frozenset({Veil("ab").digest("c")})).over([false, usual]) == [usual]
