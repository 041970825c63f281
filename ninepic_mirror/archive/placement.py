"""Where a photo stands: names, folders and hours, decided without I/O (DESIGN §5, §6).

Why two photos never meet under one path: a safe name is either the id itself or holds `~` and a
hash of it, so different ids have different names, all of lower-case ASCII. In a component every
placeholder stands at most once (`config.layout`), and what `{date}`, `{hour}` and `{variant}`
become is neither the beginning nor the end of another thing that they can become. So a component
can be read from its left end up to the id and from its right end down to it, and a path tells its
variant and its id. A property test tries to prove this wrong.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from msgspec import Struct

from ninepic_mirror.config.layout import DEVICES, FORMS, OWN_NAMES, parse_layout
from ninepic_mirror.model import HOUR, Window

if TYPE_CHECKING:
    from zoneinfo import ZoneInfo

    from ninepic_mirror.model import Variant

UNDATED: Final = "undated"
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_KEPT: Final = re.compile(r"[0-9a-z][0-9a-z_-]{0,63}")  # DESIGN §5, Names
# Ours too: a folder named by such an id would be SHA256SUMS to exFAT and APFS.
_RESERVED: Final = DEVICES | OWN_NAMES
_PREFIX: Final = 32  # characters that a person needs to recognise an id
_DIGITS: Final = 24  # 96 bits: a chance of 1 in 10^17 that two of a million odd ids meet


def safe_name(raw: str) -> str:
    """Return the name under which an id or slug is stored.

    Kept when it is harmless everywhere, else a readable prefix, `~` and a hash of the raw value.
    Stateless, so that two mirrors agree; at most 64 bytes; unique without regard to case and
    Unicode form, because all of it is lower-case ASCII and only hashed names hold `~`.

    Args:
        raw: As the service gave it: any string, lone surrogates included.
    """
    if _KEPT.fullmatch(raw) and raw not in _RESERVED:
        return raw
    plain = unicodedata.normalize("NFKD", raw[:_PREFIX]).encode("ascii", "ignore").decode().lower()
    prefix = re.sub(r"[^0-9a-z]+", "-", plain)[:_PREFIX].strip("-")
    digest = hashlib.sha256(raw.encode("utf-8", "surrogatepass")).hexdigest()[:_DIGITS]
    # "x": a name that begins with "~" would be a home folder to a shell.
    return f"{prefix or 'x'}~{digest}"


def event_folder(event_id: int, slug: str | None) -> str:
    """Return the name that an event's folder gets at first sight, such as `456-marathon-2026`."""
    return f"{event_id}-{safe_name(slug)}" if slug else str(event_id)


def is_folder_of(name: str, event_id: int) -> bool:
    """Say whether a folder of this name belongs to the event, whatever its slug was."""
    return name == str(event_id) or name.startswith(f"{event_id}-")


def top_folder(path: str) -> str:
    """Return the first folder of a path; empty when the file stands directly in the event's."""
    return path.partition("/")[0] if "/" in path else ""


