"""The daemon: which event is due when, what it tells systemd, monitors and people, what it runs."""
