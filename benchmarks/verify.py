"""Compare `verify` with sha256sum and xxhsum over the same files, side by side.

    python -m benchmarks.verify [--files 20000] [--size 15k] [--size 400k] [--size 10M] [--dir DIR] [--rounds 3]

For each size a mirror of one event is made, whose rows are true and whose bytes are random. Before each run the kernel
is asked to drop the files from its memory, so that all three read the disk; once more with the files in memory, where
the disk does not matter to the other two: verify drops what it is about to read, because it is the disk that it is to
look at. The three take turns, so that a busy moment of the machine meets all of them; beside the rate stands the processor
that each takes for a file, which a busy machine changes less.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import xxhash

from ninepic_mirror.archive.manifest import Manifest
from ninepic_mirror.archive.root import MARKER, OWN_FOLDER

if TYPE_CHECKING:
    from collections.abc import Sequence

HOUR = 1_768_802_400  # 2026-01-19T06:00:00Z
TOTAL = 600 << 20  # bytes of one mirror, as far as so many files are allowed
UNITS = {"k": 1 << 10, "M": 1 << 20}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=int, default=20_000, help="the most of one size")
    parser.add_argument("--size", action="append", help="of a file, about")
    parser.add_argument("--dir", default=None, help="where the mirrors are made")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    print(
        f"{os.cpu_count()} cores; the best of {options.rounds} rounds: MB/s, µs of the processor a file\n"
    )
    print("| files | memory | verify | sha256sum | of it | xxhsum -H2 | of it |")
    print("|---|---|--:|--:|--:|--:|--:|")
    for text in options.size or ["15k", "400k", "10M"]:
        size = int(text[:-1]) * UNITS[text[-1]]
        count = min(options.files, TOTAL // size)
        with tempfile.TemporaryDirectory(dir=options.dir) as folder:
            root = Path(folder)
            paths = make(root, count, size)
            for state in ("cold", "warm"):
                rounds = [
                    [
                        run(words, root, paths, state)
                        for words in (
                            [sys.executable, "-m", "ninepic_mirror", "verify", "--root", str(root), "--json"],
                            [*xargs("sha256sum")],
                            [*xargs("xxhsum", "-H2")],
                        )
                    ]
                    for _ in range(options.rounds)
                ]  # fmt: skip
                ours, sha, xxh = (
                    (max(one[0] for one in runs), min(one[1] for one in runs) / count * 1e6)
                    for runs in zip(*rounds, strict=True)
                )
                print(
                    f"| {count:,} of {text} | {state} | {ours[0]:.0f}, {ours[1]:.0f} µs"
                    f" | {sha[0]:.0f}, {sha[1]:.0f} µs | {ours[0] / sha[0]:.0%}"
                    f" | {xxh[0]:.0f}, {xxh[1]:.0f} µs | {ours[0] / xxh[0]:.0%} |",
                    flush=True,
                )


def xargs(*words: str) -> Sequence[str]:
    """Return a command that runs another over the files named on its standard input."""
    return ["xargs", "-0", shutil.which(words[0]) or words[0], *words[1:]]


def run(words: Sequence[str], root: Path, paths: Sequence[Path], state: str) -> tuple[float, float]:
    """Run a command over all files; return MB/s, and seconds of the processor."""
    for path in paths:
        with path.open("rb") as file:
            if state == "cold":
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
            else:
                file.read()
    size = sum(path.stat().st_size for path in paths)
    names = b"\0".join(os.fsencode(path) for path in paths)
    began, before = time.monotonic(), spent()
    done = subprocess.run(words, input=names, capture_output=True, check=True, cwd=root)
    seconds = time.monotonic() - began
    if "--json" in words:
        (event,) = json.loads(done.stdout)["events"]
        assert (event["bytes"], event["damaged"]) == (size, [])
    return size / seconds / 1e6, spent() - before


def spent() -> float:
    """Return the seconds of the processor that all commands have taken so far."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def make(root: Path, count: int, size: int) -> list[Path]:
    """Make a mirror; return its files."""
    (root / MARKER).write_text("{}")
    folder = root / "456-benchmark"
    (folder / OWN_FOLDER).mkdir(parents=True)
    chance, paths, rows = random.Random(count), [], []
    for number in range(count):
        hour = number * 24 // count
        place = folder / f"2026-01-19/{hour:02}/large"
        place.mkdir(parents=True, exist_ok=True)
        name = f"{chance.getrandbits(128):032x}"
        data = chance.randbytes(chance.randrange(size // 2, size + size // 2))
        path = place / f"{name}.jpg"
        path.write_bytes(data)
        paths.append(path)
        relative = path.relative_to(folder).as_posix()
        digest, xxh3 = hashlib.sha256(data).hexdigest(), xxhash.xxh3_128_hexdigest(data)
        rows.append((name, relative, relative.rpartition("/")[0], len(data), xxh3, digest, hour))
    os.sync()
    with (
        Manifest.open(folder / OWN_FOLDER / "manifest.sqlite3") as manifest,
        manifest.transaction(),
    ):
        manifest.set_meta(
            {"name": "Benchmark", "layout": "{date}/{hour}/{variant}/{image_id}{ext}"}
        )
        manifest.set_meta({"timezone": "UTC", "wanted": ["large"], "adopted": True})
        start = HOUR - 6 * 3600
        manifest.change_each(
            "INSERT INTO photos (image_id, hour, taken, first_seen, last_seen, reading, window_reading)"
            " VALUES (?, ?, ?, 0, 0, 1, 1)",
            [(row[0], start + row[6] * 3600, start + row[6] * 3600) for row in rows],
        )
        manifest.change_each(
            "INSERT INTO files (image_id, variant, path, folder, size, xxh3_128, sha256, state)"
            " VALUES (?, 'large', ?, ?, ?, ?, ?, 'present')",
            [row[:6] for row in rows],
        )
    return sorted(paths)


if __name__ == "__main__":
    main()
