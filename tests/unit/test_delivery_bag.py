"""The texts of a bag, by RFC 8493."""

from __future__ import annotations

import hashlib

import bagit  # type: ignore[import-untyped]  # it has no types
import pytest

from ninepic_mirror.delivery import bag

LABEL = bag.Label("id-1", "2026-01-20", "Marathon", 456, None, None, "photos")


@pytest.mark.parametrize(
    ("path", "encoded"),
    [
        ("data/a b.jpg", "data/a b.jpg"),
        ("data/100%", "data/100%25"),
        ("a\nb\rc", "a%0Ab%0Dc"),
        ("%0A", "%250A"),
    ],
)
def test_paths_are_encoded(path: str, encoded: str) -> None:
    """Line ends and the percent sign, nothing else; the validator reads them back."""
    assert bag.encode_path(path) == encoded
    assert bagit._decode_filename(encoded) == path or "%" in path


def test_a_manifest_is_sorted() -> None:
    """The same package has the same manifest."""
    assert bag.manifest({"data/b": "2" * 64, "data/a": "1" * 64}) == (
        b"1" * 64 + b"  data/a\n" + b"2" * 64 + b"  data/b\n"
    )


def test_a_manifest_is_read_back() -> None:
    """Every path that can be written; none that leads elsewhere, and none of a text that was cut off."""
    hashes = dict.fromkeys(("data/a b", "data/%0A\n\r\u2028", "data/c..d"), "1" * 64)
    assert bag.read_manifest(bag.manifest(hashes)) == hashes
    for path in ("", "/etc/passwd", "data/../../x"):
        with pytest.raises(ValueError, match=f"1  {path}$"):
            bag.read_manifest(f"{'1' * 64}  {path}\n".encode())
    with pytest.raises(ValueError, match="data/c"):
        bag.read_manifest(bag.manifest(hashes)[:-1])


def test_a_tag_manifest_knows_texts_and_hashes() -> None:
    """Texts are hashed here, what was copied brings its hash."""
    digest = hashlib.sha256(b"x").hexdigest()
    assert (
        bag.tag_manifest({"a": b"x"}, {"b": "2" * 64}) == f"{digest}  a\n{'2' * 64}  b\n".encode()
    )


def test_the_label() -> None:
    """What is known is said, one line each."""
    text = bag.info(LABEL, [3, 4]).decode()
    assert "Payload-Oxum: 7.2\n" in text
    assert "Bag-Count: 1 of 1\n" in text
    assert not {"Source-Organization", "Event-Dates", "Predecessor"} & {
        line.partition(":")[0] for line in text.split("\n")
    }
    full = bag.Label(
        "id-2", "2026-01-20", "Mara\nBag-Count: 9", 456, "9Pic", ("2026-01-19", "2026-01-20"), "photos", ("id-1", "id-0"), 2, 3
    )  # fmt: skip
    lines = bag.info(full, []).decode().splitlines()
    assert "Event: Mara\\u000aBag-Count: 9" in lines
    assert "Event-Dates: 2026-01-19 to 2026-01-20" in lines
    assert lines.count("Bag-Count: 2 of 3") == 1
    assert [line for line in lines if line.startswith("Predecessor")] == [
        "Predecessor: id-1",
        "Predecessor: id-0",
    ]


def test_the_declaration() -> None:
    """The first file that a validator reads (2.1.1)."""
    assert bag.declaration() == b"BagIt-Version: 1.0\nTag-File-Character-Encoding: UTF-8\n"


def test_what_is_no_text_is_written_all_the_same() -> None:
    """A lone surrogate of the service's ends no delivery."""
    assert bag.encoded("a\ud800") == b"a?"
