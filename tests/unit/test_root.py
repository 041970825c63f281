"""The mirror root: never taken for an empty mount point, never left with files of the wrong owner."""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from ninepic_mirror.archive.manifest import NAME, Manifest
from ninepic_mirror.archive.root import MARKER, OWN_FOLDER, Root
from ninepic_mirror.errors import RootBusyError, StorageError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator

needs_root = pytest.mark.skipif(
    os.geteuid() != 0, reason="mounting and giving files away need root"
)


@contextmanager
def mounted(path: Path) -> Iterator[None]:
    """Mount a tmpfs for the length of the block."""
    path.mkdir(parents=True, exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "none", path], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", path], check=True)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return where a mirror may be."""
    return tmp_path / "srv/mirror"


@pytest.fixture
def root(path: Path) -> Root:
    """Return a prepared root."""
    root = Root(path)
    root.prepare(make=True)
    return root


def event(root: Root, name: str) -> Path:
    """Make an event folder with a manifest."""
    folder = root.path / name
    (folder / OWN_FOLDER).mkdir(parents=True)
    root.manifest_path(folder).parent.mkdir(parents=True, exist_ok=True)
    Manifest.open(root.manifest_path(folder)).close()
    return folder


# --- the marker -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [True, False])
def test_a_root_that_does_not_exist_is_made(path: Path, make: bool) -> None:
    """Anyone may make a new root, the daemon too (DESIGN §5)."""
    Root(path).prepare(make=make)
    assert (path / MARKER).is_file()
    Root(path).prepare(make=False)


@pytest.mark.parametrize("content", [[], ["lost+found/"], [f"{MARKER}.new", f"{MARKER}.new-12"]])
def test_an_empty_root_is_taken_by_a_typed_command_only(path: Path, content: list[str]) -> None:
    """An empty folder may be an unmounted disk: the daemon leaves it alone; a half-made marker is nothing."""
    path.mkdir(parents=True)
    for name in content:
        (path / name).mkdir() if name.endswith("/") else (path / name).touch()
        os.utime(path / name, (0, 0))
    with pytest.raises(StorageError, match="no mirror root") as raised:
        Root(path).prepare(make=False)
    assert "touch" in raised.value.cure
    Root(path).prepare(make=True)
    assert [name for name in os.listdir(path) if name.startswith(MARKER)] == [MARKER]


def test_a_root_with_mirrors_gets_its_marker_back(root: Root) -> None:
    """Event folders with a manifest show what it is, to a typed command."""
    event(root, "456-marathon")
    (root.path / MARKER).unlink()
    with pytest.raises(StorageError):
        Root(root.path).prepare(make=False)
    Root(root.path).prepare(make=True)


def test_a_folder_of_somebody_else_is_refused(path: Path) -> None:
    """Nothing is written into a folder with other things, whoever asks."""
    path.mkdir(parents=True)
    (path / "holiday.jpg").touch()
    with pytest.raises(StorageError, match="no mirror root"):
        Root(path).prepare(make=True)
    assert os.listdir(path) == ["holiday.jpg"]


@pytest.mark.parametrize("exists", [True, False])
def test_a_root_that_the_state_folder_knows_is_refused(
    path: Path, tmp_path: Path, exists: bool
) -> None:
    """When manifests are known and the root is empty, its disk is not mounted (DESIGN §5)."""
    state = tmp_path / "state"
    (state / "456").mkdir(parents=True)
    (state / "456" / NAME).touch()
    if exists:
        path.mkdir(parents=True)
    with pytest.raises(StorageError, match="knows mirrors of it"):
        Root(path, state).prepare(make=True)


def test_a_file_is_no_root(tmp_path: Path) -> None:
    """A file in the root's place is told, not overwritten."""
    (tmp_path / "file").write_text("mine")
    with pytest.raises(StorageError):
        Root(tmp_path / "file").prepare(make=True)
    with pytest.raises(StorageError):
        Root(tmp_path / "file/below").prepare(make=True)
    assert (tmp_path / "file").read_text() == "mine"


