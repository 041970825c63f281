"""Prepares, within a pass and under the event's lock, the repair of what `verify` found damaged.

Rows stop calling damaged files present before anything is touched. Whole bytes that stand elsewhere are brought to
their place, where the pass adopts them; what stands in the way goes to the trash. The rest of the pass is a usual one.
Blocks: runs in the manifest's thread.
"""

from __future__ import annotations

import hashlib
import os
from collections import Counter, defaultdict
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Final

import xxhash

from ninepic_mirror.archive import about, inventory, lock, sums, trash
from ninepic_mirror.archive.faults import translated
from ninepic_mirror.archive.files import split
from ninepic_mirror.archive.partial import FOLDER as PARTIAL
from ninepic_mirror.archive.placement import top_folder
from ninepic_mirror.archive.store import TRASH
from ninepic_mirror.archive.verify import Damage, Eye, Look, Stopped, barrier, feed, hash_of, look

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    from ninepic_mirror.archive.files import Tree
    from ninepic_mirror.archive.holdings import Holdings
    from ninepic_mirror.archive.manifest import Manifest
    from ninepic_mirror.archive.store import Store
    from ninepic_mirror.archive.verify import Entry, Key, Pace
    from ninepic_mirror.model import Variant

_BUFFER: Final = 1 << 20  # bytes of one read


def compare(
    manifest: Manifest, holdings: Holdings, tree: Tree, variants: Collection[Variant]
) -> str:
    """Compare the rows of a manifest that may be an older copy with SHA256SUMS and files; return what to say of it.

    Args:
        manifest: Marked as `lock.RESTORED`.
        holdings: Its file side.
        tree: The event folder.
        variants: Those that are fetched.

    Raises:
        StorageError: The disk said no.
    """
    is_older = manifest.meta(lock.RESTORED) is True
    manifest.set_meta({"adopted": None, "last_whole": None})
    with translated(tree.name("")):
        wrong = holdings.lines.doubt(tree, variants, is_older=is_older)
    sums.forget_notes(manifest)
    trash.forget_days(manifest)
    why = "" if is_older else ", or a SHA256SUMS was altered"
    said = f"the manifest is an older copy{why}: what stands in the folders is compared with both"
    what = "1 file is" if wrong == 1 else f"{wrong} files are"
    return f"{said}; {what} not what was recorded" if wrong else said


def mend(
    manifest: Manifest, holdings: Holdings, store: Store, damages: Iterable[Damage], pace: Pace
) -> frozenset[Key]:
    """Do what can be done here for damaged files, and mark the rest as to be had again.

    Args:
        manifest: The manifest.
        holdings: Its file side.
        store: Over the event folder.
        damages: As `verify` found them, perhaps hours ago.
        pace: How fast to read; where it ends, the rest stays as it is.

    Returns:
        Which files the pass has to have again.

    Raises:
        StorageError: The disk said no.
    """
    _clear(manifest, store)
    damages = _still(manifest, holdings, store, damages, pace)
    holdings.misplace(one.entry.image_id for one in damages if one.fault == "misplaced")
    holdings.disbelieve(one.entry.image_id for one in damages if one.fault == "content")
    lost = [one for one in damages if one.fault != "misplaced" and not one.entry.is_gone]
    # of what cannot be had again even a damaged copy stays, until whole bytes take its place
    kept = [one for one in damages if one.entry.is_gone and one.found is not None]
    by_folder: defaultdict[str, list[Key]] = defaultdict(list)
    for one in lost:
        by_folder[split(one.entry.path or "")[0]].append(one.entry.key)
    for folder, keys in by_folder.items():
        holdings.lost(folder, keys)
    with translated(store.tree.name("")):
        for one in (*lost, *kept):
            if one.entry.path is not None and (block := barrier(store.tree, one.entry.path)):
                store.tree.move(block, store.trash_place(block))
        _bring(holdings, store, [*lost, *kept], pace)
    return frozenset(one.entry.key for one in lost)


