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

import sys


def main() -> None:
    """Run the command line and end the process with its exit code."""
    from ninepic_mirror.cli.program import start  # noqa: PLC0415  `cli.…` modules import this package first

    sys.exit(start(sys.argv[1:]))
