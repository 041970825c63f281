"""`sync`: one pass over each event, and words about it that can be believed."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

import click

from ninepic_mirror.cli import dryrun, mirrors
from ninepic_mirror.cli.console import command, is_terminal
from ninepic_mirror.cli.options import API, MIRROR, PLACE, again, read_config, read_key, takes
from ninepic_mirror.cli.outcome import Code, code_of, fail, worst
from ninepic_mirror.cli.selection import days_of, needs_list, select, span
from ninepic_mirror.cli.summary import WATERMARK, summarize
from ninepic_mirror.errors import StopProgramError, UsageError
from ninepic_mirror.progress import choose
from ninepic_mirror.sync.context import Options
from ninepic_mirror.sync.mirror import sync_event
from ninepic_mirror.sync.report import Failure, PassReport
from ninepic_mirror.sync.session import Session, StoppedError, open_session

if TYPE_CHECKING:
    from collections.abc import Iterable

    import trio

    from ninepic_mirror.cli.signals import Run
    from ninepic_mirror.config import Config
    from ninepic_mirror.model import Key
    from ninepic_mirror.ninepic.client import Client


@dataclass(frozen=True, slots=True)
class Wishes:
    """What was asked for on the command line, beside settings.

    Args:
        ids: The events named.
        everything: `--all`.
        full: List every hour anew and look at every file's size.
        day: Only this day, in each event's zone.
        accept_removals: Mark photos gone even when more than a tenth of the event would go.
        flags: Of the settings, as click gives them.
    """

    ids: tuple[int, ...]
    everything: bool
    full: bool
    day: date | None
    accept_removals: bool
    flags: dict[str, object]


@click.command()
@click.argument("event_ids", metavar="[EVENT_ID]…", nargs=-1, type=click.IntRange(min=1))
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
    config = read_config(run.console, flags)
    wishes = Wishes(
        tuple(dict.fromkeys(event_ids)), everything, full, day.date() if day else None, accept_removals, flags
    )  # fmt: skip
    _refuse_originals(config, wishes.ids or config.events.ids)
    if not (wishes.ids or everything or config.events.ids):
        raise UsageError(
            "no event is named",
            "give its number (`ninepic-mirror events` lists them), --all, or [events] ids in the config file",
        )
    key = read_key(run.console, config.api)
    if dry_run:
        return run.signals.run(
            lambda _: dryrun.explore(run.console, config, key, wishes, json=json)
        )
    sweep = _Sweep(run, config, wishes, json=json)
    return run.signals.run(lambda stopping: sweep.run(key, stopping), gentle=True)


def _refuse_originals(config: Config, ids: Iterable[int]) -> None:
    """Say once, and before anything is done, what this version cannot do."""
    for settings in (config.mirror, *map(config.mirror_for, ids)):
        if "original" in settings.variants:
            raise UsageError(
                'the variant "original" cannot be fetched by this version yet',
                'take it out of [mirror] variants (or --variant); "thumbnail" and "large" are there',
            )


@dataclass(slots=True)
class _Sweep:
    """One run over all its events.

    Args:
        run: Console and signals.
        config: The settings.
        wishes: What was asked for.
        json: Print one object instead of text.
        codes: How each event ended.
        entries: What `--json` prints of each.
    """

    run_: Run
    config: Config
    wishes: Wishes
    json: bool
    codes: list[int] = field(default_factory=list)
    entries: list[object] = field(default_factory=list)

    async def run(self, key: Key, stopping: trio.Event) -> int:
        """Make the passes; return the exit code."""
        console = self.run_.console
        if self.json:
            console.document = {"events": self.entries}
        progress = choose(quiet=console.quiet, stream=sys.stderr, json=console.json_log)
        left: list[int] = list(self.wishes.ids)
        try:
            async with open_session(self.config, key, progress) as session:
                session.stopping = stopping
                left = await session.unless_stopped(
                    lambda: chosen(session.client, self.config, self.wishes)
                )
                while left and not stopping.is_set():
                    await self._pass(session, left[0])
                    del left[0]
        except StoppedError:
            pass  # the signal's own code is what counts
        except Exception as error:  # noqa: BLE001  whatever ended it, what was done is reported first
            self.codes.append(fail(console, error))
            if left:
                self._note(left.pop(0), str(error))
        for event_id in left:
            self._note(event_id, "not begun: the run had ended before")
        self._hint()
        return worst(self.codes)

    async def _pass(self, session: Session, event_id: int) -> None:
        """Make one pass and report it; what ends the program leaves as it came."""
        try:
            options = Options(
                self.wishes.full,
                await session.unless_stopped(lambda: self._span(session, event_id)),
                self.wishes.accept_removals,
            )
            report = await sync_event(session, event_id, options)
        except StoppedError:
            raise
        except StopProgramError as error:
            if not isinstance(error, UsageError):
                raise
            self._failed(event_id, error)
        except Exception as error:  # noqa: BLE001  a bug in one event must not keep the others from being mirrored
            self._failed(event_id, error)
        else:
            self.codes.append(Code.WHOLE if report.whole else Code.NOT_WHOLE)
            self._tell(report)

    def _failed(self, event_id: int, error: Exception) -> None:
        fail(self.run_.console, error)
        self.codes.append(code_of(error))
        self._note(event_id, str(error))

    def _tell(self, report: PassReport) -> None:
        self.entries.append(report.as_json())
        console = self.run_.console
        if self.json or (console.quiet and report.whole):
            return
        words = again(self.wishes.flags, PLACE)
        lines = summarize(
            report,
            self.config.mirror_for(report.event_id).variants,
            day=self.wishes.day.isoformat() if self.wishes.day else None,
            next_command=command("status", str(report.event_id), *words, console=console),
        )
        for line in lines:
            console.print(line)

    def _note(self, event_id: int, text: str) -> None:
        """Give an event that has no report an entry: what is there by its manifest, and why there is no more."""
        report = PassReport(event_id, None, failures=[Failure(None, None, text)])
        mirrors.fill(report, self.config)
        self.entries.append(report.as_json())

    def _hint(self) -> None:
        console = self.run_.console
        if self.codes and not self.json and not console.quiet and is_terminal(sys.stdout):
            console.print(WATERMARK)

    async def _span(self, session: Session, event_id: int) -> tuple[int, int] | None:
        """Return the span of `--day` for one event.

        Raises:
            UsageError: The event has no photo on that day.
        """
        if self.wishes.day is None:
            return None
        zone = ZoneInfo(self.config.mirror_for(event_id).timezone)
        starts = set(mirrors.known_hours(self.config, event_id))
        details = await session.client.details(event_id)
        if details.timeline_search:
            starts |= set((await session.client.timeline_days(event_id)).hours)
        days = days_of(starts, zone)
        if self.wishes.day not in days:
            there = ", ".join(map(str, sorted(days))) or "no day: no photo has a capture time"
            raise UsageError(
                f"event {event_id} has no photo on {self.wishes.day} in {zone.key}", f"there are {there}"
            )  # fmt: skip
        return span(self.wishes.day, zone)


async def chosen(client: Client, config: Config, wishes: Wishes) -> list[int]:
    """Return the events of a run.

    Raises:
        UsageError: None fits, or one of them wants what cannot be fetched.
    """
    if wishes.ids:
        return list(wishes.ids)
    if not wishes.everything or not needs_list(config.events):
        return list(config.events.ids)
    listed = [event async for event in client.events()]
    found = select(config.events, listed, datetime.now(UTC))
    if not found:
        raise UsageError(
            f"none of the organisation's {len(listed)} events fits",
            "look at [events]: status, name, newer_than; `ninepic-mirror events` lists what there is",
        )
    _refuse_originals(config, found)
    return found
