"""The files of a gallery, made from its rows. No I/O but reading the templates that are shipped in this package."""

from __future__ import annotations

import re
from functools import cache
from hashlib import sha256
from importlib.resources import files
from typing import TYPE_CHECKING, Final

from jinja2 import Environment, PackageLoader, StrictUndefined

from ninepic_mirror.gallery.columns import script, well_formed
from ninepic_mirror.gallery.rows import Gallery, Picture

if TYPE_CHECKING:
    from jinja2 import Template

__all__ = ["Gallery", "Picture", "render"]

SCRIPTS: Final = ("common.js", "photos.js", "grid.js", "histogram.js", "viewer.js", "gallery.js")
"""In the order in which they are loaded, after the data."""
STYLE: Final = "gallery.css"
# what steers the direction of text beyond the text itself (UAX #9, explicit formatting)
_STEERING: Final = re.compile("[\u202a-\u202e\u2066-\u2069]")


def render(gallery: Gallery) -> dict[str, str]:
    """Return a gallery's files by their paths relative to the page's folder.

    All are text, to be written as UTF-8. The same gallery gives the same files. Whatever a name holds is shown as text:
    pages are escaped, data is ASCII in a script, and only elements with a nonce may run, which no name can contain, as it
    is a hash over all of them.
    """
    data = script(gallery)
    seen = (data, gallery.title, gallery.organisation, gallery.zone, gallery.made_at, gallery.note)
    nonce = sha256(repr(seen).encode()).hexdigest()
    page = _template().render(
        gallery=gallery,
        count=len(gallery.pictures),
        scripts=("data.js", *SCRIPTS),
        style=STYLE,
        nonce=nonce,
    )
    static = {f"gallery/{name}": _static(name) for name in (STYLE, *SCRIPTS)}
    return {"index.html": page, "gallery/data.js": data, **static}


def isolated(text: str) -> str:
    """Return text for where no element can be: what stands around it keeps its direction."""
    return f"\u2068{_STEERING.sub('', text)}\u2069"


@cache
def _template() -> Template:
    environment = Environment(
        loader=PackageLoader("ninepic_mirror.gallery"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=lambda value: well_formed(value) if isinstance(value, str) else value,
    )
    environment.filters["isolated"] = isolated
    return environment.get_template("index.html")


@cache
def _static(name: str) -> str:
    return files("ninepic_mirror.gallery").joinpath("static", name).read_text("utf-8")
