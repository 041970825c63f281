"""An event folder with its manifest, for the tests of `archive`: real files, real SQLite."""

from __future__ import annotations

import hashlib
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal
from zoneinfo import ZoneInfo

import xxhash

from ninepic_mirror.archive import reconcile
from ninepic_mirror.archive import trash as trash_days
from ninepic_mirror.archive.content import content_of
from ninepic_mirror.archive.files import Tree
from ninepic_mirror.archive.holdings import Holdings
from ninepic_mirror.archive.listings import Listings
from ninepic_mirror.archive.manifest import Manifest
from ninepic_mirror.archive.partial import Partial, sweep
from ninepic_mirror.archive.placement import Layout
from ninepic_mirror.archive.records import Job, Listing
from ninepic_mirror.archive.root import MARKER, OWN_FOLDER, Root
from ninepic_mirror.archive.store import Fetched, Ready, Store
from ninepic_mirror.archive.strays import known_layouts
from ninepic_mirror.config import DEFAULT_LAYOUT
from ninepic_mirror.model import HOUR, Photo, Variant, Window

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

SIX = 1_768_802_400  # 2026-01-19T06:00:00Z
DAY = "2026-01-19/06"  # its folder
VARIANTS: tuple[Variant, ...] = ("thumbnail", "large")


def jpeg(text: str = "", size: int = 0) -> bytes:
    """Return a small whole JPEG; a different one for each text.

    Args:
        text: Stands in a comment.
        size: Bytes of its scan.
    """
    comment = text.encode("utf-8", "surrogatepass")
    return b"".join((
        b"\xff\xd8\xff\xfe", (len(comment) + 2).to_bytes(2), comment,
        b"\xff\xc0\x00\x0b\x08\x00\x03\x00\x04\x01\x01\x11\x00",  # SOF: 4 by 3 pixels
        b"\xff\xda\x00\x08\x01\x01\x00\x00\x3f\x00", b"\x5a" * size, b"\xff\x00\x12\xff\xd3\x34\xff\xd9",
    ))  # fmt: skip


def sha256(data: bytes) -> str:
    """Return the hash as rows have it."""
    return hashlib.sha256(data).hexdigest()


def photo(image_id: str, query: str = "") -> Photo:
    """Return a row of a listing."""
    address = f"https://photos.example/456/{image_id}"
    return Photo(image_id, f"{address}/large.jpg{query}", f"{address}/small.jpg{query}", None, 4, 3)


def window(start: int) -> Listing:
    """Return the listing of one whole hour."""
    return Listing(start, Window(start, start + HOUR))


