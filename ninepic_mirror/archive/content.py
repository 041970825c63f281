"""What counts as a complete photo (DESIGN §7): the type by its first bytes, the structure to its end.

The walkers are generators that ask for the bytes they need, so that one piece of code serves a body that arrives in
any cut, and nothing but a few bytes is kept. They follow the lengths that the formats themselves declare: JPEG by
ITU-T T.81 annex B, PNG by ISO/IEC 15948 §5, RIFF (WebP) by RFC 9649, boxes (HEIC) by ISO/IEC 14496-12 §4.2.

A JPEG whose very last bytes are the end marker is whole once its first scan has begun, whatever its scans hold. Within a
scan 0xFF is only ever followed by a stuffed 0x00 or a restart marker (T.81 B.1.1.5), so a body that was cut short does
not end so; and what stands before the first scan, an EXIF thumbnail with an end marker of its own too, is walked. What is
not seen is a scan that is damaged in the middle, nearly all of which a walk does not see either: it knows markers, not
pictures. Where something follows the end marker, the scans are walked to find it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Generator
from typing import TYPE_CHECKING, Final, Literal, get_args

from msgspec import Struct

from ninepic_mirror.errors import PassingError, PhotoError

if TYPE_CHECKING:
    from ninepic_mirror.model import Variant

Extension = Literal[".jpg", ".png", ".webp", ".heic", ".bin"]
EXTENSIONS: Final[tuple[Extension, ...]] = get_args(Extension)  # all that a file of ours can have

# Bytes looked at before a type is chosen. Signatures need 12; templates put blank lines before a page's first tag.
SNIFF: Final = 512
_HEIC_BRANDS: Final = {b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"mif1", b"msf1"}
# A byte-order mark of UTF-8 or UTF-16 may stand first; NULs only behind the latter: a box of 60 bytes begins \0\0\0<.
_TAG_START: Final = re.compile(rb"(?:\xef\xbb\xbf)?\s*<|(?:\xff\xfe|\xfe\xff)[\s\0]*<")
_XML_START: Final = re.compile(rb"(?:\xef\xbb\xbf)?\s*<\?xml")
# Any JSON text (RFC 8259 §2): an object, an array, a string, or a number or name that is all there is.
_JSON_START: Final = re.compile(
    rb"(?:\xef\xbb\xbf)?\s*(?:[\[{\"]|(?:null|true|false|-?\d[\d.eE+-]*)\s*\Z)|(?:\xff\xfe|\xfe\xff)[\s\0]*[\[{\"]"
)
# In entropy-coded data 0xFF is followed by 0x00 (stuffing) or a restart marker; 0xFF may be repeated as fill. Not
# `\xff+`: over a body of nothing but 0xFF that takes quadratic time.
_SCAN_END: Final = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]")

_EOI: Final = b"\xff\xd9"
_SEGMENTS: Final = 200  # of a plain JPEG at the most; a picture in scans has some dozens
# No segments (T.81 table B.1), or fill bytes: stuffing, TEM, RST, SOI, EOI.
_NO_LENGTH: Final = frozenset({0x00, 0x01, *range(0xD0, 0xDA), 0xFF})
_FRAMES: Final = frozenset({*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC})  # SOF (T.81 table B.1)
_NO_MARKER: Final = "no JPEG marker where one is due"


class Content(Struct, frozen=True, gc=False):
    """What a complete body turned out to be. `width` and `height` in pixels, None where not looked for."""

    ext: Extension
    width: int | None = None
    height: int | None = None


class _Read(Struct, frozen=True):
    count: int


class _Skip(Struct, frozen=True):
    count: int


class _SkipScan(Struct, frozen=True):
    """Skip entropy-coded data, up to the next marker that is no restart marker.

    `picture` is what the body is, should it end with the end marker: then the scans need not be understood.
    """

    picture: Content | None = None


_Walk = Generator[_Read | _Skip | _SkipScan, bytes, Content]


class ContentCheck:
    """Watches a body go by and tells at its end whether it is a whole photo.

    Args:
        variant: `original` may be of any type but a web page, XML or JSON; the others must be pictures.
    """

    def __init__(self, variant: Variant) -> None:
        self._variant = variant
        self._buffer = bytearray()
        self._skip = 0
        self._walk: _Walk | None = None
        self._step: _Read | _Skip | _SkipScan | None = None
        self._content: Content | None = None
        self._picture: Content | None = None  # what it is, should its last bytes be the end marker
        self._fault: PassingError | None = None  # from a scan on; the end may make up for it
        self._size = 0
        self._tail = b""

    def feed(self, data: bytes | memoryview) -> None:
        """Take the next bytes of the body.

        Raises:
            PassingError: The body is a web page, or its structure breaks off.
            PhotoError: The body is of a type that no retry will change.
        """
        self._size += len(data)
        self._tail = (self._tail + bytes(data[-2:]))[-2:]
        if self._content is not None or self._fault is not None:
            return  # bytes behind the end are allowed: some cameras write them
        if self._skip >= len(data) and not self._buffer:
            self._skip -= len(data)
            return
        self._buffer += data
        if self._walk is None:
            if len(self._buffer) < SNIFF:
                return
            self._start()
        self._advance()

    def finish(self) -> Content:
        """Say what the body was, now that all of it was fed.

        Raises:
            PassingError: It is empty, a web page, or not whole.
            PhotoError: It is of a wrong type.
        """
        if not self._size:
            raise PassingError("the photo came empty")
        if self._walk is None:
            self._start()
        if self._content is None and self._fault is None:
            self._advance()
        if self._picture is not None and self._tail == _EOI:
            return self._picture
        if self._content is None:
            raise self._fault or PassingError(f"the picture breaks off after {self._size} bytes")
        return self._content

    def _start(self) -> None:
        self._walk = _recognise(bytes(self._buffer[:SNIFF]), self._variant)()
        self._step = next(self._walk)

    def _advance(self) -> None:
        """Serve the walker's wishes as far as the buffer reaches."""
        while self._walk is not None and (answer := self._serve()) is not None:
            try:
                self._step = self._walk.send(answer)
            except StopIteration as end:
                self._content = end.value
                self._buffer.clear()
                return
            except PassingError as fault:
                if self._picture is None:
                    raise
                self._fault = fault
                self._buffer.clear()
                return

    def _serve(self) -> bytes | None:
        """Return the answer to the current step, None when more bytes are needed first."""
        buffer = self._buffer
        if isinstance(self._step, _SkipScan):
            self._picture = self._picture or self._step.picture
            found = _SCAN_END.search(buffer)
            if found is None:
                # a run of 0xFF at the very end may be the beginning of a marker
                del buffer[: -1 if buffer.endswith(b"\xff") else len(buffer)]
                return None
            del buffer[: found.end() - 2]
            return b""
        if isinstance(self._step, _Skip):
            self._skip, self._step = self._step.count, _Read(0)
        if self._skip:
            passed = min(self._skip, len(buffer))
            del buffer[:passed]
            self._skip -= passed
            if self._skip:
                return None
            return b""
        wanted = self._step.count if isinstance(self._step, _Read) else 0
        if len(buffer) < wanted:
            return None
        taken = bytes(buffer[:wanted])
        del buffer[:wanted]
        return taken


