"""A file under way: checked as it comes, continued only where that is safe."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from ninepic_mirror.archive import partial
from ninepic_mirror.archive.files import Tree
from ninepic_mirror.archive.partial import FOLDER, RESUMABLE, Partial, read_hashes, sweep
from ninepic_mirror.errors import PassingError, PhotoError, StorageError
from tests.shelf import jpeg, sha256

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from ninepic_mirror.model import Variant

BODY = jpeg("a big one", RESUMABLE * 2)


@pytest.fixture
def tree(tmp_path: Path) -> Iterator[Tree]:
    """Return a tree with an empty `partial/`."""
    with Tree(tmp_path) as tree:
        sweep(tree)
        yield tree


def begun(
    tree: Tree, size: int, validator: str | None = '"v1"', total: int | None = None
) -> Partial:
    """Return a transfer that was cut off after so many bytes."""
    file = Partial(tree, "a", "large")
    file.restart()
    file.write(BODY[:size])
    file.keep(validator, total)
    return file


def names(tree: Tree) -> set[str]:
    """Return what stands in `partial/`."""
    return {path.name for path in (tree.root / FOLDER).iterdir()}


def test_a_body_is_hashed_as_it_comes(tree: Tree) -> None:
    """The digest is that of the bytes on disk, and the file has the origin's time."""
    file = Partial(tree, "A/../b", "large")
    file.restart()
    for start in range(0, len(BODY), 50_000):
        file.write(BODY[start : start + 50_000])
    digest = file.finish(86_400.5)
    place = tree.root / file.path
    assert (digest.size, digest.sha256) == (len(BODY), sha256(BODY))
    assert place.read_bytes() == BODY
    assert place.stat().st_mtime == 86_400.5
    assert read_hashes(tree, file.path, "large") == digest
    assert place.parent == tree.root / FOLDER


def test_a_cut_transfer_is_continued(tree: Tree) -> None:
    """With enough on disk, and a validator, the next run goes on where this one stopped."""
    begun(tree, RESUMABLE + 10, total=len(BODY))
    file = Partial(tree, "a", "large")
    assert file.resume() == RESUMABLE + 10
    assert (file.validator, file.total) == ('"v1"', len(BODY))
    file.write(BODY[RESUMABLE + 10 :])
    assert file.finish(None).sha256 == sha256(BODY)
    assert names(tree) == {"large-a"}


def test_a_note_of_an_earlier_version_is_taken_up(tree: Tree) -> None:
    """It does not say how long the whole is; then the validator alone vouches for the rest."""
    file = begun(tree, RESUMABLE)
    note = json.dumps({"validator": '"v1"', "size": RESUMABLE})
    (tree.root / f"{file.path}.resume").write_text(note)
    again = Partial(tree, "a", "large")
    assert (again.resume(), again.validator, again.total) == (RESUMABLE, '"v1"', None)


