"""Which files of a mirror are not in place any more: what `archive.survey` finds, found without writing anything."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ninepic_mirror.archive.faults import translated

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ninepic_mirror.archive.files import Tree
    from ninepic_mirror.archive.manifest import Manifest, Row
    from ninepic_mirror.model import Variant


def count_lost(
    manifest: Manifest,
    tree: Tree,
    variants: Sequence[Variant],
    day: tuple[int, int] | None,
    *,
    sizes: bool,
) -> int:
    """Count the files of listed photos that their rows call present and that are not there.

    As a pass does, it looks only into folders whose modification time has changed; with `sizes` at every file.

    Args:
        manifest: Open for reading.
        tree: The event folder.
        variants: The configured ones.
        day: Only photos of this span, `[from, to)` in epoch seconds; None: all.
        sizes: A file of another size counts too.

    Raises:
        StorageError: The disk said no.
    """
    lost = 0
    with translated(tree.name("")):
        for row in manifest.rows("SELECT path, mtime_ns FROM folders ORDER BY path"):
            folder, known = str(row[0]), row[1]
            now = tree.folder_mtime(folder)
            changed = now is None or now != known
            if changed or sizes:
                # Names are compared where the time changed; where sizes are, the look at each file says both.
                names = None if sizes else {f for f, kind in tree.entries(folder) if kind == "file"}
                rows = _present(manifest, folder, variants, day)
                lost += sum(not _is_there(tree, row, names) for row in rows)
    return lost


def _present(
    manifest: Manifest, folder: str, variants: Sequence[Variant], day: tuple[int, int] | None
) -> list[Row]:
    marks = ",".join("?" * len(variants))
    limits = "" if day is None else " AND taken >= ? AND taken < ?"
    return manifest.rows(
        "SELECT path, size FROM files JOIN photos USING (image_id) WHERE folder = ?"  # noqa: S608  placeholders only
        f" AND gone_since IS NULL AND state = 'present' AND variant IN ({marks}){limits}",
        [folder, *variants, *(day or ())],
    )


def _is_there(tree: Tree, row: Row, names: set[str] | None) -> bool:
    path = str(row[0])
    if names is not None:
        return path.rpartition("/")[2] in names
    found = tree.stat(path)
    return found is not None and found.is_file and found.size == row[1]
