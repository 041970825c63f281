"""Has one file: where it already stands, or over the network, with retries and continuation.

The only module above `ninepic` that sees bodies. Bytes are gathered in memory up to `_GATHER` and written in a
thread, so a small photo costs one thread hop; memory is bounded by connections times that.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC
from email.utils import parsedate_to_datetime
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

import trio

from ninepic_mirror.archive.partial import RESUMABLE, Digest, Partial, digest_of
from ninepic_mirror.archive.store import Ready
from ninepic_mirror.errors import PassingError, PhotoError, UnreachableError
from ninepic_mirror.ninepic.transport import FastBody

if TYPE_CHECKING:
    from ninepic_mirror.archive.holdings import Holdings
    from ninepic_mirror.archive.records import Job
    from ninepic_mirror.sync.bandwidth import Allowance
    from ninepic_mirror.sync.context import Context, PhotoBody

_GATHER: Final = 512 * 1024
SMALL: Final = (
    64 * 1024
)  # bytes of a body that waits for its batch in memory: 256 of them are 16 MiB
_ROOM: Final = (
    1 << 20
)  # bytes from which a single body is worth a look at the free space; each batch takes one
_PORTAL: Final = 5  # photos in a row that came as web pages: a captive portal answers for the origin (RELIABILITY N10)


@dataclass(frozen=True, slots=True)
class Failed:
    """A file that could not be had in this pass."""

    job: Job
    reason: str


Outcome = Ready | Failed


class Downloader:
    """Has files for one pass; shared by all workers.

    Args:
        context: The pass.
        holdings: The manifest's file side; used in the manifest's thread only.
        allowance: The bandwidth left.
    """

    def __init__(self, context: Context, holdings: Holdings, allowance: Allowance) -> None:
        self._context, self._holdings, self._allowance = context, holdings, allowance
        self._pages: set[str] = (
            set()
        )  # photos that came as web pages since the last that came as a photo
        self.look_for_strays = False
        self.resumable: set[str] = set()

    async def have(self, job: Job) -> Outcome:
        """Find the file or fetch it.

        Raises:
            StopProgramError: The disk, or the photo origin as a whole, cannot be used.
        """
        found = await self._find(job)
        if found is not None:
            return found
        if job.url is None:
            return Failed(job, "the listing gives no address for it")
        transfer = _Transfer(self._context, job, job.url, self._allowance)
        if transfer.file.path in self.resumable:
            await trio.to_thread.run_sync(transfer.file.resume)
        try:
            ready = await self._context.pace.run(partial(self._watched, transfer))
        except (PassingError, PhotoError) as error:
            if transfer.file.size:  # the same pass may come to it again
                self.resumable.add(transfer.file.path)
            return Failed(job, error.reason)
        return ready

    async def _find(self, job: Job) -> Ready | None:
        if job.held is None and not self.look_for_strays:
            return None
        store, stray = self._context.store, None
        if self.look_for_strays:
            stem = store.stem(job.taken, job.variant, job.image_id)
            stray = await self._context.in_manifest(self._holdings.stray, stem)
        return await trio.to_thread.run_sync(store.find, job, stray)

    async def _watched(self, transfer: _Transfer) -> Ready:
        """Make one attempt, and stop the program when web pages come for one photo after the other."""
        try:
            ready = await transfer.attempt()
        except PassingError as error:
            if error.html:
                self._pages.add(transfer.job.image_id)
                if len(self._pages) >= _PORTAL:
                    raise UnreachableError(
                        urlsplit(transfer.url).netloc.rpartition("@")[2],
                        0,
                        "web pages come instead of photos; this looks like a captive portal",
                    ) from error
            raise
        self._pages.clear()
        return ready


class _Transfer:
    """One file over the network, in as many attempts as it takes."""

    def __init__(self, context: Context, job: Job, url: str, allowance: Allowance) -> None:
        self._context, self.job, self.url, self._allowance = context, job, url, allowance
        self.file = Partial(context.store.tree, job.image_id, job.variant)

    async def attempt(self) -> Ready:
        """Make one request; continue what is on disk when the origin still has the same body."""
        limits, file = self._context.limits, self.file
        cap = limits.thumbnail if self.job.variant == "thumbnail" else limits.photo
        try:
            async with self._context.photos.stream(
                self.url, cap=cap, offset=file.size, validator=file.validator
            ) as body:
                if isinstance(body, FastBody) and self._is_small(body):
                    return await self._whole(body)
                if body.offset != file.size:
                    await trio.to_thread.run_sync(file.restart)
                if body.length is None or body.length >= _ROOM:
                    self._context.store.check_room(body.length or 0)
                digest = await self._receive(body)
        except PassingError as error:
            if error.restart:
                await trio.to_thread.run_sync(file.restart)
            raise
        self._compare(digest)
        return Ready(self.job, file.path, digest, body.etag, body.last_modified)

    def _is_small(self, body: FastBody) -> bool:
        return not self.file.size and body.length <= SMALL and not self._allowance.is_limited

    async def _whole(self, body: FastBody) -> Ready:
        """Take a small body into memory and check it there: no thread is asked, and commit writes it with its batch."""
        data = await body.read()
        self._context.tally.bytes_downloaded += len(data)
        digest = digest_of(data, self.job.variant)
        self._compare(digest)
        modified = _epoch(body.last_modified)
        return Ready(
            self.job, self.file.path, digest, body.etag, body.last_modified, data, modified
        )

    async def _receive(self, body: PhotoBody) -> Digest:
        """Write the body as it comes. What arrived before a cut is kept for the next attempt."""
        gathered: list[bytes] = []
        size = 0
        try:
            async for chunk in body.chunks():
                self._context.tally.bytes_downloaded += len(chunk)
                await self._allowance.spend(len(chunk))
                gathered.append(chunk)
                size += len(chunk)
                if size >= _GATHER:
                    data, gathered, size = b"".join(gathered), [], 0
                    await trio.to_thread.run_sync(self.file.write, data)
            # Handed over before the call: where the end turns out bad the file starts anew, and `_cut_off` must not
            # write the tail of a body as the beginning of the next attempt's.
            data, gathered = b"".join(gathered), []
            return await trio.to_thread.run_sync(self._end, data, _epoch(body.last_modified))
        except BaseException:
            with trio.CancelScope(
                shield=True
            ):  # a few milliseconds of disk, also when we are to stop
                await trio.to_thread.run_sync(self._cut_off, b"".join(gathered), _validator(body))
            raise

    def _end(self, data: bytes, modified: float | None) -> Digest:
        if data:
            self.file.write(data)
        return self.file.finish(modified)

    def _cut_off(self, data: bytes, validator: str | None) -> None:
        try:
            if data and self.file.size + len(data) >= RESUMABLE:
                self.file.write(data)
            self.file.keep(validator)
        except (PassingError, PhotoError):
            pass  # these bytes are no photo: the file has started anew, and the error under way says why

    def _compare(self, digest: Digest) -> None:
        """Count a picture whose pixels are not what the API says. Of which variant it says it is unknown (API.md)."""
        seen, told = (
            (digest.content.width, digest.content.height),
            (self.job.width, self.job.height),
        )
        if self.job.variant == "large" and None not in seen and None not in told and seen != told:
            self._context.tally.resized += 1


def _validator(body: PhotoBody) -> str | None:
    """Return what `If-Range` may use: a strong ETag (RFC 9110 §13.1.5). A date is one for a second only."""
    return None if body.etag is None or body.etag.startswith("W/") else body.etag


@lru_cache(maxsize=1024)  # photos come in the order of their time, many with the same second
def _epoch(last_modified: str | None) -> float | None:
    """Return `Last-Modified` in epoch seconds, None for one that cannot be read."""
    if last_modified is None:
        return None
    try:
        moment = parsedate_to_datetime(last_modified)
        return moment.replace(tzinfo=moment.tzinfo or UTC).timestamp()
    except (ValueError, TypeError, OverflowError):
        return None
