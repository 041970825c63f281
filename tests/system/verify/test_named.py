"""Files that the manifest does not know, because it was lost: SHA256SUMS says what they were."""

from __future__ import annotations

import random
import signal
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.mirrored import Mirror, entry, faults, mirrored, photo_requests
from tests.oracle import check_settled
from tests.torture.bit_rot import flip

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.forking import Forking, Server
    from tests.system.conftest import Outcome, Serve

MANIFEST = Path(".ninepic-mirror/manifest.sqlite3")


def larges(mirror: Mirror) -> list[str]:
    """Return where the large files stand."""
    return [row.path for row in mirror.rows() if row.variant == "large"]


def lose_manifest(mirror: Mirror) -> None:
    """Delete it."""
    for path in (mirror.folder / MANIFEST).parent.glob(f"{MANIFEST.name}*"):
        path.unlink()


def damaged(done: Outcome) -> dict[str, str]:
    """Return what is wrong, without the files that are nobody's."""
    return {path: fault for path, fault in faults(done).items() if fault != "stray"}


def has_begun(mirror: Mirror) -> bool:
    """Whether a rebuild has read what SHA256SUMS say."""
    try:
        with closing(sqlite3.connect(mirror.folder / MANIFEST)) as manifest:
            return bool(manifest.execute("SELECT 1 FROM named LIMIT 1").fetchall())
    except sqlite3.Error:
        return False


def test_a_rebuild_that_was_cut_off(
    mirror: Mirror, server: Server, wait: Callable[[Callable[[], object]], None]
) -> None:
    """It is not called done: each file is still judged, and the next repair ends what was begun."""
    before = mirror.hashes()
    altered, deleted, *_ = larges(mirror)
    flip(mirror.folder / altered, random.Random(1))
    (mirror.folder / deleted).unlink()
    lose_manifest(mirror)
    mirror.service.fault(kind="500", path="timeline/images", probability=1)
    words = ("verify", 456, *mirror.service.flags, "--root", "m", "--repair")
    rebuild = server.start(mirror.commands, *words)
    wait(lambda: has_begun(mirror))
    rebuild.send_signal(signal.SIGKILL)
    assert rebuild.wait() == -9
    found = mirror.verify()
    assert (found.code, entry(found)["unfinished"], entry(found)["checked"]) == (8, True, 119)
    assert damaged(found) == {altered: "content", deleted: "missing"}
    assert (
        "the first sync or a rebuild was cut off"
        in mirror.commands.run("verify", "--root", "m").out
    )
    mirror.service.order("DELETE", "faults")
    asked = photo_requests(mirror.service)
    done = mirror.repair()
    assert (done.code, entry(done)["unfinished"], entry(done)["fetched"]) == (0, False, 2)
    assert all(one["repaired"] for one in entry(done)["damaged"])
    assert photo_requests(mirror.service) - asked == 2
    assert mirror.hashes() == before
    check_settled(mirror.folder)


def test_a_first_sync_that_was_cut_off(
    forking: Forking, serve: Serve, server: Server, wait: Callable[[Callable[[], object]], None]
) -> None:
    """What is here of it is right, but not everything is here."""
    service = serve("--photos", 60)
    service.fault(kind="500", path="timeline/images", after=1, probability=1)
    words = ("sync", 456, *service.flags, "--root", "m", "--min-free", "0")
    first = server.start(forking, *words)
    wait(lambda: any((forking.folder / "m").glob("456-*/20*/*/large/*")))
    first.send_signal(signal.SIGKILL)
    first.wait()
    found = forking.run("verify", "--root", "m", "--json")
    assert (found.code, damaged(found), entry(found)["unfinished"]) == (4, {}, True)


def test_damage_that_a_rebuild_cannot_have_again(mirror: Mirror) -> None:
    """It is damage as before, in each run, and never called a stray, until it comes or is put back."""
    before = mirror.hashes()
    victim = larges(mirror)[0]
    flip(mirror.folder / victim, random.Random(1))
    lose_manifest(mirror)
    mirror.service.fault(kind="404", origin="photos", path=Path(victim).name, probability=1)
    for run in (mirror.repair, mirror.verify, mirror.repair, mirror.verify):
        done = run()
        assert (done.code, faults(done), entry(done)["checked"]) == (8, {victim: "content"}, 120)
    mirror.service.order("DELETE", "faults")
    done = mirror.repair()
    assert (done.code, entry(done)["damaged"][0]["repaired"], entry(done)["fetched"]) == (
        0,
        True,
        1,
    )
    assert (mirror.hashes(), mirror.verify().code) == (before, 0)
    check_settled(mirror.folder)


def test_what_is_kept_of_photos_that_left(mirror: Mirror) -> None:
    """A rebuilt manifest cannot know them; they are read all the same."""
    kept = larges(mirror)[:3]
    for path in kept:
        mirror.service.order("POST", "456/remove", {"image_id": Path(path).stem})
    flags = (*mirror.service.flags, "--root", "m")
    assert mirror.commands.run("sync", 456, *flags).code == 0
    lose_manifest(mirror)
    assert mirror.repair().code == 0
    assert entry(mirror.verify())["checked"] == 120
    flip(mirror.folder / kept[0], random.Random(1))
    (mirror.folder / kept[1]).chmod(0o600)
    for run in (mirror.verify, mirror.repair, mirror.verify):
        done = run()
        assert (done.code, damaged(done)) == (8, {kept[0]: "content"})
    sampled = mirror.verify("--sample", "10%")
    assert entry(sampled)["checked"] == 13, "a tenth of the rows and of the others, rounded up"
    assert entry(mirror.verify("--quick"))["checked"] == 114
    text = mirror.commands.run("verify", 456, *flags, "--repair").out
    assert f"{kept[0]}: altered, or unreadable; SHA256SUMS names it" in text
    assert "put them back from a backup, or try again later" in text
    assert "SHA256SUMS names 5 files of these" in text


