import os
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from carryflow.features.rolling import lagged, rolling_mean, rolling_moments

Floats = NDArray[np.float64]


def window_by_window(values: Floats, width: int) -> tuple[Floats, Floats]:
    means, deviations = np.full(len(values), np.nan), np.full(len(values), np.nan)
    for last in range(width - 1, len(values)):
        window = values[last - width + 1 : last + 1]
        means[last], deviations[last] = window.mean(), window.std()
    return means, deviations


@settings(max_examples=150, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    n=st.integers(0, 90),
    width=st.integers(1, 60),
    first_bar=st.integers(0, 10**9),
    scale=st.sampled_from([1e-9, 1.0, 1e9]),
)
def test_every_window_says_what_summing_it_anew_says(
    seed: int, n: int, width: int, first_bar: int, scale: float
) -> None:
    values = scale * np.random.default_rng(seed).normal(1.0, 1.0, n)
    means, deviations = rolling_moments(values, width, first_bar)
    wanted_means, wanted_deviations = window_by_window(values, width)
    np.testing.assert_allclose(means, wanted_means, rtol=1e-11, atol=scale * 1e-13)
    np.testing.assert_allclose(deviations, wanted_deviations, rtol=1e-11, atol=scale * 1e-13)
    assert rolling_mean(values, width, first_bar).tobytes() == means.tobytes()


@pytest.mark.pitfall("P16")
@pytest.mark.pitfall("P18")
@settings(max_examples=150, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    width=st.integers(1, 40),
    first_bar=st.integers(0, 10**9),
    head=st.integers(0, 80),
    tail=st.integers(0, 80),
)
def test_neither_an_older_history_nor_a_longer_future_moves_a_window_by_one_bit(
    seed: int, width: int, first_bar: int, head: int, tail: int
) -> None:
    values = np.random.default_rng(seed).normal(size=head + 90 + tail)
    whole = rolling_moments(values, width, first_bar)
    cut = rolling_moments(values[head : head + 90], width, first_bar + head)
    for statistic, of_cut in zip(whole, cut, strict=True):
        kept = statistic[head + width - 1 : head + 90]
        assert kept.tobytes() == of_cut[width - 1 :].tobytes()
    alone = rolling_moments(values[head : head + width], width, first_bar + head)
    assert [s[-1] for s in alone] == [s[head + width - 1] for s in whole]


@pytest.mark.parametrize("missing", [np.nan, np.inf])
@pytest.mark.parametrize("width", [1, 5, 8, 24])
def test_a_hole_is_seen_by_the_windows_that_hold_it_and_by_no_other(width: int, missing: float) -> None:
    values = np.random.default_rng(5).normal(size=150)
    holed = values.copy()
    holed[[60, 97]] = missing
    rows = np.arange(150)
    hit = ((rows >= 60) & (rows < 60 + width)) | ((rows >= 97) & (rows < 97 + width))
    for statistic, of_holed in zip(
        rolling_moments(values, width, 3), rolling_moments(holed, width, 3), strict=True
    ):
        assert not np.isfinite(of_holed[hit]).any()
        assert of_holed[~hit].tobytes() == statistic[~hit].tobytes()


def test_windows_of_one_bar_of_all_bars_and_of_more_than_there_are() -> None:
    values = np.array([4.0, -1.0, 3.0])
    means, deviations = rolling_moments(values, 1)
    assert means.tolist() == values.tolist()
    assert deviations.tolist() == [0.0, 0.0, 0.0]
    assert rolling_mean(values, 3)[-1] == 2.0
    assert np.isnan(np.concatenate([*rolling_moments(values, 4), rolling_mean(values[:0], 4)])).all()


@pytest.mark.parametrize("level", [0.0, 0.1, 1e9 / 3])
def test_a_series_that_stands_still_deviates_by_nothing(level: float) -> None:
    means, deviations = rolling_moments(np.full(100, level), 24, first_bar=7)
    assert set(deviations[23:]) == {0.0}
    assert set(means[23:]) == {level}


def test_small_moves_far_from_zero_keep_their_digits() -> None:
    # multiples of 2**-20 are exact at either level, so that the same moves must give the same deviation
    moves = np.random.default_rng(2).integers(-(2**20), 2**20, 900) / 2.0**20
    np.testing.assert_allclose(
        rolling_moments(1e9 + moves, 168)[1], rolling_moments(moves, 168)[1], rtol=1e-11
    )


def test_one_huge_outlier_costs_the_windows_that_hold_it_no_more_than_their_grain() -> None:
    values = np.random.default_rng(2).normal(size=400)
    values[[0, 168, 336]] = 1e6  # the very rows from which distances are measured
    _, wanted = window_by_window(values, 168)
    np.testing.assert_allclose(rolling_moments(values, 168)[1], wanted, rtol=1e-11)


def test_strided_read_only_and_integer_columns_are_read_as_they_are() -> None:
    values = np.arange(60.0)
    values.flags.writeable = False
    assert rolling_mean(values[::2], 4)[3:].tolist() == [3.0 + 2 * row for row in range(27)]
    assert rolling_mean(np.arange(5), 2)[1:].tolist() == [0.5, 1.5, 2.5, 3.5]


def test_a_lag_longer_than_the_series_leaves_nothing() -> None:
    assert np.isnan(lagged(np.arange(3.0), 5)).all()


def test_the_bits_do_not_depend_on_what_the_processor_can_do() -> None:
    code = (
        "import numpy as np, hashlib; from carryflow.features.rolling import rolling_moments;"
        "v = np.random.default_rng(1).normal(size=500);"
        "print(hashlib.sha256(np.stack(rolling_moments(v, 77, 5)).tobytes()).hexdigest())"
    )
    plain = {**os.environ, "NUMBA_CPU_NAME": "generic", "NUMBA_CPU_FEATURES": ""}
    of_plain = subprocess.run(
        [sys.executable, "-c", code], env=plain, capture_output=True, text=True, check=True
    ).stdout.strip()
    here: dict[str, object] = {}
    exec(code.replace("print(", "said = (", 1), here)  # noqa: S102 - the same line, in this process
    assert of_plain == here["said"]
