"""The status page: what it says of which board, and that nothing of others' gets a say in it."""

from __future__ import annotations

import base64
import hashlib
import re
from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ninepic_mirror.service.board import Board, Traffic, Watched
from ninepic_mirror.service.histogram import HEIGHT, SLOTS, STEPS, WIDTH, draw
from ninepic_mirror.service.page import ORDER, SHOWN, View, policy, render, view
from ninepic_mirror.service.wording import clean, clock, span, stamp
from ninepic_mirror.sync.report import Failure
from tests.boards import FIRST, HOSTILE, HOUR, NOW, board, calm, crowd, hours, whole

DAY = 24 * HOUR


class Elements(HTMLParser):
    """Collects every element with its attributes, and the text outside style and script."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self._silent = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note an element."""
        self.found.append((tag, dict(attrs)))
        self._silent = tag if tag in {"style", "script"} else ""

    def handle_endtag(self, tag: str) -> None:
        """Note the end of one."""
        self._silent = "" if tag == self._silent else self._silent

    def handle_data(self, data: str) -> None:
        """Note text."""
        self.text += "" if self._silent else data

    def of(self, tag: str) -> list[dict[str, str | None]]:
        """Return the attributes of every such element."""
        return [attributes for name, attributes in self.found if name == tag]


def only(one: Watched) -> View:
    """Return the page of one event."""
    return view(Board(NOW - DAY, events={one.event_id: one}), NOW)


# --- what is said


def test_every_event_has_its_place() -> None:
    """Trouble stands first, the worst of it at the top, and each event stands once."""
    seen = view(board(), NOW)
    placed = {state: [row.event_id for row in seen.rows[state]] for state in ORDER}
    assert placed == {
        "stale": [455],
        "trouble": [457],
        "busy": [456],
        "waiting": [460],
        "whole": [103, 102, 101],
    }
    page = render(board(), NOW)
    places = [page.index(f'id="{prefix}-{number}"') for prefix, number in
              (("event", 455), ("event", 457), ("event", 456), ("event", 460), ("row", 103))]  # fmt: skip
    assert places == sorted(places)


@pytest.mark.parametrize(
    ("one", "state", "words"),
    [
        (Watched(1, watched_since=NOW), "waiting", "waits for its first pass"),
        (Watched(1, watched_since=NOW, ended_at=NOW), "waiting", "waits for its next pass"),
        (Watched(1, watched_since=NOW, began_at=NOW - 100), "busy", "at work for 2 min"),
        (Watched(1, whole=True, whole_at=NOW - 9 * DAY), "whole", "whole"),
        (Watched(1, whole=True, began_at=NOW - 1), "whole", "whole"),
        (Watched(1, whole=True, began_at=NOW - 1, missing=3), "busy", "at work for 1 s"),
        (Watched(1, watched_since=NOW, whole=False), "trouble", "not whole"),
        (Watched(1, watched_since=NOW, whole=False, failed=1), "trouble", "1 file failed"),
        (Watched(1, watched_since=NOW, failed=1200, began_at=NOW), "trouble", "1,200 files failed"),
        (Watched(1, watched_since=NOW, trouble="no"), "trouble", "needs a look"),
        (Watched(1, watched_since=NOW - 2 * DAY), "stale", "never whole in 2 days"),
        (Watched(1, whole=False, whole_at=NOW - 3 * DAY), "stale", "not whole for 3 days"),
    ],
)
def test_states(one: Watched, state: str, words: str) -> None:
    """An event's state in words, for everything that can be the matter with it."""
    seen = only(one)
    (row,) = [row for rows in seen.rows.values() for row in rows]
    assert (row.state, row.words) == (state, words)


@pytest.mark.parametrize(
    ("events", "headline", "mood"),
    [
        ([], "No event is watched yet", "attention"),
        ([whole(1, "A")], "The event is whole", "good"),
        ([whole(1, "A"), whole(2, "B")], "All 2 events are whole", "good"),
        ([whole(1, "A"), Watched(2, watched_since=NOW)], "1 of 2 events is whole", "good"),
        ([whole(1, "A"), Watched(2, watched_since=NOW, failed=1)], "1 of 2 events needs a look", "attention"),
        ([Watched(n, watched_since=NOW, failed=1) for n in (1, 2)], "2 of 2 events need a look", "attention"),
        ([Watched(n) for n in (1, 2)], "2 of 2 events are not up to date", "bad"),
    ],
)  # fmt: skip
def test_headlines(events: list[Watched], headline: str, mood: str) -> None:
    """One line says whether anything needs a person."""
    seen = view(Board(NOW, events={one.event_id: one for one in events}), NOW)
    assert (seen.headline, seen.mood) == (headline, mood)


