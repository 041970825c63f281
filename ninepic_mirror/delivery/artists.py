"""What cameras wrote into photos: who took it, and when by the camera's clock. Pillow reads it; nothing is decoded.

A file is hashed before it is believed: what is kept in the manifest is kept for the bytes that it names.
"""

from __future__ import annotations

import os
import re
import warnings
from typing import TYPE_CHECKING, Final

from ninepic_mirror.delivery.catalogue import Camera

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ninepic_mirror.archive.files import Tree
    from ninepic_mirror.delivery.catalogue import File
    from ninepic_mirror.delivery.source import Source

# EXIF 2.32, CIPA DC-008, tables 4 and 7
_ARTIST: Final = 0x013B
_EXIF: Final = 0x8769
_TAKEN: Final = 0x9003
_BODY: Final = 0xA431
_LONGEST: Final = 200  # characters of a name; more is no name

_TIME: Final = re.compile(
    r"([0-9]{4})[:-](0[1-9]|1[0-2])[:-](0[1-9]|[12][0-9]|3[01])[ T]([01][0-9]|2[0-3]):([0-5][0-9]):([0-5][0-9])"
)


def prepare() -> None:
    """Load what reads EXIF, once, before threads use it."""
    from PIL import Image  # noqa: PLC0415  90 ms that other commands need not wait for

    Image.preinit()
    warnings.filterwarnings("ignore", module="PIL")  # of odd EXIF and the like


def find(files: Sequence[File], source: Source, tree: Tree) -> tuple[File, Camera]:
    """Read what a camera wrote into a photo, from the first of its files that names a photographer. Blocks.

    Args:
        files: Of one photo, the best first; at least one. Each is read by its row as it is by then.
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
    camera = Camera()

    def attempt(file: File) -> str | None:
        nonlocal camera
        try:
            with tree.opened(file.path) as descriptor:
                fault = source.pour(descriptor, file, lambda _: None)
                if fault is None:
                    os.lseek(descriptor, 0, os.SEEK_SET)
                    camera = read(descriptor)
        except OSError as error:
            return source.fault(error, file)
        return fault

    return source.follow(file, attempt), camera


def read(descriptor: int) -> Camera:
    """Read what a camera wrote into a photo; nothing known where that cannot be read.

    Args:
        descriptor: The open file; its position changes.
    """
    from PIL import Image  # noqa: PLC0415  as above

    try:
        with os.fdopen(os.dup(descriptor), "rb") as file, Image.open(file) as picture:
            exif = picture.getexif()
            return told(exif, exif.get_ifd(_EXIF))
    except Exception:  # noqa: BLE001  a decoder fed with anything raises anything
        return Camera()


def told(top: Mapping[int, object], inner: Mapping[int, object]) -> Camera:
    """Return what the two tables of EXIF say.

    Args:
        top: IFD0.
        inner: The EXIF IFD.
    """
    name = _text(top.get(_ARTIST)) or _text(inner.get(_BODY))
    found = _TIME.match(_text(inner.get(_TAKEN)))
    shot_at = "{}-{}-{}T{}:{}:{}".format(*found.groups()) if found else None
    return Camera(name or None, shot_at)


def _text(value: object) -> str:
    if isinstance(value, bytes):
        value = value.decode("latin-1")
    if not isinstance(value, str):
        return ""
    try:
        # The standard knows ASCII only, cameras and programs write UTF-8, Pillow reads Latin-1.
        value = value.encode("latin-1").decode("utf-8")
    except UnicodeError:
        value = value.encode("utf-8", "replace").decode()
    return " ".join(value.partition("\0")[0].split())[:_LONGEST]
