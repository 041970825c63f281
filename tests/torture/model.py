"""The whole pass as a state machine: whatever changes there and here, the promises of DESIGN §7 hold after each pass.

`verify` and its repair, kill -9 and two at once are among the steps (RELIABILITY T12).
"""

from __future__ import annotations

import hashlib
import os
import shutil
import signal
import tempfile
from collections import Counter
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final, cast
from zoneinfo import ZoneInfo

import trio
import trio.testing
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    precondition,
    rule,
    run_state_machine_as_test,
)

from ninepic_mirror.archive.placement import Layout
from ninepic_mirror.config import Mirror
from ninepic_mirror.errors import EventBusyError, MirrorError
from ninepic_mirror.sync.context import Options
from ninepic_mirror.sync.mirror import sync_event
from tests.case import verify
from tests.oracle import check_settled, check_truth, final_files, hours_left_short, moves, rows
from tests.remote import EVENT, FIRST, HOUR, AtSteps, Remote, cancel_at, session_of
from tests.torture.experiment import Experiment

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

    from ninepic_mirror.cli.scrub import Scrub
    from ninepic_mirror.model import Variant
    from ninepic_mirror.sync.report import PassReport
    from ninepic_mirror.sync.session import Session

    Snapshot = dict[str, int | None]

EXAMPLES: Final = 20  # of a round
STEPS: Final = 30  # of an example
LAYOUTS = (
    "{date}/{hour}/{variant}/{image_id}{ext}",
    "{variant}/{date}/{image_id}{ext}",
    "{date}/{image_id}_{variant}{ext}",
)
ZONES = ("UTC", "Asia/Kolkata", "America/New_York")
PAGE = 3  # rows of a listing: so that windows have several pages
SPOILT = b"no manifest" * 1000
CUT = 30  # bytes that a file cut short has left
WANTED = ("present", "pending", "failed")
ALTERED = b"altered"  # what an altered file begins with; its size and its folder stay as they were
BOTH: tuple[Variant, ...] = ("thumbnail", "large")
ORIGINAL: tuple[Variant, ...] = ("original",)
CHOICES = (BOTH, BOTH[:1], BOTH[1:], BOTH[:1] + ORIGINAL, BOTH + ORIGINAL)
WHICH = st.integers(0, 10_000)  # an index into whatever there is: draws must not depend on the disk
HOURS = st.one_of(st.none(), st.integers(0, 4 * HOUR - 1).map(lambda second: FIRST + second))


