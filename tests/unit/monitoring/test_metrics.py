"""The names that alerts and dashboards read."""

from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from carryflow.core.errors import InvariantBroken
from carryflow.monitoring.metrics import ExecutionMetrics, ServingMetrics, write_run_metrics


def test_each_answer_counts_once_under_its_ticker_and_outcome() -> None:
    registry = CollectorRegistry()
    metrics = ServingMetrics(registry)
    metrics.record_decision("BTC", "act", 12.0, 0.002)
    metrics.record_decision("BTC", "stale", 20_000.0, 0.001)
    count = "carryflow_decisions_total"
    assert registry.get_sample_value(count, {"ticker": "BTC", "outcome": "act"}) == 1
    assert registry.get_sample_value(count, {"ticker": "BTC", "outcome": "stale"}) == 1
    assert registry.get_sample_value("carryflow_feature_age_seconds", {"ticker": "BTC"}) == 20_000
    assert registry.get_sample_value("carryflow_decision_seconds_count") == 2


def test_only_the_bundle_that_answers_is_shown() -> None:
    registry = CollectorRegistry()
    metrics = ServingMetrics(registry)
    metrics.record_bundle("old", 1_000)
    metrics.record_bundle("new", 2_000)
    name = "carryflow_bundle_expires_timestamp_seconds"
    assert registry.get_sample_value(name, {"bundle": "new"}) == 2.0
    assert registry.get_sample_value(name, {"bundle": "old"}) is None


def test_a_pair_is_in_one_state_and_its_numbers_are_the_newest() -> None:
    registry = CollectorRegistry()
    metrics, states = ExecutionMetrics(registry), ("idle", "chasing", "halted")
    metrics.record_pair("BTC", "chasing", states, 0.5, blocked=False)
    metrics.record_pair("BTC", "halted", states, -0.25, blocked=True)
    name = "carryflow_execution_state"
    shown = {state: registry.get_sample_value(name, {"ticker": "BTC", "state": state}) for state in states}
    assert shown == {"idle": 0.0, "chasing": 0.0, "halted": 1.0}
    assert registry.get_sample_value("carryflow_execution_delta_base", {"ticker": "BTC"}) == -0.25
    assert registry.get_sample_value("carryflow_execution_blocked", {"ticker": "BTC"}) == 1.0


def test_what_was_never_seen_or_reconciled_is_infinitely_old() -> None:
    registry = CollectorRegistry()
    metrics = ExecutionMetrics(registry)
    metrics.record_account(1_000.0, 2, None)
    metrics.record_feed_age("BTC", None)
    assert registry.get_sample_value("carryflow_execution_reconcile_age_seconds") == float("inf")
    assert registry.get_sample_value("carryflow_execution_feed_age_seconds", {"ticker": "BTC"}) == float(
        "inf"
    )
    assert registry.get_sample_value("carryflow_execution_kill_level") == 2.0


def test_orders_fills_and_alerts_are_counted_by_what_they_are() -> None:
    registry = CollectorRegistry()
    metrics = ExecutionMetrics(registry)
    metrics.count_order("spot", "filled")
    metrics.count_order("perp", "rejected")
    metrics.count_fill("spot")
    metrics.count_alert("critical")
    found = {
        name: registry.get_sample_value(f"carryflow_execution_{name}_total", labels)
        for name, labels in (
            ("orders", {"leg": "perp", "outcome": "rejected"}),
            ("fills", {"leg": "spot"}),
            ("alerts", {"severity": "critical"}),
        )
    }
    assert found == {"orders": 1.0, "fills": 1.0, "alerts": 1.0}
    assert registry.get_sample_value("carryflow_execution_alerts_total", {"severity": "warning"}) == 0.0


def test_a_runs_numbers_become_a_textfile_that_replaces_the_last(tmp_path: Path) -> None:
    path = tmp_path / "carryflow.prom"
    write_run_metrics(path, {"net_return": -0.5}, 1_000)
    write_run_metrics(path, {"net_return": 0.0123, "promoted": 1.0}, 1_750_000_000_000)
    lines = path.read_text().splitlines()
    assert "carryflow_run_net_return 0.0123" in lines
    assert "carryflow_run_promoted 1.0" in lines
    assert "carryflow_run_finished_timestamp_seconds 1.75e+09" in lines
    assert [entry.name for entry in tmp_path.iterdir()] == ["carryflow.prom"]


def test_a_number_that_is_none_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(InvariantBroken, match="sharpe"):
        write_run_metrics(tmp_path / "carryflow.prom", {"sharpe": float("nan")}, 1_000)
    assert not list(tmp_path.iterdir())
