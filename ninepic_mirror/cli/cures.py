"""Commands that people are to type next: what they printed, copied into a shell, has to do what was said of it."""

from __future__ import annotations

import sqlite3
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Final

from ninepic_mirror.archive import about, lock
from ninepic_mirror.archive.files import Tree
from ninepic_mirror.archive.sqlite_errors import ManifestError
from ninepic_mirror.cli import mirrors
from ninepic_mirror.cli.options import again, repairs, to_ask
from ninepic_mirror.config import EventSettings
from ninepic_mirror.errors import DamagedError, LostError, MirrorError, NotMirroredError
from ninepic_mirror.model import VARIANTS

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ninepic_mirror.cli.console import Console
    from ninepic_mirror.config import Config
    from ninepic_mirror.model import Variant

_MADE_WITH: Final = ("layout", "timezone", "variants")


def syncs(
    console: Console,
    config: Config,
    flags: dict[str, object],
    event_id: int,
    variants: Sequence[Variant] = (),
) -> str:
    """Return the `sync` that brings what is missing of an event, and moves nothing that stands where it was put.

    Args:
        console: For `--config`.
        config: The settings of this run.
        flags: Its flags, as click gives them.
        event_id: The event.
        variants: To be named instead of those that the mirror should have.
    """
    usual, own = config.mirror, _made_with(config, event_id).apply(config.mirror)
    ordered = tuple(one for one in VARIANTS if one in (variants or own.variants))
    values = {"layout": own.layout, "timezone": own.timezone, "variants": ordered}
    said: dict[str, object] = {
        f"mirror.{key}": values[key]
        for key in _MADE_WITH
        if values[key] != getattr(usual, key) or (variants and key == "variants")
    }
    return to_ask(console, config, flags, "sync", str(event_id), *again(said, said))


def _made_with(config: Config, event_id: int) -> EventSettings:
    """Return the settings that a mirror was made with, None each where nothing tells; none where a config file decides."""
    own = EventSettings()
    if config.source is not None:
        return own
    root = mirrors.root_of(config)
    with suppress(MirrorError, OSError), Tree(mirrors.folder_of(root, event_id)) as tree:
        own = about.described(tree)
        with suppress(sqlite3.Error), mirrors.opened(root, event_id, veiled=False) as (found, _):
            said = about.settled(found)
            own = own.over(said) if lock.is_older(tree, found) else said.over(own)
    return own


@contextmanager
def told(
    console: Console, config: Config, flags: dict[str, object], event_id: int
) -> Iterator[None]:
    """Let an error that leaves the block name the command that helps, as whoever started this one would type it."""
    try:
        yield
    except (LostError, DamagedError) as error:
        error.repair = repairs(console, config, flags, event_id)
        raise
    except (
        ManifestError
    ) as error:  # a sync mends it, too, but knows no more of how the mirror was made
        error.cure = f"rebuild it from the files: {repairs(console, config, flags, event_id)}"
        raise
    except NotMirroredError as error:
        if event_id in config.events.ids:
            error.sync = syncs(console, config, flags, event_id)
        raise
