"""Which files without a row may be a photo's: never somebody's copy, and nothing that a known hash contradicts."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from ninepic_mirror.archive.placement import Layout
from ninepic_mirror.archive.strays import Candidates, Stray, known_layouts
from ninepic_mirror.config import DEFAULT_LAYOUT
from tests.shelf import DAY, SIX, jobs_of, jpeg, sha256, window

if TYPE_CHECKING:
    from tests.shelf import Shelf


def test_only_names_that_a_pass_gives_are_a_photos(shelf: Shelf) -> None:
    """The stem with an extension of ours; not a copy that somebody made beside it, nor another photo's."""
    assert not shelf.holdings.has_strays()
    names = ["a.edit.jpg", "a.jpg", "a.JPG", "a.jpeg", "a.jpg~", "a", "a_.png", "ab.jpg", "%.jpg"]
    shelf.holdings.compare("d", 1, names, final=False)
    assert shelf.holdings.has_strays()
    strays = shelf.holdings.strays
    assert strays.of("d/a", "large", "a") == Candidates((Stray("d/a.jpg"),))
    assert strays.of("d/a_", "large", "a").here == (Stray("d/a_.png"),)
    assert strays.of("d/a.edit", "large", "a").here == (Stray("d/a.edit.jpg"),)
    assert strays.of("d/c", "large", "a") == Candidates()


def test_lines_tell_what_a_file_is_also_where_it_is_gone(shelf: Shelf) -> None:
    """A line for another extension of the same place says what the photo is."""
    shelf.holdings.compare("d", 1, ["a.png", "a.jpg"], final=False)
    shelf.holdings.lines.name([("d/a.webp", "w"), ("d/a.edit.jpg", "e"), ("d/a.png", "p")])
    found = shelf.holdings.strays.of("d/a", "large", "a")
    assert {*found.here} == {Stray("d/a.jpg"), Stray("d/a.png", "p")}
    assert found.said == {"p", "w"}


@pytest.mark.parametrize(
    ("here", "said", "recorded", "tried"),
    [
        ([("a.jpg", None)], "", None, [("a.jpg", None)]),  # nothing is known: a whole file is the photo
        ([("a.jpg", None), ("a.png", None)], "", None, []),  # one is somebody's, but which?
        ([("a.jpg", None)], "", "x", [("a.jpg", "x")]),  # the row knows better
        ([("a.jpg", None)], "y", None, [("a.jpg", "y")]),  # so does a line
        ([("a.jpg", None)], "x", "x", [("a.jpg", "x")]),
        ([("a.jpg", None)], "y", "x", []),  # whatever it is, something says that it is not the photo
        ([("a.jpg", None), ("a.png", "p")], "p", None, [("a.png", "p"), ("a.jpg", "p")]),
        ([("a.png", "p")], "p", "x", [("a.png", "p")]),  # what is recorded may be older than its own line
        ([("a.jpg", "j"), ("a.png", "p")], "jp", None, []),
        ([("a.jpg", "j"), ("a.png", "p")], "jp", "j", []),
        ([], "", "x", []),
    ],
)  # fmt: skip
def test_what_contradicts_a_known_hash_is_not_tried(
    here: list[tuple[str, str | None]],
    said: str,
    recorded: str | None,
    tried: list[tuple[str, str | None]],
) -> None:
    """A line of its own wins; what has none must agree with all that is known, and be the only one if nothing is."""
    found = Candidates(tuple(Stray(*one) for one in here), frozenset(said))
    assert [*found.tried(recorded)] == [Stray(*one) for one in tried]


def test_a_copy_in_another_format_is_not_the_photo(shelf: Shelf) -> None:
    """Nor is a whole file whose name says another type: no pass has named it."""
    job = jobs_of(shelf, "a")["a"]
    place = shelf.folder / DAY / "large"
    place.mkdir(parents=True)
    (place / "a.webp").write_bytes(jpeg("a"))
    shelf.holdings.compare(f"{DAY}/large", 1, ["a.webp"], final=False)
    assert shelf.store.find(job, shelf.holdings.strays.of(f"{DAY}/large/a", "large", "a")) is None


