"""What was played when, on which sources, and what came of it: a file that is only ever appended to."""

from __future__ import annotations

import hashlib
import os
from contextlib import suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator
    from pathlib import Path


class Played(msgspec.Struct, frozen=True):
    """One round.

    Args:
        name: Of the experiment.
        seed: Of the round.
        sources: Stands for what was tortured (`fingerprint`).
        at: When it ended, UTC, ISO 8601.
        seconds: How long it took.
        counts: What it counted.
        fault: The promise that was broken, None when none was.
    """

    name: str
    seed: int
    sources: str
    at: str
    seconds: float
    counts: dict[str, int]
    fault: str | None = None


def now() -> str:
    """Return the time as `Played.at` has it."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def fingerprint(package: Path, without: Collection[str] = ()) -> str:
    """Return what stands for the sources of a package: twelve digits of a hash over its modules.

    Args:
        package: Its folder.
        without: Modules that do not count, by their dotted names.
    """
    found = hashlib.sha256()
    for path in sorted(package.rglob("*.py")):
        inside = path.relative_to(package)
        module = ".".join((package.name, *inside.with_suffix("").parts)).removesuffix(".__init__")
        if module not in without:
            found.update(f"{inside}\0".encode() + path.read_bytes() + b"\0")
    return found.hexdigest()[:12]


class Ledger:
    """The rounds that were played.

    Args:
        path: A file of one JSON object a line; made when the first round is written.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def read(self) -> Iterator[Played]:
        """Yield the rounds, oldest first; a line that a kill cut short is left out."""
        if not self._path.exists():
            return
        with self._path.open("rb") as file:
            for line in file:
                with suppress(msgspec.DecodeError):
                    yield msgspec.json.decode(line, type=Played)

    def write(self, played: Played) -> None:
        """Append a round; it is on disk afterwards."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with self._path.open("a+b") as file:
            if file.tell() and os.pread(file.fileno(), 1, file.tell() - 1) != b"\n":
                file.write(b"\n")
            file.write(msgspec.json.encode(played) + b"\n")
            file.flush()
            os.fsync(file.fileno())
