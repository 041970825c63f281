"""Compare `deliver` with `cp -r` followed by `sha256sum`, over the same files, side by side.

    python -m benchmarks.deliver --to DIR [--photos 2000] [--size 400k] [--size 10M] [--dir DIR] [--rounds 3] [--processor]

For each size a mirror of one event is made, of photos of that size with thumbnails, whose rows are true. A photo has the
head of a JPEG with what a camera writes, and random bytes. DIR is on another file system, so that nothing can be shared.
Before each run the kernel is asked to drop the files from its memory; once more with the files in memory. `cp` and
`sha256sum` are one process each, as one types them; the copy is what is hashed. Both ways end with the bytes on the disk
(`sync -f`), as a delivery does by itself. The first delivery of an event also reads and keeps what cameras wrote, and is
told apart. A zip is measured, too. On a machine that others use `--processor` tells more than the clock.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import os
import random
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING

import xxhash
from PIL import Image

from ninepic_mirror.archive.manifest import Manifest
from ninepic_mirror.archive.root import MARKER, OWN_FOLDER

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

HOUR = 1_768_780_800  # 2026-01-19T00:00:00Z
TOTAL = 800 << 20  # bytes of one mirror, as far as so many photos are allowed
THUMBNAIL = 15 << 10
UNITS = {"k": 1 << 10, "M": 1 << 20}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--photos", type=int, default=5_000, help="the most of one size")
    parser.add_argument("--size", action="append", help="of a photo, about")
    parser.add_argument("--dir", default=None, help="where the mirrors are made")
    parser.add_argument("--to", required=True, help="where packages go: another file system")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument(
        "--processor",
        action="store_true",
        help="count processor time, as on a machine that others use",
    )
    options = parser.parse_args()
    now = spent if options.processor else time.monotonic
    of_what = " of processor time" if options.processor else ""
    print(f"{os.cpu_count()} cores; the best of {options.rounds} rounds, MB/s{of_what}\n")
    print(
        "| photos | memory | cp + sha256sum | the first time | of it | again | of it | zip | of it |"
    )
    print("|---|---|---|---|---|---|---|---|---|")
    for text in options.size or ["15k", "400k", "10M"]:
        size = int(text[:-1]) * UNITS[text[-1]]
        count = min(options.photos, TOTAL // (size + THUMBNAIL))
        with (
            tempfile.TemporaryDirectory(dir=options.dir) as folder,
            tempfile.TemporaryDirectory(dir=options.to) as to,
        ):
            root, target = Path(folder), Path(to)
            paths = make(root, count, size)
            size_of_all = sum(path.stat().st_size for path in paths)
            for state in ("cold", "warm"):
                usual, *ours = [
                    max(size_of_all / timed(paths, state, way) for _ in range(options.rounds)) / 1e6
                    for way in (
                        partial(copy, root, target, now),
                        partial(deliver, root, target, "folder", now, first=True),
                        partial(deliver, root, target, "folder", now),
                        partial(deliver, root, target, "zip", now),
                    )
                ]
                told = " | ".join(f"{rate:.0f} | {rate / usual:.0%}" for rate in ours)
                print(f"| {count:,} of {text} | {state} | {usual:.0f} | {told} |", flush=True)


def spent() -> float:
    """Return the processor time of all commands that have ended."""
    found = resource.getrusage(resource.RUSAGE_CHILDREN)
    return found.ru_utime + found.ru_stime


def timed(paths: Sequence[Path], state: str, way: Callable[[], float]) -> float:
    """Return how long a way takes, in seconds."""
    prepare(paths, state)
    return way()


def prepare(paths: Sequence[Path], state: str) -> None:
    """Drop files from the kernel's memory, or read them into it."""
    for path in paths:
        with path.open("rb") as file:
            if state == "cold":
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
            else:
                file.read()


def copy(root: Path, target: Path, now: Callable[[], float]) -> float:
    """Copy the photos and hash the copies."""
    (event,) = root.glob("456-*")
    place = target / "copy"
    began = now()
    subprocess.run(["cp", "-r", event / "2026-01-19", place], check=True)
    names = subprocess.run(
        ["find", place, "-type", "f", "-print0"], capture_output=True, check=True
    ).stdout
    subprocess.run(["xargs", "-0", "sha256sum"], input=names, capture_output=True, check=True)
    subprocess.run(["sync", "-f", place], check=True)
    seconds = now() - began
    shutil.rmtree(place)
    return seconds


