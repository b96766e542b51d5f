"""Settings and control: closed models with clear complaints."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from pipeline.simulator.control import ControlRequest, changed, problems
from pipeline.simulator.parts import ForcedError
from pipeline.simulator.settings import LiveSettings, SimulatorSettings


@pytest.mark.parametrize(
    ("given", "key"),
    [
        ({"rate": 5}, "rate"),
        ({"rate_per_s": 0}, "rate_per_s"),
        ({"burst": 0}, "burst"),
        ({"port": 70_000}, "port"),
        ({"webhook_url": "ftp://x"}, "webhook_url"),
        ({"profiles": {"v2": {"rate_per_s": 1, "burst": 1}}}, "profiles.v2"),
        ({"spells": [{"kind": "429", "for_s": -1}]}, "spells.0.for_s"),
        ({"webhook_delays_ms": {"played": 1}}, "webhook_delays_ms.played"),
    ],
)
def test_wrong_settings_are_named(given: dict[str, object], key: str) -> None:
    """An unknown key or a wrong value is refused by its name."""
    with pytest.raises(ValidationError) as caught:
        SimulatorSettings.model_validate(given)
    assert any(problem.startswith(key) for problem in problems(caught.value))


@pytest.mark.parametrize("body", [b"", b"[]", b'{"spells":1}', b'{"spell":{"kind":"x","for_s":1}}', b'{"inbound":{}}'])
def test_wrong_control_requests_are_refused(body: bytes) -> None:
    """A control request that is not understood is refused with at least one sentence."""
    with pytest.raises(ValidationError) as caught:
        ControlRequest.model_validate_json(body)
    assert problems(caught.value)


def test_control_changes_only_what_it_names() -> None:
    """Settings that a control request does not name stay; forced errors are merged, null lifts one."""
    current = SimulatorSettings(burst=7, latency_ms=5, force={"1": ForcedError(code=1), "2": ForcedError(code=2)})
    request = ControlRequest.model_validate({"settings": {"latency_ms": 9}, "force": {"1": None, "3": {"code": 3}}})
    after = changed(current, request)
    assert (after.burst, after.latency_ms) == (7, 9)
    assert {recipient: error.code for recipient, error in after.force.items()} == {"2": 2, "3": 3}
    assert current.latency_ms == 5


def test_webhook_url_by_number() -> None:
    """`{number}` is filled in, and a number's own URL wins."""
    settings = LiveSettings(webhook_url="http://h/w/{number}", webhook_urls={"2": "http://h/two"})
    assert settings.webhook_url_of("1") == "http://h/w/1"
    assert settings.webhook_url_of("2") == "http://h/two"
    assert LiveSettings().webhook_url_of("1") is None
