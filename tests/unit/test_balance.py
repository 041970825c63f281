"""The balance sheet adds up, and shows what is lacking whatever else there is."""

from __future__ import annotations

import re
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from ninepic_mirror.archive.about import describe
from ninepic_mirror.archive.balance import (
    Balance,
    balance,
    counted,
    failures,
    note_count,
    still_to_come,
)
from ninepic_mirror.archive.listings import (
    known_photos,
    missed_photos,
    unaddressed,
    undated_photos,
)
from ninepic_mirror.archive.manifest import Manifest
from ninepic_mirror.archive.records import Listing
from ninepic_mirror.config import Mirror
from ninepic_mirror.model import HOUR, Details, Event
from tests.shelf import SIX, VARIANTS, jpeg, photo, window

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.shelf import Shelf

SEVEN = SIX + HOUR
DETAILS = Details(Event(456), timeline_search=True)


def test_an_empty_event_balances(shelf: Shelf) -> None:
    """Nothing of nothing is missing."""
    assert balance(shelf.manifest, VARIANTS) == Balance(0, 0, 0, 0, 0)


def test_present_and_lacking_files_are_told_apart(shelf: Shelf) -> None:
    """Photos times variants = present + missing, failed ones among them (DESIGN §6.8)."""
    shelf.have(window(SIX), "a", "b")
    shelf.read(window(SEVEN), [photo("c")])
    shelf.read(Listing(offset=100), [photo("u")])
    shelf.holdings.commit([], [("c", "large", "404"), ("c", "thumbnail", "500")])
    assert balance(shelf.manifest, VARIANTS) == Balance(4, 1, 4, 2, 4)
    assert balance(shelf.manifest, ("large",)) == Balance(4, 1, 2, 1, 2)
    assert balance(shelf.manifest, ("original",)) == Balance(4, 1, 0, 0, 4)
    assert failures(shelf.manifest, VARIANTS) == [("c", "large", "404"), ("c", "thumbnail", "500")]
    assert failures(shelf.manifest, ("large",)) == [("c", "large", "404")]


def test_a_day_is_counted_alone(shelf: Shelf) -> None:
    """A pass over one span of time is judged by that span."""
    shelf.have(window(SIX), "a", "b")
    shelf.read(window(SEVEN), [photo("c")])
    assert balance(shelf.manifest, VARIANTS, (SIX, SEVEN)) == Balance(2, 0, 4, 0, 0)
    assert balance(shelf.manifest, VARIANTS, (SEVEN, SEVEN + 1)) == Balance(1, 0, 0, 0, 2)


def test_failures_and_missed_photos_of_a_day(shelf: Shelf) -> None:
    """A pass over one span lists the failures of that span, and counts what left of it, alone."""
    shelf.read(window(SIX), [photo("a")])
    shelf.read(window(SEVEN), [photo("b")])
    shelf.read(Listing(offset=100), [photo("u")])
    shelf.holdings.commit([], [(image_id, "large", "404") for image_id in "abu"])
    shelf.manifest.change("UPDATE photos SET missed = 1")
    assert failures(shelf.manifest, VARIANTS, (SIX, SEVEN)) == [("a", "large", "404")]
    assert failures(shelf.manifest, ("thumbnail",), (SIX, SEVEN)) == []
    assert [one[0] for one in failures(shelf.manifest, VARIANTS)] == ["a", "b", "u"]
    assert missed_photos(shelf.manifest, (SEVEN, SEVEN + HOUR)) == 1
    assert missed_photos(shelf.manifest) == 3


def test_photos_that_left_do_not_make_up_for_others(shelf: Shelf) -> None:
    """Files of photos that are no longer listed, kept or forgotten, hide nothing that is missing."""
    shelf.have(window(SIX), "kept", "forgotten", "stays")
    shelf.manifest.change("UPDATE files SET state = 'forgotten' WHERE image_id = 'forgotten'")
    assert balance(shelf.manifest, VARIANTS).missing == 0
    shelf.next_pass()
    shelf.read(window(SIX), [photo("stays"), photo("new")])
    assert balance(shelf.manifest, VARIANTS) == Balance(2, 0, 4, 0, 2)
    shelf.holdings.moves.mark_gone()
    assert balance(shelf.manifest, VARIANTS) == Balance(2, 0, 2, 0, 2)
    assert balance(shelf.manifest, VARIANTS, (SIX, SEVEN)).missing == 2


