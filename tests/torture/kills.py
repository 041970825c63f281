"""kill -9 at random moments, over everything that a mirror goes through (RELIABILITY, T1)."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Final

from tests.torture.experiment import Experiment
from tests.torture.mirrored import EVENT, mirrored

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

SYNC: Final = ("sync", EVENT, "--full", "--accept-removals")
CHAPTERS: Final = ("changes", "damage", "lost manifest", "changes", "quiet")
STROKES: Final = 4  # in each chapter, at most


def play(seed: int, folder: Path) -> Mapping[str, int]:
    """Kill a first pass again and again, then passes and repairs over what changed; see that all ends whole."""
    counts = Counter[str]()
    with mirrored(seed, folder) as case:
        case.seconds[" ".join(map(str, SYNC))] = 1.5
        for _ in range(2 * STROKES):
            counts["kills"] += case.kill(*SYNC)
        case.finish()
        counts["histories"] += 1
        for chapter in case.draw.sample(CHAPTERS, len(CHAPTERS)):
            words: tuple[object, ...] = SYNC
            if chapter == "changes":
                case.change()
            elif chapter == "damage":
                case.spoil()
                words = ("verify", EVENT, "--repair")
            elif chapter == "lost manifest":
                case.lose_manifest()
            for _ in range(STROKES):
                counts["kills"] += case.kill(*words)
            case.finish()
            counts["histories"] += 1
    return counts


EXPERIMENT = Experiment(
    "kills",
    "`kill -9` at random moments of first passes, of passes over photos that move, leave, come and come back, over"
    " changed layouts and zones, trash, duplicates and originals, of repairs and of rebuilds: no row lies, no wrong file"
    " stands under a final name, nothing recorded is fetched again, and the next run ends whole and leaves nothing over.",
    rounds=60,
    small=1,
    play=play,
)
