"""Where the whole bytes of damaged files stand: among files that are nobody's, in each other's places, in the trash."""

from __future__ import annotations

from collections import Counter
from itertools import chain
from typing import TYPE_CHECKING

from ninepic_mirror.archive import inventory
from ninepic_mirror.archive.faults import translated
from ninepic_mirror.archive.store import TRASH
from ninepic_mirror.archive.strays import Strays, known_layouts
from ninepic_mirror.archive.verify import Stopped, hash_of, match
from ninepic_mirror.config import DEFAULT_LAYOUT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from ninepic_mirror.archive.files import Tree
    from ninepic_mirror.archive.manifest import Manifest
    from ninepic_mirror.archive.verify import Damage, Key, Pace


def find(
    tree: Tree,
    damages: Sequence[Damage],
    others: Iterable[str],
    pace: Pace,
    closed: Callable[[str, OSError], object],
) -> dict[Key, str] | None:
    """Look for the whole bytes of damaged files.

    Args:
        tree: The event folder.
        damages: The damaged files.
        others: Files that are nobody's, or stand wrong (`wrong`), or of equal bytes by their rows.
        pace: How fast to read.
        closed: Told of a folder of the trash that cannot be looked into.

    Returns:
        Where the bytes of which file stand; None where the time was over before all was looked at.

    Raises:
        StorageError: The disk said no.
    """
    paths = chain(others, _trash(tree, closed))

    def candidates() -> Iterator[tuple[str, int]]:
        for path in paths:
            if (found := tree.stat(path)) and found.is_file:
                yield path, found.size

    try:
        with translated(tree.name("")):
            return match(damages, candidates(), lambda path: hash_of(tree, path, pace))
    except Stopped:
        return None


def wrong(damages: Sequence[Damage]) -> list[str]:
    """Return where files stand that are not what their rows say: they may be each other's."""
    sizes = Counter(one.entry.size for one in damages)
    return [
        one.entry.path
        for one in damages
        if one.entry.path is not None
        # one whose size nobody else seeks holds nobody's bytes
        and (one.fault == "size" or (one.fault == "content" and sizes[one.entry.size] > 1))
    ]


def namesakes(tree: Tree, paths: Sequence[str], manifest: Manifest) -> list[str]:
    """Return which of some files of the trash lie there under the name of a photo that is to be had, and never was."""
    last = manifest.meta("layout")
    layout = last if isinstance(last, str) else DEFAULT_LAYOUT
    layouts = known_layouts(manifest, tree, layout, remember=False)
    return Strays(manifest).namesakes(paths, *layouts)


def _trash(tree: Tree, closed: Callable[[str, OSError], object]) -> Iterator[str]:
    """Yield what lies in the trash, where it may be all that is left of a file."""
    for folder, names in inventory.walk(tree, TRASH.rstrip("/"), closed):
        yield from (f"{folder}/{name}" for name in names)
