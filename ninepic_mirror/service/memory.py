"""Keeps the memory of a process that runs for months as small as what it holds.

glibc gives each thread an arena of its own, up to eight for a processor, and keeps what is freed at its end: up to twice
the largest block that was ever mapped. Our threads come and go with the passes, so that over weeks every arena keeps a
few megabytes of what a pass once needed. One arena that gives back what it does not use is enough: most of our threads
hold Python's lock while they ask for memory. Measured by `benchmarks/virtual.py`: without this 0.3 MB more every day.
"""

from __future__ import annotations

import ctypes
from typing import Final

# From malloc.h. A fixed threshold also ends its growth with what is freed (mallopt(3)).
_ARENA_MAX: Final = -8
_TRIM_THRESHOLD: Final = -1
_MMAP_THRESHOLD: Final = -3
_KEPT: Final = 1 << 20  # bytes; less, and each photo's buffer would be asked of the kernel anew


def be_frugal() -> bool:
    """Set up the C library's memory for a service, before threads start; return whether it could be.

    Other libraries than glibc have no such settings, and do not do so.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return False
    settings = ((_ARENA_MAX, 1), (_TRIM_THRESHOLD, _KEPT), (_MMAP_THRESHOLD, _KEPT))
    done = [bool(mallopt(name, value)) for name, value in settings]
    return all(done)
