"""The log as the journal wants it, and what passes say into it.

Under systemd standard error is a socket of the journal's; a line may begin with `<N>`, its priority (sd-daemon(3)), so
that `journalctl -p warning` finds what needs a person. `$JOURNAL_STREAM` names the socket's device and inode
(systemd.exec(5)): the variable alone says nothing, because a child whose output goes elsewhere inherits it.
"""

from __future__ import annotations

import json
import logging
import os
from typing import TYPE_CHECKING, Final

from ninepic_mirror.ninepic.redaction import unsigned
from ninepic_mirror.progress import plain

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import TracebackType

    _ExcInfo = (
        tuple[type[BaseException], BaseException, TracebackType | None] | tuple[None, None, None]
    )

_LOG: Final = logging.getLogger(__name__)
_OURS: Final = "ninepic_mirror"
# From syslog(3). The journal's own messages use "notice" for what is remarkable; nothing of ours is only that.
PRIORITIES: Final = {"critical": 2, "error": 3, "warning": 4, "info": 6, "debug": 7}


def is_journal(environ: Mapping[str, str] | None = None, descriptor: int = 2) -> bool:
    """Say whether a descriptor leads to the journal."""
    names = (os.environ if environ is None else environ).get("JOURNAL_STREAM", "")
    try:
        status = os.fstat(descriptor)
    except OSError:
        return False  # standard error is closed
    return names == f"{status.st_dev}:{status.st_ino}"


def prefixed(text: str, level: str) -> str:
    """Return text with its priority before each line.

    Args:
        text: One or more lines.
        level: A level's name in lower case; an unknown one counts as "info".
    """
    mark = f"<{PRIORITIES.get(level, PRIORITIES['info'])}>"
    # Each line is a message of its own to the journal. What looks like a priority inside one is not taken for it,
    # because only the first is.
    return "\n".join(mark + line for line in text.split("\n"))


def install(*, json_log: bool, environ: Mapping[str, str] | None = None) -> bool:
    """Make the log that `Console.settle` set up fit for a service; return whether it goes to the journal.

    Our loggers tell what happened (INFO) where they would only warn: a service that says nothing for weeks cannot be
    told from one that hangs. `-q` and `-v` are left as they are.

    Args:
        json_log: One JSON object a line, with `level`, `priority`, `logger`, `message` and, of a pass, `event_id`.
        environ: Instead of the process's own.
    """
    journal = is_journal(environ)
    formatter: logging.Formatter = JsonLines() if json_log else TextLines()
    for handler in logging.getLogger().handlers:
        handler.setFormatter(Prioritised(formatter) if journal else formatter)
    ours = logging.getLogger(_OURS)
    if ours.level == logging.WARNING:
        ours.setLevel(logging.INFO)
    return journal


class TextLines(logging.Formatter):
    """The message alone: the journal has the rest. A traceback follows it, without the queries of addresses."""

    def formatException(self, ei: _ExcInfo) -> str:  # noqa: N802  its name in logging
        """See `logging.Formatter`."""
        return unsigned(super().formatException(ei))


class Prioritised(logging.Formatter):
    """Adds the priority to what another formatter makes of a record, tracebacks included."""

    def __init__(self, inner: logging.Formatter) -> None:
        super().__init__()
        self._inner = inner

    def format(self, record: logging.LogRecord) -> str:
        """See `logging.Formatter`."""
        return prefixed(self._inner.format(record), _level(record))


class JsonLines(TextLines):
    """One JSON object a line: what the command line's has, and what a service's readers filter by."""

    def format(self, record: logging.LogRecord) -> str:
        """See `logging.Formatter`."""
        level = _level(record)
        fields: dict[str, object] = {
            "level": level,
            "priority": PRIORITIES[level],
            "logger": record.name,
            "message": record.getMessage(),
        }
        # What `extra` added to the record.
        for name in ("event_id", "event"):
            value: object = getattr(record, name, None)
            if value is not None:
                fields[name] = value
        if record.exc_info:
            fields["traceback"] = self.formatException(record.exc_info)
        return json.dumps(fields)


def _level(record: logging.LogRecord) -> str:
    """Return the name of the highest level that a record reaches."""
    for name in ("critical", "error", "warning", "info"):
        if record.levelno >= getattr(logging, name.upper()):
            return name
    return "debug"


class LogProgress:
    """The progress of one pass of the daemon: its notes are logged with the event, the rest is counted silently.

    Passes run side by side, so each has its own; totals are the board's, and the daemon says how a pass ended.

    Args:
        event_id: The event.
        name: As known before the pass; `start` brings a newer one.

    Attributes:
        expected: Files that the pass is going to fetch.
        fetched: Files that it put in place.
        size: Their bytes.
        lost: Files that it gave up.
        signs: Calls so far: while it grows, the pass gets on.
    """

    def __init__(self, event_id: int, name: str | None = None) -> None:
        self._event_id, self._name = event_id, name
        self.expected = self.fetched = self.size = self.lost = self.signs = 0

    def start(self, event_name: str) -> None:
        """See `Progress`."""
        self._name = event_name
        self.expected = self.fetched = self.size = self.lost = 0
        self.signs += 1

    def expect(self, files: int) -> None:
        """See `Progress`."""
        self.expected += files
        self.signs += 1

    def done(self, files: int, size: int) -> None:
        """See `Progress`."""
        self.fetched += files
        self.size += size
        self.signs += 1

    def coming(self, size: int) -> None:
        """See `Progress`."""
        self.size += size
        self.signs += 1

    def failed(self, files: int) -> None:
        """See `Progress`."""
        self.lost += files
        self.signs += 1

    def note(self, text: str) -> None:
        """See `Progress`."""
        self.signs += 1
        name = plain(self._name) if self._name else None
        where = f"event {self._event_id}" + (f" ({name})" if name else "")
        _LOG.info("%s: %s", where, plain(text), extra={"event_id": self._event_id, "event": name})

    def finish(self) -> None:
        """See `Progress`."""
        self.signs += 1
