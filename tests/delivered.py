"""A mirror from which packages are made, and what must be so of every package."""

from __future__ import annotations

import csv
import hashlib
import json
import os
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict

from tests.oracle import rows

if TYPE_CHECKING:
    from tests.oracle import Row
    from tests.system.conftest import Commands, Outcome, Service


PHOTOS = 40
LITTER = (".DS_Store", "data/._a.jpg", "data/Thumbs.db", "gallery/desktop.ini")


class Package(TypedDict):
    """One package of `deliver --json`."""

    bag_id: str
    destination: str
    predecessors: list[str]
    photos: int
    files: int
    volumes: int
    label: str | None
    form: str


class Entry(TypedDict):
    """The event of `deliver --json`."""

    packages: list[Package]
    missing: list[dict[str, str | None]]
    error: str | None


@dataclass
class Mirror:
    """A mirror of drawn photos, which have EXIF, and where packages go."""

    commands: Commands
    service: Service
    folder: Path

    @property
    def root(self) -> Path:
        """The mirror root."""
        return self.folder.parent

    def deliver(self, *words: object) -> Outcome:
        """Run the command on this mirror."""
        return self.commands.run("deliver", 456, *words, "--root", self.root)

    def entry(self, *words: object) -> Entry:
        """Run it with `--json` to a good end; return what it says of the event."""
        done = self.deliver(*words, "--json")
        assert done.code == 0, done.err
        (found,) = json.loads(done.out)["events"]
        result: Entry = found
        return result

    def rows(self) -> list[Row]:
        """Return the files that ought to be there."""
        return rows(self.folder)

    def place(self, name: str) -> Path:
        """Return a place for a package."""
        return self.commands.folder / name

    def change(self, statement: str, *values: object) -> None:
        """Change the manifest."""
        with closing(sqlite3.connect(self.folder / ".ninepic-mirror/manifest.sqlite3")) as manifest:
            manifest.execute(statement, values)
            manifest.commit()


def check(bag: Path) -> None:
    """Assert that a bag is valid to the Library of Congress's tool, to sha256sum and to its own checker."""
    bagit = subprocess.run(
        [sys.executable, "-W", "ignore", shutil.which("bagit.py", path=Path(sys.executable).parent) or "", "--validate", bag],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert bagit.returncode == 0, bagit.stderr
    for manifest in ("manifest-sha256.txt", "tagmanifest-sha256.txt"):
        subprocess.run(["sha256sum", "--quiet", "--strict", "-c", manifest], cwd=bag, check=True)
    assert verified(bag)[0] == 0
    info = (bag / "bag-info.txt").read_text()
    sizes = [path.stat().st_size for path in (bag / "data").rglob("*") if path.is_file()]
    assert f"Payload-Oxum: {sum(sizes)}.{len(sizes)}\n" in info
    listed = {path for line in table(bag) for path in [line["path"]]}
    assert listed == {
        str(path.relative_to(bag)) for path in (bag / "data").rglob("*") if path.is_file()
    }


def verified(bag: Path) -> tuple[int, str]:
    """Run the package's own checker from elsewhere."""
    done = subprocess.run(
        [sys.executable, "-I", bag / "verify.py"],
        capture_output=True,
        text=True,
        cwd="/",
        check=False,
    )
    assert "Traceback" not in done.stderr
    return done.returncode, done.stdout


def table(bag: Path) -> list[dict[str, str]]:
    """Return `photos.csv`."""
    with (bag / "photos.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def info(bag: Path) -> dict[str, str]:
    """Return `bag-info.txt`."""
    return dict(line.split(": ", 1) for line in (bag / "bag-info.txt").read_text().splitlines())


def nothing_looks_whole(place: Path) -> bool:
    """Whether nothing stands where a package was to stand."""
    return not os.path.lexists(place)


def replace(mirror: Mirror, row: Row, more: int = 1) -> None:
    """Let the mirror have more bytes of a file, as a pass would that found it changed."""
    put(mirror, row, (mirror.folder / row.path).read_bytes() + bytes(more))


def put(mirror: Mirror, row: Row, data: bytes) -> None:
    """Let the mirror have these bytes for a file."""
    (mirror.folder / row.path).write_bytes(data)
    mirror.change(
        "UPDATE files SET sha256 = ?, size = ? WHERE path = ?",
        hashlib.sha256(data).hexdigest(), len(data), row.path,
    )  # fmt: skip


def listed_as_missing(bag: Path) -> set[str]:
    """Return the photos of `missing.csv`, of which the gallery warns, too."""
    assert "note warning" in (bag / "index.html").read_text()
    with (bag / "missing.csv").open(encoding="utf-8", newline="") as file:
        return {line["image_id"] for line in csv.DictReader(file)}
