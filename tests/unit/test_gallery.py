"""A gallery's files: what the data says, and that nothing of others' becomes anything but text."""

from __future__ import annotations

import json
from html.parser import HTMLParser
from importlib.resources import files
from pathlib import PurePosixPath
from typing import Final, cast
from urllib.parse import unquote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ninepic_mirror.gallery.columns import columns, script, well_formed
from ninepic_mirror.gallery.pages import Gallery, Picture, isolated, render
from tests.galleries import HOSTILE, SCRIPT, changed, crowd, hostile

MOST: Final = 3_000_000  # bytes of data for 20,000 photos
EMPTY: Final = Gallery("Nothing", None, "UTC", "today", 0, (), None)
Table = dict[str, list[str]]


class Elements(HTMLParser):
    """Collects every element of a page, and its text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note an element."""
        self.found.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        """Note text."""
        self.text += data

    def of(self, tag: str) -> list[dict[str, str | None]]:
        """Return the attributes of every such element."""
        return [attributes for name, attributes in self.found if name == tag]


def read(text: str) -> dict[str, object]:
    """Return what the script of the data defines."""
    _, _, value = text.partition("const GALLERY = ")
    return cast("dict[str, object]", json.loads(value.removesuffix(";\n")))


def restored(data: dict[str, object]) -> list[Picture]:
    """Return the photos that columns stand for, as the page reads them."""
    tables = cast("Table", data)
    names = tables["name"]

    def told(column: str, table: str, number: int) -> str | None:
        place = cast("list[int]", data[column])[number]
        return tables[table][place] if place >= 0 else None

    def path(variant: str, number: int) -> str | None:
        found = cast("dict[str, list[object]]", data[variant])
        folder = cast("int", found["folder"][number])
        if folder < 0:
            return None
        file = unquote(cast("str", found["file"][number] or "")) or names[number]
        return unquote(tables["folders"][folder]).removeprefix("./") + file

    def size(column: str, number: int) -> int | None:
        return cast("list[int]", data[column])[number] or None

    return [
        Picture(
            tables["id"][number] or PurePosixPath(name).stem, name,
            told("day", "days", number), told("hour", "hours", number),
            told("photographer", "photographers", number),
            size("width", number), size("height", number),
            path("thumbnail", number), path("large", number), path("original", number),
        )
        for number, name in enumerate(names)
    ]  # fmt: skip


# --- the data

FILE = st.text(
    st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1, max_size=8
)
PATH = st.none() | st.builds("/".join, st.lists(FILE, min_size=1, max_size=4))
LABEL = st.none() | st.text(min_size=1, max_size=8)
SIZE = st.none() | st.integers(1, 20_000)
PICTURES = st.lists(
    st.builds(
        Picture, image_id=st.text(min_size=1, max_size=8), name=FILE, day=LABEL, hour=LABEL, photographer=LABEL,
        width=SIZE, height=SIZE, thumbnail=PATH, large=PATH, original=PATH,
    ),
    max_size=5,
)  # fmt: skip


@settings(max_examples=50)
@given(PICTURES)
def test_columns_lose_nothing(pictures: list[Picture]) -> None:
    """The page has every photo as it was given, in that order, whatever the texts hold."""
    assert restored(read(script(changed(EMPTY, pictures)))) == pictures


@settings(max_examples=50)
@given(PICTURES)
def test_addresses_lead_into_the_package(pictures: list[Picture]) -> None:
    """No folder can be read as another host, a scheme, a query or a fragment."""
    data = columns(changed(EMPTY, pictures))
    for folder in cast("Table", data)["folders"]:
        assert folder.startswith("./")
        assert folder.endswith("/")
        assert not set(folder) & set("\\:?#\"'<> ")


def test_the_data_is_harmless_anywhere() -> None:
    """The script is plain ASCII without a character that HTML knows."""
    text = script(hostile())
    assert text.isascii()
    assert not set(text) & set("<>&")
    assert [one.name for one in restored(read(text))][:2] == [f"{name}.jpg" for name in HOSTILE[:2]]


def test_large_events_are_small() -> None:
    """20,000 photos with two variants each are a few megabytes at most."""
    assert len(script(crowd(20_000))) < MOST


def test_what_repeats_stands_once() -> None:
    """Files that are called as the photo is, and ids that are its stem, cost two characters each."""
    data = columns(crowd(50))
    none = [0] * 50
    assert data["id"] == none
    for variant in ("thumbnail", "large"):
        assert cast("dict[str, object]", data[variant])["file"] == none
    assert data["original"] == {"folder": [-1] * 50, "file": none}


