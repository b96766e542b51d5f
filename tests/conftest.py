"""Fixtures for all tests: one real Kafka per session, started by the first test that asks, and unique names."""

from __future__ import annotations

import uuid
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

from pipeline.embedded.broker import EmbeddedKafka

# How fast a machine draws examples says nothing about the product.
settings.register_profile("any-machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any-machine")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark every test that uses the broker, so that `-m "not kafka"` leaves them out."""
    for item in items:
        if "kafka" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.kafka)


@pytest.fixture(scope="session")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """`bootstrap.servers` of a real broker, one for the whole session. Name topics and groups by `topic_prefix`."""
    with EmbeddedKafka(tmp_path_factory.mktemp("kafka")) as broker:
        yield broker.bootstrap


@pytest.fixture
def topic_prefix() -> str:
    """A prefix for topics and groups that no other test has, e.g. `t3f9c2a71-`."""
    return f"t{uuid.uuid4().hex[:8]}-"
