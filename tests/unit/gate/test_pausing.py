"""Gates and partitions that were added."""

from __future__ import annotations

import pytest

from pipeline.errors import TopicsWrong
from pipeline.gate.pausing import require_moved
from pipeline.records.layout import Layout


def test_a_bare_alter_is_refused_with_the_remedy() -> None:
    """A gate does not look for people where they are not: it says who has to be moved, and how."""
    with pytest.raises(TopicsWrong, match=r"found 24, but people are on 12: .* wapipe topics scale --recipients 24"):
        require_moved(Layout(12), 24)


def test_what_was_moved_or_never_written_down_is_taken_as_it_is() -> None:
    """A layout that fits, and one that nobody knows, keep no gate from starting."""
    require_moved(Layout(24), 24)
    require_moved(None, 24)
