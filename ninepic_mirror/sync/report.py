"""The balance sheet of a pass (DESIGN §6.8) and what `sync --json` prints of it (DESIGN §3)."""

from __future__ import annotations

from typing import Final

from msgspec import Struct, field, structs

LISTED: Final = (
    10_000  # of a kind that a report names: memory is flat; each is told in a line of the log
)


KEPT: Final = 100  # failed files that the manifest keeps of a report: its `files` name all


class Failure(Struct, frozen=True):
    """What could not be had: one file, or, without an id, a part of the listing."""

    image_id: str | None
    variant: str | None
    error: str

    def as_json(self) -> dict[str, str | None]:
        """Return it as `sync --json` prints it."""
        return {"image_id": self.image_id, "variant": self.variant, "error": self.error}


class Replaced(Struct, frozen=True):
    """A photo that another one has taken the place of, under the same id; hashes are SHA-256."""

    image_id: str
    variant: str
    before: str
    after: str


class Recheck(Struct):
    """What `sync --recheck` found; numbers are files.

    Args:
        ended: Every file that can be was asked for.
        unchanged: The origin says that they are what they were.
        same: They came again, and are what they were.
        replaced: They were replaced.
        failed: The origin did not tell, or could not be asked; the files here are kept.
        unasked: Of these, those that have no address to ask at.
        replacements: The first of those that were replaced.
        failures: The first of those that failed.
    """

    ended: bool = False
    unchanged: int = 0
    same: int = 0
    replaced: int = 0
    failed: int = 0
    unasked: int = 0
    replacements: list[Replaced] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)

    @property
    def complete(self) -> bool:
        """Whether every file was asked for."""
        return self.ended and not self.unasked

    @property
    def asked(self) -> int:
        """How many files were asked for."""
        return self.unchanged + self.same + self.replaced + self.failed - self.unasked

    def note_replaced(self, one: Replaced) -> None:
        """Count a replaced photo, and keep it as long as there is room."""
        self.replaced += 1
        if len(self.replacements) < LISTED:
            self.replacements.append(one)

    def note_failed(self, one: Failure) -> None:
        """Count a failure, and keep it as long as there is room."""
        self.failed += 1
        if len(self.failures) < LISTED:
            self.failures.append(one)

    def note_unasked(self, image_id: str, variant: str) -> None:
        """Count a file that could not be asked for."""
        self.unasked += 1
        text = (
            "recheck: no address to ask at is known; the file here is kept."
            " Run sync --recheck again; as long as the service lists none, it cannot be told whether it was replaced"
        )
        self.note_failed(Failure(image_id, variant, text))

    def as_json(self) -> dict[str, object]:
        """Return the object that `sync --recheck --json` prints; its failures stand among those of the pass."""
        return {
            "complete": self.complete,
            "asked": self.asked,
            "unchanged": self.unchanged,
            "same": self.same,
            "replaced": self.replaced,
            "failed": self.failed,
            "replacements": [structs.asdict(one) for one in self.replacements],
        }


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
        forgotten: Photos that are never to be had again; those that are listed count among `photos`.
        recheck: What `--recheck` found, None where it was not asked for.
        lost: Path and SHA-256 of what SHA256SUMS alone told of, and which is not here; for `verify`, not printed as JSON.
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
    forgotten: int = 0
    recheck: Recheck | None = None
    failures: list[Failure] = field(default_factory=list)
    lost: list[tuple[str, str]] = field(default_factory=list)

    @property
    def is_good(self) -> bool:
        """Whether nothing of what was asked for is lacking."""
        return self.whole and not (self.recheck and self.recheck.failed)

    def as_kept(self) -> dict[str, object]:
        """Return what the manifest keeps of it: the first failed files only, and all that was doubtful."""
        every = self._failures()
        kept = [one for one in every if one.image_id is None]
        return self._json([*kept, *[one for one in every if one.image_id is not None][:KEPT]])

    def as_json(self) -> dict[str, object]:
        """Return the object that `sync --json` prints for one event."""
        return self._json(self._failures())

    def _failures(self) -> list[Failure]:
        return [*self.failures, *(self.recheck.failures if self.recheck else ())]

    def _json(self, failures: list[Failure]) -> dict[str, object]:
        return {
            "event_id": self.event_id,
            "name": self.name,
            "whole": self.whole,
            "scope": self.scope,
            "photos": self.photos,
            "undated": self.undated,
            "forgotten": self.forgotten,
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
            "recheck": self.recheck.as_json() if self.recheck else None,
            "failures": [failure.as_json() for failure in failures],
        }
