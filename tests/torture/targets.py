"""Kinds of disks that a mirror may stand on (RELIABILITY, T21)."""

from __future__ import annotations

from collections import Counter
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from ninepic_mirror.sandbox import EventSpec
from tests.torture import disks
from tests.torture.experiment import Experiment
from tests.torture.mirrored import EVENT, mirrored

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

KINDS: Final = ("exfat", "overlay", "ext4", "xfs", "tmpfs")
SPEC: Final = EventSpec(
    EVENT, photos=20, look="cheap", thumb_kb=2, large_kb=6, original_mb=(0.01, 0.1), hours=3, undated=2, duplicates=3
)  # fmt: skip
SCENES: Final = ("first pass", "changes", "damage")
SYNC: Final = ("sync", EVENT, "--full", "--accept-removals")
ALIKE: Final = ("Twin", "tWIN", "twin")  # one name, to a file system without regard to case


def play(seed: int, folder: Path) -> Mapping[str, int]:
    """Mirror an event on one kind of disk, with ids that differ by case only; kill, change, damage, repair."""
    kind = KINDS[seed % len(KINDS)]
    counts = Counter[str]()
    with (
        target(kind) as place,
        mirrored(seed, folder, root=place / "mirror", spec=SPEC) as case,
    ):
        for image_id in ALIKE:
            case.add(image_id)
        case.seconds[" ".join(map(str, SYNC))] = 1.5
        for scene in SCENES:
            if scene == "changes":
                case.change()
            elif scene == "damage":
                case.spoil()
            words = ("verify", EVENT, "--repair") if case.spoilt else SYNC
            for _ in range(2):
                counts["kills"] += case.kill(*words)
            case.finish()
        case.run("verify", EVENT)
    counts[f"files on {kind}"] += len(case.wanted())
    return counts


@contextmanager
def target(kind: str) -> Iterator[Path]:
    """Have an empty file system of a kind for the length of the block."""
    if kind == "tmpfs":
        with disks.memory("size=64m") as place:
            yield place
    elif kind == "overlay":
        with disks.overlay() as place:
            yield place
    else:
        assert kind in {"ext4", "xfs", "exfat"}
        with disks.disk(kind) as disk:  # type: ignore[arg-type]  # one of the three
            yield disk.place


EXPERIMENT = Experiment(
    "targets",
    "Mirrors on ext4, XFS, tmpfs, an overlay, and exFAT by FUSE (no links, names without regard to case), with ids that"
    " differ by case only, killed, changed, damaged and repaired: the same holds everywhere.",
    rounds=50,
    small=2,
    play=play,
    lacks=lambda: disks.lacks("ext4", "xfs", "exfat"),
)
