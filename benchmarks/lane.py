"""Compare the fast lane with the slow lane, with libcurl from Python and with curl, side by side, over https from nginx.

    python -m benchmarks.lane [--runs 3] [--connections 16] [--profile FILE]

nginx serves real files (random bytes of a photo's size) with a certificate of an authority of our own, and is pinned to
one processor, the client to another. The Python clients take whole bodies into memory and let them go; curl writes
them to `/dev/null`. Processor time is the client process's own, with its children's.
"""

from __future__ import annotations

import argparse
import cProfile
import json
import random
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import trio
import trustme

from benchmarks.origin import free_port, pinned, wait_until_open
from ninepic_mirror.config import Api
from ninepic_mirror.ninepic.lanes import open_lanes
from ninepic_mirror.ninepic.pacing import Pacer, photos_pace
from ninepic_mirror.ninepic.photos import open_photos
from ninepic_mirror.ninepic.transport import FastBody

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ninepic_mirror.ninepic.lanes import Lanes
    from ninepic_mirror.ninepic.photos import PhotoClient

CAP = 100_000_000
KINDS = {"thumbs": (4_000, 18_000), "larges": (1_000, 350_000)}
"""Files of each kind, and their size in bytes, as in PERFORMANCE.md."""

LANES = ("fast lane", "pycurl", "httpx", "curl")

NGINX = """
daemon off; worker_processes 1; pid {folder}/pid; error_log {folder}/error.log;
events {{ worker_connections 512; }}
http {{
  access_log off; sendfile on; tcp_nopush on; keepalive_requests 1000000; default_type image/jpeg;
  client_body_temp_path {folder}/t1; proxy_temp_path {folder}/t2; fastcgi_temp_path {folder}/t3;
  uwsgi_temp_path {folder}/t4; scgi_temp_path {folder}/t5;
  server {{ listen 127.0.0.1:{port} ssl; root {folder}/files;
    ssl_certificate {folder}/cert.pem; ssl_certificate_key {folder}/cert.pem; ssl_session_cache shared:a:1m; }}
  server {{ listen 127.0.0.1:{plain}; root {folder}/files; }}
}}
"""


@dataclass(frozen=True)
class Origin:
    """An nginx that runs.

    Args:
        folder: Where its files lie.
        port: Of https on 127.0.0.1.
        plain: Of http.
    """

    folder: Path
    port: int
    plain: int

    def urls(self, kind: str, *, plain: bool = False) -> list[str]:
        """Return the addresses of all files of a kind."""
        base = f"http://127.0.0.1:{self.plain}" if plain else f"https://127.0.0.1:{self.port}"
        return [f"{base}/{kind}/{number}.jpg" for number in range(KINDS[kind][0])]


@contextmanager
def serving() -> Iterator[Origin]:
    """Run nginx over fresh files."""
    folder = Path(tempfile.mkdtemp(prefix="lane-"))
    folder.chmod(0o755)  # nginx's worker is another user
    source = random.Random(1)
    for kind, (count, size) in KINDS.items():
        (folder / "files" / kind).mkdir(parents=True)
        for number in range(count):
            content = source.randbytes(int(size * source.uniform(0.8, 1.2)))
            (folder / "files" / kind / f"{number}.jpg").write_bytes(content)
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(folder / "ca.pem"))
    authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(
        str(folder / "cert.pem")
    )
    origin = Origin(folder, free_port(), free_port())
    config = folder / "nginx.conf"
    config.write_text(NGINX.format(folder=folder, port=origin.port, plain=origin.plain))
    command = ["nginx", "-p", str(folder), "-c", str(config), "-e", str(folder / "error.log")]
    server = subprocess.Popen([*pinned(-1), *command])
    try:
        wait_until_open(origin.port)
        yield origin
    finally:
        server.terminate()
        server.wait()
        shutil.rmtree(folder)


async def fetch_all(client: Lanes | PhotoClient, urls: list[str], connections: int) -> int:
    """Fetch every file with so many workers; return the bytes."""
    waiting = list(reversed(urls))
    total = 0

    async def work() -> None:
        nonlocal total
        room = bytearray(1024 * 1024)  # used again, as a pipeline does
        while waiting:
            async with client.stream(waiting.pop(), cap=CAP) as body:
                if isinstance(body, FastBody):
                    size = len(await body.read(room))
                else:
                    size = sum([len(chunk) async for chunk in body.chunks()])
            total += size  # in a line of its own: `total` must not be read before the wait

    async with trio.open_nursery() as nursery:
        for _ in range(connections):
            nursery.start_soon(work)
    return total


