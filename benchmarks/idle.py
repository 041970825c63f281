"""Measure what the daemon costs while nothing changes: processor, memory and requests, over many events.

    python -m benchmarks.idle [--events 200] [--seconds 60]

A sandbox in a process of its own, and the whole command. First with intervals so long that nothing is due: what the
daemon costs by itself. Then with one event looked at every 30 s, the usual shortest interval, as a live one is. Then
with every event looked at every 20 s: what a look costs.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

KEY = "benchmark-key"
TICKS = os.sysconf("SC_CLK_TCK")
PROGRAM = [sys.executable, "-m", "ninepic_mirror"]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=60)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, sandbox(options.events) as served:
        base = Path(folder)
        numbers = [event["event_id"] for event in served["events"]]
        print(f"{len(numbers)} events, {options.seconds:.0f} s each; the first start mirrors them")
        for name, settings, ids in (
            ("at rest", 'min_interval = "6h"', numbers),
            ("one event every 30 s", 'min_interval = "30s"\nmax_interval = "30s"', numbers[:1]),
            ("every event every 20 s", 'min_interval = "20s"\nmax_interval = "20s"', numbers),
        ):
            (base / "c.toml").write_text(
                f'[api]\norg_id = 903\nbase_url = "{served["api_url"]}"\n[mirror]\nroot = "m"\n'
                f'min_free = "0"\nvariants = ["thumbnail"]\n[events]\nids = {ids}\n[daemon]\n{settings}\n'
            )
            with daemon(base, len(ids)) as process:
                before, asked = processor(process.pid), requests(served["api_url"])
                time.sleep(options.seconds)
                used = processor(process.pid) - before
                count = requests(served["api_url"]) - asked
                print(
                    f"{name:24} {100 * used / options.seconds:6.2f} % of a core, "
                    f"{resident(process.pid):4.0f} MB, {count} requests"
                )


@contextmanager
def sandbox(events: int) -> Iterator[dict[str, object]]:
    """Run a sandbox for the length of the block."""
    words = ["sandbox", "--photos", "5", "--events", str(events), "--look", "cheap", "--key", KEY]
    with subprocess.Popen([*PROGRAM, *words, "--json"], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        yield json.loads(process.stdout.readline())
        process.terminate()


@contextmanager
def daemon(base: Path, events: int) -> Iterator[subprocess.Popen[bytes]]:
    """Run the daemon for the length of the block, which begins once all events were looked at."""
    environ = {**os.environ, "NINEPIC_API_KEY": KEY}
    with (
        (base / "log").open("w") as log,
        subprocess.Popen(
            [*PROGRAM, "--config", "c.toml", "daemon"], cwd=base, env=environ, stderr=log
        ) as process,
    ):
        while len(list((base / "m").glob("*/event.json"))) < events:
            time.sleep(0.5)
        time.sleep(10)
        yield process
        process.send_signal(signal.SIGTERM)


def processor(pid: int) -> float:
    """Return the processor seconds that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def resident(pid: int) -> float:
    """Return a process's resident memory in MB."""
    status = Path(f"/proc/{pid}/status").read_text()
    (line,) = (line for line in status.splitlines() if line.startswith("VmRSS"))
    return int(line.split()[1]) / 1024


def requests(api_url: object) -> int:
    """Return how many API requests the sandbox has seen."""
    request = urllib.request.Request(f"{api_url}/sandbox/requests", headers={"X-API-Key": KEY})
    with urllib.request.urlopen(request) as answer:
        return int(json.load(answer)["api"])


if __name__ == "__main__":
    main()
