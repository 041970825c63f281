"""`demo`: a generated event from the sandbox, mirrored in front of the person's eyes."""

from __future__ import annotations

import shlex
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from ninepic_mirror.cli.console import command
from ninepic_mirror.cli.outcome import Code
from ninepic_mirror.cli.summary import count, describe, duration
from ninepic_mirror.config import Api, Config, Mirror
from ninepic_mirror.model import Key
from ninepic_mirror.progress import choose
from ninepic_mirror.sandbox import EventSpec, Sandbox
from ninepic_mirror.sync.mirror import sync_event
from ninepic_mirror.sync.session import StoppedError, open_session

if TYPE_CHECKING:
    from collections.abc import Iterator

    import trio

    from ninepic_mirror.cli.console import Console
    from ninepic_mirror.cli.signals import Run
    from ninepic_mirror.sync.report import PassReport

_USUAL: Final = 200  # photos
_USUAL_EVENT: Final = 456
KEY: Final = "demo-key"  # of the sandbox in this process; good for nothing else


@click.command()
@click.argument("folder", metavar="[DIR]", type=click.Path(path_type=Path), default="demo-mirror")
@click.option("--photos", type=click.IntRange(1, 100_000), default=_USUAL, help="How many.")
@click.pass_obj
def demo(run: Run, /, folder: Path, photos: int) -> int:
    """Start the sandbox, mirror a generated event from it into DIR, say what to look at.

    DIR is demo-mirror in the current folder unless named. Nothing leaves this machine.
    """
    return run.signals.run(
        lambda stopping: _show(run.console, folder.absolute(), photos, stopping), gentle=True
    )


async def _show(console: Console, folder: Path, photos: int, stopping: trio.Event) -> int:
    # An event of its own for every number of photos: of one event a smaller demo after a larger one would be a mass
    # removal, which a pass stops at. The usual number gives 456, the event of every example.
    spec = EventSpec(_USUAL_EVENT - _USUAL + photos, photos=photos, undated=4, duplicates=4)
    console.say(
        f"A generated race of {count(photos, 'photo')} is served on this machine and mirrored into {folder}."
    )
    progress = choose(quiet=console.quiet, stream=sys.stderr, json=console.json_log)
    # In this process and this loop: a second process would need a port, a moment to start, and an end.
    world = Sandbox([spec], keys=[KEY])
    # The settings of a config file must not leak into a demonstration; 100 MB is all the room it needs.
    mirror = Mirror(root=folder, timezone="Asia/Kolkata", min_free=100_000_000)
    try:
        async with world.running():
            config = Config(Api(world.org_id, base_url=world.api_url), mirror)
            async with open_session(config, Key(KEY, "the sandbox"), progress) as session:
                session.stopping = stopping
                report = await sync_event(session, spec.event_id)
    except StoppedError:
        return Code.NOT_WHOLE  # the signal's code replaces it
    for line in _words(report, folder):
        console.print(line)
    return Code.WHOLE if report.whole else Code.NOT_WHOLE


def _words(report: PassReport, root: Path) -> Iterator[str]:
    """Yield where the photos are, how many, how long it took, and two commands to try next."""
    folder = Path(report.folder)
    if report.whole:
        yield f"whole: {count(report.photos, 'photo')}, {count(report.present, 'file')} in {folder}"
    else:
        doubt = "it is not certain that everything is here"
        lack = (
            f"{count(report.missing, 'file')} missing"
            if report.missing > 0 and not report.stopped
            else doubt
        )
        yield f"NOT whole: {lack}; of {count(report.photos, 'photo')} in {folder}"
        yield from map(describe, report.failures[:5])
    fetched = (
        f"{count(report.downloaded, 'file')} fetched"
        if report.downloaded
        else "nothing had to be fetched"
    )
    yield f"{fetched} in {duration(report.seconds)}"
    sums = sorted(folder.glob("*/SHA256SUMS"))
    yield "\nTry next:\n"
    yield f"  {command('status', '--root', str(root))}"
    if sums:
        # macOS has shasum where Linux has sha256sum; both read the same file.
        tool = "sha256sum" if shutil.which("sha256sum") else "shasum -a 256"
        yield f"  (cd {shlex.quote(str(sums[0].parent))} && {tool} -c --quiet SHA256SUMS && echo every file is intact)"
