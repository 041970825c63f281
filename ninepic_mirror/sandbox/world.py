"""The state of a sandbox: events, keys, links, faults, and what was asked of it. No sockets."""

from __future__ import annotations

import hmac
import time
from collections import Counter, deque
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Final
from urllib.parse import quote, urlencode

from ninepic_mirror.sandbox.events import Event
from ninepic_mirror.sandbox.faults import Faults
from ninepic_mirror.sandbox.pictures import Gallery

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from ninepic_mirror.sandbox.specs import EventSpec

REMEMBERED: Final = 100_000  # requests; the counters go on beyond it


@dataclass(slots=True)
class Seen:
    """One request that reached the sandbox.

    Args:
        origin: `api` or `photos`.
        method: As sent.
        path: Decoded.
        query: As sent.
        headers: Names in lower case; shared between equal requests, so not to be changed.
        status: What was answered; 0 while there is no answer, and where the connection ended without one.
        sent: Bytes of the answer's body, faults of the wire not counted.
    """

    origin: str
    method: str
    path: str
    query: str
    headers: dict[str, str]
    status: int = 0
    sent: int = 0


class World:
    """Everything that a sandbox serves, to be changed while it is served.

    Args:
        specs: The events.
        org_id: The organisation that owns them and the keys.
        keys: API keys that are accepted.
        seed: Decides which requests meet faults.
        link_lifetime: Seconds that a presigned link lives (API.md: about 1 hour).
        clock: Tells the time that presigned links count by, epoch seconds.
    """

    def __init__(
        self,
        specs: Iterable[EventSpec] = (),
        *,
        org_id: int = 903,
        keys: Iterable[str] = ("test-key",),
        seed: int = 1,
        link_lifetime: float = 3600,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.org_id = org_id
        self.keys = set(keys)
        self.control_keys = frozenset(self.keys)  # a revoked key still steers the sandbox itself
        self.link_lifetime = link_lifetime
        self.clock = clock
        self.gallery = Gallery()
        self.events = {spec.event_id: Event(spec, self.gallery) for spec in specs}
        self.faults = Faults(seed)
        self.api_url = ""
        self.photos_url = ""
        self.crashes: list[Exception] = []
        self._seen: deque[Seen] = deque(maxlen=REMEMBERED)
        self._counts: Counter[str] = Counter()
        # from the seed, so that the links of two equal sandboxes are equal
        self._secret = f"links of sandbox {seed}".encode()

    @property
    def requests(self) -> list[Seen]:
        """The requests that reached either origin, oldest first, the last 100,000; not those that steer the sandbox."""
        return list(self._seen)

    def count(self, origin: str) -> int:
        """Return how many requests an origin saw since the start or `clear_requests`."""
        return self._counts[origin]

    def clear_requests(self) -> None:
        """Forget every request and set the counters to 0."""
        self._seen.clear()
        self._counts.clear()

    def note(self, seen: Seen) -> None:
        """Remember a request."""
        self._seen.append(seen)
        self._counts[seen.origin] += 1

    def event(self, event_id: int) -> Event:
        """Return an event to look at or to change.

        Raises:
            KeyError: There is none of this number.
        """
        return self.events[event_id]

    def add_event(self, spec: EventSpec) -> Event:
        """Let an event appear, in place of another of its number."""
        self.events[spec.event_id] = event = Event(spec, self.gallery)
        return event

    def remove_event(self, event_id: int) -> None:
        """Take an event away: the API answers 404, the photo origin too."""
        del self.events[event_id]

    def revoke(self, key: str) -> None:
        """Deactivate a key, as can be done at any time (API.md, Basics)."""
        self.keys.discard(key)

    def presign(self, event_id: int, image_id: str) -> str:
        """Return an address of an original that works until its lifetime is over."""
        path = f"/originals/{event_id}/{quote(image_id, safe='', errors='surrogatepass')}.jpg"
        expires = str(int(self.clock() + self.link_lifetime))
        return f"{self.photos_url}{path}?" + urlencode(
            {
                "X-Amz-Expires": expires,
                "X-Amz-Signature": self.signature(event_id, image_id, expires),
            }
        )

    def signature(self, event_id: int, image_id: str, expires: str) -> str:
        """Return what a presigned link of this photo must carry."""
        text = f"{event_id}\n{image_id}\n{expires}".encode(errors="surrogatepass")
        return hmac.new(self._secret, text, "sha256").hexdigest()


@lru_cache(maxsize=1024)
def header_map(raw: tuple[tuple[bytes, bytes], ...]) -> dict[str, str]:
    """Return headers by lower-case name; equal ones share a map, which keeps 100,000 requests small."""
    return {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in raw}
