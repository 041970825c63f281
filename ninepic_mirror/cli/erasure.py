"""One run of `forget` over its events: which hold the photos, what is removed, and what is said of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TextIO
from unicodedata import category

import click
import trio
from msgspec import Struct, field, structs

from ninepic_mirror.archive import inventory, lock, sums
from ninepic_mirror.archive.faults import translated
from ninepic_mirror.archive.files import Tree
from ninepic_mirror.archive.forgotten import Gone, Oblivion, remembered
from ninepic_mirror.archive.holdings import Holdings
from ninepic_mirror.archive.manifest import Manifest
from ninepic_mirror.archive.root import Root
from ninepic_mirror.archive.sanity import contradiction
from ninepic_mirror.archive.sqlite_errors import ManifestError
from ninepic_mirror.cli import cures, mirrors
from ninepic_mirror.cli.console import command, is_terminal
from ninepic_mirror.cli.inspection import locked
from ninepic_mirror.cli.options import PLACE, again, repairs
from ninepic_mirror.cli.outcome import Code, code_of, fail, worst
from ninepic_mirror.cli.status import when
from ninepic_mirror.cli.summary import SHOWN, count, titled
from ninepic_mirror.errors import (
    EventBusyError,
    LostError,
    MirrorError,
    NotMirroredError,
    StorageError,
    UsageError,
)
from ninepic_mirror.model import VARIANTS
from ninepic_mirror.progress import format_size, plain

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ninepic_mirror.cli.console import Console
    from ninepic_mirror.config import Config

_NAMED: Final = 100  # characters of an id that are shown


class Holder(Struct, frozen=True):
    """An event that is to forget photos.

    Args:
        event_id: The event.
        name: As last heard.
        held: Of the photos, those that it knows.
        before: Those that it has forgotten already.
        ahead: Those that it never had: one that comes later, or an id that is wrong.
        files: How many files it has of them.
    """

    event_id: int
    name: str | None
    held: tuple[str, ...]
    before: tuple[str, ...]
    ahead: tuple[str, ...]
    files: int

    @property
    def ids(self) -> tuple[str, ...]:
        """All that it is to forget."""
        return (*self.held, *self.before, *self.ahead)

    @property
    def title(self) -> str:
        """What people call it."""
        return titled(self.name, self.event_id)


class Erasure(Struct):
    """One run.

    Args:
        console: Where to say things.
        config: The settings.
        ids: The photos.
        event_id: The only event, None for all that hold one of them.
        json: Print one object instead of text.
        flags: Of the settings, as click gives them.
        holders: The events, once `look` has found them.
        entries: What `--json` prints of each.
        codes: How each ended.
    """

    console: Console
    config: Config
    ids: tuple[str, ...]
    event_id: int | None
    json: bool
    flags: dict[str, object] = field(default_factory=dict)
    holders: list[Holder] = field(default_factory=list)
    entries: list[object] = field(default_factory=list)
    codes: list[int] = field(default_factory=list)

    @property
    def code(self) -> int:
        """The exit code so far."""
        return worst(self.codes)

    @property
    def _or_one(self) -> str:
        """What else helps where another event stands in the way."""
        if self.event_id is not None:
            return ""
        return "; with --event EVENT_ID one event forgets it, whatever the others hold"

    def look(self) -> bool:
        """Find the events that hold the photos; False where one could not be read, so that nothing is begun.

        Raises:
            UsageError: A photo is known to none, or what was given stands for a forgotten one.
            StorageError: The root cannot be read, or a manifest is lost: its folder may hold the photos, too.
        """
        if self.json:
            self.console.document = {"events": self.entries}
        root = mirrors.root_of(self.config)
        there = mirrors.require_root(root)
        self._refuse_lost(root)
        if self.event_id is not None and self.event_id not in there:
            raise NotMirroredError(self.event_id, str(root.path))
        known: set[str] = set()
        looked = there if self.event_id is None else [self.event_id]
        for event_id in looked:
            try:
                with cures.told(self.console, self.config, self.flags, event_id):
                    holder = self._holder(event_id)
            except UsageError:
                raise
            except MirrorError as error:
                _advise(error)
                self.codes.append(fail(self.console, error))
                nobody = Holder(event_id, None, (), (), (), 0)
                self.entries.append(_entry(nobody, Gone(), str(error)))
                continue
            known |= {*holder.held, *holder.before}
            if holder.ids:
                self.holders.append(holder)
        if self.codes:
            self.console.warn(
                "nothing was removed: an event that could not be read may hold the photo. Mend that first, then run"
                f" forget again{self._or_one}"
            )
            return False
        unknown = [one for one in self.ids if one not in known]
        # Such an id can be the service's, but one that nobody knows was copied with too much, or with nothing.
        if odd := [one for one in unknown if not one or _has_blank_end(one)]:
            raise UsageError(
                f"{', '.join(map(ascii, odd))}: empty, or with white space or control characters at an end, and no photo"
                " is known by it; nothing was removed",
                "give the id alone, as the name of the photo's file or the manifest has it",
            )
        if unknown and self.event_id is None:
            events = ", ".join(map(str, looked)) or "none is mirrored here"
            raise UsageError(
                f"{', '.join(map(_named, unknown))}: in none of the events that were looked through ({events});"
                " nothing was removed",
                "look at the id; with --event EVENT_ID a photo is kept from coming that was never seen there",
            )
        return True

    def _refuse_lost(self, root: Root) -> None:
        for folder in mirrors.without_manifest(root):
            number = folder.name.partition("-")[0]
            if self.event_id in {None, int(number)}:
                raise StorageError(
                    str(folder),
                    "its manifest is lost, so that nothing tells whether it holds the photo; nothing was removed",
                    f"rebuild it: {repairs(self.console, self.config, self.flags, int(number))}; then forget again;"
                    f" or move the folder out of the mirror root{self._or_one}",
                )
        for event_id in mirrors.gone(root):
            if self.event_id in {None, event_id}:
                self._refuse_gone(root, event_id)

    def _refuse_gone(self, root: Root, event_id: int) -> None:
        """Refuse an event of which only the manifest is left: it may know the photo, and would have it again."""
        try:
            with cures.told(self.console, self.config, self.flags, event_id):
                mirrors.folder_of(root, event_id)
        except LostError as error:
            _advise(error)
            raise

    def _holder(self, event_id: int) -> Holder:
        root = mirrors.root_of(self.config)
        with mirrors.opened(root, event_id, veiled=False) as (manifest, _):
            text = contradiction(manifest)
            if text is not None:  # what it calls the photo's file may be anything
                raise LostError(str(manifest.path), text, "rebuild it from the files", event_id)
            with Tree(root.folder_of(event_id) or root.path) as tree:
                veil = remembered(manifest, tree)
            for one in filter(veil.stands_in, self.ids):
                raise UsageError(
                    f"{_named(one)} stands for a photo that event {event_id} has forgotten; nothing was removed",
                    "leave it out: nothing is left of that photo; give the id that the service has for it to look again",
                )
            name = manifest.meta("name")
            held = [
                one
                for one in self.ids
                if manifest.rows("SELECT 1 FROM photos WHERE image_id = ?", [one])
            ]
            before = [one for one in self.ids if one not in held and veil.hides(one)]
            # A rebuild that was cut off has not adopted yet what stands in the folders.
            asked = self.event_id is not None or manifest.meta("adopted") is None
            ahead = [one for one in self.ids if asked and one not in {*held, *before}]
            files = sum(
                manifest.count(
                    "SELECT count(*) FROM files WHERE image_id = ? AND path IS NOT NULL", [one]
                )
                for one in held
            )
        title = name if isinstance(name, str) else None
        return Holder(event_id, title, tuple(held), tuple(before), tuple(ahead), files)

    def confirm(self, stdin: TextIO | None) -> None:
        """Ask whether it is meant.

        Raises:
            UsageError: There is nobody to ask.
            click.Abort: It is not.
        """
        if not is_terminal(stdin):
            raise UsageError(
                "forget removes files for good, and there is no terminal to ask at", "give --yes"
            )
        for one in self.holders:
            photos = count(len(one.held), "photo")
            self.console.say(
                f"{one.title}: {photos}, {count(one.files, 'file')}, and what the trash has of them"
            )
            if one.ahead:
                self.console.say(f"  {_never_had(one)}")
        click.confirm("Remove them for good", abort=True, err=True)

    async def run(self, stopping: trio.Event) -> int:
        """Forget; return the exit code. What a signal or a fault leaves is finished by the next run or pass."""
        for holder in self.holders:
            if stopping.is_set():
                break
            try:
                gone = await self._forget(holder)
            except Exception as error:  # noqa: BLE001  one event must not keep the others from forgetting
                _advise(error)
                fail(self.console, error)
                self.codes.append(code_of(error))
                self.entries.append(_entry(holder, Gone(), str(error)))
                continue
            self.codes.append(Code.NOT_WHOLE if gone.undecided else Code.WHOLE)
            self.entries.append(_entry(holder, gone))
            for warning in gone.warnings:
                self.console.warn(f"event {holder.event_id}: {warning}")
            if not self.json:
                for line in self._lines(holder, gone):
                    self.console.print(line)
        return self.code

    async def _forget(self, holder: Holder) -> Gone:
        event_id = holder.event_id
        settings = self.config.mirror_for(event_id)
        root = Root(settings.root, settings.state_dir, require_mount=settings.require_mount)
        await trio.to_thread.run_sync(lambda: root.prepare(make=False))
        folder = root.folder_of(event_id)
        if folder is None:
            raise NotMirroredError(event_id, str(root.path))
        with lock.opened(folder / lock.PATH) as held:
            if not await locked(held, trio.current_time() + lock.WAIT):
                raise EventBusyError(event_id, held.holder())
            durable = settings.durability == "batch"

            def work() -> Gone:
                path = root.manifest_path(folder)
                with (
                    Tree(folder, durable=durable) as tree,
                    Manifest.open(path, durable=durable) as manifest,
                ):
                    return erase(tree, manifest, held.last_pass, settings.layout, holder.ids)

            return await trio.to_thread.run_sync(work)

    def _lines(self, holder: Holder, gone: Gone) -> Iterator[str]:
        size = f", {format_size(gone.bytes)}" if gone.files else ""
        yield f"{holder.title}: {count(gone.photos, 'photo')} forgotten, {count(gone.files, 'file')} removed{size}"
        if holder.before:
            yield f"  {count(len(holder.before), 'photo')} forgotten before: kept from coming back"
        if holder.ahead:
            yield f"  {_never_had(holder)}; kept from coming"
        for copy in gone.copies:
            yield f"  {copy}, a copy of an older manifest, named them and was removed"
        for twin in gone.twins[:SHOWN]:
            whose = (
                f"another photo's: {_named(twin.image_id)} {twin.variant}"
                if twin.image_id
                else "which stays"
            )
            yield f"  the same bytes stand in {plain(twin.path)}, {whose}"
        if len(gone.twins) > SHOWN:
            yield f"  … and in {len(gone.twins) - SHOWN:,} more files; --json names them"
        if gone.other_names:
            yield (
                f"  what was removed has {count(gone.other_names, 'other name')} still, not this mirror's and not removed:"
                " hard links on the same file system, as cp -l or deliver --link make them"
            )
        for package in gone.packages:
            yield (
                f"  the package {plain(package.bag_id)}, made {when(package.made_at)} at {plain(package.destination)},"
                " holds them: whoever has it is to be told"
            )
        yield f"  check it: {command('verify', str(holder.event_id), *again(self.flags, PLACE), console=self.console)}"


def erase(
    tree: Tree, manifest: Manifest, last_pass: int, layout: str, ids: Sequence[str] = ()
) -> Gone:
    """Forget photos, and finish what is left of those remembered; the caller holds the event's lock. Blocks.

    Args:
        tree: The event folder.
        manifest: Open.
        last_pass: The last pass that the lock knows of; 0: the lock was lost, and nothing tells what was made.
        layout: The configured one.
        ids: The photos.

    Raises:
        StorageError: The disk said no; the next pass goes on.
    """
    holdings = Holdings(manifest, last_pass)
    # It lacks what SHA256SUMS, written anew of it, would lose: the record of what newer files were, or all the others.
    # As a pass keeps it.
    with translated(tree.name("")):
        if (why := lock.suspected(tree, manifest, last_pass)) is not None:
            doubted = holdings.lines.doubt(tree, VARIANTS, is_older=why is True)
            if not last_pass or doubted or holdings.lines.has_any():
                # the next pass looks at what SHA256SUMS names beside it, and until then verify says so
                manifest.set_meta({lock.RESTORED: why})
        elif inventory.is_unfinished(manifest):
            # a rebuild may have been cut off before it had read them
            holdings.lines.name(sums.named_lines(tree))
    oblivion = Oblivion(manifest, tree, layout)
    if ids:
        oblivion.remember(ids)
    gone = oblivion.finish(ids)
    dropped: list[tuple[str, str]] = []
    sums.write_stale(tree, manifest, dropped)
    if dropped:
        holdings.lines.name(dropped)  # what is lost the next pass tells
    manifest.checkpoint()
    return gone


def _advise(error: Exception) -> None:
    """Let an error's cure end with what is to be run: a sync alone would not forget."""
    if isinstance(error, ManifestError):
        error.cure += "; then run forget again"
    elif isinstance(error, LostError):
        error.repair += "; then run forget again"
    elif isinstance(error, StorageError):
        error.cure = error.cure.replace("run sync again", "run forget again")


