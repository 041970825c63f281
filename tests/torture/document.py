"""The table of `docs/reliability.md`, made from the ledger: for each experiment what the newest sources went through."""

from __future__ import annotations

import os
import platform
from collections import Counter
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence
    from pathlib import Path

    from tests.torture.experiment import Experiment
    from tests.torture.ledger import Ledger, Played

BEGIN: Final = "<!-- results -->"
END: Final = "<!-- end of results -->"


def write_document(path: Path, experiments: Collection[Experiment], ledger: Ledger) -> None:
    """Put the results into the document, between its marks."""
    before, _, rest = path.read_text(encoding="utf-8").partition(BEGIN)
    _, _, after = rest.partition(END)
    text = "\n".join(results(experiments, list(ledger.read())))
    path.write_text(f"{before}{BEGIN}\n{text}\n{END}{after}", encoding="utf-8")


def results(experiments: Collection[Experiment], played: Sequence[Played]) -> Iterator[str]:
    """Yield the lines: the machine, a table, and a paragraph for each experiment."""
    yield f"On {os.cpu_count()} processors, {platform.system()} {platform.release()}, Python {platform.python_version()}."
    yield ""
    yield "| experiment | rounds | of | broken promises | counted | minutes | last | sources |"
    yield "|---|--:|--:|--:|---|--:|---|---|"
    for experiment in experiments:
        rounds = newest([one for one in played if one.name == experiment.name])
        if not rounds:
            lack = experiment.lacks() or "not played yet"
            yield f"| {experiment.name} | 0 | {experiment.rounds:,} | | {lack} | | | |"
            continue
        counted = Counter[str]()
        for one in rounds:
            counted.update(one.counts)
        broken = sum(one.fault is not None for one in rounds)
        sums = ", ".join(f"{count:,} {noun}" for noun, count in counted.items())
        minutes = sum(one.seconds for one in rounds) / 60
        yield (
            f"| {experiment.name} | {len(rounds):,} | {experiment.rounds:,} | {broken} | {sums} "
            f"| {minutes:.1f} | {rounds[-1].at[:10]} | {rounds[-1].sources} |"
        )
    yield ""
    for experiment in experiments:
        yield f"- **{experiment.name}**: {experiment.says}"


def newest(rounds: Sequence[Played]) -> list[Played]:
    """Return the last playing of each round on the sources that were played last."""
    if not rounds:
        return []
    last = {one.seed: one for one in rounds if one.sources == rounds[-1].sources}
    return list(last.values())