class Layout(Struct, frozen=True):
    """A layout template, ready to be filled in.

    Args:
        dated: For every component its literals and placeholders.
        undated: The same for a photo in no window, `{date}` and `{hour}` already replaced.
    """

    dated: tuple[tuple[str, ...], ...]
    undated: tuple[tuple[str, ...], ...]

    @classmethod
    def parse(cls, template: str) -> Layout:
        """Check a template and take it apart.

        `{ext}` stands at the end or is left out; a file has its extension either way.

        Raises:
            ValueError: The template is unsafe; the text completes "the layout …".
        """
        components = parse_layout(template)
        return cls(components, tuple(_undate(components)))

    def uses_time(self) -> bool:
        """Say whether a path depends on when its photo was taken; if not, hours need no cutting."""
        return self.dated != self.undated

    def stem(self, taken: int | None, zone: ZoneInfo, variant: Variant, image_id: str) -> str:
        """Return a photo's path in the event folder, with `/`, without its extension.

        Args:
            taken: Epoch seconds at which the photo's window starts, None for an undated one.
            zone: The zone whose days and hours the folders name.
            variant: The variant.
            image_id: As the service gave it.

        Raises:
            OverflowError: `taken` lies outside the years 1 to 9999.
        """
        values = {"{variant}": variant, "{image_id}": safe_name(image_id)}
        if taken is not None:
            values["{date}"], values["{hour}"] = _date_and_hour(zone, taken)
        # Plain joining: str.format would let `{image_id.__class__}` through, and this is no slower.
        components = self.undated if taken is None else self.dated
        return "/".join(
            "".join(values.get(token, token) for token in component) for component in components
        )

    def whose(self, stem: str) -> tuple[str, str] | None:
        """Return the variant, and the name (`safe_name`) of the photo, whose place this is, in whatever hour.

        Args:
            stem: A path without its extension.

        Returns:
            None where it is no place of this layout.
        """
        for components in (self.dated, self.undated):
            if found := _reader(components).fullmatch(stem):
                return found["variant"], found["image_id"]
        return None

    def places(self) -> re.Pattern[str]:
        """Return an expression for every path of a photo, with whatever extension; its groups are variants."""
        forms = FORMS | {"{variant}": f"({FORMS['{variant}']})"}
        paths = [
            "/".join(
                "".join(forms.get(token, re.escape(token)) for token in component)
                for component in components
            )
            for components in (self.dated, self.undated)
        ]
        return re.compile(rf"(?:{'|'.join(paths)})(?:\.[^/]*)?", re.ASCII)


def _undate(components: tuple[tuple[str, ...], ...]) -> list[tuple[str, ...]]:
    """Return the components for an undated photo.

    `{hour}` alone is dropped only where a component above already says `undated`: everywhere else a
    file of the undated could meet a folder of the dated.
    """
    kept: list[tuple[str, ...]] = []
    above = False  # whether a component so far says `undated`
    for component in components:
        tells_photo = "{variant}" in component or "{image_id}" in component
        if {"{date}", "{hour}"} <= set(component) and not tells_photo:
            kept.append((UNDATED,))  # not undated-undated
        elif "{hour}" not in component or tells_photo or not above:
            kept.append(
                tuple(UNDATED if token in {"{date}", "{hour}"} else token for token in component)
            )
        above = above or "{date}" in component
    return kept


@lru_cache(maxsize=64)
def _reader(components: tuple[tuple[str, ...], ...]) -> re.Pattern[str]:
    """Return an expression for a path without its extension; what a placeholder became stands in its group."""
    seen: set[str] = set()

    def form(token: str) -> str:
        if token not in FORMS:
            return re.escape(token)
        name = token.strip("{}")
        if token in seen:
            return f"(?P={name})"
        seen.add(token)
        return f"(?P<{name}>{FORMS[token]})"

    path = "/".join("".join(map(form, component)) for component in components)
    return re.compile(path, re.ASCII)


@lru_cache(maxsize=256)  # photos come window by window
def _date_and_hour(zone: ZoneInfo, taken: int) -> tuple[str, str]:
    local = local_time(zone, taken)
    return local.date().isoformat(), f"{local.hour:02}"


def local_time(zone: ZoneInfo, moment: int) -> datetime:
    """Return an instant in epoch seconds as a clock in the zone shows it."""
    there = _EPOCH + timedelta(seconds=moment)
    try:
        return there.astimezone(zone)
    except OverflowError:
        # The first and last hours that datetime knows have no local time in some zones.
        return there


def cut(zone: ZoneInfo, hour: int) -> int:
    """Return how many seconds after the start of a UTC hour the local hour changes.

    0 where the offset, as it is at the hour's start, is whole hours; 1800 in Kolkata, 900 in
    Kathmandu. Where a zone changes its offset within the hour, it does so at this very edge (Lord
    Howe) or, long ago, at odd moments: a part is always named by its start.
    """
    offset = local_time(zone, hour).utcoffset() or timedelta()
    return -round(offset.total_seconds()) % HOUR


def parts(zone: ZoneInfo, hour: int) -> tuple[Window, ...]:
    """Return the one or two windows of `[hour, hour+3600)`, each within one local hour."""
    edge = cut(zone, hour)
    if not edge:
        return (Window(hour, hour + HOUR),)
    return Window(hour, hour + edge), Window(hour + edge, hour + HOUR)
