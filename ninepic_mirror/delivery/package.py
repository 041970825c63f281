"""One package from its first byte to its name.

    for each volume
        1. its photos, hashed while they are copied; what an interrupted run has written whole is kept; what cameras wrote
           is read on the way
        2. thumbnails that the package has not yet
        3. lists, gallery, checker; last the manifest of all of these
    4. everything to the disk; a look whether a photo of it was forgotten meanwhile
    5. the rename: from now on it stands there, whole

Nothing that looks like a package stands at the final place before 5.
"""

from __future__ import annotations

import os
from hashlib import sha256
from itertools import islice
from typing import TYPE_CHECKING, Final, Literal, Protocol, Self

from msgspec import Struct, field, structs

from ninepic_mirror.archive.verify import Stopped
from ninepic_mirror.delivery import artists, bag, tags, thumbnails
from ninepic_mirror.delivery.catalogue import Camera, File, with_camera
from ninepic_mirror.delivery.folder import Folder
from ninepic_mirror.delivery.limits import Load
from ninepic_mirror.delivery.plan import MADE_THUMBNAIL, Entry, stem_of, volume_name
from ninepic_mirror.delivery.target import MARKER, keep_only, writing
from ninepic_mirror.delivery.zipped import Zip

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator, Sequence

    from ninepic_mirror.archive.files import Tree
    from ninepic_mirror.delivery.plan import Item
    from ninepic_mirror.delivery.selection import Lack
    from ninepic_mirror.delivery.source import Source
    from ninepic_mirror.delivery.tags import Facts
    from ninepic_mirror.delivery.target import Target

Form = Literal["folder", "zip"]
EVERYTHING: Final = "photos"  # the contents of a package that is no part of the event

_GROUP: Final = 256  # files copied between two words to the progress bar
_BYTES: Final = 64 << 20  # bytes likewise
_FIXED: Final = (
    128 << 10
)  # bytes of a volume's tag files, beside what each photo adds and the gallery's own


class Package(Struct):
    """What is to be made.

    Args:
        volumes: The photos of each; as they were delivered, once they are.
        contents: What part of the event this is, a sentence.
        label: The photographer or day that it is for, None: not split.
        lacking: What was to go in and is not in the mirror.
        made_at: For people, in the event's zone, such as "2026-01-20 14:05".
        cameras: What was read of them while it was made, with the file that it is kept for.
    """

    bag_id: str
    facts: Facts
    volumes: list[list[Item]]
    contents: str
    form: Form
    made_at: str
    predecessors: tuple[str, ...] = ()
    label: str | None = None
    lacking: tuple[Lack, ...] = ()
    link: bool = False
    cameras: list[tuple[File, Camera]] = field(default_factory=list)

    @property
    def photos(self) -> int:
        """How many there are."""
        return sum(map(len, self.volumes))

    @property
    def files(self) -> list[File]:
        """Every photo file."""
        return [entry.file for items in self.volumes for item in items for entry in item.entries]

    @property
    def bytes(self) -> int:
        """Of all photo files."""
        return sum(file.size for file in self.files)


class Sink(Protocol):
    """A bag under way: a `Folder` or a `Zip`."""

    def __enter__(self) -> Self:
        """Begin."""
        ...

    def __exit__(self, *exception: object) -> None:
        """End, whole or not."""
        ...

    def put(self, entries: Sequence[Entry]) -> list[File]:
        """Write photos."""
        ...

    def each(self, work: Callable[[int], object], count: int) -> None:
        """Do something several times."""
        ...

    def write(self, path: str, data: bytes, modified: float | None = None) -> None:
        """Write a file of our own."""
        ...

    def kept(self, path: str, sha256: str) -> bytes | None:
        """Return a thumbnail that an interrupted run has made of a photo."""
        ...

    def close(self) -> None:
        """Finish."""
        ...


