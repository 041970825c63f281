"""The bytes of photos: drawn ones through a small cache, cheap ones from a template."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from functools import cache
from io import BytesIO
from random import Random
from struct import pack
from threading import Lock
from typing import TYPE_CHECKING, Final

from PIL import Image

from ninepic_mirror.sandbox import drawing

if TYPE_CHECKING:
    from collections.abc import Iterator

VARIANTS: Final = ("thumbnail", "large", "original")
TRAILER: Final = b"\0\0SANDBOX bytes after the end marker, as some cameras write them" + bytes(64)

_COMMENT = b"\xff\xfe"  # JPEG's COM marker (ITU-T T.81, B.1.1.3): two bytes of length and anything
_SEGMENT = 65_533  # the most that a segment holds beside its length
_CACHE = 64 * 1024 * 1024  # bytes; a thousand drawn thumbnails and two hundred larges
_CACHED = 4 * 1024 * 1024  # originals are too big to keep


@dataclass(frozen=True, slots=True)
class Sizes:
    """How big bodies are to be: cheap ones in kB, originals between two sizes in MB."""

    thumb_kb: float
    large_kb: float
    original_mb: tuple[float, float]


@dataclass(frozen=True, slots=True)
class Shot:
    """Everything a picture is made from; equal shots have equal bytes.

    Args:
        name: The image id of the photo that it was made for.
        seed: What makes it differ from others.
        captured: The camera's local time in seconds since 1970, None without one.
        bibs: The numbers to show.
        portrait: Held upright.
        trailing: Bytes follow the JPEG's end marker.
        version: How often it was replaced.
        sizes: How big it is to be.
        drawn: Drawn, or made from a template.
        title: The event's name.
    """

    name: str
    seed: int
    captured: int | None
    bibs: tuple[str, ...]
    portrait: bool
    trailing: bool
    version: int
    sizes: Sizes
    drawn: bool
    title: str

    def original_bytes(self) -> int:
        """Return how big its original is, by its seed."""
        low, high = self.sizes.original_mb
        return int((low + (high - low) * Random(self.seed).random()) * 1_000_000)  # noqa: S311  a size, no secret


class Gallery:
    """Makes bodies and keeps the drawn ones that were asked for last. Threads may share it."""

    def __init__(self) -> None:
        self._kept: OrderedDict[tuple[Shot, str], bytes] = OrderedDict()
        self._bytes = 0
        self._lock = Lock()

    def body(self, shot: Shot, variant: str) -> bytes:
        """Return the bytes of a variant, the same whenever it is asked for."""
        body = self.cheap_body(shot, variant)
        if body is None:
            body = _finished(shot, variant, _drawn(shot, variant))
            self._keep((shot, variant), body)
        return body

    def cheap_body(self, shot: Shot, variant: str) -> bytes | None:
        """Return the bytes if they need no drawing, else None: ask `body` in a thread then."""
        if not shot.drawn:
            return _finished(shot, variant, _cheap(shot, variant))
        with self._lock:
            body = self._kept.get((shot, variant))
            if body is not None:
                self._kept.move_to_end((shot, variant))
        return body

    def _keep(self, key: tuple[Shot, str], body: bytes) -> None:
        # the thread that drew keeps it; two that drew the same keep one
        if len(body) > _CACHED:
            return
        with self._lock:
            self._bytes += len(body) - len(self._kept.pop(key, b""))
            self._kept[key] = body
            while self._bytes > _CACHE:
                _, oldest = self._kept.popitem(last=False)
                self._bytes -= len(oldest)


def _drawn(shot: Shot, variant: str) -> bytes:
    scene = drawing.Scene(
        shot.seed + 31 * shot.version, shot.captured, shot.bibs, shot.portrait, shot.title
    )
    body = drawing.jpeg(scene, variant)
    return _padded(body, shot.original_bytes()) if variant == "original" else body


def _cheap(shot: Shot, variant: str) -> bytes:
    if variant == "original":
        return _padded(_template(1200, shot.portrait), shot.original_bytes())
    kilobytes = shot.sizes.thumb_kb if variant == "thumbnail" else shot.sizes.large_kb
    edge = 300 if variant == "thumbnail" else 1200
    # a very small size gets a very small picture: tiny thumbnails are for counting photos, not for looking
    while edge > 16 and len(_template(edge, shot.portrait)) > kilobytes * 1000:
        edge //= 2
    return _padded(_template(edge, shot.portrait), int(kilobytes * 1000))


def _finished(shot: Shot, variant: str, body: bytes) -> bytes:
    label = f"{shot.name} {variant} {shot.version}".encode(errors="surrogatepass")[:_SEGMENT]
    # after SOI and before the rest: a comment may stand anywhere between segments
    named = body[:2] + _COMMENT + pack(">H", len(label) + 2) + label + body[2:]
    return named + TRAILER if shot.trailing else named


@cache
def _template(edge: int, portrait: bool) -> bytes:  # noqa: FBT001  a cache tells named from positional
    size = (edge * 2 // 3, edge) if portrait else (edge, edge * 2 // 3)
    buffer = BytesIO()
    Image.radial_gradient("L").resize(size).save(buffer, "JPEG", quality=60)
    return buffer.getvalue()


@cache
def _noise() -> bytes:
    return Random(9).randbytes(_SEGMENT)  # noqa: S311  filling, no secret


@cache
def _padding(size: int) -> bytes:
    return b"".join(_segments(size))


def _segments(size: int) -> Iterator[bytes]:
    while size > 4:
        length = min(size - 4, _SEGMENT)
        yield _COMMENT + pack(">H", length + 2) + _noise()[:length]
        size -= length + 4


def _padded(body: bytes, size: int) -> bytes:
    # comments and not bytes at the end: the picture stays a whole JPEG for every reader
    missing = size - len(body)
    if missing > 1_000_000:
        return b"".join(
            (body[:2], *_segments(missing), body[2:])
        )  # too big and too many to remember
    return body[:2] + _padding(missing) + body[2:]
