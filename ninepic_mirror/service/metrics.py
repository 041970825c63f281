"""What monitors read: the board in Prometheus' text format (docs/operations.md lists every name).

The collector is made for one scrape and keeps nothing, so that the board is the only place where numbers live. The
library's own registry, which is global and adds the interpreter's figures, is not used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily
from prometheus_client.registry import Collector

from ninepic_mirror import __version__
from ninepic_mirror.service.wording import clean

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from prometheus_client.core import Metric

    from ninepic_mirror.service.board import Board, Traffic, Watched

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
# Always there, as 0, because an alert on a series that does not exist never fires.
TROUBLES: Final = ("service", "key", "storage", "config", "events")
RESULTS: Final = ("whole", "incomplete", "failed")
REASONS: Final = (
    10  # per event; what is rarer becomes "other", so that odd answers do not multiply series
)

Value = tuple[tuple[str, ...], float]
"""Label values and the number."""


def exposition(board: Board, now: float) -> bytes:
    """Return the board in Prometheus' text format.

    Args:
        board: What to tell.
        now: Epoch seconds.
    """
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Board(board, now))
    return generate_latest(registry)


class _Board(Collector):
    """A collector for one scrape."""

    def __init__(self, board: Board, now: float) -> None:
        self._board, self._now = board, now

    def collect(self) -> Iterator[Metric]:
        """Yield every metric."""
        yield from _of_daemon(self._board)
        yield from _of_origins(self._board.traffic)
        yield from _of_events(list(self._board.events.values()), self._now)


def _of_daemon(board: Board) -> Iterator[Metric]:
    yield InfoMetricFamily("ninepic_build", "The program.", value={"version": __version__})
    yield _gauge(
        "ninepic_up", "0 while a trouble keeps all events from being mirrored.",
        [((), float(not board.troubles))],
    )  # fmt: skip
    yield _gauge(
        "ninepic_start_time_seconds", "When the daemon started, epoch seconds.",
        [((), board.started_at)],
    )  # fmt: skip
    kinds = dict.fromkeys((*TROUBLES, *board.troubles))
    yield _gauge(
        "ninepic_trouble", "1 while this keeps all events from being mirrored.",
        [((clean(kind),), float(kind in board.troubles)) for kind in kinds], "kind",
    )  # fmt: skip
    yield _gauge("ninepic_events", "Events that are watched.", [((), len(board.events))])
    yield _gauge(
        "ninepic_stale_after_seconds", "How long an event may not be whole: [daemon] stale_after.",
        [((), board.stale_after)],
    )  # fmt: skip
    if board.free is not None:
        yield _gauge(
            "ninepic_free_bytes", "Bytes that may still be used of the mirror root's disk.",
            [((), board.free)],
        )  # fmt: skip


def _of_origins(traffic: dict[str, Traffic]) -> Iterator[Metric]:
    requests = [
        ((name, str(status)), count)
        for name, one in traffic.items()
        for status, count in sorted(one.statuses.items())
    ]
    yield _counter(
        "ninepic_requests", "Requests by the status of their answer; 0: no answer.",
        requests, "origin", "status",
    )  # fmt: skip
    yield _counter(
        "ninepic_refusals", "Answers that asked us to slow down.",
        [((name,), one.refused) for name, one in traffic.items()], "origin",
    )  # fmt: skip
    yield _gauge(
        "ninepic_origin_concurrency", "Requests that may be under way now.",
        [((name,), one.concurrency) for name, one in traffic.items()], "origin",
    )  # fmt: skip
    yield _gauge(
        "ninepic_origin_rate", "Requests a second that may begin now; +Inf: no limit.",
        [
            ((name,), float("inf") if one.rate is None else one.rate)
            for name, one in traffic.items()
        ],
        "origin",
    )  # fmt: skip
    yield _gauge(
        "ninepic_origin_wait_seconds", "Seconds for which the origin wants to be left alone.",
        [((name,), max(0.0, one.waits)) for name, one in traffic.items()], "origin",
    )  # fmt: skip


def _of_events(events: list[Watched], now: float) -> Iterator[Metric]:
    names = InfoMetricFamily("ninepic_event", "An event's name.", labels=("event_id",))
    for one in events:
        names.add_metric((str(one.event_id),), {"name": clean(one.name or "")})
    yield names
    yield from _holdings(events)
    yield from _freshness(events, now)
    yield _counter(
        "ninepic_passes", "Passes by how they ended.",
        [
            ((str(one.event_id), result), one.passes.get(result, 0))
            for one in events
            for result in dict.fromkeys((*RESULTS, *one.passes))
        ],
        "event_id", "result",
    )  # fmt: skip
    yield _counter(
        "ninepic_fetched_files",
        "Files fetched.",
        _each(events, lambda one: one.fetched),
        "event_id",
    )
    yield _counter(
        "ninepic_fetched_bytes", "Bytes of the files fetched.",
        _each(events, lambda one: one.fetched_bytes), "event_id",
    )  # fmt: skip


def _holdings(events: list[Watched]) -> Iterator[Metric]:
    yield _gauge(
        "ninepic_photos",
        "Photos that the service lists.",
        _each(events, lambda one: one.photos),
        "event_id",
    )
    yield _gauge(
        "ninepic_undated_photos", "Of them, those in no window of the timeline.",
        _each(events, lambda one: one.undated), "event_id",
    )  # fmt: skip
    yield _gauge(
        "ninepic_files", "Files by what became of them: present, pending, failed.",
        [
            ((str(one.event_id), state), count)
            for one in events
            for state, count in (
                ("present", one.present),
                ("pending", max(0, one.missing - one.failed)),
                ("failed", one.failed),
            )
        ],
        "event_id", "state",
    )  # fmt: skip
    yield _gauge(
        "ninepic_missing_files", "Files that are not in place: pending and failed.",
        _each(events, lambda one: one.missing), "event_id",
    )  # fmt: skip
    yield _gauge(
        "ninepic_failures", "Failed files of the last pass, by reason.",
        [
            ((str(one.event_id), reason), count)
            for one in events
            for reason, count in _reasons(one)
        ],
        "event_id", "reason",
    )  # fmt: skip


def _freshness(events: list[Watched], now: float) -> Iterator[Metric]:
    yield _gauge(
        "ninepic_event_whole", "1 while the last pass that compared everything ended whole.",
        [((str(one.event_id),), float(bool(one.whole))) for one in events], "event_id",
    )  # fmt: skip
    yield _gauge(
        "ninepic_seconds_since_whole", "Seconds since the event was last whole; 0 while it is.",
        [((str(one.event_id),), one.stale_for(now)) for one in events], "event_id",
    )  # fmt: skip
    yield _gauge(
        "ninepic_event_trouble", "1 while the event's passes fail or wait.",
        [((str(one.event_id),), float(one.trouble is not None)) for one in events], "event_id",
    )  # fmt: skip
    yield _gauge(
        "ninepic_last_pass_timestamp_seconds", "When the event's last pass ended, epoch seconds.",
        _each(events, lambda one: one.ended_at), "event_id",
    )  # fmt: skip
    yield _gauge(
        "ninepic_next_pass_timestamp_seconds", "When its next pass begins, epoch seconds.",
        _each(events, lambda one: one.due_at), "event_id",
    )  # fmt: skip
    yield _gauge(
        "ninepic_passes_under_way", "Passes under way.",
        [((), sum(one.began_at is not None for one in events))],
    )  # fmt: skip


def _reasons(one: Watched) -> list[tuple[str, int]]:
    """Return the commonest reasons, the rest as one; texts that become alike once they are clean are one too."""
    counts: dict[str, int] = {}
    ranked = sorted(one.reasons.items(), key=lambda item: (-item[1], item[0]))
    for number, (reason, count) in enumerate(ranked):
        label = clean(reason) if number < REASONS else "other"
        counts[label] = counts.get(label, 0) + count
    return list(counts.items())


def _each(events: list[Watched], pick: Callable[[Watched], float | None]) -> list[Value]:
    """Return a number of each event that has it."""
    picked = ((one.event_id, pick(one)) for one in events)
    return [((str(event_id),), number) for event_id, number in picked if number is not None]


def _gauge(name: str, text: str, values: Iterable[Value], *labels: str) -> Metric:
    return _filled(GaugeMetricFamily(name, text, labels=labels), values)


def _counter(name: str, text: str, values: Iterable[Value], *labels: str) -> Metric:
    # The library adds `_total` to the name.
    return _filled(CounterMetricFamily(name, text, labels=labels), values)


def _filled(
    family: GaugeMetricFamily | CounterMetricFamily, values: Iterable[Value]
) -> GaugeMetricFamily | CounterMetricFamily:
    for labels, number in values:
        family.add_metric(labels, number)
    return family