def test_troubles_come_first() -> None:
    """What keeps all events from being mirrored is the headline, with the text and how long it lasts."""
    some = calm()
    some.note_trouble("storage", "the disk is full: make room", NOW - 600)
    some.note_trouble("storage", "the disk is full: make room on it", NOW)
    seen = view(some, NOW)
    assert (seen.headline, seen.mood) == ("Mirroring is held up", "bad")
    assert seen.troubles == [("storage", "the disk is full: make room on it", "10 min")]
    assert "make room on it" in render(some, NOW)
    some.clear_trouble("storage")
    some.clear_trouble("storage")
    assert view(some, NOW).mood == "good"


def test_a_hundred_percent_is_everything() -> None:
    """A share is cut off, not rounded, so that one missing file of many is seen."""
    (row,) = only(Watched(1, present=999_999, missing=1)).rows["stale"]
    assert row.share == 99.9
    (row,) = only(whole(1, "A")).rows["whole"]
    assert (row.share, row.expected) == (100.0, 8000)
    (row,) = only(Watched(1, watched_since=NOW)).rows["waiting"]
    assert (row.share, row.expected) == (0.0, 0)


def test_failures_are_the_first_of_them() -> None:
    """Some failures are shown, each with its reason, and how many more there are."""
    page = Elements(render(board(), NOW)).text
    assert "404 from the photo origin" in page
    assert f"and {34 - SHOWN} more" in page
    (row,) = view(board(), NOW).rows["trouble"]
    assert row.more == 0


def test_traffic_and_disk() -> None:
    """The foot says what was asked of whom and how much room there is."""
    text = Elements(render(board(), NOW)).text
    assert (
        "81,246 requests (3 without an answer, 81,231 with 200, 12 with 429), 12 refusals" in text
    )
    assert "now 8 at once, 4.5 a second" in text
    assert "paused for 12 s at its request" in text
    assert "1.20 TB" in text
    bare = Board(NOW, traffic={"api": Traffic()})
    assert "not known" in render(bare, NOW)
    assert "0 requests; now 0 at once" in Elements(render(bare, NOW)).text


# --- whose page it is


def test_nothing_of_others_has_a_say() -> None:
    """Names, ids and errors are shown as they are and never become elements."""
    page = render(board(), NOW)
    seen = Elements(page)
    assert "<script>document.title='run'</script>" in seen.text
    assert "<img src=x onerror=alert(1)>" in seen.text
    assert len(seen.of("script")) == 1
    assert not seen.of("img")
    page.encode()  # no half of a character
    assert "\r" not in page


def test_no_signature_is_shown() -> None:
    """Whatever an error quotes, queries of addresses are cut."""
    page = render(board(), NOW)
    assert "Signature" not in page
    assert "https://cdn.example/a.jpg?… is no photo" in page


def test_nothing_from_elsewhere() -> None:
    """Every address in the page is in it, or beside it."""
    seen = Elements(render(crowd(), NOW))
    addresses = [
        value
        for _, attributes in seen.found
        for name, value in attributes.items()
        if name in {"href", "src", "action", "data", "srcset"} and value is not None
    ]
    assert addresses
    for address in addresses:
        assert address in {"metrics", "healthz"} or address.startswith("data:")
    assert not any(
        "style" in attributes for _, attributes in seen.found
    )  # the policy would refuse it
    assert not any(name.startswith("on") for _, attributes in seen.found for name in attributes)


