"""What tells that a file is a photo's: its name by a layout, a name in the trash, an id in a file's bytes."""

from __future__ import annotations

import json
import os
import re
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from ninepic_mirror.archive.faults import ABSENT
from ninepic_mirror.archive.files import open_regular
from ninepic_mirror.archive.placement import Layout, safe_name
from ninepic_mirror.model import VARIANTS

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

_PIECE: Final = 120  # bytes of an id, of which a page of SQLite holds 480 at least
_CHUNK: Final = 1 << 20
# What may stand for a placeholder of a layout, and behind a name in the folders or the trash.
_TOKENS: Final = {
    "{date}": r"(?:\d{4,}-\d\d-\d\d|undated)",
    "{hour}": r"(?:\d\d|undated)",
    "{variant}": f"(?:{'|'.join(VARIANTS)})",
}
_TELLING: Final = 4  # characters of a name that are no part of a date
_NOTHING: Final = re.compile("(?!)")
_BEHIND: Final = r"(?:\.[0-9A-Za-z]{1,8})?(?:\.\d+)?"


def names_of(ids: Iterable[str], layouts: Iterable[Layout]) -> re.Pattern[str]:
    """Return an expression for every path, without the trash's own folders, that these layouts give these photos.

    The name of a photo is part of a path; only as a whole, where a layout has it, does it tell whose file it is.
    """
    name = f"(?:{'|'.join(re.escape(safe_name(one)) for one in ids)})"
    tokens = _TOKENS | {"{image_id}": name}
    paths = {
        "/".join(
            "".join(tokens.get(token, re.escape(token)) for token in component)
            for component in components
        )
        for layout in layouts
        for components in (layout.dated, layout.undated)
    }
    return re.compile(f"(?:{'|'.join(sorted(paths))}){_BEHIND}", re.ASCII)


@lru_cache(maxsize=64)  # few ids in all of the trash
def whole(name: str) -> re.Pattern[str]:
    """Return an expression for every component of a path that has a name as a whole, whatever stands around it.

    A name that can be mistaken for part of a date is not looked for: only known layouts tell it.
    """
    if len(name) < _TELLING or any(re.fullmatch(token, name) for token in _TOKENS.values()):
        return _NOTHING
    edge = f"(?:[^0-9a-z~]|{'|'.join(VARIANTS)})"
    return re.compile(f"(?:.*{edge})?{re.escape(name)}(?:{edge}.*)?", re.ASCII)


def holds(path: Path, ids: Sequence[str]) -> bool:
    """Whether there is a file that holds one of these ids; a link is none. Its size does not matter for memory. Raises OSError."""
    try:
        descriptor, _ = open_regular(path)
    except OSError as error:
        if error.errno not in ABSENT:
            raise
        return False
    written = {form for one in ids for form in (one, json.dumps(one)[1:-1])}
    # SQLite keeps a long text in several pages, of which one holds at least one piece as a whole.
    sought = {
        piece
        for one in written
        for data in [one.encode("utf-8", "surrogatepass")]
        for piece in [data[at : at + _PIECE] for at in range(0, len(data), _PIECE)]
        if len(piece) == _PIECE or piece == data
    }
    kept = b""
    with os.fdopen(descriptor, "rb") as file:
        while sought and (chunk := file.read(_CHUNK)):
            data = kept + chunk
            if any(one in data for one in sought):
                return True
            kept = data[-max(map(len, sought)) :]
    return False
