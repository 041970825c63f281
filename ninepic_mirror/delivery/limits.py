"""What a destination's file system can hold, judged before the first byte is written. Decisions only."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Final

from msgspec import Struct

from ninepic_mirror.config.layout import DEVICES
from ninepic_mirror.errors import StorageError, UsageError
from ninepic_mirror.progress import format_size, plain

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

_GIB: Final = 1 << 30
# Microsoft, "File System Functionality Comparison": FAT32 keeps the length in 32 bits.
_LARGEST: Final = {"vfat": 4 * _GIB - 1, "msdos": 4 * _GIB - 1}
_FAT: Final = frozenset({"vfat", "msdos", "exfat"})
_SHORT_NAMES: Final = frozenset({"msdos"})
_REFUSED: Final = frozenset('"*/:<>?\\|')  # by FAT, exFAT and NTFS
_NAME_FREE: Final = frozenset({"vfat", "msdos", "exfat", "ntfs", "ntfs3", "fuseblk"})
# Microsoft, "FAT File System Specification": a folder has 2 MiB of entries of 32 bytes; a file takes one, and one more for
# every 13 characters of its name.
_MOST_ENTRIES: Final = 65_534
_NAME_PIECE: Final = 13
_LONGEST_NAME: Final = 255
_LONGEST_WINDOWS_PATH: Final = 240  # of 260, less "D:\" and a folder's name


class Ground(Struct, frozen=True):
    """A destination's file system.

    Args:
        kind: As the kernel calls it, such as "vfat".
        free: Bytes that may still be written.
        block: Bytes that a file's length is rounded up to.
        longest_name: Bytes.
        shares: Blocks can be shared with the mirror (a reflink), so that photos take no room.
        inodes: Files and folders that may still be made; None: there is no such limit.
    """

    kind: str
    free: int
    block: int = 4096
    longest_name: int = _LONGEST_NAME
    shares: bool = False
    inodes: int | None = None


class Load(Struct, frozen=True):
    """What is to be written.

    Args:
        place: The destination, for people.
        sizes: Of photos and of what is written beside them, each by its path.
        tags: Bytes of everything else.
        free_of_charge: Photos take no room: they are links.
        zipped: All of it stands in files of their own: name → bytes.
    """

    place: str
    sizes: dict[str, int]
    tags: int
    free_of_charge: bool = False
    zipped: dict[str, int] | None = None


def together(place: str, loads: Sequence[Load]) -> Load:
    """Return several packages as one load."""
    sizes = {f"{n}/{path}": size for n, one in enumerate(loads) for path, size in one.sizes.items()}
    zipped: dict[str, int] = {}
    for one in loads:
        zipped |= one.zipped or {}
    return Load(
        place, sizes, sum(one.tags for one in loads), any(one.free_of_charge for one in loads), zipped or None
    )  # fmt: skip


def check_files(load: Load, ground: Ground) -> None:
    """Refuse what a file system does not take, however much room it has.

    Raises:
        UsageError: A name, a file's length, or the number of files in a folder.
    """
    _check_own_name(load, ground)
    if load.zipped is not None:
        _check_lengths(load, load.zipped, ground)
    else:
        _check_lengths(load, load.sizes, ground)
        _check_names(load, ground)


def check_room(load: Load, ground: Ground, already: int = 0, files_already: int = 0) -> None:
    """Refuse what does not fit.

    Args:
        load: What is to be written.
        ground: Where.
        already: Bytes that an interrupted delivery has written there.
        files_already: Its files.

    Raises:
        StorageError: There is not enough room, or there are too few inodes.
    """
    if ground.inodes is not None and load.zipped is None and not load.free_of_charge:
        folders = {path.rpartition("/")[0] for path in load.sizes}
        made = len(load.sizes) + len(folders) - files_already
        if made > ground.inodes:
            text = (
                f"{made:,} files and folders are to be made and {ground.inodes:,} inodes are free"
            )
            cure = "remove files there, choose another disk, or deliver as --format zip"
            raise StorageError(load.place, text, cure)
    needed = load.tags
    files = load.sizes if load.zipped is None else load.zipped
    if load.zipped is not None or not (load.free_of_charge or ground.shares):
        needed += sum(-(-size // ground.block) * ground.block for size in files.values())
    if needed - already > ground.free:
        text = f"{format_size(needed - already)} are needed and {format_size(ground.free)} are free"
        cure = "make room, choose another disk, or deliver less: --variant, --day, --photographer"
        raise StorageError(load.place, text, cure)


def _check_lengths(load: Load, files: dict[str, int], ground: Ground) -> None:
    most = _LARGEST.get(ground.kind)
    if most is None:
        return
    for path, size in files.items():
        if size > most:
            cure = "format the disk as exFAT"
            cure += ", or cut the zip: --volume-size 4GB" if load.zipped is not None else ""
            text = f"{path} has {format_size(size)}, and {load.place} is {ground.kind}, whose files end at 4 GiB"
            raise UsageError(text, cure)


def _check_own_name(load: Load, ground: Ground) -> None:
    own = load.place.rpartition("/")[2]
    # until it is whole it has a longer one (`target`)
    fault = _name_fault(own, ground) or _name_fault(f".{own}.partial", ground)
    if fault is None and ground.kind in _NAME_FREE and own.partition(".")[0].lower() in DEVICES:
        fault = "is a device's"
    if fault is not None:
        text = f"the name {plain(own)} {fault}, which {plain(load.place)} ({ground.kind}) does not take"
        raise UsageError(text, "choose another one, short and of plain letters")


def _check_names(load: Load, ground: Ground) -> None:
    for path in load.sizes:
        fault = _name_fault(path, ground)
        if fault is not None:
            text = f"the name {path} {fault}, which {load.place} ({ground.kind}) does not take"
            raise UsageError(text, "deliver with --names time, or as --format zip")
    if ground.kind == "vfat":
        _check_folders(load)
    if ground.kind in _FAT:
        twice = _first_twice(path.casefold() for path in load.sizes)
        if twice is not None:
            text = f"two files would be called {twice} without regard to case"
            raise UsageError(text, "deliver with --names time, or as --format zip")


def _check_folders(load: Load) -> None:
    entries: Counter[str] = Counter()
    for path in load.sizes:
        folder, _, name = path.rpartition("/")
        entries[folder] += 1 + -(-len(name) // _NAME_PIECE)
    for folder, count in entries.items():
        if count > _MOST_ENTRIES:
            text = f"{folder} would hold more files than a folder of FAT32 does"
            cure = "format the disk as exFAT, or deliver less at once: --names time, --split-by, --format zip"
            raise UsageError(text, cure)


def _name_fault(path: str, ground: Ground) -> str | None:
    for name in path.split("/"):
        if len(name.encode("utf-8", "replace")) > ground.longest_name:
            return f"is longer than {ground.longest_name} bytes"
        if ground.kind in _NAME_FREE and (_REFUSED & set(name) or name.endswith((".", " "))):
            return "has a character"
        if ground.kind in _SHORT_NAMES and (len(name.partition(".")[0]) > 8):
            return "is longer than 8 characters"
    if ground.kind in _NAME_FREE and len(path) > _LONGEST_WINDOWS_PATH:
        return f"is longer than the {_LONGEST_WINDOWS_PATH} characters that Windows opens"
    return None


def _first_twice(names: Iterable[str]) -> str | None:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            return name
        seen.add(name)
    return None
