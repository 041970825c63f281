"""How files are called in a package, and which volume they go into. Decisions only.

Names are lower-case ASCII without anything that a file system refuses (`archive.placement`), so that no two of them
differ by case alone. With `time` a photo's name is its capture time and a running number, which alone makes it unique.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from typing import TYPE_CHECKING, Final, Literal

from msgspec import Struct

from ninepic_mirror.archive.placement import safe_name
from ninepic_mirror.config.layout import DEVICES
from ninepic_mirror.errors import UsageError
from ninepic_mirror.progress import plain

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from ninepic_mirror.delivery.catalogue import File, Shot

Names = Literal["id", "time"]

PAYLOAD: Final = "data"
THUMBNAILS: Final = "gallery/thumbnails"
_DIGITS: Final = 4  # of a running number, at least
# What a browser shows; of anything else a thumbnail is made.
_SHOWN: Final = frozenset({".jpg", ".jpeg", ".png", ".webp"})
# Bytes of tag files and of a zip's own records, beside names, that a file and a photo cost at most.
_PER_FILE: Final = 512
_PER_PHOTO: Final = 2048
MADE_THUMBNAIL: Final = 64 << 10  # the most bytes of a thumbnail that is made here


class Entry(Struct, frozen=True, gc=False):
    """One file of a package: which, and where in the package it stands."""

    file: File
    target: str


class Item(Struct, frozen=True, gc=False):
    """One photo of a package.

    Args:
        shot: The photo.
        stem: Its name without folder, variant and extension; no other item has it.
        entries: Its files.
        thumbnail: Where the gallery finds its thumbnail.
        source: The mirror's file that becomes its thumbnail; None: one is among the entries, or one is to be made.
    """

    shot: Shot
    stem: str
    entries: tuple[Entry, ...]
    thumbnail: str
    source: File | None = None

    @property
    def size(self) -> int:
        """Bytes of its files."""
        return sum(entry.file.size for entry in self.entries)

    @property
    def is_thumbnail_made(self) -> bool:
        """Whether its thumbnail has to be made."""
        return self.source is None and all(one.target != self.thumbnail for one in self.entries)

    @property
    def room(self) -> int:
        """The most bytes that it takes, with its lines in lists and its thumbnail."""
        names = sum(4 * len(entry.target) + _PER_FILE for entry in self.entries)
        made = MADE_THUMBNAIL if self.is_thumbnail_made else 0
        made += self.source.size if self.source is not None else 0
        # an id of the service's is written as it is, each character of it six at most in a script
        return self.size + names + made + _PER_PHOTO + 12 * len(self.shot.image_id)


def items(
    picked: Sequence[tuple[Shot, list[File]]], names: Names = "id", first: int = 1
) -> list[Item]:
    """Give the photos of a package their names.

    Args:
        picked: Photos with their files to deliver, in the order of their capture.
        names: By id as in the mirror, or by time.
        first: The running number of the first one.
    """
    if names == "id":
        return [_item(shot, files, safe_name(shot.image_id), None) for shot, files in picked]
    # within an hour by the camera's clock, as far as it was read; the hour is the service's
    ordered = sorted(
        picked, key=lambda one: (one[0].taken is None, one[0].taken or 0, _clock(one[0]))
    )
    digits = max(_DIGITS, len(str(first + len(picked) - 1)))
    return [
        _item(shot, files, stem := f"{_moment(shot)}-{number:0{digits}}", stem)
        for number, (shot, files) in enumerate(ordered, first)
    ]  # fmt: skip


def _clock(shot: Shot) -> str:
    return (shot.camera.shot_at if shot.camera else None) or ""


def _moment(shot: Shot) -> str:
    """Return when a photo was taken as a part of a name: to the second, to the hour, or undated."""
    clock = _clock(shot)
    if clock:
        return clock.replace("-", "").replace(":", "").replace("T", "-")
    if shot.day is None:
        return "undated"
    return f"{shot.day.replace('-', '')}-{shot.hour}"


def _item(shot: Shot, files: Sequence[File], stem: str, name: str | None) -> Item:
    """Return a photo with its places; `name` takes the place of the mirror's."""
    entries = []
    # a layout may have a "%", which sha256sum does not decode in a manifest, nor bagit.py
    places = [file.path.replace("%", "_") for file in files]
    # A layout may put the variants of a photo into one folder.
    crowded = name is not None and len({path.rpartition("/")[0] for path in places}) < len(files)
    for file, path in zip(files, places, strict=True):
        if name is not None:
            folder, slash, _ = path.rpartition("/")
            path = f"{folder}{slash}{name}{f'-{file.variant}' if crowded else ''}{_suffix(path)}"  # noqa: PLW2901  its new name
        entries.append(Entry(file, f"{PAYLOAD}/{path}"))
    for entry in entries:
        if entry.file.variant == "thumbnail" and _is_shown(entry.file):
            return Item(shot, stem, tuple(entries), entry.target)
    mirrored = shot.file("thumbnail")
    if mirrored is not None and _is_shown(mirrored):
        copy = f"{THUMBNAILS}/{stem}{_suffix(mirrored.path)}"
        return Item(shot, stem, tuple(entries), copy, mirrored)
    return Item(shot, stem, tuple(entries), f"{THUMBNAILS}/{stem}.jpg")


