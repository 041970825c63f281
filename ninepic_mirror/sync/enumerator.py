"""Decides what to list, has it read, and looks whether it adds up (DESIGN §6.2 to §6.4).

    counts ← timeline/days, /images?page_size=1
    repeat, at most ROUNDS times:
        plan ← what differs from the manifest
        read the planned windows, several at a time, then the undated tail (`reader`)
        counts again, for what was read is of several moments; the same as before, nothing is doubtful: done
        they moved: every listing of several pages must now be agreed on by two readings
    known photos differ from the total: list the whole event, it is the last word

An hour is doubtful when it does not hold the photos that its last listing named, when another hour names one of them,
too, or has just taken one. It is listed again in the same pass, AGAIN times; a pass that leaves one is not whole.

What cannot be listed or proven is a fault of the pass, never the end of it: the rest goes on.
"""

from __future__ import annotations

import math
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

import trio
from msgspec import Struct, field, structs

from ninepic_mirror.archive import about
from ninepic_mirror.archive.claims import disagreeing
from ninepic_mirror.archive.listings import (
    Listings,
    hours,
    known_photos,
    repeated_in_hours,
    unaddressed,
)
from ninepic_mirror.archive.patience import is_settled, note_contradictions, resting
from ninepic_mirror.archive.placement import cut, parts
from ninepic_mirror.archive.records import Hour, Job, Listing
from ninepic_mirror.errors import EventNotFoundError, FeatureOffError
from ninepic_mirror.model import HOUR
from ninepic_mirror.sync.planner import Known, Plan, Remote, Tail, differs, make_plan
from ninepic_mirror.sync.reader import Reader, Reading

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, Mapping

    from ninepic_mirror.archive.manifest import Manifest
    from ninepic_mirror.model import Variant
    from ninepic_mirror.sync.context import Context

ROUNDS: Final = 5  # of counts, before a listing is called restless (RELIABILITY N14)
AGAIN: Final = 2  # times that an hour which was listed is listed again because it is doubtful
_LISTERS: Final = 6  # windows under way at a time; the pacer decides how many requests really are
_EVENT: Final = "event"  # what rests as a whole, see `patience`
_SURE: Final = "agreed"  # in `meta`: see `is_sure`
_TWICE: Final = "named_twice"  # in `meta`: a hash of the photos that two hours name, and of these
_HOURLESS: Final = "hourless"  # in `meta`: see `_fewest`
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class Findings(Struct):
    """How the listing of a pass went.

    Args:
        remote: The last counts.
        faults: What could not be listed, proven or balanced, one line each, for people.
        rejected: Rows without a usable id, likewise.
        repeated: Rows that named a photo again.
        listed: Anything was listed at all.
        complete: All photos of the event are known, those without a usable id left aside.
    """

    remote: Remote
    faults: list[str] = field(default_factory=list)
    rejected: list[str] = field(default_factory=list)
    repeated: int = 0
    listed: bool = False
    complete: bool = False


