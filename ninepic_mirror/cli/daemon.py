"""`daemon`: keep the configured events fresh until told to stop."""

from __future__ import annotations

import faulthandler
import logging
import os
import signal
from typing import TYPE_CHECKING, Final

import click
import trio

from ninepic_mirror.cli.options import API, MIRROR, read_config, read_key, takes
from ninepic_mirror.cli.outcome import cure_of
from ninepic_mirror.config import KEY_VARIABLE, find_key
from ninepic_mirror.errors import UsageError
from ninepic_mirror.service import journal
from ninepic_mirror.service.daemon import Daemon, Tools
from ninepic_mirror.service.hooks import HookRunner
from ninepic_mirror.service.memory import be_frugal
from ninepic_mirror.service.notify import Notifier, beat

if TYPE_CHECKING:
    from ninepic_mirror.cli.signals import Run
    from ninepic_mirror.config import Config
    from ninepic_mirror.model import Key
    from ninepic_mirror.service.board import Board

_LOG: Final = logging.getLogger(__name__)


@click.command()
@takes(API, MIRROR)
@click.pass_obj
def daemon(run: Run, /, **flags: object) -> int:
    """Keep the events of the config file fresh until SIGTERM or Ctrl-C; SIGHUP reads the file again.

    Which events: [events]; how often: [daemon]; what is run when something happens: [hooks]. Beside it every other
    command works. docs/operations.md says how to install it as a systemd service.
    """
    be_frugal()
    faulthandler.enable()  # the watchdog's SIGABRT then shows where it hangs
    notifier = Notifier.from_environ(os.environ)

    def read() -> Config:
        config = read_config(run.console, dict(flags))
        if not (config.events.ids or config.events.all):
            raise UsageError(
                "no event is configured", "name some in [events] ids, or write all = true there"
            )
        return config

    config = read()
    key = read_key(run.console, config.api)
    given = key if key.source == f"${KEY_VARIABLE}" else None  # taken out of the environment by now
    run.console.journal = journal.install(json_log=run.console.json_log)

    def find(config: Config) -> Key:
        return given or find_key(config.api, os.environ)[0]

    hooks = HookRunner(config.hooks, proxy=config.api.proxy)
    tools = Tools(read, find, explain, journal.LogProgress, notifier, hooks)

    async def main(stopping: trio.Event) -> int:
        keeper = Daemon(tools, config, key)
        async with trio.open_nursery() as nursery:
            await nursery.start(hooks.run)
            if config.daemon.listen is not None:
                nursery.start_soon(_serve, keeper.board, config.daemon.listen)
            nursery.start_soon(beat, notifier, keeper.sample)
            await nursery.start(_reload_on_hangup, keeper)
            await keeper.run(stopping)
            nursery.cancel_scope.cancel()
        return 0

    return run.signals.run(main, gentle=True)


async def _serve(board: Board, listen: tuple[str, int]) -> None:
    """Serve page, metrics and health; where nothing can listen yet, photos are more important: try on."""
    from ninepic_mirror.service import web  # noqa: PLC0415  a tenth of a second, 7 MB

    told, pause = False, 1.0
    while True:
        try:
            await web.serve(board, listen)
        except UsageError as error:
            if not told:
                _LOG.error("%s; it is tried again", explain(error))
            told, pause = True, min(60.0, pause * 2)
        await trio.sleep(pause)


async def _reload_on_hangup(
    keeper: Daemon, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
) -> None:
    with trio.open_signal_receiver(signal.SIGHUP) as hangups:
        task_status.started()
        async for _ in hangups:
            await keeper.reload()


def explain(error: Exception) -> str:
    """Put an error and what to do next into one line."""
    cure = cure_of(error)
    text = "; ".join(str(error).splitlines())
    return f"{text}; {cure}" if cure else text
