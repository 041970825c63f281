"""The HTTP fault matrix (RELIABILITY T11): every class of faults, once a round, over TLS and public addresses.

A round plays a quarter of the classes, in a network of its own. Of each class one run meets the fault, passing or lasting,
and one comes after it.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Final, cast

import trio
import trustme

from ninepic_mirror.sandbox import EventSpec
from tests.oracle import check_settled, check_truth, rows
from tests.torture.experiment import Experiment
from tests.torture.faults import API, DAYS, LISTINGS, Fault, all_faults
from tests.torture.program import SOURCE, open_program
from tests.torture.service import (
    KEY,
    Service,
    alone,
    context_of,
    lacks,
    set_up_network,
    watching,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.torture.program import Ended, Program
    from tests.torture.service import Asked

EVENT: Final = 456
PHOTOS: Final = 10
AT_ONCE: Final = 4  # most of a run is waiting
LIMITS: Final = {
    "connect": 2.0,
    "head": 1.5,
    "silence": 0.6,
    "rate_window": 0.6,
    "patience": 2.0,
    "photo": 1 << 20,
    "thumbnail": 1 << 19,
}
PATIENCE: Final = 40.0  # seconds without an answer that a run bears whose service is not down
PARTS: Final = 4
LONGEST: Final = 60.0  # seconds a run: it hangs
CALLS: Final = (API, "/details", DAYS, LISTINGS)
RARE: Final = 0.25  # share of the photos that a lasting fault strikes


def play(seed: int, folder: Path) -> Mapping[str, int]:
    """Play a round in a network of its own."""
    words = alone([sys.executable, "-m", "tests.torture.http_faults", seed, folder])
    done = subprocess.run(words, cwd=SOURCE, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    counts: Mapping[str, int] = json.loads(done.stdout.splitlines()[-1])
    return counts


async def round_of(seed: int, folder: Path, names: tuple[str, ...] = ()) -> dict[str, int]:
    """Play every class, some at once; return what was counted."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(folder / "ca.pem"))
    # of a class every other round is one in which it lasts
    waiting = [
        (fault, (number // PARTS + seed // PARTS) % 2 == 1)
        for number, fault in enumerate(all_faults())
        if fault.name in names or (not names and number % PARTS == seed % PARTS)
    ]
    broken: list[str] = []
    counts = Counter[str](classes=len(waiting))

    async def work(number: int) -> None:
        async with open_program(LIMITS) as program:
            while waiting:
                fault, lasts = waiting.pop()
                place = folder / fault.name
                place.mkdir()
                trial = Trial(
                    fault, seed, place, Service(number, spec_of(fault), authority), lasts=lasts
                )
                try:
                    await trial.play(program, counts)
                except* AssertionError as group:
                    (error,) = leaves(group)
                    broken.append(f"{fault.name}: {error}"[:2000])

    async with watching() as forbidden, trio.open_nursery() as nursery:
        for number in range(min(AT_ONCE, len(waiting))):
            nursery.start_soon(work, number)
    assert not broken, "\n\n".join(broken)
    assert not forbidden, forbidden
    return counts


def leaves(group: BaseExceptionGroup[BaseException]) -> list[BaseException]:
    """Return the errors of a group and of the groups in it."""
    return [
        leaf
        for error in group.exceptions
        for leaf in (leaves(error) if isinstance(error, BaseExceptionGroup) else [error])
    ]


def spec_of(fault: Fault) -> EventSpec:
    """Return the event that a class is played over."""
    return EventSpec(
        EVENT, photos=PHOTOS, hours=2, undated=2, look="cheap", thumb_kb=2, large_kb=fault.kilobytes,
        original_mb=(0.01, 0.02),
    )  # fmt: skip


class Trial:
    """One class of one round.

    Args:
        fault: The class.
        seed: Of the round.
        folder: An empty one.
        service: It is played with.
        lasts: The fault does not pass before the second run.
    """

    def __init__(
        self, fault: Fault, seed: int, folder: Path, service: Service, *, lasts: bool
    ) -> None:
        self._fault, self._folder, self._service = fault, folder, service
        self._random = Random(f"{seed} {fault.name}")
        self._lasts = lasts
        # of the whole API, or of one call
        self._where = self._random.choice(CALLS) if fault.where == API else fault.where
        self._times = self._random.randrange(1, 4)
        variants = (
            ("thumbnail", "original") if "originals" in fault.name else ("thumbnail", "large")
        )
        self._variants = variants

    async def play(self, program: Program, counts: Counter[str]) -> None:
        """Run with the fault and after it.

        Raises:
            AssertionError: A promise was broken.
        """
        fault, service = self._fault, self._service
        async with service.running():
            self._arm()
            program.give_up = 4.0 if self._lasts else PATIENCE
            ended = await self._sync(program)
            program.give_up = PATIENCE
            allowed = fault.lasting if self._lasts else fault.passing
            if not (service.met or fault.certificate):
                allowed = allowed | {0}  # nothing met it: by its number, or by the choice of photos
            self._check(ended, allowed)
            counts["runs"] += 1
            counts["answers that were not right"] += service.met
            here = self._present()
            service.forgive()
            service.asked.clear()
            if fault.cure:
                await self._sync(program, *fault.cure)
            ended = await self._sync(program)
            self._check(ended, frozenset({0}))
            assert not here & self._fetched(), "fetched twice"
            (mirror,) = (self._folder / "mirror").glob(f"{EVENT}*")
            check_settled(mirror)
            counts["runs"] += 1
        assert not service.leaked, f"the key went to {service.leaked}"
        self._search_secrets()

    def _arm(self) -> None:
        service, matches = self._service, re.compile(self._where).search
        ids = [photo.image_id for photo in service.world.event(EVENT).photos]
        struck = set(self._random.sample(ids, max(1, round(RARE * len(ids)))))

        def meets(asked: Asked) -> bool:
            if matches(asked.target) is None or asked.origin == "other":
                return False
            if not self._lasts:
                return service.met < self._times
            return asked.origin == "api" or asked.image_id in struck

        service.meet, service.act = meets, self._fault.act
        if self._fault.certificate is not None:
            self._spoil_certificate(*self._fault.certificate)

    def _spoil_certificate(self, origin: str, how: str) -> None:
        service = self._service
        host, authority = service.hosts[origin], service.authority
        if how == "another-host":
            wrong = authority.issue_cert("8.8.200.200")
        elif how == "self-signed":
            wrong = trustme.CA().issue_cert(host)
        else:
            wrong = authority.issue_cert(host, not_after=datetime(2020, 1, 1, tzinfo=UTC))
        service.contexts[origin] = context_of(wrong)

    async def _sync(self, program: Program, *options: str) -> Ended:
        words = [
            "-vv", "sync", EVENT, "--org", 903, "--base-url", self._service.world.api_url, "--root", "mirror",
            "--ca-file", self._folder.parent / "ca.pem", "--json", "--min-free", "0", *options,
            *(word for variant in self._variants for word in ("--variant", variant)),
        ]  # fmt: skip
        with trio.move_on_after(LONGEST) as scope:
            ended = await program.run(self._folder, words, {"NINEPIC_API_KEY": KEY})
        assert not scope.cancelled_caught, f"it hangs for {LONGEST} s"
        with (self._folder / "log").open("a") as log:
            log.write(f"exit {ended.code}\n{ended.out}\n{ended.err}\n")
        return ended

    def _check(self, ended: Ended, allowed: frozenset[int]) -> None:
        """Assert that the exit code is true, and that nothing bad was kept."""
        last = ended.err.strip().splitlines()[-3:]
        assert ended.code in allowed, f"exit {ended.code}, not one of {sorted(allowed)}: {last}"
        document = ended.document
        assert document["exit_code"] == ended.code
        (entry,) = cast("list[dict[str, object]]", document["events"])
        assert entry["whole"] == (ended.code == 0)
        assert entry["whole"] or entry["failures"]
        folders = list((self._folder / "mirror").glob(f"{EVENT}*"))
        present = check_truth(folders[0], self._service.body) if folders else 0
        photos = self._service.world.event(EVENT).photos
        if ended.code == 0:
            assert present == len(photos) * len(self._variants), "whole, and it is not"
            here = {(row.image_id, row.variant) for row in rows(folders[0])}
            assert {image_id for image_id, _ in here} == {photo.image_id for photo in photos}

    def _present(self) -> set[tuple[str, str]]:
        return {
            (row.image_id, row.variant)
            for folder in (self._folder / "mirror").glob(f"{EVENT}*")
            for row in rows(folder)
        }

    def _fetched(self) -> set[tuple[str, str]]:
        names = {"large": "large", "small": "thumbnail"}
        return {
            (parts[-1].removesuffix(".jpg"), names.get(parts[-2], "original"))
            for parts in (path.split("/") for path in self._service.asked)
        }

    def _search_secrets(self) -> None:
        """Assert that no file holds the key or a signature: the mirror's, and what was told (RELIABILITY T25)."""
        secrets = [secret.encode() for secret in {KEY, *self._service.signatures}]
        for path in self._folder.rglob("*"):
            content = path.read_bytes() if path.is_file() else b""
            assert not any(secret in content for secret in secrets), f"a secret stands in {path}"


def main() -> None:
    """Play a round in the network that this process has to itself: its number, a folder, perhaps some classes."""
    set_up_network()
    seed, folder, *names = sys.argv[1:]
    print(json.dumps(trio.run(round_of, int(seed), Path(folder), tuple(names))))


EXPERIMENT = Experiment(
    "http-faults",
    f"Each of {len(all_faults())} classes of faults of a service (RELIABILITY 2a: framing, lengths, encodings, silence,"
    " floods, resets, wrong types, redirects, statuses, JSON, lying and moving listings, ranges, links, certificates) strikes"
    " a run over TLS, passing or lasting, and a second run comes after it: nothing bad is kept, nothing is called whole that"
    " is not, the exit code is true, no private address is asked, no key or signature is written or told, and the second"
    " run (after a full one where the service gave wrong addresses) is whole and fetches nothing twice. Not among them: another whole photo under a photo's address, which nobody can see.",
    rounds=25 * PARTS,
    small=1,
    play=play,
    lacks=lacks,
)

if __name__ == "__main__":
    main()
