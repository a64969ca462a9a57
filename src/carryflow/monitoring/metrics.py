"""The names under which carryflow is watched, and the file in which a run leaves its numbers."""

import math
import warnings
from collections.abc import Mapping, Sequence
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


class ExecutionMetrics:
    """Show what the engine holds, does and sees; alerts read these names.

    ```
    carryflow_execution_equity_quote                      equity of all pairs, by the engine's books
    carryflow_execution_delta_base{ticker}                coins without a hedge (positive: long)
    carryflow_execution_state{ticker, state}              1 for the state that the pair is in, else 0
    carryflow_execution_blocked{ticker}                   1 while no risk may be added
    carryflow_execution_kill_level                        0 run, 1 pause, 2 reduce, 3 flatten
    carryflow_execution_feed_age_seconds{ticker}          age of the oldest book or mark of a coin
    carryflow_execution_reconcile_age_seconds             time since books and venue were found to agree
    carryflow_execution_orders_total{leg, outcome}        orders that have ended, and how
    carryflow_execution_fills_total{leg}                  trades
    carryflow_execution_alerts_total{severity}            alerts, info, warning or critical
    ```

    Seconds are those of the venue's clock.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        """Register the metrics; a registry takes them once."""

        def gauge(name: str, about: str, labels: Sequence[str] = ()) -> Gauge:
            return Gauge(f"carryflow_execution_{name}", about, labels, registry=registry)

        def counter(name: str, about: str, labels: Sequence[str]) -> Counter:
            return Counter(f"carryflow_execution_{name}", about, labels, registry=registry)

        self._equity = gauge("equity_quote", "Equity of all pairs (quote).")
        self._delta = gauge("delta_base", "Coins without a hedge.", ["ticker"])
        self._state = gauge("state", "The state that the pair is in.", ["ticker", "state"])
        self._blocked = gauge("blocked", "Whether no risk may be added.", ["ticker"])
        self._kill_level = gauge("kill_level", "Level of the kill switch.")
        self._feed_age = gauge("feed_age_seconds", "Age of the oldest book or mark.", ["ticker"])
        self._reconcile_age = gauge("reconcile_age_seconds", "Time since the last reconciliation.")
        self._orders = counter("orders", "Orders that have ended.", ["leg", "outcome"])
        self._fills = counter("fills", "Trades.", ["leg"])
        self._alerts = counter("alerts", "Alerts.", ["severity"])
        for severity in ("info", "warning", "critical"):
            self._alerts.labels(severity)  # a rate needs a zero to begin with

    def record_account(self, equity_quote: float, kill_level: int, reconcile_age_s: float | None) -> None:
        """Record what is true of all pairs together; None: never reconciled."""
        self._equity.set(equity_quote)
        self._kill_level.set(kill_level)
        self._reconcile_age.set(math.inf if reconcile_age_s is None else reconcile_age_s)

    def record_pair(
        self, ticker: str, state: str, states: Sequence[str], delta_base: float, *, blocked: bool
    ) -> None:
        """Record how one pair stands, of all the states that there are."""
        for name in states:
            self._state.labels(ticker, name).set(name == state)
        self._delta.labels(ticker).set(delta_base)
        self._blocked.labels(ticker).set(blocked)

    def record_feed_age(self, ticker: str, age_s: float | None) -> None:
        """Record how old a coin's books and mark are; None: there are none."""
        self._feed_age.labels(ticker).set(math.inf if age_s is None else age_s)

    def count_order(self, leg: str, outcome: str) -> None:
        """Count an order that has ended: filled, canceled, rejected or lost."""
        self._orders.labels(leg, outcome).inc()

    def count_fill(self, leg: str) -> None:
        """Count a trade."""
        self._fills.labels(leg).inc()

    def count_alert(self, severity: str) -> None:
        """Count an alert."""
        self._alerts.labels(severity).inc()


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
