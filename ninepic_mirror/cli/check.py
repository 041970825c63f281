"""`check`: examine config, key, clock and mirror root, each with its cure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import click

from ninepic_mirror.cli.options import API, MIRROR, read_config, read_key, takes
from ninepic_mirror.cli.outcome import code_of, cure_of
from ninepic_mirror.cli.probes import Check, examine
from ninepic_mirror.cli.remote import open_api
from ninepic_mirror.cli.unit import drop_in, unit_of
from ninepic_mirror.errors import ConfigError, MirrorError
from ninepic_mirror.ninepic.clock import clock_offset

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ninepic_mirror.cli.console import Console
    from ninepic_mirror.cli.signals import Run
    from ninepic_mirror.config import Api, Config
    from ninepic_mirror.model import Key

_PATIENCE: Final = 15.0  # seconds for the service; a person waits
_SKEW: Final = 60.0  # seconds; presigned links live for an hour (API.md), so a minute does no harm


@click.command()
@click.option("--json", is_flag=True, help="Print one JSON object.")
@takes(API, MIRROR)
@click.pass_obj
def check(run: Run, /, *, json: bool, **flags: object) -> int:
    """Examine config, key, clock and mirror root; say what is wrong and what to do about it.

    Nothing is changed but for a folder in the mirror root that is removed again. The exit code is that of the first
    failure.
    """
    console = run.console
    entries: list[object] = []
    if json:
        console.document = {"checks": entries}
    code = 0
    for one in _checks(run, flags):
        code = code or one.code
        entries.append({"name": one.name, "state": one.state, "text": one.text, "cure": one.cure})
        if not json and not (console.quiet and one.state == "ok"):
            text = one.text.replace("\n", f"\n{'':6}")
            console.print(f"{one.state:<4}  {one.name}: {text}")
            if one.cure:
                console.print(f"      next: {one.cure}")
    return code


def _checks(run: Run, flags: dict[str, object]) -> Iterator[Check]:
    try:
        config = read_config(run.console, flags)
    except ConfigError as error:
        yield from _faults("config", error)
        return  # nothing else can be looked at without it
    yield Check("config", "ok", str(config.source or "flags alone"))
    try:
        key = read_key(run.console, config.api)
    except ConfigError as error:
        yield from _faults("key", error)
    else:
        yield from run.signals.run(lambda _: _service(run.console, config, key))
    # Also after a refused key: a person wants the whole list at once.
    yield from examine(config.mirror)
    # Last, because it is long. A service has a config file; who works with flags alone does not run one.
    if config.source is not None and (text := drop_in(config)):
        where = f"run by systemd, {unit_of(config)} needs a drop-in to write there:"
        yield Check("systemd", "ok", f"{where}\n{text}")


def _faults(name: str, error: ConfigError) -> Iterator[Check]:
    for problem in error.problems:
        where = f"{problem.where}: {problem.key}" if problem.key else problem.where
        yield Check(name, "FAIL", f"{where}: {problem.text}", problem.cure, code_of(error))


async def _service(console: Console, config: Config, key: Key) -> list[Check]:
    """Ask the service whether it takes the key, and what time it is."""
    console.say(f"asking {config.api.base_url} …")
    found = [await _key(config.api, key)]
    # Without an answer there is no clock to compare with; after a refused key there is.
    if not found[0].code or found[0].name == "key":
        found.append(await _clock(config.api))
    return found


async def _key(api: Api, key: Key) -> Check:
    try:
        async with open_api(api, key, give_up=_PATIENCE) as client:
            page = await client.events_page(1, 1)
    except MirrorError as error:
        name = "key" if code_of(error) == 3 else "service"
        return Check(name, "FAIL", str(error), cure_of(error), code_of(error))
    events = "has events" if page.events else "has no events"
    return Check(
        "key", "ok", f"from {key.source}; it works for organisation {api.org_id}, which {events}"
    )


async def _clock(api: Api) -> Check:
    try:
        offset = await clock_offset(api)
    except MirrorError as error:
        return Check(
            "clock", "warn", f"the service's time is not known: {error}", "run this again later"
        )
    if offset is None:
        return Check("clock", "ok", "the service does not say its time")
    # The Date header knows whole seconds, and the way to the service takes time too.
    if abs(offset) <= _SKEW:
        return Check("clock", "ok", "as the service's")
    word = "ahead of" if offset > 0 else "behind"
    return Check(
        "clock",
        "warn",
        f"{abs(offset):.0f} s {word} the service's",
        "set the clock: timedatectl set-ntp true",
    )
