"""`daemon` as systemd or a person runs it: signals, exit codes, what is told, beside other commands."""

from __future__ import annotations

import json
import re
import signal
import socket
import subprocess
import urllib.request
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.error import HTTPError

import pytest

from tests.system.conftest import KEY, wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.system.conftest import Commands, Serve, Service

    Wait = Callable[[Callable[[], object]], None]


def write(folder: Path, service: Service, text: str = "", mirror: str = "") -> None:
    """Write the configuration that the daemon reads."""
    (folder / "ninepic-mirror.toml").write_text(
        f"[api]\norg_id = 903\nbase_url = '{service.api_url}'\n"
        f"[mirror]\nroot = 'm'\nmin_free = '0'\n{mirror}"
        "[events]\nids = [456]\n"
        f"[daemon]\nmin_interval = '1s'\nmax_interval = '1s'\n{text}"
    )


@contextmanager
def running(commands: Commands, *words: object) -> Iterator[subprocess.Popen[str]]:
    """Run the daemon for the length of the block; what it says goes to the file `log`."""
    with (commands.folder / "log").open("w") as log:
        process = commands.start(*words, "daemon", stderr=log.fileno())
        try:
            yield process
        finally:
            process.kill()
            process.communicate()


def files(folder: Path) -> int:
    """Count the photos of the mirror."""
    return len(list((folder / "m").glob("456-*/*/**/*.jpg")))


def has(folder: Path, count: int) -> bool:
    """Whether the mirror has so many photos, or more."""
    return files(folder) >= count


def ended(process: subprocess.Popen[str]) -> int:
    """Wait for the end; return the exit code."""
    return process.wait(timeout=30)


def test_a_live_event_is_kept_until_told_to_stop(
    commands: Commands, service: Service, wait: Wait, tmp_path: Path
) -> None:
    """Photos that arrive are on disk soon; SIGTERM ends with 0, Ctrl-C with 130, and nothing is left behind."""
    write(tmp_path, service)
    with running(commands) as process:
        wait(lambda: files(tmp_path) == 120)
        for more in (122, 124):
            service.order("POST", "456/add", {"count": 1})
            wait(partial(has, tmp_path, more))
        process.send_signal(signal.SIGTERM)
        assert ended(process) == 0
    said = (tmp_path / "log").read_text()
    assert "Mumbai Marathon 2026 (event 456): 120 new files, 60 photos in all" in said
    assert KEY not in said
    assert "Traceback" not in said
    assert list((tmp_path / "m").glob("456-*/.ninepic-mirror/partial/*")) == []
    with running(commands) as process:
        wait(lambda: "is kept fresh" in (tmp_path / "log").read_text())
        process.send_signal(signal.SIGINT)
        assert ended(process) == 130


def test_a_stop_in_the_middle_of_a_pass_keeps_what_came(
    commands: Commands, service: Service, wait: Wait, tmp_path: Path
) -> None:
    """SIGTERM and kill -9 in the middle: the next start goes on, and fetches nothing twice."""
    write(tmp_path, service, mirror="bandwidth = '300kB/s'\n")
    for number, code in ((signal.SIGTERM, 0), (signal.SIGKILL, -signal.SIGKILL)):
        more = files(tmp_path) + 1
        with running(commands) as process:
            wait(partial(has, tmp_path, more))
            process.send_signal(number)
            assert ended(process) == code
    write(tmp_path, service)
    with running(commands) as process:
        wait(lambda: files(tmp_path) == 120)
        process.terminate()
        assert ended(process) == 0
    photos = service.requests()["photos"]
    assert isinstance(photos, int)
    assert 120 <= photos <= 120 + 3 * 64
    assert commands.run("sync", 456, "--full").code == 0


def test_other_commands_work_beside_it(
    commands: Commands, service: Service, wait: Wait, tmp_path: Path
) -> None:
    """`sync`, `status` and `manifest` beside a daemon; a second daemon says who holds the root, and ends with 7."""
    write(tmp_path, service)
    with running(commands) as process:
        wait(lambda: files(tmp_path) == 120)
        assert commands.run("sync", 456).code == 0
        assert commands.run("sync", 456, "--full", "--json").entry["whole"] is True
        wait(lambda: commands.run("status").code == 0)
        assert len(commands.run("manifest", 456).out.splitlines()) == 121
        second = commands.run("daemon")
        assert second.code == 7
        assert f"kept by the daemon of process {process.pid}" in second.err
        assert second.says_one_line_and_cure()
        assert process.poll() is None


