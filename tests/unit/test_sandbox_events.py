"""Events of the sandbox: what a seed makes, and what happens when photos come, go and move."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise
from random import Random

import pytest

from ninepic_mirror.sandbox.events import Event
from ninepic_mirror.sandbox.identifiers import image_id, serial_number
from ninepic_mirror.sandbox.pictures import Gallery
from ninepic_mirror.sandbox.specs import HOUR, EventSpec

FIRST = 1768777200  # 2026-01-18 23:00 UTC


def make(**fields: object) -> Event:
    """Return a cheap event with these fields of its spec."""
    spec = EventSpec(look="cheap")
    for name, value in fields.items():
        object.__setattr__(spec, name, value)
    return Event(spec, Gallery())


def listed(event: Event) -> list[tuple[str, int | None]]:
    """Return ids and capture times in listing order."""
    return [(photo.image_id, photo.captured) for photo in event.photos]


def test_ids_hold_their_number() -> None:
    """An id gives back the serial number that it was made from."""
    ids = [image_id(b"key", serial) for serial in range(2000)]
    assert [serial_number(b"key", name) for name in ids] == list(range(2000))
    assert len(set(ids)) == 2000


def test_ids_look_like_the_vendors() -> None:
    """Ids have the groups of a UUID, and some have letters beyond hex, as in the vendor's example."""
    ids = [image_id(b"key", serial) for serial in range(200)]
    assert {tuple(map(len, name.split("-"))) for name in ids} == {(8, 4, 4, 4, 12)}
    odd = [name for name in ids if not set(name) <= set("0123456789abcdef-")]
    assert 5 < len(odd) < 60


@pytest.mark.parametrize(
    "name", ["", "../../x", "0" * 36, "é" * 36, "b5513429-1d05-5f2f-c9f9-bd9f9g3gd355"]
)
def test_foreign_ids_have_no_number(name: str) -> None:
    """An id that was never made is unknown, whatever it looks like."""
    assert serial_number(b"key", name) is None


def test_ids_of_events_differ() -> None:
    """The same place in two events, or under two seeds, has two ids."""
    first = [make(event_id=1), make(event_id=2), make(event_id=1, seed=2)]
    assert len({event.photos[0].image_id for event in first}) == 3


def test_same_spec_same_event() -> None:
    """Two events of one spec list the same and serve the same bytes."""
    one, other = make(photos=40, undated=3), make(photos=40, undated=3)
    assert listed(one) == listed(other)
    name = one.photos[7].image_id
    assert one.body(name, "large") == other.body(name, "large")


def test_photos_are_ordered_by_capture_time() -> None:
    """Capture times ascend, undated photos stand last (API.md, /images)."""
    event = make(photos=200, undated=9, wrong_clock=4)
    times = [photo.captured for photo in event.photos]
    dated = [time for time in times if time is not None]
    assert len(times) == 200
    assert times[:191] == dated == sorted(dated)
    assert [photo.hour for photo in event.photos[:5]] == [0, 0, 0, 0, FIRST]


def test_undated_may_be_a_share() -> None:
    """A float asks for a share of the photos, a whole number for a count."""
    assert (
        make(photos=50, undated=0.1).hour_counts().values()
        != make(photos=50).hour_counts().values()
    )
    assert sum(make(photos=50, undated=0.1).hour_counts().values()) == 45
    assert sum(make(photos=50, undated=1).hour_counts().values()) == 49


def test_every_hour_has_photos() -> None:
    """A long race leaves no hour empty while there are photos enough."""
    counts = make(photos=2000, hours=48).hour_counts()
    assert list(counts) == [FIRST + HOUR * place for place in range(48)]
    assert sum(counts.values()) == 2000
    assert max(counts.values()) > 3 * min(counts.values())


def test_fewer_photos_than_hours() -> None:
    """A tiny event has as many photos as asked for."""
    assert [len(make(photos=count, hours=8).photos) for count in (0, 1, 5)] == [0, 1, 5]


def test_duplicates_have_equal_bytes() -> None:
    """As many photos as asked for have the bytes of another, in every variant."""
    event = make(photos=60, duplicates=7)
    for variant in ("thumbnail", "large"):
        bodies = [event.body(photo.image_id, variant) for photo in event.photos]
        assert len(set(bodies)) == 53


def test_trailing_bytes() -> None:
    """As many photos as asked for go on after the JPEG's end marker."""
    event = make(photos=30, trailing=4)
    bodies = [event.body(photo.image_id, "large") for photo in event.photos]
    assert sum(not body.endswith(b"\xff\xd9") for body in bodies) == 4


def test_added_photos_stand_in_their_hour() -> None:
    """A photo that arrives late is listed at its capture time, not at the end."""
    event = make(photos=50, hours=5)
    before = event.hour_counts()
    ids = event.add(3, FIRST + HOUR + 17)
    assert event.hour_counts() == before | {FIRST + HOUR: before[FIRST + HOUR] + 3}
    window = event.bounds(FIRST + HOUR, FIRST + 2 * HOUR)
    inside = [event.image_id(event.serial_at(place)) for place in range(*window)]
    assert set(ids) <= set(inside)
    assert event.photos[-1].image_id not in ids


def test_added_without_a_time_stand_last() -> None:
    """A photo without a capture time is appended and in no window."""
    event = make(photos=5)
    (name,) = event.add(1)
    assert listed(event)[-1] == (name, None)
    assert event.bounds(0, 10**30) == (0, 5)


