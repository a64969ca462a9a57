from datetime import timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from numpy.typing import NDArray

from carryflow.core.errors import SettingsError
from carryflow.env.settings import EnvSettings
from carryflow.env.simulator import HedgedSimulator
from carryflow.env.tape import tape_of
from carryflow.features.alignment import AlignedHours
from carryflow.features.audit import Learned, audit_dataset, audit_features, audit_learning, draw_bars
from carryflow.features.catalogue import CATALOGUE
from carryflow.features.causality import Market
from carryflow.features.custom import load_feature
from carryflow.features.dataset import Dataset
from carryflow.features.frame import build_frame
from carryflow.features.scaling import Scaler
from carryflow.features.sentiment import with_sentiment
from carryflow.features.spec import POSITION_FEATURES, SENTIMENT_FEATURE, FeatureSettings, FeatureSpec
from carryflow.features.split import SplitSettings
from carryflow.features.windows import window_view
from carryflow.market.data import DataSettings
from carryflow.market.timeframe import Timeframe

Legs = tuple[pl.DataFrame, pl.DataFrame]

DATA = DataSettings(tickers=("BTC",))
SPLIT = SplitSettings(test_days=5, embargo_hours=24, min_train_days=5)
SPEC = FeatureSpec.of(FeatureSettings(lookback=24), sentiment=False)

OWN = """
import numpy as np

def trailing(hours):
    return hours.mean(hours["basis_bp"], 5)

def centred(hours):
    return np.convolve(hours["basis_bp"], np.ones(5) / 5, mode="same")

def settled_too_soon(hours):
    rate = np.append(hours["FundingRate"][1:], np.nan)  # stamped at the close, the instant of the decision
    return np.nan_to_num(rate)

def tomorrows_mood(hours):
    mood = hours["Sentiment"]
    return np.append(mood[24:], mood[-24:])

def scaled_by_all(hours):
    return hours["basis_bp"] / hours["basis_bp"].std()

def by_chance(hours):
    return np.random.default_rng().normal(size=len(hours))

def silent(hours):
    return np.full(len(hours), np.nan)

def raises(hours):
    return hours["no such column"]

def listed(hours):
    return [0.0] * len(hours)

def short(hours):
    return hours["basis_bp"][1:]

def single(hours):
    return hours["basis_bp"].astype(np.float32)

number = 3
"""


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("own") / "own.py"
    path.write_text(OWN)
    return path


@pytest.fixture(scope="module")
def market(rough) -> Legs:
    legs: Legs = rough(500, "1h")
    return legs


def mood_of(perp: pl.DataFrame) -> pl.DataFrame:
    """A value at each midnight, and two days beyond the last bar."""
    first, last = perp["timestamp"][0], perp["timestamp"][-1] + timedelta(days=2)
    stamps = pl.datetime_range(first, last, "1d", time_unit="ms", eager=True)
    return pl.DataFrame({"timestamp": stamps}).with_columns(value=pl.int_range(pl.len()).cast(pl.Float64))


def tomorrow(hours: AlignedHours, series: pl.DataFrame) -> AlignedHours:
    """Join tomorrow's mood in place of today's."""
    return with_sentiment(hours, series.with_columns(pl.col("timestamp").dt.offset_by("-1d")))


def audit(functions: dict, market: Legs, seed: int = 3) -> list:
    return audit_features(
        functions, *market, "BTC", DATA, np.random.default_rng(seed), sentiment=mood_of(market[1])
    )


@pytest.mark.pitfall("P16")
@pytest.mark.parametrize(("hours", "timeframe"), [(500, "1h"), (260, "15m")])
def test_no_feature_of_the_catalogue_sees_the_future(rough, hours: int, timeframe: Timeframe) -> None:
    spot, perp = rough(hours, timeframe)
    computed = {name: feature.compute for name, feature in CATALOGUE.items() if feature.compute is not None}
    assert len(computed) > 20
    assert SENTIMENT_FEATURE in computed
    generator = np.random.default_rng(3)
    data = DataSettings(tickers=("BTC",), timeframe=timeframe)
    assert audit_features(computed, spot, perp, "BTC", data, generator, sentiment=mood_of(perp)) == []


