"""The unit under a systemd that runs: installed as docs/operations.md says, in its sandbox, started, reloaded, killed.

One machine for all tests here, booted once; each test brings the service to where it needs it. RELIABILITY T23.
"""

from __future__ import annotations

import json
import re
import stat
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest

from tests.machine import HOME, PYTHON, Machine, UnavailableError, booted, wait

if TYPE_CHECKING:
    from collections.abc import Iterator

UNIT: Final = "ninepic-mirror.service"
TEXT: Final = (Path(__file__).parents[2] / "docs/operations.md").read_text()
KEY: Final = "key-that-only-root-has"
PORT: Final = 9050
CONFIG: Final = f"""\
[api]
org_id = 903
base_url = "http://127.0.0.1:{PORT}"
[mirror]
root = "/srv/ninepic"
min_free = "1MB"
[events]
ids = [456]
[daemon]
min_interval = "1s"
max_interval = "1s"
"""
# Quick, where the unit is patient: a test does not wait for half a minute.
HURRY: Final = "[Service]\nRestartSec=100ms\n[Unit]\nStartLimitIntervalSec=0\n"


def section(title: str, holding: str) -> list[str]:
    """Return the commands for root of the console block of a section that holds a text, as the document has them."""
    part = re.search(rf"^## {title}\n(.*?)(?=^## |\Z)", TEXT, re.MULTILINE | re.DOTALL)
    assert part is not None
    blocks = re.findall(r"^```console\n(.*?)^```", part[1], re.MULTILINE | re.DOTALL)
    (block,) = (one for one in blocks if holding in one)
    lines = str(block).replace("\\\n", " ").splitlines()
    return [line.removeprefix("# ") for line in lines if line.startswith("# ")]


def type_in(machine: Machine, commands: list[str]) -> str:
    """Run commands as they are typed, in the folder of the sources; sudo is not on every machine."""
    text = "\n".join(["set -e", f"cd {HOME}", *commands]).replace(
        "sudo -u ninepic", "runuser -u ninepic --"
    )
    return machine.run("sh", "-c", text).stdout


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    """A machine on which the service is installed, as the document says, and runs."""
    try:
        with booted(tmp_path_factory.mktemp("machine")) as machine:
            try:
                install(machine)
                yield machine
            finally:
                print(
                    machine.run("journalctl", "-u", UNIT, "--no-pager").stdout
                )  # seen when it fails
    except UnavailableError as error:
        pytest.skip(str(error))


def install(machine: Machine) -> None:
    """Do what the document says, with a sandbox on the loopback as the service."""
    sandbox = f"--port {PORT} --key {KEY} --photos 40 --events 2 --look cheap"
    machine.run("systemd-run", "--unit=sandbox", "ninepic-mirror", "sandbox", *sandbox.split())
    type_in(machine, section("Install", "systemd-sysusers"))
    put_config, _ = section("Install", "config.example.toml")
    type_in(machine, [put_config])
    configure(machine, CONFIG)
    machine.write("/etc/ninepic-mirror/key", f"{KEY}\n", 0o600)
    machine.write(f"/etc/systemd/system/{UNIT}.d/hurry.conf", HURRY)
    type_in(machine, section("Install", ".ninepic-mirror-root"))
    wait(lambda: listens(machine), 20, "the sandbox serves")
    said = type_in(machine, ["systemctl daemon-reload", *section("Install", "systemctl enable")])
    assert "FAIL" not in said, said


def listens(machine: Machine) -> bool:
    """Whether the sandbox answers."""
    found = machine.run("cat", "/proc/net/tcp").stdout
    return f":{PORT:04X} 00000000:0000 0A" in found


def configure(machine: Machine, text: str) -> None:
    """Write the configuration, and leave its owner and mode as they are."""
    (machine.root / "etc/ninepic-mirror/config.toml").write_text(text)


def order(machine: Machine, path: str, body: object) -> None:
    """Steer the sandbox."""
    text = (
        "import sys, urllib.request as u; url, key, body = sys.argv[1:];"
        "u.urlopen(u.Request(url, body.encode(), {'X-API-Key': key, 'Content-Type': 'application/json'}))"
    )
    url = f"http://127.0.0.1:{PORT}/sandbox/{path}"
    machine.run(f"{PYTHON}/bin/python3", "-c", text, url, KEY, json.dumps(body))


def photos(machine: Machine, event_id: int = 456) -> list[Path]:
    """Return the large photos of an event on the machine's disk."""
    return list((machine.root / "srv/ninepic").glob(f"{event_id}-*/*/**/large/*"))


def wait_whole(machine: Machine, text: str = "1 of 1 events whole") -> None:
    """Wait until `systemctl status` says so."""
    wait(lambda: status(machine).startswith(text), 10, text, lambda: status(machine))


