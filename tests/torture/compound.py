"""Faults while what an earlier fault left is being mended (RELIABILITY, T10)."""

from __future__ import annotations

import errno
from collections import Counter
from typing import TYPE_CHECKING, Final

from ninepic_mirror.sandbox import Fault
from tests.torture import disks, shim
from tests.torture.calls_fail import CALLS, ERRORS
from tests.torture.experiment import Experiment
from tests.torture.kill_calls import CALLS as CHANGING
from tests.torture.mirrored import EVENT, Mirrored, mirrored

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from tests.torture.disks import Disk

SYNC: Final = ("sync", EVENT, "--full", "--accept-removals")
SCENES: Final = ("first pass", "changes", "damage", "lost manifest")
FAULTS: Final = 4  # one after the other
NETWORK: Final = (
    Fault(kind="429", probability=0.1, retry_after=0),
    Fault(kind="500", probability=0.1),
    Fault(kind="reset", probability=0.1),
    Fault(kind="short", probability=0.1),
    Fault(kind="html", probability=0.1),
    Fault(kind="truncated", probability=0.1),
    Fault(kind="404", origin="photos", probability=0.05),
)


def play(seed: int, folder: Path) -> Mapping[str, int]:
    """Disturb a mirror four times in a row, each time before it is whole again."""
    counts = Counter[str]()
    scene = SCENES[seed % len(SCENES)]
    with (
        disks.disk("ext4") as disk,
        mirrored(seed, folder, root=disk.place / "mirror", shim=shim.build(folder)) as case,
    ):
        words: tuple[object, ...] = SYNC
        if scene != "first pass":
            case.finish()
        if scene == "changes":
            case.change()
        elif scene == "damage":
            case.spoil()
            words = ("verify", EVENT, "--repair")
        elif scene == "lost manifest":
            case.lose_manifest()
        case.seconds.setdefault(" ".join(map(str, words)), 1.5)
        for _ in range(FAULTS):
            way = case.draw.choice(WAYS)
            way(case, disk, words)
            counts[way.__name__.replace("_", " ")] += 1
            if case.draw.random() < 0.3:
                words = SYNC
        case.finish()
    return counts


def kills(case: Mirrored, _disk: Disk, words: tuple[object, ...]) -> None:
    """Kill -9 at a random moment."""
    case.kill(*words)


def kills_at_calls(case: Mirrored, _disk: Disk, words: tuple[object, ...]) -> None:
    """Kill -9 at a call."""
    fork = case.start(*words, fault=shim.fault(CHANGING, case.draw.randint(1, 900), shim.DIE))
    code = fork.ended()
    assert code in {-9, 0}, f"{words} ended with {code}: {fork.err[-3000:]}"
    case.check(fork)


def cuts(case: Mirrored, disk: Disk, words: tuple[object, ...]) -> None:
    """Cut the power at a random moment."""
    case.cut(disk, *words)


def failing_calls(case: Mirrored, _disk: Disk, words: tuple[object, ...]) -> None:
    """Let calls fail, once or from then on."""
    draw = case.draw
    call, error, always = draw.choice(CALLS), draw.choice(ERRORS), draw.random() < 0.5
    if call in {"open", "read"} and error == errno.EIO:
        case.safe.clear()  # what cannot be read is fetched anew
    fault = shim.fault([call], draw.randint(1, 150), error, for_ever=always)
    fork = case.start(*words, fault=fault)
    code = fork.ended(30)
    said = f"{words} with {fault} ended with {code}: {fork.err[-3000:]}"
    assert code in {0, 6, 8}, said
    assert "Traceback" not in fork.err, said
    case.check(fork)


def bad_networks(case: Mirrored, _disk: Disk, words: tuple[object, ...]) -> None:
    """Let answers break, and kill the command amid its retries."""
    case.sandbox.faults.add(*case.draw.sample(NETWORK, 4))
    try:
        case.kill(*words)
    finally:
        case.sandbox.faults.clear()


WAYS: Final = (kills, kills_at_calls, cuts, failing_calls, bad_networks)

EXPERIMENT = Experiment(
    "compound",
    "Four faults in a row out of kills, kills at calls, power cuts, failing calls and broken answers, each while what the"
    " ones before left is being mended, in first passes, over changes, over damage and in rebuilds on ext4: the same holds.",
    rounds=300,
    small=1,
    play=play,
    lacks=lambda: shim.lacks() or disks.lacks("ext4"),
)
