"""One rule for each key: how its value is read, and what to write when it cannot be (DESIGN §4).

A reader gets the value as TOML or a flag gives it, and the folder at which relative paths start. It
raises a TypeError or ValueError whose text says what is wrong.
"""

from __future__ import annotations

import difflib
import re
import zoneinfo
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Final, TypeVar
from urllib.parse import urlsplit

from msgspec import Struct

from ninepic_mirror.config.layout import DEFAULT_LAYOUT, parse_layout
from ninepic_mirror.config.settings import Bandwidth, EventSettings, parse_duration, parse_size
from ninepic_mirror.model import VARIANTS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

T = TypeVar("T")


def _string(value: object, _: Path) -> str:
    if not isinstance(value, str) or not value.isprintable():
        raise ValueError(f"must be a string in quotes, not {_kind(value)}")
    return value


def _boolean(value: object, _: Path) -> bool:
    if not isinstance(value, bool):
        raise TypeError(f"must be true or false, not {_kind(value)}")
    return value


def _integer(lowest: int, highest: int) -> Callable[[object, Path], int]:
    def read(value: object, _: Path) -> int:
        # bool is an int to Python, not to a person who wrote `connections = true`.
        if not isinstance(value, int) or isinstance(value, bool):
            raise TypeError(f"must be a whole number, not {_kind(value)}")
        if not lowest <= value <= highest:
            raise ValueError(f"must be from {lowest} to {highest}, not {value}")
        return value

    return read


_identity: Final = _integer(1, 2**63 - 1)  # the manifest keeps ids as SQLite integers


def _rate(value: object, _: Path) -> float:
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise TypeError(f"must be a number, not {_kind(value)}")
    # TOML knows inf and nan; nan would pass this comparison written the other way round.
    if not 0 <= value <= 1000:
        raise ValueError("must be from 0 to 1000")
    return float(value)


def _choice(*words: str) -> Callable[[object, Path], str]:
    def read(value: object, _: Path) -> str:
        if value not in words:
            raise ValueError(f"must be one of {', '.join(words)}, not {_kind(value)}")
        return str(value)

    return read


def _each(
    read: Callable[[object, Path], T], *, least: int = 0
) -> Callable[[object, Path], tuple[T, ...]]:
    def read_all(value: object, base: Path) -> tuple[T, ...]:
        if not isinstance(value, list | tuple):
            raise TypeError(f"must be a list in square brackets, not {_kind(value)}")
        items = tuple(read(item, base) for item in value)
        if len(items) < least:
            raise ValueError("must not be empty")
        return items

    return read_all


def _path(value: object, base: Path) -> Path:
    if not isinstance(value, str | PurePath) or not str(value) or "\0" in str(value):
        raise ValueError(f"must be a path in quotes, not {_kind(value)}")
    try:
        return base / Path(value).expanduser()
    except RuntimeError as error:  # `~name` of a user that does not exist
        raise ValueError(f"has no home folder to put in: {value}") from error


def _path_or_none(value: object, base: Path) -> Path | None:
    return None if value == "" else _path(value, base)


def _size(value: object, base: Path) -> int:
    if isinstance(value, int) and not isinstance(value, bool):
        return parse_size(str(value))
    return parse_size(_string(value, base))


def _duration(value: object, base: Path) -> int:
    seconds = parse_duration(_string(value, base))
    if not seconds:
        raise ValueError("must be longer than nothing")
    return seconds


def _duration_or_none(value: object, base: Path) -> int | None:
    return None if value == "" else _duration(value, base)


def _bandwidth(value: object, base: Path) -> Bandwidth:
    # A bare 0 is what people write first; other bare numbers would leave the unit open.
    return (
        Bandwidth() if value == 0 and value is not False else Bandwidth.parse(_string(value, base))
    )


def _variants(value: object, base: Path) -> tuple[str, ...]:
    variants = _each(_choice(*VARIANTS), least=1)(value, base)
    if len(set(variants)) < len(variants):
        raise ValueError("names a variant twice")
    return variants


def _layout(value: object, base: Path) -> str:
    text = _string(value, base)
    parse_layout(text)
    return text


def _timezone(value: object, base: Path) -> str:
    name = _string(value, base)
    # Two mirrors must agree: `localtime` differs by machine, and `right/` counts leap seconds.
    if name.startswith(("right/", "posix/")) or name in {"localtime", "posixrules"}:
        raise ValueError(f"cannot be {name!a}, which is not the same on every machine")
    try:
        zoneinfo.ZoneInfo(name)
    except (
        KeyError,
        ValueError,
        OSError,
    ) as error:  # unknown; an absolute path; the name of a folder
        raise ValueError(
            f"is no time zone: {name!a}{suggest(name, zoneinfo.available_timezones())}"
        ) from error
    return name


def _url(value: object, base: Path) -> str:
    url = _string(value, base)
    fault = ValueError(
        "must be an address such as https://host, without a name, password, query or fragment"
    )
    # The value is not repeated: it may hold a password.
    if re.search(r"[^!-~]", url):
        raise fault
    try:
        parts = urlsplit(url)
        good = parts.scheme in {"http", "https"} and parts.hostname and parts.port != 0
    except ValueError:
        raise fault from None
    if not good or "@" in parts.netloc or "?" in url or "#" in url:
        raise fault
    return url.rstrip("/")