def load(package: Package, place: str) -> Load:
    """Return what a package will weigh, for `limits`."""
    sizes: dict[str, int] = {}
    spare = 0
    for number, items in enumerate(package.volumes, 1):
        top = (
            volume_name(number, len(package.volumes), "v") + "/" if len(package.volumes) > 1 else ""
        )
        for item in items:
            sizes |= {top + entry.target: entry.file.size for entry in item.entries}
            beside = item.source.size if item.source is not None else 0
            beside = MADE_THUMBNAIL if item.is_thumbnail_made else beside
            if beside:
                sizes[top + item.thumbnail] = beside
            spare += item.room - item.size - beside
        spare += overhead(package.facts)
    zipped = None
    if package.form == "zip":
        zipped = {
            name: sum(item.room for item in items) + overhead(package.facts)
            for name, items in zip(names(package, place), package.volumes, strict=True)
        }
        spare = 0
    return Load(place, sizes, spare, package.link, zipped)


def overhead(facts: Facts) -> int:
    """Return the most bytes that a volume takes beside its photos."""
    return (
        _FIXED
        + 6 * len(facts.title)
        + len(tags.checker())
        + sum(map(len, tags.gallery(facts, [], frozenset(), tags.About("")).values()))
    )


def names(package: Package, name: str) -> list[str]:
    """Return where each volume stands: the package itself, or files and folders in it."""
    suffix = ".zip" if package.form == "zip" else ""
    count = len(package.volumes)
    if count == 1:
        return [name]
    return [f"{name}/{volume_name(n, count, name)}{suffix}" for n in range(1, count + 1)]


def build(
    package: Package, source: Source, target: Target, vet: Callable[[], None]
) -> Generator[tuple[int, int], None, None]:
    """Make a package. Each step blocks for a while; the last one gives it its name.

    Args:
        package: What is to be made.
        source: The mirror.
        target: Where.
        vet: Called when all of it is on the disk, before it gets its name; raises where it must not get it.

    Yields:
        How many photo files, and how many bytes of them, were written.

    Raises:
        DamagedError: A file of the mirror is not what was recorded.
        ChangedError: One left the mirror meanwhile.
        StorageError: A disk said no, or the destination vanished.
        Stopped: The run is to end.
    """
    places = names(package, target.place.name)
    with target.building() as tree:
        with writing(str(target.partial)):
            keep_only(tree, target.place.name, _planned(package, places))
            for name, _ in list(tree.entries("")):
                if name not in {target.place.name, MARKER}:
                    keep_only(tree, name, ())
        for number, place in enumerate(places, 1):
            for done in _Volume(package, number, place, source, tree).steps():
                target.check()
                yield done
        target.settle(tree)
        vet()
        target.finish()


def _planned(package: Package, places: Sequence[str]) -> set[str]:
    if package.form == "zip":
        return set(places)
    return {
        f"{place}/{path}"
        for place, items in zip(places, package.volumes, strict=True)
        for item in items
        for path in (item.thumbnail, *(entry.target for entry in item.entries))
    }


