"""The evidence: a whole contest on a dataset, written, read back, reported, and refused where it must be."""

import json
import re
from collections.abc import Callable
from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from carryflow.agents.bundle import load_bundle
from carryflow.core.errors import MarketDataError, SchemaMismatchError
from carryflow.env.settings import EnvSettings
from carryflow.evaluation.contest import compete, line_up
from carryflow.evaluation.evidence import (
    EVIDENCE_FILE,
    LEDGER_FILE,
    REPORT_FILE,
    EvaluationSettings,
    Evidence,
    evaluate,
)
from carryflow.evaluation.ledgers import score
from carryflow.evaluation.metrics import PARTS
from carryflow.features.dataset import Dataset, read_dataset
from carryflow.features.spec import FeatureSpec

BundleMaker = Callable[..., str]
BASELINES = {"flat", "always_hedged", "threshold_carry", "ungated_mean"}


@pytest.fixture(scope="module")
def dataset(dataset_dir: Path) -> Dataset:
    return read_dataset(dataset_dir)


@pytest.fixture(scope="module")
def curve(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("curves") / "curve.json"
    points = [
        {"iteration": 1.0, "env_steps": 100.0},  # no episode has ended yet
        {"iteration": 2.0, "env_steps": 200.0, "episode_return_bp": -1.5},
        {"iteration": 3.0, "env_steps": 300.0, "episode_return_bp": 4.0},
    ]
    path.write_text(json.dumps(points))
    return path


@pytest.fixture(scope="module")
def folder(
    tmp_path_factory: pytest.TempPathFactory,
    dataset_dir: Path,
    dataset: Dataset,
    make_bundle: BundleMaker,
    curve: Path,
) -> Path:
    """Hold a bundle, a champion, and the evidence on the one beside the other."""
    folder = tmp_path_factory.mktemp("contest")
    make_bundle(folder / "bundle", dataset, seed=1)
    make_bundle(folder / "champion", dataset, seed=2)
    evaluate(
        dataset_dir,
        folder / "bundle",
        folder / "evidence",
        EnvSettings(),
        EvaluationSettings(),
        champion_dir=folder / "champion",
        curves={"anomaly_ppo": curve, "gate": curve, "sentiment_ppo": curve},
    )
    return folder


def run(dataset_dir: Path, folder: Path, out: Path, champion: Path | None = None) -> Evidence:
    return evaluate(dataset_dir, folder, out, EnvSettings(), EvaluationSettings(), champion_dir=champion)


@pytest.mark.pitfall("P17")
def test_flat_always_hedged_threshold_and_the_ungated_mean_stand_beside_every_result(folder: Path) -> None:
    evidence = Evidence.read(folder / "evidence")
    assert set(evidence.policies) == {"gated", "champion"} | BASELINES
    traded = {name: told.portfolio.turnover_per_year for name, told in evidence.policies.items()}
    assert traded.pop("flat") == 0.0
    assert all(turnover > 0.0 for turnover in traded.values()), traded
    for told in evidence.policies.values():
        assert tuple(told.tickers) == ("BTC", "ETH")
        assert told.portfolio.hours == 10 * 24 - 1


def test_evidence_comes_back_from_its_file_to_the_last_digit(folder: Path, tmp_path: Path) -> None:
    evidence = Evidence.read(folder / "evidence")
    evidence.write(tmp_path)
    assert Evidence.read(tmp_path) == evidence
    assert (tmp_path / EVIDENCE_FILE).read_bytes() == (folder / "evidence" / EVIDENCE_FILE).read_bytes()


def test_the_evidence_names_what_it_rests_on(folder: Path, dataset: Dataset) -> None:
    evidence = Evidence.read(folder / "evidence")
    stated = {
        name: json.loads((folder / name / "bundle.json").read_text())["hash"]
        for name in ("bundle", "champion")
    }
    assert (evidence.bundle_hash, evidence.champion_hash) == (stated["bundle"], stated["champion"])
    assert evidence.spec_hash == dataset.spec.hash
    assert evidence.market_version == "0123456789abcdef"
    assert evidence.train_end_ms < evidence.test_start_ms == dataset.split.test_start_ms
    assert evidence.env == EnvSettings().model_dump(mode="json")


def test_metrics_and_ledgers_tell_the_same_story(folder: Path) -> None:
    evidence = Evidence.read(folder / "evidence")
    ledgers = pl.read_parquet(folder / "evidence" / LEDGER_FILE)
    for name, told in evidence.policies.items():
        ledger = ledgers.filter(pl.col("policy") == name)
        for ticker, metrics in told.tickers.items():
            account = ledger.filter(pl.col("ticker") == ticker).sort("timestamp")
            gained = account["equity"][-1] - account["equity"][0]
            assert metrics.pnl_quote == pytest.approx(gained)
            assert metrics.split.total == pytest.approx(gained, abs=1e-9 * 100_000)
            assert metrics.split.funding == pytest.approx(account["funding"].sum())
        assert told.portfolio.pnl_quote == pytest.approx(sum(own.pnl_quote for own in told.tickers.values()))
        assert abs(sum(ledger[part].sum() for part in PARTS) - told.portfolio.pnl_quote) < 1e-3


def test_gate_weights_are_kept_for_the_gated_and_only_for_those_with_a_gate(folder: Path) -> None:
    ledgers = pl.read_parquet(folder / "evidence" / LEDGER_FILE)
    gates = [name for name in ledgers.columns if name.startswith("gate_")]
    assert gates == ["gate_anomaly_ppo", "gate_short_term_ppo", "gate_long_term_ppo", "gate_sentiment_ppo"]
    decided = ledgers.filter(pl.col("action").is_not_null())
    gated = decided.filter(pl.col("policy") == "gated").select(gates)
    assert np.abs(gated.to_numpy().sum(axis=1) - 1.0).max() < 1e-6
    assert decided.filter(pl.col("policy") == "flat").select(gates).null_count().row(0) == (2 * 239,) * 4


def test_the_same_contest_leaves_the_same_bytes_so_that_a_version_is_known_by_its_content(
    dataset_dir: Path, folder: Path, curve: Path, tmp_path: Path
) -> None:
    evaluate(
        dataset_dir,
        folder / "bundle",
        tmp_path,
        EnvSettings(),
        EvaluationSettings(),
        champion_dir=folder / "champion",
        curves={"sentiment_ppo": curve, "gate": curve, "anomaly_ppo": curve},  # another order
    )
    for name in (EVIDENCE_FILE, LEDGER_FILE, REPORT_FILE):
        assert (tmp_path / name).read_bytes() == (folder / "evidence" / name).read_bytes(), name


def test_the_report_is_one_file_that_asks_nothing_of_the_network(folder: Path) -> None:
    page = (folder / "evidence" / REPORT_FILE).read_text(encoding="utf-8")
    assert "default-src 'none'" in page
    own = re.sub(r"<script>.*?</script>", "", page, flags=re.DOTALL)
    assert re.findall(r"(?:src|href)\s*=\s*[\"'](?!data:)", own) == []
    assert "@import" not in own
    assert "http" not in own.replace("http-equiv", "")
    assert page.count("<script>") == 2  # the library once, the figures once


def test_the_report_shows_every_policy_every_figure_and_what_it_rests_on(folder: Path) -> None:
    page = (folder / "evidence" / REPORT_FILE).read_text(encoding="utf-8")
    evidence = Evidence.read(folder / "evidence")
    for shown in ("Gated", "Champion", "Flat", "Always hedged", "Threshold carry", "Ungated mean"):
        assert f"{shown}</th>" in page, shown
    for figure in ("equity", "split", "positions", "gate", "curves"):
        assert f'id="plot-{figure}"' in page, figure
        assert f"\n  {figure}: {{" in page, figure
    for fact in (evidence.bundle_hash, evidence.spec_hash, evidence.market_version, "costs.spot_taker_bp"):
        assert fact in page, fact


def test_a_champion_is_scored_with_the_scaler_that_it_was_trained_with(
    folder: Path, dataset: Dataset, make_bundle: BundleMaker, tmp_path: Path
) -> None:
    # The challenger's twin trades like it; the twin with another scaler sees another market and does not.
    bundle = load_bundle(folder / "bundle")
    for name, widening in (("twin", 1.0), ("stranger", 3.0)):
        scaler = replace(dataset.scaler, scale=tuple(widening * scale for scale in dataset.scaler.scale))
        make_bundle(tmp_path / name, replace(dataset, scaler=scaler, market_version=name), seed=1)
        line = line_up(dataset, bundle, load_bundle(tmp_path / name), EvaluationSettings())
        ledgers = compete(islice(line, 2), dataset, EnvSettings(), lambda _: None)
        assert list(ledgers) == ["gated", "champion"]
        assert (score(ledgers["gated"]) == score(ledgers["champion"])) is (name == "twin"), name


def test_a_champion_does_not_compete_with_itself(dataset_dir: Path, folder: Path, tmp_path: Path) -> None:
    evidence = run(dataset_dir, folder / "bundle", tmp_path, folder / "bundle")
    assert evidence.champion_hash is None
    assert "champion" not in evidence.policies
    assert "How they learned" not in (tmp_path / REPORT_FILE).read_text(encoding="utf-8"), (
        "no curves were given"
    )


def test_a_champion_of_other_features_is_named_and_left_out(
    dataset_dir: Path, folder: Path, dataset: Dataset, make_bundle: BundleMaker, tmp_path: Path
) -> None:
    older = FeatureSpec(names=dataset.spec.names, lookback=12)
    champion_hash = make_bundle(tmp_path / "champion", dataset, spec=older)
    evidence = run(dataset_dir, folder / "bundle", tmp_path / "evidence", tmp_path / "champion")
    assert evidence.champion_hash == champion_hash
    assert evidence.champion_refused is not None
    assert older.hash in evidence.champion_refused
    assert set(evidence.policies) == {"gated"} | BASELINES
    assert "could not trade these hours" in (tmp_path / "evidence" / REPORT_FILE).read_text(encoding="utf-8")


@pytest.mark.pitfall("P16")
def test_a_bundle_is_not_scored_on_hours_that_it_was_trained_on(
    dataset_dir: Path, dataset: Dataset, make_bundle: BundleMaker, tmp_path: Path
) -> None:
    make_bundle(tmp_path / "bundle", dataset, train_end_ms=dataset.split.test_start_ms)
    with pytest.raises(MarketDataError, match="hours that it has seen"):
        run(dataset_dir, tmp_path / "bundle", tmp_path / "evidence")
    assert not (tmp_path / "evidence" / EVIDENCE_FILE).exists()


@pytest.mark.pitfall("P18")
def test_a_bundle_of_other_features_is_refused(
    dataset_dir: Path, dataset: Dataset, make_bundle: BundleMaker, tmp_path: Path
) -> None:
    make_bundle(tmp_path / "bundle", dataset, spec=FeatureSpec(names=dataset.spec.names, lookback=12))
    with pytest.raises(SchemaMismatchError, match="was made for feature spec"):
        run(dataset_dir, tmp_path / "bundle", tmp_path / "evidence")


@pytest.mark.parametrize(
    ("damage", "complaint"),
    [
        (lambda text: text[:-40], "Invalid JSON"),
        (lambda text: text.replace('"bundle_hash"', '"bundle_name"', 1), "bundle_hash"),
        (lambda text: text.replace('"max_drawdown": ', '"max_drawdown": "deep", "was": ', 1), "max_drawdown"),
    ],
    ids=["cut short", "key missing", "not a number"],
)
def test_evidence_that_is_not_whole_is_refused_with_what_is_wrong(
    folder: Path, tmp_path: Path, damage: Callable[[str], str], complaint: str
) -> None:
    text = (folder / "evidence" / EVIDENCE_FILE).read_text()
    (tmp_path / EVIDENCE_FILE).write_text(damage(text))
    with pytest.raises(SchemaMismatchError, match=complaint):
        Evidence.read(tmp_path)


def test_missing_evidence_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(SchemaMismatchError, match="evaluate the bundle first"):
        Evidence.read(tmp_path)
