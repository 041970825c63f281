"""Events whose folder is gone: nobody is silent about them, and what is printed has them again."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING

import pytest

from tests.mirrored import Mirror, entry, photo_requests, typed
from tests.oracle import rows

if TYPE_CHECKING:
    from pathlib import Path

    from tests.system.conftest import Commands, Serve, Service

PLACE = ("--root", "m", "--state-dir", "s")
SYNC = '[api]\norg_id = 903\nbase_url = "{}"\n[mirror]\nroot = "m"\n[events]\nids = {}\n'


@pytest.fixture
def service(serve: Serve) -> Service:
    """Two small events, 456 and 457."""
    return serve("--photos", 5, "--events", 2)


@pytest.fixture
def folder(commands: Commands, service: Service) -> Path:
    """The folder of event 456, mirrored beside another with manifests of their own disk."""
    done = commands.run("sync", 456, 457, *service.flags, *PLACE)
    assert done.code == 0, done.err
    return next((commands.folder / "m").glob("456-*"))


@pytest.mark.parametrize("way", ["removed", "emptied"])
def test_a_folder_that_is_gone(
    commands: Commands, service: Service, folder: Path, way: str
) -> None:
    """While its manifest stands in `state_dir` every command tells it, and the printed repair has it again."""
    before = sorted(path.relative_to(folder) for path in folder.rglob("*.jpg"))
    shutil.rmtree(folder)
    if way == "emptied":  # as where a disk of its own is not mounted
        folder.mkdir()
    told = f"nothing is left here of event 456, of which {commands.folder}/s/{folder.name}/manifest"
    for line in (
        "verify", "verify 456", "verify --quick", "status", "status 456", "manifest 456", "deliver 456 package",
        "deliver --list", "forget photo --yes",
    ):  # fmt: skip
        done = commands.run(*line.split(), *PLACE)
        assert (done.code, done.says_one_line_and_cure()) == (6, True), (line, done.err)
        assert told in done.err
        assert "verify 456 --repair --root m --state-dir s --org NUMBER" in done.err
    listed = commands.run("events", *service.flags, *PLACE)
    assert (listed.code, told in listed.err, "not mirrored" in listed.out) == (6, True, False)
    found = json.loads(commands.run("verify", *PLACE, "--json").out)["events"]
    assert [(one["event_id"], one["error"] is None) for one in found] == [(456, False), (457, True)]
    assert commands.run("sync", 456, *service.flags, *PLACE, "--dry-run").code == 0

    done = typed(commands, service, commands.run("status", *PLACE).err)
    assert (done.code, "10 files fetched" in done.out) == (0, True), done.err + done.out
    assert sorted(path.relative_to(folder) for path in folder.rglob("*.jpg")) == before
    asked = photo_requests(service)
    for words in (("verify",), ("status",), ("sync", 456, *service.flags)):
        assert commands.run(*words, *PLACE).code == 0
    assert photo_requests(service) == asked


def test_a_repair_of_everything(commands: Commands, service: Service, folder: Path) -> None:
    """Without ids it is had again, too; what cannot be fetched is damage then, and stays it."""
    shutil.rmtree(folder)
    photo = rows_in_state(commands)[0]
    service.fault(kind="404", origin="photos", image_id=photo, variant="large")
    for _ in range(2):
        done = commands.run("verify", *service.flags, *PLACE, "--repair", "--json")
        damaged = json.loads(done.out)["events"][0]["damaged"]
        left = [(one["image_id"], one["variant"]) for one in damaged if not one["repaired"]]
        assert (done.code, left) == (8, [(photo, "large")])
    assert commands.run("status", *PLACE).code == 4


def rows_in_state(commands: Commands) -> list[str]:
    """Return the ids of event 456 by its manifest in `state_dir`."""
    (place,) = (commands.folder / "s").glob("456-*")
    shutil.copytree(place, commands.folder / "copy" / ".ninepic-mirror")
    return sorted({row.image_id for row in rows(commands.folder / "copy")})


def test_the_service_is_asked_first(commands: Commands, service: Service, folder: Path) -> None:
    """An event that it has not any more is not made as an empty folder, which would call itself whole."""
    shutil.rmtree(folder)
    service.order("DELETE", "456")
    done = commands.run("verify", *service.flags, *PLACE, "--repair")
    assert (done.code, "event 456 is not known to the service" in done.err) == (9, True)
    assert "(event 457): no damage" in done.out
    assert not folder.exists()
    told = commands.run("status", *PLACE)
    assert (told.code, f"remove {commands.folder}/s/{folder.name}" in told.err) == (6, True)
    shutil.rmtree(commands.folder / "s" / folder.name)
    assert commands.run("status", *PLACE).code == 0


def test_a_service_that_is_down(commands: Commands, service: Service, folder: Path) -> None:
    """Nothing can be had of any event then: it is asked once, and each event is told all the same."""
    for path in folder.parent.glob("45*"):
        shutil.rmtree(path)
    service.fault(kind="503", origin="api", retry_after="600")
    service.order("DELETE", "requests")
    done = commands.run("verify", *service.flags, *PLACE, "--repair", "--json")
    assert (done.code, "no good answer" in done.err or "left alone" in done.err) == (6, True)
    assert [one["error"] is None for one in json.loads(done.out)["events"]] == [False, False]
    assert "nothing is left here of event 457" in done.err
    assert service.requests()["api"] == 1
    assert not list(folder.parent.glob("45*"))


def test_what_was_forgotten_stays_so(commands: Commands, service: Service, folder: Path) -> None:
    """The list of it went with the folder; the manifest knows it still."""
    photo = next(folder.rglob("large/*.jpg")).stem
    assert commands.run("forget", photo, "--yes", *PLACE).code == 0
    shutil.rmtree(folder)
    for words in (("verify", "--repair"), ("sync", 456)):
        assert commands.run(*words, *service.flags, *PLACE).code == 0
        assert list(folder.rglob(f"{photo}*")) == []
    assert len(list(folder.rglob("*.jpg"))) == 8


def test_a_root_that_is_not_mounted(commands: Commands, folder: Path) -> None:
    """That nothing is there of any event is told as what it is."""
    shutil.rmtree(folder.parent)
    folder.parent.mkdir()
    for name in ("verify", "status"):
        done = commands.run(name, *PLACE)
        assert (done.code, done.says_one_line_and_cure()) == (6, True)
        assert ("this is no mirror root" in done.err, "--repair" in done.err) == (True, False)


@pytest.mark.parametrize("ids", [[456, 457], [456]])
def test_what_the_config_names(commands: Commands, service: Service, ids: list[int]) -> None:
    """An event that ought to be here and is not ends `verify` with 9, as `status`, and the printed `sync` brings it."""
    (commands.folder / "ninepic-mirror.toml").write_text(SYNC.format(service.api_url, ids))
    assert commands.run("sync", "--all").code == 0
    for path in (commands.folder / "m").glob("456-*"):
        shutil.rmtree(path)
    for words in (("status",), ("verify",), ("verify", "--repair"), ("verify", 456)):
        done = commands.run(*words)
        assert (done.code, done.says_one_line_and_cure()) == (9, True), (words, done.err)
        assert "event 456 is not mirrored" in done.err
        assert " sync 456; or take it out of [events] ids" in done.err
        assert "(event 457)" in done.out or words[-1] == 456 or ids == [456]
    found = json.loads(commands.run("verify", "--json").out)["events"]
    assert [one["event_id"] for one in found if one["error"] is not None] == [456]
    done = typed(commands, service, commands.run("verify").err)
    assert done.code == 0, done.err
    for name in ("verify", "status"):
        assert commands.run(name).code == 0
    (commands.folder / "m/.ninepic-mirror-root").unlink()
    shutil.rmtree(commands.folder / "m")
    document = commands.run("verify", "--json")
    assert [one["event_id"] for one in json.loads(document.out)["events"]] == ids
    assert document.code == 6


def test_an_event_that_nobody_named(mirror: Mirror) -> None:
    """It ends with 9 and the way to see what there is, not with a command that would mirror it."""
    done = mirror.verify(999)
    assert (done.code, " sync " in done.err, entry(done)["event_id"]) == (9, False, 999)
