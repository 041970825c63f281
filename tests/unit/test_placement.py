"""Where photos stand: nothing leaves its folder, and no two photos meet."""

from __future__ import annotations

import re
import unicodedata
from datetime import UTC, datetime
from typing import get_args
from zoneinfo import ZoneInfo, available_timezones

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from ninepic_mirror.archive.placement import (
    Layout,
    cut,
    event_folder,
    is_folder_of,
    parts,
    safe_name,
    top_folder,
)
from ninepic_mirror.config import DEFAULT_LAYOUT
from ninepic_mirror.model import HOUR, Variant, Window

# The same examples each time, and no clock: a busy machine must not fail a test.
STEADY = settings(derandomize=True, deadline=None)
UTC_ZONE = ZoneInfo("UTC")
FIRST = -62_135_596_800  # 0001-01-01T00:00:00Z
LAST = 253_402_300_799  # 9999-12-31T23:59:59Z
RACE = 1_768_803_000  # 2026-01-19T06:10:00Z

# Ids as a bad service would choose them: any code point, surrogates too, and near misses of what is kept.
identifiers = st.one_of(
    st.text(st.characters(), max_size=80),
    st.text("aAbBéÉß-_.~/\\ 0", max_size=12),
    st.text("abcdef0123456789-", min_size=1, max_size=70),
    st.sampled_from(
        ["con", "CON", "nul.txt", "..", "undated", "large", "2026-01-19", "06", "sha256sums"]
    ),
)
variants = st.sampled_from(get_args(Variant))
zones = st.sampled_from(sorted(available_timezones())).map(ZoneInfo)
moments = st.none() | st.integers(FIRST, LAST)
templates = st.sampled_from(
    [
        DEFAULT_LAYOUT,
        "{variant}/{image_id}{ext}",
        "{variant}{image_id}{ext}",
        "{image_id}{variant}{ext}",
        "{image_id}-{variant}",
        "{hour}/{variant}/{image_id}{ext}",
        "{hour}{image_id}{date}/{variant}{ext}",
        "{date}T{hour}/{image_id}/{variant}{ext}",
        "{date}/{hour}-{variant}/{image_id}{ext}",
        "{image_id}/{date}/{hour}/{variant}{ext}",
        "{image_id}/{hour}/{date}/{variant}{ext}",
        "Day {date}/{hour} h/{variant}-{hour}-{image_id}{ext}",
        "{image_id}/x{image_id}{variant}{hour}{date}{ext}",
    ]
)


def folded(text: str) -> set[str]:
    """Return the forms under which file systems without regard to case or Unicode form keep a name."""
    return {unicodedata.normalize(form, text).casefold() for form in ("NFC", "NFD", "NFKC")} | {
        text.upper()
    }


# --- names ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "raw", ["a", "0", "b5513429-1d05-5f2f-c9f9-bd9f9g3gd355", "a_b", "a" * 64, "com", "nul1"]
)
def test_harmless_names_are_kept(raw: str) -> None:
    """What is legal everywhere is stored as it is (DESIGN §5)."""
    assert safe_name(raw) == raw


@pytest.mark.parametrize(
    ("raw", "prefix"),
    [
        ("", "x"), ("..", "x"), ("../../x", "x"), ("a/b", "a-b"), ("CON", "con"), ("con", "con"), ("lpt9", "lpt9"),
        ("com0", "com0"), ("A-case", "a-case"), ("Zoë", "zoe"), ("東京", "x"), ("-rf", "rf"), ("_a", "a"),
        ("a" * 65, "a" * 32), ("x" * 300, "x" * 32), ("a\0b", "a-b"), ("a\n", "a"), ("\udc80", "x"),
        ("٣", "x"), ("ﬀ", "ff"), ("~a", "a"), ("sha256sums", "sha256sums"), ("a.", "a"), ("\u202egpj", "gpj"),
    ],
)  # fmt: skip
def test_other_names_become_prefix_and_hash(raw: str, prefix: str) -> None:
    """A readable prefix, `~`, and 24 digits of SHA-256 of the raw value."""
    assert re.fullmatch(re.escape(prefix) + "~[0-9a-f]{24}", safe_name(raw))


