"""The venue itself: its markets, its clock, and the answers it gives, without any HTTP."""

import zlib
from math import isnan
from typing import Any

from carryflow.market.premium import CAP, INTEREST_PER_INTERVAL, INTERVAL_HOURS
from carryflow.market.schema import BAR_MS, Leg
from carryflow.venues.simulated.book import ladder
from carryflow.venues.simulated.decimals import plain
from carryflow.venues.simulated.filters import symbol_entry
from carryflow.venues.simulated.market import VenueMarket, venue_market
from carryflow.venues.simulated.refusals import invalid_symbol
from carryflow.venues.simulated.tape import Tape

Answer = dict[str, Any]

_LATEST_STAMP_MS = 12


def settlement_delay_ms(symbol: str, settled_ms: int) -> int:
    """Return how late a settlement is stamped, 0 to 12 ms, as in the field, and always alike."""
    return zlib.crc32(f"{symbol}{settled_ms}".encode()) % (_LATEST_STAMP_MS + 1)


class SimulatedVenue:
    """Play a tape up to the venue's clock.

    The clock stands at the tape's end, where every bar is closed, until `now_ms` is set to an earlier
    instant.
    """

    def __init__(self, tape: Tape) -> None:
        self.tape_id = tape.tape_id
        self.now_ms = tape.end_ms
        self._markets = {
            (leg, ticker + tape.quote): venue_market(leg, ticker, tape.quote, table)
            for (leg, ticker), table in sorted(tape.tables.items())
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

    def exchange_info(self, leg: Leg) -> Answer:
        """Return what is listed, with its steps."""
        entries = [
            symbol_entry(leg, m.ticker, m.quote, m.filters, int(m.open_ms[0])) for m in self.markets(leg)
        ]
        return {
            "timezone": "UTC",
            "serverTime": self.now_ms,
            "rateLimits": [],
            "exchangeFilters": [],
            "symbols": entries,
        } | ({} if leg == "spot" else {"assets": []})

    def funding_history(self, market: VenueMarket) -> list[Answer]:
        """Return every settlement up to now, oldest first, stamped a few milliseconds late."""
        history: list[Answer] = []
        for row in market.settled(self.now_ms):
            stamp = int(market.open_ms[row])
            mark = float(market.columns["mark_open"][row])
            late = stamp + settlement_delay_ms(market.symbol, stamp)
            history.append(
                {
                    "symbol": market.symbol,
                    "fundingTime": late,
                    "fundingRate": plain(float(market.columns["funding_rate"][row])),
                    "markPrice": "" if isnan(mark) else plain(mark),
                }
            )
        return [entry for entry in history if entry["fundingTime"] <= self.now_ms]

    def funding_info(self) -> list[Answer]:
        """Return cap, floor and present interval of each perpetual's funding."""
        return [
            {
                "symbol": market.symbol,
                "adjustedFundingRateCap": plain(CAP),
                "adjustedFundingRateFloor": plain(-CAP),
                "fundingIntervalHours": self._interval_hours(market),
                "disclaimer": False,
            }
            for market in self.markets("perp")
        ]

    def premium_index(self, market: VenueMarket) -> Answer:
        """Return mark, index and funding of now.

        The rate is the last one that settled: an hourly tape cannot know how the running one would have
        stood. A mark that was not published is empty.
        """
        history = self.funding_history(market)
        settled = market.settled(self.now_ms)
        spot = self._markets.get(("spot", market.symbol))
        due = int(market.open_ms[settled[-1]]) + self._interval_hours(market) * BAR_MS if len(settled) else 0
        return {
            "symbol": market.symbol,
            "markPrice": _last(market, "mark_close", self.now_ms),
            "indexPrice": _last(spot, "close", self.now_ms) if spot else "",
            "estimatedSettlePrice": _last(spot, "close", self.now_ms) if spot else "",
            "lastFundingRate": history[-1]["fundingRate"] if history else "",
            "interestRate": plain(INTEREST_PER_INTERVAL),
            "nextFundingTime": due,
            "time": self.now_ms,
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
        return {"symbol": market.symbol, "price": _last(market, "close", self.now_ms)}

    def _interval_hours(self, market: VenueMarket) -> int:
        """Return the hours between the last two settlements; Binance's eight before there are two."""
        settled = market.open_ms[market.settled(self.now_ms)]
        return int(settled[-1] - settled[-2]) // BAR_MS if len(settled) > 1 else INTERVAL_HOURS


def _last(market: VenueMarket, column: str, now_ms: int) -> str:
    """Return a column's value at the last closed bar, empty where none was recorded."""
    row = market.last_row(now_ms)
    value = float(market.columns[column][row]) if row >= 0 else float("nan")
    return "" if isnan(value) else plain(value)


def _rungs(prices: list[float], quantities: list[float], levels: int) -> list[list[str]]:
    pairs = list(zip(prices, quantities, strict=True))[:levels]
    return [[plain(price), plain(round(quantity, 8))] for price, quantity in pairs]
