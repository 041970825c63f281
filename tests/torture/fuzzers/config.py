"""A config file is taken, or every fault of it is told with file, key and cure."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Final

from ninepic_mirror.config import Config, load
from ninepic_mirror.config.layout import parse_layout
from ninepic_mirror.errors import ConfigError
from tests.torture.fuzzers.spelling import spell

FILE: Final = Path(tempfile.mkdtemp(dir="/dev/shm")) / "config.toml"
FRAGMENTS: Final = (
    b'[api]\norg_id = 903\n[mirror]\nroot = "m"\n', b"[api]\n", b"org_id = ", b"base_url = ", b'"http://127.0.0.1:9"', b"[mirror]\n",
    b"root = ", b"variants = ", b'["thumbnail", "original"]', b"layout = ", b'"{variant}/{image_id}{ext}"', b"timezone = ",
    b'"Asia/Kolkata"', b"connections = ", b"bandwidth = ", b'"08:00 5MB/s, 23:00 0"', b"min_free = ", b'"2GB"', b"trash_keep = ",
    b'"30d"', b"[events]\n", b"ids = [456]\n", b"all = true\n", b"newer_than = ", b"[event.456]\n", b"[event.x]\n", b"[daemon]\n",
    b"listen = ", b'"[::1]:9"', b"[hooks]\n", b"ping_url = ", b"key_command = ", b"proxy = ", b"ca_file = ", b"\n", b'"', b"=", b"[", b"]",
    b"1", b"-1", b"9" * 30, b"1e999", b"nan", b"true", b"2026-01-19", b"{", b"}", b".", b"\xff", b"\\u0000", b"[" * 300, b"a." * 20,
)  # fmt: skip


def check(data: bytes) -> None:
    """Load it; nothing is raised but ConfigError."""
    FILE.write_bytes(spell(data, FRAGMENTS))
    try:
        config = load(FILE, {})
    except ConfigError as error:
        told = error.problems
    else:
        _look_at(config)
        return
    assert told
    assert all(problem.cure for problem in told)


def _look_at(config: Config) -> None:
    settings = config.mirror_for(456)
    parse_layout(settings.layout)
    assert config.api.org_id >= 0
    assert settings.connections >= 1
    assert settings.min_free >= 0
    assert settings.variants