def test_the_hash_is_the_one_that_is_promised() -> None:
    """Two mirrors agree, today's and next year's: the name of one id is written down here."""
    assert safe_name("CON") == "con~a3dbc4b644a9a2c51e74509d"
    assert len({safe_name(raw) for raw in ("\ud800", "\ud801", "?")}) == 3


@STEADY
@given(identifiers)
def test_every_name_is_legal_everywhere(raw: str) -> None:
    """ASCII, at most 64 bytes, no separator, dot, space or device: ext4, NTFS, exFAT and APFS take it."""
    name = safe_name(raw)
    assert re.fullmatch("[0-9a-z][0-9a-z_-]{0,63}|[0-9a-z][0-9a-z-]{0,31}~[0-9a-f]{24}", name)
    assert not re.fullmatch("con|prn|aux|nul|(com|lpt)[0-9]", name)
    assert len(name) <= 64


@STEADY
@given(identifiers, identifiers)
def test_names_are_unique_without_regard_to_case(one: str, other: str) -> None:
    """Two ids have two names on every file system, whatever it does to case and Unicode forms."""
    assume(one != other)
    assert not folded(safe_name(one)) & folded(safe_name(other))


@STEADY
@given(identifiers.filter(bool))
def test_variations_of_one_id_stay_apart(raw: str) -> None:
    """Ids that differ only in case or Unicode form are two photos."""
    forms = {raw, raw.upper(), raw.lower(), raw.swapcase(), unicodedata.normalize("NFC", raw)}
    forms.add(unicodedata.normalize("NFD", raw))
    assert len({safe_name(form).casefold() for form in forms}) == len(forms)


@pytest.mark.parametrize(
    ("slug", "folder"),
    [("mumbai-marathon-2026", "456-mumbai-marathon-2026"), (None, "456"), ("", "456")],
)
def test_event_folders(slug: str | None, folder: str) -> None:
    """The number, and the slug where there is one."""
    assert event_folder(456, slug) == folder


@STEADY
@given(st.integers(1, 2**63 - 1), identifiers | st.none(), st.integers(1, 2**63 - 1))
def test_an_event_folder_is_found_again_by_its_number(
    event_id: int, slug: str | None, other: int
) -> None:
    """A folder is its event's whatever the slug, and no other event's."""
    name = event_folder(event_id, slug)
    assert "/" not in name
    assert len(name) <= 255
    assert is_folder_of(name, event_id)
    assert is_folder_of(name, other) == (event_id == other)


def test_a_longer_number_is_another_event() -> None:
    """456 does not own the folders of 4567."""
    assert not is_folder_of("4567-x", 456)
    assert not is_folder_of("x-456", 456)


