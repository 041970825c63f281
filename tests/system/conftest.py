"""The command as people run it: subprocesses, a sandbox in a process of its own, a home that is empty."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, TypedDict

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.forking import Fork, Forking, Server

PROGRAM = [sys.executable, "-m", "ninepic_mirror"]
KEY = "test-key"


class Entry(TypedDict):
    """One event of `--json`; of each command only what the tests look at."""

    event_id: int
    whole: bool
    error: str | None
    files: dict[str, int]
    scope: dict[str, object] | None
    recheck: dict[str, object] | None
    photos: int
    forgotten: int
    damaged: list[dict[str, object]]
    requests: dict[str, int]
    retries: int
    seconds: float
    failures: list[dict[str, str]]
    last_whole: int | None
    known: int
    new: int
    hours_to_list: int
    files_to_fetch: int
    manifest_lost: bool
    estimated_bytes: int
    mirror: dict[str, object] | None
    flags: dict[str, bool]


class Check(TypedDict):
    """One line of `check --json`."""

    name: str
    state: str
    text: str
    cure: str


class Document(TypedDict):
    """What `--json` prints."""

    events: list[Entry]
    checks: list[Check]
    exit_code: int


@dataclass
class Outcome:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def document(self) -> Document:
        """What `--json` printed; exactly one object, or this fails."""
        found: Document = json.loads(self.out)
        return found

    @property
    def entry(self) -> Entry:
        """The only event of the document."""
        (entry,) = self.document["events"]
        return entry

    def says_one_line_and_cure(self) -> bool:
        """Whether standard error is one error and its cure and no traceback."""
        lines = self.err.strip().splitlines()
        return (
            "Traceback" not in self.err
            and [line[:7] for line in lines] == ["error: ", "  next:"]
            and KEY not in self.err
        )


@dataclass
class Commands:
    """Runs the command in an empty folder, with an empty home and the sandbox's key."""

    folder: Path
    environ: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        kept = {name: os.environ[name] for name in ("PATH", "LANG") if name in os.environ}
        # What a run with coverage needs to measure subprocesses too.
        kept |= {name: value for name, value in os.environ.items() if name.startswith("COVERAGE_")}
        source = str(Path(__file__).parents[2])
        home = {"HOME": str(self.folder), "PYTHONPATH": source, "NINEPIC_API_KEY": KEY}
        self.environ = kept | home | {"PYTHONWARNINGS": "error"} | self.environ

    def start(
        self,
        *words: object,
        stdin: int = subprocess.DEVNULL,
        stdout: int = subprocess.PIPE,
        stderr: int = subprocess.PIPE,
    ) -> subprocess.Popen[str]:
        """Start a command, in a session of its own so that a terminal of the tests' does not reach it."""
        return subprocess.Popen(
            [*PROGRAM, *map(str, words)],
            text=True,
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
            cwd=self.folder,
            env=self.environ,
            start_new_session=True,
        )

    def shell(self, *words: object) -> str:
        """Return a command for a shell."""
        return shlex.join([*PROGRAM, *map(str, words)])

    def run(self, *words: object, timeout: float = 60) -> Outcome:
        """Run a command to its end."""
        process = self.start(*words)
        out, err = process.communicate(timeout=timeout)
        return Outcome(process.returncode, out, err)


