"""One run of `deliver`: what is there, what fits, what is missing, and one package after the other.

The decisions are `order`, `selection` and `plan`; what is written, and where: `dispatch` and `delivery.package`.
"""

from __future__ import annotations

import itertools
import json
import logging
import secrets
import sys
import threading
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final, TypeVar

import trio
from msgspec import Struct, field, structs

from ninepic_mirror.archive import about, inventory
from ninepic_mirror.archive.files import Tree
from ninepic_mirror.archive.verify import Stopped
from ninepic_mirror.cli import cures, mirrors, packages
from ninepic_mirror.cli.console import command
from ninepic_mirror.cli.dispatch import Dispatch, planned
from ninepic_mirror.cli.ledger import Ledger
from ninepic_mirror.cli.options import PLACE, again
from ninepic_mirror.cli.order import Stock, parts
from ninepic_mirror.cli.outcome import Code, fail
from ninepic_mirror.cli.summary import count, titled
from ninepic_mirror.delivery import artists, catalogue, selection
from ninepic_mirror.delivery.selection import Lack
from ninepic_mirror.delivery.source import Source
from ninepic_mirror.delivery.tags import Facts
from ninepic_mirror.errors import (
    EventBusyError,
    FeatureOffError,
    MirrorError,
    StorageError,
    UsageError,
)
from ninepic_mirror.progress import choose, plain

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ninepic_mirror.archive.manifest import Manifest
    from ninepic_mirror.cli.console import Console
    from ninepic_mirror.cli.order import Order, Parts
    from ninepic_mirror.config import Config
    from ninepic_mirror.delivery.catalogue import Camera, Delivery, File, Shot
    from ninepic_mirror.model import Variant
    from ninepic_mirror.ninepic.client import Client

T = TypeVar("T")

_LOG: Final = logging.getLogger(__name__)
_SILENCE: Final = 5.0  # seconds that the service may think before it is said that it is asked
_CAMERAS: Final = 500  # photos whose EXIF is read between two words to the progress bar
_PAGES: Final = 10_000  # of a bib's photos; beyond this a listing does not end by itself
_EVENT_LIMIT: Final = 16 << 20  # bytes of event.json


