"""Tapes of several coins on the decisions that they share."""

from collections.abc import Sequence
from dataclasses import fields, replace
from functools import reduce
from typing import Any

import numpy as np
from numpy.typing import NDArray

from carryflow.core.errors import MarketDataError
from carryflow.env.tape import Liquidity, MarketTape


def on_shared_decisions(tapes: Sequence[MarketTape]) -> list[MarketTape]:
    """Keep of each tape the rows whose instants all tapes have, so that a portfolio can play them.

    What happened between two kept rows is kept: settlements are summed, the highest and the lowest mark are
    those of all hours between, and so is what the venue deleveraged. A window is of kept rows, hence reaches
    further back where rows are missing.

    Raises:
        MarketDataError: there is no tape, or too few instants are shared.

    """
    if not tapes:
        raise MarketDataError("shared decisions of no tape; name a ticker")
    shared = reduce(np.intersect1d, [tape.decision_ms for tape in tapes])
    if len(shared) < tapes[0].first + 2:
        names = ", ".join(tape.ticker for tape in tapes)
        raise MarketDataError(
            f"{names} share {len(shared)} rows, and a window of {tapes[0].spec.lookback} and a step need "
            f"{tapes[0].first + 2}; take tickers of the same hours"
        )
    return [_thinned(tape, np.searchsorted(tape.decision_ms, shared)) for tape in tapes]


def _thinned(tape: MarketTape, rows: NDArray[np.int64]) -> MarketTape:
    if len(rows) == len(tape):
        return tape
    after = np.concatenate(([0], rows[:-1] + 1))  # where the hours begin that end with each kept row
    upto = slice(0, int(rows[-1]) + 1)
    before = np.concatenate((tape.mark[:1], tape.mark[:-1]))
    high = np.maximum(before, tape.mark) if tape.mark_high is None else tape.mark_high
    low = np.minimum(before, tape.mark) if tape.mark_low is None else tape.mark_low
    names = ("decision_ms", "spot", "perp", "mark", "tradable", "features")
    kept: dict[str, Any] = {name: getattr(tape, name)[rows] for name in names}
    kept["settlement_cash"] = np.add.reduceat(tape.settlement_cash[upto], after)
    kept["mark_high"] = np.maximum.reduceat(high[upto], after)
    kept["mark_low"] = np.minimum.reduceat(low[upto], after)
    if tape.deleveraged is not None:
        kept["deleveraged"] = 1.0 - np.multiply.reduceat(1.0 - tape.deleveraged[upto], after)
    if tape.liquidity is not None:
        book = {field.name: getattr(tape.liquidity, field.name)[rows] for field in fields(tape.liquidity)}
        kept["liquidity"] = Liquidity(**book)
    return replace(tape, **kept)
