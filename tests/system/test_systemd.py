"""The files in systemd/, and what `check` says of the unit: judged by systemd's own tools, without a systemd that runs."""

from __future__ import annotations

import os
import re
import shutil
import stat
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest

if TYPE_CHECKING:
    from tests.system.conftest import Commands, Service

FOLDER: Final = Path(__file__).parents[2] / "systemd"
UNITS: Final = ("ninepic-mirror.service", "ninepic-mirror@.service")
VERIFY: Final = ("ninepic-mirror-verify.service", "ninepic-mirror-verify.timer")
# In tenths: the limits of exposure (RELIABILITY T22).
WORST: Final = dict.fromkeys(UNITS, 11) | {VERIFY[0]: 2}
SNIPPETS: Final = ("ninepic-mirror.sysusers", "ninepic-mirror.tmpfiles")


def tool(name: str) -> str:
    """Return where one of systemd's tools is; skip, and say why, where there is none."""
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not here (Debian: apt install systemd)")
    return found


def run(*words: object) -> subprocess.CompletedProcess[str]:
    """Run a command and take both its streams as one."""
    return subprocess.run(
        list(map(str, words)),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        env={"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8"},
    )


@pytest.mark.parametrize("unit", WORST)
def test_exposure(unit: str) -> None:
    """`systemd-analyze security` gives 1.1 or better, and 0.2 to the unit that needs no network."""
    analyze, limit = tool("systemd-analyze"), f"--threshold={WORST[unit]}"
    done = run(analyze, "security", "--offline=true", limit, "--no-pager", FOLDER / unit)
    print(done.stdout.strip().splitlines()[-1])
    assert done.returncode == 0, done.stdout


def test_units_are_clean(tmp_path: Path) -> None:
    """`systemd-analyze verify` has nothing to say of copies that name a command that is there."""
    analyze = tool("systemd-analyze")
    command = tmp_path / "ninepic-mirror"
    command.write_text("#!/bin/sh\n")
    command.chmod(0o755)
    units = (*UNITS, *VERIFY)
    copies = [tmp_path / unit.replace("@.", "@club.") for unit in units]
    for unit, copy in zip(units, copies, strict=True):
        copy.write_text(
            (FOLDER / unit).read_text().replace("/usr/bin/ninepic-mirror", str(command))
        )
    done = run(analyze, "verify", "--man=no", *copies)
    assert (done.returncode, done.stdout) == (0, "")


@pytest.mark.parametrize("unit", [*UNITS, *VERIFY])
def test_every_directive_has_its_reason(unit: str) -> None:
    """A comment stands above each directive, and says more than its name."""
    above = ""
    for line in (FOLDER / unit).read_text().splitlines():
        if re.match(r"[A-Z]\w+=", line):
            assert re.match(r"# .{10,}", above), line
        above = line


@pytest.mark.parametrize("unit", [*UNITS, *VERIFY])
def test_no_core_and_nothing_for_others(unit: str) -> None:
    """A crash writes no key to a disk (RELIABILITY N6), others read nothing (L17), memory is bounded (L11)."""
    if unit.endswith(".timer"):
        return
    lines = (FOLDER / unit).read_text().splitlines()
    assert "LimitCORE=0" in lines
    assert {"UMask=0077", "UMask=0027"} & set(lines)
    assert any(line.startswith("MemoryMax=") for line in lines)


def test_an_instance_differs_in_its_files_only() -> None:
    """What is true of the one unit is true of the template."""
    one, many = (
        [line for line in (FOLDER / unit).read_text().splitlines() if not line.startswith("#")]
        for unit in UNITS
    )
    changed = {line.partition("=")[0] for line in set(one) ^ set(many)}
    assert changed == {"Description", "ExecStart", "LoadCredential", "StateDirectory"}
    assert sum("%i" in line for line in many) == len(changed)


def test_verification_is_by_the_owner_of_the_mirror() -> None:
    """Both units work as the same user, on the same places, by the same configuration."""
    one, other = ((FOLDER / unit).read_text().splitlines() for unit in (UNITS[0], VERIFY[0]))
    same = ("User=", "Group=", "StateDirectory", "ReadWritePaths=", "ProtectSystem=")
    shared = [line for line in one if line.startswith(same)]
    assert len(shared) == 6
    assert set(shared) <= set(other)
    (command,) = (line for line in other if line.startswith("ExecStart="))
    assert command.startswith(next(line for line in one if line.startswith("ExecStart="))[:-6])


def test_user_and_group(tmp_path: Path) -> None:
    """systemd-sysusers makes the user and the group that the unit names."""
    done = run(tool("systemd-sysusers"), f"--root={tmp_path}", "--dry-run", FOLDER / SNIPPETS[0])
    assert done.returncode == 0, done.stdout
    assert "Creating group 'ninepic'" in done.stdout
    assert "Creating user 'ninepic'" in done.stdout


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give folders to another user")
def test_folders(tmp_path: Path) -> None:
    """systemd-tmpfiles makes the folders, and takes the keys from everybody but root."""
    sysusers, tmpfiles = tool("systemd-sysusers"), tool("systemd-tmpfiles")
    etc = tmp_path / "etc/ninepic-mirror"
    etc.mkdir(parents=True)
    assert run(sysusers, f"--root={tmp_path}", FOLDER / SNIPPETS[0]).returncode == 0
    for name in ("key", "club.key", "config.toml"):
        (etc / name).write_text("")
        (etc / name).chmod(0o666)
    done = run(tmpfiles, f"--root={tmp_path}", "--create", FOLDER / SNIPPETS[1])
    assert (done.returncode, done.stdout) == (0, "")
    entry = next(
        line
        for line in (tmp_path / "etc/passwd").read_text().splitlines()
        if line.startswith("ninepic:")
    )
    user, group = map(int, entry.split(":")[2:4])
    found = {}
    for path in (tmp_path / "srv/ninepic", etc, *etc.iterdir()):
        state = path.stat()
        found[path.name] = (stat.S_IMODE(state.st_mode), state.st_uid, state.st_gid)
    assert found == {
        "ninepic": (0o2750, user, group),
        "ninepic-mirror": (0o750, 0, group),
        "config.toml": (0o666, 0, 0),  # as it was
        "key": (0o600, 0, 0),
        "club.key": (0o600, 0, 0),
    }
    assert not list(
        (tmp_path / "srv/ninepic").iterdir()
    )  # a marker here would make a mirror of a bare mount point


def test_check_prints_the_drop_in(commands: Commands, service: Service, tmp_path: Path) -> None:
    """`check` prints what the unit needs for another root, and nothing where it needs nothing."""
    text = f'[api]\norg_id = 903\nbase_url = "{service.api_url}"\n[mirror]\nroot = "{{}}"\n'
    config = tmp_path / "config.toml"
    config.write_text(text.format("/mnt/nas/ninepic"))
    done = commands.run("--config", config, "check")
    assert done.out.endswith(
        "      # /etc/systemd/system/ninepic-mirror.service.d/root.conf\n"
        "      [Service]\n"
        "      ReadWritePaths=-/mnt/nas/ninepic\n"
    )
    config.write_text(text.format("/srv/ninepic"))
    assert "[Service]" not in commands.run("--config", config, "check").out
    done = commands.run("check", *service.flags, "--root", "m")  # nobody runs a service by flags
    assert "[Service]" not in done.out
