"""How long a patient pass leaves alone what did not help the last time: the daemon's growing pauses (DESIGN §6.3, §7).

A pass that a person typed tries every file again, and lists again whatever lists less than the service reports. The
daemon's does so one minute after the first time, two after the second, and so on up to a day: a photo that is gone for
good, or a count that is wrong for good, must not be asked for every half minute for months.

And in which order a pass comes to what others did not have: what failed by itself last of all, so that good photos never
stand behind bad ones.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated, Final

from msgspec import Meta

from ninepic_mirror.archive.manifest import now

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from ninepic_mirror.archive.manifest import Manifest
    from ninepic_mirror.model import Variant

_FIRST: Final = 60  # seconds after the first failure
_MOST: Final = 86_400

# Of a row of `files`, with one parameter, as `clock` returns it. Eleven doublings are more than a day. A failure in the
# future is none to wait for: the clock was wrong then, perhaps by years.
IS_RESTING: Final = f"""(files.state = 'failed'
    AND ? - coalesce((SELECT coalesce(ended_at, started_at) FROM passes WHERE passes.id = files.queued), 0)
    BETWEEN 0 AND min({_MOST}, {_FIRST} << min(max(attempts, 1) - 1, 11)) - 1
    AND coalesce(error, '') NOT LIKE 'not asked for yet:%')"""

# How the error of a file begins that was not asked for at all; and of one that may be as soon as more is known of others.
UNASKED: Final = "not asked for: "
EARLY: Final = "not asked for yet: "

# Of a row of `files`: whether it failed by itself, when it was last asked for.
HAS_FAILED: Final = "(error IS NOT NULL AND error NOT LIKE 'not asked for%')"


def note_unasked(manifest: Manifest, files: Iterable[tuple[str, Variant, str]]) -> None:
    """Record what failed without having been asked for; of what had failed by itself, that stays known.

    Args:
        manifest: The manifest.
        files: `image_id`, variant and reason, which begins with `UNASKED` or `EARLY`.
    """
    with manifest.transaction():
        manifest.change_each(
            f"UPDATE files SET state = 'failed', attempts = attempts + ?, error = iif({HAS_FAILED}, error, ?)"
            " WHERE image_id = ? AND variant = ? AND state <> 'present'",
            [
                (not reason.startswith(EARLY), reason, image_id, variant)
                for image_id, variant, reason in files
            ],
        )


def note_doubtful(manifest: Manifest, files: Iterable[tuple[str, Variant, str]]) -> None:
    """Record what was tried in vain when the origin was given up: the next pass comes to it last of all.

    No attempt is counted, and it rests not: the origin may be at fault, and not the photo.

    Args:
        manifest: The manifest.
        files: `image_id`, variant and reason.
    """
    with manifest.transaction():
        manifest.change_each(
            "UPDATE files SET state = 'failed', error = ?, queued = 0"
            " WHERE image_id = ? AND variant = ? AND state <> 'present'",
            [(reason, image_id, variant) for image_id, variant, reason in files],
        )


def any_failed(manifest: Manifest) -> tuple[str, str]:
    """Return `image_id` and variant of any file that could not be had, another one each time; empty where there is none.

    Where so many fail that a pass does not come to all of them, each gets its turn.
    """
    statement = (
        "SELECT image_id, variant FROM files WHERE state = 'failed' ORDER BY random() LIMIT 1"
    )
    found = manifest.rows(statement)
    return (str(found[0][0]), str(found[0][1])) if found else ("", "")


_CONTRADICTIONS: Final = (
    "contradictions"  # in `meta`: subject → what is reported, how often in vain, when last
)
_Kept = dict[
    Annotated[str, Meta(pattern="^(?:event|-?[0-9]+)$")],
    tuple[int, Annotated[int, Meta(ge=1)], int],
]


def note_contradictions(
    manifest: Manifest, found: Mapping[str, int], kept: Collection[str] = ()
) -> None:
    """Keep account of what lists less than the service reports, however often it is listed.

    Args:
        manifest: The manifest.
        found: Subject (an hour's start, or "event") → what the service reports, of what this pass listed in vain.
        kept: Subjects that it left alone, and of which nothing else is known.
    """
    old = _contradictions(manifest)
    new = {subject: old[subject] for subject in kept if subject in old}
    for subject, reported in found.items():
        before = old.get(subject)
        times = before[1] + 1 if before is not None and before[0] == reported else 1
        new[subject] = (reported, times, now())
    if new != old:
        manifest.set_meta({_CONTRADICTIONS: new or None})


def is_settled(manifest: Manifest, subject: str, reported: int) -> bool:
    """Whether two passes in a row or more listed a subject in vain, while this was reported of it."""
    before = _contradictions(manifest).get(subject)
    return before is not None and before[0] == reported and before[1] > 1


def resting(manifest: Manifest) -> dict[str, int]:
    """Return what need not be listed again yet: subject → what the service reported of it.

    What was noted by a clock that ran ahead does not rest until then.
    """
    moment = now()
    return {
        subject: reported
        for subject, (reported, times, at) in _contradictions(manifest).items()
        if at <= moment < at + min(_MOST, _FIRST << min(times - 1, 11))
    }


def _contradictions(manifest: Manifest) -> _Kept:
    return manifest.noted(_CONTRADICTIONS, _Kept) or {}


def clock(*, patient: bool) -> int:
    """Return the moment that `IS_RESTING` compares with: now, or, for the impatient, one at which nothing rests."""
    return int(time.time()) if patient else 1 << 62
