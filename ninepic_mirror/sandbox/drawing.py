"""Pictures of a race, drawn: sky and road by the time of day, runners, their numbers, the vendor's watermark.

The background is drawn small and enlarged, which is quick and looks out of focus as behind a long lens; the runners are
drawn at full size. No file of ours is needed for it: the font is the one inside Pillow.
"""

from __future__ import annotations

import itertools
from colorsys import hsv_to_rgb
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from io import BytesIO
from random import Random
from typing import Final

from PIL import ExifTags, Image, ImageChops, ImageDraw, ImageFont

_EDGES: Final = {"thumbnail": 300, "large": 1200, "original": 1800}  # pixels of the longer edge
_QUALITY: Final = {"thumbnail": 88, "large": 82, "original": 92}
_SHRINK = 6  # how much smaller the background is drawn

# name, maker, model, serial number of the body: the crew that covers every race of the sandbox
CREW: Final = (
    ("Asha Patil", "Canon", "Canon EOS R6", "032021004711"),
    ("Dev Mehta", "NIKON CORPORATION", "NIKON Z 6_2", "6033457"),
    ("Farah Khan", "SONY", "ILCE-7M4", "05412207"),
    ("Joseph D'Souza", "Canon", "Canon EOS R3", "018022000390"),
    ("Meera Iyer", "NIKON CORPORATION", "NIKON Z 9", "3009126"),
)

# local hour → sky above, sky at the horizon, road; between them colours are mixed
_LIGHT = (
    (0, (10, 14, 38), (32, 36, 66), (34, 34, 40)),
    (5, (24, 30, 70), (120, 84, 96), (48, 46, 54)),
    (6, (86, 108, 168), (250, 176, 120), (84, 78, 80)),
    (8, (88, 150, 220), (226, 226, 214), (112, 110, 110)),
    (12, (62, 134, 222), (196, 222, 240), (128, 126, 124)),
    (17, (84, 130, 204), (246, 204, 142), (112, 104, 100)),
    (19, (52, 44, 98), (232, 108, 70), (62, 54, 60)),
    (21, (12, 16, 42), (40, 40, 72), (36, 36, 42)),
    (24, (10, 14, 38), (32, 36, 66), (34, 34, 40)),
)
_SKIN = ((92, 60, 44), (128, 86, 62), (164, 116, 86), (196, 148, 114))

Colour = tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class Scene:
    """What is to be seen.

    Args:
        seed: Places, colours, faces.
        captured: Local time of day and date as seconds since 1970, None for a camera without a clock.
        bibs: Numbers of the runners in front.
        portrait: Held upright.
        title: The event's name, on the banner over the road.
    """

    seed: int
    captured: int | None
    bibs: tuple[str, ...]
    portrait: bool
    title: str


