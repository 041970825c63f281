"""Photos that are to be forgotten: a person's right, which nothing here may undo (DESIGN §5).

Such a photo is remembered by a hash of its id, beside the photos (`FILE`) and in the manifest. Its rows stay, because
the service goes on listing it and every count must add up; but they carry a pseudonym made of that hash, and nothing
of the photo. A listing is veiled (`Veil`) before anything of it is recorded.

The order, so that a crash anywhere is finished by the next pass (`Oblivion.finish`):

    1. the hash goes to the file, durably: from here on the photo cannot come back
    2. one transaction: the rows get the pseudonym, so that none is `present`; the hash goes into the table, and what
       is to be removed is written down (`meta`, `leaving`)
    3. its files go: final places, parts, whatever a killed run left in `partial/`, the trash, second names; their
       folders are synced. What may be its, or another's, is left, and told (`belongings`)
    4. copies of older manifests that name it go
    5. what was written down is deleted; VACUUM and an empty log: nothing of the id is left in free pages. Where that
       cannot be had now, `erased` stays 0, and the next pass tries again; deleted rows were overwritten all the same

A hash that the file has and the table has not is where a crash left off before 2: then the ids of all rows are hashed
to find the photo. After it, `leaving` tells what is left to do. The hash is salted, with a salt of the event's own, so that two lists cannot be compared, nor one be looked
up in a table of hashes made for another. It is no secret: whoever has the list and the id can tell that it was to be
forgotten, and so must this program.
"""

from __future__ import annotations

import hashlib
import re
import secrets
from typing import TYPE_CHECKING, Final

from msgspec import Struct, field

from ninepic_mirror.archive.belongings import Belongings, Undecided, kind_of
from ninepic_mirror.archive.faults import translated
from ninepic_mirror.archive.files import Tree, split
from ninepic_mirror.archive.manifest import NAME, now
from ninepic_mirror.archive.moves import touch
from ninepic_mirror.archive.partial import FOLDER as PARTIAL
from ninepic_mirror.archive.partial import sweep
from ninepic_mirror.archive.placement import Layout
from ninepic_mirror.archive.root import OWN_FOLDER
from ninepic_mirror.archive.sums import sums_path
from ninepic_mirror.archive.traces import Signs, holds
from ninepic_mirror.archive.twins import Twin, twins
from ninepic_mirror.archive.wiping import drop_folders, veil_reports, wipe
from ninepic_mirror.config import DEFAULT_LAYOUT
from ninepic_mirror.errors import StorageError
from ninepic_mirror.model import Photo
from ninepic_mirror.progress import plain

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence
    from pathlib import Path

    from ninepic_mirror.archive.manifest import Manifest

FILE: Final = f"{OWN_FOLDER}/forgotten"
SALT: Final = "forgotten_salt"  # in `meta`
LEAVING: Final = "leaving"  # likewise: what is to be removed
_KINDS: Final = ("files", "copies", "sums", "undecided")  # of what is written down there
FORMER: Final = "former_layouts"  # likewise: what in the trash may have come by
_SHOWN: Final = 10  # paths in one sentence
_HEAD: Final = "# Photos that must not come back: SHA-256 of the salt and the id, one a line (docs/manifest.md)."
_LINE: Final = re.compile(r"#.*|salt (?P<salt>[0-9a-f]{32})|(?P<digest>[0-9a-f]{64})", re.ASCII)
_LIMIT: Final = 64 << 20  # bytes of the file: a million photos
_PSEUDONYM: Final = "forgotten~"
_DIGEST: Final = re.compile("[0-9a-f]{64}")
SINCE: Final = 3  # the schema version that has the table


