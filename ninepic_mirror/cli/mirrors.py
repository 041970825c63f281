"""What the manifests say of the mirrors here, without a network and beside a running pass."""

from __future__ import annotations

import logging
import os
import re
import sqlite3
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from msgspec import Struct, field

from ninepic_mirror.archive import about, forgotten, lock, sums
from ninepic_mirror.archive.balance import balance, counted, failures
from ninepic_mirror.archive.faults import translated
from ninepic_mirror.archive.listings import hours
from ninepic_mirror.archive.manifest import NAME, Manifest, reading, refuse_other
from ninepic_mirror.archive.meta import Moment
from ninepic_mirror.archive.root import MARKER, OWN_FOLDER, Root
from ninepic_mirror.archive.veiled import veil
from ninepic_mirror.errors import LostError, MirrorError, NotMirroredError, StorageError
from ninepic_mirror.model import VARIANTS, Variant
from ninepic_mirror.sync.report import Failure, PassReport

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from ninepic_mirror.archive.balance import Balance
    from ninepic_mirror.config import Config, Mirror

_LOG: Final = logging.getLogger(__name__)


class Standing(Struct, frozen=True):
    """How one mirror stands, by its manifest.

    Args:
        event_id: The event.
        name: As last heard.
        folder: Where it is.
        variants: Which were counted.
        there: Counts of photos and files.
        pending: Files not tried yet, or to be had again.
        gone: Photos that left the event.
        last_whole: When a pass over all of it ended whole, epoch seconds; None: never.
        last_pass: When the last finished pass ended, likewise.
        whole: Everything known is present, and the last comparison found nothing else missing.
        unread: A log was left unread for want of permission, so that the newest is not seen.
        unlisted: Photos that the service reported beyond those that its listings named.
        forgotten: Photos that are never to be had again.
        failures: What could not be had, and why.
        seen: The last comparison listed everything, whether or not all of it is present.
    """

    event_id: int
    name: str | None
    folder: Path
    variants: tuple[Variant, ...]
    there: Balance
    pending: int
    gone: int
    last_whole: int | None
    last_pass: int | None
    whole: bool
    unread: bool
    unlisted: int = 0
    forgotten: int = 0
    failures: list[Failure] = field(default_factory=list)
    seen: bool = True


def root_of(config: Config) -> Root:
    """Return the mirror root of the settings, not prepared: only to be read."""
    return Root(config.mirror.root, config.mirror.state_dir)


@contextmanager
def opened(root: Root, event_id: int, *, veiled: bool = True) -> Iterator[tuple[Manifest, bool]]:
    """Open an event's manifest for reading.

    Args:
        root: The mirror root.
        event_id: The event.
        veiled: It says nothing of photos that were to be forgotten, though it may be an older copy.

    Yields:
        The manifest, and whether a log was left unread.

    Raises:
        NotMirroredError: The event is not mirrored.
        LostError: It is lost or damaged, or what it tells of is gone.
        StorageError: It cannot be read.
    """
    folder = folder_of(root, event_id)
    path = root.manifest_path(folder)
    refuse_other(path)
    with translated(str(path)):
        if not path.is_file():
            text = "its manifest is lost, so that nothing tells what is here"
            cure = "rebuild it from the files, which are kept"
            raise LostError(str(folder), text, cure, event_id)
    try:
        with reading(path, folder / lock.PATH) as found:
            if veiled:
                veil(found[0], folder)
            yield found
    except (
        sqlite3.DatabaseError
    ) as error:  # what `reading` leaves: not busy or out of reach, but damaged
        text, cure = f"the manifest is damaged: {error}", "rebuild it from the files"
        raise LostError(str(path), text, cure, event_id) from error


def folder_of(root: Root, event_id: int) -> Path:
    """Return the folder of an event that is mirrored here; its manifest may be lost.

    Raises:
        NotMirroredError: There is none.
        LostError: It is gone, while its manifest stands in `state_dir`.
        StorageError: The root cannot be read.
    """
    # pathlib's questions raise what is neither "no such" nor "no folder", above all that we may not look.
    with translated(str(root.path)):
        folder = root.folder_of(event_id) if root.path.is_dir() else None
    if folder is not None and _stands(folder):
        return folder
    kept = root.kept(event_id)
    if kept is None:
        raise NotMirroredError(event_id, str(root.path))
    manifest = root.manifest_path(kept)
    raise LostError(
        str(kept),
        f"nothing is left here of event {event_id}, of which {manifest} tells",
        f"mount its disk, if that is all; remove {manifest.parent}, if it is not wanted any more; else have it again",
        event_id,
    )


