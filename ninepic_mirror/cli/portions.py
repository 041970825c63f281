"""How much of an event `verify` looks at, asks the manifest of, and records at once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypeVar

from ninepic_mirror.archive.files import split
from ninepic_mirror.archive.inventory import CHUNK

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ninepic_mirror.archive.verify import Entry

T = TypeVar("T")

# Files looked at between two words to the progress bar: each is some turns of threads, which wait for one on a busy machine.
_GROUP: Final = 500
_BUNCH: Final = 5_000  # names of which it is asked at once whose they are
_BYTES: Final = 128 << 20  # bytes likewise: large enough that readers wait for each other rarely
# What a kill costs at most, if nobody holds the event: files read, bytes and seconds after which it is recorded.
_RECORD: Final = 5_000
_RECORD_BYTES: Final = 1 << 30
_RECORD_SECONDS: Final = 60.0


def is_due(files: int, size: int, seconds: float) -> bool:
    """Say whether so many files and bytes, read in so many seconds, are enough to be recorded."""
    return files >= _RECORD or size >= _RECORD_BYTES or seconds >= _RECORD_SECONDS


def groups(entries: Sequence[Entry]) -> Iterator[list[Entry]]:
    """Yield what is looked at between two words to the progress bar."""
    group: list[Entry] = []
    size = 0
    for entry in entries:
        group.append(entry)
        size += entry.size or 0
        if len(group) == _GROUP or size >= _BYTES:
            yield group
            group, size = [], 0
    if group:
        yield group


def bunch(folders: Iterator[tuple[str, list[str]]]) -> list[tuple[str, list[str]]]:
    """Return the next folders, with some thousand names."""
    some, names = [], 0
    for folder, found in folders:
        some.append((folder, found))
        names += len(found)
        if names >= _BUNCH:
            break
    return some


def some_of(items: Sequence[T]) -> Iterator[Sequence[T]]:
    """Yield items as many at a time as one question may hold."""
    for start in range(0, len(items), CHUNK):
        yield items[start : start + CHUNK]


def above(path: str | None) -> Iterator[str]:
    """Yield the folders above a path."""
    folder = split(path or "")[0]
    while folder:
        yield folder
        folder = split(folder)[0]
