"""`python -m ninepic_mirror` is the command `ninepic-mirror`."""

from ninepic_mirror.cli import main

if __name__ == "__main__":
    main()
