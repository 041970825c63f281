"""What may be written in a configuration, and what is said when something else is."""

from __future__ import annotations

import os
import re
import sys
import tomllib
from dataclasses import fields
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ninepic_mirror import config
from ninepic_mirror.config import (
    Api,
    Bandwidth,
    Config,
    Daemon,
    Events,
    EventSettings,
    Hooks,
    Mirror,
)
from ninepic_mirror.config.rules import EVENT_RULES, RULES
from ninepic_mirror.errors import ConfigError, Problem

# The same examples each time, and no clock: a busy machine must not fail a test.
STEADY = settings(derandomize=True, deadline=None)
EXAMPLE = Path(__file__).parents[2] / "config.example.toml"
KINDS = {"api": Api, "mirror": Mirror, "events": Events, "daemon": Daemon, "hooks": Hooks}
NEEDED = '[api]\norg_id = 903\n[mirror]\nroot = "photos"\n'
SECRET = "npk_do-not-show-me"


@pytest.fixture(autouse=True)
def _nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no configuration of the machine or of its user be found."""
    monkeypatch.delenv("NINEPIC_MIRROR_CONFIG", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "home/config"))
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")


def write(path: Path, text: str) -> Path:
    """Write a configuration file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def read(tmp_path: Path, text: str) -> Config:
    """Load a configuration with this text."""
    return config.load(write(tmp_path / "c.toml", text), {})


def faults(tmp_path: Path, text: str) -> dict[str, Problem]:
    """Return the faults of a configuration by key."""
    with pytest.raises(ConfigError) as caught:
        read(tmp_path, text)
    return {problem.key: problem for problem in caught.value.problems}


# --- the example ----------------------------------------------------------------------------------------------


def uncommented() -> dict[str, dict[str, object]]:
    """Return the example with the # before each key taken away."""
    text = re.sub(r"(?m)^# (?=\w+ = |\[event)", "", EXAMPLE.read_text(encoding="utf-8"))
    return tomllib.loads(text)


def test_the_example_shows_every_key() -> None:
    """Each field of the dataclasses stands in the example under its table, and nothing else does."""
    shown = {table: set(keys) for table, keys in uncommented().items()}
    assert shown.pop("event") == {"456"}
    assert shown == {table: {field.name for field in fields(kind)} for table, kind in KINDS.items()}


def test_the_rules_and_the_fields_name_the_same_keys() -> None:
    """Each key that can be written has a field to go to, and each field a rule."""
    for table, kind in KINDS.items():
        assert set(RULES[table]) == {field.name for field in fields(kind)}
    assert set(EVENT_RULES) == {field.name for field in fields(EventSettings)}


def test_the_commented_defaults_are_the_defaults(tmp_path: Path) -> None:
    """Taking every # away changes nothing but the event's own settings."""
    plain = config.load(EXAMPLE, {})
    assert plain.event == {}
    tables = uncommented()
    flags = {f"{t}.{key}": value for t in RULES for key, value in tables[t].items()}
    full = config.load(None, flags)
    for table in KINDS:
        assert getattr(full, table) == getattr(plain, table)


def test_the_example_says_why_for_every_key() -> None:
    """No key stands without a reason on its line."""
    lines = EXAMPLE.read_text(encoding="utf-8").splitlines()
    keys = [line for line in lines if re.match(r"(# )?\w+ = ", line)]
    event = keys.index('# timezone = "Asia/Kolkata"')
    assert all(re.search(r"  # \S", line) for line in keys[:event])


# --- where it is found ----------------------------------------------------------------------------------------


def test_flags_alone_are_enough() -> None:
    """A one-off needs no file (DESIGN §3), and None means that a flag was not given."""
    found = config.load(None, {"api.org_id": 903, "mirror.root": "here", "api.base_url": None})
    assert found.api == Api(903)
    assert found.mirror == Mirror(Path.cwd() / "here")
    assert found.source is None


