"""What every test may use: a quiet hypothesis profile, and one way to make a pass against the sandbox."""

from __future__ import annotations

import os
import shutil
import signal
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import hypothesis
import pytest

from ninepic_mirror.config import Api, Config, Mirror
from ninepic_mirror.model import Key
from ninepic_mirror.ninepic.limits import Limits
from ninepic_mirror.progress import Silent
from ninepic_mirror.sandbox import EventSpec, Sandbox
from ninepic_mirror.sync.context import Options
from ninepic_mirror.sync.mirror import sync_event
from ninepic_mirror.sync.session import Session, open_session

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from contextlib import AbstractAsyncContextManager

    from ninepic_mirror.sync.report import PassReport

# Deterministic and without a clock: a shared machine may stall for a second at any line.
hypothesis.settings.register_profile("shared", deadline=None, derandomize=True)
hypothesis.settings.load_profile("shared")

KEY = "test-key"
EVENT = 456
MEMORY = Path("/dev/shm")
ROOM = 4 << 30  # bytes; the commands want 2 GB free where they mirror to (`min_free`)


def pytest_configure() -> None:
    """Let the files of tests lie in memory, and what they start be stopped.

    Tests sync files by the thousand, and most of the time would be waiting for a disk (`TMPDIR` names another place).
    """
    if MEMORY.is_dir() and shutil.disk_usage(MEMORY).free > ROOM and "TMPDIR" not in os.environ:
        os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(MEMORY))
    # What a shell starts with `&`, or nohup, ignores them, and so would what is started here.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


@dataclass
class Bench:
    """A sandbox that runs, and a mirror root beside it.

    Args:
        sandbox: The synthetic service.
        root: The mirror root.
        settings: `[mirror]`; change it between passes at will.
        limits: Of the remote side: short waits, so that faults cost no test time.
    """

    sandbox: Sandbox
    root: Path
    settings: Mirror
    limits: Limits = field(default_factory=lambda: Limits(head=2.0, silence=0.3))
    give_up: float = 20.0

    @property
    def config(self) -> Config:
        """The configuration of the next pass."""
        ca_file = Path(self.sandbox.ca_file) if self.sandbox.ca_file else None
        api = Api(self.sandbox.org_id, self.sandbox.api_url, ca_file=ca_file, allow_private=True)
        return Config(api, self.settings)

    @asynccontextmanager
    async def session(self) -> AsyncIterator[Session]:
        """Open a run."""
        key = Key(KEY, "the test")
        opened = open_session(self.config, key, Silent(), limits=self.limits, give_up=self.give_up)
        async with opened as session:
            yield session

    async def sync(self, event_id: int = EVENT, **options: object) -> PassReport:
        """Make one pass in a run of its own; `options` are those of `Options`."""
        async with self.session() as session:
            return await sync_event(session, event_id, replace(Options(), **options))  # type: ignore[arg-type]  # handed on

    @property
    def folder(self) -> Path:
        """The event's folder, once there is one."""
        (found,) = self.root.glob(f"{EVENT}*")
        return found

    def photos(self) -> dict[str, Path]:
        """Return the mirrored files by `variant/stem`."""
        return {
            f"{path.parent.name}/{path.stem}": path
            for path in self.folder.rglob("*")
            if path.is_file()
            and path.parent.name in {"thumbnail", "large", "original"}
            and ".ninepic-mirror" not in path.parts
        }

    def check_content(self) -> int:
        """Assert that every photo of the sandbox is on disk with the very bytes; return how many files."""
        event, files = self.sandbox.event(EVENT), 0
        here = self.photos()
        for photo in event.photos:
            for variant in self.settings.variants:
                path = here[f"{variant}/{photo.image_id}"]
                assert path.read_bytes() == event.body(photo.image_id, variant)
                files += 1
        assert files == len(here)
        return files


class OpenBench(Protocol):
    """Opens a bench: `async with open_bench(photos=60, hours=2) as bench`."""

    def __call__(self, *, tls: bool = True, **spec: object) -> AbstractAsyncContextManager[Bench]:
        """Open one; `spec` are fields of `EventSpec`."""
        ...


@pytest.fixture
def open_bench(tmp_path: Path) -> OpenBench:
    """Return what opens a sandbox with a mirror root beside it."""

    @asynccontextmanager
    async def opened(*, tls: bool = True, **spec: object) -> AsyncIterator[Bench]:
        usual = EventSpec(EVENT, photos=60, look="cheap", thumb_kb=2, large_kb=6, hours=4)
        event = replace(usual, **spec)  # type: ignore[arg-type]  # handed on
        sandbox = Sandbox([event], org_id=903, keys=[KEY], tls=tls, seed=1)
        async with sandbox.running():
            root = tmp_path / "mirror"
            yield Bench(sandbox, root, Mirror(root, min_free=0))

    return opened
