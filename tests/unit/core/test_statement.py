"""The ledger against two statements of venues, worked by hand and compared to the last unit."""

from collections.abc import Callable
from decimal import Decimal

import numpy as np
import pytest

from carryflow.core.account import INVERSE_KIND, LINEAR_KIND, Account, Column, equity, open_account, residual
from carryflow.core.costs import BINANCE_BTCUSDT
from carryflow.core.funding import settlement_cash
from carryflow.core.instrument import ContractType
from carryflow.core.ledger import accrue_borrow, fill_perp, fill_spot, mark_to_market, settle, transfer
from carryflow.core.liquidation import deleverage, is_liquidated, liquidate
from carryflow.core.margin import bracket_table

LAST_UNIT = 1e-8
HOUR_MS = 3_600_000
BRACKETS = bracket_table(*zip(*BINANCE_BTCUSDT, strict=True))

Event = Callable[[Account], object]
Line = tuple[str, Event, dict[str, str]]


def require(account: Account, line: str, balances: dict[str, str]) -> None:
    for name, value in balances.items():
        booked = account[Column[name.upper()]]
        assert abs(Decimal(float(booked)) - Decimal(value)) <= Decimal(LAST_UNIT), f"{line}: {name}"
    assert abs(residual(account)) <= LAST_UNIT, line


def settlements(kind: ContractType, *paid: tuple[int, float, float]) -> dict[int, float]:
    """Give what each hour pays a long, from (hour, rate, mark) of each settlement."""
    hours, rates, marks = (np.array(column) for column in zip(*paid, strict=True))
    cash = settlement_cash(kind, np.arange(hours[-1] + 1) * HOUR_MS, hours * HOUR_MS, rates, marks)
    return {int(hour): float(cash[hour]) for hour in hours}


# The interval changes under the position: 8 h, then 4 h, then 1 h.
LINEAR_FUNDING = settlements(
    ContractType.LINEAR, (8, 0.0001, 50_200.0), (12, -0.0002, 49_500.0), (13, 0.00005, 51_000.0)
)
LINEAR: list[Line] = [
    # 0.18 × 50 005 = 9 000.90 USDT; the fee, 0.1 % of 0.18, is taken in BTC
    (
        "spot buy, fee in BTC",
        lambda a: fill_spot(a, 0.18, 50_000.0, 50_005.0, 0.0, 0.00018),
        {"spot_qty": "0.17982", "spot_cash": "999.10", "perp_wallet": "10000"},
    ),
    # 0.17982 net is 0.1798 on a lot of 0.0001; 0.1798 × 50 020 = 8 993.596, 5 bp taker
    (
        "perp short",
        lambda a: fill_perp(a, -0.1798, 50_025.0, 50_020.0, 4.496798),
        {"perp_qty": "-0.1798", "perp_entry": "50020", "perp_wallet": "9995.503202", "slippage": "-1.799"},
    ),
    # 0.1798 × 50 200 × 1 bp = 0.902596 to the short
    (
        "funding after 8 h",
        lambda a: settle(a, LINEAR_FUNDING[8]),
        {"perp_wallet": "9996.405798", "funding": "0.902596"},
    ),
    # 0.1798 × 49 500 × −2 bp = −1.78002
    (
        "negative funding after 4 h",
        lambda a: settle(a, LINEAR_FUNDING[12]),
        {"perp_wallet": "9994.625778", "funding": "-0.877424"},
    ),
    # 0.1798 × 51 000 × 0.5 bp = 0.45849
    (
        "funding after 1 h",
        lambda a: settle(a, LINEAR_FUNDING[13]),
        {"perp_wallet": "9995.084268", "funding": "-0.418934"},
    ),
    # 0.17982 × 1 000 on spot; −0.1798 × (51 010 − 50 025) on the perpetual, from its reference
    (
        "the market rises",
        lambda a: mark_to_market(a, 51_000.0, 51_010.0),
        {"basis": "2.717", "perp_wallet": "9995.084268"},
    ),
    # realised 0.08 × (50 020 − 51 015.5) = −79.64; 0.08 × 51 015.5 × 2 bp maker = 0.816248
    (
        "perp partial close",
        lambda a: fill_perp(a, 0.08, 51_012.0, 51_015.5, 0.816248),
        {"perp_qty": "-0.0998", "perp_entry": "50020", "perp_wallet": "9914.62802"},
    ),
    # 5 099 less a fee of 5.099 in USDT: sales pay in what they bring
    (
        "spot sell",
        lambda a: fill_spot(a, -0.1, 51_000.0, 50_990.0, 5.099, 0.0),
        {"spot_qty": "0.07982", "spot_cash": "6093.001"},
    ),
    (
        "spot sold short",
        lambda a: fill_spot(a, -0.1, 51_000.0, 50_980.0, 5.098, 0.0),
        {"spot_qty": "-0.02018", "spot_cash": "11185.903", "slippage": "-5.079"},
    ),
    # 0.02018 × 51 000 × 6 % / 8 760
    (
        "an hour of borrowing",
        lambda a: accrue_borrow(a, 0.06 / 8760),
        {"spot_cash": "11185.89595082", "borrow": "-0.00704918"},
    ),
    # (0.0998 × 50 020 + 0.05 × 51 100) / 0.1498; 5 bp on 2 555
    (
        "perp short added to",
        lambda a: fill_perp(a, -0.05, 51_100.0, 51_100.0, 1.2775),
        {"perp_qty": "-0.1498", "perp_entry": "50380.48064085", "perp_wallet": "9913.35052"},
    ),
    # half is closed at 50 800: 0.0749 × (50 380.48064085 − 50 800) = −31.422; 0.0749 × 210 over the mark
    (
        "auto-deleveraged",
        lambda a: deleverage(a, 0.5, 50_800.0),
        {"perp_qty": "-0.0749", "perp_wallet": "9881.92852", "liquidation": "15.729"},
    ),
    (
        "transfer to spot",
        lambda a: transfer(a, -8_500.0),
        {"spot_cash": "19685.89595082", "perp_wallet": "1381.92852"},
    ),
    # 1 381.92852 − 0.0749 × (68 600 − 50 380.48064085) = 17.28652 is left, of a fee of 1.25 % of 5 138.14
    (
        "liquidated",
        lambda a: (mark_to_market(a, 68_650.0, 68_600.0), liquidate(a, 0.0125)),
        {"perp_qty": "0", "perp_wallet": "0", "liquidation": "-1.55752"},
    ),
]


