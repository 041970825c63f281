"""The strict head parser: what it accepts is plain, and everything else is odd."""

from __future__ import annotations

import re

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ninepic_mirror.ninepic.head import Head, OddAnswerError, body_length, is_rest, read_head

OK = b"HTTP/1.1 200 OK\r\n"
NAMES = st.from_regex(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]{1,12}", fullmatch=True)
VALUES = st.from_regex(rb"[\t\x20-\x7e]{0,12}", fullmatch=True)


def rest_head(content_range: str, etag: str | None = '"v"') -> Head:
    """Make the head of a 206."""
    fields = {b"content-range": content_range}
    if etag is not None:
        fields[b"etag"] = etag
    return Head(206, fields)


def test_plain_head() -> None:
    """Names are read in any case, values without the white space around them, and what does not concern us not at all."""
    head = read_head(
        OK + b'eTag:\t "a b"  \r\nX-Other: 1\r\nx-other: 2\r\nContent-Length:7\r\n\r\n'
    )
    assert head.status == 200
    assert head.fields == {b"etag": '"a b"', b"content-length": "7"}
    assert body_length(head) == 7


@pytest.mark.parametrize("reason", [b"", b" ", b" OK", b" Not so\tfine!"])
def test_reason_is_free(reason: bytes) -> None:
    """The reason phrase may say anything, and be missing (RFC 9112, section 4)."""
    assert read_head(b"HTTP/1.1 404" + reason + b"\r\n\r\n").status == 404


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"\r\n\r\n",
        b"\r\n" + OK + b"\r\n",
        b"HTTP/1.0 200 OK\r\n\r\n",
        b"HTTP/2 200\r\n\r\n",
        b"HTTP/1.1 200OK\r\n\r\n",
        b"HTTP/1.1  200 OK\r\n\r\n",
        b"HTTP/1.1 20 OK\r\n\r\n",
        b"HTTP/1.1 2000 OK\r\n\r\n",
        b"HTTP/1.1 099 OK\r\n\r\n",
        b"HTTP/1.1 600 OK\r\n\r\n",
        b"http/1.1 200 OK\r\n\r\n",
        "HTTP/1.1 \uff1200 OK\r\n\r\n".encode(),
        OK + b"A: 1\r\n folded\r\n\r\n",
        OK + b" A: 1\r\n\r\n",
        OK + b"A : 1\r\n\r\n",
        OK + b"A\r\n\r\n",
        OK + b": 1\r\n\r\n",
        OK + b"A: \x00\r\n\r\n",
        OK + b"A: \x7f\r\n\r\n",
        OK + b"A: \xe9\r\n\r\n",
        OK + b"A: 1\n\r\n",
        OK + b"A: 1\rB: 2\r\n\r\n",
        OK + b"A: 1\r\n",
        OK + b"A: 1\r\n\r\nHTTP/1.1 200 OK\r\n\r\n",
        OK + b"ETag: 1\r\nETAG: 1\r\n\r\n",
        OK + b"Content-Length: 1\r\nContent-Length: 1\r\n\r\n",
    ],
)
def test_odd_heads(raw: bytes) -> None:
    """Whatever two readers could take for different things is odd."""
    with pytest.raises(OddAnswerError):
        read_head(raw)


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {b"content-length": ""},
        {b"content-length": "+5"},
        {b"content-length": "-5"},
        {b"content-length": "5,5"},
        {b"content-length": "5 5"},
        {b"content-length": "0x5"},
        {b"content-length": "5_0"},
        {b"content-length": "\u0665"},
        {b"content-length": "5" * 16},
        {b"content-length": "5", b"transfer-encoding": "chunked"},
        {b"content-length": "5", b"transfer-encoding": ""},
        {b"content-length": "5", b"content-encoding": "gzip"},
        {b"content-length": "5", b"content-encoding": "identity"},
    ],
)
def test_odd_framing(fields: dict[bytes, str]) -> None:
    """Only one plain length says where a body ends."""
    with pytest.raises(OddAnswerError):
        body_length(Head(200, fields))


@pytest.mark.parametrize(
    ("option", "expected"),
    [(None, True), ("Keep-Alive", True), ("close", False), ("", False), ("keep-alive, x", False)],
)
def test_continuation(option: str | None, expected: bool) -> None:
    """A connection goes on unless its head says anything but `keep-alive`."""
    fields = {} if option is None else {b"connection": option}
    assert Head(200, fields).can_continue is expected


@pytest.mark.parametrize(
    ("head", "length", "expected"),
    [
        (rest_head("bytes 10-19/20"), 10, True),
        (rest_head("bytes 10-19/20", None), 10, False),
        (rest_head("bytes 10-19/20", '"w"'), 10, False),
        (rest_head("bytes 10-19/20", 'W/"v"'), 10, False),
        (rest_head("bytes 9-19/20"), 11, False),
        (rest_head("bytes 11-19/20"), 9, False),
        (rest_head("bytes 10-18/20"), 9, False),
        (rest_head("bytes 10-19/20"), 9, False),
        (rest_head("bytes 10-9/10"), 0, False),
        (rest_head("bytes 10-19/*"), 10, False),
        (rest_head("bytes=10-19/20"), 10, False),
        (rest_head(""), 10, False),
    ],
)
def test_rest_of_a_file(head: Head, length: int, expected: bool) -> None:
    """A 206 is taken only for the exact rest of the very file that the first part is of."""
    assert is_rest(head, length, 10, '"v"') is expected


@settings(max_examples=40)  # the strategies are slow
@given(st.integers(100, 599), st.lists(st.tuples(NAMES, VALUES), max_size=8))
def test_every_plain_head_is_read(status: int, lines: list[tuple[bytes, bytes]]) -> None:
    """A head written by the grammar is read as written, or named for a field that occurs twice."""
    raw = b"HTTP/1.1 %d X\r\n" % status
    raw += b"".join(name + b":" + value + b"\r\n" for name, value in lines) + b"\r\n"
    try:
        head = read_head(raw)
    except OddAnswerError as error:
        assert "two fields" in str(error)  # noqa: PT017  which of the two it is depends on the example
        return
    written = {name.lower(): value.strip(b" \t").decode() for name, value in lines}
    assert head.status == status
    assert head.fields.items() <= written.items()


@given(st.binary(max_size=200) | st.binary(max_size=60).map(lambda tail: OK + tail + b"\r\n\r\n"))
@example(OK + b"\r\n")
def test_anything_else_is_odd(raw: bytes) -> None:
    """Arbitrary bytes never raise anything else, and what is accepted is ASCII lines ended by CRLF and nothing after."""
    try:
        read_head(raw)
    except OddAnswerError:
        return
    assert raw.isascii()
    assert raw.endswith(b"\r\n\r\n")
    assert raw.count(b"\r\n\r\n") == 1
    assert not re.search(rb"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]|\r(?!\n)|(?<!\r)\n", raw)
