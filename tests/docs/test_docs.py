"""What the documents say is so: commands, options, exit codes, keys, tables, paths."""

from __future__ import annotations

import re
import sqlite3
import subprocess
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING

import click
import pytest

from ninepic_mirror import __version__
from ninepic_mirror.archive.manifest import Manifest
from ninepic_mirror.archive.schema import MIGRATIONS
from ninepic_mirror.cli.outcome import Code
from ninepic_mirror.cli.program import program
from ninepic_mirror.config import Api, Daemon, Events, EventSettings, Hooks, Mirror
from ninepic_mirror.sandbox import KINDS
from tests.torture.run import experiments

if TYPE_CHECKING:
    from collections.abc import Iterator

TOP = Path(__file__).parents[2]
README = (TOP / "README.md").read_text()
DOCS = README + "".join(path.read_text() for path in sorted((TOP / "docs").glob("*.md")))
EXAMPLE = (TOP / "config.example.toml").read_text()


def commands() -> Iterator[tuple[str, click.Command]]:
    """Yield every command by its name."""
    context = click.Context(program)
    for name in program.list_commands(context):
        command = program.get_command(context, name)
        assert command is not None
        yield name, command


COMMANDS = dict(commands())


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_is_in_the_readme(name: str) -> None:
    """Each command has a row in the README's table."""
    assert re.search(rf"^\| `{name}\b", README, re.MULTILINE)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_is_explained(name: str) -> None:
    """Each option of each command has a help text that says what it does."""
    for parameter in COMMANDS[name].params:
        if isinstance(parameter, click.Option) and not parameter.hidden:
            assert parameter.help, parameter.opts


def test_every_named_command_and_option_exists() -> None:
    """What the README calls `ninepic-mirror …` or `sync --…` can be typed."""
    for name in re.findall(r"ninepic-mirror (?:--\S+ )*([a-z]+)", README):
        assert name in {*COMMANDS, "source"}, name
    known = {
        option for command in COMMANDS.values() for one in command.params for option in one.opts
    }
    known |= {option for one in program.params for option in one.opts} | {"--help", "--version"}
    for option in re.findall(r"`[^`\n]*?(--[a-z-]+)", README):
        assert option in known, option


def test_every_exit_code_is_in_the_readme() -> None:
    """The table names each code that the commands can end with."""
    table = README[README.index("### Exit codes") :]
    for code in (*map(int, Code), 130, 143):
        assert re.search(rf"^\|[^|]*\b{code}\b", table, re.MULTILINE), code


@pytest.mark.parametrize(
    ("table", "settings"),
    [
        ("api", Api),
        ("mirror", Mirror),
        ("events", Events),
        ("event", EventSettings),
        ("daemon", Daemon),
        ("hooks", Hooks),
    ],
)
def test_every_key_is_in_the_example(table: str, settings: type) -> None:
    """config.example.toml shows each key of each table."""
    for field in fields(settings):
        assert re.search(rf"^#? ?{field.name} = ", EXAMPLE, re.MULTILINE), f"{table}.{field.name}"


def test_every_column_of_the_manifest_is_documented(tmp_path: Path) -> None:
    """docs/manifest.md names each table and column, and the version."""
    text = (TOP / "docs/manifest.md").read_text()
    Manifest.open(tmp_path / "manifest.sqlite3").close()
    connection = sqlite3.connect(tmp_path / "manifest.sqlite3")
    tables = [
        row[0] for row in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")
    ]
    columns = {
        (table, row[1])
        for table in tables
        for row in connection.execute(f"PRAGMA table_info({table})")
    }
    connection.close()
    assert f"now **{len(MIGRATIONS)}**" in text
    for table, column in columns:
        assert f"**{table}**" in text, table
        assert f"`{column}`" in text, (table, column)


@pytest.mark.parametrize("kind", KINDS)
def test_every_fault_of_the_sandbox_is_documented(kind: str) -> None:
    """docs/sandbox.md names each kind of fault."""
    assert f"`{kind}`" in (TOP / "docs/sandbox.md").read_text()


# Experiments of the plan whose modules are not there yet; the last one takes this along.
PENDING = {
    "kills", "kill-calls", "power", "calls-fail", "disk-full", "disk-errors", "compound", "targets", "http-faults", "storms",
    "model", "cancel-steps", "races", "clock-jumps", "soak",
}  # fmt: skip


def plan() -> dict[str, str]:
    """Return each row of the two tables of docs/reliability.md: its numbers, and what it is tested by."""
    text = (TOP / "docs" / "reliability.md").read_text()
    rows = re.findall(
        r"^\| ((?:[NLT]\d+(?:, )?)+)[^|\n]*\|(?:[^|\n]*\|)?([^|\n]*)\|$", text, re.MULTILINE
    )
    return {number: tests for numbers, tests in rows for number in numbers.split(", ")}


def test_every_row_of_what_can_go_wrong_is_tested() -> None:
    """Each names tests or experiments that exist, or its reason stands in docs/design.md."""
    rows = plan()
    wanted = [*(f"N{n}" for n in range(1, 27)), *(f"L{n}" for n in range(1, 18))]
    assert list(rows) == [*wanted, *(f"T{n}" for n in range(1, 28))]
    known = {*experiments(), *PENDING}
    for number, tests in rows.items():
        if tests.strip() == "—":
            assert re.search(rf"\b{number}\b", (TOP / "docs" / "design.md").read_text()), number
            continue
        named = re.findall(r"`(\S+\.py)(?:::(\w+))?`", tests)
        played = re.findall(r"\*([a-z-]+)\*", tests)
        assert named or played or number == "T9", number
        assert set(played) <= known, number
        for file, function in named:
            source = (TOP / "tests" / file).read_text()
            found = rf"^(async )?(def )?{function or '[Tt]est.*'}\b"
            assert re.search(found, source, re.MULTILINE), (file, function)


def test_every_link_leads_somewhere() -> None:
    """Links between the documents name files that exist."""
    for path in (TOP / "README.md", *sorted((TOP / "docs").glob("*.md"))):
        for target in re.findall(r"\]\((?!https?:)([^)#]+)\)", path.read_text()):
            assert (path.parent / target).exists(), (path.name, target)


def test_the_changelog_is_for_this_version() -> None:
    """CHANGELOG.md has a section for what is not released yet, or for this very version."""
    text = (TOP / "CHANGELOG.md").read_text()
    assert "## Unreleased" in text or f"## {__version__}" in text


def test_nothing_names_a_machine() -> None:
    """No file that git tracks names a path of somebody's machine."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=TOP, capture_output=True, check=True)
    for name in listed.stdout.decode().split("\0"):
        path = TOP / name
        if name and path.is_file() and path.suffix in {".py", ".md", ".toml", ".txt", ""}:
            text = path.read_text(errors="replace")
            assert not re.search(r"/(?:home|Users|root)/[a-z]", text), name
