"""Reading the head of an HTTP/1.1 answer, strictly (RFC 9112). Plain functions, no I/O.

What two readers could understand differently is not understood here at all: it goes to the slow lane, which decides.
So the fast lane's speed is never bought with leniency (PERFORMANCE, What follows).
"""

from __future__ import annotations

import re
from typing import Final

LONGEST: Final = 64 * 1024  # bytes of a whole head (PERFORMANCE, What follows)

# One pass over the whole head: status line, field lines, empty line, each ended by CRLF. No white space before a
# colon or at a line's start (obs-fold, RFC 9112 §5.2), no control characters, nothing beyond ASCII. The quantifiers
# are possessive: no head, however odd, makes the expression go back and try again.
_HEAD: Final = re.compile(
    rb"HTTP/1\.1 [1-5][0-9][0-9](?: [\t\x20-\x7e]*+)?\r\n"
    rb"(?:[!#$%&'*+\-.^_`|~0-9A-Za-z]++:[\t\x20-\x7e]*+\r\n)*+\r\n"
)
_LENGTH: Final = re.compile(r"[0-9]{1,15}", re.ASCII)  # 15 digits: a petabyte, and no overflow
_RANGE: Final = re.compile(
    r"bytes ([0-9]{1,15})-([0-9]{1,15})/([0-9]{1,15})", re.ASCII
)  # RFC 9110 §14.4
_READ: Final = frozenset(
    {
        b"connection",
        b"content-encoding",
        b"content-length",
        b"content-range",
        b"content-type",
        b"date",
        b"etag",
        b"last-modified",
        b"location",
        b"retry-after",
        b"transfer-encoding",
    }
)


class OddAnswerError(Exception):
    """The answer is not one that the fast lane understands; the text says why."""


class Head:
    """The head of an answer.

    Attributes:
        status: 100 to 599.
        fields: The fields that concern us, by their name in lower case, without surrounding white space. Each
            occurred once.
    """

    __slots__ = ("fields", "status")

    def __init__(self, status: int, fields: dict[bytes, str]) -> None:
        self.status = status
        self.fields = fields

    @property
    def can_continue(self) -> bool:
        """Whether the connection may carry another request. Any option but `keep-alive` forbids it."""
        return self.fields.get(b"connection", "keep-alive").lower() == "keep-alive"


def read_head(raw: bytes) -> Head:
    """Read a head.

    Args:
        raw: From the status line to the empty line, both included.

    Raises:
        OddAnswerError: It is malformed, or names a field twice that says something to us.
    """
    if _HEAD.fullmatch(raw) is None:
        raise OddAnswerError("the head is malformed")
    fields: dict[bytes, str] = {}
    for line in raw[:-4].split(b"\r\n")[1:]:
        name, _, value = line.partition(b":")
        name = name.lower()
        if name in _READ:
            if name in fields:
                raise OddAnswerError(f"two fields {name.decode()}")
            fields[name] = value.strip(b" \t").decode("ascii")
    return Head(int(raw[9:12]), fields)


def body_length(head: Head) -> int:
    """Return how many bytes follow the head (RFC 9112 §6.3, of which only the plainest case is taken).

    Raises:
        OddAnswerError: Another coding or framing than one plain `Content-Length`.
    """
    fields = head.fields
    for name in (b"transfer-encoding", b"content-encoding"):
        if name in fields:
            raise OddAnswerError(f"a {name.decode()}")
    text = fields.get(b"content-length", "")
    if _LENGTH.fullmatch(text) is None:
        raise OddAnswerError("no plain content-length")
    return int(text)


def is_rest(head: Head, length: int, offset: int, validator: str | None) -> bool:
    """Say whether a 206 is the rest, to its end, of the file of which `offset` bytes are here (RELIABILITY N22).

    Args:
        head: Of the answer.
        length: Its body's.
        offset: The bytes that are here.
        validator: The strong `ETag` that they came with. A 206 has it, too, where the 200 had it (RFC 9110 §15.3.7).
    """
    match = _RANGE.fullmatch(head.fields.get(b"content-range", ""))
    if match is None:
        return False
    first, last, total = map(int, match.groups())
    is_same = head.fields.get(b"etag") == validator
    return is_same and first == offset and last == total - 1 and length == total - offset > 0
