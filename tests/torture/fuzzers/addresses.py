"""Whatever address a listing, a link or a redirect gives, it is asked as it was judged, or refused; nothing else is raised."""

from __future__ import annotations

from typing import Final

import httpx

from ninepic_mirror.archive.listings import storable
from ninepic_mirror.errors import PhotoError
from ninepic_mirror.ninepic.address import split_url
from ninepic_mirror.ninepic.guard import is_public, numeric
from ninepic_mirror.ninepic.photos import check_url
from ninepic_mirror.ninepic.session import origin_of
from tests.torture.fuzzers.spelling import Bytes, spell

FRAGMENTS: Final = tuple(
    text.encode("utf-8", "surrogatepass")
    for text in (
        "https://", "http://", "//", "/", "photos.9pic.ai", "a", ".", "..", "xn--", "xn--nxasmq6b", "127.0.0.1", "127.1", "0x7f.1", "2130706433",
        "[::1]", "[::ffff:127.0.0.1]", "[fe80::1%25eth0]", "[v1.x]", "[", "]", ":", ":0", ":443", ":99999", ":-1", "@", "u:p@", "?s=1", "#", "%", "%00",
        "%2f", "\\", "\0", "\t", "\n", " ", "é", "ß", "℀", "。", "\u0661", "\u200d", "\u00ad", "\u202e", "\ud800", "😀", "x" * 63, "x" * 64, "x" * 254,
        "_", "*", "-", "ftp:", "file:", "data:,", "javascript:", "HTTPS://", "A",
    )
)  # fmt: skip
SCHEMES: Final = ("https://", "http://", "//", "")
BASE: Final = httpx.URL("https://photos.9pic.ai/456/large/a.jpg?s=1")


def check(data: bytes) -> None:
    """Judge an address, as strictly as in public or not, on its own or as a redirect's."""
    source = Bytes(data)
    which = source.number()
    relaxed, base = bool(which & 1), BASE if which & 2 else None
    text = SCHEMES[which >> 2 & 3] + spell(source.left, FRAGMENTS).decode(
        "utf-8", "surrogateescape"
    )
    kept = storable(text)
    assert kept is None or "?" not in kept, kept
    try:
        url = check_url(text, relaxed=relaxed, base=base)
    except PhotoError:
        return
    assert url.scheme in ({"https", "http"} if relaxed else {"https"})
    assert not url.userinfo
    host = url.raw_host.decode()
    host.encode("idna")  # as TLS does
    assert relaxed or all(map(is_public, numeric(host)))
    assert "s=1" not in origin_of(url)
    request = httpx.Request("GET", url)
    said = request.headers["host"] + url.raw_path.decode()
    assert said.isascii(), said
    assert said.isprintable(), said
    assert " " not in said, said
    fast = split_url(text)
    if fast is not None and base is None:
        assert (fast.host, fast.target) == (host.strip("[]"), url.raw_path.decode())
