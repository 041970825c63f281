"""What cameras wrote into photos: who took it, and when by the camera's clock.

It is read from what is being copied, and believed once those bytes are hashed. Of a file that is not copied, or not yet, only
the head is read: then it is believed because the file is as long as its row says, and its head is well-formed. Where that is
not so, all of it is hashed.
"""

from __future__ import annotations

import os
import re
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Final

from ninepic_mirror.delivery import exif
from ninepic_mirror.delivery.catalogue import Camera

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ninepic_mirror.archive.files import Tree
    from ninepic_mirror.delivery.catalogue import File
    from ninepic_mirror.delivery.source import Source

# EXIF 2.32, CIPA DC-008, tables 4 and 7
_ARTIST: Final = 0x013B
_TAKEN: Final = 0x9003
_BODY: Final = 0xA431
_WANTED: Final = frozenset({_ARTIST, _TAKEN, _BODY})
_LONGEST: Final = 200  # characters of a name; more is no name
_HEAD: Final = 64 << 10  # bytes that are read at once: EXIF stands first in a file, and ends there

# What the mirror calls so has been found to be so; of other types nothing is known where nothing can be read.
_READABLE: Final = frozenset({".jpg", ".jpeg", ".png", ".webp"})

_TIME: Final = re.compile(
    r"([0-9]{4})[:-](0[1-9]|1[0-2])[:-](0[1-9]|[12][0-9]|3[01])[ T]([01][0-9]|2[0-3]):([0-5][0-9]):([0-5][0-9])"
)


def find(files: Sequence[File], source: Source, tree: Tree) -> tuple[File, Camera]:
    """Return what a camera wrote into a photo, from the first of its files that names a photographer. Blocks.

    Args:
        files: Of one photo, the best first; at least one. What the source has seen of them counts; of another one the
            head is read, by its row as it is by then.
        source: The mirror.
        tree: The mirror's, or one that holds its folders open.

    Returns:
        The first of the files as it was read, and what all that were read told.

    Raises:
        DamagedError: A file is not what its row says.
        ChangedError: Its row says no more that it is here.
        StorageError: The mirror's disk said no.
        Stopped: The run is to end.
    """
    first, camera = _look(files[0], source, tree)
    for file in files[1:]:
        if camera.photographer is not None:
            break
        _, more = _look(file, source, tree)
        camera = Camera(more.photographer, camera.shot_at or more.shot_at)
    return first, camera


def _look(file: File, source: Source, tree: Tree) -> tuple[File, Camera]:
    seen = source.cameras.get(file)
    if seen is not None:
        return file, seen
    camera = Camera()

    def attempt(file: File) -> str | None:
        nonlocal camera
        try:
            with source.opened(tree, file) as photo:
                fault = photo.fault(file)
                if fault is None:
                    head = os.pread(photo.descriptor, _HEAD, 0)
                    try:
                        camera = read(photo.descriptor, head)
                    except ValueError:
                        camera = Camera()
                        if PurePosixPath(file.path).suffix in _READABLE:
                            fault = source.pour(photo, file, len)
                            camera = glimpse(photo.descriptor, head)
        except OSError as error:
            return source.fault(error, file)
        return fault

    return source.follow(file, attempt), camera


def glimpse(descriptor: int, head: bytes | memoryview) -> Camera:
    """Read what a camera wrote into a photo whose bytes are hashed, in spite of damage; as `read`, without `ValueError`."""
    return read(descriptor, head, strict=False)


def read(descriptor: int, head: bytes | memoryview, *, strict: bool = True) -> Camera:
    """Read what a camera wrote into a photo.

    Args:
        descriptor: The open file; its position stays.
        head: Its first bytes, of which most are wanted.
        strict: It has to be of a type that is known, and well-formed.

    Raises:
        ValueError: It is not.
        OSError: As the system says.
    """

    def pull(place: int, count: int) -> bytes:
        if place + count <= len(head):
            return bytes(head[place : place + count])
        return os.pread(descriptor, count, place)

    return told(*exif.tables(pull, _WANTED, strict=strict))


def told(top: Mapping[int, str | bytes], inner: Mapping[int, str | bytes]) -> Camera:
    """Return what the two tables of EXIF say.

    Args:
        top: IFD0.
        inner: The EXIF IFD.
    """
    name = _text(top.get(_ARTIST, "")) or _text(inner.get(_BODY, ""))
    found = _TIME.match(_text(inner.get(_TAKEN, "")))
    shot_at = "{}-{}-{}T{}:{}:{}".format(*found.groups()) if found else None
    return Camera(name or None, shot_at)


def _text(value: str | bytes) -> str:
    if isinstance(value, str):
        value = value.encode(
            "latin-1", "replace"
        )  # as which Pillow reads what is ASCII by the standard
    value = value.partition(b"\0")[0]
    try:
        text = value.decode()  # cameras and programs write UTF-8
    except UnicodeDecodeError:
        text = value.decode("latin-1")
    return " ".join(text.split())[:_LONGEST]
