"""How long an answer asks us to wait, at façades that speak v1."""

from __future__ import annotations

import pytest

from pipeline.whatsapp.retry_after import retry_after_s

NOW_S = 1_795_300_000.0


@pytest.mark.parametrize(
    ("headers", "wait_s"),
    [
        ({"X-Ratelimit-Remaining": "0", "X-Ratelimit-Reset": "1795300042"}, 42.0),
        ({"x-ratelimit-remaining": " 0 ", "X-RATELIMIT-RESET": "1795300042"}, 42.0),
        ({"Retry-After": "7", "X-Ratelimit-Remaining": "0", "X-Ratelimit-Reset": "1795300042"}, 7.0),
        ({"X-Ratelimit-Remaining": "0", "X-Ratelimit-Reset": "1795299990"}, 0.0),
        ({"X-Ratelimit-Remaining": "12", "X-Ratelimit-Reset": "1795300042"}, None),
        ({"X-Ratelimit-Reset": "1795300042"}, None),
        ({"X-Ratelimit-Remaining": "0", "X-Ratelimit-Reset": "soon"}, None),
        ({"X-Ratelimit-Remaining": "0"}, None),
    ],
)
def test_a_reset_counts_when_nothing_is_left(headers: dict[str, str], wait_s: float | None) -> None:
    """The end of the window counts only if the window is used up, as it stands on every answer; Retry-After wins."""
    assert retry_after_s(headers, NOW_S) == wait_s
