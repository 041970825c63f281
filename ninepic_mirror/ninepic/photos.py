"""Fetching photos from wherever their URLs point, without the key and without trust (DESIGN §7).

This is the careful lane: redirects, proxies, odd answers. A `stream` is one attempt; whoever calls it runs it, and
the writing to disk with it, through the pacer of the photo origin.
"""

from __future__ import annotations

import re
import time
from collections import Counter
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final, Literal

import httpx
import trio
from msgspec import Struct

from ninepic_mirror.errors import CertificateError, PassingError, PhotoError, UnchangedError
from ninepic_mirror.ninepic.body import Chunks, drain
from ninepic_mirror.ninepic.condition import condition, is_confirmed
from ninepic_mirror.ninepic.guard import is_private_host, is_public, numeric
from ninepic_mirror.ninepic.limits import Limits
from ninepic_mirror.ninepic.session import (
    Trust,
    content_length,
    location_of,
    open_http,
    origin_of,
    passing_status,
    translate,
)

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterator

    from ninepic_mirror.config import Api
    from ninepic_mirror.model import Known
    from ninepic_mirror.ninepic.pacing import Pacer

REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
CONTENT_RANGE: Final = re.compile(
    r"bytes (\d{1,19})-(\d{1,19})/(\d{1,19})", re.ASCII
)  # RFC 9110 §14.4
# Refusals whose text may say that a signed address has expired: S3 and CloudFront answer 403, temporary credentials 400.
EXPIRING: Final = frozenset({400, 401, 403})
_EXPIRED: Final = re.compile(rb"expired|not valid in the specified time frame", re.IGNORECASE)
_NO_HOST: Final = re.compile(
    rb"[^!-~]|[][]"
)  # what stands in no name and no address, RFC 3986 §3.2.2
STRONG: Final = re.compile(r'"[\x21\x23-\x7e]*"', re.ASCII)  # a strong entity tag, RFC 9110 §8.8.3


@asynccontextmanager
async def open_photos(
    api: Api,
    pacer: Pacer,
    limits: Limits | None = None,
    connections: int = 64,
    context: ssl.SSLContext | None = None,
    trust: Trust | None = None,
) -> AsyncIterator[PhotoClient]:
    """Open the client of the photo origin.

    Args:
        api: The `[api]` section; its key is not looked at.
        pacer: The photo origin's. Only told that the origin lives; it is the caller who runs requests through it.
        limits: Other limits than the usual ones.
        connections: The most connections.
        context: As `session.tls_context` returns it, where there is one already.
        trust: In that context, where other clients share it.

    Raises:
        UsageError: `ca_file` or `proxy` cannot be used.
    """
    limits = limits or Limits()
    base = httpx.URL(api.base_url)
    # DESIGN §7, Addresses: where the API itself is plain or private, so may the photos be (sandbox, on-premise).
    relaxed = api.allow_private or base.scheme == "http" or is_private_host(base.host)
    async with open_http(
        api, limits, connections=connections, allow_private=relaxed, context=context
    ) as http:
        yield PhotoClient(http, pacer, limits, trust or Trust(), relaxed=relaxed)


class PhotoStatistics(Struct, frozen=True):
    """What a photo client did: requests sent (redirects included), and body bytes received."""

    requests: int
    bytes: int


class Body:
    """An answer that carries a photo, or the rest of one.

    Attributes:
        status: 200 or 206.
        offset: The byte of the file that the first chunk starts at: 0 unless the status is 206.
        length: The bytes that this body carries, None for a chunked one.
        etag: The `ETag` as sent, None without.
        last_modified: The `Last-Modified` as sent, None without.
        content_type: The `Content-Type` as sent, None without. Not to be believed: the first bytes decide.
    """

    def __init__(self, response: httpx.Response, offset: int, chunks: Chunks) -> None:
        headers = response.headers
        self.status = response.status_code
        self.offset = offset
        self.length = content_length(headers)
        self.etag: str | None = headers.get("etag")
        self.last_modified: str | None = headers.get("last-modified")
        self.content_type: str | None = headers.get("content-type")
        self._chunks = chunks

    @property
    def total(self) -> int | None:
        """The length of the whole file, None when it is not known before the end."""
        return None if self.length is None else self.offset + self.length

    def chunks(self) -> Chunks:
        """Return the bytes: `async for chunk in body.chunks()`; it ends without an error only for a whole body."""
        return self._chunks