def test_removed_photos_are_unknown() -> None:
    """A removed photo leaves listing, counts and addresses; with `keep_file` its bytes stay."""
    event = make(photos=20)
    first, second = event.photos[0].image_id, event.photos[1].image_id
    body = event.body(second, "large")
    event.remove(first)
    event.remove(second, keep_file=True)
    assert event.photos[0].image_id not in (first, second)
    assert sum(event.hour_counts().values()) == 18
    assert event.serial(first, served=True) is None
    assert event.serial(second) is None
    assert event.body(second, "large") == body
    with pytest.raises(KeyError):
        event.body(first, "large")
    with pytest.raises(KeyError):
        event.remove(first)


def test_retimed_photos_keep_their_bytes() -> None:
    """Another hour changes where a photo is listed, never what it shows."""
    event = make(photos=20, hours=3)
    name = event.photos[0].image_id
    body = event.body(name, "large")
    event.retime(name, FIRST + 2 * HOUR)
    assert next(photo for photo in event.photos if photo.image_id == name).hour == FIRST + 2 * HOUR
    event.retime(name, None)
    assert listed(event)[-1] == (name, None)
    assert event.body(name, "large") == body
    assert len(event.photos) == 20


def test_replaced_photos_change_their_bytes() -> None:
    """`replace` puts another picture under the same id, also where it was a duplicate."""
    event = make(photos=20, duplicates=3)
    bodies = [event.body(photo.image_id, "large") for photo in event.photos]
    copy = next(place for place in range(1, 20) if bodies[place] == bodies[place - 1])
    name = event.photos[copy].image_id
    event.replace(name)
    assert event.body(name, "large") not in bodies
    assert event.body(event.photos[copy - 1].image_id, "large") == bodies[copy - 1]


def test_raw_rows() -> None:
    """A hostile row stands in the listing as given, and its photo is served where the id is text."""
    event = make(photos=3)
    event.add_raw(image_id="../../x", hour=FIRST, item={"height": "tall"})
    event.add_raw(image_id=None, img_url="file:///etc/passwd")
    items = [event.item(photo.serial, "http://photos") for photo in event.photos]
    hostile = next(item for item in items if item["image_id"] == "../../x")
    assert hostile["img_url"] == "http://photos/imgs/456/large/..%2F..%2Fx.jpg"
    assert hostile["height"] == "tall"
    assert items[-1]["image_id"] is None
    assert items[-1]["img_url"] == "file:///etc/passwd"
    assert event.body("../../x", "thumbnail").startswith(b"\xff\xd8")


def test_photos_are_a_snapshot() -> None:
    """What was taken from `photos` stays as it was."""
    event = make(photos=4, hours=1)
    before = event.photos
    event.retime(before[0].image_id, None)
    event.add(2, FIRST)
    assert len(before) == 4
    assert before[0].captured == FIRST


def test_listing_agrees_with_a_plain_model() -> None:
    """After any changes the two arrays list what a plain table of hours holds, in order."""
    event, random = make(photos=60, undated=5, hours=4), Random(5)
    model = {photo.image_id: photo.hour for photo in event.photos}
    for _ in range(300):
        hour = random.choice([None, FIRST + HOUR * random.randrange(6)])
        name = random.choice(list(model))
        match random.choice(["add", "remove", "retime"]):
            case "add":
                model |= dict.fromkeys(event.add(2, hour), hour)
            case "remove":
                event.remove(name)
                del model[name]
            case _:
                event.retime(name, hour)
                model[name] = hour
        assert {photo.image_id: photo.hour for photo in event.photos} == model
    times = [float("inf") if photo.captured is None else photo.captured for photo in event.photos]
    assert all(one <= other for one, other in pairwise(times))
    assert event.hour_counts() == Counter(
        sorted(hour for hour in model.values() if hour is not None)
    )
    assert [event.serial(name) is not None for name in model] == [True] * len(model)


def test_counts_may_lag() -> None:
    """Counts that are behind do not know the latest arrivals."""
    event = make(photos=10, hours=1)
    event.add(3, FIRST)
    assert event.hour_counts(behind=2) == {FIRST: 11}
    assert event.hour_counts(behind=99) == {}


def test_bibs_are_found_again() -> None:
    """A bib's photos are exactly those that show it, in listing order, in upper and lower case."""
    event = make(photos=120)
    event.remove(event.photos[8].image_id)
    for bib in ("M1001", "m1004", "M1009"):
        shown = [photo.serial for photo in event.photos if bib.upper() in event.bibs(photo.serial)]
        assert event.bib_serials(bib) == shown != []
    assert event.bib_serials("nobody") == event.bib_serials("M999999") == []


def test_unknown_fields_are_refused() -> None:
    """`set` takes fields and flags and nothing else."""
    event = make()
    event.set(slug=None, timeline_search=False, bare_originals=True)
    assert event.fields["slug"] is None
    assert not event.flags["timeline_search"]
    with pytest.raises(ValueError, match="no colour"):
        event.set(colour="red")


def test_a_million_photos_are_light() -> None:
    """A huge event keeps twelve bytes a photo, and any page of it is at hand."""
    event = make(photos=100_000, hours=24, undated=0.05)
    assert event._times.itemsize * 100_000 + event._order.itemsize * 100_000 == 1_200_000
    assert event.photos[99_999].captured is None
    assert event.serial(event.photos[50_000].image_id) == 50_000
