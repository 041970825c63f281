"""`sync --dry-run`: what a pass would fetch, estimated from a sample, without a trace on disk.

details, days, total      what there is
the manifest, if any      what is known
planner                   which hours would be listed: the very decision of a pass
some of those listings    up to 20 photos
a HEAD for each variant   their size, and how long the origin takes to answer; for some originals links are leased
"""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING, Final
from zoneinfo import ZoneInfo

import trio

from ninepic_mirror.archive.files import Tree
from ninepic_mirror.archive.listings import known_photos
from ninepic_mirror.archive.placement import cut
from ninepic_mirror.cli import mirrors
from ninepic_mirror.cli.forecast import USUAL, Forecast, Local, Sample
from ninepic_mirror.cli.losses import count_lost
from ninepic_mirror.cli.outcome import code_of, fail, is_of_one_event, worst
from ninepic_mirror.cli.remote import open_api, open_origin
from ninepic_mirror.cli.wishes import chosen, day_span
from ninepic_mirror.errors import (
    EventNotFoundError,
    FeatureOffError,
    LostError,
    MirrorError,
    NotMirroredError,
    PassingError,
    PhotoError,
    RejectedError,
)
from ninepic_mirror.model import HOUR, VARIANTS, Photo, Window
from ninepic_mirror.ninepic.limits import Limits
from ninepic_mirror.sync.enumerator import known_of
from ninepic_mirror.sync.planner import Plan, Remote, make_plan

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ninepic_mirror.archive.manifest import Manifest
    from ninepic_mirror.cli.console import Console
    from ninepic_mirror.cli.wishes import Wishes
    from ninepic_mirror.config import Config, Mirror
    from ninepic_mirror.model import Key, Variant
    from ninepic_mirror.ninepic.client import Client
    from ninepic_mirror.ninepic.photos import PhotoClient

SAMPLE: Final = 20  # photos of each variant
_LEASED: Final = 8  # originals of it: each answer is broken off, and costs a connection
_PLACES: Final = 5  # listings from which they are taken, spread over what would be listed


async def explore(
    console: Console, config: Config, key: Key, wishes: Wishes, *, json: bool = False
) -> int:
    """Say what a pass would do, event by event; return the exit code."""
    entries: list[object] = []
    if json:
        console.document = {"events": entries}
    codes: list[int] = []
    async with (
        open_api(config.api, key) as client,
        open_origin(config.api, config.mirror.connections) as photos,
    ):
        await trio.to_thread.run_sync(mirrors.refuse_foreign, config.mirror)
        for event_id in await chosen(client, config, wishes):
            try:
                found = await _forecast(client, photos, config, wishes, event_id)
            except MirrorError as error:
                if not is_of_one_event(error):
                    raise
                codes.append(code_of(error))
                fail(console, error)
                continue
            settings = config.mirror_for(event_id)
            entries.append(found.as_json(settings))
            if not json:
                for line in found.lines(settings):
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
    day = None
    if wishes.day is not None:
        day = day_span(config, event_id, wishes.day, by_hour or ())
    local = await trio.to_thread.run_sync(
        lambda: _look(config, event_id, settings, day, sizes=wishes.full)
    )
    # The same decision as a pass makes, by the same function: a dry run that guesses would be worse than none.
    everything = wishes.full or local.everything
    plan = make_plan(local.known, remote, lambda hour: cut(zone, hour), everything=everything)
    new = max(0, remote.total - local.photos)
    if day is not None:
        plan, new = _narrow(plan, remote, local, day)
    rows = await _rows(client, event_id, plan, remote) or local.addresses
    links = await _lease(client, event_id, rows) if "original" in settings.variants else {}
    samples = await _measure(photos, rows, settings.variants, links)
    name = details.event.name
    return Forecast(event_id, name, settings.variants, remote, local, plan, new, samples)


def _narrow(plan: Plan, remote: Remote, local: Local, day: tuple[int, int]) -> tuple[Plan, int]:
    """Keep of a plan the hours of a day, and count what is new in them."""
    hours = tuple(start for start in plan.hours if day[0] < start + HOUR and start < day[1])
    known, reported = local.known.hours, remote.hours or {}
    new = (
        reported.get(start, 0) - (known[start].listed if start in known else 0) for start in hours
    )
    return Plan(hours), sum(max(0, more) for more in new)


