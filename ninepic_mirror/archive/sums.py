"""SHA256SUMS, one for each top-level folder of the layout, for `sha256sum -c` (DESIGN §5)."""

from __future__ import annotations

import re
from contextlib import suppress
from itertools import chain
from typing import TYPE_CHECKING, Final

from ninepic_mirror.archive.files import Tree, translated
from ninepic_mirror.archive.partial import FOLDER as PARTIAL
from ninepic_mirror.archive.placement import top_folder

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ninepic_mirror.archive.manifest import Manifest

NAME: Final = "SHA256SUMS"
_LINE: Final = re.compile(rb"^([0-9a-f]{64}) [ *]([^\n]+)$", re.MULTILINE)
_LIMIT: Final = 1 << 30  # bytes; ten million lines


def sums_path(top: str) -> str:
    """Return where the sums of a top-level folder stand ("": the event folder itself)."""
    return f"{top}/{NAME}" if top else NAME


def write_stale(tree: Tree, manifest: Manifest) -> int:
    """Bring every SHA256SUMS up to what the manifest says; return how many were written or removed.

    Raises:
        StorageError: The disk said no; what is stale stays marked.
    """
    stale = [
        str(row[0]) for row in manifest.rows("SELECT folder FROM sums WHERE stale ORDER BY folder")
    ]
    for top in stale:
        filled = _write(tree, manifest, top)
        with manifest.transaction():
            manifest.change(
                "UPDATE sums SET stale = 0, filled = ? WHERE folder = ?", [int(filled), top]
            )
    return len(stale)


def _write(tree: Tree, manifest: Manifest, top: str) -> bool:
    """Write one file, or remove it where its folder holds no photo any more; return whether it stands."""
    path = sums_path(top)
    with translated(tree.name(path)):
        lines = _lines(manifest, top)
        first = next(lines, None)
        if first is not None:
            tree.write_whole(path, chain([first], lines), f"{PARTIAL}/{NAME}")
            return True
        with suppress(FileNotFoundError, NotADirectoryError):
            tree.remove(path)
            tree.sync_folder(top)
        tree.prune(top)
    return False


def _lines(manifest: Manifest, top: str) -> Iterator[bytes]:
    """Yield the lines of one file in chunks of some hundred kilobytes, ordered by path."""
    # the folder itself, and what lies between "top/" and "top0", the character behind "/"
    where = "folder = ''" if not top else "(folder = ? OR (folder > ? AND folder < ?))"
    values = [top, f"{top}/", f"{top}0"] if top else []
    found = manifest.each(
        f"SELECT sha256, path FROM files WHERE {where} AND state = 'present' ORDER BY folder, path",
        values,
    )
    cut = len(top) + 1 if top else 0
    chunk = []
    for sha256, path in found:
        chunk.append(f"{sha256}  {str(path)[cut:]}\n")
        if len(chunk) == 4096:
            yield "".join(chunk).encode()
            chunk.clear()
    if chunk:
        yield "".join(chunk).encode()


class NamedHashes:
    """What the SHA256SUMS files name, one folder at a time: a rebuild asks for a folder's files one after the other.

    Args:
        tree: The event folder.
    """

    def __init__(self, tree: Tree) -> None:
        self._tree = tree
        self._last: tuple[str | None, dict[bytes, str]] = (None, {})

    def get(self, path: str) -> str | None:
        """Return the hash that the SHA256SUMS above a file names for it, None when it names none."""
        top = top_folder(path)
        # As one value: several workers ask at the same time, and one must not read in the folder of another.
        known, named = self._last
        if top != known:
            named = self._read(top)
            self._last = (top, named)
        return named.get(path[len(top) + 1 if top else 0 :].encode())

    def _read(self, top: str) -> dict[bytes, str]:
        try:
            text = self._tree.read(sums_path(top), _LIMIT)
        except OSError:
            return {}
        return {found[2]: found[1].decode() for found in _LINE.finditer(text)}
