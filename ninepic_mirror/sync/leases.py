"""Links to originals, leased just in time: they live for about an hour (API.md, original-photos).

A worker that needs a link asks for those of the jobs behind it at once, so that a request serves many files; of no more
than are likely to be fetched within a quarter of the links' life. `Ledger` decides and knows no I/O, `Leases` asks.

    worker: needs a link → one is there and young enough: take it
                         → the service has refused it: that photo fails
                         → a link was seen that cannot be judged before the listing has ended: come again then
                         → wait for the turn; still none: lease a batch of it, of those that wait, of those to come
    the photo origin says 403: the link has expired → once more, with a new one
    a batch fails: its parts, all at the same time, down to single photos; those that fail alone are refused

No link is stored: a restart leases anew. Ages are counted on the monotonic clock, from before the request for a link.
"""

from __future__ import annotations

import math
import re
from collections import deque
from contextlib import contextmanager, suppress
from itertools import chain
from typing import TYPE_CHECKING, Final

import trio
from msgspec import Struct

from ninepic_mirror.archive.patience import EARLY, UNASKED
from ninepic_mirror.errors import (
    EventNotFoundError,
    FeatureOffError,
    PassingError,
    PhotoError,
    RejectedError,
)
from ninepic_mirror.model import Originals
from ninepic_mirror.ninepic.client import BATCH
from ninepic_mirror.sync.session import unwrapped

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Iterator, Sequence

    from ninepic_mirror.sync.context import Api

LIFETIME: Final = 3600.0  # seconds that a link lives, as far as is known (API.md: about 1 hour)
FIRST: Final = 8  # links of a batch while no rate is known: as many requests as a pass begins with
FAILURES: Final = 8  # batches in a row of which not one photo got an answer, after which the pass asks for no more
PARTS: Final = 8  # that a batch which failed is asked for in, at the same time
_SHARE: Final = 0.25  # of its life, in which a batch should be used up
_WORN: Final = (
    0.75  # of its life, after which a link is not begun with, and a 403 is taken for its end
)
_SHORTEST: Final = (
    60.0  # seconds; a link that is refused earlier tells nothing of how long others live
)
_RECENT: Final = 20  # downloads whose rate counts
_PATIENCE: Final = (
    2.0  # seconds to wait for somebody else's request, before other jobs get another worker
)
_UNSURE: Final = (
    "links have names that may be those of other photos, and not all photos of the event are known;"
    " a sync that can list the whole event gets it"
)


# Of a UUID; one of the vendor's own examples has letters beyond f.
_SHAPE: Final = re.compile(r"[0-9a-z]{8}-(?:[0-9a-z]{4}-){3}[0-9a-z]{12}", re.ASCII | re.IGNORECASE)


class EarlyError(Exception):
    """Whose a link is shows when the listing has ended: until then no more are asked for."""


class Link(Struct, frozen=True):
    """Where an original can be had for a while.

    Args:
        url: Never stored, never shown.
        since: When it was asked for, on trio's clock; None: the listing gave it, its age is not known.
    """

    url: str
    since: float | None = None

    def __repr__(self) -> str:
        return "Link(***)"


def batch_size(rate: float | None, lifetime: float = LIFETIME) -> int:
    """Return how many links to lease at once.

    Args:
        rate: Originals a second of late, None before any was had.
        lifetime: Seconds that a link lives.
    """
    return FIRST if rate is None else max(1, min(BATCH, int(rate * lifetime * _SHARE)))


def is_worn(age: float, lifetime: float = LIFETIME) -> bool:
    """Say whether a link is too old to begin with."""
    return age >= lifetime * _WORN


def has_expired(error: PhotoError, age: float | None, lifetime: float = LIFETIME) -> bool:
    """Say whether a refusal means that the link has expired, and not that the photo cannot be had.

    Args:
        error: What the photo origin answered.
        age: Of the link, in seconds; None when it is not known.
        lifetime: Seconds that a link lives.
    """
    return error.expired or (error.status == 403 and (age is None or is_worn(age, lifetime)))


