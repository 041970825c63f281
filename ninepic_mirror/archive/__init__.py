"""The local side: what is on disk, where it belongs, and how it gets there safely."""
