"""The gallery in a real browser, from a disk: a large event, a phone, the keyboard, a screen reader, and names that mean harm."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final, cast

import pytest
from selenium.webdriver import Keys
from selenium.webdriver.support.ui import WebDriverWait

from ninepic_mirror.gallery.columns import well_formed
from ninepic_mirror.gallery.pages import Gallery, Picture
from tests.browser import OUTPUT, opened
from tests.galleries import HOSTILE, SCRIPT, TITLE, changed, crowd, hostile, lay

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.browser import Browser

PHONE: Final = (360, 740)
DESK: Final = (1280, 860)
WALL: Final = (3840, 2160)
MANY: Final = 20_000
NODES: Final = 1_500  # texts, comments and attributes' owners, all of them
OPENS: Final = 3.0  # seconds
PICTURES: Final = Path(__file__).parents[2] / "docs/pictures"
PUBLISHED: Final = {
    "race-desk-light-chosen": "gallery-desk",
    "race-desk-dark-viewer": "gallery-viewer",
    "race-phone-dark-grid": "gallery-phone",
}
PUBLISH: Final = "NINEPIC_PICTURES"
"""Set in the environment, the README's pictures are made anew."""

COUNT: Final = """
const walker = document.createTreeWalker(document, NodeFilter.SHOW_ALL);
let number = 1;
while (walker.nextNode()) number += 1;
return number;
"""
SHOWN: Final = """
const top = document.getElementById("controls").getBoundingClientRect().bottom;
const shown = [...document.querySelectorAll("#grid a")].filter((one) => {
  const box = one.getBoundingClientRect();
  return box.bottom > top && box.top < innerHeight;
});
const loaded = (image) => !image || (image.complete && image.naturalWidth > 0);
return (shown.length > 0 || GALLERY.name.length === 0) && shown.every((one) => loaded(one.querySelector("img")));
"""
FIRST: Final = """
const top = document.getElementById("controls").getBoundingClientRect().bottom;
return [...document.querySelectorAll("#grid a")].find((one) => one.getBoundingClientRect().bottom > top + 8).dataset.place;
"""
FOCUS: Final = """
const one = document.activeElement, box = one.getBoundingClientRect();
const top = one.closest("#grid") ? document.getElementById("controls").getBoundingClientRect().bottom : 0;
return [one.dataset.place ? `photo ${one.dataset.place}` : one.id || one.className,
        box.top >= top - 1 && box.bottom <= innerHeight + 1, getComputedStyle(one).outlineStyle];
"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """One browser for all tests here."""
    with opened() as found:
        yield found


@pytest.fixture(scope="module")
def race(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The address of a gallery of 20,000 photos."""
    return lay(tmp_path_factory.mktemp("race") / "package", crowd(MANY)).as_uri()


