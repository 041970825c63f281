"""Compare our command with its peers, side by side, and write `docs/performance.md`.

    python -m benchmarks.run [--photos 4000] [--runs 3] [--only NAME]… [--million] [--write]

Every measurement is a whole process: wall time, processor time with that of its children, peak memory of the largest.
The contenders take turns, each run in a fresh folder on the disk that `--scratch` is on.
"""

from __future__ import annotations

import argparse
import os
import platform
import re
import resource
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

from benchmarks import peers
from benchmarks.origin import KEY, Event, Origin, serving
from benchmarks.peers import LIBRARY, OURS, PEERS, Work

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from benchmarks.peers import Command

    Contender = Callable[[Work, Path], Command]

DOCUMENT: Final = Path(__file__).parent.parent / "docs" / "performance.md"
BOTH: Final = ("large", "small")
CONNECTIONS: Final = 16
DELAY, RATE = 0.02, 62.5e6  # the long line: seconds one way, bytes a second


@dataclass(frozen=True)
class Cost:
    """What one run of a command cost.

    Args:
        wall: Seconds.
        cpu: Seconds of processor.
        user: Those of them in the program; the others in the system, which swing more.
        memory: Bytes.
    """

    wall: float
    cpu: float
    user: float
    memory: int


@dataclass
class Table:
    """What is measured together.

    Args:
        title: A heading.
        about: What is done, for people.
        files: Files in the event, for costs per file.
        size: Their bytes.
        costs: By contender, in the order of the table.
    """

    title: str
    about: str
    files: int
    size: int
    costs: dict[str, list[Cost]] = field(default_factory=dict)

    def median(self, name: str, what: Callable[[Cost], float]) -> float:
        """Return the median of a figure."""
        return statistics.median(map(what, self.costs[name]))

    def lines(self, versus: str = OURS) -> list[str]:
        """Return the table as Markdown."""
        rows = [
            f"### {self.title}", "", self.about, "",
            "| command | wall s | files/s | MB/s | processor µs/file | of it in the program | peak MB | wall, ours ÷ this | processor, ours ÷ this |",
            "|---|--:|--:|--:|--:|--:|--:|--:|--:|",
        ]  # fmt: skip
        wall, cpu = self.median(versus, _wall), self.median(versus, _cpu)
        for name in self.costs:
            here, its = self.median(name, _wall), self.median(name, _cpu)
            walls = sorted(map(_wall, self.costs[name]))
            each = [cost.cpu / self.files * 1e6 for cost in self.costs[name]]
            rows.append(
                f"| {name} | {here:.2f} ({walls[0]:.2f}-{walls[-1]:.2f}) | {self.files / here:,.0f} | {self.size / here / 1e6:,.0f} "
                f"| {its / self.files * 1e6:,.0f} ({min(each):,.0f}-{max(each):,.0f}) "
                f"| {self.median(name, _user) / self.files * 1e6:,.0f} | {self.median(name, _memory) / 1e6:.0f} "
                f"| {wall / here:.2f} | {cpu / its:.2f} |"
            )
        return [*rows, ""]


def _wall(cost: Cost) -> float:
    return cost.wall


def _cpu(cost: Cost) -> float:
    return cost.cpu


def _user(cost: Cost) -> float:
    return cost.user


def _memory(cost: Cost) -> float:
    return cost.memory


def run(command: Command, *, until: Callable[[], bool] | None = None, fails: bool = False) -> Cost:
    """Run a command to its end and return what it cost.

    Args:
        command: Words and standard input.
        until: Interrupt it as soon as this holds.
        fails: It may end with an error.
    """
    words, text = command
    os.sync()
    environment = os.environ | {"NINEPIC_API_KEY": KEY}
    with tempfile.TemporaryFile() as given, tempfile.TemporaryFile() as said:
        given.write(text.encode())
        given.seek(0)
        began = time.perf_counter()
        process = subprocess.Popen(words, stdin=given, stdout=said, stderr=said, env=environment)
        while until is not None and not until():
            time.sleep(0.01)
        if until is not None:
            process.send_signal(signal.SIGINT)
        _, status, usage = os.wait4(process.pid, 0)
        wall = time.perf_counter() - began
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode and until is None and not fails:
            said.seek(0)
            raise SystemExit(f"{words[0]} ended with {process.returncode}: {said.read()[-2000:]!r}")
    cpu = usage.ru_utime + usage.ru_stime
    return Cost(wall, cpu, usage.ru_utime, usage.ru_maxrss * 1024)


