"""Files of a mirror that its manifest does not know: `verify` judges them by what SHA256SUMS says of them.

There are such after a manifest was lost: of photos that have left, of variants that nobody asks for any more, and, until the
rebuild has come to its end, all of them.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import trio
from msgspec import Struct

from ninepic_mirror.archive import inventory, sums
from ninepic_mirror.archive.readers import Readers
from ninepic_mirror.archive.verify import Entry, Eye, look, share
from ninepic_mirror.cli.portions import groups

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping, Sequence

    from ninepic_mirror.archive.files import Tree
    from ninepic_mirror.archive.manifest import Manifest
    from ninepic_mirror.archive.verify import Fault, Key, Look, Pace
    from ninepic_mirror.cli.inspection import Asked
    from ninepic_mirror.cli.verdict import Verdict
    from ninepic_mirror.progress import Progress

    Closed = Callable[[str, OSError], object]


class Line(Struct):
    """A file that is not what SHA256SUMS says, and that no row knows.

    Args:
        path: Where it stands, or stood.
        sha256: What was recorded of it.
        fault: What is wrong.
        repaired: By now a row vouches for what stands there.
    """

    path: str
    sha256: str
    fault: Fault
    repaired: bool = False


def lines_of(tree: Tree, paths: Collection[str], closed: Closed) -> dict[str, str]:
    """Return the SHA-256 of those files that a SHA256SUMS names.

    Args:
        tree: The event folder.
        paths: Where they stand.
        closed: Told of a SHA256SUMS that cannot be read.
    """
    tops = {path.partition("/")[0] if "/" in path else "" for path in paths}
    return {path: sha256 for path, sha256 in _lines(tree, sorted(tops), closed) if path in paths}


class Reading(Struct):
    """Such files are read.

    Args:
        asked: What was asked for.
        progress: Where to say what happens.
        pace: How fast to read, and until when.
        tree: The event folder.
        verdict: What is found.
        rowless: Which of some paths still have no row and stand there.
    """

    asked: Asked
    progress: Progress
    pace: Pace
    tree: Tree
    verdict: Verdict
    rowless: Callable[[Sequence[str]], Awaitable[list[str]]]

    async def read(self, lines: Mapping[str, str], closed: Closed) -> None:
        """Read them: all, or by chance as many as a sample holds, because nothing tells when they were read last."""
        if self.asked.quick:
            return  # their sizes are recorded nowhere
        verdict = self.verdict
        entries = await trio.to_thread.run_sync(_entries, self.tree, lines, closed)
        due = share(len(entries), self.asked.sample)
        if due < len(entries):
            entries = random.sample(entries, due)
        verdict.files += len(lines)
        verdict.due += due
        self.progress.expect(due)
        with Readers(self.tree, Eye(self.pace, decode=self.asked.decode)) as readers:
            for group in groups(entries):
                seen = await trio.to_thread.run_sync(readers.look, group, None)
                await self._judge(group, seen)

    async def _judge(self, group: Sequence[Entry], seen: Mapping[Key, Look]) -> None:
        verdict = self.verdict
        wrong: dict[str, Line] = {}
        for entry in group:
            found = seen.get(entry.key)
            if found is not None and verdict.note(entry, found) and found.fault is not None:
                wrong[entry.image_id] = Line(entry.image_id, str(entry.sha256), found.fault)
        still = await self.rowless([*wrong])
        verdict.lines += [wrong[path] for path in still]
        verdict.strays = sorted({*verdict.strays} - {*still})
        verdict.named -= len(still)
        self.progress.done(len(seen) - len(still), sum(one.read for one in seen.values()))
        if still:
            self.progress.failed(len(still))


def _entries(tree: Tree, lines: Mapping[str, str], closed: Closed) -> list[Entry]:
    """Return what is to be read: as rows, of which the path is all that tells them apart."""
    found: list[Entry] = []
    for path, sha256 in sorted(lines.items()):
        try:
            stands = tree.stat(path)
        except OSError as error:
            closed(path, error)
            continue
        if stands is not None:
            found.append(Entry(path, "original", path, stands.size, sha256, None, "named"))
    return found


def lost(tree: Tree, manifest: Manifest, closed: Closed, *, is_behind: bool) -> list[Line]:
    """Return the lines for which no row knows a file, nothing stands there, and no present file has the bytes.

    Args:
        tree: The event folder.
        manifest: Open for reading.
        closed: Told of what cannot be looked at.
        is_behind: The manifest may not know yet what SHA256SUMS names; else it has noted all that no row vouches for.
    """
    gone: list[tuple[str, str]] = []
    lines = _lines(tree, sums.folders(tree), closed) if is_behind else inventory.all_named(manifest)
    for path, sha256 in lines:
        try:
            if tree.stat(path) is None:
                gone.append((path, sha256))
        except OSError as error:
            closed(path, error)
    return [Line(path, sha256, "missing") for path, sha256 in inventory.lost(manifest, gone)]


def note_lost(verdict: Verdict, lost: Sequence[tuple[str, str]]) -> None:
    """Keep what a pass found gone, by path and SHA-256, unless it was found before the pass: its line is no more."""
    known = {one.path for one in (*verdict.lines, *verdict.lost)}
    verdict.lost += [Line(path, one, "missing") for path, one in lost if path not in known]


def is_mended(tree: Tree, manifest: Manifest, line: Line, eye: Eye) -> bool:
    """Whether what a line speaks of is all right by now: a row vouches for its place, or has its bytes elsewhere."""
    row = inventory.at(manifest, line.path)
    if row is not None:
        return look(tree, row, eye).fault is None
    return line.fault == "missing" and not inventory.unheld(manifest, [line.sha256])


def _lines(tree: Tree, tops: Collection[str], closed: Closed) -> Iterator[tuple[str, str]]:
    for top in tops:
        try:
            yield from sums.lines_of(tree, top)
        except OSError as error:
            closed(sums.sums_path(top), error)
