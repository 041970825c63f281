"""Links to originals: how many are leased at once, how old they may be, and what becomes of those that lack."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, cast

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from ninepic_mirror.archive.patience import EARLY, UNASKED
from ninepic_mirror.errors import (
    EventNotFoundError,
    FeatureOffError,
    KeyRefusedError,
    PassingError,
    PhotoError,
    RejectedError,
)
from ninepic_mirror.model import Originals, Page
from ninepic_mirror.ninepic.client import BATCH
from ninepic_mirror.sync.leases import (
    FAILURES,
    FIRST,
    LIFETIME,
    EarlyError,
    Leases,
    Ledger,
    Link,
    batch_size,
    has_expired,
    is_worn,
)

if TYPE_CHECKING:
    from trio.testing import MockClock

    from ninepic_mirror.sync.context import Api

Answer = Callable[[tuple[str, ...]], Originals]


def links(ids: Sequence[str]) -> Originals:
    """Return an answer with a link for each id."""
    return Originals({one: f"https://s/{one}.jpg?sig=secret" for one in ids}, {})


def ledger(*ids: str) -> Ledger:
    """Return a ledger with these jobs on their way."""
    made = Ledger()
    for one in ids:
        made.announce(one)
    return made


@dataclass
class Service:
    """Answers as told, and remembers what it was asked for."""

    answer: Answer = links
    seconds: float = 1.0
    asked: list[tuple[str, ...]] = field(default_factory=list)
    key: Exception | None = None

    async def original_photos(self, _event_id: int, ids: Sequence[str]) -> Originals:
        """Answer as `Client.original_photos`."""
        self.asked.append(tuple(ids))
        await trio.sleep(self.seconds)
        return self.answer(tuple(ids))

    async def images(self, _event_id: int, _page: int, _page_size: int = 100) -> Page:
        """Answer as `Client.images`."""
        await trio.lowlevel.checkpoint()
        if self.key is not None:
            raise self.key
        return Page((), 0, has_next=False)


def leases(service: Service, *ids: str) -> Leases:
    """Return leases of a service, with these jobs on their way."""

    async def known(names: Collection[str]) -> set[str]:
        await trio.lowlevel.checkpoint()
        return {"a", "b", "c"} & set(names)

    made = Leases(cast("Api", service), 456, known)
    for one in ids:
        made.ledger.announce(one)
    return made


def nobody() -> None:
    """Nobody is told."""


# --- the size of a batch -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rate", "size"),
    [(None, FIRST), (0.0, 1), (0.001, 1), (0.01, 9), (0.05, 45), (1.0, BATCH), (1e9, BATCH)],
)
def test_a_batch_is_used_well_inside_its_hour(rate: float | None, size: int) -> None:
    """As many links as are used up within a quarter of an hour, one at the least, 60 at the most."""
    assert batch_size(rate) == size


@given(st.floats(0, 1e6), st.floats(60, LIFETIME))
def test_a_batch_of_several_outlives_its_use(rate: float, lifetime: float) -> None:
    """At the rate of late, the last file of a batch is begun long before its link is worn."""
    size = batch_size(rate, lifetime)
    assert 1 <= size <= BATCH
    assert size == 1 or not is_worn((size - 1) / rate, lifetime)


def test_the_rate_of_late_sizes_the_next_batch() -> None:
    """Eight at first; then by the last downloads; a standstill makes it small again."""
    book = ledger(*(f"p{number}" for number in range(100)))
    assert len(book.batch("p0", 0.0)) == FIRST
    book.note(("p0",), links(["p0"]), 0.0)
    assert book.take("p0", 0.0) is not None
    for second in range(1, 41):
        book.finish(second * 30.0)  # two a minute: 30 in a quarter of an hour
    assert len(book.batch("p1", 1200.0)) == 30
    assert len(book.batch("p1", 1200.0 + 3600)) == 4


def test_a_batch_takes_who_waits_before_who_is_to_come() -> None:
    """The one in need first, then those that wait, then those on their way; not who has a link or can have none."""
    book = ledger("a", "b", "c", "d", "e")
    for one in ("c", "d"):
        book.take_up(one)
        assert book.take(one, 0.0) is None
    book.note(("a", "b"), Originals({"a": "https://s/a"}, {"b": "no"}), 0.0)
    assert book.batch("d", 1.0) == ("d", "c", "e")


# --- age ---------------------------------------------------------------------------------------------------------------


def test_a_link_is_not_begun_with_when_it_is_old() -> None:
    """At three quarters of its life a link is leased anew before it is used."""
    for age, worn in ((0.0, False), (2699.0, False), (2700.0, True), (1e6, True)):
        book = ledger("a")
        book.note(("a",), links(["a"]), 10.0)
        assert (book.take("a", 10.0 + age) is None) == worn
        assert is_worn(age) == worn


@pytest.mark.parametrize(
    ("error", "age", "expired"),
    [
        (PhotoError("403", 403), 10.0, False),
        (PhotoError("403", 403), 2700.0, True),
        (PhotoError("403", 403), None, True),
        (PhotoError("404", 404), 1e6, False),
        (PhotoError("403", 403, expired=True), 10.0, True),
        (PhotoError("400", 400, expired=True), 10.0, True),
        (PhotoError("too large"), None, False),
    ],
)
def test_a_refusal_that_means_age(error: PhotoError, age: float | None, expired: bool) -> None:
    """A 403 means it for an old link or one of unknown age, and whatever says so does; nothing else does."""
    assert has_expired(error, age) == expired


def test_links_that_live_shorter_are_learned_of() -> None:
    """A link that expires early makes batches smaller and links worn sooner; one that never worked tells nothing."""
    book, gone = ledger("a", "b"), PhotoError("403", 403, expired=True)
    assert book.has_expired(Link("u", 0.0), gone, 5.0)
    assert book.has_expired(Link("u"), gone, 700.0)
    book.note(("a",), links(["a"]), 0.0)
    assert book.take("a", 650.0) is not None
    assert book.has_expired(Link("u", 0.0), gone, 600.0)
    assert not book.has_expired(Link("u", 0.0), PhotoError("404", 404), 100.0)
    book.note(("b",), links(["b"]), 0.0)
    assert book.take("b", 450.0) is None


def test_nothing_is_kept_of_jobs_that_are_done() -> None:
    """Whatever became of a job, and whenever its answer comes, nothing of it stays."""
    book = ledger("a", "b", "c", "d")
    for one in ("a", "b", "c"):
        book.take_up(one)
        book.take(one, 0.0)
    book.note(("a", "b", "c", "d"), Originals({"a": "u", "d": "u"}, {"b": "no"}), 0.0)
    for one in ("a", "b", "c", "d"):
        book.take_up(one)
        book.close(one)
    book.note(("a", "b"), Originals({"a": "u"}, {"b": "no"}), 0.0)
    kept = (book._jobs, book._upcoming, book._waiting, book._links, book._refused, book._alone)
    assert not any(kept)


def test_a_link_does_not_show_itself() -> None:
    """Neither a trace nor a log that quotes a link has its address."""
    assert "secret" not in repr(Link("https://s/a?sig=secret", 0.0))


# --- asking ------------------------------------------------------------------------------------------------------------


async def test_one_request_serves_many(autojump_clock: MockClock) -> None:
    """Workers that come together are served by one request; links lie ready for those behind them."""
    service = Service()
    ids = [f"p{number}" for number in range(10)]
    desk = leases(service, *ids)
    got: dict[str, Link] = {}

    async def work(image_id: str) -> None:
        with desk.at_work(image_id):
            got[image_id] = await desk.link(image_id, nobody)
            desk.finish()

    async with trio.open_nursery() as nursery:
        for one in ids:
            nursery.start_soon(work, one)
    assert {one: link.url for one, link in got.items()} == links(ids).urls
    assert [len(batch) for batch in service.asked] == [FIRST, 2]


async def test_who_waits_long_lets_others_work(autojump_clock: MockClock) -> None:
    """While a request for links takes long, whoever waits for it calls for another worker."""
    service, struggling = Service(seconds=60.0), []
    desk = leases(service, "a", "b")
    async with trio.open_nursery() as nursery:
        for one in ("a", "b"):
            nursery.start_soon(desk.link, one, lambda: struggling.append(trio.current_time()))
    assert (len(struggling), len(service.asked)) == (1, 1)


async def test_links_that_are_long_in_coming(autojump_clock: MockClock) -> None:
    """They are called so from two seconds on, until a request is quick again; who comes meanwhile calls for another at once."""
    service, struggling = Service(seconds=60.0), []
    desk = leases(service, "a")

    def note() -> None:
        struggling.append(trio.current_time())

    async with trio.open_nursery() as nursery:
        nursery.start_soon(desk.link, "a", note)
        await trio.sleep(1)
        assert (desk.is_slow, desk.waiting) == (False, 1)
        await trio.sleep(9)
        assert desk.is_slow
        desk.ledger.announce("b")
        nursery.start_soon(desk.link, "b", note)
        await trio.testing.wait_all_tasks_blocked()
        assert (struggling, desk.waiting) == ([10.0], 2)
    assert (desk.is_slow, desk.waiting) == (True, 0)
    service.seconds = 0.1
    desk.ledger.announce("c")
    await desk.link("c", note)
    assert not desk.is_slow


async def test_who_has_a_link_does_not_wait_for_the_next_request(
    autojump_clock: MockClock,
) -> None:
    """In whatever order they came to wait: those whose link came go on, and one of the others asks."""
    service, ids = Service(seconds=60.0), [f"p{number}" for number in range(FIRST + 2)]
    desk, had = leases(service, *ids), dict[str, float]()

    async def work(image_id: str) -> None:
        with desk.at_work(image_id):
            await desk.link(image_id, nobody)
            had[image_id] = trio.current_time()

    async with trio.open_nursery() as nursery:
        for one in (ids[0], *reversed(ids[1:])):
            nursery.start_soon(work, one)
            await trio.testing.wait_all_tasks_blocked()
    assert sorted(one for one, when in had.items() if when == 60.0) == ids[:FIRST]
    assert max(had.values()) == 120.0


async def test_a_request_that_ends_as_the_patience_does(autojump_clock: MockClock) -> None:
    """Whoever of the two comes first, nobody waits for the end of a request that has ended."""
    for _ in range(40):
        desk = leases(Service(seconds=2.0), "a", "b")
        with trio.fail_after(10):
            async with trio.open_nursery() as nursery:
                for one in ("a", "b"):
                    nursery.start_soon(desk.link, one, nobody)


def test_a_ledger_is_full_with_more_than_a_batch() -> None:
    """Of jobs that lack a link, with a worker or on their way to one."""
    subject = ledger(*(f"p{number}" for number in range(BATCH)))
    assert not subject.is_full
    subject.take_up("p0")
    assert subject.take("p0", 0.0) is None
    assert not subject.is_full
    subject.announce("q")
    assert subject.is_full


async def test_what_a_batch_does_not_name_is_asked_for_alone(autojump_clock: MockClock) -> None:
    """Once, and with nothing else; then the service has none."""

    def answer(ids: tuple[str, ...]) -> Originals:
        found = [one for one in ids if one != "b" and (one != "c" or len(ids) == 1)]
        return Originals(links(found).urls, {}, tuple(one for one in ids if one not in found))

    service = Service(answer)
    desk = leases(service, "a", "b", "c")
    await desk.link("a", nobody)
    with pytest.raises(PhotoError, match="no reason"):
        await desk.link("b", nobody)
    assert (await desk.link("c", nobody)).url == "https://s/c.jpg?sig=secret"
    assert service.asked == [("a", "b", "c"), ("b",), ("c",)]


async def test_a_link_that_is_also_called_by_another_photo_is_not_used(
    autojump_clock: MockClock,
) -> None:
    """A gateway that mixes up or repeats answers: who was among others is asked for alone, then there is none."""

    def answer(ids: tuple[str, ...]) -> Originals:
        aliases = {one: frozenset({"IMG_1"} if one == "a" else {"a"}) for one in ids}
        return structs.replace(links(ids), aliases=aliases, foreign=frozenset(ids))

    service = Service(answer)
    desk = leases(service, "a", "b")
    desk.ledger.listed = True
    await desk.link("a", nobody)
    with pytest.raises(PhotoError, match="is for another photo"):
        await desk.link("b", nobody)
    assert service.asked == [("a", "b"), ("b",)]


def camera(ids: tuple[str, ...]) -> Originals:
    """Answer with links that have the names of a camera's files, of which "x2"'s is "b"."""
    aliases = {one: frozenset({"b" if one == "x2" else f"IMG_{one}"}) for one in ids}
    return structs.replace(links(ids), aliases=aliases, foreign=frozenset(ids))


async def test_a_name_that_may_be_a_photos_waits_for_the_end_of_the_listing(
    autojump_clock: MockClock,
) -> None:
    """Until then no more are asked for, and one that names a known photo is that one's at once."""
    service, ids = Service(camera), [f"x{number}" for number in range(20)]
    desk = leases(service, *ids)
    for one in ids:
        with desk.at_work(one), pytest.raises(EarlyError):
            await desk.link(one, nobody)
    assert (desk.ledger.is_early, [len(batch) for batch in service.asked]) == (True, [FIRST])
    desk.ledger.listed = True
    assert not desk.ledger.is_early
    for one in ids:
        desk.ledger.announce(one)
    for one in ids:
        with desk.at_work(one):
            if one == "x2":
                with pytest.raises(PhotoError, match="is for another photo"):
                    await desk.link(one, nobody)
            else:
                assert (await desk.link(one, nobody)).url == links([one]).urls[one]
    assert [len(batch) for batch in service.asked] == [FIRST, FIRST, 1, FIRST, 4]


