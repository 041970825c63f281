"""`sandbox`: a synthetic 9Pic on this machine, to try things without an account."""

from __future__ import annotations

import errno
import json as jsonlib
import shlex
from typing import TYPE_CHECKING, Literal

import click
import trio

from ninepic_mirror.cli.console import command
from ninepic_mirror.errors import UsageError
from ninepic_mirror.sandbox import KINDS, EventSpec, Fault, Sandbox

if TYPE_CHECKING:
    from ninepic_mirror.cli.console import Console
    from ninepic_mirror.cli.signals import Run

FIRST: int = 456  # the number of the first event


def _read_faults(
    _context: click.Context, _option: click.Parameter, values: tuple[str, ...]
) -> list[Fault]:
    """Read what `--fault` names: `KIND=PROBABILITY`, or `KIND` for always."""
    faults = []
    for value in values:
        kind, _, share = value.partition("=")
        try:
            fault = Fault(kind=kind, probability=float(share or 1))
        except ValueError as error:
            raise click.BadParameter(f"{value}: {error}") from error
        if not 0 <= fault.probability <= 1:
            raise click.BadParameter(f"{value}: a probability is from 0 to 1")
        faults.append(fault)
    return faults


@click.command()
@click.option(
    "--photos", type=click.IntRange(0, 5_000_000), default=300, help="Photos of each event."
)
@click.option("--events", type=click.IntRange(1, 1000), default=1, help="How many events.")
@click.option("--seed", type=int, default=1, help="Another seed, other events and other luck.")
@click.option("--tls", is_flag=True, help="Serve https with a certificate authority of its own.")
@click.option(
    "--look", type=click.Choice(["drawn", "cheap"]), default="drawn", help="cheap: for huge events."
)
@click.option(
    "--port",
    type=click.IntRange(0, 65534),
    default=0,
    help="Of the API; photos have the next. 0: free ones.",
)
@click.option("--key", default="test-key", help="The key that it accepts.")
@click.option(
    "--rate-limit",
    type=click.FloatRange(min=0),
    default=0,
    help="API requests a second before 429.",
)
@click.option(
    "--fault",
    "faults",
    metavar="KIND=PROBABILITY",
    callback=_read_faults,
    multiple=True,
    help=f"What goes wrong, and how often: {', '.join(KINDS)}.",
)
@click.option("--json", is_flag=True, help="Print what is served as one JSON object.")
@click.pass_obj
def sandbox(  # noqa: PLR0913, PLR0917  click hands over one argument an option
    run: Run,
    /,
    photos: int,
    events: int,
    seed: int,
    look: Literal["drawn", "cheap"],
    port: int,
    key: str,
    rate_limit: float,
    faults: list[Fault],
    *,
    tls: bool,
    json: bool,
) -> int:  # fmt: skip
    """Serve a synthetic 9Pic until Ctrl-C. It listens on this machine only."""
    specs = [
        EventSpec(FIRST + place, photos=photos, seed=seed + place, look=look, undated=photos // 50, duplicates=photos // 100)
        for place in range(events)
    ]  # fmt: skip
    # Some undated and some equal photos, as real events have: whoever tries a client here should meet them.
    world = Sandbox(specs, keys=[key], tls=tls, seed=seed)
    world.faults.add(*faults)
    if rate_limit:
        world.faults.add(Fault(kind="rate", origin="api", limit=rate_limit))
    run.console.document = None  # what --json prints is not an end result here
    run.signals.run(lambda _: _serve(run.console, world, port, json=json))
    return 0


async def _serve(console: Console, world: Sandbox, port: int, *, json: bool) -> None:
    try:
        async with world.running(api_port=port, photos_port=port + 1 if port else 0):
            _announce(console, world, json=json)
            await trio.sleep_forever()
    except OSError as error:
        if error.errno == errno.EACCES:
            text, cure = f"port {port} is for root alone", "choose a --port from 1024 on, or 0"
        else:
            text, cure = f"port {port} or {port + 1} is taken", "choose another --port, or 0"
        raise UsageError(text, cure) from error


def _announce(console: Console, world: Sandbox, *, json: bool) -> None:
    """Print where it is and how to try it; flushed, since whoever started it waits for that."""
    key = min(world.keys)
    if json:
        fields = {
            "api_url": world.api_url,
            "photos_url": world.photos_url,
            "org_id": world.org_id,
            "key": key,
            "ca_file": str(world.ca_file) if world.ca_file else None,
            "events": list(world.events),
        }
        console.print(jsonlib.dumps(fields))
    else:
        console.print(f"API     {world.api_url}")
        console.print(f"photos  {world.photos_url}")
        console.print(f"org     {world.org_id}")
        console.print(f"key     {key}")
        if world.ca_file is not None:
            console.print(f"CA      {world.ca_file}")
        for event in world.events.values():
            console.print(
                f"event   {event.event_id}  {event.fields['name']}  {len(event.photos)} photos"
            )
        trust = ["--ca-file", str(world.ca_file)] if world.ca_file else []
        words = [
            "--org",
            str(world.org_id),
            "--base-url",
            world.api_url,
            *trust,
            "--root",
            "sandbox-mirror",
        ]
        console.print(
            f"\nIn another terminal:\n\n  NINEPIC_API_KEY={shlex.quote(key)} {command('sync', str(FIRST), *words)}\n"
        )
        console.print("Ctrl-C ends it.")
    console.flush()
