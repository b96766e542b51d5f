"""Properties of states by webhook: whatever the order of arrival, each part ends as the newest webhook told it."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.clock import rfc3339
from pipeline.whatsapp.news import PARTS, News, join, merge

KEY = "template:3/promo/en_US"
NEWS = st.builds(
    lambda part, second, mark: News(
        KEY, "template", "3/promo/en_US", "template", part, dict.fromkeys(PARTS["template"][part], mark), second * 1000
    ),
    st.sampled_from(sorted(PARTS["template"])),
    st.integers(0, 20),
    st.text("abc", min_size=1, max_size=2),
)


def told(news: list[News]) -> dict[str, Any] | None:
    """The record after all of them."""
    record: dict[str, Any] | None = None
    for one in news:
        record = merge(record, one) or record
    return record


@given(news=st.lists(NEWS, min_size=1, max_size=8))
@settings(max_examples=100, deadline=None)
def test_each_part_is_as_its_newest_webhook_told(news: list[News]) -> None:
    """An older webhook that comes later changes nothing; what was never told stays empty."""
    record = told(news)
    assert record is not None
    for part, fields in PARTS["template"].items():
        of_part = [one for one in news if one.part == part]
        if not of_part:
            assert (record[f"{part}_at"], [record[name] for name in fields]) == (None, [None] * len(fields))
            continue
        newest_ms = max(one.at_ms for one in of_part)
        *_, last = (one for one in of_part if one.at_ms == newest_ms)
        assert record[f"{part}_at"] == rfc3339(newest_ms)
        assert {name: record[name] for name in fields} == last.fields
    assert record["at"] == rfc3339(max(one.at_ms for one in news))


@given(news=st.lists(NEWS, min_size=2, max_size=8, unique_by=lambda one: (one.part, one.at_ms)), cut=st.integers(1, 7))
@settings(max_examples=100, deadline=None)
def test_two_writers_come_to_one_state(news: list[News], cut: int) -> None:
    """What two doors told apart, joined in either order, is what one would have told."""
    first, second = told(news[:cut]), told(news[cut:])
    whole = told(news)
    if first is None or second is None:
        assert join(None, first or second or {}) == whole
        return
    assert join(first, second) == join(second, first) == whole
    assert join(whole, first) == whole