class Shipment(Struct):
    """One run.

    Args:
        console: Where to say things.
        config: The settings.
        order: What was asked for.
        ledger: The event's manifest.
        stop: Set when the run is to end.
        asking: Around what is asked of the service.
        answered: Set when that has ended.
        entry: What `--json` prints of the event.
    """

    console: Console
    config: Config
    order: Order
    ledger: Ledger
    stop: threading.Event = field(default_factory=threading.Event)
    asking: trio.CancelScope = field(default_factory=trio.CancelScope)
    answered: trio.Event = field(default_factory=trio.Event)
    entry: dict[str, object] = field(default_factory=dict)

    @classmethod
    async def run(cls, console: Console, config: Config, order: Order, stopping: trio.Event) -> int:
        """Deliver; return the exit code."""
        progress = choose(quiet=console.quiet, stream=sys.stderr, json=console.json_log)
        self = cls(console, config, order, Ledger(config, order.event_id, progress))
        self.entry |= {
            "event_id": order.event_id,
            "name": None,
            "packages": [],
            "missing": [],
            "error": None,
        }
        if order.json:
            console.document = {"events": [self.entry]}
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._watch, stopping)
            if order.bibs:
                nursery.start_soon(self._mention_silence)
            try:
                with cures.told(console, config, order.flags, order.event_id):
                    code = await self._deliver()
            except Stopped:
                code = Code.WHOLE  # the signal's own code is what counts
                console.say("stopped; the same command goes on from here")
            except MirrorError as error:
                self.entry["error"] = str(error)
                code = fail(console, error)
            finally:
                progress.finish()
            nursery.cancel_scope.cancel()
        return code

    async def _watch(self, stopping: trio.Event) -> None:
        await stopping.wait()
        self.stop.set()
        self.asking.cancel()

    async def _mention_silence(self) -> None:
        with trio.move_on_after(_SILENCE):
            await self.answered.wait()
            return
        self.console.say("waiting for the service to say which photos show the bibs")

    # --- what there is -------------------------------------------------------------------------------------------

    async def _deliver(self) -> int:
        order = self.order
        folder = await trio.to_thread.run_sync(self.ledger.folder)
        found = await self._named_by_bibs() if order.bibs else None
        with Tree(folder) as tree:
            stock, shots = await self.ledger.ask(lambda manifest: self._stock(manifest, tree))
            self.entry["name"] = stock.facts.name
            filters = order.filters(stock.zone, found, {shot.image_id for shot in shots})
            unknown = selection.unknown_ids(shots, filters)
            strange = await self.ledger.ask(lambda manifest: _strange(manifest, unknown))
            shots = selection.at_times(selection.named(shots, filters), filters)
            read: list[tuple[Shot, File, Camera]] = []
            if self._asks_cameras:
                read = await self._read_cameras(stock, shots, tree)
                shots = _with_cameras(shots, read)
            plan = self._plan(stock, shots, filters, strange)
            lacking = plan.lacking
            self.entry["missing"] = [structs.asdict(one) for one in lacking]
            if lacking and not order.allow_incomplete:
                return self._refuse(stock, lacking)
            self._require_something(stock, plan, lacking)
            dispatch = Dispatch(self.console, order, self.ledger, tree, self.stop)
            await trio.to_thread.run_sync(dispatch.check, plan)
            if order.dry_run:
                return self._tell_plan(stock, plan, lacking)
            for name, made in plan.packages:
                self._tell(stock, await dispatch.make(name, made))
            await self._keep(read)
            if lacking and not (order.json or self.console.quiet):
                self.console.print(f"  {_missing(lacking)}; missing.csv lists it")
        return Code.WHOLE

    def _plan(
        self,
        stock: Stock,
        shots: Sequence[Shot],
        filters: selection.Filters,
        strange: Sequence[Lack],
    ) -> Parts:
        """Return the packages to make.

        Raises:
            UsageError: A filter matches nothing.
        """
        stray = list(strange)
        if self._sorts_photographers:
            theirs = selection.by_photographers(shots, filters)
            ought = {*stock.variants, *stock.wanted}
            nobodys = selection.nobodys(shots, theirs, ought, filters)
            stranger = selection.stranger(shots, theirs, filters)
            if stranger is not None:
                if not (nobodys or stock.doubts):
                    raise stranger
                self.console.warn(f"{stranger}; {stranger.cure}")
            stray = [*nobodys, *strange]
            shots = theirs
        bag_ids = _bag_ids(self.order.event_id)
        return parts(self.order, stock, shots, stray, bag_ids, _date(stock))

    @property
    def _sorts_photographers(self) -> bool:
        """Whether who took a photo decides where it goes."""
        return bool(self.order.photographers) or self.order.split_by == "photographer"

    @property
    def _asks_cameras(self) -> bool:
        """Whether the cameras decide what goes in, or how it is called."""
        is_called = self.order.names == "time" and not self.order.dry_run
        return self._sorts_photographers or is_called

    def _stock(self, manifest: Manifest, tree: Tree) -> tuple[Stock, list[Shot]]:
        """Read from the manifest all that decisions need, at one moment of it."""
        order = self.order
        where = inventory.where(manifest)
        if where is None:
            raise UsageError(
                f"event {order.event_id} was never mirrored to its end", "run sync first"
            )
        standing = mirrors.stand(self.config, order.event_id)
        variants: tuple[Variant, ...] = order.variants or standing.variants
        made = tuple(catalogue.deliveries(manifest))
        bases = selection.bases(made, order.since) if order.since is not None else []
        # a part may add to an older one than those that `--since` names
        reach = made if bases and order.split_by is not None else bases
        known = {
            one.bag_id: catalogue.delivered(manifest, [one.bag_id])
            for one in selection.chain(made, reach)
        }
        # of named photos it is certain which they are, whatever else there may be
        named = order.ids is not None or order.bibs
        doubts = () if named or standing.whole else tuple(_doubts(standing))
        facts = _facts(self.config, order.event_id, manifest, tree, where.zone.key)
        stock = Stock(
            facts, where.zone, variants, standing.variants, doubts, made, tuple(bases), known
        )
        return stock, catalogue.shots(manifest, where.zone)

    async def _named_by_bibs(self) -> set[str]:
        """Ask the service for the photos of the bibs.

        Raises:
            FeatureOffError: The organiser switched it off.
            UsageError: It knows none of one of them.
        """
        order = self.order
        from ninepic_mirror.cli.remote import open_api  # noqa: PLC0415  0.2 s that no other delivery need wait for

        assert order.key is not None  # noqa: S101  with --bib it is read
        found: set[str] = set()
        with self.asking:
            async with open_api(self.config.api, order.key) as client:
                # a 403 of the search itself would not say whether the key is bad (API.md, Errors)
                details = await client.details(order.event_id)
                if details.flags.get("bib_search") is False:
                    raise FeatureOffError(order.event_id, "bibs")
                for bib in order.bibs:
                    named = await _photos_of(client, order.event_id, bib)
                    if not named:
                        cure = "look at the number; if it is right, leave it out"
                        raise UsageError(f"the service knows no photo of bib {bib}", cure)
                    found |= named
        self.answered.set()
        if self.stop.is_set():
            raise Stopped
        return found

    # --- cameras -------------------------------------------------------------------------------------------------

    async def _read_cameras(
        self, stock: Stock, shots: Sequence[Shot], tree: Tree
    ) -> list[tuple[Shot, File, Camera]]:
        """Read what cameras wrote from the heads of the photos of which that is not known yet."""
        new = [shot for shot in shots if shot.camera is None and shot.files]
        if not new:
            return []
        source = Source(self.order.event_id, tree, self.ledger.again, self.stop)
        self.ledger.progress.start(f"{stock.facts.title}: who took it")
        self.ledger.progress.expect(len(new))
        found = []
        for start in range(0, len(new), _CAMERAS):
            some = new[start : start + _CAMERAS]
            found += await trio.to_thread.run_sync(_look, source, some)
            self.ledger.progress.done(len(some), 0)
        self.ledger.progress.finish()
        return found

    async def _keep(self, read: Sequence[tuple[Shot, File, Camera]]) -> None:
        """Keep what was read of cameras before the photos were copied, once that has ended well."""
        found = [
            (file, camera)
            for shot, file, camera in read
            if camera.photographer is not None or not shot.lacking  # which may tell it later
        ]
        try:
            if found:
                await self.ledger.record(lambda manifest: catalogue.note_cameras(manifest, found))
        except (StorageError, EventBusyError) as error:  # it is read again next time
            _LOG.info("event %s: %s", self.order.event_id, error)

    # --- verdicts ------------------------------------------------------------------------------------------------

    def _refuse(self, stock: Stock, lacking: Sequence[Lack]) -> int:
        title = titled(stock.facts.name, self.order.event_id)
        self.entry["error"] = "the mirror is not whole"
        self.console.error(
            f"{title}: nothing was delivered: the mirror is not whole, {_missing(lacking)}",
            f"{self._sync(stock)}; or deliver what there is with --allow-incomplete, which puts the list into the package",
        )
        self._list(lacking)
        return Code.NOT_WHOLE

    def _list(self, lacking: Sequence[Lack]) -> None:
        if not self.order.json:
            for line in packages.lacks(lacking):
                self.console.print(line)

    def _sync(self, stock: Stock) -> str:
        """Return the command that brings what is missing; variants that nobody mirrored have to be named."""
        order, strange = self.order, not set(stock.variants) <= set(stock.wanted)
        named = stock.variants if strange else ()
        return cures.syncs(self.console, self.config, order.flags, order.event_id, named)

    def _require_something(self, stock: Stock, plan: Parts, lacking: Sequence[Lack]) -> None:
        """Refuse packages without photos.

        Raises:
            UsageError: All of them would be.
        """
        if plan.packages:
            return
        self._list(lacking)
        if plan.since:
            text = f"nothing is new or changed since {', '.join(dict.fromkeys(plan.since))}"
            text += f"; {_missing(lacking)}" if lacking else ""
            listing = command(
                "deliver",
                str(self.order.event_id),
                *again(self.order.flags, PLACE),
                "--list",
                console=self.console,
            )
            cure = f"{self._sync(stock)}; or choose" if lacking else "choose"
            raise UsageError(text, f"{cure} an older package: {listing}")
        text = f"none of the photos asked for is in the mirror: {len(lacking):,} files are missing"
        raise UsageError(text, f"{self._sync(stock)}; or choose others")

    def _tell(self, stock: Stock, made: Delivery) -> None:
        found = self.entry["packages"]
        assert isinstance(found, list)  # noqa: S101  made so in `run`
        found.append(packages.as_json(made))
        if not (self.order.json or self.console.quiet):
            for line in packages.lines(stock.facts.title, made):
                self.console.print(line)

    def _tell_plan(self, stock: Stock, plan: Parts, lacking: Sequence[Lack]) -> int:
        told = []
        for name, made in plan.packages:
            place = self.order.place(name, len(made.volumes))
            delivery = planned(made, place, "", 0)
            told.append(packages.as_json(delivery) | {"bag_id": None, "run": None, "made_at": None})
            if not self.order.json:
                whose = f" for {made.label}" if made.label else ""
                text = f"{stock.facts.title}{whose}: would deliver {packages.contents(delivery)}: {place}"
                self.console.print(plain(text))
        self.entry["packages"] = told
        self._list(lacking)
        return Code.WHOLE


