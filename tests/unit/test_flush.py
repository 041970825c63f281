"""A batch comes to the disk by one call only where that is as safe as one for each file."""

from __future__ import annotations

import errno
import os
import tempfile
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest

from ninepic_mirror.archive import flush
from ninepic_mirror.archive.files import Tree
from ninepic_mirror.archive.flush import Flush, can_sync_all
from ninepic_mirror.archive.syncfs import syncfs
from ninepic_mirror.errors import StorageError

if TYPE_CHECKING:
    from collections.abc import Iterator

MANY = [f"f{number}" for number in range(flush._FEW + 1)]
FEW = MANY[: flush._FEW]


class Watched(Tree):
    """A tree that notes what is synced, and does it.

    Args:
        root: The folder.
        durable: As for `Tree`.
    """

    def __init__(self, root: Path, *, durable: bool = True) -> None:
        super().__init__(root, durable=durable)
        self.synced: list[str] = []

    def sync_file(self, path: str) -> None:
        """Note a file."""
        super().sync_file(path)
        self.synced.append(path)

    def sync_file_system(self) -> None:
        """Note the file system."""
        super().sync_file_system()
        self.synced.append("all")

    def take(self) -> list[str]:
        """Return what was synced since the last call, sorted: threads sync as they please."""
        taken, self.synced = sorted(self.synced), []
        return taken


@pytest.fixture
def place() -> Iterator[Path]:
    """Return a folder with files, in memory where there is such a disk: a real one has neighbours to write out."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as folder:
        for name in MANY:
            (Path(folder) / name).write_bytes(b"photo")
        yield Path(folder)


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the disk of the test be one that can be synced at once, whatever it is."""
    monkeypatch.setattr(flush, "can_sync_all", lambda _: True)


def test_a_batch_is_one_call(place: Path, at_once: None) -> None:
    """Where it is safe, many files are synced by one call for all; a few by one each."""
    with Watched(place) as tree:
        flushed = Flush(tree)
        flushed.files(tree, MANY, 0)
        assert tree.take() == ["all"]
        flushed.files(tree, FEW, 0)
        assert tree.take() == FEW
        flushed.files(tree, FEW[:1], 0)
        assert tree.take() == FEW[:1]
        flushed.files(tree, [], 0)
        assert tree.take() == []