def test_the_first_place_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """--config, then the variable, then the current folder, then the user's folder (DESIGN §4)."""
    user = write(tmp_path / "home/config/ninepic-mirror/config.toml", NEEDED)
    assert config.load(None, {}).source == user
    here = write(Path.cwd() / "ninepic-mirror.toml", NEEDED)
    assert config.load(None, {}).source == here
    variable = write(tmp_path / "variable.toml", NEEDED)
    monkeypatch.setenv("NINEPIC_MIRROR_CONFIG", str(variable))
    assert config.load(None, {}).source == variable
    named = write(tmp_path / "named.toml", NEEDED)
    assert config.load(named, {}).source == named


def test_the_system_is_looked_at_last() -> None:
    """/etc is the last of the places."""
    assert config.places()[-1] == Path("/etc/ninepic-mirror/config.toml")


def test_a_named_file_must_exist(tmp_path: Path) -> None:
    """A file that --config names and that is missing is one fault, not a search elsewhere."""
    write(Path.cwd() / "ninepic-mirror.toml", NEEDED)
    with pytest.raises(ConfigError, match=r"gone\.toml: cannot be read: No such file"):
        config.load(tmp_path / "gone.toml", {})


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    """A folder under the name of a file is reported as such."""
    with pytest.raises(ConfigError, match="cannot be read: Is a directory"):
        config.load(tmp_path, {})


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_a_strangers_file_in_the_current_folder_is_refused() -> None:
    """A config that lies about must not run its key_command as whoever passes by."""
    here = write(Path.cwd() / "ninepic-mirror.toml", NEEDED)
    os.chown(here, 12345, 12345)
    with pytest.raises(ConfigError, match="belongs to another user"):
        config.load(None, {})
    assert config.load(here, {}).source == here


def test_a_place_that_cannot_be_looked_at_is_reported(tmp_path: Path) -> None:
    """A configuration that may be there, but cannot be reached, is a fault and not passed over."""
    user = tmp_path / "home/config/ninepic-mirror/config.toml"
    user.parent.mkdir(parents=True)
    user.symlink_to(user)
    with pytest.raises(ConfigError, match="cannot be read: Too many levels of symbolic links"):
        config.load(None, {"api.org_id": 1, "mirror.root": "x"})


def test_without_anything_both_needed_keys_are_named() -> None:
    """The message tells the two keys, their flags and `init`."""
    with pytest.raises(ConfigError) as caught:
        config.load(None, {})
    assert [problem.key for problem in caught.value.problems] == ["api.org_id", "mirror.root"]
    assert "--org;" in str(caught.value)
    assert "--root;" in str(caught.value)
    assert "ninepic-mirror init" in str(caught.value)


def test_a_local_command_needs_no_organisation() -> None:
    """What only reads the mirror asks for the root alone."""
    assert config.load(None, {"mirror.root": "x"}, local=True).api.org_id == 0
    with pytest.raises(ConfigError, match=r"mirror\.root: is missing"):
        config.load(None, {}, local=True)


# --- what is read ---------------------------------------------------------------------------------------------


def test_paths_start_at_the_folder_of_the_file(tmp_path: Path) -> None:
    """A relative path means the same wherever the command is typed; `~` is the home folder."""
    found = read(tmp_path, NEEDED + 'state_dir = "~/state"\n')
    assert found.mirror.root == tmp_path / "photos"
    assert found.mirror.state_dir == tmp_path / "home/state"


