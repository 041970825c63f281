"""What a pass would do, as values and in words. No I/O."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from msgspec import Struct, field

from ninepic_mirror.cli.summary import count, duration, titled
from ninepic_mirror.progress import format_size
from ninepic_mirror.sync.planner import Known, Plan, Remote

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ninepic_mirror.config import Mirror
    from ninepic_mirror.model import Photo, Variant

USUAL: Final = 8  # requests at a time with which a pass begins (DESIGN §8)


class Local(Struct):
    """What the manifest knows; nothing when there is none.

    Args:
        photos: Photos listed so far.
        wanted: Files still to be had of the photos that are known.
        owed: Of each variant, files still to be had and files that are not in place any more.
        everything: All hours would be listed, because a variant was added.
        rate: Bytes per second of the last pass that fetched something, None when there was none.
        lost: Files that were fetched and are not in place any more.
        addresses: Some photos with their addresses.
        rebuilt: The manifest is lost: files that stand on the disk would be taken in, nobody knows yet how many.
    """

    known: Known = field(default_factory=Known)
    photos: int = 0
    wanted: int = 0
    owed: dict[Variant, int] = field(default_factory=dict)
    everything: bool = False
    rate: float | None = None
    lost: int = 0
    addresses: list[Photo] = field(default_factory=list)
    rebuilt: bool = False


class Sample(Struct):
    """What the HEADs said of one variant: sizes in bytes, seconds for each answer."""

    sizes: list[int] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)

    @property
    def mean(self) -> float | None:
        """Bytes of a file on average, None when no size was seen."""
        return sum(self.sizes) / len(self.sizes) if self.sizes else None


class Forecast(Struct):
    """What a pass over one event would do."""

    event_id: int
    name: str | None
    variants: tuple[Variant, ...]
    remote: Remote
    local: Local
    plan: Plan
    new: int
    samples: dict[Variant, Sample]

    @property
    def files(self) -> int:
        """Files that would be fetched; where the manifest is lost, at most."""
        return self.new * len(self.variants) + self.local.wanted + self.local.lost

    def size(self) -> int | None:
        """Bytes that would be fetched, None when the sample says nothing."""
        if self.unknown():
            return None
        # Each variant by its own mean: an original is as large as a thousand thumbnails.
        return round(sum(self._due(variant) * (s.mean or 0) for variant, s in self.samples.items()))

    def unknown(self) -> list[Variant]:
        """Return the variants of which files would be fetched and no size was seen."""
        return [v for v, sample in self.samples.items() if self._due(v) and sample.mean is None]

    def _due(self, variant: Variant) -> int:
        return self.new + self.local.owed.get(variant, 0)

    def seconds(self, connections: int) -> tuple[float, str] | None:
        """Return how long it would take, and from what that is estimated; None when nothing tells."""
        size = self.size()
        if size is not None and self.local.rate:
            return size / self.local.rate, "at the rate of the last pass that fetched something"
        answers = [second for sample in self.samples.values() for second in sample.seconds]
        if not answers:
            return None
        width = min(USUAL, connections)
        text = f"at least: from the answer times of the sample, {width} at a time; the line's speed is not known"
        return self.files * sum(answers) / len(answers) / width, text

    def lines(self, settings: Mirror) -> Iterator[str]:
        """Yield what it comes to, for people."""
        remote, local = self.remote, self.local
        # With the timeline off every photo is undated, and saying so would frighten for nothing.
        dated = remote.hours is not None and remote.undated
        undated = f", {remote.undated:,} of them undated" if dated else ""
        yield f"{titled(self.name, self.event_id)}: dry run, nothing is changed"
        there = f"{count(remote.total, 'photo')}{undated}"
        yield f"  the service has {there}; known here: {local.photos:,}; new: {self.new:,}"
        yield f"  to be listed: {self._listings()}"
        pending = f"{local.wanted:,} of them pending from earlier"
        pending += f", {local.lost:,} missing from the disk" if local.lost else ""
        if local.rebuilt:
            yield "  the manifest is lost: it is rebuilt, and the files that stand on the disk whole are taken in, not fetched"
            yield f"  to be fetched: at most {count(self.files, 'file')}, less those taken in; for all of them:"
        else:
            yield f"  to be fetched: {count(self.files, 'file')}, {pending}"
        if self.files:
            yield from self._estimates(settings)

    def _listings(self) -> str:
        words = [count(len(self.plan.hours), "hour")] if self.plan.hours else []
        words += ["the undated photos"] if self.plan.undated else []
        words += ["the whole event"] if self.plan.event else []
        return ", ".join(words) or "nothing"

    def _estimates(self, settings: Mirror) -> Iterator[str]:
        size, estimate = self.size(), self.seconds(settings.connections)
        if size is None:
            lacking = " or ".join(self.unknown())
            yield f"  their size cannot be estimated: no sample could be had of {lacking}"
            return
        heads = sum(len(sample.sizes) for sample in self.samples.values())
        yield f"  about {format_size(size)}, from the sizes of {count(heads, 'sampled file')}"
        if estimate is not None:
            yield f"  about {duration(estimate[0])} ({estimate[1]})"

    def as_json(self, settings: Mirror) -> dict[str, object]:
        """Return what `sync --dry-run --json` prints for one event."""
        estimate = self.seconds(settings.connections)
        return {
            "event_id": self.event_id,
            "name": self.name,
            "dry_run": True,
            "photos": self.remote.total,
            "undated": self.remote.undated,
            "known": self.local.photos,
            "new": self.new,
            "hours_to_list": len(self.plan.hours),
            "files_to_fetch": self.files,
            "pending": self.local.wanted,
            "lost": self.local.lost,
            "manifest_lost": self.local.rebuilt,
            "estimated_bytes": self.size(),
            "estimated_seconds": None if estimate is None else round(estimate[0], 1),
            "estimated_from": None if estimate is None else estimate[1],
            "sample": {
                variant: {"files": len(sample.sizes), "bytes": sum(sample.sizes)}
                for variant, sample in self.samples.items()
            },
        }
