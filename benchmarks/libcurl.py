"""Fetch a list of addresses with libcurl from Python (pycurl): the alternative to a fast lane of our own.

    python -m benchmarks.libcurl CA_FILE FOLDER CONNECTIONS [--http2] [--sink SINK] [--hashes] < "URL PATH" lines

One thread drives all transfers over handles that are used again. It does the least that a program around libcurl can
do: libcurl compares the length and refuses a bad status; no listing, no look at what came, no rename, no record, no
sync. Sinks:

    file    each piece, 16 KiB at the most, as libcurl hands them over, into the hashes and to the file
    whole   pieces are kept until the body is whole, then it is hashed and written at once
    thread  as `whole`, by a thread that takes what has come together
"""

from __future__ import annotations

import argparse
import hashlib
import sys
from functools import partial
from pathlib import Path
from queue import SimpleQueue
from threading import Thread
from typing import TYPE_CHECKING, Final

import pycurl  # type: ignore[import-untyped]  # `make bench` installs it, for this peer alone
import xxhash

if TYPE_CHECKING:
    from collections.abc import Callable

_BUFFER: Final = 512 * 1024  # bytes that libcurl may read at once: its most

Body = tuple[Path, list[bytes]]


class Transfer:
    """A handle, used again and again, and where the body of its request goes.

    Args:
        curl: The handle.
        hashes: Whether to make them.
        keep: Takes what is whole; None: each piece goes to the file as it comes.
    """

    def __init__(
        self, curl: pycurl.Curl, *, hashes: bool, keep: Callable[[Body], None] | None
    ) -> None:
        self.curl, self._hashes, self._keep = curl, hashes, keep

    def begin(self, url: str, path: Path) -> None:
        """Prepare a request."""
        self.curl.setopt(pycurl.URL, url)
        if self._keep is not None:
            self._path, self._pieces = path, list[bytes]()
            self.curl.setopt(pycurl.WRITEFUNCTION, self._gather)
            return
        self._file = path.open("wb", buffering=0)
        if self._hashes:
            self._sha, self._xxh = hashlib.sha256(), xxhash.xxh3_128()
            self.curl.setopt(pycurl.WRITEFUNCTION, self._hash)
        else:
            self.curl.setopt(pycurl.WRITEDATA, self._file)

    def _gather(self, piece: bytes) -> None:
        self._pieces.append(piece)

    def _hash(self, piece: bytes) -> None:
        self._sha.update(piece)
        self._xxh.update(piece)
        self._file.write(piece)

    def end(self) -> None:
        """The body is whole."""
        if self._keep is not None:
            self._keep((self._path, self._pieces))
            return
        self._file.close()
        if self._hashes:
            self._sha.hexdigest(), self._xxh.hexdigest()


def keep(one: Body, *, hashes: bool) -> None:
    """Hash and write a body."""
    path, pieces = one
    body = b"".join(pieces)
    if hashes:
        hashlib.sha256(body).hexdigest(), xxhash.xxh3_128_hexdigest(body)
    with path.open("wb", buffering=0) as file:
        file.write(body)


def keep_all(queue: SimpleQueue[Body | None], *, hashes: bool) -> None:
    """Keep what comes, until None."""
    while (one := queue.get()) is not None:
        keep(one, hashes=hashes)


def fetch_all(
    authority: str,
    pairs: list[tuple[str, Path]],
    connections: int,
    store: Callable[[Body], None] | None,
    *,
    http2: bool = False,
    hashes: bool = False,
) -> None:
    """Fetch each address.

    Args:
        authority: A file with certificates.
        pairs: Addresses, and where each goes.
        connections: And transfers at the same time.
        store: Takes a body that is whole; None: each goes to its path as it comes.
        http2: Rather than HTTP/1.1.
        hashes: Make them as bodies come.
    """
    multi = pycurl.CurlMulti()
    version = pycurl.CURL_HTTP_VERSION_2TLS if http2 else pycurl.CURL_HTTP_VERSION_1_1
    transfers: dict[pycurl.Curl, Transfer] = {}
    for _ in range(connections):
        curl = pycurl.Curl()
        curl.setopt(pycurl.CAINFO, authority)
        curl.setopt(pycurl.HTTP_VERSION, version)
        curl.setopt(pycurl.PIPEWAIT, http2)  # share the connection that is being made
        curl.setopt(pycurl.BUFFERSIZE, _BUFFER)
        curl.setopt(pycurl.FAILONERROR, True)  # noqa: FBT003  its way
        transfers[curl] = Transfer(curl, hashes=hashes, keep=store)
    idle = list(transfers.values())
    waiting = list(reversed(pairs))

    def refill() -> bool:
        """End what has ended, begin what may begin; say whether there is any under way."""
        _, done, failed = multi.info_read(len(transfers))
        for curl, _, why in failed:
            raise SystemExit(f"{curl.getinfo(pycurl.EFFECTIVE_URL)}: {why}")
        for curl in done:
            transfers[curl].end()
            multi.remove_handle(curl)
            idle.append(transfers[curl])
        while idle and waiting:
            transfer = idle.pop()
            transfer.begin(*waiting.pop())
            multi.add_handle(transfer.curl)
        return len(idle) < len(transfers)

    while refill():
        multi.select(1.0)
        multi.perform()


def main() -> None:
    """Fetch."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("authority")
    parser.add_argument("folder", type=Path)
    parser.add_argument("connections", type=int)
    parser.add_argument("--http2", action="store_true")
    parser.add_argument("--hashes", action="store_true")
    parser.add_argument("--sink", choices=("file", "whole", "thread"), default="whole")
    options = parser.parse_args()
    lines = (line.split() for line in sys.stdin)
    pairs = [(url, options.folder / path) for url, path in lines]
    for folder in {path.parent for _, path in pairs}:
        folder.mkdir(parents=True, exist_ok=True)
    fetch = partial(fetch_all, options.authority, pairs, options.connections, http2=options.http2)
    if options.sink == "file":
        fetch(None, hashes=options.hashes)
    elif options.sink == "whole":
        fetch(partial(keep, hashes=options.hashes))
    else:
        queue = SimpleQueue[Body | None]()
        writer = Thread(target=keep_all, args=(queue,), kwargs={"hashes": options.hashes})
        writer.start()
        fetch(queue.put)
        queue.put(None)
        writer.join()


if __name__ == "__main__":
    main()
