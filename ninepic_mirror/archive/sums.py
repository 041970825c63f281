"""SHA256SUMS, one for each top-level folder of the layout, for `sha256sum -c` (DESIGN §5).

When a manifest is lost they are the only record of what the files were. So a line goes only when its file is gone
from the disk, or a row vouches for it again: until then the manifest keeps it in `named`, and it is written with the
rest.
"""

from __future__ import annotations

import hashlib
import os
import re
from contextlib import suppress
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING, Final

from ninepic_mirror.archive.faults import translated
from ninepic_mirror.archive.partial import FOLDER as PARTIAL
from ninepic_mirror.archive.root import OWN_FOLDER

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from ninepic_mirror.archive.files import Found, Tree
    from ninepic_mirror.archive.manifest import Manifest
    from ninepic_mirror.archive.verify import Fault

NAME: Final = "SHA256SUMS"
_LINE: Final = re.compile(rb"([0-9a-f]{64}) [ *]([^\n]+)\n?")
_LONGEST: Final = 8192  # bytes of a line; a path of ours has at most some hundred
_NAME_MAX: Final = 255  # bytes of one name, in every file system here
_CHUNK: Final = 500  # rows a query, where a result is worked on while the manifest changes


def sums_path(top: str) -> str:
    """Return where the sums of a top-level folder stand ("": the event folder itself)."""
    return f"{top}/{NAME}" if top else NAME


def write_stale(
    tree: Tree, manifest: Manifest, dropped: list[tuple[str, str]] | None = None
) -> int:
    """Bring every SHA256SUMS up to what the manifest says; return how many were written or removed.

    Args:
        tree: The event folder.
        manifest: The manifest.
        dropped: Gets path and SHA-256 of what was named and does not stand there any more (`inventory.lost`).

    Raises:
        StorageError: The disk said no; what is stale stays marked.
    """
    stale = [
        str(row[0]) for row in manifest.rows("SELECT folder FROM sums WHERE stale ORDER BY folder")
    ]
    for top in stale:
        sha256 = _write(tree, manifest, top, [] if dropped is None else dropped)
        with translated(tree.name(sums_path(top))):
            found = None if sha256 is None else tree.stat(sums_path(top))
        with manifest.transaction():
            manifest.change(
                "UPDATE sums SET stale = 0, filled = ? WHERE folder = ?",
                [int(sha256 is not None), top],
            )
            _note(manifest, top, sha256, found)
    return len(stale)


def are_anothers(tree: Tree, manifest: Manifest) -> bool:
    """Whether a SHA256SUMS is not what this manifest wrote last: it is an older copy, or that was altered.

    One that is as it was noted costs a look; what else has the same bytes still is noted anew. One that is to be written
    anew says nothing, because a pass may have been cut off between its file and its note; nor does one where none is due,
    which may be a person's own.

    Args:
        tree: The event folder; the caller holds its lock.
        manifest: Open.

    Raises:
        OSError: As the system says.
    """
    noted = manifest.rows(
        "SELECT folder, sha256, size, mtime_ns FROM sums WHERE filled AND NOT stale"
    )
    for top, sha256, *looks in noted:
        path = sums_path(str(top))
        found = tree.stat(path)
        if found is None or not found.is_file or looks == [found.size, found.mtime_ns]:
            continue
        now = _hash(tree, path)
        if sha256 not in {None, now}:
            return True
        with manifest.transaction():
            _note(manifest, str(top), now, found)
    return False


def forget_notes(manifest: Manifest) -> None:
    """What stands there is looked into: from now on it is as good as what was noted."""
    with manifest.transaction():
        manifest.change("UPDATE sums SET sha256 = NULL, size = NULL, mtime_ns = NULL")


def _note(manifest: Manifest, top: str, sha256: str | None, found: Found | None) -> None:
    size, mtime_ns = (None, None) if found is None else (found.size, found.mtime_ns)
    manifest.change(
        "UPDATE sums SET sha256 = ?, size = ?, mtime_ns = ? WHERE folder = ?",
        [sha256, size, mtime_ns, top],
    )