def content_of(data: bytes | memoryview, variant: Variant) -> Content:
    """Say what a body is that is all there; as `ContentCheck`, without its copies.

    An odd body of a megabyte can take most of a second: not in the event loop.

    Raises:
        PassingError: It is empty, a web page, or not whole.
        PhotoError: It is of a wrong type.
    """
    if not data:
        raise PassingError("the photo came empty")
    walk = _recognise(bytes(data[:SNIFF]), variant)
    content = _at_once(data, walk())
    if content is None:
        raise PassingError(f"the picture breaks off after {len(data)} bytes")
    return content


def plain_jpeg(data: bytes | memoryview) -> Content | None:
    """Say what a body is, when it is a JPEG as nearly every photo is; quick enough for the event loop.

    Walking the scans of every photo took 0.16 ms a large one, a quarter of the event loop's time.

    Returns:
        What `content_of` would return; None for everything else, whole or not: that is for `content_of`.
    """
    if data[:3] != b"\xff\xd8\xff":
        return None
    frame: tuple[int, int] | None = None
    has_scan = False
    at, size = 2, len(data)
    for _ in range(_SEGMENTS):
        if at + 4 > size or data[at] != 0xFF:
            break
        code, length = data[at + 1], data[at + 2] << 8 | data[at + 3]
        if code in _NO_LENGTH or length < 2:
            break
        if code in _FRAMES and length >= 7 and at + 9 <= size:
            frame = data[at + 7] << 8 | data[at + 8], data[at + 5] << 8 | data[at + 6]
        at += 2 + length
        if code == 0xDA:
            has_scan = True
            if at + 2 <= size and data[-2:] == _EOI:
                at = size - 2
                break
            found = _SCAN_END.search(data, at)
            at = size if found is None else found.end() - 2
    if frame is None or not has_scan or data[at : at + 2] != _EOI:
        return None
    return Content(".jpg", *frame)


