"""What docs/operations.md says is so, as far as it can be seen without running it; tests/system/test_booted.py runs it."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import click

from ninepic_mirror.cli.program import program
from ninepic_mirror.config import load

TOP = Path(__file__).parents[2]
TEXT = (TOP / "docs/operations.md").read_text()
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL)


def test_every_file_is_there() -> None:
    """What is installed from systemd/ is there, and all of it is installed."""
    named = set(
        re.findall(r"systemd/(ninepic-mirror[\w.@-]*\w)", TEXT.replace("/systemd/system/", ""))
    )
    assert named == {path.name for path in (TOP / "systemd").iterdir()}


def test_every_command_is_there() -> None:
    """What a console block calls is a command of ours."""
    known = program.list_commands(click.Context(program))
    lines = [line for kind, block in BLOCKS if kind == "console" for line in block.splitlines()]
    named = {name for line in lines for name in re.findall(r" ninepic-mirror ([a-z]+)\b", line)}
    assert {"check", "status", "sync"} <= named <= {*known}


def test_every_drop_in_changes_what_the_unit_says() -> None:
    """A drop-in sets only what the unit sets, or what takes part of it back."""
    unit = (TOP / "systemd/ninepic-mirror.service").read_text()
    for kind, block in BLOCKS:
        for name in re.findall(r"^([A-Z]\w+)=", block, re.MULTILINE) if kind == "ini" else ():
            assert f"\n{name}=" in unit, name


def test_every_setting_is_read(tmp_path: Path) -> None:
    """The blocks of configuration load."""
    for number, (kind, block) in enumerate(BLOCKS):
        if kind == "toml":
            file = tmp_path / f"{number}.toml"
            mirror = tomllib.loads(block).get("mirror")
            root = "" if "root" in (mirror or {}) else 'root = "/srv/ninepic"\n'
            root = f"[mirror]\n{root}" if mirror is None else root
            file.write_text(f"[api]\norg_id = 903\n{block}{root}")
            assert load(file, {}).source == file


def test_figures_are_the_units() -> None:
    """Where the text names a figure of the unit, it is that one."""
    unit = (TOP / "systemd/ninepic-mirror.service").read_text()
    for setting, said in {
        "TimeoutStopSec=30s": "still there after 30 s (`TimeoutStopSec=`)",
        "WatchdogSec=2min": "stands still for 2 minutes (`WatchdogSec=`)",
        "RestartSec=30s": "started again after 30 s",
        "RestartPreventExitStatus=2": "but for exit code 2",
        "StartLimitBurst=5": "Five times within ten minutes",
        "StartLimitIntervalSec=10min": "Five times within ten minutes",
        "MemoryMax=512M": "more than 512 MB of memory",
        "TasksMax=256": "and 256 tasks",
    }.items():
        assert f"\n{setting}\n" in unit
        assert said in TEXT
