"""What is told of a pass, and what the manifest keeps of it."""

from __future__ import annotations

from ninepic_mirror.sync.report import KEPT, Failure, PassReport, Recheck


def test_the_manifest_keeps_the_first_failed_files() -> None:
    """All are told, the manifest's `files` name them; what is no file is doubtful, and kept whole."""
    doubts = [Failure(None, None, f"hour {number}") for number in range(150)]
    files = [Failure(f"p{number:03}", "large", "404") for number in range(150)]
    report = PassReport(456, "Run", failed=150, failures=[*files, *doubts])
    told, kept = report.as_json(), report.as_kept()
    assert told["failures"] == [one.as_json() for one in (*files, *doubts)]
    assert kept["failures"] == [one.as_json() for one in (*doubts, *files[:KEPT])]
    assert {key: kept[key] for key in kept if key != "failures"} == {
        key: told[key] for key in told if key != "failures"
    }
    few = PassReport(456, "Run", failures=[*doubts[:1], *files[:9]])
    assert few.as_kept() == few.as_json()


def test_what_a_recheck_was_not_told_is_among_them() -> None:
    """Behind what the pass itself could not have, in what is told and what is kept."""
    found = Recheck()
    for number in range(KEPT):
        found.note_failed(Failure(f"r{number}", "large", "recheck: 500"))
    report = PassReport(456, "Run", failures=[Failure("p", "large", "404")], recheck=found)
    every = [*report.failures, *found.failures]
    assert report.as_json()["failures"] == [one.as_json() for one in every]
    assert report.as_kept()["failures"] == [one.as_json() for one in every[:KEPT]]
