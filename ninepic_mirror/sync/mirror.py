"""Opens what one pass over one event needs, in order: details, folder, lock, manifest (DESIGN §6.1); `steps` does the rest."""

from __future__ import annotations

from contextlib import ExitStack, asynccontextmanager
from functools import partial as partial_of
from typing import TYPE_CHECKING, Final
from zoneinfo import ZoneInfo

import trio

from ninepic_mirror.archive import lock, partial
from ninepic_mirror.archive.aside import set_aside
from ninepic_mirror.archive.faults import translated
from ninepic_mirror.archive.files import Tree
from ninepic_mirror.archive.manifest import Manifest
from ninepic_mirror.archive.placement import Layout
from ninepic_mirror.archive.sqlite_errors import ManifestError, UnreadableError
from ninepic_mirror.archive.store import Store
from ninepic_mirror.errors import EventBusyError
from ninepic_mirror.sync.context import Context, Options
from ninepic_mirror.sync.session import Session, unwrapped
from ninepic_mirror.sync.steps import Counters, Pass

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from ninepic_mirror.model import Details
    from ninepic_mirror.sync.report import PassReport

LOCK_WAIT: Final = lock.WAIT
_LOCK_POLL: Final = 0.1


async def sync_event(
    session: Session,
    event_id: int,
    options: Options | None = None,
    before: Counters | None = None,
    details: Details | None = None,
) -> PassReport:
    """Make one pass over an event.

    Args:
        session: The run.
        event_id: The event.
        options: How the pass was asked for.
        before: From where on the report counts; None: from here.
        details: What `client.details` answered a while ago, to save asking; None: ask.

    Returns:
        How it ended. When the operator stopped it, it is not whole.

    Raises:
        StopProgramError: Nothing else of the run can succeed.
        StopEventError: This event cannot be mirrored now.
        PassingError: The service answers nothing but faults for this event.
        StoppedError: The operator ended the run before there was anything to report.
    """
    before = before or Counters.of(session)
    if details is None:
        details = await session.unless_stopped(lambda: session.client.details(event_id))
    session.progress.start(details.event.name or f"event {event_id}")
    try:
        async with _opened(session, details, options or Options()) as context:
            with unwrapped():
                report = await Pass(session, context, details, before).run()
    finally:
        session.progress.finish()
    return report


@asynccontextmanager
async def _opened(session: Session, details: Details, options: Options) -> AsyncIterator[Context]:
    """Lock the event and open everything of it that is on disk."""
    event_id = details.event.event_id
    settings = session.config.mirror_for(event_id)
    durable = settings.durability == "batch"
    folder = await trio.to_thread.run_sync(session.root.make_folder, event_id, details.event.slug)
    with ExitStack() as stack:
        held = stack.enter_context(lock.opened(folder / lock.PATH))
        await session.unless_stopped(lambda: _wait_for_lock(held, event_id))
        tree = stack.enter_context(Tree(folder, durable=durable))
        # before anything is written: on a full disk this may be all the room that there is for the manifest
        await trio.to_thread.run_sync(partial.sweep, tree)
        path = session.root.manifest_path(folder)
        manifest = await trio.to_thread.run_sync(
            partial_of(_open_manifest, path, tree, session, durable=durable)
        )
        stack.push(partial_of(_give_up, path, tree, session))
        stack.enter_context(manifest)
        zone = ZoneInfo(settings.timezone)
        layout = Layout.parse(settings.layout)
        number = await trio.to_thread.run_sync(_begin, tree, manifest, held.last_pass)
        restored = bool(await trio.to_thread.run_sync(manifest.meta, lock.RESTORED))
        await trio.to_thread.run_sync(held.note, number)
        yield Context(
            event_id=event_id,
            settings=settings,
            zone=zone,
            api=session.client,
            photos=session.photos,
            pace=session.pacer,
            manifest=manifest,
            store=Store(tree, session.root, layout, zone, settings.duplicates, settings.min_free),
            progress=session.progress,
            options=options,
            number=number,
            limits=session.limits,
            stopping=session.stopping,
            restored=restored,
            rooms=session.rooms,
            witness=session.witness,
        )


async def _wait_for_lock(held: lock.Lock, event_id: int) -> None:
    with trio.move_on_after(LOCK_WAIT):
        while not held.try_lock():  # noqa: ASYNC110  another process sends us no event
            await trio.sleep(_LOCK_POLL)
        return
    raise EventBusyError(event_id, held.holder())


def _give_up(
    path: Path,
    tree: Tree,
    session: Session,
    _kind: object,
    error: BaseException | None,
    _trace: object,
) -> None:
    """Set a manifest aside, once it is closed, that the next pass could not read either, nor know that it cannot."""
    if isinstance(error, UnreadableError):
        aside = set_aside(path, tree)
        if aside.warning is not None:
            session.progress.note(f"{path}: {aside.warning}")


def _begin(tree: Tree, manifest: Manifest, last_pass: int) -> int:
    """Begin a pass and return its number.

    What shows that the manifest is an older copy is noted before anything is written that would hide it: until a pass
    has done all that follows, each next one sees it.

    Raises:
        UnreadableError: It is damaged, and no pass has begun yet by which the next start would see that.
    """
    try:
        with translated(tree.name("")):
            why = lock.suspected(tree, manifest, last_pass)
        if why is not None:
            manifest.set_meta({lock.RESTORED: why})
        return manifest.begin_pass("quick", last_pass)
    except ManifestError as error:
        raise UnreadableError(error.path, error.text, error.cure) from error


def _open_manifest(path: Path, tree: Tree, session: Session, *, durable: bool) -> Manifest:
    """Open the manifest; a damaged one is moved aside, and the files are adopted anew (RELIABILITY L7)."""
    try:
        manifest = Manifest.open(path, durable=durable)
    except ManifestError as error:
        aside = set_aside(path, tree)
        trio.from_thread.run_sync(
            session.progress.note, f"{path} was damaged ({error.text}); {aside.fate}"
        )
        manifest = Manifest.open(path, durable=durable)
    try:
        with translated(str(path.parent)), Tree(path.parent, durable=durable) as folder:
            folder.sync_folder("")  # the file's own name, before anything is recorded in it
    except BaseException:
        manifest.close()
        raise
    return manifest
