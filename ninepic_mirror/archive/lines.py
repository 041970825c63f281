"""What the SHA256SUMS on disk say of files that no row vouches for: the table `named`.

They are the record outside `.ninepic-mirror/`: of what a lost manifest knew, and of what an older copy does not know yet.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ninepic_mirror.archive import sums

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ninepic_mirror.archive.files import Tree
    from ninepic_mirror.archive.manifest import Manifest

_VOUCHED: Final = "DELETE FROM named WHERE path IN (SELECT path FROM files WHERE state = 'present')"


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
            # what is noted there already is no older (`doubt`, `expect`)
            self._manifest.change_each("INSERT OR IGNORE INTO named VALUES (?, ?)", lines)
            self._manifest.change(_VOUCHED)

    def has_any(self) -> bool:
        """Whether anything is kept."""
        return bool(self._manifest.rows("SELECT 1 FROM named LIMIT 1"))

    def take_in(self, tree: Tree) -> None:
        """Keep what every SHA256SUMS says of files that no row vouches for, and that it was read. Raises OSError."""
        sums.take_in(tree, self._manifest)  # first: what is altered meanwhile is read again
        self.name(sums.named_lines(tree))

    def name_strays(self, tree: Tree) -> None:
        """Keep what the SHA256SUMS above them say of the strays: such a file is taken only with its hash. Raises OSError."""
        tops = self._manifest.rows(
            "SELECT DISTINCT substr(path, 1, max(0, instr(path, '/') - 1)) FROM strays"
        )
        for (top,) in tops:
            with self._manifest.transaction():
                self._manifest.change_each(
                    "INSERT OR IGNORE INTO named SELECT path, ?2 FROM strays WHERE path = ?1",
                    sums.lines_of(tree, str(top)),
                )

    def expect(self, lines: Iterable[tuple[str, str]]) -> None:
        """Keep, within a transaction, what files will be whose rows have another hash until they are committed.

        Cut off before that, the next pass knows them by it.

        Args:
            lines: Path and SHA-256.
        """
        self._manifest.change_each("INSERT OR REPLACE INTO named VALUES (?, ?)", lines)

    def doubt(self, lines: Iterable[tuple[str, str]]) -> int:
        """The manifest may be an older copy: a file that SHA256SUMS names with another hash is looked at again.

        Its row says from now on what the line says, by which alone it may be had from anywhere else. What the row said
        is kept in `named`, in case it was the line that was altered: where it stands, the file is believed by either.

        Args:
            lines: Path and SHA-256, of any number.

        Returns:
            How many rows are no longer believed.
        """
        with self._manifest.transaction():
            self._manifest.change("DELETE FROM lines")
            self._manifest.change_each("INSERT OR REPLACE INTO lines VALUES (?, ?)", lines)
            self._manifest.change(
                "INSERT OR REPLACE INTO named SELECT path, sha256 FROM lines WHERE (path, sha256) NOT IN"
                # of these a pass that was cut off has kept what they said
                " (SELECT path, sha256 FROM files WHERE state <> 'present' AND path IS NOT NULL AND sha256 IS NOT NULL)"
            )
            self._manifest.change(
                "INSERT OR REPLACE INTO named SELECT path, files.sha256 FROM files CROSS JOIN lines USING (path)"
                " WHERE state = 'present' AND files.sha256 <> lines.sha256"
            )
            hash_now = "(SELECT lines.sha256 FROM lines WHERE lines.path = files.path)"
            doubted = self._manifest.change(
                f"UPDATE files SET state = 'pending', queued = 0, sha256 = {hash_now}"
                f" WHERE state = 'present' AND sha256 <> {hash_now}"
            )
            self._manifest.change(_VOUCHED)
            self._manifest.change("DELETE FROM lines")
        return doubted