def test_every_key_reaches_its_field(tmp_path: Path) -> None:
    """Each value is converted to what the code works with."""
    text = """
    [api]
    org_id = 1
    base_url = "http://127.0.0.1:8000/"
    key_file = "key"
    key_command = ["pass", "show"]
    requests_per_second = 5
    ca_file = "ca.pem"
    proxy = "http://user:word@proxy:3128"
    allow_private = true
    [mirror]
    root = "/srv/x"
    variants = ["original"]
    layout = "{variant}/{image_id}{ext}"
    timezone = "Asia/Kolkata"
    connections = 8
    bandwidth = "20MB/s"
    min_free = "1GiB"
    on_remote_removal = "trash"
    trash_keep = "1h"
    duplicates = "copy"
    durability = "none"
    state_dir = "state"
    require_mount = true
    [events]
    ids = [4, 5]
    all = true
    status = ["active"]
    name = "*M*"
    newer_than = "2d"
    """
    found = read(tmp_path, text)
    assert found == Config(
        Api(
            1, "http://127.0.0.1:8000", tmp_path / "key", ("pass", "show"), 5.0, tmp_path / "ca.pem",
            "http://user:word@proxy:3128", True,
        ),
        Mirror(
            Path("/srv/x"), ("original",), "{variant}/{image_id}{ext}", "Asia/Kolkata", 8,
            Bandwidth(((0, 20_000_000),)), 2**30, "trash", 3600, "copy", "none", tmp_path / "state", True,
        ),
        Events((4, 5), True, ("active",), "*M*", 172_800),
        {},
        tmp_path / "c.toml",
    )  # fmt: skip
    assert "word" not in repr(found)


def test_an_event_has_its_own_settings(tmp_path: Path) -> None:
    """What [event.N] names differs for that event only."""
    own = """
    [event.456]
    timezone = "Asia/Kolkata"
    variants = ["large"]
    layout = "{variant}/{image_id}{ext}"
    on_remote_removal = "trash"
    trash_keep = "1d"
    duplicates = "copy"
    """
    found = read(tmp_path, NEEDED + own)
    assert found.mirror_for(1) == found.mirror
    assert found.mirror_for(456) == Mirror(
        found.mirror.root,
        ("large",),
        "{variant}/{image_id}{ext}",
        "Asia/Kolkata",
        on_remote_removal="trash",
        trash_keep=86_400,
        duplicates="copy",
    )


def test_flags_win_over_everything(tmp_path: Path) -> None:
    """A flag beats the file, and what the file says for one event."""
    path = write(
        tmp_path / "c.toml", NEEDED + '[event.456]\nvariants = ["large"]\ntimezone = "UTC"\n'
    )
    found = config.load(path, {"mirror.variants": ("thumbnail",), "api.org_id": 7})
    assert found.api.org_id == 7
    assert found.mirror_for(456).variants == ("thumbnail",)
    assert found.event[456].timezone == "UTC"


def test_a_byte_order_mark_does_no_harm(tmp_path: Path) -> None:
    """A file saved by a Windows editor is read."""
    assert read(tmp_path, "\ufeff" + NEEDED).api.org_id == 903


# --- what is refused ------------------------------------------------------------------------------------------


def test_all_faults_come_at_once(tmp_path: Path) -> None:
    """Each has its file, key, text and cure (DESIGN §4)."""
    text = """
    org_id = 903
    [api]
    org_id = "903"
    base_ulr = "x"
    [mirror]
    connections = true
    org_id = 5
    timezone = "Asia/Kolkatta"
    [robots]
    every = "1m"
    [event.456]
    root = "x"
    lay_out = "x"
    layout = "{variant}{ext}"
    """
    found = faults(tmp_path, text)
    assert {key: problem.text for key, problem in found.items()} == {
        "org_id": "is unknown here",
        "api.org_id": "must be a whole number, not '903'",
        "api.base_ulr": "is unknown (did you mean 'base_url'?)",
        "mirror.connections": "must be a whole number, not true",
        "mirror.org_id": "is unknown here",
        "mirror.timezone": "is no time zone: 'Asia/Kolkatta' (did you mean 'Asia/Kolkata'?)",
        "mirror.root": "is missing",
        "robots": "is unknown",
        "event.456.root": "cannot differ for one event",
        "event.456.lay_out": "is unknown (did you mean 'layout'?)",
        "event.456.layout": "must contain {image_id}, or photos would stand in each other's place",
    }
    assert all(problem.where == str(tmp_path / "c.toml") for problem in found.values())
    assert all(problem.cure for problem in found.values())
    assert found["mirror.org_id"].cure == "move it under [api]"


