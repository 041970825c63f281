"""The C library's memory: set up where it can be, left alone elsewhere."""

from __future__ import annotations

import ctypes
import platform
import subprocess
import sys

import pytest

from ninepic_mirror.service.memory import be_frugal

FREED = """
import sys, threading
from ninepic_mirror.service.memory import be_frugal
be_frugal()
def resident():
    with open("/proc/self/status") as file:
        return int(next(line for line in file if line.startswith("VmRSS")).split()[1])
before = resident()
def work():
    kept = [bytearray(b"x" * 50_000) for _ in range(400)]
    kept.clear()
for _ in range(4):
    threads = [threading.Thread(target=work) for _ in range(8)]
    [one.start() for one in threads]; [one.join() for one in threads]
print(resident() - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc has these settings")
def test_what_threads_free_is_given_back() -> None:
    """Thirty-two threads that each held 20 MB leave no more than a few behind (in a process of its own)."""
    done = subprocess.run([sys.executable, "-c", FREED], capture_output=True, check=True)
    assert int(done.stdout) < 8_000


@pytest.mark.parametrize("fault", [OSError, AttributeError])
def test_another_c_library_is_left_alone(
    monkeypatch: pytest.MonkeyPatch, fault: type[Exception]
) -> None:
    """Without `mallopt`, or without a library to ask, nothing is set up and nothing fails."""

    def refuse(_name: None) -> object:
        raise fault

    monkeypatch.setattr(ctypes, "CDLL", refuse)
    assert not be_frugal()
