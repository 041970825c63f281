"""Whether the daemon is alive in earnest: its event loop runs, and every pass under way gets somewhere (RELIABILITY L13).

A watchdog that is fed by a timer alone is fed by a daemon whose passes hang, too. Nothing here reads a clock or waits.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Hashable, Mapping

# The longest that one step of a pass may take without a sign of life. As long as the longest Retry-After that is
# obeyed (DESIGN §8), and above all that is bounded: an answer's head, a photo's silence, the pause before a retry. What
# is not bounded is a disk: one that syncs for minutes is slow, not stuck, and a restart would only make it begin again.
PATIENCE: Final = 900.0


@dataclass(frozen=True, slots=True)
class Sample:
    """What the daemon is at, at one moment.

    Args:
        now: Seconds on the monotonic clock.
        passes: Every pass under way → whatever changes when it gets somewhere: its requests, retries, files, bytes,
            steps. A pass that waits for a disk, for its turn or for its next time is not under way.
        waits_until: Until when an origin asked to be left alone, on the same clock; None: none did.
    """

    now: float
    passes: Mapping[Hashable, Hashable] = field(default_factory=dict)
    waits_until: float | None = None


class Pulse:
    """Judges one sample after the other.

    Args:
        patience: Seconds for which a pass may show no sign of life.
    """

    def __init__(self, patience: float = PATIENCE) -> None:
        self._patience = patience
        self._seen: dict[Hashable, tuple[Hashable, float]] = {}

    def stuck(self, sample: Sample) -> list[Hashable]:
        """Return the passes that have shown no sign of life for too long; none: all is well.

        One pass that hangs counts however well others do: nobody else would notice it.
        """
        waits = sample.waits_until is not None and sample.now < sample.waits_until
        seen: dict[Hashable, tuple[Hashable, float]] = {}
        for one, progress in sample.passes.items():
            before = self._seen.get(one)
            # Patience begins anew after a wait: what was waited for has to come first.
            fresh = before is None or before[0] != progress or waits
            seen[one] = (progress, sample.now if before is None or fresh else before[1])
        self._seen = seen
        return [one for one, (_, since) in seen.items() if sample.now - since > self._patience]
