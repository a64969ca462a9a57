"""What a contract is worth: exact conversions between contracts, base coins and quote value.

Three kinds. Spot counts base coins. A linear contract is a fixed number of base coins, so that a position's
value in quote grows with the price. An inverse contract is a fixed quote value settled in the base coin, so
that the base coins behind a position shrink as the price rises. Sources: Binance "COIN-M futures contract
specifications", Bybit "Inverse contracts", OKX "Contract value (ctVal)", Deribit "Inverse and linear
perpetuals".
"""

from dataclasses import dataclass, fields
from decimal import ROUND_CEILING, ROUND_DOWN, ROUND_FLOOR, ROUND_HALF_EVEN, Context, Decimal
from enum import StrEnum
from typing import Literal

from carryflow.core.errors import MarketDataError

_EXACT = Context(prec=60)
"""Enough digits that only the quotient of an inverse contract is ever rounded."""

_GRAIN = Decimal("1e-30")
"""Shortfall from a whole lot (lots) that is put down to that rounding."""

_ROUNDING = {"nearest": ROUND_HALF_EVEN, "down": ROUND_FLOOR, "up": ROUND_CEILING}


class ContractType(StrEnum):
    """Say what one contract is a fixed amount of, and what it settles in."""

    SPOT = "spot"
    LINEAR = "linear"
    INVERSE = "inverse"


@dataclass(frozen=True, slots=True)
class Instrument:
    """Describe one market of one venue, exactly.

    Attributes:
        venue: whose market it is.
        symbol: the venue's name for it, as ccxt unifies it (`BTC/USDT:USDT`).
        ticker: the coin, as `data.tickers` names it.
        type: spot, linear or inverse.
        base: coin that is bought.
        quote: what prices are in.
        settle: what gains and losses are paid in.
        contract_size: base coins per contract (spot 1; linear), quote per contract (inverse).
        tick: step of the price (quote).
        lot: step of an order's size (contracts; spot: base coins).
        min_qty: smallest order (contracts; spot: base coins).
        min_notional: smallest value of an order (quote); 0 where the venue sets none.

    Raises:
        MarketDataError: a size is not positive, or a minimum negative.

    """

    venue: str
    symbol: str
    ticker: str
    type: ContractType
    base: str
    quote: str
    settle: str
    contract_size: Decimal
    tick: Decimal
    lot: Decimal
    min_qty: Decimal
    min_notional: Decimal

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if not isinstance(value, Decimal):
                continue
            may_be_zero = field.name.startswith("min_")
            if not value.is_finite() or value < 0 or (value == 0 and not may_be_zero):
                raise MarketDataError(
                    f"{self.venue} {self.symbol}: {field.name} is {value}, which no contract can have; read "
                    "the venue's market list again"
                )
        if self.type is ContractType.SPOT and self.contract_size != 1:
            raise MarketDataError(
                f"{self.venue} {self.symbol}: a spot market has contracts of 1, was {self.contract_size}"
            )

    def base_qty(self, contracts: Decimal, price: Decimal) -> Decimal:
        """Return the base coins behind a number of contracts, sign and all.

        An inverse contract's coins are its quote value over the price, to 60 digits; the others ignore the
        price.
        """
        value = _EXACT.multiply(contracts, self.contract_size)
        if self.type is not ContractType.INVERSE:
            return value
        return _EXACT.divide(value, self._positive(price))

    def notional_quote(self, contracts: Decimal, price: Decimal) -> Decimal:
        """Return the quote value of a number of contracts, sign and all.

        An inverse contract is a fixed quote value, whatever the price.
        """
        value = _EXACT.multiply(contracts, self.contract_size)
        if self.type is ContractType.INVERSE:
            return value
        return _EXACT.multiply(value, self._positive(price))

    def contracts_for(self, base_qty: Decimal, price: Decimal) -> Decimal:
        """Return the most contracts, on the lot, whose base coins do not exceed `base_qty`.

        Rounded toward zero, so that a hedge is never larger than what it hedges; the sign is kept. It may be
        less than the venue accepts (`accepts`).

        >>> coin_margined = Instrument("deribit", "BTC/USD:BTC", "BTC", ContractType.INVERSE, "BTC", "USD",
        ...     "BTC", *map(Decimal, ("10", "0.5", "1", "1", "0")))
        >>> coin_margined.contracts_for(Decimal("-0.5"), Decimal("60007"))  # 30 003.5 USD in contracts of 10
        Decimal('-3000')
        """
        if self.type is ContractType.INVERSE:
            per_lot = _EXACT.multiply(self.lot, self.contract_size)
            lots = _EXACT.divide(_EXACT.multiply(base_qty, self._positive(price)), per_lot)
        else:
            lots = _EXACT.divide(base_qty, _EXACT.multiply(self.lot, self.contract_size))
        whole = lots.quantize(_GRAIN, context=_EXACT).to_integral_value(ROUND_DOWN)
        return _EXACT.multiply(whole, self.lot)

    def accepts(self, contracts: Decimal, price: Decimal) -> bool:
        """Say whether the venue takes an order of this size: on the lot, and over both minima."""
        return (
            _EXACT.remainder(contracts, self.lot) == 0
            and abs(contracts) >= self.min_qty
            and abs(self.notional_quote(contracts, price)) >= self.min_notional
        )

    def round_price(self, price: Decimal, towards: Literal["nearest", "down", "up"] = "nearest") -> Decimal:
        """Return the price on the tick; a bid that must not cross goes `down`, an offer `up`."""
        ticks = _EXACT.divide(self._positive(price), self.tick)
        return _EXACT.multiply(ticks.to_integral_value(_ROUNDING[towards]), self.tick)

    def _positive(self, price: Decimal) -> Decimal:
        if not (price.is_finite() and price > 0):
            raise MarketDataError(
                f"{self.venue} {self.symbol}: a price must be positive, was {price}; read the market again"
            )
        return price
