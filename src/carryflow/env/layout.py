"""How the compiled loop sees the world: the columns of its arrays, and how they are filled."""

from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from carryflow.core.costs import BP, YEAR_MS
from carryflow.env.settings import EnvSettings
from carryflow.env.tape import MarketTape


class Row(IntEnum):
    """Name the columns of the market array: one row per decision, tape after tape."""

    SPOT = 0
    PERP = 1
    MARK = 2
    SETTLEMENT_CASH = 3
    YEARS = 4  # time since the row before, in years
    TRADABLE = 5


class Episode(IntEnum):
    """Name the columns of an account's episode (int64); rows are absolute."""

    CURSOR = 0
    LAST = 1  # row at which the episode is cut
    STATUS = 2


class Status(IntEnum):
    """Say how far an episode is."""

    RUNNING = 0
    TERMINATED = 1
    TRUNCATED = 2


class Risk(IntEnum):
    """Name the columns of an account's memory of risk."""

    PEAK = 0
    VARIANCE = 1
    LOT = 2


class Rule(IntEnum):
    """Name the numbers that the settings fix."""

    CAPITAL = 0
    SPOT_SHARE = 1
    HYSTERESIS = 2
    MIN_NOTIONAL = 3
    SPOT_FEE = 4
    PERP_FEE = 5
    SPOT_SLIPPAGE = 6
    PERP_SLIPPAGE = 7
    PAIR_RATE = 8
    BORROW_APR = 9
    MAINTENANCE = 10
    LIQUIDATION_FEE = 11
    LAMBDA_VOL = 12
    LAMBDA_DD = 13
    LAMBDA_TO = 14
    VOL_SPAN = 15


def market_rows(tape: MarketTape) -> NDArray[np.float64]:
    """Lay a tape out as rows of `Row` (n, len(Row))."""
    rows = np.empty((len(tape), len(Row)))
    rows[:, Row.SPOT] = tape.spot
    rows[:, Row.PERP] = tape.perp
    rows[:, Row.MARK] = tape.mark
    rows[:, Row.SETTLEMENT_CASH] = tape.settlement_cash
    rows[:, Row.YEARS] = np.diff(tape.decision_ms, prepend=tape.decision_ms[:1]) / YEAR_MS
    rows[:, Row.TRADABLE] = tape.tradable
    return rows


def rules_of(settings: EnvSettings) -> NDArray[np.float64]:
    """Lay the settings out by `Rule`, rates as fractions (len(Rule),)."""
    costs, margin, risk = settings.costs, settings.margin, settings.risk
    values: dict[Rule, float] = {
        Rule.CAPITAL: settings.capital_quote,
        Rule.SPOT_SHARE: settings.spot_share,
        Rule.HYSTERESIS: settings.hysteresis,
        Rule.MIN_NOTIONAL: settings.min_notional_quote,
        Rule.SPOT_FEE: BP * costs.spot_taker_bp,
        Rule.PERP_FEE: BP * costs.perp_taker_bp,
        Rule.SPOT_SLIPPAGE: BP * costs.spot_slippage_bp,
        Rule.PERP_SLIPPAGE: BP * costs.perp_slippage_bp,
        Rule.PAIR_RATE: costs.pair_rate,
        Rule.BORROW_APR: costs.borrow_apr,
        Rule.MAINTENANCE: margin.maintenance_rate,
        Rule.LIQUIDATION_FEE: margin.liquidation_fee_rate,
        Rule.LAMBDA_VOL: risk.lambda_vol,
        Rule.LAMBDA_DD: risk.lambda_dd,
        Rule.LAMBDA_TO: risk.lambda_to,
        Rule.VOL_SPAN: float(risk.vol_span_bars),
    }
    return np.array([values[rule] for rule in Rule])
