"""kill -9 at each file-system call of a pass (RELIABILITY, T2)."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Final

from ninepic_mirror.sandbox import EventSpec
from tests.torture import shim
from tests.torture.experiment import Experiment
from tests.torture.mirrored import EVENT, Mirrored, mirrored

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

CALLS: Final = ("open", "write", "fsync", "rename", "link", "mkdir", "unlink", "truncate")
SIX: Final = EventSpec(
    EVENT, photos=6, look="cheap", thumb_kb=2, large_kb=6, original_mb=(0.01, 0.15), hours=2, undated=1, duplicates=2
)  # fmt: skip
SYNC: Final = ("sync", EVENT, "--full", "--accept-removals")
STRIDE: Final = 100  # the calls are shared out to so many rounds of each scene
SCENES: Final = ("first pass", "changes", "repair")


def play(seed: int, folder: Path) -> Mapping[str, int]:
    """Kill a first pass, a pass over what changed, or a repair, at every call of this round's share."""
    scene, number = SCENES[seed % len(SCENES)], seed // len(SCENES) + 1
    counts = Counter[str]()
    with mirrored(seed, folder, shim=shim.build(folder), spec=SIX) as case:
        while kill_at(case, scene, number):
            counts["kills"] += 1
            number += STRIDE
    return counts


def kill_at(case: Mirrored, scene: str, number: int) -> bool:
    """Kill a command at its call of this number; return whether it made so many."""
    words: tuple[object, ...] = SYNC
    if scene == "first pass":
        case.begin_anew()
    else:
        case.run(*SYNC)
        case.change()
    if scene == "repair":
        case.run(*SYNC)
        case.spoil()
        words = ("verify", EVENT, "--repair")
    fork = case.start(*words, fault=shim.fault(CALLS, number, shim.DIE))
    code = fork.ended()
    assert code in {-9, 0}, fork.err[-3000:]
    case.check(fork)
    case.finish()
    return code == -9


EXPERIMENT = Experiment(
    "kill-calls",
    "`kill -9` at every single call that opens, writes, syncs, renames, links, makes or takes away something in the"
    " mirror, in a first pass, in one over changes and in a repair, of six photos: the same holds.",
    rounds=STRIDE * len(SCENES),
    small=1,
    play=play,
    lacks=shim.lacks,
)
