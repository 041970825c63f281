"""Closed streams, full disks under them, and folders that may not be looked into: no traceback, the right code."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.system.conftest import PROGRAM, Outcome

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.system.conftest import Commands, Serve, Service

full_only = pytest.mark.skipif(
    not Path("/dev/full").exists(), reason="only Linux has such a device"
)


def shell(commands: Commands, *words: object, streams: str = "") -> Outcome:
    """Run a command in a shell that redirects or closes its streams."""
    done = subprocess.run(
        f"{commands.shell(*words)} {streams}",
        shell=True, cwd=commands.folder, env=commands.environ, capture_output=True, text=True, check=False,
        stdin=subprocess.DEVNULL, timeout=60,
    )  # fmt: skip
    return Outcome(done.returncode, done.stdout, done.stderr)


@pytest.mark.parametrize("streams", [">&-", "2>&-", "<&- >&- 2>&-"])
def test_closed_streams(commands: Commands, service: Service, streams: str) -> None:
    """With closed streams a pass is made all the same, and nothing that was said is found in its files."""
    words = ("-vv", "sync", 456, *service.flags, "--root", "m")
    done = shell(commands, *words, streams=streams)
    assert (done.code, "Traceback" in done.err) == (0, False)
    assert commands.run("status", "--root", "m").code == 0
    lacking = shell(commands, "status", "--root", "nowhere", "--json", streams=streams)
    assert (lacking.code, "Traceback" in lacking.err) == (6, False)
    assert shell(commands, "--help", streams=streams).code == 0


@full_only
@pytest.mark.parametrize("words", [["--help"], ["--version"], ["sync", "--help"]])
def test_help_on_a_full_disk(commands: Commands, words: list[str]) -> None:
    """Help that could not be written down is an error like any other result: 6, without a traceback."""
    done = shell(commands, *words, streams=">/dev/full")
    assert (done.code, done.says_one_line_and_cure()) == (6, True)


def test_help_without_a_reader(commands: Commands) -> None:
    """A reader of the help who goes away is no error."""
    reading, writing = os.pipe()
    os.close(reading)
    process = commands.start("--version", stdout=writing)
    os.close(writing)
    _, err = process.communicate(timeout=20)
    assert (process.returncode, err) == (0, "")


@full_only
@pytest.mark.parametrize(
    ("words", "code"), [((), 2), (("frobnicate",), 2), (("-vv", "status", "--root", "nowhere"), 6)]
)
def test_messages_on_a_full_disk(commands: Commands, words: tuple[str, ...], code: int) -> None:
    """What could not be said on standard error changes no exit code."""
    assert shell(commands, *words, streams="2>/dev/full").code == code


def test_ctrl_c_before_anything(
    commands: Commands, wait: Callable[[Callable[[], object]], None], tmp_path: Path
) -> None:
    """Ctrl-C while the program is still being imported ends it with 130 and no traceback."""
    # A heavy import that takes for ever stands for the first milliseconds, so that the moment is certain.
    (tmp_path / "slow").mkdir()
    (tmp_path / "slow" / "click.py").write_text(
        f"from pathlib import Path\nPath({str(tmp_path / 'begun')!r}).touch()\nimport signal\nwhile True: signal.pause()\n"
    )
    commands.environ["PYTHONPATH"] = (
        f"{tmp_path / 'slow'}{os.pathsep}{commands.environ['PYTHONPATH']}"
    )
    process = commands.start("--help")
    wait((tmp_path / "begun").exists)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=10)
    assert (process.returncode, err) == (130, "")


def test_ctrl_c_with_json_lines(
    commands: Commands, service: Service, wait: Callable[[Callable[[], object]], None]
) -> None:
    """With --log-format json what Ctrl-C says is JSON too."""
    service.fault(kind="stall", origin="api", at="before")
    process = commands.start("--log-format", "json", "sync", 456, *service.flags, "--root", "m")
    wait(lambda: service.requests()["api"])
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=10)
    lines = [json.loads(line) for line in err.splitlines()]
    assert (process.returncode, lines[0]["level"]) == (130, "warning")
    assert "stopping" in lines[0]["message"]


# --- folders that are closed to us ---------------------------------------------------------------------------------


@pytest.fixture
def closed() -> Iterator[Callable[[Path], Path]]:
    """Return what closes a folder to everybody, until the test ends."""
    folders: list[Path] = []

    def close(folder: Path) -> Path:
        folder.chmod(0)
        folders.append(folder)
        return folder

    yield close
    for folder in folders:
        folder.chmod(0o755)


def plainly(commands: Commands, *words: object) -> Outcome:
    """Run a command without root's power to look into every folder."""
    drop = ["setpriv", "--bounding-set", "-dac_override,-dac_read_search"]
    if os.geteuid() == 0 and shutil.which("setpriv") is None:
        pytest.skip("root may look everywhere, and there is no setpriv here")
    prefix = drop if os.geteuid() == 0 else []
    done = subprocess.run(
        [*prefix, *PROGRAM, *map(str, words)],
        cwd=commands.folder, env=commands.environ, capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    return Outcome(done.returncode, done.stdout, done.stderr)


@pytest.mark.skipif(sys.platform != "linux", reason="setpriv is Linux's")
@pytest.mark.parametrize("where", ["root", "parent"])
def test_closed_root(
    commands: Commands,
    service: Service,
    tmp_path: Path,
    closed: Callable[[Path], Path],
    where: str,
) -> None:
    """A root, or a folder above it, that is closed to us ends every command with 6 and a cure."""
    root = tmp_path / "above" / "m"
    root.mkdir(parents=True)
    closed(root if where == "root" else root.parent)
    flags = [*service.flags, "--root", root]
    for words in (
        ("status", "--root", root),
        ("status", 456, "--root", root),
        ("manifest", 456, "--root", root),
        ("sync", 456, *flags),
        ("sync", 456, *flags, "--dry-run"),
        ("init", "mine.toml", *flags),
    ):
        done = plainly(commands, *words)
        assert (words, done.code, done.says_one_line_and_cure()) == (words, 6, True)
    checked = plainly(commands, "check", *flags)
    assert (checked.code, "FAIL  mirror root" in checked.out, checked.err.count("Traceback")) == (
        6,
        True,
        0,
    )
    shown = plainly(commands, "events", *flags)
    assert (shown.code, "456  2026" in shown.out, "Traceback" in shown.err) == (6, True, False)
    assert ("cannot be read: " in shown.out, "not mirrored" in shown.out) == (True, False)


@pytest.mark.skipif(sys.platform != "linux", reason="setpriv is Linux's")
@pytest.mark.parametrize("below", ["", ".ninepic-mirror"])
def test_closed_event_folder(
    commands: Commands, serve: Serve, tmp_path: Path, closed: Callable[[Path], Path], below: str
) -> None:
    """An event folder that is closed to us is said to be, 6; the other events are shown and mirrored."""
    service = serve("--photos", 3, "--events", 2)
    flags = [*service.flags, "--root", "m"]
    commands.run("sync", 456, 457, *flags)
    (folder,) = (tmp_path / "m").glob("456-*")
    closed(folder / below)
    verified = plainly(commands, "verify", "--root", "m", "--json")
    assert (verified.code, verified.says_one_line_and_cure()) == (6, True)
    events = {one["event_id"]: one for one in json.loads(verified.out)["events"]}
    assert [events[number]["error"] is None for number in (456, 457)] == [False, True]
    assert (events[457]["checked"], events[457]["damaged"]) == (6, [])
    shown = plainly(commands, "status", "--root", "m")
    assert (shown.code, shown.says_one_line_and_cure()) == (6, True)
    assert "(event 457): whole" in shown.out
    listed = plainly(commands, "events", *flags)
    assert (listed.code, listed.says_one_line_and_cure()) == (6, True)
    assert "cannot be read: " in next(line for line in listed.out.splitlines() if " 456  " in line)
    assert "mirrored, 3 photos" in next(
        line for line in listed.out.splitlines() if " 457  " in line
    )
    mirror = plainly(commands, "events", *flags, "--json").document["events"][0]["mirror"]
    assert mirror is not None
    assert (mirror["whole"], "permission denied" in str(mirror["error"])) == (False, True)
    synced = plainly(commands, "sync", 456, 457, *flags, "--json")
    assert (synced.code, synced.says_one_line_and_cure()) == (6, True)
    assert [entry["whole"] for entry in synced.document["events"]] == [False, True]


@pytest.mark.skipif(sys.platform != "linux", reason="setpriv is Linux's")
@pytest.mark.parametrize("below", ["day", "hour", "SHA256SUMS", "listed"])
def test_a_closed_folder_of_photos(
    commands: Commands, service: Service, tmp_path: Path, closed: Callable[[Path], Path], below: str
) -> None:
    """It is named, 6, as one closed file is; what is found in the other folders is shown, strays too."""
    flags = [*service.flags, "--root", "m"]
    assert commands.run("sync", 456, *flags).code == 0
    (folder,) = (tmp_path / "m").glob("456-*")
    first, *_, last = sorted(folder.glob("20*/*/large"))
    damaged = next(last.iterdir())
    damaged.write_bytes(b"nothing like it")
    (last / "stray.txt").touch()
    day = first.parent.parent
    assert day != last.parent.parent
    if below == "listed":  # names can be told, and nothing else
        (first / "another.txt").touch()
        shut = closed(first)
        first.chmod(0o444)
    else:
        where = {"day": day, "hour": first.parent, "SHA256SUMS": day / "SHA256SUMS"}
        shut = closed(where[below])

    done = plainly(commands, "verify", "--root", "m", "--json")

    assert (done.code, done.says_one_line_and_cure()) == (6, True)
    found = json.loads(done.out)["events"][0]
    assert found["error"] is None
    assert str(shut) in [str(tmp_path / one["path"]) for one in found["unreadable"]]
    faults = {(one["path"], one["fault"]) for one in found["damaged"]}
    assert faults >= {
        (str(damaged.relative_to(folder)), "size"),
        (str((last / "stray.txt").relative_to(folder)), "stray"),
    }
    assert found["checked"] + len(found["unreadable"]) == found["files"] + 1
    told = plainly(commands, "verify", "--root", "m")
    assert told.code == 6
    assert "1 place could not be looked into:" in told.out
    assert "DAMAGED: 1 file:" in told.out
    assert "NOT verified" not in told.out
