"""Makes the thumbnails that the mirror has not. Each says in its comment which photo it is of."""

from __future__ import annotations

import io
import os
from typing import Final

from ninepic_mirror.archive import pictures
from ninepic_mirror.delivery.plan import MADE_THUMBNAIL

_EDGE: Final = (
    360  # pixels of the longer side; the gallery shows them half as large on usual screens
)
_QUALITIES: Final = (80, 60, 40, 20)
_MOST_PIXELS: Final = 200_000_000
_HEAD: Final = 256  # bytes before the tables, in which the comment is


def prepare() -> None:
    """Load the decoders, once, before threads use them."""
    pictures.prepare()


def is_of(data: bytes, sha256: str) -> bool:
    """Whether something is a thumbnail that was made of a photo, and has its end.

    Args:
        data: It.
        sha256: Of the photo, lower-case hex.
    """
    return _comment(sha256) in data[:_HEAD] and data.endswith(b"\xff\xd9")


def _comment(sha256: str) -> bytes:
    return f"made of sha256:{sha256}".encode()


def make(descriptor: int, sha256: str) -> bytes | None:
    """Return a photo as a small upright JPEG, None where it cannot be decoded.

    Args:
        descriptor: The open file; its position changes.
        sha256: Of the photo, lower-case hex.
    """
    from PIL import Image, ImageOps  # noqa: PLC0415  90 ms that other commands need not wait for

    try:
        with os.fdopen(os.dup(descriptor), "rb") as file, Image.open(file) as picture:
            if picture.width * picture.height > _MOST_PIXELS:
                return None
            # a JPEG is decoded at an eighth of its size where that is enough
            picture.draft("RGB", (2 * _EDGE, 2 * _EDGE))
            small = ImageOps.exif_transpose(picture).convert("RGB")
            small.thumbnail((_EDGE, _EDGE))
            for quality in _QUALITIES:
                buffer = io.BytesIO()
                small.save(buffer, "JPEG", quality=quality, optimize=True, comment=_comment(sha256))
                if buffer.tell() <= MADE_THUMBNAIL:
                    return buffer.getvalue()
    except Exception:  # noqa: BLE001  a decoder fed with anything raises anything
        return None
    return None
