"""Files that could not be had rest for a growing while, and never longer than that."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from ninepic_mirror.archive import patience
from ninepic_mirror.archive.holdings import Holdings
from ninepic_mirror.archive.listings import Listings, unaddressed
from ninepic_mirror.archive.patience import (
    EARLY,
    IS_RESTING,
    UNASKED,
    clock,
    note_contradictions,
    note_doubtful,
    note_unasked,
)
from tests.shelf import SIX, VARIANTS, photo, window

if TYPE_CHECKING:
    from collections.abc import Callable

    from ninepic_mirror.model import Variant
    from tests.shelf import Shelf

LARGE: tuple[Variant, ...] = ("large",)
DAY = 86_400
START = 1_800_000_000


@pytest.fixture
def at(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Return what sets the time of day, in seconds after a fixed moment."""

    def set_time(seconds: float) -> None:
        monkeypatch.setattr(time, "time", lambda: START + seconds)

    set_time(0)
    return set_time


def begin(shelf: Shelf, *, patient: bool = True) -> None:
    """Begin a pass, with its row."""
    shelf.number = shelf.manifest.begin_pass("quick") - 1
    shelf.next_pass()
    shelf.holdings = Holdings(shelf.manifest, shelf.number, patient=patient)
    shelf.listings = Listings(shelf.manifest, shelf.number, VARIANTS, patient=patient)


def end(shelf: Shelf) -> None:
    """End it."""
    shelf.manifest.end_pass(shelf.number, "partial", {}, whole=False)


def fail(shelf: Shelf, *ids: str, ends: bool = True) -> None:
    """Make a pass that takes up these photos' large files, and cannot have them."""
    begin(shelf, patient=False)
    assert {job.image_id for job in shelf.holdings.want(LARGE)} >= set(ids)
    shelf.holdings.commit([], [(image_id, "large", "404") for image_id in ids])
    if ends:
        end(shelf)


def resting(shelf: Shelf, *, patient: bool = True) -> list[str]:
    """Return the photos whose large files rest, without taking any up."""
    found = shelf.manifest.rows(
        f"SELECT image_id FROM files WHERE variant = 'large' AND {IS_RESTING} ORDER BY image_id",
        [clock(patient=patient)],
    )
    return [str(row[0]) for row in found]


def test_a_rest_doubles_with_every_failure(shelf: Shelf, at: Callable[[float], None]) -> None:
    """A minute, two, four, up to a day, from the end of the pass that failed; then it is tried again."""
    begin(shelf)
    shelf.read(window(SIX), [photo("a")])
    moment, rest = 0.0, 0
    for failure in range(1, 15):
        fail(shelf, "a")
        rest = min(DAY, 60 * 2 ** (failure - 1))
        at(moment + rest - 1)
        assert resting(shelf) == ["a"], failure
        moment += rest
        at(moment)
        assert resting(shelf) == [], failure
    assert rest == DAY


def test_a_rest_begins_when_the_pass_ends(shelf: Shelf, at: Callable[[float], None]) -> None:
    """A pass may last for hours; one that was cut off has no end, and counts from its start."""
    begin(shelf)
    shelf.read(window(SIX), [photo("a")])
    fail(shelf, "a", ends=False)
    at(59)
    assert resting(shelf) == ["a"]
    at(60)
    assert resting(shelf) == []
    at(7200)
    end(shelf)
    at(7259)
    assert resting(shelf) == ["a"]
    at(7260)
    assert resting(shelf) == []


def test_what_a_cut_off_pass_took_up_is_no_failure(
    shelf: Shelf, at: Callable[[float], None]
) -> None:
    """A pending file that was queued and never tried is tried by the next pass, and rests in none."""
    begin(shelf)
    shelf.read(window(SIX), [photo("a"), photo("b")])
    fail(shelf, "a", ends=False)  # and `b` was on its way
    begin(shelf)
    assert resting(shelf) == ["a"]
    assert [job.image_id for job in shelf.holdings.want(LARGE)] == ["b"]