# --- templates ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("template", "fault"),
    [
        ("", "must contain {variant}"),
        ("{variant}{ext}", "must contain {image_id}"),
        ("{image_id}{ext}", "must contain {variant}"),
        ("/{variant}/{image_id}", "empty"),
        ("{variant}/{image_id}/", "empty"),
        ("{variant}//{image_id}", "empty"),
        ("{variant}/../{image_id}", "'..'"),
        ("./{variant}/{image_id}", "'.'"),
        ("{variant}/{ext}", "must contain {image_id}"),
        ("{variant}/{image_id}{ext}.jpg", "{ext} at its very end"),
        ("{ext}/{variant}/{image_id}{ext}", "{ext} at its very end"),
        ("{variant}/{image_id}/{ext}", "empty"),
        ("{event}/{variant}/{image_id}", "unknown placeholder {event}"),
        ("{variant}/{image_id!r}{image_id}", "unknown placeholder {image_id!r}"),
        ("{variant}/{image_id}{", "unknown placeholder {"),
        ("{variant}/{image_id}}", "contains '}'"),
        ("{{variant}}/{variant}/{image_id}", "unknown placeholder {"),
        ("é/{variant}/{image_id}", "contains '\\xe9'"),
        ("a:b/{variant}/{image_id}", "contains ':'"),
        ("a\\b/{variant}/{image_id}", "contains '\\\\'"),
        ("a\nb/{variant}/{image_id}", "contains '\\n'"),
        ("a\x7f/{variant}/{image_id}", "contains '\\x7f'"),
        (".x/{variant}/{image_id}", "begins or ends"),
        (".ninepic-mirror/{variant}/{image_id}", "begins or ends"),
        ("-x/{variant}/{image_id}", "begins or ends"),
        (" x/{variant}/{image_id}", "begins or ends"),
        ("x /{variant}/{image_id}", "begins or ends"),
        ("x./{variant}/{image_id}", "begins or ends"),
        ("{variant}/{image_id}.{ext}", "begins or ends"),
        ("{variant}/{image_id}-{image_id}", "repeats a placeholder"),
        ("con/{variant}/{image_id}", "the name con"),
        ("LPT1.x/{variant}/{image_id}", "the name lpt1"),
        ("nul .x/{variant}/{image_id}", "the name nul"),
        ("{variant}/n{image_id}", "the name nul"),
        ("{variant}/{image_id}1.jpg", "the name com1"),
        ("event.json/{variant}/{image_id}", "the name event.json"),
        ("SHA256SUMS/{variant}/{image_id}", "the name sha256sums"),
        ("{variant}/sha{image_id}", "the name sha256sums"),
        ("x" * 240 + "/{variant}/{image_id}", None),
        ("x" * 250 + "/{variant}/{image_id}", "longer than 255"),
        ("{variant}/{image_id}" + "x" * 190, "longer than 255"),
        ("/".join(["x" * 240] * 2) + "/{variant}/{image_id}", "longer than 512"),
        ("a/" * 6 + "{variant}/{image_id}", None),
        ("a/" * 7 + "{variant}/{image_id}", "more than 8"),
    ],
)  # fmt: skip
def test_templates_are_checked(template: str, fault: str | None) -> None:
    """What could lead astray is refused with a text that says why; the rest is taken."""
    if fault is None:
        assert Layout.parse(template).uses_time() is False
        return
    with pytest.raises(ValueError, match=re.escape(fault)):
        Layout.parse(template)


@STEADY
@given(
    st.lists(
        st.sampled_from(
            ["{date}", "{hour}", "{variant}", "{image_id}", "{ext}", "/", ".", "n", " ", "{", "é"]
        )
    )
)
def test_a_template_is_refused_or_safe(pieces: list[str]) -> None:
    """Whatever is accepted keeps every photo inside the folder; whatever is not is a ValueError."""
    try:
        layout = Layout.parse("".join(pieces))
    except ValueError:
        return
    for taken in (None, RACE):
        assert_safe(layout.stem(taken, UTC_ZONE, "large", "ul"))


# --- paths ----------------------------------------------------------------------------------------------------


def assert_safe(stem: str) -> None:
    """Fail if a path could leave its folder or is illegal somewhere."""
    assert len(stem) <= 512
    for component in stem.split("/"):
        assert re.fullmatch(r"[^\x00-\x1f\x7f-\U0010ffff<>:\"|?*\\/]{1,247}", component)
        assert component[0] not in ".- "
        assert component[-1] not in ". "
        assert not re.fullmatch(
            r"(con|prn|aux|nul|(com|lpt)[0-9])( *\..*)?", component, re.IGNORECASE
        )
        assert component.lower() not in {"event.json", "sha256sums"}


