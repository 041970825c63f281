"""Boards as a daemon would fill them, for what shows them."""

from __future__ import annotations

from typing import Final

from ninepic_mirror.service.board import Board, Traffic, Watched
from ninepic_mirror.sync.report import Failure

NOW: Final = 1_768_831_200.0  # 2026-01-19 14:00 UTC
HOUR: Final = 3600
FIRST: Final = 1_768_784_400  # 2026-01-19 01:00 UTC

HOSTILE: Final = "<script>document.title='run'</script> \"Run\" & 'Fun'\r\n\u2028\ud800 run"


def hours(first: int = FIRST, days: int = 1, peak: int = 900) -> dict[int, int]:
    """Return the hours of an event that lasts from morning till evening."""
    shape = (3, 20, 45, 90, 100, 70, 40, 35, 60, 30, 12, 4)
    return {
        first + day * 24 * HOUR + number * HOUR: max(1, peak * share // (100 * (1 + day)))
        for day in range(days)
        for number, share in enumerate(shape)
    }


def whole(event_id: int, name: str, photos: int = 4000, *, days: int = 1) -> Watched:
    """Return an event that is whole."""
    return Watched(
        event_id,
        name,
        watched_since=NOW - 9 * 86_400,
        due_at=NOW + 40 + event_id % 5000,
        ended_at=NOW - 20 - event_id % 3000,
        whole=True,
        whole_at=NOW - 20 - event_id % 3000,
        photos=photos,
        undated=event_id % 3,
        present=2 * photos,
        hours=hours(days=days, peak=photos // 4),
        passes={"whole": 210, "incomplete": 1},
        fetched=2 * photos,
        fetched_bytes=photos * 900_000,
    )


def board() -> Board:
    """Return a board with one event of every kind."""
    events = [
        whole(101, "Pune Half Marathon 2025", 3121),
        whole(102, "Kolkata Monsoon Run", 911),
        whole(103, "Chennai Coastal Cyclothon: 25 km, 50 km and 100 km", 18_220, days=2),
        Watched(
            455,
            HOSTILE,
            watched_since=NOW - 3 * 86_400,
            due_at=NOW + 900,
            ended_at=NOW - 1200,
            whole=False,
            whole_at=NOW - 2 * 86_400 - 100,
            trouble="the service answers 403: this key may not see the event",
            photos=2300,
            undated=12,
            present=4420,
            missing=180,
            failed=34,
            failures=[
                Failure("7f3c9a0e51", "large", "404 from the photo origin"),
                Failure("<img src=x onerror=alert(1)>", "thumbnail", "cut off: 5 of 9 bytes"),
                Failure(None, None, "https://cdn.example/a.jpg?X-Amz-Signature=abc123 is no photo"),
                *(
                    Failure(f"b{number:09x}", "large", "404 from the photo origin")
                    for number in range(31)
                ),
            ],
            hours=hours(days=2),
            passes={"whole": 4, "failed": 31},
            fetched=4420,
            fetched_bytes=3_900_000_000,
            reasons={"404 from the photo origin": 32, "cut off": 1, "no photo": 1},
        ),
        Watched(
            457,
            "Delhi Night Relay",
            watched_since=NOW - 86_400 / 2,
            due_at=NOW + 25,
            ended_at=NOW - 70,
            whole=False,
            whole_at=NOW - 3 * HOUR,
            photos=640,
            present=1278,
            missing=2,
            failed=2,
            failures=[
                Failure("0c11", "large", "an empty body"),
                Failure("0c12", "large", "an empty body"),
            ],
            hours=hours(peak=120),
            passes={"whole": 70, "incomplete": 12},
            fetched=1278,
            fetched_bytes=700_000_000,
            reasons={"an empty body": 2},
        ),
        Watched(
            456,
            "Mumbai Marathon 2026",
            watched_since=NOW - 86_400 / 3,
            began_at=NOW - 130,
            ended_at=NOW - 160,
            photos=12_400,
            present=21_004,
            missing=3796,
            hours=hours(peak=3100),
            passes={"incomplete": 3},
            fetched=21_004,
            fetched_bytes=17_000_000_000,
        ),
        Watched(460, None, watched_since=NOW - 5, due_at=NOW + 3),
    ]
    return Board(
        started_at=NOW - 9 * 86_400,
        phase="running",
        events={one.event_id: one for one in events},
        traffic={
            "api": Traffic({200: 81_231, 429: 12, 0: 3}, refused=12, concurrency=8, rate=4.5),
            "photos": Traffic(
                {200: 30_021, 404: 32, 503: 4}, refused=4, concurrency=64, waits=12.0
            ),
        },
        free=1_200_000_000_000,
    )


def calm() -> Board:
    """Return a board on which all is well."""
    all_of_them = board()
    all_of_them.events = {key: one for key, one in all_of_them.events.items() if one.whole}
    return all_of_them


def crowd(events: int = 200) -> Board:
    """Return a board of many events, nearly all of them whole."""
    some = board()
    names = ("City Run", "Trail Weekend", "School Sports Day", "Cyclothon", "Corporate Relay")
    for number in range(events - len(some.events)):
        name = f"{names[number % len(names)]} {2020 + number % 7}, stage {number}"
        some.events[1000 + number] = whole(
            1000 + number, name, 400 + 37 * number, days=1 + number % 3
        )
    return some
