"""Every metric of the pipeline, declared in this one place (names and labels: the contract, section 6).

One `Metrics` per process, handed to whoever counts; no registry of the library's own is used, so two of them (in a
test, say) never meet. Counting costs about a microsecond and never blocks; any thread may do it. `exposition` runs on
the loop of the health server. Labels are bounded: numbers, words of closed lists, published codes; never a recipient,
a request id or the text of an error.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4 as CONTENT_TYPE
from prometheus_client.metrics_core import Metric

from pipeline import __version__

__all__ = ["CONTENT_TYPE", "STOP_REASONS", "Metrics", "exposition_of"]

PREFIX = "wapipe"
STOP_REASONS = (
    "throttled", "overloaded", "operator", "webhook", "token", "opt_outs_stale", "quality", "preflight", "kafka",
)  # fmt: skip
"""Why a number stands still; the same words in `numbers list` and `trace`."""

API_BUCKETS_S = (0.01, 0.025, 0.05, 0.1, 0.2, 0.35, 0.5, 1, 2, 5, 10, 20)
QUEUE_BUCKETS_S = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 15, 60, 300, 1800, 7200, 86_400)
WEBHOOK_BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2, 5)


class Metrics:
    """The metrics of one process, as attributes; see each help text for what it says.

    Note:
        A labelled metric shows nothing until its labels were used once; `show_stops` and `watch` are for gauges that
        must not be forgotten or are cheapest to read when they are asked for.
    """

    def __init__(self) -> None:
        self.registry = CollectorRegistry(auto_describe=True)
        ProcessCollector(registry=self.registry)
        self.build_info = self._gauge("build_info", "Always 1; the label names the version that runs.", "version")
        self.build_info.labels(__version__).set(1)
        self._declare_gate()
        self._declare_lanes()
        self._declare_sender()
        self._declare_webhooks()
        self._declare_console()
        self._declare_process()

    def _declare_gate(self) -> None:
        self.requests_consumed = self._counter("requests_consumed", "Requests read from both entrances.")
        self.admitted = self._counter("admitted", "Requests put into a lane.", "priority")
        self.rejected = self._counter("rejected", "Requests that ended unsent, by reason.", "reason")
        self.tier_used_ratio = self._gauge(
            "tier_used_ratio",
            "Part of a messaging tier used in 24 h; NaN: it is unknown.",
            "portfolio",
        )
        self.marketing_without_opt_out = self._counter(
            "marketing_without_opt_out", "Judgements of marketing requests whose template offers no way out."
        )
        self.consent_restore_seconds = self._gauge(
            "consent_restore_seconds", "How long the consent table took to catch up after the last assignment."
        )

        self.consent_opt_outs = self._counter(
            "consent_opt_outs", "Opt-outs merged, by the method of the opt-in that they took.", "method"
        )
        self.consent_undelivered = self._counter(
            "consent_undelivered",
            "Status updates that say failed, by the method of the person's newest opt-in.",
            "method",
        )

    def _declare_lanes(self) -> None:
        self.ready_backlog = self._gauge(
            "ready_backlog", "Messages in a number's lanes that are not sent yet.", "number", "priority"
        )
        self.oldest_ready_seconds = self._gauge(
            "oldest_ready_seconds", "Age of the oldest message waiting in a number's lanes.", "number", "priority"
        )
        self.seconds_to_drain = self._gauge(
            "seconds_to_drain", "Backlog of a number divided by its rate now.", "number"
        )
        self.bucket_tokens = self._gauge("bucket_tokens", "Sends a number's token bucket has left.", "number")
        self.rate_limit_per_second = self._gauge(
            "rate_limit_per_second", "Sends per second a number may make now.", "number"
        )
        self.number_quality = self._gauge(
            "number_quality", "Quality rating of a number: 3 green, 2 yellow, 1 red, 0 unknown.", "number"
        )
        self.number_stopped = self._gauge(
            "number_stopped", "1 while a number sends nothing for this reason, else 0.", "number", "reason"
        )

    def _declare_sender(self) -> None:
        self.send_attempts = self._counter(
            "send_attempts", "Requests written to the API, by what came of them.", "number", "outcome"
        )
        self.send_duration = self._histogram(
            "send_duration_seconds", "From writing a request to the API to its answer.", API_BUCKETS_S
        )
        self.queue_seconds = self._histogram(
            "queue_seconds", "From a request's arrival on Kafka to its first POST.", QUEUE_BUCKETS_S, "priority"
        )
        self.throttled = self._counter("throttled", "Refusals of the API because of load.", "number", "kind")
        self.deferred = self._counter("deferred", "Messages put on a delayed topic.", "tier", "reason")
        self.rerouted = self._counter("rerouted", "Records found on a foreign partition and written anew.", "topic")
        self.duplicates_suppressed = self._counter(
            "duplicates_suppressed", "Records dropped because their request was settled or in hand already."
        )
        self.unknown_outcomes = self._counter(
            "unknown_outcomes", "POSTs without an answer, by how that was resolved.", "resolution"
        )
        self.opt_out_reader_lag = self._gauge(
            "opt_out_reader_lag_seconds", "How far behind the reader of opt-outs was when last known."
        )

        self.opt_out_people = self._gauge("opt_out_people", "People whose opt-outs the reader keeps in memory.")

    def _declare_webhooks(self) -> None:
        self.webhook_requests = self._counter(
            "webhook_requests", "Webhook calls, by what they were answered.", "result"
        )
        self.webhook_publish_seconds = self._histogram(
            "webhook_publish_seconds",
            "From a webhook's last byte to Kafka's ack of all its records.",
            WEBHOOK_BUCKETS_S,
        )
        self.spool_bytes = self._gauge("spool_bytes", "Webhooks on disk that Kafka does not have yet (ingress.spool).")
        self.webhook_repeats = self._counter(
            "webhook_repeats", "Events left out because they were stored a moment before (ingress.dedupe_s)."
        )
        self.statuses = self._counter("statuses", "Status updates received, repeats included.", "status")
        self.undelivered = self._counter("undelivered", "Status updates that say failed, by code.", "code")
        self.opt_outs = self._counter("opt_outs", "Opt-outs heard of, by way; `answer`: from the API's.", "way")
        self.returns = self._counter("opt_out_returns", "Opt-outs taken back by webhook, by way.", "way")

    def _declare_console(self) -> None:
        self.read_model_behind = self._gauge(
            "read_model_behind", "Records that Kafka holds and the console has not read; NaN: not known yet."
        )
        self.read_model_records = self._counter("read_model_records", "Records that the console has read.")
        self.read_model_bytes = self._gauge("read_model_bytes", "Size of the console's read model, its log apart.")
        self.console_requests = self._counter("console_requests", "Requests to the console, by status.", "status")
        self.console_logins = self._counter("console_logins", "Tries to log in by token, by result.", "result")
        self.console_streams = self._gauge("console_streams", "Live pages that are open.")

    def _declare_process(self) -> None:
        self.dead_letters = self._counter("dead_letters", "Records given up, with their bytes kept.", "stage", "code")
        self.producer_errors = self._counter("producer_errors", "Records that Kafka did not store in time.")
        self.rebalances = self._counter("rebalances", "Assignments of partitions to this process.")
        self.watchdog_seconds_since_progress = self._gauge(
            "watchdog_seconds_since_progress",
            "Time since this process got on with work that waits for nobody else; 0: it has none.",
        )

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(name, text, labels, namespace=PREFIX, registry=self.registry)

    def _gauge(self, name: str, text: str, *labels: str) -> Gauge:
        # Where several processes are one to whoever asks (`ingress.workers`), the largest value of a live one counts.
        return Gauge(name, text, labels, namespace=PREFIX, registry=self.registry, multiprocess_mode="livemax")

    def _histogram(self, name: str, text: str, buckets: tuple[float, ...], *labels: str) -> Histogram:
        return Histogram(name, text, labels, namespace=PREFIX, registry=self.registry, buckets=buckets)

    def show_stops(self, number: str, reasons: Collection[str]) -> None:
        """Say why a number stands still: 1 for these reasons, 0 for all others of `STOP_REASONS`.

        Args:
            reasons: Words of `STOP_REASONS`; empty: it is not stopped.

        Raises:
            ValueError: a word that is not in `STOP_REASONS`.
        """
        strangers = set(reasons) - set(STOP_REASONS)
        if strangers:
            raise ValueError(f"not a reason to stop: {sorted(strangers)}; known are {STOP_REASONS}")
        for reason in STOP_REASONS:
            self.number_stopped.labels(number, reason).set(reason in reasons)

    def forget_lanes(self, number: str) -> None:
        """This process has no lane of a number any more: its figures would stand still here, and raise alerts."""
        self.show_stops(number, ())
        for gauge in (self.ready_backlog, self.oldest_ready_seconds, self.seconds_to_drain, self.bucket_tokens,
                      self.rate_limit_per_second, self.number_quality):  # fmt: skip
            gauge.remove_by_labels({"number": number})

    def watch(self, gauge: Gauge, read: Callable[[], float], *labels: str) -> None:
        """Let a gauge be read when it is asked for, instead of being set; `read` must be quick and never block."""
        (gauge.labels(*labels) if labels else gauge).set_function(read)

    def exposition(self) -> bytes:
        """Write all metrics in the text format of Prometheus (0.0.4), media type `CONTENT_TYPE`."""
        return exposition_of(self.registry)


def exposition_of(registry: CollectorRegistry) -> bytes:
    """Write the metrics of a registry in the text format of Prometheus (0.0.4), media type `CONTENT_TYPE`."""
    return generate_latest(_WithoutCreated(registry))


class _WithoutCreated:
    """A registry's metrics without `_created` samples: to this text format they would be one more gauge each."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry

    def collect(self) -> Iterator[Metric]:
        for metric in self._registry.collect():
            metric.samples = [sample for sample in metric.samples if not sample.name.endswith("_created")]
            yield metric
