"""Damages a mirror in every way a disk or a person does, a hundred times a round, and has it verified and repaired."""

from __future__ import annotations

import os
import random
from typing import TYPE_CHECKING, Final

from ninepic_mirror.sandbox import EventSpec
from tests.mirrored import entry, faults, mirrored, photo_requests
from tests.oracle import check_settled
from tests.system.conftest import Commands, Service
from tests.torture.experiment import Experiment
from tests.torture.mirrored import served

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping
    from pathlib import Path

    Spoil = Callable[[Path, random.Random], str]

DAMAGES: Final = 100  # of a round
PHOTOS: Final = 80  # of its event, in three variants
DUPLICATES: Final = 4  # that are hard links of other photos
VARIANTS: Final = ("thumbnail", "large", "original")


def flip(path: Path, chance: random.Random) -> str:
    """Change a bit in place, without another time."""
    before, data = path.stat(), bytearray(path.read_bytes())
    data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
    path.write_bytes(data)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    return "content"


def blank(path: Path, chance: random.Random) -> str:
    """Put zeros in the place of some bytes, as a disk that lost a block gives them."""
    data = bytearray(path.read_bytes())
    start = chance.randrange(len(data) // 2)
    data[start : start + 512] = bytes(len(data[start : start + 512]))
    path.write_bytes(data)
    return "content"


def truncate(path: Path, chance: random.Random) -> str:
    """Cut off the end."""
    os.truncate(path, chance.randrange(1, path.stat().st_size))
    return "size"


def empty(path: Path, _: random.Random) -> str:
    """Leave nothing of it but its name."""
    os.truncate(path, 0)
    return "size"


def grow(path: Path, _: random.Random) -> str:
    """Append a byte."""
    with path.open("ab") as file:
        file.write(b"\0")
    return "size"


def delete(path: Path, _: random.Random) -> str:
    """Take it away."""
    path.unlink()
    return "missing"


def link(path: Path, _: random.Random) -> str:
    """Put a link in its place, that leads to the very same bytes."""
    path.rename(path.with_name(f"{path.name}.aside"))
    path.symlink_to(f"{path.name}.aside")
    return "misplaced"


def dangle(path: Path, _: random.Random) -> str:
    """Put a link in its place that leads nowhere."""
    path.unlink()
    path.symlink_to("/nonexistent")
    return "type"


def folder(path: Path, _: random.Random) -> str:
    """Put a folder in its place."""
    path.unlink()
    (path / "something").mkdir(parents=True)
    return "type"


def pipe(path: Path, _: random.Random) -> str:
    """Put a named pipe in its place, that nobody writes to."""
    path.unlink()
    os.mkfifo(path)
    return "type"


def misplace(path: Path, _: random.Random) -> str:
    """Move it to another folder."""
    elsewhere = path.parents[1] / "elsewhere" / path.parent.name
    elsewhere.mkdir(parents=True, exist_ok=True)
    path.rename(elsewhere / path.name)
    return "misplaced"


IN_PLACE: Final[tuple[Spoil, ...]] = (flip, blank, truncate, empty, grow)
INSTEAD: Final[tuple[Spoil, ...]] = (delete, link, dangle, folder, pipe, misplace)


def swap(one: Path, other: Path) -> dict[Path, str]:
    """Let two files change places."""
    aside = one.with_name("aside")
    one.rename(aside), other.rename(one), aside.rename(other)
    return {one: "misplaced", other: "misplaced"}


def twin(path: Path, other: Path) -> dict[Path, str]:
    """Put another photo's file in its place, as a second name of it: it must not be changed through this one."""
    size = path.stat().st_size
    path.unlink()
    os.link(other, path)
    return {path: "content" if size == other.stat().st_size else "size"}


def damage(files: Collection[Path], chance: random.Random) -> dict[Path, str]:
    """Damage some of the files; those that are names of one inode rot together.

    Returns:
        What `verify` has to say of which.
    """
    names: dict[int, list[Path]] = {}
    for path in sorted(files):
        names.setdefault(path.stat().st_ino, []).append(path)
    shared = [paths for paths in names.values() if len(paths) > 1]
    alone = [paths[0] for paths in names.values() if len(paths) == 1]
    chance.shuffle(shared)
    chance.shuffle(alone)
    expected: dict[Path, str] = {}
    for number, paths in enumerate(shared[:8]):
        if number % 2:
            expected[paths[0]] = chance.choice(INSTEAD)(paths[0], chance)
        else:
            expected |= dict.fromkeys(paths, chance.choice(IN_PLACE)(paths[0], chance))
    for _ in range(5):
        expected |= swap(alone.pop(), alone.pop())
        expected |= twin(alone.pop(), alone.pop())  # the other one is left as it is
    while len(expected) < DAMAGES:
        path = alone.pop()
        expected[path] = chance.choice(IN_PLACE + INSTEAD)(path, chance)
    return expected


def seen(files: Collection[Path]) -> dict[Path, tuple[int, int, int]]:
    """Return what changes when a file is touched: inode, size, modification time."""
    return {path: ((at := path.stat()).st_ino, at.st_size, at.st_mtime_ns) for path in files}


def play(seed: int, place: Path) -> Mapping[str, int]:
    """Damage a mirror: all is found and nothing else, all is repaired, with only those files fetched."""
    chance = random.Random(seed)
    variants = [word for variant in VARIANTS for word in ("--variant", variant)]
    spec = EventSpec(
        456, photos=PHOTOS, look="cheap", original_mb=(0.01, 0.15), duplicates=DUPLICATES, seed=seed
    )
    with served(spec) as sandbox:
        commands, service = Commands(place), Service(sandbox.api_url, None)
        mirror = mirrored(commands, service, *variants)
        before = mirror.hashes()
        files = [mirror.folder / path for path in before]
        assert len(files) == PHOTOS * len(VARIANTS)
        expected = damage(files, chance)
        stray = mirror.folder / "note.txt"
        stray.write_bytes(b"a note")
        untouched = seen([stray, *(path for path in files if path not in expected)])
        damaged = {str(path.relative_to(mirror.folder)): what for path, what in expected.items()}
        damaged[stray.name] = "stray"

        found = mirror.verify()
        assert (found.code, faults(found)) == (8, damaged), found.err
        asked = photo_requests(service)
        done = mirror.repair()
        assert (done.code, faults(done)) == (0, damaged), done.err
        assert all(one["repaired"] for one in entry(done)["damaged"] if one["fault"] != "stray")
        fetched = photo_requests(service) - asked
        assert fetched == sum(what not in {"misplaced", "stray"} for what in damaged.values())
        assert mirror.hashes() == before
        assert seen(untouched) == untouched
        check_settled(mirror.folder)
        last = mirror.verify()
        assert (last.code, faults(last)) == (0, {stray.name: "stray"})
    return {"damages": len(expected), "files fetched": fetched, "files untouched": len(untouched)}


EXPERIMENT = Experiment(
    "bit-rot",
    "A hundred files a round of thumbnails, larges and originals are flipped, blanked, cut, emptied, grown, deleted,"
    " moved, swapped, replaced by links, folders, pipes or another photo's file; hard-linked ones rot together. `verify`"
    " finds all of them and nothing else, `--repair` fetches what is not on the disk and nothing else, and touches no"
    " other file.",
    rounds=10,
    small=1,
    play=play,
)
