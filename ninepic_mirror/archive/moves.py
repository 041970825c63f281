"""The journal of moves and removals in a manifest (DESIGN §6, Moves).

Before a file that a row calls present is renamed, a committed transaction writes into its row where it goes. What is
found in the journal when a pass starts, a crash left there.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final

from msgspec import Struct

from ninepic_mirror.archive.files import split
from ninepic_mirror.archive.manifest import Manifest, now
from ninepic_mirror.archive.placement import top_folder

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from ninepic_mirror.model import Variant

_CHUNK: Final = 500  # rows a query, where a result is worked on while the manifest changes
_OWN: Final = ".ninepic-mirror/"  # no photos are looked for there, and no sums are written
# What is not there, or perhaps not: of photos that left only what was kept in its place. Each half has its index;
# CROSS keeps SQLite from reading all files instead (a million rows: 0.01 s for 0.3).
_LACKING: Final = f"""(
    SELECT size, sha256, path, 0 AS is_gone FROM files WHERE state IN ('pending', 'failed') AND sha256 IS NOT NULL
    UNION ALL SELECT size, sha256, path, 1 FROM photos CROSS JOIN files USING (image_id)
        WHERE gone_since IS NOT NULL AND state = 'gone' AND sha256 IS NOT NULL AND substr(path, 1, {len(_OWN)}) <> '{_OWN}'
)"""


class Misplaced(Struct, frozen=True):
    """A present file whose photo may belong elsewhere by now."""

    image_id: str
    variant: Variant
    path: str
    taken: int | None
    sha256: str


class Move(Struct, frozen=True, gc=False):
    """One file on its way; paths are relative to the event folder.

    Args:
        sha256: What its row says of it, None for a file that was never had.
    """

    image_id: str
    variant: Variant
    source: str
    target: str
    sha256: str | None


class Moves:
    """Records moves and removals.

    Args:
        manifest: Open; every method that changes it runs in a transaction of its own.
    """

    def __init__(self, manifest: Manifest) -> None:
        self._manifest = manifest

    def begin(self, moves: Iterable[Move]) -> None:
        """Journal moves before they are made."""
        with self._manifest.transaction():
            self._manifest.change_each(
                "UPDATE files SET moving_to = ? WHERE image_id = ? AND variant = ?",
                [(move.target, move.image_id, move.variant) for move in moves],
            )

    def under_way(self) -> list[Move]:
        """Return the journal."""
        found = self._manifest.rows(
            "SELECT image_id, variant, path, moving_to, sha256 FROM files WHERE moving_to IS NOT NULL"
        )
        return [Move(*row) for row in found]  # type: ignore[arg-type]  # the columns are the fields, in order

    def end(self, moves: Iterable[Move], places: Iterable[str | None]) -> None:
        """Moves were made and synced.

        Args:
            moves: What the journal named.
            places: Where each file stands now; None: at neither place. Then a present one is to be had again.
        """
        with self._manifest.transaction():
            for move, place in zip(moves, places, strict=True):
                key = [move.image_id, move.variant]
                touch(self._manifest, (move.source, move.target))
                if place is not None:
                    vouch(self._manifest, [place])
                    self._manifest.change(
                        "UPDATE files SET path = ?, folder = ?, moving_to = NULL WHERE image_id = ? AND variant = ?",
                        [place, split(place)[0], *key],
                    )
                    continue
                # A gone one without a place is done with: it must not be asked for the trash for ever.
                self._manifest.change(
                    "UPDATE files SET path = NULL, folder = NULL, moving_to = NULL, queued = 0,"
                    " state = CASE state WHEN 'present' THEN 'pending' ELSE state END"
                    " WHERE image_id = ? AND variant = ?",
                    key,
                )

    # --- misplaced -----------------------------------------------------------------------------------------------

    def misplaced(self) -> tuple[list[str], list[Misplaced]]:
        """Return some photos that may belong elsewhere by now, and their present files.

        `placed_right` takes the photos off the list.
        """
        photos = [
            str(row[0])
            for row in self._manifest.rows(
                f"SELECT image_id FROM photos WHERE misplaced LIMIT {_CHUNK}"
            )
        ]
        marks = ",".join("?" * len(photos))
        found = self._manifest.rows(
            "SELECT image_id, variant, path, taken, sha256 FROM photos JOIN files USING (image_id)"
            f" WHERE image_id IN ({marks}) AND state = 'present'",
            photos,
        )
        return photos, [Misplaced(*row) for row in found]  # type: ignore[arg-type]  # the columns are the fields, in order

    def placed_right(self, photos: Iterable[str]) -> None:
        """These photos' files stand where they belong."""
        with self._manifest.transaction():
            self._manifest.change_each(
                "UPDATE photos SET misplaced = 0 WHERE image_id = ?",
                [(image_id,) for image_id in photos],
            )

    # --- gone ----------------------------------------------------------------------------------------------------

    def mark_gone(self) -> int:
        """Mark the missed photos and their files gone; return how many files."""
        with self._manifest.transaction():
            files = self._manifest.change(
                "UPDATE files SET state = 'gone' WHERE state <> 'forgotten'"
                " AND image_id IN (SELECT image_id FROM photos WHERE missed)"
            )
            self._manifest.change("UPDATE sums SET stale = 1 WHERE filled")
            self._manifest.change(
                "UPDATE photos SET gone_since = ?, missed = 0 WHERE missed", [now()]
            )
        return files

    def gone_in_place(
        self, before: int, trash: str
    ) -> Sequence[tuple[str, Variant, str, str | None]]:
        """Return id, variant, path and hash of some files of photos gone since before `before`, not in the trash yet."""
        found = self._manifest.rows(
            "SELECT image_id, variant, path, sha256 FROM photos JOIN files USING (image_id)"
            " WHERE gone_since < ? AND state = 'gone' AND path IS NOT NULL AND substr(path, 1, ?) <> ?"
            f" AND moving_to IS NULL LIMIT {_CHUNK}",
            [before, len(trash), trash],
        )
        return [tuple(row) for row in found]  # type: ignore[misc]  # texts, by the schema

    def lacking_sizes(self, sizes: Iterable[int]) -> set[int]:
        """Return those of the sizes that a file has which may be lacking."""
        found = self._manifest.rows(
            f"SELECT DISTINCT size FROM {_LACKING} WHERE size IN (SELECT value FROM json_each(?))",
            [json.dumps([*sizes])],
        )
        return {size for (size,) in found if isinstance(size, int)}

    def lacking(
        self, hashes: Iterable[str], places: Iterable[str]
    ) -> Iterator[tuple[str, str, bool]]:
        """Yield SHA-256 and place, if one is known, of files that may be lacking and have one of these hashes or places.

        The third is True for one of a photo that left, which may well stand there whole: only its file tells.
        """
        for sha256, path, is_gone in self._manifest.each(
            f"SELECT sha256, path, is_gone FROM {_LACKING} WHERE sha256 IN (SELECT value FROM json_each(?))"
            " OR path IN (SELECT value FROM json_each(?))",
            [json.dumps([*hashes]), json.dumps([*places])],
        ):
            yield str(sha256), str(path or ""), bool(is_gone)

    def twins(self, trashed: Sequence[str]) -> Iterator[tuple[str, str, str]]:
        """Yield places in the trash at which a row has a file, a place where another has the same bytes, their SHA-256."""
        folders = {split(path)[0] for path in trashed}
        for path, stands, sha256 in self._manifest.each(
            "SELECT gone.path, files.path, gone.sha256 FROM files AS gone JOIN files USING (xxh3_128, sha256)"
            " WHERE gone.folder IN (SELECT value FROM json_each(?)) AND gone.path IN (SELECT value FROM json_each(?))"
            " AND gone.state = 'gone' AND files.state = 'present'",
            [json.dumps([*folders]), json.dumps([*trashed])],
        ):
            yield str(path), str(stands), str(sha256)

    def left(self, trashed: Sequence[str]) -> Iterator[str]:
        """Yield those places in the trash at which a photo that left has its file."""
        folders = {split(path)[0] for path in trashed}
        for (path,) in self._manifest.each(
            "SELECT path FROM files WHERE folder IN (SELECT value FROM json_each(?))"
            " AND path IN (SELECT value FROM json_each(?)) AND state = 'gone'",
            [json.dumps([*folders]), json.dumps([*trashed])],
        ):
            yield str(path)

    def forget_places(self, prefix: str, but: Iterable[str]) -> None:
        """The files of gone photos below this path are deleted for good, but for some."""
        with self._manifest.transaction():
            self._manifest.change(
                "UPDATE files SET path = NULL, folder = NULL WHERE state = 'gone' AND substr(path, 1, ?) = ?"
                " AND path NOT IN (SELECT value FROM json_each(?))",
                [len(prefix), prefix, json.dumps([*but])],
            )


def touch(manifest: Manifest, paths: Iterable[str]) -> None:
    """Note, within a transaction, that the folders of these paths changed.

    Their names are to be compared, and the SHA256SUMS above them to be written anew.
    """
    folders = {split(path)[0] for path in paths if not path.startswith(_OWN)}
    manifest.change_each(
        "INSERT INTO folders VALUES (?, NULL) ON CONFLICT DO UPDATE SET mtime_ns = NULL",
        [(folder,) for folder in folders],
    )
    manifest.change_each(
        "INSERT INTO sums (folder, stale, filled) VALUES (?, 1, 1) ON CONFLICT DO UPDATE SET stale = 1, filled = 1",
        [(top,) for top in {top_of(folder) for folder in folders}],
    )


def vouch(manifest: Manifest, paths: Iterable[str]) -> None:
    """Note, within a transaction, that rows vouch for these files from now on: what was named there is done with."""
    manifest.change_each("DELETE FROM named WHERE path = ?", [(path,) for path in paths])


def top_of(folder: str) -> str:
    """Return the top-level folder that a folder lies in or is."""
    return top_folder(f"{folder}/-") if folder else ""
