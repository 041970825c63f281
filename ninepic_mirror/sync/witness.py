"""A photo that is known to be had, asked for where others fail: are the faults theirs, or the photo origin's (DESIGN §7)?

some photos fail in a row as if somebody else answered, or nothing was answered for a while
→ ask, once, for one that came in this run, else for one that the manifest knows to be present, of the same origin if
  there is one
→ it comes, or is refused (404): the origin is itself, and what fails fails by itself
→ it does not, or none is known: it may be an outage, or a captive portal
"""

from __future__ import annotations

import math
from contextlib import suppress
from typing import TYPE_CHECKING

import trio

from ninepic_mirror.archive.content import SNIFF, ContentCheck
from ninepic_mirror.archive.listings import any_present
from ninepic_mirror.errors import CertificateError, PassingError, PhotoError
from ninepic_mirror.ninepic.pacing import AGAIN, PROBE

if TYPE_CHECKING:
    from ninepic_mirror.sync.context import Context, PhotoBody


class Witness:
    """What is asked for; shared by all passes of a run.

    Attributes:
        url: Of the last photo that came in this run. It may be signed, so it is shown to nobody.
    """

    def __init__(self) -> None:
        self.url: str | None = None
        self._one = trio.Lock()
        self._asked = -math.inf
        self._is_good = False  # how that was answered

    async def answers(self, context: Context, url: str) -> bool:
        """Say whether the origin is itself; who comes soon after it was asked goes by that answer.

        Args:
            context: The pass.
            url: Of a photo that failed.
        """
        with suppress(PassingError), trio.move_on_after(PROBE):
            await self.ask(context, url)
            return True
        return False

    async def ask(self, context: Context, url: str) -> None:
        """Ask, unless that was just done. No more is read of the photo than tells what it is.

        Args:
            context: The pass.
            url: Of a photo that failed.

        Raises:
            PassingError: Nothing came that only the origin would send, or no photo is known.
        """
        async with self._one:
            if trio.current_time() - self._asked < AGAIN:
                if self._is_good:
                    return
                raise PassingError("a photo that was had before was asked for just now, in vain")
            known = await self._known(context, url)
            if known is None:
                raise PassingError("no photo is known to be had")
            self._asked, self._is_good = trio.current_time(), False
            try:
                async with context.photos.stream(known, cap=context.limits.photo) as body:
                    await _look_at(body)
            except (PhotoError, CertificateError) as error:
                # Without a status it is no answer of the origin's: a strange type, redirect, length or certificate.
                if isinstance(error, CertificateError) or error.status is None:
                    raise PassingError(str(error)) from error
            self._is_good = True
            self.url = self.url or known

    async def _known(self, context: Context, url: str) -> str | None:
        """Return the address to ask for; another one the next time, should this one not be answered."""
        origin = "/".join([*url.split("/", 3)[:3], ""])
        last, self.url = self.url, None
        if last is not None and last.startswith(origin):
            return last
        return await context.in_manifest(any_present, context.manifest, origin, url) or last


async def _look_at(body: PhotoBody) -> None:
    # As an original: of whatever type, but no web page.
    check, size = ContentCheck("original"), 0
    async for chunk in body.chunks():
        check.feed(chunk)
        size += len(chunk)
        if size >= SNIFF:
            return
    check.finish()
