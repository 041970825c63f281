"""One event of `verify`: reads its files, looks again, finds what is nobody's, and records what was right.

Files are read without any lock. The event's lock is taken for the moments in which it is recorded what was read, when
it is free, at the end also after a wait; a pass beside us is never kept waiting for more.
"""

from __future__ import annotations

import logging
import os
from contextlib import suppress
from functools import partial
from itertools import groupby
from typing import TYPE_CHECKING, Final, TypeVar

import trio
from msgspec import Struct, field

from ninepic_mirror.archive import about, inventory, lock, sums
from ninepic_mirror.archive.faults import storage_error
from ninepic_mirror.archive.files import Tree, split
from ninepic_mirror.archive.manifest import Manifest
from ninepic_mirror.archive.readers import Readers
from ninepic_mirror.archive.store import TRASH
from ninepic_mirror.archive.strays import NAMESAKE, Strays
from ninepic_mirror.archive.verify import (
    Damage,
    Eye,
    Pace,
    Stopped,
    confirm,
    look,
    share,
)
from ninepic_mirror.cli import copies, mirrors, named
from ninepic_mirror.cli.portions import above, bunch, groups, is_due, some_of
from ninepic_mirror.cli.verdict import Record
from ninepic_mirror.errors import StorageError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from ninepic_mirror.archive.verify import Decode, Entry, Fault, Key, Look
    from ninepic_mirror.cli.verdict import Verdict
    from ninepic_mirror.config import Config
    from ninepic_mirror.model import Key as ApiKey
    from ninepic_mirror.progress import Progress

T = TypeVar("T")

_LOG: Final = logging.getLogger(__name__)
_LAST: Final = 0.5  # seconds to wait for the event once the run is to end
_UNRECORDED: Final = 100_000  # files of which it is remembered while somebody does
_POLL: Final = 0.1  # seconds between two looks at a lock
_BATCH: Final = 1.0  # seconds in which a pass gives a batch of files their rows (DESIGN §6.6: 500 ms, and a slow disk)


class Asked(Struct, frozen=True):
    """What was asked for on the command line, beside settings.

    Args:
        ids: The events named.
        sample: The part of each event's files to look at.
        rate: Bytes a second, None for as fast as it goes.
        seconds: How long to read, None for as long as it takes.
        key: Of the service; None: nothing is to be repaired.
        decode: How to decode pictures, None where they are not to be.
        flags: Of the settings, as click gives them.
    """

    ids: tuple[int, ...]
    quick: bool
    sample: float
    rate: int | None
    seconds: int | None
    key: ApiKey | None
    decode: Decode | None
    json: bool
    flags: dict[str, object]


