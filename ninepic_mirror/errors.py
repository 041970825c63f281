"""Every error of this package, sorted by what the caller does with it.

    MirrorError
    ├── StopProgramError      nothing else can succeed either: end, with the cure
    │   ├── UsageError            (2) a command or filter that cannot be carried out
    │   ├── ConfigError           (2) all faults of the configuration at once
    │   ├── KeyRefusedError       (3) the API does not accept the key
    │   ├── UnreachableError      (5) an origin gave no good answer for too long
    │   ├── CertificateError      (5) an origin's certificate is not trusted
    │   ├── StorageError          (6) the local disk cannot be used
    │   │   └── LostError         (6) a manifest, or the folder of one, is lost
    │   └── RootBusyError         (7) another daemon keeps this mirror root
    ├── StopEventError        this event ends, the others go on
    │   ├── EventNotFoundError    (9) the service does not know the event
    │   ├── NotMirroredError      (9) the mirror root holds no such event
    │   ├── EventBusyError        (7) another instance holds the event
    │   ├── DamagedError          (8) a file of the mirror is not what was recorded
    │   ├── ChangedError          (4) a photo left the mirror while it was delivered
    │   ├── FeatureOffError       the event's organiser switched this listing off
    │   └── RejectedError         (1) the API calls our request malformed: a bug here
    │       └── RedirectedError   (5) it sends us elsewhere, where the key must not go
    ├── PhotoError            this photo failed for this pass, the others go on
    ├── UnchangedError        no fault: the photo is still the one that is here
    └── PassingError          try the same request again, later

The number is the exit code that `cli` gives the cause (DESIGN §3). An error carries fields; its text is one line
without keys, query strings or headers, and the command line adds the next step.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime


class MirrorError(Exception):
    """The base of every error that this package raises on purpose."""


class StopProgramError(MirrorError):
    """Nothing else of this run can succeed."""


class StopEventError(MirrorError):
    """This event cannot go on; others can."""


@dataclass(eq=False)
class UsageError(StopProgramError):
    """A command, option or filter that cannot be carried out.

    Args:
        text: What is wrong.
        cure: What the operator does next.
    """

    text: str
    cure: str = ""

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True)
class Problem:
    """One fault of the configuration.

    Args:
        where: The file, variable or option that holds it, for people.
        key: The dotted key, for example `mirror.connections`; empty when the whole file is meant.
        text: What is wrong.
        cure: What to write instead.
    """

    where: str
    key: str
    text: str
    cure: str

    def __str__(self) -> str:
        key = f"{self.key}: " if self.key else ""
        return f"{self.where}: {key}{self.text}; {self.cure}"


@dataclass(eq=False)
class ConfigError(StopProgramError):
    """The configuration has faults; every one of them is listed."""

    problems: tuple[Problem, ...]

    def __str__(self) -> str:
        return "\n".join(str(problem) for problem in self.problems)


@dataclass(eq=False)
class KeyRefusedError(StopProgramError):
    """The API origin answered 401 or 403 (API.md, Errors).

    Never raised for a 403 of the photo origin, which is that photo's failure.
    """

    status: int
    org_id: int
    event_id: int | None = None

    def __str__(self) -> str:
        if self.status == 401:
            return "the service saw no API key (401)"
        where = f"organisation {self.org_id}"
        where += f", event {self.event_id}" if self.event_id is not None else ""
        return f"the service refused the API key for {where} (403)"


@dataclass(eq=False)
class UnreachableError(StopProgramError):
    """An origin gave no good answer for as long as we may wait.

    Args:
        origin: Scheme, host and port.
        seconds: How long there was no good answer.
        detail: The last fault seen.
        until: Epoch seconds at which the origin wants to be asked again, if it said so.
    """

    origin: str
    seconds: float
    detail: str
    until: float | None = None

    def __str__(self) -> str:
        if self.until is not None:
            # in the machine's own zone, for a person, and with its offset, for a script
            until = (
                datetime.fromtimestamp(self.until, UTC).astimezone().isoformat(timespec="seconds")
            )
            return f"{self.origin} wants to be left alone until {until}; it answered: {self.detail}"
        if self.seconds < 1:
            return f"no good answer from {self.origin}: {self.detail}"
        return f"no good answer from {self.origin} for {self.seconds:.0f} s; the last fault: {self.detail}"


@dataclass(eq=False)
class CertificateError(StopProgramError):
    """TLS could not be verified. Never retried: an answer would not be the service's."""

    origin: str
    detail: str

    def __str__(self) -> str:
        return f"the certificate of {self.origin} is not trusted: {self.detail}"


@dataclass(eq=False)
class StorageError(StopProgramError):
    """The local disk cannot be used: full, read-only, I/O error, marker missing, foreign owner.

    Args:
        path: What was touched.
        text: What is wrong with it.
        cure: What the operator does next.
    """

    path: str
    text: str
    cure: str = ""

    def __str__(self) -> str:
        return f"{self.path}: {self.text}"


