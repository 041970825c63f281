"""Every exit code of DESIGN §3 and, for every error, one line that says what is wrong and one that says what to do."""

from __future__ import annotations

import fcntl
import os
import re
import sqlite3
import subprocess
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.forking import Forking
    from tests.system.conftest import Commands, Serve, Service


@pytest.fixture
def commands(forking: Forking) -> Commands:
    """Commands in forks: there are dozens of them here."""
    return forking


def test_wrong_key(commands: Commands, service: Service) -> None:
    """A key that the service refuses ends with 3 and names the organisation, and never the key."""
    commands.environ["NINEPIC_API_KEY"] = "wrong-secret"
    done = commands.run("sync", 456, *service.flags, "--root", "m")
    assert (done.code, done.says_one_line_and_cure()) == (3, True)
    assert "organisation 903" in done.err
    assert "wrong-secret" not in done.out + done.err


def test_revoked_key_ends_the_run(commands: Commands, serve: Serve) -> None:
    """A refused key ends the run; events that were not begun are in the JSON, and not whole."""
    service = serve("--photos", 5, "--events", 2)
    service.order("POST", "revoke", {"key": "test-key"})
    done = commands.run("sync", 456, 457, *service.flags, "--root", "m", "--json")
    assert (done.code, done.document["exit_code"]) == (3, 3)
    assert [(entry["event_id"], entry["whole"]) for entry in done.document["events"]] == [
        (456, False), (457, False),
    ]  # fmt: skip
    assert all(entry["failures"] for entry in done.document["events"])
    assert done.says_one_line_and_cure()


def test_no_key(commands: Commands, service: Service) -> None:
    """Without any key nothing is asked; the error says where keys are looked for."""
    del commands.environ["NINEPIC_API_KEY"]
    done = commands.run("sync", 456, *service.flags, "--root", "m")
    assert (done.code, done.says_one_line_and_cure()) == (2, True)
    assert "NINEPIC_API_KEY" in done.err


def test_foreign_event(commands: Commands, service: Service, tmp_path: Path) -> None:
    """An event that the service does not know ends with 9 and leaves no folder."""
    done = commands.run("sync", 999, *service.flags, "--root", "m")
    assert (done.code, done.says_one_line_and_cure()) == (9, True)
    assert not list((tmp_path / "m").glob("999*"))


def test_unknown_config_key(commands: Commands, tmp_path: Path) -> None:
    """A key that no setting has ends with 2, naming file, key and the nearest right one."""
    (tmp_path / "ninepic-mirror.toml").write_text(
        '[api]\norg_id = 1\n[mirror]\nroot = "m"\nconections = 8\n'
    )
    done = commands.run("sync", 456)
    assert (done.code, done.says_one_line_and_cure()) == (2, True)
    assert "ninepic-mirror.toml: mirror.conections" in done.err
    assert "connections" in done.err


@pytest.mark.parametrize(
    "words",
    [
        ("sync", "456", "--org", "many"),
        ("sync", "--frobnicate"),
        ("sync", "456", "--all", "--org", "1", "--root", "m"),
        ("sync", "--org", "1", "--root", "m"),
        ("sync", "456", "--org", "1", "--root", "m", "--timezone", "Moon/Tranquility"),
        ("sync", "456", "--org", "1", "--root", "m", "--layout", "{image_id}"),
        ("sync", "456", "--root", "m"),
        ("-q", "-v", "sync", "456"),
        ("frobnicate",),
    ],
)
def test_usage(commands: Commands, words: tuple[str, ...]) -> None:
    """What cannot be carried out ends with 2 and says what to write instead; with --json there is one object."""
    done = commands.run(*words)
    assert (done.code, done.out, done.says_one_line_and_cure()) == (2, "", True)
    if words[0] == "sync":
        assert commands.run(*words, "--json").document == {"events": [], "exit_code": 2}


def test_untrusted_certificate(commands: Commands, serve: Serve) -> None:
    """A certificate of an unknown authority ends with 5 at once and names the flag that helps."""
    service = serve("--photos", 5, "--tls")
    done = commands.run("sync", 456, *service.flags, "--root", "m", timeout=20)
    assert (done.code, done.says_one_line_and_cure()) == (5, True)
    assert "--ca-file" in done.err


def test_told_to_wait_too_long(commands: Commands, service: Service) -> None:
    """A service that wants to be left alone for longer than a one-shot waits ends it with 5, saying until when."""
    service.fault(kind="429", origin="api", retry_after=900)
    done = commands.run("sync", 456, *service.flags, "--root", "m", "--json", timeout=20)
    assert (done.code, done.says_one_line_and_cure()) == (5, True)
    assert "until 20" in done.err
    (failure,) = done.entry["failures"]
    assert re.search(r"left alone until 20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d[+-]", failure["error"])
    assert "0 s" not in done.err
    assert (done.entry["event_id"], done.entry["whole"]) == (456, False)


