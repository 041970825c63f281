"""Find the configuration, read it, and report every fault at once (DESIGN §4)."""

from __future__ import annotations

import os
import re
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol, TypeVar, cast

import platformdirs
from msgspec import Struct, field

from ninepic_mirror.config.key import KEY_VARIABLE
from ninepic_mirror.config.rules import EVENT_RULES, RULES, Rule, suggest
from ninepic_mirror.config.settings import (
    Api,
    Config,
    Daemon,
    Events,
    EventSettings,
    Hooks,
    Mirror,
)
from ninepic_mirror.errors import ConfigError, Problem

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

CONFIG_VARIABLE: Final = "NINEPIC_MIRROR_CONFIG"
COMMAND_LINE: Final = "command line"
_TABLES: Final = (*RULES, "event")

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


class _Draft(Struct):
    """What was read so far, and every fault met on the way."""

    problems: list[Problem] = field(default_factory=list)
    tables: dict[str, dict[str, object]] = field(
        default_factory=lambda: {table: {} for table in RULES}
    )
    event: dict[int, dict[str, object]] = field(default_factory=dict)

    def fault(self, where: str, key: str, text: str, cure: str) -> None:
        self.problems.append(Problem(where, key, text, cure))

    def take(
        self,
        where: str,
        prefix: str,
        rules: Mapping[str, Rule],
        found: Mapping[str, object],
        base: Path,
    ) -> dict[str, object]:
        """Return the values of one table that could be read, by their key."""
        values: dict[str, object] = {}
        for key, value in found.items():
            if rule := rules.get(key):
                try:
                    values[key] = rule.read(value, base)
                except (TypeError, ValueError) as error:
                    self.fault(where, f"{prefix}.{key}", str(error), rule.cure)
            else:
                self.fault(where, f"{prefix}.{key}", *_unknown(prefix, key, rules))
        return values

    def has_fault(self, key: str) -> bool:
        return any(problem.key == key for problem in self.problems)


def _unknown(prefix: str, key: str, rules: Iterable[str]) -> tuple[str, str]:
    """Return what is wrong and the cure. The value is never shown: it may be the API key."""
    if key in {"key", "api_key", "secret"}:
        return (
            "the API key does not belong in this file",
            f"put it in ${KEY_VARIABLE} or a key_file",
        )
    if prefix.startswith("event.") and key in RULES["mirror"]:
        return "cannot differ for one event", "set it under [mirror]"
    home = next((table for table, known in RULES.items() if key in known and table != prefix), "")
    if home:
        return "is unknown here", f"move it under [{home}]"
    return f"is unknown{suggest(key, rules)}", "correct or remove it"


def places() -> tuple[Path, ...]:
    """Return where a configuration is looked for when none is named, in this order (DESIGN §4)."""
    return (
        Path("ninepic-mirror.toml").absolute(),
        platformdirs.user_config_path("ninepic-mirror") / "config.toml",
        Path("/etc/ninepic-mirror/config.toml"),
    )


def load(path: Path | None, overrides: Mapping[str, object], *, local: bool = False) -> Config:
    """Read the configuration and check all of it.

    Looked for at `path`, `$NINEPIC_MIRROR_CONFIG` and `places()`; the first that exists is taken.
    None need exist when `overrides` give the organisation and the root.

    Args:
        path: What `--config` names; it must exist.
        overrides: Flags by their dotted key, such as `api.org_id`; None means not given. They win
            over the file, over its `[event.N]` too. Their relative paths start at the current
            folder, those of a file at its own.
        local: The command asks the service nothing, so that `org_id` may be missing (it is 0 then).

    Raises:
        ConfigError: Every fault that was found.
    """
    draft = _Draft()
    source = _find(path, draft)
    if source:
        _take_document(draft, source)
    _take_flags(draft, {key: value for key, value in overrides.items() if value is not None})
    needed = ["mirror.root"] if local else ["api.org_id", "mirror.root"]
    for key in needed:
        table, _, name = key.partition(".")
        if name not in draft.tables[table] and not draft.has_fault(key) and not _is_unread(draft):
            cure = f"{RULES[table][name].cure}, or use the flag --{name.removesuffix('_id')}"
            where = str(source) if source else "no configuration file found"
            draft.fault(where, key, "is missing", f"{cure}; `ninepic-mirror init` writes a file")
    _compare_intervals(draft, str(source))
    if draft.problems:
        raise ConfigError(tuple(draft.problems))
    return Config(
        api=_build(Api, {"org_id": 0} | draft.tables["api"]),
        mirror=_build(Mirror, draft.tables["mirror"]),
        events=_build(Events, draft.tables["events"]),
        event={number: _build(EventSettings, values) for number, values in draft.event.items()},
        source=source,
        daemon=_build(Daemon, draft.tables["daemon"]),
        hooks=_build(Hooks, draft.tables["hooks"]),
    )


