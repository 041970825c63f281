"""Durable file work: no link is followed, nothing half-written gets a name, no move loses a file."""

from __future__ import annotations

import errno
import os
import subprocess
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from ninepic_mirror.archive.faults import storage_error, translated
from ninepic_mirror.archive.files import Found, Tree, split, write_all
from ninepic_mirror.errors import StorageError

if TYPE_CHECKING:
    from collections.abc import Iterator

needs_mount = pytest.mark.skipif(os.geteuid() != 0, reason="mounting a tmpfs needs root")


@pytest.fixture
def tree(tmp_path: Path) -> Iterator[Tree]:
    """Return a tree that syncs."""
    (tmp_path / "event").mkdir()
    with Tree(tmp_path / "event") as tree:
        yield tree


@contextmanager
def mounted(path: Path, options: str) -> Iterator[None]:
    """Mount a tmpfs for the length of the block."""
    path.mkdir(exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "none", path], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", path], check=True)


def put(tree: Tree, path: str, data: bytes = b"photo") -> Path:
    """Write a file below the tree."""
    place = tree.root / path
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_bytes(data)
    return place


def test_what_close_says_counts_only_where_something_was_written(
    tree: Tree, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A network file system may refuse what was written as late as that; of a file that was read it says nothing."""
    put(tree, "a/b.jpg")
    close = os.close

    def fail(descriptor: int) -> None:
        close(descriptor)
        raise OSError(errno.EDQUOT, "quota")

    monkeypatch.setattr(os, "close", fail)
    assert tree.read("a/b.jpg", 10) == b"photo"
    with pytest.raises(OSError, match="quota"):
        tree.create("a/c.jpg", b"new", None)
    with pytest.raises(OSError, match="quota"), tree.opened("a/b.jpg", os.O_WRONLY):
        pass


class Calls:
    """Records the system calls that matter to durability, in order, as `name path`.

    This is the one place that looks between us and the system: what a power cut leaves cannot be read from the files.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.seen: list[str] = []
        fsync, rename, mkdir = os.fsync, os.rename, os.mkdir

        def recorded_fsync(descriptor: int) -> None:
            self.seen.append(f"sync {Path(f'/proc/self/fd/{descriptor}').readlink()}")
            fsync(descriptor)

        def recorded_rename(old: str, new: str, **folders: int) -> None:
            self.seen.append(f"rename {new}")
            rename(old, new, **folders)

        def recorded_mkdir(name: str, mode: int, *, dir_fd: int) -> None:
            self.seen.append(f"mkdir {name}")
            mkdir(name, mode, dir_fd=dir_fd)

        monkeypatch.setattr(os, "fsync", recorded_fsync)
        monkeypatch.setattr(os, "rename", recorded_rename)
        monkeypatch.setattr(os, "mkdir", recorded_mkdir)


# --- errors -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (errno.ENOSPC, "full"), (errno.EDQUOT, "quota"), (errno.EROFS, "read-only"), (errno.EIO, "I/O"),
        (errno.EACCES, "denied"), (errno.ELOOP, "link"), (errno.ENOTDIR, "folder is due"),
        (errno.EISDIR, "file is due"), (errno.EMFILE, "open files"), (errno.EXDEV, "cross-device"),
    ],
)  # fmt: skip
def test_errors_carry_a_cure(number: int, text: str) -> None:
    """What the system says becomes a StorageError that names the place, the fault and the next step."""
    with pytest.raises(StorageError, match=text) as raised, translated("/mirror/a"):
        raise OSError(number, os.strerror(number))
    assert raised.value.path == "/mirror/a"
    assert raised.value.cure


@pytest.mark.parametrize("kind", ["link", "file"])
def test_what_stands_in_a_folders_place_is_named(tree: Tree, tmp_path: Path, kind: str) -> None:
    """The cure says "move it away": the message names that very path, not the folder above it."""
    put(tree, "day/a.jpg")
    (tree.root / "day/06").symlink_to(tmp_path) if kind == "link" else put(tree, "day/06")
    with (
        pytest.raises(StorageError) as raised,
        translated(str(tree.root)),
        tree.folder("day/06/large", make=True),
    ):
        pass
    assert raised.value.path == str(tree.root / "day/06")


def test_an_error_without_a_number_is_told_too() -> None:
    """An OSError that carries only a text keeps it."""
    assert storage_error(OSError("odd"), "x").text == "odd"


