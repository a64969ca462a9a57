"""The whole loop, small: a killed run is taken up and ends well, and the run after it does little."""

import json
import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from carryflow.agents.experts import EXPERTS
from carryflow.evaluation.evidence import Evidence
from carryflow.promotion.registry import Alias, Registry

HOURS = 1800
SMALL = (
    f"exchange.synthetic.hours={HOURS}",
    "data.tickers=[BTC,ETH]",
    "split.test_days=21",
    "split.min_train_days=20",
    # without costs and hysteresis a few rounds of learning are enough to be promoted
    "env.costs.spot_taker_bp=0",
    "env.costs.perp_taker_bp=0",
    "env.costs.spot_slippage_bp=0",
    "env.costs.perp_slippage_bp=0",
    "env.hysteresis=0",
    "train.iterations=4",
    "train.gate.iterations=2",
    "train.batch_steps=4096",
    "train.minibatch_steps=1024",
)


@dataclass(frozen=True)
class Runs:
    """What was said by the run after the killed one, and by the one after that, in one home."""

    home: Path
    second: str
    third: str

    @property
    def champion(self) -> str:
        version = Registry(self.home / "registry").resolve(Alias.CHAMPION)
        assert version is not None, self.second
        return version


def start(home: Path) -> "subprocess.Popen[str]":
    overrides = [argument for setting in SMALL for argument in ("-o", setting)]
    return subprocess.Popen(
        [sys.executable, "-m", "carryflow", "run", *overrides],
        cwd=home,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def finish(home: Path) -> str:
    process = start(home)
    output, _ = process.communicate(timeout=600)
    assert process.returncode == 0, output
    return output


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Runs:
    home = tmp_path_factory.mktemp("home")
    killed = start(home)
    assert killed.stdout is not None
    for line in killed.stdout:
        if line.startswith("train-expert"):
            break
    os.killpg(killed.pid, signal.SIGKILL)
    assert killed.wait() == -signal.SIGKILL
    return Runs(home, finish(home), finish(home))


pytestmark = pytest.mark.timeout(900)


def test_a_run_after_a_killed_one_goes_on_where_it_stopped(runs: Runs) -> None:
    assert "training-set is unchanged" in runs.second
    assert "train-expert done in" in runs.second


def test_a_run_again_does_not_redo_what_is_unchanged(runs: Runs) -> None:
    for step in ("build-features", "training-set", "check-drift", "train-expert", "train-gate"):
        assert f"{step} is unchanged" in runs.third
    assert "train-expert done in" not in runs.third


def test_every_hour_was_fetched_once(runs: Runs) -> None:
    for ticker in ("BTC", "ETH"):
        for leg in ("spot", "perp"):
            stamps = pl.read_parquet(runs.home / "data" / "crypto" / f"{leg}_{ticker}.parquet")["timestamp"]
            assert len(stamps) == stamps.n_unique() == HOURS


def test_the_windows_lie_where_they_are_looked_for(runs: Runs) -> None:
    windows = np.load(runs.home / "data" / "processed" / "crypto_windows_48.npy", mmap_mode="r")
    card = json.loads((runs.home / "data" / "processed" / "crypto_windows_48.json").read_text())
    assert windows.dtype == np.float32
    assert windows.shape[1:] == (48, len(card["spec"]["names"]))
    assert np.isfinite(windows).all()


def test_the_champion_has_four_experts_its_evidence_and_its_report(runs: Runs) -> None:
    registry = Registry(runs.home / "registry")
    described = json.loads((registry.bundle_dir(runs.champion) / "bundle.json").read_text())
    assert all(expert in json.dumps(described) for expert in EXPERTS)
    evidence = Evidence.read(registry.evidence_dir(runs.champion))
    assert {"gated", "ungated_mean", "threshold_carry", "always_hedged", "flat"} <= set(evidence.policies)
    assert evidence.train_end_ms < evidence.test_start_ms
    report = registry.evidence_dir(runs.champion) / "report.html"
    assert str(report) in runs.second
    assert "<html" in report.read_text()


def test_the_decision_served_over_http_is_the_offline_one(runs: Runs) -> None:
    for output in (runs.second, runs.third):
        answers = [line for line in output.splitlines() if line.startswith(("│ BTC", "│ ETH"))]
        assert len(answers) == 2
        for answer in answers:
            _, _, served, offline, equal, *_ = (cell.strip() for cell in answer.split("│"))
            assert served == offline
            assert equal == "✓"


def test_each_run_stored_its_settings_under_their_hash(runs: Runs) -> None:
    stored = list((runs.home / "runs").glob("*/settings.yaml"))
    assert len(stored) == 3
    for file in stored:
        assert file.read_text().startswith(f"# hash: {file.parent.name.rpartition('-')[2]}\n")