def here(root: Root) -> list[int]:
    """Return the events that are mirrored in a root, by number; one whose folder is closed to us is among them.

    Not `Root.events`, which is for those who write: one closed folder must not hide the others from `status`.

    Raises:
        StorageError: The root itself cannot be read.
    """
    with translated(str(root.path)):
        names = os.listdir(root.path) if root.path.is_dir() else []
    return sorted({int(number) for name in names if (number := _number(root, name))})


def _number(root: Root, name: str) -> str | None:
    digits = name.partition("-")[0]
    if not re.fullmatch("[1-9][0-9]{0,17}", digits):
        return None
    try:
        return digits if root.manifest_path(root.path / name).is_file() else None
    except OSError:
        return digits  # whoever reads it says what is wrong


def without_manifest(root: Root) -> list[Path]:
    """Return the folders of events whose manifest is lost, so that nothing tells what they hold.

    Raises:
        StorageError: The root, or one of its folders, cannot be read.
    """
    with translated(str(root.path)):
        return sorted(
            path
            for path in root.path.iterdir()
            if re.fullmatch(r"[1-9][0-9]{0,17}(-.*)?", path.name)
            and path.is_dir()
            and any(path.iterdir())
            and not root.manifest_path(path).is_file()
        )


def is_event(folder: Path) -> bool:
    """Whether a folder was a mirror's once: it has ours in it, or, as a copy without hidden names, what we write."""
    return (
        (folder / OWN_FOLDER).is_dir()
        or (folder / about.NAME).is_file()
        or any(folder.glob(f"*/{sums.NAME}"))
    )


def lost(root: Root) -> list[int]:
    """Return the events whose folder stands without a manifest: nobody must be silent about them.

    Raises:
        StorageError: The root cannot be read.
    """
    with translated(str(root.path)):
        names = os.listdir(root.path) if root.path.is_dir() else []
    return sorted(
        int(name.partition("-")[0])
        for name in names
        if re.fullmatch("[1-9][0-9]{0,17}(-.*)?", name, re.DOTALL) and _is_lost(root, name)
    )


def _stands(folder: Path) -> bool:
    try:
        return is_event(folder)
    except OSError:
        return True  # whoever reads it says what is wrong


def gone(root: Root) -> list[int]:
    """Return the events whose manifest stands in `state_dir`, and of which nothing is left in the root.

    Raises:
        StorageError: One of both cannot be read.
    """
    kept = {number for name in root.kept_names() if (number := _number(root, name))}
    with translated(str(root.path)):
        names = os.listdir(root.path) if kept and root.path.is_dir() else []
    there = {
        number
        for name in names
        if (number := name.partition("-")[0]) in kept and _stands(root.path / name)
    }
    return sorted(map(int, kept - there))


def _is_lost(root: Root, name: str) -> bool:
    folder = root.path / name
    try:
        return is_event(folder) and not root.manifest_path(folder).is_file()
    except OSError:
        return False  # it is among those that are here: whoever reads it says what is wrong


def require_root(root: Root) -> list[int]:
    """Return the events that are mirrored in a root, also those of which the manifest or the folder is lost.

    Raises:
        StorageError: It is no mirror root, so that nothing can be said of what is mirrored: unmounted, perhaps.
    """
    found = {*here(root), *lost(root)}
    with translated(str(root.path)):
        if found or (root.path / MARKER).is_file():
            return sorted({*found, *gone(root)})
        text = "this is no mirror root" if root.path.is_dir() else "there is no such folder"
    cure = "look at --root or [mirror] root, and whether its disk is mounted"
    raise StorageError(str(root.path), text, cure)


def refuse_foreign(settings: Mirror) -> None:
    """Refuse a root that a typed `sync` would not take for one, and make nothing. Whether we may write is not asked.

    Raises:
        StorageError: No mirror root, or not mounted.
    """
    root = Root(settings.root, settings.state_dir, require_mount=settings.require_mount)
    with translated(str(root.path)):
        content = set(os.listdir(root.path)) if root.path.is_dir() else None
        known = settings.state_dir is not None and any(settings.state_dir.glob(f"*/{NAME}"))
        unmounted = settings.require_mount and not os.path.ismount(root.path)
    # Wherever `prepare` would make a new root of it there is nothing to refuse yet, and `prepare` is not asked.
    if content is None:
        new = not os.path.lexists(root.path)
    else:
        kept = {
            name
            for name in content
            if name != "lost+found" and not name.startswith(f"{MARKER}.new")
        }
        new = not kept or (MARKER not in kept and bool(here(root)))
    if known or unmounted or not new:
        root.prepare(make=False, write=False)


