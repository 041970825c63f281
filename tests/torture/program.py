"""The command in children of a process that has imported everything: a start of the interpreter costs ten times as much."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

import trio

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence

SOURCE: Final = Path(__file__).parents[2]
SERVER: Final = """
import gc, json, os, sys
from functools import partial
import h11, httpcore, httpx, msgspec, sqlite3, trio
from ninepic_mirror.archive import lock
from ninepic_mirror.cli import main, scrub, sweep, sync, verify
from ninepic_mirror.ninepic.backoff import Backoff
from ninepic_mirror.ninepic.limits import Limits
from ninepic_mirror.sync import mirror, session

def run(order):
    os.chdir(order["folder"])
    os.environ.update(order["environ"])
    for number in (1, 2):
        os.dup2(os.open(f"{number}", os.O_WRONLY | os.O_CREAT | os.O_APPEND), number)
    limits = Limits(**order["limits"], backoff=Backoff(0.01, 0.05))
    opened = partial(session.open_session, limits=limits, give_up=order["give_up"])
    session.open_session = sweep.open_session = opened
    lock.WAIT = mirror.LOCK_WAIT = order["lock_wait"]
    sys.argv = ["ninepic-mirror", *order["words"]]
    main()

gc.freeze()
for line in sys.stdin:
    child = os.fork()
    if child == 0:
        code = 1
        try:
            run(json.loads(line))
        except SystemExit as end:
            code = end.code
        finally:
            sys.stdout.flush()
            os._exit(code)
    print(child, flush=True)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""
OUTPUTS: Final = ("1", "2")  # the files that standard output and standard error go to


@dataclass
class Ended:
    """A command that has ended."""

    code: int
    out: str
    err: str

    @property
    def document(self) -> dict[str, object]:
        """What `--json` printed: exactly one object."""
        found: dict[str, object] = json.loads(self.out)
        return found


@dataclass
class Program:
    """Runs commands, one at a time.

    Args:
        process: The process whose children they are.
        limits: Of the remote side, in seconds and bytes, that are not as usual.
        give_up: Seconds without a good answer after which a run ends.
        lock_wait: Seconds for which a run waits for another that holds the event.

    Attributes:
        child: The command that runs, to be killed at will.
    """

    process: trio.Process
    limits: Mapping[str, float]
    give_up: float = 120.0
    lock_wait: float = 10.0
    child: int = 0
    _unread: bytes = field(default=b"", repr=False)

    async def run(
        self, folder: Path, words: Sequence[object], environ: Mapping[str, str] | None = None
    ) -> Ended:
        """Run a command in a folder to its end; cancelled, it is killed."""
        for name in OUTPUTS:
            (folder / name).unlink(missing_ok=True)
        order = {
            "folder": str(folder),
            "words": list(map(str, words)),
            "environ": {"HOME": str(folder)} | dict(environ or {}),
            "limits": dict(self.limits),
            "give_up": self.give_up,
            "lock_wait": self.lock_wait,
        }
        assert self.process.stdin is not None
        with trio.CancelScope(shield=True):
            await self.process.stdin.send_all(json.dumps(order).encode() + b"\n")
            self.child = int(await self._line())
        try:
            code = int(await self._line())
        except trio.Cancelled:
            os.kill(self.child, signal.SIGKILL)
            with trio.CancelScope(shield=True):
                await self._line()
            raise
        out, err = ((folder / name).read_text(errors="replace") for name in OUTPUTS)
        return Ended(code, out, err)

    async def _line(self) -> bytes:
        assert self.process.stdout is not None
        while b"\n" not in self._unread:
            received = await self.process.stdout.receive_some()
            assert received, "the process of the commands broke"
            self._unread += received
        line, _, self._unread = self._unread.partition(b"\n")
        return line


@asynccontextmanager
async def open_program(
    limits: Mapping[str, float] | None = None, environ: Mapping[str, str] | None = None
) -> AsyncIterator[Program]:
    """Start a process whose children commands are to be; it ends with the block."""
    # without the coverage of subprocesses: a killed one would leave half a data file
    usual = {name: value for name, value in os.environ.items() if "COV" not in name}
    usual |= {"PYTHONPATH": str(SOURCE), "PYTHONWARNINGS": "error"}
    run = partial(
        trio.run_process,
        [sys.executable, "-c", SERVER],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=usual | dict(environ or {}),
    )
    async with trio.open_nursery() as nursery:
        process: trio.Process = await nursery.start(run)
        yield Program(process, limits or {})
        assert process.stdin is not None
        await process.stdin.aclose()
