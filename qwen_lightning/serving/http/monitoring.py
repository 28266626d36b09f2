"""What Prometheus reads of a server: counts and times, and nothing of any request."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from qwen_lightning.serving.backend import Backend
from qwen_lightning.serving.limits import EngineStats

CONTENT_TYPE = CONTENT_TYPE_LATEST
_PREFIX = "qwen_lightning_"
_SECONDS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300)


class Metrics:
    """A server's metrics, in a registry of their own.

    Args:
        engine: Its state is read when the metrics are.
    """

    def __init__(self, engine: Backend) -> None:
        self.registry = CollectorRegistry()
        self.registry.register(_StateCollector(engine))
        self.requests = Counter(
            f"{_PREFIX}requests", "Chat requests by adapter, task and status", ["adapter", "task", "status"],
            registry=self.registry,
        )  # fmt: skip
        self.queries = Counter(
            f"{_PREFIX}queries", "Queries on databases by language and status", ["language", "status"],
            registry=self.registry,
        )  # fmt: skip
        self.verdicts = Counter(
            f"{_PREFIX}verdicts", "Checked answers", ["adapter", "passed", "repaired"], registry=self.registry
        )
        self.seconds = Histogram(
            f"{_PREFIX}request_seconds", "Until the whole answer", ["adapter"], buckets=_SECONDS, registry=self.registry
        )
        self.first_seconds = Histogram(
            f"{_PREFIX}first_piece_seconds",
            "Until a stream's first text",
            ["adapter"],
            buckets=_SECONDS,
            registry=self.registry,
        )

    def render(self) -> bytes:
        """The text format that Prometheus scrapes."""
        return generate_latest(self.registry)


class _StateCollector(Collector):
    def __init__(self, engine: Backend) -> None:
        self._engine = engine

    def collect(self) -> Iterator[Metric]:
        stats = self._engine.stats()
        for name, text, value in (
            ("running", "Completions under way", stats.running),
            ("waiting", "Completions that wait", stats.waiting),
            ("healthy", "Whether requests are taken", int(self._engine.healthy)),
        ):
            yield GaugeMetricFamily(_PREFIX + name, text, value=value)
        counts = stats.counts
        for name, text, value in (
            ("prompt_tokens", "Tokens of prompts that went through the model", counts.prompt_tokens),
            ("completion_tokens", "Tokens sampled", counts.completion_tokens),
            ("refused_completions", "Completions refused because too many waited", counts.refused),
        ):
            yield CounterMetricFamily(_PREFIX + name, text, value=value)
        finished = CounterMetricFamily(_PREFIX + "completions", "Completions by finish reason", labels=["reason"])
        for reason, value in sorted(counts.finished.items()):
            finished.add_metric([reason], value)
        yield finished
        if isinstance(stats, EngineStats):
            yield from _of_the_model(stats)


def _of_the_model(stats: EngineStats) -> Iterator[Metric]:
    """What is known of a model in this process alone."""
    for name, text, value in (
        ("cache_taken_tokens", "Tokens of the key-value store that are taken", stats.cache_taken),
        ("cache_tokens", "Tokens that the key-value store holds", stats.cache_tokens),
        ("adapters_loaded", "Adapters on the backbone", len(stats.adapters)),
    ):
        yield GaugeMetricFamily(_PREFIX + name, text, value=value)
    for name, text, value in (
        ("steps", "Forward passes", stats.counts.steps),
        ("failed_steps", "Forward passes that failed", stats.counts.failed_steps),
        ("adapter_loads", "Adapters loaded onto the backbone", stats.adapter_loads),
    ):
        yield CounterMetricFamily(_PREFIX + name, text, value=value)
