"""Mirror whole 9Pic photo events to disk, keep them fresh, and believe the result."""

__version__ = "0.1.0"
