"""Which photos go into a package. Decisions only: photos in, photos out, or what there is to choose from."""

from __future__ import annotations

import itertools
import re
from typing import TYPE_CHECKING, Final

from msgspec import Struct

from ninepic_mirror.delivery.tags import harmless
from ninepic_mirror.errors import UsageError
from ninepic_mirror.progress import plain

if TYPE_CHECKING:
    from collections.abc import Collection, Container, Iterable, Mapping, Sequence

    from ninepic_mirror.delivery.catalogue import Delivery, File, Key, Shot
    from ninepic_mirror.model import Variant

_SHOWN: Final = 20  # things to choose from on one line
UNKNOWN: Final = "unknown"  # the photographer of a photo that names none
UNDATED: Final = "undated"  # the day of a photo that has none
_DAY: Final = re.compile("[0-9]{4}-[0-9]{2}-[0-9]{2}")


class Lack(Struct, frozen=True, gc=False):
    """What was to go into a package and is not here.

    Args:
        variant: None: nothing of the photo.
        reason: For people.
    """

    image_id: str
    variant: str | None
    reason: str


class Filters(Struct, frozen=True):
    """What was asked for; empty or None: everything.

    Args:
        days: In the event's zone, such as "2026-01-19".
        span: `[from, to)` in epoch seconds.
        ids: The photos named, by `--ids` or by the service for a bib.
        bibs: Only for what is said when nothing fits.
        photographers: Without regard to case.
    """

    days: frozenset[str] = frozenset()
    span: tuple[int | None, int | None] = (None, None)
    ids: frozenset[str] | None = None
    bibs: tuple[str, ...] = ()
    photographers: tuple[str, ...] = ()


def at_times(shots: Sequence[Shot], filters: Filters) -> list[Shot]:
    """Return the photos of the days and hours asked for.

    Raises:
        UsageError: There are none.
    """
    start, end = filters.span
    if not filters.days and start is None and end is None:
        return list(shots)
    there = sorted({shot.day for shot in shots if shot.day is not None})
    strange = sorted(filters.days - set(there))
    if strange:
        raise UsageError(f"there is no photo on {strange[0]}", _choose("days", there))
    found = [
        shot
        for shot in shots
        if shot.taken is not None
        and (not filters.days or shot.day in filters.days)
        and (start is None or shot.taken >= start)
        and (end is None or shot.taken < end)
    ]
    if not found:
        raise UsageError("there is no photo in the time that was asked for", _choose("days", there))
    return found


def named(shots: Sequence[Shot], filters: Filters) -> list[Shot]:
    """Return the photos whose ids were given.

    Raises:
        UsageError: There are none.
    """
    ids = filters.ids
    if ids is None:
        return list(shots)
    found = [shot for shot in shots if shot.image_id in ids]
    if not found and filters.bibs:
        bibs = ", ".join(filters.bibs)
        text = f"the service names photos of bib {bibs}, and none of them is to be delivered"
        raise UsageError(text, "look at the number; if it is right, run sync, and this again")
    if not found:
        examples = plain(", ".join(shot.image_id for shot in shots[:2])) or "none"
        text = f"none of the {len(ids)} ids is that of a photo to be delivered"
        raise UsageError(
            text,
            f"give the ids that `ninepic-mirror manifest` prints, one a line; for example: {examples}",
        )
    return found


def meant(ids: Iterable[str], known: Container[str]) -> frozenset[str]:
    """Return the ids that a list names: one that is copied from `photos.csv` may have a `'` before it (`tags`).

    Args:
        ids: As they stand in the list.
        known: Those of the photos that there are.
    """
    return frozenset(
        image_id[1:] if image_id not in known and image_id == harmless(image_id[1:]) else image_id
        for image_id in ids
    )


def unknown_ids(shots: Iterable[Shot], filters: Filters) -> list[str]:
    """Return the ids asked for that no photo has, in their order."""
    return sorted((filters.ids or frozenset()) - {shot.image_id for shot in shots})


def photographer(shot: Shot) -> str:
    """Return who took a photo, as far as is known."""
    return (shot.camera.photographer if shot.camera else None) or UNKNOWN


def by_photographers(shots: Sequence[Shot], filters: Filters) -> list[Shot]:
    """Return the photos of the photographers asked for; without any all but those of which nothing is here or known."""
    wanted = {name.casefold().strip() for name in filters.photographers}
    return [
        shot
        for shot in shots
        if (shot.files or shot.camera is not None)
        and (not wanted or photographer(shot).casefold() in wanted)
    ]


def stranger(shots: Iterable[Shot], found: Iterable[Shot], filters: Filters) -> UsageError | None:
    """Return what there is to say when a photographer who was asked for took none of the photos, else None.

    Args:
        shots: Of which to choose.
        found: Those that go in.
        filters: What was asked for.
    """
    there = {photographer(shot).casefold() for shot in found}
    for name in filters.photographers:
        if name.casefold().strip() not in there:
            known = sorted({photographer(shot) for shot in shots if shot.files})
            return UsageError(
                f"no photo that is here is by {name}", _choose("photographers", known)
            )
    return None


