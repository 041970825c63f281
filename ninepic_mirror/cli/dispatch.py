"""Brings the packages of one `deliver` to their places: looks at the places first, then makes one after the other."""

from __future__ import annotations

import os
import threading  # noqa: TC003  msgspec reads the annotations when it runs
import time
from pathlib import Path
from typing import TYPE_CHECKING

import trio
from msgspec import Struct, field, structs

from ninepic_mirror.archive import inventory
from ninepic_mirror.delivery import catalogue, limits, package, thumbnails
from ninepic_mirror.delivery.catalogue import Delivery
from ninepic_mirror.delivery.recognition import fault, recognise
from ninepic_mirror.delivery.source import Source
from ninepic_mirror.delivery.target import Target, writing
from ninepic_mirror.errors import ChangedError, StorageError, UsageError

if TYPE_CHECKING:
    from ninepic_mirror.archive.files import Tree
    from ninepic_mirror.archive.verify import Entry
    from ninepic_mirror.cli.console import Console
    from ninepic_mirror.cli.ledger import Ledger
    from ninepic_mirror.cli.order import Order, Parts
    from ninepic_mirror.delivery.package import Package


class Dispatch(Struct):
    """The packages of one order.

    Args:
        console: Where to say things.
        order: What was asked for.
        ledger: The event's manifest.
        tree: The event's folder.
        stop: Set when the run is to end.
        there: What stands at its place already: place → its bag id; after `check` it is known to be whole.
        run: What the packages of this order have in common.
        device: The destination's disk, by its number, as it was looked at; None: not yet.
    """

    console: Console
    order: Order
    ledger: Ledger
    tree: Tree
    stop: threading.Event
    there: dict[Path, str] = field(default_factory=dict)
    run: str | None = None
    device: int | None = None

    # --- places --------------------------------------------------------------------------------------------------

    def check(self, plan: Parts) -> None:
        """Look at the destination before the first byte. Blocks.

        Raises:
            UsageError: Something stands there, or it does not take such files.
            StorageError: There is not enough room, or nothing can be recorded.
            Stopped: The run is to end.
        """
        order = self.order
        self._refuse_mirror()
        if not order.dry_run:
            self.ledger.require_writable()
        loads, already, files_already = [], 0, 0
        for name, made in plan.packages:
            place = order.place(name, len(made.volumes))
            if os.path.lexists(place):
                self._recognise(made, place)
            else:
                loads.append(package.load(made, str(place)))
            if place.parent.is_dir():
                with Target(place, order.event_id) as target:
                    size, count = target.already()
                    already, files_already = already + size, files_already + count
        if not loads and not self._unrecorded():
            place, made = order.dest, plan.packages[0][1]
            raise UsageError(f"{place} is there already", self._other_name(place, made))
        self._require_whole(plan)
        base = (
            order.dest if order.split_by is not None and order.dest.is_dir() else order.dest.parent
        )
        with Target(base / "package", order.event_id) as target:
            ground, self.device = target.ground(), target.device
            if order.link:
                self._require_one_disk(target)
            else:
                one = plan.packages[0][1].files[0]
                ground = structs.replace(ground, shares=target.can_share(self.tree, one.path))
        for load in loads:
            limits.check_files(load, ground)
        limits.check_room(limits.together(str(order.dest), loads), ground, already, files_already)

    def _refuse_mirror(self) -> None:
        """Refuse a destination among the mirror's files or manifests, also by way of a link.

        Raises:
            UsageError: It is one.
        """
        dest, settings = self.order.dest, self.ledger.config.mirror
        ours = {os.path.realpath(one) for one in (settings.root, settings.state_dir) if one}
        for place in (
            Path(os.path.realpath(dest.parent)) / dest.name,
            Path(os.path.realpath(dest)),
        ):
            if any(str(folder) in ours for folder in (place, *place.parents)):
                raise UsageError(f"{dest} is in the mirror", "choose a place outside of it")

    def _recognise(self, made: Package, place: Path) -> None:
        """Note that a package stands at its place already.

        Raises:
            UsageError: Something else does.
        """
        bag_id = recognise(made, place)
        recorded = self._recorded(bag_id)
        # a part of an order that was interrupted, or a package that was made and not recorded any more
        if bag_id is None or (recorded is not None and self.order.split_by is None):
            raise UsageError(f"{place} is there already", self._other_name(place, made))
        self.there[place] = bag_id
        self.run = self.run or (recorded.run if recorded else None)

    def _require_whole(self, plan: Parts) -> None:
        """Read what stands at its place already.

        Raises:
            UsageError: It is not whole, or is linked to the mirror where copies were asked for.
            Stopped: The run is to end.
        """
        for name, made in plan.packages:
            place = self.order.place(name, len(made.volumes))
            if place in self.there:
                self.console.say(f"{place} is there already: looking whether it is whole")
                wrong = fault(made, place, self.stop)
                if wrong is not None:
                    cure = "move it away, then run the same command again: it is made anew"
                    raise UsageError(f"{place} is there already, but {wrong}", cure)

    def _recorded(self, bag_id: str | None) -> Delivery | None:
        made = self.ledger.ask_now(catalogue.deliveries)
        return next((one for one in made if one.bag_id == bag_id), None)

    def _unrecorded(self) -> bool:
        return any(self._recorded(bag_id) is None for bag_id in self.there.values())

    def _other_name(self, place: Path, made: Package) -> str:
        if place.is_dir() and not (place / "bagit.txt").is_file() and self.order.split_by is None:
            return (
                f"name the package in it: {place / (made.facts.slug or str(self.order.event_id))}"
            )
        return "choose another name, or remove it; only what is new since it: --since last"

    def _require_one_disk(self, target: Target) -> None:
        if self.tree.root.stat().st_dev != target.device:
            cure = "deliver without --link, or to the disk of the mirror"
            raise UsageError("hard links reach no other disk", cure)
        self.console.warn(
            "--link: the photos of the package are the mirror's own files; to edit one is to change the mirror"
        )

    # --- making --------------------------------------------------------------------------------------------------

    async def make(self, name: str | None, made: Package) -> Delivery:
        """Make one package and record it; what stands there whole is recorded only.

        Raises:
            MirrorError: As `package.build` raises.
            Stopped: The run is to end.
        """
        order = self.order
        place = order.place(name, len(made.volumes))
        self.run = self.run or made.bag_id
        if place in self.there:
            made.bag_id = self.there[place]
            self.console.say(f"{place} is whole: all of it was read")
            with Target(place, order.event_id) as target:
                await trio.to_thread.run_sync(target.clean)
            recorded = await trio.to_thread.run_sync(self._recorded, made.bag_id)
            if recorded is not None:
                return recorded
        else:
            if name is not None:
                with writing(str(order.dest)):
                    await trio.to_thread.run_sync(lambda: order.dest.mkdir(exist_ok=True))
            await self._build(made, place)
        delivery = planned(made, place, self.run, int(time.time()))
        await self._record(delivery, made)
        return delivery

    async def _record(self, delivery: Delivery, made: Package) -> None:
        try:
            await self.ledger.record(
                lambda manifest: catalogue.record(manifest, delivery, made.files, made.cameras)
            )
        except StorageError as error:
            text = f"the package is whole, but could not be recorded: {error}"
            cure = "mend that, then run the same command again: it reads the package and records it"
            raise StorageError(delivery.destination, text, cure) from error

    async def _build(self, made: Package, place: Path) -> None:
        items = [item for volume in made.volumes for item in volume]
        if any(item.is_thumbnail_made for item in items):
            thumbnails.prepare()
        unseen = {item.shot.image_id for item in items if item.shot.camera is None}
        progress = self.ledger.progress
        title = made.facts.title
        progress.start(title if made.label is None else f"{title}: {made.label}")
        progress.expect(len(made.files))
        with Target(place, self.order.event_id) as target:
            if target.device != self.device:
                text = "the disk that was looked at is not there any more: it was unmounted, or another one mounted"
                raise StorageError(
                    str(place), text, "bring it back, then run the same command again"
                )
            source = Source(self.order.event_id, self.tree, self._again, self.stop, unseen)
            steps = package.build(made, source, target, lambda: self._vet(made))
            try:
                while (step := await trio.to_thread.run_sync(next, steps, None)) is not None:
                    progress.done(*step)
            finally:
                with trio.CancelScope(shield=True):
                    await trio.to_thread.run_sync(steps.close)
        progress.finish()

    def _vet(self, made: Package) -> None:
        """Refuse a package of which a photo was forgotten while it was made.

        Raises:
            ChangedError: One was.
        """
        lost = self.ledger.ask_now(lambda manifest: catalogue.forgotten(manifest, made.files))
        if lost is not None:
            raise ChangedError(self.order.event_id, lost.path)

    def _again(self, key: tuple[str, str]) -> Entry | None:
        return self.ledger.ask_now(lambda manifest: inventory.again(manifest, key))


def planned(made: Package, place: Path, run: str, made_at: int) -> Delivery:
    """Return what is recorded of a package."""
    return Delivery(
        made.bag_id, made.predecessors, str(place), made_at, made.photos, len(made.files), made.bytes, run,
        made.label, made.form, len(made.volumes),
    )  # fmt: skip
