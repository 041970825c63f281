"""A 9Pic of one hour that a test can bend where the sandbox cannot: no validators, no address, no `Date`, a clock of its own."""

from __future__ import annotations

import json
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from time import time
from typing import TYPE_CHECKING, ClassVar, Final
from urllib.parse import parse_qsl, urlsplit

from tests.shelf import SIX, jpeg

if TYPE_CHECKING:
    from collections.abc import Iterator

EVENT: Final = {
    "event_id": 456, "event_name": "Plain", "event_slug": "plain", "event_date": "2026-01-19", "status": "active",
    "cover_image": None, "event_enabled": True, "bib_search": False, "selfie_search": False, "name_search": False,
    "video_search": False, "video_selfie_search": False, "timeline_search": True,
}  # fmt: skip


@dataclass
class Plain:
    """What it serves; change it at will.

    Args:
        ids: Photos, all of one hour; their only variant is `large`.
        hidden: Those of which the listing gives no address.
        query: Behind each address.
        replaced: Those that are others than they were.
        validators: Whether photos come with an ETag.
        ahead: Seconds by which its clock is; None: it tells no time.
        url: Where it is.
        asked: The photos that were asked for, in order.
    """

    ids: list[str]
    hidden: set[str] = field(default_factory=set)
    replaced: set[str] = field(default_factory=set)
    query: str = ""
    validators: bool = True
    ahead: float | None = 0.0
    url: str = ""
    asked: list[str] = field(default_factory=list)

    @property
    def flags(self) -> list[str]:
        """The flags with which `sync` finds it."""
        return ["--org", "903", "--base-url", self.url, "--variant", "large"]

    def answer(self, path: str, query: dict[str, str]) -> object:
        """Return the `data` of an answer of the API."""
        if path.endswith("/details"):
            return EVENT
        if path.endswith("/timeline/days"):
            hour = {"hour": 6, "count": len(self.ids)}
            return {"days": [{"date": "2026-01-19", "total": len(self.ids), "hours": [hour]}]}
        is_here = int(query.get("from", SIX)) <= SIX < int(query.get("to", SIX + 1))
        ids = self.ids if is_here else []
        page, size = int(query["page"]), int(query["page_size"])
        pages = -(-len(ids) // size)
        return {
            "images": [self.item(one) for one in ids[(page - 1) * size : page * size]],
            "pagination": {
                "total": len(ids), "currentPage": page, "totalPages": pages, "hasNextPage": page < pages,
                "hasPreviousPage": page > 1, "page_size": size,
            },
        }  # fmt: skip

    def item(self, image_id: str) -> dict[str, object]:
        """Return a row of a listing."""
        url = None if image_id in self.hidden else f"{self.url}/photos/{image_id}{self.query}"
        return {
            "image_id": image_id, "img_url": url, "thumbnail_url": None, "original_url": None, "width": 4, "height": 3,
        }  # fmt: skip


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    plain: ClassVar[Plain]

    def do_GET(self) -> None:
        """Answer."""
        address = urlsplit(self.path)
        if not address.path.startswith("/photos/"):
            data = self.plain.answer(address.path, dict(parse_qsl(address.query)))
            whole = {"responseType": "success", "message": "", "data": data}
            self.send(json.dumps(whole).encode(), "application/json")
            return
        image_id = address.path.removeprefix("/photos/")
        self.plain.asked.append(image_id)
        content = f"{image_id}, another" if image_id in self.plain.replaced else image_id
        etag = f'"{content}"' if self.plain.validators else None
        if etag is not None and self.headers["If-None-Match"] == etag:
            self.send(None, "image/jpeg", etag)
        else:
            self.send(jpeg(content), "image/jpeg", etag)

    def send(self, body: bytes | None, kind: str, etag: str | None = None) -> None:
        """Send an answer; without a body, that nothing changed."""
        self.send_response_only(200 if body is not None else 304)
        if self.plain.ahead is not None:
            self.send_header("Date", formatdate(time() + self.plain.ahead, usegmt=True))
        if etag is not None:
            self.send_header("ETag", etag)
        if body is not None:
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body or b"")


@contextmanager
def serving(plain: Plain) -> Iterator[Plain]:
    """Serve it for the length of the block."""
    handler = type("Handler", (_Handler,), {"plain": plain})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        server.daemon_threads = True
        plain.url = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield plain
        finally:
            server.shutdown()
            thread.join()
