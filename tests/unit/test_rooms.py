"""Memory for bodies: bounded, used again, never lost."""

from __future__ import annotations

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from ninepic_mirror.sync.rooms import MOST, SIZE, Rooms


async def test_rooms_are_bounded_and_used_again() -> None:
    """So many and no more are made; one that was given back is the next to be taken."""
    rooms = Rooms(2)
    first, second = await rooms.take(), await rooms.take()
    assert (len(first), len(second)) == (SIZE, SIZE)
    assert first is not second
    with trio.move_on_after(0) as scope:
        await rooms.take()
    assert scope.cancelled_caught
    rooms.give(first)
    assert await rooms.take() is first


async def test_no_room_is_no_room() -> None:
    """A body without a room gives none back."""
    rooms = Rooms(1)
    rooms.give(None)
    await rooms.take()
    with trio.move_on_after(0) as scope:
        await rooms.take()
    assert scope.cancelled_caught


async def test_who_waits_gets_what_is_given_back_in_turn() -> None:
    """Each room that is given back lets one waiter go on, the longest waiting first."""
    rooms, got = Rooms(1), list[int]()
    room = await rooms.take()

    async def want(number: int) -> None:
        taken = await rooms.take()
        got.append(number)
        assert taken is room

    async with trio.open_nursery() as nursery:
        for number in range(3):
            nursery.start_soon(want, number)
            await wait_all_tasks_blocked()
        for count in range(3):
            assert got == list(range(count))
            rooms.give(room)
            await wait_all_tasks_blocked()
        assert got == [0, 1, 2]


@pytest.mark.parametrize("when", ["before", "after"])
async def test_a_cancelled_waiter_takes_no_room_with_it(when: str) -> None:
    """Whether it is cancelled before or after a room became free for it, the next one gets that room."""
    rooms = Rooms(1)
    room = await rooms.take()
    kept: list[bytearray] = []

    async def give_up(scope: trio.CancelScope) -> None:
        with scope:
            kept.append(await rooms.take())

    async with trio.open_nursery() as nursery:
        scope = trio.CancelScope()
        nursery.start_soon(give_up, scope)
        await wait_all_tasks_blocked()
        if when == "before":
            scope.cancel()
        rooms.give(room)
        scope.cancel()
        await wait_all_tasks_blocked()
    for one in kept:  # it was under way to it already: then it holds it, as anybody does
        rooms.give(one)
    with trio.fail_after(1):
        assert await rooms.take() is room


async def test_who_comes_between_leaves_nobody_behind() -> None:
    """A room taken before its waiter woke up is waited for again, and had in the end."""
    rooms = Rooms(1)
    room = await rooms.take()
    got: list[bytearray] = []

    async def want() -> None:
        got.append(await rooms.take())

    async with trio.open_nursery() as nursery:
        nursery.start_soon(want)
        await wait_all_tasks_blocked()
        rooms.give(room)
        assert await rooms.take() is room  # at once, before the waiter ran
        await wait_all_tasks_blocked()
        assert got == []
        rooms.give(room)
    assert got == [room]


async def test_many_hands_never_share_a_room() -> None:
    """However tasks take, hold and give back, no two have one room at a time, and all are there in the end."""
    rooms, held, most = Rooms(3), set[int](), 0

    async def work() -> None:
        nonlocal most
        for _ in range(20):
            room = await rooms.take()
            assert id(room) not in held
            held.add(id(room))
            most = max(most, len(held))
            await trio.lowlevel.checkpoint()
            held.remove(id(room))
            rooms.give(room)

    async with trio.open_nursery() as nursery:
        for _ in range(10):
            nursery.start_soon(work)
    assert most == 3
    assert len({id(await rooms.take()) for _ in range(3)}) == 3


async def test_the_usual_number_is_bounded() -> None:
    """Without a number there are `MOST`."""
    rooms = Rooms()
    for _ in range(MOST):
        await rooms.take()
    with trio.move_on_after(0) as scope:
        await rooms.take()
    assert scope.cancelled_caught


async def test_rooms_that_nobody_uses_are_given_back() -> None:
    """Their memory is the system's again; there are as many rooms to be had as before."""
    rooms = Rooms(2)
    one, two = await rooms.take(), await rooms.take()
    rooms.give(one)
    rooms.trim()
    again = await rooms.take()
    assert again is not one
    with trio.move_on_after(0.01) as scope:
        await rooms.take()
    assert scope.cancelled_caught
    rooms.give(two)
    assert await rooms.take() is two
