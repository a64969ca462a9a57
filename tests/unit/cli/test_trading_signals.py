"""Signals of an engine: the windows that it streams, who decides on them, and when nobody does."""

import asyncio
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Self

import numpy as np
import polars as pl
import pytest
import torch

from carryflow.agents.bundle import Bundle, BundleMetadata, load_bundle, save_bundle
from carryflow.agents.experts import EXPERTS, ExpertPolicy
from carryflow.agents.gate import GatedPolicy
from carryflow.cli.trading.decisions import Decider
from carryflow.cli.trading.pace import paced
from carryflow.cli.trading.policies import Champion, Held, Policy, Standing, reference
from carryflow.cli.trading.windows import StreamedWindows
from carryflow.core.errors import MarketDataError, RetryableError, SchemaMismatchError, UnknownTickerError
from carryflow.core.leg import LEGS
from carryflow.execution.intents import Decision
from carryflow.execution.settings import ExecutionSettings
from carryflow.features.frame import build_frame
from carryflow.features.scaling import Scaler
from carryflow.features.spec import FeatureSettings, FeatureSpec
from carryflow.market.closed_bars import ClosedBar, recorded_bars
from carryflow.market.data import DataSettings
from carryflow.market.store import merge_leg
from carryflow.market.synthetic import SyntheticSettings, synthetic_market

HOUR_MS = 3_600_000
TICKERS = ("BTC", "ETH")
DATA = DataSettings(tickers=TICKERS)
SPEC = FeatureSpec.of(FeatureSettings(lookback=24), sentiment=False)
MARKET = SyntheticSettings(hours=24 * 14)
START_MS = round(MARKET.start.timestamp() * 1000)
PRIMED = 24 * 12
NOW_MS = START_MS + PRIMED * HOUR_MS

Legs = dict[tuple[str, str], pl.DataFrame]


