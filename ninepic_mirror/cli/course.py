"""With which settings, and for which variants, `verify` makes a pass: as the mirror was made, where no config file says.

A repair is not to lay out anew what was made with flags, nor to fetch all of a variant that never was mirrored.
"""

from __future__ import annotations

import sqlite3
from contextlib import ExitStack
from dataclasses import replace
from typing import TYPE_CHECKING

from msgspec import Struct

from ninepic_mirror.archive import about, lock
from ninepic_mirror.archive.aside import newest
from ninepic_mirror.archive.files import Tree
from ninepic_mirror.archive.manifest import reading
from ninepic_mirror.cli import mirrors
from ninepic_mirror.config import EventSettings
from ninepic_mirror.errors import MirrorError
from ninepic_mirror.model import VARIANTS

if TYPE_CHECKING:
    from pathlib import Path

    from ninepic_mirror.archive.manifest import Manifest
    from ninepic_mirror.cli.verdict import Verdict
    from ninepic_mirror.config import Config
    from ninepic_mirror.model import Variant


class Course(Struct, frozen=True):
    """How a pass is to be made.

    Args:
        settings: What holds for the event, `variants` being those to ask for.
        asked: These variants.
        usual: Those that are wanted.
    """

    settings: EventSettings
    asked: tuple[Variant, ...]
    usual: tuple[Variant, ...]

    @property
    def narrowed(self) -> bool:
        """Whether others are asked for than those that are wanted."""
        return {*self.asked} != {*self.usual}

    @property
    def left(self) -> list[Variant]:
        """Variants that are wanted and not asked for."""
        return [one for one in self.usual if one not in self.asked]


def plan(config: Config, event_id: int, folder: Path, verdict: Verdict | None) -> Course:
    """Return how to have again what is damaged, or, without a verdict, how to rebuild a manifest.

    Variants that are not configured, or not any more, are asked for, too, where they are damaged; those that never were
    mirrored are not: a pass that meets one for the first time fetches all of it.

    Args:
        config: The settings.
        event_id: The event.
        folder: Its folder.
        verdict: What is damaged.

    Raises:
        StorageError: The manifest or a SHA256SUMS cannot be read.
    """
    own, had = _made(config, event_id, folder, verdict)
    usual = own.apply(config.mirror).variants
    damages = [] if verdict is None else verdict.damages
    meant = {*usual} & had | {one.entry.variant for one in damages} or had or {*usual}
    asked = usual if meant == {*usual} else tuple(one for one in VARIANTS if one in meant)
    return Course(replace(own, variants=asked), asked, usual)


def _made(
    config: Config, event_id: int, folder: Path, verdict: Verdict | None
) -> tuple[EventSettings, set[str]]:
    """Return what holds for an event, and which variants of it were mirrored, as far as that decides anything."""
    own, is_told = config.event.get(event_id, EventSettings()), config.source is None
    root, manifest = mirrors.root_of(config), None
    with Tree(folder) as tree, ExitStack() as stack:
        if verdict is not None:
            manifest, _ = stack.enter_context(mirrors.opened(root, event_id, veiled=False))
        if is_told:
            # of a manifest that is no older copy only it knows the last word
            is_last = verdict is not None and not verdict.older
            own = _told(tree, manifest, is_last=is_last).over(
                _told_before(root.manifest_path(folder), folder)
            )
        if verdict is not None and manifest is not None and not verdict.is_behind:
            had = manifest.meta("variants")
            return own, {one for one in VARIANTS if not isinstance(had, list) or one in had}
        layout = own.apply(config.mirror).layout
        return own, about.named_variants(tree, layout) if is_told else {*VARIANTS}


def _told(tree: Tree, manifest: Manifest | None, *, is_last: bool) -> EventSettings:
    """Return what the mirror itself says of its settings."""
    described = about.described(tree)
    if manifest is None:
        return described
    said = about.settled(manifest)
    return said.over(described) if is_last else described.over(said)


def _told_before(path: Path, folder: Path) -> EventSettings:
    """Return what can be read of the manifest that was set aside last: by this rebuild, or by one that was cut off."""
    try:
        copy = newest(path)
        if copy is None:
            return EventSettings()
        with reading(copy, folder / lock.PATH) as (manifest, _):
            return about.settled(manifest)
    except (MirrorError, sqlite3.Error):
        return EventSettings()
