"""Which files without a row may be a photo's: by their places, and by what SHA256SUMS say of them.

A whole picture at a photo's place may be anybody's, an edited copy say. So only the names count that a pass gives, and
nothing is taken that contradicts a hash which is known of the photo's file: its row's, or that of a line.

While a manifest is built over an old mirror no row tells where its files stand, and layout, zone or hours may be others
by now. A layout's paths tell variant and photo, whatever the hour. So a file at any place of its photo, by any layout
that is known here, is taken if its line has its hash and no other place of the photo has a line that says otherwise.

What lies in the trash under a photo's name may be a replaced picture. It is never taken for that alone; but where the
photo was never had it may be all that is left of it, and is kept for a person to look at.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Final

from msgspec import Struct

from ninepic_mirror.archive import about
from ninepic_mirror.archive.content import EXTENSIONS
from ninepic_mirror.archive.forgotten import FORMER
from ninepic_mirror.archive.placement import Layout, safe_name
from ninepic_mirror.config.layout import DEFAULT_LAYOUT

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Sequence

    from ninepic_mirror.archive.files import Tree
    from ninepic_mirror.archive.manifest import Manifest
    from ninepic_mirror.model import Variant

_MARKS: Final = ",".join("?" * len(EXTENSIONS))
NUMBER: Final = re.compile(r"\.\d+$")  # behind a second file of one name, see `Store.trash_place`
NAMESAKE: Final = (
    "in the trash, under the name of a photo that could not be had; look at it, and if it is the photo"
    " copy it to its place: the next sync takes it in"
)
_UNHAD: Final = (
    "SELECT image_id, variant FROM files WHERE state IN ('pending', 'failed') AND sha256 IS NULL"
)


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
        held: What SHA256SUMS say of the file where its row last knew it, None where nothing is noted.
    """

    here: tuple[Stray, ...] = ()
    said: frozenset[str] = frozenset()
    elsewhere: tuple[Stray, ...] = ()
    held: str | None = None

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

    def has_unhad(self) -> bool:
        """Whether there is a file to be had that never was, so that no hash is known of it."""
        return bool(self._manifest.rows(f"{_UNHAD} LIMIT 1"))

    def namesakes(
        self, paths: Iterable[str], layouts: Iterable[Layout], usual: Layout | None = None
    ) -> list[str]:
        """Return which files of the trash lie there under the name of a photo that is to be had, and never was.

        Args:
            paths: As they are in the event folder.
            layouts: By which they may have come there (`known_layouts`).
            usual: Likewise, for paths that none of these could have given.
        """
        if not self.has_unhad():
            return []
        layouts, owned = tuple(layouts), dict[tuple[str, str], list[str]]()
        for path in paths:
            place = path.split("/", 3)[-1]  # behind our own folder, the trash and the day
            for owner in owners(NUMBER.sub("", place), layouts, usual):
                owned.setdefault(owner, []).append(path)
        unhad = self._unhad({name for _, name in owned})
        return [path for owner in unhad for path in owned.get(owner, ())]

    def _unhad(self, names: Collection[str]) -> set[tuple[str, str]]:
        """Return variant and name of the files to be had that never were, of photos with these names."""
        kept = json.dumps(
            [name for name in names if "~" not in name]
        )  # such a name is the id itself
        query = f"{_UNHAD} AND image_id IN (SELECT value FROM json_each(?))"
        found = {(str(variant), str(name)) for name, variant in self._manifest.each(query, [kept])}
        if any("~" in name for name in names):
            for image_id, variant in self._manifest.each(_UNHAD):
                if (name := safe_name(str(image_id))) in names:
                    found.add((str(variant), name))
        return found

    def said(self, path: str) -> str | None:
        """Return the hash that is noted of a file which no row vouches for."""
        found = self._manifest.rows("SELECT sha256 FROM named WHERE path = ?", [path])
        return str(found[0][0]) if found else None

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
        found = owners(path, self._layouts, self._usual)
        return found.pop() if len(found) == 1 else None


def owners(path: str, layouts: Sequence[Layout], usual: Layout | None) -> set[tuple[str, str]]:
    """Return variant and name of the photos of which a path may be: of several, where layouts read it differently."""
    stem, dot, ext = path.rpartition(".")
    if dot + ext not in EXTENSIONS:
        return set()
    found = {owner for layout in layouts if (owner := layout.whose(stem))}
    if not found and usual is not None and (owner := usual.whose(stem)):
        found = {owner}
    return found


def known_layouts(
    manifest: Manifest, tree: Tree, layout: str, *, remember: bool = True
) -> tuple[list[Layout], Layout | None]:
    """Return the layouts by which files may stand here, and where nothing tells one, the usual one (`look_elsewhere`).

    Args:
        manifest: Open.
        tree: The event folder.
        layout: The configured one.
        remember: That of `event.json`, because a pass writes it anew.

    Raises:
        StorageError: The manifest cannot be written.
    """
    noted, told = manifest.meta(FORMER), about.described(tree).layout
    former = {str(one) for one in noted} if isinstance(noted, list) else set[str]()
    if told is not None and told != layout and told not in former:
        former.add(told)
        if remember:
            manifest.set_meta({FORMER: sorted(former)})
    known = [Layout.parse(one) for one in sorted({layout} | former)]
    return known, Layout.parse(DEFAULT_LAYOUT) if told is None else None
