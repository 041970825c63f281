"""What is wanted and what is there."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

import pytest

from ninepic_mirror.archive import lines
from ninepic_mirror.archive.forgotten import Oblivion
from ninepic_mirror.archive.holdings import Placed
from ninepic_mirror.archive.moves import Move
from ninepic_mirror.archive.records import Listing
from ninepic_mirror.model import HOUR
from tests.shelf import SIX, VARIANTS, jpeg, photo, sha256, window

if TYPE_CHECKING:
    from tests.shelf import Shelf

SEVEN = SIX + HOUR


def test_wanted_files_are_taken_once_a_pass(shelf: Shelf) -> None:
    """Each file that an earlier pass did not have is returned once, in chunks, and again by the next pass."""
    photos = [photo(f"p{number:04}") for number in range(400)]
    jobs = {(job.image_id, job.variant) for job in shelf.read(window(SIX), photos)}
    assert shelf.holdings.want(VARIANTS) == [], "they are on their way in this pass"
    for _ in range(2):
        shelf.next_pass()
        taken = []
        while more := shelf.holdings.want(VARIANTS):
            assert len(more) <= 500
            taken += [(job.image_id, job.variant) for job in more]
        assert len(taken) == 800
        assert set(taken) == jobs


def test_what_becomes_wanted_meanwhile_is_taken_by_the_next_round(shelf: Shelf) -> None:
    """An empty answer starts over, so that files lost during the pass are found."""
    shelf.have(window(SIX), "a", "b")
    shelf.next_pass()
    assert shelf.holdings.want(VARIANTS) == []
    shelf.holdings.lost("2026-01-19/06/large", [("a", "large")])
    assert [job.image_id for job in shelf.holdings.want(VARIANTS)] == ["a"]
    assert shelf.holdings.want(VARIANTS) == []
    shelf.holdings.lost("2026-01-19/06/large", [("a", "large")])
    (job,) = shelf.holdings.want(VARIANTS)
    assert (job.held, job.sha256) == ("2026-01-19/06/large/a.jpg", sha256(jpeg("large a")))


def test_originals_that_are_put_back_are_wanted_by_the_next_round(shelf: Shelf) -> None:
    """Not by the same one, which would go round in circles, and nothing else of the photo is."""
    shelf.read(window(SIX), [photo("a"), photo("b")])
    shelf.manifest.change("UPDATE files SET variant = 'original' WHERE variant = 'large'")
    shelf.next_pass()
    assert len(shelf.holdings.want(["original", "thumbnail"])) == 4
    shelf.holdings.put_back(["a"])
    assert shelf.holdings.want(["original", "thumbnail"]) == []
    again = shelf.holdings.want(["original", "thumbnail"])
    assert [(job.image_id, job.variant) for job in again] == [("a", "original")]


def test_only_what_is_asked_for_is_wanted(shelf: Shelf) -> None:
    """Other variants, other times, gone photos and files without any address are left out."""
    shelf.read(window(SIX), [photo("a"), photo("q", "?signed")])
    shelf.read(window(SEVEN), [photo("b"), photo("gone")])
    shelf.read(Listing(), [photo("a"), photo("b"), photo("q"), photo("u")])
    shelf.manifest.change("UPDATE photos SET gone_since = 1 WHERE image_id = 'gone'")
    shelf.manifest.change("UPDATE files SET url = NULL WHERE image_id = 'q'")
    shelf.next_pass()
    assert [job.image_id for job in shelf.holdings.want(["large"], SEVEN, SEVEN + 1)] == ["b"]
    assert shelf.holdings.want(["large"], SEVEN, SEVEN + 1) == []
    assert [job.image_id for job in shelf.holdings.want(["large"])] == ["a", "u"]


def test_a_commit_says_what_is_there(shelf: Shelf) -> None:
    """A row holds what was placed; a failure counts, and never takes what is present."""
    shelf.read(window(SIX), [photo("a"), photo("b")])
    placed = Placed("a", "large", "x/a.jpg", 5, "ab", "cd", '"e"', "Mon")
    failures = [("b", "large", "404"), ("a", "large", "late"), ("b", "large", "again")]
    shelf.holdings.commit([placed], failures)  # type: ignore[arg-type]  # three texts each
    found = shelf.manifest.rows(
        "SELECT image_id, state, path, folder, size, xxh3_128, sha256, etag, last_modified, attempts, error"
        " FROM files WHERE variant = 'large' ORDER BY image_id"
    )
    assert found == [
        ("a", "present", "x/a.jpg", "x", 5, "ab", "cd", '"e"', "Mon", 0, None),
        ("b", "failed", None, None, None, None, None, None, None, 2, "again"),
    ]
    assert shelf.manifest.rows("SELECT path, mtime_ns FROM folders") == [("x", None)]
    assert shelf.manifest.rows("SELECT folder, stale FROM sums") == [("x", 1)]


def test_a_commit_is_all_or_nothing(shelf: Shelf) -> None:
    """A batch that cannot be recorded whole is not recorded at all."""
    import sqlite3

    import pytest

    shelf.read(window(SIX), [photo("a"), photo("b")])
    good = Placed("a", "large", "x/a.jpg", 5, "ab", "cd")
    bad = Placed("b", "large", "x/b.jpg", 1 << 70, "ab", "cd")
    with pytest.raises((sqlite3.Error, OverflowError)):
        shelf.holdings.commit([good, bad], [])
    assert {state for state, _ in shelf.rows().values()} == {"pending"}


def test_files_at_the_top_have_sums_at_the_top(shelf: Shelf) -> None:
    """A layout without folders is compared and summed in the event folder itself."""
    shelf.layout = "{variant}-{image_id}{ext}"
    assert set(shelf.have(window(SIX), "a")) == {"large-a.jpg", "thumbnail-a.jpg"}
    assert shelf.holdings.folders() == [("", None)]
    assert shelf.manifest.rows("SELECT folder FROM sums") == [("",)]
    assert shelf.holdings.compare("", 5, ["large-a.jpg", "event.json"], final=True) == 1
    assert shelf.rows()["a", "thumbnail"][0] == "pending"
    assert shelf.holdings.has_strays()


def test_equal_files_are_found_by_all_of_hash_and_size(shelf: Shelf) -> None:
    """Only present files of the same hashes and size are offered, none that is on the move, at most three."""
    body = jpeg("same")
    paths = shelf.have(window(SIX), "a", "b", "c", body=body)
    row = shelf.manifest.rows("SELECT xxh3_128, size, sha256 FROM files LIMIT 1")[0]
    key = (str(row[0]), len(body), str(row[2]))
    assert len(shelf.holdings.equal(*key)) == 3
    assert set(shelf.holdings.equal(*key)) <= set(paths)
    assert shelf.holdings.equal(key[0], key[1] + 1, key[2]) == []
    assert shelf.holdings.equal(key[0], key[1], "other") == []
    shelf.manifest.change("UPDATE files SET moving_to = 'x'")
    assert shelf.holdings.equal(*key) == []


def test_missing_names_become_pending(shelf: Shelf) -> None:
    """What a folder does not hold any more is to be had again, and its sums are to be written anew."""
    shelf.have(window(SIX), "a", "b")
    folder = "2026-01-19/06/large"
    shelf.manifest.change("UPDATE sums SET stale = 0")
    assert shelf.holdings.compare(folder, 7, ["a.jpg", "b.jpg"], final=True) == 0
    assert shelf.holdings.tops() == ["2026-01-19"]
    assert shelf.holdings.compare(folder, 8, ["b.jpg"], final=True) == 1
    assert shelf.holdings.tops() == []
    assert shelf.rows()["a", "large"] == ("pending", f"{folder}/a.jpg")
    assert dict(shelf.holdings.folders())[folder] == 8


def test_named_files_that_rows_vouch_for_are_done_with(shelf: Shelf) -> None:
    """What a SHA256SUMS said of a file goes when a row calls it present: imported, committed, or moved there."""
    shelf.have(window(SIX), "a")
    here, there = "2026-01-19/06/large/a.jpg", "2026-01-19/06/large/b.jpg"
    shelf.holdings.lines.name([(here, "old"), (there, "b"), ("x/a.jpg", "x"), ("y.jpg", "y")])
    assert named(shelf) == {there: "b", "x/a.jpg": "x", "y.jpg": "y"}
    shelf.have(window(SIX), "b")
    assert named(shelf) == {"x/a.jpg": "x", "y.jpg": "y"}
    move = Move("a", "large", here, "x/a.jpg", None)
    shelf.holdings.moves.end([move], ["x/a.jpg"])
    assert named(shelf) == {"y.jpg": "y"}


def named(shelf: Shelf) -> dict[str, str]:
    """Return what is kept of old SHA256SUMS."""
    found = shelf.manifest.rows("SELECT path, sha256 FROM named")
    return {str(path): str(sha256) for path, sha256 in found}


FOLDER = "2026-01-19/06/large"


def contradict(shelf: Shelf) -> None:
    """Mirror five photos, and let SHA256SUMS say other things of four: an altered line, one of what stands there, two others."""
    shelf.have(window(SIX), "a", "b", "c", "d", "e")
    (shelf.folder / FOLDER / "b.jpg").write_bytes(jpeg("newer"))
    (shelf.folder / FOLDER / "c.jpg").write_bytes(jpeg("damaged")[:-9])
    (shelf.folder / FOLDER / "d.jpg").unlink()
    line = "{1}  06/large/{0}.jpg\n".format
    said = [
        line("a", "0" * 64), line("b", sha256(jpeg("newer"))), line("c", "1" * 64), line("d", "2" * 64),
        line("e", sha256(jpeg("large e"))), line("x", "3" * 64),
    ]  # fmt: skip
    (shelf.folder / "2026-01-19/SHA256SUMS").write_text("".join(said))


def stand(shelf: Shelf) -> dict[str, tuple[object, ...]]:
    """Return state, hash and whether it is doubted, of the large files by photo."""
    found = shelf.manifest.rows(
        "SELECT image_id, state, sha256, doubted FROM files WHERE variant = 'large'"
    )
    return {str(row[0]): row[1:] for row in found}


def test_an_older_manifest_goes_by_the_sums_and_the_files(shelf: Shelf) -> None:
    """A file that is as its row says is; one that is as its line says is so from now on; others are to be had as the line says."""
    contradict(shelf)
    for doubted in (3, 0):  # and again, where the pass was cut off
        assert shelf.holdings.lines.doubt(shelf.tree, VARIANTS, is_older=True) == doubted
        assert stand(shelf) == {
            "a": ("present", sha256(jpeg("large a")), 0),
            "b": ("present", sha256(jpeg("newer")), 0),
            "c": ("pending", "1" * 64, 0),
            "d": ("pending", "2" * 64, 0),
            "e": ("present", sha256(jpeg("large e")), 0),
        }
        assert named(shelf) == {f"{FOLDER}/x.jpg": "3" * 64}
    shelf.next_pass()
    assert {job.image_id: job.sha256 for job in shelf.holdings.want(VARIANTS)} == {
        "c": "1" * 64,
        "d": "2" * 64,
    }
    assert shelf.holdings.lines.has_any()
    shelf.manifest.change("DELETE FROM named")
    assert not shelf.holdings.lines.has_any()


def test_altered_sums_bless_nothing(shelf: Shelf) -> None:
    """What is as its line says, and not as its row, is had again, if it is fetched at all; nothing else is changed."""
    contradict(shelf)
    before = stand(shelf)
    assert shelf.holdings.lines.doubt(shelf.tree, ["thumbnail"], is_older=False) == 0
    assert stand(shelf) == before
    assert shelf.holdings.lines.doubt(shelf.tree, VARIANTS, is_older=False) == 1
    assert stand(shelf) == before | {"b": ("pending", sha256(jpeg("newer")), 1)}
    shelf.next_pass()
    (job,) = shelf.holdings.want(VARIANTS)
    assert (job.image_id, job.held, job.doubted) == ("b", f"{FOLDER}/b.jpg", True)
    assert shelf.holdings.to_give_back(VARIANTS) == []
    shelf.next_pass()
    (listed,) = [one for one in shelf.read(window(SIX), [photo("b")]) if one.variant == "large"]
    assert listed.doubted
    shelf.settle([shelf.fetched(job, jpeg("right"))])
    assert stand(shelf)["b"] == ("present", sha256(jpeg("right")), 0)


def test_what_cannot_be_read_is_no_other_file(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk that fails says nothing about a file. No disk here fails on demand."""
    contradict(shelf)

    def fail(*_: object) -> None:
        raise OSError(errno.ENODEV, "gone")

    monkeypatch.setattr(lines, "read_hashes", fail)
    with pytest.raises(OSError, match="gone"):
        shelf.holdings.lines.doubt(shelf.tree, VARIANTS, is_older=True)


