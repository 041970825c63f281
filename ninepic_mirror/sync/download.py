"""Has one file: where it already stands, or over the network, with retries and continuation.

The only module above `ninepic` that sees bodies. One of up to `rooms.SIZE` is read into memory, checked there, and left
to the pipeline to write, so that its connection asks for the next photo meanwhile. A longer one, or the rest of one,
goes to the disk as it comes, `_GATHER` bytes at a time; memory is bounded by connections times that, and the rooms.
"""

from __future__ import annotations

from datetime import UTC
from email.utils import parsedate_to_datetime
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Final

import trio
from msgspec import Struct, structs

from ninepic_mirror.archive.content import content_of, plain_jpeg
from ninepic_mirror.archive.partial import RESUMABLE, Digest, Partial, place
from ninepic_mirror.archive.patience import note_doubtful
from ninepic_mirror.archive.store import Fetched, Ready
from ninepic_mirror.archive.strays import Candidates
from ninepic_mirror.errors import (
    CertificateError,
    PassingError,
    PhotoError,
    UnchangedError,
    UnreachableError,
)
from ninepic_mirror.ninepic.transport import FastBody
from ninepic_mirror.sync import rooms
from ninepic_mirror.sync.leases import EarlyError, Leases, Link

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from ninepic_mirror.archive.content import Content
    from ninepic_mirror.archive.holdings import Holdings
    from ninepic_mirror.archive.records import Job
    from ninepic_mirror.model import Variant
    from ninepic_mirror.sync.bandwidth import Allowance
    from ninepic_mirror.sync.context import Context, PhotoBody

_GATHER: Final = 512 * 1024
_ROOM: Final = (
    1 << 20
)  # bytes from which a single body is worth a look at the free space; each batch takes one
# Photos in a row that came as web pages, or by a certificate that is not trusted: somebody else may answer for the origin
# (RELIABILITY N10), so that a photo is asked for that is known to be had.
_PORTAL: Final = 5


class Failed(Struct, frozen=True, gc=False):
    """A file that could not be had in this pass."""

    job: Job
    reason: str


class Unchanged(Struct, frozen=True, gc=False):
    """A file whose photo is what it was, by the origin's word."""

    job: Job


Outcome = Ready | Fetched | Failed | Unchanged


def _nobody() -> None:
    """Nobody wants to know."""


