"""A disk that goes away under the manifest's index, which SQLite maps into memory: the kernel answers by SIGBUS.

A page beyond the end of its file stands in for one that the disk does not give: to the process it is the same signal
(mmap(2)). A real disk is cut off in `tests/torture/power.py`.
"""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.system.conftest import Commands, Serve


def index_of(folder: Path) -> Path | None:
    """Return the index of the manifest's log of the one event, once photos are there; None before."""
    if not any(folder.glob("456-*/*/*/*/*.jpg")):
        return None
    return next(folder.glob("456-*/.ninepic-mirror/manifest.sqlite3-shm"), None)


@pytest.mark.parametrize("is_json", [False, True])
def test_it_is_told(
    commands: Commands,
    serve: Serve,
    wait: Callable[[Callable[[], object]], None],
    *,
    is_json: bool,
) -> None:
    """It ends with 6, names the manifest and what to do, and the next run goes on and makes it whole."""
    flags = (*serve("--photos", 60).flags, "--root", commands.folder / "m")
    form = ("--json",) if is_json else ()
    way = ("--log-format", "json") if is_json else ()
    process = commands.start(*way, "sync", 456, *flags, "--bandwidth", "400kB/s", *form)
    wait(lambda: index_of(commands.folder / "m"))
    index = index_of(commands.folder / "m")
    assert index is not None
    os.truncate(index, 0)
    out, err = process.communicate(timeout=30)
    assert process.returncode == 6
    manifest = str(index).removesuffix("-shm")
    if is_json:
        document = json.loads(out)
        assert document["exit_code"] == 6
        assert not any(entry["whole"] for entry in document["events"])
        (told,) = map(json.loads, err.splitlines())
        assert told["message"] == f"{manifest}: its disk went away (SIGBUS)"
        assert "kernel log" in told["next"]
    else:
        assert "whole" not in out
        fault, cure = err.splitlines()[-2:]
        assert fault == f"error: {manifest}: its disk went away (SIGBUS)"
        assert cure.startswith("  next: look at the kernel log")
    assert commands.run("sync", 456, *flags).code == 0
    assert commands.run("verify", 456, "--root", commands.folder / "m").code == 0