@pytest.fixture(scope="module")
def awkward(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The address of a gallery whose texts would rather be something else."""
    return lay(tmp_path_factory.mktemp("awkward") / "a #%? b", hostile()).as_uri()


@pytest.fixture(autouse=True)
def quiet(browser: Browser) -> Iterator[None]:
    """No test leaves anything in the console, or an address that is not on the disk."""
    browser.look(width=DESK[0], height=DESK[1])
    browser.requests()
    yield
    assert browser.messages() == []
    strangers = [
        url for url in browser.requests() if not url.startswith(("file:///", "data:", "about:"))
    ]
    assert strangers == []
    browser.driver.get("about:blank")


def wait(browser: Browser, script: str) -> None:
    """Wait until something holds in the page."""
    WebDriverWait(browser.driver, 10, poll_frequency=0.02).until(lambda _: browser.run(script))


def wait_shown(browser: Browser) -> None:
    """Wait until every thumbnail on the screen is there."""
    browser.run("return new Promise((done) => requestAnimationFrame(() => setTimeout(done, 0)))")
    wait(browser, SHOWN)


def show(browser: Browser, url: str) -> None:
    """Open a gallery, whatever part of its address stands behind #, and wait for what can be seen of it."""
    browser.driver.get("about:blank")
    browser.open(url)
    wait_shown(browser)


def text(browser: Browser, name: str) -> str:
    """Return the text of an element by its id."""
    return str(browser.run("return document.getElementById(arguments[0]).textContent", name))


def address(browser: Browser) -> str:
    """Return what stands behind #."""
    return browser.driver.current_url.partition("#")[2]


def bar(browser: Browser, label: str) -> None:
    """Choose a day or an hour by the beginning of what it is called."""
    browser.run(
        "const bar = [...document.querySelectorAll('#days button')]"
        ".find((one) => one.ariaLabel.startsWith(arguments[0])); bar.focus({ preventScroll: true }); bar.click()",
        label,
    )


# --- large events


def test_a_large_event_opens_fast(browser: Browser, race: str) -> None:
    """20,000 photos: the first thumbnails are seen in less than three seconds."""
    browser.driver.get("about:blank")
    begin = time.monotonic()
    browser.driver.get(race)
    wait(browser, SHOWN)
    seconds = time.monotonic() - begin
    print(f"thumbnails of {MANY:,} photos after {seconds:.2f} s")
    assert seconds < OPENS
    assert text(browser, "count") == "20,000 photos"
    assert browser.driver.title == f"\u2068{TITLE}\u2069"


@pytest.mark.parametrize("size", [PHONE, DESK, WALL], ids=["phone", "desk", "wall"])
def test_scrolling_keeps_the_page_small(browser: Browser, race: str, size: tuple[int, int]) -> None:
    """However far one scrolls, there are fewer than 1,500 nodes, and the end is reached."""
    browser.look(width=size[0], height=size[1])
    show(browser, race)
    numbers = [cast("int", browser.run(COUNT))]
    for part in range(1, 9):
        browser.run(f"scrollTo(0, document.documentElement.scrollHeight * {part / 8})")
        wait_shown(browser)
        numbers.append(cast("int", browser.run(COUNT)))
    print(f"{size}: at most {max(numbers)} nodes")
    assert max(numbers) < NODES
    assert browser.run("return document.querySelector('#grid [data-place=\"19999\"]') !== null")


def test_scrolling_is_smooth(browser: Browser, race: str) -> None:
    """While a screen passes every four frames, scripts and layout take less than 12 of the 16 ms of a frame."""
    frames = 120
    show(browser, race)
    before = browser.work()
    seconds = browser.run(
        "return new Promise((done) => { const begin = performance.now(); let left = arguments[0];"
        "const step = () => { scrollBy(0, 200); left -= 1;"
        "left ? requestAnimationFrame(step) : done((performance.now() - begin) / 1000); }; step(); })",
        frames,
    )
    work = 1000 * (browser.work() - before) / frames
    print(f"{work:.1f} ms of work a frame, {frames / cast('float', seconds):.0f} frames a second")
    assert work < 12


def test_the_place_is_kept(browser: Browser, race: str) -> None:
    """A reload, another width and a look at a photo leave the reader where he was."""
    show(browser, race)
    browser.run("scrollTo(0, 300000)")
    wait_shown(browser)
    place = browser.run(FIRST)
    wait(browser, "return history.state?.anchor")
    browser.driver.refresh()
    wait_shown(browser)
    assert browser.run(FIRST) == place
    browser.look(width=700, height=900)
    wait_shown(browser)
    narrow = int(str(browser.run(FIRST)))
    assert abs(narrow - int(str(place))) < 6
    before = browser.run("return scrollY")
    browser.run("document.querySelector('#grid a:is(:focus, [tabindex=\"0\"])').click()")
    wait(browser, "return document.getElementById('viewer').open")
    browser.driver.back()
    wait(browser, "return !document.getElementById('viewer').open")
    assert abs(cast("int", browser.run("return scrollY")) - cast("int", before)) < 300


# --- choosing


def test_an_hour_is_chosen(browser: Browser, race: str) -> None:
    """A bar shows its hour's photos and no others, says so, and Back shows all again, where the reader was."""
    show(browser, race)
    browser.run("scrollTo(0, 300000)")
    wait_shown(browser)
    place = browser.run(FIRST)
    bar(browser, "Monday 19 January 2026, 05:00")
    wait(browser, "return document.getElementById('count').textContent.includes('of')")
    assert address(browser) == "day=2026-01-19&hour=05"
    shown = text(browser, "count")
    label = browser.run("return document.querySelector('#days [aria-pressed=true]').ariaLabel")
    assert str(label).endswith(f": {shown.split()[0]} photos")
    wait_shown(browser)
    headings = browser.run(
        "return [...document.querySelectorAll('#grid h2')].map((one) => one.textContent)"
    )
    assert headings == ["Monday 19 January 202605:00\u201306:00"]
    assert browser.run(FIRST) == "0"
    browser.driver.back()
    wait(browser, "return document.getElementById('count').textContent === '20,000 photos'")
    wait_shown(browser)
    assert browser.run(FIRST) == place


def test_photographer_and_hour_go_together(browser: Browser, race: str) -> None:
    """Both hold; each control counts what the other leaves; choosing again lets go; one button shows all."""
    pictures = crowd(MANY).pictures
    theirs = [one for one in pictures if one.photographer == "Chen Wei"]
    here = [one for one in theirs if (one.day, one.hour) == ("2026-01-19", "07")]
    show(browser, race)
    browser.run(
        "const by = document.getElementById('by'); by.value = '=Chen Wei';"
        "by.dispatchEvent(new Event('change'))"
    )
    wait(browser, "return location.hash === '#by=Chen+Wei'")
    wait(browser, "return document.getElementById('count').textContent.includes('of')")
    assert text(browser, "count") == f"{len(theirs):,} of 20,000 photos"
    bar(browser, "Monday 19 January 2026, 07:00")
    wait(browser, "return location.hash.startsWith('#day=')")
    counted = f"{len(here):,} of 20,000 photos"
    wait(browser, f"return document.getElementById('count').textContent === '{counted}'")
    option = browser.run("return document.getElementById('by').selectedOptions[0].textContent")
    assert option == f"\u2068Chen Wei\u2069 ({len(here):,})"
    bar(browser, "Monday 19 January 2026, 07:00")
    wait(browser, "return location.hash === '#day=2026-01-19&by=Chen+Wei'")
    browser.run("document.getElementById('all').click()")
    wait(browser, "return document.getElementById('count').textContent === '20,000 photos'")
    assert browser.run("return document.getElementById('all').hidden") is True


def test_undated_photos_have_a_place_of_their_own(browser: Browser, race: str) -> None:
    """They are a bar and a section, and an address leads there."""
    show(browser, f"{race}#day=undated")
    assert text(browser, "count") == "50 of 20,000 photos"
    assert browser.run("return document.querySelector('#grid h2').textContent") == "Without a time"


@pytest.mark.parametrize(
    "wrong", ["day=2031-01-01", "photo=20000", "photo=-1", "by=Nobody&hour=07", "%", "photo=9e9"]
)
def test_an_address_that_means_nothing_shows_all(browser: Browser, race: str, wrong: str) -> None:
    """Whoever types something else sees everything."""
    show(browser, f"{race}#{wrong}")
    assert text(browser, "count") == "20,000 photos"
    assert browser.run("return document.getElementById('viewer').open") is False


def test_many_days_are_folded(browser: Browser, tmp_path: Path) -> None:
    """With hours beyond counting each day is one bar, and the chosen one shows its hours; the page stays small."""
    taken = [
        (f"20{year:02}-05-{day:02}", hour)
        for year in range(30)
        for day in (1, 2, 3, 4)
        for hour in ("00", "23")
    ]
    pictures = [
        Picture(f"{day} {hour}", f"{day} {hour}.jpg", day, hour, *([None] * 6)) for day, hour in taken
    ]  # fmt: skip
    page = lay(tmp_path / "package", changed(crowd(1), pictures))
    show(browser, page.as_uri())
    bars = "return document.querySelectorAll('#days .bar').length"
    assert browser.run(bars) == 120
    assert text(browser, "when-title") == "Photos per day"
    assert cast("int", browser.run(COUNT)) < NODES
    bar(browser, "Sunday 1 May 2022")
    wait(browser, "return document.getElementById('count').textContent === '2 of 240 photos'")
    assert browser.run(bars) == 119 + 2
    assert browser.run("return document.activeElement.ariaPressed") == "true"
    names = (
        "return [...document.querySelectorAll('#days .bar .hour')].map((one) => one.textContent)"
    )
    named = cast("list[str]", browser.run(names))
    assert named[0] == "Mon 1 May 2000"
    assert "23" in named
    assert browser.faults() == []
    browser.keep_screen(OUTPUT / "gallery/many-days.png")


# --- the keyboard


def test_the_keyboard_reaches_everything(browser: Browser, race: str) -> None:
    """Picker, filter and grid are one stop each; keys move within them; what has the focus is seen."""
    show(browser, race)
    reached = []
    for _ in range(3):
        browser.press(Keys.TAB)
        reached.append(browser.run(FOCUS))
    assert reached == [[name, True, "solid"] for name in ("day-name", "by", "photo 0")]
    walk = [
        (Keys.ARROW_RIGHT, "photo 1"),
        (Keys.ARROW_LEFT, "photo 0"),
        (Keys.ARROW_LEFT, "photo 0"),
        (Keys.ARROW_UP, "photo 0"),
        (Keys.END, None),
        (Keys.HOME, "photo 0"),
        (Keys.ARROW_DOWN, None),
        (Keys.ARROW_UP, "photo 0"),
        (Keys.PAGE_DOWN, None),
        (Keys.PAGE_DOWN, None),
        (Keys.PAGE_UP, None),
    ]
    for key, where in walk:
        browser.press(key)
        name, visible, outline = cast("list[object]", browser.run(FOCUS))
        assert visible, (key, name)
        assert outline == "solid"
        assert where in {name, None}, (key, name)
    browser.press(Keys.CONTROL + Keys.END)
    assert browser.run(FOCUS) == [f"photo {MANY - 1}", True, "solid"]
    assert browser.run("return document.querySelectorAll('#grid a[tabindex=\"0\"]').length") == 1
    browser.press(Keys.CONTROL + Keys.HOME)
    assert browser.run(FOCUS) == ["photo 0", True, "solid"]


def test_every_photo_is_reached_by_arrows(browser: Browser, race: str) -> None:
    """Down and up pass headings and end at the edges, without leaving anybody out of sight."""
    show(browser, f"{race}#day=2026-01-20")
    browser.run("document.querySelector('#grid a').focus()")
    number = int(text(browser, "count").split()[0])
    places: list[str] = []
    for _ in range(400):
        browser.press(Keys.ARROW_DOWN)
        name, visible, _ = cast("list[str]", browser.run(FOCUS))
        assert visible
        if places and places[-1] == name:
            break
        places.append(name)
    last = browser.run("return [...document.querySelectorAll('#grid a')].at(-1).dataset.place")
    assert last == str(number - 1)
    row = "return document.activeElement.closest('[role=row]').ariaRowIndex"
    rows = "return document.getElementById('grid').ariaRowCount"
    assert browser.run(row) == browser.run(rows)


def test_the_picker_by_keys(browser: Browser, race: str) -> None:
    """Arrows move between the bars, Enter chooses, and the focus stays."""
    show(browser, race)
    browser.press(Keys.TAB, Keys.END)
    assert str(browser.run("return document.activeElement.ariaLabel")).startswith("Without a time")
    browser.press(Keys.HOME, Keys.ARROW_RIGHT)
    label = str(browser.run("return document.activeElement.ariaLabel"))
    assert label.startswith("Sunday 18 January 2026, 10:00\u201311:00: ")
    browser.press(Keys.ENTER)
    wait(browser, "return location.hash === '#day=2026-01-18&hour=10'")
    wait(browser, "return document.activeElement.ariaPressed === 'true'")


def test_the_viewer_by_keys(browser: Browser, race: str) -> None:
    """Enter opens, arrows turn the page, Escape closes, and the focus is on the photo that was seen last."""
    pictures = crowd(MANY).pictures
    assert pictures[3].photographer
    show(browser, race)
    browser.press(Keys.TAB, Keys.TAB, Keys.TAB, Keys.ARROW_RIGHT, Keys.ENTER)
    wait(browser, "return document.getElementById('viewer').open")
    assert text(browser, "viewer-text") == pictures[1].name
    assert address(browser) == "photo=1"
    large = "return document.getElementById('shot').src.includes('/large/')"
    wait(browser, large)
    browser.press(Keys.ARROW_RIGHT, Keys.ARROW_RIGHT, Keys.ARROW_RIGHT, Keys.ARROW_LEFT)
    assert text(browser, "viewer-text") == pictures[3].name
    wait(browser, "return location.hash === '#photo=3'")
    said = text(browser, "viewer-details")
    assert "18 January 2026, 10:00\u201311:00" in said
    assert f"by \u2068{pictures[3].photographer}\u2069" in said
    assert f"{pictures[3].width} \u00d7 {pictures[3].height}" in said
    assert said.endswith("4 of 20,000")
    browser.press(Keys.END)
    assert text(browser, "viewer-text") == pictures[-1].name
    assert browser.run("return document.getElementById('next').disabled") is True
    browser.press(Keys.ARROW_RIGHT, Keys.HOME, Keys.ARROW_LEFT)
    assert text(browser, "viewer-text") == pictures[0].name
    browser.press(Keys.END)
    browser.press(Keys.ESCAPE)
    wait(browser, "return !document.getElementById('viewer').open")
    wait(browser, f"return document.activeElement.dataset.place === '{MANY - 1}'")
    assert browser.run(FOCUS) == [f"photo {MANY - 1}", True, "solid"]
    wait(browser, "return location.hash === ''")


def test_the_viewer_keeps_the_focus(browser: Browser, race: str) -> None:
    """Tab goes round within the viewer; nothing behind it can be reached or is told of."""
    show(browser, f"{race}#photo=5")
    within = set()
    for _ in range(8):
        browser.press(Keys.TAB)
        within.add(
            browser.run(
                "const one = document.activeElement;"
                "return one === document.body ? 'out' : String(one.closest('#viewer') !== null)"
            )
        )
    assert within <= {"true", "out"}  # "out" is the browser's own bar
    assert "true" in within
    assert {role for role, _ in browser.told()} & {"grid", "gridcell", "toolbar"} == set()


def test_links_lead_to_the_files(browser: Browser, tmp_path: Path) -> None:
    """The viewer names the files that the package holds, and shows the best that a browser can show."""
    rows = [
        (None, None, "No preview, and no file"),
        ("data/large/b.jpg", "data/original/b c.heic", "both"),
        (None, None, "only a thumbnail"),
    ]
    pictures = [
        Picture(name, f"{name}.jpg", "2026-01-19", None, None, 1200, 800,
                     None if place == 0 else f"data/thumbnail/{place}.jpg", large, original)
        for place, (large, original, name) in enumerate(rows)
    ]  # fmt: skip
    page = lay(tmp_path / "package", changed(crowd(1), pictures))
    (tmp_path / "package/data/large").mkdir(exist_ok=True)
    show(browser, f"{page.as_uri()}#photo=1")
    files = "return [...document.querySelectorAll('#viewer-files a')].map((one) => one.href)"
    root = page.parent.as_uri()
    assert browser.run(files) == [f"{root}/data/large/b.jpg", f"{root}/data/original/b%20c.heic"]
    browser.press(Keys.ARROW_RIGHT)
    assert browser.run(files) == []
    source = "return document.getElementById('shot').getAttribute('src')"
    assert browser.run(source) == "./data/thumbnail/2.jpg"
    assert browser.run("return document.getElementById('shot').className") == "small"
    browser.press(Keys.HOME)
    assert browser.run(source) is None
    assert browser.run("return document.querySelector('.none').ariaLabel") == (
        "\u2068No preview, and no file.jpg\u2069"
    )


# --- touch


def test_a_finger_turns_the_page(browser: Browser, race: str) -> None:
    """A swipe brings the next photo or the one before; a short one does nothing, nor one while the page is zoomed."""
    pictures = crowd(MANY).pictures
    browser.look(width=PHONE[0], height=PHONE[1])
    show(browser, f"{race}#photo=3")
    for start, end, place in (
        ((300, 300), (80, 310), 4),
        ((300, 300), (80, 300), 5),
        ((80, 300), (300, 300), 4),
        ((180, 300), (160, 300), 4),
    ):
        browser.swipe(start, end)
        wait(browser, "return document.getElementById('shot').style.transform === ''")
        assert text(browser, "viewer-text") == pictures[place].name
    wait(browser, "return location.hash === '#photo=4'")
    browser.driver.execute_cdp_cmd("Emulation.setPageScaleFactor", {"pageScaleFactor": 2})
    wait(browser, "return document.getElementById('stage').className === 'stage zoomed'")
    browser.swipe((300, 300), (80, 300))
    assert text(browser, "viewer-text") == pictures[4].name
    browser.driver.execute_cdp_cmd("Emulation.setPageScaleFactor", {"pageScaleFactor": 1})


def test_a_tap_opens(browser: Browser, race: str) -> None:
    """A finger on a photo opens it, and Back, which phones have, closes it."""
    browser.look(width=PHONE[0], height=PHONE[1])
    show(browser, race)
    box = browser.run(
        "const box = document.querySelector('[data-place=\"3\"]').getBoundingClientRect();"
        "return [Math.round(box.x + 9), Math.round(box.y + 9)]"
    )
    at = cast("tuple[int, int]", tuple(cast("list[int]", box)))
    browser.swipe(at, at)
    wait(browser, "return document.getElementById('viewer').open")
    assert address(browser) == "photo=3"
    browser.driver.back()
    wait(browser, "return !document.getElementById('viewer').open")


# --- what others wrote


def test_names_are_shown_not_run(browser: Browser, awkward: str) -> None:
    """Whatever a text holds stands there as text, and the files of odd names are found."""
    show(browser, awkward)
    names = browser.run(
        "return [...document.querySelectorAll('#grid a')].map((one) => one.dataset.name)"
    )
    assert names == [*(f"{well_formed(one)}.jpg" for one in HOSTILE), "plain.jpg"]
    assert browser.run("return document.scripts.length") == 7
    assert "run" not in browser.driver.title[:3]
    assert "\u202e" not in browser.driver.title
    directed = browser.run(
        "return [...document.querySelectorAll('bdi, [dir=auto]:not(select)')]"
        ".map((one) => getComputedStyle(one).unicodeBidi)"
    )
    assert set(cast("list[str]", directed)) == {"isolate"}
    assert text(browser, "count") == f"{len(HOSTILE) + 1} photos"
    shown = str(browser.run("return document.querySelector('main').textContent"))
    assert SCRIPT in shown
    options = browser.run(
        "return [...document.getElementById('by').options].map((one) => one.textContent)"
    )
    assert any("<script>" in one for one in cast("list[str]", options))
    assert not any("\u202e" in one for one in cast("list[str]", options))
    pictures = "return [...document.querySelectorAll('#grid img')].every((one) => one.naturalWidth)"
    assert browser.run(pictures) is True


def test_every_hostile_photographer_can_be_chosen(browser: Browser, awkward: str) -> None:
    """The address carries any name there and back."""
    show(browser, awkward)
    for name in HOSTILE:
        browser.run(
            "const by = document.getElementById('by'); by.value = '=' + arguments[0];"
            "by.dispatchEvent(new Event('change'))",
            well_formed(name),
        )
        wait(browser, "return document.getElementById('count').textContent === '1 of 8 photos'")
        browser.run("document.getElementById('all').click()")
        wait(browser, "return document.getElementById('count').textContent === '8 photos'")


def test_injected_code_is_refused(browser: Browser, awkward: str) -> None:
    """Were something to get through nevertheless, the policy would stop it."""
    show(browser, awkward)
    browser.run(
        "document.body.insertAdjacentHTML('beforeend', '<img src=data/x onerror=\"document.title=1\">'"
        " + '<p style=\"color:red\">x</p>');"
        "const one = document.createElement('script'); one.text = 'document.title = 2';"
        "document.body.append(one);"
        "const other = document.createElement('script'); other.src = 'gallery/data.js';"
        "document.body.append(other);"
        "fetch('https://example.com/').catch(() => 0);"
    )
    said: list[str] = []

    def is_refused(_: object) -> bool:
        said.extend(browser.messages())
        return sum("Content Security Policy" in line for line in said) >= 5

    WebDriverWait(browser.driver, 10).until(is_refused)
    assert browser.driver.title not in {"1", "2"}


# --- everybody


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("size", [PHONE, DESK], ids=["phone", "desk"])
@pytest.mark.parametrize("name", ["race", "awkward", "empty"])
def test_seen_by_everybody(
    browser: Browser,
    request: pytest.FixtureRequest,
    tmp_path: Path,
    name: str,
    size: tuple[int, int],
    dark: bool,
) -> None:
    """Nothing is cut off, and all of it can be read, whoever reads it; pictures are kept to be looked at."""
    url = (
        lay(tmp_path / "empty", Gallery("Nothing yet", None, "UTC", "today", 0, (), None)).as_uri()
        if name == "empty"
        else str(request.getfixturevalue(name))
    )
    label = f"{name}-{'phone' if size == PHONE else 'desk'}-{'dark' if dark else 'light'}"
    browser.look(width=size[0], height=size[1], dark=dark)
    for part, mark in (("grid", ""), ("viewer", "photo=2"), ("chosen", "day=2026-01-19&hour=06")):
        if name == "empty" and mark:
            continue
        show(browser, f"{url}#{mark}")
        if part == "viewer":
            wait(browser, "return document.getElementById('shot').src.includes('/large/')")
        assert browser.width() <= size[0], part
        assert browser.faults() == [], part
        assert browser.faint_texts() == [], part
        assert unnamed(browser) == [], part
        browser.keep_screen(OUTPUT / f"gallery/{label}-{part}.png")
        if f"{label}-{part}" in PUBLISHED and os.environ.get(PUBLISH):
            browser.keep_screen(PICTURES / f"{PUBLISHED[f'{label}-{part}']}.jpg")


def unnamed(browser: Browser) -> list[str]:
    """Return what a screen reader would call by its kind alone."""
    need = {
        "button", "combobox", "dialog", "grid", "gridcell", "group", "heading", "image", "link",
        "option", "row", "rowheader", "toolbar",
    }  # fmt: skip
    return [role for role, name in browser.told() if role in need and not name.strip()]


def test_a_screen_reader_is_told(browser: Browser, race: str) -> None:
    """The page has the roles and names that say what it is and how large it is."""
    show(browser, race)
    told = browser.told()
    for one in (
        ("main", ""),
        ("heading", TITLE),
        ("toolbar", "Photos per hour"),
        ("group", "Monday 19 January 2026"),
        ("combobox", "Photographer"),
        ("grid", "Photos"),
        ("status", ""),
    ):
        assert one in told, one
    links = [name for role, name in told if role == "link"]
    pictures = crowd(MANY).pictures
    assert links[0] == f"\u2068{pictures[0].name}\u2069, by \u2068{pictures[0].photographer}\u2069"
    show(browser, f"{race}#photo=0")
    assert ("dialog", pictures[0].name) in browser.told()
    assert ("button", "Next photo") in browser.told()


def test_without_scripts(browser: Browser, race: str) -> None:
    """Without scripts the page says what it is, and leads to the list and the folder."""
    browser.driver.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    try:
        browser.open(race)
        body = browser.driver.find_element("tag name", "body")
        WebDriverWait(browser.driver, 5).until(lambda _: "needs JavaScript" in body.text)
        assert TITLE in body.text
        links = browser.driver.find_elements("css selector", "#fallback a")
        targets = [str(one.get_dom_attribute("href")) for one in links]
        assert targets == ["photos.csv", "data/"]
        assert not browser.driver.find_element("id", "controls").is_displayed()
    finally:
        browser.driver.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})


