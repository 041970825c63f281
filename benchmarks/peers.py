"""The commands that are compared: ours, and what Debian has.

Every peer gets a list of addresses and a folder. The same work, for the second table, is a shell script: page through
the API with curl, fetch, hash twice, sync.
"""

from __future__ import annotations

import shlex
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from benchmarks.origin import EVENT, HOUR, KEY, ORG, PAGE, START

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from benchmarks.origin import Origin

OURS: Final = "ninepic-mirror"


@dataclass(frozen=True)
class Work:
    """What a command is to do.

    Args:
        origin: Where the photos are.
        kinds: `large`, `small`.
        connections: At the most.
        port: Of the photos, when it is not the origin's own.
        scratch: A folder for lists.
    """

    origin: Origin
    kinds: tuple[str, ...]
    connections: int
    port: int
    scratch: Path

    @property
    def urls(self) -> list[str]:
        """The addresses."""
        return self.origin.urls(self.kinds, self.port)

    @property
    def pairs(self) -> str:
        """The addresses and where each goes, line by line."""
        paths = self.origin.paths(self.kinds)
        return "\n".join(f"{url} {path}" for url, path in zip(self.urls, paths, strict=True))

    def save(self, name: str, lines: Sequence[str]) -> Path:
        """Write a list."""
        path = self.scratch / name
        path.write_text("\n".join(lines) + "\n")
        return path


Command = tuple[list[str], str]  # words, and standard input


def ours(work: Work, folder: Path, durability: str = "batch") -> Command:
    """Mirror the event with our command, as installed beside this Python."""
    variants = ['"large"' if kind == "large" else '"thumbnail"' for kind in work.kinds]
    config = work.save(
        "ours.toml",
        [
            "[api]", f"org_id = {ORG}", f'base_url = "https://127.0.0.1:{work.origin.api}"',
            f'ca_file = "{work.origin.authority}"', "[mirror]", f'root = "{folder}"',
            f"variants = [{', '.join(variants)}]", f"connections = {work.connections}",
            f'durability = "{durability}"', 'min_free = "100MB"',
        ],
    )  # fmt: skip
    program = str(Path(sys.executable).parent / OURS)
    return [program, "-q", "--config", str(config), "sync", str(EVENT)], ""


def uncertain(work: Work, folder: Path) -> Command:
    """As `ours`, without a sync."""
    return ours(work, folder, "none")


def curl(work: Work, folder: Path, version: str = "--http2") -> Command:
    """Fetch with one curl."""
    pairs = zip(work.urls, work.origin.paths(work.kinds), strict=True)
    config = "".join(f'url = "{url}"\noutput = "{folder}/{path}"\n' for url, path in pairs)
    options = ["-sS", "--no-progress-meter", "--parallel", "--parallel-max", str(work.connections)]
    return [
        "curl", *options, version, "--create-dirs", "--cacert", str(work.origin.authority), "-K", "-",
    ], config  # fmt: skip


def wget2(work: Work, folder: Path) -> Command:
    """Fetch with wget2."""
    listing = work.save("urls", work.urls)
    return [
        "wget2", "-q", f"--max-threads={work.connections}", f"--ca-certificate={work.origin.authority}",
        "-x", "-nH", "-nc", "-P", str(folder), "-i", str(listing),
    ], ""  # fmt: skip


def rclone(work: Work, folder: Path) -> Command:
    """Fetch with rclone."""
    listing = work.save("paths", work.origin.paths(work.kinds))
    return [
        "rclone", "copy", ":http:", str(folder), "--http-url", f"https://127.0.0.1:{work.port}",
        "--files-from-raw", str(listing), "--no-traverse", "--transfers", str(work.connections),
        "--checkers", str(work.connections), "--ca-cert", str(work.origin.authority), "--config", "/dev/null",
        "--retries", "1", "-q",
    ], ""  # fmt: skip


def aria2(work: Work, folder: Path) -> Command:
    """Fetch with aria2."""
    pairs = zip(work.urls, work.origin.paths(work.kinds), strict=True)
    listing = work.save("aria2", [f"{url}\n out={path}" for url, path in pairs])
    return [
        "aria2c", "-q", "-j", str(work.connections), "-x", "1", "-c", f"--ca-certificate={work.origin.authority}",
        "-d", str(folder), "-i", str(listing), "--file-allocation=none",
    ], ""  # fmt: skip


def libcurl(work: Work, folder: Path, *options: str, connections: int | None = None) -> Command:
    """Fetch with libcurl from Python, the way `options` say (`benchmarks.libcurl`)."""
    words = [sys.executable, "-m", "benchmarks.libcurl", str(work.origin.authority), str(folder)]
    return [*words, str(connections or work.connections), *options], work.pairs


def httpx(work: Work, folder: Path) -> Command:
    """Fetch with httpx as it comes."""
    authority, connections = str(work.origin.authority), str(work.connections)
    return [
        sys.executable,
        "-m",
        "benchmarks.plain",
        authority,
        str(folder),
        connections,
    ], work.pairs


PEERS: Final[dict[str, Callable[[Work, Path], Command]]] = {
    "curl --parallel": curl,
    "curl --parallel --http1.1": lambda work, folder: curl(work, folder, "--http1.1"),
    "wget2": wget2,
    "rclone": rclone,
    "aria2c": aria2,
}

LIBRARY: Final[dict[str, Callable[[Work, Path], Command]]] = {
    "pycurl": libcurl,
    "pycurl, both hashes": lambda work, folder: libcurl(work, folder, "--hashes"),
}


def same_work(work: Work, folder: Path, peer: Callable[[Work, Path], Command]) -> Command:
    """Return a script that lists, fetches, hashes and syncs, as a person would put it together."""
    base = f"https://127.0.0.1:{work.origin.api}/api/v1/ext/{ORG}/event/{EVENT}"
    header, authority = f"X-API-Key: {KEY}", str(work.origin.authority)
    event = work.origin.event
    pages = [
        f'url = "{base}/timeline/images?from={start}&to={start + HOUR}&page={page}&page_size={PAGE}"'
        for hour in range(event.hours)
        for start in [START + hour * HOUR]
        for page in range(1, -(-len(event.numbers(hour)) // PAGE) + 1)
    ]
    listing = work.save("pages", pages)
    command, text = peer(work, folder)
    given = work.save("stdin", [text]) if text else "/dev/null"
    quoted = shlex.quote(str(folder))
    script = f"""
set -e
curl -sS --cacert {authority} -H '{header}' -K {listing} | grep -o '"image_id": *"[^"]*"' > {folder.parent}/listed
{shlex.join(command)} < {given}
find {quoted} -type f -print0 | xargs -0 xxhsum -H2 -q > {folder.parent}/xxh
find {quoted} -type f -print0 | xargs -0 sha256sum > {folder.parent}/sha
sync
"""
    return ["sh", "-c", script], ""
