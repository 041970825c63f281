"""Things in the place of the files that are ours alone: none is waited for, followed, or taken for a loss."""

from __future__ import annotations

import os
import random

import pytest

from tests.mirrored import Mirror, entry, faults
from tests.torture.bit_rot import flip


@pytest.mark.parametrize("what", ["folder", "pipe"])
def test_something_else_in_the_place_of_the_manifest(mirror: Mirror, what: str) -> None:
    """It is said what stands there and that it has to be moved away; then a repair rebuilds the manifest."""
    place = mirror.folder / ".ninepic-mirror/manifest.sqlite3"
    for path in place.parent.glob("manifest.sqlite3*"):
        path.unlink()
    if what == "folder":
        place.mkdir()
    else:
        os.mkfifo(place)
    flags = mirror.service.flags
    for words in (
        ("verify",),
        ("verify", "--repair", *flags),
        ("sync", *flags),
        ("sync", "--dry-run", *flags),
    ):
        done = mirror.commands.run(*words, "456", "--root", "m")
        assert (words, done.code, done.says_one_line_and_cure()) == (words, 6, True)
        assert f"a {'folder' if what == 'folder' else 'named pipe'}" in done.err
        assert "move it away" in done.err
    place.rename(mirror.folder.parent.parent / "elsewhere")
    done = mirror.commands.run("verify", "--repair", *flags, "456", "--root", "m", "--json")
    assert (done.code, entry(done)["rebuilt"], entry(done)["fetched"]) == (0, True, 0)


@pytest.mark.parametrize("what", ["pipe", "link"])
def test_something_else_in_the_place_of_the_lock(mirror: Mirror, what: str) -> None:
    """Nobody waits for it for ever, nor follows it: the files are verified, and it is told with its cure."""
    place = mirror.folder / ".ninepic-mirror/lock"
    place.unlink()
    if what == "pipe":
        os.mkfifo(place)
    else:
        place.symlink_to(mirror.folder / "canary")
    for words in (("verify", "456"), ("forget", "any", "--event", "456", "--yes")):
        done = mirror.commands.run(*words, "--root", "m")
        assert (words[0], done.code) == (words[0], 6)
        assert (
            f"lock: {'is no regular file' if what == 'pipe' else 'a symbolic link stands'}"
            in done.err
        )
        assert "move it away" in done.err or "remove the link" in done.err
    flip(mirror.folder / mirror.rows()[0].path, random.Random(1))
    (mirror.folder / "stray.txt").write_text("mine")
    found = mirror.verify()
    assert (found.code, [*faults(found).values()]) == (6, ["content", "stray"]), found.err
    assert not (mirror.folder / "canary").exists()