def test_names_that_are_no_utf8_are_found() -> None:
    """A name on disk that is no UTF-8 keeps its bytes in addresses, and is shown with a replacement."""
    one = Picture("a", "caf\udce9.jpg", None, None, None, None, None, "d/caf\udce9.jpg", None, None)
    data = columns(changed(EMPTY, [one]))
    assert data["name"] == ["caf\ufffd.jpg"]
    assert data["thumbnail"] == {"folder": [0], "file": ["caf%E9.jpg"]}


# --- the page


def test_every_file_that_is_asked_for_is_there() -> None:
    """The page names its scripts and its style, and no others; nothing that is shipped is left out."""
    made = render(crowd(3))
    page = Elements(made["index.html"])
    named = [one["src"] for one in page.of("script")]
    named += [one["href"] for one in page.of("link") if one["rel"] == "stylesheet"]
    assert sorted(cast("list[str]", named)) == sorted(set(made) - {"index.html"})
    shipped = {one.name for one in files("ninepic_mirror.gallery").joinpath("static").iterdir()}
    assert {name.removeprefix("gallery/") for name in made} - {"index.html", "data.js"} == shipped


@pytest.mark.parametrize("gallery", [EMPTY, hostile(), crowd(1)], ids=["empty", "hostile", "one"])
def test_the_same_gallery_makes_the_same_files(gallery: Gallery) -> None:
    """Files depend on nothing else, and all can be written as UTF-8."""
    made = render(gallery)
    assert made == render(gallery)
    assert all(text.encode() for text in made.values())


def test_names_become_no_elements() -> None:
    """A page of hostile names has the elements and attributes that any other has."""
    calm = changed(crowd(1), hostile().pictures)
    awkward = Elements(render(hostile())["index.html"])
    plain = Elements(render(calm)["index.html"])
    extra = [tag for tag, _ in awkward.found]
    for tag, _ in plain.found:
        extra.remove(tag)
    assert sorted(extra) == ["bdi", "p", "p"]  # the note, and what is missing
    assert SCRIPT in awkward.text
    assert "3 photos are not in this package" in awkward.text


def test_only_what_was_shipped_may_run() -> None:
    """The policy allows the elements with the nonce, pictures from the disk, and nothing else."""
    page = Elements(render(crowd(3))["index.html"])
    (policy,) = (one["content"] for one in page.of("meta") if "http-equiv" in one)
    nonce = page.of("script")[0]["nonce"]
    assert policy == (
        f"default-src 'none'; script-src 'nonce-{nonce}'; style-src 'nonce-{nonce}'; "
        "img-src 'self' file: data:; base-uri 'none'; form-action 'none'"
    )
    guarded = [*page.of("script"), *(one for one in page.of("link") if one["rel"] == "stylesheet")]
    assert all(one["nonce"] == nonce for one in guarded)
    assert not page.of("style")
    assert not any("style" in one or name.startswith("on") for _, one in page.found for name in one)


def test_no_name_can_know_the_nonce() -> None:
    """It changes with every text that comes from elsewhere."""

    def nonce(gallery: Gallery) -> str | None:
        return Elements(render(gallery)["index.html"]).of("script")[0]["nonce"]

    one = crowd(3)
    others = [
        changed(one, crowd(4).pictures),
        Gallery("x", one.organisation, one.zone, one.made_at, 0, one.pictures, None),
        Gallery(one.title, "x", one.zone, one.made_at, 0, one.pictures, None),
        Gallery(one.title, one.organisation, one.zone, one.made_at, 0, one.pictures, "x"),
    ]
    assert len({nonce(gallery) for gallery in (one, *others)}) == 5


def test_works_without_scripts() -> None:
    """What stands there without scripts leads to the list and to the folder."""
    page = Elements(render(EMPTY)["index.html"])
    assert [one["href"] for one in page.of("a")] == ["photos.csv", "data/"]
    assert "0 photos" in page.text


def test_the_title_keeps_its_direction() -> None:
    """Text that would turn what stands around it is shut in."""
    assert isolated("a\u202eb\u2069c") == "\u2068abc\u2069"
    assert well_formed("a\ud83cb") == "a\ufffdb"
    assert well_formed("\ud83c\udfc3") == "\U0001f3c3"
