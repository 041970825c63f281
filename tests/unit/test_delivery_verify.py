"""The checker that is in every package, run here as it runs there."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import pytest
from msgspec import structs

from ninepic_mirror.delivery import bag, tags, verify

if TYPE_CHECKING:
    from pathlib import Path

PHOTOS = {"data/a.jpg": b"a" * 10, "data/b c.jpg": b"b" * 20}
LABEL = bag.Label("id-1", "2026-01-20", "Marathon", 456, None, None, "photos")


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """A small bag."""
    texts = {
        bag.DECLARATION: bag.declaration(),
        bag.INFO: bag.info(LABEL, map(len, PHOTOS.values())),
        bag.MANIFEST: bag.manifest(
            {path: hashlib.sha256(data).hexdigest() for path, data in PHOTOS.items()}
        ),
    }
    texts[bag.TAG_MANIFEST] = bag.tag_manifest(texts, {})
    (tmp_path / "data").mkdir()
    for path, data in (texts | PHOTOS).items():
        (tmp_path / path).write_bytes(data)
    return tmp_path


def run(package: Path, capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    """Check it; return the exit code and what was said."""
    code = verify.check(str(package))
    return code, capsys.readouterr().out


def test_all_good(package: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It says how much was checked."""
    code, said = run(package, capsys)
    assert (code, "ALL GOOD: 2 photo files" in said) == (0, True)


