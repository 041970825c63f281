"""The C library's memory: set up where it can be, left alone elsewhere."""

from __future__ import annotations

import ctypes
import platform
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from ninepic_mirror.service.memory import be_frugal

if TYPE_CHECKING:
    from pathlib import Path

ARENAS = """
import ctypes, sys, threading
from ninepic_mirror.service.memory import be_frugal
if sys.argv[1] == "frugal":
    assert be_frugal()
libc = ctypes.CDLL(None)
libc.malloc.restype = libc.fopen.restype = ctypes.c_void_p
together = threading.Barrier(8)
def work():
    together.wait()
    assert libc.malloc(ctypes.c_size_t(50_000))
    together.wait()
threads = [threading.Thread(target=work) for _ in range(8)]
[one.start() for one in threads]; [one.join() for one in threads]
file = ctypes.c_void_p(libc.fopen(sys.argv[2].encode(), b"w"))
libc.malloc_info(0, file)
libc.fclose(file)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc has these settings")
def test_threads_share_one_arena(tmp_path: Path) -> None:
    """Eight threads that ask for memory at once make no arenas of their own, as they do without (malloc_info(3))."""
    arenas = {}
    for how in ("frugal", "as it comes"):
        words = [sys.executable, "-c", ARENAS, how, tmp_path / how]
        subprocess.run(words, check=True)
        arenas[how] = (tmp_path / how).read_text().count("<heap nr=")
    assert arenas["frugal"] == 1 < arenas["as it comes"]


@pytest.mark.parametrize("fault", [OSError, AttributeError])
def test_another_c_library_is_left_alone(
    monkeypatch: pytest.MonkeyPatch, fault: type[Exception]
) -> None:
    """Without `mallopt`, or without a library to ask, nothing is set up and nothing fails."""

    def refuse(_name: None) -> object:
        raise fault

    monkeypatch.setattr(ctypes, "CDLL", refuse)
    assert not be_frugal()
