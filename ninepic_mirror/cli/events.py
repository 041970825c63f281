"""`events`: what the organisation has, and how far each is mirrored."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from ninepic_mirror.cli import cures, mirrors
from ninepic_mirror.cli.options import API, PLACE, read_config, read_key, takes
from ninepic_mirror.cli.outcome import code_of, fail, is_of_one_event, worst
from ninepic_mirror.cli.remote import open_api
from ninepic_mirror.cli.summary import count
from ninepic_mirror.errors import MirrorError, NotMirroredError
from ninepic_mirror.progress import plain

if TYPE_CHECKING:
    from ninepic_mirror.cli.console import Console
    from ninepic_mirror.cli.mirrors import Standing
    from ninepic_mirror.cli.signals import Run
    from ninepic_mirror.config import Config
    from ninepic_mirror.model import Details, Event, Key


@click.command()
@click.option(
    "--flags",
    "with_flags",
    is_flag=True,
    help="One more request an event, for its flags (also -v).",
)
@click.option("--json", is_flag=True, help="Print one JSON object.")
@takes(API, PLACE)
@click.pass_obj
def events(run: Run, /, *, with_flags: bool, json: bool, **flags: object) -> int:
    """List the organisation's events and how far each is mirrored here."""
    console = run.console
    config = read_config(console, flags, rootless=True)
    key = read_key(console, config.api)
    entries: list[object] = []
    if json:
        console.document = {"events": entries}
    ask_details = with_flags or console.verbosity > 0
    codes: list[int] = []
    found = run.signals.run(lambda _: _listed(console, config, key, codes, details=ask_details))
    told: set[str] = set()
    for event, details in found:
        standing = _standing(console, config, flags, event.event_id)
        if isinstance(standing, MirrorError):
            codes.append(code_of(standing))
            if str(standing) not in told:  # of a closed root it is the same for every event
                fail(console, standing)
            told.add(str(standing))
        entries.append(_entry(event, details, standing))
        if not json:
            console.print(_line(event, details, standing))
    if not found and not json:
        console.print("the organisation has no events")
    return worst(codes)


async def _listed(
    console: Console, config: Config, key: Key, codes: list[int], *, details: bool
) -> list[tuple[Event, Details | None]]:
    """Ask for the events and, one after the other, for their flags; an event that refuses them has none.

    The codes of such refusals are added to `codes`.
    """
    async with open_api(config.api, key) as client:
        found: list[tuple[Event, Details | None]] = []
        async for event in client.events():
            flags = None
            if details:
                # One event that is gone meanwhile must not hide the others.
                try:
                    flags = await client.details(event.event_id)
                except MirrorError as error:
                    if not is_of_one_event(error):
                        raise
                    codes.append(code_of(error))
                    console.warn(str(error))
            found.append((event, flags))
        return found


def _standing(
    console: Console, config: Config, flags: dict[str, object], event_id: int
) -> Standing | MirrorError | None:
    """Return how an event is mirrored, None when it is not, or why that cannot be seen."""
    try:
        with cures.told(console, config, flags, event_id):
            return mirrors.stand(config, event_id)
    except NotMirroredError:
        return None
    except MirrorError as error:
        return error


def _line(event: Event, details: Details | None, standing: Standing | MirrorError | None) -> str:
    words = [f"{event.event_id:>6}", (event.date or "")[:10] or "no date", event.status or "?"]
    text = f"{'  '.join(words)}  {plain(event.name or 'without a name')}: {_progress(standing)}"
    if details is not None:
        on = [name for name, value in sorted(details.flags.items()) if value]
        text += f"  [{' '.join(on) or 'nothing switched on'}]"
    return plain(text)


def _progress(standing: Standing | MirrorError | None) -> str:
    if standing is None:
        return "not mirrored"
    if isinstance(standing, MirrorError):
        return f"cannot be read: {standing}"
    there = standing.there
    if standing.whole:
        return f"mirrored, {count(there.photos, 'photo')}"
    if standing.unlisted:
        return f"mirrored in part, {there.photos:,} of {count(there.photos + standing.unlisted, 'photo')} listed"
    if not there.missing:
        return f"{count(there.photos, 'photo')} mirrored, not certain to be all"
    wanted = there.photos * len(standing.variants)
    return f"mirrored in part, {there.present:,} of {count(wanted, 'file')}"


def _entry(
    event: Event, details: Details | None, standing: Standing | MirrorError | None
) -> dict[str, object]:
    return {
        "event_id": event.event_id,
        "name": event.name,
        "slug": event.slug,
        "date": event.date,
        "status": event.status,
        "flags": None if details is None else details.flags,
        "mirror": _mirror(standing),
    }


def _mirror(standing: Standing | MirrorError | None) -> dict[str, object] | None:
    if standing is None:
        return None
    if isinstance(standing, MirrorError):
        return {"whole": False, "error": str(standing)}
    return {
        "whole": standing.whole,
        "photos": standing.there.photos,
        "unlisted": standing.unlisted,
        "files": {
            "present": standing.there.present,
            "pending": standing.pending,
            "failed": standing.there.failed,
        },
        "last_whole": standing.last_whole,
    }