def test_sums_are_stale_when_a_file_without_a_row_is_gone(shelf: Shelf) -> None:
    """Somebody who takes away a file that only SHA256SUMS names, or one of a photo that left, changes the sums."""
    shelf.have(window(SIX), "a", "b")
    folder = "2026-01-19/06/large"
    shelf.manifest.change("UPDATE files SET state = 'gone' WHERE image_id = 'a'")
    shelf.holdings.lines.name([(f"{folder}/c.jpg", "c")])
    for gone in ("a.jpg", "c.jpg"):
        shelf.manifest.change("UPDATE sums SET stale = 0")
        names = ["a.jpg", "b.jpg", "c.jpg"]
        assert shelf.holdings.compare(folder, 1, names, final=True) == 0
        assert shelf.holdings.tops() == ["2026-01-19"]
        names.remove(gone)
        assert shelf.holdings.compare(folder, 1, names, final=True) == 0
        assert shelf.holdings.tops() == []


def test_wanted_files_are_those_still_to_be_had(shelf: Shelf) -> None:
    """Pending and failed files are wanted, of any variant; present and gone ones are not."""
    shelf.have(window(SIX), "a")
    shelf.read(window(SIX + HOUR), [photo("b"), photo("c")])
    shelf.holdings.commit([], [("b", "large", "404")])
    shelf.manifest.change("UPDATE files SET state = 'gone' WHERE image_id = 'c'")
    assert list(shelf.holdings.wanted()) == [("b", "large"), ("b", "thumbnail")]


