"""Decoding pictures: what is wrong with one is told in a line, whatever the decoder makes of it."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import pytest
from PIL import Image

from ninepic_mirror.archive import pictures

if TYPE_CHECKING:
    from pathlib import Path


def encoded(form: str) -> bytes:
    """Return a small picture."""
    file = io.BytesIO()
    Image.effect_noise((64, 48), 50).save(file, form)
    return file.getvalue()


def complaint(path: Path, data: bytes, most: int = 10_000) -> str | None:
    """Return what is wrong with a file of these bytes."""
    pictures.prepare()
    path.write_bytes(data)
    with path.open("rb") as file:
        file.read()  # the position does not matter
        return pictures.complaint(file.fileno(), most)


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP"])
def test_whole_pictures(tmp_path: Path, form: str) -> None:
    """A picture that can be decoded is fine; half of one is not."""
    data = encoded(form)
    assert complaint(tmp_path / "a", data) is None
    assert "cannot be decoded" in (complaint(tmp_path / "a", data[: len(data) // 2]) or "")


def test_no_picture(tmp_path: Path) -> None:
    """What is no picture is told in one line."""
    text = complaint(tmp_path / "a", b"<html>\n</html>") or ""
    assert text.startswith("cannot be decoded: ")
    assert "\n" not in text


def test_too_large(tmp_path: Path) -> None:
    """A picture with too many pixels is not decoded: it would take all memory."""
    text = complaint(tmp_path / "a", encoded("PNG"), 1000)
    assert text == "has 64 by 48 pixels and is not decoded"
