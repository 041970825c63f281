"""Brings files to where their photos belong by now: moves, removals, the trash (DESIGN §6.7).

Every move of a file that a row calls present is journalled in a committed transaction first; `recover` finishes what a
crash left. Blocks: runs in the manifest's thread.
"""

from __future__ import annotations

import threading
import time
from itertools import islice
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Final

from msgspec import Struct, structs

from ninepic_mirror.archive import inventory, strays
from ninepic_mirror.archive.faults import translated
from ninepic_mirror.archive.files import split
from ninepic_mirror.archive.listings import known_photos, missed_photos
from ninepic_mirror.archive.moves import Move
from ninepic_mirror.archive.store import TRASH, Store
from ninepic_mirror.archive.verify import Pace, hash_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from ninepic_mirror.archive.files import Tree
    from ninepic_mirror.archive.holdings import Holdings
    from ninepic_mirror.archive.manifest import Manifest
    from ninepic_mirror.archive.placement import Layout
    from ninepic_mirror.archive.trash import Ages

# More than one photo in so many gone at once is not believed without a word (DESIGN §6.7).
MASS: Final = 10
_BUNCH: Final = 10_000  # files of the trash of which it is asked at once who wants them


class Terms(Struct, frozen=True):
    """On which terms files of the trash are deleted.

    Args:
        keep: Seconds that they lie there at least.
        left: Also those of photos that left the event.
        layouts: By which files may have come there, and the usual one where nothing tells (`strays.known_layouts`).
    """

    keep: int
    left: bool
    layouts: tuple[Sequence[Layout], Layout | None]


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


def purge_trash(
    holdings: Holdings, store: Store, terms: Terms, ages: Ages, note: Callable[[str], None]
) -> int:
    """Delete the days of the trash that have lain there long enough; return how many went as a whole.

    A file stays that may be all that is left of what the manifest calls neither present nor done with: one of the same
    bytes, or from the same place. A repair, a replacement or a move that was cut off may have left it there. So does one
    that left while another photo has the same bytes, but not whole any more. And so does one under the name of a photo
    that is to be had and never was: of that no hash is known, and nothing tells that it is not that photo's.

    Args:
        holdings: The manifest's file side.
        store: Over the event folder.
        terms: What may go.
        ages: Tells which days have lain how long, and is told which there are.
        note: Is told what may not be deleted, which is no reason to end a pass, and what a person has to look at.

    Raises:
        StorageError: The disk said no.
    """
    purged = 0
    with translated(store.tree.name(TRASH)):
        for name, kind in list(store.tree.entries(TRASH.rstrip("/"))):
            if kind == "folder" and _is_day(name) and ages.has_lain(name, terms.keep):
                day = f"{TRASH}{name}"
                try:
                    purged += _purge(holdings, store.tree, day, terms, note)
                except PermissionError as error:
                    where = store.tree.name(day)
                    note(
                        f"{where} may not be deleted ({error.strerror}): see whose files lie there"
                    )
    return purged


def _purge(
    holdings: Holdings, tree: Tree, day: str, terms: Terms, note: Callable[[str], None]
) -> bool:
    """Delete what nobody wants of a day of the trash; return whether that was all."""
    paths = _below(tree, day)
    kept: set[str] = set()
    namesakes: list[str] = []
    while some := list(islice(paths, _BUNCH)):
        kept |= _wanted(holdings, tree, day, some)
        namesakes += holdings.strays.namesakes(some, *terms.layouts)
        if not terms.left:
            kept.update(holdings.moves.left(some))
    if namesakes:
        more = f" and {len(namesakes) - 1} more" if len(namesakes) > 1 else ""
        note(f"{tree.name(min(namesakes))}{more}: {strays.NAMESAKE}")
    kept.update(namesakes)
    # the rows first: one that names a deleted file would be a lie, a file without a row is only litter
    holdings.moves.forget_places(f"{day}/", kept)
    if not kept:
        tree.remove_folder(day)
        return True
    for path in _below(tree, day):
        if path not in kept:
            tree.remove(path)
            tree.prune(split(path)[0])
    return False


def _below(tree: Tree, day: str) -> Iterator[str]:
    for folder, names in inventory.walk(tree, day):
        yield from (f"{folder}/{name}" for name in names)


def _wanted(holdings: Holdings, tree: Tree, day: str, paths: Sequence[str]) -> set[str]:
    """Return which of some files of a day of the trash are wanted."""
    pace, kept = Pace(None, threading.Event()), set()
    found = [(path, tree.stat(path)) for path in paths]
    sizes = {path: one.size for path, one in found if one is not None and one.is_file}
    alike = holdings.moves.lacking_sizes(sizes.values())
    by_hash: dict[str, list[str]] = {}
    by_place: dict[str, list[str]] = {}
    for path, size in sizes.items():
        came_from = path.removeprefix(f"{day}/")
        for one in {path, came_from, strays.NUMBER.sub("", came_from)}:
            by_place.setdefault(one, []).append(path)
        if size in alike:
            digest = hash_of(tree, path, pace)
            if digest is None:
                kept.add(path)  # nobody knows what it is
            else:
                by_hash.setdefault(digest, []).append(path)
    for sha256, place, is_gone in holdings.moves.lacking(by_hash, by_place):
        if not (is_gone and hash_of(tree, place, pace) == sha256):
            kept.update(by_hash.get(sha256, ()), by_place.get(place, ()))
    for path, place, sha256 in holdings.moves.twins(paths):
        if hash_of(tree, place, pace) != sha256:
            kept.add(path)
    return kept


def _is_day(name: str) -> bool:
    """Say whether a folder of the trash is ours."""
    try:
        time.strptime(name, "%Y-%m-%d")
    except ValueError:
        return False
    return True


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
