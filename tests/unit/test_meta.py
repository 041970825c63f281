"""What `meta` may say."""

from __future__ import annotations

import pytest

from ninepic_mirror.archive.meta import KEYS, nonsense

LAYOUT = "{date}/{hour}/{variant}/{image_id}{ext}"
WHOLE: dict[str, object] = {
    "event_id": 456,
    "name": "lone surrogate \ud800",  # as a service may send it
    "slug": None,
    "described_as": "0" * 64,
    "layout": LAYOUT,
    "former_layouts": ["{variant}/{image_id}{ext}", LAYOUT],
    "timezone": "Atlantis/Capital",  # a zone that this machine does not know any more
    "variants": ["large", "original"],
    "wanted": ["large"],
    "total": 60,
    "last_whole": 1_768_802_400,
    "adopted": True,
    "restored": None,
    "timeline": False,
    "agreed": True,
    "forgotten_salt": "0123456789abcdef" * 2,
    "leaving": {"files": ["a/b.jpg"], "copies": [], "sums": [], "undecided": []},
}


def test_what_is_right() -> None:
    """As passes write it, also before the first one; null stands for what is not known."""
    assert nonsense(WHOLE) is None
    assert nonsense({}) is None
    assert nonsense(dict.fromkeys(KEYS)) is None
    assert {*WHOLE} < {*KEYS}


@pytest.mark.parametrize("key", [*WHOLE])
def test_another_type(key: str) -> None:
    """None of them may be whatever JSON can say, and what is wrong is named."""
    values: list[object] = [7.5, [[]], {"a": 1}]
    for value in values:
        assert key in str(nonsense({key: value}))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("layout", "{date}/{hoer}/{variant}/{image_id}{ext}"),
        ("layout", "../{variant}/{image_id}"),
        ("former_layouts", [LAYOUT, "{dote}/{image_id}"]),
        ("former_layouts", LAYOUT),
        ("variants", ["larga"]),
        ("wanted", "large"),
        ("total", -1),
        ("total", True),
        ("last_whole", 10**20),  # no calendar has it
        ("adopted", "true"),
        ("forgotten_salt", "0123456789abcdeg" * 2),
        ("forgotten_salt", ""),
        ("leaving", {"files": 7}),
        ("leaving", {"files": [7]}),
        ("leaving", ["a/b.jpg"]),
    ],
)
def test_what_cannot_be(key: str, value: object) -> None:
    """A letter that is another, or a value that would end what works by it."""
    assert "makes no sense" in str(nonsense({**WHOLE, key: value}))


@pytest.mark.parametrize("key", sorted({*KEYS} - {*WHOLE}))
def test_what_can_be_done_without(key: str) -> None:
    """It is no reason to give up the rest."""
    for value in ("x", 7, [1], {"a": 1}):
        assert nonsense({key: value}) is None
