"""`forget` and where files stand: nothing of another photo goes, what is left is told, the manifest keeps no name."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import sqlite3
import threading
import urllib.request
from contextlib import closing, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, cast

import pytest

from tests.oracle import check_settled
from tests.system.conftest import KEY

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.forking import Forking
    from tests.system.conftest import Commands, Outcome, Serve, Service

HOUR = 1768777200  # of the sandbox's first photos


@pytest.fixture
def commands(forking: Forking) -> Commands:
    """Commands in forks: there are dozens of them here."""
    return forking


def sync(commands: Commands, service: Service, *more: object) -> Outcome:
    """Make a pass over the event, which must be whole."""
    done = commands.run("sync", 456, *service.flags, "--root", "m", "--json", *more)
    assert done.code == 0, done.err
    return done


def forget(commands: Commands, *words: object) -> Outcome:
    """Forget photos without a question."""
    return commands.run("forget", *words, "--root", "m", "--yes", "--json")


def undecided(done: Outcome) -> list[dict[str, str]]:
    """Return what `forget --json` says was left."""
    return cast("dict[str, list[dict[str, str]]]", done.entry)["undecided"]


def folder_of(commands: Commands) -> Path:
    """Return the event's folder."""
    (found,) = (commands.folder / "m").glob("456*")
    return found


def trash(commands: Commands) -> list[str]:
    """Return what is in the trash, without the trash's own folders."""
    start = folder_of(commands) / ".ninepic-mirror/trash"
    found = [path.relative_to(start).parts[1:] for path in start.rglob("*") if path.is_file()]
    return sorted("/".join(parts) for parts in found)


def add(service: Service, *ids: str) -> None:
    """Let photos of these ids come."""
    for image_id in ids:
        service.order("POST", "456/add_raw", {"image_id": image_id, "hour": HOUR})


def replace(commands: Commands, service: Service, *ids: str) -> None:
    """Let photos be replaced, so that the old files go to the trash."""
    for image_id in ids:
        service.order("POST", "456/replace", {"image_id": image_id})
    sync(commands, service, "--recheck", "--variant", "large")


def test_a_year_is_no_photo_of_another_day(commands: Commands, serve: Serve) -> None:
    """The trash keeps the replaced files of other photos, though the forgotten one is called as a part of their day."""
    service = serve("--photos", 4)
    add(service, "2026", "3041", "4500", "07")
    sync(commands, service, "--variant", "large")
    replace(commands, service, "2026", "3041", "4500")
    assert len(trash(commands)) == 3
    for image_id in ("2026", "07"):
        done = forget(commands, image_id)
        assert (done.code, undecided(done)) == (0, [])
    assert [path.rpartition("/")[2] for path in trash(commands)] == ["3041.jpg", "4500.jpg"]


def test_a_short_id_in_a_former_layout(commands: Commands, serve: Serve) -> None:
    """Its old file is found by the layout, which is remembered, or by its hash; else it is told, until it is gone."""
    service = serve("--photos", 4)
    add(service, "42", "43", "44")
    flags = ("--variant", "large", "--layout")
    sync(commands, service, *flags, "all/{variant}/{image_id}{ext}")
    for image_id in ("42", "43", "44"):
        service.order("POST", "456/replace", {"image_id": image_id})
    sync(commands, service, *flags, "all/{variant}/{image_id}{ext}", "--recheck")
    sync(commands, service, *flags, "{date}/{variant}-{image_id}{ext}")
    assert trash(commands) == [f"all/large/{one}.jpg" for one in ("42", "43", "44")]

    assert forget(commands, "42").code == 0
    assert trash(commands) == ["all/large/43.jpg", "all/large/44.jpg"]

    manifest = folder_of(commands) / ".ninepic-mirror/manifest.sqlite3"
    with closing(sqlite3.connect(manifest)) as opened:  # as an earlier version left it
        opened.execute("DELETE FROM meta WHERE key = 'former_layouts'")
        opened.commit()
    assert forget(commands, "43").code == 0
    assert trash(commands) == ["all/large/44.jpg"]

    with closing(sqlite3.connect(manifest)) as opened:  # as a rebuild leaves it
        opened.execute("UPDATE passes SET report = NULL")
        opened.commit()
    (left,) = folder_of(commands).rglob("all/large/44.jpg")
    path = left.relative_to(folder_of(commands)).as_posix()
    for _ in range(2):
        done = forget(commands, "44")
        assert (done.code, undecided(done)) == (4, [{"path": path, "kind": "file"}])
        assert path in done.err
        assert left.is_file()
    left.unlink()
    assert forget(commands, "44").code == 0
    sync(commands, service, *flags, "{date}/{variant}-{image_id}{ext}")
    check_settled(folder_of(commands))


@pytest.mark.parametrize("kind", ["folder", "link", "pipe"])
def test_what_somebody_put_in_the_place_of_a_file(
    commands: Commands, service: Service, kind: str
) -> None:
    """The rest is forgotten, and later passes and verify go on; what may hold the photo is told with its path."""
    sync(commands, service)
    place = sorted(folder_of(commands).rglob("large/*.jpg"))[5]
    elsewhere = place.rename(commands.folder / "elsewhere.jpg")
    if kind == "folder":
        place.mkdir()
        elsewhere.rename(place / "inside.jpg")
    elif kind == "link":
        place.symlink_to(elsewhere)
    else:
        os.mkfifo(place)
    path = place.relative_to(folder_of(commands)).as_posix()

    done = forget(commands, place.stem)

    assert undecided(done) == ([] if kind == "pipe" else [{"path": path, "kind": kind}])
    assert (done.code, path in done.err) == ((0, False) if kind == "pipe" else (4, True))
    assert list(folder_of(commands).rglob(f"{place.stem}.jpg")) == ([place] * (kind != "pipe"))
    service.order("POST", "456/add", {"count": 1, "hour": HOUR})
    later = sync(commands, service)
    assert (later.entry["forgotten"], later.entry["files"]["present"]) == (1, 120)
    verified = commands.run("verify", "--root", "m")
    assert (verified.code, "not finished" in verified.err) == (0, False)
    if kind == "folder":
        assert (place / "inside.jpg").is_file()
        shutil.rmtree(place)
    elif kind == "link":
        place.unlink()
    again = forget(commands, place.stem)
    assert (again.code, undecided(again), place.exists()) == (0, [], False)