@pytest.mark.parametrize("make", [True, False])
def test_what_is_no_folder_is_told(tmp_path: Path, make: bool) -> None:
    """A file in the root's place, above it, or a ring of links: each with its own cure."""
    (tmp_path / "file").touch()
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    for name, text in (("file", "a file stands"), ("file/x", "folder is due"), ("a", "circle")):
        with pytest.raises(StorageError, match=text) as raised:
            Root(tmp_path / name).prepare(make=make)
        assert raised.value.cure
        assert "documentation" not in raised.value.cure


def test_the_operators_own_link_is_followed(path: Path, tmp_path: Path) -> None:
    """The root itself may be reached by a link; everything below is then as usual."""
    (tmp_path / "link").symlink_to(path)
    path.mkdir(parents=True)
    root = Root(tmp_path / "link")
    root.prepare(make=True)
    assert root.make_folder(456, None) == path / "456"


def test_a_required_mount_is_required(root: Root) -> None:
    """With `require_mount` a root on its parent's file system is refused, marker or not."""
    with pytest.raises(StorageError, match="nothing is mounted"):
        Root(root.path, require_mount=True).prepare(make=True)


@needs_root
def test_a_mount_is_noticed_before_each_commit(path: Path) -> None:
    """What was mounted or unmounted meanwhile stops the pass before it writes (RELIABILITY L5)."""
    with mounted(path):
        root = Root(path, require_mount=True)
        root.prepare(make=True)
        root.check()
        assert 0 < root.free() <= 1 << 20
        with mounted(path), pytest.raises(StorageError, match="vanished"):
            root.check()
        with mounted(path):
            (path / MARKER).touch()  # even a mirror, but another one
            with pytest.raises(StorageError, match="vanished"):
                root.check()
        root.check()
    with pytest.raises(StorageError, match="vanished"):
        root.check()


def test_a_lost_marker_is_noticed(root: Root) -> None:
    """Without its marker nothing is written."""
    root.check()
    (root.path / MARKER).unlink()
    with pytest.raises(StorageError, match="vanished"):
        root.check()


def test_no_folder_on_a_bare_mount_point(root: Root) -> None:
    """An event that is seen for the first time gets no folder where the mirror root has gone (RELIABILITY L5)."""
    (root.path / MARKER).rename(root.path.parent / MARKER)
    with pytest.raises(StorageError):
        root.make_folder(456, "x")
    assert not os.listdir(root.path)


# --- owners -----------------------------------------------------------------------------------------------------


@needs_root
@pytest.mark.parametrize("user", [65_534, 4_242])
def test_root_stays_out_of_other_peoples_mirrors(root: Root, user: int) -> None:
    """Files of root's would be a mirror that its owner cannot move: the command names whom to run it as."""
    os.chown(root.path / MARKER, user, -1)
    with pytest.raises(StorageError, match="belongs to") as raised:
        Root(root.path).prepare(make=True)
    assert "sudo -u" in raised.value.cure


@needs_root
def test_who_only_reads_may_read_other_peoples_mirrors(root: Root) -> None:
    """`status` and `manifest` leave no files, whoever calls them."""
    os.chown(root.path / MARKER, 4_242, -1)
    Root(root.path).prepare(make=False, write=False)