def run_python(lane: str, ca_file: str, urls: list[str], connections: int) -> dict[str, float]:
    """Fetch with one of our lanes in this very process; return what it cost."""

    async def run() -> dict[str, float]:
        api = Api(org_id=1, base_url="https://127.0.0.1", ca_file=Path(ca_file))
        opener = open_lanes if lane == "fast lane" else open_photos
        async with opener(api, Pacer(photos_pace("x")), None, connections) as client:
            before, began = resource.getrusage(resource.RUSAGE_SELF), time.perf_counter()
            received = await fetch_all(client, urls, connections)
            wall = time.perf_counter() - began
            after = resource.getrusage(resource.RUSAGE_SELF)
            assert client.statistics().requests == len(urls)
        cpu = after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime
        return {"wall": wall, "cpu": cpu, "bytes": received}

    return trio.run(run)


def run_libcurl(ca_file: str, urls: list[str], connections: int) -> dict[str, float]:
    """Fetch with libcurl in this very process; return what it cost."""
    from benchmarks.libcurl import Body, fetch_all  # noqa: PLC0415  pycurl is there for `make bench` only

    received = 0

    def drop(body: Body) -> None:
        nonlocal received
        received += len(b"".join(body[1]))  # in one piece, as the fast lane has it

    before, began = resource.getrusage(resource.RUSAGE_SELF), time.perf_counter()
    fetch_all(ca_file, [(url, Path()) for url in urls], connections, drop)
    wall = time.perf_counter() - began
    after = resource.getrusage(resource.RUSAGE_SELF)
    cpu = after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime
    return {"wall": wall, "cpu": cpu, "bytes": received}


def run_in_child(lane: str, ca_file: str, urls: list[str], connections: int) -> dict[str, float]:
    """Fetch in a fresh process, pinned."""
    job = json.dumps([lane, ca_file, urls, connections])
    command = [*pinned(0), sys.executable, "-m", "benchmarks.lane", "--job"]
    done = subprocess.run(command, input=job, stdout=-1, check=True, text=True)
    result: dict[str, float] = json.loads(done.stdout)
    return result


def run_curl(ca_file: str, urls: list[str], connections: int) -> dict[str, float]:
    """Fetch with curl."""
    options = [
        "-s",
        "--no-progress-meter",
        "--http1.1",
        "--parallel",
        "--parallel-max",
        str(connections),
    ]
    listing = "".join(f'url = "{url}"\noutput = "/dev/null"\n' for url in urls)
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    command = [*pinned(0), "curl", *options, "--cacert", ca_file, "-K", "-"]
    subprocess.run(command, input=listing, stderr=subprocess.DEVNULL, check=True, text=True)
    wall = time.perf_counter() - began
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime
    return {"wall": wall, "cpu": cpu}


def measure(origin: Origin, runs: int, connections: int) -> None:
    """Print the table: medians of so many runs, the clients taking turns."""
    ca_file = str(origin.folder / "ca.pem")
    print(f"{'client':12} {'kind':13} {'files/s':>8} {'MB/s':>7} {'CPU µs/file':>12}")
    for name in ("thumbs", "larges", "thumbs plain", "larges plain"):
        kind, _, plain = name.partition(" ")
        urls = origin.urls(kind, plain=bool(plain))
        sizes = sum(path.stat().st_size for path in (origin.folder / "files" / kind).iterdir())
        seen: dict[str, list[dict[str, float]]] = {}
        for _ in range(runs):
            for lane in LANES:
                if lane == "curl":
                    if shutil.which("curl") is None:
                        continue
                    result = run_curl(ca_file, urls, connections)
                else:
                    result = run_in_child(lane, ca_file, urls, connections)
                    assert result["bytes"] == sizes, lane
                seen.setdefault(lane, []).append(result)
        for lane, results in seen.items():
            wall = statistics.median(result["wall"] for result in results)
            cpu = statistics.median(result["cpu"] for result in results)
            row = f"{len(urls) / wall:8.0f} {sizes / wall / 1e6:7.0f} {cpu / len(urls) * 1e6:12.0f}"
            print(f"{lane:12} {name:13} {row}", flush=True)


def main() -> None:
    """Measure, or do the one job that the parent process gave."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--connections", type=int, default=16)
    parser.add_argument("--profile", choices=sorted(KINDS), help="profile the fast lane instead")
    parser.add_argument("--serve", action="store_true", help="only serve, until interrupted")
    parser.add_argument("--job", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.job:
        lane, ca_file, urls, connections = json.load(sys.stdin)
        run = run_libcurl if lane == "pycurl" else partial(run_python, lane)
        print(json.dumps(run(ca_file, urls, connections)))
        return
    with serving() as origin:
        if options.serve:
            print(origin, flush=True)
            sys.stdin.read()
        elif options.profile:
            urls, ca_file = origin.urls(options.profile), str(origin.folder / "ca.pem")
            profile = cProfile.Profile()
            profile.runcall(run_python, "fast lane", ca_file, urls, options.connections)
            profile.print_stats("tottime")
        else:
            measure(origin, options.runs, options.connections)


if __name__ == "__main__":
    main()