@pytest.mark.parametrize(
    ("template", "dated", "undated"),
    [
        ("{date}/{hour}/{variant}/{image_id}", "2026-01-19/06/large/a", "undated/large/a"),
        ("{date}/{variant}/{image_id}", "2026-01-19/large/a", "undated/large/a"),
        ("{date} {hour}h/{variant}/{image_id}", "2026-01-19 06h/large/a", "undated/large/a"),
        ("{date}/{hour}h/{variant}/{image_id}", "2026-01-19/06h/large/a", "undated/large/a"),
        ("{date}/{variant}/{hour}-{image_id}", "2026-01-19/large/06-a", "undated/large/undated-a"),
        ("{date}/{hour}-{variant}/{image_id}", "2026-01-19/06-large/a", "undated/undated-large/a"),
        ("{date}-{hour}-{image_id}/{variant}", "2026-01-19-06-a/large", "undated-undated-a/large"),
        ("{hour}/{variant}/{image_id}", "06/large/a", "undated/large/a"),
        ("{variant}/{image_id}", "large/a", "large/a"),
    ],
)
def test_stems(template: str, dated: str, undated: str) -> None:
    """Undated photos stand under `undated`, and a component of the hour alone is dropped (DESIGN §5)."""
    layout = Layout.parse(template + "{ext}")
    assert layout == Layout.parse(template)
    assert layout.stem(RACE, UTC_ZONE, "large", "a") == dated
    assert layout.stem(None, UTC_ZONE, "large", "a") == undated
    assert layout.uses_time() == (dated != undated)


@pytest.mark.parametrize(
    ("zone", "moment", "folder"),
    [
        ("Asia/Kolkata", RACE, "2026-01-19/11"),
        ("Asia/Kolkata", RACE + 1200, "2026-01-19/12"),
        ("America/Los_Angeles", RACE, "2026-01-18/22"),
        ("UTC", 0, "1970-01-01/00"),
        ("UTC", -1, "1969-12-31/23"),
        ("UTC", FIRST, "0001-01-01/00"),
        ("UTC", LAST, "9999-12-31/23"),
        ("America/New_York", FIRST, "0001-01-01/00"),  # no local time there: the UTC one
        ("Asia/Tokyo", LAST, "9999-12-31/23"),
    ],
)
def test_folders_are_local(zone: str, moment: int, folder: str) -> None:
    """Day and hour are those of the configured zone, in any year that has four digits."""
    stem = Layout.parse(DEFAULT_LAYOUT).stem(moment, ZoneInfo(zone), "large", "a")
    assert stem == f"{folder}/large/a"


def test_years_without_four_digits_are_an_error() -> None:
    """What datetime cannot hold is refused, not folded into another year."""
    with pytest.raises(OverflowError):
        Layout.parse(DEFAULT_LAYOUT).stem(LAST + 1, UTC_ZONE, "large", "a")


@STEADY
@given(templates, moments, zones, variants, identifiers)
def test_paths_never_leave_their_folder(
    template: str, taken: int | None, zone: ZoneInfo, variant: Variant, image_id: str
) -> None:
    """Whatever the id, moment and zone, a path is relative, legal and bounded."""
    stem = Layout.parse(template).stem(taken, zone, variant, image_id)
    assert_safe(stem)
    assert top_folder(stem) == (stem.split("/")[0] if "/" in stem else "")


@STEADY
@given(
    templates,
    zones,
    st.tuples(variants, identifiers, moments),
    st.tuples(variants, identifiers, moments),
)
def test_two_photos_never_meet(
    template: str,
    zone: ZoneInfo,
    one: tuple[Variant, str, int | None],
    other: tuple[Variant, str, int | None],
) -> None:
    """Different variants or ids never share a path, whenever they were taken, nor does one's file be another's folder."""
    assume(one[:2] != other[:2])
    layout = Layout.parse(template)
    first, second = (
        layout.stem(taken, zone, variant, image_id).casefold()
        for variant, image_id, taken in (one, other)
    )
    assert first != second
    assert not f"{second}/".startswith(f"{first}/")


