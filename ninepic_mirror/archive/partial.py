"""A file under way: written below `partial/`, hashed and checked in the same pass over its bytes.

Of what a killed run leaves there only two names mean anything later, `place` and its `note_of`. Whatever else anybody
writes there on the way to its place (a second name that is renamed over a file, a copy, a list) is told by not being
one of these, and `sweep` removes it.
"""

from __future__ import annotations

import hashlib
import json
import os
from typing import TYPE_CHECKING, Final

import xxhash
from msgspec import Struct

from ninepic_mirror.archive.content import Content, ContentCheck
from ninepic_mirror.archive.faults import translated
from ninepic_mirror.archive.files import Tree, write_all
from ninepic_mirror.archive.placement import safe_name
from ninepic_mirror.errors import MirrorError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ninepic_mirror.model import Variant

FOLDER: Final = ".ninepic-mirror/partial"
RESUMABLE: Final = 64 * 1024  # bytes from which a file is continued, not begun anew (DESIGN §7)
_NOTE: Final = ".resume"
_CHUNK: Final = 1 << 20
_NOTE_LIMIT: Final = 4096
_MARKED: Final = 8 << 20  # bytes that a kill -9 or a power cut may cost of one file under way


class Digest(Struct, frozen=True, gc=False):
    """What a complete file is. Hashes are lower-case hex, `size` is in bytes."""

    size: int
    xxh3_128: str
    sha256: str
    content: Content


class Hashes:
    """Both hashes and the content check over one stream of bytes."""

    def __init__(self, variant: Variant) -> None:
        self._xxh3, self._sha256 = xxhash.xxh3_128(), hashlib.sha256()
        self._check = ContentCheck(variant)
        self.size = 0

    def update(self, data: bytes | memoryview) -> None:
        """Take the next bytes. Raises PassingError or PhotoError for what is no whole photo."""
        self._xxh3.update(data)
        self._sha256.update(data)
        self.size += len(data)
        self._check.feed(data)

    def finish(self) -> Digest:
        """Return what went by. Raises PassingError or PhotoError for what is no whole photo."""
        content = self._check.finish()
        return Digest(self.size, self._xxh3.hexdigest(), self._sha256.hexdigest(), content)


def write_body(
    tree: Tree, path: str, data: bytes | memoryview, content: Content, modified: float | None
) -> Digest:
    """Write a whole body that stands in memory, and hash it.

    Args:
        tree: The event folder.
        path: As `place` returns it.
        data: The body.
        content: What `content_of` said of it.
        modified: Its modification time in epoch seconds, None for now.

    Raises:
        OSError: As the system says.
    """
    sha256, xxh3 = hashlib.sha256(data).hexdigest(), xxhash.xxh3_128_hexdigest(data)
    tree.create(path, data, modified)
    return Digest(len(data), xxh3, sha256, content)


def read_hashes(tree: Tree, path: str, variant: Variant) -> Digest:
    """Hash and check a file that is already there.

    Raises:
        OSError: It cannot be read.
        PassingError: It is not whole.
        PhotoError: It is no photo.
    """
    hashes = Hashes(variant)
    with tree.opened(path) as descriptor:
        while chunk := os.read(descriptor, _CHUNK):
            hashes.update(chunk)
    return hashes.finish()


