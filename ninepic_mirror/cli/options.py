"""Flags that stand for configuration keys, so that a one-off needs no file (DESIGN §3)."""

from __future__ import annotations

import logging
import os
import re
from typing import TYPE_CHECKING, Final, ParamSpec, TypeVar

import click
from msgspec import Struct

from ninepic_mirror.cli.console import command
from ninepic_mirror.errors import ConfigError
from ninepic_mirror.model import VARIANTS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from ninepic_mirror.cli.console import Console
    from ninepic_mirror.config import Api, Config
    from ninepic_mirror.model import Key

_LOG: Final = logging.getLogger(__name__)
P = ParamSpec("P")
R = TypeVar("R")


class Flag(Struct, frozen=True):
    """One flag.

    Args:
        name: With its dashes.
        help: One line.
        type: What click makes of its text; None leaves it alone, the rule of its key says what is wrong.
        many: It may be given again.
        switch: It takes no value.
    """

    name: str
    help: str
    type: object = None
    many: bool = False
    switch: bool = False


def event_number(text: str) -> int:
    """Read the number of an event; the manifest keeps it as an SQLite integer.

    Raises:
        click.BadParameter: It is none.
    """
    if not re.fullmatch("0*[1-9][0-9]{0,17}", text):
        raise click.BadParameter(f"{text} is no event number; `ninepic-mirror events` lists them.")
    return int(text)


# Whether it can be read is for whoever reads it to say: an unreadable root is no usage error (DESIGN §3).
_PATH: Final = click.Path(readable=False)
# By dotted key. `api.proxy` may hold a password, which a list of processes would show: in the file only.
API: Final = {
    "api.org_id": Flag("--org", "The organisation's number.", int),
    "api.base_url": Flag("--base-url", "Another service, such as the sandbox."),
    "api.key_file": Flag("--key-file", "The file that holds the API key.", _PATH),
    "api.ca_file": Flag("--ca-file", "A certificate authority to trust as well (PEM).", _PATH),
    "api.requests_per_second": Flag("--requests-per-second", "0 finds the rate by itself.", float),
    "api.allow_private": Flag(
        "--allow-private", "Photos may be in a private network.", switch=True
    ),
}
PLACE: Final = {
    "mirror.root": Flag("--root", "The folder that holds all events.", _PATH),
    "mirror.state_dir": Flag("--state-dir", "Where manifests are, if not in the root.", _PATH),
}
MIRROR: Final = PLACE | {
    "mirror.variants": Flag(
        "--variant", "What to fetch; may be given again.", click.Choice(VARIANTS), many=True
    ),
    "mirror.layout": Flag("--layout", "How files are named inside an event's folder."),
    "mirror.timezone": Flag("--timezone", "The zone of the folders, such as Asia/Kolkata."),
    "mirror.connections": Flag("--connections", "The most photos fetched at once.", int),
    "mirror.bandwidth": Flag("--bandwidth", "The most to fetch, such as 20MB/s."),
    "mirror.min_free": Flag("--min-free", "Disk space to leave free, such as 2GB."),
    "mirror.on_remote_removal": Flag(
        "--on-remote-removal", "Photos that left the event: keep or trash."
    ),
    "mirror.duplicates": Flag("--duplicates", "Equal photos: hardlink or copy."),
    "mirror.durability": Flag(
        "--durability", "batch, or none: faster, but not safe in a power cut."
    ),
    "mirror.require_mount": Flag(
        "--require-mount", "Refuse a root that is not a mounted file system.", switch=True
    ),
}


def takes(*tables: dict[str, Flag]) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Give a command the flags of these keys; it gets them as keywords, see `overrides`."""

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        for table in reversed(tables):
            for key, flag in reversed(table.items()):
                name = key.replace(".", "__")
                # No defaults here: the configuration has them, and a flag not given must not hide its value.
                if flag.switch:
                    add = click.option(flag.name, name, is_flag=True, default=None, help=flag.help)
                elif flag.many:
                    add = click.option(
                        flag.name, name, type=flag.type, multiple=True, help=flag.help
                    )
                else:
                    add = click.option(flag.name, name, type=flag.type, help=flag.help)
                add(function)
        return function

    return decorate


def overrides(flags: dict[str, object]) -> dict[str, object]:
    """Return flags by their dotted key as `config.load` takes them; what was not given is None."""
    # An option that may be given again is an empty tuple when it is not; load() wants None then.
    return {
        name.replace("__", "."): None if value == () else value for name, value in flags.items()
    }


def again(flags: dict[str, object], keys: Iterable[str]) -> list[str]:
    """Return the given flags of these keys as words of a command, for commands that people are to type next."""
    known = API | MIRROR
    words: list[str] = []
    for key in keys:
        value = overrides(flags).get(key)
        for one in value if isinstance(value, tuple) else (value,):
            if one is not None:
                words += [known[key].name] + ([] if one is True else [str(one)])
    return words


def to_ask(console: Console, config: Config, flags: dict[str, object], *words: str) -> str:
    """Return a command that asks the service, for people to type next.

    Args:
        console: For `--config`.
        config: The settings of this run.
        flags: Its flags, as click gives them.
        words: The command, without them.
    """
    line = command(*words, *again(flags, API | PLACE), console=console)
    # Nothing names it, and a command that fails is worse than none. No more than a word: a shell is to take the line.
    return line if config.api.org_id else f"{line} --org NUMBER"


def repairs(console: Console, config: Config, flags: dict[str, object], event_id: int) -> str:
    """Return the command that has again what is damaged, and rebuilds a lost manifest with the settings as they were."""
    return to_ask(console, config, flags, "verify", str(event_id), "--repair")


def read_config(
    console: Console, flags: dict[str, object], *, local: bool = False, rootless: bool = False
) -> Config:
    """Read the configuration with the flags over it.

    Args:
        console: For `--config`.
        flags: As click gives them.
        local: The service is not asked, so that the organisation may be missing.
        rootless: The mirror root may be missing; then it is a place that is no folder.

    Raises:
        ConfigError: All faults.
    """
    from ninepic_mirror.config import load  # noqa: PLC0415  60 ms that a usage error need not wait for

    given = overrides(flags)
    try:
        config = load(console.config, given, local=local)
    except ConfigError as error:
        if not rootless or [problem.key for problem in error.problems] != ["mirror.root"]:
            raise
        # A root that is there but wrong is a fault in this reading too.
        config = load(console.config, given | {"mirror.root": os.devnull}, local=local)
    _LOG.info("config: %s; mirror root: %s", config.source or "flags alone", config.mirror.root)
    return config


def read_key(console: Console, api: Api) -> Key:
    """Find the API key, and take it out of the environment that child processes would get (DESIGN §4).

    Raises:
        ConfigError: There is none.
    """
    from ninepic_mirror.config import KEY_VARIABLE, find_key  # noqa: PLC0415  as above

    # The key is never given to a child, and this process has it in hand now.
    key, warnings = find_key(api, os.environ)
    os.environ.pop(KEY_VARIABLE, None)
    for line in warnings:
        console.warn(line)
    _LOG.info("API key: from %s", key.source)
    return key
