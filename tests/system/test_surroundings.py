"""The same mirror comes of the same event, whatever the process is given to live with (RELIABILITY L11, L15)."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

from tests.mirrored import mirrored, photo_requests
from tests.oracle import check_settled, rows

if TYPE_CHECKING:
    from tests.system.conftest import Commands, Service


def test_little_of_everything(commands: Commands, service: Service) -> None:
    """64 open files and 256 MB of memory are enough for a whole mirror."""
    words = commands.shell("sync", 456, *service.flags, "--root", "m")
    done = subprocess.run(
        ["sh", "-c", f"ulimit -n 64; ulimit -d 262144; exec {words}"],
        cwd=commands.folder,
        env=commands.environ,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "connections" in done.stderr  # it says that the limit on open files allows fewer
    (folder,) = (commands.folder / "m").glob("456-*")
    assert len(rows(folder)) == 120
    check_settled(folder)


def test_another_language_and_zone(commands: Commands, service: Service) -> None:
    """Another locale and time zone of the machine change no path: nothing is moved, and nothing is fetched."""
    commands.environ |= {"LC_ALL": "C", "TZ": "Pacific/Kiritimati", "PYTHONUTF8": "0"}
    before = mirrored(commands, service).hashes()
    asked = photo_requests(service)
    commands.environ |= {"LC_ALL": "C.UTF-8", "TZ": "Pacific/Niue"}
    again = mirrored(commands, service, "--full")
    assert again.hashes() == before
    assert photo_requests(service) == asked
    check_settled(again.folder)
