"""`sync`: one pass over each event."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from ninepic_mirror.cli.options import API, MIRROR, event_number, read_config, read_key, takes
from ninepic_mirror.cli.sweep import Sweep
from ninepic_mirror.cli.wishes import Wishes
from ninepic_mirror.errors import UsageError

if TYPE_CHECKING:
    from datetime import datetime

    from ninepic_mirror.cli.signals import Run


@click.command()
@click.argument("event_ids", metavar="[EVENT_ID]…", nargs=-1, type=event_number)
@click.option(
    "--all", "everything", is_flag=True, help="The events that [events] takes, or every one."
)
@click.option("--full", is_flag=True, help="List every hour anew, look at every file's size.")
@click.option(
    "--day",
    type=click.DateTime(["%Y-%m-%d"]),
    metavar="YYYY-MM-DD",
    help="Only this day, in the event's zone.",
)
@click.option(
    "--recheck", is_flag=True, help="Ask of every file that is here whether its photo was replaced."
)
@click.option("--dry-run", is_flag=True, help="Say what would be fetched; change nothing.")
@click.option(
    "--accept-removals", is_flag=True, help="More than a tenth of the event may be marked gone."
)
@click.option("--json", is_flag=True, help="Print one JSON object.")
@takes(API, MIRROR)
@click.pass_obj
def sync(  # noqa: PLR0913  click hands over one argument an option
    run: Run,
    /,
    event_ids: tuple[int, ...],
    day: datetime | None,
    *,
    everything: bool,
    full: bool,
    recheck: bool,
    dry_run: bool,
    accept_removals: bool,
    json: bool,
    **flags: object,
) -> int:  # fmt: skip
    """Make one pass over each event: compare it with its mirror and fetch what is missing.

    Without EVENT_ID the events named in the config file. The key is read from $NINEPIC_API_KEY or from where the
    config file says.
    """
    if event_ids and everything:
        raise click.UsageError("name events or give --all, not both.")
    if recheck and dry_run:
        raise click.UsageError(
            "--recheck is a request for every file, which --dry-run does not make."
        )
    config = read_config(run.console, flags)
    wishes = Wishes(
        tuple(dict.fromkeys(event_ids)), everything, full, day.date() if day else None, accept_removals, flags,
        read_config(run.console, flags | {"mirror__variants": None}) if flags.get("mirror__variants") else None,
        recheck,
    )  # fmt: skip
    if not (wishes.ids or everything or config.events.ids):
        raise UsageError(
            "no event is named",
            "give its number (`ninepic-mirror events` lists them), --all, or [events] ids in the config file",
        )
    key = read_key(run.console, config.api)
    if dry_run:
        from ninepic_mirror.cli import dryrun  # noqa: PLC0415  what only a dry run needs

        return run.signals.run(
            lambda _: dryrun.explore(run.console, config, key, wishes, json=json)
        )
    sweep = Sweep(run.console, config, wishes, json=json)
    return run.signals.run(lambda stopping: sweep.run(key, stopping), gentle=True)
