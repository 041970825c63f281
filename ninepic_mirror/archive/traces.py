"""What tells that a file is a photo's: its name by a layout, its name anywhere in a path, an id in a file's bytes. No rows."""

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
    from collections.abc import Callable, Collection, Iterable, Sequence
    from pathlib import Path

_PIECE: Final = 120  # bytes of an id, of which a page of SQLite holds 480 at least
_CHUNK: Final = 1 << 20
_VARIANT: Final = "|".join(VARIANTS)
_DATE: Final = r"\d{4}-\d\d-\d\d"
# What may stand for a placeholder of a layout, and behind a name in the folders or the trash.
_TOKENS: Final = {
    "{date}": f"(?:{_DATE}|undated)",
    "{hour}": r"(?:[01]\d|2[0-3]|undated)",
    "{variant}": f"(?:{_VARIANT})",
}
_BEHIND: Final = r"(?:\.[0-9A-Za-z]{1,8})?(?:\.\d+)?"
# Names that may as well be something else in a path whose layout nobody knows: they are too short, or a year, a day, ...
_COMMON: Final = re.compile(rf".{{1,3}}|\d{{4}}|\d\d-\d\d|\d{{4}}-\d\d|{_DATE}|undated|{_VARIANT}")
_HASHED: Final = re.compile(r"[0-9a-z-]+~[0-9a-f]{24}", re.ASCII)  # as `safe_name` makes them
_RUN: Final = re.compile("[0-9a-z_-]+")
_BEFORE: Final = re.compile(f"(?:[_-]|{_VARIANT})$")
_AFTER: Final = re.compile(f"[_-]|{_VARIANT}")
_OURS, _ANOTHERS, _DAY = "<", "~", ":"  # instead of what has been found in a path
_UNDERSTOOD: Final = re.compile(rf"{_VARIANT}|undated")
_HOUR: Final = re.compile(r"(?<![0-9A-Za-z])\d\d(?![0-9A-Za-z])")
_WORD: Final = re.compile("[0-9A-Za-z~]|[^ -~]")


class Signs:
    """Tells by their paths which files are those of some photos.

    Args:
        ids: The photos.
        layouts: By which files are known to stand, or to have stood.
    """

    def __init__(self, ids: Iterable[str], layouts: Iterable[Layout]) -> None:
        self.names = frozenset(map(safe_name, ids))
        self._any = re.compile("|".join(map(re.escape, sorted(self.names))) or "(?!)")
        self._forms = [
            re.compile(f"{_form(components)}{_BEHIND}", re.ASCII)
            for layout in layouts
            for components in dict.fromkeys((layout.dated, layout.undated))
        ]

    def whose(
        self, path: str, known: Callable[[Collection[str]], set[str]], *, in_trash: bool
    ) -> bool | None:
        """Say whether a file is one of these photos'; None: that cannot be told by its path.

        Args:
            path: Its place, in the trash without the trash's own folders.
            known: Tells which of some texts are ids of photos.
            in_trash: What stands there came by a layout, of which the early ones may be written down nowhere: then the
                whole name of a photo tells, where nothing else in the path can be another's. Elsewhere it may be
                anybody's copy.
        """
        if not self._any.search(path):
            return False
        given = self._given(path)
        others = given - self.names
        if given & self.names:
            return None if known(others) else not others or self._by_whole_name(path, ())
        if self.covering(path) is not None:
            return None
        if known(others) or not any(_whole(name).search(path) for name in self._within(path)):
            return False
        others |= {*_HASHED.findall(path)} | known(_spans(path))
        found = self._by_whole_name(path, others - self.names)
        return None if found and not in_trash else found

    def covering(self, path: str) -> str | None:
        """Return the folder above a file that stands where a file of these photos is due, None where there is none."""
        parts = path.split("/")
        above = ("/".join(parts[:end]) for end in range(1, len(parts)))
        return next((folder for folder in above if self._given(folder) & self.names), None)

    def _within(self, path: str) -> set[str]:
        return {name for name in self.names if name in path}

    def _given(self, path: str) -> set[str]:
        """Return the names of the photos to which a known layout gives this place; different layouts, different ones."""
        return {found["name"] for form in self._forms if (found := form.fullmatch(path))}

    def _by_whole_name(self, path: str, others: Collection[str]) -> bool | None:
        """Say whose a file is by the names that are whole in its path, of which a longer one hides those within it."""
        path = re.sub(f"{_BEHIND}$", "", path, flags=re.ASCII)
        found = set()
        sought = {*self._within(path), *others, *re.findall(_DATE, path)}
        for name in sorted(sought, key=len, reverse=True):
            mark = _OURS if name in self.names else _ANOTHERS if name in others else _DAY
            path, count = _whole(name).subn(mark, path)
            if count:
                found.add(name)
        if not found & self.names:
            return False
        telling = {name for name in found if not _COMMON.fullmatch(name)}
        if telling & {*others}:
            return None if telling & self.names else False
        *folders, last = path.split("/")
        parts = [part for part in folders if _OURS in part]
        parts.append(last if _OURS in last else _HOUR.sub("", last))
        is_clear = not any(_WORD.search(_UNDERSTOOD.sub("", part)) for part in parts)
        return True if telling & self.names and is_clear else None


def _spans(path: str) -> set[str]:
    """Return every text in a path that may be the whole name of a photo."""
    found = set()
    for run in _RUN.findall(path):
        starts = [at for at in range(len(run)) if not at or _BEFORE.search(run, 0, at)]
        ends = [at for at in range(1, len(run) + 1) if at == len(run) or _AFTER.match(run, at)]
        found |= {run[start:end] for start in starts for end in ends if start < end}
    return found


def _form(components: Iterable[Iterable[str]]) -> str:
    """Return the expression of every path of one half of a layout; its group `name` is the photo's name."""
    name = "(?P<name>[0-9a-z][0-9a-z_~-]*)"
    path = "/".join(
        "".join((_TOKENS | {"{image_id}": name}).get(part, re.escape(part)) for part in component)
        for component in components
    )
    first, found, more = path.partition(name)
    return first + found + more.replace(name, "(?P=name)")  # where it stands twice, it is the same


@lru_cache(maxsize=1024)
def _whole(name: str) -> re.Pattern[str]:
    """Return an expression for a name in a path that is no part of a longer word there."""
    before = "".join(f"|(?<={variant})" for variant in VARIANTS)
    return re.compile(
        f"(?:(?<![0-9a-z~]){before}){re.escape(name)}(?:(?![0-9a-z~])|(?={_VARIANT}))"
    )


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
