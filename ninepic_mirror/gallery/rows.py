"""What a gallery shows."""

from __future__ import annotations

from collections.abc import Sequence  # noqa: TC003  msgspec reads the annotations when it runs

import msgspec


class Picture(msgspec.Struct, frozen=True, gc=False):
    """One photo of a gallery.

    Args:
        image_id: As the service gave it: any text.
        name: What a person sees under it, a file name without folder.
        day: `2026-01-19`, in the gallery's zone; None where undated.
        hour: `06`; None where undated, or where only the day is known.
        photographer: None where unknown.
        width: In pixels, None where unknown; the same holds for `height`.
        height: The proportions count, not which variant they are of.
        thumbnail: A path relative to the page, with `/`, not encoded; so are the other two. None where it could not be
            made: a placeholder stands for it.
        large: None where the package does not hold it.
        original: None where the package does not hold it.
    """

    image_id: str
    name: str
    day: str | None
    hour: str | None
    photographer: str | None
    width: int | None
    height: int | None
    thumbnail: str | None
    large: str | None
    original: str | None


class Gallery(msgspec.Struct, frozen=True):
    """Everything that the pages say.

    Args:
        title: The event's name.
        organisation: None where unknown.
        zone: The time zone of days and hours, such as `Asia/Kolkata`.
        made_at: A local date, for people.
        missing: How many photos are not in the package, or not in every variant, and should be.
        pictures: In the order to show within their hour; hours come in order of time, undated photos last.
        note: What else there is to say, such as that only new photos are here.
        doubts: Why more photos may be missing than those that are counted.
    """

    title: str
    organisation: str | None
    zone: str
    made_at: str
    missing: int
    pictures: Sequence[Picture]
    note: str | None
    doubts: Sequence[str] = ()
