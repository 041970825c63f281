"""The mirror root: its marker, its event folders, and whether it may be written to (DESIGN §5).

The marker is what tells a mirror from an empty mount point: without it nothing is written. It also carries the
daemon's lock and what the pacers learned, so that nothing else of ours has to stand in the root.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import pwd
import secrets
import stat
import time
from contextlib import suppress
from pathlib import Path
from typing import Final

from ninepic_mirror.archive.faults import translated
from ninepic_mirror.archive.files import Tree, open_regular, release
from ninepic_mirror.archive.manifest import NAME
from ninepic_mirror.archive.placement import event_folder, is_folder_of
from ninepic_mirror.errors import RootBusyError, StorageError, UsageError

MARKER: Final = ".ninepic-mirror-root"
OWN_FOLDER: Final = ".ninepic-mirror"
_MARKER_LIMIT: Final = 1 << 20  # bytes
_UNFINISHED: Final = f"{MARKER}.new"  # how the names begin under which the marker is written
_TRIES: Final = 10  # to lock the marker
_PAUSE: Final = 0.1  # seconds between two
_ABANDONED: Final = 3600  # seconds after which such a file is what a killed process left


class Root:
    """The folder that holds all events.

    Args:
        path: Its place.
        state_dir: Where manifests are kept instead of the event folders, if anywhere.
        require_mount: Refuse a root that is not on a mounted file system of its own.
    """

    def __init__(
        self, path: Path, state_dir: Path | None = None, *, require_mount: bool = False
    ) -> None:
        # The operator may have put a link there; links below it are never followed (RELIABILITY L17).
        self.path = Path(os.path.realpath(path))
        self._state_dir, self._require_mount = state_dir, require_mount
        self._device: int | None = None
        self._held = -1  # the marker, open and locked, while we are its daemon

    def prepare(self, *, make: bool, write: bool = True) -> None:
        """Make sure that this is a mirror root and that we are the one to write to it.

        Args:
            make: A typed command: also an empty folder, or one that holds event folders, becomes a root.
            write: False: it is only to be read, so that it does not matter who may write to it.

        Raises:
            StorageError: It is not, with the cure.
        """
        if self._require_mount and not os.path.ismount(self.path):
            raise StorageError(
                str(self.path),
                "nothing is mounted here, and require_mount is set",
                "mount the mirror's file system, or set [mirror] require_mount = false",
            )
        with translated(str(self.path)):
            self._check_kind()
            if not self._has_marker():
                self._mark(make=make)
            if write:
                self._check_owner()
            self._device = self.path.stat().st_dev

    def check(self) -> None:
        """Look again, before each commit, that the marker stands and the file system is the same.

        Raises:
            StorageError: It was unmounted, or something was mounted over it.
        """
        with translated(str(self.path)):
            same = self._has_marker() and self.path.stat().st_dev == self._device
        if not same:
            raise StorageError(
                str(self.path / MARKER),
                "the mirror root vanished while it was written to",
                "mount it again",
            )

    def _check_kind(self) -> None:
        """What stands in the root's place must be a folder; nothing is fine, too."""
        try:
            found = self.path.stat()
        except FileNotFoundError:
            return
        except OSError as error:
            if error.errno != errno.ELOOP:
                raise
            text = "symbolic links lead round in a circle"
            raise StorageError(str(self.path), text, "remove one of them") from error
        if not stat.S_ISDIR(found.st_mode):
            cure = "name a folder as the mirror root, or move the file away"
            raise StorageError(str(self.path), "a file stands where the mirror root is due", cure)

    def _has_marker(self) -> bool:
        return (self.path / MARKER).is_file()

    def _mark(self, *, make: bool) -> None:
        exists = self.path.is_dir()
        known = self._state_dir is not None and any(self._state_dir.glob(f"*/{NAME}"))
        names = {name for name in os.listdir(self.path) if _is_content(name)} if exists else set()
        fresh = not exists or (make and (not names or self._holds_events(names)))
        if known or not fresh:
            raise StorageError(
                str(self.path),
                f"this is no mirror root: {MARKER} is missing"
                + (f", although {self._state_dir} knows mirrors of it" if known else ""),
                f"mount the right file system, choose another root, or, if it is the right one: touch {self.path / MARKER}",
            )
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except FileNotFoundError as error:  # as /proc says of any name
            text = "no folder can be made here"
            raise StorageError(str(self.path), text, "name another mirror root") from error
        _sync_upwards(self.path)
        self._write({})

    def _holds_events(self, names: set[str]) -> bool:
        return any((self.path / name / OWN_FOLDER / NAME).is_file() for name in names)

    def _check_owner(self) -> None:
        """Root working in another user's mirror would leave files that its owner cannot move."""
        owner = (self.path / MARKER).stat().st_uid
        if os.geteuid() == 0 and owner != 0:
            name = _user(owner)
            raise StorageError(
                str(self.path),
                f"the mirror belongs to {name}, and root would leave files that {name} cannot move",
                f"run it as that user: sudo -u {name} ninepic-mirror …",
            )
        if not os.access(self.path, os.W_OK | os.X_OK):
            if os.statvfs(self.path).f_flag & os.ST_RDONLY:
                raise OSError(errno.EROFS, os.strerror(errno.EROFS))
            raise StorageError(
                str(self.path),
                f"not writable for {_user(os.geteuid())}",
                f"run as {_user(owner)}, or change its owner",
            )

    def hold(self) -> None:
        """Keep this root as its daemon, until `release`. Blocks for up to a second.

        The lock is the marker's, an flock that dies with its process; the process id in it is a courtesy to people.

        Raises:
            RootBusyError: Another daemon keeps it.
            StorageError: The marker cannot be opened or written, or the file system knows no locks.
        """
        marker = self.path / MARKER
        for _ in range(_TRIES):  # somebody may just be writing into it what the pacers learned
            with translated(str(marker)):
                held = self._locked()
            if held >= 0:
                self._held = held
                try:
                    self._write_in_place({"pacers": self.learned(), "daemon": os.getpid()})
                except StorageError:
                    self.release()  # or our own next try would find the root busy
                    raise
                return
            time.sleep(_PAUSE)
        holder = self._content().get("daemon")
        raise RootBusyError(str(self.path), holder if isinstance(holder, int) else None)

    def release(self) -> None:
        """Keep the root no longer. Idempotent."""
        if self._held >= 0:
            release(self._held)
            self._held = -1

    def _locked(self) -> int:
        """Return the marker's descriptor, locked; -1 where another process has the lock, or put a new marker there."""
        marker = self.path / MARKER
        descriptor, _ = open_regular(marker, os.O_RDWR)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.path.samestat(os.fstat(descriptor), marker.stat()):
                return descriptor
        except BlockingIOError:
            pass
        except BaseException:
            release(descriptor)
            raise
        release(descriptor)
        return -1

    def _write_in_place(self, content: dict[str, object]) -> None:
        """Write into the marker that we hold: a new file in its place would not be locked. Cut off, it says less."""
        text = _text(content)
        with translated(str(self.path / MARKER)):
            os.pwrite(self._held, text, 0)
            os.ftruncate(self._held, len(text))
            os.fsync(self._held)

    def _content(self) -> dict[str, object]:
        """Return what the marker says; nothing where that cannot be read."""
        try:
            descriptor, _ = open_regular(self.path / MARKER)
            with os.fdopen(descriptor, "rb") as file:
                found: object = json.loads(file.read(_MARKER_LIMIT))
        except (OSError, ValueError, RecursionError):
            return {}
        return found if isinstance(found, dict) else {}

    def learned(self) -> dict[str, object]:
        """Return what the pacers knew at the end of an earlier pass; empty when there is none."""
        pacers = self._content().get("pacers")
        return pacers if isinstance(pacers, dict) else {}

    def remember(self, pacers: dict[str, object]) -> StorageError | None:
        """Keep what the pacers learned, in the marker.

        Of processes that do so at once one wins; beside a daemon, which knows best, nothing is kept.

        Returns:
            Why it could not be kept; the old marker then stands. It only makes the next pass start slower, so it is
            no reason to end this one.
        """
        try:
            # A marker written into a bare mount point would make a mirror root of it.
            self.check()
            if self._held >= 0:
                self._write_in_place({"pacers": pacers, "daemon": os.getpid()})
                return None
            with translated(str(self.path / MARKER)):
                held = self._locked()
            if held >= 0:
                try:
                    self._write(pacers)
                finally:
                    release(held)
        except StorageError as error:
            return error
        return None

    def _write(self, pacers: dict[str, object]) -> None:
        """Write the marker anew, durably."""
        with translated(str(self.path / MARKER)), Tree(self.path) as tree:
            # a name of its own: two processes, perhaps of two machines, may do so at once
            unfinished = f"{_UNFINISHED}-{secrets.token_hex(8)}"
            try:
                tree.write_whole(MARKER, [_text({"pacers": pacers})], unfinished)
            finally:
                tree.remove(unfinished)
            _sweep(tree)

    def folder_of(self, event_id: int, slug: str | None = None) -> Path | None:
        """Return the event's folder if there is one, whatever its slug has become.

        Raises:
            UsageError: Two folders hold a manifest of this event.
            StorageError: They cannot be looked at.
        """
        names = sorted(name for name in self._names() if is_folder_of(name, event_id))
        found = [path for name in names if _is_folder(path := self.path / name)]
        with_manifest = [path for path in found if self._has_manifest(path)]
        if len(with_manifest) > 1:
            raise UsageError(
                f"two folders are mirrors of event {event_id}: {', '.join(path.name for path in with_manifest)}",
                "move one of them out of the mirror root",
            )
        named = [path for path in found if path.name == event_folder(event_id, slug)]
        return next(iter(with_manifest or named or found), None)

    def make_folder(self, event_id: int, slug: str | None) -> Path:
        """Return the event's folder with our own folder in it; make durably what is missing.

        Raises:
            StorageError: The disk said no, or is not there any more.
        """
        # A run may last for months: what was a mirror root at its start can be a bare mount point by now.
        self.check()
        folder = (
            self.folder_of(event_id, slug)
            # lost as a whole: under its old name the manifest is found again, and what was to be forgotten with it
            or self.kept(event_id)
            or self.path / event_folder(event_id, slug)
        )
        with translated(str(folder)), Tree(self.path) as tree:
            with tree.folder(f"{folder.name}/{OWN_FOLDER}", make=True):
                pass
            tree.sync_folder(
                f"{folder.name}/{OWN_FOLDER}"
            )  # also what an earlier run was killed over
            manifest_folder = self.manifest_path(folder).parent
            manifest_folder.mkdir(parents=True, exist_ok=True)
            if self._state_dir is not None:
                _sync_upwards(manifest_folder)
        return folder

    def manifest_path(self, folder: Path) -> Path:
        """Return where the manifest of an event folder is, or will be."""
        return (
            folder / OWN_FOLDER if self._state_dir is None else self._state_dir / folder.name
        ) / NAME

    def kept_names(self) -> list[str]:
        """Return the names in `state_dir`: of the event folders whose manifests stand there, whether or not they are here.

        Raises:
            StorageError: It cannot be read.
        """
        if self._state_dir is None:
            return []
        with translated(str(self._state_dir)), suppress(FileNotFoundError):
            return sorted(os.listdir(self._state_dir))
        return []

    def kept(self, event_id: int) -> Path | None:
        """Return the folder, be it here or not, of an event's manifest in `state_dir`; of several the one changed last.

        Raises:
            StorageError: They cannot be looked at.
        """
        named = [self.path / name for name in self.kept_names() if is_folder_of(name, event_id)]
        found = [path for path in named if self._has_manifest(path)]
        with translated(str(self._state_dir)):
            return max(
                found, key=lambda path: self.manifest_path(path).stat().st_mtime_ns, default=None
            )

    def events(self) -> list[tuple[int, Path]]:
        """Return the events mirrored here: their ids and folders, by id.

        Raises:
            StorageError: One of them cannot be looked at: it is not taken for none.
        """
        found = []
        for name in self._names():
            digits = name.partition("-")[0]
            if digits.isdecimal() and self._has_manifest(self.path / name):
                found.append((int(digits), self.path / name))
        return sorted(found)

    def _names(self) -> list[str]:
        """Return what stands in the root; nothing where there is no root yet."""
        with translated(str(self.path)), suppress(FileNotFoundError):
            return os.listdir(self.path)
        return []

    def _has_manifest(self, folder: Path) -> bool:
        path = self.manifest_path(folder)
        with translated(str(path.parent)):
            return path.is_file()

    def free(self) -> int:
        """Return the bytes that we may still use of the root's file system."""
        with translated(str(self.path)):
            state = os.statvfs(self.path)
        return state.f_bavail * state.f_frsize


