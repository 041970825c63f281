"""What people see while a pass works."""

from __future__ import annotations

import io
import json
import os
import pty
import re
import subprocess
import sys
import termios
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest

from ninepic_mirror.progress import Bar, Lines, Progress, Silent, choose, format_size, plain

if TYPE_CHECKING:
    from collections.abc import Iterator


class Clock:
    """Seconds that pass when a test says so."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        """Return the time."""
        return self.now


class Terminal(io.StringIO):
    """Text that says it is a terminal."""

    def isatty(self) -> bool:
        """Say so."""
        return True


class Broken(io.StringIO):
    """A stream whose reader has gone."""

    def write(self, _text: str, /) -> int:
        """Fail as a pipe does."""
        raise BrokenPipeError(32, "Broken pipe")

    def flush(self) -> None:
        """Fail as a pipe does."""
        raise BrokenPipeError(32, "Broken pipe")


class Unflushed(io.StringIO):
    """A stream that breaks when its buffer is written out."""

    def flush(self) -> None:
        """Fail as a pipe does."""
        raise BrokenPipeError(32, "Broken pipe")


@pytest.fixture
def clock() -> Clock:
    """Return a clock that stands still."""
    return Clock()


def work(progress: Progress) -> None:
    """Call everything once, as a pass does."""
    progress.start("Marathon")
    progress.expect(3)
    progress.coming(500_000)
    progress.done(2, 1_500_000)
    progress.failed(1)
    progress.note("a note")
    progress.finish()
    progress.finish()


def screen(text: str) -> list[str]:
    """Return the lines that a terminal shows after this text: a carriage return starts the line again."""
    rows = []
    for row in text.split("\n"):
        shown = ""
        for part in row.split("\r"):
            shown = part + shown[len(part) :]
        rows.append(shown.rstrip())
    return rows


# --- lines ----------------------------------------------------------------------------------------------------


def test_a_line_every_ten_seconds(clock: Clock) -> None:
    """A report is printed by the first call that comes 10 s after the last, and by no other."""
    stream = io.StringIO()
    lines = Lines(stream, clock=clock)
    lines.start("Marathon")
    lines.expect(2000)
    for _ in range(25):
        clock.now += 1
        lines.done(40, 1_000_000)
    assert stream.getvalue().splitlines() == [
        "Marathon: 400 of 2,000 files, 10.0 MB, 1.00 MB/s, 0:40 left",
        "Marathon: 800 of 2,000 files, 20.0 MB, 1.00 MB/s, 0:30 left",
    ]


def test_bytes_of_a_large_file_show_as_they_come(clock: Clock) -> None:
    """A file that takes minutes is seen to come; what came in vain is taken back, nothing is counted twice."""
    stream, terminal = io.StringIO(), Terminal()
    lines, bar = Lines(stream, clock=clock), Bar(terminal, clock=clock)
    for progress in (lines, bar):
        progress.coming(1)  # before a start: nothing
        progress.start("Marathon")
        progress.expect(2)
        progress.coming(30_000_000)
    clock.now += 10
    for progress in (lines, bar):
        progress.coming(20_000_000)
    clock.now += 10
    for progress in (lines, bar):
        progress.coming(-10_000_000)
        progress.done(1, 5_000_000)
        progress.finish()
    assert stream.getvalue().splitlines() == [
        "Marathon: 0 of 2 files, 50.0 MB, 5.00 MB/s",
        "Marathon: 0 of 2 files, 40.0 MB, 2.00 MB/s",
        "Marathon: 1 of 2 files, 45.0 MB, 2.25 MB/s, 0:20 left",
    ]
    assert "45.0 MB, 2.25 MB/s" in terminal.getvalue()


def test_the_last_line_is_not_stale(clock: Clock) -> None:
    """A log that showed a pass on its way shows its end too."""
    stream = io.StringIO()
    lines = Lines(stream, clock=clock)
    lines.start("Marathon")
    lines.expect(2000)
    clock.now += 10
    lines.done(1000, 0)
    clock.now += 5
    lines.done(900, 0)
    lines.failed(100)
    lines.finish()
    lines.finish()
    assert stream.getvalue().splitlines() == [
        "Marathon: 1,000 of 2,000 files, 0 B, 0 B/s, 0:10 left",
        "Marathon: 1,900 of 2,000 files, 0 B, 0 B/s, 100 failed",
    ]


def test_a_last_line_is_not_said_twice(clock: Clock) -> None:
    """Nothing is printed at the end when nothing happened since the last line."""
    stream = io.StringIO()
    lines = Lines(stream, clock=clock)
    lines.start("Marathon")
    clock.now += 10
    lines.expect(1)
    lines.finish()
    assert stream.getvalue() == "Marathon: 0 of 1 files, 0 B, 0 B/s\n"


def test_a_short_pass_prints_no_report(clock: Clock) -> None:
    """An unchanged event costs no line in a log; notes are printed at once."""
    stream = io.StringIO()
    work(Lines(stream, clock=clock))
    assert stream.getvalue() == "a note\n"


def test_a_second_event_starts_from_nothing(clock: Clock) -> None:
    """The numbers of one event do not show under another's name, nor does the time before it."""
    stream = io.StringIO()
    lines = Lines(stream, clock=clock)
    lines.start("One")
    lines.expect(5)
    clock.now += 3600
    lines.start("Two")
    lines.expect(7)
    clock.now += 10
    lines.done(1, 10)
    assert stream.getvalue() == "Two: 1 of 7 files, 10 B, 1 B/s, 1:00 left\n"


