"""Tapes side by side, as a replay reads them: what every replay needs of them, computed once."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from carryflow.core.holding import Sums, sum_market
from carryflow.core.instrument import ContractType
from carryflow.env.layout import ROW_WIDTH, Floats, Row, aligned, fill_rows, market_columns, terms_of
from carryflow.env.settings import EnvSettings
from carryflow.env.tape import MarketTape

BLOCK = 256
"""Rows of which one question says whether they are calm."""

SUMS = len(Row)
"""Column of the kernel's rows from which on `core.holding.Sums` stand: beside what else is read there."""


class Panel(NamedTuple):
    """Hold what the compiled loop reads of K tapes with n decisions each, in n // BLOCK whole blocks.

    Attributes:
        rows: the kernel's rows, with `core.holding.Sums` in the columns after `Row` (K, n, ROW_WIDTH).
        terms: what differs from tape to tape (K, len(Term)).
        spot: spot reference prices (quote) (K, n).
        perp: reference prices of the perpetual (quote) (K, n).
        marked: mark prices, with the settlements so far added to each (K, n).
        lent: `Sums.LENT` (K, n).
        settled: least and greatest of `Sums.SETTLED` in each block (K, blocks, 2).
        marks: least and greatest mark in each block (quote) (K, blocks, 2).
        calm: whether nothing but trades and liquidations can happen in a block (K, blocks).

    """

    rows: Floats
    terms: Floats
    spot: Floats
    perp: Floats
    marked: Floats
    lent: Floats
    settled: Floats
    marks: Floats
    calm: NDArray[np.bool_]


def lay_out(tapes: Sequence[MarketTape], settings: EnvSettings) -> Panel:
    """Compute once what every replay of these tapes reads; they share their decisions."""
    accounts, n = len(tapes), len(tapes[0]) - tapes[0].first
    blocks = n // BLOCK
    panel = Panel(
        rows=aligned(accounts * n, ROW_WIDTH).reshape(accounts, n, ROW_WIDTH),
        terms=terms_of(tuple(tapes), settings),
        spot=np.empty((accounts, n)),
        perp=np.empty((accounts, n)),
        marked=np.empty((accounts, n)),
        lent=np.empty((accounts, n)),
        settled=np.empty((accounts, blocks, 2)),
        marks=np.empty((accounts, blocks, 2)),
        calm=np.zeros((accounts, blocks), np.bool_),
    )
    for k, tape in enumerate(tapes):
        columns = market_columns(tape, settings.costs)
        linear, own = tape.kind is ContractType.LINEAR, columns[:, tape.first :]
        sums = own[SUMS : SUMS + len(Sums)]
        sums[:] = sum_market(own[Row.SPOT], own[Row.SETTLEMENT_CASH], own[Row.YEARS], linear=linear)
        fill_rows(panel.rows[k], columns, tape.first)
        panel.spot[k], panel.perp[k], panel.lent[k] = own[Row.SPOT], own[Row.PERP], sums[Sums.LENT]
        panel.marked[k] = own[Row.MARK] + sums[Sums.SETTLED]
        panel.settled[k] = _bounds(sums[Sums.SETTLED], sums[Sums.SETTLED])
        panel.marks[k] = _bounds(own[Row.MARK_LOW], own[Row.MARK_HIGH])
        if linear:
            own[Row.DELEVERAGED, -2:] = 1.0  # the end closes the position: no block with it is calm
            panel.calm[k] = _blocks(own[Row.DELEVERAGED]).max(axis=1) <= 0.0
    return panel


def _blocks(values: Floats) -> Floats:
    """View n values as their whole blocks (n // BLOCK, BLOCK)."""
    return values[: len(values) // BLOCK * BLOCK].reshape(-1, BLOCK)


def _bounds(low: Floats, high: Floats) -> Floats:
    return np.stack((_blocks(low).min(axis=1), _blocks(high).max(axis=1)), axis=1)
