"""What the systemd unit must be told about a mirror that is not where it expects it (systemd/). No I/O."""

from __future__ import annotations

import posixpath
import re
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import PurePath

    from ninepic_mirror.config import Config

_UNIT: Final = "ninepic-mirror"
_CONFIGS: Final = PurePosixPath("/etc/ninepic-mirror")
_USUAL: Final = "config"  # config.toml there is the unit's, any other one that of an instance
_ROOT: Final = PurePosixPath("/srv/ninepic")  # ReadWritePaths= of the unit
_STATE: Final = PurePosixPath("/var/lib/ninepic-mirror")  # its StateDirectory=
# What ProtectHome=yes hides (systemd.exec(5)): ReadWritePaths= does not bring it back.
_HOMES: Final = tuple(map(PurePosixPath, ("/home", "/root", "/run/user")))
_TEMPORARY: Final = tuple(map(PurePosixPath, ("/tmp", "/var/tmp")))  # noqa: S108  PrivateTmp= hides them


def unit_of(config: Config) -> str:
    """Return the unit that reads this configuration: an instance of the template when the file is named so."""
    source = PurePosixPath(config.source) if config.source is not None else None
    if source is not None and source.parent == _CONFIGS and source.stem != _USUAL:
        return f"{_UNIT}@{source.stem}.service"
    return f"{_UNIT}.service"


def drop_in(config: Config) -> str | None:
    """Return the drop-in that lets the unit write where the configuration says; None where it may already."""
    unit = unit_of(config)
    _, at, instance = unit.removesuffix(".service").partition("@")
    known = (_ROOT, _STATE / instance if at else _STATE)
    places = [_normal(config.mirror.root)]
    if config.mirror.state_dir is not None:
        places.append(_normal(config.mirror.state_dir))
    wanted = [one for one in places if not _is_in(one, (*known, *places[: places.index(one)]))]
    if not wanted:
        return None
    if not all(str(one).isprintable() for one in wanted):
        return "# no unit file can name a folder with control characters in its path"
    return "\n".join((f"# /etc/systemd/system/{unit}.d/root.conf", "[Service]", *_lines(wanted)))


def _lines(places: Iterable[PurePosixPath]) -> Iterator[str]:
    hidden = [one for one in places if _is_in(one, _HOMES)]
    if hidden:
        yield "ProtectHome=tmpfs"
    if any(_is_in(one, _TEMPORARY) for one in places):
        yield "PrivateTmp=no"
    for one in places:
        # "-": a folder that is missing is no reason not to start; the daemon says what is wrong.
        yield f"{'BindPaths' if one in hidden else 'ReadWritePaths'}={_quoted(one)}"


def _normal(place: PurePath) -> PurePosixPath:
    return PurePosixPath(posixpath.normpath(place.as_posix()))


def _is_in(place: PurePosixPath, folders: Iterable[PurePosixPath]) -> bool:
    return any(place.is_relative_to(folder) for folder in folders)


def _quoted(place: PurePosixPath) -> str:
    """Return a path, with the "-", as one word of a unit file (systemd.syntax(7), and Specifiers in systemd.unit(5))."""
    word = f"-{place}".replace("%", "%%")
    if re.fullmatch(r"[\w./%@+,=-]+", word):
        return word
    return '"' + re.sub(r'(["\\])', r"\\\1", word) + '"'
