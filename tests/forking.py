"""The command in forks of a process that has everything imported: a fifth of the work of a fresh one, for many runs.

What is tested this way is what a command does. How it starts and is stopped needs a process of its own (`Commands`).
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tests.system.conftest import Commands, Outcome

if TYPE_CHECKING:
    from collections.abc import Iterator

SERVER: Final = """
import importlib, json, os, select, signal, sys
from ninepic_mirror import __main__, cli, sync
from ninepic_mirror.cli.program import COMMANDS
from ninepic_mirror.sync import mirror, session
for name in COMMANDS:
    importlib.import_module(f"ninepic_mirror.cli.{name}")

for line in sys.stdin:
    words, folder, environ, streams, seconds = json.loads(line)
    child = os.fork()
    if child == 0:
        os.setsid()
        os.chdir(folder)
        os.environ.clear()
        os.environ.update(environ)
        for number, path in enumerate((os.devnull, *streams)):
            os.dup2(os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC), number)
        sys.argv = [__main__.__file__, *words]
        cli.main()  # ends this process as it ends a fresh one, with what is done then (coverage)
    watch = os.pidfd_open(child)
    if not select.select([watch], [], [], seconds)[0]:
        os.kill(child, signal.SIGKILL)
    os.close(watch)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


@dataclass
class Server:
    """The process that has everything imported.

    Args:
        process: It takes orders, one a line, and says how each ended.
        folder: A place of its own, for what the commands say.
    """

    process: subprocess.Popen[str]
    folder: Path

    def run(self, commands: Commands, words: list[str], timeout: float) -> Outcome:
        """Run a command to its end."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        said = [self.folder / name for name in ("out", "err")]
        streams = [str(path) for path in said]
        order = [words, str(commands.folder), commands.environ, streams, timeout]
        self.process.stdin.write(f"{json.dumps(order)}\n")
        self.process.stdin.flush()
        code = int(self.process.stdout.readline())
        return Outcome(code, *(path.read_text() for path in said))


@dataclass
class Forking(Commands):
    """Runs commands in forks; a run that is not over in its time is killed, and its code is -9."""

    server: Server | None = None

    def run(self, *words: object, timeout: float = 60) -> Outcome:
        """Run a command to its end."""
        assert self.server is not None
        return self.server.run(self, [*map(str, words)], timeout)


@contextmanager
def fork_server() -> Iterator[Server]:
    """Return such a process for the length of the block."""
    with tempfile.TemporaryDirectory() as folder:
        process = subprocess.Popen(
            [sys.executable, "-c", SERVER],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=Commands(Path(folder)).environ,
        )
        with process:
            try:
                yield Server(process, Path(folder))
            finally:
                assert process.stdin is not None
                process.stdin.close()