def nobodys(
    shots: Iterable[Shot], found: Iterable[Shot], variants: Collection[str], filters: Filters
) -> list[Lack]:
    """Return what is missing of photos that nobody knows by whom they are, and that are left out for that.

    What is missing may tell it; where nothing is, nobody took them.

    Args:
        shots: Of which to choose.
        found: Those that go in.
        variants: Those that ought to be here.
        filters: What was asked for.
    """
    known = {shot.image_id for shot in found}
    names = " or ".join(filters.photographers)
    return [
        Lack(shot.image_id, variant, f"may be by {names}: {reason}" if names else reason)
        for shot in shots
        if shot.image_id not in known and photographer(shot) == UNKNOWN
        for variant, reason in shot.lacking.items()
        if variant in variants or not shot.files
    ]


def split(shots: Iterable[Shot], by: str | None) -> list[tuple[str | None, list[Shot]]]:
    """Return the photos of each photographer or day with its name, in the order of names; None: all together.

    A name that is written in several ways is one, but for upper and lower case nothing is made equal.
    """
    if by is None:
        return [(None, list(shots))]
    parts: dict[str, tuple[str | None, list[Shot]]] = {}
    for shot in shots:
        label = photographer(shot) if by == "photographer" else shot.day or UNDATED
        parts.setdefault(label.casefold(), (label, []))[1].append(shot)
    return [part for _, part in sorted(parts.items())]


def pick(
    shots: Iterable[Shot], variants: Sequence[Variant], known: Mapping[Key, Collection[str]]
) -> tuple[list[tuple[Shot, list[File]]], list[Lack]]:
    """Return the files to deliver of each photo, and what of them is not here.

    Args:
        shots: The photos.
        variants: Those asked for.
        known: Files that the packages before have, with their hashes; what has not changed since is left out.
    """
    picked, lacking = [], []
    for shot in shots:
        files = []
        for variant in variants:
            file = shot.file(variant)
            if file is None:
                reason = shot.lacking.get(variant, "this variant is not mirrored")
                lacking.append(Lack(shot.image_id, variant, reason))
            elif file.sha256 not in known.get((shot.image_id, variant), ()):
                files.append(file)
        if files:
            picked.append((shot, files))
    return picked, lacking


def bases(made: Sequence[Delivery], since: str) -> list[Delivery]:
    """Return the packages that `--since` names: one, or with `last` all that the last command made.

    Raises:
        UsageError: There is no such package.
    """
    if since == "last":
        found = [one for one in made if one.run == made[-1].run]
    else:
        found = [one for one in made if one.bag_id == since]
    if not found:
        text = f"there is no package {since}" if made else "no package was made yet"
        ids = [one.bag_id for one in reversed(made)]
        cure = _choose("packages", ids) if made else "deliver everything first, without --since"
        raise UsageError(text, cure)
    return found


def base_of(
    label: str | None, bases: Sequence[Delivery], made: Sequence[Delivery]
) -> list[Delivery]:
    """Return which packages one with this label adds to.

    Where the bases are parts of the same kind, photographers or days, that is the part with this label: a photo that
    has moved to another day is new there. A part in which nothing was new has none among them; the newest before them
    counts. Else a package adds to all of them.

    Args:
        label: Of the package to make.
        bases: What `--since` names, the oldest first.
        made: Every package, likewise.
    """
    same = [one for one in bases if one.label == label]
    if label is None or same or not all(_is_alike(label, one.label) for one in bases):
        return same or list(bases)
    before = itertools.takewhile(lambda one: one not in bases, made)
    return [one for one in before if one.label == label][-1:]


def _is_alike(label: str, other: str | None) -> bool:
    """Whether two parts are of photographers, or of days."""
    return other is not None and _is_day(label) == _is_day(other)


def _is_day(label: str) -> bool:
    return label == UNDATED or _DAY.fullmatch(label) is not None


def chain(made: Sequence[Delivery], bases: Iterable[Delivery]) -> list[Delivery]:
    """Return packages with all that they add to."""
    by_id = {one.bag_id: one for one in made}
    found: dict[str, Delivery] = {}
    waiting = list(bases)
    while waiting:
        one = waiting.pop()
        if one.bag_id not in found:
            found[one.bag_id] = one
            waiting += [by_id[bag_id] for bag_id in one.predecessors if bag_id in by_id]
    return list(found.values())


def _choose(what: str, there: Sequence[str]) -> str:
    more = f" and {len(there) - _SHOWN} more" if len(there) > _SHOWN else ""
    shown = plain(", ".join(there[:_SHOWN])) or "none"
    return f"choose from the {what} that there are: {shown}{more}"