@STEADY
@given(templates, identifiers, variants, zones, moments)
def test_a_place_is_known_again(
    template: str, image_id: str, variant: Variant, zone: ZoneInfo, moment: int | None
) -> None:
    """Every path of a layout is one of its places, which tells the variant and the photo; one beside it is none."""
    layout = Layout.parse(template)
    stem = layout.stem(moment, zone, variant, image_id)
    for path in (stem, f"{stem}.jpg"):
        found = layout.places().fullmatch(path)
        assert found is not None
        assert {*found.groups()} - {None} == {variant}
        assert layout.places().fullmatch(f"best/{path}") is None
    assert layout.whose(stem) == (variant, safe_name(image_id))
    assert layout.whose(f"best/{stem}") is None
    assert layout.whose(f"{stem}.jpg") is None


def test_undated_files_never_meet_dated_folders() -> None:
    """Dropping the hour must not put a file where the id of another photo makes a folder."""
    layout = Layout.parse("{hour}/{image_id}/{variant}")
    undated = layout.stem(None, UTC_ZONE, "large", "06")
    dated = layout.stem(RACE, UTC_ZONE, "thumbnail", "large")
    assert (undated, dated) == ("undated/06/large", "06/large/thumbnail")


def test_the_top_folder_is_the_first() -> None:
    """It is what gets a SHA256SUMS; a file that stands in the event folder itself has none."""
    assert (top_folder("2026-01-19/06/large/a.jpg"), top_folder("a.jpg")) == ("2026-01-19", "")


# --- hours ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("zone", "moment", "seconds"),
    [
        ("UTC", RACE, 0),
        ("Europe/Berlin", RACE, 0),
        ("Asia/Kolkata", RACE, 1800),
        ("Asia/Kathmandu", RACE, 900),
        ("America/St_Johns", RACE, 1800),
        ("Pacific/Chatham", RACE, 900),
        ("Asia/Kathmandu", 0, 1800),  # +5:30 until 1986
        ("Asia/Kolkata", FIRST, 392),  # local mean time, +5:53:28
    ],
)
def test_hours_are_cut_at_the_local_edge(zone: str, moment: int, seconds: int) -> None:
    """The offset at that time decides (DESIGN §6, Moves)."""
    assert cut(ZoneInfo(zone), moment - moment % HOUR) == seconds


def test_a_cut_hour_has_two_windows() -> None:
    """Together they are the hour, and the edge belongs to the second."""
    assert parts(ZoneInfo("Asia/Kolkata"), 7200) == (Window(7200, 9000), Window(9000, 10800))
    assert parts(UTC_ZONE, 7200) == (Window(7200, 10800),)


@STEADY
@given(zones, st.integers(FIRST // HOUR, LAST // HOUR))
def test_parts_add_up(zone: ZoneInfo, number: int) -> None:
    """The windows are not empty, do not overlap, and cover the UTC hour: counts can be compared."""
    windows = parts(zone, number * HOUR)
    edges = [window.start for window in windows] + [windows[-1].end]
    assert (edges[0], edges[-1]) == (number * HOUR, (number + 1) * HOUR)
    assert [window.end for window in windows[:-1]] == edges[1:-1]
    assert edges == sorted(set(edges))


@STEADY
@given(zones, st.integers(0, 2**31 // HOUR), st.integers(0, HOUR - 1))
def test_a_part_lies_in_one_local_hour(zone: ZoneInfo, number: int, second: int) -> None:
    """Every moment of a part is in the local hour that names its folder, where the offset did not change meanwhile."""
    moment = number * HOUR + second
    (window,) = (part for part in parts(zone, number * HOUR) if part.start <= moment < part.end)
    start, there = (
        datetime.fromtimestamp(when, UTC).astimezone(zone) for when in (window.start, moment)
    )
    assume(start.utcoffset() == there.utcoffset())
    assert (start.date(), start.hour) == (there.date(), there.hour)