@pytest.mark.parametrize(
    ("key", "values"),
    {
        "api.org_id": ["0", "-1", "true", "1.0", "[1]", "9223372036854775808", "2026-01-01"],
        "api.base_url": [
            '""', '"api.9pic.ai"', '"ftp://x"', '"https://"', '"https://a@b"', '"https://a?b"', "1",
            '"https://a#b"', '"https://a b"', '"https://a:99999"', '"https://[::1"', '"https://é"',
        ],
        "api.key_file": ["1", '"a\\u0000b"', '"~nobody-of-this-name/key"'],
        "api.key_command": ['"pass show"', "[1]", '["a\\u0000"]'],
        "api.requests_per_second": ["-1", "nan", "inf", "true", '"5"'],
        "api.proxy": ['"proxy:3128"', '"socks5://x"'],
        "api.allow_private": ["1", '"true"'],
        "mirror.root": ['""', "1"],
        "mirror.variants": ['"large"', "[]", '["small"]', '["large", "large"]', "[1]"],
        "mirror.layout": ['""', '"{date}/{image_id}{ext}"', "1"],
        "mirror.timezone": [
            '""', '"Europe"', '"../UTC"', '"/etc/localtime"', '"localtime"', '"right/UTC"', "5",
        ],
        "mirror.connections": ["0", "1025", '"64"', "6.4"],
        "mirror.bandwidth": ['"fast"', '"20M"', '"-1"', '"999B/s"', "5", "false", '"25:00 1MB/s"',
                             '"08:00 1MB/s, 08:00 0"', '"08:00"', '""'],
        "mirror.min_free": ['"2G"', '"-1GB"', '"99999999TB"', "true", "-1", '""', "[]"],
        "mirror.on_remote_removal": ['"delete"', "true"],
        "mirror.trash_keep": ['"30"', "30", '"0d"', '"101000000h"', '""'],
        "mirror.duplicates": ['"symlink"'],
        "mirror.durability": ['"all"'],
        "mirror.require_mount": ['"yes"'],
        "events.ids": ["456", "[0]", '["456"]', "[true]"],
        "events.all": ["1"],
        "events.status": ['"active"'],
        "events.name": ["1", "[]"],
        "events.newer_than": ['"90"', '"0d"', "90"],
    }.items(),
)  # fmt: skip
def test_bad_values_are_refused(tmp_path: Path, key: str, values: list[str]) -> None:
    """Each value that a key cannot have is one fault of that key, with its cure."""
    table, _, name = key.partition(".")
    flags: dict[str, object] = {"api.org_id": 1, "mirror.root": "x"}
    for value in values:
        path = write(tmp_path / "c.toml", f"[{table}]\n{name} = {value}\n")
        with pytest.raises(ConfigError) as caught:
            config.load(path, flags)
        (problem,) = caught.value.problems
        assert problem.key == key, value
        assert problem.cure == RULES[table][name].cure


@pytest.mark.parametrize(
    ("text", "where", "fault"),
    [
        ("[api]\norg_id = \n", "c.toml, line 2", "is not valid TOML: Invalid value"),
        ("[api", "c.toml", "is not valid TOML: Expected ']'"),
        (f"x = {'[' * 100_000}", "c.toml", "is not valid TOML: nested too deeply"),
        (f"x = {'9' * 5000}", "c.toml", "is not valid TOML: Exceeds the limit"),
        ("a = 1\na = 2\n", "c.toml, line 2", "is not valid TOML: Cannot overwrite a value"),
    ],
)
def test_broken_toml_names_the_line(tmp_path: Path, text: str, where: str, fault: str) -> None:
    """One fault says where the file is broken, and missing keys are not complained of as well."""
    (problem,) = faults(tmp_path, text).values()
    assert problem.where == str(tmp_path / where)
    assert problem.text.startswith(fault)


