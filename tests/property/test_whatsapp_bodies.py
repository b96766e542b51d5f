"""Properties of the check of outbound bodies: total on any JSON, and what passes can be written."""

from __future__ import annotations

from typing import Any

import orjson
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.whatsapp.bodies import PROBLEM_CHARS_MAX, PROBLEMS_MAX, TYPES, check_message
from pipeline.whatsapp.profiles import PROFILES

WORDS = ("type", "sub_type", "text", "body", "id", "link", "components", "parameters", "action", "header", "button")
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.sampled_from(WORDS)
KEYS = st.sampled_from(WORDS) | st.text(st.characters(), max_size=6)
JSON = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=4))
KINDS = sorted({kind for kinds in TYPES.values() for kind in kinds})

TEMPLATES = st.fixed_dictionaries(
    {
        "name": st.text("abc_1", min_size=1, max_size=8),
        "language": st.just({"code": "en_US"}),
        "components": st.lists(
            st.fixed_dictionaries(
                {"type": st.sampled_from(["header", "body", "button", "carousel"])},
                optional={
                    "sub_type": st.sampled_from(["quick_reply", "url", "flow"]),
                    "index": st.integers(0, 9),
                    "parameters": st.lists(
                        st.fixed_dictionaries(
                            {"type": st.sampled_from(["text", "payload", "action", "image"])},
                            optional={"text": st.text(max_size=4), "payload": SCALARS, "action": JSON, "image": JSON},
                        ),
                        max_size=2,
                    ),
                    "cards": JSON,
                },
            ),
            max_size=3,
        ),
    }
)


def is_report(problems: list[str]) -> bool:
    """Whether these are problems as promised: few, short, one line each, and text that can be written."""
    return len(problems) <= PROBLEMS_MAX and all(
        ": " in problem
        and len(problem) <= PROBLEM_CHARS_MAX
        and "\n" not in problem
        and isinstance(problem.encode(), bytes)
        for problem in problems
    )


@given(kind=st.sampled_from(KINDS), content=JSON, more=st.dictionaries(KEYS, JSON, max_size=3))
@settings(max_examples=150, deadline=None)
def test_check_is_total(kind: str, content: Any, more: dict[str, Any]) -> None:
    """Any JSON is judged without an exception, and what is wrong is said in a few short lines."""
    for profile in PROFILES:
        assert is_report(check_message({**more, "type": kind, kind: content}, profile))


@given(message=st.dictionaries(KEYS, JSON, max_size=4))
@settings(max_examples=100, deadline=None)
def test_check_is_total_without_a_type(message: dict[str, Any]) -> None:
    """An object that is no message at all is judged without an exception."""
    for profile in PROFILES:
        assert is_report(check_message(message, profile))


@given(template=TEMPLATES, recipient=st.sampled_from(["15550109999", "US.13491208655302741918"]))
@settings(max_examples=100, deadline=None)
def test_what_passes_can_be_rendered(template: dict[str, Any], recipient: str) -> None:
    """A message that passes the check of a profile can be written as its request, and keeps its content."""
    message = {"type": "template", "template": template}
    for name, profile in PROFILES.items():
        problems = check_message(message, name)
        assert is_report(problems)
        if not problems:
            body = orjson.loads(profile.render(message, recipient, "r-1:1"))
            assert body["template"]["components"] == template["components"]
            assert body["template"]["language"] == {"policy": "deterministic", "code": "en_US"}


@given(data=JSON)
@settings(max_examples=100, deadline=None)
def test_flow_data_that_passes_can_be_written(data: Any) -> None:
    """Free data of a flow passes only if it can be written as JSON."""
    message = {
        "type": "interactive",
        "interactive": {
            "type": "flow",
            "body": {"text": "b"},
            "action": {
                "name": "flow",
                "parameters": {
                    "flow_message_version": "3",
                    "flow_cta": "Go",
                    "flow_id": "1",
                    "flow_action_payload": {"data": {"free": data}},
                },
            },
        },
    }
    if not check_message(message, "cloud"):
        assert orjson.loads(PROFILES["cloud"].render(message, "15550109999", None))["type"] == "interactive"
