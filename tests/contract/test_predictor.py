"""The predictor as a client meets it: a process of its own, asked over HTTP."""

import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import torch

from carryflow.agents.bundle import Bundle, BundleMetadata, load_bundle, save_bundle
from carryflow.agents.experts import EXPERTS, ExpertPolicy
from carryflow.agents.gate import GatedPolicy
from carryflow.features.build import build_features
from carryflow.features.scaling import Scaler
from carryflow.features.spec import FeatureSettings, FeatureSpec
from carryflow.market.data import DataSettings
from carryflow.market.store import Source, merge_leg, write_source
from carryflow.market.synthetic import SyntheticSettings, synthetic_market
from carryflow.promotion.registry import Alias, Registry
from carryflow.store.feast import OnlineFeatures, publish, serve_version

ROOT = Path(__file__).resolve().parents[2]
TICKERS = ("BTC", "ETH")
HOUR_MS = 3_600_000
END_MS = int(datetime(2025, 1, 31, tzinfo=UTC).timestamp() * 1000)


@dataclass(frozen=True)
class Home:
    """A folder with market, features and a champion, as a finished run leaves it."""

    path: Path
    bundle: Bundle


def forge_champion(home: Path, spec: FeatureSpec, expires_at_ms: int, seed: int = 3) -> Bundle:
    """Register an untrained policy as champion: serving does not ask whether it is any good."""
    generator = torch.Generator().manual_seed(seed)
    experts = [ExpertPolicy(name, spec, (8,), generator) for name in EXPERTS]
    policy = GatedPolicy(experts, (8,), 1.0, generator)
    scaler = Scaler.fit(np.random.default_rng(seed).normal(0.0, 2.0, (500, len(spec.published))), spec)
    metadata = BundleMetadata(END_MS, expires_at_ms, END_MS - 600 * HOUR_MS, END_MS, {"code": "test"})
    forged = home / f"forged-{seed}"
    save_bundle(forged / "bundle", policy, scaler.to_json(), metadata)
    (forged / "evidence").mkdir()
    (forged / "evidence" / "evidence.json").write_text("{}")
    registry = Registry(home / "registry")
    version = registry.register(forged / "bundle", forged / "evidence")
    registry.assign(Alias.CHAMPION, version, at_ms=END_MS, why="test")
    serve_version(home, version, spec)
    return load_bundle(registry.bundle_dir(version))


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    path = tmp_path_factory.mktemp("home")
    raw, processed = path / "data" / "crypto", path / "data" / "processed"
    tables = synthetic_market(SyntheticSettings(hours=720), TICKERS)
    for (leg, ticker), table in tables.items():
        merge_leg(raw, leg, ticker, table)
    write_source(raw, Source("simulated", "test", END_MS))
    features = FeatureSettings(lookback=24)
    build_features(raw, processed, DataSettings(tickers=TICKERS), features)
    publish(processed, path, created=datetime(2025, 1, 31, tzinfo=UTC))
    spec = FeatureSpec.of(features, sentiment=False)
    return Home(path, forge_champion(path, spec, END_MS + 14 * 24 * HOUR_MS))


@contextmanager
def serving(home: Path, *overrides: str) -> Iterator[str]:
    """Lend the URL of a predictor on any free port; stop it at the end."""
    settings = [f"home={home}", "serving.port=0", "data.tickers=[BTC,ETH]", *overrides]
    options = [part for setting in settings for part in ("-o", setting)]
    command = [sys.executable, "-m", "carryflow", "serve", *options]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"} | {"PYTHONPATH": str(ROOT)}
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment, cwd=home
    ) as process:
        watchdog = threading.Timer(240, process.kill)
        watchdog.start()
        try:
            said: list[str] = []
            url = None
            for line in process.stdout or ():
                said.append(line)
                if announced := re.search(r"http://\S+", line):
                    url = announced[0].split("/v1/")[0]
                    break
            assert url, "".join(said)
            wait_until_ready(url, process)
            yield url
        finally:
            watchdog.cancel()
            process.terminate()


def wait_until_ready(url: str, process: subprocess.Popen[str]) -> None:
    while process.poll() is None:
        with suppress(httpx.TransportError):
            httpx.get(f"{url}/v2/models/carry/ready").raise_for_status()
            return
        time.sleep(0.1)
    pytest.fail(f"the predictor ended with code {process.returncode} before it was ready")


def ask(url: str, body: Any) -> tuple[int, dict[str, Any]]:
    """Post a V1 request and give status and answer."""
    response = httpx.post(f"{url}/v1/models/carry:predict", json=body)
    return response.status_code, response.json()


@pytest.fixture(scope="module")
def url(home: Home) -> Iterator[str]:
    with serving(home.path) as url:
        yield url


