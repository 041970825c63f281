"""Damages the manifest of a whole mirror, page by page and in larger ways, and has the mirror used as if nothing were."""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
import sqlite3
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final

from tests.forking import Forking, fork_server
from tests.mirrored import entry, mirrored, photo_requests
from tests.oracle import OWN, check_settled, final_files, rows
from tests.system.conftest import serving_forked
from tests.torture.experiment import Experiment

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from tests.mirrored import Mirror
    from tests.system.conftest import Outcome

    Damage = Callable[[Path, random.Random], object]

PAGE: Final = 4096  # bytes of SQLite's pages
HEAD: Final = 100  # bytes of SQLite's file header
PHOTOS: Final = 24  # of the event; the manifest then has some 40 pages
NEWEST: Final = 99  # a schema version of the future


def paged(path: Path, number: int, change: Callable[[bytearray], object]) -> None:
    """Change one page of a file."""
    data = bytearray(path.read_bytes())
    page = data[number * PAGE : (number + 1) * PAGE]
    change(page)
    data[number * PAGE : (number + 1) * PAGE] = page
    path.write_bytes(data)


def flip(path: Path, number: int, chance: random.Random) -> None:
    """Change a bit of a page, where there is something."""

    def change(page: bytearray) -> None:
        used = [at for at, byte in enumerate(page) if byte] or [0]
        page[chance.choice(used)] ^= 1 << chance.randrange(8)

    paged(path, number, change)


def flip_byte(at: int, path: Path, chance: random.Random) -> None:
    """Change a bit of a byte of the file's head."""
    data = bytearray(path.read_bytes())
    data[at] ^= 1 << chance.randrange(8)
    path.write_bytes(data)


def zero(path: Path, number: int, _: random.Random) -> None:
    """Leave nothing of a page."""
    paged(path, number, lambda page: page.__setitem__(slice(None), bytes(len(page))))


def cut(path: Path, number: int, chance: random.Random) -> None:
    """Cut the file off within a page, or right before it."""
    os.truncate(path, number * PAGE + chance.choice([0, chance.randrange(PAGE)]))


def spoil_page(
    way: Callable[[Path, int, random.Random], None],
    number: int,
    path: Path,
    chance: random.Random,
) -> None:
    """Damage a page in one of these ways."""
    way(path, number, chance)


def noise(path: Path, chance: random.Random) -> None:
    """Put anything in its place."""
    path.write_bytes(chance.randbytes(5 * PAGE))


def half_a_log(path: Path, chance: random.Random) -> None:
    """Put a log beside it that holds half of what a killed pass wrote."""
    log = left_open(path)
    log.write_bytes(log.read_bytes()[: chance.randrange(log.stat().st_size)])


def log_of_noise(path: Path, chance: random.Random) -> None:
    """Put a log beside it that is none."""
    path.with_name(f"{path.name}-wal").write_bytes(chance.randbytes(3 * PAGE))


def log_deleted(path: Path, _: random.Random) -> None:
    """Take the log of a killed pass away, and what SQLite shares beside it."""
    left_open(path).unlink()
    path.with_name(f"{path.name}-shm").unlink()


def memory_damaged(path: Path, chance: random.Random) -> None:
    """Damage what SQLite shares beside the log of a killed pass."""
    left_open(path)
    shared = path.with_name(f"{path.name}-shm")
    shared.write_bytes(chance.randbytes(shared.stat().st_size))


def left_open(path: Path) -> Path:
    """Leave a log as a killed pass does, and return it: a pass that had begun, and no more."""
    names = [path, *(path.with_name(f"{path.name}-{end}") for end in ("wal", "shm"))]
    with closing(sqlite3.connect(path)) as open_:
        open_.execute("PRAGMA journal_mode = WAL")
        open_.execute("INSERT INTO passes (started_at, kind) VALUES (1768802400, 'quick')")
        open_.commit()
        kept = [name.read_bytes() for name in names]
    for name, data in zip(names, kept, strict=True):
        name.write_bytes(data)
    return names[1]


AS_A_WHOLE: Final[Mapping[str, Damage]] = {
    "deleted": lambda path, _: path.unlink(),
    "emptied": lambda path, _: os.truncate(path, 0),
    "all zeros": lambda path, _: path.write_bytes(bytes(path.stat().st_size)),
    "noise": noise,
    "half a log": half_a_log,
    "a log of noise": log_of_noise,
    "log deleted": log_deleted,
    "shared memory damaged": memory_damaged,
}