def _look(source: Source, shots: Sequence[Shot]) -> list[tuple[Shot, File, Camera]]:
    found = []
    with source.tree.holding() as tree:
        for shot in shots:
            if source.stop.is_set():
                raise Stopped
            found.append((shot, *artists.find(shot.ranked, source, tree)))
    return found


def _with_cameras(shots: Sequence[Shot], read: Sequence[tuple[Shot, File, Camera]]) -> list[Shot]:
    known = {shot.image_id: camera for shot, _, camera in read}
    return [
        catalogue.with_camera(shot, known[shot.image_id]) if shot.image_id in known else shot
        for shot in shots
    ]


# --- small decisions ---------------------------------------------------------------------------------------------


def _bag_ids(event_id: int) -> Iterator[str]:
    """Yield ids for packages: in the order of their making, no two alike on any machine."""
    moment = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
    first = f"ninepic-{event_id}-{moment}-{secrets.token_hex(4)}"
    yield first
    for number in itertools.count(1):
        yield f"{first}-{number}"


def _date(stock: Stock) -> str:
    return datetime.now(stock.zone).date().isoformat()


def _doubts(standing: mirrors.Standing) -> Iterator[Lack]:
    """Yield why it is not certain that all photos of the event are known."""
    said = [Lack("", None, one.error) for one in standing.failures if one.image_id is None]
    yield from said
    if standing.unlisted:
        yield Lack(
            "", None, f"{count(standing.unlisted, 'photo')} of the service's were never listed"
        )
    elif not said and not standing.seen:
        yield Lack("", None, "the last pass did not see everything")


