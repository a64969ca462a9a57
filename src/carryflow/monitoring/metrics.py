"""The names under which carryflow is watched, and the file in which a run leaves its numbers."""

import math
import warnings
from collections.abc import Mapping
from pathlib import Path

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from carryflow.core.atomic import write_atomically
from carryflow.core.errors import InvariantBroken

LATENCY_BUCKETS_S = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0)


class ServingMetrics:
    """Count and time what the predictor answers; alerts and dashboard read these names.

    ```
    carryflow_decisions_total{ticker, outcome}            outcome is "act", or the cause of a HOLD
    carryflow_decision_seconds                            time from question to answer
    carryflow_feature_age_seconds{ticker}                 age of the features at the latest question
    carryflow_bundle_expires_timestamp_seconds{bundle}    from when on the bundle only holds
    ```
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        """Register the metrics; a registry takes them once."""
        self._decisions = Counter(
            "carryflow_decisions", "Decisions answered.", ["ticker", "outcome"], registry=registry
        )
        self._latency = Histogram(
            "carryflow_decision_seconds", "Time to a decision.", buckets=LATENCY_BUCKETS_S, registry=registry
        )
        self._feature_age = Gauge(
            "carryflow_feature_age_seconds", "Age of the features decided on.", ["ticker"], registry=registry
        )
        self._bundle_expires = Gauge(
            "carryflow_bundle_expires_timestamp_seconds",
            "When the served bundle expires.",
            ["bundle"],
            registry=registry,
        )

    def record_bundle(self, bundle_hash: str, expires_at_ms: int) -> None:
        """Record which bundle answers from now on, and until when (UTC, milliseconds)."""
        with (
            warnings.catch_warnings()
        ):  # Feast turns on a mode for many processes, which warns; here there is one
            warnings.filterwarnings("ignore", message="Clearing labels")
            self._bundle_expires.clear()
        self._bundle_expires.labels(bundle_hash).set(expires_at_ms / 1000)

    def record_decision(self, ticker: str, outcome: str, feature_age_s: float, seconds: float) -> None:
        """Record one answer: what came of it, how old its features were, and how long it took."""
        self._decisions.labels(ticker, outcome).inc()
        self._feature_age.labels(ticker).set(feature_age_s)
        self._latency.observe(seconds)


def write_run_metrics(path: Path, numbers: Mapping[str, float], finished_at_ms: int) -> None:
    """Write the numbers of a finished run for node-exporter's textfile collector, which reads `*.prom`.

    Each becomes the gauge `carryflow_run_<name>`; `carryflow_run_finished_timestamp_seconds` says when.

    Raises:
        InvariantBroken: a number is NaN or infinite, which a dashboard would show as nothing at all.
    """
    registry = CollectorRegistry()
    finished = Gauge(
        "carryflow_run_finished_timestamp_seconds", "When the latest run finished.", registry=registry
    )
    finished.set(finished_at_ms / 1000)
    for name, number in numbers.items():
        if not math.isfinite(number):
            raise InvariantBroken(
                f"run metric {name!r} is {number}; find out which step made it before trusting the run"
            )
        gauge = Gauge(
            f"carryflow_run_{name}", f"{name.replace('_', ' ')} of the latest run.", registry=registry
        )
        gauge.set(number)
    with write_atomically(path) as temporary:
        temporary.write_bytes(generate_latest(registry))
