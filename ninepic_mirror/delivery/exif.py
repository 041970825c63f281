"""Finds the EXIF of a picture and reads some texts of it. Nothing is decoded.

It is asked for bytes by their place, and asks for as few as it can: of a JPEG those before its first scan, of a PNG or WebP
the heads of its chunks, of a table its entries and the texts that are wanted. So it can look on while a file is copied, where
Pillow would open the file once more, and what else a camera or a program wrote, whole or not, is in nobody's way. Pillow only
warns of what is cut off or points nowhere; here it is an error unless it is to be forgiven, because whoever reads no more than
a head has to know.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Collection
from contextlib import AbstractContextManager, nullcontext, suppress
from typing import Final

Pull = Callable[[int, int], bytes]
"""Place and count → so many bytes of a file, fewer at its end."""

Table = dict[int, bytes]
"""Tag → its text, as it stands there."""

_POINTER: Final = 0x8769  # in IFD0: where the EXIF IFD stands (EXIF 2.32, 4.6.3)
_TEXTS: Final = frozenset({1, 2, 7, 129})  # BYTE, ASCII, UNDEFINED, and UTF-8 of EXIF 3.0
_NUMBERS: Final = {3: "H", 4: "L", 13: "L"}  # SHORT, LONG, IFD
_ORDERS: Final = {b"II": "<", b"MM": ">"}
_ANSWERS: Final = frozenset(
    {b"*\0", b"\0*"}
)  # 42, in the order of its bytes or, as some write it, not
_TIFF: Final = frozenset(order + answer for order in _ORDERS for answer in _ANSWERS)
_MARK: Final = b"Exif\0\0"
_XMP: Final = b"http://ns.adobe.com/"  # what else stands in an APP1 segment, or begins its name
_MOST: Final = 1000  # segments or chunks before EXIF; more is none that a camera wrote
_LONGEST: Final = 64 << 10  # bytes of a text that are read; more is none
_ENDLESS: Final = 1 << 62


def tables(pull: Pull, wanted: Collection[int], *, strict: bool = True) -> tuple[Table, Table]:
    """Return what IFD0 and the EXIF IFD say, empty where there is none.

    Args:
        pull: The file.
        wanted: The tags to look for; what is no text is none.
        strict: Damage is an error; else what can be read in spite of it is returned.

    Raises:
        ValueError: With `strict`: it is no JPEG, PNG, WebP or TIFF, or not well-formed as far as it was read.
    """
    forgiving: AbstractContextManager[object] = (
        nullcontext() if strict else suppress(ValueError, struct.error)
    )
    try:
        with forgiving:
            found = _find(pull)
            return ({}, {}) if found is None else _Part(pull, *found).tables(wanted, forgiving)
    except struct.error as error:
        raise ValueError(str(error)) from error
    return {}, {}


class _Part:
    """The EXIF of a file. Args: the file, where the part begins, and its length in bytes."""

    def __init__(self, pull: Pull, begin: int, size: int) -> None:
        self._pull, self._begin, self._size = pull, begin, size
        head = self._read(0, 8)
        if head[:4] not in _TIFF:
            raise ValueError("EXIF that does not begin as such")
        self._order = _ORDERS[head[:2]]
        (self._first,) = self._unpack("L", head[4:])

    def tables(
        self, wanted: Collection[int], forgiving: AbstractContextManager[object]
    ) -> tuple[Table, Table]:
        """Return both tables; `forgiving` is what surrounds all that may be damaged."""
        top, pointer = self._table(self._first, wanted, forgiving)
        return top, self._table(pointer, wanted, forgiving)[0] if pointer else {}

    def _table(
        self, place: int, wanted: Collection[int], forgiving: AbstractContextManager[object]
    ) -> tuple[Table, int]:
        """Return a table, and where it says that the EXIF IFD stands, or 0."""
        found: Table = {}
        pointer = 0
        with forgiving:
            (count,) = self._unpack("H", self._read(place, 2))
            for number in range(count):
                entry = self._read(place + 2 + 12 * number, 12)
                (tag, kind, length), value = self._unpack("HHL", entry[:8]), entry[8:]
                if tag == _POINTER and kind in _NUMBERS and length == 1:
                    form = _NUMBERS[kind]
                    (pointer,) = self._unpack(form, value[: struct.calcsize("=" + form)])
                elif tag in wanted and kind in _TEXTS:
                    with forgiving:
                        found.setdefault(tag, self._text(length, value))
        return found, pointer

    def _text(self, length: int, value: bytes) -> bytes:
        """Return a text, which stands in its entry where it has four bytes or fewer."""
        if length <= len(value):
            return value[:length]
        (place,) = self._unpack("L", value)
        if length > self._size - place:
            raise ValueError("EXIF points beyond its end")
        return self._read(place, min(length, _LONGEST))

    def _unpack(self, form: str, data: bytes) -> tuple[int, ...]:
        return struct.unpack(self._order + form, data)

    def _read(self, place: int, count: int) -> bytes:
        """Return so many bytes, no fewer. Raises ValueError."""
        if count > self._size - place:
            raise ValueError("EXIF points beyond its end")
        found = self._pull(self._begin + place, count)
        if len(found) < count:
            raise ValueError("EXIF is cut off")
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
    place, odd = 2, False
    for _ in range(_MOST):
        mark, marker, length = struct.unpack(">BBH", pull(place, 4))
        if mark != 0xFF:
            raise ValueError("no marker where one belongs")
        if marker == 0xFF:  # what fills up (ISO/IEC 10918-1, B.1.1.2)
            place += 1
            continue
        if marker in (0xD9, 0xDA):  # the end, or the first scan
            break
        if marker == 0xE1:
            name = pull(place + 4, len(_XMP))
            if name.startswith(_MARK):
                return place + 4 + len(_MARK), length - 2 - len(_MARK)
            odd = odd or name != _XMP  # of a camera for heat, or what was EXIF
        place += 2 + length
    if odd:
        raise ValueError("neither EXIF nor XMP where one of them belongs")
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
