"""`sync --recheck` as people run it."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from tests.system.conftest import Commands, Service


def test_replaced_photos_are_told_with_both_hashes(commands: Commands, service: Service) -> None:
    """Text and JSON name what was replaced; a failure ends with 4 and leaves the file; a second run costs 304s."""
    sync = ("sync", 456, *service.flags, "--root", "m")
    assert commands.run(*sync).code == 0
    path = next((commands.folder / "m").rglob("*/large/*.jpg"))
    old = path.read_bytes()
    service.order("POST", "456/replace", {"image_id": path.stem})
    service.fault(kind="404", image_id=path.stem, variant="thumbnail")

    done = commands.run(*sync, "--recheck", "--json")

    assert done.code == 4
    found = cast("dict[str, object]", done.entry["recheck"])
    (one,) = cast("list[dict[str, str]]", found.pop("replacements"))
    assert found == {
        "complete": True, "asked": 120, "unchanged": 118, "same": 0, "replaced": 1, "failed": 1,
    }  # fmt: skip
    assert (one["image_id"], one["variant"]) == (path.stem, "large")
    assert one["before"] != one["after"]
    assert f"SHA-256 {one['before']} became {one['after']}" in done.err
    (failure,) = done.entry["failures"]
    assert (failure["image_id"], failure["variant"]) == (path.stem, "thumbnail")
    assert path.read_bytes() != old
    assert commands.run("status", "--root", "m").code == 0
    assert commands.run("verify", "--root", "m").code == 0

    service.order("DELETE", "faults")
    told = commands.run(*sync, "--recheck")
    assert told.code == 0
    assert "rechecked 120 files: 119 unchanged, 1 replaced, 0 not answered and kept" in told.out
    again = commands.run(*sync, "--recheck", "--json").entry
    assert cast("dict[str, object]", again["recheck"])["unchanged"] == 120
    assert again["files"]["downloaded"] == 0


def test_a_dry_run_rechecks_nothing(commands: Commands, service: Service) -> None:
    """The two exclude each other."""
    done = commands.run("sync", 456, *service.flags, "--root", "m", "--recheck", "--dry-run")
    assert done.code == 2
    assert done.says_one_line_and_cure()
