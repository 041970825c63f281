"""The condition under which a photo is sent that is here already."""

from __future__ import annotations

import pytest

from ninepic_mirror.model import Known
from ninepic_mirror.ninepic.condition import condition, is_confirmed

DATE = "Mon, 19 Jan 2026 06:00:00 GMT"


@pytest.mark.parametrize(
    ("known", "field"),
    [
        (None, None),
        (Known(), None),
        (Known('"a"', DATE), ("If-None-Match", '"a"')),
        (Known('W/"a"'), ("If-None-Match", 'W/"a"')),
        (Known(None, DATE), ("If-Modified-Since", DATE)),
        (Known("no tag", DATE), ("If-Modified-Since", DATE)),
        (Known('"a"\r\nX: y'), None),
        (Known('"a", "b"'), None),
        (Known(None, f"{DATE}\r\nX: y"), None),
        (Known(None, "some day"), None),
        (Known(None, "Mon, 99 Jan 2026 06:00:00 GMT"), None),
        (Known(None, "1 " * 40), None),
    ],
)
def test_conditions(known: Known | None, field: tuple[str, str] | None) -> None:
    """The ETag first, else the date; what could not stand in a header is no condition."""
    assert condition(known) == field


@pytest.mark.parametrize(
    ("name", "value", "etag", "expected"),
    [
        ("If-None-Match", '"a"', '"a"', True),
        ("If-None-Match", '"a"', 'W/"a"', True),
        ("If-None-Match", 'W/"a"', '"a"', True),
        ("If-None-Match", '"a"', None, True),
        ("If-None-Match", '"a"', '"b"', False),
        ("If-None-Match", '"a"', '"a", "b"', False),
        ("If-None-Match", '"a"', "", False),
        ("If-Modified-Since", DATE, '"b"', True),
    ],
)
def test_answers_to_conditions(name: str, value: str, etag: str | None, expected: bool) -> None:
    """A 304 with another tag than was asked with is not about the photo that is here."""
    assert is_confirmed((name, value), etag) is expected
