"""An event on nginx: photos over https with an authority of our own, and the API's answers as files in front of it.

The API is rendered once, by hand from API.md, and served by the same nginx, so that what is measured is the client:
a sandbox written in Python would take more processor than any of those it serves. The photos are JPEGs as far as a
structure goes: real heads, and scans of random bytes, stuffed as T.81 §F.1.2.3 says, so that they cost what photos
cost to check.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import socket
import subprocess
import tempfile
import time
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Final

import trustme
from PIL import Image

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

ORG: Final = 903
EVENT: Final = 456
KEY: Final = "benchmark-key"
START: Final = 1_768_780_800  # 2026-01-19 00:00 UTC
HOUR: Final = 3600
PAGE: Final = 100  # rows a page
THUMBNAIL: Final = 18_000  # bytes, on the average, as in PERFORMANCE.md
LARGE: Final = 350_000

_NGINX: Final = """
daemon off; worker_processes 1; pid {folder}/pid; error_log {folder}/error.log;
events {{ worker_connections 1024; }}
http {{
  access_log off; sendfile on; tcp_nopush on; keepalive_requests 1000000; default_type image/jpeg;
  types {{ application/json json; }}
  client_body_temp_path {folder}/t1; proxy_temp_path {folder}/t2; fastcgi_temp_path {folder}/t3;
  uwsgi_temp_path {folder}/t4; scgi_temp_path {folder}/t5;
  ssl_certificate {folder}/cert.pem; ssl_certificate_key {folder}/cert.pem; ssl_session_cache shared:a:1m;
  server {{
    listen 127.0.0.1:{photos} ssl http2 backlog=1024; root {folder}/files;
  }}
  server {{
    listen 127.0.0.1:{plain} backlog=1024; root {folder}/files;
  }}
  server {{
    listen 127.0.0.1:{api} ssl; root {folder}/api;
    if ($http_x_api_key != "{key}") {{ return 403; }}
    location ~ ^/api/v1/ext/{org}/event/{event}/images$ {{ try_files /images-$arg_page_size-$arg_page.json =400; }}
    location ~ ^/api/v1/ext/{org}/event/{event}/timeline/images$ {{
      try_files /window-$arg_from-$arg_to-$arg_page.json =400;
    }}
    location ~ ^/api/v1/ext/{org}/event/{event}/timeline/days$ {{ try_files /days.json =400; }}
    location ~ ^/api/v1/ext/{org}/event/{event}/details$ {{ try_files /details.json =400; }}
  }}
}}
"""


@dataclass(frozen=True)
class Event:
    """What is served.

    Args:
        photos: How many.
        hours: Over how many hours they are spread.
        large: Bytes of a large file on the average; 0: no photos at all, only listings.
    """

    photos: int
    hours: int = 12
    large: int = LARGE

    def image_id(self, number: int) -> str:
        """Return the id of a photo."""
        return f"{number:08x}-1d05-5f2f-a9f9-{number * 7919 % 2**48:012x}"

    def numbers(self, hour: int) -> range:
        """Return the photos of an hour, by number."""
        share = -(-self.photos // self.hours)
        return range(min(hour * share, self.photos), min((hour + 1) * share, self.photos))


@dataclass(frozen=True)
class Origin:
    """An nginx that runs.

    Args:
        folder: Where its files lie.
        event: What it serves.
        photos: The port of the photos on 127.0.0.1, https with HTTP/1.1 and HTTP/2.
        plain: The same over http.
        api: The port of the API, https.
    """

    folder: Path
    event: Event
    photos: int
    plain: int
    api: int

    @property
    def authority(self) -> Path:
        """The certificate of the authority."""
        return self.folder / "ca.pem"

    def paths(self, kinds: Iterable[str] = ("large", "small")) -> list[str]:
        """Return the path of every photo on the server, a photo's files behind each other."""
        ids = map(self.event.image_id, range(self.event.photos))
        return [f"imgs/{EVENT}/{kind}/{one}.jpg" for one in ids for kind in kinds]

    def urls(self, kinds: Iterable[str] = ("large", "small"), port: int | None = None) -> list[str]:
        """Return the address of every photo."""
        return [f"https://127.0.0.1:{port or self.photos}/{path}" for path in self.paths(kinds)]

    def render(self, photos_port: int | None = None) -> None:
        """Write the API's answers.

        Args:
            photos_port: Where the photos' addresses point to, when not to this nginx itself.
        """
        base = f"https://127.0.0.1:{photos_port or self.photos}/imgs/{EVENT}"
        event, folder = self.event, self.folder / "api"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()

        def save(name: str, data: object) -> None:
            whole = {"responseType": "success", "message": "ok", "data": data}
            (folder / f"{name}.json").write_text(json.dumps(whole))

        def item(number: int) -> dict[str, object]:
            one = event.image_id(number)
            return {
                "img_url": f"{base}/large/{one}.jpg",
                "thumbnail_url": f"{base}/small/{one}.jpg",
                "image_id": one,
                "height": 1200,
                "width": 1800,
                "original_url": None,
            }

        def pages(name: str, numbers: range, size: int = PAGE) -> None:
            total = -(-len(numbers) // size)
            for page in range(1, total + 1):
                some = numbers[(page - 1) * size : page * size]
                pagination = {
                    "total": len(numbers),
                    "currentPage": page,
                    "totalPages": total,
                    "hasNextPage": page < total,
                    "hasPreviousPage": page > 1,
                    "page_size": size,
                }
                save(f"{name}-{page}", {"images": list(map(item, some)), "pagination": pagination})
                if size == 1:
                    break  # only the total is asked for

        flags = ("bib", "selfie", "name", "video", "video_selfie", "timeline")
        save(
            "details",
            {"event_id": EVENT, "event_name": "Benchmark", "event_slug": "benchmark", "status": "active"}
            | {"event_date": "2026-01-19T00:00:00", "cover_image": None, "event_enabled": True}
            | {f"{flag}_search": flag == "timeline" for flag in flags},
        )  # fmt: skip
        days: dict[str, list[dict[str, int]]] = {}
        for hour in range(event.hours):
            numbers, start = event.numbers(hour), START + hour * HOUR
            moment = time.gmtime(start)
            day = days.setdefault(time.strftime("%Y-%m-%d", moment), [])
            day.append({"hour": moment.tm_hour, "count": len(numbers)})
            pages(f"window-{start}-{start + HOUR}", numbers)
        counted = [
            {"date": date, "total": sum(hour["count"] for hour in hours), "hours": hours}
            for date, hours in days.items()
        ]
        save("days", {"days": counted})
        pages("images-1", range(event.photos), 1)
        pages(f"images-{PAGE}", range(event.photos))


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


@contextmanager
def serving(event: Event, *, pin: bool = False) -> Iterator[Origin]:
    """Run nginx over fresh files.

    Args:
        event: What to serve.
        pin: Keep nginx to the last processor.
    """
    folder = Path(tempfile.mkdtemp(prefix="ninepic-bench-"))
    folder.chmod(0o755)  # nginx's worker is another user
    try:
        _draw(folder / "files" / "imgs" / str(EVENT), event)
        authority = trustme.CA()
        authority.cert_pem.write_to_path(str(folder / "ca.pem"))
        authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(
            str(folder / "cert.pem")
        )
        origin = Origin(folder, event, free_port(), free_port(), free_port())
        origin.render()
        config = folder / "nginx.conf"
        names = {"folder": folder, "key": KEY, "org": ORG, "event": EVENT}
        ports = {"photos": origin.photos, "plain": origin.plain, "api": origin.api}
        config.write_text(_NGINX.format(**names, **ports))
        command = ["nginx", "-p", str(folder), "-c", str(config), "-e", str(folder / "error.log")]
        server = subprocess.Popen([*(pinned(-1) if pin else []), *command])
        try:
            wait_until_open(origin.api)
            yield origin
        finally:
            server.terminate()
            server.wait()
    finally:
        shutil.rmtree(folder)


def _draw(folder: Path, event: Event) -> None:
    """Write the photos."""
    source = random.Random(1)
    sizes = {"large": event.large, "small": event.large and THUMBNAIL}
    for kind, size in sizes.items():
        (folder / kind).mkdir(parents=True)
        if not size:
            continue
        head = _jpeg_head((1800, 1200) if kind == "large" else (360, 240))
        for number in range(event.photos):
            scan = source.randbytes(int(size * source.uniform(0.8, 1.2)))
            path = folder / kind / f"{event.image_id(number)}.jpg"
            path.write_bytes(head + scan.replace(b"\xff", b"\xff\x00") + b"\xff\xd9")


def _jpeg_head(size: tuple[int, int]) -> bytes:
    """Return a JPEG up to the beginning of its scan."""
    picture = BytesIO()
    Image.new("RGB", size).save(picture, "JPEG")
    whole = picture.getvalue()
    scan = whole.index(b"\xff\xda")
    return whole[: scan + 2 + int.from_bytes(whole[scan + 2 : scan + 4])]


def pinned(which: int) -> list[str]:
    """Return the words before a command that keep it to one processor."""
    return ["taskset", "--cpu-list", str(sorted(os.sched_getaffinity(0))[which])]


def wait_until_open(port: int) -> None:
    """Wait until somebody listens on the port."""
    for _ in range(200):
        with socket.socket() as sock:
            if sock.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise SystemExit("nginx does not start")
