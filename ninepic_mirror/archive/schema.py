"""The manifest's tables (a public format: docs/manifest.md) and how older ones are brought forward."""

from __future__ import annotations

from typing import Final

VERSION_1: Final = """
CREATE TABLE meta (
    key TEXT PRIMARY KEY,
    value TEXT NOT NULL                -- JSON
) WITHOUT ROWID;

CREATE TABLE photos (
    image_id TEXT PRIMARY KEY,
    hour INTEGER,                      -- start of the UTC hour, epoch seconds; NULL: undated
    taken INTEGER,                     -- start of the smallest window that named it; NULL: undated
    position INTEGER,                  -- order within that window, from 0
    width INTEGER,
    height INTEGER,
    first_seen INTEGER NOT NULL,
    last_seen INTEGER NOT NULL,
    gone_since INTEGER,                -- NULL while the service lists it
    reading INTEGER NOT NULL,          -- the last reading of any listing that named it
    window_reading INTEGER NOT NULL,   -- the last reading of a timeline window that named it, 0: none
    missed INTEGER NOT NULL DEFAULT 0, -- 1: a whole reading of its listing did not name it any more
    misplaced INTEGER NOT NULL DEFAULT 0 -- 1: its files may stand in a folder that is no longer right
) WITHOUT ROWID;
CREATE INDEX photos_by_taken ON photos (taken, position);
CREATE INDEX photos_missed ON photos (image_id) WHERE missed;
CREATE INDEX photos_misplaced ON photos (image_id) WHERE misplaced;
CREATE INDEX photos_gone ON photos (gone_since) WHERE gone_since IS NOT NULL;

CREATE TABLE files (
    image_id TEXT NOT NULL,
    variant TEXT NOT NULL,
    path TEXT,                         -- relative to the event folder, with /
    folder TEXT,                       -- the folder part of path
    url TEXT,                          -- without a query; NULL when the address needs one
    size INTEGER,                      -- bytes
    xxh3_128 TEXT,                     -- lower-case hex
    sha256 TEXT,                       -- lower-case hex
    etag TEXT,
    last_modified TEXT,
    state TEXT NOT NULL CHECK (state IN ('pending', 'present', 'failed', 'gone', 'forgotten')),
    attempts INTEGER NOT NULL DEFAULT 0, -- passes that failed since it was last had
    error TEXT,
    fetched_at INTEGER,
    queued INTEGER NOT NULL DEFAULT 0, -- the last pass that tried to fetch it
    moving_to TEXT,                    -- a move under way from path to here
    PRIMARY KEY (image_id, variant)
) WITHOUT ROWID;
CREATE INDEX files_by_folder ON files (folder) WHERE folder IS NOT NULL;
CREATE INDEX files_wanted ON files (image_id, variant) WHERE state IN ('pending', 'failed');
CREATE INDEX files_by_hash ON files (xxh3_128) WHERE state = 'present';
CREATE INDEX files_moving ON files (image_id) WHERE moving_to IS NOT NULL;

CREATE TABLE hours (
    start INTEGER PRIMARY KEY,         -- of the UTC hour, epoch seconds
    reported INTEGER NOT NULL,         -- photos that timeline/days reported when it was listed
    listed INTEGER NOT NULL,           -- distinct photos that its listing named
    listed_at INTEGER NOT NULL,
    repeated INTEGER NOT NULL,         -- rows that named a photo again
    cut INTEGER NOT NULL,              -- seconds after start at which the local hour changes; 0: not cut
    pass INTEGER NOT NULL              -- the pass that listed it
);

CREATE TABLE folders (
    path TEXT PRIMARY KEY,             -- relative to the event folder
    mtime_ns INTEGER                   -- when its names were last compared; NULL: to be compared
) WITHOUT ROWID;

CREATE TABLE sums (
    folder TEXT PRIMARY KEY,           -- a top-level folder of the layout
    stale INTEGER NOT NULL,            -- 1: its SHA256SUMS does not say what the manifest says
    filled INTEGER NOT NULL            -- 1: it holds files, so a SHA256SUMS should stand
) WITHOUT ROWID;

CREATE TABLE named (
    path TEXT PRIMARY KEY,             -- relative to the event folder; no row is present there
    sha256 TEXT NOT NULL               -- what a SHA256SUMS that was found here says of it
) WITHOUT ROWID;

CREATE TABLE passes (
    id INTEGER PRIMARY KEY,
    started_at INTEGER NOT NULL,
    ended_at INTEGER,                  -- NULL: under way, or cut off
    kind TEXT NOT NULL,                -- quick, partial, full, day or variant
    whole INTEGER,                     -- 1: every listed photo was present in every variant
    report TEXT                        -- JSON: what sync --json prints of it
);

CREATE TABLE deliveries (
    id INTEGER PRIMARY KEY,
    bag_id TEXT NOT NULL UNIQUE,
    predecessor TEXT,                  -- the bag that this one adds to
    destination TEXT NOT NULL,
    made_at INTEGER NOT NULL,
    files INTEGER NOT NULL,
    bytes INTEGER NOT NULL
);
"""