@pytest.mark.pitfall("P15")
@pytest.mark.pitfall("P03")
def test_a_linear_account_equals_the_venue_statement_to_the_last_unit() -> None:
    account = np.zeros(len(Column))
    open_account(account, LINEAR_KIND, 20_000.0, 0.5, 50_000.0, 50_010.0)
    for line, event, balances in LINEAR:
        if line == "liquidated":
            assert not is_liquidated(account, 68_500.0, BRACKETS), "24.78 are left of 20.52 needed"
            assert is_liquidated(account, 68_600.0, BRACKETS), "17.29 are left of 20.55 needed"
        event(account)
        require(account, line, balances)
    # 9.00 + 4.496798 + 0.816248 + 5.099 + 5.098 + 1.2775 of fees, the first at 50 000 a BTC
    parts = {"funding": "-0.418934", "fees": "-25.787546", "slippage": "-5.079", "borrow": "-0.00704918"}
    # 0.17982 × 1 000 − 0.02018 × 17 650; 2.697 − 179.80 − 0.16 + 4.50 − 0.0749 × 17 590
    parts |= {"basis": "-1666.611", "liquidation": "-1.55752"}
    require(account, "the whole statement", parts)
    # 19 685.89595082 − 0.02018 × 68 650
    assert equity(account) == pytest.approx(18_300.53895082, abs=LAST_UNIT)
    # 9 000.90 + 8 993.596 + 4 081.24 + 5 099 + 5 098 + 2 555 + 3 804.92 + 5 138.14
    assert account[Column.TURNOVER] == pytest.approx(43_770.796, abs=LAST_UNIT)


