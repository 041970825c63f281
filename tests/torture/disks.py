"""Disks of our own, in memory: file systems whose power can be cut, that are full, or that break (RELIABILITY, T3, T6, T7).

Everything stands in a folder that names the process; what a killed run left behind is taken away by the next one.
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import struct
import subprocess
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

if TYPE_CHECKING:
    from collections.abc import Iterator

Kind = Literal["ext4", "xfs", "exfat", "btrfs"]
MEMORY: Final = Path("/dev/shm")
PREFIX: Final = "ninepic-disk-"
_SHUTDOWN: Final = 0x8004587D  # FS_IOC_SHUTDOWN, linux/fs.h
_NO_FLUSH: Final = 2  # ... the journal is not flushed
_SIZES: Final = {
    "ext4": 96 << 20,
    "xfs": 300 << 20,
    "exfat": 64 << 20,
    "btrfs": 128 << 20,
}  # mkfs.xfs makes none smaller
_MAKE: Final = {
    "ext4": ["mkfs.ext4", "-qF"], "xfs": ["mkfs.xfs", "-qf"], "exfat": ["mkfs.exfat"], "btrfs": ["mkfs.btrfs", "-q"],
}  # fmt: skip
# ext4 commits nothing of its own accord; exFAT is not in every kernel, so it comes by FUSE
_MOUNT: Final = {
    "ext4": ["mount", "-o", "loop,commit=300,errors=remount-ro"], "xfs": ["mount", "-o", "loop"], "exfat": ["mount.exfat-fuse"],
    "btrfs": ["mount", "-o", "loop"],
}  # fmt: skip


def lacks(*kinds: Kind) -> str | None:
    """Say what is not here of what such disks need."""
    if os.geteuid():
        return "only root may mount"
    if not MEMORY.is_dir():
        return "there is no /dev/shm"
    packages = {
        "xfs": "xfsprogs",
        "exfat": "exfat-fuse and exfatprogs",
        "btrfs": "btrfs-progs",
        "ext4": "e2fsprogs",
    }
    for kind in kinds:
        for program in (_MAKE[kind][0], _MOUNT[kind][0]):
            if shutil.which(program, path=f"{os.environ['PATH']}:/usr/sbin:/sbin") is None:
                return f"{program} is not installed (Debian: {packages[kind]})"
    return _no_loop()


def _no_loop() -> str | None:
    with tempfile.TemporaryDirectory(dir=MEMORY, prefix=PREFIX) as folder:
        try:
            with Disk(Path(folder), "ext4").mounted():
                return None
        except (OSError, subprocess.CalledProcessError) as error:
            return f"no disk can be mounted from a file: {error}"


class Disk:
    """A small file system in a file, at `place` while it is mounted.

    Args:
        folder: An empty one, for the file and the place.
        kind: Of file system.
    """

    def __init__(self, folder: Path, kind: Kind) -> None:
        self.image, self.place, self.kind = folder / "image", folder / "disk", kind
        self.place.mkdir()
        with self.image.open("wb") as image:
            image.truncate(_SIZES[kind])
        _run(*_MAKE[kind], self.image)

    @contextmanager
    def mounted(self) -> Iterator[Path]:
        """Have it mounted for the length of the block, whatever happens in it."""
        self.mount()
        try:
            yield self.place
        finally:
            self.unmount("-l")  # also when something is still open there

    def mount(self) -> None:
        """Mount it."""
        if self.kind != "exfat":
            _run(*_MOUNT[self.kind], self.image, self.place)
            return
        device = _run("losetup", "--find", "--show", self.image)  # exfat-fuse takes no file
        try:
            _run(*_MOUNT[self.kind], device, self.place)
        finally:
            _run("losetup", "--detach", device)  # once it is unmounted

    def unmount(self, *options: str) -> None:
        """Take it away, where it is mounted."""
        if is_mounted(self.place):
            _run("umount", *options, self.place)

    def cut(self) -> None:
        """Cut the power: what was not synced by now is gone, and nothing can be read or written any more."""
        assert is_mounted(self.place)  # never any disk but our own
        descriptor = os.open(self.place, os.O_RDONLY)
        try:
            fcntl.ioctl(descriptor, _SHUTDOWN, struct.pack("I", _NO_FLUSH))
        finally:
            os.close(descriptor)

    def restart(self) -> None:
        """Come up again after a cut: the journal is replayed."""
        self.unmount()
        self.mount()

    def break_down(self) -> None:
        """Let the kernel find an error of the file system: it makes it read-only at once (ext4)."""
        assert is_mounted(self.place)
        number = self.place.stat().st_dev
        device = Path(f"/sys/dev/block/{os.major(number)}:{os.minor(number)}").resolve().name
        Path(f"/sys/fs/ext4/{device}/trigger_fs_error").write_text("1")

    def mend(self) -> None:
        """Come up again after an error: the file system is checked (ext4)."""
        self.unmount()
        _run("e2fsck", "-fy", self.image, fine=2)  # 1 and 2: errors were mended (e2fsck(8))
        self.mount()


def is_mounted(path: Path) -> bool:
    """Whether something is mounted there; `os.path.ismount` takes a disk that is gone for none."""
    return path in _mounts()


def _mounts() -> list[Path]:
    """Return where something is mounted, what lies within another mount after it (proc_pid_mountinfo(5))."""
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    return [Path(line.split()[4]) for line in lines]


@contextmanager
def disk(kind: Kind) -> Iterator[Disk]:
    """Have a disk for the length of the block."""
    with place() as folder:
        made = Disk(folder, kind)
        with made.mounted():
            yield made


@contextmanager
def memory(options: str) -> Iterator[Path]:
    """Have a file system in memory for the length of the block; `resize` changes it."""
    with place() as folder:
        where = folder / "disk"
        where.mkdir()
        _run("mount", "-t", "tmpfs", "-o", options, "tmpfs", where)
        try:
            yield where
        finally:
            if is_mounted(where):
                _run("umount", "-l", where)


def resize(where: Path, options: str) -> None:
    """Mount a file system in memory anew, with other options."""
    _run("mount", "-o", f"remount,{options}", where)


@contextmanager
def overlay() -> Iterator[Path]:
    """Have an overlay over a folder in memory for the length of the block."""
    with memory("size=64m") as below:
        for name in ("lower", "upper", "work", "place"):
            (below / name).mkdir()
        options = f"lowerdir={below}/lower,upperdir={below}/upper,workdir={below}/work"
        _run("mount", "-t", "overlay", "-o", options, "overlay", below / "place")
        try:
            yield below / "place"
        finally:
            _run("umount", "-l", below / "place")


@contextmanager
def place() -> Iterator[Path]:
    """Have an empty folder in memory for the length of the block, after those of dead processes are taken away."""
    for path in MEMORY.glob(f"{PREFIX}*"):
        owner = re.fullmatch(rf"{PREFIX}(\d+)-.*", path.name)
        if owner and not Path(f"/proc/{owner[1]}").exists():
            _take_away(path)
    with tempfile.TemporaryDirectory(dir=MEMORY, prefix=f"{PREFIX}{os.getpid()}-") as folder:
        yield Path(folder)


def _take_away(path: Path) -> None:
    for mount in reversed(_mounts()):
        if mount.is_relative_to(path):
            _run("umount", "-l", mount)
    shutil.rmtree(path, ignore_errors=True)  # another process may be doing the same


def _run(*words: object, fine: int = 0) -> str:
    environ = os.environ | {"PATH": f"{os.environ['PATH']}:/usr/sbin:/sbin"}
    done = subprocess.run(
        list(map(str, words)), capture_output=True, text=True, check=False, env=environ
    )
    if done.returncode > fine:
        raise OSError(f"{' '.join(map(str, words))}: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout.strip()
