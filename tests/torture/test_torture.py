"""The small figures of every experiment of this folder, in every test run; the full ones: `make torture`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.torture.run import experiments

if TYPE_CHECKING:
    from pathlib import Path

SMALL = [
    pytest.param(name, seed, marks=[pytest.mark.alone] if one.alone else [])
    for name, one in experiments().items()
    for seed in range(one.small)
]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "seed"), SMALL)
def test_round(tmp_path: Path, name: str, seed: int) -> None:
    """A round breaks no promise, and did count something."""
    experiment = experiments()[name]
    if lack := experiment.lacks():
        pytest.skip(lack)
    assert any(experiment.play(seed, tmp_path).values())
