"""The manifest: one SQLite file for each event that records what is known and what is on disk.

A row in state `present` is true: it is committed only after its file was synced and renamed and its folder synced
(DESIGN §6.6). The connection belongs to one thread at a time; callers see to that (`sync` uses a limiter of one).
Passing from a lost or broken manifest to a new one is safe, because files are adopted where they stand.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import re
import sqlite3
import stat
import time
from contextlib import closing, contextmanager, nullcontext, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self, TypeVar

import msgspec

from ninepic_mirror.archive.faults import storage_error, translated
from ninepic_mirror.archive.files import open_regular, release
from ninepic_mirror.archive.meta import KEYS, nonsense
from ninepic_mirror.archive.schema import MIGRATIONS
from ninepic_mirror.archive.sqlite_errors import (
    REBUILD,
    ManifestError,
    UnreadableError,
    code_of,
    translated_sqlite,
)
from ninepic_mirror.errors import StorageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

NAME: Final = "manifest.sqlite3"
MOST_PASSES: Final = 1 << 53  # what says that there were more is damaged
_BUSY_SECONDS: Final = 10.0  # another reader of ours may hold the file for a moment
# Page cache. It holds the inner pages of a million photos; of the leaves, whose ids and hashes are random, not even
# four times as much holds enough to matter (measured). Sorting (SHA256SUMS) may take as much again.
_CACHE_KIB: Final = 4 * 1024
# Pages in the log before they are brought into the file: 16 MiB, four times the usual, because rows of random ids
# dirty a page each, and the fewer rounds, the more pages are written once for several changes.
_LOG_PAGES: Final = 4096

# Of SQLite's machine between two questions whether to go on: some milliseconds.
_STEPS: Final = 100_000

# What SQLite keeps beside a file, by the ends of their names.
LOGS: Final = ("-journal", "-wal", "-shm")
_KINDS: Final = {stat.S_IFDIR: "a folder", stat.S_IFLNK: "a symbolic link"}
_REBUILT: Final = ": it rebuilds the manifest from the files"

Value = str | int | float | None
Row = tuple[Value, ...]
_Kind = TypeVar("_Kind")


class Manifest:
    """An open manifest. Close it, or use it in a `with` block.

    Args:
        path: The SQLite file.
        connection: An open connection to it, in autocommit mode.
        migrations: What brings it from each version to the next.
    """

    def __init__(
        self, path: Path, connection: sqlite3.Connection, migrations: Sequence[str] = MIGRATIONS
    ) -> None:
        self.path = path
        self._connection = connection
        self._migrations = migrations

    @classmethod
    def open(
        cls, path: Path, *, durable: bool = True, migrations: Sequence[str] = MIGRATIONS
    ) -> Self:
        """Open a manifest to work with it; make it, or bring an older one forward.

        Args:
            path: The SQLite file.
            durable: False leaves the syncs to the system (`durability = "none"`).
            migrations: What brings it from each version to the next.

        Raises:
            StorageError: It cannot be opened, what stands there is no file, or a newer version of this program wrote it.
            ManifestError: It is damaged.
        """
        refuse_other(path)
        has_log = _size(Path(f"{path}-wal")) > 0
        manifest = cls(path, _connect(path, str(path)), migrations)
        try:
            manifest._prepare(durable=durable, has_log=has_log)
        except BaseException:
            manifest.close()
            raise
        return manifest

    def _prepare(self, *, durable: bool, has_log: bool) -> None:
        self.change(f"PRAGMA cache_size = -{_CACHE_KIB}")
        self.rows(f"PRAGMA wal_autocheckpoint = {_LOG_PAGES}")
        version = self.version()  # first: what a newer program wrote is not touched
        self.rows(
            "PRAGMA journal_mode = WAL"
        )  # stays what it was where the file system has no shared memory
        # FULL, not NORMAL: with NORMAL a power cut took 40 of 40 acknowledged rows (RELIABILITY, measured)
        self.change(f"PRAGMA synchronous = {'FULL' if durable else 'OFF'}")
        if (has_log or self._was_cut_off(version)) and self.damage(quick=True) is not None:
            raise ManifestError(str(self.path), "quick_check found damage", REBUILD)
        if 0 < version < len(self._migrations):
            self._back_up(version)
        for number in range(version, len(self._migrations)):
            script = f"BEGIN IMMEDIATE; {self._migrations[number]}; PRAGMA user_version = {number + 1}; COMMIT;"
            with translated_sqlite(self.path):
                self._connection.executescript(script)
        if (text := self.nonsense()) is not None:
            raise ManifestError(str(self.path), text, REBUILD)

    def version(self) -> int:
        """Return the schema's version, 0 for a new file.

        Raises:
            StorageError: A newer version of this program wrote it.
            ManifestError: It is no manifest.
        """
        version, newest = self.count("PRAGMA user_version"), len(self._migrations)
        if version > newest:
            raise StorageError(
                str(self.path),
                f"this manifest has schema version {version}; this program knows up to {newest}",
                "install the newer ninepic-mirror that wrote it",
            )
        if version < 0 or (version == 0 and self.count("SELECT count(*) FROM sqlite_master")):
            raise ManifestError(str(self.path), f"schema version {version} is none", REBUILD)
        return version

    def damage(self, *, quick: bool) -> str | None:
        """Return what SQLite finds damaged, None where nothing is.

        Args:
            quick: Without a comparison of each row with the indexes: a row that is lost shows nowhere else.

        Raises:
            StorageError: A page could not be read, which SQLite tells here as it tells damage.
        """
        ((answer,),) = self.rows(f"PRAGMA {'quick_check' if quick else 'integrity_check'}(1)")
        code = re.search(r"error code=(\d+)", str(answer))
        if code is not None and int(code[1]) & 0xFF == sqlite3.SQLITE_IOERR:
            raise storage_error(OSError(errno.EIO, str(answer)), str(self.path))
        return None if answer == "ok" else str(answer)

    def _was_cut_off(self, version: int) -> bool:
        """Say whether the last pass did not end: killed, or stopped by damage that it met (RELIABILITY L7)."""
        return version > 0 and self.rows(
            "SELECT ended_at FROM passes ORDER BY id DESC LIMIT 1"
        ) == [(None,)]

    def _back_up(self, version: int) -> None:
        """Keep a copy of the file as it was, for a downgrade (RELIABILITY L15)."""
        place = Path(f"{self.path}.version-{version}")
        refuse_other(place)
        with translated_sqlite(place), closing(sqlite3.connect(place)) as target:
            self._connection.backup(target)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Give the file back. Idempotent."""
        self._connection.close()

    def end_when(self, is_over: Callable[[], bool]) -> None:
        """From now on let every statement fail (StorageError) as soon as `is_over` says so; it is asked often."""
        self._connection.set_progress_handler(is_over, _STEPS)

    def checkpoint(self) -> None:
        """Bring the write-ahead log into the file and empty it (DESIGN §6.6, the end of each pass)."""
        self.rows("PRAGMA wal_checkpoint(TRUNCATE)")

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Commit what the block does, all or nothing.

        Raises:
            StorageError: The disk is full, read-only or failing; nothing of the block is kept.
        """
        with translated_sqlite(self.path):
            self._connection.execute("BEGIN IMMEDIATE")
        try:
            yield
            with translated_sqlite(self.path):
                self._connection.execute("COMMIT")
        except BaseException:
            with suppress(sqlite3.Error):
                self._connection.execute("ROLLBACK")
            raise

    def rows(self, statement: str, values: Iterable[Value] = ()) -> list[Row]:
        """Run one statement and return what it yields."""
        with translated_sqlite(self.path):
            return self._connection.execute(statement, tuple(values)).fetchall()

    def each(self, statement: str, values: Iterable[Value] = ()) -> Iterator[Row]:
        """Run one statement and yield its rows as they are read, for results of any length."""
        with translated_sqlite(self.path):
            yield from self._connection.execute(statement, tuple(values))

    def change(self, statement: str, values: Iterable[Value] = ()) -> int:
        """Run one statement and return how many rows it changed."""
        with translated_sqlite(self.path):
            return self._connection.execute(statement, tuple(values)).rowcount

    def change_each(self, statement: str, values: Iterable[Iterable[Value]]) -> None:
        """Run one statement once for each tuple of values."""
        with translated_sqlite(self.path):
            self._connection.executemany(statement, map(tuple, values))

    def define(self, name: str, function: Callable[[str], str]) -> None:
        """Let statements of this connection call a function of one text."""
        with translated_sqlite(self.path):
            self._connection.create_function(name, 1, function, deterministic=True)

    def count(self, statement: str, values: Iterable[Value] = ()) -> int:
        """Run a statement that yields one number; NULL counts as 0."""
        (row,) = self.rows(statement, values)
        return row[0] if isinstance(row[0], int) else 0

    def meta(self, key: str) -> object:
        """Return a value of `meta`, None when it was never set."""
        found = self.rows("SELECT value FROM meta WHERE key = ?", [key])
        return self.parsed(str(found[0][0])) if found else None

    def noted(self, key: str, kind: type[_Kind]) -> _Kind | None:
        """As `meta`, of what can be done without: None also where it is nothing of that kind."""
        try:
            return msgspec.convert(self.meta(key), kind)
        except msgspec.ValidationError:
            return None

    def nonsense(self) -> str | None:
        """Return what `meta` says that cannot be, in words; None where nothing is.

        Raises:
            ManifestError: A text of it is no JSON.
        """
        marks = ", ".join("?" * len(KEYS))
        found = self.rows(f"SELECT key, value FROM meta WHERE key IN ({marks})", KEYS)
        return nonsense({str(key): self.parsed(str(text)) for key, text in found})

    def parsed(self, text: str) -> object:
        """Return what a JSON text of this file says.

        Raises:
            ManifestError: It is none.
        """
        try:
            return json.loads(text)
        except (ValueError, RecursionError) as error:
            raise UnreadableError(str(self.path), f"no JSON: {error}", REBUILD) from error

    def set_meta(self, values: dict[str, object]) -> None:
        """Set values of `meta`; the caller holds a transaction where several changes belong together."""
        self.change_each(
            "INSERT INTO meta VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value",
            [(key, json.dumps(value)) for key, value in values.items()],
        )

    def last_pass(self) -> int:
        """Return the number of the last pass that this manifest knows of, 0: none."""
        return self.count("SELECT max(id) FROM passes")

    def begin_pass(self, kind: str, after: int = 0) -> int:
        """Record that a pass starts and return its number, which no earlier pass over the event had.

        Args:
            kind: What it is, as far as is known.
            after: The last pass that the lock knows of: a new manifest begins where the lost one ended.

        Raises:
            ManifestError: It knows of a pass that cannot have been.
        """
        with self.transaction():
            number = max(self.last_pass(), after) + 1
            if number > MOST_PASSES:
                raise UnreadableError(
                    str(self.path), f"no pass has the number {number - 1}", REBUILD
                )
            self.change(
                "INSERT INTO passes (id, started_at, kind) VALUES (?, ?, ?)", [number, now(), kind]
            )
        return number

    def end_pass(self, number: int, kind: str, report: dict[str, object], *, whole: bool) -> None:
        """Record how a pass ended.

        One that looked at the whole event makes the look before it, where that found nothing (an ended `quick` pass took
        no file up), worth nothing: months of looks are one row.
        """
        is_all = kind not in {"day", "variant"}
        with self.transaction():
            if is_all:
                self.change(
                    "DELETE FROM passes WHERE kind = 'quick' AND ended_at IS NOT NULL"
                    " AND id = (SELECT max(id) FROM passes WHERE id < ?)",
                    [number],
                )
            self.change(
                "UPDATE passes SET ended_at = ?, kind = ?, whole = ?, report = ? WHERE id = ?",
                [now(), kind, int(whole), json.dumps(report), number],
            )
            if whole and is_all:
                self.set_meta({"last_whole": now()})


def now() -> int:
    """Return the UTC time in epoch seconds, as the manifest keeps it. Never used to wait."""
    return int(time.time())


def refuse_other(path: Path) -> None:
    """Refuse what stands in a manifest's place, or in that of its logs, and is no file: SQLite follows links and waits for pipes.

    Nothing is read from it, and it keeps a new one out.

    Raises:
        StorageError: Such a thing stands there.
    """
    for suffix in ("", *LOGS):
        place = Path(f"{path}{suffix}")
        with translated(str(place)):
            try:
                mode = place.lstat().st_mode
            except (FileNotFoundError, NotADirectoryError):
                continue
        if stat.S_ISREG(mode):
            continue
        what = _KINDS.get(stat.S_IFMT(mode), "a named pipe, a socket or a device")
        due, end = ("a log of the manifest", "") if suffix else ("the manifest", _REBUILT)
        cure = f"move it away, then run sync again{end}"
        if stat.S_ISLNK(mode) and not suffix:
            cure = "put the file itself there; [mirror] state_dir keeps manifests on another disk"
        raise StorageError(str(place), f"{what} stands where {due} is due", cure)


@contextmanager
def reading(path: Path, lock: Path | None) -> Iterator[tuple[Manifest, bool]]:
    """Open a manifest to read from it, also without permission to write.

    With permission to write its folder the snapshot of the write-ahead log is read, beside a running pass. Without,
    or on a full disk, SQLite cannot set up its shared memory: the file alone is read (`immutable`), under the shared
    lock, and what a log still holds is not seen.

    Args:
        path: The SQLite file.
        lock: The event's lock file; None: the caller holds it.

    Yields:
        The manifest, and whether a log that is not empty was left unread.

    Raises:
        StorageError: It cannot be read, or what stands there is no file.
    """
    refuse_other(path)
    manifest = _beside_a_pass(path)
    if manifest is not None:
        with manifest:
            yield manifest, False
        return
    with nullcontext() if lock is None else _shared(path, lock):
        log = Path(f"{path}-wal")
        unread = _size(log) > 0
        try:
            with _to_read(path, "mode=ro&immutable=1") as manifest:
                yield manifest, unread
        except (StorageError, sqlite3.DatabaseError) as error:
            if not unread:
                raise
            text = "the manifest cannot be understood without its log, which is not read without permission to write"
            cure = "run this as the mirror's owner, where it can be written to; the manifest itself need not be damaged"
            raise StorageError(str(log), text, cure) from error


def _beside_a_pass(path: Path) -> Manifest | None:
    """Open a manifest to read, its log included; None where the shared memory for that is not to be had.

    Not only without permission: on a full disk, too, the file that it lives in cannot be made.
    """
    if not (os.access(path.parent, os.W_OK) and os.access(path, os.W_OK)):
        return None
    try:
        return _to_read(path, "mode=rw")
    except StorageError as error:
        if code_of(error.__cause__) in {"SQLITE_IOERR", "SQLITE_CANTOPEN", "SQLITE_FULL"}:
            return None
        raise


def _to_read(path: Path, how: str) -> Manifest:
    manifest = Manifest(path, _connect(path, f"{path.absolute().as_uri()}?{how}"))
    try:
        manifest.change("PRAGMA query_only = ON")
        manifest.version()
    except BaseException:
        manifest.close()
        raise
    return manifest


@contextmanager
def _shared(path: Path, lock: Path) -> Iterator[None]:
    """Keep passes off for the length of the block; several readers may."""
    with translated(str(lock)):
        held, _ = open_regular(lock)
    try:
        try:
            fcntl.flock(held, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise StorageError(
                str(path),
                "a pass is at work on it, and it can only be read while none is",
                "try again when it has ended",
            ) from error
        yield
    finally:
        release(held)


def _connect(path: Path, address: str) -> sqlite3.Connection:
    with translated_sqlite(path):
        # not check_same_thread: trio's threads change, yet only one at a time is at work here
        return sqlite3.connect(
            address,
            uri=address.startswith("file:"),
            timeout=_BUSY_SECONDS,
            isolation_level=None,
            check_same_thread=False,
        )


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0
