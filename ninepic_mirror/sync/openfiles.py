"""Fits the number of connections to the process's limit on open files (DESIGN §7, Memory; RELIABILITY L11)."""

from __future__ import annotations

import resource
from typing import Final

_EACH: Final = (
    4  # a connection's socket, one that is idle at another origin, and file and folder of its photo
)
_OTHERS: Final = (
    48  # manifest, locks, folders, standard streams, and the syncs of a batch in eight threads
)


def affordable(connections: int) -> int:
    """Return how many connections this process can have, at most `connections` and at least one.

    The soft limit is raised first as far as the hard one lets us (getrlimit(2)).
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = connections * _EACH + _OTHERS
    if soft == resource.RLIM_INFINITY or soft >= needed:
        return connections
    if hard == resource.RLIM_INFINITY or hard > soft:
        soft = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return max(1, min(connections, (soft - _OTHERS) // _EACH))
