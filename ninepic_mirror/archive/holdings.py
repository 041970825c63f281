"""The file side of a manifest: what is wanted, what is there. What is on the move: `moves`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from msgspec import Struct

from ninepic_mirror.archive import sums
from ninepic_mirror.archive.files import split
from ninepic_mirror.archive.forgotten import Veil
from ninepic_mirror.archive.lines import Lines
from ninepic_mirror.archive.manifest import Manifest, now
from ninepic_mirror.archive.moves import Moves, top_of, touch, vouch
from ninepic_mirror.archive.patience import HAS_FAILED, IS_RESTING, any_failed, clock
from ninepic_mirror.archive.records import Job
from ninepic_mirror.archive.strays import Strays
from ninepic_mirror.model import Known

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Sequence

    from ninepic_mirror.archive.files import Tree
    from ninepic_mirror.archive.verify import Fault
    from ninepic_mirror.model import Variant

_CHUNK: Final = 500  # rows a query, where a result is worked on while the manifest changes


class Placed(Struct, frozen=True, gc=False):
    """A file that stands at its final place, safely on disk; the fields are those of the table `files`.

    Args:
        is_link: It is a second name of equal bytes.
        was_fetched: It came over the network, and was not found on this disk.
    """

    image_id: str
    variant: Variant
    path: str
    size: int
    xxh3_128: str
    sha256: str
    etag: str | None = None
    last_modified: str | None = None
    is_link: bool = False
    was_fetched: bool = True


class Holdings:
    """Records files for one pass.

    Args:
        manifest: Open; every method that changes it runs in transactions of its own.
        number: The pass.
        patient: Leave files alone that could not be had lately (`patience`).

    Attributes:
        moves: The journal of moves and removals.
        strays: Files without a row that may be photos'.
        lines: What SHA256SUMS say of files that no row vouches for.
    """

    def __init__(self, manifest: Manifest, number: int, *, patient: bool = False) -> None:
        self._manifest, self._pass = manifest, number
        self._clock = clock(patient=patient)
        self._wanted: tuple[str, str] = ("", "")  # the last of the rows that `want` has returned
        self._has_more_before = False  # it began in the middle, and has not come round yet
        self.moves, self.strays, self.lines = Moves(manifest), Strays(manifest), Lines(manifest)
        manifest.change(
            "CREATE TEMP TABLE IF NOT EXISTS seen (path TEXT PRIMARY KEY) WITHOUT ROWID"
        )
        manifest.change(
            "CREATE TEMP TABLE IF NOT EXISTS strays (path TEXT PRIMARY KEY) WITHOUT ROWID"
        )

    # --- wanted --------------------------------------------------------------------------------------------------

    def want(
        self,
        variants: Sequence[Variant],
        first: int | None = None,
        last: int | None = None,
        *,
        tried: bool | None = None,
    ) -> list[Job]:
        """Take up to 500 wanted files that this pass has not taken up yet; an empty answer starts over.

        Args:
            variants: The configured ones.
            first: Only photos taken from here on (epoch seconds), None for all.
            last: ... and before here.
            tried: Only files that failed by themselves (`patience`), from any one of them on and once round; or only
                the others.
        """
        if tried and not any(self._wanted):
            self._wanted = any_failed(self._manifest)
            self._has_more_before = any(self._wanted)
        with self._manifest.transaction():
            found = self._take(variants, first, last, tried=tried, most=_CHUNK)
            if self._has_more_before and len(found) < _CHUNK:  # the end: on from the start
                self._has_more_before, self._wanted = False, ("", "")
                found += self._take(variants, first, last, tried=tried, most=_CHUNK - len(found))
            self._wanted = _key(found[-1] if found else None)
        return found

    def _take(
        self,
        variants: Sequence[Variant],
        first: int | None,
        last: int | None,
        *,
        tried: bool | None,
        most: int,
    ) -> list[Job]:
        """Take up wanted files behind the last one, see `want`."""
        marks = ",".join("?" * len(variants))
        span = "" if first is None else " AND photos.taken >= ? AND photos.taken < ?"
        chosen = "" if tried is None else f" AND {HAS_FAILED} = {tried:d}"
        values = [] if first is None or last is None else [first, last]
        found = self._manifest.rows(
            "SELECT image_id, variant, taken, url, width, height, path, sha256, doubted"
            " FROM files JOIN photos USING (image_id)"
            f" WHERE state IN ('pending', 'failed') AND variant IN ({marks}) AND queued < ?"
            # an original's address is leased when its turn comes
            f" AND gone_since IS NULL AND (url IS NOT NULL OR variant = 'original'){span} AND NOT {IS_RESTING}{chosen}"
            # from where the last answer ended: from the start, a million rows would be passed thousands of times
            f" AND (image_id, variant) > (?, ?) ORDER BY image_id, variant LIMIT ?",
            [*variants, self._pass, *values, self._clock, *self._wanted, most],
        )
        self._manifest.change_each(
            "UPDATE files SET queued = ? WHERE image_id = ? AND variant = ?",
            [(self._pass, row[0], row[1]) for row in found],
        )
        return [Job(*row[:8], doubted=bool(row[8])) for row in found]  # type: ignore[arg-type, misc]  # the columns are the fields, in order

    def to_give_back(self, variants: Sequence[Variant]) -> list[Job]:
        """Return up to 500 files that may still lie where their rows say, of photos that are listed, once in a pass.

        Args:
            variants: Those of which nothing is fetched, because they are not configured any more.
        """
        marks = ",".join("?" * len(variants))
        with self._manifest.transaction():
            found = self._manifest.rows(
                "SELECT image_id, variant, taken, NULL, width, height, path, sha256"
                " FROM files JOIN photos USING (image_id)"
                f" WHERE state IN ('pending', 'failed') AND variant IN ({marks}) AND queued < ?"
                f" AND path IS NOT NULL AND sha256 IS NOT NULL AND NOT doubted AND gone_since IS NULL LIMIT {_CHUNK}",
                [*variants, self._pass],
            )
            self._manifest.change_each(
                "UPDATE files SET queued = ? WHERE image_id = ? AND variant = ?",
                [(self._pass, row[0], row[1]) for row in found],
            )
        return [Job(*row) for row in found]  # type: ignore[arg-type]  # the columns are the fields, in order

    def put_back(self, image_ids: Iterable[str]) -> None:
        """These originals were taken up, and are to be wanted again by this pass."""
        with self._manifest.transaction():
            self._manifest.change_each(
                "UPDATE files SET queued = 0 WHERE image_id = ? AND variant = 'original'",
                [(image_id,) for image_id in image_ids],
            )

    # --- rechecked -----------------------------------------------------------------------------------------------

    def to_recheck(
        self, variants: Sequence[Variant], after: Job | None, span: tuple[int, int] | None
    ) -> list[Job]:
        """Return up to 500 files that are here and whose photo may have been replaced, by id and variant.

        Not those that came over the network in this very pass, nor those that it asked for as it listed them
        (`Listings`). One without an address, except an original, cannot be asked for.

        Args:
            variants: The configured ones.
            after: The last job of the answer before, None for the first.
            span: Only photos taken in it, `[from, to)` in epoch seconds; None: all.
        """
        # The signs keep SQLite from sorting all photos of the span for each answer.
        taken = "" if span is None else " AND +photos.taken >= ? AND +photos.taken < ?"
        found = self._manifest.rows(
            "SELECT image_id, variant, taken, url, width, height, path, sha256, etag, last_modified"
            " FROM files JOIN photos USING (image_id)"
            f" WHERE state = 'present' AND variant IN ({','.join('?' * len(variants))}) AND gone_since IS NULL"
            f" AND queued < ?{taken}"
            f" AND (image_id, variant) > (?, ?) ORDER BY image_id, variant LIMIT {_CHUNK}",
            [*variants, self._pass, *(span or ()), *_key(after)],
        )
        return [Job(*row[:8], Known(*row[8:])) for row in found]  # type: ignore[arg-type, call-arg]  # the columns are the fields, in order

    def renounce(self, jobs: Iterable[Job]) -> None:
        """These files are about to be replaced: their rows leave `present` before anything is touched (DESIGN §6)."""
        with self._manifest.transaction():
            self._manifest.change_each(
                "UPDATE files SET state = 'pending', queued = ? WHERE image_id = ? AND variant = ? AND state = 'present'",
                [(self._pass, job.image_id, job.variant) for job in jobs],
            )

    def revalidate(self, files: Iterable[tuple[Job, Known]]) -> None:
        """These files came again and are what they were: only what the origin compares is another."""
        with self._manifest.transaction():
            self._manifest.change_each(
                "UPDATE files SET etag = ?, last_modified = ? WHERE image_id = ? AND variant = ?",
                [
                    (known.etag, known.last_modified, job.image_id, job.variant)
                    for job, known in files
                ],
            )

    # --- committed -----------------------------------------------------------------------------------------------

    def commit(self, placed: Iterable[Placed], failed: Iterable[tuple[str, Variant, str]]) -> None:
        """Record a batch in one transaction. Every file of `placed` is on disk, and so is its name.

        Args:
            placed: What is present from now on.
            failed: `image_id`, variant and reason of what could not be had.
        """
        with self._manifest.transaction():
            files = list(placed)
            self._manifest.change_each(
                "UPDATE files SET path = ?, folder = ?, size = ?, xxh3_128 = ?, sha256 = ?, etag = ?,"
                " last_modified = ?, state = 'present', doubted = 0, attempts = 0, error = NULL, fetched_at = ?, verified_at = NULL,"
                # of one that was found here the origin was not asked in this pass
                " queued = iif(?, queued, 0) WHERE image_id = ? AND variant = ?",
                [
                    (
                        file.path, split(file.path)[0], file.size, file.xxh3_128, file.sha256, file.etag,
                        file.last_modified, now(), file.was_fetched, file.image_id, file.variant,
                    )
                    for file in files
                ],
            )  # fmt: skip
            touch(self._manifest, (file.path for file in files))
            vouch(self._manifest, (file.path for file in files))
            self._manifest.change_each(
                "UPDATE files SET state = 'failed', attempts = attempts + 1, error = ?"
                " WHERE image_id = ? AND variant = ? AND state <> 'present'",
                [(reason, image_id, variant) for image_id, variant, reason in failed],
            )

    def equal(self, xxh3_128: str, size: int, sha256: str) -> list[str]:
        """Return where files with these very bytes stand, at most three."""
        found = self._manifest.rows(
            "SELECT path FROM files WHERE xxh3_128 = ? AND state = 'present' AND size = ? AND sha256 = ?"
            " AND moving_to IS NULL LIMIT 3",
            [xxh3_128, size, sha256],
        )
        return [str(row[0]) for row in found]

    def others(self, places: Iterable[tuple[str, Job]]) -> set[str]:
        """Return those of the places at which jobs last knew their files that are another file's by now.

        After a change of layout a file may stand where one of another variant stood.
        """
        statement = (
            "SELECT path FROM files WHERE folder = ? AND path = ? AND state = 'present'"
            " AND (image_id, variant) <> (?, ?) LIMIT 1"
        )
        return {
            path
            for path, job in places
            if self._manifest.rows(statement, [split(path)[0], path, job.image_id, job.variant])
        }

    def has_at(self, path: str, sha256: str | None) -> bool:
        """Say whether a place is that of a present file, or of a row in whatever state that has these bytes there."""
        statement = (
            "SELECT 1 FROM files WHERE folder = ? AND path = ? AND (state = 'present' OR sha256 = ?)"
            " LIMIT 1"
        )
        return bool(self._manifest.rows(statement, [split(path)[0], path, sha256]))

    def known(self, names: Collection[str]) -> set[str]:
        """Return which of these texts, as many as one answer of the service holds, are ids of photos.

        Also of those that were to be forgotten, whose rows do not have their ids any more.
        """
        statement, veil = "SELECT 1 FROM photos WHERE image_id = ?", Veil.of(self._manifest)
        return {
            name for name in names if veil.hides(name) or self._manifest.rows(statement, [name])
        }

    # --- on disk or not ------------------------------------------------------------------------------------------

    def folders(self) -> list[tuple[str, int | None]]:
        """Return every folder of ours with the modification time at which its names were last compared."""
        found = self._manifest.rows("SELECT path, mtime_ns FROM folders ORDER BY path")
        return [(str(path), mtime if isinstance(mtime, int) else None) for path, mtime in found]

    def compare(
        self, folder: str, mtime_ns: int | None, names: Iterable[str], *, final: bool
    ) -> int:
        """Compare the names in a folder with the rows: what is missing becomes pending, the rest a stray.

        Args:
            folder: Relative path.
            mtime_ns: Its modification time, taken before `names` was read; None: there is no such folder.
            names: What it holds, without folders.
            final: The pass has adopted what it could. Before, a folder with strays is looked at again by the next
                pass, should this one be cut off.

        Returns:
            How many files are missing.
        """
        manifest = self._manifest
        prefix = f"{folder}/" if folder else ""
        with manifest.transaction():
            manifest.change("DELETE FROM seen")
            manifest.change_each(
                "INSERT OR IGNORE INTO seen VALUES (?)", [(prefix + name,) for name in names]
            )
            missing = manifest.change(
                "UPDATE files SET state = 'pending', queued = 0 WHERE folder = ? AND state = 'present'"
                " AND path NOT IN (SELECT path FROM seen)",
                [folder],
            )
            manifest.change(
                "INSERT OR IGNORE INTO strays SELECT path FROM seen"
                " WHERE path NOT IN (SELECT path FROM files WHERE folder = ?)",
                [folder],
            )
            if missing or self._named_are_gone(folder):
                manifest.change(
                    "UPDATE sums SET stale = 1 WHERE filled AND folder = ?", [top_of(folder)]
                )
            strays = not final and self._has_strays(folder)
            manifest.change(
                "INSERT INTO folders VALUES (?, ?) ON CONFLICT DO UPDATE SET mtime_ns = excluded.mtime_ns",
                [folder, None if strays else mtime_ns],
            )
        return missing

    def _named_are_gone(self, folder: str) -> bool:
        """Whether SHA256SUMS names a file of a folder that is gone, though no row called it present."""
        gone = "path NOT IN (SELECT path FROM seen)"
        return bool(
            self._manifest.rows(
                f"SELECT 1 FROM files WHERE folder = ? AND state <> 'present' AND sha256 IS NOT NULL AND {gone}"
                # '0' is the character behind '/'; a file further down costs no more than sums written for nothing
                f" UNION ALL SELECT 1 FROM named WHERE path > ? AND path < ? AND {gone} LIMIT 1",
                [folder, f"{folder}/" if folder else "", f"{folder}0" if folder else "\x7f"],
            )
        )

    def _has_strays(self, folder: str) -> bool:
        return bool(
            self._manifest.rows(
                "SELECT 1 FROM seen WHERE path NOT IN (SELECT path FROM files WHERE folder = ?) LIMIT 1",
                [folder],
            )
        )

    def tops(self) -> list[str]:
        """Return the top-level folders whose SHA256SUMS should stand, because they say what the manifest says."""
        return sums.tops(self._manifest)

    def sums_fault(self, tree: Tree, top: str, *, thorough: bool) -> Fault | None:
        """Say what is wrong with the SHA256SUMS of a top-level folder, see `sums.blame`."""
        return sums.blame(tree, self._manifest, top, thorough=thorough)

    def stale_sums(self, tops: Iterable[str]) -> None:
        """These top-level folders' SHA256SUMS are to be written anew."""
        with self._manifest.transaction():
            self._manifest.change_each(
                "UPDATE sums SET stale = 1 WHERE folder = ?", [(top,) for top in tops]
            )

    def forget_folder(self, folder: str) -> None:
        """A folder that holds nothing of ours any more is not looked at again."""
        with self._manifest.transaction():
            self._manifest.change(
                "DELETE FROM folders WHERE path = ? AND NOT EXISTS (SELECT 1 FROM files WHERE folder = ?)",
                [folder, folder],
            )

    def present(self, folder: str) -> Iterator[list[tuple[str, str, str, int]]]:
        """Yield, in chunks, `image_id`, variant, path and size of the present files of one folder."""
        after: tuple[str, str] = ("", "")
        while True:
            found = self._manifest.rows(
                "SELECT image_id, variant, path, size FROM files WHERE folder = ? AND state = 'present'"
                f" AND (image_id, variant) > (?, ?) ORDER BY image_id, variant LIMIT {_CHUNK}",
                [folder, *after],
            )
            if not found:
                return
            after = (str(found[-1][0]), str(found[-1][1]))
            yield [
                (str(a), str(b), str(c), d if isinstance(d, int) else -1) for a, b, c, d in found
            ]

    def lost(self, folder: str, files: Sequence[tuple[str, str]]) -> None:
        """These files (`image_id`, variant) of a folder are not what their rows say: have them again."""
        if not files:
            return  # most of the time; its sums are not written anew for nothing
        with self._manifest.transaction():
            self._manifest.change_each(
                "UPDATE files SET state = 'pending', queued = 0 WHERE image_id = ? AND variant = ?",
                files,
            )
            self._manifest.change("UPDATE sums SET stale = 1 WHERE folder = ?", [top_of(folder)])

    def correct(self, key: tuple[str, str], path: str, xxh3_128: str, sha256: str) -> None:
        """Correct the hashes of a row that is known to be wrong where its file is right."""
        with self._manifest.transaction():
            self._manifest.change(
                "UPDATE files SET sha256 = ?, xxh3_128 = ? WHERE image_id = ? AND variant = ? AND path = ?",
                [sha256, xxh3_128, *key, path],
            )
            touch(self._manifest, [path])

    def has_strays(self) -> bool:
        """Whether any file without a row was seen in this pass."""
        return bool(self._manifest.rows("SELECT 1 FROM strays LIMIT 1"))

    def wanted(self) -> Iterator[tuple[str, Variant]]:
        """Yield `image_id` and variant of every file that is still to be had, of whatever variant."""
        for image_id, variant in self._manifest.each(
            "SELECT image_id, variant FROM files WHERE state IN ('pending', 'failed')"
        ):
            yield str(image_id), variant  # type: ignore[misc]  # a variant, by the schema

    def misplace_all(self) -> None:
        """Layout or zone changed: every photo is to be looked at."""
        with self._manifest.transaction():
            self._manifest.change("UPDATE photos SET misplaced = 1")

    def misplace(self, photos: Iterable[str]) -> None:
        """These photos' files stand where they do not belong: the pass moves them."""
        with self._manifest.transaction():
            self._manifest.change_each(
                "UPDATE photos SET misplaced = 1 WHERE image_id = ?",
                [(image_id,) for image_id in photos],
            )

    def disbelieve(self, photos: Iterable[str]) -> None:
        """Bytes of these photos are damaged: what a delivery read there of their cameras is to be read again."""
        with self._manifest.transaction():
            self._manifest.change_each(
                "DELETE FROM cameras WHERE image_id = ?", [(image_id,) for image_id in photos]
            )

    def changed(self, paths: Iterable[str]) -> None:
        """Files came to or left these places: their folders are to be compared."""
        with self._manifest.transaction():
            touch(self._manifest, paths)


def _key(job: Job | None) -> tuple[str, str]:
    return ("", "") if job is None else (job.image_id, job.variant)
