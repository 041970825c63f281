"""Faults of single system calls, by a library that stands before the C library's (`shim.c`)."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from tests.torture.forks import Fork

CALLS: Final = {
    "open": 1, "write": 2, "fsync": 4, "rename": 8, "link": 16, "mkdir": 32, "close": 64, "read": 128,
    "unlink": 256, "truncate": 512,
}  # fmt: skip
DIE: Final = -1
HALF: Final = -2
SOURCE: Final = Path(__file__).with_name("shim.c")


def lacks() -> str | None:
    """Say what the shim needs and is not here."""
    if sys.platform != "linux":
        return "only Linux loads a library before the others in this way"
    if not shutil.which("gcc") or not Path("/usr/include/dlfcn.h").exists():
        return "gcc or the C library's headers are not installed (Debian: gcc libc6-dev)"
    return None


def build(folder: Path) -> Path:
    """Compile the shim and return the library."""
    library = folder / "shim.so"
    words = ["gcc", "-shared", "-fPIC", "-O2", "-o", str(library), str(SOURCE), "-ldl"]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return library


def fault(
    calls: Collection[str], number: int, action: int, *, for_ever: bool = False
) -> Sequence[int]:
    """Return what `Forks.start` takes.

    Args:
        calls: Names of `CALLS`: calls of these kinds below the root are numbered from 1 on.
        number: Which of them; 0: none, they are only counted.
        action: An errno, `DIE` or `HALF`.
        for_ever: That one and all that follow.
    """
    return (sum(CALLS[name] for name in calls), number, action, int(for_ever))


def counted(fork: Fork) -> int:
    """Return how many such calls a command has made that ran to its end."""
    (count,) = re.findall(r"^torture: calls (\d+)$", fork.err, re.MULTILINE)
    return int(count)


def struck(fork: Fork) -> bool:
    """Whether the fault came."""
    return bool(re.search(r"^torture: (?!calls|struck)\w+ \d+$", fork.err, re.MULTILINE))