class PhotoClient:
    """Fetches photos; `open_photos` makes it."""

    def __init__(
        self,
        http: httpx.AsyncClient,
        pacer: Pacer,
        limits: Limits,
        trust: Trust,
        *,
        relaxed: bool,
    ) -> None:
        self._http = http
        self._limits, self._trust = limits, trust
        self._relaxed = relaxed
        self._requests = 0
        self._statuses: Counter[int] = Counter()
        self._received = 0
        self.pacer = pacer

    def statistics(self) -> PhotoStatistics:
        """Return what was done so far."""
        return PhotoStatistics(self._requests, self._received)

    @property
    def statuses(self) -> dict[int, int]:
        """Answers so far by their status, redirects included; 0: requests without an answer."""
        return dict(self._statuses)

    @asynccontextmanager
    async def stream(
        self,
        url: str,
        *,
        cap: int,
        offset: int = 0,
        validator: str | None = None,
        known: Known | None = None,
    ) -> AsyncIterator[Body]:
        """Make one attempt at a photo.

        Args:
            url: As the listing gives it.
            cap: The most bytes that the whole file may have.
            offset: Bytes that are on disk already.
            validator: The `ETag` that came with them. Without a strong one the file is asked for from its start:
                a weak tag or a date does not promise equal bytes (RFC 9110 §13.1.5).
            known: The whole photo is here, and only another one is wanted; not together with `offset`.

        Yields:
            The body. Its `offset` is 0 where the server sent the whole file though a part was asked for.

        Raises:
            UnchangedError: It is the one that is `known`.
            PhotoError: Address, status, encoding or size rule the photo out for this pass.
            PassingError: Try again; with `restart` set, from byte 0.
            CertificateError: The certificate could not be verified, and none was yet (`session.Trust`).
        """
        headers: dict[str, str] = {}
        if offset and validator and STRONG.fullmatch(validator):
            headers = {"Range": f"bytes={offset}-", "If-Range": validator}
        part, unless = bool(headers), condition(known)
        if unless is not None:
            headers[unless[0]] = unless[1]
        response = await self._open("GET", url, headers)
        if unless is not None and response.status_code == 304:
            with trio.CancelScope(shield=True):
                await response.aclose()
            if is_confirmed(unless, response.headers.get("etag")):
                self.pacer.note_life()
                raise UnchangedError("304 from the photo origin")
            response = await self._open("GET", url, {})
        chunks = None
        try:
            start = await self._examine(response, offset if part else 0, validator)
            _check_framing(response)
            _check_size(response, start, cap)
            chunks = Chunks(response, cap - start, self._limits)
            yield Body(response, start, chunks)
        finally:
            if chunks is not None:
                self._received += chunks.received
                await chunks.abandon()
            with trio.CancelScope(shield=True):
                await response.aclose()

    async def head(self, url: str) -> int | None:
        """Ask for a photo's length in bytes, without the photo; None when the origin does not say.

        Raises:
            PhotoError: Address or status rule the photo out.
            PassingError: Try again.
            CertificateError: As for `stream`.
        """
        response = await self._open("HEAD", url, {})
        try:
            await self._examine(response, 0, None)
            return content_length(response.headers)
        finally:
            with trio.CancelScope(shield=True):
                await response.aclose()

    async def _open(
        self, method: Literal["GET", "HEAD"], url: str, headers: dict[str, str]
    ) -> httpx.Response:
        """Send the request and follow redirects, each address checked anew."""
        target = check_url(url, relaxed=self._relaxed)
        for hop in range(self._limits.redirects + 1):
            response = await self._send(method, target, headers, first=hop == 0)
            location = location_of(response)
            if response.status_code not in REDIRECTS or location is None:
                return response
            with trio.CancelScope(shield=True):
                await response.aclose()
            target = check_url(location, relaxed=self._relaxed, base=target)
        raise PhotoError(f"more than {self._limits.redirects} redirects")

    async def _send(
        self, method: str, url: httpx.URL, headers: dict[str, str], *, first: bool
    ) -> httpx.Response:
        origin = origin_of(url)
        self._requests += 1
        try:
            with trio.fail_after(self._limits.head):
                response = await self._http.send(
                    self._http.build_request(method, url, headers=headers), stream=True
                )
        except trio.TooSlowError as error:
            self._statuses[0] += 1
            raise PassingError(f"{origin} did not answer in {self._limits.head:.0f} s") from error
        except httpx.HTTPError as error:
            self._statuses[0] += 1
            fault = translate(error, origin)
            # Behind a redirect it is an odd address, too.
            if isinstance(fault, CertificateError) and (self._trust.has_verified or not first):
                fault = PhotoError(str(fault), distrust=fault)
            raise fault from error
        self._statuses[response.status_code] += 1
        self._trust.has_verified |= url.scheme == "https"
        return response

    async def _examine(self, response: httpx.Response, offset: int, validator: str | None) -> int:
        """Check the status; return the byte of the file that the body starts at."""
        fault = passing_status(response, time.time())
        if fault is not None:
            await drain(response, self._limits)
            raise fault
        # The origin has answered this request definitely; what comes after concerns this photo alone.
        self.pacer.note_life()
        status = response.status_code
        if status == 200:
            return 0
        if status == 206 and offset:
            _check_range(response, offset, validator)
            return offset
        # Photo stores send what they say of a refusal in chunks; of a signed address it is worth reading.
        is_signed = status in EXPIRING and bool(response.request.url.query)
        body = await drain(response, self._limits, unknown=is_signed)
        if status == 416 and offset:
            raise PassingError("416 from the photo origin: start again", restart=True)
        raise refusal(status, body)