class Enumerator:
    """Runs the listing side of one pass.

    Args:
        context: The pass.
        listings: The manifest's listing side; used in the manifest's thread only.
        timeline: Whether the event's timeline is switched on.
        send: Takes each job; it may wait.
    """

    def __init__(
        self,
        context: Context,
        listings: Listings,
        send: Callable[[Job], Awaitable[None]],
        *,
        timeline: bool,
    ) -> None:
        self._context, self._listings, self._timeline = context, listings, timeline
        self._reader = Reader(context, listings, send)
        self._done: dict[int | None, int] = {}
        self._doubtful: frozenset[int] = frozenset()
        self._again: Counter[int] = Counter()  # by hour, see AGAIN
        self._told: set[str] = set()

    async def counts(self) -> Remote:
        """Ask for the counts: two requests, one while the timeline is off.

        Raises:
            StopProgramError: The service cannot be reached or refuses the key.
            StopEventError: The event cannot be listed.
            PassingError: The service answers nothing but faults.
        """
        api, event_id = self._context.api, self._context.event_id
        by_hour: Mapping[int, int] | None = None
        was_on = self._timeline
        if was_on:
            try:
                timeline = await api.timeline_days(event_id)
            except (FeatureOffError, EventNotFoundError):
                # The flag said otherwise; every known hour is kept (RELIABILITY N18). The event itself was just found.
                self._timeline = False
            else:
                by_hour = timeline.hours
                self._tell(timeline.rejected)
        remote = Remote(by_hour, (await api.images(event_id, 1, 1)).total)
        if (
            was_on and not self._timeline
        ):  # said only now: had the key been refused, it would not be so
            self._context.note(
                "the timeline is switched off for this event: new photos go to undated/"
            )
        return remote

    def _tell(self, unread: tuple[str, ...]) -> None:
        """Name the days that could not be read, once: their photos are listed with the undated ones."""
        for text in unread:
            if text not in self._told:
                self._told.add(text)
                self._context.note(
                    f"the timeline names what is no day or hour: {text}; its photos go to undated/"
                )

    async def run(self, remote: Remote, *, everything: bool) -> Findings:
        """List what differs.

        Args:
            remote: What `counts` answered at the start of the pass.
            everything: List all windows.
        """
        context, findings = self._context, Findings(remote)
        unsure = not await context.in_manifest(is_sure, context.manifest)
        if unsure:
            await self._doubt()
        restless = await self._rounds(findings, everything=everything)
        day = context.options.day
        if day is not None:
            if self._timeline:  # off, what it once reported is not the service's word any more
                findings.faults += await context.in_manifest(self._short, day)
            findings.faults += await context.in_manifest(self._untold, findings.remote)
        else:
            if await self._lacks_the_last_word(findings, restless=restless):
                findings.listed = True
                await self._disturb()
                await self._list_event(findings.remote)
                await self._doubt()
                restless = await self._rounds(findings, everything=everything)
            await self._settle(findings)
        if restless:
            findings.faults.append(
                "the listing kept changing while it was read; sync again when uploads pause"
            )
        if self._timeline and (unsure or findings.listed):
            contradictions = await context.in_manifest(self._agree)
            findings.faults += [] if restless else contradictions
        reader = self._reader
        findings.faults = [*reader.faults.values(), *findings.faults]
        findings.rejected = reader.nameless()
        if not (reader.faults or restless):
            findings.complete = await context.in_manifest(self._knows_all, findings.remote)
        return findings

    async def _rounds(self, findings: Findings, *, everything: bool) -> bool:
        """List what is planned until nothing is; return whether the listing never came to rest."""
        for _ in range(ROUNDS):
            plan = await self._plan(findings.remote, everything=everything)
            if not plan:
                return False
            findings.listed = True
            await self._list(plan, findings.remote)
            await self._doubt()
            before, findings.remote = findings.remote, await self.counts()
            if findings.remote != before:
                self._reader.moved = True
            if not (self._reader.moved or self._doubtful):
                return False
        return bool(await self._plan(findings.remote, everything=everything))

    async def _plan(self, remote: Remote, *, everything: bool) -> Plan:
        context = self._context
        known = await context.in_manifest(self._known)
        zone, day = self._context.zone, self._context.options.day
        plan = make_plan(
            known, remote, lambda hour: cut(zone, hour), everything=everything, done=self._done
        )
        if self._reader.moved:
            once = self._reader.once  # what rests on one reading is read again
            plan = Plan(
                tuple(sorted({*plan.hours, *(one.hour for one in once if one.hour is not None)})),
                undated=plan.undated or any(one.window is None and one.offset for one in once),
                event=plan.event or Listing() in once,
            )
        if day is None:
            return plan
        return Plan(tuple(start for start in plan.hours if self._is_asked_for(start)))

    def _known(self) -> Known:
        context = self._context
        return known_of(
            context.manifest, context.variants, self._doubtful, patient=context.options.patient
        )

    def _knows_all(self, remote: Remote) -> bool:
        """Whether no photo lacks by the counts, where all that was read could be, also of days that were not asked for.

        A total that two passes listed everything for in vain is a wrong one.
        """
        context, gap = self._context, self._gap(remote)
        if context.options.day is not None:
            known = known_of(context.manifest, ())  # addresses that lack are not the question
            if make_plan(known, remote, lambda hour: cut(context.zone, hour)):
                return False
        is_told = gap <= len(self._reader.nameless())
        return is_told or is_settled(context.manifest, _EVENT, remote.total)

    def _is_asked_for(self, start: int) -> bool:
        """Whether an hour has a part in the day that was asked for."""
        day = self._context.options.day
        return day is None or day[0] - HOUR < start < day[1]

    async def _disturb(self) -> None:
        """Note that photos are about to be recorded: cut off from here on, the next pass has to look and to tell."""
        values: dict[str, object] = {_SURE: False, about.NOTE: None}
        await self._context.in_manifest(self._context.manifest.set_meta, values)

    async def _list(self, plan: Plan, remote: Remote) -> None:
        await self._disturb()
        self._again.update(self._doubtful & self._done.keys())
        reported = remote.hours or {}
        queue = iter([(start, reported.get(start, 0)) for start in plan.hours])
        async with trio.open_nursery() as nursery:
            for _ in range(_LISTERS):
                nursery.start_soon(self._list_hours, queue)
        # After the windows: its first page also names dated photos, which by now have their hours.
        if plan.undated:
            await self._list_undated(remote)
        if plan.event:
            await self._list_event(remote)

    async def _list_hours(self, queue: Iterator[tuple[int, int]]) -> None:
        for start, reported in queue:
            readings = [
                await self._reader.prove(Listing(start, window), f"the hour {hour_name(start)}")
                for window in parts(self._context.zone, start)
            ]
            proven = [reading for reading in readings if reading is not None]
            if len(proven) < len(readings):
                continue
            self._done[start] = reported
            hour = Hour(
                reported,
                sum(reading.distinct for reading in proven),
                sum(reading.repeated for reading in proven),
                cut(self._context.zone, start),
            )
            await self._context.in_manifest(self._listings.note_hour, start, hour)

    async def _list_undated(self, remote: Remote) -> None:
        size = self._context.limits.page
        offset = remote.dated // size * size
        listing = Listing(offset=offset)
        if 0 < remote.total <= offset:
            # The tail is empty and begins where a page ends: what the page behind the last answers is unknown (API.md).
            reading: Reading | None = await self._reader.take_as_empty(listing)
        else:
            reading = await self._reader.prove(listing, "the list of undated photos")
        if reading is not None:
            self._done[None] = remote.undated
            listed = max(0, reading.distinct - (remote.dated - offset))
            await self._remember("undated", Tail(remote.undated, listed, reading.repeated))

    async def _list_event(self, remote: Remote) -> Reading | None:
        reading = await self._reader.prove(Listing(), "the list of all photos")
        if reading is not None:
            self._done[None] = remote.total if remote.hours is None else remote.undated
            await self._remember("event", Tail(remote.total, reading.distinct, reading.repeated))
        return reading

    async def _remember(self, key: str, tail: Tail) -> None:
        values: dict[str, object] = {key: structs.asdict(tail)}
        await self._context.in_manifest(self._context.manifest.set_meta, values)

    async def _lacks_the_last_word(self, findings: Findings, *, restless: bool) -> bool:
        """Whether the known photos do not add up to the total, and a listing of the whole event may tell why."""
        context, total = self._context, findings.remote.total
        gap = await context.in_manifest(self._gap, findings.remote)
        if not gap or self._reader.faults or restless:  # those would be read in vain
            return False
        if context.options.patient:
            rests = await context.in_manifest(resting, context.manifest)
            return rests.get(_EVENT) != total
        return True

    async def _settle(self, findings: Findings) -> None:
        """Say by how much the known photos and the total differ."""
        context = self._context
        gap = await context.in_manifest(self._gap, findings.remote)
        unread = len(self._reader.nameless())
        if gap > 0 and gap > unread:
            findings.faults.append(f"the service reports {gap} more photos than its listings name")
        elif gap < 0:
            findings.faults.append(f"the listings name {-gap} more photos than the service reports")
        elif (
            gap == 0
            and findings.listed
            and self._timeline
            and (short := await context.in_manifest(self._short))
        ):
            more = f" (and {len(short) - 1} more hours)" if len(short) > 1 else ""
            context.note(
                f"{short[0]}{more}; the total is right, so nothing lacks; every sync looks again"
            )
        if findings.listed or gap:
            await context.in_manifest(self._note_contradictions, findings.remote, gap)
        findings.repeated = await context.in_manifest(self._repeated)

    def _note_contradictions(self, remote: Remote, gap: int) -> None:
        """Keep account of what was listed in vain, for patient passes."""
        manifest, found, kept = self._context.manifest, {}, []
        short = manifest.rows(
            "SELECT start, reported, pass FROM hours WHERE listed + repeated < reported"
        )
        for start, reported, number in short:
            if number == self._context.number:
                found[str(start)] = int(reported or 0)
            else:
                kept.append(str(start))
        if gap and Listing() in self._reader.traces:  # all of /images was read in this pass
            found[_EVENT] = remote.total
        elif gap:
            kept.append(_EVENT)
        note_contradictions(manifest, found, kept)

    async def _doubt(self) -> None:
        """Look for doubtful hours; those that cannot be read, or were read again often enough, are let be."""
        found: frozenset[int] = frozenset()
        if self._timeline:
            found = await self._context.in_manifest(self._look_for_doubtful)
        unread = {listing.hour for listing in self._reader.faults}
        self._doubtful = frozenset(
            start
            for start in found - unread
            if self._again[start] < AGAIN and self._is_asked_for(start)
        )

    def _look_for_doubtful(self) -> frozenset[int]:
        hours, photos, which = self._listings.claims.contested()
        if photos and self._context.manifest.meta(_TWICE) == which:
            hours = frozenset()  # the last pass found the very same
        return self._listings.claims.disagreeing() | hours | self._listings.left

    def _agree(self) -> list[str]:
        """Say which hours do not hold what their listings named, and note whether all do.

        Photos that two hours name were re-timed between two requests, or the service lags: they are looked at again by
        the next pass. When that finds the very same, it is the service's word, and the earlier hour has them.
        """
        manifest, claims = self._context.manifest, self._listings.claims
        wrong = claims.disagreeing()
        hours, photos, which = claims.contested()
        is_word = not photos or manifest.meta(_TWICE) == which
        manifest.set_meta({_SURE: not wrong and is_word})
        if self._context.options.day is None:
            manifest.set_meta({_TWICE: which if photos else None})
        unread = {listing.hour for listing in self._reader.faults}  # they are told already
        told = sorted(start for start in wrong - unread if self._is_asked_for(start))
        faults = []
        if told:
            more = f" (and {len(told) - 1} more)" if len(told) > 1 else ""
            faults.append(
                f"the hour {hour_name(told[0])}{more} does not hold the photos that its listing named; sync again"
            )
        if not is_word:
            faults.append(
                f"{photos} photos were named by two hours at once, one of them {hour_name(min(hours))}; sync again"
            )
        return faults

    def _short(self, day: tuple[int, int] | None = None) -> list[str]:
        """Name the hours, of all or one span, of which the service reports more photos than it lists."""
        first, end = day or (-math.inf, math.inf)
        return [
            f"the hour {hour_name(start)}: the service reports {hour.reported} photos and lists {hour.listed}"
            for start, hour in hours(self._context.manifest).items()
            if first - HOUR < start < end and hour.listed + hour.repeated < hour.reported
        ]

    def _untold(self, remote: Remote) -> list[str]:
        """Say whether there may be photos of the day that no hour lists: the timeline is off, or its counts lag.

        What is not accounted for may be of any day: no count tells.
        """
        tail = self._context.manifest.noted("undated", Tail)
        if remote.hours is None:
            what, now, gap = "photos, with the timeline off", remote.total, self._gap(remote)
            before, is_told = now - gap, gap == 0
        else:
            what, now = "photos in no hour", remote.undated
            before = self._fewest(now) if tail is None else tail.listed + tail.repeated
            is_told = now == before if tail is None else not differs(tail, now)
        lacks = "whether photos of this day lack cannot be told: a sync of the whole event decides"
        found = f"{what}: the service counts {now}, and {before} are accounted for; {lacks}"
        return [] if is_told else [found]

    def _fewest(self, now: int) -> int:
        """Return how many photos in no hour there were, where no listing of them tells.

        None, where a pass over the event has come to its end: it had none to list. A mirror of single days never lists
        them: the fewest that were seen are undated by the service's word; those that come later may be of the day.
        """
        manifest = self._context.manifest
        if manifest.meta("adopted") is True:
            return 0
        seen = manifest.meta(_HOURLESS)
        fewest = min(now, seen) if isinstance(seen, int) else now
        manifest.set_meta({_HOURLESS: fewest})
        if now:
            self._context.note(f"photos in no hour: {now}; a pass over a day does not look at them")
        return fewest

    def _gap(self, remote: Remote) -> int:
        """Return how many photos of the total are not known; negative when there are too many."""
        manifest = self._context.manifest
        known = known_photos(manifest)
        gap = remote.total - known - self._repeated()
        event = manifest.noted("event", Tail)
        if gap and event is not None and event.reported == remote.total == known + event.repeated:
            return 0  # the last listing of the whole event explains it
        return gap

    def _repeated(self) -> int:
        """Return how many rows of the last listings named a photo again."""
        manifest = self._context.manifest
        if not self._timeline:
            event = manifest.noted("event", Tail)
            return event.repeated if event is not None else 0
        undated = manifest.noted("undated", Tail)
        return repeated_in_hours(manifest) + (undated.repeated if undated is not None else 0)


def known_of(
    manifest: Manifest,
    variants: tuple[Variant, ...],
    doubtful: frozenset[int] | None = None,
    *,
    patient: bool = False,
) -> Known:
    """Return what the manifest knows, for the planner.

    Args:
        manifest: The manifest.
        variants: The configured ones.
        doubtful: Hours that are in doubt; None: see what the last pass left.
        patient: What could not be had lately is not looked for.
    """
    if doubtful is None:
        doubtful = frozenset() if is_sure(manifest) else disagreeing(manifest)
    rests = resting(manifest) if patient else {}
    return Known(
        hours(manifest),
        manifest.noted("undated", Tail),
        manifest.noted("event", Tail),
        unaddressed(manifest, variants, patient=patient),
        doubtful,
        {int(start): count for start, count in rests.items() if start != _EVENT},
    )


def is_sure(manifest: Manifest) -> bool:
    """Whether the last pass that listed anything left every hour with the photos that its listing named."""
    return manifest.meta(_SURE) is True


def hour_name(start: int) -> str:
    """Return an hour for people, such as `2026-01-18 23:00 UTC`."""
    return f"{_EPOCH + timedelta(seconds=start):%Y-%m-%d %H:00} UTC"
