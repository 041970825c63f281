"""The vendor's documented examples, run against the sandbox as they stand but for host and key."""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest
import trio

from ninepic_mirror.sandbox import EventSpec, Sandbox

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

PAGES: Final = sorted((Path(__file__).parent / "seeds").glob("*.txt"))
TEXT: Final = "\n".join(re.sub(r"^> ?", "", page.read_text(), flags=re.MULTILINE) for page in PAGES)
CURL: Final = [
    re.sub(r"\\\s*\n\s*", "", found)
    for found in re.findall(r"curl -i \\\n.*?\"https://[^\"]*\"", TEXT, re.DOTALL)
]
PYTHON: Final = re.findall(r"^( *)```python[^\n]*\n(.*?)```", TEXT, re.MULTILINE | re.DOTALL)
NODE: Final = re.findall(r"^( *)```javascript[^\n]*\n(.*?)```", TEXT, re.MULTILINE | re.DOTALL)


def documented() -> list[dict[str, object]]:
    """Return every answer that the pages show, as JSON."""
    starts = [match.start() for match in re.finditer(r"\{\s*\"responseType\"", TEXT)]
    return [json.JSONDecoder().raw_decode(TEXT, start)[0] for start in starts]


def shape(value: object) -> object:
    """Return the names and types of an answer; of a list, those of its first item."""
    if isinstance(value, dict):
        return {name: shape(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [shape(inner) for inner in value[:1]]
    return type(value).__name__


def body_of(output: str) -> object:
    """Return the JSON object that an example printed, after headers or a status."""
    text = output[output.index("{") :].strip()
    return json.loads(text)


def plain(indent: str, code: str) -> str:
    """Return an example without the indentation of its fence."""
    return re.sub(f"^{indent}", "", code, flags=re.MULTILINE)


@pytest.fixture(params=["http", "https"])
async def sandbox(request: pytest.FixtureRequest) -> AsyncIterator[Sandbox]:
    """Serve photos in the window that the examples ask for: 2024-01-01 10:00 UTC."""
    spec = EventSpec(photos=125, hours=1, first_hour=1704103200, look="cheap")
    async with Sandbox([spec], tls=request.param == "https").running() as sandbox:
        yield sandbox


async def run(sandbox: Sandbox, command: list[str]) -> str:
    """Run an example with host and key put in; the certificate comes from the environment."""
    here = [
        part.replace("https://api.9pic.ai", sandbox.api_url).replace(
            "<your_9pic_api_key>", "test-key"
        )
        for part in command
    ]
    trust = dict.fromkeys(
        ("CURL_CA_BUNDLE", "REQUESTS_CA_BUNDLE", "NODE_EXTRA_CA_CERTS"), str(sandbox.ca_file)
    )
    environment = os.environ | (trust if sandbox.tls else {}) | {"no_proxy": "127.0.0.1"}
    with trio.fail_after(20):
        done = await trio.run_process(
            here, capture_stdout=True, capture_stderr=True, check=False, env=environment
        )
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout.decode()


def test_every_example_was_found() -> None:
    """The two pages hold three curl, two Python and two JavaScript examples and five answers."""
    assert (len(PAGES), len(CURL), len(PYTHON), len(NODE), len(documented())) == (2, 3, 2, 2, 6)


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
@pytest.mark.parametrize("command", CURL, ids=range(len(CURL)))
async def test_curl(sandbox: Sandbox, command: str) -> None:
    """The curl examples get an answer of a shape that the pages show."""
    output = await run(sandbox, ["bash", "-c", command.replace("curl -i", "curl -s -i ")])
    assert output.startswith("HTTP/1.1 200")
    assert shape(body_of(output)) in [shape(answer) for answer in documented()]


@pytest.mark.parametrize("example", PYTHON, ids=range(len(PYTHON)))
async def test_requests(sandbox: Sandbox, example: tuple[str, str]) -> None:
    """The Python examples print 200 and an answer of a shape that the pages show."""
    code = plain(*example).replace("response.json())", "__import__('json').dumps(response.json()))")
    output = await run(sandbox, [sys.executable, "-c", code])
    assert output.startswith("200 ")
    assert shape(body_of(output)) in [shape(answer) for answer in documented()]


@pytest.mark.skipif(shutil.which("node") is None, reason="node is not installed")
@pytest.mark.parametrize("example", NODE, ids=range(len(NODE)))
async def test_fetch(sandbox: Sandbox, example: tuple[str, str]) -> None:
    """The JavaScript examples print an answer of a shape that the pages show."""
    code = plain(*example).replace("await response.json()", "JSON.stringify(await response.json())")
    output = await run(sandbox, ["node", "--input-type=module", "-e", code])
    assert shape(body_of(output)) in [shape(answer) for answer in documented()]


async def test_empty_answers_are_as_documented(sandbox: Sandbox) -> None:
    """The documented empty answers come back to the letter."""
    sandbox.add_event(EventSpec(photos=0))
    empty = [answer for answer in documented() if str(answer["message"]).startswith("No ")]
    for path in ("images?page=1&page_size=32", "timeline/days", "timeline/images?from=1&to=2"):
        url = f"{sandbox.api_url}/api/v1/ext/903/event/456/{path}"
        output = await run(sandbox, ["curl", "-s", "-H", "X-API-Key: test-key", url])
        assert json.loads(output) in empty
    assert len(empty) == 3