def _has_blank_end(image_id: str) -> bool:
    return any(
        one.isspace() or category(one) in {"Cc", "Cf"} for one in image_id[:1] + image_id[-1:]
    )


def _never_had(holder: Holder) -> str:
    shown = [*map(_named, holder.ahead[:SHOWN]), *(["…"] if len(holder.ahead) > SHOWN else [])]
    photos = count(len(holder.ahead), "photo")
    return f"{photos} that this mirror never had, look at the id: {', '.join(shown)}"


def _named(image_id: str) -> str:
    """Return an id for people: an id may be of any length and any characters."""
    text = plain(image_id) or "''"
    return text if len(text) <= _NAMED else f"{text[:_NAMED]}…"


def _entry(holder: Holder, gone: Gone, error: str | None = None) -> dict[str, object]:
    return {
        "event_id": holder.event_id,
        "name": holder.name,
        "forgotten": list(holder.held),
        "before": list(holder.before),
        "ahead": list(holder.ahead),
        "files": gone.files,
        "bytes": gone.bytes,
        "erased": gone.erased and error is None,
        "unfinished": gone.unfinished,
        "manifest_copies": gone.copies,
        "same_bytes": [structs.asdict(one) for one in gone.twins],
        "other_names": gone.other_names,
        "undecided": [structs.asdict(one) for one in gone.undecided],
        "packages": [structs.asdict(one) for one in gone.packages],
        "error": error,
    }