def test_a_failure_of_no_pass_rests_not(shelf: Shelf, at: Callable[[float], None]) -> None:
    """A row whose pass is not in the manifest any more, or that was never queued, is tried."""
    begin(shelf)
    shelf.read(window(SIX), [photo("a")])
    fail(shelf, "a")
    shelf.manifest.change("UPDATE files SET queued = 0")
    assert resting(shelf) == []


def test_an_impatient_pass_tries_all(shelf: Shelf, at: Callable[[float], None]) -> None:
    """A typed sync asks for every failed file at once, whether it is wanted, listed, or has no address."""
    begin(shelf)
    shelf.read(window(SIX), [photo("a"), photo("q", "?signed")])
    for _ in range(5):
        fail(shelf, "a")
    shelf.manifest.change("UPDATE files SET state = 'failed', attempts = 9 WHERE image_id = 'q'")
    assert resting(shelf) == ["a", "q"]
    assert resting(shelf, patient=False) == []
    assert unaddressed(shelf.manifest, LARGE, patient=True) == frozenset()
    assert unaddressed(shelf.manifest, LARGE) == {SIX}
    begin(shelf, patient=False)
    assert [job.image_id for job in shelf.holdings.want(LARGE)] == ["a"]
    begin(shelf, patient=False)
    jobs = shelf.read(window(SIX), [photo("a"), photo("q", "?signed")])
    assert {job.image_id for job in jobs if job.variant == "large"} == {"a", "q"}


def test_what_was_not_asked_for_comes_before_what_failed_by_itself(
    shelf: Shelf, at: Callable[[float], None]
) -> None:
    """All rest alike; what has failed by itself stays known as that until it is here."""
    begin(shelf)
    shelf.read(window(SIX), [photo("a"), photo("b"), photo("c")])

    def wanted() -> tuple[set[str], set[str]]:
        begin(shelf, patient=False)
        others = {job.image_id for job in shelf.holdings.want(LARGE, tried=False)}
        assert shelf.holdings.want(LARGE, tried=False) == []
        tried = {job.image_id for job in shelf.holdings.want(LARGE, tried=True)}
        assert shelf.holdings.want(LARGE, tried=True) == shelf.holdings.want(LARGE) == []
        return others, tried

    def give_up(*ids: str) -> None:
        reason = f"{UNASKED}500"
        note_unasked(shelf.manifest, [(image_id, "large", reason) for image_id in ids])

    assert wanted() == ({"a", "b", "c"}, set())
    shelf.holdings.commit([], [("a", "large", "502")])
    give_up("b", "c")
    assert wanted() == ({"b", "c"}, {"a"})
    shelf.holdings.commit([], [("b", "large", "502")])
    give_up("a", "c")
    assert wanted() == ({"c"}, {"a", "b"})
    found = shelf.manifest.rows(
        "SELECT state, attempts, error FROM files WHERE variant = 'large' ORDER BY image_id"
    )
    assert found == [
        ("failed", 2, "502"),
        ("failed", 2, "502"),
        ("failed", 2, "not asked for: 500"),
    ]


def test_what_may_be_had_soon_rests_not(shelf: Shelf, at: Callable[[float], None]) -> None:
    """What waits for the listing, and what was tried when the origin was given up, is tried at once, that one last of all."""
    begin(shelf)
    shelf.read(window(SIX), [photo("a"), photo("b"), photo("c")])
    note_unasked(shelf.manifest, [("a", "large", f"{EARLY}names"), ("b", "large", f"{UNASKED}500")])
    note_doubtful(shelf.manifest, [("c", "large", "a web page came")])
    end(shelf)
    assert resting(shelf) == ["b"]
    begin(shelf)
    assert [job.image_id for job in shelf.holdings.want(LARGE, tried=False)] == ["a"]
    assert shelf.holdings.want(LARGE, tried=False) == []
    assert [job.image_id for job in shelf.holdings.want(LARGE, tried=True)] == ["c"]
    found = shelf.manifest.rows("SELECT image_id, attempts FROM files WHERE variant = 'large'")
    assert found == [("a", 0), ("b", 1), ("c", 0)]