def _clear(manifest: Manifest, store: Store) -> None:
    """Move to the trash what stands in the place of SHA256SUMS or event.json without being a file."""
    paths = [about.NAME, *map(sums.sums_path, sums.tops(manifest, stale=True))]
    with translated(store.tree.name("")):
        for path in paths:
            if (found := store.tree.stat(path)) is not None and not found.is_file:
                store.tree.move(path, store.trash_place(path))


def _is_the_row(holdings: Holdings, store: Store, entry: Entry, pace: Pace) -> bool:
    """Whether it is the row that was damaged: the file has its SHA-256, or that of SHA256SUMS. Then it is corrected.

    The other hash vouches for nothing alone: a file that has it is easily forged.
    """
    sha256, xxh3 = hashlib.sha256(), xxhash.xxh3_128()
    path = entry.path or ""
    if not feed(store.tree, path, pace, sha256.update, xxh3.update):
        return False
    found, other = sha256.hexdigest(), xxh3.hexdigest()
    if found != entry.sha256:
        if other != entry.xxh3_128:
            return False
        with translated(store.tree.name(sums.sums_path(top_folder(path)))):
            if (path, found) not in sums.lines_of(store.tree, top_folder(path)):
                return False
    holdings.correct(entry.key, path, other, found)
    return True


def _still(
    manifest: Manifest, holdings: Holdings, store: Store, damages: Iterable[Damage], pace: Pace
) -> list[Damage]:
    """Return what is still damaged, by the rows as they are now that nobody else changes them."""
    eye, where = Eye(pace), inventory.where(manifest)
    found = []
    with suppress(Stopped):
        for one in damages:
            entry = inventory.again(manifest, one.entry.key)
            seen = Look() if entry is None else look(store.tree, entry, eye, where)
            if (
                entry is not None
                and seen.fault == "content"
                and _is_the_row(holdings, store, entry, pace)
            ):
                continue
            if entry is not None and seen.fault is not None:
                found.append(Damage(entry, seen.fault, one.found))
    return found


def _bring(holdings: Holdings, store: Store, lost: Sequence[Damage], pace: Pace) -> None:
    """Bring whole bytes that stand elsewhere to where their rows last had them.

    All step aside first, because two files may stand in each other's place. Cut off there, they lie in the trash, where
    `verify` finds them.
    """
    tree = store.tree
    aside: list[tuple[str, str]] = []
    changed: list[str] = []
    needed = Counter(one.found for one in lost)
    for one in lost:
        row = one.entry
        needed[one.found] -= 1
        if one.found is not None and row.path is not None and one.found != row.path:
            try:
                is_right = hash_of(tree, one.found, pace) == row.sha256
            except Stopped:
                break
            if not is_right:
                continue  # it was touched since
            changed.append(row.path)
            place = store.trash_place(row.path)
            if needed[one.found] or holdings.has_at(one.found, row.sha256):
                _copy(tree, one.found, place)  # another file's, too
                aside.append((place, row.path))
                continue
            if one.found.startswith(TRASH):
                aside.append((one.found, row.path))
                continue
            tree.move(one.found, place)
            if store.is_place(one.found):  # else a person made the folder
                tree.prune(split(one.found)[0])
            aside.append((place, row.path))
            if tree.stat(sums.sums_path(top_folder(one.found))) is not None:
                changed.append(one.found)  # which may be named there
    for place, target in aside:
        if tree.stat(target) is not None:
            tree.move(target, store.trash_place(target))
        tree.move(place, target)
    # not those that are no text to SQLite: they were never in folders of ours
    holdings.changed(path for path in changed if path.isascii())


def _copy(tree: Tree, source: str, target: str) -> None:
    """Copy a file durably, with its modification time."""
    with tree.opened(source) as descriptor, os.fdopen(os.dup(descriptor), "rb") as file:
        tree.write_whole(target, iter(partial(file.read, _BUFFER), b""), f"{PARTIAL}/copy")
        modified = os.fstat(descriptor).st_mtime_ns
    with tree.opened(target) as descriptor:
        os.utime(descriptor, ns=(modified, modified))
