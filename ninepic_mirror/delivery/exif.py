"""Finds the EXIF of a picture, and has Pillow read it. Nothing is decoded.

It is asked for bytes by their place, and asks for as few as it can: of a JPEG those before its first scan, of a PNG or WebP
the heads of its chunks. So it can look on while a file is copied; Pillow itself would read all of a WebP, and decode a PNG.
Pillow only warns of what is cut off or points nowhere; here it is an error unless it is to be forgiven, because whoever reads
no more than a head has to know.
"""

from __future__ import annotations

import io
import struct
import threading
import warnings
from collections.abc import Callable, Collection, Container, Mapping
from typing import Final

Pull = Callable[[int, int], bytes]
"""Place and count → so many bytes of a file, fewer at its end."""

Table = dict[int, str | bytes]
"""Tag → its text, as Pillow has it: ASCII is read as Latin-1, what is of no character set is bytes."""

_POINTER: Final = 0x8769  # in IFD0: where the EXIF IFD stands (EXIF 2.32, 4.6.3)
_ORDERS: Final = {b"II*\0": "<", b"MM\0*": ">"}
_MARK: Final = b"Exif\0\0"
_XMP: Final = b"http://ns.adobe.com/"  # what else stands in an APP1 segment, or begins its name
_MOST: Final = 1000  # segments or chunks before EXIF; more is none that a camera wrote
_LONGEST: Final = 256 << 10  # bytes of EXIF that are read; a segment of a JPEG has 64 KiB
_ENTRY: Final = 12  # bytes of a table's entry
_TEXTS: Final = frozenset(
    {1, 2, 7}
)  # BYTE, ASCII and UNDEFINED: longer than four they stand elsewhere
_ENDLESS: Final = 1 << 62
_turn: Final = threading.Lock()  # what is done about warnings is done for all threads


def tables(pull: Pull, wanted: Collection[int], *, strict: bool = True) -> tuple[Table, Table]:
    """Return what IFD0 and the EXIF IFD say, empty where there is none.

    Args:
        pull: The file.
        wanted: The tags to look for.
        strict: Damage is an error; else what can be read in spite of it is returned.

    Raises:
        ValueError: With `strict`: it is no JPEG, PNG, WebP or TIFF, or not well-formed as far as it was read.
    """
    try:
        found = _find(pull)
        if found is None:
            return {}, {}
        begin, size = found
        body = pull(begin, min(size, _LONGEST))
        return _read(body, wanted, strict=strict, whole=len(body) == size or size == _ENDLESS)
    except (struct.error, ValueError) as error:
        if strict:
            raise ValueError(str(error)) from error
        return {}, {}


def _read(
    body: bytes, wanted: Collection[int], *, strict: bool, whole: bool
) -> tuple[Table, Table]:
    from PIL.TiffImagePlugin import ImageFileDirectory_v2  # noqa: PLC0415  most commands need none

    order = _ORDERS.get(body[:4])
    if order is None or (strict and not whole):
        raise ValueError("EXIF that does not begin as such, is cut off, or is too long")
    (first,) = struct.unpack_from(order + "L", body, 4)
    asked = {struct.pack(order + "H", tag) for tag in (*wanted, _POINTER)}

    def directory(place: int) -> ImageFileDirectory_v2:
        chosen = _chosen(order, body, place, asked, strict=strict)
        short = struct.pack(order + "H", len(chosen)) + b"".join(chosen) + bytes(4)
        found, file = ImageFileDirectory_v2(body[:8]), io.BytesIO(body + short)
        file.seek(len(body))
        found.load(file)
        return found

    top, inner, odd = Table(), Table(), list[warnings.WarningMessage]()
    try:
        with _turn, warnings.catch_warnings(record=True) as odd:
            warnings.simplefilter("always")
            table = directory(first)
            top = _texts(table, wanted)
            pointer = table.get(_POINTER)
            if isinstance(pointer, int) and pointer:
                inner = _texts(directory(pointer), wanted)
    except Exception as error:  # a reader fed with anything raises anything
        if strict:
            raise ValueError(str(error)) from error
    if strict and odd:
        raise ValueError(str(odd[0].message))
    return top, inner


def _chosen(
    order: str, body: bytes, place: int, asked: Container[bytes], *, strict: bool
) -> Collection[bytes]:
    """Return the entries of a table that are asked for: Pillow takes 4 µs for each, and trips over what is odd in others."""
    (count,) = struct.unpack_from(order + "H", body, place)
    entries = body[place + 2 : place + 2 + _ENTRY * count]
    if strict and len(entries) < _ENTRY * count:
        raise ValueError("EXIF is cut off")
    found: dict[bytes, bytes] = {}
    for at in range(0, len(entries) - _ENTRY + 1, _ENTRY):
        tag = entries[at : at + 2]
        if tag not in asked or tag in found:
            continue
        entry = entries[at : at + _ENTRY]
        kind, length, begin = struct.unpack(order + "HLL", entry[2:])
        if kind in _TEXTS and length > 4 and begin + length > len(body):
            if strict:
                raise ValueError("EXIF points beyond its end")
            continue
        found[tag] = entry
    return found.values()


def _texts(table: Mapping[int, object], wanted: Collection[int]) -> Table:
    found = ((tag, table[tag]) for tag in wanted if tag in table)
    return {tag: value for tag, value in found if isinstance(value, str | bytes)}


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
    if head[:4] in _ORDERS:  # a TIFF, as the raw files of many cameras are
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
