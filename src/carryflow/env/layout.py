"""How the compiled loop sees the world: the columns of its arrays, and how they are filled."""

from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from carryflow.core.account import INVERSE_KIND, LINEAR_KIND, N_PARTS, Column
from carryflow.core.compiled import compiled
from carryflow.core.costs import BP, YEAR_MS, CostSettings
from carryflow.core.instrument import ContractType
from carryflow.core.margin import bracket_table
from carryflow.env.reward import N_TERMS
from carryflow.env.settings import EnvSettings
from carryflow.env.tape import MarketTape

Floats = NDArray[np.float64]


class Row(IntEnum):
    """Name the columns of the market array: one row per decision, tape after tape."""

    SPOT = 0
    MARK = 1
    MARK_HIGH = 2  # highest mark since the row before, in
    MARK_LOW = 3
    SETTLEMENT_CASH = 4
    YEARS = 5  # time since the row before, in years
    DELEVERAGED = 6  # fraction of a short that the venue takes away since the row before
    TRADABLE = 7
    PERP = 8  # from here on only a trade looks
    SPOT_HALF_SPREAD = 9  # fraction of the reference
    PERP_HALF_SPREAD = 10
    SPOT_DEPTH = 11  # quote within 10 bp, a side; infinite: bottomless
    PERP_DEPTH = 12


ROW_WIDTH = 16
"""Columns of the market array: two cache lines."""


class Seat(IntEnum):
    """Name what the environment remembers of an account, in the columns after the ledger's own."""

    PEAK = len(Column)
    VARIANCE = len(Column) + 1
    SHARE = len(Column) + 2  # part of equity in the spot wallet since the legs were last traded
    WORTH = len(Column) + 3  # equity at the row on which the account stands
    CURSOR = len(Column) + 4  # row of the market array
    LAST = len(Column) + 5  # row at which the episode is cut
    STATUS = len(Column) + 6
    SPOT_LOT = len(Column) + 7
    PERP_LOT = len(Column) + 8
    MIN_NOTIONAL = len(Column) + 9
    TAPE = len(Column) + 10


SEAT_WIDTH = 32
"""Columns of an account with its seat: four cache lines."""


class Status(IntEnum):
    """Say how far an episode is; from `TERMINATED` on it has ended."""

    FRESH = 0  # seated, and only to be looked at in the next step
    RUNNING = 1
    STRANDED = 2  # liquidated in a halted market: sells its coins at the first row that trades
    TERMINATED = 3
    TRUNCATED = 4


class Told(IntEnum):
    """Name the columns of what a step tells of an account."""

    REWARD = 0
    PROFIT = 1
    PARTS = 2  # `core.account.PARTS`, one column each
    TERMS = 2 + N_PARTS  # `reward.REWARD_TERMS`, one column each


TOLD_WIDTH = 2 + N_PARTS + N_TERMS


class Term(IntEnum):
    """Name the columns of what differs from tape to tape."""

    OFFSET = 0  # first row in the market array
    ROWS = 1
    KIND = 2
    SPOT_LOT = 3
    PERP_LOT = 4
    MIN_NOTIONAL = 5


class Rule(IntEnum):
    """Name the numbers that the settings fix; the margin brackets follow them."""

    CAPITAL = 0
    SPOT_SHARE = 1
    HYSTERESIS = 2
    SPOT_FEE = 3
    PERP_FEE = 4
    BASE_FEE = 5  # part of a spot purchase that is kept in coins; else 0
    TAKER_SHARE = 6
    BORROW_APR = 7
    LIQUIDATION_FEE = 8
    MARGIN_MIN = 9
    MARGIN_MAX = 10
    LAMBDA_VOL = 11
    LAMBDA_DD = 12
    LAMBDA_TO = 13
    VOL_ALPHA = 14  # weight of the newest step in the rolling variance
    BP_PER_QUOTE = 15  # basis points of capital
    SHOWS_MARGIN = 16  # whether an observation ends with the margin that is left
    STEEPEST = 17  # rate of the last margin bracket; no bracket asks for a larger part of the notional


CACHE_LINE = 64
"""Bytes that a processor fetches at once."""


def aligned(rows: int, width: int) -> Floats:
    """Give zeros (rows, width) that begin on a cache line, so that a row takes no more lines than it must."""
    size = 8 * rows * width
    raw = np.zeros(size + CACHE_LINE, dtype=np.uint8)
    skipped = -raw.ctypes.data % CACHE_LINE
    return raw[skipped : skipped + size].view(np.float64).reshape(rows, width)


def market_rows(tape: MarketTape, costs: CostSettings) -> Floats:
    """Lay a tape out as rows of `Row` (n, ROW_WIDTH)."""
    rows = np.empty((len(tape), ROW_WIDTH))
    fill_rows(rows, market_columns(tape, costs), 0)
    return rows