class Inspection(Struct):
    """One event under way.

    Args:
        config: The settings.
        asked: What was asked for.
        progress: Where to say what happens.
        pace: How fast to read, and until when.
        event_id: Which event.
        tree: Its folder.
        path: Its manifest.
        verdict: What is found.
        stamp: What is recorded of files that are right.
        unrecorded: Such files.
        size: Bytes of them.
        recorded_at: When such files were recorded last, by the clock of the event loop.
        suspects: Files that seem damaged.
        found: Files that seem to be nobody's.
        lines: The SHA-256 of those of them that SHA256SUMS names.
        wanted: The variants that ought to be here.
    """

    config: Config
    asked: Asked
    progress: Progress
    pace: Pace
    event_id: int
    tree: Tree
    path: Path
    verdict: Verdict
    stamp: int = 0
    unrecorded: list[Entry] = field(default_factory=list)
    size: int = 0
    recorded_at: float = field(default_factory=trio.current_time)
    suspects: list[Damage] = field(default_factory=list)
    found: list[str] = field(default_factory=list)
    lines: dict[str, str] = field(default_factory=dict)
    wanted: list[str] = field(default_factory=list)

    async def _ask(self, work: Callable[[Manifest], T]) -> T:
        """Ask the manifest something; it is opened for that only."""
        until = trio.current_time() + lock.WAIT
        while True:
            try:
                return await trio.to_thread.run_sync(self._ask_now, work)
            except StorageError:
                # Without permission to write it can only be read between two passes.
                if self._may_record() or trio.current_time() > until:
                    raise
            await trio.sleep(_POLL)

    def _ask_now(self, work: Callable[[Manifest], T]) -> T:
        with mirrors.opened(mirrors.root_of(self.config), self.event_id) as (manifest, unread):
            self.verdict.unread = self.verdict.unread or unread
            return work(manifest)

    def _may_record(self) -> bool:
        places = [self.path, self.path.parent]
        locks = self.tree.root / lock.PATH
        # one that was lost is made again
        places.append(locks if locks.exists() else locks.parent)
        return all(os.access(place, os.W_OK) for place in places)

    # --- reading -------------------------------------------------------------------------------------------------

    async def read(self) -> None:
        """Look at the files, the longest verified first, and record which are right."""
        asked, verdict = self.asked, self.verdict
        name, self.stamp, self.wanted = await self._ask(
            lambda m: (m.meta("name"), inventory.stamp(m), inventory.wanted(m))
        )
        verdict.name = name if isinstance(name, str) else None
        files = inventory.List(self.stamp, quick=asked.quick)
        verdict.files = await self._ask(files.count)
        left = verdict.due = share(verdict.files, asked.sample)
        self.progress.start(verdict.name or f"event {self.event_id}")
        self.progress.expect(left)
        eye = Eye(self.pace, asked.quick, asked.decode)
        with Readers(self.tree, eye) as readers:
            while left and not self.pace.stop.is_set():
                entries, where = await self._ask(lambda m: (files.next(m), inventory.where(m)))
                del entries[left:]
                if not entries:
                    break
                left -= len(entries)
                for group in groups(entries):
                    seen = await trio.to_thread.run_sync(readers.look, group, where)
                    await self._judge(group, seen)
        patience = _LAST if self.pace.stop.is_set() else lock.WAIT
        await self._record(until=trio.current_time() + patience)

    async def _judge(self, group: Sequence[Entry], seen: Mapping[Key, Look]) -> None:
        verdict, suspects = self.verdict, []
        for entry in group:
            found = seen.get(entry.key)
            if found is not None and found.fault == "missing" and self._is_unwanted(entry):
                # who takes a variant out of the configuration may delete its files
                verdict.unwanted[entry.variant] = verdict.unwanted.get(entry.variant, 0) + 1
                verdict.files -= 1
                verdict.due -= 1
                continue
            if found is None or not verdict.note(entry, found):
                continue
            if found.fault is not None:
                suspects.append(Damage(entry, found.fault))
            elif entry.is_gone or entry.state == "present":
                self.unrecorded.append(entry)
                self.size += found.read
        confirmed = await self._confirmed(suspects, changed=True)
        self.suspects += confirmed
        self.progress.done(len(seen) - len(confirmed), sum(one.read for one in seen.values()))
        if confirmed:
            self.progress.failed(len(confirmed))
        if is_due(len(self.unrecorded), self.size, trio.current_time() - self.recorded_at):
            await self._record(until=None)

    def _is_unwanted(self, entry: Entry) -> bool:
        """Whether a pass knows by now that a file is not here, and nobody wants its variant."""
        is_known = entry.state != "present" and not entry.is_gone
        return is_known and entry.variant not in self.wanted

    async def _confirmed(self, suspects: Sequence[Damage], *, changed: bool) -> list[Damage]:
        """Return which files are damaged on a second look, by their rows as they are now.

        Args:
            suspects: By the first look, which is what counts where the run ends before the second.
            changed: Look only at those whose rows have changed since.
        """
        eye = Eye(self.pace, self.asked.quick)

        def confirm_all(manifest: Manifest) -> list[Damage]:
            where = inventory.where(manifest)
            again = partial(inventory.again, manifest)

            def judge(entry: Entry) -> Look:
                return look(self.tree, entry, eye, where)

            def sure(one: Damage) -> Damage | None:
                is_same = again(one.entry.key) == one.entry
                if changed and is_same:
                    return one
                try:
                    return confirm(one.entry, again, judge)
                except (Stopped, StorageError):
                    return one if is_same else None

            found = [sure(one) for one in suspects]
            return [damage for damage in found if damage is not None]

        return await self._ask(confirm_all) if suspects else []

    # --- recording -----------------------------------------------------------------------------------------------

    async def _record(self, until: float | None) -> None:
        """Record what was read and is right, if nobody holds the event, or not later than `until`."""
        if not self.unrecorded or self.asked.quick:
            return
        self.recorded_at = trio.current_time()
        if not self._may_record():
            self.verdict.unrecorded += len(self.unrecorded)
            self._forget()
            _LOG.info("event %s: that its files were verified is not recorded", self.event_id)
            return
        try:
            with lock.opened(self.tree.root / lock.PATH) as held:
                if await locked(held, until):
                    await trio.to_thread.run_sync(self._record_now)
                    self._forget()
                    return
        except StorageError as error:  # a full disk: what was found is no less true
            _LOG.info("event %s: %s", self.event_id, error)
        if until is not None:
            self.verdict.unrecorded += len(self.unrecorded)
        del self.unrecorded[:-_UNRECORDED]

    def _forget(self) -> None:
        self.unrecorded.clear()
        self.size = 0

    def _record_now(self) -> None:
        durable = self.config.mirror_for(self.event_id).durability == "batch"
        if self.path.is_file():
            with Manifest.open(self.path, durable=durable) as manifest:
                inventory.record(manifest, self.unrecorded, self.stamp)

    # --- what is nobody's, and the last word ---------------------------------------------------------------------

    async def find_strays(self) -> None:
        """Look for files that no row names."""
        folders = inventory.walk(self.tree, closed=self._close)
        while not self.pace.stop.is_set() and (
            some := await trio.to_thread.run_sync(bunch, folders)
        ):
            self.found += await self._ask(partial(_strays, some))

    def _close(self, path: str, error: OSError) -> None:
        """Note that a folder, or a record, may not be looked into: it keeps nothing else from being looked at."""
        found = storage_error(error, self.tree.name(path))
        if not any(f"{found.path}/".startswith(f"{one.path}/") for one in self.verdict.closed):
            self.verdict.closed.append(found)

    async def find_namesakes(self) -> None:
        """Look in the trash for files under the names of photos that are to be had, and never were."""
        if not await self._ask(lambda m: Strays(m).has_unhad()):
            return
        folders = inventory.walk(self.tree, TRASH.rstrip("/"), self._close)
        while not self.pace.stop.is_set() and (
            some := await trio.to_thread.run_sync(bunch, folders)
        ):
            paths = [f"{folder}/{name}" for folder, names in some for name in names]
            found = await self._ask(partial(copies.namesakes, self.tree, paths))
            self.verdict.notes += [(path, NAMESAKE) for path in sorted(found)]

    async def read_records(self) -> None:
        """Look whether SHA256SUMS and event.json say what the manifest says."""
        if await self._ask(lambda m: self._is_older(m) or inventory.is_unfinished(m)):
            return  # they know more
        for top in [None, *await self._ask(partial(sums.tops, stale=True))]:
            if self.pace.stop.is_set():
                return
            path = about.NAME if top is None else sums.sums_path(top)
            fault = await self._record_fault(path, top)
            if fault is not None:
                self.verdict.records.append(Record(path, top, fault))

    async def _record_fault(self, path: str, top: str | None) -> Fault | None:
        thorough = not self.asked.quick

        def blame(manifest: Manifest) -> Fault | None:
            try:
                if top is None:
                    return about.blame(self.tree, manifest, thorough=thorough)
                return sums.blame(self.tree, manifest, top, thorough=thorough)
            except OSError as error:
                self._close(path, error)
                return None

        return await self._ask(blame)

    async def _still_wrong(self) -> list[Record]:
        records = self.verdict.records
        return [one for one in records if await self._record_fault(one.path, one.top) is not None]

    async def settle(self) -> None:
        """Look at everything once more, because a pass may have been at work, and find whole bytes elsewhere."""
        if self.found and await self._is_held():
            await trio.sleep(_BATCH)  # a file gets its name a moment before its row
        verdict = self.verdict
        for some in some_of(self.suspects):
            verdict.damages += await self._confirmed(some, changed=False)
        strays = await self._without_row(self.found)
        if verdict.damages:
            gone = [one for one in verdict.damages if one.entry.is_gone]
            places = await self._search(verdict.damages, strays, gone, self.pace)
            aside = {*places.values()} & {*strays, *copies.wrong(verdict.damages)}
            for damage in verdict.damages:
                damage.found = places.get(damage.entry.key)
                damage.fault = "misplaced" if damage.found in aside else damage.fault
            # nor what stands in the place of a folder: it is the damage of every file below
            blocks = {folder for one in verdict.damages for folder in above(one.entry.path)}
            strays = sorted({*strays} - {*places.values()} - blocks)
        verdict.strays = strays
        verdict.records = await self._still_wrong()
        await self._look_behind()
        await self._read_named()

    def _is_older(self, manifest: Manifest) -> bool:
        try:
            return lock.is_older(self.tree, manifest)
        except OSError as error:
            self._close(lock.PATH, error)
            return manifest.meta(lock.RESTORED) is True

    async def _look_behind(self) -> None:
        """See what files the manifest ought to know and does not."""
        verdict = self.verdict
        verdict.older = await self._ask(self._is_older)
        verdict.unfinished = await self._ask(inventory.is_unfinished)
        strays = {*verdict.strays}
        lines = partial(named.lines_of, self.tree, strays, self._close)
        self.lines = await trio.to_thread.run_sync(lines) if strays else {}
        verdict.named = len(self.lines)
        verdict.unknown = len(self.lines)
        if not verdict.unfinished:  # else a pass has noted them, and got no further
            for some in some_of([*self.lines]):
                verdict.unknown -= len(await self._ask(partial(inventory.named, paths=some)))

    async def _read_named(self) -> None:
        """Judge what SHA256SUMS names and no row knows."""
        reading = named.Reading(
            self.asked, self.progress, self.pace, self.tree, self.verdict, self._still_without_row
        )
        await reading.read(self.lines, self._close)
        if not self.pace.stop.is_set():
            is_behind = self.verdict.is_behind
            self.verdict.lines += await self._ask(
                lambda m: named.lost(self.tree, m, self._close, is_behind=is_behind)
            )

    async def _still_without_row(self, paths: Sequence[str]) -> list[str]:
        if paths and await self._is_held():
            await trio.sleep(_BATCH)  # as in `settle`
        return await self._without_row(paths)

    async def _without_row(self, found: Sequence[str]) -> list[str]:
        """Return those files that still stand there and have no row."""
        strays: list[str] = []
        for folder, paths in groupby(found, lambda path: split(path)[0]):
            for names in some_of([split(path)[1] for path in paths]):
                still = await self._ask(partial(_strays, [(folder, names)]))
                strays += await trio.to_thread.run_sync(self._standing, still)
        return strays

    def _standing(self, paths: Sequence[str]) -> list[str]:
        def stands(path: str) -> bool:
            try:
                return self.tree.stat(path) is not None
            except OSError as error:
                self._close(split(path)[0], error)
                return False

        return [path for path in paths if stands(path)]

    async def _search(
        self,
        damages: Sequence[Damage],
        strays: Sequence[str],
        precious: Sequence[Damage],
        pace: Pace,
    ) -> dict[Key, str]:
        """Look for the whole bytes of damaged files.

        Args:
            damages: The damaged files.
            strays: Files that are nobody's.
            precious: Those of the damaged files for which also other files of equal bytes are good.
            pace: How fast to read; where it ends before all is found, nothing is.
        """
        hashes = {one.entry.sha256 for one in precious}
        twins = await self._ask(partial(inventory.twins, hashes=hashes)) if hashes else []
        others = [*strays, *copies.wrong(damages), *twins]
        found = await trio.to_thread.run_sync(
            copies.find, self.tree, damages, others, pace, self._close
        )
        self.verdict.cut = found is None
        return found or {}

    async def _is_held(self) -> bool:
        if not self._may_record():
            return True
        try:
            with lock.opened(self.tree.root / lock.PATH) as held:
                return not held.try_lock()
        except StorageError:  # nobody knows; `_is_older` tells of it
            return True

    async def see_repaired(self, pace: Pace) -> None:
        """Look which of the damaged files are right by now; those that are not looked at any more are not."""
        eye = Eye(pace, self.asked.quick)

        def see(manifest: Manifest) -> None:
            where = inventory.where(manifest)
            for damage in self.verdict.damages:
                row = inventory.again(manifest, damage.entry.key)
                if row is None:
                    self.verdict.gone.add(damage.entry.key)
                    continue
                damage.repaired = look(self.tree, row, eye, where).fault is None
                damage.entry = row if not damage.repaired else damage.entry
            for line in [*self.verdict.lines, *self.verdict.lost]:
                line.repaired = named.is_mended(self.tree, manifest, line, eye)

        with suppress(Stopped):
            await self._ask(see)
        wrong = await self._still_wrong()
        for record in self.verdict.records:
            record.repaired = record not in wrong
        verdict, before = self.verdict, {*self.verdict.strays}
        verdict.strays = await self._without_row(verdict.strays)
        found = sorted(before - {*verdict.strays})
        # not what went to the trash with a folder that stood in a file's place
        verdict.adopted = len(await trio.to_thread.run_sync(self._standing, found))
        await self._look_behind()

    async def search_again(self, pace: Pace) -> list[Damage]:
        """Return the files that a repair left damaged, and whose whole bytes stand here after all.

        Of what nobody could fetch a file of equal bytes is as good, and what was fetched for one may be another's, too.
        """
        verdict = self.verdict
        left = [
            one for one in verdict.damages if not (one.repaired or one.entry.key in verdict.gone)
        ]
        if not left:
            return []
        places = await self._search(left, verdict.strays, left, pace)
        for one in left:
            one.found = places.get(one.entry.key)
        return [one for one in left if one.found is not None]


async def locked(held: lock.Lock, until: float | None = None) -> bool:
    """Take a lock, at once or, with `until`, not later than then."""
    while not held.try_lock():
        if until is None or trio.current_time() > until:
            return False
        await trio.sleep(_POLL)
    return True


def _strays(some: Sequence[tuple[str, Sequence[str]]], manifest: Manifest) -> list[str]:
    return [path for folder, names in some for path in inventory.strays(manifest, folder, names)]