def _empty(folder: Path) -> None:
    """Give back the room, and keep the files: a table's contenders together would take some fifty gigabytes.

    A file system that has just removed some is slow to make new ones: ext4 looks at every free inode whether it was in
    use in the last minutes.
    """
    for path in folder.rglob("*.*"):
        if path.is_file():
            os.truncate(path, 0)


class Bench:
    """Measures over one origin.

    Args:
        origin: It.
        scratch: Where the contenders write.
        runs: Of each.
    """

    def __init__(self, origin: Origin, scratch: Path, runs: int) -> None:
        self.origin, self._scratch, self._runs = origin, scratch, runs
        self._number = 0
        self.port = origin.photos

    def work(self, kinds: tuple[str, ...] = BOTH, connections: int = CONNECTIONS) -> Work:
        """Return what is to be done."""
        folder = self._folder()
        folder.mkdir(parents=True)
        return Work(self.origin, kinds, connections, self.port, folder)

    def _folder(self) -> Path:
        self._number += 1
        return self._scratch / str(self._number)

    def table(
        self,
        title: str,
        about: str,
        contenders: Mapping[str, Callable[[], tuple[Command, Path]]],
        kinds: tuple[str, ...] = BOTH,
    ) -> Table:
        """Let the contenders take turns. Each must leave every file, whole.

        Args:
            title: Of the table.
            about: What is done.
            contenders: Prepare a command, and say where it leaves the files.
            kinds: The files that are due.
        """
        paths = self.origin.paths(kinds)
        sizes = sorted((self.origin.folder / "files" / path).stat().st_size for path in paths)
        table = Table(title, about, len(paths), sum(sizes))
        for _ in range(self._runs):
            for name, prepare in contenders.items():
                command, left = prepare()
                cost = run(command, fails=name.startswith("wget2"))
                found = sorted(path.stat().st_size for path in left.rglob("*.jpg"))
                if found != sizes:
                    print(f"  {name} left {len(found)} of {len(sizes)} files", flush=True)
                table.costs.setdefault(name, []).append(cost)
                print(f"  {title}: {name} {cost.wall:.2f} s, {cost.cpu:.2f} s", flush=True)
                _empty(left)
        print("\n".join(table.lines()), flush=True)
        return table

    def fetching(
        self, contender: Contender, kinds: tuple[str, ...] = BOTH, connections: int = CONNECTIONS
    ) -> Callable[[], tuple[Command, Path]]:
        """Return what prepares a fetch of everything into a fresh folder."""

        def prepare() -> tuple[Command, Path]:
            work = self.work(kinds, connections)
            folder = work.scratch / "files"
            return contender(work, folder), folder

        return prepare

    def again(self, contender: Contender, *, half: bool) -> Callable[[], tuple[Command, Path]]:
        """Return what prepares a run over a folder that has everything, or half of it."""

        def prepare() -> tuple[Command, Path]:
            work = self.work()
            folder = work.scratch / "files"
            due = len(self.origin.paths()) // 2

            def is_half() -> bool:
                there = sum(1 for path in folder.rglob("*.jpg") if "partial" not in path.parts)
                return there >= due

            run(contender(work, folder), until=is_half if half else None, fails=True)
            return contender(work, folder), folder

        return prepare


def first(bench: Bench) -> Iterator[Table]:
    """Mirror an event."""
    contenders: dict[str, Contender] = {
        OURS: peers.ours,
        f"{OURS}, durability none": peers.uncertain,
    }
    contenders |= {**PEERS, **LIBRARY, "httpx as it comes": peers.httpx}
    yield bench.table(
        "First mirror, thumbnails and larges, over https",
        "We list, check, hash twice, record and sync; the peers get a list of addresses and write files.",
        {name: bench.fetching(one) for name, one in contenders.items()},
    )


