"""Standard output for results, standard error for everything else (DESIGN §3).

A reader who has gone away ends nothing: a pass whose summary nobody reads was still made (RELIABILITY L12). A full
disk under a redirected standard output is an error, because the result would be cut off silently.
"""

from __future__ import annotations

import errno
import json
import logging
import os
import re
import shlex
import shutil
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final, TextIO

from ninepic_mirror import __version__
from ninepic_mirror.service.journal import prefixed

if TYPE_CHECKING:
    from collections.abc import Callable


_LOG: Final = logging.getLogger(__name__)


class Console:
    """What a run says and where.

    Attributes:
        config: What `--config` names.
        verbosity: -1 quiet, 0 as usual, 1 and more for the log.
        json_log: Every line on standard error is a JSON object.
    """

    def __init__(self) -> None:
        self.config: Path | None = None
        self.verbosity = 0
        self.json_log = False
        self.journal = False
        """Standard error leads to the journal: lines begin with their priority."""
        self.document: dict[str, object] | None = None
        """What a command with `--json` prints at its end, whatever happens; `exit_code` is added."""
        self._gone = sys.stdout is None  # or nobody reads it any more
        self._fault: OSError | None = None

    @property
    def gone(self) -> bool:
        """Whether standard output takes no more: its reader went away, or its disk is full."""
        return self._gone

    @property
    def quiet(self) -> bool:
        """Whether only errors and results are wanted."""
        return self.verbosity < 0

    def settle(self, config: Path | None, verbosity: int, *, json_log: bool) -> None:
        """Take over the options of the group, and set up the log."""
        self.config, self.verbosity, self.json_log = config, verbosity, json_log
        # Only our own loggers become talkative with -v: what libraries log may hold addresses with signatures.
        handler = logging.StreamHandler()
        handler.setFormatter(_JsonLines() if json_log else logging.Formatter("%(message)s"))
        levels = {-1: logging.ERROR, 0: logging.WARNING, 1: logging.INFO}
        logging.basicConfig(handlers=[handler], level=logging.WARNING)
        logging.getLogger("ninepic_mirror").setLevel(levels.get(verbosity, logging.DEBUG))
        logging.raiseExceptions = False  # a log that cannot be written is no reason for a traceback
        python = ".".join(map(str, sys.version_info[:3]))
        _LOG.debug("ninepic-mirror %s, Python %s, %s", __version__, python, sys.platform)

    # --- results -------------------------------------------------------------------------------------------------

    def print(self, text: str = "") -> None:
        """Print one result line. What goes wrong with it is said by `end`."""
        self.write(f"{text}\n")

    def write(self, text: str) -> bool:
        """Write to standard output; return False when it takes no more."""
        self._try(lambda: sys.stdout.write(text))
        return not self._gone

    def flush(self) -> None:
        """Bring out what was printed so far."""
        self._try(sys.stdout.flush)

    def end(self, code: int) -> int:
        """Print the document, if the command has one; return the exit code, 6 where a result did not arrive."""
        # Taken away first, so that a signal during the print cannot print it again.
        if self.document is not None:
            document, self.document = self.document, None
            self.print(json.dumps({**document, "exit_code": code}))
        self.flush()
        self._flush_error()
        if self._fault is not None:
            text = f"standard output cannot be written to: {self._fault.strerror}"
            self.error(text, "make room where it is redirected to")
            return code or 6  # DESIGN §3: local storage
        return code

    def _try(self, action: Callable[[], object]) -> None:
        if self._gone:
            return
        try:
            action()
        except OSError as error:
            self._gone = True
            if error.errno != errno.EPIPE:
                self._fault = error
            _silence(1)

    def _flush_error(self) -> None:
        # The log, which goes its own way, may have left something there that cannot be written.
        try:
            sys.stderr.flush()
        except OSError:
            _silence(2)

    def end_at_once(self, code: int) -> None:
        """Print the document from a signal handler, past every buffer."""
        if self.document is not None:
            text = json.dumps({**self.document, "exit_code": code})
            with suppress(OSError):
                os.write(1, f"{text}\n".encode())

    # --- everything else -----------------------------------------------------------------------------------------

    def say(self, text: str) -> None:
        """Tell people something that is no result."""
        if not self.quiet:
            self._tell({"level": "info", "message": text}, text)

    def warn(self, text: str) -> None:
        """Tell people what they should look at; nothing failed."""
        if not self.quiet:
            self._tell({"level": "warning", "message": text}, f"warning: {text}")

    def error(self, text: str, cure: str = "") -> None:
        """Tell what is wrong and, on a line of its own, what to do next."""
        self._tell(*_fault(text, cure))

    def shout(self, text: str) -> None:
        """Say something from a signal handler: past Python's buffers, which are not reentrant."""
        self._shout({"level": "warning", "message": text}, text)

    def last_words(self, text: str, cure: str) -> None:
        """Tell from a signal handler what is wrong and what to do next."""
        self._shout(*_fault(text, cure))

    def _shout(self, fields: dict[str, str], text: str) -> None:
        with suppress(OSError):
            os.write(2, f"{self._line(fields, text)}\n".encode(errors="backslashreplace"))

    def show(self, text: str) -> None:
        """Show a text of several lines, such as the help."""
        self._tell({"level": "error", "message": text}, text)

    def crash(self, text: str) -> None:
        """Show a traceback, without the queries of addresses, because they may be signed."""
        clean = re.sub(r"(https?://[^\s?'\"]*)\?[^\s'\"]*", r"\1?…", text)
        self._tell({"level": "critical", "message": clean}, clean.rstrip("\n"))

    def _tell(self, fields: dict[str, str], text: str) -> None:
        if sys.stderr is not None:
            try:
                print(self._line(fields, text), file=sys.stderr, flush=True)  # noqa: T201  this is where it is printed
            except OSError:
                _silence(2)

    def _line(self, fields: dict[str, str], text: str) -> str:
        line = json.dumps(fields) if self.json_log else text
        return prefixed(line, fields["level"]) if self.journal else line


