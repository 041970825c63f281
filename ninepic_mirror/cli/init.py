"""`init`: write a config file that works: asked or by flags, checked before it stands.

1. read what was given, ask for the rest
2. write it beside its final place and read it as any command will
3. ask the service with the key; show the events
4. make the mirror root and its marker
5. write the key file, if the key was typed; give the config file its name

A refusal at any step leaves no config file, so that the same command can be typed again.
"""

from __future__ import annotations

import json
import os
import re
import sys
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

import click
from msgspec import Struct

from ninepic_mirror.archive.faults import translated
from ninepic_mirror.archive.root import Root
from ninepic_mirror.cli.console import command, is_terminal
from ninepic_mirror.cli.options import API, MIRROR, event_number, overrides, takes
from ninepic_mirror.cli.remote import open_api
from ninepic_mirror.cli.summary import count, watermark
from ninepic_mirror.config import CONFIG_VARIABLE, KEY_VARIABLE, Config, find_key, load, places
from ninepic_mirror.errors import ConfigError, StorageError, UsageError
from ninepic_mirror.model import Key
from ninepic_mirror.progress import plain

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ninepic_mirror.cli.console import Console
    from ninepic_mirror.cli.signals import Run
    from ninepic_mirror.model import Event

_SHOWN: Final = 10  # events; `events` lists every one


class Answers(Struct):
    """What is to be written.

    Args:
        values: Settings by their dotted key.
        key: As typed, when it was.
    """

    values: dict[str, object]
    key: str | None = None


@click.command()
@click.argument("path", required=False, type=click.Path(path_type=Path, dir_okay=False))
@click.option(
    "--event",
    "event_ids",
    multiple=True,
    type=event_number,
    help="An event to mirror; may be given again.",
)
@click.option("--force", is_flag=True, help="Overwrite an existing config file.")
@takes(API, MIRROR)
@click.pass_obj
def init(
    run: Run, /, path: Path | None, event_ids: tuple[int, ...], *, force: bool, **flags: object
) -> int:
    """Write a config file to PATH, check the key, make the mirror root, show the events.

    PATH is what --config or $NINEPIC_MIRROR_CONFIG names, else the config file of your user. What no flag gives is
    asked for on a terminal.
    """
    console = run.console
    named = path or console.config
    variable = os.environ.get(CONFIG_VARIABLE)
    target = (named or (Path(variable) if variable else places()[1])).absolute()
    # Also a link that leads nowhere: somebody put it there.
    if os.path.lexists(target) and not force:
        raise UsageError(f"{target} exists", "give --force to overwrite it, or another PATH")
    answers = Answers({key: value for key, value in overrides(flags).items() if value is not None})
    _complete(answers, target)
    if event_ids:
        answers.values["events.ids"] = list(event_ids)
    with _translated(target):
        target.parent.mkdir(parents=True, exist_ok=True)
    draft = target.with_name(f".{target.name}.new")
    try:
        # Read back by the very code that will read it later: a file that stands can be used.
        with _translated(target):
            _write(draft, render(answers.values), 0o644)
        config = replace(_read_back(draft), source=target)
        # A typed key is tried before it is written anywhere.
        key = (
            Key(answers.key, "the terminal") if answers.key else find_key(config.api, os.environ)[0]
        )
        found = run.signals.run(lambda _: _ask_service(config, key))
        root = Root(
            config.mirror.root, config.mirror.state_dir, require_mount=config.mirror.require_mount
        )
        root.prepare(make=True)
        if answers.key and config.api.key_file:
            _write_key(config.api.key_file, answers.key)
        with _translated(target):
            draft.replace(target)
    finally:
        with suppress(OSError):
            draft.unlink(missing_ok=True)
    _conclude(console, config, found, explicit=named is not None)
    return 0


# --- what is asked -----------------------------------------------------------------------------------------------


def _complete(answers: Answers, target: Path) -> None:
    """Ask for what no flag gave.

    Raises:
        UsageError: Something is missing and there is nobody to ask.
    """
    values = answers.values
    if not (is_terminal(sys.stdin) and is_terminal(sys.stderr)):
        missing = [
            flag
            for key, flag in (("api.org_id", "--org"), ("mirror.root", "--root"))
            if key not in values
        ]
        if missing:
            raise UsageError(
                f"{' and '.join(missing)} missing, and this is no terminal to ask on",
                "give the flags",
            )
    if "api.org_id" not in values:
        values["api.org_id"] = click.prompt(
            "Number of the organisation", value_proc=_organisation, err=True
        )
    if "mirror.root" not in values:
        values["mirror.root"] = click.prompt(
            "Folder for the photos", default=str(Path.home() / "ninepic"), err=True
        )
    # Relative to where the person is now; in the file it would start at the file's folder.
    for key in ("mirror.root", "mirror.state_dir", "api.key_file", "api.ca_file"):
        if key in values:
            values[key] = str(Path(os.path.expanduser(str(values[key]))).absolute())  # noqa: PTH111  leaves an unknown ~user as it is
            _require_text(str(values[key]))
    _ask_key(answers, target)
    _require_key_file(answers)


def _organisation(text: str) -> int:
    if not re.fullmatch("[0-9]{1,18}", text.strip()) or not int(text):
        raise click.BadParameter(f"{text} is no number of an organisation; write one such as 903")
    return int(text)


