"""`sync --recheck` as people run it."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from tests.plain import Plain, serving

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


def test_a_file_that_cannot_be_asked_for_is_told(commands: Commands) -> None:
    """The listing gives no address any more: the recheck is not complete, says so and ends with 4; the file stays."""
    with serving(Plain(["a", "b", "c", "d", "e"])) as plain:
        sync = ("sync", 456, *plain.flags, "--root", "m")
        assert commands.run(*sync).code == 0
        plain.hidden = {"c"}
        assert commands.run(*sync, "--full").code == 0

        done = commands.run(*sync, "--recheck", "--json")

        assert done.code == 4
        assert done.entry["whole"]
        assert done.entry["recheck"] == {
            "complete": False, "asked": 4, "unchanged": 4, "same": 0, "replaced": 0, "failed": 1, "replacements": [],
        }  # fmt: skip
        (failure,) = done.entry["failures"]
        assert (failure["image_id"], failure["variant"]) == ("c", "large")
        assert "no address" in failure["error"]
        assert len(list((commands.folder / "m").rglob("large/*.jpg"))) == 5
        told = commands.run(*sync, "--recheck")
        assert told.code == 4
        assert "0 not answered and kept; 1 file could not be asked for\n" in told.out
        plain.hidden = set()
        assert commands.run(*sync, "--full").code == 0
        again = commands.run(*sync, "--recheck", "--json")
        assert again.code == 0
        assert (again.entry["recheck"] or {})["complete"] is True


def test_what_came_in_this_pass_is_not_fetched_again(commands: Commands) -> None:
    """Also where the origin gives nothing to compare by; the next recheck has to fetch each file, once."""
    with serving(Plain(["a", "b", "c"], validators=False)) as plain:
        sync = ("sync", 456, *plain.flags, "--root", "m", "--recheck", "--json")

        first = commands.run(*sync)

        assert first.code == 0
        assert sorted(plain.asked) == ["a", "b", "c"]
        plain.ids.append("d")
        plain.asked.clear()
        again = commands.run(*sync)
        assert again.code == 0
        assert sorted(plain.asked) == ["a", "b", "c", "d"]
        assert (again.entry["recheck"] or {})["same"] == 3


def test_what_was_found_here_is_asked_for(commands: Commands) -> None:
    """A file that a new manifest took in came in no pass; where its address is signed, only the next listing has it."""
    with serving(Plain(["a", "b", "c"])) as plain:
        sync = ("sync", 456, *plain.flags, "--root", "m")
        for query, codes in (("", [0]), ("?signature=1", [4, 0])):
            plain.query = query
            assert commands.run(*sync).code == 0
            for part in (commands.folder / "m").rglob("manifest.sqlite3*"):
                part.unlink()
            plain.asked.clear()
            assert [commands.run(*sync, "--recheck").code for _ in codes] == codes
            assert sorted(plain.asked) == ["a", "b", "c"]
