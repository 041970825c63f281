"""Looks at what is on disk before a pass: what was deleted comes back, what lies there without a row is adopted.

A folder's modification time changes when a name in it comes or goes, so an unchanged mirror costs one look for each
folder. A full pass looks at every file's size as well. Blocks: runs in the manifest's thread.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from ninepic_mirror.archive.faults import translated
from ninepic_mirror.archive.root import OWN_FOLDER
from ninepic_mirror.archive.sums import NAME as SUMS
from ninepic_mirror.archive.sums import named_lines

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ninepic_mirror.archive.files import Tree
    from ninepic_mirror.archive.holdings import Holdings

# Nanoseconds: the coarsest time of a file system (exFAT, 2 s). A folder that changed within it may change again without
# another time, so its names are compared once more by the next pass.
_GRAIN: Final = 2_000_000_000


def survey(
    tree: Tree, holdings: Holdings, *, sizes: bool, everywhere: bool, records: bool = False
) -> int:
    """Compare folders with their rows, before a pass.

    Args:
        tree: The event folder.
        holdings: The manifest's file side.
        sizes: Look at the size of every file, too.
        records: Read every SHA256SUMS, as with `sizes`.
        everywhere: Look into every folder: the manifest may be a new one over an old mirror.

    Returns:
        How many files are missing or of another size.

    Raises:
        StorageError: The disk said no.
    """
    with translated(tree.name("")):
        missing = _compare_changed(tree, holdings, every=everywhere, final=False)
        if sizes:
            missing += sum(
                _compare_sizes(tree, holdings, folder) for folder, _ in holdings.folders()
            )
        if everywhere:
            holdings.lines.name(named_lines(tree))
            known = {folder for folder, _ in holdings.folders()}
            for folder in _walk(tree):
                if folder not in known:
                    _compare(tree, holdings, folder, final=False)
        else:
            holdings.lines.name_strays(tree)
        holdings.stale_sums(
            [
                top
                for top in holdings.tops()
                if holdings.sums_fault(tree, top, thorough=sizes or records)
            ]
        )
    return missing


def conclude(tree: Tree, holdings: Holdings) -> int:
    """Compare, after a pass, the folders that it changed, so that the next one can trust their times.

    Returns:
        How many files are missing: somebody took them away during the pass.

    Raises:
        StorageError: The disk said no.
    """
    with translated(tree.name("")):
        return _compare_changed(tree, holdings, every=False, final=True)


def _compare_changed(tree: Tree, holdings: Holdings, *, every: bool, final: bool) -> int:
    missing = 0
    for folder, known in holdings.folders():
        now = tree.folder_mtime(folder)
        if every or now is None or now != known:
            missing += _compare(tree, holdings, folder, final=final)
        if now is None:
            holdings.forget_folder(folder)
    return missing


def _compare(tree: Tree, holdings: Holdings, folder: str, *, final: bool) -> int:
    mtime = tree.folder_mtime(folder)  # before the names: what changes meanwhile is seen next time
    if mtime is not None and time.time_ns() - mtime < _GRAIN:
        mtime = None
    # all names of ours are ASCII (placement); others may hold bytes that are no text to SQLite
    names = (
        name
        for name, kind in tree.entries(folder)
        if kind == "file" and name != SUMS and name.isascii()
    )
    return holdings.compare(folder, mtime, names, final=final)


def _compare_sizes(tree: Tree, holdings: Holdings, folder: str) -> int:
    changed = 0
    for files in holdings.present(folder):
        wrong = []
        for image_id, variant, path, size in files:
            found = tree.stat(path)
            if found is None or not found.is_file or found.size != size:
                wrong.append((image_id, variant))
        holdings.lost(folder, wrong)
        changed += len(wrong)
    return changed


def _walk(tree: Tree) -> Iterator[str]:
    """Yield every folder that may hold files of ours."""
    waiting = [""]
    while waiting:  # not by recursion: however deep somebody's folders are
        folder = waiting.pop()
        kinds = set()
        for name, kind in tree.entries(folder):
            kinds.add(kind)
            if kind == "folder" and name != OWN_FOLDER and name.isascii():
                waiting.append(f"{folder}/{name}" if folder else name)
        if "file" in kinds:
            yield folder
