"""The n-th file-system call fails, once or from then on, in every way (RELIABILITY, T5)."""

from __future__ import annotations

import errno
import itertools
import time
from collections import Counter
from typing import TYPE_CHECKING, Final

from tests.torture import shim
from tests.torture.experiment import Experiment
from tests.torture.kill_calls import SIX
from tests.torture.mirrored import EVENT, Mirrored, mirrored

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

CALLS: Final = ("open", "write", "fsync", "rename", "link", "mkdir", "close", "read")
ERRORS: Final = (
    errno.EIO, errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EMFILE, errno.ESTALE,
)  # fmt: skip
WAYS: Final = [
    *(
        (call, error, always)
        for call, error, always in itertools.product(CALLS, ERRORS, (False, True))
    ),
    ("write", shim.HALF, False),
    ("write", shim.HALF, True),
]
PARTS: Final = 20  # the numbers of each way are shared out to so many rounds
HANG: Final = 30.0  # seconds


def play(seed: int, folder: Path) -> Mapping[str, int]:
    """Let calls of one kind fail in one way, at every number of this round's share; each time all ends whole afterwards."""
    call, error, always = WAYS[seed % len(WAYS)]
    number = seed // len(WAYS) + 1
    counts = Counter[str]()
    with mirrored(seed, folder, shim=shim.build(folder), spec=SIX) as case:
        while fail_at(case, shim.fault([call], number, error, for_ever=always), counts):
            number += PARTS
    return counts


def fail_at(case: Mirrored, fault: Sequence[int], counts: Counter[str]) -> bool:
    """Let a first pass meet a fault; return whether it did."""
    case.begin_anew()
    began = time.monotonic()
    fork = case.start("sync", EVENT, fault=fault)
    code = fork.ended(HANG)
    if not shim.struck(fork):
        assert code == 0, fork.err[-3000:]
        return False
    took = time.monotonic() - began
    said = f"{fault}: {code} after {took:.1f} s: {fork.err[-3000:]}"
    assert "Traceback" not in fork.err, said
    assert code in {0, 6}, said
    case.check(fork)
    if code == 0:
        assert case.wanted() <= case.have(), said
    counts["faults"] += 1
    counts["borne" if code == 0 else "told"] += 1
    case.settle()
    return True


EXPERIMENT = Experiment(
    "calls-fail",
    "Every single open, write, fsync, rename, link, mkdir, close and read of a first pass of six photos below the root"
    " fails, once or from then on, with EIO, ENOSPC, EDQUOT, EROFS, EACCES, EMFILE or ESTALE; writes take half of the"
    " bytes: the command bears it (0, and is whole) or says so (6) within 30 s, nothing lies, and the next run makes it"
    " whole.",
    rounds=len(WAYS) * PARTS,
    small=1,
    play=play,
    lacks=shim.lacks,
)
