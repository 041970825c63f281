"""Decodes pictures to see whether they can be: `verify --decode`. Pillow is imported only here and in the sandbox.

Bytes that came from outside go to three decoders, which are told by name: Pillow knows forty more, and one of them starts
Ghostscript. Memory is bounded, because eight readers may each have a picture under way, in a service of 512 MB.
"""

from __future__ import annotations

import os
import threading
import warnings
from contextlib import nullcontext
from typing import Final

_FORMATS: Final = ("JPEG", "PNG", "WEBP")
# Pixels. A JPEG that is no progressive one is decoded at an eighth of its size, every bit of it all the same; cameras end
# at 150 million. Any other takes four bytes a pixel, or more, while it is decoded.
_MOST_SCALED: Final = 200_000_000
_MOST: Final = 40_000_000
_LARGE: Final = 4_000_000  # of one that takes its turn
_turn: Final = threading.Lock()


def prepare() -> None:
    """Load the decoders, once, before threads use them."""
    from PIL import Image  # noqa: PLC0415  90 ms that only --decode is worth

    Image.MAX_IMAGE_PIXELS = None  # our own limit, without a warning on the way to it
    warnings.filterwarnings("ignore", module="PIL")  # of odd EXIF and the like


def complaint(descriptor: int, most_scaled: int = _MOST_SCALED, most: int = _MOST) -> str | None:
    """Decode a picture.

    Args:
        descriptor: The open file; its position changes.
        most_scaled: Pixels of a JPEG that can be decoded at less than its size; a larger one is not decoded.
        most: Pixels of any other picture.

    Returns:
        What is wrong with it, one line; None for nothing.
    """
    from PIL import Image, UnidentifiedImageError  # noqa: PLC0415  as above

    head = os.pread(descriptor, 12, 0)
    is_webp = head[:4] == b"RIFF" and head[8:] == b"WEBP"
    if not (is_webp or head.startswith((b"\xff\xd8", b"\x89PNG"))):
        return "is no JPEG, PNG or WebP and is not decoded"
    os.lseek(descriptor, 0, os.SEEK_SET)
    try:
        with (
            os.fdopen(os.dup(descriptor), "rb") as file,
            Image.open(file, formats=_FORMATS) as picture,
        ):
            width, height = picture.size
            scaled = picture.format == "JPEG" and "progressive" not in picture.info
            if width * height > (most_scaled if scaled else most):
                return f"has {width} by {height} pixels and is not decoded"
            if scaled:
                picture.draft(picture.mode, (max(1, width // 8), max(1, height // 8)))
            with _turn if width * height > _LARGE and not scaled else nullcontext():
                picture.load()
    except UnidentifiedImageError:
        return "cannot be decoded: its beginning is damaged"
    except Exception as error:  # noqa: BLE001  a decoder fed with anything raises anything
        return f"cannot be decoded: {error}".replace("\n", " ")[:200]
    return None
