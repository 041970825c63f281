"""The place where a package comes to stand."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path

import pytest

from ninepic_mirror.archive.files import Tree
from ninepic_mirror.delivery import target as module
from ninepic_mirror.delivery.target import MARKER, Target, keep_only, kind_of, target_error
from ninepic_mirror.errors import StorageError, UsageError


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (errno.ENOSPC, "full"),
        (errno.ENOENT, "vanished"),
        (errno.EROFS, "read-only"),
        (errno.EDOM, "domain"),
    ],
)
def test_what_disks_say(code: int, words: str) -> None:
    """In words, with what to do; also what nobody thought of."""
    error = target_error(OSError(code, os.strerror(code)), "/media/disk/out")
    assert words in error.text
    assert error.cure


def test_a_package_appears_at_once(tmp_path: Path) -> None:
    """It is built beside its place, renamed, and nothing else is left."""
    with Target(tmp_path / "out", 456) as target:
        assert not target.exists()
        with target.building() as tree:
            with tree.folder("out/data", make=True):
                pass
            tree.create("out/data/a", b"a", None)
            assert json.loads((target.partial / MARKER).read_text()) == {"event_id": 456}
            assert min(target.already()) > 0
            target.settle(tree)
            target.finish()
        assert target.exists()
    assert [str(p.relative_to(tmp_path)) for p in sorted(tmp_path.rglob("*"))] == [
        "out",
        "out/data",
        "out/data/a",
    ]


def test_without_a_call_for_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a file system's own sync is not to be trusted, each file and folder is synced."""
    synced: list[str] = []
    real = os.fsync

    def watch(descriptor: int) -> None:
        synced.append(str(Path(f"/proc/self/fd/{descriptor}").readlink()))
        real(descriptor)

    monkeypatch.setattr(module, "kind_of", lambda _: "fuseblk")
    monkeypatch.setattr(os, "fsync", watch)
    with Target(tmp_path / "out", 456) as target, target.building() as tree:
        tree.create("out", b"a", None)
        target.settle(tree)
        assert {Path(path).name for path in synced} == {".out.partial", "out", MARKER}


def test_what_came_to_be_meanwhile(tmp_path: Path) -> None:
    """It is not overwritten."""
    with Target(tmp_path / "out", 456) as target, target.building() as tree:
        tree.create("out", b"a", None)
        (tmp_path / "out").write_text("mine")
        with pytest.raises(UsageError, match="came to be"):
            target.finish()
    assert (tmp_path / "out").read_text() == "mine"