@compiled
def fill_rows(rows: Floats, columns: Floats, first: int) -> None:
    """Turn columns (k, first + n) into rows (n, k): each row goes to memory at once, not k times."""
    for i in range(len(rows)):
        for column in range(len(columns)):
            rows[i, column] = columns[column, first + i]


def market_columns(tape: MarketTape, costs: CostSettings) -> Floats:
    """Lay a tape out as columns of `Row` (ROW_WIDTH, n), with zeros behind them.

    Where no spread was recorded, `costs` says it; where no depth was, it is a share of the turnover; where
    that is not known either, the market has no bottom.
    """
    columns = np.zeros((ROW_WIDTH, len(tape)))
    columns[Row.SPOT] = tape.spot
    columns[Row.PERP] = tape.perp
    columns[Row.MARK] = tape.mark
    columns[Row.MARK_LOW], columns[Row.MARK_HIGH] = tape.mark_range
    columns[Row.SETTLEMENT_CASH] = tape.settlement_cash
    columns[Row.YEARS, 1:] = np.diff(tape.decision_ms) / YEAR_MS
    columns[Row.TRADABLE] = tape.tradable
    if tape.deleveraged is not None:
        columns[Row.DELEVERAGED] = tape.deleveraged
    spread = BP * np.array([[costs.spot_slippage_bp], [costs.perp_slippage_bp]])
    depth = np.full((2, 1), np.inf)
    if tape.liquidity is not None:
        recorded = tape.liquidity
        spread = np.where(np.isnan(recorded.half_spread_bp.T), spread, BP * recorded.half_spread_bp.T)
        usual = recorded.turnover_quote * (costs.spot_depth_share, costs.perp_depth_share)
        depth = np.where(np.isnan(recorded.depth_quote), usual, recorded.depth_quote).T
        depth = np.where(np.isnan(depth), np.inf, depth)
    columns[[Row.SPOT_HALF_SPREAD, Row.PERP_HALF_SPREAD]] = spread
    columns[[Row.SPOT_DEPTH, Row.PERP_DEPTH]] = depth
    return columns


def terms_of(tapes: tuple[MarketTape, ...], settings: EnvSettings) -> Floats:
    """Lay out by `Term` what differs from tape to tape (len(tapes), len(Term))."""
    terms = np.zeros((len(tapes), len(Term)))
    offset = 0
    for own, tape in zip(terms, tapes, strict=True):
        lots = tape.lots
        own[Term.OFFSET], own[Term.ROWS] = offset, len(tape)
        own[Term.KIND] = INVERSE_KIND if tape.kind is ContractType.INVERSE else LINEAR_KIND
        own[Term.SPOT_LOT], own[Term.PERP_LOT] = lots.spot_base, lots.perp
        smallest = lots.min_notional_quote
        own[Term.MIN_NOTIONAL] = settings.min_notional_quote if smallest is None else smallest
        offset += len(tape)
    return terms


def rules_of(settings: EnvSettings) -> Floats:
    """Lay the settings out by `Rule`, rates as fractions, then the margin brackets row by row."""
    costs, margin, risk = settings.costs, settings.margin, settings.risk
    values: dict[Rule, float] = {
        Rule.CAPITAL: settings.capital_quote,
        Rule.SPOT_SHARE: settings.spot_share,
        Rule.HYSTERESIS: settings.hysteresis,
        Rule.SPOT_FEE: costs.spot_fee_rate,
        Rule.PERP_FEE: costs.perp_fee_rate,
        Rule.BASE_FEE: costs.spot_fee_rate if costs.fee_in_base else 0.0,
        Rule.TAKER_SHARE: costs.taker_share,
        Rule.BORROW_APR: costs.borrow_apr,
        Rule.LIQUIDATION_FEE: margin.liquidation_fee_rate,
        Rule.MARGIN_MIN: settings.margin_ratio_min,
        Rule.MARGIN_MAX: settings.margin_ratio_max,
        Rule.LAMBDA_VOL: risk.lambda_vol,
        Rule.LAMBDA_DD: risk.lambda_dd,
        Rule.LAMBDA_TO: risk.lambda_to,
        Rule.VOL_ALPHA: 2.0 / (risk.vol_span_bars + 1.0),
        Rule.BP_PER_QUOTE: 1e4 / settings.capital_quote,
        Rule.SHOWS_MARGIN: float(settings.action == "fraction_and_margin"),
        Rule.STEEPEST: margin.brackets[-1].rate,
    }
    floors, rates = zip(*margin.brackets, strict=True)
    return np.concatenate(([values[rule] for rule in Rule], bracket_table(floors, rates).reshape(-1)))