def status(machine: Machine) -> str:
    """Return what the service says of itself."""
    return machine.show(UNIT, "StatusText")


def start(machine: Machine) -> int:
    """Have the service run with the usual configuration, whatever a test left behind; return its process."""
    configure(machine, CONFIG)
    machine.run("systemctl", "reset-failed")
    machine.run("systemctl", "reload-or-restart", UNIT)
    wait(lambda: machine.show(UNIT, "ActiveState") == "active", 10, "it runs")
    return int(machine.show(UNIT, "MainPID"))


def test_it_mirrors(machine: Machine) -> None:
    """It has said that it is ready, says what it does, and mirrors: for itself and its group, and for nobody else."""
    start(machine)
    wait_whole(machine)
    assert len(photos(machine)) == 40
    (owner,) = {(path.stat().st_uid, path.stat().st_gid) for path in photos(machine)}
    assert owner[0] == int(machine.run("id", "-u", "ninepic").stdout)
    assert owner[1] == int(machine.run("id", "-g", "ninepic").stdout)
    for path in (machine.root / "srv/ninepic").rglob("*"):
        mode = stat.S_IMODE(path.stat().st_mode)
        if path.name != ".ninepic-mirror-root":
            assert mode == (0o2750 if path.is_dir() else 0o640), path
    order(machine, "456/add", {"count": 3, "hour": 1_768_777_200})
    took = wait(lambda: len(photos(machine)) == 43, 10, "new photos")
    print(f"new photos after {took:.1f} s")


def test_the_group_reads(machine: Machine) -> None:
    """Somebody of the group sees what is mirrored and can check it; nobody else can even look."""
    start(machine)
    wait_whole(machine)
    machine.run("useradd", "--no-create-home", "desk", check=False)
    type_in(machine, section("Who can read it", "usermod"))
    desk = ("runuser", "-u", "desk", "--")
    assert ": whole" in machine.run(*desk, "ninepic-mirror", "status").stdout
    check = 'for day in /srv/ninepic/456-*/2*; do cd "$day" && sha256sum --quiet -c SHA256SUMS || exit 1; done'
    machine.run(*desk, "sh", "-c", check)
    assert machine.run(*desk, "touch", "/srv/ninepic/x", check=False).returncode
    other = machine.run("runuser", "-u", "nobody", "--", "ls", "/srv/ninepic", check=False)
    assert other.returncode


def test_the_key_is_a_credential(machine: Machine) -> None:
    """The user of the service cannot read the key's file; the key is in no environment and in no line of the journal."""
    process = start(machine)
    user = ("runuser", "-u", "ninepic", "--")
    assert machine.run(*user, "cat", "/etc/ninepic-mirror/key", check=False).returncode
    environ = machine.run("cat", f"/proc/{process}/environ").stdout
    assert "CREDENTIALS_DIRECTORY=" in environ
    assert KEY not in environ
    assert KEY not in machine.run("journalctl", "-u", UNIT, "--no-pager").stdout


def test_by_hand_beside_the_daemon(machine: Machine) -> None:
    """A typed sync gets the key from systemd, and waits for the daemon's pass to end."""
    start(machine)
    (line,) = section("By hand, beside the daemon", "systemd-run")
    said = type_in(machine, [line.replace("--pty", "--pipe --wait")])
    assert ": whole" in said


def test_verify(machine: Machine) -> None:
    """The weekly verification runs in its sandbox beside the daemon, fails while damage remains, and repair is as told."""
    unit = "ninepic-mirror-verify.service"
    start(machine)
    wait_whole(machine)
    type_in(machine, section("Verify every week", "install"))
    machine.run("systemctl", "start", unit)
    journal = ("journalctl", "-u", unit, "--no-pager")
    assert "no damage" in machine.run(*journal).stdout
    assert "not recorded" not in machine.run(*journal).stdout
    assert "ninepic-mirror-verify" in machine.run("systemctl", "list-timers").stdout
    victim = photos(machine)[0]
    data = bytearray(victim.read_bytes())
    data[99] ^= 1
    victim.write_bytes(data)
    assert machine.run("systemctl", "start", unit, check=False).returncode
    assert machine.show(unit, "ExecMainStatus") == "8"
    assert victim.name in machine.run(*journal).stdout
    (line,) = section("Verify every week", "systemd-run")
    said = type_in(machine, [line.replace("--pty", "--pipe --wait")])
    assert "1 damaged file repaired" in said
    machine.run("systemctl", "start", unit)