def test_without_motion(browser: Browser, race: str) -> None:
    """Whoever asks for less motion gets none."""
    browser.driver.execute_cdp_cmd(
        "Emulation.setEmulatedMedia",
        {"features": [{"name": "prefers-reduced-motion", "value": "reduce"}]},
    )
    show(browser, race)
    assert browser.run("return document.getAnimations().length") == 0
    moving = (
        "return [...document.querySelectorAll('*')]"
        ".some((one) => parseFloat(getComputedStyle(one).transitionDuration) > 0)"
    )
    assert browser.run(moving) is False


def test_a_file_that_is_gone_is_named(browser: Browser, tmp_path: Path) -> None:
    """A photo that somebody deleted from the package leaves a note in its place, and the viewer its thumbnail."""
    gallery = crowd(3)
    page = lay(tmp_path / "package", gallery)
    for variant in (gallery.pictures[0].thumbnail, gallery.pictures[1].large):
        (tmp_path / "package" / str(variant)).unlink()
    browser.open(page.as_uri())
    wait(browser, "return document.querySelectorAll('#grid a.lost').length === 1")
    browser.run("document.querySelectorAll('#grid a')[1].click()")
    wait(browser, "return document.getElementById('shot').className === 'small'")
    assert "/thumbnail/" in str(browser.run("return document.getElementById('shot').src"))
    assert all("ERR_FILE_NOT_FOUND" in line for line in browser.messages())
