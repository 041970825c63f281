"""Spells an input from a table of fragments: without it a fuzzer would need very long to find a first keyword."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


def spell(data: bytes, fragments: Sequence[bytes]) -> bytes:
    """Put a fragment in the place of each byte that is the number of one; the others, from the end, stand for themselves."""
    table = len(fragments)
    return b"".join(
        fragments[byte] if byte < table else bytes([(byte - table) % 256]) for byte in data
    )


class Bytes:
    """Takes numbers from the front of an input.

    Args:
        data: The input.
    """

    def __init__(self, data: bytes) -> None:
        self.left = data

    def number(self, size: int = 1) -> int:
        """Take the next bytes as a number; 0 where there are none."""
        taken, self.left = self.left[:size], self.left[size:]
        return int.from_bytes(taken)

    def some(self, size: int) -> bytes:
        """Take at most so many bytes."""
        taken, self.left = self.left[:size], self.left[size:]
        return taken
