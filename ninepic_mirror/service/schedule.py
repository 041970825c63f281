"""When each event is looked at again: a plain decision on the clock's numbers (written next)."""
