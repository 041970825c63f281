"""What SQLite says of a manifest, as errors of ours: is it damaged, or can it not be used (sqlite.org/rescode.html)?"""

from __future__ import annotations

import errno
import os
import re
import sqlite3
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from ninepic_mirror.archive.faults import storage_error, translated
from ninepic_mirror.archive.files import open_regular, release
from ninepic_mirror.errors import StorageError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_ROOM: Final = 64 * 1024  # bytes; twice what SQLite's shared memory takes
REBUILD: Final = "run sync again: it sets the file aside and adopts what is on disk"

# What SQLite says, as a plain error, of a damaged head or schema (sqlite3BtreeOpen and the parser, 3.40); the last two
# of a file that has already what a migration from the version that it says is to make.
_NONSENSE: Final = re.compile(
    "no such table|no such column|unsupported file format|duplicate column name|(table|index) .* already exists"
)


class ManifestError(StorageError):
    """The file is damaged, or no manifest at all: set it `aside`, and adopt the files anew."""


class UnreadableError(ManifestError):
    """What stands in it makes no sense, though SQLite finds nothing wrong: the next start would not see it either."""


@contextmanager
def translated_sqlite(path: Path) -> Iterator[None]:
    """Let what SQLite raises in the block be an error of ours.

    Args:
        path: The manifest.

    Raises:
        ManifestError: It is damaged.
        StorageError: SQLite cannot use it.
    """
    try:
        yield
    except sqlite3.DatabaseError as error:
        if code_of(error) in {"SQLITE_CORRUPT", "SQLITE_NOTADB"}:
            raise ManifestError(str(path), str(error), REBUILD) from error
        if _makes_no_sense(path, error):
            raise UnreadableError(str(path), str(error), REBUILD) from error
        if not isinstance(error, sqlite3.OperationalError):
            raise
        raise _storage(path, error) from error
    except UnicodeDecodeError as error:  # out of the message that SQLite has for a damaged schema
        raise UnreadableError(str(path), "the schema is damaged", REBUILD) from error


def _makes_no_sense(path: Path, error: sqlite3.DatabaseError) -> bool:
    """Say whether texts or names of the file are damaged, which SQLite's own checks do not look at.

    A text that is no UTF-8 is told by Python's module, without a code. All statements are fixed, so a table or column
    that is not there was there, and one that is there too early came with a later version.
    """
    code, text = code_of(error), str(error)
    return bool(
        (not code and text.startswith("Could not decode"))
        or (code == "SQLITE_ERROR" and _NONSENSE.match(text))
        or (code == "SQLITE_READONLY" and _is_of_another_format(path))
    )


def _is_of_another_format(path: Path) -> bool:
    """Whether the file says that only a newer SQLite may write to it (fileformat2.html §1.3.3); there is no such one."""
    with translated(str(path)):
        descriptor, _ = open_regular(path)
        try:
            return os.pread(descriptor, 1, 18) > b"\x02"
        finally:
            release(descriptor)


def code_of(error: BaseException | None) -> str:
    """Return the name of SQLite's primary result code: of SQLITE_IOERR_WRITE, SQLITE_IOERR."""
    return "_".join(getattr(error, "sqlite_errorname", "").split("_")[:2])


def _storage(path: Path, error: sqlite3.OperationalError) -> StorageError:
    """Say what SQLite could not do, and what to do about it (sqlite.org/rescode.html)."""
    code = code_of(error)
    if code in {"SQLITE_IOERR", "SQLITE_CANTOPEN", "SQLITE_FULL"} and _is_full(path.parent):
        # where it cannot make room for its shared memory, SQLite calls a full disk an I/O error
        return storage_error(OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), str(path))
    cure = {
        "SQLITE_FULL": "make room on the disk, then run sync again",
        "SQLITE_READONLY": "make the folder writable, or run as the user who owns the mirror",
        "SQLITE_CANTOPEN": "look at the folder's owner and permissions",
        "SQLITE_BUSY": "another program holds the manifest open; close it, then run sync again",
    }.get(code, "look at the kernel log and the disk's health; a lost manifest is rebuilt by sync")
    return StorageError(str(path), f"the manifest cannot be used: {error}", cure)


def _is_full(folder: Path) -> bool:
    """Whether a file system has no room for a few pages more, or for one more file."""
    try:
        state = os.statvfs(folder)
    except OSError:
        return False
    # file systems that make inodes as they need them report none at all
    return state.f_bavail * state.f_frsize < _ROOM or (state.f_files > 0 and state.f_favail == 0)
