"""One pass of the daemon over one event, and what becomes of it on the board."""

from __future__ import annotations

import logging
import time
from collections import Counter
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Final

import trio

from ninepic_mirror.archive import lock
from ninepic_mirror.archive.balance import balance, counted
from ninepic_mirror.archive.listings import hours
from ninepic_mirror.archive.manifest import reading
from ninepic_mirror.errors import MirrorError
from ninepic_mirror.service.board import FAILURES, Watched
from ninepic_mirror.service.schedule import Outcome
from ninepic_mirror.sync.context import Options
from ninepic_mirror.sync.mirror import sync_event

if TYPE_CHECKING:
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


class Steps:
    """Hands on what a pass reports, and counts it: a sign of life (`Progress`)."""

    def __init__(self, to: Progress) -> None:
        self._to = to
        self.count = 0

    def start(self, event_name: str) -> None:
        """See `Progress`."""
        self.count += 1
        self._to.start(event_name)

    def expect(self, files: int) -> None:
        """See `Progress`."""
        self.count += 1
        self._to.expect(files)

    def done(self, files: int, size: int) -> None:
        """See `Progress`."""
        self.count += 1
        self._to.done(files, size)

    def failed(self, files: int) -> None:
        """See `Progress`."""
        self.count += 1
        self._to.failed(files)

    def note(self, text: str) -> None:
        """See `Progress`."""
        self.count += 1
        self._to.note(text)

    def finish(self) -> None:
        """See `Progress`."""
        self.count += 1
        self._to.finish()


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
    view = replace(session, progress=progress)
    try:
        details = await flags.get(view, one.event_id)
        one.name = details.event.name or one.name
        options = Options(full=full, patient=True)
        report = await sync_event(view, one.event_id, options, details=details)
    except MirrorError as error:
        flags.forget()
        return failed(error, full=full)
    if not report.whole:
        flags.forget()
    changed = bool(report.downloaded or report.linked or report.moved or report.gone)
    is_today = takes_place(details.event.date, datetime.now(UTC).date())
    one.hours = await trio.to_thread.run_sync(_hours, session.root, one.event_id)
    post(one, report)
    return Ended(Outcome(changed=changed, is_today=is_today, full=full, found=full and changed), report)


def failed(error: Exception, *, full: bool) -> Ended:
    """Return how a pass ended that came to no report."""
    return Ended(Outcome(changed=False, is_today=False, full=full, failed=True), None, error)


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
    words = reason.partition(";")[0].partition(":")[0].split()
    kept = [word for word in words if not any(letter.isdigit() for letter in word) or word.isdigit() and len(word) == 3]
    return " ".join(kept)[:80] or "unknown"


def read_board(root: Root, config: Config, one: Watched) -> float | None:
    """Write on the board what the manifest says of an event that this daemon has not looked at yet.

    Returns:
        Seconds since its last full pass, None where there was none.
    """
    full: float | None = None
    try:
        folder = root.folder_of(one.event_id)
        path = root.manifest_path(folder) if folder is not None else None
        if folder is None or path is None or not path.is_file():
            return None
        with reading(path, folder / lock.PATH) as (manifest, _):
            variants = config.mirror_for(one.event_id).variants
            there = counted(manifest, variants) or balance(manifest, variants)
            name, whole_at = manifest.meta("name"), manifest.meta("last_whole")
            last = manifest.rows(
                "SELECT ended_at, whole FROM passes WHERE ended_at IS NOT NULL AND kind NOT IN ('day', 'variant')"
                " ORDER BY id DESC LIMIT 1"
            )
            listed = manifest.count(
                "SELECT max(ended_at) FROM passes WHERE kind = 'full'"
            ) or manifest.count("SELECT min(ended_at) FROM passes WHERE kind = 'partial' AND whole")
            one.hours = {start: hour.listed for start, hour in hours(manifest).items()}
    except Exception as error:  # noqa: BLE001  a mirror that cannot be read is looked at by its first pass, which says why
        _LOG.debug("event %s: its manifest could not be read: %s", one.event_id, error)
        return None
    one.name = name if isinstance(name, str) else None
    one.whole_at = float(whole_at) if isinstance(whole_at, int) else None
    if last:
        ended_at, whole = last[0]
        one.ended_at = float(ended_at) if isinstance(ended_at, int) else None
        one.whole = bool(whole)
    one.photos, one.undated = there.photos, there.undated
    one.present, one.missing, one.failed = there.present, there.missing, there.failed
    if listed:
        full = max(0.0, time.time() - listed)
    return full


def _hours(root: Root, event_id: int) -> dict[int, int]:
    folder = root.folder_of(event_id)
    if folder is None:
        return {}
    with reading(root.manifest_path(folder), folder / lock.PATH) as (manifest, _):
        return {start: hour.listed for start, hour in hours(manifest).items()}
