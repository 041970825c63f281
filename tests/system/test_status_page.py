"""The status page in a real browser: on a phone and a desk, light and dark, with the keyboard, and when the daemon dies."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from functools import partial
from itertools import count
from typing import TYPE_CHECKING, Final

import pytest
import trio
from selenium.webdriver import ActionChains, Keys
from selenium.webdriver.support.ui import WebDriverWait

from ninepic_mirror.service import page, web
from ninepic_mirror.service.board import Board, Watched
from ninepic_mirror.sync.report import Failure
from tests.boards import HOSTILE, NOW, board, calm, crowd
from tests.browser import opened

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.browser import Browser

PHONE: Final = 360


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """One browser for all tests here."""
    with opened() as found:
        yield found


class Daemon:
    """Serves a board from a thread of its own, as the daemon's event loop would."""

    def __init__(self, some: Board) -> None:
        self.board = some
        self.url = ""
        self._ready = threading.Event()
        self._token: trio.lowlevel.TrioToken | None = None
        self._scope: trio.CancelScope | None = None
        self._thread = threading.Thread(target=partial(trio.run, self._main))

    async def _main(self) -> None:
        ticks = count(int(NOW), 2)  # so that each answer is made anew
        self._token = trio.lowlevel.current_trio_token()
        async with trio.open_nursery() as nursery:
            self._scope = nursery.cancel_scope
            start = partial(
                web.serve, self.board, ("127.0.0.1", 0), clock=lambda: float(next(ticks))
            )
            self.url = await nursery.start(start)
            self._ready.set()

    def start(self) -> None:
        """Begin, and wait until the port is open."""
        self._thread.start()
        assert self._ready.wait(10)

    def change(self, action: Callable[[Board], None]) -> None:
        """Change the board between two turns of the event loop."""
        trio.from_thread.run_sync(action, self.board, trio_token=self._token)

    def stop(self) -> None:
        """End; once more does no harm."""
        if self._thread.is_alive() and self._scope is not None:
            trio.from_thread.run_sync(self._scope.cancel, trio_token=self._token)
        self._thread.join(10)


@contextmanager
def serving(some: Board) -> Iterator[Daemon]:
    """Serve a board for the length of the block."""
    daemon = Daemon(some)
    daemon.start()
    try:
        yield daemon
    finally:
        daemon.stop()


def awkward() -> Board:
    """Return a board whose texts have no place to be broken at."""
    some = board()
    some.note_trouble(
        "storage", "/srv/ninepic: " + "no_space_left_" * 30 + ": make room", NOW - 3000
    )
    long = "W" * 300
    some.events[999] = Watched(999, long, trouble=long, failed=1, missing=1, reasons={long: 1})
    some.events[999].failures = [Failure(long, "thumbnail", long)]
    some.events[101].name = "M" * 200
    return some


BOARDS: Final[dict[str, Callable[[], Board]]] = {
    "events": board,
    "calm": calm,
    "crowd": crowd,
    "awkward": awkward,
    "empty": lambda: Board(NOW),
}


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [PHONE, 1100], ids=["phone", "desk"])
@pytest.mark.parametrize("name", BOARDS)
def test_seen_by_everybody(browser: Browser, name: str, width: int, dark: bool) -> None:
    """Nothing fails, nothing leaves the origin, nothing is cut off, and all of it can be read, whoever reads it."""
    browser.look(width=width, height=800, dark=dark)
    with serving(BOARDS[name]()) as daemon:
        browser.open(daemon.url)
        browser.run(
            "for (const one of [...document.querySelectorAll('details')].slice(0, 9)) one.open = true"
        )
        assert browser.messages() == []
        asked = browser.requests()
        assert daemon.url in asked
        assert all(url.startswith((daemon.url, "data:")) for url in asked)
        assert browser.width() <= width
        assert browser.faults() == []
        assert browser.faint_texts() == []
        browser.keep(
            f"status-{name}-{'phone' if width == PHONE else 'desk'}-{'dark' if dark else 'light'}"
        )


def test_the_checks_find_something(browser: Browser) -> None:
    """A page that is hard to read is not called good."""
    browser.look(width=PHONE)
    browser.open(
        "data:text/html,<meta name=viewport content='width=device-width'><h2>x</h2><svg></svg><a href=x></a>"
        "<p style='color:silver'>faint</p><div style='width:900px'>wide</div>"
    )
    assert browser.width() > PHONE
    assert browser.faint_texts() == ["1.82: faint"]
    faults = " ".join(browser.faults())
    for one in (
        "no language",
        "no title",
        "not one main",
        "not one h1",
        "from h0 to h2",
        "svg without",
        "no name: <a",
    ):
        assert one in faults