def same(bench: Bench) -> Iterator[Table]:
    """Mirror an event, and do as much with it."""

    def also(peer: Contender) -> Contender:
        return lambda work, folder: peers.same_work(work, folder, peer)

    yield bench.table(
        "First mirror, the same work",
        "The peers' list is made by paging with curl; afterwards `xxhsum` and `sha256sum` over the files, then `sync`.",
        {
            OURS: bench.fetching(peers.ours),
            **{f"{name} and so on": bench.fetching(also(one)) for name, one in PEERS.items()},
        },
    )


def kinds(bench: Bench) -> Iterator[Table]:
    """Fetch one kind only, for the cost of a file."""
    for title, kind in (("Larges only", "large"), ("Thumbnails only", "small")):
        curls = {name: one for name, one in PEERS.items() if name.startswith("curl")}
        chosen: dict[str, Contender] = {OURS: peers.ours, **curls, **LIBRARY}
        contenders = {name: bench.fetching(one, (kind,)) for name, one in chosen.items()}
        yield bench.table(title, "As the first table.", contenders, (kind,))


def library(bench: Bench) -> Iterator[Table]:
    """Use libcurl from Python in every way that could be the best."""

    def way(*options: str, connections: int = CONNECTIONS) -> Contender:
        return lambda work, folder: peers.libcurl(work, folder, *options, connections=connections)

    chosen: dict[str, Contender] = {
        OURS: peers.ours,
        "curl --parallel": peers.curl,
        "bodies written when whole": way(),
        "piece by piece": way("--sink", "file"),
        "when whole, 64 connections": way(connections=64),
        "when whole, HTTP/2": way("--http2"),
        "hashes, when whole": way("--hashes"),
        "hashes, piece by piece": way("--hashes", "--sink", "file"),
        "hashes, in a thread": way("--hashes", "--sink", "thread"),
        "hashes, when whole, 64 connections": way("--hashes", connections=64),
        "hashes, when whole, HTTP/2": way("--hashes", "--http2"),
    }
    for title, kind in (("larges", "large"), ("thumbnails", "small")):
        contenders = {name: bench.fetching(one, (kind,)) for name, one in chosen.items()}
        yield bench.table(
            f"Ways to use pycurl, {title}",
            "From a ready list, HTTP/1.1 and 16 connections where nothing else is said. No checks, records, names or syncs.",
            contenders,
            (kind,),
        )


def repeat(bench: Bench) -> Iterator[Table]:
    """Run again over what is there."""
    chosen: dict[str, Contender] = {OURS: peers.ours}
    chosen |= {name: PEERS[name] for name in ("wget2", "rclone", "aria2c")}
    for title, half in (("Second run, unchanged", False), ("Second run, stopped at half", True)):
        about = "curl has no such mode. wget2 looks at names only." + (
            " The first run was interrupted when half of the files were there." if half else ""
        )
        contenders = {name: bench.again(one, half=half) for name, one in chosen.items()}
        yield bench.table(title, about, contenders)


def line(bench: Bench) -> Iterator[Table]:
    """Fetch over a line of 40 ms."""
    with _relayed(bench.origin.photos) as port:
        bench.port = port
        bench.origin.render(port)
        for title, kind in (("larges", "large"), ("thumbnails", "small")):
            contenders: dict[str, Callable[[], tuple[Command, Path]]] = {
                OURS: bench.fetching(peers.ours, (kind,), 64)
            }
            for name, one in PEERS.items():
                for connections in (16, 64):
                    title_of_it = f"{name}, {connections}"
                    contenders[title_of_it] = bench.fetching(one, (kind,), connections)
            yield bench.table(
                f"A line of 40 ms and {RATE * 8 / 1e6:.0f} Mbit/s, {title}",
                "Our command has `connections = 64`, as it comes, and finds out how many it needs.",
                contenders,
                (kind,),
            )
        bench.port = bench.origin.photos
        bench.origin.render()


@contextmanager
def _relayed(target: int) -> Iterator[int]:
    words = [sys.executable, "-m", "benchmarks.line", str(target)]
    words += ["--delay", str(DELAY), "--rate", str(RATE)]
    relay = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
    try:
        assert relay.stdout is not None
        yield int(relay.stdout.readline())
    finally:
        relay.terminate()
        relay.wait()