def stand(config: Config, event_id: int) -> Standing:
    """Read how a mirror stands.

    Raises:
        NotMirroredError: There is none of this event.
        StorageError: Its manifest cannot be read.
    """
    root = root_of(config)
    with opened(root, event_id) as (manifest, unread):
        variants = _variants(config, event_id, manifest)
        there = counted(manifest, variants) or balance(manifest, variants)
        name, total = manifest.meta("name"), _integer(manifest.meta("total")) or 0
        last = manifest.rows(
            "SELECT whole, report FROM passes WHERE ended_at IS NOT NULL AND kind NOT IN ('day', 'variant') ORDER BY id DESC LIMIT 1"
        )
        # Passes over a part say nothing about the rest, and one that was cut off (no end) says nothing at all.
        found_whole = bool(last and last[0][0])
        report = manifest.parsed(str(last[0][1])) if last and not found_whole else None
        doubts = list(_doubts(report))
        return Standing(
            event_id=event_id,
            name=name if isinstance(name, str) else None,
            folder=root.folder_of(event_id) or root.path,
            variants=variants,
            there=there,
            pending=there.missing - there.failed,
            gone=manifest.count("SELECT count(*) FROM photos WHERE gone_since IS NOT NULL"),
            last_whole=manifest.noted("last_whole", Moment),
            last_pass=manifest.count("SELECT max(ended_at) FROM passes") or None,
            # Both: the manifest may know of nothing missing because the last listing could not be trusted.
            whole=there.missing == 0 and found_whole,
            unread=unread,
            # The total of a whole pass may count rows that repeat a photo.
            unlisted=0 if found_whole else max(0, total - there.photos),
            forgotten=forgotten.counted(manifest),
            failures=[
                *doubts,
                *(Failure(*one) for one in failures(manifest, variants)),
            ],
            # a pass without doubts is not whole for the sake of files that it could not have
            seen=found_whole or (not doubts and _missed(report)),
        )


def _variants(config: Config, event_id: int, manifest: Manifest) -> tuple[Variant, ...]:
    """Return the variants that ought to be here: by the config file, else those of the last pass."""
    # Without a file nobody wrote down which variants are wanted; a mirror of thumbnails alone must not be called
    # incomplete because the default is two variants.
    had = manifest.meta("wanted") or manifest.meta("variants")
    if config.source is None and isinstance(had, list):
        return tuple(variant for variant in VARIANTS if variant in had)
    return config.mirror_for(event_id).variants


def _integer(value: object) -> int | None:
    return value if isinstance(value, int) else None


def _missed(report: object) -> bool:
    """Whether a pass says that files were still to be had."""
    return isinstance(report, dict) and bool(_integer(report.get("missing")))


def _doubts(report: object) -> Iterator[Failure]:
    """Yield what a pass could not be sure of: the failures of its report that name no photo."""
    listed = report.get("failures") if isinstance(report, dict) else None
    for one in listed if isinstance(listed, list) else ():
        if isinstance(one, dict) and one.get("image_id") is None:
            yield Failure(None, None, str(one.get("error")))


def known_hours(config: Config, event_id: int) -> list[int]:
    """Return the UTC hours of an event that its manifest knows, by their start; none where there is no mirror."""
    try:
        with opened(root_of(config), event_id) as (manifest, _):
            return list(hours(manifest))
    except (MirrorError, OSError):
        return []


def fill(report: PassReport, config: Config) -> None:
    """Complete the report of an event that ended too early for one of its own, as far as the manifest can be read."""
    try:
        found = stand(config, report.event_id)
    except Exception as error:  # noqa: BLE001  the reason why the run ended is in the report already, and comes first
        _LOG.debug("event %s: its manifest could not be read: %s", report.event_id, error)
        return
    report.name, report.folder = found.name, str(found.folder)
    report.photos, report.undated = found.there.photos, found.there.undated
    report.present, report.failed, report.missing = (
        found.there.present,
        found.there.failed,
        found.there.missing,
    )
    # not what an earlier pass was in doubt of: this one never came to see
    report.failures += [failure for failure in found.failures if failure.image_id is not None]