def test_reload(machine: Machine) -> None:
    """A reload takes the new settings without a restart; settings with faults are refused, and the old ones stay."""
    process = start(machine)
    configure(machine, CONFIG.replace("[456]", "[456, 457]"))
    machine.run("systemctl", "reload", UNIT)
    wait_whole(machine, "2 of 2 events whole")
    assert len(photos(machine, 457)) == 40
    configure(machine, CONFIG.replace("min_interval", "min_intervall"))
    machine.run("systemctl", "reload", UNIT)
    wait(
        lambda: "min_intervall" in machine.run("journalctl", "-u", UNIT, "--no-pager").stdout,
        10,
        "the fault is told",
    )
    wait_whole(machine, "2 of 2 events whole")
    assert machine.show(UNIT, "ActiveState") == "active"
    assert int(machine.show(UNIT, "MainPID")) == process


def test_the_disk_goes_away(machine: Machine) -> None:
    """An empty file system over the mirror is not written to; the mirror goes on by itself when it is back."""
    process = start(machine)
    wait_whole(machine)
    machine.run("mount", "-t", "tmpfs", "-o", "mode=777", "tmpfs", "/srv/ninepic")
    try:
        wait(lambda: "ninepic" in status(machine), 15, "it is told", lambda: status(machine))
        print(status(machine))
        assert not machine.run("ls", "-A", "/srv/ninepic").stdout
    finally:
        machine.run("umount", "/srv/ninepic")
    # The pauses between two looks grow: 5, 10, 20 s.
    took = wait(
        lambda: status(machine).startswith("1 of 1 events whole"), 45, "it goes on", lambda: status(machine)
    )  # fmt: skip
    print(f"went on after {took:.1f} s")
    assert int(machine.show(UNIT, "MainPID")) == process


def test_stop(machine: Machine) -> None:
    """It ends well, long before it would be killed."""
    start(machine)
    began = time.monotonic()
    machine.run("systemctl", "stop", UNIT)
    took = time.monotonic() - began
    print(f"stopped after {took:.1f} s")
    assert took < 10
    assert machine.show(UNIT, "ActiveState") == "inactive"
    assert machine.show(UNIT, "Result") == "success"
    assert (machine.show(UNIT, "ExecMainCode"), machine.show(UNIT, "ExecMainStatus")) == ("1", "0")


def test_killed(machine: Machine) -> None:
    """A daemon that is killed is started again, and goes on."""
    process = start(machine)
    before = int(machine.show(UNIT, "NRestarts"))
    machine.run("kill", "-9", process)
    wait(lambda: int(machine.show(UNIT, "NRestarts")) == before + 1, 10, "a restart")
    wait_whole(machine)
    assert int(machine.show(UNIT, "MainPID")) != process


def test_hung(machine: Machine) -> None:
    """A daemon whose event loop stands still is ended by the watchdog, and started again."""
    limit = 2.0
    dropin = f"/etc/systemd/system/{UNIT}.d/watchdog.conf"
    machine.write(dropin, f"[Service]\nWatchdogSec={limit}s\n")
    machine.run("systemctl", "daemon-reload")
    machine.run("systemctl", "stop", UNIT)
    try:
        process = start(machine)
        wait_whole(machine)
        time.sleep(limit * 1.5)  # it is alive: the watchdog leaves it alone
        assert int(machine.show(UNIT, "MainPID")) == process
        before = int(machine.show(UNIT, "NRestarts"))
        machine.run("kill", "-STOP", process)
        took = wait(
            lambda: int(machine.show(UNIT, "NRestarts")) == before + 1, limit + 6, "a restart"
        )
        print(f"restarted after {took:.1f} s with WatchdogSec={limit:g}")
        assert took < limit + 3
        assert "watchdog" in machine.run("journalctl", "-u", UNIT, "--no-pager", "-n", 50).stdout
        wait_whole(machine)
    finally:
        (machine.root / dropin.lstrip("/")).unlink()
        machine.run("systemctl", "daemon-reload")


def test_bad_settings_end_it(machine: Machine) -> None:
    """A start with faults in the configuration fails once, and is not tried again: 2."""
    machine.run("systemctl", "stop", UNIT)
    configure(machine, CONFIG.replace("min_interval", "min_intervall"))
    assert machine.run("systemctl", "start", UNIT, check=False).returncode
    assert machine.show(UNIT, "ActiveState") == "failed"
    assert (machine.show(UNIT, "ExecMainStatus"), machine.show(UNIT, "NRestarts")) == ("2", "0")


