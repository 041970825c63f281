"""What the mirror root can do, tried out in a folder of its own that is removed again. Linux and macOS."""

from __future__ import annotations

import fcntl
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

from msgspec import Struct

from ninepic_mirror.archive.faults import storage_error
from ninepic_mirror.archive.root import MARKER, Root
from ninepic_mirror.cli.outcome import Code
from ninepic_mirror.errors import StorageError
from ninepic_mirror.progress import format_size

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ninepic_mirror.config import Mirror

_FICLONE: Final = 0x40049409  # linux/fs.h
# SQLite's write-ahead log needs shared memory (sqlite.org/wal.html); exFAT and FAT lack owners and links.
_REMOTE: Final = {
    "nfs",
    "nfs4",
    "cifs",
    "smb3",
    "smbfs",
    "9p",
    "afs",
    "ceph",
    "fuse.sshfs",
    "exfat",
    "vfat",
}
_LONGEST_NAME: Final = (
    80  # 64 characters of an id, extension, and room for our own suffixes (DESIGN §5, Names)
)


class Check(Struct, frozen=True):
    """One thing that was looked at.

    Args:
        name: What.
        state: How it is.
        text: What was found.
        cure: What to do; empty when it is ok.
        code: The exit code of a failure.
    """

    name: str
    state: Literal["ok", "warn", "FAIL"]
    text: str
    cure: str = ""
    code: int = 0


def failed(name: str, error: StorageError) -> Check:
    """Return the failure of a storage error."""
    return Check(name, "FAIL", str(error), error.cure, Code.STORAGE)


def examine(settings: Mirror) -> Iterator[Check]:
    """Yield what there is to say about the mirror root; what the system does not let us see is a failure too."""
    try:
        yield from _examine(settings)
    except OSError as error:
        yield failed("mirror root", storage_error(error, str(settings.root)))
    except StorageError as error:
        yield failed("mirror root", error)


def _examine(settings: Mirror) -> Iterator[Check]:
    root = settings.root
    if settings.require_mount:
        yield _mount(root)
    if not root.is_dir():
        yield _absent(root)
        return
    yield Check("mirror root", "ok", str(root))
    yield _marker(settings)
    yield _owner(root)
    yield from _space(settings)
    yield from _try_out(root)
    yield _names(root)
    yield _file_system(settings)


def _absent(root: Path) -> Check:
    # A link that leads round in a circle "exists" to nobody, and yet nothing can be made there.
    if os.path.lexists(root) and not (root.is_symlink() and _is_dangling(root)):
        return Check(
            "mirror root",
            "FAIL",
            f"{root} is no folder",
            "name a folder as [mirror] root",
            Code.STORAGE,
        )
    parent = next(path for path in root.parents if path.is_dir())
    if not os.access(parent, os.W_OK | os.X_OK):
        cure = f"make {root} for this user, or run as the user who owns {parent}"
        return Check(
            "mirror root",
            "FAIL",
            f"{root} does not exist, and {parent} is not writable",
            cure,
            Code.STORAGE,
        )
    return Check(
        "mirror root",
        "warn",
        f"{root} does not exist yet",
        "sync makes it; mount its disk first if it has one",
    )


def _is_dangling(link: Path) -> bool:
    try:
        link.stat()
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return False


def _mount(root: Path) -> Check:
    if root.is_mount():
        return Check("mount", "ok", f"{root} is a mounted file system")
    cure = "mount the mirror's file system, or set [mirror] require_mount = false"
    return Check(
        "mount",
        "FAIL",
        f"nothing is mounted at {root}, and require_mount is set",
        cure,
        Code.STORAGE,
    )


def _marker(settings: Mirror) -> Check:
    root = settings.root
    if (root / MARKER).is_file():
        return Check("marker", "ok", MARKER)
    if not set(os.listdir(root)) - {"lost+found"}:
        return Check(
            "marker",
            "warn",
            "the folder is empty",
            "sync makes it a mirror root; is its disk mounted?",
        )
    if Root(root, settings.state_dir).events():
        return Check(
            "marker", "warn", f"{MARKER} is missing beside mirrored events", "sync writes it again"
        )
    cure = f"mount the right file system, choose another root, or, if it is the right one: touch {root / MARKER}"
    return Check(
        "marker", "FAIL", f"{MARKER} is missing, so this is no mirror root", cure, Code.STORAGE
    )