class Ledger:
    """Which links there are, who needs one, and which to ask for next. Its memory is bounded by the jobs under way.

    Attributes:
        off: Why no link can be had any more in this pass, None while they can.
        listed: Whether all photos of the event are known, None while they are being listed.
    """

    def __init__(self) -> None:
        self._jobs: set[str] = set()  # all that are announced or at work
        self._upcoming: dict[str, None] = {}  # on their way to a worker, in order
        self._waiting: dict[str, None] = {}  # with a worker that has no link yet
        self._links: dict[str, Link] = {}
        self._refused: dict[str, str] = {}
        self._alone: set[str] = set()  # a batch did not say which link is theirs
        self._nameless = False  # links never say so: every one is asked for alone
        self._vain = 0  # batches since the last answer, the one under way included
        self._fault = ""  # the last one
        self._unsure = False  # a link had a name that may be a photo's that is not listed yet
        self._lifetime = LIFETIME
        # Of downloads; before them the first one's start.
        self._ends: deque[float] = deque(maxlen=_RECENT + 1)
        self.off: str | None = None
        self.listed: bool | None = None

    # --- jobs ----------------------------------------------------------------------------------------------------

    def announce(self, image_id: str) -> None:
        """A job that needs a link is on its way to a worker."""
        self._jobs.add(image_id)
        self._upcoming[image_id] = None

    def take_up(self, image_id: str) -> None:
        """A worker has it; whether it needs a link is to be seen."""
        self._jobs.add(image_id)
        self._upcoming.pop(image_id, None)

    def close(self, image_id: str) -> None:
        """It is done with, had or not."""
        for entries in (self._waiting, self._links, self._refused):
            entries.pop(image_id, None)
        for ids in (self._jobs, self._alone):
            ids.discard(image_id)

    def finish(self, now: float) -> None:
        """An original was had."""
        self._ends.append(now)

    # --- links ---------------------------------------------------------------------------------------------------

    def take(self, image_id: str, now: float) -> Link | None:
        """Hand out a link that is young enough, None where one is to be leased first."""
        if not self._has(image_id, now):
            self._waiting[image_id] = None
            return None
        self._waiting.pop(image_id, None)
        if not self._ends:
            self._ends.append(now)
        return self._links.pop(image_id)

    def refusal(self, image_id: str) -> str | None:
        """Return why there is no link to be had, None while there may be one."""
        return self._refused.get(image_id) or self.off

    @property
    def is_early(self) -> bool:
        """Whether the listing must end first: a link was seen that cannot be judged before, and most may be like it."""
        return self._unsure and self.listed is None

    @property
    def is_full(self) -> bool:
        """Whether more jobs lack a link, or are on their way, than one request serves."""
        return len(self._waiting) + len(self._upcoming) > BATCH

    def batch(self, image_id: str, now: float) -> tuple[str, ...]:
        """Return the ids to ask for together, the one that is needed first; few while nothing is answered."""
        if self._nameless or image_id in self._alone:
            return (image_id,)
        rate = None if self._vain else self._rate(now)
        size = batch_size(rate, self._lifetime)
        ids = {image_id: None}
        for other in chain(self._waiting, self._upcoming):
            if len(ids) >= size:
                break
            if not (self._has(other, now) or other in self._refused or other in self._alone):
                ids[other] = None
        return tuple(ids)

    def note(
        self,
        asked: Sequence[str],
        found: Originals,
        since: float,
        unsure: Collection[str] = frozenset(),
    ) -> None:
        """Record what the service answered.

        Args:
            asked: The batch.
            found: The answer.
            since: When it was asked for.
            unsure: Ids of which nobody can tell yet whether the link is theirs. Where the listing ends before this is
                recorded, they are asked for again.
        """
        self._unsure = self._unsure or bool(unsure)
        if found.urls or not unsure:
            self._vain = 0
        elif self.listed is False:
            self._fault = _UNSURE
        # Of those that are still wanted: one to come may have been found on the disk meanwhile.
        for image_id in self._jobs.intersection(asked):
            if image_id in unsure:
                if self.listed is False:
                    self._refused[image_id] = f"{EARLY}{_UNSURE}"
            elif image_id in found.urls:
                self._links[image_id] = Link(found.urls[image_id], since)
            elif image_id in found.failed:
                self._refused[image_id] = f"the service gives no original: {found.failed[image_id]}"
            elif len(asked) == 1:
                self._refused[image_id] = "the service gives no original, and no reason"
            else:
                self._alone.add(image_id)
        self._nameless = self._nameless or (bool(found.strangers) and not (found.urls or unsure))

    def note_failure(self, asked: Sequence[str], fault: str) -> list[Sequence[str]]:
        """A request for links failed; return the parts that find out for whose sake, none of a single photo."""
        self._fault = f"no link to the original could be had: {fault}"
        if len(asked) > 1:
            size = math.ceil(len(asked) / PARTS)
            return [asked[start : start + size] for start in range(0, len(asked), size)]
        if asked[0] in self._jobs or asked[0] in self._waiting:
            self._refused[asked[0]] = self._fault
        return []

    def begin(self) -> None:
        """A batch is about to be asked for."""
        self._vain += 1

    def end(self) -> None:
        """It was, with all its parts. Where nothing was answered for several, nothing else is asked for in this pass."""
        if self._vain >= FAILURES and self.off is None:
            self.off = f"{EARLY if self._fault == _UNSURE else UNASKED}{self._fault}"

    def has_expired(self, link: Link, error: PhotoError, now: float) -> bool:
        """Say whether a refusal means that the link has expired; learn from it how long links live."""
        age = _age(link, now)
        expired = has_expired(error, age, self._lifetime)
        if expired and age is not None and age >= _SHORTEST:
            self._lifetime = min(self._lifetime, age)
        return expired

    def _has(self, image_id: str, now: float) -> bool:
        link = self._links.get(image_id)
        return link is not None and not is_worn(_age(link, now) or 0.0, self._lifetime)

    def _rate(self, now: float) -> float | None:
        """Return originals a second of late: until now, so that a standstill counts, too."""
        if len(self._ends) < 2:
            return None
        return (len(self._ends) - 1) / max(now - self._ends[0], 0.001)