INVERSE_FUNDING = settlements(ContractType.INVERSE, (8, 0.0001, 40_000.0), (9, -0.0003, 62_500.0))
INVERSE: list[Line] = [
    (
        "spot buy",
        lambda a: fill_spot(a, 0.4, 50_000.0, 50_010.0, 20.004, 0.0),
        {"spot_qty": "0.4", "spot_cash": "29975.996", "perp_wallet": "1"},
    ),
    ("coins to margin", lambda a: transfer(a, 0.4), {"spot_qty": "0", "perp_wallet": "1.4"}),
    # 700 contracts of 100 USD; 70 000 / 50 000 × 5 bp = 0.0007 BTC; −70 000 × (1/50 000 − 1/50 005) × 50 000
    (
        "700 contracts sold",
        lambda a: fill_perp(a, -70_000.0, 50_005.0, 50_000.0, 0.0007),
        {"perp_qty": "-70000", "perp_wallet": "1.3993", "slippage": "-10.99930007", "fees": "-55.004"},
    ),
    # 70 000 / 40 000 × 1 bp = 0.000175 BTC to the short, 7 USD at 40 000
    (
        "funding at 40 000",
        lambda a: (mark_to_market(a, 40_000.0, 40_000.0), settle(a, INVERSE_FUNDING[8])),
        {"perp_wallet": "1.399475", "funding": "7"},
    ),
    # −30 000 × (1/50 000 − 1/40 000) = 0.15 BTC; 5 bp on 0.75 BTC
    (
        "300 contracts bought back",
        lambda a: fill_perp(a, 30_000.0, 40_000.0, 40_000.0, 0.000375),
        {"perp_qty": "-40000", "perp_entry": "50000", "perp_wallet": "1.5491"},
    ),
    # 40 000 / 62 500 × −3 bp = −0.000192 BTC, −12 USD at 62 500
    (
        "negative funding at 62 500",
        lambda a: (mark_to_market(a, 62_500.0, 62_500.0), settle(a, INVERSE_FUNDING[9])),
        {"perp_wallet": "1.548908", "funding": "-5"},
    ),
    # 60 000 / (40 000/50 000 + 20 000/62 500) = 60 000 / 1.12; 2 bp on 0.32 BTC
    (
        "200 contracts sold",
        lambda a: fill_perp(a, -20_000.0, 62_500.0, 62_500.0, 0.000064),
        {"perp_qty": "-60000", "perp_entry": "53571.42857143", "perp_wallet": "1.548844"},
    ),
    # −15 000 × (1.12/60 000 − 1/60 000) = −0.03; −15 000 × (1/62 500 − 1/60 000) = 0.01 BTC over the mark
    (
        "auto-deleveraged by a quarter at 60 000",
        lambda a: deleverage(a, 0.25, 60_000.0),
        {"perp_qty": "-45000", "perp_wallet": "1.518844", "liquidation": "625"},
    ),
    ("coins to spot", lambda a: transfer(a, -0.9), {"spot_qty": "0.9", "perp_wallet": "0.618844"}),
    # 0.618844 − 0.84 + 45 000/203 000 = 0.00051884 of 0.00088670 needed; the fee is 0.1 % of 0.22167488
    (
        "liquidated",
        lambda a: (mark_to_market(a, 202_900.0, 203_000.0), liquidate(a, 0.001)),
        {"perp_qty": "0", "perp_wallet": "0.00029720", "liquidation": "580.02216749"},
    ),
]


@pytest.mark.pitfall("P07")
def test_an_inverse_account_equals_the_venue_statement_to_the_last_unit() -> None:
    account = np.zeros(len(Column))
    open_account(account, INVERSE_KIND, 100_000.0, 0.5, 50_000.0, 49_990.0)
    for line, event, balances in INVERSE:
        if line == "liquidated":
            assert not is_liquidated(account, 200_000.0, BRACKETS), "0.003844 of 0.0009 BTC"
            assert is_liquidated(account, 203_000.0, BRACKETS)
        event(account)
        require(account, line, balances)
    # 20.004 + 0.0007 × 50 000 + 0.000375 × 40 000 + 0.000064 × 62 500
    require(account, "the whole statement", {"fees": "-74.004", "funding": "-5", "slippage": "-10.99930007"})
    # 20 004 + 70 000 + 30 000 + 20 000 + 15 000 + 45 000
    assert account[Column.TURNOVER] == pytest.approx(200_004.0, abs=LAST_UNIT)
    # 29 975.996 + (0.9 + 0.00029720197044) × 202 900
    assert equity(account) == pytest.approx(212_646.29827980, abs=LAST_UNIT)
