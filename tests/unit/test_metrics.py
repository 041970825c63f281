"""What monitors read, by the parser of the library that monitors' own tools come from."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING

import pytest
from prometheus_client import REGISTRY
from prometheus_client.parser import text_string_to_metric_families

from ninepic_mirror import __version__
from ninepic_mirror.service.board import Board, Traffic, Watched
from ninepic_mirror.service.metrics import REASONS, exposition
from tests.boards import HOSTILE, NOW, board

if TYPE_CHECKING:
    from collections.abc import Mapping


def samples(some: Board, now: float = NOW) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    """Return every sample by its name and labels."""
    found: dict[tuple[str, frozenset[tuple[str, str]]], float] = {}
    for family in text_string_to_metric_families(exposition(some, now).decode()):
        for sample in family.samples:
            key = sample.name, frozenset(sample.labels.items())
            assert key not in found, f"twice: {key}"
            found[key] = sample.value
    return found


class Scrape:
    """One scrape, asked by name and labels."""

    def __init__(self, some: Board, now: float = NOW) -> None:
        self.samples = samples(some, now)

    def __call__(self, name: str, /, **labels: str) -> float | None:
        """Return a sample's value, None where there is none."""
        return self.samples.get((name, frozenset(labels.items())))

    def labels(self, name: str) -> list[Mapping[str, str]]:
        """Return the labels of every sample of a metric."""
        return [dict(labels) for found, labels in self.samples if found == name]


def test_every_number_of_the_board() -> None:
    """Each value of the board is found under its name, with its labels."""
    scrape = Scrape(board())
    assert scrape("ninepic_build_info", version=__version__) == 1
    assert scrape("ninepic_up") == 1
    assert scrape("ninepic_start_time_seconds") == NOW - 9 * 86_400
    assert scrape("ninepic_events") == 7
    assert scrape("ninepic_stale_after_seconds") == 86_400
    assert scrape("ninepic_free_bytes") == 1_200_000_000_000
    assert scrape("ninepic_passes_under_way") == 1
    assert scrape("ninepic_photos", event_id="455") == 2300
    assert scrape("ninepic_undated_photos", event_id="455") == 12
    assert scrape("ninepic_files", event_id="455", state="present") == 4420
    assert scrape("ninepic_files", event_id="455", state="pending") == 146
    assert scrape("ninepic_files", event_id="455", state="failed") == 34
    assert scrape("ninepic_missing_files", event_id="455") == 180
    assert scrape("ninepic_failures", event_id="457", reason="an empty body") == 2
    assert scrape("ninepic_event_info", event_id="456", name="Mumbai Marathon 2026") == 1
    assert scrape("ninepic_event_info", event_id="460", name="") == 1
    assert scrape("ninepic_event_whole", event_id="101") == 1
    assert scrape("ninepic_event_whole", event_id="456") == 0
    assert scrape("ninepic_event_trouble", event_id="455") == 1
    assert scrape("ninepic_event_trouble", event_id="457") == 0
    assert scrape("ninepic_seconds_since_whole", event_id="101") == 0
    assert scrape("ninepic_seconds_since_whole", event_id="455") == 2 * 86_400 + 100
    assert scrape("ninepic_seconds_since_whole", event_id="460") == 5
    assert scrape("ninepic_last_pass_timestamp_seconds", event_id="457") == NOW - 70
    assert scrape("ninepic_last_pass_timestamp_seconds", event_id="460") is None
    assert scrape("ninepic_next_pass_timestamp_seconds", event_id="460") == NOW + 3
    assert scrape("ninepic_next_pass_timestamp_seconds", event_id="456") is None
    assert scrape("ninepic_passes_total", event_id="457", result="whole") == 70
    assert scrape("ninepic_passes_total", event_id="457", result="failed") == 0
    assert scrape("ninepic_fetched_files_total", event_id="456") == 21_004
    assert scrape("ninepic_fetched_bytes_total", event_id="456") == 17_000_000_000


