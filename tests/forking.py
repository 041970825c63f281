"""The command in forks of a process that has everything imported: a third of the work of a fresh one, for many runs.

What is tested this way is what a command does. How it starts and is stopped needs a process of its own (`Commands`).
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
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

def start(words, folder, environ, streams):
    child = os.fork()
    if child:
        return child
    os.setsid()
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environ)
    for number, path in enumerate((os.devnull, *streams)):
        os.dup2(os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC), number)
    sys.argv = [__main__.__file__, *words]
    cli.main()  # ends this process as it ends a fresh one, with what is done then (coverage)

def wait(child, seconds):
    watch = os.pidfd_open(child)
    if not select.select([watch], [], [], seconds)[0]:
        os.kill(child, signal.SIGKILL)
    os.close(watch)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

for line in sys.stdin:
    order, *what = json.loads(line)
    print({"start": start, "wait": wait}[order](*what), flush=True)
"""


@dataclass
class Server:
    """The process that has everything imported.

    Args:
        process: It takes orders, one a line, and answers each with a number.
        folder: A place of its own, for what the commands say.
    """

    process: subprocess.Popen[str]
    folder: Path
    _started: Iterator[int] = field(default_factory=count)

    def start(self, commands: Commands, *words: object) -> Fork:
        """Start a command."""
        number = next(self._started)
        out, err = (self.folder / f"{number}.{name}" for name in ("out", "err"))
        told = [*map(str, words)], str(commands.folder), commands.environ, [str(out), str(err)]
        return Fork(self, self.order("start", *told), out, err)

    def order(self, *what: object) -> int:
        """Give an order and return the answer."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(f"{json.dumps(what)}\n")
        self.process.stdin.flush()
        return int(self.process.stdout.readline())


@dataclass
class Fork:
    """A command in a fork, to be used as `subprocess.Popen`; nobody else may wait for it."""

    server: Server
    pid: int
    out: Path
    err: Path
    code: int | None = None

    def send_signal(self, number: int) -> None:
        """Send a signal, unless it has ended."""
        if self.code is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        """Ask it to end."""
        self.send_signal(signal.SIGTERM)

    def wait(self, timeout: float = 60) -> int:
        """Wait for its end and return its code; not over in time it is killed, and its code is -9."""
        if self.code is None:
            self.code = self.server.order("wait", self.pid, timeout)
        return self.code


@dataclass
class Forking(Commands):
    """Runs commands in forks; a run that is not over in its time is killed, and its code is -9."""

    server: Server | None = None

    def run(self, *words: object, timeout: float = 60) -> Outcome:
        """Run a command to its end."""
        assert self.server is not None
        fork = self.server.start(self, *words)
        code = fork.wait(timeout)
        done = Outcome(code, fork.out.read_text(), fork.err.read_text())
        fork.out.unlink()
        fork.err.unlink()
        return done


@contextmanager
def fork_server(*, measured: bool = True) -> Iterator[Server]:
    """Return such a process for the length of the block; not measured, it costs half, and its lines are not covered."""
    with tempfile.TemporaryDirectory() as folder:
        environ = Commands(Path(folder)).environ
        if not measured:
            environ = {name: text for name, text in environ.items() if "COV" not in name}
        process = subprocess.Popen(
            [sys.executable, "-c", SERVER],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environ,
        )
        with process:
            try:
                yield Server(process, Path(folder))
            finally:
                assert process.stdin is not None
                process.stdin.close()
