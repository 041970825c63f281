"""Which files without a row may be a photo's: by their places, and by what SHA256SUMS say of them.

A whole picture at a photo's place may be anybody's, an edited copy say. So only the names count that a pass gives, and
nothing is taken that contradicts a hash which is known of the photo's file: its row's, or that of a line.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from msgspec import Struct

from ninepic_mirror.archive.content import EXTENSIONS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ninepic_mirror.archive.manifest import Manifest

_MARKS: Final = ",".join("?" * len(EXTENSIONS))


class Stray(Struct, frozen=True, gc=False):
    """A file without a row.

    Args:
        path: Where it stands, relative to the event folder.
        sha256: The hash that it must have, None where nothing tells.
    """

    path: str
    sha256: str | None = None


class Candidates(Struct, frozen=True):
    """What may be one photo's file.

    Args:
        here: What stands at its place, with whatever extension of ours; the hash is the one of its own line.
        said: Every hash that a SHA256SUMS says of the photo's file, whether that stands or not.
    """

    here: tuple[Stray, ...] = ()
    said: frozenset[str] = frozenset()

    def tried(self, recorded: str | None) -> Iterator[Stray]:
        """Yield what may be taken if it is whole and has its hash, in this order.

        Args:
            recorded: The hash that the photo's row has, or None.
        """
        named = [one for one in self.here if one.sha256 is not None]
        if len({one.sha256 for one in named}) == 1:
            yield from named  # a line of its own says more than a row that may be older
        unnamed = [one for one in self.here if one.sha256 is None]
        known = {*self.said} | ({recorded} if recorded else set())
        if len(known) == 1:
            yield from (Stray(one.path, *known) for one in unnamed)
        elif not known and len(unnamed) == 1:
            yield from unnamed


class Strays:
    """Looks for candidates among the files without a row that this pass has seen.

    Args:
        manifest: Open, with the table `strays` filled (`Holdings.compare`).
    """

    def __init__(self, manifest: Manifest) -> None:
        self._manifest = manifest

    def of(self, stem: str) -> Candidates:
        """Return what may be the file of a photo.

        Args:
            stem: Its place, without its extension.
        """
        places = [stem + ext for ext in EXTENSIONS]
        lines: dict[object, str] = {
            path: str(sha256)
            for path, sha256 in self._manifest.rows(
                f"SELECT path, sha256 FROM named WHERE path IN ({_MARKS})", places
            )
        }
        found = self._manifest.rows(f"SELECT path FROM strays WHERE path IN ({_MARKS})", places)
        here = tuple(Stray(str(path), lines.get(path)) for (path,) in found)
        return Candidates(here, frozenset(lines.values()))
