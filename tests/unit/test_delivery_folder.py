"""A bag as a folder: what stands in it is what was hashed."""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING

import pytest

from ninepic_mirror.archive.files import Tree
from ninepic_mirror.archive.verify import Entry as Row
from ninepic_mirror.delivery.catalogue import File
from ninepic_mirror.delivery.folder import Folder
from ninepic_mirror.delivery.plan import Entry
from ninepic_mirror.delivery.source import Source
from ninepic_mirror.errors import DamagedError
from tests.shelf import sha256

if TYPE_CHECKING:
    from pathlib import Path

GOOD, BAD = b"good" * 100, b"baad" * 100


@pytest.mark.parametrize("linked", [GOOD, BAD])
def test_the_link_is_what_is_hashed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, linked: bytes
) -> None:
    """Where a repair replaces a file right after it was linked, the package would keep the one that was damaged."""
    (tmp_path / "a.jpg").write_bytes(linked)
    link = os.link

    def meanwhile(
        old: str, new: str, *, src_dir_fd: int, dst_dir_fd: int, follow_symlinks: bool
    ) -> None:
        link(
            old, new, src_dir_fd=src_dir_fd, dst_dir_fd=dst_dir_fd, follow_symlinks=follow_symlinks
        )
        (tmp_path / "new").write_bytes(GOOD)
        (tmp_path / "new").replace(tmp_path / "a.jpg")

    monkeypatch.setattr(os, "link", meanwhile)
    file = File("a", "large", "a.jpg", len(GOOD), sha256(GOOD))
    row = Row("a", "large", "a.jpg", len(GOOD), sha256(GOOD), 0, "present", None)
    (tmp_path / "built").mkdir()
    with Tree(tmp_path, durable=False) as mirror, Tree(tmp_path / "built", durable=False) as tree:
        source = Source(456, mirror, lambda _: row, threading.Event())
        with Folder(source, tree, "bag", link=True) as folder:
            if linked == GOOD:
                assert folder.put([Entry(file, "data/a.jpg")]) == [file]
                assert (tmp_path / "built/bag/data/a.jpg").read_bytes() == GOOD
                return
            with pytest.raises(DamagedError, match=r"a\.jpg"):
                folder.put([Entry(file, "data/a.jpg")])
            assert not (tmp_path / "built/bag/data/a.jpg").exists()