async def test_a_listing_that_ends_while_names_are_looked_up(autojump_clock: MockClock) -> None:
    """What is listed in that moment may be what they name: they are looked up again."""
    service, listed = Service(camera), set[str]()

    async def known(names: Collection[str]) -> set[str]:
        found = listed & set(names)
        listed.add("IMG_a")
        desk.ledger.listed = True
        await trio.lowlevel.checkpoint()
        return found

    desk = Leases(cast("Api", service), 456, known)
    with pytest.raises(PhotoError, match="is for another photo"), desk.at_work("a"):
        await desk.link("a", nobody)
    assert service.asked == [("a",), ("a",)]


UUIDS = [f"a440231{number}-0cf4-4e1e-b8e8-ac8e8f2fc2z4" for number in range(3)]


@pytest.mark.parametrize(
    ("name", "is_used"),
    [
        ("IMG_1234", True),
        (f"{UUIDS[0]}-original", True),
        (UUIDS[2], False),
        (f"{UUIDS[2].upper()}_1", False),
    ],
)
async def test_names_that_are_no_ids_are_used_at_once(name: str, is_used: bool) -> None:
    """Where ids have the shape of UUIDs, a camera's name is no photo's that is not listed yet (API.md, Facts)."""
    service = Service(
        lambda ids: structs.replace(
            links(ids), aliases={ids[0]: frozenset({name})}, foreign=frozenset(ids[:1])
        )
    )
    desk = leases(service, UUIDS[0])
    with desk.at_work(UUIDS[0]):
        if is_used:
            assert (await desk.link(UUIDS[0], nobody)).url
        else:
            with pytest.raises(EarlyError):
                await desk.link(UUIDS[0], nobody)


