"""What `verify` says of an event, for a person who is tired and for a script. Pure text."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from msgspec import Struct, field

from ninepic_mirror.cli import summary
from ninepic_mirror.cli.summary import SHOWN, count, duration, titled
from ninepic_mirror.progress import format_size, plain

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ninepic_mirror.archive.verify import Damage, Entry, Fault, Key, Look
    from ninepic_mirror.cli.named import Line
    from ninepic_mirror.errors import StorageError
    from ninepic_mirror.model import Variant
    from ninepic_mirror.sync.report import Failure

_WORDS: Final = {
    "missing": "missing",
    "size": "another size",
    "content": "altered, or unreadable",
    "type": "a link or folder in its place",
    "misplaced": "in a wrong place",
}

_RECORD_WORDS: Final = _WORDS | {"content": "it does not say what was recorded"}


class Record(Struct):
    """A file that passes write beside the photos, and that does not say what the manifest says.

    Args:
        path: Where it stands.
        top: Whose SHA256SUMS it is; None: event.json.
        fault: What is wrong.
        repaired: It is right again.
    """

    path: str
    top: str | None
    fault: Fault
    repaired: bool = False


class Verdict(Struct):
    """What was found of one event.

    Args:
        files: That ought to be there.
        due: How many of them were to be looked at.
        checked: How many of them were.
        bytes: That were read.
        damages: What is not as it was.
        cut: The search for whole bytes of damaged files ended before all was looked at.
        records: What is not right of SHA256SUMS and event.json.
        strays: Files that belong to no photo.
        lines: Files that are not what SHA256SUMS says, and that no row knows.
        lost: Files that a pass found gone, of which nothing but SHA256SUMS told, and tells no more.
        older: The manifest is an older copy than the files.
        unfinished: No pass has come to its end that took in what stood here before its row.
        unknown: How many of the strays are this mirror's own, which its manifest does not know.
        named: How many of the strays SHA256SUMS names.
        unwanted: How many files a pass missed of variants that are not wanted, which is no damage.
        adopted: Files that a repair has taken in.
        tried: A repair has asked for what is damaged.
        notes: What else is worth telling, by path: of files that are as they were, and of some in the trash.
        errors: Why files could not be looked at, one a file.
        closed: Why folders could not be looked into, or SHA256SUMS and event.json not be read, one a place.
        unrecorded: How many files that are right the next run reads again, because it could not be recorded.
        gone: Damaged files whose photo has left the event since.
        fetched: Files that came over the network.
        moved: Files that a repair has moved to where the layout has them.
        rebuilt: The manifest was lost, and made anew.
        failures: What the last pass could not have that made it anew, or took in what it did not know.
        unread: The newest of the manifest could not be read.
        late: The time that was given was over.
        error: Why no more can be said.
    """

    event_id: int
    name: str | None = None
    files: int = 0
    due: int = 0
    checked: int = 0
    bytes: int = 0
    damages: list[Damage] = field(default_factory=list)
    cut: bool = False
    records: list[Record] = field(default_factory=list)
    strays: list[str] = field(default_factory=list)
    notes: list[tuple[str, str]] = field(default_factory=list)
    lines: list[Line] = field(default_factory=list)
    lost: list[Line] = field(default_factory=list)
    older: bool = False
    unfinished: bool = False
    unknown: int = 0
    named: int = 0
    unwanted: dict[Variant, int] = field(default_factory=dict)
    adopted: int = 0
    tried: bool = False
    errors: list[StorageError] = field(default_factory=list)
    closed: list[StorageError] = field(default_factory=list)
    unrecorded: int = 0
    gone: set[Key] = field(default_factory=set)
    fetched: int = 0
    moved: int = 0
    rebuilt: bool = False
    failures: list[Failure] = field(default_factory=list)
    unread: bool = False
    late: bool = False
    stopped: bool = False
    seconds: float = 0.0
    error: str | None = None

    def forget(self) -> None:
        """Begin anew, but for what was done to the manifest."""
        self.checked = self.bytes = 0
        self.damages, self.strays, self.notes, self.lines = [], [], [], []
        self.cut = False
        self.errors, self.closed, self.unrecorded, self.records = [], [], 0, []
        self.older, self.unfinished = False, False
        self.unknown, self.named, self.adopted = 0, 0, 0
        self.unwanted = {}

    def note(self, entry: Entry, found: Look) -> bool:
        """Count a file that was looked at; return whether anything is known of it."""
        if found.error is not None:
            self.errors.append(found.error)
            return False
        self.checked += 1
        self.bytes += found.read
        if found.note is not None:
            self.notes.append((str(entry.path), found.note))
        return True

    @property
    def is_behind(self) -> bool:
        """Whether files stand here that the manifest ought to know."""
        return self.older or self.unfinished or self.unknown > 0

    @property
    def beside(self) -> list[Record | Line]:
        """What is not right and is no row's."""
        return [*self.records, *self.lines, *self.lost]

    @property
    def has_wrong_lines(self) -> bool:
        """Whether a file is not what SHA256SUMS says, and no row knows it."""
        return any(not one.repaired for one in self.lines)

    @property
    def needs_pass(self) -> bool:
        """Whether a pass has something to mend."""
        records = any(not one.repaired for one in self.records)
        # the pass of a rebuild has asked for them already
        lines = self.has_wrong_lines and not self.rebuilt
        return self.can_be_repaired or records or lines or self.is_behind

    @property
    def can_be_repaired(self) -> bool:
        """Whether any damage is left that a repair may mend: not of a photo that left, without a copy of its bytes."""
        return any(
            not (one.repaired or (one.entry.is_gone and one.found is None and not self.cut))
            for one in self.damages
        )

    @property
    def is_damaged(self) -> bool:
        """Whether damage remains (exit code 8)."""
        return not all(one.repaired for one in (*self.damages, *self.beside))

    def as_json(self) -> dict[str, object]:
        """Return it as `verify --json` prints it."""
        damaged: list[dict[str, object]] = [
            {
                "path": one.entry.path,
                "image_id": one.entry.image_id,
                "variant": one.entry.variant,
                "fault": one.fault,
                "repaired": one.repaired,
            }
            for one in self.damages
        ]
        damaged += [
            {
                "path": one.path,
                "image_id": None,
                "variant": None,
                "fault": one.fault,
                "repaired": one.repaired,
            }
            for one in self.beside
        ]
        damaged += [
            {"path": path, "image_id": None, "variant": None, "fault": "stray", "repaired": False}
            for path in self.strays
        ]
        return {
            "event_id": self.event_id,
            "checked": self.checked,
            "bytes": self.bytes,
            "files": self.files,
            "damaged": damaged,
            "older": self.older,
            "unfinished": self.unfinished,
            "unknown": self.unknown,
            "unwanted": self.unwanted,
            "adopted": self.adopted,
            "rebuilt": self.rebuilt,
            "fetched": self.fetched,
            "moved": self.moved,
            "failures": [one.as_json() for one in self.failures],
            "unreadable": [
                {"path": one.path, "error": one.text} for one in [*self.closed, *self.errors]
            ],
            "unrecorded": self.unrecorded,
            "notes": [{"path": path, "text": text} for path, text in self.notes],
            "error": self.error,
        }


