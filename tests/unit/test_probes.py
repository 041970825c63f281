"""What `check` finds out about file systems that cannot be mounted here."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from ninepic_mirror.cli.init import render
from ninepic_mirror.cli.probes import examine, kind_of
from ninepic_mirror.config import Mirror, load

MOUNTS = """\
22 1 254:1 / / rw,relatime shared:1 - ext4 /dev/vda1 rw
40 22 0:40 / /mnt/photos rw - nfs4 server:/photos rw
41 22 0:41 / /mnt/with\\040space rw master:3 - exfat /dev/sdb1 rw
42 40 0:42 / /mnt/photos/inner rw - autofs systemd-1 rw
43 42 0:43 / /mnt/photos/inner rw - xfs /dev/sdc1 rw
"""


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/srv/x", "ext4"),
        ("/mnt/photos", "nfs4"),
        ("/mnt/photos/456", "nfs4"),
        ("/mnt/photos-too", "ext4"),
        ("/mnt/with space/m", "exfat"),
        ("/mnt/photos/inner/m", "xfs"),
    ],
)
def test_kind_of_file_system(tmp_path: Path, path: str, kind: str) -> None:
    """The deepest mount that holds a path decides, and of several at one place the last."""
    table = tmp_path / "mountinfo"
    table.write_text(MOUNTS)
    assert kind_of(Path(path), table) == kind


def test_kind_without_a_table(tmp_path: Path) -> None:
    """Where the system keeps no such table nothing is claimed."""
    assert kind_of(tmp_path, tmp_path / "none") is None


def test_a_file_is_no_root(tmp_path: Path) -> None:
    """A root that is a file fails."""
    (tmp_path / "m").write_text("")
    (found,) = examine(Mirror(root=tmp_path / "m"))
    assert (found.state, found.code) == ("FAIL", 6)


def test_nothing_mounted(tmp_path: Path) -> None:
    """With require_mount a plain folder fails first of all."""
    (first, *_) = examine(Mirror(root=tmp_path, require_mount=True, min_free=0))
    assert (first.name, first.state) == ("mount", "FAIL")


def test_every_failure_has_a_cure(tmp_path: Path) -> None:
    """Whatever is not ok says what to do about it."""
    settings = Mirror(root=tmp_path, min_free=2**62)
    (tmp_path / "foreign").write_text("")
    for root in (tmp_path, tmp_path / "none", tmp_path / "foreign"):
        found = list(examine(replace(settings, root=root, require_mount=True)))
        assert all(bool(one.cure) == (one.state != "ok") for one in found)
        assert all(bool(one.code) == (one.state == "FAIL") for one in found)


def test_written_config_is_read_back(tmp_path: Path) -> None:
    """What `init` writes means what was given, whatever stands in a path."""
    root = tmp_path / 'odd "name" \\ ü\t'
    text = render(
        {"api.org_id": 903, "mirror.root": str(root), "mirror.variants": ("large",), "api.allow_private": True}
    )  # fmt: skip
    file = tmp_path / "config.toml"
    file.write_text(text)
    config = load(file, {})
    assert (config.api.org_id, config.api.allow_private) == (903, True)
    assert (config.mirror.root, config.mirror.variants) == (root, ("large",))
