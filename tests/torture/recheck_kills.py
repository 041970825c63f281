"""kill -9 at random moments of `sync --recheck`, while photos that were replaced come in."""

from __future__ import annotations

import hashlib
from collections import Counter
from typing import TYPE_CHECKING, Final

from tests.oracle import check_settled, final_files, rows
from tests.torture.experiment import Experiment
from tests.torture.mirrored import EVENT, mirrored

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from tests.torture.mirrored import Mirrored, Name

RECHECK: Final = ("sync", EVENT, "--recheck")
TIMES: Final = 3  # photos are replaced
STROKES: Final = 4  # each time


def play(seed: int, folder: Path) -> Mapping[str, int]:
    """Replace photos and kill rechecks; each file must be the old one or the new one, and no old one may be lost."""
    counts = Counter[str]()
    with mirrored(seed, folder) as case:
        case.run("sync", EVENT)
        for _ in range(TIMES):
            old = {name: case.body(*name) for name in case.wanted()}
            for photo in case.draw.sample(list(case.event.photos), 10):
                case.event.replace(photo.image_id)
            case.seconds.setdefault(" ".join(map(str, RECHECK)), 1.5)
            for _ in range(STROKES):
                fork = case.start(*RECHECK)
                code = fork.wait(case.draw.uniform(0, case.moment(*RECHECK)))
                code = fork.kill() if code is None else code
                assert code in {-9, 0}, fork.err[-3000:]
                counts["kills"] += code == -9
                _check(case, old)
            case.run(*RECHECK)
            _check(case, {})
            _nothing_is_lost(case, old)
            counts["photos replaced"] += 10
    return counts


def _check(case: Mirrored, old: Mapping[Name, bytes]) -> None:
    """Assert that every row is true, and every file its photo's of now or of before."""
    for folder in case.folders:
        for row in rows(folder):
            content = (folder / row.path).read_bytes()
            assert hashlib.sha256(content).hexdigest() == row.sha256, row
        for path, file in final_files(folder).items():
            name = case.file(path)
            assert file.read_bytes() in {case.body(*name), old.get(name)}, path


def _nothing_is_lost(case: Mirrored, old: Mapping[Name, bytes]) -> None:
    """Assert that nothing is left over, and that what was replaced lies in the trash."""
    (folder,) = case.folders
    check_settled(folder)
    assert case.have() == case.wanted()
    trash = {
        path.read_bytes()
        for path in (folder / ".ninepic-mirror/trash").rglob("*")
        if path.is_file()
    }
    kept = trash | {file.read_bytes() for file in final_files(folder).values()}
    lost = [name for name, content in old.items() if content not in kept]
    assert not lost, lost


EXPERIMENT = Experiment(
    "recheck-kills",
    "`kill -9` at random moments of `sync --recheck` over photos that were replaced under their ids: each row is true,"
    " each file its photo's of now or of before, and in the end all are those of now and the old ones lie in the trash.",
    rounds=20,
    small=1,
    play=play,
)
