"""The last words of a pass, for a person who is tired and has to believe them. Pure text."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ninepic_mirror.progress import format_size, plain

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from ninepic_mirror.sync.report import Failure, PassReport, Recheck

SHOWN: Final = 20  # failures; `status` shows every one
WATERMARK: Final = (
    "note: thumbnail and large files carry the service's watermark. The service has originals without it, too:"
    '\nadd "original" to [mirror] variants, or give --variant original.'
)
_BESIDE: Final = "note: thumbnail and large files carry the service's watermark, originals do not."


def watermark(variants: Collection[str]) -> str | None:
    """Return what is to be said of the files' watermark, None where no file carries one."""
    if "original" not in variants:
        return WATERMARK
    return _BESIDE if len(set(variants)) > 1 else None


def count(number: int, word: str) -> str:
    """Return `1 photo`, `2,000 photos`."""
    return f"{number:,} {word}{'' if number == 1 else 's'}"


def titled(name: str | None, event_id: int) -> str:
    """Return what an event is called in front of people: its name, where it is known, and its number."""
    return f"{plain(name)} (event {event_id})" if name else f"event {event_id}"


def summarize(report: PassReport, variants: Sequence[str], *, next_command: str) -> Iterator[str]:
    """Yield the lines that end a pass.

    Args:
        report: How it went.
        variants: The configured ones.
        next_command: Shows every failure.
    """
    title = titled(report.name, report.event_id) + _scope(report.scope)
    if report.whole:
        yield f"{title}: whole: everything is here: {_contents(report, variants)} in {report.folder}"
    else:
        yield from _lack(report, title, next_command)
    if report.repeated:
        verb = "repeats" if report.repeated == 1 else "repeat"
        yield f"  {count(report.repeated, 'row')} of the listing {verb} a photo: no file is lacking for it"
    if report.recheck is not None:
        yield from _rechecked(report.recheck)
    yield _work(report)


def _rechecked(found: Recheck) -> Iterator[str]:
    """Say what asking whether photos were replaced came to."""
    unasked = f"; {count(found.unasked, 'file')} could not be asked for" if found.unasked else ""
    stopped = "" if found.ended else "; it was stopped before every file was asked for"
    yield (
        f"  rechecked {count(found.asked, 'file')}: {found.unchanged + found.same:,} unchanged, {found.replaced:,} replaced,"
        f" {found.failed - found.unasked:,} not answered and kept{unasked}{stopped}"
    )
    for one in found.replacements[:SHOWN]:
        yield f"  {plain(one.image_id)} {one.variant} was replaced: {one.before} became {one.after}"
    if found.replaced > SHOWN:
        yield f"  … and {found.replaced - SHOWN:,} more replaced; --json and the log name them"
    yield from map(describe, found.failures[:SHOWN])
    if found.failed > SHOWN:
        yield f"  … and {found.failed - SHOWN:,} more not answered; --json names them"


def _scope(scope: dict[str, object] | None) -> str:
    """Return what a pass was limited to, so that "whole" is not taken for the event's."""
    if scope is None:
        return ""
    variants = scope["variants"]
    parts = [str(scope["day"])] if scope["day"] else []
    parts += [" and ".join(variants)] if isinstance(variants, list) else []
    return f", {', '.join(parts)} only"


def _contents(report: PassReport, variants: Sequence[str]) -> str:
    undated = f", {report.undated:,} of them undated" if report.undated else ""
    undated += f", {report.forgotten:,} to be forgotten" if report.forgotten else ""
    return f"{count(report.photos, 'photo')}{undated}, {count(report.present, 'file')} ({' and '.join(variants)})"


def _lack(report: PassReport, title: str, next_command: str) -> Iterator[str]:
    # Before everything was listed the number of missing files is not known, and any number would be taken for it.
    if report.stopped:
        listed = "before everything was listed"
        if report.total is not None:
            listed = f"{report.photos:,} of {count(report.total, 'photo')} were listed so far"
        yield f"{title}: NOT whole: stopped: {listed}:"
    elif report.missing > 0 or report.nameless:
        lacking = []
        if report.missing > 0:
            verb = "is" if report.missing == 1 else "are"
            lacking.append(f"{count(report.missing, 'file')} {verb} missing")
        if report.nameless:
            verb = "has" if report.nameless == 1 else "have"
            lacking.append(f"{count(report.nameless, 'photo')} {verb} no usable id")
        yield f"{title}: NOT whole: {' and '.join(lacking)}:"
    else:
        yield f"{title}: NOT whole: it is not certain that everything is here:"
    yield from map(describe, report.failures[:SHOWN])
    # A screenful: a thousand lines would push the verdict out of sight.
    hidden = len(report.failures) - SHOWN
    if hidden > 0:
        yield f"  … and {hidden:,} more: {next_command}"
    # What a stopped pass never came to has no failure; without this line the numbers would not add up.
    untried = report.missing - sum(failure.image_id is not None for failure in report.failures)
    # Stopped before everything was listed, what is missing is known only roughly.
    if untried > 0 and not report.stopped:
        yield f"  {count(untried, 'file')} had not been tried when the pass ended"
    verb = "is" if report.present == 1 else "are"
    yield f"  {count(report.present, 'file')} of {count(report.photos, 'photo')} {verb} safe in {report.folder or '?'}"
    is_of_day = report.scope is not None and report.scope["day"]
    if is_of_day and report.missing == 0 and not report.stopped:
        yield "  next: the same command without --day; it looks at the whole event, and fetches what is missing and nothing else"
    else:
        yield "  next: run the same command again; it fetches what is missing and nothing else"


def describe(failure: Failure) -> str:
    """Return one failure as a line."""
    reason = plain(failure.error)
    if failure.image_id is None:
        return f"  {reason}"
    return f"  {plain(failure.image_id)} {failure.variant}: {reason}"


def _work(report: PassReport) -> str:
    # Zeros are left out: what is told should be worth reading.
    done = [
        f"{count(report.downloaded, 'file')} fetched, {format_size(report.bytes_downloaded)}"
        if report.downloaded
        else "nothing was fetched"
    ]
    done += [
        f"{number:,} {word}"
        for number, word in (
            (report.linked, "linked"),
            (report.moved, "moved"),
            (report.gone, "gone from the event"),
            (report.failed, "failed"),
        )
        if number
    ]
    asked = f"{count(report.api_requests, 'API request')} and {report.photo_requests:,} for photos"
    retries = (
        f", {count(report.retries, 'retry').replace('retrys', 'retries')}" if report.retries else ""
    )
    return f"  {', '.join(done)}; {asked}{retries}; {duration(report.seconds)}"


def duration(seconds: float) -> str:
    """Return a time for people, such as `4.2 s`, `3 min 20 s` or `2 h 5 min`."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"
