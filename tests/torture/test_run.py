"""What `make torture` keeps and writes: rounds that are not played twice, and a table that hides nothing."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

from tests.torture.document import BEGIN, END, write_document
from tests.torture.experiment import Experiment
from tests.torture.ledger import Ledger, Played, fingerprint
from tests.torture.planted_bugs import BUGS, PROJECT
from tests.torture.run import PACKAGE, experiments, outstanding, sources_of

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


def played(seed: int, sources: str = "new", fault: str | None = None) -> Played:
    """Return a round of the experiment `cuts`."""
    return Played("cuts", seed, sources, "2026-01-19T06:00:00+00:00", 30.0, {"kills": 7}, fault)


def count(_seed: int, _folder: Path) -> Mapping[str, int]:
    """Play nothing."""
    return {"kills": 7}


CUTS = Experiment("cuts", "Power goes.", rounds=4, small=1, play=count)
ALONE = Experiment("alone", "Nobody beside.", rounds=2, small=1, play=count, alone=True)


def test_a_ledger_that_was_cut_short_is_read_and_goes_on(tmp_path: Path) -> None:
    """A kill amid a line loses that line only."""
    ledger = Ledger(tmp_path / "made" / "ledger.jsonl")
    assert not list(ledger.read())
    ledger.write(played(0))
    with (tmp_path / "made" / "ledger.jsonl").open("ab") as file:
        file.write(b'{"name": "cu')
    ledger.write(played(1))
    assert [one.seed for one in ledger.read()] == [0, 1]


def test_only_what_is_left_is_played() -> None:
    """Those that need the processors for themselves come last."""
    left = list(outstanding([ALONE, CUTS], 0.5, {("cuts", 0)}))
    assert left == [(CUTS, 1), (ALONE, 0)]


def test_sources_that_differ_are_other_sources(tmp_path: Path) -> None:
    """A module that changed or got another name counts."""
    (tmp_path / "a.py").write_text("1")
    before = fingerprint(tmp_path)
    (tmp_path / "a.py").rename(tmp_path / "b.py")
    assert len({before, fingerprint(tmp_path)}) == 2
    assert fingerprint(tmp_path, {f"{tmp_path.name}.b"}) not in {before, fingerprint(tmp_path)}


def test_modules_that_only_a_delivery_imports_do_not_count(tmp_path: Path) -> None:
    """A round is played again when what it can reach changed, and only then."""
    package = tmp_path / PACKAGE.name
    shutil.copytree(PACKAGE, package)
    before = sources_of(CUTS, package)
    for name in ("cli/deliver.py", "cli/shipment.py", "delivery/verify.py", "gallery/pages.py"):
        (package / name).write_text("changed = True\n")
    assert sources_of(CUTS, package) == before
    (package / "archive/store.py").write_text("changed = True\n")
    assert sources_of(CUTS, package) != before


def test_modules_that_a_fuzzer_does_not_import_do_not_count(tmp_path: Path) -> None:
    """Millions of runs are not made again for what they cannot reach."""
    package = tmp_path / PACKAGE.name
    shutil.copytree(PACKAGE, package)
    names = experiments()["fuzz-names"]
    before = sources_of(names, package)
    (package / "archive/store.py").write_text("changed = True\n")
    assert sources_of(names, package) == before
    (package / "errors.py").write_text("changed = True\n")
    assert sources_of(names, package) != before


def test_the_document_says_what_the_newest_sources_went_through(tmp_path: Path) -> None:
    """Rounds of older sources do not count; a broken promise is shown; what was not played is named."""
    ledger = Ledger(tmp_path / "ledger.jsonl")
    for one in (played(0, "old"), played(0), played(1), played(1, fault="lost")):
        ledger.write(one)
    path = tmp_path / "reliability.md"
    path.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n")
    write_document(path, [CUTS, ALONE], ledger)
    text = path.read_text()
    assert text.startswith("before\n")
    assert text.endswith("\nafter\n")
    assert "old" not in text
    assert "| cuts | 2 | 4 | 1 | 14 kills | 1.0 | 2026-01-19 | new |" in text
    assert "| alone | 0 | 2 |" in text
    assert "not played yet" in text


def test_every_bug_can_be_planted() -> None:
    """The text that it replaces stands there once, and the tests that have to catch it exist."""
    for bug in BUGS:
        text = (PACKAGE / bug.file).read_text(encoding="utf-8")
        assert text.count(bug.right) == 1, bug.name
        for test in bug.tests:
            file, _, name = test.partition("::")
            assert f"def {name}" in (PROJECT / file).read_text(encoding="utf-8"), test