def _missing(lacking: Sequence[Lack]) -> str:
    return f"{len(lacking):,} of what was asked for is missing"


def _strange(manifest: Manifest, ids: Sequence[str]) -> list[Lack]:
    """Return the ids asked for that are no photo to deliver; what was forgotten on purpose is not missed."""
    fates = catalogue.fates(manifest, ids)
    return [Lack(one, None, fate) for one, fate in fates.items() if fate != catalogue.FORGOTTEN]


def _facts(config: Config, event_id: int, manifest: Manifest, tree: Tree, zone: str) -> Facts:
    try:
        described: object = json.loads(tree.read(about.NAME, _EVENT_LIMIT))
    except (OSError, ValueError):
        described = None
    said = described if isinstance(described, dict) else {}
    organisation = f"9Pic organisation {config.api.org_id}" if config.api.org_id else None
    name, slug = _text(manifest.meta("name")), _text(manifest.meta("slug"))
    return Facts(event_id, name, slug, _text(said.get("date")), organisation, zone)


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None


async def _photos_of(client: Client, event_id: int, bib: str) -> set[str]:
    """Return the ids of a bib's photos."""
    found: set[str] = set()
    for number in range(1, _PAGES):
        page = await client.bib_images(event_id, bib, number)
        new = {photo.image_id for photo in page.photos} - found
        found |= new
        # a page that brings nothing new ends it, whatever it says of a next one (RELIABILITY N15)
        if not (page.has_next and new):
            break
    return found