def refusal(status: int, body: bytes) -> PhotoError:
    """Return the error of a definite refusal.

    Args:
        status: Of the answer.
        body: What of its body was read. It is shown to nobody: some stores repeat the signature in it.
    """
    expired = status in EXPIRING and _EXPIRED.search(body) is not None
    return PhotoError(f"{status} from the photo origin", status, expired)


def check_url(text: str, *, relaxed: bool, base: httpx.URL | None = None) -> httpx.URL:
    """Return the address if it may be asked at all. Resolved addresses are checked when connecting.

    Args:
        text: As the listing or a redirect gives it.
        relaxed: Also http, and private addresses (DESIGN §7, Addresses).
        base: What redirects to it; it may be relative to that.

    Raises:
        PhotoError: It may not.
    """
    try:
        url = httpx.URL(text) if base is None else base.join(text)
        host = url.host  # decoded only here, which fails for what is no IDNA (xn--)
        url.raw_host.decode().encode("idna")  # as TLS will: labels of 1 to 63 characters
    except (httpx.InvalidURL, ValueError, TypeError) as error:
        raise PhotoError("the photo's address is not a URL") from error
    if _NO_HOST.search(url.raw_host):  # `https://[fe80::1] [::1]/` is one to httpx
        raise PhotoError("the photo's address is not a URL")
    if url.scheme != "https" and not (relaxed and url.scheme == "http"):
        raise PhotoError(
            f"the photo's address is not https but {url.scheme[:16] or 'without a scheme'}"
        )
    if not host or url.userinfo or not 0 < (url.port or 443) < 65536:
        raise PhotoError("the photo's address has no host, an impossible port, or a user's name")
    # Behind a proxy the guard sees only the proxy; an address in numbers can be judged here nevertheless.
    if not relaxed and not all(map(is_public, numeric(host))):
        raise PhotoError(f"{host} is no public address (allow_private)")
    return url


def _check_framing(response: httpx.Response) -> None:
    """Refuse a body whose end could not be told from a broken connection (RELIABILITY, Facts; RFC 9112 §6.3)."""
    headers = response.headers
    coding = headers.get("content-encoding", "identity").strip().lower()
    if coding not in {"", "identity"}:
        raise PhotoError(f"the body is encoded ({coding[:16]}), though identity was asked for")
    chunked = "transfer-encoding" in headers  # h11 lets no other coding through
    if chunked and "content-length" in headers:
        raise PassingError("the body has both a length and a transfer coding")
    if not chunked and content_length(headers) is None:
        raise PassingError("the body has no length, so that its end cannot be told")


def _check_size(response: httpx.Response, start: int, cap: int) -> None:
    length = content_length(response.headers)
    if length is not None and start + length > cap:
        raise PhotoError(f"{start + length} bytes, more than the {cap} that are accepted")


def _check_range(response: httpx.Response, offset: int, validator: str | None) -> None:
    """Check that a 206 is the rest of the very file that the first part is of (RELIABILITY N22)."""
    headers = response.headers
    match = CONTENT_RANGE.fullmatch(headers.get("content-range", "").strip())
    first, last, total = (int(number) for number in match.groups()) if match else (-1, -1, -1)
    length = content_length(headers)
    is_rest = first == offset and last == total - 1 and length == total - offset
    if not is_rest or headers.get("etag") != validator:
        raise PassingError(
            "the part sent is not the rest of what is on disk: start again", restart=True
        )
