"""The other files of a package beside the photos: lists for people and their programs. Pure."""

from __future__ import annotations

import csv
import io
import json
import re
from collections import Counter
from importlib import resources
from typing import TYPE_CHECKING, Final

from msgspec import Struct

from ninepic_mirror.delivery import bag
from ninepic_mirror.gallery import pages

if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Sequence

    from ninepic_mirror.delivery.plan import Item
    from ninepic_mirror.delivery.selection import Lack

PHOTOS: Final = "photos.csv"
EVENT: Final = "event.json"
MISSING: Final = "missing.csv"
CHECKER: Final = "verify.py"

_DOUBTS: Final = 3  # that a gallery shows
COLUMNS: Final = (
    "image_id", "path", "variant", "day", "hour", "position", "width", "height", "photographer", "sha256",
)  # fmt: skip
# What a spreadsheet takes for a formula where a field begins with it (OWASP, "CSV Injection").
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r")

# What says where something is: URLs and paths, hosts by name and by number (RFC 3986 §3.2.2), ports. Names of hosts
# are lower case here, people's are not.
_ADDRESS: Final = re.compile(
    r"[a-z]+://[^\s,;]+|(?<!\S)/[^\s,;]+|\[[0-9A-Fa-f:.]+\](?::\d+)?|(?<![\w.-])(?:"
    r"\d+(?:\.\d+){3}(?::\d+)?|(?:[0-9A-Fa-f]{0,4}:){2,7}[0-9A-Fa-f]{0,4}"
    r"|[a-z0-9-]+(?:\.[a-z0-9-]+)*\.[a-z][a-z0-9-]+(?::\d+)?|localhost|[a-z][a-z0-9-]*:\d+)(?![\w-])",
    re.ASCII,
)


class Facts(Struct, frozen=True):
    """What a package says of its event.

    Args:
        zone: Of days and hours, such as "Asia/Kolkata".
    """

    event_id: int
    name: str | None
    slug: str | None
    date: str | None
    organisation: str | None
    zone: str

    @property
    def title(self) -> str:
        """What people call it."""
        return self.name or f"event {self.event_id}"


def photos(items: Sequence[Item], first: int = 1) -> bytes:
    """Return `photos.csv`: a line for each file.

    `position` is the photo's place in the package, in the order of capture, `width` and `height` are what the service
    says.

    Args:
        items: The photos of one volume.
        first: The position of the first of them.
    """
    text = io.StringIO()
    lines = csv.writer(text, lineterminator="\n")
    lines.writerow(COLUMNS)
    for position, item in enumerate(items, first):
        shot = item.shot
        who = harmless((shot.camera.photographer if shot.camera else None) or "")
        for entry in item.entries:
            lines.writerow((
                harmless(shot.image_id), entry.target, entry.file.variant, shot.day or "", shot.hour or "", position,
                shot.width or "", shot.height or "", who, entry.file.sha256,
            ))  # fmt: skip
    return bag.encoded(text.getvalue())


def harmless(text: str) -> str:
    """Return a text of the service's or a camera's that no spreadsheet takes for a formula."""
    return f"'{text}" if text.startswith(_FORMULA) else text


def missing(lacking: Iterable[Lack]) -> bytes:
    """Return `missing.csv`: what was to go into the package and was not in the mirror, and why, but not at which host."""
    text = io.StringIO()
    lines = csv.writer(text, lineterminator="\n")
    lines.writerow(("image_id", "variant", "reason"))
    lines.writerows(
        (harmless(one.image_id), one.variant or "", harmless(without_addresses(one.reason)))
        for one in lacking
    )
    return bag.encoded(text.getvalue())


def without_addresses(text: str) -> str:
    """Return a text that names no host, no URL and no path: a package says nothing of where the mirror lives."""
    return _ADDRESS.sub("[address]", text)


def event(facts: Facts, bag_id: str, items: Iterable[Item]) -> bytes:
    """Return `event.json`: the event, and the days and hours of the photos that are in the package."""
    days: dict[str, Counter[str]] = {}
    undated = photos = 0
    for item in items:
        photos += 1
        if item.shot.day is None or item.shot.hour is None:
            undated += 1
        else:
            days.setdefault(item.shot.day, Counter())[item.shot.hour] += 1
    described = {
        "event_id": facts.event_id,
        "name": facts.name,
        "slug": facts.slug,
        "date": facts.date,
        "organisation": facts.organisation,
        "timezone": facts.zone,
        "package": bag_id,
        "photos": photos,
        "undated": undated,
        "days": [
            {"date": day, "photos": hours.total(), "hours": dict(sorted(hours.items()))}
            for day, hours in sorted(days.items())
        ],
    }
    return bag.encoded(json.dumps(described, indent=1, ensure_ascii=False) + "\n")


class About(Struct, frozen=True):
    """What a gallery says of its package.

    Args:
        made_at: For people, in the event's zone.
        note: What part of the event it is, None for all of it.
        missing: Photos that are not in it and should be.
        doubts: Why there may be more of them; a few are shown, the list has them all.
    """

    made_at: str
    note: str | None = None
    missing: int = 0
    doubts: tuple[str, ...] = ()


def gallery(
    facts: Facts, items: Sequence[Item], lost: Container[str], about: About
) -> dict[str, bytes]:
    """Return the files of the gallery by their paths.

    Args:
        facts: Of the event.
        items: The photos in their order.
        lost: Thumbnails that could not be made.
        about: The package.
    """
    shown = pages.Gallery(
        title=facts.title,
        organisation=facts.organisation,
        zone=facts.zone,
        made_at=about.made_at,
        missing=about.missing,
        pictures=[_picture(item, lost) for item in items],
        note=about.note,
        doubts=about.doubts[:_DOUBTS],
    )
    return {path: bag.encoded(text) for path, text in pages.render(shown).items()}


def _picture(item: Item, lost: Container[str]) -> pages.Picture:
    shot = item.shot
    places = {entry.file.variant: entry.target for entry in item.entries}
    return pages.Picture(
        image_id=shot.image_id,
        name=next(iter(places.values())).rpartition("/")[2],
        day=shot.day,
        hour=shot.hour,
        photographer=shot.camera.photographer if shot.camera else None,
        width=shot.width,
        height=shot.height,
        thumbnail=None if item.thumbnail in lost else item.thumbnail,
        large=places.get("large"),
        original=places.get("original"),
    )


def checker() -> bytes:
    """Return `verify.py`, which checks the package where nothing but Python is installed."""
    return (resources.files("ninepic_mirror.delivery") / CHECKER).read_bytes()


def dates(items: Iterable[Item]) -> tuple[str, str] | None:
    """Return the first and the last day of some photos, None where all are undated."""
    days = [item.shot.day for item in items if item.shot.day is not None]
    return (min(days), max(days)) if days else None
