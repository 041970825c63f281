"""`make torture`: plays what is left of the full figures, several rounds at once, and writes `docs/reliability.md`.

    python -m tests.torture.run [--only NAME]... [--share 0.1] [--jobs 2] [--anew] [--seed N] [--write]

It can be stopped at any time and goes on where it stopped. A round is played again only when the sources changed that
it can reach: those of `deliver` it cannot.
`--only kills --seed 17` plays one round and shows its traceback.
"""

from __future__ import annotations

import math
import multiprocessing
import shutil
import sys
import tempfile
import time
import traceback
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click
import grimp

from tests.torture.document import newest, write_document
from tests.torture.ledger import Ledger, Played, fingerprint, now

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from tests.torture.experiment import Experiment

PROJECT: Final = Path(__file__).parents[2]
PACKAGE: Final = PROJECT / "ninepic_mirror"
LEDGER: Final = PROJECT / "test-output" / "torture" / "ledger.jsonl"
MODULES: Final[
    tuple[str, ...]
] = (  # each offers EXPERIMENT or EXPERIMENTS; in the order of the document
    "kills",
    "recheck_kills",
    "kill_calls",
    "power",
    "calls_fail",
    "disk_full",
    "disk_errors",
    "compound",
    "targets",
    "http_faults",
    "storms",
    "races",
    "clock_jumps",
    "cancel_steps",
    "model",
    "bit_rot",
    "manifest_damage",
    "fuzzing",
    "planted_bugs",
    "soak",
)


def sources_of(experiment: Experiment, package: Path = PACKAGE) -> str:
    """Return what stands for all of the package that an experiment can reach."""
    if experiment.reaches:
        graph = grimp.build_graph(package.name, "tests", cache_dir=None)
        return fingerprint(package, graph.modules - graph.find_upstream_modules(experiment.reaches))
    # without what only `deliver` imports
    graph = grimp.build_graph(package.name, cache_dir=None)
    command = f"{package.name}.cli.deliver"
    imported = {command, *graph.find_upstream_modules(command)}
    only = {name for name in imported if graph.find_downstream_modules(name) <= imported}
    folders = {f"{package.name}.{folder}" for folder in ("delivery", "gallery")}
    return fingerprint(
        package,
        {
            name
            for name in graph.modules
            if name in only or folders & {name, name.rpartition(".")[0]}
        },
    )


def experiments() -> dict[str, Experiment]:
    """Return all experiments by their names, in the order of the document."""
    modules = [import_module(f"tests.torture.{name}") for name in MODULES]
    found = [getattr(module, "EXPERIMENTS", None) or (module.EXPERIMENT,) for module in modules]
    return {experiment.name: experiment for some in found for experiment in some}


def play(name: str, seed: int, sources: str) -> Played:
    """Play one round in an empty folder; a folder in which a promise was broken is kept, and named in the fault."""
    experiment = experiments()[name]
    folder = Path(tempfile.mkdtemp(prefix=f"torture-{name}-{seed}-"))
    began = time.monotonic()
    counts, fault = {}, None
    try:
        counts = dict(experiment.play(seed, folder))
    except Exception:  # noqa: BLE001  whatever it is, the round was not survived
        fault = f"{traceback.format_exc(limit=-6)}\n{folder}"
    else:
        shutil.rmtree(folder)
    return Played(name, seed, sources, now(), time.monotonic() - began, counts, fault)


def outstanding(
    wanted: Sequence[Experiment], share: float, done: set[tuple[str, int]]
) -> Iterator[tuple[Experiment, int]]:
    """Yield the rounds that are left to be played, those that need the processors for themselves at the end."""
    for experiment in sorted(wanted, key=lambda one: one.alone):
        for seed in range(math.ceil(experiment.rounds * share)):
            if (experiment.name, seed) not in done:
                yield experiment, seed


def play_all(
    rounds: Iterator[tuple[Experiment, int]], sources: Mapping[str, str], ledger: Ledger, jobs: int
) -> None:
    """Play rounds side by side in processes of their own and write each into the ledger when it ends."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(jobs, mp_context=context, max_tasks_per_child=20) as pool:
        under_way: set[Future[Played]] = set()
        for experiment, seed in rounds:
            while len(under_way) >= (1 if experiment.alone else jobs):
                under_way = _settle(under_way, ledger)
            under_way.add(pool.submit(play, experiment.name, seed, sources[experiment.name]))
        while under_way:
            under_way = _settle(under_way, ledger)


def _settle(under_way: set[Future[Played]], ledger: Ledger) -> set[Future[Played]]:
    ended, left = wait(under_way, return_when=FIRST_COMPLETED)
    for future in ended:
        played = future.result()
        ledger.write(played)
        print(f"{played.name} {played.seed}: {played.fault or played.counts}", flush=True)
    return left


@click.command()
@click.option("--only", multiple=True, help="Only this experiment; may be given several times.")
@click.option("--share", default=1.0, help="This part of the full figures.")
@click.option("--jobs", default=2, help="So many rounds at once.")
@click.option("--seed", type=int, help="Only this round, whether it was played or not.")
@click.option("--anew", is_flag=True, help="Play again what these sources have gone through.")
@click.option("--write", is_flag=True, help="Write docs/reliability.md.")
def main(  # noqa: D103  the module says it
    *, only: tuple[str, ...], share: float, jobs: int, seed: int | None, anew: bool, write: bool
) -> None:
    known = experiments()
    if unknown := set(only) - set(known):
        raise click.UsageError(f"no experiment {', '.join(unknown)}; there are {', '.join(known)}")
    wanted = [known[name] for name in only or known]
    ledger = Ledger(LEDGER)
    if seed is not None:
        for experiment in wanted:
            played = play(experiment.name, seed, sources_of(experiment))
            print(played.fault or played.counts)
        return
    for experiment in wanted:
        if lack := experiment.lacks():
            print(f"{experiment.name} is left out: {lack}")
    able = [experiment for experiment in wanted if experiment.lacks() is None]
    sources = {experiment.name: sources_of(experiment) for experiment in wanted}
    done = set()
    if not anew:
        done = {
            (one.name, one.seed) for one in ledger.read() if one.sources == sources.get(one.name)
        }
    play_all(outstanding(able, share, done), sources, ledger, jobs)
    if write:
        write_document(PROJECT / "docs" / "reliability.md", known.values(), ledger)
    rounds = [one for one in ledger.read() if one.sources == sources.get(one.name)]
    broken = [
        played
        for experiment in wanted
        for played in newest([one for one in rounds if one.name == experiment.name])
        if played.fault
    ]
    for played in broken:
        print(f"broken: --only {played.name} --seed {played.seed}")
    sys.exit(bool(broken))


if __name__ == "__main__":
    main()
