"""What a run reports while it works: nothing, a bar, or a line every 10 s (DESIGN §3).

Progress never makes a pass fail: when nobody reads any more, it falls silent. This is tqdm's only
home, and it is imported when the first bar is drawn, because every command pays for what is
imported at its start.
"""

from __future__ import annotations

import json as jsonlib
import os
import threading
import time
from typing import TYPE_CHECKING, Final, Never, Protocol, TextIO

if TYPE_CHECKING:
    from collections.abc import Callable

    from tqdm import tqdm

INTERVAL: Final = 10.0  # seconds between two lines (DESIGN §3)
# tqdm's own rate counts files only; ours, in the postfix, counts bytes too.
_BAR: Final = "{desc}: {percentage:3.0f}%|{bar}| {n_fmt}/{total_fmt}{postfix}, {remaining} left"


class Progress(Protocol):
    """What a pass tells about its work. All calls come from one thread and return at once."""

    def start(self, event_name: str) -> None:
        """Begin with an event; an earlier one is finished."""

    def expect(self, files: int) -> None:
        """Add to the number of files that this pass is going to fetch."""

    def done(self, files: int, size: int) -> None:
        """Count files that are in place, and their bytes, less those that `coming` has counted already."""

    def coming(self, size: int) -> None:
        """Count bytes of a large file that is under way; negative ones take back what came in vain."""

    def failed(self, files: int) -> None:
        """Count files that were given up for this pass."""

    def note(self, text: str) -> None:
        """Show one line to people."""

    def finish(self) -> None:
        """End the event. May be called twice, and without a start."""


class Silent:
    """Reports nothing."""

    def start(self, event_name: str) -> None:
        """See `Progress`."""

    def expect(self, files: int) -> None:
        """See `Progress`."""

    def done(self, files: int, size: int) -> None:
        """See `Progress`."""

    def coming(self, size: int) -> None:
        """See `Progress`."""

    def failed(self, files: int) -> None:
        """See `Progress`."""

    def note(self, text: str) -> None:
        """See `Progress`."""

    def finish(self) -> None:
        """See `Progress`."""


