"""What file systems do not take is told before the first byte is written."""

from __future__ import annotations

import pytest

from ninepic_mirror.delivery.limits import Ground, Load, check_files, check_room, together
from ninepic_mirror.errors import StorageError, UsageError

GIB = 1 << 30
ROOMY = 100 * GIB


def load(*names: str, size: int = 10, tags: int = 0) -> Load:
    """Return a folder with these files."""
    return Load("/media/disk/out", dict.fromkeys(names, size), tags)


@pytest.mark.parametrize("kind", ["ext4", "vfat", "exfat", "fuseblk", ""])
def test_usual_packages_fit_everywhere(kind: str) -> None:
    """The mirror's names are legal on every file system."""
    check_files(load("data/2026-01-19/06/large/a~0f.jpg", "index.html"), Ground(kind, ROOMY))


@pytest.mark.parametrize("kind", ["vfat", "msdos"])
def test_files_of_fat_end_at_4_gib(kind: str) -> None:
    """One byte more is refused; exFAT takes it."""
    short = Ground(kind, ROOMY, longest_name=255)
    check_files(load("a.jpg", size=4 * GIB - 1), short)
    with pytest.raises(UsageError, match="4 GiB"):
        check_files(load("a.jpg", size=4 * GIB), short)
    check_files(load("a.jpg", size=4 * GIB), Ground("exfat", ROOMY))


def test_a_zip_for_fat_is_to_be_cut() -> None:
    """The zip counts, not what is in it, and the cure says how."""
    zipped = Load("/media/disk/out", {"a.jpg": 1}, 0, zipped={"out.zip": 5 * GIB})
    with pytest.raises(UsageError) as raised:
        check_files(zipped, Ground("vfat", ROOMY))
    assert "--volume-size" in raised.value.cure


@pytest.mark.parametrize(
    ("kind", "name", "words"),
    [
        ("ext4", "a" * 256, "longer than 255 bytes"),
        ("exfat", "a?.jpg", "character"),
        ("vfat", "data./a.jpg", "character"),
        ("msdos", "aaaaaaaaa.jpg", "8 characters"),
        ("exfat", "/".join(["a" * 60] * 5), "Windows"),
    ],
)
def test_names_that_are_refused(kind: str, name: str, words: str) -> None:
    """The name is told, and what is wrong with it."""
    with pytest.raises(UsageError, match=words):
        check_files(load(name), Ground(kind, ROOMY))
    if kind != "ext4":
        check_files(load(name), Ground("ext4", ROOMY))


@pytest.mark.parametrize(
    ("kind", "name", "words"),
    [
        ("vfat", "out?", "character"),
        ("fuseblk", "out.", "character"),
        ("exfat", "CON.zip", "device"),
        ("ext4", "a" * 250, "longer than 255 bytes"),
    ],
)
def test_a_package_with_a_name_that_is_refused(kind: str, name: str, words: str) -> None:
    """It is told before anything is made, of a zip, too; with the longer name that it has until it is whole."""
    for zipped in (None, {name: 1}):
        one = Load(f"/media/disk/{name}", {"a.jpg": 1}, 0, zipped=zipped)
        with pytest.raises(UsageError, match=words):
            check_files(one, Ground(kind, ROOMY))
    check_files(Load("/media/disk/out", {"a.jpg": 1}, 0), Ground(kind, ROOMY))


def test_names_that_differ_by_case_alone() -> None:
    """FAT would overwrite one of them."""
    with pytest.raises(UsageError, match="without regard to case"):
        check_files(load("A.jpg", "a.jpg"), Ground("exfat", ROOMY))
    check_files(load("A.jpg", "a.jpg"), Ground("ext4", ROOMY))
    check_files(load("a.jpg", "b.jpg"), Ground("exfat", ROOMY))


def test_a_folder_of_fat_holds_so_many_names() -> None:
    """A long name takes several entries of the folder; exFAT has no such limit."""
    names = [f"thumbnails/{number:036}.jpg" for number in range(13_107)]
    check_files(load(*names[:-1]), Ground("vfat", ROOMY))
    with pytest.raises(UsageError, match="more files than a folder of FAT32"):
        check_files(load(*names), Ground("vfat", ROOMY))
    check_files(load(*names), Ground("exfat", ROOMY))


def test_room() -> None:
    """Whole blocks count; what an interrupted run wrote does not; links and reflinks take no room."""
    check_room(load("a", "b", tags=100), Ground("ext4", 8292))
    with pytest.raises(StorageError, match="are free"):
        check_room(load("a", "b", tags=100), Ground("ext4", 8291))
    check_room(load("a", "b", tags=100), Ground("ext4", 8291), already=1)
    check_room(load("a", "b"), Ground("btrfs", 0, shares=True))
    check_room(Load("x", {"a": 1}, 0, free_of_charge=True), Ground("ext4", 0))
    with pytest.raises(StorageError, match="are free"):
        check_room(Load("x", {"a": 1}, 0, zipped={"out.zip": 10}), Ground("btrfs", 0, shares=True))


def test_inodes() -> None:
    """Files and folders count, less those of an interrupted run; links and a zip need none, and some disks have no limit."""
    two = load("x/a", "y/b")
    check_room(two, Ground("ext4", ROOMY, inodes=4))
    with pytest.raises(StorageError, match=r"4 files and folders .* 3 inodes"):
        check_room(two, Ground("ext4", ROOMY, inodes=3))
    check_room(two, Ground("ext4", ROOMY, inodes=3), 1, 1)
    check_room(load("a"), Ground("btrfs", ROOMY))
    check_room(Load("x", {"a": 1}, 0, free_of_charge=True), Ground("ext4", ROOMY, inodes=0))
    check_room(Load("x", {"a": 1}, 0, zipped={"out.zip": 10}), Ground("ext4", ROOMY, inodes=0))


def test_several_packages_are_one_load() -> None:
    """What one command writes has to fit together."""
    both = together("/media", [load("a", tags=1), load("a", tags=2)])
    assert (sorted(both.sizes), both.tags, both.zipped) == (["0/a", "1/a"], 3, None)
    zips = together("/media", [Load("x", {}, 0, zipped={n: 5}) for n in ("a.zip", "b.zip")])
    assert zips.zipped == {"a.zip": 5, "b.zip": 5}
