"""A head that the fast lane accepts is understood by h11, the parser under httpx, in the same way."""

from __future__ import annotations

from typing import Final

import h11

from ninepic_mirror.ninepic.head import OddAnswerError, body_length, read_head
from tests.torture.fuzzers.spelling import spell

FRAGMENTS: Final = (
    b"\r\n", b": ", b":", b" ", b"\t", b"\r", b"\n", b"\0", b"0", b"5", b"-", b"+", b",", b"bytes 5-9/10",
    b"Content-Length", b"content-length", b"Transfer-Encoding", b"chunked", b"Content-Encoding", b"ETag", b'"v"',
    b"Last-Modified", b"Connection", b"close", b"keep-alive", b"Content-Range", b"Content-Length: 5\r\n",
    b"X: y\r\n", b"Date: x\r\n", b"\r\n\r\n",
)  # fmt: skip


def check(data: bytes) -> None:
    """Read one head with both parsers; nothing is raised but OddAnswerError."""
    raw = b"HTTP/1.1 200 OK\r\n" + spell(data, FRAGMENTS) + b"\r\n\r\n"
    try:
        head = read_head(raw)
        length = body_length(head)
    except OddAnswerError:
        return
    other = h11.Connection(h11.CLIENT)
    other.send(h11.Request(method="GET", target="/", headers=[("Host", "x")]))
    other.send(h11.EndOfMessage())
    other.receive_data(raw)
    event = other.next_event()
    assert isinstance(event, h11.Response), event
    assert event.status_code == head.status
    fields = dict(event.headers)
    assert int(fields[b"content-length"]) == length
    assert all(fields[name].decode() == value for name, value in head.fields.items())
