"""The command in processes that can be killed at any moment: forks of one that has everything imported.

A start of the interpreter for each command would cost ten times as much. `Forks` speaks with a server process, one JSON
object a line; the server forks for each command, waits when it is told to, and ends with its standard input.
"""

from __future__ import annotations

import ctypes
import faulthandler
import importlib
import json
import os
import pkgutil
import random
import select
import signal
import sqlite3
import subprocess
import sys
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Final, TypedDict

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

PROJECT: Final = Path(__file__).parents[2]
KEY: Final = "test-key"


class Order(TypedDict):
    """A command to be started: its words, and the files for what it says."""

    words: list[str]
    out: str
    err: str
    told: str
    """A file to which it appends, after each commit, which files have rows; empty: none."""
    root: str
    fault: list[int]
    """What `shim.c` takes: calls, number, action, for ever; empty: no call fails."""


@dataclass
class Fork:
    """A command under way.

    Args:
        pid: Of its process.
        folder: Where what it says is kept.
        code: Its exit code, once it was waited for.
    """

    forks: Forks
    pid: int
    folder: Path
    code: int | None = None

    def wait(self, seconds: float = 60.0) -> int | None:
        """Return the exit code, negative for a signal; None when it has not ended by then."""
        if self.code is None:
            answer = self.forks.ask({"wait": self.pid, "seconds": seconds})
            self.code = answer if isinstance(answer, int) else None
        return self.code

    def kill(self) -> int:
        """End it by kill -9; return its exit code, which is its own when it was over before."""
        if self.code is None:
            os.kill(self.pid, signal.SIGKILL)  # not reaped yet, so the number is still its own
        return self.ended(10)

    def ended(self, seconds: float = 60.0) -> int:
        """Return the exit code.

        Raises:
            AssertionError: It hangs; all its stacks are told.
        """
        code = self.wait(seconds)
        if code is None:
            os.kill(self.pid, signal.SIGUSR1)  # faulthandler
            self.wait(1)
            os.kill(self.pid, signal.SIGKILL)
            self.wait(10)
            raise AssertionError(f"it hangs for {seconds:g} s: {self.err[-6000:]}")
        return code

    @property
    def out(self) -> str:
        """What it printed."""
        return (self.folder / "out").read_text()

    @property
    def err(self) -> str:
        """What it said on standard error, and what `shim.c` did."""
        return (self.folder / "err").read_text()

    @property
    def told(self) -> set[tuple[str, str]]:
        """The files, by photo and variant, that had rows after its last commit."""
        path = self.folder / "told"
        lines = path.read_bytes().splitlines(keepends=True) if path.exists() else []
        whole = [line for line in lines if line.endswith(b"\n")]
        return (
            {(image_id, variant) for image_id, variant in json.loads(whole[-1])} if whole else set()
        )


class Forks:
    """Starts commands, one at a time.

    Args:
        server: The process that forks.
    """

    def __init__(self, server: subprocess.Popen[bytes]) -> None:
        self._server = server

    def ask(self, order: object) -> object:
        """Give the server an order and return its answer."""
        assert self._server.stdin is not None
        assert self._server.stdout is not None
        self._server.stdin.write(json.dumps(order).encode() + b"\n")
        self._server.stdin.flush()
        line = self._server.stdout.readline()
        assert line, "the server of commands broke"
        answer: object = json.loads(line)
        return answer

    def start(
        self, words: Sequence[object], folder: Path, *, root: Path, fault: Sequence[int] = ()
    ) -> Fork:
        """Start a command.

        Args:
            words: Its arguments.
            folder: Where what it says is kept; what an earlier command said there is taken away.
            root: The mirror root.
            fault: What goes wrong with its system calls below the root (`shim.fault`).
        """
        folder.mkdir(exist_ok=True)
        for name in ("out", "err", "told"):
            (folder / name).unlink(missing_ok=True)
        order = Order(
            words=list(map(str, words)),
            out=str(folder / "out"),
            err=str(folder / "err"),
            told=str(folder / "told"),
            root=str(root),
            fault=list(fault),
        )
        pid = self.ask(order)
        assert isinstance(pid, int)
        return Fork(self, pid, folder)


@contextmanager
def forking(shim: Path | None = None) -> Iterator[Forks]:
    """Run a server of commands for the length of the block.

    Args:
        shim: A library that is loaded before all others (`shim.c`).
    """
    # without the coverage of subprocesses: a killed one would leave half a data file
    environ = {name: value for name, value in os.environ.items() if "COV" not in name}
    environ |= {"PYTHONPATH": str(PROJECT), "NINEPIC_API_KEY": KEY, "PYTHONWARNINGS": "default"}
    if shim is not None:
        environ["LD_PRELOAD"] = str(shim)
    with ExitStack() as stack:
        server = subprocess.Popen(
            [sys.executable, "-m", "tests.torture.forks"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environ,
            start_new_session=True,
        )
        stack.enter_context(server)
        stack.callback(_close, server.stdin)
        yield Forks(server)


def _close(stream: IO[bytes] | None) -> None:
    assert stream is not None
    stream.close()


# --- the server ----------------------------------------------------------------------------------------------------


def _serve() -> None:
    import ninepic_mirror

    for module in pkgutil.walk_packages(ninepic_mirror.__path__, "ninepic_mirror."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    running = 0
    for line in sys.stdin.buffer:
        order = json.loads(line)
        if "wait" in order:
            answer = _wait(order["wait"], order["seconds"])
            running = running if answer is None else 0
        else:
            answer = running = os.fork()
            if not running:
                _run(order)
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()
    if running:
        os.kill(running, signal.SIGKILL)


def _wait(pid: int, seconds: float) -> int | None:
    watch = os.pidfd_open(pid)
    try:
        if not select.select([watch], [], [], seconds)[0]:
            return None
    finally:
        os.close(watch)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def _run(order: Order) -> None:
    """Be the command, to the end of this process."""
    from ninepic_mirror.cli import main

    for number, path in ((1, order["out"]), (2, order["err"])):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644), number)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    faulthandler.register(signal.SIGUSR1, file=2, all_threads=True)
    random.seed()  # forks of one process would draw the same jitter
    sys.argv = ["ninepic-mirror", *order["words"]]
    # verify speaks of what it reads in the same way; and no call but the command's own is to fail
    if "verify" not in order["words"] and not order["fault"]:
        _tell(Path(order["root"]), order["told"])
    if order["fault"]:
        ctypes.CDLL(None).torture_arm(order["root"].encode(), *order["fault"])
    code = 1
    try:
        main()
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 1
    finally:
        if order["fault"]:
            ctypes.CDLL(None).torture_report()
        os._exit(code)


def _tell(root: Path, path: str) -> None:
    """Let every commit of a quiet command tell which files have rows."""
    from ninepic_mirror.progress import Silent
    from tests.oracle import rows

    done = Silent.done

    def tell(self: Silent, files: int, size: int) -> None:
        done(self, files, size)
        try:
            present = [
                (row.image_id, row.variant) for path in root.glob("456*") for row in rows(path)
            ]
        except (OSError, sqlite3.Error):
            return  # the disk is gone
        with Path(path).open("a") as file:
            file.write(json.dumps(present) + "\n")

    Silent.done = tell  # type: ignore[method-assign]  # this process is only for that


if __name__ == "__main__":
    _serve()
