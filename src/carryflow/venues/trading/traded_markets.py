"""The markets that an account trades in: ccxt's names, contract terms, and the units of its amounts."""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

from carryflow.core.errors import RejectedError, UnknownTickerError
from carryflow.core.instrument import Instrument
from carryflow.core.leg import LEGS, Leg
from carryflow.execution.orders import OrderRequest
from carryflow.venues.connection import VenueConnection
from carryflow.venues.terms import contract_terms


@dataclass(frozen=True, slots=True)
class TradedMarket:
    """Hold what is needed of one market.

    Attributes:
        leg: spot or perpetual.
        symbol: ccxt's name.
        instrument: its terms.
        per_unit: base coins in one of ccxt's units of amount: a contract's size where it counts contracts.
    """

    leg: Leg
    symbol: str
    instrument: Instrument
    per_unit: Decimal

    def require_sendable(self, order: OrderRequest) -> None:
        """Do nothing if an order is on the lot and the tick: what is off them, ccxt would round.

        Raises:
            RejectedError: it is not.
        """
        instrument = self.instrument
        if order.qty % (instrument.lot * instrument.contract_size):
            raise RejectedError(
                f"{self.symbol}: a quantity of {order.qty} is not on the lot of {instrument.lot} (contracts "
                f"of {instrument.contract_size}); size orders with Instrument.contracts_for"
            )
        if order.price % instrument.tick:
            raise RejectedError(
                f"{self.symbol}: a price of {order.price} is not on the tick of {instrument.tick}; round it "
                "with Instrument.round_price"
            )


class TradedMarkets:
    """Find markets by leg and ticker, or by ccxt's name."""

    def __init__(self, connection: VenueConnection, tickers: Sequence[str], quote: str) -> None:
        self._connection = connection
        self._quote = quote
        self._markets = {
            (leg, ticker): self._make(leg, connection.symbol(leg, ticker, quote))
            for ticker in tickers
            for leg in LEGS
        }

    def __getitem__(self, at: tuple[Leg, str]) -> TradedMarket:
        """Return a market of a ticker that the venue was opened for.

        Raises:
            UnknownTickerError: it was not.
        """
        found = self._markets.get(at)
        if found is None:
            opened = ", ".join(sorted({ticker for _, ticker in self._markets}))
            raise UnknownTickerError(
                f"{self._connection.settings.name} was not opened for {at[1]}; it trades {opened}: set "
                "data.tickers"
            )
        return found

    def by_symbol(self, symbol: str) -> TradedMarket | None:
        """Return a market of the quote coin, one of another ticker, too; None for every other market."""
        market = self._connection.exchange.markets.get(symbol)
        if market is None or market["quote"] != self._quote:
            return None
        if not (market["spot"] or (market["swap"] and market["settle"] == self._quote)):
            return None
        leg: Leg = "spot" if market["spot"] else "perp"
        return self._markets.get((leg, market["base"])) or self._make(leg, symbol)

    def _make(self, leg: Leg, symbol: str) -> TradedMarket:
        instrument = contract_terms(self._connection, symbol, None, 0).instrument
        counted = leg == "perp" and self._connection.dialect.sizes_in_contracts
        return TradedMarket(leg, symbol, instrument, instrument.contract_size if counted else Decimal(1))