def describe(verdict: Verdict, *, repair: str, everything: str, repairing: bool) -> Iterator[str]:
    """Yield the lines that end the verification of an event.

    Args:
        verdict: What was found.
        repair: A command that repairs.
        everything: One that names every damaged file.
        repairing: A repair was asked for.
    """
    title = titled(verdict.name, verdict.event_id)
    if verdict.error is not None:
        yield f"{title}: NOT verified: {plain(verdict.error)}"
        return
    if verdict.rebuilt:
        how = (
            "its rebuild is not finished" if verdict.unfinished else "it was rebuilt from the files"
        )
        yield f"{title}: the manifest was lost or damaged; {how}"
    if verdict.closed:
        yield f"{title}: {count(len(verdict.closed), 'place')} could not be looked into:"
        yield from _bounded([f"  {plain(str(one))}" for one in verdict.closed], everything)
    if verdict.errors:
        yield f"{title}: {count(len(verdict.errors), 'file')} could not be looked at:"
        yield from _bounded([f"  {plain(str(one))}" for one in verdict.errors], everything)
    yield from _damages(verdict, title, everything)
    yield from _strays(verdict, everything)
    for variant, number in verdict.unwanted.items():
        yield f"  {count(number, variant)} missed by an earlier sync, not wanted (sync --variant {variant} has it again)"
    notes = [f"  {plain(path)}: {plain(text)}" for path, text in verdict.notes]
    yield from _bounded(notes, everything)
    yield from _work(verdict)
    yield from _next(verdict, repair, repairing=repairing)


def lacking(verdict: Verdict, *, everything: str, sync: str) -> Iterator[str]:
    """Yield the lines that tell what a pass could not have that made a manifest anew, or took files in.

    Args:
        verdict: What was found.
        everything: A command that names every such file.
        sync: One that tries again to have them.
    """
    yield f"{titled(verdict.name, verdict.event_id)}: NOT whole: not everything could be had:"
    yield from _bounded([summary.describe(one) for one in verdict.failures], everything)
    yield f"  next: {sync}"