def test_a_file_in_another_encoding_is_a_fault(tmp_path: Path) -> None:
    """Bytes that are not UTF-8 are reported, not raised."""
    (tmp_path / "c.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match="is not UTF-8 text"):
        config.load(tmp_path / "c.toml", {})


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("api = 3", "api"),
        ("event = 3", "event"),
        ("[event.marathon]", "event.marathon"),
        ("[event.007]", "event.007"),
        ("[event]\n456 = 1", "event.456"),
        ("[[mirror]]\nroot = 'x'", "mirror"),
    ],
)
def test_tables_of_a_wrong_kind_are_refused(tmp_path: Path, text: str, key: str) -> None:
    """What must be a table, or a number, and is not, is a fault of its own."""
    assert "must be a table" in faults(tmp_path, text)[key].text


def test_a_key_in_the_file_is_refused_and_not_shown(tmp_path: Path) -> None:
    """The API key does not belong in the configuration; what stands there is not repeated."""
    found = faults(tmp_path, NEEDED.replace("[mirror]", f'key = "{SECRET}"\n[mirror]'))
    assert "does not belong" in found["api.key"].text
    assert SECRET not in str(found["api.key"])


def test_addresses_with_a_password_are_not_repeated(tmp_path: Path) -> None:
    """A refused address may hold a password, so its text is not shown."""
    found = faults(tmp_path, f'[api]\nbase_url = "https://u:{SECRET}@x"\nproxy = "u:{SECRET}@x"')
    assert {"api.base_url", "api.proxy"} <= set(found)
    assert not any(SECRET in str(problem) for problem in found.values())


@pytest.mark.parametrize("flag", ["api.orgid", "nothing.here", "bare", "event.456.timezone"])
def test_unknown_flags_are_faults(flag: str) -> None:
    """A dotted key that does not exist is reported as one of the command line."""
    with pytest.raises(ConfigError) as caught:
        config.load(None, {"api.org_id": 1, "mirror.root": "x", flag: 1})
    (problem,) = caught.value.problems
    assert (problem.where, problem.key.strip(".")) == ("command line", flag)


ODD = ["1", "0x" + "f" * 9000, "-0.0", "nan", "inf", "''", "'x'", "' '", "'\u202e'", "[]", "[[]]", "{}",
       "true", "2026-01-01", "00:00:00", "[1, 'x']", "{a = 1}", "'/'", "'..'", "'~'", "1e400", '"\\u0000"']  # fmt: skip


def faults_of(path: Path) -> list[str]:
    """Return the keys of a file's faults, where flags give what is needed."""
    try:
        config.load(path, {"api.org_id": 1, "mirror.root": "x"})
    except ConfigError as error:
        return [problem.key for problem in error.problems]
    return []


@pytest.mark.parametrize("value", ODD)
def test_no_value_whatever_is_a_crash(tmp_path: Path, value: str) -> None:
    """Any value under any key is either taken or a fault of that key."""
    for table, rules in RULES.items():
        for key in rules:
            path = write(tmp_path / "c.toml", f"[{table}]\n{key} = {value}\n")
            found = faults_of(path)
            assert found in ([], [f"{table}.{key}"])


def test_a_home_that_does_not_exist_is_a_fault() -> None:
    """A ~name without a home folder is reported as a file that is not there."""
    with pytest.raises(ConfigError, match="cannot be read"):
        config.load(Path("~nobody-of-this-name/c.toml"), {})


@STEADY
@given(st.binary(max_size=200))
def test_no_file_whatever_is_a_crash(tmp_path_factory: pytest.TempPathFactory, body: bytes) -> None:
    """Any bytes are either a configuration or a ConfigError."""
    path = tmp_path_factory.getbasetemp() / "any.toml"
    path.write_bytes(body)
    with pytest.raises(ConfigError):
        config.load(path, {})