def test_what_is_expected_is_kept_until_a_row_says_it(shelf: Shelf) -> None:
    """A replaced photo that got its name and no row is known by the hash that was written down before."""
    shelf.have(window(SIX), "a")
    path, new = f"{DAY}/large/b.jpg", sha256(jpeg("large b"))
    shelf.holdings.lines.expect([(path, "older"), (path, new)])
    assert shelf.holdings.strays.of(f"{DAY}/large/b", "large", "a").said == {new}
    shelf.have(window(SIX), "b")
    assert shelf.holdings.strays.of(f"{DAY}/large/b", "large", "a").said == frozenset()


# --- elsewhere ----------------------------------------------------------------------------------------------------

OTHER = "{variant}/{date}/{image_id}{ext}"


def rebuilding(shelf: Shelf, lines: dict[str, str], *gone: str, layouts: tuple[str, ...]) -> None:
    """Let a new manifest meet files with these lines, of which some do not stand any more."""
    for path in lines.keys() - {*gone}:
        folder, _, name = path.rpartition("/")
        shelf.holdings.compare(folder, 1, [name], final=False)
    shelf.holdings.lines.name(lines.items())
    shelf.holdings.strays.look_elsewhere(map(Layout.parse, layouts))


def test_a_line_tells_the_file_of_a_photo_at_any_of_its_places(shelf: Shelf) -> None:
    """Another day, another layout, undated: variant and id are what counts; nothing else of the folders is taken."""
    lines = {
        "2026-01-18/23/large/a.jpg": "a",
        "2026-01-18/23/thumbnail/a.jpg": "t",
        "large/undated/b.png": "b",
        "large/undated/c.edit.jpg": "c",
        "large/undated/c.gif": "c",
        "best/large/undated/c.jpg": "c",
    }
    rebuilding(shelf, lines, layouts=(DEFAULT_LAYOUT, OTHER))
    strays = shelf.holdings.strays
    there = Stray("2026-01-18/23/large/a.jpg", "a")
    assert strays.of(f"{DAY}/large/a", "large", "a") == Candidates((), frozenset("a"), (there,))
    assert strays.of(f"{DAY}/large/b", "large", "b").elsewhere == (
        Stray("large/undated/b.png", "b"),
    )
    assert strays.of(f"{DAY}/large/c", "large", "c") == Candidates()
    assert strays.of("2026-01-18/23/large/a", "large", "a") == Candidates((there,), frozenset("a"))
    shelf.next_pass()
    assert shelf.holdings.strays.of(f"{DAY}/large/a", "large", "a") == Candidates()


def test_a_path_that_two_layouts_read_as_two_photos_is_nobodys(shelf: Shelf) -> None:
    """Not even at the place that the configured one gives: nothing tells whose file it is."""
    layouts = ("{variant}/{image_id}{ext}", "{image_id}/{variant}{ext}")
    rebuilding(shelf, {"large/thumbnail.jpg": "x", "large/a.jpg": "a"}, layouts=layouts)
    strays = shelf.holdings.strays
    assert strays.of("large/thumbnail", "large", "thumbnail") == Candidates((), frozenset("x"))
    assert strays.of("thumbnail/large", "thumbnail", "large") == Candidates()
    assert strays.of("large/a", "large", "a").here == (Stray("large/a.jpg", "a"),)


def test_two_places_of_one_photo_must_agree(shelf: Shelf) -> None:
    """Of two that do not, neither is taken; nor one that another line or the row contradicts."""
    one, other = "2026-01-18/22/large/a.jpg", "2026-01-18/23/large/a.jpg"
    both = (Stray(one, "x"), Stray(other, "x"))
    for said, gone, recorded, tried in (
        ("xx", (), None, both),
        ("xx", (), "x", both),
        ("xx", (), "z", ()),
        ("xx", (other,), None, both[:1]),
        ("xy", (), None, ()),
        ("xy", (), "x", ()),
        ("xy", (other,), None, ()),
    ):
        rebuilding(
            shelf, dict(zip((one, other), said, strict=True)), *gone, layouts=(DEFAULT_LAYOUT,)
        )
        found = shelf.holdings.strays.of(f"{DAY}/large/a", "large", "a")
        assert (*found.tried(recorded),) == tried
        shelf.manifest.change("DELETE FROM named")
        shelf.next_pass()


