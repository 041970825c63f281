"""A machine with a systemd of its own: this one's files under an overlay, booted by systemd-nspawn (RELIABILITY, T23).

It has no network but its loopback, starts none of this machine's services, and leaves nothing behind: its files are in
memory, its control groups are taken away with it.
"""

from __future__ import annotations

import os
import secrets
import shlex
import shutil
import signal
import subprocess
import sys
import sysconfig
import time
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

SOURCE: Final = Path(__file__).parents[1]
PYTHON: Final = "/opt/python"  # where the interpreter is found inside, whatever its place here: /root may be hidden there
HOME: Final = "/opt/ninepic-mirror"
LEFT: Final = Path("/run/systemd/nspawn")  # empty folders that nspawn leaves on this machine
TARGET: Final = "tests.target"
BOOT: Final = 60.0  # seconds; two are usual
COMMAND: Final = f"""\
#!/bin/sh
export PYTHONPATH={HOME}/source:{HOME}/lib LD_LIBRARY_PATH={PYTHON}/lib PYTHONDONTWRITEBYTECODE=1
exec {PYTHON}/bin/{{python}} -m ninepic_mirror "$@"
"""


class UnavailableError(Exception):
    """No such machine can be had here; the text says why."""


@dataclass
class Machine:
    """One that runs.

    Args:
        root: Its files, seen from outside.
        leader: Its first process, by the number it has here.
    """

    root: Path
    leader: int

    def run(self, *words: object, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run a command in it, as its root; both streams are taken as one."""
        inside = ["nsenter", "-t", self.leader, "-m", "-u", "-i", "-n", "-p", "-r", "-w"]
        environ = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}
        done = subprocess.run(
            list(map(str, [*inside, *words])),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            env=environ | {"LC_ALL": "C.UTF-8", "SYSTEMD_PAGER": ""},
            timeout=120,
        )
        if check and done.returncode:
            raise AssertionError(f"{words} ended with {done.returncode}: {done.stdout}")
        return done

    def show(self, unit: str, name: str) -> str:
        """Return one property of a unit."""
        return self.run("systemctl", "show", unit, f"--property={name}", "--value").stdout.strip()

    def write(self, path: str, text: str, mode: int = 0o644) -> None:
        """Write a file of its root's."""
        target = self.root / path.lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)
        target.chmod(mode)


def wait(
    is_so: Callable[[], object], seconds: float, what: str, instead: Callable[[], object] = str
) -> float:
    """Wait until something in another machine is so; return how long it took.

    Args:
        is_so: Asked again and again.
        seconds: How long.
        what: Names it.
        instead: Tells how things are when it did not happen.
    """
    began = time.monotonic()
    while not is_so():
        if time.monotonic() - began > seconds:
            raise AssertionError(f"{what}: not in {seconds:g} s; {instead()}")
        time.sleep(0.02)  # nobody tells us
    return time.monotonic() - began


@contextmanager
def booted(folder: Path) -> Iterator[Machine]:
    """Boot a machine for the length of the block, with the command as /usr/bin/ninepic-mirror.

    Args:
        folder: An empty one.

    Raises:
        UnavailableError: It cannot be started here.
    """
    if os.geteuid() != 0:
        raise UnavailableError("only root can start a machine")
    for name in ("systemd-nspawn", "nsenter", "setpriv", "mount"):
        if shutil.which(name) is None:
            raise UnavailableError(f"{name} is not here (Debian: apt install systemd-container)")
    if not Path("/lib/systemd/systemd").exists():
        raise UnavailableError("there is no systemd here to boot")
    with ExitStack() as stack:
        if not LEFT.exists():
            stack.callback(_remove_folders, LEFT)
        root = _overlay(folder, stack)
        _furnish(root)
        groups = _groups(stack)
        process = _start(root, groups, folder / "console", stack)
        yield _wait_for_boot(root, process, folder / "console")