class Veil(Struct, frozen=True):
    """Tells which photos are to be forgotten.

    Args:
        salt: Hex digits; empty as long as there is nothing to forget.
        digests: Of the ids, hex digits.
    """

    salt: str = ""
    digests: frozenset[str] = frozenset()

    @classmethod
    def of(cls, manifest: Manifest) -> Veil:
        """Return what a manifest knows."""
        if manifest.version() < SINCE:
            return cls()
        found = frozenset(str(row[0]) for row in manifest.rows("SELECT digest FROM forgotten"))
        return cls(str(manifest.meta(SALT) or ""), found)

    def digest(self, image_id: str) -> str:
        """Return the hash by which a photo is remembered: `printf %s%s SALT ID | sha256sum` tells the same."""
        return hashlib.sha256((self.salt + image_id).encode("utf-8", "surrogatepass")).hexdigest()

    def hides(self, image_id: str) -> bool:
        """Whether a photo is to be forgotten, by its id."""
        return bool(self.digests) and self.digest(image_id) in self.digests

    def pseudonym(self, image_id: str) -> str:
        """Return what rows say instead of a forgotten photo's id."""
        return _PSEUDONYM + self.digest(image_id)

    def stands_in(self, image_id: str) -> bool:
        """Whether an id is not the service's, but what rows say instead of a photo that is to be forgotten."""
        digest = image_id.removeprefix(_PSEUDONYM)
        return digest != image_id and digest in self.digests

    def over(self, photos: Sequence[Photo]) -> Sequence[Photo]:
        """Return rows of a listing in which forgotten photos have a pseudonym, and nothing else.

        An id that looks like a pseudonym is left out, so that the listing does not add up: no service gives one, and
        taken for one it would count as forgotten without ever having been here.
        """
        return [
            Photo(self.pseudonym(photo.image_id), None, None)
            if self.hides(photo.image_id)
            else photo
            for photo in photos
            if not is_pseudonym(photo.image_id)
        ]


def is_pseudonym(image_id: str) -> bool:
    """Whether an id of a row stands for a forgotten photo."""
    return (
        image_id.startswith(_PSEUDONYM) and _DIGEST.fullmatch(image_id, len(_PSEUDONYM)) is not None
    )


def counted(manifest: Manifest) -> int:
    """Return how many photos are to be forgotten."""
    if manifest.version() < SINCE:
        return 0
    return manifest.count("SELECT count(*) FROM forgotten")


def remembered(manifest: Manifest, tree: Tree) -> Veil:
    """Return which photos are to be forgotten, by the list beside the photos and by the manifest.

    Raises:
        StorageError: The list cannot be read; or it is damaged, and the manifest has none: it is not taken for empty.
    """
    return united(tree, Veil.of(manifest))


def united(tree: Tree, table: Veil) -> Veil:
    """Return the same where it is known already what the manifest says. Raises as `remembered` does."""
    file, is_whole = listed(tree)
    if not is_whole and not table.digests:
        raise _damaged(tree, "it has a line that cannot be understood, or not one salt")
    if file.salt and table.salt and file.salt != table.salt:
        if is_whole:
            raise _damaged(tree, "its salt is not that of the manifest")
        return table
    return Veil(file.salt or table.salt, file.digests | table.digests)


def listed(tree: Tree) -> tuple[Veil, bool]:
    """Return what the list beside the photos says, and whether all of it can be understood."""
    with translated(tree.name(FILE)):
        if tree.stat(FILE) is None:
            return Veil(), True
        text = tree.read(FILE, _LIMIT).decode("ascii", "replace")
    found = [_LINE.fullmatch(line) for line in text.splitlines()]
    salts = {match["salt"] for match in found if match and match["salt"]}
    if len(salts) > 1:
        return Veil(), False
    digests = {match["digest"] for match in found if match and match["digest"]}
    return Veil("".join(salts), frozenset(digests)), bool(salts) and None not in found


def write(tree: Tree, veil: Veil) -> None:
    """Write the list beside the photos, durably.

    Raises:
        StorageError: The disk said no; the old list stands as it was.
    """
    lines = [_HEAD, f"salt {veil.salt}", *sorted(veil.digests)]
    with translated(tree.name(FILE)):
        data = "".join(f"{line}\n" for line in lines).encode()
        tree.write_whole(FILE, [data], f"{PARTIAL}/forgotten")


def _damaged(tree: Tree, text: str) -> StorageError:
    cure = (
        "bring it back from a backup: without it, photos that were to be forgotten would come back"
    )
    return StorageError(tree.name(FILE), text, cure)


