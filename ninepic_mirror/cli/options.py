"""Flags that stand for configuration keys, so that a one-off needs no file (DESIGN §3)."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final, TypeVar

import click

from ninepic_mirror.model import VARIANTS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from ninepic_mirror.cli.console import Console
    from ninepic_mirror.config import Api, Config
    from ninepic_mirror.model import Key

F = TypeVar("F", bound="Callable[..., int]")

_PATH: Final = click.Path()
# Dotted key → the flag and its help. `proxy` may hold a password, which a process list would show: file only.
API: Final = {
    "api.org_id": click.Option(["--org"], type=int, help="The organisation's number."),
    "api.base_url": click.Option(["--base-url"], help="Another service, such as the sandbox."),
    "api.key_file": click.Option(["--key-file"], type=_PATH, help="The file that holds the API key."),
    "api.ca_file": click.Option(["--ca-file"], type=_PATH, help="A certificate authority to trust as well (PEM)."),
    "api.requests_per_second": click.Option(["--requests-per-second"], type=float, help="0 finds the rate by itself."),
    "api.allow_private": click.Option(
        ["--allow-private"], is_flag=True, default=None, help="Photos may be in a private network."
    ),
}  # fmt: skip
PLACE: Final = {
    "mirror.root": click.Option(["--root"], type=_PATH, help="The folder that holds all events."),
    "mirror.state_dir": click.Option(["--state-dir"], type=_PATH, help="Where the manifests are, if not in the root."),
}  # fmt: skip
MIRROR: Final = PLACE | {
    "mirror.variants": click.Option(
        ["--variant"], multiple=True, type=click.Choice(VARIANTS), help="What to fetch; may be given again."
    ),
    "mirror.layout": click.Option(["--layout"], help="How files are named inside an event's folder."),
    "mirror.timezone": click.Option(["--timezone"], help="The zone of the folders, such as Asia/Kolkata."),
    "mirror.connections": click.Option(["--connections"], type=int, help="The most photos fetched at once."),
    "mirror.bandwidth": click.Option(["--bandwidth"], help="The most to fetch, such as 20MB/s."),
    "mirror.min_free": click.Option(["--min-free"], help="Disk space to leave free, such as 2GB."),
    "mirror.on_remote_removal": click.Option(
        ["--on-remote-removal"], help="What becomes of photos that left the event: keep or trash."
    ),
    "mirror.duplicates": click.Option(["--duplicates"], help="Equal photos: hardlink or copy."),
    "mirror.durability": click.Option(["--durability"], help="batch, or none: faster, but not safe in a power cut."),
    "mirror.require_mount": click.Option(
        ["--require-mount"], is_flag=True, default=None, help="Refuse a root that is not a mounted file system."
    ),
}  # fmt: skip


def takes(*tables: dict[str, click.Option]) -> Callable[[F], F]:
    """Give a command the flags of these keys; it gets them as keywords, see `overrides`."""

    def decorate(function: F) -> F:
        for table in reversed(tables):
            for key, option in reversed(table.items()):
                name = key.replace(".", "__")
                click.option(
                    name, *option.opts, type=option.type, help=option.help,
                    is_flag=option.is_flag, multiple=option.multiple, default=None,
                )(function)  # fmt: skip
        return function

    return decorate


def overrides(flags: dict[str, object]) -> dict[str, object]:
    """Return flags by their dotted key as `config.load` takes them; what was not given is None."""
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
                words += [known[key].opts[0]] + ([] if one is True else [str(one)])
    return words


def read_config(console: Console, flags: dict[str, object], *, local: bool = False) -> Config:
    """Read the configuration with the flags over it.

    Raises:
        ConfigError: All faults.
    """
    from ninepic_mirror.config import load  # noqa: PLC0415  60 ms that a usage error need not wait for

    return load(console.config, overrides(flags), local=local)


def read_key(console: Console, api: Api) -> Key:
    """Find the API key, and take it out of the environment that child processes would get (DESIGN §4).

    Raises:
        ConfigError: There is none.
    """
    from ninepic_mirror.config import KEY_VARIABLE, find_key  # noqa: PLC0415  as above

    key, warnings = find_key(api, os.environ)
    os.environ.pop(KEY_VARIABLE, None)
    for line in warnings:
        console.warn(line)
    return key