def test_traffic() -> None:
    """Requests are told apart by origin and status; no limit is an infinite rate."""
    scrape = Scrape(board())
    assert scrape("ninepic_requests_total", origin="api", status="429") == 12
    assert scrape("ninepic_requests_total", origin="api", status="0") == 3
    assert scrape("ninepic_refusals_total", origin="photos") == 4
    assert scrape("ninepic_origin_concurrency", origin="photos") == 64
    assert scrape("ninepic_origin_rate", origin="api") == 4.5
    assert scrape("ninepic_origin_rate", origin="photos") == math.inf
    assert scrape("ninepic_origin_wait_seconds", origin="photos") == 12
    waited = Board(NOW, traffic={"api": Traffic(waits=-3.0)})
    assert Scrape(waited)("ninepic_origin_wait_seconds", origin="api") == 0


def test_troubles() -> None:
    """Each known trouble is always there, so that alerts on it can fire; an unknown one is told too."""
    some = board()
    some.note_trouble("storage", "the disk is full", NOW)
    some.note_trouble("moon", "in the wrong phase", NOW)
    scrape = Scrape(some)
    assert scrape("ninepic_up") == 0
    assert [scrape("ninepic_trouble", kind=kind) for kind in ("storage", "moon", "key")] == [
        1,
        1,
        0,
    ]


def test_names_come_from_the_service() -> None:
    """Names and reasons that could break a line or carry a signature do neither."""
    some = Board(NOW, events={1: Watched(1, HOSTILE + '\\"}\n# TYPE x', missing=1, failed=1)})
    some.events[1].reasons = {'say "no"\nto https://x.example/a?sig=secret': 1}
    text = exposition(some, NOW).decode()
    assert "secret" not in text
    scrape = Scrape(some)
    (event,) = scrape.labels("ninepic_event_info")
    assert event["name"].startswith("<script>")
    (failure,) = scrape.labels("ninepic_failures")
    assert failure["reason"] == 'say "no"\\u000ato https://x.example/a?…'


def test_odd_reasons_do_not_multiply() -> None:
    """Of very many reasons the commonest are kept, and the sum stays what it was."""
    one = Watched(
        1, reasons={f"status {number}": number for number in range(1, 501)} | {"a\nb": 9999}
    )
    one.reasons["other"] = 10_000
    scrape = Scrape(Board(NOW, events={1: one}))
    labels = scrape.labels("ninepic_failures")
    assert len(labels) == REASONS
    assert sum(scrape("ninepic_failures", **found) or 0 for found in labels) == sum(
        one.reasons.values()
    )


def test_an_empty_board() -> None:
    """A daemon that has heard of nothing yet is scraped without an error."""
    scrape = Scrape(Board(NOW))
    assert scrape("ninepic_events") == 0
    assert scrape("ninepic_free_bytes") is None


def test_nothing_is_kept() -> None:
    """Scrapes leave nothing behind: no series of an event that is watched no more, nothing in the global registry."""
    some = board()
    exposition(some, NOW)
    some.events.clear()
    text = exposition(some, NOW).decode()
    assert 'event_id="' not in text
    assert not any(metric.name.startswith("ninepic") for metric in REGISTRY.collect())


@pytest.mark.parametrize("line", exposition(board(), NOW).decode().splitlines())
def test_names_follow_the_conventions(line: str) -> None:
    """Base units, counters end in _total, each metric is explained."""
    if line.startswith("# TYPE"):
        name, kind = line.split()[2:]
        assert re.fullmatch(r"ninepic_[a-z_]+[a-z]", name)
        assert (kind == "counter") == name.endswith("_total")
    elif line.startswith("# HELP"):
        assert re.fullmatch(r"# HELP ninepic_\w+ [A-Z0-9].*\.", line) or line.endswith(
            "stale_after."
        )
    else:
        assert line.startswith("ninepic_")