def test_a_count_holds_until_the_next_pass_begins(shelf: Shelf) -> None:
    """What a pass counted is believed once it has ended, for its variants, and as long as it is the last one."""
    manifest, there = shelf.manifest, Balance(4, 1, 4, 2, 4)
    assert counted(manifest, VARIANTS) is None, "no pass yet"
    one = manifest.begin_pass("quick")
    assert counted(manifest, VARIANTS) is None, "nothing was counted yet"
    note_count(manifest, VARIANTS, one, there)
    assert counted(manifest, VARIANTS) is None, "killed now, the rows may be others"
    manifest.end_pass(one, "quick", {}, whole=False)
    assert counted(manifest, VARIANTS) == there
    assert counted(manifest, ("large", "thumbnail")) == there
    assert counted(manifest, ("large",)) is None
    two = manifest.begin_pass("quick")
    assert counted(manifest, VARIANTS) is None, "a pass is at work"
    assert counted(manifest, VARIANTS, one) == there, "which asks for what there was before it"
    manifest.end_pass(two, "quick", {}, whole=True)
    assert counted(manifest, VARIANTS) is None, "it may have changed anything: no count names it"
    note_count(manifest, VARIANTS, two, None)
    assert counted(manifest, VARIANTS) is None, "it counted a part only"


def test_a_count_of_another_version_is_not_believed(shelf: Shelf) -> None:
    """Whatever else, or damaged, stands in its place, it is counted anew."""
    number = shelf.manifest.begin_pass("quick")
    shelf.manifest.end_pass(number, "quick", {}, whole=True)
    for found in (
        {"variants": list(VARIANTS), "photos": 1}, [], [number], [number, sorted(VARIANTS), 1], "4", 4,
        [number, sorted(VARIANTS), 1, "2", 3, 4, 5],
    ):  # fmt: skip
        shelf.manifest.set_meta({"balance": found})
        assert counted(shelf.manifest, VARIANTS) is None


@pytest.mark.parametrize(
    "ask",
    [
        known_photos,
        undated_photos,
        missed_photos,
        lambda manifest: unaddressed(manifest, VARIANTS),
        lambda manifest: failures(manifest, VARIANTS),
        lambda manifest: counted(manifest, VARIANTS),
        lambda manifest: describe(DETAILS, Mirror(manifest.path), manifest),
    ],
)
def test_an_unchanged_mirror_is_asked_by_its_indexes(
    shelf: Shelf, ask: Callable[[Manifest], object]
) -> None:
    """No row of a million is read one by one: the plans say so, whatever the machine's speed."""
    asked: list[str] = []
    with closing(sqlite3.connect(shelf.manifest.path, isolation_level=None)) as connection:
        connection.set_trace_callback(asked.append)
        ask(Manifest(shelf.manifest.path, connection))
        connection.set_trace_callback(None)
        plans = [
            str(step[3])
            for statement in asked
            for step in connection.execute(f"EXPLAIN QUERY PLAN {statement}")
        ]
    assert plans
    # all of a table: without an index, or with one that says too little, so that every row is looked up
    whole = re.compile("SCAN (photos|files)(?! USING (COVERING )?INDEX (?!files_by))")
    assert not [plan for plan in plans if whole.search(plan)]
    assert not [plan for plan in plans if "USING INDEX photos_by_taken" in plan]


# --- what is still to come --------------------------------------------------------------------------------------


def test_nothing_to_judge_by_is_nothing_to_come(shelf: Shelf) -> None:
    """The first pass over an event knows no size; `min_free` alone then guards the disk."""
    assert still_to_come(shelf.manifest, VARIANTS, 0) == 0
    assert still_to_come(shelf.manifest, VARIANTS, 5000) == 0
    shelf.read(window(SIX), [photo("a")])
    assert still_to_come(shelf.manifest, VARIANTS, 1) == 0


def test_new_and_pending_photos_are_to_come(shelf: Shelf) -> None:
    """Each variant by its own mean size: photos that are not listed yet, and files that no pass has tried."""
    for start, name, size in ((SIX, "a", 100), (SEVEN, "b", 300)):
        shelf.have(window(start), name, body=jpeg(size=size))
    mean = (len(jpeg(size=100)) + len(jpeg(size=300))) // 2
    shelf.manifest.change("UPDATE files SET size = 10 WHERE variant = 'thumbnail'")
    assert still_to_come(shelf.manifest, VARIANTS, 2) == 0, "all is here"
    assert still_to_come(shelf.manifest, ("large",), 12) == 10 * mean
    assert still_to_come(shelf.manifest, VARIANTS, 12) == 10 * (mean + 10)
    shelf.read(window(SEVEN + HOUR), [photo("c")])  # listed, not fetched
    assert still_to_come(shelf.manifest, VARIANTS, 3) == mean + 10
    assert still_to_come(shelf.manifest, VARIANTS, 4) == 2 * (mean + 10)
    assert still_to_come(shelf.manifest, ("original",), 4) == 0, "of it nothing is here"


def test_what_failed_is_not_waited_for(shelf: Shelf) -> None:
    """A photo that cannot be had needs no room, and a service that reports fewer than it lists takes none away."""
    shelf.have(window(SIX), "a")
    shelf.read(window(SEVEN), [photo("c")])
    shelf.holdings.commit([], [("c", "large", "404"), ("c", "thumbnail", "404")])
    assert still_to_come(shelf.manifest, VARIANTS, 2) == 0
    assert still_to_come(shelf.manifest, VARIANTS, 1) == 0
    assert still_to_come(shelf.manifest, VARIANTS, 0) == 0
