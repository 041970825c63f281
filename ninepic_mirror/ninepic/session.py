"""Opening an httpx client that trusts nothing, and turning its errors into ours (DESIGN §7).

Two such clients exist, one for the API and one for the photos, and this is all they share. Only this package knows
httpx and httpcore exceptions (STYLE, habit 4).
"""

from __future__ import annotations

import logging
import ssl
from contextlib import asynccontextmanager
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import TYPE_CHECKING, Final

import httpcore
import httpx
from msgspec import Struct

from ninepic_mirror import __version__
from ninepic_mirror.errors import CertificateError, MirrorError, PassingError, UsageError
from ninepic_mirror.ninepic.backoff import read_retry_after
from ninepic_mirror.ninepic.guard import Guard

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Mapping

    from ninepic_mirror.config import Api
    from ninepic_mirror.ninepic.limits import Limits

USER_AGENT: Final = f"ninepic-mirror/{__version__}"
KEEPALIVE: Final = (
    30.0  # seconds; load balancers close idle connections after 60 s or so, and we want to be first
)
PASSING: Final = frozenset({408, 425, 429})  # with every 5xx, DESIGN §8


class Trust(Struct):
    """Whether what verifies certificates is known to be right; shared by the clients that share a context.

    Before it verified any, the authority is missing on this machine, and nothing can be had (`CertificateError`). From
    then on one odd certificate is that of one address (DESIGN §7: one bad photo), whichever client met the good one.
    """

    has_verified: bool = False


@asynccontextmanager
async def open_http(
    api: Api,
    limits: Limits,
    *,
    connections: int | None,
    allow_private: bool,
    context: ssl.SSLContext | None = None,
) -> AsyncIterator[httpx.AsyncClient]:
    """Open a client: system's and configured authorities, no environment, no cookies, no redirects, checked addresses.

    Args:
        api: For `ca_file` and `proxy`.
        limits: For the connect timeout; every other limit is kept by the caller, round the whole answer.
        connections: The most connections; None for no bound of its own.
        allow_private: Whether addresses outside the public Internet may be connected to.
        context: As `tls_context` returns it, where there is one already.

    Raises:
        UsageError: `ca_file` or `proxy` cannot be used.
    """
    # Both log every URL with its query at INFO, and so the signatures of presigned links (RELIABILITY, Facts).
    for name in ("httpx", "httpcore"):
        logging.getLogger(name).setLevel(logging.WARNING)
    context = context or tls_context(api)
    transport = httpx.AsyncHTTPTransport(verify=context, trust_env=False)
    pool = _pool(api, context, connections, allow_private=allow_private)
    transport._pool = (
        pool  # private, because httpx offers no other way to give httpcore a network backend
    )
    async with httpx.AsyncClient(
        transport=transport,
        trust_env=False,
        follow_redirects=False,
        cookies=CookieJar(DefaultCookiePolicy(allowed_domains=[])),
        headers={"User-Agent": USER_AGENT, "Accept-Encoding": "identity"},
        timeout=httpx.Timeout(None, connect=limits.connect),
        event_hooks={"response": [_set_location_aside]},
    ) as client:
        yield client


async def _set_location_aside(response: httpx.Response) -> None:
    """Keep httpx from reading a `Location`, which it does though it follows none, and badly: `http://xn--/` crashes it."""
    location = response.headers.pop("location", None)
    if location is not None:
        response.extensions["location"] = location


def location_of(response: httpx.Response) -> str | None:
    """Return the `Location` of an answer, as sent; None where there is none."""
    found = response.extensions.get("location")
    return found if isinstance(found, str) else None


def _pool(
    api: Api, context: ssl.SSLContext, connections: int | None, *, allow_private: bool
) -> httpcore.AsyncConnectionPool:
    if not api.proxy:
        return httpcore.AsyncConnectionPool(
            ssl_context=context,
            max_connections=connections,
            keepalive_expiry=KEEPALIVE,
            network_backend=Guard(allow_private=allow_private),
        )
    proxy = httpx.Proxy(api.proxy)
    if proxy.url.scheme not in {"http", "https"}:
        raise UsageError("api.proxy is no http or https proxy", "write http://host:port")
    return httpcore.AsyncHTTPProxy(
        proxy_url=httpcore.URL(str(proxy.url.copy_with(userinfo=b""))),
        proxy_auth=proxy.raw_auth,
        ssl_context=context,
        max_connections=connections,
        keepalive_expiry=KEEPALIVE,
        # Only the proxy is connected to, and the operator named it; it resolves and judges the addresses behind it.
        network_backend=Guard(allow_private=True),
    )


