"""What `deliver` was asked for, and which packages that means. Decisions only."""

from __future__ import annotations

from datetime import date, datetime
from pathlib import Path  # noqa: TC003  msgspec reads the annotations when it runs
from typing import TYPE_CHECKING, Literal

from msgspec import Struct

from ninepic_mirror.delivery import plan, selection
from ninepic_mirror.delivery.package import EVERYTHING, Package, overhead
from ninepic_mirror.model import Key, Variant  # noqa: TC001  as above
from ninepic_mirror.sync.selection import span

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence
    from zoneinfo import ZoneInfo

    from ninepic_mirror.delivery.catalogue import Delivery, Shot
    from ninepic_mirror.delivery.catalogue import Key as FileKey
    from ninepic_mirror.delivery.selection import Lack
    from ninepic_mirror.delivery.tags import Facts

Moment = tuple[str, int | None]
"""A day, and the hour of it or None."""


class Order(Struct, frozen=True):
    """What was asked for on the command line, beside settings.

    Args:
        variants: Empty: the configured ones.
        start: From then on.
        end: To the end of that day, or before that hour.
        ids: As `--ids` names them.
        volume_size: Bytes.
        flags: Of the settings, as click gives them.
        key: Of the service, where it is to be asked.
    """

    event_id: int
    dest: Path
    variants: tuple[Variant, ...]
    days: tuple[str, ...]
    start: Moment | None
    end: Moment | None
    bibs: tuple[str, ...]
    ids: frozenset[str] | None
    photographers: tuple[str, ...]
    since: str | None
    split_by: Literal["photographer", "day"] | None
    names: Literal["id", "time"]
    form: Literal["folder", "zip"]
    volume_size: int | None
    link: bool
    allow_incomplete: bool
    dry_run: bool
    json: bool
    flags: dict[str, object]
    key: Key | None

    def filters(
        self, zone: ZoneInfo, found: Collection[str] | None, known: Collection[str]
    ) -> selection.Filters:
        """Return which photos are asked for.

        Args:
            zone: The event's.
            found: The ids that the service names for the bibs, None where it was not asked.
            known: The ids of the photos that there are.
        """
        ids = self.ids
        if ids is not None:
            ids = selection.meant(ids, {*known, *(found or ())})
        if found is not None:
            ids = frozenset(found) if ids is None else ids & frozenset(found)
        bounds = (_moment(self.start, zone, last=False), _moment(self.end, zone, last=True))
        return selection.Filters(frozenset(self.days), bounds, ids, self.bibs, self.photographers)

    @property
    def contents(self) -> str:
        """What part of the event is asked for, a sentence for people."""
        parts = [f"of bib {bib}" for bib in self.bibs]
        parts += [f"by {name}" for name in self.photographers]
        parts += [f"of {day}" for day in self.days]
        parts += [f"from {_said(self.start)}"] if self.start else []
        parts += [f"to {_said(self.end)}"] if self.end else []
        parts += ["as chosen by a list"] if self.ids is not None else []
        return " ".join([EVERYTHING, *parts])

    def place(self, name: str | None, volumes: int) -> Path:
        """Return where a package comes to stand.

        Args:
            name: Of its part, None: the package is not split.
            volumes: Several stand in a folder, also as zips.
        """
        place = self.dest if name is None else self.dest / name
        if self.form == "folder":
            return place
        stem = plan.stem_of(place.name)
        if volumes > 1:
            return place.with_name(stem)
        return place if stem != place.name else place.with_name(f"{stem}.zip")


def _moment(moment: Moment | None, zone: ZoneInfo, *, last: bool) -> int | None:
    if moment is None:
        return None
    day, hour = date.fromisoformat(moment[0]), moment[1]
    if hour is None:
        return span(day, zone)[1 if last else 0]
    return int(datetime(day.year, day.month, day.day, hour, tzinfo=zone).timestamp())


def _said(moment: Moment) -> str:
    return moment[0] if moment[1] is None else f"{moment[0]} {moment[1]:02}:00"


class Stock(Struct, frozen=True):
    """What the packages are made from.

    Args:
        facts: Of the event.
        zone: The event's.
        variants: Those to deliver.
        wanted: Those that the mirror ought to have.
        doubts: Why it is not certain that all photos are known.
        made: Every package so far.
        bases: What `--since` names.
        known: Bag id → the files that the package has, with their hashes; of all that new ones may add to.
    """

    facts: Facts
    zone: ZoneInfo
    variants: tuple[Variant, ...]
    wanted: tuple[Variant, ...]
    doubts: tuple[Lack, ...]
    made: tuple[Delivery, ...]
    bases: tuple[Delivery, ...]
    known: Mapping[str, Mapping[FileKey, set[str]]]


class Parts(Struct, frozen=True):
    """The packages of an order.

    Args:
        packages: Folder name of its own, or None → package.
        lacking: What was to go in and is not in the mirror, of all; with what belongs to no package, and the doubts.
        since: Bag ids after which nothing is new, where a package would be empty.
    """

    packages: list[tuple[str | None, Package]]
    lacking: list[Lack]
    since: list[str]


def parts(
    order: Order,
    stock: Stock,
    shots: Sequence[Shot],
    stray: Iterable[Lack],
    bag_ids: Iterable[str],
    made_at: str,
) -> Parts:
    """Return the packages that are to be made.

    What is missing and belongs to no package, because nobody knows to which or because there is no such package, is
    listed in each of them.

    Args:
        order: What was asked for.
        stock: What there is.
        shots: The photos that fit all filters.
        stray: What is missing and no part's.
        bag_ids: Fresh ones, as many as there may be parts.
        made_at: For people.

    Raises:
        UsageError: A photo does not fit into a volume.
    """
    split = selection.split(shots, order.split_by)
    names = plan.part_names(label for label, _ in split if label is not None)
    found = Parts([], [], [])
    everyones = list(stray)
    for (label, some), bag_id in zip(split, bag_ids, strict=False):
        bases = selection.base_of(label, stock.bases, stock.made)
        before = selection.chain(stock.made, bases)
        picked, lacking = selection.pick(some, stock.variants, _known(stock, before))
        if not picked:
            everyones += lacking
            found.since.extend(one.bag_id for one in bases)
            continue
        found.lacking.extend(lacking)
        first = 1 + sum(one.photos for one in before)
        items = plan.items(picked, order.names, first)
        whose = f" by {label}" if order.split_by == "photographer" else f" of {label}"
        package = Package(
            bag_id, stock.facts, plan.volumes(items, order.volume_size, overhead(stock.facts)),
            order.contents + (whose if label is not None else ""), order.form, made_at,
            tuple(one.bag_id for one in bases), label, tuple(lacking), order.link,
        )  # fmt: skip
        found.packages.append((None if label is None else names[label], package))
    everyones += stock.doubts
    for _, package in found.packages:
        package.lacking += tuple(everyones)
    found.lacking.extend(everyones)
    return found


def _known(stock: Stock, before: Sequence[Delivery]) -> dict[FileKey, set[str]]:
    known: dict[FileKey, set[str]] = {}
    for one in before:
        for key, hashes in stock.known.get(one.bag_id, {}).items():
            known.setdefault(key, set()).update(hashes)
    return known