def _age(link: Link, now: float) -> float | None:
    return None if link.since is None else now - link.since


class Leases:
    """Leases the links of one pass; shared by all workers.

    Args:
        api: The service.
        event_id: The event.
        known: Tells which of some texts are ids of the event's photos.

    Attributes:
        waiting: Workers that wait for a link.
    """

    def __init__(
        self, api: Api, event_id: int, known: Callable[[Collection[str]], Awaitable[set[str]]]
    ) -> None:
        self._api, self._event_id, self._known = api, event_id, known
        # One request at a time: who waits for its end mostly finds its link leased.
        self._waiters = trio.lowlevel.ParkingLot()
        self._since = math.inf  # when the request under way began
        self._was_slow = False  # the one before
        self.waiting = 0
        self.ledger = Ledger()

    @property
    def is_slow(self) -> bool:
        """Whether links are long in coming: the request under way takes long, or the last one did."""
        return self._was_slow or trio.current_time() - self._since >= _PATIENCE

    @contextmanager
    def at_work(self, image_id: str) -> Iterator[None]:
        """A worker is at work on a job for the length of the block."""
        self.ledger.take_up(image_id)
        try:
            yield
        finally:
            self.ledger.close(image_id)

    async def link(self, image_id: str, struggling: Callable[[], None]) -> Link:
        """Return a link, leased when there is none.

        Args:
            image_id: The photo.
            struggling: Told when it takes long, so that other jobs go on.

        Raises:
            PhotoError: The service gives none.
            EarlyError: The listing has to end first.
            KeyRefusedError, CertificateError, UnreachableError: As the client says.
        """
        ledger = self.ledger
        self.waiting += 1
        try:
            while (link := ledger.take(image_id, trio.current_time())) is None:
                reason = ledger.refusal(image_id)
                if reason is not None:
                    raise PhotoError(reason)
                if ledger.is_early:
                    raise EarlyError
                if self._since == math.inf:
                    await self._lease(ledger.batch(image_id, trio.current_time()))
                else:
                    await self._wait(struggling)
        finally:
            self.waiting -= 1
        return link

    async def _wait(self, struggling: Callable[[], None]) -> None:
        """Wait for the end of somebody else's request."""
        if not self.is_slow:
            with trio.move_on_after(_PATIENCE):
                await self._waiters.park()
                return
        struggling()
        if self._since < math.inf:  # else it ended as our patience did
            await self._waiters.park()

    async def _lease(self, ids: tuple[str, ...]) -> None:
        self._since = trio.current_time()
        self.ledger.begin()
        try:
            await self._ask(ids)
            self.ledger.end()
        finally:
            self._was_slow = trio.current_time() - self._since > _PATIENCE
            self._since = math.inf
            self._waiters.unpark_all()

    async def _ask(self, ids: Sequence[str]) -> None:
        """Ask for a batch; where that fails for its parts, at the same time: the bad ones hold up no others.

        One after the other each bad photo would take as long as all attempts of a request do, most of a minute.
        """
        since = trio.current_time()
        parts: list[Sequence[str]] = []
        try:
            found = await self._api.original_photos(self._event_id, ids)
        except FeatureOffError as error:
            # A key that was revoked meanwhile is refused likewise; then this says so, and ends the run.
            with suppress(PassingError, RejectedError, EventNotFoundError):
                await self._api.images(self._event_id, 1, 1)
            self.ledger.off = str(error)
        except (PassingError, RejectedError, EventNotFoundError) as error:
            parts = self.ledger.note_failure(ids, str(error))
        else:
            own, unsure = await self._own(ids, found)
            self.ledger.note(ids, own, since, unsure)
        self._waiters.unpark_all()  # who has a link now does not wait for the other parts
        if parts:
            with unwrapped():
                async with trio.open_nursery() as nursery:
                    for part in parts:
                        nursery.start_soon(self._ask, part)

    async def _own(self, ids: Sequence[str], found: Originals) -> tuple[Originals, frozenset[str]]:
        """Return the answer without links that name another photo of the event, as a mixed-up or replayed one has.

        Who was among others is asked for alone then. While not all photos are known, a name that is not the photo's own
        may be that of one to come: such links are left out, too, and their ids are returned.
        """
        names = {name for names in found.aliases.values() for name in names}
        # Looked at first: what is listed while the names are looked up may be one of them.
        unsure = frozenset() if self.ledger.listed else self._may_be_others(found)
        others = await self._known(names) if names else set()
        mixed = {image_id for image_id, names in found.aliases.items() if names & others}
        unsure -= mixed
        left_out = mixed | unsure
        if not left_out:
            return found, unsure
        urls = {image_id: url for image_id, url in found.urls.items() if image_id not in left_out}
        reason = (
            {ids[0]: "the link that came is for another photo"} if len(ids) == 1 and mixed else {}
        )
        return Originals(urls, found.failed | reason, found.unmatched, found.strangers), unsure

    def _may_be_others(self, found: Originals) -> frozenset[str]:
        """Return whose link has a name that may be the id of a photo that is not known yet.

        An id is called a UUID (API.md, Facts). Where the photo's own has that shape, no other shape is that of an id.
        """
        return frozenset(
            image_id
            for image_id in found.foreign
            if not _SHAPE.fullmatch(image_id)
            or any(_SHAPE.search(name.replace(image_id, "")) for name in found.aliases[image_id])
        )

    def has_expired(self, link: Link, error: PhotoError) -> bool:
        """Say whether a refusal means that the link has expired."""
        return self.ledger.has_expired(link, error, trio.current_time())

    def finish(self) -> None:
        """An original was had."""
        self.ledger.finish(trio.current_time())
