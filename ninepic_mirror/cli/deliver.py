"""`deliver`: an offline package."""

from __future__ import annotations

import csv
import io
import os
import re
import sys
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

import click

from ninepic_mirror.cli.options import API, PLACE, event_number, read_config, read_key, takes
from ninepic_mirror.errors import UsageError
from ninepic_mirror.model import VARIANTS

if TYPE_CHECKING:
    from ninepic_mirror.cli.signals import Run
    from ninepic_mirror.model import Variant

_MOMENT: Final = re.compile(r"([0-9]{4}-[0-9]{2}-[0-9]{2})(?:[T ]([01][0-9]|2[0-3])(?::?00)?)?")

_ADDRESS: Final = frozenset("/\\?#%")


def _read_day(
    _context: click.Context, _parameter: click.Parameter, texts: tuple[str, ...]
) -> tuple[str, ...]:
    return tuple(_day(text) for text in texts)


def _day(text: str) -> str:
    try:
        return datetime.strptime(text, "%Y-%m-%d").date().isoformat()  # noqa: DTZ007  a day has no zone
    except ValueError as error:
        raise click.BadParameter(f"{text} is no day; write 2026-01-19.") from error


def _read_moment(
    _context: click.Context, _parameter: click.Parameter, text: str | None
) -> tuple[str, int | None] | None:
    """Read a day or an hour of a day."""
    if text is None:
        return None
    found = _MOMENT.fullmatch(text.strip())
    if found is None:
        cure = "write 2026-01-19, or 2026-01-19T06:00: photos are known by their hour"
        raise click.BadParameter(f"{text} is no day and no hour; {cure}.")
    return _day(found[1]), None if found[2] is None else int(found[2])


def _read_bibs(
    _context: click.Context, _parameter: click.Parameter, texts: tuple[str, ...]
) -> tuple[str, ...]:
    bibs = tuple(text.strip() for text in texts)
    for bib in bibs:
        # a service takes what else there is in an address for another question
        if not bib.strip(".") or not bib.isprintable() or _ADDRESS & set(bib):
            raise click.BadParameter(f"{bib!r} is no bib; write it as the runner wears it: 1234.")
    return bibs


def _read_size(
    _context: click.Context, _parameter: click.Parameter, text: str | None
) -> int | None:
    from ninepic_mirror.config import parse_size  # noqa: PLC0415  what a usage error need not wait for

    if text is None:
        return None
    try:
        size = parse_size(text)
    except ValueError as error:
        raise click.BadParameter(f"{text} {error}; write 4GB.") from error
    if size < 1_000_000:
        raise click.BadParameter(f"{text} is too little; write 4GB.")
    return size


def _read_ids(
    _context: click.Context, _parameter: click.Parameter, name: str | None
) -> frozenset[str] | None:
    """Read ids, one a line, or those of a table; a byte order mark at the start is none of them."""
    if name is None:
        return None
    try:
        data = sys.stdin.buffer.read() if name == "-" else Path(name).read_bytes()
    except (OSError, ValueError) as error:  # a name with a NUL
        raise click.BadParameter(f"{name} cannot be read: {error}") from error
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = 1 + error.object.count(b"\n", 0, error.start)
        raise click.BadParameter(f"{name}, line {line}: this is not UTF-8; save it so.") from error
    try:
        ids = frozenset(filter(None, map(str.strip, _ids(text))))
    except csv.Error as error:
        raise click.BadParameter(f"{name} is no table that can be read: {error}.") from error
    if not ids:
        raise click.BadParameter(f"{name} holds no id; write one a line.")
    return ids


def _ids(text: str) -> list[str]:
    """Return what stands in the column `image_id`, as in a package's `photos.csv`; of what has none, its lines."""
    first = text.partition("\n")[0]
    for delimiter in ",;\t":  # as spreadsheets save it
        heads = [head.strip().strip('"') for head in first.split(delimiter)]
        if "image_id" in heads:
            column = heads.index("image_id")
            # strict: a quotation mark that nothing ends would take the rows behind it
            lines = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
            return [line[column] for line in list(lines)[1:] if len(line) > column]
    return text.splitlines()


def _require_text(place: Path) -> None:
    """Refuse a path that is not UTF-8: it could be neither recorded nor printed.

    Raises:
        UsageError: It is not.
    """
    try:
        str(place).encode()
    except UnicodeEncodeError as error:
        shown = os.fsencode(place).decode("utf-8", "backslashreplace")
        cure = "choose a name and folders of plain letters"
        raise UsageError(f"{shown} is no text in UTF-8", cure) from error