def test_a_folder_with_strays_is_looked_at_again(shelf: Shelf) -> None:
    """Until a pass has ended, its strays may still be adopted; should it be cut off, the next one looks."""
    shelf.holdings.compare("d", 1, ["x.jpg"], final=False)
    assert shelf.holdings.folders() == [("d", None)]
    shelf.holdings.compare("d", 1, ["x.jpg"], final=True)
    assert shelf.holdings.folders() == [("d", 1)]
    shelf.holdings.forget_folder("d")
    assert shelf.holdings.folders() == []


def test_folders_with_rows_are_not_forgotten(shelf: Shelf) -> None:
    """A folder of ours that was taken away stays known, since its files are to come back."""
    shelf.have(window(SIX), "a")
    folder = "2026-01-19/06/large"
    shelf.holdings.compare(folder, None, [], final=True)
    shelf.holdings.forget_folder(folder)
    assert folder in dict(shelf.holdings.folders())


def test_present_files_come_in_chunks(shelf: Shelf) -> None:
    """All present files of one folder are told, none of another, however many they are."""
    ids = [f"p{number:04}" for number in range(501)]
    shelf.read(window(SIX), [photo(image_id) for image_id in ids])
    placed = [Placed(image_id, "large", f"d/{image_id}.jpg", 5, "x", "y") for image_id in ids]
    shelf.holdings.commit(placed, [])
    chunks = list(shelf.holdings.present("d"))
    assert [len(chunk) for chunk in chunks] == [500, 1]
    assert [row[0] for chunk in chunks for row in chunk] == ids
    assert chunks[0][0] == ("p0000", "large", "d/p0000.jpg", 5)
    assert list(shelf.holdings.present("")) == []