@dataclass(eq=False)
class LostError(StorageError):
    """An event's manifest is lost or damaged, or its folder is gone while the manifest stands in `state_dir`.

    Args:
        event_id: The event.
        repair: As in `DamagedError`; `cure` says what it does.
    """

    event_id: int = 0
    repair: str = ""


@dataclass(eq=False)
class RootBusyError(StopProgramError):
    """Another daemon keeps the mirror root.

    Args:
        root: The mirror root.
        holder: The process id that its marker names, if it could be read.
    """

    root: str
    holder: int | None

    def __str__(self) -> str:
        who = f"process {self.holder}" if self.holder is not None else "another process"
        return f"the mirror root {self.root} is kept by the daemon of {who}"


@dataclass(eq=False)
class EventNotFoundError(StopEventError):
    """The API answered 404 for the event."""

    event_id: int

    def __str__(self) -> str:
        return f"event {self.event_id} is not known to the service (404)"


@dataclass(eq=False)
class NotMirroredError(StopEventError):
    """No event of this number is mirrored in the root.

    Args:
        event_id: The event.
        root: The mirror root.
        sync: The command that mirrors it, where the config file says that it ought to be here.
    """

    event_id: int
    root: str
    sync: str = ""

    def __str__(self) -> str:
        return f"event {self.event_id} is not mirrored in {self.root}"


@dataclass(eq=False)
class EventBusyError(StopEventError):
    """Another instance holds the event's lock.

    Args:
        event_id: The event.
        holder: The process id that the lock file names, if it could be read.
    """

    event_id: int
    holder: int | None

    def __str__(self) -> str:
        who = f"process {self.holder}" if self.holder is not None else "another process"
        return f"event {self.event_id} is held by {who}"


@dataclass(eq=False)
class DamagedError(StopEventError):
    """A file of the mirror is missing, or not what its row says, so that nothing can be delivered of it.

    Args:
        event_id: The event.
        path: Relative to its folder.
        text: What is wrong with it.
        repair: The command that has it again, as whoever started this one would type it; empty: it is not known.
    """

    event_id: int
    path: str
    text: str
    repair: str = ""

    def __str__(self) -> str:
        return f"{self.path} in the mirror of event {self.event_id} {self.text}"


@dataclass(eq=False)
class ChangedError(StopEventError):
    """A photo was taken out of the mirror, or is being fetched anew, while it was to be delivered."""

    event_id: int
    path: str

    def __str__(self) -> str:
        return f"{self.path} left the mirror of event {self.event_id} while it was delivered"


@dataclass(eq=False)
class FeatureOffError(StopEventError):
    """The API answered 403 for a call that an event's flag can switch off, while the key is good."""

    event_id: int
    call: str

    def __str__(self) -> str:
        return f"event {self.event_id}: {self.call} is switched off for this event (403)"


@dataclass(eq=False)
class RejectedError(StopEventError):
    """The API answered 400, 422 or another status that says that our request is wrong. Not retried."""

    call: str
    status: int

    def __str__(self) -> str:
        return f"{self.call} was rejected with status {self.status}"


@dataclass(eq=False)
class RedirectedError(RejectedError):
    """The API answered 3xx. Followed, it would hand the key to whatever host it names (RELIABILITY N5)."""

    def __str__(self) -> str:
        return f"{self.call} was answered with a redirect ({self.status}), which is not followed"


@dataclass(eq=False)
class PhotoError(MirrorError):
    """This photo cannot be had in this pass, however often it is asked for.

    Args:
        reason: One line for people, without query strings.
        status: What the photo origin answered, None for another cause.
        expired: It said that the address has expired.
        distrust: The origin's certificate is not trusted, though others were found good.
    """

    reason: str
    status: int | None = None
    expired: bool = False
    distrust: CertificateError | None = None

    def __str__(self) -> str:
        return self.reason


class UnchangedError(MirrorError):
    """The origin's answer to a conditional request: the photo is still the one that is here (304)."""


@dataclass(eq=False)
class PassingError(MirrorError):
    """A fault that may pass: ask again (DESIGN §8).

    Args:
        reason: One line for people, without query strings.
        refused: The origin asked us to slow down: a 429, or a 503 with `Retry-After`.
        retry_after: Seconds that the origin asked for, already clamped; None when it did not say.
        html: The body was a web page where a photo or JSON was due (a captive portal does this).
        restart: The part that is on disk is of no use any more: ask for the whole file next time.
    """

    reason: str
    refused: bool = False
    retry_after: float | None = None
    html: bool = False
    restart: bool = False

    def __str__(self) -> str:
        return self.reason