class Partial:
    """One download's file. Its methods block; every OSError leaves as a StorageError.

    The bytes stand under a name made of variant and id. Beside them, when a transfer was cut off with enough on disk to
    be worth it, and now and then while a large one is under way, a note with the validator, which makes the rest usable to `If-Range`,
    the length of the whole body, which the rest must agree with, and the number of bytes that were synced before the note was. What was written later is not continued: in a power cut it may have become
    zeros, and zeros inside a scan look like a picture.

    Args:
        tree: The event folder.
        image_id: The photo.
        variant: Which of its files.
    """

    def __init__(self, tree: Tree, image_id: str, variant: Variant) -> None:
        self.path = place(image_id, variant)
        self._note = note_of(self.path)
        self._tree, self._variant = tree, variant
        self._hashes = Hashes(variant)
        self._marked = 0  # bytes that a note vouches for
        self.validator: str | None = None
        self.total: int | None = None  # bytes of the whole body, where that is known

    @property
    def size(self) -> int:
        """Bytes on disk."""
        return self._hashes.size

    def resume(self) -> int:
        """Take up what an earlier run left, if it can be continued; return the bytes on disk."""
        try:
            note = json.loads(self._tree.read(self._note, _NOTE_LIMIT))
            validator, size = str(note["validator"]), int(note["size"])
            total = note.get("total")  # earlier versions wrote none
            total = None if total is None else int(total)
            with self._tree.opened(self.path, os.O_RDWR) as descriptor:
                while chunk := os.read(descriptor, min(_CHUNK, size - self.size)):
                    self._hashes.update(chunk)
                os.ftruncate(descriptor, self.size)
        except (
            OSError,
            ValueError,
            KeyError,
            TypeError,
            ArithmeticError,
            RecursionError,
            MirrorError,
        ):
            self.restart()
            return 0
        self.validator, self.total = validator, total
        self._marked = size
        if self.size < max(size, RESUMABLE):
            self.restart()
        return self.size

    def restart(self) -> None:
        """Forget what is there: the next byte is the first."""
        with translated(self._tree.name(self.path)):
            self._tree.remove(self._note)
            self._tree.remove(self.path)
        self._hashes = Hashes(self._variant)
        self._marked = 0
        self.validator = self.total = None

    def write(self, data: bytes) -> None:
        """Append bytes.

        Raises:
            StorageError: The disk said no.
            PassingError: These bytes cannot be part of a whole photo; likewise PhotoError.
        """
        is_first = self.size == 0
        self._taking(data)
        flags = os.O_WRONLY | os.O_APPEND
        flags |= os.O_CREAT | os.O_EXCL if is_first else 0
        with translated(self._tree.name(self.path)):
            if is_first:
                self._tree.remove(self.path)  # what an earlier attempt left and nobody continues
            with self._tree.opened(self.path, flags) as file:
                write_all(file, data)

    def _taking(self, data: bytes) -> None:
        try:
            self._hashes.update(data)
        except MirrorError:
            self.restart()
            raise

    def finish(self, modified: float | None) -> Digest:
        """Check that all of it is a whole photo and give it its time.

        Args:
            modified: `Last-Modified` in epoch seconds, None when the origin gave none.

        Raises:
            StorageError: The disk said no.
            PassingError: The photo is not whole; likewise PhotoError.
        """
        try:
            digest = self._hashes.finish()
        except MirrorError:
            self.restart()  # not whole: nothing of it is worth continuing
            raise
        with translated(self._tree.name(self.path)):
            if modified is not None:
                with self._tree.opened(self.path, os.O_WRONLY) as descriptor:
                    os.utime(descriptor, (modified, modified))
            self._tree.remove(self._note)
        return digest

    def mark(self, validator: str | None, total: int | None = None) -> None:
        """The transfer goes on: note from time to time what can be continued should nobody be there to `keep` it.

        Args:
            validator: As in `keep`.
            total: As in `keep`.
        """
        if validator is not None and self.size - self._marked >= _MARKED:
            self._vouch(validator, total)

    def keep(self, validator: str | None, total: int | None = None) -> None:
        """The transfer was cut off: leave what can be continued, remove the rest.

        Args:
            validator: A strong `ETag` of the body that these bytes belong to, None where it has none.
            total: The length of that body, None where it is not known.
        """
        if validator is None or self.size < RESUMABLE:
            self.restart()
        else:
            self._vouch(validator, total)

    def _vouch(self, validator: str, total: int | None) -> None:
        self.validator, self.total, self._marked = validator, total, self.size
        note = json.dumps({"validator": validator, "size": self.size, "total": total}).encode()
        with translated(self._tree.name(self.path)):
            # the bytes first: a note that outlives them in a power cut would vouch for zeros
            self._tree.sync_file(self.path)
            self._tree.write_whole(self._note, [note], f"{self._note}.new")


def sweep(tree: Tree, wanted: Iterable[tuple[str, Variant]] | None = None) -> set[str]:
    """Make `partial/`, and remove what a killed run left there: all but files with a note to continue them by.

    Args:
        tree: The event folder.
        wanted: `image_id` and variant of every file still to be had; read only where there is something to continue,
            of which the rest goes. None: not known yet, because the manifest is a new one.

    Returns:
        Where those files stand.

    Raises:
        StorageError: The disk said no.
    """
    with translated(tree.name(FOLDER)):
        with tree.folder(FOLDER, make=True):
            pass
        found = dict(tree.entries(FOLDER))
        files = {name for name, kind in found.items() if kind == "file"}
        for name, kind in found.items():
            stem = name.removesuffix(_NOTE)
            if kind == "folder":  # not ours, and it would stand in a photo's way
                tree.remove_folder(f"{FOLDER}/{name}")
            elif not {stem, note_of(stem)} <= files:
                tree.remove(f"{FOLDER}/{name}")
        notes = {name.removesuffix(_NOTE) for name in files if name.endswith(_NOTE)}
        kept = {f"{FOLDER}/{name}" for name in notes & files}
        if kept and wanted is not None:
            useful = {path for one in wanted if (path := place(*one)) in kept}
            for path in kept - useful:
                tree.remove(path)
                tree.remove(note_of(path))
            kept = useful
        return kept


def place(image_id: str, variant: Variant) -> str:
    """Return where a file under way stands, relative to the event folder."""
    return f"{FOLDER}/{variant}-{safe_name(image_id)}"


def note_of(path: str) -> str:
    """Return where the note stands that lets a file under way be continued."""
    return path + _NOTE
