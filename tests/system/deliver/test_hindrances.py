"""`deliver`: what goes wrong, and what is never taken for a package then."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import tempfile
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.delivered import PHOTOS, Mirror, check, nothing_looks_whole, table
from tests.system.conftest import PROGRAM

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


# --- what goes wrong ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["folder", "zip", "links"])
@pytest.mark.parametrize("fault", ["flip", "cut", "gone", "link", "folder"])
def test_a_damaged_source(mirror: Mirror, form: str, fault: str) -> None:
    """It stops with the file's name and what to do; after the repair the same command goes on."""
    row = next(row for row in mirror.rows() if row.variant == "large")
    path = mirror.folder / row.path
    data = path.read_bytes()
    path.unlink()
    if fault == "flip":
        path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    elif fault == "cut":
        path.write_bytes(data[:-1])
    elif fault == "link":
        path.symlink_to("/etc/passwd")
    elif fault == "folder":
        path.mkdir()
    place = mirror.place("out.zip" if form == "zip" else "out")
    words = ("--link",) if form == "links" else ("--format", form)
    done = mirror.deliver(place, *words)
    assert done.code == 8, done.err
    assert done.says_one_line_and_cure() or form == "links"  # which are warned of, too
    assert row.path in done.err
    assert "fetch it again: " in done.err
    assert f"verify 456 --repair --root {mirror.root} --org NUMBER" in done.err
    assert nothing_looks_whole(place)
    if fault == "folder":
        path.rmdir()
    path.unlink(missing_ok=True)
    path.write_bytes(data)
    assert mirror.deliver(place, *words).code == 0
    assert not nothing_looks_whole(place)


@pytest.mark.parametrize("fault", ["flip", "gone"])
def test_a_damaged_photo_of_a_photographer(mirror: Mirror, fault: str) -> None:
    """Whose it is cannot be read: it stops with its name, and nothing is kept of what was read."""
    row = next(row for row in mirror.rows() if row.variant == "large")
    path = mirror.folder / row.path
    data = path.read_bytes()
    path.unlink()
    if fault == "flip":
        path.write_bytes(data.replace(b"Exif", b"exif"))
    done = mirror.deliver("out", "--photographer", "Asha Patil")
    assert (done.code, row.path in done.err) == (8, True), done.err
    assert nothing_looks_whole(mirror.place("out"))
    path.unlink(missing_ok=True)
    path.write_bytes(data)
    mirror.entry("out", "--photographer", "Asha Patil")
    mirror.entry("rest", "--split-by", "photographer")
    whole = {line["image_id"] for line in table(mirror.place("rest") / "asha-patil")}
    assert {line["image_id"] for line in table(mirror.place("out"))} == whole


def test_a_name_that_was_damaged(mirror: Mirror) -> None:
    """A head with a letter that is another one is believed, until the file is mended."""
    mirror.entry("all", "--photographer", "Asha Patil")
    hers = {line["image_id"] for line in table(mirror.place("all"))}
    row = next(row for row in mirror.rows() if row.image_id in hers and row.variant == "large")
    path = mirror.folder / row.path
    path.write_bytes(path.read_bytes().replace(b"Asha Patil", b"Asha Pavil"))
    mirror.change("DELETE FROM cameras")
    mirror.entry("less", "--photographer", "Asha Patil")
    assert {line["image_id"] for line in table(mirror.place("less"))} == hers - {row.image_id}
    mended = mirror.commands.run(
        "verify", 456, "--root", mirror.root, "--repair", *mirror.service.flags
    )
    assert mended.code == 0, mended.err
    mirror.entry("again", "--photographer", "Asha Patil")
    assert {line["image_id"] for line in table(mirror.place("again"))} == hers


def test_a_file_that_a_pass_moved(mirror: Mirror) -> None:
    """Its row is read again while it is delivered; a move under way is followed."""
    row = next(row for row in mirror.rows() if row.variant == "large")
    elsewhere = f"elsewhere/{Path(row.path).name}"
    (mirror.folder / "elsewhere").mkdir()
    (mirror.folder / row.path).rename(mirror.folder / elsewhere)
    mirror.change("UPDATE files SET moving_to = ? WHERE path = ?", elsewhere, row.path)
    mirror.entry("out", "--split-by", "photographer")
    bags = list(mirror.place("out").iterdir())
    assert sum(len(table(bag)) for bag in bags) == 2 * PHOTOS
    (bag,) = (bag for bag in bags if (bag / "data" / row.path).is_file())
    check(bag)
    assert bag.name != "unknown"


