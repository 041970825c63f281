"""Which files without a row may be a photo's: never somebody's copy, and nothing that a known hash contradicts."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from ninepic_mirror.archive.strays import Candidates, Stray
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
    assert strays.of("d/a") == Candidates((Stray("d/a.jpg"),))
    assert strays.of("d/a_").here == (Stray("d/a_.png"),)
    assert strays.of("d/a.edit").here == (Stray("d/a.edit.jpg"),)
    assert strays.of("d/c") == Candidates()


def test_lines_tell_what_a_file_is_also_where_it_is_gone(shelf: Shelf) -> None:
    """A line for another extension of the same place says what the photo is."""
    shelf.holdings.compare("d", 1, ["a.png", "a.jpg"], final=False)
    shelf.holdings.name([("d/a.webp", "w"), ("d/a.edit.jpg", "e"), ("d/a.png", "p")])
    found = shelf.holdings.strays.of("d/a")
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
    assert shelf.store.find(job, shelf.holdings.strays.of(f"{DAY}/large/a")) is None


def test_what_is_expected_is_kept_until_a_row_says_it(shelf: Shelf) -> None:
    """A replaced photo that got its name and no row is known by the hash that was written down before."""
    shelf.have(window(SIX), "a")
    path, new = f"{DAY}/large/b.jpg", sha256(jpeg("large b"))
    shelf.holdings.expect([(path, "older"), (path, new)])
    assert shelf.holdings.strays.of(f"{DAY}/large/b").said == {new}
    shelf.have(window(SIX), "b")
    assert shelf.holdings.strays.of(f"{DAY}/large/b").said == frozenset()
