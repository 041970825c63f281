"""Pages from rows: a gallery that any browser opens from a disk, without a network and without this program."""