def test_new_settings_by_sighup(
    commands: Commands, service: Service, wait: Wait, tmp_path: Path
) -> None:
    """SIGHUP reads the file again; one with faults is refused and named, and the old settings stay."""
    write(tmp_path, service, mirror="variants = ['thumbnail']\n")
    with running(commands) as process:
        wait(lambda: files(tmp_path) == 60)
        (tmp_path / "ninepic-mirror.toml").write_text("[api]\norg = 903\n")
        process.send_signal(signal.SIGHUP)
        wait(lambda: "the new settings are refused" in (tmp_path / "log").read_text())
        assert "api.org: is unknown" in (tmp_path / "log").read_text()
        write(tmp_path, service)
        process.send_signal(signal.SIGHUP)
        wait(lambda: files(tmp_path) == 120)
        process.terminate()
        assert ended(process) == 0


def test_systemd_is_told(commands: Commands, service: Service, wait: Wait, tmp_path: Path) -> None:
    """READY after the first contact, STATUS, WATCHDOG, RELOADING and STOPPING, each at its time (sd_notify(3))."""
    write(tmp_path, service)
    messages: list[str] = []
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.setblocking(False)
        commands.environ |= {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "600000"}

        def heard(text: str) -> bool:
            try:
                while True:
                    messages.append(manager.recv(4096).decode())
            except BlockingIOError:
                return any(text in message for message in messages)

        with running(commands) as process:
            wait(lambda: heard("READY=1"))
            wait(lambda: heard("STATUS=1 of 1 events whole"))
            wait(lambda: heard("WATCHDOG=1"))
            process.send_signal(signal.SIGHUP)
            wait(lambda: heard("RELOADING=1"))
            wait(
                lambda: (
                    heard("READY=1") and "READY=1" in "".join(messages).partition("RELOADING=1")[2]
                )
            )
            process.terminate()
            wait(lambda: heard("STOPPING=1"))
            assert ended(process) == 0


def test_ready_without_a_service(
    commands: Commands, service: Service, wait: Wait, tmp_path: Path
) -> None:
    """While the service is down the start is over all the same, and the status says what is wrong."""
    write(tmp_path, service)
    service.fault(kind="503", origin="api")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(30)
        commands.environ |= {"NOTIFY_SOCKET": str(tmp_path / "notify")}
        with running(commands) as process:
            while "READY=1" not in (message := manager.recv(4096).decode()):
                pass
            assert "gives no good answer" in message
            service.order("DELETE", "faults")
            wait(lambda: files(tmp_path) == 120)
            process.terminate()
            assert ended(process) == 0
    said = (tmp_path / "log").read_text()
    assert said.count("gives no good answer") == 1
    assert "the service answers again" in said


