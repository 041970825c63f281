"""One instance at a time works on an event."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from ninepic_mirror.archive.lock import ALTERED, PATH, RESTORED, Lock, is_older, opened, suspected
from ninepic_mirror.archive.sums import write_stale
from ninepic_mirror.errors import StorageError
from tests.shelf import SIX, window

if TYPE_CHECKING:
    from pathlib import Path

    from tests.shelf import Shelf

HOLD = (
    "import sys; from pathlib import Path; from ninepic_mirror.archive.lock import Lock;"
    "l = Lock(Path(sys.argv[1])); print(l.try_lock(), flush=True); sys.stdin.read()"
)


def test_another_process_is_kept_out_until_it_dies(tmp_path: Path) -> None:
    """The second instance sees who holds the lock, and kill -9 leaves nothing stale (RELIABILITY L6)."""
    path = tmp_path / "lock"
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen([sys.executable, "-c", HOLD, str(path)], **pipes) as other:  # type: ignore[call-overload]  # two keywords
        assert other.stdout.readline() == b"True\n"
        with opened(path) as lock:
            assert not lock.try_lock()
            assert lock.holder() == other.pid
            other.kill()
            other.wait()
            assert lock.try_lock()
            assert lock.holder() == os.getpid()


def test_the_lock_ends_with_the_block(tmp_path: Path) -> None:
    """Leaving the block gives the lock back, whatever happened inside."""
    path = tmp_path / "lock"
    with pytest.raises(KeyError), opened(path) as lock:
        raise KeyError(lock.try_lock())
    with opened(path) as lock, opened(path) as second:
        assert lock.try_lock()
        assert not second.try_lock()
        lock.close()
        lock.close()
        assert second.try_lock()


def test_an_unreadable_holder_is_nobody(tmp_path: Path) -> None:
    """The process id is a courtesy: a file without one names nobody."""
    path = tmp_path / "lock"
    with opened(path) as lock:
        assert lock.holder() is None
    path.write_text("no number")
    with opened(path) as lock:
        assert lock.holder() is None


def test_a_planted_link_is_not_followed(tmp_path: Path) -> None:
    """A link in the lock's place is refused, and what it points to is not emptied."""
    (tmp_path / "canary").write_text("canary")
    (tmp_path / "lock").symlink_to(tmp_path / "canary")
    with pytest.raises(StorageError, match="link"):
        Lock(tmp_path / "lock")
    assert (tmp_path / "canary").read_text() == "canary"


@pytest.mark.parametrize("what", ["pipe", "folder"])
def test_what_is_no_file_is_to_be_moved_away(tmp_path: Path, what: str) -> None:
    """Nothing is written into what is no file, and it does not hold us up."""
    path = tmp_path / "lock"
    os.mkfifo(path) if what == "pipe" else path.mkdir()
    with pytest.raises(StorageError, match=r"is no regular file|a folder stands") as caught:
        Lock(path)
    assert "move it away" in caught.value.cure


def test_a_file_system_without_locks_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where there are no locks nothing is written without one. No file system here lacks them: the call is answered."""
    import fcntl

    def refuse(*_: object) -> None:
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(fcntl, "flock", refuse)
    with opened(tmp_path / "lock") as lock, pytest.raises(StorageError, match="not supported"):
        lock.try_lock()


def test_an_older_manifest(shelf: Shelf) -> None:
    """One that knows fewer passes than the lock, or is marked, is an older copy; a lost lock tells nothing."""
    path, number = shelf.folder / PATH, shelf.manifest.begin_pass("quick")
    path.unlink(missing_ok=True)
    assert not is_older(shelf.tree, shelf.manifest)
    for last in (number, number + 1):
        path.write_text(f"1\n{last}\n")
        assert is_older(shelf.tree, shelf.manifest) is (last > number)
    path.unlink()
    shelf.manifest.set_meta({RESTORED: True})
    assert is_older(shelf.tree, shelf.manifest)


def test_what_writes_takes_no_lock_for_an_older_manifest(shelf: Shelf) -> None:
    """Where the lock was lost nothing tells that it is none; one that knows of no pass is new, whatever the lock says."""

    def said(last: int) -> object:
        return suspected(shelf.tree, shelf.manifest, last)

    assert [said(last) for last in (0, 7)] == [None, None]
    number = shelf.manifest.begin_pass("quick", 7)
    assert [said(last) for last in (0, 7, number, number + 1)] == [True, None, None, True]
    shelf.have(window(SIX), "a")
    write_stale(shelf.tree, shelf.manifest)
    (shelf.folder / "2026-01-19/SHA256SUMS").write_text("another's")
    assert [said(last) for last in (number, number + 1)] == [ALTERED, True]
    shelf.manifest.change("UPDATE sums SET stale = 1")
    assert said(number) is None
    for noted in (ALTERED, True):
        shelf.manifest.set_meta({RESTORED: noted})
        assert said(number) == noted


def test_a_number_that_no_pass_has_is_none(tmp_path: Path) -> None:
    """A damaged lock must not number the passes from then on."""
    for text, last in (
        ("9007199254740991", 9007199254740991),
        ("9007199254740992", 0),
        ("9" * 50, 0),
    ):
        (tmp_path / "lock").write_text(f"1\n{text}\n")
        with opened(tmp_path / "lock") as lock:
            assert lock.try_lock()
            assert lock.last_pass == last