def _proxy(value: object, base: Path) -> str:
    url = _string(value, base)
    if url:
        # A proxy may want a name and password; they are cut off for the check only.
        _url(re.sub(r"(?<=://)[^/@]*@", "", url), base)
    return url


def _listen(value: object, base: Path) -> tuple[str, int] | None:
    text = _string(value, base)
    if not text:
        return None
    # Brackets as in addresses: "[::1]:9129".
    found = re.fullmatch(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9.-]+):([0-9]{1,5})", text, re.ASCII)
    if not found or not 0 < int(found[2]) < 65536:
        raise ValueError("is no host and port")
    return found[1].strip("[]"), int(found[2])


def _ping_url(value: object, base: Path) -> str:
    url = _string(value, base)
    # The value is not repeated: monitors put a secret into the path.
    if url and not re.fullmatch(r"https?://[A-Za-z0-9.\[\]:-]+(/[!-~]*)?", url, re.ASCII):
        raise ValueError("must be an address such as https://host/path")
    return url


def _kind(value: object) -> str:
    names = {bool: str(value).lower(), str: ascii(value), int: str(value), float: str(value)}
    names |= {list: "a list", tuple: "a list", dict: "a table"}
    return names.get(type(value), "a date or time")[:80]


def suggest(word: str, known: Iterable[str]) -> str:
    """Return ` (did you mean 'x'?)` with the nearest known word, empty when none is near."""
    close = difflib.get_close_matches(word, sorted(known), n=1)
    return f" (did you mean {close[0]!r}?)" if close else ""


class Rule(Struct, frozen=True):
    """How one key is read.

    Args:
        read: Takes the value and the folder at which relative paths start; raises TypeError or
            ValueError.
        cure: What to write instead, for every fault of this key.
    """

    read: Callable[[object, Path], object]
    cure: str


RULES: Final[dict[str, dict[str, Rule]]] = {
    "api": {
        "org_id": Rule(_identity, "write the number of your organisation, for example 903"),
        "base_url": Rule(_url, 'write "https://api.9pic.ai", or the address of your sandbox'),
        "key_file": Rule(_path_or_none, 'name the file that holds the key, "" for none'),
        "key_command": Rule(
            _each(_string), 'write a list such as ["pass", "show", "9pic"], [] for none'
        ),
        "requests_per_second": Rule(_rate, "write a number, 0 to let the rate be found"),
        "ca_file": Rule(_path_or_none, 'name a PEM file, "" for the certificates of the system'),
        "proxy": Rule(_proxy, 'write "http://host:port", "" for none'),
        "allow_private": Rule(_boolean, "write true or false without quotes"),
    },
    "mirror": {
        "root": Rule(
            _path, 'name the folder that is to hold the events, for example "/srv/ninepic"'
        ),
        "variants": Rule(_variants, 'write a list such as ["thumbnail", "large"]'),
        "layout": Rule(_layout, f'write for example "{DEFAULT_LAYOUT}"'),
        "timezone": Rule(_timezone, 'write a name such as "Asia/Kolkata" or "UTC"'),
        "connections": Rule(_integer(1, 1024), "write a number such as 64"),
        "bandwidth": Rule(_bandwidth, 'write "0", "20MB/s" or "08:00 5MB/s, 23:00 0"'),
        "min_free": Rule(_size, 'write a size such as "2GB" or "500MiB"'),
        "on_remote_removal": Rule(_choice("keep", "trash"), 'write "keep" or "trash"'),
        "trash_keep": Rule(_duration, 'write a time such as "30d" or "24h"'),
        "duplicates": Rule(_choice("hardlink", "copy"), 'write "hardlink" or "copy"'),
        "durability": Rule(_choice("batch", "none"), 'write "batch" or "none"'),
        "state_dir": Rule(_path_or_none, 'name a folder on a local disk, "" for none'),
        "require_mount": Rule(_boolean, "write true or false without quotes"),
    },
    "events": {
        "ids": Rule(_each(_identity), "write a list of numbers such as [456]"),
        "all": Rule(_boolean, "write true or false without quotes"),
        "status": Rule(_each(_string), 'write a list such as ["active"], [] for any'),
        "name": Rule(_string, 'write a pattern such as "*Marathon*", "" for any'),
        "newer_than": Rule(_duration_or_none, 'write a time such as "90d", "" for any age'),
    },
    "daemon": {
        "min_interval": Rule(_duration, 'write a time such as "30s", at least "1s"'),
        "max_interval": Rule(_duration, 'write a time such as "6h", at least "1s"'),
        "full_interval": Rule(_duration, 'write a time such as "24h", at least "1s"'),
        "listen": Rule(_listen, 'write "127.0.0.1:9129", "" for none'),
        "stale_after": Rule(_duration, 'write a time such as "24h"'),
    },
    "hooks": {
        **dict.fromkeys(
            ("new_photos", "pass_whole", "pass_failed", "stale", "recovered"),
            Rule(
                _each(_string), 'write a list such as ["/usr/local/bin/tell", "desk"], [] for none'
            ),
        ),
        "timeout": Rule(_duration, 'write a time such as "60s"'),
        "ping_url": Rule(_ping_url, 'write "https://host/path", "" for none'),
    },
}
EVENT_RULES: Final = {
    key: rule for key, rule in RULES["mirror"].items() if key in EventSettings.__dataclass_fields__
}
