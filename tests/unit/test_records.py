"""The values that the manifest and the pass exchange."""

from __future__ import annotations

import pytest

from ninepic_mirror.archive.records import Hour, Job, Listing
from ninepic_mirror.model import Window


def test_listings_are_keys() -> None:
    """A listing is told from others by what it reads: the same window is the same listing."""
    half = Listing(0, Window(0, 1800))
    assert {half: 1}[Listing(0, Window(0, 1800))] == 1
    assert len({Listing(), Listing(offset=100), half, Listing(0, Window(1800, 3600))}) == 4


@pytest.mark.parametrize("value", [Hour(1, 1, 0, 0), Job("a", "large", None, None), Listing()])
def test_values_do_not_change(value: Hour | Job | Listing) -> None:
    """What one task sends another cannot change under it."""
    with pytest.raises(AttributeError, match="immutable"):
        setattr(value, value.__struct_fields__[0], 5)