def test_what_is_no_file_is_to_be_moved_away(tree: Tree) -> None:
    """No call of the system's says so, and so no documentation of its errors helps."""
    os.mkfifo(tree.root / "pipe")
    with pytest.raises(StorageError, match="no regular file") as raised, translated("pipe"):
        tree.read("pipe", 9)
    assert raised.value.cure.startswith("move it away")


def test_other_errors_are_left_alone() -> None:
    """Only the system's errors are translated."""
    with pytest.raises(KeyError), translated("x"):
        raise KeyError


def test_every_byte_is_written() -> None:
    """A write that takes only some of the bytes is continued (RELIABILITY, Facts)."""
    reader, writer = os.pipe()
    os.set_blocking(reader, False)
    try:
        size = 50_000  # below the 64 KiB that a pipe holds
        write_all(writer, memoryview(bytes(size)))
        assert len(os.read(reader, size * 2)) == size
    finally:
        os.close(reader)
        os.close(writer)


def test_short_writes_are_continued(tree: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    """However little a single write takes, the file ends up whole."""
    write = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, data: write(descriptor, data[:3]))
    tree.write_whole("a", [b"0123456789"], "new")
    assert (tree.root / "a").read_bytes() == b"0123456789"


# --- links and other things in the way --------------------------------------------------------------------------


def test_a_tree_needs_its_folder(tmp_path: Path) -> None:
    """A folder that is not there, or is a link, is refused."""
    (tmp_path / "link").symlink_to(tmp_path)
    for name in ("none", "link"):
        with pytest.raises(StorageError):
            Tree(tmp_path / name)


def test_closing_twice_is_harmless(tree: Tree) -> None:
    """Close is idempotent."""
    tree.close()
    tree.close()


def test_links_lead_nowhere(tree: Tree, tmp_path: Path) -> None:
    """A link planted in the mirror, as a folder or a file, is never followed (RELIABILITY L17)."""
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "canary").write_bytes(b"canary")
    (tree.root / "folder").symlink_to(outside)
    (tree.root / "file").symlink_to(outside / "canary")
    put(tree, "mine")
    for act in (
        lambda: tree.move("mine", "folder/x"),
        lambda: tree.link("mine", "folder/x"),
        lambda: tree.write_whole("folder/x", [b"x"], "folder/new"),
        lambda: tree.remove("folder/canary"),
        lambda: tree.remove_folder("folder"),
        lambda: tree.read("file", 10),
        lambda: tree.sync_file("folder/canary"),
    ):
        with pytest.raises(OSError, match=r"Not a directory|symbolic"):
            act()
    assert tree.stat("folder/canary") is None
    assert tree.folder_mtime("folder") is None
    assert list(tree.entries("folder")) == []
    found = tree.stat("file")
    assert found is not None
    assert not found.is_file
    assert [path.name for path in outside.iterdir()] == ["canary"]


def test_devices_and_pipes_are_refused(tree: Tree) -> None:
    """A named pipe in a photo's place neither hangs us nor is read."""
    os.mkfifo(tree.root / "pipe")
    with pytest.raises(OSError, match="no regular file"):
        tree.read("pipe", 10)
    with pytest.raises(OSError, match="No such device"), tree.opened("pipe", os.O_WRONLY):
        pass
    (tree.root / "folder").mkdir()
    with pytest.raises(OSError, match="no regular file"):
        tree.sync_file("folder")


def test_kinds_are_told_apart(tree: Tree) -> None:
    """Entries are files, folders or neither; of a folder that is not there, there are none."""
    put(tree, "f")
    (tree.root / "d").mkdir()
    (tree.root / "l").symlink_to("f")
    assert dict(tree.entries("")) == {"f": "file", "d": "folder", "l": "other"}
    assert list(tree.entries("none")) == []


def test_stat_sees_what_is_there(tree: Tree) -> None:
    """Size, time, inode and links are those of the entry; nothing is None."""
    place = put(tree, "a/f", b"12345")
    seen = place.stat()
    assert tree.stat("a/f") == Found(5, seen.st_mtime_ns, seen.st_ino, is_file=True, links=1)
    assert tree.stat("a/none") is None
    assert tree.stat("a/f/x") is None


