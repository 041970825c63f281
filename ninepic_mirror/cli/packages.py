"""What is said of packages: `deliver --list`, and the last lines of a delivery."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from msgspec import structs

from ninepic_mirror.cli import cures, mirrors
from ninepic_mirror.cli.outcome import Code, fail, worst
from ninepic_mirror.cli.summary import count, titled
from ninepic_mirror.delivery import catalogue
from ninepic_mirror.errors import MirrorError
from ninepic_mirror.progress import format_size, plain

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ninepic_mirror.cli.console import Console
    from ninepic_mirror.config import Config
    from ninepic_mirror.delivery.catalogue import Delivery
    from ninepic_mirror.delivery.selection import Lack

SHOWN: Final = 10  # lines of one list


def tell(
    console: Console,
    config: Config,
    flags: dict[str, object],
    event_id: int | None,
    *,
    json: bool,
) -> int:
    """Print which packages were made of an event, or of every event that is mirrored; return the exit code.

    Raises:
        NotMirroredError: There is no such mirror.
        StorageError: There is no mirror root, or the manifest of the one event cannot be read.
    """
    root = mirrors.root_of(config)
    there = mirrors.require_root(root)
    entries: list[dict[str, object]] = []
    codes: list[int] = [Code.WHOLE]
    for number in there if event_id is None else [event_id]:
        try:
            with (
                cures.told(console, config, flags, number),
                mirrors.opened(root, number) as (manifest, _),
            ):
                made, name = catalogue.deliveries(manifest), manifest.meta("name")
        except MirrorError as error:
            if event_id is not None:
                raise
            codes.append(fail(console, error))  # it does not hide what the others have
            entries.append({"event_id": number, "packages": [], "error": str(error)})
            continue
        packages = [as_json(one) for one in made]
        entries.append({"event_id": number, "name": name, "packages": packages, "error": None})
        if not json:
            for line in _told(
                number, name if isinstance(name, str) else None, made, alone=event_id is not None
            ):
                console.print(line)
    if json:
        console.document = {"events": entries}
    return worst(codes)


def _told(number: int, name: str | None, made: Sequence[Delivery], *, alone: bool) -> Iterator[str]:
    if not made:
        yield f"nothing of event {number} was delivered yet"
        return
    if not alone:
        yield f"{titled(name, number)}:"
    yield from map(_line, made)


def as_json(made: Delivery) -> dict[str, object]:
    """Return a package as `--json` prints it."""
    found: dict[str, object] = structs.asdict(made)
    return found | {"predecessors": list(made.predecessors)}


def _line(made: Delivery) -> str:
    # in the machine's own zone: a person reads it
    when = datetime.fromtimestamp(made.made_at, UTC).astimezone().strftime("%Y-%m-%d %H:%M")
    text = f"{when}  {made.bag_id}  {contents(made)}  {made.destination}"
    text += f"  for {made.label}" if made.label is not None else ""
    text += f"  since {' '.join(made.predecessors)}" if made.predecessors else ""
    return plain(text)


def contents(made: Delivery) -> str:
    """Return what is in a package, in a few words."""
    text = f"{count(made.photos, 'photo')}, {count(made.files, 'file')}, {format_size(made.bytes)}"
    kind = "zip" if made.form == "zip" else "folder"
    return text + (f", {made.volumes} volumes ({kind})" if made.volumes > 1 else f" ({kind})")


def lines(title: str, made: Delivery) -> Iterator[str]:
    """Yield the lines that end a delivery."""
    for_ = f" for {made.label}" if made.label is not None else ""
    yield plain(f"{title}{for_}: {contents(made)}: {made.destination}")
    yield f"  bag {made.bag_id}; whoever has it opens index.html, and checks it with: python3 verify.py"


def lacks(lacking: Sequence[Lack]) -> Iterator[str]:
    """Yield what is not in the mirror, a screenful of it."""
    for one in lacking[:SHOWN]:
        what = " ".join(filter(None, (one.image_id, one.variant)))
        yield plain(f"  {what}: {one.reason}" if what else f"  {one.reason}")
    if len(lacking) > SHOWN:
        yield f"  … and {len(lacking) - SHOWN:,} more: --json lists them all"
