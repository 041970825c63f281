"""The group of all commands, and what every run has in common."""

from __future__ import annotations

import errno
import gc
import importlib
import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

import click
from click.shell_completion import CompletionItem

from ninepic_mirror import __version__
from ninepic_mirror.cli.console import Console, forgive
from ninepic_mirror.cli.outcome import Code, fail
from ninepic_mirror.cli.signals import Interrupted, Run, Signals

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import ModuleType

COMMANDS: Final = {
    "init": "Write a config file, check the key, show the events.",
    "check": "Examine config, key, clock and mirror root, each with its cure.",
    "events": "List the organisation's events and how far each is mirrored.",
    "sync": "Make one pass over each event: fetch what is missing.",
    "daemon": "Keep the configured events fresh until told to stop.",
    "status": "Say what is mirrored, pending, failed and gone. No network.",
    "manifest": "Print every file with its path, size and hashes.",
    "verify": "Read the files again, compare, and repair.",
    "deliver": "Make an offline package for a disk or a share.",
    "forget": "Remove photos for good, and keep them from coming back.",
    "sandbox": "Serve a synthetic 9Pic on this machine.",
    "demo": "Mirror a generated event, without an account.",
}


_VALUED: Final = ("--config", "--log-format")  # options of the group whose value is no command
_COMPLETE: Final = "_NINEPIC_MIRROR_COMPLETE"  # click's variable for completions (README)