@dataclass
class Trials:
    """A whole mirror whose manifest is damaged again and again.

    Attributes:
        rebuilt: How often the manifest was set aside or lost, and made anew.
        repaired: How often damage was found by `verify` and repaired, the manifest staying what it was.
        unharmed: How often the damage was none.
        fetched: Files that were fetched again, because a damaged row said that they are damaged.
    """

    mirror: Mirror
    kept: Path
    hashes: dict[str, str]
    rebuilt: int = 0
    repaired: int = 0
    unharmed: int = 0
    fetched: int = 0

    @property
    def manifest(self) -> Path:
        """The manifest."""
        return self.mirror.folder / OWN / "manifest.sqlite3"

    def put_back(self) -> None:
        """Make the event folder what it was."""
        shutil.rmtree(self.mirror.folder)
        shutil.copytree(self.kept, self.mirror.folder)

    def run(self, *words: object) -> Outcome:
        """Run a command: it ends, not with a bug, and `--json` is one object."""
        done = self.mirror.commands.run(*words, "--root", "m", "--json", timeout=30)
        assert done.code in {0, 2, 4, 6, 8}, f"{words}: {done}"
        assert "Traceback" not in done.err, done.err
        json.loads(done.out)
        return done

    def sync(self) -> Outcome:
        """Run `sync`, and once more where it met damage and says so; it ends whole."""
        done = self.run("sync", 456, *self.mirror.service.flags)
        if done.code == 6:
            done = self.run("sync", 456, *self.mirror.service.flags)
        assert (done.code, done.entry["whole"]) == (0, True), done
        return done

    def promised(self) -> dict[str, str]:
        """Return the hash of every file that the manifest calls present."""
        return {row.path: row.sha256 for row in rows(self.mirror.folder)}

    def check_files(self) -> None:
        """Assert that every file stands where it stood, with the bytes it had."""
        here = final_files(self.mirror.folder).items()
        assert {name: hashlib.sha256(path.read_bytes()).hexdigest() for name, path in here} == (
            self.hashes
        )

    def try_(self, *, sync: bool) -> None:
        """Use the mirror, with or without a `sync` first, until it is repaired; assert that nobody lied meanwhile."""
        asked = photo_requests(self.mirror.service)
        flags = self.mirror.service.flags
        damaged = 0
        self.run("status")
        if sync:
            self.sync()
            self.check_files()
        found = self.run("verify")
        if found.code in {0, 4}:
            lies = self.promised().items() - self.hashes.items()
            assert not lies, f"verify saw nothing wrong with {lies}"
        if found.code == 8:
            damaged = len(entry(found)["damaged"])
        repaired = self.run("verify", *flags, "--repair")
        if repaired.code != 0:
            repaired = self.run("verify", *flags, "--repair")
        assert repaired.code == 0, repaired
        asked = photo_requests(self.mirror.service) - asked
        is_rebuilt = found.code == 6 or any(self.manifest.parent.glob("*.corrupt-*"))
        assert asked <= damaged, "photos were fetched that stood there whole"
        self.check_files()
        last = self.sync()
        assert last.entry["requests"]["photos"] == 0
        assert self.promised() == self.hashes
        check_settled(self.mirror.folder)
        self.rebuilt += is_rebuilt
        self.repaired += found.code in {4, 8} and not is_rebuilt
        self.unharmed += found.code == 0 and not is_rebuilt
        self.fetched += asked

    def refuse(self) -> None:
        """Assert that a manifest of a newer program is refused, and not changed by a byte."""
        with closing(sqlite3.connect(self.manifest)) as connection:
            connection.execute("PRAGMA journal_mode = DELETE")
            connection.execute(f"PRAGMA user_version = {NEWEST}")
        before = self.manifest.read_bytes()
        flags = self.mirror.service.flags
        for words in (["sync", 456, *flags], ["verify"], ["verify", *flags, "--repair"]):
            done = self.run(*words)
            assert (done.code, f"schema version {NEWEST}" in done.err) == (6, True), done
        assert self.manifest.read_bytes() == before
        self.check_files()


def damages(pages: int, seed: int) -> Iterator[tuple[str, Damage]]:
    """Yield what a round does: a part of the head, one way for a quarter of the pages, and the file as a whole."""
    for at in range(seed * 5 % HEAD, seed * 5 % HEAD + 5):
        if not 60 <= at < 64:  # the schema's version: a newer one is refused, see `Trials.refuse`
            yield f"byte {at}", partial(flip_byte, at)
    way = (flip, zero, cut)[seed % 3]
    for number in range(seed // 3 % 4, pages, 4):
        yield f"{way.__name__} {number}", partial(spoil_page, way, number)
    yield from AS_A_WHOLE.items()


def play(seed: int, place: Path) -> Mapping[str, int]:
    """Damage a manifest in many ways, one after the other; each time the mirror is used until it is whole again."""
    chance = random.Random(seed)
    with (
        fork_server(measured=False) as server,
        serving_forked(
            commands := Forking(place, server=server), server, "--photos", PHOTOS, "--seed", seed
        ) as service,
    ):
        mirror = mirrored(commands, service)
        old = place / "old.sqlite3"
        shutil.copyfile(mirror.folder / OWN / "manifest.sqlite3", old)
        service.order("POST", "456/add", {"count": 6})
        mirrored(commands, service)
        shutil.copytree(mirror.folder, place / "kept")
        trials = Trials(mirror, place / "kept", mirror.hashes())
        pages = trials.manifest.stat().st_size // PAGE
        tried = 0
        ways = [*damages(pages, seed), ("old copy", lambda path, _: shutil.copyfile(old, path))]
        for number, (name, damage) in enumerate(ways):
            trials.put_back()
            damage(trials.manifest, chance)
            try:
                trials.try_(sync=bool((number + seed) % 2))
            except AssertionError as error:
                error.add_note(f"damage: {name}, with sync: {bool((number + seed) % 2)}")
                raise
            tried += 1
        trials.put_back()
        trials.refuse()
    return {
        "manifests damaged": tried,
        "rebuilt": trials.rebuilt,
        "repaired": trials.repaired,
        "unharmed": trials.unharmed,
        "files fetched": trials.fetched,
    }


EXPERIMENT = Experiment(
    "manifest-damage",
    "Each page of the manifest is flipped, zeroed or cut off, the file deleted, emptied, put back from an old copy, its"
    " log damaged or taken away. `status`, `sync` and `verify` never end with a bug, nothing is called right that is"
    " not, no file changes; after `verify --repair` all is as it was, with no photo fetched where the manifest was"
    " rebuilt, and where a row was changed at most the files that it called damaged. A newer schema is refused untouched.",
    rounds=24,
    small=1,
    play=play,
)