@pytest.mark.parametrize("way", ["rebuilt", "rebuilt before", "forget", "sync", "listed"])
def test_what_nothing_but_its_line_tells_of(mirror: Mirror, way: str) -> None:
    """A file of a photo that left, lost with the manifest or after it, is told by the pass that drops its line."""
    lost = larges(mirror)[0]
    (name,) = (row.image_id for row in mirror.rows() if row.path == lost)
    flags = (*mirror.service.flags, "--root", "m")
    if way != "listed":
        mirror.service.order("POST", "456/remove", {"image_id": name})
        assert mirror.commands.run("sync", 456, *flags).code == 0
    if way in {"rebuilt before", "forget"}:
        lose_manifest(mirror)
        assert (mirror.repair().code, mirror.verify().code) == (0, 0)
        (mirror.folder / lost).unlink()
        for _ in range(2):
            found = mirror.verify()
            assert (found.code, damaged(found)) == (8, {lost: "missing"})
        if way == "forget":  # of another photo: it writes SHA256SUMS anew, but does not tell
            other = Path(larges(mirror)[0]).stem
            assert mirror.commands.run("forget", other, "--root", "m", "--yes").code == 0
            assert damaged(mirror.verify()) == {lost: "missing"}
    else:
        (mirror.folder / lost).unlink()
        assert damaged(mirror.verify()) == {lost: "missing"}
        lose_manifest(mirror)
    sums = mirror.folder / lost.split("/")[0] / "SHA256SUMS"
    assert (f"large/{Path(lost).name}" in sums.read_text()) == (way != "forget")
    done = mirror.commands.run("sync", 456, *flags) if way == "sync" else mirror.repair()
    if way == "listed":  # it is had again
        assert (done.code, damaged(done), "LOST" in done.err) == (0, {}, False)
        return
    assert f"LOST: {lost}: SHA256SUMS named it" in done.err
    assert f"large/{Path(lost).name}" not in sums.read_text()
    if way == "sync":
        assert done.code == 0, "the mirror has all that is listed"
    else:
        assert (done.code, damaged(done)[lost]) == (8, "missing")
        (told,) = (one for one in entry(done)["damaged"] if one["path"] == lost)
        assert not told["repaired"]
    assert mirror.verify().code == 0, "it was told once"


def test_a_mass_removal_does_not_excuse_damage(mirror: Mirror) -> None:
    """While the removal of photos is stopped, their files are promised as before; these copies may be the last."""
    altered, deleted, *others = larges(mirror)
    flip(mirror.folder / altered, random.Random(1))
    (mirror.folder / deleted).unlink()
    for path in (altered, deleted, *others[:8]):
        mirror.service.order("POST", "456/remove", {"image_id": Path(path).stem})
    wrong = {altered: "content", deleted: "missing"}
    for run in (mirror.verify, mirror.repair, mirror.verify, mirror.repair):
        done = run()
        assert (done.code, faults(done)) == (8, wrong), done.err


@pytest.mark.parametrize("way", ["altered", "deleted"])
def test_only_what_was_deleted_of_an_unwanted_variant_is_excused(
    forking: Forking, serve: Serve, way: str
) -> None:
    """A wrong file in its place is damage, of whatever variant, also after a repair in vain."""
    mirror = mirrored(forking, serve("--photos", 6), "--variant", "large")
    (forking.folder / "ninepic-mirror.toml").write_text(
        '[api]\norg_id = 903\n[mirror]\nroot = "m"\nvariants = ["thumbnail"]\n'
    )
    assert forking.run("sync", 456, *mirror.service.flags).code == 0
    victim = larges(mirror)[0]
    if way == "altered":
        flip(mirror.folder / victim, random.Random(1))
    else:
        (mirror.folder / victim).unlink()
    mirror.service.fault(kind="404", origin="photos", path=Path(victim).name, probability=1)
    assert mirror.repair().code == 8
    done = mirror.verify()
    fault = {victim: "content"} if way == "altered" else {}
    unwanted = {} if way == "altered" else {"large": 1}
    assert (done.code, faults(done)) == (8 if fault else 0, fault)
    assert (entry(done)["unwanted"], entry(done)["files"]) == (unwanted, 12 - len(unwanted))


def test_a_lost_lock_is_made_again(mirror: Mirror) -> None:
    """What was read is recorded: the next run goes on where this one ended."""
    (mirror.folder / ".ninepic-mirror/lock").unlink()
    assert entry(mirror.verify("--sample", "50%"))["unrecorded"] == 0
    with closing(sqlite3.connect(mirror.folder / MANIFEST)) as manifest:
        query = "SELECT count(*) FROM files WHERE verified_at IS NOT NULL"
        assert manifest.execute(query).fetchall() == [(60,)]
