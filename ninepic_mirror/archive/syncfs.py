"""syncfs(2), which Python lacks."""

from __future__ import annotations

import ctypes
import os
from functools import cache


def syncfs(descriptor: int) -> None:
    """Bring all of a file system to the disk (Linux only).

    Raises:
        OSError: Something of it could not be written since the descriptor was opened.
    """
    if _libc().syncfs(descriptor):
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))


@cache
def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)
