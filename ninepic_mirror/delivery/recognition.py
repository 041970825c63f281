"""Recognises a package that stands at its place already: made by a run that ended before it could record that."""

from __future__ import annotations

import zipfile
from typing import TYPE_CHECKING, Final

from ninepic_mirror.delivery import bag
from ninepic_mirror.delivery.package import names

if TYPE_CHECKING:
    from pathlib import Path

    from ninepic_mirror.delivery.package import Package

_LIMIT: Final = 1 << 30  # bytes of a manifest; ten million files


def recognise(package: Package, place: Path) -> str | None:
    """Return the id of the package at a place if it holds the same files under the same names, else None.

    Its photos are not read: it got its name only after they had been.

    Args:
        package: What was to be made.
        place: Its final place.
    """
    found: set[str] = set()
    for name, items in zip(names(package, place.name), package.volumes, strict=True):
        hashes = {entry.target: entry.file.sha256 for item in items for entry in item.entries}
        texts = _texts(place.parent / name)
        if texts is None or texts[0] != bag.manifest(hashes):
            return None
        found.add(_identifier(texts[1]))
    return found.pop() if len(found) == 1 else None


def _texts(volume: Path) -> tuple[bytes, bytes] | None:
    """Return the manifest and the label of a volume, None where it is no bag."""
    try:
        if volume.is_dir():
            manifest = (volume / bag.MANIFEST).read_bytes()
            return manifest, (volume / bag.INFO).read_bytes()
        with zipfile.ZipFile(volume) as opened:
            top = f"{volume.name.removesuffix('.zip')}/"
            if opened.getinfo(top + bag.MANIFEST).file_size > _LIMIT:
                return None
            return opened.read(top + bag.MANIFEST), opened.read(top + bag.INFO)
    except (OSError, KeyError, zipfile.BadZipFile):
        return None


def _identifier(info: bytes) -> str:
    for line in info.decode("utf-8", "replace").splitlines():
        key, _, value = line.partition(": ")
        if key == "External-Identifier":
            return value
    return ""