def tls_context(api: Api) -> ssl.SSLContext:
    """Return the verifying context: the system's authorities and, added to them, the configured one.

    Reading the authorities takes 40 ms, so the clients of one run share it: it holds nothing that belongs to an origin.

    Raises:
        UsageError: `ca_file` cannot be read, or holds no certificate.
    """
    context = ssl.create_default_context()
    if api.ca_file is not None:
        try:
            context.load_verify_locations(cafile=str(api.ca_file))
        except OSError as error:  # ssl.SSLError is one
            raise UsageError(
                f"api.ca_file cannot be used: {error}", "name a file of PEM certificates"
            ) from error
    return context


def origin_of(url: httpx.URL) -> str:
    """Return scheme, host and port (the port where it is not the usual one), for people."""
    port = f":{url.port}" if url.port else ""
    return f"{url.scheme}://{url.host}{port}"


def translate(error: Exception, origin: str) -> MirrorError:
    """Turn what httpx raised into our error; raise `from` the original to keep the cause.

    The text of a network library's error is not taken over where it may hold a URL or a header.
    """
    certificate = _certificate_fault(error)
    if certificate is not None:
        return CertificateError(origin, certificate)
    if answers_plainly(error):
        return PassingError(f"{origin} does not speak TLS: it answered in plain text (is it http?)")
    if isinstance(error, httpx.ProxyError):
        return PassingError(f"the proxy refused to reach {origin}")
    if isinstance(error, httpx.ConnectTimeout | httpx.ConnectError):
        return PassingError(f"no connection to {origin}: {str(error) or _reason(error)}")
    return PassingError(f"the connection to {origin} broke ({type(error).__name__})")


def answers_plainly(error: BaseException) -> bool:
    """Say whether a TLS handshake was answered by what is no TLS at all, such as HTTP: `https` where `http` is due."""
    # OpenSSL's word for a first record that does not begin as one. One that was garbled on the way would, as a rule,
    # fail in what follows.
    return any(
        isinstance(link, ssl.SSLError) and link.reason in {"WRONG_VERSION_NUMBER", "HTTP_REQUEST"}
        for link in _chain(error)
    )


def _reason(error: BaseException) -> str:
    """Return what the innermost cause says: httpx often says nothing itself."""
    said = [str(link) or type(link).__name__ for link in _chain(error)]
    return said[-1]


def _certificate_fault(error: BaseException) -> str | None:
    """Look for a failed verification down the chain."""
    for link in _chain(error):
        if isinstance(link, ssl.SSLCertVerificationError):
            return link.verify_message or "verification failed"
    return None


def _chain(error: BaseException) -> Iterator[BaseException]:
    """Yield an error and its causes: httpx wraps httpcore, which wraps trio, which wraps ssl."""
    link: BaseException | None = error
    while link is not None:
        yield link
        link = link.__cause__ or link.__context__


def passing_status(response: httpx.Response, now: float) -> PassingError | None:
    """Return the error of a status that may pass (DESIGN §8), None for every other status.

    Args:
        response: Only its status and headers are looked at.
        now: Our wall clock, epoch seconds.
    """
    status, headers = response.status_code, response.headers
    if status not in PASSING and status < 500:
        return None
    wait = None
    if status in {
        429,
        503,
    }:  # on others RFC 9110 §10.2.3 gives Retry-After no meaning that concerns us
        wait = read_retry_after(headers.get("retry-after"), now, headers.get("date"))
    refused = status == 429 or (status == 503 and "retry-after" in headers)
    origin = origin_of(response.request.url)
    return PassingError(f"{status} from {origin}", refused=refused, retry_after=wait)


def content_length(headers: Mapping[str, str]) -> int | None:
    """Return the `Content-Length`, None where there is none; h11 has refused malformed and conflicting ones."""
    text = headers.get("content-length", "")
    return int(text) if text.isascii() and text.isdigit() and len(text) < 20 else None
