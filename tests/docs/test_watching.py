"""What docs/operations.md says of metrics, health and the page is so."""

from __future__ import annotations

import re
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from ninepic_mirror.service.health import GRACE
from ninepic_mirror.service.metrics import REASONS, RESULTS, TROUBLES, exposition
from ninepic_mirror.service.page import REFRESH
from tests.boards import NOW, board

TEXT = (Path(__file__).parents[2] / "docs/operations.md").read_text()
PART = TEXT[TEXT.index("## Watching it") :].partition("\n## ")[0]
ROWS = dict(re.findall(r"^\| `(ninepic_\w+)` \| (.*) \|$", PART, re.MULTILINE))


def exported() -> dict[str, tuple[str, set[str]]]:
    """Return each metric's kind and labels by the name of its samples."""
    found: dict[str, tuple[str, set[str]]] = {}
    for family in text_string_to_metric_families(exposition(board(), NOW).decode()):
        for sample in family.samples:
            found[sample.name] = family.type, set(sample.labels)
    return found


def test_every_metric_is_in_the_table() -> None:
    """The table names each metric that is exported, and no other, with its kind and its labels."""
    metrics = exported()
    assert ROWS.keys() == metrics.keys()
    for name, (kind, labels) in metrics.items():
        said_kind, said_labels, meaning = re.split(r"\s*\|\s*", ROWS[name], maxsplit=2)
        assert said_kind == kind, name
        assert set(re.findall(r"`(\w+)`", said_labels)) == labels, name
        assert meaning


def test_alerts_name_what_is_there() -> None:
    """Examples and prose use names of the table only."""
    for name in re.findall(r"\bninepic_[a-z_]+\b", PART):
        assert name in ROWS, name


def test_label_values_are_named() -> None:
    """The values that alerts match on are written down."""
    for value in TROUBLES:
        assert f"`{value}`" in ROWS["ninepic_trouble"]
    for value in RESULTS:
        assert f"`{value}`" in ROWS["ninepic_passes_total"]


def test_numbers() -> None:
    """Times and counts in the prose are those of the code."""
    assert f"longer than {GRACE / 60:.0f} minutes" in PART
    assert f"every {REFRESH} s" in PART
    assert REASONS == 10
    assert "the ten commonest reasons" in PART
