"""The settings as values, and how people write sizes, times and bandwidths (DESIGN §4). No I/O."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, fields, replace
from decimal import Decimal
from typing import TYPE_CHECKING, Final, Literal

from ninepic_mirror.config.layout import DEFAULT_LAYOUT

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from ninepic_mirror.model import Variant

DEFAULT_URL: Final = "https://api.9pic.ai"  # API.md, Basics

# Decimal and binary units as the IEC writes them; a bare "M" is refused, since half the world means
# each.
_UNITS: Final = {"": 1, "b": 1} | {
    f"{letter}{suffix}": base**power
    for power, letter in enumerate("kmgt", start=1)
    for suffix, base in (("b", 1000), ("ib", 1024))
}
_SECONDS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
_LARGEST: Final = 2**63 - 1  # what SQLite and the system calls take


def parse_size(text: str) -> int:
    """Read a size such as `2GB`, `500 MiB` or `4096`.

    Args:
        text: A number, at will with a decimal point, and a unit from B to TB or TiB.

    Returns:
        Bytes.

    Raises:
        ValueError: It is no size.
    """
    found = re.fullmatch(r"\s*([0-9]{1,18}(?:\.[0-9]{1,9})?)\s*([A-Za-z]*)\s*", text, re.ASCII)
    unit = _UNITS.get(found[2].lower()) if found else None
    size = int(Decimal(found[1]) * unit) if found and unit else -1
    if not 0 <= size <= _LARGEST:
        raise ValueError("is no size")
    return size


def parse_duration(text: str) -> int:
    """Read a duration such as `30s`, `24h` or `30d`.

    Args:
        text: A whole number and one of s, m, h, d, w.

    Returns:
        Seconds.

    Raises:
        ValueError: It is no duration, or longer than a century.
    """
    found = re.fullmatch(r"\s*([0-9]{1,10})\s*([smhdw])\s*", text, re.ASCII)
    seconds = int(found[1]) * _SECONDS[found[2]] if found else -1
    # A century keeps every later sum of times inside what datetime can hold.
    if not 0 <= seconds <= 36_525 * _SECONDS["d"]:
        raise ValueError("is no duration")
    return seconds


@dataclass(frozen=True, slots=True)
class Bandwidth:
    """How many bytes a second may be fetched, by the time of day.

    Args:
        steps: Minute of the day (local time of the machine) from which a limit holds, and the limit
            in bytes per second, 0 for none; ascending, at least one. Before the first, yesterday's
            last holds.
    """

    steps: tuple[tuple[int, int], ...] = ((0, 0),)

    @classmethod
    def parse(cls, text: str) -> Bandwidth:
        """Read `0`, `20MB/s` or a timetable `08:00 5MB/s, 23:00 0`.

        Raises:
            ValueError: It is none of them, or a time stands twice.
        """
        if ":" not in text:
            return cls(((0, _parse_rate(text)),))
        steps: dict[int, int] = {}
        for entry in text.split(","):
            found = re.fullmatch(r"\s*([01]?[0-9]|2[0-3]):([0-5][0-9])\s+(\S.*)", entry, re.ASCII)
            if not found:
                raise ValueError("is no timetable")
            minute = int(found[1]) * 60 + int(found[2])
            if minute in steps:
                raise ValueError(f"names {found[1]}:{found[2]} twice")
            steps[minute] = _parse_rate(found[3])
        return cls(tuple(sorted(steps.items())))

    def at(self, minute_of_day: int) -> int | None:
        """Return the limit in bytes per second at a minute of the day, 0 to 1439; None for none."""
        limit = self.steps[-1][1]
        for start, rate in self.steps:
            if start <= minute_of_day:
                limit = rate
        return limit or None


def _parse_rate(text: str) -> int:
    rate = parse_size(re.sub(r"/s\s*$", "", text))
    # Below 1 kB/s every photo would run into the minimum rate of DESIGN §7 and fail.
    if 0 < rate < 1000:
        raise ValueError("is below 1kB/s, at which no photo would arrive")
    return rate


@dataclass(frozen=True, slots=True)
class Api:
    """The service and how to ask it (DESIGN §4, [api])."""

    org_id: int
    base_url: str = DEFAULT_URL
    """Without a slash at its end."""
    key_file: Path | None = None
    key_command: tuple[str, ...] = ()
    requests_per_second: float = 0.0
    """0: the pacer finds the rate."""
    ca_file: Path | None = None
    proxy: str = field(default="", repr=False)  # it may carry a password
    allow_private: bool = False


@dataclass(frozen=True, slots=True)
class Mirror:
    """Where photos are put and how (DESIGN §4, [mirror])."""

    root: Path
    variants: tuple[Variant, ...] = ("thumbnail", "large")
    layout: str = DEFAULT_LAYOUT
    timezone: str = "UTC"
    connections: int = 64
    bandwidth: Bandwidth = Bandwidth()
    min_free: int = 2_000_000_000
    """Bytes."""
    on_remote_removal: Literal["keep", "trash"] = "keep"
    trash_keep: int = 30 * 86_400
    """Seconds."""
    duplicates: Literal["hardlink", "copy"] = "hardlink"
    durability: Literal["batch", "none"] = "batch"
    state_dir: Path | None = None
    require_mount: bool = False


@dataclass(frozen=True, slots=True)
class Events:
    """Which events the daemon and `sync --all` take (DESIGN §4, [events])."""

    ids: tuple[int, ...] = ()
    all: bool = False
    status: tuple[str, ...] = ()
    """Narrows `all`, as do the next two; empty: any."""
    name: str = ""
    """A pattern as of a shell, such as `*Marathon*`."""
    newer_than: int | None = None
    """Seconds."""


@dataclass(frozen=True, slots=True)
class Daemon:
    """How the daemon works (DESIGN §4, [daemon]); times in seconds."""

    min_interval: int = 30
    """Between two passes over an event to which photos come."""
    max_interval: int = 6 * 3600
    """... in which nothing changes any more."""
    full_interval: int = 24 * 3600
    """Between two full passes over an event, doubling up to 30 days while they find nothing."""
    listen: tuple[str, int] | None = None
    """Host and port of metrics, health and status page; None: nothing listens."""
    stale_after: int = 24 * 3600
    """How long an event may not have been whole before it counts as unhealthy."""


@dataclass(frozen=True, slots=True)
class Hooks:
    """What the daemon runs when something happens (DESIGN §4, [hooks]): a command's words; empty: nothing."""

    new_photos: tuple[str, ...] = ()
    pass_whole: tuple[str, ...] = ()
    pass_failed: tuple[str, ...] = ()
    stale: tuple[str, ...] = ()
    recovered: tuple[str, ...] = ()
    timeout: int = 60
    """Seconds that a command may take."""
    ping_url: str = field(default="", repr=False)  # it usually carries a secret
    """Asked after every pass that ends whole, for a monitor that notices silence."""