def test_the_manifest_keeps_no_name(commands: Commands, service: Service) -> None:
    """Whatever table has had it: folders, sums, cameras, packages, reports. Other photos lose nothing."""
    layout = ("--layout", "{image_id}/{variant}{ext}")
    service.fault(kind="404", variant="thumbnail", count=1)  # so that a report names a photo
    first = commands.run("sync", 456, *service.flags, "--root", "m", "--json", *layout)
    name = first.entry["failures"][0]["image_id"]
    service.order("POST", "456/replace", {"image_id": name})
    sync(commands, service, *layout, "--recheck")
    made = commands.run("deliver", 456, "package", "--root", "m")
    assert made.code == 0, made.err
    manifest = folder_of(commands) / ".ninepic-mirror/manifest.sqlite3"
    assert strings(manifest).count(name) > 8
    with closing(sqlite3.connect(manifest)) as opened:
        for table in ("folders", "sums", "cameras", "delivered", "passes"):
            assert any(name in str(row) for row in opened.execute(f"SELECT * FROM {table}")), table

    done = forget(commands, name)

    assert (done.code, undecided(done)) == (0, [])
    for step in (
        lambda: None,
        lambda: commands.run("verify", "--root", "m"),
        lambda: forget(commands, name),
        lambda: sync(commands, service, *layout, "--full"),
    ):
        step()
        assert not [path for path in (commands.folder / "m").rglob("*") if name in path.name]
        for path in (path for path in (commands.folder / "m").rglob("*") if path.is_file()):
            assert name not in strings(path), path
    check_settled(folder_of(commands))


def strings(path: Path) -> str:
    """Return the readable texts of a file, and of the logs beside it, as `strings` does."""
    files = path.parent.glob(f"{path.name}*")
    return "\n".join(
        text.decode() for one in files for text in re.findall(rb"[ -~]{4,}", one.read_bytes())
    )


def test_an_older_manifest_that_verify_finds(commands: Commands, serve: Serve) -> None:
    """Brought back from a backup it makes `verify` and `sync` forget again, and tell what they leave."""
    service = serve("--photos", 4)
    add(service, "42")
    sync(commands, service, "--variant", "large")
    manifest = folder_of(commands) / ".ninepic-mirror/manifest.sqlite3"
    older = manifest.read_bytes()
    left = folder_of(commands) / ".ninepic-mirror/trash/2026-01-01/all/large/42.jpg"
    left.parent.mkdir(parents=True)
    left.write_bytes(b"x")
    assert forget(commands, "42").code == 4
    for command in (("verify", 456), ("sync", 456, *service.flags, "--variant", "large")):
        manifest.write_bytes(older)
        done = commands.run(*command, "--root", "m")
        assert done.code == 0
        assert "trash/2026-01-01/all/large/42.jpg" in done.err
        assert left.exists()


@contextmanager
def mixed_up(service: Service, one: str, other: str) -> Iterator[list[str]]:
    """Serve a gateway that answers for one photo's original with the answer for another's, and yield its flags."""

    class Gateway(BaseHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

        def do_GET(self) -> None:
            self._hand_on(None)

        def do_POST(self) -> None:
            asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            asked["identifier"] = [
                other if image_id == one else image_id for image_id in asked["identifier"]
            ]
            self._hand_on(json.dumps(asked).encode())

        def _hand_on(self, data: bytes | None) -> None:
            headers = {"X-API-Key": KEY, "Content-Type": "application/json"}
            request = urllib.request.Request(service.api_url + self.path, data, headers)
            with urllib.request.urlopen(request, timeout=10) as answer:
                body = answer.read()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    with ThreadingHTTPServer(("127.0.0.1", 0), Gateway) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield ["--org", "903", "--base-url", f"http://127.0.0.1:{server.server_port}"]
        server.shutdown()


def test_a_link_that_names_a_forgotten_photo(commands: Commands, serve: Serve) -> None:
    """It is not taken for that of the photo that was asked for: the forgotten one would be back under its name."""
    service = serve("--photos", 6)
    sync(commands, service, "--variant", "original")
    names = sorted(path.stem for path in folder_of(commands).rglob("original/*"))
    one, other = names[1], names[4]
    files = {path.stem: path for path in folder_of(commands).rglob("original/*")}
    digest = hashlib.sha256(files[other].read_bytes()).hexdigest()
    assert forget(commands, other).code == 0
    files[one].unlink()
    with mixed_up(service, one, other) as flags:
        done = commands.run("sync", 456, *flags, "--root", "m", "--variant", "original", "--json")
    assert done.code == 4, done.err
    assert [failure["image_id"] for failure in done.entry["failures"]] == [one]
    assert "is for another photo" in done.entry["failures"][0]["error"]
    kept = (path for path in folder_of(commands).rglob("*") if path.is_file())
    assert digest not in {hashlib.sha256(path.read_bytes()).hexdigest() for path in kept}