def _at_once(data: bytes | memoryview, walk: _Walk) -> Content | None:
    """Serve a walker from a body that is all there; None where it breaks off."""
    step, at, picture = next(walk), 0, None
    while True:
        taken = b""
        if isinstance(step, _SkipScan):
            picture = picture or step.picture
            if picture is not None and data[-2:] == _EOI:
                return picture
            found = _SCAN_END.search(data, at)
            at = len(data) + 1 if found is None else found.end() - 2
        else:
            taken = bytes(data[at : at + step.count]) if isinstance(step, _Read) else taken
            at += step.count
        if at > len(data):
            return None
        try:
            step = walk.send(taken)
        except StopIteration as end:
            content: Content = end.value
            return content


def _is_frame(code: int, length: int) -> bool:
    """Say whether a segment tells the picture's size (SOF, T.81 B.2.2)."""
    return code in _FRAMES and length >= 7


def _recognise(head: bytes, variant: Variant) -> Callable[[], _Walk]:
    """Choose the walker for a body that begins with `head`."""
    if head.startswith(b"\xff\xd8\xff"):
        return _jpeg
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        return _png
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return _webp
    if head[4:8] == b"ftyp" and head[8:12] in _HEIC_BRANDS:
        return _heic
    is_markup = _TAG_START.match(head) is not None
    if is_markup and not _XML_START.match(head):
        raise PassingError("a web page came instead of the photo", html=True)
    if variant == "original" and not is_markup and not _JSON_START.match(head) and head.strip():
        return _anything
    raise PhotoError("what came is no picture (JPEG, PNG, WebP or HEIC)")


def _broken(what: str) -> PassingError:
    return PassingError(f"the picture is damaged: {what}")


def _jpeg() -> _Walk:
    """Segments by their lengths, scans to their next marker, until EOI (T.81 B.1.1, B.2)."""
    width = height = None
    has_scan = False
    yield _Read(2)
    while True:
        marker = yield _Read(2)
        if marker[0] != 0xFF:
            raise _broken(_NO_MARKER)
        code = marker[1]
        while code == 0xFF:  # fill bytes (B.1.1.2)
            code = (yield _Read(1))[0]
        if code == 0xD9:
            if width is None or not has_scan:
                raise _broken("a JPEG without a picture")
            return Content(".jpg", width, height)
        if code in {0x00, 0xD8}:
            raise _broken(_NO_MARKER)
        if code == 0x01 or 0xD0 <= code <= 0xD7:
            continue  # markers without a length (table B.1)
        length = int.from_bytes((yield _Read(2)))
        if length < 2:
            raise _broken("a JPEG segment without a length")
        if _is_frame(code, length):
            frame = yield _Read(5)
            height, width = int.from_bytes(frame[1:3]), int.from_bytes(frame[3:5])
            length -= 5
        yield _Skip(length - 2)
        if code == 0xDA:
            has_scan = True
            yield _SkipScan(None if width is None else Content(".jpg", width, height))


def _png() -> _Walk:
    width = height = None
    has_data = False
    yield _Skip(8)
    while True:
        head = yield _Read(8)
        length, name = int.from_bytes(head[:4]), head[4:]
        if name == b"IHDR" and length >= 8:
            size = yield _Read(8)
            width, height = int.from_bytes(size[:4]), int.from_bytes(size[4:])
            length -= 8
        yield _Skip(length + 4)
        has_data = has_data or name == b"IDAT"
        if name == b"IEND":
            if not has_data:
                raise _broken("a PNG without a picture")
            return Content(".png", width, height)


def _webp() -> _Walk:
    head = yield _Read(8)
    size = int.from_bytes(head[4:], "little")
    if size < 12:  # "WEBP" and the head of one chunk (RFC 9649 §2.5)
        raise _broken("a WebP without a picture")
    yield _Skip(size)
    return Content(".webp")


def _heic() -> _Walk:
    """Top-level boxes until both the description and the data have passed (ISO/IEC 23008-12 §6)."""
    seen: set[bytes] = set()
    while not seen >= {b"meta", b"mdat"}:
        head = yield _Read(8)
        size, header = int.from_bytes(head[:4]), 8
        seen.add(head[4:])
        if size == 1:  # the length stands in the next eight bytes
            size, header = int.from_bytes((yield _Read(8))), 16
        if size == 0 and seen >= {b"meta", b"mdat"}:
            break  # this box reaches to the end of the body, whose length the transfer checked
        if size < header:
            raise _broken("a box without a length")
        yield _Skip(size - header)
    return Content(".heic")


def _anything() -> _Walk:
    """An original of a type that we do not walk (a raw file, say): the length alone vouches for it."""
    yield _Read(1)
    return Content(".bin")
