"""Decodes pictures to see whether they can be: `verify --decode`. Pillow is imported only here and in the sandbox."""

from __future__ import annotations

import os
import warnings
from typing import Final

# Of one picture: three bytes each while it is decoded, in each reader. Cameras end at 150 million.
_MOST_PIXELS: Final = 200_000_000


def prepare() -> None:
    """Load the decoders, once, before threads use them."""
    from PIL import Image  # noqa: PLC0415  90 ms that only --decode is worth

    Image.MAX_IMAGE_PIXELS = None  # our own limit, without a warning on the way to it
    warnings.filterwarnings("ignore", module="PIL")  # of odd EXIF and the like


def complaint(descriptor: int, most: int = _MOST_PIXELS) -> str | None:
    """Decode a picture.

    Args:
        descriptor: The open file; its position changes.
        most: Pixels; a larger picture is not decoded.

    Returns:
        What is wrong with it, one line; None for nothing.
    """
    from PIL import Image  # noqa: PLC0415  as above

    os.lseek(descriptor, 0, os.SEEK_SET)
    try:
        with (
            os.fdopen(os.dup(descriptor), "rb") as file,
            Image.open(file) as picture,
        ):
            width, height = picture.size
            if width * height > most:
                return f"has {width} by {height} pixels and is not decoded"
            picture.load()
    except Exception as error:  # noqa: BLE001  a decoder fed with anything raises anything
        return f"cannot be decoded: {error}".replace("\n", " ")[:200]
    return None