class Program(click.Group):
    """Imports a command's module when the command is run, so that `--version` costs nothing."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002  click's interface
        """Return the names in the order of DESIGN §3."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002  click's interface
        """Import a command; None when there is no such one."""
        # The table decides, not the folder: our shared modules are no commands.
        if cmd_name not in COMMANDS:
            return None
        module = _imported(f"ninepic_mirror.cli.{cmd_name}")
        found: object = getattr(module, cmd_name)
        return found if isinstance(found, click.Command) else None

    def shell_complete(  # type: ignore[explicit-any]  # click's own type of an item
        self, ctx: click.Context, incomplete: str
    ) -> list[CompletionItem]:
        """Complete a command's name without importing it, or an option of the group."""
        names = [
            CompletionItem(name, help=text)
            for name, text in COMMANDS.items()
            if name.startswith(incomplete)
        ]
        # click's own way imports every command for its help: 0.6 s for a press of the Tab key.
        return [*names, *click.Command.shell_complete(self, ctx, incomplete)]

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002  click's interface
        """Write the list of commands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.group(cls=Program, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--config", type=click.Path(path_type=Path), help="The config file.")
@click.option("-v", "--verbose", count=True, help="Say more; twice: still more.")
@click.option("-q", "--quiet", is_flag=True, help="Say nothing but errors and results.")
@click.option(
    "--log-format",
    type=click.Choice(["text", "json"]),
    default="text",
    help="How lines on standard error are written.",
)
@click.version_option(__version__, prog_name="ninepic-mirror")
@click.pass_obj
def program(
    run: Run,
    config: Path | None,
    verbose: int,
    *,
    quiet: bool,
    log_format: Literal["text", "json"],
) -> None:
    """Mirror whole 9Pic photo events to disk, keep them fresh, and believe the result.

    The API key is read from $NINEPIC_API_KEY or from where the config file says.

    Exit codes: 0 done and whole, 1 a bug, 2 usage or config, 3 key refused, 4 not whole, 5 service unreachable, 6
    local storage, 7 another instance holds the event, 8 damaged files, 9 event not found, 130 Ctrl-C, 143 SIGTERM.
    """
    if quiet and verbose:
        raise click.UsageError("-q and -v exclude each other.")
    run.console.settle(config, -1 if quiet else verbose, json_log=log_format == "json")
    _imported("ninepic_mirror.cli.lostdisk").expect(run.console)  # not for `--version`


def _imported(name: str) -> ModuleType:
    """Import a module with all that it needs, and spare the collector what came of it.

    It would walk through all of it a dozen times while it is made, and again whenever the program has made as much
    anew, and at its end: an eighth of what an unchanged mirror costs.
    """
    gc.disable()
    try:
        return importlib.import_module(name)
    finally:
        gc.freeze()
        gc.enable()


def _explain(console: Console, error: click.ClickException, arguments: Sequence[str]) -> None:
    """Say what click does not understand, in our own form; without any argument, what there is."""
    context = error.ctx if isinstance(error, click.UsageError) else None
    if not arguments:
        console.show(error.format_message())
    else:
        path = context.command_path if context is not None else "ninepic-mirror"
        console.error(error.format_message().rstrip("."), f"{path} --help")


def start(arguments: Sequence[str]) -> int:
    """Run one command line and return its exit code.

    Args:
        arguments: Without the program's name.
    """
    forgive(sys.stdout)
    forgive(sys.stderr)
    console = Console()
    signals = Signals(console)
    signals.install()
    if _named(arguments) == "daemon":
        signals.forgive(
            signal.SIGTERM
        )  # it is asked to end that way (DESIGN §3), from its first moment on
        signal.signal(
            signal.SIGHUP, signal.SIG_IGN
        )  # until there is somebody to read the settings again
    if "--json" in arguments:  # one object, even when the arguments cannot be read (DESIGN §3)
        console.document = {"checks" if _named(arguments) == "check" else "events": []}
    try:
        code = _guarded(Run(console, signals), arguments)
        # A run that was told to stop says so, even when it had just become whole: whoever sent the signal waits for it.
        return console.end(signals.code or code)
    except KeyboardInterrupt:  # between two steps, where nothing is under way
        return console.end(signals.code_or(130))


def _named(arguments: Sequence[str]) -> str | None:
    """Return the command of a command line that may be wrong, None when there is none."""
    words = zip(("", *arguments), arguments, strict=False)
    return next(
        (word for before, word in words if word in COMMANDS and before not in _VALUED), None
    )


def _guarded(run: Run, arguments: Sequence[str]) -> int:
    """Run the command; every way in which it can end becomes a code and a text."""
    try:
        result: object = program.main(
            list(arguments), prog_name="ninepic-mirror", standalone_mode=False, obj=run
        )
        return result if isinstance(result, int) else Code.WHOLE
    except click.Abort:
        run.console.say("stopped")
        return run.signals.code_or(Code.USAGE)  # USAGE: a question was answered with end of file
    except KeyboardInterrupt:
        return run.signals.code_or(130)
    except click.ClickException as error:
        _explain(run.console, error, arguments)
        return Code.USAGE
    except (OSError, SystemExit) as error:
        return _unwritten(run.console, error)
    except Exception as error:  # noqa: BLE001  the last resort: what is not known is a bug, and shown whole
        return run.signals.code_or(130) if _is_interruption(error) else fail(run.console, error)


def _is_interruption(error: BaseException | None) -> bool:
    """Whether a stop signal is behind an error: Python wraps what comes out of a `__set_name__` during an import."""
    while error is not None and not isinstance(error, Interrupted):
        error = error.__cause__
    return error is not None


def _unwritten(console: Console, error: OSError | SystemExit) -> int:
    """Return the code after a system fault: is it that the help, which click prints itself, did not arrive?

    Raises:
        SystemExit: A completion ended.
    """
    # click ends so after a completion, and when a pipe broke, as that of the help does without a reader.
    if isinstance(error, SystemExit):
        if _COMPLETE in os.environ:
            raise error
        error = BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE))
    if sys.__stdout__ is not None:
        sys.stdout = sys.__stdout__  # click puts something around it that hides the fault
    # A blank line tells: where the help could not be written neither can it, and `end` says why.
    console.print()
    console.flush()
    return Code.WHOLE if console.gone else fail(console, error)
