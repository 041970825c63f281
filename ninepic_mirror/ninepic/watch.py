"""The times and rates of one exchange, judged twice a second from outside (DESIGN §7, Bodies; RELIABILITY N9).

A timeout set and cleared round each read costs as much as the read. Instead the reader leaves two marks, which cost
nothing: that it waits, and how many bytes came. Whoever looks, at a steady beat, adds up the rest. A beat that comes
late (the machine was suspended, a thread held the interpreter) counts as one beat: it is not the sender's fault.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from ninepic_mirror.ninepic.limits import Limits

BEAT: Final = 0.5  # seconds between two looks: fine enough for limits of 15 s and more


def beat_of(limits: Limits) -> float:
    """Return the seconds between two looks; more often where a test makes a limit short."""
    return min(BEAT, limits.silence / 4, limits.head / 4, limits.rate_window / 4)


class Watch:
    """What is known of the exchange under way on one connection.

    Attributes:
        waiting: The reader waits for bytes now. Set by the reader.
        received: Bytes of the body so far. Counted by the reader.
    """

    __slots__ = (
        "_allowed",
        "_in_head",
        "_limits",
        "_seen",
        "_silent",
        "_waited",
        "_window_began",
        "_window_waited",
        "received",
        "waiting",
    )

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self.begin_head()

    def begin_head(self) -> None:
        """A request is being sent."""
        self.waiting = False
        self.received = 0
        self._in_head = True
        self._waited = 0.0

    def begin_body(self, length: int, received: int) -> None:
        """The head came.

        Args:
            length: The body's bytes.
            received: Those of them that came along with the head.
        """
        self._in_head = False
        self.received = self._seen = self._window_began = received
        self._waited = self._silent = self._window_waited = 0.0
        self._allowed = self._limits.deadline(length)

    def look(self, seconds: float) -> str | None:
        """Judge one more beat of `seconds`; return what is wrong, for people, None when nothing is."""
        if self._in_head:  # also while we cannot send: nobody reads what we ask
            self._waited += seconds
            is_late = self._waited > self._limits.head
            return f"no answer in {self._limits.head:.0f} s" if is_late else None
        if not self.waiting:
            return None  # our own disk's time
        self._waited += seconds
        self._window_waited += seconds
        self._silent = self._silent + seconds if self.received == self._seen else 0.0
        self._seen = self.received
        return self._judge()

    def _judge(self) -> str | None:
        limits = self._limits
        if self._silent > limits.silence:
            return f"{self.received} bytes, then nothing for {self._silent:.0f} s"
        if self._waited > self._allowed:
            return f"{self.received} bytes in {self._waited:.0f} s, which is too slow"
        if self._window_waited >= limits.rate_window:
            if self.received - self._window_began < limits.rate * self._window_waited:
                return f"{self.received} bytes, slower than {limits.rate:.0f} bytes a second"
            self._window_waited, self._window_began = 0.0, self.received
        return None
