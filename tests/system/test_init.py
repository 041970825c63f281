"""`init` by flags and by questions, and `check`, which examines what it made."""

from __future__ import annotations

import os
import pty
import re
import select
import stat
import subprocess
import termios
import tomllib
from typing import TYPE_CHECKING

import pytest

from tests.system.conftest import KEY, PROGRAM

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.system.conftest import Commands, Document, Serve, Service


def test_by_flags(commands: Commands, service: Service, tmp_path: Path) -> None:
    """What flags say is written, the root is made, and `sync` then needs no flag."""
    done = commands.run(
        "init", "--event", 456, *service.flags, "--root", "m", "--timezone", "Asia/Kolkata"
    )
    config = tmp_path / ".config" / "ninepic-mirror" / "config.toml"
    assert (done.code, done.err) == (0, "")
    assert tomllib.loads(config.read_text()) == {
        "api": {"org_id": 903, "base_url": service.api_url},
        "mirror": {"root": str(tmp_path / "m"), "timezone": "Asia/Kolkata"},
        "events": {"ids": [456]},
    }
    assert (tmp_path / "m" / ".ninepic-mirror-root").is_file()
    assert "456  2026-01-18  active  Mumbai Marathon 2026" in done.out
    assert "watermark" in done.out
    assert KEY not in done.out + config.read_text()
    synced = commands.run("sync")
    assert (synced.code, "whole" in synced.out) == (0, True)
    assert commands.run("status").code == 0


def test_the_next_command_works_as_printed(
    commands: Commands, service: Service, tmp_path: Path
) -> None:
    """The command that `init PATH` prints mirrors the first event, with that config file."""
    done = commands.run("init", "mine.toml", *service.flags, "--root", "m")
    (line,) = [line for line in done.out.splitlines() if line.startswith("next: ")]
    assert str(tmp_path / "mine.toml") in line
    command = line.removeprefix("next: ")
    assert (
        subprocess.run(
            command, shell=True, cwd="/", env=commands.environ, check=False, capture_output=True
        ).returncode
        == 0
    )
    assert list((tmp_path / "m").glob("456-*/event.json"))


def test_never_overwrites(commands: Commands, service: Service, tmp_path: Path) -> None:
    """An existing file stands unless --force is given."""
    (tmp_path / "mine.toml").write_text("# precious\n")
    done = commands.run("init", "mine.toml", *service.flags, "--root", "m")
    assert (done.code, done.says_one_line_and_cure()) == (2, True)
    assert (tmp_path / "mine.toml").read_text() == "# precious\n"
    assert commands.run("init", "mine.toml", "--force", *service.flags, "--root", "m").code == 0


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["--org", "904"], 3),
        (["--timezone", "Moon/Base"], 2),
        (["--root", "/proc/none/m"], 6),
        (["--key-file", "missing"], 2),
        (["--root", b"caf\xe9"], 2),
    ],
)
def test_a_refusal_leaves_nothing(
    commands: Commands, service: Service, tmp_path: Path, words: list[str | bytes], code: int
) -> None:
    """When key, setting or root is no good there is no config file, so that the command can be typed again."""
    if "--key-file" in words:
        del commands.environ["NINEPIC_API_KEY"]
    given = [os.fsdecode(word) for word in words]
    done = commands.run("init", "mine.toml", *service.flags, "--root", "m", *given)
    assert (done.code, done.says_one_line_and_cure()) == (code, True)
    assert not list(tmp_path.glob("*mine.toml*"))


def test_names_no_key_file_that_is_missing(
    commands: Commands, service: Service, tmp_path: Path
) -> None:
    """With a key in the environment, too, a config never names a key file that is not there."""
    words = (*service.flags, "--root", "m", "--key-file", "later")
    done = commands.run("init", "mine.toml", *words)
    assert (done.code, done.says_one_line_and_cure()) == (2, True)
    assert f"{tmp_path / 'later'} does not exist" in done.err
    assert not (tmp_path / "mine.toml").exists()


def test_a_link_that_leads_nowhere_stands(
    commands: Commands, service: Service, tmp_path: Path
) -> None:
    """A dangling link in the place of the config file is somebody's: it is not overwritten without --force."""
    (tmp_path / "mine.toml").symlink_to("elsewhere.toml")
    done = commands.run("init", "mine.toml", *service.flags, "--root", "m")
    assert (done.code, done.says_one_line_and_cure()) == (2, True)
    assert (tmp_path / "mine.toml").is_symlink()


