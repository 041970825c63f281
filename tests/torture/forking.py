"""The command in forks of a process that has everything imported: an eighth of the time of a fresh one, for many runs."""

from __future__ import annotations

import json
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from tests.system.conftest import Commands, Outcome

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SERVER: Final = """
import importlib, json, os, select, signal, sys
from ninepic_mirror.cli.program import COMMANDS, start
from ninepic_mirror import cli, sync
from ninepic_mirror.sync import mirror, session
for name in COMMANDS:
    importlib.import_module(f"ninepic_mirror.cli.{name}")

for line in sys.stdin:
    words, out, err, seconds = json.loads(line)
    child = os.fork()
    if child == 0:
        for number, path in ((0, os.devnull), (1, out), (2, err)):
            os.dup2(os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC), number)
        sys.argv[1:] = words
        try:
            cli.main()
        except SystemExit as end:
            sys.stdout.flush(), sys.stderr.flush()
            os._exit(end.code)
    watch = os.pidfd_open(child)
    if not select.select([watch], [], [], seconds)[0]:
        os.kill(child, signal.SIGKILL)
    os.close(watch)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


@dataclass
class Forking(Commands):
    """Runs the command; a run that is not over in its time is killed, and its code is -9."""

    server: subprocess.Popen[str] | None = None

    def run(self, *words: object, timeout: float = 60) -> Outcome:
        """Run a command to its end."""
        assert self.server is not None
        assert self.server.stdin is not None
        assert self.server.stdout is not None
        out, err = self.folder / "out", self.folder / "err"
        order = [[*map(str, words)], str(out), str(err), timeout]
        self.server.stdin.write(f"{json.dumps(order)}\n")
        self.server.stdin.flush()
        code = int(self.server.stdout.readline())
        return Outcome(code, out.read_text(), err.read_text())


@contextmanager
def forking(folder: Path) -> Iterator[Forking]:
    """Return such commands for the length of the block."""
    commands = Forking(folder)
    with subprocess.Popen(
        [sys.executable, "-c", SERVER],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=folder,
        env=commands.environ,
    ) as server:
        commands.server = server
        try:
            yield commands
        finally:
            server.terminate()
