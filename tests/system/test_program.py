"""The program around the commands: start-up, help, completion, `sandbox`, `demo`."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from ninepic_mirror import __version__
from tests.system.conftest import PROGRAM

if TYPE_CHECKING:
    from tests.system.conftest import Commands, Serve, Service

HEAVY = {
    "trio",
    "httpx",
    "starlette",
    "hypercorn",
    "PIL",
    "msgspec",
    "tqdm",
    "sqlite3",
    "platformdirs",
}


def _modules(commands: Commands, words: list[str]) -> set[str]:
    """Run a command line and return what it has imported."""
    script = (
        "import sys\nfrom ninepic_mirror.cli.program import start\n"
        "start(sys.argv[1:])\nprint(*sys.modules, file=sys.stderr)"
    )
    # Not measured: coverage brings modules of its own.
    environ = {name: text for name, text in commands.environ.items() if "COVERAGE" not in name}
    done = subprocess.run(
        [sys.executable, "-c", script, *words], capture_output=True, text=True, env=environ, check=True,
        cwd=commands.folder,
    )  # fmt: skip
    return set(done.stderr.split())


@pytest.mark.parametrize("words", [["--version"], ["--help"], ["frobnicate"]])
def test_start_is_light(commands: Commands, words: list[str]) -> None:
    """What needs no command imports none of the heavy libraries: modules, not seconds, because machines differ."""
    assert not HEAVY & _modules(commands, words)


def test_status_is_light(commands: Commands, service: Service) -> None:
    """`status` needs neither the clients nor the service's side of anything."""
    assert commands.run("sync", 456, *service.flags, "--root", "m").code == 0
    loaded = _modules(commands, ["status", "--root", "m", "--json"])
    assert "sqlite3" in loaded
    # Values are msgspec's structures: importing it costs 6 ms and saves 1 ms for each class of them.
    assert not (HEAVY - {"sqlite3", "platformdirs", "msgspec"}) & loaded


def test_version(commands: Commands) -> None:
    """`--version` names program and version."""
    done = commands.run("--version")
    assert (done.code, done.out) == (0, f"ninepic-mirror, version {__version__}\n")


def test_help_of_every_command(commands: Commands) -> None:
    """Every command that the help lists has a help of its own."""
    listed = commands.run("--help").out.partition("Commands:")[2].split("\n")
    names = [line.split()[0] for line in listed if line.strip()]
    assert names == [
        "init",
        "check",
        "events",
        "sync",
        "daemon",
        "status",
        "manifest",
        "verify",
        "deliver",
        "forget",
        "sandbox",
        "demo",
    ]
    for name in names:
        done = commands.run(name, "--help")
        assert (done.code, done.out.startswith(f"Usage: ninepic-mirror {name}")) == (0, True)


def test_status_without_a_config_says_what_it_does_not_know(
    commands: Commands, service: Service, tmp_path: Path
) -> None:
    """The organisation stands in no manifest: the command that is to be typed next says that it wants it."""
    commands.run("sync", 456, *service.flags, "--root", "m", "--variant", "large")
    done = commands.run("status", "--root", "m")
    (line,) = [line for line in done.out.splitlines() if "next: " in line]
    assert line.endswith("sync 456 --root m --org NUMBER"), "what a shell takes as it stands"
    (tmp_path / "ninepic-mirror.toml").write_text('[api]\norg_id = 903\n[mirror]\nroot = "m"\n')
    (line,) = [line for line in commands.run("status").out.splitlines() if "next: " in line]
    assert line.endswith("sync 456")


def test_no_arguments_show_the_help(commands: Commands) -> None:
    """Without a command the help is shown: 2."""
    done = commands.run()
    assert (done.code, "Commands:" in done.err + done.out) == (2, True)


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_script(commands: Commands, shell: str) -> None:
    """The lines that the README gives for each shell print a script."""
    commands.environ["_NINEPIC_MIRROR_COMPLETE"] = f"{shell}_source"
    done = commands.run()
    assert (done.code, "_NINEPIC_MIRROR_COMPLETE" in done.out) == (0, True)


def test_completion_knows_commands(commands: Commands) -> None:
    """Completing a command's beginning gives the commands."""
    commands.environ |= {
        "_NINEPIC_MIRROR_COMPLETE": "bash_complete", "COMP_WORDS": "ninepic-mirror s", "COMP_CWORD": "1",
    }  # fmt: skip
    assert commands.run().out.split() == ["plain,sync", "plain,status", "plain,sandbox"]


