"""Plants a bug in a copy of the package and runs the tests that have to catch it: they pass before and fail after."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tests.torture.experiment import Experiment

if TYPE_CHECKING:
    from collections.abc import Mapping

PROJECT: Final = Path(__file__).parents[2]


@dataclass(frozen=True)
class Bug:
    """A mistake that somebody could make.

    Args:
        name: As RELIABILITY T26 has it.
        file: Of the package.
        right: A text that stands there exactly once.
        wrong: What is put in its place.
        tests: Which must catch it.
    """

    name: str
    file: str
    right: str
    wrong: str
    tests: tuple[str, ...]


ORDER: Final = "tests/system/test_order.py::test_files_then_names_then_folders_then_rows"
STORE: Final = "tests/unit/test_store.py"

BUGS: Final = (
    Bug(
        "retry fsync",
        "archive/files.py",
        "            os.fsync(descriptor)\n",
        "            try:\n"
        "                os.fsync(descriptor)\n"
        "            except OSError:\n"
        "                os.fsync(descriptor)\n",
        ("tests/unit/test_files.py", "tests/unit/test_flush.py"),
    ),
    Bug(
        "lost lock",
        "archive/lock.py",
        "fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)",
        "fcntl.flock(self._descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)",
        ("tests/unit/test_lock.py::test_another_process_is_kept_out_until_it_dies",),
    ),
    Bug(
        "no fsync",
        "archive/flush.py",
        "        if not tree.is_durable:\n",
        "        if True:\n",
        (ORDER, f"{STORE}::test_syncs_come_before_names_and_folders_after"),
    ),
    Bug(
        "no folder fsync",
        "archive/store.py",
        "                tree.sync_folder(folder)\n",
        "                pass\n",
        (ORDER, f"{STORE}::test_syncs_come_before_names_and_folders_after"),
    ),
    Bug(
        "row before file",
        "sync/pipeline.py",
        "        placed = await trio.to_thread.run_sync(context.store.settle, ready, equal, others)\n",
        """        from ninepic_mirror.archive.holdings import Placed
        placed = [
            Placed(
                one.job.image_id, one.job.variant,
                context.store.stem(one.job.taken, one.job.variant, one.job.image_id) + one.digest.content.ext,
                one.digest.size, one.digest.xxh3_128, one.digest.sha256, one.etag, one.last_modified,
            )
            for one in ready
        ]
        await context.in_manifest(holdings.commit, placed, [])
        placed = await trio.to_thread.run_sync(context.store.settle, ready, equal, others)
""",
        (ORDER,),
    ),
    Bug(
        "no size check",
        "ninepic/photos.py",
        "    if not chunked and content_length(headers) is None:\n",
        "    if False:\n",
        ("tests/unit/test_photos.py",),
    ),
    Bug(
        "rename clobber",
        "archive/store.py",
        "            stands = tree.stat(one.target) is not None and self._keep(tree, one.target)\n",
        "            stands = False\n",
        (f"{STORE}::test_what_stands_in_the_way_goes_to_the_trash",),
    ),
    Bug(
        "shared client key",
        "ninepic/session.py",
        '"Accept-Encoding": "identity"},\n',
        '"Accept-Encoding": "identity", "X-API-Key": "test-key"},\n',
        ("tests/contract/test_client_sandbox.py::test_key_goes_to_the_api_only",),
    ),
    Bug(
        "no cap",
        "ninepic/photos.py",
        "    if length is not None and start + length > cap:\n",
        "    if False:\n",
        ("tests/unit/test_photos.py",),
    ),
    Bug(
        "wall-clock wait",
        "ninepic/pacing.py",
        "        now = trio.current_time()\n        if fault.refused:\n",
        "        now = time.time()\n        if fault.refused:\n",
        ("tests/unit/test_pacing.py::test_retry_after_holds_every_worker",),
    ),
    Bug(
        "unlooped write",
        "archive/files.py",
        "    while view:\n",
        "    if view:\n",
        (
            "tests/unit/test_files.py",
            "tests/unit/test_store_writes.py::test_short_writes_are_gone_on_with",
        ),
    ),
    Bug(
        "follow redirect",
        "ninepic/session.py",
        '        event_hooks={"response": [_set_location_aside]},\n    ) as client:\n',
        "    ) as client:\n        client.follow_redirects = True\n",
        ("tests/unit/test_client.py", "tests/contract/test_client_sandbox.py"),
    ),
    Bug(
        "trust total",
        "sync/reader.py",
        "        return self.steady and self.distinct == self.due\n",
        "        return self.steady\n",
        ("tests/unit/test_reader.py",),
    ),
    Bug(
        "lower-case clash",
        "archive/placement.py",
        're.compile(r"[0-9a-z][0-9a-z_-]{0,63}")',
        're.compile(r"[0-9A-Za-z][0-9A-Za-z_-]{0,63}")',
        ("tests/unit/test_placement.py",),
    ),
    Bug(
        "delete on empty list",
        "archive/reconcile.py",
        "    if missed * MASS > known_photos(manifest) + missed and not accept:\n",
        "    if False:\n",
        ("tests/unit/test_reconcile.py::test_a_mass_removal_is_stopped",),
    ),
)


def run(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Run Python in the copy."""
    # what measures the tests that run this must not measure the copy
    kept = {name: value for name, value in os.environ.items() if not name.startswith("COV")}
    return subprocess.run(
        [sys.executable, *words],
        cwd=folder,
        env=kept | {"PYTHONPATH": str(folder)},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )


