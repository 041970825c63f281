"""`deliver`: what goes into a package."""

from __future__ import annotations

import html
import json
import re
import shutil
import sqlite3
import subprocess
from contextlib import closing
from pathlib import Path

import pytest

from tests.delivered import (
    PHOTOS,
    Mirror,
    check,
    info,
    listed_as_missing,
    nothing_looks_whole,
    replace,
    table,
)
from tests.system.conftest import PROGRAM

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
        (
            ("--variant", "original", "--allow-incomplete"),
            "sync 456 --timezone Asia/Kolkata --variant original --root",
        ),
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
        page = html.unescape((bag / "index.html").read_text())
        assert f"<bdi>photos by {one['label']}</bdi>" in page
        seen += {line["image_id"] for line in table(bag)}
    assert len(seen) == len(set(seen)) == PHOTOS
    shutil.rmtree(out / "asha-patil")
    assert mirror.deliver("out", "--split-by", "photographer").code == 0
    check(out / "asha-patil")
    assert mirror.deliver("out", "--split-by", "photographer").code == 2


@pytest.mark.parametrize(
    "words", [("out",), ("out", "--link"), ("out.zip", "--format", "zip")], ids=["folder", "links", "zip"]
)  # fmt: skip
def test_each_byte_is_read_once(mirror: Mirror, words: tuple[str, ...]) -> None:
    """Also by the first delivery, which learns and keeps what cameras wrote from what it copies."""
    logs = mirror.place("logs")
    logs.mkdir()
    # a file for each thread: in one for all of them calls are torn apart
    traced = ["strace", "-ff", "-qq", "-y", "-o", f"{logs}/log", "-e", "read,readv,pread64,preadv"]
    done = subprocess.run(
        [*traced, *PROGRAM, "deliver", "456", *words, "--root", str(mirror.root)],
        cwd=mirror.commands.folder, env=mirror.commands.environ, capture_output=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    counts: dict[str, int] = {}
    for log in logs.iterdir():
        for name, count in re.findall(r"^\w+\(\d+<(.*?\.jpg)>.* = (\d+)$", log.read_text(), re.M):
            # of links it is those in the package that are hashed
            path = name.removeprefix(f"{mirror.folder}/").rpartition("/data/")[2]
            counts[path] = counts.get(path, 0) + int(count)
    assert counts == {row.path: (mirror.folder / row.path).stat().st_size for row in mirror.rows()}
    with closing(sqlite3.connect(mirror.folder / ".ninepic-mirror/manifest.sqlite3")) as manifest:
        kept = set(manifest.execute("SELECT image_id, photographer FROM cameras"))
    mirror.change("DELETE FROM cameras")
    mirror.entry("again", "--split-by", "photographer")
    bags = list(mirror.place("again").iterdir())
    told = {(line["image_id"], line["photographer"]) for bag in bags for line in table(bag)}
    assert len(kept) == PHOTOS
    assert kept == told


def test_a_delivery_that_goes_on_learns_the_rest(mirror: Mirror) -> None:
    """What an interrupted one has written tells who took it, too; a part of which nothing is new does no harm."""
    mirror.entry("first")
    partial = mirror.place(".out.partial")
    partial.mkdir()
    (partial / ".ninepic-delivery").write_text("{}")
    before = table(mirror.place("first"))
    mirror.place("first").rename(partial / "out")
    mirror.change("DELETE FROM cameras")
    mirror.entry("out")
    assert table(mirror.place("out")) == before
    with closing(sqlite3.connect(mirror.folder / ".ninepic-mirror/manifest.sqlite3")) as manifest:
        assert manifest.execute("SELECT count(*) FROM cameras").fetchone() == (PHOTOS,)


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
    none = mirror.deliver("none", "--bib", bib, "--bib", "no-such-bib", *flags)
    assert (none.code, "knows no photo of bib no-such-bib" in none.err) == (2, True)
    mirror.service.order("POST", "456/set", {"bib_search": False})
    off = mirror.deliver("off", "--bib", bib, *flags)
    mirror.service.order("POST", "456/set", {"bib_search": True})
    assert (off.code, off.says_one_line_and_cure()) == (4, True), off.err


def test_a_service_that_thinks(mirror: Mirror) -> None:
    """Somebody who waits for the service is told so, and what came late counts."""
    mirror.service.fault(kind="stall", origin="api", at="before", seconds=6, count=1)
    done = mirror.deliver("out", "--bib", "m1000", *mirror.service.flags)
    assert (done.code, "waiting for the service" in done.err) == (0, True), done.err
    done = mirror.deliver("again", "--bib", "m1000", *mirror.service.flags)
    assert (done.code, "waiting" in done.err) == (0, False), done.err


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


def test_ids_of_a_package(mirror: Mirror) -> None:
    """The list of a package names its photos again, also as a spreadsheet saves it, and ids copied from it do."""
    one, other = sorted({row.image_id for row in mirror.rows()})[:2]
    for table_ in ("photos", "files"):
        mirror.change(f"UPDATE {table_} SET image_id = '-' || image_id WHERE image_id = ?", one)
    mirror.place("ids.txt").write_text(f"'-{one}\n{other}\n")
    assert mirror.entry("first", "--ids", "ids.txt")["packages"][0]["photos"] == 2
    listed = mirror.place("first") / "photos.csv"
    assert f"\n'-{one}," in listed.read_text()
    mirror.entry("again", "--ids", listed)
    assert table(mirror.place("again")) == table(mirror.place("first"))
    saved = mirror.place("saved.csv")
    saved.write_text("\ufeff" + listed.read_text().replace(",", ";").replace("\n", "\r\n"))
    mirror.entry("saved", "--ids", saved)
    assert table(mirror.place("saved")) == table(mirror.place("first"))
    for text in ("a" * 200_000, f'{other},"a.jpg\n{one},b.jpg\n'):
        saved.write_text(f"image_id,path\n{text}")
        done = mirror.deliver("out", "--ids", saved)
        assert (done.code, "no table that can be read" in done.err) == (2, True), done.err


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


def test_what_was_delivered_of_every_event(mirror: Mirror) -> None:
    """Without an event all are told, each by its name; one whose manifest is damaged does not hide the others."""
    mirror.entry("first")
    other = mirror.folder.with_name("457-other")
    shutil.copytree(mirror.folder, other)
    (other / ".ninepic-mirror/manifest.sqlite3").write_bytes(b"nothing that SQLite knows")
    done = mirror.commands.run("deliver", "--list", "--root", mirror.root)
    assert (done.code, "457-other" in done.err) == (6, True)
    title, line = done.out.splitlines()
    assert title.endswith("(event 456):")
    assert str(mirror.place("first")) in line
    told = mirror.commands.run("deliver", "--list", "--json", "--root", mirror.root)
    assert [(one["event_id"], bool(one["error"])) for one in told.document["events"]] == [
        (456, False),
        (457, True),
    ]
    shutil.rmtree(other)
    alone = mirror.commands.run("deliver", "--root", mirror.root)
    assert (alone.code, "name both" in alone.err) == (2, True)


def test_a_photo_that_moved_to_another_day(mirror: Mirror) -> None:
    """It is new in the package of its new day, and only it; then nothing is new, on whatever day."""
    mirror.entry("first", "--split-by", "day")
    moved = next(line for line in table(mirror.place("first") / "2026-01-19"))["image_id"]
    mirror.change("UPDATE photos SET taken = taken + 864000 WHERE image_id = ?", moved)
    entry = mirror.entry("second", "--split-by", "day", "--since", "last")
    assert [one["label"] for one in entry["packages"]] == ["2026-01-29"]
    assert {line["image_id"] for line in table(mirror.place("second") / "2026-01-29")} == {moved}
    assert mirror.deliver("third", "--split-by", "day", "--since", "last").code == 2
