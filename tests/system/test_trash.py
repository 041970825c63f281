"""What goes to the trash stays there for `trash_keep`, whatever the clock of this machine shows (RELIABILITY L9)."""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from tests.plain import Plain, serving
from tests.torture.clock_jumps import DAY, YEAR, shifted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.system.conftest import Commands

pytestmark = pytest.mark.skipif(shutil.which("gcc") is None, reason="the clock is set by a library")


@dataclass
class Desk:
    """A mirror whose clock is set before each pass.

    Args:
        commands: Run it.
        plain: The service.
    """

    commands: Commands
    plain: Plain

    def configure(self, keep: str) -> None:
        """Photos that leave go to the trash for so long."""
        text = f'[api]\norg_id = 903\nbase_url = "{self.plain.url}"\n[mirror]\nroot = "m"\nvariants = ["large"]\n'
        text += f'min_free = 0\non_remote_removal = "trash"\ntrash_keep = "{keep}"\n'
        (self.commands.folder / "ninepic-mirror.toml").write_text(text)

    def sync(self, off: float, *words: str) -> None:
        """Make a pass while our clock is so many seconds ahead."""
        (self.commands.folder / "offset").write_text(str(int(off)))
        done = self.commands.run("sync", 456, *words)
        assert done.code == 0, done.err

    def trash(self, off: float) -> None:
        """Bring what has left to the trash: marked gone by one pass, moved by the next full one, seconds later."""
        self.sync(off)
        self.sync(off + 2, "--full")
        assert list((self.commands.folder / "m").rglob("trash/**/a05.jpg"))

    def restart(self) -> None:
        """Let the manifest's last full pass be one of another start of the machine."""
        (path,) = (self.commands.folder / "m").rglob("manifest.sqlite3")
        with closing(sqlite3.connect(path)) as opened:
            opened.execute(
                "UPDATE meta SET value = json_set(value, '$.moment.boot', 'another start')"
                " WHERE key = 'trash' AND value <> 'null'"
            )
            opened.commit()

    @property
    def kept(self) -> bool:
        """Whether the photo that left is still here."""
        return len(list((self.commands.folder / "m").rglob("a05.jpg"))) == 1


@pytest.fixture
def desk(commands: Commands) -> Iterator[Desk]:
    """A mirror of twenty photos, made while the clock was right."""
    commands.environ |= shifted(commands.folder)
    with serving(Plain([f"a{number:02d}" for number in range(20)])) as plain:
        found = Desk(commands, plain)
        found.configure("30d")
        found.sync(0)
        plain.ids.remove("a05")
        yield found


@pytest.mark.parametrize(
    ("trashing", "later", "restarts"),
    [
        (-YEAR, [0], False),
        (-10 * YEAR, [0], True),
        (0, [10 * YEAR, 10 * YEAR], False),
        (0, [10 * YEAR, 10 * YEAR], True),
        (10 * YEAR, [DAY, 10 * YEAR, -10 * YEAR, DAY], True),
    ],
)
def test_a_wrong_clock_deletes_nothing(
    desk: Desk, trashing: float, later: list[float], *, restarts: bool
) -> None:
    """Years behind as the photo goes to the trash, years ahead later, or back and forth, with and without restarts."""
    desk.trash(trashing)
    desk.sync(DAY, "--full")
    for off in later:
        if restarts:
            desk.restart()
        desk.sync(off, "--full")
        assert desk.kept


def test_over_a_restart_both_clocks_decide(desk: Desk) -> None:
    """Neither ours alone, nor the service's; nor ours where the service tells no time. When both say so, it goes."""
    desk.trash(0)
    desk.sync(DAY, "--full")
    clocks = ((32, 0), (1, 31), (40, None), (71, 62), (102, 93))
    for number, (here, service) in enumerate(clocks, 1):
        desk.restart()
        desk.plain.ahead = None if service is None else service * DAY
        desk.sync(here * DAY, "--full")
        assert desk.kept == (number < len(clocks))


def test_what_has_lain_long_enough_goes(
    desk: Desk, wait: Callable[[Callable[[], object]], None]
) -> None:
    """Within one start of the machine its own uptime is enough, whatever the clocks show."""
    desk.configure("1s")
    desk.plain.ahead = None
    desk.trash(0)
    desk.sync(10 * YEAR, "--full")
    assert desk.kept

    def has_gone() -> bool:
        desk.sync(-10 * YEAR, "--full")
        return not desk.kept

    wait(has_gone)  # for a second of the time that nobody can set


def test_what_comes_to_a_day_of_long_ago_is_kept_as_long(desk: Desk) -> None:
    """A clock that goes back puts a file beside others that have lain for weeks: it is not deleted with them."""
    desk.trash(0)
    desk.sync(DAY, "--full")
    desk.plain.replaced.add("a07")
    desk.sync(0, "--recheck")
    desk.restart()
    desk.plain.ahead = 31.0 * DAY
    desk.sync(32 * DAY, "--full")
    assert desk.kept
    (trash,) = (desk.commands.folder / "m").rglob("trash")
    assert list(trash.rglob("a07.jpg"))