def _compare_intervals(draft: _Draft, where: str) -> None:
    """See that the daemon's shortest interval is not longer than its longest."""
    usual, given = Daemon(), draft.tables["daemon"]
    shortest = given.get("min_interval", usual.min_interval)
    longest = given.get("max_interval", usual.max_interval)
    if isinstance(shortest, int) and isinstance(longest, int) and shortest > longest:
        text, cure = "is longer than max_interval", "make it shorter, or max_interval longer"
        draft.fault(where, "daemon.min_interval", text, cure)


def sound(values: Mapping[str, object]) -> EventSettings:
    """Return what is sound of an event's settings that were written down by a pass, without a word on the rest."""
    return _build(EventSettings, _Draft().take("", "event", EVENT_RULES, values, Path()))


class _Maker(Protocol[T_co]):
    def __call__(self, **values: object) -> T_co: ...


def _build(kind: type[T], values: Mapping[str, object]) -> T:
    # The type checker cannot see that a rule reads what its field takes; a test compares them.
    return cast("_Maker[T]", kind)(**values)


def _is_unread(draft: _Draft) -> bool:
    # A file that could not be read at all misses every key; saying so would only hide the cause.
    return any(not problem.key for problem in draft.problems)


def _find(path: Path | None, draft: _Draft) -> Path | None:
    named = path or os.environ.get(CONFIG_VARIABLE)
    if named:
        # Not expanduser(), which ends in a traceback for a `~name` without a home.
        return Path(os.path.expanduser(named)).absolute()  # noqa: PTH111  leaves such a name as it is
    for place in places():
        try:
            status = place.stat()
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError:
            # Closed to us, or a loop of links: reading it says so, which is better than going on.
            return place
        # As git does with repositories: a file that lies about may not make us run its key_command.
        if place.parent == Path.cwd() and status.st_uid not in {0, os.geteuid()}:
            text = "belongs to another user, who could run commands as you"
            draft.fault(str(place), "", text, f"name it with --config {place} if you trust it")
            continue
        return place
    return None


def _take_document(draft: _Draft, source: Path) -> None:
    document = _parse(draft, source)
    base = source.parent
    for table, content in document.items():
        if table not in _TABLES:
            draft.fault(str(source), table, *_unknown("", table, _TABLES))
        elif not isinstance(content, dict):
            draft.fault(
                str(source), table, "must be a table", f"write [{table}] on a line of its own"
            )
        elif table == "event":
            _take_events(draft, source, content)
        else:
            draft.tables[table] = draft.take(str(source), table, RULES[table], content, base)


def _take_events(draft: _Draft, source: Path, content: Mapping[str, object]) -> None:
    for name, values in content.items():
        key = f"event.{name}"
        if not re.fullmatch("[1-9][0-9]{0,17}", name) or not isinstance(values, dict):
            draft.fault(
                str(source), key, "must be a table named by an event's number", "write [event.456]"
            )
        else:
            draft.event[int(name)] = draft.take(
                str(source), key, EVENT_RULES, values, source.parent
            )


def _parse(draft: _Draft, source: Path) -> dict[str, object]:
    try:
        # A byte order mark is what Windows editors leave; TOML calls it a fault.
        return dict(tomllib.loads(source.read_text("utf-8-sig")))
    except OSError as error:
        draft.fault(
            str(source),
            "",
            f"cannot be read: {error.strerror}",
            "name a readable file with --config",
        )
    except UnicodeDecodeError:
        draft.fault(str(source), "", "is not UTF-8 text", "save it as UTF-8")
    except (ValueError, RecursionError) as error:  # ValueError: 5,000 digits, which int refuses
        text = str(error).splitlines()[0] if isinstance(error, ValueError) else "nested too deeply"
        place = re.search(r"at line ([0-9]+)", text)
        where = f"{source}, line {place[1]}" if place else str(source)
        draft.fault(where, "", f"is not valid TOML: {text}", "correct it; strings want quotes")
    return {}


def _take_flags(draft: _Draft, flags: Mapping[str, object]) -> None:
    for dotted, value in flags.items():
        table, _, key = dotted.partition(".")
        rules = RULES.get(table, {})
        draft.tables.get(table, {}).update(
            draft.take(COMMAND_LINE, table, rules, {key: value}, Path.cwd())
        )
        if table == "mirror":
            for values in draft.event.values():
                values.pop(key, None)