def _damages(verdict: Verdict, title: str, everything: str) -> Iterator[str]:
    lines = [(_line(one, verdict), one.repaired) for one in verdict.damages]
    lines += [
        (f"  {plain(one.path)}: {_RECORD_WORDS[one.fault]}", one.repaired)
        for one in verdict.records
    ]
    lines += [
        (f"  {plain(one.path)}: {_WORDS[one.fault]}; SHA256SUMS names it", one.repaired)
        for one in [*verdict.lines, *verdict.lost]
    ]
    left = [line for line, is_repaired in lines if not is_repaired]
    repaired = [f"{line}: repaired" for line, is_repaired in lines if is_repaired]
    if left:
        yield f"{title}: DAMAGED: {count(len(left), 'file')}:"
        yield from _bounded(left, everything)
    elif repaired:
        yield f"{title}: {count(len(repaired), 'damaged file')} repaired; all is as it was:"
    elif not verdict.checked and verdict.is_behind:
        yield f"{title}: no file was looked at"
    elif verdict.checked < verdict.files:
        yield f"{title}: no damage in {verdict.checked:,} of {count(verdict.files, 'file')}"
    else:
        yield f"{title}: no damage: {count(verdict.files, 'file')} as they were"
    yield from _bounded(repaired, everything)


def _strays(verdict: Verdict, everything: str) -> Iterator[str]:
    if verdict.strays:
        verb = "belongs" if len(verdict.strays) == 1 else "belong"
        yield f"  {count(len(verdict.strays), 'file')} {verb} to no photo (never touched):"
        yield from _bounded([f"    {plain(path)}" for path in verdict.strays], everything)
    if verdict.named and not verdict.is_behind:
        yield (
            f"    SHA256SUMS names {count(verdict.named, 'file')} of these: mirrored once, in a variant that is not"
            " configured (sync --variant takes it in), or of a photo that left"
        )


def _next(verdict: Verdict, repair: str, *, repairing: bool) -> Iterator[str]:
    if verdict.older:
        yield "  the manifest is older than the files, as one from a backup is: for newer ones SHA256SUMS alone vouches"
    elif verdict.unfinished:
        yield "  the first sync or a rebuild was cut off: for files without a row SHA256SUMS alone vouches"
    elif verdict.unknown:
        files = count(verdict.unknown, "file")
        yield f"  the manifest does not know {files} of this mirror's own: SHA256SUMS alone vouches for them"
    if verdict.is_damaged and not (verdict.needs_pass or verdict.has_wrong_lines):
        yield "  next: no whole copy is here; put these files back from a backup, where there is one"
    elif verdict.is_damaged or verdict.is_behind:
        yield f"  next: {_reason(verdict, repairing=repairing)}{repair}"


def _reason(verdict: Verdict, *, repairing: bool) -> str:
    """Return what is to be said before the command that repairs."""
    if not repairing:
        return "" if verdict.is_damaged else "take them in: "
    if verdict.stopped:
        return ""
    if not (verdict.tried or verdict.rebuilt):
        return "nothing could be tried, for the reason told; when that is over: "
    if verdict.has_wrong_lines:
        return "the files above could not be had; put them back from a backup, or try again later: "
    return "the files above could not be had; try again later: " if verdict.is_damaged else ""


def _line(damage: Damage, verdict: Verdict) -> str:
    row = damage.entry
    line = f"  {plain(row.path or row.image_id)}: {_WORDS[damage.fault]}"
    if damage.found is not None:
        what = "it stands" if damage.fault == "misplaced" else "its bytes stand"
        line += f": {what} at {plain(damage.found)}"
    if row.is_gone or row.key in verdict.gone:
        line += "; its photo has left the event, so that it cannot be fetched again"
    elif row.error is not None:
        line += f"; {plain(row.error)}"
    return line


def _bounded(lines: Sequence[str], everything: str) -> Iterator[str]:
    yield from lines[:SHOWN]
    if len(lines) > SHOWN:  # a screenful: a thousand lines would push the verdict out of sight
        yield f"  … and {len(lines) - SHOWN:,} more: {everything}"


def _work(verdict: Verdict) -> Iterator[str]:
    parts = [f"{count(verdict.checked, 'file')} checked"]
    parts += [f"{format_size(verdict.bytes)} read"] if verdict.bytes else []
    parts += [f"{count(verdict.adopted, 'file')} taken in"] if verdict.adopted else []
    parts += [f"{count(verdict.fetched, 'file')} fetched"] if verdict.fetched else []
    parts += [f"{count(verdict.moved, 'file')} moved"] if verdict.moved else []
    yield f"  {', '.join(parts)}; {duration(verdict.seconds)}"
    due = verdict.due - verdict.checked - len(verdict.errors)
    if due:
        why = "the time was over" if verdict.late else "stopped"
        begin = "" if verdict.unrecorded else "; the next run begins with them"
        yield f"  {why} before {count(due, 'file')}{begin}"
    if verdict.unrecorded:
        files = count(verdict.unrecorded, "file")
        yield f"  what was read ({files}) could not be recorded, beside a pass or without permission; it is read again"
    if verdict.unread:
        yield "  without permission to write, the newest changes of a pass were not seen"
