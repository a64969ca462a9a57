"""A folder of recorded hours, traded by the backtest command: which hours, seen with whose eyes."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal
from typer.testing import CliRunner

from carryflow.agents.bundle import load_bundle
from carryflow.cli.app import app, console
from carryflow.core.errors import CarryflowError, MarketDataError, SettingsError
from carryflow.core.leg import LEGS
from carryflow.env.settings import EnvSettings
from carryflow.env.tape import tape_of
from carryflow.evaluation.backtest import backtest
from carryflow.evaluation.baselines import CARRY_FEATURE
from carryflow.evaluation.hours import AS_IT_IS, CARRY, PRICES, Eyes, read_hours
from carryflow.features.dataset import Dataset, read_dataset
from carryflow.features.frame import WARM_UP_HOURS, build_frame
from carryflow.market.data import DataSettings
from carryflow.market.store import merge_leg
from carryflow.market.synthetic import SyntheticSettings, synthetic_market

BundleMaker = Callable[..., str]

HOUR_MS = 3_600_000
TICKERS = ("BTC", "ETH")
HOURS = 24 * 50
MARKET = SyntheticSettings(hours=HOURS)
BEGIN = MARKET.start

BLIND = Eyes(PRICES, None)
CAREFUL = Eyes(CARRY, AS_IT_IS)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The hours that `dataset_dir` was made of, on disk."""
    folder = tmp_path_factory.mktemp("hours")
    for (leg, ticker), rows in synthetic_market(MARKET, TICKERS).items():
        merge_leg(folder, leg, ticker, rows)
    return folder


def data(**wanted: object) -> DataSettings:
    return DataSettings.model_validate({"tickers": TICKERS} | wanted)


def hour(tape_ms: np.int64) -> datetime:
    return datetime.fromtimestamp(int(tape_ms) / 1000, UTC)


def run(*arguments: str) -> str:
    """Give what the command prints; its errors are raised."""
    with console.capture() as said:
        done = CliRunner().invoke(app, ["backtest", *arguments])
    if isinstance(done.exception, CarryflowError):
        raise done.exception
    assert done.exit_code == 0, done.output
    return said.get()


def test_a_policy_that_looks_at_nothing_decides_from_the_first_bar_on(folder: Path) -> None:
    for tape in read_hours(folder, data(), BLIND).tapes:
        assert hour(tape.decision_ms[tape.first]) == BEGIN + timedelta(hours=1)
        assert len(tape) == HOURS


def test_hours_before_the_start_feed_the_first_decision_and_are_not_traded(folder: Path) -> None:
    start, end = BEGIN + timedelta(days=20), BEGIN + timedelta(days=30)
    whole = build_frame(*(pl.read_parquet(folder / f"{leg}_BTC.parquet") for leg in LEGS), "BTC", data())
    for tape in read_hours(folder, data(start=start, end=end), CAREFUL).tapes:
        assert hour(tape.decision_ms[tape.first]) == start
        assert hour(tape.decision_ms[-1]) == end - timedelta(hours=1)
        if tape.ticker == "BTC":
            seen = whole.filter(pl.col("KnownAt").is_between(start, end, closed="left"))[CARRY_FEATURE]
            assert np.array_equal(tape.features[:, 0], seen.to_numpy())


def test_at_the_head_of_the_recording_the_features_must_fill_first(folder: Path) -> None:
    (tape, _) = read_hours(folder, data(start=BEGIN), CAREFUL).tapes
    first = BEGIN + timedelta(hours=WARM_UP_HOURS + 1)
    assert hour(tape.decision_ms[tape.first]) == first
    arguments = str(folder), "--since", f"{BEGIN:%Y-%m-%d}", "--tickers", "BTC", "--policy", "threshold_carry"
    said = run(*arguments)
    assert f"traded {first:%Y-%m-%d %H:%M} UTC" in said
    assert f"not from {BEGIN:%Y-%m-%d} 00:00 UTC: the recording of BTC begins too late" in said


def test_tickers_trade_the_hours_that_all_of_them_have(folder: Path, tmp_path: Path) -> None:
    for (leg, ticker), rows in synthetic_market(MARKET, TICKERS).items():
        merge_leg(tmp_path, leg, ticker, rows.slice(100) if ticker == "ETH" else rows.head(HOURS - 50))
    hours = read_hours(tmp_path, data(), BLIND)
    assert (hours.last_to_begin, hours.first_to_end) == ("ETH", "BTC")
    for tape in hours.tapes:
        assert hour(tape.decision_ms[0]) == BEGIN + timedelta(hours=101)
        assert hour(tape.decision_ms[-1]) == BEGIN + timedelta(hours=HOURS - 50)


def test_tickers_without_an_hour_in_common_are_named(tmp_path: Path) -> None:
    for (leg, ticker), rows in synthetic_market(MARKET, TICKERS).items():
        merge_leg(tmp_path, leg, ticker, rows.slice(300) if ticker == "ETH" else rows.head(200))
    with pytest.raises(MarketDataError, match=r"ETH can be traded from .* on, BTC until .* leave a coin out"):
        read_hours(tmp_path, data(), BLIND)


