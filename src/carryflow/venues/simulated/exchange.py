"""The venue itself: its markets, its clock, and the answers it gives, without any HTTP."""

from math import isfinite
from typing import Any

from carryflow.core.leg import Leg
from carryflow.market.premium import CAP, INTEREST_PER_INTERVAL, INTERVAL_HOURS
from carryflow.market.timeframe import HOUR_MS
from carryflow.venues.simulated.bars import klines_json
from carryflow.venues.simulated.book import ladder
from carryflow.venues.simulated.decimals import plain
from carryflow.venues.simulated.filters import symbol_entry
from carryflow.venues.simulated.funding import RATE_DECIMALS, FundingHistory, running_rate
from carryflow.venues.simulated.market import VenueMarket, venue_markets
from carryflow.venues.simulated.prices import Price
from carryflow.venues.simulated.refusals import invalid_interval, invalid_symbol
from carryflow.venues.simulated.tape import Tape

Answer = dict[str, Any]


class SimulatedVenue:
    """Play a tape up to the venue's clock.

    The clock stands at the tape's end, where every bar is closed, until `now_ms` is set to an earlier
    instant. `halted` names the markets, by leg and symbol, in which no orders are taken though the tape goes
    on.
    """

    def __init__(self, tape: Tape) -> None:
        self.tape_id = tape.tape_id
        self.now_ms = tape.end_ms
        self.quote = tape.quote
        self.halted: set[tuple[Leg, str]] = set()
        self.bar_ms = tape.bar_ms
        self._markets = venue_markets(tape.tables, tape.quote, tape.bar_ms)
        self._funding = {
            ticker + tape.quote: FundingHistory.of(ticker + tape.quote, table)
            for (leg, ticker), table in tape.tables.items()
            if leg == "perp"
        }

    def markets(self, leg: Leg) -> list[VenueMarket]:
        """Return the listed markets of a leg: those whose first bar has opened."""
        return [m for (side, _), m in self._markets.items() if side == leg and m.open_ms[0] < self.now_ms]

    def market(self, leg: Leg, symbol: str) -> VenueMarket:
        """Return one listed market.

        Raises:
            Refusal: no such symbol is listed.
        """
        market = self._markets.get((leg, symbol))
        if market is None or market.open_ms[0] >= self.now_ms:
            raise invalid_symbol()
        return market

    def list_market(self, market: VenueMarket) -> None:
        """List a market that is not on the tape, or another of the same name in its place."""
        self._markets[market.leg, market.symbol] = market

    def closed(self, market: VenueMarket) -> bool:
        """Say whether a market takes no orders: it is halted, or the tape has no bars of now."""
        return (market.leg, market.symbol) in self.halted or market.shut_at(self.now_ms)

    def settlements(self, symbol: str) -> FundingHistory:
        """Return what a perpetual settles, all of the tape's."""
        return self._funding[symbol]

    def exchange_info(self, leg: Leg) -> Answer:
        """Return what is listed, with its steps and its smallest and largest orders."""
        entries = [
            symbol_entry(leg, m.ticker, m.quote, m.filters, int(m.open_ms[0]), self.closed(m))
            for m in self.markets(leg)
        ]
        return {
            "timezone": "UTC",
            "serverTime": self.now_ms,
            "rateLimits": [],
            "exchangeFilters": [],
            "symbols": entries,
        } | ({} if leg == "spot" else {"assets": []})

    def klines(
        self, market: VenueMarket, price: Price, length_ms: int, start_ms: int | None, end_ms: int, limit: int
    ) -> str:
        """Return a page of bars of one of a market's prices, as JSON.

        Raises:
            Refusal: the tape has no bars as short as that, or none that such bars could be joined from.
        """
        if length_ms % self.bar_ms:
            raise invalid_interval()
        bars = market.prices[price].page(length_ms, start_ms, end_ms, self.now_ms, limit)
        return klines_json(bars, length_ms)

    def funding_history(
        self, markets: list[VenueMarket], start_ms: int | None, end_ms: int, limit: int
    ) -> list[Answer]:
        """Return settlements of these markets up to now, oldest first, stamped a few milliseconds late.

        At most `limit`: the first from the start on, or without a start the last.
        """
        end = min(end_ms, self.now_ms)
        pages = [entry for m in markets for entry in self._funding[m.symbol].page(start_ms, end, limit)]
        pages.sort(key=lambda entry: int(entry["fundingTime"]))
        return pages[-limit:] if start_ms is None else pages[:limit]

    def funding_info(self) -> list[Answer]:
        """Return cap, floor and present interval of each perpetual's funding."""
        return [
            {
                "symbol": market.symbol,
                "adjustedFundingRateCap": plain(CAP),
                "adjustedFundingRateFloor": plain(-CAP),
                "fundingIntervalHours": self._funding[market.symbol].interval_hours(self.now_ms),
                "disclaimer": False,
            }
            for market in self.markets("perp")
        ]

    def premium_index(self, market: VenueMarket) -> Answer:
        """Return mark, index and funding of now; what nobody published is empty.

        `lastFundingRate` is Binance's name for the rate that the running interval leads to so far, not for
        the one that settled last. Where the tape recorded it, that is it; elsewhere see `running_rate`.
        """
        now, funding = self.now_ms, self._funding[market.symbol]
        hours, settled = funding.interval_hours(now), funding.last_ms(now)
        since = now // (hours * HOUR_MS) * hours * HOUR_MS if settled is None else settled
        predicted = market.last("predicted_rate", now)
        if not isfinite(predicted):
            predicted = running_rate(market.prices["premium"], since, hours, now)
        closed = market.prices["index"].closed(now - 2 * self.bar_ms + 1, now)
        index = closed["close"].item() if len(closed) else float("nan")
        return {
            "symbol": market.symbol,
            "markPrice": _published(market.last("mark_close", now)),
            "indexPrice": _published(index),
            "estimatedSettlePrice": _published(index),
            "lastFundingRate": _published(round(predicted, RATE_DECIMALS)),
            "interestRate": plain(INTEREST_PER_INTERVAL * hours / INTERVAL_HOURS),
            "nextFundingTime": since + hours * HOUR_MS,
            "time": now,
        }

    def depth(self, market: VenueMarket, levels: int) -> Answer:
        """Return the order book at the close of the last bar, best prices first."""
        quote = market.quote_at(self.now_ms)
        if quote is None:
            bids: list[list[str]] = []
            asks: list[list[str]] = []
        else:
            rungs = ladder(quote, market.filters.tick)
            bids = _rungs(rungs.bid_price.tolist(), rungs.bid_qty.tolist(), levels)
            asks = _rungs(rungs.ask_price.tolist(), rungs.ask_qty.tolist(), levels)
        times = {} if market.leg == "spot" else {"E": self.now_ms, "T": self.now_ms}
        return {"lastUpdateId": self.now_ms, **times, "bids": bids, "asks": asks}

    def book_ticker(self, market: VenueMarket) -> Answer:
        """Return the touch."""
        book = self.depth(market, 1)
        (bid, bid_qty), (ask, ask_qty) = (
            book[side][0] if book[side] else ("0", "0") for side in ("bids", "asks")
        )
        return {
            "symbol": market.symbol,
            "bidPrice": bid,
            "bidQty": bid_qty,
            "askPrice": ask,
            "askQty": ask_qty,
        }

    def price(self, market: VenueMarket) -> Answer:
        """Return the last traded price."""
        return {"symbol": market.symbol, "price": _published(market.last("close", self.now_ms))}


def _published(value: float) -> str:
    """Return a number as the venue writes it, empty where there is none."""
    return plain(value) if isfinite(value) else ""


def _rungs(prices: list[float], quantities: list[float], levels: int) -> list[list[str]]:
    pairs = list(zip(prices, quantities, strict=True))[:levels]
    return [[plain(price), plain(round(quantity, 8))] for price, quantity in pairs]
