"""Whole sessions of the engine against a simulated exchange that plays a day in 24 seconds."""

import os
import re
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
import torch
from typer.testing import CliRunner

from carryflow.agents.bundle import BundleMetadata, save_bundle
from carryflow.agents.experts import EXPERTS, ExpertPolicy
from carryflow.agents.gate import GatedPolicy
from carryflow.cli import main  # noqa: F401 - every command joins the application
from carryflow.cli.app import app, console
from carryflow.cli.trading.announcer import LOOK_SECONDS
from carryflow.core.errors import CarryflowError
from carryflow.evaluation.parity import TOLERANCE
from carryflow.evaluation.parity_courses import read_account
from carryflow.execution.journal.journal import Journal
from carryflow.features.frame import build_frame
from carryflow.features.scaling import Scaler
from carryflow.features.spec import FeatureSettings, FeatureSpec
from carryflow.market.data import DataSettings
from carryflow.market.synthetic import SyntheticSettings, synthetic_market
from carryflow.promotion.registry import Alias, Registry

TICKERS = ("BTC", "ETH")
HOURS = 24 * 16
HOME = (
    "-o", f"exchange.synthetic.hours={HOURS}",
    "-o", "data.tickers=[BTC,ETH]",
    "-o", "exchange.speed=3600",
    "-o", "execution.hysteresis=0.02",  # an untrained champion wants little, and changes its mind often
)  # fmt: skip

pytestmark = pytest.mark.timeout(300)


def command(home: Path, *arguments: str) -> list[str]:
    return [sys.executable, "-m", "carryflow", *arguments, "-o", f"home={home}", *HOME]


def carryflow(home: Path, *arguments: str) -> str:
    """Run a command that does not trade, in this process, and give what it prints."""
    with console.capture() as said:
        done = CliRunner().invoke(app, command(home, *arguments)[3:])
    assert done.exit_code == 0, (done.output, done.exception)
    return said.get()


def crown(home: Path) -> str:
    """Make an untrained but whole champion that wants to be in the trade, a little, and give its hash."""
    market = synthetic_market(SyntheticSettings(hours=HOURS), TICKERS)
    spec = FeatureSpec.of(FeatureSettings(lookback=24), sentiment=False)
    frame = build_frame(market["spot", "BTC"], market["perp", "BTC"], "BTC", DataSettings(tickers=TICKERS))
    scaler = Scaler.fit(frame.select(spec.published).to_numpy(), spec)
    generator = torch.Generator().manual_seed(4)
    experts = [ExpertPolicy(name, spec, (8,), generator) for name in EXPERTS]
    for expert in experts:
        for weights in expert.parameters():
            weights.data.mul_(30.0)
    known_ms = int(frame["KnownAt"].dt.epoch("ms")[-1])
    metadata = BundleMetadata(known_ms, known_ms + 7 * 24 * 3_600_000, 0, 1, {})
    bundle, evidence = home / "made" / "bundle", home / "made" / "evidence"
    name = save_bundle(bundle, GatedPolicy(experts, (8,), 1.0, generator), scaler.to_json(), metadata)
    evidence.mkdir()
    (evidence / "evidence.json").write_text("{}")
    registry = Registry(home / "registry")
    registry.assign(Alias.CHAMPION, registry.register(bundle, evidence), at_ms=known_ms, why="a test")
    return name


@dataclass(frozen=True)
class Sessions:
    """A champion's in a sandbox, left alone, and one on paper that was told to close everything."""

    home: Path
    champion: str
    sandbox: str
    paper: str
    watched: str
    flattened: str
    metrics: str


def await_both_legs(home: Path, mode: str) -> None:
    """Look into an engine's journal until both legs of a coin are filled."""
    path = home / "execution" / mode / "journal.db"
    for _ in range(240):
        time.sleep(0.25)
        if path.is_file():
            with suppress(CarryflowError, sqlite3.Error), Journal.read(path) as journal:
                if {fill.leg for fill in journal.fills()} == {"spot", "perp"}:
                    return
    raise AssertionError(f"nothing was filled in {mode}")


@pytest.fixture(scope="module")
def sessions(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sessions]:
    home = tmp_path_factory.mktemp("home")
    champion = crown(home)
    secret = {"CARRYFLOW_API_KEY": "", "CARRYFLOW_API_SECRET": ""}
    arguments = {
        "sandbox": ["trade", "--sandbox", "--hours", "24"],
        "paper": ["paper", "--policy", "hedged", "--hours", "48", "--metrics-port", "0"],
    }
    started = {
        mode: subprocess.Popen(
            command(home, *words), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            env=os.environ | secret,
        )
        for mode, words in arguments.items()
    }  # fmt: skip
    try:
        assert started["paper"].stdout is not None
        metrics_url = started["paper"].stdout.readline().split()[-1]
        await_both_legs(home, "paper")
        watched = carryflow(home, "status", "--mode", "paper")
        flattened = carryflow(home, "flatten", "--mode", "paper", "--reason", "the test wants it")
        time.sleep(2 * LOOK_SECONDS)
        metrics = httpx.get(metrics_url).text
        started["paper"].send_signal(signal.SIGTERM)
        said = {mode: process.communicate(timeout=150)[0] for mode, process in started.items()}
        for mode, process in started.items():
            assert process.returncode == 0, said[mode]
        yield Sessions(home, champion, said["sandbox"], said["paper"], watched, flattened, metrics)
    finally:
        for process in started.values():
            process.kill()