@pytest.mark.parametrize("json_log", [False, True])
def test_what_is_served(
    commands: Commands, service: Service, wait: Wait, tmp_path: Path, json_log: bool
) -> None:
    """Page, metrics and health say what the daemon knows; with --log-format json every line is an object."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    write(tmp_path, service, f"listen = '127.0.0.1:{port}'\nstale_after = '1s'\n")

    def get(path: str) -> tuple[int, str]:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=10) as answer:
                return answer.status, answer.read().decode()
        except HTTPError as error:
            return error.code, error.read().decode()

    with running(commands, *(["--log-format", "json"] if json_log else [])) as process:
        wait(lambda: files(tmp_path) == 120)
        wait(lambda: 'ninepic_photos{event_id="456"} 60' in get("/metrics")[1])
        metrics = get("/metrics")[1]
        assert re.search(r'ninepic_requests_total\{origin="photos",status="200"\} 12\d', metrics)
        assert 'ninepic_fetched_files_total{event_id="456"} 120' in metrics
        assert get("/healthz")[0] == 200
        assert "Mumbai Marathon 2026" in get("/")[1]
        service.fault(kind="404", origin="api", event_id=456)
        wait(lambda: get("/healthz")[0] == 503)
        assert "event 456" in get("/healthz")[1]
        service.order("DELETE", "faults")
        wait(lambda: get("/healthz")[0] == 200)
        process.terminate()
        assert ended(process) == 0
    lines = (tmp_path / "log").read_text().splitlines()
    if json_log:
        assert {json.loads(line)["level"] for line in lines} >= {"info", "warning"}


def test_a_hook_is_run(commands: Commands, service: Service, wait: Wait, tmp_path: Path) -> None:
    """With the facts in variables and on standard input, and without the key."""
    script = tmp_path / "hook"
    script.write_text(
        f"#!/bin/sh\nenv > {tmp_path}/env.$NINEPIC_HOOK\ncat > {tmp_path}/in.$NINEPIC_HOOK\n"
    )
    script.chmod(0o755)
    hooks = "".join(f"{name} = ['{script}']\n" for name in ("new_photos", "pass_whole"))
    write(tmp_path, service, f"[hooks]\n{hooks}")
    with running(commands) as process:
        wait((tmp_path / "in.pass_whole").exists)
        wait(lambda: (tmp_path / "in.new_photos").stat().st_size)
        process.terminate()
        assert ended(process) == 0
    told = json.loads((tmp_path / "in.new_photos").read_text())
    assert (told["event_id"], told["new"], told["photos"]) == (456, 120, 60)
    assert told["folder"].endswith("456-mumbai-marathon-2026")
    surroundings = (tmp_path / "env.new_photos").read_text()
    assert "NINEPIC_NEW=120" in surroundings
    assert KEY not in surroundings


def test_what_keeps_it_from_starting(commands: Commands, serve: Serve, tmp_path: Path) -> None:
    """A file with faults, no event, no key, a variant: one line that says what to do, and the code."""
    assert commands.run("daemon").code == 2
    service = serve("--photos", 4)
    write(tmp_path, service)
    config = (tmp_path / "ninepic-mirror.toml").read_text()
    (tmp_path / "ninepic-mirror.toml").write_text(config.replace("ids = [456]", ""))
    done = commands.run("daemon")
    assert (done.code, done.says_one_line_and_cure()) == (2, True)
    assert "no event is configured" in done.err
    write(tmp_path, service)
    del commands.environ["NINEPIC_API_KEY"]
    done = commands.run("daemon")
    assert (done.code, done.says_one_line_and_cure()) == (2, True)


def test_a_port_that_is_taken_is_waited_for(
    commands: Commands, service: Service, wait: Wait, tmp_path: Path
) -> None:
    """Photos are more important than the page about them."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        write(tmp_path, service, f"listen = '127.0.0.1:{port}'\n")
        with running(commands) as process:
            wait(lambda: files(tmp_path) == 120)
            said = (tmp_path / "log").read_text()
            assert f"cannot listen on 127.0.0.1:{port}" in said
            taken.close()
            wait(partial(answers, port))
            process.terminate()
            assert ended(process) == 0


def answers(port: int) -> bool:
    """Whether the daemon's page can be had."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz", timeout=5) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


@pytest.mark.parametrize("after", [0.0, 0.15, 0.3, 0.5, 0.8])
def test_told_to_stop_while_it_starts(
    commands: Commands, service: Service, tmp_path: Path, after: float
) -> None:
    """SIGTERM at any moment of the start ends it with 0, once there is somebody to hear it."""
    write(tmp_path, service)
    with running(commands) as process:
        with suppress(subprocess.TimeoutExpired):
            process.wait(0.25 + after)
        if after >= 0.3:
            wait_until(lambda: hears(process.pid))  # a busy machine starts it later
        somebody = hears(process.pid)
        process.send_signal(signal.SIGHUP)
        process.terminate()
        assert ended(process) in {0, -signal.SIGTERM, -signal.SIGHUP}
        assert process.returncode == 0 or not somebody


def hears(process: int) -> bool:
    """Return whether a process does something of its own at SIGHUP (proc_pid_status(5))."""
    caught = re.search(
        r"^SigCgt:\t(\w+)", Path(f"/proc/{process}/status").read_text(), re.MULTILINE
    )
    return caught is not None and bool(int(caught[1], 16) & 1 << signal.SIGHUP - 1)
