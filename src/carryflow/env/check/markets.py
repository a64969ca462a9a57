"""The small markets on which `env.check` tries an environment."""

from dataclasses import fields, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from carryflow.core.funding import settlement_cash
from carryflow.core.instrument import ContractType
from carryflow.env.tape import Liquidity, MarketTape
from carryflow.features.spec import FeatureSpec

MINUTE_MS = 60_000
HOUR_MS = 60 * MINUTE_MS

START_MS = 20_000 * 24 * HOUR_MS
"""First decision of the quiet market: a midnight (UTC ms)."""

QUIET_PRICE = 100.0
"""Price at which the quiet market stands (quote)."""

QUIET_SETTLEMENTS_H = (0, 1, 8, 16, 24, 28, 32, 36, 40, 44, 48, *range(49, 73), 80, 88, 96, 104, 112, 120)
"""Hours after the start at which the quiet market settles: every 8 hours, every 4, every hour, every 8.

The first falls on the opening, the last on the last row.
"""

RESTING_MINUTES = np.arange(10 * 60, 10 * 60 + 20)
"""Decisions of the quiet market between which nothing settles (minutes after its start)."""

LATE_MS = 7
"""How late every other settlement is stamped (ms), as venues do; no bar may slip because of it."""


def wild_tape(
    spec: FeatureSpec,
    rows: int,
    generator: np.random.Generator,
    *,
    ticker: str,
    kind: ContractType = ContractType.LINEAR,
    calm: bool = False,
) -> MarketTape:
    """Make hours in which prices jump, the spot market halts, books thin out and the venue deleverages.

    Args:
        spec: features of the tape.
        rows: length (bars of the spec).
        generator: draws the market; the instants do not depend on it.
        ticker: name of the coin.
        kind: whether its perpetual is linear or inverse.
        calm: leave out what the venue trades: the jumps that liquidate, and the deleveraging.

    """
    jump = 0.0 if calm else 0.4
    moves = generator.normal(0.0, 0.01, rows) + jump * (generator.random(rows) < 0.02)
    spot = 100.0 * np.exp(np.cumsum(moves - 0.02 * jump))
    mark = spot * (1.0 + generator.normal(0.0, 1e-3, rows))
    rate = np.where(generator.random(rows) < 0.2, generator.normal(0.0, 5e-4, rows), 0.0)
    before = np.concatenate((mark[:1], mark[:-1]))
    wick = 1.0 + generator.exponential(2e-3, rows)
    decision_ms = START_MS + spec.bar_ms * np.arange(rows, dtype=np.int64)
    return MarketTape(
        ticker=ticker,
        decision_ms=decision_ms,
        spot=spot,
        perp=spot * (1.0 + generator.normal(0.0, 1e-3, rows)),
        mark=mark,
        tradable=generator.random(rows) > 0.03,
        settlement_cash=settlement_cash(kind, decision_ms, decision_ms, rate, mark),
        features=generator.normal(size=(rows, len(spec.names))).astype(np.float32),
        spec=spec,
        kind=kind,
        liquidity=Liquidity(
            half_spread_bp=generator.exponential(2.0, (rows, 2)),
            depth_quote=generator.lognormal(13.0, 1.0, (rows, 2)),
            turnover_quote=generator.lognormal(17.0, 1.0, (rows, 2)),
        ),
        mark_high=np.maximum(before, mark) * wick,
        mark_low=np.minimum(before, mark) / wick,
        deleveraged=np.where(generator.random(rows) < (0.0 if calm else 0.02), generator.random(rows), 0.0),
    )


def with_another_future(tape: MarketTape, other: MarketTape, row: int) -> MarketTape:
    """Give the tape up to and with `row`, and what the other says after it; later instants move as well."""
    later = other.decision_ms + np.arange(len(other)) * (tape.spec.bar_ms // 2)
    joined: MarketTape = _spliced(tape, replace(other, decision_ms=later), row + 1)
    return joined


def _spliced(ours: Any, theirs: Any, row: int) -> Any:
    if isinstance(ours, np.ndarray):
        return np.concatenate([ours[:row], theirs[row:]])
    if not isinstance(ours, MarketTape | Liquidity):
        return ours
    names = [field.name for field in fields(ours)]
    return replace(
        ours, **{name: _spliced(getattr(ours, name), getattr(theirs, name), row) for name in names}
    )


def quiet_tape(spec: FeatureSpec, minutes: NDArray[np.int64], *, coin: int, kind: ContractType) -> MarketTape:
    """Make a market in which nothing moves and funding settles, decided at `minutes` after its start.

    The first of the minutes is the first decision; the window before it is made up.
    """
    bar_ms = int(minutes[1] - minutes[0]) * MINUTE_MS
    history = -bar_ms * np.arange(spec.lookback - 1, 0, -1)
    instants = quiet_instants(minutes)
    decision_ms = np.concatenate([instants[0] + history, instants])
    n = len(decision_ms)
    price = np.full(n, QUIET_PRICE)
    settle_ms, rate = quiet_settlements(coin)
    return MarketTape(
        ticker=f"COIN{coin}",
        decision_ms=decision_ms,
        spot=price,
        perp=price,
        mark=price,
        tradable=np.ones(n, dtype=np.bool_),
        settlement_cash=settlement_cash(kind, decision_ms, settle_ms, rate, np.full(len(rate), QUIET_PRICE)),
        features=np.zeros((n, len(spec.names)), dtype=np.float32),
        spec=replace(spec, bar_ms=bar_ms),
        kind=kind,
    )


def quiet_instants(minutes: NDArray[np.int64]) -> NDArray[np.int64]:
    """Give minutes after the start of the quiet market as instants (UTC ms)."""
    return START_MS + minutes.astype(np.int64) * MINUTE_MS


def quiet_settlements(coin: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Give instants (UTC ms) and rates of a coin's settlements in the quiet market.

    The rates differ from one to the next and from coin to coin; together they are too small to break a hedge.
    """
    number = np.arange(len(QUIET_SETTLEMENTS_H))
    settle_ms = START_MS + HOUR_MS * np.array(QUIET_SETTLEMENTS_H, dtype=np.int64) + LATE_MS * (number % 2)
    return settle_ms, 1e-4 * (np.sin(2.0 * number + coin) + 0.5)


def quiet_decisions(generator: np.random.Generator) -> dict[str, NDArray[np.int64]]:
    """Name ways to cut the same five days into decisions (minutes after the start); of the finest, a part."""
    end = 5 * 24 * 60
    cuts = {
        "1 m": np.arange(7 * 60 + 40, 16 * 60 + 20),
        "10 m": np.arange(0, end // 2 + 1, 10),
    }
    cuts |= {
        name: np.arange(0, end + 1, every)
        for name, every in {"1 h": 60, "4 h": 240, "6 h": 360, "1 d": 1440}.items()
    }
    hours = cuts["1 h"]
    kept = generator.random(len(hours)) < 0.6
    kept[[0, 1, -1]] = True
    return {**cuts, "1 h with gaps": hours[kept]}
