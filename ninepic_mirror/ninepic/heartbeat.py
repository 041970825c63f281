"""One sign of life to a monitor that notices silence. Its address is a secret and never leaves this module whole."""

from __future__ import annotations

import logging
import ssl
from typing import Final

import httpx
import trio

from ninepic_mirror.errors import PassingError
from ninepic_mirror.ninepic.session import USER_AGENT, origin_of, translate

PATIENCE: Final = 10.0  # seconds for all of it


async def send_heartbeat(url: str, *, proxy: str = "", patience: float = PATIENCE) -> None:
    """Ask for `url`, and look at the status only.

    Nothing of the environment is used, and no redirect is followed: the address would leave with it.

    Args:
        url: The monitor's address, as the operator wrote it; it may be in a private network.
        proxy: `[api] proxy`, empty for none.
        patience: Seconds for all of it.

    Raises:
        PassingError: There was no answer in time, or none from 200 to 299. Its text names the origin only.
    """
    for name in ("httpx", "httpcore"):  # at INFO they log the whole address
        logging.getLogger(name).setLevel(logging.WARNING)
    origin = "the address in hooks.ping_url"
    try:
        origin = origin_of(httpx.URL(url))
        with trio.fail_after(patience):
            status = await _ask(url, proxy)
    except trio.TooSlowError as error:
        raise PassingError(f"{origin} did not answer within {patience:g} s") from error
    except (httpx.HTTPError, OSError) as error:
        raise translate(error, origin) from error
    except (httpx.InvalidURL, ValueError) as error:  # their texts repeat the address
        raise PassingError(f"{origin} cannot be asked ({type(error).__name__})") from error
    if not 200 <= status < 300:
        raise PassingError(f"{status} from {origin}")


async def _ask(url: str, proxy: str) -> int:
    async with (
        httpx.AsyncClient(
            verify=ssl.create_default_context(),  # the system's authorities, as everywhere
            trust_env=False,
            follow_redirects=False,
            proxy=proxy or None,
            headers={"User-Agent": USER_AGENT},
            timeout=httpx.Timeout(None),  # one deadline is kept around all of it
        ) as client,
        client.stream("GET", url) as response,
    ):
        return response.status_code
