"""The balance sheet adds up, and shows what is lacking whatever else there is."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ninepic_mirror.archive.balance import Balance, balance, failures
from ninepic_mirror.archive.listings import missed_photos
from ninepic_mirror.archive.records import Listing
from ninepic_mirror.model import HOUR
from tests.shelf import SIX, VARIANTS, photo, window

if TYPE_CHECKING:
    from tests.shelf import Shelf

SEVEN = SIX + HOUR


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