# What is tried in the unit's sandbox, each a line of Python that must fail.
FORBIDDEN: Final = {
    "write to /etc": "open('/etc/x', 'w')",
    "write to the configuration": "open('/etc/ninepic-mirror/config.toml', 'a')",
    "write to /usr": "open('/usr/x', 'w')",
    "write beside the mirror": "open('/srv/x', 'w')",
    "read the key's file": "open('/etc/ninepic-mirror/key')",
    "look into /root": "os.listdir('/root')",
    "see process 1": "open('/proc/1/cmdline')",
    "signal process 1": "os.kill(1, 0)",
    "read the kernel's log": "open('/dev/kmsg')",
    "see other devices": "os.stat('/dev/console')",
    "make a device": "os.mknod('/tmp/x', 0o20600, os.makedev(1, 3))",
    "mount": "call('mount', b'none', b'/tmp', b'tmpfs', 0, None)",
    "make a user name space": "call('unshare', 0x10000000)",
    "make a network": "call('unshare', 0x40000000)",
    "become root": "os.setuid(0)",
    "give a file away": "open('/tmp/c', 'w'); os.chown('/tmp/c', -1, os.getgid())",
    "make a set-user-ID file": "open('/tmp/c', 'w'); os.chmod('/tmp/c', 0o4755)",
    "change the root": "os.chroot('/tmp')",
    "open a raw socket": "socket.socket(socket.AF_INET, socket.SOCK_RAW, 1)",
    "open a packet socket": "socket.socket(socket.AF_PACKET, socket.SOCK_RAW)",
    "trace": "call('ptrace', 0, 0, 0, 0)",
    "change its priority": "os.nice(5)",
    "be scheduled before others": "os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))",
    "set the clock": "time.clock_settime(0, 1.0)",
    "rename the machine": "socket.sethostname('x')",
    "run memory that was written": "mmap.mmap(-1, 4096, prot=7)",
    "make a control group": "os.mkdir('/sys/fs/cgroup/x')",
    "change a setting of the kernel": "open('/proc/sys/kernel/core_pattern', 'w')",
    "dump its memory": "assert resource.getrlimit(resource.RLIMIT_CORE) != (0, 0)",
}
# What the program and its hooks need.
ALLOWED: Final = {
    "write to the mirror": "open('/srv/ninepic/.probe', 'w'); os.unlink('/srv/ninepic/.probe')",
    "write to its state": "open(os.environ['STATE_DIRECTORY'] + '/x', 'w')",
    "write to /tmp": "open('/tmp/x', 'w')",
    "read the configuration": "open('/etc/ninepic-mirror/config.toml')",
    "read the credential": "open(os.environ['CREDENTIALS_DIRECTORY'] + '/ninepic-api-key')",
    "find an address": "socket.getaddrinfo('localhost', 80)",
    "listen": "s = socket.socket(); s.bind(('127.0.0.1', 0)); s.listen()",
    "raise its own limit of files": "resource.setrlimit(resource.RLIMIT_NOFILE, (2048, 4096))",
    "start a program": "subprocess.run(['sh', '-c', 'cp -p /etc/hostname /tmp/h'], check=True)",
    "start a thread": "t = threading.Thread(target=print); t.start(); t.join()",
    "sync a file system": "call('syncfs', os.open('/srv/ninepic', os.O_RDONLY))",
}
PROBE: Final = """\
import ctypes, json, mmap, os, resource, socket, subprocess, threading, time
libc = ctypes.CDLL(None, use_errno=True)
def call(name, *words):
    if getattr(libc, name)(*words) == -1:
        raise OSError(ctypes.get_errno(), name)
found = {}
for name, line in json.load(open("/srv/ninepic-probe.json")).items():
    try:
        exec(line)
        found[name] = ""
    except (OSError, AssertionError) as error:
        found[name] = repr(error)
json.dump(found, open(os.environ["STATE_DIRECTORY"] + "/found.json", "w"))
"""


def test_sandbox(machine: Machine) -> None:
    """What the unit forbids fails inside it, and what the program needs works."""
    unit = "ninepic-mirror@probe.service"
    machine.write("/srv/ninepic-probe.json", json.dumps(FORBIDDEN | ALLOWED))
    machine.write("/srv/ninepic-probe.py", PROBE)
    machine.write(
        f"/etc/systemd/system/{unit}.d/probe.conf",
        f"[Service]\nType=oneshot\nRestart=no\nWatchdogSec=0\nExecStart=\nExecStart={PYTHON}/bin/python3 /srv/ninepic-probe.py\n",
    )
    machine.write("/etc/ninepic-mirror/probe.key", f"{KEY}\n", 0o600)
    machine.run("systemctl", "daemon-reload")
    done = machine.run("systemctl", "start", unit, check=False)
    journal = machine.run("journalctl", "-u", unit, "--no-pager").stdout
    assert done.returncode == 0, journal
    text = (machine.root / "var/lib/ninepic-mirror/probe/found.json").read_text()
    found: dict[str, str] = json.loads(text)
    assert [name for name in FORBIDDEN if not found[name]] == []
    assert {name: found[name] for name in ALLOWED if found[name]} == {}
    print(f"{len(FORBIDDEN)} forbidden acts failed")
