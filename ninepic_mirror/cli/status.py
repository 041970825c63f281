"""`status`: what is mirrored, pending, failed and gone, from the manifests alone."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Final

import click

from ninepic_mirror.cli import cures, mirrors
from ninepic_mirror.cli.options import PLACE, event_number, read_config, takes
from ninepic_mirror.cli.outcome import Code, fail, worst
from ninepic_mirror.cli.summary import count, describe, titled
from ninepic_mirror.errors import MirrorError, StorageError, UsageError
from ninepic_mirror.sync.report import Failure

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ninepic_mirror.cli.mirrors import Standing
    from ninepic_mirror.cli.signals import Run

_LOG: Final = logging.getLogger(__name__)


@click.command()
@click.argument("event_ids", metavar="[EVENT_ID]…", nargs=-1, type=event_number)
@click.option("--json", is_flag=True, help="Print one JSON object.")
@takes(PLACE)
@click.pass_obj
def status(run: Run, /, event_ids: tuple[int, ...], *, json: bool, **flags: object) -> int:
    """Say of each mirror what is there, pending, failed and gone, and when it was last whole.

    Without EVENT_ID every event in the mirror root, and every one that [events] ids names. Reads the manifests only: no network, also beside a running sync
    and without permission to write. Exit code 4 when one is not whole.
    """
    console = run.console
    config = read_config(console, flags, local=True)
    entries: list[object] = []
    if json:
        console.document = {"events": entries}
    codes: list[int] = []
    root = mirrors.root_of(config)
    try:
        there = mirrors.require_root(root)
    except StorageError as error:
        entries += [_lacking(number, error) for number in event_ids or config.events.ids]
        return fail(console, error)
    _LOG.info("%s holds the events %s", root.path, there)
    # An event that ought to be here and is not must not go unnoticed.
    wanted = event_ids or (*there, *config.events.ids)
    if not wanted:
        raise UsageError(f"no event is mirrored in {root.path} yet", "run sync first")
    for event_id in dict.fromkeys(wanted):
        try:
            with cures.told(console, config, flags, event_id):
                found = mirrors.stand(config, event_id)
        except MirrorError as error:
            codes.append(fail(console, error))
            entries.append(_lacking(event_id, error))
            continue
        codes.append(Code.WHOLE if found.whole else Code.NOT_WHOLE)
        entries.append(_entry(found))
        # Without permission to write SQLite cannot read its log (archive.manifest.reading).
        if found.unread:
            console.warn(
                f"event {event_id}: a pass was cut off or is at work, and without permission to write its newest"
                " changes cannot be seen"
            )
        if not json:
            for line in _lines(found):
                console.print(line)
            if not found.whole:
                console.print(f"  next: {cures.syncs(console, config, flags, event_id)}")
    return worst(codes)


def _lines(found: Standing) -> Iterator[str]:
    there = found.there
    title = titled(found.name, found.event_id)
    undated = f", {there.undated:,} of them undated" if there.undated else ""
    yield f"{title}: {'whole' if found.whole else 'NOT whole'}"
    yield f"  {count(there.photos, 'photo')}{undated}; {count(there.present, 'file')} present ({' and '.join(found.variants)})"
    if found.unlisted:
        yield f"  the service reports {count(found.unlisted, 'photo')} more, not listed yet"
    if found.pending > 0:
        yield f"  {count(found.pending, 'file')} pending"
    if there.failed:
        yield f"  {count(there.failed, 'file')} failed"
    if found.gone:
        yield f"  {count(found.gone, 'photo')} gone from the event, kept here"
    if found.forgotten:
        yield f"  {count(found.forgotten, 'photo')} forgotten"
    yield f"  last whole {when(found.last_whole)}; last pass {when(found.last_pass)}"
    yield f"  in {found.folder}"
    for failure in found.failures:
        yield f"  {describe(failure)}"


def when(moment: int | None) -> str:
    """Return a moment in the machine's own zone, for people."""
    return (
        "never" if moment is None else time.strftime("%Y-%m-%d %H:%M:%S %Z", time.localtime(moment))
    )


def _entry(found: Standing) -> dict[str, object]:
    there = found.there
    return {
        "event_id": found.event_id,
        "name": found.name,
        "folder": str(found.folder),
        "whole": found.whole,
        "photos": there.photos,
        "undated": there.undated,
        "variants": list(found.variants),
        "files": {"present": there.present, "pending": found.pending, "failed": there.failed},
        "unlisted": found.unlisted,
        "gone": found.gone,
        "forgotten": found.forgotten,
        "last_whole": found.last_whole,
        "last_pass": found.last_pass,
        "failures": [failure.as_json() for failure in found.failures],
    }


def _lacking(event_id: int, error: MirrorError) -> dict[str, object]:
    """Return the entry of an event of which nothing can be said but why."""
    return {
        "event_id": event_id,
        "name": None,
        "whole": False,
        "failures": [Failure(None, None, str(error)).as_json()],
    }
