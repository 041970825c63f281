"""What the manifest says ought to be on disk, for `verify`: the list in chunks, one row again, what is nobody's.

A manifest is opened for each question and closed again, so that a pass beside us is never kept waiting.
"""

from __future__ import annotations

import json
from itertools import groupby
from typing import TYPE_CHECKING, Final
from zoneinfo import ZoneInfo

from ninepic_mirror.archive import about
from ninepic_mirror.archive.files import split
from ninepic_mirror.archive.manifest import now
from ninepic_mirror.archive.placement import Layout
from ninepic_mirror.archive.root import OWN_FOLDER
from ninepic_mirror.archive.sums import NAME as SUMS
from ninepic_mirror.archive.verify import Entry, Where
from ninepic_mirror.model import VARIANTS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from ninepic_mirror.archive.files import Kind, Tree
    from ninepic_mirror.archive.manifest import Manifest, Value
    from ninepic_mirror.archive.verify import Key

CHUNK: Final = 500  # names a query
_LIST: Final = 2000  # rows a query
_NAMES: Final = 10_000  # of one folder, looked for among its rows at once
_COLUMNS: Final = (
    "image_id, variant, path, size, sha256, taken, state, moving_to, misplaced, error, xxh3_128"
    " FROM files JOIN photos USING (image_id)"
)
_KEPT: Final = (  # what stands in the trash waits for its end: nobody reads it
    "(state = 'present' OR (state = 'gone' AND sha256 IS NOT NULL"
    f" AND substr(path, 1, {len(OWN_FOLDER) + 1}) <> '{OWN_FOLDER}/'))"
)
_LOST: Final = (  # were had once, and are to be had again
    "state IN ('pending', 'failed') AND sha256 IS NOT NULL AND gone_since IS NULL"
)


def where(manifest: Manifest) -> Where | None:
    """Return how the last pass made paths, None before there was one, or where what it noted is damaged."""
    layout, zone = manifest.meta("layout"), manifest.meta("timezone")
    if not (isinstance(layout, str) and isinstance(zone, str)):
        return None
    try:
        return Where(Layout.parse(layout), ZoneInfo(zone))
    except (ValueError, LookupError, OSError):  # of the last two: names that are no zone's
        return None


def wanted(manifest: Manifest) -> list[str]:
    """Return the variants that ought to be here; what was deleted of another is not missed."""
    noted = manifest.meta("wanted")
    return [str(one) for one in noted] if isinstance(noted, list) else list(VARIANTS)


def _knows_times(manifest: Manifest) -> bool:
    """Whether the manifest records when files were verified: an older one that is only read does not."""
    return manifest.version() > 1


def stamp(manifest: Manifest) -> int:
    """Return the time that a run which begins now records: later than every earlier run's, whatever the clock says."""
    if not _knows_times(manifest):
        return now()
    query = "SELECT max(verified_at) FROM files WHERE verified_at IS NOT NULL"
    return max(now(), manifest.count(query) + 1)


class List:
    """The files that ought to be there: those lost before, those never verified, then the longest verified first.

    Args:
        stamp: Of the run; what it has verified itself does not come again.
        quick: Sizes only, in whatever order.
    """

    def __init__(self, stamp: int, *, quick: bool) -> None:
        self._stamp, self._quick = stamp, quick
        self._phases = [self._lost, self._new, self._old]
        self._after: tuple[Value, ...] = ()

    def count(self, manifest: Manifest) -> int:
        """Return how many there are."""
        lost = manifest.count(
            f"SELECT count(*) FROM files JOIN photos USING (image_id) WHERE {_LOST}"
        )
        return lost + manifest.count(f"SELECT count(*) FROM files WHERE {_KEPT}")

    def next(self, manifest: Manifest) -> list[Entry]:
        """Return the next ones; an empty answer is the end."""
        while self._phases:
            condition, order, values = self._phases[0](manifest)
            if self._after:
                condition += f" AND ({order}) > ({_marks(self._after)})"
                values += self._after
            found = manifest.rows(
                f"SELECT {order}, {_COLUMNS} WHERE {condition} ORDER BY {order} LIMIT {_LIST}",
                values,
            )
            if found:
                cut = order.count(",") + 1
                self._after = found[-1][:cut]
                return [_entry(row[cut:]) for row in found]
            del self._phases[0]
            self._after = ()
        return []

    def _lost(self, _manifest: Manifest) -> tuple[str, str, list[Value]]:
        return _LOST, "image_id, variant", []

    def _new(self, manifest: Manifest) -> tuple[str, str, list[Value]]:
        has_times = _knows_times(manifest) and not self._quick
        never = " AND verified_at IS NULL" if has_times else ""
        condition = f"folder IS NOT NULL AND {_KEPT}{never}"
        return condition, "folder, image_id, variant", []

    def _old(self, manifest: Manifest) -> tuple[str, str, list[Value]]:
        if self._quick or not _knows_times(manifest):
            return "0", "image_id", []
        condition = f"verified_at IS NOT NULL AND {_KEPT} AND verified_at < ?"
        return condition, "verified_at, folder, image_id, variant", [self._stamp]


def again(manifest: Manifest, key: Key) -> Entry | None:
    """Return one file's row as it is now; None where nobody promises the file."""
    rows = manifest.rows(
        f"SELECT {_COLUMNS} WHERE image_id = ? AND variant = ? AND ({_KEPT} OR ({_LOST}))", key
    )
    return _entry(rows[0]) if rows else None


def at(manifest: Manifest, path: str) -> Entry | None:
    """Return the row of the present file that stands at a place."""
    rows = manifest.rows(
        f"SELECT {_COLUMNS} WHERE folder = ? AND path = ? AND state = 'present' LIMIT 1",
        [split(path)[0], path],
    )
    return _entry(rows[0]) if rows else None


