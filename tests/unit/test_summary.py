"""What people read at the end of a pass."""

from __future__ import annotations

import pytest

from ninepic_mirror.cli.summary import count, duration, summarize
from ninepic_mirror.sync.report import Failure, PassReport


def lines(report: PassReport, day: str | None = None) -> list[str]:
    """Return the summary of a report."""
    variants = ("thumbnail", "large")
    if day is not None:
        report.scope = {"day": day, "variants": None}
    return list(summarize(report, variants, next_command="ninepic-mirror status 456"))


def report(**fields: object) -> PassReport:
    """Return a report of 2,000 photos."""
    values: dict[str, object] = {"photos": 2000, "present": 4000, "folder": "/srv/456-x"} | fields
    made = PassReport(456, "Marathon")
    for name, value in values.items():
        setattr(made, name, value)
    return made


def test_whole() -> None:
    """A whole event is called whole, with its photos, files and folder."""
    first, work = lines(report(whole=True, undated=7, seconds=0.04, api_requests=3))
    assert first == (
        "Marathon (event 456): whole: everything is here: 2,000 photos, 7 of them undated,"
        " 4,000 files (thumbnail and large) in /srv/456-x"
    )
    assert work == "  nothing was fetched; 3 API requests and 0 for photos; 0.0 s"


def test_counts_that_are_zero_are_left_out() -> None:
    """Linked, moved, gone and failed files and retries are told only where there are any."""
    work = lines(
        report(whole=True, downloaded=5, bytes_downloaded=1_500_000, linked=2, gone=1, retries=3)
    )[1]
    assert "5 files fetched, 1.50 MB, 2 linked, 1 gone from the event;" in work
    assert "3 retries" in work
    assert "moved" not in work


def test_failures_are_listed_up_to_twenty() -> None:
    """The first 20 failures stand with their reasons; for the rest there is a command."""
    failures = [Failure(f"id{place}", "large", "404 from the photo origin") for place in range(25)]
    found = lines(report(missing=25, failed=25, present=3975, failures=failures))
    assert found[0] == "Marathon (event 456): NOT whole: 25 files are missing:"
    assert found[1] == "  id0 large: 404 from the photo origin"
    assert found[21] == "  … and 5 more: ninepic-mirror status 456"
    assert "3,975 files of 2,000 photos are safe in /srv/456-x" in found[22]
    single = "\n".join(lines(report(missing=1, failed=1, present=1)))
    assert "1 file of 2,000 photos is safe in" in single


def test_untried_files_are_no_failures() -> None:
    """Files that a stopped pass never came to are told apart from those that failed."""
    found = lines(report(missing=100, present=3900))
    assert "  100 files had not been tried when the pass ended" in found


def test_doubt_without_a_missing_file() -> None:
    """A listing that does not add up is not whole, although no file is known to be missing."""
    doubt = Failure(None, None, "the service reports 3 more photos than its listings name")
    found = lines(report(failures=[doubt]))
    assert found[0].endswith("NOT whole: it is not certain that everything is here:")
    assert found[1] == f"  {doubt.error}"


def test_doubt_of_a_day() -> None:
    """What is uncertain of a day, a pass over the event decides, and not the same command again."""
    lacks = [Failure(None, None, "cannot be told")]
    fields: dict[str, object] = {
        "failures": lacks,
        "scope": {"day": "2026-01-18", "variants": None},
    }
    assert "without --day" in lines(report(**fields))[-2]
    for more in ("missing", "stopped"):
        assert "the same command again" in lines(report(**fields, **{more: 1}))[-2]


def test_stopped_before_everything_was_listed() -> None:
    """A pass that was stopped early names no number of missing files as if it were all that is missing."""
    found = lines(report(photos=700, present=900, missing=500, total=2000, stopped=True))
    assert found[0] == (
        "Marathon (event 456): NOT whole: stopped: 700 of 2,000 photos were listed so far:"
    )
    assert any("next: run the same command again" in line for line in found)
    unasked = lines(report(missing=2, stopped=True))
    assert unasked[0].endswith("NOT whole: stopped: before everything was listed:")


def test_repeated_rows_are_told() -> None:
    """Rows that repeat a photo explain why the service's total is larger than the photos here."""
    assert any(
        "3 rows of the listing repeat a photo" in line
        for line in lines(report(whole=True, repeated=3))
    )
    assert any("1 row of the listing repeats" in line for line in lines(report(repeated=1)))
    assert not any("repeat" in line for line in lines(report(whole=True)))


def test_names_cannot_steer_the_terminal() -> None:
    """What the service calls an event, or a photo, is shown without control characters."""
    made = report(missing=1, failures=[Failure("\x1b[2Jid", "large", "x\ny")])
    made.name = "\x1b]0;evil\x07"
    text = "\n".join(lines(made))
    assert "\x1b" not in text
    assert "x\\u000ay" in text


@pytest.mark.parametrize(
    ("seconds", "text"), [(4.21, "4.2 s"), (200, "3 min 20 s"), (7500, "2 h 5 min")]
)
def test_duration(seconds: float, text: str) -> None:
    """Times are given in two units at most."""
    assert duration(seconds) == text


def test_count() -> None:
    """One is not a plural."""
    assert (count(1, "photo"), count(2000, "photo")) == ("1 photo", "2,000 photos")


def test_photos_without_an_id_are_in_the_headline() -> None:
    """They are lacking as much as files are, and are counted beside them."""
    report = PassReport(456, "Race", nameless=2, failures=[Failure(None, None, "why")])
    head = next(summarize(report, ["large"], next_command="x"))
    assert head == "Race (event 456): NOT whole: 2 photos have no usable id:"
    report.missing, report.nameless = 1, 1
    head = next(summarize(report, ["large"], next_command="x"))
    assert head == "Race (event 456): NOT whole: 1 file is missing and 1 photo has no usable id:"


def test_what_was_left_out_is_told() -> None:
    """A pass over one day, or one variant, does not look like one over the event."""
    made = report(whole=True, scope={"day": "2026-01-18", "variants": ["large"]})
    assert lines(made)[0].startswith("Marathon (event 456), 2026-01-18, large only: whole:")
    made.scope = {"day": None, "variants": ["large"]}
    assert lines(made)[0].startswith("Marathon (event 456), large only: whole:")
