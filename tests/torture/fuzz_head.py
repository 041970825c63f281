"""Fuzz the fast lane's head parser.

    python tests/torture/fuzz_head.py [-max_total_time=60]

Needs atheris (`pip install atheris`), which is no dependency. What must hold for every input: nothing is raised but
`OddAnswerError`, and a head that is accepted is understood by h11, the parser under httpx, in the same way.
"""

from __future__ import annotations

import sys

import atheris  # type: ignore[import-untyped]  # installed by hand

with atheris.instrument_imports(include=["ninepic_mirror.ninepic.head"]):
    from ninepic_mirror.ninepic.head import OddAnswerError, body_length, read_head

import h11

# Without these the fuzzer would need very long to find a first field; the other bytes stand for themselves.
FRAGMENTS = (
    *(
        b"\r\n",
        b": ",
        b":",
        b" ",
        b"\t",
        b"\r",
        b"\n",
        b"\0",
        b"0",
        b"5",
        b"-",
        b"+",
        b",",
        b"bytes 5-9/10",
    ),
    *(b"Content-Length", b"content-length", b"Transfer-Encoding", b"chunked", b"Content-Encoding"),
    *(b"ETag", b'"v"', b"Last-Modified", b"Connection", b"close", b"keep-alive", b"Content-Range"),
    *(b"Content-Length: 5\r\n", b"X: y\r\n", b"Date: x\r\n", b"\r\n\r\n"),
)


def spell(data: bytes) -> bytes:
    """Make a head of the fuzzer's bytes."""
    table = len(FRAGMENTS)
    return b"HTTP/1.1 200 OK\r\n" + b"".join(
        FRAGMENTS[byte] if byte < table else bytes([byte]) for byte in data
    )


def compare(raw: bytes) -> None:
    """Read one head with both parsers."""
    try:
        head = read_head(raw)
        length = body_length(head)
    except OddAnswerError:
        return
    if not 200 <= head.status < 600 or head.status in {204, 304}:
        return  # without a body in h11, whatever the length says; the fast lane takes no body from these either
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


def main() -> None:
    """Run until told to stop."""
    atheris.Setup(sys.argv, lambda data: compare(spell(data) + b"\r\n\r\n"))
    atheris.Fuzz()


if __name__ == "__main__":
    main()
