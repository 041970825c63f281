"""`event.json`: what the event is, its days and counts, readable without this program (DESIGN §5)."""

from __future__ import annotations

import hashlib
import json
from contextlib import suppress
from typing import TYPE_CHECKING, Final
from zoneinfo import ZoneInfo

from ninepic_mirror.archive import sums
from ninepic_mirror.archive.faults import translated
from ninepic_mirror.archive.partial import FOLDER as PARTIAL
from ninepic_mirror.archive.placement import Layout, local_time
from ninepic_mirror.config import sound

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ninepic_mirror.archive.files import Tree
    from ninepic_mirror.archive.manifest import Manifest
    from ninepic_mirror.archive.verify import Fault
    from ninepic_mirror.config import EventSettings, Mirror
    from ninepic_mirror.model import Details

NAME: Final = "event.json"
NOTE: Final = "described"  # in `meta`: what it was written for; null: its counts may be old
HASH: Final = "described_as"  # in `meta`: its SHA-256; null: it is not known
_LIMIT: Final = 16 << 20  # bytes
_SETTLED: Final = ("layout", "timezone", "variants")
# All less those that are gone, each counted in an index (the sign chooses the second): a row looked up for each of a
# million photos takes seconds.
_BY_TIME: Final = """
SELECT taken, sum(number) FROM (
    SELECT taken, count(*) AS number FROM photos GROUP BY taken
    UNION ALL
    SELECT taken, -count(*) FROM photos WHERE gone_since IS NOT NULL GROUP BY +taken
) GROUP BY taken HAVING sum(number) > 0 ORDER BY taken
"""


def describe(details: Details, settings: Mirror, manifest: Manifest) -> dict[str, object]:
    """Return what `event.json` says.

    Args:
        details: The event, by the service.
        settings: `[mirror]` as it holds for the event.
        manifest: For days and counts.
    """
    zone = ZoneInfo(settings.timezone)
    days: dict[str, dict[str, int]] = {}
    undated = 0
    for taken, count in manifest.rows(_BY_TIME):
        if taken is None:
            undated = int(count or 0)
            continue
        local = local_time(zone, int(taken))
        hours = days.setdefault(local.date().isoformat(), {})
        hours[f"{local.hour:02}"] = hours.get(f"{local.hour:02}", 0) + int(count or 0)
    event = details.event
    return {
        "event_id": event.event_id,
        "name": event.name,
        "slug": event.slug,
        "date": event.date,
        "status": event.status,
        "timezone": settings.timezone,
        "layout": settings.layout,
        "variants": wanted(manifest, settings),
        "photos": undated + sum(sum(hours.values()) for hours in days.values()),
        "undated": undated,
        "days": [
            {"date": day, "photos": sum(hours.values()), "hours": hours}
            for day, hours in sorted(days.items())
        ],
    }


def wanted(manifest: Manifest, settings: Mirror) -> object:
    """Return the variants that the mirror should have, also where this pass was asked for fewer."""
    return manifest.meta("wanted") or list(settings.variants)


def _text(description: dict[str, object]) -> bytes:
    return json.dumps(description, indent=1, ensure_ascii=False).encode("utf-8", "replace") + b"\n"


def hash_of(description: dict[str, object]) -> str:
    """Return the SHA-256 of what `write` writes."""
    return hashlib.sha256(_text(description)).hexdigest()


def blame(tree: Tree, manifest: Manifest, *, thorough: bool) -> Fault | None:
    """Say what is wrong with `event.json`; nothing where it is not known what it was.

    Args:
        tree: The event folder.
        manifest: Open for reading.
        thorough: Read it.

    Raises:
        OSError: As the system says.
    """
    known = manifest.meta(HASH)
    found = tree.stat(NAME)
    if known is None:
        return None
    if found is None or not found.is_file:
        return "missing" if found is None else "type"
    if thorough and hashlib.sha256(tree.read(NAME, _LIMIT)).hexdigest() != known:
        return (
            "content" if manifest.meta(HASH) == known else None
        )  # else a pass has just written it
    return None


def write(tree: Tree, description: dict[str, object]) -> bool:
    """Write `event.json` if it says something new; return whether it did.

    Raises:
        StorageError: The disk said no.
    """
    text = _text(description)
    with translated(tree.name(NAME)):
        with suppress(OSError):
            if tree.read(NAME, _LIMIT) == text:
                return False
        tree.write_whole(NAME, [text], f"{PARTIAL}/{NAME}")
    return True


def settled(manifest: Manifest) -> EventSettings:
    """Return the settings that a mirror was made with, by its manifest; None each where that does not tell."""
    meta = manifest.meta
    return _sound([meta("layout"), meta("timezone"), meta("wanted")])


def described(tree: Tree) -> EventSettings:
    """Return the settings that a mirror was made with, by its `event.json`; None each where that does not tell."""
    try:
        said = json.loads(tree.read(NAME, _LIMIT))
    except (OSError, ValueError, RecursionError):  # lost, or damaged too
        said = None
    return _sound([said.get(key) for key in _SETTLED] if isinstance(said, dict) else [])


def _sound(values: Iterable[object]) -> EventSettings:
    told = zip(_SETTLED, values, strict=False)
    return sound({key: value for key, value in told if value is not None})


def named_variants(tree: Tree, layout: str) -> set[str]:
    """Return the variants of which SHA256SUMS name a file, by its path.

    Raises:
        StorageError: One cannot be read.
    """
    place = Layout.parse(layout).places()
    with translated(tree.name("")):
        found = (place.fullmatch(path) for path, _ in sums.named_lines(tree))
        return {one for match in found if match for one in match.groups() if one}