@pytest.mark.pitfall("P18")
def test_a_bundle_trades_recorded_hours_exactly_as_its_evaluation_did(
    folder: Path, dataset_dir: Path, make_bundle: BundleMaker, tmp_path: Path
) -> None:
    dataset = read_dataset(dataset_dir)
    make_bundle(tmp_path / "bundle", dataset)
    bundle, split = load_bundle(tmp_path / "bundle"), dataset.split
    evaluated = backtest(
        [tape_of(dataset, ticker) for ticker in TICKERS],
        bundle.decide,
        EnvSettings(),
        split.test_start_ms,
        split.test_end_ms,
        experts=bundle.experts,
    )
    since, until = (datetime.fromtimestamp(ms / 1000, UTC) for ms in (split.test_start_ms, split.test_end_ms))
    said = run(
        str(folder),
        *("--tickers", ",".join(TICKERS), "--since", since.isoformat(), "--until", until.isoformat()),
        *("--bundle", str(tmp_path / "bundle"), "--out", str(tmp_path / "ledger.parquet")),
    )
    traded = pl.read_parquet(tmp_path / "ledger.parquet").drop("policy")
    assert_frame_equal(traded, evaluated, check_dtypes=False)
    assert traded["traded"].sum() > 0
    assert all(name in said for name in (*TICKERS, "all", "bundle"))


@pytest.mark.pitfall("P17")
def test_a_bundle_is_not_traded_on_hours_of_its_training_unless_told(
    folder: Path, dataset_dir: Path, make_bundle: BundleMaker, tmp_path: Path
) -> None:
    dataset: Dataset = read_dataset(dataset_dir)
    make_bundle(tmp_path, dataset)
    arguments = [
        str(folder),
        "--tickers",
        "BTC",
        "--bundle",
        str(tmp_path),
        "--until",
        f"{BEGIN + timedelta(20):%F}",
    ]
    with pytest.raises(
        MarketDataError, match=r"was trained from .* such as 20\d\d-\d\d-\d\dT\d\d:00, or say --seen"
    ):
        run(*arguments)
    assert "BTC" in run(*arguments, "--seen")


def test_flat_makes_nothing_and_hedged_is_told_part_by_part(folder: Path) -> None:
    said = run(str(folder), "--tickers", "BTC,ETH", "--policy", "flat", "--policy", "always_hedged")
    flat, hedged = said.split("always hedged")
    assert flat.count("+0.00%") == 3
    for heading in ("return", "funding", "basis", "fees", "slippage", "drawdown", "trades"):
        assert heading in hedged


def test_no_number_is_cut_on_a_narrow_screen(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    arguments = str(folder), "--tickers", "BTC,ETH", "--policy", "always_hedged"
    monkeypatch.setattr(console, "width", 200)
    upright = run(*arguments)
    numbers = {word for word in upright.split() if any(character.isdigit() for character in word)}
    for width in (80, 40, 20):
        monkeypatch.setattr(console, "width", width)
        said = run(*arguments)
        assert numbers <= set(said.split())
        assert {"BTC", "ETH", "all", "return", "funding", "drawdown"} <= set(said.split())
        assert "liquidation" not in said, "nothing came of it"
        table = said[: said.index("traded")]
        assert width == 20 or max(map(len, table.splitlines())) <= width


def test_a_policy_that_is_named_twice_trades_once(folder: Path) -> None:
    said = run(str(folder), "--tickers", "BTC", "--policy", "flat", "--policy", "flat")
    assert said.count("coin ") == 1


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        (["nowhere"], MarketDataError, "is no folder"),
        (["{folder}", "--tickers", "PEPE"], MarketDataError, "no hours of PEPE; it holds BTC, ETH"),
        (["{folder}", "--tickers", "BTC", "--since", "2040-01-01"], MarketDataError, "holds 0 bars"),
        (["{folder}", "--tickers", "btc"], MarketDataError, "did you mean BTC"),
        (["{folder}", "--tickers", "BTC", "--since", "soon"], SettingsError, "such as 2023-01-31"),
        (
            ["{folder}", "--tickers", "BTC", "--since", "2023-12-01", "--until", "2023-11-20"],
            SettingsError,
            "must be before end",
        ),
        (["{folder}", "--tickers", "BTC", "--policy", "hodl"], SettingsError, "is none of always_hedged"),
        (
            ["{folder}", "--tickers", "BTC", "--policy", ""],
            SettingsError,
            "names nothing; choose one of always",
        ),
        (["{folder}", "--tickers", "BTC", "--seen"], SettingsError, "--bundle FOLDER"),
        (
            [
                "{folder}",
                "--tickers",
                "BTC",
                "--until",
                f"{BEGIN + timedelta(5):%F}",
                "--policy",
                "threshold_carry",
            ],
            MarketDataError,
            "no more than the warm-up of 176",
        ),
    ],
)
def test_a_mistake_is_named(
    folder: Path, arguments: list[str], error: type[CarryflowError], words: str
) -> None:
    with pytest.raises(error, match=words):
        run(*(argument.format(folder=folder) for argument in arguments))