def deliver(
    root: Path, target: Path, form: str, now: Callable[[], float], *, first: bool = False
) -> float:
    """Deliver the photos."""
    if first:
        (event,) = root.glob("456-*")
        with (
            Manifest.open(event / OWN_FOLDER / "manifest.sqlite3") as manifest,
            manifest.transaction(),
        ):
            for table in ("cameras", "delivered", "deliveries"):
                manifest.change(f"DELETE FROM {table}")
    place = target / ("package.zip" if form == "zip" else "package")
    words = ["deliver", "456", str(place), "--root", str(root), "--format", form, "--json"]
    began = now()
    done = subprocess.run(
        [sys.executable, "-m", "ninepic_mirror", *words], capture_output=True, check=True
    )
    seconds = now() - began
    assert json.loads(done.stdout)["exit_code"] == 0
    if place.is_dir():
        shutil.rmtree(place)
    else:
        place.unlink()
    return seconds


@cache
def head() -> bytes:
    """Return a tiny JPEG with EXIF of a usual length."""
    exif, place = Image.Exif(), io.BytesIO()
    exif.update({0x010F: "Maker", 0x0110: "Model", 0x0112: 1, 0x013B: "Asha Patil"})
    exif.get_ifd(0x8769).update({0x9003: "2026:01:19 06:12:13", 0xA431: "0123456"})
    exif.get_ifd(0x8769).update({tag: f"value {tag}" for tag in range(0xFD00, 0xFD20)})
    Image.new("RGB", (16, 16)).save(place, "JPEG", exif=exif)
    return place.getvalue()


def make(root: Path, count: int, size: int) -> list[Path]:
    """Make a mirror; return its files."""
    (root / MARKER).write_text("{}")
    folder = root / "456-benchmark"
    (folder / OWN_FOLDER).mkdir(parents=True)
    chance, paths = random.Random(count), []
    photos, files = [], []
    for number in range(count):
        hour = number * 24 // count
        name = f"{chance.getrandbits(128):032x}"
        taken = HOUR + hour * 3600
        photos.append((name, taken, taken))
        for variant, about in (("thumbnail", THUMBNAIL), ("large", size)):
            place = folder / f"2026-01-19/{hour:02}/{variant}"
            place.mkdir(parents=True, exist_ok=True)
            data = chance.randbytes(chance.randrange(about // 2, about + about // 2))
            data = (head() if variant == "large" else b"\xff\xd8\xff\xd9") + data
            path = place / f"{name}.jpg"
            path.write_bytes(data)
            paths.append(path)
            relative = path.relative_to(folder).as_posix()
            digest, xxh3 = hashlib.sha256(data).hexdigest(), xxhash.xxh3_128_hexdigest(data)
            files.append(
                (name, variant, relative, relative.rpartition("/")[0], len(data), xxh3, digest)
            )
    os.sync()
    with (
        Manifest.open(folder / OWN_FOLDER / "manifest.sqlite3") as manifest,
        manifest.transaction(),
    ):
        manifest.set_meta(
            {"name": "Benchmark", "layout": "{date}/{hour}/{variant}/{image_id}{ext}"}
        )
        manifest.set_meta({"timezone": "UTC", "wanted": ["thumbnail", "large"]})
        manifest.change_each(
            "INSERT INTO photos (image_id, hour, taken, first_seen, last_seen, reading, window_reading)"
            " VALUES (?, ?, ?, 0, 0, 1, 1)",
            photos,
        )
        manifest.change_each(
            "INSERT INTO files (image_id, variant, path, folder, size, xxh3_128, sha256, state)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, 'present')",
            files,
        )
        manifest.change(
            "INSERT INTO passes (started_at, ended_at, kind, whole, report) VALUES (1, 1, 'full', 1, '{}')"
        )
    return sorted(paths)


if __name__ == "__main__":
    main()