class Package(Struct, frozen=True):
    """A package that holds a forgotten photo.

    Args:
        bag_id: Its own name.
        destination: Where it was made.
        made_at: When, in epoch seconds.
    """

    bag_id: str
    destination: str
    made_at: int


class Gone(Struct):
    """What was removed from one event.

    Args:
        photos: That were known here, and are forgotten now.
        files: Names taken away.
        bytes: What they held; second names of one file count once.
        copies: Copies of older manifests that were taken away.
        twins: Other files with equal bytes, which stay.
        other_names: Hard links to what was removed that are none of ours, wherever they are: the bytes stand there still.
        packages: That hold one of the photos.
        undecided: What was left, because nothing tells whether it is a photo's: people are to look at it.
        unfinished: Why something of the id may be left in the manifest's free pages or its log, in words; None: nothing
            is. The next pass tries again.
    """

    photos: int = 0
    files: int = 0
    bytes: int = 0
    copies: list[str] = field(default_factory=list)
    twins: list[Twin] = field(default_factory=list)
    other_names: int = 0
    packages: list[Package] = field(default_factory=list)
    undecided: list[Undecided] = field(default_factory=list)
    unfinished: str | None = None

    @property
    def erased(self) -> bool:
        """Whether nothing is left in the manifest's free pages, nor in its log."""
        return self.unfinished is None

    @property
    def warnings(self) -> Iterator[str]:
        """What to tell people of what is unfinished, and of what they are to look at."""
        if self.unfinished is not None:
            yield (
                "photos were forgotten, but free pages of the manifest may still hold their ids:"
                f" {self.unfinished}. The next sync tries again"
            )
        if self.undecided:
            shown = [
                plain(one.path) + ("" if one.kind == "file" else f" ({one.kind})")
                for one in self.undecided[:_SHOWN]
            ]
            if len(self.undecided) > _SHOWN:
                shown.append(f"… and {len(self.undecided) - _SHOWN:,} more; --json names them")
            yield (
                "what may be a copy of a forgotten photo was left, because nothing tells whose it is:"
                f" {', '.join(shown)}. Look at it, and remove by hand what is, or holds, that photo"
            )


