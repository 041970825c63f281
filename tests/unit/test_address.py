"""Taking URLs apart: what is taken is what httpx would make of it."""

from __future__ import annotations

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ninepic_mirror.ninepic.address import Address, split_url

PLAIN = st.from_regex(
    r"https?://([a-z0-9]([a-z0-9.-]{0,20}[a-z0-9])?|127\.0\.0\.1|\[::1\])(:[1-9][0-9]{0,3})?"
    r"/([!-~]|%[0-9A-Fa-f]{2}){0,40}",
    fullmatch=True,
)


def test_parts() -> None:
    """A URL comes apart into origin, host, port and target, the usual port where none is spelled."""
    assert split_url("https://p.9pic.ai/i/a.jpg?x=%2F&y=1") == Address(
        "https://p.9pic.ai", "https", "p.9pic.ai", 443, "/i/a.jpg?x=%2F&y=1"
    )
    assert split_url("http://[::1]:81/") == Address("http://[::1]:81", "http", "::1", 81, "/")
    address = split_url("http://a/b")
    assert address is not None
    assert address.port == 80


@pytest.mark.parametrize(
    "url",
    [
        "",
        "file:///etc/passwd",
        "https://a",
        "https:///a",
        "HTTPS://a/b",
        "https://A/b",
        "https://a./b",
        "https://u@a/b",
        "https://u:p@a/b",
        "https://a_b/c",
        "https://127。0。0。1/b",
        "https://a:/b",
        "https://a:0/b",
        "https://a:x/b",
        "https://a/b#c",
        "https://a/b c",
        "https://a/b\r\nX: 1",
        "https://a/b\n",
        "https://a/é",
        "https://a/%zz",
        "https://a/b/../c",
        "https://a/./c",
        'https://a/"',
        "https://a\\b/c",
        "https://a?b",
    ],
)
def test_other_spellings(url: str) -> None:
    """Every spelling that a reader could change or misread is left to the slow lane."""
    assert split_url(url) is None


@settings(max_examples=60)  # the strategy is slow
@given(PLAIN)
def test_both_lanes_ask_for_the_same(url: str) -> None:
    """Host, port and target are those that httpx would ask for."""
    address = split_url(url)
    if address is None:
        return
    try:
        other = httpx.URL(url)
    except httpx.InvalidURL:
        return  # a host that is none: `check_url` refuses it when the origin is first met
    assert other.raw_path.decode() == address.target
    assert other.scheme == address.scheme
    assert (other.port or {"http": 80, "https": 443}[other.scheme]) == address.port
    assert other.raw_host.decode() == address.host