async def test_names_that_cannot_be_judged_in_this_pass(autojump_clock: MockClock) -> None:
    """Where not all photos could be listed such links are not used, and after some batches no more are asked for."""
    service = Service(camera)
    desk, having, refused = await crowd(service, [f"y{number}" for number in range(200)], False)
    assert (having, refused) == (set(), set())
    assert len(service.asked) == FAILURES
    assert str(desk.ledger.off).startswith(f"{EARLY}links have names")


async def test_some_names_that_cannot_be_judged(autojump_clock: MockClock) -> None:
    """They keep no link from the others, which go on being asked for in batches."""

    def answer(ids: tuple[str, ...]) -> Originals:
        odd = frozenset(one for one in ids if int(one[1:]) % 3 == 0)
        aliases = {one: frozenset({f"IMG_{one}"}) for one in odd}
        return structs.replace(links(ids), aliases=aliases, foreign=odd)

    service, ids = Service(answer), [f"y{number}" for number in range(200)]
    desk, having, refused = await crowd(service, ids, False)
    assert having == {one for one in ids if int(one[1:]) % 3}
    assert (refused, desk.ledger.off) == (set(), None)
    assert len(service.asked) == 200 / FIRST


async def test_links_without_an_own_name_cost_one_more_before_the_listing_has_ended(
    autojump_clock: MockClock,
) -> None:
    """Asked for alone, each has a name that may be a photo's: the first of them is, and all come then."""

    def answer(ids: tuple[str, ...]) -> Originals:
        return camera(ids) if len(ids) == 1 else Originals({}, {}, ids, strangers=len(ids))

    service, ids = Service(answer), [f"y{number}" for number in range(20)]
    desk = leases(service, *ids)
    for complete in (None, True):
        desk.ledger.listed = complete
        for one in ids:
            with desk.at_work(one):
                if complete is None:
                    with pytest.raises(EarlyError):
                        await desk.link(one, nobody)
                else:
                    await desk.link(one, nobody)
    assert [len(batch) for batch in service.asked] == [FIRST, 1, *[1] * 20]


