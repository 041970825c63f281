"""A damaged manifest is set aside: nothing is deleted, and what was to be forgotten is not forgotten with it."""

from __future__ import annotations

import random
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING, Final

import pytest

from ninepic_mirror.archive.aside import newest, set_aside
from ninepic_mirror.archive.files import Tree
from ninepic_mirror.archive.forgotten import FILE, Veil, listed, write
from ninepic_mirror.archive.manifest import NAME, Manifest
from ninepic_mirror.archive.root import OWN_FOLDER
from ninepic_mirror.archive.schema import MIGRATIONS, VERSION_1
from ninepic_mirror.errors import StorageError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SALT: Final = "5a" * 16
ONE, TWO, THREE = ("1" * 64, "2" * 64, "3" * 64)


@pytest.fixture
def tree(tmp_path: Path) -> Iterator[Tree]:
    """An event folder."""
    (tmp_path / OWN_FOLDER).mkdir()
    with Tree(tmp_path) as found:
        yield found


def made(tree: Tree, *digests: str, salt: str | None = SALT) -> Path:
    """Make a manifest that remembers these photos, and return its path."""
    path = tree.root / OWN_FOLDER / NAME
    with Manifest.open(path) as manifest, manifest.transaction():
        manifest.change_each(
            "INSERT INTO forgotten VALUES (?, 0, 1)", [(digest,) for digest in digests]
        )
        if salt is not None:
            manifest.set_meta({"forgotten_salt": salt})
        manifest.set_meta({"layout": "x" * 20_000})  # more than one page
    return path


def noise(path: Path, table: str) -> None:
    """Make a table unreadable."""
    with closing(sqlite3.connect(path)) as manifest:
        ((page, size),) = manifest.execute(
            "SELECT rootpage, page_size FROM sqlite_master, pragma_page_size WHERE name = ?",
            [table],
        )
    with path.open("r+b") as file:
        file.seek((page - 1) * size)
        file.write(random.Random(1).randbytes(size))


def test_a_damaged_file_is_set_aside_with_its_log(tree: Tree) -> None:
    """Nothing is deleted, and no old log is left for SQLite to replay into the new file."""
    path = made(tree, salt=None)
    log = path.with_name(f"{NAME}-wal")
    with closing(sqlite3.connect(path)) as other:  # so that the log is not brought into the file
        with other:
            other.execute("INSERT INTO meta VALUES ('said', '1')")
        noise(path, "files")
        before = path.read_bytes(), log.read_bytes()
        aside = set_aside(path, tree)
    assert not path.exists()
    assert not log.exists()
    assert aside.path.name.startswith(f"{NAME}.corrupt-")
    kept = aside.path.with_name(f"{aside.path.name}-wal")
    assert (aside.path.read_bytes(), kept.read_bytes()) == before
    assert before[1]
    with Manifest.open(path) as manifest:
        assert manifest.meta("said") is None


def test_the_newest_is_found_again(tree: Tree) -> None:
    """Neither its log, nor a link, nor what another program made of its name is taken for one."""
    path = tree.root / OWN_FOLDER / NAME
    assert newest(path) is None
    for end in ("20250101T000000Z", "20260101T000000Z", "20260101T000000Z-wal", "9.bak"):
        path.with_name(f"{NAME}.corrupt-{end}").write_bytes(b"")
    path.with_name(f"{NAME}.corrupt-20270101T000000Z").symlink_to(path)
    found = newest(path)
    assert found is not None
    assert found.name == f"{NAME}.corrupt-20260101T000000Z"


# --- what was to be forgotten: the list beside the photos, the table in the manifest ------------------------------


def test_nothing_was_to_be_forgotten(tree: Tree) -> None:
    """No list is made, and nothing is told."""
    aside = set_aside(made(tree, salt=None), tree)
    assert (aside.warning, tree.stat(FILE)) == (None, None)
    assert aside.fate == f"it is kept as {aside.path.name} and rebuilt from the files"


def test_a_version_without_the_table(tree: Tree) -> None:
    """It is older than forgetting."""
    path = tree.root / OWN_FOLDER / NAME
    Manifest.open(path, migrations=(VERSION_1,)).close()
    assert len(MIGRATIONS) > 1
    assert set_aside(path, tree).warning is None


