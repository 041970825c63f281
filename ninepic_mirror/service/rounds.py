"""One pass of the daemon over one event, and what becomes of it on the board."""

from __future__ import annotations

import logging
import re
import time
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Final

import trio
from msgspec import structs

from ninepic_mirror.archive import lock
from ninepic_mirror.archive.balance import balance, counted
from ninepic_mirror.archive.listings import hours
from ninepic_mirror.archive.manifest import reading
from ninepic_mirror.errors import MirrorError, PassingError, UnreachableError
from ninepic_mirror.service.board import FAILURES, Watched
from ninepic_mirror.service.schedule import Outcome
from ninepic_mirror.sync.context import Options
from ninepic_mirror.sync.mirror import sync_event

if TYPE_CHECKING:
    from ninepic_mirror.archive.manifest import Manifest
    from ninepic_mirror.archive.root import Root
    from ninepic_mirror.config import Config
    from ninepic_mirror.model import Details
    from ninepic_mirror.progress import Progress
    from ninepic_mirror.sync.report import PassReport
    from ninepic_mirror.sync.session import Session

_LOG: Final = logging.getLogger(__name__)
_KEEP: Final = 3600.0  # seconds for which an event's flags are not asked for again (DESIGN §6.2)


@dataclass(frozen=True, slots=True)
class Ended:
    """How a pass ended.

    Args:
        outcome: For the schedule.
        report: The balance sheet, None where the pass came to none.
        error: What ended it, None where nothing did.
    """

    outcome: Outcome
    report: PassReport | None = None
    error: Exception | None = None


@dataclass(slots=True)
class Flags:
    """An event's flags, kept for a while so that a quiet look costs two requests instead of three."""

    details: Details | None = None
    asked_at: float = 0.0

    async def get(self, session: Session, event_id: int) -> Details:
        """Return them, asked for anew where they are old.

        Raises:
            StoppedError: The operator ended the run; else as `client.details`.
        """
        now = trio.current_time()
        if self.details is None or now - self.asked_at > _KEEP:
            self.details = await session.unless_stopped(lambda: session.client.details(event_id))
            self.asked_at = now
        return self.details

    def forget(self) -> None:
        """Ask again next time: something did not go as they said."""
        self.details = None


@dataclass(frozen=True, slots=True)
class Past:
    """What the manifest says of an event's passes, for its first turn; seconds, None where there is nothing to say.

    Args:
        full_age: Since the last full pass.
        full_gap: Between the last two.
        quiet: Since photos last came.
    """

    full_age: float | None = None
    full_gap: float | None = None
    quiet: float | None = None


async def make_pass(
    session: Session, one: Watched, flags: Flags, progress: Progress, *, full: bool
) -> Ended:
    """Make one pass, and write what came of it on the board.

    Args:
        session: With the settings that hold now.
        one: The event.
        flags: Its flags.
        progress: For this pass alone: several run at a time.
        full: It lists every hour anew.

    Raises:
        StoppedError: The operator ended the run before there was anything to report.
    """
    view = structs.replace(session, progress=progress)
    try:
        details = await flags.get(view, one.event_id)
        one.name = details.event.name or one.name
        options = Options(full=full, patient=True)
        report = await sync_event(view, one.event_id, options, details=details)
        one.hours = await trio.to_thread.run_sync(_hours, session.root, one.event_id)
    except MirrorError as error:
        flags.forget()
        # what it recorded before it ended: new photos that are not here yet
        await trio.to_thread.run_sync(read_board, session.root, session.config, one)
        return failed(error, full=full)
    if not report.whole:
        flags.forget()
    changed = bool(report.downloaded or report.linked or report.moved or report.gone)
    is_today = takes_place(details.event.date, datetime.now(UTC).date())
    post(one, report)
    return Ended(
        Outcome(changed=changed, is_today=is_today, full=full, found=full and changed), report
    )


def failed(error: Exception, *, full: bool) -> Ended:
    """Return how a pass ended that came to no report."""
    outage = isinstance(error, PassingError | UnreachableError)
    outcome = Outcome(changed=False, is_today=False, full=full, failed=True, outage=outage)
    return Ended(outcome, None, error)