class _Output:
    """A stream that falls silent when it breaks, instead of ending the pass (RELIABILITY L12)."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._broken = False
        self.encoding: Final = stream.encoding  # tqdm looks whether it may draw with Unicode
        self.fileno: Final = stream.fileno  # and how wide the terminal is

    def write(self, text: str) -> int:
        if not self._broken:
            try:
                encoding = self.encoding or "utf-8"
                self._stream.write(text.encode(encoding, "backslashreplace").decode(encoding))
            except (OSError, ValueError):  # a closed pipe; a closed file
                self._broken = True
        return len(text)

    def flush(self) -> None:
        if not self._broken:
            try:
                self._stream.flush()
            except (OSError, ValueError):
                self._broken = True


class _Tally:
    """The numbers of one event."""

    def __init__(self, name: str, now: float) -> None:
        self.name = name
        self.began = now
        self.expected = self.done = self.failed = self.size = 0

    def seconds(self, now: float) -> float:
        return max(now - self.began, 0.001)

    def left(self, now: float) -> float | None:
        """Return the seconds left at the rate so far, None before anything arrived."""
        if not self.done:
            return None
        rest = max(self.expected - self.done - self.failed, 0)
        return rest * self.seconds(now) / self.done


class Lines:
    """A line for a log at most every 10 s, printed when a call comes: no thread, no timer.

    Args:
        stream: Where lines go; it stays open.
        json: Each line is a JSON object with `message`; a report has `event`, `files`, `expected`,
            `failed`, `bytes` and `seconds` too.
        clock: Seconds, from any start.
    """

    def __init__(
        self, stream: TextIO, *, json: bool = False, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._output = _Output(stream)
        self._json = json
        self._clock = clock
        self._tally: _Tally | None = None
        self._last = clock()
        self._stale = False  # a line was printed, and things have happened since

    def start(self, event_name: str) -> None:
        """See `Progress`."""
        self.finish()
        self._last = self._clock()
        self._tally = _Tally(plain(event_name), self._last)

    def expect(self, files: int) -> None:
        """See `Progress`."""
        if self._tally:
            self._tally.expected += files
            self._report()

    def done(self, files: int, size: int) -> None:
        """See `Progress`."""
        if self._tally:
            self._tally.done += files
            self._tally.size += size
            self._report()

    def coming(self, size: int) -> None:
        """See `Progress`."""
        if self._tally:
            self._tally.size += size
            self._report()

    def failed(self, files: int) -> None:
        """See `Progress`."""
        if self._tally:
            self._tally.failed += files
            self._report()

    def note(self, text: str) -> None:
        """See `Progress`."""
        self._print(plain(text), {})

    def finish(self) -> None:
        """See `Progress`. The last report is brought up to date, if there was one."""
        if self._tally and self._stale and self._tally.began < self._last:
            self._report(at_once=True)
        self._tally = None
        self._stale = False

    def _report(self, *, at_once: bool = False) -> None:
        now = self._clock()
        tally = self._tally
        self._stale = True
        if tally is None or (now - self._last < INTERVAL and not at_once):
            return
        self._last = now
        self._stale = False
        text = f"{tally.name}: {tally.done:,} of {tally.expected:,} files{_sizes(tally, now)}"
        left = tally.left(now)
        text += f", {_clock_time(left)} left" if left else ""
        fields: dict[str, object] = {
            "event": tally.name,
            "files": tally.done,
            "expected": tally.expected,
            "failed": tally.failed,
            "bytes": tally.size,
            "seconds": round(tally.seconds(now), 1),
        }
        self._print(text, fields)

    def _print(self, text: str, fields: dict[str, object]) -> None:
        line = jsonlib.dumps({"message": text, **fields}) if self._json else text
        self._output.write(f"{line}\n")
        self._output.flush()


class Bar:
    """A tqdm bar on a terminal: files, bytes, rate, time left, failures.

    Args:
        stream: The terminal; it stays open.
        clock: Seconds, from any start; for the rate only, tqdm has a clock of its own.
    """

    def __init__(self, stream: TextIO, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._output = _Output(stream)
        self._clock = clock
        self._bar: tqdm[Never] | None = None
        self._tally = _Tally("", clock())

    def start(self, event_name: str) -> None:
        """See `Progress`."""
        from tqdm import tqdm  # noqa: PLC0415  60 ms that only a bar is worth

        self.finish()
        # By default tqdm makes a lock for many processes and a watching thread; we are one thread,
        # and tests count.
        tqdm.set_lock(threading.RLock())
        tqdm.monitor_interval = 0
        self._tally = _Tally(plain(event_name), self._clock())
        self._bar = tqdm(
            desc=self._tally.name[:40],
            total=0,
            unit=" files",
            file=self._output,
            dynamic_ncols=True,
            miniters=0,  # with 0, `update(0)` redraws too, at most every `mininterval`
            bar_format=_BAR,
        )

    def expect(self, files: int) -> None:
        """See `Progress`."""
        self._tally.expected += files
        self._advance(0)

    def done(self, files: int, size: int) -> None:
        """See `Progress`."""
        self._tally.done += files
        self._tally.size += size
        self._advance(files)

    def coming(self, size: int) -> None:
        """See `Progress`. The bar moves by files; its bytes and their rate show that a large one lives."""
        self._tally.size += size
        self._advance(0)

    def failed(self, files: int) -> None:
        """See `Progress`."""
        self._tally.failed += files
        self._advance(files)

    def note(self, text: str) -> None:
        """See `Progress`. The bar makes room for the line and is drawn again below it."""
        if self._bar is not None:
            self._bar.clear()
        self._output.write(f"{plain(text)}\n")
        self._output.flush()
        if self._bar is not None:
            self._bar.refresh()

    def finish(self) -> None:
        """See `Progress`. The finished bar stays on the screen."""
        if self._bar is not None:
            self._bar.close()
        self._bar = None

    def _advance(self, files: int) -> None:
        if self._bar is not None:
            # More than was expected is no reason for tqdm to lose its total.
            tally = self._tally
            self._bar.total = max(tally.expected, tally.done + tally.failed)
            self._bar.set_postfix_str(_sizes(self._tally, self._clock())[2:], refresh=False)
            self._bar.update(files)


def choose(
    *, quiet: bool, stream: TextIO, json: bool = False, clock: Callable[[], float] = time.monotonic
) -> Progress:
    """Return nothing for quiet, a bar for a terminal, else lines; for a JSON log always lines."""
    if quiet:
        return Silent()
    # A dumb terminal (Emacs, some consoles) has no carriage return to draw a bar with.
    if stream.isatty() and not json and os.environ.get("TERM") != "dumb":
        return Bar(stream, clock=clock)
    return Lines(stream, json=json, clock=clock)


def plain(text: str) -> str:
    """Return text as one line that cannot steer a terminal: names come from the service."""
    return "".join(
        character if character.isprintable() else f"\\u{ord(character):04x}" for character in text
    )


def _sizes(tally: _Tally, now: float) -> str:
    text = f", {format_size(tally.size)}, {format_size(tally.size / tally.seconds(now))}/s"
    return f"{text}, {tally.failed:,} failed" if tally.failed else text


def format_size(size: float) -> str:
    """Return bytes for people: three digits and a decimal unit, such as `1.23 GB`."""
    units = ["B", "kB", "MB", "GB", "TB"]
    while size >= 999.5 and len(units) > 1:
        size /= 1000
        del units[0]
    digits = 0 if units[0] == "B" else max(0, 3 - len(str(int(size))))
    return f"{size:.{digits}f} {units[0]}"


def _clock_time(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
