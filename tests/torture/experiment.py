"""One way to torture the program: what a module of this folder offers as `EXPERIMENT`, or several in `EXPERIMENTS`.

An experiment is played in rounds. A round has a number, from 0 on, that is the seed of everything random in it, and an
empty folder of its own; it raises AssertionError when a promise was broken, with what is needed to understand it, and
returns what it counted. The small figures are played by the tests (`test_torture.py`), the full ones by `make torture`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path


def nothing() -> str | None:
    """Return None: it can be played anywhere."""
    return None


@dataclass(frozen=True)
class Experiment:
    """What is played, and how often.

    Args:
        name: One word or two with a hyphen, as `--only` takes it.
        says: What is done and what must hold, a sentence or two for `docs/reliability.md`.
        rounds: The full figure.
        small: How many of them every test run plays.
        play: Plays the round of a number in an empty folder and returns what it counted, by plural nouns.
        lacks: Says what this machine lacks for it, None when nothing.
        alone: It needs the processors for itself: no other round is played beside one of it.
        reaches: The module whose imports are all of the package that it is played on; empty: every command but `deliver`.
    """

    name: str
    says: str
    rounds: int
    small: int
    play: Callable[[int, Path], Mapping[str, int]]
    lacks: Callable[[], str | None] = nothing
    alone: bool = False
    reaches: str = ""