def test_the_policy_fits_the_page() -> None:
    """The hashes in the policy are those of the style and the script that are in the page."""
    page = render(board(), NOW)
    for tag in ("style", "script"):
        found = re.search(rf"<{tag}>(.*?)</{tag}>", page, re.DOTALL)
        assert found is not None
        digest = base64.b64encode(hashlib.sha256(found[1].encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in policy()
    assert "unsafe" not in policy()


def test_ids_are_unique() -> None:
    """Each id stands once, and whatever refers to one finds it."""
    seen = Elements(render(crowd(), NOW))
    ids = [str(attributes["id"]) for _, attributes in seen.found if "id" in attributes]
    assert len(ids) == len(set(ids))
    for _, attributes in seen.found:
        assert attributes.get("aria-labelledby", ids[0]) in ids


def test_many_events_stay_small() -> None:
    """200 events are a page that a browser takes without a pause."""
    page = render(crowd(200), NOW)
    assert len(page) < 700_000
    assert len(Elements(page).found) < 12_000


# --- the histogram


def test_no_photos_no_picture() -> None:
    """Where nothing is dated, nothing is drawn."""
    assert draw({}) is None
    assert draw({FIRST: 0}) is None


def test_hours_are_bars() -> None:
    """One day: a bar an hour, as high as its share of the highest."""
    found = draw({FIRST: 10, FIRST + HOUR: 5, FIRST + 3 * HOUR: 1})
    assert found is not None
    assert (found.unit, found.first, found.last) == ("hour", FIRST, FIRST + 3 * HOUR)
    assert (found.peak, found.peak_at, found.hidden) == (10, FIRST, 0)
    assert found.width == 4 * WIDTH
    assert found.path == "M1 100v-100h8v100zM11 100v-50h8v50zM31 100v-10h8v10z"


def test_a_night_becomes_a_gap() -> None:
    """A long pause takes the room of two bars."""
    found = draw({FIRST: 1, FIRST + 400 * DAY: 1})
    assert found is not None
    assert found.width == 4 * WIDTH
    assert found.unit == "hour"


def test_longer_events_have_wider_steps() -> None:
    """Too many hours become days, weeks, four weeks; of more than that the latest are drawn."""
    units = []
    for days in (3, 30, 500, 2000, 9000):
        found = draw({FIRST + number * HOUR: 1 for number in range(days * 24)})
        assert found is not None
        units.append(found.unit)
        assert found.width <= SLOTS * WIDTH
        assert (found.hidden > 0) == (days == 9000)
    assert units == ["hour", "day", "week", "four weeks", "four weeks"]


@given(
    st.dictionaries(
        st.integers(-1000, 600_000).map(lambda number: number * HOUR),
        st.integers(0, 10**7),
        max_size=60,
    )
)
def test_every_photo_is_drawn_or_counted(hours: dict[int, int]) -> None:
    """Whatever the hours are, bars stand in the picture, in order, and nothing is lost."""
    found = draw(hours)
    if found is None:
        assert not sum(hours.values())
        return
    bars = [tuple(map(int, bar)) for bar in re.findall(r"M(\d+) 100v-(\d+)h8v\2z", found.path)]
    assert "".join(f"M{x} 100v-{height}h8v{height}z" for x, height in bars) == found.path
    assert [x for x, _ in bars] == sorted({x for x, _ in bars})
    assert all(0 < height <= HEIGHT for _, height in bars)
    assert bars[-1][0] + WIDTH - 1 == found.width
    assert found.first <= found.peak_at <= found.last
    assert found.step == {unit: step for step, unit in STEPS}[found.unit]
    assert 0 <= found.hidden < sum(hours.values())


def test_two_days_are_two_hills() -> None:
    """Days of an event stand side by side with a gap for the night."""
    found = draw(hours(days=2))
    assert found is not None
    assert found.width == (12 + 2 + 12) * WIDTH


# --- wording


def test_times_for_people() -> None:
    """A time is as exact as its reader needs it."""
    assert [span(seconds) for seconds in (-1, 0, 89, 90, 5399, 5400, 172_799, 172_800)] == [
        "0 s", "0 s", "89 s", "2 min", "90 min", "2 h", "48 h", "2 days",
    ]  # fmt: skip
    assert stamp(NOW) == "2026-01-19T14:00:00Z"
    assert clock(NOW) == "19 Jan 2026, 14:00 UTC"


def test_clean_text() -> None:
    """Text of the service's is one line without queries."""
    assert clean("a\nb https://x/y?z=1 c") == "a\\u000ab https://x/y?… c"
    assert clean(HOSTILE).isprintable()


def test_failures_without_a_photo() -> None:
    """A failure of the listing is shown without an id."""
    one = Watched(1, watched_since=NOW, whole=False, failures=[Failure(None, None, "hour 6: 502")])
    text = Elements(render(Board(NOW, events={1: one}), NOW)).text
    assert "hour 6: 502" in text