# Rows that nobody has verified yet are not in the index: a first pass pays nothing for it. By folder after the time, so
# that what one run has verified is read again in the order in which it lies on the disk.
VERSION_2: Final = """
ALTER TABLE files ADD COLUMN verified_at INTEGER; -- when the run of `verify` began that last read it and found it right
CREATE INDEX files_verified ON files (verified_at, folder) WHERE verified_at IS NOT NULL;
"""

VERSION_3: Final = """
CREATE TABLE forgotten (
    digest TEXT PRIMARY KEY,           -- SHA-256 of the salt in `meta` and the photo's id
    forgotten_at INTEGER NOT NULL,
    erased INTEGER NOT NULL            -- 1: nothing of the id is left in free pages or in the log
) WITHOUT ROWID;
"""

VERSION_4: Final = """
CREATE TABLE cameras (
    image_id TEXT PRIMARY KEY,
    sha256 TEXT NOT NULL,              -- of the file that this was read from
    photographer TEXT,                 -- EXIF Artist, else the serial number of the camera's body; NULL: neither
    shot_at TEXT                       -- EXIF DateTimeOriginal: the camera's own time, ISO 8601; NULL: none
) WITHOUT ROWID;

ALTER TABLE deliveries ADD COLUMN run TEXT;              -- the same for all packages of one command
ALTER TABLE deliveries ADD COLUMN label TEXT;            -- the photographer or day that it is for; NULL: not split
ALTER TABLE deliveries ADD COLUMN form TEXT NOT NULL DEFAULT 'folder'; -- or zip
ALTER TABLE deliveries ADD COLUMN photos INTEGER NOT NULL DEFAULT 0;
ALTER TABLE deliveries ADD COLUMN volumes INTEGER NOT NULL DEFAULT 1;

CREATE TABLE delivered (
    delivery INTEGER NOT NULL,         -- deliveries.id
    image_id TEXT NOT NULL,
    variant TEXT NOT NULL,
    sha256 TEXT NOT NULL,
    PRIMARY KEY (delivery, image_id, variant)
) WITHOUT ROWID;
CREATE INDEX delivered_by_photo ON delivered (image_id);
"""

# What was written last of SHA256SUMS, NULL where that is not known: another one that stands there shows that the manifest
# is an older copy, or that it was altered.
VERSION_5: Final = """
ALTER TABLE files ADD COLUMN doubted INTEGER NOT NULL DEFAULT 0; -- 1: nothing that stands here is taken for it
ALTER TABLE sums ADD COLUMN sha256 TEXT;      -- of the SHA256SUMS itself
ALTER TABLE sums ADD COLUMN size INTEGER;
ALTER TABLE sums ADD COLUMN mtime_ns INTEGER;
"""

MIGRATIONS: Final[tuple[str, ...]] = (VERSION_1, VERSION_2, VERSION_3, VERSION_4, VERSION_5)
"""Entry n brings a manifest from version n to n + 1; each runs in one transaction."""