def jpeg(scene: Scene, variant: str) -> bytes:
    """Draw a scene as a JPEG with EXIF, with the watermark on every variant but the original."""
    edge = _EDGES[variant]
    # a thumbnail is drawn twice as big and reduced, which smooths its edges
    drawn = edge * 2 if variant == "thumbnail" else edge
    size = (drawn * 2 // 3, drawn) if scene.portrait else (drawn, drawn * 2 // 3)
    picture = _picture(scene, size)
    if variant != "original":
        mark, mask = _watermark(size)
        picture.paste(mark, (0, 0), mask)
    if drawn != edge:
        picture = picture.resize((size[0] // 2, size[1] // 2), Image.Resampling.BILINEAR)
    buffer = BytesIO()
    picture.save(buffer, "JPEG", quality=_QUALITY[variant], exif=_exif(scene))
    return buffer.getvalue()


def _picture(scene: Scene, size: tuple[int, int]) -> Image.Image:
    random = Random(scene.seed)  # noqa: S311  the same scene always looks the same
    hour = 12.0 if scene.captured is None else scene.captured % 86_400 / 3600
    picture = _background(random, hour, size).resize(size, Image.Resampling.BICUBIC)
    draw = ImageDraw.Draw(picture)
    _banner(draw, scene.title, size)
    middle = size[0] * random.uniform(0.40, 0.60)
    height = size[1] * random.uniform(0.50, 0.62)
    for place in range(random.randint(2, 4)):  # the field behind
        across = size[0] * random.uniform(0.05, 0.95)
        _runner(draw, random, (across, size[1] * (0.66 + 0.02 * place)), height * 0.45, None)
    for place, bib in reversed(list(enumerate(scene.bibs[:2]))):
        across = middle + place * height * random.choice((-0.5, 0.5))
        _runner(
            draw,
            random,
            (across, size[1] * (0.95 - 0.06 * place)),
            height * (1 - 0.12 * place),
            bib,
        )
    # the grain is centred on 10, hence the offset
    return ImageChops.add(picture, _grain(size), 1, -10)


def _background(random: Random, hour: float, size: tuple[int, int]) -> Image.Image:
    width, height = size[0] // _SHRINK, size[1] // _SHRINK
    above, low, road = _light(hour)
    horizon = int(height * random.uniform(0.42, 0.52))
    picture = Image.new("RGB", (width, height), road)
    sky = Image.linear_gradient("L").resize((width, horizon))
    picture.paste(
        Image.composite(Image.new("RGB", sky.size, low), Image.new("RGB", sky.size, above), sky),
        (0, 0),
    )
    draw = ImageDraw.Draw(picture)
    across = -random.randint(0, 12)
    while across < width:  # houses and trees along the road
        wide, tall = (
            random.randint(width // 16, width // 6),
            random.randint(height // 16, height // 4),
        )
        draw.rectangle(
            (across, horizon - tall, across + wide, horizon + 2),
            fill=_mix(low, road, random.uniform(0.4, 0.9)),
        )
        across += wide + random.randint(0, width // 20)
    verge = _mix((58, 96, 52), road, 0.5)
    vanish = width * random.uniform(0.35, 0.65)
    draw.polygon(
        ((0, horizon), (vanish - 4, horizon), (-width * 0.3, height), (0, height)), fill=verge
    )
    draw.polygon(((width, horizon), (vanish + 4, horizon), (width * 1.3, height)), fill=verge)
    for step in range(5):  # the line in the middle of the road, nearer parts longer
        top, bottom = (
            horizon + (height - horizon) * (step + part) ** 2 / 25 for part in (0.2, 0.7)
        )
        draw.line(
            (vanish, top, vanish, bottom),
            fill=_mix(road, (240, 240, 230), 0.7),
            width=1 + step // 2,
        )
    return picture


def _banner(draw: ImageDraw.ImageDraw, title: str, size: tuple[int, int]) -> None:
    top, tall = size[1] * 0.06, size[1] * 0.07
    draw.rectangle((0, top, size[0], top + tall), fill=(196, 38, 46))
    draw.text(
        (size[0] / 2, top + tall / 2),
        title,
        fill="white",
        font=_font(int(tall * 0.62)),
        anchor="mm",
    )


def _runner(
    draw: ImageDraw.ImageDraw,
    random: Random,
    foot: tuple[float, float],
    height: float,
    bib: str | None,
) -> None:
    """Draw one runner, standing on `foot`, `height` pixels tall, mid-stride."""
    unit = height / 8  # a body is about eight heads tall
    skin, shirt, shorts = random.choice(_SKIN), _bright(random), _bright(random)
    stride, lean = random.choice((-1, 1)), random.uniform(-0.3, 0.3)
    across, ground = foot
    hip = (across, ground - 4 * unit)
    neck = (across + lean * unit, ground - 6.6 * unit)
    # proportions of a runner in heads: legs four, trunk two and a half
    limb = max(2, round(unit * 0.62))
    draw.ellipse(
        (across - 2 * unit, ground - 0.3 * unit, across + 2 * unit, ground + 0.3 * unit),
        fill=(30, 30, 34),
    )
    for side in (-stride, stride):
        knee = (hip[0] + side * 0.9 * unit, hip[1] + 1.8 * unit)
        shoe = (
            knee[0] - unit * (0.2 if side == stride else 1.1),
            ground if side == stride else ground - 1.6 * unit,
        )
        draw.line((hip, knee, shoe), fill=skin, width=limb, joint="curve")
        draw.line((hip, _between(hip, knee, 0.7)), fill=shorts, width=round(limb * 1.7))
        draw.ellipse(
            (
                shoe[0] - 0.5 * unit,
                shoe[1] - 0.3 * unit,
                shoe[0] + 0.8 * unit,
                shoe[1] + 0.3 * unit,
            ),
            fill=_bright(random),
        )
        elbow = (neck[0] - side * 1.3 * unit, neck[1] + 1.5 * unit)
        hand = (elbow[0] + 0.9 * unit, elbow[1] - 0.5 * unit)
        draw.line((neck, elbow, hand), fill=skin, width=round(limb * 0.75), joint="curve")
    chest = (
        (neck[0] - unit, neck[1]),
        (neck[0] + unit, neck[1]),
        (hip[0] + 0.8 * unit, hip[1] + 0.2 * unit),
        (hip[0] - 0.8 * unit, hip[1] + 0.2 * unit),
    )
    draw.polygon(chest, fill=shirt)
    draw.line((neck, (neck[0], neck[1] - 0.5 * unit)), fill=skin, width=limb)
    _head(draw, random, (neck[0], neck[1] - unit), unit, skin)
    if bib is not None:
        _number(draw, (across + lean * unit * 0.4, ground - 5.1 * unit), unit, bib)


def _head(
    draw: ImageDraw.ImageDraw, random: Random, at: tuple[float, float], unit: float, skin: Colour
) -> None:
    across, down = at
    draw.ellipse(
        (across - 0.55 * unit, down - 0.7 * unit, across + 0.55 * unit, down + 0.7 * unit),
        fill=skin,
    )
    hair = random.choice(((24, 18, 16), (52, 36, 26), _bright(random)))  # or a cap
    draw.chord(
        (across - 0.6 * unit, down - 0.8 * unit, across + 0.6 * unit, down + 0.5 * unit),
        180,
        360,
        fill=hair,
    )


def _number(draw: ImageDraw.ImageDraw, at: tuple[float, float], unit: float, bib: str) -> None:
    across, down = at
    draw.rectangle(
        (across - 0.85 * unit, down - 0.55 * unit, across + 0.85 * unit, down + 0.55 * unit),
        fill=(250, 250, 246),
    )
    draw.text((across, down), bib, fill=(16, 16, 20), font=_font(round(unit * 0.6)), anchor="mm")


@cache
def _watermark(size: tuple[int, int]) -> tuple[Image.Image, Image.Image]:
    # a mask of one size serves every picture: drawing the text each time costs more than the scene
    mask = Image.new("L", size, 0)
    draw = ImageDraw.Draw(mask)
    tall = max(size) // 22
    for row, down in enumerate(range(tall, size[1], tall * 5)):
        for across in range((row % 2) * tall * 3, size[0], tall * 7):
            draw.text((across, down), "9pic sandbox", fill=90, font=_font(tall))
    return Image.new("RGB", size, "white"), mask


@cache
def _grain(size: tuple[int, int]) -> Image.Image:
    # a sensor's noise; without it a drawn picture is a fifth of the size of a real one
    small = Image.new("L", (size[0] // 2, size[1] // 2))
    small.putdata(list(Random(3).choices(range(21), k=small.width * small.height)))  # noqa: S311  noise, no secret
    return small.resize(size, Image.Resampling.NEAREST).convert("RGB")


@cache
def _font(size: int) -> ImageFont.ImageFont | ImageFont.FreeTypeFont:
    return ImageFont.load_default(max(6, size))


def _light(hour: float) -> tuple[Colour, Colour, Colour]:
    for before, after in itertools.pairwise(_LIGHT):
        if before[0] <= hour < after[0]:
            share = (hour - before[0]) / (after[0] - before[0])
            return (
                _mix(before[1], after[1], share),
                _mix(before[2], after[2], share),
                _mix(before[3], after[3], share),
            )
    return _LIGHT[0][1:]


def _mix(one: Colour, other: Colour, share: float) -> Colour:
    red, green, blue = (round(a + (b - a) * share) for a, b in zip(one, other, strict=True))
    return red, green, blue


def _between(
    one: tuple[float, float], other: tuple[float, float], share: float
) -> tuple[float, float]:
    return one[0] + (other[0] - one[0]) * share, one[1] + (other[1] - one[1]) * share


def _bright(random: Random) -> Colour:
    red, green, blue = hsv_to_rgb(
        random.random(), random.uniform(0.5, 0.95), random.uniform(0.6, 1)
    )
    return round(red * 255), round(green * 255), round(blue * 255)


def _exif(scene: Scene) -> bytes:
    artist, maker, model, body = CREW[scene.seed % len(CREW)]
    exif = Image.Exif()
    exif[ExifTags.Base.Artist] = artist
    exif[ExifTags.Base.Make] = maker
    exif[ExifTags.Base.Model] = model
    inner = exif.get_ifd(ExifTags.IFD.Exif)
    inner[ExifTags.Base.BodySerialNumber] = body
    if scene.captured is not None:
        taken = datetime.fromtimestamp(
            scene.captured, UTC
        )  # already local time: EXIF knows no zone here
        inner[ExifTags.Base.DateTimeOriginal] = f"{taken:%Y:%m:%d %H:%M:%S}"
    return exif.tobytes()
