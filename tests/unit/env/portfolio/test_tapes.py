"""Tapes of several coins on the decisions that they share."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from carryflow.core.account import Column
from carryflow.core.errors import MarketDataError
from carryflow.env.portfolio.env import CryptoPortfolioEnv
from carryflow.env.portfolio.tapes import on_shared_decisions
from carryflow.env.settings import EnvSettings
from carryflow.env.tape import MarketTape

TapeMaker = Callable[..., MarketTape]
FlatMarket = Callable[[int], dict[str, np.ndarray]]
Wild = Callable[..., list[MarketTape]]


@pytest.mark.pitfall("P01")
def test_tapes_with_missing_hours_play_on_those_they_share_and_lose_no_settlement_between(wild: Wild) -> None:
    whole, other = wild(2, rows=60, calm=True)
    holes = np.ones(60, dtype=np.bool_)
    holes[[20, 21, 22, 40]] = False
    names = ("decision_ms", "spot", "perp", "mark", "tradable", "settlement_cash", "features")
    rest = dict.fromkeys(("liquidity", "mark_high", "mark_low", "deleveraged"))
    torn = replace(other, **{name: getattr(other, name)[holes] for name in names}, **rest)
    a, b = on_shared_decisions([whole, torn])
    assert np.array_equal(a.decision_ms, whole.decision_ms[holes])
    assert a.settlement_cash.sum() == pytest.approx(whole.settlement_cash.sum())
    assert a.settlement_cash[20] == pytest.approx(whole.settlement_cash[20:24].sum())
    assert whole.mark_high is not None
    assert a.mark_high is not None
    assert a.mark_high[20] == whole.mark_high[20:24].max()
    assert np.array_equal(a.features, whole.features[holes])
    env = CryptoPortfolioEnv([a, b], EnvSettings(random_start=False, episode_bars=500))
    env.reset()
    ended, held = False, 0.0
    while not ended:
        *_, ended, info = env.step([0.5, 0.0])
        held = held or float(env.simulator.books[0, 0, Column.PERP_QTY])
    assert info["funding"] == pytest.approx(held * whole.settlement_cash[a.first + 1 :].sum(), rel=1e-9)
    with pytest.raises(MarketDataError, match="C0, C1 share 0 rows"):
        on_shared_decisions([whole, replace(other, decision_ms=other.decision_ms + 1)])