def test_a_file_system_that_empties_what_is_renamed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As one driver of FAT does: the package is not taken for whole."""
    real = os.rename

    def rename(source: str, target: str, *, src_dir_fd: int, dst_dir_fd: int) -> None:
        real(source, target, src_dir_fd=src_dir_fd, dst_dir_fd=dst_dir_fd)
        (tmp_path / target / "bagit.txt").unlink()

    with Target(tmp_path / "out", 456) as target, target.building() as tree:
        with tree.folder("out", make=True):
            tree.create("out/bagit.txt", b"a", None)
        monkeypatch.setattr(os, "rename", rename)
        with pytest.raises(StorageError, match="lost what is in it"):
            target.finish()


def test_a_place_that_is_another_now(tmp_path: Path) -> None:
    """A disk that was unmounted, or a folder that was moved away, must not seem to hold a package."""
    (tmp_path / "disk").mkdir()
    with Target(tmp_path / "disk/out", 456) as target, target.building() as tree:
        tree.create("out", b"a", None)
        (tmp_path / "disk").rename(tmp_path / "gone")
        with pytest.raises(StorageError, match="vanished"):
            target.check()
        (tmp_path / "disk/.out.partial").mkdir(parents=True)
        with pytest.raises(StorageError, match="vanished"):
            target.finish()
    assert not (tmp_path / "gone/out").exists()


@pytest.mark.parametrize("marker", [None, '{"event_id": 457}', "[]"])
def test_what_is_anothers(tmp_path: Path, marker: str | None) -> None:
    """A folder that no delivery of this event began is left alone."""
    partial = tmp_path / ".out.partial"
    partial.mkdir()
    (partial / "thesis").write_text("mine")
    if marker is not None:
        (partial / MARKER).write_text(marker)
    with Target(tmp_path / "out", 456) as target, pytest.raises(StorageError), target.building():
        pass
    assert (partial / "thesis").read_text() == "mine"


def test_what_is_no_folder(tmp_path: Path) -> None:
    """A file or a link is left alone, and is no sign of a disk that vanished."""
    (tmp_path / ".file.partial").write_text("mine")
    (tmp_path / ".link.partial").symlink_to(tmp_path)
    for name in ("file", "link"):
        with (
            Target(tmp_path / name, 456) as target,
            pytest.raises(StorageError, match="is none that was interrupted"),
            target.building(),
        ):
            pass
    assert (tmp_path / ".file.partial").read_text() == "mine"


def test_a_marker_that_was_cut_off(tmp_path: Path) -> None:
    """A kill while it is written costs nothing."""
    partial = tmp_path / ".out.partial"
    partial.mkdir()
    (partial / MARKER).write_text('{"eve')
    with Target(tmp_path / "out", 456) as target, target.building():
        pass


def test_no_folder_to_put_it_in(tmp_path: Path) -> None:
    """It is not made: the disk may not be mounted."""
    with pytest.raises(UsageError, match="no folder"):
        Target(tmp_path / "no/out", 456)


def test_only_what_is_wanted_is_kept(tmp_path: Path) -> None:
    """Files of an earlier plan go, and the folders that they leave empty."""
    for path in ("out/data/a", "out/data/b", "out/old/c"):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text("x")
    (tmp_path / "one.zip").write_text("x")
    with Tree(tmp_path, durable=False) as tree:
        keep_only(tree, "out", {"out/data/a"})
        keep_only(tree, "one.zip", {"one.zip"})
        assert sorted(p.name for p in tmp_path.rglob("*")) == ["a", "data", "one.zip", "out"]
        keep_only(tree, "one.zip", ())
        keep_only(tree, "nothing", ())
    assert not (tmp_path / "one.zip").exists()


def test_file_systems_are_told_by_their_mount(tmp_path: Path) -> None:
    """As the kernel lists them; nothing where that is not known."""
    (tmp_path / "fdinfo").mkdir()
    for number, text in enumerate(("pos:\t0\nmnt_id:\t53\n", "mnt_id:\t54\n", "pos:\t0\n")):
        (tmp_path / f"fdinfo/{number}").write_text(text)
    mounts = "53 27 0:7 / /media rw,nosuid - vfat /dev/loop0 rw\n5 27\nshort\n"
    (tmp_path / "mountinfo").write_text(mounts)
    assert [kind_of(number, tmp_path) for number in range(4)] == ["vfat", "", "", ""]
    with (tmp_path / "mountinfo").open() as file:
        assert kind_of(file.fileno()) or not Path("/proc/self/mountinfo").exists()


def test_reflinks_are_tried(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only within a file system, and by doing it."""
    (tmp_path / "a.jpg").write_bytes(b"photo")
    with (
        Target(tmp_path / "out", 456) as target,
        Tree(tmp_path, durable=False) as mirror,
        Tree(Path("/proc"), durable=False) as elsewhere,
    ):
        assert not target.can_share(elsewhere, "version")
        monkeypatch.setattr("fcntl.ioctl", lambda *_: 0)
        assert target.can_share(mirror, "a.jpg")
        assert not target.can_share(mirror, "b.jpg")
        monkeypatch.setattr(os, "open", _refuse)
        assert not target.can_share(mirror, "a.jpg")


def _refuse(*_: object, **__: object) -> int:
    raise OSError(errno.EOPNOTSUPP, "no")
