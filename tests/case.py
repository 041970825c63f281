"""Six photos in memory and an empty root, for the tests that end passes early (`tests.remote`)."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import trio
import trio.testing

from ninepic_mirror.cli.console import Console
from ninepic_mirror.cli.inspection import Asked
from ninepic_mirror.cli.scrub import Scrub
from ninepic_mirror.config import Mirror
from ninepic_mirror.model import Key
from ninepic_mirror.progress import Silent
from ninepic_mirror.sync.mirror import sync_event
from tests.oracle import check_settled, check_truth, final_files
from tests.remote import EVENT, Remote, session_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection
    from pathlib import Path

    from ninepic_mirror.model import Variant
    from ninepic_mirror.sync.report import PassReport
    from ninepic_mirror.sync.session import Session

RATE = 20  # virtual seconds a second
PHOTOS = 6


class Case:
    """Six photos and an empty root.

    Args:
        root: Where the mirror is to be.
        variants: That are mirrored.
    """

    def __init__(self, root: Path, *variants: Variant) -> None:
        self.remote = Remote().fill(PHOTOS)
        self.settings = Mirror(
            root,
            min_free=0,
            durability="none",
            connections=3,
            variants=variants or ("thumbnail", "large"),
        )

    def body(self, image_id: str, variant: str) -> bytes:
        """Return the bytes of the service."""
        return self.remote.pictures[image_id].body(cast("Variant", variant))

    @property
    def folder(self) -> Path:
        """The event folder."""
        (found,) = self.settings.root.glob(f"{EVENT}*")
        return found

    def run(
        self, work: Callable[[Session], Awaitable[None]], *watchers: trio.abc.Instrument
    ) -> None:
        """Run something with a session, on a clock that runs ahead: one that jumps would do so under working threads."""

        async def main() -> None:
            with trio.fail_after(60 * RATE):  # a deadlock ends here
                await work(session_of(self.remote, self.settings))

        trio.run(main, clock=trio.testing.MockClock(rate=RATE), instruments=watchers)

    def sync(self) -> PassReport:
        """Make an undisturbed pass."""
        reports: list[PassReport] = []

        async def work(session: Session) -> None:
            reports.append(await sync_event(session, EVENT))

        self.run(work)
        return reports[0]

    def check_next(self, damaged: Collection[int] = (), deleted: Collection[str] = ()) -> None:
        """Assert that nothing lies now and that the next pass ends whole and fetches nothing that stands here.

        Args:
            damaged: As `check_truth` takes it; these files are still as they are after the pass.
            deleted: As `check_truth` takes it.
        """
        here: set[str] = set()
        if list(self.settings.root.glob(f"{EVENT}*")):
            check_truth(self.folder, self.body, damaged, deleted)
            here = {
                path.stem + "/" + path.parent.name for path in final_files(self.folder).values()
            }
        self.remote.asked.clear()
        assert self.sync().whole
        assert not {f"{image_id}/{variant}" for image_id, variant in self.remote.asked} & here
        assert check_truth(self.folder, self.body, damaged) == PHOTOS * len(self.settings.variants)
        check_settled(self.folder, damaged)


async def verify(session: Session, *, repair: bool = False) -> Scrub:
    """Run `verify` over the event within a session; return how it ended: its codes, and its entries as JSON."""
    console = Console()
    key = Key("test-key", "the test") if repair else None
    asked = Asked((EVENT,), False, 1.0, None, None, key, None, True, {})
    scrub = Scrub(console, session.config, asked, Silent(), session=session)
    async with scrub.stack:
        await scrub._event(EVENT)
    return scrub