def test_nobody_to_ask(commands: Commands) -> None:
    """Without a terminal what is missing is named: 2."""
    done = commands.run("init")
    assert (done.code, done.says_one_line_and_cure()) == (2, True)
    assert "--org and --root" in done.err


class Terminal:
    """A command on a terminal of its own, with a person who answers questions."""

    def __init__(self, commands: Commands, *words: str) -> None:
        self.ours, theirs = pty.openpty()
        termios.tcsetwinsize(theirs, (25, 100))
        self.process = subprocess.Popen(
            [*PROGRAM, *words],
            stdin=theirs, stdout=theirs, stderr=theirs,
            cwd=commands.folder, env=commands.environ | {"TERM": "xterm"}, start_new_session=True,
        )  # fmt: skip
        os.close(theirs)
        self.seen = ""

    def answer(self, question: str, text: str) -> None:
        """Wait for a question and type an answer."""
        start = len(self.seen)
        while question not in self.seen[start:]:
            assert self._read(), f"{question} was not asked: {self.seen}"
        os.write(self.ours, f"{text}\n".encode())

    def _read(self) -> bool:
        ready, _, _ = select.select([self.ours], [], [], 20)
        try:
            found = os.read(self.ours, 4096) if ready else b""
        except OSError:  # how Linux says that the other end is closed
            found = b""
        self.seen += found.decode()
        return bool(found)

    def end(self) -> int:
        """Read to the end and return the exit code."""
        while self._read():
            pass
        os.close(self.ours)
        return self.process.wait(20)


def test_by_questions(commands: Commands, service: Service, tmp_path: Path) -> None:
    """A person is asked for what is missing; the key is typed unseen into a file that only they can read."""
    del commands.environ["NINEPIC_API_KEY"]
    terminal = Terminal(commands, "init", "--base-url", service.api_url)
    terminal.answer("organisation", "abc")
    terminal.answer("abc is no number of an organisation; write one such as 903", "903")
    terminal.answer("Folder for the photos", str(tmp_path / "m"))
    terminal.answer("Where is it", "file")
    terminal.answer("File of the key", "")
    terminal.answer("API key", KEY)
    assert terminal.end() == 0
    folder = tmp_path / ".config" / "ninepic-mirror"
    assert KEY not in terminal.seen
    assert (folder / "key").read_text() == f"{KEY}\n"
    assert stat.S_IMODE((folder / "key").stat().st_mode) == 0o600
    assert tomllib.loads((folder / "config.toml").read_text())["api"]["key_file"] == str(
        folder / "key"
    )
    assert commands.run("sync", 456).code == 0


def test_a_wrong_key_is_not_kept(commands: Commands, service: Service, tmp_path: Path) -> None:
    """A typed key that the service refuses is written nowhere."""
    del commands.environ["NINEPIC_API_KEY"]
    terminal = Terminal(commands, "init", "mine.toml", *service.flags, "--root", "m")
    terminal.answer("Where is it", "file")
    terminal.answer("File of the key", str(tmp_path / "key"))
    terminal.answer("API key", "wrong")
    assert terminal.end() == 3
    assert not (tmp_path / "key").exists()
    assert not (tmp_path / "mine.toml").exists()


def test_an_unwritable_place_is_named(commands: Commands, service: Service, tmp_path: Path) -> None:
    """The file that was to be written is named, not the one beside it, and the cure is not about a mirror."""
    (tmp_path / "file").write_text("")
    for place in ("file/mine.toml", "/proc/mine.toml"):
        done = commands.run("init", place, *service.flags, "--root", "m")
        assert (done.code, done.says_one_line_and_cure()) == (6, True)
        assert f"error: {tmp_path / place}: " in done.err
        assert ("mirror" in done.err.splitlines()[1], "name another place" in done.err) == (
            False,
            True,
        )
        assert not (tmp_path / "m").exists()


