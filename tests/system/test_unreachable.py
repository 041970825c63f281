"""Last by its name: it waits for what the first test of the folder started."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import subprocess


def test_unreachable_host(unreachable: subprocess.Popen[str]) -> None:
    """A host that refuses connections is given up after 120 s: 5, with one line, a cure and the JSON object."""
    out, err = unreachable.communicate(timeout=150)
    assert unreachable.returncode == 5
    assert json.loads(out)["exit_code"] == 5
    assert json.loads(out)["events"][0]["whole"] is False
    assert "no good answer from http://127.0.0.1:9; trying on" in err
    assert "Traceback" not in err
    lines = [line for line in err.splitlines() if "trying on" not in line]
    assert [line[:7] for line in lines] == ["error: ", "  next:"]
    assert "http://127.0.0.1:9" in lines[0]
