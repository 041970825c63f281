"""Layout templates: what may be written, and their parts (DESIGN §4). No I/O."""

from __future__ import annotations

import re
from typing import Final

DEFAULT_LAYOUT: Final = "{date}/{hour}/{variant}/{image_id}{ext}"
# Microsoft, "Naming Files, Paths, and Namespaces": devices in every folder, with any extension.
DEVICES: Final = frozenset({"con", "prn", "aux", "nul"}) | {
    f"{port}{digit}" for port in ("com", "lpt") for digit in range(10)
}
OWN_NAMES: Final = frozenset({"sha256sums", "event.json"})  # DESIGN §5, without regard to case
FORMS: Final = {  # what each placeholder of a layout can become
    "{date}": r"(?:[0-9]{4}-[0-9]{2}-[0-9]{2}|undated)",
    "{hour}": r"(?:[0-9]{2}|undated)",
    "{variant}": "(?:thumbnail|large|original)",
    "{image_id}": "[0-9a-z][0-9a-z_~-]*",
}
# The longest that each can become.
_WIDTHS: Final = {"{date}": 10, "{hour}": 7, "{variant}": 9, "{image_id}": 64}
_EXTENSION_ROOM: Final = 8
_DEEPEST: Final = 8  # folders; a person browses them
_LONGEST_COMPONENT: Final = (
    255  # on all four file systems; ext4 counts bytes, the others characters
)
_LONGEST_PATH: Final = 512  # leaves a root room below PATH_MAX, 4096


def parse_layout(template: str) -> tuple[tuple[str, ...], ...]:
    """Check a layout template and take it apart.

    Literal text is ASCII only: other letters are stored in different forms by APFS and the rest, so
    that a path read back would not be the one that the manifest knows.

    Returns:
        For every component of the path its literals and placeholders, in order, without the final
        `{ext}`.

    Raises:
        ValueError: It could lead out of the event folder, onto another photo or a name of ours, or
            to a name that ext4, NTFS, exFAT or APFS refuses. The text completes the sentence "the
            layout …".
    """
    body = template.removesuffix("{ext}")
    if "{ext}" in body:
        raise ValueError("must have {ext} at its very end, or not at all")
    components = tuple(
        tuple(token for token in re.split(r"(\{[^{}]*\})", component) if token)
        for component in body.split("/")
    )
    for needed in ("{variant}", "{image_id}"):
        if not any(needed in component for component in components):
            raise ValueError(f"must contain {needed}, or photos would stand in each other's place")
    for component in components:
        _check_component(component)
    if len(components) > _DEEPEST:
        raise ValueError(f"has more than {_DEEPEST} components")
    if sum(_width(component) + 1 for component in components) + _EXTENSION_ROOM > _LONGEST_PATH:
        raise ValueError(f"gives paths longer than {_LONGEST_PATH} bytes")
    return components


def _check_component(component: tuple[str, ...]) -> None:
    text = "".join(component)
    literals = "".join(token for token in component if token not in FORMS)
    unknown = next((token for token in component if token[0] == "{" and token not in FORMS), None)
    if unknown:
        raise ValueError(f"has an unknown placeholder {unknown}")
    if text in {"", ".", ".."}:
        raise ValueError("must be a relative path without empty, '.' or '..' components")
    if bad := re.search(r'[^ -~]|[<>:"|?*\\{}]', literals):
        raise ValueError(f"contains {bad[0]!a}, which not every file system takes")
    if text[0] in ".- " or text[-1] in ". ":
        raise ValueError(
            f"has the component {text!a}, which begins or ends with a dot, space or hyphen"
        )
    # Once each makes both ends of a component fixed codes, so that no two photos meet (placement).
    if any(component.count(token) > 1 for token in FORMS):
        raise ValueError(f"repeats a placeholder in the component {text!a}")
    if _width(component) + _EXTENSION_ROOM > _LONGEST_COMPONENT:
        raise ValueError(f"gives names longer than {_LONGEST_COMPONENT} bytes")
    _check_reserved(component)


def _check_reserved(component: tuple[str, ...]) -> None:
    # An id alone cannot become one of these names, safe_name sees to it; "n{image_id}" could.
    if component == ("{image_id}",):
        return
    whole = _pattern(component)
    # Windows sees a device in everything before the first dot, without the spaces that end it.
    dotted = next((place for place, token in enumerate(component) if "." in token), len(component))
    last = "".join(component[dotted : dotted + 1]).partition(".")[0].rstrip()
    stem = _pattern((*component[:dotted], last))
    taken = [name for name in OWN_NAMES if re.fullmatch(whole, name, re.IGNORECASE)]
    taken += [name for name in DEVICES if re.fullmatch(stem, name, re.IGNORECASE)]
    if taken:
        raise ValueError(f"can give the name {min(taken)}, which is taken")


def _pattern(component: tuple[str, ...]) -> str:
    return "".join(FORMS.get(token, re.escape(token)) for token in component)


def _width(component: tuple[str, ...]) -> int:
    return sum(_WIDTHS.get(token, len(token)) for token in component)
