"""Faults of the sandbox: which requests meet them, and how often."""

from __future__ import annotations

from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING

import pytest
import trio

from ninepic_mirror.sandbox.faults import KINDS, Ask, Fault, Faults

if TYPE_CHECKING:
    from trio.testing import MockClock

PHOTO = Ask("photos", "GET", "/imgs/456/large/a.jpg", "", 456, "a", "large")
LISTING = Ask("api", "GET", "/api/v1/ext/903/event/456/images", "page=2", 456)


def answered(fault: Fault, ask: Ask, times: int = 1) -> list[bool]:
    """Say of each of several equal requests whether it meets the fault."""
    faults = Faults()
    faults.add(fault)
    return [faults.answer(ask) is fault for _ in range(times)]


@pytest.mark.parametrize(
    ("fault", "photo", "listing"),
    [
        (Fault(kind="500"), True, True),
        (Fault(kind="500", origin="api"), False, True),
        (Fault(kind="500", path="page=2$"), False, True),
        (Fault(kind="500", image_id="a"), True, False),
        (Fault(kind="500", image_id="b"), False, False),
        (Fault(kind="500", variant="large"), True, False),
        (Fault(kind="500", variant="thumbnail"), False, False),
        (Fault(kind="500", event_id=457), False, False),
        (Fault(kind="json"), False, True),
        (Fault(kind="swap"), True, False),
        (Fault(kind="expire"), False, False),
        (Fault(kind="timeline_403"), False, False),
        (Fault(kind="count_lie"), False, False),
    ],
)
def test_which_requests(fault: Fault, photo: bool, listing: bool) -> None:
    """A fault meets only the requests that its fields and its kind name."""
    assert answered(fault, PHOTO) == [photo]
    assert answered(fault, LISTING) == [listing]


def test_after_and_count() -> None:
    """`after` requests go well, then `count` go wrong, then all go well."""
    assert (
        answered(Fault(kind="500", after=2, count=3), PHOTO, 7)
        == [False] * 2 + [True] * 3 + [False] * 2
    )


def test_a_move_happens_once() -> None:
    """A move without a count happens once, or it would never end."""
    faults = Faults()
    faults.add(Fault(kind="move"))
    assert [faults.listing("move", LISTING) is not None for _ in range(3)] == [True, False, False]
    assert faults.fired("move") == 1


def test_chance_is_the_share_asked_for() -> None:
    """Over many addresses a probability is the share that goes wrong."""
    faults = Faults(seed=3)
    faults.add(Fault(kind="500", probability=0.2))
    asks = [Ask("photos", "GET", f"/imgs/456/large/{place}.jpg") for place in range(2000)]
    assert 340 < sum(faults.answer(ask) is not None for ask in asks) < 460


def test_chance_does_not_depend_on_order() -> None:
    """The same requests meet the same faults in whatever order they come; another seed chooses others."""
    asks = [Ask("photos", "GET", f"/imgs/456/large/{place}.jpg") for place in range(100)]

    def met(seed: int, order: list[Ask]) -> set[str]:
        faults = Faults(seed)
        faults.add(Fault(kind="500", probability=0.3))
        return {ask.path for ask in order if faults.answer(ask) is not None}

    assert met(1, asks) == met(1, asks[::-1]) != met(2, asks)


def test_asking_again_may_go_well() -> None:
    """A repeated request gets another chance."""
    results = answered(Fault(kind="500", probability=0.5), PHOTO, 64)
    assert 15 < sum(results) < 49


def test_the_first_fault_wins() -> None:
    """Of two faults that meet a request the one added first happens, and only it is counted."""
    faults = Faults()
    faults.add(Fault(kind="500", count=1), Fault(kind="429"))
    kinds = [fault.kind for _ in range(2) if (fault := faults.answer(PHOTO)) is not None]
    assert kinds == ["500", "429"]
    assert (faults.fired("500"), faults.fired("429")) == (1, 1)
    faults.clear()
    assert faults.answer(PHOTO) is None


def test_head_has_no_body_to_break() -> None:
    """A HEAD meets only faults that are not about the body."""
    head = Ask("photos", "HEAD", "/imgs/456/large/a.jpg", "", 456, "a", "large")
    assert answered(Fault(kind="short"), head) == [False]
    assert answered(Fault(kind="429"), head) == [True]


async def test_rate_admits_what_the_bucket_holds(autojump_clock: MockClock) -> None:
    """A burst passes, then as many a second as the limit says."""
    faults = Faults()
    faults.add(Fault(kind="rate", limit=10, burst=5))
    assert sum(faults.answer(PHOTO) is None for _ in range(20)) == 5
    for _ in range(3):
        await trio.sleep(1)
        assert sum(faults.answer(PHOTO) is None for _ in range(20)) == 5
    await trio.sleep(0.2)
    assert sum(faults.answer(PHOTO) is None for _ in range(20)) == 2


@pytest.mark.parametrize(
    ("given", "header"), [(None, None), (3, "3"), (-1, "-1"), ("soon", "soon")]
)
def test_retry_after(given: float | str | None, header: str | None) -> None:
    """`Retry-After` is what was given, junk included."""
    assert Fault(kind="429", retry_after=given).retry_after_header() == header


def test_retry_after_as_a_date() -> None:
    """`date:` asks for an HTTP date that far ahead."""
    near, far = (
        Fault(kind="429", retry_after=f"date:{seconds}").retry_after_header() for seconds in (0, 90)
    )
    assert near is not None
    assert far is not None
    assert 89 <= (parsedate_to_datetime(far) - parsedate_to_datetime(near)).total_seconds() <= 91


@pytest.mark.parametrize(
    "fields",
    [
        {"kind": "bad luck"},
        {"kind": "reset", "how": "long"},
        {"kind": "reset", "at": "after"},
        {"kind": "500", "origin": "moon"},
        {"kind": "500", "probability": "often"},
        {"kind": "500", "count": 1.5},
        {"kind": "500", "path": 5},
        {"kind": "rate"},
    ],
)
def test_faults_that_make_no_sense(fields: dict[str, object]) -> None:
    """A fault that could never happen as told is refused when it is made."""
    with pytest.raises(ValueError, match=r"."):
        Fault(**fields)  # type: ignore[arg-type]  # wrong on purpose


def test_every_kind_can_be_made() -> None:
    """Each kind needs no more than its name, but for the rate's limit."""
    assert len({Fault(kind=kind, limit=1).kind for kind in KINDS}) == len(KINDS)


def test_memory_of_addresses_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """A fault by chance forgets addresses rather than growing with the event."""
    monkeypatch.setattr("ninepic_mirror.sandbox.faults._REMEMBERED", 10)
    faults = Faults()
    faults.add(Fault(kind="500", probability=0.5))
    for place in range(35):
        faults.answer(Ask("photos", "GET", f"/{place}"))
    assert len(faults._armed[0].visits) <= 10
