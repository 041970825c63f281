"""Takes out of the service's texts what may be, or come from, a signed address. Plain functions, no I/O.

Every text of the service that may be logged, shown or stored goes through one of the two, where `wire` reads it: names keep
whatever is no query of an address, messages and reasons lose more, since a storage's own errors quote the signature that
it was given, and what it was computed from.
"""

from __future__ import annotations

import re
from typing import Final

_QUERY: Final = re.compile(r"(//[^\s?'\"]*)\?[^\s'\"]*|\?[^\s'\"]*=[^\s'\"]*")
# What may be part of an address, a query, markup or a code.
_CODED: Final = re.compile(r"\S*[=&?<>%/@\\]\S*|\S{41,}")
_SIGNED: Final = re.compile(r"signature|credential|secret|token|x-amz|accesskey", re.IGNORECASE)
_LONGEST: Final = 200  # characters of a message


def unsigned(text: str) -> str:
    """Return text, of several lines too, without the queries of addresses."""
    return _QUERY.sub(r"\1?…", text)


def plain_reason(text: str) -> str:
    """Return a message or reason as one printable line without anything in it that may be, or come from, a signed address."""
    if _SIGNED.search(text):
        return "one that speaks of a signature, which is kept nowhere"
    return _CODED.sub("…", "".join(c if c.isprintable() else " " for c in text))[:_LONGEST]
