"""The values that everyone may use: what the service says, in our words (DESIGN §2). No I/O."""

from __future__ import annotations

from typing import Final, Literal, get_args

from msgspec import Struct, field

Variant = Literal["thumbnail", "large", "original"]
VARIANTS: Final[tuple[Variant, ...]] = get_args(Variant)

HOUR: Final = 3600  # seconds in one hour of the timeline


class Key:
    """The API key. It shows itself only to `reveal`, so that no log, error or repr carries it."""

    __slots__ = ("_secret", "is_credential", "source")

    def __init__(self, secret: str, source: str, *, is_credential: bool = False) -> None:
        self._secret = secret
        self.source = source
        """Where it was found, for people: a file, a variable, a command."""
        self.is_credential = is_credential
        """It is a credential of systemd's, which cannot change while the service runs."""

    def reveal(self) -> str:
        """Return the secret, for the one header that needs it."""
        return self._secret

    def __repr__(self) -> str:
        return f"Key(***, from {self.source})"


class Event(Struct, frozen=True):
    """One event as the service describes it (API.md, /events and /details)."""

    event_id: int
    name: str | None = None
    slug: str | None = None
    date: str | None = None
    """ISO 8601 without a zone, as given."""
    status: str | None = None


class Details(Struct, frozen=True):
    """An event with its flags."""

    event: Event
    timeline_search: bool
    flags: dict[str, bool] = field(default_factory=dict)
    """Every boolean of the answer by its name, `timeline_search` included."""


class Photo(Struct, frozen=True, gc=False):
    """One row of a listing. `image_id` is opaque; URLs are as given, not yet trusted."""

    image_id: str
    large_url: str | None
    thumbnail_url: str | None
    original_url: str | None = None
    width: int | None = None
    height: int | None = None

    def url(self, variant: Variant) -> str | None:
        """Return the address of a variant, None where the listing gives none."""
        if variant == "large":
            return self.large_url
        return self.thumbnail_url if variant == "thumbnail" else self.original_url


class Known(Struct, frozen=True, gc=False):
    """By what an origin tells whether a photo is still the one that is here.

    Args:
        etag: The `ETag` that came with it, None where it is not known.
        last_modified: The `Last-Modified` that came with it, likewise.
    """

    etag: str | None = None
    last_modified: str | None = None


class Window(Struct, frozen=True, gc=False):
    """`[start, end)` in epoch seconds."""

    start: int
    end: int


class Timeline(Struct, frozen=True):
    """The hours that hold photos, with their reported counts.

    Args:
        hours: Start of a UTC hour in epoch seconds → photos reported. Hours with no photo are left out.
        rejected: What could not be read, one line each, for people.
        notes: What was read but does not add up, for example a day whose `total` is not its hours' sum.
    """

    hours: dict[int, int]
    rejected: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


class Page(Struct, frozen=True):
    """One page of a listing.

    Args:
        photos: Rows in the order of the service; a repeated row stands twice.
        total: Photos in the whole listing, as this page reports it (0 for an empty one).
        has_next: Whether the service says that another page follows.
        rejected: Rows without a usable id, one line each, for people.
        traces: What is known of each of those rows, so that it is told apart wherever else it is listed.
    """

    photos: tuple[Photo, ...]
    total: int
    has_next: bool
    rejected: tuple[str, ...] = ()
    traces: tuple[str, ...] = ()


class Originals(Struct, frozen=True):
    """What `original-photos` answered for a batch of ids.

    Args:
        urls: `image_id` → presigned address (lives about an hour; never stored, never logged).
        failed: `image_id` → the service's reason.
        unmatched: Ids of the batch that the answer names nowhere: ask for each alone.
        strangers: Links that do not say which photo of the batch they are for, or name two of them.
        aliases: `image_id` → what else its link is called: the id of another photo there means that it is that one's.
        foreign: Ids whose link has a file name, suggested or of its path, that is not the photo's own, such as the
            camera's: whose it is shows only where all photos are known.
    """

    urls: dict[str, str]
    failed: dict[str, str]
    unmatched: tuple[str, ...] = ()
    strangers: int = 0
    aliases: dict[str, frozenset[str]] = field(default_factory=dict)
    foreign: frozenset[str] = frozenset()