def test_it_checks_the_folder_that_it_stands_in(
    package: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the current folder is; Ctrl-C is no traceback."""
    monkeypatch.setattr(verify, "__file__", str(package / "verify.py"))
    assert verify.main() == 0

    def interrupt(_bag: str) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(verify, "check", interrupt)
    assert verify.main() == 1
    assert "Stopped" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("path", "data", "said"),
    [
        ("data/a.jpg", b"x" * 10, "DAMAGED     data/a.jpg"),
        ("data/b c.jpg", None, "MISSING     data/b c.jpg"),
        ("bagit.txt", None, "MISSING     bagit.txt"),
        ("bagit.txt", b"BagIt-Version: 9\n", "DAMAGED     bagit.txt"),
        ("manifest-sha256.txt", None, "MISSING     manifest-sha256.txt"),
        ("manifest-sha256.txt", b"short data/a.jpg\n", "a line that is none"),
        ("manifest-sha256.txt", b"0" * 64 + b"  ../../etc/passwd\n", "a line that is none"),
        (
            "tagmanifest-sha256.txt",
            b"0" * 64 + b"  bagit.txt\n",
            "does not vouch for manifest-sha256.txt",
        ),
        ("data/extra\u202e.jpg", b"x", "EXTRA       data/extra\\u202e.jpg"),
    ],
)
def test_faults(
    package: Path, capsys: pytest.CaptureFixture[str], path: str, data: bytes | None, said: str
) -> None:
    """Each is named, and the last line says that it is not good."""
    if data is None:
        (package / path).unlink()
    else:
        (package / path).write_bytes(data)
    code, text = run(package, capsys)
    assert code == 1
    assert said in text
    assert "NOT GOOD" in text


def test_what_is_no_file(package: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A link or a folder in a photo's place, and a linked folder, are told."""
    (package / "data/a.jpg").unlink()
    (package / "data/a.jpg").symlink_to("/etc/passwd")
    (package / "more").symlink_to("/etc")
    code, text = run(package, capsys)
    assert (code, "is no file any more" in text, "EXTRA       more" in text) == (1, True, True)


def test_what_cannot_be_read(
    package: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """An I/O error of a worn disk is the file's."""
    real = open

    def failing(path: str, *words: str, **named: str) -> object:
        if path.endswith("a.jpg"):
            raise OSError(5, "Input/output error")
        return real(path, *words, **named)  # type: ignore[call-overload]  # as open takes them

    monkeypatch.setattr("builtins.open", failing)
    code, text = run(package, capsys)
    assert (code, "cannot be read: Input/output error" in text) == (1, True)


def test_the_total(package: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A manifest that lost a line together with its file does not go unseen."""
    (package / "data/a.jpg").unlink()
    lines = (package / bag.MANIFEST).read_bytes().splitlines(keepends=True)
    (package / bag.MANIFEST).write_bytes(lines[1])
    texts = {
        name: (package / name).read_bytes() for name in (bag.DECLARATION, bag.INFO, bag.MANIFEST)
    }
    (package / bag.TAG_MANIFEST).write_bytes(bag.tag_manifest(texts, {}))
    code, text = run(package, capsys)
    assert (code, "INCOMPLETE  bag-info.txt says 30.2 bytes.files, here are 20.1" in text) == (
        1,
        True,
    )


def test_many_faults_are_not_all_listed(package: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A screenful of them, and their number; litter is no fault."""
    for number in range(60):
        (package / f"data/{number}.jpg").touch()
    for name in (".DS_Store", "data/Thumbs.db", "._x"):
        (package / name).touch()
    (package / "System Volume Information").mkdir()
    code, text = run(package, capsys)
    assert (code, "… and 10 more" in text, "60 faults" in text) == (1, True, True)
    assert text.count("ignored") == 4


@pytest.mark.parametrize(
    "name",
    [
        ".Trash-1000", ".Trashes", ".fseventsd", ".TemporaryItems", ".localized", ".apdisk", ".VolumeIcon.icns",
        "Icon\r", "$RECYCLE.BIN",
    ],
)  # fmt: skip
def test_what_desktops_leave(package: Path, capsys: pytest.CaptureFixture[str], name: str) -> None:
    """It is named and forgiven, a file or a folder with something in it."""
    (package / "data" / name).touch()
    (package / name).mkdir()
    (package / name / "x.jpg").touch()
    code, text = run(package, capsys)
    assert (code, text.count("ignored"), "ALL GOOD" in text) == (0, 2, True)


def test_what_to_do(package: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Extra files need not be asked for again; a file that is lacking is to be asked for."""
    (package / "data/mine.jpg").touch()
    code, text = run(package, capsys)
    assert (code, "Ask for" in text, "Move away what does not belong here." in text) == (
        1,
        False,
        True,
    )
    (package / "data/a.jpg").unlink()
    assert "Ask for these files again, and move away the extra ones." in run(package, capsys)[1]
    (package / "data/mine.jpg").unlink()
    assert "Ask for these files again.\n" in run(package, capsys)[1]


def test_an_extra_file_hides_no_other_fault(
    package: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """That all is here is said only where the total says so, too."""
    (package / bag.INFO).write_bytes(bag.info(LABEL, [1]))
    texts = {
        name: (package / name).read_bytes() for name in (bag.DECLARATION, bag.INFO, bag.MANIFEST)
    }
    (package / bag.TAG_MANIFEST).write_bytes(bag.tag_manifest(texts, {}))
    (package / "mine").touch()
    code, text = run(package, capsys)
    assert (code, "INCOMPLETE" in text, "Ask for these files" in text) == (1, True, True)


def test_progress_is_for_people(
    package: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a terminal it says how far it is, and takes that away."""
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    code, text = run(package, capsys)
    assert (code, "\r5 of 5" in text) == (0, True)


def test_what_is_good_and_not_all(package: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One of several volumes, or a delivery of which photos are missing, says so: it is not all that there is."""
    code, said = run(package, capsys)
    assert (code, "volume" in said, "missing.csv" in said) == (0, False, False)
    label = structs.replace(LABEL, number=2, count=3)
    info = bag.info(label, map(len, PHOTOS.values()))
    texts = {
        bag.DECLARATION: bag.declaration(), bag.INFO: info, tags.MISSING: b"image_id\n",
        bag.MANIFEST: (package / bag.MANIFEST).read_bytes(),
    }  # fmt: skip
    texts[bag.TAG_MANIFEST] = bag.tag_manifest(texts, {})
    for path, data in texts.items():
        (package / path).write_bytes(data)
    code, said = run(package, capsys)
    assert (code, "This is volume 2 of 3;" in said, "listed in missing.csv" in said) == (
        0,
        True,
        True,
    )


def test_a_label_cannot_steer_a_terminal(package: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What somebody wrote into it is shown as text."""
    info = package / bag.INFO
    info.write_text("Bag-Count: 2 of \x1b[2J3\nPayload-Oxum: \x1b]0;ALL GOOD\x07\n")
    texts = {
        path: (package / path).read_bytes() for path in (bag.DECLARATION, bag.INFO, bag.MANIFEST)
    }
    (package / bag.TAG_MANIFEST).write_bytes(bag.tag_manifest(texts, {}))
    code, said = run(package, capsys)
    assert (code, "\x1b" in said, "volume 2 of \\u001b[2J3;" in said) == (1, False, True)
