"""Recognises a package that stands at its place already: made by a run that ended before it could record that."""

from __future__ import annotations

import errno
import hashlib
import os
import zipfile
from contextlib import ExitStack
from typing import TYPE_CHECKING, Final

from ninepic_mirror.archive.files import Tree
from ninepic_mirror.archive.verify import Stopped
from ninepic_mirror.delivery import bag, tags
from ninepic_mirror.delivery.package import names
from ninepic_mirror.delivery.plan import stem_of
from ninepic_mirror.delivery.source import chunks
from ninepic_mirror.errors import StorageError

if TYPE_CHECKING:
    import threading
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from ninepic_mirror.delivery.package import Package
    from ninepic_mirror.delivery.plan import Item

_LIMIT: Final = 1 << 30  # bytes of a manifest; ten million files
_CHUNK: Final = 1 << 20  # bytes that are read at once from a zip
_NOT_THERE: Final = frozenset({errno.ENOENT, errno.ENOTDIR})
_TAGS: Final = (bag.DECLARATION, bag.INFO, bag.MANIFEST, tags.PHOTOS, tags.EVENT, tags.CHECKER)


def recognise(package: Package, place: Path) -> str | None:
    """Return the id of the package at a place if its manifest names the same files, else None.

    Whether they are there is for `fault` to say.

    Args:
        package: What was to be made.
        place: Its final place.
    """
    found: set[str] = set()
    for name, items in zip(names(package, place.name), package.volumes, strict=True):
        try:
            with _Volume(place.parent / name) as volume:
                manifest, label = volume.read(bag.MANIFEST), volume.read(bag.INFO)
        except _UNREADABLE:
            return None
        if manifest != bag.manifest(_payload(items)):
            return None
        found.add(_identifier(label))
    return found.pop() if len(found) == 1 else None


def fault(package: Package, place: Path, stop: threading.Event) -> str | None:
    """Return what is wrong with a package that was recognised, None when it is whole. Reads all of its bytes.

    Args:
        package: What was to be made.
        place: Its final place.
        stop: Set when the run is to end.

    Raises:
        Stopped: The run is to end.
    """
    for name, items in zip(names(package, place.name), package.volumes, strict=True):
        within = "" if name == place.name else f"{name.rpartition('/')[2]}/"
        path = bag.TAG_MANIFEST
        try:
            with _Volume(place.parent / name) as volume:
                expected = bag.read_manifest(volume.read(path)) | _payload(items)
                for path in sorted(expected.keys() | _needed(package, items)):
                    wrong = _file_fault(volume, path, expected.get(path), package, stop)
                    if wrong is not None:
                        return f"{within}{path} {wrong}"
        except _UNREADABLE as error:
            return f"{within}{path} {_said(error)}"
    return None


def _payload(items: Sequence[Item]) -> dict[str, str]:
    return {entry.target: entry.file.sha256 for item in items for entry in item.entries}


def _needed(package: Package, items: Sequence[Item]) -> set[str]:
    """Return what is in every such volume beside its photos; a thumbnail that is made may be lacking."""
    gallery = tags.gallery(package.facts, [], frozenset(), tags.About(""))
    return {*_TAGS, *gallery, *(item.thumbnail for item in items if item.source is not None)}


def _file_fault(
    volume: _Volume, path: str, digest: str | None, package: Package, stop: threading.Event
) -> str | None:
    if digest is None:
        return f"is not in {bag.TAG_MANIFEST}"
    if volume.links(path) > 1 and not package.link:
        return "is a hard link, and no --link was given"
    hashed = hashlib.sha256()
    for chunk in volume.chunks(path, stop):
        hashed.update(chunk)
    return None if hashed.hexdigest() == digest else "is not what was delivered: its hash differs"


def _said(error: Exception) -> str:
    if isinstance(error, KeyError) or (isinstance(error, OSError) and error.errno in _NOT_THERE):
        return "is not there"
    text = error.strerror if isinstance(error, OSError) else None
    return f"cannot be read: {text or error}"


# What a folder or a zip raises of a file that is not as it was written.
_UNREADABLE: Final = (OSError, StorageError, KeyError, ValueError, EOFError, RuntimeError, zipfile.BadZipFile)  # fmt: skip


class _Volume:
    """A volume, folder or zip, to be read from. Use it in a `with` block; it raises `_UNREADABLE`."""

    def __init__(self, place: Path) -> None:
        self._place = place
        self._stack = ExitStack()
        self._tree: Tree | None = None
        self._zip: zipfile.ZipFile | None = None

    def __enter__(self) -> _Volume:
        if self._place.is_dir():
            self._tree = self._stack.enter_context(Tree(self._place, durable=False))
        else:
            self._zip = self._stack.enter_context(zipfile.ZipFile(self._place))
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def read(self, path: str) -> bytes:
        """Return a text."""
        if self._tree is not None:
            found = self._tree.stat(path)
            return self._tree.read(path, min(found.size, _LIMIT) if found is not None else 0)
        opened, member = self._member(path)
        if member.file_size > _LIMIT:
            raise ValueError(path)
        return opened.read(member)

    def links(self, path: str) -> int:
        """Return how many names a file has."""
        if self._tree is None:
            return 1
        found = self._tree.stat(path)
        return 1 if found is None else found.links

    def chunks(self, path: str, stop: threading.Event) -> Iterator[bytes | memoryview]:
        """Yield a file's bytes; each chunk is good until the next is asked for. Raises `Stopped`."""
        if self._tree is not None:
            with self._tree.opened(path) as descriptor:
                yield from chunks(descriptor, os.fstat(descriptor).st_size, stop)
            return
        opened, member = self._member(path)
        with opened.open(member) as file:
            while chunk := file.read(_CHUNK):
                if stop.is_set():
                    raise Stopped
                yield chunk

    def _member(self, path: str) -> tuple[zipfile.ZipFile, zipfile.ZipInfo]:
        assert self._zip is not None  # noqa: S101  what is no folder is a zip
        member = self._zip.getinfo(f"{stem_of(self._place.name)}/{path}")
        if member.compress_type != zipfile.ZIP_STORED:
            raise ValueError("it was packed anew")
        return self._zip, member


def _identifier(info: bytes) -> str:
    for line in info.decode("utf-8", "replace").splitlines():
        key, _, value = line.partition(": ")
        if key == "External-Identifier":
            return value
    return ""
