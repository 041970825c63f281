"""Files with the very bytes of a photo that is forgotten: they are other photos', and stay, but people are to know."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Final

from msgspec import Struct

from ninepic_mirror.archive import inventory
from ninepic_mirror.archive.root import OWN_FOLDER

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

    from ninepic_mirror.archive.files import Tree
    from ninepic_mirror.archive.manifest import Manifest

TRASH: Final = f"{OWN_FOLDER}/trash"
_MARKS: Final = 500  # hashes in one statement


class Twin(Struct, frozen=True):
    """A file with the very bytes of a forgotten photo.

    Args:
        path: Where it stands.
        image_id: Whose it is; None: no row knows it, it is in the trash.
        variant: Likewise.
    """

    path: str
    image_id: str | None = None
    variant: str | None = None


def twins(
    manifest: Manifest, tree: Tree, ids: Collection[str], leaving: Collection[str]
) -> list[Twin]:
    """Return the files with the bytes that rows of these photos have: of other rows in any state, and in the trash.

    Args:
        manifest: Open; the rows are still there.
        tree: The event folder.
        ids: Photos that are about to be forgotten.
        leaving: Paths that go anyway.

    Raises:
        OSError: The trash cannot be read.
    """
    sizes = {
        str(row[0]): row[1]
        for image_id in ids
        for row in manifest.rows(
            "SELECT sha256, size FROM files WHERE image_id = ? AND sha256 IS NOT NULL", [image_id]
        )
    }
    found = {}
    hashes = sorted(sizes)
    for some in (hashes[at : at + _MARKS] for at in range(0, len(hashes), _MARKS)):
        # No index has rows of every state: all are read, once for so many hashes.
        for image_id, variant, path in manifest.rows(
            "SELECT image_id, variant, path FROM files"
            f" WHERE path IS NOT NULL AND sha256 IN ({','.join('?' * len(some))})",
            some,
        ):
            if image_id not in ids and tree.stat(str(path)) is not None:
                found[str(path)] = Twin(str(path), str(image_id), str(variant))
    known = {*found, *leaving}
    for path in _equal_in_trash(tree, sizes, known) if sizes else ():
        found[path] = Twin(path)
    return [found[path] for path in sorted(found)]


def _equal_in_trash(
    tree: Tree, sizes: Mapping[str, object], known: Collection[str]
) -> Iterator[str]:
    wanted = {*sizes.values()}
    for folder, names in inventory.walk(tree, TRASH):
        for path in (f"{folder}/{name}" for name in names):
            there = tree.stat(path)
            if path in known or there is None or not there.is_file or there.size not in wanted:
                continue
            with tree.opened(path) as descriptor, open(descriptor, "rb", closefd=False) as file:
                if hashlib.file_digest(file, "sha256").hexdigest() in sizes:
                    yield path
