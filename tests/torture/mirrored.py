"""An event that lives, its mirror, and commands over it that something cuts short: what the local experiments share.

The sandbox runs in a thread of its own, the commands in forks (`forks`). The event is changed only while no command
is under way.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import trio

from ninepic_mirror.archive.placement import safe_name
from ninepic_mirror.sandbox import EventSpec, Sandbox
from tests.oracle import OWN, check_settled, check_truth, final_files, named, rows
from tests.torture.forks import KEY, Fork, Forks, forking

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from ninepic_mirror.sandbox.events import Event
    from tests.torture.disks import Disk

EVENT: Final = 456
HOUR: Final = 3600
CUT: Final = 30  # bytes that a file cut short has left
LAYOUTS: Final = (
    "{date}/{hour}/{variant}/{image_id}{ext}",
    "{variant}/{date}/{image_id}{ext}",
    "{date}/{image_id}_{variant}{ext}",
)
VARIANTS: Final = ("thumbnail", "large", "original")
Name = tuple[str, str]  # a photo and a variant


@contextmanager
def served(spec: EventSpec) -> Iterator[Sandbox]:
    """Serve an event from a thread for the length of the block."""
    sandbox = Sandbox([spec], org_id=903, keys=[KEY], seed=1)
    ready, stop = threading.Event(), trio.Event()
    tokens: list[trio.lowlevel.TrioToken] = []

    async def main() -> None:
        tokens.append(trio.lowlevel.current_trio_token())
        async with sandbox.running():
            ready.set()
            await stop.wait()

    with ThreadPoolExecutor(1, "sandbox") as pool:
        future = pool.submit(trio.run, main)
        future.add_done_callback(lambda _: ready.set())  # also when it did not come up
        ready.wait()
        try:
            yield sandbox
        finally:
            if not future.done():
                trio.from_thread.run_sync(stop.set, trio_token=tokens[0])
            future.result()


@dataclass
class Mirrored:
    """One event and its mirror.

    Args:
        forks: Starts the commands.
        sandbox: Serves the event.
        root: The mirror root; the folder beside it must exist.
        work: Holds the configuration and what commands say; not on a disk that fails.
        draw: Everything random.
        mirror: `[mirror]` of the configuration, beside the root.
        safe: Files, by photo and variant, that had rows: they must never be fetched again.
        seconds: How long an undisturbed command took last, by its first words.
    """

    forks: Forks
    sandbox: Sandbox
    root: Path
    work: Path
    draw: random.Random
    mirror: dict[str, object] = field(default_factory=dict)
    safe: set[Name] = field(default_factory=set)
    seconds: dict[str, float] = field(default_factory=dict)
    spoilt: bool = False
    _deleted: set[str] = field(default_factory=set)
    _strays: set[Name] = field(default_factory=set)
    _ids: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.canary = self.work / "canary"
        self.canary.write_text("mine")
        usual = {"min_free": "0", "connections": 8, "layout": LAYOUTS[0], "variants": VARIANTS}
        self.mirror = usual | self.mirror

    # --- what there is -------------------------------------------------------------------------------------------

    @property
    def event(self) -> Event:
        """The event as the service has it."""
        return self.sandbox.event(EVENT)

    @property
    def folders(self) -> list[Path]:
        """The event folder, if there is one."""
        return list(self.root.glob(f"{EVENT}*")) if self.root.is_dir() else []

    def wanted(self) -> set[Name]:
        """Return every file that the mirror is to have."""
        variants = self.mirror["variants"]
        assert isinstance(variants, tuple)
        return {(one.image_id, variant) for one in self.event.photos for variant in variants}

    def have(self) -> set[Name]:
        """Return the files that have rows."""
        return {(row.image_id, row.variant) for folder in self.folders for row in rows(folder)}

    def moving(self) -> set[Name]:
        """Return the files that a cut left between two places, or without a row that calls them present."""
        return {
            (row.image_id, row.variant)
            for folder in self.folders
            for state in ("pending", "gone")
            for row in rows(folder, state)
            if row.path
        }

    def file(self, path: str) -> Name:
        """Return which file stands under a final name."""
        name, variant = named(path)
        return self._ids.get(name, name), variant

    def body(self, image_id: str, variant: str) -> bytes:
        """Return the bytes of the service for an id, or for the name that stands for it."""
        return self.event.body(self._ids.get(image_id, image_id), variant)

    # --- what is done --------------------------------------------------------------------------------------------

    def start(self, *words: object, fault: Sequence[int] = ()) -> Fork:
        """Start a command; the first word is its name."""
        lines = [f"{name} = {json.dumps(value)}" for name, value in self.mirror.items()]
        config = self.work / "config.toml"
        config.write_text(
            "\n".join([
                "[api]", "org_id = 903", f'base_url = "{self.sandbox.api_url}"', "allow_private = true",
                "[mirror]", f'root = "{self.root}"', *lines,
                "[events]", f"ids = [{EVENT}]", "[daemon]", 'min_interval = "1s"', 'max_interval = "2s"',
            ])
        )  # fmt: skip
        # quiet: only then each commit is told (`forks`)
        arguments = ("--config", config, "-q", *words)
        return self.forks.start(arguments, self.work / "said", root=self.root, fault=fault)

    def run(self, *words: object) -> Fork:
        """Run a command undisturbed, to exit code 0."""
        began = time.monotonic()
        fork = self.start(*words)
        code = fork.ended()
        assert code == 0, f"{words} ended with {code}: {fork.out[-1500:]} {fork.err[-3000:]}"
        self.seconds[_kind(words)] = time.monotonic() - began
        return fork

    def kill(self, *words: object) -> bool:
        """Kill a command at a random moment; return whether it was still running.

        Raises:
            AssertionError: It left a lie.
        """
        fork = self.start(*words)
        code = fork.wait(self.draw.uniform(0, self.moment(*words)))
        code = fork.kill() if code is None else code
        assert code in {-9, 0, 4, 8}, f"{words} ended with {code}: {fork.err[-3000:]}"
        self.check(fork)
        return code == -9

    def cut(self, disk: Disk, *words: object) -> Fork:
        """Cut the power of a disk while a command runs on it, and start it again.

        Raises:
            AssertionError: The command did not say so, or something lies.
        """
        fork = self.start(*words)
        fork.wait(self.draw.uniform(0, self.moment(*words)))
        disk.cut()
        code = fork.ended(30)
        assert code in {0, 6, 8}, f"{words} ended with {code}: {fork.err[-3000:]}"
        assert "Traceback" not in fork.err, fork.err[-3000:]
        disk.restart()
        if code:
            # on a disk that is gone no file can be found again, so it was asked for, in vain
            self.sandbox.clear_requests()
        self.check(fork)
        return fork

    def moment(self, *words: object) -> float:
        """Return the seconds in which a command is to be disturbed."""
        return self.seconds.get(_kind(words), max(self.seconds.values(), default=2.0))

    def settle(self) -> None:
        """Make one undisturbed pass, and assert that the mirror is whole and nothing is left over."""
        self.run("sync", EVENT)
        self.check()
        (folder,) = self.folders
        check_settled(folder)
        assert self.wanted() <= self.have(), self.wanted() - self.have()

    def finish(self) -> None:
        """Let everything come to its end undisturbed, and assert that the mirror is whole and nothing is left over."""
        if self.spoilt and self.folders:
            # a manifest that was never written has nothing to verify
            first = self.start("sync", EVENT, "--accept-removals")
            assert first.ended() in {0, 4}, first.err[-3000:]
            self.run("verify", EVENT, "--repair")
        self.run("sync", EVENT, "--full", "--accept-removals")
        self.spoilt = False
        self._deleted.clear()
        self.settle()
        (folder,) = self.folders
        at: dict[Name, str] = {}
        for path in final_files(folder):
            if self.file(path) in self._strays:
                continue
            assert at.setdefault(self.file(path), path) == path, (at[self.file(path)], path)

    # --- what happens --------------------------------------------------------------------------------------------

    def change(self) -> None:
        """Let photos move, leave, come, come back, and now and then the operator change the layout."""
        draw, event = self.draw, self.event
        for photo in draw.sample(list(event.photos), 4):
            event.retime(photo.image_id, self._hour())
        gone = draw.choice(list(event.photos))
        event.remove(gone.image_id, keep_file=True)
        event.add(2, hour=self._hour())
        back = [serial for serial, kept in event._gone.items() if kept and serial != gone.serial]
        if back and draw.random() < 0.7:
            serial = draw.choice(back)
            del event._gone[serial]
            event._put_in(serial, self._hour())
        if draw.random() < 0.4:
            self.mirror["layout"] = draw.choice(LAYOUTS)
        if draw.random() < 0.2:
            self.mirror["timezone"] = draw.choice(("UTC", "Asia/Kolkata"))
        self.mirror["on_remote_removal"] = draw.choice(("keep", "trash"))

    def _hour(self) -> int:
        return self.event.spec.first_hour + self.draw.randrange(30) * HOUR

    def add(self, image_id: str) -> None:
        """Let a photo come with an id of our own."""
        self.event.add_raw(image_id=image_id, hour=self.event.spec.first_hour)
        self._ids[safe_name(image_id)] = image_id

    def spoil(self) -> None:
        """Damage some files that the service can still give: cut them short, or delete them.

        Those that a file of the trash is a link of are spared: it would be of no use when its photo comes back. The
        damage is on the disk, so that a power cut undoes none of it.
        """
        wanted = self.wanted()
        for folder in self.folders:
            inodes = {name: path.stat().st_ino for name, path in final_files(folder).items()}
            lost = {inode for name, inode in inodes.items() if self.file(name) not in wanted}
            lost |= {path.stat().st_ino for path in (folder / OWN / "trash").rglob("*.jpg*")}
            whole = sorted(name for name, inode in inodes.items() if inode not in lost)
            for name in self.draw.sample(whole, min(4, len(whole))):
                self.spoilt = True
                path = folder / name
                self.safe -= {self.file(other) for other in whole if inodes[other] == inodes[name]}
                if self.draw.random() < 0.3:
                    path.unlink()
                    descriptor = os.open(path.parent, os.O_RDONLY)
                    os.fsync(descriptor)
                    os.close(descriptor)
                    self._deleted.add(name)
                else:
                    with path.open("r+b") as file:
                        file.truncate(CUT)
                        os.fsync(file.fileno())

    def begin_anew(self) -> None:
        """Delete the mirror."""
        shutil.rmtree(self.root, ignore_errors=True)
        for left in (self.safe, self._deleted, self._strays):
            left.clear()
        self.spoilt = False
        self.sandbox.clear_requests()

    def lose_manifest(self) -> None:
        """Delete the manifest: it is to be rebuilt without one photo being fetched.

        Only it knows of photos that have left: where their files are, should they come back.
        """
        wanted = self.wanted()
        self.safe &= wanted
        self._strays |= {
            self.file(path) for folder in self.folders for path in final_files(folder)
        } - wanted
        for folder in self.folders:
            for path in (folder / ".ninepic-mirror").glob("manifest.sqlite3*"):
                path.unlink()

    # --- what must hold ------------------------------------------------------------------------------------------

    def check(self, fork: Fork | None = None) -> None:
        """Assert that nothing lies, and that nothing was fetched that was safe before.

        Args:
            fork: The command that has just ended: what it told is safe from now on.
        """
        assert self.canary.read_text() == "mine"
        again = self._asked() & self.safe
        assert not again, f"fetched again: {len(again)} files, {sorted(again)[:3]}"
        self.safe |= fork.told if fork is not None else set()
        for folder in self.folders:
            damaged = {
                path.stat().st_ino
                for path in final_files(folder).values()
                if path.stat().st_size == CUT
            }
            check_truth(folder, self.body, damaged, self._deleted)
            self.safe |= {
                (row.image_id, row.variant)
                for row in rows(folder)
                if (path := folder / row.path).is_file() and path.stat().st_ino not in damaged
            }

    def _asked(self) -> set[Name]:
        """Return the files that the photo origin was asked for since the last time."""
        asked = {_asked_for(seen.path) for seen in self.sandbox.requests if seen.origin == "photos"}
        self.sandbox.clear_requests()
        return asked


def _kind(words: Sequence[object]) -> str:
    return " ".join(str(word) for word in words)


def _asked_for(path: str) -> Name:
    variant = next(
        (name for part, name in (("/small/", "thumbnail"), ("/large/", "large")) if part in path),
        "original",
    )
    return path.rpartition("/")[2].removesuffix(".jpg"), variant


@contextmanager
def mirrored(
    seed: int,
    folder: Path,
    *,
    root: Path | None = None,
    shim: Path | None = None,
    spec: EventSpec | None = None,
    **mirror: object,
) -> Iterator[Mirrored]:
    """Serve an event and offer its mirror, which is empty.

    Args:
        seed: Decides everything random.
        folder: An empty one, for what is said.
        root: The mirror root; None: in `folder`.
        shim: See `forking`.
        spec: Of the event.
        mirror: Settings that differ from the usual ones.
    """
    usual = EventSpec(
        EVENT, photos=30, look="cheap", thumb_kb=2, large_kb=6, original_mb=(0.01, 0.15), hours=4,
        undated=3, duplicates=4, wrong_clock=1, seed=seed,
    )  # fmt: skip
    with ExitStack() as stack:
        sandbox = stack.enter_context(served(spec or usual))
        forks = stack.enter_context(forking(shim))
        root = root or folder / "mirror"
        yield Mirrored(forks, sandbox, root, folder, random.Random(seed), mirror)