def test_sandbox_prints_a_command_that_works(commands: Commands, tmp_path: Path) -> None:
    """What the sandbox prints can be pasted into a shell and mirrors its event, over https too."""
    process = commands.start("sandbox", "--look", "cheap", "--photos", 5, "--tls")
    assert process.stdout is not None
    with process:
        lines: list[str] = []
        while not lines or not lines[-1].startswith("Ctrl-C"):
            lines.append(process.stdout.readline())
        (line,) = [line.strip() for line in lines if "NINEPIC_API_KEY=" in line]
        environ = {
            name: value for name, value in commands.environ.items() if name != "NINEPIC_API_KEY"
        }
        done = subprocess.run(
            line, shell=True, cwd=tmp_path, env=environ, capture_output=True, text=True, check=False
        )
        process.terminate()
    assert (done.returncode, "whole: everything is here: 5 photos" in done.stdout) == (0, True)


def test_sandbox_quotes_its_key(commands: Commands, serve: Serve) -> None:
    """A key that means something to a shell is printed so that the command can be pasted all the same."""
    process = commands.start("sandbox", "--look", "cheap", "--photos", 1, "--key", "a&b;$c")
    assert process.stdout is not None
    with process:
        found = next(line for line in process.stdout if "NINEPIC_API_KEY=" in line)
        process.terminate()
    assert "NINEPIC_API_KEY='a&b;$c' " in found


@pytest.mark.skipif(shutil.which("setpriv") is None, reason="root may take every port")
def test_sandbox_on_a_port_of_root(commands: Commands) -> None:
    """A port that only root may take is not called taken: 2, with the numbers that are free to all."""
    limit = Path("/proc/sys/net/ipv4/ip_unprivileged_port_start")
    if not limit.exists() or int(limit.read_text()) <= 80:
        pytest.skip("here everybody may take port 80")
    drop = ["setpriv", "--bounding-set", "-net_bind_service"] if os.geteuid() == 0 else []
    words = [*drop, *PROGRAM, "sandbox", "--port", "80"]
    done = subprocess.run(
        words, env=commands.environ, capture_output=True, text=True, check=False, timeout=20
    )
    assert (done.returncode, "port 80 is for root alone" in done.stderr) == (2, True)
    assert "from 1024 on" in done.stderr


def test_sandbox_faults(commands: Commands, serve: Serve) -> None:
    """`--fault` and `--rate-limit` let things go wrong, and a pass gets through them."""
    service = serve(
        "--photos", 20, "--fault", "500=0.1", "--fault", "reset=0.05", "--rate-limit", 50
    )
    done = commands.run("sync", 456, *service.flags, "--root", "m", "--json")
    assert (done.code, done.entry["whole"]) == (0, True)


@pytest.mark.parametrize(
    "words",
    [("--fault", "flood"), ("--fault", "500=2"), ("--fault", "500=often"), ("--port", "70000")],
)
def test_sandbox_refuses_nonsense(commands: Commands, words: tuple[str, ...]) -> None:
    """An option that the sandbox does not understand ends it with 2."""
    done = commands.run("sandbox", *words)
    assert (done.code, done.says_one_line_and_cure()) == (2, True)


def test_sandbox_on_a_taken_port(commands: Commands, service: Service) -> None:
    """A port that is taken is said in one line: 2."""
    port = service.api_url.rpartition(":")[2]
    done = commands.run("sandbox", "--port", port)
    assert (done.code, done.says_one_line_and_cure()) == (2, True)


def test_demo(commands: Commands, tmp_path: Path) -> None:
    """The demo mirrors its event, also a second time, and the two commands that it prints work."""
    first = commands.run("demo")
    assert (first.code, "whole: 200 photos, 400 files in" in first.out) == (0, True)
    again = commands.run("demo")
    assert (again.code, "nothing had to be fetched" in again.out) == (0, True)
    lines = [
        line.strip() for line in first.out.partition("Try next:")[2].splitlines() if line.strip()
    ]
    assert len(lines) == 2
    for line in lines:
        done = subprocess.run(
            line,
            shell=True,
            cwd="/",
            env=commands.environ,
            capture_output=True,
            text=True,
            check=False,
        )
        assert (done.returncode, done.stderr) == (0, "")
    assert os.listdir(tmp_path) == ["demo-mirror"]


def test_demo_of_another_size(commands: Commands) -> None:
    """A demo of fewer photos after a larger one is whole, too: nothing counts as removed."""
    for photos in (30, 10):
        done = commands.run("demo", "--photos", photos)
        assert (done.code, f"whole: {photos} photos" in done.out) == (0, True)


def test_demo_needs_no_configuration(commands: Commands, tmp_path: Path) -> None:
    """Neither a config file nor a key of the person's leaks into the demo."""
    (tmp_path / "ninepic-mirror.toml").write_text('[mirror]\nroot = "/proc/none"\nvariants = []\n')
    del commands.environ["NINEPIC_API_KEY"]
    (tmp_path / "elsewhere").mkdir()
    assert commands.run("demo", "elsewhere/here", "--photos", 5).code == 0
    described = json.loads(
        next(
            (tmp_path / "elsewhere" / "here").glob("*-mumbai-marathon-2026/event.json")
        ).read_text()
    )
    assert described["variants"] == ["thumbnail", "large"]