def test_other_faults_are_not_taken_for_nothing(tree: Tree) -> None:
    """That something cannot be looked at does not mean that it is not there."""
    with pytest.raises(OSError, match="too long"):
        tree.stat("x" * 300)


def test_folder_times(tree: Tree) -> None:
    """A folder's time changes when a name in it comes; there is none for what is no folder."""
    put(tree, "a/f")
    os.utime(tree.root / "a", ns=(1, 1))
    assert tree.folder_mtime("a") == 1
    put(tree, "a/g")
    assert tree.folder_mtime("a") != 1
    assert tree.folder_mtime("none") is None
    assert tree.folder_mtime("a/f") is None


# --- making and syncing -----------------------------------------------------------------------------------------


def test_new_folders_are_synced_in_their_parents(
    tree: Tree, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A folder made on the way is durable before anything is put into it."""
    calls = Calls(monkeypatch)
    with tree.folder("a/b", make=True):
        pass
    assert calls.seen == ["mkdir a", f"sync {tree.root}", "mkdir b", f"sync {tree.root}/a"]
    with pytest.raises(FileNotFoundError), tree.folder("c"):
        pass


def test_found_folders_are_anchored_once(tree: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder that a killed run made, or a person, is synced up to the root the first time, later alone."""
    put(tree, "a/b/f")
    calls = Calls(monkeypatch)
    tree.sync_folder("a/b")
    assert calls.seen == [
        f"sync {tree.root}/a/b",
        f"sync {tree.root}/a",
        f"sync {tree.root}",
    ]
    calls.seen.clear()
    tree.sync_folder("a/b")
    assert calls.seen == [f"sync {tree.root}/a/b"]


def test_a_folder_made_by_another_process_meanwhile_is_used(
    tree: Tree, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Being second to make a folder is no fault, and it is synced all the same."""
    mkdir = os.mkdir

    def twice(name: str, mode: int, *, dir_fd: int) -> None:
        mkdir(name, mode, dir_fd=dir_fd)
        mkdir(name, mode, dir_fd=dir_fd)

    monkeypatch.setattr(os, "mkdir", twice)
    with tree.folder("a", make=True):
        assert (tree.root / "a").is_dir()


def test_durability_can_be_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With `durability = "none"` nothing is synced."""
    calls = Calls(monkeypatch)
    with Tree(tmp_path, durable=False) as tree:
        tree.write_whole("a/b", [b"x"], "new")
    assert not [call for call in calls.seen if call.startswith("sync")]


def test_a_sync_that_failed_is_not_tried_again(tree: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel may have dropped the pages: a second call would say that all is well (RELIABILITY L4)."""
    calls = []

    def fail_once(descriptor: int) -> None:
        calls.append(descriptor)
        if len(calls) == 1:
            raise OSError(errno.EIO, os.strerror(errno.EIO))

    tree.create("photo.jpg", b"bytes", None)
    monkeypatch.setattr(os, "fsync", fail_once)
    with pytest.raises(OSError, match="Input/output"):
        tree.sync_file("photo.jpg")
    assert len(calls) == 1


def test_whole_writes_sync_before_the_rename(tree: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    """The order of a small file: write, sync, rename, sync the folder; the old one stands until then."""
    put(tree, "event.json", b"old")
    put(tree, "p/new", b"left by a crash")
    calls = Calls(monkeypatch)
    tree.write_whole("event.json", [b"ne", b"w"], "p/new")
    assert calls.seen == [f"sync {tree.root}/p/new", "rename event.json", f"sync {tree.root}"]
    assert (tree.root / "event.json").read_bytes() == b"new"
    assert list((tree.root / "p").iterdir()) == []


@needs_mount
def test_a_full_disk_leaves_the_old_file(tmp_path: Path) -> None:
    """ENOSPC in the middle of a write leaves what was there, and works again when there is room."""
    with mounted(tmp_path / "small", "size=64k"), Tree(tmp_path / "small") as tree:
        tree.write_whole("a", [b"old"], "new")
        with pytest.raises(OSError, match="No space"):
            tree.write_whole("a", [bytes(30_000)] * 9, "new")
        assert tree.read("a", 10) == b"old"
        tree.write_whole("a", [b"newer"], "new")
        assert tree.read("a", 10) == b"newer"


@needs_mount
def test_links_over_file_systems_are_refused(tmp_path: Path) -> None:
    """A link onto another file system is an OSError of which the store makes a copy."""
    with Tree(tmp_path) as tree, mounted(tmp_path / "other", "size=64k"):
        put(tree, "a")
        with pytest.raises(OSError, match="cross-device"):
            tree.link("a", "other/a")


# --- moving, linking, removing ----------------------------------------------------------------------------------


def test_moves_make_their_folders(tree: Tree) -> None:
    """A file is renamed to where its folder does not exist yet; what stands there is replaced."""
    put(tree, "a/f", b"1")
    tree.move("a/f", "b/c/g")
    assert (tree.root / "b/c/g").read_bytes() == b"1"
    put(tree, "h", b"2")
    tree.move("h", "b/c/g")
    assert (tree.root / "b/c/g").read_bytes() == b"2"
    assert not (tree.root / "h").exists()


def test_moves_of_links_take_the_old_name_away(tree: Tree) -> None:
    """Between two links of one file rename(2) does nothing: the old name must go all the same."""
    put(tree, "a/f")
    tree.link("a/f", "b/f")
    tree.move("a/f", "b/f")
    assert not (tree.root / "a/f").exists()
    assert (tree.root / "b/f").stat().st_nlink == 1


def test_a_move_onto_itself_keeps_the_file(tree: Tree) -> None:
    """A move to the same place loses nothing."""
    put(tree, "a/f")
    tree.move("a/f", "a/f")
    assert (tree.root / "a/f").exists()


def test_names_that_differ_in_case_keep_the_file(tree: Tree) -> None:
    """Where two names in one folder differ only in case they may be one: neither is ever removed."""
    put(tree, "a/f")
    tree.link("a/f", "a/F")  # to a file system without regard to case these would be one name
    tree.move("a/f", "a/F")
    assert (tree.root / "a/F").read_bytes() == b"photo"


def test_a_move_of_nothing_is_an_error(tree: Tree) -> None:
    """A source that is not there is told, and what stands at the target is left alone."""
    put(tree, "b")
    with pytest.raises(FileNotFoundError):
        tree.move("a", "b")
    assert (tree.root / "b").exists()


def test_a_link_is_a_second_name(tree: Tree) -> None:
    """Both names show one file; a taken name is refused."""
    put(tree, "a")
    tree.link("a", "n/b")
    assert (tree.root / "a").samefile(tree.root / "n/b")
    with pytest.raises(FileExistsError):
        tree.link("a", "n/b")


def test_cloning_keeps_the_bytes_and_the_time(tree: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the file system cannot share blocks the target keeps its own; where it can, its time stays."""
    put(tree, "a", b"same")
    place = put(tree, "b", b"same")
    os.utime(place, (5, 5))
    tree.clone("a", "b")
    assert (place.read_bytes(), place.stat().st_mtime) == (b"same", 5)

    import fcntl

    # No file system here may share blocks, so the one call that asks for it is answered in its place.
    monkeypatch.setattr(fcntl, "ioctl", lambda to, *_: os.utime(to, (9, 9)))
    assert tree.clone("a", "b")
    assert place.stat().st_mtime == 5
    monkeypatch.undo()
    put(tree, "pipe").unlink()
    with pytest.raises(FileNotFoundError):
        tree.clone("none", "b")


def test_cloning_says_when_it_cannot(tree: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    """A refusal of the file system is an answer, not an error."""
    import fcntl

    def refuse(*_: object) -> None:
        raise OSError(errno.EOPNOTSUPP, "not supported")

    monkeypatch.setattr(fcntl, "ioctl", refuse)
    put(tree, "a")
    put(tree, "b")
    assert not tree.clone("a", "b")


def test_removing_what_is_not_there_is_fine(tree: Tree) -> None:
    """A name is taken away once or never; a folder is not taken for a file."""
    put(tree, "a/f")
    tree.remove("a/f")
    tree.remove("a/f")
    tree.remove("none/f")
    with pytest.raises(IsADirectoryError):
        tree.remove("a")


def test_folders_go_with_all_that_is_in_them(tree: Tree, tmp_path: Path) -> None:
    """A removed folder takes links with it, never what they point to."""
    outside = tmp_path / "outside"
    outside.write_bytes(b"x")
    put(tree, "t/a/f")
    (tree.root / "t/a/l").symlink_to(outside)
    tree.remove_folder("t")
    assert outside.exists()
    assert not (tree.root / "t").exists()


def test_pruning_stops_at_what_is_not_empty(tree: Tree) -> None:
    """Empty folders go upwards, up to one that holds something, or the tree itself."""
    put(tree, "a/keep")
    (tree.root / "a/b/c").mkdir(parents=True)
    tree.prune("a/b/c")
    assert sorted(path.name for path in (tree.root / "a").iterdir()) == ["keep"]
    (tree.root / "e").mkdir()
    tree.prune("e")
    assert not (tree.root / "e").exists()
    tree.prune("")
    assert tree.root.exists()


def test_bytes_are_compared(tree: Tree) -> None:
    """Equal means every byte; of other sizes, missing or no file is not equal."""
    big = bytes(range(256)) * 8192  # two chunks
    put(tree, "a", big)
    put(tree, "b", big)
    put(tree, "c", big[:-1] + b"!")
    put(tree, "d", big[:-1])
    (tree.root / "l").symlink_to("a")
    assert tree.same_bytes("a", "b")
    for other in ("c", "d", "l", "none"):
        assert not tree.same_bytes("a", other)


def test_a_new_file_is_whole_and_has_its_time(tree: Tree) -> None:
    """A file made from memory has every byte and the time asked for, whatever an earlier try left there."""
    (tree.root / "n").mkdir()
    tree.create("n/a", memoryview(b"photo"), 86_400.5)
    place = tree.root / "n/a"
    assert (place.read_bytes(), place.stat().st_mtime) == (b"photo", 86_400.5)
    tree.create("n/a", b"other", None)
    assert place.read_bytes() == b"other"
    (tree.root / "n/b").symlink_to("a")
    tree.create("n/b", b"not through a link", None)
    assert place.read_bytes() == b"other"


# --- a batch ----------------------------------------------------------------------------------------------------


def test_a_batch_opens_each_folder_once(tree: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    """Folders stay open until the batch ends, up to a number; then nothing is left open."""
    (tree.root / "a/b").mkdir(parents=True)
    before = len(os.listdir("/proc/self/fd"))
    with tree.holding() as batch:
        put(tree, "a/b/f")
        assert batch.stat("a/b/f") is not None
        opened: list[object] = []
        real = os.open

        def watched(path: str, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
            opened.append(path)
            return real(path, flags, mode, dir_fd=dir_fd)

        monkeypatch.setattr(os, "open", watched)
        assert batch.stat("a/b/f") is not None
        assert opened == []
        monkeypatch.undo()
        for number in range(40):
            batch.create(f"f{number}", b"x", None)
            batch.link(f"f{number}", f"n/{number}/f")
        assert len(os.listdir("/proc/self/fd")) <= before + 18
        batch.close()
        batch.close()
    assert len(os.listdir("/proc/self/fd")) == before
    assert len(list((tree.root / "n").glob("*/f"))) == 40


def test_a_batch_stays_in_its_own_folder(tree: Tree) -> None:
    """What is put in the event folder's place meanwhile, say by a mount, is not written to."""
    there = tree.root.with_name("moved")
    tree.root.rename(there)
    tree.root.mkdir()
    with tree.holding() as batch:
        batch.create("f", b"photo", None)
    assert (there / "f").read_bytes() == b"photo"
    assert list(tree.root.iterdir()) == []


def test_a_batch_may_be_worked_on_by_threads(tree: Tree) -> None:
    """Threads that ask for the same folders at once write all their files."""
    with tree.holding() as batch, ThreadPoolExecutor(8) as pool:
        for folder in ("a/b", "a/c"):
            with batch.folder(folder, make=True):
                pass
        paths = [f"a/{'bc'[number % 2]}/{number}" for number in range(64)]
        list(pool.map(lambda path: batch.create(path, path.encode(), None), paths))
    assert all((tree.root / path).read_text() == path for path in paths)


def test_reading_is_limited(tree: Tree) -> None:
    """At most so many bytes are read."""
    put(tree, "a", b"0123456789")
    assert tree.read("a", 4) == b"0123"
    assert tree.read("a", 99) == b"0123456789"


def test_paths_are_split() -> None:
    """A path is a folder and a name; at the top the folder is empty."""
    assert split("a/b/c") == ("a/b", "c")
    assert split("c") == ("", "c")
