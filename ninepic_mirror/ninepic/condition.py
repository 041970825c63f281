"""The condition under which a photo is sent that is here already (RFC 9110 §13.1). Plain functions, no I/O."""

from __future__ import annotations

import re
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from ninepic_mirror.model import Known

# Weak ones too: what is asked is whether the photo was replaced, and no bytes are put together by the answer.
_TAG: Final = re.compile(r'(?:W/)?"[\x21\x23-\x7e]*"', re.ASCII)  # RFC 9110 §8.8.3
_DATE: Final = re.compile(r"[A-Za-z0-9,: +-]{1,64}", re.ASCII)


def condition(known: Known | None) -> tuple[str, str] | None:
    """Return the header field that asks for a photo only if it is another one by now, None where none can.

    Args:
        known: What came with the photo that is here. What was stored is not trusted to be a header's value.
    """
    if known is None:
        return None
    if known.etag is not None and _TAG.fullmatch(known.etag):
        return "If-None-Match", known.etag
    if known.last_modified is not None and _is_date(known.last_modified):
        return "If-Modified-Since", known.last_modified
    return None


def is_confirmed(field: tuple[str, str], etag: str | None) -> bool:
    """Say whether a 304 speaks of the photo that is here; else the photo is to be asked for without a condition.

    Args:
        field: The condition, as `condition` returns it.
        etag: Of the 304, None without. A cache may answer for another photo, or for another time's.
    """
    name, value = field
    # compared as the origin compares them: weakly (RFC 9110 §13.1.2)
    return (
        name != "If-None-Match"
        or etag is None
        or etag.removeprefix("W/") == value.removeprefix("W/")
    )


def _is_date(text: str) -> bool:
    if _DATE.fullmatch(text) is None:
        return False
    try:
        parsedate_to_datetime(text)
    except (ValueError, TypeError, OverflowError):
        return False
    return True