def test_a_root_that_cannot_be_written_is_refused(
    root: Root, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without permission the pass does not begin. Root may write anywhere, so the question is answered here."""
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(StorageError, match="not writable"):
        Root(root.path).prepare(make=False)


def test_what_may_not_be_looked_at_is_told(root: Root, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder on the way that may not be entered is a storage fault, not a bug. Root may enter any."""

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    event(root, "456-x")
    fresh = Root(root.path)
    monkeypatch.setattr(os, "stat", refuse)
    with pytest.raises(StorageError, match="denied"):
        fresh.prepare(make=False)
    with pytest.raises(StorageError, match="denied") as raised:
        fresh.events()
    assert raised.value.path.endswith("456-x/.ninepic-mirror")
    with pytest.raises(StorageError, match="denied"):
        fresh.folder_of(456)


@needs_root
def test_a_read_only_root_says_so(path: Path) -> None:
    """On a file system mounted read-only nobody is told to change owners."""
    with mounted(path):
        Root(path).prepare(make=True)
        subprocess.run(["mount", "-o", "remount,ro", path], check=True)
        with pytest.raises(StorageError, match="file system is read-only"):
            Root(path).prepare(make=True)


def test_broken_entries_are_no_events(root: Root) -> None:
    """A dangling link or a ring of links beside the events hides none of them."""
    (root.path / "456-dangling").symlink_to("nowhere")
    (root.path / "456-ring").symlink_to("456-ring")
    folder = event(root, "456-x")
    assert root.folder_of(456) == folder
    assert root.events() == [(456, folder)]


def test_without_a_root_there_are_no_events(path: Path) -> None:
    """A root that does not exist yet holds nothing."""
    assert Root(path).events() == []
    assert Root(path).folder_of(456) is None


def test_parents_that_may_not_be_read_are_not_synced(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A parent that we may not open was not made by us. Root may open any, so one is refused here."""
    opened = os.open

    def refuse(place: object, flags: int, *args: int, **keywords: int) -> int:
        if str(place) == str(path.parent.parent):
            raise PermissionError(13, "Permission denied")
        return opened(str(place), flags, *args, **keywords)

    monkeypatch.setattr(os, "open", refuse)
    Root(path).prepare(make=True)
    assert (path / MARKER).is_file()


@needs_root
def test_parents_on_other_file_systems_are_not_synced(tmp_path: Path) -> None:
    """What is above the mount point was not made together with the root."""
    with mounted(tmp_path / "disk"):
        Root(tmp_path / "disk/a/b").prepare(make=True)
        assert (tmp_path / "disk/a/b" / MARKER).is_file()


# --- what the pacers learned ------------------------------------------------------------------------------------


def test_a_marker_that_is_no_file_says_nothing(root: Root, tmp_path: Path) -> None:
    """Nobody waits for a pipe, nor reads what a link leads to; a daemon does not take it for its own."""
    marker = root.path / MARKER
    marker.rename(tmp_path / "aside")
    os.mkfifo(marker)
    assert root.learned() == {}
    with pytest.raises(StorageError, match="is no regular file"):
        root.hold()
    marker.unlink()
    (tmp_path / "canary").write_text('{"pacers": {"api": 1}}')
    marker.symlink_to(tmp_path / "canary")
    assert root.learned() == {}


def test_what_was_learned_is_remembered(root: Root) -> None:
    """The marker carries what the pacers knew; a damaged one is as good as new."""
    assert root.learned() == {}
    root.remember({"api": {"rate": 5}})
    assert Root(root.path).learned() == {"api": {"rate": 5}}
    for text in ("", "[]", "not json", "[" * 4000, '{"pacers": 1}'):
        (root.path / MARKER).write_text(text)
        assert root.learned() == {}
    (root.path / MARKER).unlink()
    assert root.learned() == {}


def test_a_marker_that_cannot_be_written_is_told(root: Root) -> None:
    """A folder in the marker's place is a storage fault."""
    (root.path / MARKER).unlink()
    (root.path / MARKER / "x").mkdir(parents=True)
    with pytest.raises(StorageError, match="file is due"):
        root._write({})
    assert os.listdir(root.path) == [MARKER]


def test_what_cannot_be_remembered_ends_nothing(
    root: Root, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk's refusal is returned, the old marker stands, and nothing else is left. No disk here is full."""

    def refuse(*_: object) -> None:
        raise OSError(28, "No space left on device")

    root.remember({"api": 1})
    monkeypatch.setattr(os, "fsync", refuse)
    fault = root.remember({"api": 2})
    assert fault is not None
    assert "full" in fault.text
    assert root.learned() == {"api": 1}
    assert os.listdir(root.path) == [MARKER]


def test_a_bare_mount_point_gets_no_marker(root: Root) -> None:
    """Where the root vanished during the pass nothing is written: a marker would make a mirror of what is below."""
    (root.path / MARKER).unlink()
    fault = root.remember({})
    assert fault is not None
    assert "vanished" in fault.text
    assert os.listdir(root.path) == []


def test_two_processes_may_remember_at_once(root: Root, monkeypatch: pytest.MonkeyPatch) -> None:
    """While one writes the marker another may: neither sees the other's unfinished one, and the later wins."""
    other, sync = Root(root.path), os.fsync
    other.prepare(make=False)
    nested: list[StorageError | None] = []

    def meanwhile(descriptor: int) -> None:
        sync(descriptor)
        if not nested:
            nested.append(None)
            nested[0] = other.remember({"who": "other"})

    monkeypatch.setattr(os, "fsync", meanwhile)
    assert root.remember({"who": "one"}) is None
    assert nested == [None]
    assert root.learned() == {"who": "one"}
    assert os.listdir(root.path) == [MARKER]


def test_only_abandoned_markers_are_swept(root: Root) -> None:
    """What a killed process left goes after an hour; what another is writing now stays."""
    for name, age in (("old", 7200), ("new", 0)):
        place = root.path / f"{MARKER}.new-{name}"
        place.touch()
        moment = place.stat().st_mtime - age
        os.utime(place, (moment, moment))
    for name in ("456", f"{MARKER}.new-mine"):
        (root.path / name).mkdir()
        os.utime(root.path / name, (0, 0))
    assert root.remember({}) is None
    assert sorted(os.listdir(root.path)) == [
        MARKER, f"{MARKER}.new-mine", f"{MARKER}.new-new", "456",
    ]  # fmt: skip


# --- event folders ----------------------------------------------------------------------------------------------


def test_an_event_keeps_its_folder(root: Root) -> None:
    """A folder is named at first sight and found again by its id, whatever the slug becomes (DESIGN §5)."""
    assert root.folder_of(456) is None
    made = root.make_folder(456, "marathon")
    assert made == root.path / "456-marathon"
    assert (made / OWN_FOLDER).is_dir()
    assert root.make_folder(456, "other") == made
    event_folder = event(root, "45-x")
    assert root.folder_of(45, "new") == event_folder
    assert root.folder_of(4) is None


def test_a_slug_stays_inside_the_root(root: Root) -> None:
    """A slug from the service becomes one harmless name."""
    made = root.make_folder(456, "../../x")
    assert made.parent == root.path
    assert made.name.startswith("456-")


def test_the_folder_with_the_manifest_is_the_mirror(root: Root) -> None:
    """Of several folders the one with a manifest counts, then the one of the right name."""
    for name in ("456-a", "456-b"):
        (root.path / name).mkdir()
    (root.path / "456-file").touch()
    assert root.folder_of(456, "b") == root.path / "456-b"
    assert root.folder_of(456, "c") == root.path / "456-a"
    event(root, "456-z")
    assert root.folder_of(456, "b") == root.path / "456-z"
    event(root, "456-y")
    with pytest.raises(UsageError, match="two folders"):
        root.folder_of(456)


def test_a_planted_link_is_no_event_folder(root: Root, tmp_path: Path) -> None:
    """A link in an event folder's place is refused; nothing is made behind it (RELIABILITY L17)."""
    (tmp_path / "outside").mkdir()
    (root.path / "456-x").symlink_to(tmp_path / "outside")
    with pytest.raises(StorageError, match="folder is due"):
        root.make_folder(456, "x")
    assert list((tmp_path / "outside").iterdir()) == []


def test_manifests_may_stand_elsewhere(path: Path, tmp_path: Path) -> None:
    """With `state_dir` the manifest stands there, under the event folder's name."""
    state = tmp_path / "state"
    root = Root(path, state)
    root.prepare(make=True)
    folder = root.make_folder(456, "x")
    assert root.manifest_path(folder) == state / "456-x" / NAME
    assert (state / "456-x").is_dir()


def test_a_folder_that_is_gone_is_made_under_its_old_name(path: Path, tmp_path: Path) -> None:
    """The manifest in `state_dir` is found again by it, whatever the slug is now; of several, the newest."""
    root = Root(path, tmp_path / "state")
    root.prepare(make=True)
    assert root.kept_names() == []
    assert root.kept(456) is None
    for age, slug in enumerate(("new", "a", "z")):
        place = root.manifest_path(root.path / f"456-{slug}")
        place.parent.mkdir(parents=True)
        place.touch()
        os.utime(place, (9 - age, 9 - age))
    (tmp_path / "state/456-without").mkdir()
    assert root.kept(456) == root.path / "456-new"
    assert root.kept(45) is None
    assert root.make_folder(456, "other") == root.path / "456-new"


def test_mirrored_events_are_listed(root: Root) -> None:
    """Every folder with a manifest is an event, by its id; other folders are not."""
    assert Root(root.path / "none").events() == []
    event(root, "456-a")
    event(root, "7")
    (root.path / "notes").mkdir()
    (root.path / "8-empty").mkdir()
    assert root.events() == [(7, root.path / "7"), (456, root.path / "456-a")]


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="only Linux has such a file system")
def test_a_place_where_no_folder_can_be_made() -> None:
    """What /proc says of a new name is told with a cure."""
    with pytest.raises(StorageError, match="no folder can be made here") as raised:
        Root(Path("/proc/mirror")).prepare(make=True)
    assert raised.value.cure == "name another mirror root"


# --- the daemon that keeps it -----------------------------------------------------------------------------------

HOLD = (
    "import sys; from pathlib import Path; from ninepic_mirror.archive.root import Root;"
    "r = Root(Path(sys.argv[1])); r.prepare(make=False); r.hold(); print('held', flush=True); sys.stdin.read()"
)


def said(root: Root) -> dict[str, object]:
    """Return what the marker says."""
    found: dict[str, object] = json.loads((root.path / MARKER).read_text())
    return found


@pytest.fixture
def no_pause(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Let `hold` wait for nothing; return for how long it would have."""
    waits: list[float] = []
    monkeypatch.setattr(time, "sleep", waits.append)
    return waits


def test_another_daemon_is_told_who_keeps_the_root(root: Root, no_pause: list[float]) -> None:
    """It waits for a second at most; a holder that is killed leaves nothing stale (issue: life cycle)."""
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen([sys.executable, "-c", HOLD, str(root.path)], **pipes) as other:  # type: ignore[call-overload]  # two keywords
        assert other.stdout.readline() == b"held\n"
        with pytest.raises(RootBusyError, match=f"process {other.pid}") as raised:
            root.hold()
        assert raised.value.holder == other.pid
        assert sum(no_pause) == pytest.approx(1.0)
        inode = (root.path / MARKER).stat().st_ino
        assert root.remember({"api": 1}) is None
        assert (root.path / MARKER).stat().st_ino == inode, "the lock is on this file"
        assert root.learned() == {}, "the daemon knows best"
        other.kill()
        other.wait()
    root.hold()
    assert said(root)["daemon"] == os.getpid()
    root.release()


def test_one_process_is_kept_out_of_its_own_root(root: Root, no_pause: list[float]) -> None:
    """Two roots of one process are two daemons; when the first is released the second may have it."""
    other = Root(root.path)
    root.hold()
    with pytest.raises(RootBusyError) as raised:
        other.hold()
    assert raised.value.holder == os.getpid()
    root.release()
    root.release()
    other.hold()
    other.release()


def test_who_only_writes_is_waited_for(root: Root, monkeypatch: pytest.MonkeyPatch) -> None:
    """A pass that keeps what its pacers learned holds the marker for a moment: no daemon ends because of that."""
    other = Root(root.path)
    other.hold()
    monkeypatch.setattr(time, "sleep", lambda _: other.release())
    root.hold()
    root.release()


def test_a_kept_marker_stays_the_same_file(root: Root) -> None:
    """What is learned is written into it, longer or shorter; a new file in its place would not be locked."""
    root.remember({"api": {"rate": 5.0}, "photos": {"rate": 70.0}})
    inode = (root.path / MARKER).stat().st_ino
    root.hold()
    assert root.learned() == {"api": {"rate": 5.0}, "photos": {"rate": 70.0}}, (
        "holding it loses none"
    )
    root.prepare(make=False)
    longer: dict[str, object] = {"api": {"rate": 6.0}, "photos": {"x" * 50: 1.0}}
    for pacers in (longer, {"api": longer["api"]}):
        assert root.remember(pacers) is None
        assert Root(root.path).learned() == pacers
        assert said(root)["daemon"] == os.getpid()
    assert (root.path / MARKER).stat().st_ino == inode
    root.release()
    assert root.remember({"api": 2}) is None
    assert "daemon" not in said(root), "nobody keeps it any more"


def test_a_marker_that_was_replaced_meanwhile_is_not_kept(
    root: Root, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A pass may put a new marker there between our opening and our locking it: then the new one is locked."""
    lock, other = fcntl.flock, Root(root.path)
    other.prepare(make=False)
    replaced: list[int] = []

    def meanwhile(descriptor: int, how: int) -> None:
        if not replaced:
            replaced.append((root.path / MARKER).stat().st_ino)
            other._write({"api": 3})
        lock(descriptor, how)

    monkeypatch.setattr(fcntl, "flock", meanwhile)
    monkeypatch.setattr(time, "sleep", lambda _: None)
    before = set(os.listdir("/proc/self/fd")) if Path("/proc/self/fd").exists() else set()
    root.hold()
    assert (root.path / MARKER).stat().st_ino != replaced[0]
    assert os.path.samestat(os.fstat(root._held), (root.path / MARKER).stat())
    assert root.learned() == {"api": 3}
    root.release()
    after = set(os.listdir("/proc/self/fd")) if Path("/proc/self/fd").exists() else set()
    assert len(after) <= len(before)


def test_a_marker_that_left_meanwhile_is_told(root: Root, monkeypatch: pytest.MonkeyPatch) -> None:
    """Unmounted between opening and locking: a storage fault, and nothing stays open."""
    lock = fcntl.flock

    def meanwhile(descriptor: int, how: int) -> None:
        (root.path / MARKER).unlink()
        lock(descriptor, how)

    monkeypatch.setattr(fcntl, "flock", meanwhile)
    with pytest.raises(StorageError):
        root.hold()
    assert root._held == -1
    with pytest.raises(StorageError):
        root.hold()  # now there is none to be opened


def test_a_holder_that_cannot_be_read_is_nobody(root: Root, no_pause: list[float]) -> None:
    """The process id is a courtesy; garbage in the marker keeps no lock from being one, nor from being taken."""
    other = Root(root.path)
    other.hold()
    for text in ("", "{", "[1]", '{"daemon": "x"}', "\udcff"):
        (root.path / MARKER).write_bytes(text.encode("utf-8", "surrogateescape"))
        with pytest.raises(RootBusyError, match="another process") as raised:
            root.hold()
        assert raised.value.holder is None
    other.release()
    root.hold()
    assert said(root) == {"what": said(root)["what"], "pacers": {}, "daemon": os.getpid()}
    root.release()


def test_a_root_that_cannot_be_marked_is_kept_by_nobody(
    root: Root, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the disk refuses the marker's text the lock is given back: the next try must not find ourselves busy."""

    def refuse(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", refuse)
        with pytest.raises(StorageError, match="full"):
            root.hold()
    other = Root(root.path)
    other.hold()
    other.release()
