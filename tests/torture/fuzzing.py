"""Feeds every reader of what comes from outside with what a coverage-guided fuzzer (atheris) thinks of.

    python -m tests.torture.fuzzing TARGET [-runs=100000] [any option of libFuzzer]

Each target is a module of `tests/torture/fuzzers` whose `check` takes bytes, raises AssertionError where what must hold for
every input does not, and lets through what must not be raised at all. What was found to be of interest is kept between
rounds (`test-output/torture/corpus`), so that each goes on where the last one ended.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tests.torture.experiment import Experiment

if TYPE_CHECKING:
    from collections.abc import Mapping

PROJECT: Final = Path(__file__).parents[2]
CORPUS: Final = PROJECT / "test-output" / "torture" / "corpus"
ROUNDS: Final = 40  # of each target
LITTLE: Final = (
    2_000  # runs of each target in the round that all tests play; those on disk: a tenth
)


@dataclass(frozen=True)
class Target:
    """What is fuzzed.

    Args:
        name: Of its module.
        modules: Of the package; the fuzzer sees which of their branches an input takes.
        runs: Of a round.
        longest: Bytes of an input.
    """

    name: str
    modules: tuple[str, ...]
    runs: int = 250_000
    longest: int = 200

    @property
    def on_disk(self) -> bool:
        """Whether each run works on files, and is slow therefore."""
        return self.runs < 250_000


TARGETS: Final = (
    Target("head", ("ninepic.head",)),
    Target("ranges", ("ninepic.head", "ninepic.photos")),
    Target("retry", ("ninepic.backoff",)),
    Target("addresses", ("ninepic.address", "ninepic.photos", "ninepic.guard", "archive.listings")),
    Target("names", ("archive.placement", "config.layout"), longest=40),
    Target("wire", ("ninepic.wire",)),
    Target("content", ("archive.content",), longest=60),
    Target("config", ("config.reading", "config.rules", "config.settings"), 25_000),
    Target("own", ("archive.sums", "archive.root", "archive.partial"), 25_000),
    Target("manifest", ("archive.manifest", "archive.balance"), 2_500),
)


def fuzz(target: Target, runs: int, seed: int, place: Path) -> int:
    """Run a fuzzer in a process of its own; return how many inputs it tried."""
    corpus = CORPUS / target.name
    corpus.mkdir(parents=True, exist_ok=True)
    words = [
        f"-runs={runs}",
        f"-seed={seed + 1}",
        f"-artifact_prefix={place}/",
        f"-max_len={target.longest}",
    ]
    limits = ["-timeout=20", "-rss_limit_mb=1024", "-print_final_stats=1"]
    # what measures the tests would trace each of the millions of runs
    environ = {name: value for name, value in os.environ.items() if not name.startswith("COV")}
    done = subprocess.run(
        [sys.executable, "-m", "tests.torture.fuzzing", target.name, *words, *limits, str(corpus)],
        cwd=PROJECT,
        env=environ,
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )
    found = re.search(r"number_of_executed_units: (\d+)", done.stderr)
    inputs = {path.name: path.read_bytes() for path in place.iterdir() if path.is_file()}
    assert (done.returncode, found is not None) == (0, True), (
        f"{target.name}: {done.stdout[-3000:]}{done.stderr[-1500:]}\n{inputs}"
    )
    assert found is not None
    return int(found[1])


def play(seed: int, place: Path) -> Mapping[str, int]:
    """Play a round of one target; the first round is a little of every one."""
    counts = Counter[str]()
    if seed == 0:
        for target in TARGETS:
            runs = LITTLE // 10 if target.on_disk else LITTLE
            counts[f"runs of {target.name}"] += fuzz(target, runs, seed, place)
    else:
        target = TARGETS[(seed - 1) % len(TARGETS)]
        counts[f"runs of {target.name}"] += fuzz(target, target.runs, seed, place)
    return counts


def lacks() -> str | None:
    """Say what is missing."""
    return None if find_spec("atheris") else "atheris is not here (pip install '.[torture]')"


def main() -> None:
    """Run one fuzzer until it is told to stop, or finds something; it does not return."""
    import atheris  # type: ignore[import-untyped]

    target = next(target for target in TARGETS if target.name == sys.argv[1])
    with atheris.instrument_imports(include=[f"ninepic_mirror.{name}" for name in target.modules]):
        for name in target.modules:
            import_module(f"ninepic_mirror.{name}")
    module = import_module(f"tests.torture.fuzzers.{target.name}")
    atheris.Setup([sys.argv[0], *sys.argv[2:]], module.check)
    atheris.Fuzz()


EXPERIMENT = Experiment(
    "fuzzing",
    "A coverage-guided fuzzer against every reader of what comes from outside: heads of answers (h11 must understand"
    " them in the same way), `Content-Range` (both lanes agree), `Retry-After`, addresses of photos and redirects, names and paths, the API's JSON,"
    " pictures (cut in any way, the same verdict), the config file, our own small files and the manifest. Nothing"
    " is raised but what is documented, and what is accepted keeps the rules. Ten million runs of each; a million where"
    " each run works on files, 100,000 of the manifest.",
    rounds=1 + ROUNDS * len(TARGETS),
    small=1,
    play=play,
    lacks=lacks,
)

if __name__ == "__main__":
    main()