def _suffix(path: str) -> str:
    """Return the ending of a file's name with its dot, as PurePosixPath does and at a tenth of its price."""
    name = path.rpartition("/")[2]
    stem, dot, ending = name.rpartition(".")
    return f".{ending}" if stem and dot and ending else ""


def _is_shown(file: File) -> bool:
    return _suffix(file.path) in _SHOWN


def volumes(items: Sequence[Item], size: int | None, overhead: int) -> list[list[Item]]:
    """Cut a package into volumes, the variants of a photo together, in their order.

    Args:
        items: The photos.
        size: The most bytes of a volume, None: one volume holds all.
        overhead: Bytes that each volume takes beside its photos.

    Raises:
        UsageError: A photo does not fit into any.
    """
    if size is None:
        return [list(items)]
    found: list[list[Item]] = []
    left = 0
    for item in items:
        if item.room > size - overhead:
            text = f"the photo {plain(item.shot.image_id)} needs {item.room + overhead:,} bytes and a volume has {size:,}"
            raise UsageError(text, "name a larger --volume-size, or leave out a variant")
        if item.room > left:
            found.append([])
            left = size - overhead
        found[-1].append(item)
        left -= item.room
    return found


def volume_name(number: int, count: int, stem: str) -> str:
    """Return the name of one of several volumes; they sort in their order."""
    width = len(str(count))
    return f"{stem}-{number:0{width}}-of-{count}"


def stem_of(name: str) -> str:
    """Return the name of a zip without its suffix, in whatever case that is: the folder that it unpacks into."""
    return name[: -len(".zip")] if name.lower().endswith(".zip") else name


def is_safe(stem: str) -> bool:
    """Whether what unpacks into a folder of this name stays in it, under Windows, too: it drops blanks and dots at ends."""
    return bool(stem.strip(" .")) and min(stem) >= " " and not set(stem) & set("\\/:")


def part_names(labels: Iterable[str]) -> dict[str, str]:
    """Return the folder names of split packages by their photographer or day, unique without regard to case."""
    labels = list(labels)
    plain = {label: _slug(label) for label in labels}
    counted = Counter(plain.values())
    return {
        label: slug if slug and counted[slug] == 1 and slug not in DEVICES else safe_name(label)
        for label, slug in plain.items()
    }


def _slug(label: str) -> str:
    ascii_ = unicodedata.normalize("NFKD", label).encode("ascii", "ignore").decode().lower()
    slug = re.sub(r"[^0-9a-z]+", "-", ascii_).strip("-")
    # what lost most of its letters says nobody's name
    return slug[:48].strip("-") if len(slug) * 2 >= len(label) else ""
