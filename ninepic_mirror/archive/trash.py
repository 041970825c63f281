"""How long the days of the trash have lain there, by time that has certainly passed (RELIABILITY L9).

The name of a day is what a clock said, which may have been years off; so may the clock of now. Neither is believed:

1. A pass puts whatever goes to the trash into one day, and no other; before it does, the day is struck off the list.
2. A full pass puts every other day on the list: nothing comes to it any more but by a pass that strikes it off again.
   Beside it stands how much time had passed by then, counted from some start.
3. Time passes from one full pass to the next, as much as is certain (`Moment.since`).
4. A day may go that has been on the list for as long as it is to be kept.

In doubt too little has passed, and a day stays longer; what one gap lost, a clock that is right gains in the next ones.
"""

from __future__ import annotations

import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self

import msgspec
from msgspec import Struct, field

if TYPE_CHECKING:
    from ninepic_mirror.archive.manifest import Manifest

KEY: Final = "trash"  # in `meta`
_BOOT: Final = Path("/proc/sys/kernel/random/boot_id")
_CLOCK: Final = Path("/proc/self/ns/time")


class Moment(Struct, frozen=True):
    """What the clocks show at one moment, in seconds.

    Args:
        boot: Names the start of the machine, and where its clock counts from; empty where the system tells none.
        uptime: Since that start; nobody sets this clock, and it goes on while the machine sleeps. But it may be another in
            a container (time_namespaces(7)).
        here: Since 1970, by our clock.
        service: Likewise, by the service's; None where it does not tell.
    """

    boot: str
    uptime: float
    here: float
    service: float | None

    @classmethod
    def now(cls, service: float | None) -> Self:
        """Look at our clocks.

        Args:
            service: What the service's shows now.
        """
        try:
            boot, uptime = _BOOT.read_text().strip(), time.clock_gettime(time.CLOCK_BOOTTIME)
            with suppress(OSError):  # Linux before 5.6 has but one clock
                boot += f" {_CLOCK.readlink()}"
        except (OSError, AttributeError):  # not Linux
            boot, uptime = "", 0.0
        return cls(boot, uptime, time.time(), service)

    def since(self, before: Moment) -> float:
        """Return how many seconds have certainly passed since another moment.

        Without a restart the machine itself has counted them. Over a restart, or on another machine, our clock and the
        service's must both say so: either may have been set wrong, before or now. One alone says nothing.
        """
        if self.boot and self.boot == before.boot:
            passed = self.uptime - before.uptime
        elif self.service is None or before.service is None:
            passed = 0.0
        else:
            passed = min(self.here - before.here, self.service - before.service)
        return max(0.0, passed)


class _List(Struct):
    """What `meta` holds.

    Args:
        moment: When time was last counted.
        passed: Seconds that had passed by then.
        days: Those to which nothing comes any more → what had passed when they were put on the list.
    """

    moment: Moment
    passed: float = 0.0
    days: dict[str, float] = field(default_factory=dict)


def strike_off(manifest: Manifest, day: str) -> None:
    """From now on files may come to a day of the trash."""
    known = _read(manifest)
    if known is not None and known.days.pop(day, None) is not None:
        _write(manifest, known)


def forget_days(manifest: Manifest) -> None:
    """The manifest is an older copy: what came to which day since is not known."""
    _write(manifest, None)


class Ages:
    """How long days have lain in the trash, as one full pass sees it.

    Args:
        manifest: Open.
        today: Where the files of this pass go.
        moment: What the clocks show.
    """

    def __init__(self, manifest: Manifest, today: str, moment: Moment) -> None:
        self._manifest, self._today = manifest, today
        self._before = _read(manifest)
        self._list = _List(moment)
        if self._before is not None:
            self._list.passed = self._before.passed + moment.since(self._before.moment)

    def has_lain(self, day: str, keep: float) -> bool:
        """Whether the last file came to a day at least `keep` seconds ago; a day that was not on the list is put there."""
        if day == self._today:
            return False
        seen = self._list.passed
        if self._before is not None:
            seen = self._before.days.get(day, seen)
        self._list.days[day] = seen
        return self._list.passed - seen >= keep

    def record(self) -> None:
        """Keep the list, with the days that were asked for only: the others are not there any more."""
        if self._list.days or self._before is not None:
            _write(self._manifest, self._list if self._list.days else None)


def _read(manifest: Manifest) -> _List | None:
    return manifest.noted(KEY, _List)


def _write(manifest: Manifest, found: _List | None) -> None:
    manifest.set_meta({KEY: msgspec.to_builtins(found)})
