"""What systemd is told, as sd_notify(3) describes it: lines in a datagram to the socket that `NOTIFY_SOCKET` names.

No library: it is one datagram. Nothing here raises or waits: a service manager that does not listen is no reason for a
mirror to stop. Without a socket (a terminal, another supervisor, macOS) every call does nothing.
"""

from __future__ import annotations

import logging
import math
import os
import socket
import time
from typing import TYPE_CHECKING, Final

import trio

from ninepic_mirror.service.pulse import Pulse

if TYPE_CHECKING:
    from collections.abc import Callable, MutableMapping

    from ninepic_mirror.service.pulse import Sample

_LOG: Final = logging.getLogger(__name__)
_VARIABLES: Final = ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID")
_LONGEST: Final = (
    400  # characters of a status; in UTF-8 far below the 4096 bytes that systemd reads of a message
)
_OWED: Final = 16  # messages kept for a manager that is too busy to take them
_BEATS: Final = 3  # in each interval of the watchdog: one may be late, one lost


class Notifier:
    """Tells the service manager how the service is. Use one at a time, from one thread.

    Args:
        address: A path, or `@` and the name of an abstract socket; None or empty: there is no manager.
        watchdog_seconds: How often it wants to hear that we are alive; None: it does not.
    """

    def __init__(self, address: str | None = None, watchdog_seconds: float | None = None) -> None:
        self._address = _socket_address(address or "")
        self._socket: socket.socket | None = None
        self._status: str | None = None
        self._owed: list[str] = []
        self.watchdog_seconds = watchdog_seconds

    @classmethod
    def from_environ(cls, environ: MutableMapping[str, str]) -> Notifier:
        """Return what the service manager asked for.

        Args:
            environ: Its variables are taken out, so that no child process speaks for us.
        """
        address, interval, process = (environ.pop(name, "") for name in _VARIABLES)
        ours = not process or process == str(os.getpid())
        seconds = int(interval) / 1e6 if ours and interval.isascii() and interval.isdigit() else 0.0
        return cls(address, seconds or None)

    @property
    def listens(self) -> bool:
        """Whether there is a service manager to tell."""
        return self._address is not None

    def ready(self, status: str = "") -> None:
        """Say that the service has started, or has read its configuration again."""
        self._tell(["READY=1", *self._news(status)])

    def status(self, text: str) -> None:
        """Say in one line what the service does now; nothing is sent when that has not changed."""
        self._tell(self._news(text))

    def reloading(self) -> None:
        """Say that the configuration is being read again; `ready` ends it.

        The time is for `Type=notify-reload` (systemd 253), which uses it to tell this reload from an earlier one; the
        unit is of `Type=notify`, which older versions know, too, and which does without.
        """
        self._tell(["RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}"])

    def stopping(self, status: str = "") -> None:
        """Say that the service is on its way out."""
        self._tell(["STOPPING=1", *self._news(status)])

    def watchdog(self) -> None:
        """Say that the service is alive."""
        self._tell(["WATCHDOG=1"])

    def extend(self, seconds: float) -> None:
        """Ask for more time, from now on, for the start, reload or stop under way."""
        self._tell([f"EXTEND_TIMEOUT_USEC={math.ceil(seconds * 1e6)}"])

    def close(self) -> None:
        """Give the socket back. Idempotent; another call opens it again."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _news(self, text: str) -> list[str]:
        line = one_line(text)
        if not line or line == self._status:
            return []
        self._status = line
        return [f"STATUS={line}"]

    def _tell(self, lines: list[str]) -> None:
        if self._address is None or not lines:
            return
        # A message for each: a READY=1 that overtakes a RELOADING=1 would undo it.
        self._owed = [*self._owed, "\n".join(lines)][-_OWED:]
        while self._owed:
            try:
                self._send(self._owed[0], self._address)
            except (BlockingIOError, InterruptedError):
                return  # it is busy; the rest goes with the next message, in order
            except OSError as error:
                _LOG.debug("the service manager does not listen: %s", error)
            del self._owed[0]

    def _send(self, message: str, address: str) -> None:
        if self._socket is None:
            kind = socket.SOCK_DGRAM | getattr(socket, "SOCK_CLOEXEC", 0)
            self._socket = socket.socket(socket.AF_UNIX, kind)
            self._socket.setblocking(False)  # noqa: FBT003  the method's name says what is false
        # By address, not connected: the manager may have made its socket anew meanwhile.
        self._socket.sendto(message.encode("utf-8", "replace"), address)


def _socket_address(name: str) -> str | None:
    """Return the address as the system takes it; None for none, or one of a kind that we do not speak (vsock)."""
    if name.startswith("@") and len(name) > 1:
        return f"\0{name[1:]}"
    return name if name.startswith("/") else None


def one_line(text: str) -> str:
    """Return a text as one line of what can be printed, cut where it is too long."""
    # Names come from outside: no control characters, no reversed writing, no second line for the protocol.
    clean = " ".join("".join(sign if sign.isprintable() else " " for sign in text).split())
    return clean if len(clean) <= _LONGEST else f"{clean[: _LONGEST - 1]}…"


async def beat(
    notifier: Notifier, sample: Callable[[], Sample], pulse: Pulse | None = None
) -> None:
    """Keep the watchdog quiet for as long as the daemon gets somewhere; runs until cancelled.

    Returns at once where no watchdog waits. When it stops telling, systemd aborts the process and starts it anew: the
    event loop hangs (this task does not run either), or a pass does.

    Args:
        notifier: The manager.
        sample: Returns what the daemon is at; called in each third of the watchdog's interval.
        pulse: The judge; None: one with the usual patience.
    """
    if notifier.watchdog_seconds is None or not notifier.listens:
        return
    judge, told = pulse or Pulse(), False
    while True:
        if stuck := judge.stuck(sample()):
            if not told:
                names = ", ".join(map(str, stuck))
                _LOG.error("no sign of life from the pass over %s: the watchdog is to restart the service", names)  # fmt: skip
            told = True
        else:
            notifier.watchdog()
            told = False
        await trio.sleep(notifier.watchdog_seconds / _BEATS)