async def test_links_without_names_are_asked_for_alone_from_then_on(
    autojump_clock: MockClock,
) -> None:
    """Where links do not say whose they are, batches are of no use."""

    def answer(ids: tuple[str, ...]) -> Originals:
        return links(ids) if len(ids) == 1 else Originals({}, {}, ids, strangers=len(ids))

    ids = [f"p{number}" for number in range(20)]
    service = Service(answer)
    desk = leases(service, *ids)
    for one in ids:
        with desk.at_work(one):
            await desk.link(one, nobody)
    assert [len(batch) for batch in service.asked] == [FIRST, *[1] * 20]


@pytest.mark.parametrize(
    "fault", [PassingError("500 from the service"), RejectedError("x", 422), EventNotFoundError(4)]
)
async def test_a_photo_that_breaks_its_batch_stands_alone_in_the_end(
    autojump_clock: MockClock, fault: Exception
) -> None:
    """Batches that fail get smaller until the bad photo fails by itself; then they grow again."""

    def answer(ids: tuple[str, ...]) -> Originals:
        if "p2" in ids:
            raise fault
        return links(ids)

    ids = [f"p{number}" for number in range(20)]
    service = Service(answer)
    desk = leases(service, *ids)
    for one in ids:
        with desk.at_work(one):
            if one == "p2":
                with pytest.raises(PhotoError, match="no link to the original could be had"):
                    await desk.link(one, nobody)
            else:
                await desk.link(one, nobody)
    assert len(service.asked) <= 12
    assert len(service.asked[-1]) > 1