class Oblivion:
    """Forgets photos of one event; the caller holds its lock. Blocks.

    Args:
        manifest: Open.
        tree: The event folder.
        layout: The configured one.
    """

    def __init__(self, manifest: Manifest, tree: Tree, layout: str) -> None:
        self._manifest, self._tree = manifest, tree
        last, former = manifest.meta("layout"), manifest.meta(FORMER)
        self._former = {str(one) for one in former} if isinstance(former, list) else set[str]()
        # A pass is about to follow another layout: what lies in the trash came by this one.
        self._leaves = {last} - {layout} if isinstance(last, str) else set[str]()
        layouts = {DEFAULT_LAYOUT, layout} | self._former | self._leaves
        self._layouts = [Layout.parse(one) for one in sorted(layouts)]

    def remember(self, ids: Collection[str]) -> None:
        """Write down, durably, that these photos must not come back; nothing is removed yet.

        Raises:
            StorageError: The disk said no, or what stands there cannot be understood.
        """
        veil = remembered(self._manifest, self._tree)
        veil = Veil(veil.salt or secrets.token_hex(16), veil.digests)
        write(self._tree, Veil(veil.salt, veil.digests | {veil.digest(one) for one in ids}))

    def finish(self, ids: Collection[str] = ()) -> Gone:
        """Remove what is left of remembered photos: those that a crash left, and `ids`, again if need be.

        Raises:
            StorageError: The disk said no; the next pass goes on.
        """
        gone = Gone()
        if self._leaves - self._former:
            self._manifest.set_meta({FORMER: sorted(self._former | self._leaves)})
        veil = remembered(self._manifest, self._tree)
        if not veil.digests:
            return gone
        if listed(self._tree) != (veil, True):
            write(self._tree, veil)  # somebody took the file away, or it is damaged
        new = veil.digests - Veil.of(self._manifest).digests
        is_resumed = self._manifest.meta(LEAVING) is not None
        if new or ids:
            self._take_out(veil, self._sought(Veil(veil.salt, new), ids), gone)
        self._remove(gone)
        if is_resumed:
            gone.other_names = 0  # the rows do not tell any more which of them are other photos'
        if self._manifest.count("SELECT count(*) FROM forgotten WHERE NOT erased"):
            gone.unfinished = wipe(self._manifest)
        return gone

    # --- removing ------------------------------------------------------------------------------------------------

    def _sought(self, new: Veil, ids: Collection[str]) -> list[str]:
        """Return the ids that have to go: those given, and those of rows that a crash left with theirs."""
        found = {*ids}
        if new.digests:
            rows = self._manifest.each("SELECT image_id FROM photos")
            found |= {str(row[0]) for row in rows if new.hides(str(row[0]))}
        return sorted(found)

    def _take_out(self, veil: Veil, ids: Sequence[str], gone: Gone) -> None:
        """Make the rows those of forgotten photos, and write down what is to be removed."""
        gone.packages = self._packages(veil, ids)
        signs = Signs(ids, self._layouts)
        belongings = Belongings(self._manifest, self._tree, ids, signs)
        with translated(self._tree.name("")):
            places, doubtful = belongings.find() if ids else (set[str](), set[str]())
            files = sorted(path for path in places if self._tree.stat(path) is not None)
            gone.twins = twins(self._manifest, self._tree, ids, files)
        found = {"files": files, "undecided": doubtful, "copies": self._telling(ids)}
        leaving = {
            kind: {*before, *found.get(kind, ())} for kind, before in self._leaving().items()
        }
        # What is deleted is overwritten, for the time until VACUUM is done.
        self._manifest.rows("PRAGMA secure_delete = ON")
        with self._manifest.transaction():
            self._record(veil, ids, gone)
            self._unname(places, belongings, signs)
            leaving["sums"] |= {sums_path(top) for top in drop_folders(self._manifest, signs.names)}
            self._manifest.set_meta({LEAVING: {kind: sorted(leaving[kind]) for kind in _KINDS}})

    def _leaving(self) -> dict[str, list[str]]:
        """Return what is written down to be removed: `copies` by name, all else by path; and what is to be told."""
        found = self._manifest.meta(LEAVING)
        lists = found if isinstance(found, dict) else {}
        return {kind: [str(one) for one in lists.get(kind, ())] for kind in _KINDS}

    def _remove(self, gone: Gone) -> None:
        """Remove what is written down."""
        if self._manifest.meta(LEAVING) is None:
            return
        leaving = self._leaving()
        self._unlink(leaving, gone)
        self._remove_copies(leaving["copies"], gone)
        self._manifest.rows("PRAGMA secure_delete = ON")
        self._manifest.change("DELETE FROM meta WHERE key = ?", [LEAVING])

    def _packages(self, veil: Veil, ids: Sequence[str]) -> list[Package]:
        names = [name for image_id in ids for name in (image_id, veil.pseudonym(image_id))]
        marks = ", ".join("?" * len(names))
        found = self._manifest.rows(
            "SELECT bag_id, destination, made_at FROM deliveries WHERE id IN"
            f" (SELECT delivery FROM delivered WHERE image_id IN ({marks})) ORDER BY id",
            names,
        )
        return [Package(*row) for row in found]  # type: ignore[arg-type]  # by the schema

    def _unlink(self, leaving: Mapping[str, Sequence[str]], gone: Gone) -> None:
        left: dict[int, int] = {}  # by inode, how many names a file has still
        folders = {PARTIAL}
        undecided = {*leaving["undecided"]}
        sweep(self._tree)  # what a killed run left there may be the photo under any name
        with translated(self._tree.name("")):
            for path in leaving["files"]:
                there = self._tree.stat(path)
                if there is None:
                    continue
                if not there.is_file and kind_of(self._tree, path) != "other":
                    # Somebody put it there, and may need what a folder holds, or to know where a link leads.
                    undecided.add(path)
                    continue
                with translated(self._tree.name(path)):
                    self._tree.remove(path)
                folders.add(split(path)[0])
                gone.files += 1
                gone.bytes += 0 if there.inode in left else there.size
                left[there.inode] = there.links - 1
            inodes = [found.inode for one in gone.twins if (found := self._tree.stat(one.path))]
            # FUSE may count no names at all
            gone.other_names = sum(
                max(0, count - inodes.count(inode)) for inode, count in left.items()
            )
            for path in leaving["sums"]:
                if kind_of(self._tree, path) == "file":
                    self._tree.remove(path)
                    folders.add(split(path)[0])
            for folder in sorted(folders):
                self._tree.sync_folder(folder)
                if folder != PARTIAL:
                    self._tree.prune(folder)
            for path in undecided:
                self._tree.prune(path)  # a folder that holds nothing
            gone.undecided = [
                Undecided(path, kind)
                for path in sorted(undecided)
                if (kind := kind_of(self._tree, path)) is not None
            ]

    def _telling(self, ids: Sequence[str]) -> Iterator[str]:
        """Yield the names of copies that name a photo."""
        for path in self._copies():
            with translated(str(path)):
                if any(holds(path.with_name(path.name + suffix), ids) for suffix in ("", "-wal")):
                    yield path.name

    def _copies(self) -> Iterator[Path]:
        """Yield manifests of this event that are not the open one: older or damaged, or from before `state_dir`."""
        beside = self._manifest.path.parent
        own = self._tree.root / OWN_FOLDER
        with translated(str(beside)):
            for folder in {beside, beside if own.samefile(beside) else own}:
                names = {
                    path.name.removesuffix("-wal").removesuffix("-shm")
                    for path in folder.glob(f"{NAME}*")
                }
                is_open = {self._manifest.path.name} if folder == beside else set()
                yield from (folder / name for name in sorted(names - is_open))

    def _remove_copies(self, names: Collection[str], gone: Gone) -> None:
        for path in list(self._copies()) if names else ():
            if path.name in names:
                with (
                    translated(str(path)),
                    Tree(path.parent, durable=self._tree.is_durable) as tree,
                ):
                    for suffix in ("", "-wal", "-shm"):
                        tree.remove(path.name + suffix)
                    tree.sync_folder("")
                gone.copies.append(path.name)

    def _record(self, veil: Veil, ids: Sequence[str], gone: Gone) -> None:
        manifest = self._manifest
        for image_id in ids:
            both = [veil.pseudonym(image_id), image_id]
            gone.photos += manifest.change(
                "UPDATE OR REPLACE photos SET image_id = ?, width = NULL, height = NULL WHERE image_id = ?",
                both,
            )
            manifest.change(
                "UPDATE OR REPLACE files SET image_id = ?, state = 'forgotten', path = NULL, folder = NULL, url = NULL,"
                " size = NULL, xxh3_128 = NULL, sha256 = NULL, etag = NULL, last_modified = NULL, attempts = 0,"
                " error = NULL, fetched_at = NULL, moving_to = NULL, verified_at = NULL WHERE image_id = ?",
                both,
            )
            manifest.change(
                "UPDATE OR REPLACE delivered SET image_id = ?, sha256 = '' WHERE image_id = ?", both
            )
            manifest.change("DELETE FROM cameras WHERE image_id = ?", [image_id])
        veil_reports(manifest, {image_id: veil.pseudonym(image_id) for image_id in ids})
        manifest.change_each(
            "INSERT INTO forgotten VALUES (?, ?, 0) ON CONFLICT DO UPDATE SET erased = 0",
            [(one, now()) for one in sorted(veil.digests - Veil.of(manifest).digests)],
        )
        if ids:
            manifest.change("UPDATE forgotten SET erased = 0")
        # what the last pass counted is not what there is any more
        manifest.set_meta({SALT: veil.salt, "balance": None})

    def _unname(self, places: Collection[str], belongings: Belongings, signs: Signs) -> None:
        """Take these photos' files out of what SHA256SUMS names, and have those written anew."""
        # Not by the places alone: a crash may have come after their files went.
        named = [str(row[0]) for row in self._manifest.each("SELECT path FROM named")]
        named = [
            path
            for path in named
            if path in places
            or (is_ours := signs.whose(path, belongings.known, in_trash=False))
            or (is_ours is None and self._tree.stat(path) is None)
        ]
        self._manifest.change_each("DELETE FROM named WHERE path = ?", [(path,) for path in named])
        touch(self._manifest, (path for path in (*places, *named) if path.isascii()))