def test_calls_outside_an_event_are_ignored(clock: Clock) -> None:
    """What comes before a start or after the end is neither counted nor an error."""
    stream = io.StringIO()
    lines = Lines(stream, clock=clock)
    clock.now += 60
    lines.expect(1)
    lines.done(1, 1)
    lines.failed(1)
    lines.finish()
    assert stream.getvalue() == ""


def test_json_lines_are_objects(clock: Clock) -> None:
    """Under a JSON log each line is one object, with the numbers as numbers."""
    stream = io.StringIO()
    lines = choose(quiet=False, stream=stream, json=True, clock=clock)
    lines.start("Zoë\n")
    lines.expect(4000)
    clock.now += 10.04
    lines.failed(1)
    lines.note('a "note"')
    first, second = (json.loads(line) for line in stream.getvalue().splitlines())
    assert first == {
        "message": "Zoë\\u000a: 0 of 4,000 files, 0 B, 0 B/s, 1 failed",
        "event": "Zoë\\u000a",
        "files": 0,
        "expected": 4000,
        "failed": 1,
        "bytes": 0,
        "seconds": 10.0,
    }
    assert second == {"message": 'a "note"'}


def test_long_times_show_hours(clock: Clock) -> None:
    """The time left is readable for a night's work."""
    stream = io.StringIO()
    lines = Lines(stream, clock=clock)
    lines.start("Marathon")
    lines.expect(1000)
    clock.now += 10
    lines.done(1, 0)
    assert stream.getvalue().endswith(", 2:46:30 left\n")


# --- the bar --------------------------------------------------------------------------------------------------


def test_a_bar_shows_files_bytes_rate_and_failures(clock: Clock) -> None:
    """The finished bar stays on the screen with all its numbers (DESIGN §3)."""
    stream = Terminal()
    bar = Bar(stream, clock=clock)
    bar.start("Marathon")
    bar.expect(2000)
    bar.expect(1000)
    clock.now += 10
    bar.done(2999, 1_500_000_000)
    bar.failed(1)
    bar.finish()
    (line,) = [line for line in screen(stream.getvalue()) if line]
    assert line.startswith("Marathon: 100%|")
    assert "| 3000/3000, 1.50 GB, 150 MB/s, 1 failed" in line


def test_more_than_expected_is_still_a_whole_bar(clock: Clock) -> None:
    """Files that nobody announced count, and the bar does not fall back to no total."""
    stream = Terminal()
    bar = Bar(stream, clock=clock)
    bar.start("Marathon")
    bar.expect(1)
    bar.done(3, 0)
    bar.finish()
    assert "100%" in screen(stream.getvalue())[0]
    assert "| 3/3, 0 B, 0 B/s, " in screen(stream.getvalue())[0]


def test_a_note_stands_above_the_bar(clock: Clock) -> None:
    """A note is a whole line of its own; the bar goes on below it."""
    stream = Terminal()
    bar = Bar(stream, clock=clock)
    bar.start("Marathon")
    bar.expect(2)
    bar.note("photo 7 is missing")
    bar.finish()
    note, line, *rest = screen(stream.getvalue())
    assert note == "photo 7 is missing"
    assert line.startswith("Marathon:   0%|")
    assert rest == [""]


def test_each_event_has_a_bar(clock: Clock) -> None:
    """A second start leaves the first event's bar as it is."""
    stream = Terminal()
    bar = Bar(stream, clock=clock)
    for name in ("One", "Two"):
        bar.start(name)
        bar.expect(1)
        bar.done(1, 1)
    bar.finish()
    lines = [line for line in screen(stream.getvalue()) if line]
    assert [line[:9] for line in lines] == ["One: 100%", "Two: 100%"]


def test_a_bar_without_an_event_only_notes(clock: Clock) -> None:
    """Before a start there is no bar, but a note is shown."""
    stream = Terminal()
    bar = Bar(stream, clock=clock)
    bar.expect(1)
    bar.done(1, 1)
    bar.note("hello")
    bar.finish()
    assert stream.getvalue() == "hello\n"