@pytest.mark.parametrize("mode", ["sandbox", "paper"])
def test_of_a_session_without_faults_no_part_of_the_profit_is_unexplained(
    sessions: Sessions, mode: str
) -> None:
    with Journal.read(sessions.home / "execution" / mode / "journal.db") as journal:
        account = read_account(journal)
    assert account.mismatches == ()
    said = carryflow(sessions.home, "parity", "--mode", mode)
    assert f"{mode} at simulated, beside" in said
    unexplained = float(re.search(r"unexplained ([-+][\d.]+) USDT", said)[1])  # type: ignore[index]
    traded = sum(course.notional_quote for course in account.courses)
    assert traded > 1_000
    assert abs(unexplained) <= TOLERANCE * traded


def test_the_champion_traded_and_every_decision_is_joined_to_its_fills(sessions: Sessions) -> None:
    assert f"trading BTC, ETH by champion {sessions.champion}" in sessions.sandbox
    with Journal.read(sessions.home / "execution" / "sandbox" / "journal.db") as journal:
        decided = {one.decision_id for one in journal.decisions() if sessions.champion in one.source}
        intents = {one.intent_id: one.decision_id for one in journal.intents()}
        orders = {one.request.client_id: intents[one.intent_id] for one in journal.orders()}
        fills = journal.fills()
        assert len(decided) >= 12
        assert fills
        assert {orders[fill.client_id or ""] for fill in fills} <= decided
        assert len(journal.funding()) > 0
        assert all(pair.state == "idle" and pair.blocked is None for pair in journal.pairs())


def test_status_answers_while_the_engine_runs(sessions: Sessions) -> None:
    assert "an engine is running" in sessions.watched


def test_prometheus_reads_what_the_engine_did(sessions: Sessions) -> None:
    for line in (
        'carryflow_execution_state{state="idle",ticker="BTC"} 1.0',
        'carryflow_execution_blocked{ticker="BTC"} 0.0',
        "carryflow_execution_kill_level 3.0",
    ):
        assert line in sessions.metrics
    filled = re.findall(r'orders_total\{leg="(\w+)",outcome="filled"\} ([\d.]+)', sessions.metrics)
    assert {leg for leg, count in filled if float(count) >= 1} == {"spot", "perp"}


def test_flatten_closes_everything_through_the_running_engine(sessions: Sessions) -> None:
    assert "the running engine is told to close everything" in sessions.flattened
    assert "everything is closed" in sessions.flattened
    assert "the kill switch is at flatten: the test wants it" in sessions.paper
    with Journal.read(sessions.home / "execution" / "paper" / "journal.db") as journal:
        statement = journal.last_statement()
    assert statement is not None
    assert list(statement.positions) == []


def test_an_engine_goes_on_where_the_last_one_ended_and_flatten_needs_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = {"CARRYFLOW_API_KEY": "a-key", "CARRYFLOW_API_SECRET": "a-secret"}
    exchange = subprocess.Popen(
        [
            sys.executable, "-m", "carryflow", "exchange", "up", "--trade", "--port", "0", *HOME,
            "-o", "exchange.start=2025-01-04",
        ],
        stdout=subprocess.PIPE, text=True, env=os.environ | key,
    )  # fmt: skip
    try:
        assert exchange.stdout is not None
        said = [exchange.stdout.readline(), exchange.stdout.readline()]
        assert said[0].startswith("the key in CARRYFLOW_API_KEY has 50,000.00 USDT")
        here = ("-o", f"venue.url={said[1].strip()}")
        told = []
        for name, value in key.items():
            monkeypatch.setenv(name, value)
        for words in (
            ("trade", "--sandbox", "--policy", "hedged", "--hours", "3"),
            ("trade", "--sandbox", "--policy", "hedged", "--hours", "3"),
            ("flatten",),
        ):
            told.append(carryflow(tmp_path, *words, *here))
    finally:
        exchange.kill()
    assert "open: 0 to" in told[0]
    assert "open: 0 to" not in told[1]
    assert "is near enough" in told[1]
    assert "closing everything" in told[2]
    assert "everything is closed" in told[2]
    assert "a-key" not in "".join(told)
