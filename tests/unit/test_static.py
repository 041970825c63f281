"""What must not be written anywhere in the package, read off its syntax trees (RELIABILITY T27)."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import TYPE_CHECKING, Final

import ninepic_mirror

if TYPE_CHECKING:
    from collections.abc import Iterator

PACKAGE: Final = Path(ninepic_mirror.__file__).parent
TREES: Final = {
    path.relative_to(PACKAGE).as_posix(): ast.parse(path.read_text(encoding="utf-8"))
    for path in sorted(PACKAGE.rglob("*.py"))
    if path.parts[len(PACKAGE.parts)] != "sandbox"  # it plays the service
}

# Who may look at the wall clock, and what for. Nobody waits by it (RELIABILITY L9).
WALL_CLOCK: Final = {
    "ninepic/clock.py": "compares it with the service's, for `check`",
    "ninepic/client.py": "reads a `Retry-After` that is a date",
    "ninepic/transport.py": "likewise",
    "ninepic/photos.py": "likewise",
    "ninepic/pacing.py": "tells people until when the service will not answer",
    "cli/wishes.py": "which events are newer than some days",
    "sync/bandwidth.py": "the timetable of the day",
    "service/keeper.py": "likewise, and what the status page shows",
    "service/rounds.py": "whether an event is today, and how old a pass of an earlier run is",
    "service/daemon.py": "what the status page shows",
    "service/teller.py": "likewise",
    "archive/trash.py": "whether it agrees with the service's on how long the trash has lain",
    "archive/patience.py": "how long ago an earlier run failed on a file",
    "archive/manifest.py": "the times that rows have",
    "cli/shipment.py": "the day and the name of a package",
    "cli/dispatch.py": "when a package was made",
}


NODES: Final = [(module, node) for module, tree in TREES.items() for node in ast.walk(tree)]
# The module, the dotted name of what is called, and the call itself.
CALLS: Final = [
    (module, ast.unparse(node.func), node) for module, node in NODES if isinstance(node, ast.Call)
]


def assigned() -> Iterator[tuple[str, str, str]]:
    """Yield the module, the target and the value of each assignment."""
    for module, node in NODES:
        if isinstance(node, ast.Assign):
            for target in node.targets:
                yield module, ast.unparse(target), ast.unparse(node.value)


def is_waiting(name: str) -> bool:
    """Whether a call of this name takes a time to wait, or until when."""
    last = name.rpartition(".")[2]
    return last.startswith(("sleep", "move_on", "fail_a")) or last in {"wait", "Timeout"}


def test_tls_is_always_verified() -> None:
    """No call says `verify=False`, and no context is told not to look."""
    for module, name, call in CALLS:
        given = {word.arg: word.value for word in call.keywords}
        verify = given.get("verify")
        assert not (isinstance(verify, ast.Constant) and not verify.value), (module, name)
        assert not name.endswith("_create_unverified_context"), module
    named = {node.attr for _, node in NODES if isinstance(node, ast.Attribute)}
    assert not named & {"CERT_NONE", "check_hostname"}


def test_the_key_is_no_header_of_a_whole_client() -> None:
    """What is given to a client with all its requests, or set on it later, holds no key."""
    clients = 0
    for module, name, call in CALLS:
        if name.rpartition(".")[2] in {"AsyncClient", "AsyncConnectionPool", "update"}:
            clients += name == "httpx.AsyncClient"
            written = ast.unparse(call).lower()
            assert "x-api-key" not in written, (module, name)
            assert "authorization" not in written, (module, name)
    assert clients
    for module, target, _ in assigned():
        assert not target.endswith(".headers"), (module, target)
        assert ".headers[" not in target, (module, target)


def test_only_the_api_client_names_the_keys_header() -> None:
    """One module writes it into a request."""
    naming = [
        module
        for module, node in NODES
        if isinstance(node, ast.Constant) and node.value == "X-API-Key"
    ]
    assert naming == ["ninepic/client.py"]


def test_answers_are_parsed_by_wire() -> None:
    """Nobody takes a response's own `.json()`, which knows no limits."""
    assert not [(module, name) for module, name, _ in CALLS if name.endswith(".json")]


def test_no_shell() -> None:
    """No command is put together for a shell."""
    for module, name, call in CALLS:
        assert not any(word.arg == "shell" for word in call.keywords), (module, name)
        assert name not in {"os.system", "os.popen", "eval", "exec", "subprocess.getoutput"}, module


def test_who_may_look_at_the_wall_clock() -> None:
    """Those who have a reason, and nobody else."""
    clocks = {"time.time", "datetime.now", "datetime.utcnow"}
    looking = {
        module
        for module, name, call in CALLS
        if name in clocks or (name == "time.localtime" and not call.args)
    }
    assert looking == set(WALL_CLOCK)


def test_nobody_waits_by_the_wall_clock() -> None:
    """No wait and no deadline is made from it."""
    waits = [(module, ast.unparse(call)) for module, name, call in CALLS if is_waiting(name)]
    waits += [(module, value) for module, target, value in assigned() if "deadline" in target]
    assert waits
    assert not [(module, wait) for module, wait in waits if "time.time(" in wait]
