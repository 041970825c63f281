"""Pages from rows: a gallery that a browser opens from a disk, without a network and without this program."""
