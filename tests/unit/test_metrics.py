"""The metrics of a process: names and labels of the contract, an endpoint that Prometheus' own linter would accept."""

from __future__ import annotations

import pytest
from prometheus_client.parser import text_string_to_metric_families

from pipeline.metrics import STOP_REASONS, Metrics

# names and labels as the contract lists them (section 6), as far as they exist
CONTRACT: dict[str, set[str]] = {
    "wapipe_requests_consumed_total": set(),
    "wapipe_admitted_total": {"priority"},
    "wapipe_rejected_total": {"reason"},
    "wapipe_ready_backlog": {"number", "priority"},
    "wapipe_marketing_without_opt_out_total": set(),
    "wapipe_oldest_ready_seconds": {"number", "priority"},
    "wapipe_seconds_to_drain": {"number"},
    "wapipe_bucket_tokens": {"number"},
    "wapipe_rate_limit_per_second": {"number"},
    "wapipe_number_stopped": {"number", "reason"},
    "wapipe_send_attempts_total": {"number", "outcome"},
    "wapipe_send_duration_seconds_count": set(),
    "wapipe_queue_seconds_count": {"priority"},
    "wapipe_throttled_total": {"number", "kind"},
    "wapipe_deferred_total": {"tier", "reason"},
    "wapipe_duplicates_suppressed_total": set(),
    "wapipe_unknown_outcomes_total": {"resolution"},
    "wapipe_statuses_total": {"status"},
    "wapipe_undelivered_total": {"code"},
    "wapipe_opt_outs_total": {"way"},
    "wapipe_opt_out_reader_lag_seconds": set(),
    "wapipe_consent_restore_seconds": set(),
    "wapipe_webhook_requests_total": {"result"},
    "wapipe_webhook_publish_seconds_count": set(),
    "wapipe_dead_letters_total": {"stage", "code"},
    "wapipe_producer_errors_total": set(),
    "wapipe_rebalances_total": set(),
    "wapipe_watchdog_seconds_since_progress": set(),
    "wapipe_build_info": {"version"},
}
# what we count besides: one line here makes an addition a decision
ADDED: dict[str, set[str]] = {
    "wapipe_opt_out_people": set(),
    "wapipe_spool_bytes": set(),
    "wapipe_read_model_behind": set(),
    "wapipe_read_model_records_total": set(),
    "wapipe_read_model_bytes": set(),
    "wapipe_console_requests_total": {"status"},
    "wapipe_console_logins_total": {"result"},
    "wapipe_console_streams": set(),
    "wapipe_webhook_repeats_total": set(),
}


def _use_all(metrics: Metrics) -> None:
    """Touch every metric once, so that labelled ones show up."""
    metrics.admitted.labels(priority="bulk").inc()
    metrics.rejected.labels(reason="no_consent").inc()
    metrics.ready_backlog.labels(number="1", priority="bulk").set(3)
    metrics.oldest_ready_seconds.labels(number="1", priority="bulk").set(3)
    for gauge in (metrics.seconds_to_drain, metrics.bucket_tokens, metrics.rate_limit_per_second):
        gauge.labels(number="1").set(1)
    metrics.show_stops("1", ())
    metrics.send_attempts.labels(number="1", outcome="accepted").inc()
    metrics.queue_seconds.labels(priority="bulk").observe(0.1)
    metrics.throttled.labels(number="1", kind="number").inc()
    metrics.deferred.labels(tier="delayed-retry", reason="throttled").inc()
    metrics.unknown_outcomes.labels(resolution="resent").inc()
    metrics.statuses.labels(status="read").inc()
    metrics.undelivered.labels(code="131049").inc()
    metrics.opt_outs.labels(way="keyword").inc()
    metrics.webhook_requests.labels(result="ok").inc()
    metrics.console_requests.labels(status="200").inc()
    metrics.console_logins.labels(result="ok").inc()
    metrics.dead_letters.labels(stage="gate", code="not_json").inc()


def _samples(metrics: Metrics) -> dict[str, set[str]]:
    families = text_string_to_metric_families(metrics.exposition().decode())
    return {sample.name: set(sample.labels) for family in families for sample in family.samples}