def test_losing_nothing_changes_nothing(shelf: Shelf) -> None:
    """Sums are not written anew because a folder was looked at."""
    shelf.have(window(SIX), "a")
    shelf.manifest.change("UPDATE sums SET stale = 0")
    shelf.holdings.lost("2026-01-19/06/large", [])
    assert shelf.holdings.tops() == ["2026-01-19"]
    shelf.holdings.stale_sums(["2026-01-19"])
    assert shelf.holdings.tops() == []


def test_what_verify_found_elsewhere(shelf: Shelf) -> None:
    """Photos called misplaced are looked at by the pass; folders that files were brought to are compared."""
    (place,) = {path for path in shelf.have(window(SIX), "a") if "large" in path}
    shelf.holdings.compare(place.rpartition("/")[0], 5, [place.rpartition("/")[2]], final=True)
    shelf.holdings.misplace(["a"])
    assert shelf.holdings.moves.misplaced()[0] == ["a"]
    shelf.holdings.changed([place])
    assert (place.rpartition("/")[0], None) in shelf.holdings.folders()


def test_a_forgotten_or_gone_photo_is_known_still(shelf: Shelf) -> None:
    """The row of a forgotten one has no id any more, but a link that names it is no other photo's."""
    shelf.have(window(SIX), "a", "b")
    shelf.manifest.change("UPDATE photos SET gone_since = 1 WHERE image_id = 'a'")
    oblivion = Oblivion(shelf.manifest, shelf.tree, shelf.layout)
    oblivion.remember(["b", "never"])
    oblivion.finish(["b", "never"])
    assert shelf.holdings.known(["a", "b", "c", "never"]) == {"a", "b", "never"}
