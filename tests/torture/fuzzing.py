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
ROUNDS: Final = 40  # of each target: ten million runs, fewer where each works on files
RUNS: Final = 250_000  # of a round
LITTLE: Final = 2_000  # ... of that which all tests play; a tenth where each run works on files


@dataclass(frozen=True)
class Target:
    """What is fuzzed.

    Args:
        name: Of its module.
        says: What it reads, and what must hold.
        modules: Of the package; the fuzzer sees which of their branches an input takes.
        runs: Of a round.
        longest: Bytes of an input.
    """

    name: str
    says: str
    modules: tuple[str, ...]
    runs: int = RUNS
    longest: int = 200

    def play(self, seed: int, place: Path) -> Mapping[str, int]:
        """Play a round; the first one, which all tests play, is a little one."""
        runs = self.runs
        if not seed:
            runs = LITTLE if self.runs == RUNS else LITTLE // 10
        return {"runs": fuzz(self, runs, seed, place)}


TARGETS: Final = (
    Target(
        "head",
        "A head that the fast lane accepts is understood by h11, the parser under httpx, in the same way.",
        ("ninepic.head",),
    ),
    Target(
        "ranges",
        "Both lanes agree on what is the rest of a file (`Content-Range`), and never append anything else.",
        ("ninepic.head", "ninepic.photos"),
    ),
    Target(
        "retry",
        "A `Retry-After` of any text is a wait within 15 minutes, or none.",
        ("ninepic.backoff",),
    ),
    Target(
        "addresses",
        "Whatever address a listing, a link or a redirect gives, it is asked as it was judged, or refused.",
        ("ninepic.address", "ninepic.photos", "ninepic.guard", "archive.listings"),
    ),
    Target(
        "names",
        "Any id or slug becomes a name that can stand everywhere, and no two the same one.",
        ("archive.placement", "config.layout"),
        longest=40,
    ),
    Target(
        "wire",
        "Whatever JSON the service answers is understood or refused, and the quick way of reading a page says what the careful one says.",
        ("ninepic.wire",),
    ),
    Target(
        "content",
        "A picture is judged the same in whatever cut it comes, at once, and by the quick look at plain JPEGs.",
        ("archive.content",),
        longest=60,
    ),
    Target(
        "config",
        "A config file is taken, or every fault of it is told with file, key and cure.",
        ("config.reading", "config.rules", "config.settings"),
        25_000,
    ),
    Target(
        "own",
        "`SHA256SUMS`, the marker, the list of what is forgotten and the note of a cut transfer, however they were damaged, are read or told.",
        ("archive.sums", "archive.root", "archive.partial"),
        25_000,
    ),
    Target(
        "manifest",
        "A manifest that was changed anywhere is read, or told to be damaged.",
        ("archive.manifest", "archive.balance"),
        2_500,
    ),
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


EXPERIMENTS: Final = tuple(
    Experiment(
        f"fuzz-{target.name}",
        f"By a coverage-guided fuzzer: {target.says} Nothing is raised but what is documented.",
        rounds=1 + ROUNDS,
        small=1,
        play=target.play,
        lacks=lacks,
        reaches=f"tests.torture.fuzzers.{target.name}",
    )
    for target in TARGETS
)

if __name__ == "__main__":
    main()