def outcome(folder: Path, tests: tuple[str, ...]) -> tuple[int, dict[str, int], str]:
    """Run tests in the copy; return how pytest ended, how many tests ended how, and what it said."""
    done = run(folder, "-m", "pytest", "-q", "-p", "no:cacheprovider", *tests)
    last = done.stdout.strip().rpartition("\n")[2]
    counts = {what: int(count) for count, what in re.findall(r"(\d+) (passed|failed|error)", last)}
    return done.returncode, counts, done.stdout[-3000:]


def play(seed: int, place: Path) -> Mapping[str, int]:
    """Plant a bug: its tests pass without it, and fail with it."""
    bug = BUGS[seed]
    ignored = shutil.ignore_patterns("__pycache__")
    for name in ("ninepic_mirror", "tests"):
        shutil.copytree(PROJECT / name, place / name, ignore=ignored)
    shutil.copy(PROJECT / "pyproject.toml", place)
    file = place / "ninepic_mirror" / bug.file
    found = run(place, "-c", "import ninepic_mirror; print(ninepic_mirror.__file__)")
    assert Path(found.stdout.strip()).is_relative_to(place), found.stdout + found.stderr

    code, sound, said = outcome(place, bug.tests)
    assert (code, "passed" in sound) == (0, True), f"{bug.name}, not planted yet: {said}"
    text = file.read_text(encoding="utf-8")
    assert text.count(bug.right) == 1, f"{bug.name} cannot be planted in {bug.file} any more"
    file.write_text(text.replace(bug.right, bug.wrong), encoding="utf-8")
    code, planted, said = outcome(place, bug.tests)
    assert (code, "failed" in planted) == (1, True), f"{bug.name} is not caught: {said}"
    return {
        "bugs caught": 1,
        "tests passed before": sound["passed"],
        "failed after": planted["failed"],
    }


def lacks() -> str | None:
    """Say what is missing: the order of system calls is seen by strace."""
    return None if shutil.which("strace") else "strace is not here (Debian: apt install strace)"


EXPERIMENT = Experiment(
    "planted-bugs",
    "Fifteen bugs are planted one at a time, each in a copy of the package: no fsync of a file or of its folder, the row"
    " before the file, no size check, a rename over another file, the key in both clients, no cap, a wait by the wall"
    " clock, an unlooped write, a repeated fsync, a redirect followed with the key, a total that is trusted, names that"
    " clash without regard to case, a removal on an empty listing, a lost lock. The tests named for it pass before, and"
    " fail after.",
    rounds=len(BUGS),
    small=2,
    play=play,
    lacks=lacks,
)
