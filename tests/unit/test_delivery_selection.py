"""Which photos go into a package: every filter, what it says when nothing fits, and what is new."""

from __future__ import annotations

import msgspec
import pytest

from ninepic_mirror.delivery.selection import (
    UNKNOWN,
    Filters,
    Lack,
    at_times,
    base_of,
    bases,
    by_photographers,
    chain,
    meant,
    named,
    nobodys,
    photographer,
    pick,
    split,
    stranger,
    unknown_ids,
)
from ninepic_mirror.errors import UsageError
from ninepic_mirror.model import HOUR
from tests.parcels import delivery, file, shot
from tests.shelf import SIX

SHOTS = [
    shot("a", by="Asha Patil"),
    shot("b", taken=SIX + HOUR, by="Dev Mehta"),
    shot("c", taken=SIX + 24 * HOUR, by="ASHA PATIL"),
    shot("d", taken=None),
]


def ids(shots: list) -> list[str]:  # type: ignore[type-arg]  # photos
    """Return which photos these are."""
    return [one.image_id for one in shots]


@pytest.mark.parametrize(
    ("filters", "found"),
    [
        (Filters(), ["a", "b", "c", "d"]),
        (Filters(frozenset({"2026-01-19"})), ["a", "b"]),
        (Filters(frozenset({"2026-01-19", "2026-01-20"})), ["a", "b", "c"]),
        (Filters(span=(SIX + HOUR, None)), ["b", "c"]),
        (Filters(span=(None, SIX + HOUR)), ["a"]),
        (Filters(frozenset({"2026-01-19"}), (SIX + 1, None)), ["b"]),
    ],
)
def test_times(filters: Filters, found: list[str]) -> None:
    """Days and hours narrow each other; what has no time fits no time."""
    assert ids(at_times(SHOTS, filters)) == found


@pytest.mark.parametrize(
    "filters", [Filters(frozenset({"2025-01-01"})), Filters(span=(0, 1)), Filters(span=(None, 0))]
)
def test_no_time_fits(filters: Filters) -> None:
    """The days that there are are named."""
    with pytest.raises(UsageError) as raised:
        at_times(SHOTS, filters)
    assert "2026-01-19, 2026-01-20" in raised.value.cure


def test_many_days_are_not_all_named() -> None:
    """A line stays a line."""
    many = [shot(str(day), taken=SIX + day * 24 * HOUR) for day in range(30)]
    with pytest.raises(UsageError) as raised:
        at_times(many, Filters(frozenset({"2025-01-01"})))
    assert raised.value.cure.endswith("and 10 more")


def test_named_photos() -> None:
    """Without ids all are meant; ids that no photo has are told."""
    assert named(SHOTS, Filters()) == SHOTS
    filters = Filters(ids=frozenset({"b", "y", "x"}))
    assert ids(named(SHOTS, filters)) == ["b"]
    assert unknown_ids(SHOTS, filters) == ["x", "y"]
    assert unknown_ids(SHOTS, Filters()) == []


@pytest.mark.parametrize(
    ("filters", "text"),
    [
        (Filters(ids=frozenset({"x"})), "none of the 1 ids"),
        (Filters(ids=frozenset({"x"}), bibs=("12",)), "names photos of bib 12, and none"),
    ],
)
def test_no_named_photo_fits(filters: Filters, text: str) -> None:
    """It is told whether the service or the mirror knows none."""
    with pytest.raises(UsageError, match=text):
        named(SHOTS, filters)


def test_photographers() -> None:
    """They are found without regard to case, each that was asked for; who wrote no name is unknown."""
    assert by_photographers(SHOTS, Filters()) == SHOTS
    assert ids(by_photographers(SHOTS, Filters(photographers=("asha patil",)))) == ["a", "c"]
    assert ids(by_photographers(SHOTS, Filters(photographers=("Unknown", "Dev Mehta")))) == [
        "b",
        "d",
    ]
    assert photographer(SHOTS[3]) == photographer(shot("e", at="2026-01-19T06:00:00")) == UNKNOWN


def test_a_photographer_who_took_none() -> None:
    """It is told, with those who took some."""
    filters = Filters(photographers=("Dev Mehta", "Nobody"))
    told = stranger(SHOTS, by_photographers(SHOTS, filters), filters)
    assert told is not None
    assert "Nobody" in str(told)
    assert "Dev Mehta" in told.cure
    filters = Filters(photographers=("Dev Mehta", " asha PATIL"))
    assert stranger(SHOTS, by_photographers(SHOTS, filters), filters) is None


def test_photographers_of_what_is_missing() -> None:
    """Of whom all photos were lost took them still; of a photo of which nothing was ever here nobody knows."""
    lost = msgspec.structs.replace(shot("a", by="Asha"), files=())
    never = msgspec.structs.replace(shot("b"), files=())
    asha = Filters(photographers=("Asha",))
    assert (
        by_photographers([lost, never], asha)
        == by_photographers([lost, never], Filters())
        == [lost]
    )
    assert stranger([lost, never], [lost], asha) is None