def test_a_large_file_is_noted_while_it_is_under_way(
    tree: Tree, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a kill as much is continued as was noted, once for so many bytes; without a validator nothing is."""
    monkeypatch.setattr(partial, "_MARKED", 30_000)
    file = Partial(tree, "a", "large")
    file.restart()
    for end, noted in ((20_000, 0), (70_000, 70_000), (90_000, 70_000), (100_000, 100_000)):
        file.write(BODY[file.size : end])
        file.mark(None)
        file.mark('"v1"', len(BODY))
        found = tree.root / f"{file.path}.resume"
        assert (json.loads(found.read_bytes())["size"] if found.exists() else 0) == noted
    again = Partial(tree, "a", "large")
    assert (again.resume(), again.validator, again.total) == (100_000, '"v1"', len(BODY))
    again.write(BODY[100_000:])
    again.mark('"v1"')
    assert again.finish(None).sha256 == sha256(BODY)
    assert names(tree) == {"large-a"}


def test_what_was_not_synced_is_not_continued(tree: Tree) -> None:
    """Bytes written behind the note may be zeros after a power cut: they are fetched again."""
    file = begun(tree, RESUMABLE)
    file.write(BODY[RESUMABLE : RESUMABLE + 500])
    with (tree.root / file.path).open("r+b") as raw:
        raw.seek(RESUMABLE)
        raw.write(bytes(500))
    again = Partial(tree, "a", "large")
    assert again.resume() == RESUMABLE
    again.write(BODY[RESUMABLE:])
    assert again.finish(None).sha256 == sha256(BODY)
    assert (tree.root / file.path).read_bytes() == BODY


@pytest.mark.parametrize(
    ("size", "validator"), [(RESUMABLE - 1, '"v1"'), (RESUMABLE, None), (0, '"v1"')]
)
def test_little_or_unnamed_is_begun_anew(tree: Tree, size: int, validator: str | None) -> None:
    """Below 64 KiB, or without a validator, nothing is left to continue."""
    file = Partial(tree, "a", "large")
    file.restart()
    if size:
        file.write(BODY[:size])
    file.keep(validator)
    assert names(tree) == set()
    assert file.size == 0


@pytest.mark.parametrize(
    "note",
    [
        b"", b"[]", b"{}", b'{"validator": "v"}', b'{"validator": "v", "size": "x"}', b"\xff", b"not json",
        b"[" * 4000, b'{"validator": "v", "size": 1e999}',
        json.dumps({"validator": "v", "size": RESUMABLE * 9}).encode(),
        json.dumps({"validator": "v", "size": -5}).encode(),
        json.dumps({"validator": "v", "size": 10}).encode(),
        json.dumps({"validator": "v", "size": None}).encode(),
        json.dumps({"validator": "v", "size": RESUMABLE, "total": "x"}).encode(),
    ],
)  # fmt: skip
def test_notes_that_do_not_fit_are_not_believed(tree: Tree, note: bytes) -> None:
    """A note that is damaged, or vouches for bytes that are not there, begins the file anew."""
    begun(tree, RESUMABLE)
    (tree.root / FOLDER / "large-a.resume").write_bytes(note)
    file = Partial(tree, "a", "large")
    assert file.resume() == 0
    assert names(tree) == set()
    file.write(BODY)
    assert file.finish(None).sha256 == sha256(BODY)


def test_nothing_to_resume(tree: Tree) -> None:
    """Without anything on disk a transfer begins at 0."""
    file = Partial(tree, "a", "large")
    assert file.resume() == 0
    assert file.validator is None


def test_bytes_of_no_picture_are_not_continued(tree: Tree) -> None:
    """What was kept and turns out to be no picture goes."""
    begun(tree, RESUMABLE)
    place = tree.root / FOLDER / "large-a"
    place.write_bytes(b"<html>" + bytes(RESUMABLE))
    assert Partial(tree, "a", "large").resume() == 0
    assert names(tree) == set()


@pytest.mark.parametrize(
    ("body", "error"),
    [(b"<html>" + bytes(600), PassingError), (b'{"a": 1}' + b" " * 600, PhotoError)],
)
def test_a_wrong_type_is_refused_while_it_comes(
    tree: Tree, body: bytes, error: type[Exception]
) -> None:
    """Nothing of a body that cannot be a photo stays on disk, and another try starts at 0."""
    file = Partial(tree, "a", "large")
    file.restart()
    with pytest.raises(error):
        file.write(body)
    assert names(tree) == set()
    file.write(BODY)
    assert file.finish(None).size == len(BODY)


def test_a_short_body_is_never_finished(tree: Tree) -> None:
    """A body that ends too early is a passing fault and leaves nothing to build on."""
    file = Partial(tree, "a", "large")
    file.restart()
    file.write(BODY[:-2])
    with pytest.raises(PassingError, match="breaks off"):
        file.finish(None)
    assert names(tree) == set()
    assert file.size == 0


def test_only_a_new_file_is_begun(tree: Tree) -> None:
    """The first bytes make the file; a file that stands there, which may have other names, is not written into."""
    file = Partial(tree, "a", "large")
    file.restart()
    (tree.root / "other").write_bytes(b"another photo")
    (tree.root / file.path).hardlink_to(tree.root / "other")
    file.write(BODY)
    assert (tree.root / file.path).read_bytes() == BODY
    assert (tree.root / "other").read_bytes() == b"another photo"


def test_disk_faults_are_storage_errors(tree: Tree) -> None:
    """A file taken away under us ends the pass with the place named."""
    file = begun(tree, RESUMABLE)
    (tree.root / file.path).unlink()
    with pytest.raises(StorageError, match="large-a"):
        file.write(b"x")
    with pytest.raises(StorageError, match="large-a"):
        file.keep('"v"')


def test_a_damaged_file_has_no_digest(tree: Tree) -> None:
    """What stands on disk is judged as a body is."""
    (tree.root / "x").write_bytes(BODY[:-1])
    with pytest.raises(PassingError):
        read_hashes(tree, "x", "large")
    with pytest.raises(OSError, match="No such file"):
        read_hashes(tree, "none", "large")


def test_sweeping_leaves_only_what_can_be_continued(tree: Tree) -> None:
    """What a killed run left goes: files without a note, notes without a file, links, folders, half notes."""
    begun(tree, RESUMABLE)
    place = tree.root / FOLDER
    for name in ("large-b", "large-c.resume", "large-a.resume.new", "SHA256SUMS"):
        (place / name).write_bytes(b"x")
    (place / "large-d").symlink_to(place / "large-a")
    (place / "large-d.resume").write_bytes(b"x")
    (place / "folder").mkdir()
    (place / "folder/x").write_bytes(b"x")
    sweep(tree)
    assert names(tree) == {"large-a", "large-a.resume"}


def test_parts_of_what_nobody_wants_go(tree: Tree) -> None:
    """A part whose photo has left, or is here by now, is not kept for ever; without a listing all are kept."""
    begun(tree, RESUMABLE)
    for name in ("large-gone", "thumbnail-a"):
        for suffix in ("", ".resume"):
            (tree.root / FOLDER / f"{name}{suffix}").write_bytes(b"x")
    assert len(sweep(tree)) == 3
    wanted: list[tuple[str, Variant]] = [("b", "large"), ("a", "large")]
    assert sweep(tree, iter(wanted)) == {f"{FOLDER}/large-a"}
    assert names(tree) == {"large-a", "large-a.resume"}
    assert sweep(tree, iter([])) == set()
    assert names(tree) == set()


def test_wanted_rows_are_read_only_for_parts(tree: Tree) -> None:
    """Without parts a million rows are not read."""
    wanted: list[tuple[str, Variant]] = [("a", "large")]
    rows = iter(wanted)
    assert sweep(tree, rows) == set()
    assert next(rows) == ("a", "large")


def test_sweeping_makes_the_folder(tmp_path: Path) -> None:
    """A new event folder gets its `partial/`."""
    with Tree(tmp_path) as tree:
        sweep(tree)
        assert (tmp_path / FOLDER).is_dir()
