"""What a server measures of itself, as Prometheus reads it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

from prometheus_client import CollectorRegistry, Counter, Histogram, ProcessCollector, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from kgrec.server.served_runs import ServedRuns

#: bounds of latencies, in seconds
SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)
SIZES = (1, 2, 4, 8, 16, 32, 64, 128)


class Telemetry:
    """Counters and histograms of one server."""

    def __init__(self, runs: ServedRuns, waiting: Callable[[], int]) -> None:
        self.registry = registry = CollectorRegistry()
        self.seconds = Histogram(
            "kgrec_request_seconds",
            "From a request's head to its answer.",
            ["route"],
            buckets=SECONDS,
            registry=registry,
        )
        self.batch = Histogram(
            "kgrec_batch_requests", "Requests that were scored together.", buckets=SIZES, registry=registry
        )

        def counter(name: str, what: str, *labels: str) -> Counter:
            return Counter(name, what, labels, registry=registry)

        self.requests = counter("kgrec_requests", "Answers by route and status.", "route", "status")
        by = "Lists by what they come from: history, or the reason of a fallback, such as popularity."
        self.lists = counter("kgrec_lists", by, "run", "by")
        self.reloads = counter("kgrec_reloads", "Runs that took another's place, or were refused.", "run", "to")
        self.events = counter("kgrec_events", "Events: stored, known before, refused, not written, deleted.", "to")
        self._of_route: dict[tuple[str, int], tuple[Histogram, Counter]] = {}
        self.registry.register(Gauges(runs, waiting))
        ProcessCollector(registry=self.registry)

    def answered(self, route: str, status: int, seconds: float) -> None:
        """Count an answer. Routes and statuses are few, so that their counters are kept at hand."""
        key = route, status
        if key not in self._of_route:
            self._of_route[key] = self.seconds.labels(route), self.requests.labels(route, status)
        histogram, counter = self._of_route[key]
        histogram.observe(seconds)
        counter.inc()

    def text(self) -> bytes:
        """All of it, in Prometheus' format."""
        return generate_latest(self.registry)


class Gauges(Collector):
    """What is looked up when it is asked for."""

    def __init__(self, runs: ServedRuns, waiting: Callable[[], int]) -> None:
        self._runs, self._waiting = runs, waiting

    def collect(self) -> Iterable[Metric]:
        """The gauges as they are now."""
        yield GaugeMetricFamily("kgrec_requests_waiting", "Requests that wait to be scored.", self._waiting())
        age = GaugeMetricFamily("kgrec_model_age_seconds", "Since the run's folder was written.", labels=["run"])
        loaded = GaugeMetricFamily("kgrec_run_loaded_seconds", "Since the run was loaded.", labels=["run"])
        about = GaugeMetricFamily("kgrec_run_info", "Which run serves.", labels=["run", "version", "model"])
        refused = GaugeMetricFamily("kgrec_reload_refused", "1: the last reload was refused.", labels=["run"])
        items = GaugeMetricFamily("kgrec_new_items", "Items that were added to a run.", labels=["run"])
        for name, run in self._runs.runs.items():
            current = run.current
            age.add_metric([name], time.time() - current.trained_at)
            loaded.add_metric([name], time.time() - current.loaded_at)
            about.add_metric([name, current.version, current.run.name], 1)
            refused.add_metric([name], float(run.refused is not None))
            items.add_metric([name], sum(len(one.ids) for one in current.added))
        yield from (age, loaded, about, refused, items)
