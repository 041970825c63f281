"""`deliver` as a person or a script runs it: packages, what goes into them, and what keeps them from being made."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import zipfile
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict

import pytest

from tests.oracle import rows
from tests.system.conftest import KEY, PROGRAM, Commands, serving

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.forking import Forking
    from tests.oracle import Row
    from tests.system.conftest import Outcome, Service

PHOTOS = 40
LITTER = (".DS_Store", "data/._a.jpg", "data/Thumbs.db", "gallery/desktop.ini")


class Package(TypedDict):
    """One package of `deliver --json`."""

    bag_id: str
    destination: str
    predecessors: list[str]
    photos: int
    files: int
    volumes: int
    label: str | None
    form: str


class Entry(TypedDict):
    """The event of `deliver --json`."""

    packages: list[Package]
    missing: list[dict[str, str | None]]
    error: str | None


@dataclass
class Mirror:
    """A mirror of drawn photos, which have EXIF, and where packages go."""

    commands: Commands
    service: Service
    folder: Path

    @property
    def root(self) -> Path:
        """The mirror root."""
        return self.folder.parent

    def deliver(self, *words: object) -> Outcome:
        """Run the command on this mirror."""
        return self.commands.run("deliver", 456, *words, "--root", self.root)

    def entry(self, *words: object) -> Entry:
        """Run it with `--json` to a good end; return what it says of the event."""
        done = self.deliver(*words, "--json")
        assert done.code == 0, done.err
        (found,) = json.loads(done.out)["events"]
        result: Entry = found
        return result

    def rows(self) -> list[Row]:
        """Return the files that ought to be there."""
        return rows(self.folder)

    def place(self, name: str) -> Path:
        """Return a place for a package."""
        return self.commands.folder / name

    def change(self, statement: str, *values: object) -> None:
        """Change the manifest."""
        with closing(sqlite3.connect(self.folder / ".ninepic-mirror/manifest.sqlite3")) as manifest:
            manifest.execute(statement, values)
            manifest.commit()


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Service, Path]]:
    """A service and a whole mirror of it, made once for all tests of this file."""
    commands = Commands(tmp_path_factory.mktemp("delivery"))
    with serving(commands, "--photos", PHOTOS, "--look", "drawn") as service:
        words = ("--root", "m", "--timezone", "Asia/Kolkata")
        done = commands.run("sync", 456, *service.flags, *words)
        assert done.code == 0, done.err
        yield service, commands.folder / "m"


@pytest.fixture
def mirror(made: tuple[Service, Path], forking: Forking, tmp_path: Path) -> Mirror:
    """A copy of the mirror, for one test."""
    service, root = made
    shutil.copytree(root, tmp_path / "m")
    return Mirror(forking, service, next((tmp_path / "m").glob("456-*")))


def check(bag: Path) -> None:
    """Assert that a bag is valid to the Library of Congress's tool, to sha256sum and to its own checker."""
    bagit = subprocess.run(
        [sys.executable, "-W", "ignore", shutil.which("bagit.py", path=Path(sys.executable).parent) or "", "--validate", bag],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert bagit.returncode == 0, bagit.stderr
    for manifest in ("manifest-sha256.txt", "tagmanifest-sha256.txt"):
        subprocess.run(["sha256sum", "--quiet", "--strict", "-c", manifest], cwd=bag, check=True)
    assert verified(bag)[0] == 0
    info = (bag / "bag-info.txt").read_text()
    sizes = [path.stat().st_size for path in (bag / "data").rglob("*") if path.is_file()]
    assert f"Payload-Oxum: {sum(sizes)}.{len(sizes)}\n" in info
    listed = {path for line in table(bag) for path in [line["path"]]}
    assert listed == {
        str(path.relative_to(bag)) for path in (bag / "data").rglob("*") if path.is_file()
    }


def verified(bag: Path) -> tuple[int, str]:
    """Run the package's own checker from elsewhere."""
    done = subprocess.run(
        [sys.executable, "-I", bag / "verify.py"],
        capture_output=True,
        text=True,
        cwd="/",
        check=False,
    )
    assert "Traceback" not in done.stderr
    return done.returncode, done.stdout


def table(bag: Path) -> list[dict[str, str]]:
    """Return `photos.csv`."""
    with (bag / "photos.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def info(bag: Path) -> dict[str, str]:
    """Return `bag-info.txt`."""
    return dict(line.split(": ", 1) for line in (bag / "bag-info.txt").read_text().splitlines())


def nothing_looks_whole(place: Path) -> bool:
    """Whether nothing stands where a package was to stand."""
    return not os.path.lexists(place)


# --- what a package is -------------------------------------------------------------------------------------------


def test_a_folder_holds_everything(mirror: Mirror) -> None:
    """It is a valid bag with the mirror's files in the mirror's folders, a gallery, lists and a checker."""
    done = mirror.deliver("out")
    assert done.code == 0
    out = mirror.place("out")
    check(out)
    assert {line["path"] for line in table(out)} == {f"data/{row.path}" for row in mirror.rows()}
    said = info(out)
    assert (said["Event"], said["Bag-Count"]) == ("Mumbai Marathon 2026", "1 of 1")
    assert said["Bag-Group-Identifier"] == said["External-Identifier"]
    described = json.loads((out / "event.json").read_text())
    assert (described["event_id"], described["photos"], described["timezone"]) == (
        456,
        PHOTOS,
        "Asia/Kolkata",
    )
    assert {line["photographer"] for line in table(out)} >= {"Asha Patil", "Joseph D'Souza"}
    assert (out / "index.html").is_file()
    assert [path.name for path in mirror.commands.folder.glob(".*.partial")] == []


def test_nothing_private_is_in_it(mirror: Mirror) -> None:
    """Neither the key nor a signature nor the mirror's place is anywhere in a package."""
    mirror.change(
        "UPDATE files SET url = 'https://photos.example/a?X-Amz-Signature=beef' WHERE variant = 'large'"
    )
    mirror.entry("out")
    for path in mirror.place("out").rglob("*"):
        if path.is_file():
            data = path.read_bytes()
            for secret in (KEY.encode(), b"X-Amz", b"Signature=", os.fsencode(mirror.root)):
                assert secret not in data, (path, secret)


def test_a_zip_is_the_same_package(mirror: Mirror) -> None:
    """It is read by unzip and Python, stored, and unpacks into a valid bag."""
    mirror.entry("out.zip", "--format", "zip")
    place = mirror.place("out.zip")
    subprocess.run(["unzip", "-tqq", place], check=True)
    with zipfile.ZipFile(place) as opened:
        assert opened.testzip() is None
        members = opened.infolist()
        opened.extractall(mirror.place("unpacked"))
    assert {member.compress_type for member in members} == {zipfile.ZIP_STORED}
    names = [member.filename.casefold() for member in members]
    assert len(set(names)) == len(names)
    check(mirror.place("unpacked") / "out")


@pytest.mark.parametrize("form", ["folder", "zip"])
def test_each_volume_is_a_bag(mirror: Mirror, form: str) -> None:
    """No volume is too large, the variants of a photo are together, no photo is in two, nothing is lacking."""
    entry = mirror.entry("out", "--volume-size", "4MB", "--format", form)
    out = mirror.place("out")
    if form == "zip":
        for place in sorted(out.iterdir()):
            assert place.stat().st_size <= 4_000_000
            with zipfile.ZipFile(place) as opened:
                opened.extractall(out)
            place.unlink()
    bags = sorted(out.iterdir())
    assert len(bags) == entry["packages"][0]["volumes"] > 1
    seen: list[str] = []
    for number, bag in enumerate(bags, 1):
        check(bag)
        assert info(bag)["Bag-Count"] == f"{number} of {len(bags)}"
        assert info(bag)["Bag-Group-Identifier"] == entry["packages"][0]["bag_id"]
        assert sum(path.stat().st_size for path in bag.rglob("*") if path.is_file()) <= 4_000_000
        seen += {line["image_id"] for line in table(bag)}
        assert len(table(bag)) == 2 * len({line["image_id"] for line in table(bag)})
    assert len(seen) == len(set(seen)) == PHOTOS


def test_large_photos_in_a_zip(mirror: Mirror) -> None:
    """What is too large to be held in memory is written as it is read; damage in it is seen all the same."""
    row = next(row for row in mirror.rows() if row.variant == "large")
    replace(mirror, row, more=6_000_000)
    mirror.entry("out.zip", "--format", "zip")
    with zipfile.ZipFile(mirror.place("out.zip")) as opened:
        assert opened.testzip() is None
        opened.extractall(mirror.place("unpacked"))
    check(mirror.place("unpacked") / "out")
    path = mirror.folder / row.path
    data = bytearray(path.read_bytes())
    data[5_500_000] ^= 1
    path.write_bytes(data)
    assert mirror.deliver("bad.zip", "--format", "zip").code == 8
    path.unlink()
    assert mirror.deliver("bad.zip", "--format", "zip").code == 8
    assert nothing_looks_whole(mirror.place("bad.zip"))


def test_a_photo_larger_than_a_volume(mirror: Mirror) -> None:
    """It is told before anything is written."""
    row = max(mirror.rows(), key=lambda row: row.size)
    replace(mirror, row, more=5_000_000)
    done = mirror.deliver("out", "--volume-size", "4MB")
    assert (done.code, done.says_one_line_and_cure()) == (2, True)
    assert row.image_id in done.err
    assert nothing_looks_whole(mirror.place("out"))


def test_links_are_the_mirrors_own_files(mirror: Mirror) -> None:
    """With `--link` no byte is copied, it is warned of, and the bag is valid all the same."""
    done = mirror.deliver("out", "--link")
    assert done.code == 0
    assert "warning: --link" in done.err
    out = mirror.place("out")
    check(out)
    row = mirror.rows()[0]
    assert (out / "data" / row.path).samefile(mirror.folder / row.path)


def test_links_reach_no_other_disk(mirror: Mirror, small_disk: Callable[[str], Path]) -> None:
    """It is told before anything is written."""
    done = mirror.deliver(small_disk("size=64m") / "out", "--link")
    assert (done.code, done.says_one_line_and_cure()) == (2, True)


def test_a_mirror_of_an_older_version(mirror: Mirror) -> None:
    """Its manifest is brought forward, and a copy of it is kept."""
    mirror.change("DROP TABLE cameras")
    mirror.change("DROP TABLE delivered")
    for column in ("run", "label", "form", "photos", "volumes"):
        mirror.change(f"ALTER TABLE deliveries DROP COLUMN {column}")
    mirror.change("PRAGMA user_version = 3")
    assert mirror.entry("--list")["packages"] == []
    mirror.entry("out")
    assert len(mirror.entry("--list")["packages"]) == 1
    assert (mirror.folder / ".ninepic-mirror/manifest.sqlite3.version-3").is_file()


def test_thumbnails_that_are_lacking_are_made(mirror: Mirror) -> None:
    """A mirror without thumbnails delivers a gallery with small upright ones all the same."""
    from PIL import Image

    for row in mirror.rows():
        if row.variant == "thumbnail":
            (mirror.folder / row.path).unlink()
    mirror.change("DELETE FROM files WHERE variant = 'thumbnail'")
    mirror.entry("out", "--variant", "large")
    out = mirror.place("out")
    check(out)
    found = sorted((out / "gallery/thumbnails").iterdir())
    assert len(found) == PHOTOS
    with Image.open(found[0]) as picture:
        assert max(picture.size) <= 360
        assert found[0].stat().st_size < 64 << 10


def test_mirrored_thumbnails_serve_the_gallery(mirror: Mirror) -> None:
    """Where only larges are delivered, the gallery has the mirror's thumbnails."""
    mirror.entry("out", "--variant", "large")
    out = mirror.place("out")
    check(out)
    assert {line["variant"] for line in table(out)} == {"large"}
    for row in mirror.rows():
        if row.variant == "thumbnail":
            copy = out / "gallery/thumbnails" / Path(row.path).name
            assert copy.read_bytes() == (mirror.folder / row.path).read_bytes()


# --- its own checker ---------------------------------------------------------------------------------------------


def test_the_checker_finds_what_is_wrong(mirror: Mirror) -> None:
    """A flipped bit, a missing and an extra file are named; what desktops leave is named and forgiven."""
    mirror.entry("out", "--day", "2026-01-19")
    out = mirror.place("out")
    for name in LITTER:
        (out / name).write_bytes(b"x")
    (out / ".Spotlight-V100").mkdir()
    (out / ".Spotlight-V100/store.db").write_bytes(b"x")
    code, said = verified(out)
    assert (code, all(name in said for name in LITTER)) == (0, True)
    flipped, missing = (out / line["path"] for line in table(out)[:2])
    data = bytearray(flipped.read_bytes())
    data[len(data) // 2] ^= 1
    flipped.write_bytes(data)
    missing.unlink()
    (out / "data/extra.jpg").write_bytes(b"x")
    (out / "index.html").write_text("hacked")
    code, said = verified(out)
    assert code == 1
    for word, path in (
        ("DAMAGED", flipped), ("MISSING", missing), ("EXTRA", out / "data/extra.jpg"), ("DAMAGED", out / "index.html"),
    ):  # fmt: skip
        assert re.search(
            rf"^{word} +{re.escape(str(path.relative_to(out)))}", said, re.MULTILINE
        ), said


def test_the_checker_needs_an_old_python_only(mirror: Mirror) -> None:
    """It is written in what Python 3.8 understands, and imports nothing but the standard library."""
    import ast

    mirror.entry("out")
    tree = ast.parse((mirror.place("out") / "verify.py").read_text(), feature_version=(3, 8))
    imported = {
        alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.Import)
        for alias in node.names
    }
    assert imported <= sys.stdlib_module_names
    called = {
        node.func.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)
    }
    assert not called & {"removeprefix", "removesuffix", "is_relative_to"}  # of 3.9


# --- what goes in ------------------------------------------------------------------------------------------------


def test_hours_are_the_events(mirror: Mirror) -> None:
    """Days and hours are those of the event's zone; the last day counts, the last hour does not."""
    mirror.entry("all")
    hours = {line["hour"] for line in table(mirror.place("all")) if line["day"] == "2026-01-19"}
    first = min(hours)
    mirror.entry(
        "some", "--from", f"2026-01-19T{first}", "--to", f"2026-01-19T{int(first) + 1:02}:00"
    )
    assert {line["hour"] for line in table(mirror.place("some"))} == {first}
    mirror.entry("day", "--from", "2026-01-19", "--to", "2026-01-19")
    assert {line["day"] for line in table(mirror.place("day"))} == {"2026-01-19"}
    assert {line["hour"] for line in table(mirror.place("day"))} == hours


@pytest.mark.parametrize(
    ("words", "choice"),
    [
        (("--day", "2025-12-31"), "2026-01-19"),
        (("--from", "2030-01-01"), "2026-01-19"),
        (("--photographer", "Nobody"), "Asha Patil"),
        (("--since", "ninepic-1"), "deliver everything first"),
        (("--since", "last"), "deliver everything first"),
        (("--ids", "ids.txt"), "for example: "),
        (("--variant", "original", "--allow-incomplete"), "--variant original; or"),
        (("--to", "noon"), ""),
        (("--day", "19.1.2026"), ""),
        (("--volume-size", "4"), ""),
        (("--volume-size", "much"), ""),
        (("--ids", "no-such-file"), ""),
        (("--bib", " "), "is no bib; write it"),
        (("--bib", ".."), "is no bib; write it"),
        (("--bib", "1/../x?y"), "is no bib; write it"),
        (("--link", "--format", "zip"), "leave out one"),
    ],
)
def test_a_filter_that_matches_nothing(mirror: Mirror, words: tuple[str, ...], choice: str) -> None:
    """It ends with 2 and says what there is to choose from; nothing is written."""
    mirror.place("ids.txt").write_text("no-such-photo\n")
    done = mirror.deliver("out", *words)
    assert (done.code, done.says_one_line_and_cure()) == (2, True), done.err
    assert choice in done.err
    assert nothing_looks_whole(mirror.place("out"))


def test_a_photographers_photos(mirror: Mirror) -> None:
    """A photographer is found without regard to case, and read once only."""
    mirror.entry("hers", "--photographer", "asha PATIL")
    assert {line["photographer"] for line in table(mirror.place("hers"))} == {"Asha Patil"}
    with closing(sqlite3.connect(mirror.folder / ".ninepic-mirror/manifest.sqlite3")) as manifest:
        assert manifest.execute("SELECT count(*) FROM cameras").fetchone() == (PHOTOS,)
    mirror.change("UPDATE cameras SET photographer = 'Somebody Else'")
    mirror.entry("again", "--photographer", "Somebody Else")
    assert len(table(mirror.place("again"))) == 2 * PHOTOS


def test_one_package_each(mirror: Mirror) -> None:
    """Split by photographer, each has a valid package, together they hold every photo; again is no harm."""
    entry = mirror.entry("out", "--split-by", "photographer")
    out = mirror.place("out")
    assert (out / "joseph-d-souza").is_dir()
    seen: list[str] = []
    for one in entry["packages"]:
        bag = Path(one["destination"])
        check(bag)
        assert {line["photographer"] for line in table(bag)} == {one["label"]}
        seen += {line["image_id"] for line in table(bag)}
    assert len(seen) == len(set(seen)) == PHOTOS
    shutil.rmtree(out / "asha-patil")
    assert mirror.deliver("out", "--split-by", "photographer").code == 0
    check(out / "asha-patil")
    assert mirror.deliver("out", "--split-by", "photographer").code == 2


def test_names_by_time(mirror: Mirror) -> None:
    """Photos are called by their capture and a number, their variants alike; the id is in the list."""
    mirror.entry("out", "--names", "time")
    out = mirror.place("out")
    check(out)
    stems: dict[str, set[str]] = {}
    for line in table(out):
        stems.setdefault(line["image_id"], set()).add(Path(line["path"]).stem)
    assert all(len(found) == 1 for found in stems.values())
    names = [name for found in stems.values() for name in found]
    assert len({name.casefold() for name in names}) == PHOTOS
    assert all(
        re.fullmatch(r"20260119-\d{6}-\d{4}|20260119-\d\d-\d{4}|undated-\d{4}|\d{8}-.*", name)
        for name in names
    )
    assert set(stems) == {row.image_id for row in mirror.rows()}


def test_photos_of_a_bib(mirror: Mirror) -> None:
    """The service says which they are; those that are not mirrored are listed."""
    flags = mirror.service.flags
    bib = "m1000"  # the sandbox's first runner
    entry = mirror.entry("out", "--bib", bib, *flags)
    ids = {line["image_id"] for line in table(mirror.place("out"))}
    assert 0 < len(ids) == entry["packages"][0]["photos"] < PHOTOS
    one = sorted(ids)[0]
    mirror.change("DELETE FROM files WHERE image_id = ?", one)
    mirror.change("DELETE FROM photos WHERE image_id = ?", one)
    done = mirror.deliver("less", "--bib", bib, *flags)
    assert done.code == (4 if len(ids) > 1 else 2)
    if len(ids) > 1:
        mirror.entry("less", "--bib", bib, *flags, "--allow-incomplete")
        assert listed_as_missing(mirror.place("less")) == {one}
    assert mirror.deliver("none", "--bib", "no-such-bib", *flags).code == 2
    mirror.service.order("POST", "456/set", {"bib_search": False})
    off = mirror.deliver("off", "--bib", bib, *flags)
    mirror.service.order("POST", "456/set", {"bib_search": True})
    assert (off.code, off.says_one_line_and_cure()) == (4, True), off.err


def test_ids_from_standard_input(mirror: Mirror) -> None:
    """An id a line; one that is no photo's is told, and keeps the package from being made."""
    ids = sorted({row.image_id for row in mirror.rows()})[:3]
    mirror.place("ids.txt").write_text("\n".join(ids))
    entry = mirror.entry("out", "--ids", "ids.txt")
    assert entry["packages"][0]["photos"] == 3
    words = ["deliver", "456", "more", "--root", str(mirror.root), "--ids", "-", "--json"]
    process = mirror.commands.start(*words, stdin=subprocess.PIPE)
    out, _ = process.communicate("\n".join([*ids, "no-such-photo"]))
    (found,) = json.loads(out)["events"]
    assert (process.returncode, [one["image_id"] for one in found["missing"]]) == (
        4,
        ["no-such-photo"],
    )


@pytest.mark.parametrize("name", ["-", "ids.txt"])
def test_ids_as_programs_write_them(mirror: Mirror, name: str) -> None:
    """A byte order mark is no part of an id; what is no UTF-8 is told with its line."""
    image_id = mirror.rows()[0].image_id.encode()

    def deliver(data: bytes, *words: str) -> tuple[int, str, str]:
        mirror.place("ids.txt").write_bytes(data)
        words = ("deliver", "456", "out", "--root", str(mirror.root), "--ids", name, *words)
        with mirror.place("ids.txt").open("rb") as stream:
            process = mirror.commands.start(*words, stdin=stream.fileno())
            out, err = process.communicate()
        return process.returncode, out, err

    code, _, err = deliver(image_id + b"\nphoto-\xff\n")
    assert (code, "line 2: this is not UTF-8" in err, "Traceback" in err) == (2, True, False), err
    code, out, err = deliver(b"\xef\xbb\xbf" + image_id + b"\r\n")
    assert (code, "1 photo," in out) == (0, True), err


def test_only_what_is_new(mirror: Mirror) -> None:
    """A delta holds what is new or changed since a package and all that it adds to, and names it."""
    ids = sorted({row.image_id for row in mirror.rows()})
    mirror.place("ids.txt").write_text("\n".join(ids[:10]))
    first = mirror.entry("first", "--ids", "ids.txt")["packages"][0]["bag_id"]
    second = mirror.entry("second", "--since", "last")["packages"][0]
    assert (second["photos"], second["predecessors"]) == (PHOTOS - 10, [first])
    assert info(mirror.place("second"))["Predecessor"] == first
    assert mirror.deliver("third", "--since", "last").code == 2
    changed = next(
        row for row in mirror.rows() if row.image_id == ids[0] and row.variant == "large"
    )
    replace(mirror, changed)
    third = mirror.entry("third", "--since", "last")
    assert [line["image_id"] for line in table(mirror.place("third"))] == [ids[0]]
    assert third["packages"][0]["predecessors"] == [second["bag_id"]]
    check(mirror.place("third"))
    since_first = mirror.entry("fourth", "--since", first)
    assert since_first["packages"][0]["photos"] == PHOTOS - 9
    listed = mirror.entry("--list")["packages"]
    assert [Path(one["destination"]).name for one in listed] == [
        "first",
        "second",
        "third",
        "fourth",
    ]
    assert mirror.deliver("--list").out.count("\n") == 4


def test_a_photo_that_moved_to_another_day(mirror: Mirror) -> None:
    """It is new in the package of its new day, and only it; then nothing is new, on whatever day."""
    mirror.entry("first", "--split-by", "day")
    moved = next(line for line in table(mirror.place("first") / "2026-01-19"))["image_id"]
    mirror.change("UPDATE photos SET taken = taken + 864000 WHERE image_id = ?", moved)
    entry = mirror.entry("second", "--split-by", "day", "--since", "last")
    assert [one["label"] for one in entry["packages"]] == ["2026-01-29"]
    assert {line["image_id"] for line in table(mirror.place("second") / "2026-01-29")} == {moved}
    assert mirror.deliver("third", "--split-by", "day", "--since", "last").code == 2


def replace(mirror: Mirror, row: Row, more: int = 1) -> None:
    """Let the mirror have more bytes of a file, as a pass would that found it changed."""
    put(mirror, row, (mirror.folder / row.path).read_bytes() + bytes(more))


def put(mirror: Mirror, row: Row, data: bytes) -> None:
    """Let the mirror have these bytes for a file."""
    (mirror.folder / row.path).write_bytes(data)
    mirror.change(
        "UPDATE files SET sha256 = ?, size = ? WHERE path = ?",
        hashlib.sha256(data).hexdigest(), len(data), row.path,
    )  # fmt: skip


def test_a_mirror_that_is_not_whole(mirror: Mirror) -> None:
    """It is refused with the list, or delivered with the list in it; a forgotten photo is not missed."""
    lost, forgotten = (
        row.image_id for row in [one for one in mirror.rows() if one.variant == "large"][:2]
    )
    mirror.change(
        "UPDATE files SET state = 'failed', error = 'gone =away' WHERE image_id = ? AND variant = 'large'",
        lost,
    )
    mirror.change("UPDATE files SET state = 'forgotten' WHERE image_id = ?", forgotten)
    done = mirror.deliver("out")
    assert done.code == 4
    assert f"{lost} large: gone =away" in done.out
    assert "--allow-incomplete" in done.err
    assert nothing_looks_whole(mirror.place("out"))
    told = mirror.deliver("told", "--allow-incomplete")
    assert (told.code, "  1 of what was asked for is missing" in told.out) == (0, True), told.out
    new = mirror.deliver("new", "--allow-incomplete", "--since", "last")
    assert (new.code, f"{lost} large: gone =away" in new.out) == (2, True), new.out
    assert "; 1 of what was asked for is missing" in new.err
    entry = mirror.entry("out", "--allow-incomplete")
    assert [one["image_id"] for one in entry["missing"]] == [lost]
    out = mirror.place("out")
    check(out)
    assert (out / "missing.csv").read_text().splitlines()[1:] == [f"{lost},large,gone =away"]
    delivered = {line["image_id"] for line in table(out)}
    assert lost in delivered
    assert forgotten not in delivered


def test_photos_that_were_never_listed(mirror: Mirror) -> None:
    """The gallery says in words how many there are, and does not count them as one photo."""
    mirror.change("UPDATE meta SET value = ? WHERE key = 'total'", PHOTOS + 30)
    mirror.change("UPDATE passes SET whole = 0")
    mirror.entry("out", "--allow-incomplete")
    check(mirror.place("out"))
    page = (mirror.place("out") / "index.html").read_text()
    assert "not in this package" not in page
    assert "30 photos of the service&#39;s were never listed" in page
    assert "30 photos" in (mirror.place("out") / "missing.csv").read_text()


def test_a_variant_that_was_never_mirrored(mirror: Mirror) -> None:
    """The command that brings it names it, with the others that were asked for."""
    done = mirror.deliver("out", "--variant", "original", "--variant", "large")
    assert done.code == 4
    assert f"sync 456 --root {mirror.root} --variant large --variant original;" in done.err


def test_a_pass_that_did_not_see_everything(mirror: Mirror) -> None:
    """It is doubted that all photos are known, also where something else is missing that was not asked for."""
    mirror.change(
        "UPDATE files SET state = 'failed' WHERE variant = 'large' AND image_id = ?",
        mirror.rows()[0].image_id,
    )
    mirror.change("DELETE FROM meta WHERE key = 'balance'")
    words = ("out", "--variant", "thumbnail")
    for missing, code in ((0, 4), (1, 0)):
        report = json.dumps({"missing": missing, "failures": []})
        mirror.change("UPDATE passes SET whole = 0, report = ?", report)
        done = mirror.deliver(*words)
        assert (done.code, "did not see everything" in done.out) == (code, code == 4), done.out


def lose(mirror: Mirror, image_id: str) -> None:
    """Let the mirror lack all of a photo."""
    for row in mirror.rows():
        if row.image_id == image_id:
            (mirror.folder / row.path).unlink()
    mirror.change(
        "UPDATE files SET state = 'failed', error = '404', path = NULL WHERE image_id = ?", image_id
    )


def listed_as_missing(bag: Path) -> set[str]:
    """Return the photos of `missing.csv`, of which the gallery warns, too."""
    assert "note warning" in (bag / "index.html").read_text()
    with (bag / "missing.csv").open(encoding="utf-8", newline="") as file:
        return {line["image_id"] for line in csv.DictReader(file)}


def test_ids_that_are_not_mirrored_are_listed(mirror: Mirror) -> None:
    """They are missing, also in the package."""
    mirror.place("ids.txt").write_text(f"{mirror.rows()[0].image_id}\nno-such-photo\n")
    entry = mirror.entry("out", "--ids", "ids.txt", "--allow-incomplete")
    assert [one["image_id"] for one in entry["missing"]] == ["no-such-photo"]
    assert listed_as_missing(mirror.place("out")) == {"no-such-photo"}
    check(mirror.place("out"))


@pytest.mark.parametrize("by", ["day", "photographer"])
def test_a_part_of_which_nothing_is_here(mirror: Mirror, by: str) -> None:
    """What it lacks is listed in every package that is made."""
    lost = mirror.rows()[0].image_id
    lose(mirror, lost)
    mirror.change("UPDATE photos SET taken = taken + 864000 WHERE image_id = ?", lost)
    assert mirror.deliver("out", "--split-by", by).code == 4
    entry = mirror.entry("out", "--split-by", by, "--allow-incomplete")
    assert {one["image_id"] for one in entry["missing"]} == {lost}
    bags = list(mirror.place("out").iterdir())
    assert bags
    assert all(listed_as_missing(bag) == {lost} for bag in bags)


def test_photos_that_may_be_a_photographers(mirror: Mirror) -> None:
    """A photo of which nothing is here may be anybody's: it is missing, also in the package."""
    lost = mirror.rows()[0].image_id
    lose(mirror, lost)
    assert mirror.deliver("out", "--photographer", "Asha Patil").code == 4
    mirror.entry("out", "--photographer", "Asha Patil", "--allow-incomplete")
    assert listed_as_missing(mirror.place("out")) == {lost}


def without_exif(path: Path) -> bytes:
    """Return a picture without what its camera wrote."""
    from PIL import Image

    with Image.open(path) as picture, io.BytesIO() as buffer:
        picture.save(buffer, "JPEG")
        return buffer.getvalue()


def test_a_photo_that_cannot_tell_whose_it_is(mirror: Mirror) -> None:
    """Its next variant is asked; where none tells and one is missing, the photo counts as missing, until it comes."""
    mirror.entry("all", "--photographer", "Asha Patil")
    hers = table(mirror.place("all"))
    (thumbnail, row), *_ = (
        [each for each in mirror.rows() if each.image_id == line["image_id"]] for line in hers
    )
    if row.variant == "thumbnail":
        thumbnail, row = row, thumbnail
    put(mirror, thumbnail, without_exif(mirror.folder / thumbnail.path))
    mirror.change("DELETE FROM cameras")
    mirror.change("UPDATE files SET state = 'failed' WHERE path = ?", row.path)
    words = ("--photographer", "Asha Patil", "--variant", "thumbnail")
    done = mirror.deliver("out", *words)
    assert done.code == 4, done.out
    assert f"{row.image_id} large: may be by Asha Patil" in done.out
    mirror.entry("out", *words, "--allow-incomplete")
    assert listed_as_missing(mirror.place("out")) == {row.image_id}
    mirror.change("UPDATE files SET state = 'present' WHERE path = ?", row.path)
    mirror.entry("whole", *words)
    assert len(table(mirror.place("whole"))) == len(hers) // 2
    # a type that Pillow cannot read, which stands for an original
    original = (mirror.folder / thumbnail.path).with_name("photo.heic")
    original.write_bytes(b"\0\0\0\x18ftypheic")
    mirror.change(
        "INSERT INTO files (image_id, variant, state, path, size, sha256)"
        " VALUES (?, 'original', 'present', ?, ?, ?)",
        row.image_id, str(original.relative_to(mirror.folder)), original.stat().st_size,
        hashlib.sha256(original.read_bytes()).hexdigest(),
    )  # fmt: skip
    mirror.entry("again", *words)
    assert len(table(mirror.place("again"))) == len(hers) // 2


def test_a_dry_run_writes_nothing(mirror: Mirror) -> None:
    """It says what would go in; neither a package nor a row is made."""
    before = {path for path in mirror.commands.folder.rglob("*") if "sqlite3" not in path.name}
    done = mirror.deliver("out", "--dry-run", "--photographer", "Asha Patil")
    assert done.code == 0
    assert re.search(r"would deliver \d+ photos", done.out)
    assert {
        path for path in mirror.commands.folder.rglob("*") if "sqlite3" not in path.name
    } == before
    with closing(sqlite3.connect(mirror.folder / ".ninepic-mirror/manifest.sqlite3")) as manifest:
        assert manifest.execute("SELECT count(*) FROM cameras").fetchone() == (0,)


# --- hostile names -----------------------------------------------------------------------------------------------


def test_hostile_names_are_text(mirror: Mirror) -> None:
    """A name of the service's or a camera's makes no element, no line and no formula of its own."""
    evil = "</script><script>alert(1)</script>\"'\nBag-Count: 9 of 9 \u202e שלום"
    mirror.entry("first", "--dry-run")
    mirror.entry("warm")
    mirror.change("UPDATE meta SET value = ? WHERE key = 'name'", json.dumps(evil))
    mirror.change("UPDATE cameras SET photographer = ?", '=HYPERLINK("http://a")<script>')
    mirror.entry("out", "--names", "time", "--split-by", "photographer")
    (out,) = mirror.place("out").iterdir()
    check(out)
    assert info(out)["Bag-Count"] == "1 of 1"
    assert "<script>alert(1)" not in (out / "index.html").read_text()
    assert "<script>" not in (out / "gallery/data.js").read_text()
    assert all(line["photographer"].startswith("'=") for line in table(out))
    assert out.name.isascii()


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
    assert "verify 456 --repair" in done.err
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


def start_slowly(mirror: Mirror, place: Path, *words: object) -> subprocess.Popen[str]:
    """Start a delivery and halt it once it has begun to write photos."""
    # A few milliseconds for each file, so that it does not end before it is halted: what is done once for each.
    call = "lseek" if "zip" in words else "utimensat"
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
