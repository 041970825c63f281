#!/usr/bin/env python3
"""Checks the photos beside this file: is everything here, and as it was when it was delivered?

    python3 verify.py

It needs Python 3.8 or newer and nothing else, no network, and changes nothing. It ends with 0 when all is well, else
with 1. What it checks is a BagIt bag (RFC 8493); `sha256sum -c manifest-sha256.txt` checks the photos, too.
"""

from __future__ import annotations

import hashlib
import os
import sys

MANIFEST = "manifest-sha256.txt"
TAG_MANIFEST = "tagmanifest-sha256.txt"
MISSING = "missing.csv"
BUFFER = 1 << 20
SHOWN = 50  # lines of one kind
# What desktops drop into folders: no harm, and nothing of ours.
LITTER = {
    ".ds_store", ".localized", ".apdisk", ".volumeicon.icns", "icon\r", ".directory", "thumbs.db", "ehthumbs.db",
    "desktop.ini", ".spotlight-v100", ".trashes", ".fseventsd", ".temporaryitems", ".documentrevisions-v100",
    "system volume information", "$recycle.bin", ".trash", "__pycache__",
}  # fmt: skip
LITTER_STARTS = ("._", ".trash-")
EXTRA = "EXTRA       "


def main() -> int:
    """Check the folder in which this file stands; return the exit code."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")  # a console that cannot show a name
    bag = os.path.dirname(os.path.abspath(__file__))
    try:
        return check(bag)
    except KeyboardInterrupt:
        print("\nStopped before the end: nothing is known of the rest.")
        return 1


def check(bag: str) -> int:
    """Check a bag and say what is wrong with it; return the exit code."""
    faults: list[str] = []
    read_declaration(bag, faults)
    tags = read_manifest(bag, TAG_MANIFEST, faults)
    photos = read_manifest(bag, MANIFEST, faults)
    if tags and MANIFEST not in tags:
        faults.append(f"INCOMPLETE  {TAG_MANIFEST} does not vouch for {MANIFEST}")
    print(f"Checking {len(photos):,} photo files …", flush=True)
    size = 0
    for number, (path, digest) in enumerate(sorted({**tags, **photos}.items()), 1):
        show_progress(number, len(tags) + len(photos))
        fault, read = check_file(bag, path, digest)
        size += read if path in photos else 0
        if fault:
            faults.append(fault)
    show_progress(0, 0)
    faults += [] if faults else check_total(bag, size, len(photos))
    extra, litter = look_around(bag, photos, tags)
    faults += [f"{EXTRA}{show(path)} does not belong here" for path in extra]
    for path in litter[:SHOWN]:
        print(f"ignored     {show(path)} (left by a desktop; harmless)")
    code = verdict(faults, len(photos), size)
    for line in limits(bag, tags):
        print(line)
    return code


def limits(bag: str, tags: dict[str, str]) -> list[str]:
    """Say what this delivery is not, however good it is."""
    said = []
    number, _, count = label(bag, "Bag-Count").partition(" of ")
    if count.strip() not in ("", "1", "?"):
        which = show(f"{number} of {count}")
        said.append(f"This is volume {which}; each of them is checked by itself.")
    if MISSING in tags:
        said.append(f"Photos that were to be in it and could not be had are listed in {MISSING}.")
    return said


def verdict(faults: list[str], count: int, size: int) -> int:
    """Say the last word; return the exit code."""
    for line in faults[:SHOWN]:
        print(line)
    if len(faults) > SHOWN:
        print(f"… and {len(faults) - SHOWN:,} more")
    if faults:
        print(f"\nNOT GOOD: {len(faults):,} fault{'s' * (len(faults) != 1)}. {cure(faults)}")
        return 1
    print(
        f"\nALL GOOD: {count:,} photo files, {size / 1e6:,.1f} MB, exactly as they were delivered."
    )
    return 0


def cure(faults: list[str]) -> str:
    """Say what to do about faults."""
    extra = [line for line in faults if line.startswith(EXTRA)]
    if len(extra) == len(faults):
        return "All that was delivered is here, and as it was. Move away what does not belong here."
    return "Ask for these files again" + (", and move away the extra ones." if extra else ".")


def read_declaration(bag: str, faults: list[str]) -> None:
    """Look whether this is a bag at all."""
    text = read_text(bag, "bagit.txt")
    if text is None:
        faults.append(
            "MISSING     bagit.txt: this folder is no delivery, or not all of it was copied"
        )
    elif not text.startswith("BagIt-Version: 1.0\nTag-File-Character-Encoding: UTF-8"):
        faults.append("DAMAGED     bagit.txt")


def read_text(bag: str, name: str) -> str | None:
    """Return the text of a file, None where it cannot be read."""
    try:
        with open(os.path.join(bag, name), encoding="utf-8-sig", newline="") as file:
            return file.read().replace("\r\n", "\n")
    except (OSError, ValueError):
        return None


def read_manifest(bag: str, name: str, faults: list[str]) -> dict[str, str]:
    """Return path and hash of each file that a manifest names."""
    found: dict[str, str] = {}
    text = read_text(bag, name)
    if text is None:
        faults.append(f"MISSING     {name}: without it nothing can be said of the files")
        return found
    for line in text.split("\n"):
        digest, _, path = line.partition(" ")
        path = path.lstrip(" *").replace("%0A", "\n").replace("%0D", "\r").replace("%25", "%")
        if not line:
            continue
        if len(digest) != 64 or not is_inside(path):
            faults.append(f"DAMAGED     {name} has a line that is none: {show(line[:80])}")
        else:
            found[path] = digest.lower()
    return found


def is_inside(path: str) -> bool:
    """Whether a path leads to no place outside of the bag."""
    parts = path.replace("\\", "/").split("/")
    return bool(path) and not os.path.isabs(path) and ".." not in parts and ":" not in parts[0]


def check_file(bag: str, path: str, digest: str) -> tuple[str, int]:
    """Read one file; return what is wrong with it, empty for nothing, and its bytes."""
    place = os.path.join(bag, *path.split("/"))
    read = 0
    hashed = hashlib.sha256()
    if not os.path.lexists(place):
        return "MISSING     " + show(path), 0
    if os.path.islink(place) or not os.path.isfile(place):
        return f"DAMAGED     {show(path)} is no file any more", 0
    try:
        with open(place, "rb") as file:
            while True:
                chunk = file.read(BUFFER)
                if not chunk:
                    break
                hashed.update(chunk)
                read += len(chunk)
    except OSError as error:
        return f"DAMAGED     {show(path)} cannot be read: {error.strerror}", read
    return ("" if hashed.hexdigest() == digest else "DAMAGED     " + show(path)), read


def look_around(
    bag: str, photos: dict[str, str], tags: dict[str, str]
) -> tuple[list[str], list[str]]:
    """Return the files that nobody named, and those that a desktop left."""
    known = {*photos, *tags, TAG_MANIFEST}
    extra: list[str] = []
    litter: list[str] = []
    for folder, folders, names in os.walk(bag):
        above = os.path.relpath(folder, bag).replace(os.sep, "/")
        prefix = "" if above == "." else above + "/"
        litter += [prefix + name + "/" for name in folders if is_litter(name)]
        folders[:] = sorted(name for name in folders if not is_litter(name))
        links = [name for name in folders if os.path.islink(os.path.join(folder, name))]
        for name in sorted(names + links):
            path = prefix + name
            if path not in known:
                (litter if is_litter(name) else extra).append(path)
    return extra, litter


def is_litter(name: str) -> bool:
    """Whether a desktop drops files of this name."""
    return name.lower() in LITTER or name.lower().startswith(LITTER_STARTS)


def check_total(bag: str, size: int, count: int) -> list[str]:
    """Compare bytes and number of files with what the label says."""
    value, here = label(bag, "Payload-Oxum"), f"{size}.{count}"
    if value in ("", here):
        return []
    return [f"INCOMPLETE  bag-info.txt says {show(value)} bytes.files, here are {here}"]


def label(bag: str, wanted: str) -> str:
    """Return what the label of the bag says, empty for nothing."""
    for line in (read_text(bag, "bag-info.txt") or "").split("\n"):
        key, _, value = line.partition(":")
        if key.strip() == wanted:
            return value.strip()
    return ""


def show_progress(number: int, count: int) -> None:
    """Tell a person who waits how far it is; (0, 0) takes it away."""
    if sys.stdout.isatty() and (number % 50 == 0 or number == count):
        sys.stdout.write(f"\r{number} of {count}   " if count else "\r" + " " * 30 + "\r")
        sys.stdout.flush()


def show(path: str) -> str:
    """Return a name as one line that cannot steer a terminal."""
    return "".join(c if c.isprintable() else f"\\u{ord(c):04x}" for c in path)


if __name__ == "__main__":
    sys.exit(main())
