"""Galleries for the tests: a large event, awkward texts, and the files that their pages ask for."""

from __future__ import annotations

import os
from functools import cache
from random import Random
from typing import TYPE_CHECKING, Final

import msgspec

from ninepic_mirror.gallery.pages import Gallery, Picture, render
from ninepic_mirror.sandbox import drawing

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

KINDS: Final = 6  # of pictures for each light, drawn once
LIGHTS: Final = (5.8, 9.0, 18.6)  # hours of dawn, day and dusk
TITLE: Final = "Mumbai Marathon 2026"
PHOTOGRAPHERS: Final = ("Asha Kulkarni", "Björn Ångström", "Chen Wei", "Dilnoza Karimova", None)
HOURS: Final = {  # how the photos of a race spread
    "2026-01-18": {"10": 2, "11": 3, "15": 2},
    "2026-01-19": {"04": 1, "05": 9, "06": 22, "07": 27, "08": 16, "09": 9, "10": 5, "12": 1},
    "2026-01-20": {"18": 2, "19": 1},
}
SCRIPT: Final = "<script>document.title = 'run'</script>"
HOSTILE: Final = (
    SCRIPT,
    "</script><img src=x onerror=\"document.title = 'run'\">",
    "</title></bdi>\"'`&amp;&lt; ${document.title} {{ 7 * 7 }}",
    "\u202egnp.exe \u2069\u2068 \u0645\u0627\u0631\u0627\u062b\u0648\u0646",
    "line\u2028separator\u2029\\u003c\u0000\ud83c half",
    "javascript:alert(1)",
    "__proto__",
)


def crowd(count: int) -> Gallery:
    """Return an event of a few days whose photos spread as those of a race do."""
    random = Random(7)
    undated = count // 400
    slots = [(day, hour) for day, hours in HOURS.items() for hour in hours]
    weights = [weight for hours in HOURS.values() for weight in hours.values()]
    taken: list[tuple[str | None, str | None]] = sorted(
        random.choices(slots, weights, k=count - undated)
    )
    taken += [(None, None)] * undated
    pictures = [picture(number, day, hour, random) for number, (day, hour) in enumerate(taken)]
    return Gallery(TITLE, "Strides of India", "Asia/Kolkata", "21 January 2026", 0, pictures, None)


def picture(number: int, day: str | None, hour: str | None, random: Random) -> Picture:
    """Return one photo whose files lie as in a package."""
    portrait = random.random() < 0.3
    image_id = f"{random.getrandbits(128):032x}"
    above = f"data/{day}/{hour}" if day else "data/undated"
    return Picture(
        image_id, f"{image_id}.jpg", day, hour, random.choice(PHOTOGRAPHERS),
        *((800, 1200) if portrait else (1200, 800)),
        f"{above}/thumbnail/{image_id}.jpg", f"{above}/large/{image_id}.jpg", None,
    )  # fmt: skip


def hostile() -> Gallery:
    """Return a gallery all of whose texts would rather be something else."""
    pictures = [
        Picture(
            text, f"{text}.jpg", "2026-01-19", "06", text, 1200, 800,
            f"data/thumbnail/{number} #%?\"'<é>.jpg", f"data/large/{number} #%?\"'<é>.jpg", None,
        )
        for number, text in enumerate(HOSTILE)
    ]  # fmt: skip
    pictures.append(Picture("plain", "plain.jpg", SCRIPT, SCRIPT, None, 9, -9, None, None, None))
    return Gallery(HOSTILE[2] + HOSTILE[3], SCRIPT, HOSTILE[3], HOSTILE[0], 3, pictures, HOSTILE[4])


def lay(folder: Path, gallery: Gallery) -> Path:
    """Write a gallery and its photos, a few of them many times; return the page."""
    for name, text in render(gallery).items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8", newline="")
    made: set[str] = set()
    for number, one in enumerate(gallery.pictures):
        portrait = (one.width or 3) < (one.height or 2)
        for variant in ("thumbnail", "large"):
            target = getattr(one, variant)
            if target is None:
                continue
            above = target.rpartition("/")[0]
            if above not in made:
                (folder / above).mkdir(parents=True, exist_ok=True)
                made.add(above)
            kind = number % KINDS + KINDS * _light(one.hour)
            os.link(_source(folder, variant, kind, portrait), folder / target)
    return folder / "index.html"


def _light(hour: str | None) -> int:
    number = int(hour) if hour and hour.isdecimal() else 12
    return 0 if number < 7 else 1 if number < 18 else 2


def _source(folder: Path, variant: str, seed: int, portrait: bool) -> Path:
    path = folder.parent / f"{folder.name}-{variant}-{seed}-{portrait}.jpg"
    if not path.exists():
        path.write_bytes(_jpeg(variant, seed, portrait))
    return path


@cache
def _jpeg(variant: str, seed: int, portrait: bool) -> bytes:
    hour = LIGHTS[seed // KINDS]
    scene = drawing.Scene(
        seed, 1_768_780_800 + round(3600 * hour), (f"{1200 + 37 * seed}", "88"), portrait, TITLE
    )
    return drawing.jpeg(scene, variant)


def changed(gallery: Gallery, pictures: Iterable[Picture]) -> Gallery:
    """Return a gallery with other photos."""
    return msgspec.structs.replace(gallery, pictures=tuple(pictures))