class Downloader:
    """Has files for one pass; shared by all workers.

    Args:
        context: The pass.
        holdings: The manifest's file side; used in the manifest's thread only.
        allowance: The bandwidth left.
    """

    def __init__(self, context: Context, holdings: Holdings, allowance: Allowance) -> None:
        self._context, self._holdings, self._allowance = context, holdings, allowance
        self._leases = Leases(context.api, context.event_id, self._known)
        self._witness = context.witness
        self._strange: set[str] = set()  # see `_PORTAL`; since the last that came as a photo
        # By image and variant: what was tried in vain and is not given up, with the last fault.
        self._troubled: dict[tuple[str, Variant], str] = {}
        self._early: list[str] = []  # originals that come when the listing has ended
        self.look_for_strays = False
        self.resumable: set[str] = set()

    def announce(self, job: Job) -> None:
        """A job is on its way to a worker: should it need a link, that can be leased together with others."""
        if job.variant == "original" and job.url is None:
            self._leases.ledger.announce(job.image_id)

    @property
    def waiting(self) -> int:
        """How many workers wait for a link that is long in coming, and are of no use meanwhile.

        Where it comes soon they are those who use it: others in their place would be too many a moment later.
        """
        return self._leases.waiting if self._leases.is_slow else 0

    def should_come_last(self, job: Job) -> bool:
        """Say whether a job that needs a link should come when all is listed and all others are sent.

        Either whose a link is cannot be told before; or links are so long in coming that it would stand in their way.
        """
        leases, ledger = self._leases, self._leases.ledger
        if job.variant != "original" or job.url is not None or ledger.listed is not None:
            return False
        is_in_the_way = leases.is_slow and ledger.is_full and len(self._context.variants) > 1
        return ledger.is_early or is_in_the_way

    def end_listing(self, *, complete: bool) -> None:
        """The listing has ended: say whether all photos are known, so that a name which is none of theirs is no photo's."""
        self._leases.ledger.listed = complete

    def take_early(self) -> list[str]:
        """Return, once, the originals that workers came to too early; there are no others from `end_listing` on."""
        early, self._early = self._early, []
        return early

    async def have(self, job: Job, struggling: Callable[[], None] = _nobody) -> Outcome | None:
        """Find the file or fetch it.

        Args:
            job: The file.
            struggling: Told of every attempt that failed and may be made again.

        Returns:
            What became of it; None where it has to come again when the listing has ended (`take_early`).

        Raises:
            StopProgramError: The disk, or the photo origin as a whole, cannot be used.
        """
        if job.variant != "original":
            return await self._have(job, struggling)
        with self._leases.at_work(job.image_id):
            try:
                return await self._have(job, struggling)
            except EarlyError:
                # At once, without a turn of the scheduler: nobody's comes behind the end of the listing (`take_early`).
                self._early.append(job.image_id)
                return None

    async def _have(self, job: Job, struggling: Callable[[], None]) -> Outcome:
        is_believed = job.known is None and not job.doubted
        if is_believed and (job.held is not None or self.look_for_strays):
            found = await self._find(job)
            if found is not None:
                return found
        return await self._fetch(job, struggling)

    async def _fetch(self, job: Job, struggling: Callable[[], None]) -> Outcome:
        if job.url is None and job.variant != "original":
            return Failed(job, "the listing gives no address for it")
        transfer = _Transfer(self._context, job, job.url or "", self._allowance)
        if self.resumable and transfer.path in self.resumable:
            await trio.to_thread.run_sync(transfer.file.resume)
        try:
            if job.variant == "original":
                return await self._original(transfer, struggling)
            return await self._context.pace.run(
                partial(self._watched, transfer, struggling), transfer.probe
            )
        except UnchangedError:
            return Unchanged(job)
        except (PassingError, PhotoError, EarlyError) as error:
            if transfer.size:  # the same pass may come to it again
                self.resumable.add(transfer.path)
            transfer.take_back()
            if isinstance(error, EarlyError):
                raise
            return Failed(job, error.reason)
        except (UnreachableError, CertificateError):
            await self._give_up()
            raise
        finally:
            if self._troubled:
                self._troubled.pop((job.image_id, job.variant), None)

    async def _give_up(self) -> None:
        """Record what was being tried when the run ends: the next one begins with others, and so comes further.

        Else photos that are bad for ever would end each run before a good one had its turn.
        """
        troubled, self._troubled = self._troubled, {}
        failed = [(image_id, variant, fault) for (image_id, variant), fault in troubled.items()]
        with trio.CancelScope(shield=True):
            await self._context.in_manifest(note_doubtful, self._context.manifest, failed)

    async def _original(
        self, transfer: _Transfer, struggling: Callable[[], None]
    ) -> Ready | Fetched:
        """Fetch an original, by the address of the listing or a leased one; where that has expired by another, once.

        Once more for each link that brought bytes: a large file on a slow line may outlive several.
        """
        leases, image_id, reached = self._leases, transfer.job.image_id, -1
        link = Link(transfer.url) if transfer.url else await leases.link(image_id, struggling)
        while True:
            transfer.url = link.url
            try:
                ready = await self._context.pace.run(
                    partial(self._watched, transfer, struggling), transfer.probe
                )
            except PhotoError as error:
                if not leases.has_expired(link, error):
                    raise
                if transfer.size <= reached:
                    raise PhotoError(f"{error.reason}, with a new link, too") from error
            else:
                leases.finish()
                return ready
            reached = transfer.size
            link = await leases.link(image_id, struggling)

    async def _known(self, names: Collection[str]) -> set[str]:
        return await self._context.in_manifest(self._holdings.known, names)

    async def _find(self, job: Job) -> Ready | None:
        context, store, strays = self._context, self._context.store, Candidates()
        stem = store.stem(job.taken, job.variant, job.image_id)
        if self.look_for_strays:
            strays = await context.in_manifest(
                self._holdings.strays.of, stem, job.variant, job.image_id
            )
        old = job.elsewhere(stem)
        if old is not None:
            others = await context.in_manifest(self._holdings.others, [(old, job)])
            job = structs.replace(job, held=None) if others else job
        if job.held is not None:
            held = await context.in_manifest(self._holdings.strays.said, job.held)
            strays = structs.replace(strays, held=held)
        return await trio.to_thread.run_sync(store.find, job, strays)

    async def _watched(
        self, transfer: _Transfer, struggling: Callable[[], None]
    ) -> Ready | Fetched:
        """Make one attempt, and end the run where somebody else answers for the photo origin."""
        try:
            ready = await transfer.attempt()
        except (PassingError, PhotoError, CertificateError) as error:
            job = transfer.job
            self._troubled[job.image_id, job.variant] = str(error)
            if isinstance(error, PassingError):
                struggling()
            fault = _somebody_elses(error, transfer.url)
            if fault is not None:
                self._strange.add(job.image_id)
                # at once, too, where no certificate was found good yet
                if len(self._strange) >= _PORTAL or fault is error:
                    if not await self._witness.answers(self._context, transfer.url):
                        raise fault from (error.__cause__ if fault is error else error)
                    self._strange.clear()
            if isinstance(error, CertificateError):
                raise PhotoError(str(error)) from error
            raise
        self._witness.url = transfer.url
        if self._strange:
            self._strange.clear()
        return ready