def _fault(text: str, cure: str) -> tuple[dict[str, str], str]:
    """Return an error as the fields of a JSON object, and as the lines for people."""
    lines = [f"error: {text}"] + ([f"  next: {cure}"] if cure else [])
    return {"level": "error", "message": text, "next": cure}, "\n".join(lines)


class _JsonLines(logging.Formatter):
    """One JSON object a line, with the fields of the journal's readers."""

    def format(self, record: logging.LogRecord) -> str:
        fields = {"level": record.levelname.lower(), "message": record.getMessage()}
        return json.dumps({**fields, "logger": record.name})


def _silence(number: int) -> None:
    """Let a broken stream lead nowhere: what is still buffered would make the interpreter complain at its end."""
    with suppress(OSError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), number)


def forgive(stream: TextIO | None) -> None:
    """Let a stream write what its encoding lacks as an escape: names come from the service, LANG may be C."""
    if stream is not None and hasattr(stream, "reconfigure"):
        stream.reconfigure(errors="backslashreplace")


def is_terminal(stream: TextIO | None) -> bool:
    """Say whether a person looks at the stream."""
    return stream is not None and stream.isatty()


def command(*words: str, console: Console | None = None) -> str:
    """Return a command that works as printed: started as this one was, with the same `--config`."""
    # A printed command that does not run is worse than none: whoever runs us by `python -m`, or by a path that is
    # not on $PATH, gets it back that way.
    name = Path(sys.argv[0]).name
    if name == "__main__.py":
        program = [sys.executable, "-m", "ninepic_mirror"]
    else:
        program = [name if shutil.which(name) else sys.argv[0]]
    if console is not None and console.config is not None:
        program += ["--config", str(console.config)]
    return shlex.join([*program, *words])
