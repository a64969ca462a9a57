"""A tape holds only rows that can be traded on, and a slice brings its history along."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from carryflow.core.errors import CoverageError, MarketDataError, SchemaMismatchError
from carryflow.core.instrument import ContractType
from carryflow.env.tape import Liquidity, MarketTape, PairLots, load_tapes, same_decisions
from carryflow.features.dataset import MARKET_COLUMNS, write_dataset
from carryflow.features.spec import FeatureSpec
from carryflow.features.split import Split

HOUR_MS = 3_600_000
TapeMaker = Callable[..., MarketTape]


@pytest.mark.pitfall("P05")
@pytest.mark.parametrize("name", ["spot", "perp", "mark", "settlement_cash"])
def test_a_missing_number_is_an_error_that_names_the_hour(make_tape: TapeMaker, name: str) -> None:
    values = getattr(make_tape(), name).copy()
    values[7] = np.nan
    with pytest.raises(CoverageError, match=r"1 of 60 rows, at 1970-01-01T08:00Z"):
        make_tape(**{name: values})


def test_a_feature_that_is_not_finite_is_refused(make_tape: TapeMaker) -> None:
    features = make_tape().features.copy()
    features[9, 1] = np.inf
    with pytest.raises(CoverageError, match=r"no finite feature in 1 of 60 rows"):
        make_tape(features=features)


def test_features_of_another_spec_are_refused(make_tape: TapeMaker) -> None:
    with pytest.raises(SchemaMismatchError, match=r"float32 \(60, 3\)"):
        make_tape(spec=FeatureSpec(("a", "b", "c"), 3))
    with pytest.raises(SchemaMismatchError, match="float64"):
        make_tape(features=np.zeros((60, 2)))


def test_too_few_rows_and_uneven_columns_are_refused(make_tape: TapeMaker) -> None:
    with pytest.raises(MarketDataError, match="leave no step"):
        make_tape(n=3, lookback=3)
    with pytest.raises(
        MarketDataError, match=r"ABC: perp is float64 \(59,\), expected an array float64 \(60,\)"
    ):
        make_tape(perp=np.full(59, 100.0))


@pytest.mark.parametrize(
    ("name", "malformed", "message"),
    [
        (
            "decision_ms",
            lambda rows: rows.astype(float),
            r"decision_ms is float64 \(60,\), expected .* int64",
        ),
        ("tradable", lambda rows: np.where(rows, 1.0, np.nan), "tradable is float64 .* bool"),
        ("spot", lambda rows: rows[:, None], r"spot is float64 \(60, 1\)"),
        ("perp", lambda rows: rows.tolist(), "perp is list"),
        ("mark", lambda rows: rows.astype(np.float32), "mark is float32"),
        ("settlement_cash", lambda rows: rows - 1e308, "settlement of all that .* in 60 of 60 rows"),
        ("features", lambda rows: rows.tolist(), "float64 .* the spec wants"),
    ],
)
def test_rows_of_another_type_or_beyond_all_measure_are_refused_by_name(
    make_tape: TapeMaker, name: str, malformed: Callable[[np.ndarray], object], message: str
) -> None:
    tape = make_tape()
    with pytest.raises((MarketDataError, SchemaMismatchError), match=f"ABC: .*{message}"):
        replace(tape, **{name: malformed(getattr(tape, name))})


def test_an_inverse_settlement_is_measured_in_coins(make_tape: TapeMaker) -> None:
    paid = np.full(60, 0.9 / make_tape().mark.max())
    make_tape(kind=ContractType.INVERSE, settlement_cash=paid)
    with pytest.raises(CoverageError, match="settlement of all that a position is worth"):
        make_tape(kind=ContractType.INVERSE, settlement_cash=2.0 * paid)


@pytest.mark.parametrize("size", [np.nan, np.inf, -0.1])
@pytest.mark.parametrize("name", ["spot_base", "perp", "min_notional_quote"])
def test_an_order_size_that_no_venue_asks_for_is_refused(name: str, size: float) -> None:
    with pytest.raises(MarketDataError, match=f"{name} must be finite and at least 0, was {size}"):
        PairLots(**{name: size})


def test_a_book_of_no_two_legs_or_without_a_price_is_refused(make_tape: TapeMaker) -> None:
    book = np.ones((60, 2))
    with pytest.raises(MarketDataError, match=r"depth_quote is float64 \(60,\), expected .* \(60, 2\)"):
        Liquidity(book, book[:, 0], book)
    with pytest.raises(MarketDataError, match="59 rows of liquidity, expected 60"):
        make_tape(liquidity=Liquidity(book[:59], book[:59], book[:59]))
    for spread in (np.inf, 1e4):
        with pytest.raises(CoverageError, match="half_spread_bp of 10000 or more, hence no price, in 60"):
            make_tape(liquidity=Liquidity(spread * book, book, book))
    make_tape(liquidity=Liquidity(np.nan * book, np.inf * book, book))


def test_a_slice_decides_from_its_start_on_and_remembers_the_window_before(make_tape: TapeMaker) -> None:
    tape = make_tape(lookback=5)
    part = tape.slice(int(tape.decision_ms[20]), int(tape.decision_ms[30]))
    assert part.first == 4
    assert part.decision_ms[part.first] == tape.decision_ms[20]
    assert part.decision_ms[-1] == tape.decision_ms[29]
    assert np.array_equal(part.features[: part.first + 1], tape.features[16:21])


def test_a_slice_before_the_first_window_starts_at_it(make_tape: TapeMaker) -> None:
    tape = make_tape(lookback=5)
    part = tape.slice(0, int(tape.decision_ms[10]))
    assert (part.first, len(part)) == (4, 10)
    with pytest.raises(MarketDataError, match=r"0 decisions between .* need 2"):
        tape.slice(int(tape.decision_ms[-1]) + 1, int(tape.decision_ms[-1]) + HOUR_MS)


def rows(ticker: str, n: int) -> pl.DataFrame:
    rng = np.random.default_rng(len(ticker))
    start = datetime(2025, 1, 1, tzinfo=UTC)
    dates = [start + timedelta(hours=hour) for hour in range(n)]
    rates = [0.0001 * (1 + hour) if hour % 8 == 0 else None for hour in range(n)]
    return pl.DataFrame(
        {
            "Ticker": [ticker] * n,
            "Date": dates,
            "KnownAt": [date + timedelta(hours=1) for date in dates],
            "SpotPrice": 100.0 + np.arange(n),
            "PerpPrice": 101.0 + np.arange(n),
            "MarkPrice": 102.0 + np.arange(n),
            "SettleMark": [1000.0 + hour if rate else None for hour, rate in enumerate(rates)],
            "FundingRate": rates,
            "Tradable": np.arange(n) != 5,
            "first": rng.normal(3.0, 2.0, n).astype(np.float32),
            "second": rng.normal(size=n).astype(np.float32),
        }
    ).with_columns(pl.col("Date", "KnownAt").cast(pl.Datetime("ms", "UTC")))


@pytest.fixture
def dataset_dir(tmp_path: Path) -> Path:
    frame = pl.concat([rows("XY", 40), rows("ABC", 40)])
    start = int(frame["KnownAt"].dt.epoch("ms").min())  # type: ignore[arg-type]
    split = Split(start, start + 20 * HOUR_MS, start + 25 * HOUR_MS, start + 40 * HOUR_MS)
    assert set(MARKET_COLUMNS) < set(frame.columns)
    write_dataset(frame, FeatureSpec(("first", "second"), 3), split, "v1", tmp_path)
    return tmp_path


@pytest.mark.pitfall("P01")
def test_tapes_of_a_dataset_pay_each_settlement_to_the_hour_that_ends_with_it(dataset_dir: Path) -> None:
    tapes = load_tapes(dataset_dir)
    assert list(tapes) == ["ABC", "XY"]
    tape = tapes["ABC"]
    assert np.array_equal(tape.spot, 100.0 + np.arange(40))
    assert np.array_equal(tape.mark, 102.0 + np.arange(40))
    assert np.flatnonzero(~tape.tradable).tolist() == [5]
    # the bar of 08:00 is stamped 08:00; its settlement falls to whoever decided by the close at 07:00, row 6
    assert np.flatnonzero(tape.settlement_cash).tolist() == [7, 15, 23, 31]
    assert tape.settlement_cash[7] == pytest.approx(-0.0009 * 1008.0)


def test_tapes_of_a_dataset_show_the_policy_scaled_features(dataset_dir: Path) -> None:
    tape = load_tapes(dataset_dir)["XY"]
    raw = rows("XY", 40)["first"].to_numpy()
    assert abs(tape.features[:, 0]).max() < abs(raw).max()
    assert np.corrcoef(raw, tape.features[:, 0])[0, 1] == pytest.approx(1.0, abs=1e-2)


@pytest.mark.pitfall("P05")
def test_a_settlement_without_its_mark_is_an_error(tmp_path: Path) -> None:
    frame = rows("ABC", 40).with_columns(
        SettleMark=pl.when(pl.col("SettleMark") == 1016.0).then(None).otherwise("SettleMark")
    )
    start = int(frame["KnownAt"].dt.epoch("ms").min())  # type: ignore[arg-type]
    split = Split(start, start + 20 * HOUR_MS, start + 25 * HOUR_MS, start + 40 * HOUR_MS)
    write_dataset(frame, FeatureSpec(("first", "second"), 3), split, "v1", tmp_path)
    with pytest.raises(CoverageError, match="2025-01-01T16:00Z"):
        load_tapes(tmp_path)


def test_a_tape_knows_what_trading_cost_and_how_finely_one_may_order(tmp_path: Path) -> None:
    recorded = {"SpotSpread": 2.0, "PerpSpread": 1.0, "SpotDepth": 3e6, "PerpTurnover": 5e8}
    frame = rows("ABC", 40).with_columns(
        **{name: pl.lit(value) for name, value in recorded.items()},
        SpotLot=0.01,
        PerpLot=0.1,
        MinNotional=20.0,
    )
    start = int(frame["KnownAt"].dt.epoch("ms").min())  # type: ignore[arg-type]
    split = Split(start, start + 20 * HOUR_MS, start + 25 * HOUR_MS, start + 40 * HOUR_MS)
    write_dataset(frame, FeatureSpec(("first", "second"), 3), split, "v1", tmp_path)
    tape = load_tapes(tmp_path)["ABC"].slice(start + 10 * HOUR_MS, start + 20 * HOUR_MS)
    assert tape.lots == PairLots(0.01, 0.1, 20.0)
    assert tape.liquidity is not None
    assert tape.liquidity.half_spread_bp.tolist() == [[1.0, 0.5]] * 12
    assert tape.liquidity.depth_quote[:, 0].tolist() == [3e6] * 12
    assert np.isnan(tape.liquidity.depth_quote[:, 1]).all()
    assert tape.liquidity.turnover_quote[:, 1].tolist() == [5e8] * 12


def test_what_happens_between_two_marks_is_checked_and_cut_with_the_rest(make_tape: TapeMaker) -> None:
    tape = make_tape()
    wild = replace(tape, mark_high=tape.mark + 5.0, mark_low=tape.mark - 5.0, deleveraged=np.full(60, 0.5))
    part = wild.slice(int(tape.decision_ms[20]), int(tape.decision_ms[30]))
    assert part.mark_high is not None
    assert np.array_equal(part.mark_high, part.mark + 5.0)
    with pytest.raises(CoverageError, match="no highest mark in 60 of 60 rows"):
        replace(wild, mark_high=tape.mark - 1.0)
    with pytest.raises(CoverageError, match="no lowest mark"):
        replace(wild, mark_low=np.full(60, np.nan))
    with pytest.raises(CoverageError, match="no deleveraged fraction in 60"):
        replace(wild, deleveraged=np.full(60, 1.5))
    with pytest.raises(MarketDataError, match=r"mark_low is float64 \(3,\)"):
        replace(wild, mark_low=tape.mark[:3])
    with pytest.raises(MarketDataError, match="a perpetual, linear or inverse, was spot"):
        replace(tape, kind=ContractType.SPOT)


def test_tickers_with_other_decisions_do_not_go_together(make_tape: TapeMaker) -> None:
    assert np.array_equal(same_decisions([make_tape(), make_tape(seed=1)]), make_tape().decision_ms[2:])
    with pytest.raises(MarketDataError, match="ABC has 48 decisions, ABC has 58"):
        same_decisions([make_tape(), make_tape(n=50)])
