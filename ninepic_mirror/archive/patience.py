"""How long a file that could not be had is left alone by a patient pass: the daemon's growing pauses (DESIGN §7).

A pass that a person typed tries every file again. The daemon's does so one minute after the first failure, two after
the second, and so on up to a day: a photo that is gone for good must not be asked for every half minute for months.
"""

from __future__ import annotations

import time
from typing import Final

_FIRST: Final = 60  # seconds after the first failure
_MOST: Final = 86_400

# Of a row of `files`, with one parameter, as `clock` returns it. Eleven doublings are more than a day. A failure in the
# future is none to wait for: the clock was wrong then, perhaps by years.
IS_RESTING: Final = f"""(files.state = 'failed'
    AND ? - coalesce((SELECT coalesce(ended_at, started_at) FROM passes WHERE passes.id = files.queued), 0)
    BETWEEN 0 AND min({_MOST}, {_FIRST} << min(max(attempts, 1) - 1, 11)) - 1)"""


def clock(*, patient: bool) -> int:
    """Return the moment that `IS_RESTING` compares with: now, or, for the impatient, one at which nothing rests."""
    return int(time.time()) if patient else 1 << 62
