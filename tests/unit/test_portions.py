"""What `verify` decides while it reads."""

from __future__ import annotations

import pytest

from ninepic_mirror.cli.portions import is_due


@pytest.mark.parametrize(
    ("files", "size", "seconds", "due"),
    [
        (4_999, 2**30 - 1, 59.9, False),
        (5_000, 0, 0.0, True),
        (11, 2**30, 0.0, True),
        (1, 1, 60.0, True),
    ],
)
def test_what_a_kill_costs_at_most(files: int, size: int, seconds: float, due: bool) -> None:
    """Many small files, few large ones, or slow ones: after each it is recorded what was read."""
    assert is_due(files, size, seconds) == due
