"""`manifest`: every file of an event with its path, size and hashes, as a stream."""

from __future__ import annotations

import csv
import io
import json
from typing import TYPE_CHECKING, Final, Literal

import click

from ninepic_mirror.cli import cures, mirrors
from ninepic_mirror.cli.options import PLACE, event_number, read_config, takes

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ninepic_mirror.cli.signals import Run

COLUMNS: Final = (
    "path",
    "size",
    "sha256",
    "xxh3_128",
    "image_id",
    "variant",
    "state",
    "hour",
    "taken",
    "fetched_at",
    "error",
)
# Read along the primary key: no sorting, so the first line comes at once and memory stays flat at millions of rows.
_STATEMENT: Final = (
    "SELECT path, size, sha256, xxh3_128, image_id, variant, state, hour, taken, fetched_at, error"
    " FROM files JOIN photos USING (image_id) ORDER BY image_id, variant"
)
_CHUNK: Final = 500  # lines in one write


@click.command()
@click.argument("event_id", type=event_number)
@click.option(
    "--format",
    "shape",
    type=click.Choice(["csv", "jsonl"]),
    default="csv",
    help="How lines are written.",
)
@takes(PLACE)
@click.pass_obj
def manifest(run: Run, /, event_id: int, shape: Literal["csv", "jsonl"], **flags: object) -> int:
    """Print every file of an event: path, size and hashes, its photo, state and times.

    Paths are relative to the event's folder; hours and times are UTC epoch seconds. Only a file in state `present`
    is certain to be there. Reads the manifest only, also beside a running sync.
    """
    config = read_config(run.console, flags, local=True)
    encode = _csv if shape == "csv" else _json
    root = mirrors.root_of(config)
    mirrors.require_root(root)
    with (
        cures.told(run.console, config, flags, event_id),
        mirrors.opened(root, event_id) as (opened, unread),
    ):
        if unread:
            run.console.warn(
                "without permission to write, the newest changes of a pass cannot be seen"
            )
        if shape == "csv":
            run.console.print(",".join(COLUMNS))
        lines: list[str] = []
        for row in opened.each(_STATEMENT):
            # Half a thousand at a time: a write for each line is what takes the time.
            lines.append(encode(row))
            if len(lines) >= _CHUNK:
                if not run.console.write("".join(lines)):
                    return 0  # whoever read it has seen enough
                lines.clear()
        run.console.write("".join(lines))
    return 0


def _csv(row: Sequence[object]) -> str:
    line = io.StringIO()
    csv.writer(line, lineterminator="\n").writerow(row)
    return line.getvalue()


def _json(row: Sequence[object]) -> str:
    return json.dumps(dict(zip(COLUMNS, row, strict=True))) + "\n"