@click.command()
@click.argument("event_id", required=False, type=event_number)
@click.argument("dest", required=False, type=click.Path(path_type=Path, readable=False))
@click.option(
    "--variant", "variants", type=click.Choice(VARIANTS), multiple=True,
    help="Only this one; may be given again. Without it the configured ones.",
)  # fmt: skip
@click.option(
    "--day", "days", callback=_read_day, multiple=True, metavar="YYYY-MM-DD",
    help="Only this day, in the event's zone; may be given again.",
)  # fmt: skip
@click.option(
    "--from", "start", callback=_read_moment, metavar="TIME",
    help="Only from this day or hour on, such as 2026-01-19T06:00.",
)  # fmt: skip
@click.option(
    "--to", "end", callback=_read_moment, metavar="TIME", help="Only to the end of this day, or before this hour."
)  # fmt: skip
@click.option(
    "--bib", "bibs", callback=_read_bibs, multiple=True,
    help="Only photos of this bib; asks the service. May be given again.",
)  # fmt: skip
@click.option(
    "--ids", callback=_read_ids, metavar="FILE", help="Only these photos: an id a line, or a photos.csv; - is standard input."
)  # fmt: skip
@click.option(
    "--photographer", "photographers", multiple=True, metavar="NAME",
    help="Only photos by this one (EXIF Artist, else the camera's serial number); may be given again.",
)  # fmt: skip
@click.option(
    "--since", metavar="last|BAG_ID", help="Only what is new or changed since that package."
)
@click.option(
    "--split-by", type=click.Choice(["photographer", "day"]), help="One package each, in the folder DEST."
)  # fmt: skip
@click.option(
    "--names", type=click.Choice(["id", "time"]), default="id", help="How photos are called; time: by capture."
)  # fmt: skip
@click.option(
    "--format", "form", type=click.Choice(["folder", "zip"]), default="folder", help="What the package is."
)  # fmt: skip
@click.option(
    "--volume-size", callback=_read_size, metavar="SIZE", help="Cut it into volumes of at most, such as 4GB."
)  # fmt: skip
@click.option(
    "--link", is_flag=True, help="Hard links instead of copies: an edit in the package changes the mirror."
)  # fmt: skip
@click.option(
    "--allow-incomplete", is_flag=True, help="Also if photos are missing; lists them in it."
)
@click.option("--dry-run", is_flag=True, help="Say what would go in; write nothing.")
@click.option(
    "--list",
    "listing",
    is_flag=True,
    help="Say what was delivered, where and when; without EVENT_ID of every event.",
)
@click.option("--json", is_flag=True, help="Print one JSON object.")
@takes(API, PLACE)
@click.pass_obj
def deliver(  # noqa: PLR0913  click hands over one argument an option
    run: Run,
    /,
    *,
    event_id: int | None,
    dest: Path | None,
    variants: tuple[Variant, ...],
    days: tuple[str, ...],
    start: tuple[str, int | None] | None,
    end: tuple[str, int | None] | None,
    bibs: tuple[str, ...],
    ids: frozenset[str] | None,
    photographers: tuple[str, ...],
    since: str | None,
    split_by: Literal["photographer", "day"] | None,
    names: Literal["id", "time"],
    form: Literal["folder", "zip"],
    volume_size: int | None,
    link: bool,
    allow_incomplete: bool,
    dry_run: bool,
    listing: bool,
    json: bool,
    **flags: object,
) -> int:  # fmt: skip
    """Make a package of an event's photos that needs neither a network nor this program.

    DEST is the package: a folder or zip that must not be there yet. It has a gallery (index.html) and a checker
    (verify.py). An interrupted delivery goes on where it stopped when the same command is run again.
    """
    if listing:
        from ninepic_mirror.cli.packages import tell  # noqa: PLC0415  what a usage error need not wait for

        config = read_config(run.console, flags, local=True)
        return tell(run.console, config, flags, event_id, json=json)
    if event_id is None or dest is None:
        raise UsageError(
            "no event or no destination is named",
            "name both, such as: deliver 456 /media/disk/marathon; or give --list",
        )
    if link and form == "zip":
        raise UsageError("--link makes no zip", "leave out one of them")
    from ninepic_mirror.cli.order import Order  # noqa: PLC0415  as above
    from ninepic_mirror.cli.shipment import Shipment  # noqa: PLC0415  as above
    from ninepic_mirror.delivery.plan import is_safe, stem_of  # noqa: PLC0415  as above
    from ninepic_mirror.progress import plain  # noqa: PLC0415  as above

    place = Path(os.path.abspath(dest))  # noqa: PTH100  resolve() would follow a link at its end
    if not place.name:
        raise UsageError(f"{dest} is no place for a package", "name the folder or zip to make")
    _require_text(place)
    if form == "zip" and split_by is None and not is_safe(stem_of(place.name)):
        text = f"{plain(place.name)} is no name for a zip: it would unpack elsewhere than into a folder of its own"
        raise UsageError(text, "choose one of plain letters, such as marathon.zip")
    config = read_config(run.console, flags, local=not bibs)
    order = Order(
        event_id, place, tuple(one for one in VARIANTS if one in variants), days, start, end, bibs, ids, photographers,
        since, split_by, names, form, volume_size, link, allow_incomplete, dry_run, json, flags,
        read_key(run.console, config.api) if bibs else None,
    )  # fmt: skip
    return run.signals.run(
        lambda stopping: Shipment.run(run.console, config, order, stopping), gentle=True
    )