# --- sizes, times, bandwidths ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("0", 0), ("4096", 4096), ("1B", 1), ("2GB", 2_000_000_000), ("500MiB", 524_288_000),
        ("1.5 kB", 1500), (" 1tib ", 2**40), ("9007199254740993", 9_007_199_254_740_993),
    ],
)  # fmt: skip
def test_sizes(text: str, size: int) -> None:
    """Decimal and binary units, without regard to case, and exact."""
    assert config.parse_size(text) == size


@pytest.mark.parametrize(
    "text", ["", "GB", "2G", "1e3", "-1", "1.B", "٣", "1 2", "9223372036854775808"]
)
def test_bad_sizes(text: str) -> None:
    """What leaves a doubt is no size."""
    with pytest.raises(ValueError, match="is no size"):
        config.parse_size(text)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("30s", 30), ("5m", 300), ("24h", 86_400), ("30d", 2_592_000), ("1w", 604_800)],
)
def test_durations(text: str, seconds: int) -> None:
    """One number and one unit."""
    assert config.parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "30", "d", "1h30m", "-1s", "1.5h", "1y", "36526d", "٣s"])
def test_bad_durations(text: str) -> None:
    """Anything else is no duration."""
    with pytest.raises(ValueError, match="is no duration"):
        config.parse_duration(text)


def test_no_bandwidth_limit() -> None:
    """0 is no limit, all day."""
    assert Bandwidth.parse("0") == Bandwidth()
    assert {Bandwidth().at(minute) for minute in range(1440)} == {None}


def test_a_timetable_goes_round_the_clock() -> None:
    """Before the first time of the day, the last of the day before holds."""
    table = Bandwidth.parse("23:00 0, 08:00 5MB/s, 12:30 1MiB/s")
    hours = {hour: table.at(hour * 60) for hour in (0, 7, 8, 12, 13, 22, 23)}
    assert hours == {0: None, 7: None, 8: 5_000_000, 12: 5_000_000, 13: 2**20, 22: 2**20, 23: None}
    assert (table.at(479), table.at(480), table.at(749), table.at(750)) == (
        None,
        5_000_000,
        5_000_000,
        2**20,
    )
    assert Bandwidth.parse("08:00 5MB/s").at(0) == 5_000_000


# --- the API key ----------------------------------------------------------------------------------------------


def key_file(tmp_path: Path, text: str = SECRET + "\n", mode: int = 0o600) -> Path:
    """Write a key file."""
    path = tmp_path / "key"
    path.write_text(text, encoding="utf-8")
    path.chmod(mode)
    return path


def python(code: str) -> tuple[str, ...]:
    """Return a key_command that runs Python code."""
    return (sys.executable, "-I", "-S", "-c", code)


def refused(api: Api, environ: dict[str, str]) -> str:
    """Return the text with which a key is refused; it never holds any of the key."""
    with pytest.raises(ConfigError) as caught:
        config.find_key(api, environ)
    assert SECRET not in str(caught.value)
    return str(caught.value)


def test_the_first_key_found_wins(tmp_path: Path) -> None:
    """The variable, the credential, the file, the command (DESIGN §4)."""
    (tmp_path / "ninepic-api-key").write_text("credential\n")
    environ = {"NINEPIC_API_KEY": " variable\n", "CREDENTIALS_DIRECTORY": str(tmp_path)}
    api = Api(1, key_file=key_file(tmp_path, "file\n"), key_command=python("print('command')"))
    order = []
    for drop in ("NINEPIC_API_KEY", "CREDENTIALS_DIRECTORY"):
        order.append(config.find_key(api, environ)[0].reveal())
        del environ[drop]
    order.append(config.find_key(api, environ)[0].reveal())
    order.append(config.find_key(Api(1, key_command=api.key_command), environ)[0].reveal())
    assert order == ["variable", "credential", "file", "command"]