def test_a_pass_that_moves_everything_meanwhile(mirror: Mirror) -> None:
    """A sync with another layout renames every file amid the delivery, which follows them and ends well."""
    process = start_slowly(mirror, mirror.place("out"))
    layout = "{variant}/{date}/{image_id}{ext}"
    words = ("--root", mirror.root, "--timezone", "Asia/Kolkata", "--layout", layout)
    assert mirror.commands.run("sync", 456, *mirror.service.flags, *words).code == 0
    os.kill(process.pid, signal.SIGCONT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    check(mirror.place("out"))
    assert len(table(mirror.place("out"))) == 2 * PHOTOS


def test_what_is_in_the_way_is_told_before_photos_are_read(mirror: Mirror) -> None:
    """A damaged photo is not found first: to read all of them takes a while."""
    row = next(row for row in mirror.rows() if row.variant == "large")
    (mirror.folder / row.path).unlink()
    mirror.place("there").mkdir()
    assert mirror.deliver("there").code == 2
    assert mirror.deliver("out").code == 8


def test_what_stands_there_is_left_alone(mirror: Mirror) -> None:
    """Neither a package nor a folder nor a file is overwritten, nor is anything put into the mirror."""
    mirror.entry("out")
    before = (mirror.place("out") / "bag-info.txt").read_bytes()
    mirror.place("full").mkdir()
    mirror.place("file").write_text("mine")
    for place in ("out", "full", "file", mirror.root / "x", mirror.folder / "x", "no/such/folder"):
        done = mirror.deliver(place)
        assert (done.code, done.says_one_line_and_cure()) == (2, True), (place, done.err)
    assert (mirror.place("out") / "bag-info.txt").read_bytes() == before
    assert mirror.place("file").read_text() == "mine"
    foreign = mirror.place(".new.partial")
    foreign.mkdir()
    (foreign / "thesis.txt").write_text("mine")
    done = mirror.deliver("new")
    assert (done.code, done.says_one_line_and_cure()) == (6, True)
    assert (foreign / "thesis.txt").read_text() == "mine"


def test_a_destination_that_is_no_text(mirror: Mirror) -> None:
    """It could not be recorded: it is refused before anything is written."""
    name = os.fsdecode(b"caf\xe9")
    for words in (
        (name,),
        (f"{name}/x",),
        (name, "--format", "zip"),
        (name, "--json"),
        (name, "--dry-run"),
    ):
        done = mirror.deliver(*words)
        assert (done.code, done.says_one_line_and_cure()) == (2, True), done.err
        assert "caf\\xe9 is no text" in done.err or words[0] != name
    assert not any(
        path.name.startswith(("caf", ".caf")) for path in mirror.commands.folder.iterdir()
    )


@pytest.mark.parametrize("name", ["...zip", ".zip", ". .zip", "a\\b.zip", "c:.zip", "a\n.zip"])
def test_a_zip_that_would_unpack_elsewhere(mirror: Mirror, name: str) -> None:
    """Its name is refused before anything is written."""
    before = set(mirror.commands.folder.iterdir())
    for words in ((), ("--volume-size", "4MB")):
        done = mirror.deliver(name, "--format", "zip", *words)
        assert (done.code, done.says_one_line_and_cure()) == (2, True), done.err
        assert "is no name for a zip" in done.err
    assert set(mirror.commands.folder.iterdir()) == before


def test_a_suffix_in_capitals(mirror: Mirror) -> None:
    """It is one: the zip has the name that was given, and is known again."""
    mirror.entry("FOO.ZIP", "--format", "zip")
    with zipfile.ZipFile(mirror.place("FOO.ZIP")) as opened:
        assert {name.partition("/")[0] for name in opened.namelist()} == {"FOO"}
    mirror.change("DELETE FROM deliveries")
    mirror.change("DELETE FROM delivered")
    mirror.entry("FOO.ZIP", "--format", "zip")


def test_a_folder_called_zip(mirror: Mirror) -> None:
    """A folder may be called so, with one volume or several."""
    mirror.entry("out.zip")
    check(mirror.place("out.zip"))
    mirror.entry("more.zip", "--volume-size", "4MB")
    for bag in mirror.place("more.zip").iterdir():
        check(bag)


def test_times_that_a_zip_does_not_know(mirror: Mirror) -> None:
    """A file from before 1980 or after 2107 gets the nearest time that it knows."""
    for row, time in zip(mirror.rows(), (-(10**9), 7_258_118_400, 10**10), strict=False):
        os.utime(mirror.folder / row.path, (time, time))
    mirror.entry("out.zip", "--format", "zip")
    with zipfile.ZipFile(mirror.place("out.zip")) as opened:
        assert opened.testzip() is None
        years = {member.date_time[0] for member in opened.infolist()}
    assert {1980, 2107} <= years


def test_a_link_into_the_mirror(mirror: Mirror) -> None:
    """Parts are not put into the mirror by way of a link, nor anything to the manifests."""
    (mirror.folder / "inside").mkdir()
    mirror.place("link").symlink_to(mirror.folder / "inside")
    mirror.place("away").mkdir()
    mirror.place("fine").symlink_to(mirror.place("away"))
    state = mirror.place("state")
    state.mkdir()
    (mirror.folder / ".ninepic-mirror").rename(state / mirror.folder.name)
    for place in ("link", "link/x", "state", "state/x"):
        for words in ((), ("--split-by", "day")):
            done = mirror.deliver(place, "--state-dir", state, *words)
            assert (done.code, done.says_one_line_and_cure()) == (2, True), (place, done.err)
            assert "is in the mirror" in done.err
    assert list((mirror.folder / "inside").iterdir()) == []
    assert mirror.deliver("fine", "--state-dir", state, "--split-by", "day").code == 0
    assert list(mirror.place("away").iterdir()) != []


@pytest.mark.parametrize("name", ["out", "out.zip"])
def test_a_package_that_was_not_recorded(mirror: Mirror, name: str) -> None:
    """A run that was cut off between the rename and the record is made up for by the next."""
    words = ("--format", "zip") if name.endswith("zip") else ()
    first = mirror.entry(name, *words)
    mirror.change("DELETE FROM deliveries")
    mirror.change("DELETE FROM delivered")
    mirror.place(f".{name}.partial").mkdir()
    (mirror.place(f".{name}.partial") / ".ninepic-delivery").write_text("{}")
    entry = mirror.entry(name, *words)
    assert entry["packages"][0]["bag_id"] == first["packages"][0]["bag_id"]
    assert not mirror.place(f".{name}.partial").exists()
    (listed,) = mirror.entry("--list")["packages"]
    assert listed["bag_id"] == entry["packages"][0]["bag_id"]
    assert mirror.deliver("more", "--since", "last").code == 2


@pytest.mark.parametrize("form", ["folder", "zip"])
@pytest.mark.parametrize(
    "path", ["photo", "gallery/data.js", "verify.py", "tagmanifest-sha256.txt"]
)
def test_a_package_that_is_not_whole_any_more(mirror: Mirror, path: str, form: str) -> None:
    """What was not recorded and lost a byte or a file since is not taken for whole: it is named, and stays."""
    place = mirror.place("out.zip" if form == "zip" else "out")
    mirror.entry(place, "--format", form)
    mirror.change("DELETE FROM deliveries")
    mirror.change("DELETE FROM delivered")
    path = f"data/{mirror.rows()[0].path}" if path == "photo" else path
    if form == "folder":
        whole = (place / path).read_bytes()
        (place / path).write_bytes(whole[:-1])
        assert_not_whole(mirror, place, path)
        (place / path).unlink()
        assert_not_whole(mirror, place, path)
        (place / path).write_bytes(whole)
    else:
        whole = place.read_bytes()
        with zipfile.ZipFile(place) as opened:
            member = opened.getinfo(f"out/{path}")
        at = member.header_offset + 30 + len(member.filename) + len(member.extra)
        place.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        assert_not_whole(mirror, place, path, "--format", "zip")
        place.write_bytes(whole)
    mirror.entry(place, "--format", form)


def assert_not_whole(mirror: Mirror, place: Path, path: str, *words: object) -> None:
    """Assert that a package is refused for one of its files."""
    done = mirror.deliver(place, *words)
    assert done.code == 2, done.err
    assert re.search(
        rf"error: {re.escape(str(place))} is there already, but {path} .*\n +next: move it",
        done.err,
    )
    assert mirror.entry("--list")["packages"] == []


def test_a_mirror_that_is_read_only(mirror: Mirror, small_disk: Callable[[str], Path]) -> None:
    """It is told before the first byte; where it becomes so meanwhile, it is said that the package is whole."""
    disk = small_disk("size=64m")
    shutil.copytree(mirror.root, disk / "m")
    mirror = Mirror(mirror.commands, mirror.service, next((disk / "m").glob("456-*")))
    small_disk("size=64m,ro")
    done = mirror.deliver("out")
    assert (done.code, done.says_one_line_and_cure()) == (6, True), done.err
    assert "could not be recorded" in done.err
    assert not mirror.place(".out.partial").exists()
    assert nothing_looks_whole(mirror.place("out"))
    assert mirror.deliver("out", "--dry-run").code == 0
    small_disk("size=64m,rw")
    process = start_slowly(mirror, mirror.place("out"))
    small_disk("size=64m,ro")
    os.kill(process.pid, signal.SIGCONT)
    _, err = process.communicate(timeout=60)
    assert (process.returncode, "is whole, but could not be recorded" in err) == (6, True), err
    check(mirror.place("out"))
    small_disk("size=64m,rw")
    mirror.entry("out")
    assert len(mirror.entry("--list")["packages"]) == 1


def test_parts_that_are_linked(mirror: Mirror) -> None:
    """A part of an order with `--link` does not stay in one without: it is told, and made anew once it is away."""
    words = ("out", "--split-by", "photographer")
    mirror.entry(*words, "--link")
    out = mirror.place("out")
    shutil.rmtree(out / "asha-patil")
    done = mirror.deliver(*words)
    assert (done.code, "is a hard link, and no --link was given" in done.err) == (2, True)
    assert not (out / "asha-patil").exists()
    assert mirror.deliver(*words, "--link").code == 0
    shutil.rmtree(out)
    mirror.entry(*words)
    for path in out.rglob("*.jpg"):
        assert path.stat().st_nlink == 1


@pytest.mark.parametrize("form", ["folder", "zip"])
def test_a_full_destination(mirror: Mirror, small_disk: Callable[[str], Path], form: str) -> None:
    """Room is looked for before the first byte; a disk that fills up meanwhile is told, and the next run goes on."""
    disk = small_disk("size=2m")
    place = disk / ("out.zip" if form == "zip" else "out")
    done = mirror.deliver(place, "--format", form)
    assert (done.code, done.says_one_line_and_cure()) == (6, True)
    assert "are free" in done.err
    assert list(disk.iterdir()) == []
    small_disk("size=64m")
    process = start_slowly(mirror, place, "--format", form)
    seen = os.statvfs(disk)
    small_disk(f"size={(seen.f_blocks - seen.f_bfree) * seen.f_frsize}")  # as much as is used
    os.kill(process.pid, signal.SIGCONT)
    _, err = process.communicate(timeout=60)
    assert (process.returncode, "is full" in err) == (6, True), err
    assert nothing_looks_whole(place)
    small_disk("size=64m")
    assert mirror.deliver(place, "--format", form).code == 0
    if form == "folder":
        check(place)


@pytest.mark.parametrize("form", ["folder", "zip"])
def test_a_disk_that_loses_what_it_took(
    mirror: Mirror, thin_disk: tuple[Path, Callable[[str], Path]], form: str
) -> None:
    """What the kernel shows of files that a disk did not take is not believed by the next run: all is written anew."""
    disk, give_room = thin_disk
    place = disk / ("out.zip" if form == "zip" else "out")
    done = mirror.deliver(place, "--format", form)
    assert (done.code, done.says_one_line_and_cure()) == (6, True)
    assert "did not take what was written" in done.err
    assert nothing_looks_whole(place)
    give_room("size=200m")
    done = mirror.deliver(place, "--format", form)
    assert done.code == 0, done.err
    for path in [place] if form == "zip" else place.rglob("*"):
        if path.is_file():
            with path.open("rb") as file:
                os.posix_fadvise(
                    file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED
                )  # as after a new mount
    if form == "folder":
        check(place)
    else:
        with zipfile.ZipFile(place) as zipped:
            assert zipped.testzip() is None


def test_a_photo_that_is_forgotten_meanwhile(mirror: Mirror) -> None:
    """It is in no package, though it was copied before it was forgotten; the next run goes on without it."""
    place = mirror.place("out")
    process = start_slowly(mirror, place)
    copied = next(mirror.place(".out.partial").rglob("large/*.jpg")).stem
    done = mirror.commands.run("forget", copied, "--yes", "--root", mirror.root)
    assert (done.code, "package" in done.out) == (0, False), done.err
    os.kill(process.pid, signal.SIGCONT)
    _, err = process.communicate(timeout=60)
    assert (process.returncode, f"{copied}.jpg left the mirror" in err) == (4, True), err
    assert nothing_looks_whole(place)
    mirror.entry(place)
    check(place)
    assert copied not in (place / "manifest-sha256.txt").read_text()


def start_slowly(mirror: Mirror, place: Path, *words: object) -> subprocess.Popen[str]:
    """Start a delivery and halt it once it has begun to write photos."""
    # A few milliseconds for each file, so that it does not end before it is halted: what is done once for each.
    call = "pwrite64" if "zip" in words else "utimensat"
    slowed = [
        "-D",
        "-f",
        "-qq",
        "-o",
        os.devnull,
        "-e",
        f"trace={call}",
        "-e",
        f"inject={call}:delay_exit=10000",
    ]
    process = subprocess.Popen(
        ["strace", *slowed, *PROGRAM, *map(str, ["deliver", 456, place, "--root", mirror.root, *words])],
        text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=mirror.commands.folder,
        env=mirror.commands.environ,
    )  # fmt: skip
    partial = place.with_name(f".{place.name}.partial")
    wait_until(
        lambda: (
            len(list(partial.rglob("*.jpg"))) > 4 or (partial / place.name).stat().st_size > 10_000
        )
    )
    os.kill(process.pid, signal.SIGSTOP)
    tasks = Path(f"/proc/{process.pid}/task")
    wait_until(lambda: all(_state(task) in "Tt" for task in tasks.iterdir()))
    return process


def _state(task: Path) -> str:
    return (task / "stat").read_text().rpartition(") ")[2][0]


def wait_until(is_so: Callable[[], bool]) -> None:
    """Wait until something outside this process is so; another process tells us nothing."""
    import time

    for _ in range(20_000):
        try:
            if is_so():
                return
        except OSError:
            pass  # it changed while we looked
        time.sleep(0.001)
    raise AssertionError("it did not happen in 20 s")


def test_thumbnails_that_were_made_are_kept(mirror: Mirror) -> None:
    """What an interrupted delivery has made serves the next one, unless it is cut off or another photo's."""
    mirror.change("DELETE FROM files WHERE variant = 'thumbnail'")
    mirror.entry("first", "--variant", "large")
    partial = mirror.place(".out.partial")
    partial.mkdir()
    (partial / ".ninepic-delivery").write_text("{}")
    mirror.place("first").rename(partial / "out")
    found = sorted((partial / "out/gallery/thumbnails").iterdir())
    before = [path.read_bytes() for path in found]
    found[0].write_bytes(before[0][:-1])  # cut off
    modified = found[1].stat().st_mtime_ns
    found[1].write_bytes(before[2])  # another photo's
    os.utime(found[1], ns=(modified, modified))
    mirror.entry("out", "--variant", "large")
    check(mirror.place("out"))
    now = sorted((mirror.place("out") / "gallery/thumbnails").iterdir())
    assert [path.read_bytes() for path in now] == before


@pytest.fixture
def disk() -> Iterator[Path]:
    """Return an empty folder on a disk: in memory (`tests/conftest.py`) more files are begun before one is there."""
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_a_delivery_that_is_stopped(mirror: Mirror, disk: Path, number: int) -> None:
    """Nothing looks whole, and the next run keeps what was written and ends with a valid package."""
    out = disk / "out"
    process = start_slowly(mirror, out)
    os.kill(process.pid, number)
    os.kill(process.pid, signal.SIGCONT)
    process.communicate(timeout=60)
    assert process.returncode == (-9 if number == signal.SIGKILL else 128 + number)
    assert nothing_looks_whole(out)
    kept = {path.stat().st_ino for path in (disk / ".out.partial").rglob("*.jpg")}
    mirror.entry(out)
    check(out)
    now = {path.stat().st_ino for path in out.rglob("*.jpg")}
    assert len(kept & now) >= len(kept) - 4  # all but those that were being written
    assert not (disk / ".out.partial").exists()


def test_a_zip_that_is_killed(mirror: Mirror) -> None:
    """The next run keeps the photos that are whole in it, and its bytes are those of one that was never stopped."""
    place = mirror.place("out.zip")
    partial = mirror.place(".out.zip.partial")
    partial.mkdir()
    mirror.entry(place, "--format", "zip")
    whole = place.read_bytes()
    partial.mkdir(exist_ok=True)
    (partial / ".ninepic-delivery").write_text("{}")
    with zipfile.ZipFile(place) as opened:
        cut = opened.infolist()[50].header_offset + 2000  # amid a photo
        photos = opened.infolist()[2 * PHOTOS].header_offset
    torn = partial / "out.zip"
    torn.write_bytes(whole[:cut])
    inode = torn.stat().st_ino
    place.unlink()
    mirror.entry(place, "--format", "zip")
    assert place.stat().st_ino == inode
    assert place.read_bytes()[:photos] == whole[:photos]
    subprocess.run(["unzip", "-tqq", place], check=True)
    with zipfile.ZipFile(place) as opened:
        opened.extractall(mirror.place("unpacked"))
    check(mirror.place("unpacked") / "out")
    # a flipped bit in what is there is seen, and a whole zip is cut and written on
    for data in (whole[:5000] + bytes([whole[5000] ^ 1]) + whole[5001:], whole + b"rest"):
        partial.mkdir(exist_ok=True)
        (partial / ".ninepic-delivery").write_text("{}")
        torn.write_bytes(data)
        place.unlink()
        mirror.entry(place, "--format", "zip")
        assert place.read_bytes()[:photos] == whole[:photos]
        subprocess.run(["unzip", "-tqq", place], check=True)


def test_a_destination_that_is_unmounted(mirror: Mirror, small_disk: Callable[[str], Path]) -> None:
    """It is told, and nothing is written into the mount point below."""
    disk = small_disk("size=64m")
    process = start_slowly(mirror, disk / "out")
    subprocess.run(["umount", "-l", disk], check=True)
    os.kill(process.pid, signal.SIGCONT)
    _, err = process.communicate(timeout=60)
    assert (process.returncode, "vanished" in err) == (6, True), err
    assert list(disk.iterdir()) == []
    subprocess.run(
        ["mount", "-t", "tmpfs", "tmpfs", disk], check=True
    )  # what the fixture takes away


def test_a_destination_that_is_unmounted_before_the_first_byte(
    mirror: Mirror, small_disk: Callable[[str], Path]
) -> None:
    """The folder below it must not get the package: while photos are read nothing is open on the disk."""
    disk = small_disk("size=64m")
    trace = ["-e", "trace=lseek", "-e", "inject=lseek:delay_exit=4000"]
    process = subprocess.Popen(
        ["strace", "-D", "-f", "-qq", "-o", os.devnull, *trace, *PROGRAM, "deliver", "456", disk / "out",
         "--root", mirror.root],
        text=True, stderr=subprocess.PIPE, cwd=mirror.commands.folder, env=mirror.commands.environ,
    )  # fmt: skip
    held = Path(f"/proc/{process.pid}/fd")
    wait_until(lambda: any(str(one.readlink()).endswith(".jpg") for one in held.iterdir()))
    subprocess.run(["umount", "--lazy", disk], check=True)
    _, err = process.communicate(timeout=60)
    assert list(disk.iterdir()) == []
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", disk], check=True)  # for the fixture
    assert process.returncode == 6, err


def test_a_destination_that_is_removed(mirror: Mirror) -> None:
    """A folder that somebody takes away is told; the next run makes the package."""
    place = mirror.place("share")
    place.mkdir()
    process = start_slowly(mirror, place / "out")
    shutil.rmtree(place, ignore_errors=True)
    os.kill(process.pid, signal.SIGCONT)
    _, err = process.communicate(timeout=60)
    assert (process.returncode, "vanished" in err) == (6, True), err
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir()
    mirror.entry(place / "out")
    check(place / "out")


def test_two_at_once(mirror: Mirror) -> None:
    """The second one to the same place says so, and the first ends well."""
    process = start_slowly(mirror, mirror.place("out"))
    done = mirror.deliver("out")
    assert (done.code, "another delivery" in done.err) == (6, True)
    os.kill(process.pid, signal.SIGCONT)
    process.communicate(timeout=60)
    assert process.returncode == 0
    check(mirror.place("out"))