def _somebody_elses(
    error: PassingError | PhotoError | CertificateError, url: str
) -> UnreachableError | CertificateError | None:
    """Return what ends the run where a fault is not one of the photo origin's, None where it may be."""
    if isinstance(error, PassingError):
        if not error.html:
            return None
        # not by urlsplit, which refuses some of what httpx takes
        host = url.split("/", 3)[2].partition("?")[0].rpartition("@")[2]
        detail = "web pages come instead of photos; this looks like a captive portal"
        return UnreachableError(host, 0, detail)
    return error.distrust if isinstance(error, PhotoError) else error


class _Transfer:
    """One file over the network, in as many attempts as it takes."""

    def __init__(self, context: Context, job: Job, url: str, allowance: Allowance) -> None:
        self._context, self.job, self.url, self._allowance = context, job, url, allowance
        self._file: Partial | None = None
        self._told = 0  # bytes that people have been told of

    @property
    def path(self) -> str:
        """Where what was cut off stands."""
        return place(self.job.image_id, self.job.variant)

    @property
    def file(self) -> Partial:
        """What stands there; most bodies come whole and never need it."""
        if self._file is None:
            self._file = Partial(self._context.store.tree, self.job.image_id, self.job.variant)
        return self._file

    @property
    def size(self) -> int:
        """Bytes on disk."""
        return 0 if self._file is None else self._file.size

    async def probe(self) -> None:
        """Ask whether the origin lives, see `Witness.ask`."""
        await self._context.witness.ask(self._context, self.url)

    async def attempt(self) -> Ready | Fetched:
        """Continue what is on disk when the origin still has the same body; else begin again, at once.

        A part that does not fit is no failure of the photo: the whole of it was not asked for yet.
        """
        try:
            return await self._request()
        except PassingError as error:
            if not error.restart:
                raise
        await trio.to_thread.run_sync(self.file.restart)
        return await self._request()

    async def _request(self) -> Ready | Fetched:
        """Make one request, for what is not on disk yet."""
        limits, offset = self._context.limits, self.size
        cap = limits.thumbnail if self.job.variant == "thumbnail" else limits.photo
        validator = self.file.validator if offset else None
        async with self._context.photos.stream(
            self.url,
            cap=cap,
            offset=offset,
            validator=validator,
            known=None if offset else self.job.known,
        ) as body:
            if isinstance(body, FastBody) and not offset and self._fits(body):
                return await self._whole(body)
            if body.offset != offset:
                await trio.to_thread.run_sync(self.file.restart)
            elif offset and self.file.total not in {None, body.total}:
                raise PassingError("the part sent is of a photo of another length", restart=True)
            if body.length is None or body.length >= _ROOM:
                self._context.store.check_room(body.length or 0)
            digest = await self._receive(body)
        self._compare(digest.content)
        told = self._told
        return Ready(self.job, self.file.path, digest, body.etag, body.last_modified, told)

    def take_back(self) -> None:
        """The bytes that people were told of came in vain."""
        if self._told:
            self._context.progress.coming(-self._told)
            self._told = 0

    def _tell(self) -> None:
        """Tell people of the bytes on disk: a large file takes minutes."""
        self._context.progress.coming(self.size - self._told)
        self._told = self.size

    def _fits(self, body: FastBody) -> bool:
        return body.length <= rooms.SIZE and not self._allowance.is_limited

    async def _whole(self, body: FastBody) -> Fetched:
        """Take a body into memory and check it there; the pipeline writes it."""
        kept = self._context.rooms
        room = await kept.take() if body.length > rooms.SMALL else None
        try:
            data = await self._read(body, room)
            self._context.tally.bytes_downloaded += len(data)
            content = plain_jpeg(data)
            if content is None:
                content = await trio.to_thread.run_sync(content_of, data, self.job.variant)
        except BaseException:
            kept.give(room)
            raise
        self._compare(content)
        modified = _epoch(body.last_modified)
        return Fetched(self.job, data, content, body.etag, body.last_modified, modified, room)

    async def _read(self, body: FastBody, room: bytearray | None) -> memoryview:
        """Read a body at once. What arrived before a cut is kept for the next attempt."""
        try:
            return await body.read(room)
        except BaseException:
            came = body.partial()
            self._context.tally.bytes_downloaded += len(came)
            if len(came) >= RESUMABLE and _validator(body) is not None:
                with trio.CancelScope(shield=True):
                    await trio.to_thread.run_sync(self._cut_off, bytes(came), body)
            raise

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
                    await trio.to_thread.run_sync(self._append, data, body)
                    self._tell()
            # Handed over before the call: where the end turns out bad the file starts anew, and `_cut_off` must not
            # write the tail of a body as the beginning of the next attempt's.
            data, gathered = b"".join(gathered), []
            return await trio.to_thread.run_sync(self._end, data, _epoch(body.last_modified))
        except BaseException:
            with trio.CancelScope(
                shield=True
            ):  # a few milliseconds of disk, also when we are to stop
                await trio.to_thread.run_sync(self._cut_off, b"".join(gathered), body)
            raise

    def _append(self, data: bytes, body: PhotoBody) -> None:
        self.file.write(data)
        self.file.mark(_validator(body), body.total)

    def _end(self, data: bytes, modified: float | None) -> Digest:
        if data:
            self.file.write(data)
        return self.file.finish(modified)

    def _cut_off(self, data: bytes, body: PhotoBody) -> None:
        try:
            if data and self.file.size + len(data) >= RESUMABLE:
                self.file.write(data)
            self.file.keep(_validator(body), body.total)
        except (PassingError, PhotoError):
            pass  # these bytes are no photo: the file has started anew, and the error under way says why

    def _compare(self, content: Content) -> None:
        """Count a picture whose pixels are not what the API says. Of which variant it says it is unknown (API.md)."""
        seen, told = (content.width, content.height), (self.job.width, self.job.height)
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
