"""The balance sheet of a pass (DESIGN §6.8) and what `sync --json` prints of it (DESIGN §3)."""

from __future__ import annotations

from msgspec import Struct, field


class Failure(Struct, frozen=True):
    """What could not be had: one file, or, without an id, a part of the listing."""

    image_id: str | None
    variant: str | None
    error: str

    def as_json(self) -> dict[str, str | None]:
        """Return it as `sync --json` prints it."""
        return {"image_id": self.image_id, "variant": self.variant, "error": self.error}


class PassReport(Struct):
    """How a pass ended; the fields are those of `sync --json`.

    Args:
        whole: Every photo of the remote listing is present in every configured variant; all of `scope` where there is one.
        scope: What was asked for, `day` and `variants`, each None for all; None: the whole event.
        stopped_removal: Photos that left the listing but are kept, because they are too many at once.
        missing: Files that are still to be had, failed ones included.
        total: Photos that the service reports, None when it was not asked any more.
        nameless: Photos of the listing that cannot be had because their row has no usable id.
        stopped: The operator ended the pass before everything was listed.
    """

    event_id: int
    name: str | None
    folder: str = ""
    whole: bool = False
    scope: dict[str, object] | None = None
    photos: int = 0
    undated: int = 0
    downloaded: int = 0
    present: int = 0
    linked: int = 0
    moved: int = 0
    gone: int = 0
    failed: int = 0
    missing: int = 0
    total: int | None = None
    nameless: int = 0
    stopped: bool = False
    stopped_removal: int = 0
    bytes_downloaded: int = 0
    api_requests: int = 0
    photo_requests: int = 0
    retries: int = 0
    seconds: float = 0.0
    resized: int = 0
    repeated: int = 0
    failures: list[Failure] = field(default_factory=list)

    def as_json(self) -> dict[str, object]:
        """Return the object that `sync --json` prints for one event."""
        return {
            "event_id": self.event_id,
            "name": self.name,
            "whole": self.whole,
            "scope": self.scope,
            "photos": self.photos,
            "undated": self.undated,
            "files": {
                "downloaded": self.downloaded,
                "present": self.present,
                "linked": self.linked,
                "moved": self.moved,
                "gone": self.gone,
                "failed": self.failed,
            },
            "bytes_downloaded": self.bytes_downloaded,
            "requests": {"api": self.api_requests, "photos": self.photo_requests},
            "retries": self.retries,
            "seconds": round(self.seconds, 3),
            "failures": [failure.as_json() for failure in self.failures],
        }
