"""Brings files to where their photos belong by now: moves, removals, the trash (DESIGN §6.7).

Every move of a file that a row calls present is journalled in a committed transaction first; `recover` finishes what a
crash left. Blocks: runs in the manifest's thread.
"""

from __future__ import annotations

import calendar
import time
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Final

from msgspec import structs

from ninepic_mirror.archive.faults import translated
from ninepic_mirror.archive.files import split
from ninepic_mirror.archive.listings import known_photos, missed_photos
from ninepic_mirror.archive.moves import Move
from ninepic_mirror.archive.store import TRASH, Store

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ninepic_mirror.archive.holdings import Holdings
    from ninepic_mirror.archive.manifest import Manifest

# More than one photo in so many gone at once is not believed without a word (DESIGN §6.7).
MASS: Final = 10


def recover(holdings: Holdings, store: Store) -> int:
    """Finish the moves that a crash cut off; return how many there were.

    Raises:
        StorageError: The disk said no; the journal still holds them.
    """
    moves = holdings.moves.under_way()
    _carry(holdings, store, moves)
    return len(moves)


def relocate(holdings: Holdings, store: Store) -> int:
    """Rename the files of photos that belong to another hour, zone or layout by now; return how many.

    Raises:
        StorageError: The disk said no; the journal holds the moves under way.
    """
    moved = 0
    while (found := holdings.moves.misplaced())[0]:
        photos, files = found
        moves = []
        for file in files:
            stem = store.stem(file.taken, file.variant, file.image_id)
            target = stem + PurePosixPath(file.path).suffix
            if target != file.path:
                moves.append(Move(file.image_id, file.variant, file.path, target, file.sha256))
        for together in _in_order(moves, store):
            moved += _make(holdings, store, together)
        holdings.moves.placed_right(photos)
    return moved


def _in_order(moves: list[Move], store: Store) -> Iterator[list[Move]]:
    """Yield moves in groups that can be made one after the other: no file goes where another still stands.

    Between two layouts a variant's new place can be another variant's old one; should they stand in a ring, one steps
    aside first. Cut off there, it is found again as misplaced.
    """
    while moves:
        taken = {move.source for move in moves}
        free = [move for move in moves if move.target not in taken]
        waiting = [move for move in moves if move.target in taken]
        if not free:
            aside = store.trash_place(waiting[0].source)
            free = [structs.replace(waiting[0], target=aside)]
            waiting[0] = structs.replace(waiting[0], source=aside)
        yield free
        moves = waiting


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
    return holdings.moves.mark_gone(), 0


def empty_into_trash(holdings: Holdings, store: Store, before: int) -> int:
    """Move the files of photos gone since before `before` (epoch seconds) to the trash; return how many.

    Raises:
        StorageError: The disk said no; the journal holds the moves under way.
    """
    moved = 0
    while found := holdings.moves.gone_in_place(before, TRASH):
        moves = [
            Move(image_id, variant, path, store.trash_place(path), sha256)
            for image_id, variant, path, sha256 in found
        ]
        moved += _make(holdings, store, moves)
    return moved


def purge_trash(holdings: Holdings, store: Store, keep: int) -> int:
    """Delete the days of the trash that are older than `keep` seconds; return how many.

    Raises:
        StorageError: The disk said no.
    """
    oldest = time.time() - keep
    purged = 0
    with translated(store.tree.name(TRASH)):
        for name, kind in list(store.tree.entries(TRASH.rstrip("/"))):
            if kind == "folder" and _is_before(name, oldest):
                # the rows first: one that names a deleted file would be a lie, a file without a row is only litter
                holdings.moves.forget_places(f"{TRASH}{name}/")
                store.tree.remove_folder(f"{TRASH}{name}")
                purged += 1
    return purged


def _is_before(name: str, oldest: float) -> bool:
    """Say whether a day of the trash was over at `oldest` (epoch seconds)."""
    try:
        begin = calendar.timegm(time.strptime(name, "%Y-%m-%d"))
    except ValueError:
        return False  # not ours
    return begin + 86_400 < oldest


def _make(holdings: Holdings, store: Store, moves: Sequence[Move]) -> int:
    """Journal moves and make them; return how many files have moved."""
    holdings.moves.begin(moves)
    return _carry(holdings, store, moves)


def _carry(holdings: Holdings, store: Store, moves: Sequence[Move]) -> int:
    places = store.carry(moves)
    holdings.moves.end(moves, places)
    for folder in {split(move.source)[0] for move in moves}:
        store.tree.prune(folder)
    return sum(place is not None for place in places)
