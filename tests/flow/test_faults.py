"""Passes while the service misbehaves: nothing wrong is kept, nothing is called whole that is not."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from ninepic_mirror.errors import CertificateError, UnreachableError
from ninepic_mirror.ninepic.backoff import Backoff
from ninepic_mirror.ninepic.limits import Limits
from ninepic_mirror.sandbox import Fault

if TYPE_CHECKING:
    from tests.conftest import OpenBench

FIRST_HOUR = 1768777200  # of the sandbox's events
HOUR = 3600


async def test_a_bad_photo_holds_up_nothing(open_bench: OpenBench) -> None:
    """Each kind of photo that cannot be had is listed with a reason; all others are whole."""
    async with open_bench(photos=40) as bench:
        bench.limits = Limits(
            head=1.0, silence=0.05, rate_window=1.0, photo=1 << 20, thumbnail=1 << 19
        )
        ids = [photo.image_id for photo in bench.sandbox.event(456).photos]
        bad = {
            ids[0]: Fault(kind="gzip", variant="large", image_id=ids[0], amount=2),
            ids[1]: Fault(kind="404", origin="photos", variant="thumbnail", image_id=ids[1]),
            ids[2]: Fault(kind="403", origin="photos", variant="large", image_id=ids[2]),
            ids[3]: Fault(
                kind="redirect", variant="large", image_id=ids[3], to="file:///etc/passwd"
            ),
        }
        bench.sandbox.faults.add(*bad.values())

        report = await bench.sync()

        assert not report.whole
        assert {one.image_id for one in report.failures} == set(bad)
        assert all(one.error for one in report.failures)
        assert report.present == 80 - len(bad)


async def test_a_redirect_is_followed_without_the_key(open_bench: OpenBench) -> None:
    """A photo that moved to another address is fetched from there, and nobody but the API sees the key."""
    async with open_bench(photos=20) as bench:
        first, second = (photo.image_id for photo in list(bench.sandbox.event(456).photos)[:2])
        target = f"{bench.sandbox.photos_url}/imgs/456/large/{second}.jpg"
        bench.sandbox.faults.add(Fault(kind="redirect", variant="large", image_id=first, to=target))

        report = await bench.sync()

        assert report.whole
        assert bench.photos()[f"large/{first}"].read_bytes() == bench.sandbox.event(456).body(
            second, "large"
        )
        for seen in bench.sandbox.requests:
            assert ("x-api-key" in seen.headers) == (seen.origin == "api")


@pytest.mark.parametrize(
    "move",
    [
        Fault(kind="move", how="add", amount=3, after=3),
        Fault(kind="move", how="remove", amount=3, after=4),
        Fault(kind="move", how="retime", amount=3, after=3),
        Fault(kind="move", how="retime", amount=30, after=4),
    ],
    ids=lambda move: f"{move.how}-{move.after}",
)
async def test_listings_that_move_while_they_are_read_lose_nothing(
    open_bench: OpenBench, move: Fault
) -> None:
    """Photos that are added, removed or re-timed between two pages are all there in the end."""
    async with open_bench(photos=260, hours=2, thumb_kb=1) as bench:
        bench.settings = replace(bench.settings, variants=("thumbnail",), durability="none")
        bench.sandbox.faults.add(move)

        report = await bench.sync(accept_removals=True)
        if not report.whole:
            report = await bench.sync(accept_removals=True)

        assert report.whole, report.failures
        here = {name.partition("/")[2] for name in bench.photos()}
        assert {photo.image_id for photo in bench.sandbox.event(456).photos} <= here


async def test_an_exchange_with_equal_totals_is_found_by_a_full_pass(open_bench: OpenBench) -> None:
    """One photo leaves and one comes between two pages: no count shows it, the next full pass does (API.md, end)."""
    async with open_bench(photos=240, hours=2, thumb_kb=1) as bench:
        bench.settings = replace(bench.settings, variants=("thumbnail",), durability="none")
        bench.sandbox.faults.add(Fault(kind="move", how="swap", amount=1, after=3))
        await bench.sync()

        report = await bench.sync(full=True)

        assert report.whole, report.failures
        here = {name.partition("/")[2] for name in bench.photos()}
        assert {photo.image_id for photo in bench.sandbox.event(456).photos} <= here


async def test_repeated_rows_do_no_harm(open_bench: OpenBench) -> None:
    """Rows that stand twice are one photo each, and the pass is whole."""
    async with open_bench(undated=5) as bench:
        bench.sandbox.faults.add(Fault(kind="duplicate_rows", amount=3))

        report = await bench.sync()

        assert report.present == 120
        assert bench.check_content() == 120


async def test_counts_that_lag_hide_no_photo(open_bench: OpenBench) -> None:
    """Photos that the day counts do not know yet are mirrored all the same."""
    async with open_bench() as bench:
        bench.sandbox.faults.add(Fault(kind="count_lag", amount=7))

        report = await bench.sync()

        assert report.whole, report.failures
        assert bench.check_content() == 120


async def test_a_total_that_lies_is_never_whole(open_bench: OpenBench) -> None:
    """When the service reports more photos than it lists, everything listed is here and the pass says what lacks."""
    async with open_bench() as bench:
        bench.sandbox.faults.add(Fault(kind="total_lie", amount=5))

        report = await bench.sync()

        assert not report.whole
        assert report.present == 120
        assert any("5 more photos" in one.error for one in report.failures)


async def test_a_total_of_zero_makes_no_photo_disappear(open_bench: OpenBench) -> None:
    """An empty listing after a good one removes nothing and is not called whole."""
    async with open_bench(photos=20) as bench:
        await bench.sync()
        bench.sandbox.faults.add(Fault(kind="total_lie", value=0))

        report = await bench.sync(full=True)

        assert not report.whole
        assert len(bench.photos()) == 40
        assert report.gone == 0


@pytest.mark.parametrize("lie", [-1, 10**18])
async def test_absurd_totals_are_no_answer(open_bench: OpenBench, lie: int) -> None:
    """A total that no event can have is a malformed answer: asked again for a while, then the end."""
    async with open_bench(photos=20) as bench:
        bench.give_up = 0.2
        bench.sandbox.faults.add(Fault(kind="total_lie", value=lie))

        with pytest.raises(UnreachableError):
            await bench.sync()


HOSTILE = [
    "../../x", "a/b", "CON", "con", "x" * 300, "A-case", "a-CASE", "b5513429-1d05-5f2f-c9f9-bd9f9g3gd355", "", ".", "..",
    "-rf", "a:b", "nul\x00byte", "trailing.", "trailing ", "\u202egpj.exe", "%2e%2e%2f", "'; DROP TABLE photos; --", "~",
]  # fmt: skip


async def test_hostile_ids_stay_inside_and_apart(open_bench: OpenBench, tmp_path: object) -> None:
    """Ids that mean something to a file system are stored under safe names; nothing leaves the event folder."""
    async with open_bench(photos=5) as bench:
        event = bench.sandbox.event(456)
        for image_id in HOSTILE:
            event.add_raw(image_id=image_id, hour=FIRST_HOUR)

        report = await bench.sync()

        assert report.whole, report.failures
        files = [
            path for path in bench.folder.rglob("*") if path.is_file() and path.suffix == ".jpg"
        ]
        assert len(files) == 2 * (5 + len(HOSTILE))
        outside = {path for path in bench.root.rglob("*") if path.is_file()} - set(
            bench.folder.rglob("*")
        )
        assert {path.name for path in outside} == {".ninepic-mirror-root"}


async def test_rows_that_are_no_photos_cost_only_themselves(open_bench: OpenBench) -> None:
    """A row without a usable id is counted and named; the page, and the other photos, are not lost."""
    async with open_bench(photos=20) as bench:
        event = bench.sandbox.event(456)
        event.add_raw(image_id=None, hour=FIRST_HOUR)
        event.add_raw(image_id=7, hour=FIRST_HOUR)

        report = await bench.sync()

        assert not report.whole
        assert report.present == 40
        assert len([one for one in report.failures if one.image_id is None]) >= 2
        # each once, though its hour and the list of all photos name it
        assert len(report.failures) == report.nameless == 2


async def test_a_bad_field_costs_only_what_it_is_for(open_bench: OpenBench) -> None:
    """A photo of which one address is no text has its other file, and the one that lacks is named."""
    async with open_bench(photos=20) as bench:
        bench.sandbox.event(456).add_raw(
            image_id="odd", item={"img_url": 7, "width": "wide"}, hour=FIRST_HOUR
        )

        report = await bench.sync()

        assert [(one.image_id, one.variant) for one in report.failures] == [("odd", "large")]
        assert "no address" in report.failures[0].error
        assert (report.present, report.nameless, report.missing) == (41, 0, 1)


@pytest.mark.parametrize(
    "url",
    [
        "file:///etc/passwd",
        "ftp://127.0.0.1/x.jpg",
        "javascript:alert(1)",
        "http://u:p@127.0.0.1/x",
        "https://xn--/a.jpg",
        "//",
        "",
        None,
    ],
)
async def test_addresses_that_are_none_fail_that_photo(
    open_bench: OpenBench, url: str | None
) -> None:
    """A photo whose address is no plain web address fails with a reason; nothing is opened."""
    async with open_bench(photos=10) as bench:
        bench.sandbox.event(456).add_raw(image_id="odd", img_url=url, hour=FIRST_HOUR)

        report = await bench.sync()

        assert not report.whole
        assert [(one.image_id, one.variant) for one in report.failures] == [("odd", "large")]
        assert report.present == 21


async def test_a_slug_that_climbs_stays_in_the_root(open_bench: OpenBench) -> None:
    """An event slug is a name, never a path."""
    async with open_bench(photos=10) as bench:
        bench.sandbox.event(456).set(slug="../../x")

        report = await bench.sync()

        assert report.whole
        assert [path.name[:4] for path in bench.root.iterdir() if path.is_dir()] == ["456-"]
        assert {path.name for path in bench.root.parent.iterdir()} == {"mirror"}


async def test_a_slug_may_change(open_bench: OpenBench) -> None:
    """An event is found again by its id whatever its slug becomes."""
    async with open_bench(photos=10) as bench:
        await bench.sync()
        bench.sandbox.event(456).set(slug="another-name", name="Another name")

        report = await bench.sync()

        assert (report.whole, report.downloaded) == (True, 0)
        assert bench.folder.name == "456-mumbai-marathon-2026"


async def test_an_untrusted_certificate_ends_at_once(open_bench: OpenBench) -> None:
    """TLS that cannot be verified is never retried and never switched off."""
    async with open_bench(photos=10, tls=True) as bench:
        bench.sandbox.ca_file = None

        with pytest.raises(CertificateError):
            await bench.sync()


async def test_many_bad_photos_that_come_first_hold_up_nothing(open_bench: OpenBench) -> None:
    """When all that is tried first fails for good, the rest is tried nevertheless, and the origin is not called down."""
    async with open_bench(photos=60) as bench:
        bench.give_up = 10.0  # a busy machine was seen to need more than one
        bench.limits = Limits(head=2.0, silence=0.3, backoff=Backoff(base=0.05, cap=0.3))
        bad = [photo.image_id for photo in bench.sandbox.event(456).photos[:20]]
        for image_id in bad:
            bench.sandbox.faults.add(Fault(kind="500", origin="photos", image_id=image_id))

        report = await bench.sync()

        assert not report.whole
        assert {one.image_id for one in report.failures} == set(bad)
        assert (report.failed, report.present) == (40, 80)


async def test_a_captive_portal_is_recognised(open_bench: OpenBench) -> None:
    """When web pages come for one photo after the other, the run ends and says so."""
    async with open_bench(photos=20) as bench:
        bench.sandbox.faults.add(Fault(kind="html", origin="photos", content_type="image/jpeg"))

        with pytest.raises(UnreachableError, match="captive portal"):
            await bench.sync()

        assert not bench.photos()


async def test_a_cut_body_is_continued(open_bench: OpenBench) -> None:
    """A body of which 64 KiB arrived is continued by Range, in the same pass, and the bytes are right."""
    async with open_bench(photos=6, large_kb=400) as bench:
        bench.sandbox.faults.add(Fault(kind="short", variant="large", count=4))

        report = await bench.sync()

        assert report.whole
        ranges = [seen for seen in bench.sandbox.requests if "range" in seen.headers]
        assert len(ranges) == 4
        assert all(seen.status == 206 and "if-range" in seen.headers for seen in ranges)
        bench.check_content()
