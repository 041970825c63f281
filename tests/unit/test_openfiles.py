"""Connections fitted to the limit on open files."""

from __future__ import annotations

import resource
import subprocess
import sys

import pytest

CODE = "from ninepic_mirror.sync.openfiles import affordable; print(affordable(64))"


@pytest.mark.parametrize(
    ("soft", "hard", "expected"),
    [(64, 64, 4), (64, 4096, 64), (128, 200, 38), (4096, 4096, 64), (30, 30, 1)],
)
def test_connections_fit_the_limit(soft: int, hard: int, expected: int) -> None:
    """The soft limit is raised as far as the hard one allows, and the connections fit what is left."""
    found = subprocess.run(
        [sys.executable, "-c", CODE],
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard)),
        capture_output=True,
        text=True,
        check=True,
        env={
            "PYTHONPATH": ".",
            "PATH": "",
        },  # without the coverage of subprocesses, which opens files of its own
    )

    assert int(found.stdout) == expected


def test_a_generous_limit_is_left_alone() -> None:
    """Where the limit suffices nothing is changed."""
    from ninepic_mirror.sync.openfiles import affordable

    before = resource.getrlimit(resource.RLIMIT_NOFILE)

    assert affordable(1) == 1
    assert resource.getrlimit(resource.RLIMIT_NOFILE) == before
