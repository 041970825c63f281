"""A synthetic 9Pic on loopback, for the demo, the tests, and whoever wants to try things without an account.

It is written by hand from the service's documentation and shares no code with the client, so that a misreading by one of
them shows (DESIGN §9).
"""

from __future__ import annotations

from ninepic_mirror.sandbox.events import Event, Photo
from ninepic_mirror.sandbox.faults import KINDS, Fault, Faults
from ninepic_mirror.sandbox.server import Sandbox, serve
from ninepic_mirror.sandbox.specs import EventSpec
from ninepic_mirror.sandbox.world import Seen

__all__ = ["KINDS", "Event", "EventSpec", "Fault", "Faults", "Photo", "Sandbox", "Seen", "serve"]
