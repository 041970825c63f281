"""Finds the EXIF of a picture, and has Pillow read it. Nothing is decoded.

It is asked for bytes by their place, and asks for as few as it can: of a JPEG those before its first scan, of a PNG or WebP
the heads of its chunks. So it can look on while a file is copied, where Pillow would open the file once more. Pillow only
warns of EXIF that is cut off or points nowhere; here it is an error, because whoever reads no more than a head has to know.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Callable, Collection
from typing import IO, Final, cast

Pull = Callable[[int, int], bytes]
"""Place and count → so many bytes of a file, fewer at its end."""

Table = dict[int, object]
"""Tag → its value, as Pillow has it: text is `str` of Latin-1, or `bytes`."""

_POINTER: Final = 0x8769  # in IFD0: where the EXIF IFD stands (EXIF 2.32, 4.6.3)
_TIFF: Final = frozenset({b"II*\0", b"MM\0*"})
_MARK: Final = b"Exif\0\0"
_XMP: Final = b"http://ns.adobe.com/"  # what else stands in an APP1 segment, or begins its name
_MOST: Final = 1000  # segments or chunks before EXIF; more is none that a camera wrote
_LONGEST: Final = 4 << 20  # bytes of one value, such as what a maker keeps in a raw file
_ENDLESS: Final = 1 << 62


def tables(pull: Pull, wanted: Collection[int]) -> tuple[Table, Table]:
    """Return what IFD0 and the EXIF IFD say, empty where there is none.

    Args:
        pull: The file.
        wanted: The tags to look for.

    Raises:
        ValueError: It is no JPEG, PNG, WebP or TIFF, or is not well-formed as far as it was read.
    """
    from PIL.TiffImagePlugin import ImageFileDirectory_v2  # noqa: PLC0415  most commands need none

    try:
        found = _find(pull)
        if found is None:
            return {}, {}
        part = _Part(pull, *found)
        head = part.read(8)

        def directory(place: int) -> ImageFileDirectory_v2:
            read = ImageFileDirectory_v2(head)
            part.seek(place)
            read.load(cast("IO[bytes]", part))
            return read

        top = directory(struct.unpack("<L" if head.startswith(b"II") else ">L", head[4:])[0])
        pointer = top.get(_POINTER)
        inner = directory(pointer) if isinstance(pointer, int) and pointer else {}
        texts = [{tag: one[tag] for tag in wanted if tag in one} for one in (top, inner)]
        return texts[0], texts[1]
    except (struct.error, SyntaxError) as error:
        raise ValueError(str(error)) from error


class _Part:
    """Some of a file, as Pillow reads it. Args: the file, where the part begins, and its length in bytes."""

    def __init__(self, pull: Pull, begin: int, size: int) -> None:
        self._pull, self._begin, self._size = pull, begin, size
        self._place = 0

    def tell(self) -> int:
        return self._place

    def seek(self, place: int, whence: int = os.SEEK_SET) -> int:
        # Where the end is is not told: of what lies behind it Pillow would only warn.
        self._place = place + (_ENDLESS if whence == os.SEEK_END else 0)
        return self._place

    def read(self, count: int) -> bytes:
        """Return so many bytes, no fewer. Raises ValueError."""
        if count > min(_LONGEST, self._size - self._place):
            raise ValueError("EXIF points beyond its end")
        found = self._pull(self._begin + self._place, count)
        if len(found) < count:
            raise ValueError("EXIF is cut off")
        self._place += count
        return found


# --- where it stands ---------------------------------------------------------------------------------------------


def _find(pull: Pull) -> tuple[int, int] | None:
    """Return where in a picture its EXIF begins, and how many bytes it has at most; None where there is none."""
    head = pull(0, 12)
    if head.startswith(b"\xff\xd8"):
        return _in_jpeg(pull)
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        return _in_png(pull)
    if head.startswith(b"RIFF") and head.endswith(b"WEBP"):
        return _in_webp(pull)
    if head[:4] in _TIFF:  # a TIFF, as the raw files of many cameras are
        return 0, _ENDLESS
    raise ValueError("of no type that is known here")


def _in_jpeg(pull: Pull) -> tuple[int, int] | None:
    place = 2
    for _ in range(_MOST):
        mark, marker, length = struct.unpack(">BBH", pull(place, 4))
        if mark != 0xFF:
            raise ValueError("no marker where one belongs")
        if marker == 0xFF:  # what fills up (ISO/IEC 10918-1, B.1.1.2)
            place += 1
            continue
        if marker in (0xD9, 0xDA):  # the end, or the first scan
            return None
        if marker == 0xE1:
            name = pull(place + 4, len(_XMP))
            if name.startswith(_MARK):
                return place + 4 + len(_MARK), length - 2 - len(_MARK)
            if name != _XMP:
                raise ValueError("neither EXIF nor XMP where one of them belongs")
        place += 2 + length
    return None


def _in_png(pull: Pull) -> tuple[int, int] | None:
    place = 8
    for _ in range(_MOST):
        length, kind = struct.unpack(">L4s", pull(place, 8))
        if kind == b"eXIf":
            return _bare(pull, place + 8, length)
        if kind == b"IEND":
            break
        place += 12 + length
    return None


def _in_webp(pull: Pull) -> tuple[int, int] | None:
    place = 12
    for _ in range(_MOST):
        head = pull(place, 8)
        if not head:
            break
        kind, length = struct.unpack("<4sL", head)
        if kind == b"EXIF":
            return _bare(pull, place + 8, length)
        place += 8 + length + length % 2
    return None


def _bare(pull: Pull, place: int, length: int) -> tuple[int, int]:
    """Leave out the mark that belongs to JPEG only, and which many programs write all the same."""
    extra = len(_MARK) if pull(place, len(_MARK)) == _MARK else 0
    return place + extra, length - extra