@dataclass(frozen=True, slots=True)
class EventSettings:
    """What differs for one event (DESIGN §4, [event.N]); None: as in [mirror]."""

    variants: tuple[Variant, ...] | None = None
    layout: str | None = None
    timezone: str | None = None
    on_remote_removal: Literal["keep", "trash"] | None = None
    trash_keep: int | None = None
    duplicates: Literal["hardlink", "copy"] | None = None

    def over(self, others: EventSettings) -> EventSettings:
        """Return these, and where they say nothing, the others."""
        said = {one.name: getattr(self, one.name) for one in fields(self)}
        return replace(others, **{name: value for name, value in said.items() if value is not None})

    def apply(self, mirror: Mirror) -> Mirror:
        """Return `mirror` with what differs for this event."""
        return replace(
            mirror,
            variants=mirror.variants if self.variants is None else self.variants,
            layout=mirror.layout if self.layout is None else self.layout,
            timezone=mirror.timezone if self.timezone is None else self.timezone,
            on_remote_removal=self.on_remote_removal or mirror.on_remote_removal,
            trash_keep=mirror.trash_keep if self.trash_keep is None else self.trash_keep,
            duplicates=self.duplicates or mirror.duplicates,
        )


@dataclass(frozen=True, slots=True)
class Config:
    """All settings of a run.

    Args:
        api: The service.
        mirror: The mirror, for every event that has no settings of its own.
        events: Which events are taken without being named.
        event: Event id → what differs for it.
        source: The file that was read, None when flags gave everything.
        daemon: How the daemon works.
        hooks: What it runs when something happens.
    """

    api: Api
    mirror: Mirror
    events: Events = Events()
    event: Mapping[int, EventSettings] = field(default_factory=dict)
    source: Path | None = None
    daemon: Daemon = Daemon()
    hooks: Hooks = Hooks()

    def mirror_for(self, event_id: int) -> Mirror:
        """Return the mirror settings that hold for one event."""
        return self.event.get(event_id, EventSettings()).apply(self.mirror)
