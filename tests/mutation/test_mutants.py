"""A wrong sign, fee, boundary or rounding anywhere in the core must make one of its tests fail.

Each mutant is one slip that somebody could make: what stands there, what the slip would make of it, and what
that would do.
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[2]
CORE = ROOT / "src" / "carryflow" / "core"
BOOKS = ("unit/core/test_statement", "unit/core/test_ledger", "unit/core/test_liquidation")
TESTS = {
    "account.py": BOOKS,
    "costs.py": ("unit/core/test_costs", "unit/core/test_margin", "unit/core/test_funding"),
    "funding.py": ("unit/core/test_funding", *BOOKS),
    "hedge.py": ("unit/core/test_hedge",),
    "holding.py": ("property/test_holding",),
    "instrument.py": ("unit/core/test_instrument",),
    "ledger.py": BOOKS,
    "liquidation.py": (*BOOKS[1:], "unit/core/test_margin"),
    "margin.py": ("unit/core/test_margin", "unit/core/test_liquidation"),
    "slippage.py": ("unit/core/test_slippage",),
}
"""The tests that must kill a file's mutants; that file's own are enough."""

SLIPS: dict[str, list[tuple[str, str, str]]] = {
    "funding.py": [
        ("else -rate[held]", "else rate[held]", "longs are paid at a positive rate"),
        ("cash = -rate[held]", "cash = rate[held]", "inverse longs are paid"),
        ("-rate[held] / mark", "-rate[held] * mark", "inverse funding is quote, not coins"),
        ("kind is ContractType.INVERSE", "kind is not ContractType.INVERSE", "kinds are mixed up"),
        (" & (mark > 0)", "", "a settlement at no price is paid"),
        ("HOURS_PER_YEAR / interval", "HOURS_PER_YEAR * interval", "longer intervals yield more a year"),
        ("HOURS_PER_YEAR = 365 * 24", "HOURS_PER_YEAR = 360 * 24", "a year of 360 days"),
        ("np.diff(instants_ms) <= 0", "np.diff(instants_ms) < 0", "an instant may come twice"),
        ('side="left"', 'side="right"', "who decides at a settlement is paid for it"),
        (
            "    held = interval > 0\n    cash",
            "    held = interval >= 0\n    cash",
            "a settlement before the first decision is paid",
        ),
        ("interval >= len", "interval > len", "one after the last decision breaks the sum"),
        ("weights=cash", "weights=mark[held]", "the mark is paid instead of the funding"),
    ],
    "ledger.py": [
        (
            "account[Column.PERP_WALLET] += cash",
            "account[Column.SPOT_CASH] += cash",
            "funding is paid into the wrong wallet",
        ),
        ("FUNDING] += cash", "FUNDING] -= cash", "income is booked as a cost"),
        (
            "FUNDING] += cash * settle_price(account)",
            "FUNDING] += cash",
            "inverse funding is booked in coins",
        ),
        (
            "cash = account[Column.PERP_QTY] * cash_per_contract",
            "cash = abs(account[Column.PERP_QTY]) * cash_per_contract",
            "both sides pay",
        ),
        (
            "coins * (spot_price - account[Column.SPOT_PRICE])",
            "coins * (account[Column.SPOT_PRICE] - spot_price)",
            "spot gains are booked as losses",
        ),
        ("gained * settle_price(account)", "-gained * settle_price(account)", "shorts gain when marks rise"),
        ("    account[Column.MARK] = mark\n", "", "the mark is never moved"),
        (
            "        coins += margin_balance(account, account[Column.MARK])\n",
            "        coins += 0.0\n",
            "the coins in an inverse wallet are not revalued",
        ),
        ("SPOT_QTY] += qty - fee_base", "SPOT_QTY] += qty", "a fee in coins is not taken"),
        ("qty * price + fee_quote", "qty * price - fee_quote", "a fee in quote is received"),
        ("qty * price + fee_quote", "qty * reference + fee_quote", "fills cost the reference"),
        ("fee_base * reference", "fee_base", "a fee in coins is booked as if it were quote"),
        ("FEES] -= fee_quote + fee_base", "FEES] -= fee_base", "a fee in quote goes unbooked"),
        ("qty * (reference - price)", "qty * (price - reference)", "bad spot fills are gains"),
        (
            "unrealised(account, qty, price, reference) * worth",
            "unrealised(account, qty, reference, price) * worth",
            "bad perpetual fills are gains",
        ),
        (
            "unrealised(account, qty, reference, account[Column.MARK]) * worth",
            "unrealised(account, qty, price, account[Column.MARK]) * worth",
            "slippage is booked twice",
        ),
        ("PERP_WALLET] -= fee\n", "PERP_WALLET] += fee\n", "the perpetual's fee is received"),
        ("FEES] -= fee * worth", "FEES] -= fee", "inverse fees are booked in coins"),
        ("FEES] -= fee * worth", "FEES] += fee * worth", "fees are booked as income"),
        (
            "(held * entry + qty * price) / (held + qty)",
            "0.5 * (entry + price)",
            "the entry forgets how much was held",
        ),
        (
            "(held + qty) / (held / entry + qty / price)",
            "(held * entry + qty * price) / (held + qty)",
            "an inverse entry is averaged as a linear one",
        ),
        ("closed = -qty if", "closed = qty if", "closing a gain is a loss"),
        (
            "closed = -qty if abs(qty) < abs(held) else held",
            "closed = -qty",
            "more is realised than was held",
        ),
        (
            "        if abs(qty) > abs(held):\n            account[Column.PERP_ENTRY] = price\n",
            "",
            "a flipped position keeps the old entry",
        ),
        ("TURNOVER] += abs(qty)", "TURNOVER] += qty", "sales undo turnover"),
        ("SPOT_CASH] -= to_perp", "SPOT_CASH] += to_perp", "a transfer makes money"),
        ("SPOT_QTY] -= to_perp", "SPOT_QTY] += to_perp", "a transfer makes coins"),
        ("SPOT_QTY] -= to_perp", "SPOT_CASH] -= to_perp", "an inverse wallet buys coins with nothing"),
        (
            "    mark_to_market(account, reference, account[Column.MARK])\n",
            "    account[Column.SPOT_PRICE] = reference\n",
            "what spot gained before a fill is forgotten",
        ),
        ("    if qty == 0.0:\n        return\n", "", "a fill of nothing pays its fee"),
        (
            "account[Column.SPOT_PRICE] * rate",
            "account[Column.OPENING] * rate",
            "interest is not on what was borrowed",
        ),
        ("spot - spot_share * equity", "spot_share * equity", "wallets take the wrong share"),
        ("    if account[Column.SPOT_QTY] < 0.0:", "    if True:", "owned coins earn interest"),
        ("BORROW] += interest", "BORROW] -= interest", "interest is booked as income"),
        ("SPOT_CASH] += interest", "SPOT_CASH] -= interest", "lenders pay the borrower"),
    ],
    "account.py": [
        ("qty * (price - since)\n", "qty * (since - price)\n", "longs lose when prices rise"),
        (
            "qty * (price - since) / (since * price)",
            "qty * (since - price) / (since * price)",
            "inverse longs lose when prices rise",
        ),
        (
            "qty * (price - since) / (since * price)",
            "qty * (price - since) / (since * since)",
            "an inverse contract gains like a linear one",
        ),
        ("return wallet + linear", "return wallet - linear", "unrealised gains are losses"),
        (
            "margin_balance(account, account[Column.MARK]) * settle_price",
            "account[Column.PERP_WALLET] * settle_price",
            "equity forgets the open position",
        ),
        (
            "unexplained: float = equity(account) - explained",
            "unexplained: float = 0.0 * explained",
            "no bug is ever seen",
        ),
        ("for part in range(N_PARTS)", "for part in range(N_PARTS - 1)", "a part explains nothing"),
        ("spot_share * capital) / settle_price(account)", "spot_share * capital)", "quote is coins"),
        ("    account[:] = 0.0\n", "", "the last account's books go on"),
        ("held / account[Column.PERP_ENTRY]", "held / account[Column.MARK]", "delta drifts"),
        ("return spot + held", "return spot - held", "hedged legs add up"),
        ("size / mark", "size * mark", "an inverse notional is not coins"),
    ],
    "liquidation.py": [
        ("return balance <= main", "return balance < main", "at the margin nothing happens"),
        ("balance > brackets[-1, 0]", "balance > brackets[0, 0]", "higher brackets are skipped"),
        ("account, mark) * mark", "account, mark)", "coins are compared with quote"),
        (
            "        return price\n    return before",
            "        return worst\n    return before",
            "the worst mark closes",
        ),
        ("    return before\n", "    return worst\n", "an account that is gone already loses the way too"),
        ("min(before, worst) <= price", "price", "a position is closed on a mark that never came"),
        ("loss = min(fee,", "loss = max(fee,", "a liquidation takes the whole wallet"),
        ("loss = min(fee, account[Column.PERP_WALLET])", "loss = fee", "a wallet goes below zero"),
        ("LIQUIDATION] -= loss *", "LIQUIDATION] += loss *", "the fee is booked as income"),
        ("LIQUIDATION] += dist", "LIQUIDATION] -= dist", "a gain by ADL is a loss"),
        ("PERP_QTY] -= closed", "PERP_QTY] = 0.0", "ADL always closes everything"),
        (
            "closed, account[Column.PERP_ENTRY], mark) + distance",
            "closed, account[Column.PERP_ENTRY], mark)",
            "ADL closes at the mark",
        ),
        ("min(fraction, 1.0) *", "fraction *", "ADL turns a position over"),
        ("    if not fraction > 0.0:\n        return\n", "", "ADL adds to a position"),
        ("least = min(-margin", "least = -1e9 + min(-margin", "ADL takes more than the margin"),
        ("mark), 0.0)", "mark), 1e9)", "ADL pays a debt to a shared wallet"),
        ("min(fee_rate * total, pool)", "fee_rate * total", "a group owes the venue"),
        (
            "TURNOVER] += quote_value(account, account",
            "OPENING] += 0.0 * quote_value(account, account",
            "what the venue closes is no turnover",
        ),
        ("held and balance", "balance", "a group without a position is liquidated"),
        (
            "            continue\n        balance",
            "            pass\n        balance",
            "coins are quote to a group",
        ),
        ("            continue\n        loss", "            pass\n        loss", "a group takes coins"),
        ("maintenance += maint", "maintenance = maint", "only the last leg needs margin"),
    ],
    "margin.py": [
        ("if steeper <= margin", "if steeper >= margin", "the smallest bracket counts"),
        ("* notional_quote - brackets[k, 1]", "* notional_quote", "the deduction is forgotten"),
        ("np.diff(rate, prepend=rate[:1])", "rate", "deductions do not join the brackets"),
        ("min(nearest, price) if", "max(nearest, price) if", "a short looks too safe"),
        ("entry_price - wallet", "entry_price + wallet", "margin brings liquidation nearer"),
        ("return max(nearest, 0.0)", "return nearest", "a debt is liquidated at a negative price"),
        (" - brackets[k, 1]) / slope", ") / slope", "liquidation comes too early"),
        ("notional_quote + maint", "notional_quote - maint", "inverse liquidation comes too late"),
        ("wallet + notional_quote / ent", "wallet - notional_quote / ent", "an inverse long is a short"),
    ],
    "costs.py": [
        ("maker = tier.perp_maker_bp if", "maker = tier.perp_taker_bp if", "resting orders pay as takers"),
        ("return 1.0 - self.maker_share", "return 1.0", "resting orders pay the spread"),
        ("FeeTier(10.0, 10.0, 2.0, 5.0)", "FeeTier(10.0, 10.0, 5.0, 2.0)", "maker for taker"),
        ("tier.perp_taker_bp if", "tier.spot_taker_bp if", "the perpetual pays spot fees"),
        ("FeeTier(9.0, 10.0, 1.6, 4.0)", "FeeTier(10.0, 10.0, 1.6, 4.0)", "a tier is not what it was"),
        ("FeeTier(4.2, 5.4, 1.0, 3.0)", "FeeTier(4.2, 5.4, 1.0, 2.8)", "a tier is not what it was"),
        ("] = 0.0125", "] = 0.00125", "liquidations are cheap unless told"),
        ("] = 0.06\n", "] = 0.6\n", "loans are dear unless told"),
        ("] = 0.022\n", "] = 0.22\n", "books are deep unless told"),
        ("] = False\n", "] = True\n", "fees are coins unless told"),
        ("365 * 24 * 3_600_000", "360 * 24 * 3_600_000", "a year of 360 days"),
        ("BP = 1e-4", "BP = 1e-3", "a basis point is ten"),
        ("Bracket(600_000.0, 0.0065)", "Bracket(500_000.0, 0.0065)", "a bracket begins too early"),
    ],
    "slippage.py": [
        ("taker_share * (half_spread_rate + impact)", "half_spread_rate + impact", "makers pay"),
        ("EXPONENT = 0.8", "EXPONENT = 0.5", "a square-root law"),
        ("(1.0 / EXPONENT + 1.0)", "1.0", "the worst price instead of the mean"),
        ("(taker_share * notional_quote /", "(notional_quote /", "what rests walks the book"),
        ("WORST = 0.5", "WORST = 5.0", "a sale pays to sell"),
        ("        return WORST", "        return 0.0", "an empty book is free"),
        ("impact), WORST)", "impact), 1e9)", "an empty book makes prices negative"),
    ],
    "hedge.py": [
        ("lot_base, False)", "lot_base, True)", "rounded up"),
        ("_LOT_GRAIN = 1e-9", "_LOT_GRAIN = 0.0", "0.3 is two lots of 0.1"),
        ("_LOT_GRAIN_RELATIVE = 1e-15", "_LOT_GRAIN_RELATIVE = 0.0", "many lots are one less"),
        ("    if whole > 0.0 and abs(lots", "    if abs(lots", "a billionth of a lot is an order"),
        (
            "    if not lots < _MOST_LOTS:\n        return 0.0\n",
            "",
            "more lots than a float counts are ordered",
        ),
        ("equity_quote > 0.0 and ", "", "a debt is hedged"),
        ("* min(spot_price, perp_price) < math.inf:", "* min(spot_price, perp_price):", "inf is ordered"),
        ("(1.0 + pair_cost_rate)", "1.0", "the costs of opening overdraw a wallet"),
        ("min(spot_price, perp_price)", "max(spot_price, perp_price)", "the dearer leg decides"),
        ("if min_notional_quote <= abs(qty)", "if min_notional_quote < abs(qty)", "the minimum is refused"),
        ("wanted /= 1.0 - base_fee_rate", "wanted *= 1.0", "the fee in coins is not ordered"),
        (
            "net = order - base_fee_rate * order if order > 0.0 else order",
            "net = order",
            "the perpetual hedges coins that the venue kept",
        ),
        ("if order > 0.0 else order", "if order != 0.0 else order", "sales pay in coins"),
        ("abs(order) * price >= min", "abs(order) * price > min", "a legal order is dropped"),
        ("_round_to_lot(wanted, lot, False)", "_round_to_lot(wanted, lot, True)", "overbought"),
        ("_round_to_lot(wanted, lot, True)", "_round_to_lot(wanted, lot, False)", "underhedged"),
        ("held * order < 0.0 and abs", "abs", "an opening order passes under the minimum"),
        (" and abs(order) <= abs(held)", "", "a flip passes as reducing"),
        ("abs(order) <= abs(held)", "abs(order) < abs(held)", "closing it all is not reducing"),
        ("return order if reduces or", "return order if", "dust cannot be closed"),
        ("-coins - perp_held", "coins - perp_held", "both legs on one side"),
        ("_tolerance(max(spot_lot, perp_lot), abs", "1e9 + _tolerance(0.0, abs", "one leg trades naked"),
        ("lot * (1.0 + _LOT_GRAIN)", "lot * (2.0 + _LOT_GRAIN)", "two lots may stay naked"),
        ("1e-12 * size", "1e-6 * size", "large pairs may stay naked"),
        ("max(spot_lot, perp_lot_quote / perp_price)", "max(spot_lot, perp_lot_quote)", "quote is coins"),
        (
            "perp_lot), abs(coins) + abs(perp_held))\n    if target == 0.0 and",
            "perp_lot), abs(coins) + abs(perp_held))\n    if False and",
            "a perpetual of less than a lot stays for ever",
        ),
        (
            "perp_price), size)\n    if target == 0.0 and",
            "perp_price), size)\n    if False and",
            "an inverse perpetual stays for ever",
        ),
        (
            "perp_lot), abs(coins) + abs(perp_held))\n    if target == 0.0 and abs(coins) <= tolerance",
            "perp_lot), abs(coins) + abs(perp_held))\n    if target == 0.0",
            "coins that cannot be sold lose their hedge",
        ),
        ("-coins * perp_price - perp_held", "-coins / perp_price - perp_held", "inverse in coins"),
        ("1.0 - math.copysign", "1.0 + math.copysign", "the inverse fee is hedged twice"),
        ("abs(target - current) > hyst", "abs(target - current) >= hyst", "the band's edge trades"),
        (" or (target == 0.0 and current != 0.0)", "", "flat is never reached"),
    ],
    "holding.py": [
        ("FUNDING] += qty * funded", "FUNDING] -= qty * funded", "income is booked as a cost"),
        ("PERP_WALLET] += qty * settled", "PERP_WALLET] += qty * funded", "coins are paid as quote"),
        ("BASIS] -= qty *", "BASIS] += qty *", "coins gain before they came"),
        ("    if account[Column.SPOT_QTY] < 0.0:", "    if True:", "owned coins earn interest"),
        ("min(coins, 0.0) * borrow_apr", "coins * borrow_apr", "owned coins are worth more"),
        ("spot[:-1] * years[1:]", "spot[1:] * years[1:]", "interest looks ahead"),
        ("[1:] * spot[:-1]", "[1:] * spot[1:]", "funding is booked at a later price"),
        (
            "    safe = safe and not is_liquidated(account, highest_mark, brackets)\n",
            "",
            "no squeeze is seen",
        ),
        ("    account[Column.PERP_WALLET] = wallet\n    return safe", "    return safe", "asking costs"),
    ],
    "instrument.py": [
        ("_EXACT.divide(value, self._positive", "_EXACT.multiply(value, self._positive", "coins are quote"),
        ("integral_value(ROUND_DOWN)", "integral_value(ROUND_FLOOR)", "a short hedge is too large"),
        (">= self.min_qty", "> self.min_qty", "the least quantity is refused"),
        (">= self.min_notional", "> self.min_notional", "the least value is refused"),
        ("contracts, self.lot) == 0", "contracts, self.lot) >= 0", "any quantity passes"),
        ("price.is_finite() and price > 0", "price.is_finite()", "a price may be negative"),
    ],
}

NONSENSE = [  # code that no test can judge, as import, collection and call find out
    ("funding.py", "HOURS_PER_YEAR = 365 * 24", "HOURS_PER_YEAR = 365 * ("),
    ("slippage.py", "def slippage_rate(", "def slippage("),
    ("margin.py", "return margin", "return marginn"),
]


class Mutant(NamedTuple):
    """Name a file of the core and a slip in it."""

    file: str
    original: str
    mutated: str
    breaks: str


MUTANTS = [Mutant(file, *slip) for file, slips in SLIPS.items() for slip in slips]


@pytest.fixture(scope="module")
def outcomes() -> list[str]:
    """Say what became of the core as it is, once a file, of what is no code, and of every mutant."""
    unchanged = [(file, "", "") for file in TESTS]
    cases = [*unchanged, *NONSENSE, *(mutant[:3] for mutant in MUTANTS)]
    played = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("runner.py"))],
        input=json.dumps([(*case, [f"tests/{test}.py" for test in TESTS[case[0]]]) for case in cases]),
        cwd=ROOT,
        env=os.environ | {"NUMBA_DISABLE_JIT": "1", "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert played.returncode == 0, played.stderr
    return list(json.loads(played.stdout.splitlines()[-1]))


def test_every_mutant_stands_where_it_says() -> None:
    lost = [m for m in MUTANTS if (CORE / m.file).read_text().count(m.original) != 1]
    assert not lost, "the code has moved on; rewrite these mutants"


def test_the_core_as_it_is_passes(outcomes: list[str]) -> None:
    assert outcomes[: len(TESTS)] == ["survived"] * len(TESTS)


def test_code_that_does_not_even_run_is_not_taken_for_a_killed_mutant(outcomes: list[str]) -> None:
    assert outcomes[len(TESTS) :][: len(NONSENSE)] == ["broken"] * len(NONSENSE)


def test_every_mutant_is_killed(outcomes: list[str]) -> None:
    became = list(zip(MUTANTS, outcomes[len(TESTS) + len(NONSENSE) :], strict=True))
    assert not [m for m, outcome in became if outcome == "survived"], "no test misses what these break"
    assert not [m for m, outcome in became if outcome != "killed"], "no test could tell: these do not run"