def test_ids_from_a_spreadsheet() -> None:
    """What keeps `photos.csv` from being a formula is no part of an id, unless a photo is called so."""
    known = {"-a", "'=b", "c"}
    assert meant(["'-a", "-a"], known) == {"-a"}
    assert meant(["'=b", "c", "'c", "'@gone", "'", ""], known) == {
        "'=b",
        "c",
        "'c",
        "@gone",
        "'",
        "",
    }


def test_photos_that_may_be_theirs() -> None:
    """What is missing of a photo without a name may tell whose it is; of a photo that goes in it is told elsewhere."""
    large, old = {"large": "404"}, {"original": "503"}
    shots = [
        shot("a", by="Dev", lacking=large),
        shot("b"),
        shot("c", file("c", "thumbnail"), lacking=large),
        shot("d", lacking=old),
        msgspec.structs.replace(shot("e", lacking=old), files=()),
        shot("f", lacking=large),
    ]
    filters = Filters(photographers=("Asha", "Dev"))
    assert nobodys(shots, shots[5:], {"large", "thumbnail"}, filters) == [
        Lack("c", "large", "may be by Asha or Dev: 404"),
        Lack("e", "original", "may be by Asha or Dev: 503"),
    ]
    assert nobodys(shots[4:], shots[5:], set(), Filters()) == [Lack("e", "original", "503")]


def test_split() -> None:
    """Each photo is in one part; ways of writing a name that differ by case are one."""
    assert split(SHOTS, None) == [(None, SHOTS)]
    parts = split(SHOTS, "photographer")
    assert [(label, ids(some)) for label, some in parts] == [
        ("Asha Patil", ["a", "c"]), ("Dev Mehta", ["b"]), (UNKNOWN, ["d"]),
    ]  # fmt: skip
    parts = split(SHOTS, "day")
    assert [label for label, _ in parts] == ["2026-01-19", "2026-01-20", "undated"]


def test_pick() -> None:
    """Files that are here and new are picked; what is not here is told, whether it was delivered before or not."""
    both = shot("a", file("a", "thumbnail"), file("a"))
    half = shot("b", file("b", "thumbnail"), lacking={"large": "404"})
    old = shot("c", file("c", "thumbnail"), file("c"))
    known = {
        ("c", "large"): {old.files[1].sha256},
        ("c", "thumbnail"): {old.files[0].sha256},
        ("a", "large"): {"other"},
        ("a", "thumbnail"): {both.files[0].sha256},
    }
    picked, lacking = pick([both, half, old], ["thumbnail", "large"], known)
    assert [(one.image_id, [each.variant for each in files]) for one, files in picked] == [
        ("a", ["large"]), ("b", ["thumbnail"]),
    ]  # fmt: skip
    assert lacking == [Lack("b", "large", "404")]
    _, lacking = pick([both], ["original"], {})
    assert lacking == [Lack("a", "original", "this variant is not mirrored")]


def test_bases() -> None:
    """`last` is all that the last command made; a bag id is that one."""
    made = [delivery("one"), delivery("two", run="r"), delivery("three", run="r")]
    assert [one.bag_id for one in bases(made, "last")] == ["two", "three"]
    assert [one.bag_id for one in bases(made, "one")] == ["one"]
    with pytest.raises(UsageError) as raised:
        bases(made, "four")
    assert "three, two, one" in raised.value.cure
    for since in ("four", "last"):
        with pytest.raises(UsageError, match="no package was made"):
            bases([], since)


def test_base_of_a_part() -> None:
    """What is for a photographer adds to what was for the same one, as far back as it is; nothing was for a new one."""
    hers, his = delivery("one", label="Asha"), delivery("two", label="Dev")
    assert base_of("Asha", [hers, his], [hers, his]) == [hers]
    assert base_of("Meera", [hers, his], [hers, his]) == []
    assert base_of(None, [hers, his], [hers, his]) == [hers, his]
    more, later = delivery("three", "two", label="Dev"), delivery("four", label="Asha")
    made = [hers, his, more, later]
    assert base_of("Asha", [more], made) == [hers]
    assert base_of("Meera", [more], made) == []


def test_base_of_a_part_of_another_kind() -> None:
    """What was split otherwise or not at all has all of it."""
    day, undated = (delivery(one, label=one) for one in ("2026-01-19", "undated"))
    made = [day, undated, delivery("whole")]
    assert base_of("Asha", made[:2], made) == made[:2]
    assert base_of("2026-01-19", made[2:], made) == made[2:]
    assert base_of("2026-01-20", made[:2], made) == []
    assert base_of("undated", made[:2], made) == [undated]


def test_chain() -> None:
    """All that a package adds to belongs to it, however long ago; what is not known any more is left out."""
    made = [delivery("a"), delivery("b", "a", "lost"), delivery("c", "b", "a"), delivery("d")]
    assert {one.bag_id for one in chain(made, [made[2]])} == {"a", "b", "c"}