def test_requests_are_counted_when_a_pass_ends_early(commands: Commands, serve: Serve) -> None:
    """`requests`, `retries` and `seconds` are true whatever the exit code; what was never begun asked nothing."""
    service = serve("--photos", 60, "--events", 2)
    asked = {}
    for name, words in {
        "unknown": ("999",), "no such day": ("456", "--day", "2026-03-01"), "a day": ("456", "--day", "2026-01-18"),
    }.items():  # fmt: skip
        service.order("DELETE", "requests")
        done = commands.run("sync", *words, *service.flags, "--root", "m", "--json")
        asked[name] = done.code
        assert done.entry["requests"] == service.requests(), name
        assert done.entry["seconds"] > 0
    assert asked == {"unknown": 9, "no such day": 2, "a day": 0}
    service.order("DELETE", "requests")
    service.fault(kind="503", origin="api", count=2)
    service.fault(kind="429", origin="api", retry_after=900, after=2)
    done = commands.run("sync", 456, 457, *service.flags, "--root", "m", "--json", timeout=20)
    first, second = done.document["events"]
    assert (done.code, first["requests"], first["retries"]) == (5, service.requests(), 2)
    assert (second["requests"], second["retries"], second["seconds"]) == (
        {"api": 0, "photos": 0},
        0,
        0,
    )


def test_https_where_http_is_spoken(commands: Commands, service: Service) -> None:
    """A handshake that is answered in plain text ends the run at once: 5, saying what happened."""
    flags = ["--org", "903", "--base-url", service.api_url.replace("http://", "https://")]
    done = commands.run("sync", 456, *flags, "--root", "m", timeout=20)
    assert (done.code, done.says_one_line_and_cure()) == (5, True)
    assert "does not speak TLS: it answered in plain text" in done.err
    assert "base_url" in done.err


def test_redirected_api(commands: Commands, service: Service) -> None:
    """An API that redirects is not followed: 5, with a hint at base_url, and no word of a bug."""
    service.fault(kind="redirect", origin="api", to="http://192.0.2.1/")
    done = commands.run("sync", 456, *service.flags, "--root", "m")
    assert (done.code, done.says_one_line_and_cure()) == (5, True)
    assert ("base_url" in done.err, "bug" in done.err) == (True, False)


def test_second_instance(commands: Commands, service: Service, tmp_path: Path) -> None:
    """While another process holds the event a pass waits 10 s, then ends with 7 and names it."""
    commands.run("sync", 456, *service.flags, "--root", "m")
    (path,) = (tmp_path / "m").glob("456-*/.ninepic-mirror/manifest.sqlite3")
    doubt = '{"failures": [{"image_id": null, "variant": null, "error": "stopped before"}]}'
    with closing(sqlite3.connect(path)) as manifest, manifest:
        manifest.execute("UPDATE passes SET whole = 0, report = ?", [doubt])
    (lock,) = (tmp_path / "m").glob("456-*/.ninepic-mirror/lock")
    with lock.open("r+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.truncate(0)
        file.write(f"{os.getpid()}\n")
        file.flush()
        done = commands.run("sync", 456, *service.flags, "--root", "m", "--json")
    assert (done.code, done.document["exit_code"]) == (7, 7)
    assert done.says_one_line_and_cure()
    assert f"process {os.getpid()}" in done.err
    assert (done.entry["whole"], done.entry["files"]["present"]) == (False, 120)
    assert [one["error"] for one in done.entry["failures"]] == [
        f"event 456 is held by process {os.getpid()}"
    ]


def test_no_mirror_root(commands: Commands, service: Service, tmp_path: Path) -> None:
    """A folder that holds other things and no marker is not written to: 6."""
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / "thesis.odt").write_text("years of work")
    done = commands.run("sync", 456, *service.flags, "--root", "m", "--json")
    assert (done.code, done.says_one_line_and_cure()) == (6, True)
    assert os.listdir(tmp_path / "m") == ["thesis.odt"]
    assert done.entry["whole"] is False


def test_unmounted(commands: Commands, service: Service) -> None:
    """With require_mount a root that is no mount point is refused: 6."""
    done = commands.run("sync", 456, *service.flags, "--root", "m", "--require-mount")
    assert (done.code, done.says_one_line_and_cure()) == (6, True)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file to another user")
def test_foreign_owner(commands: Commands, service: Service, tmp_path: Path) -> None:
    """Root does not write into another user's mirror: 6, naming the user."""
    commands.run("sync", 456, *service.flags, "--root", "m")
    os.chown(tmp_path / "m" / ".ninepic-mirror-root", 12345, 12345)
    service.order("POST", "456/add", {"count": 1, "hour": 1768784400})
    done = commands.run("sync", 456, *service.flags, "--root", "m")
    assert (done.code, done.says_one_line_and_cure()) == (6, True)
    assert "12345" in done.err


