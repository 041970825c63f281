"""The drop-in that `check` prints for a mirror root elsewhere."""

from __future__ import annotations

from pathlib import Path

import pytest

from ninepic_mirror.cli.unit import drop_in, unit_of
from ninepic_mirror.config import Api, Config, Mirror

HOME = "/home"


def config(
    root: str, state_dir: str | None = None, source: str | None = "/etc/ninepic-mirror/config.toml"
) -> Config:
    """Return a configuration with these paths."""
    mirror = Mirror(Path(root), state_dir=Path(state_dir) if state_dir else None)
    return Config(Api(903), mirror, source=Path(source) if source else None)


def lines(found: str | None) -> list[str]:
    """Return what a drop-in sets; it begins with its own place."""
    assert found is not None
    place, section, *rest = found.splitlines()
    assert place.startswith("# /etc/systemd/system/ninepic-mirror")
    assert section == "[Service]"
    return rest


@pytest.mark.parametrize(
    ("root", "state_dir"),
    [
        ("/srv/ninepic", None),
        ("/srv/ninepic/club", None),
        ("/srv/ninepic", "/var/lib/ninepic-mirror"),
        ("/srv/ninepic", "/var/lib/ninepic-mirror/state"),
        ("/srv/ninepic/a", "/srv/ninepic/b"),
    ],
)
def test_nothing_is_needed(root: str, state_dir: str | None) -> None:
    """Where the unit may write anyway there is no drop-in."""
    assert drop_in(config(root, state_dir)) is None


@pytest.mark.parametrize(
    ("root", "state_dir", "wanted"),
    [
        ("/mnt/nas/ninepic", None, ["ReadWritePaths=-/mnt/nas/ninepic"]),
        (
            "/mnt/nas",
            "/var/cache/n",
            ["ReadWritePaths=-/mnt/nas", "ReadWritePaths=-/var/cache/n"],
        ),
        ("/mnt/nas", "/mnt/nas/state", ["ReadWritePaths=-/mnt/nas"]),
        ("/mnt/nas", "/var/lib/ninepic-mirror", ["ReadWritePaths=-/mnt/nas"]),
        ("/srv/ninepic/../other", None, ["ReadWritePaths=-/srv/other"]),
        ("/srv/ninepic-2", None, ["ReadWritePaths=-/srv/ninepic-2"]),
        (
            f"{HOME}/desk/photos",
            None,
            ["ProtectHome=tmpfs", f"BindPaths=-{HOME}/desk/photos"],
        ),
        ("/var/tmp/m", None, ["PrivateTmp=no", "ReadWritePaths=-/var/tmp/m"]),
        ("/mnt/100 %", None, ['ReadWritePaths="-/mnt/100 %%"']),
        ('/mnt/"odd"\\', None, ['ReadWritePaths="-/mnt/\\"odd\\"\\\\"']),
        ("/mnt/Käse", None, ["ReadWritePaths=-/mnt/Käse"]),
    ],
)
def test_another_root(root: str, state_dir: str | None, wanted: list[str]) -> None:
    """Every folder that the unit may not write to yet is named, in the words of a unit file."""
    assert lines(drop_in(config(root, state_dir))) == wanted


def test_a_path_that_no_unit_can_name() -> None:
    """A line break in a path would be a line of the unit: nothing is written, and why is said."""
    found = drop_in(config("/mnt/a\nExecStart=/bin/sh"))
    assert found is not None
    assert found.splitlines() == [found]
    assert found.startswith("# no unit file can name")


@pytest.mark.parametrize(
    ("source", "unit"),
    [
        ("/etc/ninepic-mirror/config.toml", "ninepic-mirror.service"),
        ("/etc/ninepic-mirror/club.toml", "ninepic-mirror@club.service"),
        ("/tmp/config.toml", "ninepic-mirror.service"),
        (None, "ninepic-mirror.service"),
    ],
)
def test_which_unit(source: str | None, unit: str) -> None:
    """A file of another name in the service's folder is that of an instance."""
    assert unit_of(config("/mnt/x", source=source)) == unit
    found = drop_in(config("/mnt/x", source=source))
    assert found is not None
    assert f"/{unit}.d/root.conf" in found.splitlines()[0]


def test_the_state_of_an_instance() -> None:
    """An instance has a state folder of its own, and may not write to the others'."""
    club = "/etc/ninepic-mirror/club.toml"
    assert drop_in(config("/srv/ninepic/club", "/var/lib/ninepic-mirror/club", club)) is None
    found = drop_in(config("/srv/ninepic/club", "/var/lib/ninepic-mirror", club))
    assert lines(found) == ["ReadWritePaths=-/var/lib/ninepic-mirror"]
