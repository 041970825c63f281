"""Decoding pictures: what is wrong with one is told in a line, whatever the decoder makes of it."""

from __future__ import annotations

import io
import subprocess
import threading
from typing import TYPE_CHECKING

import pytest
from PIL import Image

from ninepic_mirror.archive import pictures

if TYPE_CHECKING:
    from pathlib import Path


def encoded(form: str, **options: object) -> bytes:
    """Return a small picture."""
    file = io.BytesIO()
    Image.effect_noise((64, 48), 50).save(file, form, **options)
    return file.getvalue()


def complaint(path: Path, data: bytes, *most: int) -> str | None:
    """Return what is wrong with a file of these bytes."""
    pictures.prepare()
    path.write_bytes(data)
    with path.open("rb") as file:
        file.read()  # the position does not matter
        return pictures.complaint(file.fileno(), *most)


@pytest.mark.parametrize(
    ("form", "options"), [("JPEG", {}), ("JPEG", {"progressive": True}), ("PNG", {}), ("WEBP", {})]
)
def test_whole_pictures(tmp_path: Path, form: str, options: dict[str, object]) -> None:
    """A picture that can be decoded is fine; one that lacks its end is not, however little."""
    data = encoded(form, **options)
    assert complaint(tmp_path / "a", data) is None
    for length in (len(data) // 2, len(data) * 9 // 10):
        assert "cannot be decoded" in (complaint(tmp_path / "a", data[:length]) or "")


def test_a_fault_is_one_line(tmp_path: Path) -> None:
    """Whatever the decoder says."""
    data = bytearray(encoded("PNG"))
    data[40:60] = bytes(20)
    text = complaint(tmp_path / "a", bytes(data)) or ""
    assert text.startswith("cannot be decoded: ")
    assert "\n" not in text


@pytest.mark.parametrize(
    "data",
    [b"<html>\n</html>", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EOF\n", b"GIF89a"],
)
def test_nothing_else_is_decoded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, data: bytes
) -> None:
    """No other decoder of Pillow's sees the bytes, least of all the one that starts Ghostscript."""
    monkeypatch.setattr(subprocess, "check_call", pytest.fail)
    assert complaint(tmp_path / "a", data) == "is no JPEG, PNG or WebP and is not decoded"


def test_too_large(tmp_path: Path) -> None:
    """A picture with too many pixels is not decoded, it would take all memory; a plain JPEG takes a part of it."""
    text = "has 64 by 48 pixels and is not decoded"
    assert complaint(tmp_path / "a", encoded("PNG"), 10_000, 1000) == text
    assert complaint(tmp_path / "a", encoded("JPEG", progressive=True), 10_000, 1000) == text
    assert complaint(tmp_path / "a", encoded("JPEG"), 10_000, 1000) is None
    assert complaint(tmp_path / "a", encoded("JPEG"), 1000, 10_000) == text


def test_large_ones_take_turns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that takes much memory waits for the one before it; small ones do not."""
    monkeypatch.setattr(pictures, "_LARGE", 1000)
    (tmp_path / "a").write_bytes(encoded("PNG"))
    with pictures._turn, (tmp_path / "a").open("rb") as file:
        said: list[str | None] = []
        waiting = threading.Thread(
            target=lambda: said.append(pictures.complaint(file.fileno())), daemon=True
        )
        waiting.start()
        assert complaint(tmp_path / "b", encoded("JPEG")) is None
        waiting.join(0.05)
        assert waiting.is_alive()
        pictures._turn.release()
        waiting.join(10)
        assert said == [None]
        pictures._turn.acquire()
