"""Contract terms out of ccxt's market lists."""

from collections.abc import Sequence
from decimal import Decimal
from typing import Any

from carryflow.core.errors import MarketDataError
from carryflow.core.instrument import ContractType, Instrument
from carryflow.core.leg import LEGS
from carryflow.market.contracts import ContractTerms
from carryflow.venues.connection import VenueConnection, together


async def fetch_terms(
    connection: VenueConnection, tickers: Sequence[str], quote: str, known_at_ms: int
) -> list[ContractTerms]:
    """Return the terms of both legs of these tickers as the venue states them now."""
    perps = {ticker: connection.symbol("perp", ticker, quote) for ticker in tickers}
    hours = await _stated_hours(connection, list(perps.values()))
    otherwise = connection.dialect.interval_hours
    return [
        contract_terms(
            connection, connection.symbol(leg, t, quote), hours.get(perps[t]) or otherwise, known_at_ms
        )
        for t in tickers
        for leg in LEGS
    ]


async def _stated_hours(connection: VenueConnection, symbols: list[str]) -> dict[str, float | None]:
    """Return the hours between settlements, from where ccxt finds them; nothing of what the venue hides."""
    exchange = connection.exchange
    if connection.has("fetchFundingIntervals"):
        rates = await connection.ask(exchange.fetch_funding_intervals, symbols)
    elif connection.dialect.predicts:
        found = await together(*(connection.ask(exchange.fetch_funding_rate, s) for s in symbols))
        rates = dict(zip(symbols, found, strict=True))
    else:
        rates = {}
    return {symbol: interval_hours(rate["interval"]) for symbol, rate in rates.items()}


def contract_terms(
    connection: VenueConnection, symbol: str, interval_hours: float | None, known_at_ms: int
) -> ContractTerms:
    """Return what the venue's market list says of one market, sizes in contracts.

    Raises:
        MarketDataError: the list lacks a size without which no order can be placed.
    """
    market = connection.exchange.market(symbol)
    kind = _kind(market)
    size = (
        Decimal(1) if kind is ContractType.SPOT else _stated(market, "contractSize", market["contractSize"])
    )
    counted = kind is ContractType.SPOT or connection.dialect.sizes_in_contracts
    per_contract = Decimal(1) if counted else size
    lot = _stated(market, "precision.amount", market["precision"]["amount"]) / per_contract
    least = market["limits"]["amount"]["min"]
    return ContractTerms(
        instrument=Instrument(
            venue=connection.settings.name,
            symbol=symbol,
            ticker=market["base"],
            type=kind,
            base=market["base"],
            quote=market["quote"],
            settle=market["settle"] or market["quote"],
            contract_size=size,
            tick=_stated(market, "precision.price", market["precision"]["price"]),
            lot=lot,
            min_qty=lot if least is None else _decimal(least) / per_contract,
            min_notional=_decimal(market["limits"]["cost"]["min"] or 0),
        ),
        maker_fee=_stated(market, "maker", market["maker"]),
        taker_fee=_stated(market, "taker", market["taker"]),
        funding_interval_hours=None if kind is ContractType.SPOT else interval_hours,
        listed_ms=None if market["created"] is None else int(market["created"]),
        known_at_ms=known_at_ms,
    )


def interval_hours(text: str | None) -> float | None:
    """Return the hours in ccxt's words for a funding interval.

    >>> interval_hours("8h"), interval_hours(None)
    (8.0, None)
    """
    return float(text.removesuffix("h")) if text is not None and text.endswith("h") else None


def _kind(market: dict[str, Any]) -> ContractType:
    if market["spot"]:
        return ContractType.SPOT
    return ContractType.INVERSE if market["inverse"] else ContractType.LINEAR


def _stated(market: dict[str, Any], name: str, value: Any) -> Decimal:
    if value is None:
        raise MarketDataError(
            f"the venue's market list says nothing of {name} for {market['symbol']}; try again later"
        )
    return _decimal(value)


def _decimal(number: Any) -> Decimal:
    """Return a number of ccxt's, which are floats read from short decimal words, as that decimal."""
    return Decimal(str(number))
