"""Which files are those of photos that are to be forgotten: rows tell, then paths (`traces`), and in doubt the hashes.

A file that may be another photo's is not removed: it may be the only copy. One that may be the photo's is not passed
over in silence: people are to look at it.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
from typing import TYPE_CHECKING, Literal

from msgspec import Struct

from ninepic_mirror.archive import inventory
from ninepic_mirror.archive.files import split
from ninepic_mirror.archive.partial import note_of, place
from ninepic_mirror.archive.twins import TRASH
from ninepic_mirror.model import VARIANTS

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from ninepic_mirror.archive.files import Tree
    from ninepic_mirror.archive.manifest import Manifest
    from ninepic_mirror.archive.traces import Signs

Kind = Literal["file", "folder", "link", "other"]


class Undecided(Struct, frozen=True, order=True):
    """Something that was left, because nothing tells whether it is, or holds, a forgotten photo.

    Args:
        path: Where it stands.
        kind: What it is.
    """

    path: str
    kind: Kind


def kind_of(tree: Tree, path: str) -> Kind | None:
    """Return what stands at a path, None where nothing does. Raises OSError."""
    there = tree.stat(path)
    if there is None:
        return None
    if there.is_file:
        return "file"
    parent, name = split(path)
    with tree.folder(parent) as above:
        mode = os.stat(name, dir_fd=above, follow_symlinks=False).st_mode
    return "folder" if stat.S_ISDIR(mode) else "link" if stat.S_ISLNK(mode) else "other"


class Belongings:
    """Looks for the files of photos. Blocks.

    Args:
        manifest: Open; the photos have their rows still, if they ever had any.
        tree: The event folder.
        ids: The photos.
        signs: Of the same photos.
    """

    def __init__(self, manifest: Manifest, tree: Tree, ids: Collection[str], signs: Signs) -> None:
        self._manifest, self._tree = manifest, tree
        self._ids, self._signs = frozenset(ids), signs

    def find(self) -> tuple[set[str], set[str]]:
        """Return every place at which a file of these photos may stand, and those of which that cannot be told.

        Raises:
            OSError: A folder cannot be read.
        """
        ours, doubtful = self._recorded()
        for start in ("", TRASH):
            for folder, names in inventory.walk(self._tree, start):
                for name in names:
                    path = f"{folder}/{name}" if folder else name
                    if path not in ours and path not in doubtful:
                        self._look(path, start, ours, doubtful)
        hashes = self._hashes() if doubtful else frozenset()
        for path in sorted(doubtful):
            if self._has_one_of(path, hashes):
                doubtful.remove(path)
                ours.add(path)
        return ours, doubtful

    def known(self, names: Collection[str]) -> set[str]:
        """Return which of these texts are ids of other photos."""
        statement = "SELECT 1 FROM photos WHERE image_id = ?"
        return {one for one in names if self._manifest.rows(statement, [one])} - self._ids

    def _recorded(self) -> tuple[set[str], set[str]]:
        """Return the places that rows tell, and those that other photos' rows tell, too; and where parts may stand."""
        ours, doubtful = set[str](), set[str]()
        for image_id in self._ids:
            for row in self._manifest.rows(
                "SELECT path, moving_to FROM files WHERE image_id = ?", [image_id]
            ):
                for path in (str(one) for one in row if one is not None):
                    owner = self._owner(path)
                    if owner is not False:
                        (ours if owner else doubtful).add(path)
            for variant in VARIANTS:
                part = place(image_id, variant)
                ours |= {part, note_of(part)}
        return ours, doubtful

    def _look(self, path: str, start: str, ours: set[str], doubtful: set[str]) -> None:
        """Say of one file that no row of these photos knows whose it is."""
        # in the trash a folder for each day stands above
        inner = path.removeprefix(f"{TRASH}/").partition("/")[2] if start else path
        found = self._signs.whose(inner, self.known, in_trash=bool(start))
        if found is False or self._owner(path) is False:
            return
        folder = None if found else self._signs.covering(inner)
        if folder is not None:
            path = path.removesuffix(inner) + folder
        (ours if found else doubtful).add(path)

    def _owner(self, path: str) -> bool | None:
        """Say whether rows tell that a file is these photos'; None: they tell nothing, or both."""
        if not path.isascii():
            return None  # of no row, and maybe no text to SQLite
        found = self._manifest.rows(
            "SELECT image_id, state FROM files WHERE folder = ? AND path = ?"
            " UNION ALL SELECT image_id, state FROM files WHERE moving_to = ?",
            [split(path)[0], path, path],
        )
        present = {row[0] in self._ids for row in found if row[1] == "present"}
        owners = present or {row[0] in self._ids for row in found}
        return owners.pop() if len(owners) == 1 else None

    def _hashes(self) -> frozenset[str]:
        """Return every SHA-256 that files of these photos have or had, as far as it is known."""
        found = set[str]()
        for image_id in self._ids:
            rows = self._manifest.rows(
                "SELECT sha256 FROM files WHERE image_id = ? AND sha256 IS NOT NULL"
                " UNION SELECT sha256 FROM delivered WHERE image_id = ?",
                [image_id, image_id],
            )
            found |= {str(row[0]) for row in rows}
            for (text,) in self._manifest.rows(
                "SELECT report FROM passes WHERE instr(report, ?)", [json.dumps(image_id)]
            ):
                found |= {*_replaced(self._manifest.parsed(str(text)), image_id)}
        return frozenset(found)

    def _has_one_of(self, path: str, hashes: frozenset[str]) -> bool:
        """Whether a file has one of these hashes; not where it cannot be read."""
        if not hashes:
            return False
        try:
            with (
                self._tree.opened(path) as descriptor,
                open(descriptor, "rb", closefd=False) as file,
            ):
                return hashlib.file_digest(file, "sha256").hexdigest() in hashes
        except OSError:
            return False


def _replaced(report: object, image_id: str) -> Iterator[str]:
    """Yield the hashes of a photo's replaced files in what a pass reported, from JSON."""
    waiting = [report]
    while waiting:
        one = waiting.pop()
        if isinstance(one, dict):
            waiting += one.values()
            if one.get("image_id") == image_id:
                yield from (str(one[key]) for key in ("before", "after") if one.get(key))
        elif isinstance(one, list):
            waiting += one
