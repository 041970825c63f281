"""A whole mirror of one event as the commands see it, and the service that it is of."""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypedDict

from tests.oracle import rows
from tests.system.conftest import Outcome

if TYPE_CHECKING:
    from pathlib import Path

    from tests.oracle import Row
    from tests.system.conftest import Commands, Service


class Damaged(TypedDict):
    """One damaged file of `verify --json`."""

    path: str
    image_id: str | None
    variant: str | None
    fault: str
    repaired: bool


class Entry(TypedDict):
    """One event of `verify --json`."""

    event_id: int
    checked: int
    bytes: int
    files: int
    damaged: list[Damaged]
    older: bool
    unfinished: bool
    unknown: int
    unwanted: dict[str, int]
    adopted: int
    rebuilt: bool
    fetched: int
    moved: int
    failures: list[dict[str, str]]
    unreadable: list[dict[str, str]]
    unrecorded: int
    notes: list[dict[str, str]]
    error: str | None


def entry(done: Outcome) -> Entry:
    """Return the only event of the document."""
    (found,) = json.loads(done.out)["events"]
    result: Entry = found
    return result


def faults(done: Outcome) -> dict[str, str]:
    """Return what is wrong with which path."""
    return {one["path"]: one["fault"] for one in entry(done)["damaged"]}


def photo_requests(service: Service) -> int:
    """Return how often the photo origin was asked."""
    photos = service.requests()["photos"]
    assert isinstance(photos, int)
    return photos


def typed(commands: Commands, service: Service, told: str) -> Outcome:
    """Run the one command that a text names as whoever copies it into a shell does, and says what it leaves open."""
    (line,) = re.findall(rf"{re.escape(sys.executable)} -m ninepic_mirror [^;\n]*", told)
    line = line.replace("--org NUMBER", "--org 903")
    line += "" if "--base-url" in line else f" --base-url {service.api_url}"
    done = subprocess.run(
        ["sh", "-c", line], cwd=commands.folder, env=commands.environ, capture_output=True, text=True, check=False,
    )  # fmt: skip
    return Outcome(done.returncode, done.stdout, done.stderr)


@dataclass
class Mirror:
    """A whole mirror of one event, and the service that it is of."""

    commands: Commands
    service: Service
    folder: Path

    def verify(self, *options: object) -> Outcome:
        """Run `verify` with `--json`, without a key or a service."""
        return self.commands.run("verify", "--root", "m", "--json", *options)

    def repair(self, *options: object) -> Outcome:
        """Run it with `--repair`."""
        return self.commands.run(
            "verify", *self.service.flags, "--root", "m", "--json", "--repair", *options
        )

    def rows(self) -> list[Row]:
        """Return what ought to be there, by path."""
        return sorted(rows(self.folder), key=lambda row: row.path)

    def hashes(self) -> dict[str, str]:
        """Return the hash of every file that ought to be there."""
        return {
            row.path: hashlib.sha256((self.folder / row.path).read_bytes()).hexdigest()
            for row in self.rows()
        }


def mirrored(commands: Commands, service: Service, *options: object) -> Mirror:
    """Mirror event 456 below `m` and return it."""
    done = commands.run("sync", 456, *service.flags, "--root", "m", "--json", *options)
    assert done.code == 0, done.out + done.err
    return Mirror(commands, service, next((commands.folder / "m").glob("456-*")))