def _look(
    config: Config,
    event_id: int,
    settings: Mirror,
    day: tuple[int, int] | None,
    *,
    sizes: bool,
) -> Local:
    """Read what the manifest knows, and see which of its files are there.

    Raises:
        StorageError: There is one, but it cannot be read.
    """
    root = mirrors.root_of(config)
    try:
        with mirrors.opened(root, event_id) as (manifest, _):
            # A variant that was added has to be listed everywhere for its addresses (sync.mirror does likewise).
            had = manifest.meta("variants")
            added = [v for v in settings.variants if isinstance(had, list) and v not in had]
            photos = known_photos(manifest)
            wanted = _wanted(manifest, settings.variants, day)
            wanted |= dict.fromkeys(added, photos)
            known = known_of(manifest, settings.variants)
            with Tree(root.folder_of(event_id) or root.path) as tree:
                lost = {
                    variant: count_lost(manifest, tree, (variant,), day, sizes=sizes)
                    for variant in settings.variants
                }
            return Local(
                known,
                photos,
                sum(wanted.values()),
                {variant: wanted.get(variant, 0) + lost[variant] for variant in settings.variants},
                bool(added),
                _rate(manifest),
                sum(lost.values()),
                _addresses(manifest),
            )
    except NotMirroredError:
        return Local()
    except LostError:
        is_lost = event_id in mirrors.lost(root)
        if not is_lost and event_id not in mirrors.gone(root):
            raise  # it is damaged
        return Local(rebuilt=is_lost)


def _addresses(manifest: Manifest) -> list[Photo]:
    """Return some photos with the addresses that are kept of them, for a sample where nothing would be listed."""
    found = manifest.rows(
        "SELECT image_id, max(url) FILTER (WHERE variant = 'large'), max(url) FILTER (WHERE variant = 'thumbnail')"
        " FROM (SELECT image_id, variant, url FROM files WHERE state <> 'forgotten' LIMIT ?) GROUP BY image_id LIMIT ?",
        [len(VARIANTS) * SAMPLE, SAMPLE],
    )
    return [Photo(str(row[0]), _text(row[1]), _text(row[2])) for row in found]


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _wanted(
    manifest: Manifest, variants: Sequence[Variant], day: tuple[int, int] | None
) -> dict[Variant, int]:
    """Count the files still to be had of known photos, by variant."""
    limits = "" if day is None else " AND taken >= ? AND taken < ?"
    return {
        variant: manifest.count(
            "SELECT count(*) FROM files JOIN photos USING (image_id) WHERE gone_since IS NULL"  # noqa: S608  placeholders only
            f" AND state IN ('pending', 'failed') AND variant = ?{limits}",
            [variant, *(day or ())],
        )
        for variant in variants
    }


def _rate(manifest: Manifest) -> float | None:
    """Return the bytes per second of the last pass that fetched enough to tell, None when there was none."""
    found = manifest.rows(
        "SELECT json_extract(report, '$.bytes_downloaded'), json_extract(report, '$.seconds')"
        " FROM passes WHERE json_extract(report, '$.files.downloaded') >= 20 ORDER BY id DESC LIMIT 1"
    )
    if found and isinstance(found[0][0], int) and isinstance(found[0][1], int | float):
        return found[0][0] / max(found[0][1], 0.001)
    return None


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
    # Undated photos alone, or an event whose timeline is off: pages of /images stand for them.
    elif plan and remote.total:
        pages = range(1, math.ceil(remote.total / each) + 1)
        for number in _spread(pages):
            rows += (await client.images(event_id, number, each)).photos
    return rows[:SAMPLE]


def _spread(values: Sequence[int]) -> list[int]:
    """Return at most five of the values, evenly spread."""
    wanted = min(_PLACES, len(values))
    return [values[place * len(values) // wanted] for place in range(wanted)]


async def _lease(client: Client, event_id: int, rows: list[Photo]) -> dict[str, str]:
    """Lease links to a few originals; none where the service gives none: then their size is not known."""
    ids = list(dict.fromkeys(photo.image_id for photo in rows if photo.original_url is None))
    try:
        return (await client.original_photos(event_id, ids[:_LEASED])).urls if ids else {}
    except (PassingError, RejectedError, FeatureOffError, EventNotFoundError):
        return {}


async def _length(photos: PhotoClient, url: str) -> int | None:
    """Ask for a file's length. A link is mostly signed for a GET alone, which is left before its body comes."""
    if "?" not in url:
        return await photos.head(url)
    async with photos.stream(url, cap=Limits().photo) as body:
        return body.length


async def _measure(
    photos: PhotoClient,
    rows: list[Photo],
    variants: tuple[Variant, ...],
    links: Mapping[str, str],
) -> dict[Variant, Sample]:
    """Ask for the sizes of the sample, a few at a time; a photo that cannot be had is left out."""
    samples = {variant: Sample() for variant in variants}
    limit = trio.CapacityLimiter(USUAL)

    async def ask(url: str, sample: Sample) -> None:
        # Timed inside the attempt: waits of the pacer are no property of the origin.
        async def attempt() -> tuple[int | None, float]:
            began = time.monotonic()
            return await _length(photos, url), time.monotonic() - began

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
                if variant == "original":
                    url = url or links.get(photo.image_id)
                if url is not None:
                    nursery.start_soon(ask, url, samples[variant])
    return samples