def test_only_a_credential_of_systemds_is_called_one(tmp_path: Path) -> None:
    """It cannot change while the service runs, so that a daemon gives it up in the end; every other key can."""
    (tmp_path / "ninepic-api-key").write_text("credential\n")
    api = Api(1, key_file=key_file(tmp_path), key_command=python("print('command')"))
    credential, _ = config.find_key(api, {"CREDENTIALS_DIRECTORY": str(tmp_path)})
    assert (credential.is_credential, credential.reveal()) == (True, "credential")
    others = [
        config.find_key(
            api, {"NINEPIC_API_KEY": "variable", "CREDENTIALS_DIRECTORY": str(tmp_path)}
        ),
        config.find_key(api, {}),
        config.find_key(Api(1, key_command=api.key_command), {}),
        # inherited from a service that had none of ours
        config.find_key(api, {"CREDENTIALS_DIRECTORY": str(tmp_path / "none")}),
    ]
    assert not any(key.is_credential for key, _ in others)
    assert repr(credential) == f"Key(***, from {tmp_path / 'ninepic-api-key'})"


def test_no_key_names_the_ways_to_give_one() -> None:
    """Without a key the cure says where one is looked for; an empty variable counts as none."""
    assert "NINEPIC_API_KEY" in refused(
        Api(1), {"NINEPIC_API_KEY": " ", "CREDENTIALS_DIRECTORY": ""}
    )


@pytest.mark.parametrize("mode", [0o604, 0o602, 0o601, 0o620, 0o666, 0o644])
def test_an_open_key_file_is_refused(tmp_path: Path, mode: int) -> None:
    """A key file that others can touch, or the group can write, is not used; the cure is the command to type."""
    path = key_file(tmp_path, mode=mode)
    assert f"chmod 600 {path}" in refused(Api(1, key_file=path), {})


def test_a_key_file_of_the_group_is_taken_with_a_warning(tmp_path: Path) -> None:
    """root:ninepic 0640 is a usual way to give a service its key."""
    path = key_file(tmp_path, mode=0o640)
    key, warnings = config.find_key(Api(1, key_file=path), {})
    assert key.reveal() == SECRET
    assert key.source == str(path)
    assert len(warnings) == 1
    assert config.find_key(Api(1, key_file=key_file(tmp_path, mode=0o600)), {})[1] == ()


def test_what_is_no_key_file_is_refused(tmp_path: Path) -> None:
    """A missing file, a folder and a named pipe are faults that do not hang."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    assert "No such file" in refused(Api(1, key_file=tmp_path / "gone"), {})
    assert "is no regular file" in refused(Api(1, key_file=pipe), {})
    folder = refused(Api(1, key_file=tmp_path), {})
    assert "is no regular file" in folder or "Is a directory" in folder


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("", "there is no API key"),
        (f"{SECRET} x", "more than one word"),
        ("é", "characters that no key has"),
        ("x" * 5000, "too long"),
    ],
)
def test_what_is_wrong_with_a_key_is_said(text: str, fault: str) -> None:
    """Each kind of text that is no key is called what it is."""
    assert fault in refused(Api(1), {config.KEY_VARIABLE: text})


@pytest.mark.parametrize(
    "text", ["", " \n", f"{SECRET} x", f"{SECRET}\n{SECRET}", f"{SECRET}é", f"{SECRET}\0"]
)
def test_what_cannot_stand_in_a_header_is_no_key(tmp_path: Path, text: str) -> None:
    """One word of printable ASCII; anything else is refused before it can break a request."""
    assert "no API key" in refused(Api(1, key_file=key_file(tmp_path, text)), {})
    if text.strip() and "\0" not in text:
        assert "no API key" in refused(Api(1), {"NINEPIC_API_KEY": text})


def test_the_command_gets_no_key_no_shell_and_no_input() -> None:
    """A command sees neither our key nor our standard input, and its words are not a shell's."""
    code = "import os,sys; print('NINEPIC_API_KEY' in os.environ, os.environ['A'], sys.argv[1], sys.stdin.read(), sep='-')"
    api = Api(1, key_command=(*python(code), "$HOME"))
    key, warnings = config.find_key(api, {"NINEPIC_API_KEY": "", "A": "a"})
    assert (key.reveal(), warnings) == ("False-a-$HOME-", ())