def test_what_failed_is_begun_with_anywhere(shelf: Shelf, at: Callable[[float], None]) -> None:
    """Where a pass does not come to all of it, each has its turn."""
    begin(shelf)
    ids = [f"p{number}" for number in range(9)]
    shelf.read(window(SIX), [photo(one) for one in ids])
    shelf.holdings.commit([], [(one, "large", "500") for one in ids])
    first = set[str]()
    for _ in range(200):
        begin(shelf, patient=False)
        first |= {job.image_id for job in shelf.holdings.want(LARGE, tried=True)[:1]}
    assert first == set(ids)


@pytest.mark.parametrize("count", [1, 9, 500, 1_203])
def test_what_failed_comes_once_round(
    shelf: Shelf, at: Callable[[float], None], count: int
) -> None:
    """From where it begins to the end, and what stands before in the same answers: each once, and as few answers as ever."""
    begin(shelf)
    ids = [f"p{number:04}" for number in range(count)]
    shelf.read(window(SIX), [photo(one) for one in ids])
    shelf.holdings.commit([], [(one, "large", "500") for one in ids])
    for _ in range(5):
        begin(shelf, patient=False)
        answers = list(iter(lambda: shelf.holdings.want(LARGE, tried=True), []))
        found = [job.image_id for answer in answers for job in answer]
        begun = ids.index(found[0])
        assert found == [*ids[begun:], *ids[:begun]]
        assert [len(answer) for answer in answers[:-1]] == [500] * (-(-count // 500) - 1)


def test_a_patient_pass_leaves_them_alone(shelf: Shelf, at: Callable[[float], None]) -> None:
    """Neither what is wanted nor a listing brings a resting file; its new address is kept, its failures count on."""
    begin(shelf)
    shelf.read(window(SIX), [photo("a")])
    fail(shelf, "a")
    begin(shelf)
    assert shelf.holdings.want(LARGE) == []
    jobs = shelf.read(window(SIX), [photo("a", "?signed")])
    assert [job.variant for job in jobs] == ["thumbnail"]
    assert unaddressed(shelf.manifest, LARGE, patient=True) == frozenset()
    ((state, attempts, url),) = shelf.manifest.rows(
        "SELECT state, attempts, url FROM files WHERE variant = 'large'"
    )
    assert (state, attempts, url) == ("failed", 1, None)
    at(60)
    begin(shelf)
    assert unaddressed(shelf.manifest, LARGE, patient=True) == {SIX}
    jobs = shelf.read(window(SIX), [photo("a")])
    assert [job.variant for job in jobs] == ["thumbnail", "large"]
    shelf.holdings.commit([], [("a", "large", "404")])
    end(shelf)
    at(179)
    assert resting(shelf) == ["a"], "the second rest is of two minutes"
    at(180)
    assert resting(shelf) == []


def test_a_failure_in_the_future_rests_not(shelf: Shelf, at: Callable[[float], None]) -> None:
    """The clock was wrong then: what it says may be years away, and no file may wait for that."""
    begin(shelf)
    shelf.read(window(SIX), [photo("a")])
    fail(shelf, "a")
    assert resting(shelf) == ["a"]
    at(-1)
    assert resting(shelf) == []


def test_contradictions_that_make_no_sense_rest_not(
    shelf: Shelf, at: Callable[[float], None]
) -> None:
    """What is damaged there only has more listed than need be, and is written anew."""
    at(0)
    note_contradictions(shelf.manifest, {str(SIX): 5, "event": 9})
    assert patience.resting(shelf.manifest) == {str(SIX): 5, "event": 9}
    for found in ("x", [1], {"six": [5, 1, START]}, {"6": [5, 0, START]}, {"6": [5, 1]}, {"6": 5}):
        shelf.manifest.set_meta({"contradictions": found})
        assert patience.resting(shelf.manifest) == {}
        note_contradictions(shelf.manifest, {"event": 9}, kept=["6"])
        assert patience.resting(shelf.manifest) == {"event": 9}
