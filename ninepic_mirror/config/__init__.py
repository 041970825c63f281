"""The configuration: `load` it, `find_key`, and the settings as values (DESIGN §4).

    layout      layout templates
    settings    the values, sizes, times, bandwidths
    rules       one rule for each key
    key         where the API key is
    reading     the file and the flags together, every fault at once

Each imports only from those above it.
"""

from __future__ import annotations

from ninepic_mirror.config.key import KEY_VARIABLE, find_key
from ninepic_mirror.config.layout import DEFAULT_LAYOUT
from ninepic_mirror.config.reading import CONFIG_VARIABLE, load, places, sound
from ninepic_mirror.config.settings import (
    Api,
    Bandwidth,
    Config,
    Daemon,
    Events,
    EventSettings,
    Hooks,
    Mirror,
    parse_duration,
    parse_size,
)

__all__ = [
    "CONFIG_VARIABLE",
    "DEFAULT_LAYOUT",
    "KEY_VARIABLE",
    "Api",
    "Bandwidth",
    "Config",
    "Daemon",
    "EventSettings",
    "Events",
    "Hooks",
    "Mirror",
    "find_key",
    "load",
    "parse_duration",
    "parse_size",
    "places",
    "sound",
]