def test_a_bar_starts_no_thread() -> None:
    """The watching thread of tqdm is not started; a process of its own has no other test's."""
    code = "import io, sys, threading; from ninepic_mirror.progress import Bar"
    code += "; Bar(io.StringIO()).start('x'); sys.exit(threading.active_count())"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 1


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """Return the near end of a real terminal, 60 columns wide, on which a pass has reported."""
    monkeypatch.setenv("TERM", "xterm")
    near, far = pty.openpty()
    termios.tcsetwinsize(far, (24, 60))
    with os.fdopen(far, "w", encoding="utf-8") as stream:
        bar = choose(quiet=False, stream=stream)
        assert isinstance(bar, Bar)
        work(bar)
    yield near
    os.close(near)


def test_a_bar_fits_a_real_terminal(terminal: int) -> None:
    """The bar is as wide as the terminal and no wider, so that it stays on its line."""
    told = b""
    with suppress(OSError):  # EIO: all is read, and nobody has the far end any more
        while some := os.read(terminal, 100_000):
            told += some
    rows = screen(told.decode())
    assert rows[0] == "a note"
    assert max(len(row) for row in rows) <= 60
    assert any(row.startswith("Marathon: 100%|") for row in rows)


# --- which one ------------------------------------------------------------------------------------------------


def test_the_right_kind_is_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    """Quiet is silent, a terminal has a bar, all else lines; JSON and dumb terminals have lines."""
    monkeypatch.setenv("TERM", "xterm")
    assert isinstance(choose(quiet=True, stream=Terminal()), Silent)
    assert isinstance(choose(quiet=False, stream=Terminal()), Bar)
    assert isinstance(choose(quiet=False, stream=io.StringIO()), Lines)
    assert isinstance(choose(quiet=False, stream=Terminal(), json=True), Lines)
    monkeypatch.setenv("TERM", "dumb")
    assert isinstance(choose(quiet=False, stream=Terminal()), Lines)


def test_silence_prints_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    """Under -q nothing is printed, notes included."""
    work(choose(quiet=True, stream=sys.stderr))
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("kind", [Bar, Lines])
@pytest.mark.parametrize("stream", [Broken(), Unflushed()])
def test_a_broken_stream_does_not_break_the_pass(
    kind: type[Bar | Lines], stream: io.StringIO, clock: Clock
) -> None:
    """When nobody reads any more, the work goes on in silence."""
    progress = kind(stream, clock=clock)
    work(progress)
    clock.now += 60
    work(progress)


def test_a_closed_stream_does_not_break_the_pass(clock: Clock) -> None:
    """The same for a stream that was closed under us."""
    stream = io.StringIO()
    lines = Lines(stream, clock=clock)
    stream.close()
    work(lines)


def test_a_stream_that_cannot_spell_is_spared() -> None:
    """Under LANG=C a name that ASCII does not know is escaped and raises nothing."""
    raw = io.BytesIO()
    lines = Lines(io.TextIOWrapper(raw, "ascii", write_through=True))
    lines.note("Zoë 東京")
    assert raw.getvalue() == b"Zo\\xeb \\u6771\\u4eac\n"


def test_names_cannot_steer_the_terminal() -> None:
    """Control characters and writing directions of the service are shown, not obeyed."""
    assert plain("a\x1b[2J\r\n\u202eb\ud800 é") == "a\\u001b[2J\\u000d\\u000a\\u202eb\\ud800 é"
    stream = io.StringIO()
    Lines(stream).note("a\rb")
    assert stream.getvalue() == "a\\u000db\n"


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 B"), (1, "1 B"), (999, "999 B"), (999.5, "1.00 kB"), (1234, "1.23 kB"), (12_345, "12.3 kB"),
        (123_456, "123 kB"), (999_499, "999 kB"), (999_500, "1.00 MB"), (5e15, "5000 TB"),
    ],
)  # fmt: skip
def test_sizes_have_three_digits(size: float, text: str) -> None:
    """Decimal units, as disks are sold and rates are given."""
    assert format_size(size) == text


def test_tqdm_is_not_imported_before_a_bar_is_drawn() -> None:
    """A command that draws no bar does not pay for tqdm at its start."""
    code = "import sys, ninepic_mirror.progress; sys.exit('tqdm' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_text_of_a_bar_is_one_line() -> None:
    """A long or hostile name is cut and cannot break the bar in two."""
    stream = Terminal()
    bar = Bar(stream)
    bar.start("x\n" * 50)
    bar.finish()
    assert re.match("x\\\\u000ax", screen(stream.getvalue())[0])
    assert len([line for line in screen(stream.getvalue()) if line]) == 1
