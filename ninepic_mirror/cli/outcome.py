"""Exit codes (DESIGN §3) and, for every error, what the operator does next. The only place that knows them."""

from __future__ import annotations

import time
import traceback
from enum import IntEnum
from typing import TYPE_CHECKING, Final

from ninepic_mirror.errors import (
    CertificateError,
    ChangedError,
    ConfigError,
    DamagedError,
    EventBusyError,
    EventNotFoundError,
    FeatureOffError,
    KeyRefusedError,
    LostError,
    MirrorError,
    NotMirroredError,
    PassingError,
    RedirectedError,
    RejectedError,
    RootBusyError,
    StopProgramError,
    StorageError,
    UnreachableError,
    UsageError,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ninepic_mirror.cli.console import Console


class Code(IntEnum):
    """How a command ends; the same for every command."""

    WHOLE = 0
    FAULT = 1
    USAGE = 2
    KEY = 3
    NOT_WHOLE = 4
    UNREACHABLE = 5
    STORAGE = 6
    BUSY = 7
    DAMAGED = 8
    NOT_FOUND = 9


# Of several causes the one that a script most needs to know (DESIGN §3).
_ORDER: Final = (
    Code.KEY,
    Code.STORAGE,
    Code.FAULT,
    Code.UNREACHABLE,
    Code.BUSY,
    Code.NOT_FOUND,
    Code.DAMAGED,
    Code.NOT_WHOLE,
    Code.USAGE,
)

_CODES: Final[tuple[tuple[type[Exception], Code], ...]] = (
    (UsageError, Code.USAGE),
    (ConfigError, Code.USAGE),
    (KeyRefusedError, Code.KEY),
    (UnreachableError, Code.UNREACHABLE),
    (CertificateError, Code.UNREACHABLE),
    (PassingError, Code.UNREACHABLE),
    (StorageError, Code.STORAGE),
    (EventNotFoundError, Code.NOT_FOUND),
    (NotMirroredError, Code.NOT_FOUND),
    (EventBusyError, Code.BUSY),
    (RootBusyError, Code.BUSY),
    (DamagedError, Code.DAMAGED),
    (ChangedError, Code.NOT_WHOLE),
    (FeatureOffError, Code.NOT_WHOLE),
    (RedirectedError, Code.UNREACHABLE),
    (RejectedError, Code.FAULT),
)

_CURES: Final[tuple[tuple[type[Exception], str], ...]] = (
    (CertificateError, "name the authority that signed it with --ca-file, or api.ca_file; TLS is always verified"),
    (EventNotFoundError, "look at the number; `ninepic-mirror events` lists the events of your organisation"),
    (NotMirroredError, "`ninepic-mirror status` lists what is; look at --root too"),
    (EventBusyError, "wait until it has ended, or stop it; then run this again"),
    (RootBusyError, "stop the one that runs (systemctl stop ninepic-mirror), or give this one a root of its own"),
    (ChangedError, "run this again when the pass beside it has ended; what is written already is kept"),
    (FeatureOffError, "ask the organiser to switch it on"),
    (RedirectedError, "look at api.base_url, and whether this network asks for a login first; then run this again"),
    (RejectedError, "look at api.base_url; if it is right, this is a bug: please report it with the output of -vv"),
    (PassingError, "the service is in trouble: try again later; what is here stays"),
)  # fmt: skip


def code_of(error: Exception) -> Code:
    """Return the exit code of an error; what is not known is a fault of ours."""
    return next((code for kind, code in _CODES if isinstance(error, kind)), Code.FAULT)


def cure_of(error: Exception) -> str:
    """Return what the operator does next; empty when the error's own text says it."""
    if isinstance(error, LostError | DamagedError):
        return _repair_cure(error)
    if isinstance(error, UsageError | StorageError):
        return error.cure
    if isinstance(error, NotMirroredError) and error.sync:
        return f"mirror it: {error.sync}; or take it out of [events] ids"
    if isinstance(error, KeyRefusedError):
        return _key_cure(error)
    if isinstance(error, UnreachableError):
        return _origin_cure(error)
    return next((cure for kind, cure in _CURES if isinstance(error, kind)), "")


def _repair_cure(error: LostError | DamagedError) -> str:
    repair = error.repair or f"ninepic-mirror verify {error.event_id} --repair"
    if isinstance(error, LostError):
        return f"{error.cure}: {repair}"
    return f"fetch it again: {repair}; then run this again, it goes on where it stopped"


def _key_cure(error: KeyRefusedError) -> str:
    # 401: no key arrived. 403: it arrived and is no good, or not for this event (API.md, Errors).
    if error.status == 401:
        return "set $NINEPIC_API_KEY, or name a key_file; `ninepic-mirror check` says which key is used"
    whose = (
        "the organisation's number"
        if error.event_id is None
        else "the numbers of organisation and event"
    )
    return f"look at {whose}, and whether the key is active and this organisation's; `ninepic-mirror check` helps"


def _origin_cure(error: UnreachableError) -> str:
    # In the machine's own zone: a person reads it.
    if error.until is not None:
        when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(error.until))
        return f"the service wants to be left alone until {when}; run this again then"
    return "look at the network, at api.base_url and api.proxy; then run this again, it goes on where it stopped"


def worst(codes: Iterable[int]) -> int:
    """Return the code of a run from those of its events."""
    seen = set(codes)
    return next((code for code in _ORDER if code in seen), Code.WHOLE)


def is_of_one_event(error: MirrorError) -> bool:
    """Say whether an error concerns the event alone at which it came, so that others can still be looked at.

    Nothing is asked or looked at here: a storage error is taken for one folder's, see `sweep` for when it is not.
    """
    if isinstance(error, KeyRefusedError):
        # 401 says that no key arrived, which no other event changes (API.md, Errors).
        return error.event_id is not None and error.status != 401
    # Two folders of one event, or a day without photos: usage errors that are one event's.
    return isinstance(error, UsageError | StorageError) or not isinstance(error, StopProgramError)


def report(console: Console, error: Exception) -> Code:
    """Say what is wrong and what to do next; return the exit code."""
    # All faults at once, each with its cure: nobody should have to run this five times.
    if isinstance(error, ConfigError):
        for problem in error.problems:
            key = f"{problem.key}: " if problem.key else ""
            console.error(f"{problem.where}: {key}{problem.text}", problem.cure)
    else:
        console.error(str(error), cure_of(error))
    return code_of(error)


def fail(console: Console, error: Exception) -> Code:
    """Report any error: one of ours with its cure, another as the bug that it is, with its traceback."""
    if isinstance(error, MirrorError):
        return report(console, error)
    console.crash("".join(traceback.format_exception(error)))
    console.error("unexpected fault", "this is a bug: please report it with the lines above")
    return Code.FAULT
