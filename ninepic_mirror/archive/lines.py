"""What the SHA256SUMS on disk say of files that no row vouches for: the table `named`.

They are the record outside `.ninepic-mirror/`: of what a lost manifest knew, and of what an older copy does not know yet.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from ninepic_mirror.archive import sums
from ninepic_mirror.archive.faults import ABSENT, UNREADABLE
from ninepic_mirror.archive.partial import read_hashes
from ninepic_mirror.errors import MirrorError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator

    from ninepic_mirror.archive.files import Tree
    from ninepic_mirror.archive.manifest import Manifest
    from ninepic_mirror.archive.partial import Digest
    from ninepic_mirror.model import Variant

_CHUNK: Final = 500  # rows a query, where the manifest changes meanwhile
_TOP: Final = "substr(path, 1, max(0, instr(path, '/') - 1))"

_VOUCHED: Final = "DELETE FROM named WHERE path IN (SELECT path FROM files WHERE state = 'present')"


class _Contradicted(NamedTuple):
    """A present file of which its row and its line say different hashes."""

    image_id: str
    variant: Variant
    path: str
    row: str
    line: str


class Lines:
    """Keeps them for one pass.

    Args:
        manifest: Open; every method but `expect` runs in transactions of its own.
    """

    def __init__(self, manifest: Manifest) -> None:
        self._manifest = manifest
        manifest.change(
            "CREATE TEMP TABLE IF NOT EXISTS lines (path TEXT PRIMARY KEY, sha256 TEXT) WITHOUT ROWID"
        )

    def name(self, lines: Iterable[tuple[str, str]]) -> None:
        """Keep what the SHA256SUMS on disk say of files that no row vouches for.

        A new manifest over an old mirror would otherwise write them anew from its own few rows, and lose the only
        record of what the other files were.

        Args:
            lines: Path and SHA-256, of any number.
        """
        with self._manifest.transaction():
            # what is noted there already is no older (`expect`)
            self._manifest.change_each("INSERT OR IGNORE INTO named VALUES (?, ?)", lines)
            self._manifest.change(_VOUCHED)

    def has_any(self) -> bool:
        """Whether anything is kept."""
        return bool(self._manifest.rows("SELECT 1 FROM named LIMIT 1"))

    def name_strays(self, tree: Tree) -> None:
        """Keep what the SHA256SUMS above them say of the strays: such a file is taken only with its hash. Raises OSError."""
        tops = self._manifest.rows(f"SELECT DISTINCT {_TOP} FROM strays")
        for (top,) in tops:
            strays = {
                row[0]
                for row in self._manifest.each(f"SELECT path FROM strays WHERE {_TOP} = ?", [top])
            }
            lines = [line for line in sums.lines_of(tree, str(top)) if line[0] in strays]
            with self._manifest.transaction():
                self._manifest.change_each("INSERT OR IGNORE INTO named VALUES (?, ?)", lines)

    def expect(self, lines: Iterable[tuple[str, str]]) -> None:
        """Keep, within a transaction, what files will be whose rows have another hash until they are committed.

        Cut off before that, the next pass knows them by it.

        Args:
            lines: Path and SHA-256.
        """
        self._manifest.change_each("INSERT OR REPLACE INTO named VALUES (?, ?)", lines)

    def doubt(self, tree: Tree, variants: Collection[Variant], *, is_older: bool) -> int:
        """Look at each present file of which its SHA256SUMS says something else than its row.

        What it is decides. As its row says: the line was altered. As its line says: a manifest that is known to be an older
        copy is corrected; else either of them may be the wrong one, and a file that has its line's hash is easily forged,
        so the photo is had again, and nothing that stands here is taken for it (`files.doubted`). As neither says: to an
        older copy its line says what is to be had; else it is damaged, which `verify` finds.

        Args:
            tree: The event folder.
            variants: Those that are fetched.
            is_older: Passes were made that the manifest does not know.

        Returns:
            How many rows were not right, or may not be.

        Raises:
            OSError: As the system says.
        """
        manifest = self._manifest
        with manifest.transaction():
            manifest.change("DELETE FROM lines")
            manifest.change_each(
                "INSERT OR REPLACE INTO lines VALUES (?, ?)", sums.named_lines(tree)
            )
            # of files that no row vouches for; where one is to be had that is as its line says nothing need be kept
            manifest.change(
                "INSERT OR REPLACE INTO named SELECT path, sha256 FROM lines WHERE (path, sha256) NOT IN"
                " (SELECT path, sha256 FROM files WHERE state <> 'present' AND path IS NOT NULL AND sha256 IS NOT NULL)"
            )
            manifest.change(_VOUCHED)
        found = sum(
            self._decide(tree, one, is_older=is_older, is_fetched=one.variant in variants)
            for one in self._contradicted()
        )
        manifest.change("DELETE FROM lines")
        return found

    def _contradicted(self) -> Iterator[_Contradicted]:
        after = ("", "")
        while rows := self._manifest.rows(
            "SELECT image_id, variant, path, files.sha256, lines.sha256 FROM files CROSS JOIN lines USING (path)"
            " WHERE state = 'present' AND files.sha256 <> lines.sha256 AND (image_id, variant) > (?, ?)"
            f" ORDER BY image_id, variant LIMIT {_CHUNK}",
            [*after],
        ):
            found = [_Contradicted(*row) for row in rows]  # type: ignore[arg-type]  # by the schema
            after = (found[-1].image_id, found[-1].variant)
            yield from found

    def _decide(self, tree: Tree, one: _Contradicted, *, is_older: bool, is_fetched: bool) -> bool:
        """Read a file, see `doubt`; return whether its row was not right, or may not be."""
        here = _hashes(tree, one.path, one.variant)
        found = None if here is None else here.sha256
        if found == one.row:
            return False
        is_as_told = found == one.line
        with self._manifest.transaction():
            if is_older and here is not None and is_as_told:
                self._correct(one, here)
            elif is_older or (is_as_told and is_fetched):
                self._manifest.change(
                    "UPDATE files SET state = 'pending', queued = 0, sha256 = ?, doubted = ?"
                    " WHERE image_id = ? AND variant = ?",
                    [one.line, not is_older, one.image_id, one.variant],
                )
        return is_older or (is_as_told and is_fetched)

    def _correct(self, one: _Contradicted, here: Digest) -> None:
        """The file is what a pass that the manifest does not know has made of it; of that its origin told it anew."""
        self._manifest.change(
            "UPDATE files SET sha256 = ?, xxh3_128 = ?, size = ?, etag = NULL, last_modified = NULL"
            " WHERE image_id = ? AND variant = ?",
            [here.sha256, here.xxh3_128, here.size, one.image_id, one.variant],
        )


def _hashes(tree: Tree, path: str, variant: Variant) -> Digest | None:
    """Return what stands at a place, None where that is no whole photo, or nothing."""
    try:
        return read_hashes(tree, path, variant)
    except MirrorError:
        return None
    except OSError as error:
        if error.errno not in UNREADABLE | ABSENT:
            raise
        return None
