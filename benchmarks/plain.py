"""Fetch a list of addresses with httpx as it comes: what one would write first, with the hashes and the checks left out.

python -m benchmarks.plain CA_FILE FOLDER CONNECTIONS < "URL PATH" lines
"""

from __future__ import annotations

import ssl
import sys
from pathlib import Path

import httpx
import trio


async def fetch_all(authority: str, folder: Path, connections: int, lines: list[str]) -> None:
    """Fetch each address to its path."""
    context = ssl.create_default_context(cafile=authority)
    limits = httpx.Limits(max_connections=connections, max_keepalive_connections=connections)
    waiting = list(reversed(lines))

    async with httpx.AsyncClient(verify=context, limits=limits, timeout=60) as client:

        async def work() -> None:
            while waiting:
                url, path = waiting.pop().split()
                async with client.stream("GET", url) as response:
                    response.raise_for_status()
                    with (folder / path).open("wb") as file:
                        async for chunk in response.aiter_bytes():
                            file.write(chunk)

        async with trio.open_nursery() as nursery:
            for _ in range(connections):
                nursery.start_soon(work)


def main() -> None:
    """Fetch."""
    authority, folder, connections = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
    lines = sys.stdin.read().splitlines()
    for path in {(folder / line.split()[1]).parent for line in lines}:
        path.mkdir(parents=True, exist_ok=True)
    trio.run(fetch_all, authority, folder, connections, lines)


if __name__ == "__main__":
    main()