def test_elsewhere_each_file_is_synced(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where it is not safe every file is synced, however many they are."""
    monkeypatch.setattr(flush, "can_sync_all", lambda _: False)
    with Watched(place) as tree:
        Flush(tree).files(tree, MANY, 0)
        assert tree.take() == MANY


def test_the_disk_of_the_tree_is_asked_about(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is the event folder's own file system that decides."""
    asked: list[int] = []
    monkeypatch.setattr(flush, "can_sync_all", asked.append)
    with Watched(place) as tree:
        Flush(tree)
    assert asked == [place.stat().st_dev]


def test_a_tree_that_holds_folders_reports_as_the_first(place: Path, at_once: None) -> None:
    """The call goes through the descriptor that was opened before anything was written, so that no error is missed."""
    with Watched(place) as tree, tree.holding() as holding:
        Flush(tree).files(holding, MANY, 0)
        assert tree.take() == ["all"]


@pytest.mark.parametrize("paths", [MANY, FEW, FEW[:1]], ids=["many", "few", "one"])
def test_without_durability_nothing_is_synced(place: Path, at_once: None, paths: list[str]) -> None:
    """With `durability = "none"` neither way is taken."""
    with Watched(place, durable=False) as tree:
        Flush(tree).files(tree, paths, 0)
        assert tree.take() == []


def test_a_slow_sync_is_left_alone_for_a_while(
    place: Path, at_once: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When the neighbours' data made it slow the next batches go file by file, then it is tried again."""
    with Watched(place) as tree:
        flushed = Flush(tree)
        with monkeypatch.context() as patch:
            patch.setattr(flush, "_LONG", 0.0)  # every call takes longer
            flushed.files(tree, MANY, 0)
        assert tree.take() == ["all"]
        for number in range(flush._REST):
            paths = MANY if number % 2 else FEW[:1]
            flushed.files(tree, paths, 0)
            assert tree.take() == paths
        flushed.files(tree, MANY, 0)
        assert tree.take() == ["all"]
        flushed.files(tree, MANY, 0)
        assert tree.take() == ["all"]


def test_a_slow_disk_is_no_neighbour(
    place: Path, at_once: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a slow disk takes for our own bytes does not count: file by file it would take longer still."""
    monkeypatch.setattr(flush, "_LONG", 0.0)
    with Watched(place) as tree:
        flushed = Flush(tree)
        flushed.files(tree, MANY, 10**12)
        flushed.files(tree, MANY, 0)
        assert tree.take() == ["all", "all"]
        flushed.files(tree, MANY, 10**12)
        assert tree.take() == MANY


@pytest.mark.parametrize("paths", [MANY, FEW, FEW[:1]], ids=["many", "few", "one"])
def test_a_file_that_cannot_be_synced_is_told(
    place: Path, monkeypatch: pytest.MonkeyPatch, paths: list[str]
) -> None:
    """File by file, the error of any of them leaves, also out of a thread."""
    monkeypatch.setattr(flush, "can_sync_all", lambda _: False)
    (place / paths[-1]).unlink()
    with Watched(place) as tree, pytest.raises(FileNotFoundError):
        Flush(tree).files(tree, paths, 0)


def test_a_disk_that_cannot_be_synced_is_told(
    place: Path, at_once: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error of the one call leaves, and the files are not tried one by one: the kernel has told it once."""
    monkeypatch.setattr("ninepic_mirror.archive.files.syncfs", lambda _: syncfs(-1))
    with Watched(place) as tree, pytest.raises(OSError, match="Bad file") as caught:
        Flush(tree).files(tree, MANY, 0)
    assert caught.value.errno == errno.EBADF
    assert tree.take() == []


# --- where it is safe -------------------------------------------------------------------------------------------

DEVICE = os.makedev(259, 3)
ROOT = "27 1 254:0 / / rw,relatime - ext4 /dev/vda rw"
OTHERS = [
    ROOT,
    "22 27 0:21 / /proc rw,relatime - proc proc rw",
    "36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 propagate_from:2 - ext3 /dev/root rw,errors=continue",
]


def mounts(folder: Path, *lines: str) -> Path:
    """Write a table of mounts."""
    path = folder / "mountinfo"
    path.write_text("".join(f"{line}\n" for line in [*OTHERS, *lines]))
    return path


@pytest.fixture
def linux(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """Return the system that the test runs on, from now on; change it at will."""
    system = SimpleNamespace(sysname="Linux", release="6.1.0-18-amd64")
    monkeypatch.setattr(os, "uname", lambda: system)
    return system


@pytest.mark.parametrize(
    ("line", "answer"),
    [
        ("40 27 259:3 / /srv rw,relatime shared:5 - ext4 /dev/nvme0n1p3 rw", True),
        ("40 27 259:3 /sub /srv rw - xfs /dev/nvme0n1p3 rw", True),
        ("40 27 259:3 / /srv rw shared:1 master:2 unbindable - ext4 /dev/x rw", True),
        ("40 27 259:3 / /srv/a\\040-\\040b rw - ext4 /dev/x rw", True),
        ("40 27 259:3 / /srv rw - fuseblk /dev/nvme0n1p3 rw", False),
        ("40 27 259:3 / /srv rw - overlay overlay rw", False),
        ("40 27 259:3 / /srv rw - nfs4 host:/srv rw", False),
        ("40 27 259:3 / /srv rw - btrfs /dev/x rw", False),
        ("40 27 259:3 / /srv rw - exfat /dev/x rw", False),
        ("40 27 259:3 / /srv rw - ext3 /dev/x rw", False),
        ("40 27 259:3 / /srv rw - zfs pool rw", False),
        ("40 27 259:3 / /srv rw - ext4x /dev/x rw", False),
        ("40 27 259:33 / /srv rw - ext4 /dev/x rw", False),
        ("40 27 25:93 / /srv rw - ext4 /dev/x rw", False),
        ("259:3 27 1:1 / /259:3 rw - ext4 259:3 rw", False),
    ],
)
def test_only_file_systems_that_are_known_to_be_safe_are_synced_at_once(
    tmp_path: Path, linux: SimpleNamespace, line: str, answer: bool
) -> None:
    """ext4 and XFS on the very device; whatever else stands there, or nothing, is synced file by file."""
    assert can_sync_all(DEVICE, mounts(tmp_path, line)) is answer


def test_every_mount_of_a_device_counts(tmp_path: Path, linux: SimpleNamespace) -> None:
    """Bound to several places it is still one file system; were it told as two kinds, neither is believed."""
    one = "40 27 259:3 / /srv rw - ext4 /dev/x rw"
    assert can_sync_all(DEVICE, mounts(tmp_path, one, one.replace("/srv", "/mnt")))
    assert not can_sync_all(DEVICE, mounts(tmp_path, one, one.replace("ext4", "fuseblk")))


@pytest.mark.parametrize("odd", ["\x0b", "\x0c", "\x1c", "\x85", "\u2028", "\u3000", "\xa0"])
def test_odd_names_of_other_mounts_are_no_trouble(
    tmp_path: Path, linux: SimpleNamespace, odd: str
) -> None:
    """The kernel escapes blanks and line feeds only; what Unicode also takes for them does not cut a line here."""
    before = f"39 27 8:1 / /media/Photos{odd}-{odd}2026 rw - vfat /dev/sda1 rw"
    line = f"40 27 259:3 / /srv{odd}-{odd}zfs rw - ext4 /dev/x rw"
    assert can_sync_all(DEVICE, mounts(tmp_path, before, line))


def test_a_name_that_is_no_text_is_no_trouble(tmp_path: Path, linux: SimpleNamespace) -> None:
    """Names of mounts are bytes."""
    path = mounts(tmp_path)
    line = b"40 27 259:3 / /srv/\xff\xfe rw - ext4 /dev/x rw\n"
    path.write_bytes(path.read_bytes() + line)
    assert can_sync_all(DEVICE, path)


def test_a_disk_is_asked_about_anew(tmp_path: Path, linux: SimpleNamespace) -> None:
    """Under the number of a disk that was ext4 another may be mounted later, while the program still runs."""
    line = "40 27 259:3 / /srv rw - ext4 /dev/x rw"
    assert can_sync_all(DEVICE, mounts(tmp_path, line))
    assert not can_sync_all(DEVICE, mounts(tmp_path, line.replace("ext4", "fuseblk")))


def test_without_a_table_of_mounts_nothing_is_believed(
    tmp_path: Path, linux: SimpleNamespace
) -> None:
    """A table that is not there, cannot be read, or is empty."""
    assert not can_sync_all(DEVICE, tmp_path / "none")
    assert not can_sync_all(DEVICE, tmp_path)
    (tmp_path / "empty").touch()
    assert not can_sync_all(DEVICE, tmp_path / "empty")


@pytest.mark.parametrize(
    ("sysname", "release", "answer"),
    [
        ("Linux", "5.7.19", False),
        ("Linux", "5.8.0", False),
        ("Linux", "5.16.20-generic", False),
        ("Linux", "5.17.0", True),
        ("Linux", "5.100.1", True),
        ("Linux", "6.0", True),
        ("Linux", "10.1.0", True),
        ("Linux", "4.19.0", False),
        ("Linux", "4.99.0", False),
        ("Linux", "unknown", False),
        ("Linux", "6", False),
        ("Darwin", "23.1.0", False),
        ("FreeBSD", "14.0", False),
    ],
)
def test_only_a_kernel_that_tells_all_is_believed(
    tmp_path: Path, linux: SimpleNamespace, sysname: str, release: str, answer: bool
) -> None:
    """Before 5.8 syncfs hid data that was not written, before 5.17 a journal that was not; elsewhere there is none."""
    linux.sysname, linux.release = sysname, release
    path = mounts(tmp_path, "40 27 259:3 / /srv rw - ext4 /dev/x rw")
    assert can_sync_all(DEVICE, path) is answer


def test_the_mounts_of_this_process_are_the_ones_looked_at(tmp_path: Path) -> None:
    """What the kernel says here and now can be read; /proc itself is no disk."""
    assert can_sync_all(tmp_path.stat().st_dev) in {True, False}
    assert not can_sync_all(Path("/proc").stat().st_dev)


# --- the call ---------------------------------------------------------------------------------------------------


def test_a_file_system_is_synced(place: Path) -> None:
    """On a real descriptor, of a folder or a file, the call succeeds."""
    for path in (place, place / MANY[0]):
        descriptor = os.open(path, os.O_RDONLY)
        syncfs(descriptor)
        os.close(descriptor)


def test_a_bad_descriptor_is_told(place: Path) -> None:
    """The system's own errno leaves as an OSError: one closed, one that never was, one without a file."""
    descriptor = os.open(place, os.O_RDONLY)
    os.close(descriptor)
    path_only = os.open(place, os.O_PATH)
    for bad in (descriptor, -1, path_only):
        with pytest.raises(OSError, match="Bad file descriptor") as caught:
            syncfs(bad)
        assert caught.value.errno == errno.EBADF
    os.close(path_only)


def test_a_disk_that_is_gone_is_told(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the very moment between two calls it may be lost: that is the disk's fault, and no bug."""

    def lost(_descriptor: int) -> os.stat_result:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with Tree(place) as tree:
        monkeypatch.setattr(os, "fstat", lost)
        with pytest.raises(StorageError, match="I/O error") as caught:
            Flush(tree)
        monkeypatch.undo()
    assert caught.value.path == str(place)
