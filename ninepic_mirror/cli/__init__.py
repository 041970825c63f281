"""The command `ninepic-mirror`: one file per command, and what they share (DESIGN §3).

    program     the group; a command's file is imported when the command is run
    options     flags that stand for configuration keys
    outcome     exit codes, and what to do next for every error
    signals     the first and the second Ctrl-C
    console     standard output and standard error
    remote      the clients alone, for commands that write nothing
    mirrors     what the manifests say, without a network
    selection   which events, which day
    summary     the last words of a pass

Start-up counts: only click and this package's light modules are imported before the command is known.
"""

from __future__ import annotations

import os
import signal
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types import FrameType


def main() -> None:
    """Run the command line and end the process with its exit code."""
    _open_streams()
    # Until `signals` takes over, and again at the very end: Python's own handler would show a traceback out of
    # whatever is being imported. A shell starts background jobs with SIGINT ignored; that is to stay so.
    heard = [
        number
        for number in (signal.SIGINT, signal.SIGTERM)
        if signal.getsignal(number) is not signal.SIG_IGN
    ]
    for number in heard:
        signal.signal(number, _leave)
    from ninepic_mirror.cli.program import start  # noqa: PLC0415  `cli.…` modules import this package first

    code = start(sys.argv[1:])
    for number in heard:
        signal.signal(number, _leave)
    sys.exit(code)


def _leave(number: int, _frame: FrameType | None) -> None:
    os._exit(128 + number)


def _open_streams() -> None:
    """Put /dev/null where standard input, output or error is closed (`>&-`).

    Otherwise the next file that is opened, a manifest for example, gets its number, and whatever writes to
    "standard output" writes into it.
    """
    for number, mode in ((0, "r"), (1, "w"), (2, "w")):
        try:
            os.fstat(number)
        except OSError:
            # The lowest free number is taken, and the lower ones are open by now.
            os.open(os.devnull, os.O_RDWR)
            stream = open(number, mode, encoding="utf-8", closefd=False)  # noqa: SIM115  it lives as long as the process
            setattr(sys, ("stdin", "stdout", "stderr")[number], stream)
