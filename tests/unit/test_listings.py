"""What readings name: hours, repeated rows, photos that moved, photos that left."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from ninepic_mirror.archive.listings import (
    Listings,
    hours,
    known_photos,
    missed_photos,
    repeated_in_hours,
    storable,
    unaddressed,
    undated_photos,
)
from ninepic_mirror.archive.records import Hour, Listing
from ninepic_mirror.model import HOUR, Window
from tests.shelf import SIX, photo, window

if TYPE_CHECKING:
    from tests.shelf import Shelf

SEVEN = SIX + HOUR
ODD = ["a\0b", "it's", "100%", "a_b", '"', "../x", "ü", "A", "a"]


def hour_of(shelf: Shelf, image_id: str) -> object:
    """Return the hour that the manifest has for a photo."""
    return shelf.manifest.rows("SELECT hour FROM photos WHERE image_id = ?", [image_id])[0][0]


def missed(shelf: Shelf) -> set[object]:
    """Return the photos marked as missed."""
    return {row[0] for row in shelf.manifest.rows("SELECT image_id FROM photos WHERE missed")}


def test_every_new_photo_gives_its_jobs(shelf: Shelf) -> None:
    """A photo is to be had in each variant, with the address and pixels of the listing."""
    jobs = shelf.read(window(SIX), [photo("a")])
    assert [(job.variant, job.url) for job in jobs] == [
        ("thumbnail", "https://photos.example/456/a/small.jpg"),
        ("large", "https://photos.example/456/a/large.jpg"),
    ]
    assert all((job.taken, job.width, job.height, job.held) == (SIX, 4, 3, None) for job in jobs)
    assert shelf.read(window(SIX), [photo("a")]) == [], "they are on their way already"


def test_odd_ids_are_kept_as_they_are(shelf: Shelf) -> None:
    """Quotes, wildcards, NUL and case are part of an id, never of a statement."""
    shelf.read(window(SIX), [photo(image_id) for image_id in ODD])
    found = {row[0] for row in shelf.manifest.rows("SELECT image_id FROM photos")}
    assert found == set(ODD)
    assert {image_id for image_id, _ in shelf.rows()} == set(ODD)


def test_a_page_may_be_large(shelf: Shelf) -> None:
    """A service that gives more rows than were asked for is recorded all the same."""
    photos = [photo(f"p{number}") for number in range(1500)]
    assert len(shelf.read(window(SIX), photos)) == 3000
    assert shelf.read(window(SIX), []) == []
    assert known_photos(shelf.manifest) == 0, "an empty listing names none of them"


def test_repeated_rows_are_counted_once(shelf: Shelf) -> None:
    """One photo, one row, however often a reading names it (RELIABILITY N13)."""
    reading = shelf.listings.next_reading()
    first = shelf.listings.record(window(SIX), reading, 0, [photo("a"), photo("b"), photo("a")])
    second = shelf.listings.record(window(SIX), reading, 100, [photo("b"), photo("c")])
    assert (first.distinct, first.repeated, len(first.jobs)) == (2, 1, 4)
    assert (second.distinct, second.repeated, len(second.jobs)) == (1, 1, 2)


def test_equal_sets_have_equal_digests(shelf: Shelf) -> None:
    """Two readings that name the same ids in another order agree, others do not."""
    one = shelf.listings.record(window(SIX), 1, 0, [photo("a"), photo("b")])
    other = shelf.listings.record(window(SIX), 2, 0, [photo("b"), photo("a")])
    third = shelf.listings.record(window(SIX), 3, 0, [photo("b"), photo("c")])
    assert one.digest == other.digest != third.digest


def test_positions_are_those_of_the_window(shelf: Shelf) -> None:
    """The order within the hour is kept."""
    shelf.listings.record(window(SIX), 1, 100, [photo("b"), photo("a")])
    found = shelf.manifest.rows("SELECT image_id, position FROM photos ORDER BY position")
    assert found == [("b", 100), ("a", 101)]


def test_an_hour_once_known_is_kept(shelf: Shelf) -> None:
    """The list of all photos does not take a photo out of its hour (DESIGN §6.7)."""
    shelf.read(window(SIX), [photo("a")])
    shelf.next_pass()
    shelf.read(Listing(), [photo("a"), photo("u")])
    assert hour_of(shelf, "a") == SIX
    assert hour_of(shelf, "u") is None
    assert undated_photos(shelf.manifest) == 1


def test_an_undated_photo_gets_its_hour(shelf: Shelf) -> None:
    """When the timeline is switched on photos move to their hours (DESIGN §6.7)."""
    shelf.read(Listing(), [photo("a")])
    shelf.next_pass()
    shelf.read(window(SIX), [photo("a")])
    assert hour_of(shelf, "a") == SIX
    assert shelf.manifest.count("SELECT misplaced FROM photos") == 1


def test_a_photo_that_moved_leaves_its_hour_short(shelf: Shelf) -> None:
    """The hour that it was counted for lists fewer now, so that the next plan looks at it."""
    shelf.read(window(SIX), [photo("a"), photo("b")])
    shelf.listings.note_hour(SIX, Hour(2, 2, 0, 0))
    shelf.next_pass()
    shelf.read(window(SEVEN), [photo("a")])
    assert hour_of(shelf, "a") == SEVEN
    assert hours(shelf.manifest) == {SIX: Hour(2, 1, 0, 0)}


def test_an_hour_listed_in_this_pass_is_not_corrected(shelf: Shelf) -> None:
    """A listing of this pass has counted without the photo already; other hours lose nothing."""
    shelf.read(window(SIX), [photo("a")])
    shelf.listings.note_hour(SEVEN + HOUR, Hour(5, 5, 0, 0))
    shelf.next_pass()
    shelf.listings.note_hour(SIX, Hour(4, 4, 0, 0))
    shelf.read(window(SEVEN), [photo("a")])
    assert {start: hour.listed for start, hour in hours(shelf.manifest).items()} == {
        SIX: 4, SEVEN + HOUR: 5,
    }  # fmt: skip


def test_a_move_within_the_hour_counts_it_once(shelf: Shelf) -> None:
    """Where a zone cuts the hour, the half may change and the count stays."""
    early, late = Window(SIX, SIX + 1800), Window(SIX + 1800, SEVEN)
    shelf.read(Listing(SIX, early), [photo("a")])
    shelf.listings.note_hour(SIX, Hour(1, 1, 0, 1800))
    shelf.next_pass()
    shelf.read(Listing(SIX, late), [photo("a")])
    assert hours(shelf.manifest)[SIX].listed == 1
    assert shelf.manifest.count("SELECT taken FROM photos") == SIX + 1800


@pytest.mark.parametrize("order", [(SIX, SEVEN), (SEVEN, SIX)])
def test_of_two_windows_the_earlier_has_it(shelf: Shelf, order: tuple[int, int]) -> None:
    """The order in which the windows of one pass are read does not matter."""
    for start in order:
        shelf.read(window(start), [photo("a")])
    assert hour_of(shelf, "a") == SIX


@pytest.mark.parametrize("order", [(SIX, SEVEN), (SEVEN, SIX)])
def test_a_window_that_is_read_again_gives_up_what_it_names_no_more(
    shelf: Shelf, order: tuple[int, int]
) -> None:
    """The other window that names the photo has it then, whichever was read first, and its files move."""
    for start in order:
        shelf.read(window(start), [photo("a")])
    shelf.read(window(SIX), [])
    assert hour_of(shelf, "a") == SEVEN
    assert missed(shelf) == set()
    assert shelf.manifest.count("SELECT misplaced FROM photos") == 1
    shelf.read(window(SEVEN), [])
    assert missed(shelf) == {"a"}


def test_a_claim_ends_when_its_window_names_the_photo_no_more(shelf: Shelf) -> None:
    """What an earlier reading claimed does not count after the next whole reading; of two claims the earlier counts."""
    for start in (SIX, SEVEN, SEVEN + HOUR):
        shelf.read(window(start), [photo("a"), photo("b")])
    assert shelf.listings.claims.contested()[:2] == (frozenset({SIX, SEVEN, SEVEN + HOUR}), 2)
    shelf.read(window(SEVEN), [photo("b")])
    shelf.read(window(SIX), [])
    assert (hour_of(shelf, "a"), hour_of(shelf, "b")) == (SEVEN + HOUR, SEVEN)
    assert shelf.listings.claims.contested()[:2] == (frozenset({SEVEN, SEVEN + HOUR}), 1)


def test_rows_that_repeat_are_known_beside_another_window(shelf: Shelf) -> None:
    """Two windows that are read at the same time and name one photo each count it once."""
    six, seven = shelf.listings.next_reading(), shelf.listings.next_reading()
    pages = [(SIX, six), (SEVEN, seven), (SIX, six), (SEVEN, seven)]
    recorded = [
        shelf.listings.record(window(start), reading, 100 * number, [photo("a")])
        for number, (start, reading) in enumerate(pages)
    ]
    assert [(one.distinct, one.repeated) for one in recorded] == [(1, 0), (1, 0), (0, 1), (0, 1)]


def test_an_hour_that_holds_other_photos_than_it_listed_is_named(shelf: Shelf) -> None:
    """Whether they came, left, or were recorded by a pass that was cut off; gone and kept photos are none of them."""
    shelf.read(window(SIX), [photo("a"), photo("b"), photo("c")])
    shelf.listings.note_hour(SIX, Hour(3, 3, 0, 0))
    shelf.read(window(SEVEN), [photo("d")], prove=False)
    assert shelf.listings.claims.disagreeing() == {SEVEN}
    shelf.listings.note_hour(SEVEN, Hour(1, 1, 0, 0))
    assert shelf.listings.claims.disagreeing() == frozenset()
    shelf.read(window(SEVEN), [photo("c"), photo("d")])
    shelf.listings.note_hour(SEVEN, Hour(2, 2, 0, 0))
    assert shelf.listings.claims.disagreeing() == frozenset(), "claimed by both"
    shelf.next_pass()
    assert shelf.listings.claims.disagreeing() == {SEVEN}
    shelf.read(Listing(), [photo("a"), photo("d"), photo("b")])
    assert missed(shelf) == {"c"}
    assert hours(shelf.manifest)[SIX].listed == 2, (
        "so it is looked at when it is reported to hold three"
    )
    assert shelf.listings.claims.disagreeing() == {SEVEN}
    shelf.read(window(SIX), [photo("a")])
    shelf.listings.note_hour(SIX, Hour(1, 1, 0, 0))
    assert missed(shelf) == {"c"}, "b is kept: the list of all names it"
    shelf.holdings.moves.mark_gone()
    assert shelf.listings.claims.disagreeing() == {SEVEN}
    assert (hour_of(shelf, "b"), hour_of(shelf, "c")) == (SIX, SIX)


def test_an_hour_that_lost_a_photo_may_still_name_it(shelf: Shelf) -> None:
    """It is to be listed in this pass, too; once it was, it is no more."""
    shelf.read(window(SIX), [photo("a"), photo("b")])
    shelf.next_pass()
    shelf.read(window(SEVEN), [photo("a")])
    assert shelf.listings.left == {SIX}
    shelf.listings.note_hour(SIX, Hour(1, 1, 0, 0))
    assert shelf.listings.left == set()


def test_what_a_window_no_longer_names_is_missed(shelf: Shelf) -> None:
    """Only a whole reading marks what left; what is named again is missed no more."""
    shelf.read(window(SIX), [photo("a"), photo("b")])
    shelf.next_pass()
    shelf.read(window(SIX), [photo("a")], prove=False)
    assert missed(shelf) == set()
    shelf.listings.prove(window(SIX), shelf.listings.next_reading() - 1)
    assert missed(shelf) == {"b"}
    assert (known_photos(shelf.manifest), missed_photos(shelf.manifest)) == (1, 1)
    shelf.read(window(SIX), [photo("b")], prove=False)
    assert missed(shelf) == set()


def test_a_reading_misses_only_what_is_its_own(shelf: Shelf) -> None:
    """A window says nothing of other windows, the tail nothing of dated photos."""
    shelf.read(window(SIX), [photo("a")])
    shelf.read(Listing(offset=100), [photo("u")])
    shelf.next_pass()
    shelf.read(window(SEVEN), [])
    shelf.read(Listing(offset=100), [photo("v")])
    assert missed(shelf) == {"u"}


def test_what_another_listing_named_is_not_missed(shelf: Shelf) -> None:
    """In doubt a photo is kept: the list of all photos of this pass still names it."""
    shelf.read(window(SIX), [photo("a"), photo("b")])
    shelf.next_pass()
    shelf.read(Listing(), [photo("a"), photo("b")])
    shelf.read(window(SIX), [photo("a")])
    assert missed(shelf) == set()


def test_the_list_of_all_misses_what_no_window_named(shelf: Shelf) -> None:
    """The whole list is the last word, but for photos that a window of this pass has named."""
    shelf.read(window(SIX), [photo("a"), photo("b")])
    shelf.next_pass()
    shelf.read(window(SIX), [photo("a"), photo("b")], prove=False)
    shelf.next_pass()
    shelf.read(window(SEVEN), [photo("c")])
    shelf.read(Listing(), [photo("a")])
    assert missed(shelf) == {"b"}


def test_gone_photos_are_not_missed_again_and_return(shelf: Shelf) -> None:
    """A photo that comes back is listed, with where its bytes may still lie."""
    shelf.have(window(SIX), "a")
    shelf.next_pass()
    shelf.read(window(SIX), [])
    shelf.holdings.moves.mark_gone()
    shelf.read(window(SIX), [])
    assert missed(shelf) == set()
    shelf.next_pass()
    jobs = shelf.read(window(SEVEN), [photo("a")])
    assert [job.held for job in jobs] == [
        "2026-01-19/06/thumbnail/a.jpg", "2026-01-19/06/large/a.jpg",
    ]  # fmt: skip
    assert all(job.sha256 for job in jobs)
    assert known_photos(shelf.manifest) == 1


def test_present_files_give_no_jobs_but_learn_their_address(shelf: Shelf) -> None:
    """What is there is not fetched again; a changed address is kept for a later repair."""
    shelf.have(window(SIX), "a")
    shelf.next_pass()
    moved = photo("a?x")
    assert shelf.read(window(SIX), [photo("a")]) == []
    found = shelf.manifest.rows("SELECT url FROM files WHERE variant = 'large'")
    assert found == [("https://photos.example/456/a/large.jpg",)]
    other = type(moved)("a", "https://other.example/a", None)
    assert shelf.read(window(SIX), [other]) == []
    found = shelf.manifest.rows("SELECT url, state FROM files ORDER BY variant")
    assert found == [("https://other.example/a", "present"), (None, "present")]


def test_files_that_are_on_their_way_learn_their_address(shelf: Shelf) -> None:
    """What a pass tries by an address of an earlier one is tried by the next pass where the listing says now."""
    shelf.read(window(SIX), [photo("a")])
    shelf.next_pass()
    assert len(list(shelf.holdings.want(("large",)))) == 1
    moved = structs.replace(photo("a"), large_url="https://other.example/a")
    assert [job.variant for job in shelf.read(window(SIX), [moved])] == ["thumbnail"]
    shelf.next_pass()
    (job,) = shelf.holdings.want(("large",))
    assert job.url == "https://other.example/a"


def test_addresses_that_are_not_stored_are_asked_for_again(shelf: Shelf) -> None:
    """A wanted file whose address needs a query has its hour listed anew, for configured variants only."""
    shelf.read(window(SIX), [photo("a", "?signature=x")])
    shelf.read(Listing(), [photo("u", "?signature=x"), photo("v")])
    assert unaddressed(shelf.manifest) == {SIX, None}
    assert unaddressed(shelf.manifest, ("original",)) == frozenset()


def test_originals_are_wanted_without_an_address(shelf: Shelf) -> None:
    """An original whose address is not stored is no reason to list anything: it is wanted, and leased in its turn."""
    listings = Listings(shelf.manifest, 1, ("thumbnail", "original"))
    listings.record(window(SIX), listings.next_reading(), 0, [photo("a", "?signature=x")])
    assert unaddressed(shelf.manifest, ("original",)) == frozenset()
    assert unaddressed(shelf.manifest, ("thumbnail", "original")) == {SIX}
    shelf.next_pass()
    (job,) = shelf.holdings.want(("thumbnail", "original"))
    assert (job.image_id, job.variant, job.url) == ("a", "original", None)


def test_hours_are_recorded(shelf: Shelf) -> None:
    """What was reported and listed is there for the next plan."""
    shelf.listings.note_hour(SIX, Hour(3, 2, 1, 0))
    shelf.listings.note_hour(SEVEN, Hour(1, 1, 1, 1800))
    shelf.listings.note_hour(SIX, Hour(4, 4, 2, 0))
    assert hours(shelf.manifest) == {SIX: Hour(4, 4, 2, 0), SEVEN: Hour(1, 1, 1, 1800)}
    assert repeated_in_hours(shelf.manifest) == 3


@pytest.mark.parametrize(
    ("url", "kept"),
    [
        ("https://a/b.jpg", "https://a/b.jpg"),
        ("https://a/b.jpg#part", "https://a/b.jpg"),
        ("https://a/b.jpg?X-Amz-Signature=secret", None),
        ("https://user:secret@a/b.jpg", None),
        ("https://[broken", None),
        (None, None),
    ],
)
def test_no_secret_is_stored(url: str | None, kept: str | None) -> None:
    """An address with a query or a user is not kept (DESIGN §5)."""
    assert storable(url) == kept


PIECES = ["https://", "http://", "HTTPS://", "a", "A.b", "é", ":80", "[", "]", "::1", "/", "//", "x.jpg", "%2F", "?", "#",
          "@", ";p", " ", "\t", "\n", "\\", "=", "..", ""]  # fmt: skip


@given(st.lists(st.sampled_from(PIECES), max_size=8).map("".join) | st.text(max_size=20))
def test_the_quick_way_stores_what_the_careful_one_does(url: str) -> None:
    """An address that is kept as it came is one that taking it apart and putting it together would not change."""
    try:
        parts = urlsplit(url)
    except ValueError:
        careful = None
    else:
        whole = parts._replace(fragment="").geturl()
        careful = None if parts.query or "@" in parts.netloc else whole
    assert storable(url) == careful