@pytest.mark.pitfall("P16")
@pytest.mark.parametrize("name", ["centred", "settled_too_soon", "scaled_by_all", "tomorrows_mood"])
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_planted_leak_in_a_function_of_ones_own_is_caught_by_name(
    market: Legs, own: Path, name: str, seed: int
) -> None:
    loaded = dict([load_feature(f"{own}:{name}"), load_feature(f"{own}:trailing")])
    leaks = audit(loaded, market, seed)
    assert {leak.column for leak in leaks} == {name}
    assert {leak.future for leak in leaks} == {"another", "none"}


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("by_chance", "gives other values when it is asked again"),
        ("silent", "gives no number at any of the bars tried"),
        ("raises", "raised ColumnNotFoundError on 500 bars of BTC"),
        ("listed", "gave list; a feature gives a numpy array"),
        ("short", r"gave an array of shape \(499,\) for 500 bars"),
        ("single", r"gave float32; return float64"),
    ],
)
def test_a_function_that_is_no_feature_is_told_why(market: Legs, own: Path, name: str, words: str) -> None:
    with pytest.raises(SettingsError, match=f"{name} {words}"):
        audit(dict([load_feature(f"{own}:{name}")]), market)


def test_a_reference_that_leads_nowhere_is_told_where_it_ends(own: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken.py"
    broken.write_text("import numpy\n\ndef feature(:\n")
    failing = tmp_path / "failing.py"
    failing.write_text("import no_such_package\n")
    for reference, words in (
        ("trailing", "told as path/to/file.py:function, was 'trailing'"),
        (f"{own}:", "told as path/to/file.py:function"),
        (f"{tmp_path}/none.py:trailing", "there is no file"),
        (f"{own}:trialing", "has no function 'trialing'; did you mean 'trailing'"),
        (f"{own}:number", "has no function 'number'"),
        (f"{broken}:feature", "cannot be run, line 3: SyntaxError"),
        (f"{failing}:feature", "cannot be run: ModuleNotFoundError: No module named 'no_such_package'"),
    ):
        with pytest.raises(SettingsError, match=words):
            load_feature(reference)


def played(dataset: Dataset, ticker: str) -> dict[str, NDArray[np.generic]]:
    """What an account sees that follows its own observations from the first row to the last."""
    tape = tape_of(dataset, ticker)
    books = HedgedSimulator([tape], 1, EnvSettings())
    books.reset(0, 0, tape.first, 0.5)
    observations, actions = [], []
    for row in range(tape.first, len(tape)):
        observations.append(books.observe()[0].copy())
        actions.append(np.tanh(observations[-1][-20:].sum(keepdims=True)))
        if row < len(tape) - 1:
            books.step(actions[-1])
    seen = np.stack(observations)
    account = len(POSITION_FEATURES)
    return {"observed window": seen[:, :-account], "account": seen[:, -account:], "action": np.stack(actions)}


@pytest.mark.pitfall("P16")
def test_scaler_windows_and_observations_know_nothing_later_but_funding_booked_at_the_very_instant(
    market: Legs,
) -> None:
    """The venue books a settlement at the instant of a decision to the account that decides: its own two
    numbers know it, and what follows from them. No feature does before the bar after."""
    leaks = audit_dataset(
        *market,
        "BTC",
        DATA,
        FeatureSettings(lookback=24),
        SPLIT,
        np.random.default_rng(5),
        observe=played,
        cuts=8,
    )
    assert {leak.column for leak in leaks} <= {"account", "action"}
    opens_with_settlement = market[1].filter(pl.col("funding_rate").is_not_null())["timestamp"].to_list()
    assert all(leak.date + timedelta(hours=1) in opens_with_settlement for leak in leaks)


def learned(told: Market, fit_until: int, shift: int = 0) -> Learned:
    """Scale with what the first rows say, and cut windows that end `shift` bars late."""
    frame = build_frame(told.spot, told.perp, "BTC", DATA)
    raw = frame.select(SPEC.published).to_numpy()
    scaler = Scaler.fit(raw[:fit_until], SPEC)
    windows = window_view(scaler.transform(raw), 24)
    late = np.concatenate([windows[shift:], np.repeat(windows[-1:], shift, axis=0)])
    return Learned(frame["Date"], frame["Date"][199], scaler.to_json(), {"window": late})


@pytest.mark.pitfall("P16")
def test_a_scaler_fitted_on_all_and_a_window_that_ends_late_are_caught_by_name(market: Legs) -> None:
    whole = Market(*market)
    dates = draw_bars(whole, build_frame(*market, "BTC", DATA)["Date"][200], np.random.default_rng(1), 3)

    def caught(fit_until: int, shift: int = 0) -> set[str]:
        leaks = audit_learning(
            lambda told: learned(told, fit_until, shift), whole, dates, np.random.default_rng(2)
        )
        return {leak.column for leak in leaks}

    assert caught(fit_until=200) == set()
    # every window is scaled with what the last bars said, so that all of them know
    assert caught(fit_until=10**6) == {"scaler", "window"}
    assert caught(fit_until=200, shift=1) == {"window"}


@pytest.mark.pitfall("P16")
def test_the_audit_finds_tomorrow_s_mood_in_features_scaler_and_windows(
    market: Legs, monkeypatch: pytest.MonkeyPatch
) -> None:
    mood = mood_of(market[1])

    def found() -> set[str]:
        sentiment = {SENTIMENT_FEATURE: CATALOGUE[SENTIMENT_FEATURE].compute}
        leaks = audit(sentiment, market) + audit_dataset(
            *market,
            "BTC",
            DATA,
            FeatureSettings(lookback=24),
            SPLIT,
            np.random.default_rng(5),
            sentiment=mood,
            cuts=2,
        )
        return {leak.column for leak in leaks}

    assert found() == set()
    for user in ("audit", "frame"):
        monkeypatch.setattr(f"carryflow.features.{user}.with_sentiment", tomorrow)
    assert found() == {SENTIMENT_FEATURE, "scaler", "window"}


@pytest.mark.pitfall("P16")
def test_an_observation_that_knows_the_next_bar_is_caught_by_name(market: Legs) -> None:
    def prescient(dataset: Dataset, ticker: str) -> dict[str, NDArray[np.generic]]:
        scaled = dataset.scaled(ticker)
        return {"observation": np.concatenate([scaled[1:], scaled[-1:]])}

    leaks = audit_dataset(
        *market, "BTC", DATA, FeatureSettings(lookback=24), SPLIT, np.random.default_rng(5), observe=prescient
    )
    assert {leak.column for leak in leaks} == {"observation"}


def test_a_date_in_the_training_part_is_refused(market: Legs) -> None:
    early = build_frame(*market, "BTC", DATA)["Date"][100]
    with pytest.raises(SettingsError, match="lies in the training part"):
        audit_learning(lambda told: learned(told, 200), Market(*market), [early], np.random.default_rng(2))


def test_half_of_the_bars_tried_are_the_last_before_a_settlement(market: Legs) -> None:
    spot, perp = market
    whole = Market(spot, perp)
    bars = draw_bars(whole, perp["timestamp"][250], np.random.default_rng(0), 8)
    following = perp.filter(pl.col("timestamp").is_in(pl.Series(bars).dt.offset_by("1h").implode()))
    assert following["funding_rate"].is_not_null().sum() >= 4
    assert bars == sorted(bars)
    with pytest.raises(SettingsError, match="give a longer history"):
        draw_bars(whole, perp["timestamp"][-1], np.random.default_rng(0), 8)


def test_a_third_of_the_bars_tried_are_the_last_before_a_value_of_sentiment(market: Legs) -> None:
    mood = mood_of(market[1]).with_columns(pl.col("timestamp").dt.offset_by("5h"))  # nothing settles at five
    whole = Market(*market, mood)
    bars = draw_bars(whole, market[1]["timestamp"][250], np.random.default_rng(0), 9)
    assert sum(whole.close(bar) in mood["timestamp"].to_list() for bar in bars) >= 3
