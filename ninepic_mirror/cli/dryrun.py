"""`sync --dry-run`: what a pass would fetch, estimated from a sample, without a trace on disk.

details, days, total      what there is
the manifest, if any      what is known
planner                   which hours would be listed: the very decision of a pass
some of those listings    up to 20 photos
a HEAD for each variant   their size, and how long the origin takes to answer
"""

from __future__ import annotations

import math
import sqlite3
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final
from zoneinfo import ZoneInfo

import trio

from ninepic_mirror.archive.listings import known_photos
from ninepic_mirror.archive.placement import cut
from ninepic_mirror.cli import mirrors
from ninepic_mirror.cli.outcome import code_of, fail, worst
from ninepic_mirror.cli.remote import open_api, open_origin
from ninepic_mirror.cli.selection import days_of, span
from ninepic_mirror.cli.summary import count, duration
from ninepic_mirror.errors import (
    MirrorError,
    NotMirroredError,
    PassingError,
    PhotoError,
    StopProgramError,
    UsageError,
)
from ninepic_mirror.model import HOUR, Window
from ninepic_mirror.progress import format_size, plain
from ninepic_mirror.sync.enumerator import known_of
from ninepic_mirror.sync.planner import Known, Plan, Remote, make_plan

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ninepic_mirror.cli.console import Console
    from ninepic_mirror.cli.sync import Wishes
    from ninepic_mirror.config import Config, Mirror
    from ninepic_mirror.model import Details, Key, Photo, Variant
    from ninepic_mirror.ninepic.client import Client
    from ninepic_mirror.ninepic.photos import PhotoClient

SAMPLE: Final = 20  # photos of each variant
_PLACES: Final = 5  # listings from which they are taken, spread over what would be listed
_USUAL: Final = 8  # requests at a time with which a pass begins (DESIGN §8)


@dataclass(slots=True)
class Local:
    """What the manifest knows; nothing when there is none.

    Args:
        photos: Photos listed so far.
        wanted: Files still to be had of the photos that are known.
        everything: All hours would be listed, because a variant was added.
        rate: Bytes per second of the last pass that fetched something, None when there was none.
    """

    known: Known = field(default_factory=Known)
    photos: int = 0
    wanted: int = 0
    everything: bool = False
    rate: float | None = None


@dataclass(slots=True)
class Sample:
    """What the HEADs said of one variant: sizes in bytes, seconds for each answer."""

    sizes: list[int] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)

    @property
    def mean(self) -> float | None:
        """Bytes of a file on average, None when no size was seen."""
        return sum(self.sizes) / len(self.sizes) if self.sizes else None


@dataclass(slots=True)
class Forecast:
    """What a pass over one event would do."""

    event_id: int
    name: str | None
    variants: tuple[Variant, ...]
    remote: Remote
    local: Local
    plan: Plan
    new: int
    samples: dict[Variant, Sample]

    @property
    def files(self) -> int:
        """Files that would be fetched."""
        return self.new * len(self.variants) + self.local.wanted

    def size(self) -> int | None:
        """Bytes that would be fetched, None when the sample says nothing."""
        means = [sample.mean for sample in self.samples.values()]
        known = [mean for mean in means if mean is not None]
        return round(self.files * sum(known) / len(known)) if len(known) == len(means) else None

    def seconds(self, connections: int) -> tuple[float, str] | None:
        """Return how long it would take, and from what that is estimated; None when nothing tells."""
        size = self.size()
        if size is not None and self.local.rate:
            return size / self.local.rate, "at the rate of the last pass that fetched something"
        answers = [second for sample in self.samples.values() for second in sample.seconds]
        if not answers:
            return None
        width = min(_USUAL, connections)
        text = f"at least: from the answer times of the sample, {width} at a time; the line's speed is not known"
        return self.files * sum(answers) / len(answers) / width, text