def test_names_are_shown_not_run(browser: Browser) -> None:
    """A name that is a script stands there as text."""
    browser.look()
    with serving(board()) as daemon:
        browser.open(daemon.url)
        shown = str(browser.run("return document.getElementById('event-455').textContent"))
        assert shown.startswith(HOSTILE[:40])
        assert browser.run("return document.scripts.length") == 1
        assert browser.driver.title == "1 of 7 events is not up to date | ninepic-mirror"
        assert browser.messages() == []


def test_injected_code_is_refused(browser: Browser) -> None:
    """Were something to get through nevertheless, the policy would stop it."""
    browser.look()
    with serving(calm()) as daemon:
        browser.open(daemon.url)
        browser.run(
            "document.body.insertAdjacentHTML('beforeend', '<img src=x onerror=\"document.title=1\">'"
            " + '<p style=\"color:red\">x</p>');"
            "const one = document.createElement('script'); one.text = 'document.title = 2'; document.body.append(one);"
        )
        said: list[str] = []

        def is_refused(_: object) -> bool:
            said.extend(browser.messages())
            return sum("Content Security Policy" in line for line in said) >= 3

        WebDriverWait(browser.driver, 10).until(is_refused)
        assert browser.driver.title == "All 3 events are whole | ninepic-mirror"


def test_times_are_the_readers(browser: Browser) -> None:
    """Times are told in the reader's own zone, the absolute one as a title."""
    browser.look(zone="Asia/Kolkata")
    with serving(board()) as daemon:
        browser.open(daemon.url)
        assert "7:30" in str(browser.run("return document.getElementById('seen').textContent"))
        title = str(browser.run("return document.querySelector('[data-local=title]').title"))
        assert title.startswith("Monday, January 19, 2026")
        assert "GMT+5:30" in title


def test_without_scripts(browser: Browser) -> None:
    """Without scripts the page is whole: times are UTC, and it is loaded again every 15 s."""
    browser.look()
    with serving(board()) as daemon:
        browser.driver.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
        try:
            browser.open(daemon.url)
            text = browser.driver.find_element("id", "seen").text
            source = browser.driver.page_source
            assert not browser.driver.find_element("id", "hold").is_displayed()
        finally:
            browser.driver.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})
            browser.driver.get("about:blank")
    assert text.endswith("UTC")
    assert '<meta http-equiv="refresh" content="15">' in source


def test_the_keyboard(browser: Browser) -> None:
    """Tab reaches everything in order and can be seen; Enter opens an event."""
    browser.look()
    with serving(calm()) as daemon:
        browser.open(daemon.url)
        reached = []
        for _ in range(6):
            ActionChains(browser.driver).send_keys(Keys.TAB).perform()
            reached.append(
                browser.run(
                    "const one = document.activeElement, style = getComputedStyle(one);"
                    "return [one.parentElement.id || one.id || one.textContent, style.outlineStyle]"
                )
            )
        places = ("hold", "row-103", "row-102", "row-101", "Metrics", "Health")
        assert reached == [[place, "solid"] for place in places]
        browser.run("document.querySelector('#row-102 summary').focus()")
        ActionChains(browser.driver).send_keys(Keys.ENTER).perform()
        assert browser.run("return document.getElementById('row-102').open") is True


def test_refreshes_gently(browser: Browser, monkeypatch: pytest.MonkeyPatch) -> None:
    """News come without a jump: what is open stays open, the focus stays; a daemon that ends leaves its last word."""
    monkeypatch.setattr(page, "REFRESH", 0.1)
    browser.look()
    with serving(calm()) as daemon:
        browser.open(daemon.url)
        wait = WebDriverWait(browser.driver, 10, poll_frequency=0.05)
        browser.run("document.querySelector('#row-102 summary').focus()")
        ActionChains(browser.driver).send_keys(Keys.ENTER).perform()

        def news(some: Board) -> None:
            some.events[101].failed = some.events[101].missing = 1
            some.events[102].name = "A new name"

        daemon.change(news)
        wait.until(lambda _: browser.driver.title.startswith("1 of 3 events needs"))
        assert (
            browser.run("return document.querySelector('#row-102 h3').textContent") == "A new name"
        )
        assert browser.run("return document.getElementById('row-102').open") is True
        assert browser.run("return document.activeElement.parentElement.id") == "row-102"
        assert browser.run("return document.getElementById('headline').className") == "attention"

        browser.run("document.getElementById('hold').click()")
        assert browser.run("return document.getElementById('hold').ariaPressed") == "true"
        daemon.change(lambda some: some.events.clear())
        browser.driver.implicitly_wait(0)
        assert browser.run("return document.querySelectorAll('main details').length") == 3
        browser.run("document.getElementById('hold').click()")
        wait.until(
            lambda _: browser.run("return document.querySelectorAll('main details').length") == 0
        )
        assert browser.messages() == []

        daemon.stop()
        wait.until(lambda _: browser.run("return !document.getElementById('lost').hidden"))
        assert browser.driver.title.startswith("No event is watched yet")
        assert browser.faint_texts() == []
    browser.driver.get("about:blank")