def _require_text(path: str) -> None:
    """Refuse a path that a config file cannot hold: TOML is UTF-8.

    Raises:
        UsageError: Its bytes are none.
    """
    try:
        path.encode()
    except UnicodeEncodeError as error:
        raise UsageError(
            f"{path}: the name is not UTF-8, and a config file can hold nothing else",
            "choose another folder, or do without a config file: every setting is a flag too",
        ) from error


def _require_key_file(answers: Answers) -> None:
    """Refuse to name a file that is not there and will not be: later runs would fail for want of it.

    Raises:
        UsageError: It is not there.
    """
    named = answers.values.get("api.key_file")
    if named is None or answers.key:
        return
    with translated(str(named)):
        there = Path(str(named)).exists()
    if not there:
        raise UsageError(
            f"the key file {named} does not exist",
            f"write the key into it first, or leave --key-file out and set ${KEY_VARIABLE}",
        )


def _ask_key(answers: Answers, target: Path) -> None:
    """Find out where the key is, unless a flag or the environment says so."""
    named = answers.values.get("api.key_file")
    if os.environ.get(KEY_VARIABLE) and not named:
        return
    if not is_terminal(sys.stdin):
        return  # reading the config says what is missing, and how to give it
    place: Literal["env", "file"] | str = "file"
    if not named:
        click.echo(
            f"The API key can stand in ${KEY_VARIABLE} (env) or in a file that only you can read (file).",
            err=True,
        )
        place = click.prompt(
            "Where is it", type=click.Choice(["env", "file"]), default="file", err=True
        )
    if place == "env":
        raise UsageError(
            f"${KEY_VARIABLE} is not set",
            f"type: read -rs {KEY_VARIABLE}; export {KEY_VARIABLE}; then this again",
        )
    file = Path(str(named)) if named else Path(
        click.prompt("File of the key", default=str(target.with_name("key")), err=True)
    ).expanduser().absolute()  # fmt: skip
    answers.values["api.key_file"] = str(file)
    with translated(str(file)):
        there = file.exists()
    if not there:
        answers.key = click.prompt(
            f"API key (not shown; goes to {file})", hide_input=True, err=True
        ).strip()


# --- what is written ---------------------------------------------------------------------------------------------


def render(values: dict[str, object]) -> str:
    """Return the text of a config file.

    Args:
        values: By their dotted key; numbers, texts, switches, and lists of them.
    """
    tables: dict[str, list[str]] = {"api": [], "mirror": [], "events": []}
    for dotted, value in values.items():
        table, _, key = dotted.partition(".")
        # A JSON text is a TOML basic string (TOML 1.0, Strings) but for DEL, which no rule lets through.
        tables[table].append(f"{key} = {json.dumps(value)}")
    text = "# Written by `ninepic-mirror init`; config.example.toml shows every key.\n"
    return text + "".join(
        f"\n[{table}]\n" + "\n".join(lines) + "\n" for table, lines in tables.items() if lines
    )


def _write(path: Path, text: str, mode: int) -> None:
    """Write a file of ours anew and durably; nothing that stands there is followed.

    Raises:
        StorageError: The disk said no.
    """
    with translated(str(path)):
        # Made anew: an older file's mode, or a link planted there, must not decide who reads it.
        path.unlink(missing_ok=True)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(descriptor)


def _write_key(path: Path, secret: str) -> None:
    with _translated(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        _write(path, f"{secret}\n", 0o600)  # never readable for others, not even for a moment


@contextmanager
def _translated(path: Path) -> Iterator[None]:
    """As `translated`, for a file that is not the mirror's: it is named itself, whatever it is written beside.

    Raises:
        StorageError: The disk said no.
    """
    try:
        with translated(str(path)):
            yield
    except StorageError as error:
        cure = f"make room or {path.parent} writable, or name another place"
        raise StorageError(str(path), error.text, cure) from error


# --- what is checked and shown -----------------------------------------------------------------------------------


def _read_back(draft: Path) -> Config:
    """Read what was written.

    Raises:
        ConfigError: What was given is no good; the draft's own name would tell nobody anything.
    """
    try:
        return load(draft, {})
    except ConfigError as error:
        given = (replace(problem, where="what was given") for problem in error.problems)
        raise ConfigError(tuple(given)) from error


async def _ask_service(config: Config, key: Key) -> list[Event]:
    """Return the events of the organisation, once the key has proven good for the first that is wanted."""
    async with open_api(config.api, key) as client:
        found = [event async for event in client.events()]
        first = [*config.events.ids, *(event.event_id for event in found)][:1]
        for event_id in first:
            await client.ping(event_id)
    return found


def _conclude(console: Console, config: Config, found: list[Event], *, explicit: bool) -> None:
    console.print(f"wrote {config.source}")
    console.print(
        f"the key works for organisation {config.api.org_id}: {count(len(found), 'event')}"
    )
    for event in found[:_SHOWN]:
        line = f"  {event.event_id}  {(event.date or '')[:10]}  {event.status or ''}  {event.name or ''}"
        console.print(plain(line).rstrip())
    if len(found) > _SHOWN:
        console.print(f"  … and {len(found) - _SHOWN:,} more: {command('events')}")
    if console.config is None and explicit:
        console.config = config.source
    words = [] if config.events.ids else [str(found[0].event_id)] if found else ["EVENT_ID"]
    console.print(f"next: {command('sync', *words, console=console)}")
    note = watermark(config.mirror.variants)
    if note is not None:
        console.print(note)
