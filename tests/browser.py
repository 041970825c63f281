"""A real browser for tests of pages: Debian's Chromium without a window, steered by its own chromedriver.

Selenium, because Debian ships driver and browser of the same build, so that no version of a Python package has to
match; it downloads nothing, as both programs are named.
"""

from __future__ import annotations

import base64
import json
import shutil
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final, cast

import pytest
from selenium import webdriver
from selenium.webdriver import ActionChains
from selenium.webdriver.chrome.service import Service

if TYPE_CHECKING:
    from collections.abc import Iterator

PROGRAMS: Final = ("chromium", "chromedriver")
FLAGS: Final = (
    "--headless",
    "--no-sandbox",  # tests run as root in containers
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--force-color-profile=srgb",
    "--lang=en-US",
)
OUTPUT: Final = Path(__file__).parents[1] / "test-output"
"""Where screenshots are kept, to be looked at."""

# Every text that can be seen whose contrast with what is behind it is below WCAG 2.2, 1.4.3 (AA).
_FAINT: Final = """
const parse = (text) => (text.match(/[\\d.]+/g) || []).map(Number);
const part = (value) => (value /= 255) <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4;
const luminance = ([r, g, b]) => 0.2126 * part(r) + 0.7152 * part(g) + 0.0722 * part(b);
const behind = (element) => {
  for (; element; element = element.parentElement) {
    const colour = parse(getComputedStyle(element).backgroundColor);
    if (colour.length === 3 || colour[3] === 1) return colour;
  }
  return matchMedia("(prefers-color-scheme: dark)").matches ? [0, 0, 0] : [255, 255, 255];
};
const found = [];
const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
while (walker.nextNode()) {
  const element = walker.currentNode.parentElement;
  if (!walker.currentNode.data.trim() || !element.checkVisibility()) continue;
  if (element.closest("script, style, .hidden")) continue;
  const style = getComputedStyle(element);
  const [a, b] = [luminance(parse(style.color)), luminance(behind(element))];
  const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
  const size = parseFloat(style.fontSize);
  const large = size >= 24 || (size >= 18.66 && style.fontWeight >= 700);
  if (ratio < (large ? 3 : 4.5)) found.push(`${ratio.toFixed(2)}: ${walker.currentNode.data.trim()}`);
}
return found;
"""

# What a first look with any checker of accessibility would find.
_FAULTS: Final = """
const found = [];
const say = (is, text) => { if (!is) found.push(text); };
say(document.documentElement.lang, "no language");
say(document.title.trim(), "no title");
say(document.querySelectorAll("main").length === 1, "not one main");
say(document.querySelectorAll("h1").length === 1, "not one h1");
let before = 0;
for (const heading of document.querySelectorAll("h1, h2, h3, h4, h5, h6")) {
  const level = Number(heading.localName[1]);
  say(level <= before + 1, `${heading.textContent}: from h${before} to h${level}`);
  say(heading.textContent.trim(), "an empty heading");
  before = level;
}
const named = (element) => {
  const other = element.getAttribute("aria-labelledby");
  const label = other ? document.getElementById(other)?.textContent : element.getAttribute("aria-label");
  const within = element.querySelector("img, [role=img]"); // a link may be a picture
  const text = element.textContent.trim() || within?.alt || within?.ariaLabel;
  return (label || element.getAttribute("alt") || text || "").trim();
};
for (const element of document.querySelectorAll("a, button, summary, input, select, img, [role=img], section, article"))
  say(named(element), `no name: ${element.outerHTML.slice(0, 80)}`);
for (const element of document.querySelectorAll("svg")) say(element.getAttribute("role") === "img", "svg without a role");
for (const element of document.querySelectorAll("a, button, summary")) {
  const box = element.getBoundingClientRect();
  say(!box.height || (box.height >= 24 && box.width >= 24), `too small to touch: ${element.textContent}`);
}
const ids = [...document.querySelectorAll("[id]")].map((element) => element.id);
say(new Set(ids).size === ids.length, "an id stands twice");
return found;
"""


