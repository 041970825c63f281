"""Our clock beside the service's: presigned addresses expire by theirs, logs are read by ours."""

from __future__ import annotations

import time
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING

import httpx
import trio

from ninepic_mirror.errors import PassingError
from ninepic_mirror.ninepic.limits import Limits
from ninepic_mirror.ninepic.session import open_http, translate

if TYPE_CHECKING:
    from ninepic_mirror.config import Api


async def clock_offset(api: Api, limits: Limits | None = None) -> float | None:
    """Ask the API origin for the time, once, without the key.

    Returns:
        Seconds by which our clock is ahead, negative when it is behind; exact to a second or two. None when the
        answer has no usable `Date` (RFC 9110 §6.6.1 does not insist on one).

    Raises:
        CertificateError: The origin is not trusted.
        PassingError: It gave no answer.
    """
    limits = limits or Limits()
    async with open_http(api, limits, connections=1, allow_private=True) as http:
        try:
            # Any answer has a Date, a refusal too: so that no key needs to be good to compare clocks.
            with trio.fail_after(limits.head):
                response = await http.head(f"{api.base_url}/")
        except trio.TooSlowError as error:
            raise PassingError(f"{api.base_url} did not answer in {limits.head:.0f} s") from error
        except httpx.HTTPError as error:
            raise translate(error, api.base_url) from error
    try:
        theirs = parsedate_to_datetime(response.headers.get("date", ""))
    except (ValueError, IndexError):
        return None
    return time.time() - theirs.timestamp()
