"""A running ingress against its own OpenAPI document: what fits it, and what does not, has a documented answer."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
    unsupported_method,
)

from pipeline.ingress.openapi import open_api
from tests.support.ingress_door import Ingress, write_config

CHECKS = [
    not_a_server_error, status_code_conformance, content_type_conformance, response_headers_conformance,
    response_schema_conformance, unsupported_method,
]  # fmt: skip
schema = schemathesis.openapi.from_dict(open_api())


@pytest.fixture(scope="module")
def door(kafka: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ingress]:
    """One ingress for all generated calls."""
    folder: Path = tmp_path_factory.mktemp("ingress")
    running = Ingress(write_config(folder, kafka), folder / "log")
    try:
        yield running
    finally:
        running.end()


@schema.parametrize()
@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
def test_every_generated_call_has_a_documented_answer(door: Ingress, case: Any) -> None:
    """Generated calls, good and bad, meet the statuses, bodies and headers that the document names."""
    case.call_and_validate(base_url=f"http://127.0.0.1:{door.port}", checks=CHECKS)


@schema.include(method="POST", path="/webhook").parametrize()
@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
def test_every_authentic_body_is_taken(door: Ingress, case: Any) -> None:
    """What our app signed is answered 200 whatever it says: an event, or a dead letter."""
    assert door.post(json.dumps(case.body, default=str).encode()) == 200