async def test_a_bad_photo_fails_few_batches(autojump_clock: MockClock) -> None:
    """Those of the halves that it is in, and none of the others', in whatever order workers come for links."""

    def answer(ids: tuple[str, ...]) -> Originals:
        if "p5" in ids:
            raise PassingError("500 from the service")
        return links(ids)

    ids = [f"p{number}" for number in range(40)]
    service = Service(answer)
    desk, lacking = leases(service, *ids), []

    async def work(jobs: Iterator[str]) -> None:
        for one in jobs:
            with desk.at_work(one):
                try:
                    await desk.link(one, nobody)
                except PhotoError:
                    lacking.append(one)

    jobs = iter(ids)
    async with trio.open_nursery() as nursery:
        for _ in range(8):
            nursery.start_soon(work, jobs)
    assert lacking == ["p5"]
    assert sum("p5" in batch for batch in service.asked) <= 1 + 3


async def crowd(
    service: Service, ids: Sequence[str], listed: bool | None = None
) -> tuple[Leases, set[str], set[str]]:
    """Let eight workers want links for all of these; return also who has one, and who was refused alone."""
    desk, having, refused = leases(service, *ids), set[str](), set[str]()
    desk.ledger.listed = listed

    async def work(jobs: Iterator[str]) -> None:
        for one in jobs:
            with desk.at_work(one):
                try:
                    await desk.link(one, nobody)
                    having.add(one)
                except PhotoError as error:
                    if not error.reason.startswith((EARLY, UNASKED)):
                        refused.add(one)

    jobs = iter(ids)
    async with trio.open_nursery() as nursery:
        for _ in range(8):
            nursery.start_soon(work, jobs)
    return desk, having, refused


def picky(bad: Collection[str]) -> Answer:
    """Answer no batch that holds one of these."""

    def answer(ids: tuple[str, ...]) -> Originals:
        if not set(ids).isdisjoint(bad):
            raise PassingError("500 from the service")
        return links(ids)

    return answer


