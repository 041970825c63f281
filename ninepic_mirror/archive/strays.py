"""Which files without a row may be a photo's: by their places, and by what SHA256SUMS say of them.

A whole picture at a photo's place may be anybody's, an edited copy say. So only the names count that a pass gives, and
nothing is taken that contradicts a hash which is known of the photo's file: its row's, or that of a line.

While a manifest is built over an old mirror no row tells where its files stand, and layout, zone or hours may be others
by now. A layout's paths tell variant and photo, whatever the hour. So a file at any place of its photo, by any layout
that is known here, is taken if its line has its hash and no other place of the photo has a line that says otherwise.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from msgspec import Struct

from ninepic_mirror.archive import about
from ninepic_mirror.archive.content import EXTENSIONS
from ninepic_mirror.archive.forgotten import FORMER
from ninepic_mirror.archive.placement import Layout, safe_name
from ninepic_mirror.config.layout import DEFAULT_LAYOUT

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from ninepic_mirror.archive.files import Tree
    from ninepic_mirror.archive.manifest import Manifest
    from ninepic_mirror.model import Variant

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
        elsewhere: What stands at other places of it, and has a line.
    """

    here: tuple[Stray, ...] = ()
    said: frozenset[str] = frozenset()
    elsewhere: tuple[Stray, ...] = ()

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
            yield from self.elsewhere
        elif not known and len(unnamed) == 1:
            yield from unnamed


class Strays:
    """Looks for candidates among the files without a row that this pass has seen.

    Args:
        manifest: Open, with the table `strays` filled (`Holdings.compare`).
    """

    def __init__(self, manifest: Manifest) -> None:
        self._manifest = manifest
        self._layouts: tuple[Layout, ...] = ()
        self._usual: Layout | None = None
        self._is_indexed = False

    def look_elsewhere(self, layouts: Iterable[Layout], usual: Layout | None = None) -> None:
        """Look also where these layouts have photos: the manifest may be a new one over an old mirror.

        Args:
            layouts: Those that are known to be or to have been of the folder.
            usual: One that may have been, for paths that none of them could have given.
        """
        self._layouts, self._usual, self._is_indexed = tuple(layouts), usual, False

    def of(self, stem: str, variant: Variant, image_id: str) -> Candidates:
        """Return what may be the file of a photo.

        Args:
            stem: Its place, without its extension.
            variant: Which of its files.
            image_id: The photo.
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
        said = frozenset(lines.values())
        if not self._layouts:
            return Candidates(here, said)
        here = tuple(one for one in here if self._owner(one.path) is not None)
        if any(one.sha256 for one in here):
            return Candidates(here, said)
        homes = self._homes(variant, image_id)
        elsewhere = tuple(one for one, stands in homes if stands and one.path not in places)
        return Candidates(here, said.union(one.sha256 for one, _ in homes if one.sha256), elsewhere)

    def _homes(self, variant: Variant, image_id: str) -> list[tuple[Stray, bool]]:
        """Return each line of a photo's file, and whether the file stands."""
        if not self._is_indexed:
            self._index()
        found = self._manifest.rows(
            "SELECT path, sha256, stands FROM homes WHERE name = ? AND variant = ?",
            [safe_name(image_id), variant],
        )
        return [(Stray(str(path), str(sha256)), bool(stands)) for path, sha256, stands in found]

    def _index(self) -> None:
        """Read whose every line is, once, when a file is first looked for elsewhere; nothing is kept in memory."""
        manifest = self._manifest
        manifest.change("DROP TABLE IF EXISTS temp.homes")
        manifest.change(
            "CREATE TEMP TABLE homes (name TEXT, variant TEXT, path TEXT, sha256 TEXT, stands INTEGER,"
            " PRIMARY KEY (name, variant, path)) WITHOUT ROWID"
        )
        with manifest.transaction():
            manifest.change_each("INSERT INTO homes VALUES (?, ?, ?, ?, ?)", self._read())
        self._is_indexed = True

    def _read(self) -> Iterator[tuple[str, str, str, str, int]]:
        """Yield whose every line is, where that is certain."""
        for path, sha256, stands in self._manifest.each(
            "SELECT path, sha256, strays.path IS NOT NULL FROM named LEFT JOIN strays USING (path)"
        ):
            if (owner := self._owner(str(path))) is not None:
                variant, name = owner
                yield name, variant, str(path), str(sha256), int(bool(stands))

    def _owner(self, path: str) -> tuple[str, str] | None:
        """Return variant and name of the photo that a path is of; None also where two layouts read it as two photos'."""
        stem, dot, ext = path.rpartition(".")
        owners = {layout.whose(stem) for layout in self._layouts} - {None}
        if not owners and self._usual is not None:
            owners = {self._usual.whose(stem)} - {None}
        return owners.pop() if dot + ext in EXTENSIONS and len(owners) == 1 else None


def known_layouts(
    manifest: Manifest, tree: Tree, layout: str
) -> tuple[list[Layout], Layout | None]:
    """Return the layouts by which files may stand here, and where nothing tells one, the usual one (`look_elsewhere`).

    That of `event.json` is remembered, because a pass writes it anew.

    Args:
        manifest: Open.
        tree: The event folder.
        layout: The configured one.

    Raises:
        StorageError: The manifest cannot be written.
    """
    noted, told = manifest.meta(FORMER), about.described(tree).layout
    former = {str(one) for one in noted} if isinstance(noted, list) else set[str]()
    if told is not None and told != layout and told not in former:
        former.add(told)
        manifest.set_meta({FORMER: sorted(former)})
    known = [Layout.parse(one) for one in sorted({layout} | former)]
    return known, Layout.parse(DEFAULT_LAYOUT) if told is None else None
