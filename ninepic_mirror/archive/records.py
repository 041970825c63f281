"""The values that the manifest's two sides and the pass exchange. No I/O."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct

if TYPE_CHECKING:
    from ninepic_mirror.model import Known, Variant, Window


class Listing(Struct, frozen=True):
    """What is read page by page: a window, the undated tail, or the whole event.

    Args:
        hour: The UTC hour that the window belongs to, None for a listing by `/images`.
        window: The window, a whole hour or a part of it; None likewise.
        offset: Rows of `/images` before the first that counts: 0 for the whole event.
    """

    hour: int | None = None
    window: Window | None = None
    offset: int = 0


class Hour(Struct, frozen=True, gc=False):
    """What the manifest knows of one UTC hour; the fields are those of the table `hours`."""

    reported: int
    listed: int
    repeated: int
    cut: int


class Job(Struct, frozen=True, gc=False):
    """One file to be had.

    Args:
        taken: Start of the smallest window that named the photo, None when undated.
        url: Where it is, as the listing gave it; None when only `held` can be tried.
        width: Of the photo, by the API, in pixels.
        height: Likewise.
        held: Where its bytes may already stand (relative path), with `sha256` once recorded.
        sha256: The hash that `held` must have.
        known: The file is here, at `held`, and wanted only if its photo was replaced.
        doubted: Nothing that stands here is taken for it, not even at `held`.
    """

    image_id: str
    variant: Variant
    taken: int | None
    url: str | None
    width: int | None = None
    height: int | None = None
    held: str | None = None
    sha256: str | None = None
    known: Known | None = None
    doubted: bool = False

    def elsewhere(self, stem: str) -> str | None:
        """Return where its bytes may already stand, if that is not the place where it belongs.

        Args:
            stem: That place, without its extension.
        """
        return None if self.held is None or self.held.startswith(f"{stem}.") else self.held
