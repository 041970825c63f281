"""What the tests of `archive` start from."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.shelf import open_shelf

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.shelf import Shelf


@pytest.fixture
def shelf(tmp_path: Path) -> Iterator[Shelf]:
    """Return an event folder with its manifest."""
    with open_shelf(tmp_path / "mirror") as shelf:
        yield shelf
