"""What SIGBUS means: a disk went away under a file that is mapped into memory (RELIABILITY L5).

SQLite maps its index of the manifest's log (wal.html, "The WAL-Index"). The kernel answers the touch of a page that it
cannot read by SIGBUS, which ends a process without a word. A handler of Python's own never runs: the touch is repeated
as soon as its part in C returns (library reference of `signal`). One in C has to be set, and it must not return.
"""

from __future__ import annotations

import ctypes
import os
import signal
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

from ninepic_mirror.cli.outcome import Code

if TYPE_CHECKING:
    from ninepic_mirror.cli.console import Console

_Handler = ctypes.CFUNCTYPE(None, ctypes.c_int)
_kept: Final[list[object]] = []  # the kernel's pointer leads to it, which ctypes does not know


def expect(console: Console) -> None:
    """From now on tell it with its cure and end with 6, as where the disk answers with an error.

    Nothing is lost by an end at once (DESIGN §7). Where memory may not be made executable, as some kernels are set to,
    all stays as it is.
    """
    with suppress(MemoryError):
        handler = _Handler(partial(_end, console))
        ctypes.pythonapi.PyOS_setsig(signal.SIGBUS, handler)
        _kept.append(handler)


def _end(console: Console, _number: int) -> None:
    try:
        console.last_words(
            f"{_mapped() or 'a file in use'}: its disk went away (SIGBUS)",
            "look at the kernel log and the disk's health, mount it again, then run this again; it goes on from there",
        )
        console.end_at_once(Code.STORAGE)
    finally:
        os._exit(Code.STORAGE)


def _mapped() -> str:
    """Return the manifests that are mapped just now (proc_pid_maps(5)), as a rule one."""
    with suppress(OSError):
        lines = Path("/proc/self/maps").read_text(errors="replace").splitlines()
        paths = {line.split(maxsplit=5)[-1].removesuffix(" (deleted)") for line in lines}
        return ", ".join(
            sorted(path.removesuffix("-shm") for path in paths if path.endswith("-shm"))
        )
    return ""
