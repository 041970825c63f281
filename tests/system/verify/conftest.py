"""A mirror for each test of `verify`, and commands in forks: there are hundreds of them here."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.mirrored import Mirror, mirrored

if TYPE_CHECKING:
    from tests.forking import Forking
    from tests.system.conftest import Commands, Service


@pytest.fixture
def commands(forking: Forking) -> Commands:
    """Commands in forks."""
    return forking


@pytest.fixture
def mirror(commands: Commands, service: Service) -> Mirror:
    """A whole mirror of 60 photos."""
    return mirrored(commands, service)