@dataclass
class Service:
    """A sandbox that is served elsewhere."""

    api_url: str
    ca_file: str | None

    @property
    def flags(self) -> list[str]:
        """The flags with which a command finds it."""
        return ["--org", "903", "--base-url", self.api_url]

    def order(self, method: str, path: str, body: object = None) -> dict[str, object]:
        """Steer it, see `sandbox.control`."""
        request = urllib.request.Request(
            f"{self.api_url}/sandbox/{path}",
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"X-API-Key": KEY, "Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=10) as answer:
            found: dict[str, object] = json.load(answer)
        return found

    def fault(self, **fields: object) -> None:
        """Let something go wrong from now on."""
        self.order("POST", "faults", fields)

    def requests(self) -> dict[str, object]:
        """Return how many requests each origin has seen."""
        return self.order("GET", "requests")


@dataclass
class Running(Service):
    """A sandbox in a process of its own."""

    process: subprocess.Popen[str] | Fork


class Serve(Protocol):
    """Starts a sandbox that runs until the test ends."""

    def __call__(self, *options: object) -> Running:
        """Start one with these options of `sandbox`."""
        ...


@pytest.fixture
def commands(tmp_path: Path) -> Commands:
    """Commands in an empty folder."""
    return Commands(tmp_path)


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    """The process whose forks are the commands of `forking`."""
    from tests.forking import fork_server  # it imports `Commands`

    with fork_server() as found:
        yield found


@pytest.fixture
def forking(tmp_path: Path, server: Server) -> Forking:
    """Commands in an empty folder that are run in forks, started in fresh processes."""
    from tests.forking import Forking

    return Forking(tmp_path, server=server)


@contextmanager
def serving(commands: Commands, *options: object) -> Iterator[Running]:
    """Run a sandbox for the length of the block."""
    words = ("--look", "cheap", *options)
    process = commands.start("sandbox", "--json", *words, stderr=subprocess.DEVNULL)
    assert process.stdout is not None
    with process:
        try:
            served = json.loads(process.stdout.readline())
            yield Running(served["api_url"], served["ca_file"], process)
        finally:
            process.send_signal(signal.SIGTERM)


@contextmanager
def serving_forked(commands: Commands, server: Server, *options: object) -> Iterator[Running]:
    """Run a sandbox in a fork for the length of the block."""
    process = server.start(commands, "sandbox", "--json", "--look", "cheap", *options)
    try:
        wait_until(lambda: process.out.exists() and process.out.read_text().endswith("\n"))
        served = json.loads(process.out.read_text())
        yield Running(served["api_url"], served["ca_file"], process)
    finally:
        process.terminate()
        process.wait()


@pytest.fixture
def service(commands: Commands, server: Server) -> Iterator[Running]:
    """A sandbox with one event of 60 photos, number 456."""
    with serving_forked(commands, server, "--photos", 60) as found:
        yield found


@pytest.fixture
def serve(commands: Commands, server: Server) -> Iterator[Serve]:
    """Return what starts a sandbox with other options."""
    with ExitStack() as stack:
        yield lambda *options: stack.enter_context(serving_forked(commands, server, *options))


def wait_until(is_so: Callable[[], object]) -> None:
    """Wait until something outside this process is so; it fails after 20 s."""
    # Another process tells us nothing, so it is asked again and again; nothing is measured by this time.
    for _ in range(4000):
        if is_so():
            return
        time.sleep(0.005)
    raise AssertionError("it did not happen in 20 s")


@pytest.fixture
def wait() -> Callable[[Callable[[], object]], None]:
    """Return `wait_until`."""
    return wait_until


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Callable[[str], Path]]:
    """Return what mounts a tmpfs with the given options; skipped where that is not allowed."""
    mounted: list[Path] = []

    def mount(options: str) -> Path:
        place = tmp_path / "disk"
        place.mkdir(exist_ok=True)
        new = ["-t", "tmpfs", "-o", options, "tmpfs"]
        words = ["-o", f"remount,{options}"] if place in mounted else new
        done = subprocess.run(["mount", *words, place], capture_output=True, check=False)
        if done.returncode:
            pytest.skip(f"no tmpfs can be mounted here: {done.stderr.decode().strip()}")
        mounted.append(place)
        return place

    yield mount
    if mounted:
        subprocess.run(["umount", mounted[0]], check=True)


@pytest.fixture
def thin_disk(small_disk: Callable[[str], Path]) -> Iterator[tuple[Path, Callable[[str], Path]]]:
    """An ext4 disk that says yes to every write and loses most of it, and what gives it room; skipped without mounts."""
    below = small_disk("size=6m")
    # without a journal, whose end would make it read-only
    with mounted(below / "image", 100 << 20, "mkfs.ext4", "-qF", "-O", "^has_journal") as place:
        yield place, small_disk


@contextmanager
def mounted(image: Path, size: int, *make: str) -> Iterator[Path]:
    """Mount a new file system for the length of the block; the test is skipped where that cannot be done.

    Args:
        image: The file that holds it.
        size: Bytes; they are not written.
        make: The command that makes it, without the file.
    """
    if shutil.which(make[0]) is None:
        pytest.skip(f"no {make[0]} here")
    image.touch()
    os.truncate(image, size)
    subprocess.run([*make, image], check=True, capture_output=True)
    place = image.with_name(f"{image.name}.mounted")
    place.mkdir()
    done = subprocess.run(["mount", "-o", "loop", image, place], capture_output=True, check=False)
    if done.returncode:
        pytest.skip(f"no image can be mounted here: {done.stderr.decode().strip()}")
    try:
        yield place
    finally:
        subprocess.run(["umount", place], check=True)


@pytest.fixture(scope="session", autouse=True)
def unreachable(tmp_path_factory: pytest.TempPathFactory) -> Iterator[subprocess.Popen[str]]:
    """A sync of a host that refuses connections, started first, because it gives up after 120 s only (DESIGN §8)."""
    commands = Commands(tmp_path_factory.mktemp("unreachable"))
    # Port 9 (discard) is served nowhere; a privileged port that no other test can be given meanwhile.
    process = commands.start(
        "sync", 456, "--org", 903, "--base-url", "http://127.0.0.1:9", "--root", "m", "--json"
    )
    yield process
    if process.poll() is None:
        process.kill()
    process.communicate()
