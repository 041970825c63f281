"""One pass: compare an event with its mirror, and do the work that follows (DESIGN §6)."""