def _value(metrics: Metrics, name: str, **labels: str) -> float | None:
    return metrics.registry.get_sample_value(name, labels)


def test_every_metric_of_the_contract_is_exposed_with_its_labels() -> None:
    """Names and labels on the endpoint are those of the contract, and of what was added to it."""
    metrics = Metrics()
    _use_all(metrics)
    found = _samples(metrics)
    known = CONTRACT | ADDED
    assert {name: found.get(name) for name in known} == known


def test_no_metric_of_ours_is_unknown() -> None:
    """Nothing with our prefix is exposed that neither the contract nor the list of additions names."""
    metrics = Metrics()
    _use_all(metrics)
    ours = {name for name in _samples(metrics) if name.startswith("wapipe_")}
    parts = ("_bucket", "_sum")
    assert {name for name in ours if not name.endswith(parts)} == set(CONTRACT | ADDED)


def test_every_metric_has_a_help_text_that_is_a_sentence() -> None:
    """Each help text says something, ends with a full stop, and no `_created` series doubles the output."""
    metrics = Metrics()
    _use_all(metrics)
    for family in text_string_to_metric_families(metrics.exposition().decode()):
        if family.name.startswith("wapipe_"):
            assert family.documentation.endswith("."), family.name
        assert not family.name.endswith("_created")


def test_two_processes_worth_of_metrics_do_not_meet() -> None:
    """Two `Metrics` count apart: nothing is global."""
    one, other = Metrics(), Metrics()
    one.rebalances.inc()
    assert _value(one, "wapipe_rebalances_total") == 1
    assert _value(other, "wapipe_rebalances_total") == 0


def test_show_stops_sets_the_given_reasons_and_clears_all_others() -> None:
    """A number that goes on after a halt shows 0 for the reason it had."""
    metrics = Metrics()
    metrics.show_stops("7", {"throttled"})
    metrics.show_stops("7", {"webhook", "kafka"})
    shown = {reason: _value(metrics, "wapipe_number_stopped", number="7", reason=reason) for reason in STOP_REASONS}
    assert {reason for reason, value in shown.items() if value} == {"webhook", "kafka"}
    assert set(shown.values()) == {0.0, 1.0}


def test_a_number_that_is_served_elsewhere_leaves_no_figures() -> None:
    """After a hand-over the old owner's last backlog and age are gone, not frozen; other numbers' stay."""
    metrics = Metrics()
    for number in ("7", "8"):
        metrics.show_stops(number, {"webhook"})
        metrics.ready_backlog.labels(number, "bulk").set(5)
        metrics.oldest_ready_seconds.labels(number, "bulk").set(900)
        for gauge in (metrics.seconds_to_drain, metrics.bucket_tokens, metrics.rate_limit_per_second):
            gauge.labels(number).set(3)
        metrics.number_quality.labels(number).set(1)
    metrics.forget_lanes("7")
    left = [line for line in metrics.exposition().decode().splitlines() if 'number="7"' in line]
    assert all(line.startswith("wapipe_number_stopped{") and line.endswith(" 0.0") for line in left)
    assert _value(metrics, "wapipe_oldest_ready_seconds", number="8", priority="bulk") == 900


def test_show_stops_refuses_a_word_that_the_contract_does_not_know() -> None:
    """A misspelt reason is a programmer's error and is named."""
    with pytest.raises(ValueError, match="tired"):
        Metrics().show_stops("7", {"tired"})


def test_a_watched_gauge_is_read_at_scrape_time() -> None:
    """`watch` shows the value at the moment of the scrape, with and without labels."""
    metrics, now = Metrics(), [1.0]
    metrics.watch(metrics.opt_out_reader_lag, lambda: now[0])
    metrics.watch(metrics.bucket_tokens, lambda: now[0] * 2, "7")
    now[0] = 5.0
    text = metrics.exposition().decode()
    assert "wapipe_opt_out_reader_lag_seconds 5.0" in text
    assert 'wapipe_bucket_tokens{number="7"} 10.0' in text