class MirrorMachine(RuleBasedStateMachine):
    """A remote and its mirror.

    Attributes:
        place: A folder for what the examples write.
    """

    place: Path

    def __init__(self) -> None:
        super().__init__()
        self.base = Path(tempfile.mkdtemp(dir=self.place))
        # durability: none, because no power is cut here; what is on disk is what was written
        self.settings = Mirror(self.base / "mirror", min_free=0, durability="none", connections=4)
        self.remote = Remote().fill(14)
        self.bodies = dict(self.remote.pictures)
        self.ever: dict[str, set[int | None]] = {}
        self.deleted: set[str] = set()  # since the last pass that ran to its end
        self.dated: list[Snapshot] = []  # what passes with a timeline saw since the last exact one
        self.seen: list[Snapshot] = []  # what any pass saw
        self._note_hours()

    def teardown(self) -> None:
        """Take the files away."""
        shutil.rmtree(self.base)

    # --- the service changes -----------------------------------------------------------------------------------------

    @rule(taken=HOURS, same=st.booleans())
    def add(self, taken: int | None, same: bool) -> None:
        """A photo arrives, now and then with the bytes of another."""
        number = len(self.bodies)
        text = self.bodies[f"photo-{number - 1:03}"].text if same else None
        self.bodies[f"photo-{number:03}"] = self.remote.add(f"photo-{number:03}", taken, text)
        self._note_hours()

    @precondition(lambda self: len(self.remote.pictures) > 3)
    @rule(which=WHICH)
    def remove(self, which: int) -> None:
        """A photo leaves."""
        del self.remote.pictures[_pick(self.remote.pictures, which)]

    @precondition(lambda self: len(self.remote.pictures) < len(self.bodies))
    @rule(which=WHICH)
    def restore(self, which: int) -> None:
        """A photo that left comes back."""
        image_id = _pick(self.bodies.keys() - self.remote.pictures.keys(), which)
        self.remote.pictures[image_id] = self.bodies[image_id]
        self._note_hours()

    @rule(which=WHICH, taken=HOURS)
    def retime(self, which: int, taken: int | None) -> None:
        """A photo gets another capture time, or loses it."""
        self.remote.pictures[_pick(self.remote.pictures, which)].taken = taken
        self._note_hours()

    @rule()
    def switch_timeline(self) -> None:
        """The organiser switches the timeline."""
        self.remote.timeline = not self.remote.timeline
        self._note_hours()

    @rule(which=WHICH)
    def lose_photo(self, which: int) -> None:
        """A photo's files answer 404 until further notice, or do so no more."""
        self.remote.missing ^= {_pick(self.remote.pictures, which)}

    @rule()
    def sign_addresses(self) -> None:
        """The photos' addresses begin to need a query, or do so no more."""
        self.remote.signed = not self.remote.signed

    # --- the operator changes ----------------------------------------------------------------------------------------

    @rule(zone=st.sampled_from(ZONES), layout=st.sampled_from(LAYOUTS))
    def place_elsewhere(self, zone: str, layout: str) -> None:
        """Zone and layout are configured anew."""
        self.settings = replace(self.settings, timezone=zone, layout=layout)

    @rule(variants=st.sampled_from(CHOICES))
    def choose_variants(self, variants: tuple[Variant, ...]) -> None:
        """Variants come and go in the configuration."""
        self.settings = replace(self.settings, variants=variants)

    @rule(what=st.sampled_from(("keep", "trash")))
    def treat_removals(self, what: str) -> None:
        """Removed photos are kept, or go to the trash."""
        self.settings = replace(self.settings, on_remote_removal=what)  # type: ignore[arg-type]  # one of the two

    # --- the disk changes --------------------------------------------------------------------------------------------

    @rule(which=WHICH)
    def delete_file(self, which: int) -> None:
        """A file is deleted."""
        for path in _chosen(self.files(), which):
            self.deleted.add(str(path.relative_to(self.folder)))
            path.unlink()

    @rule(which=WHICH)
    def delete_folder(self, which: int) -> None:
        """A whole top-level folder is deleted."""
        tops = {name.partition("/")[0]: self.folder for name in self.files()}
        if tops:
            self.deleted |= self.files().keys()
            shutil.rmtree(self.folder / _pick(tops, which))

    @rule(which=WHICH)
    def cut_file_short(self, which: int) -> None:
        """A file loses its end."""
        for path in _chosen(self.files(), which):
            os.truncate(path, CUT)

    @rule(which=WHICH)
    def alter_file(self, which: int) -> None:
        """Bytes of a file change in place: only who reads it sees that."""
        for path in _chosen(self.files(), which):
            if path.stat().st_size > CUT:
                with path.open("r+b") as file:
                    file.write(ALTERED)

    @rule(spoil=st.booleans())
    def lose_manifest(self, spoil: bool) -> None:
        """The manifest is deleted, or damaged."""
        for path in self.settings.root.glob(f"{EVENT}*/.ninepic-mirror/manifest.sqlite3*"):
            if spoil and path.suffix == ".sqlite3":
                path.write_bytes(SPOILT)
            else:
                path.unlink()
        self.dated, self.seen = [], []

    # --- passes ------------------------------------------------------------------------------------------------------

    @rule(
        full=st.booleans(),
        accept=st.booleans(),
        breaks=st.integers(0, 4),
        expires=st.integers(0, 3),
    )
    def sync(self, full: bool, accept: bool, breaks: int, expires: int) -> None:
        """A pass runs to its end, over connections that break and with links that expire."""
        self.remote.breaks, self.remote.expires = breaks, expires
        kept = self._in_place()
        self.remote.asked.clear()
        report = self._run(Options(full=full, accept_removals=accept), 0)
        self.remote.breaks = self.remote.expires = 0
        assert report is not None
        # nothing is fetched twice
        assert not kept & set(self.remote.asked), kept & set(self.remote.asked)
        self._check(report, full=full)

    @rule(full=st.booleans())
    def sync_accepting(self, full: bool) -> None:
        """A pass runs undisturbed and believes every removal: it is whole unless a photo cannot be had."""
        hidden = self._is_hidden() and not full  # then a photo that left may still be asked for
        report = self._run(Options(full=full, accept_removals=True), 0)
        assert report is not None
        self._check(report, full=full)
        if not hidden and not self.remote.missing & self.remote.pictures.keys():
            assert report.whole, report.failures

    @rule(
        moves=st.lists(st.tuples(st.integers(0, 4), WHICH, HOURS), min_size=1, max_size=6),
        full=st.booleans(),
        before=st.lists(st.tuples(WHICH, HOURS), max_size=3),
        lag=st.integers(0, 3),
    )
    def sync_while_photos_are_retimed(
        self,
        moves: list[tuple[int, int, int | None]],
        full: bool,
        before: list[tuple[int, int | None]],
        lag: int,
    ) -> None:
        """Photos get other capture times while counts lag, and between the requests of a pass.

        The next quiet pass puts each where it belongs.
        """
        self._remember()  # what the first requests of the pass see
        self.remote.lags = [self.remote.counted()] * lag
        for which, taken in before:
            self._retime_now(which, taken)
        for wait, which, taken in moves:
            self.remote.meanwhile += [None] * wait + [partial(self._retime_now, which, taken)]
        report = self._run(Options(full=full, accept_removals=True), 0)
        self.remote.meanwhile.clear()
        self.remote.lags.clear()
        self._remember()
        if self.remote.timeline and report is not None and report.whole:
            assert not hours_left_short(self.folder)
        check_truth(self.folder, self._body, self._damage(), self.deleted)
        self.sync_accepting(full=False)

    def _retime_now(self, which: int, taken: int | None) -> None:
        self.retime(which, taken)
        self._remember()

    @rule(step=st.integers(1, 1500), full=st.booleans())
    def sync_cut_off(self, step: int, full: bool) -> None:
        """A pass is cancelled at any step."""
        self._run(Options(full=full), step)
        self._remember()
        if self._can_be_read():
            check_truth(self.folder, self._body, self._damage(), self.deleted)

    @rule(step=st.integers(1, 400), full=st.booleans())
    def sync_killed(self, step: int, full: bool) -> None:
        """A pass ends by kill -9 at any step."""

        def kill(now: int) -> None:
            if now == step:
                os.kill(os.getpid(), signal.SIGKILL)

        child = os.fork()
        if child == 0:
            try:
                self._in_trio(
                    lambda: sync_event(self._session(), EVENT, Options(full=full)), AtSteps(kill)
                )
            finally:
                os._exit(0)  # whatever came of it: nobody must see this process twice
        os.waitpid(child, 0)
        # what the child saw it may have written down
        self._remember()
        if self._can_be_read():
            check_truth(self.folder, self._body, self._damage(), self.deleted)

    @rule(full=st.booleans())
    def sync_twice_at_once(self, full: bool) -> None:
        """Two passes at once: one of them works, the other waits for it or says who holds the event."""
        reports: list[PassReport] = []
        holders: list[int | None] = []

        async def one() -> None:
            try:
                reports.append(await sync_event(self._session(), EVENT, Options(full=full)))
            except EventBusyError as error:
                holders.append(error.holder)

        async def both() -> None:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(one)
                nursery.start_soon(one)

        self.remote.asked.clear()
        self._in_trio(both)
        assert reports
        assert holders in ([], [os.getpid()])
        assert all(count == 1 for count in Counter(self._had()).values())
        self._check(reports[-1], full=full)

    @precondition(lambda self: self._can_be_read())
    @rule()
    def verify(self) -> None:
        """Every damage is found, nothing else is called damaged, and nothing is changed."""
        before, lost = self._standing(), self._lost()
        scrub = self._verify(repair=False)
        if scrub is not None:
            found = _damaged(scrub)
            whole = self._whole()
            assert lost <= found.keys(), lost - found.keys()
            assert not {key for key, fault in found.items() if fault != "misplaced"} & whole
        assert self._standing() == before

    @precondition(lambda self: self._is_mirrored())
    @rule()
    def verify_and_repair(self) -> None:
        """Every damage is found and repaired, as far as the service has the photo, and nothing else is fetched."""
        readable = self._can_be_read() and bool(rows(self.folder))
        whole = self._whole() if readable else set()
        had = {(row.image_id, row.variant) for row in rows(self.folder)} if readable else set()
        self.remote.asked.clear()
        self._verify(repair=True)
        if readable:
            assert not whole & set(self.remote.asked)
        self._remember()
        check_truth(self.folder, self._body, self._damage(), self.deleted)
        # of photos that left, or seem to have left by all counts, nothing can be had
        lost = set.union(*(self._found(state, whole=False) for state in WANTED)) & had
        for image_id, variant in lost:
            assert image_id not in self.remote.pictures or image_id in self.remote.missing, (
                f"{variant} of {image_id} is not repaired"
            )

    @precondition(lambda self: self._can_be_read())
    @rule(full=st.booleans())
    def verify_beside_a_sync(self, full: bool) -> None:
        """A `verify` beside a pass calls nothing damaged that is whole before and after it."""
        whole, found = self._whole(), dict[tuple[str, str], str]()

        async def both() -> None:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(sync_event, self._session(), EVENT, Options(full=full))
                found.update(_damaged(await verify(self._session())))

        if not self._can_be_read() or not rows(self.folder):
            return
        self._in_trio(both)
        self._remember()
        assert not whole & self._whole() & found.keys()
        check_truth(self.folder, self._body, self._damage(), self.deleted)

    @rule(refuses=st.integers(1, 6))
    def sync_refused(self, refuses: int) -> None:
        """The service answers nothing but faults for a while."""
        self.remote.refuses = refuses
        try:
            report = self._run(Options(), 0)
        except MirrorError:
            report = None
        self.remote.refuses = 0
        self._remember()
        if report is not None:
            assert report.whole or report.failures
        if self._can_be_read():
            check_truth(self.folder, self._body, self._damage(), self.deleted)

    # --- what holds --------------------------------------------------------------------------------------------------

    @property
    def folder(self) -> Path:
        """The event folder."""
        (found,) = self.settings.root.glob(f"{EVENT}*")
        return found

    def files(self) -> dict[str, Path]:
        """Every file under a final name."""
        return {
            name: path
            for folder in self.settings.root.glob(f"{EVENT}*")
            for name, path in final_files(folder).items()
        }

    def _can_be_read(self) -> bool:
        """Whether there is a mirror, and its manifest is not one that was spoilt and that no pass has opened since."""
        manifests = self.settings.root.glob(f"{EVENT}*/.ninepic-mirror/manifest.sqlite3")
        return bool(list(self.settings.root.glob(f"{EVENT}*"))) and all(
            manifest.read_bytes() != SPOILT for manifest in manifests
        )

    def _session(self) -> Session:
        return session_of(self.remote, self.settings, PAGE)

    def _in_trio(
        self, work: Callable[[], Awaitable[object]], *watchers: trio.abc.Instrument
    ) -> None:
        trio.run(
            work,
            # not 0: a loop that never sleeps keeps the interpreter lock from the threads it waits for
            clock=trio.testing.MockClock(autojump_threshold=0.001),
            instruments=watchers,
        )

    def _run(self, options: Options, step: int) -> PassReport | None:
        scope = trio.CancelScope()
        report: PassReport | None = None

        async def main() -> None:
            nonlocal report
            with scope:
                report = await sync_event(self._session(), EVENT, options)

        self._in_trio(main, cancel_at(scope, step))
        return report

    def _verify(self, *, repair: bool) -> Scrub | None:
        """Run `verify`; return what it found, None where it found no manifest to believe."""
        found: list[Scrub] = []

        async def main() -> None:
            found.append(await verify(self._session(), repair=repair))

        self._in_trio(main)
        return found[0] if _entry(found[0])["error"] is None else None

    def _body(self, image_id: str, variant: str) -> bytes:
        return self.bodies[image_id].body(cast("Variant", variant))

    def _damage(self, *, seen: bool = False) -> set[int]:
        """The inodes of files that are still damaged (numbers are given anew after a deletion).

        Args:
            seen: Only of those that a full pass sees: the cut ones.
        """
        return {
            path.stat().st_ino
            for path in self.settings.root.rglob("*.jpg*")
            if path.is_file()
            and (path.stat().st_size == CUT or (not seen and path.read_bytes()[:7] == ALTERED))
        }

    def _is_mirrored(self) -> bool:
        """Whether there is an event folder with what is ours in it."""
        return bool(list(self.settings.root.glob(f"{EVENT}*/.ninepic-mirror/lock")))

    def _standing(self) -> dict[str, str]:
        """Every file under a final name, and what its bytes are."""
        return {
            name: hashlib.sha256(path.read_bytes()).hexdigest()
            for name, path in self.files().items()
        }

    def _found(self, state: str, *, whole: bool) -> set[tuple[str, Variant]]:
        """The files of a state whose bytes are what the row says, or are not."""
        standing = self._standing()
        return {
            (row.image_id, cast("Variant", row.variant))
            for row in rows(self.folder, state)
            if (standing.get(row.path) == row.sha256) == whole
        }

    def _whole(self) -> set[tuple[str, Variant]]:
        """The files that a row calls present and that are."""
        return self._found("present", whole=True)

    def _lost(self) -> set[tuple[str, Variant]]:
        """The files that a row calls present and that are not; nothing where any are under way to another place."""
        return set() if moves(self.folder) else self._found("present", whole=False)

    def _had(self) -> list[tuple[str, Variant]]:
        """The photo requests that brought something."""
        return [
            key
            for key in self.remote.asked
            if key[0] in self.remote.pictures and key[0] not in self.remote.missing
        ]

    def _note_hours(self) -> None:
        for picture in self.remote.pictures.values():
            taken = picture.taken if self.remote.timeline else None
            self.ever.setdefault(picture.image_id, {None}).add(taken)

    def _places(self, image_id: str, variant: Variant) -> set[str]:
        """Where a file may stand: one place, unless its photo lost its time or the timeline is off."""
        layout, zone = Layout.parse(self.settings.layout), ZoneInfo(self.settings.timezone)
        taken = self.remote.pictures[image_id].taken if self.remote.timeline else None
        times = {taken}
        if taken is None:
            # an hour once known is kept: of one half, or of a whole hour that was never cut
            for past in self.ever[image_id] - {None}:
                assert past is not None
                times |= {past, past // HOUR * HOUR}
        return {layout.stem(time, zone, variant, image_id) + ".jpg" for time in times}

    def _in_place(self) -> set[tuple[str, Variant]]:
        """Files that are whole at their one right place: they must not be fetched."""
        if not self.files():
            return set()
        damage = self._damage()
        return {
            (image_id, variant)
            for image_id in self.remote.pictures
            for variant in self.settings.variants
            for places in [self._places(image_id, variant)]
            if len(places) == 1
            for path in [self.folder / next(iter(places))]
            if path.exists() and path.stat().st_ino not in damage
        }

    def _snapshot(self) -> Snapshot:
        return {
            one.image_id: None if one.taken is None else one.taken // HOUR
            for one in self.remote.pictures.values()
        }

    def _remember(self) -> None:
        if self.remote.timeline:
            self.dated.append(self._snapshot())
        self.seen.append(self._snapshot())

    def _is_hidden(self) -> bool:
        """Whether photos changed in a way that no count shows (API.md, end)."""
        now = self._snapshot()
        if self.remote.timeline and any(_hides(before, now) for before in self.dated):
            return True
        return any(len(before) == len(now) and before.keys() != now.keys() for before in self.seen)

    def _check(self, report: PassReport, *, full: bool) -> None:
        folder = self.folder
        self.deleted = set()
        damage = self._damage()
        present = check_truth(folder, self._body, damage)
        if full:  # what is left of the damage are files of photos that left: kept, and called gone
            seen = self._damage(seen=True)
            assert not {(folder / row.path).stat().st_ino for row in rows(folder)} & seen
        check_settled(folder, damage)
        assert report.whole or report.failures
        assert report.whole == (not report.failures)
        hidden = self._is_hidden() and not full
        if report.whole:
            assert report.missing == report.failed == report.stopped_removal == 0
            assert report.photos == len(self.remote.pictures)
            assert present >= report.present >= report.photos * len(self.settings.variants)
        if report.whole and not hidden:
            self._check_exact()
        if report.whole and (full or not hidden):
            self.seen = []
            if self.remote.timeline:
                self.dated = []
        self._remember()

    def _check_exact(self) -> None:
        """Assert that exactly the photos of the service are present, each at its place."""
        here = {(row.image_id, row.variant): row.path for row in rows(self.folder)}
        wanted = {
            (image_id, variant)
            for image_id in self.remote.pictures
            for variant in self.settings.variants
        }
        assert {key for key in here if key[1] in self.settings.variants} == wanted
        for image_id, variant in wanted:
            assert here[image_id, variant] in self._places(image_id, variant)


def _hides(before: Snapshot, now: Snapshot) -> bool:
    """Whether an hour holds as many photos as before, but others."""
    for hour in {*before.values(), *now.values()}:
        was = {image_id for image_id, its in before.items() if its == hour}
        is_ = {image_id for image_id, its in now.items() if its == hour}
        if len(was) == len(is_) and was != is_:
            return True
    return False


def _pick(names: Iterable[str], which: int) -> str:
    chosen = sorted(names)
    return chosen[which % len(chosen)]


def _chosen(files: dict[str, Path], which: int) -> list[Path]:
    return [files[_pick(files, which)]] if files else []


def _entry(scrub: Scrub) -> dict[str, object]:
    (entry,) = cast("list[dict[str, object]]", scrub.entries)
    return entry


def _damaged(scrub: Scrub) -> dict[tuple[str, str], str]:
    """Return what a `verify` calls damaged, strays left out, and why."""
    damaged = cast("list[dict[str, str]]", _entry(scrub)["damaged"])
    return {
        (one["image_id"], one["variant"]): one["fault"]
        for one in damaged
        if one["fault"] != "stray"
    }


def play(number: int, folder: Path) -> dict[str, int]:
    """Let hypothesis think up some examples, by the number of the round."""

    @seed(number)
    class Numbered(MirrorMachine):
        place = folder

    run_state_machine_as_test(
        Numbered,
        settings=settings(
            max_examples=EXAMPLES,
            stateful_step_count=STEPS,
            deadline=None,
            derandomize=False,
            database=None,
            phases=[Phase.generate],
            # a pass writes files: it may be slow on a busy machine
            suppress_health_check=list(HealthCheck),
        ),
    )
    return {"examples": EXAMPLES, "steps": EXAMPLES * STEPS}


EXPERIMENT = Experiment(
    "model",
    "A state machine over a service in memory and its mirror: photos come, leave, come back, are re-timed and lost, links"
    " expire, settings change, files and manifests are damaged; passes are made, cut off, killed, refused, two at once and"
    " beside `verify`, which finds and repairs. After each step no row lies; a pass is whole exactly when all is here.",
    rounds=100,
    small=1,
    play=play,
)
