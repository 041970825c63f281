"""`verify`: read the files again and compare them with what was recorded."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import click

from ninepic_mirror.cli.options import API, PLACE, event_number, read_config, read_key, takes

if TYPE_CHECKING:
    from collections.abc import Callable

    from ninepic_mirror.cli.signals import Run

    Read = Callable[[click.Context, click.Parameter, str | None], int | None]


def _read(parse: Callable[[str], int], cure: str) -> Read:
    def read(_context: click.Context, _parameter: click.Parameter, text: str | None) -> int | None:
        if text is None:
            return None
        try:
            found = parse(text)
        except ValueError as error:
            raise click.BadParameter(f"{text} {error}; write {cure}.") from error
        if found < 1:
            raise click.BadParameter(f"{text} is too little; write {cure}.")
        return found

    return read


def _rate(text: str) -> int:
    from ninepic_mirror.config import parse_size  # noqa: PLC0415  what a usage error need not wait for

    return parse_size(re.sub(r"/s\s*$", "", text))


def _duration(text: str) -> int:
    from ninepic_mirror.config import parse_duration  # noqa: PLC0415  as above

    return parse_duration(text)


def _percent(text: str) -> int:
    found = re.fullmatch(r"\s*([0-9]{1,3}(?:\.[0-9]{1,2})?)\s*%\s*", text, re.ASCII)
    if found is None or float(found[1]) > 100:
        raise ValueError("is no percentage")
    return round(float(found[1]) * 100)  # hundredths of one


@click.command()
@click.argument("event_ids", metavar="[EVENT_ID]…", nargs=-1, type=event_number)
@click.option("--quick", is_flag=True, help="Compare sizes only; read no file.")
@click.option(
    "--repair", is_flag=True, help="Fetch what is damaged or missing; needs key and service."
)
@click.option(
    "--sample", callback=_read(_percent, "10%"), metavar="PERCENT",
    help="Only this part, such as 10%: what was verified longest ago.",
)  # fmt: skip
@click.option(
    "--max-rate", callback=_read(_rate, "50MB/s"), metavar="RATE", help="Read no faster, such as 50MB/s."
)  # fmt: skip
@click.option(
    "--max-duration", callback=_read(_duration, "2h"), metavar="TIME",
    help="Read no longer, such as 2h, but one file; the next run goes on.",
)  # fmt: skip
@click.option("--decode", is_flag=True, help="Decode the pictures, too.")
@click.option("--json", is_flag=True, help="Print one JSON object.")
@takes(API, PLACE)
@click.pass_obj
def verify(  # noqa: PLR0913  click hands over one argument an option
    run: Run,
    /,
    event_ids: tuple[int, ...],
    sample: int | None,
    max_rate: int | None,
    max_duration: int | None,
    *,
    quick: bool,
    repair: bool,
    decode: bool,
    json: bool,
    **flags: object,
) -> int:  # fmt: skip
    """Read the files again and compare size and hash with what was recorded.

    Without EVENT_ID every event in the mirror root, and every one that [events] ids names. Finds files that are missing, altered, replaced by a link or
    folder, or in a wrong place, and lists files that belong to no photo. What was verified longest ago comes first.
    Without --repair no network is needed and nothing in the mirror is changed, also beside a running sync, but that
    what was to be forgotten is removed where a forget was cut off, or an older manifest brought back. Exit code 8 while
    damage remains.
    """
    if quick and decode:
        raise click.UsageError("--quick reads no file, so that --decode has nothing to decode.")
    if quick and sample is not None:
        raise click.UsageError(
            "--quick keeps no account of what it looked at, so that --sample would be the same part each time."
        )
    from ninepic_mirror.archive import pictures  # noqa: PLC0415  what a usage error need not wait for
    from ninepic_mirror.cli.inspection import Asked  # noqa: PLC0415  as above
    from ninepic_mirror.cli.scrub import Scrub  # noqa: PLC0415  as above

    config = read_config(run.console, flags, local=not repair)
    key = read_key(run.console, config.api) if repair else None
    if decode:
        pictures.prepare()
    asked = Asked(
        tuple(dict.fromkeys(event_ids)), quick, (sample or 10_000) / 10_000, max_rate, max_duration, key,
        pictures.complaint if decode else None, json, flags,
    )  # fmt: skip
    return run.signals.run(
        lambda stopping: Scrub.run(run.console, config, asked, stopping), gentle=True
    )