def _hash(tree: Tree, path: str) -> str:
    with tree.opened(path) as descriptor, os.fdopen(os.dup(descriptor), "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _write(tree: Tree, manifest: Manifest, top: str, dropped: list[tuple[str, str]]) -> str | None:
    """Write one file, or remove it where its folder holds no photo any more; return its hash if it stands."""
    path = sums_path(top)
    with translated(tree.name(path)):
        dropped += _drop_gone(tree, manifest, top)
        lines = _lines(tree, manifest, top)
        first = next(lines, None)
        if first is not None:
            sha256 = hashlib.sha256()
            tree.write_whole(path, _fed(sha256, chain([first], lines)), f"{PARTIAL}/{NAME}")
            return sha256.hexdigest()
        with suppress(FileNotFoundError, NotADirectoryError):
            tree.remove(path)
            tree.sync_folder(top)
        tree.prune(top)
    return None


def _fed(hash_: hashlib._Hash, chunks: Iterable[bytes]) -> Iterator[bytes]:
    for chunk in chunks:
        hash_.update(chunk)
        yield chunk


def _drop_gone(tree: Tree, manifest: Manifest, top: str) -> list[tuple[str, str]]:
    """Forget what is named below a top-level folder and does not stand there any more; return it."""
    where, values = _below(top)
    dropped: list[tuple[str, str]] = []
    after = ""
    while found := [
        (str(row[0]), str(row[1]))
        for row in manifest.rows(
            f"SELECT path, sha256 FROM named WHERE {where} AND path > ? ORDER BY path LIMIT {_CHUNK}",
            [*values, after],
        )
    ]:
        after = found[-1][0]
        gone = [line for line in found if not _stands(tree, line[0])]
        with manifest.transaction():
            manifest.change_each("DELETE FROM named WHERE path = ?", [line[:1] for line in gone])
        dropped += gone
    return dropped


def _lines(tree: Tree, manifest: Manifest, top: str) -> Iterator[bytes]:
    """Yield the lines of one file in chunks of some hundred kilobytes, ordered by path."""
    cut = len(top) + 1 if top else 0
    chunk: list[str] = []
    last = None
    for path, sha256, kind in _recorded(manifest, top):
        # two rows may name one place, of which at most one is present, and comes first
        if path == last or (kind == "kept" and not _stands(tree, path)):
            continue
        last = path
        chunk.append(f"{sha256}  {path[cut:]}\n")
        if len(chunk) == 4096:
            yield "".join(chunk).encode()
            chunk.clear()
    if chunk:
        yield "".join(chunk).encode()


def tops(manifest: Manifest, *, stale: bool = False) -> list[str]:
    """Return the top-level folders whose SHA256SUMS should say what the manifest says.

    Args:
        manifest: The manifest.
        stale: Also those whose SHA256SUMS the next pass writes.
    """
    which = "stale OR filled" if stale else "NOT stale AND filled"
    found = manifest.rows(f"SELECT folder FROM sums WHERE {which} ORDER BY folder")
    return [str(row[0]) for row in found]


def blame(tree: Tree, manifest: Manifest, top: str, *, thorough: bool) -> Fault | None:
    """Say what is wrong with the SHA256SUMS of a top-level folder.

    Lines of files that no row knows are right as long as such a file stands.

    Args:
        tree: The event folder.
        manifest: Open for reading.
        top: The folder.
        thorough: Read it.

    Raises:
        OSError: As the system says.
    """
    path = sums_path(top)
    found = tree.stat(path)
    fault: Fault | None = None
    if found is not None and not found.is_file:
        return "type"  # no pass makes such a thing, and a folder keeps every pass from writing
    if found is None:
        fault = "missing"
    elif thorough and not _agrees(tree, manifest, top):
        fault = "content"
    # a pass may have begun to change it meanwhile
    return fault if fault is not None and top in tops(manifest) else None


def _agrees(tree: Tree, manifest: Manifest, top: str) -> bool:
    """Whether each line says what its row says, and no present file lacks one. Both are ordered by path."""
    cut = len(top) + 1 if top else 0
    last = None
    with tree.opened(sums_path(top)) as descriptor, os.fdopen(os.dup(descriptor), "rb") as file:
        lines = iter(partial(file.readline, _LONGEST), b"")
        line = next(lines, None)

        def passes(until: bytes | None) -> bool:
            """Go on to a path; return whether all before it were of files that stand without a row."""
            nonlocal line
            while line is not None and (until is None or _named(line)[0] < until):
                name = _named(line)[0]
                if not (
                    _is_plain(name, nested=bool(top))
                    and _stands(tree, f"{top}/{name.decode()}" if top else name.decode())
                ):
                    return False
                line = next(lines, None)
            return True

        for path, sha256, kind in _recorded(manifest, top):
            if path == last:
                continue
            last, name = path, path[cut:].encode()
            if not passes(name):
                return False
            found = (b"", b"") if line is None else _named(line)
            if found == (name, sha256.encode()):
                line = next(lines, None)
            elif found[0] == name or kind.endswith("present"):
                return False
        return passes(None)


def _named(line: bytes) -> tuple[bytes, bytes]:
    """Return path and hash of a line, nothing of one that is none."""
    found = _LINE.fullmatch(line)
    return (found[2], found[1]) if found else (b"", b"")


def _recorded(manifest: Manifest, top: str) -> Iterator[tuple[str, str, str]]:
    """Yield path, hash, and what is known of it, of all below a top-level folder, ordered by path.

    Besides the present files also what lies there of photos that left, and what is to be had anew because it was
    damaged: as long as a file stands, the record of what it was must.
    """
    # the folder itself, and what lies between "top/" and "top0", the character behind "/"
    where = "folder = ''" if not top else "(folder = ? OR (folder > ? AND folder < ?))"
    values = [top, f"{top}/", f"{top}0"] if top else []
    named, span = _below(top)
    found = manifest.each(
        "SELECT path, sha256, CASE state WHEN 'present' THEN 'a present' ELSE 'kept' END AS kind FROM files"
        f" WHERE {where} AND sha256 IS NOT NULL"
        f" UNION ALL SELECT path, sha256, 'named' FROM named WHERE {named} ORDER BY path, kind",
        [*values, *span],
    )
    for path, sha256, kind in found:
        yield str(path), str(sha256), str(kind)


def _below(top: str) -> tuple[str, list[str]]:
    """Return the condition on a path that the SHA256SUMS of a top-level folder covers, and its values."""
    if not top:
        return "instr(path, '/') = 0", []
    return "path > ? AND path < ?", [f"{top}/", f"{top}0"]


def _stands(tree: Tree, path: str) -> bool:
    found = tree.stat(path)
    return found is not None and found.is_file


def named_lines(tree: Tree) -> Iterator[tuple[str, str]]:
    """Yield path and SHA-256 of every line in every SHA256SUMS, of those paths that may be a file of ours.

    Raises:
        OSError: One stands there and cannot be read: it must not be written anew, either.
    """
    for top in folders(tree):
        yield from lines_of(tree, top)


def folders(tree: Tree) -> list[str]:
    """Return where a SHA256SUMS may stand: in the event folder itself, and in those just below. Raises OSError."""
    tops = [
        name
        for name, kind in tree.entries("")
        if kind == "folder" and name != OWN_FOLDER and name.isascii()
    ]
    return ["", *tops]


def lines_of(tree: Tree, top: str) -> Iterator[tuple[str, str]]:
    """As `named_lines`, of one top-level folder. Raises OSError."""
    if not _stands(tree, sums_path(top)):
        return
    with (
        tree.opened(sums_path(top)) as descriptor,
        os.fdopen(os.dup(descriptor), "rb") as file,
    ):
        for line in iter(partial(file.readline, _LONGEST), b""):
            if (found := _LINE.fullmatch(line)) and _is_plain(found[2], nested=bool(top)):
                path = found[2].decode("ascii")
                yield (f"{top}/{path}" if top else path), found[1].decode("ascii")


def _is_plain(path: bytes, *, nested: bool) -> bool:
    """Whether a path of a SHA256SUMS may be ours: a name that can stand, within the folders that the file is for."""
    parts = path.split(b"/")
    can_stand = path.isascii() and path.decode().isprintable() and max(map(len, parts)) <= _NAME_MAX
    return can_stand and (nested or len(parts) == 1) and not {b"", b".", b".."} & set(parts)
