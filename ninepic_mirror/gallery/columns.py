"""The photos of a gallery as columns: what repeats stands once, so that 20,000 photos are a few megabytes at most.

The script `static/photos.js` reads them. A column that points into a table holds indices, -1 for none. `0` in place of a
text means that it follows from the name: the id is its stem, or the file is called so.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final
from urllib.parse import quote

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ninepic_mirror.gallery.rows import Gallery, Picture

VARIABLE: Final = "GALLERY"
ESCAPES: Final = {ord(character): f"\\u{ord(character):04x}" for character in "<>&\x7f"}


def script(gallery: Gallery) -> str:
    """Return a script of ASCII that defines the photos, harmless wherever it may be pasted, in HTML too."""
    text = json.dumps(columns(gallery), ensure_ascii=True, separators=(",", ":"))
    return f'"use strict";\nconst {VARIABLE} = {text.translate(ESCAPES)};\n'


def columns(gallery: Gallery) -> dict[str, object]:
    """Return the columns, each as long as there are photos, and the tables that they point into."""
    pictures = gallery.pictures
    folders = _Table()
    days, hours, photographers = _Table(), _Table(), _Table()
    return {
        "name": [well_formed(picture.name) for picture in pictures],
        "id": [_told(picture) for picture in pictures],
        "day": [days.index(picture.day) for picture in pictures],
        "hour": [hours.index(picture.hour) for picture in pictures],
        "photographer": [photographers.index(picture.photographer) for picture in pictures],
        "width": [picture.width or 0 for picture in pictures],
        "height": [picture.height or 0 for picture in pictures],
        "thumbnail": _files(((one.name, one.thumbnail) for one in pictures), folders),
        "large": _files(((one.name, one.large) for one in pictures), folders),
        "original": _files(((one.name, one.original) for one in pictures), folders),
        "days": days.texts,
        "hours": hours.texts,
        "photographers": photographers.texts,
        "folders": folders.texts,
    }


def well_formed(text: str) -> str:
    """Return text in which halves of surrogate pairs are replaced: nothing can encode them."""
    if text.isascii():
        return text
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


class _Table:
    """Texts, each once, in the order of their first use."""

    def __init__(self) -> None:
        self._places: dict[str, int] = {}

    def index(self, text: str | None) -> int:
        """Return where a text stands, -1 for none or an empty one."""
        return self._places.setdefault(well_formed(text), len(self._places)) if text else -1

    @property
    def texts(self) -> list[str]:
        return list(self._places)


def _told(picture: Picture) -> str | int:
    stem, _, ending = picture.name.rpartition(".")
    return 0 if ending and stem == picture.image_id else well_formed(picture.image_id)


def _files(named: Iterable[tuple[str, str | None]], folders: _Table) -> dict[str, object]:
    folder: list[int] = []
    file: list[str | int] = []
    for name, path in named:
        above, _, last = (path or "").rpartition("/")
        # "./": whatever a folder is called, it is neither a scheme nor a host
        folder.append(folders.index("./" + _encoded(above + "/" if above else "")) if path else -1)
        known = not path or (last == name and well_formed(name) == name)
        file.append(0 if known else _encoded(last))
    return {"folder": folder, "file": file}


def _encoded(path: str) -> str:
    # names on disk that are no UTF-8 are kept byte for byte
    return quote(path, safe="/", errors="surrogateescape")