def test_a_file_without_a_line_must_be_what_a_former_place_says(shelf: Shelf) -> None:
    """A move that was cut off before its row left a file at its new place, and its line at the old one."""
    new, old = f"{DAY}/large/a.jpg", "2026-01-18/23/large/a.jpg"
    shelf.holdings.compare(f"{DAY}/large", 1, ["a.jpg"], final=False)
    rebuilding(shelf, {old: "x"}, old, layouts=(DEFAULT_LAYOUT,))
    found = shelf.holdings.strays.of(f"{DAY}/large/a", "large", "a")
    assert [*found.tried(None)] == [Stray(new, "x")]


def test_the_layout_of_event_json_is_remembered(shelf: Shelf) -> None:
    """A pass that is cut off may have written it anew already. Who only reads knows it for the moment."""

    def known() -> tuple[set[Layout], Layout | None]:
        layouts, usual = known_layouts(shelf.manifest, shelf.tree, OTHER)
        return {*layouts}, usual

    usual, other = Layout.parse(DEFAULT_LAYOUT), Layout.parse(OTHER)
    assert known() == ({other}, usual)
    former = "{variant}/{image_id}{ext}"
    both = {other, Layout.parse(former)}
    (shelf.folder / "event.json").write_text(json.dumps({"layout": former}))
    read, _ = known_layouts(shelf.manifest, shelf.tree, OTHER, remember=False)
    assert ({*read}, shelf.manifest.meta("former_layouts")) == (both, None)
    for said in (former, former, OTHER):
        (shelf.folder / "event.json").write_text(json.dumps({"layout": said}))
        assert known() == (both, None)
    (shelf.folder / "event.json").write_text(json.dumps({"layout": "{rubbish}"}))
    assert known() == (both, usual)
    assert shelf.manifest.meta("former_layouts") == [former]


def test_the_usual_layout_reads_what_no_other_one_can(shelf: Shelf) -> None:
    """Nearly every layout that goes further than the usual one can be read as that one with another id."""
    mine, usual = f"{DAY}/large/a-large.jpg", "2026-01-18/23/large/b.jpg"
    rebuilding(shelf, {mine: "a", usual: "b"}, layouts=())
    strays = shelf.holdings.strays
    strays.look_elsewhere(
        [Layout.parse("{date}/{hour}/{variant}/{image_id}-{variant}{ext}")],
        Layout.parse(DEFAULT_LAYOUT),
    )
    assert strays.of(mine.removesuffix(".jpg"), "large", "a").here == (Stray(mine, "a"),)
    assert strays.of(f"{DAY}/large/a-large", "large", "a-large").elsewhere == ()
    assert strays.of(f"{DAY}/large/b-large", "large", "b").elsewhere == (Stray(usual, "b"),)


def test_a_file_found_elsewhere_moves_and_leaves_no_folder_behind(shelf: Shelf) -> None:
    """Its folder goes when it is empty; another's file keeps its own."""
    job = jobs_of(shelf, "a")["a"]
    for name in ("2026-01-18/22/large/a.jpg", "2026-01-18/23/large/b.jpg"):
        place = shelf.folder / name
        place.parent.mkdir(parents=True)
        place.write_bytes(jpeg("a"))
    rebuilding(shelf, {"2026-01-18/22/large/a.jpg": sha256(jpeg("a"))}, layouts=(DEFAULT_LAYOUT,))
    found = shelf.store.find(job, shelf.holdings.strays.of(f"{DAY}/large/a", "large", "a"))
    assert found is not None
    assert shelf.settle([found]) == [f"{DAY}/large/a.jpg"]
    assert not (shelf.folder / "2026-01-18/22").exists()
    assert shelf.files() == {f"{DAY}/large/a.jpg", "2026-01-18/23/large/b.jpg"}