@pytest.mark.parametrize("bad_first", [True, False])
async def test_many_bad_photos_keep_no_link_from_the_others(
    autojump_clock: MockClock, bad_first: bool
) -> None:
    """Forty and six, in any order: each that fails costs no more than the time of its batch and of it alone."""
    bad, good = [f"b{number}" for number in range(40)], [f"g{number}" for number in range(6)]
    ids = [*bad, *good] if bad_first else sorted([*bad, *good], key=lambda one: one[::-1])
    service = Service(picky(bad), seconds=45.0)
    _, having, refused = await crowd(service, ids)
    assert (having, refused) == (set(good), set(bad))
    assert trio.current_time() <= 45.0 * 2 * 8


async def test_a_large_batch_finds_its_bad_photo_in_three_steps(autojump_clock: MockClock) -> None:
    """Eight parts, then eight photos, while all others are served; a job that is done meanwhile leaves nothing."""
    ids = [f"p{number}" for number in range(BATCH)]
    service = Service(picky({"p41", "p42"}), seconds=45.0)
    desk = leases(service, *ids)
    await desk._ask(tuple(ids))
    assert trio.current_time() == 3 * 45.0
    assert len(service.asked) == 1 + 8 + 8
    assert set(desk.ledger._refused) == {"p41", "p42"}
    for one in ids:
        desk.ledger.close(one)
    await desk._ask(("p41",))
    assert (desk.ledger._refused, desk.ledger._links) == ({}, {})


async def test_a_call_that_fails_for_every_photo_ends_soon(autojump_clock: MockClock) -> None:
    """A thousand photos are not asked for one by one: a few batches, in some twelve minutes, and the rest not at all."""
    service = Service(picky(ids := [f"p{number}" for number in range(1000)]), seconds=45.0)
    desk, having, refused = await crowd(service, ids)
    assert (len(having), len(refused)) == (0, FAILURES * FIRST)
    assert trio.current_time() <= 45.0 * 2 * FAILURES == 720
    assert len(service.asked) == FAILURES * (FIRST + 1)
    assert desk.ledger.off == (
        f"{UNASKED}no link to the original could be had: 500 from the service"
    )


async def test_what_ends_the_run_does_so_from_a_part_of_a_batch(autojump_clock: MockClock) -> None:
    """As itself, and not in a group."""

    def answer(ids: tuple[str, ...]) -> Originals:
        raise PassingError("500") if len(ids) > 1 else KeyRefusedError(403, 903)

    desk = leases(Service(answer), "a", "b")
    with pytest.raises(KeyRefusedError):
        await desk.link("a", nobody)


async def test_a_call_that_always_fails_is_given_up(autojump_clock: MockClock) -> None:
    """After some failures in a row the rest of the pass asks for no more links."""

    def answer(_ids: tuple[str, ...]) -> Originals:
        raise PassingError("500 from the service")

    service = Service(answer)
    desk = leases(service)
    for number in range(100):
        with pytest.raises(PhotoError, match="500 from the service"):
            await desk.link(f"p{number}", nobody)
    assert len(service.asked) == FAILURES


@pytest.mark.parametrize("lookup", [None, PassingError("500")])
async def test_a_call_that_is_switched_off_is_asked_once(
    autojump_clock: MockClock, lookup: Exception | None
) -> None:
    """A 403 of the call, while the key is good, is every original's failure, and not asked about again."""

    def answer(_ids: tuple[str, ...]) -> Originals:
        raise FeatureOffError(456, "original-photos")

    service = Service(answer, key=lookup)
    desk = leases(service)
    for one in ("a", "b"):
        with pytest.raises(PhotoError, match="switched off"):
            await desk.link(one, nobody)
    assert len(service.asked) == 1


async def test_a_revoked_key_ends_the_run(autojump_clock: MockClock) -> None:
    """A 403 of the call that is the key's is told as such."""

    def answer(_ids: tuple[str, ...]) -> Originals:
        raise FeatureOffError(456, "original-photos")

    desk = leases(Service(answer, key=KeyRefusedError(403, 903)))
    with pytest.raises(KeyRefusedError):
        await desk.link("a", nobody)


async def test_an_expired_link_is_leased_again(autojump_clock: MockClock) -> None:
    """Ages are counted from before the request; a link that lay too long is not handed out."""
    service = Service(seconds=10.0)
    desk = leases(service, "a", "b")
    first = await desk.link("a", nobody)
    assert first.since == 0.0
    await trio.sleep(2700)
    assert desk.has_expired(first, PhotoError("403", 403))
    assert (await desk.link("b", nobody)).since == 2710.0