async def explore(
    console: Console, config: Config, key: Key, wishes: Wishes, *, json: bool = False
) -> int:
    """Say what a pass would do, event by event; return the exit code."""
    from ninepic_mirror.cli.sync import chosen  # noqa: PLC0415  `sync` imports this module

    entries: list[object] = []
    if json:
        console.document = {"events": entries}
    codes: list[int] = []
    async with (
        open_api(config.api, key) as client,
        open_origin(config.api, config.mirror.connections) as photos,
    ):
        for event_id in await chosen(client, config, wishes):
            try:
                found = await _forecast(client, photos, config, wishes, event_id)
            except MirrorError as error:
                if isinstance(error, StopProgramError) and not isinstance(error, UsageError):
                    raise
                codes.append(code_of(error))
                fail(console, error)
                continue
            settings = config.mirror_for(event_id)
            entries.append(_entry(found, settings))
            if not json:
                for line in _lines(found, settings):
                    console.print(line)
    return worst(codes)


async def _forecast(
    client: Client, photos: PhotoClient, config: Config, wishes: Wishes, event_id: int
) -> Forecast:
    settings = config.mirror_for(event_id)
    zone = ZoneInfo(settings.timezone)
    details = await client.details(event_id)
    by_hour = (await client.timeline_days(event_id)).hours if details.timeline_search else None
    remote = Remote(by_hour, (await client.images(event_id, 1, 1)).total)
    local = await trio.to_thread.run_sync(_look, config, event_id, settings)
    plan = make_plan(
        local.known,
        remote,
        lambda hour: cut(zone, hour),
        everything=wishes.full or local.everything,
    )
    new = max(0, remote.total - local.photos)
    if wishes.day is not None:
        plan, new = _narrow(plan, remote, local, wishes, zone)
    rows = await _rows(client, event_id, plan, remote)
    samples = await _measure(photos, rows, settings.variants)
    return Forecast(event_id, _name(details), settings.variants, remote, local, plan, new, samples)


def _name(details: Details) -> str | None:
    return details.event.name


def _narrow(
    plan: Plan, remote: Remote, local: Local, wishes: Wishes, zone: ZoneInfo
) -> tuple[Plan, int]:
    """Keep of a plan what `--day` asks for; files that are pending elsewhere are not told apart.

    Raises:
        UsageError: The event has no photo on that day.
    """
    day = wishes.day
    reported = remote.hours or {}
    days = days_of(reported, zone)
    if day is None or day not in days:
        there = ", ".join(map(str, sorted(days))) or "no day: no photo has a capture time"
        raise UsageError(f"there is no photo on {day} in {zone.key}", f"there are {there}")
    first, last = span(day, zone)
    hours = tuple(start for start in plan.hours if first < start + HOUR and start < last)
    new = sum(
        max(0, reported.get(start, 0) - (local.known.hours[start].listed if start in local.known.hours else 0))
        for start in hours
    )  # fmt: skip
    return Plan(hours), new


def _look(config: Config, event_id: int, settings: Mirror) -> Local:
    """Read what the manifest knows."""
    try:
        with mirrors.opened(mirrors.root_of(config), event_id) as (manifest, _):
            had = manifest.meta("variants")
            added = [v for v in settings.variants if isinstance(had, list) and v not in had]
            marks = ",".join("?" * len(settings.variants))
            wanted = manifest.count(
                "SELECT count(*) FROM files JOIN photos USING (image_id) WHERE state IN ('pending', 'failed')"  # noqa: S608  placeholders only
                f" AND gone_since IS NULL AND variant IN ({marks})",
                settings.variants,
            )
            photos = known_photos(manifest)
            fetched = manifest.rows(
                "SELECT json_extract(report, '$.bytes_downloaded'), json_extract(report, '$.seconds') FROM passes"
                " WHERE json_extract(report, '$.files.downloaded') >= 20 ORDER BY id DESC LIMIT 1"
            )
            rate = None
            if fetched and isinstance(fetched[0][0], int) and isinstance(fetched[0][1], float):
                rate = fetched[0][0] / max(fetched[0][1], 0.001)
            return Local(
                known_of(manifest), photos, wanted + photos * len(added), bool(added), rate
            )
    except (NotMirroredError, sqlite3.DatabaseError):
        return Local()


