"""Photos, files and rows for the tests of `delivery`."""

from __future__ import annotations

from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from ninepic_mirror.archive.placement import local_time
from ninepic_mirror.delivery.catalogue import Camera, Delivery, File, Shot
from tests.shelf import SIX

if TYPE_CHECKING:
    from ninepic_mirror.model import Variant

KOLKATA = ZoneInfo("Asia/Kolkata")


def file(image_id: str, variant: Variant = "large", size: int = 100, ending: str = "jpg") -> File:
    """Return a file in the usual layout."""
    path = f"2026-01-19/06/{variant}/{image_id}.{ending}"
    return File(
        image_id, variant, path, size, f"{image_id}-{variant}".encode().hex().ljust(64, "0")
    )


def shot(
    image_id: str,
    *files: File,
    taken: int | None = SIX,
    by: str | None = None,
    at: str | None = None,
    lacking: dict[str, str] | None = None,
) -> Shot:
    """Return a photo; without files it has a large."""
    local = None if taken is None else local_time(ZoneInfo("UTC"), taken)
    return Shot(
        image_id, taken, None if local is None else local.date().isoformat(),
        None if local is None else f"{local.hour:02}", 4, 3, files or (file(image_id),), lacking or {},
        Camera(by, at) if by or at else None,
    )  # fmt: skip


def delivery(bag_id: str, *predecessors: str, run: str = "", label: str | None = None) -> Delivery:
    """Return a package that was made."""
    return Delivery(bag_id, predecessors, f"/media/{bag_id}", 1, 2, 4, 400, run or bag_id, label)