class Browser:
    """One browser with a profile of its own.

    Attributes:
        driver: For what has no method here.
    """

    def __init__(self, driver: webdriver.Chrome) -> None:
        self.driver = driver

    def look(
        self, *, width: int = 1100, height: int = 900, dark: bool = False, zone: str = "UTC"
    ) -> None:
        """Be a screen of this size (CSS pixels), with this colour scheme, in this time zone."""
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self._order("Emulation.setEmulatedMedia", features=[scheme])
        self._order("Emulation.setTimezoneOverride", timezoneId=zone)
        self._order(
            "Emulation.setDeviceMetricsOverride",
            width=width, height=height, deviceScaleFactor=1, mobile=width < 600,
        )  # fmt: skip

    def open(self, url: str) -> None:
        """Go to a page and wait until it is loaded. What was seen of earlier pages is forgotten."""
        self.messages()
        self.requests()
        self.driver.get(url)

    def run(self, script: str, *arguments: object) -> object:
        """Run a function's body in the page; return what it returns."""
        return cast("object", self.driver.execute_script(script, *arguments))

    def messages(self) -> list[str]:
        """Return what the console said since it was last asked, refused policies included."""
        return [entry["message"] for entry in self._log("browser")]

    def requests(self) -> list[str]:
        """Return every address that was asked for since this was last asked."""
        events = [json.loads(entry["message"])["message"] for entry in self._log("performance")]
        return [
            str(event["params"]["request"]["url"])
            for event in events
            if event["method"] == "Network.requestWillBeSent"
        ]

    def work(self) -> float:
        """Return how many seconds of a processor the page's scripts, styles and layout have taken so far."""
        self._order("Performance.enable", timeDomain="threadTicks")
        listed = cast("list[dict[str, object]]", self._order("Performance.getMetrics")["metrics"])
        found = {str(one["name"]): cast("float", one["value"]) for one in listed}
        return sum(found[f"{part}Duration"] for part in ("Script", "RecalcStyle", "Layout"))

    def faint_texts(self) -> list[str]:
        """Return the visible texts that are too faint to be read by everybody."""
        return cast("list[str]", self.run(_FAINT))

    def faults(self) -> list[str]:
        """Return what is lacking for keyboard and screen reader."""
        return cast("list[str]", self.run(_FAULTS))

    def width(self) -> int:
        """Return how wide the page is: more than the screen means that it scrolls sideways."""
        return cast("int", self.run("return document.documentElement.scrollWidth"))

    def keep(self, name: str) -> Path:
        """Keep a picture of the page, of its first 4000 pixels at most."""
        size = "return [innerWidth, Math.min(document.documentElement.scrollHeight, 4000)]"
        width, height = cast("list[int]", self.run(size))
        clip = {"x": 0, "y": 0, "width": width, "height": height, "scale": 1}
        taken = self._order("Page.captureScreenshot", captureBeyondViewport=True, clip=clip)
        return _written(OUTPUT / f"{name}.png", taken)

    def keep_screen(self, path: Path) -> Path:
        """Keep a picture of what is on the screen now, as a JPEG or PNG as the path is called."""
        kind = {"format": "jpeg", "quality": 80} if path.suffix == ".jpg" else {"format": "png"}
        return _written(path, self._order("Page.captureScreenshot", **kind))

    def press(self, *keys: str) -> None:
        """Press keys one after the other, wherever the focus is; several in one text are held together."""
        actions = ActionChains(self.driver)
        for chord in keys:
            for key in chord:
                actions.key_down(key)
            for key in reversed(chord):
                actions.key_up(key)
        actions.perform()

    def swipe(self, start: tuple[int, int], end: tuple[int, int]) -> None:
        """Move a finger over the screen, between two points in CSS pixels."""
        across, down = end[0] - start[0], end[1] - start[1]
        for step in range(6):
            at = {"x": start[0] + across * step / 5, "y": start[1] + down * step / 5}
            kind = "touchMove" if step else "touchStart"
            self._order("Input.dispatchTouchEvent", type=kind, touchPoints=[at])
        self._order("Input.dispatchTouchEvent", type="touchEnd", touchPoints=[])

    def told(self) -> list[tuple[str, str]]:
        """Return role and name of everything that a screen reader is told of."""
        tree = cast("list[dict[str, object]]", self._order("Accessibility.getFullAXTree")["nodes"])
        return [
            (_value(node, "role"), _value(node, "name")) for node in tree if not node["ignored"]
        ]

    def _log(self, kind: str) -> list[dict[str, str]]:
        found = self.driver.get_log(kind)  # type: ignore[no-untyped-call]  # selenium's
        return cast("list[dict[str, str]]", found)

    def _order(self, command: str, **parameters: object) -> dict[str, object]:
        return cast("dict[str, object]", self.driver.execute_cdp_cmd(command, parameters) or {})


def _value(node: dict[str, object], key: str) -> str:
    return str(cast("dict[str, object]", node.get(key, {})).get("value", ""))


def _written(path: Path, taken: dict[str, object]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(base64.b64decode(str(taken["data"])))
    return path


@contextmanager
def opened() -> Iterator[Browser]:
    """Start a browser for the length of the block; the test is skipped where there is none."""
    found = [shutil.which(name) for name in PROGRAMS]
    if None in found:
        pytest.skip("no Chromium here; Debian: apt install chromium chromium-driver")
    with tempfile.TemporaryDirectory(prefix="browser-", ignore_cleanup_errors=True) as profile:
        options = webdriver.ChromeOptions()
        options.binary_location = str(found[0])
        for flag in (*FLAGS, f"--user-data-dir={profile}"):
            options.add_argument(flag)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
        driver = webdriver.Chrome(options=options, service=Service(str(found[1])))
        try:
            driver.set_page_load_timeout(30)
            yield Browser(driver)
        finally:
            driver.quit()
