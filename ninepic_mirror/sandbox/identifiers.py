"""Image ids that look like the service's, made from a serial number and turned back into it.

An event of a million photos keeps no table of ids: the last eight digits hide the serial number, the rest is a hash of
it, so an id is recognised by making it again.
"""

from __future__ import annotations

from hashlib import blake2b
from string import hexdigits
from zlib import crc32

# The vendor's own example holds letters beyond f (API.md, Basics), so one id in eight has them here.
_BEYOND_HEX = str.maketrans("ace", "gjz")
_ODD_ONES = frozenset("05")
_GROUPS = ((0, 8), (8, 12), (12, 16), (16, 20), (20, 32))
_LENGTH = 36  # 32 digits and four dashes


def image_id(key: bytes, serial: int) -> str:
    """Return the id of a photo.

    Args:
        key: What tells events apart, at most 64 bytes.
        serial: The photo's number in its event, below 2**32.
    """
    digest = blake2b(serial.to_bytes(8, "big"), key=key, digest_size=12).hexdigest()
    front = digest[:12] + "4" + digest[13:16] + "8" + digest[17:]
    if digest[0] in _ODD_ONES:
        front = front[:1] + front[1:].translate(_BEYOND_HEX)
    digits = f"{front}{serial ^ crc32(front.encode()):08x}"
    return "-".join(digits[start:end] for start, end in _GROUPS)


def serial_number(key: bytes, text: str) -> int | None:
    """Return the serial number inside an id, None for an id that `image_id` never made."""
    digits = text.replace("-", "")
    if len(text) != _LENGTH or not set(digits[24:]) <= set(hexdigits) or not digits.isascii():
        return None
    serial = int(digits[24:], 16) ^ crc32(digits[:24].encode())
    return serial if image_id(key, serial) == text else None
