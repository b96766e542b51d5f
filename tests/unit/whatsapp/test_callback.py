"""Callback data: request id and attempt as the contract says, and where a message is traced, its trace."""

from __future__ import annotations

from typing import Any

import pytest

from pipeline.whatsapp.callback import CALLBACK_CHARS_MAX, callback_data, callback_of, trace_in

TRACE = b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


def test_without_a_trace_it_is_what_the_contract_says() -> None:
    """An untraced message carries request id and attempt, and nothing else."""
    assert callback_data("order-1", 2) == "order-1:2"
    assert trace_in("order-1:2") is None


@pytest.mark.parametrize("request_id", ["order-1", "a:b:3", "x" * 128, TRACE.decode(), f"a:{TRACE.decode()}"])
def test_a_trace_comes_back_with_request_id_and_attempt(request_id: str) -> None:
    """Whatever the request id holds, id, attempt and trace are told apart again, within Meta's length."""
    written = callback_data(request_id, 999_999_999, TRACE)
    assert callback_of(written) == (request_id, 999_999_999)
    assert trace_in(written) == TRACE
    assert len(written) <= CALLBACK_CHARS_MAX
    assert callback_of(callback_data(request_id, 1)) == (request_id, 1)


@pytest.mark.parametrize("value", [None, 7, {}, "", "a:1:00-abc", f"a:1:{TRACE.decode()}\n", "x" * 600, ":" * 512])
def test_what_somebody_else_wrote_has_no_trace(value: Any) -> None:
    """Any value is safe, and only a whole trace context is one."""
    assert trace_in(value) is None
