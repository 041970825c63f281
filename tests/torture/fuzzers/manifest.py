"""A manifest that was changed anywhere is read, or told to be damaged; it never ends with a bug."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Final

from ninepic_mirror.archive import balance, inventory
from ninepic_mirror.archive.manifest import NAME, Manifest
from ninepic_mirror.errors import StorageError
from tests.shelf import SIX, open_shelf, window
from tests.torture.fuzzers.spelling import Bytes

PLACE: Final = Path(tempfile.mkdtemp(dir="/dev/shm"))
PATH: Final = PLACE / NAME
VARIANTS: Final = ("thumbnail", "large")

with open_shelf(PLACE) as shelf:
    shelf.have(window(SIX), "a", "b", "c-1")
    shelf.manifest.set_meta({"name": "x", "layout": "{variant}/{image_id}{ext}", "timezone": "UTC"})
    shelf.manifest.checkpoint()
    WHOLE: Final = shelf.manifest.path.read_bytes()


def check(data: bytes) -> None:
    """Change up to eight places of it, open it and ask what passes, `status` and `verify` ask."""
    source, changed = Bytes(data), bytearray(WHOLE)
    for _ in range(8):
        at, new = source.number(3) % len(changed), source.some(4)
        changed[at : at + len(new)] = new
    PATH.write_bytes(changed[: len(WHOLE)])
    for suffix in ("-wal", "-shm"):
        PATH.with_name(NAME + suffix).unlink(missing_ok=True)
    try:
        with Manifest.open(PATH, durable=False) as manifest:
            manifest.begin_pass("quick")
            manifest.meta("name")
            balance.counted(manifest, VARIANTS)
            balance.balance(manifest, VARIANTS)
            files = inventory.List(1, quick=False)
            files.count(manifest)
            for entry in files.next(manifest):
                inventory.again(manifest, entry.key)
            inventory.where(manifest)
    except StorageError:
        pass