class _Volume:
    """One volume under way."""

    def __init__(
        self, package: Package, number: int, place: str, source: Source, tree: Tree
    ) -> None:
        self._package, self._number, self._place = package, number, place
        self._source, self._tree = source, tree
        self._items = package.volumes[number - 1]
        self._hashes: dict[str, str] = {}  # of tag files that are no texts
        self._lost: set[str] = set()  # thumbnails that could not be made

    def _sink(self) -> Sink:
        if self._package.form == "folder":
            return Folder(self._source, self._tree, self._place, link=self._package.link)
        top = stem_of(self._place.rpartition("/")[2])
        return Zip(self._source, self._tree, self._place, top)

    def steps(self) -> Iterator[tuple[int, int]]:
        with self._sink() as sink:
            done: list[File] = []
            entries = [entry for item in self._items for entry in item.entries]
            for group in _groups(entries):
                done += sink.put(group)
                yield len(group), sum(file.size for file in done[-len(group) :])
            self._take_over(done)
            yield from self._learn()
            for some in _some(self._items):
                self._add_thumbnails(sink, some)
                yield 0, 0
            texts = self._texts()
            for path, text in texts.items():
                sink.write(path, text)
            sink.write(bag.TAG_MANIFEST, bag.tag_manifest(texts, self._hashes))
            sink.close()
        yield 0, 0

    def _take_over(self, done: Sequence[File]) -> None:
        """Let the items have the files as they were delivered: a pass may have replaced some meanwhile."""
        files = iter(done)
        for number, item in enumerate(self._items):
            entries = tuple(Entry(next(files), entry.target) for entry in item.entries)
            if entries != item.entries:
                self._items[number] = structs.replace(item, entries=entries)

    def _learn(self) -> Iterator[tuple[int, int]]:
        """Note what cameras wrote, where that was not known before; what was not copied is looked into."""
        with self._source.tree.holding() as mirror:
            for number, item in enumerate(self._items):
                if number % _GROUP == 0:
                    yield 0, 0
                shot = item.shot
                if shot.camera is None:
                    file, camera = artists.find(shot.ranked, self._source, mirror)
                    self._items[number] = structs.replace(item, shot=with_camera(shot, camera))
                    if (
                        camera.photographer is not None or not shot.lacking
                    ):  # which may tell it later
                        self._package.cameras.append((file, camera))

    # --- thumbnails ----------------------------------------------------------------------------------------------

    def _add_thumbnails(self, sink: Sink, items: Sequence[Item]) -> None:
        mirrored = [item for item in items if item.source is not None]
        entries = [
            Entry(item.source, item.thumbnail) for item in mirrored if item.source is not None
        ]
        for entry, file in zip(entries, sink.put(entries), strict=True):
            self._hashes[entry.target] = file.sha256
        made = [item for item in items if item.is_thumbnail_made]
        sink.each(lambda number: self._make(sink, made[number]), len(made))

    def _make(self, sink: Sink, item: Item) -> None:
        if self._source.stop.is_set():
            raise Stopped
        data: bytes | None = None
        modified = 0.0

        def attempt(file: File) -> str | None:
            nonlocal data, modified
            try:
                with self._source.tree.opened(file.path) as descriptor:
                    modified = os.fstat(descriptor).st_mtime
                    kept = sink.kept(item.thumbnail, file.sha256)
                    data = kept or thumbnails.make(descriptor, file.sha256)
            except OSError as error:
                return self._source.fault(error, file)
            return None

        # of the smallest one that is no thumbnail: it is the quickest to decode
        file = min((e.file for e in item.entries), key=lambda file: file.size)
        self._source.follow(file, attempt)
        if data is None:
            self._lost.add(item.thumbnail)
            return
        sink.write(item.thumbnail, data, modified)
        self._hashes[item.thumbnail] = sha256(data).hexdigest()

    # --- texts ---------------------------------------------------------------------------------------------------

    def _texts(self) -> dict[str, bytes]:
        package, items = self._package, self._items
        first = 1 + sum(map(len, package.volumes[: self._number - 1]))
        payload = {entry.target: entry.file for item in items for entry in item.entries}
        label = bag.Label(
            package.bag_id, package.made_at[:10], package.facts.title, package.facts.event_id,
            package.facts.organisation, tags.dates(items), package.contents, package.predecessors,
            self._number, len(package.volumes),
        )  # fmt: skip
        texts = {
            bag.DECLARATION: bag.declaration(),
            bag.INFO: bag.info(label, [file.size for file in payload.values()]),
            bag.MANIFEST: bag.manifest({path: file.sha256 for path, file in payload.items()}),
            tags.PHOTOS: tags.photos(items, first),
            tags.EVENT: tags.event(package.facts, package.bag_id, items),
            tags.CHECKER: tags.checker(),
        }
        if package.lacking:
            texts[tags.MISSING] = tags.missing(package.lacking)
        missing = len({lack.image_id for lack in package.lacking if lack.image_id})
        doubts = tuple(lack.reason for lack in package.lacking if not lack.image_id)
        about = tags.About(package.made_at, self._note(), missing, doubts)
        return texts | tags.gallery(package.facts, items, self._lost, about)

    def _note(self) -> str | None:
        package = self._package
        parts = [package.contents] if package.contents != EVERYTHING else []
        if package.predecessors:
            parts.append(f"only what is new since {' and '.join(package.predecessors)}")
        count = len(package.volumes)
        parts += [f"volume {self._number} of {count}"] if count > 1 else []
        return "; ".join(parts) or None


def _groups(entries: Sequence[Entry]) -> Iterator[list[Entry]]:
    group: list[Entry] = []
    size = 0
    for entry in entries:
        group.append(entry)
        size += entry.file.size
        if len(group) == _GROUP or size >= _BYTES:
            yield group
            group, size = [], 0
    if group:
        yield group


def _some(items: Sequence[Item]) -> Iterator[list[Item]]:
    left = iter(items)
    while some := list(islice(left, _GROUP)):
        yield some