def takes_place(text: str | None, today: date) -> bool:
    """Whether an event takes place about now: its date has no zone (API.md), so the days beside it count too."""
    try:
        day = datetime.fromisoformat(text or "").date()
    except ValueError:
        return False
    return abs(day - today) <= timedelta(days=1)


def post(one: Watched, report: PassReport) -> None:
    """Write a pass's balance sheet on the board."""
    now = time.time()
    one.ended_at, one.whole = now, report.whole
    if report.whole:
        one.whole_at = now
    one.photos, one.undated = report.photos, report.undated
    one.present, one.missing, one.failed = report.present, report.missing, report.failed
    one.failures = report.failures[:FAILURES]
    one.reasons = dict(Counter(short(failure.error) for failure in report.failures))
    one.fetched += report.downloaded
    one.fetched_bytes += report.bytes_downloaded


def short(reason: str) -> str:
    """Return a reason without what differs from photo to photo, so that reasons can be counted."""
    text = re.sub(r"https?://\S+", "the origin", reason).partition(";")[0].partition(":")[0]
    return re.sub(r"\b(?![45]\d\d\b)\d+\b", "N", text)[:80].strip() or "unknown"


def read_board(root: Root, config: Config, one: Watched) -> Past:
    """Write on the board what the manifest says of an event that this daemon has not looked at yet."""
    try:
        folder = root.folder_of(one.event_id)
        path = root.manifest_path(folder) if folder is not None else None
        if folder is None or path is None or not path.is_file():
            return Past()
        with reading(path, folder / lock.PATH) as (manifest, _):
            variants = config.mirror_for(one.event_id).variants
            there = counted(manifest, variants) or balance(manifest, variants)
            one.name = _text(manifest.meta("name"))
            one.whole_at = _moment(manifest.meta("last_whole"))
            one.ended_at, whole = _last_pass(manifest)
            one.whole = None if one.ended_at is None else bool(whole)
            one.hours = _listed(manifest)
            past = _past(manifest)
    except Exception as error:  # noqa: BLE001  the first pass over it will say what is wrong
        _LOG.debug("event %s: its manifest could not be read: %s", one.event_id, error)
        return Past()
    one.photos, one.undated = there.photos, there.undated
    one.present, one.missing, one.failed = there.present, there.missing, there.failed
    return past


def _last_pass(manifest: Manifest) -> tuple[float | None, object]:
    """Return when the last pass over all of the event ended, and whether whole."""
    found = manifest.rows(
        "SELECT ended_at, whole FROM passes WHERE ended_at IS NOT NULL AND kind NOT IN ('day', 'variant')"
        " ORDER BY id DESC LIMIT 1"
    )
    return (_moment(found[0][0]), found[0][1]) if found else (None, None)


def _past(manifest: Manifest) -> Past:
    """Return what past passes say of the rhythm. The first pass of all lists everything, whatever it is called."""
    now = time.time()
    full = [
        float(row[0])
        for row in manifest.rows(
            "SELECT ended_at FROM passes WHERE ended_at IS NOT NULL AND (kind = 'full' OR id ="
            " (SELECT min(id) FROM passes WHERE whole AND kind = 'partial')) ORDER BY ended_at DESC LIMIT 2"
        )
        if isinstance(row[0], int)
    ]
    newest = manifest.count("SELECT max(first_seen) FROM photos")
    return Past(
        full_age=max(0.0, now - full[0]) if full else None,
        full_gap=max(0.0, full[0] - full[1]) if len(full) == 2 else None,
        quiet=max(0.0, now - newest) if newest else None,
    )


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _moment(value: object) -> float | None:
    return float(value) if isinstance(value, int) else None


def _listed(manifest: Manifest) -> dict[int, int]:
    return {start: hour.listed for start, hour in hours(manifest).items() if hour.listed}


def _hours(root: Root, event_id: int) -> dict[int, int]:
    folder = root.folder_of(event_id)
    if folder is None:
        return {}
    with reading(root.manifest_path(folder), folder / lock.PATH) as (manifest, _):
        return _listed(manifest)