@pytest.mark.parametrize(
    ("command", "fault"),
    [
        (python(f"print('{SECRET}'); raise SystemExit(3)"), "ended with exit code 3"),
        (python("print()"), "is empty"),
        (("ninepic-no-such-program",), "cannot be run"),
        (("",), "cannot be run"),
    ],
)
def test_a_failing_command_is_a_fault(command: tuple[str, ...], fault: str) -> None:
    """Exit codes, missing programs and empty answers are reported without the output."""
    assert fault in refused(Api(1, key_command=command), {})


def test_a_command_that_hangs_is_given_up() -> None:
    """After its time a command is ended and the fault says so."""
    command = python(f"print('{SECRET}', flush=True); import sys, time; time.sleep(60)")
    with pytest.raises(ConfigError, match=r"took longer than 0\.05 s") as caught:
        config.find_key(Api(1, key_command=command), {}, limit=0.05)
    assert SECRET not in str(caught.value)


# --- the daemon -----------------------------------------------------------------------------------------------


def daemon_of(tmp_path: Path, text: str) -> Config:
    """Return the settings of a file with these tables beside the least that is needed."""
    path = write(tmp_path / "c.toml", f"[api]\norg_id = 1\n[mirror]\nroot = 'x'\n{text}")
    return config.load(path, {})


@pytest.mark.parametrize(
    ("text", "listen"),
    [
        ("127.0.0.1:9129", ("127.0.0.1", 9129)),
        ("[::1]:1", ("::1", 1)),
        ("mirror.example:65535", ("mirror.example", 65535)),
        ("", None),
    ],
)
def test_where_the_daemon_listens(
    tmp_path: Path, text: str, listen: tuple[str, int] | None
) -> None:
    """Host and port, an IPv6 address in brackets; empty: nowhere."""
    assert daemon_of(tmp_path, f"[daemon]\nlisten = '{text}'\n").daemon.listen == listen


@pytest.mark.parametrize("text", ["9129", "host:0", "host:65536", "::1:9129", "a b:1", "host:"])
def test_what_is_no_place_to_listen(tmp_path: Path, text: str) -> None:
    """Each is a fault of its key."""
    with pytest.raises(ConfigError, match=r"daemon\.listen: is no host and port"):
        daemon_of(tmp_path, f"[daemon]\nlisten = '{text}'\n")


def test_the_shortest_interval_is_not_longer_than_the_longest(tmp_path: Path) -> None:
    """Whichever of the two is written; equal ones, and any from 1 s on, are taken."""
    for text in ("min_interval = '7h'", "max_interval = '29s'"):
        with pytest.raises(ConfigError, match="is longer than max_interval"):
            daemon_of(tmp_path, f"[daemon]\n{text}\n")
    found = daemon_of(tmp_path, "[daemon]\nmin_interval = '1s'\nmax_interval = '1s'\n").daemon
    assert (found.min_interval, found.max_interval) == (1, 1)


def test_a_monitor_s_address_is_never_repeated(tmp_path: Path) -> None:
    """It usually carries a secret: neither a fault nor a repr shows it."""
    found = daemon_of(tmp_path, "[hooks]\nping_url = 'https://hc.example/4f2c-secret'\n")
    assert found.hooks.ping_url == "https://hc.example/4f2c-secret"
    assert "4f2c" not in repr(found)
    with pytest.raises(ConfigError) as caught:
        daemon_of(tmp_path, "[hooks]\nping_url = 'ftp://hc.example/4f2c-secret'\n")
    assert "4f2c" not in str(caught.value)
