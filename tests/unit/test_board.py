"""The board: one line that says what is done now, and which events are stale."""

from __future__ import annotations

from ninepic_mirror.service.board import Board, Traffic, Watched

NOW = 1_768_831_200.0


def board(*events: Watched) -> Board:
    """Return a board with these events."""
    return Board(NOW - 60, events={one.event_id: one for one in events})


def test_at_the_start_there_is_nothing_to_say() -> None:
    """Without events the line still stands."""
    assert board().headline(NOW) == "0 of 0 events whole"


def test_the_next_look_is_told() -> None:
    """Of events at rest the nearest look counts; one that is overdue is looked at now, not in the past."""
    one, two = Watched(1, whole=True, due_at=NOW + 40), Watched(2, due_at=NOW + 9.6)
    assert board(one, two).headline(NOW) == "1 of 2 events whole; next look in 10 s"
    two.due_at = NOW - 5
    assert board(one, two).headline(NOW) == "1 of 2 events whole; next look in 0 s"


def test_an_event_in_trouble_is_not_called_whole() -> None:
    """It was whole when its last pass ended well, but nobody knows whether it still is."""
    assert board(Watched(1, whole=True, trouble="locked")).headline(NOW).startswith("0 of 1")


def test_events_at_work_are_named() -> None:
    """Three of them; more are hinted at."""
    events = [Watched(number, began_at=NOW, whole=True) for number in range(1, 4)]
    assert board(*events).headline(NOW) == "3 of 3 events whole; at work on 1, 2, 3"
    events.append(Watched(4, began_at=NOW))
    assert board(*events).headline(NOW) == "3 of 4 events whole; at work on 1, 2, 3, …"


def test_an_origin_that_is_waited_for_is_named() -> None:
    """At work on something says little while nothing moves because of a `Retry-After`."""
    one = board(Watched(1, began_at=NOW))
    one.traffic = {"api": Traffic(waits=0.4), "photos": Traffic(waits=37.6)}
    assert one.headline(NOW) == (
        "0 of 1 events whole; photos: asks to be left alone for 38 s; at work on 1"
    )


def test_a_common_trouble_is_all_that_is_told() -> None:
    """While nothing can be mirrored, what would be next is of no interest."""
    one = board(Watched(1, due_at=NOW))
    one.note_trouble("storage", "the disk is full", NOW)
    one.note_trouble("service", "no answer", NOW)
    assert one.headline(NOW) == "the disk is full; no answer"


def test_a_trouble_keeps_its_age() -> None:
    """Another text for it makes it no younger; once cleared it begins anew; clearing nothing is fine."""
    one = board()
    one.note_trouble("key", "refused", NOW)
    one.note_trouble("key", "refused again", NOW + 10)
    assert (one.troubles, one.troubled_for("key", NOW + 30)) == ({"key": "refused again"}, 30)
    one.clear_trouble("key")
    one.clear_trouble("key")
    assert one.troubles == {}
    one.note_trouble("key", "refused", NOW + 100)
    assert one.troubled_for("key", NOW + 101) == 1
    assert one.troubled_for("unheard of", NOW) == 60, "since the start"
    assert one.troubled_for("key", NOW) == 0, "the clock was set back"


def test_stale_are_those_that_were_not_whole_for_too_long() -> None:
    """The worst first; what was never whole counts from when it was first watched, what is whole never."""
    hour = 3600.0
    one = board(
        Watched(1, watched_since=NOW - 90 * hour, whole=True, whole_at=NOW - 80 * hour),
        Watched(2, watched_since=NOW - 90 * hour, whole=False, whole_at=NOW - 25 * hour),
        Watched(3, watched_since=NOW - 30 * hour),
        Watched(4, watched_since=NOW - 90 * hour, whole=False, whole_at=NOW - 24 * hour),
        Watched(5, watched_since=0, whole=True, whole_at=NOW - 40 * hour, trouble="locked"),
    )
    assert [watched.event_id for watched in one.stale(NOW)] == [5, 3, 2]
    one.stale_after = 26 * hour
    assert [watched.event_id for watched in one.stale(NOW)] == [5, 3]
    assert Watched(6, watched_since=NOW + 5).stale_for(NOW) == 0