def _mount(place: Path, stack: ExitStack, *words: object) -> None:
    place.mkdir(exist_ok=True)
    done = subprocess.run(
        ["mount", *map(str, words), place], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise UnavailableError(f"nothing can be mounted here: {done.stderr.strip()}")
    stack.callback(lambda: subprocess.run(["umount", "--lazy", place], check=True))


def _overlay(folder: Path, stack: ExitStack) -> Path:
    tree = folder / "tree"
    _mount(tree, stack, "-t", "tmpfs", "-o", "mode=755", "tmpfs")
    for name in ("upper", "work"):
        (tree / name).mkdir()
    options = f"lowerdir=/,upperdir={tree}/upper,workdir={tree}/work"
    _mount(tree / "root", stack, "-t", "overlay", "-o", options, "overlay")
    return tree / "root"


def _furnish(root: Path) -> None:
    """Give it an identity of its own, nothing to mount or start, and the command."""
    fresh = {
        "etc/machine-id": f"{secrets.token_hex(16)}\n",
        "etc/fstab": "",
        f"etc/systemd/system/{TARGET}": "[Unit]\nRequires=basic.target\nAfter=basic.target\n",
        "usr/bin/ninepic-mirror": COMMAND.format(python=Path(sys.executable).resolve().name),
    }
    for name, text in fresh.items():
        path = root / name
        path.unlink(missing_ok=True)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    (root / "usr/bin/ninepic-mirror").chmod(0o755)
    for name in ("var/lib/ninepic-mirror", "etc/ninepic-mirror", "srv/ninepic"):
        shutil.rmtree(root / name, ignore_errors=True)


def _groups(stack: ExitStack) -> list[Path]:
    """Make control groups of its own, beside ours: nspawn leaves what it makes in them."""
    made = []
    name = f"ninepic-mirror-tests-{secrets.token_hex(4)}"
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _, controllers, below = line.split(":", 2)
        if controllers not in {"", "name=systemd"}:
            continue
        places = ("systemd",) if controllers else ("unified", "")
        above = next(
            (
                path
                for place in places
                if (path := Path("/sys/fs/cgroup", place, below.lstrip("/"))).is_dir()
                and (path / "cgroup.procs").exists()
            ),
            None,
        )
        if above is None:
            continue
        try:
            (above / name).mkdir()
        except OSError as error:
            raise UnavailableError(f"no control group can be made here: {error}") from error
        made.append(above / name)
        stack.callback(_remove_folders, above / name)
    return made


def _remove_folders(group: Path) -> None:
    """Remove a control group and those below it, or other folders that hold nothing else."""
    for _ in range(100):
        for path in (*sorted(group.rglob("*"), reverse=True), group):
            with suppress(OSError):  # its last process may just be going
                path.rmdir()
        if not group.exists():
            return
        time.sleep(0.05)
    raise AssertionError(f"{group} is still there")


def _start(
    root: Path, groups: list[Path], console: Path, stack: ExitStack
) -> subprocess.Popen[bytes]:
    python = Path(sys.base_prefix).resolve()
    binds = {
        python: PYTHON,
        Path(sysconfig.get_path("purelib")): f"{HOME}/lib",
        SOURCE / "ninepic_mirror": f"{HOME}/source/ninepic_mirror",
        SOURCE / "systemd": f"{HOME}/systemd",
        SOURCE / "config.example.toml": f"{HOME}/config.example.toml",
    }
    words = [
        "systemd-nspawn",
        "--quiet",
        f"--directory={root}",
        "--register=no",
        "--keep-unit",
        "--private-network",
        f"--machine=ninepic-{secrets.token_hex(4)}",
        "--console=pipe",
        *(f"--bind-ro={source}:{target}" for source, target in binds.items()),
        "--boot",
        f"systemd.unit={TARGET}",
    ]

    # It enters its groups before it starts anything, and does not outlive the tests.
    enter = "".join(f"echo $$ > {shlex.quote(str(group / 'cgroup.procs'))}; " for group in groups)
    with console.open("wb") as output:
        process = subprocess.Popen(
            ["sh", "-ec", f'{enter}exec setpriv --pdeathsig TERM "$@"', "sh", *words],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env={"PATH": os.environ["PATH"], "SYSTEMD_NSPAWN_UNIFIED_HIERARCHY": "1"},
            start_new_session=True,
        )
    stack.callback(_end, process)
    return process


def _end(process: subprocess.Popen[bytes]) -> None:
    """Let it shut down; what does not, is killed, and with its first process goes all that runs in it."""
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(20)
    except subprocess.TimeoutExpired:
        for leader in _children(process.pid):
            with suppress(ProcessLookupError):
                os.kill(leader, signal.SIGKILL)
        process.wait(20)


def _children(pid: int) -> list[int]:
    with suppress(OSError):
        return list(map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split()))
    return []


def _wait_for_boot(root: Path, process: subprocess.Popen[bytes], console: Path) -> Machine:
    end = time.monotonic() + BOOT
    state = "no first process"
    while time.monotonic() < end and process.poll() is None:
        for leader in _children(process.pid):
            machine = Machine(root, leader)
            state = machine.run("systemctl", "is-system-running", check=False).stdout.strip()
            if state in {"running", "degraded"}:
                return machine
        time.sleep(0.05)
    said = console.read_bytes().decode(errors="replace").strip()[-500:]
    raise UnavailableError(f"systemd does not come up in systemd-nspawn ({state}): {said}")