def _text(content: dict[str, object]) -> bytes:
    what = "the root of a 9Pic mirror; ninepic-mirror refuses to write where this file is missing"
    return json.dumps({"what": what, **content}, indent=1).encode() + b"\n"


def _sync_upwards(folder: Path) -> None:
    """Sync a folder and its parents: a newly made one is only there after a power cut when its parent knows it.

    A parent on another file system was not made together with it.
    """
    device = folder.stat().st_dev
    for path in (folder, *folder.parents):
        if path.stat().st_dev != device:
            break
        with suppress(PermissionError):  # a parent that we may not even read was not made by us
            descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
            try:
                os.fsync(descriptor)
            finally:
                release(descriptor)


def _is_content(name: str) -> bool:
    """Whether a name in a root without a marker says that it is somebody's: not what mkfs.ext4 made, or we began."""
    return name != "lost+found" and not name.startswith(_UNFINISHED)


def _sweep(tree: Tree) -> None:
    """Remove the unfinished markers of processes that were killed over them."""
    # written just now: its time is the file system's own, whatever our clock says
    marker = tree.stat(MARKER)
    oldest = marker.mtime_ns - _ABANDONED * 1_000_000_000 if marker is not None else 0
    for name, _ in list(tree.entries("")):
        found = tree.stat(name) if name.startswith(_UNFINISHED) else None
        if found is not None and found.is_file and found.mtime_ns < oldest:
            tree.remove(name)


def _is_folder(path: Path) -> bool:
    with translated(str(path)):
        return path.is_dir()


def _user(number: int) -> str:
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return f"user {number}"
