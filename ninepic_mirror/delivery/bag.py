"""The texts that make a folder a bag (BagIt 1.0, RFC 8493). Pure.

What is not text to UTF-8 (a lone surrogate in a name of the service's) becomes a question mark.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Final

from msgspec import Struct

from ninepic_mirror.progress import format_size, plain

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

DECLARATION: Final = "bagit.txt"
INFO: Final = "bag-info.txt"
MANIFEST: Final = "manifest-sha256.txt"
TAG_MANIFEST: Final = "tagmanifest-sha256.txt"

_AGENT: Final = "ninepic-mirror"


class Label(Struct, frozen=True):
    """What the label of a bag says.

    Args:
        bag_id: Of the package; all its volumes have it.
        date: On which it was made, such as "2026-01-20".
        title: The event's name.
        organisation: For people, None where it is not known.
        dates: First and last day of its photos, None without any.
        contents: What part of the event this is, a sentence.
        predecessors: The bags that this one adds to.
        number: Of the volume, from 1.
        count: How many volumes there are.
    """

    bag_id: str
    date: str
    title: str
    event_id: int
    organisation: str | None
    dates: tuple[str, str] | None
    contents: str
    predecessors: tuple[str, ...] = ()
    number: int = 1
    count: int = 1


def encode_path(path: str) -> str:
    """Return a path as a manifest has it: only these three characters are encoded (RFC 8493, 2.1.3)."""
    return path.replace("%", "%25").replace("\n", "%0A").replace("\r", "%0D")


def manifest(hashes: Mapping[str, str]) -> bytes:
    """Return the text of a manifest: two blanks, as sha256sum writes and reads it.

    Args:
        hashes: Path in the bag → SHA-256, lower-case hex.
    """
    return encoded(
        "".join(f"{digest}  {encode_path(path)}\n" for path, digest in sorted(hashes.items()))
    )


def read_manifest(text: bytes) -> dict[str, str]:
    """Return path → hash of a manifest, as `manifest` writes it.

    Raises:
        ValueError: A line is none, its end is lacking, or its path leads out of the bag.
    """
    found: dict[str, str] = {}
    *lines, rest = text.decode().split("\n")
    if rest:
        raise ValueError(rest)
    for line in lines:
        digest, _, path = line.partition("  ")
        if not path or path.startswith("/") or ".." in path.split("/"):
            raise ValueError(line)
        found[path.replace("%0A", "\n").replace("%0D", "\r").replace("%25", "%")] = digest
    return found


def declaration() -> bytes:
    """Return `bagit.txt`."""
    return b"BagIt-Version: 1.0\nTag-File-Character-Encoding: UTF-8\n"


def info(label: Label, sizes: Iterable[int]) -> bytes:
    """Return `bag-info.txt`.

    Args:
        label: What it says.
        sizes: Bytes of each file of the payload.
    """
    sizes = list(sizes)
    total = sum(sizes)
    lines: list[tuple[str, str]] = []
    if label.organisation is not None:
        lines.append(("Source-Organization", label.organisation))
    lines += [
        ("External-Description", label.contents),
        ("External-Identifier", label.bag_id),
        ("Bagging-Date", label.date),
        ("Bag-Size", format_size(total)),
        ("Payload-Oxum", f"{total}.{len(sizes)}"),
        ("Bag-Group-Identifier", label.bag_id),
        ("Bag-Count", f"{label.number} of {label.count}"),
        ("Bag-Software-Agent", _AGENT),
        ("Event", label.title),
        ("Event-Identifier", str(label.event_id)),
    ]
    if label.dates is not None:
        lines.append(("Event-Dates", " to ".join(dict.fromkeys(label.dates))))
    lines += [("Predecessor", bag_id) for bag_id in label.predecessors]
    # One line each: a name of the service's must not make lines of its own.
    return encoded("".join(f"{key}: {plain(value).strip()}\n" for key, value in lines))


def tag_manifest(texts: Mapping[str, bytes], hashes: Mapping[str, str]) -> bytes:
    """Return `tagmanifest-sha256.txt`.

    Args:
        texts: Path → content of each tag file.
        hashes: Path → SHA-256 of those that are no texts.
    """
    digests = {path: hashlib.sha256(text).hexdigest() for path, text in texts.items()}
    return manifest(digests | dict(hashes))


def encoded(text: str) -> bytes:
    """Return a text as bytes of UTF-8."""
    return text.encode("utf-8", "replace")
