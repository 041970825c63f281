"""Photos that are bad for ever hold up nothing, and are told from an outage (DESIGN §7): a photo is asked for that is known to be had."""

from __future__ import annotations

import ssl
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
import trio
import trustme

from ninepic_mirror.errors import CertificateError, UnreachableError
from ninepic_mirror.ninepic import pacing
from ninepic_mirror.ninepic.backoff import Backoff
from ninepic_mirror.ninepic.limits import Limits
from ninepic_mirror.sandbox import Fault

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable

    from tests.conftest import Bench, OpenBench

HOUR = 1768777200  # the first of the sandbox's events


@asynccontextmanager
async def quick_bench(
    open_bench: OpenBench, monkeypatch: pytest.MonkeyPatch, photos: int, *, tls: bool = False
) -> AsyncIterator[Bench]:
    """Open one whose waits, and those before a probe, are short."""
    monkeypatch.setattr(pacing, "AGAIN", 0.1)
    async with open_bench(photos=photos, tls=tls) as bench:
        bench.limits = Limits(head=5.0, silence=5.0, backoff=Backoff(base=0.005, cap=0.03))
        bench.give_up = 3.0
        bench.settings = replace(bench.settings, variants=("large",), connections=10)
        yield bench


def break_photos(bench: Bench, kind: str, ids: Iterable[str]) -> set[str]:
    """Let these photos be bad from now on."""
    found = set(ids)
    bench.sandbox.faults.add(
        *(Fault(kind=kind, origin="photos", image_id=image_id) for image_id in found)
    )
    return found


def ids(bench: Bench) -> list[str]:
    """Return the photos in the order in which they are listed."""
    return [photo.image_id for photo in bench.sandbox.event(456).photos]


@pytest.mark.parametrize("kind", ["html", "500"])
async def test_new_photos_that_are_bad_hold_up_nothing(
    open_bench: OpenBench, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """They are listed pass after pass, and all others come, though nothing else is there at first to show that the origin lives."""
    async with quick_bench(open_bench, monkeypatch, 12) as bench:
        assert (await bench.sync()).whole
        before = set(ids(bench))
        bench.sandbox.event(456).add(9, HOUR)
        bad = break_photos(bench, kind, set(ids(bench)) - before)
        for good in (12, 15):
            report = await bench.sync()
            assert {one.image_id for one in report.failures if one.image_id} == bad
            assert (report.failed, report.present) == (9, good)
            bench.sandbox.event(456).add(3, HOUR)


@pytest.mark.parametrize(("kind", "match"), [("html", "captive portal"), ("500", "500 from")])
async def test_an_outage_is_one_though_a_photo_is_known(
    open_bench: OpenBench, monkeypatch: pytest.MonkeyPatch, kind: str, match: str
) -> None:
    """Where the photo that was had does not come either, the run ends as one, and the next makes good what it recorded."""
    async with quick_bench(open_bench, monkeypatch, 12) as bench:
        await bench.sync()
        bench.sandbox.event(456).add(9, HOUR)
        bench.sandbox.faults.add(Fault(kind=kind, origin="photos"))
        bench.give_up = 0.5
        with pytest.raises(UnreachableError, match=match):
            await bench.sync()
        bench.sandbox.faults.clear()
        report = await bench.sync()
        assert (report.whole, report.present) == (True, 21)


@pytest.mark.parametrize("kind", ["html", "500"])
async def test_a_first_pass_comes_further_run_by_run(
    open_bench: OpenBench, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """Where everything that is tried first is bad, and nothing is known to ask for, the next run begins with other photos."""
    async with quick_bench(open_bench, monkeypatch, 40) as bench:
        bench.give_up = 0.3
        bad = break_photos(bench, kind, [*ids(bench)[:12], *sorted(ids(bench))[:12]])
        report, runs = None, 0
        while report is None:
            runs += 1
            assert runs <= len(bad)
            try:
                report = await bench.sync()
            except UnreachableError:
                bench.give_up += 0.3  # a busy machine: less than all that are bad in a run
        assert runs > 1
        assert {one.image_id for one in report.failures if one.image_id} == bad
        assert (report.failed, report.present) == (len(bad), 40 - len(bad))


@asynccontextmanager
async def stranger() -> AsyncIterator[str]:
    """Serve an address whose certificate nobody trusts."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("127.0.0.1").configure_cert(context)

    async def handle(raw: trio.SocketStream) -> None:
        stream = trio.SSLStream(raw, context, server_side=True)
        try:
            await stream.do_handshake()
        except trio.BrokenResourceError:
            pass
        finally:
            await trio.aclose_forcefully(stream)

    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(trio.serve_tcp, handle, 0)
        yield f"https://127.0.0.1:{listeners[0].socket.getsockname()[1]}"
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("count", [1, 7])
async def test_photos_of_a_host_that_is_not_trusted_hold_up_nothing(
    open_bench: OpenBench, monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    """They are listed, also where nothing else is to be had: that the authority is good was seen at the API."""
    async with (
        stranger() as host,
        quick_bench(open_bench, monkeypatch, 10, tls=True) as bench,
    ):
        await bench.sync()
        event = bench.sandbox.event(456)
        for number in range(count):
            event.add_raw(image_id=f"odd{number}", img_url=f"{host}/{number}.jpg", hour=HOUR)
        for _ in range(2):
            report = await bench.sync()
            assert (report.failed, report.present) == (count, 10)
            assert all("not trusted" in one.error for one in report.failures if one.image_id)


async def test_a_photo_origin_that_is_not_trusted_ends_the_run(
    open_bench: OpenBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where every photo's certificate is bad, an authority is missing here, and the cure is told, whatever the API's is."""
    async with (
        stranger() as host,
        quick_bench(open_bench, monkeypatch, 0, tls=True) as bench,
    ):
        for number in range(7):
            bench.sandbox.event(456).add_raw(
                image_id=f"odd{number}", img_url=f"{host}/{number}.jpg", hour=HOUR
            )
        with pytest.raises(CertificateError):
            await bench.sync()
