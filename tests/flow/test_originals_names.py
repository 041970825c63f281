"""Whose a link to an original is: another photo's bytes must not come under a name, whenever that photo is listed."""

from __future__ import annotations

import json
import zlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest
import trio
import trio.testing
from msgspec import structs

from ninepic_mirror.archive.patience import EARLY
from ninepic_mirror.config import Mirror
from ninepic_mirror.errors import PassingError
from ninepic_mirror.ninepic.wire import read_originals
from ninepic_mirror.sync.context import Options
from ninepic_mirror.sync.leases import FAILURES, FIRST
from ninepic_mirror.sync.mirror import sync_event
from ninepic_mirror.sync.pipeline import GRACE
from tests.remote import EVENT, HOUR, Remote, session_of
from tests.remote import FIRST as START

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from ninepic_mirror.model import Originals, Page, Variant, Window
    from ninepic_mirror.sync.report import PassReport

DAY = (START + HOUR, START + 25 * HOUR)  # begins an hour after the first photo
VARIANTS = pytest.mark.parametrize("variants", [("original",), ("thumbnail", "original")])


@dataclass
class Gateway(Remote):
    """Lists its last hour when links were asked for, and mixes up an answer.

    Attributes:
        mixed: How: "alone" leaves the victim's link out, and gives the thief's where that is asked for alone; "batch"
            suggests the victim's name for the thief's link; "" mixes up nothing.
        victim: Gets the link of `thief`, which is in the last hour.
        camera: Every link has the name of a camera's file beside the photo's own.
        broken: The last hour cannot be listed.
        ghosts: So many photos more than there are does `/images` report.
        stops: The operator stops the pass when it comes to the last hour.
        batches: The photos of each request for links.
        before: How many of them came before the last hour was listed.
    """

    mixed: str = ""
    victim: str = ""
    thief: str = ""
    camera: bool = False
    broken: bool = False
    ghosts: int = 0
    stops: bool = False
    stopping: trio.Event = field(default_factory=trio.Event)
    batches: list[tuple[str, ...]] = field(default_factory=list)
    before: int = 0
    told: trio.Event = field(default_factory=trio.Event)

    def arrive(self, name: str, hours: range, each: int) -> list[str]:
        """Let photos arrive, so many in each of some hours; return their ids."""
        ids = [f"{name}{hour:02}-{number:03}" for hour in hours for number in range(each)]
        for number, image_id in enumerate(ids):
            self.add(image_id, START + hours[number // each] * HOUR + number % each)
        self.victim, self.thief = ids[0], ids[-1]
        return ids

    async def images(self, event_id: int, page: int, page_size: int = 100) -> Page:
        """Answer as `Client.images`, with a total that may lie."""
        found = await super().images(event_id, page, page_size)
        return structs.replace(found, total=found.total + self.ghosts)

    async def timeline_images(
        self, event_id: int, window: Window, page: int, page_size: int = 100
    ) -> Page:
        """Answer as `Client.timeline_images`; for the thief's hour when links were told, which may mix it up."""
        if window.start == (self.pictures[self.thief].taken or 0) // HOUR * HOUR:
            with trio.move_on_after(0.3):  # not at all where nothing is asked for
                await self.told.wait()
            # time for whatever a pass asks for without having this hour
            await trio.testing.wait_all_tasks_blocked(0.05)
            self.before = len(self.batches)
            if self.stops:
                self.stopping.set()
                await trio.sleep_forever()
            if self.broken:
                raise PassingError("500 from the service")
        return await super().timeline_images(event_id, window, page, page_size)

    async def original_photos(self, event_id: int, ids: Sequence[str]) -> Originals:
        """Answer as `Client.original_photos`, read from the body of an answer."""
        self.batches.append(tuple(ids))
        is_mixed = bool(self.mixed) and self.victim in ids
        links = [self.link(one) for one in ids if not (is_mixed and one == self.victim)]
        if is_mixed and self.mixed == "batch":
            links.append(self.link(self.thief) | {"filename": f"{self.victim}.jpg"})
        elif is_mixed and len(ids) == 1:
            links.append(self.link(self.thief))
        if not is_mixed or len(links) == len(ids):
            self.told.set()
        found = await super().original_photos(event_id, ids)
        body = {"presigned_urls": links, "failed_urls": [{"image_id": one} for one in found.failed]}
        return read_originals(json.dumps(body).encode(), tuple(ids))

    def link(self, image_id: str) -> dict[str, str]:
        """Return what an answer says of one photo."""
        name = f"IMG_{zlib.crc32(image_id.encode())}.JPG" if self.camera else f"{image_id}.jpg"
        return {"url": f"https://photos/original/{image_id}?signature=1", "filename": name}

    async def sync(
        self, root: Path, variants: tuple[Variant, ...], day: tuple[int, int] | None = None
    ) -> PassReport:
        """Make a pass."""
        self.batches.clear()
        self.told = trio.Event()
        settings = Mirror(root, variants=variants, min_free=0, durability="none", connections=4)
        session = session_of(self, settings)
        self.stopping = session.stopping
        with trio.fail_after(60):
            return await sync_event(session, EVENT, Options(day=day))

    def fakes(self, root: Path) -> list[str]:
        """Return the mirrored originals that are not what their photos are."""
        return [
            path.stem
            for path in root.rglob("original/*.jpg")
            if path.read_bytes() != self.pictures[path.stem].body("original")
        ]


@VARIANTS
@pytest.mark.parametrize("mixed", ["alone", "batch"])
@pytest.mark.parametrize("later", [False, True])
async def test_a_link_of_a_photo_that_is_not_listed_yet(
    tmp_path: Path, variants: tuple[Variant, ...], mixed: str, later: bool
) -> None:
    """It is refused as one of a photo that is, and every other original comes; so does that, once it has its own link."""
    remote = Gateway()
    ids = remote.arrive("a", range(8), 10)
    if later:
        assert (await remote.sync(tmp_path, variants)).whole
        ids += remote.arrive("n", range(8, 12), 10)
    remote.mixed = mixed
    for _ in range(2):
        report = await remote.sync(tmp_path, variants)
        assert remote.fakes(tmp_path) == []
        assert [(one.image_id, one.error) for one in report.failures] == [
            (
                remote.victim,
                "the service gives no original: the link that came is for another photo",
            )
        ]
    remote.mixed = ""
    report = await remote.sync(tmp_path, variants)
    assert (report.whole, report.present) == (True, len(ids) * len(variants))
    assert remote.fakes(tmp_path) == []


@VARIANTS
async def test_a_service_that_names_links_after_the_camera(
    tmp_path: Path, variants: tuple[Variant, ...]
) -> None:
    """All originals come, those of later photos, too; a pass asks for one batch more than where they have own names."""
    remote = Gateway(camera=True)
    ids, known = remote.arrive("a", range(8), 40), 0
    for _ in range(2):
        report = await remote.sync(tmp_path, variants)
        assert (report.whole, report.downloaded) == (True, (len(ids) - known) * len(variants))
        assert remote.fakes(tmp_path) == []
        assert remote.before == 1
        assert sum(map(len, remote.batches)) <= len(ids) - known + FIRST
        known = len(ids)
        ids += remote.arrive("n", range(8, 14), 40)


async def test_own_names_wait_for_nothing(tmp_path: Path) -> None:
    """Where links have their photos' names, originals come while the rest is listed, each asked for once."""
    remote = Gateway()
    ids = remote.arrive("a", range(8), 40)
    report = await remote.sync(tmp_path, ("original",))
    assert report.whole
    assert remote.before > 1
    assert sorted(one for batch in remote.batches for one in batch) == ids


@VARIANTS
@pytest.mark.parametrize("mixed", ["alone", "batch"])
async def test_a_listing_that_fails_judges_no_name(
    tmp_path: Path, variants: tuple[Variant, ...], mixed: str
) -> None:
    """What may be the link of a photo in an hour that could not be listed is not used, and is the next pass's first."""
    remote = Gateway(mixed=mixed, broken=True)
    ids = remote.arrive("a", range(8), 10)
    report = await remote.sync(tmp_path, variants)
    assert remote.fakes(tmp_path) == []
    (failure,) = [one for one in report.failures if one.image_id is not None]
    assert (report.whole, failure.image_id) == (False, remote.victim)
    assert failure.error.startswith(f"{EARLY}links have names")
    remote.mixed, remote.broken = "", False
    report = await remote.sync(tmp_path, variants)
    assert (report.whole, report.present) == (True, len(ids) * len(variants))
    assert remote.victim in remote.batches[0]
    assert remote.fakes(tmp_path) == []


async def test_names_of_the_camera_and_a_listing_that_fails(tmp_path: Path) -> None:
    """No original comes in that pass, which asks for few; all do in the next."""
    remote = Gateway(camera=True, broken=True)
    ids = remote.arrive("a", range(8), 40)
    report = await remote.sync(tmp_path, ("original",))
    assert (report.whole, report.present, report.failed) == (False, 0, 7 * 40)
    assert len(remote.batches) <= 1 + FAILURES
    remote.broken = False
    report = await remote.sync(tmp_path, ("original",))
    assert (report.whole, report.present) == (True, len(ids))


async def test_names_of_the_camera_and_a_total_that_lies(tmp_path: Path) -> None:
    """Once two passes have listed everything for a total in vain, no photo is waited for; another total is a new one."""
    remote = Gateway(camera=True, ghosts=3)
    ids = remote.arrive("a", range(4), 10)
    report = await remote.sync(tmp_path, ("original",))
    assert (report.whole, report.present, report.failed) == (False, 0, len(ids))
    report = await remote.sync(tmp_path, ("original",))
    assert (report.whole, report.present, report.failed) == (False, len(ids), 0)
    remote.ghosts = 4
    remote.arrive("n", range(4, 5), 10)
    report = await remote.sync(tmp_path, ("original",))
    assert (report.whole, report.present, report.failed) == (False, len(ids), 10)
    assert (await remote.sync(tmp_path, ("original",))).present == len(ids) + 10
    remote.ghosts = 0
    assert (await remote.sync(tmp_path, ("original",))).whole
    assert remote.fakes(tmp_path) == []


async def test_names_of_the_camera_and_a_stop(tmp_path: Path) -> None:
    """Nobody waits for the end of the listing when the operator stops the pass; the next one has all originals."""
    remote = Gateway(camera=True, stops=True)
    ids, began = remote.arrive("a", range(8), 10), trio.current_time()
    report = await remote.sync(tmp_path, ("original",))
    assert trio.current_time() - began < GRACE
    assert (report.stopped, report.present, report.failed) == (True, 0, 0)
    remote.stops = False
    report = await remote.sync(tmp_path, ("original",))
    assert (report.whole, report.present) == (True, len(ids))


async def test_names_of_the_camera_and_a_day(tmp_path: Path) -> None:
    """A pass over one day knows all photos only where the counts say that none of another day lacks."""
    remote = Gateway(camera=True)
    remote.arrive("a", range(4), 10)  # the first hour is of the day before
    report = await remote.sync(tmp_path, ("original",), DAY)
    assert (report.whole, report.present, report.failed) == (False, 0, 30)
    assert {one.error.partition(" have")[0] for one in report.failures if one.image_id} == {
        f"{EARLY}links"
    }
    assert (await remote.sync(tmp_path, ("original",))).whole
    remote.arrive("n", range(1, 2), 5)
    report = await remote.sync(tmp_path, ("original",), DAY)
    assert (report.whole, report.downloaded) == (True, 5)
    remote.arrive("m", range(2), 5)
    report = await remote.sync(tmp_path, ("original",), DAY)
    assert (report.whole, report.downloaded, report.failed) == (False, 0, 5)
    assert (await remote.sync(tmp_path, ("original",))).whole
    assert remote.fakes(tmp_path) == []