@pytest.mark.pitfall("P18")
def test_the_served_action_is_the_offline_action_for_the_same_features(home: Home, url: str) -> None:
    instances = [{"ticker": "BTC"}, {"ticker": "ETH", "position": 0.5, "drawdown": 0.02}]
    status, answer = ask(url, {"instances": instances})
    assert status == 200
    features, scaler = OnlineFeatures(home.path), Scaler.from_json(home.bundle.scaler)
    for instance, prediction in zip(instances, answer["predictions"], strict=True):
        window = features.latest_window(instance["ticker"], END_MS).window
        account = np.array([instance.get("position", 0.0), instance.get("drawdown", 0.0)], np.float32)
        observation = np.concatenate([scaler.transform(window).reshape(-1), account])
        offline = home.bundle.decide(observation[None])
        assert prediction["action"] == float(offline.action[0])
        assert list(prediction["gate"].values()) == pytest.approx(offline.gate[0].tolist(), abs=0)
        assert prediction["gate"].keys() == prediction["votes"].keys() == set(EXPERTS)
        assert prediction["hold"] is False
        assert prediction["bundle_hash"] == home.bundle.hash


def test_the_answer_says_how_old_its_features_are_and_until_when_it_holds(url: str) -> None:
    _, answer = ask(url, {"instances": [{"ticker": "BTC"}]})
    (prediction,) = answer["predictions"]
    assert prediction["feature_known_at"] == "2025-01-31T00:00:00.000Z"
    assert 0 <= prediction["feature_age_s"] < 120
    ages = prediction["feature_ages_s"]
    assert ages["basis_bp"] == prediction["feature_age_s"]
    assert ages["carry_24h_apr"] >= prediction["feature_age_s"] + 3600
    assert prediction["expires_at"] == "2025-01-31T03:00:00.000Z"


def test_the_same_question_gets_the_same_decision_id_and_another_gets_another(url: str) -> None:
    instances = [{"ticker": "BTC"}, {"ticker": "BTC"}, {"ticker": "BTC", "position": 0.1}]
    first, again, other = ask(url, {"instances": instances})[1]["predictions"]
    assert first["decision_id"] == again["decision_id"] != other["decision_id"]


@pytest.mark.parametrize(
    ("body", "named"),
    [
        ({"instances": [{"ticker": "NOPE"}]}, "NOPE"),
        ({"instances": []}, "instances"),
        ({"inputs": []}, "instances"),
        ({"instances": ["BTC"]}, "BTC"),
        ({"instances": [{"ticker": "BTC", "leverage": 3}]}, "leverage"),
        ({"instances": [{"ticker": "BTC", "position": "much"}]}, "much"),
        ({"instances": [{"ticker": "BTC", "position": 7}]}, "[-2, 2]"),
        ({"instances": [{"ticker": "BTC", "drawdown": -0.1}]}, "drawdown"),
    ],
)
def test_a_bad_question_is_a_400_that_names_what_is_wrong(url: str, body: Any, named: str) -> None:
    status, answer = ask(url, body)
    assert status == 400
    assert named in answer["error"]


def test_metrics_count_decisions_and_tell_ages(url: str) -> None:
    ask(url, {"instances": [{"ticker": "ETH"}]})
    text = httpx.get(f"{url}/metrics").text
    assert re.search(r'carryflow_decisions_total\{outcome="act",ticker="ETH"\} [1-9]', text)
    assert re.search(r'carryflow_feature_age_seconds\{ticker="ETH"\} \d', text)
    assert "carryflow_bundle_expires_timestamp_seconds{bundle=" in text
    assert "carryflow_decision_seconds_bucket" in text


def test_only_loopback_is_bound(url: str) -> None:
    port = int(url.rsplit(":", 1)[1])
    listening = [
        line.split()[1] for line in Path("/proc/net/tcp").read_text().splitlines()[1:] if " 0A " in line
    ]
    assert [address for address in listening if int(address.split(":")[1], 16) == port] == [
        f"0100007F:{port:04X}"
    ]


def test_a_promotion_takes_over_without_a_restart(home: Home, url: str) -> None:
    spec = home.bundle.spec
    challenger = forge_champion(home.path, spec, END_MS + 24 * HOUR_MS, seed=5)
    served = set()
    for _ in range(100):
        served.add(ask(url, {"instances": [{"ticker": "BTC"}]})[1]["predictions"][0]["bundle_hash"])
        if challenger.hash in served:
            break
        time.sleep(0.1)
    assert challenger.hash in served
    shown = re.findall(r'timestamp_seconds\{bundle="(\w+)"\}', httpx.get(f"{url}/metrics").text)
    assert shown == [challenger.hash]
