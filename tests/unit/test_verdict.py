"""The last words of a verification: what is damaged, what to do next, and never more than a screenful."""

from __future__ import annotations

from ninepic_mirror.archive.verify import Damage, Entry
from ninepic_mirror.cli.named import Line
from ninepic_mirror.cli.summary import SHOWN
from ninepic_mirror.cli.verdict import Verdict, describe
from ninepic_mirror.errors import StorageError


def row(number: int, error: str | None = None) -> Entry:
    """Return a row."""
    return Entry(f"id{number}", "large", f"{number}.jpg", 5, "", None, "present", error=error)


def text(verdict: Verdict, *, repairing: bool = False) -> str:
    """Return what is printed."""
    lines = describe(verdict, repair="REPAIR", everything="ALL", repairing=repairing)
    return "\n".join(lines)


def test_all_is_well() -> None:
    """One line says so, one what was done."""
    said = text(Verdict(456, "Marathon", 9, 9, 9, 900, seconds=1.5))
    assert said == (
        "Marathon (event 456): no damage: 9 files as they were\n  9 files checked, 900 B read; 1.5 s"
    )


def test_a_part() -> None:
    """A part is never taken for all of it."""
    said = text(Verdict(456, None, files=90, due=9, checked=4, late=True))
    assert "event 456: no damage in 4 of 90 files" in said
    assert "the time was over before 5 files; the next run begins with them" in said
    assert "stopped before 5 files" in text(Verdict(456, None, files=9, due=9, checked=4))


def test_much_damage() -> None:
    """A thousand lines would push the verdict out of sight."""
    damages = [Damage(row(number), "missing") for number in range(1000)]
    verdict = Verdict(456, "Marathon", 1000, 1000, 1000, damages=damages)
    said = text(verdict)
    assert verdict.is_damaged
    assert said.count(": missing") == SHOWN
    assert f"… and {1000 - SHOWN} more: ALL" in said
    assert said.endswith("  next: REPAIR")


def test_each_line() -> None:
    """Each damaged file has what is wrong, where it is found, and why it could not be had."""
    damages = [
        Damage(row(1), "misplaced", "there.jpg", repaired=True),
        Damage(row(2, "404 from the photo origin"), "content"),
        Damage(row(3), "size"),
        Damage(Entry("id4\x1b", "large", None, 5, "", None, "failed"), "missing"),
    ]
    verdict = Verdict(
        456, "Marathon", 9, 9, 9, damages=damages, fetched=1, rebuilt=True, tried=True
    )
    verdict.gone.add(("id3", "large"))
    verdict.strays, verdict.notes, verdict.unread = ["x.txt"], [("5.jpg", "odd")], True
    said = text(verdict, repairing=True)
    for line in (
        "the manifest was lost or damaged; it was rebuilt from the files",
        "DAMAGED: 3 files:",
        "  1.jpg: in a wrong place: it stands at there.jpg: repaired",
        "  2.jpg: altered, or unreadable; 404 from the photo origin",
        "  3.jpg: another size; its photo has left the event",
        "  id4\\u001b: missing",
        "  1 file belongs to no photo (never touched):\n    x.txt",
        "  5.jpg: odd",
        "1 file fetched",
        "the newest changes of a pass were not seen",
        "the files above could not be had; try again later: REPAIR",
    ):
        assert line in said, line


def test_what_to_do_next() -> None:
    """What a repair can mend, what it could not try, and what nobody can have again are told apart."""
    lost = Verdict(456, damages=[Damage(row(1), "missing")])
    assert text(lost, repairing=True).endswith(
        "  next: nothing could be tried, for the reason told; when that is over: REPAIR"
    )
    gone = Entry("id", "large", "1.jpg", 5, "", None, "gone")
    kept = Verdict(456, damages=[Damage(gone, "content")])
    assert (kept.is_damaged, kept.needs_pass) == (True, False)
    assert "put these files back from a backup" in text(kept)
    kept.damages[0].found = ".ninepic-mirror/trash/1.jpg"
    assert kept.needs_pass
    said = text(kept)
    assert "its bytes stand at .ninepic-mirror/trash/1.jpg; its photo has left the event" in said
    assert said.endswith("  next: REPAIR")


def test_what_the_manifest_does_not_know() -> None:
    """Such files are no damage, and are never called looked at."""
    older = Verdict(456, older=True, strays=["a.jpg"], unknown=1)
    assert not older.is_damaged
    assert "older than the files" in text(older)
    assert text(older).endswith("  next: take them in: REPAIR")
    assert "does not know 1 file of" in text(Verdict(456, strays=["a.jpg"], unknown=1))
    assert "SHA256SUMS names" not in text(older)
    named = text(Verdict(456, strays=["a.jpg", "b.jpg"], named=1))
    assert "SHA256SUMS names 1 file of these: mirrored once" in named
    assert "2 files taken in" in text(Verdict(456, adopted=2))
    lost = text(Verdict(456, unwanted={"original": 2}))
    assert (
        "2 originals missed by an earlier sync, not wanted (sync --variant original has it again)"
        in lost
    )
    assert "3 files moved" in text(Verdict(456, moved=3))


def test_an_error() -> None:
    """What could not be looked at is not called anything else."""
    assert text(Verdict(456, error="no")) == "event 456: NOT verified: no"
    closed = StorageError("m/day", "permission denied", "look")
    beside = text(Verdict(456, files=2, checked=1, closed=[closed]))
    assert "1 place could not be looked into:\n  m/day: permission denied" in beside
    assert "no damage in 1 of 2 files" in beside


def test_json() -> None:
    """The object has the fields of DESIGN §3 for damaged files and for strays."""
    verdict = Verdict(456, damages=[Damage(row(1), "size", repaired=True)], strays=["x"])
    assert not verdict.is_damaged
    assert verdict.as_json()["damaged"] == [
        {"path": "1.jpg", "image_id": "id1", "variant": "large", "fault": "size", "repaired": True},
        {"path": "x", "image_id": None, "variant": None, "fault": "stray", "repaired": False},
    ]


def test_a_rebuild_that_was_stopped() -> None:
    """It is never called done, and what goes on with it is all that is to be said."""
    said = text(Verdict(456, rebuilt=True, unfinished=True, stopped=True), repairing=True)
    assert "event 456: the manifest was lost or damaged; its rebuild is not finished" in said
    assert "event 456: no file was looked at" in said
    assert said.endswith("  next: REPAIR")


def test_what_sums_name_and_no_row() -> None:
    """It is damage, which a backup may help; a line that is right again is not."""
    line = Line("2026/a.jpg", "", "content")
    verdict = Verdict(456, files=1, checked=1, lines=[line], tried=True)
    said = text(verdict, repairing=True)
    assert "  2026/a.jpg: altered, or unreadable; SHA256SUMS names it" in said
    assert "put them back from a backup, or try again later: REPAIR" in said
    line.repaired = True
    assert not verdict.is_damaged
    assert "a.jpg: altered, or unreadable; SHA256SUMS names it: repaired" in text(verdict)
