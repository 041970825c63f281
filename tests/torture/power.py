"""Power cuts at random moments, on ext4 and XFS (RELIABILITY, T3)."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Final

from ninepic_mirror.sandbox import EventSpec
from tests.torture import disks
from tests.torture.experiment import Experiment
from tests.torture.mirrored import EVENT, Mirrored, mirrored

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from tests.torture.disks import Disk, Kind

SYNC: Final = ("sync", EVENT, "--full", "--accept-removals")
KINDS: Final[tuple[Kind, ...]] = ("ext4", "xfs")
CUTS: Final = 5  # of the first pass, and as many of those that follow
SPEC: Final = EventSpec(
    EVENT, photos=150, look="cheap", thumb_kb=2, large_kb=6, original_mb=(0.01, 0.15), hours=4,
    undated=10, duplicates=9, wrong_clock=1,
)  # fmt: skip


def play(seed: int, folder: Path) -> Mapping[str, int]:
    """Cut the power of a first pass again and again, then of passes over what changed."""
    counts = Counter[str]()
    kind = KINDS[seed % len(KINDS)]
    with (
        disks.disk(kind) as disk,
        mirrored(seed, folder, root=disk.place / "mirror", spec=SPEC) as case,
    ):
        case.seconds[" ".join(map(str, SYNC))] = 2.0
        for _ in range(CUTS):
            counts.update(cut(case, disk))
        case.finish()
        for _ in range(CUTS):
            case.change()
            counts.update(cut(case, disk))
            if case.draw.random() < 0.5:
                counts.update(cut(case, disk))
        case.finish()
    return counts


def cut(case: Mirrored, disk: Disk) -> Mapping[str, int]:
    """Cut the power of a pass at a random moment; after the start nothing lies and nothing told is lost."""
    told = case.cut(disk, *SYNC).told
    lost = told & case.wanted() - case.have() - case.moving()
    assert not lost, f"{len(lost)} files were told to be safe and are not here: {sorted(lost)[:3]}"
    return {"cuts": 1, "files told": len(told)}


EXPERIMENT = Experiment(
    "power",
    "Power cuts at random moments (a shutdown of the file system without a flush of its journal) on ext4 and XFS, in first"
    " passes and in passes over changes: no row lies, no wrong file stands under a final name, and every file that a"
    " commit told is there.",
    rounds=50,
    small=2,
    play=play,
    lacks=lambda: disks.lacks(*KINDS),
)