@pytest.mark.parametrize("size", [0, 5000])
def test_nobody_can_tell(tree: Tree, size: int) -> None:
    """A manifest of which nothing is left, and no list: that is told, and is no reason to stop."""
    path = made(tree, ONE)
    path.write_bytes(bytes(size))
    aside = set_aside(path, tree)
    assert "cannot tell any more whether photos were to be forgotten" in (aside.warning or "")
    assert aside.fate.endswith("run it again")
    assert tree.stat(FILE) is None


@pytest.mark.parametrize("table", ["meta", "forgotten", "files"])
def test_a_whole_list_is_enough(tree: Tree, table: str) -> None:
    """Whatever the manifest can tell still."""
    path = made(tree, ONE, TWO)
    write(tree, Veil(SALT, frozenset({ONE, TWO})))
    before = tree.read(FILE, 1000)
    noise(path, table)
    assert set_aside(path, tree).warning is None
    assert tree.read(FILE, 1000) == before


def test_a_damaged_salt_beside_a_whole_list(tree: Tree) -> None:
    """The list has all that the table has: whose salt is wrong does not matter."""
    write(tree, Veil(SALT, frozenset({ONE, TWO})))
    assert set_aside(made(tree, ONE, salt="0" * 32), tree).warning is None


@pytest.mark.parametrize("beside", ["lost", "whole", "damaged"])
def test_what_the_table_has_more_is_written_down(tree: Tree, beside: str) -> None:
    """The list may be lost, older or damaged; with both, nothing is lost."""
    path = made(tree, ONE, TWO)
    if beside != "lost":
        write(tree, Veil(SALT, frozenset({THREE})))
    if beside == "damaged":
        (tree.root / FILE).write_text(f"salt {SALT}\n{THREE}\nnonsense\n")
    noise(path, "files")
    assert set_aside(path, tree).warning is None
    expected = {ONE, TWO} if beside == "lost" else {ONE, TWO, THREE}
    assert listed(tree) == (Veil(SALT, frozenset(expected)), True)


@pytest.mark.parametrize("table", ["meta", "forgotten"])
@pytest.mark.parametrize("beside", ["lost", "damaged"])
def test_what_can_be_told_no_more(tree: Tree, table: str, beside: str) -> None:
    """Something was to be forgotten, and neither record can tell what: the manifest stays."""
    path = made(tree, ONE)
    if beside == "damaged":
        (tree.root / FILE).write_text("nonsense\n")
    noise(path, table)
    before = path.read_bytes()
    with pytest.raises(StorageError, match="but which cannot be read any more") as caught:
        set_aside(path, tree)
    assert "bring that file back from a backup" in caught.value.cure
    assert path.read_bytes() == before
    assert newest(path) is None


@pytest.mark.parametrize(
    "rows", [((), SALT), ((ONE,), None), ((ONE,), "zz"), ((ONE, "not a digest"), SALT)]
)
def test_a_table_that_makes_no_sense(tree: Tree, rows: tuple[tuple[str, ...], str | None]) -> None:
    """A salt without photos, photos without a salt, and what is no digest, is no more than a trace."""
    path = made(tree, *rows[0], salt=rows[1])
    with pytest.raises(StorageError, match="but which cannot be read any more"):
        set_aside(path, tree)
    write(tree, Veil(SALT, frozenset({ONE})))
    assert set_aside(path, tree).warning is None


def test_a_damaged_list_and_an_empty_table(tree: Tree) -> None:
    """The list is not taken for an empty one, as in every pass."""
    path = made(tree, salt=None)
    (tree.root / FILE).write_text("nonsense\n")
    with pytest.raises(StorageError, match="not one salt"):
        set_aside(path, tree)
    assert path.is_file()


def test_what_cannot_be_looked_at_is_not_taken_for_damage(tree: Tree) -> None:
    """A folder in its place, or a disk that fails, says nothing of what the manifest remembers."""
    path = tree.root / OWN_FOLDER / NAME
    path.mkdir()
    with pytest.raises(StorageError, match="a folder stands where the manifest is due"):
        set_aside(path, tree)
    assert path.is_dir()