def unheld(manifest: Manifest, hashes: Iterable[str]) -> set[str]:
    """Return which of these SHA-256 no present file has. Reads every row."""
    left = {*hashes}
    for row in manifest.each("SELECT sha256 FROM files WHERE state = 'present'"):
        left.discard(str(row[0]))
    return left


def lost(manifest: Manifest, gone: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    """Return which of these files, ordered by path, no row knows, and no present file has the bytes of.

    Args:
        manifest: The manifest.
        gone: Path and SHA-256 of what does not stand there any more.
    """
    rowless: dict[str, str] = {}
    for folder, some in groupby(gone, lambda line: split(line[0])[0]):
        hashes = dict(some)
        names = [split(path)[1] for path in hashes]
        rowless |= {path: hashes[path] for path in strays(manifest, folder, names)}
    left = unheld(manifest, rowless.values()) if rowless else set()
    return [line for line in rowless.items() if line[1] in left]


def told(lost: Sequence[tuple[str, str]]) -> str:
    """Return what to say of such files, once: SHA256SUMS does not name them any more."""
    more = f" and {len(lost) - 1} more" if len(lost) > 1 else ""
    return (
        f"LOST: {lost[0][0]}{more}: SHA256SUMS named it, it is not here, and nothing that is listed has its bytes;"
        " where there is a backup, put it back from there"
    )


def record(manifest: Manifest, entries: Iterable[Entry], stamp: int) -> None:
    """Note that these files were read, and are what their rows say, unless a row says something else by now."""
    with manifest.transaction():
        manifest.change_each(
            "UPDATE files SET verified_at = ? WHERE image_id = ? AND variant = ? AND sha256 = ?"
            " AND state IN ('present', 'gone')",
            [(stamp, *entry.key, entry.sha256) for entry in entries],
        )


def twins(manifest: Manifest, hashes: Iterable[str | None]) -> list[str]:
    """Return where files of these bytes stand, by rows in whatever state; all rows are read, once."""
    found = manifest.rows(
        "SELECT DISTINCT path FROM files WHERE path IS NOT NULL AND sha256 IN (SELECT value FROM json_each(?))",
        [json.dumps([*hashes])],
    )
    return [str(row[0]) for row in found]


def walk(
    tree: Tree, start: str = "", closed: Callable[[str, OSError], object] | None = None
) -> Iterator[tuple[str, list[str]]]:
    """Yield what may be nobody's: some names of one folder at a time, without folders and what is ours.

    Args:
        tree: The event folder.
        start: The folder below it to begin with; then what looks like ours is looked into, too.
        closed: Told of a folder that cannot be looked into, which then does not end the walk.

    Raises:
        OSError: As the system says, without `closed`.
    """
    waiting = [start]
    while waiting:  # not by recursion: however deep somebody's folders are
        folder = waiting.pop()
        names: list[str] = []
        for name, kind in _entries(tree, folder, closed):
            if kind == "folder":
                if name != OWN_FOLDER or start:
                    waiting.append(f"{folder}/{name}" if folder else name)
            elif not _is_ours(folder, name):
                names.append(name)
                if len(names) == _NAMES:
                    yield folder, names
                    names = []
        if names:
            yield folder, names


def _entries(
    tree: Tree, folder: str, closed: Callable[[str, OSError], object] | None
) -> Iterator[tuple[str, Kind]]:
    try:
        yield from tree.entries(folder)
    except OSError as error:
        if closed is None:
            raise
        closed(folder, error)


def _is_ours(folder: str, name: str) -> bool:
    """Whether a file is one that passes write besides photos."""
    return (name == SUMS and "/" not in folder) or (not folder and name == about.NAME)


def strays(manifest: Manifest, folder: str, names: Sequence[str]) -> list[str]:
    """Return the paths of those names in a folder that no row, in whatever state, has as its place."""
    prefix = f"{folder}/" if folder else ""
    left: dict[object, str] = {path: path for path in (prefix + name for name in names)}
    known = manifest.each(
        "SELECT path FROM files WHERE folder = ?"
        " UNION ALL SELECT moving_to FROM files WHERE moving_to IS NOT NULL",
        # all names of ours are ASCII (placement); others may hold bytes that are no text to SQLite
        [folder if folder.isascii() else ""],
    )
    for row in known:
        left.pop(row[0], None)
    return [*left.values()]


def named(manifest: Manifest, paths: Sequence[str]) -> dict[str, str]:
    """Return the SHA-256 of those files for which a pass has found no photo, though SHA256SUMS named them."""
    found = manifest.rows(f"SELECT path, sha256 FROM named WHERE path IN ({_marks(paths)})", paths)
    return {str(path): str(sha256) for path, sha256 in found}


def all_named(manifest: Manifest) -> Iterator[tuple[str, str]]:
    """Yield path and SHA-256 of every file that SHA256SUMS named and no row vouches for, ordered by path."""
    for path, sha256 in manifest.each("SELECT path, sha256 FROM named ORDER BY path"):
        yield str(path), str(sha256)


def is_unfinished(manifest: Manifest) -> bool:
    """Whether no pass has come to its end yet that took in what stood here before its row.

    A rebuild or a first pass was cut off, or what stands here is being compared with a restored manifest.
    """
    return manifest.meta("adopted") is None


def _entry(row: Sequence[Value]) -> Entry:
    return Entry(*row)  # type: ignore[arg-type]  # the columns are the fields, in order


def _marks(values: Sequence[object]) -> str:
    return ",".join("?" * len(values))
