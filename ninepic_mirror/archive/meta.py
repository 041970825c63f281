"""What `meta` may say; a manifest in which it says anything else is damaged (RELIABILITY L7). Decided without I/O.

One letter that rots there is still JSON, and SQLite finds nothing wrong. What works by it would meet the same in every
run, so it is looked at when the manifest is opened: some twenty short texts.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Final, Literal

import msgspec
from msgspec import Meta, Struct

from ninepic_mirror.config.layout import parse_layout
from ninepic_mirror.model import Variant  # noqa: TC001  msgspec reads the types

if TYPE_CHECKING:
    from collections.abc import Mapping

# In epoch seconds, to the end of the year 9999: a later one no calendar shows.
Moment = Annotated[int, Meta(ge=0, lt=253_402_300_800)]


class _Known(Struct):
    """The keys, see docs/manifest.md.

    The zone is any text: tables of zones lose names, and what is no zone's is only another one to the next pass.
    """

    event_id: int | None = None
    name: str | None = None
    slug: str | None = None
    described_as: str | None = None
    layout: str | None = None
    former_layouts: list[str] | None = None
    timezone: str | None = None
    variants: list[Variant] | None = None
    wanted: list[Variant] | None = None
    total: Annotated[int, Meta(ge=0)] | None = None
    last_whole: Moment | None = None
    adopted: bool | None = None
    restored: bool | Literal["altered"] | None = None
    timeline: bool | None = None
    agreed: bool | None = None
    forgotten_salt: Annotated[str, Meta(pattern="^[0-9a-f]{32}$")] | None = None
    leaving: dict[str, list[str]] | None = None
    # Any JSON: a pass only compares them, or does without those that make no sense (`Manifest.noted`).
    described: object = None
    undated: object = None
    hourless: object = None
    event: object = None
    named_twice: object = None
    contradictions: object = None
    trash: object = None
    balance: object = None


KEYS: Final = _Known.__struct_fields__


def nonsense(values: Mapping[str, object]) -> str | None:
    """Return what is said that cannot be, in words; None where nothing is.

    Args:
        values: By `KEYS`, of which any may be missing.
    """
    try:
        known = msgspec.convert(values, _Known)
    except msgspec.ValidationError as error:
        return f"its table meta makes no sense: {error}"
    try:
        for layout in {known.layout, *(known.former_layouts or ())} - {None}:
            parse_layout(str(layout))
    except ValueError as error:
        return f"its table meta makes no sense: a layout {error}"
    return None