@pytest.fixture(scope="module")
def legs() -> Legs:
    return dict(synthetic_market(MARKET, TICKERS))  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def folder(legs: Legs, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All the hours, those of the future, too."""
    folder = tmp_path_factory.mktemp("market")
    for (leg, ticker), rows in legs.items():
        merge_leg(folder, leg, ticker, rows)  # type: ignore[arg-type]
    return folder


@pytest.fixture(scope="module")
def bundle(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    generator = torch.Generator().manual_seed(1)
    experts = [ExpertPolicy(name, SPEC, (8,), generator) for name in EXPERTS]
    raw = batch(folder, "BTC").select(SPEC.published).to_numpy()
    metadata = BundleMetadata(NOW_MS - HOUR_MS, NOW_MS + 30 * HOUR_MS, 0, 1, {})
    home = tmp_path_factory.mktemp("bundle")
    save_bundle(home, GatedPolicy(experts, (8,), 1.0, generator), Scaler.fit(raw, SPEC).to_json(), metadata)
    return load_bundle(home)


def batch(folder: Path, ticker: str) -> pl.DataFrame:
    spot, perp = (pl.read_parquet(folder / f"{leg}_{ticker}.parquet") for leg in LEGS)
    return build_frame(spot, perp, ticker, DATA, None, FeatureSettings(lookback=24))


def closing(legs: Legs, ticker: str) -> Iterator[ClosedBar]:
    """Bring the bars that close after the windows were primed."""
    return islice(recorded_bars(legs["spot", ticker], legs["perp", ticker]), PRIMED, None)


class StandingClock:
    """Tell the instant that it was set to."""

    def __init__(self, now_ms: int) -> None:
        self.time_ms = now_ms

    def now_ms(self) -> int:
        return self.time_ms

    async def sleep(self, seconds: float) -> None:
        self.time_ms += round(seconds * 1000)


@pytest.fixture
def windows(folder: Path) -> StreamedWindows:
    windows = StreamedWindows(SPEC, TICKERS, DATA)
    assert windows.prime(folder, NOW_MS + HOUR_MS - 1) == NOW_MS
    return windows


@pytest.mark.pitfall("P18")
def test_a_streamed_window_is_that_of_a_batch_to_the_last_bit(
    windows: StreamedWindows, folder: Path, legs: Legs
) -> None:
    for ticker in TICKERS:
        for count, bar in enumerate(islice(closing(legs, ticker), 3)):
            windows.push(ticker, bar)
            known_ms = NOW_MS + (count + 1) * HOUR_MS
            rows = batch(folder, ticker).filter(pl.col("KnownAt").dt.epoch("ms") <= known_ms).tail(24)
            latest = windows.read(ticker)
            assert np.array_equal(latest.window, rows.select(SPEC.published).to_numpy().astype(np.float32))
            assert latest.known_at_ms == known_ms
            assert latest.funding_known_at_ms == rows["FundingKnownAt"].dt.epoch("ms")[-1]


@pytest.mark.pitfall("P16")
def test_history_beyond_the_venues_clock_is_not_looked_at(windows: StreamedWindows, folder: Path) -> None:
    assert windows.read("BTC").known_at_ms == NOW_MS
    assert int(batch(folder, "BTC")["KnownAt"].dt.epoch("ms")[-1]) > NOW_MS


def test_a_policy_of_other_features_is_refused(folder: Path) -> None:
    other = FeatureSpec(names=SPEC.names, lookback=24, version=1)
    with pytest.raises(SchemaMismatchError):
        StreamedWindows(other, TICKERS, DATA)


def test_too_little_history_and_a_window_that_is_not_there_are_named(folder: Path) -> None:
    windows = StreamedWindows(SPEC, TICKERS, DATA)
    with pytest.raises(UnknownTickerError, match="no window of BTC"):
        windows.read("BTC")
    with pytest.raises(MarketDataError, match="looks back on 24"):
        windows.prime(folder, START_MS + 180 * HOUR_MS)


def test_the_champion_decides_as_the_desk_that_serves_it(
    windows: StreamedWindows, bundle: Bundle, folder: Path
) -> None:
    champion = Champion(bundle, windows, StandingClock(NOW_MS), 3 * HOUR_MS)
    decided = champion.decide("BTC", Standing(0.25, 0.01), NOW_MS + 5)
    assert isinstance(decided, Decision)
    rows = batch(folder, "BTC").filter(pl.col("KnownAt").dt.epoch("ms") <= NOW_MS).tail(24)
    seen = (
        Scaler.from_json(bundle.scaler)
        .transform(rows.select(SPEC.published).to_numpy().astype(np.float32))
        .ravel()
    )
    observed = np.concatenate([seen, np.array([0.25, 0.01], np.float32)])[np.newaxis]
    assert decided.fraction == float(bundle.decide(observed).action[0])
    assert decided.decided_ms == NOW_MS + 5
    assert decided.expires_ms == NOW_MS + 3 * HOUR_MS
    assert bundle.hash in decided.source


def test_the_champion_holds_on_features_that_are_too_old(windows: StreamedWindows, bundle: Bundle) -> None:
    champion = Champion(bundle, windows, StandingClock(NOW_MS + 4 * HOUR_MS), 3 * HOUR_MS)
    held = champion.decide("BTC", Standing(0.0, 0.0), NOW_MS + 4 * HOUR_MS)
    assert isinstance(held, Held)
    assert "4.0 h old, the limit is 3 h" in held.reason


def test_a_hole_in_the_bars_holds_the_ticker_until_its_history_is_fetched_anew(
    windows: StreamedWindows, bundle: Bundle, folder: Path, legs: Legs
) -> None:
    champion = Champion(bundle, windows, StandingClock(NOW_MS + 2 * HOUR_MS), 3 * HOUR_MS)
    champion.learn("BTC", list(islice(closing(legs, "BTC"), 2))[1])
    held = champion.decide("BTC", Standing(0.0, 0.0), NOW_MS)
    assert isinstance(held, Held)
    assert "was due" in held.reason
    assert isinstance(champion.decide("ETH", Standing(0.0, 0.0), NOW_MS), Decision)
    assert champion.mend("BTC", folder, NOW_MS + 2 * HOUR_MS) == NOW_MS + 2 * HOUR_MS
    assert isinstance(champion.decide("BTC", Standing(0.0, 0.0), NOW_MS), Decision)


class Bars:
    """Bring prepared bars; what is an error is raised."""

    def __init__(self, told: Sequence[dict[str, ClosedBar] | Exception]) -> None:
        self._told = iter(told)
        self.missing: dict[str, str] = {}

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> dict[str, ClosedBar]:
        told = next(self._told, None)
        if told is None:
            raise StopAsyncIteration
        if isinstance(told, Exception):
            raise told
        return told


def decide_on(
    policy: Policy,
    told: Sequence[dict[str, ClosedBar] | Exception],
    clock: StandingClock,
    folder: Path = Path(),
) -> tuple[list[Decision], list[Held]]:
    held: list[Held] = []
    decider = Decider(policy, lambda _: Standing(0.0, 0.0), clock, HOUR_MS, held.append, lambda: folder)

    async def collect() -> list[Decision]:
        return [one async for one in decider.decisions(Bars(told))]  # type: ignore[arg-type]

    return asyncio.run(collect()), held


def of_both(legs: Legs, bars: int) -> list[dict[str, ClosedBar]]:
    columns = {ticker: list(islice(closing(legs, ticker), bars)) for ticker in TICKERS}
    return [{ticker: columns[ticker][row] for ticker in TICKERS} for row in range(bars)]


def test_every_ticker_is_decided_on_when_its_bar_has_closed(legs: Legs) -> None:
    clock = StandingClock(NOW_MS + HOUR_MS + 500)
    decided, held = decide_on(reference("hedged", HOUR_MS), of_both(legs, 1), clock)
    assert [(one.ticker, one.fraction, one.decided_ms) for one in decided] == [
        ("BTC", 1.0, clock.time_ms),
        ("ETH", 1.0, clock.time_ms),
    ]
    assert len({one.decision_id for one in decided}) == 2
    assert held == []


def test_of_bars_that_had_closed_before_only_the_newest_is_decided_on(legs: Legs) -> None:
    clock = StandingClock(NOW_MS + 3 * HOUR_MS + 500)
    decided, _ = decide_on(reference("flat", HOUR_MS), of_both(legs, 3), clock)
    assert [one.ticker for one in decided] == ["BTC", "ETH"]


def test_a_venue_that_gives_no_bars_is_asked_again(legs: Legs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("carryflow.cli.trading.decisions.PATIENCE_SECONDS", 0.0)
    clock = StandingClock(NOW_MS + HOUR_MS)
    told = [RetryableError("it did not answer"), *of_both(legs, 1)]
    decided, held = decide_on(reference("hedged", HOUR_MS), told, clock)
    assert len(decided) == 2
    assert "it did not answer" in held[0].reason


def test_a_blind_champion_sees_again_once_its_history_is_fetched(
    windows: StreamedWindows, bundle: Bundle, folder: Path, legs: Legs
) -> None:
    clock = StandingClock(NOW_MS + 2 * HOUR_MS + 500)
    champion = Champion(bundle, windows, clock, 3 * HOUR_MS)
    decided, held = decide_on(champion, of_both(legs, 2)[1:], clock, folder)
    assert [one.ticker for one in decided] == ["BTC", "ETH"]
    assert held == []
    assert champion.blind == {}


def test_in_a_fast_clock_what_bounds_machines_is_worth_more_of_its_time_and_the_market_is_not_touched() -> (
    None
):
    plain = ExecutionSettings()
    fast = paced(plain, 720.0)
    assert fast.order_valid_ms == 720 * plain.order_valid_ms
    assert fast.limits.max_feed_age_seconds == 720 * plain.limits.max_feed_age_seconds
    assert fast.reconcile_seconds == 720.0
    assert fast.limits.max_daily_loss == plain.limits.max_daily_loss
    assert fast.limits.max_feature_age_hours == plain.limits.max_feature_age_hours
    assert paced(plain, 1.0) == paced(plain, 0.0) == plain


def test_a_decision_of_a_reference_is_good_until_the_bar_after_the_next(legs: Legs) -> None:
    decided = reference("hedged", HOUR_MS).decide("BTC", Standing(0.0, 0.0), NOW_MS)
    assert decided.expires_ms == NOW_MS + 2 * HOUR_MS
    assert datetime.fromtimestamp(decided.decided_ms / 1000, UTC).minute == 0