async def _rows(client: Client, event_id: int, plan: Plan, remote: Remote) -> list[Photo]:
    """Return up to 20 photos from listings that the pass would read."""
    rows: list[Photo] = []
    each = SAMPLE // _PLACES
    if plan.hours:
        for start in _spread(plan.hours):
            window = Window(start, start + HOUR)
            size = math.ceil(SAMPLE / min(_PLACES, len(plan.hours)))
            page = await client.timeline_images(event_id, window, 1, size)
            rows += page.photos[:size]
    elif plan and remote.total:
        pages = range(1, math.ceil(remote.total / each) + 1)
        for number in _spread(pages):
            rows += (await client.images(event_id, number, each)).photos
    return rows[:SAMPLE]


def _spread(values: Sequence[int]) -> list[int]:
    """Return at most five of the values, evenly spread."""
    wanted = min(_PLACES, len(values))
    return [values[place * len(values) // wanted] for place in range(wanted)]


async def _measure(
    photos: PhotoClient, rows: list[Photo], variants: tuple[Variant, ...]
) -> dict[Variant, Sample]:
    """Ask for the sizes of the sample, a few at a time; a photo that cannot be had is left out."""
    samples = {variant: Sample() for variant in variants}
    limit = trio.CapacityLimiter(_USUAL)

    async def ask(url: str, sample: Sample) -> None:
        async def attempt() -> tuple[int | None, float]:
            began = time.monotonic()
            return await photos.head(url), time.monotonic() - began

        async with limit:
            try:
                size, seconds = await photos.pacer.run(attempt)
            except (PhotoError, PassingError):
                return
        sample.seconds.append(seconds)
        if size is not None:
            sample.sizes.append(size)

    async with trio.open_nursery() as nursery:
        for photo in rows:
            for variant in variants:
                url = photo.url(variant)
                if url is not None:
                    nursery.start_soon(ask, url, samples[variant])
    return samples


def _lines(found: Forecast, settings: Mirror) -> list[str]:
    plan, remote, local = found.plan, found.remote, found.local
    name = plain(found.name or f"event {found.event_id}")
    undated = (
        f", {remote.undated:,} of them undated"
        if remote.undated and remote.hours is not None
        else ""
    )
    lines = [
        f"{name} (event {found.event_id}): dry run, nothing is changed",
        f"  the service has {count(remote.total, 'photo')}{undated}; known here: {local.photos:,}; new: {found.new:,}",
    ]
    listings = [count(len(plan.hours), "hour")] if plan.hours else []
    listings += ["the undated photos"] if plan.undated else []
    listings += ["the whole event"] if plan.event else []
    lines.append(f"  to be listed: {', '.join(listings) or 'nothing'}")
    lines.append(
        f"  to be fetched: {count(found.files, 'file')}, {local.wanted:,} of them pending from earlier"
    )
    size = found.size()
    if not found.files:
        return lines
    heads = sum(len(sample.sizes) for sample in found.samples.values())
    if size is None:
        return [*lines, "  their size cannot be estimated: no sample could be had"]
    lines.append(f"  about {format_size(size)}, from the sizes of {count(heads, 'sampled file')}")
    estimate = found.seconds(settings.connections)
    if estimate is not None:
        lines.append(f"  about {duration(estimate[0])} ({estimate[1]})")
    return lines


def _entry(found: Forecast, settings: Mirror) -> dict[str, object]:
    estimate = found.seconds(settings.connections)
    return {
        "event_id": found.event_id,
        "name": found.name,
        "dry_run": True,
        "photos": found.remote.total,
        "undated": found.remote.undated,
        "known": found.local.photos,
        "new": found.new,
        "hours_to_list": len(found.plan.hours),
        "files_to_fetch": found.files,
        "pending": found.local.wanted,
        "estimated_bytes": found.size(),
        "estimated_seconds": None if estimate is None else round(estimate[0], 1),
        "estimated_from": None if estimate is None else estimate[1],
        "sample": {
            variant: {"files": len(sample.sizes), "bytes": sum(sample.sizes)}
            for variant, sample in found.samples.items()
        },
    }
