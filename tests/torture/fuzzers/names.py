"""Any id or slug becomes a name that can stand everywhere, and no two the same one (RELIABILITY N1, N2)."""

from __future__ import annotations

import re
import unicodedata
from contextlib import suppress
from typing import Final
from zoneinfo import ZoneInfo

from ninepic_mirror.archive.placement import Layout, event_folder, is_folder_of, safe_name
from ninepic_mirror.config import DEFAULT_LAYOUT
from tests.torture.fuzzers.spelling import Bytes, spell

NAME: Final = re.compile(r"[0-9a-z](?:[0-9a-z_-]{0,63}|[0-9a-z-]{0,31}~[0-9a-f]{24})")
DEVICE: Final = re.compile(r"(?:con|prn|aux|nul|com\d|lpt\d)(?:\..*)?")
ZONES: Final = [
    ZoneInfo(name) for name in ("UTC", "Asia/Kolkata", "Pacific/Kiritimati", "Pacific/Niue")
]
FIRST: Final = -62_135_596_800  # the first hour that a timeline can name: year 1
LAST: Final = 253_402_297_200  # the last: year 9999
DEFAULT: Final = Layout.parse(DEFAULT_LAYOUT)
FRAGMENTS: Final = (
    b"..", b"/", b"\\", b"\0", b"con", b"CON", b"aux", b"com1", b"SHA256SUMS", b"sha256sums", b"event.json",
    b"\xc3\xa9", b"e\xcc\x81", b"\xc3\x89", b"\xe2\x80\xae", b"\xed\xa0\x80", b"\xef\xbc\x8e", b"~", b".", b" ",
    b"-", b"_", b"A", b"a", b"\xc4\xb0", b"\xc5\xbf", b"\xe2\x84\xaa", b"trash", b"undated", b"partial",
    b"{date}", b"{hour}", b"{variant}", b"{image_id}", b"{ext}", b"{", b"}",
)  # fmt: skip


def check(data: bytes) -> None:
    """Look at the names of an id and of its relatives, and at where a layout puts it."""
    source = Bytes(data)
    zone = ZONES[source.number() % len(ZONES)]
    taken = (None, min(FIRST + source.number(5) * 60, LAST))[source.number() % 2]
    raw, _, template = (
        spell(source.left, FRAGMENTS).decode("utf-8", "surrogateescape").partition("\n")
    )
    names: dict[str, str] = {}
    for form in {
        raw,
        raw.lower(),
        raw.upper(),
        *(unicodedata.normalize(f, raw) for f in ("NFC", "NFD", "NFKC")),
    }:
        name = safe_name(form)
        assert NAME.fullmatch(name), (form, name)
        assert not DEVICE.fullmatch(name), (form, name)
        assert names.setdefault(name, form) == form, (form, names[name])
    folder = event_folder(456, raw)
    assert is_folder_of(folder, 456), folder
    layouts = [DEFAULT]
    if template:
        with suppress(ValueError):
            layouts.append(Layout.parse(template))
    for layout in layouts:
        stem = layout.stem(taken, zone, "large", raw)
        parts = stem.split("/")
        assert not {"", ".", ".."} & set(parts), stem
        assert stem.isascii(), stem
        assert stem.isprintable(), stem
        assert max(map(len, parts)) <= 250, stem
        assert parts[0] != ".ninepic-mirror", stem
