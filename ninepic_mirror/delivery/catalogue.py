"""What the manifest knows for deliveries: photos with their files, what cameras wrote, packages that were made."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from msgspec import Struct

from ninepic_mirror.archive.manifest import now
from ninepic_mirror.archive.placement import local_time
from ninepic_mirror.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from zoneinfo import ZoneInfo

    from ninepic_mirror.archive.manifest import Manifest, Row, Value
    from ninepic_mirror.model import Variant

Key = tuple[str, str]  # `image_id` and variant
FORGOTTEN: Final = "forgotten on purpose"

# Where EXIF is looked for: the larger the file, the less was taken out of it.
_BEST: Final = ("original", "large", "thumbnail")


class File(Struct, frozen=True, gc=False):
    """One file of the mirror, as its row has it.

    Args:
        path: Relative to the event folder.
        size: Bytes.
    """

    image_id: str
    variant: Variant
    path: str
    size: int
    sha256: str


class Camera(Struct, frozen=True, gc=False):
    """What a camera wrote into a photo.

    Args:
        photographer: EXIF Artist, else the serial number of the camera's body; None: neither.
        shot_at: The camera's own time, ISO 8601 without a zone; None: none.
    """

    photographer: str | None = None
    shot_at: str | None = None


class Shot(Struct, frozen=True, gc=False):
    """One photo that the service lists.

    Args:
        taken: Start of the smallest window that named it, epoch seconds; None: undated.
        day: In the event's zone, such as "2026-01-19"; None: undated.
        hour: Likewise, "00" to "23".
        files: Those in state `present`.
        lacking: Variant → why it is not here.
        camera: What is known of its camera, None: not read yet.
    """

    image_id: str
    taken: int | None
    day: str | None
    hour: str | None
    width: int | None
    height: int | None
    files: tuple[File, ...]
    lacking: dict[str, str]
    camera: Camera | None

    def file(self, variant: str) -> File | None:
        """Return a file that is here."""
        return next((file for file in self.files if file.variant == variant), None)

    @property
    def ranked(self) -> list[File]:
        """The files to read EXIF from, the best first."""
        return sorted(self.files, key=lambda file: _BEST.index(file.variant))

    @property
    def best(self) -> File | None:
        """The first of them; what is known of the camera is kept for its bytes."""
        return next(iter(self.ranked), None)


class Delivery(Struct, frozen=True):
    """One package that was made.

    Args:
        predecessors: The bags that it adds to.
        label: The photographer or day that it is for, None: not split.
        run: The same for all packages of one command.
        made_at: Epoch seconds.
    """

    bag_id: str
    predecessors: tuple[str, ...]
    destination: str
    made_at: int
    photos: int
    files: int
    bytes: int
    run: str
    label: str | None = None
    form: str = "folder"
    volumes: int = 1


def shots(manifest: Manifest, zone: ZoneInfo) -> list[Shot]:
    """Return every photo that the service lists, in the order of its capture; those without files, too.

    Photos of which nothing may be had any more (`forgotten`) are left out.
    """
    cameras = "cameras" if _knows_packages(manifest) else _NO_CAMERAS
    found: list[Shot] = []
    rows: list[Row] = []
    for row in manifest.each(
        "SELECT image_id, taken, width, height, variant, path, size, f.sha256, state, error,"
        " c.sha256, photographer, shot_at"
        f" FROM photos JOIN files AS f USING (image_id) LEFT JOIN {cameras} AS c USING (image_id)"
        " WHERE gone_since IS NULL ORDER BY taken IS NULL, taken, position, image_id, variant"
    ):
        if rows and rows[0][0] != row[0]:
            found += _shot(rows, zone)
            rows = []
        rows.append(row)
    return found + (_shot(rows, zone) if rows else [])


_NO_CAMERAS: Final = (
    "(SELECT NULL AS image_id, NULL AS sha256, NULL AS photographer, NULL AS shot_at WHERE 0)"
)


def _knows_packages(manifest: Manifest) -> bool:
    """Whether the manifest has the tables of deliveries: an older one that is only read has not."""
    return manifest.version() > 3


def _shot(rows: Sequence[Row], zone: ZoneInfo) -> list[Shot]:
    """Return the photo of these rows, one for each variant; nothing for a forgotten one."""
    if any(row[8] == "forgotten" for row in rows):
        return []
    files, lacking = [], {}
    for row in rows:
        if row[8] == "present":
            files.append(File(row[0], *row[4:8]))  # type: ignore[arg-type]  # the columns are the fields
        else:
            lacking[str(row[4])] = str(row[9] or "not fetched yet")
    image_id, taken, width, height = rows[0][:4]
    local = local_time(zone, int(taken)) if taken is not None else None
    shot = Shot(
        image_id=str(image_id),
        taken=None if taken is None else int(taken),
        day=None if local is None else local.date().isoformat(),
        hour=None if local is None else f"{local.hour:02}",
        width=width if isinstance(width, int) else None,
        height=height if isinstance(height, int) else None,
        files=tuple(files),
        lacking=lacking,
        camera=None,
    )
    # of a file that is here, or was, with what its row names to be had again
    had = sorted((_BEST.index(str(row[4])), row[7]) for row in rows if row[7] is not None)
    kept_for = [*(file.sha256 for file in shot.ranked[:1]), *(sha256 for _, sha256 in had[:1])]
    if rows[0][10] in kept_for:
        shot = with_camera(shot, Camera(*rows[0][11:13]))  # type: ignore[arg-type]  # as above
    return [shot]


def with_camera(shot: Shot, camera: Camera) -> Shot:
    """Return a photo with what is known of its camera."""
    return Shot(
        shot.image_id, shot.taken, shot.day, shot.hour, shot.width, shot.height, shot.files, shot.lacking, camera
    )  # fmt: skip


def fates(manifest: Manifest, ids: Iterable[str]) -> dict[str, str]:
    """Say of photos that are in no list why they are not."""
    told = {}
    for image_id in ids:
        rows = manifest.rows(
            "SELECT gone_since, (SELECT count(*) FROM files WHERE image_id = ? AND state = 'forgotten')"
            " FROM photos WHERE image_id = ?",
            [image_id, image_id],
        )
        if not rows:
            told[image_id] = "not in the mirror"
        else:
            told[image_id] = FORGOTTEN if rows[0][1] else "it left the event"
    return told


def note_cameras(manifest: Manifest, read: Iterable[tuple[File, Camera]]) -> None:
    """Keep what was read from files, but of photos that were forgotten meanwhile: their ids must not come back."""
    with manifest.transaction():
        _note_cameras(manifest, read)


def _note_cameras(manifest: Manifest, read: Iterable[tuple[File, Camera]]) -> None:
    manifest.change_each(
        "INSERT OR REPLACE INTO cameras SELECT ?1, ?2, ?3, ?4 WHERE EXISTS"
        " (SELECT 1 FROM photos WHERE image_id = ?1)",
        [
            (file.image_id, file.sha256, camera.photographer, camera.shot_at)
            for file, camera in sorted(read, key=lambda one: one[0].image_id)
        ],
    )


# --- packages ----------------------------------------------------------------------------------------------------


def deliveries(manifest: Manifest) -> list[Delivery]:
    """Return every package that was made, the oldest first."""
    if not _knows_packages(manifest):
        return []
    return [
        Delivery(str(row[0]), tuple(str(row[1] or "").split()), *row[2:])  # type: ignore[arg-type]  # the columns are the fields
        for row in manifest.rows(
            "SELECT bag_id, predecessor, destination, made_at, photos, files, bytes, coalesce(run, bag_id),"
            " label, form, volumes FROM deliveries ORDER BY id"
        )
    ]


def delivered(manifest: Manifest, bag_ids: Iterable[str]) -> dict[Key, set[str]]:
    """Return which files went into any of these packages, with the hashes that they had."""
    found: dict[Key, set[str]] = {}
    for bag_id in bag_ids:
        for row in manifest.each(
            "SELECT image_id, variant, sha256 FROM delivered JOIN deliveries ON id = delivery WHERE bag_id = ?",
            [bag_id],
        ):
            found.setdefault((str(row[0]), str(row[1])), set()).add(str(row[2]))
    return found


def forgotten(manifest: Manifest, files: Iterable[File]) -> File | None:
    """Return the first file whose photo was forgotten since its row was read (its row has a pseudonym then), or None."""
    known = {str(row[0]) for row in manifest.each("SELECT image_id FROM photos")}
    return next((file for file in files if file.image_id not in known), None)


def record(
    manifest: Manifest,
    made: Delivery,
    files: Sequence[File],
    cameras: Iterable[tuple[File, Camera]] = (),
) -> None:
    """Record a package that stands whole under its final name, and what was read of cameras while it was made.

    Raises:
        UsageError: A photo of it was forgotten meanwhile; nothing is recorded, so that no id comes back.
    """
    values: list[Value] = [
        made.bag_id, " ".join(made.predecessors) or None, made.destination, made.made_at or now(), made.files,
        made.bytes, made.run, made.label, made.form, made.photos, made.volumes,
    ]  # fmt: skip
    with manifest.transaction():
        lost = forgotten(manifest, files)
        if lost is not None:
            text = f"{made.destination} holds a photo that was forgotten meanwhile: {lost.path}"
            raise UsageError(text, "remove the package, then run the same command again")
        manifest.change(
            "INSERT INTO deliveries (bag_id, predecessor, destination, made_at, files, bytes, run, label, form,"
            " photos, volumes) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            values,
        )
        number = manifest.count("SELECT max(id) FROM deliveries")
        manifest.change_each(
            "INSERT INTO delivered VALUES (?, ?, ?, ?)",
            # in the order of the key: in another one SQLite writes its pages again and again
            sorted((number, file.image_id, file.variant, file.sha256) for file in files),
        )
        _note_cameras(manifest, cameras)