@dataclass
class Shelf:
    """One event folder and all that works on it, as in a pass.

    Args:
        layout: Of the folder, from the next `store` on.
        number: Of the pass; `next_pass` counts on.
        uptime: Seconds since the machine was started; `purge` counts on.
        notes: What `purge` told.
    """

    root: Root
    tree: Tree
    manifest: Manifest
    layout: str = DEFAULT_LAYOUT
    duplicates: Literal["hardlink", "copy"] = "hardlink"
    min_free: int = 0
    number: int = 1
    uptime: float = 0.0
    notes: list[str] = field(default_factory=list)

    def next_pass(self) -> None:
        """Begin another pass: new objects on the same files."""
        self.number += 1
        self.manifest.change("DROP TABLE IF EXISTS temp.seen")
        self.manifest.change("DROP TABLE IF EXISTS temp.strays")
        self.__post_init__()

    def __post_init__(self) -> None:
        self.holdings = Holdings(self.manifest, self.number)
        self.listings = Listings(self.manifest, self.number, VARIANTS)

    @property
    def store(self) -> Store:
        """Places files by the present settings."""
        layout = Layout.parse(self.layout)
        return Store(self.tree, self.root, layout, ZoneInfo("UTC"), self.duplicates, self.min_free)

    @property
    def folder(self) -> Path:
        """The event folder."""
        return self.tree.root

    def read(self, listing: Listing, photos: Sequence[Photo], *, prove: bool = True) -> list[Job]:
        """Record a listing of one page as read whole."""
        reading = self.listings.next_reading()
        recorded = self.listings.record(listing, reading, 0, photos)
        if prove:
            self.listings.prove(listing, reading)
        return list(recorded.jobs)

    def fetched(self, job: Job, body: bytes) -> Ready:
        """Write a body into `partial/`, as a download does."""
        file = Partial(self.tree, job.image_id, job.variant)
        file.restart()
        file.write(body)
        return Ready(job, file.path, file.finish(None))

    def settle(self, batch: Sequence[Ready]) -> list[str]:
        """Place a batch and record it; return the places."""
        equal = {
            one.digest.sha256: self.holdings.equal(
                one.digest.xxh3_128, one.digest.size, one.digest.sha256
            )
            for one in batch
        }
        placed = self.store.settle(batch, equal)
        self.holdings.commit(placed, [])
        return [one.path for one in placed]

    def have(self, listing: Listing, *ids: str, body: bytes | None = None) -> list[str]:
        """List photos and have their files, each with bytes of its own unless `body` is given."""
        jobs = self.read(listing, [photo(image_id) for image_id in ids])
        ready = [self.fetched(job, body or jpeg(f"{job.variant} {job.image_id}")) for job in jobs]
        return self.settle(ready)

    def purge(self, keep: int, *, seen_before: float = 0, left: bool = True) -> int:
        """Purge the trash as a full pass does, some seconds after the last one; return how many days went."""
        self.uptime += seen_before
        moment = trash_days.Moment("a start", self.uptime, 0, None)
        store = self.store
        ages = trash_days.Ages(self.manifest, store.day, moment)
        layouts = known_layouts(self.manifest, self.tree, self.layout)
        terms = reconcile.Terms(keep, left, layouts)
        purged = reconcile.purge_trash(self.holdings, store, terms, ages, self.notes.append)
        ages.record()
        return purged

    def rows(self) -> dict[tuple[str, str], tuple[str, str | None]]:
        """Return state and path of every file row."""
        found = self.manifest.rows("SELECT image_id, variant, state, path FROM files")
        return {(str(a), str(b)): (str(c), None if d is None else str(d)) for a, b, c, d in found}

    def files(self, below: str = "") -> set[str]:
        """Return every file of the folder outside our own, or in a part of it."""
        start = self.folder / below
        return {
            path.relative_to(self.folder).as_posix()
            for path in start.rglob("*")
            if path.is_file() and (below or ".ninepic-mirror" not in path.parts)
        }

    def check(self) -> None:
        """Assert that every row that says `present` is true (DESIGN §7)."""
        for path, size, xxh3, digest in self.manifest.rows(
            "SELECT path, size, xxh3_128, sha256 FROM files WHERE state = 'present'"
        ):
            data = (self.folder / str(path)).read_bytes()
            assert (len(data), xxhash.xxh3_128_hexdigest(data), sha256(data)) == (
                size, xxh3, digest,
            )  # fmt: skip


@contextmanager
def open_shelf(path: Path) -> Iterator[Shelf]:
    """Make a mirror root with one event folder and open everything of it."""
    # made by hand and not durable: the syncs have tests of their own, and these are many
    folder = path / "456-marathon"
    (folder / OWN_FOLDER).mkdir(parents=True)
    (path / MARKER).write_text("{}")
    root = Root(path)
    root.prepare(make=False)
    with (
        Tree(folder, durable=False) as tree,
        Manifest.open(root.manifest_path(folder), durable=False) as manifest,
    ):
        sweep(tree)
        yield Shelf(root, tree, manifest)


def jobs_of(shelf: Shelf, *ids: str) -> dict[str, Job]:
    """List photos and return the jobs of their large files."""
    jobs = shelf.read(window(SIX), [photo(image_id) for image_id in ids])
    return {job.image_id: job for job in jobs if job.variant == "large"}


def trash(shelf: Shelf) -> list[bytes]:
    """Return what every file in the trash holds."""
    place = shelf.folder / ".ninepic-mirror/trash"
    return sorted(path.read_bytes() for path in place.rglob("*") if path.is_file())


def came(job: Job, body: bytes, modified: float | None = None) -> Fetched:
    """Return a body as a download hands it on that came whole."""
    content = content_of(body, job.variant)
    return Fetched(job, memoryview(body), content, '"one"', "a date", modified)


def in_memory(shelf: Shelf, job: Job, body: bytes, modified: float | None = None) -> Ready:
    """Write a body that came whole, as the pipeline does."""
    (ready,) = shelf.store.write([came(job, body, modified)])
    return ready
