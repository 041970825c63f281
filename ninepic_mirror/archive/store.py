"""Puts whole files where they belong, so that a crash at any line leaves nothing half and nothing twice.

Bodies that came whole are written below `partial/` first (`write`), some at a time. For one batch (DESIGN §6.6), in
this order, because on ext4 a name that reaches the disk before its file's bytes is an empty photo after a power cut
(measured: 60 of 60):

    1. look at the marker and at the free space
    2. sync the files' bytes, all at once
    3. give them their names, or a link to equal bytes that are already there
    4. sync each folder once (new folders were synced in their parents when they were made)
    5. only then may the manifest say `present` (`holdings.commit`)

Everything here blocks: callers run it in a thread.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final, Literal

from msgspec import Struct

from ninepic_mirror.archive.faults import ABSENT, UNREADABLE, storage_error, translated
from ninepic_mirror.archive.files import Tree, split
from ninepic_mirror.archive.flush import Flush
from ninepic_mirror.archive.holdings import Placed
from ninepic_mirror.archive.partial import FOLDER as PARTIAL
from ninepic_mirror.archive.partial import Digest, place, read_hashes, write_body
from ninepic_mirror.archive.strays import Candidates, Stray
from ninepic_mirror.errors import MirrorError, StorageError

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence
    from zoneinfo import ZoneInfo

    from ninepic_mirror.archive.content import Content
    from ninepic_mirror.archive.moves import Move
    from ninepic_mirror.archive.placement import Layout
    from ninepic_mirror.archive.records import Job
    from ninepic_mirror.archive.root import Root
    from ninepic_mirror.model import Variant

TRASH: Final = ".ninepic-mirror/trash/"
_NONE: Final = Candidates()


class Fetched(Struct, frozen=True, gc=False):
    """A body that came whole and stands in memory.

    Args:
        job: What it is for.
        data: The bytes; nobody needs them any more once `Store.write` is done.
        content: What they are.
        etag: As the origin gave it.
        last_modified: Likewise.
        modified: `last_modified` in epoch seconds, None where there is none.
        room: Where `data` stands, when that is to be used again.
    """

    job: Job
    data: bytes | memoryview
    content: Content
    etag: str | None = None
    last_modified: str | None = None
    modified: float | None = None
    room: bytearray | None = None


class Ready(Struct, frozen=True, gc=False):
    """A whole file that waits for its name.

    Args:
        job: What it is for.
        source: Where its bytes stand, relative to the event folder: in `partial/`, or wherever it was found.
        digest: What it is.
        etag: As the origin gave it, None for a file that was found.
        last_modified: Likewise.
        told: Bytes of it that `Progress.coming` has counted.
    """

    job: Job
    source: str
    digest: Digest
    etag: str | None = None
    last_modified: str | None = None
    told: int = 0

    @property
    def was_fetched(self) -> bool:
        """Whether it came over the network, not from this disk."""
        return self.source.startswith(PARTIAL)


class _Settling(Struct, gc=False):
    """One file of a batch on its way.

    Args:
        ready: The file.
        target: Its final place.
        twin: The place of equal bytes that it becomes a link to.
        model: Where equal bytes stand whose blocks it may share.
    """

    ready: Ready
    target: str
    twin: str | None = None
    model: str | None = None

    def is_its_own(self, others: Collection[str]) -> bool:
        """Whether its bytes stand where no other file of the mirror does, or will."""
        source = self.ready.source
        return self.ready.was_fetched or source == self.target or source not in others


class Store:
    """Places files in one event folder.

    Args:
        tree: The event folder.
        root: The mirror root that it stands in.
        layout: The configured layout.
        zone: The zone of the folders.
        duplicates: What becomes of equal bytes.
        min_free: Bytes to leave free.

    Attributes:
        day: The folder of the trash that all files go to which step aside.
    """

    def __init__(
        self,
        tree: Tree,
        root: Root,
        layout: Layout,
        zone: ZoneInfo,
        duplicates: Literal["hardlink", "copy"] = "hardlink",
        min_free: int = 0,
    ) -> None:
        self.tree, self._root = tree, root
        self.day = time.strftime("%Y-%m-%d", time.gmtime())
        self._flush = Flush(tree)
        self._layout, self._zone = layout, zone
        self._duplicates, self._min_free = duplicates, min_free

    def stem(self, taken: int | None, variant: Variant, image_id: str) -> str:
        """Return where a file belongs, without its extension."""
        return self._layout.stem(taken, self._zone, variant, image_id)

    def is_place(self, path: str) -> bool:
        """Whether the layout could have given this place to a photo."""
        return self._layout.places().fullmatch(path) is not None

    def check_room(self, needed: int = 0) -> None:
        """See that the root stands and has room.

        Args:
            needed: Bytes about to be written.

        Raises:
            StorageError: It has vanished, or is fuller than `min_free` allows.
        """
        self._root.check()
        free = self._root.free()
        if free < self._min_free + needed:
            raise StorageError(
                str(self._root.path),
                f"the disk is nearly full: {free} bytes are free, {self._min_free + needed} are needed",
                "make room, or lower [mirror] min_free",
            )

    def find(self, job: Job, strays: Candidates = _NONE) -> Ready | None:
        """Look whether a job's file already stands somewhere, whole: nothing is fetched twice (DESIGN §7).

        Args:
            job: With `held`, where a row last knew the file.
            strays: Files without a row that may be it.

        Returns:
            The file, its bytes read and checked; None when it is to be fetched.

        Raises:
            StorageError: It may not be read, or not now: that says nothing about the file.
        """
        held = [] if job.held is None else [Stray(job.held, job.sha256)]
        if job.held is not None and strays.held not in {None, job.sha256}:
            held.append(Stray(job.held, strays.held))  # where it stands, it is believed by either
        for known in (*held, *strays.tried(job.sha256)):
            try:
                digest = read_hashes(self.tree, known.path, job.variant)
            except OSError as error:
                if error.errno not in UNREADABLE | ABSENT:
                    raise storage_error(error, self.tree.name(known.path)) from error
                continue
            except MirrorError:
                continue  # not whole: it is fetched anew, and this one goes to the trash
            # a copy may have been made in another format
            is_named_right = known.path.endswith(digest.content.ext)
            if known.sha256 == digest.sha256 or (known.sha256 is None and is_named_right):
                return Ready(job, known.path, digest)
        return None

    def write(self, bodies: Sequence[Fetched]) -> list[Ready]:
        """Write bodies below `partial/` and hash them; nothing is synced yet.

        Raises:
            StorageError: The disk said no, or would be fuller than `min_free` allows.
        """
        self.check_room(sum(len(body.data) for body in bodies))
        with translated(self.tree.name(PARTIAL)), self.tree.holding() as tree:
            return [self._written(tree, body) for body in bodies]

    def _written(self, tree: Tree, body: Fetched) -> Ready:
        job = body.job
        path = place(job.image_id, job.variant)
        digest = write_body(tree, path, body.data, body.content, body.modified)
        return Ready(job, path, digest, body.etag, body.last_modified)

    def discard(self, files: Sequence[Ready]) -> None:
        """Take away fetched files that are not needed.

        Raises:
            StorageError: The disk said no.
        """
        with translated(self.tree.name(PARTIAL)):
            for one in files:
                self.tree.remove(one.source)

    def settle(
        self,
        batch: Sequence[Ready],
        equal: Mapping[str, Sequence[str]],
        others: Collection[str] = (),
    ) -> list[Placed]:
        """Give a batch of files their final names, durably.

        Args:
            batch: Whole files; no two for the same photo and variant.
            equal: SHA-256 → places of files with these bytes, by the manifest.
            others: Places that jobs know as theirs, and that are another file's by now: they stay as they are.

        Returns:
            Where each now stands; a row may call them present. A file that was found where another's is, or is about
            to be, is left out, and stays wanted: the next pass has it.

        Raises:
            StorageError: The disk said no. Nothing of the batch may be recorded; what has got its name already is
                found by the next pass.
        """
        self.check_room()
        with translated(self.tree.name("")), self.tree.holding() as tree:
            settling = self._choose(tree, batch, equal)
            others = {*others, *(one.target for one in settling)}
            settling = [one for one in settling if one.is_its_own(others)]
            self._sync(tree, [one for one in settling if one.twin is None])
            for one in settling:
                self._name(tree, one, others)
            sources = (one.ready.source for one in settling if not one.ready.was_fetched)
            for folder in {
                split(path)[0] for path in (*(one.target for one in settling), *sources)
            }:
                tree.sync_folder(folder)
            for folder in {
                split(one.ready.source)[0]
                for one in settling
                if not (one.ready.was_fetched or one.ready.source == one.target)
                and not one.ready.source.startswith(TRASH)
            }:
                tree.prune(folder)
        return [
            Placed(
                one.ready.job.image_id,
                one.ready.job.variant,
                one.target,
                one.ready.digest.size,
                one.ready.digest.xxh3_128,
                one.ready.digest.sha256,
                one.ready.etag,
                one.ready.last_modified,
                one.twin is not None,
                one.ready.was_fetched,
            )
            for one in settling
        ]

    def _choose(
        self, tree: Tree, batch: Sequence[Ready], equal: Mapping[str, Sequence[str]]
    ) -> list[_Settling]:
        """Decide each file's place, and of which it becomes a link. The bytes are compared, not only the hashes."""
        settling: list[_Settling] = []
        first: dict[str, _Settling] = {}
        for ready in batch:
            sha256 = ready.digest.sha256
            stem = self.stem(ready.job.taken, ready.job.variant, ready.job.image_id)
            one = _Settling(ready, stem + ready.digest.content.ext)
            settling.append(one)
            if not ready.was_fetched:
                continue
            before = first.setdefault(sha256, one)
            if before is not one and tree.same_bytes(ready.source, before.ready.source):
                self._share(one, before.ready.source, before.target)
                continue
            for stands in equal.get(sha256, ()):
                if stands != one.target and tree.same_bytes(stands, ready.source):
                    self._share(one, stands, stands)
                    break
        return settling

    def _share(self, one: _Settling, now: str, later: str) -> None:
        """Let a file have its bytes in common with an equal one, as configured and as far as possible."""
        if self._duplicates == "hardlink":
            one.twin = later
        else:
            one.model = now

    def _sync(self, tree: Tree, settling: Sequence[_Settling]) -> None:
        for one in settling:
            if one.model is not None:
                tree.clone(one.model, one.ready.source)
        sources = [one.ready.source for one in settling]
        self._flush.files(tree, sources, sum(one.ready.digest.size for one in settling))

    def _name(self, tree: Tree, one: _Settling, others: Collection[str]) -> None:
        ready = one.ready
        if ready.source != one.target:  # else a run that was cut off has given the name
            stands = tree.stat(one.target) is not None and self._keep(tree, one.target)
            self._put(tree, one, over=stands)
        held = ready.job.held
        is_ours = held not in {*others, ready.source}
        if held is not None and is_ours and not held.startswith(TRASH):
            self._give_up(tree, held, one.target)

    def _keep(self, tree: Tree, target: str) -> bool:
        """Give what stands at a final name without being the photo a name in the trash, durably: nothing is deleted.

        Returns:
            Whether it stands there still, to be replaced in one step, so that no crash leaves the name without a file;
            a folder, and where there are no links a file, has moved.
        """
        place = self.trash_place(target)
        try:
            tree.link(target, place)
            stands = True
        except OSError:
            tree.move(target, place)
            stands = False
        tree.sync_folder(split(place)[0])
        return stands

    def _put(self, tree: Tree, one: _Settling, *, over: bool) -> None:
        """Give a file its final name, `over` what stands there."""
        source, target = one.ready.source, one.target
        if one.twin is not None:
            name = f"{source}.twin" if over else target
            try:
                tree.link(one.twin, name)
            except OSError:  # EMLINK, EPERM, EXDEV: this file system or file takes no (more) links
                one.twin = None
                self._sync(tree, [one])
            else:
                if over:
                    tree.move(name, target)
                tree.remove(source)
                return
        if one.ready.was_fetched:
            tree.place(source, target)
        else:
            tree.move(source, target)

    def _give_up(self, tree: Tree, held: str, target: str) -> None:
        """What stood at a photo's former place was damaged, or replaced, or it would not have been fetched."""
        found, new = tree.stat(held), tree.stat(target)
        # without regard to case both may be one name
        if found is not None and new is not None and found.inode != new.inode:
            tree.move(held, self.trash_place(held))

    def trash_place(self, path: str) -> str:
        """Return a free place in the trash for a file: a folder for each day, then the path it had."""
        free, number = f"{TRASH}{self.day}/{path}", 0
        while self.tree.stat(free) is not None:
            number += 1
            free = f"{TRASH}{self.day}/{path}.{number}"
        return free

    def carry(self, moves: Sequence[Move]) -> list[str | None]:
        """Make journalled moves, or finish those that a crash cut off; each is safe to repeat.

        Args:
            moves: As the journal has them.

        Returns:
            Where each file stands now, its folders synced; None where it stands at neither place.

        Raises:
            StorageError: The disk said no; the journal still holds the moves.
        """
        self._root.check()
        with translated(self.tree.name("")):
            places = [self._carry(move) for move in moves]
            paths = [path for move in moves for path in (move.source, move.target)]
            for folder in {split(path)[0] for path in paths}:
                if self.tree.folder_mtime(folder) is not None:
                    self.tree.sync_folder(folder)
        return places

    def _carry(self, move: Move) -> str | None:
        here, there = self.tree.stat(move.source), self.tree.stat(move.target)
        if here is None or not here.is_file:
            # moved before a crash, unless something else stands there: then the row would lie
            return move.target if self._is_file_of(move, move.target) else None
        if there is not None and there.inode != here.inode:
            if self._is_file_of(move, move.target):
                # moved before a crash, and something came to its old place since, out of a backup say
                self.tree.move(move.source, self.trash_place(move.source))
                return move.target
            self.tree.move(move.target, self.trash_place(move.target))
        self.tree.move(move.source, move.target)
        return move.target

    def _is_file_of(self, move: Move, path: str) -> bool:
        try:
            return read_hashes(self.tree, path, move.variant).sha256 == move.sha256
        except OSError as error:
            if error.errno not in UNREADABLE | ABSENT:
                raise
            return False
        except MirrorError:
            return False
