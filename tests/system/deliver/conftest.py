"""One mirror of drawn photos for all tests of `deliver`, and a copy of it for each."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest

from tests.delivered import PHOTOS, Mirror
from tests.system.conftest import Commands, serving

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.forking import Forking
    from tests.system.conftest import Service


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Service, Path]]:
    """A service and a whole mirror of it, made once for all tests."""
    commands = Commands(tmp_path_factory.mktemp("delivery"))
    with serving(commands, "--photos", PHOTOS, "--look", "drawn") as service:
        words = ("--root", "m", "--timezone", "Asia/Kolkata")
        done = commands.run("sync", 456, *service.flags, *words)
        assert done.code == 0, done.err
        yield service, commands.folder / "m"


@pytest.fixture
def mirror(made: tuple[Service, Path], forking: Forking, tmp_path: Path) -> Mirror:
    """A copy of the mirror, for one test."""
    service, root = made
    shutil.copytree(root, tmp_path / "m")
    return Mirror(forking, service, next((tmp_path / "m").glob("456-*")))
