"""Our own small files, however they were damaged: SHA256SUMS, the marker, the list of what is forgotten, the note of a cut transfer."""

from __future__ import annotations

import re
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Final

from ninepic_mirror.archive.files import Tree
from ninepic_mirror.archive.forgotten import FILE, Oblivion
from ninepic_mirror.archive.manifest import Manifest
from ninepic_mirror.archive.partial import Partial, place
from ninepic_mirror.archive.root import MARKER, Root
from ninepic_mirror.archive.sums import named_lines
from ninepic_mirror.config import DEFAULT_LAYOUT
from ninepic_mirror.errors import StorageError
from ninepic_mirror.ninepic.pacing import Pacer, photos_pace
from tests.torture.fuzzers.spelling import Bytes, spell

ROOT: Final = Path(tempfile.mkdtemp(dir="/dev/shm"))
FOLDER: Final = ROOT / "456"
HASH: Final = b"0123456789abcdef" * 4
FRAGMENTS: Final = (
    HASH, HASH + b"  06/large/a.jpg\n", b"salt " + HASH[:32] + b"\n", b"# a\n", b"  ", b"\n", b" *", b"../", b"/", b".", b"a.jpg", b"\0", b"\r", b"\\", b"\xff", b".ninepic-mirror/",
    b'{"pacers":{"api":{"rate":', b'"photos":', b'"width":', b'{"validator":"v","size":', b'"size":', b',"total":', b"65536", b"-1", b"1e999", b"NaN",
    b"9" * 30, b"null", b"[" * 2000, b"{", b"}", b'"', b":", b",", b"}}}", b"x" * 300,
)  # fmt: skip
for folder in (FOLDER / "2026-01-19", (FOLDER / place("a", "large")).parent):
    folder.mkdir(parents=True)
TREE: Final = Tree(FOLDER, durable=False)
SIZE: Final = 70_000
OBLIVION: Final = Oblivion(
    Manifest.open(FOLDER / "manifest.sqlite3", durable=False), TREE, DEFAULT_LAYOUT
)


def check(data: bytes) -> None:
    """Read one of them; nothing is raised at all."""
    source = Bytes(data)
    which = source.number() % 4
    text = spell(source.left, FRAGMENTS)
    if which == 0:
        (FOLDER / "2026-01-19" / "SHA256SUMS").write_bytes(text)
        for path, sha256 in named_lines(TREE):
            assert path.startswith("2026-01-19/")
            assert not {"", ".", ".."} & set(path.split("/")), path
            assert path.isprintable(), path
            assert re.fullmatch("[0-9a-f]{64}", sha256)
    elif which == 1:
        (ROOT / MARKER).write_bytes(text)
        learned = Root(ROOT).learned().get("photos")
        Pacer(photos_pace("x", connections=8), learned if isinstance(learned, dict) else {})
    elif which == 2:
        (FOLDER / FILE).write_bytes(text)
        with suppress(StorageError):  # it is refused, and says why
            OBLIVION.finish()
    else:
        body = FOLDER / place("a", "large")
        body.write_bytes(b"\xff\xd8\xff\xe0\x00\x04ab".ljust(SIZE, b"\0"))
        body.with_name(f"{body.name}.resume").write_bytes(text)
        there = Partial(TREE, "a", "large").resume()
        assert 0 <= there <= SIZE