@dataclass(frozen=True)
class Profile:
    """Where the interpreter spends its time, by py-spy.

    Args:
        stacks: Lines of frames, outermost first, and samples.
    """

    stacks: list[str]

    def lines(self) -> list[str]:
        """Return it as Markdown: own time by function, and time with all that it calls."""
        own, within = Counter[str](), Counter[str]()
        for line in self.stacks:
            stack, _, samples = line.rpartition(" ")
            frames = [re.sub(r":\d+\)$", ")", frame) for frame in stack.split(";")]
            own[frames[-1]] += int(samples)
            within.update(dict.fromkeys(frames, int(samples)))
        total = own.total()
        rows = [f"{count / total:6.1%}  {name}" for name, count in own.most_common(25)]
        ours = [(name, count) for name, count in within.most_common() if "ninepic_mirror/" in name]
        calls = [f"{count / total:6.1%}  {name}" for name, count in ours[:30]]
        about = "Samples of the thread that holds the interpreter lock, start-up included: own time, then with all that is called."
        return ["### Where the time goes", "", about, "", "```", *rows, "", *calls, "```", ""]


def profile(bench: Bench) -> Iterator[Profile]:
    """Sample a first mirror."""
    work = bench.work()
    command, _ = peers.ours(work, work.scratch / "files")
    found = work.scratch / "stacks"
    spy = [str(Path(sys.executable).parent / "py-spy"), "record", "--gil", "--threads", "-r", "500"]
    run(([*spy, "-f", "raw", "-o", str(found), "--", sys.executable, *command], ""))
    yield Profile(found.read_text().splitlines())


SCENES: Final[dict[str, Callable[[Bench], Iterator[Table | Profile]]]] = {
    "first": first,
    "same": same,
    "kinds": kinds,
    "library": library,
    "repeat": repeat,
    "line": line,
    "profile": profile,
}


def machine() -> list[str]:
    """Say what was measured on what."""
    models = [
        row.split(":")[1].strip()
        for row in Path("/proc/cpuinfo").read_text().splitlines()
        if row.startswith("model name")
    ]
    now = datetime.now(UTC)
    tools = {
        "curl": ["curl", "--version"], "wget2": ["wget2", "--version"], "rclone": ["rclone", "version"],
        "aria2c": ["aria2c", "--version"], "nginx": ["nginx", "-v"],
        "pycurl": [sys.executable, "-c", "import pycurl; print(pycurl.version)"],
    }  # fmt: skip
    versions = []
    for words in tools.values():
        done = subprocess.run(words, capture_output=True, text=True, check=False)
        versions.append((done.stdout + done.stderr).splitlines()[0].strip())
    what = f"{len(models)} processors, {models[0]}, Linux {platform.release()}"
    versions = [what, f"Python {platform.python_version()}", *versions]
    return [f"Measured on {now:%Y-%m-%d} by `make bench`: {'; '.join(versions)}.", ""]


def main() -> None:
    """Measure what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--photos", type=int, default=4_000)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--only", choices=SCENES, action="append", help="some of the tables")
    parser.add_argument(
        "--scratch", type=Path, help="on the disk to write to; else a temporary folder"
    )
    parser.add_argument("--write", action="store_true", help=f"write {DOCUMENT.name}")
    options = parser.parse_args()
    resource.setrlimit(
        resource.RLIMIT_NOFILE, (4096, resource.getrlimit(resource.RLIMIT_NOFILE)[1])
    )
    tables: list[Table | Profile] = []
    scratch = Path(tempfile.mkdtemp(prefix="ninepic-bench-", dir=options.scratch))
    try:
        with serving(Event(options.photos)) as origin:
            for name in options.only or SCENES:
                tables += list(SCENES[name](Bench(origin, scratch / name, options.runs)))
                if options.write:
                    write(tables)  # as far as it goes: the whole takes half an hour
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def write(tables: list[Table | Profile]) -> None:
    """Put the tables into the document, between its marks."""
    text = DOCUMENT.read_text()
    before, _, rest = text.partition("<!-- tables -->\n")
    after = rest.partition("<!-- end of tables -->\n")[2]
    rows = [*machine(), *(line for table in tables for line in table.lines())]
    DOCUMENT.write_text(
        f"{before}<!-- tables -->\n" + "\n".join(rows) + f"\n<!-- end of tables -->\n{after}"
    )


if __name__ == "__main__":
    main()
