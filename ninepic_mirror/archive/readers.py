"""Several threads that look at files for `verify`, each at a handful at a time.

What keeps one core from hashing as fast as it can are, with small files, the turns: of a thread that waits for the disk,
of two that want the interpreter. So the disk is asked for a handful of files before the first of them is looked at, and
a thread takes a handful in one turn.
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Final, Self

from ninepic_mirror.archive.files import release
from ninepic_mirror.archive.verify import Look, Stopped, ahead, look
from ninepic_mirror.errors import StorageError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from ninepic_mirror.archive.files import Tree
    from ninepic_mirror.archive.verify import Entry, Eye, Key, Where

_SMALL: Final = (
    256 << 10
)  # bytes of a file below which a disk takes longer to find it than to read it
# Threads: for small files, whose disk has to look for several at once; for large ones, where there are so many processors
# to hash them. Several large ones at once would only make a spinning disk seek.
_MOST: Final = 4
# Files, and bytes, that a thread asks the disk for at once: each is an open file.
_HANDFUL: Final = 16
_BYTES: Final = 1 << 20


def width(entries: Sequence[Entry], processors: int) -> int:
    """Return how many threads are to read: small files wait for the disk to answer, large ones for it to deliver."""
    small = sum(entry.size or 0 for entry in entries) < _SMALL * len(entries)
    return _MOST if small else min(_MOST, processors)


def handfuls(entries: Sequence[Entry]) -> Iterator[list[Entry]]:
    """Yield what one thread asks the disk for at once; a large file is one by itself."""
    some: list[Entry] = []
    size = 0
    for entry in entries:
        more = entry.size or 0
        if some and (len(some) == _HANDFUL or size + more > _BYTES):
            yield some
            some, size = [], 0
        some.append(entry)
        size += more
    if some:
        yield some


class Readers:
    """Some threads that look at files; hashing gives the interpreter lock away. Use it in a `with` block.

    Args:
        tree: The event folder.
        eye: How to look.
    """

    def __init__(self, tree: Tree, eye: Eye) -> None:
        self._tree, self._eye = tree, eye
        self._pool = ThreadPoolExecutor(_MOST, "verify")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown()

    def look(self, entries: Sequence[Entry], where: Where | None) -> Mapping[Key, Look]:
        """Look at some files, in their order; where the run is to end, at the first of them only.

        One of which it cannot be told what stands there does not keep the others from being looked at.
        """
        left = iter([*handfuls(entries)])
        seen: dict[Key, Look] = {}
        with self._tree.holding() as tree:

            def work() -> None:
                for some in left:  # shared by all: each takes the next
                    try:
                        for entry, found in self._look_at(tree, some, where):
                            seen[entry.key] = found
                    except Stopped:
                        return

            wanted = width(entries, os.cpu_count() or 1)
            for done in [self._pool.submit(work) for _ in range(wanted)]:
                done.result()
        return seen

    def _look_at(
        self, tree: Tree, entries: Sequence[Entry], where: Where | None
    ) -> Iterator[tuple[Entry, Look]]:
        opened = [
            None if self._eye.quick or one.path is None else ahead(tree, one.path)
            for one in entries
        ]
        try:
            for entry, begun in zip(entries, opened, strict=True):
                try:
                    yield entry, look(tree, entry, self._eye, where, begun)
                    self._eye.pace.advanced.set()
                except StorageError as error:
                    yield entry, Look(error=error)
        finally:
            for begun in opened:
                if begun is not None:
                    release(begun[0])