def _owner(root: Path) -> Check:
    # The marker's owner, not the folder's: a mount point may belong to root while the mirror does not.
    marker = root / MARKER
    owner, us = (marker if marker.is_file() else root).stat().st_uid, os.geteuid()
    if owner == us:
        return Check("owner", "ok", f"user {us}, as we are")
    cure = f"run as user {owner}, or change the mirror's owner"
    # As Root.prepare: files of root in another user's mirror cannot be moved by the service.
    if us == 0:
        return Check(
            "owner",
            "FAIL",
            f"the mirror belongs to user {owner}, and we are root",
            cure,
            Code.STORAGE,
        )
    return Check("owner", "warn", f"the mirror belongs to user {owner}, we are {us}", cure)


def _space(settings: Mirror) -> Iterator[Check]:
    free = Root(settings.root).free()
    text = f"{format_size(free)}; min_free is {format_size(settings.min_free)}"
    if free >= settings.min_free:
        yield Check("free space", "ok", text)
    else:
        yield Check(
            "free space", "FAIL", text, "make room, or lower [mirror] min_free", Code.STORAGE
        )


def _try_out(root: Path) -> Iterator[Check]:
    """Yield what files in the root can do."""
    try:
        with tempfile.TemporaryDirectory(dir=root, prefix=".ninepic-mirror-check-") as name:
            folder = Path(name)
            (folder / "file").write_bytes(b"x" * 4096)
            yield Check("writable", "ok", "files can be made")
            yield _locks(folder / "file")
            yield _links(folder)
            yield _reflinks(folder)
            yield _case(folder)
    except OSError as error:
        yield failed("writable", storage_error(error, str(root)))


def _can(action: Callable[[], object]) -> bool:
    try:
        action()
    except OSError:
        return False
    return True


def _locks(path: Path) -> Check:
    with path.open("rb") as file:
        if _can(lambda: fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)):
            return Check("file locks", "ok", "two instances keep out of each other's way")
    cure = "mount it with locks (NFS: without nolock), or use another file system"
    return Check("file locks", "FAIL", "this file system has none", cure, Code.STORAGE)


def _links(folder: Path) -> Check:
    if _can(lambda: (folder / "link").hardlink_to(folder / "file")):
        return Check("hard links", "ok", "equal photos take their space once")
    cure = 'nothing needs to be done; duplicates = "copy" says so in the config'
    return Check("hard links", "warn", "none: equal photos are stored as copies", cure)


def _reflinks(folder: Path) -> Check:
    # macOS knows another call; there hard links do the work.
    with (folder / "file").open("rb") as source, (folder / "clone").open("wb") as target:
        shared = _can(lambda: fcntl.ioctl(target, _FICLONE, source.fileno()))
    return Check(
        "reflinks", "ok", "copies share their blocks" if shared else "none; hard links do instead"
    )


def _case(folder: Path) -> Check:
    (folder / "case").write_bytes(b"")
    sensitive = not (folder / "CASE").exists()
    # Stored names are unique without regard to case (DESIGN §5), so that neither is a fault.
    return Check(
        "letter case",
        "ok",
        "told apart" if sensitive else "not told apart, which our names allow for",
    )


def _names(root: Path) -> Check:
    try:
        longest = os.pathconf(root, "PC_NAME_MAX")
    except (OSError, ValueError):
        longest = 255
    if longest >= _LONGEST_NAME:
        return Check("name length", "ok", f"up to {longest} bytes")
    text = f"only {longest} bytes, {_LONGEST_NAME} are needed"
    return Check("name length", "FAIL", text, "use another file system", Code.STORAGE)


def _file_system(settings: Mirror) -> Check:
    # It is the manifest that wants a local disk; photos are content with any (DESIGN §4, state_dir).
    place = settings.state_dir or settings.root
    kind = kind_of(place)
    if kind not in _REMOTE:
        return Check("manifests", "ok", f"on {kind or 'an unknown file system'}, in {place}")
    text = f"on {kind}, where SQLite is slow or unsafe"
    return Check("manifests", "warn", text, "set [mirror] state_dir to a folder on a local disk")


def kind_of(path: Path, table: Path = Path("/proc/self/mountinfo")) -> str | None:
    """Return the type of the file system that holds a path, None where the system does not say (macOS).

    Args:
        path: It need not exist.
        table: As in proc(5): the mount point is the fifth field, the type the first after the hyphen.
    """
    try:
        lines = table.read_text("utf-8", "surrogateescape").splitlines()
    except OSError:
        return None
    best, kind = -1, None
    real = path.resolve()
    for line in lines:
        before, _, after = line.partition(" - ")
        mount = Path(
            before.split(" ")[4].encode("utf-8", "surrogateescape").decode("unicode_escape")
        )
        # Of equal mount points the last one covers the others.
        if real.is_relative_to(mount) and len(mount.parts) >= best:
            best, kind = len(mount.parts), after.split(" ")[0]
    return kind
