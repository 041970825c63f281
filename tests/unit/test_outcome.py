"""Exit codes and cures: each error has its own, and the worst of several is the run's."""

from __future__ import annotations

import inspect

import pytest

from ninepic_mirror import errors
from ninepic_mirror.cli.console import Console
from ninepic_mirror.cli.outcome import code_of, cure_of, fail, worst

ERRORS: list[tuple[Exception, int]] = [
    (errors.UsageError("x", "y"), 2),
    (errors.ConfigError((errors.Problem("f", "k", "t", "c"),)), 2),
    (errors.KeyRefusedError(401, 903), 3),
    (errors.KeyRefusedError(403, 903, 456), 3),
    (errors.UnreachableError("https://x", 120, "y"), 5),
    (errors.UnreachableError("https://x", 0, "429", 1_800_000_000), 5),
    (errors.CertificateError("https://x", "y"), 5),
    (errors.PassingError("502"), 5),
    (errors.StorageError("/x", "full", "make room"), 6),
    (errors.LostError("/x", "its manifest is lost", "rebuild it", 456), 6),
    (errors.EventNotFoundError(456), 9),
    (errors.NotMirroredError(456, "/x"), 9),
    (errors.NotMirroredError(456, "/x", "ninepic-mirror sync 456"), 9),
    (errors.EventBusyError(456, 1), 7),
    (errors.RootBusyError("/srv/ninepic", 12), 7),
    (errors.DamagedError(456, "a/b.jpg", "is not there"), 8),
    (errors.ChangedError(456, "a/b.jpg"), 4),
    (errors.FeatureOffError(456, "timeline"), 4),
    (errors.RejectedError("images", 422), 1),
    (errors.RedirectedError("images", 302), 5),
]


@pytest.mark.parametrize(("error", "code"), ERRORS, ids=lambda value: type(value).__name__)
def test_codes_and_cures(error: Exception, code: int, capsys: pytest.CaptureFixture[str]) -> None:
    """Every error has its exit code, one line, a cure, and no traceback."""
    assert code_of(error) == code
    assert fail(Console(), error) == code
    lines = capsys.readouterr().err.splitlines()
    assert [line[:7] for line in lines] == ["error: ", "  next:"]
    assert cure_of(error) or isinstance(error, errors.ConfigError)


def test_no_error_is_forgotten() -> None:
    """Every error that can reach the command line has a code of its own."""
    listed = {type(error) for error, _ in ERRORS}
    bases = {
        errors.MirrorError,
        errors.StopProgramError,
        errors.StopEventError,
        errors.PhotoError,
        errors.UnchangedError,  # no fault, and the pass's own business
    }
    defined = {
        kind
        for _, kind in inspect.getmembers(errors, inspect.isclass)
        if issubclass(kind, errors.MirrorError)
    }
    assert defined - bases == listed


def test_a_bug_is_shown_whole(capsys: pytest.CaptureFixture[str]) -> None:
    """What nobody expected shows its traceback, without the query of an address, and ends with 1."""
    signature = "hush" * 4
    with pytest.raises(ValueError, match="invalid literal") as caught:
        int(f"https://photos/x.jpg?X-Amz-Signature={signature}")
    assert fail(Console(), caught.value) == 1
    shown = capsys.readouterr().err
    assert "Traceback" in shown
    assert "https://photos/x.jpg?…" in shown
    assert signature not in shown


@pytest.mark.parametrize(
    ("codes", "code"),
    [([], 0), ([0, 0], 0), ([0, 4, 9], 9), ([4, 2], 4), ([9, 7, 5], 5), ([2, 8, 4], 8), ([5, 1, 6, 3], 3), ([5, 1, 6], 6)],
)  # fmt: skip
def test_the_worst_of_several(codes: list[int], code: int) -> None:
    """The code of a run is the first that occurred of 3 6 1 5 7 9 8 4 2."""
    assert worst(codes) == code
