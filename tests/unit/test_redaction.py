"""What the service says is kept without anything of a signed address."""

from __future__ import annotations

import pytest

from ninepic_mirror.ninepic.redaction import plain_reason, unsigned


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("Image not found", "Image not found"),
        ("gone: https://s/a.jpg?X-Sig=abc now", "gone: … now"),
        ("at /a.jpg?X-Sig=abc&b=c", "at …"),
        ("two\nlines\x1b", "two lines "),
        ("at /a/b", "at …"),
        ("x" * 41, "…"),
        ("x " * 300, "x " * 100),
        *(
            (text, "one that speaks of a signature, which is kept nowhere")
            for text in (
                "<Code>SignatureDoesNotMatch</Code><SignatureProvided>abc</SignatureProvided>",
                "X-Amz-Credential abc",
                "the token: abc",
            )
        ),
    ],
)
def test_a_reason_carries_no_address(text: str, told: str) -> None:
    """What the service says of a photo is told without addresses, controls, or an end."""
    assert plain_reason(text) == told


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("Mumbai Marathon 2026", "Mumbai Marathon 2026"),
        ("Who wins? You & I", "Who wins? You & I"),
        ("see https://s/a.jpg?X-Sig=abc&b=c now", "see https://s/a.jpg?… now"),
        ("see HTTPS://s/a.jpg?abc", "see HTTPS://s/a.jpg?…"),
        ('{"at": "//s/a.jpg?abc"}', '{"at": "//s/a.jpg?…"}'),
        ("s3/a.jpg?X-Sig=abc", "s3/a.jpg?…"),
        ("two\nhttps://s/a?b lines", "two\nhttps://s/a?… lines"),
    ],
)
def test_a_name_carries_no_query(text: str, told: str) -> None:
    """A name loses the query of an address, whatever the scheme, and nothing else."""
    assert unsigned(text) == told