def test_end_of_sync_says_what_the_files_carry(commands: Commands, service: Service) -> None:
    """Once a run, on standard error, wherever that leads; not under -q, and not beside an object for scripts."""
    words = ("sync", 456, *service.flags, "--root", "m")
    done = commands.run(*words)
    assert (done.err.count("watermark"), "watermark" in done.out) == (1, False)
    for quiet in (
        commands.run("-q", *words),
        commands.run(*words, "--json"),
        commands.run("sync", 999, *words[2:]),
    ):
        assert "watermark" not in quiet.out + quiet.err


def test_end_of_sync_on_a_terminal(commands: Commands, service: Service) -> None:
    """On a terminal a pass draws a bar and ends with the note on the watermark."""
    terminal = Terminal(commands, "sync", "456", *service.flags, "--root", "m")
    assert terminal.end() == 0
    assert "watermark" in terminal.seen
    assert re.search(r"Mumbai Marathon 2026: 100%", terminal.seen)


# --- check -------------------------------------------------------------------------------------------------------


def states(document: Document) -> dict[str, str]:
    """Return how each thing that was checked is."""
    return {one["name"]: one["state"] for one in document["checks"]}


def test_check_of_a_good_mirror(commands: Commands, service: Service, tmp_path: Path) -> None:
    """With everything in order nothing fails, the code is 0, and the root is left as it was."""
    commands.run("sync", 456, *service.flags, "--root", "m")
    before = sorted(os.listdir(tmp_path / "m"))
    done = commands.run("check", *service.flags, "--root", "m", "--min-free", "1MB", "--json")
    found = states(done.document)
    assert (done.code, done.document["exit_code"]) == (0, 0)
    assert set(found) >= {
        "config", "key", "clock", "mirror root", "marker", "owner", "free space", "writable", "file locks",
        "hard links", "reflinks", "letter case", "name length", "manifests",
    }  # fmt: skip
    assert [found[name] for name in ("config", "key", "clock", "marker", "writable")] == ["ok"] * 5
    assert sorted(os.listdir(tmp_path / "m")) == before


def test_check_of_a_wrong_key(commands: Commands, service: Service) -> None:
    """A refused key fails with 3; the rest is looked at all the same."""
    commands.environ["NINEPIC_API_KEY"] = "wrong"
    done = commands.run("check", *service.flags, "--root", "m")
    assert done.code == 3
    assert "FAIL  key: the service refused the API key" in done.out
    assert "warn  mirror root:" in done.out


def test_check_of_a_bad_config(commands: Commands, tmp_path: Path) -> None:
    """Every fault of the config is listed with its cure: 2."""
    (tmp_path / "bad.toml").write_text('[api]\norg_id = "x"\n[mirror]\nroto = "m"\n')
    done = commands.run("--config", "bad.toml", "check")
    assert done.code == 2
    assert done.out.count("FAIL  config:") == 3
    assert done.out.count("next:") == 3


def test_check_of_a_foreign_folder(commands: Commands, service: Service, tmp_path: Path) -> None:
    """A root without its marker fails with 6."""
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / "thesis.odt").write_text("")
    done = commands.run("check", *service.flags, "--root", "m", "--min-free", 0, "--json")
    assert (done.code, states(done.document)["marker"]) == (6, "FAIL")


def test_check_of_a_read_only_disk(
    commands: Commands, service: Service, small_disk: Callable[[str], Path]
) -> None:
    """A read-only root fails with 6, and so does one with less room than min_free."""
    root = small_disk("size=8m")
    done = commands.run("check", *service.flags, "--root", root, "--json")
    assert (done.code, states(done.document)["free space"]) == (6, "FAIL")
    small_disk("ro")
    done = commands.run("check", *service.flags, "--root", root, "--min-free", 0, "--json")
    assert (done.code, states(done.document)["writable"]) == (6, "FAIL")


@pytest.mark.parametrize("words", [("check", "--frobnicate"), ("--config", "sync", "check", "x")])
def test_check_json_of_a_usage_error(commands: Commands, words: tuple[str, ...]) -> None:
    """`check --json` prints its own kind of object also when its arguments cannot be read."""
    assert commands.run(*words, "--json").document == {"checks": [], "exit_code": 2}


def test_check_of_an_untrusted_service(commands: Commands, serve: Serve) -> None:
    """A certificate that is not trusted fails with 5."""
    service = serve("--photos", 5, "--tls")
    done = commands.run("check", *service.flags, "--root", "m")
    assert (done.code, "--ca-file" in done.out) == (5, True)
