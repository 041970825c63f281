"""`forget`: remove photos for good, and keep them from coming back."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from ninepic_mirror.cli.options import PLACE, event_number, read_config, takes

if TYPE_CHECKING:
    from ninepic_mirror.cli.signals import Run


def _ids(
    _context: click.Context, _parameter: click.Parameter, ids: tuple[str, ...]
) -> tuple[str, ...]:
    for one in ids:  # any text: the service's ids are no more than that
        try:
            one.encode()
        except UnicodeEncodeError as error:
            raise click.BadParameter(
                f"{one[:80]!a} is no photo's id: it is no valid Unicode."
            ) from error
    return tuple(dict.fromkeys(ids))


@click.command()
@click.argument("image_ids", metavar="IMAGE_ID…", nargs=-1, required=True, callback=_ids)
@click.option(
    "--event", "event_id", callback=lambda _context, _parameter, text: text and event_number(text),
    metavar="EVENT_ID", help="In this event only, also photos that were never seen there.",
)  # fmt: skip
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--json", is_flag=True, help="Print one JSON object.")
@takes(PLACE)
@click.pass_obj
def forget(
    run: Run,
    /,
    image_ids: tuple[str, ...],
    event_id: int | None,
    *,
    yes: bool,
    json: bool,
    **flags: object,
) -> int:
    """Remove photos for good: a person has a right to it.

    Every variant, part, second name and copy in the trash goes, in every event that holds the photo; no sync, repair
    or rebuild brings it back. The manifest keeps a hash of its id, and, so that totals add up, the hour that lists it,
    its place there, and when it was first and last listed. Lists the packages that hold it, and files of other
    photos with the very same bytes, which stay; says how many hard links of somebody else's are left. What may be a
    copy of it, or another photo's, is left and named, with exit code 4. Needs no network. What cannot be undone is asked about first, except
    with --yes.
    """
    from ninepic_mirror.cli.erasure import Erasure  # noqa: PLC0415  what a usage error need not wait for

    config = read_config(run.console, flags, local=True)
    erasure = Erasure(run.console, config, image_ids, event_id, json, flags)
    if not erasure.look():
        return erasure.code
    if not yes:
        erasure.confirm(sys.stdin)
    return run.signals.run(erasure.run, gentle=True)