def test_read_only_root(
    commands: Commands, service: Service, small_disk: Callable[[str], Path]
) -> None:
    """A file system that became read-only ends with 6, and `status` can still be read."""
    root = small_disk("size=64m") / "m"
    flags = [*service.flags, "--root", root, "--min-free", 0]
    assert commands.run("sync", 456, *flags).code == 0
    small_disk("ro")
    explored = commands.run("sync", 456, *service.flags, "--root", root, "--dry-run", "--json")
    assert (explored.code, explored.entry["known"]) == (0, 60), "it changes nothing"
    done = commands.run("sync", 456, *flags)
    assert (done.code, done.says_one_line_and_cure()) == (6, True)
    assert commands.run("status", "--root", root).code == 0
    small_disk("rw")


def test_full_disk(commands: Commands, service: Service, small_disk: Callable[[str], Path]) -> None:
    """A disk that fills up ends with 6; what was had is listed, and with room the next run finishes."""
    root = small_disk("size=3m") / "m"
    flags = [*service.flags, "--root", root, "--min-free", 0]
    done = commands.run("sync", 456, *flags, "--json")
    assert (done.code, done.says_one_line_and_cure()) == (6, True)
    assert (done.entry["event_id"], done.entry["whole"]) == (456, False)
    small_disk("size=64m")
    assert commands.run("sync", 456, *flags).code == 0


def test_min_free(commands: Commands, service: Service, small_disk: Callable[[str], Path]) -> None:
    """A disk with less room than min_free is not filled further: 6."""
    root = small_disk("size=64m") / "m"
    done = commands.run("sync", 456, *service.flags, "--root", root)
    assert (done.code, done.says_one_line_and_cure()) == (6, True)


def test_status_of_nothing(commands: Commands, service: Service) -> None:
    """`status` and `manifest` of an event that is not mirrored here end with 9, of no root at all with 6."""
    nothing = commands.run("status", "--root", "m")
    assert (nothing.code, nothing.says_one_line_and_cure()) == (6, True)
    commands.run("sync", 456, *service.flags, "--root", "m")
    for words in (("status", 999), ("manifest", 999)):
        done = commands.run(*words, "--root", "m")
        assert (done.code, done.says_one_line_and_cure()) == (9, True)


def test_status_of_a_lost_manifest(commands: Commands, service: Service) -> None:
    """An event whose folder stands without a manifest is told, and how it comes back; another's folder is not."""
    commands.run("sync", 456, *service.flags, "--root", "m")
    (commands.folder / "m/2026-holidays").mkdir()
    (commands.folder / "m/2026-holidays/beach.jpg").write_text("")
    (path,) = (commands.folder / "m").glob("456-*/.ninepic-mirror/manifest.sqlite3")
    path.unlink()
    for words in (("status",), ("status", 456)):
        done = commands.run(*words, "--root", "m")
        assert (done.code, done.out, done.says_one_line_and_cure()) == (6, "", True)
        assert "its manifest is lost" in done.err
        assert "verify 456 --repair --root m --org NUMBER" in done.err
    for line in ("manifest 456", "deliver 456 package", "deliver --list", "deliver 456 --list"):
        done = commands.run(*line.split(), "--root", "m")
        assert (line, done.code, done.says_one_line_and_cure()) == (line, 6, True)
        assert "its manifest is lost" in done.err
        assert "verify 456 --repair --root m --org NUMBER" in done.err
    listed = commands.run("events", *service.flags, "--root", "m", "--json")
    assert (listed.code, "verify 456 --repair --org 903" in listed.err) == (6, True)
    assert listed.entry["mirror"] is not None
    assert "its manifest is lost" in str(listed.entry["mirror"]["error"])
    document = commands.run("status", "--root", "m", "--json").document
    assert [(one["event_id"], one["whole"]) for one in document["events"]] == [(456, False)]
    commands.run("sync", 456, *service.flags, "--root", "m")
    assert commands.run("status", "--root", "m").code == 0


def test_output_that_nobody_reads(commands: Commands, service: Service) -> None:
    """A reader that goes away early causes no traceback, and the pass is made all the same."""
    process = commands.start("sync", 456, *service.flags, "--root", "m")
    assert process.stdout is not None
    process.stdout.close()
    assert process.stderr is not None
    assert (process.wait(60), process.stderr.read()) == (0, "")
    process.stderr.close()
    assert commands.run("status", "--root", "m").code == 0
    head = subprocess.run(
        f"{commands.shell('manifest', 456, '--root', 'm')} | head -1",
        shell=True, cwd=commands.folder, env=commands.environ, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (head.stdout.split(",")[0], head.stderr) == ("path", "")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="only Linux has /dev/full")
def test_output_on_a_full_disk(commands: Commands, service: Service) -> None:
    """A result that could not be written down is an error: 6."""
    commands.run("sync", 456, *service.flags, "--root", "m")
    for words in (("manifest", 456), ("status", 456), ("status", 456, "--json")):
        with Path("/dev/full").open("w") as full:
            process = commands.start(*words, "--root", "m", stdout=full.fileno())
            _, err = process.communicate(timeout=60)
        assert (process.returncode, "standard output" in err, "Traceback" in err) == (
            6,
            True,
            False,
        )
