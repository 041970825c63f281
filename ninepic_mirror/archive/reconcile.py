"""Brings files to where their photos belong by now: moves, removals, the trash (DESIGN §6.7).

Every move of a file that a row calls present is journalled in a committed transaction first; `recover` finishes what a
crash left. Blocks: runs in the manifest's thread.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Final

from ninepic_mirror.archive.files import split, translated
from ninepic_mirror.archive.listings import known_photos, missed_photos
from ninepic_mirror.archive.store import TRASH, Store

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ninepic_mirror.archive.holdings import Holdings
    from ninepic_mirror.archive.manifest import Manifest
    from ninepic_mirror.model import Variant

MASS: Final = (
    10  # more than one photo in so many gone at once is not believed without a word (DESIGN §6.7)
)


def recover(holdings: Holdings, store: Store) -> int:
    """Finish the moves that a crash cut off; return how many there were."""
    moves = holdings.moving()
    _carry(holdings, store, moves)
    return len(moves)


def relocate(holdings: Holdings, store: Store) -> int:
    """Rename the files of photos that belong to another hour, zone or layout by now; return how many.

    Raises:
        StorageError: The disk said no; the journal holds the moves under way.
    """
    moved = 0
    while (found := holdings.misplaced())[0]:
        photos, files = found
        moves: list[tuple[str, Variant, str, str]] = []
        for file in files:
            target = (
                store.stem(file.taken, file.variant, file.image_id)
                + PurePosixPath(file.path).suffix
            )
            if target != file.path:
                moves.append((file.image_id, file.variant, file.path, target))
        holdings.begin_moves(
            [(image_id, variant, target) for image_id, variant, _, target in moves]
        )
        _carry(holdings, store, moves)
        holdings.placed_right(photos)
        moved += len(moves)
    return moved


def remove_missed(manifest: Manifest, holdings: Holdings, *, accept: bool) -> tuple[int, int]:
    """Mark the photos gone that a whole listing no longer names.

    Args:
        manifest: The manifest.
        holdings: Its file side.
        accept: Also when more than a tenth of the event would go.

    Returns:
        Files marked gone, and photos of which the removal was stopped.
    """
    missed = missed_photos(manifest)
    if not missed:
        return 0, 0
    if missed * MASS > known_photos(manifest) + missed and not accept:
        return 0, missed
    return holdings.mark_gone(), 0


def empty_into_trash(holdings: Holdings, store: Store, before: int) -> int:
    """Move the files of photos gone since before `before` (epoch seconds) to the trash; return how many."""
    moved = 0
    while found := holdings.gone_in_place(before, TRASH):
        moves = [
            (image_id, variant, path, store.trash_place(path)) for image_id, variant, path in found
        ]
        holdings.begin_moves(
            [(image_id, variant, target) for image_id, variant, _, target in moves]
        )
        _carry(holdings, store, moves)
        moved += len(moves)
    return moved


def purge_trash(holdings: Holdings, store: Store, keep: int) -> int:
    """Delete the days of the trash that are older than `keep` seconds; return how many."""
    oldest = datetime.now(UTC) - timedelta(seconds=keep)
    purged = 0
    with translated(store.tree.name(TRASH)):
        for name, kind in list(store.tree.entries(TRASH.rstrip("/"))):
            if kind == "folder" and _is_before(name, oldest):
                holdings.forget_places(f"{TRASH}{name}/")
                store.tree.remove_folder(f"{TRASH}{name}")
                purged += 1
    return purged


def _is_before(name: str, oldest: datetime) -> bool:
    try:
        day = time.strptime(name, "%Y-%m-%d")
    except ValueError:
        return False  # not ours
    return datetime(day.tm_year, day.tm_mon, day.tm_mday, tzinfo=UTC) + timedelta(days=1) < oldest


def _carry(
    holdings: Holdings, store: Store, moves: Sequence[tuple[str, Variant, str, str]]
) -> None:
    if not moves:
        return
    places = store.carry([(source, target) for _, _, source, target in moves])
    holdings.end_moves(
        [
            (image_id, variant, place)
            for (image_id, variant, _, _), place in zip(moves, places, strict=True)
        ]
    )
    for folder in {split(source)[0] for _, _, source, _ in moves}:
        store.tree.prune(folder)
